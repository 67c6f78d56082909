/* octets.h: images in the lanes, eight together (or fewer, where a vector does not hold eight):
 *
 *   y[i*ldy + image] += sum_q w[i*row + q*term] * x[at[q] + image]        row or term is 1
 *
 * A weight is a scalar, read once, where it lies, for eight images: none of it is copied, no sum goes across lanes. Eight, whatever
 * a vector holds, since a batch of eight fills them. (Where a vector has 16 lanes two neighbouring weights could share it; what
 * that saves of products the shuffles cost.) Meanwhile the weights to come are asked for, as many as are used: rows side by side are
 * more streams than the hardware's prefetcher follows. */

#ifndef FC_OCTET_ROWS
#if FC_VECTOR_BYTES == 64 || defined(__aarch64__)
#define FC_OCTET_ROWS 16 /* of 32 registers */
#else
#define FC_OCTET_ROWS 8 /* of 16 */
#endif
#endif

#undef FC_OCTET
#if FC_VECTOR_BYTES * 8 / FC_REAL_BITS > 8
#define FC_OCTET 8
#else
#define FC_OCTET VL
#endif
typedef real FN(octet_t)
    __attribute__((vector_size((FC_VECTOR_BYTES < FC_REAL_BITS ? FC_VECTOR_BYTES : FC_REAL_BITS)), aligned(sizeof(real)), may_alias));
#define octet FN(octet_t)

typedef struct {
    const real *w;
    ptrdiff_t row, term;
    const real *x;
    const ptrdiff_t *at;
    ptrdiff_t depth;
    real *y;
    ptrdiff_t ldy;
    const real *ahead; /* weights to ask for, one after the other */
} FN(octet_job);

/* m rows, side by side (`beside`) or each a line of terms: these lie four by four at a pointer and 1, 2, 3 rows from it, since more
 * pointers than that would not stay in registers. */
FC_INLINE void FN(octet_tile)(const int m, const int beside, const FN(octet_job) *job)
{
    const ptrdiff_t row = beside ? 1 : job->row, term = beside ? job->term : 1;
    const real *p[(FC_OCTET_ROWS + 3) / 4], *ahead = job->ahead;
    octet acc[FC_OCTET_ROWS];
    FC_UNROLL for (int i = 0; i < m; i += 4) p[i / 4] = job->w + i * row;
    FC_UNROLL for (int i = 0; i < m; i++) acc[i] = (octet){0};
    for (ptrdiff_t q = 0; q < job->depth; q++, ahead += m) {
        octet v = *(const octet *)(job->x + job->at[q]);
        FC_UNROLL for (int i = 0; i < m * (int)sizeof(real); i += FC_ALIGN) __builtin_prefetch((const char *)ahead + i, 0, 2);
        FC_UNROLL for (int i = 0; i < m; i++) acc[i] += v * p[i / 4][i % 4 * row];
        FC_UNROLL for (int i = 0; i < m; i += 4) p[i / 4] += term;
    }
    FC_UNROLL for (int i = 0; i < m; i++) *(octet *)(job->y + i * job->ldy) += acc[i];
}

#define FC_OCTET_TILES(M, BESIDE)                                                        \
    for (; M <= FC_OCTET_ROWS && rows >= M; rows -= M) {                                 \
        FN(octet_tile)(M <= FC_OCTET_ROWS ? M : 1, BESIDE, &b);                          \
        b.w += M * b.row;                                                                \
        b.y += M * b.ldy;                                                                \
        b.ahead += M * b.depth;                                                          \
    }
#define FC_OCTET_ANY(BESIDE)                                                             \
    FC_OCTET_TILES(16, BESIDE)                                                           \
    FC_OCTET_TILES(8, BESIDE) FC_OCTET_TILES(4, BESIDE) FC_OCTET_TILES(2, BESIDE) FC_OCTET_TILES(1, BESIDE)

/* Any number of rows. */
FC_OUTLINE void FN(octet_rows)(int64_t rows, const FN(octet_job) *job)
{
    FN(octet_job) b = *job;
    if (b.row == 1) {
        FC_OCTET_ANY(1)
    } else {
        FC_OCTET_ANY(0)
    }
}
