/* softmax.c: softmax and its logarithm along lines of C elements, both ways back, and losses of classes with their gradients.
 *
 * Lines are the rows of a matrix, whose neighbouring elements lanes hold, or the columns of (outer, C, inner), then lanes are columns.
 * FC_ABREAST neighbouring vectors go through the code together: of a row, so that sums need not wait for each other, or of as many
 * columns, so that whole lines of the cache are read. Every line is read again while it lies in a cache: for its maximum, its
 * exponentials and their sum, its result. A line with NaN or +inf in it becomes NaN. */

#define FC_SOFTMAX_BUNCH (1 << 14) /* elements worth a task */
#define FC_ABREAST 4               /* vectors */
#define FC_WIDTH (FC_ABREAST * VL)
#define FC_TURNED_MOST (2 * VL)    /* elements of a row that is turned: lanes are full then, and nothing is summed across them */

typedef struct {
    int64_t outer, classes, inner;
    int64_t strands, blocks, tasks, bunch; /* of all; of an outer part's columns; strands of a task */
    int turned;                            /* short rows become columns, FC_WIDTH at a time */
} FN(softmax_state);

static const char *FN(softmax_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(softmax_state) *s = (void *)plan->state;
    s->outer = p->batch, s->classes = p->in_channels, s->inner = p->axis[2].in;
    s->turned = s->inner == 1 && s->classes <= FC_TURNED_MOST && s->outer >= VL;
    s->blocks = s->inner == 1 ? 1 : fc_ceil_div(s->inner, FC_WIDTH);
    s->strands = s->turned ? fc_ceil_div(s->outer, FC_WIDTH) : s->outer * s->blocks;
    s->bunch = fc_max(1, FC_SOFTMAX_BUNCH / (s->classes * (s->inner == 1 && !s->turned ? 1 : FC_WIDTH)));
    s->tasks = fc_ceil_div(s->strands, s->bunch);
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD + (s->turned ? 2 * s->classes * FC_WIDTH * (int64_t)sizeof(real) : 0);
    return NULL;
}

static ptrdiff_t FN(softmax_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    *grain = 1;
    return mode == FC_PACK ? 0 : stage ? 1 : (ptrdiff_t)((const FN(softmax_state) *)(const void *)plan->state)->tasks;
}

/* ---- a line, or FC_WIDTH of them side by side: a number of steps, of FC_WIDTH elements or fewer each ---- */

typedef struct {
    int64_t first, n, some; /* where it begins; steps; elements of the last one, or of all where lanes are lines */
    ptrdiff_t step;         /* from step to step */
    int along;              /* lanes hold elements of one line */
} FN(strand);

/* What is known of each line; where there is but one, all lanes say the same. */
typedef struct {
    vec v[FC_ABREAST];
} FN(lanes);

/* The first line of a strand; of the one past the last, the number of lines. */
FC_INLINE int64_t FN(line_of)(const FN(softmax_state) *s, int64_t number)
{
    if (s->turned)
        return fc_min(s->outer, number * FC_WIDTH);
    return number / s->blocks * s->inner + number % s->blocks * FC_WIDTH;
}

/* Where a line begins. */
FC_INLINE int64_t FN(line_at)(const FN(softmax_state) *s, int64_t line)
{
    return line / s->inner * s->classes * s->inner + line % s->inner;
}

FC_INLINE FN(strand) FN(strand_at)(const FN(softmax_state) *s, int64_t number)
{
    const int64_t line = FN(line_of)(s, number), first = FN(line_at)(s, line);
    if (s->turned)
        return (FN(strand)){0, s->classes, fc_round_up(fc_min(FC_WIDTH, s->outer - line), VL), FC_WIDTH, 0};
    if (s->inner == 1)
        return (FN(strand)){first, fc_ceil_div(s->classes, FC_WIDTH), (s->classes - 1) % FC_WIDTH + 1, FC_WIDTH, 1};
    return (FN(strand)){first, s->classes, fc_min(FC_WIDTH, s->inner - line % s->inner), s->inner, 0};
}

/* The rows of a strand as the columns of `to`, and back. */
FC_INLINE void FN(turn)(const FN(softmax_state) *s, int64_t number, const real *x, real *to)
{
    const int64_t line = FN(line_of)(s, number), rows = FN(line_of)(s, number + 1) - line;
    FN(transpose)(x + line * s->classes, s->classes, rows, s->classes, to, FC_WIDTH, fc_round_up(rows, VL));
}

FC_INLINE void FN(turn_back)(const FN(softmax_state) *s, int64_t number, const real *from, real *y)
{
    const int64_t line = FN(line_of)(s, number), rows = FN(line_of)(s, number + 1) - line;
    FN(transpose)(from, FC_WIDTH, s->classes, rows, y + line * s->classes, s->classes, s->classes);
}

/* Does something for each vector of a strand, the j-th of its step, with `n` lanes from element `at` on. */
#define FC_EACH_VECTOR(l, ...)                                                                                                  \
    for (int64_t step = 0, from = (l)->first; step < (l)->n; step++, from += (l)->step) {                                       \
        const int64_t some = (l)->along && step < (l)->n - 1 ? FC_WIDTH : (l)->some;                                            \
        if (some == FC_WIDTH) {                                                                                                 \
            FC_UNROLL for (int j = 0; j < FC_ABREAST; j++)                                                                      \
            {                                                                                                                   \
                const int64_t at = from + j * VL, n = VL;                                                                       \
                __VA_ARGS__                                                                                                     \
            }                                                                                                                   \
        } else {                                                                                                                \
            for (int j = 0; j * VL < some; j++) {                                                                               \
                const int64_t at = from + j * VL, n = fc_min(VL, some - j * VL);                                                \
                __VA_ARGS__                                                                                                     \
            }                                                                                                                   \
        }                                                                                                                       \
    }

/* y = form(j, i, load, n) for the elements i of a strand, of which the lanes j know: along a row in vectors that suit y, since of
 * these no sum is taken. */
#define FC_FINISH(l, form)                                                                                                      \
    if ((l)->along) {                                                                                                           \
        int64_t i = (l)->first;                                                                                                 \
        const int64_t stop = i + ((l)->n - 1) * FC_WIDTH + (l)->some;                                                           \
        FC_ALONG(form, 0, stop, 1, 0)                                                                                           \
    } else {                                                                                                                    \
        FC_EACH_VECTOR(l, FN(store_some)(y + at, form(j, at, FN(load_some), , n), n);)                                          \
    }

FC_INLINE FN(lanes) FN(all_lanes)(vec v)
{
    FN(lanes) all;
    FC_UNROLL for (int j = 0; j < FC_ABREAST; j++) all.v[j] = v;
    return all;
}

/* All lanes become the sum, or the maximum, of all where they are of one line. */
FC_INLINE FN(lanes) FN(strand_sum)(FN(lanes) sum, int along)
{
    if (!along)
        return sum;
    vec v = (sum.v[0] + sum.v[1]) + (sum.v[2] + sum.v[3]);
    for (int half = 1; half < VL; half *= 2)
        v = FN(zip_lo)(v, v) + FN(zip_hi)(v, v);
    return FN(all_lanes)(v);
}

FC_INLINE FN(lanes) FN(strand_max)(const real *x, const FN(strand) *l)
{
    const vec least = FN(splat)(-(real)INFINITY);
    FN(lanes) most = FN(all_lanes)(least);
    FC_EACH_VECTOR(l, {
        const vec v = FN(load_some)(x + at, n);
        most.v[j] = FN(max_nan)(most.v[j], n == VL ? v : FN(first_n)(v, least, n));
    })
    if (!l->along)
        return most;
    vec v = FN(max_nan)(FN(max_nan)(most.v[0], most.v[1]), FN(max_nan)(most.v[2], most.v[3]));
    for (int half = 1; half < VL; half *= 2)
        v = FN(max_nan)(FN(zip_lo)(v, v), FN(zip_hi)(v, v));
    return FN(all_lanes)(v);
}

/* The sum of exp(x - most), which `y` keeps where it is given. */
FC_INLINE FN(lanes) FN(strand_exponentials)(const real *x, const FN(strand) *l, const FN(lanes) *most, real *y)
{
    FN(lanes) sum = FN(all_lanes)(FN(zero)());
    FC_EACH_VECTOR(l, {
        vec e = FN(exp_negative)(FN(load_some)(x + at, n) - most->v[j]);
        sum.v[j] += n == VL ? e : FN(keep_n)(e, n);
        if (y)
            FN(store_some)(y + at, e, n);
    })
    return FN(strand_sum)(sum, l->along);
}

/* The logarithms of such sums, and 1 over them. */
FC_INLINE FN(lanes) FN(strand_log)(const FN(lanes) *sum, int along)
{
    FN(lanes) log = FN(all_lanes)(FN(log_upward)(sum->v[0]));
    for (int j = 1; j < FC_ABREAST && !along; j++)
        log.v[j] = FN(log_upward)(sum->v[j]);
    return log;
}

FC_INLINE FN(lanes) FN(strand_share)(const FN(lanes) *sum, int along)
{
    FN(lanes) share = FN(all_lanes)((real)1 / sum->v[0]);
    for (int j = 1; j < FC_ABREAST && !along; j++)
        share.v[j] = (real)1 / sum->v[j];
    return share;
}

FC_INLINE void FN(softmax_line)(const real *x, const real *unused, const FN(strand) *l, real *y)
{
    (void)unused;
    const FN(lanes) most = FN(strand_max)(x, l), sum = FN(strand_exponentials)(x, l, &most, y);
    const FN(lanes) share = FN(strand_share)(&sum, l->along);
#define FC_SHARE(j, i, load, ...) load(y + i __VA_ARGS__) * share.v[j]
    FC_FINISH(l, FC_SHARE)
}

FC_INLINE void FN(log_softmax_line)(const real *x, const real *unused, const FN(strand) *l, real *y)
{
    (void)unused;
    const FN(lanes) most = FN(strand_max)(x, l), sum = FN(strand_exponentials)(x, l, &most, NULL);
    const FN(lanes) log = FN(strand_log)(&sum, l->along);
#define FC_LOG_SHARE(j, i, load, ...) (load(x + i __VA_ARGS__) - most.v[j]) - log.v[j]
    FC_FINISH(l, FC_LOG_SHARE)
}

/* p * (g - sum of g * p) */
FC_INLINE void FN(softmax_grad_line)(const real *g, const real *p, const FN(strand) *l, real *y)
{
    FN(lanes) sum = FN(all_lanes)(FN(zero)());
    FC_EACH_VECTOR(l, sum.v[j] += FN(load_some)(g + at, n) * FN(load_some)(p + at, n);)
    sum = FN(strand_sum)(sum, l->along);
#define FC_SHARE_GRAD(j, i, load, ...) (load(g + i __VA_ARGS__) - sum.v[j]) * load(p + i __VA_ARGS__)
    FC_FINISH(l, FC_SHARE_GRAD)
}

/* g - exp(log p) * sum of g */
FC_INLINE void FN(log_softmax_grad_line)(const real *g, const real *log, const FN(strand) *l, real *y)
{
    FN(lanes) sum = FN(all_lanes)(FN(zero)());
    FC_EACH_VECTOR(l, sum.v[j] += FN(load_some)(g + at, n);)
    sum = FN(strand_sum)(sum, l->along);
#define FC_LOG_SHARE_GRAD(j, i, load, ...) load(g + i __VA_ARGS__) - FN(exp_negative)(load(log + i __VA_ARGS__)) * sum.v[j]
    FC_FINISH(l, FC_LOG_SHARE_GRAD)
}

#define FC_SOFTMAX(name)                                                                                                        \
    static void FN(name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)              \
    {                                                                                                                           \
        const FN(softmax_state) *s = (const void *)plan->state;                                                                 \
        const int64_t end = fc_min(s->strands, (task + 1) * s->bunch);                                                          \
        const real *a = (const real *)(const void *)call->array[0].data, *b = (const real *)(const void *)call->array[1].data;  \
        real *y = (real *)(void *)call->array[3].data, *columns = (real *)(void *)(scratch + FC_SCRATCH_HEAD);                  \
        (void)stage;                                                                                                            \
        for (int64_t i = task * s->bunch; i < end; i++) {                                                                       \
            const FN(strand) l = FN(strand_at)(s, i);                                                                           \
            if (!s->turned) {                                                                                                   \
                FN(name##_line)(a, b, &l, y);                                                                                   \
                continue;                                                                                                       \
            }                                                                                                                   \
            real *others = columns + s->classes * FC_WIDTH;                                                                     \
            FN(turn)(s, i, a, columns);                                                                                         \
            if (b)                                                                                                              \
                FN(turn)(s, i, b, others);                                                                                      \
            FN(name##_line)(columns, others, &l, columns);                                                                      \
            FN(turn_back)(s, i, columns, y);                                                                                    \
        }                                                                                                                       \
    }                                                                                                                           \
    static const fc_algorithm FN(name) = {#name, FC_ISA_NAME, 1u << FC_SOFTMAX_LINES, FN(softmax_prepare), FN(softmax_tasks),   \
                                          FN(name##_run)};
FC_SOFTMAX(softmax)
FC_SOFTMAX(log_softmax)
FC_SOFTMAX(softmax_grad)
FC_SOFTMAX(log_softmax_grad)
#undef FC_SOFTMAX
#undef FC_SHARE
#undef FC_LOG_SHARE
#undef FC_SHARE_GRAD
#undef FC_LOG_SHARE_GRAD

/* ---- losses of right classes, and gradients times a factor: cross entropy is log(sum) - (x[target] - most), with the gradient
 * softmax - 1 at the target; the negative log-likelihood -x[target], with -1 at the target. With a `divisor` the losses wait in the
 * workspace, as double, for their sum. ---- */

typedef struct {
    const real *x;
    const int64_t *target;
    const double *factor; /* of the gradient: one, or one for each line */
    real *slopes;         /* the gradient, or NULL */
    real *losses;         /* where each goes, or NULL */
    double *terms;        /* of the sum, or NULL */
} FN(classes_operands);

FC_INLINE FN(classes_operands) FN(classes_read)(const fc_plan *plan, const fc_call *call)
{
    const int slopes = plan->problem.flags & FC_TAKE_SLOPES;
    FN(classes_operands) from = {.x = (const real *)(const void *)call->array[0].data};
    from.target = (const int64_t *)(const void *)call->array[1].data;
    from.factor = (const double *)(const void *)call->array[2].data;
    from.slopes = slopes ? (real *)(void *)call->array[3].data : NULL;
    from.losses = slopes ? (real *)(void *)call->extra : (real *)(void *)call->array[3].data;
    if (plan->problem.divisor != 0)
        from.terms = from.losses ? (double *)(void *)call->workspace : NULL, from.losses = NULL;
    return from;
}

FC_INLINE void FN(keep_loss)(const FN(classes_operands) *to, int64_t line, double loss)
{
    if (to->terms)
        to->terms[line] = loss;
    else if (to->losses)
        to->losses[line] = (real)loss;
}

static const char *FN(classes_prepare)(fc_plan *plan)
{
    FN(softmax_prepare)(plan);
    plan->stages = plan->problem.divisor != 0 ? 2 : 1;
    plan->workspace = plan->problem.divisor != 0 ? plan->problem.batch * plan->problem.axis[2].in * (int64_t)sizeof(double) : 0;
    return NULL;
}

/* The cross entropies of a strand, and their gradients. */
static void FN(entropy_strand)(const fc_plan *plan, fc_call *call, int64_t number, real *columns)
{
    const FN(softmax_state) *s = (const void *)plan->state;
    const FN(classes_operands) o = FN(classes_read)(plan, call);
    const FN(strand) l = FN(strand_at)(s, number);
    const int64_t line = FN(line_of)(s, number), lines = l.along ? 1 : s->turned ? FN(line_of)(s, number + 1) - line : l.some;
    const int64_t first = FN(line_at)(s, line), across = s->inner == 1 ? s->classes : 1;
    const int each = plan->problem.flags & FC_EACH_FACTOR;
    const real *x = s->turned ? columns : o.x;
    real *y = o.slopes && s->turned ? columns : o.slopes;
    int64_t target[FC_WIDTH]; /* read once: who else writes to them must not lead us astray */
    memcpy(target, o.target + line, (size_t)lines * sizeof *target);
    for (int64_t i = 0; i < lines; i++)
        if (target[i] < 0 || target[i] >= s->classes) {
            call->failed = 1;
            return;
        }
    if (s->turned)
        FN(turn)(s, number, o.x, columns);
    const FN(lanes) most = FN(strand_max)(x, &l), sum = FN(strand_exponentials)(x, &l, &most, y);
    if (o.terms || o.losses) {
        const FN(lanes) log = FN(strand_log)(&sum, l.along);
        for (int64_t i = 0; i < lines; i++) {
            const double right = (double)o.x[first + i * across + target[i] * s->inner];
            FN(keep_loss)(&o, line + i, (double)log.v[i / VL][i % VL] - (right - (double)most.v[i / VL][i % VL]));
        }
    }
    if (!y)
        return;
    const FN(lanes) share = FN(strand_share)(&sum, l.along);
    real factor[FC_WIDTH];
    FN(lanes) times;
    for (int64_t i = 0; i < FC_WIDTH; i++)
        factor[i] = (real)o.factor[!each ? 0 : line + fc_min(i, lines - 1)];
    memcpy(&times, factor, sizeof times);
#define FC_SLOPE(j, i, load, ...) load(y + i __VA_ARGS__) * share.v[j] * times.v[j]
    FC_FINISH(&l, FC_SLOPE)
#undef FC_SLOPE
    if (s->turned)
        FN(turn_back)(s, number, columns, o.slopes);
    for (int64_t i = 0; i < lines; i++)
        o.slopes[first + i * across + target[i] * s->inner] -= factor[i];
}

/* The negative log-likelihoods of the lines from `line` to `end`, and their gradients. */
static void FN(likelihoods)(const fc_plan *plan, fc_call *call, int64_t line, int64_t end)
{
    const FN(softmax_state) *s = (const void *)plan->state;
    const FN(classes_operands) o = FN(classes_read)(plan, call);
    const int64_t inner = s->inner, classes = s->classes, across = inner == 1 ? classes : 1;
    const int each = plan->problem.flags & FC_EACH_FACTOR;
    const volatile int64_t *target = o.target; /* read once, as above */
    for (int64_t stop; line < end; line = stop) {
        int64_t at = FN(line_at)(s, line);
        stop = inner == 1 ? end : fc_min(end, (line / inner + 1) * inner);
        for (int64_t c = 0; o.slopes && c < (inner == 1 ? 1 : classes); c++)
            memset(o.slopes + at + c * inner, 0, (size_t)((stop - line) * across) * sizeof(real));
        for (int64_t i = line; i < stop; i++, at += across) {
            const int64_t right = target[i];
            if (right < 0 || right >= classes) {
                call->failed = 1;
                return;
            }
            FN(keep_loss)(&o, i, 0 - (double)o.x[at + right * inner]);
            if (o.slopes)
                o.slopes[at + right * inner] = (real)(0 - o.factor[each ? i : 0]);
        }
    }
}

/* The sum of all losses over the divisor: in several chains, as an addition takes longer than the rest. */
static void FN(classes_total)(const fc_plan *plan, fc_call *call)
{
    const int64_t n = plan->problem.batch * plan->problem.axis[2].in;
    const double *loss = FN(classes_read)(plan, call).terms;
    double sum[8] = {0};
    int64_t i = 0;
    if (!loss)
        return;
    for (; i + 8 <= n; i += 8)
        FC_UNROLL for (int j = 0; j < 8; j++) sum[j] += loss[i + j];
    for (; i < n; i++)
        sum[i % 8] += loss[i];
    const double all = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
    *(real *)(void *)(plan->problem.flags & FC_TAKE_SLOPES ? call->extra : call->array[3].data) = (real)(all / plan->problem.divisor);
}

static void FN(cross_entropy_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(softmax_state) *s = (const void *)plan->state;
    for (int64_t i = task * s->bunch; !stage && i < fc_min(s->strands, (task + 1) * s->bunch); i++)
        FN(entropy_strand)(plan, call, i, (real *)(void *)(scratch + FC_SCRATCH_HEAD));
    if (stage)
        FN(classes_total)(plan, call);
}

static void FN(nll_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(softmax_state) *s = (const void *)plan->state;
    const int64_t first = task * s->bunch;
    (void)scratch;
    if (stage)
        FN(classes_total)(plan, call);
    else
        FN(likelihoods)(plan, call, FN(line_of)(s, first), FN(line_of)(s, fc_min(s->strands, first + s->bunch)));
}

static const fc_algorithm FN(cross_entropy) = {"cross_entropy", FC_ISA_NAME, 1u << FC_CLASSES_LOSS, FN(classes_prepare),
                                               FN(softmax_tasks), FN(cross_entropy_run)};
static const fc_algorithm FN(nll) = {"nll", FC_ISA_NAME, 1u << FC_CLASSES_LOSS, FN(classes_prepare), FN(softmax_tasks),
                                     FN(nll_run)};
#undef FC_EACH_VECTOR
#undef FC_FINISH
#undef FC_ALONG
#undef FC_WIDTH
#undef FC_ABREAST
#undef FC_TURNED_MOST
