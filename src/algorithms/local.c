/* local.c: local connection (a kernel of its own at each output) and tiled connection (kernels used in turn along each axis), with
 * their gradients.
 *
 * The weight is one matrix after the other, [kernel][output][term], a term being an input channel and a tap. What a kernel reads
 * is copied to patches, [use][term], a use being an image and an output position; then its matrix W is met once:
 *
 *   forward          y[use][output]   = sum over terms of W[output][term] * patch[use][term]       kernels/dots.h
 *   weight gradient  gW[output][term] = sum over uses of gy[use][output] * patch[use][term]        kernels/mix.h
 *   input gradient   patch[use][term] = sum over outputs of gy[use][output] * W[output][term]      kernels/mix.h, then added to gx
 *
 * In all of them lanes hold terms, and rows of W pass by in the order in which they lie in memory: with few images reading them
 * (writing them) is all the time there is.
 *
 * Windows overlap, so the input gradient goes by bands of outputs, tall enough that every other band shares no input: even bands
 * are a stage, odd bands the next. */

#define FC_LOCAL_PATCHES ((int64_t)(96 << 10) / (int64_t)sizeof(real)) /* elements: half of L2 is left to W */
#define FC_LOCAL_TASK (1 << 27)     /* multiply-adds of a task, of which those with few images take eight times as long */
#define FC_LOCAL_FEW 8
#define FC_LOCAL_PIECE (1 << 14)    /* multiply-adds worth a task of their own */
#define FC_LOCAL_CHUNK ((int64_t)(18 << 10) / (int64_t)sizeof(real)) /* elements of W that stay in L1 while all uses pass */
#define FC_LOCAL_AHEAD ((int64_t)(40 << 10) / (int64_t)sizeof(real)) /* elements of W */
#define FC_LOCAL_STRIP 8            /* neighbouring windows copied together, most of whose rows are then in L1 */

typedef struct {
    int64_t taps, terms, outputs;     /* of a kernel, of a sum, of all groups */
    int64_t kernels, ranges;          /* matrices, tasks along them */
    int64_t rows, row_blocks;         /* outputs of a task, tasks along them */
    int64_t uses, pitch;              /* patches held at a time, elements from one to the next */
    int64_t strip, block;             /* neighbouring outputs whose patches are held, elements from one's to the next's */
    int64_t chunk;                    /* rows of W that pass through L1 together */
    int past;                         /* the weight's gradient is larger than the caches */
    int axis;                         /* input gradient: where bands lie, */
    int64_t band, bands;              /* outputs of a band, bands, */
    int64_t channels, channel_blocks; /* input channels of a task, tasks along them */
} FN(local_state);

#include "local_patches.h"

/* ---------------------------------------------------------------------------------------------------- the plan */

/* Forward and weight gradient: ranges of kernels; where there are few kernels, ranges of outputs beside them. */
static void FN(local_cut_kernels)(const fc_problem *p, FN(local_state) *s)
{
    int64_t uses = p->batch;
    for (int d = 0; d < FC_DIMS; d++)
        uses *= fc_ceil_div(p->axis[d].out, p->tile[d]);
    double work = (double)s->outputs * (double)s->terms * (double)fc_max(uses, FC_LOCAL_FEW);
    int64_t wanted = fc_max(FC_TASKS_WANTED, (int64_t)(work * (double)s->kernels / FC_LOCAL_TASK) + 1);
    s->ranges = fc_min(s->kernels, wanted);
    s->row_blocks = fc_max(1, fc_min(fc_min(s->outputs, wanted / s->ranges), (int64_t)(work / FC_LOCAL_PIECE)));
    s->rows = fc_ceil_div(s->outputs, s->row_blocks);
    s->row_blocks = fc_ceil_div(s->outputs, s->rows);
    s->uses = fc_max(4, fc_min(uses, FC_LOCAL_PATCHES / (p->groups * s->terms)));
    s->pitch = fc_round_up(p->groups * s->terms, VL);
    int local = p->tile[0] == p->axis[0].out && p->tile[1] == p->axis[1].out && p->tile[2] == p->axis[2].out;
    s->strip = !local ? 1 : fc_max(1, fc_min(FC_LOCAL_STRIP, FC_LOCAL_PATCHES / (s->uses * s->pitch)));
}

/* Input gradient: bands of outputs along the first axis that has several; where there are few, ranges of channels beside them. */
static void FN(local_cut_bands)(const fc_problem *p, FN(local_state) *s)
{
    s->axis = p->axis[0].out > 1 ? 0 : p->axis[1].out > 1 ? 1 : 2;
    const fc_axis *a = &p->axis[s->axis];
    int64_t apart = fc_max(1, a->dilation * (a->kernel - 1) / a->stride), channels = p->groups * p->in_channels;
    s->band = fc_min(a->out, fc_max(apart, a->out / (2 * FC_TASKS_WANTED)));
    s->bands = fc_ceil_div(a->out, s->band);
    double work = (double)p->groups * (double)p->in_channels * (double)s->taps * (double)p->out_channels *
                  (double)fc_max(p->batch, FC_LOCAL_FEW) * (double)s->band;
    for (int d = s->axis + 1; d < FC_DIMS; d++)
        work *= (double)p->axis[d].out;
    int64_t most = fc_min(channels, (int64_t)(work / FC_LOCAL_PIECE) + 1);
    s->channel_blocks = fc_min(most, fc_max(FC_TASKS_WANTED / s->bands, (int64_t)(work / FC_LOCAL_TASK) + 1));
    s->channels = fc_ceil_div(channels, fc_max(1, s->channel_blocks));
    s->channel_blocks = fc_ceil_div(channels, s->channels);
    s->pitch = fc_round_up(s->channels * s->taps, VL);
    s->uses = fc_max(FC_MIX_ROWS, fc_min(p->batch, FC_LOCAL_PATCHES / s->pitch));
    s->strip = fc_max(1, fc_min(FC_LOCAL_STRIP, FC_LOCAL_PATCHES / (s->uses * s->pitch)));
}

static void FN(local_sizes)(const fc_problem *p, FN(local_state) *s)
{
    s->taps = p->axis[0].kernel * p->axis[1].kernel * p->axis[2].kernel;
    s->terms = p->in_channels * s->taps;
    s->outputs = p->groups * p->out_channels;
    s->kernels = p->tile[0] * p->tile[1] * p->tile[2];
}

static const char *FN(local_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(local_state) *s = (void *)plan->state;
    FN(local_sizes)(p, s);
    if (p->op == FC_LOCAL_INPUT_GRAD)
        FN(local_cut_bands)(p, s);
    else
        FN(local_cut_kernels)(p, s);
    plan->stages = p->op == FC_LOCAL_INPUT_GRAD ? 3 : 1;
    s->chunk = fc_max(FC_DOTS / 2, fc_min(s->outputs, FC_LOCAL_CHUNK / s->terms) / (FC_DOTS / 2) * (FC_DOTS / 2));
    s->past = (double)s->kernels * (double)s->outputs * (double)s->terms * sizeof(real) >= (double)FC_STREAM_BYTES;
    int64_t patches = s->strip * s->uses;
    s->block = FN(aligned)(s->uses * s->pitch + 4); /* a patch's last row is stored in fours, over what follows */
    plan->scratch = FC_SCRATCH_HEAD + s->strip * s->block * (int64_t)sizeof(real) +
                    FN(aligned)(patches * s->outputs) * (int64_t)sizeof(real) +
                    FN(aligned)(s->chunk * fc_round_up(s->terms, VL)) * (int64_t)sizeof(real) +
                    patches * (int64_t)sizeof(FN(local_use));
    return NULL;
}

static ptrdiff_t FN(local_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(local_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    if (p->op != FC_LOCAL_INPUT_GRAD)
        return s->ranges * s->row_blocks;
    if (stage == 0)
        return p->batch * p->groups * p->in_channels;
    return (stage == 1 ? fc_ceil_div(s->bands, 2) : s->bands / 2) * s->channel_blocks;
}

/* ---------------------------------------------------------------------------------------------------- tasks */

/* A thread's memory, for each output of a strip. */
typedef struct {
    real *patches, *values; /* [use][pitch]; [use][output] of the result, or its gradient */
    real *chunk;           /* rows of W, a whole number of vectors apart */
    FN(local_use) *use;
} FN(local_scratch);

static FN(local_scratch) FN(local_scratch_of)(const FN(local_state) *s, char *scratch)
{
    FN(local_scratch) t;
    t.patches = (real *)(scratch + FC_SCRATCH_HEAD);
    t.values = t.patches + s->strip * s->block;
    t.chunk = t.values + FN(aligned)(s->strip * s->uses * s->outputs);
    t.use = (FN(local_use) *)(t.chunk + FN(aligned)(s->chunk * fc_round_up(s->terms, VL)));
    return t;
}

static FN(local_scratch) FN(local_scratch_at)(const FN(local_state) *s, const FN(local_scratch) *t, int64_t i)
{
    return (FN(local_scratch)){t->patches + i * s->block, t->values + i * s->uses * s->outputs, t->chunk, t->use + i * s->uses};
}

/* The outputs that a kernel is used for: from `first` in steps of the tile. */
typedef struct {
    int64_t first[FC_DIMS], count[FC_DIMS], total;
} FN(local_uses);

static FN(local_uses) FN(local_uses_of)(const fc_problem *p, int64_t kernel)
{
    FN(local_uses) u = {.total = p->batch};
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        u.first[d] = kernel % p->tile[d];
        kernel /= p->tile[d];
        u.count[d] = u.first[d] < p->axis[d].out ? (p->axis[d].out - 1 - u.first[d]) / p->tile[d] + 1 : 0;
        u.total *= u.count[d];
    }
    return u;
}

/* The patch of use i of a kernel, images outermost. */
static void FN(local_fill)(const fc_problem *p, const FN(local_state) *s, const fc_array *x, const fc_array *y,
                           const FN(local_uses) *u, int64_t use, const FN(local_scratch) *t, int64_t i)
{
    int64_t out[FC_DIMS];
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        out[d] = u->first[d] + use % u->count[d] * p->tile[d];
        use /= u->count[d];
    }
    t->use[i] = FN(local_use_at)(p, y, use, out);
    FN(local_gather)(p, x, &t->use[i], t->patches + i * s->pitch);
}

/* The result's gradient at `n` uses of each output of a strip: grads[use][output]. Neighbours in a row together, since channels may
 * lie a power of two apart and evict each other. */
static void FN(local_fill_grads)(const FN(local_state) *s, const fc_array *gy, int64_t strip, int64_t n, const FN(local_scratch) *t)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t o = 0; o < s->outputs; o++)
            for (int64_t k = 0, i = j; k < strip; k++, i += s->uses)
                t->values[i * s->outputs + o] = ((const real *)gy->data)[t->use[i].y + o * gy->stride[1]];
}

/* Rows of W copied as they lie, which is how memory gives them fastest; a single use reads them but once anyway. Returns where they
 * are then, and *ld, how far apart. */
static const real *FN(local_chunk)(const real *w, ptrdiff_t row, int64_t rows, int64_t width, int64_t n, real *chunk, ptrdiff_t *ld)
{
    *ld = n > 1 ? fc_round_up(width, VL) : row;
    if (n == 1)
        return w;
    for (int64_t i = 0; i < rows; i++)
        FN(copy_run)(chunk + i * *ld, w + i * row, 1, width);
    return chunk;
}

/* How far beyond the rows of W in use memory is asked for: about a matrix, as long as it stays in L2 until then. */
static ptrdiff_t FN(local_ahead)(const FN(local_state) *s)
{
    return fc_min(s->outputs, fc_ceil_div(FC_LOCAL_AHEAD, s->terms)) * s->terms;
}

/* Asks for memory that is to be read or, in the end, written. */
FC_INLINE void FN(local_ask)(const int write, const real *p, int64_t n)
{
    for (int64_t i = 0; i < n; i += FC_ALIGN / (int64_t)sizeof(real))
        __builtin_prefetch(p + i, write, 2);
}

/* values = W patches + bias for `n` uses and the outputs o0 to o1 of a group; `w` is row o0 of W. */
static void FN(local_multiply)(const FN(local_state) *s, const FN(local_scratch) *t, int64_t n, const real *w, const real *patches,
                               int64_t o0, int64_t o1, const fc_array *bias, ptrdiff_t bias_at)
{
    const int64_t width = s->terms;
    for (int64_t o = o0; o < o1; o += s->chunk) {
        int64_t chunk = fc_min(s->chunk, o1 - o);
        ptrdiff_t ld;
        const real *part = FN(local_chunk)(w + (o - o0) * width, width, chunk, width, n, t->chunk, &ld);
        for (int64_t j = 0, columns; j < n; j += columns) {
            columns = n - j >= 4 ? 4 : n - j >= 2 ? 2 : 1;
            for (int64_t i = 0, rows; i < chunk; i += rows) {
                real sum[FC_DOTS];
                rows = fc_min(FC_DOTS / columns, chunk - i);
                FN(dots)(columns, rows, part + i * ld, ld, patches + j * s->pitch, s->pitch, width,
                         n == 1 ? FN(local_ahead)(s) : 0, sum);
                for (int64_t k = 0; k < rows; k++) {
                    real start = bias->data ? ((const real *)bias->data)[(o + i + k) * bias->stride[1] + bias_at] : 0;
                    for (int64_t c = 0; c < columns; c++)
                        t->values[(j + c) * s->outputs + o + i + k] = sum[k * columns + c] + start;
                }
            }
        }
    }
}

/* Copies a run past the caches. */
static void FN(local_stream)(real *to, const real *from, int64_t n)
{
    int64_t i = FN(before_aligned)(to, n);
    FN(copy_run)(to, from, 1, i);
    for (; i + VL <= n; i += VL)
        FN(stream)(to + i, FN(load)(from + i));
    FN(copy_run)(to + i, from + i, 1, n - i);
}

/* gW (+)= grads' patches for `n` uses and the outputs o0 to o1 of a group; `w` is row o0 of gW. A result larger than the caches, and
 * written but once, goes past them: into them it would be read first. */
static void FN(local_outer)(const FN(local_state) *s, const FN(local_scratch) *t, int64_t n, real *w, const real *patches,
                            int64_t o0, int64_t o1, int add)
{
    const ptrdiff_t ahead = FN(local_ahead)(s) / 2;
    const int past = s->past && !add, straight = n <= FC_MIX_DEPTH && !(n & (n - 1)) && s->terms % VL == 0 && !FN(before_aligned)(w, VL);
    const int64_t rows = n == 1 ? 1 : FC_MIX_ROWS; /* with one use writing is all the time there is */
    const int64_t ld = past ? s->terms : fc_round_up(s->terms, VL);
    if (past && straight) {
        for (int64_t o = o0; o < o1; o += rows)
            FN(mix_stream)(fc_min(rows, o1 - o), n, t->values + o, 1, s->outputs, patches, s->pitch, s->terms, w + (o - o0) * s->terms,
                           s->terms);
        return;
    }
    if (add || (n <= FC_MIX_ROWS && !past)) {
        for (int64_t o = o0; o < o1; o += rows) {
            FN(local_ask)(1, w + (o - o0) * s->terms + ahead, rows * s->terms);
            FN(mix_rows)(fc_min(rows, o1 - o), n, t->values + o, 1, s->outputs, patches, s->pitch, s->terms,
                     (FN(dest)){w + (o - o0) * s->terms, s->terms, add});
        }
        return;
    }
    for (int64_t o = o0; o < o1; o += s->chunk) {
        int64_t chunk = fc_min(s->chunk, o1 - o);
        for (int64_t i = 0; i < chunk; i += rows) {
            if (!past)
                FN(local_ask)(1, w + (o - o0 + i) * s->terms + ahead, rows * s->terms);
            FN(mix_rows)(fc_min(rows, chunk - i), n, t->values + o + i, 1, s->outputs, patches, s->pitch, s->terms,
                     (FN(dest)){t->chunk + i * ld, ld, 0});
        }
        if (past)
            FN(local_stream)(w + (o - o0) * s->terms, t->chunk, chunk * s->terms);
        for (int64_t i = 0; i < chunk && !past; i++)
            FN(copy_run)(w + (o - o0 + i) * s->terms, t->chunk + i * ld, 1, s->terms);
    }
}

/* Writes the results o0 to o1 of a strip for `n` uses: neighbours in a row of y together. */
static void FN(local_put)(const FN(local_state) *s, const FN(local_scratch) *t, int64_t strip, int64_t n, int64_t o0, int64_t o1,
                          const fc_array *y)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t o = o0; o < o1; o++)
            for (int64_t k = 0, i = j; k < strip; k++, i += s->uses)
                ((real *)y->data)[t->use[i].y + o * y->stride[1]] = t->values[i * s->outputs + o];
}

/* Forward pass or weight gradient of the outputs o0 to o1 of a strip of kernels. */
static void FN(local_kernels)(const fc_plan *plan, const fc_call *call, int64_t kernel, int64_t strip, int64_t o0, int64_t o1,
                              const FN(local_scratch) *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(local_state) *s = (const void *)plan->state;
    int forward = p->op == FC_LOCAL;
    const fc_array *x = &call->array[0], *y = &call->array[forward ? 3 : 1], *bias = &call->array[2];
    real *matrices = (real *)call->array[forward ? 1 : 3].data + kernel * s->outputs * s->terms;
    FN(local_uses) uses[FC_LOCAL_STRIP];
    for (int64_t k = 0; k < strip; k++)
        uses[k] = FN(local_uses_of)(p, kernel + k);
    if (!forward && uses[0].total == 0)
        FN(fill_run)(matrices + o0 * s->terms, 0, (o1 - o0) * s->terms);
    for (int64_t i = 0; i < uses[0].total; i += s->uses) { /* the same number for all kernels of a strip */
        int64_t n = fc_min(s->uses, uses[0].total - i);
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < strip; k++) {
                FN(local_scratch) t = FN(local_scratch_at)(s, scratch, k);
                FN(local_fill)(p, s, x, y, &uses[k], i + j, &t, j);
            }
        if (!forward)
            FN(local_fill_grads)(s, y, strip, n, scratch);
        for (int64_t k = 0; k < strip; k++) {
            FN(local_scratch) t = FN(local_scratch_at)(s, scratch, k);
            real *w = matrices + k * s->outputs * s->terms;
            ptrdiff_t bias_at = 0;
            for (int d = 0; d < FC_DIMS; d++)
                bias_at += uses[k].first[d] * bias->stride[2 + d];
            for (int64_t o = o0, end; o < o1; o = end) { /* group by group */
                const real *patches = t.patches + o / p->out_channels * s->terms;
                end = fc_min(o1, (o / p->out_channels + 1) * p->out_channels);
                if (forward)
                    FN(local_multiply)(s, &t, n, w + o * s->terms, patches, o, end, bias, bias_at);
                else
                    FN(local_outer)(s, &t, n, w + o * s->terms, patches, o, end, i > 0);
            }
        }
        if (forward)
            FN(local_put)(s, scratch, strip, n, o0, o1, y);
    }
}

/* The gradients of `n` patches, of the input channels c0 to c1; `w` is the W of their output. */
static void FN(local_back)(const fc_problem *p, const FN(local_state) *s, const FN(local_scratch) *t, int64_t n, const real *w,
                           int64_t c0, int64_t c1)
{
    const int64_t most = n == 1 ? 1 : s->chunk; /* with one use reading is all the time there is */
    for (int64_t c = c0, end; c < c1; c = end) { /* group by group */
        int64_t group = c / p->in_channels, o0 = group * p->out_channels, o1 = o0 + p->out_channels;
        end = fc_min(c1, (group + 1) * p->in_channels);
        const real *columns = w + (c - group * p->in_channels) * s->taps;
        real *patches = t->patches + (c - c0) * s->taps;
        for (int64_t o = o0; o < o1; o += most) {
            int64_t chunk = fc_min(most, o1 - o), width = (end - c) * s->taps;
            ptrdiff_t ld;
            const real *part = FN(local_chunk)(columns + o * s->terms, s->terms, chunk, width, n, t->chunk, &ld);
            if (n == 1)
                FN(local_ask)(0, part + FN(local_ahead)(s), width);
            for (int64_t i = 0; i < n; i += FC_MIX_ROWS)
                FN(mix_rows)(fc_min(FC_MIX_ROWS, n - i), chunk, t->values + i * s->outputs + o, s->outputs, 1, part, ld, width,
                             (FN(dest)){patches + i * s->pitch, s->pitch, o > o0});
        }
    }
}

/* Adds to the gradient of input channels c0 to c1 what a strip of outputs from `out` on gives. */
static void FN(local_strip)(const fc_plan *plan, const fc_call *call, const int64_t *out, int64_t strip, int64_t c0, int64_t c1,
                            const FN(local_scratch) *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(local_state) *s = (const void *)plan->state;
    const fc_array *gy = &call->array[0], *w = &call->array[1], *gx = &call->array[3];
    for (int64_t i = 0; i < p->batch; i += s->uses) {
        int64_t n = fc_min(s->uses, p->batch - i);
        for (int64_t k = 0; k < strip; k++)
            for (int64_t j = 0; j < n; j++)
                scratch->use[k * s->uses + j] = FN(local_use_at)(p, gy, i + j, (int64_t[]){out[0], out[1], out[2] + k});
        FN(local_fill_grads)(s, gy, strip, n, scratch);
        for (int64_t k = 0; k < strip; k++) {
            FN(local_scratch) t = FN(local_scratch_at)(s, scratch, k);
            int64_t at[FC_DIMS] = {out[0], out[1], out[2] + k}, kernel = 0;
            for (int d = 0; d < FC_DIMS; d++)
                kernel = kernel * p->tile[d] + at[d] % p->tile[d];
            FN(local_back)(p, s, &t, n, (const real *)w->data + kernel * s->outputs * s->terms, c0, c1);
        }
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < strip; k++) {
                FN(local_scratch) t = FN(local_scratch_at)(s, scratch, k);
                FN(local_scatter)(p, gx, &t.use[j], c0, c1 - c0, t.patches + j * s->pitch);
            }
    }
}

/* One band of outputs. */
static void FN(local_band)(const fc_plan *plan, const fc_call *call, int64_t band, int64_t c0, int64_t c1,
                           const FN(local_scratch) *scratch)
{
    const FN(local_state) *s = (const void *)plan->state;
    int64_t lo[FC_DIMS] = {0}, hi[FC_DIMS], out[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++)
        hi[d] = plan->problem.axis[d].out;
    lo[s->axis] = band * s->band;
    hi[s->axis] = fc_min(hi[s->axis], lo[s->axis] + s->band);
    for (out[0] = lo[0]; out[0] < hi[0]; out[0]++)
        for (out[1] = lo[1]; out[1] < hi[1]; out[1]++)
            for (out[2] = lo[2]; out[2] < hi[2]; out[2] += s->strip)
                FN(local_strip)(plan, call, out, fc_min(s->strip, hi[2] - out[2]), c0, c1, scratch);
}

static void FN(local_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(local_state) *s = (const void *)plan->state;
    FN(local_scratch) t = FN(local_scratch_of)(s, scratch);
    if (p->op != FC_LOCAL_INPUT_GRAD) {
        int64_t range = task / s->row_blocks, o0 = task % s->row_blocks * s->rows, o1 = fc_min(s->outputs, o0 + s->rows);
        int64_t end = FN(even_start)(s->kernels, s->ranges, range + 1);
        for (int64_t k = FN(even_start)(s->kernels, s->ranges, range); k < end; k += s->strip)
            FN(local_kernels)(plan, call, k, fc_min(s->strip, end - k), o0, o1, &t);
        FN(streamed)();
        return;
    }
    if (stage == 0) {
        int64_t channels = p->groups * p->in_channels;
        const fc_array *gx = &call->array[3];
        for (int64_t d = 0; d < p->axis[0].in; d++)
            for (int64_t h = 0; h < p->axis[1].in; h++)
                FN(fill_run)((real *)gx->data + task / channels * gx->stride[0] + task % channels * gx->stride[1] + d * gx->stride[2] +
                                 h * gx->stride[3],
                             0, p->axis[2].in);
        return;
    }
    int64_t c0 = task % s->channel_blocks * s->channels, c1 = fc_min(p->groups * p->in_channels, c0 + s->channels);
    FN(local_band)(plan, call, task / s->channel_blocks * 2 + (stage == 2), c0, c1, &t);
}

static const fc_algorithm FN(local) = {"local", FC_ISA_NAME,
                                       1u << FC_LOCAL | 1u << FC_LOCAL_INPUT_GRAD | 1u << FC_LOCAL_WEIGHT_GRAD, FN(local_prepare),
                                       FN(local_tasks), FN(local_run)};
