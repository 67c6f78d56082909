/* norm_common.h: y = (x - mean) / sqrt(var + eps) * weight + bias, and its gradient: what norm.c and norm_columns.c share, how an
 * array is cut into sets and tasks, and what follows from their sums.
 *
 * A set is what shares a mean: in N x sets x (slices x pixels), where a slice is a channel, with weights of its own. Either
 * N or the number of slices is 1. Three phases: moments of a set; sums of g and g * (x - mean) of its slices; and the result.
 * A set that is no longer than a part goes through all of them in one task, and its data come from memory once; parts
 * of longer ones are tasks of a stage for each phase, and every task of the next one merges the parts' results in order.
 * Small sets are taken several at a time: the roots and divisions of all of them then take little longer than those of one. */

#define FC_NORM_PART ((int64_t)1 << 20)  /* terms of a part: a stage later they are in L3 still */
#define FC_NORM_BUNCH ((int64_t)1 << 15) /* terms worth a task */
#define FC_NORM_COLUMNS ((int64_t)(256 / sizeof(real))) /* columns of a task: some lines of every row */
#define FC_NORM_TOGETHER ((int64_t)(16384 / sizeof(real))) /* elements of small sets that stay in L1 together */
#define FC_NORM_MANY 64 /* sets of a task, at most */
#define FC_NORM_BACKWARDS (384 << 10) /* bytes of a set that L2 may not hold whole: what was read last lies nearest */

enum { FN(phase_moments), FN(phase_sums), FN(phase_result) };

typedef struct {
    int64_t sets, slices, pixels, period; /* period: after so many slices weights begin again */
    int64_t terms, depth, parts, planes;  /* of a set, of a part; in columns a term is a row */
    int64_t wide;                         /* sets of a task */
    int64_t slots;                        /* places for sums, of a set */
    double values;                        /* elements of a set */
    ptrdiff_t image;
    int columns, own, moments, sums, fused, phases, phase[3];
    int ordered, stream, backwards; /* tasks in the order of memory; results past the caches; the last planes first */
} FN(norm_state);

/* Weights and biases, NULL where they are 1 and 0, the operand of doubles, in sections, and what phases leave for each other. */
typedef struct {
    const real *weight, *bias;
    double *mean, *var, *sums, *products;
    fc_moments *moments; /* [set][part] */
    double *slot;        /* sums [set][slot], then products */
} FN(norm_numbers);

static FN(norm_numbers) FN(numbers_of)(const fc_plan *plan, const fc_call *call)
{
    const FN(norm_state) *s = (const void *)plan->state;
    FN(norm_numbers) to;
    to.weight = (const real *)call->array[plan->problem.op == FC_NORM ? 1 : 2].data;
    to.bias = (const real *)call->array[2].data;
    to.mean = (double *)(void *)call->extra;
    to.var = to.mean + s->sets;
    to.sums = to.var + s->sets;
    to.products = to.sums + s->sets * s->slices;
    to.moments = (fc_moments *)call->workspace;
    to.slot = (double *)(to.moments + s->sets * s->parts);
    return to;
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
    if (s->slices == 1) {
        double weight[FC_NORM_MANY], hat[FC_NORM_MANY];
        for (int64_t i = 0, at = FN(first_weight)(s, set0); i < sets; i++, at = at + 1 < s->period ? at + 1 : 0)
            weight[i] = weights ? (double)weights[at] : 1;
        for (int64_t i = 0; i < sets; i++) {
            hat[i] = (product[i] - t->low[i] * sum[i]) * t->inverse[i];
            t->shares[0][i] = weight[i] * sum[i] / s->values, t->shares[1][i] = weight[i] * hat[i] / s->values;
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
        t->shares[0][i] = all[0] / s->values, t->shares[1][i] = all[1] / s->values;
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
