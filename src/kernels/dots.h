/* dots.h: dot products of some rows with some others:
 *
 *   sum[i*n + j] = sum_q a[i*lda + q] * b[j*ldb + q]
 *
 * Lanes hold neighbouring terms, so that both matrices are read in place, rows of `a` in the order in which they lie. A block
 * has FC_DOTS sums; their lanes are added at the end, all sums of a vector by one tree of shuffles, about three of them a sum. */

#if FC_VECTOR_BYTES == 64
#define FC_DOTS 16
#else
#define FC_DOTS 8
#endif
#define FC_DOTS_COLUMNS 4 /* rows of b, at most: 4 x 4 sums and 5 vectors of 32, or 2 x 4 and 5 of 16 */

/* Lane i becomes the sum of vector i. */
FC_INLINE vec FN(sums)(vec *a)
{
    FC_UNROLL for (int s = VL / 2; s; s /= 2)
    {
        FC_UNROLL for (int i = 0; i < s; i++) a[i] = FN(zip_lo)(a[i], a[i + s]) + FN(zip_hi)(a[i], a[i + s]);
    }
    return a[0];
}

/* n > 1: a tile of FC_DOTS / n rows. Rows past the end repeat the last one; their sums mean nothing. */
FC_INLINE void FN(dots_tile)(const int n, int64_t rows, const real *a, ptrdiff_t lda, const real *b, ptrdiff_t ldb, int64_t terms,
                             vec *acc)
{
    const int m = FC_DOTS / n;
    const real *p[FC_DOTS];
    FC_UNROLL for (int i = 0; i < m; i++) p[i] = a + fc_min(i, rows - 1) * lda;
    FC_UNROLL for (int i = 0; i < FC_DOTS; i++) acc[i] = FN(zero)();
    int64_t q = 0;
    for (; q + VL <= terms; q += VL) {
        vec v[FC_DOTS_COLUMNS];
        FC_UNROLL for (int j = 0; j < n; j++) v[j] = FN(load)(b + j * ldb + q);
        FC_UNROLL for (int i = 0; i < m; i++)
        {
            vec u = FN(load)(p[i] + q);
            FC_UNROLL for (int j = 0; j < n; j++) acc[i * n + j] += u * v[j];
        }
    }
    if (q < terms) {
        vec v[FC_DOTS_COLUMNS];
        FC_UNROLL for (int j = 0; j < n; j++) v[j] = FN(load_n)(b + j * ldb + q, terms - q);
        FC_UNROLL for (int i = 0; i < m; i++)
        {
            vec u = FN(load_n)(p[i] + q, terms - q);
            FC_UNROLL for (int j = 0; j < n; j++) acc[i * n + j] += u * v[j];
        }
    }
}

/* One row of b: rows of `a` one after the other, as they lie in memory. Of what lies `ahead` every other line is asked for: the
 * hardware takes lines in pairs. */
FC_INLINE void FN(dots_line)(int64_t rows, const real *a, ptrdiff_t lda, const real *b, int64_t terms, ptrdiff_t ahead, vec *acc)
{
    for (int i = 0; i < FC_DOTS; i++) {
        acc[i] = FN(zero)();
        if (i >= rows)
            continue;
        vec c = FN(zero)(), d = c;
        int64_t q = 0;
        for (; q + 2 * VL <= terms; q += 2 * VL) {
            if (ahead)
                __builtin_prefetch(a + i * lda + q + ahead, 0, 2);
            c += FN(load)(a + i * lda + q) * FN(load)(b + q);
            d += FN(load)(a + i * lda + q + VL) * FN(load)(b + q + VL);
        }
        for (; q < terms; q += VL)
            c += FN(load_n)(a + i * lda + q, fc_min(VL, terms - q)) * FN(load_n)(b + q, fc_min(VL, terms - q));
        acc[i] = c + d;
    }
}

#define FC_DOTS_RUN (256 * VL) /* terms of a partial sum: a lane adds at most some hundred */

FC_INLINE void FN(dots_of)(const int n, int64_t rows, const real *a, ptrdiff_t lda, const real *b, ptrdiff_t ldb, int64_t terms,
                           ptrdiff_t ahead, real *sum)
{
    for (int64_t q = 0; q < terms; q += FC_DOTS_RUN) {
        int64_t depth = fc_min(FC_DOTS_RUN, terms - q);
        vec acc[FC_DOTS];
        if (n == 1)
            FN(dots_line)(rows, a + q, lda, b + q, depth, ahead, acc);
        else
            FN(dots_tile)(n, rows, a + q, lda, b + q, ldb, depth, acc);
        FC_UNROLL for (int k = 0; k < FC_DOTS; k += VL)
        {
            vec part = FN(sums)(acc + k);
            FN(store)(sum + k, q ? FN(load)(sum + k) + part : part);
        }
    }
}

/* n is 1, 2 or 4; rows <= FC_DOTS / n. `ahead`: how far beyond what is read of `a` memory is asked for, where n is 1; or 0. */
FC_OUTLINE void FN(dots)(int64_t n, int64_t rows, const real *a, ptrdiff_t lda, const real *b, ptrdiff_t ldb,
                         int64_t terms, ptrdiff_t ahead, real *sum)
{
    switch (n) {
    case 1: FN(dots_of)(1, rows, a, lda, b, ldb, terms, ahead, sum); break;
    case 2: FN(dots_of)(2, rows, a, lda, b, ldb, terms, ahead, sum); break;
    case 4: FN(dots_of)(4, rows, a, lda, b, ldb, terms, ahead, sum); break;
    }
}
