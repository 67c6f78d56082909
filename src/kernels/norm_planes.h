/* kernels/norm_planes.h: small planes that follow each other: a call for each would take longer than its few vectors.
 *
 * A plane's last vector of results may reach into the next plane, whose results are written later; that of the last plane may not. */

#define FC_NORM_PLANES 64 /* planes whose factors are kept, at most */

typedef struct {
    real high[FC_NORM_PLANES], scale[FC_NORM_PLANES], slope[FC_NORM_PLANES], shift[FC_NORM_PLANES];
} FN(plane_factors);

/* s[0] += d, s[1] += d^2, s[2] += g, s[3] += g * d with d = x - h, of n pixels. */
FC_INLINE void FN(add_plane)(const real *g, const real *x, int64_t n, vec h, vec s[4])
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const vec d = FN(load)(x + i) - h, v = FN(load)(g + i);
        s[0] += d, s[1] += d * d, s[2] += v, s[3] += v * d;
    }
    if (i < n) {
        const vec d = FN(keep_n)(FN(load_n)(x + i, n - i) - h, n - i), v = FN(load_n)(g + i, n - i);
        s[0] += d, s[1] += d * d, s[2] += v, s[3] += v * d;
    }
}

/* all[0] = sum of x - high, all[1] = sum of its squares, of all planes; sum[k] = sum of g, product[k] = sum of g * (x - high), of the
 * k-th. Two planes are taken at a time, so that their sums' lanes are added together. */
FC_OUTLINE void FN(sums_of_planes)(const real *g, const real *x, int64_t n, int64_t planes, real high,
                                   double all[2], double *sum, double *product)
{
    const vec h = FN(splat)(high);
    const int64_t pairs = fc_max(1, FC_NORM_BLOCK / (2 * n)); /* whose differences are added up before they go to `all` */
    double rest[4] = {0, 0, 0, 0};
    for (int64_t k = 0; k < planes;) {
        vec even[4] = {{0}}, odd[4] = {{0}};
        for (const int64_t end = fc_min(planes, k + 2 * pairs); k < end; k += 2) {
            double four[4] = {0, 0, 0, 0};
            even[2] = even[3] = odd[2] = odd[3] = FN(zero)();
            FN(add_plane)(g + k * n, x + k * n, n, h, even);
            if (k + 1 < end)
                FN(add_plane)(g + (k + 1) * n, x + (k + 1) * n, n, h, odd);
            const vec each[4] = {even[2], even[3], odd[2], odd[3]};
            FN(add_sums)(each, four);
            sum[k] = four[0], product[k] = four[1];
            if (k + 1 < end)
                sum[k + 1] = four[2], product[k + 1] = four[3];
        }
        const vec each[4] = {even[0] + odd[0], even[1] + odd[1], FN(zero)(), FN(zero)()};
        FN(add_sums)(each, rest);
    }
    all[0] = rest[0], all[1] = rest[1];
}

/* The same of planes that have guesses of their own, for all four sums. */
FC_OUTLINE void FN(sums_of_apart)(const real *g, const real *x, int64_t n, int64_t planes, double *high,
                                  double *apart, double *squares, double *sum, double *product)
{
    for (int64_t k = 0; k < planes; k++, g += n, x += n) {
        const real guess = FN(guess)(x, n);
        vec s[4] = {{0}};
        double four[4] = {0, 0, 0, 0};
        FN(add_plane)(g, x, n, FN(splat)(guess), s);
        FN(add_sums)(s, four);
        high[k] = (double)guess, apart[k] = four[0], squares[k] = four[1], sum[k] = four[2], product[k] = four[3];
    }
}

/* y = (x - high) * scale + shift */
FC_OUTLINE void FN(scale_planes)(const real *x, real *y, int64_t n, int64_t planes, const FN(plane_factors) *f)
{
    for (int64_t k = 0; k < planes; k++, x += n, y += n) {
        const vec h = FN(splat)(f->high[k]), s = FN(splat)(f->scale[k]), t = FN(splat)(f->shift[k]);
        const int64_t end = k + 1 < planes && n >= VL ? n : n - VL + 1;
        int64_t i = 0;
        for (; i < end; i += VL)
            FN(store)(y + i, (FN(load)(x + i) - h) * s + t);
        if (i < n)
            FN(store_n)(y + i, (FN(load_n)(x + i, n - i) - h) * s + t, n - i);
    }
}

/* gx = g * scale + ((x - high) * slope + shift) */
FC_OUTLINE void FN(lead_planes_back)(const real *g, const real *x, real *gx, int64_t n, int64_t planes,
                                     const FN(plane_factors) *f)
{
    for (int64_t k = 0; k < planes; k++, g += n, x += n, gx += n) {
        const vec h = FN(splat)(f->high[k]), s = FN(splat)(f->scale[k]), b = FN(splat)(f->slope[k]), a = FN(splat)(f->shift[k]);
        const int64_t end = k + 1 < planes && n >= VL ? n : n - VL + 1;
        int64_t i = 0;
        for (; i < end; i += VL)
            FN(store)(gx + i, FN(load)(g + i) * s + ((FN(load)(x + i) - h) * b + a));
        if (i < n)
            FN(store_n)(gx + i, FN(load_n)(g + i, n - i) * s + ((FN(load_n)(x + i, n - i) - h) * b + a), n - i);
    }
}
