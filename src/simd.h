/* simd.h: the vector vocabulary, and the only file that holds intrinsics.
 *
 * Included once per dtype by template.h, which defines `real` and FC_REAL_BITS, inside a translation unit compiled for one
 * instruction set. Arithmetic is written with the compilers' vector extensions (GCC, Clang), so that the same text
 * serves SSE2, AVX2, AVX-512 and NEON; a product that is added contracts to an FMA where the set has one. */

#if defined(__AVX512F__)
#define FC_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define FC_VECTOR_BYTES 32
#else
#define FC_VECTOR_BYTES 16
#endif

#define VL ((int)(FC_VECTOR_BYTES / sizeof(real))) /* lanes */

#if FC_REAL_BITS == 32
typedef int32_t FN(lane_t);
#else
typedef int64_t FN(lane_t);
#endif
#define lane FN(lane_t)

typedef real FN(vec_t) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef real FN(vec_unaligned) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef lane FN(ivec_t) __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef lane FN(ivec_unaligned) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(real)), may_alias));
#define vec FN(vec_t)
#define ivec FN(ivec_t)

static inline vec FN(load)(const real *p) { return *(const FN(vec_unaligned) *)p; }
static inline void FN(store)(real *p, vec v) { *(FN(vec_unaligned) *)p = v; }
/* Past the caches, to an address that is a multiple of a vector's bytes: for results that no cache would hold until they are
 * read. `streamed` orders such stores before what follows. */
#if defined(__AVX512F__) && FC_REAL_BITS == 32
static inline void FN(stream)(real *p, vec v) { _mm512_stream_ps(p, (__m512)v); }
#elif defined(__AVX512F__)
static inline void FN(stream)(real *p, vec v) { _mm512_stream_pd(p, (__m512d)v); }
#elif defined(__AVX2__) && FC_REAL_BITS == 32
static inline void FN(stream)(real *p, vec v) { _mm256_stream_ps(p, (__m256)v); }
#elif defined(__AVX2__)
static inline void FN(stream)(real *p, vec v) { _mm256_stream_pd(p, (__m256d)v); }
#else
static inline void FN(stream)(real *p, vec v) { FN(store)(p, v); }
#endif
static inline void FN(streamed)(void)
{
#if defined(__AVX2__)
    _mm_sfence();
#endif
}
/* Elements before the first address that is a multiple of a vector's bytes. */
static inline int64_t FN(before_aligned)(const real *p, int64_t n)
{
    int64_t before = (int64_t)((size_t)-(uintptr_t)p % FC_VECTOR_BYTES / sizeof(real));
    return before < n ? before : n;
}
#define FC_STREAM_BYTES ((int64_t)16 << 20) /* of a result that goes past the caches: with what it is made of it would fill L3 */

static inline ivec FN(iload)(const lane *p) { return *(const FN(ivec_unaligned) *)p; }
static inline void FN(istore)(lane *p, ivec v) { *(FN(ivec_unaligned) *)p = v; }
/* The same vector, of which the compiler must not know that it came from memory: GCC loads what several products share again for each
 * of them, and unaligned loads take as long as products. */
static inline vec FN(loaded)(vec v)
{
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__) || defined(__i386__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}

static inline vec FN(zero)(void) { return (vec){0}; }

static inline vec FN(splat)(real x)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_set1_ps(x);
#elif defined(__AVX512F__)
    return (vec)_mm512_set1_pd(x);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    return (vec)_mm256_set1_ps(x);
#elif defined(__AVX2__)
    return (vec)_mm256_set1_pd(x);
#else
    return x - (vec){0}; /* a scalar operand is broadcast */
#endif
}

static inline ivec FN(isplat)(lane x) { return x - (ivec){0}; }

/* The first n lanes (0 <= n <= VL): the others read as zero and are not written, nor is their memory touched. */
static inline vec FN(load_n)(const real *p, int64_t n)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1u), p);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    __m256i m = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return (vec)_mm256_maskload_ps(p, m);
#elif defined(__AVX2__)
    __m256i m = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    return (vec)_mm256_maskload_pd(p, m);
#else
    vec v = {0};
    for (int i = 0; i < VL; i++)
        if (i < n)
            v[i] = p[i];
    return v;
#endif
}

/* Lanes lo <= i < hi likewise (0 <= lo <= hi <= VL). */
static inline vec FN(load_range)(const real *p, int64_t lo, int64_t hi)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << hi) - (1u << lo)), p);
#elif defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << hi) - (1u << lo)), p);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    __m256i i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)lo), i), upto = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), i);
    return (vec)_mm256_maskload_ps(p, _mm256_andnot_si256(below, upto));
#elif defined(__AVX2__)
    __m256i i = _mm256_setr_epi64x(0, 1, 2, 3);
    __m256i below = _mm256_cmpgt_epi64(_mm256_set1_epi64x(lo), i), upto = _mm256_cmpgt_epi64(_mm256_set1_epi64x(hi), i);
    return (vec)_mm256_maskload_pd(p, _mm256_andnot_si256(below, upto));
#else
    vec v = {0};
    for (int i = 0; i < VL; i++)
        if (i >= lo && i < hi)
            v[i] = p[i];
    return v;
#endif
}

static inline void FN(store_n)(real *p, vec v, int64_t n)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1u), (__m512d)v);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    /* In pieces: AMD's masked stores are microcode, and a load that follows one waits for it. */
    if (n == VL) {
        FN(store)(p, v);
        return;
    }
    __m128 part = _mm256_castps256_ps128((__m256)v);
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps((__m256)v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, part);
#elif defined(__AVX2__)
    if (n == VL) {
        FN(store)(p, v);
        return;
    }
    __m128d part = _mm256_castpd256_pd128((__m256d)v);
    if (n & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd((__m256d)v, 1);
        p += 2;
    }
    if (n & 1)
        _mm_store_sd(p, part);
#else
    for (int i = 0; i < VL; i++)
        if (i < n)
            p[i] = v[i];
#endif
}

/* Loads of some lanes in place, where the instruction set has them. The lanes lo <= i < hi, for any lo and hi; the others read
 * as zero, and their memory is not touched. */
#if defined(__AVX2__) || defined(__AVX512F__)
#define FC_HAS_MASKS 1
#if defined(__AVX512F__)
typedef unsigned FN(mask);
#else
typedef __m256i FN(mask);
#endif

static inline FN(mask) FN(mask_between)(int64_t lo, int64_t hi)
{
    lo = lo < 0 ? 0 : lo > VL ? VL : lo;
    hi = hi < 0 ? 0 : hi > VL ? VL : hi;
#if defined(__AVX512F__)
    return ((1u << hi) - 1u) & ~((1u << lo) - 1u);
#elif FC_REAL_BITS == 32
    __m256i i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)lo), i), _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), i));
#else
    __m256i i = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_andnot_si256(_mm256_cmpgt_epi64(_mm256_set1_epi64x(lo), i), _mm256_cmpgt_epi64(_mm256_set1_epi64x(hi), i));
#endif
}

static inline vec FN(load_mask)(const real *p, FN(mask) m)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_maskz_loadu_ps((__mmask16)m, p);
#elif defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_pd((__mmask8)m, p);
#elif FC_REAL_BITS == 32
    return (vec)_mm256_maskload_ps(p, m);
#else
    return (vec)_mm256_maskload_pd(p, m);
#endif
}
#endif

/* All bits of a lane where its byte is not 0, none where it is. (Of a general conversion GCC makes a load for each lane.) */
static inline ivec FN(flags)(const unsigned char *p)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)) != 0;
#elif defined(__AVX512F__)
    return (ivec)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p)) != 0;
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)) != 0;
#elif defined(__AVX2__)
    int bytes;
    memcpy(&bytes, p, sizeof bytes);
    return (ivec)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes)) != 0;
#else
    ivec flags;
    for (int i = 0; i < VL; i++)
        flags[i] = -(lane)(p[i] != 0);
    return flags;
#endif
}

/* The first n lanes, zero in the others. */
static inline vec FN(keep_n)(vec v, int64_t n)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1u), (__m512)v);
#elif defined(__AVX512F__)
    return (vec)_mm512_maskz_mov_pd((__mmask8)((1u << n) - 1u), (__m512d)v);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    __m256i m = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return (vec)_mm256_and_ps((__m256)v, _mm256_castsi256_ps(m));
#elif defined(__AVX2__)
    __m256i m = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    return (vec)_mm256_and_pd((__m256d)v, _mm256_castsi256_pd(m));
#else
    vec kept = FN(zero)();
    for (int i = 0; i < VL; i++)
        if (i < n)
            kept[i] = v[i];
    return kept;
#endif
}

/* The first n lanes of v, and the others of rest. */
static inline vec FN(first_n)(vec v, vec rest, int64_t n)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_mask_mov_ps((__m512)rest, (__mmask16)((1u << n) - 1u), (__m512)v);
#elif defined(__AVX512F__)
    return (vec)_mm512_mask_mov_pd((__m512d)rest, (__mmask8)((1u << n) - 1u), (__m512d)v);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    __m256i m = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return (vec)_mm256_blendv_ps((__m256)rest, (__m256)v, _mm256_castsi256_ps(m));
#elif defined(__AVX2__)
    __m256i m = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    return (vec)_mm256_blendv_pd((__m256d)rest, (__m256d)v, _mm256_castsi256_pd(m));
#else
    for (int i = 0; i < VL; i++)
        if (i < n)
            rest[i] = v[i];
    return rest;
#endif
}

/* m has all bits of a lane set or none: a where set, b elsewhere. */
static inline vec FN(select)(ivec m, vec a, vec b) { return (vec)(((ivec)a & m) | ((ivec)b & ~m)); }
static inline ivec FN(iselect)(ivec m, ivec a, ivec b) { return (a & m) | (b & ~m); }

/* The lesser and the greater of a limit and x; x where either is NaN, or where they are equal. */
#if defined(__AVX512F__) && FC_REAL_BITS == 32
static inline vec FN(lesser)(vec limit, vec x) { return (vec)_mm512_min_ps((__m512)limit, (__m512)x); }
static inline vec FN(greater)(vec limit, vec x) { return (vec)_mm512_max_ps((__m512)limit, (__m512)x); }
#elif defined(__AVX512F__)
static inline vec FN(lesser)(vec limit, vec x) { return (vec)_mm512_min_pd((__m512d)limit, (__m512d)x); }
static inline vec FN(greater)(vec limit, vec x) { return (vec)_mm512_max_pd((__m512d)limit, (__m512d)x); }
#elif defined(__AVX2__) && FC_REAL_BITS == 32
static inline vec FN(lesser)(vec limit, vec x) { return (vec)_mm256_min_ps((__m256)limit, (__m256)x); }
static inline vec FN(greater)(vec limit, vec x) { return (vec)_mm256_max_ps((__m256)limit, (__m256)x); }
#elif defined(__AVX2__)
static inline vec FN(lesser)(vec limit, vec x) { return (vec)_mm256_min_pd((__m256d)limit, (__m256d)x); }
static inline vec FN(greater)(vec limit, vec x) { return (vec)_mm256_max_pd((__m256d)limit, (__m256d)x); }
#else
static inline vec FN(lesser)(vec limit, vec x) { return FN(select)((ivec)(limit < x), limit, x); }
static inline vec FN(greater)(vec limit, vec x) { return FN(select)((ivec)(limit > x), limit, x); }
#endif

/* A running maximum that holds on to NaN: v takes over where it is greater or NaN, so that of equal values the first
 * stays and of NaNs the last. The second form also keeps the number of what it holds. */
static inline vec FN(max_nan)(vec best, vec v)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_mask_max_ps((__m512)v, _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_ORD_Q), (__m512)v, (__m512)best);
#elif defined(__AVX512F__)
    return (vec)_mm512_mask_max_pd((__m512d)v, _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_ORD_Q), (__m512d)v, (__m512d)best);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    __m256 nan = _mm256_cmp_ps((__m256)v, (__m256)v, _CMP_UNORD_Q);
    return (vec)_mm256_blendv_ps(_mm256_max_ps((__m256)v, (__m256)best), (__m256)v, nan);
#elif defined(__AVX2__)
    __m256d nan = _mm256_cmp_pd((__m256d)v, (__m256d)v, _CMP_UNORD_Q);
    return (vec)_mm256_blendv_pd(_mm256_max_pd((__m256d)v, (__m256d)best), (__m256d)v, nan);
#else
    return FN(select)((ivec)(v > best) | (ivec)(v != v), v, best);
#endif
}

static inline void FN(max_nan_at)(vec *best, ivec *at, vec v, ivec number)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    __mmask16 keep = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_ORD_Q), (__m512)v, (__m512)*best, _CMP_NGT_UQ);
    *best = (vec)_mm512_mask_mov_ps((__m512)v, keep, (__m512)*best);
    *at = (ivec)_mm512_mask_mov_epi32((__m512i)number, keep, (__m512i)*at);
#elif defined(__AVX512F__)
    __mmask8 ordered = _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_ORD_Q);
    __mmask8 keep = _mm512_mask_cmp_pd_mask(ordered, (__m512d)v, (__m512d)*best, _CMP_NGT_UQ);
    *best = (vec)_mm512_mask_mov_pd((__m512d)v, keep, (__m512d)*best);
    *at = (ivec)_mm512_mask_mov_epi64((__m512i)number, keep, (__m512i)*at);
#elif defined(__AVX2__)
    ivec take = (ivec)(v > *best) | (ivec)(v != v);
    *best = (vec)_mm256_blendv_epi8((__m256i)*best, (__m256i)v, (__m256i)take);
    *at = (ivec)_mm256_blendv_epi8((__m256i)*at, (__m256i)number, (__m256i)take);
#else
    ivec take = (ivec)(v > *best) | (ivec)(v != v);
    *best = FN(select)(take, v, *best);
    *at = FN(iselect)(take, number, *at);
#endif
}

/* The same for columns that come one after the other, each with a number that grows by rows first: of equal values the one
 * with the smaller number stays. (Which of several NaNs stays is not said.) */
static inline void FN(max_first)(vec *best, ivec *at, vec v, ivec number)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    __m512 b = (__m512)*best, c = (__m512)v;
    __mmask16 take = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(b, b, _CMP_ORD_Q), c, b, _CMP_NLE_UQ) |
                     _mm512_mask_cmplt_epi32_mask(_mm512_cmp_ps_mask(c, b, _CMP_EQ_OQ), (__m512i)number, (__m512i)*at);
    *best = (vec)_mm512_mask_mov_ps(b, take, c);
    *at = (ivec)_mm512_mask_mov_epi32((__m512i)*at, take, (__m512i)number);
#elif defined(__AVX512F__)
    __m512d b = (__m512d)*best, c = (__m512d)v;
    __mmask8 take = _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask(b, b, _CMP_ORD_Q), c, b, _CMP_NLE_UQ) |
                    _mm512_mask_cmplt_epi64_mask(_mm512_cmp_pd_mask(c, b, _CMP_EQ_OQ), (__m512i)number, (__m512i)*at);
    *best = (vec)_mm512_mask_mov_pd(b, take, c);
    *at = (ivec)_mm512_mask_mov_epi64((__m512i)*at, take, (__m512i)number);
#else
    ivec take = (ivec)(v > *best) | (ivec)(v != v) | ((ivec)(v == *best) & (ivec)(number < *at));
    *best = FN(select)(take, v, *best);
    *at = FN(iselect)(take, number, *at);
#endif
}

/* v * 2^k, for whole numbers k, rounded once. */
#if defined(__AVX512F__)
#define FC_HAS_SCALE 1
#if FC_REAL_BITS == 32
static inline vec FN(scale)(vec v, vec k) { return (vec)_mm512_scalef_ps((__m512)v, (__m512)k); }
#else
static inline vec FN(scale)(vec v, vec k) { return (vec)_mm512_scalef_pd((__m512d)v, (__m512d)k); }
#endif
#endif

/* 1 / v within a unit or two in the last place, for numbers of ordinary size. */
static inline vec FN(reciprocal)(vec v)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    vec w = (vec)_mm512_rcp14_ps((__m512)v);
    return w + w * ((real)1 - v * w);
#else
    return (real)1 / v;
#endif
}

static inline vec FN(root)(vec v)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    return (vec)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX512F__)
    return (vec)_mm512_sqrt_pd((__m512d)v);
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    return (vec)_mm256_sqrt_ps((__m256)v);
#elif defined(__AVX2__)
    return (vec)_mm256_sqrt_pd((__m256d)v);
#else
    for (int i = 0; i < VL; i++)
        v[i] = (real)__builtin_sqrt((double)v[i]); /* rounded twice, but to the same: a root has no such halfway cases */
    return v;
#endif
}

/* Whether any bit is set. */
static inline int FN(any)(ivec v)
{
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)v, (__m256i)v);
#else
    lane bits = 0;
    for (int i = 0; i < VL; i++)
        bits |= v[i];
    return bits != 0;
#endif
}

/* Sum of the lanes, halving: the same tree on every instruction set of one width. */
static inline real FN(sum)(vec v)
{
#if defined(__AVX512F__) || defined(__AVX2__)
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#elif defined(__AVX512F__)
    __m256d half = _mm256_add_pd(_mm512_castpd512_pd256((__m512d)v), _mm512_extractf64x4_pd((__m512d)v, 1));
#elif FC_REAL_BITS == 32
    __m256 half = (__m256)v;
#else
    __m256d half = (__m256d)v;
#endif
#if FC_REAL_BITS == 32
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
#else
    __m128d quarter = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(quarter, _mm_unpackhi_pd(quarter, quarter)));
#endif
#else
    for (int half = VL / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
#endif
}

/* to[i % 4] += v[i], for vectors of 4 lanes or more; like lanes are added first. */
static inline void FN(add_quarters)(vec v, double to[4])
{
#if defined(__AVX512F__) || defined(__AVX2__)
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#elif defined(__AVX512F__)
    __m256d quarter = _mm256_add_pd(_mm512_castpd512_pd256((__m512d)v), _mm512_extractf64x4_pd((__m512d)v, 1));
#elif FC_REAL_BITS == 32
    __m256 half = (__m256)v;
#else
    __m256d quarter = (__m256d)v;
#endif
#if FC_REAL_BITS == 32
    __m256d quarter = _mm256_cvtps_pd(_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
#endif
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), quarter));
#else
    for (int i = 0; i < VL; i++)
        to[i % 4] += (double)v[i];
#endif
}

/* a0 b0 a1 b1 ... from the lower halves, and from the upper halves. */
#if defined(__clang__) || __GNUC__ >= 12
#define FC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FC_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

/* The halves of a vector, to two places. */
static inline void FN(store_halves)(real *lo, real *hi, vec v)
{
#if defined(__AVX512F__) && FC_REAL_BITS == 32
    _mm256_storeu_ps(lo, _mm512_castps512_ps256((__m512)v));
    _mm256_storeu_ps(hi, _mm512_extractf32x8_ps((__m512)v, 1));
#elif defined(__AVX512F__)
    _mm256_storeu_pd(lo, _mm512_castpd512_pd256((__m512d)v));
    _mm256_storeu_pd(hi, _mm512_extractf64x4_pd((__m512d)v, 1));
#elif defined(__AVX2__) && FC_REAL_BITS == 32
    _mm_storeu_ps(lo, _mm256_castps256_ps128((__m256)v));
    _mm_storeu_ps(hi, _mm256_extractf128_ps((__m256)v, 1));
#elif defined(__AVX2__)
    _mm_storeu_pd(lo, _mm256_castpd256_pd128((__m256d)v));
    _mm_storeu_pd(hi, _mm256_extractf128_pd((__m256d)v, 1));
#else
    for (int i = 0; i < VL / 2; i++) {
        lo[i] = v[i];
        hi[i] = v[i + VL / 2];
    }
#endif
}

/* And the way back: evens and odds of the elements of a, then b; every third of a, b, then c. shift_in: the elements of a from the
 * second on, then x. */
#if FC_VECTOR_BYTES * 8 / FC_REAL_BITS == 16
static inline vec FN(evens)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30); }
static inline vec FN(odds)(vec a, vec b) { return FC_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31); }
static inline vec FN(thirds)(vec a, vec b, vec c)
{
    vec ab = FC_SHUFFLE(a, b, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0);
    return FC_SHUFFLE(ab, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29);
}
static inline vec FN(shift_in)(vec a, real x) { return FC_SHUFFLE(a, FN(splat)(x), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16); }
static inline vec FN(zip_lo)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
static inline vec FN(zip_hi)(vec a, vec b) { return FC_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }
#elif FC_VECTOR_BYTES * 8 / FC_REAL_BITS == 8
static inline vec FN(evens)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
static inline vec FN(odds)(vec a, vec b) { return FC_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
static inline vec FN(thirds)(vec a, vec b, vec c)
{
    return FC_SHUFFLE(FC_SHUFFLE(a, b, 0, 3, 6, 9, 12, 15, 0, 0), c, 0, 1, 2, 3, 4, 5, 10, 13);
}
static inline vec FN(shift_in)(vec a, real x) { return FC_SHUFFLE(a, FN(splat)(x), 1, 2, 3, 4, 5, 6, 7, 8); }
static inline vec FN(zip_lo)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
static inline vec FN(zip_hi)(vec a, vec b) { return FC_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#elif FC_VECTOR_BYTES * 8 / FC_REAL_BITS == 4
static inline vec FN(evens)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 2, 4, 6); }
static inline vec FN(odds)(vec a, vec b) { return FC_SHUFFLE(a, b, 1, 3, 5, 7); }
static inline vec FN(thirds)(vec a, vec b, vec c) { return FC_SHUFFLE(FC_SHUFFLE(a, b, 0, 3, 6, 0), c, 0, 1, 2, 5); }
static inline vec FN(shift_in)(vec a, real x) { return FC_SHUFFLE(a, FN(splat)(x), 1, 2, 3, 4); }
static inline vec FN(zip_lo)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 4, 1, 5); }
static inline vec FN(zip_hi)(vec a, vec b) { return FC_SHUFFLE(a, b, 2, 6, 3, 7); }
#else
static inline vec FN(evens)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 2); }
static inline vec FN(odds)(vec a, vec b) { return FC_SHUFFLE(a, b, 1, 3); }
static inline vec FN(shift_in)(vec a, real x) { return FC_SHUFFLE(a, FN(splat)(x), 1, 2); }
static inline vec FN(zip_lo)(vec a, vec b) { return FC_SHUFFLE(a, b, 0, 2); }
static inline vec FN(zip_hi)(vec a, vec b) { return FC_SHUFFLE(a, b, 1, 3); }
#endif
