/* loss.c: losses of single elements, their sum or mean, and their gradients; arrays without gaps, read once.
 *
 * losses.inc lists them. Each is written for one vector: a is the input, b the target, c a third array or one number, and p holds
 * numbers: width, slope and factor of a gradient. A sum is taken in lanes of `real` for a block of elements, beyond that in
 * double, task by task in their order. */

#define FC_LOSS_BLOCK 4096  /* elements whose sum is short enough for `real` */
#define FC_LOSS_OPTIONS 4   /* p, and c where it is one number */

/* ---- the functions ---- */

FC_INLINE vec FN(mse)(vec a, vec b, vec c, const vec *p)
{
    (void)c, (void)p;
    vec d = a - b;
    return d * d;
}

FC_INLINE vec FN(mse_grad)(vec a, vec b, vec c, const vec *p)
{
    return (a - b) * (c * p[2] * (real)2);
}

FC_INLINE vec FN(l1)(vec a, vec b, vec c, const vec *p)
{
    (void)c, (void)p;
    return FN(magnitude)(a - b);
}

FC_INLINE vec FN(l1_grad)(vec a, vec b, vec c, const vec *p)
{
    const vec one = FN(splat)(1), zero = FN(zero)();
    vec d = a - b; /* 0 and NaN are their own signs */
    return FN(select)((ivec)(d > zero), one, FN(select)((ivec)(d < zero), -one, d)) * (c * p[2]);
}

/* p: where the parabola ends, what multiplies the whole. */
FC_INLINE vec FN(huber)(vec a, vec b, vec c, const vec *p)
{
    (void)c;
    vec size = FN(magnitude)(a - b), inner = FN(lesser)(p[0], size);
    return (size - inner * (real)0.5) * inner * p[1];
}

/* p: the largest slope, what multiplies a difference. */
FC_INLINE vec FN(huber_grad)(vec a, vec b, vec c, const vec *p)
{
    return FN(greater)(-p[0], FN(lesser)(p[0], (a - b) * p[1])) * (c * p[2]);
}

/* c multiplies the positive part. -log(s) = log(1 + exp(-|a|)) + max(-a, 0), and -log(1 - s) with max(a, 0): all of one sign, so
 * that nothing cancels. */
FC_INLINE vec FN(bce)(vec a, vec b, vec c, const vec *p)
{
    (void)p;
    const vec zero = FN(zero)();
    vec bend = FN(log1p_upto_1)(FN(exp_negative)(-FN(magnitude)(a)));
    return c * b * (bend + FN(greater)(zero, -a)) + ((real)1 - b) * (bend + FN(greater)(zero, a));
}

FC_INLINE vec FN(bce_grad)(vec a, vec b, vec c, const vec *p)
{
    vec other, share = FN(sigmoids)(a, &other);
    return (((real)1 - b) * share - c * b * other) * p[2];
}

/* ---- tasks: operand 2 holds the numbers (float64), the extra one is c where that is an array ---- */

typedef struct {
    const real *a, *b, *c;
    vec numbers[FC_LOSS_OPTIONS];
} FN(loss_operands);

FC_INLINE FN(loss_operands) FN(loss_read)(const fc_call *call)
{
    FN(loss_operands) from;
    from.a = (const real *)(const void *)call->array[0].data, from.b = (const real *)(const void *)call->array[1].data;
    from.c = (const real *)(const void *)call->extra;
    for (int j = 0; j < FC_LOSS_OPTIONS; j++)
        from.numbers[j] = FN(splat)((real)((const double *)(const void *)call->array[2].data)[j]);
    return from;
}

static const char *FN(loss_sum_prepare)(fc_plan *plan)
{
    plan->stages = 2;
    plan->workspace = fc_ceil_div(plan->problem.out_channels, FC_MAP_BUNCH) * (int64_t)sizeof(double);
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(loss_sum_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    return stage && mode != FC_PACK ? (*grain = 1) : FN(map_tasks)(plan, mode, stage, grain);
}

/* The sum of all tasks' parts, over a divisor: 1, or what makes a mean of it. */
static void FN(loss_total)(const fc_plan *plan, fc_call *call)
{
    const double *part = (const double *)(const void *)call->workspace;
    double sum = 0;
    for (int64_t i = 0; i < fc_ceil_div(plan->problem.out_channels, FC_MAP_BUNCH); i++)
        sum += part[i];
    *(real *)(void *)call->array[3].data = (real)(sum / plan->problem.divisor);
}

#define FC_LOSS_AT(name, i, load, ...)                                                                                          \
    FN(name)(load(from.a + i __VA_ARGS__), load(from.b + i __VA_ARGS__),                                                        \
             from.c ? load(from.c + i __VA_ARGS__) : from.numbers[3], from.numbers)

#define FC_LOSS_OF(name)                                                                                                           \
    static void FN(loss_##name##_sum_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)   \
    {                                                                                                                           \
        const FN(loss_operands) from = FN(loss_read)(call);                                                                     \
        int64_t i = task * FC_MAP_BUNCH, end = fc_min(plan->problem.out_channels, i + FC_MAP_BUNCH);                            \
        double all = 0;                                                                                                         \
        (void)scratch;                                                                                                          \
        if (stage) {                                                                                                            \
            FN(loss_total)(plan, call);                                                                                         \
            return;                                                                                                             \
        }                                                                                                                       \
        while (i < end) {                                                                                                       \
            vec sum[4] = {{0}};                                                                                                 \
            int64_t stop = fc_min(end, i + FC_LOSS_BLOCK);                                                                      \
            for (; i + 4 * VL <= stop; i += 4 * VL)                                                                             \
                FC_UNROLL for (int j = 0; j < 4; j++) sum[j] += FC_LOSS_AT(name, i + j * VL, FN(load));                         \
            for (; i + VL <= stop; i += VL)                                                                                     \
                sum[0] += FC_LOSS_AT(name, i, FN(load));                                                                        \
            if (i < stop)                                                                                                       \
                sum[1] += FN(keep_n)(FC_LOSS_AT(name, i, FN(load_n), , stop - i), stop - i);                                    \
            all += (double)FN(sum)((sum[0] + sum[1]) + (sum[2] + sum[3]));                                                      \
            i = stop;                                                                                                           \
        }                                                                                                                       \
        ((double *)(void *)call->workspace)[task] = all;                                                                        \
    }                                                                                                                           \
    static const fc_algorithm FN(loss_##name##_sum) = {#name, FC_ISA_NAME, 1u << FC_LOSS_SUM, FN(loss_sum_prepare),             \
                                                       FN(loss_sum_tasks), FN(loss_##name##_sum_run)};                          \
    FC_LOSS_MAP(name)                                                                                                           \
    FC_LOSS_MAP(name##_grad)

/* Losses or gradients of all elements. */
#define FC_LOSS_MAP(name)                                                                                                       \
    static void FN(loss_##name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)       \
    {                                                                                                                           \
        const FN(loss_operands) from = FN(loss_read)(call);                                                                     \
        int64_t i = task * FC_MAP_BUNCH, end = fc_min(plan->problem.out_channels, i + FC_MAP_BUNCH);                            \
        real *y = (real *)(void *)call->array[3].data;                                                                          \
        (void)stage, (void)scratch;                                                                                             \
        const int stream = FN(streams)(plan);                                                                                   \
        FC_ALONG(FC_LOSS_AT, name, end, 1, stream)                                                                              \
        if (stream)                                                                                                             \
            FN(streamed)();                                                                                                     \
    }                                                                                                                           \
    static const fc_algorithm FN(loss_##name) = {#name, FC_ISA_NAME, 1u << FC_LOSS, FN(map_prepare), FN(map_tasks),      \
                                                 FN(loss_##name##_run)};
#include "../losses.inc"
#undef FC_LOSS_OF
#undef FC_LOSS_MAP
#undef FC_LOSS_AT
