/* copy.h: moving data between layouts: runs with a stride, register transposes, padded panels. */

#ifdef FC_HAS_MASKS
/* dst[i] = src[i*step]; nothing is read behind the last element. */
FC_INLINE void FN(copy_every)(const int step, real *dst, const real *src, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += VL, src += step * VL) {
        vec v[4];
        ptrdiff_t more = step * (n - i) - step + 1;
        FC_UNROLL for (int k = 0; k < step; k++, more -= VL)
            v[k] = more >= VL ? FN(load)(src + k * VL) : FN(load_n)(src + k * VL, more > 0 ? more : 0);
        vec all = step == 2 ? FN(evens)(v[0], v[1]) : step == 3 ? FN(thirds)(v[0], v[1], v[2])
                                                    : FN(evens)(FN(evens)(v[0], v[1]), FN(evens)(v[2], v[3]));
        if (n - i >= VL)
            FN(store)(dst + i, all);
        else
            FN(store_n)(dst + i, all, n - i);
    }
}
#endif

FC_OUTLINE void FN(copy_apart)(real *dst, const real *src, ptrdiff_t stride, ptrdiff_t n)
{
#ifdef FC_HAS_MASKS
    switch (stride) {
    case 2: FN(copy_every)(2, dst, src, n); return;
    case 3: FN(copy_every)(3, dst, src, n); return;
    case 4: FN(copy_every)(4, dst, src, n); return;
    }
#else
    if (stride == 2) { /* a constant lets the compiler deinterleave with shuffles */
        for (ptrdiff_t i = 0; i < n; i++)
            dst[i] = src[2 * i];
        return;
    }
#endif
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = src[i * stride];
}

/* dst[i] = src[i*stride] */
static inline void FN(copy_run)(real *dst, const real *src, ptrdiff_t stride, ptrdiff_t n)
{
    if (stride != 1) {
        FN(copy_apart)(dst, src, stride, n);
        return;
    }
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(dst + i, FN(load)(src + i));
    if (i < n)
        FN(store_n)(dst + i, FN(load_n)(src + i, n - i), n - i);
}

static inline void FN(fill_run)(real *dst, real value, ptrdiff_t n)
{
    vec v = FN(splat)(value);
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(dst + i, v);
    if (i < n)
        FN(store_n)(dst + i, v, n - i);
}

/* VL vectors transposed in place: log2(VL) rounds of perfect shuffles. */
FC_INLINE void FN(transpose_registers)(vec *a)
{
    vec b[VL];
    FC_UNROLL for (int s = 1; s < VL; s *= 2)
    {
        FC_UNROLL for (int i = 0; i < VL / 2; i++)
        {
            b[2 * i] = FN(zip_lo)(a[i], a[i + VL / 2]);
            b[2 * i + 1] = FN(zip_hi)(a[i], a[i + VL / 2]);
        }
        FC_UNROLL for (int i = 0; i < VL; i++) a[i] = b[i];
    }
}

/* VL x VL (or less) transposed. Missing rows and columns of the source read as zero; `cols` rows of `width` elements are
 * written. */
FC_INLINE void FN(transpose_block)(const real *src, ptrdiff_t lds, int64_t rows, int64_t cols, real *dst, ptrdiff_t ldd,
                                   int64_t width)
{
    vec a[VL];
    if (rows >= VL && cols >= VL) {
        FC_UNROLL for (int i = 0; i < VL; i++) a[i] = FN(load)(src + i * lds);
    } else {
        FC_UNROLL for (int i = 0; i < VL; i++) a[i] = i < rows ? FN(load_n)(src + i * lds, fc_min(cols, VL)) : FN(zero)();
    }
    FN(transpose_registers)(a);
    if (width >= VL && cols >= VL) {
        FC_UNROLL for (int i = 0; i < VL; i++) FN(store)(dst + i * ldd, a[i]);
    } else {
        FC_UNROLL for (int i = 0; i < VL; i++) if (i < cols) FN(store_n)(dst + i * ldd, a[i], fc_min(width, VL));
    }
}

#define FC_TRANSPOSE_AHEAD (4 * FC_ALIGN / (int64_t)sizeof(real))
/* dst[j*ldd + i] = src[i*lds + j] for i < rows, j < cols; lanes rows..width of each written row are zero. */
FC_OUTLINE void FN(transpose)(const real *src, ptrdiff_t lds, int64_t rows, int64_t cols, real *dst,
                              ptrdiff_t ldd, int64_t width)
{
    for (int64_t i = 0; i < width; i += VL)
        for (int64_t j = 0; j < cols; j += VL) {
            if (j + FC_TRANSPOSE_AHEAD < cols) /* rows are far apart, too many for the prefetchers */
                FC_UNROLL for (int64_t k = 0; k < VL; k++) __builtin_prefetch(src + (i + k) * lds + j + FC_TRANSPOSE_AHEAD, 0, 3);
            FN(transpose_block)(src + i * lds + j, lds, rows - i, cols - j, dst + j * ldd + i, ldd, width - i);
        }
}

/* The part of a panel's rows that one phase of an axis takes from the input: places lo .. hi, from `first` with `step`. */
typedef struct {
    int64_t lo, hi, first, step;
} FN(row_part);

static inline FN(row_part) FN(row_part_of)(const fc_panel_axis *a, int64_t phase, int64_t size)
{
    FN(row_part) r;
    int64_t n = (a->extent - phase + a->phases - 1) / a->phases; /* positions of this phase */
    r.first = a->start + phase * a->step;
    r.step = a->phases * a->step;
    r.lo = r.first < 0 ? fc_min(n, fc_ceil_div(-r.first, r.step)) : 0;
    r.hi = r.first >= size ? r.lo : fc_max(r.lo, fc_min(n, (size - 1 - r.first) / r.step + 1));
    return r;
}

/* Copies a box's inputs in all images n0 .. of a panel that has them side by side; positions outside the input become zero. Short
 * rows that follow one another are turned together, since a row of 7 pixels takes as long as one of 16. */
#define FC_TOGETHER_RUN (64 * VL)
FC_OUTLINE void FN(panel_fill_together)(const fc_panel *p, const fc_corr *c, const fc_array *x, int64_t n0,
                                        int64_t c0, real *dst)
{
    const fc_panel_axis *a = p->axis;
    FN(row_part) part[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++)
        part[d] = FN(row_part_of)(&a[d], 0, c->in[d]);
    ptrdiff_t step = part[2].step * x->stride[4];
    FN(fill_run)(dst, 0, p->channels * p->plane);
    int64_t width = part[2].hi - part[2].lo, pixels = (part[1].hi - part[1].lo) * width;
    int dense = step == 1 && part[1].step * x->stride[3] == width && pixels * p->together <= FC_TOGETHER_RUN;
    real turned[FC_TOGETHER_RUN];
    for (int64_t k = 0; k < p->channels; k++)
        for (int64_t d = part[0].lo; d < part[0].hi; d++)
            for (int64_t h = part[1].lo; h < part[1].hi; h++) {
                const real *src = (const real *)x->data + n0 * x->stride[0] + (c0 + k) * x->stride[1] +
                                  (part[0].first + d * part[0].step) * x->stride[2] +
                                  (part[1].first + h * part[1].step) * x->stride[3] +
                                  (part[2].first + part[2].lo * part[2].step) * x->stride[4];
                real *to = dst + k * p->plane + d * p->slice + h * p->row + part[2].lo * p->together;
                if (dense) {
                    if (h == part[1].lo)
                        FN(transpose)(src, x->stride[0], p->together, pixels, turned, p->together, p->together);
                    FN(copy_run)(to, turned + (h - part[1].lo) * width * p->together, 1, width * p->together);
                    continue;
                }
                if (step == 1) {
                    FN(transpose)(src, x->stride[0], p->together, width, to, p->together, p->together);
                    continue;
                }
                for (int64_t w = part[2].lo; w < part[2].hi; w++, src += step, to += p->together)
                    FN(copy_run)(to, src, x->stride[0], p->together);
            }
}

#define FC_PANEL_PARTS 8 /* phases whose parts are found once for all channels: divisions */
/* Copies a box's inputs, channels c0 .. c0+channels of `x`, into a panel; positions outside the input become `fill`. */
FC_OUTLINE void FN(panel_fill)(const fc_panel *p, const fc_corr *c, const fc_array *x, int64_t n0,
                               int64_t n, int64_t c0, real fill, real *dst)
{
    const fc_panel_axis *a = p->axis;
    const int64_t phases = a[0].phases * a[1].phases * a[2].phases;
    FN(row_part) part, parts[FC_PANEL_PARTS];
    for (int64_t f = 0; f < fc_min(a[2].phases, FC_PANEL_PARTS); f++)
        parts[f] = FN(row_part_of)(&a[2], f, c->in[2]);
    for (int64_t k = 0; k < n * p->channels; k++, dst += p->plane) { /* all phases of a channel, while it is in L1 */
        const real *plane = (const real *)x->data + (n0 + k / p->channels) * x->stride[0] + (c0 + k % p->channels) * x->stride[1];
        real *row = dst;
        for (int64_t f = 0; f < phases; f++) {
            int64_t fw = f % a[2].phases, fh = f / a[2].phases % a[1].phases, fd = f / a[2].phases / a[1].phases;
            part = fw < FC_PANEL_PARTS ? parts[fw] : FN(row_part_of)(&a[2], fw, c->in[2]);
            const real *from = plane + (part.first + part.lo * part.step) * x->stride[4];
            for (int64_t d = 0, sd = a[0].start + fd * a[0].step; d < a[0].len; d++, sd += a[0].phases * a[0].step)
                for (int64_t h = 0, sh = a[1].start + fh * a[1].step; h < a[1].len;
                     h++, sh += a[1].phases * a[1].step, row += p->row) {
                    if (sd < 0 || sd >= c->in[0] || sh < 0 || sh >= c->in[1] || part.hi == part.lo) {
                        FN(fill_run)(row, fill, a[2].len);
                        continue;
                    }
                    if (a[2].phases > 1 && fw == 0) /* short runs far apart: the hardware does not get ahead */
                        for (int64_t i = 0; i < (part.hi - part.lo) * part.step; i += FC_ALIGN / (int64_t)sizeof(real))
                            __builtin_prefetch(from + sd * x->stride[2] + sh * x->stride[3] + x->stride[1] + i, 0, 3);
                    if (part.lo)
                        FN(fill_run)(row, fill, part.lo);
                    FN(copy_run)(row + part.lo, from + sd * x->stride[2] + sh * x->stride[3], part.step * x->stride[4],
                                 part.hi - part.lo);
                    if (part.hi < a[2].len)
                        FN(fill_run)(row + part.hi, fill, a[2].len - part.hi);
                }
        }
    }
}
