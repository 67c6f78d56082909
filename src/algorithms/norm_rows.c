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
#define FC_ROWS_SPREAD 1024              /* elements of short rows whose factors are spread out for their lanes */
#define FC_ROWS_SHORT VL                 /* features of such a row, less than */
#define FC_ROWS_LED (sizeof(vec) == 64 ? 4 : 2) /* rows that are led back at once: as many as registers hold the factors of */

typedef struct {
    int64_t rows, groups, features, bunch; /* bunch: rows of a task */
    int stream, few;
    int led; /* the gradient of a task's rows is written and added to the sums of weights in one pass */
} FN(rows_state);

static const char *FN(rows_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(rows_state) *s = (void *)plan->state;
    s->groups = p->groups, s->rows = p->batch * s->groups, s->features = p->axis[2].out;
    s->stream = FN(norm_streams)(plan, s->rows * s->features) && s->features >= FC_NORM_PIXELS;
    s->bunch = fc_max(1, FC_ROWS_BUNCH / s->features);
    int sums = p->op == FC_ROW_NORM_GRAD && p->flags & FC_TAKE_SUMS;
    s->few = sums && s->groups * s->features <= FC_ROWS_FEW;
    if (s->few)
        s->bunch = fc_round_up(FC_ROWS_RUN, s->groups);
    s->led = s->few && (s->groups == 1 || s->features < FC_ROWS_SHORT);
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

/* What is loaded is loaded first, here and below: a multiplication is fused with an addition where no branch lies between the two, and
 * roundings must not depend on whether lanes are some or all. */
FC_INLINE vec FN(row_scaled)(const real *x, const real *weight, const real *bias, int64_t i, int64_t some, const FN(row_factors) *f,
                             const int weighted, const int biased)
{
    const vec v = FN(load_some)(x + i, some), w = weighted ? FN(load_some)(weight + i, some) : v;
    const vec b = biased ? FN(load_some)(bias + i, some) : v;
    const vec hat = (v - f->high) * f->scale + f->shift;
    return weighted ? (biased ? hat * w + b : hat * w) : biased ? hat + b : hat;
}

FC_INLINE vec FN(row_led)(const real *g, const real *x, const real *weight, int64_t i, int64_t some, const FN(row_factors) *f)
{
    const vec v = FN(load_some)(x + i, some), led = FN(times_weight)(FN(load_some)(g + i, some), weight, i, some);
    return led * f->scale + ((v - f->high) * f->slope + f->shift);
}

/* Both write from the last block to the first: what was read last lies nearest. Past the caches go whole vectors of the result. */
FC_INLINE void FN(row_forward_as)(const real *x, int64_t n, fc_centre c, const real *weight, const real *bias, int stream, real *y,
                                  const int weighted, const int biased)
{
    const FN(row_factors) f = {FN(splat)((real)c.high), FN(splat)((real)c.inverse), FN(splat)((real)(-c.low * c.inverse)), FN(zero)()};
    for (int64_t end = n, i, head; end > 0; end = fc_max(0, (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK)) {
        i = (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK;
        head = stream ? i + FN(before_line)(y + i, end - i) : i;
        for (int64_t some; i < head; i += some) {
            some = fc_min(VL, head - i);
            FN(store_some)(y + i, FN(row_scaled)(x, weight, bias, i, some, &f, weighted, biased), some);
        }
        for (; stream && i + VL <= end; i += VL)
            FN(stream)(y + i, FN(row_scaled)(x, weight, bias, i, VL, &f, weighted, biased));
        for (; i + VL <= end; i += VL)
            FN(store)(y + i, FN(row_scaled)(x, weight, bias, i, VL, &f, weighted, biased));
        if (i < end)
            FN(store_n)(y + i, FN(row_scaled)(x, weight, bias, i, end - i, &f, weighted, biased), end - i);
    }
}

static void FN(row_forward)(const real *x, int64_t n, fc_centre c, const real *weight, const real *bias, int stream, real *y)
{
    if (weight && bias)
        FN(row_forward_as)(x, n, c, weight, bias, stream, y, 1, 1);
    else if (weight)
        FN(row_forward_as)(x, n, c, weight, bias, stream, y, 1, 0);
    else if (bias)
        FN(row_forward_as)(x, n, c, weight, bias, stream, y, 0, 1);
    else
        FN(row_forward_as)(x, n, c, weight, bias, stream, y, 0, 0);
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
    for (int64_t end = n, i, head; end > 0; end = fc_max(0, (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK)) {
        i = (end - 1) / FC_NORM_BLOCK * FC_NORM_BLOCK;
        head = stream ? i + FN(before_line)(gx + i, end - i) : i;
        for (int64_t some; i < head; i += some) {
            some = fc_min(VL, head - i);
            FN(store_some)(gx + i, FN(row_led)(g, x, weight, i, some, &f), some);
        }
        for (; stream && i + VL <= end; i += VL)
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

/* What is to be known of some rows before they are led back: x is normalised by high, scale and low, the gradient of it is
 * g * weight * scale + ((x - high) * slope + shift). */
typedef struct {
    real of[5][FC_NORM_MANY]; /* high, scale, low, slope, shift */
} FN(lead_factors);

static void FN(lead_factors_of)(const FN(norm_table) *t, int64_t rows, FN(lead_factors) *f)
{
    for (int64_t i = 0; i < rows; i++) {
        const double inverse = t->inverse[i], slope = -inverse * t->shares[1][i] * inverse;
        f->of[0][i] = (real)t->high[i], f->of[1][i] = (real)inverse, f->of[2][i] = (real)(-t->low[i] * inverse);
        f->of[3][i] = (real)slope, f->of[4][i] = (real)(-inverse * t->shares[0][i] - slope * t->low[i]);
    }
}

/* The gradient of some lanes, which are added to the sums of g and g * xhat. */
FC_INLINE vec FN(lead_and_add)(vec v, vec x, const vec f[5], const real *weight, int64_t i, int64_t some, vec *all, vec *hats)
{
    const vec led = FN(times_weight)(v, weight, i, some), d = x - f[0];
    *all += v, *hats += v * (d * f[1] + f[2]);
    return led * f[1] + (d * f[3] + f[4]);
}

/* Some lanes of rows of one group that follow each other. */
FC_INLINE void FN(rows_led_lanes)(const real *g, const real *x, real *gx, int64_t n, int rows, int64_t i, int64_t some, vec f[][5],
                                  const real *weight, int stream, real *sum, real *product)
{
    vec all = FN(load_some)(sum + i, some), hats = FN(load_some)(product + i, some);
    FC_UNROLL for (int r = 0; r < rows; r++) {
        const ptrdiff_t at = r * n + i;
        const vec v = FN(lead_and_add)(FN(load_some)(g + at, some), FN(load_some)(x + at, some), f[r], weight, i, some, &all, &hats);
        if (stream)
            FN(stream)(gx + at, v);
        else
            FN(store_some)(gx + at, v, some);
    }
    FN(store_some)(sum + i, all, some);
    FN(store_some)(product + i, hats, some);
}

/* Such rows from the k-th of a table on. */
FC_INLINE void FN(rows_led)(const real *g, const real *x, real *gx, int64_t n, int rows, const FN(lead_factors) *t, int64_t k,
                            const real *weight, int stream, real *sum, real *product)
{
    vec f[4][5];
    int64_t i = 0;
    FC_UNROLL for (int r = 0; r < rows; r++)
        FC_UNROLL for (int j = 0; j < 5; j++)
            f[r][j] = FN(splat)(t->of[j][k + r]);
    for (; stream && i + VL <= n; i += VL)
        FN(rows_led_lanes)(g, x, gx, n, rows, i, VL, f, weight, 1, sum, product);
    for (; i + VL <= n; i += VL)
        FN(rows_led_lanes)(g, x, gx, n, rows, i, VL, f, weight, 0, sum, product);
    if (i < n)
        FN(rows_led_lanes)(g, x, gx, n, rows, i, n - i, f, weight, 0, sum, product);
}

static void FN(rows_led_back)(const real *g, const real *x, real *gx, int64_t n, int64_t rows, const FN(lead_factors) *t,
                              const real *weight, int stream, real *sum, real *product)
{
    int64_t k = 0;
    stream &= n % VL == 0 && !FN(before_aligned)(gx, n);
    for (; k + (int)FC_ROWS_LED <= rows; k += FC_ROWS_LED)
        FN(rows_led)(g + k * n, x + k * n, gx + k * n, n, FC_ROWS_LED, t, k, weight, stream, sum, product);
    for (; k < rows; k++)
        FN(rows_led)(g + k * n, x + k * n, gx + k * n, n, 1, t, k, weight, stream, sum, product);
}

/* Short rows that follow each other, of different groups: lanes go on from row to row, so each has factors of its own. */
static void FN(short_rows_led_back)(const real *g, const real *x, real *gx, int64_t n, int64_t rows, const FN(lead_factors) *t,
                                    int64_t k, const real *weight, real *sum, real *product)
{
    real spread[5][FC_ROWS_SPREAD + FC_ROWS_SHORT];
    for (int j = 0; j < 5; j++)
        for (int64_t r = 0; r < rows; r++) /* what reaches into the next row is written again */
            for (int64_t i = 0; i < n; i += VL)
                FN(store)(spread[j] + r * n + i, FN(splat)(t->of[j][k + r]));
    for (int64_t i = 0, all = rows * n; i < all; i += VL) {
        const int64_t some = fc_min(VL, all - i);
        vec f[1][5];
        FC_UNROLL for (int j = 0; j < 5; j++)
            f[0][j] = FN(load)(spread[j] + i);
        FN(rows_led_lanes)(g, x, gx, 0, 1, i, some, f, weight, 0, sum, product);
    }
}

static inline int64_t FN(next_group)(const FN(rows_state) *s, int64_t group) { return group + 1 < s->groups ? group + 1 : 0; }

/* The table of some rows: sums of all in one pass, of differences from a guess; then roots and divisions. A row is read again where
 * the guess missed its mean or elements are not finite. */
static void FN(rows_read)(const fc_plan *plan, const real *g, const real *x, const char *weights, int64_t first, int64_t rows,
                          FN(norm_table) *t)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t n = s->features;
    const double count = (double)n, share = 1 / count;
    double apart[FC_NORM_MANY], squares[FC_NORM_MANY], sum[FC_NORM_MANY], product[FC_NORM_MANY];
    for (int64_t i = 0, group = first; i < rows; i++, group = FN(next_group)(s, group)) {
        const real high = FN(guess)(x + i * n, n);
        double sums[4] = {0, 0, 0, 0};
        FN(sums_of)(g + i * n, x + i * n, FN(of_group)(weights, group * n), n, high, sums);
        t->high[i] = (double)high, apart[i] = sums[0], squares[i] = sums[1], sum[i] = sums[2], product[i] = sums[3];
    }
    int fine = 1;
    for (int64_t i = 0; i < rows; i++) {
        const double low = apart[i] * share, var = squares[i] * share - low * low, square = apart[i] * apart[i];
        t->low[i] = low, t->var[i] = var > 0 ? var : 0;
        fine &= (squares[i] < (double)INFINITY) & (square <= FC_NORM_FAR * (squares[i] * count - square));
    }
    FN(inverses_of)(plan, rows, t);
    for (int64_t i = 0; i < rows; i++)
        t->shares[0][i] = sum[i] * share, t->shares[1][i] = (product[i] - t->low[i] * sum[i]) * t->inverse[i] * share;
    for (int64_t i = 0, group = first; i < rows && !fine; i++, group = FN(next_group)(s, group))
        if (!isfinite(squares[i]) || FN(missed)(count, apart[i], squares[i])) {
            const fc_centre c = FN(centre_of_row)(x + i * n, n, plan->problem.divisor);
            double mean[2];
            FN(means_of_row)(g + i * n, x + i * n, n, c, FN(of_group)(weights, group * n), mean);
            t->high[i] = c.high, t->low[i] = c.low, t->inverse[i] = c.inverse, t->shares[0][i] = mean[0], t->shares[1][i] = mean[1];
        }
}

/* Gradients of rows, as many as the table has columns, and what the second stage needs of them: their sums are added to those of all
 * groups, or their centres kept. */
static void FN(rows_back)(const fc_plan *plan, const fc_call *call, int64_t row, int64_t rows, real *sum, real *product)
{
    const FN(rows_state) *s = (const void *)plan->state;
    const int64_t n = s->features, first = s->groups > 1 ? row % s->groups : 0;
    const real *g = (const real *)call->array[0].data + row * n, *x = (const real *)call->array[1].data + row * n;
    const char *weights = call->array[2].data;
    real *gx = call->array[3].data ? (real *)call->array[3].data + row * n : NULL;
    FN(norm_table) t;
    FN(rows_read)(plan, g, x, weights, first, rows, &t);
    if (s->led && gx) {
        FN(lead_factors) f;
        FN(lead_factors_of)(&t, rows, &f);
        if (s->groups == 1)
            FN(rows_led_back)(g, x, gx, n, rows, &f, FN(of_group)(weights, 0), s->stream, sum, product);
        for (int64_t i = 0, at = first, some; s->groups > 1 && i < rows; i += some, at = (at + some) % s->groups) {
            some = fc_min(fc_min(rows - i, s->groups - at), FC_ROWS_SPREAD / n);
            FN(short_rows_led_back)(g + i * n, x + i * n, gx + i * n, n, some, &f, i, FN(of_group)(weights, at * n), sum + at * n,
                                    product + at * n);
        }
        return;
    }
    for (int64_t i = 0, group = first; i < rows; i++, group = FN(next_group)(s, group)) {
        const fc_centre c = {t.high[i], t.low[i], t.inverse[i]};
        const double mean[2] = {t.shares[0][i], t.shares[1][i]};
        if (plan->problem.flags & FC_TAKE_SUMS)
            ((fc_centre *)call->workspace)[row + i] = c;
        if (gx)
            FN(row_back)(g + i * n, x + i * n, n, c, FN(of_group)(weights, group * n), mean, s->stream, gx + i * n);
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
                FN(rows_back)(plan, call, r, fc_min(most, r1 - r), sum, sum ? sum + all : NULL);
        for (int64_t group = 0; sum && !(s->led && call->array[3].data) && group < s->groups; group++)
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
