/* direct_block.h: the direct convolution's products: chunks of weights, packed, by a box of pixels. */

/* Packs one block of result channels: dst[c*channel + t*tap + lane]. */
static void FN(pack_block)(const fc_corr *c, const fc_weight_strides *ws, const real *w, int64_t reds, int64_t rows,
                           int64_t lanes, real *dst, ptrdiff_t channel, ptrdiff_t tap)
{
    int whole = 1; /* taps lie one after the other in the array, forwards or backwards */
    ptrdiff_t along = ws->tap[2] * c->axis[2].wstep, expect = along;
    for (int d = FC_DIMS - 1; d >= 0; d--) {
        whole = whole && (c->axis[d].taps == 1 || ws->tap[d] * c->axis[d].wstep == expect);
        expect *= c->axis[d].taps;
    }
    if (c->taps == 1)
        along = 1;
    if (whole && (along == 1 || along == -1)) {
        int64_t taps = c->taps;
        const real *first = w + fc_weight_tap(c, ws, along > 0 ? 0 : taps - 1);
        if (along > 0 && ws->red == taps && channel == taps * tap) { /* and so do the channels: one long transpose */
            FN(transpose)(first, ws->row, rows, reds * taps, dst, lanes, lanes);
        } else if (along > 0 && ws->red == taps && reds * taps <= FC_INSIDE_TERMS) {
            ptrdiff_t at[FC_INSIDE_TERMS];
            for (int64_t r = 0; r < reds; r++)
                for (int64_t t = 0; t < taps; t++)
                    at[r * taps + t] = r * channel + t * tap;
            for (int64_t i = 0; i < lanes; i += VL)
                FN(to_lanes)(first + i * ws->row, ws->row, fc_min(VL, rows - i), reds * taps, at, dst + i,
                             first + i * ws->row + reds * taps);
        } else if (taps == 1 && ws->row == 1) {
            for (int64_t r = 0; r < reds; r++) {
                FN(copy_run)(dst + r * channel, first + r * ws->red, 1, rows);
                FN(fill_run)(dst + r * channel + rows, 0, lanes - rows);
            }
        } else if (taps == 1 && ws->red == 1) {
            FN(transpose)(first, ws->row, rows, reds, dst, channel, lanes);
        } else {
            for (int64_t r = 0; r < reds; r++)
                FN(pack_kernel)(first + r * ws->red, ws->row, rows, taps, dst + r * channel + (along > 0 ? 0 : (taps - 1) * tap),
                                along > 0 ? tap : -tap, lanes);
        }
        return;
    }
    for (int64_t t = 0; t < c->taps; t++) {
        const real *from = w + fc_weight_tap(c, ws, t);
        for (int64_t r = 0; r < reds; r++) {
            real *to = dst + r * channel + t * tap;
            for (int64_t i = 0; i < rows; i++)
                to[i] = from[r * ws->red + i * ws->row];
            FN(fill_run)(to + rows, 0, lanes - rows);
        }
    }
}

/* The usual order: dst[c][t][lane]. */
static void FN(direct_pack)(const fc_corr *c, const fc_weight_strides *ws, const real *w, int64_t reds, int64_t rows,
                            int64_t lanes, real *dst)
{
    FN(pack_block)(c, ws, w, reds, rows, lanes, dst, c->taps * lanes, lanes);
}

/* A chunk of it: the same, or [t][c][lane] where tiles leave taps out. */
static void FN(direct_pack_chunk)(const fc_corr *c, const fc_weight_strides *ws, const real *w, int64_t reds, int64_t rows,
                                  int inside, real *dst)
{
    int64_t lanes = fc_round_up(rows, VL);
    if (inside)
        FN(pack_block)(c, ws, w, reds, rows, lanes, dst, lanes, reds * lanes);
    else
        FN(direct_pack)(c, ws, w, reds, rows, lanes, dst);
}

/* Where a block's inputs and weights come from. */
typedef struct {
    const real *inputs;                    /* of the first channel */
    ptrdiff_t channel, image;              /* elements from one channel, one image, to the next */
    int64_t images;                        /* of the box, when inputs come from L3 and are to be asked for beforehand; else 0 */
    const ptrdiff_t *pixel_at, *tap_at;
    const real *weights;                   /* packed; with `chunk` still in the array, to be packed into it */
    const fc_weight_strides *strides;
    real *chunk;
    const FN(result) *to;                  /* for pixels in one run: asked for before they are written */
    /* With taps left out: the channels of a chunk, whose tap table is [t][c], and that of the last chunk; the tiles. */
    int64_t channels;
    const ptrdiff_t *last_tap_at;
    const fc_box *box;
    const fc_cut *cut;
    int64_t cuts;
} FN(direct_feed);

/* A chunk of the sum, `reds` channels from r on, in a block of result channels. */
typedef struct {
    int64_t r, reds, later; /* of the next chunk */
    int64_t rows, lanes;
    const real *packed;
} FN(direct_chunk);

/* Asks for a share of what the next chunk reads; after the last one, of what will be written. */
static inline void FN(direct_ahead)(const fc_corr *c, const FN(direct_feed) *f, const FN(direct_chunk) *k, int64_t p0, int64_t i,
                                    int64_t tiles)
{
    int64_t next = k->r + k->reds;
    if (f->to && !k->later)
        for (int64_t row = 0; row < k->rows; row++)
            __builtin_prefetch(f->to->y + row * f->to->channel + p0, 1, 2);
    for (int64_t n = 0; k->later && n < f->images; n++)
        FN(fetch)(f->inputs + n * f->image + next * f->channel, k->later * f->channel, i, tiles);
    if (f->chunk && k->later)
        FN(fetch_weights)(f->strides, f->weights + next * f->strides->red, k->later, c->taps, k->rows, i, tiles);
}

/* One tile of a chunk, but for the taps outside `inside`. A tile without any becomes zero. */
static void FN(direct_tile)(const fc_corr *c, const FN(direct_feed) *f, const FN(direct_chunk) *k, const fc_range *inside,
                            int64_t p0, int64_t pixels, real *buf)
{
    int64_t high = c->axis[1].taps, wide = c->axis[2].taps, w = inside[2].to - inside[2].from;
    int64_t lines = w == wide ? fc_max(1, inside[1].to - inside[1].from) : 1;
    int64_t slices = w == wide && lines == high ? fc_max(1, inside[0].to - inside[0].from) : 1;
    const ptrdiff_t *tap_at = k->reds == f->channels ? f->tap_at : f->last_tap_at;
    int add = k->r > 0;
    for (int64_t d = inside[0].from; d < inside[0].to; d += slices)
        for (int64_t h = inside[1].from; h < inside[1].to && w > 0; h += lines) {
            int64_t q = ((d * high + h) * wide + inside[2].from) * k->reds;
            FN(fma_rows)((int)pixels, (int)(k->lanes / VL), f->inputs + k->r * f->channel, f->pixel_at + p0, tap_at + q,
                         slices * lines * w * k->reds, k->packed + q * k->lanes, k->lanes,
                         (FN(dest)){buf + p0 * k->lanes, k->lanes, add});
            add = 1;
        }
    if (!add)
        FN(fill_run)(buf + p0 * k->lanes, 0, pixels * k->lanes);
}

/* A chunk without the taps that tiles see in the padding. */
static void FN(direct_chunk_inside)(const fc_corr *c, const FN(direct_feed) *f, const FN(direct_chunk) *k, real *buf)
{
    const fc_box *box = f->box;
    int64_t row = box->n * box->j[2], tiles = box->j[0] * box->j[1] * f->cuts, i = 0;
    for (int64_t q = 0; q < box->j[0] * box->j[1]; q++) {
        fc_range inside[FC_DIMS] = {fc_taps_inside(&c->axis[0], c->in[0], box->j0[0] + q / box->j[1]),
                                    fc_taps_inside(&c->axis[1], c->in[1], box->j0[1] + q % box->j[1])};
        for (int64_t t = 0; t < f->cuts; t++, i++) {
            int64_t p0 = q * row + f->cut[t].at;
            inside[2] = f->cut[t].taps;
            FN(direct_tile)(c, f, k, inside, p0, f->cut[t].pixels, buf);
            FN(direct_ahead)(c, f, k, p0, i, tiles);
        }
    }
}

/* A chunk with all taps, or a piece of one channel's taps at a time. */
static void FN(direct_chunk_whole)(const fc_corr *c, const FN(direct_feed) *f, const FN(direct_chunk) *k, int64_t pixels,
                                   real *buf)
{
    int64_t taps = c->taps, piece = fc_min(taps, 2 * FC_DIRECT_CHUNK), tiles = fc_ceil_div(pixels, FC_ROWS_MAX);
    for (int64_t t = 0; t < taps; t += piece) {
        int64_t depth = piece < taps ? fc_min(piece, taps - t) : k->reds * taps;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t p0 = FN(even_start)(pixels, tiles, i), p1 = FN(even_start)(pixels, tiles, i + 1);
            FN(fma_rows)((int)(p1 - p0), (int)(k->lanes / VL), f->inputs + k->r * f->channel, f->pixel_at + p0, f->tap_at + t,
                         depth, k->packed + t * k->lanes, k->lanes, (FN(dest)){buf + p0 * k->lanes, k->lanes, k->r > 0 || t > 0});
            FN(direct_ahead)(c, f, k, p0, i, tiles);
        }
    }
}

/* All chunks of the sum, for one block of result channels: buf[pixel][lane]. A chunk is some whole channels, or a piece of
 * one channel's taps; the table of the first serves them all. */
static void FN(direct_block)(const fc_corr *c, const FN(direct_feed) *f, int64_t pixels, int64_t reds, int64_t rows,
                             real *buf)
{
    int64_t lanes = fc_round_up(rows, VL), channels = f->cut ? f->channels : fc_max(1, FC_DIRECT_CHUNK / c->taps);
    for (int64_t r = 0; r < reds; r += channels) {
        int64_t now = fc_min(channels, reds - r);
        FN(direct_chunk) k = {r, now, fc_min(channels, reds - r - now), rows, lanes, f->weights + r * c->taps * lanes};
        if (f->chunk) {
            k.packed = f->chunk;
            FN(direct_pack_chunk)(c, f->strides, f->weights + r * f->strides->red, now, rows, f->cut != NULL, f->chunk);
        }
        if (f->cut)
            FN(direct_chunk_inside)(c, f, &k, buf);
        else
            FN(direct_chunk_whole)(c, f, &k, pixels, buf);
    }
}
