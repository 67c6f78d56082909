/* copy.h: moving data between layouts: runs with a stride, register transposes, padded panels. */

/* dst[i] = src[i*stride] */
static inline void FN(copy_run)(real *dst, const real *src, ptrdiff_t stride, ptrdiff_t n)
{
    if (stride == 1) {
        ptrdiff_t i = 0;
        for (; i + VL <= n; i += VL)
            FN(store)(dst + i, FN(load)(src + i));
        if (i < n)
            FN(store_n)(dst + i, FN(load_n)(src + i, n - i), n - i);
    } else if (stride == 2) { /* a constant lets the compiler deinterleave with shuffles */
        for (ptrdiff_t i = 0; i < n; i++)
            dst[i] = src[2 * i];
    } else {
        for (ptrdiff_t i = 0; i < n; i++)
            dst[i] = src[i * stride];
    }
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

/* VL x VL (or less) transposed in registers: log2(VL) rounds of perfect shuffles. Missing rows and columns of the source
 * read as zero; `cols` rows of `width` elements are written. */
FC_INLINE void FN(transpose_block)(const real *src, ptrdiff_t lds, int64_t rows, int64_t cols, real *dst, ptrdiff_t ldd,
                                   int64_t width)
{
    vec a[VL], b[VL];
    if (rows >= VL && cols >= VL) {
        FC_UNROLL for (int i = 0; i < VL; i++) a[i] = FN(load)(src + i * lds);
    } else {
        FC_UNROLL for (int i = 0; i < VL; i++) a[i] = i < rows ? FN(load_n)(src + i * lds, fc_min(cols, VL)) : FN(zero)();
    }
    FC_UNROLL for (int s = 1; s < VL; s *= 2)
    {
        FC_UNROLL for (int i = 0; i < VL / 2; i++)
        {
            b[2 * i] = FN(zip_lo)(a[i], a[i + VL / 2]);
            b[2 * i + 1] = FN(zip_hi)(a[i], a[i + VL / 2]);
        }
        FC_UNROLL for (int i = 0; i < VL; i++) a[i] = b[i];
    }
    if (width >= VL && cols >= VL) {
        FC_UNROLL for (int i = 0; i < VL; i++) FN(store)(dst + i * ldd, a[i]);
    } else {
        FC_UNROLL for (int i = 0; i < VL; i++) if (i < cols) FN(store_n)(dst + i * ldd, a[i], fc_min(width, VL));
    }
}

/* dst[j*ldd + i] = src[i*lds + j] for i < rows, j < cols; lanes rows..width of each written row are zero. */
static __attribute__((noinline)) void FN(transpose)(const real *src, ptrdiff_t lds, int64_t rows, int64_t cols, real *dst,
                                                    ptrdiff_t ldd, int64_t width)
{
    for (int64_t i = 0; i < width; i += VL)
        for (int64_t j = 0; j < cols; j += VL)
            FN(transpose_block)(src + i * lds + j, lds, rows - i, cols - j, dst + j * ldd + i, ldd, width - i);
}

/* One row of a panel: positions p < extent of an axis, in their phases `phase_step` apart; outside the input: `fill`. */
static inline void FN(panel_row)(const fc_panel_axis *a, const real *src, ptrdiff_t stride, int64_t size, real fill,
                                 real *dst, ptrdiff_t phase_step)
{
    for (int64_t f = 0; f < a->phases; f++, dst += phase_step) {
        int64_t n = (a->extent - f + a->phases - 1) / a->phases; /* positions of this phase */
        int64_t first = a->start + f * a->step, step = a->phases * a->step;
        int64_t lo = first < 0 ? fc_min(n, fc_ceil_div(-first, step)) : 0;
        int64_t hi = first >= size ? lo : fc_max(lo, fc_min(n, (size - 1 - first) / step + 1));
        FN(fill_run)(dst, fill, lo);
        if (hi > lo)
            FN(copy_run)(dst + lo, src + (first + lo * step) * stride, step * stride, hi - lo);
        FN(fill_run)(dst + hi, fill, a->len - hi);
    }
}

/* Copies a box's inputs, channels c0 .. c0+channels of `x`, into a panel. */
static __attribute__((noinline)) void FN(panel_fill)(const fc_panel *p, const fc_corr *c, const fc_array *x, int64_t n0,
                                                     int64_t n, int64_t c0, real fill, real *dst)
{
    const fc_panel_axis *a = p->axis;
    for (int64_t i = 0; i < n * p->channels; i++, dst += p->plane) {
        const real *plane = (const real *)x->data + (n0 + i / p->channels) * x->stride[0] +
                            (c0 + i % p->channels) * x->stride[1];
        for (int64_t d = 0; d < a[0].phases * a[0].len; d++) {
            int64_t pd = d % a[0].len * a[0].phases + d / a[0].len, sd = a[0].start + pd * a[0].step;
            for (int64_t h = 0; h < a[1].phases * a[1].len; h++) {
                int64_t ph = h % a[1].len * a[1].phases + h / a[1].len, sh = a[1].start + ph * a[1].step;
                real *row = dst + fc_panel_offset(p, pd, ph, 0);
                if (sd < 0 || sd >= c->in[0] || sh < 0 || sh >= c->in[1] || pd >= a[0].extent || ph >= a[1].extent)
                    for (int64_t f = 0; f < a[2].phases; f++)
                        FN(fill_run)(row + f * p->phase_size, fill, a[2].len);
                else
                    FN(panel_row)(&a[2], plane + sd * x->stride[2] + sh * x->stride[3], x->stride[4], c->in[2], fill, row,
                                  p->phase_size);
            }
        }
    }
}
