/* pool_scatter.c: values go where indices say: max pooling's gradient (equal places add up) and max unpooling (the last one
 * stays).
 *
 * Where a max pooling kept in a byte which tap of its window a maximum was, a table says how far from the window's start that lies;
 * such bytes are our own, and are not checked. (To gather what an input gets, from the bytes of all windows that it is in, took twice
 * as long: nine comparisons for each output of a 3x3 window where a scatter has one addition.)
 *
 * The places of one plane are visited in order by one task after another: planes run side by side, the parts of a large plane
 * are stages. An index is checked before it is used; one that is not in the plane writes nothing and fails the call. */

#define FC_SCATTER_PART (1 << 20)  /* places of a plane that a task visits: a few ms */
#define FC_SCATTER_BUNCH (1 << 15) /* places and elements worth a task */
#define FC_SCATTER_CLEAR (1 << 18) /* elements of a plane above which clearing is a stage of its own */
#define FC_SCATTER_TAPS 256        /* numbers of a byte */
#define FC_SCATTER_STARTS 1024     /* windows of a plane whose starts are in a table: short rows are no loops then */
#define FC_SCATTER_CHECK 64        /* indices that are checked at once */

typedef struct {
    int64_t from, to;       /* places and elements of a plane */
    int64_t planes, bunch, bunches;
    int64_t clears;         /* tasks of the stage that clears, or 0: the first part does */
    int64_t parts;
} FN(scatter_state);

static const char *FN(scatter_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(scatter_state) *s = (void *)plan->state;
    s->from = s->to = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        s->from *= p->op == FC_MAX_UNPOOL ? a->in : a->out;
        s->to *= p->op == FC_MAX_UNPOOL ? a->out : a->in;
    }
    s->planes = p->batch * p->in_channels;
    s->clears = s->to > FC_SCATTER_CLEAR ? fc_ceil_div(s->to * s->planes, FC_SCATTER_CLEAR) : 0;
    s->parts = fc_ceil_div(s->from, FC_SCATTER_PART);
    int64_t work = s->from / s->parts + (s->clears ? 0 : s->to);
    s->bunch = fc_max(1, fc_min(FC_SCATTER_BUNCH / work, s->planes / FC_TASKS_WANTED));
    s->bunches = fc_ceil_div(s->planes, s->bunch);
    plan->stages = s->parts + (s->clears > 0);
    plan->scratch = FC_SCRATCH_HEAD + (FC_SCATTER_TAPS + FC_SCATTER_STARTS) * (int64_t)sizeof(ptrdiff_t);
    if (p->flags & FC_OFFSETS && (double)p->axis[0].kernel * (double)p->axis[1].kernel * (double)p->axis[2].kernel > FC_SCATTER_TAPS)
        return "windows of at most 256 taps, where their maxima are kept in bytes";
    return NULL;
}

static ptrdiff_t FN(scatter_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(scatter_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return s->clears && stage == 0 ? s->clears : s->bunches;
}

/* Returns how many indices lie outside. */
FC_INLINE int64_t FN(scatter_each)(const real *x, ptrdiff_t x_step, const int64_t *at, ptrdiff_t at_step, int64_t n, int add,
                                   real *y, int64_t size)
{
    int64_t outside = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t place = at[i * at_step];
        if ((uint64_t)place >= (uint64_t)size)
            outside++;
        else
            y[place] = add ? y[place] + x[i * x_step] : x[i * x_step];
    }
    return outside;
}

/* The same, for consecutive ones: checked some at a time, in vectors, then used without a look. */
FC_INLINE int64_t FN(scatter_run)(const real *x, const int64_t *at, int64_t n, int add, real *y, int64_t size)
{
    int64_t outside = 0, i = 0;
    for (; i + FC_SCATTER_CHECK <= n; i += FC_SCATTER_CHECK) {
        uint64_t sign = 0;
        for (int j = 0; j < FC_SCATTER_CHECK; j++)
            sign |= (uint64_t)at[i + j] | ((uint64_t)(size - 1) - (uint64_t)at[i + j]);
        if (sign >> 63) {
            outside += FN(scatter_each)(x + i, 1, at + i, 1, FC_SCATTER_CHECK, add, y, size);
            continue;
        }
        _Pragma("GCC unroll 8") for (int j = 0; j < FC_SCATTER_CHECK; j++)
            y[at[i + j]] = add ? y[at[i + j]] + x[i + j] : x[i + j];
    }
    return outside + FN(scatter_each)(x + i, 1, at + i, 1, n - i, add, y, size);
}

/* Places first .. last of plane (n, k), in order. */
static int64_t FN(scatter_part)(const fc_problem *p, const fc_call *call, int64_t n, int64_t k, int64_t first, int64_t last,
                                real *y, int64_t size)
{
    const fc_array *x = &call->array[0], *at = &call->array[2];
    int add = p->op == FC_MAX_POOL_GRAD;
    int64_t depth = add ? p->axis[0].out : p->axis[0].in, height = add ? p->axis[1].out : p->axis[1].in;
    int64_t width = add ? p->axis[2].out : p->axis[2].in;
    const real *values = (const real *)x->data + n * x->stride[0] + k * x->stride[1];
    const int64_t *places = (const int64_t *)(const void *)at->data + n * at->stride[0] + k * at->stride[1];
    if (fc_consecutive(x, depth, height, width) && fc_consecutive(at, depth, height, width))
        return add ? FN(scatter_run)(values + first, places + first, last - first, 1, y, size)
                   : FN(scatter_run)(values + first, places + first, last - first, 0, y, size);
    int64_t outside = 0, count;
    for (int64_t i = first; i < last; i += count) {
        int64_t w = i % width, h = i / width % height, d = i / width / height;
        count = fc_min(width - w, last - i);
        const real *from = values + d * x->stride[2] + h * x->stride[3] + w * x->stride[4];
        const int64_t *to = places + d * at->stride[2] + h * at->stride[3] + w * at->stride[4];
        outside += FN(scatter_each)(from, x->stride[4], to, at->stride[4], count, add, y, size);
    }
    return outside;
}

/* The distance of each tap from its window's start, and if there are few, where windows start. */
static void FN(scatter_tables)(const fc_problem *p, int64_t windows, ptrdiff_t *taps, ptrdiff_t *starts)
{
    const fc_axis *a = p->axis;
    for (int64_t d = 0; d < a[0].kernel; d++)
        for (int64_t h = 0; h < a[1].kernel; h++)
            for (int64_t w = 0; w < a[2].kernel; w++)
                *taps++ = (d * a[0].dilation * a[1].in + h * a[1].dilation) * a[2].in + w * a[2].dilation;
    for (int64_t d = 0; d < a[0].out && windows <= FC_SCATTER_STARTS; d++)
        for (int64_t h = 0; h < a[1].out; h++)
            for (int64_t w = 0; w < a[2].out; w++)
                *starts++ = ((d * a[0].stride - a[0].pad) * a[1].in + h * a[1].stride - a[1].pad) * a[2].in + w * a[2].stride - a[2].pad;
}

/* Outputs first .. last of a plane add their gradients x to the taps that `taken` names. */
static void FN(scatter_taps)(const fc_problem *p, const fc_array *x, const real *plane, const uint8_t *taken, int64_t windows,
                             const ptrdiff_t *taps, int64_t first, int64_t last, real *y)
{
    const fc_axis *a = p->axis;
    const ptrdiff_t *starts = taps + FC_SCATTER_TAPS;
    if (windows <= FC_SCATTER_STARTS && fc_consecutive(x, a[0].out, a[1].out, a[2].out)) {
        for (int64_t i = first; i < last; i++)
            y[starts[i] + taps[taken[i]]] += plane[i];
        return;
    }
    ptrdiff_t step = x->stride[4], stride = a[2].stride;
    int64_t w = first % a[2].out, h = first / a[2].out % a[1].out, d = first / a[2].out / a[1].out;
    for (int64_t i = first, count; i < last; i += count, w = 0) {
        count = fc_min(a[2].out - w, last - i);
        const real *from = plane + d * x->stride[2] + h * x->stride[3] + w * step;
        ptrdiff_t start = ((d * a[0].stride - a[0].pad) * a[1].in + h * a[1].stride - a[1].pad) * a[2].in + w * stride - a[2].pad;
        for (int64_t j = 0; j < count; j++)
            y[start + j * stride + taps[taken[i + j]]] += from[j * step];
        if (++h == a[1].out) {
            h = 0;
            d++;
        }
    }
}

static void FN(scatter_task)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(scatter_state) *s = (const void *)plan->state;
    real *y = (real *)call->array[3].data; /* the caller's new array: consecutive */
    if (s->clears && stage == 0) {
        int64_t first = task * FC_SCATTER_CLEAR;
        FN(fill_run)(y + first, 0, fc_min(FC_SCATTER_CLEAR, s->planes * s->to - first));
        return;
    }
    int64_t part = stage - (s->clears > 0);
    int64_t first = FN(even_start)(s->from, s->parts, part), last = FN(even_start)(s->from, s->parts, part + 1), outside = 0;
    const fc_array *x = &call->array[0];
    ptrdiff_t *tables = (ptrdiff_t *)(void *)(scratch + FC_SCRATCH_HEAD);
    if (p->flags & FC_OFFSETS)
        FN(scatter_tables)(p, s->from, tables, tables + FC_SCATTER_TAPS);
    for (int64_t i = task * s->bunch; i < fc_min(s->planes, (task + 1) * s->bunch); i++) {
        if (part == 0 && !s->clears)
            FN(fill_run)(y + i * s->to, 0, s->to);
        int64_t n = i / p->in_channels, k = i % p->in_channels;
        if (p->flags & FC_OFFSETS)
            FN(scatter_taps)(p, x, (const real *)x->data + n * x->stride[0] + k * x->stride[1],
                             (const uint8_t *)call->array[2].data + i * s->from, s->from, tables, first, last, y + i * s->to);
        else
            outside += FN(scatter_part)(p, call, n, k, first, last, y + i * s->to, s->to);
    }
    if (outside)
        call->failed = 1;
}

static const fc_algorithm FN(pool_scatter) = {"scatter", FC_ISA_NAME, 1u << FC_MAX_POOL_GRAD | 1u << FC_MAX_UNPOOL,
                                              FN(scatter_prepare), FN(scatter_tasks), FN(scatter_task)};
