/* conv_im2col.c: convolution and its input gradient as a matrix product with patches (Chellapilla et al., 2006), pixels in the
 * lanes. The patch matrix is never whole: a panel of FC_TAPS_NV vectors of pixels by about FC_IM2COL_CHUNK terms is packed,
 * multiplied with all of a task's result channels, and forgotten.
 *
 *   y[k][pixel] += sum_q w[k][q] * patch[q][pixel],   q = (c, t)
 *
 * Results are stored straight as rows of y, since consecutive pixels of an image are consecutive there. */

#define FC_IM2COL_CHUNK 128
#define FC_IM2COL_IN_PLACE 4 /* tiles of result channels up to which packing costs more than it gives */
#define FC_IM2COL_RUN 1024   /* pixels of few result channels, which stay in L1 while channels pass */
#define FC_IM2COL_FEW 256    /* weights for which reading and writing are most of the time */
#define FC_PIXELS (FC_TAPS_NV * VL)

typedef struct {
    int64_t phases, row_tiles, splits;
    int64_t run, runs;             /* pixels of a task, tasks of an image */
    int64_t reds, red_blocks;
    int64_t phase_weights, packed; /* elements, of a red block */
    int64_t chunk;                 /* most terms in a panel */
    int has_fill;
} FN(im2col_state);

static const char *FN(im2col_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(im2col_state) *s = (void *)plan->state;
    fc_corr c = FN(largest_phase)(p);
    s->phases = fc_corr_phases(p);
    s->has_fill = fc_corr_has_holes(p);
    s->row_tiles = fc_ceil_div(c.rows, FC_TAPS_MAX);
    int64_t weights = FC_PACKED_BYTES / (int64_t)sizeof(real) / fc_max(1, c.rows * c.taps * s->phases * p->groups);
    int64_t reds = fc_min(fc_max(1, weights), fc_max(1, FC_TASK_WORK / (FC_PIXELS * FC_TAPS_MAX) / c.taps));
    s->red_blocks = fc_ceil_div(c.reds, reds);
    s->reds = fc_ceil_div(c.reds, s->red_blocks);
    s->red_blocks = fc_ceil_div(c.reds, s->reds);
    s->phase_weights = FN(aligned)(c.rows * s->reds * c.taps);
    s->packed = s->phase_weights * s->phases * p->groups;
    s->chunk = fc_max(FC_IM2COL_CHUNK, fc_min(c.taps, 2 * FC_IM2COL_CHUNK));

    int64_t image = c.axis[0].count * c.axis[1].count * c.axis[2].count, panels = fc_ceil_div(image, FC_PIXELS);
    double panel_work = (double)FC_PIXELS * (double)c.rows * (double)s->reds * (double)c.taps;
    int64_t units = p->batch * p->groups * s->phases;
    /* A task: enough panels to be worth giving out, few enough that there are tasks for all and none is long. */
    int64_t per_task = fc_max(1, (int64_t)((1 << 22) / panel_work));
    per_task = fc_max(1, fc_min(per_task, panels * units / FC_TASKS_WANTED));
    s->runs = fc_ceil_div(panels, per_task);
    s->run = fc_ceil_div(panels, s->runs) * FC_PIXELS;
    s->runs = fc_ceil_div(image, s->run);
    int64_t for_time = (int64_t)(panel_work / FC_TASK_WORK) + 1;
    s->splits = fc_min(s->row_tiles, fc_max(for_time, FC_TASKS_WANTED / fc_max(1, 4 * units * s->runs)));

    plan->stages = s->has_fill + 2 * s->red_blocks;
    plan->workspace = s->packed * (int64_t)sizeof(real);
    plan->packed = s->packed * s->red_blocks * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->chunk * FC_PIXELS + FC_TAPS_MAX * FC_PIXELS) * (int64_t)sizeof(real) +
                    s->chunk * (int64_t)sizeof(ptrdiff_t) + FC_PIXELS * (int64_t)sizeof(FN(segment));
    return NULL;
}

static ptrdiff_t FN(im2col_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(im2col_state) *s = (const void *)plan->state;
    *grain = 1;
    if (s->has_fill && stage-- == 0) {
        *grain = 8;
        return mode == FC_PACK ? 0 : p->batch * p->groups * (p->op == FC_CONV ? p->out_channels : p->in_channels);
    }
    if (stage % 2 == 0) {
        *grain = 8;
        return mode == FC_RUN_PACKED ? 0 : p->groups * s->phases * s->row_tiles;
    }
    return mode == FC_PACK ? 0 : p->batch * p->groups * s->phases * s->runs * s->splits;
}

/* One tile of result channels: dst[c][t][i]. */
static void FN(im2col_pack)(const fc_corr *c, const fc_weight_strides *ws, const real *w, int64_t reds, int64_t m, real *dst)
{
    FN(direct_pack)(c, ws, w, reds, m, m, dst);
}

typedef struct {
    const fc_problem *p;
    const fc_corr *c;
    const real *packed, *bias;
    ptrdiff_t bias_stride;
    FN(result) to;
    int64_t reds, tile0, tile1, tiles;
    int add, last, dense; /* later red block; the last one; pixels of y follow one another */
    const real *next; /* inputs of the next panel, asked for meanwhile: some channels, a run of elements of each */
    ptrdiff_t next_channel;
    int64_t next_channels, next_run;
} FN(im2col_job);

/* Adds a tile [m][FC_PIXELS] of n pixels from p0 on, row k of it into result channel k. */
static void FN(im2col_put)(const FN(im2col_job) *job, const FN(result) *r, const real *tile, int64_t m, int64_t p0, int64_t n,
                           const real *bias, int add, int last)
{
    const fc_corr *c = job->c;
    for (int64_t k = 0; k < m; k++) {
        real b = bias ? bias[k * job->bias_stride] : 0;
        for (int64_t i = 0; i < n;) {
            int64_t p = p0 + i, w = p % c->axis[2].count, h = p / c->axis[2].count % c->axis[1].count,
                    d = p / c->axis[2].count / c->axis[1].count;
            int64_t run = fc_min(n - i, c->axis[2].count - w);
            real *y = r->y + k * r->channel + d * r->step[0] + h * r->step[1] + w * r->step[2];
            FN(put_run)(y, r->step[2], tile + k * FC_PIXELS + i, run, b, add);
            if (last)
                FN(rectify_run)(job->p, y, r->step[2], run);
            i += run;
        }
    }
}

/* Asks for a share of the next panel's inputs: channels are far apart, where no prefetcher foresees them. */
static inline void FN(im2col_fetch)(const FN(im2col_job) *job, int64_t i)
{
    int64_t n = job->tile1 - job->tile0, last = FN(even_start)(job->next_channels, n, i - job->tile0 + 1);
    for (int64_t r = FN(even_start)(job->next_channels, n, i - job->tile0); r < last; r++)
        for (int64_t at = 0; at < job->next_run; at += FC_ALIGN / (int64_t)sizeof(real))
            __builtin_prefetch(job->next + r * job->next_channel + at, 0, 2);
}

/* One panel of packed patches (depth terms, n pixels from p0) against all tiles of result channels. */
static void FN(im2col_panel)(const FN(im2col_job) *job, const real *panel, const ptrdiff_t *row_at, int64_t q0, int64_t depth,
                             int64_t p0, int64_t n, real *tile)
{
    const fc_corr *c = job->c;
    int64_t nv = fc_ceil_div(n, VL);
    for (int64_t i = job->tile0; i < job->tile1; i++) {
        int64_t k0 = FN(even_start)(c->rows, job->tiles, i), m = FN(even_start)(c->rows, job->tiles, i + 1) - k0;
        const real *w = job->packed + k0 * job->reds * c->taps + q0 * m;
        int add = job->add || q0 > 0, last = job->last && q0 + depth == job->reds * c->taps;
        FN(result) to = job->to;
        to.y += k0 * to.channel;
        FN(im2col_fetch)(job, i);
        const real *bias = job->bias && !add ? job->bias + k0 * job->bias_stride : NULL;
        if (job->dense && n == nv * VL) {
            for (int64_t k = 0; k < m; k++) {
                if (bias)
                    FN(fill_run)(to.y + p0 + k * to.channel, bias[k * job->bias_stride], n);
                else if (!add)
                    for (int64_t at = 0; at < n; at += FC_ALIGN / (int64_t)sizeof(real))
                        __builtin_prefetch(to.y + p0 + k * to.channel + at, 1, 3); /* rows of y are far apart */
            }
            FN(fma_taps)((int)m, (int)nv, w, row_at, depth, panel, (FN(dest)){to.y + p0, to.channel, add || bias});
            for (int64_t k = 0; last && k < m; k++)
                FN(rectify_run)(job->p, to.y + p0 + k * to.channel, 1, n);
        } else {
            FN(fma_taps)((int)m, (int)nv, w, row_at, depth, panel, (FN(dest)){tile, FC_PIXELS, 0});
            FN(im2col_put)(job, &to, tile, m, p0, n, bias, add, last);
        }
    }
}

/* 1x1 for few channels: reading is most of the time there is, so that channels pass in long runs, as they lie. */
static void FN(im2col_mixed)(const FN(im2col_job) *job, const real *from, ptrdiff_t channel, int64_t p0, int64_t end)
{
    for (int64_t n; p0 < end; p0 += n) {
        n = fc_min(FC_IM2COL_RUN, end - p0);
        for (int64_t i = job->tile0; i < job->tile1; i++) {
            int64_t k0 = FN(even_start)(job->c->rows, job->tiles, i), k1 = FN(even_start)(job->c->rows, job->tiles, i + 1);
            int64_t parts = fc_ceil_div(k1 - k0, FC_MIX_ROWS);
            for (int64_t j = 0; j < parts; j++) {
                int64_t k = k0 + FN(even_start)(k1 - k0, parts, j), m = k0 + FN(even_start)(k1 - k0, parts, j + 1) - k;
                real *y = job->to.y + k * job->to.channel + p0;
                FN(dest) to = {y, job->to.channel, job->add || job->bias};
                for (int64_t r = 0; r < m && job->bias && !job->add; r++)
                    FN(fill_run)(y + r * job->to.channel, job->bias[(k + r) * job->bias_stride], n);
                FN(mix_rows)(m, job->reds, job->packed + k0 * job->reds + k - k0, 1, k1 - k0, from + p0, channel, n, to);
                for (int64_t r = 0; r < m && job->last; r++)
                    FN(rectify_run)(job->p, y + r * job->to.channel, 1, n);
            }
        }
    }
}

/* Where an output pixel's first tap lies in a channel. */
static inline ptrdiff_t FN(im2col_at)(const fc_corr *c, const fc_array *x, int64_t p)
{
    int64_t w = p % c->axis[2].count, h = p / c->axis[2].count % c->axis[1].count, d = p / c->axis[2].count / c->axis[1].count;
    return (d * c->axis[0].xstep + c->axis[0].off) * x->stride[2] + (h * c->axis[1].xstep + c->axis[1].off) * x->stride[3] +
           (w * c->axis[2].xstep + c->axis[2].off) * x->stride[4];
}

static void FN(im2col_compute)(const fc_plan *plan, fc_call *call, int64_t red_block, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(im2col_state) *s = (const void *)plan->state;
    int64_t split = task % s->splits, rest = task / s->splits, run = rest % s->runs;
    rest /= s->runs;
    int64_t phase = rest % s->phases, g = rest / s->phases % p->groups, n = rest / s->phases / p->groups;
    fc_corr c = fc_corr_of(p, phase);
    int64_t image = c.axis[0].count * c.axis[1].count * c.axis[2].count;
    int64_t end = fc_min(image, (run + 1) * s->run), r0 = red_block * s->reds, reds = fc_min(s->reds, c.reds - r0);
    const fc_array *x = &call->array[0], *b = &call->array[2];
    const real *from = (const real *)x->data + n * x->stride[0] + (g * c.reds + r0) * x->stride[1];
    const real *packed = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    if (call->mode == FC_RUN_PACKED)
        packed += red_block * s->packed;

    real *panel = (real *)(scratch + FC_SCRATCH_HEAD), *tile = panel + s->chunk * FC_PIXELS;
    ptrdiff_t *row_at = (ptrdiff_t *)(tile + FC_TAPS_MAX * FC_PIXELS);
    FN(segment) *seg = (FN(segment) *)(row_at + s->chunk);

    fc_box origin = {.n0 = n, .j0 = {0, 0, 0}};
    FN(im2col_job) job = {.p = p,
                          .c = &c,
                          .packed = packed + (g * s->phases + phase) * s->phase_weights,
                          .bias = b->data ? (const real *)b->data + g * c.rows * b->stride[0] : NULL,
                          .bias_stride = b->stride[0],
                          .to = FN(result_of)(&c, &call->array[3], &origin, g * c.rows),
                          .reds = reds,
                          .tile0 = FN(even_start)(s->row_tiles, s->splits, split),
                          .tile1 = FN(even_start)(s->row_tiles, s->splits, split + 1),
                          .tiles = s->row_tiles,
                          .add = red_block > 0,
                          .last = red_block == s->red_blocks - 1};
    job.dense = job.to.step[2] == 1 && (c.axis[1].count == 1 || job.to.step[1] == c.axis[2].count) &&
                (c.axis[0].count == 1 || job.to.step[0] == c.axis[2].count * c.axis[1].count);
    int linear = FN(patches_linear)(&c, x);
    /* Inputs that few result channels use once are read where they lie. */
    int in_place = linear && x->stride[4] == 1 && job.tile1 - job.tile0 <= FC_IM2COL_IN_PLACE, read_in_place = -1;
    if (linear && x->stride[4] == 1 && job.dense && (c.rows <= FC_MIX_ROWS || c.rows * reds <= FC_IM2COL_FEW)) {
        FN(im2col_mixed)(&job, from, x->stride[1], run * s->run, end);
        return;
    }
    int64_t channels = fc_max(1, FC_IM2COL_CHUNK / c.taps), piece = fc_min(c.taps, 2 * FC_IM2COL_CHUNK);
    for (int64_t p0 = run * s->run; p0 < end; p0 += FC_PIXELS) {
        int64_t pixels = fc_min(FC_PIXELS, end - p0), segments = FN(segments)(&c, linear, p0, pixels, seg);
        for (int64_t r = 0; r < reds; r += channels) {
            int64_t m = fc_min(channels, reds - r), wraps = r + m == reds;
            if (c.taps == 1 && c.axis[2].xstep <= FC_PIXELS) { /* else most of it is in the cache already, or far apart */
                job.next = from + (wraps ? 0 : r + m) * x->stride[1] + FN(im2col_at)(&c, x, wraps ? p0 + FC_PIXELS : p0);
                job.next_channel = x->stride[1];
                job.next_channels = wraps ? fc_min(channels, reds) : fc_min(channels, reds - r - m);
                job.next_run = FC_PIXELS * c.axis[2].xstep;
            }
            for (int64_t t0 = 0; t0 < c.taps; t0 += piece) {
                int64_t t1 = fc_min(c.taps, t0 + piece);
                int whole = in_place && pixels % VL == 0;
                if (whole != read_in_place)
                    for (int64_t i = 0; i < s->chunk; i++)
                        row_at[i] = i * (whole ? x->stride[1] : FC_PIXELS);
                read_in_place = whole;
                const real *first = from + r * x->stride[1];
                if (!whole)
                    FN(patches)(&c, x, first, linear, seg, segments, pixels, m, t0, t1, panel, FC_PIXELS);
                FN(im2col_panel)(&job, whole ? first + p0 : panel, row_at, r * c.taps + t0, m * (t1 - t0), p0, pixels, tile);
            }
        }
    }
}

static void FN(im2col_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(im2col_state) *s = (const void *)plan->state;
    if (s->has_fill && stage-- == 0) {
        fc_corr c = fc_corr_of(p, 0);
        FN(fill_bias)(p, &c, call, task);
        return;
    }
    int64_t red_block = stage / 2;
    if (stage % 2) {
        FN(im2col_compute)(plan, call, red_block, task, scratch);
        return;
    }
    int64_t i = task % s->row_tiles, phase = task / s->row_tiles % s->phases, g = task / s->row_tiles / s->phases;
    fc_corr c = fc_corr_of(p, phase);
    int64_t r0 = red_block * s->reds, reds = fc_min(s->reds, c.reds - r0);
    int64_t k0 = FN(even_start)(c.rows, s->row_tiles, i), m = FN(even_start)(c.rows, s->row_tiles, i + 1) - k0;
    const fc_array *w = &call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    real *to = (real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    if (call->mode == FC_PACK)
        to += red_block * s->packed;
    FN(im2col_pack)(&c, &ws, (const real *)w->data + g * p->out_channels * w->stride[0] + k0 * ws.row + r0 * ws.red, reds, m,
                    to + (g * s->phases + phase) * s->phase_weights + k0 * reds * c.taps);
}

static const fc_algorithm FN(im2col) = {"im2col", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD,
                                        FN(im2col_prepare), FN(im2col_tasks), FN(im2col_run)};
