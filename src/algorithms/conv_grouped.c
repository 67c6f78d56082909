/* conv_grouped.c: convolution and its input gradient with groups in the lanes, for depthwise convolution of small maps and groups
 * of few channels.
 *
 * A task takes a box of one image and a block of VL groups. In the panel every tap, stride and phase of an input gradient
 * is a matter of offsets: it is filled once, and all phases write the same strip of results, [k][d][h][w][lane], which
 * is transposed on its way out. Weights are packed [o][i][t][lane], in the same order for both directions.
 *
 * The tables follow from the box alone. Scratch notes which box they are for: tasks of the same box find them done, and the
 * padding zeroed. */

#define FC_GROUPED_CHUNK 72 /* terms: nine rows' inputs and three rows of weights, 32 KB with AVX-512 */

typedef struct {
    FN(grouped) shape;
    int64_t phases, boxes;
    int64_t chunk;           /* channels of a chunk */
    int64_t weights;         /* packed elements of a block of groups */
    int64_t pixels, buffer;  /* results of a strip, at most, and their elements in nj channels */
    int64_t outputs;         /* of all phases of a strip, at most */
    int64_t grain;
    int has_holes;
} FN(grouped_state);

/* A phase of a strip. */
typedef struct {
    int64_t taps, outputs, rows; /* outputs along a row, and rows, of the whole box */
} FN(grouped_phase);

/* What the scratch of a thread holds. */
typedef struct {
    int64_t box; /* + 1; 0: nothing yet */
    FN(lanes_panel) panel;
} FN(grouped_noted);

typedef struct {
    FN(grouped_noted) *noted;
    real *panel, *buffer, *start;
    FN(grouped_phase) *phase;
    FN(lane_step) *step;
    ptrdiff_t *row, *at, *inside;
} FN(grouped_scratch);

static FN(grouped_scratch) FN(grouped_scratch_of)(const FN(grouped_state) *s, char *scratch)
{
    FN(grouped_scratch) t;
    t.noted = (FN(grouped_noted) *)scratch;
    t.panel = (real *)(scratch + fc_round_up(sizeof *t.noted, FC_ALIGN));
    t.buffer = t.panel + s->shape.panel;
    t.start = t.buffer + s->buffer;
    t.phase = (FN(grouped_phase) *)(t.start + FC_LANES_NJ * VL);
    t.step = (FN(lane_step) *)(t.phase + s->phases);
    t.row = (ptrdiff_t *)(t.step + s->chunk * s->shape.taps);
    t.at = t.row + s->outputs;
    t.inside = t.at + s->outputs;
    return t;
}

/* Result indices from one output of the whole correlation to the next. */
static inline int64_t FN(result_step)(const fc_problem *p, int d) { return p->op == FC_CONV ? 1 : p->axis[d].stride; }

static const char *FN(grouped_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(grouped_state) *s = (void *)plan->state;
    _Static_assert(sizeof *s <= sizeof plan->state, "state");
    const char *declined = FN(grouped_shape)(p, &s->shape);
    if (declined)
        return declined;
    const fc_corr *c = &s->shape.whole;
    const int64_t *j = s->shape.blocks.j;
    s->phases = fc_corr_phases(p);
    s->has_holes = fc_corr_has_holes(p);
    s->boxes = fc_blocks_count(&s->shape.blocks) / p->batch;
    s->chunk = fc_max(1, fc_min(c->reds, FC_GROUPED_CHUNK / c->taps));
    s->weights = c->rows * c->reds * s->shape.taps * VL;
    s->pixels = 1;
    for (int d = 0; d < FC_DIMS; d++)
        s->pixels *= fc_min(c->out[d], (d == 1 ? s->shape.strip : j[d]) * FN(result_step)(p, d));
    s->buffer = FN(aligned)(fc_min(FC_LANES_NJ, c->rows) * s->pixels * VL);
    s->outputs = s->phases * j[0] * s->shape.strip * j[2];
    double work = (double)(j[0] * j[1] * j[2]) * (double)s->weights;
    s->grain = fc_max(1, fc_min((int64_t)((1 << 18) / work), s->boxes * s->shape.group_blocks * p->batch / FC_TASKS_WANTED));
    plan->stages = 2;
    plan->workspace = plan->packed = s->weights * s->shape.group_blocks * (int64_t)sizeof(real);
    FN(grouped_scratch) end = FN(grouped_scratch_of)(s, NULL);
    plan->scratch = (int64_t)(intptr_t)(end.inside + s->shape.inside);
    return NULL;
}

static ptrdiff_t FN(grouped_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(grouped_state) *s = (const void *)plan->state;
    if (stage == 0) {
        *grain = 4;
        return mode == FC_RUN_PACKED ? 0 : s->shape.group_blocks;
    }
    *grain = s->grain;
    return mode == FC_PACK ? 0 : s->boxes * s->shape.group_blocks * plan->problem.batch;
}

/* Weights of a block of groups: dst[o][i][t][lane]. */
static void FN(grouped_pack)(const fc_problem *p, const fc_array *w, int64_t block, real *dst)
{
    const int64_t k[FC_DIMS] = {p->axis[0].kernel, p->axis[1].kernel, p->axis[2].kernel};
    int64_t lanes = fc_min(VL, p->groups - block * VL), taps = k[0] * k[1] * k[2], each = p->in_channels * taps;
    ptrdiff_t ld = p->out_channels * w->stride[0];
    const real *src = (const real *)w->data + block * VL * ld;
    if ((k[2] == 1 || w->stride[4] == 1) && (k[1] == 1 || w->stride[3] == k[2]) && (k[0] == 1 || w->stride[2] == k[1] * k[2]) &&
        (p->in_channels == 1 || w->stride[1] == taps) && (p->out_channels == 1 || w->stride[0] == each)) {
        FN(transpose)(src, ld, lanes, p->out_channels * each, dst, VL, VL);
        return;
    }
    for (int64_t o = 0; o < p->out_channels; o++)
        for (int64_t i = 0; i < p->in_channels; i++)
            for (int64_t t = 0; t < taps; t++, dst += VL) {
                const real *tap = src + o * w->stride[0] + i * w->stride[1] + t / (k[1] * k[2]) * w->stride[2] +
                                  t / k[2] % k[1] * w->stride[3] + t % k[2] * w->stride[4];
                for (int64_t j = 0; j < VL; j++)
                    dst[j] = j < lanes ? tap[j * ld] : 0;
            }
}

/* Elements of packed weights from one result channel, one summed channel, to the next. */
static inline ptrdiff_t FN(grouped_row)(const fc_problem *p, int64_t taps)
{
    return (p->op == FC_CONV ? p->in_channels : 1) * taps * VL;
}
static inline ptrdiff_t FN(grouped_red)(const fc_problem *p, int64_t taps)
{
    return (p->op == FC_CONV ? 1 : p->in_channels) * taps * VL;
}

/* All tables of a box's strips, one phase after the other. Those of the last, lower strip are the beginning of each phase's. */
static void FN(grouped_tables)(const fc_problem *p, const FN(grouped_state) *s, const FN(grouped_scratch) *t)
{
    const FN(lanes_panel) *panel = &t->noted->panel;
    const fc_box *box = &panel->box;
    const fc_weight_strides ws = {0, FN(grouped_red)(p, s->shape.taps),
                                  {p->axis[1].kernel * p->axis[2].kernel * VL, p->axis[2].kernel * VL, VL}};
    const ptrdiff_t ld[FC_DIMS] = {panel->slice, panel->row, VL};
    int64_t wide = fc_min(s->shape.whole.out[2] - box->j0[2] * FN(result_step)(p, 2), box->j[2] * FN(result_step)(p, 2));
    int64_t high = fc_min(s->shape.whole.out[1] - box->j0[1] * FN(result_step)(p, 1), s->shape.strip * FN(result_step)(p, 1));
    const ptrdiff_t out[FC_DIMS] = {high * wide * VL, wide * VL, VL};
    FN(lane_step) *step = t->step;
    ptrdiff_t *row = t->row, *at = t->at;
    for (int64_t e = 0; e < s->phases; e++) {
        fc_corr c = fc_corr_of(p, e);
        int64_t n[FC_DIMS];
        ptrdiff_t first = 0, to = 0, across[FC_DIMS], over[FC_DIMS];
        for (int d = 0; d < FC_DIMS; d++) {
            n[d] = fc_max(0, fc_min(box->j[d], c.axis[d].count - box->j0[d]));
            first += (c.axis[d].off - s->shape.reach[d].off) * ld[d];
            to += c.axis[d].ystart * out[d];
            across[d] = c.axis[d].xstep * ld[d];
            over[d] = c.axis[d].ystep * out[d];
        }
        t->phase[e] = (FN(grouped_phase)){c.taps, n[0] * n[2], n[1]};
        n[1] = fc_min(n[1], s->shape.strip);
        row = FN(grid_table)(n, first, across, row);
        at = FN(grid_table)(n, to, over, at);
        for (int64_t i = 0; i < s->chunk; i++)
            for (int64_t q = 0; q < c.taps; q++, step++) {
                int64_t w = q % c.axis[2].taps, h = q / c.axis[2].taps % c.axis[1].taps, d = q / c.axis[2].taps / c.axis[1].taps;
                step->a = i * panel->plane + d * c.axis[0].offstep * ld[0] + h * c.axis[1].offstep * ld[1] +
                          w * c.axis[2].offstep * ld[2];
                step->b = i * ws.red + fc_weight_tap(&c, &ws, q);
            }
    }
    FN(lanes_empty)(panel, s->shape.whole.reds, t->panel, t->inside);
    FN(fill_run)(t->start, 0, FC_LANES_NJ * VL);
}

/* nj result channels of a strip, from k0 on: every phase, its sums in chunks of channels. h0: first output row in the box. */
static void FN(grouped_rows)(const fc_problem *p, const FN(grouped_state) *s, const FN(grouped_scratch) *t, const real *weights,
                             int64_t k0, int64_t nj, int64_t h0)
{
    const FN(lanes_panel) *panel = &t->noted->panel;
    ptrdiff_t red = FN(grouped_red)(p, s->shape.taps);
    FN(lanes_job) job = {.row = t->row, .step = t->step, .c = t->buffer, .at = t->at, .ldc = s->pixels * VL};
    job.ldb = FN(grouped_row)(p, s->shape.taps);
    const real *inputs = t->panel + h0 * s->shape.reach[1].step * panel->row;
    for (const FN(grouped_phase) *e = t->phase; e < t->phase + s->phases; e++) {
        int64_t outputs = e->outputs * fc_max(0, fc_min(e->rows - h0, s->shape.strip));
        for (int64_t i = 0; i < s->shape.whole.reds; i += s->chunk) {
            job.depth = fc_min(s->chunk, s->shape.whole.reds - i) * e->taps;
            job.a = inputs + i * panel->plane;
            job.b = weights + k0 * job.ldb + i * red;
            job.start = i ? NULL : t->start;
            FN(fma_lanes)(nj, outputs, &job);
        }
        job.row += e->outputs * fc_min(e->rows, s->shape.strip);
        job.at += e->outputs * fc_min(e->rows, s->shape.strip);
        job.step += s->chunk * e->taps;
    }
}

/* One result channel of every group of the block, n results from `src`, [d][h][w][lane], into y. */
static void FN(grouped_store)(const fc_array *y, const int64_t *n, const real *src, int64_t lanes, real *dst, ptrdiff_t ld)
{
    int64_t run = y->stride[3] == n[2] * y->stride[4] ? n[1] * n[2] : n[2];
    for (int64_t d = 0; d < n[0]; d++) {
        real *to = dst + d * y->stride[2];
        for (int64_t i = 0; i < n[1] * n[2]; i += run, to += y->stride[3], src += run * VL) {
            if (y->stride[4] == 1) {
                FN(from_lanes)(src, run, lanes, to, ld);
                continue;
            }
            for (int64_t q = 0; q < run; q++)
                for (int64_t j = 0; j < lanes; j++)
                    to[j * ld + q * y->stride[4]] = src[q * VL + j];
        }
    }
}

/* The output rows h0 .. of a box in all result channels. y: the box's first result in the block's first channel. */
static void FN(grouped_strip)(const fc_problem *p, const FN(grouped_state) *s, const fc_call *call, const FN(grouped_scratch) *t,
                              int64_t block, int64_t h0, const real *weights, real *y)
{
    const fc_corr *c = &s->shape.whole;
    const fc_box *box = &t->noted->panel.box;
    const fc_array *b = &call->array[2], *out = &call->array[3];
    int64_t n[FC_DIMS], lanes = fc_min(VL, p->groups - block * VL);
    for (int d = 0; d < FC_DIMS; d++) {
        int64_t from = (box->j0[d] + (d == 1 ? h0 : 0)) * FN(result_step)(p, d);
        n[d] = fc_max(0, fc_min(c->out[d] - from, (d == 1 ? fc_min(box->j[1] - h0, s->shape.strip) : box->j[d]) * FN(result_step)(p, d)));
    }
    for (int64_t k0 = 0; k0 < c->rows; k0 += FC_LANES_NJ) {
        int64_t nj = fc_min(FC_LANES_NJ, c->rows - k0);
        for (int64_t i = 0; b->data && i < nj * VL; i++) {
            int64_t channel = (block * VL + i % VL) * c->rows + k0 + i / VL;
            t->start[i] = i % VL < lanes ? ((const real *)b->data)[channel * b->stride[0]] : 0;
        }
        for (int64_t i = 0; s->has_holes && i < nj * s->pixels; i++)
            FN(store)(t->buffer + i * VL, FN(load)(t->start + i / s->pixels * VL));
        FN(grouped_rows)(p, s, t, weights, k0, nj, h0);
        FN(rectify_run)(p, t->buffer, 1, nj * s->pixels * VL);
        for (int64_t j = 0; j < nj; j++)
            FN(grouped_store)(out, n, t->buffer + j * s->pixels * VL, lanes,
                              y + (k0 + j) * out->stride[1] + h0 * FN(result_step)(p, 1) * out->stride[3], c->rows * out->stride[1]);
    }
}

static void FN(grouped_compute)(const fc_plan *plan, fc_call *call, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(grouped_state) *s = (const void *)plan->state;
    const fc_corr *c = &s->shape.whole;
    int64_t n = task % p->batch, unit = task / p->batch, block = unit % s->shape.group_blocks, box_i = unit / s->shape.group_blocks;
    FN(grouped_scratch) t = FN(grouped_scratch_of)(s, scratch);
    FN(lanes_panel) *panel = &t.noted->panel;
    if (t.noted->box != box_i + 1) {
        t.noted->box = box_i + 1;
        *panel = FN(lanes_panel_of)(&s->shape, p->batch, box_i);
        FN(grouped_tables)(p, s, &t);
    }
    const fc_array *x = &call->array[0], *y = &call->array[3];
    ptrdiff_t next_block = VL * c->reds * x->stride[1];
    const real *from = (const real *)x->data + n * x->stride[0] + block * next_block;
    real *to = (real *)y->data + n * y->stride[0] + block * VL * c->rows * y->stride[1];
    for (int d = 0; d < FC_DIMS; d++)
        to += panel->box.j0[d] * FN(result_step)(p, d) * y->stride[2 + d];
    const real *weights = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed) + block * s->weights;
    int64_t filled = 0;
    for (int64_t h = 0; h < panel->box.j[1]; h += s->shape.strip) {
        int64_t need = (fc_min(h + s->shape.strip, panel->box.j[1]) - 1) * s->shape.reach[1].step + s->shape.reach[1].span;
        FN(lanes_fill)(panel, x, from, c->reds, fc_min(VL, p->groups - block * VL), filled, need,
                       n + 1 < p->batch ? x->stride[0] : next_block - n * x->stride[0], t.inside, t.panel);
        filled = need;
        FN(grouped_strip)(p, s, call, &t, block, h, weights, to);
    }
}

static void FN(grouped_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(grouped_state) *s = (const void *)plan->state;
    if (stage == 0)
        FN(grouped_pack)(&plan->problem, &call->array[1], task,
                         (real *)(call->mode == FC_RUN ? call->workspace : call->packed) + task * s->weights);
    else
        FN(grouped_compute)(plan, call, task, scratch);
}

static const fc_algorithm FN(grouped_conv) = {"grouped", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD,
                                              FN(grouped_prepare), FN(grouped_tasks), FN(grouped_run)};
