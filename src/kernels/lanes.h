/* lanes.h: groups in the lanes. A vector holds one element of VL neighbouring groups, which have nothing to do with each other:
 *
 *   fma_lanes  c[at[i] + j*ldc] (+)= sum_q a[row[i] + step[q].a] * b[step[q].b + j*ldb]      all of them vectors
 *
 * It is fma_rows with a vector in place of the scalar: no lane is lost to padding, short rows, strides or few channels. The
 * price is that inputs are transposed to lanes and results back, 6 cycles for each vector. */

/* Rows of a tile by its vectors of b; j = 1 needs rows enough to hide an FMA's latency. */
#define FC_LANES_NJ 3
#if FC_VECTOR_BYTES == 64
#define FC_LANES_M(nj) 9 /* 9 x 3 + 3 + 1 of 32 */
#elif FC_VECTOR_BYTES == 32
#define FC_LANES_M(nj) ((nj) == 1 ? 9 : (nj) == 2 ? 6 : 4) /* 4 x 3 + 3 + 1 of 16 */
#elif defined(__aarch64__)
#define FC_LANES_M(nj) ((nj) == 1 ? 9 : 8)
#else
#define FC_LANES_M(nj) ((nj) == 1 ? 8 : (nj) == 2 ? 5 : 3)
#endif

typedef struct {
    ptrdiff_t a, b;
} FN(lane_step);

typedef struct {
    const real *a;
    const ptrdiff_t *row; /* of a, one for each i */
    const FN(lane_step) *step;
    ptrdiff_t depth;
    const real *b;
    ptrdiff_t ldb;
    real *c;
    const ptrdiff_t *at; /* of c, one for each i */
    ptrdiff_t ldc;
    const real *start; /* the vectors to add the sums to, one for each j; NULL: what c holds */
} FN(lanes_job);

FC_INLINE void FN(fma_lanes_tile)(const int m, const int nj, const FN(lanes_job) job, const ptrdiff_t *row, const ptrdiff_t *at,
                                  const vec *start)
{
    vec acc[FC_LANES_M(1)][FC_LANES_NJ];
    const real *p[FC_LANES_M(1)];
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        p[i] = job.a + row[i];
        FC_UNROLL for (int j = 0; j < nj; j++) acc[i][j] = FN(zero)();
    }
    for (ptrdiff_t q = 0; q < job.depth; q++) {
        vec v[FC_LANES_NJ];
        ptrdiff_t off = job.step[q].a;
        const real *b = job.b + job.step[q].b;
        FC_UNROLL for (int j = 0; j < nj; j++) v[j] = FN(load)(b + j * job.ldb);
        FC_UNROLL for (int i = 0; i < m; i++)
        {
            vec s = FN(load)(p[i] + off);
            FC_UNROLL for (int j = 0; j < nj; j++) acc[i][j] += s * v[j];
        }
    }
    FC_UNROLL for (int i = 0; i < m; i++)
    {
        real *c = job.c + at[i];
        FC_UNROLL for (int j = 0; j < nj; j++) FN(store)(c + j * job.ldc, acc[i][j] + (start ? start[j] : FN(load)(c + j * job.ldc)));
    }
}

#define FC_LANES_CASE(M)                                                              \
    case M:                                                                           \
        if (M <= FC_LANES_M(nj))                                                      \
            FN(fma_lanes_tile)(M <= FC_LANES_M(nj) ? M : 1, nj, job, row, at, start); \
        break;

FC_INLINE void FN(fma_lanes_rows)(const int nj, int64_t rows, const FN(lanes_job) job, const vec *start)
{
    int64_t tiles = fc_ceil_div(rows, FC_LANES_M(nj)), each = rows / fc_max(1, tiles), more = rows - each * tiles;
    const ptrdiff_t *row = job.row, *at = job.at;
    for (int64_t t = 0, m; t < tiles; t++, row += m, at += m) {
        m = each + (t < more);
        switch (m) {
            FC_LANES_CASE(1) FC_LANES_CASE(2) FC_LANES_CASE(3) FC_LANES_CASE(4) FC_LANES_CASE(5) FC_LANES_CASE(6)
            FC_LANES_CASE(7) FC_LANES_CASE(8) FC_LANES_CASE(9)
        }
    }
}

FC_INLINE void FN(fma_lanes_start)(const int nj, int64_t rows, const FN(lanes_job) job)
{
    vec start[FC_LANES_NJ];
    if (!job.start) {
        FN(fma_lanes_rows)(nj, rows, job, NULL);
        return;
    }
    for (int j = 0; j < nj; j++)
        start[j] = FN(load)(job.start + j * VL);
    FN(fma_lanes_rows)(nj, rows, job, start);
}

/* Any number of rows; nj <= FC_LANES_NJ. */
FC_OUTLINE void FN(fma_lanes)(int64_t nj, int64_t rows, const FN(lanes_job) *job)
{
    switch (nj) {
    case 1: FN(fma_lanes_start)(1, rows, *job); break;
    case 2: FN(fma_lanes_start)(2, rows, *job); break;
    case 3: FN(fma_lanes_start)(3, rows, *job); break;
    }
}

#define FC_LANES_FEW (VL / 4) /* pixels that are moved one by one: a whole block of shuffles would cost more */
#define FC_LANES_AHEAD (2 * VL) /* pixels: as many streams as lanes are more than the hardware's prefetcher follows */

/* dst[at[i] + lane] = src[lane*ld + i] for i < n; lanes past `lanes` become zero. `next`: what will be read after src. */
FC_OUTLINE void FN(to_lanes)(const real *src, ptrdiff_t ld, int64_t lanes, int64_t n, const ptrdiff_t *at,
                             real *dst, const real *next)
{
    int64_t i = 0;
    for (; n - i > FC_LANES_FEW; i += VL) {
        vec a[VL];
        const real *ahead = i + FC_LANES_AHEAD < n ? src + i + FC_LANES_AHEAD : next + (i + FC_LANES_AHEAD - n);
        for (int64_t j = 0; j < lanes; j++)
            __builtin_prefetch(ahead + j * ld);
        if (lanes == VL && n - i >= VL) {
            FC_UNROLL for (int j = 0; j < VL; j++) a[j] = FN(load)(src + i + j * ld);
        } else {
            FC_UNROLL for (int j = 0; j < VL; j++)
                a[j] = j < lanes ? FN(load_n)(src + i + j * ld, fc_min(VL, n - i)) : FN(zero)();
        }
        FN(transpose_registers)(a);
        if (n - i >= VL) {
            FC_UNROLL for (int j = 0; j < VL; j++) FN(store)(dst + at[i + j], a[j]);
        } else {
            FC_UNROLL for (int j = 0; j < VL; j++) if (j < n - i) FN(store)(dst + at[i + j], a[j]);
        }
    }
    for (; i < n; i++)
        for (int64_t j = 0; j < VL; j++)
            dst[at[i] + j] = j < lanes ? src[j * ld + i] : 0;
}

/* dst[lane*ld + i] = src[i*VL + lane] for i < n, lane < lanes */
FC_OUTLINE void FN(from_lanes)(const real *src, int64_t n, int64_t lanes, real *dst, ptrdiff_t ld)
{
    int64_t i = 0;
    for (; n - i > FC_LANES_FEW; i += VL) {
        vec a[VL];
        int64_t width = fc_min(VL, n - i);
        for (int64_t j = 0; j < lanes; j++)
            __builtin_prefetch(dst + i + FC_LANES_AHEAD + j * ld, 1);
        if (width == VL) {
            FC_UNROLL for (int j = 0; j < VL; j++) a[j] = FN(load)(src + (i + j) * VL);
        } else {
            FC_UNROLL for (int j = 0; j < VL; j++) a[j] = j < width ? FN(load)(src + (i + j) * VL) : FN(zero)();
        }
        FN(transpose_registers)(a);
        if (width == VL && lanes == VL) {
            FC_UNROLL for (int j = 0; j < VL; j++) FN(store)(dst + j * ld + i, a[j]);
        } else {
            FC_UNROLL for (int j = 0; j < VL; j++) if (j < lanes) FN(store_n)(dst + j * ld + i, a[j], width);
        }
    }
    for (; i < n; i++)
        for (int64_t j = 0; j < lanes; j++)
            dst[j * ld + i] = src[i * VL + j];
}
