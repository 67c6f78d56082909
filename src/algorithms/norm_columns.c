/* norm_columns.c: the phases of norm.c where a set has fewer pixels than a vector lanes, in many images: lanes hold neighbouring
 * columns, pixels of several sets, down the batch; a set's columns are merged at the end. A task takes FC_NORM_COLUMNS of them.
 *
 * Between phases lie, for each part, the means and sums of squares of all sets, or their sums of g and g * (x - high). */

#define FC_NORM_ROWS 128 /* rows of columns whose sums are short */
#define FC_NORM_DOWN 6   /* rows from here that are asked for: they lie too far apart for prefetchers */

/* apart[j] = sum of x - high, squares[j] = sum of its squares, of some vectors of columns down n rows, with high[j] a guess: the mean
 * of four rows, or of up to 8 rows the first one, which cannot miss. Whether one is not finite, or the guess missed by far. */
FC_INLINE int FN(column_differences)(const real *x, ptrdiff_t row, int64_t n, int vectors, int64_t some, real *high, real *apart,
                                     real *squares)
{
    const vec infinite = FN(splat)((real)INFINITY), count = FN(splat)((real)n);
    vec h[4], d[4], r[4];
    ivec fine = ~(ivec){0};
    FC_UNROLL for (int j = 0; j < vectors; j++) {
        h[j] = FN(load_some)(x + j * VL, some), d[j] = r[j] = FN(zero)();
        if (n > 8) {
            vec rest = FN(load_some)(x + 2 * row + j * VL, some) + FN(load_some)(x + 3 * row + j * VL, some);
            h[j] = ((h[j] + FN(load_some)(x + row + j * VL, some)) + rest) * (real)0.25; /* exact where they are equal */
        }
    }
    for (int64_t i = 0; i < n; i++, x += row)
        FC_UNROLL for (int j = 0; j < vectors; j++) {
            __builtin_prefetch(x + FC_NORM_DOWN * row + j * VL);
            vec v = FN(load_some)(x + j * VL, some) - h[j];
            d[j] += v;
            r[j] += v * v;
        }
    FC_UNROLL for (int j = 0; j < vectors; j++) {
        vec square = d[j] * d[j];
        fine &= (ivec)(r[j] < infinite) & (ivec)(square <= (r[j] * count - square) * (real)FC_NORM_FAR);
        FN(store)(high + j * VL, h[j]), FN(store)(apart + j * VL, d[j]), FN(store)(squares + j * VL, r[j]);
    }
    return FN(any)(~fine);
}

/* Means and sums of squares of rows r0 to r1 of some columns. */
static void FN(moments_of_columns)(const real *x, ptrdiff_t row, int64_t columns, int64_t r0, int64_t r1, double *restrict mean,
                                   double *restrict squares)
{
    real high[FC_NORM_COLUMNS], apart[FC_NORM_COLUMNS], square[FC_NORM_COLUMNS];
    for (int64_t from = r0; from < r1; from += FC_NORM_ROWS) {
        const int64_t n = fc_min(r1 - from, FC_NORM_ROWS);
        const double count = (double)n, before = (double)(from - r0), total = before + count, share = 1 / count;
        const real *at = x + from * row;
        int missed = 0;
        int64_t j = 0;
        for (; j + 4 * VL <= columns; j += 4 * VL)
            missed |= FN(column_differences)(at + j, row, n, 4, VL, high + j, apart + j, square + j);
        for (; j < columns; j += VL)
            missed |= FN(column_differences)(at + j, row, n, 1, fc_min(VL, columns - j), high + j, apart + j, square + j);
        double middle[FC_NORM_COLUMNS], rest[FC_NORM_COLUMNS];
        for (j = 0; j < columns; j++) {
            double d = (double)apart[j], r = (double)square[j] - d * d * share;
            middle[j] = (double)high[j] + d * share, rest[j] = r > 0 ? r : 0;
        }
        for (j = 0; missed && j < columns; j++)
            if (!isfinite(square[j]) || FN(missed)(count, (double)apart[j], (double)square[j])) {
                fc_moments m = {0, 0, 0};
                FN(moments_in_double)(at + j, n, row, &m);
                middle[j] = m.mean, rest[j] = m.squares;
            }
        for (j = 0; j < columns && from == r0; j++)
            mean[j] = middle[j], squares[j] = rest[j];
        for (j = 0; j < columns && from > r0; j++) { /* as fc_merge */
            double step = middle[j] - mean[j];
            mean[j] += isfinite(step) ? step * count / total : middle[j];
            squares[j] += rest[j] + step * step * before * count / total;
        }
    }
}

/* sums[j] = sum of g, products[j] = sum of g * (x - high), of rows r0 to r1. */
FC_INLINE void FN(column_products)(const real *g, const real *x, ptrdiff_t row, int64_t n, int vectors, int64_t some,
                                   const real *high, real *sums, real *products)
{
    vec h[4], s[4], r[4];
    FC_UNROLL for (int j = 0; j < vectors; j++)
        h[j] = FN(load)(high + j * VL), s[j] = r[j] = FN(zero)();
    for (int64_t i = 0; i < n; i++, g += row, x += row)
        FC_UNROLL for (int j = 0; j < vectors; j++) {
            __builtin_prefetch(g + FC_NORM_DOWN * row + j * VL);
            __builtin_prefetch(x + FC_NORM_DOWN * row + j * VL);
            vec v = FN(load_some)(g + j * VL, some);
            s[j] += v;
            r[j] += v * (FN(load_some)(x + j * VL, some) - h[j]);
        }
    FC_UNROLL for (int j = 0; j < vectors; j++)
        FN(store)(sums + j * VL, s[j]), FN(store)(products + j * VL, r[j]);
}

static void FN(products_of_columns)(const real *g, const real *x, ptrdiff_t row, int64_t columns, int64_t r0, int64_t r1,
                                    const real *high, double *restrict sums, double *restrict products)
{
    real sum[FC_NORM_COLUMNS], product[FC_NORM_COLUMNS];
    memset(sums, 0, (size_t)columns * sizeof(double));
    memset(products, 0, (size_t)columns * sizeof(double));
    for (int64_t from = r0; from < r1; from += FC_NORM_ROWS) {
        const int64_t n = fc_min(r1 - from, FC_NORM_ROWS), at = from * row;
        int64_t j = 0;
        for (; j + 4 * VL <= columns; j += 4 * VL)
            FN(column_products)(g + at + j, x + at + j, row, n, 4, VL, high + j, sum + j, product + j);
        for (; j < columns; j += VL)
            FN(column_products)(g + at + j, x + at + j, row, n, 1, fc_min(VL, columns - j), high + j, sum + j, product + j);
        for (j = 0; j < columns; j++)
            sums[j] += (double)sum[j], products[j] += (double)product[j];
    }
}

/* Of the columns of some sets, in place: means and sums of squares of the sets, or their sums. */
static void FN(merge_columns)(int64_t sets, int64_t pixels, double rows, double *mean, double *squares)
{
    for (int64_t i = 0; i < sets && pixels > 1; i++) {
        double middle = 0, rest = 0, apart = 0;
        for (int64_t j = i * pixels; j < (i + 1) * pixels; j++)
            middle += mean[j], rest += squares[j];
        middle /= (double)pixels;
        for (int64_t j = i * pixels; j < (i + 1) * pixels; j++)
            apart += (mean[j] - middle) * (mean[j] - middle);
        mean[i] = middle, squares[i] = rest + rows * apart;
    }
}

static void FN(add_columns)(int64_t sets, int64_t pixels, double *sums)
{
    for (int64_t i = 0; i < sets && pixels > 1; i++) {
        double all = 0;
        for (int64_t j = i * pixels; j < (i + 1) * pixels; j++)
            all += sums[j];
        sums[i] = all;
    }
}

/* Means and variances of some sets: those given, or those of their parts. */
static void FN(columns_moments)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set0, int64_t sets, FN(norm_table) *t)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const double *given = s->moments ? (const double *)to->moments + set0 : to->mean + set0;
    for (int64_t i = 0; i < sets; i++)
        t->mean[i] = given[i], t->var[i] = given[s->sets + i];
    for (int64_t part = 1; s->moments && part < s->parts; part++) {
        const double *next = given + part * 2 * s->sets, before = (double)(part * s->depth);
        const double count = (double)fc_min(s->depth, s->terms - part * s->depth), total = before + count;
        for (int64_t i = 0; i < sets; i++) {
            double step = next[i] - t->mean[i];
            t->mean[i] += isfinite(step) ? step * count / total : next[i];
            t->var[i] += next[s->sets + i] + step * step * before * (double)s->pixels * count / total;
        }
    }
    for (int64_t i = 0; s->moments && i < sets; i++)
        t->var[i] /= s->values;
}

/* The table of some sets for their result; statistics and sums that are results, too, go where they belong if this is the `last`
 * to need them. */
static void FN(columns_table)(const fc_plan *plan, const FN(norm_numbers) *to, int64_t set0, int64_t sets, int last, FN(norm_table) *t)
{
    const FN(norm_state) *s = (const void *)plan->state;
    double sum[FC_NORM_MANY] = {0}, product[FC_NORM_MANY] = {0};
    for (int64_t part = 0; s->sums && part < s->parts; part++) {
        const double *next = to->slot + part * 2 * s->sets + set0;
        for (int64_t i = 0; i < sets; i++)
            sum[i] += next[i], product[i] += next[s->sets + i];
    }
    if (s->sums)
        FN(shares_of)(s, to->weight, set0, sets, t, sum, product, product);
    if (!s->own || !s->sums)
        memset(t->shares, 0, sizeof t->shares);
    for (int64_t i = 0; i < sets && last && s->moments; i++)
        to->mean[set0 + i] = t->mean[i], to->var[set0 + i] = t->var[i];
    for (int64_t i = 0; i < sets && last && s->sums; i++)
        to->sums[set0 + i] = sum[i], to->products[set0 + i] = product[i];
}

typedef struct {
    real high[FC_NORM_COLUMNS], scale[FC_NORM_COLUMNS], slope[FC_NORM_COLUMNS], shift[FC_NORM_COLUMNS];
} FN(column_factors);

/* Some vectors of columns of all rows of a part, the last rows first: they lie nearest. */
FC_INLINE void FN(columns_result)(const real *g, const real *x, real *y, ptrdiff_t row, int64_t n, int vectors, int64_t some,
                                  int64_t at, const FN(column_factors) *f, const int forward, const int own)
{
    vec h[4], scale[4], slope[4], shift[4];
    FC_UNROLL for (int j = 0; j < vectors; j++) {
        h[j] = FN(load)(f->high + at + j * VL), scale[j] = FN(load)(f->scale + at + j * VL);
        slope[j] = FN(load)(f->slope + at + j * VL), shift[j] = FN(load)(f->shift + at + j * VL);
    }
    for (int64_t i = n - 1; i >= 0; i--)
        FC_UNROLL for (int j = 0; j < vectors; j++) {
            const ptrdiff_t k = i * row + at + j * VL;
            vec v;
            if (forward)
                v = (FN(load_some)(x + k, some) - h[j]) * scale[j] + shift[j];
            else
                v = FN(load_some)(g + k, some) * scale[j];
            if (!forward && own)
                v += (FN(load_some)(x + k, some) - h[j]) * slope[j] + shift[j];
            FN(store_some)(y + k, v, some);
        }
}

static void FN(norm_columns)(const fc_plan *plan, const fc_call *call, int phase, int64_t set0, int64_t part)
{
    const FN(norm_state) *s = (const void *)plan->state;
    const FN(norm_numbers) to = FN(numbers_of)(plan, call);
    const int forward = plan->problem.op == FC_NORM;
    const int64_t sets = fc_min(s->wide, s->sets - set0), columns = sets * s->pixels;
    const ptrdiff_t at = set0 * s->pixels, row = s->image;
    const int64_t r0 = part * s->depth, r1 = fc_min(s->terms, r0 + s->depth);
    const real *x = (const real *)call->array[forward ? 0 : 1].data + at, *g = (const real *)call->array[0].data + at;
    double first[FC_NORM_COLUMNS], second[FC_NORM_COLUMNS];
    double *to_moments = (double *)to.moments + part * 2 * s->sets + set0, *to_sums = to.slot + part * 2 * s->sets + set0;
    if (phase == FN(phase_moments)) {
        FN(moments_of_columns)(x, row, columns, r0, r1, first, second);
        FN(merge_columns)(sets, s->pixels, (double)(r1 - r0), first, second);
        for (int64_t i = 0; i < sets; i++)
            to_moments[i] = first[i], to_moments[s->sets + i] = second[i];
        return;
    }
    FN(norm_table) t;
    FN(column_factors) f = {{0}, {0}, {0}, {0}};
    FN(columns_moments)(plan, &to, set0, sets, &t);
    FN(centres_of)(plan, sets, &t);
    if (phase == FN(phase_sums)) {
        for (int64_t i = 0, j = 0; i < sets; i++)
            for (int64_t end = j + s->pixels; j < end; j++)
                f.high[j] = (real)t.high[i];
        FN(products_of_columns)(g, x, row, columns, r0, r1, f.high, first, second);
        FN(add_columns)(sets, s->pixels, first);
        FN(add_columns)(sets, s->pixels, second);
        for (int64_t i = 0; i < sets; i++)
            to_sums[i] = first[i], to_sums[s->sets + i] = second[i];
        return;
    }
    FN(columns_table)(plan, &to, set0, sets, part == 0, &t);
    real *y = call->array[3].data ? (real *)call->array[3].data + at + r0 * row : NULL;
    if (!y)
        return;
    for (int64_t i = 0, weight = FN(first_weight)(s, set0); i < sets; i++, weight = weight + 1 < s->period ? weight + 1 : 0) {
        const FN(factors) one = FN(factors_of)(plan, &to, weight, &t, i);
        for (int64_t j = i * s->pixels; j < (i + 1) * s->pixels; j++)
            f.high[j] = one.high, f.scale[j] = one.scale, f.slope[j] = one.slope, f.shift[j] = one.shift;
    }
    g += r0 * row, x += r0 * row;
    int64_t j = 0;
#define FC_COLUMNS_RESULT(forward, own)                                                                     \
    for (; j + 4 * VL <= columns; j += 4 * VL)                                                              \
        FN(columns_result)(g, x, y, row, r1 - r0, 4, VL, j, &f, forward, own);                              \
    for (; j < columns; j += VL)                                                                            \
        FN(columns_result)(g, x, y, row, r1 - r0, 1, fc_min(VL, columns - j), j, &f, forward, own)
    if (forward) {
        FC_COLUMNS_RESULT(1, 0);
    } else if (s->own) {
        FC_COLUMNS_RESULT(0, 1);
    } else {
        FC_COLUMNS_RESULT(0, 0);
    }
#undef FC_COLUMNS_RESULT
}
