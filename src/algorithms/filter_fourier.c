/* filter_fourier.c: an image by a large kernel: a Fourier transform down the columns, sums along the rows.
 *
 * Transforming one axis alone leaves no rows to transpose: lanes are columns, and a kernel of 31 rows becomes n = 64, 128 or 256
 * kernels of one row, one for each frequency. Along a row the sum is taken as it stands, 4 kW products for two results. Those are of
 * two places: the rows of one block of results are the real parts and those of the block below it the imaginary ones; the
 * kernel being real, they stay apart. For 31x31 that makes 140 products for two results, transforms included, instead of 1922.
 *
 * Stage 0 makes the table of turns and the kernel's spectrum, conjugated and divided by n; a task of stage 1 is a strip of
 * columns of two blocks. Where a result is not finite, the strip is computed again as the plain sum: an infinity, a NaN or an overflow is
 * to be seen where the kernel meets it and nowhere else. */

#define FC_FOURIER_MOST 256
#define FC_FOURIER_WIDE 128 /* results of a strip: n = 256 rows of them and of what they read stay in L2 */

typedef struct {
    FN(filter_blocks) blocks; /* rows: of both blocks of a strip */
    int64_t n, half;          /* rows of a transform, of one of the two blocks of results */
    int64_t pitch, lanes;     /* of the strip; columns of the kernel, rounded up */
    int64_t strip, weights, panel;
} FN(fourier_state);

/* Products of a strip, roughly: passes take four for a row. */
static double FN(fourier_cost)(int64_t n, int64_t high, int64_t kernel, int64_t wide)
{
    int64_t units = fc_ceil_div(high, 2 * (n - kernel + 1));
    return (double)(units * n) * (double)(4 * wide + 8 * (n > 64 ? 4 : 3));
}

static const char *FN(fourier_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(fourier_state) *s = (void *)plan->state;
    int64_t high = p->axis[1].in, kernel = p->axis[1].kernel, wide = p->axis[2].kernel, reach = (wide - 1) * p->in_channels;
    if (kernel > FC_FOURIER_MOST / 2 || reach > FC_FILTER_PITCH / 2)
        return "kernels of at most 128 rows that reach over at most 520 elements (260 in float64)";
    s->n = FC_FOURIER_MOST;
    for (int64_t n = FC_FOURIER_MOST / 2; n >= 64 && n > kernel; n /= 2)
        if (FN(fourier_cost)(n, high, kernel, wide) < FN(fourier_cost)(s->n, high, kernel, wide))
            s->n = n;
    FN(filter_blocks) *b = &s->blocks;
    b->step = p->in_channels;
    b->elements = p->axis[2].in * p->in_channels;
    b->downs = fc_ceil_div(high, 2 * (s->n - kernel + 1));
    s->half = fc_ceil_div(high, 2 * b->downs);
    b->rows = 2 * s->half;
    b->downs = fc_ceil_div(high, b->rows);
    b->acrosses = fc_ceil_div(b->elements, fc_max(FC_FOURIER_WIDE, fc_min(2 * reach, FC_FILTER_PITCH / 4)));
    b->wide = fc_min(b->elements, FN(aligned)(fc_ceil_div(b->elements, b->acrosses)));
    b->acrosses = fc_ceil_div(b->elements, b->wide);
    s->pitch = FN(aligned)(b->wide + reach + VL);
    if (s->pitch / FN(aligned)(1) % 2 == 0)
        s->pitch += FN(aligned)(1);
    s->lanes = fc_round_up(wide, VL);
    s->weights = FN(aligned)(kernel * wide);
    s->panel = (kernel + 2 * FC_FILTER_ROWS) * FC_FILTER_PITCH;
    s->strip = fc_max(2 * s->n * s->pitch, s->weights + s->panel + 2 * FC_FILTER_PITCH);
    plan->stages = 2;
    plan->workspace = plan->workspace_packed = (2 * s->n + 2 * s->n * wide) * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + FC_FILTER_PITCH * (int64_t)sizeof(int64_t) +
                    fc_max(s->strip, 2 * s->n * s->lanes) * (int64_t)sizeof(real);
    return NULL;
}

static ptrdiff_t FN(fourier_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(fourier_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage == 0 ? 1 : plan->problem.batch * s->blocks.downs * s->blocks.acrosses;
}

/* The table of turns, and the conjugate spectrum of the kernel, [frequency][column], divided by n. */
static void FN(fourier_spectrum)(const fc_problem *p, const FN(fourier_state) *s, const fc_array *w, real *turn, real *spectrum, real *x)
{
    int64_t wide = p->axis[2].kernel;
    for (int64_t k = 0; k < s->n; k++) {
        double angle = 6.283185307179586477 * (double)k / (double)s->n;
        turn[2 * k] = (real)cos(angle);
        turn[2 * k + 1] = (real)sin(angle);
    }
    FN(fill_run)(x, 0, 2 * s->n * s->lanes);
    for (int64_t i = 0; i < p->axis[1].kernel; i++)
        FN(copy_run)(x + 2 * i * s->lanes, (const real *)w->data + i * w->stride[3], w->stride[4], wide);
    for (int64_t j = 0; j < s->lanes; j += VL) {
        FN(columns) c = {x + j, 2 * s->lanes, s->lanes, turn, s->n};
        FN(transform)(&c, 0);
    }
    const real share = (real)1 / (real)s->n;
    for (int64_t f = 0; f < s->n; f++)
        for (int64_t j = 0; j < wide; j++) {
            spectrum[2 * (f * wide + j)] = share * x[2 * f * s->lanes + j];
            spectrum[2 * (f * wide + j) + 1] = -share * x[(2 * f + 1) * s->lanes + j];
        }
}

/* The rows that a block's results read, then zeros. */
static void FN(fourier_fill)(const FN(filter_task) *t, int64_t row, int64_t rows, int64_t from, int64_t n, int64_t total, real *to,
                             ptrdiff_t pitch)
{
    for (int64_t i = 0; i < total; i++)
        if (i < rows)
            FN(filter_copy)(t, row + i, from, n, to + i * pitch);
        else
            FN(fill_run)(to + i * pitch, 0, n);
}

/* Backward, and a vector of columns to both blocks of results; adds 0 * result for each: not 0 where one is not finite. */
static vec FN(fourier_finish)(const FN(filter_task) *t, const FN(fourier_state) *s, const FN(columns) *c, int64_t col)
{
    FN(transform)(c, 1);
    vec sign = FN(zero)();
    int64_t n = fc_min(VL, t->cols - col);
    for (int64_t part = 0; part < 2; part++) {
        int64_t first = part * s->half, rows = fc_min(s->half, t->rows - first);
        real *y = t->y + first * t->ldy + col;
        for (int64_t i = 0; i < rows; i++, y += t->ldy) {
            vec v = FN(load)(c->x + i * c->pitch + part * c->apart);
            sign += v * FN(zero)();
            FN(store_n)(y, v, n);
        }
    }
    return sign;
}

static void FN(fourier_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(fourier_state) *s = (const void *)plan->state;
    real *turn = (real *)(void *)call->workspace, *spectrum = turn + 2 * s->n;
    int64_t *places = (int64_t *)(void *)(scratch + FC_SCRATCH_HEAD);
    real *x = (real *)(void *)(places + FC_FILTER_PITCH);
    if (stage == 0) {
        FN(fourier_spectrum)(p, s, &call->array[1], turn, spectrum, x);
        return;
    }
    FN(filter_task) t = FN(filter_task_of)(plan, call, &s->blocks, task);
    t.at = places;
    int64_t high = p->axis[1].kernel, wide = p->axis[2].kernel, rows = s->half + high - 1;
    int64_t from = t.col - p->axis[2].pad * p->in_channels, n = t.cols + (wide - 1) * p->in_channels;
    int64_t first = t.row - p->axis[1].pad;
    FN(filter_places)(&t, from, n);
    FN(fourier_fill)(&t, first, rows, from, n, s->n, x, 2 * s->pitch);
    FN(fourier_fill)(&t, first + s->half, t.rows > s->half ? rows : 0, from, n, s->n, x + s->pitch, 2 * s->pitch);
    for (int64_t j = 0; j < n; j += VL) {
        FN(columns) c = {x + j, 2 * s->pitch, s->pitch, turn, s->n};
        FN(transform)(&c, 0);
    }
    for (int64_t f = 0; f < s->n; f++)
        FN(spectrum_row)(x + 2 * f * s->pitch, x + (2 * f + 1) * s->pitch, p->in_channels, spectrum + 2 * f * wide, wide, t.cols);
    vec sign = FN(zero)();
    for (int64_t j = 0; j < t.cols; j += VL) {
        FN(columns) c = {x + j, 2 * s->pitch, s->pitch, turn, s->n};
        sign += FN(fourier_finish)(&t, s, &c, j);
    }
    if (FN(any)((ivec)(sign != sign)))
        FN(filter_plain)(&t, p, &call->array[1], x, x + s->weights);
}
#undef pair

static const fc_algorithm FN(filter_fourier) = {"fourier", FC_ISA_NAME, 1u << FC_FILTER, FN(fourier_prepare), FN(fourier_tasks),
                                                FN(fourier_run)};
