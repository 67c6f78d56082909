/* norm_rows.c: y = (x - mean) / sqrt(var + eps) * weight + bias, and its gradient, where each row of features has a mean of its
 * own and each feature a weight. Rows come in G groups with weights of their own, row n * G + g is of group g.
 *
 * A task normalises some rows: moments, sums and result of a row follow each other while it lies in a cache. The gradients of
 * weight and bias are sums over rows. With few features a task adds them up for its rows, as they lie in the cache still, and a
 * second stage adds up the tasks'; with many, whose sums would fill the cache, tasks of the second stage have some features
 * each, and read the rows again. */

#define FC_ROWS_BUNCH ((int64_t)1 << 15) /* elements worth a task */
#define FC_ROWS_FEATURES 1024            /* of a task of the second stage: their sums stay in L1 */
#define FC_ROWS_TOGETHER 4               /* rows added at once: the sums are loaded once for all */
#define FC_ROWS_RUN 128                  /* rows whose sums are short */
#define FC_ROWS_FEW 4096                 /* features of all groups that are summed at once */

typedef struct {
    int64_t rows, groups, features, bunch; /* bunch: rows of a task */
    int stream, few;
} FN(rows_state);

static const char *FN(rows_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(rows_state) *s = (void *)plan->state;
    s->groups = p->groups, s->rows = p->batch * s->groups, s->features = p->axis[2].out;
    s->stream = s->rows * s->features * (int64_t)sizeof(real) >= FC_STREAM_BYTES && s->features >= FC_NORM_PIXELS;
    s->bunch = fc_max(1, FC_ROWS_BUNCH / s->features);
    int sums = p->op == FC_ROW_NORM_GRAD && p->flags & FC_TAKE_SUMS;
    s->few = sums && s->groups * s->features <= FC_ROWS_FEW;
    if (s->few)
        s->bunch = fc_round_up(FC_ROWS_RUN, s->groups);
    plan->stages = sums ? 2 : 1;
    plan->workspace = sums ? s->rows * (int64_t)sizeof(fc_centre) : 0;
    if (s->few)
        plan->workspace += fc_ceil_div(s->rows, s->bunch) * 2 * s->groups * s->features * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + 4 * FC_ROWS_FEATURES * (int64_t)sizeof(real);
    return NULL;
}

static ptrdiff_t FN(rows_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(rows_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    if (stage)
        return (ptrdiff_t)(s->few ? fc_ceil_div(s->groups * s->features, FC_ROWS_FEATURES)
                                  : s->groups * fc_ceil_div(s->features, FC_ROWS_FEATURES));
    *grain = (ptrdiff_t)fc_max(1, FC_ROWS_BUNCH / (s->bunch * s->features));
    return (ptrdiff_t)fc_ceil_div(s->rows, s->bunch);
}

static fc_centre FN(centre_of_row)(const real *x, int64_t n, double eps)
{
    fc_moments m = {0, 0, 0};
    FN(moments_of)(x, 0, n, 0, n, &m);
    return FN(centre)(m.mean, m.squares / m.count, eps);
}

/* Some lanes times their weights, which are 1 where there are none. */
static inline vec FN(times_weight)(vec v, const real *weight, int64_t i, int64_t some)
{
    return weight ? v * FN(load_some)(weight + i, some) : v;
}

typedef struct {
    vec high, scale, shift, slope;
} FN(row_factors);

FC_INLINE vec FN(row_scaled)(const real *x, const real *weight, const real *bias, int64_t i, int64_t some, const FN(row_factors) *f)
{
    vec v = FN(times_weight)((FN(load_some)(x + i, some) - f->high) * f->scale + f->shift, weight, i, some);
    return bias ? v + FN(load_some)(bias + i, some) : v;
}

FC_INLINE vec FN(row_led)(const real *g, const real *x, const real *weight, int64_t i, int64_t some, const FN(row_factors) *f)
{
    vec v = FN(times_weight)(FN(load_some)(g + i, some), weight, i, some);
    return v * f->scale + ((FN(load_some)(x + i, some) - f->high) * f->slope + f->shift);
}

/* Both write from the last block to the first: what was read last lies nearest. */
static void FN(row_forward)(const real *x, int64_t n, fc_centre c, const real *weight, const real *bias, int stream, real *y)
{
    const FN(row_factors) f = {FN(splat)((real)c.high), FN(splat)((real)c.inverse), FN(splat)((real)(-c.low * c.inverse)), FN(zero)()};
    for (int64_t end = n, i; end > 0; end = fc_max(0, (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK)) {
        i = (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK;
        if (stream && !FN(before_aligned)(y + i, end - i)) /* else lanes would depend on the address, and with them roundings */
            for (; i + VL <= end; i += VL)
                FN(stream)(y + i, FN(row_scaled)(x, weight, bias, i, VL, &f));
        for (; i + VL <= end; i += VL)
            FN(store)(y + i, FN(row_scaled)(x, weight, bias, i, VL, &f));
        if (i < end)
            FN(store_n)(y + i, FN(row_scaled)(x, weight, bias, i, end - i, &f), end - i);
    }
}

/* mean[0] = mean of g * weight, mean[1] = mean of g * weight * xhat. */
static void FN(means_of_row)(const real *g, const real *x, int64_t n, fc_centre c, const real *weight, double mean[2])
{
    vec high = FN(splat)((real)c.high);
    double all[2] = {0, 0};
    for (int64_t from = 0; from < n; from += FC_NORM_BLOCK) {
        int64_t i = from, end = fc_min(n, from + FC_NORM_BLOCK);
        vec s[2] = {{0}}, r[2] = {{0}};
        for (; i + 2 * VL <= end; i += 2 * VL)
            FC_UNROLL for (int j = 0; j < 2; j++) {
                vec v = FN(times_weight)(FN(load)(g + i + j * VL), weight, i + j * VL, VL);
                s[j] += v;
                r[j] += v * (FN(load)(x + i + j * VL) - high);
            }
        for (; i < end; i += VL) {
            int64_t some = fc_min(VL, end - i);
            vec v = FN(times_weight)(FN(load_n)(g + i, some), weight, i, some);
            s[0] += v;
            r[0] += v * (FN(load_n)(x + i, some) - high); /* v is 0 behind the end */
        }
        all[0] += (double)FN(sum)(s[0] + s[1]);
        all[1] += (double)FN(sum)(r[0] + r[1]);
    }
    mean[0] = all[0] / (double)n;
    mean[1] = (all[1] - c.low * all[0]) * c.inverse / (double)n;
}

static void FN(row_back)(const real *g, const real *x, int64_t n, fc_centre c, const real *weight, const double mean[2],
                         int stream, real *gx)
{
    double slope = -c.inverse * mean[1] * c.inverse;
    const FN(row_factors) f = {FN(splat)((real)c.high), FN(splat)((real)c.inverse),
                               FN(splat)((real)(-c.inverse * mean[0] - slope * c.low)), FN(splat)((real)slope)};
    for (int64_t end = n, i; end > 0; end = fc_max(0, (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK)) {
        i = (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK;
        if (stream && !FN(before_aligned)(gx + i, end - i))
            for (; i + VL <= end; i += VL)
                FN(stream)(gx + i, FN(row_led)(g, x, weight, i, VL, &f));
        for (; i + VL <= end; i += VL)
            FN(store)(gx + i, FN(row_led)(g, x, weight, i, VL, &f));
        if (i < end)
            FN(store_n)(gx + i, FN(row_led)(g, x, weight, i, end - i, &f), end - i);
    }
}

FC_INLINE void FN(rows_add_lanes)(const real *g, const real *x, ptrdiff_t step, int rows, int64_t some, const vec *high,
                                  const vec *scale, const vec *low, real *sum, real *product)
{
    vec all = FN(load_some)(sum, some), hats = FN(load_some)(product, some);
    FC_UNROLL for (int r = 0; r < rows; r++) {
        vec v = FN(load_some)(g + r * step, some);
        all += v;
        hats += v * ((FN(load_some)(x + r * step, some) - high[r]) * scale[r] + low[r]);
    }
    FN(store_some)(sum, all, some);
    FN(store_some)(product, hats, some);
}

/* sum += g, product += g * xhat of n features of some rows of a group. */
FC_INLINE void FN(rows_add)(const fc_plan *plan, const fc_call *call, int64_t row, int64_t from, int64_t n, int rows,
                                real *sum, real *product)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const real *g = (const real *)call->array[0].data + row * s->features + from;
    const real *x = (const real *)call->array[1].data + row * s->features + from;
    const ptrdiff_t step = s->groups * s->features;
    vec high[FC_ROWS_TOGETHER], scale[FC_ROWS_TOGETHER], low[FC_ROWS_TOGETHER];
    for (int r = 0; r < rows; r++) {
        const fc_centre c = ((const fc_centre *)call->workspace)[row + r * s->groups];
        high[r] = FN(splat)((real)c.high), scale[r] = FN(splat)((real)c.inverse);
        low[r] = FN(splat)((real)(-c.low * c.inverse));
    }
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(rows_add_lanes)(g + i, x + i, step, rows, VL, high, scale, low, sum + i, product + i);
    if (i < n)
        FN(rows_add_lanes)(g + i, x + i, step, rows, n - i, high, scale, low, sum + i, product + i);
}

/* The same for rows row, row + groups, ... below r1. */
static void FN(rows_add_all)(const fc_plan *plan, const fc_call *call, int64_t row, int64_t r1, int64_t from, int64_t n, real *sum,
                             real *product)
{
    const FN(rows_state) *s = (const void *)plan->state;
    for (; row + (FC_ROWS_TOGETHER - 1) * s->groups < r1; row += FC_ROWS_TOGETHER * s->groups)
        FN(rows_add)(plan, call, row, from, n, FC_ROWS_TOGETHER, sum, product);
    for (; row < r1; row += s->groups)
        FN(rows_add)(plan, call, row, from, n, 1, sum, product);
}

/* Sums of a task's rows: those of g, then those of g * xhat, of all groups. */
static real *FN(rows_partial)(const fc_plan *plan, const fc_call *call, int64_t task)
{
    const FN(rows_state) *s = (const void *)plan->state;
    return (real *)((fc_centre *)call->workspace + s->rows) + task * 2 * s->groups * s->features;
}

/* The weights of a group, or NULL where there are none. */
static inline const real *FN(of_group)(const char *weights, int64_t at)
{
    return weights ? (const real *)(const void *)weights + at : NULL;
}

static void FN(rows_forward)(const fc_plan *plan, const fc_call *call, int64_t row, int64_t r1)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t n = s->features;
    for (; row < r1; row++) {
        const real *x = (const real *)call->array[0].data + row * n;
        const real *weight = FN(of_group)(call->array[1].data, row % s->groups * n);
        const real *bias = FN(of_group)(call->array[2].data, row % s->groups * n);
        const fc_centre c = FN(centre_of_row)(x, n, plan->problem.divisor);
        FN(row_forward)(x, n, c, weight, bias, s->stream, (real *)call->array[3].data + row * n);
    }
}

/* Gradients of rows, as many as the table has columns: sums of all in one pass, of differences from a guess; then roots and divisions;
 * then the results, or the row again, where the guess missed its mean or elements are not finite. */
static void FN(rows_back)(const fc_plan *plan, const fc_call *call, int64_t row, int64_t rows)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t n = s->features;
    const real *g = (const real *)call->array[0].data + row * n, *x = (const real *)call->array[1].data + row * n;
    const double count = (double)n, share = 1 / count;
    double apart[FC_NORM_MANY], squares[FC_NORM_MANY], sum[FC_NORM_MANY], product[FC_NORM_MANY];
    fc_centre *centre = (fc_centre *)call->workspace + row;
    FN(norm_table) t;
    for (int64_t i = 0; i < rows; i++) {
        const real high = FN(guess)(x + i * n, n);
        double sums[4] = {0, 0, 0, 0};
        FN(sums_of)(g + i * n, x + i * n, FN(of_group)(call->array[2].data, (row + i) % s->groups * n), n, high, sums);
        t.high[i] = (double)high, apart[i] = sums[0], squares[i] = sums[1], sum[i] = sums[2], product[i] = sums[3];
    }
    for (int64_t i = 0; i < rows; i++) {
        const double low = apart[i] * share, var = squares[i] * share - low * low;
        t.low[i] = low, t.var[i] = var > 0 ? var : 0;
    }
    FN(inverses_of)(plan, rows, &t);
    for (int64_t i = 0; i < rows; i++)
        t.shares[0][i] = sum[i] * share, t.shares[1][i] = (product[i] - t.low[i] * sum[i]) * t.inverse[i] * share;
    for (int64_t i = 0; i < rows; i++) {
        const real *weight = FN(of_group)(call->array[2].data, (row + i) % s->groups * n);
        fc_centre c = {t.high[i], t.low[i], t.inverse[i]};
        double mean[2] = {t.shares[0][i], t.shares[1][i]};
        if (!isfinite(squares[i]) || FN(missed)(count, apart[i], squares[i])) { /* the row is read again */
            c = FN(centre_of_row)(x + i * n, n, plan->problem.divisor);
            FN(means_of_row)(g + i * n, x + i * n, n, c, weight, mean);
        }
        if (plan->problem.flags & FC_TAKE_SUMS)
            centre[i] = c;
        if (call->array[3].data)
            FN(row_back)(g + i * n, x + i * n, n, c, weight, mean, s->stream, (real *)call->array[3].data + (row + i) * n);
    }
}

static void FN(rows_normalise)(const fc_plan *plan, const fc_call *call, int64_t task)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t n = s->features, all = s->groups * n, end = fc_min(s->rows, (task + 1) * s->bunch);
    const int64_t together = FC_ROWS_TOGETHER * s->groups; /* as many of these as stay in L1 */
    const int64_t step = s->few ? together * fc_max(1, FC_NORM_TOGETHER / (together * n)) : s->bunch;
    real *sum = s->few ? FN(rows_partial)(plan, call, task) : NULL;
    if (sum)
        memset(sum, 0, 2 * (size_t)all * sizeof(real));
    for (int64_t row = task * s->bunch, r1; row < end; row = r1) {
        r1 = fc_min(end, row + step);
        if (plan->problem.op == FC_ROW_NORM)
            FN(rows_forward)(plan, call, row, r1);
        else
            for (int64_t r = row, most = fc_min(FC_NORM_MANY, fc_max(1, FC_NORM_TOGETHER / n)); r < r1; r += most)
                FN(rows_back)(plan, call, r, fc_min(most, r1 - r));
        for (int64_t group = 0; sum && group < s->groups; group++)
            FN(rows_add_all)(plan, call, row + group, r1, 0, n, sum + group * n, sum + all + group * n);
    }
    if (s->stream)
        FN(streamed)();
}

/* Gradients of some features' weights and biases, from the tasks' sums. */
static void FN(rows_gather)(const fc_plan *plan, const fc_call *call, int64_t task)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t all = s->groups * s->features, from = task * FC_ROWS_FEATURES, n = fc_min(FC_ROWS_FEATURES, all - from);
    real *to = (real *)(void *)call->extra + from;
    for (int part = 0; part < 2; part++) {
        double total[FC_ROWS_FEATURES] = {0};
        for (int64_t t = 0; t < fc_ceil_div(s->rows, s->bunch); t++) {
            const real *sum = FN(rows_partial)(plan, call, t) + part * all + from;
            for (int64_t i = 0; i < n; i++)
                total[i] += (double)sum[i];
        }
        for (int64_t i = 0; i < n; i++)
            to[(1 - part) * all + i] = (real)total[i];
    }
}

/* The same, from the rows themselves. */
static void FN(rows_sum)(const fc_plan *plan, const fc_call *call, int64_t task, real *scratch)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t blocks = fc_ceil_div(s->features, FC_ROWS_FEATURES), group = task / blocks, all = s->groups * s->features;
    const int64_t from = task % blocks * FC_ROWS_FEATURES, n = fc_min(FC_ROWS_FEATURES, s->features - from);
    real *sum = scratch, *product = scratch + FC_ROWS_FEATURES, *total = product + FC_ROWS_FEATURES;
    memset(total, 0, 2 * FC_ROWS_FEATURES * sizeof(real));
    for (int64_t r0 = 0; r0 < s->rows; r0 += FC_ROWS_RUN * s->groups) {
        memset(sum, 0, 2 * FC_ROWS_FEATURES * sizeof(real));
        int64_t r1 = fc_min(s->rows, r0 + FC_ROWS_RUN * s->groups);
        FN(rows_add_all)(plan, call, r0 + group, r1, from, n, sum, product);
        for (int64_t i = 0; i < 2 * FC_ROWS_FEATURES; i += VL)
            FN(store)(total + i, FN(load)(total + i) + FN(load)(sum + i));
    }
    real *to = (real *)(void *)call->extra + group * s->features + from;
    memcpy(to, total + FC_ROWS_FEATURES, (size_t)n * sizeof(real));
    memcpy(to + all, total, (size_t)n * sizeof(real));
}

static void FN(rows_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    if (stage && ((const FN(rows_state) *)(const void *)plan->state)->few)
        FN(rows_gather)(plan, call, task);
    else if (stage)
        FN(rows_sum)(plan, call, task, (real *)(scratch + FC_SCRATCH_HEAD));
    else
        FN(rows_normalise)(plan, call, task);
}

static const fc_algorithm FN(norm_rows) = {"rows", FC_ISA_NAME, 1u << FC_ROW_NORM | 1u << FC_ROW_NORM_GRAD, FN(rows_prepare),
                                           FN(rows_tasks), FN(rows_run)};
