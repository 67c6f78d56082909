/* update.c: one step of an optimizer, in place: p[i] and its state s[row][i] change by the gradient g[i].
 *
 * Operands: g; the rows of the state, without gaps; the numbers of this step (float64); p. Everything is read and written once, which
 * is all the time there is. The rules are those in the docstrings of fastconv/optim; each is an algorithm of its own name. */

/* ---- the rules, of a vector: k holds the numbers, s the state ---- */

/* k: learning rate, weight decay. */
FC_INLINE void FN(sgd)(vec *p, vec g, vec *s, const real *k)
{
    (void)s;
    if (k[1] != 0)
        g += *p * k[1];
    *p -= g * k[0];
}

/* k: learning rate, weight decay, momentum, 1 - dampening, nesterov, whether this is the first step. */
FC_INLINE void FN(sgd_momentum)(vec *p, vec g, vec *s, const real *k)
{
    if (k[1] != 0)
        g += *p * k[1];
    s[0] = k[5] != 0 ? g : s[0] * k[2] + g * k[3];
    *p -= (k[4] != 0 ? s[0] * k[2] + g : s[0]) * k[0];
}

/* k: learning rate of this step, weight decay, eps. */
FC_INLINE void FN(adagrad)(vec *p, vec g, vec *s, const real *k)
{
    if (k[1] != 0)
        g += *p * k[1];
    s[0] += g * g;
    *p -= g / (FN(root)(s[0]) + k[2]) * k[0];
}

/* k: learning rate, weight decay, eps, alpha, 1 - alpha, momentum. */
FC_INLINE vec FN(rmsprop_ratio)(const vec *p, vec g, vec *s, const real *k, int centered)
{
    if (k[1] != 0)
        g += *p * k[1];
    s[0] = s[0] * k[3] + g * g * k[4];
    vec variance = s[0];
    if (centered) {
        s[1] += (g - s[1]) * k[4];
        variance -= s[1] * s[1];
    }
    return g / (FN(root)(variance) + k[2]);
}

FC_INLINE void FN(rmsprop)(vec *p, vec g, vec *s, const real *k) { *p -= FN(rmsprop_ratio)(p, g, s, k, 0) * k[0]; }
FC_INLINE void FN(rmsprop_centered)(vec *p, vec g, vec *s, const real *k) { *p -= FN(rmsprop_ratio)(p, g, s, k, 1) * k[0]; }

FC_INLINE void FN(rmsprop_momentum)(vec *p, vec g, vec *s, const real *k)
{
    s[1] = s[1] * k[5] + FN(rmsprop_ratio)(p, g, s, k, 0);
    *p -= s[1] * k[0];
}

FC_INLINE void FN(rmsprop_centered_momentum)(vec *p, vec g, vec *s, const real *k)
{
    s[2] = s[2] * k[5] + FN(rmsprop_ratio)(p, g, s, k, 1);
    *p -= s[2] * k[0];
}

/* k: learning rate / (1 - b1^t), weight decay, eps, 1 - b1, b2, 1 - b2, 1 / sqrt(1 - b2^t), the factor of decoupled decay. */
FC_INLINE vec FN(adam_moments)(vec *p, vec g, vec *s, const real *k)
{
    if (k[1] != 0)
        g += *p * k[1];
    *p *= k[7];
    s[0] = s[0] - s[0] * k[3] + g * k[3]; /* g itself where b1 is 0: (g - s) * k + s would keep the rounding of s */
    s[1] = s[1] * k[4] + g * g * k[5];
    return s[1];
}

FC_INLINE void FN(adam)(vec *p, vec g, vec *s, const real *k)
{
    vec square = FN(adam_moments)(p, g, s, k);
    *p -= s[0] / (FN(root)(square) * k[6] + k[2]) * k[0];
}

FC_INLINE void FN(adam_amsgrad)(vec *p, vec g, vec *s, const real *k)
{
    s[2] = FN(max_nan)(s[2], FN(adam_moments)(p, g, s, k));
    *p -= s[0] / (FN(root)(s[2]) * k[6] + k[2]) * k[0];
}

/* ---- a task of each ---- */

#define FC_UPDATE_NUMBERS 8
#define FC_UPDATE_ROWS 3

#define FC_UPDATE(name, rows)                                                                                                   \
    static void FN(update_##name##_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)     \
    {                                                                                                                           \
        int64_t first = task * FC_MAP_BUNCH, n = fc_min(FC_MAP_BUNCH, plan->problem.out_channels - first), i = 0;               \
        const real *g = (const real *)call->array[0].data + first;                                                             \
        ptrdiff_t row = call->array[1].stride[0];                                                                               \
        real *state = (real *)call->array[1].data + first, *p = (real *)call->array[3].data + first, k[FC_UPDATE_NUMBERS];      \
        (void)stage, (void)scratch, (void)row, (void)state;                                                                     \
        for (int j = 0; j < FC_UPDATE_NUMBERS; j++)                                                                             \
            k[j] = (real)((const double *)(const void *)call->array[2].data)[j];                                                \
        for (; i < n; i += VL) {                                                                                                \
            int64_t lanes = fc_min(VL, n - i);                                                                                  \
            int whole = lanes == VL;                                                                                            \
            vec value = whole ? FN(load)(p + i) : FN(load_n)(p + i, lanes), s[FC_UPDATE_ROWS];                                  \
            vec grad = whole ? FN(load)(g + i) : FN(load_n)(g + i, lanes);                                                      \
            for (int r = 0; r < rows; r++)                                                                                      \
                s[r] = whole ? FN(load)(state + r * row + i) : FN(load_n)(state + r * row + i, lanes);                          \
            FN(name)(&value, grad, s, k);                                                                                       \
            for (int r = 0; r < rows; r++) {                                                                                    \
                if (whole)                                                                                                      \
                    FN(store)(state + r * row + i, s[r]);                                                                       \
                else                                                                                                            \
                    FN(store_n)(state + r * row + i, s[r], lanes);                                                              \
            }                                                                                                                   \
            if (whole)                                                                                                          \
                FN(store)(p + i, value);                                                                                        \
            else                                                                                                                \
                FN(store_n)(p + i, value, lanes);                                                                               \
        }                                                                                                                       \
    }                                                                                                                           \
    static const fc_algorithm FN(update_##name) = {#name, FC_ISA_NAME, 1u << FC_OPTIMIZE, FN(map_prepare), FN(map_tasks),      \
                                                   FN(update_##name##_run)};
#include "../updates.inc"
#undef FC_UPDATE
