/* local_patches.h: what one use of a kernel reads, copied to a patch, [term], and back. */

/* Where one use of a kernel lies: the first tap's place in the input, and whether all taps are inside. */
typedef struct {
    int64_t image, start[FC_DIMS];
    int inside;
    ptrdiff_t y; /* its place in a channel of the result */
} FN(local_use);

static FN(local_use) FN(local_use_at)(const fc_problem *p, const fc_array *y, int64_t image, const int64_t *out)
{
    FN(local_use) u = {.image = image, .inside = 1, .y = image * y->stride[0]};
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        u.start[d] = out[d] * a->stride - a->pad;
        u.inside = u.inside && u.start[d] >= 0 && u.start[d] + (a->kernel - 1) * a->dilation < a->in;
        u.y += out[d] * y->stride[2 + d];
    }
    return u;
}

/* Four elements: more fit the short rows of a window badly. */
typedef real FN(four) __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));

/* Copies a window of some channels to a patch, or adds a patch to it (`back`). `dense`: taps of a row are neighbours, and of as many
 * fours as hold them all elements lie inside the row. */
FC_INLINE void FN(local_move_inside)(const int back, const int dense, const int64_t kh, const int64_t kw, const fc_problem *p, real *x,
                                     const ptrdiff_t *stride, int64_t channels, real *patch)
{
    ptrdiff_t step[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++)
        step[d] = p->axis[d].kernel > 1 ? p->axis[d].dilation * stride[2 + d] : 0;
    for (int64_t c = 0; c < channels; c++, x += stride[1])
        for (int64_t d = 0; d < p->axis[0].kernel; d++)
            FC_UNROLL for (int64_t h = 0; h < kh; h++, patch += kw) {
                real *row = x + d * step[0] + h * step[1];
                if (dense && !back) {
                    for (int64_t w = 0; w < kw; w += 4)
                        *(FN(four) *)(patch + w) = *(const FN(four) *)(row + w);
                } else {
                    for (int64_t w = 0; w < kw; w++)
                        if (back)
                            row[w * (dense ? 1 : step[2])] += patch[w];
                        else
                            patch[w] = row[w * step[2]];
                }
            }
}

/* The same where some taps lie in the padding: they read zero. */
FC_INLINE void FN(local_move_border)(const int back, const fc_problem *p, const FN(local_use) *u, real *x, const ptrdiff_t *stride,
                                     int64_t channels, real *patch)
{
    const fc_axis *a = p->axis;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t d = 0; d < a[0].kernel; d++)
            for (int64_t h = 0; h < a[1].kernel; h++)
                for (int64_t w = 0; w < a[2].kernel; w++, patch++) {
                    int64_t i = u->start[0] + d * a[0].dilation, j = u->start[1] + h * a[1].dilation,
                            k = u->start[2] + w * a[2].dilation;
                    int inside = i >= 0 && i < a[0].in && j >= 0 && j < a[1].in && k >= 0 && k < a[2].in;
                    real *at = inside ? x + c * stride[1] + i * stride[2] + j * stride[3] + k * stride[4] : NULL;
                    if (back && inside)
                        *at += *patch;
                    else if (!back)
                        *patch = inside ? *at : 0;
                }
}

FC_INLINE void FN(local_move)(const int back, const fc_problem *p, const fc_array *x, const FN(local_use) *u, int64_t channel,
                              int64_t channels, real *patch)
{
    real *at = (real *)x->data + u->image * x->stride[0] + channel * x->stride[1];
    if (!u->inside) {
        FN(local_move_border)(back, p, u, at, x->stride, channels, patch);
        return;
    }
    at += u->start[0] * x->stride[2] + u->start[1] * x->stride[3] + u->start[2] * x->stride[4];
    int64_t kh = p->axis[1].kernel, kw = p->axis[2].kernel;
    int dense = x->stride[4] == 1 && p->axis[2].dilation == 1 && u->start[2] + fc_round_up(kw, 4) <= p->axis[2].in;
    if (dense && kh == 3 && kw == 3)
        FN(local_move_inside)(back, 1, 3, 3, p, at, x->stride, channels, patch);
    else if (dense)
        FN(local_move_inside)(back, 1, kh, kw, p, at, x->stride, channels, patch);
    else
        FN(local_move_inside)(back, 0, kh, kw, p, at, x->stride, channels, patch);
}

FC_OUTLINE void FN(local_gather)(const fc_problem *p, const fc_array *x, const FN(local_use) *u, real *patch)
{
    FN(local_move)(0, p, x, u, 0, p->groups * p->in_channels, patch);
}

FC_OUTLINE void FN(local_scatter)(const fc_problem *p, const fc_array *x, const FN(local_use) *u,
                                  int64_t channel, int64_t channels, real *patch)
{
    FN(local_move)(1, p, x, u, channel, channels, patch);
}
