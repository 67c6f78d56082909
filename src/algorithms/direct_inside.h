/* direct_inside.h: which taps conv_direct.c may leave out, since they see padding alone.
 *
 * Near the border part of a kernel lies in the padding: on a 7x7 map a third of all products of a 5x5 kernel, of a dilated one
 * often more. A tile of fma_rows leaves out the taps that all of its pixels see in the padding. So rows of pixels are cut into
 * tiles where that costs the least, and no tile crosses a row; where a box has several images, the same pixel of each
 * lies side by side, in the panel and in a tile, [d][h][w][n], so that what a tile's pixels see differs little.
 *
 * What is left of a kernel is a box of it. Weights of a chunk lie [t][c][lane]: a row of that box, or all of it where it is as
 * wide as the kernel, is one run of terms in all channels of the chunk. */
#ifndef FC_DIRECT_INSIDE_H
#define FC_DIRECT_INSIDE_H

#define FC_INSIDE_TERMS 160 /* of a chunk, whose runs are a part of it; of a kernel, at most */
#define FC_INSIDE_IMAGES 8  /* of a box that is chosen to have several, at most */
#define FC_INSIDE_MOST 4096 /* outputs of an axis: counting goes through all of them, and of more few see the padding */
#define FC_INSIDE_GAIN 0.96 /* of the cost with all taps: less is not worth short runs */

/* What a tile of m pixels takes for a term, and for loading, storing and starting, in products of a vector: at least
 * as long as the latency of an FMA. */
#define FC_INSIDE_STEP(m) (fc_max(FC_ROWS_NV * (m), FC_VECTOR_BYTES == 64 ? 4 : 8) + 1)
#define FC_INSIDE_TURN 130 /* what it takes to turn a vector of pixels of several images to [w][n], and to copy a row */
#define FC_INSIDE_COPY 20
#define FC_INSIDE_START(m) ((FC_VECTOR_BYTES == 64 ? 1 : 2) * (3 * (m) + 20))

/* A tile: pixels (with images innermost) of every row of a box, and their taps along W. */
typedef struct {
    int64_t at, pixels;
    fc_range taps;
} fc_cut;

/* Cuts a row of `width` outputs from j0 on, of `images` images, into tiles; returns the cost of a row of taps in
 * `channels` channels. Any suffix of the best cuts is the best cut of a suffix, so the table is filled pixel by pixel. */
static double fc_cut_row(const fc_corr *c, int64_t j0, int64_t width, int64_t images, int64_t channels, fc_cut *cut, int64_t *cuts)
{
    const fc_corr_axis *a = &c->axis[2];
    double cost[FC_DIRECT_PIXELS + 1] = {0};
    int64_t pixels[FC_DIRECT_PIXELS + 1], n = width * images;
    for (int64_t i = 1; i <= n; i++) {
        cost[i] = HUGE_VAL;
        fc_range last = fc_taps_inside(a, c->in[2], j0 + (i - 1) / images);
        for (int64_t m = 1; m <= fc_min(i, FC_ROWS_MAX); m++) { /* the first pixel sees the last tap of all */
            int64_t taps = fc_max(0, fc_taps_inside(a, c->in[2], j0 + (i - m) / images).to - last.from);
            int64_t start = FC_INSIDE_START(m) / (taps == a->taps ? c->axis[1].taps : 1);
            double all = cost[i - m] + (double)(FC_INSIDE_STEP(m) * taps * channels + start);
            if (all < cost[i]) {
                cost[i] = all;
                pixels[i] = m;
            }
        }
    }
    *cuts = 0;
    for (int64_t i = n; i > 0; i -= pixels[i])
        ++*cuts;
    for (int64_t i = n, k = *cuts; i > 0 && cut; i -= pixels[i]) {
        fc_range first = fc_taps_inside(a, c->in[2], j0 + (i - pixels[i]) / images);
        fc_range last = fc_taps_inside(a, c->in[2], j0 + (i - 1) / images);
        cut[--k] = (fc_cut){i - pixels[i], pixels[i], {last.from, fc_max(last.from, first.to)}};
    }
    return cost[n];
}

/* The cost of a whole correlation in `channels` channels with these boxes, per image: all taps, and those inside. */
static double fc_all_taps_cost(const fc_corr *c, const fc_blocks *b, int64_t channels)
{
    int64_t pixels = b->n * b->j[0] * b->j[1] * b->j[2], tiles = fc_ceil_div(pixels, FC_ROWS_MAX);
    double tile = (double)(FC_INSIDE_STEP(pixels / tiles) * c->taps * channels + FC_INSIDE_START(pixels / tiles));
    return tile * (double)tiles / (double)pixels * (double)(c->axis[0].count * c->axis[1].count * c->axis[2].count);
}

static double fc_inside_cost(const fc_corr *c, const fc_blocks *b, int64_t channels)
{
    double cost = 0;
    for (int64_t j = 0, cuts; j < c->axis[2].count; j += b->j[2])
        cost += fc_cut_row(c, j, fc_min(b->j[2], c->axis[2].count - j), b->n, channels, NULL, &cuts);
    for (int d = 0; d < FC_DIMS - 1; d++) {
        int64_t taps = 0;
        for (int64_t j = 0; j < c->axis[d].count; j++) {
            fc_range inside = fc_taps_inside(&c->axis[d], c->in[d], j);
            taps += inside.to - inside.from;
        }
        cost *= (double)taps;
    }
    return cost / (double)b->n;
}

/* What images side by side cost in the panel, per image. All result channels share it. */
static double fc_together_cost(const fc_corr *c, const fc_blocks *b, int64_t channels)
{
    double turns = (double)(c->in[0] * fc_ceil_div(c->in[1] * c->in[2], FC_VECTOR_BYTES / 4) * fc_ceil_div(b->n, FC_VECTOR_BYTES / 4));
    double rows = (double)(c->in[0] * c->in[1]);
    return (FC_INSIDE_TURN * turns + FC_INSIDE_COPY * rows) * (double)channels / (double)b->n;
}

#endif
