/* matmul.c: c[m][n] = sum_k a[m][k] * b[k][n] + bias[n], for the fully connected layer forward and backward.
 *
 * a and b have any strides (so a transpose is a view), c has rows of consecutive elements. A task is a block of result columns
 * (FC_ROWS_NV vectors) by a range of rows: FC_MATMUL_CHUNK rows of b are packed into [k][lane], by copy or by register transpose,
 * and fma_rows broadcasts a through its offset tables, unpacked. */

#define FC_MATMUL_CHUNK 256

typedef struct {
    int64_t column_blocks, row_blocks, rows; /* rows of a task */
    int64_t depth, slices;                   /* terms of a stage, stages */
} FN(matmul_state);

static const char *FN(matmul_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(matmul_state) *s = (void *)plan->state;
    int64_t m = p->batch, n = p->out_channels, k = p->in_channels;
    s->column_blocks = fc_ceil_div(n, FC_LANES);
    double work = (double)m * FC_LANES * (double)k;
    /* Rows are cut only where columns give too few tasks, or a task would be long: each cut packs b again. */
    int64_t cuts = fc_max((int64_t)(work / FC_TASK_WORK) + 1, fc_min(fc_ceil_div(FC_TASKS_WANTED, s->column_blocks), m / 64));
    s->row_blocks = fc_min(m, fc_max(1, cuts));
    s->rows = fc_ceil_div(m, s->row_blocks);
    s->row_blocks = fc_ceil_div(m, s->rows);
    s->depth = fc_round_up(fc_max(1, FC_TASK_WORK / (s->rows * FC_LANES)), FC_MATMUL_CHUNK);
    s->slices = fc_ceil_div(k, s->depth);
    plan->stages = s->slices;
    plan->scratch = FC_SCRATCH_HEAD + (FC_MATMUL_CHUNK * FC_LANES + FC_ROWS_MAX * FC_LANES) * (int64_t)sizeof(real) +
                    (FC_MATMUL_CHUNK + FC_ROWS_MAX) * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(matmul_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(matmul_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->column_blocks * s->row_blocks;
}

static void FN(matmul_pack)(const real *b, ptrdiff_t row, ptrdiff_t column, int64_t depth, int64_t columns, int64_t lanes,
                            real *dst)
{
    if (row == 1) {
        FN(transpose)(b, column, columns, depth, dst, lanes, lanes);
        return;
    }
    for (int64_t q = 0; q < depth; q++) {
        FN(copy_run)(dst + q * lanes, b + q * row, column, columns);
        FN(fill_run)(dst + q * lanes + columns, 0, lanes - columns);
    }
}

static void FN(matmul_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(matmul_state) *s = (const void *)plan->state;
    const fc_array *a = &call->array[0], *b = &call->array[1], *bias = &call->array[2], *c = &call->array[3];
    real *packed = (real *)(scratch + FC_SCRATCH_HEAD), *tile = packed + FC_MATMUL_CHUNK * FC_LANES;
    ptrdiff_t *row_at = (ptrdiff_t *)(tile + FC_ROWS_MAX * FC_LANES), *red_at = row_at + FC_ROWS_MAX;
    int64_t cb = task % s->column_blocks, rb = task / s->column_blocks, n0 = cb * FC_LANES;
    int64_t columns = fc_min(FC_LANES, p->out_channels - n0), nv = fc_ceil_div(columns, VL), lanes = nv * VL;
    int64_t m0 = rb * s->rows, rows = fc_min(s->rows, p->batch - m0), tiles = fc_ceil_div(rows, FC_ROWS_MAX);
    int64_t end = fc_min(p->in_channels, (stage + 1) * s->depth);
    for (int64_t i = 0; i < FC_ROWS_MAX; i++)
        row_at[i] = i * a->stride[0];
    for (int64_t i = 0; i < FC_MATMUL_CHUNK; i++)
        red_at[i] = i * a->stride[1];
    for (int64_t q = stage * s->depth; q < end; q += FC_MATMUL_CHUNK) {
        int64_t depth = fc_min(FC_MATMUL_CHUNK, end - q);
        FN(matmul_pack)((const real *)b->data + q * b->stride[0] + n0 * b->stride[1], b->stride[0], b->stride[1], depth, columns,
                        lanes, packed);
        for (int64_t i = 0; i < tiles; i++) {
            int64_t i0 = FN(even_start)(rows, tiles, i), m = FN(even_start)(rows, tiles, i + 1) - i0;
            const real *from = (const real *)a->data + (m0 + i0) * a->stride[0] + q * a->stride[1];
            real *to = (real *)c->data + (m0 + i0) * c->stride[0] + n0;
            if (columns == lanes && (q > 0 || !bias->data)) {
                FN(fma_rows)((int)m, (int)nv, from, row_at, red_at, depth, packed, lanes,
                             (FN(dest)){to, c->stride[0], q > 0});
                continue;
            }
            FN(fma_rows)((int)m, (int)nv, from, row_at, red_at, depth, packed, lanes, (FN(dest)){tile, lanes, 0});
            for (int64_t j = 0; j < m; j++)
                for (int64_t l = 0; l < columns; l++) {
                    real start = q > 0 ? to[j * c->stride[0] + l] : bias->data ? ((const real *)bias->data)[(n0 + l) * bias->stride[0]] : 0;
                    to[j * c->stride[0] + l] = start + tile[j * lanes + l];
                }
        }
    }
}

static const fc_algorithm FN(matmul) = {"matmul", FC_ISA_NAME, 1u << FC_MATMUL, FN(matmul_prepare), FN(matmul_tasks),
                                        FN(matmul_run)};
