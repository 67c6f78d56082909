"""The operators and flags of the driver's plans, numbered as in fc_op and the enum of flags in fastconv.h."""

(
    CONV,
    CONV_INPUT_GRAD,
    CONV_WEIGHT_GRAD,
    MATMUL,
    MAX_POOL,
    MAX_POOL_GRAD,
    MAX_UNPOOL,
    AVG_POOL,
    AVG_POOL_GRAD,
    UNFOLD,
    FOLD,
    CHANNEL_SUM,
    FILTER,
    ELEMENTWISE,
    OPTIMIZE,
    NORM,
    NORM_GRAD,
    ROW_NORM,
    ROW_NORM_GRAD,
    RESPONSE_NORM,
    RESPONSE_NORM_GRAD,
    LOCAL,
    LOCAL_INPUT_GRAD,
    LOCAL_WEIGHT_GRAD,
    LOSS,
    LOSS_SUM,
    SOFTMAX_LINES,
    CLASSES_LOSS,
) = range(28)
ADAPTIVE, COUNT_INCLUDE_PAD, TURNED, OFFSETS, RECTIFY = 1, 2, 4, 8, 16
OWN_STATISTICS, TAKE_MOMENTS, TAKE_SUMS = 32, 64, 128
