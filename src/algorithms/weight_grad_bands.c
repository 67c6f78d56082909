/* weight_grad_bands.c: the weight gradient of "depthwise" where conv_bands.c serves the forward pass: bands of rows of gy times rows
 * of x, read in place. A kernel's sums stay in vectors [s][r][lane] for a whole plane; lanes are added up at its end.
 *
 * A task is one channel and a part of its images' bands; the number of parts is fixed by the shape, and a last stage adds them
 * in order. */

#define FC_DOT_TERMS 256 /* of a lane before its sum is put aside */

typedef struct {
    int64_t bands;                /* of a plane: FC_BAND rows as long as they last, then single ones */
    int64_t parts, slices, taps;
    int64_t flush;                /* bands until lanes are added up */
    int64_t grain;
    int64_t masks, zeros, copied, acc; /* entries, elements */
} FN(dbands_state);

typedef struct {
    int64_t *noted;
    real *acc, *zero, *copied;
    FN(mask) *mask;
} FN(dbands_scratch);

static FN(dbands_scratch) FN(dbands_scratch_of)(const FN(dbands_state) *s, char *scratch)
{
    FN(dbands_scratch) t;
    t.noted = (int64_t *)scratch;
    t.mask = (FN(mask) *)(scratch + FC_SCRATCH_HEAD);
    t.acc = (real *)(void *)((char *)t.mask + fc_round_up(s->masks * (int64_t)sizeof *t.mask, FC_ALIGN));
    t.zero = t.acc + s->acc;
    t.copied = t.zero + s->zeros;
    return t;
}

static inline int FN(dbands_step)(const fc_problem *p) { return p->axis[2].stride == 2 ? 2 : 1; }

static const char *FN(dbands_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(dbands_state) *s = (void *)plan->state;
    int64_t high = p->axis[1].out, wide = p->axis[2].out, channels = p->groups * p->out_channels;
    s->taps = p->axis[1].kernel * p->axis[2].kernel;
    s->bands = high / FC_BAND + high % FC_BAND;
    s->flush = fc_max(1, FC_DOT_TERMS / FC_BAND / fc_ceil_div(wide, VL));
    double plane = (double)(high * wide) * (double)s->taps, band = (double)(fc_min(FC_BAND, high) * wide * s->taps);
    int64_t units = p->batch * s->bands, worth = (int64_t)(plane * (double)p->batch / (1 << 20)) + 1;
    s->parts = fc_min(fc_min(units, worth), fc_ceil_div(FC_TASKS_WANTED, channels));
    s->slices = fc_ceil_div(fc_ceil_div(units, s->parts), fc_max(1, (int64_t)(FC_TASK_WORK / 2 / band)));
    s->grain = fc_max(1, fc_min((int64_t)((1 << 18) / plane / (double)p->batch), channels / FC_TASKS_WANTED));
    s->masks = fc_ceil_div(wide, VL) * (p->axis[2].kernel + 1);
    s->acc = s->taps * VL;
    s->zeros = FN(aligned)(fc_max(p->axis[2].in, wide));
    s->copied = (3 * FC_BAND - 2 + FC_BAND_TAPS) * s->zeros;
    plan->stages = s->slices + 1;
    plan->workspace = channels * s->parts * s->taps * (int64_t)sizeof(real);
    FN(dbands_scratch) end = FN(dbands_scratch_of)(s, NULL);
    plan->scratch = (int64_t)(intptr_t)(end.copied + s->copied);
    return NULL;
}

static ptrdiff_t FN(dbands_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(dbands_state) *s = (const void *)plan->state;
    int64_t channels = plan->problem.groups * plan->problem.out_channels;
    *grain = stage < s->slices ? s->grain : 64;
    return mode == FC_PACK ? 0 : stage < s->slices ? channels * s->parts : channels;
}

/* Adds up the lanes of every tap, [s][r][lane], into sums [r][s], and begins anew. */
static void FN(dbands_flush)(const fc_problem *p, real *acc, real *sums)
{
    int64_t rows = p->axis[1].kernel, cols = p->axis[2].kernel;
    for (int64_t s = 0; s < cols; s++)
        for (int64_t r = 0; r < rows; r++)
            sums[r * cols + s] += FN(sum)(FN(load)(acc + (s * rows + r) * VL));
    FN(fill_run)(acc, 0, rows * cols * VL);
}

/* The rows from .. to of a plane, copied one after the other; returns where row 0 would be. */
static const real *FN(dbands_copy)(const real *src, ptrdiff_t ld, ptrdiff_t stride, int64_t from, int64_t to, int64_t wide,
                                   real *dst, ptrdiff_t pitch)
{
    for (int64_t i = from; i < to; i++)
        FN(copy_run)(dst + (i - from) * pitch, src + i * ld, stride, wide);
    return dst - from * pitch;
}

static void FN(dbands_compute)(const fc_plan *plan, fc_call *call, int64_t slice, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(dbands_state) *s = (const void *)plan->state;
    const fc_array *x = &call->array[0], *gy = &call->array[1];
    const fc_axis *high = &p->axis[1], *wide = &p->axis[2];
    FN(dbands_scratch) t = FN(dbands_scratch_of)(s, scratch);
    FN(dot) b = {.zero = t.zero, .high = high->in, .n = wide->out, .acc = t.acc};
    b.side = (FN(band_side)){NULL, wide->kernel, -wide->pad, wide->dilation, t.mask};
    int step = FN(dbands_step)(p);
    if (!*t.noted) {
        *t.noted = 1;
        FN(band_masks)(&b.side, step, b.n, wide->in, t.mask);
        FN(fill_run)(t.zero, 0, s->zeros);
    }
    int64_t part = task % s->parts, k = task / s->parts, units = p->batch * s->bands;
    int64_t u0 = FN(even_start)(units, s->parts, part), u1 = FN(even_start)(units, s->parts, part + 1);
    int64_t from = u0 + FN(even_start)(u1 - u0, s->slices, slice), to = u0 + FN(even_start)(u1 - u0, s->slices, slice + 1);
    real *sums = (real *)call->workspace + task * s->taps;
    if (slice == 0)
        FN(fill_run)(sums, 0, s->taps);
    FN(fill_run)(t.acc, 0, s->acc);
    int64_t held = 0;
    for (int64_t u = from; u < to; u++) {
        int64_t n = u / s->bands, i = u % s->bands, whole = high->out / FC_BAND;
        int64_t h0 = i < whole ? i * FC_BAND : whole * FC_BAND + (i - whole), hb = i < whole ? FC_BAND : 1;
        b.row = h0 * high->stride - high->pad;
        b.x = (const real *)x->data + n * x->stride[0] + k / p->out_channels * x->stride[1];
        b.ldx = x->stride[3];
        if (x->stride[4] != 1) {
            b.x = FN(dbands_copy)(b.x, b.ldx, x->stride[4], fc_max(0, b.row),
                                  fc_min(b.high, b.row + (hb - 1) * step + high->kernel), wide->in, t.copied, s->zeros);
            b.ldx = s->zeros;
        }
        b.gy = (const real *)gy->data + n * gy->stride[0] + k * gy->stride[1] + h0 * gy->stride[3];
        b.ldgy = gy->stride[3];
        if (gy->stride[4] != 1) {
            b.gy = FN(dbands_copy)(b.gy, b.ldgy, gy->stride[4], 0, hb, wide->out,
                                   t.copied + (2 * FC_BAND - 2 + FC_BAND_TAPS) * s->zeros, s->zeros);
            b.ldgy = s->zeros;
        }
        FN(dot_band)(hb, high->kernel, step, &b);
        if (++held == s->flush || u + 1 == to) {
            FN(dbands_flush)(p, t.acc, sums);
            held = 0;
        }
    }
}

static void FN(dbands_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(dbands_state) *s = (const void *)plan->state;
    if (stage < s->slices) {
        FN(dbands_compute)(plan, call, stage, task, scratch);
        return;
    }
    const real *sums = (const real *)call->workspace + task * s->parts * s->taps;
    real *to = (real *)call->array[3].data + task * call->array[3].stride[0];
    for (int64_t t = 0; t < s->taps; t++) {
        to[t] = sums[t];
        for (int64_t part = 1; part < s->parts; part++)
            to[t] += sums[part * s->taps + t];
    }
}

static const fc_algorithm FN(wgrad_bands) = {"depthwise", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(dbands_prepare),
                                             FN(dbands_tasks), FN(dbands_run)};
