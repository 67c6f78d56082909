/* local_images.c: local connection of several images, forward and input gradient, images in the lanes (kernels/octets.h).
 *
 * Input and result lie in the workspace as octets, [octet][channel][place][image]: a window's elements are read (added to) where they
 * lie, through a table of their places that all windows inside the input share; nothing is gathered. A weight is met once for
 * eight images, as a scalar.
 *
 * Stages, forward: the input to octets; the outputs, a strip of a line at a time, whose results are turned back at its end. Input
 * gradient: the result's gradient to octets and zeros for the input's; even bands of outputs, odd bands (local.c tells why);
 * the input's gradient back. */

#define FC_IMAGES_STRIP 16  /* outputs of a line turned back together */
#define FC_IMAGES_ROWS 64   /* results of a strip held at a time */
#define FC_IMAGES_OCTETS 4  /* that meet weights while they are in the caches */
#define FC_IMAGES_RUN 512   /* terms of a partial sum */
#define FC_IMAGES_AHEAD 2   /* tiles: how far ahead of those in use weights are asked for */
#define FC_IMAGES_LEAST 8   /* outputs whose weights are taken column by column */
#define FC_IMAGES_BLOCK ((int64_t)(128 << 10) / (int64_t)sizeof(real)) /* weights of some outputs, of which columns are used */

typedef struct {
    FN(local_state) cut;
    int64_t octets;                 /* of images */
    int64_t in_plane, out_plane;    /* octets from a channel to the next */
    int64_t channels, table;        /* of the input, all groups; entries of a table of places */
    ptrdiff_t x, y;                 /* where the octets of input and result start in the workspace; an octet of zeros is before them */
} FN(images_state);

/* Octets from plane to plane: an odd number of lines, so that channels do not evict each other. */
static int64_t FN(images_pitch)(int64_t places)
{
    const int64_t line = FC_ALIGN / (int64_t)sizeof(octet) > 0 ? FC_ALIGN / (int64_t)sizeof(octet) : 1;
    return (fc_ceil_div(places, line) | 1) * line;
}

static const char *FN(images_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(images_state) *s = (void *)plan->state;
    FN(local_state) *c = &s->cut;
    for (int d = 0; d < FC_DIMS; d++)
        if (p->tile[d] != p->axis[d].out)
            return "local connection: a kernel for each output";
    FN(local_sizes)(p, c);
    s->octets = fc_ceil_div(p->batch, FC_OCTET);
    s->channels = p->groups * p->in_channels;
    s->in_plane = FN(images_pitch)(p->axis[0].in * p->axis[1].in * p->axis[2].in);
    s->out_plane = FN(images_pitch)(c->kernels);
    int forward = p->op == FC_LOCAL;
    int64_t inputs = s->octets * s->channels * s->in_plane, outputs = s->octets * c->outputs * s->out_plane;
    if (forward)
        FN(local_cut_kernels)(p, c);
    else
        FN(local_cut_bands)(p, c);
    s->x = FC_OCTET;
    s->y = s->x + FC_OCTET * inputs;
    plan->stages = forward ? 2 : 4;
    plan->workspace = plan->workspace_packed = (FC_OCTET + FC_OCTET * inputs + (forward ? 0 : FC_OCTET * outputs)) * (int64_t)sizeof(real);
    s->table = fc_round_up(fc_max(c->terms, fc_max(FC_IMAGES_LEAST, FC_IMAGES_BLOCK / c->terms)), 8);
    int64_t values = forward ? FC_IMAGES_STRIP * FC_IMAGES_ROWS * fc_min(s->octets, FC_IMAGES_OCTETS) : c->terms;
    plan->scratch = FC_SCRATCH_HEAD + 3 * s->table * (int64_t)sizeof(ptrdiff_t) + FC_OCTET * values * (int64_t)sizeof(real);
    return NULL;
}

static ptrdiff_t FN(images_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(images_state) *s = (const void *)plan->state;
    const FN(local_state) *c = &s->cut;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    if (plan->problem.op == FC_LOCAL)
        return stage == 0 ? s->octets * s->channels : c->ranges * c->row_blocks;
    if (stage == 0)
        return s->octets * (s->channels + c->outputs);
    if (stage == 3)
        return s->octets * s->channels;
    return (stage == 1 ? fc_ceil_div(c->bands, 2) : c->bands / 2) * c->channel_blocks;
}

/* ---------------------------------------------------------------------------------------------------- to octets and back */

/* A channel of eight images, or as many as there are. */
typedef struct {
    real *data;
    const ptrdiff_t *stride;
    int64_t images, size[FC_DIMS];
} FN(images_plane);

static FN(images_plane) FN(images_plane_of)(const fc_problem *p, const fc_array *a, int input, int64_t octet, int64_t channel)
{
    FN(images_plane) f = {.stride = a->stride, .images = fc_min(FC_OCTET, p->batch - FC_OCTET * octet)};
    f.data = (real *)a->data + FC_OCTET * octet * a->stride[0] + channel * a->stride[1];
    for (int d = 0; d < FC_DIMS; d++)
        f.size[d] = input ? p->axis[d].in : p->axis[d].out;
    return f;
}

static void FN(images_in)(const FN(images_plane) *f, real *dst)
{
    const ptrdiff_t *stride = f->stride;
    for (int64_t d = 0; d < f->size[0]; d++)
        for (int64_t h = 0; h < f->size[1]; h++) {
            const real *row = f->data + d * stride[2] + h * stride[3];
            if (stride[4] == 1)
                FN(transpose)(row, stride[0], f->images, f->size[2], dst, FC_OCTET, FC_OCTET);
            for (int64_t w = 0; stride[4] != 1 && w < f->size[2]; w++)
                for (int64_t i = 0; i < FC_OCTET; i++)
                    dst[FC_OCTET * w + i] = i < f->images ? row[w * stride[4] + i * stride[0]] : 0;
            dst += FC_OCTET * f->size[2];
        }
}

/* `n` places of a line from octets; the results of a call lie without gaps along a line. */
static void FN(images_out)(const FN(images_plane) *f, int64_t d, int64_t h, int64_t w, int64_t n, const real *src)
{
    FN(transpose)(src, FC_OCTET, n, f->images, f->data + d * f->stride[2] + h * f->stride[3] + w, f->stride[0], n);
}

/* ---------------------------------------------------------------------------------------------------- windows */

/* A window: its first tap's place in a plane of the input (outside it perhaps), and whether all taps are inside. */
typedef struct {
    int64_t start[FC_DIMS];
    ptrdiff_t place;
    int inside;
} FN(images_window);

static FN(images_window) FN(images_window_of)(const fc_problem *p, const int64_t *out)
{
    FN(images_window) v = {.inside = 1};
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        v.start[d] = out[d] * a->stride - a->pad;
        v.inside = v.inside && v.start[d] >= 0 && v.start[d] + (a->kernel - 1) * a->dilation < a->in;
        v.place = v.place * a->in + v.start[d];
    }
    return v;
}

/* Where the terms of a window lie, from its first tap; `outside` for those that lie outside the input, if there is a window at all. */
static void FN(images_table)(const fc_problem *p, const FN(images_state) *s, const FN(images_window) *v, ptrdiff_t outside,
                             ptrdiff_t *table)
{
    const fc_axis *a = p->axis;
    int64_t taps = s->cut.taps, t = 0;
    for (int64_t d = 0; d < a[0].kernel; d++)
        for (int64_t h = 0; h < a[1].kernel; h++)
            for (int64_t w = 0; w < a[2].kernel; w++, t++) {
                int64_t at[FC_DIMS] = {d * a[0].dilation, h * a[1].dilation, w * a[2].dilation}, inside = 1;
                for (int i = 0; v && i < FC_DIMS; i++)
                    inside = inside && v->start[i] + at[i] >= 0 && v->start[i] + at[i] < a[i].in;
                int64_t place = FC_OCTET * ((at[0] * a[1].in + at[1]) * a[2].in + at[2]);
                for (int64_t c = 0; c < p->in_channels; c++, place += FC_OCTET * s->in_plane)
                    table[c * taps + t] = inside ? place : outside;
            }
}

/* ---------------------------------------------------------------------------------------------------- forward */

/* A thread's memory: tables of places for windows inside, for one at the border, for outputs; octets of results, or of a window's
 * gradient. */
typedef struct {
    ptrdiff_t *inside, *border, *outputs;
    real *values;
} FN(images_scratch);

static FN(images_scratch) FN(images_scratch_of)(const FN(images_state) *s, char *scratch)
{
    FN(images_scratch) t = {.inside = (ptrdiff_t *)(void *)(scratch + FC_SCRATCH_HEAD)};
    t.border = t.inside + s->table;
    t.outputs = t.border + s->table;
    t.values = (real *)(void *)(t.outputs + s->table);
    return t;
}

static int64_t FN(images_octets)(const FN(images_state) *s, int64_t octet) { return fc_min(FC_IMAGES_OCTETS, s->octets - octet); }

/* values[octet][output][strip][image] += the outputs o0 .. o1 of a group in one window; `w` is row o0 of its matrix. */
static void FN(images_multiply)(const fc_problem *p, const FN(images_state) *s, const FN(images_window) *v, real *octets,
                                int64_t octet, const real *w, int64_t o0, int64_t o1, const FN(images_scratch) *t, real *values)
{
    const int64_t terms = s->cut.terms, runs = fc_ceil_div(terms, FC_IMAGES_RUN);
    const int64_t first = o0 / p->out_channels * p->in_channels;
    for (int64_t o = o0; o < o1; o += FC_OCTET_ROWS, w += FC_OCTET_ROWS * terms)
        for (int64_t b = 0; b < FN(images_octets)(s, octet); b++) {
            const real *x = octets + s->x + FC_OCTET * (((octet + b) * s->channels + first) * s->in_plane + v->place);
            if (!v->inside)
                FN(images_table)(p, s, v, octets - x, t->border);
            for (int64_t r = 0; r < runs; r++) {
                int64_t q = FN(even_start)(terms, runs, r);
                FN(octet_rows)(fc_min(FC_OCTET_ROWS, o1 - o), &(FN(octet_job)){
                    .w = w + q, .row = terms, .term = 1, .x = x, .at = (v->inside ? t->inside : t->border) + q,
                    .depth = FN(even_start)(terms, runs, r + 1) - q,
                    .y = values + FC_OCTET * FC_IMAGES_STRIP * (b * FC_IMAGES_ROWS + o - o0), .ldy = FC_OCTET * FC_IMAGES_STRIP,
                    .ahead = b ? w + q : w + q + FC_IMAGES_AHEAD * FC_OCTET_ROWS * terms});
            }
        }
}

/* The outputs o0 .. o1 of `n` neighbouring windows. */
static void FN(images_strip)(const fc_plan *plan, fc_call *call, const int64_t *out, int64_t n, int64_t o0, int64_t o1,
                             const FN(images_scratch) *t)
{
    const fc_problem *p = &plan->problem;
    const FN(images_state) *s = (const void *)plan->state;
    const fc_array *bias = &call->array[2];
    const int64_t kernel = (out[0] * p->axis[1].out + out[1]) * p->axis[2].out + out[2], terms = s->cut.terms;
    for (int64_t octet = 0; octet < s->octets; octet += FC_IMAGES_OCTETS)
        for (int64_t o = o0, end; o < o1; o = end) { /* group by group */
            end = fc_min(o1, fc_min(o + FC_IMAGES_ROWS, (o / p->out_channels + 1) * p->out_channels));
            for (int64_t b = 0; b < FN(images_octets)(s, octet); b++)
                for (int64_t i = o; i < end; i++)
                    for (int64_t k = 0; k < n; k++) {
                        real start = 0;
                        if (bias->data)
                            start = ((const real *)bias->data)[i * bias->stride[1] + out[0] * bias->stride[2] + out[1] * bias->stride[3] +
                                                               (out[2] + k) * bias->stride[4]];
                        FN(fill_run)(t->values + FC_OCTET * (FC_IMAGES_STRIP * (b * FC_IMAGES_ROWS + i - o) + k), start, FC_OCTET);
                    }
            for (int64_t k = 0; k < n; k++) {
                FN(images_window) v = FN(images_window_of)(p, (int64_t[]){out[0], out[1], out[2] + k});
                const real *w = (const real *)call->array[1].data + ((kernel + k) * s->cut.outputs + o) * terms;
                FN(images_multiply)(p, s, &v, (real *)(void *)call->workspace, octet, w, o, end, t, t->values + FC_OCTET * k);
            }
            for (int64_t b = 0; b < FN(images_octets)(s, octet); b++)
                for (int64_t i = o; i < end; i++) {
                    FN(images_plane) f = FN(images_plane_of)(p, &call->array[3], 0, octet + b, i);
                    FN(images_out)(&f, out[0], out[1], out[2], n, t->values + FC_OCTET * FC_IMAGES_STRIP * (b * FC_IMAGES_ROWS + i - o));
                }
        }
}

/* A range of windows. */
static void FN(images_forward)(const fc_plan *plan, fc_call *call, ptrdiff_t task, const FN(images_scratch) *t)
{
    const fc_problem *p = &plan->problem;
    const FN(images_state) *s = (const void *)plan->state;
    const FN(local_state) *c = &s->cut;
    int64_t range = task / c->row_blocks, o0 = task % c->row_blocks * c->rows, o1 = fc_min(c->outputs, o0 + c->rows);
    int64_t end = FN(even_start)(c->kernels, c->ranges, range + 1), n;
    for (int64_t k = FN(even_start)(c->kernels, c->ranges, range); k < end; k += n) {
        int64_t wide = p->axis[2].out, line = k / wide, out[FC_DIMS] = {line / p->axis[1].out, line % p->axis[1].out, k % wide};
        n = fc_min(FC_IMAGES_STRIP, fc_min(end - k, wide - out[2]));
        FN(images_strip)(plan, call, out, n, o0, o1, t);
    }
}

/* ---------------------------------------------------------------------------------------------------- input gradient */

/* Adds what a window's gradient gives to the octets of input channels c0 .. c1. */
static void FN(images_back)(const fc_plan *plan, const fc_call *call, const int64_t *out, int64_t c0, int64_t c1,
                            const FN(images_scratch) *t)
{
    const fc_problem *p = &plan->problem;
    const FN(images_state) *s = (const void *)plan->state;
    const FN(images_window) v = FN(images_window_of)(p, out);
    const int64_t terms = s->cut.terms, kernel = (out[0] * p->axis[1].out + out[1]) * p->axis[2].out + out[2];
    real *octets = (real *)(void *)call->workspace;
    const int64_t parts = fc_ceil_div(p->out_channels, fc_max(FC_IMAGES_LEAST, FC_IMAGES_BLOCK / terms));
    const int64_t most = fc_ceil_div(p->out_channels, parts);
    const ptrdiff_t *at = v.inside ? t->inside : t->border;
    if (!v.inside)
        FN(images_table)(p, s, &v, -1, t->border);
    for (int64_t o = 0, depth; o < s->cut.outputs; o += depth) {
        int64_t group = o / p->out_channels, lo = fc_max(c0, group * p->in_channels), hi = fc_min(c1, (group + 1) * p->in_channels);
        depth = fc_min(most, (group + 1) * p->out_channels - o);
        const real *w = (const real *)call->array[1].data + (kernel * s->cut.outputs + o) * terms;
        w += (lo - group * p->in_channels) * s->cut.taps;
        int64_t n = (hi - lo) * s->cut.taps;
        for (int64_t b = 0; lo < hi && b < s->octets; b++) {
            real *gx = octets + s->x + FC_OCTET * ((b * s->channels + lo) * s->in_plane + v.place);
            FN(fill_run)(t->values, 0, FC_OCTET * n);
            FN(octet_rows)(n, &(FN(octet_job)){.w = w, .row = 1, .term = terms,
                                               .x = octets + s->y + FC_OCTET * ((b * s->cut.outputs + o) * s->out_plane + kernel),
                                               .at = t->outputs, .depth = depth, .y = t->values, .ldy = FC_OCTET,
                                               .ahead = b ? w : w + depth * terms});
            for (int64_t i = 0; i < n; i++)
                if (at[i] >= 0)
                    *(octet *)(gx + at[i]) += *(const octet *)(t->values + FC_OCTET * i);
        }
    }
}

static void FN(images_band)(const fc_plan *plan, const fc_call *call, int64_t band, int64_t c0, int64_t c1,
                            const FN(images_scratch) *t)
{
    const FN(local_state) *c = &((const FN(images_state) *)(const void *)plan->state)->cut;
    int64_t lo[FC_DIMS] = {0}, hi[FC_DIMS], out[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++)
        hi[d] = plan->problem.axis[d].out;
    lo[c->axis] = band * c->band;
    hi[c->axis] = fc_min(hi[c->axis], lo[c->axis] + c->band);
    for (out[0] = lo[0]; out[0] < hi[0]; out[0]++)
        for (out[1] = lo[1]; out[1] < hi[1]; out[1]++)
            for (out[2] = lo[2]; out[2] < hi[2]; out[2]++)
                FN(images_back)(plan, call, out, c0, c1, t);
}

static void FN(images_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(images_state) *s = (const void *)plan->state;
    const int forward = p->op == FC_LOCAL;
    real *octets = (real *)(void *)call->workspace;
    FN(images_scratch) t = FN(images_scratch_of)(s, scratch);
    if (stage == 0) {
        int64_t inputs = s->octets * s->channels, channels = forward || task < inputs ? s->channels : s->cut.outputs;
        ptrdiff_t of = forward || task < inputs ? task : task - inputs;
        FN(fill_run)(octets, 0, task == 0 ? FC_OCTET : 0);
        if (!forward && task < inputs) {
            FN(fill_run)(octets + s->x + FC_OCTET * of * s->in_plane, 0, FC_OCTET * s->in_plane);
            return;
        }
        FN(images_plane) f = FN(images_plane_of)(p, &call->array[0], forward, of / channels, of % channels);
        FN(images_in)(&f, octets + (forward ? s->x + FC_OCTET * of * s->in_plane : s->y + FC_OCTET * of * s->out_plane));
        return;
    }
    if (stage == 3) {
        FN(images_plane) f = FN(images_plane_of)(p, &call->array[3], 1, task / s->channels, task % s->channels);
        const real *src = octets + s->x + FC_OCTET * task * s->in_plane;
        for (int64_t d = 0; d < f.size[0]; d++)
            for (int64_t h = 0; h < f.size[1]; h++, src += FC_OCTET * f.size[2])
                FN(images_out)(&f, d, h, 0, f.size[2], src);
        return;
    }
    int64_t *noted = (int64_t *)(void *)scratch;
    if (!*noted) {
        *noted = 1;
        FN(images_table)(p, s, NULL, 0, t.inside);
        for (int64_t o = 0; !forward && o < s->table; o++)
            t.outputs[o] = FC_OCTET * o * s->out_plane;
    }
    if (forward) {
        FN(images_forward)(plan, call, task, &t);
        return;
    }
    int64_t c0 = task % s->cut.channel_blocks * s->cut.channels, c1 = fc_min(s->channels, c0 + s->cut.channels);
    FN(images_band)(plan, call, task / s->cut.channel_blocks * 2 + (stage == 2), c0, c1, &t);
}

static const fc_algorithm FN(local_images) = {"images", FC_ISA_NAME, 1u << FC_LOCAL | 1u << FC_LOCAL_INPUT_GRAD,
                                              FN(images_prepare), FN(images_tasks), FN(images_run)};
