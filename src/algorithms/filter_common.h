/* filter_common.h: what the filters of an image share: blocks of results, and the image continued beyond its borders.
 *
 * y[h][w][c] = sum_(i,j) w[i][j] * x[h + i - pad][w + j - pad][c], where x goes on outside as the problem's flags say. The channels
 * of a pixel lie side by side (or are planes of their own, and a pixel has one), so that a row is a run of elements in which
 * neighbouring columns of the kernel are `step` apart. A task copies what its results read into a panel whose rows are
 * FC_FILTER_PITCH apart, borders included: no kernel ever sees one. */

#ifndef FC_FILTER_HIGH
#define FC_FILTER_HIGH 64         /* rows of a block of results, where there are enough of them and the kernel is not higher */
#define FC_FILTER_KERNEL_ROWS 128 /* of a kernel in one stage: bounds the panel, and with the columns a task's time */
#define FC_FILTER_KERNEL_COLS 32
#define FC_FILTER_SEPARABLE 1024
#define FC_FILTER_PAST (1 << 23) /* elements of a plane that are stored past the caches: more than third-level caches hold */
/* The place in 0 .. n that stands at i outside; -1: a constant stands there. All modes but the constant repeat for ever. */
static inline int64_t fc_outside(int64_t i, int64_t n, int mode)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == FC_OUTSIDE_CONSTANT)
        return -1;
    if (mode == FC_OUTSIDE_NEAREST || n == 1)
        return i < 0 ? 0 : n - 1;
    int64_t period = mode == FC_OUTSIDE_WRAP ? n : mode == FC_OUTSIDE_MIRROR ? 2 * n - 2 : 2 * n, at = i % period;
    if (at < 0)
        at += period;
    return at < n ? at : period - at - (mode == FC_OUTSIDE_REFLECT);
}
#endif

typedef struct {
    int64_t step, elements;     /* channels side by side; elements of a row */
    int64_t rows, wide;         /* of a block of results */
    int64_t downs, acrosses;    /* blocks of a plane */
} FN(filter_blocks);

/* Blocks as wide as the panel allows with `reach` elements beside, of at least `least` rows. */
static FN(filter_blocks) FN(filter_blocks_of)(const fc_problem *p, int64_t reach, int64_t least)
{
    FN(filter_blocks) b = {.step = p->in_channels, .elements = p->axis[2].in * p->in_channels};
    const int64_t most = FC_FILTER_PITCH - reach - 3 * FN(aligned)(1), high = p->axis[1].in;
    b.wide = fc_min(b.elements, FN(aligned)(fc_ceil_div(b.elements, fc_ceil_div(b.elements, most))));
    b.acrosses = fc_ceil_div(b.elements, b.wide);
    int64_t wanted = fc_ceil_div(high, fc_max(1, FC_TASKS_WANTED / (p->batch * b.acrosses)));
    b.rows = fc_round_up(fc_max(least, fc_min(FC_FILTER_HIGH, wanted)), FC_FILTER_ROWS);
    b.downs = fc_ceil_div(high, b.rows);
    return b;
}

/* A task's block, and how to copy what it reads. */
typedef struct {
    const FN(filter_blocks) *b;
    const real *x;
    ptrdiff_t ldx, stride;
    int64_t high, wide;  /* of the image: rows and pixels */
    int mode;
    real outside;
    real *y;
    ptrdiff_t ldy;
    int64_t row, rows, col, cols; /* results */
    int64_t *at;         /* where the elements to the left and right of the image are in a row, or -1 */
} FN(filter_task);

static FN(filter_task) FN(filter_task_of)(const fc_plan *plan, const fc_call *call, const FN(filter_blocks) *b, int64_t task)
{
    const fc_problem *p = &plan->problem;
    const fc_array *x = &call->array[0], *value = &call->array[2], *y = &call->array[3];
    FN(filter_task) t = {.b = b, .ldx = x->stride[3], .stride = x->stride[4], .high = p->axis[1].in, .wide = p->axis[2].in,
                         .mode = p->flags, .ldy = y->stride[3]};
    int64_t across = task % b->acrosses, down = task / b->acrosses % b->downs, plane = task / b->acrosses / b->downs;
    t.outside = value->data ? *(const real *)value->data : 0;
    t.row = down * b->rows;
    t.rows = fc_min(b->rows, t.high - t.row);
    t.col = across * b->wide;
    t.cols = fc_min(b->wide, b->elements - t.col);
    t.x = (const real *)x->data + plane * x->stride[0];
    t.y = (real *)y->data + plane * y->stride[0] + t.row * t.ldy + t.col;
    return t;
}

/* Notes where the elements from..from+n of a row come from, as far as they lie outside. */
static void FN(filter_places)(const FN(filter_task) *t, int64_t from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t e = from + i, step = t->b->step, pixel = e >= 0 ? e / step : -((step - 1 - e) / step);
        if (e >= 0 && e < t->b->elements) {
            i = fc_min(n, t->b->elements - from) - 1;
            continue;
        }
        int64_t place = fc_outside(pixel, t->wide, t->mode);
        t->at[i] = place < 0 ? -1 : place * step + e - pixel * step;
    }
}

/* Elements from..from+n of a row of the image, both possibly outside; filter_places has been there. */
static void FN(filter_copy)(const FN(filter_task) *t, int64_t row, int64_t from, int64_t n, real *dst)
{
    row = fc_outside(row, t->high, t->mode);
    if (row < 0) {
        FN(fill_run)(dst, t->outside, n);
        return;
    }
    const real *x = t->x + row * t->ldx;
    int64_t lo = fc_max(0, fc_min(n, -from)), hi = fc_max(lo, fc_min(n, t->b->elements - from));
    for (int64_t i = 0; i < lo; i++)
        dst[i] = t->at[i] < 0 ? t->outside : x[t->at[i] * t->stride];
    if (t->stride == 1) {
        int64_t head = fc_min(hi - lo, ((int64_t)(-(intptr_t)(dst + lo) & (FC_ALIGN - 1))) / (int64_t)sizeof(real));
        FN(copy_run)(dst + lo, x + from + lo, 1, head);
        FN(copy_run)(dst + lo + head, x + from + lo + head, 1, hi - lo - head);
    } else {
        FN(copy_run)(dst + lo, x + (from + lo) * t->stride, t->stride, hi - lo);
    }
    for (int64_t i = hi; i < n; i++)
        dst[i] = t->at[i] < 0 ? t->outside : x[t->at[i] * t->stride];
}

/* How far a panel is shifted so that its rows are aligned where those of the results are. */
static inline int64_t FN(filter_shift)(int64_t before) { return -before & (FN(aligned)(1) - 1); }

/* Where a band's results go; rows beyond the block's last go to a row that nobody reads. */
static inline void FN(filter_targets)(const FN(filter_task) *t, int64_t row, real *nowhere, real **y)
{
    for (int64_t h = 0; h < FC_FILTER_ROWS; h++)
        y[h] = row + h < t->rows ? t->y + (row + h) * t->ldy : nowhere;
}

/* Rows lo..hi and columns c0..c1 of a kernel, as filter_rows takes them: groups of rows, [column][row] in each. */
static int64_t FN(filter_groups)(int64_t rows) { return fc_ceil_div(rows, FC_FILTER_TAPS); }
static void FN(filter_pack)(const real *w, ptrdiff_t ldw, ptrdiff_t stride, int64_t rows, int64_t cols, real *dst)
{
    int64_t n = FN(filter_groups)(rows);
    for (int64_t g = 0; g < n; g++) {
        int64_t from = FN(even_start)(rows, n, g), to = FN(even_start)(rows, n, g + 1);
        for (int64_t s = 0; s < cols; s++)
            for (int64_t r = from; r < to; r++)
                *dst++ = w[r * ldw + s * stride];
    }
}

/* A band of results by a packed kernel; x is where its first row meets the kernel's first. */
static void FN(filter_apply)(const real *x, ptrdiff_t step, const real *w, int64_t rows, int64_t cols, real *const *y, int64_t n,
                             int add)
{
    int64_t groups = FN(filter_groups)(rows);
    for (int64_t g = 0; g < groups; g++) {
        int64_t from = FN(even_start)(rows, groups, g), nr = FN(even_start)(rows, groups, g + 1) - from;
        FN(filter_band) b = {x + from * FC_FILTER_PITCH, step, w + from * cols, cols, y, n, add || g > 0};
        FN(filter_rows)(nr, &b);
    }
}
