/* pool.h: sums and maxima under windows. Three ways to reduce:
 *
 *   stack   y[c] = reduction over rows of x[row + c]        whole vectors of columns, whatever the windows along W
 *   slide   y[i] = reduction over taps of x[i + tap]        lanes along outputs: windows of one form
 *   run_*   reduction of x[0 .. n)                          lanes along inputs: any window, as a run
 *
 * A maximum is the first one in row-major order, or the last NaN. Its number says where it lies: the distance from the window's
 * start in the plane, or which tap it is; either grows in row-major order. */

/* Offsets, and the number that each stands for. */
typedef struct {
    const ptrdiff_t *tap;
    const lane *number;
    int64_t count;
} FN(taps);

/* Values, and with FC_MAX_AT the numbers beside them. */
typedef struct {
    real *x;
    lane *at;
} FN(found);

/* ---- rows ---- */

FC_OUTLINE vec FN(load_far)(const real *x, ptrdiff_t step, int64_t n)
{
    vec v = {0};
    for (int i = 0; i < VL && i < n; i++)
        v[i] = x[i * step];
    return v;
}

FC_INLINE vec FN(load_columns)(const int unit, const real *x, ptrdiff_t step, int64_t n)
{
    if (!unit)
        return FN(load_far)(x, step, n);
    return n >= VL ? FN(load)(x) : FN(load_n)(x, n);
}

/* `nv` vectors of columns, of which n are there, over all rows. */
FC_INLINE void FN(stack_tile)(const fc_reduction kind, const int unit, const int nv, const int64_t count, const real *x,
                              ptrdiff_t step, FN(taps) rows, int64_t n, vec *best, ivec *at)
{
    FC_UNROLL for (int j = 0; j < nv; j++)
    {
        best[j] = FN(load_columns)(unit, x + (rows.tap[0] + j * VL * step), step, n - j * VL);
        at[j] = kind == FC_MAX_AT ? FN(isplat)(rows.number[0]) : (ivec){0};
    }
    for (int64_t r = 1; r < count; r++) {
        ivec number = kind == FC_MAX_AT ? FN(isplat)(rows.number[r]) : (ivec){0};
        FC_UNROLL for (int j = 0; j < nv; j++)
        {
            vec v = FN(load_columns)(unit, x + (rows.tap[r] + j * VL * step), step, n - j * VL);
            if (kind == FC_SUM)
                best[j] += v;
            else if (kind == FC_MAX)
                best[j] = FN(max_nan)(best[j], v);
            else
                FN(max_nan_at)(&best[j], &at[j], v, number);
        }
    }
}

/* One or two vectors of columns go to `to`, or even ones there and odd ones to `odd`. Only n of them are written if not dealt. */
FC_INLINE void FN(stack_put)(const fc_reduction kind, const int dealt, const int nv, int64_t n, const vec *best, const ivec *at,
                             int64_t i, FN(found) to, FN(found) odd)
{
    if (dealt) {
        vec other = nv == 2 ? best[1] : FN(zero)();
        FN(store)(to.x + i / 2, FN(evens)(best[0], other));
        FN(store)(odd.x + i / 2, FN(odds)(best[0], other));
        if (kind == FC_MAX_AT) {
            vec low = (vec)at[0], high = (vec)at[nv - 1];
            FN(istore)(to.at + i / 2, (ivec)FN(evens)(low, high));
            FN(istore)(odd.at + i / 2, (ivec)FN(odds)(low, high));
        }
        return;
    }
    FC_UNROLL for (int j = 0; j < nv; j++)
    {
        if (n - j * VL >= VL)
            FN(store)(to.x + i + j * VL, best[j]);
        else
            FN(store_n)(to.x + i + j * VL, best[j], n - j * VL);
        if (kind == FC_MAX_AT)
            FN(istore)(to.at + i + j * VL, at[j]);
    }
}

FC_INLINE int FN(stack_all)(const fc_reduction kind, const int dealt, const int unit, const int64_t count, const real *x,
                            ptrdiff_t step, FN(taps) rows, int64_t n, FN(found) to, FN(found) odd)
{
    const ivec negative_zero = (ivec)FN(splat)((real)-0.0);
    vec best[2] = {FN(zero)(), FN(zero)()};
    ivec at[2], doubt = {0};
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        FN(stack_tile)(kind, unit, 2, count, x + i * step, step, rows, 2 * VL, best, at);
        FN(stack_put)(kind, dealt, 2, 2 * VL, best, at, i, to, odd);
        if (kind == FC_MAX)
            doubt |= ((ivec)best[0] == negative_zero) | ((ivec)best[1] == negative_zero);
    }
    if (n - i > VL) {
        FN(stack_tile)(kind, unit, 2, count, x + i * step, step, rows, n - i, best, at);
        FN(stack_put)(kind, dealt, 2, n - i, best, at, i, to, odd);
    } else if (n > i) {
        FN(stack_tile)(kind, unit, 1, count, x + i * step, step, rows, n - i, best, at);
        FN(stack_put)(kind, dealt, 1, n - i, best, at, i, to, odd);
    }
    if (kind != FC_MAX)
        return 0;
    return FN(any)(doubt | ((ivec)best[0] == negative_zero) | ((ivec)best[1] == negative_zero));
}

FC_OUTLINE int FN(stack_far)(fc_reduction kind, const real *x, ptrdiff_t step, FN(taps) rows, int64_t n,
                             FN(found) to, FN(found) odd)
{
    return odd.x ? FN(stack_all)(kind, 1, 0, rows.count, x, step, rows, n, to, odd)
                 : FN(stack_all)(kind, 0, 0, rows.count, x, step, rows, n, to, odd);
}

/* Columns 0 .. n of rows of elements `step` apart, reduced to one row. If they are dealt, even columns go to `to` and odd
 * ones to `odd`, and up to 2*VL elements are written beyond. With FC_MAX, returns whether some maximum is -0.0 (then a row's
 * number may decide on a zero's sign). The usual numbers of rows are constants: short rows have no time for loops. */
FC_INLINE int FN(stack)(const fc_reduction kind, const int dealt, const real *x, ptrdiff_t step, FN(taps) rows, int64_t n,
                        FN(found) to, FN(found) odd)
{
    if (step != 1)
        return FN(stack_far)(kind, x, step, rows, n, to, odd);
    if (rows.count == 2 && kind != FC_MAX_AT)
        return FN(stack_all)(kind, dealt, 1, 2, x, 1, rows, n, to, odd);
    if (rows.count == 3 && kind != FC_MAX_AT)
        return FN(stack_all)(kind, dealt, 1, 3, x, 1, rows, n, to, odd);
    return FN(stack_all)(kind, dealt, 1, rows.count, x, 1, rows, n, to, odd);
}

/* ---- windows of one form ---- */

FC_INLINE vec FN(slide_tile)(const fc_reduction kind, const int64_t count, FN(found) from, FN(taps) taps, int64_t i, ivec *at)
{
    vec best = FN(load)(from.x + taps.tap[0] + i);
    if (kind == FC_MAX_AT)
        *at = FN(isplat)(taps.number[0]) + FN(iload)(from.at + taps.tap[0] + i);
    for (int64_t t = 1; t < count; t++) {
        vec v = FN(load)(from.x + taps.tap[t] + i);
        if (kind == FC_SUM)
            best += v;
        else if (kind == FC_MAX)
            best = FN(max_nan)(best, v);
        else
            FN(max_first)(&best, at, v, FN(isplat)(taps.number[t]) + FN(iload)(from.at + taps.tap[t] + i));
    }
    return best;
}

/* n results (reads values, numbers and sizes, and writes numbers, up to the next multiple of VL). Sums are divided by
 * sizes[i] * lines. With FC_MAX_AT, returns whether some number says nothing: of NaN, and of -infinity, which padding is. */
FC_INLINE int FN(slide)(const fc_reduction kind, const int64_t count, FN(found) from, FN(taps) taps, int64_t n, const real *sizes,
                        real lines, FN(found) to)
{
    vec across = FN(splat)(lines);
    ivec known = ~(ivec){0};
    for (int64_t i = 0; i < n; i += VL) {
        ivec at = {0};
        vec best = FN(slide_tile)(kind, count, from, taps, i, &at);
        if (kind == FC_SUM)
            best /= FN(load)(sizes + i) * across;
        if (n - i >= VL) {
            FN(store)(to.x + i, best);
        } else {
            FN(store_n)(to.x + i, best, n - i);
            best = kind == FC_MAX_AT ? FN(keep_n)(best, n - i) : best;
        }
        if (kind == FC_MAX_AT) {
            known &= (ivec)(best > -(real)INFINITY);
            FN(istore)(to.at + i, at);
        }
    }
    return kind == FC_MAX_AT && FN(any)(~known);
}

static inline void FN(store_bytes)(uint8_t *restrict y, const lane *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (uint8_t)x[i];
}

/* ---- runs ---- */

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
FC_OUTLINE real FN(long_sum)(const real *x, int64_t n)
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

/* Maximum of x[0 .. n), lane by lane. */
static inline vec FN(lanes_max)(const real *x, int64_t n)
{
    vec most[4];
    int64_t i = 0;
    if (n < VL) {
        most[0] = FN(splat)(x[0]);
        for (i = 1; i < n; i++)
            most[0] = FN(max_nan)(most[0], FN(splat)(x[i]));
        return most[0];
    }
    most[0] = most[1] = most[2] = most[3] = FN(load)(x);
    for (; i + 4 * VL <= n; i += 4 * VL)
        FC_UNROLL for (int j = 0; j < 4; j++) most[j] = FN(max_nan)(most[j], FN(load)(x + i + j * VL));
    for (; i + VL <= n; i += VL)
        most[1] = FN(max_nan)(most[1], FN(load)(x + i));
    most[2] = FN(max_nan)(most[2], FN(load)(x + n - VL)); /* the last ones, some of them again */
    return FN(max_nan)(FN(max_nan)(most[0], most[1]), FN(max_nan)(most[2], most[3]));
}

/* Maximum of x[0], x[step] ...: n of them, at least one. */
static real FN(run_max)(const real *x, int64_t n, ptrdiff_t step)
{
    real best = x[0], lanes[VL];
    if (step == 1 && n >= VL) {
        FN(store)(lanes, FN(lanes_max)(x, n));
        x = lanes;
        n = VL;
    }
    for (int64_t i = 0; i < n; i++)
        best = x[i * step] > best || x[i * step] != x[i * step] ? x[i * step] : best;
    return best;
}

/* The first of x[0 .. n) that equals its maximum, or the last NaN if that is one. */
static inline int64_t FN(find_max)(const real *x, int64_t n, real most)
{
    int64_t i = 0;
    if (most != most) {
        for (i = n - 1; x[i] == x[i];)
            i--;
        return i;
    }
    vec wanted = FN(splat)(most);
    while (i + VL <= n && !FN(any)((ivec)(FN(load)(x + i) == wanted)))
        i += VL;
    while (x[i] != most)
        i++;
    return i;
}

/* A vector of sums or maxima of the `count` <= VL planes of n elements that lie `step` apart: their lanes, folded all at once. */
FC_INLINE vec FN(fold_planes)(const fc_reduction kind, const real *x, ptrdiff_t step, int64_t count, int64_t n)
{
    vec part[VL];
    for (int j = 0; j < VL; j++)
        part[j] = j >= count ? FN(zero)() : kind == FC_SUM ? FN(chunk_sum)(x + j * step, n) : FN(lanes_max)(x + j * step, n);
    for (int half = VL / 2; half; half /= 2)
        FC_UNROLL for (int i = 0; i < half; i++)
        {
            vec low = FN(zip_lo)(part[i], part[i + half]), high = FN(zip_hi)(part[i], part[i + half]);
            part[i] = kind == FC_SUM ? low + high : FN(max_nan)(low, high);
        }
    return part[0];
}

/* The maximum of x[0], x[step] ... and which one it is: x[i * step] has index first + i * step. */
static FN(best) FN(run_max_at)(const real *x, int64_t n, ptrdiff_t step, int64_t first)
{
    FN(best) best = {0, -1};
    if (step == 1 && n >= VL) {
        int64_t i = FN(find_max)(x, n, FN(run_max)(x, n, 1));
        return (FN(best)){x[i], first + i};
    }
    for (int64_t i = 0; i < n; i++)
        FN(take_better)(&best, x[i * step], first + i * step);
    return best;
}

/* y[i] = x[i] / (size[i] * lines); zeros are written beyond, up to the next multiple of VL, up to which sizes are read. */
static inline void FN(put_means)(real *y, const real *x, const real *size, real lines, int64_t n)
{
    vec l = FN(splat)(lines);
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(y + i, FN(load)(x + i) / (FN(load)(size + i) * l));
    if (i < n)
        FN(store)(y + i, FN(keep_n)(FN(load_n)(x + i, n - i) / (FN(load)(size + i) * l), n - i));
}
