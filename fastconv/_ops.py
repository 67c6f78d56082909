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
) = range(15)
ADAPTIVE, COUNT_INCLUDE_PAD, TURNED, OFFSETS, RECTIFY = 1, 2, 4, 8, 16
