/* conv_winograd.c: convolution with 3x3 or 5x5 kernels that move by 1, and its input gradient, by Winograd's F(4x4, 3x3) and
 * F(2x2, 5x5): kernels/winograd.h has the transforms. A third axis, depth, is summed as channels are; dilation makes sub-images.
 * For each of 36 frequencies f
 *
 *   M[f][k][tile] = sum_c U[f][k][c] * V[f][c][tile]      U from the weights, V from the inputs, y from M
 *
 * is a plain fma_taps, tiles in the lanes. Tiles are numbered through rows and images and cut into blocks of whole vectors, so
 * that small maps fill them, too; result channels are cut into chunks whose products with a block stay in L2.
 *
 * Blocks of V and chunks of U meet in one of two orders. Where tiles are many, U is a stage of its own and a task makes its
 * block of V in its scratch, for all chunks; long sums over channels go on in later pairs of stages, which add to y. Where
 * tiles are few (one image of 14 px has 16), V is the stage and a task makes its chunk of U, FC_WINO_REDS channels at a
 * time, for some blocks: transformed weights, up to four times as large as the weights, then never leave the cache. A frozen layer
 * keeps U. */

#define FC_WINO_M (FC_TAPS_MAX < VL ? (VL / FC_TAPS_MAX >= 2 ? VL / 2 : VL) : VL) /* rows of a tile of U: VL or half of it */
#define FC_WINO_REDS 128                                       /* summed channels at a time: their V of a frequency stays in L1 */
#define FC_WINO_CHUNK(weights_first) (weights_first ? 32 : 16) /* result channels of a chunk: their M, or U and M, stay in L2 */
#define FC_WINO_SPAN 192                                       /* tiles that a chunk of U is made for */
#define FC_WINO_PIECE 16                                       /* channels of a task of the stage of V, and packed at a time */
#define FC_WINO_TILES 48                                       /* of a block, where V is large */
#define FC_WINO_V ((int64_t)(512 << 10) / (int64_t)sizeof(real))  /* elements of a block of V that bound its tiles */
/* The V of a stage, if one run of channels has not more: some of any L3. */
#define FC_WINO_SHARED ((int64_t)(6 << 20) / (int64_t)sizeof(real))

#define FC_WINO_ROWS (2 * FC_WINO_OUT) /* of scratch: six of inputs and one of zeros; or four of results, and room to put them together */

typedef struct {
    int64_t side, out;                /* of the kernel; of a tile of results */
    int64_t dilation[2];              /* sub-images along H and W */
    int64_t depth;                    /* taps along depth: with the channels they are the sum's terms */
    int64_t tiles_h, tiles_w, tiles;  /* of a frame, of all frames */
    int64_t block, blocks;            /* tiles of a block (whole vectors), blocks */
    int64_t spans;                    /* tasks that share the blocks, where V is the stage */
    int64_t chunk, chunks;            /* result channels of a chunk (whole vectors), chunks */
    int64_t reds, red_blocks;         /* summed channels at a time, and how often */
    int64_t at_once;                  /* runs of them whose V is a stage */
    int64_t u_f, u_chunk, u;          /* elements of U: of a frequency of a chunk, of a chunk, of a red block */
    int64_t v_f, v_block, v;          /* and of V */
    int64_t m_f, m_blocks, row;       /* of a frequency of M, blocks of M that a task holds; of a row of transformed inputs */
    int weights_first;                /* U is the stage, V in scratch; or V is the stage, U in scratch */
} FN(wino_state);

/* One over the other in memory, 36 frequencies a power of two apart would share a set of the cache. */
static inline int64_t FN(wino_stride)(int64_t elements) { return FN(aligned)(elements) + FC_ALIGN / (int64_t)sizeof(real); }

static const char *FN(wino_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(wino_state) *s = (void *)plan->state;
    const fc_axis *h = &p->axis[1], *w = &p->axis[2];
    if (h->kernel != w->kernel || (h->kernel != 3 && h->kernel != 5) || h->stride != 1 || w->stride != 1)
        return "3x3 and 5x5 kernels with stride 1, along the last two axes";
    if (p->op == FC_CONV_INPUT_GRAD && p->axis[0].stride != 1)
        return "gradients with stride 1 along depth";
    fc_corr c = fc_corr_of(p, 0);
    s->side = h->kernel;
    s->out = FC_WINO_IN + 1 - s->side;
    s->depth = c.axis[0].taps;
    s->dilation[0] = fc_min(h->dilation, fc_max(1, c.axis[1].count));
    s->dilation[1] = fc_min(w->dilation, fc_max(1, c.axis[2].count));
    c.reds *= s->depth;
    s->tiles_h = fc_ceil_div(fc_ceil_div(c.axis[1].count, s->dilation[0]), s->out);
    s->tiles_w = fc_ceil_div(fc_ceil_div(c.axis[2].count, s->dilation[1]), s->out);
    s->tiles = p->batch * c.axis[0].count * s->dilation[0] * s->dilation[1] * s->tiles_h * s->tiles_w;
    int64_t rows = fc_round_up(c.rows, VL);
    int64_t vectors = fc_ceil_div(s->tiles, VL);
    double per_tile = (double)(p->groups * FC_WINO_F * c.reds), all = per_tile * (double)(vectors * VL);
    double packed_most = (double)FC_PACKED_BYTES / sizeof(real);
    s->weights_first = all > FC_WINO_SHARED && (all > packed_most || vectors * VL > rows);
    int64_t reds = FC_WINO_REDS;
    if (s->weights_first)
        reds = (int64_t)fc_max(1, fc_min(reds, FC_PACKED_BYTES / (int64_t)sizeof(real) / (rows * FC_WINO_F * p->groups)));
    s->red_blocks = fc_ceil_div(c.reds, reds);
    s->reds = fc_ceil_div(c.reds, s->red_blocks);
    s->red_blocks = fc_ceil_div(c.reds, s->reds);

    int64_t block = fc_max(1, fc_max(FC_WINO_TILES, fc_min(4 * FC_WINO_TILES, FC_WINO_V / (FC_WINO_F * s->reds))) / VL);
    if (s->weights_first && p->groups * fc_ceil_div(vectors, block) < FC_TASKS_WANTED)
        block = fc_max(1, block * 2 / 3);
    s->blocks = fc_ceil_div(vectors, block);
    s->block = fc_ceil_div(vectors, s->blocks) * VL;
    s->blocks = fc_ceil_div(s->tiles, s->block);
    s->chunks = fc_ceil_div(c.rows, FC_WINO_CHUNK(s->weights_first));
    s->chunk = fc_round_up(fc_ceil_div(c.rows, s->chunks), VL);
    s->chunks = fc_ceil_div(c.rows, s->chunk);
    s->m_blocks = s->weights_first ? 1 : fc_min(s->blocks, fc_max(1, FC_WINO_SPAN / s->block));
    s->spans = fc_ceil_div(s->blocks, s->m_blocks);

    s->u_f = FN(wino_stride)(s->chunk * s->reds);
    s->u_chunk = FC_WINO_F * s->u_f;
    s->u = s->u_chunk * s->chunks * p->groups;
    s->v_f = FN(wino_stride)(s->reds * s->block);
    s->v_block = FC_WINO_F * s->v_f;
    s->v = s->v_block * s->blocks * p->groups;
    s->at_once = s->weights_first ? 1 : fc_min(s->red_blocks, fc_max(1, FC_WINO_SHARED / s->v));
    s->v *= s->at_once;
    s->m_f = FN(wino_stride)(s->chunk * s->block);
    s->row = FN(wino_row)(s->block);
    plan->stages = 2 * fc_ceil_div(s->red_blocks, s->at_once);
    plan->workspace = (s->weights_first ? s->u : s->v) * (int64_t)sizeof(real);
    plan->workspace_packed = s->weights_first ? 0 : plan->workspace;
    plan->packed = s->u * s->red_blocks * (int64_t)sizeof(real);
    plan->scratch = FC_SCRATCH_HEAD +
                    ((s->weights_first ? s->v_block : s->u_chunk) + FC_WINO_F * s->m_f * s->m_blocks +
                     FC_WINO_ROWS * s->row + FN(aligned)(s->side * s->side * FC_WINO_PIECE * VL)) *
                        (int64_t)sizeof(real) +
                    s->reds * (int64_t)sizeof(ptrdiff_t) + s->block * (int64_t)sizeof(FN(tiles));
    return NULL;
}

static ptrdiff_t FN(wino_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(wino_state) *s = (const void *)plan->state;
    ptrdiff_t groups = plan->problem.groups;
    *grain = 1;
    if (stage % 2)
        return mode == FC_PACK ? 0 : groups * (s->weights_first ? s->blocks : s->chunks * s->spans);
    int64_t runs = fc_min(s->at_once, s->red_blocks - stage / 2 * s->at_once);
    if (mode == FC_PACK || s->weights_first)
        return mode == FC_RUN_PACKED ? 0 : groups * s->chunks * runs;
    return groups * s->blocks * runs * fc_ceil_div(s->reds, FC_WINO_PIECE);
}

/* What the steps of a task share: the run of summed channels and the thread's scratch. */
typedef struct {
    const FN(wino_state) *s;
    const fc_problem *p;
    fc_corr c;
    fc_call *call;
    int64_t p_reds;                /* summed channels of a group; c.reds counts a kernel's slices, too */
    int64_t red_block, r0, reds;
    real *own, *m, *rows, *turned; /* a block of V or a chunk of U; products; transformed rows; weights with rows in the lanes */
    ptrdiff_t *red_at;
    FN(tiles) *pieces;
} FN(wino_job);

/* Asks for the weights of the next channels: runs of one or a few hundred elements, too short for the processor to foresee. */
static void FN(wino_fetch)(const fc_weight_strides *ws, const real *w, int64_t reds, int64_t rows)
{
    int rows_outside = ws->row > ws->red;
    ptrdiff_t outer = rows_outside ? ws->row : ws->red, inner = rows_outside ? ws->red : ws->row;
    int64_t runs = rows_outside ? rows : reds, length = (rows_outside ? reds : rows) * inner;
    for (int64_t i = 0; i < runs; i++)
        for (int64_t j = 0; j < length; j += FC_ALIGN / (int64_t)sizeof(real))
            __builtin_prefetch(w + i * outer + j);
}

/* U of a chunk of result channels: [f][tile of rows][c][row]. */
static void FN(wino_make_u)(const FN(wino_job) *job, int64_t g, int64_t chunk, real *u)
{
    const FN(wino_state) *s = job->s;
    const fc_array *w = &job->call->array[1];
    fc_weight_strides ws = fc_weight_strides_of(job->p, w);
    int64_t k0 = chunk * s->chunk, rows = fc_min(s->chunk, job->c.rows - k0), reds = job->reds, taps = s->side * s->side;
    const real *first = (const real *)w->data + g * job->p->out_channels * w->stride[0] + k0 * ws.row;
    for (int64_t k = 0; k < rows; k += VL)
        for (int64_t r = 0; r < reds; r += FC_WINO_PIECE) {
            int64_t n = fc_min(FC_WINO_PIECE, reds - r), lanes = fc_min(VL, rows - k);
            const real *from = first + k * ws.row + (job->r0 + r) / s->depth * ws.red;
            if (s->depth == 1) {
                FN(direct_pack)(&job->c, &ws, from, n, lanes, VL, job->turned);
                FN(wino_fetch)(&ws, from + n * ws.red, fc_min(n, reds - r - n), lanes);
            }
            for (int64_t i = 0; i < n && s->depth > 1; i++) { /* one slice of a kernel after the other */
                fc_corr slice = job->c;
                slice.axis[0].w0 += (job->r0 + r + i) % s->depth * slice.axis[0].wstep;
                slice.axis[0].taps = 1;
                slice.taps = taps;
                FN(direct_pack)(&slice, &ws, first + k * ws.row + (job->r0 + r + i) / s->depth * ws.red, 1, lanes, VL,
                                job->turned + i * taps * VL);
            }
            for (int64_t i = 0; i < n; i++)
                FN(wino_weights)(job->turned + i * taps * VL, s->side, FC_WINO_M, u + k * reds + (r + i) * FC_WINO_M, s->u_f,
                                 FC_WINO_M * reds);
        }
}

/* The inputs of frame `phase` of an axis: the first index, counted in the frame, that result 0 reads, and how many there are. */
static inline int64_t FN(wino_frame)(const fc_corr_axis *a, int64_t phase, int64_t in, int64_t *size, int64_t *first)
{
    int64_t at = phase + a->off, q = at / a->offstep - (at % a->offstep < 0);
    *first = at - q * a->offstep;
    *size = *first < in ? (in - 1 - *first) / a->offstep + 1 : 0;
    return q;
}

/* The pieces of a block, with what they read and write. */
static int64_t FN(wino_cut)(const FN(wino_job) *job, int64_t block)
{
    const FN(wino_state) *s = job->s;
    const fc_array *x = &job->call->array[0], *y = &job->call->array[3];
    const fc_corr_axis *a = job->c.axis;
    int64_t dh = s->dilation[0], dw = s->dilation[1];
    int64_t count = FN(wino_pieces)(block * s->block, fc_min(s->block, s->tiles - block * s->block), s->tiles_h, s->tiles_w,
                                    job->pieces);
    for (FN(tiles) *piece = job->pieces; piece < job->pieces + count; piece++) {
        int64_t pw = piece->frame % dw, ph = piece->frame / dw % dh, slice = piece->frame / dw / dh;
        int64_t d = slice % a[0].count, n = slice / a[0].count, h0 = piece->row * s->out, w0 = piece->column * s->out;
        int64_t first_h, first_w;
        piece->h = h0 + FN(wino_frame)(&a[1], ph, job->c.in[1], &piece->in_h, &first_h);
        piece->w = w0 + FN(wino_frame)(&a[2], pw, job->c.in[2], &piece->in_w, &first_w);
        piece->depth = d * a[0].xstep + a[0].off;
        piece->from = n * x->stride[0] + first_h * x->stride[3] + first_w * x->stride[4];
        piece->height = fc_min(s->out, (a[1].count - ph + dh - 1) / dh - h0);
        piece->width = fc_max(0, fc_min(s->out * piece->count, (a[2].count - pw + dw - 1) / dw - w0));
        piece->to = n * y->stride[0] + d * y->stride[2] + (ph + h0 * dh) * y->stride[3] + (pw + w0 * dw) * y->stride[4];
    }
    return count;
}

/* V of a block of tiles, for `terms` of the run from r on: [f][term][tile]. */
static void FN(wino_make_v)(const FN(wino_job) *job, int64_t g, int64_t block, int64_t r, int64_t terms, real *v)
{
    const FN(wino_state) *s = job->s;
    const fc_array *x = &job->call->array[0];
    const fc_corr_axis *a = job->c.axis;
    int64_t count = FN(wino_cut)(job, block);
    ptrdiff_t down = a[1].offstep * x->stride[3], along = a[2].offstep * x->stride[4];
    ptrdiff_t ahead = s->depth == 1 ? x->stride[1] : a[0].offstep * x->stride[2];
    FN(fill_run)(job->rows + FC_WINO_IN * s->row, 0, s->row);
    for (int64_t end = r + terms; r < end; r++) {
        int64_t term = job->r0 + r, channel = g * job->p_reds + term / s->depth;
        for (int64_t i = 0; i < count; i++) {
            const FN(tiles) *piece = &job->pieces[i];
            int64_t slice = piece->depth + term % s->depth * a[0].offstep;
            int there = slice >= 0 && slice < job->c.in[0];
            const real *plane = (const real *)x->data + piece->from + channel * x->stride[1] + (there ? slice * x->stride[2] : 0);
            FN(wino_rows)(piece, s->out, plane, there ? piece->in_h : 0, down, along, ahead, job->rows, s->row);
            FN(wino_columns)(s->out, job->rows, s->row, piece->count, s->block - piece->at, v + r * s->block + piece->at, s->v_f);
        }
    }
}

/* M[f] = or += U[f] V[f] for a chunk of result channels and a block of tiles: [f][k][tile]. */
static void FN(wino_products)(const FN(wino_job) *job, const real *u, const real *v, int64_t chunk, int64_t block, int add,
                              real *m)
{
    const FN(wino_state) *s = job->s;
    int64_t rows = fc_min(s->chunk, job->c.rows - chunk * s->chunk);
    int64_t vectors = fc_ceil_div(fc_min(s->block, s->tiles - block * s->block), VL);
    int64_t parts = fc_ceil_div(vectors, FC_TAPS_NV);
    /* A frozen layer's U comes from far away, in runs of a few pages: the next frequency's is asked for meanwhile. */
    int64_t far = job->call->mode == FC_RUN_PACKED ? FC_WINO_M * job->reds : 0;
    for (int64_t f = 0; f < FC_WINO_F; f++, u += s->u_f, v += s->v_f, m += s->m_f)
        for (int64_t k = 0; k < rows; k += FC_WINO_M) {
            for (int64_t i = 0; i < far; i += FC_ALIGN / (int64_t)sizeof(real))
                __builtin_prefetch(u + s->u_f + k * job->reds + i, 0, 2);
            for (int64_t i = 0; i < parts; i++) {
                int64_t t0 = FN(even_start)(vectors, parts, i), t1 = FN(even_start)(vectors, parts, i + 1);
                FN(fma_taps)(FC_WINO_M, (int)(t1 - t0), u + k * job->reds, job->red_at, job->reds, v + t0 * VL,
                             (FN(dest)){m + k * s->block + t0 * VL, s->block, add});
            }
        }
}

/* Rows of results on their way to y. Short ones that follow one another there are put together first: one by one they would be
 * parts of vectors, each waiting for the one before. */
typedef struct {
    real *to, *held;
    int64_t count, step;
    real bias;
    int add;
    const fc_problem *ends; /* whose activation is to follow, or NULL: more sums are to come */
} FN(wino_writer);

static inline void FN(wino_write)(const FN(wino_writer) *out, real *to, const real *row, int64_t width)
{
    FN(put_run)(to, out->step, row, width, out->bias, out->add);
    if (out->ends)
        FN(rectify_run)(out->ends, to, out->step, width);
}

static inline void FN(wino_flush)(FN(wino_writer) *out)
{
    FN(wino_write)(out, out->to, out->held, out->count);
    out->count = 0;
}

static inline void FN(wino_put)(FN(wino_writer) *out, real *to, const real *row, int64_t width)
{
    if (out->step != 1 || width >= 2 * VL) {
        FN(wino_write)(out, to, row, width);
        return;
    }
    if (to != out->to + out->count) {
        FN(wino_flush)(out);
        out->to = to;
    }
    for (int64_t i = 0; i < width; i += VL) /* what is written behind the width, the next row overwrites */
        FN(store)(out->held + out->count + i, FN(load)(row + i));
    out->count += width;
}

/* y of a chunk of result channels in a block of tiles, from M. */
static void FN(wino_output)(const FN(wino_job) *job, int64_t g, int64_t chunk, int64_t block, int add, const real *m)
{
    const FN(wino_state) *s = job->s;
    const fc_corr *c = &job->c;
    const fc_array *y = &job->call->array[3], *b = &job->call->array[2];
    int64_t n = fc_min(s->block, s->tiles - block * s->block), k0 = chunk * s->chunk, rows = fc_min(s->chunk, c->rows - k0);
    int64_t pieces = FN(wino_cut)(job, block);
    ptrdiff_t down = s->dilation[0] * y->stride[3];
    FN(wino_writer) out = {.held = job->rows + FC_WINO_OUT * s->row, .step = s->dilation[1] * y->stride[4], .add = add};
    if (job->red_block == s->red_blocks - 1)
        out.ends = job->p;
    for (int64_t k = 0; k < rows; k++) {
        int64_t channel = g * c->rows + k0 + k;
        real *plane = out.to = (real *)y->data + channel * y->stride[1];
        out.bias = b->data && !add ? ((const real *)b->data)[channel * b->stride[0]] : 0;
        FN(wino_results)(s->out, m + k * s->block, s->m_f, n, job->rows, s->row);
        for (const FN(tiles) *piece = job->pieces; piece < job->pieces + pieces; piece++) {
            real *to = plane + piece->to;
            const real *row = job->rows + piece->at * s->out;
            for (int64_t h = 0; h < piece->height && piece->width; h++, to += down, row += s->row)
                FN(wino_put)(&out, to, row, piece->width);
        }
        FN(wino_flush)(&out);
    }
}

static void FN(wino_reds)(FN(wino_job) *job, int64_t red_block)
{
    job->red_block = red_block;
    job->r0 = red_block * job->s->reds;
    job->reds = fc_min(job->s->reds, job->c.reds - job->r0);
}

/* U is there: a block of V, made here, meets all chunks. */
static void FN(wino_for_block)(const FN(wino_job) *job, int64_t g, int64_t block, const real *u)
{
    const FN(wino_state) *s = job->s;
    int add = job->red_block > 0;
    FN(wino_make_v)(job, g, block, 0, job->reds, job->own);
    for (int64_t chunk = 0; chunk < s->chunks; chunk++) {
        FN(wino_products)(job, u + (g * s->chunks + chunk) * s->u_chunk, job->own, chunk, block, 0, job->m);
        FN(wino_output)(job, g, chunk, block, add, job->m);
    }
}

/* V is there: a chunk of U, made here or packed, meets some blocks. */
static void FN(wino_for_chunk)(FN(wino_job) *job, int64_t g, int64_t chunk, int64_t span, int64_t r0, const real *v)
{
    const FN(wino_state) *s = job->s;
    int64_t b0 = FN(even_start)(s->blocks, s->spans, span), b1 = FN(even_start)(s->blocks, s->spans, span + 1);
    int64_t m_block = FC_WINO_F * s->m_f;
    for (int64_t r = r0; r < fc_min(s->red_blocks, r0 + s->at_once); r++) {
        FN(wino_reds)(job, r);
        const real *u = (real *)job->call->packed + r * s->u + (g * s->chunks + chunk) * s->u_chunk;
        if (job->call->mode == FC_RUN)
            FN(wino_make_u)(job, g, chunk, job->own);
        for (int64_t b = b0; b < b1; b++)
            FN(wino_products)(job, job->call->mode == FC_RUN ? job->own : u, v + ((g * s->blocks + b) * s->at_once + r - r0) * s->v_block,
                              chunk, b, r > r0, job->m + (b - b0) * m_block);
    }
    for (int64_t b = b0; b < b1; b++)
        FN(wino_output)(job, g, chunk, b, r0 > 0, job->m + (b - b0) * m_block);
}

static void FN(wino_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const FN(wino_state) *s = (const void *)plan->state;
    FN(wino_job) job = {.s = s, .p = &plan->problem, .c = fc_corr_of(&plan->problem, 0), .call = call};
    job.p_reds = job.c.reds;
    job.c.reds *= s->depth;
    job.own = (real *)(scratch + FC_SCRATCH_HEAD);
    job.m = job.own + (s->weights_first ? s->v_block : s->u_chunk);
    job.rows = job.m + FC_WINO_F * s->m_f * s->m_blocks;
    job.turned = job.rows + FC_WINO_ROWS * s->row;
    job.red_at = (ptrdiff_t *)(job.turned + FN(aligned)(s->side * s->side * FC_WINO_PIECE * VL));
    job.pieces = (FN(tiles) *)(job.red_at + s->reds);
    real *workspace = (real *)call->workspace;
    for (int64_t i = 0; i < s->reds; i++)
        job.red_at[i] = i * s->block;

    int64_t r0 = stage / 2 * s->at_once;
    if (s->weights_first) {
        FN(wino_reds)(&job, r0);
        real *u = call->mode == FC_RUN ? workspace : (real *)call->packed + r0 * s->u;
        if (stage % 2)
            FN(wino_for_block)(&job, task / s->blocks, task % s->blocks, u);
        else
            FN(wino_make_u)(&job, task / s->chunks, task % s->chunks, u + task * s->u_chunk);
    } else if (stage % 2) {
        FN(wino_for_chunk)(&job, task / s->spans / s->chunks, task / s->spans % s->chunks, task % s->spans, r0, workspace);
    } else if (call->mode == FC_PACK) {
        int64_t units = plan->problem.groups * s->chunks, unit = task % units, r = r0 + task / units;
        FN(wino_reds)(&job, r);
        FN(wino_make_u)(&job, unit / s->chunks, unit % s->chunks, (real *)call->packed + r * s->u + unit * s->u_chunk);
    } else {
        int64_t runs = fc_min(s->at_once, s->red_blocks - r0), pieces = fc_ceil_div(s->reds, FC_WINO_PIECE);
        int64_t piece = task % pieces * FC_WINO_PIECE, r = task / pieces % runs, unit = task / pieces / runs;
        FN(wino_reds)(&job, r0 + r);
        if (piece < job.reds)
            FN(wino_make_v)(&job, unit / s->blocks, unit % s->blocks, piece, fc_min(FC_WINO_PIECE, job.reds - piece),
                            workspace + (unit * s->at_once + r) * s->v_block);
    }
}

static const fc_algorithm FN(winograd) = {"winograd", FC_ISA_NAME, 1u << FC_CONV | 1u << FC_CONV_INPUT_GRAD, FN(wino_prepare),
                                          FN(wino_tasks), FN(wino_run)};
