/* pool_mean_grad.c: the gradient of mean pooling with sliding and small adaptive windows: first along, then down.
 *
 * Each element of the input adds up the gradients of the outputs that read it, each divided by its window's size. These are a
 * run along each axis; so every row of gradients is divided, spread along W to a row of results, and then the rows that read a
 * row of the input are added up with whole vectors, where the result is to be.
 *
 * With sliding windows, inputs are seen in cells of stride elements: element i is number r of cell c where i + pad = c*stride + r,
 * and the outputs that read it are c, c - 1, ... c - q + 1. With k = (q - 1)*stride + m, 0 < m <= stride, there are q of them for
 * r < m and q - 1 for the rest. So a cell holds two values, a long and a short sum of neighbouring gradients. Both are computed
 * with cells in the lanes; with a stride of two they are interleaved by shuffles, with a larger one (and adaptive windows, whose
 * gradients are added up one by one) they are picked by a table. */

#define FC_SPREAD_BUFFER ((int64_t)(16 << 10) / (int64_t)sizeof(real))  /* elements of rows between along and down */
#define FC_SPREAD_LARGE ((int64_t)(256 << 10) / (int64_t)sizeof(real))  /* the same where many rows read one */

typedef struct {
    int64_t readers[FC_DIMS], above; /* outputs that read an element, at most; rows of them */
    int64_t width, widths;           /* results of a line that a task computes */
    int64_t box[2], boxes[2];        /* its lines along D and H, and how many such there are */
    int64_t bunch, bunches;          /* planes of a task */
    int64_t cells, row, rows;        /* gradients under a line; elements of a row that is spread, and these rows */
    int64_t batch, pitch;            /* rows that are divided before they are spread, and elements of one */
    int64_t picks;                   /* gradients or sums that a table picks for a result */
} FN(mean_grad_state);

typedef struct {
    const fc_problem *p;
    const FN(mean_grad_state) *s;
    int64_t first[FC_DIMS], size[FC_DIMS]; /* the task's box of inputs */
    int64_t o[FC_DIMS], outs[FC_DIMS];     /* the outputs that read them; along W with those that do not exist */
    real *spread;                          /* rows of gradients, as results */
    real *grads, *sums[2];                 /* rows of gradients, divided; the long and short sums of one */
    real *sizes, *across;                  /* of windows: along W; rows of each row that is spread */
    int64_t lo, hi;                        /* the gradients of a row that exist */
    int64_t from[2], to[2];                /* with a stride of two: the gradients that even and odd results add up */
    int32_t *pick;
    ptrdiff_t *above;                      /* of each line the rows that are added up */
    int32_t *count;
} FN(mean_grad_task);

static size_t FN(mean_grad_layout)(const FN(mean_grad_state) *s, char *base, FN(mean_grad_task) *t)
{
    size_t at = FC_SCRATCH_HEAD;
    int64_t slack = 2 * VL, lines = s->box[0] * s->box[1];
    t->spread = FN(carve)(base, &at, s->rows * s->row + slack, sizeof(real));
    t->grads = FN(carve)(base, &at, (s->batch + 2) * s->pitch, sizeof(real));
    t->sizes = FN(carve)(base, &at, s->cells + slack, sizeof(real));
    t->across = FN(carve)(base, &at, s->rows, sizeof(real));
    t->pick = FN(carve)(base, &at, s->picks * s->width, sizeof(int32_t));
    t->above = FN(carve)(base, &at, lines * s->above, sizeof(ptrdiff_t));
    t->count = FN(carve)(base, &at, lines, sizeof(int32_t));
    return at;
}

/* The most outputs that read some of n neighbouring elements. */
static inline int64_t FN(readers_most)(const fc_axis *a, int flags, int64_t n)
{
    if (flags & FC_ADAPTIVE)
        return fc_min(a->out, n * (a->out / a->in + 1) + 2);
    return fc_min(a->out, (n - 1) / a->stride + fc_ceil_div(a->kernel, a->stride) + 1);
}

static const char *FN(mean_grad_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(mean_grad_state) *s = (void *)plan->state;
    int adaptive = p->flags & FC_ADAPTIVE;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        s->readers[d] = adaptive ? fc_min(a->out, a->out / a->in + 2) : fc_ceil_div(a->kernel, a->stride);
    }
    if ((double)s->readers[0] * (double)s->readers[1] > FC_POOL_ROWS || s->readers[2] > FC_POOL_REACH)
        return "elements read by at most 1024 rows and 8192 columns of outputs";
    if (adaptive && s->readers[2] > FC_POOL_PICKS)
        return "elements read by at most 32 columns of outputs";
    s->above = s->readers[0] * s->readers[1];
    s->picks = adaptive ? s->readers[2] : 1;
    int64_t most = fc_max(1, fc_min(FC_POOL_COLUMNS, FC_SPREAD_LARGE / s->above));
    s->widths = fc_ceil_div(p->axis[2].in, most);
    s->width = fc_ceil_div(p->axis[2].in, s->widths);
    s->widths = fc_ceil_div(p->axis[2].in, s->width);
    s->row = fc_round_up(s->width, 2 * VL);
    s->cells = adaptive ? FN(readers_most)(&p->axis[2], p->flags, s->width)
                        : (s->width - 1) / p->axis[2].stride + s->readers[2] + 1;
    s->pitch = s->cells + 2 * VL;
    s->batch = fc_max(1, fc_min(16, FC_POOL_BUFFER / s->pitch));
    int64_t budget = fc_max(FC_SPREAD_BUFFER, fc_min(FC_SPREAD_LARGE, 2 * s->above * s->row));
    int64_t box[2] = {1, 1};
    for (int d = 1; d >= 0; d--) { /* doubled while their rows fit: all of H first */
        while (box[d] < p->axis[d].in && FN(readers_most)(&p->axis[0], p->flags, d == 0 ? 2 * box[0] : 1) *
                   FN(readers_most)(&p->axis[1], p->flags, d == 1 ? 2 * box[1] : box[1]) * s->row <= budget &&
               2 * box[0] * box[1] * s->above <= FC_POOL_TABLE)
            box[d] *= 2;
        box[d] = fc_min(box[d], p->axis[d].in);
        if (box[1] < p->axis[1].in)
            break;
    }
    for (int d = 0; d < 2; d++) {
        s->boxes[d] = fc_ceil_div(p->axis[d].in, box[d]);
        s->box[d] = fc_ceil_div(p->axis[d].in, s->boxes[d]);
        s->boxes[d] = fc_ceil_div(p->axis[d].in, s->box[d]);
    }
    s->rows = FN(readers_most)(&p->axis[0], p->flags, s->box[0]) * FN(readers_most)(&p->axis[1], p->flags, s->box[1]);
    int64_t planes = p->batch * p->in_channels, boxes = s->boxes[0] * s->boxes[1] * s->widths;
    int64_t work = (s->rows * s->readers[2] + s->box[0] * s->box[1] * s->above) * s->width;
    s->bunch = fc_max(fc_ceil_div(FC_POOL_LEAST, work), planes * boxes / FC_TASKS_WANTED);
    s->bunch = fc_max(1, fc_min(fc_min(s->bunch, planes), FC_POOL_WORK / work));
    s->bunches = fc_ceil_div(planes, s->bunch);
    FN(mean_grad_task) none;
    plan->stages = 1;
    plan->scratch = (int64_t)FN(mean_grad_layout)(s, NULL, &none);
    return NULL;
}

static ptrdiff_t FN(mean_grad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(mean_grad_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->boxes[0] * s->boxes[1] * s->widths * s->bunches;
}

/* ---- a task ---- */

/* The rows of gradients under the box, and those that each of its lines adds up. */
static void FN(mean_grad_rows)(FN(mean_grad_task) *t)
{
    const fc_axis *a = t->p->axis;
    int flags = t->p->flags;
    for (int d = 0; d < 2; d++) {
        fc_window low = fc_readers_of(&a[d], flags, t->first[d]), high = fc_readers_of(&a[d], flags, t->first[d] + t->size[d] - 1);
        t->o[d] = low.first;
        t->outs[d] = fc_max(0, high.first + high.count - low.first);
    }
    for (int64_t i = 0; i < t->outs[0]; i++)
        for (int64_t j = 0; j < t->outs[1]; j++) {
            real size = (real)fc_window_size(&a[0], flags, t->o[0] + i) * (real)fc_window_size(&a[1], flags, t->o[1] + j);
            t->across[i * t->outs[1] + j] = t->p->divisor != 0 ? (real)t->p->divisor : size;
        }
    ptrdiff_t *above = t->above;
    int32_t *count = t->count;
    for (int64_t x = 0; x < t->size[0]; x++) {
        fc_window d = fc_readers_of(&a[0], flags, t->first[0] + x);
        for (int64_t y = 0; y < t->size[1]; y++, above += t->s->above) {
            fc_window h = fc_readers_of(&a[1], flags, t->first[1] + y);
            *count++ = (int32_t)(d.count * h.count);
            for (int64_t i = 0; i < d.count; i++)
                for (int64_t j = 0; j < h.count; j++)
                    above[i * h.count + j] = ((d.first - t->o[0] + i) * t->outs[1] + h.first - t->o[1] + j) * t->s->row;
        }
    }
}

/* The gradients along W under the box, and how they are spread. Those that do not exist are zero, and are never written. */
static void FN(mean_grad_columns)(FN(mean_grad_task) *t)
{
    const FN(mean_grad_state) *s = t->s;
    const fc_axis *a = &t->p->axis[2];
    int64_t q = s->readers[2], m = a->kernel - (q - 1) * a->stride;
    t->sums[0] = t->grads + s->batch * s->pitch;
    t->sums[1] = t->sums[0] + s->pitch;
    FN(fill_run)(t->grads, 0, (s->batch + 2) * s->pitch);
    if (t->p->flags & FC_ADAPTIVE) {
        t->o[2] = fc_readers_of(a, FC_ADAPTIVE, t->first[2]).first;
        fc_window last = fc_readers_of(a, FC_ADAPTIVE, t->first[2] + t->size[2] - 1);
        t->outs[2] = last.first + last.count - t->o[2];
        for (int64_t i = 0; i < t->size[2]; i++) {
            fc_window w = fc_readers_of(a, FC_ADAPTIVE, t->first[2] + i);
            for (int64_t k = 0; k < s->picks; k++)
                t->pick[k * s->width + i] = (int32_t)(k < w.count ? w.first - t->o[2] + k : s->cells); /* a zero */
        }
    } else {
        int64_t at = t->first[2] + a->pad, cell = at / a->stride;
        t->o[2] = cell - (q - 1);
        t->outs[2] = (at + t->size[2] - 1) / a->stride - t->o[2] + 1;
        for (int64_t i = 0; i < (a->stride == 2 ? 2 : t->size[2]); i++) {
            int64_t k = (at + i) % a->stride >= m, j = (at + i) / a->stride - cell;
            if (a->stride == 2) {
                t->from[i] = j + k;
                t->to[i] = j + q;
            } else {
                t->pick[i] = (int32_t)(k * s->pitch + j);
            }
        }
    }
    t->lo = fc_max(0, -t->o[2]);
    t->hi = fc_max(t->lo, fc_min(t->outs[2], a->out - t->o[2]));
    for (int64_t i = 0; i < s->pitch; i++) {
        int64_t o = t->o[2] + i;
        t->sizes[i] = t->p->divisor != 0 || o < 0 || o >= a->out ? 1 : (real)fc_window_size(a, t->p->flags, o);
    }
}

/* x[i + first] + ... + x[i + last - 1] */
FC_INLINE vec FN(sum_taps)(const real *x, int64_t first, int64_t last, int64_t i)
{
    vec sum = first < last ? FN(load)(x + i + first) : FN(zero)();
    for (int64_t k = first + 1; k < last; k++)
        sum += FN(load)(x + i + k);
    return sum;
}

/* A row of gradients is divided. */
static inline void FN(mean_grad_divide)(const FN(mean_grad_task) *t, const real *gy, ptrdiff_t step, real across, real *grads)
{
    gy += (t->o[2] + t->lo) * step;
    grads += t->lo;
    if (step != 1) {
        FN(copy_run)(grads, gy, step, t->hi - t->lo);
        gy = grads;
    }
    FN(put_means)(grads, gy, t->sizes + t->lo, across, t->hi - t->lo);
}

/* It becomes a row of results (which has room up to the next multiple of 2*VL). */
static inline void FN(mean_grad_spread)(const FN(mean_grad_task) *t, const real *grads, real *restrict y)
{
    const FN(mean_grad_state) *s = t->s;
    int64_t q = s->readers[2], n = t->size[2], stride = t->p->axis[2].stride;
    const int32_t *pick = t->pick;
    if (t->p->flags & FC_ADAPTIVE) {
        for (int64_t i = 0; i < n; i++) {
            real sum = grads[pick[i]];
            for (int64_t k = 1; k < s->picks; k++)
                sum += grads[pick[k * s->width + i]];
            y[i] = sum;
        }
    } else if (stride == 1) {
        for (int64_t i = 0; i < n; i += VL)
            FN(store)(y + i, FN(sum_taps)(grads, 0, q, i));
    } else if (stride == 2) {
        int64_t e0 = t->from[0], e1 = t->to[0], o0 = t->from[1], o1 = t->to[1];
        for (int64_t i = 0; i < n; i += 2 * VL) {
            vec even = FN(sum_taps)(grads, e0, e1, i / 2), odd = FN(sum_taps)(grads, o0, o1, i / 2);
            FN(store)(y + i, FN(zip_lo)(even, odd));
            FN(store)(y + i + VL, FN(zip_hi)(even, odd));
        }
    } else {
        for (int64_t i = 0; i < t->outs[2] - (q - 1); i += VL) {
            FN(store)(t->sums[0] + i, FN(sum_taps)(grads, 0, q, i));
            FN(store)(t->sums[1] + i, FN(sum_taps)(grads, 1, q, i));
        }
        for (int64_t i = 0; i < n; i++)
            y[i] = t->sums[0][pick[i]];
    }
}

/* All rows of a plane are divided and spread, some at a time: loads that straddle the stores before them would wait for these. */
FC_OUTLINE void FN(mean_grad_along)(const FN(mean_grad_task) *t, const fc_array *array, const real *gy)
{
    const FN(mean_grad_state) *s = t->s;
    int64_t rows = t->outs[0] * t->outs[1], d = t->o[0], h = t->o[1];
    for (int64_t r = 0; r < rows; r += s->batch) {
        int64_t some = fc_min(s->batch, rows - r);
        for (int64_t i = 0; i < some; i++) {
            FN(mean_grad_divide)(t, gy + d * array->stride[2] + h * array->stride[3], array->stride[4], t->across[r + i],
                                 t->grads + i * s->pitch);
            if (++h == t->o[1] + t->outs[1]) {
                h = t->o[1];
                d++;
            }
        }
        for (int64_t i = 0; i < some; i++)
            FN(mean_grad_spread)(t, t->grads + i * s->pitch, t->spread + (r + i) * s->row);
    }
}

static void FN(mean_grad_init)(const fc_plan *plan, ptrdiff_t task, char *scratch, FN(mean_grad_task) *t)
{
    const FN(mean_grad_state) *s = (const void *)plan->state;
    FN(mean_grad_layout)(s, scratch, t);
    t->p = &plan->problem;
    t->s = s;
    int64_t box[FC_DIMS] = {s->box[0], s->box[1], s->width};
    t->first[2] = task % s->widths * s->width;
    t->first[1] = task / s->widths % s->boxes[1] * s->box[1];
    t->first[0] = task / s->widths / s->boxes[1] % s->boxes[0] * s->box[0];
    for (int d = 0; d < FC_DIMS; d++)
        t->size[d] = fc_min(box[d], t->p->axis[d].in - t->first[d]);
    FN(mean_grad_rows)(t);
    FN(mean_grad_columns)(t);
}

/* The rows that read each line of the box are added up. */
FC_OUTLINE void FN(mean_grad_down)(const FN(mean_grad_task) *t, real *gx)
{
    const fc_axis *a = t->p->axis;
    ptrdiff_t *above = t->above;
    int32_t *count = t->count;
    for (int64_t d = 0; d < t->size[0]; d++)
        for (int64_t h = 0; h < t->size[1]; h++, above += t->s->above, count++) {
            real *to = gx + ((t->first[0] + d) * a[1].in + t->first[1] + h) * a[2].in;
            if (*count)
                FN(stack)(FC_SUM, 0, t->spread, 1, (FN(taps)){above, NULL, *count}, t->size[2], (FN(found)){to, NULL},
                          (FN(found)){NULL, NULL});
            else
                FN(fill_run)(to, 0, t->size[2]);
        }
}

static void FN(mean_grad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(mean_grad_state) *s = (const void *)plan->state;
    const fc_array *array = &call->array[0];
    const fc_axis *a = p->axis;
    FN(mean_grad_task) t;
    FN(mean_grad_init)(plan, task, scratch, &t);
    int64_t begin = task / s->widths / s->boxes[1] / s->boxes[0] * s->bunch, end = fc_min(begin + s->bunch, p->batch * p->in_channels);
    (void)stage;
    for (int64_t plane = begin; plane < end; plane++) {
        const real *gy = (const real *)array->data + plane / p->in_channels * array->stride[0] + plane % p->in_channels * array->stride[1];
        real *gx = (real *)call->array[3].data + plane * a[0].in * a[1].in * a[2].in + t.first[2]; /* the caller's new array */
        FN(mean_grad_along)(&t, array, gy);
        FN(mean_grad_down)(&t, gx);
    }
}

static const fc_algorithm FN(pool_mean_grad) = {"taps", FC_ISA_NAME, 1u << FC_AVG_POOL_GRAD, FN(mean_grad_prepare),
                                                FN(mean_grad_tasks), FN(mean_grad_run)};
