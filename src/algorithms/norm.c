/* norm.c: y = (x - mean) / sqrt(var + eps) * weight + bias, and its gradient, where a mean is of a whole channel of the
 * batch, or of some neighbouring channels of one image.
 *
 * A set is what shares a mean: in N x sets x (slices x pixels), where a slice is a channel, with weights of its own. Either
 * N or the number of slices is 1. Three phases: moments of a set; sums of g and g * (x - mean) of its slices; and the result.
 * A set that is no longer than a part goes through all of them in one task, and its data come from memory once; parts
 * of longer ones are tasks of a stage for each phase, and every task of the next one merges the parts' results in order.
 *
 * Lanes hold pixels. Where these are fewer than lanes, they hold neighbouring columns (pixels of several sets), and a
 * set's columns are merged at the end. */

#define FC_NORM_PART ((int64_t)1 << 20)  /* terms of a part: a stage later they are in L3 still */
#define FC_NORM_BUNCH ((int64_t)1 << 15) /* terms worth a task */
#define FC_NORM_ROWS 128                 /* rows of columns whose moments are taken while they stay in a cache */
#define FC_NORM_COLUMNS (4 * VL)
#define FC_NORM_BACKWARDS (384 << 10) /* bytes of a set that L2 may not hold whole: what was read last lies nearest */

enum { FN(phase_moments), FN(phase_sums), FN(phase_result) };

typedef struct {
    int64_t sets, slices, pixels, period; /* period: after so many slices weights begin again */
    int64_t terms, depth, parts, planes;  /* of a set, of a part; in columns a term is a row */
    int64_t wide;                         /* sets of a task */
    int64_t slots;                        /* places for sums, of a set */
    ptrdiff_t image;
    int columns, own, fused, phases, phase[3];
    int ordered, stream, backwards; /* tasks in the order of memory; results past the caches; the last planes first */
    int at_once;                    /* moments and sums are taken together */
} FN(norm_state);

static const char *FN(norm_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(norm_state) *s = (void *)plan->state;
    s->sets = p->groups, s->slices = p->in_channels, s->period = p->out_channels;
    s->pixels = p->axis[2].out;
    s->image = s->sets * s->slices * s->pixels;
    s->columns = s->slices == 1 && s->pixels < VL && p->batch > 1;
    s->own = (p->flags & FC_OWN_STATISTICS) != 0;
    s->wide = s->columns ? fc_min(s->sets, FC_NORM_COLUMNS / s->pixels) : 1;
    s->terms = s->columns ? p->batch : p->batch * s->slices * s->pixels;
    s->phases = 0;
    if (p->flags & FC_TAKE_MOMENTS)
        s->phase[s->phases++] = FN(phase_moments);
    if (p->op == FC_NORM_GRAD && p->flags & FC_TAKE_SUMS)
        s->phase[s->phases++] = FN(phase_sums);
    s->phase[s->phases++] = FN(phase_result);
    s->ordered = s->phases == 1 && s->slices == 1 && s->pixels >= FC_NORM_PIXELS;
    s->stream = s->image * p->batch * (int64_t)sizeof(real) >= FC_STREAM_BYTES && s->pixels >= FC_NORM_PIXELS;
    s->depth = s->ordered        ? s->pixels
               : s->columns      ? fc_max(1, FC_NORM_PART / (s->wide * s->pixels))
               : s->slices > 1 ? s->pixels * fc_max(1, FC_NORM_PART / s->pixels)
                               : FC_NORM_PART;
    s->parts = fc_ceil_div(s->terms, s->depth), s->planes = p->batch * s->slices;
    s->slots = s->slices > 1 ? s->slices : s->parts;
    s->fused = s->parts == 1;
    s->backwards = s->fused && s->terms * (int64_t)sizeof(real) * (p->op == FC_NORM_GRAD ? 2 : 1) >= FC_NORM_BACKWARDS;
    s->at_once = s->fused && s->phases == 3 && p->batch == 1;
    plan->stages = s->fused ? 1 : s->phases;
    plan->workspace = s->sets * (s->parts * (int64_t)sizeof(fc_moments) + s->slots * 2 * (int64_t)sizeof(double));
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(norm_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(norm_state) *s = (const void *)plan->state;
    (void)stage;
    int64_t each = s->wide * (s->columns ? s->pixels : 1) * fc_min(s->terms, s->depth);
    *grain = (ptrdiff_t)fc_max(1, FC_NORM_BUNCH / fc_max(1, each));
    return mode == FC_PACK ? 0 : (ptrdiff_t)(fc_ceil_div(s->sets, s->wide) * s->parts);
}

/* Weights and biases, NULL where they are 1 and 0, the operand of doubles, in sections, and what phases leave for each other. */
typedef struct {
    const real *weight, *bias;
    double *mean, *var, *sums, *products;
    fc_moments *moments; /* [set][part] */
    double *slot;        /* [set][slot][2] */
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

/* A set's mean and variance: those given, or those of its parts. `last`: they are results, too. */
static inline void FN(statistics_of)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set, int last, double *mean, double *var)
{
    const FN(norm_state) *s = (const void *)plan->state;
    if (!(plan->problem.flags & FC_TAKE_MOMENTS)) {
        *mean = to->mean[set], *var = to->var[set];
        return;
    }
    fc_moments all = {0, 0, 0};
    for (int64_t i = 0; i < s->parts; i++) {
        const fc_moments *m = &to->moments[set * s->parts + i];
        fc_merge(&all, m->count, m->mean, m->squares);
    }
    *mean = all.mean, *var = all.squares / all.count;
    if (last)
        to->mean[set] = *mean, to->var[set] = *var;
}

static fc_centre FN(centre_of)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set, int last)
{
    double mean, var;
    FN(statistics_of)(plan, to, set, last, &mean, &var);
    return FN(centre)(mean, var, plan->problem.divisor);
}

/* The weight of a set's first slice; the others follow it. */
static inline int64_t FN(first_weight)(const FN(norm_state) *s, int64_t set)
{
    int64_t at = set * s->slices;
    return at < s->period ? at : at % s->period; /* a division takes longer than all the rest of a small set */
}

/* Makes of sums of g and g * (x - high) those of g and g * xhat, in `to` where they are results, and gives the means of both,
 * times the weights. */
static void FN(means_of)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set, fc_centre c, int last, double mean[2])
{
    const FN(norm_state) *s = (const void *)plan->state;
    const double *slot = to->slot + set * s->slots * 2;
    double all[2] = {0, 0}, values = (double)s->terms * (double)(s->columns ? s->pixels : 1);
    const int64_t first = FN(first_weight)(s, set);
    for (int64_t slice = 0, i = 0; slice < s->slices; slice++) {
        double sum = 0, product = 0, weight = to->weight ? (double)to->weight[first + slice] : 1;
        for (int64_t end = s->slices > 1 ? i + 1 : s->slots; i < end; i++)
            sum += slot[2 * i], product += slot[2 * i + 1];
        product = (product - c.low * sum) * c.inverse;
        if (last)
            to->sums[set * s->slices + slice] = sum, to->products[set * s->slices + slice] = product;
        all[0] += weight * sum, all[1] += weight * product;
    }
    mean[0] = all[0] / values, mean[1] = all[1] / values;
}

/* Factors of a slice: the result is (x - high) * scale + shift, a gradient g * scale + ((x - high) * slope + shift). */
typedef struct {
    real high, scale, slope, shift;
} FN(factors);

static inline FN(factors) FN(factors_of)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t at, fc_centre c,
                                         const double mean[2])
{
    double scale = (to->weight ? (double)to->weight[at] : 1) * c.inverse;
    if (plan->problem.op == FC_NORM)
        return (FN(factors)){(real)c.high, (real)scale, 0, (real)((to->bias ? (double)to->bias[at] : 0) - c.low * scale)};
    double slope = -c.inverse * mean[1] * c.inverse;
    return (FN(factors)){(real)c.high, (real)scale, (real)slope, (real)(-c.inverse * mean[0] - slope * c.low)};
}

/* ---- a set whose lanes hold pixels ---- */

/* Moments of a set that lies together and sums of its slices in one pass, the latter of g * (x - a guess), which *c is told. Not
 * where elements are not finite, or where the guess missed their mean: then the phases follow each other. */
static int FN(all_sums)(const fc_plan *plan, const fc_call *call, int64_t set, fc_centre *c)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const ptrdiff_t at = set * s->slices * s->pixels;
    const real *x = (const real *)call->array[1].data + at, *g = (const real *)call->array[0].data + at;
    const real high = FN(guess)(x, s->pixels);
    double *slot = to.slot + 2 * set * s->slots, apart = 0, squares = 0, count = (double)s->terms, share = 1 / count;
    for (int64_t slice = 0; slice < s->slices; slice++, x += s->pixels, g += s->pixels, slot += 2) {
        double sums[4] = {0, 0, 0, 0};
        FN(sums_of)(g, x, NULL, s->pixels, high, sums);
        apart += sums[0], squares += sums[1];
        slot[0] = sums[2], slot[1] = sums[3];
    }
    if (!isfinite(apart) || !isfinite(squares) || FN(missed)(count, apart, squares))
        return 0;
    double low = apart * share, var = (squares - apart * low) * share;
    *c = (fc_centre){(double)high, low, 1 / sqrt((var > 0 ? var : 0) + plan->problem.divisor)};
    return 1;
}

/* The result of a part of a set. */
static void FN(norm_result)(const fc_plan *plan, const fc_call *call, int64_t set, int64_t part, fc_centre c)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int forward = plan->problem.op == FC_NORM, sums = plan->problem.flags & FC_TAKE_SUMS;
    const ptrdiff_t at = set * s->slices * s->pixels;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    real *y = call->array[3].data ? (real *)call->array[3].data + at : NULL;
    const int64_t q0 = part * s->depth, q1 = fc_min(s->terms, q0 + s->depth);
    double mean[2] = {0, 0};
    if (!forward && sums)
        FN(means_of)(plan, &to, set, c, part == 0, mean);
    if (!forward && !s->own)
        mean[0] = mean[1] = 0;
    if (!y)
        return;
    const int64_t weight = FN(first_weight)(s, set);
    const int64_t first = s->parts == 1 ? 0 : q0 / s->pixels, last = s->parts == 1 ? s->planes - 1 : (q1 - 1) / s->pixels;
    FN(factors) f = FN(factors_of)(plan, &to, weight, c, mean);
    for (int64_t k = first; k <= last; k++) {
        int64_t plane = s->backwards ? first + last - k : k;
        int64_t q = fc_max(q0, plane * s->pixels), n = fc_min(q1, (plane + 1) * s->pixels) - q;
        ptrdiff_t from = s->slices > 1 ? q : plane * s->image + (q - plane * s->pixels);
        if (s->slices > 1)
            f = FN(factors_of)(plan, &to, weight + plane, c, mean);
        if (forward)
            FN(scale_and_shift)(x + from, n, f.high, f.scale, f.shift, s->stream, y + from);
        else if (s->own)
            FN(lead_back)(g + from, x + from, n, f.high, f.scale, f.slope, f.shift, s->stream, y + from);
        else
            FN(scale_and_shift)(g + from, n, 0, f.scale, 0, s->stream, y + from);
    }
    if (s->stream)
        FN(streamed)();
}

static void FN(norm_set)(const fc_plan *plan, const fc_call *call, int phase, int64_t set, int64_t part)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int forward = plan->problem.op == FC_NORM;
    const ptrdiff_t at = set * s->slices * s->pixels;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    int64_t q0 = part * s->depth, q1 = fc_min(s->terms, q0 + s->depth);
    if (phase == FN(phase_moments)) {
        fc_moments *m = &to.moments[set * s->parts + part];
        *m = (fc_moments){0, 0, 0};
        FN(moments_of)(x, s->image, s->slices * s->pixels, q0, q1, m);
        return;
    }
    const fc_centre c = FN(centre_of)(plan, &to, set, phase == FN(phase_result) && part == 0);
    if (phase == FN(phase_sums)) {
        double *slot = to.slot + 2 * (set * s->slots + (s->slices > 1 ? q0 / s->pixels : part));
        slot[0] = slot[1] = 0;
        if (s->slices == 1) {
            FN(products)(g, x, s->image, s->pixels, q0, q1, (real)c.high, slot);
            return;
        }
        for (int64_t q = q0, n; q < q1; q += n, slot += 2) {
            n = fc_segment(q, q1, s->pixels);
            slot[0] = slot[1] = 0;
            FN(products)(g + q, x + q, 0, n, 0, n, (real)c.high, slot);
        }
        return;
    }
    FN(norm_result)(plan, call, set, part, c);
}

/* ---- sets whose columns lie side by side ---- */

/* Merges rows r0 to r1 of some columns, each into its moments. */
static void FN(moments_of_columns)(const real *x, ptrdiff_t row, int64_t columns, int64_t r0, int64_t r1, fc_moments *m)
{
    real shift[FC_NORM_COLUMNS], apart[FC_NORM_COLUMNS], squares[FC_NORM_COLUMNS];
    for (int64_t from = r0; from < r1; from += FC_NORM_ROWS) {
        int64_t to = fc_min(r1, from + FC_NORM_ROWS);
        const double count = (double)(to - from), share = 1 / count;
        for (int64_t j = 0; j < columns; j += VL) {
            int64_t some = fc_min(VL, columns - j);
            vec sum = FN(zero)(), d = sum, r = sum;
            for (int64_t i = from; i < to; i++)
                sum += FN(load_some)(x + i * row + j, some);
            vec middle = sum / FN(splat)((real)count);
            for (int64_t i = from; i < to; i++) {
                vec v = FN(load_some)(x + i * row + j, some) - middle;
                d += v;
                r += v * v;
            }
            FN(store)(shift + j, middle);
            FN(store)(apart + j, d);
            FN(store)(squares + j, r);
        }
        for (int64_t j = 0; j < columns; j++) {
            double d = (double)apart[j], r = (double)squares[j];
            if (!isfinite(d) || !isfinite(r)) {
                FN(moments_in_double)(x + from * row + j, to - from, row, m + j);
                continue;
            }
            r -= d * d * share;
            fc_merge(m + j, count, (double)shift[j] + d * share, r > 0 ? r : 0);
        }
    }
}

/* The same for sums: to[2 * j] += sum of g, to[2 * j + 1] += sum of g * (x - high). */
static void FN(products_of_columns)(const real *g, const real *x, ptrdiff_t row, int64_t columns, int64_t r0, int64_t r1,
                                    const real *high, double *to)
{
    for (int64_t from = r0; from < r1; from += FC_NORM_ROWS)
        for (int64_t j = 0; j < columns; j += VL) {
            int64_t some = fc_min(VL, columns - j);
            vec s = FN(zero)(), r = s, h = FN(load_some)(high + j, some);
            for (int64_t i = from; i < fc_min(r1, from + FC_NORM_ROWS); i++) {
                vec v = FN(load_some)(g + i * row + j, some);
                s += v;
                r += v * (FN(load_some)(x + i * row + j, some) - h);
            }
            for (int64_t i = 0; i < some; i++)
                to[2 * (j + i)] += (double)s[i], to[2 * (j + i) + 1] += (double)r[i];
        }
}

static void FN(norm_columns)(const fc_plan *plan, const fc_call *call, int phase, int64_t set0, int64_t part)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int forward = plan->problem.op == FC_NORM, last = phase == FN(phase_result) && part == 0;
    const int64_t sets = fc_min(s->wide, s->sets - set0), columns = sets * s->pixels;
    const ptrdiff_t at = set0 * s->pixels, row = s->image;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    real *y = call->array[3].data ? (real *)call->array[3].data + at : NULL;
    int64_t r0 = part * s->depth, r1 = fc_min(s->terms, r0 + s->depth);
    if (phase == FN(phase_moments)) {
        fc_moments m[FC_NORM_COLUMNS];
        memset(m, 0, sizeof m);
        FN(moments_of_columns)(x, row, columns, r0, r1, m);
        for (int64_t j = 0; j < columns; j++) {
            fc_moments *all = &to.moments[(set0 + j / s->pixels) * s->parts + part];
            if (j % s->pixels == 0)
                *all = m[j];
            else
                fc_merge(all, m[j].count, m[j].mean, m[j].squares);
        }
        return;
    }
    real high[FC_NORM_COLUMNS], scale[FC_NORM_COLUMNS], slope[FC_NORM_COLUMNS], shift[FC_NORM_COLUMNS];
    double middle[FC_NORM_COLUMNS], var[FC_NORM_COLUMNS], inverse[FC_NORM_COLUMNS];
    for (int64_t i = 0; i < sets; i++)
        FN(statistics_of)(plan, &to, set0 + i, last, middle + i, var + i);
    for (int64_t i = 0; i < sets; i++) /* by itself: the compiler makes vectors of it */
        inverse[i] = 1 / sqrt(var[i] + plan->problem.divisor);
    for (int64_t i = 0; i < sets; i++) {
        const double of_mean = (double)(real)middle[i];
        const fc_centre c = {of_mean, middle[i] - of_mean, inverse[i]};
        double mean[2] = {0, 0};
        if (!forward && phase == FN(phase_result) && plan->problem.flags & FC_TAKE_SUMS)
            FN(means_of)(plan, &to, set0 + i, c, last, mean);
        if (!forward && !s->own)
            mean[0] = mean[1] = 0;
        const FN(factors) f = FN(factors_of)(plan, &to, FN(first_weight)(s, set0 + i), c, mean);
        for (int64_t j = i * s->pixels; j < (i + 1) * s->pixels; j++)
            high[j] = f.high, scale[j] = f.scale, slope[j] = f.slope, shift[j] = f.shift;
    }
    if (phase == FN(phase_sums)) {
        double sums[2 * FC_NORM_COLUMNS] = {0};
        FN(products_of_columns)(g, x, row, columns, r0, r1, high, sums);
        for (int64_t j = 0; j < columns; j++) {
            double *slot = to.slot + 2 * ((set0 + j / s->pixels) * s->slots + part);
            if (j % s->pixels == 0)
                slot[0] = slot[1] = 0;
            slot[0] += sums[2 * j], slot[1] += sums[2 * j + 1];
        }
        return;
    }
    for (int64_t i = y ? r0 : r1; i < r1; i++)
        for (int64_t j = 0; j < columns; j += VL) {
            int64_t some = fc_min(VL, columns - j), k = i * row + j;
            vec v = FN(load_some)(g + k, some) * FN(load_some)(scale + j, some);
            if (forward || s->own) {
                vec d = FN(load_some)(x + k, some) - FN(load_some)(high + j, some), t = FN(load_some)(shift + j, some);
                v = forward ? d * FN(load_some)(scale + j, some) + t : v + (d * FN(load_some)(slope + j, some) + t);
            }
            FN(store_some)(y + k, v, some);
        }
}

static void FN(norm_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(norm_state) *s = (const void *)plan->state;
    int64_t set = task * s->wide, part = 0;
    if (s->parts > 1)
        set = task / s->parts * s->wide, part = task % s->parts;
    if (s->ordered)
        set = task % s->sets, part = task / s->sets;
    fc_centre c;
    (void)scratch;
    if (s->at_once && FN(all_sums)(plan, call, set, &c)) {
        FN(norm_result)(plan, call, set, part, c);
        return;
    }
    for (int i = s->fused ? 0 : (int)stage; i < (s->fused ? s->phases : (int)stage + 1); i++)
        (s->columns ? FN(norm_columns) : FN(norm_set))(plan, call, s->phase[i], set, part);
}

static const fc_algorithm FN(norm) = {"norm", FC_ISA_NAME, 1u << FC_NORM | 1u << FC_NORM_GRAD, FN(norm_prepare),
                                      FN(norm_tasks), FN(norm_run)};
