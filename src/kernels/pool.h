/* pool.h: sums and maxima under windows. Two ways to reduce:
 *
 *   reduce_taps  y[i] = reduction over t of x[i + tap[t]]     lanes along outputs: windows of one form, close together
 *   run_*        reduction of x[0 .. n)                       lanes along inputs: any window, as a run
 *
 * A maximum takes its elements in row-major order, and a later one only if it is greater or NaN: so the first maximum, or the
 * last NaN, is found. Where it lies is kept as a number of lane width: the distance from the window's start in the plane. */

#include "windows.h"

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
