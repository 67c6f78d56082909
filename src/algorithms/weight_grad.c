/* weight_grad.c: the weight gradient of dense and grouped convolution, result channels in the lanes.
 *
 *   gw[k][c][t] = sum over images and output pixels j of gy[k][j] * x[c][j + t]
 *
 * The same tile as the direct convolution with the parts exchanged: rows are (c, t), the sum runs over pixels, and the
 * vectors are the output gradient, transposed in registers to [pixel][lane]. The scalars, x, have three sources:
 *
 *   in place   "direct" with many channels: a run of pixels for each tap, without those whose input is padding
 *   panel      "direct" with few channels: a padded copy of a box of inputs, rows of all taps fill the tile
 *   patches    "im2col": a copy for every tap of a run of pixels
 *
 * A task owns a tile of gw (some result channels by some channels) in the workspace and takes one part of the pixel
 * blocks. The number of parts is fixed by the shape; a last stage sums them in order, so the bits do not depend on
 * threads. Where tiles are enough there is one part: there a task keeps its tile in scratch and writes gw itself (at 7 px
 * writing the sums and reading them again took half the time). */

#define FC_WGRAD_PIXELS 512
#define FC_WGRAD_PANEL ((int64_t)(192 << 10) / (int64_t)sizeof(real))
#define FC_WGRAD_TILE ((int64_t)(256 << 10) / (int64_t)sizeof(real)) /* accumulators of a task, in L2 */
/* In place: pixels of a block, whose lanes and the rows that meet them fill L1; of a part, below which tiles are rather made
 * smaller; and from how many channels on, since each tap has costs of its own. */
#define FC_WGRAD_DEPTH ((int64_t)(32 << 10) / ((FC_LANES + FC_ROWS_MAX) * (int64_t)sizeof(real)))
#define FC_WGRAD_PART 1024
#define FC_WGRAD_CHANNELS 32
#define FC_WGRAD_CHANNELS_1 8 /* for one tap */

typedef enum { FN(WGRAD_IN_PLACE), FN(WGRAD_PANEL), FN(WGRAD_PATCHES) } FN(wgrad_source);

typedef struct {
    FN(wgrad_source) source;
    int swapped;                /* x and gy have changed places */
    fc_blocks boxes;            /* direct */
    int64_t run, runs;          /* patches: pixels of a block, blocks of an image; in place: of all images */
    int64_t blocks, block_pixels;
    int64_t parts, slices;      /* parts of the blocks; compute stages, each a slice of every part */
    int64_t lanes, k_tiles;     /* result channels of a task, padded */
    int64_t channels, c_tiles;
    int64_t tile;               /* accumulators of a task, elements */
    int64_t panel, turned;      /* scratch, elements */
    int at_once;                /* a task has all of its tile's sum, in scratch */
} FN(wgrad_state);

/* Pixels of one row of outputs: place of the first in the block, number, image and output indices of the first. */
typedef struct {
    int64_t at, n, image, j[FC_DIMS];
} FN(wgrad_segment);

/* A 1x1 kernel without padding treats x and gy alike. With gy in the place of x the lanes hold input channels, and a tile's
 * rows are rows of gw as they lie in memory: nothing is left to turn at the end, which strews small pieces over gw. But of
 * the larger operand more is to be turned on the way, and few input channels leave lanes empty. */
static int FN(wgrad_swaps)(const fc_problem *p)
{
    double pixels = (double)p->batch, c = (double)p->in_channels, k = (double)p->out_channels;
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        if (a->kernel != 1 || a->pad != 0 || (a->out - 1) * a->stride >= a->in)
            return 0;
        pixels *= (double)a->out;
    }
    double c_vecs = (double)fc_ceil_div(p->in_channels, VL), k_vecs = (double)fc_ceil_div(p->out_channels, VL);
    double turn = p->axis[2].stride == 1 ? 0.4 : 1.5; /* cycles of an element */
    return pixels * (c_vecs * k + turn * c) <= pixels * (k_vecs * c + 0.4 * k) + 2 * k * c;
}

static fc_corr FN(wgrad_corr)(const fc_problem *p, const FN(wgrad_state) *s)
{
    fc_corr c = fc_corr_of(p, 0);
    if (s->swapped) {
        c.rows = p->in_channels;
        c.reds = p->out_channels;
        for (int d = 0; d < FC_DIMS; d++) {
            c.axis[d].xstep = 1;
            c.in[d] = c.axis[d].count;
        }
    }
    return c;
}

/* Whether x is read where it lies: its channels must fill the rows of the tile. */
static int FN(wgrad_in_place)(const fc_corr *c)
{
    int64_t fit = FC_WGRAD_TILE / (FC_LANES * c->taps);
    return fc_min(c->reds, fit) >= (c->taps == 1 ? FC_WGRAD_CHANNELS_1 : FC_WGRAD_CHANNELS);
}

/* Tiles of gw. In place: channels enough to pay for what each tap does to gy, and tiles enough for the threads as long as
 * parts of the pixels would be short, since those are to be added up. */
static void FN(wgrad_choose_tiles)(FN(wgrad_state) *s, const fc_corr *c, int64_t groups, int64_t pixels)
{
    int64_t lanes = fc_min(fc_round_up(c->rows, VL), fc_round_up(c->taps == 1 ? 256 : 128, FC_LANES));
    int64_t channels = fc_max(1, fc_min(c->reds, FC_WGRAD_TILE / (lanes * c->taps))), least = fc_min(c->reds, 128);
    int64_t parts = fc_max(1, pixels / FC_WGRAD_PART);
    while (s->source == FN(WGRAD_IN_PLACE) && lanes > FC_LANES && channels < least) {
        lanes = fc_round_up(lanes / 2, FC_LANES);
        channels = fc_max(1, fc_min(c->reds, FC_WGRAD_TILE / (lanes * c->taps)));
    }
    while (s->source == FN(WGRAD_IN_PLACE) &&
           groups * fc_ceil_div(c->rows, lanes) * fc_ceil_div(c->reds, channels) * parts < FC_TASKS_WANTED) {
        if (channels >= 2 * least && channels > lanes)
            channels = fc_ceil_div(channels, 2);
        else if (lanes >= 4 * FC_LANES)
            lanes = fc_round_up(lanes / 2, FC_LANES);
        else
            break;
    }
    s->lanes = lanes;
    s->k_tiles = fc_ceil_div(c->rows, s->lanes);
    s->lanes = fc_round_up(fc_ceil_div(c->rows, s->k_tiles), s->k_tiles > 1 ? FC_LANES : VL);
    s->k_tiles = fc_ceil_div(c->rows, s->lanes);
    if (s->source == FN(WGRAD_PANEL))
        channels = fc_min(channels, fc_panel_channels(c, 0));
    s->c_tiles = fc_ceil_div(c->reds, channels);
    s->channels = fc_ceil_div(c->reds, s->c_tiles);
    s->c_tiles = fc_ceil_div(c->reds, s->channels);
    s->tile = FN(aligned)(s->lanes * s->channels * c->taps);
}

static const char *FN(wgrad_prepare_as)(fc_plan *plan, FN(wgrad_source) source)
{
    const fc_problem *p = &plan->problem;
    FN(wgrad_state) *s = (void *)plan->state;
    s->source = source;
    s->swapped = source == FN(WGRAD_PANEL) && FN(wgrad_swaps)(p);
    fc_corr c = FN(wgrad_corr)(p, s);
    if (source == FN(WGRAD_PANEL) && FN(wgrad_in_place)(&c)) {
        s->source = FN(WGRAD_IN_PLACE);
    } else if (s->swapped) {
        s->swapped = 0;
        c = FN(wgrad_corr)(p, s);
    }
    if (s->source == FN(WGRAD_PANEL) && fc_panel_channels(&c, 0) < 1)
        return FC_TOO_FAR;
    int64_t image = c.axis[0].count * c.axis[1].count * c.axis[2].count;
    FN(wgrad_choose_tiles)(s, &c, p->groups, image * p->batch);

    int64_t rows = s->channels * c.taps, tiles = p->groups * s->k_tiles * s->c_tiles;
    int64_t most = fc_max(1, fc_min(FC_WGRAD_PIXELS, FC_TASK_WORK / (s->lanes * rows)));
    if (s->source == FN(WGRAD_IN_PLACE)) {
        s->run = fc_min(FC_WGRAD_DEPTH, most);
        s->runs = fc_ceil_div(image * p->batch, s->run);
        s->run = fc_ceil_div(image * p->batch, s->runs);
        s->runs = fc_ceil_div(image * p->batch, s->run);
        s->blocks = s->runs;
        s->block_pixels = s->run;
        s->panel = c.taps == 1 ? 0 : FN(aligned)(s->run * FC_LANES);
    } else if (s->source == FN(WGRAD_PATCHES)) {
        s->run = fc_max(1, fc_min(fc_min(image, most), FC_WGRAD_PANEL / rows));
        s->runs = fc_ceil_div(image, s->run);
        s->blocks = s->runs * p->batch;
        s->block_pixels = s->run;
        s->panel = FN(aligned)(s->run * rows);
    } else {
        s->boxes = fc_choose_blocks(&c, p->batch, s->channels, FC_WGRAD_PANEL, most, 0);
        s->blocks = fc_blocks_count(&s->boxes);
        s->block_pixels = s->boxes.n * s->boxes.j[0] * s->boxes.j[1] * s->boxes.j[2];
        s->panel = FN(aligned)(s->boxes.n * s->channels * fc_panel_elements(&c, s->boxes.j, 0));
    }
    s->turned = FN(aligned)(s->block_pixels * s->lanes);

    double block_work = (double)s->block_pixels * (double)(s->lanes * rows);
    int64_t worth = (int64_t)(block_work * (double)s->blocks / (1 << 20)) + 1; /* parts of at least a million */
    s->parts = fc_min(fc_min(s->blocks, worth), fc_ceil_div(FC_TASKS_WANTED, tiles));
    s->parts = fc_max(1, fc_min(s->parts, FC_PACKED_BYTES / (int64_t)sizeof(real) / (tiles * s->tile)));
    int64_t at_once = fc_max(1, (int64_t)(FC_TASK_WORK / block_work));
    s->slices = fc_ceil_div(fc_ceil_div(s->blocks, s->parts), at_once);

    s->at_once = s->parts == 1 && s->slices == 1;
    plan->stages = s->at_once ? 1 : s->slices + 1;
    plan->workspace = s->at_once ? 0 : tiles * s->parts * s->tile * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD + (s->panel + s->turned + s->at_once * s->tile) * (int64_t)sizeof(real) +
                    (s->block_pixels + rows) * (int64_t)sizeof(ptrdiff_t) +
                    2 * s->block_pixels * (int64_t)sizeof(FN(wgrad_segment));
    return NULL;
}

static const char *FN(wgrad_direct_prepare)(fc_plan *plan) { return FN(wgrad_prepare_as)(plan, FN(WGRAD_PANEL)); }
static const char *FN(wgrad_im2col_prepare)(fc_plan *plan) { return FN(wgrad_prepare_as)(plan, FN(WGRAD_PATCHES)); }

static ptrdiff_t FN(wgrad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    int64_t tiles = plan->problem.groups * s->k_tiles * s->c_tiles;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage < s->slices ? tiles * s->parts : tiles;
}

typedef struct {
    int64_t g, kt, ct;
    int64_t k0, rows, c0, channels; /* within the group */
} FN(wgrad_tile);

static FN(wgrad_tile) FN(wgrad_tile_at)(const FN(wgrad_state) *s, const fc_corr *c, int64_t i)
{
    FN(wgrad_tile) t;
    t.ct = i % s->c_tiles;
    t.kt = i / s->c_tiles % s->k_tiles;
    t.g = i / s->c_tiles / s->k_tiles;
    t.k0 = t.kt * s->lanes;
    t.rows = fc_min(s->lanes, c->rows - t.k0);
    t.c0 = t.ct * s->channels;
    t.channels = fc_min(s->channels, c->reds - t.c0);
    return t;
}

/* A run of n pixels of gy, rows of `stride[4]` apart, to [block of lanes][pixel][lane]; `at` is its first pixel there. */
static void FN(turn_run)(const real *gy, const fc_array *a, int64_t n, int64_t rows, int64_t at, int64_t pixels, real *turned)
{
    for (int64_t k = 0; k < rows; k += FC_LANES) {
        int64_t m = fc_min(FC_LANES, rows - k), lanes = fc_round_up(m, VL);
        real *to = turned + k * pixels + at * lanes;
        const real *from = gy + k * a->stride[1];
        if (a->stride[4] == 1) {
            FN(transpose)(from, a->stride[1], m, n, to, lanes, lanes);
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < lanes; j++)
                to[i * lanes + j] = j < m ? from[j * a->stride[1] + i * a->stride[4]] : 0;
    }
}

/* Fills panel, turned gradient and both tables for a box. */
static int64_t FN(wgrad_box)(const FN(wgrad_state) *s, const fc_problem *p, const fc_corr *c, const fc_call *call,
                             const FN(wgrad_tile) *t, int64_t block, real *inputs, real *turned, ptrdiff_t *row_at,
                             ptrdiff_t *pixel_at)
{
    const fc_array *x = &call->array[0], *gy = &call->array[1];
    fc_box box = fc_box_at(&s->boxes, c, p->batch, block);
    fc_panel panel = fc_panel_of(c, box.j0, box.j, t->channels, 0);
    FN(panel_fill)(&panel, c, x, box.n0, box.n, t->g * c->reds + t->c0, 0, inputs);
    fc_pixel_table(&panel, &box, pixel_at);
    fc_tap_table(&panel, c, t->channels, row_at);
    const real *first = (const real *)gy->data + (t->g * c->rows + t->k0) * gy->stride[1];
    int dense = gy->stride[3] == box.j[2] * gy->stride[4];
    int64_t run = dense ? box.j[1] * box.j[2] : box.j[2], at = 0;
    for (int64_t n = 0; n < box.n; n++)
        for (int64_t d = 0; d < box.j[0]; d++)
            for (int64_t h = 0; h < (dense ? 1 : box.j[1]); h++, at += run)
                FN(turn_run)(first + (box.n0 + n) * gy->stride[0] + (box.j0[0] + d) * gy->stride[2] +
                                 (box.j0[1] + h) * gy->stride[3] + box.j0[2] * gy->stride[4],
                             gy, run, t->rows, at, box.pixels, turned);
    return box.pixels;
}

/* The same for a run of pixels of one image, with patches. */
static int64_t FN(wgrad_patches)(const FN(wgrad_state) *s, const fc_corr *c, const fc_call *call, const FN(wgrad_tile) *t,
                                 int64_t block, real *inputs, real *turned, ptrdiff_t *row_at, ptrdiff_t *pixel_at,
                                 FN(segment) *seg)
{
    const fc_array *x = &call->array[0], *gy = &call->array[1];
    int64_t n = block / s->runs, p0 = block % s->runs * s->run;
    int64_t pixels = fc_min(s->run, c->axis[0].count * c->axis[1].count * c->axis[2].count - p0);
    int linear = FN(patches_linear)(c, x);
    int64_t segments = FN(segments)(c, linear, p0, pixels, seg);
    FN(patches)(c, x, (const real *)x->data + n * x->stride[0] + (t->g * c->reds + t->c0) * x->stride[1], linear, seg, segments,
                pixels, t->channels, 0, c->taps, inputs, pixels);
    for (int64_t i = 0; i < pixels; i++)
        pixel_at[i] = i;
    for (int64_t i = 0; i < t->channels * c->taps; i++)
        row_at[i] = i * pixels;
    segments = FN(segments)(c, 0, p0, pixels, seg);
    const real *first = (const real *)gy->data + n * gy->stride[0] + (t->g * c->rows + t->k0) * gy->stride[1];
    for (int64_t i = 0; i < segments; i++)
        FN(turn_run)(first + seg[i].j[0] * gy->stride[2] + seg[i].j[1] * gy->stride[3] + seg[i].j[2] * gy->stride[4], gy,
                     seg[i].n, t->rows, seg[i].at, pixels, turned);
    return pixels;
}

/* Segments of the pixels p0 .. p0+n of all images; returns their number. */
static int64_t FN(wgrad_segments)(const fc_corr *c, int linear, int64_t p0, int64_t n, FN(wgrad_segment) *seg)
{
    int64_t wide = c->axis[2].count, high = c->axis[1].count, image = wide * high * c->axis[0].count, count = 0;
    for (int64_t i = 0; i < n; i += seg[count++].n) {
        int64_t p = (p0 + i) % image, w = linear ? p : p % wide;
        seg[count] = (FN(wgrad_segment)){i, fc_min(n - i, (linear ? image : wide) - w), (p0 + i) / image,
                                         {linear ? 0 : p / wide / high, linear ? 0 : p / wide % high, w}};
    }
    return count;
}

/* The part of the segments whose inputs at tap t are no padding: where they lie in x, and which pixels they are. */
static int64_t FN(wgrad_clip)(const fc_corr *c, const fc_array *x, int linear, const FN(wgrad_segment) *seg, int64_t segments,
                              int64_t t, ptrdiff_t *pixel_at, FN(wgrad_segment) *kept, int64_t *pixels)
{
    const fc_corr_axis *a = c->axis;
    int64_t tw = t % a[2].taps, th = t / a[2].taps % a[1].taps, td = t / a[2].taps / a[1].taps, count = 0, n = 0;
    ptrdiff_t step = a[2].xstep * x->stride[4];
    for (const FN(wgrad_segment) *s = seg; s < seg + segments; s++) {
        int64_t d = s->j[0] * a[0].xstep + a[0].off + td * a[0].offstep,
                h = s->j[1] * a[1].xstep + a[1].off + th * a[1].offstep,
                w = s->j[2] * a[2].xstep + a[2].off + tw * a[2].offstep, lo = 0, hi = s->n;
        if (!linear) {
            if (d < 0 || d >= c->in[0] || h < 0 || h >= c->in[1] || w >= c->in[2])
                continue;
            lo = w < 0 ? fc_ceil_div(-w, a[2].xstep) : 0;
            hi = fc_min(s->n, (c->in[2] - 1 - w) / a[2].xstep + 1);
        }
        if (hi <= lo)
            continue;
        ptrdiff_t at = s->image * x->stride[0] + d * x->stride[2] + h * x->stride[3] + (w + lo * a[2].xstep) * x->stride[4];
        kept[count++] = (FN(wgrad_segment)){s->at + lo, hi - lo, 0, {0}};
        for (int64_t i = lo; i < hi; i++, at += step)
            pixel_at[n++] = at;
    }
    *pixels = n;
    return count;
}

/* Sums the parts of a tile in order and turns it to gw[k][c][t]. */
static void FN(wgrad_finish)(const fc_plan *plan, const fc_call *call, int64_t task, real *acc)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    fc_corr c = FN(wgrad_corr)(&plan->problem, s);
    FN(wgrad_tile) t = FN(wgrad_tile_at)(s, &c, task);
    for (int64_t part = 1; part < s->parts; part++)
        for (int64_t i = 0; i < s->tile; i += VL)
            FN(store)(acc + i, FN(load)(acc + i) + FN(load)(acc + part * s->tile + i));
    const fc_array *gw = &call->array[3];
    int64_t rows = t.channels * c.taps;
    for (int64_t k = 0; k < t.rows; k += FC_LANES) {
        int64_t m = fc_min(FC_LANES, t.rows - k), lanes = fc_round_up(m, VL);
        if (s->swapped) {
            real *to = (real *)gw->data + (t.g * c.reds + t.c0) * gw->stride[0] + (t.k0 + k) * gw->stride[1];
            for (int64_t i = 0; i < rows; i++)
                FN(put_run)(to + i * gw->stride[0], gw->stride[1], acc + k * rows + i * lanes, m, 0, 0);
            continue;
        }
        FN(transpose)(acc + k * rows, lanes, rows, m,
                      (real *)gw->data + (t.g * c.rows + t.k0 + k) * gw->stride[0] + t.c0 * gw->stride[1], gw->stride[0], rows);
    }
}

/* What is needed next: what the next block will read in place, of each channel's plane a range, and another for each further
 * image; or the rows of gw that a tile goes to, before it is finished. */
#define FC_WGRAD_AHEAD 8
typedef struct {
    const real *first[2 * FC_WGRAD_AHEAD];
    ptrdiff_t channel[2 * FC_WGRAD_AHEAD];
    int64_t size[2 * FC_WGRAD_AHEAD], channels[2 * FC_WGRAD_AHEAD];
    int64_t ranges, rows;       /* rows: of all ranges */
    int64_t share, range, row;  /* rows that are asked for at a time; the next one */
} FN(wgrad_ahead);

static void FN(wgrad_look_ahead)(const fc_corr *c, const fc_array *x, const fc_array *gy, const FN(wgrad_tile) *t, int64_t p0,
                                 int64_t n, FN(wgrad_ahead) *ahead)
{
    int64_t wide = c->axis[2].count, high = c->axis[1].count, image = wide * high * c->axis[0].count;
    ahead->ranges = ahead->rows = ahead->range = ahead->row = 0;
    for (int64_t i = 0, m; i < n && ahead->ranges < 2 * FC_WGRAD_AHEAD; i += m) {
        int64_t p = (p0 + i) % image;
        m = fc_min(n - i, image - p);
        ptrdiff_t from[2] = {0, 0}, end[2] = {0, 0};
        int64_t j0[FC_DIMS] = {p / wide / high, p / wide % high, p % wide}, q = p + m - 1;
        int64_t j1[FC_DIMS] = {q / wide / high, q / wide % high, q % wide};
        for (int d = 0; d < FC_DIMS; d++) {
            const fc_corr_axis *a = &c->axis[d];
            from[0] += x->stride[2 + d] * fc_min(c->in[d] - 1, fc_max(0, j0[d] * a->xstep + a->off));
            int64_t last = j1[d] * a->xstep + a->off + (a->taps - 1) * a->offstep;
            end[0] += x->stride[2 + d] * fc_max(0, fc_min(c->in[d] - 1, last));
            from[1] += gy->stride[2 + d] * j0[d];
            end[1] += gy->stride[2 + d] * j1[d];
        }
        for (int k = 0; k < 2; k++) {
            const fc_array *a = k ? gy : x;
            int64_t r = ahead->ranges++;
            ahead->first[r] = (const real *)a->data + (p0 + i) / image * a->stride[0] + from[k] +
                              (k ? t->g * c->rows + t->k0 : t->g * c->reds + t->c0) * a->stride[1];
            ahead->channel[r] = a->stride[1];
            ahead->size[r] = fc_min(end[k] - from[k] + 1, 8 * m); /* a dilated kernel reaches far to read little */
            ahead->channels[r] = k ? t->rows : t->channels;
            ahead->rows += ahead->channels[r];
        }
    }
}

static void FN(wgrad_look_at_result)(const FN(wgrad_state) *s, const fc_corr *c, const fc_array *gw, const FN(wgrad_tile) *t,
                                     FN(wgrad_ahead) *ahead)
{
    *ahead = (FN(wgrad_ahead)){.ranges = s->at_once};
    int64_t k = t->g * c->rows + t->k0, q = t->g * c->reds + t->c0; /* of x's channels, those of a group have no number in gw */
    ahead->first[0] = (const real *)gw->data + (s->swapped ? q * gw->stride[0] + t->k0 * gw->stride[1]
                                                           : k * gw->stride[0] + t->c0 * gw->stride[1]);
    ahead->channel[0] = gw->stride[0];
    ahead->size[0] = s->swapped ? t->rows : t->channels * c->taps;
    ahead->channels[0] = ahead->rows = s->swapped ? t->channels : t->rows;
}

/* The next share, as products go on: rows are too short for the processor to foresee. */
static inline void FN(wgrad_fetch)(FN(wgrad_ahead) *ahead)
{
    for (int64_t i = 0; i < ahead->share && ahead->range < ahead->ranges; i++) {
        const real *row = ahead->first[ahead->range] + ahead->row * ahead->channel[ahead->range];
        for (int64_t e = 0; e < ahead->size[ahead->range]; e += FC_ALIGN / (int64_t)sizeof(real))
            __builtin_prefetch(row + e, 0, 2);
        if (++ahead->row == ahead->channels[ahead->range]) {
            ahead->row = 0;
            ahead->range++;
        }
    }
}

/* What a task multiplies into: its tile of sums, and whether they have begun. */
typedef struct {
    FN(wgrad_tile) t;
    int64_t taps;
    real *acc;
    ptrdiff_t per_lane, pitch; /* from a lane to the next; from a row, 0: as many as there are lanes */
    int add;
    FN(wgrad_ahead) ahead;
} FN(wgrad_sums);

/* Rows of one tap (first, with step `taps`) or of all taps (step 1), and a block of lanes from k: their sums over pixels. */
static void FN(wgrad_multiply)(FN(wgrad_sums) *to, int64_t k, int64_t first, int64_t rows, int64_t step, const real *inputs,
                               const ptrdiff_t *row_at, const ptrdiff_t *pixel_at, int64_t pixels, const real *turned)
{
    int64_t lanes = fc_round_up(fc_min(FC_LANES, to->t.rows - k), VL), tiles = fc_ceil_div(rows, FC_ROWS_MAX);
    ptrdiff_t pitch = to->pitch ? to->pitch : lanes;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t q0 = FN(even_start)(rows, tiles, i), m = FN(even_start)(rows, tiles, i + 1) - q0;
        FN(dest) c = {to->acc + k * to->per_lane + (first + q0 * step) * pitch, step * pitch, to->add};
        for (int64_t r = 0; r < m; r++)
            for (int64_t e = 0; e < lanes; e += FC_ALIGN / (int64_t)sizeof(real))
                __builtin_prefetch(c.c + r * c.ldc + e, 1);
        FN(wgrad_fetch)(&to->ahead);
        FN(fma_rows)((int)m, (int)(lanes / VL), inputs, row_at + q0, pixel_at, pixels, turned, lanes, c);
    }
}

/* A block read in place, tap by tap. */
static void FN(wgrad_block_in_place)(const FN(wgrad_state) *s, const fc_problem *p, const fc_corr *c, const fc_call *call,
                                     FN(wgrad_sums) *to, int64_t block, real *clipped, real *turned, ptrdiff_t *row_at,
                                     ptrdiff_t *pixel_at, FN(wgrad_segment) *seg)
{
    const fc_array *x = &call->array[s->swapped ? 1 : 0];
    fc_array turns = call->array[s->swapped ? 0 : 1], *gy = &turns; /* with a step from one output to the next */
    int linear = 1;
    for (int d = 0; s->swapped && d < FC_DIMS; d++) {
        turns.stride[2 + d] *= p->axis[d].stride;
        linear = linear && p->axis[d].stride == 1;
    }
    linear = linear && FN(patches_linear)(c, x) && FN(patches_linear)(c, gy);
    const FN(wgrad_tile) *t = &to->t;
    int64_t image = c->axis[0].count * c->axis[1].count * c->axis[2].count, p0 = block * s->run;
    int64_t pixels = fc_min(s->run, image * p->batch - p0);
    int64_t segments = FN(wgrad_segments)(c, linear, p0, pixels, seg);
    const real *first = (const real *)gy->data + (t->g * c->rows + t->k0) * gy->stride[1];
    for (int64_t i = 0; i < segments; i++)
        FN(turn_run)(first + seg[i].image * gy->stride[0] + seg[i].j[0] * gy->stride[2] + seg[i].j[1] * gy->stride[3] +
                         seg[i].j[2] * gy->stride[4], gy, seg[i].n, t->rows, seg[i].at, pixels, turned);
    for (int64_t i = 0; i < t->channels; i++)
        row_at[i] = (t->g * c->reds + t->c0 + i) * x->stride[1];
    int64_t next = p0 + pixels, more = fc_min(s->run, image * p->batch - next);
    if (more > 0)
        FN(wgrad_look_ahead)(c, x, gy, t, next, more, &to->ahead);
    else
        FN(wgrad_look_at_result)(s, c, &call->array[3], t, &to->ahead);
    int64_t calls = c->taps * fc_ceil_div(t->rows, FC_LANES) * fc_ceil_div(t->channels, FC_ROWS_MAX);
    to->ahead.share = fc_ceil_div(to->ahead.rows, calls);
    for (int64_t tap = 0; tap < c->taps; tap++) {
        FN(wgrad_segment) *kept = seg + s->run;
        int64_t left, count = FN(wgrad_clip)(c, x, linear, seg, segments, tap, pixel_at, kept, &left);
        if (left == 0 && to->add)
            continue;
        for (int64_t k = 0; k < t->rows; k += FC_LANES) {
            int64_t lanes = fc_round_up(fc_min(FC_LANES, t->rows - k), VL), at = 0;
            const real *from = turned + k * pixels;
            for (int64_t i = 0; left < pixels && i < count; at += kept[i++].n)
                FN(copy_run)(clipped + at * lanes, from + kept[i].at * lanes, 1, kept[i].n * lanes);
            FN(wgrad_multiply)(to, k, tap, t->channels, c->taps, (const real *)x->data, row_at, pixel_at, left,
                               left < pixels ? clipped : from);
        }
    }
}

static void FN(wgrad_compute)(const fc_plan *plan, fc_call *call, int64_t slice, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(wgrad_state) *s = (const void *)plan->state;
    fc_corr c = FN(wgrad_corr)(p, s);
    int64_t part = task % s->parts;
    real *inputs = (real *)(scratch + FC_SCRATCH_HEAD), *turned = inputs + s->panel, *own = turned + s->turned;
    FN(wgrad_sums) to = {.t = FN(wgrad_tile_at)(s, &c, task / s->parts), .taps = c.taps};
    to.acc = s->at_once ? own : (real *)call->workspace + task * s->tile;
    to.per_lane = to.t.channels * c.taps;
    const fc_array *gw = &call->array[3];
    int straight = s->at_once && s->blocks == 1 && s->swapped && gw->stride[1] == 1 && to.t.rows % VL == 0;
    if (straight) { /* what is summed once and lies in the order of gw needs no copy */
        to.acc = (real *)gw->data + (to.t.g * c.reds + to.t.c0) * gw->stride[0] + to.t.k0;
        to.per_lane = 1;
        to.pitch = gw->stride[0];
    }
    ptrdiff_t *pixel_at = (ptrdiff_t *)(own + s->at_once * s->tile), *row_at = pixel_at + s->block_pixels;
    FN(wgrad_segment) *seg = (FN(wgrad_segment) *)(row_at + s->channels * c.taps);

    int64_t b0 = FN(even_start)(s->blocks, s->parts, part), b1 = FN(even_start)(s->blocks, s->parts, part + 1);
    int64_t from = b0 + FN(even_start)(b1 - b0, s->slices, slice), end = b0 + FN(even_start)(b1 - b0, s->slices, slice + 1);
    for (int64_t b = from; b < end; b++) {
        to.add = b > b0;
        if (s->source == FN(WGRAD_IN_PLACE)) {
            FN(wgrad_block_in_place)(s, p, &c, call, &to, b, inputs, turned, row_at, pixel_at, seg);
            continue;
        }
        int64_t pixels = s->source == FN(WGRAD_PATCHES)
                             ? FN(wgrad_patches)(s, &c, call, &to.t, b, inputs, turned, row_at, pixel_at, (FN(segment) *)seg)
                             : FN(wgrad_box)(s, p, &c, call, &to.t, b, inputs, turned, row_at, pixel_at);
        for (int64_t k = 0; k < to.t.rows; k += FC_LANES)
            FN(wgrad_multiply)(&to, k, 0, to.t.channels * c.taps, 1, inputs, row_at, pixel_at, pixels, turned + k * pixels);
    }
    if (s->at_once && !straight)
        FN(wgrad_finish)(plan, call, task / s->parts, to.acc);
}

static void FN(wgrad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(wgrad_state) *s = (const void *)plan->state;
    if (stage < s->slices)
        FN(wgrad_compute)(plan, call, stage, task, scratch);
    else
        FN(wgrad_finish)(plan, call, task, (real *)call->workspace + task * s->parts * s->tile);
}

static const fc_algorithm FN(wgrad_direct) = {"direct", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(wgrad_direct_prepare),
                                              FN(wgrad_tasks), FN(wgrad_run)};
static const fc_algorithm FN(wgrad_im2col) = {"im2col", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(wgrad_im2col_prepare),
                                              FN(wgrad_tasks), FN(wgrad_run)};
