/* norm_columns.c: the norm of norm.c where a set has fewer pixels than a vector lanes, in many images: lanes hold neighbouring columns,
 * pixels of several sets, and sums go down the batch. Rows are read in the order of memory, as prefetchers like it.
 *
 * A task has a band of rows, FC_NORM_COLUMNS of their columns, whose sums stay in L1. Stages: moments, or sums of g and
 * g * (x - high), of each band; then, set by set, what all bands' sums give, a table of factors; then the result. A gradient whose
 * statistics are constants knows its factors before: sums and result are one pass, and what the sums give is the last stage. */

#define FC_NORM_COLUMNS ((int64_t)1024) /* columns of a task, at most */
#define FC_NORM_ROWS 128                /* rows of a band: their sums are short */
#define FC_NORM_DOWN 4                  /* rows whose sums are taken at once: these are loaded and stored once for all */
#define FC_RESULT_DOWN 2                /* rows of results: of 4 KB each, more of them would meet in the same few lines of L1 */

/* What a task keeps in scratch. */
typedef struct {
    real high[FC_NORM_COLUMNS + VL], first[FC_NORM_COLUMNS + VL], second[FC_NORM_COLUMNS + VL]; /* not a power of two apart */
} FN(column_sums);

/* From factors of a kind to the next kind's: no power of two, or they would evict each other from L1. */
static inline int64_t FN(column_step)(const FN(norm_state) *s) { return fc_round_up(s->image, 2 * VL) + VL; }

static void FN(columns_prepare)(fc_plan *plan)
{
    FN(norm_state) *s = (void *)plan->state;
    const int64_t columns = s->image;
    s->terms = plan->problem.batch, s->parts = fc_ceil_div(s->terms, FC_NORM_ROWS), s->depth = fc_ceil_div(s->terms, s->parts);
    s->parts = fc_ceil_div(s->terms, s->depth);
    s->wide = fc_min(columns, fc_round_up(fc_ceil_div(columns, fc_ceil_div(columns, FC_NORM_COLUMNS)), VL));
    s->phases = 0;
    if (s->own)
        s->phase[s->phases++] = s->sums ? FN(phase_sums) : FN(phase_moments);
    s->phase[s->phases++] = FN(phase_table);
    s->phase[s->phases++] = FN(phase_result);
    if (s->sums && !s->own)
        s->phase[s->phases++] = FN(phase_weights);
    plan->stages = s->phases;
    plan->workspace = 4 * FN(column_step)(s) * (int64_t)sizeof(real) + columns * s->parts * 2 * (int64_t)sizeof(double);
    plan->scratch = FC_SCRATCH_HEAD + (int64_t)sizeof(FN(column_sums));
}

static ptrdiff_t FN(columns_tasks)(const FN(norm_state) *s, ptrdiff_t stage, ptrdiff_t *grain)
{
    if (s->phase[stage] == FN(phase_table) || s->phase[stage] == FN(phase_weights))
        return (ptrdiff_t)fc_ceil_div(s->sets, FC_NORM_MANY);
    *grain = (ptrdiff_t)fc_max(1, FC_NORM_BUNCH / (s->depth * s->wide));
    return (ptrdiff_t)(s->parts * fc_ceil_div(s->image, s->wide));
}

/* In the workspace: factors of all columns; then for each band means and sums of squares of all columns, or their sums. */
static real *FN(column_factors)(const FN(norm_state) *s, const fc_call *call, int64_t i)
{
    return (real *)(void *)call->workspace + i * FN(column_step)(s);
}

static double *FN(column_parts)(const FN(norm_state) *s, const fc_call *call, int64_t part, int64_t i)
{
    return (double *)(void *)FN(column_factors)(s, call, 4) + (part * 2 + i) * s->image;
}

/* ---- a band's sums ---- */

/* first += x - high, second += its squares, of some rows; or, of a gradient, first += g, second += g * (x - high). */
FC_INLINE void FN(column_lanes)(const real *g, const real *x, ptrdiff_t row, int64_t at, int rows, int64_t some, FN(column_sums) *to,
                                const int back)
{
    const vec h = FN(load)(to->high + at);
    vec a = FN(load)(to->first + at), b = FN(load)(to->second + at);
    FC_UNROLL for (int r = 0; r < rows; r++) {
        const vec d = FN(load_some)(x + r * row + at, some) - h;
        const vec v = back ? FN(load_some)(g + r * row + at, some) : d;
        a += v, b += v * d; /* lanes behind the end are not looked at */
    }
    FN(store)(to->first + at, a), FN(store)(to->second + at, b);
}

FC_INLINE void FN(column_rows)(const real *g, const real *x, ptrdiff_t row, int64_t columns, int rows, FN(column_sums) *to, const int back)
{
    int64_t j = 0;
    for (; j + VL <= columns; j += VL)
        FN(column_lanes)(g, x, row, j, rows, VL, to, back);
    if (j < columns)
        FN(column_lanes)(g, x, row, j, rows, columns - j, to, back);
}

#define FC_COLUMN_BAND(NAME, back)                                                                                          \
    static void FN(NAME)(const real *g, const real *x, ptrdiff_t row, int64_t columns, int64_t n, FN(column_sums) *to)      \
    {                                                                                                                       \
        memset(to->first, 0, sizeof to->first), memset(to->second, 0, sizeof to->second);                                   \
        for (; n >= FC_NORM_DOWN; n -= FC_NORM_DOWN, g += FC_NORM_DOWN * row, x += FC_NORM_DOWN * row)                      \
            FN(column_rows)(g, x, row, columns, FC_NORM_DOWN, to, back);                                                    \
        for (; n > 0; n--, g += row, x += row)                                                                              \
            FN(column_rows)(g, x, row, columns, 1, to, back);                                                               \
    }
FC_COLUMN_BAND(column_differences, 0)
FC_COLUMN_BAND(column_products, 1)
#undef FC_COLUMN_BAND

/* A guess of each column: the mean of four rows, or of up to 8 rows the first one, which cannot miss. */
static void FN(column_guess)(const real *x, ptrdiff_t row, int64_t columns, int64_t n, real *high)
{
    for (int64_t j = 0; j < columns; j++)
        high[j] = n > 8 ? ((x[j] + x[j + row]) + (x[j + 2 * row] + x[j + 3 * row])) * (real)0.25 : x[j]; /* exact where they are equal */
}

/* Means and sums of squares of a band. */
static void FN(column_moments)(const real *x, ptrdiff_t row, int64_t columns, int64_t n, FN(column_sums) *to, double *restrict mean,
                               double *restrict squares)
{
    const double count = (double)n, share = 1 / count;
    FN(column_guess)(x, row, columns, n, to->high);
    FN(column_differences)(x, x, row, columns, n, to);
    int fine = 1;
    for (int64_t j = 0; j < columns; j++) {
        const double d = (double)to->first[j], r = (double)to->second[j], rest = r - d * d * share;
        mean[j] = (double)to->high[j] + d * share, squares[j] = rest > 0 ? rest : 0;
        fine &= (r < (double)INFINITY) & (d * d <= FC_NORM_FAR * (r * count - d * d));
    }
    for (int64_t j = 0; !fine && j < columns; j++)
        if (!isfinite(to->second[j]) || FN(missed)(count, (double)to->first[j], (double)to->second[j])) {
            fc_moments m = {0, 0, 0};
            FN(moments_in_double)(x + j, n, row, &m);
            mean[j] = m.mean, squares[j] = m.squares;
        }
}

/* ---- what they give, set by set ---- */

/* Means and variances of some sets from their columns and bands, as fc_merge does it. */
static void FN(columns_moments)(const FN(norm_state) *s, const fc_call *call, int64_t set0, int64_t sets, FN(norm_table) *t)
{
    const double pixels = (double)s->pixels;
    for (int64_t part = 0; part < s->parts; part++) {
        const double *mean = FN(column_parts)(s, call, part, 0) + set0 * s->pixels;
        const double *squares = FN(column_parts)(s, call, part, 1) + set0 * s->pixels;
        const double before = (double)(part * s->depth), rows = (double)fc_min(s->depth, s->terms - part * s->depth);
        double middle[FC_NORM_MANY], rest[FC_NORM_MANY];
        for (int64_t i = 0; i < sets && s->pixels == 1; i++)
            middle[i] = mean[i], rest[i] = squares[i];
        for (int64_t i = 0; i < sets && s->pixels > 1; i++, mean += s->pixels, squares += s->pixels) {
            double all = 0, apart = 0;
            rest[i] = 0;
            for (int64_t j = 0; j < s->pixels; j++)
                all += mean[j], rest[i] += squares[j];
            middle[i] = all / pixels;
            for (int64_t j = 0; j < s->pixels; j++)
                apart += (mean[j] - middle[i]) * (mean[j] - middle[i]);
            rest[i] += rows * apart;
        }
        for (int64_t i = 0; i < sets && part == 0; i++)
            t->mean[i] = middle[i], t->var[i] = rest[i];
        const double share = rows / (before + rows);
        for (int64_t i = 0; i < sets && part > 0; i++) {
            const double step = middle[i] - t->mean[i];
            t->mean[i] += isfinite(step) ? step * share : middle[i];
            t->var[i] += rest[i] + step * step * before * pixels * share;
        }
    }
    for (int64_t i = 0; i < sets; i++)
        t->var[i] /= s->values;
}

/* Sums of some sets from their columns and bands. */
static void FN(columns_sums)(const FN(norm_state) *s, const fc_call *call, int64_t set0, int64_t sets, int which, double *sums)
{
    memset(sums, 0, (size_t)sets * sizeof *sums);
    for (int64_t part = 0; part < s->parts; part++) {
        const double *from = FN(column_parts)(s, call, part, which) + set0 * s->pixels;
        for (int64_t i = 0; i < sets && s->pixels == 1; i++)
            sums[i] += from[i];
        for (int64_t i = 0; i < sets && s->pixels > 1; i++, from += s->pixels)
            for (int64_t j = 0; j < s->pixels; j++)
                sums[i] += from[j];
    }
}

static void FN(columns_table)(const fc_plan *plan, const fc_call *call, int phase, int64_t set0)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int64_t sets = fc_min(FC_NORM_MANY, s->sets - set0);
    double sum[FC_NORM_MANY], product[FC_NORM_MANY];
    FN(norm_table) t;
    if (s->moments)
        FN(columns_moments)(s, call, set0, sets, &t);
    for (int64_t i = 0; i < sets; i++)
        if (s->moments)
            to.mean[set0 + i] = t.mean[i], to.var[set0 + i] = t.var[i];
        else
            t.mean[i] = to.mean[set0 + i], t.var[i] = to.var[set0 + i];
    FN(centres_of)(plan, sets, &t);
    memset(t.shares, 0, sizeof t.shares);
    if (s->sums && (s->own || phase == FN(phase_weights))) {
        FN(columns_sums)(s, call, set0, sets, 0, sum);
        FN(columns_sums)(s, call, set0, sets, 1, product);
        FN(shares_of)(s, to.weight, set0, sets, &t, sum, product, product);
        FN(grads_of)(s, &to, set0, sets, sum, product);
    }
    if (phase == FN(phase_weights))
        return;
    FN(plane_factors) f;
    FN(factors_of_sets)(plan, &to, set0, sets, &t, &f);
    const real *each[4] = {f.high, f.scale, f.slope, f.shift};
    for (int k = 0; k < 4; k++) {
        real *factor = FN(column_factors)(s, call, k) + set0 * s->pixels;
        if (s->pixels == 1)
            memcpy(factor, each[k], (size_t)sets * sizeof(real));
        for (int64_t i = 0; i < sets && s->pixels > 1; i++)
            for (int64_t j = 0; j < s->pixels; j++)
                *factor++ = each[k][i];
    }
}

/* ---- the result ---- */

enum { FN(columns_forward), FN(columns_scaled), FN(columns_scaled_and_summed), FN(columns_back) };

/* Some rows of it; sums go to `to`. */
FC_INLINE void FN(result_lanes)(const real *g, const real *x, real *y, ptrdiff_t row, int rows, int64_t at, int64_t some,
                                const real *factors, ptrdiff_t step, FN(column_sums) *to, const int kind)
{
    const vec h = FN(load_some)(factors + at, some), scale = FN(load_some)(factors + step + at, some);
    vec slope = h, shift = h, a = h, b = h;
    if (kind == FN(columns_back))
        slope = FN(load_some)(factors + 2 * step + at, some);
    if (kind == FN(columns_back) || kind == FN(columns_forward))
        shift = FN(load_some)(factors + 3 * step + at, some);
    if (kind == FN(columns_scaled_and_summed))
        a = FN(load)(to->first + at), b = FN(load)(to->second + at);
    FC_UNROLL for (int r = 0; r < rows; r++) {
        const ptrdiff_t k = r * row + at;
        if (kind == FN(columns_forward)) {
            FN(store_some)(y + k, (FN(load_some)(x + k, some) - h) * scale + shift, some);
            continue;
        }
        const vec v = FN(load_some)(g + k, some);
        if (kind == FN(columns_scaled_and_summed))
            a += v, b += v * (FN(load_some)(x + k, some) - h);
        if (kind == FN(columns_back))
            FN(store_some)(y + k, v * scale + ((FN(load_some)(x + k, some) - h) * slope + shift), some);
        else
            FN(store_some)(y + k, v * scale, some);
    }
    if (kind == FN(columns_scaled_and_summed))
        FN(store)(to->first + at, a), FN(store)(to->second + at, b);
}

#define FC_COLUMNS_RESULT(NAME)                                                                                             \
    static void FN(NAME##_band)(const real *g, const real *x, real *y, ptrdiff_t row, int64_t columns, int64_t n,           \
                                const real *factors, ptrdiff_t step, FN(column_sums) *to)                                   \
    {                                                                                                                       \
        for (int64_t i = 0, rows; i < n; i += rows, g += rows * row, x += rows * row, y += rows * row) {                    \
            int64_t j = 0;                                                                                                  \
            rows = i + FC_RESULT_DOWN <= n ? FC_RESULT_DOWN : 1;                                                                \
            for (; j + VL <= columns && rows > 1; j += VL)                                                                  \
                FN(result_lanes)(g, x, y, row, FC_RESULT_DOWN, j, VL, factors, step, to, FN(NAME));                           \
            for (; j + VL <= columns; j += VL)                                                                              \
                FN(result_lanes)(g, x, y, row, 1, j, VL, factors, step, to, FN(NAME));                                      \
            if (j < columns && rows > 1)                                                                                    \
                FN(result_lanes)(g, x, y, row, FC_RESULT_DOWN, j, columns - j, factors, step, to, FN(NAME));                  \
            else if (j < columns)                                                                                           \
                FN(result_lanes)(g, x, y, row, 1, j, columns - j, factors, step, to, FN(NAME));                             \
        }                                                                                                                   \
    }
FC_COLUMNS_RESULT(columns_forward)
FC_COLUMNS_RESULT(columns_scaled)
FC_COLUMNS_RESULT(columns_scaled_and_summed)
FC_COLUMNS_RESULT(columns_back)
#undef FC_COLUMNS_RESULT

static void FN(columns_run)(const fc_plan *plan, const fc_call *call, ptrdiff_t stage, ptrdiff_t task, FN(column_sums) *sums)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const int phase = s->phase[stage], forward = plan->problem.op == FC_NORM, both = s->sums && !s->own;
    if (phase == FN(phase_table) || phase == FN(phase_weights)) {
        FN(columns_table)(plan, call, phase, task * FC_NORM_MANY);
        return;
    }
    const int64_t blocks = fc_ceil_div(s->image, s->wide), part = task / blocks, column = task % blocks * s->wide;
    const int64_t columns = fc_min(s->wide, s->image - column), n = fc_min(s->depth, s->terms - part * s->depth);
    const ptrdiff_t at = part * s->depth * s->image + column;
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    real *y = call->array[3].data ? (real *)call->array[3].data + at : NULL;
    double *first = FN(column_parts)(s, call, part, 0) + column, *second = FN(column_parts)(s, call, part, 1) + column;
    const real *factors = FN(column_factors)(s, call, 0) + column;
    if (phase == FN(phase_moments)) {
        FN(column_moments)(x, s->image, columns, n, sums, first, second);
        return;
    }
    if (phase == FN(phase_sums)) {
        const double *mean = FN(numbers_of)(plan, call).mean;
        for (int64_t j = 0; j < columns; j++)
            sums->high[j] = (real)mean[s->pixels == 1 ? column + j : (column + j) / s->pixels];
        FN(column_products)(g, x, s->image, columns, n, sums);
    } else if (forward) {
        FN(columns_forward_band)(g, x, y, s->image, columns, n, factors, FN(column_step)(s), sums);
    } else if (s->own && y) {
        FN(columns_back_band)(g, x, y, s->image, columns, n, factors, FN(column_step)(s), sums);
    } else if (both && y) {
        memset(sums->first, 0, sizeof sums->first), memset(sums->second, 0, sizeof sums->second);
        FN(columns_scaled_and_summed_band)(g, x, y, s->image, columns, n, factors, FN(column_step)(s), sums);
    } else if (both) {
        memcpy(sums->high, factors, (size_t)columns * sizeof(real));
        FN(column_products)(g, x, s->image, columns, n, sums);
    } else if (y) {
        FN(columns_scaled_band)(g, x, y, s->image, columns, n, factors, FN(column_step)(s), sums);
    }
    for (int64_t j = 0; j < columns && (phase == FN(phase_sums) || both); j++)
        first[j] = (double)sums->first[j], second[j] = (double)sums->second[j];
}
