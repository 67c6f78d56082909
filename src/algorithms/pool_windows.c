/* pool_windows.c: any windows, inputs in the lanes: adaptive and global pooling, large windows, and their mean's gradient.
 *
 * A line is a row of results. The rows of inputs under it are reduced to one row, vector by vector, then each window of
 * the line takes its run of that. The gradient of a mean is the same thing with inputs and outputs exchanged: element i adds up
 * the gradients of the outputs that read it, a run along each axis too. A single result that takes longer than a task may,
 * is cut into parts, whose results are put together in order by a second stage. */

#define FC_WINDOWS_WORK (1 << 22)  /* elements that a task reads, at most: a few ms */
#define FC_WINDOWS_BUNCH (1 << 16) /* elements worth a task */
#define FC_WINDOWS_COLUMNS 4096    /* inputs of a row at a time */
#define FC_WINDOWS_WIDTH 2048      /* results of a line at a time */
#define FC_WINDOWS_CHUNK 64        /* rows that are summed one by one; then sums of chunks: this keeps the error low */

typedef struct {
    int64_t from[FC_DIMS], to[FC_DIMS]; /* sizes of what is read and written */
    int64_t lines, bunch, bunches;      /* of all planes; of a task */
    int64_t width, widths;              /* results of a line that a task computes */
    int64_t row_parts, column_parts, parts;
    int constant;                       /* all results of a plane are equal */
} FN(windows_state);

static inline fc_window FN(window_at)(const fc_problem *p, int d, int64_t i)
{
    return p->op == FC_AVG_POOL_GRAD ? fc_readers_of(&p->axis[d], p->flags, i) : fc_window_of(&p->axis[d], p->flags, i);
}

/* The most inputs of a window. */
static int64_t FN(largest_window)(const fc_problem *p, int d)
{
    const fc_axis *a = &p->axis[d];
    int grad = p->op == FC_AVG_POOL_GRAD;
    int64_t from = grad ? a->out : a->in, to = grad ? a->in : a->out;
    if (p->flags & FC_ADAPTIVE)
        return fc_min(from, from / to + 2);
    return fc_min(from, grad ? fc_ceil_div(a->kernel, a->stride) : a->kernel);
}

/* Inputs from the first to the last of `width` windows along W, about. */
static double FN(windows_span)(const fc_problem *p, const FN(windows_state) *s, int64_t width)
{
    const fc_axis *a = &p->axis[2];
    double step = (double)a->stride, reach = (double)a->dilation * (double)(a->kernel - 1) + 1;
    if (p->flags & FC_ADAPTIVE || p->op == FC_AVG_POOL_GRAD) {
        step = (double)s->from[2] / (double)s->to[2];
        reach = (double)FN(largest_window)(p, 2);
    }
    return fmin((double)s->from[2], (double)(width - 1) * step + reach);
}

/* Whether a gradient's plane has one output, which reads everything: then all its elements are equal. */
static int FN(windows_constant)(const fc_problem *p)
{
    int constant = p->op == FC_AVG_POOL_GRAD;
    for (int d = 0; d < FC_DIMS; d++)
        constant = constant && p->axis[d].out == 1 && fc_window_of(&p->axis[d], p->flags, 0).count == p->axis[d].in;
    return constant;
}

static const char *FN(windows_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(windows_state) *s = (void *)plan->state;
    int grad = p->op == FC_AVG_POOL_GRAD;
    for (int d = 0; d < FC_DIMS; d++) {
        s->from[d] = grad ? p->axis[d].out : p->axis[d].in;
        s->to[d] = grad ? p->axis[d].in : p->axis[d].out;
    }
    s->constant = FN(windows_constant)(p);
    if (s->constant) { /* a plane is one line */
        s->to[2] *= s->to[0] * s->to[1];
        s->to[0] = s->to[1] = 1;
    }
    double rows = (double)FN(largest_window)(p, 0) * (double)FN(largest_window)(p, 1);
    int64_t most = FN(largest_window)(p, 2);
    s->width = fc_min(s->to[2], s->constant ? FC_WINDOWS_BUNCH : FC_WINDOWS_WIDTH);
    while (s->width > 1 && rows * FN(windows_span)(p, s, s->width) + (double)s->width * (double)most > FC_WINDOWS_WORK)
        s->width = (s->width + 1) / 2;
    s->widths = fc_ceil_div(s->to[2], s->width);
    s->column_parts = s->row_parts = 1;
    if (s->width == 1) {
        s->column_parts = fc_ceil_div(most, FC_WINDOWS_WORK);
        s->row_parts = (int64_t)fmin(rows, ceil(rows / floor(FC_WINDOWS_WORK / (double)fc_min(most, FC_WINDOWS_WORK))));
    }
    s->parts = s->row_parts * s->column_parts;
    s->lines = p->batch * p->in_channels * s->to[0] * s->to[1];
    double work = fmax(1, rows * FN(windows_span)(p, s, s->width) + (double)s->width * (double)most) / (double)s->parts;
    s->bunch = fc_max(1, fc_min((int64_t)(FC_WINDOWS_BUNCH / work), s->lines * s->widths / FC_TASKS_WANTED));
    s->bunch = fc_min(s->bunch, s->lines);
    s->bunches = fc_ceil_div(s->lines, s->bunch);
    double results = (double)s->lines * (double)s->to[2] * (double)s->parts;
    if (results > 1e15)
        return "fewer parts than no memory holds";
    plan->stages = s->parts > 1 ? 2 : 1;
    plan->workspace = s->parts > 1 ? s->lines * s->to[2] * s->parts * (int64_t)sizeof(FN(best)) : 0;
    plan->scratch = FC_SCRATCH_HEAD + (5 * FC_WINDOWS_COLUMNS + 4 * VL) * (int64_t)sizeof(real) +
                    FC_WINDOWS_WIDTH * (int64_t)(sizeof(fc_window) + sizeof(FN(best)));
    return NULL;
}

static ptrdiff_t FN(windows_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(windows_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage == 0 ? s->bunches * s->widths * s->parts : s->bunches;
}

/* What a task knows: of all its lines, and of the one at hand. */
typedef struct {
    const fc_problem *p;
    const FN(windows_state) *s;
    fc_reduction kind;
    int64_t first, width;     /* results of the line */
    fc_window *windows;       /* theirs along W */
    FN(best) *found;
    real *sizes;              /* of the windows along W that means are divided by: the results', or the columns' */
    real *sum, *chunk, *row;  /* of columns */
    lane *at;                 /* the row in which a column's maximum is */
    int full;                 /* the only window reads whole rows */
    int64_t o[2];             /* the line along D and H, and its windows there */
    fc_window over[2];
    const real *x;            /* the first input */
    ptrdiff_t stride, step[2];
    int64_t count[2];         /* rows: count[0] times count[1] */
    int64_t row0, row1;       /* those that this task takes */
    int64_t index, index_step[2];
    int64_t column0;          /* where sizes of columns begin */
} FN(line);

/* Row r's inputs from column c on, in `to` if they cannot be read where they are. */
static const real *FN(line_row)(const FN(line) *l, int64_t r, int64_t c, int64_t n, real *to)
{
    int64_t i = r / l->count[1], j = r % l->count[1];
    const real *x = l->x + i * l->step[0] + j * l->step[1] + c * l->stride;
    const fc_problem *p = l->p;
    if (p->op == FC_AVG_POOL_GRAD) {
        real lines = (real)fc_window_size(&p->axis[0], p->flags, l->over[0].first + i) *
                     (real)fc_window_size(&p->axis[1], p->flags, l->over[1].first + j);
        FN(copy_run)(to, x, l->stride, n);
        FN(put_means)(to, to, l->sizes, p->divisor != 0 ? (real)p->divisor : lines, n);
        return to;
    }
    if (l->stride == 1)
        return x;
    FN(copy_run)(to, x, l->stride, n);
    return to;
}

/* Row r added to what `to` holds, or started with. */
static void FN(reduce_row)(const FN(line) *l, const real *x, int64_t n, int64_t r, int start, real *to)
{
    for (int64_t i = 0; i < n; i += VL) {
        vec v = n - i < VL ? FN(load_n)(x + i, n - i) : FN(load)(x + i), best = start ? v : FN(load)(to + i);
        ivec at = start ? FN(isplat)((lane)r) : l->kind == FC_MAX_AT ? FN(iload)(l->at + i) : (ivec){0};
        if (!start && l->kind == FC_SUM)
            best += v;
        else if (!start && l->kind == FC_MAX)
            best = FN(max_nan)(best, v);
        else if (!start)
            FN(max_nan_at)(&best, &at, v, FN(isplat)((lane)r));
        FN(store)(to + i, best);
        if (l->kind == FC_MAX_AT)
            FN(istore)(l->at + i, at);
    }
}

/* The rows of the line reduced to one, columns c .. c+n. Numbers in l->at count from row0. */
static const real *FN(reduce_rows)(const FN(line) *l, int64_t c, int64_t n)
{
    if (l->row1 - l->row0 == 1)
        return FN(line_row)(l, l->row0, c, n, l->row);
    int64_t chunk = l->kind == FC_SUM ? FC_WINDOWS_CHUNK : l->row1 - l->row0;
    for (int64_t r0 = l->row0; r0 < l->row1; r0 += chunk) {
        real *to = r0 == l->row0 ? l->sum : l->chunk;
        for (int64_t r = r0; r < fc_min(l->row1, r0 + chunk); r++)
            FN(reduce_row)(l, FN(line_row)(l, r, c, n, l->row), n, r - l->row0, r == r0, to);
        if (to == l->chunk)
            FN(reduce_row)(l, l->chunk, n, 0, 0, l->sum);
    }
    return l->sum;
}

/* What window w finds among columns c .. c+n. */
static void FN(reduce_window)(const FN(line) *l, const real *x, int64_t c, int64_t n, const fc_window *w, FN(best) *best)
{
    int64_t i0 = w->first < c ? fc_ceil_div(c - w->first, w->step) : 0;
    int64_t i1 = fc_min(w->count, fc_ceil_div(c + n - w->first, w->step)), column = w->first + i0 * w->step;
    if (i1 <= i0)
        return;
    const real *from = x + column - c;
    if (l->kind == FC_SUM) {
        best->value += FN(run_sum)(from, i1 - i0);
    } else if (l->kind == FC_MAX) {
        FN(take_better)(best, FN(run_max)(from, i1 - i0, w->step), 0);
    } else if (l->row1 - l->row0 == 1) {
        int64_t i = l->row0 / l->count[1], j = l->row0 % l->count[1];
        FN(best) run = FN(run_max_at)(from, i1 - i0, w->step, l->index + i * l->index_step[0] + j * l->index_step[1] + column);
        FN(take_better)(best, run.value, run.index);
    } else {
        for (int64_t k = 0; k < i1 - i0; k++) {
            int64_t r = l->row0 + l->at[column - c + k * w->step], i = r / l->count[1], j = r % l->count[1];
            FN(take_better)(best, from[k * w->step],
                            l->index + i * l->index_step[0] + j * l->index_step[1] + column + k * w->step);
        }
    }
}

/* The sizes of columns c .. c+n, if they are not at hand. */
static void FN(line_sizes)(FN(line) *l, int64_t c, int64_t n)
{
    if (l->p->op != FC_AVG_POOL_GRAD || l->column0 == c)
        return;
    l->column0 = c;
    for (int64_t i = 0; i < fc_min(FC_WINDOWS_COLUMNS, l->s->from[2] - c) && (i < n || 1); i++)
        l->sizes[i] = l->p->divisor != 0 ? 1 : (real)fc_window_size(&l->p->axis[2], l->p->flags, c + i);
}

static inline int64_t FN(window_end)(const fc_window *w) { return w->count ? w->first + (w->count - 1) * w->step + 1 : 0; }

/* All results of the line, from this task's part of the rows. */
static void FN(reduce_line)(FN(line) *l)
{
    int direct = l->row1 - l->row0 == 1 && l->stride == 1 && l->p->op != FC_AVG_POOL_GRAD;
    int64_t most = direct ? INT64_MAX : FC_WINDOWS_COLUMNS;
    for (int64_t k = 0; k < l->width; k++)
        l->found[k] = (FN(best)){0, -1};
    for (int64_t k = 0, next; k < l->width && l->row0 < l->row1; k = next) {
        int64_t from = l->windows[k].first, to = FN(window_end)(&l->windows[k]);
        for (next = k + 1; next < l->width && FN(window_end)(&l->windows[next]) - from <= most; next++)
            to = fc_max(to, FN(window_end)(&l->windows[next]));
        for (int64_t c = from, n; c < to; c += n) {
            n = fc_min(most, to - c);
            FN(line_sizes)(l, c, n);
            const real *x = FN(reduce_rows)(l, c, n);
            for (int64_t i = k; i < next; i++)
                FN(reduce_window)(l, x, c, n, &l->windows[i], &l->found[i]);
        }
    }
}
