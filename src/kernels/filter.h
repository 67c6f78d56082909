/* filter.h: one plane by one kernel of any size: lanes are pixels of a row, accumulators are rows of results.
 *
 *   filter_rows  y[h][j] (+)= sum_(s,r) w[s][r] * x[h + r][j + s*step]      for FC_FILTER_ROWS rows h, r < nr
 *
 * A vector that is loaded for a column of the kernel serves all of its rows and all rows of results: 15 loads for 64 products
 * with 8 rows of 8. Rows of x lie FC_FILTER_PITCH apart, which is known here, so that one pointer serves all of them.
 *
 * The products of some columns of the kernel, FC_FILTER_RUN terms, are summed first, and then their sums: in a flat part of an image
 * each addition errs the same way, and a sum of a thousand terms would be off by fifty units in its last place. */

#ifndef FC_FILTER_RUN
#define FC_FILTER_RUN 16
#if FC_VECTOR_BYTES == 64
#define FC_FILTER_ROWS 8 /* 8 sums, 8 sums of sums, 8 weights and what is loaded, of 32 registers */
#define FC_FILTER_NV 1
#define FC_FILTER_TAPS 8
#elif defined(__aarch64__)
#define FC_FILTER_ROWS 4
#define FC_FILTER_NV 2
#define FC_FILTER_TAPS 8
#elif FC_VECTOR_BYTES == 32
#define FC_FILTER_ROWS 4 /* 8 sums, 5 weights, what is loaded, of 16 registers */
#define FC_FILTER_NV 2
#define FC_FILTER_TAPS 5
#else
#define FC_FILTER_ROWS 4
#define FC_FILTER_NV 2
#define FC_FILTER_TAPS 5
#endif
#endif

#define FC_FILTER_PITCH (65 * FC_ALIGN / (int64_t)sizeof(real)) /* an odd number of lines: rows do not evict each other */

typedef struct {
    const real *x;    /* row 0, what output 0 meets first */
    ptrdiff_t step;   /* from one column of the kernel to the next */
    const real *w;    /* [column][row] */
    int64_t cols;     /* of the kernel */
    real *const *y;   /* rows of results */
    int64_t n;        /* results of a row */
    int add;
} FN(filter_band);

FC_INLINE void FN(filter_tile)(const int nr, const FN(filter_band) *b)
{
    const int64_t run = fc_max(1, FC_FILTER_RUN / nr);
    for (int64_t j = 0; j < b->n; j += FC_FILTER_NV * VL) {
        const real *p = b->x + j, *w = b->w;
        vec total[FC_FILTER_ROWS][FC_FILTER_NV];
        FC_UNROLL for (int h = 0; h < FC_FILTER_ROWS; h++)
        {
            FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++) total[h][v] = FN(zero)();
        }
        for (int64_t s = 0; s < b->cols;) {
            vec acc[FC_FILTER_ROWS][FC_FILTER_NV];
            FC_UNROLL for (int h = 0; h < FC_FILTER_ROWS; h++)
            {
                FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++) acc[h][v] = FN(zero)();
            }
            for (int64_t end = fc_min(b->cols, s + run); s < end; s++, p += b->step, w += nr) {
                vec k[FC_FILTER_TAPS];
                FC_UNROLL for (int r = 0; r < nr; r++) k[r] = FN(splat)(w[r]);
                FC_UNROLL for (int i = 0; i < FC_FILTER_ROWS - 1 + nr; i++)
                {
                    FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++)
                    {
                        vec x = FN(loaded)(FN(load)(p + i * FC_FILTER_PITCH + v * VL));
                        FC_UNROLL for (int r = 0; r < nr; r++) if (i >= r && i - r < FC_FILTER_ROWS) acc[i - r][v] += k[r] * x;
                    }
                }
            }
            FC_UNROLL for (int h = 0; h < FC_FILTER_ROWS; h++)
            {
                FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++) total[h][v] += acc[h][v];
            }
        }
        FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++)
        {
            int64_t n = fc_min(VL, b->n - j - v * VL);
            FC_UNROLL for (int h = 0; h < FC_FILTER_ROWS; h++)
            {
                real *y = b->y[h] + j + v * VL;
                if (n == VL)
                    FN(store)(y, b->add ? FN(load)(y) + total[h][v] : total[h][v]);
                else if (n > 0)
                    FN(store_n)(y, b->add ? FN(load_n)(y, n) + total[h][v] : total[h][v], n);
            }
        }
    }
}

#define FC_FILTER_CASE(NR)                                             \
    case NR:                                                           \
        if (NR <= FC_FILTER_TAPS)                                      \
            FN(filter_tile)(NR <= FC_FILTER_TAPS ? NR : 1, b);          \
        break;

/* nr <= FC_FILTER_TAPS rows of a kernel. */
FC_OUTLINE void FN(filter_rows)(int64_t nr, const FN(filter_band) *b)
{
    switch (nr) {
        FC_FILTER_CASE(1) FC_FILTER_CASE(2) FC_FILTER_CASE(3) FC_FILTER_CASE(4)
        FC_FILTER_CASE(5) FC_FILTER_CASE(6) FC_FILTER_CASE(7) FC_FILTER_CASE(8)
    }
}

/* The same for kernels of up to FC_NEAR_TAPS rows and columns, from rows of the image where they lie (row i of the band at p[i]): for
 * them copying would take as long as the products. y: results from..to of FC_FILTER_ROWS rows; the last vector may be
 * computed twice, for nothing beyond a row is read. */
#define FC_NEAR_TAPS 5

FC_INLINE void FN(near_vectors)(const int nr, const int stream, const real *const *p, ptrdiff_t step, const real *w, int64_t cols, real *y,
                                ptrdiff_t ldy, int64_t j)
{
    vec acc[FC_FILTER_ROWS][FC_FILTER_NV];
    FC_UNROLL for (int h = 0; h < FC_FILTER_ROWS; h++)
    {
        FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++) acc[h][v] = FN(zero)();
    }
    for (int64_t s = 0, at = j; s < cols; s++, at += step, w += nr) {
        vec k[FC_NEAR_TAPS];
        FC_UNROLL for (int r = 0; r < nr; r++) k[r] = FN(splat)(w[r]);
        FC_UNROLL for (int i = 0; i < FC_FILTER_ROWS - 1 + nr; i++)
        {
            FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++)
            {
                vec x = FN(loaded)(FN(load)(p[i] + at + v * VL));
                FC_UNROLL for (int r = 0; r < nr; r++) if (i >= r && i - r < FC_FILTER_ROWS) acc[i - r][v] += k[r] * x;
            }
        }
    }
    FC_UNROLL for (int h = 0; h < FC_FILTER_ROWS; h++)
    {
        FC_UNROLL for (int v = 0; v < FC_FILTER_NV; v++)
        {
            if (stream)
                FN(stream)(y + h * ldy + j + v * VL, acc[h][v]);
            else
                FN(store)(y + h * ldy + j + v * VL, acc[h][v]);
        }
    }
}

FC_INLINE void FN(near_tile)(const int nr, const real *const *p, ptrdiff_t step, const real *w, int64_t cols, real *y, ptrdiff_t ldy,
                             int64_t from, int64_t to, int stream)
{
    const int64_t n = FC_FILTER_NV * VL;
    int64_t j = from;
    if (stream)
        for (; j + n <= to; j += n)
            FN(near_vectors)(nr, 1, p, step, w, cols, y, ldy, j);
    else
        for (; j + n <= to; j += n)
            FN(near_vectors)(nr, 0, p, step, w, cols, y, ldy, j);
    if (j < to)
        FN(near_vectors)(nr, 0, p, step, w, cols, y, ldy, to - n);
}

FC_OUTLINE void FN(near_rows)(int64_t nr, const real *const *p, ptrdiff_t step, const real *w, int64_t cols,
                              real *y, ptrdiff_t ldy, int64_t from, int64_t to, int stream)
{
    switch (nr) {
    case 1: FN(near_tile)(1, p, step, w, cols, y, ldy, from, to, stream); break;
    case 2: FN(near_tile)(2, p, step, w, cols, y, ldy, from, to, stream); break;
    case 3: FN(near_tile)(3, p, step, w, cols, y, ldy, from, to, stream); break;
    case 4: FN(near_tile)(4, p, step, w, cols, y, ldy, from, to, stream); break;
    case 5: FN(near_tile)(5, p, step, w, cols, y, ldy, from, to, stream); break;
    }
}
