/* conv_winograd.c: 3x3 convolution with stride 1, and its input gradient, by Winograd's minimal filtering F(4x4, 3x3)
 * (Lavin & Gray, 2016): 36 multiplications for 16 results where the plain sum takes 144.
 *
 *   y = A'[ sum over c of (G w G') * (B' x B) ] A       for each 4x4 tile of results, from a 6x6 tile of inputs
 *
 * The points 0, +-1/sqrt 2, +-sqrt 2 and infinity keep the error several times below that of 0, +-1, +-2 at the same cost: with
 * a = 1/sqrt 2, b = sqrt 2 the transforms are
 *
 *   B' = 1   0    -5/2   0   1  0      A' = 1  1    1    1    1   0      G =  1     0     0
 *        0  -2a   -2     a   1  0           0  a   -a    b   -b   0          -2/3 -2/3 a -1/3
 *        0   2a   -2    -a   1  0           0  1/2  1/2  2    2   0          -2/3  2/3 a -1/3
 *        0  -b/2  -1/2   b   1  0           0  a/2 -a/2  2b  -2b  1           1/6  1/6 b  1/3
 *        0   b/2  -1/2  -b   1  0                                             1/6 -1/6 b  1/3
 *        0   1     0    -5/2 0  1                                             0     0     1
 *
 * Lanes are tiles. A task takes a run of tile rows of one image: its inputs are copied with their padding into a panel in which the
 * six columns of a tile are six planes, so that element (i, j) of consecutive tiles, also across tile rows, is one
 * vector; B' gives V[36][c][tile]. For each chunk of result channels the 36 products U[f] V[f] are plain fma_taps; A' gives
 * four rows of results, interleaved in registers. U is a stage of its own and is what a frozen layer keeps. */

#define FC_WINO_CHUNK_ROWS 64                                       /* result channels at a time */
#define FC_WINO_V ((int64_t)(1 << 20) / (int64_t)sizeof(real))      /* transformed inputs of a task, elements */
#define FC_WINO_M (FC_TAPS_MAX < VL ? (VL / FC_TAPS_MAX >= 2 ? VL / 2 : VL) : VL) /* rows of a tile of U: divides VL */
#define FC_WINO_F 36

typedef struct {
    int64_t tiles_h, tiles_w;
    int64_t run, runs;               /* tile rows of a task, tasks of an image and group */
    int64_t splits;                  /* tasks that share a run, by result channels */
    int64_t rows_padded;             /* result channels, to a multiple of VL */
    int64_t reds, red_blocks;        /* summed channels at a time */
    int64_t packed;                  /* elements of U of all groups, one red block */
    int64_t tiles, tiles_padded;     /* of a task; padded to whole vectors */
    int64_t panel_channels, panel;   /* channels that are copied at a time; elements of their panel */
} FN(wino_state);

static const char *FN(wino_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(wino_state) *s = (void *)plan->state;
    const fc_axis *h = &p->axis[1], *w = &p->axis[2];
    if (p->axis[0].in != 1 || p->axis[0].kernel != 1 || p->axis[0].out != 1)
        return "two spatial axes";
    if (h->kernel != 3 || w->kernel != 3 || h->stride != 1 || w->stride != 1 || h->dilation != 1 || w->dilation != 1)
        return "3x3 kernels with stride 1 and dilation 1";
    fc_corr c = fc_corr_of(p, 0);
    s->tiles_h = fc_ceil_div(c.axis[1].count, 4);
    s->tiles_w = fc_ceil_div(c.axis[2].count, 4);
    if (s->tiles_w > 4096)
        return "rows of at most 16384 results";
    s->rows_padded = fc_round_up(c.rows, VL);
    int64_t reds = fc_max(1, FC_PACKED_BYTES / (int64_t)sizeof(real) / (s->rows_padded * FC_WINO_F * p->groups));
    reds = fc_min(reds, fc_max(1, 4 * FC_WINO_V / (FC_WINO_F * fc_round_up(s->tiles_w, VL))));
    s->red_blocks = fc_ceil_div(c.reds, reds);
    s->reds = fc_ceil_div(c.reds, s->red_blocks);
    s->red_blocks = fc_ceil_div(c.reds, s->reds);
    s->packed = s->rows_padded * s->reds * FC_WINO_F * p->groups;
    /* Tile rows of a task: transformed inputs of about 1 MB, but three vectors of tiles where the image has them. */
    int64_t most = fc_max(FC_PIXELS, FC_WINO_V / (FC_WINO_F * s->reds));
    s->run = fc_max(1, fc_min(s->tiles_h, most / s->tiles_w));
    s->runs = fc_ceil_div(s->tiles_h, s->run);
    s->run = fc_ceil_div(s->tiles_h, s->runs);
    s->runs = fc_ceil_div(s->tiles_h, s->run);
    int64_t chunks = fc_ceil_div(c.rows, FC_WINO_CHUNK_ROWS), units = p->batch * p->groups * s->runs;
    s->tiles = s->run * s->tiles_w;
    int64_t work = (int64_t)((double)s->tiles * FC_WINO_F * (double)c.rows * (double)s->reds / FC_TASK_WORK) + 1;
    s->splits = fc_min(chunks, fc_max(work, fc_ceil_div(FC_TASKS_WANTED / 4, units)));
    s->tiles_padded = fc_round_up(s->tiles, VL);
    s->panel_channels = 4;
    s->panel = FN(aligned)(s->panel_channels * 24 * ((s->run + 1) * s->tiles_w) + 2 * VL);
    plan->stages = 2 * s->red_blocks;
    plan->workspace = s->packed * (int64_t)sizeof(real);
    plan->packed = s->packed * s->red_blocks * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD +
                    (s->panel + FC_WINO_F * (s->reds + FC_WINO_CHUNK_ROWS) * s->tiles_padded + 16 * s->tiles_padded) *
                        (int64_t)sizeof(real) +
                    s->reds * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(wino_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const fc_problem *p = &plan->problem;
    const FN(wino_state) *s = (const void *)plan->state;
    *grain = 1;
    if (stage % 2 == 0)
        return mode == FC_RUN_PACKED ? 0 : p->groups * (s->rows_padded / VL) * fc_ceil_div(s->reds, 16);
    int64_t units = p->batch * p->groups * s->runs;
    *grain = units >= FC_TASKS_WANTED ? s->splits : 1; /* the splits of a run share its transformed inputs */
    return mode == FC_PACK ? 0 : units * s->splits;
}

/* One dimension of G, B' and A': a column of three, six or six vectors. */
FC_INLINE void FN(wino_g)(const vec *w, vec *u, const int step)
{
    const real a = (real)0.70710678118654752440, b = (real)1.41421356237309504880;
    vec even = FN(splat)((real)(-2.0 / 3)) * w[0] + FN(splat)((real)(-1.0 / 3)) * w[2 * step];
    vec odd = FN(splat)((real)(2.0 / 3) * a) * w[step];
    vec even2 = FN(splat)((real)(1.0 / 6)) * w[0] + FN(splat)((real)(1.0 / 3)) * w[2 * step];
    vec odd2 = FN(splat)((real)(1.0 / 6) * b) * w[step];
    u[0] = w[0];
    u[1] = even - odd;
    u[2] = even + odd;
    u[3] = even2 + odd2;
    u[4] = even2 - odd2;
    u[5] = w[2 * step];
}

FC_INLINE void FN(wino_b)(const vec *d, vec *v)
{
    const vec a = FN(splat)((real)0.70710678118654752440), b = FN(splat)((real)1.41421356237309504880);
    const vec half = FN(splat)((real)0.5), two = FN(splat)(2), five_halves = FN(splat)((real)2.5);
    vec even = d[4] - two * d[2], odd = a * (d[3] - two * d[1]);
    vec even2 = d[4] - half * d[2], odd2 = b * (d[3] - half * d[1]);
    v[0] = d[0] + d[4] - five_halves * d[2];
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = d[1] + d[5] - five_halves * d[3];
}

FC_INLINE void FN(wino_a)(const vec *m, vec *y)
{
    const vec a = FN(splat)((real)0.70710678118654752440), b = FN(splat)((real)1.41421356237309504880);
    const vec half = FN(splat)((real)0.5), two = FN(splat)(2);
    vec p = m[1] + m[2], q = a * (m[1] - m[2]), r = m[3] + m[4], t = b * (m[3] - m[4]);
    y[0] = m[0] + p + r;
    y[1] = q + t;
    y[2] = half * p + two * r;
    y[3] = half * q + two * t + m[5];
}

/* U of VL result channels by up to 16 summed channels: [f][tile of rows][c][row]. */
static void FN(wino_pack)(const fc_corr *c, const fc_weight_strides *ws, const real *w, int64_t rows, int64_t reds,
                          int64_t all_reds, real *dst, ptrdiff_t per_f)
{
    for (int64_t r = 0; r < reds; r++) {
        real taps[9][VL];
        for (int64_t t = 0; t < 9; t++) {
            const real *from = w + r * ws->red + fc_weight_tap(c, ws, t);
            for (int64_t i = 0; i < VL; i++)
                taps[t][i] = i < rows ? from[i * ws->row] : 0;
        }
        vec g[9], half[18], u[FC_WINO_F];
        FC_UNROLL for (int t = 0; t < 9; t++) g[t] = FN(load)(taps[t]);
        FC_UNROLL for (int j = 0; j < 3; j++)
        {
            vec column[6];
            FN(wino_g)(g + j, column, 3);
            FC_UNROLL for (int i = 0; i < 6; i++) half[i * 3 + j] = column[i];
        }
        FC_UNROLL for (int i = 0; i < 6; i++) FN(wino_g)(half + i * 3, u + i * 6, 1);
        for (int f = 0; f < FC_WINO_F; f++) {
            real lanes[VL];
            FN(store)(lanes, u[f]);
            for (int64_t k = 0; k < VL; k += FC_WINO_M)
                for (int64_t i = 0; i < FC_WINO_M; i++)
                    dst[f * per_f + k * all_reds + r * FC_WINO_M + i] = lanes[k + i];
        }
    }
}

/* The panel of some channels: [c][row phase 0..3][column 0..5][tile row][tile], tile rows one more than tiles need, because a
 * tile's last two rows are the next one's first. */
static void FN(wino_panel)(const fc_corr *c, const fc_array *x, const real *first, int64_t channels, int64_t tile_row,
                           int64_t run, int64_t tiles_w, real *panel)
{
    const fc_corr_axis *ah = &c->axis[1], *aw = &c->axis[2];
    for (int64_t k = 0; k < channels; k++, first += x->stride[1])
        for (int64_t i = 0; i < 4; i++)
            for (int64_t j = 0; j < 6; j++) {
                int64_t start = j + aw->off;
                int64_t lo = start < 0 ? fc_min(tiles_w, (-start + 3) / 4) : 0;
                int64_t hi = start >= c->in[2] ? lo : fc_max(lo, fc_min(tiles_w, (c->in[2] - 1 - start) / 4 + 1));
                for (int64_t t = 0; t <= run; t++, panel += tiles_w) {
                    int64_t h = (tile_row + t) * 4 + i + ah->off;
                    if (h < 0 || h >= c->in[1] || (t == run && i > 1)) {
                        FN(fill_run)(panel, 0, tiles_w);
                        continue;
                    }
                    const real *row = first + h * x->stride[3] + start * x->stride[4];
                    for (int64_t q = 0; q < lo; q++)
                        panel[q] = 0;
                    if (x->stride[4] == 1)
                        for (int64_t q = lo; q < hi; q++)
                            panel[q] = row[4 * q];
                    else
                        for (int64_t q = lo; q < hi; q++)
                            panel[q] = row[4 * q * x->stride[4]];
                    for (int64_t q = hi; q < tiles_w; q++)
                        panel[q] = 0;
                }
            }
}

/* B' on both sides of every tile of one channel: V[f] at v + f*per_f. */
static void FN(wino_input)(const real *panel, int64_t run, int64_t tiles_w, int64_t tiles, real *v, ptrdiff_t per_f)
{
    int64_t plane = (run + 1) * tiles_w; /* of a row phase and column */
    for (int64_t t = 0; t < tiles; t += VL) {
        vec half[FC_WINO_F], d[6], out[6];
        FC_UNROLL for (int j = 0; j < 6; j++)
        {
            FC_UNROLL for (int i = 0; i < 6; i++) d[i] = FN(load)(panel + ((i % 4) * 6 + j) * plane + (i / 4) * tiles_w + t);
            FN(wino_b)(d, out);
            FC_UNROLL for (int i = 0; i < 6; i++) half[i * 6 + j] = out[i];
        }
        FC_UNROLL for (int i = 0; i < 6; i++)
        {
            FN(wino_b)(half + i * 6, out);
            FC_UNROLL for (int j = 0; j < 6; j++) FN(store)(v + (i * 6 + j) * per_f + t, out[j]);
        }
    }
}

/* A' on both sides of every tile of one result channel: rows[i][4 * tile + j]. */
static void FN(wino_output)(const real *m, ptrdiff_t per_f, int64_t tiles, real *rows, int64_t ld)
{
    for (int64_t t = 0; t < tiles; t += VL) {
        vec half[24], y[4], column[6];
        FC_UNROLL for (int j = 0; j < 6; j++)
        {
            FC_UNROLL for (int i = 0; i < 6; i++) column[i] = FN(load)(m + (i * 6 + j) * per_f + t);
            FN(wino_a)(column, y);
            FC_UNROLL for (int i = 0; i < 4; i++) half[i * 6 + j] = y[i];
        }
        FC_UNROLL for (int i = 0; i < 4; i++)
        {
            FN(wino_a)(half + i * 6, y);
            vec e0 = FN(zip_lo)(y[0], y[2]), e1 = FN(zip_hi)(y[0], y[2]), o0 = FN(zip_lo)(y[1], y[3]), o1 = FN(zip_hi)(y[1], y[3]);
            real *to = rows + i * ld + 4 * t;
            FN(store)(to, FN(zip_lo)(e0, o0));
            FN(store)(to + VL, FN(zip_hi)(e0, o0));
            FN(store)(to + 2 * VL, FN(zip_lo)(e1, o1));
            FN(store)(to + 3 * VL, FN(zip_hi)(e1, o1));
        }
    }
}

static void FN(wino_compute)(const fc_plan *plan, fc_call *call, int64_t red_block, int64_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(wino_state) *s = (const void *)plan->state;
    fc_corr c = fc_corr_of(p, 0);
    int64_t split = task % s->splits, unit = task / s->splits, run_i = unit % s->runs;
    int64_t g = unit / s->runs % p->groups, n = unit / s->runs / p->groups;
    int64_t row0 = run_i * s->run, run = fc_min(s->run, s->tiles_h - row0), tiles = run * s->tiles_w;
    int64_t tp = s->tiles_padded, r0 = red_block * s->reds, reds = fc_min(s->reds, c.reds - r0);
    const fc_array *x = &call->array[0], *y = &call->array[3], *b = &call->array[2];

    real *panel = (real *)(scratch + FC_SCRATCH_HEAD), *v = panel + s->panel, *m = v + FC_WINO_F * s->reds * tp;
    real *rows = m + FC_WINO_F * FC_WINO_CHUNK_ROWS * tp;
    ptrdiff_t *red_at = (ptrdiff_t *)(rows + 16 * tp);
    int64_t *filled = (int64_t *)scratch;
    if (*filled != unit + 1) {
        *filled = unit + 1;
        const real *first = (const real *)x->data + n * x->stride[0] + (g * c.reds + r0) * x->stride[1];
        for (int64_t k = 0; k < reds; k += s->panel_channels) {
            int64_t channels = fc_min(s->panel_channels, reds - k);
            FN(wino_panel)(&c, x, first + k * x->stride[1], channels, row0, run, s->tiles_w, panel);
            for (int64_t i = 0; i < channels; i++)
                FN(wino_input)(panel + i * 24 * (run + 1) * s->tiles_w, run, s->tiles_w, tiles, v + (k + i) * tp, reds * tp);
        }
    }
    for (int64_t i = 0; i < reds; i++)
        red_at[i] = i * tp;
    const real *u = (const real *)(call->mode == FC_RUN ? call->workspace : call->packed);
    if (call->mode == FC_RUN_PACKED)
        u += red_block * s->packed;
    u += g * s->rows_padded * reds * FC_WINO_F;
    ptrdiff_t per_f = s->rows_padded * reds;

    int64_t chunks = fc_ceil_div(c.rows, FC_WINO_CHUNK_ROWS), last = FN(even_start)(chunks, s->splits, split + 1);
    for (int64_t chunk = FN(even_start)(chunks, s->splits, split); chunk < last; chunk++) {
        int64_t k0 = chunk * FC_WINO_CHUNK_ROWS, count = fc_min(FC_WINO_CHUNK_ROWS, c.rows - k0);
        for (int64_t f = 0; f < FC_WINO_F; f++)
            for (int64_t k = 0; k < count; k += FC_WINO_M)
                for (int64_t t = 0; t < tiles; t += FC_PIXELS)
                    FN(fma_taps)(FC_WINO_M, (int)fc_min(FC_TAPS_NV, fc_ceil_div(tiles - t, VL)), u + f * per_f + (k0 + k) * reds,
                                 red_at, reds, v + f * reds * tp + t,
                                 (FN(dest)){m + (f * FC_WINO_CHUNK_ROWS + k) * tp + t, tp, 0});
        for (int64_t k = 0; k < count; k++) {
            int64_t channel = g * c.rows + k0 + k;
            real bias = b->data && red_block == 0 ? ((const real *)b->data)[channel * b->stride[0]] : 0;
            FN(wino_output)(m + k * tp, FC_WINO_CHUNK_ROWS * tp, tiles, rows, 4 * tp);
            real *plane = (real *)y->data + n * y->stride[0] + channel * y->stride[1];
            for (int64_t h = row0 * 4; h < fc_min(c.axis[1].count, (row0 + run) * 4); h++)
                FN(put_run)(plane + h * y->stride[3], y->stride[4], rows + h % 4 * 4 * tp + (h / 4 - row0) * 4 * s->tiles_w,
                            c.axis[2].count, bias, red_block > 0);
        }
    }
}

static void FN(wino_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(wino_state) *s = (const void *)plan->state;
    int64_t red_block = stage / 2;
    if (stage % 2) {
        FN(wino_compute)(plan, call, red_block, task, scratch);
        return;
    }
    fc_corr c = fc_corr_of(p, 0);
    int64_t pieces = fc_ceil_div(s->reds, 16), blocks = s->rows_padded / VL;
    int64_t piece = task % pieces, k0 = task / pieces % blocks * VL, g = task / pieces / blocks;
    int64_t r0 = red_block * s->reds, reds = fc_min(s->reds, c.reds - r0), from = piece * 16;
    if (from >= reds)
        return;
    const fc_array *w = &call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(p, w);
    real *u = (real *)(call->mode == FC_RUN ? call->workspace : call->packed + red_block * s->packed * (int64_t)sizeof(real));
    FN(wino_pack)(&c, &ws, (const real *)w->data + g * p->out_channels * w->stride[0] + k0 * ws.row + (r0 + from) * ws.red,
                  fc_min(VL, c.rows - k0), fc_min(16, reds - from), reds,
                  u + g * s->rows_padded * reds * FC_WINO_F + k0 * reds + from * FC_WINO_M, s->rows_padded * reds);
}

static const fc_algorithm FN(winograd) = {"winograd", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD, FN(wino_prepare),
                                          FN(wino_tasks), FN(wino_run)};
