/* rows.h: one channel by one kernel, straight from a plane to a plane: lanes are pixels of a row, accumulators are rows.
 *
 *   fma_band  y[h][j] = bias + sum_(s,r) w[s][r] * x[h*step + r][j*step + s]      for a band of up to FC_BAND rows h
 *
 * Padding is masks on the left and right and a row of zeros above and below, so nothing is copied. A vector that is loaded for
 * a column s of the kernel serves all rows of the kernel and the band: 6 loads for 12 products with 4 rows of a 3x3 kernel.
 * With step 1 two vectors are in work, as the four sums of one would wait for each other. Step 2 takes the even and the odd
 * elements of two vectors for two columns. A band of an input gradient with stride 2 has two sums, for the even and the odd
 * columns of y, and stores them interleaved. */

#ifndef FC_BAND /* what is below is the same for both dtypes */
#define FC_BAND 4      /* rows; with AVX2's 16 registers, weights and what is loaded leave no more */
#define FC_BAND_TAPS (FC_VECTOR_BYTES == 64 ? 7 : 5) /* rows of a kernel, at most */
typedef enum { FC_STEP_1, FC_STEP_2, FC_INTERLEAVED } fc_band_kind;
#endif

/* The columns of the kernel: `cols` taps, from input column `col` of output 0 on, `apart` from one to the next. */
typedef struct {
    const real *w;
    int64_t cols, col, apart;
    const FN(mask) *mask; /* which lanes of its vectors lie in x: one for each tile and column, with step 2 two for two */
} FN(band_side);

typedef struct {
    const real *x, *zero;      /* column 0 of row 0, and of a row outside */
    ptrdiff_t ldx;
    int64_t high, row;         /* rows of x; input row of the band's first tap */
    ptrdiff_t wr, ws;          /* from one row, one column, of the weights to the next */
    FN(band_side) side[2];
    real *y;
    ptrdiff_t ldy;
    int64_t n;                 /* results of a row */
    real bias;
} FN(band);

/* Where the taps of a side read from, for n outputs of a row: vectors of `wide` columns, tile after tile; returns the end. Step 2
 * reads two vectors for two columns of the kernel. Lanes of no output read nothing. */
static FN(mask) *FN(band_masks)(const FN(band_side) *side, int step, int64_t n, int64_t wide, FN(mask) *at)
{
    for (int64_t j = 0; j < n; j += VL)
        for (int64_t s = 0; s < side->cols; s += step)
            for (int64_t v = 0; v < step; v++) {
                int64_t q = j * step + side->col + s * side->apart + v * VL;
                *at++ = FN(mask_between)(-q, fc_min(wide - q, (n - j) * step - v * VL));
            }
    return at;
}

FC_INLINE void FN(band_pair)(const int hb, const int nr, const int two, const FN(band) *b, const real *w, const FN(mask) *mask,
                             int64_t q, const real *const *p, vec *acc)
{
    vec k0[FC_BAND_TAPS], k1[FC_BAND_TAPS];
    FN(mask) m0 = mask[0], m1 = mask[1];
    FC_UNROLL for (int r = 0; r < nr; r++)
    {
        k0[r] = FN(splat)(w[r * b->wr]);
        if (two)
            k1[r] = FN(splat)(w[b->ws + r * b->wr]);
    }
    FC_UNROLL for (int i = 0; i < 2 * hb - 2 + nr; i++)
    {
        vec v0 = FN(load_mask)(p[i] + q, m0), v1 = FN(load_mask)(p[i] + q + VL, m1);
        vec even = FN(evens)(v0, v1), odd = FN(odds)(v0, v1);
        FC_UNROLL for (int r = 0; r < nr; r++)
        {
            if ((i - r) % 2 == 0 && i >= r && (i - r) / 2 < hb) {
                acc[(i - r) / 2] += k0[r] * even;
                if (two)
                    acc[(i - r) / 2] += k1[r] * odd;
            }
        }
    }
}

/* acc[v][h] += the sums of a side, outputs j .. j + nv * VL. */
FC_INLINE void FN(band_sum)(const int hb, const int nr, const int step, const int nv, const FN(band) *b,
                            const FN(band_side) *side, int64_t j, const real *const *p, vec (*acc)[FC_BAND])
{
    int64_t s = 0, q = step * j + side->col, next = fc_round_up(side->cols, step);
    const real *w = side->w;
    const FN(mask) *mask = side->mask + j / VL * next;
    if (step == 2) {
        for (; s + 1 < side->cols; s += 2, q += 2, w += 2 * b->ws, mask += 2)
            FN(band_pair)(hb, nr, 1, b, w, mask, q, p, acc[0]);
        if (s < side->cols)
            FN(band_pair)(hb, nr, 0, b, w, mask, q, p, acc[0]);
        return;
    }
    for (; s < side->cols; s++, q += side->apart, w += b->ws, mask++) {
        vec k[FC_BAND_TAPS];
        FC_UNROLL for (int r = 0; r < nr; r++) k[r] = FN(splat)(w[r * b->wr]);
        FC_UNROLL for (int v = 0; v < nv; v++)
        {
            FN(mask) m = mask[v * next];
            FC_UNROLL for (int i = 0; i < hb - 1 + nr; i++)
            {
                vec x = FN(load_mask)(p[i] + q + v * VL, m);
                FC_UNROLL for (int r = 0; r < nr; r++) if (i >= r && i - r < hb) acc[v][i - r] += k[r] * x;
            }
        }
    }
}

/* Rows that come next, one line of them each second vector. With vectors of half a line what the hardware fetches by itself comes
 * late: 11 instead of 36 GFLOP/s for 3x3 from the third-level cache. With whole lines it does well alone. */
FC_INLINE void FN(fetch_rows)(const int n, const real *p, ptrdiff_t ld, int64_t j, const int write)
{
#if FC_VECTOR_BYTES == 32
    if (j % (2 * VL) == 0) {
        FC_UNROLL for (int i = 0; i < n; i++)
        {
            if (write)
                __builtin_prefetch(p + i * ld + j, 1);
            else
                __builtin_prefetch(p + i * ld + j);
        }
    }
#else
    (void)n, (void)p, (void)ld, (void)j, (void)write;
#endif
}

/* Outputs j .. j + nv * VL of the rows of a band, the last vector perhaps in part. */
FC_INLINE void FN(band_block)(const int hb, const int nr, const int step, const int nv, const FN(band) *b, int64_t j,
                              const real *const *p, const real *next)
{
    vec acc[2][FC_BAND], bias = FN(splat)(b->bias);
    FC_UNROLL for (int v = 0; v < nv; v++)
    {
        FC_UNROLL for (int h = 0; h < hb; h++) acc[v][h] = bias;
        FN(fetch_rows)(step * hb, next + (step - 1) * (j + v * VL), b->ldx, j + v * VL, 0);
        FN(fetch_rows)(hb, b->y + hb * b->ldy, b->ldy, j + v * VL, 1);
    }
    FN(band_sum)(hb, nr, step, nv, b, b->side, j, p, acc);
    FC_UNROLL for (int v = 0; v < nv; v++)
    {
        int64_t n = b->n - j - v * VL;
        real *y = b->y + j + v * VL;
        if (v < nv - 1 || n >= VL) {
            FC_UNROLL for (int h = 0; h < hb; h++) FN(store)(y + h * b->ldy, acc[v][h]);
        } else {
            FC_UNROLL for (int h = 0; h < hb; h++) FN(store_n)(y + h * b->ldy, acc[v][h], n);
        }
    }
}

FC_INLINE void FN(band_tile)(const int hb, const int nr, const fc_band_kind kind, const FN(band) *b)
{
    const int step = kind == FC_STEP_2 ? 2 : 1;
    const real *p[2 * FC_BAND - 2 + FC_BAND_TAPS];
    FC_UNROLL for (int i = 0; i < step * (hb - 1) + nr; i++)
        p[i] = b->row + i >= 0 && b->row + i < b->high ? b->x + (b->row + i) * b->ldx : b->zero;
    const real *next = b->x + (b->row + nr + step * (hb - 1)) * b->ldx;
    int64_t j = 0;
    if (kind != FC_INTERLEAVED) {
        if (kind == FC_STEP_1)
            for (; j + VL < b->n; j += 2 * VL)
                FN(band_block)(hb, nr, step, 2, b, j, p, next);
        for (; j < b->n; j += VL)
            FN(band_block)(hb, nr, step, 1, b, j, p, next);
        return;
    }
    vec bias = FN(splat)(b->bias);
    for (; 2 * j < b->n; j += VL) {
        vec even[1][FC_BAND], odd[1][FC_BAND];
        FC_UNROLL for (int h = 0; h < hb; h++) even[0][h] = odd[0][h] = bias;
        FN(fetch_rows)(hb, next, b->ldx, j, 0);
        FN(fetch_rows)(hb, b->y + hb * b->ldy + j, b->ldy, j, 1);
        FN(band_sum)(hb, nr, 1, 1, b, b->side, j, p, even);
        FN(band_sum)(hb, nr, 1, 1, b, b->side + 1, j, p, odd);
        int64_t n0 = fc_min(VL, b->n - 2 * j), n1 = fc_min(VL, b->n - 2 * j - VL);
        FC_UNROLL for (int h = 0; h < hb; h++)
        {
            real *y = b->y + h * b->ldy + 2 * j;
            FN(store_n)(y, FN(zip_lo)(even[0][h], odd[0][h]), n0);
            if (n1 > 0)
                FN(store_n)(y + VL, FN(zip_hi)(even[0][h], odd[0][h]), n1);
        }
    }
}

#define FC_BAND_ROWS(HB, NR) \
    case HB: FN(band_tile)(HB, NR, kind, b); break;
#define FC_BAND_CASE(NR)                                                                   \
    case NR:                                                                               \
        switch (hb) {                                                                      \
            FC_BAND_ROWS(1, NR) FC_BAND_ROWS(2, NR) FC_BAND_ROWS(3, NR) FC_BAND_ROWS(4, NR) \
        }                                                                                  \
        break;

FC_INLINE void FN(band_switch)(int64_t hb, int64_t nr, const fc_band_kind kind, const FN(band) *b)
{
    switch (nr) {
        FC_BAND_CASE(1) FC_BAND_CASE(2) FC_BAND_CASE(3) FC_BAND_CASE(4) FC_BAND_CASE(5)
#if FC_VECTOR_BYTES == 64
        FC_BAND_CASE(6) FC_BAND_CASE(7)
#endif
    }
}

/* A band of hb rows, with a kernel of nr rows. */
FC_OUTLINE void FN(fma_band)(int64_t hb, int64_t nr, fc_band_kind kind, const FN(band) *b)
{
    switch (kind) {
    case FC_STEP_1: FN(band_switch)(hb, nr, FC_STEP_1, b); break;
    case FC_STEP_2: FN(band_switch)(hb, nr, FC_STEP_2, b); break;
    case FC_INTERLEAVED: FN(band_switch)(hb, nr, FC_INTERLEAVED, b); break;
    }
}

/*   dot_band  acc[s][r][lane] += sum_(h,j) gy[h][j] * x[h*step + r][j*step + s]      lanes are summed by the caller, once a plane */
typedef struct {
    const real *x, *zero, *gy; /* gy: the band's first row */
    ptrdiff_t ldx, ldgy;
    int64_t high, row;
    FN(band_side) side;        /* without weights */
    int64_t n;
    real *acc;
} FN(dot);

/* nc columns of the kernel, from s on: three at a time, with step 2 an even one and an odd one, or what is left. */
FC_INLINE void FN(dot_columns)(const int hb, const int nr, const int nc, const int step, const FN(dot) *b, int64_t s,
                               const real *const *p)
{
    vec acc[3][FC_BAND_TAPS];
    FC_UNROLL for (int c = 0; c < nc; c++)
    {
        FC_UNROLL for (int r = 0; r < nr; r++) acc[c][r] = FN(load)(b->acc + ((s + c) * nr + r) * VL);
    }
    const FN(mask) *mask = b->side.mask + s;
    for (int64_t j = 0; j < b->n; j += VL, mask += fc_round_up(b->side.cols, step)) {
        vec g[FC_BAND];
        int64_t q = j * step + b->side.col + s * b->side.apart, left = fc_min(VL, b->n - j);
        FC_UNROLL for (int h = 0; h < hb; h++) g[h] = FN(load_n)(b->gy + h * b->ldgy + j, left);
        if (s == 0) {
            FN(fetch_rows)(step * hb, b->x + (b->row + nr + step * (hb - 1)) * b->ldx + (step - 1) * j, b->ldx, j, 0);
            FN(fetch_rows)(hb, b->gy + hb * b->ldgy, b->ldgy, j, 0);
        }
        if (step == 2) {
            FN(mask) m0 = mask[0], m1 = mask[1];
            FC_UNROLL for (int i = 0; i < 2 * hb - 2 + nr; i++)
            {
                vec v0 = FN(load_mask)(p[i] + q, m0), v1 = FN(load_mask)(p[i] + q + VL, m1);
                vec even = FN(evens)(v0, v1), odd = FN(odds)(v0, v1);
                FC_UNROLL for (int r = 0; r < nr; r++)
                {
                    if ((i - r) % 2 == 0 && i >= r && (i - r) / 2 < hb) {
                        acc[0][r] += g[(i - r) / 2] * even;
                        if (nc == 2)
                            acc[1][r] += g[(i - r) / 2] * odd;
                    }
                }
            }
            continue;
        }
        FC_UNROLL for (int c = 0; c < nc; c++, q += b->side.apart)
        {
            FN(mask) m = mask[c];
            FC_UNROLL for (int i = 0; i < hb - 1 + nr; i++)
            {
                vec v = FN(load_mask)(p[i] + q, m);
                FC_UNROLL for (int r = 0; r < nr; r++) if (i >= r && i - r < hb) acc[c][r] += g[i - r] * v;
            }
        }
    }
    FC_UNROLL for (int c = 0; c < nc; c++)
    {
        FC_UNROLL for (int r = 0; r < nr; r++) FN(store)(b->acc + ((s + c) * nr + r) * VL, acc[c][r]);
    }
}

FC_INLINE void FN(dot_band_tile)(const int hb, const int nr, const int step, const FN(dot) *b)
{
    const int many = step == 2 ? 2 : 3;
    const real *p[2 * FC_BAND - 2 + FC_BAND_TAPS];
    FC_UNROLL for (int i = 0; i < step * (hb - 1) + nr; i++)
        p[i] = b->row + i >= 0 && b->row + i < b->high ? b->x + (b->row + i) * b->ldx : b->zero;
    int64_t s = 0;
    for (; s + many <= b->side.cols; s += many)
        FN(dot_columns)(hb, nr, many, step, b, s, p);
    for (; s < b->side.cols; s++)
        FN(dot_columns)(hb, nr, 1, step, b, s, p);
}

#define FC_DOT_CASE(NR)                                                               \
    case NR:                                                                          \
        if (hb == FC_BAND && step == 1) FN(dot_band_tile)(FC_BAND, NR, 1, b);          \
        else if (hb == FC_BAND) FN(dot_band_tile)(FC_BAND, NR, 2, b);                  \
        else if (step == 1) FN(dot_band_tile)(1, NR, 1, b);                            \
        else FN(dot_band_tile)(1, NR, 2, b);                                           \
        break;

/* A band of FC_BAND rows or of one, with a kernel of nr rows. */
FC_OUTLINE void FN(dot_band)(int64_t hb, int64_t nr, int step, const FN(dot) *b)
{
    switch (nr) {
        FC_DOT_CASE(1) FC_DOT_CASE(2) FC_DOT_CASE(3) FC_DOT_CASE(4) FC_DOT_CASE(5)
#if FC_VECTOR_BYTES == 64
        FC_DOT_CASE(6) FC_DOT_CASE(7)
#endif
    }
}
