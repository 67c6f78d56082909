/* local_tiles.c: tiled connection, forward and input gradient, all kernels at once.
 *
 * On each axis results fall into classes, by their index modulo a period: the outputs of a tile have each a kernel of their own
 * (period: the tile), and so have the inputs of stride * tile in the input gradient, where a tap comes from the kernel of the output
 * that it leads to. Within a class all results read the same places, beside one another a fixed step apart: a class is a
 * correlation. As conv_phases.c does with the phases of a stride, a task copies what a box of results reads into one panel that
 * serves all classes, and sums them so that they alternate as they do in a row of results, which is then written whole.
 *
 * Result channels are in the lanes, products those of conv_direct.c; where too few would leave lanes empty, pixels are, products
 * those of phases_flat.h: the panel is split then, so that a row of a class reads neighbours.
 *
 * Weights are packed [group][row block][chunk][class][summed channel][tap][row]: beforehand, or, where only a box or two use them,
 * chunk by chunk just before their use, so that they are read once. Each is used by one class. */

#define FC_TILES_MOST 256   /* classes */
#define FC_TILES_TAPS 1024  /* of a kernel */
#define FC_TILES_STRIDE (1 << 20)
#define FC_TILES_BOX 512    /* results of a channel in a box, but of a class at least: */
#define FC_TILES_LEAST fc_min(64, 4096 / s->classes)
#define FC_TILES_FLAT 4096  /* and with pixels in the lanes */

typedef struct {
    int64_t period[FC_DIMS], classes;
    fc_corr all;                 /* a correlation over all that any class reads, of results a period apart */
    fc_blocks blocks;
    int64_t boxes, splits;
    int64_t flat, rows, row_blocks; /* pixels in the lanes; result channels of a block */
    int64_t chunk;               /* summed channels of a chunk */
    int64_t taps;                /* of all classes */
    int64_t block_weights, packed; /* elements of packed weights: of a row block, of all */
    int64_t fused;               /* each task packs the weights of a chunk for itself */
    int64_t panel, sums, turned, weights, table; /* elements of scratch */
} FN(tiles_state);

/* The taps of the classes: along each axis, and how many those before each class have. */
typedef struct {
    int64_t taps[FC_DIMS][FC_TILES_MOST], before[FC_TILES_MOST + 1], most;
} FN(tiles_classes);

/* Where tap t of an axis leads from the first result of class `residue`: its place in what is read, and its kernel. Returns whether
 * it leads anywhere. */
static inline int FN(tiles_tap)(const fc_problem *p, int d, int64_t residue, int64_t t, int64_t *place, int64_t *kernel)
{
    const fc_axis *a = &p->axis[d];
    if (p->op != FC_LOCAL_INPUT_GRAD) {
        *place = residue * a->stride + t * a->dilation - a->pad;
        *kernel = residue;
        return 1;
    }
    int64_t at = residue + a->pad - t * a->dilation;
    if (at % a->stride)
        return 0;
    *place = at / a->stride;
    *kernel = (*place % p->tile[d] + p->tile[d]) % p->tile[d];
    return 1;
}

/* Fills `all`; 0 where some axis has no tap that leads anywhere. */
static int FN(tiles_union)(const fc_problem *p, FN(tiles_state) *s)
{
    const int forward = p->op != FC_LOCAL_INPUT_GRAD;
    s->all = (fc_corr){.rows = forward ? p->out_channels : p->in_channels, .reds = forward ? p->in_channels : p->out_channels,
                       .taps = 1};
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        int64_t first = INT64_MAX, last = INT64_MIN, place, kernel, size = forward ? a->out : a->in;
        for (int64_t r = 0; r < fc_min(s->period[d], size); r++)
            for (int64_t t = 0; t < a->kernel; t++)
                if (FN(tiles_tap)(p, d, r, t, &place, &kernel)) {
                    first = fc_min(first, place);
                    last = fc_max(last, place);
                }
        if (first > last)
            return 0;
        s->all.axis[d] = (fc_corr_axis){.count = fc_ceil_div(size, s->period[d]), .ystep = s->period[d],
                                        .xstep = forward ? p->tile[d] * a->stride : p->tile[d], .taps = last - first + 1,
                                        .off = first, .offstep = 1, .wstep = 1};
        s->all.in[d] = forward ? a->in : a->out;
        s->all.out[d] = size;
    }
    return 1;
}

static void FN(tiles_count)(const fc_problem *p, const FN(tiles_state) *s, FN(tiles_classes) *c)
{
    int64_t place, kernel, e = 0;
    for (int d = 0; d < FC_DIMS; d++)
        for (int64_t r = 0; r < s->period[d]; r++) {
            c->taps[d][r] = 0;
            for (int64_t t = 0; t < p->axis[d].kernel; t++)
                c->taps[d][r] += FN(tiles_tap)(p, d, r, t, &place, &kernel);
        }
    c->before[0] = c->most = 0;
    for (int64_t i = 0; i < s->period[0]; i++)
        for (int64_t j = 0; j < s->period[1]; j++)
            for (int64_t k = 0; k < s->period[2]; k++, e++) {
                int64_t taps = c->taps[0][i] * c->taps[1][j] * c->taps[2][k];
                c->before[e + 1] = c->before[e] + taps;
                c->most = fc_max(c->most, taps);
            }
}

static int64_t FN(tiles_taps_of)(const FN(tiles_classes) *c, int64_t e) { return c->before[e + 1] - c->before[e]; }

/* How many taps of an axis before t lead anywhere from class `residue`. */
static int64_t FN(tiles_slot)(const fc_problem *p, int d, int64_t residue, int64_t t)
{
    int64_t slot = 0, place, kernel;
    for (int64_t i = 0; i < t; i++)
        slot += FN(tiles_tap)(p, d, residue, i, &place, &kernel);
    return slot;
}

/* ---------------------------------------------------------------------------------------------------- the plan */

/* Pixels in the lanes, or channels: what leaves fewer lanes empty, with the cycles that splitting each line of the panel takes. */
static void FN(tiles_lanes)(FN(tiles_state) *s)
{
    const fc_corr_axis *a = s->all.axis;
    double pixels = (double)a[0].count * (double)a[1].count * (double)a[2].count;
    double run = (double)a[1].count * (double)(a[2].count + (a[2].taps - 1) / a[2].xstep), most = (double)fc_min((int64_t)run, 1 << 20);
    double gaps = run / (double)(a[1].count * a[2].count) * (double)fc_round_up((int64_t)most, VL) / most;
    double narrow = s->all.rows < FC_TAPS_MAX / 2 ? 1.5 : 1.15; /* few rows share what is loaded */
    double vectors = pixels * (double)s->all.rows * (double)s->all.reds * (double)s->taps / VL;
    double lines = (double)s->all.reds * (double)s->all.in[0] * (double)s->all.in[1] * (double)fc_min(a[2].xstep, s->all.in[2]);
    double flat = vectors * gaps * narrow + (a[2].xstep > 1 ? 40 * lines : 0);
    double lanes = vectors * (double)fc_round_up(s->all.rows, VL) / (double)s->all.rows + 5 * pixels * (double)s->classes;
    s->flat = s->all.rows < 4 * VL && flat < lanes;
    int64_t rows_most = s->flat ? FC_TAPS_MAX : FC_LANES;
    s->row_blocks = fc_ceil_div(s->all.rows, rows_most);
    s->rows = s->flat ? fc_ceil_div(s->all.rows, s->row_blocks) : FC_LANES;
    s->row_blocks = fc_ceil_div(s->all.rows, s->rows);
}

static int64_t FN(tiles_width)(const FN(tiles_state) *s, int64_t rows) { return s->flat ? rows : fc_round_up(rows, VL); }

static void FN(tiles_scratch)(fc_plan *plan, const fc_box *box)
{
    FN(tiles_state) *s = (void *)plan->state;
    const int64_t zero[FC_DIMS] = {0, 0, 0};
    fc_panel panel = fc_panel_of(&s->all, zero, s->blocks.j, s->all.reds, (int)s->flat);
    s->panel = FN(aligned)(box->n * s->all.reds * panel.plane + FC_TAPS_NV * VL);
    s->sums = FN(aligned)(s->flat ? FN(phases_pitch)(box, &panel) * s->rows * s->classes : box->pixels * s->rows * s->classes);
    s->turned = s->flat ? 0 : FN(aligned)(box->j[2] * s->period[2] * s->rows);
    s->weights = s->fused ? FN(aligned)(s->chunk * s->taps * FN(tiles_width)(s, s->rows)) : 0;
    s->table = s->chunk * s->taps;
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->sums + s->turned + s->weights) * (int64_t)sizeof(real) +
                    (s->table + box->pixels) * (int64_t)sizeof(ptrdiff_t) + (int64_t)sizeof(FN(tiles_classes));
}

/* Whether a problem has classes that can be counted: fills what does not depend on blocks. */
static const char *FN(tiles_fit)(const fc_problem *p, FN(tiles_state) *s)
{
    const int forward = p->op != FC_LOCAL_INPUT_GRAD;
    double classes = 1, kernel = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        if (a->stride > FC_TILES_STRIDE)
            return "strides of at most 2**20";
        classes *= (double)p->tile[d] * (double)(forward ? 1 : a->stride);
        kernel *= (double)a->kernel;
    }
    if (classes > FC_TILES_MOST || kernel > FC_TILES_TAPS)
        return "at most 256 kernels (with a stride, in the input gradient, fewer) of at most 1024 taps";
    s->classes = (int64_t)classes;
    for (int d = 0; d < FC_DIMS; d++)
        s->period[d] = p->tile[d] * (forward ? 1 : p->axis[d].stride);
    return FN(tiles_union)(p, s) ? NULL : "kernels of which some tap meets some result";
}

static const char *FN(tiles_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(tiles_state) *s = (void *)plan->state;
    _Static_assert(sizeof(FN(tiles_state)) <= sizeof plan->state, "the state fits");
    const char *reason = FN(tiles_fit)(p, s);
    if (reason)
        return reason;
    FN(tiles_classes) c;
    FN(tiles_count)(p, s, &c);
    s->taps = c.before[s->classes];
    FN(tiles_lanes)(s);
    s->chunk = fc_min(s->all.reds, fc_max(1, FC_DIRECT_CHUNK / fc_max(1, c.most)));
    s->block_weights = FN(aligned)(FN(tiles_width)(s, s->rows) * s->all.reds * s->taps);
    if ((double)s->block_weights * (double)s->row_blocks * (double)p->groups > (double)FC_PACKED_BYTES / sizeof(real))
        return "at most 64 MiB of weights";
    s->packed = s->block_weights * s->row_blocks * p->groups;

    const int64_t one[FC_DIMS] = {1, 1, 1};
    if (fc_panel_elements(&s->all, one, (int)s->flat) > 2 * FC_PHASES_PANEL / s->all.reds)
        return "kernels that reach over few inputs";
    int64_t each = s->rows * s->all.reds * s->taps, most = fc_max(1, FC_TASK_WORK / fc_max(1, each));
    int64_t pixels = fc_min(most, fc_max(FC_TILES_LEAST, (s->flat ? FC_TILES_FLAT : FC_TILES_BOX) / s->classes));
    s->blocks = fc_choose_blocks(&s->all, p->batch, s->all.reds, (s->flat ? 2 : 1) * FC_PHASES_PANEL, pixels, (int)s->flat);
    if (2 * s->blocks.n * s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2] < fc_min(FC_TILES_LEAST, pixels))
        s->blocks = fc_choose_blocks(&s->all, p->batch, s->all.reds, FC_PHASES_LARGE, pixels, (int)s->flat);
    s->boxes = fc_blocks_count(&s->blocks);
    s->splits = fc_min(s->row_blocks, fc_ceil_div(FC_TASKS_WANTED, p->groups * s->boxes));
    s->fused = s->boxes <= FC_DIRECT_FUSED;
    plan->stages = 2;
    plan->workspace = (s->fused ? 0 : s->packed) * (int64_t)sizeof(real);
    fc_box box = fc_box_at(&s->blocks, &s->all, p->batch, 0);
    FN(tiles_scratch)(plan, &box);
    return NULL;
}

static ptrdiff_t FN(tiles_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(tiles_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    if (stage == 0)
        return s->fused ? 0 : p->groups * s->row_blocks * p->tile[0] * p->tile[1] * p->tile[2];
    *grain = s->splits; /* which share a panel */
    return p->groups * s->boxes * s->splits;
}

/* ---------------------------------------------------------------------------------------------------- weights */

/* A kernel's places in a chunk of `reds` channels: of each tap for the first channel, and from one to the next. */
static void FN(tiles_places)(const fc_problem *p, const FN(tiles_state) *s, const FN(tiles_classes) *c, int64_t kernel, int64_t reds,
                             int64_t width, ptrdiff_t *at, ptrdiff_t *step)
{
    int64_t q[FC_DIMS] = {kernel / (p->tile[1] * p->tile[2]), kernel / p->tile[2] % p->tile[1], kernel % p->tile[2]};
    int64_t residue[FC_DIMS], slot[FC_DIMS], tap[FC_DIMS];
    for (tap[0] = 0; tap[0] < p->axis[0].kernel; tap[0]++)
        for (tap[1] = 0; tap[1] < p->axis[1].kernel; tap[1]++)
            for (tap[2] = 0; tap[2] < p->axis[2].kernel; tap[2]++) {
                int64_t e = 0;
                for (int d = 0; d < FC_DIMS; d++) {
                    const fc_axis *a = &p->axis[d];
                    residue[d] = p->op == FC_LOCAL ? q[d] : (q[d] * a->stride - a->pad + tap[d] * a->dilation) % s->period[d];
                    residue[d] += residue[d] < 0 ? s->period[d] : 0;
                    slot[d] = FN(tiles_slot)(p, d, residue[d], tap[d]);
                    e = e * s->period[d] + residue[d];
                }
                int64_t in_class = (slot[0] * c->taps[1][residue[1]] + slot[1]) * c->taps[2][residue[2]] + slot[2];
                *at++ = (c->before[e] * reds + in_class) * width;
                *step++ = FN(tiles_taps_of)(c, e) * width;
            }
}

/* A kernel's part of a chunk, `reds` summed channels from r on; `w` is the kernel's matrix of a group. */
static void FN(tiles_pack_chunk)(const fc_problem *p, const FN(tiles_state) *s, const FN(tiles_classes) *c, int64_t kernel,
                                 const real *w, int64_t k0, int64_t rows, int64_t r, int64_t reds, real *to)
{
    const int64_t taps = p->axis[0].kernel * p->axis[1].kernel * p->axis[2].kernel, width = FN(tiles_width)(s, rows);
    const int forward = p->op == FC_LOCAL;
    ptrdiff_t row = forward ? p->in_channels * taps : taps, red = forward ? taps : p->in_channels * taps;
    ptrdiff_t at[FC_TILES_TAPS], step[FC_TILES_TAPS];
    w += k0 * row + r * red;
    if (forward && !s->flat) { /* the class that this kernel is, and its terms as they lie */
        FN(transpose)(w, row, rows, reds * taps, to + kernel * taps * reds * width, width, width);
        return;
    }
    FN(tiles_places)(p, s, c, kernel, reds, width, at, step);
    for (int64_t i = 0; i < reds; i++, w += red) {
        for (int64_t k = 0; k < rows && s->flat; k++)
            for (int64_t t = 0; t < taps; t++)
                to[at[t] + k] = w[k * row + t];
        for (int64_t k = 0; k < width && !s->flat; k += VL)
            FN(to_lanes)(w + k * row, row, fc_min(VL, rows - k), taps, at, to + k, w + k * row + red);
        for (int64_t t = 0; t < taps; t++)
            at[t] += step[t];
    }
}

static const real *FN(tiles_matrix)(const fc_problem *p, const fc_call *call, int64_t kernel, int64_t g)
{
    int64_t terms = p->in_channels * p->axis[0].kernel * p->axis[1].kernel * p->axis[2].kernel;
    return (const real *)(const void *)call->array[1].data + (kernel * p->groups + g) * p->out_channels * terms;
}

/* One kernel of a row block. */
static void FN(tiles_pack)(const fc_plan *plan, const fc_call *call, int64_t task)
{
    const fc_problem *p = &plan->problem;
    const FN(tiles_state) *s = (const void *)plan->state;
    const int64_t kernels = p->tile[0] * p->tile[1] * p->tile[2], block = task / kernels, k0 = block % s->row_blocks * s->rows;
    const real *w = FN(tiles_matrix)(p, call, task % kernels, block / s->row_blocks);
    real *to = (real *)(void *)call->workspace + block * s->block_weights;
    int64_t rows = fc_min(s->rows, s->all.rows - k0), width = FN(tiles_width)(s, rows);
    FN(tiles_classes) c;
    FN(tiles_count)(p, s, &c);
    for (int64_t r = 0; r < s->all.reds; r += s->chunk)
        FN(tiles_pack_chunk)(p, s, &c, task % kernels, w, k0, rows, r, fc_min(s->chunk, s->all.reds - r), to + r * s->taps * width);
}

/* ---------------------------------------------------------------------------------------------------- products */

/* A box of results of one group, and a thread's memory. */
typedef struct {
    FN(tiles_classes) *classes;
    fc_box box;
    fc_panel panel;
    real *inputs, *sums, *turned, *weights; /* sums: see tiles_start */
    ptrdiff_t *tap_at, *pixel_at;
    int64_t pitch, slice;         /* pixels in the lanes: from a row of sums, a slice of the box, to the next */
} FN(tiles_job);

/* Of each class the places of its taps, in the channels of a chunk one after the other. */
static void FN(tiles_table)(const fc_problem *p, const FN(tiles_state) *s, const FN(tiles_job) *job)
{
    int64_t e = 0, r[FC_DIMS], t[FC_DIMS], place[FC_DIMS], kernel;
    for (r[0] = 0; r[0] < s->period[0]; r[0]++)
        for (r[1] = 0; r[1] < s->period[1]; r[1]++)
            for (r[2] = 0; r[2] < s->period[2]; r[2]++, e++) {
                ptrdiff_t *at = job->tap_at + job->classes->before[e] * s->chunk;
                int64_t taps = FN(tiles_taps_of)(job->classes, e), i = 0;
                for (t[0] = 0; t[0] < p->axis[0].kernel; t[0]++)
                    for (t[1] = 0; t[1] < p->axis[1].kernel; t[1]++)
                        for (t[2] = 0; t[2] < p->axis[2].kernel; t[2]++) {
                            int leads = 1;
                            for (int d = 0; d < FC_DIMS && leads; d++) {
                                leads = FN(tiles_tap)(p, d, r[d], t[d], &place[d], &kernel);
                                place[d] -= s->all.axis[d].off;
                            }
                            if (leads)
                                at[i++] = fc_panel_offset(&job->panel, place[0], place[1], place[2]);
                        }
                for (; i < taps * s->chunk; i++)
                    at[i] = at[i - taps] + job->panel.plane;
            }
}

/* Sums start as the bias, or zero. With channels in the lanes they lie [class of d][of h][pixel][class of w][lane], so that a row of
 * results is one run of vectors, in which its classes alternate; with pixels [class][row][pixel]. */
static void FN(tiles_start)(const FN(tiles_state) *s, const FN(tiles_job) *job, const fc_array *bias, int64_t channel, int64_t rows)
{
    const int64_t width = FN(tiles_width)(s, rows), run = s->period[2] * width, pixels = job->box.pixels;
    if (!bias->data) {
        FN(fill_run)(job->sums, 0, s->flat ? job->pitch * rows * s->classes : pixels * width * s->classes);
        return;
    }
    const real *b = (const real *)bias->data + channel * bias->stride[1];
    for (int64_t line = 0; line < s->period[0] * s->period[1]; line++) {
        const real *of = b + line / s->period[1] * bias->stride[2] + line % s->period[1] * bias->stride[3];
        real *to = job->sums + line * (s->flat ? s->period[2] * rows * job->pitch : pixels * run);
        for (int64_t f = 0; f < s->period[2]; f++, of += bias->stride[4])
            for (int64_t k = 0; k < width; k++) {
                real value = k < rows ? of[k * bias->stride[1]] : 0;
                if (s->flat)
                    FN(fill_run)(to + (f * rows + k) * job->pitch, value, job->pitch);
                else
                    to[f * width + k] = value;
            }
        for (int64_t i = 1; i < pixels && !s->flat; i++)
            FN(copy_run)(to + i * run, to, 1, run);
    }
}

/* One chunk of the sum, channels in the lanes. */
static void FN(tiles_chunk)(const FN(tiles_state) *s, const FN(tiles_job) *job, int64_t r, int64_t reds, int64_t rows, const real *w)
{
    const FN(tiles_classes) *c = job->classes;
    const int64_t width = fc_round_up(rows, VL), pitch = s->period[2] * width, pixels = job->box.pixels;
    const int64_t tiles = fc_ceil_div(pixels, FC_ROWS_MAX);
    for (int64_t e = 0; e < s->classes; e++) {
        int64_t taps = FN(tiles_taps_of)(c, e);
        real *to = job->sums + (e / s->period[2] * pixels * s->period[2] + e % s->period[2]) * width;
        for (int64_t t = 0; t < tiles && taps; t++) {
            int64_t p0 = FN(even_start)(pixels, tiles, t), p1 = FN(even_start)(pixels, tiles, t + 1);
            FN(fma_rows)((int)(p1 - p0), (int)(width / VL), job->inputs + r * job->panel.plane, job->pixel_at + p0,
                         job->tap_at + c->before[e] * s->chunk, reds * taps, w + c->before[e] * reds * width, width,
                         (FN(dest)){to + p0 * pitch, pitch, 1});
        }
    }
}

/* The same, pixels in the lanes: a flat run for each slice of the box. */
static void FN(tiles_flat)(const FN(tiles_state) *s, const FN(tiles_job) *job, int64_t r, int64_t reds, int64_t rows, const real *w)
{
    const FN(tiles_classes) *c = job->classes;
    const fc_box *box = &job->box;
    const int64_t run = (box->j[1] - 1) * job->panel.row + box->j[2];
    for (int64_t slice = 0; slice < box->n * box->j[0]; slice++) {
        const real *from = job->inputs + (slice / box->j[0] * s->all.reds + r) * job->panel.plane +
                           slice % box->j[0] * job->panel.slice;
        for (int64_t i = 0; i < run; i += FC_TAPS_NV * VL)
            for (int64_t e = 0; e < s->classes; e++) {
                int64_t taps = FN(tiles_taps_of)(c, e), nv = fc_min(FC_TAPS_NV, fc_ceil_div(run - i, VL));
                if (taps)
                    FN(fma_taps)((int)rows, (int)nv, w + c->before[e] * reds * rows,
                                 job->tap_at + c->before[e] * s->chunk, reds * taps, from + i,
                                 (FN(dest)){job->sums + e * rows * job->pitch + slice * job->slice + i, job->pitch, 1});
            }
    }
}

/* A box's sums into whole rows of y. */
static void FN(tiles_put)(const FN(tiles_state) *s, const FN(tiles_job) *job, const fc_array *y, int64_t channel, int64_t rows)
{
    const fc_box *box = &job->box;
    const int64_t *period = s->period, width = FN(tiles_width)(s, rows);
    int64_t first[FC_DIMS], end[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++) {
        first[d] = box->j0[d] * period[d];
        end[d] = fc_min(s->all.out[d], first[d] + box->j[d] * period[d]);
    }
    int64_t n = end[2] - first[2];
    for (int64_t image = 0; image < box->n; image++)
        for (int64_t d = first[0]; d < end[0]; d++)
            for (int64_t h = first[1]; h < end[1]; h++) {
                int64_t line = d % period[0] * period[1] + h % period[1];
                int64_t slice = image * box->j[0] + (d - first[0]) / period[0], row = (h - first[1]) / period[1];
                real *to = (real *)y->data + (box->n0 + image) * y->stride[0] + channel * y->stride[1] + d * y->stride[2] +
                           h * y->stride[3] + first[2] * y->stride[4];
                if (s->flat) {
                    const real *of[FC_TILES_MOST];
                    for (int64_t f = 0; f < period[2]; f++)
                        of[f] = job->sums + (line * period[2] + f) * rows * job->pitch + slice * job->slice + row * job->panel.row;
                    for (int64_t k = 0; k < rows; k++)
                        FN(phases_row)(to + k * y->stride[1], y->stride[4], of, k * job->pitch, period[2], n, 0);
                    continue;
                }
                const real *from = job->sums + (line * box->pixels + (slice * box->j[1] + row) * box->j[2]) * period[2] * width;
                if (y->stride[4] == 1) {
                    FN(transpose)(from, width, n, rows, to, y->stride[1], n);
                    continue;
                }
                FN(transpose)(from, width, n, rows, job->turned, n, n);
                for (int64_t k = 0; k < rows; k++)
                    FN(put_run)(to + k * y->stride[1], y->stride[4], job->turned + k * n, n, 0, 0);
            }
}

/* What a thread's scratch holds, in its head: the panel of a unit (+ 1), and tables, which serve all boxes of an extent. */
typedef struct {
    int64_t unit, n, j[FC_DIMS];
} FN(tiles_noted);

/* Inputs and tables of a task. */
static void FN(tiles_begin)(const fc_plan *plan, const fc_call *call, int64_t unit, char *scratch, FN(tiles_job) *job)
{
    const fc_problem *p = &plan->problem;
    const FN(tiles_state) *s = (const void *)plan->state;
    FN(tiles_noted) *noted = (void *)scratch, now = {.unit = unit + 1};
    const fc_box *box = &job->box;
    job->box = fc_box_at(&s->blocks, &s->all, p->batch, unit % s->boxes);
    job->panel = fc_panel_of(&s->all, box->j0, box->j, s->all.reds, (int)s->flat);
    job->inputs = (real *)(void *)(scratch + FC_SCRATCH_HEAD);
    job->sums = job->inputs + s->panel;
    job->turned = job->sums + s->sums;
    job->weights = job->turned + s->turned;
    job->classes = (void *)(job->weights + s->weights);
    job->tap_at = (ptrdiff_t *)(void *)(job->classes + 1);
    job->pixel_at = job->tap_at + s->table;
    job->pitch = FN(phases_pitch)(box, &job->panel);
    job->slice = job->pitch / (box->n * box->j[0]);
    now.n = box->n;
    for (int d = 0; d < FC_DIMS; d++)
        now.j[d] = box->j[d];
    if (noted->unit != now.unit)
        FN(panel_fill)(&job->panel, &s->all, &call->array[0], box->n0, box->n, unit / s->boxes * s->all.reds, 0, job->inputs);
    if (!noted->unit)
        FN(tiles_count)(p, s, job->classes);
    if (noted->n != now.n || noted->j[0] != now.j[0] || noted->j[1] != now.j[1] || noted->j[2] != now.j[2]) {
        FN(tiles_table)(p, s, job);
        if (!s->flat)
            fc_pixel_table(&job->panel, box, job->pixel_at);
    }
    *noted = now;
}

static void FN(tiles_compute)(const fc_plan *plan, fc_call *call, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(tiles_state) *s = (const void *)plan->state;
    int64_t split = task % s->splits, unit = task / s->splits, g = unit / s->boxes, kernels = p->tile[0] * p->tile[1] * p->tile[2];
    FN(tiles_job) job;
    FN(tiles_begin)(plan, call, unit, scratch, &job);
    for (int64_t kb = FN(even_start)(s->row_blocks, s->splits, split); kb < FN(even_start)(s->row_blocks, s->splits, split + 1); kb++) {
        int64_t k0 = kb * s->rows, rows = fc_min(s->rows, s->all.rows - k0), width = FN(tiles_width)(s, rows);
        const real *packed = (const real *)(const void *)call->workspace + (g * s->row_blocks + kb) * s->block_weights;
        FN(tiles_start)(s, &job, &call->array[2], g * s->all.rows + k0, rows);
        for (int64_t r = 0; r < s->all.reds; r += s->chunk) {
            int64_t reds = fc_min(s->chunk, s->all.reds - r);
            for (int64_t q = 0; s->fused && q < kernels; q++)
                FN(tiles_pack_chunk)(p, s, job.classes, q, FN(tiles_matrix)(p, call, q, g), k0, rows, r, reds, job.weights);
            const real *w = s->fused ? job.weights : packed + r * s->taps * width;
            if (s->flat)
                FN(tiles_flat)(s, &job, r, reds, rows, w);
            else
                FN(tiles_chunk)(s, &job, r, reds, rows, w);
        }
        FN(tiles_put)(s, &job, &call->array[3], g * s->all.rows + k0, rows);
    }
}

static void FN(tiles_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    if (stage == 0)
        FN(tiles_pack)(plan, call, task);
    else
        FN(tiles_compute)(plan, call, task, scratch);
}

static const fc_algorithm FN(local_tiles) = {"tiles", FC_ISA_NAME, 1u << FC_LOCAL | 1u << FC_LOCAL_INPUT_GRAD,
                                             FN(tiles_prepare), FN(tiles_tasks), FN(tiles_run)};
