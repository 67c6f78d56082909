/* conv_direct.c: convolution and its input gradient without a patch matrix: result channels in the lanes.
 *
 *   y[k][j] = sum_(c,t) w[k][c][t] * x[c][j + t]
 *
 * A task takes a box of output pixels and some blocks of result channels (a block fills FC_ROWS_NV vectors). The box's
 * inputs are copied with their padding into a panel [n][c][h][w]; from there fma_rows broadcasts pixel by pixel, so
 * stride and dilation are only offsets. Weights are packed [block][c][t][lane]: by a stage of their own, or, where only a
 * box or two use them, chunk by chunk just before their use, so that they are read once and never written back. Sums are
 * cut into chunks of whole channels, about FC_DIRECT_CHUNK terms, added in order: the error stays that of short
 * sums and the chunk's weights stay in L1. The finished block [pixel][lane] is transposed in registers on its way out.
 *
 * A box of few pixels reads all weights for little. So where small maps have too many channels for a panel in L2,
 * boxes are made large all the same: where no padding is read, the input stays where it lies; else its panels are filled
 * by the stage before, once for all tasks, and come from L3.
 *
 * Taps that see padding alone are left out where they are many (direct_inside.h).
 *
 * Input gradients with a stride go to conv_phases.c, but for unusual ones.
 *
 * Reductions too long for one task (or for FC_PACKED_BYTES of packed weights) go on in later stages: a pair of stages,
 * prepare and compute, for each block of summed channels. */

#define FC_DIRECT_PIXELS 512
#define FC_DIRECT_LEAST 64 /* pixels of a box, where the image has them */
#define FC_DIRECT_ENOUGH 192 /* pixels for which reading a block's weights from L3 costs little */
#define FC_DIRECT_PANEL ((int64_t)(384 << 10) / (int64_t)sizeof(real)) /* elements: a third of a 1 MB L2 */
#define FC_DIRECT_SHARED ((int64_t)(16 << 20) / (int64_t)sizeof(real)) /* all panels filled beforehand */
#define FC_DIRECT_PLANE ((int64_t)(4 << 10) / (int64_t)sizeof(real)) /* of one channel read in place: a page */

#include "direct_inside.h"
#include "direct_block.h"

typedef struct {
    int by_phases;
    fc_blocks blocks;
    int64_t phases, boxes, row_blocks, splits; /* a task: one box, 1/splits of the row blocks */
    int64_t rows_padded;
    int64_t reds, red_blocks;      /* summed channels at a time */
    int64_t phase_weights;         /* elements of packed weights of a phase and group, one red block */
    int64_t packed;                /* elements of one red block */
    int64_t panel, buffer, chunk;  /* elements of scratch; with `shared`, of a panel in the workspace */
    int64_t table;                 /* entries of the tap table */
    int has_fill;
    int in_place, shared, fused;   /* inputs are read where they lie; panels are filled, weights packed by another stage or task */
    int64_t cuts;                  /* tiles of a row, at most, that leave taps out; 0: none does */
    int64_t channels;              /* of a chunk; 0: a piece of one channel's taps */
} FN(direct_state);

/* Whether the input can be read where it lies: all of it is used, no output reads padding, and channels are less than pages
 * apart, so that the prefetchers follow. */
static int FN(direct_in_place)(const fc_corr *c)
{
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_corr_axis *a = &c->axis[d];
        if ((a->xstep > 1 && a->count > 1) || a->off < 0 || (a->count - 1) * a->xstep + a->off + (a->taps - 1) * a->offstep >= c->in[d])
            return 0;
    }
    return c->in[0] * c->in[1] * c->in[2] <= FC_DIRECT_PLANE;
}

/* Elements of all panels, of boxes that are alike. */
static double FN(direct_panels)(const FN(direct_state) *s, const fc_problem *p, const fc_corr *c, const fc_blocks *b)
{
    return (double)(p->groups * s->phases * fc_blocks_count(b) * b->n * s->reds) * (double)fc_panel_elements(c, b->j, 0);
}

/* Whether taps in the padding are left out: with the boxes there are, or with others that have several images. */
static void FN(direct_inside)(FN(direct_state) *s, const fc_problem *p, const fc_corr *c, int64_t budget)
{
    s->cuts = s->channels = 0;
    if (s->in_place || s->phases > 1 || c->taps > FC_INSIDE_TERMS)
        return;
    for (int d = 0; d < FC_DIMS; d++)
        if (c->axis[d].count > FC_INSIDE_MOST)
            return;
    int64_t channels = fc_min(s->reds, FC_INSIDE_TERMS / c->taps);
    double least = FC_INSIDE_GAIN * fc_all_taps_cost(c, &s->blocks, channels);
    fc_blocks b = s->blocks;
    for (int64_t images = 1; images <= fc_min(p->batch, FC_INSIDE_IMAGES); images *= 2) {
        if (images > 1) {
            b = fc_choose_blocks(c, 1, s->reds * images, budget, FC_DIRECT_PIXELS / images, 0);
            b.count_n = fc_ceil_div(p->batch, images);
            b.n = fc_ceil_div(p->batch, b.count_n);
            if (2 * b.n * b.j[0] * b.j[1] * b.j[2] < FC_DIRECT_ENOUGH ||
                (s->shared && FN(direct_panels)(s, p, c, &b) > (double)FC_DIRECT_SHARED))
                continue;
        }
        double cost = fc_inside_cost(c, &b, channels);
        if (images > 1)
            cost += fc_together_cost(c, &b, channels) * (double)FC_LANES / (double)s->rows_padded;
        if (cost < least) {
            least = cost;
            s->blocks = b;
            s->cuts = b.n * b.j[2];
            s->channels = channels;
        }
    }
}

/* Boxes of pixels, and where their inputs come from. */
static void FN(direct_blocks)(FN(direct_state) *s, const fc_problem *p, const fc_corr *c, int64_t budget)
{
    s->in_place = 1;
    for (int64_t e = 0; e < s->phases && s->in_place; e++) {
        fc_corr phase = fc_corr_of(p, e);
        s->in_place = FN(direct_in_place)(&phase);
    }
    s->blocks = fc_choose_blocks(c, p->batch, s->reds, budget, FC_DIRECT_PIXELS, 0);
    if (s->in_place || s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2] < FC_DIRECT_ENOUGH) {
        fc_blocks large = fc_choose_blocks(c, p->batch, 1, FC_DIRECT_PANEL, FC_DIRECT_PIXELS, 0);
        s->shared = !s->in_place && FN(direct_panels)(s, p, c, &large) <= (double)FC_DIRECT_SHARED;
        if (s->in_place || s->shared)
            s->blocks = large;
    }
    FN(direct_inside)(s, p, c, s->shared ? FC_DIRECT_PANEL * s->reds : budget);
    s->boxes = fc_blocks_count(&s->blocks);
}

static const char *FN(direct_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(direct_state) *s = (void *)plan->state;
    fc_corr c = FN(largest_phase)(p);
    if (FN(phases_prepare)(plan))
        return NULL;
    s->by_phases = 0;
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

    FN(direct_blocks)(s, p, &c, fc_max(FC_DIRECT_PANEL, fc_min(FC_PANEL_MOST, s->reds * fc_panel_elements(&c, least, 0))));
    int64_t pixels = s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2];
    double work = (double)pixels * (double)c.rows * (double)s->reds * (double)c.taps;
    int64_t units = p->groups * s->phases * s->boxes;
    int64_t for_time = (int64_t)(work / FC_TASK_WORK) + 1;
    s->splits = fc_min(s->row_blocks, fc_max(for_time, fc_ceil_div(FC_TASKS_WANTED, units)));

    s->fused = s->boxes <= FC_DIRECT_FUSED && c.taps <= 2 * FC_DIRECT_CHUNK;
    int64_t terms = fc_max(s->channels ? s->channels * c.taps : FC_DIRECT_CHUNK, c.taps);
    s->chunk = s->fused ? terms * FC_LANES : 0;
    s->panel = s->in_place ? 0 : FN(aligned)(s->blocks.n * s->reds * fc_panel_elements(&c, s->blocks.j, 0));
    s->buffer = FN(aligned)(pixels * FC_LANES);
    s->table = (s->cuts ? 2 : 1) * terms;
    plan->stages = s->has_fill + 2 * s->red_blocks;
    plan->workspace_packed = (s->shared ? units * s->panel : 0) * (int64_t)sizeof(real);
    plan->workspace = (s->fused ? 0 : s->packed) * (int64_t)sizeof(real) + plan->workspace_packed;
    plan->packed = s->packed * s->red_blocks * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD +
                    ((s->shared ? 0 : s->panel) + 2 * s->buffer + s->chunk) * (int64_t)sizeof(real) +
                    (pixels + s->table) * (int64_t)sizeof(ptrdiff_t) + s->cuts * (int64_t)sizeof(fc_cut);
    return NULL;
}

/* Tasks of a stage before a computing one: weights to pack, then panels to fill, in portions of FC_DIRECT_PORTION channels. */
#define FC_DIRECT_PORTION 32
static int64_t FN(direct_packs)(const fc_problem *p, const FN(direct_state) *s, fc_mode mode)
{
    return mode == FC_RUN_PACKED || (mode == FC_RUN && s->fused) ? 0 : p->groups * s->phases * s->row_blocks;
}

static ptrdiff_t FN(direct_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
    if (s->by_phases)
        return FN(phases_tasks)(plan, mode, stage, grain);
    *grain = 1;
    if (s->has_fill && stage-- == 0) {
        *grain = 8;
        return mode == FC_PACK ? 0 : p->batch * p->groups * (p->op == FC_CONV ? p->out_channels : p->in_channels);
    }
    int64_t units = p->groups * s->phases * s->boxes;
    if (stage % 2 == 0)
        return FN(direct_packs)(p, s, mode) +
               (s->shared && mode != FC_PACK ? units * fc_ceil_div(s->reds, FC_DIRECT_PORTION) : 0);
    *grain = s->splits <= 4 && !s->in_place && !s->shared ? s->splits : 1; /* the splits of a box share its panel */
    return mode == FC_PACK ? 0 : units * s->splits;
}

/* Pixels of a box that follow one another in y: a row, and all rows of whole rows. */
static int64_t FN(direct_run_of)(const fc_box *box, const FN(result) *r)
{
    int64_t run = box->j[2], d = FC_DIMS - 2;
    while (d >= 0 && r->step[2] == 1 && (box->j[d] == 1 || r->step[d] == run)) {
        run *= box->j[d];
        d--;
    }
    return d < 0 && r->image == run ? box->pixels : run;
}

/* Results of a block, in `buf` [n][pixel][lane], or [pixel][n][lane] with images `inside`, into y. Bias is added by the first
 * red block, later ones add their sums. */
static void FN(direct_store)(const fc_box *box, const FN(result) *r, const real *bias, ptrdiff_t bias_stride, int inside,
                             real *buf, real *turned, int64_t lanes, int64_t rows, int add)
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
    int64_t run = FN(direct_run_of)(box, r), image = pixels / box->n; /* a run of all images: one result channel in all */
    ptrdiff_t next_pixel = inside ? box->n * lanes : lanes, next_image = inside ? lanes : image * lanes;
    if (r->step[2] == 1 && !add && (run <= image || !inside)) {
        for (int64_t i = 0; i < pixels; i += run) {
            int64_t n = i / image, q = i % image, h = q / box->j[2] % box->j[1], d = q / (box->j[1] * box->j[2]);
            FN(transpose)(buf + n * next_image + q * next_pixel, next_pixel, run, rows,
                          r->y + n * r->image + d * r->step[0] + h * r->step[1], r->channel, run);
        }
        return;
    }
    for (int64_t n = 0; n < box->n; n++)
        FN(transpose)(buf + n * next_image, next_pixel, image, rows, turned + n * image, pixels, image);
    for (int64_t k = 0; k < rows; k++) {
        const real *src = turned + k * pixels;
        for (int64_t n = 0; n < box->n; n++)
            for (int64_t e = 0; e < box->j[0]; e++)
                for (int64_t h = 0; h < box->j[1]; h++, src += box->j[2])
                    FN(put_run)(r->y + k * r->channel + n * r->image + e * r->step[0] + h * r->step[1], r->step[2], src,
                                box->j[2], 0, add);
    }
}

static void FN(direct_rectify)(const fc_problem *p, const fc_box *box, const FN(result) *r, int64_t rows)
{
    int64_t run = FN(direct_run_of)(box, r);
    for (int64_t k = 0; p->flags & FC_RECTIFY && k < rows; k++)
        for (int64_t i = 0; i < box->pixels; i += run) {
            int64_t q = i / box->j[2], at = q % box->j[1] * r->step[1] + q / box->j[1] % box->j[0] * r->step[0];
            FN(rectify_run)(p, r->y + k * r->channel + q / (box->j[1] * box->j[0]) * r->image + at, r->step[2], run);
        }
}

/* Offsets into the input itself: of a box's pixels, and of the taps of some channels. */
static void FN(direct_tables)(const fc_corr *c, const fc_box *box, const fc_array *x, int64_t channels, ptrdiff_t *pixel_at,
                              ptrdiff_t *tap_at)
{
    const fc_corr_axis *a = c->axis;
    ptrdiff_t step[FC_DIMS], tap[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++) {
        step[d] = a[d].xstep * x->stride[2 + d];
        tap[d] = a[d].offstep * x->stride[2 + d];
    }
    for (int64_t n = 0; n < box->n; n++)
        for (int64_t d = 0; d < box->j[0]; d++)
            for (int64_t h = 0; h < box->j[1]; h++)
                for (int64_t w = 0; w < box->j[2]; w++)
                    *pixel_at++ = n * x->stride[0] + d * step[0] + h * step[1] + w * step[2];
    for (int64_t r = 0; r < channels; r++)
        for (int64_t d = 0; d < a[0].taps; d++)
            for (int64_t h = 0; h < a[1].taps; h++)
                for (int64_t w = 0; w < a[2].taps; w++)
                    *tap_at++ = r * x->stride[1] + d * tap[0] + h * tap[1] + w * tap[2];
}

/* A task's place: group, phase and box. */
typedef struct {
    int64_t unit, g;
    int64_t phase;
    fc_corr c;
    fc_box box;
    fc_panel panel;
    int64_t r0, reds; /* summed channels of the stage */
} FN(direct_unit);

static FN(direct_unit) FN(direct_unit_at)(const fc_problem *p, const FN(direct_state) *s, int64_t red_block, int64_t unit)
{
    FN(direct_unit) u;
    u.unit = unit;
    u.g = unit / s->boxes / s->phases;
    u.phase = unit / s->boxes % s->phases;
    u.c = fc_corr_of(p, u.phase);
    u.box = fc_box_at(&s->blocks, &u.c, p->batch, unit % s->boxes);
    u.r0 = red_block * s->reds;
    u.reds = fc_min(s->reds, u.c.reds - u.r0);
    u.panel = fc_panel_of(&u.c, u.box.j0, u.box.j, u.reds, 0);
    if (s->cuts)
        u.panel = fc_panel_together(u.panel, u.box.n);
    return u;
}

/* What a thread's scratch holds, in its head: the panel of a unit (+ 1), and tables, which serve the same box of other groups and
 * images: cutting rows into tiles took a tenth of the time of groups of 16 channels at 7 px. */
typedef struct {
    int64_t unit, box, images, cuts;
} FN(direct_noted);

/* The tap table of a chunk of `channels`, [t][c]. */
static void FN(direct_chunk_table)(const FN(direct_unit) *u, int64_t channels, ptrdiff_t *at)
{
    const fc_corr_axis *a = u->c.axis;
    for (int64_t d = 0; d < a[0].taps; d++)
        for (int64_t h = 0; h < a[1].taps; h++)
            for (int64_t w = 0; w < a[2].taps; w++)
                for (int64_t r = 0; r < channels; r++)
                    *at++ = fc_panel_offset(&u->panel, d * a[0].offstep, h * a[1].offstep, w * a[2].offstep) + r * u->panel.plane;
}

/* The tables of a box whose tiles leave out taps: pixels, taps of a chunk and of the last one, cuts. */
static void FN(direct_inside_tables)(const FN(direct_state) *s, const FN(direct_unit) *u, int fresh, int64_t *cuts,
                                     ptrdiff_t *pixel_at, ptrdiff_t *tap_at, FN(direct_feed) *feed)
{
    const fc_box *box = &u->box;
    ptrdiff_t *last_tap_at = tap_at + s->channels * u->c.taps;
    fc_cut *cut = (fc_cut *)(pixel_at + s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2]);
    if (fresh) {
        fc_pixel_table(&u->panel, box, pixel_at);
        FN(direct_chunk_table)(u, s->channels, tap_at);
        FN(direct_chunk_table)(u, u->reds % s->channels, last_tap_at);
        fc_cut_row(&u->c, box->j0[2], box->j[2], box->n, s->channels, cut, cuts);
    }
    feed->channels = s->channels;
    feed->last_tap_at = last_tap_at;
    feed->box = box;
    feed->cut = cut;
    feed->cuts = *cuts;
}

/* Some channels of a unit's panel, from channel c0 of its group on. */
static void FN(direct_fill)(const fc_panel *panel, const FN(direct_unit) *u, const fc_array *x, int64_t c0, real *dst)
{
    int64_t first = u->g * u->c.reds + c0;
    if (panel->together > 1) {
        FN(panel_fill_together)(panel, &u->c, x, u->box.n0, first, dst);
        return;
    }
    for (int64_t n = 0; n < u->box.n; n++)
        FN(panel_fill)(panel, &u->c, x, u->box.n0 + n, 1, first, 0, dst + n * u->reds * panel->plane);
}

/* Where a task's inputs lie, and the tables to read them. `inputs` is the scratch's panel; its head tells what it holds. */
static FN(direct_feed) FN(direct_inputs)(const FN(direct_state) *s, const FN(direct_unit) *u, const fc_call *call,
                                         FN(direct_noted) *noted, real *inputs, ptrdiff_t *pixel_at, ptrdiff_t *tap_at)
{
    const fc_array *x = &call->array[0];
    FN(direct_feed) feed = {.inputs = inputs, .channel = u->panel.plane, .image = u->reds * u->panel.plane,
                            .pixel_at = pixel_at, .tap_at = tap_at};
    int64_t channels = fc_max(1, fc_min(u->reds, FC_DIRECT_CHUNK / u->c.taps));
    int64_t spatial = s->boxes / s->blocks.count_n, box = u->unit % s->boxes % spatial + u->phase * spatial;
    int filled = noted->unit == u->unit + 1, fresh = noted->box != box + 1 || noted->images != u->box.n;
    *noted = (FN(direct_noted)){u->unit + 1, box + 1, u->box.n, noted->cuts};
    if (s->in_place) {
        feed.inputs = (const real *)x->data + u->box.n0 * x->stride[0] + (u->g * u->c.reds + u->r0) * x->stride[1];
        for (int d = 0; d < FC_DIMS; d++)
            feed.inputs += (u->box.j0[d] * u->c.axis[d].xstep + u->c.axis[d].off) * x->stride[2 + d];
        feed.channel = x->stride[1];
        feed.image = x->stride[0];
        feed.images = u->box.n;
        if (fresh)
            FN(direct_tables)(&u->c, &u->box, x, channels, pixel_at, tap_at);
        return feed;
    }
    if (s->shared) {
        feed.images = u->box.n / u->panel.together;
        feed.inputs = (const real *)call->workspace + (s->fused || call->mode != FC_RUN ? 0 : s->packed) + u->unit * s->panel;
    } else if (!filled) {
        FN(direct_fill)(&u->panel, u, x, u->r0, inputs);
    }
    if (s->cuts) {
        FN(direct_inside_tables)(s, u, fresh, &noted->cuts, pixel_at, tap_at, &feed);
    } else if (fresh) {
        fc_pixel_table(&u->panel, &u->box, pixel_at);
        fc_tap_table(&u->panel, &u->c, channels, tap_at);
    }
    return feed;
}

static void FN(direct_compute)(const fc_plan *plan, fc_call *call, int64_t red_block, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
    FN(direct_unit) u = FN(direct_unit_at)(p, s, red_block, task / s->splits);
    if (u.box.pixels == 0)
        return;
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *buf = inputs + (s->shared ? 0 : s->panel);
    real *turned = buf + s->buffer, *chunk = turned + s->buffer;
    ptrdiff_t *tap_at = (ptrdiff_t *)(chunk + s->chunk), *pixel_at = tap_at + s->table;
    FN(direct_feed) feed = FN(direct_inputs)(s, &u, call, (FN(direct_noted) *)scratch, inputs, pixel_at, tap_at);

    const fc_array *w = &call->array[1], *b = &call->array[2];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    const real *packed = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    if (call->mode == FC_RUN_PACKED)
        packed += red_block * s->packed;
    packed += (u.g * s->phases + u.phase) * s->phase_weights;
    if (s->fused && call->mode == FC_RUN) {
        packed = (const real *)w->data + u.g * p->out_channels * w->stride[0] + u.r0 * ws.red;
        feed.strides = &ws;
        feed.chunk = chunk;
    }

    int64_t split = task % s->splits, kb1 = FN(even_start)(s->row_blocks, s->splits, split + 1);
    for (int64_t kb = FN(even_start)(s->row_blocks, s->splits, split); kb < kb1; kb++) {
        int64_t k0 = kb * FC_LANES, rows = fc_min(FC_LANES, u.c.rows - k0), channel = u.g * u.c.rows + k0;
        feed.weights = packed + k0 * (feed.chunk ? ws.row : u.reds * u.c.taps);
        FN(result) r = FN(result_of)(&u.c, &call->array[3], &u.box, channel);
        feed.to = FN(direct_run_of)(&u.box, &r) == u.box.pixels && u.box.n == 1 ? &r : NULL;
        FN(direct_block)(&u.c, &feed, u.box.pixels, u.reds, rows, buf);
        const real *bias = b->data && red_block == 0 ? (const real *)b->data + channel * b->stride[0] : NULL;
        FN(direct_store)(&u.box, &r, bias, b->stride[0], s->cuts > 0, buf, turned, fc_round_up(rows, VL), rows, red_block > 0);
        if (red_block == s->red_blocks - 1)
            FN(direct_rectify)(p, &u.box, &r, rows);
    }
}

/* One block of packed weights of a stage. */
static void FN(direct_pack_task)(const fc_plan *plan, fc_call *call, int64_t red_block, int64_t task)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
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
    to += (g * s->phases + phase) * s->phase_weights + k0 * reds * c.taps;
    for (int64_t r = 0, chunk = s->cuts ? s->channels : reds; r < reds; r += chunk)
        FN(direct_pack_chunk)(&c, &ws, from + r * ws.red, fc_min(chunk, reds - r), rows, s->cuts > 0,
                              to + r * c.taps * fc_round_up(rows, VL));
}

/* Some channels of a shared panel. */
static void FN(direct_fill_task)(const fc_plan *plan, fc_call *call, int64_t red_block, int64_t task)
{
    const FN(direct_state) *s = (const void *)plan->state;
    int64_t portions = fc_ceil_div(s->reds, FC_DIRECT_PORTION), first = task % portions * FC_DIRECT_PORTION;
    FN(direct_unit) u = FN(direct_unit_at)(&plan->problem, s, red_block, task / portions);
    if (u.box.pixels == 0 || first >= u.reds)
        return;
    real *to = (real *)call->workspace + (s->fused || call->mode != FC_RUN ? 0 : s->packed) + u.unit * s->panel;
    fc_panel portion = u.panel;
    portion.channels = fc_min(FC_DIRECT_PORTION, u.reds - first);
    FN(direct_fill)(&portion, &u, &call->array[0], u.r0 + first, to + first * u.panel.plane);
}

static void FN(direct_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(direct_state) *s = (const void *)plan->state;
    if (s->by_phases) {
        FN(phases_run)(plan, call, stage, task, scratch);
        return;
    }
    if (s->has_fill && stage-- == 0) {
        fc_corr c = fc_corr_of(p, 0);
        FN(fill_bias)(p, &c, call, task);
        return;
    }
    int64_t red_block = stage / 2, packs = FN(direct_packs)(p, s, call->mode);
    if (stage % 2)
        FN(direct_compute)(plan, call, red_block, task, scratch);
    else if (task < packs)
        FN(direct_pack_task)(plan, call, red_block, task);
    else
        FN(direct_fill_task)(plan, call, red_block, task - packs);
}

static const fc_algorithm FN(direct) = {"direct", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD,
                                        FN(direct_prepare), FN(direct_tasks), FN(direct_run)};
