/* pool_taps.c: sliding windows, outputs in the lanes.
 *
 * A box of inputs is copied with its padding into a split panel, in which neighbouring outputs read neighbouring elements at
 * any stride. There a tap is a constant offset, also from row to row: a slice of the box is reduced as one flat run of
 * vectors, rows with their gaps, so that short rows fill their vectors too. Windows of many taps are reduced along W
 * first, then along D and H: in this order the elements of a window still come row by row. */

#define FC_POOL_PANEL ((int64_t)(48 << 10) / (int64_t)sizeof(real)) /* elements: it should stay in the nearer caches */
#define FC_POOL_LARGE ((int64_t)(256 << 10) / (int64_t)sizeof(real)) /* the same for large windows, which share inputs */
#define FC_POOL_PIXELS (1 << 14)                                    /* outputs of a box */
#define FC_POOL_ROW (16 * VL)                                       /* outputs of a box's row, to begin with */
#define FC_POOL_WORK (1 << 24)                                      /* element-taps of a task: a few ms */
#define FC_POOL_BUNCH (1 << 17)                                     /* element-taps worth a task */
#define FC_POOL_TAPS 16                                             /* with more of them, two passes are cheaper */

typedef struct {
    fc_blocks blocks;       /* of one plane */
    int64_t boxes;
    int64_t bunch, bunches; /* planes of a task */
    int64_t taps, lines;    /* of the pass along W or of the only one; of the pass along D and H, or 0 */
    int64_t panel, flat;    /* elements */
    int padded;             /* some window reaches over the input's border */
} FN(pool_taps_state);

static const char *FN(pool_taps_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(pool_taps_state) *s = (void *)plan->state;
    double panel = 1, span = 0;
    if (p->flags & FC_ADAPTIVE)
        return "windows of one size";
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        int64_t reach = a->dilation * (a->kernel - 1) + 1;
        if (a->kernel > 1 && a->out > 1 && a->stride > 2 * reach)
            return "strides of at most twice a window";
        panel *= (double)reach;
        span = span * (double)a->in + (double)(reach - 1);
        s->padded = (d > 0 && s->padded) || a->pad > 0 || (a->out - 1) * a->stride - a->pad + reach > a->in;
    }
    if (panel > (double)FC_POOL_PANEL)
        return "windows that fit into its panel";
    if (span > INT32_MAX)
        return "windows that lie within 2^31 elements";
    fc_corr c = fc_corr_of(p, 0);
    int64_t lines = c.axis[0].taps * c.axis[1].taps;
    s->lines = c.taps > FC_POOL_TAPS && lines > 1 && c.axis[2].taps > 1 ? lines : 0;
    s->taps = s->lines ? c.axis[2].taps : c.taps;
    int64_t work = s->taps + s->lines, planes = p->batch * p->in_channels;
    int64_t budget = fc_max(FC_POOL_PANEL, fc_min(FC_POOL_LARGE, 16 * (int64_t)panel));
    s->blocks = fc_pool_blocks(&c, budget, fc_max(1, fc_min(FC_POOL_PIXELS, FC_POOL_WORK / work)), FC_POOL_ROW, 1);
    s->boxes = fc_blocks_count(&s->blocks);
    int64_t pixels = s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2];
    s->bunch = fc_max(1, fc_min(FC_POOL_BUNCH / (pixels * work), planes * s->boxes / FC_TASKS_WANTED));
    s->bunch = fc_min(s->bunch, planes);
    s->bunches = fc_ceil_div(planes, s->bunch);
    int64_t zero[FC_DIMS] = {0, 0, 0};
    fc_panel box = fc_panel_of(&c, zero, s->blocks.j, 1, 1);
    int64_t slack = FC_POOL_NV * VL; /* the last vectors of a run read and write past it */
    s->panel = FN(aligned)(box.plane + slack);
    s->flat = FN(aligned)(FN(flat_of)(&box, s->blocks.j) + slack);
    int64_t values = s->panel + s->flat + FN(aligned)(s->blocks.j[2]), numbers = s->flat;
    if (s->lines) {
        values += s->panel;
        numbers += s->panel;
    }
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD + (values + numbers + FN(aligned)(s->taps + s->lines)) * (int64_t)sizeof(real) +
                    (s->taps + s->lines) * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(pool_taps_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(pool_taps_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->boxes * s->bunches;
}

/* Everything that a task's planes share: where taps lie in the panel, where buffers lie in the scratch. */
typedef struct {
    fc_corr c;
    fc_box box;
    fc_panel panel, middle; /* the inputs; what the pass along W makes of them */
    fc_reduction kind;
    FN(taps) along, across; /* the taps along W, or all; those along D and H, if they have a pass of their own */
    FN(found) inputs, halves, flat;
    real *sizes;            /* of the box's windows along W, for means */
} FN(pool_box);

static void FN(pool_box_init)(const fc_plan *plan, const fc_call *call, int64_t box, char *scratch, FN(pool_box) *b)
{
    const fc_problem *p = &plan->problem;
    const FN(pool_taps_state) *s = (const void *)plan->state;
    b->c = fc_corr_of(p, 0);
    b->box = fc_box_at(&s->blocks, &b->c, 1, box);
    b->panel = b->middle = fc_panel_of(&b->c, b->box.j0, b->box.j, 1, 1);
    b->middle.axis[2].phases = 1;
    b->kind = p->op == FC_AVG_POOL ? FC_SUM : call->array[2].data ? FC_MAX_AT : FC_MAX;
    real *values = (real *)(scratch + FC_SCRATCH_HEAD);
    lane *numbers = (lane *)(values + (s->lines ? 2 : 1) * s->panel + s->flat + FN(aligned)(s->blocks.j[2]));
    b->inputs = (FN(found)){values, NULL};
    b->flat = (FN(found)){values + s->panel, numbers};
    b->sizes = b->flat.x + s->flat;
    b->halves = (FN(found)){b->sizes + FN(aligned)(s->blocks.j[2]), numbers + s->flat};
    lane *of_taps = numbers + s->flat + (s->lines ? s->panel : 0);
    ptrdiff_t *taps = (ptrdiff_t *)(of_taps + FN(aligned)(s->taps + s->lines));
    b->along = (FN(taps)){taps, of_taps, 0};
    b->across = (FN(taps)){taps + s->taps, of_taps + s->taps, 0};
    const fc_corr_axis *a = b->c.axis;
    for (int64_t d = 0; d < a[0].taps; d++)
        for (int64_t h = 0; h < a[1].taps; h++) {
            int64_t above = (d * a[0].offstep * b->c.in[1] + h * a[1].offstep) * b->c.in[2]; /* elements of the plane */
            if (s->lines) {
                b->across.tap[b->across.count] = fc_panel_offset(&b->middle, d * a[0].offstep, h * a[1].offstep, 0);
                b->across.number[b->across.count++] = (lane)above;
            }
            for (int64_t w = 0; w < a[2].taps && b->along.count < s->taps; w++) {
                b->along.tap[b->along.count] = fc_panel_offset(&b->panel, d * a[0].offstep, h * a[1].offstep, w * a[2].offstep);
                b->along.number[b->along.count++] = (lane)(above + w * a[2].offstep);
            }
        }
    for (int64_t i = 0; i < b->box.j[2]; i++)
        b->sizes[i] = p->divisor != 0 || b->kind != FC_SUM ? 1 : (real)fc_window_size(&p->axis[2], p->flags, b->box.j0[2] + i);
}

/* The pass along W: all rows of the panel as one run, for each phase of the other axes. */
static void FN(pool_along)(const FN(pool_box) *b)
{
    const fc_panel *p = &b->panel;
    for (int64_t f = 0; f < p->axis[0].phases * p->axis[1].phases; f++) {
        FN(found) from = {b->inputs.x + f * p->axis[2].phases * p->phase_size, NULL};
        FN(found) to = {b->halves.x + f * p->phase_size, b->halves.at + f * p->phase_size};
        FN(reduce_taps)(b->kind, from, &b->along, p->phase_size - p->row + b->box.j[2], to);
    }
}

/* y[i] = x[i] / (size[i] * lines) */
static inline void FN(put_means)(real *y, const real *x, const real *size, real lines, int64_t n)
{
    vec l = FN(splat)(lines);
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(y + i, FN(load)(x + i) / (FN(load)(size + i) * l));
    for (; i < n; i++)
        y[i] = x[i] / (size[i] * lines);
}

/* Indices in the plane from distances. Where even the maximum is -infinity, the first tap may have been padding: the
 * first element of the window that is not takes its place. */
static void FN(put_indices)(const fc_problem *p, int padded, const int64_t *o, FN(found) row, int64_t n, int64_t *index)
{
    const fc_axis *a = p->axis;
    int64_t start[FC_DIMS], step = a[2].stride;
    for (int d = 0; d < FC_DIMS; d++)
        start[d] = o[d] * a[d].stride - a[d].pad;
    int64_t base = (start[0] * a[1].in + start[1]) * a[2].in + start[2];
    int lowest = 0;
    for (int64_t i = 0; i < n; i++)
        index[i] = base + i * step + row.at[i];
    for (int64_t i = 0; i < n && padded; i++)
        lowest |= row.x[i] == -(real)INFINITY;
    if (!lowest)
        return;
    int64_t above = fc_window_of(&a[0], p->flags, o[0]).first * a[1].in + fc_window_of(&a[1], p->flags, o[1]).first;
    for (int64_t i = 0; i < n; i++)
        if (row.x[i] == -(real)INFINITY)
            index[i] = above * a[2].in + fc_window_of(&a[2], p->flags, o[2] + i).first;
}

/* Slice d of the box, row by row, into the result of plane (n, k). */
static void FN(pool_put)(const fc_plan *plan, const fc_call *call, const FN(pool_box) *b, int64_t n, int64_t k, int64_t d)
{
    const fc_problem *p = &plan->problem;
    const FN(pool_taps_state) *s = (const void *)plan->state;
    const fc_array *y = &call->array[3], *at = &call->array[2];
    int64_t o[FC_DIMS] = {b->box.j0[0] + d, b->box.j0[1], b->box.j0[2]};
    int64_t slices = fc_window_size(&p->axis[0], p->flags, o[0]);
    for (int64_t h = 0; h < b->box.j[1]; h++, o[1]++) {
        FN(found) row = {b->flat.x + h * b->panel.row, b->flat.at + h * b->panel.row};
        real *to = (real *)y->data + n * y->stride[0] + k * y->stride[1] + o[0] * y->stride[2] + o[1] * y->stride[3] + o[2];
        if (b->kind == FC_SUM) {
            real lines = (real)slices * (real)fc_window_size(&p->axis[1], p->flags, o[1]);
            FN(put_means)(to, row.x, b->sizes, p->divisor != 0 ? (real)p->divisor : lines, b->box.j[2]);
            continue;
        }
        FN(copy_run)(to, row.x, 1, b->box.j[2]);
        if (b->kind == FC_MAX_AT)
            FN(put_indices)(p, s->padded, o, row, b->box.j[2],
                            (int64_t *)(void *)at->data + n * at->stride[0] + k * at->stride[1] + o[0] * at->stride[2] +
                                o[1] * at->stride[3] + o[2]);
    }
}

static void FN(pool_taps_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(pool_taps_state) *s = (const void *)plan->state;
    FN(pool_box) b;
    FN(pool_box_init)(plan, call, task % s->boxes, scratch, &b);
    const fc_panel_axis *a = b.panel.axis;
    int64_t first = task / s->boxes * s->bunch, last = fc_min(first + s->bunch, p->batch * p->in_channels);
    (void)stage;
    for (int64_t i = first; i < last; i++) {
        int64_t n = i / p->in_channels, k = i % p->in_channels;
        FN(pool_fill)(&b.panel, &b.c, &call->array[0], n, k, b.kind == FC_SUM ? 0 : -(real)INFINITY, b.inputs.x);
        if (s->lines)
            FN(pool_along)(&b);
        for (int64_t d = 0; d < b.box.j[0]; d++) {
            ptrdiff_t at = d * (a[0].pixel / a[0].phases) * b.panel.slice;
            FN(found) from = s->lines ? (FN(found)){b.halves.x + at, b.halves.at + at} : (FN(found)){b.inputs.x + at, NULL};
            FN(reduce_taps)(b.kind, from, s->lines ? &b.across : &b.along, FN(flat_of)(&b.panel, b.box.j), b.flat);
            FN(pool_put)(plan, call, &b, n, k, d);
        }
    }
}

static const fc_algorithm FN(pool_taps) = {"taps", FC_ISA_NAME, 1u << FC_MAX_POOL | 1u << FC_AVG_POOL, FN(pool_taps_prepare),
                                           FN(pool_taps_tasks), FN(pool_taps_run)};
