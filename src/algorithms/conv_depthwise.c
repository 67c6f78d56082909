/* conv_depthwise.c: convolution and its input gradient for groups of few summed channels (depthwise, grouped, first layers):
 * pixels in the lanes, no patches.
 *
 * The inputs of a box are copied with their padding into a split panel, in which a row of outputs reads consecutive
 * elements at any stride. There a tap is a constant offset, also from row to row: the whole box is computed as one flat
 * run of vectors, rows with their gaps, and the gaps are dropped when rows are copied out. So a 7x7 map fills its
 * vectors nearly as well as a large one.
 *
 * One summed channel, small kernels and strides, which need no panel, are conv_bands.c's. */

#define FC_DEPTHWISE_PANEL ((int64_t)(128 << 10) / (int64_t)sizeof(real))
#define FC_DEPTHWISE_CHUNK 256
#define FC_DEPTHWISE_CHANNELS 64
#define FC_DEPTHWISE_TAPS 4096

typedef struct {
    fc_blocks blocks;
    int64_t phases, boxes;
    int64_t bunch, bunches;  /* groups of a task */
    int64_t row_tiles;
    int64_t phase_weights;   /* elements of packed weights of a phase and group */
    int64_t panel, flat;     /* elements */
    int64_t depth;           /* most terms of a sum */
    int has_fill;
} FN(depthwise_state);

/* Flat length of one d-slice of a box. */
static inline int64_t FN(flat_of)(const fc_panel *panel, const int64_t *j) { return (j[1] - 1) * panel->row + j[2]; }

static const char *FN(depthwise_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(depthwise_state) *s = (void *)plan->state;
    fc_corr c = FN(largest_phase)(p);
#ifdef FC_HAS_MASKS
    if (FN(bands_fit)(p)) {
        plan->algorithm = &FN(bands);
        return FN(bands_prepare)(plan);
    }
#endif
    if (c.reds > FC_DEPTHWISE_CHANNELS)
        return "groups of at most 64 summed channels";
    if (c.taps > FC_DEPTHWISE_TAPS)
        return "kernels of at most 4096 taps";
    if (fc_panel_channels(&c, 1) < c.reds)
        return FC_TOO_FAR;
    s->phases = fc_corr_phases(p);
    s->has_fill = fc_corr_has_holes(p);
    s->depth = c.reds * c.taps;
    s->row_tiles = fc_ceil_div(c.rows, FC_TAPS_MAX);
    s->phase_weights = c.rows * s->depth;
    s->blocks = fc_choose_blocks(&c, 1, c.reds, FC_DEPTHWISE_PANEL, 1 << 14, 1);
    s->blocks.count_n = p->batch;
    s->boxes = fc_blocks_count(&s->blocks);
    int64_t pixels = s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2];
    s->bunch = fc_max(1, fc_min((1 << 18) / fc_max(1, pixels * s->depth * c.rows),
                                p->groups * s->boxes * s->phases / FC_TASKS_WANTED));
    s->bunch = fc_min(s->bunch, p->groups);
    s->bunches = fc_ceil_div(p->groups, s->bunch);
    int64_t zero[FC_DIMS] = {0, 0, 0};
    fc_panel panel = fc_panel_of(&c, zero, s->blocks.j, c.reds, 1);
    int64_t slack = FC_TAPS_NV * VL; /* the last vectors of a run read and write past it */
    s->panel = FN(aligned)(panel.plane * c.reds + slack);
    s->flat = FN(aligned)(FN(flat_of)(&panel, s->blocks.j) + slack);
    plan->stages = s->has_fill + 2;
    plan->workspace = plan->packed = s->phase_weights * s->phases * p->groups * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + FC_TAPS_MAX * s->flat) * (int64_t)sizeof(real) +
                    s->depth * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(depthwise_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(depthwise_state) *s = (const void *)plan->state;
    *grain = 1;
    if (s->has_fill && stage-- == 0) {
        *grain = 8;
        return mode == FC_PACK ? 0 : p->batch * p->groups * (p->op == FC_CONV ? p->out_channels : p->in_channels);
    }
    if (stage == 0) {
        *grain = 64;
        return mode == FC_RUN_PACKED ? 0 : p->groups * s->phases * s->row_tiles;
    }
    return mode == FC_PACK ? 0 : s->boxes * s->phases * s->bunches;
}

/* `m` result channels of a box from its panel. flat: [m][ld]. */
static void FN(depthwise_rows)(const fc_problem *p, const fc_corr *c, const fc_panel *panel, const fc_box *box, const real *inputs,
                               const ptrdiff_t *tap_at, const real *weights, int64_t m, const FN(result) *to,
                               const real *bias, ptrdiff_t bias_stride, real *flat, int64_t ld)
{
    int64_t depth = panel->channels * c->taps, n = FN(flat_of)(panel, box->j);
    for (int64_t d = 0; d < box->j[0]; d++) {
        const real *slice = inputs + d * fc_panel_step(&panel->axis[0]) * panel->slice;
        for (int64_t i = 0; i < n; i += FC_TAPS_NV * VL) {
            int64_t nv = fc_min(FC_TAPS_NV, fc_ceil_div(n - i, VL));
            for (int64_t q = 0; q < depth; q += FC_DEPTHWISE_CHUNK)
                FN(fma_taps)((int)m, (int)nv, weights + q * m, tap_at + q, fc_min(FC_DEPTHWISE_CHUNK, depth - q), slice + i,
                             (FN(dest)){flat + i, ld, q > 0});
        }
        for (int64_t k = 0; k < m; k++)
            for (int64_t h = 0; h < box->j[1]; h++) {
                real *y = to->y + k * to->channel + d * to->step[0] + h * to->step[1];
                FN(put_run)(y, to->step[2], flat + k * ld + h * panel->row, box->j[2], bias ? bias[k * bias_stride] : 0, 0);
                FN(rectify_run)(p, y, to->step[2], box->j[2]);
            }
    }
}

static void FN(depthwise_compute)(const fc_plan *plan, fc_call *call, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(depthwise_state) *s = (const void *)plan->state;
    int64_t phase = task % s->phases, bunch = task / s->phases % s->bunches, box_i = task / s->phases / s->bunches;
    fc_corr c = fc_corr_of(p, phase);
    fc_box box = fc_box_at(&s->blocks, &c, p->batch, box_i);
    if (box.pixels == 0)
        return;
    fc_panel panel = fc_panel_of(&c, box.j0, box.j, c.reds, 1);
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *flat = inputs + s->panel;
    ptrdiff_t *tap_at = (ptrdiff_t *)(flat + FC_TAPS_MAX * s->flat);
    fc_tap_table(&panel, &c, c.reds, tap_at);
    const real *packed = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    const fc_array *b = &call->array[2];
    for (int64_t g = bunch * s->bunch; g < fc_min(p->groups, (bunch + 1) * s->bunch); g++) {
        FN(panel_fill)(&panel, &c, &call->array[0], box.n0, 1, g * c.reds, 0, inputs);
        for (int64_t i = 0; i < s->row_tiles; i++) {
            int64_t k0 = FN(even_start)(c.rows, s->row_tiles, i), m = FN(even_start)(c.rows, s->row_tiles, i + 1) - k0;
            int64_t channel = g * c.rows + k0;
            FN(result) to = FN(result_of)(&c, &call->array[3], &box, channel);
            FN(depthwise_rows)(p, &c, &panel, &box, inputs, tap_at,
                               packed + (g * s->phases + phase) * s->phase_weights + k0 * c.reds * c.taps, m, &to,
                               b->data ? (const real *)b->data + channel * b->stride[0] : NULL, b->stride[0], flat, s->flat);
        }
    }
}

static void FN(depthwise_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(depthwise_state) *s = (const void *)plan->state;
    if (s->has_fill && stage-- == 0) {
        fc_corr any = fc_corr_of(p, 0);
        FN(fill_bias)(p, &any, call, task);
        return;
    }
    if (stage == 1) {
        FN(depthwise_compute)(plan, call, task, scratch);
        return;
    }
    int64_t i = task % s->row_tiles, phase = task / s->row_tiles % s->phases, g = task / s->row_tiles / s->phases;
    fc_corr c = fc_corr_of(p, phase);
    int64_t k0 = FN(even_start)(c.rows, s->row_tiles, i), m = FN(even_start)(c.rows, s->row_tiles, i + 1) - k0;
    const fc_array *w = &call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    FN(im2col_pack)(&c, &ws, (const real *)w->data + g * p->out_channels * w->stride[0] + k0 * ws.row, c.reds, m,
                    (real *)(call->mode == FC_RUN ? call->workspace : call->packed) +
                        (g * s->phases + phase) * s->phase_weights + k0 * c.reds * c.taps);
}

static const fc_algorithm FN(depthwise) = {"depthwise", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD,
                                           FN(depthwise_prepare), FN(depthwise_tasks), FN(depthwise_run)};
