/* weight_grad_depthwise.c: the weight gradient for groups of few channels, pixels in the lanes.
 *
 * x lies in a split panel as for the forward pass, gy in a flat run of the same pitch with zeros in the gaps between rows:
 * then gw[k][c][t] is one dot product of two flat runs, some result channels by some taps at a time. A task is some groups; boxes
 * of the images follow one another, in slices that are stages, each adding to gw.
 *
 * A gap's zero times an infinity or NaN of x is NaN in a tap that never reads it: where a box's sums are not finite, they are
 * taken again row by row, without gaps.
 *
 * One summed channel, small kernels and strides are weight_grad_bands.c's. */

typedef struct {
    fc_blocks blocks;
    int64_t boxes, bunch, bunches, slices;
    int64_t panel, flat, taps, rows; /* rows: result channels at a time, at most */
} FN(dwgrad_state);

static const char *FN(dwgrad_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(dwgrad_state) *s = (void *)plan->state;
    fc_corr c = fc_corr_of(p, 0);
#ifdef FC_HAS_MASKS
    if (FN(bands_fit)(p)) {
        plan->algorithm = &FN(wgrad_bands);
        return FN(dbands_prepare)(plan);
    }
#endif
    if (c.rows > FC_DEPTHWISE_CHANNELS || c.reds > FC_DEPTHWISE_CHANNELS)
        return "groups of at most 64 channels, in and out";
    if (c.taps > FC_DEPTHWISE_TAPS)
        return "kernels of at most 4096 taps";
    if (fc_panel_channels(&c, 1) < c.reds)
        return FC_TOO_FAR;
    s->blocks = fc_choose_blocks(&c, 1, c.reds, FC_DEPTHWISE_PANEL, 1 << 14, 1);
    s->blocks.count_n = p->batch;
    s->boxes = fc_blocks_count(&s->blocks);
    s->taps = c.reds * c.taps;
    int64_t zero[FC_DIMS] = {0, 0, 0};
    fc_panel panel = fc_panel_of(&c, zero, s->blocks.j, c.reds, 1);
    s->panel = FN(aligned)(panel.plane * c.reds);
    s->flat = FN(aligned)(FN(flat_of)(&panel, s->blocks.j));
    s->rows = fc_min(c.rows, FC_DOTS_ROWS);
    double box_work = (double)(s->flat * s->blocks.j[0]) * (double)s->taps * (double)c.rows;
    double group_work = box_work * (double)s->boxes;
    s->bunch = fc_max(1, fc_min((int64_t)((1 << 18) / group_work), p->groups / FC_TASKS_WANTED));
    s->bunches = fc_ceil_div(p->groups, s->bunch);
    s->slices = fc_min(s->boxes, (int64_t)(group_work * (double)s->bunch / (FC_TASK_WORK / 4)) + 1);
    plan->stages = s->slices;
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->rows * (s->flat + FN(aligned)(s->taps))) * (int64_t)sizeof(real) +
                    s->taps * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(dwgrad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(dwgrad_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->bunches;
}

/* A box's slice d of one result channel's gradient, in a run of the panel's pitch. */
static void FN(dwgrad_flat)(const fc_box *box, const fc_panel *panel, const fc_array *gy, int64_t channel, int64_t d, real *flat)
{
    const real *plane = (const real *)gy->data + box->n0 * gy->stride[0] + channel * gy->stride[1] +
                        (box->j0[0] + d) * gy->stride[2] + box->j0[1] * gy->stride[3] + box->j0[2] * gy->stride[4];
    for (int64_t h = 0; h < box->j[1]; h++, plane += gy->stride[3]) {
        FN(copy_run)(flat + h * panel->row, plane, gy->stride[4], box->j[2]);
        if (h + 1 < box->j[1])
            FN(fill_run)(flat + h * panel->row + box->j[2], 0, panel->row - box->j[2]);
    }
}

/* The sums of a box, for result channels k0 .. k0+m of group g. */
static void FN(dwgrad_box)(const FN(dwgrad_state) *s, const fc_corr *c, const fc_box *box, const fc_panel *panel, const fc_array *gy,
                           int64_t g, int64_t k0, int64_t m, const real *inputs, const ptrdiff_t *tap_at, real *flat, real *sum,
                           real *gw, ptrdiff_t gw_row)
{
    int64_t n = FN(flat_of)(panel, box->j), taps = s->taps, pitch = FN(aligned)(taps);
    for (int64_t d = 0; d < box->j[0]; d++) {
        const real *slice = inputs + d * fc_panel_step(&panel->axis[0]) * panel->slice;
        for (int64_t k = 0; k < m; k++)
            FN(dwgrad_flat)(box, panel, gy, g * c->rows + k0 + k, d, flat + k * s->flat);
        FN(fill_run)(sum, 0, m * pitch);
        FN(dot_rows)(m, flat, s->flat, slice, tap_at, taps, n, sum, pitch);
        for (int64_t k = 0; k < m; k++) {
            real *own = sum + k * pitch;
            if (!FN(all_finite)(own, taps)) {
                FN(fill_run)(own, 0, taps);
                for (int64_t h = 0; h < box->j[1]; h++)
                    FN(dot_taps)(flat + k * s->flat + h * panel->row, slice + h * panel->row, tap_at, taps, box->j[2], own);
            }
            for (int64_t t = 0; t < taps; t++)
                gw[(k0 + k) * gw_row + t] += own[t];
        }
    }
}

static void FN(dwgrad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(dwgrad_state) *s = (const void *)plan->state;
    fc_corr c = fc_corr_of(p, 0);
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *flat = inputs + s->panel, *sum = flat + s->rows * s->flat;
    ptrdiff_t *tap_at = (ptrdiff_t *)(sum + s->rows * FN(aligned)(s->taps));
    const fc_array *gw = &call->array[3];
    int64_t b0 = FN(even_start)(s->boxes, s->slices, stage), b1 = FN(even_start)(s->boxes, s->slices, stage + 1);
    for (int64_t g = task * s->bunch; g < fc_min(p->groups, (task + 1) * s->bunch); g++) {
        real *to = (real *)gw->data + g * c.rows * gw->stride[0];
        for (int64_t k = 0; k < c.rows && stage == 0; k++)
            FN(fill_run)(to + k * gw->stride[0], 0, s->taps);
        for (int64_t b = b0; b < b1; b++) {
            fc_box box = fc_box_at(&s->blocks, &c, p->batch, b);
            fc_panel panel = fc_panel_of(&c, box.j0, box.j, c.reds, 1);
            fc_tap_table(&panel, &c, c.reds, tap_at);
            FN(panel_fill)(&panel, &c, &call->array[0], box.n0, 1, g * c.reds, 0, inputs);
            for (int64_t tiles = fc_ceil_div(c.rows, FC_DOTS_ROWS), i = 0; i < tiles; i++) {
                int64_t k0 = FN(even_start)(c.rows, tiles, i), m = FN(even_start)(c.rows, tiles, i + 1) - k0;
                FN(dwgrad_box)(s, &c, &box, &panel, &call->array[1], g, k0, m, inputs, tap_at, flat, sum, to, gw->stride[0]);
            }
        }
    }
}

static const fc_algorithm FN(wgrad_depthwise) = {"depthwise", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(dwgrad_prepare),
                                                 FN(dwgrad_tasks), FN(dwgrad_run)};
