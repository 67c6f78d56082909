/* pool_mean_grad.c: the gradient of mean pooling with sliding windows.
 *
 * Inputs are seen in cells of stride elements, along each axis: element i is number r of cell c where i + pad = c*stride + r,
 * and the outputs that read it are c, c - 1, ... c - q + 1. With k = (q - 1)*stride + m, 0 < m <= stride, there are q of them
 * for r < m and q - 1 for the rest. So a cell holds two different values along an axis, at most: a long and a short sum of
 * neighbouring gradients. Both are computed with cells in the lanes, and then dealt out. */

#define FC_CELL_STRIDE 1024   /* elements of a cell's side: a row of cells is laid out in the scratch */
#define FC_CELL_SIZE (1 << 22) /* elements of a cell, which one task writes */

typedef struct {
    fc_blocks blocks;       /* cells of one plane */
    int64_t boxes, bunch, bunches;
    int64_t panel, flat, line;
} FN(mean_grad_state);

/* Cells along an axis as a correlation with the gradients: cell j reads outputs j + off .. j + off + taps - 1. */
static inline fc_corr_axis FN(cells_of)(const fc_axis *a)
{
    int64_t first = a->pad / a->stride, q = fc_ceil_div(a->kernel, a->stride);
    return (fc_corr_axis){(a->in - 1 + a->pad) / a->stride - first + 1, 0, 1, 1, q, first - (q - 1), 1, 0, 1};
}

static inline fc_corr FN(cells)(const fc_problem *p)
{
    fc_corr c = {.rows = 1, .reds = 1, .taps = 1};
    for (int d = 0; d < FC_DIMS; d++) {
        c.axis[d] = FN(cells_of)(&p->axis[d]);
        c.in[d] = p->axis[d].out;
        c.out[d] = p->axis[d].in;
        c.taps *= c.axis[d].taps;
    }
    return c;
}

/* Taps of the long (0) and the short (1) sum: the short one lacks the first, the farthest output. */
static inline int64_t FN(cell_taps)(const fc_axis *a, int is_short) { return fc_ceil_div(a->kernel, a->stride) - is_short; }

/* Elements r0 .. r1 of a cell have that sum. */
static inline void FN(cell_part)(const fc_axis *a, int is_short, int64_t *r0, int64_t *r1)
{
    int64_t m = a->kernel - (fc_ceil_div(a->kernel, a->stride) - 1) * a->stride;
    *r0 = is_short ? m : 0;
    *r1 = is_short ? a->stride : m;
}

static const char *FN(mean_grad_prepare)(fc_plan *plan)
{
    const fc_problem *p = &plan->problem;
    FN(mean_grad_state) *s = (void *)plan->state;
    double panel = 1, cell = 1;
    if (p->flags & FC_ADAPTIVE)
        return "windows of one size";
    for (int d = 0; d < FC_DIMS; d++) {
        if (p->axis[d].stride > FC_CELL_STRIDE)
            return "strides of at most 1024";
        panel *= (double)FN(cell_taps)(&p->axis[d], 0);
        cell *= (double)p->axis[d].stride;
    }
    if (cell > FC_CELL_SIZE)
        return "strides whose product is at most 2^22";
    if (panel > (double)FC_POOL_PANEL)
        return "windows of which a panel of gradients meets one element";
    fc_corr c = FN(cells)(p);
    int64_t work = (int64_t)cell + 4 * (c.axis[2].taps + c.axis[0].taps * c.axis[1].taps), planes = p->batch * p->in_channels;
    int64_t budget = fc_max(FC_POOL_PANEL, fc_min(FC_POOL_LARGE, 16 * (int64_t)panel));
    s->blocks = fc_pool_blocks(&c, budget, fc_max(1, fc_min(4 * FC_POOL_PIXELS / (int64_t)cell, FC_POOL_WORK / work)),
                               FC_POOL_ROW, 0);
    s->boxes = fc_blocks_count(&s->blocks);
    int64_t cells = s->blocks.j[0] * s->blocks.j[1] * s->blocks.j[2];
    s->bunch = fc_max(1, fc_min(FC_POOL_BUNCH / (cells * work), planes * s->boxes / FC_TASKS_WANTED));
    s->bunch = fc_min(s->bunch, planes);
    s->bunches = fc_ceil_div(planes, s->bunch);
    int64_t zero[FC_DIMS] = {0, 0, 0}, slack = FC_POOL_NV * VL;
    fc_panel box = fc_panel_of(&c, zero, s->blocks.j, 1, 0);
    s->panel = FN(aligned)(box.plane + slack);
    s->flat = FN(aligned)(FN(flat_of)(&box, s->blocks.j) + slack);
    s->line = FN(aligned)(s->blocks.j[2] * p->axis[2].stride + slack);
    plan->stages = 1;
    plan->scratch = FC_SCRATCH_HEAD +
                    (3 * s->panel + 2 * s->flat + s->line + FN(aligned)(box.row + VL)) * (int64_t)sizeof(real) +
                    c.taps * (int64_t)sizeof(ptrdiff_t);
    return NULL;
}

static ptrdiff_t FN(mean_grad_tasks)(const fc_plan *plan, fc_mode mode, ptrdiff_t stage, ptrdiff_t *grain)
{
    const FN(mean_grad_state) *s = (const void *)plan->state;
    (void)stage;
    *grain = 1;
    return mode == FC_PACK ? 0 : s->boxes * s->bunches;
}

/* Everything that a task's planes share. */
typedef struct {
    fc_corr c;
    fc_box box;
    fc_panel panel;
    real *grads;            /* the panel: gradients, each divided by its window's size */
    real *along[2];         /* sums along W, long and short */
    real *sums[2];          /* these summed along D and H, one slice at a time */
    real *line, *sizes;     /* a row of the result; the sizes of the panel's windows along W */
    ptrdiff_t *taps;
} FN(cells_box);

/* The sum of x[i + tap] over `count` taps, in y if there is something to compute. */
static const real *FN(sum_taps)(real *x, ptrdiff_t *tap, int64_t count, int64_t n, real *y)
{
    if (count == 1)
        return x + tap[0];
    if (count == 0)
        FN(fill_run)(y, 0, n);
    else
        FN(reduce_taps)(FC_SUM, (FN(found)){x, NULL}, &(FN(taps)){tap, NULL, count}, n, (FN(found)){y, NULL});
    return y;
}

/* Divides the panel's gradients by the sizes of their windows. */
static void FN(divide_panel)(const fc_problem *p, const FN(cells_box) *b)
{
    const fc_panel_axis *a = b->panel.axis;
    for (int64_t d = 0; d < a[0].len; d++)
        for (int64_t h = 0; h < a[1].len; h++) {
            int64_t od = a[0].start + d, oh = a[1].start + h;
            if (od < 0 || od >= b->c.in[0] || oh < 0 || oh >= b->c.in[1])
                continue;
            real *row = b->grads + d * b->panel.slice + h * b->panel.row;
            real lines = (real)fc_window_size(&p->axis[0], p->flags, od) * (real)fc_window_size(&p->axis[1], p->flags, oh);
            FN(put_means)(row, row, b->sizes, p->divisor != 0 ? (real)p->divisor : lines, b->panel.row);
        }
}

/* The long and the short sums along W for all rows of the panel: runs from which `along` reads. */
static void FN(sum_along)(const fc_problem *p, const FN(cells_box) *b, const real **along)
{
    const fc_panel *panel = &b->panel;
    int64_t n = panel->plane - panel->row + b->box.j[2];
    for (int s = 0; s < 2; s++) {
        int64_t count = FN(cell_taps)(&p->axis[2], s);
        for (int64_t t = 0; t < count; t++)
            b->taps[t] = t + s;
        along[s] = FN(sum_taps)(b->grads, b->taps, count, n, b->along[s]);
    }
}

/* A row of cells, from its long and short sums, as a row of inputs. */
static void FN(deal_row)(const fc_axis *a, const real *long_sum, const real *short_sum, int64_t n, real *line)
{
    int64_t m, none;
    FN(cell_part)(a, 0, &none, &m);
    if (a->stride == 1) {
        FN(copy_run)(line, long_sum, 1, n);
    } else if (a->stride == 2) {
        for (int64_t i = 0; i < n; i += VL) {
            vec even = FN(load)(long_sum + i), odd = m == 2 ? even : FN(load)(short_sum + i);
            FN(store)(line + 2 * i, FN(zip_lo)(even, odd));
            FN(store)(line + 2 * i + VL, FN(zip_hi)(even, odd));
        }
    } else {
        for (int64_t r = 0; r < a->stride; r++) {
            const real *from = r < m ? long_sum : short_sum;
            for (int64_t i = 0; i < n; i++)
                line[i * a->stride + r] = from[i];
        }
    }
}

/* Writes the rows that have these sums along D and H, for the box's cells of slice d. */
static void FN(put_cells)(const fc_problem *p, const FN(cells_box) *b, real *gx, int64_t d, const int *is_short,
                          const real *const *sums)
{
    const fc_axis *a = p->axis;
    int64_t first[FC_DIMS], r0[2], r1[2]; /* the input index of a cell's first element; the rows of this kind in a cell */
    for (int i = 0; i < FC_DIMS; i++)
        first[i] = (a[i].pad / a[i].stride + b->box.j0[i]) * a[i].stride - a[i].pad;
    for (int i = 0; i < 2; i++)
        FN(cell_part)(&a[i], is_short[i], &r0[i], &r1[i]);
    int64_t skip = fc_max(0, -first[2]), width = fc_min(a[2].in, first[2] + b->box.j[2] * a[2].stride) - first[2] - skip;
    for (int64_t h = 0; h < b->box.j[1]; h++) {
        FN(deal_row)(&a[2], sums[0] + h * b->panel.row, sums[1] + h * b->panel.row, b->box.j[2], b->line);
        for (int64_t rd = r0[0]; rd < r1[0]; rd++)
            for (int64_t rh = r0[1]; rh < r1[1]; rh++) {
                int64_t id = first[0] + d * a[0].stride + rd, ih = first[1] + h * a[1].stride + rh;
                if (id >= 0 && id < a[0].in && ih >= 0 && ih < a[1].in)
                    FN(copy_run)(gx + (id * a[1].in + ih) * a[2].in + first[2] + skip, b->line + skip, 1, width);
            }
    }
}

static void FN(mean_grad_plane)(const fc_problem *p, const FN(cells_box) *b, real *gx)
{
    const real *along[2], *sums[2];
    int64_t n = FN(flat_of)(&b->panel, b->box.j);
    FN(sum_along)(p, b, along);
    for (int64_t d = 0; d < b->box.j[0]; d++)
        for (int kind = 0; kind < 4; kind++) {
            int is_short[2] = {kind / 2, kind % 2};
            int64_t r0, r1, count = 0;
            FN(cell_part)(&p->axis[0], is_short[0], &r0, &r1);
            if (r0 == r1)
                continue;
            FN(cell_part)(&p->axis[1], is_short[1], &r0, &r1);
            if (r0 == r1)
                continue;
            for (int64_t td = is_short[0]; td < b->c.axis[0].taps; td++)
                for (int64_t th = is_short[1]; th < b->c.axis[1].taps; th++)
                    b->taps[count++] = td * b->panel.slice + th * b->panel.row;
            for (int s = 0; s < 2; s++)
                sums[s] = FN(sum_taps)((real *)along[s] + d * b->panel.slice, b->taps, count, n, b->sums[s]);
            FN(put_cells)(p, b, gx, d, is_short, sums);
        }
}

static void FN(mean_grad_run)(const fc_plan *plan, fc_call *call, ptrdiff_t stage, ptrdiff_t task, char *scratch)
{
    const fc_problem *p = &plan->problem;
    const FN(mean_grad_state) *s = (const void *)plan->state;
    FN(cells_box) b = {.c = FN(cells)(p)};
    b.box = fc_box_at(&s->blocks, &b.c, 1, task % s->boxes);
    b.panel = fc_panel_of(&b.c, b.box.j0, b.box.j, 1, 0);
    b.grads = (real *)(scratch + FC_SCRATCH_HEAD);
    b.along[0] = b.grads + s->panel;
    b.along[1] = b.along[0] + s->panel;
    b.sums[0] = b.along[1] + s->panel;
    b.sums[1] = b.sums[0] + s->flat;
    b.line = b.sums[1] + s->flat;
    b.sizes = b.line + s->line;
    fc_panel box = fc_panel_of(&b.c, (int64_t[FC_DIMS]){0, 0, 0}, s->blocks.j, 1, 0);
    b.taps = (ptrdiff_t *)(b.sizes + FN(aligned)(box.row + VL));
    for (int64_t i = 0; i < b.panel.row; i++) {
        int64_t o = b.panel.axis[2].start + i;
        b.sizes[i] = p->divisor != 0 || o < 0 || o >= b.c.in[2] ? 1 : (real)fc_window_size(&p->axis[2], p->flags, o);
    }
    int64_t first = task / s->boxes * s->bunch, last = fc_min(first + s->bunch, p->batch * p->in_channels);
    int64_t size = p->axis[0].in * p->axis[1].in * p->axis[2].in;
    (void)stage;
    for (int64_t i = first; i < last; i++) {
        FN(panel_fill)(&b.panel, &b.c, &call->array[0], i / p->in_channels, 1, i % p->in_channels, 0, b.grads);
        FN(divide_panel)(p, &b);
        FN(mean_grad_plane)(p, &b, (real *)call->array[3].data + i * size); /* the caller's new array: consecutive */
    }
}

static const fc_algorithm FN(pool_mean_grad) = {"taps", FC_ISA_NAME, 1u << FC_AVG_POOL_GRAD, FN(mean_grad_prepare),
                                                FN(mean_grad_tasks), FN(mean_grad_run)};
