/* fastconv.h: all that the driver sees of the C storey.
 *
 * A problem says what to compute. A plan says how: an algorithm, its block sizes, and a number of stages, each a
 * number of independent tasks. The driver runs the tasks of a stage on any number of threads, then the next stage.
 * Stages and tasks depend on the problem and the instruction set only, never on the threads: so do the bits. */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <stddef.h>
#include <stdint.h>

#define FC_DIMS 3       /* spatial axes, D H W; unused ones have size 1 */
#define FC_RANK 5       /* N C D H W */
#define FC_MAX_ARRAYS 4
#define FC_ALIGN 64     /* of workspace and scratch */
#define FC_SCRATCH_HEAD 64 /* first bytes of a thread's scratch: zeroed by the driver when a stage starts */

typedef enum { FC_F32, FC_F64, FC_DTYPES } fc_dtype;

/* The operators, with the arrays that each takes, in order. */
typedef enum {
    FC_CONV,             /* x (N,G*I,..), w (G*O,I,..), bias or none, y (N,G*O,..) */
    FC_CONV_INPUT_GRAD,  /* gy, w, bias or none (transposed convolution has one), gx */
    FC_CONV_WEIGHT_GRAD, /* x, gy, none, gw */
    FC_MATMUL,           /* a (M,K), b (K,N), bias (N) or none, c (M,N) */
    FC_MAX_POOL,         /* x, none, indices (int64; bytes with FC_OFFSETS) or none, y */
    FC_MAX_POOL_GRAD,    /* gy, none, indices, gx */
    FC_MAX_UNPOOL,       /* x, none, indices, y */
    FC_AVG_POOL,         /* x, none, none, y */
    FC_AVG_POOL_GRAD,    /* gy, none, none, gx */
    FC_UNFOLD,           /* x, none, none, columns (N,C,taps,L) */
    FC_FOLD,             /* columns, none, none, x */
    FC_CHANNEL_SUM,      /* x (N, C*pixels) without gaps, none, none, y (C) */
    FC_FILTER,           /* x (N,H,W*C), weights (kH,kW), what stands outside (1) or none, y; in_channels: C */
    FC_ELEMENTWISE,      /* a, b or none, options (float64; of channels: real) or none, y: elementwise, without gaps */
    FC_OPTIMIZE,         /* g, rows of state, numbers (float64), p: both changed in place, without gaps */
    FC_NORM,             /* x, weight, bias, y, doubles: a mean for each of `groups` sets, see norm.c; no gaps, as below */
    FC_NORM_GRAD,        /* gy, x, weight, gx or none, doubles. Weights and biases may be left out, being 1 and 0 */
    FC_ROW_NORM,         /* x (N*G, features), weight (G*features), bias, y */
    FC_ROW_NORM_GRAD,    /* gy, x, weight, gx or none, the gradients of weight and bias (2, G*features) */
    FC_RESPONSE_NORM,    /* x (N, C, pixels), none, alpha / size and beta and k (doubles), y */
    FC_RESPONSE_NORM_GRAD, /* gy, x, the same, gx */
    FC_LOCAL,            /* x (N,G*I,..), w (kernels, G*O, I*taps) without gaps, bias (1,G*O,tile) or none, y (N,G*O,..) */
    FC_LOCAL_INPUT_GRAD, /* gy, w, none, gx */
    FC_LOCAL_WEIGHT_GRAD, /* x, gy, none, gw */
    FC_LOSS,             /* input, target, numbers (float64), losses or gradients, a third array or none: see loss.c; no gaps */
    FC_LOSS_SUM,         /* the same, with their sum over `divisor` as the result */
    FC_SOFTMAX_LINES,    /* a (N, C, pixels), b or none, none, y: along C, see softmax.c; no gaps, as below */
    FC_CLASSES_LOSS,     /* x (N, C, pixels), targets (int64), none, losses, or their sum over `divisor` where that is not 0; with
                            FC_TAKE_SLOPES x, targets, a factor (float64; FC_EACH_FACTOR: many), gx, the losses or none */
    FC_OPS
} fc_op;

/* One spatial axis of the forward problem: out[o] reads in[o*stride + t*dilation - pad] for t < kernel. */
typedef struct {
    int64_t in, out, kernel, stride, dilation, pad, pad_hi;
} fc_axis;

/* Pooling: windows of unequal sizes; padding counts in a mean; a maximum's index is a byte, the number of its tap in the window,
 * instead of an int64 in the plane. Products: a column of b, not a row, lies together (a hint). Forward convolution and products:
 * results below 0 are multiplied by `slope` (ReLU, leaky ReLU). Norms: the statistics are the input's own, so that a gradient
 * goes through them; they are taken here, not given; the sums that are the gradients of weights are wanted. Losses of classes: the
 * gradient is wanted; it has a factor for each line. */
enum {
    FC_ADAPTIVE = 1, FC_COUNT_INCLUDE_PAD = 2, FC_TURNED = 4, FC_OFFSETS = 8, FC_RECTIFY = 16,
    FC_OWN_STATISTICS = 32, FC_TAKE_MOMENTS = 64, FC_TAKE_SUMS = 128, FC_TAKE_SLOPES = 256, FC_EACH_FACTOR = 512
};

/* A filter's flags: how an image goes on outside. Of a b c d: d c b a | a b c d | d c b a; the same without repeated borders; its
 * border; its other end; a constant. */
enum { FC_OUTSIDE_REFLECT, FC_OUTSIDE_MIRROR, FC_OUTSIDE_NEAREST, FC_OUTSIDE_WRAP, FC_OUTSIDE_CONSTANT };

typedef struct {
    fc_op op;
    fc_dtype dtype;
    int64_t batch, groups;
    int64_t in_channels, out_channels; /* of one group; M and N of a matmul have batch and out_channels, K in_channels */
    fc_axis axis[FC_DIMS];
    int64_t tile[FC_DIMS]; /* local connection: kernels that outputs use in turn along each axis; else 0 */
    int flags;
    double divisor;  /* mean pooling: 0, or the divisor that overrides the window's size; losses: of their sum; norms: eps */
    double slope;    /* with FC_RECTIFY */
} fc_problem;

/* An operand: strides in elements over N C D H W; data NULL where there is none. */
typedef struct {
    char *data;
    ptrdiff_t stride[FC_RANK];
} fc_array;

typedef enum {
    FC_RUN,        /* pack the weights and compute */
    FC_PACK,       /* only pack the weights, into `packed` */
    FC_RUN_PACKED  /* compute from `packed` */
} fc_mode;

/* What a task needs besides its number. `failed` rises when a task met data that it must refuse (a pooling index out
 * of range): the driver makes an exception of it. */
typedef struct {
    fc_array array[FC_MAX_ARRAYS];
    char *extra; /* a fifth operand without gaps, or NULL */
    char *workspace, *packed;
    fc_mode mode;
    int failed;
} fc_call;

typedef struct fc_plan fc_plan;

typedef struct {
    const char *name;
    const char *isa;
    unsigned ops; /* bit set of the fc_op that it computes */
    /* Fills blocks, sizes and stages. NULL when it can, else the reason why it cannot. */
    const char *(*prepare)(fc_plan *);
    /* Number of tasks of a stage (0: nothing to do in this mode); *grain: how many a thread takes at once. */
    ptrdiff_t (*tasks)(const fc_plan *, fc_mode, ptrdiff_t stage, ptrdiff_t *grain);
    void (*run)(const fc_plan *, fc_call *, ptrdiff_t stage, ptrdiff_t task, char *scratch);
} fc_algorithm;

struct fc_plan {
    fc_problem problem;
    const fc_algorithm *algorithm;
    ptrdiff_t stages;
    int64_t workspace; /* bytes, shared by the threads */
    int64_t workspace_packed; /* the same in mode FC_RUN_PACKED */
    int64_t scratch;   /* bytes for each thread */
    int64_t packed;    /* bytes of packed weights that a frozen layer keeps; 0: nothing to pack */
    double cost;       /* multiply-adds or element moves: tells small problems from large ones */
    _Alignas(16) char state[768]; /* the algorithm's own block sizes */
};

typedef enum { FC_BASELINE, FC_AVX2, FC_AVX512, FC_ISAS } fc_isa;

/* Name of an instruction set; whether this build holds it; whether this machine (CPU and operating system) runs it. */
const char *fc_isa_name(fc_isa isa);
int fc_isa_compiled(fc_isa isa);
int fc_isa_supported(fc_isa isa);

/* The i-th algorithm of an instruction set and dtype, NULL past the end. */
const fc_algorithm *fc_algorithm_at(fc_isa isa, fc_dtype dtype, int i);

/* FMA flops per second of `loops` rounds of register arithmetic are counted by the caller: returns the flops done. */
double fc_peak_kernel(fc_isa isa, fc_dtype dtype, int64_t loops);

const char *fc_compiler(void);
const char *fc_openmp(void);
const char *fc_flags(void);

#endif
