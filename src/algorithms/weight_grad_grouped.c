/* weight_grad_grouped.c: the weight gradient with groups in the lanes.
 *
 *   gw[k][c][t] = sum over images and output pixels j of gy[k][j] * x[c][j + t]
 *
 * The parts of the forward pass exchanged: rows are (c, t) of the same panel, the sum runs over pixels, and the vectors of b
 * are the output's gradient, transposed to [k][pixel][lane]. Every tap is a vector of VL groups: nothing is summed across
 * lanes. A task owns a block of groups and one part of the images' boxes; the number of parts is fixed by the shape, and a
 * last stage adds them in order. */

typedef struct {
    FN(grouped) shape;
    int64_t boxes, parts, slices;
    int64_t tile;                   /* elements of a block's gradient */
    int64_t pixels, turned;         /* of a strip, at most, and their elements in nj channels */
} FN(gwgrad_state);

typedef struct {
    FN(grouped_noted) *noted;
    real *panel, *turned, *zero;
    FN(lane_step) *step;
    ptrdiff_t *row, *at, *flat, *inside;
} FN(gwgrad_scratch);

static FN(gwgrad_scratch) FN(gwgrad_scratch_of)(const FN(gwgrad_state) *s, char *scratch)
{
    FN(gwgrad_scratch) t;
    int64_t rows = s->shape.whole.reds * s->shape.taps;
    t.noted = (FN(grouped_noted) *)scratch;
    t.panel = (real *)(scratch + fc_round_up(sizeof *t.noted, FC_ALIGN));
    t.turned = t.panel + s->shape.panel;
    t.zero = t.turned + s->turned;
    t.step = (FN(lane_step) *)(t.zero + FC_LANES_NJ * VL);
    t.row = (ptrdiff_t *)(t.step + s->pixels);
    t.at = t.row + rows;
    t.flat = t.at + rows;
    t.inside = t.flat + s->pixels;
    return t;
}

static const char *FN(gwgrad_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(gwgrad_state) *s = (void *)plan->state;
    const char *declined = FN(grouped_shape)(p, &s->shape);
    if (declined)
        return declined;
    const fc_corr *c = &s->shape.whole;
    const int64_t *j = s->shape.blocks.j;
    s->boxes = fc_blocks_count(&s->shape.blocks);
    s->tile = c->rows * c->reds * c->taps * VL;
    s->pixels = j[0] * s->shape.strip * j[2];
    s->turned = FN(aligned)(fc_min(FC_LANES_NJ, c->rows) * s->pixels * VL);

    double box_work = (double)(j[0] * j[1] * j[2]) * (double)s->tile;
    int64_t worth = (int64_t)(box_work * (double)s->boxes / (1 << 20)) + 1; /* parts of at least a million */
    s->parts = fc_min(fc_min(s->boxes, worth), fc_ceil_div(FC_TASKS_WANTED, s->shape.group_blocks));
    s->parts = fc_max(1, fc_min(s->parts, FC_PACKED_BYTES / (int64_t)sizeof(real) / (s->shape.group_blocks * s->tile)));
    s->slices = fc_ceil_div(fc_ceil_div(s->boxes, s->parts), fc_max(1, (int64_t)(FC_TASK_WORK / box_work)));

    plan->stages = s->slices + 1;
    plan->workspace = s->shape.group_blocks * s->parts * s->tile * (int64_t)sizeof(real);
    FN(gwgrad_scratch) end = FN(gwgrad_scratch_of)(s, NULL);
    plan->scratch = (int64_t)(intptr_t)(end.inside + s->shape.inside);
    return NULL;
}

static ptrdiff_t FN(gwgrad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(gwgrad_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage < s->slices ? s->shape.group_blocks * s->parts : s->shape.group_blocks;
}

static void FN(gwgrad_tables)(const FN(gwgrad_state) *s, const FN(gwgrad_scratch) *t)
{
    const fc_corr *c = &s->shape.whole;
    const FN(lanes_panel) *panel = &t->noted->panel;
    const int64_t taps[FC_DIMS] = {c->axis[0].taps, c->axis[1].taps, c->axis[2].taps};
    const ptrdiff_t ld[FC_DIMS] = {panel->slice, panel->row, VL};
    ptrdiff_t over[FC_DIMS], along[FC_DIMS], *row = t->row;
    for (int d = 0; d < FC_DIMS; d++) {
        over[d] = c->axis[d].offstep * ld[d];
        along[d] = c->axis[d].xstep * ld[d];
    }
    for (int64_t i = 0; i < c->reds; i++)
        row = FN(grid_table)(taps, i * panel->plane, over, row);
    for (int64_t i = 0; i < c->reds * c->taps; i++)
        t->at[i] = i * VL;
    FN(lane_step) *step = t->step;
    for (int64_t d = 0; d < panel->box.j[0]; d++)
        for (int64_t h = 0; h < fc_min(panel->box.j[1], s->shape.strip); h++)
            for (int64_t w = 0; w < panel->box.j[2]; w++, step++) {
                step->a = d * along[0] + h * along[1] + w * along[2];
                step->b = (step - t->step) * VL;
                t->flat[step - t->step] = step->b;
            }
    FN(lanes_empty)(panel, c->reds, t->panel, t->inside);
    FN(fill_run)(t->zero, 0, FC_LANES_NJ * VL);
}

/* One result channel's gradient of every group of a block, rows h0 .. h1 of the box, turned to [pixel][lane]. */
static void FN(gwgrad_turn)(const fc_array *gy, const real *src, ptrdiff_t ld, const fc_box *box, int64_t h0, int64_t h1,
                            int64_t lanes, const ptrdiff_t *flat, real *turned)
{
    int64_t all = (h1 - h0) * box->j[2], run = gy->stride[3] == box->j[2] * gy->stride[4] ? all : box->j[2];
    for (int64_t d = 0; d < box->j[0]; d++) {
        const real *from = src + (box->j0[0] + d) * gy->stride[2] + (box->j0[1] + h0) * gy->stride[3] + box->j0[2] * gy->stride[4];
        for (int64_t i = 0; i < all; i += run, from += gy->stride[3], turned += run * VL)
            FN(gather_lanes)(from, ld, gy->stride[4], lanes, run, flat, turned, from + run * gy->stride[4]);
    }
}

/* Adds a strip's part to (or, the first time, starts) the sums of a block of groups: acc[k][c][t][lane]. */
static void FN(gwgrad_strip)(const FN(gwgrad_state) *s, const fc_array *gy, int64_t block, int64_t lanes, int64_t h0, int64_t h1,
                             const FN(gwgrad_scratch) *t, real *acc, int first)
{
    const fc_corr *c = &s->shape.whole;
    const FN(lanes_panel) *panel = &t->noted->panel;
    const fc_box *box = &panel->box;
    int64_t rows = c->reds * c->taps, pixels = box->j[0] * (h1 - h0) * box->j[2];
    const real *from = (const real *)gy->data + box->n0 * gy->stride[0] + block * VL * c->rows * gy->stride[1];
    FN(lanes_job) job = {.a = t->panel + h0 * s->shape.reach[1].step * panel->row, .row = t->row, .b = t->turned, .at = t->at};
    job.ldb = s->pixels * VL;
    job.ldc = rows * VL;
    for (int64_t k0 = 0; k0 < c->rows; k0 += FC_LANES_NJ) {
        int64_t nj = fc_min(FC_LANES_NJ, c->rows - k0);
        for (int64_t j = 0; j < nj; j++)
            FN(gwgrad_turn)(gy, from + (k0 + j) * gy->stride[1], c->rows * gy->stride[1], box, h0, h1, lanes, t->flat,
                            t->turned + j * job.ldb);
        job.c = acc + k0 * job.ldc;
        for (int64_t i = 0; i < pixels; i += FC_GROUPED_STRIP) {
            job.step = t->step + i;
            job.depth = fc_min(FC_GROUPED_STRIP, pixels - i);
            job.start = first && i == 0 ? t->zero : NULL;
            FN(fma_lanes)(nj, rows, &job);
        }
    }
}

static void FN(gwgrad_compute)(const fc_plan *plan, fc_call *call, int64_t slice, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(gwgrad_state) *s = (const void *)plan->state;
    const fc_array *x = &call->array[0];
    int64_t part = task % s->parts, block = task / s->parts, lanes = fc_min(VL, p->groups - block * VL);
    int64_t each = s->boxes / p->batch, reds = s->shape.whole.reds;
    FN(gwgrad_scratch) t = FN(gwgrad_scratch_of)(s, scratch);
    FN(lanes_panel) *panel = &t.noted->panel;
    int64_t b0 = FN(even_start)(s->boxes, s->parts, part), b1 = FN(even_start)(s->boxes, s->parts, part + 1);
    int64_t from = b0 + FN(even_start)(b1 - b0, s->slices, slice), to = b0 + FN(even_start)(b1 - b0, s->slices, slice + 1);
    for (int64_t b = from; b < to; b++) { /* the same box of all images, so that its tables serve them all */
        *panel = FN(lanes_panel_of)(&s->shape, p->batch, b % p->batch * each + b / p->batch);
        if (t.noted->box != b / p->batch + 1) {
            t.noted->box = b / p->batch + 1;
            FN(gwgrad_tables)(s, &t);
        }
        const real *src = (const real *)x->data + panel->box.n0 * x->stride[0] + block * VL * reds * x->stride[1];
        int64_t filled = 0, high = panel->box.j[1];
        for (int64_t h0 = 0; h0 < high; h0 += s->shape.strip) {
            int64_t h1 = fc_min(h0 + s->shape.strip, high);
            int64_t need = (h1 - 1) * s->shape.reach[1].step + s->shape.reach[1].span;
            FN(lanes_fill)(panel, x, src, reds, lanes, filled, need, x->stride[0], t.inside, t.panel);
            filled = need;
            FN(gwgrad_strip)(s, &call->array[1], block, lanes, h0, h1, &t, (real *)call->workspace + task * s->tile,
                             b == b0 && h0 == 0);
        }
    }
}

static void FN(gwgrad_finish)(const fc_plan *plan, fc_call *call, int64_t block)
{
    const fc_problem *p = &plan->problem;
    const FN(gwgrad_state) *s = (const void *)plan->state;
    const fc_array *gw = &call->array[3];
    real *acc = (real *)call->workspace + block * s->parts * s->tile;
    for (int64_t part = 1; part < s->parts; part++)
        for (int64_t i = 0; i < s->tile; i += VL)
            FN(store)(acc + i, FN(load)(acc + i) + FN(load)(acc + part * s->tile + i));
    int64_t k = p->out_channels, rows = p->in_channels * s->shape.taps, run = gw->stride[0] == rows ? k * rows : rows;
    for (int64_t i = 0; i < k * rows; i += run)
        FN(from_lanes)(acc + i * VL, run, fc_min(VL, p->groups - block * VL),
                       (real *)gw->data + (block * VL * k + i / rows) * gw->stride[0], k * gw->stride[0]);
}

static void FN(gwgrad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    if (stage < ((const FN(gwgrad_state) *)(const void *)plan->state)->slices)
        FN(gwgrad_compute)(plan, call, stage, task, scratch);
    else
        FN(gwgrad_finish)(plan, call, task);
}

static const fc_algorithm FN(wgrad_grouped) = {"grouped", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(gwgrad_prepare),
                                               FN(gwgrad_tasks), FN(gwgrad_run)};
