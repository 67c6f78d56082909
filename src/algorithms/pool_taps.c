/* pool_taps.c: sliding and small adaptive windows: first down, then along.
 *
 * A line is a row of results. The rows of inputs under it are reduced to one with whole vectors of columns, from where they
 * lie: rows outside the input are left out, not padded. Then windows are reduced along W, outputs in the lanes; there
 * neighbouring outputs must be neighbours, so that on its way the row of columns is
 *
 *   kept      stride 1
 *   halved    stride 2: even and odd columns apart, by shuffles of two vectors
 *   picked    else: for each tap the columns that it reads, one by one (of adaptive windows a table says which)
 *
 * Padding along W is written between the columns. Several lines are taken down before any is taken along: loads that straddle
 * the stores before them would wait for these. Maxima whose place is asked for carry the number of their row; along W the smaller
 * number wins between equals. */

#define FC_POOL_ROWS 1024                                          /* rows of a window, at most */
#define FC_POOL_REACH 8192                                         /* columns that it reaches over */
#define FC_POOL_PICKS 32                                           /* columns of a window that are picked one by one */
#define FC_POOL_COLUMNS 2048                                       /* under a line */
#define FC_POOL_TABLE 4096                                         /* rows under a task's lines */
#define FC_POOL_BUFFER ((int64_t)(8 << 10) / (int64_t)sizeof(real)) /* elements of lines between down and along: half of L1 */
#define FC_POOL_WORK (1 << 22)                                     /* element-taps of a task: a few ms, one by one */
#define FC_POOL_LEAST (1 << 16)                                    /* elements worth a task: some 10 us */

typedef struct {
    int64_t taps[FC_DIMS], above; /* of the largest window; rows of it */
    int64_t width, widths;        /* results of a line that a task computes */
    int64_t lines, chunk, chunks; /* of a plane; of a task */
    int64_t bunch, bunches;       /* planes of a task */
    int64_t rows;                 /* lines taken down before they are taken along */
    int64_t extent;               /* columns under a line, with padding */
    int64_t slots, row, slot;     /* of columns that were kept, halved or picked: number, elements of a line and of all rows */
    fc_feed feed;
    int table;                    /* of the columns to pick */
} FN(pool_taps_state);

/* What a task's planes share, all in the scratch. */
typedef struct {
    const fc_problem *p;
    const FN(pool_taps_state) *s;
    fc_reduction kind;
    int64_t first, width;     /* results of a line */
    int64_t line, lines;      /* of a plane */
    int64_t from, lo, hi, extent; /* column of position 0; the positions in the input; all */
    real fill;
    FN(found) columns, slots; /* a line taken down; several, as they are taken along */
    lane *at;
    real *sizes, *across;     /* of windows: along W; rows of each line */
    ptrdiff_t *along, *above; /* taps in the slots; rows of each line in the plane */
    lane *along_number, *above_number;
    int64_t weight[FC_DIMS];  /* what a tap further along an axis adds to a number */
    int64_t *column, *base;   /* index of the first tap: its column, and of a line its row */
    int32_t *pick, *pads, *count; /* columns picked; places of padding in a line's slots; rows of each line */
    int64_t padding;
    char *doubtful;           /* lines whose maxima need another look */
} FN(pool_task);

static void *FN(carve)(char *base, size_t *at, int64_t n, size_t size)
{
    void *p = base ? base + *at : NULL;
    *at = (*at + (size_t)n * size + FC_ALIGN - 1) / FC_ALIGN * FC_ALIGN;
    return p;
}

/* Lays out the scratch, or only counts its bytes. */
static size_t FN(pool_layout)(const FN(pool_taps_state) *s, char *base, FN(pool_task) *t)
{
    size_t at = FC_SCRATCH_HEAD;
    int64_t slack = 2 * VL;
    t->slots.x = FN(carve)(base, &at, s->slots * s->slot, sizeof(real));
    t->slots.at = FN(carve)(base, &at, s->slots * s->slot, sizeof(lane));
    t->columns.x = FN(carve)(base, &at, s->extent + 1 + slack, sizeof(real));
    t->columns.at = FN(carve)(base, &at, s->extent + 1 + slack, sizeof(lane));
    t->at = FN(carve)(base, &at, s->width + slack, sizeof(lane));
    t->sizes = FN(carve)(base, &at, s->width + slack, sizeof(real));
    t->across = FN(carve)(base, &at, s->chunk, sizeof(real));
    t->along = FN(carve)(base, &at, s->taps[2], sizeof(ptrdiff_t));
    t->along_number = FN(carve)(base, &at, s->taps[2], sizeof(lane));
    t->above = FN(carve)(base, &at, s->chunk * s->above, sizeof(ptrdiff_t));
    t->above_number = FN(carve)(base, &at, s->chunk * s->above, sizeof(lane));
    t->column = FN(carve)(base, &at, s->width, sizeof(int64_t));
    t->base = FN(carve)(base, &at, s->chunk, sizeof(int64_t));
    t->pick = FN(carve)(base, &at, s->table ? s->taps[2] * s->width : 0, sizeof(int32_t));
    t->pads = FN(carve)(base, &at, s->extent, sizeof(int32_t));
    t->count = FN(carve)(base, &at, s->chunk, sizeof(int32_t));
    t->doubtful = FN(carve)(base, &at, s->rows, 1);
    return at;
}

static const char *FN(pool_taps_declines)(const fc_problem *p, FN(pool_taps_state) *s)
{
    double span = 0;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        s->taps[d] = p->flags & FC_ADAPTIVE ? fc_min(a->in, a->in / a->out + 2) : a->kernel;
        if (a->kernel > 1 && a->out > 1 && a->stride / 2 > a->dilation * (a->kernel - 1) + 1)
            return "strides of at most twice a window";
        if (a->dilation > 1 << 20) /* some window may lie wholly in padding */
            return "dilations of at most 2^20";
        span = span * (double)a->in + (double)(a->dilation * (a->kernel - 1));
    }
    if (span > INT32_MAX)
        return "windows that lie within 2^31 elements";
    const fc_axis *w = &p->axis[2];
    s->feed = p->flags & FC_ADAPTIVE ? FC_PICKED : w->out == 1 || w->stride == 1 ? FC_KEPT : w->stride == 2 ? FC_HALVED : FC_PICKED;
    if ((double)s->taps[0] * (double)s->taps[1] > FC_POOL_ROWS)
        return "windows of at most 1024 rows";
    if (w->dilation * (w->kernel - 1) + 1 > FC_POOL_REACH || w->stride > FC_POOL_REACH)
        return "windows and strides of at most 8192 columns";
    if (s->feed == FC_PICKED && s->taps[2] > FC_POOL_PICKS)
        return "windows of at most 32 columns, unless they have strides of one or two";
    return NULL;
}

static const char *FN(pool_taps_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(pool_taps_state) *s = (void *)plan->state;
    const char *reason = FN(pool_taps_declines)(p, s);
    if (reason)
        return reason;
    const fc_axis *w = &p->axis[2];
    int adaptive = p->flags & FC_ADAPTIVE;
    int64_t reach = adaptive ? s->taps[2] : w->dilation * (w->kernel - 1) + 1, step = adaptive ? w->in / w->out + 1 : w->stride;
    s->widths = fc_ceil_div(w->out, (fc_max(FC_POOL_COLUMNS, 2 * reach) - reach) / step + 1);
    s->width = fc_ceil_div(w->out, s->widths);
    s->widths = fc_ceil_div(w->out, s->width);
    s->extent = adaptive ? fc_min(w->in, s->width * step + 2) : (s->width - 1) * step + reach;
    s->above = s->taps[0] * s->taps[1];
    s->table = adaptive != 0;
    s->lines = p->axis[0].out * p->axis[1].out;
    int64_t taps = s->above * s->taps[2], line = s->above * s->extent + s->width * s->taps[2];
    s->chunk = fc_max(1, fc_min(s->lines, fc_min(FC_POOL_TABLE / s->above, FC_POOL_WORK / (s->width * taps))));
    s->chunks = fc_ceil_div(s->lines, s->chunk);
    s->chunk = fc_ceil_div(s->lines, s->chunks);
    s->chunks = fc_ceil_div(s->lines, s->chunk);
    int64_t planes = p->batch * p->in_channels, work = s->chunk * line;
    s->bunch = fc_max(fc_ceil_div(FC_POOL_LEAST, work), planes * s->chunks * s->widths / FC_TASKS_WANTED);
    s->bunch = fc_max(1, fc_min(fc_min(s->bunch, planes), FC_POOL_WORK / (s->chunk * s->width * taps)));
    s->bunches = fc_ceil_div(planes, s->bunch);
    s->slots = s->feed == FC_KEPT ? 1 : s->feed == FC_HALVED ? 2 : s->taps[2];
    s->row = fc_round_up(s->feed == FC_PICKED ? s->width : fc_ceil_div(s->extent, s->slots), VL); /* rows begin on a cache line */
    s->rows = fc_max(1, fc_min(s->chunk, FC_POOL_BUFFER / (s->slots * s->row)));
    s->slot = FN(aligned)(s->rows * s->row + 2 * VL);
    FN(pool_task) none;
    plan->stages = 1;
    plan->scratch = (int64_t)FN(pool_layout)(s, NULL, &none);
    return NULL;
}

static ptrdiff_t FN(pool_taps_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(pool_taps_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->bunches * s->chunks * s->widths;
}

/* ---- a task ---- */

/* Where window o of an axis would start, were there no border. */
static inline int64_t FN(window_start)(const fc_axis *a, int flags, int64_t o)
{
    return flags & FC_ADAPTIVE ? fc_share(o, a->in, a->out) : o * a->stride - a->pad;
}

/* A window of an axis, where it would start were there no border, and how many taps lie before the border. */
typedef struct {
    fc_window in;
    int64_t start, skip;
} FN(pool_window);

static inline FN(pool_window) FN(pool_window_at)(const fc_axis *a, int flags, int64_t o)
{
    FN(pool_window) w = {fc_window_of(a, flags, o), FN(window_start)(a, flags, o), 0};
    w.skip = fc_steps(w.in.first - w.start, w.in.step);
    return w;
}

/* The rows under each line: where they lie in the plane, and their numbers. */
static void FN(pool_task_rows)(const FN(pool_task) *t, const fc_array *x)
{
    const fc_axis *a = t->p->axis;
    int flags = t->p->flags;
    int64_t od = t->line / a[1].out, oh = t->line % a[1].out;
    FN(pool_window) d = FN(pool_window_at)(&a[0], flags, od);
    for (int64_t l = 0; l < t->lines; l++, oh++) {
        if (oh == a[1].out) {
            oh = 0;
            d = FN(pool_window_at)(&a[0], flags, ++od);
        }
        FN(pool_window) h = FN(pool_window_at)(&a[1], flags, oh);
        t->count[l] = (int32_t)(d.in.count * h.in.count);
        t->base[l] = (d.start * a[1].in + h.start) * a[2].in;
        if (t->kind == FC_SUM)
            t->across[l] = t->p->divisor != 0 ? (real)t->p->divisor
                                              : (real)fc_window_size(&a[0], flags, od) * (real)fc_window_size(&a[1], flags, oh);
        for (int64_t i = 0, n = l * t->s->above; i < d.in.count; i++)
            for (int64_t j = 0; j < h.in.count; j++, n++) {
                t->above[n] = (d.in.first + i * d.in.step) * x->stride[2] + (h.in.first + j * h.in.step) * x->stride[3];
                t->above_number[n] = (lane)((i + d.skip) * t->weight[0] + (j + h.skip) * t->weight[1]);
            }
    }
}

/* The columns under the results of a line, and the taps that read them. */
static void FN(pool_task_columns)(FN(pool_task) *t)
{
    const FN(pool_taps_state) *s = t->s;
    const fc_axis *a = &t->p->axis[2];
    int flags = t->p->flags;
    FN(fill_run)(t->sizes, 1, s->width + 2 * VL);
    int64_t last = t->first + t->width - 1, step = flags & FC_ADAPTIVE ? 1 : a->dilation;
    t->from = FN(window_start)(a, flags, t->first);
    int64_t window_end = FN(window_start)(a, flags, last) + step * (a->kernel - 1) + 1;
    t->extent = (flags & FC_ADAPTIVE ? fc_share_end(last, a->in, a->out) : window_end) - t->from;
    t->lo = fc_max(0, -t->from);
    t->hi = fc_min(t->extent, a->in - t->from);
    t->padding = 0;
    for (int64_t i = t->lo ? 0 : t->hi; i < t->extent && s->feed != FC_PICKED; i = i + 1 == t->lo ? t->hi : i + 1)
        t->pads[t->padding++] = (int32_t)(i % s->slots * s->slot + i / s->slots);
    for (int64_t k = 0; k < s->taps[2]; k++) {
        t->along[k] = s->feed == FC_PICKED ? k * s->slot : k * step % s->slots * s->slot + k * step / s->slots;
        t->along_number[k] = (lane)(k * t->weight[2]);
    }
    for (int64_t i = 0; i < t->width && t->kind == FC_MAX_AT; i++)
        t->column[i] = FN(window_start)(a, flags, t->first + i);
    for (int64_t i = 0; i < t->width && t->kind == FC_SUM && t->p->divisor == 0; i++)
        t->sizes[i] = (real)fc_window_size(a, flags, t->first + i);
    for (int64_t i = 0; i < t->width && s->table; i++) {
        fc_window w = fc_window_of(a, flags, t->first + i);
        for (int64_t k = 0; k < s->taps[2]; k++)
            t->pick[k * s->width + i] = (int32_t)(k < w.count ? w.first + k - t->from : t->extent);
    }
    if (s->feed == FC_PICKED) /* padding stays, and so does what windows that are too small read */
        FN(fill_run)(t->columns.x, t->fill, t->extent + 1);
}

static void FN(pool_task_init)(const fc_plan *plan, const fc_call *call, ptrdiff_t task, char *scratch, FN(pool_task) *t)
{
    const FN(pool_taps_state) *s = (const void *)plan->state;
    FN(pool_layout)(s, scratch, t);
    t->p = &plan->problem;
    t->s = s;
    t->kind = t->p->op == FC_AVG_POOL ? FC_SUM : call->array[2].data ? FC_MAX_AT : FC_MAX;
    t->fill = t->kind == FC_SUM ? 0 : -(real)INFINITY;
    t->first = task % s->widths * s->width;
    t->width = fc_min(s->width, t->p->axis[2].out - t->first);
    t->line = task / s->widths % s->chunks * s->chunk;
    t->lines = fc_min(s->chunk, s->lines - t->line);
    const fc_axis *a = t->p->axis;
    if (t->p->flags & FC_OFFSETS) { /* taps are numbered one by one, else by their distance in the plane */
        t->weight[2] = 1;
        t->weight[1] = a[2].kernel;
        t->weight[0] = a[1].kernel * a[2].kernel;
    } else {
        int64_t adaptive = t->p->flags & FC_ADAPTIVE;
        t->weight[2] = adaptive ? 1 : a[2].dilation;
        t->weight[1] = a[2].in * (adaptive ? 1 : a[1].dilation);
        t->weight[0] = a[1].in * a[2].in * (adaptive ? 1 : a[0].dilation);
    }
    FN(pool_task_rows)(t, &call->array[0]);
    FN(pool_task_columns)(t);
}

/* ---- a line ---- */

/* y[i] = x[i * stride]; constants let the compiler pick with shuffles. */
static void FN(pick_run)(real *restrict y, const real *restrict x, int64_t stride, int64_t n)
{
    if (stride == 3)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[3 * i];
    else if (stride == 4)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[4 * i];
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i * stride];
}

/* The columns that each tap reads. */
FC_OUTLINE void FN(pool_pick)(const FN(pool_task) *t, fc_reduction kind, FN(found) line)
{
    const FN(pool_taps_state) *s = t->s;
    const fc_axis *a = &t->p->axis[2];
    int64_t n = t->width;
    for (int64_t k = 0; k < s->slots; k++) {
        real *y = line.x + k * s->slot, *y_at = (real *)(line.at + k * s->slot);
        if (!(t->p->flags & FC_ADAPTIVE)) {
            FN(pick_run)(y, t->columns.x + k * a->dilation, a->stride, n);
            if (kind == FC_MAX_AT) /* numbers are as wide as values, and are moved like them */
                FN(pick_run)(y_at, (const real *)t->columns.at + k * a->dilation, a->stride, n);
            continue;
        }
        const int32_t *pick = t->pick + k * s->width;
        for (int64_t i = 0; i < n; i++)
            y[i] = t->columns.x[pick[i]];
        for (int64_t i = 0; i < n && kind == FC_MAX_AT; i++)
            line.at[k * s->slot + i] = t->columns.at[pick[i]];
    }
}

/* Lines l .. l+rows are taken down, to row r of the slots and on; whose maxima are doubtful is noted. */
FC_INLINE void FN(pool_down_lines)(const fc_reduction kind, const int halved, const FN(pool_task) *t, const real *x, ptrdiff_t step,
                                   int64_t l, int64_t r, int64_t rows)
{
    const FN(pool_taps_state) *s = t->s;
    int64_t n = t->hi - t->lo, turn = t->lo % 2 * s->slot; /* of halves the first column may belong to the second */
    for (int64_t end = l + rows; l < end; l++, r++) {
        FN(taps) taps = {t->above + l * s->above, t->above_number + l * s->above, t->count[l]};
        FN(found) line = {t->slots.x + r * s->row, t->slots.at + r * s->row}, to = {line.x + t->lo, line.at + t->lo}, odd = {NULL, NULL};
        if (halved) {
            int64_t first = turn + t->lo / 2, second = s->slot - turn + (t->lo + 1) / 2;
            to = (FN(found)){line.x + first, line.at + first};
            odd = (FN(found)){line.x + second, line.at + second};
        } else if (s->feed == FC_PICKED) {
            to = (FN(found)){t->columns.x + t->lo, t->columns.at + t->lo};
        }
        int doubtful = FN(stack)(kind, halved, x + (t->from + t->lo) * step, step, taps, n, to, odd);
        if (kind == FC_MAX)
            t->doubtful[r] = (char)doubtful;
        if (!halved && s->feed == FC_PICKED)
            FN(pool_pick)(t, kind, line);
        for (int64_t i = 0; i < t->padding; i++)
            line.x[t->pads[i]] = t->fill;
    }
}

FC_OUTLINE void FN(pool_down)(fc_reduction kind, const FN(pool_task) *t, const real *x, ptrdiff_t step, int64_t l,
                              int64_t r, int64_t rows)
{
    int halved = t->s->feed == FC_HALVED;
    if (kind == FC_SUM && halved)
        FN(pool_down_lines)(FC_SUM, 1, t, x, step, l, r, rows);
    else if (kind == FC_SUM)
        FN(pool_down_lines)(FC_SUM, 0, t, x, step, l, r, rows);
    else if (kind == FC_MAX && halved)
        FN(pool_down_lines)(FC_MAX, 1, t, x, step, l, r, rows);
    else if (kind == FC_MAX)
        FN(pool_down_lines)(FC_MAX, 0, t, x, step, l, r, rows);
    else if (halved)
        FN(pool_down_lines)(FC_MAX_AT, 1, t, x, step, l, r, rows);
    else
        FN(pool_down_lines)(FC_MAX_AT, 0, t, x, step, l, r, rows);
}

/* The number of a maximum that none tells: the last NaN of a window, or where all of it is -infinity, its first element that is
 * no padding. */
static int64_t FN(find_number)(const FN(pool_task) *t, const fc_array *array, const real *x, int64_t line, int64_t ow, int nan)
{
    const fc_axis *a = t->p->axis;
    int64_t o[FC_DIMS] = {line / a[1].out, line % a[1].out, ow}, first = 0;
    fc_window w[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++) {
        FN(pool_window) at = FN(pool_window_at)(&a[d], t->p->flags, o[d]);
        w[d] = at.in;
        first += at.skip * t->weight[d];
    }
    for (int64_t i = w[0].count - 1; i >= 0 && nan; i--)
        for (int64_t j = w[1].count - 1; j >= 0; j--)
            for (int64_t k = w[2].count - 1; k >= 0; k--) {
                real v = x[(w[0].first + i * w[0].step) * array->stride[2] + (w[1].first + j * w[1].step) * array->stride[3] +
                           (w[2].first + k * w[2].step) * array->stride[4]];
                if (v != v)
                    return first + i * t->weight[0] + j * t->weight[1] + k * t->weight[2];
            }
    return first;
}

/* Where the maxima of a line are, from result `to` on. */
static void FN(pool_put_places)(const FN(pool_task) *t, const fc_call *call, const real *x, int64_t l, int64_t to, int unknown)
{
    const real *y = (const real *)call->array[3].data + to;
    lane *at = t->at;
    for (int64_t i = 0; i < t->width && unknown; i++)
        if (!(y[i] > -(real)INFINITY))
            at[i] = (lane)FN(find_number)(t, &call->array[0], x, t->line + l, t->first + i, y[i] != y[i]);
    if (t->p->flags & FC_OFFSETS) {
        FN(store_bytes)((uint8_t *)call->array[2].data + to, at, t->width);
        return;
    }
    int64_t *restrict index = (int64_t *)(void *)call->array[2].data + to;
    const int64_t *column = t->column;
    int64_t base = t->base[l];
    for (int64_t i = 0; i < t->width; i++)
        index[i] = base + column[i] + at[i];
}

/* The first `rows` rows of the slots are taken along, to lines l and on of a plane of the result. */
FC_INLINE void FN(pool_along_lines)(const fc_reduction kind, const int64_t count, const FN(pool_task) *t, const fc_call *call,
                                    const real *x, int64_t to, int64_t l, int64_t rows)
{
    const FN(pool_taps_state) *s = t->s;
    FN(taps) taps = {t->along, t->along_number, count};
    for (int64_t r = 0; r < rows; r++, l++, to += t->p->axis[2].out) {
        real *y = (real *)call->array[3].data + to;
        FN(found) line = {t->slots.x + r * s->row, t->slots.at + r * s->row};
        int unknown = FN(slide)(kind, count, line, taps, t->width, t->sizes, t->across[l], (FN(found)){y, t->at});
        if (kind == FC_MAX && t->doubtful[r])
            FN(slide)(FC_MAX_AT, taps.count, line, taps, t->width, t->sizes, 1, (FN(found)){y, t->at});
        if (kind == FC_MAX_AT)
            FN(pool_put_places)(t, call, x, l, to, unknown);
    }
}

FC_OUTLINE void FN(pool_along)(const FN(pool_task) *t, const fc_call *call, const real *x, int64_t to, int64_t l,
                               int64_t rows)
{
    int64_t count = t->s->taps[2];
    if (t->kind == FC_MAX_AT)
        FN(pool_along_lines)(FC_MAX_AT, count, t, call, x, to, l, rows);
    else if (t->kind == FC_SUM && count == 2)
        FN(pool_along_lines)(FC_SUM, 2, t, call, x, to, l, rows);
    else if (t->kind == FC_SUM && count == 3)
        FN(pool_along_lines)(FC_SUM, 3, t, call, x, to, l, rows);
    else if (t->kind == FC_SUM)
        FN(pool_along_lines)(FC_SUM, count, t, call, x, to, l, rows);
    else if (count == 2)
        FN(pool_along_lines)(FC_MAX, 2, t, call, x, to, l, rows);
    else if (count == 3)
        FN(pool_along_lines)(FC_MAX, 3, t, call, x, to, l, rows);
    else
        FN(pool_along_lines)(FC_MAX, count, t, call, x, to, l, rows);
}

static void FN(pool_taps_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(pool_taps_state) *s = (const void *)plan->state;
    const fc_array *array = &call->array[0];
    FN(pool_task) t;
    FN(pool_task_init)(plan, call, task, scratch, &t);
    int64_t begin = task / s->widths / s->chunks * s->bunch, end = fc_min(begin + s->bunch, p->batch * p->in_channels);
    (void)stage;
    for (int64_t plane = begin; plane < end; plane++) {
        const real *x = (const real *)array->data + plane / p->in_channels * array->stride[0] + plane % p->in_channels * array->stride[1];
        for (int64_t l = 0; l < t.lines; l += s->rows) {
            int64_t rows = fc_min(s->rows, t.lines - l);
            FN(pool_down)(t.kind, &t, x, array->stride[4], l, 0, rows);
            for (int64_t r = 0; r < rows && t.kind == FC_MAX; r++)
                if (t.doubtful[r])
                    FN(pool_down)(FC_MAX_AT, &t, x, array->stride[4], l + r, r, 1);
            FN(pool_along)(&t, call, x, (plane * s->lines + t.line + l) * p->axis[2].out + t.first, l, rows);
        }
    }
}

static const fc_algorithm FN(pool_taps) = {"taps", FC_ISA_NAME, 1u << FC_MAX_POOL | 1u << FC_AVG_POOL, FN(pool_taps_prepare),
                                           FN(pool_taps_tasks), FN(pool_taps_run)};
