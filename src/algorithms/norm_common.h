/* norm_common.h: y = (x - mean) / sqrt(var + eps) * weight + bias, and its gradient: what norm.c and norm_columns.c share, how an
 * array is cut into sets and tasks, and what follows from their sums.
 *
 * A set is what shares a mean: in N x sets x (slices x pixels), where a slice is a channel, with weights of its own. Either
 * N or the number of slices is 1. Three phases: moments of a set; sums of g and g * (x - mean) of its slices; and the result.
 * A set that is no longer than a part goes through all of them in one task, and its data come from memory once; parts
 * of longer ones are tasks of a stage for each phase, and every task of the next one merges the parts' results in order.
 * Small sets are taken several at a time: the roots and divisions of all of them then take little longer than those of one.
 * Where several slices have the same weight, a last stage adds up their sums. */

#define FC_NORM_PART ((int64_t)1 << 20)  /* terms of a part: a stage later they are in L3 still */
#define FC_NORM_BUNCH ((int64_t)1 << 15) /* terms worth a task */
/* Elements of small sets that stay in L1 together; of small planes, of all operands. */
#define FC_NORM_TOGETHER ((int64_t)(16384 / sizeof(real)))
#define FC_NORM_MANY FC_NORM_PLANES /* sets of a task, at most */
#define FC_NORM_WEIGHTS ((int64_t)1024) /* gradients of weights of a task of the last stage */
#define FC_NORM_STREAM ((int64_t)16 << 20) /* bytes of all operands of a result that goes past the caches */
#define FC_NORM_BACKWARDS (384 << 10) /* bytes of a set that L2 may not hold whole: what was read last lies nearest */

enum { FN(phase_moments), FN(phase_sums), FN(phase_result), FN(phase_table), FN(phase_weights) };

typedef struct {
    int64_t sets, slices, pixels, period; /* period: after so many slices weights begin again */
    int64_t terms, depth, parts, planes;  /* of a set, of a part; in columns a term is a row, a part a band */
    int64_t wide;                         /* sets of a task, or columns */
    int64_t slots;                        /* places for sums, of a set */
    double values;                        /* elements of a set */
    ptrdiff_t image;
    int columns, own, moments, sums, fused, phases, phase[4];
    int ordered, stream, backwards; /* tasks in the order of memory; results past the caches; the last planes first */
    int shared, small;              /* slices that share weights; small planes, one behind the other */
} FN(norm_state);

/* Whether a result of so many elements leaves no room in L3 for itself: with nothing but loads and stores of 6 MB each, the gradient
 * of a norm took twice as long where its result went through the caches. */
static inline int FN(norm_streams)(const fc_plan *plan, int64_t elements)
{
    const int operands = plan->problem.op == FC_NORM || plan->problem.op == FC_ROW_NORM ? 2 : 3;
    return elements * operands * (int64_t)sizeof(real) >= FC_NORM_STREAM;
}

/* Weights and biases, NULL where they are 1 and 0, and the last operand: statistics, unless a gradient takes them again, and the
 * gradients of biases, then of weights; and what phases leave for each other. */
typedef struct {
    const real *weight, *bias;
    double *mean, *var, *sums, *products; /* sums: of all slices, then products, as g * xhat in the end */
    real *grads;
    fc_moments *moments; /* [set][part] */
    double *slot;        /* sums [set][slot], then products */
} FN(norm_numbers);

static FN(norm_numbers) FN(numbers_of)(const fc_plan *plan, const fc_call *call)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const int again = plan->problem.op == FC_NORM_GRAD && s->moments;
    FN(norm_numbers) to;
    to.weight = (const real *)call->array[plan->problem.op == FC_NORM ? 1 : 2].data;
    to.bias = (const real *)call->array[2].data;
    to.mean = again ? NULL : (double *)(void *)call->extra;
    to.var = again ? NULL : to.mean + s->sets;
    to.grads = (real *)(void *)(call->extra + (again ? 0 : 2 * s->sets * (int64_t)sizeof(double)));
    to.sums = (double *)(void *)call->workspace;
    to.products = to.sums + s->sets * s->slices;
    to.moments = (fc_moments *)(void *)(to.sums + (s->sums ? 2 * s->sets * s->slices : 0));
    to.slot = (double *)(to.moments + s->sets * s->parts);
    return to;
}

/* Gradients of weights that one slice has each. */
static void FN(grads_of)(const FN(norm_state) *s, const FN(norm_numbers) *to, int64_t at, int64_t n, const double *sums,
                         const double *products)
{
    for (int64_t i = 0; i < n; i++)
        to->grads[at + i] = (real)sums[i];
    for (int64_t i = 0; i < n; i++)
        to->grads[s->period + at + i] = (real)products[i];
}

/* Those of some weights that several slices share. */
static void FN(norm_weights)(const fc_plan *plan, const fc_call *call, int64_t task)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int64_t from = task * FC_NORM_WEIGHTS, n = fc_min(FC_NORM_WEIGHTS, s->period - from);
    double sum[FC_NORM_WEIGHTS], product[FC_NORM_WEIGHTS];
    memset(sum, 0, (size_t)n * sizeof *sum);
    memset(product, 0, (size_t)n * sizeof *product);
    for (int64_t k = from; k < s->sets * s->slices; k += s->period)
        for (int64_t i = 0; i < n; i++)
            sum[i] += to.sums[k + i], product[i] += to.products[k + i];
    FN(grads_of)(s, &to, from, n, sum, product);
}

/* The weight of a set's first slice; the others follow it. */
static inline int64_t FN(first_weight)(const FN(norm_state) *s, int64_t set)
{
    int64_t at = set * s->slices;
    return at < s->period ? at : at % s->period; /* a division takes longer than all the rest of a small set */
}

/* What is to be known of some sets before their result, by columns of this table. */
typedef struct {
    double mean[FC_NORM_MANY], var[FC_NORM_MANY];
    double high[FC_NORM_MANY], low[FC_NORM_MANY], inverse[FC_NORM_MANY]; /* as in fc_centre */
    double shares[2][FC_NORM_MANY];                                      /* means of g and of g * xhat, times the weights */
} FN(norm_table);

/* From means and variances. All loops over sets are written so that the compiler makes vectors of them. */
static void FN(inverses_of)(const fc_plan *plan, int64_t sets, FN(norm_table) *t)
{
    const double eps = plan->problem.divisor;
    for (int64_t i = 0; i < sets; i++)
        t->inverse[i] = 1 / sqrt(t->var[i] + eps);
}

static void FN(centres_of)(const fc_plan *plan, int64_t sets, FN(norm_table) *t)
{
    for (int64_t i = 0; i < sets; i++)
        t->high[i] = (double)(real)t->mean[i], t->low[i] = t->mean[i] - t->high[i];
    FN(inverses_of)(plan, sets, t);
}

/* Makes of sums of g and g * (x - high), of each slice, the shares; products of g * xhat go to `hats`, unless that is NULL. */
static void FN(shares_of)(const FN(norm_state) *s, const real *weights, int64_t set0, int64_t sets, FN(norm_table) *t,
                          const double *sum, const double *product, double *hats)
{
    const double share = 1 / s->values;
    if (s->slices == 1) {
        double weight[FC_NORM_MANY], hat[FC_NORM_MANY];
        for (int64_t i = 0, at = FN(first_weight)(s, set0); i < sets; i++, at = at + 1 < s->period ? at + 1 : 0)
            weight[i] = weights ? (double)weights[at] : 1;
        for (int64_t i = 0; i < sets; i++) {
            hat[i] = (product[i] - t->low[i] * sum[i]) * t->inverse[i];
            t->shares[0][i] = weight[i] * sum[i] * share, t->shares[1][i] = weight[i] * hat[i] * share;
        }
        if (hats)
            memcpy(hats, hat, (size_t)sets * sizeof *hat);
        return;
    }
    for (int64_t i = 0; i < sets; i++) {
        const real *weight = weights ? weights + FN(first_weight)(s, set0 + i) : NULL;
        double all[2] = {0, 0};
        for (int64_t slice = 0, k = i * s->slices; slice < s->slices; slice++, k++) {
            double hat = (product[k] - t->low[i] * sum[k]) * t->inverse[i], each = weight ? (double)weight[slice] : 1;
            if (hats)
                hats[k] = hat;
            all[0] += each * sum[k], all[1] += each * hat;
        }
        t->shares[0][i] = all[0] * share, t->shares[1][i] = all[1] * share;
    }
}

/* Factors of a slice: the result is (x - high) * scale + shift, a gradient g * scale + ((x - high) * slope + shift). */
typedef struct {
    real high, scale, slope, shift;
} FN(factors);

/* Those of the slice with weight `at`, in the i-th set. */
static inline FN(factors) FN(factors_of)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t at, const FN(norm_table) *t,
                                         int64_t i)
{
    const double inverse = t->inverse[i], scale = (to->weight ? (double)to->weight[at] : 1) * inverse;
    const real high = (real)t->high[i];
    if (plan->problem.op == FC_NORM)
        return (FN(factors)){high, (real)scale, 0, (real)((to->bias ? (double)to->bias[at] : 0) - t->low[i] * scale)};
    double slope = -inverse * t->shares[1][i] * inverse;
    return (FN(factors)){high, (real)scale, (real)slope, (real)(-inverse * t->shares[0][i] - slope * t->low[i])};
}

/* Those of some slices, from the one with weight `at`, of the i-th set, to places from k on. */
static inline void FN(factors_of_planes)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t at, const FN(norm_table) *t, int64_t i,
                                         int64_t slices, FN(plane_factors) *f, int64_t k)
{
    const int forward = plan->problem.op == FC_NORM;
    const real *weight = to->weight ? to->weight + at : NULL, *bias = forward && to->bias ? to->bias + at : NULL;
    const FN(factors) one = FN(factors_of)(plan, to, at, t, i);
    for (int64_t j = 0; j < slices; j++) {
        const double scale = (weight ? (double)weight[j] : 1) * t->inverse[i];
        f->high[k + j] = one.high, f->slope[k + j] = one.slope, f->scale[k + j] = (real)scale;
        f->shift[k + j] = forward ? (real)((bias ? (double)bias[j] : 0) - t->low[i] * scale) : one.shift;
    }
}

/* Those of some sets of one slice each. */
static void FN(factors_of_sets)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set0, int64_t sets, const FN(norm_table) *t,
                                FN(plane_factors) *f)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const int forward = plan->problem.op == FC_NORM;
    double scale[FC_NORM_MANY], bias[FC_NORM_MANY];
    for (int64_t i = 0, at = FN(first_weight)(s, set0); i < sets; i++, at = at + 1 < s->period ? at + 1 : 0) {
        scale[i] = to->weight ? (double)to->weight[at] : 1;
        bias[i] = forward && to->bias ? (double)to->bias[at] : 0;
    }
    for (int64_t i = 0; i < sets; i++) {
        scale[i] *= t->inverse[i];
        f->high[i] = (real)t->high[i], f->scale[i] = (real)scale[i];
    }
    for (int64_t i = 0; i < sets && forward; i++)
        f->shift[i] = (real)(bias[i] - t->low[i] * scale[i]);
    for (int64_t i = 0; i < sets && !forward; i++) {
        const double slope = -t->inverse[i] * t->shares[1][i] * t->inverse[i];
        f->slope[i] = (real)slope, f->shift[i] = (real)(-t->inverse[i] * t->shares[0][i] - slope * t->low[i]);
    }
}
