/* weight_grad_dots.c: the weight gradient of 1x1 kernels that have few channels on one side, a head's one output or a gray input:
 *
 *   gw[k][c] = sum over images and pixels j of gy[k][j] * x[c][j]
 *
 * Planes of the many channels meet those of the few as rows meet rows in kernels/dots.h: both are read where they lie, and the many
 * once, at the speed of memory. Channels in the lanes would leave nearly all of them empty. "direct" hands over what fits here.
 *
 * A task is some of the many channels; slices of the pixels are stages, each adding to gw. */

#define FC_WDOTS_FEW 4   /* channels of the smaller side, at most: columns of a tile */
#define FC_WDOTS_MANY 8  /* of the larger side, at least */
#define FC_WDOTS_RUN 1024 /* pixels that are copied at a time, where pixels of a row lie apart */

typedef struct {
    int64_t few, many, rows; /* channels; of the many those of a task */
    int64_t image, slices;   /* pixels; stages */
    int few_x;               /* x has the few */
} FN(wdots_state);

/* Channels of one operand as rows, whose pixels are numbered through the axes. */
typedef struct {
    const real *at;
    ptrdiff_t image, channel, slice, line, step; /* from one to the next */
    int64_t high, wide;                          /* lines of a slice, pixels of a line */
    int64_t run;                                 /* pixels that are `step` apart */
} FN(wdots_side);

static int FN(wdots_fit)(const fc_problem *p)
{
    int64_t image = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        if (a->kernel != 1 || a->stride != 1 || a->in != a->out)
            return 0;
        image *= a->out;
    }
    return p->groups == 1 && image >= 4 * VL && fc_min(p->in_channels, p->out_channels) <= FC_WDOTS_FEW &&
           fc_max(p->in_channels, p->out_channels) >= FC_WDOTS_MANY;
}

static const char *FN(wdots_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(wdots_state) *s = (void *)plan->state;
    s->few_x = p->in_channels < p->out_channels;
    s->few = fc_min(p->in_channels, p->out_channels);
    s->many = fc_max(p->in_channels, p->out_channels);
    s->image = p->axis[0].out * p->axis[1].out * p->axis[2].out;
    s->rows = fc_max(4, fc_min(FC_DOTS, s->many / FC_TASKS_WANTED));
    double work = (double)s->image * (double)p->batch * (double)(s->rows * s->few);
    s->slices = (int64_t)(work / (FC_TASK_WORK / 4)) + 1; /* memory bounds it */
    plan->stages = s->slices;
    plan->workspace = plan->packed = 0;
    plan->scratch = FC_SCRATCH_HEAD + (FC_DOTS + FC_WDOTS_FEW) * FC_WDOTS_RUN * (int64_t)sizeof(real);
    return NULL;
}

static ptrdiff_t FN(wdots_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(wdots_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : fc_ceil_div(s->many, s->rows);
}

static FN(wdots_side) FN(wdots_side_of)(const fc_problem *p, const fc_array *a)
{
    int64_t deep = p->axis[0].out, high = p->axis[1].out, wide = p->axis[2].out;
    FN(wdots_side) s = {(const real *)a->data, a->stride[0], a->stride[1], a->stride[2], a->stride[3], a->stride[4], high, wide, wide};
    if (high == 1 || s.line == wide * s.step)
        s.run = deep == 1 || s.slice == high * wide * s.step ? deep * high * wide : high * wide;
    return s;
}

static const real *FN(wdots_pixel)(const FN(wdots_side) *s, int64_t n, int64_t channel, int64_t o)
{
    int64_t w = o % s->wide, h = o / s->wide % s->high, d = o / s->wide / s->high;
    return s->at + n * s->image + channel * s->channel + d * s->slice + h * s->line + w * s->step;
}

/* n pixels of some channels as rows without gaps, copied if they are not: the first, and from one to the next in *ld. */
static const real *FN(wdots_rows)(const FN(wdots_side) *s, int64_t image, int64_t channel, int64_t channels, int64_t o, int64_t n,
                                  real *copied, ptrdiff_t *ld)
{
    const real *from = FN(wdots_pixel)(s, image, channel, o);
    *ld = s->channel;
    if (s->step == 1)
        return from;
    for (int64_t i = 0; i < channels; i++)
        FN(copy_run)(copied + i * FC_WDOTS_RUN, from + i * s->channel, s->step, n);
    *ld = FC_WDOTS_RUN;
    return copied;
}

static void FN(wdots_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(wdots_state) *s = (const void *)plan->state;
    const fc_array *gw = &call->array[3];
    FN(wdots_side) x = FN(wdots_side_of)(p, &call->array[0]), gy = FN(wdots_side_of)(p, &call->array[1]);
    const FN(wdots_side) *few = s->few_x ? &x : &gy, *many = s->few_x ? &gy : &x;
    real *copied = (real *)(scratch + FC_SCRATCH_HEAD), sums[FC_DOTS];
    int64_t c0 = task * s->rows, channels = fc_min(s->rows, s->many - c0), all = p->batch * s->image;
    int64_t from = FN(even_start)(all, s->slices, stage), to = FN(even_start)(all, s->slices, stage + 1), n;
    double total[FC_DOTS][FC_WDOTS_FEW] = {{0}}; /* of as many parts as there are images, or rows */
    for (int64_t q = from; q < to; q += n) {
        int64_t image = q / s->image, o = q % s->image;
        n = fc_min(fc_min(to - q, s->image - o), fc_min(x.run - o % x.run, gy.run - o % gy.run));
        n = x.step == 1 && gy.step == 1 ? n : fc_min(n, FC_WDOTS_RUN);
        ptrdiff_t lda, ldb;
        const real *a = FN(wdots_rows)(many, image, c0, channels, o, n, copied, &lda);
        const real *b = FN(wdots_rows)(few, image, 0, s->few, o, n, copied + FC_DOTS * FC_WDOTS_RUN, &ldb);
        for (int64_t j = 0, m; j < s->few; j += m) {
            m = s->few - j == 3 ? 2 : s->few - j;
            for (int64_t i = 0, r = FC_DOTS / m; i < channels; i += r) {
                FN(dots)(m, fc_min(r, channels - i), a + i * lda, lda, b + j * ldb, ldb, n, 0, sums);
                for (int64_t e = 0; e < fc_min(r, channels - i) * m; e++)
                    total[i + e / m][j + e % m] += (double)sums[e];
            }
        }
    }
    for (int64_t i = 0; i < channels; i++)
        for (int64_t j = 0; j < s->few; j++) {
            int64_t k = s->few_x ? c0 + i : j, c = s->few_x ? j : c0 + i;
            real *to_gw = (real *)gw->data + k * gw->stride[0] + c * gw->stride[1];
            *to_gw = (real)(stage ? (double)*to_gw + total[i][j] : total[i][j]);
        }
}

static const fc_algorithm FN(wgrad_dots) = {"direct", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(wdots_prepare), FN(wdots_tasks),
                                            FN(wdots_run)};
