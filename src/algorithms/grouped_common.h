/* grouped_common.h: what convolution and weight gradient with groups in the lanes share: the panel of a block of VL groups,
 * [c][d][h][w][lane], with its padding.
 *
 * A box (most of an image, where the panel is no larger than FC_GROUPED_PANEL) is worked off in strips of some output rows: a
 * strip's new input rows are transposed into the panel just before they are used, so that what is multiplied comes from L1. */

#define FC_GROUPED_CHANNELS 64
#define FC_GROUPED_TAPS 4096
#define FC_GROUPED_PANEL ((int64_t)(256 << 10) / (int64_t)sizeof(real)) /* elements: a quarter of a 1 MB L2 */
#define FC_GROUPED_PIXELS 4096 /* of a box */
#define FC_GROUPED_STRIP 128   /* pixels: with their inputs, two thirds of L1 */

/* What a box reads along an axis, over all phases of an input gradient: output j reads inputs j*step + off .. + span. */
typedef struct {
    int64_t off, span, step;
} FN(reach);

typedef struct {
    fc_corr whole;           /* a forward pass, or all phases of an input gradient: outputs are residue after residue */
    FN(reach) reach[FC_DIMS];
    fc_blocks blocks;
    int64_t taps;            /* of the kernel */
    int64_t strip;           /* output rows */
    int64_t group_blocks;
    int64_t panel, inside;   /* elements; positions of a slice inside the input, at most */
} FN(grouped);

static FN(reach) FN(reach_of)(const fc_problem *p, int d)
{
    const fc_axis *a = &p->axis[d];
    FN(reach) r = {0, 0, 0};
    int64_t last = 0, phases = p->op == FC_CONV_INPUT_GRAD ? fc_phases(a) : 1;
    for (int64_t e = 0; e < phases; e++) {
        fc_corr_axis c = p->op == FC_CONV_INPUT_GRAD ? fc_phase_axis(a, e) : fc_forward_axis(a);
        int64_t end = c.off + (c.taps - 1) * c.offstep;
        r.off = e ? fc_min(r.off, c.off) : c.off;
        last = e ? fc_max(last, end) : end;
        r.step = c.xstep;
    }
    r.span = last - r.off + 1;
    return r;
}

/* Chooses boxes of at most so many outputs; returns the elements of the panel. */
static double FN(grouped_boxes)(FN(grouped) *s, int64_t pixels)
{
    double elements = 1;
    s->blocks = fc_choose_blocks(&s->whole, 1, s->whole.reds, FC_GROUPED_PANEL / VL, pixels, 0);
    s->inside = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        double extent = (double)(s->blocks.j[d] - 1) * (double)s->reach[d].step + (double)s->reach[d].span;
        elements *= extent;
        if (d > 0)
            s->inside *= fc_min(s->whole.in[d], extent < 1e18 ? (int64_t)extent : s->whole.in[d]);
    }
    return (elements + 1) * (double)(s->whole.reds * VL);
}

/* Fills `s`, or returns why groups cannot lie in the lanes. */
static const char *FN(grouped_shape)(const fc_problem *p, FN(grouped) *s)
{
    int backwards = p->op == FC_CONV_INPUT_GRAD;
    fc_corr *c = &s->whole;
    *c = FN(largest_phase)(p);
    if (c->rows > FC_GROUPED_CHANNELS || c->reds > FC_GROUPED_CHANNELS)
        return "groups of at most 64 channels, in and out";
    if (c->taps > FC_GROUPED_TAPS)
        return "kernels of at most 4096 taps";
    double results = 1;
    s->taps = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        s->reach[d] = FN(reach_of)(p, d);
        s->taps *= p->axis[d].kernel;
        if (backwards) {
            c->axis[d].count = fc_ceil_div(c->out[d], p->axis[d].stride);
            results *= (double)fc_min(c->out[d], p->axis[d].stride);
        }
    }
    int64_t weights = c->rows * c->reds * s->taps * VL;
    s->group_blocks = fc_ceil_div(p->groups, VL);
    if (weights > FC_PACKED_BYTES / (int64_t)sizeof(real) / s->group_blocks)
        return "weights of at most 64 MiB";
    int64_t pixels = fc_max(1, (int64_t)((double)fc_min(FC_GROUPED_PIXELS, FC_TASK_WORK / weights) / results));
    double elements = FN(grouped_boxes)(s, pixels);
    for (; elements > (double)(FC_PANEL_MOST / 4) && pixels > 1; pixels /= 2) /* long strides: what is not read, too */
        elements = FN(grouped_boxes)(s, pixels / 2);
    if (elements > (double)FC_PANEL_MOST || results * VL > 16.0 * (double)FC_PANEL_MOST)
        return "kernels that reach over at most 2**22 elements of some groups, and strides over 2**26";
    s->blocks.count_n = p->batch;
    s->panel = FN(aligned)((int64_t)elements);
    s->strip = s->blocks.j[1];
    if (s->blocks.j[0] == 1 && (p->axis[0].stride == 1 || !backwards)) { /* else a strip's results would have gaps */
        int64_t most = fc_max(1, (int64_t)((double)FC_GROUPED_STRIP / results) / s->blocks.j[2]);
        s->strip = fc_ceil_div(s->strip, fc_ceil_div(s->strip, most));
    }
    return NULL;
}

typedef struct {
    fc_box box;
    int64_t start[FC_DIMS], extent[FC_DIMS]; /* input index of position 0; positions */
    int64_t lo[FC_DIMS], hi[FC_DIMS];        /* positions inside the input */
    ptrdiff_t row, slice, plane;             /* elements of a row, a d-slice, a channel */
} FN(lanes_panel);

static FN(lanes_panel) FN(lanes_panel_of)(const FN(grouped) *s, int64_t batch, int64_t box)
{
    FN(lanes_panel) p;
    p.box = fc_box_at(&s->blocks, &s->whole, batch, box);
    for (int d = 0; d < FC_DIMS; d++) {
        p.start[d] = p.box.j0[d] * s->reach[d].step + s->reach[d].off;
        p.extent[d] = (p.box.j[d] - 1) * s->reach[d].step + s->reach[d].span;
        p.lo[d] = fc_min(p.extent[d], fc_max(0, -p.start[d]));
        p.hi[d] = fc_max(p.lo[d], fc_min(p.extent[d], s->whole.in[d] - p.start[d]));
    }
    p.row = p.extent[2] * VL;
    p.slice = p.extent[1] * p.row;
    /* An odd number of vectors, or the channels would share few sets of L1. */
    p.plane = (p.extent[0] * p.extent[1] * p.extent[2] | 1) * VL;
    return p;
}

/* at[..] = first + d*step[0] + h*step[1] + w*step[2]; returns the end. */
static ptrdiff_t *FN(grid_table)(const int64_t *n, ptrdiff_t first, const ptrdiff_t *step, ptrdiff_t *at)
{
    for (int64_t d = 0; d < n[0]; d++)
        for (int64_t h = 0; h < n[1]; h++)
            for (int64_t w = 0; w < n[2]; w++)
                *at++ = first + d * step[0] + h * step[1] + w * step[2];
    return at;
}

/* Zeroes the panel, where only padding will stay zero, and notes where a slice's inputs go. */
static void FN(lanes_empty)(const FN(lanes_panel) *p, int64_t reds, real *panel, ptrdiff_t *inside)
{
    const int64_t n[FC_DIMS] = {1, p->hi[1] - p->lo[1], p->hi[2] - p->lo[2]};
    FN(grid_table)(n, 0, (const ptrdiff_t[FC_DIMS]){0, p->row, VL}, inside);
    FN(fill_run)(panel, 0, p->plane * reds);
}

/* n elements of `lanes` groups, src[lane*ld + i*step], to dst[at[i]]. */
static inline void FN(gather_lanes)(const real *src, ptrdiff_t ld, ptrdiff_t step, int64_t lanes, int64_t n, const ptrdiff_t *at,
                                    real *dst, const real *next)
{
    if (step == 1) {
        FN(to_lanes)(src, ld, lanes, n, at, dst, next);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < VL; j++)
            dst[at[i] + j] = j < lanes ? src[j * ld + i * step] : 0;
}

/* Rows h0 .. h1 of the panel, in all slices and channels, from one image of `lanes` groups. `after`: elements to the image and
 * groups that will be read next. */
static void FN(lanes_fill)(const FN(lanes_panel) *p, const fc_array *x, const real *src, int64_t reds, int64_t lanes, int64_t h0,
                           int64_t h1, ptrdiff_t after, const ptrdiff_t *inside, real *dst)
{
    h0 = fc_max(h0, p->lo[1]);
    h1 = fc_min(h1, p->hi[1]);
    int64_t width = p->hi[2] - p->lo[2], all = (h1 - h0) * width;
    int64_t run = x->stride[3] == width * x->stride[4] ? all : width;
    ptrdiff_t back = h1 == p->hi[1] ? after - (p->hi[1] - p->lo[1]) * x->stride[3] : 0;
    for (int64_t c = 0; c < reds; c++)
        for (int64_t d = p->lo[0]; d < p->hi[0]; d++) {
            const real *from = src + c * x->stride[1] + (p->start[0] + d) * x->stride[2] + (p->start[1] + h0) * x->stride[3] +
                               (p->start[2] + p->lo[2]) * x->stride[4];
            real *to = dst + c * p->plane + d * p->slice + h0 * p->row + p->lo[2] * VL;
            for (int64_t i = 0; i < all; i += run, from += x->stride[3])
                FN(gather_lanes)(from, reds * x->stride[1], x->stride[4], lanes, run, inside + i, to,
                                 from + run / width * x->stride[3] + back);
        }
}
