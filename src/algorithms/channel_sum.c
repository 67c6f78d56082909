/* channel_sum.c: y[c] = sum over images and pixels of x[n][c][pixel], the gradient of a bias.
 *
 * A channel's terms are numbered image by image. A task sums some channels, a stage so many terms that no task is long. Lanes
 * hold neighbouring pixels and are added at the end; where a plane is one pixel they hold neighbouring channels. Sums are
 * cut into runs of FC_SUM_RUN vectors, which keeps their error that of short ones. */

#define FC_SUM_RUN 256
#define FC_SUM_BUNCH (1 << 15) /* terms worth a task */
#define FC_SUM_MOST (1 << 24)  /* terms of a task: some ms */

typedef struct {
    int64_t pixels, channels; /* of a plane, of a task */
    int64_t depth;            /* terms of a channel in a stage */
} FN(sum_state);

static const char *FN(sum_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(sum_state) *s = (void *)plan->state;
    s->pixels = p->axis[0].out * p->axis[1].out * p->axis[2].out;
    int64_t terms = p->batch * s->pixels;
    s->channels = fc_min(p->out_channels, fc_round_up(fc_max(1, FC_SUM_BUNCH / terms), 4 * VL));
    s->depth = fc_max(1, FC_SUM_MOST / s->channels);
    plan->stages = fc_ceil_div(terms, s->depth);
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(sum_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(sum_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : fc_ceil_div(plan->problem.out_channels, s->channels);
}

/* The sum of terms q0 to q1 of one channel, whose pixels are neighbours. */
static real FN(sum_pixels)(const real *x, ptrdiff_t image, int64_t pixels, int64_t q0, int64_t q1)
{
    vec total = FN(zero)();
    while (q0 < q1) {
        int64_t first = q0 % pixels, n = fc_min(fc_min(pixels - first, q1 - q0), 4 * VL * FC_SUM_RUN), i = 0;
        const real *from = x + q0 / pixels * image + first;
        vec a = FN(zero)(), b = a, c = a, d = a;
        for (; i + 4 * VL <= n; i += 4 * VL) {
            a += FN(load)(from + i);
            b += FN(load)(from + i + VL);
            c += FN(load)(from + i + 2 * VL);
            d += FN(load)(from + i + 3 * VL);
        }
        for (; i < n; i += VL)
            a += FN(load_n)(from + i, fc_min(VL, n - i));
        total += (a + b) + (c + d);
        q0 += n;
    }
    return FN(sum)(total);
}

/* Up to four vectors of channels whose planes are one pixel: y = or += the sum of terms q0 to q1. */
static void FN(sum_rows)(const real *x, ptrdiff_t image, int64_t channels, int64_t q0, int64_t q1, real *y, int add)
{
    vec total[4] = {{0}};
    for (int64_t q = q0; q < q1; q += FC_SUM_RUN) {
        vec part[4] = {{0}};
        for (int64_t n = q; n < fc_min(q1, q + FC_SUM_RUN); n++)
            for (int j = 0; j < 4; j++)
                part[j] += FN(load_n)(x + n * image + j * VL, fc_max(0, fc_min(VL, channels - j * VL)));
        for (int j = 0; j < 4; j++)
            total[j] += part[j];
    }
    for (int j = 0; j * VL < channels; j++) {
        int64_t n = fc_min(VL, channels - j * VL);
        FN(store_n)(y + j * VL, add ? FN(load_n)(y + j * VL, n) + total[j] : total[j], n);
    }
}

static void FN(sum_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(sum_state) *s = (const void *)plan->state;
    const fc_array *x = &call->array[0];
    real *y = (real *)call->array[3].data;
    int64_t c1 = fc_min(p->out_channels, (task + 1) * s->channels);
    int64_t q0 = stage * s->depth, q1 = fc_min(p->batch * s->pixels, q0 + s->depth);
    (void)scratch;
    for (int64_t c = task * s->channels; c < c1; c += s->pixels == 1 ? 4 * VL : 1) {
        const real *from = (const real *)x->data + c * s->pixels;
        if (s->pixels == 1) {
            FN(sum_rows)(from, x->stride[0], fc_min(4 * VL, c1 - c), q0, q1, y + c, stage > 0);
        } else {
            real part = FN(sum_pixels)(from, x->stride[0], s->pixels, q0, q1);
            y[c] = stage > 0 ? y[c] + part : part;
        }
    }
}

static const fc_algorithm FN(channel_sum) = {"sum", FC_ISA_NAME, 1u << FC_CHANNEL_SUM, FN(sum_prepare), FN(sum_tasks),
                                             FN(sum_run)};
