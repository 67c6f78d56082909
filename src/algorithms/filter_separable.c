/* filter_separable.c: an image by the product of a column and a row of weights (operand 1 holds both, the column first).
 *
 * A task takes a block of results band by band: the rows that the band reads are copied to the panel, borders included, weighted
 * down the columns into a band of sums, which stays in L1, and those along the rows into the results. */

typedef struct {
    FN(filter_blocks) blocks;
    int64_t weights, panel; /* elements */
} FN(filter_separable_state);

static const char *FN(filter_separable_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(filter_separable_state) *s = (void *)plan->state;
    int64_t high = p->axis[1].kernel, reach = (p->axis[2].kernel - 1) * p->in_channels;
    if (high > FC_FILTER_SEPARABLE || reach > FC_FILTER_PITCH / 2)
        return "kernels of at most 1024 rows that reach over at most 520 elements (260 in float64)";
    s->blocks = FN(filter_blocks_of)(p, reach, high);
    s->weights = FN(aligned)(high + p->axis[2].kernel);
    s->panel = (s->blocks.rows + high + FC_FILTER_ROWS) * FC_FILTER_PITCH;
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD + (s->weights + s->panel + (FC_FILTER_ROWS + 2) * FC_FILTER_PITCH) * (int64_t)sizeof(real) +
                    FC_FILTER_PITCH * (int64_t)sizeof(int64_t);
    return NULL;
}

static ptrdiff_t FN(filter_separable_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(filter_separable_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : plan->problem.batch * s->blocks.downs * s->blocks.acrosses;
}

static void FN(filter_separable_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(filter_separable_state) *s = (const void *)plan->state;
    const fc_array *w = &call->array[1];
    FN(filter_task) t = FN(filter_task_of)(plan, call, &s->blocks, task);
    int64_t *noted = (int64_t *)(void *)scratch, high = p->axis[1].kernel, wide = p->axis[2].kernel;
    real *weights = (real *)(void *)(scratch + FC_SCRATCH_HEAD), *panel = weights + s->weights, *sums = panel + s->panel;
    real *nowhere = sums + FC_FILTER_ROWS * FC_FILTER_PITCH;
    t.at = (int64_t *)(void *)(nowhere + 2 * FC_FILTER_PITCH);
    (void)stage;
    if (!*noted) {
        *noted = 1;
        FN(filter_pack)((const real *)w->data, w->stride[4], 0, high, 1, weights);
        FN(filter_pack)((const real *)w->data + high * w->stride[4], 0, w->stride[4], 1, wide, weights + high);
    }
    int64_t from = t.col - p->axis[2].pad * p->in_channels, n = t.cols + (wide - 1) * p->in_channels;
    int64_t first = t.row - p->axis[1].pad, filled = 0;
    FN(filter_places)(&t, from, n);
    int64_t shift = FN(filter_shift)(t.col - from);
    real *y[FC_FILTER_ROWS], *sum[FC_FILTER_ROWS];
    for (int64_t h = 0; h < FC_FILTER_ROWS; h++)
        sum[h] = sums + h * FC_FILTER_PITCH;
    for (int64_t row = 0; row < t.rows; row += FC_FILTER_ROWS) {
        for (; filled < fc_min(row + FC_FILTER_ROWS, t.rows) + high - 1; filled++)
            FN(filter_copy)(&t, first + filled, from, n, panel + filled * FC_FILTER_PITCH + shift);
        FN(filter_targets)(&t, row, nowhere, y);
        FN(filter_apply)(panel + row * FC_FILTER_PITCH, 1, weights, high, 1, sum, n + shift, 0);
        FN(filter_apply)(sums + shift, p->in_channels, weights + high, 1, wide, y, t.cols, 0);
    }
}

static const fc_algorithm FN(filter_separable) = {"separable", FC_ISA_NAME, 1u << FC_FILTER, FN(filter_separable_prepare),
                                                  FN(filter_separable_tasks), FN(filter_separable_run)};
