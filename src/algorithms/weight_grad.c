/* weight_grad.c: the weight gradient of dense and grouped convolution, result channels in the lanes.
 *
 *   gw[k][c][t] = sum over images and output pixels j of gy[k][j] * x[c][j + t]
 *
 * The same tile as the direct convolution with the parts exchanged: rows are (c, t), the sum runs over pixels, and the
 * vectors are the output gradient, transposed in registers to [pixel][lane]. "direct" broadcasts x from a padded panel;
 * "im2col" from patches of a run of pixels. A task owns a tile of gw (some result channels by some channels) in the
 * workspace and takes one part of the pixel blocks. The number of parts is fixed by the shape; a last stage sums them in
 * order, so the bits do not depend on threads. Small maps with many channels have tiles enough and one part: there a task
 * keeps its tile in scratch and writes gw itself (at 7 px writing the sums and reading them again took half the time). */

#define FC_WGRAD_PIXELS 512
#define FC_WGRAD_PANEL ((int64_t)(192 << 10) / (int64_t)sizeof(real))
#define FC_WGRAD_TILE ((int64_t)(256 << 10) / (int64_t)sizeof(real)) /* accumulators of a task, in L2 */

typedef struct {
    int use_patches;
    int swapped;                /* x and gy have changed places */
    fc_blocks boxes;            /* direct */
    int64_t run, runs;          /* im2col: pixels of a block, blocks of an image */
    int64_t blocks, block_pixels;
    int64_t parts, slices;      /* parts of the blocks; compute stages, each a slice of every part */
    int64_t lanes, k_tiles;     /* result channels of a task, padded */
    int64_t channels, c_tiles;
    int64_t tile;               /* accumulators of a task, elements */
    int64_t panel, turned;      /* scratch, elements */
    int at_once;                /* a task has all of its tile's sum, in scratch */
} FN(wgrad_state);

/* A 1x1 kernel that reads every input once treats x and gy alike. With gy in the place of x the lanes hold input channels, and
 * a tile's rows are rows of gw as they lie in memory: nothing is left to turn. */
static int FN(wgrad_swaps)(const fc_problem *p)
{
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        if (a->kernel != 1 || a->stride != 1 || a->pad != 0 || a->in != a->out)
            return 0;
    }
    return 1;
}

static fc_corr FN(wgrad_corr)(const fc_problem *p, const FN(wgrad_state) *s)
{
    fc_corr c = fc_corr_of(p, 0);
    if (s->swapped) {
        c.rows = p->in_channels;
        c.reds = p->out_channels;
    }
    return c;
}

static const char *FN(wgrad_prepare_as)(fc_plan *plan, int use_patches)
{
    const fc_problem *p = &plan->problem;
    FN(wgrad_state) *s = (void *)plan->state;
    s->use_patches = use_patches;
    s->swapped = use_patches && FN(wgrad_swaps)(p);
    fc_corr c = FN(wgrad_corr)(p, s);
    s->lanes = fc_min(fc_round_up(c.rows, VL), fc_round_up(c.taps == 1 ? 256 : 128, FC_LANES));
    s->k_tiles = fc_ceil_div(c.rows, s->lanes);
    s->lanes = fc_round_up(fc_ceil_div(c.rows, s->k_tiles), s->k_tiles > 1 ? FC_LANES : VL);
    s->k_tiles = fc_ceil_div(c.rows, s->lanes);
    s->channels = fc_max(1, fc_min(c.reds, FC_WGRAD_TILE / (s->lanes * c.taps)));
    if (!use_patches && fc_panel_channels(&c, 0) < 1)
        return FC_TOO_FAR;
    if (!use_patches)
        s->channels = fc_min(s->channels, fc_panel_channels(&c, 0));
    s->c_tiles = fc_ceil_div(c.reds, s->channels);
    s->channels = fc_ceil_div(c.reds, s->c_tiles);
    s->tile = FN(aligned)(s->lanes * s->channels * c.taps);

    int64_t most = fc_max(1, fc_min(FC_WGRAD_PIXELS, FC_TASK_WORK / (s->lanes * s->channels * c.taps)));
    if (use_patches) {
        int64_t image = c.axis[0].count * c.axis[1].count * c.axis[2].count;
        s->run = fc_max(1, fc_min(fc_min(image, most), FC_WGRAD_PANEL / (s->channels * c.taps)));
        s->runs = fc_ceil_div(image, s->run);
        s->blocks = s->runs * p->batch;
        s->block_pixels = s->run;
        s->panel = FN(aligned)(s->run * s->channels * c.taps);
    } else {
        s->boxes = fc_choose_blocks(&c, p->batch, s->channels, FC_WGRAD_PANEL, most, 0);
        s->blocks = fc_blocks_count(&s->boxes);
        s->block_pixels = s->boxes.n * s->boxes.j[0] * s->boxes.j[1] * s->boxes.j[2];
        s->panel = FN(aligned)(s->boxes.n * s->channels * fc_panel_elements(&c, s->boxes.j, 0));
    }
    s->turned = FN(aligned)(s->block_pixels * s->lanes);

    int64_t tiles = p->groups * s->k_tiles * s->c_tiles;
    double block_work = (double)s->block_pixels * (double)(s->lanes * s->channels * c.taps);
    int64_t worth = (int64_t)(block_work * (double)s->blocks / (1 << 20)) + 1; /* parts of at least a million */
    s->parts = fc_min(fc_min(s->blocks, worth), fc_ceil_div(FC_TASKS_WANTED, tiles));
    s->parts = fc_max(1, fc_min(s->parts, FC_PACKED_BYTES / (int64_t)sizeof(real) / (tiles * s->tile)));
    int64_t at_once = fc_max(1, (int64_t)(FC_TASK_WORK / block_work));
    s->slices = fc_ceil_div(fc_ceil_div(s->blocks, s->parts), at_once);

    s->at_once = s->parts == 1 && s->slices == 1;
    plan->stages = s->at_once ? 1 : s->slices + 1;
    plan->workspace = s->at_once ? 0 : tiles * s->parts * s->tile * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->turned + s->at_once * s->tile) * (int64_t)sizeof(real) +
                    (s->block_pixels + s->channels * c.taps) * (int64_t)sizeof(ptrdiff_t) +
                    s->block_pixels * (int64_t)sizeof(FN(segment));
    return NULL;
}

static const char *FN(wgrad_direct_prepare)(fc_plan *plan) { return FN(wgrad_prepare_as)(plan, 0); }
static const char *FN(wgrad_im2col_prepare)(fc_plan *plan) { return FN(wgrad_prepare_as)(plan, 1); }

static ptrdiff_t FN(wgrad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    int64_t tiles = plan->problem.groups * s->k_tiles * s->c_tiles;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage < s->slices ? tiles * s->parts : tiles;
}

typedef struct {
    int64_t g, kt, ct;
    int64_t k0, rows, c0, channels; /* within the group */
} FN(wgrad_tile);

static FN(wgrad_tile) FN(wgrad_tile_at)(const FN(wgrad_state) *s, const fc_corr *c, int64_t i)
{
    FN(wgrad_tile) t;
    t.ct = i % s->c_tiles;
    t.kt = i / s->c_tiles % s->k_tiles;
    t.g = i / s->c_tiles / s->k_tiles;
    t.k0 = t.kt * s->lanes;
    t.rows = fc_min(s->lanes, c->rows - t.k0);
    t.c0 = t.ct * s->channels;
    t.channels = fc_min(s->channels, c->reds - t.c0);
    return t;
}

/* A run of n pixels of gy, rows of `stride[4]` apart, to [block of lanes][pixel][lane]; `at` is its first pixel there. */
static void FN(turn_run)(const real *gy, const fc_array *a, int64_t n, int64_t rows, int64_t at, int64_t pixels, real *turned)
{
    for (int64_t k = 0; k < rows; k += FC_LANES) {
        int64_t m = fc_min(FC_LANES, rows - k), lanes = fc_round_up(m, VL);
        real *to = turned + k * pixels + at * lanes;
        const real *from = gy + k * a->stride[1];
        if (a->stride[4] == 1) {
            FN(transpose)(from, a->stride[1], m, n, to, lanes, lanes);
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < lanes; j++)
                to[i * lanes + j] = j < m ? from[j * a->stride[1] + i * a->stride[4]] : 0;
    }
}

/* Fills panel, turned gradient and both tables for a box. */
static int64_t FN(wgrad_box)(const FN(wgrad_state) *s, const fc_problem *p, const fc_corr *c, const fc_call *call,
                             const FN(wgrad_tile) *t, int64_t block, real *inputs, real *turned, ptrdiff_t *row_at,
                             ptrdiff_t *pixel_at)
{
    const fc_array *x = &call->array[0], *gy = &call->array[1];
    fc_box box = fc_box_at(&s->boxes, c, p->batch, block);
    fc_panel panel = fc_panel_of(c, box.j0, box.j, t->channels, 0);
    FN(panel_fill)(&panel, c, x, box.n0, box.n, t->g * c->reds + t->c0, 0, inputs);
    fc_pixel_table(&panel, &box, pixel_at);
    fc_tap_table(&panel, c, t->channels, row_at);
    const real *first = (const real *)gy->data + (t->g * c->rows + t->k0) * gy->stride[1];
    int dense = gy->stride[3] == box.j[2] * gy->stride[4];
    int64_t run = dense ? box.j[1] * box.j[2] : box.j[2], at = 0;
    for (int64_t n = 0; n < box.n; n++)
        for (int64_t d = 0; d < box.j[0]; d++)
            for (int64_t h = 0; h < (dense ? 1 : box.j[1]); h++, at += run)
                FN(turn_run)(first + (box.n0 + n) * gy->stride[0] + (box.j0[0] + d) * gy->stride[2] +
                                 (box.j0[1] + h) * gy->stride[3] + box.j0[2] * gy->stride[4],
                             gy, run, t->rows, at, box.pixels, turned);
    return box.pixels;
}

/* The same for a run of pixels of one image, with patches. */
static int64_t FN(wgrad_patches)(const FN(wgrad_state) *s, const fc_corr *c, const fc_call *call, const FN(wgrad_tile) *t,
                                 int64_t block, real *inputs, real *turned, ptrdiff_t *row_at, ptrdiff_t *pixel_at,
                                 FN(segment) *seg)
{
    const fc_array *x = &call->array[s->swapped ? 1 : 0], *gy = &call->array[s->swapped ? 0 : 1];
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
    fc_corr c = FN(wgrad_corr)(&plan->problem, s);
    FN(wgrad_tile) t = FN(wgrad_tile_at)(s, &c, task);
    for (int64_t part = 1; part < s->parts; part++)
        for (int64_t i = 0; i < s->tile; i += VL)
            FN(store)(acc + i, FN(load)(acc + i) + FN(load)(acc + part * s->tile + i));
    const fc_array *gw = &call->array[3];
    int64_t rows = t.channels * c.taps;
    for (int64_t k = 0; k < t.rows; k += FC_LANES) {
        int64_t m = fc_min(FC_LANES, t.rows - k), lanes = fc_round_up(m, VL);
        if (s->swapped) {
            real *to = (real *)gw->data + (t.g * c.reds + t.c0) * gw->stride[0] + (t.k0 + k) * gw->stride[1];
            for (int64_t i = 0; i < rows; i++)
                FN(put_run)(to + i * gw->stride[0], gw->stride[1], acc + k * rows + i * lanes, m, 0, 0);
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
    fc_corr c = FN(wgrad_corr)(p, s);
    int64_t part = task % s->parts;
    FN(wgrad_tile) t = FN(wgrad_tile_at)(s, &c, task / s->parts);
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *turned = inputs + s->panel, *own = turned + s->turned;
    real *acc = s->at_once ? own : (real *)call->workspace + task * s->tile;
    ptrdiff_t *pixel_at = (ptrdiff_t *)(own + s->at_once * s->tile), *row_at = pixel_at + s->block_pixels;
    FN(segment) *seg = (FN(segment) *)(row_at + s->channels * c.taps);

    int64_t b0 = FN(even_start)(s->blocks, s->parts, part), b1 = FN(even_start)(s->blocks, s->parts, part + 1);
    int64_t from = b0 + FN(even_start)(b1 - b0, s->slices, slice), to = b0 + FN(even_start)(b1 - b0, s->slices, slice + 1);
    int64_t rows = t.channels * c.taps, tiles = fc_ceil_div(rows, FC_ROWS_MAX);
    for (int64_t b = from; b < to; b++) {
        int64_t pixels = s->use_patches ? FN(wgrad_patches)(s, &c, call, &t, b, inputs, turned, row_at, pixel_at, seg)
                                        : FN(wgrad_box)(s, p, &c, call, &t, b, inputs, turned, row_at, pixel_at);
        for (int64_t k = 0; k < t.rows; k += FC_LANES) {
            int64_t lanes = fc_round_up(fc_min(FC_LANES, t.rows - k), VL);
            for (int64_t i = 0; i < tiles; i++) {
                int64_t q0 = FN(even_start)(rows, tiles, i), m = FN(even_start)(rows, tiles, i + 1) - q0;
                FN(fma_rows)((int)m, (int)(lanes / VL), inputs, row_at + q0, pixel_at, pixels, turned + k * pixels, lanes,
                             (FN(dest)){acc + k * rows + q0 * lanes, lanes, b > b0});
            }
        }
    }
    if (s->at_once)
        FN(wgrad_finish)(plan, call, task, acc);
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
