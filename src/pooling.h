/* pooling.h: index arithmetic of pooling windows, without dtype or instruction set. */
#ifndef FC_POOLING_H
#define FC_POOLING_H

#include <math.h>

#include "geometry.h"

typedef enum { FC_SUM, FC_MAX, FC_MAX_AT } fc_reduction;

/* How a row of columns becomes what windows along it are reduced from, see pool_taps.c. */
typedef enum { FC_KEPT, FC_HALVED, FC_PICKED } fc_feed;

/* Part of an axis: first, first + step, ... `count` of them. */
typedef struct {
    int64_t first, count, step;
} fc_window;

/* floor(o * in / out) for 0 <= o <= out, also where the product does not fit: the quotient in floating point is off by one
 * at most, which the remainder, computed modulo 2^64, shows. */
static inline int64_t fc_share(int64_t o, int64_t in, int64_t out)
{
    int64_t rest = in % out, q = (int64_t)((double)o * (double)rest / (double)out);
    int64_t r = (int64_t)((uint64_t)o * (uint64_t)rest - (uint64_t)q * (uint64_t)out);
    return o * (in / out) + q + (r >= out) - (r < 0);
}

/* ceil((o + 1) * in / out) */
static inline int64_t fc_share_end(int64_t o, int64_t in, int64_t out) { return in - fc_share(out - 1 - o, in, out); }

/* n / d, without the division where there is nothing to divide: tasks ask for many windows. */
static inline int64_t fc_steps(int64_t n, int64_t d) { return d == 1 ? n : n / d; }

/* Which elements of the input output o reads. */
static inline fc_window fc_window_of(const fc_axis *a, int flags, int64_t o)
{
    if (flags & FC_ADAPTIVE) {
        int64_t first = fc_share(o, a->in, a->out);
        return (fc_window){first, fc_share_end(o, a->in, a->out) - first, 1};
    }
    int64_t start = o * a->stride - a->pad, skip = start < 0 ? fc_steps(-start + a->dilation - 1, a->dilation) : 0;
    int64_t first = start + skip * a->dilation;
    if (first >= a->in)
        return (fc_window){0, 0, 1};
    return (fc_window){first, fc_min(a->kernel - skip, fc_steps(a->in - 1 - first, a->dilation) + 1), a->dilation};
}

/* Which outputs read element i of the input (no dilation): adaptive windows are their own transpose. */
static inline fc_window fc_readers_of(const fc_axis *a, int flags, int64_t i)
{
    if (flags & FC_ADAPTIVE) {
        int64_t first = fc_share(i, a->out, a->in);
        return (fc_window){first, fc_share_end(i, a->out, a->in) - first, 1};
    }
    int64_t at = i + a->pad, before = at - a->kernel + 1; /* the windows that start from `before` to `at` */
    int64_t first = before > 0 ? fc_ceil_div(before, a->stride) : 0;
    return (fc_window){first, fc_max(0, fc_min(a->out - 1, at / a->stride) - first + 1), 1};
}

/* How many elements a mean counts along an axis: those of the input, with a flag also those of the padding, but not
 * those that ceil_mode lets a window have beyond it. */
static inline int64_t fc_window_size(const fc_axis *a, int flags, int64_t o)
{
    if (!(flags & FC_COUNT_INCLUDE_PAD) || flags & FC_ADAPTIVE)
        return fc_window_of(a, flags, o).count;
    int64_t start = o * a->stride - a->pad;
    return fc_min(start + a->kernel, a->in + a->pad_hi) - start;
}

/* Whether a plane of these sizes lies consecutively in memory. */
static inline int fc_consecutive(const fc_array *x, int64_t depth, int64_t height, int64_t width)
{
    return (width == 1 || x->stride[4] == 1) && (height == 1 || x->stride[3] == width) &&
           (depth == 1 || x->stride[2] == width * height);
}

#endif
