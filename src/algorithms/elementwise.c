/* elementwise.c: y[i] = f(a[i], b[i]) for arrays without gaps: activations, their gradients, sums, factors.
 *
 * Each function is an algorithm of its own name (maps.inc lists them), written for one vector: a is the input, or the gradient of
 * the output with what was saved in b; p holds its options. The tail of an array goes through the same function as the
 * rest, so an element's bits do not depend on where it stands. */

#define FC_MAP_BUNCH (1 << 15) /* elements of a task: some 10 us where memory bounds, 200 us for the slowest */

static const char *FN(map_prepare)(fc_plan *plan)
{
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(map_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : fc_ceil_div(plan->problem.out_channels, FC_MAP_BUNCH);
}

/* ---- the functions, of a vector and its options ---- */

FC_INLINE vec FN(relu)(vec a, vec b, const vec *p)
{
    (void)b, (void)p;
    return FN(positive)(a);
}

/* b is the output (or the input). */
FC_INLINE vec FN(relu_grad)(vec a, vec b, const vec *p)
{
    (void)p;
    return (vec)((ivec)a & ~(ivec)(b <= FN(zero)()));
}

FC_INLINE vec FN(leaky_relu)(vec a, vec b, const vec *p)
{
    (void)b;
    return FN(select)((ivec)(a > FN(zero)()), a, a * p[0]);
}

FC_INLINE vec FN(leaky_relu_grad)(vec a, vec b, const vec *p)
{
    return FN(select)((ivec)(b > FN(zero)()), a, a * p[0]);
}

FC_INLINE vec FN(sigmoid)(vec a, vec b, const vec *p)
{
    (void)b, (void)p;
    return FN(one_sigmoid)(a);
}

/* b is the output. */
FC_INLINE vec FN(sigmoid_grad)(vec a, vec b, const vec *p)
{
    (void)p;
    return a * (((real)1 - b) * b);
}

FC_INLINE vec FN(tanh)(vec a, vec b, const vec *p)
{
    (void)b, (void)p;
    vec e = FN(expm1_negative)(FN(magnitude)(a) * (real)-2), y = e / (e + (real)2); /* of -|a| */
    return (vec)(((ivec)a & (ivec)FN(splat)((real)-0.0)) | (ivec)FN(magnitude)(y));
}

/* b is the output. */
FC_INLINE vec FN(tanh_grad)(vec a, vec b, const vec *p)
{
    (void)p;
    return a * ((real)1 - b * b);
}

FC_INLINE vec FN(elu)(vec a, vec b, const vec *p)
{
    (void)b;
    return FN(select)((ivec)(a > FN(zero)()), a, p[0] * FN(expm1_negative)(FN(at_most)(a, 0)));
}

FC_INLINE vec FN(elu_grad)(vec a, vec b, const vec *p)
{
    return FN(select)((ivec)(b > FN(zero)()), a, a * p[0] * FN(exp_negative)(FN(at_most)(b, 0)));
}

/* What multiplies a vanishing factor is limited, so that -inf gives 0 and not NaN. */
FC_INLINE vec FN(limited)(vec x, real limit) { return FN(at_least)(FN(at_most)(x, limit), -limit); }

FC_INLINE vec FN(gelu)(vec a, vec b, const vec *p)
{
    (void)b, (void)p;
    vec size = FN(at_most)(FN(magnitude)(a), FC_NORMAL_FAR), bell; /* far out the tail is 0, and inf times that NaN */
    return FN(greater)(FN(zero)(), a) - size * FN(normal_tail)(size, &bell);
}

FC_INLINE vec FN(gelu_grad)(vec a, vec b, const vec *p)
{
    (void)p;
    vec near = FN(limited)(b, FC_NORMAL_FAR), bell, tail = FN(normal_tail)(FN(magnitude)(near), &bell);
    vec share = FN(select)((ivec)(near < FN(zero)()), tail, (real)1 - tail);
    return a * (near * bell * (real)0.39894228040143267794 + share);
}

#define FC_GELU_SLOPE ((real)1.59576912160573071176) /* 2 sqrt(2 / pi) */
#define FC_GELU_CUBIC ((real)0.044715)

FC_INLINE vec FN(gelu_tanh)(vec a, vec b, const vec *p)
{
    (void)b, (void)p;
    vec near = FN(limited)(a, 64);
    vec share = FN(one_sigmoid)((near * near * FC_GELU_CUBIC + (real)1) * near * FC_GELU_SLOPE);
    return FN(select)((ivec)(a < FN(zero)()), near, a) * share;
}

FC_INLINE vec FN(gelu_tanh_grad)(vec a, vec b, const vec *p)
{
    (void)p;
    vec near = FN(limited)(b, 64), square = near * near, other;
    vec share = FN(sigmoids)((square * FC_GELU_CUBIC + (real)1) * near * FC_GELU_SLOPE, &other);
    vec slope = (square * ((real)3 * FC_GELU_CUBIC) + (real)1) * FC_GELU_SLOPE;
    return a * (near * share * other * slope + share);
}

FC_INLINE vec FN(silu)(vec a, vec b, const vec *p)
{
    (void)b, (void)p;
    return FN(at_least)(a, (real)-10000) * FN(one_sigmoid)(a);
}

FC_INLINE vec FN(silu_grad)(vec a, vec b, const vec *p)
{
    (void)p;
    vec other, share = FN(sigmoids)(b, &other);
    return a * (FN(limited)(b, (real)10000) * share * other + share);
}

/* p: beta, threshold, 1 / beta. */
FC_INLINE vec FN(softplus)(vec a, vec b, const vec *p)
{
    (void)b;
    vec x = a * p[0], y = (FN(positive)(x) + FN(log1p_upto_1)(FN(exp_negative)(-FN(magnitude)(x)))) * p[2];
    return FN(select)((ivec)(x > p[1]), a, y);
}

FC_INLINE vec FN(softplus_grad)(vec a, vec b, const vec *p)
{
    vec x = b * p[0];
    return FN(select)((ivec)(x > p[1]), a, a * FN(one_sigmoid)(x));
}

FC_INLINE vec FN(multiply)(vec a, vec b, const vec *p)
{
    (void)b;
    return a * p[0];
}

FC_INLINE vec FN(add)(vec a, vec b, const vec *p)
{
    (void)p;
    return a + b;
}

FC_INLINE vec FN(add_relu)(vec a, vec b, const vec *p)
{
    (void)p;
    return FN(positive)(a + b);
}

/* b is the input: what a negative element adds to the gradient of its slope. */
FC_INLINE vec FN(prelu_terms)(vec a, vec b, const vec *p)
{
    (void)p;
    return (vec)((ivec)(a * b) & ~(ivec)(b > FN(zero)()));
}

/* ---- a task of each: operand 1 is b or none, operand 2 the options (FC_MAP_OPTIONS float64) or none ---- */

#define FC_MAP_OPTIONS 3

/* y[i] up to `stop`, in vectors of at(name, i, load, n): stores across lines of the cache take twice as long, so that the first
 * elements go aside where that is worth it. */
#define FC_ALONG(at, name, stop, align, past)                                                                                   \
    if (align) {                                                                                                                \
        const int64_t some = FN(before_aligned)(y + i, stop - i);                                                               \
        if (some)                                                                                                               \
            FN(store_n)(y + i, at(name, i, FN(load_n), , some), some);                                                          \
        i += some;                                                                                                              \
    }                                                                                                                           \
    for (; (past) && i + VL <= stop; i += VL)                                                                                   \
        FN(stream)(y + i, at(name, i, FN(load)));                                                                               \
    for (; i + VL <= stop; i += VL)                                                                                             \
        FN(store)(y + i, at(name, i, FN(load)));                                                                                \
    if (i < stop)                                                                                                               \
        FN(store_n)(y + i, at(name, i, FN(load_n), , stop - i), stop - i);

#define FC_MAP_AT(name, i, load, ...) FN(name)(load(a + i __VA_ARGS__), load(b + i __VA_ARGS__), p)

FC_INLINE int FN(streams)(const fc_plan *plan) { return (int64_t)sizeof(real) * plan->problem.out_channels >= FC_STREAM_BYTES; }

#define FC_MAP(name)                                                                                                            \
    static void FN(map_##name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)        \
    {                                                                                                                           \
        int64_t i = task * FC_MAP_BUNCH, end = fc_min(plan->problem.out_channels, i + FC_MAP_BUNCH);                            \
        const real *a = (const real *)call->array[0].data;                                                                      \
        const real *b = call->array[1].data ? (const real *)call->array[1].data : a;                                            \
        real *y = (real *)call->array[3].data;                                                                                  \
        const int stream = FN(streams)(plan);                                                                                   \
        const double *options = (const double *)(const void *)call->array[2].data;                                              \
        vec p[FC_MAP_OPTIONS];                                                                                                  \
        (void)stage, (void)scratch;                                                                                             \
        for (int j = 0; j < FC_MAP_OPTIONS; j++)                                                                                \
            p[j] = FN(splat)(options ? (real)options[j] : 0);                                                                   \
        FC_ALONG(FC_MAP_AT, name, end, 1, stream)                                                                               \
        if (stream)                                                                                                             \
            FN(streamed)();                                                                                                     \
    }                                                                                                                           \
    static const fc_algorithm FN(map_##name) = {#name, FC_ISA_NAME, 1u << FC_ELEMENTWISE, FN(map_prepare), FN(map_tasks),       \
                                                FN(map_##name##_run)};

/* The same where each channel has an option of its own: operand 2 holds axis[1].in of them, and a channel's plane has axis[2].in
 * elements. Where that is one, neighbouring lanes have neighbouring options. */
#define FC_CHANNEL_MAP(name, function)                                                                                          \
    static void FN(map_##name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)        \
    {                                                                                                                           \
        int64_t i = task * FC_MAP_BUNCH, end = fc_min(plan->problem.out_channels, i + FC_MAP_BUNCH);                            \
        const int64_t channels = plan->problem.axis[1].in, plane = plan->problem.axis[2].in;                                    \
        const real *a = (const real *)call->array[0].data, *options = (const real *)call->array[2].data;                        \
        const real *b = call->array[1].data ? (const real *)call->array[1].data : a;                                            \
        real *y = (real *)call->array[3].data;                                                                                  \
        const int align = plane >= 4 * VL, stream = align && FN(streams)(plan);                                                 \
        int64_t channel = i / plane % channels, stop = fc_min(end, (i / plane + (plane > 1 ? 1 : channels - channel)) * plane); \
        (void)stage, (void)scratch;                                                                                             \
        for (; plane == 1 && i < end; stop = fc_min(end, stop + channels), channel = 0)                                         \
            for (int64_t some; i < stop; i += some, channel += some) {                                                          \
                some = fc_min(VL, stop - i);                                                                                    \
                const vec p = FN(load_some)(options + channel, some);                                                           \
                FN(store_some)(y + i, FN(function)(FN(load_some)(a + i, some), FN(load_some)(b + i, some), &p), some);          \
            }                                                                                                                   \
        for (; i < end; i = stop, stop = fc_min(end, stop + plane), channel = channel + 1 < channels ? channel + 1 : 0) {       \
            const vec p[1] = {FN(splat)(options[channel])};                                                                     \
            FC_ALONG(FC_MAP_AT, function, stop, align, stream)                                                                  \
        }                                                                                                                       \
        if (stream)                                                                                                             \
            FN(streamed)();                                                                                                     \
    }                                                                                                                           \
    static const fc_algorithm FN(map_##name) = {#name, FC_ISA_NAME, 1u << FC_ELEMENTWISE, FN(map_prepare), FN(map_tasks),       \
                                                FN(map_##name##_run)};

/* Dropout: operand 1 has a byte for each axis[2].in elements; they are multiplied by 0 where it is 0, by the first option elsewhere. */
static void FN(map_kept_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    int64_t i = task * FC_MAP_BUNCH, end = fc_min(plan->problem.out_channels, i + FC_MAP_BUNCH);
    const int64_t plane = plan->problem.axis[2].in;
    const real *a = (const real *)call->array[0].data, *b = a;
    real *y = (real *)call->array[3].data;
    const unsigned char *mask = (const unsigned char *)call->array[1].data;
    const vec factor = FN(splat)((real) * (const double *)(const void *)call->array[2].data);
    const int align = plane >= 4 * VL, stream = (align || plane == 1) && FN(streams)(plan);
    (void)stage, (void)scratch;
    for (int64_t some = FN(before_aligned)(y + i, end - i); plane == 1 && i < end; i += some, some = fc_min(VL, end - i)) {
        unsigned char part[VL] = {0};
        const int all = some == VL;
        if (!all)
            memcpy(part, mask + i, (size_t)some);
        const vec v = FN(load_some)(a + i, some) * (vec)((ivec)factor & FN(flags)(all ? mask + i : part));
        if (stream && all)
            FN(stream)(y + i, v);
        else
            FN(store_some)(y + i, v, some);
    }
    for (int64_t stop; i < end; i = stop) {
        const vec p[1] = {mask[i / plane] ? factor : FN(zero)()};
        stop = fc_min(end, (i / plane + 1) * plane);
        FC_ALONG(FC_MAP_AT, multiply, stop, align, stream)
    }
    if (stream)
        FN(streamed)();
}
static const fc_algorithm FN(map_kept) = {"kept", FC_ISA_NAME, 1u << FC_ELEMENTWISE, FN(map_prepare), FN(map_tasks),
                                          FN(map_kept_run)};

#include "../maps.inc"
#undef FC_MAP
#undef FC_CHANNEL_MAP
