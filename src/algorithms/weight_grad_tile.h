/* weight_grad_tile.h: what the sources of the weight gradient's inputs share: which operand has the lanes, tiles of gw, and the
 * multiplication of a block of pixels into a tile. */

#define FC_WGRAD_PIXELS 512
#define FC_WGRAD_PANEL ((int64_t)(192 << 10) / (int64_t)sizeof(real))
#define FC_WGRAD_TILE ((int64_t)(256 << 10) / (int64_t)sizeof(real)) /* accumulators of a task, in L2 */
/* In place: pixels of a block, whose lanes and the rows that meet them fill L1; of a part, below which tiles are rather made
 * smaller; and from how many channels on, since each tap has costs of its own. */
#define FC_WGRAD_DEPTH ((int64_t)(32 << 10) / ((FC_LANES + FC_ROWS_MAX) * (int64_t)sizeof(real)))
#define FC_WGRAD_PART 1024
#define FC_WGRAD_CHANNELS 32
#define FC_WGRAD_CHANNELS_1 8 /* for one tap */

typedef enum { FN(WGRAD_IN_PLACE), FN(WGRAD_PANEL), FN(WGRAD_PATCHES) } FN(wgrad_source);

typedef struct {
    FN(wgrad_source) source;
    int swapped;                /* x and gy have changed places */
    int64_t phases;             /* 1, or swapped those of the stride */
    fc_blocks boxes;            /* direct */
    int64_t run, runs;          /* patches: pixels of a block, blocks of an image; in place: of all images */
    int64_t blocks, block_pixels;
    int64_t parts, slices;      /* parts of the blocks; compute stages, each a slice of every part */
    int64_t lanes, k_tiles;     /* result channels of a task, padded */
    int64_t channels, c_tiles;
    int64_t tile;               /* accumulators of a task, elements */
    int64_t panel, turned;      /* scratch, elements */
    int at_once;                /* a task has all of its tile's sum, in scratch */
} FN(wgrad_state);

/* Pixels of one row of outputs: place of the first in the block, number, image and output indices of the first. */
typedef struct {
    int64_t at, n, image, j[FC_DIMS];
} FN(wgrad_segment);

/* With x and gy exchanged the lanes hold input channels, and the geometry is that of the input gradient: of the pixels of x those
 * of a phase of the stride meet the same taps, at the same places of gy. */
static fc_problem FN(wgrad_seen)(const fc_problem *p, int swapped)
{
    fc_problem seen = *p;
    seen.op = swapped ? FC_CONV_INPUT_GRAD : FC_CONV;
    return seen;
}

/* Whether that is faster: it is with few output channels, which leave lanes empty, and where gy has much to turn. The rows of a 1x1
 * kernel's tile are then rows of gw as they lie in memory, so that nothing is left to turn at the end, which strews small pieces
 * over gw. */
static int FN(wgrad_swaps)(const fc_problem *p)
{
    double images = (double)p->batch, c = (double)p->in_channels, k = (double)p->out_channels;
    double pixels = images, taps = 1, inputs = images, pairs = images; /* of gy; of x, those that meet a tap, and with it */
    for (int d = 0; d < FC_DIMS; d++) {
        const fc_axis *a = &p->axis[d];
        double read = 0, met = 0;
        for (int64_t e = 0; e < fc_phases(a); e++) {
            fc_corr_axis part = fc_phase_axis(a, e);
            read += (double)part.count;
            met += (double)part.count * (double)part.taps;
        }
        pixels *= (double)a->out;
        taps *= (double)a->kernel;
        inputs *= read;
        pairs *= met;
    }
    double c_vecs = (double)fc_ceil_div(p->in_channels, VL), k_vecs = (double)fc_ceil_div(p->out_channels, VL);
    double cycle = FC_VECTOR_BYTES == 64 ? 1 : 2, turn = 0.4 * cycle; /* products of a cycle, and what an element takes */
    double turn_x = p->axis[2].stride == 1 ? turn : 1.5 * cycle;
    double swapped = pairs * c_vecs * k + inputs * turn_x * c, plain = pixels * (k_vecs * c * taps + turn * k);
    double apart = (double)p->axis[2].stride * sizeof(real) / FC_ALIGN; /* lines of x that a scalar takes, from L2 if it is read in place */
    if (p->axis[2].stride > 1 && p->in_channels >= FC_WGRAD_CHANNELS)
        plain *= 1 + (apart < 1 ? apart : 1) * 0.5 * cycle;
    if (taps == 1)
        return swapped <= plain + 2 * cycle * k * c;
    return swapped < (p->axis[2].stride > 1 ? 0.5 : 0.9) * plain; /* phases have short sums of a few taps each */
}

/* Scalars of the tile, and what is turned to lanes, whose strides lead from one pixel to the next. */
typedef struct {
    fc_array scalars, lanes;
} FN(wgrad_operands);

static FN(wgrad_operands) FN(wgrad_operands_of)(const FN(wgrad_state) *s, const fc_corr *c, const fc_call *call)
{
    FN(wgrad_operands) o = {call->array[s->swapped ? 1 : 0], call->array[s->swapped ? 0 : 1]};
    ptrdiff_t first = 0;
    for (int d = 0; d < FC_DIMS; d++) {
        first += c->axis[d].ystart * o.lanes.stride[2 + d];
        o.lanes.stride[2 + d] *= c->axis[d].ystep;
    }
    o.lanes.data += first * (ptrdiff_t)sizeof(real);
    return o;
}

typedef struct {
    int64_t g, phase, kt, ct;
    int64_t k0, rows, c0, channels; /* within the group: of the lanes, of the tile's rows */
} FN(wgrad_tile);

/* Tile i and what it correlates. */
static fc_corr FN(wgrad_tile_of)(const fc_problem *p, const FN(wgrad_state) *s, int64_t i, FN(wgrad_tile) *t)
{
    t->ct = i % s->c_tiles;
    t->kt = i / s->c_tiles % s->k_tiles;
    t->phase = i / s->c_tiles / s->k_tiles % s->phases;
    t->g = i / s->c_tiles / s->k_tiles / s->phases;
    fc_problem seen = FN(wgrad_seen)(p, s->swapped);
    fc_corr c = fc_corr_of(&seen, t->phase);
    t->k0 = t->kt * s->lanes;
    t->rows = fc_min(s->lanes, c.rows - t->k0);
    t->c0 = t->ct * s->channels;
    t->channels = fc_min(s->channels, c.reds - t->c0);
    return c;
}

/* A run of n pixels of some channels (rows), `stride[4]` apart, to [block of lanes][pixel][lane]; `at` is its first pixel there.
 * Pixels that lie apart are gathered first. */
#define FC_TURN_RUN 64
static void FN(turn_run)(const real *first, const fc_array *a, int64_t n, int64_t rows, int64_t at, int64_t pixels, real *turned)
{
    for (int64_t k = 0; k < rows; k += FC_LANES) {
        int64_t m = fc_min(FC_LANES, rows - k), lanes = fc_round_up(m, VL);
        real *to = turned + k * pixels + at * lanes;
        const real *from = first + k * a->stride[1];
        if (a->stride[4] == 1) {
            FN(transpose)(from, a->stride[1], m, n, to, lanes, lanes);
            continue;
        }
        real run[FC_LANES * FC_TURN_RUN];
        for (int64_t i = 0; i < n; i += FC_TURN_RUN) {
            int64_t part = fc_min(FC_TURN_RUN, n - i);
            for (int64_t j = 0; j < m; j++)
                FN(copy_run)(run + j * FC_TURN_RUN, from + j * a->stride[1] + i * a->stride[4], a->stride[4], part);
            FN(transpose)(run, FC_TURN_RUN, m, part, to + i * lanes, lanes, lanes);
        }
    }
}

/* What is needed next: what the next block will read in place, of each channel's plane a range, and another for each further
 * image; or the rows of gw that a tile goes to, before it is finished. */
#define FC_WGRAD_AHEAD 8
typedef struct {
    const real *first[2 * FC_WGRAD_AHEAD];
    ptrdiff_t channel[2 * FC_WGRAD_AHEAD];
    int64_t size[2 * FC_WGRAD_AHEAD], channels[2 * FC_WGRAD_AHEAD];
    int64_t ranges, rows;       /* rows: of all ranges */
    int64_t share, range, row;  /* rows that are asked for at a time; the next one */
} FN(wgrad_ahead);

/* The next share, as products go on: rows are too short for the processor to foresee. */
static inline void FN(wgrad_fetch)(FN(wgrad_ahead) *ahead)
{
    for (int64_t i = 0; i < ahead->share && ahead->range < ahead->ranges; i++) {
        const real *row = ahead->first[ahead->range] + ahead->row * ahead->channel[ahead->range];
        for (int64_t e = 0; e < ahead->size[ahead->range]; e += FC_ALIGN / (int64_t)sizeof(real))
            __builtin_prefetch(row + e, 0, 2);
        if (++ahead->row == ahead->channels[ahead->range]) {
            ahead->row = 0;
            ahead->range++;
        }
    }
}

/* What a task multiplies into: its tile of sums, and whether they have begun. */
typedef struct {
    FN(wgrad_tile) t;
    int64_t taps;
    real *acc;
    ptrdiff_t per_lane, pitch; /* from a lane to the next; from a row, 0: as many as there are lanes */
    int add;
    FN(wgrad_ahead) ahead;
} FN(wgrad_sums);

/* Rows of one tap (first, with step `taps`) or of all taps (step 1), and a block of lanes from k: their sums over pixels. */
static void FN(wgrad_multiply)(FN(wgrad_sums) *to, int64_t k, int64_t first, int64_t rows, int64_t step, const real *inputs,
                               const ptrdiff_t *row_at, const ptrdiff_t *pixel_at, int64_t pixels, const real *turned)
{
    int64_t lanes = fc_round_up(fc_min(FC_LANES, to->t.rows - k), VL), tiles = fc_ceil_div(rows, FC_ROWS_MAX);
    ptrdiff_t pitch = to->pitch ? to->pitch : lanes;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t q0 = FN(even_start)(rows, tiles, i), m = FN(even_start)(rows, tiles, i + 1) - q0;
        FN(dest) c = {to->acc + k * to->per_lane + (first + q0 * step) * pitch, step * pitch, to->add};
        for (int64_t r = 0; r < m; r++)
            for (int64_t e = 0; e < lanes; e += FC_ALIGN / (int64_t)sizeof(real))
                __builtin_prefetch(c.c + r * c.ldc + e, 1);
        FN(wgrad_fetch)(&to->ahead);
        FN(fma_rows)((int)m, (int)(lanes / VL), inputs, row_at + q0, pixel_at, pixels, turned, lanes, c);
    }
}
