/* weight_grad.c: the weight gradient of dense and grouped convolution, result channels in the lanes.
 *
 *   gw[k][c][t] = sum over images and output pixels j of gy[k][j] * x[c][j + t]
 *
 * The same tile as the direct convolution with the parts exchanged: rows are (c, t), the sum runs over pixels, and the
 * vectors are the output gradient, transposed in registers to [pixel][lane]. The scalars, x, have three sources:
 *
 *   in place   "direct" with many channels: a run of pixels for each tap, without those whose input is padding
 *   panel      "direct" with few channels: a padded copy of a box of inputs, rows of all taps fill the tile
 *   patches    "im2col": a copy for every tap of a run of pixels
 *
 * "direct" may exchange x and gy (weight_grad_tile.h): then input channels have the lanes, and what is said of outputs below holds
 * for pixels of x.
 *
 * A task owns a tile of gw (some result channels by some channels) in the workspace and takes one part of the pixel
 * blocks. The number of parts is fixed by the shape; a last stage sums them in order, so the bits do not depend on
 * threads. Where tiles are enough there is one part: there a task keeps its tile in scratch and writes gw itself (at 7 px
 * writing the sums and reading them again took half the time). */

/* Whether x is read where it lies: its channels must fill the rows of the tile. */
static int FN(wgrad_in_place)(const fc_corr *c)
{
    int64_t fit = FC_WGRAD_TILE / (FC_LANES * c->taps);
    return fc_min(c->reds, fit) >= (c->taps == 1 ? FC_WGRAD_CHANNELS_1 : FC_WGRAD_CHANNELS);
}

/* Tiles of gw. In place: channels enough to pay for what each tap does to gy, and tiles enough for the threads as long as
 * parts of the pixels would be short, since those are to be added up. */
static void FN(wgrad_choose_tiles)(FN(wgrad_state) *s, const fc_corr *c, int64_t groups, int64_t pixels)
{
    int64_t lanes = fc_min(fc_round_up(c->rows, VL), fc_round_up(c->taps == 1 ? 256 : 128, FC_LANES));
    int64_t channels = fc_max(1, fc_min(c->reds, FC_WGRAD_TILE / (lanes * c->taps))), least = fc_min(c->reds, 128);
    int64_t parts = fc_max(1, pixels / FC_WGRAD_PART);
    while (s->source == FN(WGRAD_IN_PLACE) && lanes > FC_LANES && channels < least) {
        lanes = fc_round_up(lanes / 2, FC_LANES);
        channels = fc_max(1, fc_min(c->reds, FC_WGRAD_TILE / (lanes * c->taps)));
    }
    while (s->source == FN(WGRAD_IN_PLACE) &&
           groups * fc_ceil_div(c->rows, lanes) * fc_ceil_div(c->reds, channels) * parts < FC_TASKS_WANTED) {
        if (channels >= 2 * least && channels > lanes)
            channels = fc_ceil_div(channels, 2);
        else if (lanes >= 4 * FC_LANES)
            lanes = fc_round_up(lanes / 2, FC_LANES);
        else
            break;
    }
    s->lanes = lanes;
    s->k_tiles = fc_ceil_div(c->rows, s->lanes);
    s->lanes = fc_round_up(fc_ceil_div(c->rows, s->k_tiles), s->k_tiles > 1 ? FC_LANES : VL);
    s->k_tiles = fc_ceil_div(c->rows, s->lanes);
    if (s->source == FN(WGRAD_PANEL))
        channels = fc_min(channels, fc_panel_channels(c, 0));
    s->c_tiles = fc_ceil_div(c->reds, channels);
    s->channels = fc_ceil_div(c->reds, s->c_tiles);
    s->c_tiles = fc_ceil_div(c->reds, s->channels);
    s->tile = FN(aligned)(s->lanes * s->channels * c->taps);
}

static const char *FN(wgrad_prepare_as)(fc_plan *plan, FN(wgrad_source) source)
{
    const fc_problem *p = &plan->problem;
    FN(wgrad_state) *s = (void *)plan->state;
    s->source = source;
    s->swapped = source == FN(WGRAD_PANEL) && FN(wgrad_swaps)(p);
    fc_problem seen = FN(wgrad_seen)(p, s->swapped);
    fc_corr c = FN(largest_phase)(&seen);
    if (s->swapped && fc_panel_channels(&c, 0) < 1) {
        s->swapped = 0;
        c = fc_corr_of(p, 0);
    }
    s->phases = s->swapped ? fc_corr_phases(&seen) : 1;
    if (source == FN(WGRAD_PANEL) && s->phases == 1 && FN(wgrad_in_place)(&c))
        s->source = FN(WGRAD_IN_PLACE);
    if (s->source == FN(WGRAD_PANEL) && fc_panel_channels(&c, 0) < 1)
        return FC_TOO_FAR;
    int64_t image = c.axis[0].count * c.axis[1].count * c.axis[2].count;
    FN(wgrad_choose_tiles)(s, &c, p->groups, image * p->batch);

    int64_t rows = s->channels * c.taps, tiles = p->groups * s->phases * s->k_tiles * s->c_tiles;
    int64_t most = fc_max(1, fc_min(FC_WGRAD_PIXELS, FC_TASK_WORK / (s->lanes * rows)));
    if (s->source == FN(WGRAD_IN_PLACE)) {
        s->run = fc_min(FC_WGRAD_DEPTH, most);
        s->runs = fc_ceil_div(image * p->batch, s->run);
        s->run = fc_ceil_div(image * p->batch, s->runs);
        s->runs = fc_ceil_div(image * p->batch, s->run);
        s->blocks = s->runs;
        s->block_pixels = s->run;
        s->panel = c.taps == 1 ? 0 : FN(aligned)(s->run * FC_LANES);
    } else if (s->source == FN(WGRAD_PATCHES)) {
        s->run = fc_max(1, fc_min(fc_min(image, most), FC_WGRAD_PANEL / rows));
        s->runs = fc_ceil_div(image, s->run);
        s->blocks = s->runs * p->batch;
        s->block_pixels = s->run;
        s->panel = FN(aligned)(s->run * rows);
    } else {
        s->boxes = fc_choose_blocks(&c, p->batch, s->channels, FC_WGRAD_PANEL, most, 0);
        s->blocks = fc_blocks_count(&s->boxes);
        s->block_pixels = s->boxes.n * s->boxes.j[0] * s->boxes.j[1] * s->boxes.j[2];
        s->panel = FN(aligned)(s->boxes.n * s->channels * fc_panel_elements(&c, s->boxes.j, 0));
    }
    s->turned = FN(aligned)(s->block_pixels * s->lanes);

    double block_work = (double)s->block_pixels * (double)(s->lanes * rows);
    int64_t worth = (int64_t)(block_work * (double)s->blocks / (1 << 20)) + 1; /* parts of at least a million */
    s->parts = fc_min(fc_min(s->blocks, worth), fc_ceil_div(FC_TASKS_WANTED, tiles));
    s->parts = fc_max(1, fc_min(s->parts, FC_PACKED_BYTES / (int64_t)sizeof(real) / (tiles * s->tile)));
    int64_t at_once = fc_max(1, (int64_t)(FC_TASK_WORK / block_work));
    s->slices = fc_ceil_div(fc_ceil_div(s->blocks, s->parts), at_once);

    s->at_once = s->parts == 1 && s->slices == 1;
    plan->stages = s->at_once ? 1 : s->slices + 1;
    plan->workspace = s->at_once ? 0 : tiles * s->parts * s->tile * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->turned + s->at_once * s->tile) * (int64_t)sizeof(real) +
                    (s->block_pixels + rows) * (int64_t)sizeof(ptrdiff_t) +
                    2 * s->block_pixels * (int64_t)sizeof(FN(wgrad_segment));
    return NULL;
}

static const char *FN(wgrad_direct_prepare)(fc_plan *plan)
{
    if (FN(wdots_fit)(&plan->problem)) {
        plan->algorithm = &FN(wgrad_dots);
        return FN(wdots_prepare)(plan);
    }
    return FN(wgrad_prepare_as)(plan, FN(WGRAD_PANEL));
}

static const char *FN(wgrad_im2col_prepare)(fc_plan *plan) { return FN(wgrad_prepare_as)(plan, FN(WGRAD_PATCHES)); }

static ptrdiff_t FN(wgrad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    int64_t tiles = plan->problem.groups * s->phases * s->k_tiles * s->c_tiles;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage < s->slices ? tiles * s->parts : tiles;
}

/* Fills panel, turned gradient and both tables for a box. */
static void FN(wgrad_box)(const fc_corr *c, const FN(wgrad_operands) *o, const FN(wgrad_tile) *t, const fc_box *box, real *inputs,
                          real *turned, ptrdiff_t *row_at, ptrdiff_t *pixel_at)
{
    const fc_array *gy = &o->lanes;
    fc_panel panel = fc_panel_of(c, box->j0, box->j, t->channels, 0);
    FN(panel_fill)(&panel, c, &o->scalars, box->n0, box->n, t->g * c->reds + t->c0, 0, inputs);
    fc_pixel_table(&panel, box, pixel_at);
    fc_tap_table(&panel, c, t->channels, row_at);
    const real *first = (const real *)gy->data + (t->g * c->rows + t->k0) * gy->stride[1];
    int dense = gy->stride[3] == box->j[2] * gy->stride[4];
    int64_t run = dense ? box->j[1] * box->j[2] : box->j[2], at = 0;
    for (int64_t n = 0; n < box->n; n++)
        for (int64_t d = 0; d < box->j[0]; d++)
            for (int64_t h = 0; h < (dense ? 1 : box->j[1]); h++, at += run)
                FN(turn_run)(first + (box->n0 + n) * gy->stride[0] + (box->j0[0] + d) * gy->stride[2] +
                                 (box->j0[1] + h) * gy->stride[3] + box->j0[2] * gy->stride[4],
                             gy, run, t->rows, at, box->pixels, turned);
}

/* The same box where x has the lanes and an element is infinite or NaN: it must not meet gy's padding, as no product of the
 * gradient does. Tap by tap, those runs of pixels that see no padding. */
static void FN(wgrad_box_inside)(const fc_corr *c, FN(wgrad_sums) *to, const fc_box *box, const real *inputs, const real *turned,
                                 const ptrdiff_t *row_at, const ptrdiff_t *pixel_at)
{
    to->add = 1;
    for (int64_t i = 0; i < box->pixels; i += box->j[2]) {
        int64_t h = i / box->j[2] % box->j[1], d = i / box->j[2] / box->j[1] % box->j[0];
        for (int64_t k = 0; k < to->t.rows; k += FC_LANES) {
            int64_t lanes = fc_round_up(fc_min(FC_LANES, to->t.rows - k), VL);
            for (int64_t t = 0; t < c->taps; t++) {
                const fc_corr_axis *a = c->axis;
                int64_t tap[FC_DIMS] = {t / a[2].taps / a[1].taps, t / a[2].taps % a[1].taps, t % a[2].taps};
                int64_t y[FC_DIMS] = {box->j0[0] + d, box->j0[1] + h, box->j0[2]};
                for (int e = 0; e < FC_DIMS; e++)
                    y[e] += a[e].off + tap[e] * a[e].offstep;
                int64_t lo = fc_max(0, -y[2]), hi = fc_min(box->j[2], c->in[2] - y[2]);
                if (y[0] < 0 || y[0] >= c->in[0] || y[1] < 0 || y[1] >= c->in[1] || hi <= lo)
                    continue;
                ptrdiff_t rows[1];
                for (int64_t q = 0; q < to->t.channels; q++) {
                    rows[0] = row_at[q * c->taps + t];
                    FN(wgrad_multiply)(to, k, q * c->taps + t, 1, 1, inputs, rows, pixel_at + i + lo, hi - lo,
                                       turned + k * box->pixels + (i + lo) * lanes);
                }
            }
        }
    }
}

/* Fills patches, turned gradient and both tables for a run of pixels of one image. */
static int64_t FN(wgrad_patches)(const FN(wgrad_state) *s, const fc_corr *c, const fc_call *call, const FN(wgrad_tile) *t,
                                 int64_t block, real *inputs, real *turned, ptrdiff_t *row_at, ptrdiff_t *pixel_at,
                                 FN(segment) *seg)
{
    const fc_array *x = &call->array[0], *gy = &call->array[1];
    int64_t n = block / s->runs, p0 = block % s->runs * s->run;
    int64_t pixels = fc_min(s->run, c->axis[0].count * c->axis[1].count * c->axis[2].count - p0);
    int linear = FN(patches_linear)(c, x);
    int64_t segments = FN(segments)(c, linear, p0, pixels, seg);
    FN(patches)(c, x, (const real *)x->data + n * x->stride[0] + (t->g * c->reds + t->c0) * x->stride[1], linear, seg, segments,
                pixels, t->channels, 0, c->taps, inputs, pixels);
    for (int64_t i = 0; i < pixels; i++)
        pixel_at[i] = i;
    for (int64_t i = 0; i < t->channels * c->taps; i++)
        row_at[i] = i * pixels;
    segments = FN(segments)(c, 0, p0, pixels, seg);
    const real *first = (const real *)gy->data + n * gy->stride[0] + (t->g * c->rows + t->k0) * gy->stride[1];
    for (int64_t i = 0; i < segments; i++)
        FN(turn_run)(first + seg[i].j[0] * gy->stride[2] + seg[i].j[1] * gy->stride[3] + seg[i].j[2] * gy->stride[4], gy,
                     seg[i].n, t->rows, seg[i].at, pixels, turned);
    return pixels;
}

/* Sums the parts of a tile in order and turns it to gw[k][c][t]. */
static void FN(wgrad_finish)(const fc_plan *plan, const fc_call *call, int64_t task, real *acc)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    FN(wgrad_tile) t;
    fc_corr c = FN(wgrad_tile_of)(&plan->problem, s, task, &t);
    for (int64_t part = 1; part < s->parts; part++)
        for (int64_t i = 0; i < s->tile; i += VL)
            FN(store)(acc + i, FN(load)(acc + i) + FN(load)(acc + part * s->tile + i));
    const fc_array *gw = &call->array[3];
    fc_weight_strides strides = {.tap = {gw->stride[2], gw->stride[3], gw->stride[4]}};
    int64_t rows = t.channels * c.taps;
    for (int64_t k = 0; k < t.rows; k += FC_LANES) {
        int64_t m = fc_min(FC_LANES, t.rows - k), lanes = fc_round_up(m, VL);
        if (s->swapped) {
            real *to = (real *)gw->data + (t.g * c.reds + t.c0) * gw->stride[0] + (t.k0 + k) * gw->stride[1];
            for (int64_t i = 0; i < rows; i++)
                FN(put_run)(to + i / c.taps * gw->stride[0] + fc_weight_tap(&c, &strides, i % c.taps), gw->stride[1],
                            acc + k * rows + i * lanes, m, 0, 0);
            continue;
        }
        FN(transpose)(acc + k * rows, lanes, rows, m,
                      (real *)gw->data + (t.g * c.rows + t.k0 + k) * gw->stride[0] + t.c0 * gw->stride[1], gw->stride[0], rows);
    }
}

static void FN(wgrad_compute)(const fc_plan *plan, fc_call *call, int64_t slice, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(wgrad_state) *s = (const void *)plan->state;
    int64_t part = task % s->parts;
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *turned = inputs + s->panel, *own = turned + s->turned;
    FN(wgrad_sums) to = {.add = 0};
    fc_corr c = FN(wgrad_tile_of)(p, s, task / s->parts, &to.t);
    FN(wgrad_operands) o = FN(wgrad_operands_of)(s, &c, call);
    to.taps = c.taps;
    to.acc = s->at_once ? own : (real *)call->workspace + task * s->tile;
    to.per_lane = to.t.channels * c.taps;
    const fc_array *gw = &call->array[3];
    int straight = s->source == FN(WGRAD_IN_PLACE) && s->at_once && s->blocks == 1 && s->swapped && gw->stride[1] == 1 &&
                   to.t.rows % VL == 0;
    if (straight) { /* what is summed once and lies in the order of gw needs no copy */
        to.acc = (real *)gw->data + (to.t.g * c.reds + to.t.c0) * gw->stride[0] + to.t.k0;
        to.per_lane = 1;
        to.pitch = gw->stride[0];
    }
    ptrdiff_t *pixel_at = (ptrdiff_t *)(own + s->at_once * s->tile), *row_at = pixel_at + s->block_pixels;
    FN(wgrad_segment) *seg = (FN(wgrad_segment) *)(row_at + s->channels * c.taps);

    int64_t b0 = FN(even_start)(s->blocks, s->parts, part), b1 = FN(even_start)(s->blocks, s->parts, part + 1);
    int64_t from = b0 + FN(even_start)(b1 - b0, s->slices, slice), end = b0 + FN(even_start)(b1 - b0, s->slices, slice + 1);
    for (int64_t b = from; b < end; b++) {
        to.add = b > b0;
        if (s->source == FN(WGRAD_IN_PLACE)) {
            FN(wgrad_block_in_place)(s, p, &c, call, &to, b, inputs, turned, row_at, pixel_at, seg);
            continue;
        }
        int64_t pixels;
        if (s->source == FN(WGRAD_PATCHES)) {
            pixels = FN(wgrad_patches)(s, &c, call, &to.t, b, inputs, turned, row_at, pixel_at, (FN(segment) *)seg);
        } else {
            fc_box box = fc_box_at(&s->boxes, &c, p->batch, b);
            pixels = box.pixels;
            if (pixels > 0)
                FN(wgrad_box)(&c, &o, &to.t, &box, inputs, turned, row_at, pixel_at);
            int inside = s->swapped && !FN(all_finite)(turned, pixels * fc_round_up(to.t.rows, VL));
            if (!to.add && (inside || pixels == 0))
                FN(fill_run)(to.acc, 0, s->tile);
            if (inside)
                FN(wgrad_box_inside)(&c, &to, &box, inputs, turned, row_at, pixel_at);
            if (inside || pixels == 0)
                continue;
        }
        for (int64_t k = 0; k < to.t.rows; k += FC_LANES)
            FN(wgrad_multiply)(&to, k, 0, to.t.channels * c.taps, 1, inputs, row_at, pixel_at, pixels, turned + k * pixels);
    }
    if (s->at_once && !straight)
        FN(wgrad_finish)(plan, call, task / s->parts, to.acc);
}

static void FN(wgrad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    if (stage < s->slices)
        FN(wgrad_compute)(plan, call, stage, task, scratch);
    else
        FN(wgrad_finish)(plan, call, task, (real *)call->workspace + task * s->parts * s->tile);
}

static const fc_algorithm FN(wgrad_direct) = {"direct", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(wgrad_direct_prepare),
                                              FN(wgrad_tasks), FN(wgrad_run)};
static const fc_algorithm FN(wgrad_im2col) = {"im2col", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(wgrad_im2col_prepare),
                                              FN(wgrad_tasks), FN(wgrad_run)};
