/* conv_bands.c: "depthwise" where a group has one summed channel and few kernel rows: bands of rows straight from plane to plane
 * (kernels/rows.h), without packed weights and, unless the input's rows have a stride, without a copy.
 *
 * A task is a bunch of small planes or a part of a large one. Which rows a band has and which lanes its vectors have is the
 * same for all planes: both are noted in the scratch when a stage starts. conv_depthwise.c hands over what fits here. */

#define FC_BANDS_WIDE (1 << 18) /* columns times taps of a row: bounds the table of masks */
#define FC_BANDS_WORK (1 << 18) /* multiply-adds that are worth a task */

/* A band: its rows, the rows of its kernel and the first of them, its first row in x and in y. */
typedef struct {
    int64_t rows, taps, w0, x, y;
} FN(bands_band);

typedef struct {
    fc_band_kind kind;
    int64_t bands, parts;         /* of a plane */
    int64_t bunch, bunches;       /* planes of a task */
    int64_t masks, zeros, copied; /* entries, elements, elements */
    int64_t written;              /* elements from row to row of results that do not lie side by side */
} FN(bands_state);

typedef struct {
    int64_t *noted;
    real *zero, *copied, *written;
    FN(mask) *mask;
    FN(bands_band) *band;
} FN(bands_scratch);

static FN(bands_scratch) FN(bands_scratch_of)(const FN(bands_state) *s, char *scratch)
{
    FN(bands_scratch) t;
    t.noted = (int64_t *)scratch;
    t.mask = (FN(mask) *)(scratch + FC_SCRATCH_HEAD);
    t.band = (FN(bands_band) *)(void *)((char *)t.mask + fc_round_up(s->masks * (int64_t)sizeof *t.mask, FC_ALIGN));
    t.zero = (real *)(void *)((char *)t.band + fc_round_up(s->bands * (int64_t)sizeof *t.band, FC_ALIGN));
    t.copied = t.zero + s->zeros;
    t.written = t.copied + s->copied;
    return t;
}

/* The correlation of one phase of an axis, and their number. */
static inline fc_corr_axis FN(bands_axis)(const fc_problem *p, int d, int64_t e)
{
    return p->op != FC_CONV_INPUT_GRAD ? fc_forward_axis(&p->axis[d]) : fc_phase_axis(&p->axis[d], e);
}

static int FN(bands_fit)(const fc_problem *p)
{
    const fc_axis *deep = &p->axis[0], *high = &p->axis[1], *wide = &p->axis[2];
    int64_t reds = p->op != FC_CONV_INPUT_GRAD ? p->in_channels : p->out_channels;
    fc_corr_axis rows = FN(bands_axis)(p, 1, 0), cols = FN(bands_axis)(p, 2, 0);
    int64_t columns = fc_max(wide->in, wide->out);
    if (reds > 1 || deep->in > 1 || deep->out > 1 || deep->kernel > 1 || rows.taps > FC_BAND_TAPS ||
        (rows.taps > 1 && rows.offstep > 1) || wide->stride > 2 || columns > FC_BANDS_WIDE || wide->kernel > FC_BANDS_WIDE / columns)
        return 0;
    if (p->op == FC_CONV_INPUT_GRAD)
        return !fc_corr_has_holes(p);
    return wide->stride == 1 ? high->stride == 1 || high->out == 1
                             : (cols.taps == 1 || cols.offstep == 1) && (high->stride == 2 || high->out == 1);
}

static const char *FN(bands_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(bands_state) *s = (void *)plan->state;
    int backwards = p->op != FC_CONV;
    int64_t in = backwards ? p->axis[2].out : p->axis[2].in, wide = backwards ? p->axis[2].in : p->axis[2].out;
    int64_t high = backwards ? p->axis[1].in : p->axis[1].out;
    s->kind = p->axis[2].stride == 1 ? FC_STEP_1 : backwards ? FC_INTERLEAVED : FC_STEP_2;
    s->bands = 0;
    for (int64_t e = 0; e < (backwards ? fc_phases(&p->axis[1]) : 1); e++)
        s->bands += fc_ceil_div(FN(bands_axis)(p, 1, e).count, FC_BAND);
    double work = (double)(high * wide) * (double)(p->axis[1].kernel * p->axis[2].kernel);
    int64_t planes = p->batch * p->groups * (backwards ? p->in_channels : p->out_channels);
    s->parts = fc_max(1, fc_min(s->bands, (int64_t)(work / FC_BANDS_WORK)));
    s->bunch = fc_max(1, fc_min((int64_t)(FC_BANDS_WORK / work), planes / FC_TASKS_WANTED));
    s->bunches = fc_ceil_div(planes, s->bunch);
    s->masks = 2 * fc_ceil_div(fc_max(wide, in), VL) * (p->axis[2].kernel + 1);
    s->zeros = FN(aligned)(in);
    s->copied = (2 * FC_BAND - 2 + FC_BAND_TAPS) * s->zeros;
    s->written = FN(aligned)(wide);
    FN(bands_scratch) end = FN(bands_scratch_of)(s, NULL);
    plan->stages = 1;
    plan->workspace = plan->packed = 0;
    plan->scratch = (int64_t)(intptr_t)(end.written + FC_BAND * s->written);
    return NULL;
}

static ptrdiff_t FN(bands_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(bands_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->bunches * s->parts;
}

/* What all planes have in common: sides, masks, steps of the weights. */
static FN(band) FN(bands_common)(const fc_problem *p, const FN(bands_state) *s, const fc_call *call, const FN(bands_scratch) *t)
{
    const fc_array *x = &call->array[0], *y = &call->array[3];
    fc_weight_strides ws = fc_weight_strides_of(p, &call->array[1]);
    int backwards = p->op != FC_CONV;
    fc_corr_axis rows = FN(bands_axis)(p, 1, 0), cols = FN(bands_axis)(p, 2, 0);
    FN(band) b = {.zero = t->zero, .ldx = x->stride[3], .wr = rows.wstep * ws.tap[1], .ws = cols.wstep * ws.tap[2]};
    b.high = backwards ? p->axis[1].out : p->axis[1].in;
    b.n = backwards ? p->axis[2].in : p->axis[2].out;
    b.ldy = rows.ystep * y->stride[3];
    const FN(mask) *mask = t->mask;
    for (int64_t e = 0; e < (s->kind == FC_INTERLEAVED ? 2 : 1); e++) {
        cols = FN(bands_axis)(p, 2, e);
        FN(band_side) *side = &b.side[cols.ystart];
        *side = (FN(band_side)){NULL, cols.taps, cols.off, cols.offstep, mask};
        mask += s->masks / 2;
    }
    return b;
}

/* The tables: bands of every phase of the rows, masks of both sides, a row of zeros. */
static void FN(bands_tables)(const fc_problem *p, const FN(bands_state) *s, const FN(band) *b, const FN(bands_scratch) *t)
{
    int backwards = p->op != FC_CONV;
    FN(bands_band) *band = t->band;
    for (int64_t e = 0; e < (backwards ? fc_phases(&p->axis[1]) : 1); e++) {
        fc_corr_axis rows = FN(bands_axis)(p, 1, e);
        int64_t n = fc_ceil_div(rows.count, FC_BAND);
        for (int64_t i = 0; i < n; i++, band++) {
            int64_t j0 = FN(even_start)(rows.count, n, i);
            *band = (FN(bands_band)){FN(even_start)(rows.count, n, i + 1) - j0, rows.taps, rows.w0, j0 * rows.xstep + rows.off,
                                     rows.ystart + j0 * rows.ystep};
        }
    }
    int64_t wide = backwards ? p->axis[2].out : p->axis[2].in;
    for (int e = 0; e < (s->kind == FC_INTERLEAVED ? 2 : 1); e++)
        FN(band_masks)(&b->side[e], s->kind == FC_STEP_2 ? 2 : 1, s->kind == FC_INTERLEAVED ? fc_ceil_div(b->n, 2) : b->n, wide,
                       t->mask + (b->side[e].mask - t->mask));
    FN(fill_run)(t->zero, 0, s->zeros);
}

/* The rows of x that a band reads, copied where they are not contiguous. */
static void FN(bands_copy)(const fc_problem *p, const FN(bands_scratch) *t, const FN(bands_band) *band, int64_t step,
                           ptrdiff_t stride, FN(band) *b)
{
    int64_t wide = p->op == FC_CONV ? p->axis[2].in : p->axis[2].out, zeros = t->copied - t->zero;
    int64_t from = fc_max(0, band->x), to = fc_min(b->high, band->x + (band->rows - 1) * step + band->taps);
    for (int64_t i = from; i < to; i++)
        FN(copy_run)(t->copied + (i - from) * zeros, b->x + i * b->ldx, stride, wide);
    b->x = t->copied - from * zeros;
    b->ldx = zeros;
}

static void FN(bands_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(bands_state) *s = (const void *)plan->state;
    const fc_array *x = &call->array[0], *w = &call->array[1], *bias = &call->array[2], *y = &call->array[3];
    FN(bands_scratch) t = FN(bands_scratch_of)(s, scratch);
    FN(band) b = FN(bands_common)(p, s, call, &t);
    const ptrdiff_t ldy = b.ldy;
    if (y->stride[4] != 1)
        b.ldy = s->written;
    (void)stage;
    if (!*t.noted) {
        *t.noted = 1;
        FN(bands_tables)(p, s, &b, &t);
    }
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    int64_t rows = p->op == FC_CONV ? p->out_channels : p->in_channels, channels = p->groups * rows;
    int64_t part = task % s->parts, first = task / s->parts * s->bunch, end = fc_min(first + s->bunch, channels * p->batch);
    ptrdiff_t side[2] = {0, 0};
    for (int64_t e = 0; e < (s->kind == FC_INTERLEAVED ? 2 : 1); e++) {
        fc_corr_axis cols = FN(bands_axis)(p, 2, e);
        side[cols.ystart] = cols.w0 * ws.tap[2];
    }
    const FN(bands_band) *from = t.band + FN(even_start)(s->bands, s->parts, part);
    const FN(bands_band) *to = t.band + FN(even_start)(s->bands, s->parts, part + 1);
    for (int64_t plane = first; plane < end; plane++) {
        int64_t n = plane / channels, k = plane % channels, g = k / rows;
        const real *x0 = (const real *)x->data + n * x->stride[0] + g * x->stride[1];
        const real *w0 = (const real *)w->data + g * p->out_channels * w->stride[0] + (k - g * rows) * ws.row;
        real *y0 = (real *)y->data + n * y->stride[0] + k * y->stride[1];
        b.bias = bias->data ? ((const real *)bias->data)[k * bias->stride[0]] : 0;
        for (const FN(bands_band) *band = from; band < to; band++) {
            b.x = x0;
            b.row = band->x;
            b.y = y->stride[4] == 1 ? y0 + band->y * y->stride[3] : t.written;
            b.side[0].w = w0 + band->w0 * ws.tap[1] + side[0];
            b.side[1].w = w0 + band->w0 * ws.tap[1] + side[1];
            if (x->stride[4] != 1) {
                b.ldx = x->stride[3];
                FN(bands_copy)(p, &t, band, s->kind == FC_STEP_2 ? 2 : 1, x->stride[4], &b);
            }
            FN(fma_band)(band->rows, band->taps, s->kind, &b);
            for (int64_t h = 0; h < band->rows; h++) {
                FN(rectify_run)(p, b.y + h * b.ldy, 1, b.n);
                if (y->stride[4] != 1)
                    FN(put_run)(y0 + band->y * y->stride[3] + h * ldy, y->stride[4], b.y + h * b.ldy, b.n, 0, 0);
            }
        }
    }
}

static const fc_algorithm FN(bands) = {"depthwise", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD, FN(bands_prepare),
                                       FN(bands_tasks), FN(bands_run)};
