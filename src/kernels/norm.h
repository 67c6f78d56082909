/* kernels/norm.h: statistics of runs of elements, and the loops that apply them.
 *
 * A mean far from zero must not cost the variance its digits: so lanes of `real` add up differences from a guess, the mean of the
 * first few elements, and their squares. Where the guess was some deviations off, which few data bring about, the block is read
 * again with the mean that it gave. Blocks are merged in double, so that the rounding of a guess plays no part. */

#define FC_NORM_BLOCK ((int64_t)(16384 / sizeof(real))) /* terms of a block */

#define FC_NORM_PIXELS 256 /* of a plane that is worth finding its factors again, or streaming */
#define FC_NORM_FAR 8      /* deviations, squared, by which a guess may miss the mean: log2 of it in digits of the variance */
/* Pixels of a plane that prefetchers leave again before they are up to speed; smaller ones follow each other like one. */
#define FC_NORM_AHEAD(n) ((n) >= FC_NORM_PIXELS && (n) <= 4096)

#ifndef FC_MOMENTS
#define FC_MOMENTS
typedef struct {
    double count, mean, squares; /* squares: sum of (x - mean)^2 */
} fc_moments;

/* Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983. */
static inline void fc_merge(fc_moments *m, double count, double mean, double squares)
{
    if (m->count == 0) {
        *m = (fc_moments){count, mean, squares};
        return;
    }
    double total = m->count + count, apart = mean - m->mean;
    m->mean += isfinite(apart) ? apart * count / total : mean; /* an infinite mean stays, two of both signs make NaN */
    m->squares += squares + apart * apart * m->count * count / total;
    m->count = total;
}

/* What is subtracted from elements of type real: the mean, and what the rounding of that to real leaves over. */
typedef struct {
    double high, low, inverse; /* inverse: 1 / sqrt(var + eps) */
} fc_centre;

/* Elements from the q-th on, of q1, that lie together where each image has so many pixels. */
static inline int64_t fc_segment(int64_t q, int64_t q1, int64_t pixels) { return fc_min(pixels - (q ? q % pixels : 0), q1 - q); }
#endif

static inline fc_centre FN(centre)(double mean, double var, double eps)
{
    double high = (double)(real)mean;
    return (fc_centre){high, mean - high, 1 / sqrt(var + eps)};
}

/* n lanes, where a whole vector is the usual case and partial loads are dear. */
static inline vec FN(load_some)(const real *p, int64_t n) { return n == VL ? FN(load)(p) : FN(load_n)(p, n); }
static inline void FN(store_some)(real *p, vec v, int64_t n)
{
    if (n == VL)
        FN(store)(p, v);
    else
        FN(store_n)(p, v, n);
}

/* Terms that overflow in `real`, or are not finite: all in double, where infinities give the mean they should. */
static void FN(moments_in_double)(const real *x, int64_t n, ptrdiff_t step, fc_moments *m)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i * step];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += ((double)x[i * step] - mean) * ((double)x[i * step] - mean);
    fc_merge(m, (double)n, mean, squares);
}

/* to[i] += the sum of the lanes of a[i]. */
static inline void FN(add_sums)(const vec a[4], double to[4])
{
    if (VL < 4) {
        for (int i = 0; i < 4; i++)
            to[i] += (double)FN(sum)(a[i]);
        return;
    }
    vec even = FN(zip_lo)(a[0], a[2]) + FN(zip_hi)(a[0], a[2]), odd = FN(zip_lo)(a[1], a[3]) + FN(zip_hi)(a[1], a[3]);
    FN(add_quarters)(FN(zip_lo)(even, odd) + FN(zip_hi)(even, odd), to); /* 0 1 2 3 0 1 2 3 ... */
}

/* A number among the elements: the mean of some of the first. It is exact where these are whole numbers, as their number is a
 * power of two. */
static inline real FN(guess)(const real *x, int64_t n)
{
    if (n < VL)
        return x[0];
    if (n < 4 * VL)
        return FN(sum)(FN(load)(x)) / (real)VL;
    return FN(sum)((FN(load)(x) + FN(load)(x + VL)) + (FN(load)(x + 2 * VL) + FN(load)(x + 3 * VL))) / (real)(4 * VL);
}

/* Whether sums of differences and of their squares are of a guess that missed the mean by far. */
static inline int FN(missed)(double count, double apart, double squares)
{
    double square = apart * apart;
    return square > FC_NORM_FAR * (squares * count - square);
}

/* sums[0] += x - high, sums[1] += (x - high)^2, of terms q0 to q1. Term q is pixel q % pixels of image q / pixels. */
FC_OUTLINE void FN(differences)(const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1,
                                real high, double sums[4])
{
    const vec h = FN(splat)(high);
    vec s0 = FN(zero)(), s1 = s0, s2 = s0, s3 = s0, r0 = s0, r1 = s0, r2 = s0, r3 = s0;
    const real *plane = x + (q0 ? q0 / pixels * image : 0);
    for (int64_t q = q0, at = q0 ? q0 % pixels : 0, n; q < q1; q += n, at = 0, plane += image) {
        const real *p = plane + at;
        int64_t i = 0;
        n = fc_min(pixels - at, q1 - q);
        for (; i + 4 * VL <= n; i += 4 * VL) {
            if (FC_NORM_AHEAD(pixels)) /* the next set */
                FC_UNROLL for (int j = 0; j < 4; j++) __builtin_prefetch(p + i + j * VL + pixels, 0, 2);
            vec a = FN(load)(p + i) - h, b = FN(load)(p + i + VL) - h;
            vec c = FN(load)(p + i + 2 * VL) - h, d = FN(load)(p + i + 3 * VL) - h;
            s0 += a, s1 += b, s2 += c, s3 += d;
            r0 += a * a, r1 += b * b, r2 += c * c, r3 += d * d;
        }
        for (; i + VL <= n; i += VL) {
            vec a = FN(load)(p + i) - h;
            s1 += a;
            r1 += a * a;
        }
        if (i < n) {
            vec a = FN(keep_n)(FN(load_n)(p + i, n - i) - h, n - i);
            s2 += a;
            r2 += a * a;
        }
    }
    const vec each[4] = {(s0 + s1) + (s2 + s3), (r0 + r1) + (r2 + r3), FN(zero)(), FN(zero)()};
    FN(add_sums)(each, sums);
}

/* Merges terms q0 to q1, at most a block of them, into m. */
static void FN(moments_of_block)(const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1, fc_moments *m)
{
    const double count = (double)(q1 - q0);
    real high = FN(guess)(q0 ? x + q0 / pixels * image + q0 % pixels : x, fc_segment(q0, q1, pixels));
    double sums[4] = {0, 0, 0, 0};
    FN(differences)(x, image, pixels, q0, q1, high, sums);
    if (FN(missed)(count, sums[0], sums[1])) {
        high = (real)((double)high + sums[0] / count);
        sums[0] = sums[1] = 0;
        FN(differences)(x, image, pixels, q0, q1, high, sums);
    }
    if (!isfinite(sums[0]) || !isfinite(sums[1])) {
        for (int64_t q = q0, n; q < q1; q += n) {
            n = fc_segment(q, q1, pixels);
            FN(moments_in_double)(x + q / pixels * image + q % pixels, n, 1, m);
        }
        return;
    }
    double squares = sums[1] - sums[0] * sums[0] / count;
    fc_merge(m, count, (double)high + sums[0] / count, squares > 0 ? squares : 0);
}

static void FN(moments_of)(const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1, fc_moments *m)
{
    for (int64_t q = q0; q < q1; q += FC_NORM_BLOCK)
        FN(moments_of_block)(x, image, pixels, q, fc_min(q1, q + FC_NORM_BLOCK), m);
}

/* Elements before the first line of the cache that a result fills. A line whose other half was stored otherwise, and is in the
 * cache, costs as much as many: AVX2's vectors of half a line took 1.2 ms where they take 0.6. */
static inline int64_t FN(before_line)(const real *p, int64_t n)
{
    return fc_min(n, (int64_t)((size_t)-(uintptr_t)p % 64 / sizeof(real)));
}

/* y = (x - high) * scale + shift, past the caches if `stream`. */
FC_OUTLINE void FN(scale_and_shift)(const real *x, int64_t n, real high, real scale, real shift, int stream,
                                    real *y)
{
    vec h = FN(splat)(high), s = FN(splat)(scale), t = FN(splat)(shift);
    const int64_t head = stream ? FN(before_line)(y, n) : 0;
    int64_t i = 0;
    for (; i + VL <= head; i += VL)
        FN(store)(y + i, (FN(load)(x + i) - h) * s + t);
    if (i < head)
        FN(store_n)(y + i, (FN(load_n)(x + i, head - i) - h) * s + t, head - i);
    i = head;
    if (stream)
        for (; i + 4 * VL <= n; i += 4 * VL)
            FC_UNROLL for (int j = 0; j < 4; j++)
                FN(stream)(y + i + j * VL, (FN(load)(x + i + j * VL) - h) * s + t);
    for (; i + 4 * VL <= n; i += 4 * VL)
        FC_UNROLL for (int j = 0; j < 4; j++) {
            if (FC_NORM_AHEAD(n))
                __builtin_prefetch(y + i + j * VL + n, 1);
            FN(store)(y + i + j * VL, (FN(load)(x + i + j * VL) - h) * s + t);
        }
    for (; i + VL <= n; i += VL)
        FN(store)(y + i, (FN(load)(x + i) - h) * s + t);
    if (i < n)
        FN(store_n)(y + i, (FN(load_n)(x + i, n - i) - h) * s + t, n - i);
}

/* to[0] += sum of g, to[1] += sum of g * (x - high), of terms q0 to q1, at most a block of them. */
FC_OUTLINE void FN(products_of_block)(const real *g, const real *x, ptrdiff_t image, int64_t pixels,
                                      int64_t q0, int64_t q1, real high, double *to)
{
    vec h = FN(splat)(high), s[4] = {{0}}, r[4] = {{0}};
    ptrdiff_t plane = q0 ? q0 / pixels * image : 0;
    for (int64_t q = q0, at = q0 ? q0 % pixels : 0, n; q < q1; q += n, at = 0, plane += image) {
        const real *a = g + plane + at, *b = x + plane + at;
        int64_t i = 0;
        n = fc_min(pixels - at, q1 - q);
        for (; i + 4 * VL <= n; i += 4 * VL)
            FC_UNROLL for (int j = 0; j < 4; j++) {
                if (FC_NORM_AHEAD(n)) { /* the next set */
                    __builtin_prefetch(a + i + j * VL + n, 0, 2);
                    __builtin_prefetch(b + i + j * VL + n, 0, 2);
                }
                vec v = FN(load)(a + i + j * VL);
                s[j] += v;
                r[j] += v * (FN(load)(b + i + j * VL) - h);
            }
        for (; i + VL <= n; i += VL) {
            vec v = FN(load)(a + i);
            s[1] += v;
            r[1] += v * (FN(load)(b + i) - h);
        }
        if (i < n) {
            vec v = FN(load_n)(a + i, n - i);
            s[2] += v;
            r[2] += v * (FN(load_n)(b + i, n - i) - h); /* v is 0 behind the end */
        }
    }
    to[0] += (double)FN(sum)((s[0] + s[1]) + (s[2] + s[3]));
    to[1] += (double)FN(sum)((r[0] + r[1]) + (r[2] + r[3]));
}

static void FN(products)(const real *g, const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1, real high, double *to)
{
    for (int64_t q = q0; q < q1; q += FC_NORM_BLOCK)
        FN(products_of_block)(g, x, image, pixels, q, fc_min(q1, q + FC_NORM_BLOCK), high, to);
}

/* Of n terms that lie together, with d = x - high: to += the sums of d, d^2, v and v * d, where v is g, times weights if there are
 * any. What a gradient needs of a set whose statistics are not known yet, in one pass. */
FC_OUTLINE void FN(sums_of)(const real *g, const real *x, const real *weight, int64_t n, real high, double to[4])
{
    const vec h = FN(splat)(high);
    for (int64_t end; n > 0; n -= end, g += end, x += end, weight += weight ? end : 0) {
        vec s[2] = {{0}}, r[2] = {{0}}, t[2] = {{0}}, u[2] = {{0}};
        int64_t i = 0;
        end = fc_min(n, FC_NORM_BLOCK);
        for (; i + 2 * VL <= end; i += 2 * VL)
            FC_UNROLL for (int j = 0; j < 2; j++) {
                if (FC_NORM_AHEAD(end)) { /* the next set */
                    __builtin_prefetch(g + i + j * VL + end, 0, 2);
                    __builtin_prefetch(x + i + j * VL + end, 0, 2);
                }
                vec d = FN(load)(x + i + j * VL) - h, v = FN(load)(g + i + j * VL);
                v = weight ? v * FN(load)(weight + i + j * VL) : v;
                s[j] += d, r[j] += d * d, t[j] += v, u[j] += v * d;
            }
        for (; i + VL <= end; i += VL) {
            vec d = FN(load)(x + i) - h, v = FN(load)(g + i);
            v = weight ? v * FN(load)(weight + i) : v;
            s[1] += d, r[1] += d * d, t[1] += v, u[1] += v * d;
        }
        if (i < end) {
            vec d = FN(keep_n)(FN(load_n)(x + i, end - i) - h, end - i), v = FN(load_n)(g + i, end - i);
            v = weight ? v * FN(load_n)(weight + i, end - i) : v;
            s[0] += d, r[0] += d * d, t[0] += v, u[0] += v * d;
        }
        const vec each[4] = {s[0] + s[1], r[0] + r[1], t[0] + t[1], u[0] + u[1]};
        FN(add_sums)(each, to);
    }
}

/* gx = g * scale + ((x - high) * slope + shift) */
FC_OUTLINE void FN(lead_back)(const real *g, const real *x, int64_t n, real high, real scale, real slope,
                              real shift, int stream, real *gx)
{
    vec h = FN(splat)(high), s = FN(splat)(scale), b = FN(splat)(slope), a = FN(splat)(shift);
    const int64_t head = stream ? FN(before_line)(gx, n) : 0;
    int64_t i = 0;
    for (; i + VL <= head; i += VL)
        FN(store)(gx + i, FN(load)(g + i) * s + ((FN(load)(x + i) - h) * b + a));
    if (i < head)
        FN(store_n)(gx + i, FN(load_n)(g + i, head - i) * s + ((FN(load_n)(x + i, head - i) - h) * b + a), head - i);
    i = head;
    if (stream)
        for (; i + 4 * VL <= n; i += 4 * VL)
            FC_UNROLL for (int j = 0; j < 4; j++)
                FN(stream)(gx + i + j * VL, FN(load)(g + i + j * VL) * s + ((FN(load)(x + i + j * VL) - h) * b + a));
    for (; i + 4 * VL <= n; i += 4 * VL)
        FC_UNROLL for (int j = 0; j < 4; j++) {
            if (FC_NORM_AHEAD(n))
                __builtin_prefetch(gx + i + j * VL + n, 1);
            FN(store)(gx + i + j * VL, FN(load)(g + i + j * VL) * s + ((FN(load)(x + i + j * VL) - h) * b + a));
        }
    for (; i + VL <= n; i += VL)
        FN(store)(gx + i, FN(load)(g + i) * s + ((FN(load)(x + i) - h) * b + a));
    if (i < n)
        FN(store_n)(gx + i, FN(load_n)(g + i, n - i) * s + ((FN(load_n)(x + i, n - i) - h) * b + a), n - i);
}
