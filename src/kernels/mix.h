/* mix.h: rows of one matrix mixed to rows of another, all of them in place:
 *
 *   c[i][lane] (+)= sum_q a[i*row + q*term] * b[q*ldb + lane]     for any width
 *
 * Where few rows of c use what is read of b, reading is all the time there is: rows of b pass by whole, as they lie in memory, a few
 * side by side, and those of c are written as they lie. */

#define FC_MIX_ROWS 3  /* of c that share what is read of b */
#define FC_MIX_LONG (8 * VL) /* lanes for which it pays to align what is read */
#define FC_MIX_DEPTH 8 /* rows of b side by side: few, since rows of 4 KB meet in the same cache sets */

/* add: 0, 1, or FC_MIX_PAST: overwrite, past the caches. */
#define FC_MIX_PAST 2
FC_INLINE void FN(mix_lanes)(const int m, const int depth, const int add, const int whole, vec s[FC_MIX_ROWS][FC_MIX_DEPTH],
                             const real *b, ptrdiff_t ldb, real *c, ptrdiff_t ldc, int64_t lanes)
{
    vec v[FC_MIX_ROWS];
    FC_UNROLL for (int i = 0; i < m; i++)
        v[i] = add != 1 ? FN(zero)() : whole ? FN(load)(c + i * ldc) : FN(load_n)(c + i * ldc, lanes);
    FC_UNROLL for (int q = 0; q < depth; q++)
    {
        vec u = whole ? FN(load)(b + q * ldb) : FN(load_n)(b + q * ldb, lanes);
        FC_UNROLL for (int i = 0; i < m; i++) v[i] += s[i][q] * u;
    }
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        if (add == FC_MIX_PAST)
            FN(stream)(c + i * ldc, v[i]);
        else if (whole)
            FN(store)(c + i * ldc, v[i]);
        else
            FN(store_n)(c + i * ldc, v[i], lanes);
    }
}

FC_INLINE void FN(mix_tile)(const int m, const int depth, const int add, const real *a, ptrdiff_t row, ptrdiff_t term, const real *b,
                            ptrdiff_t ldb, int64_t width, real *c, ptrdiff_t ldc)
{
    vec s[FC_MIX_ROWS][FC_MIX_DEPTH];
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        FC_UNROLL for (int q = 0; q < depth; q++) s[i][q] = FN(splat)(a[i * row + q * term]);
    }
    const int64_t over = (int64_t)((uintptr_t)b % sizeof(vec) / sizeof(real));
    int64_t lanes = over && width >= FC_MIX_LONG && ldb % VL == 0 ? VL - over : VL; /* loads that straddle lines: 1.4 times as long */
    for (int64_t n = 0; n < width; n += lanes, lanes = VL) {
        lanes = fc_min(lanes, width - n);
        if (lanes == VL)
            FN(mix_lanes)(m, depth, add, 1, s, b + n, ldb, c + n, ldc, VL);
        else
            FN(mix_lanes)(m, depth, add, 0, s, b + n, ldb, c + n, ldc, lanes);
    }
}

#define FC_MIX_PART(M, DEPTH)                                                                                \
    for (; q + DEPTH <= depth; q += DEPTH) {                                                                 \
        if (add)                                                                                             \
            FN(mix_tile)(M, DEPTH, 1, a + q * term, row, term, b + q * ldb, ldb, width, to.c, to.ldc);       \
        else                                                                                                 \
            FN(mix_tile)(M, DEPTH, 0, a + q * term, row, term, b + q * ldb, ldb, width, to.c, to.ldc);       \
        add = 1;                                                                                             \
    }
#define FC_MIX(M)                                                                                            \
    case M:                                                                                                  \
        FC_MIX_PART(M, 8)                                                                                    \
        FC_MIX_PART(M, 4)                                                                                    \
        FC_MIX_PART(M, 2)                                                                                    \
        FC_MIX_PART(M, 1)                                                                                    \
        break;

/* m <= FC_MIX_ROWS rows of c; any depth. */
FC_OUTLINE void FN(mix_rows)(int64_t m, int64_t depth, const real *a, ptrdiff_t row, ptrdiff_t term,
                             const real *b, ptrdiff_t ldb, int64_t width, FN(dest) to)
{
    int64_t q = 0;
    int add = to.add;
    switch (m) {
        FC_MIX(1) FC_MIX(2) FC_MIX(3)
    }
}

/* The same for depths of 1, 2, 4 and 8, past the caches: c is aligned, and ldc and the width are whole numbers of vectors. */
#define FC_MIX_STREAM(M, DEPTH)                                                                    \
    case 16 * M + DEPTH: FN(mix_tile)(M, DEPTH, FC_MIX_PAST, a, row, term, b, ldb, width, c, ldc); break;
FC_OUTLINE void FN(mix_stream)(int64_t m, int64_t depth, const real *a, ptrdiff_t row, ptrdiff_t term,
                               const real *b, ptrdiff_t ldb, int64_t width, real *c, ptrdiff_t ldc)
{
    switch (16 * m + depth) {
        FC_MIX_STREAM(1, 1) FC_MIX_STREAM(1, 2) FC_MIX_STREAM(1, 4) FC_MIX_STREAM(1, 8)
        FC_MIX_STREAM(2, 1) FC_MIX_STREAM(2, 2) FC_MIX_STREAM(2, 4) FC_MIX_STREAM(2, 8)
        FC_MIX_STREAM(3, 1) FC_MIX_STREAM(3, 2) FC_MIX_STREAM(3, 4) FC_MIX_STREAM(3, 8)
    }
}
