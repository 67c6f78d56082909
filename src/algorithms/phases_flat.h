/* phases_flat.h: the input gradient of few result channels, which would leave lanes of conv_phases.c empty: pixels are in the lanes.
 *
 * A row of results reads consecutive positions of the panel, so that a box is one flat run with gaps, and fma_taps computes all
 * channels of a phase or two. Taps that only one of these has are zero in the other; where sums are not finite, they are taken
 * again without. */

/* A row of results from one row of each phase, `at` elements on: y[i] = of phase i % s, or the bias where that has none. */
static inline void FN(phases_row)(real *y, ptrdiff_t step, const real *const *row, int64_t at, int64_t s, int64_t n,
                                  real bias)
{
    if (s == 1 && row[0]) {
        FN(put_run)(y, step, row[0] + at, n, bias, 0);
        return;
    }
    if (s == 2 && step == 1) {
        vec b = FN(splat)(bias);
        for (int64_t i = 0; i < n; i += 2 * VL) {
            int64_t c0 = fc_min(VL, (n - i + 1) / 2), c1 = fc_min(VL, (n - i) / 2);
            vec even = b + (row[0] ? FN(load_n)(row[0] + at + i / 2, c0) : FN(zero)());
            vec odd = b + (row[1] ? FN(load_n)(row[1] + at + i / 2, c1) : FN(zero)());
            FN(store_n)(y + i, FN(zip_lo)(even, odd), fc_min(VL, n - i));
            if (n - i > VL)
                FN(store_n)(y + i + VL, FN(zip_hi)(even, odd), fc_min(VL, n - i - VL));
        }
        return;
    }
    for (int64_t f = 0; f < s; f++) {
        const real *from = row[f] ? row[f] + at : NULL;
        for (int64_t i = f; i < n; i += s)
            y[i * step] = from ? bias + *from++ : bias;
    }
}

/* Results with pixels in the lanes, [phase][row][pixel] in `turned`, into whole rows of y. */
typedef struct {
    const real *turned;
    int64_t pitch, slice, line; /* from a row, a slice of the box, a line to the next */
} FN(phases_results);

static void FN(phases_store)(const fc_problem *p, const fc_box *box, const fc_array *y, const fc_array *bias,
                             int64_t channel,
                             int64_t rows, const FN(phases_results) *from)
{
    const fc_axis *a = p->axis;
    /* Which phase of each axis has a residue: the others are left at -1. */
    int64_t phase_of[FC_DIMS][FC_PHASES_MOST], first[FC_DIMS], end[FC_DIMS];
    for (int d = 0; d < FC_DIMS; d++) {
        for (int64_t i = 0; i < a[d].stride; i++)
            phase_of[d][i] = -1;
        for (int64_t e = 0; e < fc_phases(&a[d]); e++)
            phase_of[d][fc_phase_axis(&a[d], e).ystart] = e;
        first[d] = box->j0[d] * a[d].stride;
        end[d] = fc_min(a[d].in, (box->j0[d] + box->j[d]) * a[d].stride);
    }
    for (int64_t n = 0; n < box->n; n++)
        for (int64_t d = first[0]; d < end[0]; d++)
            for (int64_t h = first[1]; h < end[1]; h++) {
                int64_t ed = phase_of[0][d % a[0].stride], eh = phase_of[1][h % a[1].stride];
                const real *line = from->turned + (n * box->j[0] + (d - first[0]) / a[0].stride) * from->slice +
                                   (h - first[1]) / a[1].stride * from->line;
                const real *row[FC_PHASES_MOST];
                for (int64_t f = 0; f < a[2].stride; f++) {
                    int64_t ew = phase_of[2][f], e = (ed * fc_phases(&a[1]) + eh) * fc_phases(&a[2]) + ew;
                    row[f] = ed < 0 || eh < 0 || ew < 0 ? NULL : line + e * rows * from->pitch;
                }
                real *to = (real *)y->data + (box->n0 + n) * y->stride[0] + channel * y->stride[1] + d * y->stride[2] +
                           h * y->stride[3] + first[2] * y->stride[4];
                for (int64_t k = 0; k < rows; k++)
                    FN(phases_row)(to + k * y->stride[1], y->stride[4], row, k * from->pitch, a[2].stride,
                                   end[2] - first[2],
                                   bias->data ? ((const real *)bias->data)[(channel + k) * bias->stride[0]] : 0);
            }
}

/* One chunk of the sum, pixels in the lanes: one flat run for each slice of the box, of each block's phases and channels. */
static void FN(phases_flat)(const FN(phases_job) *job, const fc_box *box, const fc_panel *panel, int64_t r,
                            int64_t reds, int64_t rows,
                            const real *weights, const FN(phases_results) *to)
{
    const fc_phase_blocks *b = job->blocks;
    int64_t run = (box->j[1] - 1) * panel->row + box->j[2];
    for (int64_t slice = 0; slice < box->n * box->j[0]; slice++) {
        const real *from = job->inputs + (slice / box->j[0] * panel->channels + r) * panel->plane + slice % box->j[0] * panel->slice;
        for (int64_t i = 0; i < run; i += FC_TAPS_NV * VL) {
            int64_t nv = fc_min(FC_TAPS_NV, fc_ceil_div(run - i, VL));
            for (int64_t k = 0; k < b->blocks; k++)
                FN(fma_taps)((int)b->block[k].lanes, (int)nv, weights + reds * b->block[k].before,
                             job->tap_at + b->block[k].tap_from * job->chunk, reds * b->block[k].taps, from + i,
                             (FN(dest)){(real *)to->turned + b->block[k].first * rows * to->pitch + slice * to->slice + i, to->pitch,
                                        r > 0});
        }
    }
}

/* The same sums a tap at a time, each for its own phase: in the others of its block a zero stands for it, and zero times infinity
 * is no term of any sum. */
static void FN(phases_apart)(const FN(phases_job) *job, const fc_box *box, const fc_panel *panel, int64_t r, int64_t reds,
                             int64_t rows, const real *weights, const FN(phases_results) *to)
{
    const fc_phase_blocks *b = job->blocks;
    int64_t run = (box->j[1] - 1) * panel->row + box->j[2];
    for (int64_t k = 0; k < b->blocks; k++)
        for (int64_t e = b->block[k].first; e < b->block[k].first + b->block[k].phases; e++)
            for (int64_t slice = 0; slice < box->n * box->j[0]; slice++)
                for (int64_t q = 0; q < reds; q++)
                    for (int64_t t = b->element_from[e]; t < b->element_from[e + 1]; t++) {
                        const real *from = job->inputs + (slice / box->j[0] * panel->channels + r + q) * panel->plane +
                                           slice % box->j[0] * panel->slice;
                        const real *w = weights + reds * b->block[k].before +
                                        (q * b->block[k].taps + b->tap[t]) * b->block[k].lanes + (e - b->block[k].first) * rows;
                        for (int64_t i = 0; i < run; i += FC_TAPS_NV * VL)
                            FN(fma_taps)((int)rows, (int)fc_min(FC_TAPS_NV, fc_ceil_div(run - i, VL)), w,
                                         b->at + b->block[k].tap_from + b->tap[t], 1, from + i,
                                         (FN(dest)){(real *)to->turned + e * rows * to->pitch + slice * to->slice + i, to->pitch,
                                                    r + q > 0 || t > b->element_from[e]});
                    }
}

static int FN(phases_finite)(const fc_box *box, const fc_panel *panel, int64_t lanes, const FN(phases_results) *sums)
{
    int64_t run = (box->j[1] - 1) * panel->row + box->j[2];
    for (int64_t k = 0; k < lanes; k++)
        for (int64_t slice = 0; slice < box->n * box->j[0]; slice++)
            if (!FN(all_finite)(sums->turned + k * sums->pitch + slice * sums->slice, run))
                return 0;
    return 1;
}
