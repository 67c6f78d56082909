/* geometry.h: index arithmetic of convolution, without dtype or instruction set.
 *
 * Forward convolution and input gradient are one thing: a correlation
 *     y[ystart + j*ystep] = sum_t x[j*xstep + off + t*offstep] * w[w0 + t*wstep]      on each axis.
 * The forward pass is one such correlation. The input gradient with stride s is one for each residue ("phase") of the
 * result's index modulo s: no zeros are inserted (the sub-pixel view of transposed convolution, Shi et al., 2016). */
#ifndef FC_GEOMETRY_H
#define FC_GEOMETRY_H

#include "fastconv.h"

typedef struct {
    int64_t count;          /* outputs j of this axis */
    int64_t ystart, ystep;  /* where they go */
    int64_t xstep;          /* input step from one output to the next */
    int64_t taps, off, offstep;
    int64_t w0, wstep;      /* the kernel index of tap 0, and its step */
} fc_corr_axis;

static inline int64_t fc_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fc_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t fc_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t fc_round_up(int64_t a, int64_t b) { return fc_ceil_div(a, b) * b; }

static inline int64_t fc_gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static inline fc_corr_axis fc_forward_axis(const fc_axis *a)
{
    return (fc_corr_axis){a->out, 0, 1, a->stride, a->kernel, -a->pad, a->dilation, 0, 1};
}

/* Phases of an axis that have at least one tap: tap r reaches residues r*dilation - pad modulo the stride. */
static inline int64_t fc_phases(const fc_axis *a)
{
    return fc_min(a->kernel, a->stride / fc_gcd(a->stride, a->dilation));
}

/* Phase e has r = e as its first tap; its outputs are those i with i = e*dilation - pad (mod stride). */
static inline fc_corr_axis fc_phase_axis(const fc_axis *a, int64_t e)
{
    int64_t g = fc_gcd(a->stride, a->dilation), rstep = a->stride / g;
    int64_t phase = (e * a->dilation - a->pad) % a->stride;
    if (phase < 0)
        phase += a->stride;
    int64_t taps = (a->kernel - 1 - e) / rstep + 1, offstep = a->dilation / g;
    int64_t count = phase < a->in ? (a->in - 1 - phase) / a->stride + 1 : 0;
    int64_t first = (phase + a->pad - e * a->dilation) / a->stride; /* exact by the choice of the phase */
    /* Taken backwards, so that offsets grow with the tap. */
    return (fc_corr_axis){count, phase, a->stride, 1, taps, first - (taps - 1) * offstep, offstep,
                          e + (taps - 1) * rstep, -rstep};
}

/* The taps of an axis that do not read padding, for output j. */
typedef struct {
    int64_t from, to;
} fc_range;

static inline fc_range fc_taps_inside(const fc_corr_axis *a, int64_t in, int64_t j)
{
    int64_t at = j * a->xstep + a->off;
    int64_t from = at < 0 ? fc_min(a->taps, fc_ceil_div(-at, a->offstep)) : 0;
    int64_t to = at >= in ? from : fc_max(from, fc_min(a->taps, (in - 1 - at) / a->offstep + 1));
    return (fc_range){from, to};
}

/* A correlation over N, C and the three axes, with the sizes of what is read and written. */
typedef struct {
    fc_corr_axis axis[FC_DIMS];
    int64_t in[FC_DIMS], out[FC_DIMS]; /* whole sizes of x and y */
    int64_t rows, reds;                /* result channels and summed channels of a group */
    int64_t taps;                      /* product over the axes */
} fc_corr;

static inline int64_t fc_corr_phases(const fc_problem *p)
{
    if (p->op == FC_CONV)
        return 1;
    return fc_phases(&p->axis[0]) * fc_phases(&p->axis[1]) * fc_phases(&p->axis[2]);
}

static inline fc_corr fc_corr_of(const fc_problem *p, int64_t phase)
{
    fc_corr c;
    int forward = p->op != FC_CONV_INPUT_GRAD;
    c.taps = 1;
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        const fc_axis *a = &p->axis[d];
        if (forward) {
            c.axis[d] = fc_forward_axis(a);
        } else {
            int64_t n = fc_phases(a);
            c.axis[d] = fc_phase_axis(a, phase % n);
            phase /= n;
        }
        c.in[d] = forward ? a->in : a->out;
        c.out[d] = forward ? a->out : a->in;
        c.taps *= c.axis[d].taps;
    }
    c.rows = forward ? p->out_channels : p->in_channels;
    c.reds = forward ? p->in_channels : p->out_channels;
    return c;
}

/* Some results have no tap at all (stride larger than the kernel's reach): they are filled beforehand. */
static inline int fc_corr_has_holes(const fc_problem *p)
{
    if (p->op == FC_CONV)
        return 0;
    for (int d = 0; d < FC_DIMS; d++)
        if (fc_phases(&p->axis[d]) < p->axis[d].stride)
            return 1;
    return 0;
}

/* Strides of the weight array as a correlation reads it: result channel, summed channel, kernel axes. The group's first
 * weight lies at group * weight.stride[0] * out_channels in either direction, since OIHW has the groups along O. */
typedef struct {
    ptrdiff_t row, red, tap[FC_DIMS];
} fc_weight_strides;

static inline fc_weight_strides fc_weight_strides_of(const fc_problem *p, const fc_array *w)
{
    fc_weight_strides s;
    int forward = p->op == FC_CONV;
    s.row = w->stride[forward ? 0 : 1];
    s.red = w->stride[forward ? 1 : 0];
    for (int d = 0; d < FC_DIMS; d++)
        s.tap[d] = w->stride[2 + d];
    return s;
}

/* The offset of tap t (in d, h, w order) in the weight array. */
static inline ptrdiff_t fc_weight_tap(const fc_corr *c, const fc_weight_strides *s, int64_t t)
{
    int64_t tw = t % c->axis[2].taps, th = t / c->axis[2].taps % c->axis[1].taps,
            td = t / (c->axis[2].taps * c->axis[1].taps);
    return (c->axis[0].w0 + td * c->axis[0].wstep) * s->tap[0] + (c->axis[1].w0 + th * c->axis[1].wstep) * s->tap[1] +
           (c->axis[2].w0 + tw * c->axis[2].wstep) * s->tap[2];
}

/* A block of outputs: some images, and a box in each. */
typedef struct {
    int64_t n, j[FC_DIMS];         /* extents */
    int64_t count_n, count[FC_DIMS]; /* how many blocks along each */
} fc_blocks;

typedef struct {
    int64_t n0, n;
    int64_t j0[FC_DIMS], j[FC_DIMS]; /* start and extent */
    int64_t pixels;
} fc_box;

static inline int64_t fc_blocks_count(const fc_blocks *b)
{
    return b->count_n * b->count[0] * b->count[1] * b->count[2];
}

static inline fc_box fc_box_at(const fc_blocks *b, const fc_corr *c, int64_t batch, int64_t i)
{
    fc_box x;
    x.pixels = 1;
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        int64_t k = i % b->count[d];
        i /= b->count[d];
        x.j0[d] = k * b->j[d];
        x.j[d] = fc_max(0, fc_min(b->j[d], c->axis[d].count - x.j0[d]));
        x.pixels *= x.j[d];
    }
    x.n0 = i * b->n;
    x.n = fc_min(b->n, batch - x.n0);
    x.pixels *= x.n;
    return x;
}

/* A panel: a box's inputs copied with their padding, [n][c][phases][d][h][w].
 * Where several outputs share inputs, positions are kept in residue classes ("phases") of the output step when `split`
 * is asked for, so that a row of outputs reads consecutive elements at any stride. An axis with one tap keeps only the
 * positions that are read. */
typedef struct {
    int64_t start, step;   /* input index of position 0; input step from a position to the next */
    int64_t extent;        /* positions */
    int64_t phases, len;   /* position p lies at place p / phases of phase p % phases */
    int64_t pixel, tap;    /* positions from one output, one tap, to the next */
} fc_panel_axis;

typedef struct {
    fc_panel_axis axis[FC_DIMS];
    ptrdiff_t plane;              /* elements of one channel */
    ptrdiff_t phase_size;         /* elements of one phase of a channel */
    ptrdiff_t row, slice;         /* elements of a row, of a d-slice */
    int64_t channels;
    int64_t together;             /* images whose elements lie side by side, [c][phases][d][h][w][n]; or 1 */
} fc_panel;

static inline fc_panel_axis fc_panel_axis_of(const fc_corr_axis *a, int64_t j0, int64_t j, int split)
{
    fc_panel_axis p;
    p.start = j0 * a->xstep + a->off;
    p.step = a->taps == 1 ? a->xstep : 1;
    p.pixel = a->taps == 1 ? 1 : a->xstep;
    p.tap = a->offstep;
    p.extent = (j - 1) * p.pixel + (a->taps - 1) * p.tap + 1;
    p.phases = split ? fc_min(p.pixel, p.extent) : 1;
    p.len = fc_ceil_div(p.extent, p.phases);
    return p;
}

static inline fc_panel fc_panel_of(const fc_corr *c, const int64_t *j0, const int64_t *j, int64_t channels, int split)
{
    fc_panel p;
    for (int d = 0; d < FC_DIMS; d++)
        p.axis[d] = fc_panel_axis_of(&c->axis[d], j0[d], j[d], split);
    p.row = p.axis[2].len;
    p.slice = p.row * p.axis[1].len;
    p.phase_size = p.slice * p.axis[0].len;
    p.plane = p.phase_size * p.axis[0].phases * p.axis[1].phases * p.axis[2].phases;
    p.channels = channels;
    p.together = 1;
    return p;
}

/* The same panel with the elements of `images` images side by side. */
static inline fc_panel fc_panel_together(fc_panel p, int64_t images)
{
    p.row *= images;
    p.slice *= images;
    p.phase_size *= images;
    p.plane *= images;
    p.together = images;
    return p;
}

/* Where position (d, h, w) of a channel lies in the panel. */
static inline ptrdiff_t fc_panel_offset(const fc_panel *p, int64_t d, int64_t h, int64_t w)
{
    const fc_panel_axis *a = p->axis;
    int64_t phase = ((d % a[0].phases) * a[1].phases + h % a[1].phases) * a[2].phases + w % a[2].phases;
    return phase * p->phase_size + d / a[0].phases * p->slice + h / a[1].phases * p->row + w / a[2].phases * p->together;
}

/* The offset of every tap, in d, h, w order, for `channels` channels one after the other. Nested loops: a table by division
 * took a tenth of a first layer's time. */
static inline void fc_tap_table(const fc_panel *p, const fc_corr *c, int64_t channels, ptrdiff_t *at)
{
    int64_t i = 0;
    for (int64_t d = 0; d < c->axis[0].taps; d++)
        for (int64_t h = 0; h < c->axis[1].taps; h++)
            for (int64_t w = 0; w < c->axis[2].taps; w++)
                at[i++] = fc_panel_offset(p, d * p->axis[0].tap, h * p->axis[1].tap, w * p->axis[2].tap);
    for (; i < channels * c->taps; i++)
        at[i] = at[i - c->taps] + p->plane;
}

/* Places from one output to the next along an axis: one in a split panel. */
static inline ptrdiff_t fc_panel_step(const fc_panel_axis *a) { return a->pixel / a->phases; }

/* Where each output pixel of the box (in n, d, h, w order, or d, h, w, n with images side by side) starts in the panel; taps are
 * added to it. */
static inline void fc_pixel_table(const fc_panel *p, const fc_box *box, ptrdiff_t *at)
{
    ptrdiff_t sd = fc_panel_step(&p->axis[0]) * p->slice, sh = fc_panel_step(&p->axis[1]) * p->row,
              sw = fc_panel_step(&p->axis[2]) * p->together;
    for (int64_t n = 0; n < box->n / p->together; n++)
        for (int64_t d = 0; d < box->j[0]; d++)
            for (int64_t h = 0; h < box->j[1]; h++) {
                ptrdiff_t row = n * p->channels * p->plane + d * sd + h * sh;
                for (int64_t w = 0; w < box->j[2]; w++)
                    for (int64_t i = 0; i < p->together; i++)
                        *at++ = row + w * sw + i;
            }
}

/* Elements of one image's and channel's panel for a block of these extents; saturates, since a dilated kernel's reach
 * along two axes may exceed 64 bits. */
static inline int64_t fc_panel_elements(const fc_corr *c, const int64_t *j, int split)
{
    const int64_t most = INT64_C(1) << 40;
    double total = 1;
    for (int d = 0; d < FC_DIMS; d++) {
        fc_panel_axis a = fc_panel_axis_of(&c->axis[d], 0, j[d], split);
        total *= (double)a.phases * (double)a.len;
    }
    return total < (double)most ? (int64_t)total : most;
}

/* Channels whose panels for one output fit in FC_PANEL_MOST elements: none where a kernel reaches far to read little. Algorithms
 * that copy panels decline then. */
#define FC_PANEL_MOST (INT64_C(1) << 22)
#define FC_TOO_FAR "kernels that reach over at most 2**22 inputs (in all of a group's channels with \"depthwise\")"
static inline int64_t fc_panel_channels(const fc_corr *c, int split)
{
    const int64_t one[FC_DIMS] = {1, 1, 1};
    return FC_PANEL_MOST / fc_panel_elements(c, one, split);
}

/* Blocks that keep `channels` panels within `budget` elements and `pixels` outputs: rows first, as long as they fit, then
 * whole rows, slices and images. Extents are evened out so that the last block is not a sliver. */
static inline fc_blocks fc_choose_blocks(const fc_corr *c, int64_t batch, int64_t channels, int64_t budget,
                                         int64_t pixels, int split)
{
    fc_blocks b = {.n = 1, .j = {1, 1, 1}};
    int64_t done = 1;
    int whole = 1;
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        int64_t most = fc_max(1, c->axis[d].count), lo = 1, hi = fc_max(1, fc_min(most, pixels / done));
        while (lo < hi && whole) { /* the largest extent that fits */
            int64_t mid = (lo + hi + 1) / 2;
            b.j[d] = mid;
            if (fc_panel_elements(c, b.j, split) <= budget / channels)
                lo = mid;
            else
                hi = mid - 1;
        }
        b.count[d] = fc_ceil_div(most, whole ? lo : 1);
        b.j[d] = fc_ceil_div(most, b.count[d]);
        b.count[d] = fc_ceil_div(most, b.j[d]);
        whole = whole && b.count[d] == 1;
        done *= b.j[d];
    }
    if (whole) {
        int64_t image = channels * fc_panel_elements(c, b.j, split);
        b.n = fc_max(1, fc_min(batch, fc_min(budget / fc_max(1, image), pixels / fc_max(1, done))));
    }
    b.count_n = fc_ceil_div(batch, b.n);
    b.n = fc_ceil_div(batch, b.count_n);
    b.count_n = fc_ceil_div(batch, b.n);
    return b;
}

#endif
