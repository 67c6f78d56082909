/* conv_direct.c: convolution and its input gradient without a patch matrix: result channels in the lanes.
 *
 *   y[k][j] = sum_(c,t) w[k][c][t] * x[c][j + t]
 *
 * A task takes a box of output pixels and some blocks of result channels (a block fills FC_ROWS_NV vectors). The box's
 * inputs are copied once, with their padding, into a panel [n][c][h][w]; from there fma_rows broadcasts pixel by
 * pixel, so stride and dilation are only offsets. Weights are packed [block][c][t][lane] by a stage of their own. Sums are
 * cut into chunks of whole channels, about FC_DIRECT_CHUNK terms, added in order: the error stays that of short
 * sums and the chunk's weights stay in L1. The finished block [pixel][lane] is transposed in registers on its way out.
 *
 * Reductions too long for one task (or for FC_PACKED_BYTES of packed weights) go on in later stages: a pair of stages,
 * pack and compute, for each block of summed channels. */

#define FC_DIRECT_CHUNK 144
#define FC_DIRECT_PIXELS 512
#define FC_DIRECT_LEAST 64 /* pixels of a box, where the image has them */
#define FC_DIRECT_PANEL ((int64_t)(384 << 10) / (int64_t)sizeof(real)) /* elements: a third of a 1 MB L2 */

typedef struct {
    fc_blocks blocks;
    int64_t phases, boxes, row_blocks, splits; /* a task: one box, 1/splits of the row blocks */
    int64_t rows_padded;
    int64_t reds, red_blocks;      /* summed channels at a time */
    int64_t phase_weights;         /* elements of packed weights of a phase and group, one red block */
    int64_t packed;                /* elements of one red block */
    int64_t panel, buffer;         /* elements of scratch */
    int64_t table;                 /* entries of the tap table */
    int has_fill;
} FN(direct_state);

#define FC_LANES (FC_ROWS_NV * VL)

static const char *FN(direct_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(direct_state) *s = (void *)plan->state;
    fc_corr c = FN(largest_phase)(p);
    if (fc_panel_channels(&c, 0) < 1)
        return FC_TOO_FAR;
    s->phases = fc_corr_phases(p);
    s->has_fill = fc_corr_has_holes(p);
    s->rows_padded = fc_round_up(c.rows, VL);
    s->row_blocks = fc_ceil_div(c.rows, FC_LANES);

    /* Summed channels at a time: bounded packed weights, a smallest task under 20 ms, and a panel that fits with pixels enough
     * to use what it loads (a dilated kernel reaches far: 1 pixel at a time would read all weights for it). */
    int64_t wide = fc_max(1, fc_min(c.axis[2].count, FC_DIRECT_LEAST));
    int64_t least[FC_DIMS] = {1, fc_max(1, fc_min(c.axis[1].count, fc_ceil_div(FC_DIRECT_LEAST, wide))), wide};
    int64_t weights = FC_PACKED_BYTES / (int64_t)sizeof(real) / fc_max(1, s->rows_padded * c.taps * s->phases * p->groups);
    int64_t reds = fc_min(fc_max(1, weights), fc_max(1, FC_TASK_WORK / (FC_DIRECT_LEAST * FC_LANES) / c.taps));
    reds = fc_min(reds, fc_max(1, 2 * FC_DIRECT_PANEL / fc_panel_elements(&c, least, 0)));
    s->red_blocks = fc_ceil_div(c.reds, reds);
    s->reds = fc_ceil_div(c.reds, s->red_blocks);
    s->red_blocks = fc_ceil_div(c.reds, s->reds);
    s->phase_weights = FN(aligned)(s->rows_padded * s->reds * c.taps);
    s->packed = s->phase_weights * s->phases * p->groups;

    s->blocks = fc_choose_blocks(&c, p->batch, s->reds, fc_max(FC_DIRECT_PANEL, fc_min(FC_PANEL_MOST, s->reds * fc_panel_elements(&c, least, 0))),
                                 FC_DIRECT_PIXELS, 0);
    s->boxes = fc_blocks_count(&s->blocks);
    int64_t pixels = s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2];
    double work = (double)pixels * (double)c.rows * (double)s->reds * (double)c.taps;
    int64_t units = p->groups * s->phases * s->boxes;
    int64_t for_time = (int64_t)(work / FC_TASK_WORK) + 1;
    s->splits = fc_min(s->row_blocks, fc_max(for_time, fc_ceil_div(FC_TASKS_WANTED, units)));

    s->panel = FN(aligned)(s->blocks.n * s->reds * fc_panel_elements(&c, s->blocks.j, 0));
    s->buffer = FN(aligned)(pixels * FC_LANES);
    s->table = fc_max(FC_DIRECT_CHUNK, c.taps);
    plan->stages = s->has_fill + 2 * s->red_blocks;
    plan->workspace = s->packed * (int64_t)sizeof(real);
    plan->packed = s->packed * s->red_blocks * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + 2 * s->buffer) * (int64_t)sizeof(real) +
                    (pixels + s->table) * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(direct_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
    *grain = 1;
    if (s->has_fill && stage-- == 0) {
        *grain = 8;
        return mode == FC_PACK ? 0 : p->batch * p->groups * (p->op == FC_CONV ? p->out_channels : p->in_channels);
    }
    if (stage % 2 == 0)
        return mode == FC_RUN_PACKED ? 0 : p->groups * s->phases * s->row_blocks;
    *grain = s->splits <= 4 ? s->splits : 1; /* the splits of a box share its panel */
    return mode == FC_PACK ? 0 : p->groups * s->phases * s->boxes * s->splits;
}

/* Packs one block of result channels: dst[c][t][lane]. */
static void FN(direct_pack)(const fc_corr *c, const fc_weight_strides *ws, const real *w, int64_t reds, int64_t rows,
                            int64_t lanes, real *dst)
{
    int whole = 1; /* taps lie one after the other in the array, forwards or backwards */
    ptrdiff_t along = ws->tap[2] * c->axis[2].wstep, expect = along;
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        whole = whole && (c->axis[d].taps == 1 || ws->tap[d] * c->axis[d].wstep == expect);
        expect *= c->axis[d].taps;
    }
    if (c->taps == 1)
        along = 1;
    if (whole && (along == 1 || along == -1)) {
        int64_t taps = c->taps;
        const real *first = w + fc_weight_tap(c, ws, along > 0 ? 0 : taps - 1);
        if (along > 0 && ws->red == taps) { /* and so do the channels: one long transpose */
            FN(transpose)(first, ws->row, rows, reds * taps, dst, lanes, lanes);
        } else if (taps == 1 && ws->row == 1) {
            for (int64_t r = 0; r < reds; r++) {
                FN(copy_run)(dst + r * lanes, first + r * ws->red, 1, rows);
                FN(fill_run)(dst + r * lanes + rows, 0, lanes - rows);
            }
        } else if (taps == 1 && ws->red == 1) {
            FN(transpose)(first, ws->row, rows, reds, dst, lanes, lanes);
        } else {
            for (int64_t r = 0; r < reds; r++)
                FN(transpose)(first + r * ws->red, ws->row, rows, taps,
                              along > 0 ? dst + r * taps * lanes : dst + ((r + 1) * taps - 1) * lanes,
                              along > 0 ? lanes : -lanes, lanes);
        }
        return;
    }
    for (int64_t t = 0; t < c->taps; t++) {
        const real *tap = w + fc_weight_tap(c, ws, t);
        for (int64_t r = 0; r < reds; r++) {
            real *to = dst + (r * c->taps + t) * lanes;
            for (int64_t i = 0; i < rows; i++)
                to[i] = tap[r * ws->red + i * ws->row];
            FN(fill_run)(to + rows, 0, lanes - rows);
        }
    }
}

/* Results of a block, [pixel][lane] in `buf`, into y. Bias is added by the first red block, later ones add their sums. */
static void FN(direct_store)(const fc_corr *c, const fc_box *box, const FN(result) *r, const real *bias,
                             ptrdiff_t bias_stride, real *buf, real *turned, int64_t lanes, int64_t rows, int add)
{
    int64_t pixels = box->pixels;
    if (bias) {
        for (int64_t v = 0; v < rows; v += VL) {
            real b[VL];
            for (int i = 0; i < VL; i++)
                b[i] = v + i < rows ? bias[(v + i) * bias_stride] : 0;
            vec bv = FN(load)(b);
            for (int64_t i = 0; i < pixels; i++)
                FN(store)(buf + i * lanes + v, FN(load)(buf + i * lanes + v) + bv);
        }
    }
    /* Pixels that follow one another in y: a row, and all rows of whole rows. */
    int64_t run = box->j[2], d = FC_DIMS - 2;
    while (d >= 0 && r->step[2] == 1 && r->step[d] == run) {
        run *= box->j[d];
        d--;
    }
    if (d < 0 && r->image == run)
        run = pixels;
    if (r->step[2] == 1 && !add) {
        int64_t at[FC_DIMS + 1] = {0};
        for (int64_t i = 0; i < pixels; i += run) {
            int64_t q = i / box->j[2];
            at[2] = q % box->j[1];
            at[1] = q / box->j[1] % box->j[0];
            at[0] = q / (box->j[1] * box->j[0]);
            real *y = r->y + at[0] * r->image + at[1] * r->step[0] + at[2] * r->step[1];
            FN(transpose)(buf + i * lanes, lanes, run, rows, y, r->channel, run);
        }
        return;
    }
    FN(transpose)(buf, lanes, pixels, rows, turned, pixels, pixels);
    for (int64_t k = 0; k < rows; k++) {
        const real *src = turned + k * pixels;
        for (int64_t n = 0; n < box->n; n++)
            for (int64_t e = 0; e < box->j[0]; e++)
                for (int64_t h = 0; h < box->j[1]; h++, src += box->j[2])
                    FN(put_run)(r->y + k * r->channel + n * r->image + e * r->step[0] + h * r->step[1], r->step[2], src,
                                box->j[2], 0, add);
    }
    (void)c;
}

/* All chunks of the sum, for one block of result channels: buf[pixel][lane]. A chunk is some whole channels, or a piece of
 * one channel's taps; the table of the first serves them all. */
static void FN(direct_block)(const fc_corr *c, const fc_panel *panel, int64_t pixels, int64_t reds, int64_t nv,
                             const real *inputs, const ptrdiff_t *pixel_at, const ptrdiff_t *tap_at, const real *weights,
                             real *buf)
{
    int64_t lanes = nv * VL, taps = c->taps, tiles = fc_ceil_div(pixels, FC_ROWS_MAX);
    int64_t channels = fc_max(1, FC_DIRECT_CHUNK / taps), piece = fc_min(taps, 2 * FC_DIRECT_CHUNK);
    for (int64_t r = 0; r < reds; r += channels) {
        for (int64_t t = 0; t < taps; t += piece) {
            int64_t depth = piece < taps ? fc_min(piece, taps - t) : fc_min(channels, reds - r) * taps;
            for (int64_t i = 0; i < tiles; i++) {
                int64_t p0 = FN(even_start)(pixels, tiles, i), p1 = FN(even_start)(pixels, tiles, i + 1);
                FN(fma_rows)((int)(p1 - p0), (int)nv, inputs + r * panel->plane, pixel_at + p0, tap_at + t, depth,
                             weights + (r * taps + t) * lanes, lanes, (FN(dest)){buf + p0 * lanes, lanes, r > 0 || t > 0});
            }
        }
    }
}

static void FN(direct_compute)(const fc_plan *plan, fc_call *call, int64_t red_block, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
    int64_t split = task % s->splits, unit = task / s->splits;
    int64_t box_i = unit % s->boxes, phase = unit / s->boxes % s->phases, g = unit / s->boxes / s->phases;
    fc_corr c = fc_corr_of(p, phase);
    fc_box box = fc_box_at(&s->blocks, &c, p->batch, box_i);
    if (box.pixels == 0)
        return;
    int64_t r0 = red_block * s->reds, reds = fc_min(s->reds, c.reds - r0);
    fc_panel panel = fc_panel_of(&c, box.j0, box.j, reds, 0);

    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *buf = inputs + s->panel, *turned = buf + s->buffer;
    ptrdiff_t *tap_at = (ptrdiff_t *)(turned + s->buffer), *pixel_at = tap_at + s->table;
    int64_t *filled = (int64_t *)scratch;
    if (*filled != unit + 1) {
        *filled = unit + 1;
        FN(panel_fill)(&panel, &c, &call->array[0], box.n0, box.n, g * c.reds + r0, 0, inputs);
        fc_pixel_table(&panel, &box, pixel_at);
        fc_tap_table(&panel, &c, fc_max(1, fc_min(reds, FC_DIRECT_CHUNK / c.taps)), tap_at);
    }
    const real *packed = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    if (call->mode == FC_RUN_PACKED)
        packed += red_block * s->packed;
    packed += (g * s->phases + phase) * s->phase_weights;
    const fc_array *b = &call->array[2];

    int64_t kb1 = FN(even_start)(s->row_blocks, s->splits, split + 1);
    for (int64_t kb = FN(even_start)(s->row_blocks, s->splits, split); kb < kb1; kb++) {
        int64_t k0 = kb * FC_LANES, rows = fc_min(FC_LANES, c.rows - k0), nv = fc_ceil_div(rows, VL);
        FN(direct_block)(&c, &panel, box.pixels, reds, nv, inputs, pixel_at, tap_at, packed + k0 * reds * c.taps, buf);
        int64_t channel = g * c.rows + k0;
        FN(result) r = FN(result_of)(&c, &call->array[3], &box, channel);
        const real *bias = b->data && red_block == 0 ? (const real *)b->data + channel * b->stride[0] : NULL;
        FN(direct_store)(&c, &box, &r, bias, b->stride[0], buf, turned, nv * VL, rows, red_block > 0);
    }
}

static void FN(direct_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
    if (s->has_fill && stage-- == 0) {
        fc_corr c = fc_corr_of(p, 0);
        FN(fill_bias)(p, &c, call, task);
        return;
    }
    int64_t red_block = stage / 2;
    if (stage % 2) {
        FN(direct_compute)(plan, call, red_block, task, scratch);
        return;
    }
    int64_t kb = task % s->row_blocks, phase = task / s->row_blocks % s->phases, g = task / s->row_blocks / s->phases;
    fc_corr c = fc_corr_of(p, phase);
    int64_t r0 = red_block * s->reds, reds = fc_min(s->reds, c.reds - r0), k0 = kb * FC_LANES;
    int64_t rows = fc_min(FC_LANES, c.rows - k0);
    const fc_array *w = &call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    const real *from = (const real *)w->data + g * p->out_channels * w->stride[0] + k0 * ws.row + r0 * ws.red;
    real *to = (real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    if (call->mode == FC_PACK)
        to += red_block * s->packed;
    FN(direct_pack)(&c, &ws, from, reds, rows, fc_round_up(rows, VL),
                    to + (g * s->phases + phase) * s->phase_weights + k0 * reds * c.taps);
}

static const fc_algorithm FN(direct) = {"direct", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD,
                                        FN(direct_prepare), FN(direct_tasks), FN(direct_run)};
