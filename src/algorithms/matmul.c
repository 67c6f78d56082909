/* matmul.c: c[m][n] = sum_k a[m][k] * b[k][n] + bias[n], for the fully connected layer forward and backward.
 *
 * a and b have any strides (so a transpose is a view), c has rows of consecutive elements. A task is a range of rows by a group of
 * blocks of columns (a block fills FC_ROWS_NV vectors). For each chunk of the sum the group's part of b is packed into
 * [block][k][lane], by copy or by register transpose, and fma_rows broadcasts a through its offset tables, unpacked. Groups are as
 * wide as the packed part may be, so that c is read and written in long runs.
 *
 * With few rows packing would cost as much as the product, and reading b once is all the time there is. Columns of b (the
 * forward layer's weights) become dot products. Rows of b are read in place and whole, as they lie in memory: the tasks are
 * then parts of the sum, each with a c of its own, which a last stage adds up. */

#define FC_MATMUL_CHUNK 256
#define FC_MATMUL_CHUNK_IN_PLACE 8 /* rows of b read side by side: few, since rows of 4 KB meet in the same cache sets */
#define FC_MATMUL_WIDE 64         /* blocks of a task's columns, at most */
#define FC_MATMUL_PANEL ((int64_t)(128 << 10) / (int64_t)sizeof(real)) /* packed part of b, elements */
#define FC_MATMUL_FEW_ROWS FC_MIX_ROWS
#define FC_MATMUL_PART (1 << 16)   /* elements of b worth a part of their own */
#define FC_MATMUL_PART_ROWS 64     /* rows of b, beside which adding up a part of c is nothing */

typedef struct {
    int64_t chunk, panel;         /* terms and blocks that are packed at a time */
    int64_t group, groups;        /* blocks of a task, groups */
    int64_t rows, row_blocks;     /* rows of a task, ranges of rows */
    int64_t parts;                /* of a stage's terms; more than one: with few rows */
    int64_t depth, slices;        /* terms of a stage, stages */
} FN(matmul_state);

/* Parts of the sum as tasks: each goes through all rows and columns of c. */
static void FN(matmul_cut_sum)(const fc_problem *p, FN(matmul_state) *s, int64_t blocks)
{
    int64_t k = p->in_channels, c = p->batch * p->out_channels;
    s->parts = fc_min(fc_min(FC_TASKS_WANTED, k / FC_MATMUL_PART_ROWS), k * p->out_channels / FC_MATMUL_PART);
    s->parts = fc_max(1, fc_min(s->parts, FC_PACKED_BYTES / (int64_t)sizeof(real) / c));
    s->group = blocks;
    s->groups = s->row_blocks = 1;
    s->rows = p->batch;
    s->panel = fc_min(blocks, fc_max(1, FC_MATMUL_PANEL / (s->chunk * FC_LANES)));
}

/* Ranges of rows by groups of columns as tasks. */
static void FN(matmul_cut_result)(const fc_problem *p, FN(matmul_state) *s, int64_t blocks)
{
    int64_t m = p->batch;
    s->parts = 1;
    s->group = fc_min(blocks, FC_MATMUL_WIDE);
    s->rows = fc_min(m, 16 * FC_ROWS_MAX);
    int64_t ranges = fc_ceil_div(m, s->rows);
    /* With few rows memory is the limit, which a few cores reach: long runs along the rows of b count for more than tasks. */
    s->group = fc_min(s->group, fc_max(1, blocks * ranges / (m <= FC_ROWS_MAX ? FC_TASKS_WANTED / 4 : FC_TASKS_WANTED)));
    s->groups = fc_ceil_div(blocks, s->group);
    s->panel = fc_min(s->group, fc_max(1, FC_MATMUL_PANEL / (s->chunk * FC_LANES)));
    if (s->groups >= FC_TASKS_WANTED) /* columns give tasks enough: longer ranges pack b less often */
        s->rows = fc_min(m, 64 * FC_ROWS_MAX);
    s->row_blocks = fc_ceil_div(m, s->rows);
    s->rows = fc_ceil_div(m, s->row_blocks);
    s->row_blocks = fc_ceil_div(m, s->rows);
}

static const char *FN(matmul_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(matmul_state) *s = (void *)plan->state;
    int64_t k = p->in_channels, blocks = fc_ceil_div(p->out_channels, FC_LANES);
    s->chunk = fc_min(k, FC_MATMUL_CHUNK);
    if (p->batch <= FC_MATMUL_FEW_ROWS && !(p->flags & FC_TURNED))
        FN(matmul_cut_sum)(p, s, blocks);
    else
        FN(matmul_cut_result)(p, s, blocks);
    s->depth = fc_round_up(fc_max(1, s->parts * FC_TASK_WORK / (s->rows * s->group * FC_LANES)), s->chunk);
    s->slices = fc_ceil_div(k, s->depth);
    plan->stages = s->slices + (s->parts > 1);
    plan->workspace = s->parts > 1 ? s->parts * p->batch * p->out_channels * (int64_t)sizeof(real) : 0;
    plan->scratch = FC_SCRATCH_HEAD + (s->chunk * s->panel * FC_LANES + FC_ROWS_MAX * FC_LANES) * (int64_t)sizeof(real) +
                    (fc_max(s->chunk, s->group * FC_LANES) + FC_ROWS_MAX) * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(matmul_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(matmul_state) *s = (const void *)plan->state;
    *grain = 1;
    if (mode == FC_PACK)
        return 0;
    return stage == s->slices ? fc_min(FC_TASKS_WANTED, s->group) : s->groups * s->row_blocks * s->parts;
}

/* depth rows of b by one block of columns: dst[k][lane]. */
static void FN(matmul_pack)(const real *b, ptrdiff_t row, ptrdiff_t column, int64_t depth, int64_t columns, int64_t lanes,
                            real *dst)
{
    if (row == 1) {
        FN(transpose)(b, column, columns, depth, dst, lanes, lanes);
        return;
    }
    for (int64_t q = 0; q < depth; q++) {
        FN(copy_run)(dst + q * lanes, b + q * row, column, columns);
        if (columns < lanes)
            FN(fill_run)(dst + q * lanes + columns, 0, lanes - columns);
    }
}

typedef struct {
    int64_t m0, rows, n0, columns, q0, q1; /* the task's part of c and of the sum */
    real *packed, *tile;
    ptrdiff_t *row_at, *red_at;
} FN(matmul_task);

/* One chunk of the sum for `width` columns from `first`: c += a b. b is packed before, or read where it is. */
static void FN(matmul_chunk)(const FN(matmul_task) *t, const fc_array *a, const fc_array *b, const fc_array *c, int64_t q,
                             int64_t depth, int64_t first, int64_t width, int in_place)
{
    const real *part = (const real *)b->data + q * b->stride[0] + (t->n0 + first) * b->stride[1];
    int64_t tiles = fc_ceil_div(t->rows, FC_ROWS_MAX), ragged = width % VL ? width / FC_LANES * FC_LANES : width;
    for (int64_t n = in_place ? ragged : 0; n < width; n += FC_LANES) {
        int64_t columns = fc_min(FC_LANES, width - n);
        FN(matmul_pack)(part + n * b->stride[1], b->stride[0], b->stride[1], depth, columns, fc_round_up(columns, VL),
                        t->packed + (in_place ? 0 : n * depth));
    }
    for (int64_t n = 0; n < ragged; n += FC_LANES)
        for (int64_t i = 0; i < tiles; i++) {
            int64_t i0 = FN(even_start)(t->rows, tiles, i), m = FN(even_start)(t->rows, tiles, i + 1) - i0;
            const real *from = (const real *)a->data + (t->m0 + i0) * a->stride[0] + q * a->stride[1];
            real *to = (real *)c->data + (t->m0 + i0) * c->stride[0] + t->n0 + first;
            int64_t lanes = fc_min(FC_LANES, ragged - n);
            FN(fma_rows)((int)m, (int)(lanes / VL), from, t->row_at, t->red_at, depth,
                         in_place ? part + n : t->packed + n * depth, in_place ? b->stride[0] : lanes,
                         (FN(dest)){to + n, c->stride[0], 1});
        }
    if (ragged < width)
        for (int64_t i = 0; i < tiles; i++) {
            int64_t i0 = FN(even_start)(t->rows, tiles, i), m = FN(even_start)(t->rows, tiles, i + 1) - i0;
            const real *from = (const real *)a->data + (t->m0 + i0) * a->stride[0] + q * a->stride[1];
            real *to = (real *)c->data + (t->m0 + i0) * c->stride[0] + t->n0 + first;
            int64_t lanes = fc_round_up(width - ragged, VL);
            FN(fma_rows)((int)m, (int)(lanes / VL), from, t->row_at, t->red_at, depth,
                         t->packed + (in_place ? 0 : ragged * depth), lanes, (FN(dest)){t->tile, lanes, 0});
            for (int64_t j = 0; j < m; j++)
                FN(put_run)(to + j * c->stride[0] + ragged, 1, t->tile + j * lanes, width - ragged, 0, 1);
        }
}

/* c += a b: in place where rows of b are consecutive and few rows of a use them, else by packed panels. */
static void FN(matmul_tiles)(const FN(matmul_state) *s, const FN(matmul_task) *t, const fc_array *a, const fc_array *b,
                             const fc_array *c)
{
    int in_place = b->stride[1] == 1 && t->rows <= FC_ROWS_MAX;
    if (in_place && t->rows <= FC_MATMUL_FEW_ROWS) {
        FN(mix_rows)(t->rows, t->q1 - t->q0, (const real *)a->data + t->m0 * a->stride[0] + t->q0 * a->stride[1], a->stride[0],
                     a->stride[1], (const real *)b->data + t->q0 * b->stride[0] + t->n0, b->stride[0], t->columns,
                     (FN(dest)){(real *)c->data + t->m0 * c->stride[0] + t->n0, c->stride[0], 1});
        return;
    }
    int64_t chunk = in_place ? fc_min(s->chunk, FC_MATMUL_CHUNK_IN_PLACE) : s->chunk;
    int64_t width = in_place ? t->columns : s->panel * FC_LANES;
    for (int64_t i = 0; i < FC_ROWS_MAX; i++)
        t->row_at[i] = i * a->stride[0];
    for (int64_t i = 0; i < s->chunk; i++)
        t->red_at[i] = i * a->stride[1];
    for (int64_t n = 0; n < t->columns; n += width)
        for (int64_t q = t->q0; q < t->q1; q += chunk)
            FN(matmul_chunk)(t, a, b, c, q, fc_min(chunk, t->q1 - q), n, fc_min(width, t->columns - n), in_place);
}

/* c = the sum of its parts, for a range of columns. */
static void FN(matmul_add_parts)(const fc_plan *plan, const fc_call *call, ptrdiff_t task)
{
    const fc_problem *p = &plan->problem;
    const FN(matmul_state) *s = (const void *)plan->state;
    const fc_array *c = &call->array[3];
    ptrdiff_t tasks = fc_min(FC_TASKS_WANTED, s->group), n = p->out_channels;
    int64_t n0 = FN(even_start)(s->group, tasks, task) * FC_LANES, n1 = FN(even_start)(s->group, tasks, task + 1) * FC_LANES;
    for (int64_t i = 0; i < p->batch; i++)
        for (int64_t j = n0; j < fc_min(n, n1); j += VL) {
            const real *from = (const real *)call->workspace + i * n + j;
            int64_t lanes = fc_min(VL, fc_min(n, n1) - j);
            vec sum = FN(load_n)(from, lanes);
            for (int64_t part = 1; part < s->parts; part++)
                sum += FN(load_n)(from + part * p->batch * n, lanes);
            real *to = (real *)c->data + i * c->stride[0] + j;
            FN(store_n)(to, sum, lanes);
            FN(rectify_run)(p, to, 1, lanes);
        }
}

static void FN(matmul_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(matmul_state) *s = (const void *)plan->state;
    const fc_array *a = &call->array[0], *b = &call->array[1], *bias = &call->array[2];
    if (stage == s->slices) {
        FN(matmul_add_parts)(plan, call, task);
        return;
    }
    FN(matmul_task) t;
    fc_array c = call->array[3];
    ptrdiff_t part = task % s->parts;
    if (s->parts > 1) {
        c.data = call->workspace + part * p->batch * p->out_channels * (ptrdiff_t)sizeof(real);
        c.stride[0] = p->out_channels;
    }
    task /= s->parts;
    t.n0 = task % s->groups * s->group * FC_LANES;
    t.columns = fc_min(s->group * FC_LANES, p->out_channels - t.n0);
    t.m0 = task / s->groups * s->rows;
    t.rows = fc_min(s->rows, p->batch - t.m0);
    int64_t terms = fc_min(s->depth, p->in_channels - stage * s->depth);
    t.q0 = stage * s->depth + FN(even_start)(terms, s->parts, part);
    t.q1 = stage * s->depth + FN(even_start)(terms, s->parts, part + 1);
    t.packed = (real *)(scratch + FC_SCRATCH_HEAD);
    t.tile = t.packed + s->chunk * s->panel * FC_LANES;
    t.row_at = (ptrdiff_t *)(t.tile + FC_ROWS_MAX * FC_LANES);
    t.red_at = t.row_at + FC_ROWS_MAX;
    if (stage == 0)
        for (int64_t i = 0; i < t.rows; i++) {
            real *row = (real *)c.data + (t.m0 + i) * c.stride[0] + t.n0;
            if (bias->data && part == 0)
                FN(copy_run)(row, (const real *)bias->data + t.n0 * bias->stride[0], bias->stride[0], t.columns);
            else
                FN(fill_run)(row, 0, t.columns);
        }
    if (t.rows > FC_MATMUL_FEW_ROWS || b->stride[0] != 1 || a->stride[1] != 1)
        FN(matmul_tiles)(s, &t, a, b, &c);
    else {
        for (int64_t i = 0; i < t.columns; i++)
            t.red_at[i] = i * b->stride[1];
        for (int64_t i = t.m0; i < t.m0 + t.rows; i++)
            FN(dot_taps)((const real *)a->data + i * a->stride[0] + t.q0, (const real *)b->data + t.q0 + t.n0 * b->stride[1],
                         t.red_at, t.columns, t.q1 - t.q0, (real *)c.data + i * c.stride[0] + t.n0);
    }
    for (int64_t i = t.m0; s->parts == 1 && stage == s->slices - 1 && i < t.m0 + t.rows; i++)
        FN(rectify_run)(p, (real *)c.data + i * c.stride[0] + t.n0, 1, t.columns);
}

static const fc_algorithm FN(matmul) = {"matmul", FC_ISA_NAME, 1u << FC_MATMUL, FN(matmul_prepare), FN(matmul_tasks),
                                        FN(matmul_run)};
