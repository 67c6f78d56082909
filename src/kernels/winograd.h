/* winograd.h: the transforms of Winograd's F(4x4, 3x3) and F(2x2, 5x5) (Lavin & Gray, 2016), lanes being tiles or channels.
 *
 *   y = A'[ (G w G') * (B' x B) ] A       a 4x4 tile of results from a 6x6 tile of inputs, by 36 products instead of 144,
 *                                         or a 2x2 tile, instead of 100
 *
 * The points 0, +-1/sqrt 2, +-sqrt 2 and infinity keep the error several times below that of 0, +-1, +-2 at the same cost: with
 * a = 1/sqrt 2, b = sqrt 2 the transforms are
 *
 *   B' = 1   0    -5/2   0   1  0      A' = 1  1    1    1    1   0      G =  1     0     0
 *        0  -2a   -2     a   1  0           0  a   -a    b   -b   0          -2/3 -2/3 a -1/3
 *        0   2a   -2    -a   1  0           0  1/2  1/2  2    2   0          -2/3  2/3 a -1/3
 *        0  -b/2  -1/2   b   1  0           0  a/2 -a/2  2b  -2b  1           1/6  1/6 b  1/3
 *        0   b/2  -1/2  -b   1  0                                             1/6 -1/6 b  1/3
 *        0   1     0    -5/2 0  1                                             0     0     1
 *
 * For kernels of 5, G goes on in powers of the points (and its last row ends in 1), A' has two rows (the second ends in 1). */

#define FC_WINO_OUT 4  /* results of a tile along an axis, with a kernel of 3; with one of 5 there are 2 */
#define FC_WINO_IN 6   /* inputs, and frequencies */
#define FC_WINO_F 36   /* frequencies of a tile */

#define FC_WINO_A FN(splat)((real)0.70710678118654752440)
#define FC_WINO_B FN(splat)((real)1.41421356237309504880)

/* One dimension of G, B' and A': a column of as many vectors as the kernel has taps, `step` apart, of six or six. */
FC_INLINE void FN(wino_g)(const vec *w, const int taps, const int step, vec *u)
{
    const vec third = FN(splat)((real)(1.0 / 3)), sixth = FN(splat)((real)(1.0 / 6)), thirds = FN(splat)((real)(2.0 / 3));
    vec even = thirds * w[0] + third * w[2 * step], even2 = sixth * w[0] + third * w[2 * step];
    vec odd = thirds * w[step], odd2 = sixth * w[step];
    if (taps == 5) {
        even += sixth * w[4 * step];
        even2 += thirds * w[4 * step];
        odd += third * w[3 * step];
        odd2 += third * w[3 * step];
    }
    u[0] = w[0];
    u[1] = -even - FC_WINO_A * odd;
    u[2] = FC_WINO_A * odd - even;
    u[3] = even2 + FC_WINO_B * odd2;
    u[4] = even2 - FC_WINO_B * odd2;
    u[5] = w[(taps - 1) * step];
}

FC_INLINE void FN(wino_b)(const vec *d, vec *v)
{
    const vec half = FN(splat)((real)0.5), two = FN(splat)(2), five_halves = FN(splat)((real)2.5);
    vec even = d[4] - two * d[2], odd = d[3] - two * d[1];
    vec even2 = d[4] - half * d[2], odd2 = d[3] - half * d[1];
    v[0] = d[0] + d[4] - five_halves * d[2];
    v[1] = even + FC_WINO_A * odd;
    v[2] = even - FC_WINO_A * odd;
    v[3] = even2 + FC_WINO_B * odd2;
    v[4] = even2 - FC_WINO_B * odd2;
    v[5] = d[1] + d[5] - five_halves * d[3];
}

FC_INLINE void FN(wino_a)(const vec *m, const int out, vec *y)
{
    const vec half = FN(splat)((real)0.5), two = FN(splat)(2);
    vec p = m[1] + m[2], q = FC_WINO_A * (m[1] - m[2]), r = m[3] + m[4], t = FC_WINO_B * (m[3] - m[4]);
    y[0] = m[0] + p + r;
    if (out == 2) {
        y[1] = q + t + m[5];
        return;
    }
    y[1] = q + t;
    y[2] = half * p + two * r;
    y[3] = half * q + two * t + m[5];
}

/* And of A and G', which the weight gradient takes: a column of `out` vectors, of six, from which come `taps`. */
FC_INLINE void FN(wino_at)(const vec *z, const int out, vec *y)
{
    const vec half = FN(splat)((real)0.5), two = FN(splat)(2);
    vec even = z[0], odd = z[1], even2 = z[0], odd2 = z[1];
    if (out == 4) {
        even += half * z[2];
        odd += half * z[3];
        even2 += two * z[2];
        odd2 += two * z[3];
    }
    y[0] = z[0];
    y[1] = even + FC_WINO_A * odd;
    y[2] = even - FC_WINO_A * odd;
    y[3] = even2 + FC_WINO_B * odd2;
    y[4] = even2 - FC_WINO_B * odd2;
    y[5] = z[out - 1];
}

FC_INLINE void FN(wino_gt)(const vec *m, const int taps, vec *w)
{
    const vec third = FN(splat)((real)(1.0 / 3)), sixth = FN(splat)((real)(1.0 / 6)), thirds = FN(splat)((real)(2.0 / 3));
    vec p = m[1] + m[2], q = FC_WINO_A * (m[1] - m[2]), r = m[3] + m[4], t = FC_WINO_B * (m[3] - m[4]);
    w[0] = m[0] - thirds * p + sixth * r;
    w[1] = sixth * t - thirds * q;
    w[2] = third * (r - p);
    if (taps == 5) {
        w[3] = third * (t - q);
        w[4] = thirds * r - sixth * p;
    }
    w[taps - 1] += m[5];
}

/* G on both sides of VL kernels of side x side, one a lane: from taps[t][lane] to U[f] at u + f*per_f, in tiles of `m` rows (VL or
 * half of it), `per_tile` apart. */
FC_INLINE void FN(wino_weights_of)(const real *taps, const int side, const int m, real *u, ptrdiff_t per_f, ptrdiff_t per_tile)
{
    vec column[5], half[5 * FC_WINO_IN], out[FC_WINO_IN];
    FC_UNROLL for (int j = 0; j < side; j++)
    {
        FC_UNROLL for (int i = 0; i < side; i++) column[i] = FN(load)(taps + (i * side + j) * VL);
        FN(wino_g)(column, side, 1, out);
        FC_UNROLL for (int i = 0; i < FC_WINO_IN; i++) half[i * side + j] = out[i];
    }
    FC_UNROLL for (int i = 0; i < FC_WINO_IN; i++)
    {
        FN(wino_g)(half + i * side, side, 1, out);
        FC_UNROLL for (int j = 0; j < FC_WINO_IN; j++, u += per_f)
        {
            if (m == VL)
                FN(store)(u, out[j]);
            else
                FN(store_halves)(u, u + per_tile, out[j]);
        }
    }
}

static void FN(wino_weights)(const real *taps, int64_t side, const int m, real *u, ptrdiff_t per_f, ptrdiff_t per_tile)
{
    if (side == 3)
        FN(wino_weights_of)(taps, 3, m, u, per_f, per_tile);
    else
        FN(wino_weights_of)(taps, 5, m, u, per_f, per_tile);
}

/* Consecutive tiles of one row of tiles of a frame, which is a plane of results that needs no other: an image; each slice
 * along depth; with dilation d each of d x d sub-images, whose pixels lie d apart. */
typedef struct {
    int64_t frame, row, column, count, at; /* the frame, place and number of the tiles; where they lie in their block */
    int64_t h, w, in_h, in_w, depth;       /* the first tile's first input, the size of the frame's inputs, their first slice */
    int64_t height, width;                 /* of the results */
    ptrdiff_t from, to;                    /* the frame's first input in a channel; the piece's first result */
} FN(tiles);

/* Cuts tiles first .. first+n, numbered through rows and frames, at the ends of rows. Returns the number of pieces. */
static inline int64_t FN(wino_pieces)(int64_t first, int64_t n, int64_t tiles_h, int64_t tiles_w, FN(tiles) *pieces)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += pieces[count++].count) {
        int64_t t = first + i, w = t % tiles_w, h = t / tiles_w;
        pieces[count] = (FN(tiles)){.frame = h / tiles_h, .row = h % tiles_h, .column = w, .count = fc_min(n - i, tiles_w - w), .at = i};
    }
    return count;
}

/* Length of a row of wino_rows for so many tiles (of 4 results, or fewer): whole vectors of tiles are read, and vectors written past
 * the end. */
static inline int64_t FN(wino_row)(int64_t tiles) { return FC_WINO_OUT * fc_round_up(tiles, VL) + 2 * VL; }

/* B' along the columns of a piece's six rows of inputs: rows[i][ld]. Lanes outside of the input read as zero; a seventh row is
 * zeros and stands for rows outside. Vectors start where wino_columns will load them: a load that spans two fresh stores
 * waits. The next channel's inputs, `ahead` elements on, are fetched meanwhile: rows are too short for the processor to
 * foresee. */
static void FN(wino_rows)(const FN(tiles) *piece, int64_t out, const real *plane, int64_t in_h, ptrdiff_t down, ptrdiff_t along,
                          ptrdiff_t ahead, real *rows, int64_t ld)
{
    int64_t width = out * piece->count + FC_WINO_IN - out;
    int64_t lo = fc_min(width, fc_max(0, -piece->w)), hi = fc_max(lo, fc_min(width, piece->in_w - piece->w));
    const real *in[FC_WINO_IN];
    for (int i = 0; i < FC_WINO_IN; i++) {
        in[i] = plane + (piece->h + i) * down + piece->w * along;
        if (piece->h + i < 0 || piece->h + i >= in_h) {
            in[i] = rows + FC_WINO_IN * ld;
        } else if (along != 1) { /* made dense where the result will be */
            FN(copy_run)(rows + i * ld + lo, in[i] + lo * along, along, hi - lo);
            in[i] = rows + i * ld;
        }
    }
    vec d[FC_WINO_IN], v[FC_WINO_IN];
    for (int64_t w = 0; w < width; w += VL) {
        if (w >= lo && w + VL <= hi) {
            FC_UNROLL for (int i = 0; i < FC_WINO_IN; i++) d[i] = FN(load)(in[i] + w);
        } else {
            int64_t from = fc_min(VL, fc_max(0, lo - w)), to = fc_max(from, fc_min(VL, hi - w));
            FC_UNROLL for (int i = 0; i < FC_WINO_IN; i++) d[i] = FN(load_range)(in[i] + w, from, to);
        }
        FN(wino_b)(d, v);
        FC_UNROLL for (int i = 0; i < FC_WINO_IN; i++)
        {
            FN(store)(rows + i * ld + w, v[i]);
            __builtin_prefetch(in[i] + w + ahead);
        }
    }
}

/* Columns j, out + j, 2*out + j ... of a row, for j < 6: tiles in the lanes. */
FC_INLINE void FN(wino_deal)(const real *from, const int out, vec *d)
{
    vec a0 = FN(load)(from), a1 = FN(load)(from + VL);
    if (out == 2) {
        d[0] = FN(evens)(a0, a1);
        d[1] = FN(odds)(a0, a1);
        FC_UNROLL for (int j = 2; j < FC_WINO_IN; j++) d[j] = FN(shift_in)(d[j - 2], from[2 * VL + j - 2]);
        return;
    }
    vec a2 = FN(load)(from + 2 * VL), a3 = FN(load)(from + 3 * VL);
    vec e0 = FN(evens)(a0, a1), e1 = FN(evens)(a2, a3), o0 = FN(odds)(a0, a1), o1 = FN(odds)(a2, a3);
    d[0] = FN(evens)(e0, e1);
    d[1] = FN(evens)(o0, o1);
    d[2] = FN(odds)(e0, e1);
    d[3] = FN(odds)(o0, o1);
    d[4] = FN(shift_in)(d[0], from[4 * VL]);
    d[5] = FN(shift_in)(d[1], from[4 * VL + 1]);
}

/* B' along the rows: V[f] of the piece's tiles at v + f*per_f. Whole vectors are written where there is room for them: what
 * they leave behind the piece, the next piece overwrites. */
FC_INLINE void FN(wino_columns_of)(const int out, const real *rows, int64_t ld, int64_t tiles, int64_t room, real *v, ptrdiff_t per_f)
{
    for (int64_t t = 0; t < tiles; t += VL)
        for (int i = 0; i < FC_WINO_IN; i++) {
            vec d[FC_WINO_IN], b[FC_WINO_IN];
            FN(wino_deal)(rows + i * ld + out * t, out, d);
            FN(wino_b)(d, b);
            real *to = v + i * FC_WINO_IN * per_f + t;
            if (room - t >= VL) {
                FC_UNROLL for (int j = 0; j < FC_WINO_IN; j++) FN(store)(to + j * per_f, b[j]);
            } else {
                FC_UNROLL for (int j = 0; j < FC_WINO_IN; j++) FN(store_n)(to + j * per_f, b[j], room - t);
            }
        }
}

static void FN(wino_columns)(int64_t out, const real *rows, int64_t ld, int64_t tiles, int64_t room, real *v, ptrdiff_t per_f)
{
    if (out == FC_WINO_OUT)
        FN(wino_columns_of)(FC_WINO_OUT, rows, ld, tiles, room, v, per_f);
    else
        FN(wino_columns_of)(2, rows, ld, tiles, room, v, per_f);
}

/* A' on both sides of `tiles` tiles of one result channel, their products at m + f*per_f: rows[i][out * tile + j]. */
FC_INLINE void FN(wino_results_of)(const int out, const real *m, ptrdiff_t per_f, int64_t tiles, real *rows, int64_t ld)
{
    for (int64_t t = 0; t < tiles; t += VL) {
        vec half[FC_WINO_OUT * FC_WINO_IN], y[FC_WINO_OUT], column[FC_WINO_IN];
        FC_UNROLL for (int j = 0; j < FC_WINO_IN; j++)
        {
            FC_UNROLL for (int i = 0; i < FC_WINO_IN; i++) column[i] = FN(load)(m + (i * FC_WINO_IN + j) * per_f + t);
            FN(wino_a)(column, out, y);
            FC_UNROLL for (int i = 0; i < out; i++) half[i * FC_WINO_IN + j] = y[i];
        }
        FC_UNROLL for (int i = 0; i < out; i++)
        {
            FN(wino_a)(half + i * FC_WINO_IN, out, y);
            real *to = rows + i * ld + out * t;
            if (out == 2) {
                FN(store)(to, FN(zip_lo)(y[0], y[1]));
                FN(store)(to + VL, FN(zip_hi)(y[0], y[1]));
                continue;
            }
            vec e0 = FN(zip_lo)(y[0], y[2]), e1 = FN(zip_hi)(y[0], y[2]), o0 = FN(zip_lo)(y[1], y[3]), o1 = FN(zip_hi)(y[1], y[3]);
            FN(store)(to, FN(zip_lo)(e0, o0));
            FN(store)(to + VL, FN(zip_hi)(e0, o0));
            FN(store)(to + 2 * VL, FN(zip_lo)(e1, o1));
            FN(store)(to + 3 * VL, FN(zip_hi)(e1, o1));
        }
    }
}

static void FN(wino_results)(int64_t out, const real *m, ptrdiff_t per_f, int64_t tiles, real *rows, int64_t ld)
{
    if (out == FC_WINO_OUT)
        FN(wino_results_of)(FC_WINO_OUT, m, per_f, tiles, rows, ld);
    else
        FN(wino_results_of)(2, m, per_f, tiles, rows, ld);
}
