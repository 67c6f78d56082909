/* patches.h: im2col of a few output pixels: rows of a patch matrix, made on the fly and never held whole.
 *
 * A run of output pixels of one image is cut into segments that lie on one row of outputs; for each tap a segment is a run
 * of inputs with a constant step, with zeros where it leaves the input. */

typedef struct {
    int64_t at, n;         /* first pixel in the run, number of pixels */
    int64_t j[FC_DIMS];    /* output indices of the first */
} FN(segment);

/* A 1x1 kernel at stride 1 reads an image as one long row. */
static inline int FN(patches_linear)(const fc_corr *c, const fc_array *x)
{
    ptrdiff_t expect = x->stride[4];
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        const fc_corr_axis *a = &c->axis[d];
        if (a->taps != 1 || a->xstep != 1 || a->off != 0 || a->count != c->in[d])
            return 0;
        if (c->in[d] != 1 && x->stride[2 + d] != expect)
            return 0;
        expect *= c->in[d];
    }
    return 1;
}

/* Segments of pixels p0 .. p0+n; returns their number (at most n). */
static inline int64_t FN(segments)(const fc_corr *c, int linear, int64_t p0, int64_t n, FN(segment) *s)
{
    int64_t count = 0;
    if (linear) {
        s[0] = (FN(segment)){0, n, {0, 0, p0}};
        return 1;
    }
    for (int64_t i = 0; i < n; i += s[count++].n) {
        int64_t p = p0 + i, w = p % c->axis[2].count, h = p / c->axis[2].count % c->axis[1].count,
                d = p / c->axis[2].count / c->axis[1].count;
        s[count] = (FN(segment)){i, fc_min(n - i, c->axis[2].count - w), {d, h, w}};
    }
    return count;
}

/* Rows (c, t) for t0 <= t < t1 of `channels` channels from `x` (already at image and first channel): dst[c][t - t0][pixel], a
 * row of `ld` elements of which the segments' `pixels` are written and the rest zeroed. */
FC_OUTLINE void FN(patches)(const fc_corr *c, const fc_array *x, const real *first, int linear,
                            const FN(segment) *seg, int64_t segments, int64_t pixels, int64_t channels,
                            int64_t t0, int64_t t1, real *dst, int64_t ld)
{
    ptrdiff_t per_channel = (t1 - t0) * ld;
    const fc_corr_axis *a = c->axis;
    for (int64_t t = t0; t < t1; t++, dst += ld) {
        int64_t tw = t % a[2].taps, th = t / a[2].taps % a[1].taps, td = t / a[2].taps / a[1].taps;
        for (int64_t i = 0; i < segments; i++) {
            const FN(segment) *s = &seg[i];
            int64_t d = s->j[0] * a[0].xstep + a[0].off + td * a[0].offstep,
                    h = s->j[1] * a[1].xstep + a[1].off + th * a[1].offstep,
                    w = s->j[2] * a[2].xstep + a[2].off + tw * a[2].offstep;
            int64_t lo = w < 0 ? fc_min(s->n, fc_ceil_div(-w, a[2].xstep)) : 0;
            int64_t hi = w >= c->in[2] ? lo : fc_max(lo, fc_min(s->n, (c->in[2] - 1 - w) / a[2].xstep + 1));
            if (linear)
                lo = 0, hi = s->n;
            else if (d < 0 || d >= c->in[0] || h < 0 || h >= c->in[1])
                lo = hi = 0;
            const real *src = first + d * x->stride[2] + h * x->stride[3] + (w + lo * a[2].xstep) * x->stride[4];
            ptrdiff_t step = a[2].xstep * x->stride[4];
            real *to = dst + s->at;
            for (int64_t r = 0; r < channels; r++, to += per_channel) {
                if (lo)
                    FN(fill_run)(to, 0, lo);
                if (hi > lo)
                    FN(copy_run)(to + lo, src + r * x->stride[1], step, hi - lo);
                if (hi < s->n)
                    FN(fill_run)(to + hi, 0, s->n - hi);
            }
        }
        if (pixels < ld)
            for (int64_t r = 0; r < channels; r++)
                FN(fill_run)(dst + r * per_channel + pixels, 0, ld - pixels);
    }
}
