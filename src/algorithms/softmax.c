/* softmax.c: softmax and its logarithm along lines of C elements, both ways back, and losses of classes with their gradients.
 *
 * Lines are the rows of a matrix, whose neighbouring elements lanes hold, or the columns of (outer, C, inner), then lanes are columns.
 * Every line is read again while it lies in a cache: for its maximum, its exponentials and their sum, its result. A line with
 * NaN or +inf in it becomes NaN. */

#define FC_SOFTMAX_BUNCH (1 << 14) /* elements worth a task */

typedef struct {
    int64_t outer, classes, inner, tasks, bunch; /* bunch: rows of a task, or blocks of VL columns */
    int64_t blocks;                              /* of columns, in an outer part */
    int each;                                    /* each line's gradient has a factor of its own */
} FN(softmax_state);

static const char *FN(softmax_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(softmax_state) *s = (void *)plan->state;
    s->each = p->divisor != 0;
    s->outer = p->batch, s->classes = p->in_channels, s->inner = p->axis[2].in;
    int64_t width = s->inner == 1 ? 1 : VL;
    s->blocks = fc_ceil_div(s->inner, width);
    s->bunch = fc_max(1, FC_SOFTMAX_BUNCH / (s->classes * width));
    s->tasks = fc_ceil_div(s->outer * s->blocks, s->bunch);
    plan->stages = p->op == FC_CLASSES_LOSS ? 2 : 1;
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(softmax_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    *grain = 1;
    return mode == FC_PACK ? 0 : stage ? 1 : (ptrdiff_t)((const FN(softmax_state) *)(const void *)plan->state)->tasks;
}

/* ---- a line, or VL of them side by side: its elements lie `step` vectors or elements apart ---- */

typedef struct {
    int64_t first, n, some; /* where it begins; vectors of it; lanes of the last one, or of all where lanes are lines */
    ptrdiff_t step;         /* from vector to vector */
    int along;              /* lanes hold elements of one line */
} FN(strand);

FC_INLINE FN(strand) FN(strand_at)(const FN(softmax_state) *s, int64_t number)
{
    if (s->inner == 1)
        return (FN(strand)){number * s->classes, fc_ceil_div(s->classes, VL), (s->classes - 1) % VL + 1, VL, 1};
    int64_t column = number % s->blocks * VL;
    return (FN(strand)){number / s->blocks * s->classes * s->inner + column, s->classes, fc_min(VL, s->inner - column), s->inner, 0};
}

FC_INLINE int64_t FN(strand_lanes)(const FN(strand) *l, int64_t i) { return l->along && i < l->n - 1 ? VL : l->some; }

/* All lanes become the sum, or the maximum, of all where they are of one line. */
FC_INLINE vec FN(strand_sum)(vec v, int along)
{
    for (int half = 1; along && half < VL; half *= 2)
        v = FN(zip_lo)(v, v) + FN(zip_hi)(v, v);
    return v;
}

FC_INLINE vec FN(strand_max)(const real *x, const FN(strand) *l)
{
    const vec least = FN(splat)(-(real)INFINITY);
    vec most = least;
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i);
        vec v = FN(load_some)(x + l->first + i * l->step, some);
        most = FN(max_nan)(most, some == VL || !l->along ? v : FN(first_n)(v, least, some));
    }
    for (int half = 1; l->along && half < VL; half *= 2)
        most = FN(max_nan)(FN(zip_lo)(most, most), FN(zip_hi)(most, most));
    return most;
}

/* The sum of exp(x - most), which `y` keeps where it is given. */
FC_INLINE vec FN(strand_exponentials)(const real *x, const FN(strand) *l, vec most, real *y)
{
    vec sum = FN(zero)();
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i), at = l->first + i * l->step;
        vec e = FN(exp_negative)(FN(load_some)(x + at, some) - most);
        if (some < VL)
            e = FN(keep_n)(e, some);
        sum += e;
        if (y)
            FN(store_some)(y + at, e, some);
    }
    return FN(strand_sum)(sum, l->along);
}

FC_INLINE void FN(softmax_line)(const real *x, const real *unused, const FN(strand) *l, real *y)
{
    (void)unused;
    vec most = FN(strand_max)(x, l), share = FN(splat)(1) / FN(strand_exponentials)(x, l, most, y);
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i), at = l->first + i * l->step;
        FN(store_some)(y + at, FN(load_some)(y + at, some) * share, some);
    }
}

FC_INLINE void FN(log_softmax_line)(const real *x, const real *unused, const FN(strand) *l, real *y)
{
    (void)unused;
    vec most = FN(strand_max)(x, l), log = FN(log_upward)(FN(strand_exponentials)(x, l, most, NULL));
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i), at = l->first + i * l->step;
        FN(store_some)(y + at, (FN(load_some)(x + at, some) - most) - log, some);
    }
}

/* y * (g - sum of g * y) */
FC_INLINE void FN(softmax_grad_line)(const real *g, const real *y, const FN(strand) *l, real *gx)
{
    vec sum = FN(zero)();
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i), at = l->first + i * l->step;
        sum += FN(load_some)(g + at, some) * FN(load_some)(y + at, some);
    }
    sum = FN(strand_sum)(sum, l->along);
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i), at = l->first + i * l->step;
        FN(store_some)(gx + at, (FN(load_some)(g + at, some) - sum) * FN(load_some)(y + at, some), some);
    }
}

/* g - exp(y) * sum of g */
FC_INLINE void FN(log_softmax_grad_line)(const real *g, const real *y, const FN(strand) *l, real *gx)
{
    vec sum = FN(zero)();
    for (int64_t i = 0; i < l->n; i++)
        sum += FN(load_some)(g + l->first + i * l->step, FN(strand_lanes)(l, i));
    sum = FN(strand_sum)(sum, l->along);
    for (int64_t i = 0; i < l->n; i++) {
        int64_t some = FN(strand_lanes)(l, i), at = l->first + i * l->step;
        FN(store_some)(gx + at, FN(load_some)(g + at, some) - FN(exp_negative)(FN(load_some)(y + at, some)) * sum, some);
    }
}

#define FC_SOFTMAX(name)                                                                                                        \
    static void FN(name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)              \
    {                                                                                                                           \
        const FN(softmax_state) *s = (const void *)plan->state;                                                                 \
        const int64_t end = fc_min(s->outer * s->blocks, (task + 1) * s->bunch);                                                \
        (void)stage, (void)scratch;                                                                                             \
        for (int64_t i = task * s->bunch; i < end; i++) {                                                                       \
            FN(strand) l = FN(strand_at)(s, i);                                                                                     \
            FN(name##_line)((const real *)(const void *)call->array[0].data, (const real *)(const void *)call->array[1].data,   \
                            &l, (real *)(void *)call->array[3].data);                                                           \
        }                                                                                                                       \
    }                                                                                                                           \
    static const fc_algorithm FN(name) = {#name, FC_ISA_NAME, 1u << FC_SOFTMAX_LINES, FN(softmax_prepare), FN(softmax_tasks),   \
                                          FN(name##_run)};
FC_SOFTMAX(softmax)
FC_SOFTMAX(log_softmax)
FC_SOFTMAX(softmax_grad)
FC_SOFTMAX(log_softmax_grad)
#undef FC_SOFTMAX

/* ---- losses of right classes, and gradients times a factor: cross entropy is log(sum) - (x[target] - most), with the gradient
 * softmax - 1 at the target; the negative log-likelihood -x[target], with -1 at the target ---- */

FC_INLINE void FN(classes_strand)(const int entropy, const FN(softmax_state) *s, fc_call *call, int64_t number)
{
    const FN(strand) l = FN(strand_at)(s, number);
    const real *x = (const real *)(const void *)call->array[0].data;
    real *gx = (real *)(void *)call->array[3].data;
    const int64_t lines = s->inner == 1 ? 1 : l.some;
    const int64_t line = s->inner == 1 ? number : number / s->blocks * s->inner + number % s->blocks * VL;
    int64_t target[VL]; /* read once: who else writes to them must not lead us astray */
    double *loss = (double *)(void *)call->extra + line;
    vec most = FN(zero)(), share = most, log = most;
    memcpy(target, (const int64_t *)(const void *)call->array[1].data + line, (size_t)lines * sizeof *target);
    for (int64_t i = 0; i < lines; i++)
        if (target[i] < 0 || target[i] >= s->classes) {
            call->failed = 1;
            return;
        }
    if (entropy) {
        vec sum = FN(strand_exponentials)(x, &l, most = FN(strand_max)(x, &l), gx);
        share = FN(splat)(1) / sum, log = FN(log_upward)(sum);
    }
    for (int64_t i = 0; i < lines; i++)
        loss[i] = (double)log[i] - ((double)x[l.first + i + target[i] * s->inner] - (double)most[i]);
    if (!gx)
        return;
    const double *factors = (const double *)(const void *)call->array[2].data + (s->each ? line : 0);
    real factor[VL];
    for (int64_t i = 0; i < VL; i++)
        factor[i] = (real)factors[s->each && i < lines ? i : 0];
    const vec times = FN(load)(factor);
    for (int64_t i = 0; i < l.n; i++) {
        int64_t some = FN(strand_lanes)(&l, i), at = l.first + i * l.step;
        FN(store_some)(gx + at, entropy ? FN(load_some)(gx + at, some) * share * times : FN(zero)(), some);
    }
    for (int64_t i = 0; i < lines; i++)
        gx[l.first + i + target[i] * s->inner] -= factor[i];
}

/* Negative log-likelihoods alone, of the lines of a row, or of a block of columns. */
static void FN(likelihoods)(const FN(softmax_state) *s, fc_call *call, int64_t number)
{
    const int64_t column = s->inner == 1 ? 0 : number % s->blocks * VL, outer = s->inner == 1 ? number : number / s->blocks;
    const int64_t line = outer * s->inner + column, lines = fc_min(VL, s->inner - column);
    const real *x = (const real *)(const void *)call->array[0].data + outer * s->classes * s->inner + column;
    const volatile int64_t *target = (const int64_t *)(const void *)call->array[1].data + line; /* read once, as above */
    double *loss = (double *)(void *)call->extra + line;
    for (int64_t i = 0; i < lines; i++) {
        const int64_t right = target[i];
        if (right < 0 || right >= s->classes) {
            call->failed = 1;
            return;
        }
        loss[i] = 0 - (double)x[right * s->inner + i];
    }
}

#define FC_CLASSES(name, entropy)                                                                                               \
    static void FN(name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)              \
    {                                                                                                                           \
        const FN(softmax_state) *s = (const void *)plan->state;                                                                 \
        const int64_t end = fc_min(s->outer * s->blocks, (task + 1) * s->bunch);                                                \
        (void)scratch;                                                                                                          \
        for (int64_t i = task * s->bunch; i < end && !stage; i++) {                                                             \
            if (!entropy && !call->array[3].data)                                                                               \
                FN(likelihoods)(s, call, i);                                                                                    \
            else                                                                                                                \
                FN(classes_strand)(entropy, s, call, i);                                                                        \
        }                                                                                                                       \
        if (stage)                                                                                                              \
            FN(classes_total)(s, call);                                                                                         \
    }                                                                                                                           \
    static const fc_algorithm FN(name) = {#name, FC_ISA_NAME, 1u << FC_CLASSES_LOSS, FN(softmax_prepare), FN(softmax_tasks),    \
                                          FN(name##_run)};

/* The sum of all losses, behind them: in several chains, as an addition takes longer than the rest. */
static void FN(classes_total)(const FN(softmax_state) *s, fc_call *call)
{
    const int64_t n = s->outer * s->inner;
    double *loss = (double *)(void *)call->extra, sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        FC_UNROLL for (int j = 0; j < 8; j++) sum[j] += loss[i + j];
    for (; i < n; i++)
        sum[i % 8] += loss[i];
    loss[n] = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

FC_CLASSES(cross_entropy, 1)
FC_CLASSES(nll, 0)
#undef FC_CLASSES
