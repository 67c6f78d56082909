/* weight_grad_winograd.c: the weight gradient of 3x3 and 5x5 convolution with stride 1 by Winograd's F(3x3, 4x4) and F(5x5, 2x2):
 * 36 multiplications for 9 taps over a 4x4 tile of the output, where the plain sum takes 144, or for 25 taps over a 2x2 tile, 100.
 *
 *   gw = G' [ sum over images and tiles of (A gy A') * (B' x B) ] G      with the G, B', A' of kernels/winograd.h
 *
 * which is the forward algorithm read the other way: both are the sum over f of (A z)[f] (B' x)[f] (G w)[f], linear in each
 * of output, input and weight, and the gradient takes z = gy and leaves w out.
 *
 * Lanes are channels: rows of an image are transposed to [pixel][lane], so that a tile is whole vectors at any size of the
 * image, and the transformed tiles are the operands of fma_rows as they are:
 *
 *   V[panel of input channels][f][tile][lane]   its vectors
 *   Y[vector of output channels][f][tile][lane] its scalars
 *   M[k][panel][f][lane] += sum over tiles of Y V
 *
 * A dilated kernel sees d x d sub-images ("frames") that do not meet: their tiles follow one another. Of a third axis, depth,
 * each tap is a gradient of its own, from the slices that it meets, one after the other.
 *
 * Stages alternate: one transforms a chunk of tiles, the next multiplies it. Where one chunk holds all tiles, and there are
 * tiles of gw enough for all threads, a task sums its M in scratch and finishes its gw at once; otherwise M stays in
 * the workspace, frequencies are tasks too, and a last stage finishes. */

#define FC_WGW_DEPTH 128   /* tiles of a sum in registers: their V of a panel is half the first-level cache */
#define FC_WGW_SEGMENT 64  /* tiles of a row at a time; shorter runs of inputs lose the prefetcher */
#define FC_WGW_CHUNK (1 << 20) /* bytes of a chunk */

typedef struct {
    int64_t side, out;            /* of the kernel; of a tile of the output */
    int64_t tiles_h;
    int64_t seg, segs;            /* a unit is `seg` tiles of a row of tiles of a frame; units of such a row */
    int64_t frames_h, frames_w;
    int64_t per_slice;            /* units of a slice of an image */
    int64_t units;                /* at most, of all images */
    int64_t chunk, chunks;        /* units of a chunk */
    int64_t k_vecs, c_panels;     /* of a group */
    int64_t per_y, per_v;         /* elements of one frequency */
    int64_t kb, k_tiles, cb, c_tiles; /* tiles of a group's gw; cb is whole panels */
    int64_t rows, blocks;         /* k tiles, of all groups, at a time: as M fits the workspace */
    int64_t f_parts;              /* tasks that share a tile of gw */
    int64_t splits;               /* transforming tasks of a vector of channels */
    int64_t per_k, m;             /* elements of M of a tile: of one output channel, of all */
    int64_t y, v;                 /* elements of the whole Y and V */
} FN(wgw_state);

/* An odd number of cache lines: the 36 frequencies of a tile shall not compete for the same places of a cache. */
static inline int64_t FN(wgw_odd)(int64_t elements)
{
    int64_t line = FC_ALIGN / (int64_t)sizeof(real);
    return (fc_ceil_div(elements, line) | 1) * line;
}

/* Units of a chunk: as many bytes of Y and V as M has, which is read and written for each chunk, and no less than fits the
 * second-level cache; but all of them where that saves M altogether and takes no more than twice its bytes. */
static void FN(wgw_choose_chunk)(FN(wgw_state) *s, int64_t slices, int64_t tiles_w, double y_and_v, double m)
{
    double most = (double)FC_PACKED_BYTES, least = (double)FC_WGW_CHUNK, bytes = (double)sizeof(real);
    int64_t tile_rows = s->frames_h * s->frames_w * s->tiles_h;
    double whole = y_and_v * (double)(slices * tile_rows * tiles_w), budget = whole <= 2 * m ? whole : m;
    budget = budget * bytes < least ? least : budget * bytes > most ? most : budget * bytes;
    double fits = budget / (y_and_v * bytes);
    s->seg = fc_min(FC_WGW_SEGMENT, fits < 1 ? 1 : (int64_t)fits);
    s->segs = fc_ceil_div(tiles_w, s->seg);
    s->seg = fc_ceil_div(tiles_w, s->segs);
    s->segs = fc_ceil_div(tiles_w, s->seg);
    s->per_slice = tile_rows * s->segs;
    s->units = slices * s->per_slice;
    s->chunk = fc_max(1, fc_min(s->units, (int64_t)fits / s->seg));
    s->chunks = fc_ceil_div(s->units, s->chunk);
    s->chunk = fc_ceil_div(s->units, s->chunks);
    s->chunks = fc_ceil_div(s->units, s->chunk);
}

static const char *FN(wgw_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(wgw_state) *s = (void *)plan->state;
    const fc_axis *h = &p->axis[1], *w = &p->axis[2];
    if (h->kernel != w->kernel || (h->kernel != 3 && h->kernel != 5) || h->stride != 1 || w->stride != 1)
        return "3x3 and 5x5 kernels with stride 1, along the last two axes";
    s->side = h->kernel;
    s->out = FC_WINO_IN + 1 - s->side;
    s->k_vecs = fc_ceil_div(p->out_channels, VL);
    s->c_panels = fc_ceil_div(p->in_channels, FC_LANES);
    int64_t side = 256 / (int64_t)sizeof(real); /* of a tile of gw: its M is half of the second-level cache */
    s->k_tiles = fc_ceil_div(p->out_channels, fc_round_up(side, FC_ROWS_MAX));
    s->kb = fc_ceil_div(p->out_channels, s->k_tiles);
    s->k_tiles = fc_ceil_div(p->out_channels, s->kb);
    s->c_tiles = fc_ceil_div(s->c_panels * FC_LANES, side);
    s->cb = fc_ceil_div(s->c_panels, s->c_tiles) * FC_LANES;
    s->c_tiles = fc_ceil_div(s->c_panels * FC_LANES, s->cb);
    s->per_k = FN(wgw_odd)(s->cb * FC_WINO_F);
    s->m = s->kb * s->per_k;

    int64_t rows = p->groups * s->k_tiles; /* of tiles of gw */
    s->frames_h = fc_min(h->dilation, h->out);
    s->frames_w = fc_min(w->dilation, w->out);
    s->tiles_h = fc_ceil_div(h->out, s->out * h->dilation);
    double y_and_v = (double)FC_WINO_F * (double)p->groups * (double)(s->k_vecs * VL + s->c_panels * FC_LANES);
    FN(wgw_choose_chunk)(s, p->batch * p->axis[0].out, fc_ceil_div(w->out, s->out * w->dilation), y_and_v,
                         (double)(rows * s->c_tiles) * (double)s->m);
    s->per_y = FN(wgw_odd)(s->chunk * s->seg * VL);
    s->per_v = FN(wgw_odd)(s->chunk * s->seg * FC_LANES);
    s->y = p->groups * s->k_vecs * FC_WINO_F * s->per_y;
    s->v = p->groups * s->c_panels * FC_WINO_F * s->per_v;
    s->splits = fc_min(s->chunk, fc_ceil_div(2 * FC_TASKS_WANTED, p->groups * (s->k_vecs + s->c_panels)));

    int at_once = s->chunks == 1 && rows * s->c_tiles >= FC_TASKS_WANTED;
    s->f_parts = 1;
    while (!at_once && (FC_WINO_F % s->f_parts || s->f_parts * rows * s->c_tiles < FC_TASKS_WANTED) && s->f_parts < FC_WINO_F)
        s->f_parts++;
    s->rows = at_once ? rows : fc_max(1, fc_min(rows, FC_PACKED_BYTES / (int64_t)sizeof(real) / (s->c_tiles * s->m)));
    s->blocks = fc_ceil_div(rows, s->rows);
    plan->stages = s->blocks * p->axis[0].kernel * (2 * s->chunks + !at_once);
    plan->workspace = (s->y + s->v + (at_once ? 0 : s->rows * s->c_tiles * s->m)) * (int64_t)sizeof(real);
    int64_t panel = 6 * (s->out * s->seg + FC_WINO_IN - s->out) * VL;
    plan->scratch = FC_SCRATCH_HEAD + (fc_max(panel, at_once ? s->m : 0)) * (int64_t)sizeof(real) +
                    (s->kb + s->chunk * s->seg) * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

/* A stage: block of tile rows, tap along depth and the slices of gy that it meets, chunk, and which of the three steps. */
typedef struct {
    int64_t row0, rows, tap, slice0, slices, chunk;
    enum { FN(WGW_TRANSFORM), FN(WGW_MULTIPLY), FN(WGW_FINISH) } step;
} FN(wgw_stage);

static FN(wgw_stage) FN(wgw_stage_at)(const fc_plan *plan, int64_t stage)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    const fc_corr_axis depth = fc_forward_axis(&plan->problem.axis[0]);
    int64_t per_tap = plan->stages / s->blocks / depth.taps, i = stage % per_tap;
    FN(wgw_stage) at;
    at.tap = stage / per_tap % depth.taps;
    int64_t first = depth.off + at.tap * depth.offstep; /* what the first slice meets */
    at.slice0 = first < 0 ? fc_min(depth.count, fc_ceil_div(-first, depth.xstep)) : 0;
    at.slices = first >= plan->problem.axis[0].in ? 0 : (plan->problem.axis[0].in - 1 - first) / depth.xstep + 1;
    at.slices = fc_max(0, fc_min(at.slices, depth.count) - at.slice0);
    at.row0 = stage / per_tap / depth.taps * s->rows;
    at.rows = fc_min(s->rows, plan->problem.groups * s->k_tiles - at.row0);
    at.chunk = i / 2;
    at.step = i == 2 * s->chunks ? FN(WGW_FINISH) : i % 2 ? FN(WGW_MULTIPLY) : FN(WGW_TRANSFORM);
    return at;
}

/* Units of a stage's chunk. */
static inline int64_t FN(wgw_units)(const fc_plan *plan, const FN(wgw_stage) *at)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    return fc_max(0, fc_min(s->chunk, plan->problem.batch * at->slices * s->per_slice - at->chunk * s->chunk));
}

/* Channels of x that a block of tile rows needs: whole groups. */
static inline int64_t FN(wgw_first_group)(const FN(wgw_state) *s, const FN(wgw_stage) *at) { return at->row0 / s->k_tiles; }
static inline int64_t FN(wgw_groups)(const FN(wgw_state) *s, const FN(wgw_stage) *at)
{
    return (at->row0 + at->rows - 1) / s->k_tiles + 1 - at->row0 / s->k_tiles;
}

#define FC_WGW_SLICES 8 /* tasks that finish a tile of gw */

static ptrdiff_t FN(wgw_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    FN(wgw_stage) at = FN(wgw_stage_at)(plan, stage);
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    if (at.step == FN(WGW_TRANSFORM))
        return FN(wgw_groups)(s, &at) * (s->c_panels * FC_ROWS_NV + s->k_vecs) * s->splits;
    return at.rows * s->c_tiles * (at.step == FN(WGW_MULTIPLY) ? s->f_parts : FC_WGW_SLICES);
}

/* A frame's view of an axis of x or gy: pixel i is at first + i*step. */
typedef struct {
    int64_t first, step, size;
} FN(wgw_axis);

/* Pixels w0 .. w0+n of row h of up to VL channels, turned to [pixel][lane]; zero outside the image. */
static void FN(wgw_row)(const fc_array *a, const real *plane, int64_t channels, const FN(wgw_axis) *tall, int64_t h,
                        const FN(wgw_axis) *wide, int64_t w0, int64_t n, real *dst)
{
    int64_t row = tall->first + h * tall->step, column = wide->first + w0 * wide->step;
    int64_t lo = column < 0 ? fc_min(n, fc_ceil_div(-column, wide->step)) : 0;
    int64_t hi = column < wide->size ? fc_max(lo, fc_min(n, (wide->size - 1 - column) / wide->step + 1)) : lo;
    if (row < 0 || row >= tall->size || lo == hi) {
        FN(fill_run)(dst, 0, n * VL);
        return;
    }
    fc_array frame = *a;
    frame.stride[4] *= wide->step;
    FN(fill_run)(dst, 0, lo * VL);
    FN(turn_run)(plane + row * a->stride[3] + (column + lo * wide->step) * a->stride[4], &frame, hi - lo, channels, lo, 0, dst);
    FN(fill_run)(dst + hi * VL, 0, (n - hi) * VL);
}

/* B' on both sides of the tiles of a unit; `ring` holds six rows of `row` elements, the first of the tiles' at `top`. */
static void FN(wgw_transform_x)(const real *ring, int64_t row, int64_t top, int64_t out_side, int64_t tiles, real *v, ptrdiff_t per_f,
                                int64_t lanes)
{
    const real *from[6];
    for (int64_t i = 0; i < 6; i++)
        from[i] = ring + (top + i) % 6 * row;
    for (int64_t t = 0; t < tiles; t++) {
        vec half[FC_WINO_F], d[6], out[6];
        FC_UNROLL for (int j = 0; j < 6; j++)
        {
            FC_UNROLL for (int i = 0; i < 6; i++) d[i] = FN(load)(from[i] + (out_side * t + j) * VL);
            FN(wino_b)(d, out);
            FC_UNROLL for (int i = 0; i < 6; i++) half[i * 6 + j] = out[i];
        }
        FC_UNROLL for (int i = 0; i < 6; i++)
        {
            FN(wino_b)(half + i * 6, out);
            FC_UNROLL for (int j = 0; j < 6; j++) FN(store)(v + (i * 6 + j) * per_f + t * lanes, out[j]);
        }
    }
}

/* A on both sides of the tiles of a unit; `panel` holds the rows of a tile. */
FC_INLINE void FN(wgw_transform_gy_of)(const int side, const real *panel, int64_t row, int64_t tiles, real *y, ptrdiff_t per_f)
{
    for (int64_t t = 0; t < tiles; t++) {
        vec half[FC_WINO_IN * FC_WINO_OUT], z[FC_WINO_OUT], out[FC_WINO_IN];
        FC_UNROLL for (int j = 0; j < side; j++)
        {
            FC_UNROLL for (int i = 0; i < side; i++) z[i] = FN(load)(panel + i * row + (side * t + j) * VL);
            FN(wino_at)(z, side, out);
            FC_UNROLL for (int i = 0; i < 6; i++) half[i * side + j] = out[i];
        }
        FC_UNROLL for (int i = 0; i < 6; i++)
        {
            FN(wino_at)(half + i * side, side, out);
            FC_UNROLL for (int j = 0; j < 6; j++) FN(store)(y + (i * 6 + j) * per_f + t * VL, out[j]);
        }
    }
}

static void FN(wgw_transform_gy)(int64_t side, const real *panel, int64_t row, int64_t tiles, real *y, ptrdiff_t per_f)
{
    if (side == FC_WINO_OUT)
        FN(wgw_transform_gy_of)(FC_WINO_OUT, panel, row, tiles, y, per_f);
    else
        FN(wgw_transform_gy_of)(2, panel, row, tiles, y, per_f);
}

/* A vector of channels of x or gy, some units of a chunk. Units follow one another down the image, so that a tile's last
 * rows, which are the next one's first, need not be turned twice. */
static void FN(wgw_transform)(const fc_plan *plan, fc_call *call, const FN(wgw_stage) *at, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(wgw_state) *s = (const void *)plan->state;
    int64_t c_vecs = s->c_panels * FC_ROWS_NV, per_group = c_vecs + s->k_vecs;
    int64_t split = task % s->splits, i = task / s->splits % per_group;
    int64_t g = FN(wgw_first_group)(s, at) + task / s->splits / per_group;
    int of_x = i < c_vecs;
    i -= of_x ? 0 : c_vecs;
    const fc_array *a = &call->array[of_x ? 0 : 1];
    int64_t all = of_x ? p->in_channels : p->out_channels, channels = fc_min(VL, all - i * VL);
    if (channels <= 0) /* the second vector of a panel that has one */
        return;
    real *y = (real *)call->workspace, *v = y + s->y, *ring = (real *)(scratch + FC_SCRATCH_HEAD);
    const fc_axis *h = &p->axis[1], *w = &p->axis[2];
    int64_t side = s->out, halo = of_x ? FC_WINO_IN - side : 0, columns = side * s->seg + halo, row = columns * VL;
    int64_t lanes = fc_min(FC_LANES, fc_round_up(p->in_channels - i / FC_ROWS_NV * FC_LANES, VL));
    v += (g * s->c_panels + i / FC_ROWS_NV) * FC_WINO_F * s->per_v + i % FC_ROWS_NV * VL;
    y += (g * s->k_vecs + i) * FC_WINO_F * s->per_y;

    int64_t start = at->chunk * s->chunk, count = FN(wgw_units)(plan, at);
    int64_t u0 = FN(even_start)(count, s->splits, split), u1 = FN(even_start)(count, s->splits, split + 1);
    for (int64_t u = u0; u < u1; u++) {
        int64_t th = (start + u) % s->tiles_h, r = (start + u) / s->tiles_h; /* the number of a column of units */
        int64_t tw = r % s->segs * s->seg, fw = r / s->segs % s->frames_w, fh = r / s->segs / s->frames_w % s->frames_h;
        int64_t slice = (start + u) / s->per_slice, n = slice / at->slices, d = at->slice0 + slice % at->slices;
        FN(wgw_axis) tall = {of_x ? fh - h->pad : fh, h->dilation, of_x ? h->in : h->out};
        FN(wgw_axis) wide = {of_x ? fw - w->pad : fw, w->dilation, of_x ? w->in : w->out};
        if (of_x)
            d = d * p->axis[0].stride + at->tap * p->axis[0].dilation - p->axis[0].pad;
        const real *plane = (const real *)a->data + n * a->stride[0] + (g * all + i * VL) * a->stride[1] + d * a->stride[2];
        int64_t top = of_x ? side * th : 0;
        for (int64_t k = of_x && u > u0 && th > 0 ? halo : 0; k < side + halo; k++)
            FN(wgw_row)(a, plane, channels, &tall, side * th + k, &wide, side * tw, columns, ring + (top + k) % 6 * row);
        if (of_x)
            FN(wgw_transform_x)(ring, row, top, side, s->seg, v + u * s->seg * lanes, s->per_v, lanes);
        else
            FN(wgw_transform_gy)(side, ring, row, s->seg, y + u * s->seg * VL, s->per_y);
    }
}

/* G' on both sides of M of some input channels, one output channel. Eight taps of a vector of channels are interleaved in registers,
 * the ninth, which would make the network of shuffles twice as large, goes in one by one. */
static void FN(wgw_inverse)(const real *m, int64_t channels, real *gw, ptrdiff_t channel)
{
    for (int64_t c = 0; c < channels; c += VL) {
        vec half[18], w[9], b[8];
        real taps[8 * VL], last[VL];
        FC_UNROLL for (int j = 0; j < 6; j++)
        {
            vec column[6], out[3];
            FC_UNROLL for (int i = 0; i < 6; i++) column[i] = FN(load)(m + (i * 6 + j) * FC_LANES + c);
            FN(wino_gt)(column, 3, out);
            FC_UNROLL for (int i = 0; i < 3; i++) half[i * 6 + j] = out[i];
        }
        FC_UNROLL for (int i = 0; i < 3; i++) FN(wino_gt)(half + i * 6, 3, w + i * 3);
        FC_UNROLL for (int round = 0; round < 3; round++)
        {
            FC_UNROLL for (int i = 0; i < 4; i++)
            {
                b[2 * i] = FN(zip_lo)(w[i], w[i + 4]);
                b[2 * i + 1] = FN(zip_hi)(w[i], w[i + 4]);
            }
            FC_UNROLL for (int i = 0; i < 8; i++) w[i] = b[i];
        }
        FC_UNROLL for (int i = 0; i < 8; i++) FN(store)(taps + i * VL, w[i]);
        FN(store)(last, w[8]);
        for (int64_t i = 0; i < fc_min(VL, channels - c); i++) {
            memcpy(gw + (c + i) * channel, taps + i * 8, 8 * sizeof(real));
            gw[(c + i) * channel + 8] = last[i];
        }
    }
}

/* The same for kernels of 5x5, whose taps are turned by the usual network. */
static void FN(wgw_inverse_5)(const real *m, int64_t channels, real *gw, ptrdiff_t channel)
{
    for (int64_t c = 0; c < channels; c += VL) {
        vec half[5 * FC_WINO_IN], w[5];
        real taps[25 * VL];
        FC_UNROLL for (int j = 0; j < 6; j++)
        {
            vec column[6];
            FC_UNROLL for (int i = 0; i < 6; i++) column[i] = FN(load)(m + (i * 6 + j) * FC_LANES + c);
            FN(wino_gt)(column, 5, w);
            FC_UNROLL for (int i = 0; i < 5; i++) half[i * 6 + j] = w[i];
        }
        FC_UNROLL for (int i = 0; i < 5; i++)
        {
            FN(wino_gt)(half + i * 6, 5, w);
            FC_UNROLL for (int j = 0; j < 5; j++) FN(store)(taps + (i * 5 + j) * VL, w[j]);
        }
        FN(transpose)(taps, VL, 25, fc_min(VL, channels - c), gw + c * channel, channel, 25);
    }
}

/* A tile of gw, within its group. */
typedef struct {
    int64_t g, k0, rows, c0, channels;
} FN(wgw_tile);

static FN(wgw_tile) FN(wgw_tile_at)(const fc_plan *plan, const FN(wgw_stage) *at, int64_t i)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    FN(wgw_tile) t;
    int64_t row = at->row0 + i / s->c_tiles;
    t.g = row / s->k_tiles;
    t.k0 = row % s->k_tiles * s->kb;
    t.rows = fc_min(s->kb, plan->problem.out_channels - t.k0);
    t.c0 = i % s->c_tiles * s->cb;
    t.channels = fc_min(s->cb, plan->problem.in_channels - t.c0);
    return t;
}

/* Row k of a tile in gw. */
static inline real *FN(wgw_result)(const fc_plan *plan, const fc_call *call, const FN(wgw_stage) *at, const FN(wgw_tile) *t,
                                   int64_t k)
{
    const fc_array *gw = &call->array[3];
    return (real *)gw->data + (t->g * plan->problem.out_channels + t->k0 + k) * gw->stride[0] + t->c0 * gw->stride[1] +
           at->tap * gw->stride[2];
}

static void FN(wgw_finish)(const fc_plan *plan, const fc_call *call, const FN(wgw_stage) *at, const FN(wgw_tile) *t,
                           const real *m, int64_t k0, int64_t k1)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    ptrdiff_t channel = call->array[3].stride[1];
    for (int64_t k = k0; k < k1; k++) {
        real *to = FN(wgw_result)(plan, call, at, t, k);
        for (int64_t c = 0; c < t->channels; c += FC_LANES)
            (s->side == 3 ? FN(wgw_inverse) : FN(wgw_inverse_5))(m + k * s->per_k + c * FC_WINO_F,
                                                                 fc_min(FC_LANES, t->channels - c), to + c * channel, channel);
    }
}

/* Asks for share i of n of a run that the second-level cache shall hold soon. */
static inline void FN(wgw_fetch)(const real *p, int64_t elements, int64_t i, int64_t n)
{
    int64_t line = FC_ALIGN / (int64_t)sizeof(real), lines = fc_ceil_div(elements, line);
    for (int64_t k = FN(even_start)(lines, n, i); k < FN(even_start)(lines, n, i + 1); k++)
        __builtin_prefetch(p + k * line, 0, 2);
}

/* The products of frequencies f0 .. f1 of a tile, summed over a chunk. */
static void FN(wgw_multiply)(const fc_plan *plan, fc_call *call, const FN(wgw_stage) *at, int64_t task, char *scratch)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    int64_t part = task % s->f_parts, i = task / s->f_parts;
    int64_t f0 = part * (FC_WINO_F / s->f_parts), f1 = f0 + FC_WINO_F / s->f_parts;
    FN(wgw_tile) t = FN(wgw_tile_at)(plan, at, i);
    int at_once = plan->stages == 2 * s->blocks * s->chunks * plan->problem.axis[0].kernel;
    int64_t tiles = FN(wgw_units)(plan, at) * s->seg;
    real *y = (real *)call->workspace, *v = y + s->y, *local = (real *)(scratch + FC_SCRATCH_HEAD);
    real *m = at_once ? local : v + s->v + i * s->m;
    ptrdiff_t *row_at = (ptrdiff_t *)(local + (at_once ? s->m : 0)), *tile_at = row_at + s->kb;
    for (int64_t k = 0; k < t.rows; k++)
        row_at[k] = (t.k0 + k) / VL * FC_WINO_F * s->per_y + (t.k0 + k) % VL;
    for (int64_t j = 0; j < tiles; j++)
        tile_at[j] = j * VL;
    y += t.g * s->k_vecs * FC_WINO_F * s->per_y;
    v += (t.g * s->c_panels + t.c0 / FC_LANES) * FC_WINO_F * s->per_v;
    int64_t groups = fc_ceil_div(t.rows, FC_ROWS_MAX), depths = fc_ceil_div(tiles, FC_WGW_DEPTH);
    if (at->chunk == 0 && tiles == 0)
        depths = 1; /* a tap that meets padding alone: sums of nothing */
    for (int64_t f = f0; f < f1; f++) {
        for (int64_t k = FN(even_start)(t.rows, FC_WINO_F, f); at_once && k < FN(even_start)(t.rows, FC_WINO_F, f + 1); k++)
            FN(wgw_fetch)(FN(wgw_result)(plan, call, at, &t, k), t.channels * call->array[3].stride[1], 0, 1); /* where sums go */
        for (int64_t c = 0; c < t.channels; c += FC_LANES) {
            int64_t lanes = fc_round_up(fc_min(FC_LANES, t.channels - c), VL);
            const real *panel = v + (c / FC_LANES * FC_WINO_F + f) * s->per_v;
            for (int64_t d = 0; d < depths; d++) {
                int64_t t0 = FN(even_start)(tiles, depths, d), depth = FN(even_start)(tiles, depths, d + 1) - t0;
                for (int64_t j = 0; j < groups; j++) {
                    int64_t k = FN(even_start)(t.rows, groups, j), rows = FN(even_start)(t.rows, groups, j + 1) - k;
                    FN(dest) to = {m + k * s->per_k + c * FC_WINO_F + f * FC_LANES, s->per_k, at->chunk + d > 0};
                    for (int64_t r = 0; r < rows; r++) /* no pattern that the machine would foresee */
                        for (int64_t e = 0; e < lanes; e += FC_ALIGN / (int64_t)sizeof(real))
                            __builtin_prefetch(to.c + r * to.ldc + e, 1);
                    if (f + 1 < f1) { /* scalars and vectors of the next frequency come from the third level */
                        FN(wgw_fetch)(panel + s->per_v + t0 * lanes, depth * lanes, j, groups);
                        if (c == 0)
                            FN(wgw_fetch)(y + row_at[k] / VL * VL + (f + 1) * s->per_y + t0 * VL, depth * VL, 0, 1);
                    }
                    FN(fma_rows)((int)rows, (int)(lanes / VL), y + f * s->per_y, row_at + k, tile_at + t0, depth,
                                 panel + t0 * lanes, lanes, to);
                }
            }
        }
    }
    if (at_once)
        FN(wgw_finish)(plan, call, at, &t, m, 0, t.rows);
}

static void FN(wgw_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(wgw_state) *s = (const void *)plan->state;
    FN(wgw_stage) at = FN(wgw_stage_at)(plan, stage);
    if (at.step == FN(WGW_TRANSFORM)) {
        FN(wgw_transform)(plan, call, &at, task, scratch);
    } else if (at.step == FN(WGW_MULTIPLY)) {
        FN(wgw_multiply)(plan, call, &at, task, scratch);
    } else {
        int64_t slice = task % FC_WGW_SLICES, i = task / FC_WGW_SLICES;
        FN(wgw_tile) t = FN(wgw_tile_at)(plan, &at, i);
        const real *m = (const real *)call->workspace + s->y + s->v + i * s->m;
        FN(wgw_finish)(plan, call, &at, &t, m, FN(even_start)(t.rows, FC_WGW_SLICES, slice),
                       FN(even_start)(t.rows, FC_WGW_SLICES, slice + 1));
    }
}

static const fc_algorithm FN(wgrad_winograd) = {"winograd", FC_ISA_NAME, 1u << FC_CONV_WEIGHT_GRAD, FN(wgw_prepare),
                                                FN(wgw_tasks), FN(wgw_run)};
