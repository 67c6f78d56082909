/* filter_direct.c: an image by any kernel, as the plain sum.
 *
 * A stage is a part of the kernel of at most FC_FILTER_KERNEL_ROWS rows and so many columns that their reach takes no more than half of
 * the panel's row; usually that is the whole. A task is a block of results: bands of FC_FILTER_ROWS rows, each as soon as the
 * rows that it reads are in the panel, so that they are still in L1. */

typedef struct {
    FN(filter_blocks) blocks;
    int64_t parts_down, parts_across; /* of the kernel */
    int64_t high, wide;               /* of the largest part */
    int64_t weights, panel;           /* elements */
} FN(filter_direct_state);

static const char *FN(filter_direct_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(filter_direct_state) *s = (void *)plan->state;
    int64_t columns = fc_max(1, fc_min(FC_FILTER_KERNEL_COLS, 1 + FC_FILTER_PITCH / 2 / p->in_channels));
    s->parts_down = fc_ceil_div(p->axis[1].kernel, FC_FILTER_KERNEL_ROWS);
    s->parts_across = fc_ceil_div(p->axis[2].kernel, columns);
    s->high = fc_ceil_div(p->axis[1].kernel, s->parts_down);
    s->wide = fc_ceil_div(p->axis[2].kernel, s->parts_across);
    s->blocks = FN(filter_blocks_of)(p, (s->wide - 1) * p->in_channels, s->high);
    s->weights = FN(aligned)(s->high * s->wide);
    s->panel = (s->blocks.rows + s->high + 4 * FC_FILTER_ROWS) * FC_FILTER_PITCH;
    plan->stages = s->parts_down * s->parts_across;
    plan->scratch = FC_SCRATCH_HEAD + (s->weights + s->panel + 2 * FC_FILTER_PITCH) * (int64_t)sizeof(real) +
                    FC_FILTER_PITCH * (int64_t)sizeof(int64_t);
    return NULL;
}

static ptrdiff_t FN(filter_direct_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(filter_direct_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : plan->problem.batch * s->blocks.downs * s->blocks.acrosses;
}

/* Whether a kernel is small enough for the image to be read where it lies, and a block wide enough. The places outside are noted
 * for both edges, half a row of the panel for each: the right one's strip is up to twice the kernel's reach. */
static int FN(filter_is_near)(const fc_problem *p, const FN(filter_task) *t)
{
    int64_t reach = (p->axis[2].kernel - 1) * p->in_channels;
    return p->axis[1].kernel <= FC_NEAR_TAPS && p->axis[2].kernel <= FC_NEAR_TAPS && t->stride == 1 &&
           reach <= FC_FILTER_PITCH / 4 && t->cols >= 2 * (reach + FC_FILTER_NV * VL + FN(aligned)(1));
}

/* Results from..to of a band by way of the panel, where they read beyond the image. */
static void FN(filter_edge)(FN(filter_task) *t, const fc_problem *p, int64_t row, int64_t from, int64_t to, const real *weights,
                            real *panel, int64_t *at)
{
    int64_t high = p->axis[1].kernel, wide = p->axis[2].kernel, step = p->in_channels, col = t->col - p->axis[2].pad * step + from;
    real *nowhere = panel + (high + 2 * FC_FILTER_ROWS) * FC_FILTER_PITCH, *y[FC_FILTER_ROWS];
    if (from >= to)
        return;
    t->at = at;
    for (int64_t i = 0; i < FC_FILTER_ROWS + high - 1; i++)
        FN(filter_copy)(t, t->row + row - p->axis[1].pad + i, col, to - from + (wide - 1) * step, panel + i * FC_FILTER_PITCH);
    FN(filter_targets)(t, row, nowhere, y);
    for (int64_t h = 0; h < FC_FILTER_ROWS; h++)
        y[h] += y[h] < nowhere || y[h] >= nowhere + FC_FILTER_PITCH ? from : 0;
    FN(filter_apply)(panel, step, weights, high, wide, y, to - from, 0);
}

/* A block by a small kernel: all but the edges in place. Results that no cache will hold are stored past the caches. */
static void FN(filter_near)(FN(filter_task) *t, const fc_problem *p, const real *weights, real *panel)
{
    const int64_t high = p->axis[1].kernel, wide = p->axis[2].kernel, step = p->in_channels, col = t->col - p->axis[2].pad * step;
    const int64_t reach = (wide - 1) * step, line = FN(aligned)(1);
    int64_t *at = t->at, from = fc_max(0, -col), to = fc_min(t->cols, t->b->elements - col - reach);
    const real *row_at[FC_FILTER_ROWS - 1 + FC_NEAR_TAPS];
    real *constant = panel + (high + 3 * FC_FILTER_ROWS) * FC_FILTER_PITCH;
    int stream = t->high * t->b->elements >= FC_FILTER_PAST && t->ldy % line == 0;
    if (stream)
        from += (int64_t)(-(intptr_t)(t->y + from) & (FC_ALIGN - 1)) / (int64_t)sizeof(real);
    FN(fill_run)(constant, t->outside, t->cols + reach);
    FN(filter_places)(t, col, from + reach);
    t->at = at + FC_FILTER_PITCH / 2;
    FN(filter_places)(t, col + to, t->cols - to + reach);
    for (int64_t row = 0; row < t->rows; row += FC_FILTER_ROWS) {
        if (row + FC_FILTER_ROWS > t->rows) {
            t->at = at; /* the last rows: nothing below them may be written */
            FN(filter_places)(t, col, t->cols + reach);
            FN(filter_edge)(t, p, row, 0, t->cols, weights, panel, at);
            break;
        }
        for (int64_t i = 0; i < FC_FILTER_ROWS + high - 1; i++) {
            int64_t place = fc_outside(t->row + row - p->axis[1].pad + i, t->high, t->mode);
            row_at[i] = place < 0 ? constant : t->x + place * t->ldx + col;
        }
        FN(filter_edge)(t, p, row, 0, from, weights, panel, at);
        FN(near_rows)(high, row_at, step, weights, wide, t->y + row * t->ldy, t->ldy, from, to, stream);
        FN(filter_edge)(t, p, row, to, t->cols, weights, panel, at + FC_FILTER_PITCH / 2);
    }
    if (stream)
        FN(streamed)();
}

static void FN(filter_direct_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(filter_direct_state) *s = (const void *)plan->state;
    const fc_array *w = &call->array[1];
    FN(filter_task) t = FN(filter_task_of)(plan, call, &s->blocks, task);
    int64_t *noted = (int64_t *)(void *)scratch;
    real *weights = (real *)(void *)(scratch + FC_SCRATCH_HEAD), *panel = weights + s->weights, *nowhere = panel + s->panel;
    t.at = (int64_t *)(void *)(nowhere + 2 * FC_FILTER_PITCH);
    int64_t down = stage / s->parts_across, across = stage % s->parts_across;
    int64_t k0 = FN(even_start)(p->axis[1].kernel, s->parts_down, down), c0 = FN(even_start)(p->axis[2].kernel, s->parts_across, across);
    int64_t high = FN(even_start)(p->axis[1].kernel, s->parts_down, down + 1) - k0;
    int64_t wide = FN(even_start)(p->axis[2].kernel, s->parts_across, across + 1) - c0;
    if (!*noted) {
        *noted = 1;
        FN(filter_pack)((const real *)w->data + k0 * w->stride[3] + c0 * w->stride[4], w->stride[3], w->stride[4], high, wide, weights);
    }
    if (FN(filter_is_near)(p, &t)) {
        FN(filter_near)(&t, p, weights, panel);
        return;
    }
    int64_t from = t.col + (c0 - p->axis[2].pad) * p->in_channels, n = t.cols + (wide - 1) * p->in_channels;
    int64_t first = t.row + k0 - p->axis[1].pad, filled = 0;
    FN(filter_places)(&t, from, n);
    panel += FN(filter_shift)(t.col - from);
    for (int64_t row = 0; row < t.rows; row += FC_FILTER_ROWS) {
        real *y[FC_FILTER_ROWS];
        for (; filled < fc_min(row + FC_FILTER_ROWS, t.rows) + high - 1; filled++)
            FN(filter_copy)(&t, first + filled, from, n, panel + filled * FC_FILTER_PITCH);
        FN(filter_targets)(&t, row, nowhere, y);
        FN(filter_apply)(panel + row * FC_FILTER_PITCH, p->in_channels, weights, high, wide, y, t.cols, stage > 0);
    }
}

/* A task's block at once, for what cannot be computed otherwise: the whole kernel, the panel filled for each band. */
static void FN(filter_plain)(const FN(filter_task) *t, const fc_problem *p, const fc_array *w, real *weights, real *panel)
{
    int64_t high = p->axis[1].kernel, wide = p->axis[2].kernel, step = p->in_channels;
    int64_t from = t->col - p->axis[2].pad * step, n = t->cols + (wide - 1) * step, first = t->row - p->axis[1].pad;
    real *nowhere = panel + (high + FC_FILTER_ROWS) * FC_FILTER_PITCH, *y[FC_FILTER_ROWS];
    FN(filter_pack)((const real *)w->data, w->stride[3], w->stride[4], high, wide, weights);
    for (int64_t row = 0; row < t->rows; row += FC_FILTER_ROWS) {
        for (int64_t i = 0; i < FC_FILTER_ROWS + high - 1; i++)
            FN(filter_copy)(t, first + row + i, from, n, panel + i * FC_FILTER_PITCH);
        FN(filter_targets)(t, row, nowhere, y);
        FN(filter_apply)(panel, step, weights, high, wide, y, t->cols, 0);
    }
}

static const fc_algorithm FN(filter_direct) = {"direct", FC_ISA_NAME, 1u << FC_FILTER, FN(filter_direct_prepare),
                                               FN(filter_direct_tasks), FN(filter_direct_run)};
