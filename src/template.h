/* template.h: every kernel and algorithm, for one dtype. Included by isa.h once per dtype, which defines `real`, FC_REAL_BITS
 * and FN(name), and undefines them again. Add an algorithm: its file here, its line in algorithms.inc. */
#include "pooling.h"
#include "simd.h"

#include "kernels/tile.h"
#include "kernels/copy.h"
#include "kernels/lanes.h"
#ifdef FC_HAS_MASKS
#include "kernels/rows.h"
#endif
#include "kernels/patches.h"
#include "kernels/pool.h"
#include "kernels/winograd.h"
#include "kernels/filter.h"
#include "kernels/functions.h"

#include "algorithms/conv_common.h"
#include "algorithms/conv_phases.c"
#include "algorithms/conv_direct.c"
#include "algorithms/conv_im2col.c"
#ifdef FC_HAS_MASKS
#include "algorithms/conv_bands.c"
#include "algorithms/weight_grad_bands.c"
#endif
#include "algorithms/conv_depthwise.c"
#include "algorithms/grouped_common.h"
#include "algorithms/conv_grouped.c"
#include "algorithms/conv_winograd.c"
#include "algorithms/weight_grad.c"
#include "algorithms/weight_grad_depthwise.c"
#include "algorithms/weight_grad_grouped.c"
#include "algorithms/weight_grad_winograd.c"
#include "algorithms/matmul.c"
#include "algorithms/channel_sum.c"
#include "algorithms/filter_common.h"
#include "algorithms/filter_direct.c"
#include "algorithms/filter_separable.c"
#include "algorithms/unfold.c"
#include "algorithms/pool_taps.c"
#include "algorithms/pool_windows.c"
#include "algorithms/pool_mean_grad.c"
#include "algorithms/pool_scatter.c"
#include "algorithms/elementwise.c"
#include "algorithms/update.c"

#include "kernels/peak.h"
