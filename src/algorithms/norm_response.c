/* norm_response.c: y[c] = x[c] * s[c]^-beta with s[c] = k + alpha / size * sum of x[i]^2 over neighbouring channels i, and its
 * gradient gx[c] = g[c] * s[c]^-beta - 2 * alpha / size * beta * x[c] * sum of g[i] * x[i] * s[i]^(-beta - 1) over the channels i
 * that have c for a neighbour.
 *
 * A task has some pixels of an image and all channels: squares, and what a gradient needs twice, lie in scratch. Windows are
 * added up anew for each channel: a sum that slides would carry infinities and rounding along. */

#define FC_RESPONSE_BYTES (128 << 10) /* of a thread's scratch, about: a part of L2 */

typedef struct {
    int64_t channels, pixels, wide, blocks; /* wide: pixels of a task */
    int64_t before, after;                  /* neighbours of a channel */
} FN(response_state);

static const char *FN(response_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(response_state) *s = (void *)plan->state;
    s->channels = p->in_channels, s->pixels = p->axis[2].out;
    s->before = p->axis[2].pad, s->after = p->axis[2].pad_hi;
    int64_t fit = FC_RESPONSE_BYTES / (3 * s->channels * (int64_t)sizeof(real)) / VL * VL;
    s->wide = fc_max(VL, fc_min(fit, fc_min(16 * VL, fc_round_up(s->pixels, VL))));
    s->blocks = fc_ceil_div(s->pixels, s->wide);
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD + 3 * s->channels * s->wide * (int64_t)sizeof(real);
    return NULL;
}

static ptrdiff_t FN(response_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(response_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : (ptrdiff_t)(plan->problem.batch * s->blocks);
}

/* v^-beta: powers that are quarters by square roots, AlexNet's 3/4 among them. */
static inline vec FN(lowered)(vec v, double beta, const real parts[2])
{
    const vec one = FN(splat)(1);
    if (beta == 0.75) {
        vec root = FN(root)(v);
        return one / (root * FN(root)(root));
    }
    if (beta == 0.5)
        return one / FN(root)(v);
    if (beta == 0.25)
        return one / FN(root)(FN(root)(v));
    if (beta == 1)
        return one / v;
    return FN(power)(v, parts);
}

/* The sum of the rows around channel c. */
static inline vec FN(around)(const real *rows, ptrdiff_t step, int64_t c, int64_t before, int64_t after, int64_t channels)
{
    vec sum = FN(zero)();
    for (int64_t i = fc_max(0, c - before); i <= fc_min(channels - 1, c + after); i++)
        sum += FN(load)(rows + i * step);
    return sum;
}

static void FN(response_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(response_state) *s = (const void *)plan->state;
    const double *option = (const double *)call->array[2].data;
    const int forward = plan->problem.op == FC_RESPONSE_NORM;
    const int64_t p0 = task % s->blocks * s->wide, n = fc_min(s->wide, s->pixels - p0), channels = s->channels;
    const ptrdiff_t at = task / s->blocks * channels * s->pixels + p0, step = s->wide, from = s->pixels;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    real *y = (real *)call->array[3].data + at;
    real *squares = (real *)(scratch + FC_SCRATCH_HEAD), *through = squares + channels * step, *direct = through + channels * step;
    const vec factor = FN(splat)((real)option[0]), k = FN(splat)((real)option[2]);
    const vec twice = FN(splat)((real)(-2 * option[0] * option[1]));
    const double beta = option[1];
    int exponent;
    const double share = frexp(beta, &exponent), first = ldexp(nearbyint(ldexp(share, 12)), exponent - 12);
    const real parts[2] = {(real)first, (real)(beta - first)};
    (void)stage;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t j = 0; j < n; j += VL) {
            vec v = FN(load_some)(x + c * from + j, fc_min(VL, n - j));
            FN(store)(squares + c * step + j, v * v);
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t j = 0; j < n; j += VL) {
            int64_t some = fc_min(VL, n - j);
            vec sum = FN(around)(squares + j, step, c, s->before, s->after, channels) * factor + k;
            vec power = FN(lowered)(sum, beta, parts), v = FN(load_some)(x + c * from + j, some);
            if (forward) {
                FN(store_some)(y + c * from + j, v * power, some);
                continue;
            }
            vec led = FN(load_some)(g + c * from + j, some) * power;
            FN(store)(direct + c * step + j, led);
            FN(store)(through + c * step + j, led * v / sum);
        }
    for (int64_t c = 0; c < (forward ? 0 : channels); c++)
        for (int64_t j = 0; j < n; j += VL) {
            int64_t some = fc_min(VL, n - j);
            vec sum = FN(around)(through + j, step, c, s->after, s->before, channels);
            vec v = FN(load_some)(x + c * from + j, some);
            FN(store_some)(y + c * from + j, FN(load)(direct + c * step + j) + twice * v * sum, some);
        }
}

static const fc_algorithm FN(norm_response) = {"response", FC_ISA_NAME, 1u << FC_RESPONSE_NORM | 1u << FC_RESPONSE_NORM_GRAD,
                                               FN(response_prepare), FN(response_tasks), FN(response_run)};
