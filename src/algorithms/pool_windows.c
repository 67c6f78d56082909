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
#define FC_WINDOWS_LEVELS 2        /* of sums of rows, see reduce_some */

typedef struct {
    int64_t from[FC_DIMS], to[FC_DIMS]; /* sizes of what is read and written */
    int64_t lines, bunch, bunches;      /* of all planes; of a task */
    int64_t width, widths;              /* results of a line that a task computes */
    int64_t row_parts, column_parts, parts;
    int whole;                          /* a plane has one window, which has all of the plane */
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

/* Columns of inputs under `width` results of a line. */
static double FN(windows_span)(const fc_problem *p, const FN(windows_state) *s, int64_t width)
{
    const fc_axis *a = &p->axis[2];
    double most = (double)FN(largest_window)(p, 2), step = (double)a->stride, reach = (double)a->dilation * (double)(a->kernel - 1) + 1;
    if (p->flags & FC_ADAPTIVE || p->op == FC_AVG_POOL_GRAD) {
        step = (double)s->from[2] / (double)s->to[2];
        reach = most;
    } else if (width == 1 && a->dilation > FC_WINDOWS_COLUMNS) {
        return most; /* read one by one */
    }
    double span = (double)(width - 1) * step + reach, all = (double)s->from[2];
    return span < all ? span : all;
}

/* How many results of a line a task computes, and of how many parts these are. Narrower tasks are no shorter where windows
 * overlap by more than that: then it is the rows that are shared out. */
static void FN(windows_cut)(const fc_problem *p, FN(windows_state) *s)
{
    int64_t rows = FN(largest_window)(p, 0) * FN(largest_window)(p, 1), most = fc_max(1, FN(largest_window)(p, 2));
    s->width = fc_min(s->to[2], fc_min(FC_WINDOWS_WIDTH, fc_max(1, FC_WINDOWS_WORK / most)));
    double span = FN(windows_span)(p, s, s->width);
    while (s->width > 1 && (double)rows * span > FC_WINDOWS_WORK) {
        double half = FN(windows_span)(p, s, (s->width + 1) / 2);
        if (half > 0.75 * span)
            break;
        s->width = (s->width + 1) / 2;
        span = half;
    }
    s->widths = fc_ceil_div(s->to[2], s->width);
    s->column_parts = s->width == 1 ? fc_ceil_div(most, FC_WINDOWS_WORK) : 1;
    double work = (double)rows * span / (double)s->column_parts;
    s->row_parts = fc_max(1, fc_min(rows, (int64_t)(work / FC_WINDOWS_WORK) + (work > FC_WINDOWS_WORK)));
    s->parts = s->row_parts * s->column_parts;
    work = work / (double)s->row_parts + (double)s->width * (double)most;
    s->bunch = fc_max(1, fc_min((int64_t)(FC_WINDOWS_BUNCH / work), s->lines * s->widths / FC_TASKS_WANTED));
}

static const char *FN(windows_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(windows_state) *s = (void *)plan->state;
    int grad = p->op == FC_AVG_POOL_GRAD;
    s->whole = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        s->from[d] = grad ? a->out : a->in;
        s->to[d] = grad ? a->in : a->out;
        s->whole = s->whole && a->out == 1 && fc_window_of(a, p->flags, 0).count == a->in;
    }
    if (s->whole && grad) { /* all elements of a plane are equal: it counts as one line */
        s->to[2] *= s->to[0] * s->to[1];
        s->to[0] = s->to[1] = 1;
    }
    s->lines = p->batch * p->in_channels * s->to[0] * s->to[1];
    FN(windows_cut)(p, s);
    s->bunch = fc_min(s->bunch, s->lines);
    s->bunches = fc_ceil_div(s->lines, s->bunch);
    double results = (double)s->lines * (double)s->to[2] * (double)s->parts;
    plan->stages = s->parts > 1 ? 2 : 1;
    plan->workspace = s->parts == 1 ? 0 : (int64_t)sizeof(FN(best)) * (results < 1e15 ? s->lines * s->to[2] * s->parts : INT64_C(1) << 56);
    plan->scratch = FC_SCRATCH_HEAD + (FC_WINDOWS_LEVELS + 4) * (FC_WINDOWS_COLUMNS + VL) * (int64_t)sizeof(real) +
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

static inline fc_reduction FN(windows_kind)(const fc_problem *p, const fc_call *call)
{
    return p->op != FC_MAX_POOL ? FC_SUM : call->array[2].data ? FC_MAX_AT : FC_MAX;
}

/* What means of a line are divided by, but for the windows' sizes along W. */
static real FN(line_divisor)(const fc_problem *p, int64_t od, int64_t oh)
{
    if (p->divisor != 0)
        return (real)p->divisor;
    return (real)fc_window_size(&p->axis[0], p->flags, od) * (real)fc_window_size(&p->axis[1], p->flags, oh);
}

static inline real FN(width_divisor)(const fc_problem *p, int64_t ow)
{
    return p->divisor != 0 ? 1 : (real)fc_window_size(&p->axis[2], p->flags, ow);
}

/* ---- a line ---- */

typedef struct {
    const fc_problem *p;
    const FN(windows_state) *s;
    fc_reduction kind;
    int64_t first, width;     /* results of the line */
    fc_window *windows;       /* theirs along W */
    FN(best) *found;
    real *sizes;              /* of windows along W, that means are divided by: of the results, or of the columns read */
    int64_t column0, columns; /* these columns */
    real *sum, *level[FC_WINDOWS_LEVELS], *row; /* of columns */
    lane *at;                 /* the row in which a column's maximum is */
    int64_t o[2];             /* the line along D and H */
    fc_window over[2];        /* its windows there */
    int64_t row0, row1;       /* rows that this task takes: i*over[1].count + j is row j of slice i */
    int64_t i, j;             /* the next one to be read */
    const real *x;            /* the first input */
    ptrdiff_t step[2], stride;
    int64_t index, index_step[2]; /* of the first input in the plane */
    int64_t divisor_of[2];
    real divisor;             /* of gradients in that row */
} FN(line);

static void FN(line_init)(const fc_plan *plan, const fc_call *call, int64_t first, char *scratch, FN(line) *l)
{
    const fc_problem *p = &plan->problem;
    const FN(windows_state) *s = (const void *)plan->state;
    l->p = p;
    l->s = s;
    l->kind = FN(windows_kind)(p, call);
    l->first = first;
    l->width = fc_min(s->width, s->to[2] - first);
    l->found = (FN(best) *)(void *)(scratch + FC_SCRATCH_HEAD);
    l->windows = (fc_window *)(l->found + FC_WINDOWS_WIDTH);
    l->sum = (real *)(l->windows + FC_WINDOWS_WIDTH);
    for (int k = 0; k < FC_WINDOWS_LEVELS; k++)
        l->level[k] = l->sum + (k + 1) * (FC_WINDOWS_COLUMNS + VL);
    l->row = l->sum + (FC_WINDOWS_LEVELS + 1) * (FC_WINDOWS_COLUMNS + VL);
    l->sizes = l->row + FC_WINDOWS_COLUMNS + VL;
    l->at = (lane *)(l->sizes + FC_WINDOWS_COLUMNS + VL);
    l->o[0] = l->o[1] = l->column0 = l->divisor_of[0] = -1;
    for (int64_t k = 0; k < l->width; k++) {
        l->windows[k] = FN(window_at)(p, 2, first + k);
        if (p->op == FC_AVG_POOL)
            l->sizes[k] = FN(width_divisor)(p, first + k);
    }
}

/* Turns to another line, and a part of the rows under it. */
static void FN(line_turn)(FN(line) *l, const fc_call *call, int64_t line, int64_t part)
{
    const FN(windows_state) *s = l->s;
    const fc_array *x = &call->array[0];
    int64_t lines = s->to[0] * s->to[1], plane = line / lines, o[2] = {line % lines / s->to[1], line % s->to[1]};
    for (int d = 0; d < 2; d++)
        if (l->o[d] != o[d]) {
            l->o[d] = o[d];
            l->over[d] = FN(window_at)(l->p, d, o[d]);
        }
    const fc_window *over = l->over;
    l->row0 = FN(even_start)(over[0].count * over[1].count, s->row_parts, part);
    l->row1 = FN(even_start)(over[0].count * over[1].count, s->row_parts, part + 1);
    l->x = (const real *)x->data + plane / l->p->in_channels * x->stride[0] + plane % l->p->in_channels * x->stride[1] +
           over[0].first * x->stride[2] + over[1].first * x->stride[3];
    l->stride = x->stride[4];
    l->step[0] = over[0].step * x->stride[2];
    l->step[1] = over[1].step * x->stride[3];
    l->index = (over[0].first * s->from[1] + over[1].first) * s->from[2];
    l->index_step[0] = over[0].step * s->from[1] * s->from[2];
    l->index_step[1] = over[1].step * s->from[2];
}

/* The next row, columns c .. c+n; in l->row if it cannot be read where it is. */
static const real *FN(line_row)(FN(line) *l, int64_t c, int64_t n)
{
    int64_t i = l->i, j = l->j;
    if (++l->j == l->over[1].count) {
        l->j = 0;
        l->i++;
    }
    const real *x = l->x + i * l->step[0] + j * l->step[1] + c * l->stride;
    if (l->stride == 1 && l->p->op != FC_AVG_POOL_GRAD)
        return x;
    if (l->stride == 0)
        FN(fill_run)(l->row, *x, n);
    else
        FN(copy_run)(l->row, x, l->stride, n);
    if (l->p->op == FC_AVG_POOL_GRAD) {
        int64_t od = l->over[0].first + i, oh = l->over[1].first + j;
        if (l->divisor_of[0] != od || l->divisor_of[1] != oh) {
            l->divisor_of[0] = od;
            l->divisor_of[1] = oh;
            l->divisor = FN(line_divisor)(l->p, od, oh);
        }
        FN(put_means)(l->row, l->row, l->sizes, l->divisor, n);
    }
    return l->row;
}

/* Row x, number r, reduced into `to`, or the first one there. */
static inline void FN(reduce_row)(const FN(line) *l, const real *x, int64_t n, int64_t r, int start, real *to)
{
    ivec number = FN(isplat)((lane)r), at = number;
    for (int64_t i = 0; i < n; i += VL) {
        vec v = n - i < VL ? FN(load_n)(x + i, n - i) : FN(load)(x + i), best = v;
        if (!start) {
            best = FN(load)(to + i);
            if (l->kind == FC_SUM) {
                best += v;
            } else if (l->kind == FC_MAX) {
                best = FN(max_nan)(best, v);
            } else {
                at = FN(iload)(l->at + i);
                FN(max_nan_at)(&best, &at, v, number);
            }
        }
        FN(store)(to + i, best);
        if (l->kind == FC_MAX_AT)
            FN(istore)(l->at + i, at);
    }
}

/* Rows r .. end reduced into `to`. Sums are made of sums of 64 rows, or of such sums: this keeps the error low. */
static void FN(reduce_some)(FN(line) *l, int64_t c, int64_t n, int64_t r, int64_t end, int level, real *to)
{
    int64_t rows = (int64_t)1 << (6 * level);
    for (int start = 1; r < end; r += rows, start = 0) {
        if (level)
            FN(reduce_some)(l, c, n, r, fc_min(end, r + rows), level - 1, l->level[level - 1]);
        FN(reduce_row)(l, level ? l->level[level - 1] : FN(line_row)(l, c, n), n, r - l->row0, start, to);
    }
}

/* The rows of the line reduced to one, columns c .. c+n. Numbers in l->at count from row0. */
static const real *FN(reduce_rows)(FN(line) *l, int64_t c, int64_t n)
{
    int64_t rows = l->row1 - l->row0;
    l->i = l->row0 / l->over[1].count;
    l->j = l->row0 % l->over[1].count;
    if (rows == 1)
        return FN(line_row)(l, c, n);
    FN(reduce_some)(l, c, n, l->row0, l->row1, l->kind != FC_SUM || rows <= 64 ? 0 : rows <= 4096 ? 1 : FC_WINDOWS_LEVELS, l->sum);
    return l->sum;
}

/* Index in the plane of column c of row r. */
static inline int64_t FN(line_index)(const FN(line) *l, int64_t r, int64_t c)
{
    int64_t height = l->over[1].count;
    return l->index + r / height * l->index_step[0] + r % height * l->index_step[1] + c;
}

static inline int64_t FN(window_end)(const fc_window *w) { return w->count ? w->first + (w->count - 1) * w->step + 1 : 0; }

/* What window w finds among columns c .. c+n. */
static inline void FN(reduce_window)(const FN(line) *l, const real *x, int64_t c, int64_t n, const fc_window *w, FN(best) *best)
{
    int64_t i0 = 0, i1 = w->count;
    if (w->first < c)
        i0 = fc_ceil_div(c - w->first, w->step);
    if (FN(window_end)(w) > c + n)
        i1 = fc_ceil_div(c + n - w->first, w->step);
    if (i1 <= i0)
        return;
    int64_t column = w->first + i0 * w->step;
    const real *from = x + column - c;
    if (l->kind == FC_SUM) {
        best->value += FN(run_sum)(from, i1 - i0);
    } else if (l->kind == FC_MAX) {
        FN(take_better)(best, FN(run_max)(from, i1 - i0, w->step), 0);
    } else if (l->row1 - l->row0 == 1) {
        FN(best) run = FN(run_max_at)(from, i1 - i0, w->step, FN(line_index)(l, l->row0, column));
        FN(take_better)(best, run.value, run.index);
    } else {
        for (int64_t k = 0; k < i1 - i0; k++, column += w->step)
            FN(take_better)(best, x[column - c], FN(line_index)(l, l->row0 + l->at[column - c], column));
    }
}

/* A gradient is divided by its window's size: of columns c .. c+n, if they are not at hand. */
static void FN(column_sizes)(FN(line) *l, int64_t c, int64_t n)
{
    if (l->p->op != FC_AVG_POOL_GRAD || (l->column0 == c && l->columns >= n))
        return;
    l->column0 = c;
    l->columns = n;
    for (int64_t i = 0; i < n; i++)
        l->sizes[i] = FN(width_divisor)(l->p, c + i);
}

/* All results of the line, from this task's part of the rows. */
static void FN(reduce_line)(FN(line) *l)
{
    int direct = l->row1 - l->row0 == 1 && l->stride == 1 && l->p->op != FC_AVG_POOL_GRAD;
    int64_t most = direct ? INT64_MAX / 2 : FC_WINDOWS_COLUMNS;
    for (int64_t k = 0; k < l->width; k++)
        l->found[k] = (FN(best)){0, -1};
    for (int64_t k = 0, next; k < l->width && l->row0 < l->row1; k = next) {
        int64_t from = l->windows[k].first, to = FN(window_end)(&l->windows[k]);
        for (next = k + 1; next < l->width; next++) { /* windows whose inputs fit together */
            int64_t lo = fc_min(from, l->windows[next].first), hi = fc_max(to, FN(window_end)(&l->windows[next]));
            if (hi - lo > most)
                break;
            from = lo;
            to = hi;
        }
        int sparse = next == k + 1 && l->windows[k].step > most; /* then element by element */
        for (int64_t c = from; c < to; c += sparse ? l->windows[k].step : most) {
            int64_t n = sparse ? 1 : fc_min(most, to - c);
            FN(column_sizes)(l, c, n);
            const real *x = FN(reduce_rows)(l, c, n);
            for (int64_t i = k; i < next; i++)
                FN(reduce_window)(l, x, c, n, &l->windows[i], &l->found[i]);
        }
    }
}

/* What a line found, divided where it is a mean, into the result. */
static void FN(line_put)(const FN(line) *l, const fc_call *call, int64_t line)
{
    int64_t at = line * l->s->to[2] + l->first; /* the caller's new arrays: consecutive */
    real *y = (real *)call->array[3].data + at;
    int64_t *index = (int64_t *)(void *)call->array[2].data;
    real divisor = l->p->op == FC_AVG_POOL ? FN(line_divisor)(l->p, l->o[0], l->o[1]) : 1;
    for (int64_t k = 0; k < l->width; k++) {
        y[k] = l->p->op == FC_AVG_POOL ? l->found[k].value / (l->sizes[k] * divisor) : l->found[k].value;
        if (l->kind == FC_MAX_AT)
            index[at + k] = l->found[k].index;
    }
}

/* ---- whole planes ---- */

/* Part of a plane that lies consecutively in memory, as one run. */
static FN(best) FN(reduce_plane)(fc_reduction kind, const real *x, int64_t first, int64_t last)
{
    if (kind == FC_SUM)
        return (FN(best)){FN(run_sum)(x + first, last - first), 0};
    if (kind == FC_MAX)
        return (FN(best)){FN(run_max)(x + first, last - first, 1), 0};
    return FN(run_max_at)(x + first, last - first, 1, first);
}

/* As many small planes as a vector has lanes, or as there are. */
FC_INLINE void FN(small_planes)(const fc_reduction kind, const fc_call *call, const real *x, ptrdiff_t step, int64_t i, int64_t count,
                                int64_t size, real divisor)
{
    real *y = (real *)call->array[3].data + i;
    vec found = FN(fold_planes)(kind, x, step, count, size);
    if (kind == FC_SUM)
        found /= FN(splat)(divisor);
    FN(store_n)(y, found, count);
    if (kind == FC_MAX_AT)
        for (int64_t j = 0; j < count; j++) {
            int64_t at = FN(find_max)(x + j * step, size, y[j]);
            y[j] = x[j * step + at];
            ((int64_t *)(void *)call->array[2].data)[i + j] = at;
        }
}

static void FN(whole_planes)(const fc_problem *p, const FN(windows_state) *s, const fc_call *call, int64_t begin, int64_t end,
                             int64_t part)
{
    const fc_array *x = &call->array[0];
    fc_reduction kind = FN(windows_kind)(p, call);
    int64_t size = s->from[0] * s->from[1] * s->from[2];
    int64_t first = FN(even_start)(size, s->parts, part), last = FN(even_start)(size, s->parts, part + 1);
    int64_t n = begin / p->in_channels, k = begin % p->in_channels;
    real divisor = p->op == FC_AVG_POOL ? FN(line_divisor)(p, 0, 0) * FN(width_divisor)(p, 0) : 1;
    for (int64_t i = begin, count; i < end; i += count) {
        const real *plane = (const real *)x->data + n * x->stride[0] + k * x->stride[1];
        count = 1;
        if (s->parts == 1 && size <= FC_SUM_CHUNK) {
            count = fc_min(VL, fc_min(end - i, p->in_channels - k));
            if (kind == FC_SUM)
                FN(small_planes)(FC_SUM, call, plane, x->stride[1], i, count, size, divisor);
            else if (kind == FC_MAX)
                FN(small_planes)(FC_MAX, call, plane, x->stride[1], i, count, size, divisor);
            else
                FN(small_planes)(FC_MAX_AT, call, plane, x->stride[1], i, count, size, divisor);
        } else {
            FN(best) found = FN(reduce_plane)(kind, plane, first, last);
            if (s->parts > 1) {
                ((FN(best) *)(void *)call->workspace)[i * s->parts + part] = found;
            } else {
                ((real *)call->array[3].data)[i] = found.value / divisor;
                if (kind == FC_MAX_AT)
                    ((int64_t *)(void *)call->array[2].data)[i] = found.index;
            }
        }
        k += count;
        if (k == p->in_channels) {
            k = 0;
            n++;
        }
    }
}

/* The mean's gradient: every element of a plane gets the same. */
static void FN(fill_planes)(const fc_problem *p, const FN(windows_state) *s, const fc_call *call, int64_t begin, int64_t end,
                            int64_t first)
{
    const fc_array *gy = &call->array[0];
    real divisor = FN(line_divisor)(p, 0, 0) * FN(width_divisor)(p, 0);
    for (int64_t i = begin; i < end; i++) {
        real value = ((const real *)gy->data)[i / p->in_channels * gy->stride[0] + i % p->in_channels * gy->stride[1]];
        FN(fill_run)((real *)call->array[3].data + i * s->to[2] + first, value / divisor, fc_min(s->width, s->to[2] - first));
    }
}

/* ---- tasks ---- */

/* The parts of each result of a line, in order. */
static void FN(join_parts)(FN(line) *l, const fc_call *call, int64_t line)
{
    const FN(windows_state) *s = l->s;
    FN(line_turn)(l, call, line, 0);
    l->width = 1;
    for (l->first = 0; l->first < s->to[2]; l->first++) {
        const FN(best) *parts = (const FN(best) *)(const void *)call->workspace + (line * s->to[2] + l->first) * s->parts;
        l->found[0] = parts[0];
        double sum = (double)parts[0].value;
        for (int64_t i = 1; i < s->parts; i++) {
            sum += (double)parts[i].value;
            if (parts[i].index >= 0)
                FN(take_better)(&l->found[0], parts[i].value, parts[i].index);
        }
        if (l->kind == FC_SUM)
            l->found[0].value = (real)sum;
        l->sizes[0] = l->p->op == FC_AVG_POOL ? FN(width_divisor)(l->p, l->first) : 1;
        FN(line_put)(l, call, line);
    }
}

static void FN(windows_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(windows_state) *s = (const void *)plan->state;
    int64_t part = task % s->parts, block = task / s->parts % s->widths, bunch = task / s->parts / s->widths;
    if (stage == 1)
        part = block = 0, bunch = task;
    int64_t begin = bunch * s->bunch, end = fc_min(s->lines, begin + s->bunch), first = block * s->width;
    if (s->whole && p->op == FC_AVG_POOL_GRAD) {
        FN(fill_planes)(p, s, call, begin, end, first);
        return;
    }
    if (s->whole && stage == 0 && fc_consecutive(&call->array[0], s->from[0], s->from[1], s->from[2])) {
        FN(whole_planes)(p, s, call, begin, end, part);
        return;
    }
    FN(line) l;
    FN(line_init)(plan, call, first, scratch, &l);
    if (s->column_parts > 1) {
        fc_window *w = &l.windows[0];
        int64_t from = FN(even_start)(w->count, s->column_parts, part % s->column_parts);
        w->count = FN(even_start)(w->count, s->column_parts, part % s->column_parts + 1) - from;
        w->first += from * w->step;
    }
    for (int64_t line = begin; line < end; line++) {
        if (stage == 1) {
            FN(join_parts)(&l, call, line);
            continue;
        }
        FN(line_turn)(&l, call, line, part / s->column_parts);
        FN(reduce_line)(&l);
        if (s->parts == 1)
            FN(line_put)(&l, call, line);
        else
            for (int64_t k = 0; k < l.width; k++)
                ((FN(best) *)(void *)call->workspace)[(line * s->to[2] + first + k) * s->parts + part] = l.found[k];
    }
}

static const fc_algorithm FN(pool_windows) = {"windows", FC_ISA_NAME,
                                              1u << FC_MAX_POOL | 1u << FC_AVG_POOL | 1u << FC_AVG_POOL_GRAD,
                                              FN(windows_prepare), FN(windows_tasks), FN(windows_run)};
