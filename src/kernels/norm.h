/* kernels/norm.h: statistics of runs of elements, and the loops that apply them.
 *
 * A mean far from zero must not cost the variance its digits: so a block of terms is read twice while it lies in L1, for
 * its mean and for the squares of the differences from it, in lanes of `real`; blocks are merged in double. With the
 * differences' sum beside that of their squares, the rounding of the block's mean plays no part. */

#define FC_NORM_BLOCK ((int64_t)(16384 / sizeof(real))) /* terms of a block */

#define FC_NORM_STREAM ((int64_t)16 << 20) /* bytes of a result that goes past the caches: with the input it would fill L3 */
#define FC_NORM_PIXELS 256                 /* of a plane that is worth finding its factors again, or streaming */
#define FC_NORM_AHEAD 4096                 /* pixels of a plane that prefetchers leave again before they are up to speed */

#ifndef FC_MOMENTS
#define FC_MOMENTS
typedef struct {
    double count, mean, squares; /* squares: sum of (x - mean)^2 */
} fc_moments;

/* Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983. */
static inline void fc_merge(fc_moments *m, double count, double mean, double squares)
{
    double total = m->count + count, apart = mean - m->mean;
    m->mean += apart * count / total;
    m->squares += squares + apart * apart * m->count * count / total;
    m->count = total;
}

/* What is subtracted from elements of type real: the mean, and what the rounding of that to real leaves over. */
typedef struct {
    double high, low, inverse; /* inverse: 1 / sqrt(var + eps) */
} fc_centre;

/* Elements from the q-th on, of q1, that lie together where each image has so many pixels. */
static inline int64_t fc_segment(int64_t q, int64_t q1, int64_t pixels) { return fc_min(pixels - q % pixels, q1 - q); }
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

/* Merges terms q0 to q1, at most a block of them, into m. Term q is pixel q % pixels of image q / pixels. */
static void FN(moments_of_block)(const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1, fc_moments *m)
{
    vec s0 = FN(zero)(), s1 = s0, s2 = s0, s3 = s0, r0 = s0, r1 = s0, r2 = s0, r3 = s0;
    for (int64_t q = q0, n; q < q1; q += n) {
        const real *p = x + q / pixels * image + q % pixels;
        int64_t i = 0;
        n = fc_segment(q, q1, pixels);
        for (; i + 4 * VL <= n; i += 4 * VL) {
            if (pixels <= FC_NORM_AHEAD) /* the next set */
                FC_UNROLL for (int j = 0; j < 4; j++) __builtin_prefetch(p + i + j * VL + pixels, 0, 2);
            s0 += FN(load)(p + i);
            s1 += FN(load)(p + i + VL);
            s2 += FN(load)(p + i + 2 * VL);
            s3 += FN(load)(p + i + 3 * VL);
        }
        for (; i < n; i += VL)
            s0 += FN(load_n)(p + i, fc_min(VL, n - i));
    }
    double count = (double)(q1 - q0);
    real shifts[VL];
    for (int i = 0; i < VL; i++)
        shifts[i] = FN(sum)((s0 + s1) + (s2 + s3)) / (real)count;
    vec shift = FN(load)(shifts);
    s0 = s1 = s2 = s3 = FN(zero)();
    for (int64_t q = q0, n; q < q1; q += n) {
        const real *p = x + q / pixels * image + q % pixels;
        int64_t i = 0;
        n = fc_segment(q, q1, pixels);
        for (; i + 4 * VL <= n; i += 4 * VL) {
            vec a = FN(load)(p + i) - shift, b = FN(load)(p + i + VL) - shift;
            vec c = FN(load)(p + i + 2 * VL) - shift, d = FN(load)(p + i + 3 * VL) - shift;
            s0 += a, s1 += b, s2 += c, s3 += d;
            r0 += a * a, r1 += b * b, r2 += c * c, r3 += d * d;
        }
        for (; i < n; i += VL) { /* lanes behind the end: 0 - 0 */
            vec a = FN(load_n)(p + i, fc_min(VL, n - i)) - FN(load_n)(shifts, fc_min(VL, n - i));
            s1 += a;
            r1 += a * a;
        }
    }
    double apart = (double)FN(sum)((s0 + s1) + (s2 + s3)), squares = (double)FN(sum)((r0 + r1) + (r2 + r3));
    if (!isfinite(apart) || !isfinite(squares)) {
        for (int64_t q = q0, n; q < q1; q += n) {
            n = fc_segment(q, q1, pixels);
            FN(moments_in_double)(x + q / pixels * image + q % pixels, n, 1, m);
        }
        return;
    }
    squares -= apart * apart / count;
    fc_merge(m, count, (double)shifts[0] + apart / count, squares > 0 ? squares : 0);
}

static void FN(moments_of)(const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1, fc_moments *m)
{
    for (int64_t q = q0; q < q1; q += FC_NORM_BLOCK)
        FN(moments_of_block)(x, image, pixels, q, fc_min(q1, q + FC_NORM_BLOCK), m);
}

/* Elements before the first address that is a multiple of a vector's bytes. */
static inline int64_t FN(before_aligned)(const real *p, int64_t n)
{
    return fc_min(n, (int64_t)((size_t)-(uintptr_t)p % FC_VECTOR_BYTES / sizeof(real)));
}

/* y = (x - high) * scale + shift, past the caches if `stream`. */
static inline void FN(scale_and_shift)(const real *x, int64_t n, real high, real scale, real shift, int stream, real *y)
{
    vec h = FN(splat)(high), s = FN(splat)(scale), t = FN(splat)(shift);
    int64_t i = stream ? FN(before_aligned)(y, n) : 0;
    if (i)
        FN(store_n)(y, (FN(load_n)(x, i) - h) * s + t, i);
    if (stream)
        for (; i + 4 * VL <= n; i += 4 * VL)
            FC_UNROLL for (int j = 0; j < 4; j++)
                FN(stream)(y + i + j * VL, (FN(load)(x + i + j * VL) - h) * s + t);
    for (; i + 4 * VL <= n; i += 4 * VL)
        FC_UNROLL for (int j = 0; j < 4; j++) {
            if (n <= FC_NORM_AHEAD)
                __builtin_prefetch(y + i + j * VL + n, 1);
            FN(store)(y + i + j * VL, (FN(load)(x + i + j * VL) - h) * s + t);
        }
    for (; i < n; i += VL)
        FN(store_n)(y + i, (FN(load_n)(x + i, fc_min(VL, n - i)) - h) * s + t, fc_min(VL, n - i));
}

/* to[0] += sum of g, to[1] += sum of g * (x - high), of n terms in blocks. */
static inline void FN(products)(const real *g, const real *x, int64_t n, real high, double *to)
{
    vec h = FN(splat)(high);
    for (int64_t end; n > 0; n -= end, g += end, x += end) {
        vec s[4] = {{0}}, r[4] = {{0}};
        int64_t i = 0;
        end = fc_min(n, FC_NORM_BLOCK);
        for (; i + 4 * VL <= end; i += 4 * VL)
            FC_UNROLL for (int j = 0; j < 4; j++) {
                if (end < FC_NORM_AHEAD) { /* the next set */
                    __builtin_prefetch(g + i + j * VL + end, 0, 2);
                    __builtin_prefetch(x + i + j * VL + end, 0, 2);
                }
                vec v = FN(load)(g + i + j * VL);
                s[j] += v;
                r[j] += v * (FN(load)(x + i + j * VL) - h);
            }
        for (; i < end; i += VL) {
            int64_t some = fc_min(VL, end - i);
            vec v = FN(load_n)(g + i, some);
            s[0] += v;
            r[0] += v * (FN(load_n)(x + i, some) - h); /* v is 0 behind the end */
        }
        to[0] += (double)FN(sum)((s[0] + s[1]) + (s[2] + s[3]));
        to[1] += (double)FN(sum)((r[0] + r[1]) + (r[2] + r[3]));
    }
}

/* gx = g * scale + ((x - high) * slope + shift) */
static inline void FN(lead_back)(const real *g, const real *x, int64_t n, real high, real scale, real slope, real shift, int stream,
                                 real *gx)
{
    vec h = FN(splat)(high), s = FN(splat)(scale), b = FN(splat)(slope), a = FN(splat)(shift);
    int64_t i = stream ? FN(before_aligned)(gx, n) : 0;
    if (i)
        FN(store_n)(gx, FN(load_n)(g, i) * s + ((FN(load_n)(x, i) - h) * b + a), i);
    if (stream)
        for (; i + 4 * VL <= n; i += 4 * VL)
            FC_UNROLL for (int j = 0; j < 4; j++)
                FN(stream)(gx + i + j * VL, FN(load)(g + i + j * VL) * s + ((FN(load)(x + i + j * VL) - h) * b + a));
    for (; i + 4 * VL <= n; i += 4 * VL)
        FC_UNROLL for (int j = 0; j < 4; j++) {
            if (n <= FC_NORM_AHEAD)
                __builtin_prefetch(gx + i + j * VL + n, 1);
            FN(store)(gx + i + j * VL, FN(load)(g + i + j * VL) * s + ((FN(load)(x + i + j * VL) - h) * b + a));
        }
    for (; i < n; i += VL) {
        int64_t some = fc_min(VL, n - i);
        FN(store_n)(gx + i, FN(load_n)(g + i, some) * s + ((FN(load_n)(x + i, some) - h) * b + a), some);
    }
}
