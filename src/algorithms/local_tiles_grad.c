/* local_tiles_grad.c: tiled connection, the weights' gradient, all kernels at once.
 *
 *   gw[kernel][k][c][t] = sum over images and results j of the kernel's class of gy[k][j] * x[c][j + t]
 *
 * The classes are those of the forward pass (local_tiles.c), and so is the panel of inputs that serves them all; products are those of
 * weight_grad.c: lanes hold result channels, gy is turned to [class of d][of h][pixel][class of w][lane], in which the pixels of a class
 * are a fixed step apart. A task has the sums of all kernels for some channels of each side, and a part of the boxes; the parts, whose
 * number depends on the shape alone, are added in order by the last stage. */

typedef struct {
    FN(tiles_state) t;                 /* classes, boxes; its chunk: channels of a task */
    int64_t k_tiles, c_tiles, parts;
    int64_t width, tile;               /* lanes; elements of a task's sums */
    int64_t panel, turned;             /* elements of scratch */
} FN(tgrad_state);

static const char *FN(tgrad_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(tgrad_state) *s = (void *)plan->state;
    _Static_assert(sizeof(FN(tgrad_state)) <= sizeof plan->state, "the state fits");
    const char *reason = FN(tiles_fit)(p, &s->t);
    if (reason)
        return reason;
    const fc_corr *all = &s->t.all;
    FN(tiles_classes) c;
    FN(tiles_count)(p, &s->t, &c);
    s->t.taps = c.before[s->t.classes];
    s->k_tiles = fc_ceil_div(all->rows, FC_LANES);
    s->width = fc_round_up(fc_min(all->rows, FC_LANES), VL);
    int64_t channels = fc_max(1, fc_min(all->reds, FC_WGRAD_TILE / (s->width * s->t.taps)));
    s->c_tiles = fc_ceil_div(all->reds, channels);
    s->t.chunk = fc_ceil_div(all->reds, s->c_tiles);
    s->c_tiles = fc_ceil_div(all->reds, s->t.chunk);
    s->tile = FN(aligned)(s->width * s->t.chunk * s->t.taps);
    const int64_t one[FC_DIMS] = {1, 1, 1}, zero[FC_DIMS] = {0, 0, 0};
    if (s->tile > 4 * FC_WGRAD_TILE || fc_panel_elements(all, one, 0) > 2 * FC_PHASES_PANEL / s->t.chunk)
        return "few taps of all kernels, which reach over few inputs";
    s->t.blocks = fc_choose_blocks(all, p->batch, s->t.chunk, FC_PHASES_PANEL, fc_max(64, FC_TILES_BOX / s->t.classes), 0);
    s->t.boxes = fc_blocks_count(&s->t.blocks);

    fc_box box = fc_box_at(&s->t.blocks, all, p->batch, 0);
    fc_panel panel = fc_panel_of(all, zero, s->t.blocks.j, s->t.chunk, 0);
    s->panel = FN(aligned)(box.n * s->t.chunk * panel.plane);
    s->turned = FN(aligned)(box.pixels * s->t.classes * s->width);
    double work = (double)box.pixels * (double)s->tile * (double)s->t.boxes; /* of all parts of a tile */
    int64_t tiles = p->groups * s->k_tiles * s->c_tiles, least = (int64_t)(work / FC_TASK_WORK) + 1;
    s->parts = fc_max(least, fc_min((int64_t)(work / (1 << 20)) + 1, fc_ceil_div(FC_TASKS_WANTED, tiles)));
    s->parts = fc_min(s->parts, fc_min(s->t.boxes, FC_PACKED_BYTES / (int64_t)sizeof(real) / (tiles * s->tile)));
    if (s->parts < 1)
        return "at most 64 MiB of weights";
    plan->stages = 2;
    plan->workspace = tiles * s->parts * s->tile * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->turned) * (int64_t)sizeof(real) +
                    (s->t.chunk * s->t.taps + box.pixels) * (int64_t)sizeof(ptrdiff_t) + (int64_t)sizeof(FN(tiles_classes));
    return NULL;
}

static ptrdiff_t FN(tgrad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(tgrad_state) *s = (const void *)plan->state;
    *grain = 1;
    return mode == FC_PACK ? 0 : plan->problem.groups * s->k_tiles * s->c_tiles * (stage == 0 ? s->parts : 1);
}

/* What a task sums: channels from k0 and c0 on, within a group. */
typedef struct {
    int64_t g, k0, rows, c0, channels;
} FN(tgrad_tile);

static FN(tgrad_tile) FN(tgrad_tile_of)(const FN(tgrad_state) *s, int64_t i)
{
    FN(tgrad_tile) t = {.g = i / s->c_tiles / s->k_tiles, .k0 = i / s->c_tiles % s->k_tiles * FC_LANES, .c0 = i % s->c_tiles * s->t.chunk};
    t.rows = fc_min(FC_LANES, s->t.all.rows - t.k0);
    t.channels = fc_min(s->t.chunk, s->t.all.reds - t.c0);
    return t;
}

/* The result's gradient in a box, turned. */
static void FN(tgrad_turn)(const FN(tgrad_state) *s, const FN(tiles_job) *job, const fc_array *gy, int64_t channel, int64_t rows,
                           real *turned)
{
    const fc_box *box = &job->box;
    const int64_t *period = s->t.period, width = fc_round_up(rows, VL);
    int64_t first[FC_DIMS], end[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++) {
        first[d] = box->j0[d] * period[d];
        end[d] = fc_min(s->t.all.out[d], first[d] + box->j[d] * period[d]);
    }
    for (int64_t n = 0; n < box->n; n++)
        for (int64_t d = first[0]; d < end[0]; d++)
            for (int64_t h = first[1]; h < end[1]; h++) {
                int64_t line = d % period[0] * period[1] + h % period[1];
                int64_t row = (n * box->j[0] + (d - first[0]) / period[0]) * box->j[1] + (h - first[1]) / period[1];
                FN(turn_run)((const real *)gy->data + (box->n0 + n) * gy->stride[0] + channel * gy->stride[1] + d * gy->stride[2] +
                                 h * gy->stride[3] + first[2] * gy->stride[4],
                             gy, end[2] - first[2], rows, 0, 0, turned + (line * box->pixels + row * box->j[2]) * period[2] * width);
            }
}

/* Adds a box's products to the sums of all classes, [class][c][t][lane]. A class may have fewer results than the first has: beyond
 * them nothing is multiplied, since an input there may be infinite. */
static void FN(tgrad_multiply)(const FN(tgrad_state) *s, const FN(tiles_job) *job, const FN(tgrad_tile) *t, const real *turned, real *acc)
{
    const fc_box *box = &job->box;
    const int64_t *period = s->t.period, width = fc_round_up(t->rows, VL);
    for (int64_t e = 0; e < s->t.classes; e++) {
        int64_t of[FC_DIMS] = {e / period[2] / period[1], e / period[2] % period[1], e % period[2]}, count[FC_DIMS];
        int64_t taps = FN(tiles_taps_of)(job->classes, e), rows = t->channels * taps, tiles = fc_ceil_div(rows, FC_ROWS_MAX);
        int whole = 1;
        for (int d = 0; d < FC_DIMS; d++) {
            int64_t left = of[d] < s->t.all.out[d] ? (s->t.all.out[d] - of[d] - 1) / period[d] + 1 - box->j0[d] : 0;
            count[d] = fc_max(0, fc_min(box->j[d], left));
            whole = whole && count[d] == box->j[d];
        }
        int64_t depth = whole ? box->pixels : count[2], runs = whole ? 1 : box->n * box->j[0] * box->j[1];
        const ptrdiff_t *row_at = job->tap_at + job->classes->before[e] * s->t.chunk;
        for (int64_t i = 0; i < runs && depth > 0; i++) {
            if (!whole && (i % box->j[1] >= count[1] || i / box->j[1] % box->j[0] >= count[0]))
                continue;
            const int64_t p0 = i * box->j[2];
            const real *b = turned + ((e / period[2] * box->pixels + p0) * period[2] + of[2]) * width;
            for (int64_t k = 0; k < tiles; k++) {
                int64_t q0 = FN(even_start)(rows, tiles, k), q1 = FN(even_start)(rows, tiles, k + 1);
                FN(fma_rows)((int)(q1 - q0), (int)(width / VL), job->inputs, row_at + q0, job->pixel_at + p0, depth, b, period[2] * width,
                             (FN(dest)){acc + (job->classes->before[e] * t->channels + q0) * width, width, 1});
            }
        }
    }
}

static void FN(tgrad_compute)(const fc_plan *plan, fc_call *call, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(tgrad_state) *s = (const void *)plan->state;
    const FN(tgrad_tile) t = FN(tgrad_tile_of)(s, task / s->parts);
    int64_t part = task % s->parts, had[FC_DIMS + 1] = {0};
    real *acc = (real *)(void *)call->workspace + task * s->tile, *turned;
    FN(tiles_job) job = {.inputs = (real *)(void *)(scratch + FC_SCRATCH_HEAD)};
    turned = job.inputs + s->panel;
    job.classes = (void *)(turned + s->turned);
    job.tap_at = (ptrdiff_t *)(void *)(job.classes + 1);
    job.pixel_at = job.tap_at + s->t.chunk * s->t.taps;
    FN(tiles_count)(p, &s->t, job.classes);
    FN(fill_run)(acc, 0, s->tile);
    for (int64_t b = FN(even_start)(s->t.boxes, s->parts, part); b < FN(even_start)(s->t.boxes, s->parts, part + 1); b++) {
        const fc_box *box = &job.box;
        job.box = fc_box_at(&s->t.blocks, &s->t.all, p->batch, b);
        job.panel = fc_panel_of(&s->t.all, box->j0, box->j, t.channels, 0);
        FN(panel_fill)(&job.panel, &s->t.all, &call->array[0], box->n0, box->n, t.g * s->t.all.reds + t.c0, 0, job.inputs);
        if (had[0] != box->n || had[1] != box->j[0] || had[2] != box->j[1] || had[3] != box->j[2]) {
            FN(tiles_table)(p, &s->t, &job);
            fc_pixel_table(&job.panel, box, job.pixel_at);
        }
        had[0] = box->n;
        for (int d = 0; d < FC_DIMS; d++)
            had[1 + d] = box->j[d];
        FN(tgrad_turn)(s, &job, &call->array[1], t.g * s->t.all.rows + t.k0, t.rows, turned);
        FN(tgrad_multiply)(s, &job, &t, turned, acc);
    }
}

/* Adds up the parts of a tile, and turns it to its places in all kernels. */
static void FN(tgrad_finish)(const fc_plan *plan, const fc_call *call, int64_t task)
{
    const fc_problem *p = &plan->problem;
    const FN(tgrad_state) *s = (const void *)plan->state;
    const FN(tgrad_tile) t = FN(tgrad_tile_of)(s, task);
    const int64_t taps = s->t.taps / s->t.classes, width = fc_round_up(t.rows, VL), terms = p->in_channels * taps;
    real *acc = (real *)(void *)call->workspace + task * s->parts * s->tile;
    for (int64_t part = 1; part < s->parts; part++)
        for (int64_t i = 0; i < s->tile; i += VL)
            FN(store)(acc + i, FN(load)(acc + i) + FN(load)(acc + part * s->tile + i));
    for (int64_t e = 0; e < s->t.classes; e++, acc += t.channels * taps * width)
        FN(transpose)(acc, width, t.channels * taps, t.rows,
                      (real *)(void *)call->array[3].data + ((e * p->groups + t.g) * p->out_channels + t.k0) * terms + t.c0 * taps, terms,
                      t.channels * taps);
}

static void FN(tgrad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    if (stage == 0)
        FN(tgrad_compute)(plan, call, task, scratch);
    else
        FN(tgrad_finish)(plan, call, task);
}

static const fc_algorithm FN(local_tiles_grad) = {"tiles", FC_ISA_NAME, 1u << FC_LOCAL_WEIGHT_GRAD, FN(tgrad_prepare),
                                                  FN(tgrad_tasks), FN(tgrad_run)};
