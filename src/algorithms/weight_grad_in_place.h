/* weight_grad_in_place.h: blocks of pixels whose scalars are read where they lie, tap by tap, and what is asked for ahead. */

/* Segments of the pixels p0 .. p0+n of all images; returns their number. */
static int64_t FN(wgrad_segments)(const fc_corr *c, int linear, int64_t p0, int64_t n, FN(wgrad_segment) *seg)
{
    int64_t wide = c->axis[2].count, high = c->axis[1].count, image = wide * high * c->axis[0].count, count = 0;
    for (int64_t i = 0; i < n; i += seg[count++].n) {
        int64_t p = (p0 + i) % image, w = linear ? p : p % wide;
        seg[count] = (FN(wgrad_segment)){i, fc_min(n - i, (linear ? image : wide) - w), (p0 + i) / image,
                                         {linear ? 0 : p / wide / high, linear ? 0 : p / wide % high, w}};
    }
    return count;
}

/* The part of the segments whose inputs at tap t are no padding: where they lie in x, and which pixels they are. */
static int64_t FN(wgrad_clip)(const fc_corr *c, const fc_array *x, int linear, const FN(wgrad_segment) *seg, int64_t segments,
                              int64_t t, ptrdiff_t *pixel_at, FN(wgrad_segment) *kept, int64_t *pixels)
{
    const fc_corr_axis *a = c->axis;
    int64_t tw = t % a[2].taps, th = t / a[2].taps % a[1].taps, td = t / a[2].taps / a[1].taps, count = 0, n = 0;
    ptrdiff_t step = a[2].xstep * x->stride[4];
    for (const FN(wgrad_segment) *s = seg; s < seg + segments; s++) {
        int64_t d = s->j[0] * a[0].xstep + a[0].off + td * a[0].offstep,
                h = s->j[1] * a[1].xstep + a[1].off + th * a[1].offstep,
                w = s->j[2] * a[2].xstep + a[2].off + tw * a[2].offstep, lo = 0, hi = s->n;
        if (!linear) {
            if (d < 0 || d >= c->in[0] || h < 0 || h >= c->in[1] || w >= c->in[2])
                continue;
            lo = w < 0 ? fc_ceil_div(-w, a[2].xstep) : 0;
            hi = fc_min(s->n, (c->in[2] - 1 - w) / a[2].xstep + 1);
        }
        if (hi <= lo)
            continue;
        ptrdiff_t at = s->image * x->stride[0] + d * x->stride[2] + h * x->stride[3] + (w + lo * a[2].xstep) * x->stride[4];
        kept[count++] = (FN(wgrad_segment)){s->at + lo, hi - lo, 0, {0}};
        for (int64_t i = lo; i < hi; i++, at += step)
            pixel_at[n++] = at;
    }
    *pixels = n;
    return count;
}

static void FN(wgrad_look_ahead)(const fc_corr *c, const fc_array *x, const fc_array *gy, const FN(wgrad_tile) *t, int64_t p0,
                                 int64_t n, FN(wgrad_ahead) *ahead)
{
    int64_t wide = c->axis[2].count, high = c->axis[1].count, image = wide * high * c->axis[0].count;
    ahead->ranges = ahead->rows = ahead->range = ahead->row = 0;
    for (int64_t i = 0, m; i < n && ahead->ranges < 2 * FC_WGRAD_AHEAD; i += m) {
        int64_t p = (p0 + i) % image;
        m = fc_min(n - i, image - p);
        ptrdiff_t from[2] = {0, 0}, end[2] = {0, 0};
        int64_t j0[FC_DIMS] = {p / wide / high, p / wide % high, p % wide}, q = p + m - 1;
        int64_t j1[FC_DIMS] = {q / wide / high, q / wide % high, q % wide};
        for (int d = 0; d < FC_DIMS; d++) {
            const fc_corr_axis *a = &c->axis[d];
            from[0] += x->stride[2 + d] * fc_min(c->in[d] - 1, fc_max(0, j0[d] * a->xstep + a->off));
            int64_t last = j1[d] * a->xstep + a->off + (a->taps - 1) * a->offstep;
            end[0] += x->stride[2 + d] * fc_max(0, fc_min(c->in[d] - 1, last));
            from[1] += gy->stride[2 + d] * j0[d];
            end[1] += gy->stride[2 + d] * j1[d];
        }
        for (int k = 0; k < 2; k++) {
            const fc_array *a = k ? gy : x;
            int64_t r = ahead->ranges++;
            ahead->first[r] = (const real *)a->data + (p0 + i) / image * a->stride[0] + from[k] +
                              (k ? t->g * c->rows + t->k0 : t->g * c->reds + t->c0) * a->stride[1];
            ahead->channel[r] = a->stride[1];
            ahead->size[r] = fc_min(end[k] - from[k] + 1, 8 * m); /* a dilated kernel reaches far to read little */
            ahead->channels[r] = k ? t->rows : t->channels;
            ahead->rows += ahead->channels[r];
        }
    }
}

static void FN(wgrad_look_at_result)(const FN(wgrad_state) *s, const fc_corr *c, const fc_array *gw, const FN(wgrad_tile) *t,
                                     FN(wgrad_ahead) *ahead)
{
    *ahead = (FN(wgrad_ahead)){.ranges = s->at_once};
    int64_t k = t->g * c->rows + t->k0, q = t->g * c->reds + t->c0; /* of x's channels, those of a group have no number in gw */
    ahead->first[0] = (const real *)gw->data + (s->swapped ? q * gw->stride[0] + t->k0 * gw->stride[1]
                                                           : k * gw->stride[0] + t->c0 * gw->stride[1]);
    ahead->channel[0] = gw->stride[0];
    ahead->size[0] = s->swapped ? t->rows * c->taps : t->channels * c->taps;
    ahead->channels[0] = ahead->rows = s->swapped ? t->channels : t->rows;
}

/* A block read in place, tap by tap. */
static void FN(wgrad_block_in_place)(const FN(wgrad_state) *s, const fc_problem *p, const fc_corr *c, const fc_call *call,
                                     FN(wgrad_sums) *to, int64_t block, real *clipped, real *turned, ptrdiff_t *row_at,
                                     ptrdiff_t *pixel_at, FN(wgrad_segment) *seg)
{
    FN(wgrad_operands) o = FN(wgrad_operands_of)(s, c, call);
    const fc_array *x = &o.scalars, *gy = &o.lanes;
    int linear = FN(patches_linear)(c, x) && FN(patches_linear)(c, gy);
    const FN(wgrad_tile) *t = &to->t;
    int64_t image = c->axis[0].count * c->axis[1].count * c->axis[2].count, p0 = block * s->run;
    int64_t pixels = fc_min(s->run, image * p->batch - p0);
    int64_t segments = FN(wgrad_segments)(c, linear, p0, pixels, seg);
    const real *first = (const real *)gy->data + (t->g * c->rows + t->k0) * gy->stride[1];
    for (int64_t i = 0; i < segments; i++)
        FN(turn_run)(first + seg[i].image * gy->stride[0] + seg[i].j[0] * gy->stride[2] + seg[i].j[1] * gy->stride[3] +
                         seg[i].j[2] * gy->stride[4], gy, seg[i].n, t->rows, seg[i].at, pixels, turned);
    for (int64_t i = 0; i < t->channels; i++)
        row_at[i] = (t->g * c->reds + t->c0 + i) * x->stride[1];
    int64_t next = p0 + pixels, more = fc_min(s->run, image * p->batch - next);
    if (more > 0)
        FN(wgrad_look_ahead)(c, x, gy, t, next, more, &to->ahead);
    else
        FN(wgrad_look_at_result)(s, c, &call->array[3], t, &to->ahead);
    int64_t calls = c->taps * fc_ceil_div(t->rows, FC_LANES) * fc_ceil_div(t->channels, FC_ROWS_MAX);
    to->ahead.share = fc_ceil_div(to->ahead.rows, calls);
    for (int64_t tap = 0; tap < c->taps; tap++) {
        FN(wgrad_segment) *kept = seg + s->run;
        int64_t left, count = FN(wgrad_clip)(c, x, linear, seg, segments, tap, pixel_at, kept, &left);
        if (left == 0 && to->add)
            continue;
        for (int64_t k = 0; k < t->rows; k += FC_LANES) {
            int64_t lanes = fc_round_up(fc_min(FC_LANES, t->rows - k), VL), at = 0;
            const real *from = turned + k * pixels;
            for (int64_t i = 0; left < pixels && i < count; at += kept[i++].n)
                FN(copy_run)(clipped + at * lanes, from + kept[i].at * lanes, 1, kept[i].n * lanes);
            FN(wgrad_multiply)(to, k, tap, t->channels, c->taps, (const real *)x->data, row_at, pixel_at, left,
                               left < pixels ? clipped : from);
        }
    }
}
