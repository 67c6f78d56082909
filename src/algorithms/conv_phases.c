/* conv_phases.c: the input gradient of a strided convolution (so a transposed convolution), all phases at once.
 *
 * With stride s, results of one residue modulo s are a stride-1 correlation, a phase (geometry.h). All phases of a
 * box read the same output gradients, and together their results fill whole rows. So one task computes them all: it
 * copies the gradients into one panel that covers what any phase reads, goes through the sum in chunks with fma_rows
 * (result channels in the lanes, see conv_direct.c) into sums in which the phases alternate as they do in a row of
 * results, so that one transpose writes it; residues that no tap reaches are zero there. Every weight is used in one
 * phase only: they are packed all together, for each chunk [block][c][t][lane], straight to their places where each
 * phase has a block of its own, else from a transpose of the whole kernel.
 *
 * Few result channels (first layers, at any stride) would leave lanes empty: there pixels are in the lanes (phases_flat.h). */

#define FC_PHASES_MOST 64   /* of the product of the strides */
#define FC_PHASES_TAPS 1024 /* of the kernel */
#define FC_PHASES_BOX 256   /* pixels of a phase in a box */
#define FC_PHASES_FLAT 2048 /* and with pixels in the lanes */
#define FC_PHASES_PANEL ((int64_t)(384 << 10) / (int64_t)sizeof(real)) /* elements: a third of a 1 MB L2 */
#define FC_PHASES_LARGE ((int64_t)(4 << 20) / (int64_t)sizeof(real))   /* in L3, for boxes of pixels enough to use the weights */
#define FC_PHASES_ENOUGH 128
#define FC_PHASES_AHEAD 8   /* summed channels between asking for weights and packing them */

#ifndef FC_PHASE_BLOCKS
#define FC_PHASE_BLOCKS
/* Blocks of lanes, and what they compute. A tap is a position in the panel; those of a block follow one another in `at`. */
typedef struct {
    int64_t phases, blocks, taps, most;   /* taps of all blocks, and of the one with most */
    struct {
        int64_t first, phases, lanes;     /* its phases; phases x rows, in whole vectors unless pixels are in the lanes */
        int64_t taps, tap_from;
        int64_t before;                   /* elements of packed weights of the blocks before, for one summed channel */
    } block[FC_PHASES_MOST];
    int64_t weights;                      /* and of all blocks */
    ptrdiff_t at[FC_PHASES_TAPS];
    /* Kernel elements phase by phase: their number in the kernel, and which of the block's taps they are. */
    int64_t element_from[FC_PHASES_MOST + 1], element[FC_PHASES_TAPS], tap[FC_PHASES_TAPS];
} fc_phase_blocks;
#endif

typedef struct {
    int by_phases; /* 1, where the state of conv_direct.c has 0 */
    fc_blocks blocks;
    int64_t boxes, splits, row_blocks;
    int64_t per_block;                    /* phases that share a block; 0: one, with channels in the lanes */
    int64_t chunk;                        /* summed channels of a chunk */
    int64_t row_weights, packed;          /* elements of packed weights: of a row block, of all */
    int64_t panel, sums, table, turned;   /* elements of scratch */
    int fused;
} FN(phases_state);

/* A correlation over all that any phase reads: its taps are all positions between the first and the last. */
static fc_corr FN(phases_union)(const fc_problem *p)
{
    fc_corr u = fc_corr_of(p, 0);
    u.taps = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        int64_t first = INT64_MAX, last = INT64_MIN;
        for (int64_t e = 0; e < fc_phases(a); e++) {
            fc_corr_axis c = fc_phase_axis(a, e);
            first = fc_min(first, c.off);
            last = fc_max(last, c.off + (c.taps - 1) * c.offstep);
        }
        u.axis[d].count = fc_ceil_div(a->in, a->stride);
        u.axis[d].off = first;
        u.axis[d].offstep = 1;
        u.axis[d].taps = last - first + 1;
    }
    return u;
}

/* One phase into a block: its kernel elements, and positions that no phase of the block has had. */
static void FN(phases_add)(const fc_problem *p, const fc_corr *u, const fc_panel *panel, int64_t e, int64_t i,
                           fc_phase_blocks *b)
{
    fc_corr c = fc_corr_of(p, e);
    const fc_corr_axis *a = c.axis;
    ptrdiff_t *at = b->at + b->block[i].tap_from;
    for (int64_t t = 0; t < c.taps; t++) {
        int64_t k[FC_DIMS] = {t / a[2].taps / a[1].taps, t / a[2].taps % a[1].taps, t % a[2].taps}, place[FC_DIMS];
        int64_t element = 0, j = 0;
        for (int d = 0; d < FC_DIMS; d++) {
            place[d] = a[d].off + k[d] * a[d].offstep - u->axis[d].off;
            element = element * p->axis[d].kernel + a[d].w0 + k[d] * a[d].wstep;
        }
        ptrdiff_t offset = fc_panel_offset(panel, place[0], place[1], place[2]);
        while (j < b->block[i].taps && at[j] != offset)
            j++;
        if (j == b->block[i].taps)
            at[b->block[i].taps++] = offset;
        b->element[b->element_from[e] + t] = element;
        b->tap[b->element_from[e] + t] = j;
    }
    b->element_from[e + 1] = b->element_from[e] + c.taps;
}

/* The blocks of `rows` result channels, of which each takes `per_block` phases. */
static void FN(phases_blocks)(const fc_problem *p, const fc_corr *u, const fc_panel *panel, int64_t rows,
                              int64_t per_block,
                              fc_phase_blocks *b)
{
    b->phases = fc_corr_phases(p);
    b->blocks = fc_ceil_div(b->phases, fc_max(1, per_block));
    b->taps = b->most = b->weights = b->element_from[0] = 0;
    for (int64_t i = 0; i < b->blocks; i++) {
        int64_t first = FN(even_start)(b->phases, b->blocks, i), end = FN(even_start)(b->phases, b->blocks, i + 1);
        b->block[i].first = first;
        b->block[i].phases = end - first;
        b->block[i].lanes = per_block ? (end - first) * rows : fc_round_up(rows, VL);
        b->block[i].taps = 0;
        b->block[i].tap_from = b->taps;
        b->block[i].before = b->weights;
        for (int64_t e = first; e < end; e++)
            FN(phases_add)(p, u, panel, e, i, b);
        b->taps += b->block[i].taps;
        b->most = fc_max(b->most, b->block[i].taps);
        b->weights += b->block[i].taps * b->block[i].lanes;
    }
}

/* Result channels of a row block: as many as fill the lanes. */
static inline int64_t FN(phases_rows)(const fc_corr *u, int64_t kb) { return fc_min(FC_LANES, u->rows - kb * FC_LANES); }

/* Boxes whose panels fit in L2; or larger ones, where these have too few pixels to use the weights that they read. */
static void FN(phases_boxes)(FN(phases_state) *s, const fc_problem *p, const fc_corr *u)
{
    int64_t most = s->per_block ? FC_PHASES_FLAT : FC_PHASES_BOX;
    s->blocks = fc_choose_blocks(u, p->batch, u->reds, s->per_block ? 2 * FC_PHASES_PANEL : FC_PHASES_PANEL, most, 0);
    if (s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2] < FC_PHASES_ENOUGH)
        s->blocks = fc_choose_blocks(u, p->batch, u->reds, FC_PHASES_LARGE, most, 0);
    s->boxes = fc_blocks_count(&s->blocks);
}

/* Elements from a phase's channel to the next in `turned`, pixels in the lanes: flat runs with their gaps. */
static int64_t FN(phases_pitch)(const fc_box *box, const fc_panel *panel)
{
    return box->n * box->j[0] * ((box->j[1] - 1) * panel->row + box->j[2] + FC_TAPS_NV * VL);
}

/* Whether this is done here at all: input gradients with a stride or of few channels, and ordinary kernels. Fills the state. */
static int FN(phases_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(phases_state) *s = (void *)plan->state;
    double strides = 1, kernel = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        strides *= (double)p->axis[d].stride;
        kernel *= (double)p->axis[d].kernel;
    }
    if (p->op != FC_CONV_INPUT_GRAD || strides > FC_PHASES_MOST || kernel > FC_PHASES_TAPS)
        return 0;
    fc_corr u = FN(phases_union)(p);
    int flat = u.rows <= FC_TAPS_MAX;
    const int64_t one[FC_DIMS] = {1, 1, 1}, zero[FC_DIMS] = {0, 0, 0};
    if ((strides < 2 && !flat) || fc_panel_elements(&u, one, 0) > FC_PHASES_PANEL / u.reds)
        return 0;
    s->row_blocks = fc_ceil_div(u.rows, FC_LANES);
    s->per_block = flat ? FC_TAPS_MAX / u.rows : 0;
    FN(phases_boxes)(s, p, &u);
    fc_panel panel = fc_panel_of(&u, zero, s->blocks.j, u.reds, 0);
    fc_phase_blocks b;
    FN(phases_blocks)(p, &u, &panel, fc_min(FC_LANES, u.rows), s->per_block, &b);
    s->chunk = fc_min(u.reds, fc_max(1, FC_DIRECT_CHUNK / b.most));
    s->row_weights = FN(aligned)(b.weights * u.reds);
    s->packed = s->row_weights * s->row_blocks * p->groups;
    fc_box box = fc_box_at(&s->blocks, &u, p->batch, 0);
    double work = (double)box.pixels * (double)b.weights * (double)u.reds;
    if (work > FC_TASK_WORK || s->packed > FC_PACKED_BYTES / (int64_t)sizeof(real))
        return 0;
    s->splits = fc_min(s->row_blocks, fc_ceil_div(FC_TASKS_WANTED, p->groups * s->boxes));
    s->fused = !flat && s->boxes <= FC_DIRECT_FUSED;
    s->panel = FN(aligned)(s->blocks.n * u.reds * fc_panel_elements(&u, s->blocks.j, 0) + FC_TAPS_NV * VL);
    s->sums = flat ? 0 : FN(aligned)(box.pixels * FC_LANES * (int64_t)strides);
    int64_t turned = flat ? FN(phases_pitch)(&box, &panel) * u.rows * b.phases : box.j[2] * p->axis[2].stride * FC_LANES;
    s->turned = FN(aligned)(fc_max(turned, (int64_t)kernel * FC_LANES));
    s->table = s->chunk * b.taps;
    s->by_phases = 1;
    plan->stages = 2;
    plan->workspace = s->fused ? 0 : s->packed * (int64_t)sizeof(real);
    plan->packed = s->packed * (int64_t)sizeof(real);
    int64_t chunk = s->fused ? FN(aligned)(s->chunk * b.weights) : 0;
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->sums + s->turned + chunk) * (int64_t)sizeof(real) +
                    (s->table + box.pixels) * (int64_t)sizeof(ptrdiff_t) + (int64_t)sizeof(fc_phase_blocks);
    return 1;
}

static ptrdiff_t FN(phases_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(phases_state) *s = (const void *)plan->state;
    *grain = 1;
    if (stage == 0)
        return mode == FC_RUN_PACKED || (mode == FC_RUN && s->fused) ? 0 : p->groups * s->row_blocks;
    return mode == FC_PACK ? 0 : p->groups * s->boxes * s->splits;
}

/* phases_pack of dense kernels where every element has one place, of whole vectors. */
static void FN(phases_pack_lanes)(const fc_phase_blocks *b, const fc_weight_strides *ws, const real *w, int64_t elements,
                                  int64_t reds, int64_t rows, real *dst)
{
    int64_t lanes = fc_round_up(rows, VL);
    ptrdiff_t at[FC_PHASES_TAPS], step[FC_PHASES_TAPS];
    for (int64_t i = 0; i < b->blocks; i++)
        for (int64_t k = b->element_from[i]; k < b->element_from[i + 1]; k++) {
            at[b->element[k]] = reds * b->block[i].before + b->tap[k] * lanes;
            step[b->element[k]] = b->block[i].taps * lanes;
        }
    for (int64_t r = 0; r < reds; r++, w += ws->red) {
        for (int64_t i = 0; i < lanes; i += VL)
            FN(to_lanes)(w + i * ws->row, ws->row, fc_min(VL, rows - i), elements, at, dst + i,
                         w + FC_PHASES_AHEAD * ws->red + i * ws->row);
        for (int64_t e = 0; e < elements; e++)
            at[e] += step[e];
    }
}

/* Weights of a row block for `reds` summed channels from `w` on: [block][c][t][lane]. `whole` holds a transposed kernel. */
static void FN(phases_pack)(const fc_problem *p, const fc_phase_blocks *b, const fc_weight_strides *ws, const real *w,
                            int64_t reds, int64_t rows, real *whole, real *dst)
{
    int64_t elements = p->axis[0].kernel * p->axis[1].kernel * p->axis[2].kernel, lanes = fc_round_up(rows, VL);
    int dense = ws->tap[2] == 1 && (p->axis[1].kernel == 1 || ws->tap[1] == p->axis[2].kernel) &&
                (p->axis[0].kernel == 1 || ws->tap[0] == p->axis[2].kernel * p->axis[1].kernel);
    if (dense && elements > FC_LANES_FEW && b->phases == b->blocks && b->block[0].lanes == lanes) {
        FN(phases_pack_lanes)(b, ws, w, elements, reds, rows, dst);
        return;
    }
    for (int64_t r = 0; r < reds; r++, w += ws->red) {
        FN(fetch)(w + FC_PHASES_AHEAD * ws->red, rows * elements, 0, 1); /* channels are far apart: no prefetcher foresees them */
        if (elements == 1) {
            FN(copy_run)(whole, w, ws->row, rows);
            FN(fill_run)(whole + rows, 0, lanes - rows);
        } else if (dense) {
            FN(pack_kernel)(w, ws->row, rows, elements, whole, lanes, lanes);
        } else {
            for (int64_t t = 0; t < elements; t++) {
                const real *tap = w + t / p->axis[2].kernel / p->axis[1].kernel * ws->tap[0] +
                                  t / p->axis[2].kernel % p->axis[1].kernel * ws->tap[1] + t % p->axis[2].kernel * ws->tap[2];
                FN(copy_run)(whole + t * lanes, tap, ws->row, rows);
                FN(fill_run)(whole + t * lanes + rows, 0, lanes - rows);
            }
        }
        for (int64_t i = 0; i < b->blocks; i++) {
            int64_t width = b->block[i].lanes;
            real *to = dst + reds * b->block[i].before + r * b->block[i].taps * width;
            if (b->block[i].phases > 1)
                FN(fill_run)(to, 0, b->block[i].taps * width);
            for (int64_t e = 0; e < b->block[i].phases; e++)
                for (int64_t k = b->element_from[b->block[i].first + e]; k < b->element_from[b->block[i].first + e + 1]; k++)
                    FN(copy_run)(to + b->tap[k] * width + e * rows, whole + b->element[k] * lanes, 1,
                                 fc_min(width, b->block[i].phases > 1 ? rows : lanes));
        }
    }
}

typedef struct {
    const fc_phase_blocks *blocks;
    const real *inputs;
    const ptrdiff_t *pixel_at, *tap_at;
    ptrdiff_t plane;
    int64_t pixels, chunk;
} FN(phases_job);

#include "phases_flat.h"

/* Where sums with channels in the lanes lie: [residue of d][of h][pixel][residue of w][lane], so that a row of results is one run
 * of vectors, in which its phases alternate. Returns the vectors before pixel 0 of phase e. */
static int64_t FN(phases_place)(const fc_problem *p, int64_t e, int64_t pixels)
{
    const fc_axis *a = p->axis;
    int64_t ew = e % fc_phases(&a[2]), eh = e / fc_phases(&a[2]) % fc_phases(&a[1]), ed = e / fc_phases(&a[2]) / fc_phases(&a[1]);
    int64_t line = fc_phase_axis(&a[0], ed).ystart * a[1].stride + fc_phase_axis(&a[1], eh).ystart;
    return line * pixels * a[2].stride + fc_phase_axis(&a[2], ew).ystart;
}

/* One chunk of the sum, for all phases, channels in the lanes. */
static void FN(phases_chunk)(const FN(phases_job) *job, const fc_problem *p, int64_t r, int64_t reds, const real *weights,
                             real *sums)
{
    const fc_phase_blocks *b = job->blocks;
    int64_t tiles = fc_ceil_div(job->pixels, FC_ROWS_MAX);
    for (int64_t i = 0; i < b->blocks; i++) {
        int64_t lanes = b->block[i].lanes, pitch = p->axis[2].stride * lanes;
        real *to = sums + FN(phases_place)(p, i, job->pixels) * lanes;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t p0 = FN(even_start)(job->pixels, tiles, t), p1 = FN(even_start)(job->pixels, tiles, t + 1);
            FN(fma_rows)((int)(p1 - p0), (int)(lanes / VL), job->inputs + r * job->plane, job->pixel_at + p0,
                         job->tap_at + b->block[i].tap_from * job->chunk, reds * b->block[i].taps,
                         weights + reds * b->block[i].before, lanes, (FN(dest)){to + p0 * pitch, pitch, r > 0});
        }
    }
}

/* The sums of a row block into whole rows of y. */
static void FN(phases_put)(const fc_problem *p, const fc_box *box, const fc_array *y, const fc_array *bias, int64_t channel,
                           int64_t rows, real *sums, real *turned)
{
    const fc_axis *a = p->axis;
    int64_t lanes = fc_round_up(rows, VL), vectors = a[0].stride * a[1].stride * box->pixels * a[2].stride;
    if (bias->data)
        for (int64_t v = 0; v < rows; v += VL) {
            real b[VL] = {0};
            for (int64_t i = 0; i < fc_min(VL, rows - v); i++)
                b[i] = ((const real *)bias->data)[(channel + v + i) * bias->stride[0]];
            vec bv = FN(load)(b);
            for (int64_t i = 0; i < vectors; i++)
                FN(store)(sums + i * lanes + v, FN(load)(sums + i * lanes + v) + bv);
        }
    int64_t first[FC_DIMS], end[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++) {
        first[d] = box->j0[d] * a[d].stride;
        end[d] = fc_min(a[d].in, first[d] + box->j[d] * a[d].stride);
    }
    int64_t n = end[2] - first[2];
    for (int64_t image = 0; image < box->n; image++)
        for (int64_t d = first[0]; d < end[0]; d++)
            for (int64_t h = first[1]; h < end[1]; h++) {
                int64_t line = d % a[0].stride * a[1].stride + h % a[1].stride;
                int64_t pixel = ((image * box->j[0] + (d - first[0]) / a[0].stride) * box->j[1] + (h - first[1]) / a[1].stride) * box->j[2];
                const real *from = sums + (line * box->pixels + pixel) * a[2].stride * lanes;
                real *to = (real *)y->data + (box->n0 + image) * y->stride[0] + channel * y->stride[1] + d * y->stride[2] +
                           h * y->stride[3] + first[2] * y->stride[4];
                if (y->stride[4] == 1) {
                    FN(transpose)(from, lanes, n, rows, to, y->stride[1], n);
                    continue;
                }
                FN(transpose)(from, lanes, n, rows, turned, n, n);
                for (int64_t k = 0; k < rows; k++)
                    FN(put_run)(to + k * y->stride[1], y->stride[4], turned + k * n, n, 0, 0);
            }
}

static void FN(phases_compute)(const fc_plan *plan, fc_call *call, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(phases_state) *s = (const void *)plan->state;
    int64_t split = task % s->splits, unit = task / s->splits, g = unit / s->boxes;
    fc_corr u = FN(phases_union)(p);
    fc_box box = fc_box_at(&s->blocks, &u, p->batch, unit % s->boxes);
    fc_panel panel = fc_panel_of(&u, box.j0, box.j, u.reds, 0);
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *sums = inputs + s->panel, *turned = sums + s->sums,
        *chunk = turned + s->turned;
    int64_t strides = p->axis[0].stride * p->axis[1].stride * p->axis[2].stride;
    int64_t pitch = FN(phases_pitch)(&box, &panel);
    FN(phases_results) results = {turned, pitch, pitch / (box.n * box.j[0]), panel.row};
    fc_phase_blocks *b = (fc_phase_blocks *)(scratch + plan->scratch) - 1;
    ptrdiff_t *tap_at = (ptrdiff_t *)b - s->table,
        *pixel_at = tap_at - s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2];
    int64_t *filled = (int64_t *)scratch;
    if (*filled != unit + 1)
        FN(panel_fill)(&panel, &u, &call->array[0], box.n0, box.n, g * u.reds, 0, inputs);
    *filled = unit + 1;
    fc_pixel_table(&panel, &box, pixel_at);
    FN(phases_job) job = {b, inputs, pixel_at, tap_at, panel.plane, box.pixels, s->chunk};
    const fc_array *w = &call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    const real *packed = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed) + g * s->row_blocks * s->row_weights;
    for (int64_t kb = FN(even_start)(s->row_blocks, s->splits, split); kb < FN(even_start)(s->row_blocks, s->splits,
                                                                                           split + 1); kb++) {
        int64_t rows = FN(phases_rows)(&u, kb), k0 = kb * FC_LANES;
        FN(phases_blocks)(p, &u, &panel, rows, s->per_block, b);
        for (int64_t i = 0; i < b->blocks; i++)
            for (int64_t r = 0; r < s->chunk; r++)
                for (int64_t t = 0; t < b->block[i].taps; t++)
                    tap_at[b->block[i].tap_from * s->chunk + r * b->block[i].taps + t] = b->at[b->block[i].tap_from + t] + r * panel.plane;
        if (!s->per_block && b->phases < strides) /* residues that no tap reaches */
            FN(fill_run)(sums, 0, strides * box.pixels * fc_round_up(rows, VL));
        for (int64_t r = 0; r < u.reds; r += s->chunk) {
            int64_t reds = fc_min(s->chunk, u.reds - r);
            const real *weights = packed + kb * s->row_weights + r * b->weights;
            if (s->fused && call->mode == FC_RUN) {
                const real *from = (const real *)w->data + (g * p->out_channels + r) * w->stride[0] + k0 * ws.row;
                FN(phases_pack)(p, b, &ws, from, reds, rows, turned, chunk);
                weights = chunk;
            }
            if (s->per_block)
                FN(phases_flat)(&job, &box, &panel, r, reds, rows, weights, &results);
            else
                FN(phases_chunk)(&job, p, r, reds, weights, sums);
        }
        int filled_up = s->per_block && b->weights > b->element_from[b->phases] * rows; /* with zeros, see above */
        if (filled_up && !FN(phases_finite)(&box, &panel, b->phases * rows, &results))
            for (int64_t r = 0; r < u.reds; r += s->chunk)
                FN(phases_apart)(&job, &box, &panel, r, fc_min(s->chunk, u.reds - r), rows,
                                 packed + kb * s->row_weights + r * b->weights, &results);
        if (s->per_block)
            FN(phases_store)(p, &box, &call->array[3], &call->array[2], g * u.rows + k0, rows, &results);
        else
            FN(phases_put)(p, &box, &call->array[3], &call->array[2], g * u.rows + k0, rows, sums, turned);
    }
}

static void FN(phases_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(phases_state) *s = (const void *)plan->state;
    if (stage == 1) {
        FN(phases_compute)(plan, call, task, scratch);
        return;
    }
    int64_t kb = task % s->row_blocks, g = task / s->row_blocks;
    const int64_t zero[FC_DIMS] = {0, 0, 0};
    fc_corr u = FN(phases_union)(p);
    fc_panel panel = fc_panel_of(&u, zero, s->blocks.j, u.reds, 0);
    fc_phase_blocks *b = (fc_phase_blocks *)(scratch + plan->scratch) - 1;
    FN(phases_blocks)(p, &u, &panel, FN(phases_rows)(&u, kb), s->per_block, b);
    const fc_array *w = &call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    real *to = (real *)(call->mode == FC_RUN ? call->workspace : call->packed) + task * s->row_weights;
    real *whole = (real *)(scratch + FC_SCRATCH_HEAD) + s->panel + s->sums;
    for (int64_t r = 0; r < u.reds; r += s->chunk)
        FN(phases_pack)(p, b, &ws,
                        (const real *)w->data + (g * p->out_channels + r) * w->stride[0] + kb * FC_LANES * ws.row,
                        fc_min(s->chunk, u.reds - r), FN(phases_rows)(&u, kb), whole, to + r * b->weights);
}
