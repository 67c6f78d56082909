/* pool.h: sums and maxima under windows. Two ways to reduce:
 *
 *   reduce_taps  y[i] = reduction over t of x[i + tap[t]]     lanes along outputs: windows of one form, close together
 *   run_*        reduction of x[0 .. n)                       lanes along inputs: any window, as a run
 *
 * A maximum takes its elements in row-major order, and a later one only if it is greater or NaN: so the first maximum, or the
 * last NaN, is found. Where it lies is kept as a number of lane width: the distance from the window's start in the plane. */

#if FC_VECTOR_BYTES == 64
#define FC_POOL_NV 4 /* 4 values, 4 numbers, one of each, of 32 registers */
#else
#define FC_POOL_NV 2
#endif

/* Offsets of taps, and the number that each stands for. */
typedef struct {
    ptrdiff_t *tap;
    lane *number;
    int64_t count;
} FN(taps);

/* Values, and with FC_MAX_AT the numbers beside them (NULL: all zero). */
typedef struct {
    real *x;
    lane *at;
} FN(found);

FC_INLINE void FN(reduce_tile)(const fc_reduction kind, const int chained, const int nv, FN(found) from,
                               const FN(taps) *taps, FN(found) to)
{
    vec best[FC_POOL_NV];
    ivec at[FC_POOL_NV];
    FC_UNROLL for (int j = 0; j < nv; j++)
    {
        best[j] = FN(load)(from.x + taps->tap[0] + j * VL);
        if (kind == FC_MAX_AT)
            at[j] = FN(isplat)(taps->number[0]) + (chained ? FN(iload)(from.at + taps->tap[0] + j * VL) : (ivec){0});
    }
    for (int64_t t = 1; t < taps->count; t++) {
        ptrdiff_t off = taps->tap[t];
        ivec number = kind == FC_MAX_AT ? FN(isplat)(taps->number[t]) : (ivec){0};
        FC_UNROLL for (int j = 0; j < nv; j++)
        {
            vec v = FN(load)(from.x + off + j * VL);
            if (kind == FC_SUM)
                best[j] += v;
            else if (kind == FC_MAX)
                best[j] = FN(max_nan)(best[j], v);
            else
                FN(max_nan_at)(&best[j], &at[j], v, chained ? number + FN(iload)(from.at + off + j * VL) : number);
        }
    }
    FC_UNROLL for (int j = 0; j < nv; j++)
    {
        FN(store)(to.x + j * VL, best[j]);
        if (kind == FC_MAX_AT)
            FN(istore)(to.at + j * VL, at[j]);
    }
}

FC_INLINE void FN(reduce_all)(const fc_reduction kind, const int chained, FN(found) from, const FN(taps) *taps, int64_t n,
                              FN(found) to)
{
    int64_t i = 0;
    for (; n - i > (FC_POOL_NV - 1) * VL; i += FC_POOL_NV * VL)
        FN(reduce_tile)(kind, chained, FC_POOL_NV, (FN(found)){from.x + i, chained ? from.at + i : NULL}, taps,
                        (FN(found)){to.x + i, kind == FC_MAX_AT ? to.at + i : NULL});
    for (; i < n; i += VL)
        FN(reduce_tile)(kind, chained, 1, (FN(found)){from.x + i, chained ? from.at + i : NULL}, taps,
                        (FN(found)){to.x + i, kind == FC_MAX_AT ? to.at + i : NULL});
}

/* n results (reads and writes up to the next multiple of VL). At least one tap. */
static __attribute__((noinline)) void FN(reduce_taps)(fc_reduction kind, FN(found) from, const FN(taps) *taps, int64_t n,
                                                      FN(found) to)
{
    switch (kind) {
    case FC_SUM: FN(reduce_all)(FC_SUM, 0, from, taps, n, to); break;
    case FC_MAX: FN(reduce_all)(FC_MAX, 0, from, taps, n, to); break;
    case FC_MAX_AT:
        if (from.at)
            FN(reduce_all)(FC_MAX_AT, 1, from, taps, n, to);
        else
            FN(reduce_all)(FC_MAX_AT, 0, from, taps, n, to);
        break;
    }
}

/* A sum, or a maximum and its index in the plane. index < 0: nothing yet. */
typedef struct {
    real value;
    int64_t index;
} FN(best);

/* Whether a maximum is to be taken rather than `best`, in whichever order they come. */
static inline int FN(better)(real value, int64_t index, const FN(best) *best)
{
    int nan = value != value;
    if (best->index < 0 || nan != (best->value != best->value))
        return best->index < 0 || nan;
    return nan ? index > best->index : value > best->value || (value == best->value && index < best->index);
}

static inline void FN(take_better)(FN(best) *best, real value, int64_t index)
{
    if (FN(better)(value, index, best))
        *best = (FN(best)){value, index};
}

/* Sums of x[0 .. n), lane by lane; at most FC_SUM_CHUNK elements, so that a sum has few terms. */
#define FC_SUM_CHUNK (64 * 4 * VL)
static inline vec FN(chunk_sum)(const real *x, int64_t n)
{
    vec sum[4] = {FN(zero)(), FN(zero)(), FN(zero)(), FN(zero)()};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        FC_UNROLL for (int j = 0; j < 4; j++) sum[j] += FN(load)(x + i + j * VL);
    for (; i + VL <= n; i += VL)
        sum[0] += FN(load)(x + i);
    if (i < n)
        sum[1] += FN(load_n)(x + i, n - i);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Sum of x[0 .. n): of chunks, and of blocks of 64 of them, which keeps the error low. */
static __attribute__((noinline)) real FN(long_sum)(const real *x, int64_t n)
{
    if (n <= FC_SUM_CHUNK)
        return FN(sum)(FN(chunk_sum)(x, n));
    vec total = FN(zero)();
    for (int64_t i = 0; i < n; i += 64 * FC_SUM_CHUNK) {
        vec block = FN(zero)();
        for (int64_t j = i; j < fc_min(n, i + 64 * FC_SUM_CHUNK); j += FC_SUM_CHUNK)
            block += FN(chunk_sum)(x + j, fc_min(n - j, FC_SUM_CHUNK));
        total += block;
    }
    return FN(sum)(total);
}

static inline real FN(run_sum)(const real *x, int64_t n)
{
    if (n >= 8)
        return FN(long_sum)(x, n);
    real sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

/* Maximum of x[0], x[step] ...: n of them, at least one. */
static real FN(run_max)(const real *x, int64_t n, ptrdiff_t step)
{
    real best = x[0];
    int64_t i = 1;
    if (step == 1 && n >= VL) {
        vec most = FN(load)(x), other = most;
        for (i = VL; i + 2 * VL <= n; i += 2 * VL) {
            most = FN(max_nan)(most, FN(load)(x + i));
            other = FN(max_nan)(other, FN(load)(x + i + VL));
        }
        for (; i + VL <= n; i += VL)
            most = FN(max_nan)(most, FN(load)(x + i));
        most = FN(max_nan)(FN(max_nan)(most, other), FN(load)(x + n - VL)); /* the last ones, some of them again */
        real lanes[VL];
        FN(store)(lanes, most);
        best = lanes[0];
        for (int j = 1; j < VL; j++)
            best = lanes[j] > best || lanes[j] != lanes[j] ? lanes[j] : best;
        return best;
    }
    for (; i < n; i++)
        best = x[i * step] > best || x[i * step] != x[i * step] ? x[i * step] : best;
    return best;
}

/* The same, and which one it is: x[i * step] has index first + i * step. */
static FN(best) FN(run_max_at)(const real *x, int64_t n, ptrdiff_t step, int64_t first)
{
    FN(best) best = {0, -1};
    int64_t i = 0;
    if (step == 1 && n >= VL) {
        vec most = FN(load)(x);
        ivec at = FN(isplat)(0);
        for (i = VL; i + VL <= n; i += VL)
            FN(max_nan_at)(&most, &at, FN(load)(x + i), FN(isplat)((lane)(i / VL)));
        real values[VL];
        lane blocks[VL];
        FN(store)(values, most);
        FN(istore)(blocks, at);
        for (int j = 0; j < VL; j++)
            FN(take_better)(&best, values[j], first + blocks[j] * (int64_t)VL + j);
    }
    for (; i < n; i++)
        FN(take_better)(&best, x[i * step], first + i * step);
    return best;
}

/* a[i] = x[2i], b[i] = x[2i + 1], n elements in all. */
static inline void FN(deal_pairs)(const real *x, int64_t n, real *a, real *b)
{
    int64_t pairs = n / 2, i = 0;
    for (; i + VL <= pairs; i += VL) {
        vec u = FN(load)(x + 2 * i), v = FN(load)(x + 2 * i + VL);
        FN(store)(a + i, FN(evens)(u, v));
        FN(store)(b + i, FN(odds)(u, v));
    }
    int64_t rest = pairs - i;
    if (rest && pairs >= VL) { /* the last vector, some of it again */
        i = pairs - VL;
        vec u = FN(load)(x + 2 * i), v = FN(load)(x + 2 * i + VL);
        FN(store)(a + i, FN(evens)(u, v));
        FN(store)(b + i, FN(odds)(u, v));
    } else if (rest) {
        vec u = FN(load_n)(x, fc_min(VL, 2 * rest)), v = FN(load_n)(x + VL, fc_max(0, 2 * rest - VL));
        FN(store_n)(a, FN(evens)(u, v), rest);
        FN(store_n)(b, FN(odds)(u, v), rest);
    }
    if (n % 2)
        a[pairs] = x[n - 1];
}

/* panel_fill for one channel. With a step of two both phases of a row are written in one go. */
static __attribute__((noinline)) void FN(pool_fill)(const fc_panel *p, const fc_corr *c, const fc_array *x, int64_t n, int64_t k,
                                                    real fill, real *dst)
{
    const fc_panel_axis *a = p->axis;
    if (a[2].phases != 2 || a[2].step != 1 || x->stride[4] != 1) {
        FN(panel_fill)(p, c, x, n, 1, k, fill, dst);
        return;
    }
    int64_t lo = fc_max(0, -a[2].start), hi = fc_min(a[2].extent, c->in[2] - a[2].start); /* positions inside the input */
    const real *plane = (const real *)x->data + n * x->stride[0] + k * x->stride[1] + fc_max(0, a[2].start);
    for (int64_t f = 0; f < a[0].phases * a[1].phases; f++) {
        real *row = dst + 2 * f * p->phase_size, *other = row + p->phase_size;
        for (int64_t d = 0, sd = a[0].start + f / a[1].phases * a[0].step; d < a[0].len; d++, sd += a[0].phases * a[0].step)
            for (int64_t h = 0, sh = a[1].start + f % a[1].phases * a[1].step; h < a[1].len;
                 h++, sh += a[1].phases * a[1].step, row += p->row, other += p->row) {
                if (sd < 0 || sd >= c->in[0] || sh < 0 || sh >= c->in[1] || hi <= lo) {
                    FN(fill_run)(row, fill, p->row);
                    FN(fill_run)(other, fill, p->row);
                    continue;
                }
                FN(deal_pairs)(plane + sd * x->stride[2] + sh * x->stride[3], hi - lo, lo % 2 ? other + lo / 2 : row + lo / 2,
                               lo % 2 ? row + lo / 2 + 1 : other + lo / 2);
                for (int64_t i = 0; i < lo; i++)
                    (i % 2 ? other : row)[i / 2] = fill;
                for (int64_t i = hi; i < 2 * p->row; i++)
                    (i % 2 ? other : row)[i / 2] = fill;
            }
    }
}
