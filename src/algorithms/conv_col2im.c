/* conv_col2im.c: convolution and its input gradient for few result channels, the other way round than conv_im2col.c: each
 * pixel that is read is multiplied with all taps, and the products are added to where the taps put them.
 *
 *   y[k][at(j, t)] += sum_c w[k][c][t] * x[c][j]
 *
 * Every tap of every result channel is a row of the product, so that one result channel fills the rows of fma_taps; pixels
 * are in the lanes, from several images where they are small. Each pair of pixel and tap that exists is multiplied once: no
 * zeros of padding, of which the gradient of an unpadded convolution (a "full" correlation) reads many, and no phases of a
 * stride. Adding costs some three products for each, so that it takes summed channels enough.
 *
 * A task has a box of results, or some channels of it, and reads all pixels that reach it. Results lie in a panel with whatever
 * else these pixels write, split (geometry.h) by the stride of an input gradient, so that a tap is one offset in it and a row of
 * pixels one run. In a forward pass with a stride pixels of one residue, a phase, share their taps: one phase after the other. */

#define FC_COL2IM_PANEL ((int64_t)(128 << 10) / (int64_t)sizeof(real)) /* elements of results: they stay in L2 */
#define FC_COL2IM_CHUNK 128 /* summed channels: with 3 vectors of pixels each, most of L1 */
#define FC_COL2IM_ROWS 32   /* of products that wait for being added: what was stored just before would have to be waited for */
#define FC_COL2IM_TASK (1 << 20) /* multiply-adds worth a task */
#define FC_COL2IM_WIDE 512 /* results of a row, where there are as many */
#define FC_COL2IM_TAPS 4096
#define FC_COL2IM_STRIDE 64 /* whose residues are put together to rows */

typedef struct {
    fc_blocks blocks;        /* of results */
    int64_t boxes, splits;   /* a task: one box, 1/splits of the result channels */
    int64_t panel;           /* elements of scratch */
} FN(col2im_state);

/* Pixels that lie in one row of the box: where in the lanes, in x, and where their first tap puts them. */
typedef struct {
    int64_t at, n;
    ptrdiff_t from, to;
} FN(col2im_piece);

/* How far apart results of a pixel lie along an axis, and the step from one pixel's results to the next one's. */
static inline int64_t FN(col2im_reach)(const fc_problem *p, int d)
{
    const fc_axis *a = &p->axis[d];
    return (a->kernel - 1) * a->dilation / (p->op == FC_CONV ? a->stride : 1);
}

static inline int64_t FN(col2im_step)(const fc_problem *p, int d) { return p->op == FC_CONV ? 1 : p->axis[d].stride; }

/* Pixels j of a phase of x, at ystart + j*ystep, and the results that their taps reach: j*xstep + off + t*offstep. */
static fc_corr FN(col2im_corr)(const fc_problem *p, int64_t phase)
{
    int forward = p->op == FC_CONV;
    fc_corr c = {.rows = forward ? p->out_channels : p->in_channels, .reds = forward ? p->in_channels : p->out_channels, .taps = 1};
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        const fc_axis *a = &p->axis[d];
        int64_t n = forward ? fc_phases(a) : 1;
        c.axis[d] = forward ? fc_phase_axis(a, phase % n) : fc_forward_axis(a);
        phase /= n;
        c.in[d] = forward ? a->out : a->in;
        c.out[d] = forward ? a->in : a->out;
        c.taps *= c.axis[d].taps;
    }
    return c;
}

static inline int64_t FN(col2im_phases)(const fc_problem *p)
{
    return p->op == FC_CONV ? fc_phases(&p->axis[0]) * fc_phases(&p->axis[1]) * fc_phases(&p->axis[2]) : 1;
}

/* Results as outputs of a correlation whose "inputs" are the results that any of their pixels writes: what boxes of them cost. */
static fc_corr FN(col2im_results)(const fc_problem *p)
{
    fc_corr r = {.rows = p->op == FC_CONV ? p->out_channels : p->in_channels};
    for (int d = 0; d < FC_DIMS; d++) {
        int64_t reach = FN(col2im_reach)(p, d);
        r.axis[d] = (fc_corr_axis){.count = p->op == FC_CONV ? p->axis[d].out : p->axis[d].in, .ystep = 1, .xstep = 1,
                                   .taps = 2 * reach + FN(col2im_step)(p, d), .off = -reach, .offstep = 1};
    }
    return r;
}

/* The pixels of a phase that reach results j0 .. j0+j: from *first on. */
static int64_t FN(col2im_sources)(const fc_corr_axis *a, int64_t j0, int64_t j, int64_t *first)
{
    int64_t low = j0 - a->off - (a->taps - 1) * a->offstep, high = j0 + j - 1 - a->off;
    *first = low > 0 ? fc_ceil_div(low, a->xstep) : 0;
    return high < 0 ? 0 : fc_max(0, fc_min(a->count - 1, high / a->xstep) + 1 - *first);
}

/* Multiply-adds of a box for each result channel, at most. */
static double FN(col2im_work)(const fc_problem *p, const fc_blocks *b, double terms)
{
    double pixels = (double)b->n;
    for (int d = 0; d < FC_DIMS; d++) {
        int64_t all = p->op == FC_CONV ? fc_ceil_div(p->axis[d].in, p->axis[d].stride) : p->axis[d].out;
        pixels *= (double)fc_min(all, (b->j[d] + FN(col2im_reach)(p, d) - 1) / FN(col2im_step)(p, d) + 2);
    }
    return pixels * terms;
}

/* A box of results that is worth reading the pixels around it. */
static void FN(col2im_least)(const fc_problem *p, const fc_corr *results, int64_t *j)
{
    for (int d = 0; d < FC_DIMS; d++)
        j[d] = fc_min(results->axis[d].count, fc_max(4 * FN(col2im_reach)(p, d) + 1, d == FC_DIMS - 1 ? FC_COL2IM_WIDE : 1));
}

static const char *FN(col2im_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(col2im_state) *s = (void *)plan->state;
    fc_corr results = FN(col2im_results)(p);
    int64_t reds = p->op == FC_CONV ? p->in_channels : p->out_channels, least[FC_DIMS];
    FN(col2im_least)(p, &results, least);
    double taps = 1, all = (double)p->batch;
    for (int d = 0; d < FC_DIMS; d++) {
        taps *= (double)p->axis[d].kernel;
        all *= (double)results.axis[d].count;
    }
    int64_t channel = fc_panel_elements(&results, least, 0); /* of a panel */
    if (taps > FC_COL2IM_TAPS || channel > FC_PANEL_MOST)
        return "kernels of at most 4096 taps that reach over some 2**20 results";
    double each = (double)reds * taps * (double)results.rows;
    int64_t pixels = fc_max(least[0] * least[1] * least[2], (int64_t)fmin(1 << 14, fmax(all / FC_TASKS_WANTED, FC_COL2IM_TASK / each)));
    for (;; pixels /= 2) {
        int64_t together = fc_max(1, fc_min(results.rows, FC_COL2IM_PANEL / channel)); /* result channels */
        s->blocks = fc_choose_blocks(&results, p->batch, together, fc_max(FC_COL2IM_PANEL, channel), pixels, 0);
        double work = FN(col2im_work)(p, &s->blocks, (double)reds * taps);
        s->splits = fc_max(fc_ceil_div(results.rows, together),
                           fc_min(results.rows, (int64_t)fmin(work * (double)results.rows / FC_TASK_WORK, 1e9) + 1));
        if (work <= FC_TASK_WORK)
            break;
        if (pixels == 1)
            return "sums of at most 2**28 products";
    }
    s->boxes = fc_blocks_count(&s->blocks);
    s->panel = FN(aligned)(s->blocks.n * fc_ceil_div(results.rows, s->splits) * fc_panel_elements(&results, s->blocks.j, 0) + VL);
    plan->stages = 2;
    plan->packed = plan->workspace = p->groups * results.rows * (int64_t)taps * reds * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + (FC_COL2IM_CHUNK + FC_COL2IM_ROWS) * FC_PIXELS) * (int64_t)sizeof(real) +
                    (FC_COL2IM_CHUNK + (int64_t)taps) * (int64_t)sizeof(ptrdiff_t) + 2 * FC_PIXELS * (int64_t)sizeof(FN(col2im_piece));
    return NULL;
}

static ptrdiff_t FN(col2im_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(col2im_state) *s = (const void *)plan->state;
    *grain = 1;
    if (stage == 0)
        return mode == FC_RUN_PACKED ? 0 : p->groups * s->splits;
    return mode == FC_PACK ? 0 : p->groups * s->boxes * s->splits;
}

/* A task's place, and what it does of a phase. */
typedef struct {
    int64_t g, k0, channels;   /* result channels from k0 of the group on */
    fc_box box;                /* of results */
    fc_panel panel;            /* in its axes' places; of `reached` 0 nothing */
    int reached;
    fc_corr c;
    int64_t rows, tiles;       /* of the product */
    int64_t j0[FC_DIMS], j[FC_DIMS], pixels; /* of x */
    int64_t place[FC_DIMS];    /* of pixel j0 in the panel */
} FN(col2im_unit);

static void FN(col2im_phase)(const fc_problem *p, int64_t phase, FN(col2im_unit) *u)
{
    u->c = FN(col2im_corr)(p, phase);
    u->rows = u->channels * u->c.taps;
    u->tiles = fc_ceil_div(u->rows, FC_TAPS_MAX);
    u->pixels = u->box.n;
    for (int d = 0; d < FC_DIMS; d++) {
        u->j[d] = FN(col2im_sources)(&u->c.axis[d], u->box.j0[d], u->box.j[d], &u->j0[d]);
        u->pixels *= u->j[d];
        u->place[d] = p->op == FC_CONV ? u->j0[d] + u->c.axis[d].off - u->panel.axis[d].start : 0;
        u->panel.axis[d].tap = u->c.axis[d].offstep;
    }
}

static FN(col2im_unit) FN(col2im_unit_at)(const fc_problem *p, const FN(col2im_state) *s, int64_t g, int64_t box, int64_t split)
{
    fc_corr results = FN(col2im_results)(p);
    FN(col2im_unit) u = {.g = g, .box = fc_box_at(&s->blocks, &results, p->batch, box)};
    u.k0 = FN(even_start)(results.rows, s->splits, split);
    u.channels = FN(even_start)(results.rows, s->splits, split + 1) - u.k0;
    if (p->op == FC_CONV)
        u.panel = fc_panel_of(&results, u.box.j0, u.box.j, u.channels, 0);
    FN(col2im_phase)(p, 0, &u);
    u.reached = p->op == FC_CONV || u.pixels > 0;
    if (p->op != FC_CONV && u.reached)
        u.panel = fc_panel_of(&u.c, u.j0, u.j, u.channels, 1);
    return u;
}

/* The tap of a row of the product; taps of forward passes are counted backwards in the array (fc_phase_axis). */
static inline int64_t FN(col2im_tap)(const fc_problem *p, const FN(col2im_unit) *u, int64_t row)
{
    int64_t tap = row % u->c.taps;
    return p->op == FC_CONV ? u->c.taps - 1 - tap : tap;
}

/* Weights of a phase, [tile][c][row of the tile]; rows [k][t] in the order of the array, where most of a tile lie together. */
static void FN(col2im_pack)(const fc_problem *p, const FN(col2im_unit) *u, const fc_array *w, real *to)
{
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    const real *from = (const real *)w->data + u->g * p->out_channels * w->stride[0] + u->k0 * ws.row;
    for (int64_t tile = 0; tile < u->tiles; tile++) {
        ptrdiff_t at[FC_TAPS_MAX];
        int64_t i = FN(even_start)(u->rows, u->tiles, tile), m = FN(even_start)(u->rows, u->tiles, tile + 1) - i;
        int run = 1;
        for (int64_t k = 0; k < m; k++) {
            at[k] = (i + k) / u->c.taps * ws.row + fc_weight_tap(&u->c, &ws, FN(col2im_tap)(p, u, i + k));
            run = run && at[k] == at[0] + k;
        }
        for (int64_t r = 0; r < u->c.reds; r++, to += m) {
            if (run)
                FN(copy_run)(to, from + at[0] + r * ws.red, 1, m);
            else
                for (int64_t k = 0; k < m; k++)
                    to[k] = from[at[k] + r * ws.red];
        }
    }
}

/* Cuts n pixels of the box, from p0 on, into rows; and into runs in x, which may go from row to row. Returns the number of rows. */
static int64_t FN(col2im_cut)(const FN(col2im_unit) *u, const fc_array *x, int64_t p0, int64_t n, FN(col2im_piece) *piece,
                              FN(col2im_piece) *run, int64_t *runs)
{
    int64_t count = 0;
    *runs = 0;
    for (int64_t i = 0; i < n; i += piece[count++].n) {
        int64_t q = p0 + i, w = q % u->j[2], h = q / u->j[2] % u->j[1], d = q / (u->j[2] * u->j[1]) % u->j[0];
        int64_t image = q / (u->j[2] * u->j[1] * u->j[0]), at[FC_DIMS] = {d, h, w};
        FN(col2im_piece) *s = &piece[count], *last = &run[*runs - 1];
        *s = (FN(col2im_piece)){i, fc_min(n - i, u->j[2] - w), image * x->stride[0], image * u->panel.channels * u->panel.plane};
        for (int e = 0; e < FC_DIMS; e++)
            s->from += (u->c.axis[e].ystart + (u->j0[e] + at[e]) * u->c.axis[e].ystep) * x->stride[2 + e];
        s->to += (u->place[0] + d) * u->panel.slice + (u->place[1] + h) * u->panel.row + u->place[2] + w;
        if (*runs > 0 && s->from == last->from + last->n * u->c.axis[2].ystep * x->stride[4])
            last->n += s->n;
        else
            run[(*runs)++] = *s;
    }
    return count;
}

/* Whole vectors of results, what is behind the run with zero added: a load that follows a masked store waits for it. */
static inline void FN(col2im_add_run)(real *to, const real *from, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(to + i, FN(load)(to + i) + FN(load)(from + i));
    if (i < n)
        FN(store)(to + i, FN(load)(to + i) + FN(load_n)(from + i, n - i));
}

/* Adds rows i0 .. i1 of products to the results. Taps of one column of the kernel go one after the other: their runs begin at the
 * same elements, and a load of what was just stored need not wait; it would if it lay askew. */
static void FN(col2im_add)(const fc_problem *p, const FN(col2im_unit) *u, const ptrdiff_t *tap_at, const FN(col2im_piece) *piece,
                           int64_t pieces, const real *products, int64_t i0, int64_t i1, real *panel)
{
    int64_t wide = u->c.axis[2].taps;
    for (int64_t t = 0; t < fc_min(wide, i1 - i0); t++)
        for (int64_t i = i0 + t; i < i1; i += wide) {
            real *to = panel + i / u->c.taps * u->panel.plane + tap_at[FN(col2im_tap)(p, u, i)];
            for (int64_t k = 0; k < pieces; k++)
                FN(col2im_add_run)(to + piece[k].to, products + (i - i0) * FC_PIXELS + piece[k].at, piece[k].n);
        }
}

static void FN(col2im_fill)(real *y, ptrdiff_t step, int64_t n, real value)
{
    if (step == 1)
        FN(fill_run)(y, value, n);
    for (int64_t i = 0; step != 1 && i < n; i++)
        y[i * step] = value;
}

/* Rows of the results from the panel, with what stands between, to where no tap leads. */
static void FN(col2im_put)(const fc_problem *p, const FN(col2im_unit) *u, const fc_array *y, const fc_array *bias, const real *panel)
{
    const fc_panel_axis *a = u->panel.axis;
    int64_t step = FN(col2im_step)(p, 2), first = u->box.j0[2], end = first + u->box.j[2], from = end, to = end;
    if (u->reached) {
        from = fc_min(fc_max(first, a[2].start), end);
        to = fc_max(from, fc_min(end, a[2].start + (a[2].extent - 1) * a[2].step + 1));
    }
    for (int64_t i = 0; i < u->box.n * u->channels * u->box.j[0] * u->box.j[1]; i++) {
        int64_t h = u->box.j0[1] + i % u->box.j[1], d = u->box.j0[0] + i / u->box.j[1] % u->box.j[0];
        int64_t k = i / (u->box.j[1] * u->box.j[0]) % u->channels, n = i / (u->box.j[1] * u->box.j[0]) / u->channels;
        int64_t channel = u->g * u->c.rows + u->k0 + k;
        real b = bias->data ? ((const real *)bias->data)[channel * bias->stride[0]] : 0;
        real *row = (real *)y->data + (u->box.n0 + n) * y->stride[0] + channel * y->stride[1] + d * y->stride[2] + h * y->stride[3];
        int64_t at[FC_DIMS - 1] = {d - a[0].start, h - a[1].start};
        int reached = u->reached;
        for (int e = 0; e < FC_DIMS - 1 && reached; e++) {
            reached = at[e] >= 0 && at[e] % a[e].step == 0 && at[e] / a[e].step < a[e].extent;
            at[e] /= a[e].step;
        }
        const real *line = panel + (n * u->channels + k) * u->panel.plane;
        int64_t w0 = reached ? from : end, w1 = reached ? to : end;
        const real *residue[FC_COL2IM_STRIDE];
        FN(col2im_fill)(row + first * y->stride[4], y->stride[4], w0 - first, b);
        for (int64_t f = 0, m; f < fc_min(step, w1 - w0); f += m) { /* some residues of a large stride at a time, or all */
            m = step <= FC_COL2IM_STRIDE ? fc_min(step, w1 - w0) : 1;
            for (int64_t e = 0; e < m; e++) {
                int64_t w = w0 + f + e - a[2].start;
                residue[e] = w % a[2].step ? NULL : line + fc_panel_offset(&u->panel, at[0], at[1], w / a[2].step);
            }
            if (step <= FC_COL2IM_STRIDE)
                FN(phases_row)(row + w0 * y->stride[4], y->stride[4], residue, 0, m, w1 - w0, b);
            else
                for (int64_t j = 0; w0 + f + j * step < w1; j++)
                    row[(w0 + f + j * step) * y->stride[4]] = residue[0] ? b + residue[0][j] : b;
        }
        FN(col2im_fill)(row + w1 * y->stride[4], y->stride[4], end - w1, b);
        FN(rectify_run)(p, row + first * y->stride[4], y->stride[4], end - first);
    }
}

/* All products of a phase, added to the panel. */
static void FN(col2im_products)(const fc_problem *p, const FN(col2im_unit) *u, const fc_array *x, const real *weights, real *panel,
                                real *pixels)
{
    real *products = pixels + FC_COL2IM_CHUNK * FC_PIXELS;
    ptrdiff_t *red_at = (ptrdiff_t *)(products + FC_COL2IM_ROWS * FC_PIXELS), *tap_at = red_at + FC_COL2IM_CHUNK;
    FN(col2im_piece) *piece = (FN(col2im_piece) *)(tap_at + u->c.taps), *run = piece + FC_PIXELS;
    const real *from = (const real *)x->data + u->box.n0 * x->stride[0] + u->g * u->c.reds * x->stride[1];
    ptrdiff_t step = u->c.axis[2].ystep * x->stride[4];
    for (int64_t q = 0; q < FC_COL2IM_CHUNK; q++)
        red_at[q] = q * FC_PIXELS;
    fc_tap_table(&u->panel, &u->c, 1, tap_at);
    for (int64_t p0 = 0; p0 < u->pixels; p0 += FC_PIXELS) {
        int64_t n = fc_min(FC_PIXELS, u->pixels - p0), nv = fc_ceil_div(n, VL), runs;
        int64_t pieces = FN(col2im_cut)(u, x, p0, n, piece, run, &runs);
        for (int64_t r = 0; r < u->c.reds; r += FC_COL2IM_CHUNK) {
            int64_t reds = fc_min(FC_COL2IM_CHUNK, u->c.reds - r);
            for (int64_t q = 0; q < reds; q++) {
                for (int64_t k = 0; k < runs; k++)
                    FN(copy_run)(pixels + q * FC_PIXELS + run[k].at, from + (r + q) * x->stride[1] + run[k].from, step, run[k].n);
                FN(fill_run)(pixels + q * FC_PIXELS + n, 0, nv * VL - n);
            }
            for (int64_t tile = 0, i0 = 0, i1 = 0; tile < u->tiles; i0 = i1) {
                for (; tile < u->tiles; tile++) {
                    int64_t end = FN(even_start)(u->rows, u->tiles, tile + 1);
                    if (end - i0 > FC_COL2IM_ROWS)
                        break;
                    FN(fma_taps)((int)(end - i1), (int)nv, weights + i1 * u->c.reds + r * (end - i1), red_at, reds, pixels,
                                 (FN(dest)){products + (i1 - i0) * FC_PIXELS, FC_PIXELS, 0});
                    i1 = end;
                }
                FN(col2im_add)(p, u, tap_at, piece, pieces, products, i0, i1, panel);
            }
        }
    }
}

static void FN(col2im_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(col2im_state) *s = (const void *)plan->state;
    int64_t boxes = stage == 0 ? 1 : s->boxes, split = task % s->splits, box = task / s->splits % boxes, g = task / s->splits / boxes;
    FN(col2im_unit) u = FN(col2im_unit_at)(p, s, g, box, split);
    int64_t taps = p->axis[0].kernel * p->axis[1].kernel * p->axis[2].kernel;
    real *weights = (real *)(call->mode == FC_RUN ? call->workspace : call->packed) + (g * u.c.rows + u.k0) * taps * u.c.reds;
    real *panel = (real *)(scratch + FC_SCRATCH_HEAD);
    if (stage == 1 && u.reached)
        FN(fill_run)(panel, 0, u.box.n * u.channels * u.panel.plane + VL);
    for (int64_t phase = 0; phase < FN(col2im_phases)(p); phase++, weights += u.rows * u.c.reds) {
        FN(col2im_phase)(p, phase, &u);
        if (stage == 0)
            FN(col2im_pack)(p, &u, &call->array[1], weights);
        else if (u.pixels > 0)
            FN(col2im_products)(p, &u, &call->array[0], weights, panel, panel + s->panel);
    }
    if (stage == 1)
        FN(col2im_put)(p, &u, &call->array[3], &call->array[2], panel);
}

static const fc_algorithm FN(col2im) = {"col2im", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD,
                                        FN(col2im_prepare), FN(col2im_tasks), FN(col2im_run)};
