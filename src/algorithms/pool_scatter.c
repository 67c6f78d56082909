/* pool_scatter.c: values go where indices say: max pooling's gradient (equal places add up) and max unpooling (the last one
 * stays).
 *
 * The places of one plane are visited in order by one task after another: planes run side by side, the parts of a large plane
 * are stages. An index is checked before it is used; one that is not in the plane writes nothing and fails the call. */

#define FC_SCATTER_PART (1 << 20)  /* places of a plane that a task visits: a few ms */
#define FC_SCATTER_BUNCH (1 << 15) /* places and elements worth a task */
#define FC_SCATTER_CLEAR (1 << 18) /* elements of a plane above which clearing is a stage of its own */

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
    plan->scratch = FC_SCRATCH_HEAD;
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
FC_INLINE int64_t FN(scatter_run)(const real *x, ptrdiff_t x_step, const int64_t *at, ptrdiff_t at_step, int64_t n, int add,
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
        return add ? FN(scatter_run)(values + first, 1, places + first, 1, last - first, 1, y, size)
                   : FN(scatter_run)(values + first, 1, places + first, 1, last - first, 0, y, size);
    int64_t outside = 0, count;
    for (int64_t i = first; i < last; i += count) {
        int64_t w = i % width, h = i / width % height, d = i / width / height;
        count = fc_min(width - w, last - i);
        const real *from = values + d * x->stride[2] + h * x->stride[3] + w * x->stride[4];
        const int64_t *to = places + d * at->stride[2] + h * at->stride[3] + w * at->stride[4];
        outside += FN(scatter_run)(from, x->stride[4], to, at->stride[4], count, add, y, size);
    }
    return outside;
}

static void FN(scatter_task)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(scatter_state) *s = (const void *)plan->state;
    real *y = (real *)call->array[3].data; /* the caller's new array: consecutive */
    (void)scratch;
    if (s->clears && stage == 0) {
        int64_t first = task * FC_SCATTER_CLEAR;
        FN(fill_run)(y + first, 0, fc_min(FC_SCATTER_CLEAR, s->planes * s->to - first));
        return;
    }
    int64_t part = stage - (s->clears > 0);
    int64_t first = FN(even_start)(s->from, s->parts, part), last = FN(even_start)(s->from, s->parts, part + 1), outside = 0;
    for (int64_t i = task * s->bunch; i < fc_min(s->planes, (task + 1) * s->bunch); i++) {
        if (part == 0 && !s->clears)
            FN(fill_run)(y + i * s->to, 0, s->to);
        outside += FN(scatter_part)(p, call, i / p->in_channels, i % p->in_channels, first, last, y + i * s->to, s->to);
    }
    if (outside)
        call->failed = 1;
}

static const fc_algorithm FN(pool_scatter) = {"scatter", FC_ISA_NAME, 1u << FC_MAX_POOL_GRAD | 1u << FC_MAX_UNPOOL,
                                              FN(scatter_prepare), FN(scatter_tasks), FN(scatter_task)};
