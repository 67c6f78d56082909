/* norm.c: normalisation where a mean is of a whole channel of the batch, or of some neighbouring channels of one image, and lanes hold
 * pixels; norm_common.h says how arrays are cut, norm_columns.c is for fewer pixels than lanes. */

static const char *FN(norm_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(norm_state) *s = (void *)plan->state;
    s->sets = p->groups, s->slices = p->in_channels, s->period = p->out_channels;
    s->pixels = p->axis[2].out;
    s->image = s->sets * s->slices * s->pixels;
    s->own = (p->flags & FC_OWN_STATISTICS) != 0, s->moments = (p->flags & FC_TAKE_MOMENTS) != 0;
    s->sums = p->op == FC_NORM_GRAD && (p->flags & FC_TAKE_SUMS) != 0;
    s->terms = p->batch * s->slices * s->pixels, s->values = (double)s->terms, s->wide = 1;
    s->columns = s->slices == 1 && s->pixels < VL && p->batch > 1 && s->period == s->sets && !(s->sums && s->moments);
    if (s->columns) {
        FN(columns_prepare)(plan);
        return NULL;
    }
    s->phases = 0;
    if (s->moments)
        s->phase[s->phases++] = FN(phase_moments);
    if (s->sums)
        s->phase[s->phases++] = FN(phase_sums);
    s->phase[s->phases++] = FN(phase_result);
    s->ordered = s->phases == 1 && s->slices == 1 && s->pixels >= FC_NORM_PIXELS;
    s->stream = FN(norm_streams)(plan, s->image * p->batch) && s->pixels >= FC_NORM_PIXELS;
    s->depth = s->ordered        ? s->pixels
               : s->slices > 1 ? s->pixels * fc_max(1, FC_NORM_PART / s->pixels)
                               : FC_NORM_PART;
    s->parts = fc_ceil_div(s->terms, s->depth), s->planes = p->batch * s->slices;
    s->slots = s->slices > 1 ? s->slices : s->parts;
    s->fused = s->parts == 1;
    s->shared = s->sums && s->sets * s->slices > s->period;
    s->small = p->batch == 1 && s->fused && s->pixels < FC_NORM_PIXELS;
    if (s->fused)
        s->wide = fc_min(fc_min(s->sets, FC_NORM_MANY), fc_max(1, FC_NORM_TOGETHER / (s->terms * (s->small && s->sums ? 2 : 1))));
    s->backwards = s->fused && s->terms * (int64_t)sizeof(real) * (p->op == FC_NORM_GRAD ? 2 : 1) >= FC_NORM_BACKWARDS;
    plan->stages = s->fused ? 1 : s->phases;
    if (s->shared)
        s->phase[s->phases++] = FN(phase_weights), plan->stages++;
    plan->workspace = s->sums ? 2 * s->sets * s->slices * (int64_t)sizeof(double) : 0;
    if (!s->fused)
        plan->workspace += s->sets * (s->parts * (int64_t)sizeof(fc_moments) + s->slots * 2 * (int64_t)sizeof(double));
    plan->scratch = FC_SCRATCH_HEAD;
    return NULL;
}

static ptrdiff_t FN(norm_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(norm_state) *s = (const void *)plan->state;
    *grain = 1;
    if (s->columns)
        return mode == FC_PACK ? 0 : FN(columns_tasks)(s, stage, grain);
    if (s->shared && stage == plan->stages - 1)
        return mode == FC_PACK ? 0 : (ptrdiff_t)fc_ceil_div(s->period, FC_NORM_WEIGHTS);
    int64_t each = s->wide * fc_min(s->terms, s->depth);
    *grain = (ptrdiff_t)fc_max(1, FC_NORM_BUNCH / fc_max(1, each));
    return mode == FC_PACK ? 0 : (ptrdiff_t)(fc_ceil_div(s->sets, s->wide) * s->parts);
}

/* ---- the result ---- */

/* That of the planes of a part of the i-th set in a table. */
FC_INLINE void FN(norm_result)(const fc_plan *plan, const fc_call *call, const FN(norm_numbers) *to, int64_t set, int64_t part,
                               const FN(norm_table) *t, int64_t i)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const int forward = plan->problem.op == FC_NORM;
    const ptrdiff_t at = set * s->slices * s->pixels;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    real *y = (real *)call->array[3].data + at;
    const int64_t q0 = part * s->depth, q1 = fc_min(s->terms, q0 + s->depth), weight = FN(first_weight)(s, set);
    const int64_t first = s->parts == 1 ? 0 : q0 / s->pixels, last = s->parts == 1 ? s->planes - 1 : (q1 - 1) / s->pixels;
    FN(factors) f = FN(factors_of)(plan, to, weight, t, i);
    for (int64_t k = first; k <= last; k++) {
        int64_t plane = s->backwards ? first + last - k : k;
        int64_t q = fc_max(q0, plane * s->pixels), n = fc_min(q1, (plane + 1) * s->pixels) - q;
        ptrdiff_t from = s->slices > 1 ? q : plane * s->image + (q - plane * s->pixels);
        if (s->slices > 1)
            f = FN(factors_of)(plan, to, weight + plane, t, i);
        if (forward)
            FN(scale_and_shift)(x + from, n, f.high, f.scale, f.shift, s->stream, y + from);
        else if (s->own)
            FN(lead_back)(g + from, x + from, n, f.high, f.scale, f.slope, f.shift, s->stream, y + from);
        else
            FN(scale_and_shift)(g + from, n, 0, f.scale, 0, s->stream, y + from);
    }
}

/* ---- sets that go through all phases in a task ---- */

/* Moments of the i-th set of a task, and sums of its slices, as far as they are asked for. */
static void FN(norm_read)(const FN(norm_state) *s, const real *g, const real *x, FN(norm_table) *t, int64_t i, double *sum,
                          double *product)
{
    if (s->moments) {
        fc_moments m = {0, 0, 0};
        FN(moments_of)(x, s->image, s->slices * s->pixels, 0, s->terms, &m);
        t->mean[i] = m.mean, t->var[i] = m.squares / m.count;
    }
    const real high = (real)t->mean[i];
    for (int64_t slice = 0; s->sums && slice < s->slices; slice++, g += s->pixels, x += s->pixels) {
        double sums[2] = {0, 0};
        FN(products)(g, x, s->image, s->pixels, 0, s->slices > 1 ? s->pixels : s->terms, high, sums);
        sum[slice] = sums[0], product[slice] = sums[1];
    }
}

/* The same of sets that lie together, in one pass: what is summed are differences from a guess. Where that missed the mean by far,
 * and where elements are not finite, the set is read again. */
static void FN(norm_read_once)(const FN(norm_state) *s, const real *g, const real *x, int64_t sets, FN(norm_table) *t, double *sum,
                               double *product)
{
    double apart[FC_NORM_MANY], squares[FC_NORM_MANY];
    if (s->small && s->slices == 1)
        FN(sums_of_apart)(g, x, s->pixels, sets, t->high, apart, squares, sum, product);
    for (int64_t i = 0, k = 0; i < sets && !(s->small && s->slices == 1); i++, k += s->slices) {
        const real high = FN(guess)(x + k * s->pixels, s->pixels);
        double all[2] = {0, 0};
        if (s->small)
            FN(sums_of_planes)(g + k * s->pixels, x + k * s->pixels, s->pixels, s->slices, high, all, sum + k, product + k);
        for (int64_t j = k; j < k + s->slices && !s->small; j++) {
            double sums[4] = {0, 0, 0, 0};
            FN(sums_of)(g + j * s->pixels, x + j * s->pixels, NULL, s->pixels, high, sums);
            all[0] += sums[0], all[1] += sums[1];
            sum[j] = sums[2], product[j] = sums[3];
        }
        t->high[i] = (double)high, apart[i] = all[0], squares[i] = all[1];
    }
    const double share = 1 / s->values;
    for (int64_t i = 0; i < sets; i++) {
        const double low = apart[i] * share, var = (squares[i] - apart[i] * low) * share;
        t->low[i] = low, t->var[i] = var > 0 ? var : 0, t->mean[i] = t->high[i] + low;
    }
    for (int64_t i = 0; i < sets; i++)
        if (!isfinite(squares[i]) || FN(missed)(s->values, apart[i], squares[i])) {
            const int64_t at = i * s->slices;
            FN(norm_read)(s, g + at * s->pixels, x + at * s->pixels, t, i, sum + at, product + at);
            t->high[i] = (double)(real)t->mean[i], t->low[i] = t->mean[i] - t->high[i];
        }
}

/* The result of small planes of some sets, the last ones first: their factors are computed for many at a time. */
static void FN(norm_small)(const fc_plan *plan, const FN(norm_numbers) *to, const real *g, const real *x, real *y, int64_t set0,
                           int64_t sets, const FN(norm_table) *t)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const int forward = plan->problem.op == FC_NORM;
    const int64_t each = fc_min(s->slices, FC_NORM_MANY), step = FC_NORM_MANY / each;
    FN(plane_factors) f;
    for (int64_t last = sets; last > 0; last -= fc_min(step, last))
        for (int64_t end = s->slices; end > 0; end -= fc_min(each, end)) {
            const int64_t first = last - fc_min(step, last), from = end - fc_min(each, end);
            const ptrdiff_t at = (first * s->slices + from) * s->pixels;
            for (int64_t i = first, k = 0; i < last && s->slices > 1; i++, k += end - from)
                FN(factors_of_planes)(plan, to, FN(first_weight)(s, set0 + i) + from, t, i, end - from, &f, k);
            if (s->slices == 1)
                FN(factors_of_sets)(plan, to, set0, sets, t, &f);
            if (forward)
                FN(scale_planes)(x + at, y + at, s->pixels, (last - first) * (end - from), &f);
            else
                FN(lead_planes_back)(g + at, x + at, y + at, s->pixels, (last - first) * (end - from), &f);
        }
}

static void FN(norm_whole)(const fc_plan *plan, const fc_call *call, int64_t set0)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int forward = plan->problem.op == FC_NORM;
    const int64_t sets = fc_min(s->wide, s->sets - set0), at = set0 * s->slices;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at * s->pixels;
    const real *g = (const real *)call->array[0].data + at * s->pixels;
    double *sum = to.sums + at, *product = to.products + at;
    FN(norm_table) t;
    if (s->moments && s->sums && s->planes == s->slices) {
        FN(norm_read_once)(s, g, x, sets, &t, sum, product);
        FN(inverses_of)(plan, sets, &t);
    } else {
        for (int64_t i = 0; i < sets && !s->moments; i++)
            t.mean[i] = to.mean[set0 + i], t.var[i] = to.var[set0 + i];
        for (int64_t i = 0, k = 0; i < sets && (s->moments || s->sums); i++, k += s->slices)
            FN(norm_read)(s, g + k * s->pixels, x + k * s->pixels, &t, i, sum + k, product + k);
        FN(centres_of)(plan, sets, &t);
    }
    if (s->sums)
        FN(shares_of)(s, to.weight, set0, sets, &t, sum, product, product);
    if (s->sums && !s->shared)
        FN(grads_of)(s, &to, at, sets * s->slices, sum, product);
    if (!s->own || !s->sums)
        memset(t.shares, 0, sizeof t.shares);
    for (int64_t i = 0; i < sets && s->moments && forward; i++)
        to.mean[set0 + i] = t.mean[i], to.var[set0 + i] = t.var[i];
    if (s->small && call->array[3].data)
        FN(norm_small)(plan, &to, g, x, (real *)call->array[3].data + at * s->pixels, set0, sets, &t);
    for (int64_t i = 0; i < sets && call->array[3].data && !s->small; i++)
        FN(norm_result)(plan, call, &to, set0 + i, 0, &t, i);
    if (s->stream)
        FN(streamed)();
}

/* ---- sets of several parts, phase after phase ---- */

/* The table of a set: its statistics, given or those of its parts, and shares, if `result`. What is a result, too, goes where it belongs
 * if `last`. */
static void FN(norm_table_of)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set, int result, int last, FN(norm_table) *t)
{
    const FN(norm_state) *s = (const void *)plan->state;
    fc_moments all = {0, 0, 0};
    for (int64_t i = 0; i < s->parts && s->moments; i++) {
        const fc_moments *m = &to->moments[set * s->parts + i];
        fc_merge(&all, m->count, m->mean, m->squares);
    }
    t->mean[0] = s->moments ? all.mean : to->mean[set], t->var[0] = s->moments ? all.squares / all.count : to->var[set];
    if (last && plan->problem.op == FC_NORM)
        to->mean[set] = t->mean[0], to->var[set] = t->var[0];
    FN(centres_of)(plan, 1, t);
    t->shares[0][0] = t->shares[1][0] = 0;
    if (!result || !s->sums)
        return;
    const double *sums = to->slot + set * s->slots, *products = sums + s->sets * s->slots;
    double sum = 0, product = 0;
    for (int64_t i = 0; i < s->slots && s->slices == 1; i++)
        sum += sums[i], product += products[i];
    if (s->slices == 1)
        sums = &sum, products = &product;
    const int64_t at = set * s->slices;
    FN(shares_of)(s, to->weight, set, 1, t, sums, products, last ? to->products + at : NULL);
    if (last && s->shared)
        memcpy(to->sums + at, sums, (size_t)s->slices * sizeof(double));
    else if (last)
        FN(grads_of)(s, to, at, s->slices, sums, to->products + at);
    if (!s->own)
        t->shares[0][0] = t->shares[1][0] = 0;
}

static void FN(norm_part)(const fc_plan *plan, const fc_call *call, int phase, int64_t set, int64_t part)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int result = phase == FN(phase_result);
    const ptrdiff_t at = set * s->slices * s->pixels;
    const real *x = (const real *)call->array[plan->problem.op == FC_NORM ? 0 : 1].data + at;
    const real *g = (const real *)call->array[0].data + at;
    int64_t q0 = part * s->depth, q1 = fc_min(s->terms, q0 + s->depth);
    if (phase == FN(phase_moments)) {
        fc_moments *m = &to.moments[set * s->parts + part];
        *m = (fc_moments){0, 0, 0};
        FN(moments_of)(x, s->image, s->slices * s->pixels, q0, q1, m);
        return;
    }
    FN(norm_table) t;
    FN(norm_table_of)(plan, &to, set, result, result && part == 0, &t);
    if (result) {
        if (call->array[3].data)
            FN(norm_result)(plan, call, &to, set, part, &t, 0);
        if (s->stream)
            FN(streamed)();
        return;
    }
    double *sum = to.slot + set * s->slots + (s->slices > 1 ? q0 / s->pixels : part), *product = sum + s->sets * s->slots;
    int64_t each = s->slices > 1 ? s->pixels : q1 - q0; /* a part has whole slices */
    for (int64_t q = q0; q < q1; q += each, sum++, product++) {
        double sums[2] = {0, 0};
        FN(products)(g, x, s->image, s->slices * s->pixels, q, fc_min(q1, q + each), (real)t.mean[0], sums);
        *sum = sums[0], *product = sums[1];
    }
}

static void FN(norm_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(norm_state) *s = (const void *)plan->state;
    int64_t set = task * s->wide, part = 0;
    if (s->columns) {
        FN(columns_run)(plan, call, stage, task, (void *)(scratch + FC_SCRATCH_HEAD));
        return;
    }
    if (s->shared && stage == plan->stages - 1) {
        FN(norm_weights)(plan, call, task);
        return;
    }
    if (s->parts > 1 && s->ordered)
        set = task % s->sets, part = task / s->sets;
    else if (s->parts > 1)
        set = task / s->parts * s->wide, part = task % s->parts;
    if (s->fused)
        FN(norm_whole)(plan, call, set);
    else
        FN(norm_part)(plan, call, s->phase[stage], set, part);
}

static const fc_algorithm FN(norm) = {"norm", FC_ISA_NAME, 1u << FC_NORM | 1u << FC_NORM_GRAD, FN(norm_prepare),
                                      FN(norm_tasks), FN(norm_run)};
