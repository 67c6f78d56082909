/* tile.h: the micro-kernels. Everything that multiplies is one of four register tiles, fed in different ways:
 *
 *   fma_rows  c[i][lane] (+)= sum_q a[row[i] + red[q]] * b[q*ldb + lane]     scalars gathered, vectors packed
 *   fma_taps  c[i][lane] (+)= sum_q a[q*m + i] * b[red[q] + lane]            scalars packed, vectors gathered
 *   dot_taps  c[t]       (+)= sum_p a[p] * b[tap[t] + p]                     lanes are summed at the end
 *   dot_rows  c[k][t]    (+)= sum_p a[k][p] * b[tap[t] + p]                  the same, where few loads serve many products
 *
 * Offset tables instead of strides make one kernel serve every kernel size, stride, dilation and number of axes: they cost
 * one scalar load per step of the sum. They also keep GCC from seeing that neighbouring taps overlap, which it would
 * otherwise merge and spill. The tile sizes are compile-time constants of each instance, so that the accumulators
 * stay in registers; there is an instance for every remainder, because padding a partial tile costs its share. */

/* Registers: rows x vectors of accumulators, one row of vectors and one scalar. */
#if FC_VECTOR_BYTES == 64
#define FC_ROWS_MAX 9 /* fma_rows: 9 x 2 + 2 of 32; more rows would fit, but not their pointers: 14 rows ran at 88 % of peak, 9 at 100 % */
#define FC_ROWS_NV 2
#define FC_TAPS_MAX 8 /* fma_taps: 8 x 3 + 3 */
#define FC_TAPS_NV 3
#define FC_DOTS_ROWS 4 /* dot_rows: 4 x 5 + 4 + 1 */
#define FC_DOTS_TAPS 5
#elif FC_VECTOR_BYTES == 32
#define FC_ROWS_MAX 6 /* 6 x 2 + 2 of 16 */
#define FC_ROWS_NV 2
#define FC_TAPS_MAX 4 /* 4 x 3 + 3 */
#define FC_TAPS_NV 3
#define FC_DOTS_ROWS 3 /* 3 x 4 + 3 + 1 */
#define FC_DOTS_TAPS 4
#elif defined(__aarch64__)
#define FC_ROWS_MAX 6 /* 6 x 4 + 4 of 32 */
#define FC_ROWS_NV 4
#define FC_TAPS_MAX 6
#define FC_TAPS_NV 4
#define FC_DOTS_ROWS 4
#define FC_DOTS_TAPS 5
#else
#define FC_ROWS_MAX 5 /* 5 x 2 + 2 of 16, and a register for the product that SSE2 cannot fuse */
#define FC_ROWS_NV 2
#define FC_TAPS_MAX 5
#define FC_TAPS_NV 2
#define FC_DOTS_ROWS 3
#define FC_DOTS_TAPS 3
#endif
#define FC_DOT_MAX 8

#define FC_INLINE static inline __attribute__((always_inline))
/* One copy for all callers: GCC otherwise makes one more for each constant that somebody passes, 5 % of a wheel in all. The tiles here
 * stay with GCC: their copies for a number of vectors are worth 10 % of small layers with AVX2. */
#ifdef __clang__
#define FC_OUTLINE static __attribute__((noinline))
#else
#define FC_OUTLINE static __attribute__((noinline, noclone))
#endif
#define FC_UNROLL _Pragma("GCC unroll 16")

/* How a finished tile meets what c holds. */
typedef struct {
    real *c;
    ptrdiff_t ldc;
    int add; /* 0: overwrite */
} FN(dest);

FC_INLINE void FN(fma_rows_tile)(const int m, const int nv, const real *a, const ptrdiff_t *row, const ptrdiff_t *red,
                                 ptrdiff_t depth, const real *b, ptrdiff_t ldb, FN(dest) to)
{
    vec acc[FC_ROWS_MAX][FC_ROWS_NV];
    const real *p[FC_ROWS_MAX];
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        p[i] = a + row[i];
        FC_UNROLL for (int j = 0; j < nv; j++) acc[i][j] = FN(zero)();
    }
    for (ptrdiff_t q = 0; q < depth; q++, b += ldb) {
        vec v[FC_ROWS_NV];
        ptrdiff_t off = red[q];
        FC_UNROLL for (int j = 0; j < nv; j++) v[j] = FN(load)(b + j * VL);
        FC_UNROLL for (int i = 0; i < m; i++)
        {
            vec s = FN(splat)(p[i][off]);
            FC_UNROLL for (int j = 0; j < nv; j++) acc[i][j] += s * v[j];
        }
    }
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        FC_UNROLL for (int j = 0; j < nv; j++)
        {
            real *c = to.c + i * to.ldc + j * VL;
            FN(store)(c, to.add ? FN(load)(c) + acc[i][j] : acc[i][j]);
        }
    }
}

FC_INLINE void FN(fma_taps_tile)(const int m, const int nv, const real *a, const ptrdiff_t *red, ptrdiff_t depth,
                                 const real *b, FN(dest) to)
{
    vec acc[FC_TAPS_MAX][FC_TAPS_NV];
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        FC_UNROLL for (int j = 0; j < nv; j++) acc[i][j] = FN(zero)();
    }
    for (ptrdiff_t q = 0; q < depth; q++, a += m) {
        vec v[FC_TAPS_NV];
        const real *p = b + red[q];
        FC_UNROLL for (int j = 0; j < nv; j++) v[j] = FN(load)(p + j * VL);
        FC_UNROLL for (int i = 0; i < m; i++)
        {
            vec s = FN(splat)(a[i]);
            FC_UNROLL for (int j = 0; j < nv; j++) acc[i][j] += s * v[j];
        }
    }
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        FC_UNROLL for (int j = 0; j < nv; j++)
        {
            real *c = to.c + i * to.ldc + j * VL;
            FN(store)(c, to.add ? FN(load)(c) + acc[i][j] : acc[i][j]);
        }
    }
}

/* count need not be a multiple of VL: the last lanes are masked. */
FC_INLINE void FN(dot_taps_tile)(const int m, const real *a, const real *b, const ptrdiff_t *tap, ptrdiff_t count, real *c)
{
    vec acc[FC_DOT_MAX];
    const real *p[FC_DOT_MAX];
    FC_UNROLL for (int t = 0; t < m; t++)
    {
        acc[t] = FN(zero)();
        p[t] = b + tap[t];
    }
    ptrdiff_t i = 0;
    for (; i + VL <= count; i += VL) {
        vec v = FN(load)(a + i);
        FC_UNROLL for (int t = 0; t < m; t++) acc[t] += v * FN(load)(p[t] + i);
    }
    if (i < count) {
        vec v = FN(load_n)(a + i, count - i);
        FC_UNROLL for (int t = 0; t < m; t++) acc[t] += v * FN(load_n)(p[t] + i, count - i);
    }
    for (int t = 0; t < m; t++)
        c[t] += FN(sum)(acc[t]);
}

/* The instances, by number of rows; nv is 1 or the most. */
#define FC_ROWS_CASE(M)                                                      \
    case M:                                                                  \
        if (M <= FC_ROWS_MAX)                                                \
            FN(fma_rows_tile)(M <= FC_ROWS_MAX ? M : 1, nv, a, row, red, depth, b, ldb, to); \
        break;
#define FC_TAPS_CASE(M)                                                                              \
    case M:                                                                                          \
        if (M <= FC_TAPS_MAX)                                                                        \
            FN(fma_taps_tile)(M <= FC_TAPS_MAX ? M : 1, nv, a, red, depth, b, to);                    \
        break;

FC_INLINE void FN(fma_rows_switch)(int m, const int nv, const real *a, const ptrdiff_t *row, const ptrdiff_t *red,
                                   ptrdiff_t depth, const real *b, ptrdiff_t ldb, FN(dest) to)
{
    switch (m) {
        FC_ROWS_CASE(1) FC_ROWS_CASE(2) FC_ROWS_CASE(3) FC_ROWS_CASE(4) FC_ROWS_CASE(5) FC_ROWS_CASE(6) FC_ROWS_CASE(7)
        FC_ROWS_CASE(8) FC_ROWS_CASE(9)
    }
}

FC_INLINE void FN(fma_taps_switch)(int m, const int nv, const real *a, const ptrdiff_t *red, ptrdiff_t depth,
                                   const real *b, FN(dest) to)
{
    switch (m) {
        FC_TAPS_CASE(1) FC_TAPS_CASE(2) FC_TAPS_CASE(3) FC_TAPS_CASE(4) FC_TAPS_CASE(5) FC_TAPS_CASE(6) FC_TAPS_CASE(7)
        FC_TAPS_CASE(8)
    }
}

/* m <= FC_ROWS_MAX rows, nv <= FC_ROWS_NV vectors. */
static __attribute__((noinline)) void FN(fma_rows)(int m, int nv, const real *a, const ptrdiff_t *row,
                                                   const ptrdiff_t *red, ptrdiff_t depth, const real *b, ptrdiff_t ldb,
                                                   FN(dest) to)
{
    switch (nv) {
    case 1: FN(fma_rows_switch)(m, 1, a, row, red, depth, b, ldb, to); break;
    case 2: FN(fma_rows_switch)(m, 2, a, row, red, depth, b, ldb, to); break;
#if FC_ROWS_NV > 2
    case 3: FN(fma_rows_switch)(m, 3, a, row, red, depth, b, ldb, to); break;
    case 4: FN(fma_rows_switch)(m, 4, a, row, red, depth, b, ldb, to); break;
#endif
    }
}

/* m <= FC_TAPS_MAX rows, nv <= FC_TAPS_NV vectors. */
static __attribute__((noinline)) void FN(fma_taps)(int m, int nv, const real *a, const ptrdiff_t *red, ptrdiff_t depth,
                                                   const real *b, FN(dest) to)
{
    switch (nv) {
    case 1: FN(fma_taps_switch)(m, 1, a, red, depth, b, to); break;
    case 2: FN(fma_taps_switch)(m, 2, a, red, depth, b, to); break;
#if FC_TAPS_NV > 2
    case 3: FN(fma_taps_switch)(m, 3, a, red, depth, b, to); break;
#endif
#if FC_TAPS_NV > 3
    case 4: FN(fma_taps_switch)(m, 4, a, red, depth, b, to); break;
#endif
    }
}

/* Any number of taps. Sums are cut into runs of FC_DOT_RUN so that a lane adds at most some hundred terms. */
#define FC_DOT_RUN (256 * VL)
static void FN(dot_taps)(const real *a, const real *b, const ptrdiff_t *tap, ptrdiff_t taps, ptrdiff_t count, real *c)
{
    for (ptrdiff_t i = 0; i < count; i += FC_DOT_RUN) {
        ptrdiff_t n = count - i < FC_DOT_RUN ? count - i : FC_DOT_RUN;
        for (ptrdiff_t t = 0; t < taps; t += FC_DOT_MAX) {
            ptrdiff_t m = taps - t < FC_DOT_MAX ? taps - t : FC_DOT_MAX;
            switch (m) {
            case 1: FN(dot_taps_tile)(1, a + i, b + i, tap + t, n, c + t); break;
            case 2: FN(dot_taps_tile)(2, a + i, b + i, tap + t, n, c + t); break;
            case 3: FN(dot_taps_tile)(3, a + i, b + i, tap + t, n, c + t); break;
            case 4: FN(dot_taps_tile)(4, a + i, b + i, tap + t, n, c + t); break;
            case 5: FN(dot_taps_tile)(5, a + i, b + i, tap + t, n, c + t); break;
            case 6: FN(dot_taps_tile)(6, a + i, b + i, tap + t, n, c + t); break;
            case 7: FN(dot_taps_tile)(7, a + i, b + i, tap + t, n, c + t); break;
            default: FN(dot_taps_tile)(8, a + i, b + i, tap + t, n, c + t); break;
            }
        }
    }
}

FC_INLINE void FN(dot_rows_tile)(const int m, const int n, const real *a, ptrdiff_t lda, const real *b, const ptrdiff_t *tap,
                                 ptrdiff_t count, real *c, ptrdiff_t ldc)
{
    vec acc[FC_DOTS_ROWS][FC_DOTS_TAPS];
    const real *p[FC_DOTS_TAPS];
    FC_UNROLL for (int t = 0; t < n; t++)
    {
        p[t] = b + tap[t];
        FC_UNROLL for (int k = 0; k < m; k++) acc[k][t] = FN(zero)();
    }
    ptrdiff_t i = 0;
    for (; i + VL <= count; i += VL) {
        vec v[FC_DOTS_ROWS];
        FC_UNROLL for (int k = 0; k < m; k++) v[k] = FN(loaded)(FN(load)(a + k * lda + i));
        FC_UNROLL for (int t = 0; t < n; t++)
        {
            vec x = FN(loaded)(FN(load)(p[t] + i));
            FC_UNROLL for (int k = 0; k < m; k++) acc[k][t] += v[k] * x;
        }
    }
    if (i < count) {
        vec v[FC_DOTS_ROWS];
        FC_UNROLL for (int k = 0; k < m; k++) v[k] = FN(load_n)(a + k * lda + i, count - i);
        FC_UNROLL for (int t = 0; t < n; t++)
        {
            vec x = FN(load_n)(p[t] + i, count - i);
            FC_UNROLL for (int k = 0; k < m; k++) acc[k][t] += v[k] * x;
        }
    }
    for (int k = 0; k < m; k++)
        for (int t = 0; t < n; t++)
            c[k * ldc + t] += FN(sum)(acc[k][t]);
}

#define FC_DOTS_CASE(M, N)                                                                                                        \
    case N:                                                                                                                       \
        if (N <= FC_DOTS_TAPS)                                                                                                    \
            FN(dot_rows_tile)(M, N <= FC_DOTS_TAPS ? N : 1, a, lda, b, tap, count, c, ldc);                                        \
        break;

FC_INLINE void FN(dot_rows_switch)(const int m, ptrdiff_t n, const real *a, ptrdiff_t lda, const real *b, const ptrdiff_t *tap,
                                   ptrdiff_t count, real *c, ptrdiff_t ldc)
{
    switch (n) {
        FC_DOTS_CASE(m, 1) FC_DOTS_CASE(m, 2) FC_DOTS_CASE(m, 3) FC_DOTS_CASE(m, 4) FC_DOTS_CASE(m, 5)
    }
}

/* Up to FC_DOTS_ROWS rows, any number of taps. */
static __attribute__((noinline)) void FN(dot_rows)(ptrdiff_t m, const real *a, ptrdiff_t lda, const real *b, const ptrdiff_t *tap,
                                                   ptrdiff_t taps, ptrdiff_t count, real *c, ptrdiff_t ldc)
{
    if (m == 1) {
        FN(dot_taps)(a, b, tap, taps, count, c);
        return;
    }
    ptrdiff_t tiles = (taps + FC_DOTS_TAPS - 1) / FC_DOTS_TAPS;
    for (ptrdiff_t i = 0; i < count; i += FC_DOT_RUN) {
        ptrdiff_t run = count - i < FC_DOT_RUN ? count - i : FC_DOT_RUN;
        for (ptrdiff_t j = 0, t = 0, n; j < tiles; j++, t += n) {
            n = taps / tiles + (j < taps % tiles);
            switch (m) {
            case 2: FN(dot_rows_switch)(2, n, a + i, lda, b + i, tap + t, run, c + t, ldc); break;
            case 3: FN(dot_rows_switch)(3, n, a + i, lda, b + i, tap + t, run, c + t, ldc); break;
#if FC_DOTS_ROWS > 3
            case 4: FN(dot_rows_switch)(4, n, a + i, lda, b + i, tap + t, run, c + t, ldc); break;
#endif
            }
        }
    }
}
