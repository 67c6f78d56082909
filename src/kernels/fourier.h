/* fourier.h: Fourier transforms down the columns of a panel, lanes are columns, and products of spectra along its rows.
 *
 * A row of the panel is `pitch` elements of real parts and, `apart` further, as many imaginary parts. Forward the transform takes
 * decimation in frequency, radix 4 (the first pass radix 2 where the length is no power of 4), and leaves the frequencies in the
 * order in which the passes put them; backward, decimation in time, takes them in that order: nothing is ever permuted.
 * Passes go depth first: from the second on a part of the column is worked off while it lies in L1. */

typedef struct {
    real *x;                /* element 0 of row 0 */
    ptrdiff_t pitch, apart; /* from row to row, from real to imaginary */
    const real *turn;       /* cos, sin of 2 pi k / n */
    int64_t n;              /* rows of the whole transform */
} FN(columns);

typedef struct {
    vec re, im;
} FN(pair);
#define pair FN(pair)

FC_INLINE pair FN(pair_at)(const FN(columns) *c, int64_t row)
{
    const real *p = c->x + row * c->pitch;
    return (pair){FN(load)(p), FN(load)(p + c->apart)};
}

FC_INLINE void FN(put_pair)(const FN(columns) *c, int64_t row, vec re, vec im)
{
    real *p = c->x + row * c->pitch;
    FN(store)(p, re);
    FN(store)(p + c->apart, im);
}

/* a times exp(-i t) forward, exp(i t) backward. */
FC_INLINE pair FN(turned)(pair a, const real *turn, const int backward)
{
    vec c = FN(splat)(turn[0]), s = FN(splat)(turn[1]);
    if (backward)
        return (pair){a.re * c - a.im * s, a.im * c + a.re * s};
    return (pair){a.re * c + a.im * s, a.im * c - a.re * s};
}

FC_INLINE pair FN(pair_sum)(pair a, pair b) { return (pair){a.re + b.re, a.im + b.im}; }
FC_INLINE pair FN(pair_difference)(pair a, pair b) { return (pair){a.re - b.re, a.im - b.im}; }

/* Rows j, j + q, j + 2q, j + 3q of a part that starts at `row`; j turns by k = j * n / (4 q) of n. */
FC_INLINE void FN(butterfly)(const FN(columns) *c, int64_t row, int64_t q, const real *turn, int64_t k, const int backward, const int plain)
{
    pair a = FN(pair_at)(c, row), b = FN(pair_at)(c, row + q), d = FN(pair_at)(c, row + 2 * q), e = FN(pair_at)(c, row + 3 * q);
    if (backward && !plain) {
        b = FN(turned)(b, turn + 2 * k, 1);
        d = FN(turned)(d, turn + 4 * k, 1);
        e = FN(turned)(e, turn + 6 * k, 1);
    }
    pair s = FN(pair_sum)(a, d), t = FN(pair_difference)(a, d), u = FN(pair_sum)(b, e), v = FN(pair_difference)(b, e);
    pair minus = {t.re + v.im, t.im - v.re}, plus = {t.re - v.im, t.im + v.re}; /* t - iv, t + iv */
    pair first = backward ? plus : minus, second = FN(pair_difference)(s, u), third = backward ? minus : plus;
    if (!backward && !plain) {
        first = FN(turned)(first, turn + 2 * k, 0);
        second = FN(turned)(second, turn + 4 * k, 0);
        third = FN(turned)(third, turn + 6 * k, 0);
    }
    FN(put_pair)(c, row, s.re + u.re, s.im + u.im);
    FN(put_pair)(c, row + q, first.re, first.im);
    FN(put_pair)(c, row + 2 * q, second.re, second.im);
    FN(put_pair)(c, row + 3 * q, third.re, third.im);
}

/* The transform of n rows, a power of 4, from `row` on. */
static void FN(transform_part)(const FN(columns) *c, int64_t row, int64_t n, int backward)
{
    int64_t q = n / 4, step = c->n / n;
    if (n > 4 && backward)
        for (int64_t i = 0; i < 4; i++)
            FN(transform_part)(c, row + i * q, q, 1);
    if (backward) {
        FN(butterfly)(c, row, q, c->turn, 0, 1, 1);
        for (int64_t j = 1; j < q; j++)
            FN(butterfly)(c, row + j, q, c->turn, j * step, 1, 0);
    } else {
        FN(butterfly)(c, row, q, c->turn, 0, 0, 1);
        for (int64_t j = 1; j < q; j++)
            FN(butterfly)(c, row + j, q, c->turn, j * step, 0, 0);
    }
    if (n > 4 && !backward)
        for (int64_t i = 0; i < 4; i++)
            FN(transform_part)(c, row + i * q, q, 0);
}

/* One vector of columns, in place. */
FC_OUTLINE void FN(transform)(const FN(columns) *c, int backward)
{
    int64_t half = c->n / 2;
    if (c->n % 3 == 1) { /* a power of 4 */
        FN(transform_part)(c, 0, c->n, backward);
        return;
    }
    if (backward) {
        FN(transform_part)(c, 0, half, 1);
        FN(transform_part)(c, half, half, 1);
    }
    for (int64_t j = 0; j < half; j++) {
        pair a = FN(pair_at)(c, j), b = FN(pair_at)(c, j + half);
        if (backward)
            b = FN(turned)(b, c->turn + 2 * j, 1);
        pair s = FN(pair_sum)(a, b), d = FN(pair_difference)(a, b);
        if (!backward)
            d = FN(turned)(d, c->turn + 2 * j, 0);
        FN(put_pair)(c, j, s.re, s.im);
        FN(put_pair)(c, j + half, d.re, d.im);
    }
    if (!backward) {
        FN(transform_part)(c, 0, half, 0);
        FN(transform_part)(c, half, half, 0);
    }
}

/* x[j] = sum_s w[s] * x[j + s*step] along a row, complex, in place: what is overwritten is read no more. */
#define FC_SPECTRUM_NV (FC_VECTOR_BYTES == 64 ? 4 : 2)
FC_INLINE void FN(spectrum_tile)(const int nv, real *re, real *im, ptrdiff_t step, const real *w, int64_t cols)
{
    vec a[FC_SPECTRUM_NV], b[FC_SPECTRUM_NV];
    FC_UNROLL for (int v = 0; v < nv; v++) a[v] = b[v] = FN(zero)();
    const real *p = re, *q = im;
    for (int64_t s = 0; s < cols; s++, p += step, q += step, w += 2) {
        vec c = FN(splat)(w[0]), d = FN(splat)(w[1]);
        FC_UNROLL for (int v = 0; v < nv; v++)
        {
            vec x = FN(loaded)(FN(load)(p + v * VL)), y = FN(loaded)(FN(load)(q + v * VL));
            a[v] += c * x;
            b[v] += c * y;
            a[v] -= d * y;
            b[v] += d * x;
        }
    }
    FC_UNROLL for (int v = 0; v < nv; v++)
    {
        FN(store)(re + v * VL, a[v]);
        FN(store)(im + v * VL, b[v]);
    }
}

FC_OUTLINE void FN(spectrum_row)(real *re, real *im, ptrdiff_t step, const real *w, int64_t cols, int64_t n)
{
    int64_t j = 0;
    for (; j + FC_SPECTRUM_NV * VL <= n; j += FC_SPECTRUM_NV * VL)
        FN(spectrum_tile)(FC_SPECTRUM_NV, re + j, im + j, step, w, cols);
    for (; j < n; j += VL)
        FN(spectrum_tile)(1, re + j, im + j, step, w, cols);
}
