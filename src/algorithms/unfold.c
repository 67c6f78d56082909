/* unfold.c: windows as columns (im2col) and the way back (col2im), over up to three axes.
 *
 *   unfold  columns[n][c, t][o] = x[n][c][o*stride + t*dilation - pad], 0 outside
 *   fold    x[n][c][i] = sum of columns[n][c, t][o] over the taps t and outputs o with o*stride + t*dilation - pad = i
 *
 * Both move runs along a row. For a fixed tap the outputs that meet a box of x are a box themselves, so fold gathers: a
 * task owns its box, adds tap after tap in the order of t, and needs no other task's result. */

#define FC_UNFOLD_BLOCK (1 << 15) /* elements that a task of unfold writes */
#define FC_FOLD_BLOCK (1 << 13)   /* elements of a task of fold: its box stays in the first cache while taps pass */
#define FC_FOLD_WORK (1 << 20)    /* additions of a task */
#define FC_FOLD_TAPS (1 << 19)    /* of a stage: even one element may meet more than a task has time for */

typedef struct {
    fc_blocks blocks; /* n counts rows of the columns (unfold) or channels of all images (fold) */
} FN(unfold_state);

/* Blocks of at most `room` elements: parts of a row, or whole rows, or whole slices, or whole boxes of several n. */
static fc_blocks FN(cut_boxes)(const int64_t *size, int64_t n, int64_t room)
{
    fc_blocks b;
    room = fc_max(1, room);
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        b.count[d] = fc_ceil_div(size[d], fc_min(room, size[d]));
        b.j[d] = fc_ceil_div(size[d], b.count[d]);
        b.count[d] = fc_ceil_div(size[d], b.j[d]);
        room = fc_max(1, room / size[d]);
    }
    b.n = fc_max(1, fc_min(room, n / FC_TASKS_WANTED));
    b.count_n = fc_ceil_div(n, b.n);
    return b;
}

/* The outputs whose tap t lies in [from, to) of the input: [*lo, *hi), empty if *hi <= *lo. */
static inline void FN(outputs_of)(const fc_corr_axis *a, int64_t t, int64_t from, int64_t to, int64_t *lo, int64_t *hi)
{
    int64_t first = a->off + t * a->offstep, below = from - first, above = to - 1 - first;
    *lo = below <= 0 ? 0 : a->xstep == 1 ? below : fc_ceil_div(below, a->xstep);
    *hi = above < 0 ? 0 : fc_min(a->count, a->xstep == 1 ? above + 1 : above / a->xstep + 1);
}

static const char *FN(unfold_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(unfold_state) *s = (void *)plan->state;
    fc_corr c = fc_corr_of(p, 0);
    s->blocks = FN(cut_boxes)(c.out, p->batch * p->in_channels * c.taps, FC_UNFOLD_BLOCK);
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static const char *FN(fold_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(unfold_state) *s = (void *)plan->state;
    fc_corr c = fc_corr_of(p, 0);
    int64_t work = 1; /* additions for an element, at most */
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        work *= fc_min(a->out, fc_ceil_div(a->kernel, a->stride / fc_gcd(a->stride, a->dilation)));
    }
    s->blocks = FN(cut_boxes)(c.in, p->batch * p->in_channels, fc_min(FC_FOLD_BLOCK, FC_FOLD_WORK / work));
    plan->stages = fc_ceil_div(c.taps, FC_FOLD_TAPS);
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(unfold_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(unfold_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : fc_blocks_count(&s->blocks);
}

/* The extents of a task's box, in outputs for unfold and in elements of x for fold. */
static inline fc_box FN(unfold_box)(const fc_plan *plan, const int64_t *size, int64_t n, int64_t task)
{
    const FN(unfold_state) *s = (const void *)plan->state;
    fc_corr extents;
    for (int d = 0; d < FC_DIMS; d++)
        extents.axis[d].count = size[d];
    return fc_box_at(&s->blocks, &extents, n, task);
}

static void FN(unfold_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const fc_array *x = &call->array[0], *columns = &call->array[3];
    fc_corr c = fc_corr_of(p, 0);
    const fc_corr_axis *a = c.axis;
    int64_t per_image = p->in_channels * c.taps;
    fc_box box = FN(unfold_box)(plan, c.out, p->batch * per_image, task);
    (void)stage, (void)scratch;
    for (int64_t row = box.n0; row < box.n0 + box.n; row++) {
        int64_t n = row / per_image, t = row % c.taps, k = row % per_image / c.taps;
        int64_t tap[FC_DIMS] = {t / (a[2].taps * a[1].taps), t / a[2].taps % a[1].taps, t % a[2].taps};
        int64_t first[FC_DIMS], lo[FC_DIMS], hi[FC_DIMS]; /* what output 0 reads; the outputs that read inside */
        for (int d = 0; d < FC_DIMS; d++) {
            first[d] = a[d].off + tap[d] * a[d].offstep;
            FN(outputs_of)(&a[d], tap[d], 0, c.in[d], &lo[d], &hi[d]);
        }
        int64_t w0 = box.j0[2], w1 = w0 + box.j[2];
        int64_t in0 = fc_min(w1, fc_max(w0, lo[2])), in1 = fc_max(in0, fc_min(w1, hi[2]));
        const real *from = (const real *)x->data + n * x->stride[0] + k * x->stride[1];
        real *to = (real *)columns->data + n * columns->stride[0] + row % per_image * columns->stride[1];
        for (int64_t d = box.j0[0]; d < box.j0[0] + box.j[0]; d++)
            for (int64_t h = box.j0[1]; h < box.j0[1] + box.j[1]; h++) {
                real *line = to + (d * c.out[1] + h) * c.out[2]; /* the caller's new matrix: consecutive */
                if (d < lo[0] || d >= hi[0] || h < lo[1] || h >= hi[1] || in0 == in1) {
                    FN(fill_run)(line + w0, 0, w1 - w0);
                    continue;
                }
                FN(fill_run)(line + w0, 0, in0 - w0);
                ptrdiff_t at = (first[0] + d * a[0].xstep) * x->stride[2] + (first[1] + h * a[1].xstep) * x->stride[3] +
                               (first[2] + in0 * a[2].xstep) * x->stride[4];
                FN(copy_run)(line + in0, from + at, a[2].xstep * x->stride[4], in1 - in0);
                FN(fill_run)(line + in1, 0, w1 - in1);
            }
    }
}

/* dst[i*step] += src[i*stride] */
static inline void FN(add_run)(real *dst, ptrdiff_t step, const real *src, ptrdiff_t stride, int64_t n)
{
    if (step != 1 || stride != 1) {
        for (int64_t i = 0; i < n; i++)
            dst[i * step] += src[i * stride];
        return;
    }
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(dst + i, FN(load)(dst + i) + FN(load)(src + i));
    for (; i < n; i++) /* not a masked vector: loads that follow masked stores wait for them */
        dst[i] += src[i];
}

/* Adds tap t's columns, outputs [lo, hi) on each axis, to the box's channels. */
static void FN(fold_tap)(const fc_problem *p, const fc_corr *c, const fc_call *call, const fc_box *box, int64_t t,
                         const int64_t *tap, const int64_t *lo, const int64_t *hi)
{
    const fc_array *columns = &call->array[0], *x = &call->array[3];
    const fc_corr_axis *a = c->axis;
    ptrdiff_t first = 0, step[FC_DIMS]; /* of x: the first output's element, and from one output to the next */
    for (int d = 0; d < FC_DIMS; d++) {
        ptrdiff_t stride = d == FC_DIMS - 1 ? 1 : x->stride[2 + d]; /* the caller's new image: consecutive */
        first += (a[d].off + tap[d] * a[d].offstep + lo[d] * a[d].xstep) * stride;
        step[d] = a[d].xstep * stride;
    }
    ptrdiff_t o = (lo[0] * c->out[1] + lo[1]) * c->out[2] + lo[2];
    for (int64_t i = box->n0; i < box->n0 + box->n; i++) {
        int64_t n = i / p->in_channels, k = i % p->in_channels;
        const real *from = (const real *)columns->data + n * columns->stride[0] + (k * c->taps + t) * columns->stride[1] +
                           o * columns->stride[2];
        real *to = (real *)x->data + n * x->stride[0] + k * x->stride[1] + first;
        for (int64_t d = 0; d < hi[0] - lo[0]; d++)
            for (int64_t h = 0; h < hi[1] - lo[1]; h++)
                FN(add_run)(to + d * step[0] + h * step[1], step[2], from + (d * c->out[1] + h) * c->out[2] * columns->stride[2],
                            columns->stride[2], hi[2] - lo[2]);
    }
}

static void FN(fold_clear)(const fc_problem *p, const fc_array *x, const fc_box *box)
{
    for (int64_t i = box->n0; i < box->n0 + box->n; i++)
        for (int64_t d = box->j0[0]; d < box->j0[0] + box->j[0]; d++)
            for (int64_t h = box->j0[1]; h < box->j0[1] + box->j[1]; h++)
                FN(fill_run)((real *)x->data + i / p->in_channels * x->stride[0] + i % p->in_channels * x->stride[1] +
                                 d * x->stride[2] + h * x->stride[3] + box->j0[2],
                             0, box->j[2]);
}

static void FN(fold_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    fc_corr c = fc_corr_of(p, 0);
    const fc_corr_axis *a = c.axis;
    fc_box box = FN(unfold_box)(plan, c.in, p->batch * p->in_channels, task);
    int64_t tap[FC_DIMS], lo[FC_DIMS], hi[FC_DIMS];
    (void)scratch;
    if (stage == 0)
        FN(fold_clear)(p, &call->array[3], &box);
    int64_t t = stage * FC_FOLD_TAPS, end = fc_min(c.taps, t + FC_FOLD_TAPS);
    while (t < end) {
        int64_t row_end = fc_min(end, t - t % a[2].taps + a[2].taps);
        tap[0] = t / (a[2].taps * a[1].taps);
        tap[1] = t / a[2].taps % a[1].taps;
        for (int d = 0; d < 2; d++)
            FN(outputs_of)(&a[d], tap[d], box.j0[d], box.j0[d] + box.j[d], &lo[d], &hi[d]);
        if (hi[0] <= lo[0] || hi[1] <= lo[1]) {
            t = row_end;
            continue;
        }
        for (; t < row_end; t++) {
            tap[2] = t % a[2].taps;
            FN(outputs_of)(&a[2], tap[2], box.j0[2], box.j0[2] + box.j[2], &lo[2], &hi[2]);
            if (lo[2] < hi[2])
                FN(fold_tap)(p, &c, call, &box, t, tap, lo, hi);
        }
    }
}

static const fc_algorithm FN(unfold) = {"unfold", FC_ISA_NAME, 1u << FC_UNFOLD, FN(unfold_prepare), FN(unfold_tasks),
                                        FN(unfold_run)};
static const fc_algorithm FN(fold) = {"fold", FC_ISA_NAME, 1u << FC_FOLD, FN(fold_prepare), FN(unfold_tasks), FN(fold_run)};
