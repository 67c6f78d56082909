/* conv_common.h: what the convolution algorithms share: limits, and the last step, from a tile to the result. */

#define FC_TASK_WORK (FC_VECTOR_BYTES > 16 ? 1 << 28 : 1 << 26) /* multiply-adds: well under 20 ms */
#define FC_PACKED_BYTES (INT64_C(64) << 20)                      /* packed weights held at a time */
#define FC_TASKS_WANTED 16                                       /* enough for a desktop's cores to share evenly */
#define FC_LANES (FC_ROWS_NV * VL)                               /* result channels of a block of fma_rows */
#define FC_DIRECT_CHUNK 144                                      /* terms of a chunk of fma_rows: weights fit in L1 */
#define FC_DIRECT_FUSED 2 /* boxes for which packing the weights again costs less than writing them to memory once */

static inline int64_t FN(aligned)(int64_t elements) { return fc_round_up(elements, FC_ALIGN / (int64_t)sizeof(real)); }

/* Part i of n when `total` is cut as evenly as can be. */
static inline int64_t FN(even_start)(int64_t total, int64_t n, int64_t i) { return i * (total / n) + fc_min(i, total % n); }

/* Asks for the share i of n of a run. */
static inline void FN(fetch)(const real *p, int64_t elements, int64_t i, int64_t n)
{
    const int64_t line = FC_ALIGN / (int64_t)sizeof(real), lines = fc_ceil_div(elements, line) + 1;
    for (int64_t k = FN(even_start)(lines, n, i); k < FN(even_start)(lines, n, i + 1); k++)
        __builtin_prefetch(p + k * line, 0, 3);
}

/* Asks for the share i of n of the next chunk's weights: rows are far apart in the array, where nothing foresees them. */
static inline void FN(fetch_weights)(const fc_weight_strides *ws, const real *w, int64_t reds, int64_t taps, int64_t rows,
                                    int64_t i, int64_t n)
{
    ptrdiff_t outer = ws->red < ws->row ? ws->row : ws->red;
    int64_t lines = ws->red < ws->row ? rows : reds, span = ws->red < ws->row ? reds * taps : rows * ws->row;
    for (int64_t k = FN(even_start)(lines, n, i); k < FN(even_start)(lines, n, i + 1); k++)
        for (int64_t at = 0; at < span; at += FC_ALIGN / (int64_t)sizeof(real))
            __builtin_prefetch(w + k * outer + at, 0, 3);
}

/* The kernels of some result channels for one summed channel: dst[t][lane]. Few taps would leave most of a transpose unused. */
static void FN(pack_kernel)(const real *w, ptrdiff_t row, int64_t rows, int64_t taps, real *dst, ptrdiff_t ldd, int64_t lanes)
{
    if (taps > 4) {
        FN(transpose)(w, row, rows, taps, dst, ldd, lanes);
        return;
    }
    for (int64_t t = 0; t < taps; t++) {
        FN(copy_run)(dst + t * ldd, w + t, row, rows);
        FN(fill_run)(dst + t * ldd + rows, 0, lanes - rows);
    }
}

/* Whether no element is infinite or NaN. */
static int FN(all_finite)(const real *v, int64_t n)
{
    vec sum[4] = {FN(zero)(), FN(zero)(), FN(zero)(), FN(zero)()};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int64_t j = 0; j < 4; j++)
            sum[j] += FN(zero)() * FN(load)(v + i + j * VL);
    for (; i < n; i += VL)
        sum[0] += FN(zero)() * FN(load_n)(v + i, fc_min(VL, n - i));
    return FN(sum)(sum[0] + sum[1] + sum[2] + sum[3]) == 0;
}

/* Where a box's results go: y plus the strides of one result channel and of a step along each axis of the box. */
typedef struct {
    real *y;
    ptrdiff_t channel, image, step[FC_DIMS];
} FN(result);

static inline FN(result) FN(result_of)(const fc_corr *c, const fc_array *y, const fc_box *box, int64_t first_channel)
{
    FN(result) r;
    r.channel = y->stride[1];
    r.image = y->stride[0];
    ptrdiff_t at = box->n0 * r.image + first_channel * r.channel;
    for (int d = 0; d < FC_DIMS; d++) {
        r.step[d] = y->stride[2 + d] * c->axis[d].ystep;
        at += y->stride[2 + d] * (c->axis[d].ystart + box->j0[d] * c->axis[d].ystep);
    }
    r.y = (real *)y->data + at;
    return r;
}

/* y[i*step] = or += src[i] + bias */
static inline void FN(put_run)(real *y, ptrdiff_t step, const real *src, int64_t n, real bias, int add)
{
    if (step == 1 && !add) {
        vec b = FN(splat)(bias);
        int64_t i = 0;
        for (; i + VL <= n; i += VL)
            FN(store)(y + i, FN(load)(src + i) + b);
        if (i < n)
            FN(store_n)(y + i, FN(load_n)(src + i, n - i) + b, n - i);
    } else if (step == 1) {
        vec b = FN(splat)(bias);
        int64_t i = 0;
        for (; i + VL <= n; i += VL)
            FN(store)(y + i, FN(load)(y + i) + FN(load)(src + i) + b);
        if (i < n)
            FN(store_n)(y + i, FN(load_n)(y + i, n - i) + FN(load_n)(src + i, n - i) + b, n - i);
    } else if (add) {
        for (int64_t i = 0; i < n; i++)
            y[i * step] += src[i] + bias;
    } else {
        for (int64_t i = 0; i < n; i++)
            y[i * step] = src[i] + bias;
    }
}

static inline vec FN(rectified)(vec v, real slope)
{
    vec low = slope != 0 ? FN(splat)(slope) * v : FN(zero)(); /* 0 times an infinity would be NaN */
    return FN(select)((ivec)(v < FN(zero)()), low, v);
}

/* The activation that a convolution may end with (FC_RECTIFY), on results that have just been stored and still lie in a cache
 * near by. NaN stays. */
static void FN(rectify_run)(const fc_problem *p, real *y, ptrdiff_t step, int64_t n)
{
    if (!(p->flags & FC_RECTIFY))
        return;
    const real slope = (real)p->slope;
    if (step != 1) {
        for (int64_t i = 0; i < n; i++)
            y[i * step] = y[i * step] < 0 ? (slope != 0 ? slope * y[i * step] : 0) : y[i * step];
        return;
    }
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(y + i, FN(rectified)(FN(load)(y + i), slope));
    if (i < n)
        FN(store_n)(y + i, FN(rectified)(FN(load_n)(y + i, n - i), slope), n - i);
}

/* The stage before a correlation with holes: every result starts as its bias. A task is one channel of one image. */
static void FN(fill_bias)(const fc_problem *p, const fc_corr *c, const fc_call *call, int64_t task)
{
    int64_t channels = p->groups * c->rows, n = task / channels, k = task % channels;
    const fc_array *y = &call->array[3], *b = &call->array[2];
    real value = b->data ? ((const real *)b->data)[k * b->stride[0]] : 0;
    for (int64_t d = 0; d < c->out[0]; d++)
        for (int64_t h = 0; h < c->out[1]; h++) {
            real *row = (real *)y->data + n * y->stride[0] + k * y->stride[1] + d * y->stride[2] + h * y->stride[3];
            if (y->stride[4] == 1)
                FN(fill_run)(row, value, c->out[2]);
            for (int64_t w = 0; y->stride[4] != 1 && w < c->out[2]; w++)
                row[w * y->stride[4]] = value;
        }
}

/* The phase with the most taps and outputs on every axis, for sizing buffers. */
static fc_corr FN(largest_phase)(const fc_problem *p)
{
    fc_corr c = fc_corr_of(p, 0);
    if (p->op == FC_CONV_INPUT_GRAD)
        for (int d = 0; d < FC_DIMS; d++) {
            c.taps = c.taps / c.axis[d].taps;
            for (int64_t e = 0; e < fc_phases(&p->axis[d]); e++) {
                fc_corr_axis a = fc_phase_axis(&p->axis[d], e);
                c.axis[d].count = fc_max(c.axis[d].count, a.count);
            }
            c.axis[d].count = fc_max(1, c.axis[d].count); /* no output at all: every tap falls into padding */
            c.taps *= c.axis[d].taps;                     /* phase 0 has the most taps */
        }
    return c;
}
