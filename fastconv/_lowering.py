"""From a checked problem to the driver's plan: one function for each family of operators.

They say what the C algorithm has to know, in the numbers of fastconv.h: where each operand's axes lie (`slots`), the
sizes of the three axes that kernels have, options. Which algorithm it is, the caller has chosen by then (see `plan`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import _engine
from fastconv._check import Axis, ConvProblem, LocalProblem, WindowProblem
from fastconv._config import current_isa
from fastconv._ops import (
    CHANNEL_SUM,
    CLASSES_LOSS,
    CONV,
    CONV_INPUT_GRAD,
    CONV_WEIGHT_GRAD,
    EACH_FACTOR,
    ELEMENTWISE,
    FILTER,
    LOCAL,
    LOCAL_INPUT_GRAD,
    LOCAL_WEIGHT_GRAD,
    LOSS,
    LOSS_SUM,
    MATMUL,
    OPTIMIZE,
    RECTIFY,
    SOFTMAX_LINES,
    TAKE_SLOPES,
    TURNED,
    UNFOLD,
)

__all__ = [
    "IDLE",
    "channel_sum_plan",
    "classes_plan",
    "conv_plan",
    "dtype_number",
    "elementwise_plan",
    "filter_plan",
    "local_plan",
    "loss_plan",
    "matmul_plan",
    "optimize_plan",
    "softmax_plan",
    "whole_plan",
    "window_plan",
]

#: An axis that does nothing.
IDLE = (1, 1, 1, 1, 1, 0, 0)


def dtype_number(dtype: np.dtype[Any]) -> int:
    """Return the dtype's number in fastconv.h."""
    return 0 if dtype == np.float32 else 1


def _spatial_slots(axes: Sequence[Axis]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the kernels' three axes and where each of ours went; axes that change nothing leave W to one that does."""
    kept = [a for a in axes if not a.trivial]
    slots, next_slot = [], 5 - len(kept)
    for a in axes:
        if a.trivial:
            slots.append(-1)
        else:
            slots.append(next_slot)
            next_slot += 1
    full: list[tuple[int, ...]] = [IDLE] * (3 - len(kept))
    full += [(a.size, a.out, a.kernel, a.stride, a.dilation, a.lo, a.hi) for a in kept]
    return full, slots


def conv_plan(
    problem: ConvProblem, op: int, dtype: np.dtype[Any], algorithm: str, slope: float | None = None
) -> _engine.Plan:
    """Plan a convolution's forward pass, input gradient or weight gradient; `algorithm` is not "auto".

    A forward pass multiplies results below 0 by `slope`.
    """
    axes, spatial = _spatial_slots(problem.axes)
    data = (*((0,) if problem.batched else ()), 1, *spatial)
    weight = (0, 1, *spatial)
    slots, shape = {
        CONV: ((data, weight, (0,), data), problem.output_shape),
        CONV_INPUT_GRAD: ((data, weight, (0,), data), problem.input_shape),
        CONV_WEIGHT_GRAD: ((data, data, (), weight), problem.weight_shape),
    }[op]
    return _engine.Plan(
        op,
        dtype_number(dtype),
        problem.batch,
        problem.groups,
        problem.in_channels,
        problem.out_channels,
        axes,
        slots,
        algorithm,
        current_isa(),
        float(problem.macs),
        0 if slope is None else RECTIFY,
        shape=shape,
        slope=slope or 0.0,
    )


def matmul_plan(
    m: int,
    n: int,
    k: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    *,
    turn_a: bool = False,
    turn_b: bool = False,
    slope: float | None = None,
) -> _engine.Plan:
    """Plan the product of an (m, k) and a (k, n) matrix, one of which may be given turned, with a result of `shape`.

    Operands without gaps may have any shape: their elements are read as rows of the matrix. Results below 0 are
    multiplied by `slope`.
    """
    slot_a, inner_a = ((1, 0), m) if turn_a else ((0, 1), k)
    slot_b, inner_b = ((1, 0), k) if turn_b else ((0, 1), n)
    return _engine.Plan(
        MATMUL,
        dtype_number(dtype),
        m,
        1,
        k,
        n,
        [IDLE] * 3,
        (slot_a, slot_b, (0,), (0, 1)),
        "matmul",
        current_isa(),
        float(m) * n * k,
        (TURNED if turn_b else 0) | (0 if slope is None else RECTIFY),
        shape=shape,
        inner=(inner_a, inner_b, 0, n),
        slope=slope or 0.0,
    )


def whole_plan(problem: ConvProblem, op: int, dtype: np.dtype[Any], slope: float | None = None) -> _engine.Plan:
    """Plan a convolution whose kernel covers the whole input, or a gradient of it: a matrix product."""
    rows, outputs, inputs = problem.batch, problem.out_channels, math.prod(problem.weight_shape[1:])
    if op == CONV:
        return matmul_plan(rows, outputs, inputs, dtype, problem.output_shape, turn_b=True, slope=slope)
    if op == CONV_INPUT_GRAD:
        return matmul_plan(rows, inputs, outputs, dtype, problem.input_shape)
    return matmul_plan(outputs, inputs, rows, dtype, problem.weight_shape, turn_a=True)


def channel_sum_plan(shape: tuple[int, ...], channel: int, dtype: np.dtype[Any]) -> _engine.Plan:
    """Plan the sum of a C-contiguous array over all axes but `channel`."""
    batch, channels, pixels = math.prod(shape[:channel]), shape[channel], math.prod(shape[channel + 1 :])
    axes: list[tuple[int, ...]] = [IDLE, IDLE, (pixels, pixels, 1, 1, 1, 0, 0)]
    return _engine.Plan(
        CHANNEL_SUM,
        dtype_number(dtype),
        batch,
        1,
        channels,
        channels,
        axes,
        ((0, 1), (), (), (1,)),
        "sum",
        current_isa(),
        float(batch) * channels * pixels,
        shape=(channels,),
        inner=(channels * pixels, 0, 0, 0),
    )


#: Elementwise functions that memory bounds.
_FEW_CYCLES = (
    "relu",
    "relu_grad",
    "leaky_relu",
    "leaky_relu_grad",
    "sigmoid_grad",
    "tanh_grad",
    "add",
    "add_relu",
    "prelu_terms",
    "prelu",
    "prelu_grad",
    "kept",
)


def elementwise_plan(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], channels: int = 1, plane: int = 0
) -> _engine.Plan:
    """Plan a function (src/maps.inc) of the elements of one or two C-contiguous arrays of this shape.

    `channels`, the second axis, matter to functions that have an option for each of them; or any that have `plane`
    elements.
    """
    size = math.prod(shape)
    plane = plane or (math.prod(shape[2:]) if channels > 1 else size)
    axes: list[tuple[int, ...]] = [IDLE, (channels, 1, 1, 1, 1, 0, 0), (plane, 1, 1, 1, 1, 0, 0)]
    return _engine.Plan(
        ELEMENTWISE,
        dtype_number(dtype),
        1,
        1,
        size,
        size,
        axes,
        ((0, 1), (0, 1), (1,), (0, 1)),
        name,
        current_isa(),
        float(size) * (8 if name in _FEW_CYCLES else 32),
        shape=shape,
        inner=(size, size, 0, size),
    )


def loss_plan(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], divisor: int = 0) -> _engine.Plan:
    """Plan a function (src/losses.inc) of two C-contiguous arrays, or with a divisor its sum over that: one number."""
    size = math.prod(shape)
    return _engine.Plan(
        LOSS_SUM if divisor else LOSS,
        dtype_number(dtype),
        1,
        1,
        size,
        size,
        [IDLE] * 3,
        ((0, 1), (0, 1), (1,), (0, 1)),
        name,
        current_isa(),
        float(size) * (32 if name.startswith("bce") else 8),
        divisor=float(divisor),
        shape=(1,) if divisor else shape,
        inner=(size, size, 0, 1 if divisor else size),
    )


def softmax_plan(name: str, shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]) -> _engine.Plan:
    """Plan a function of src/algorithms/softmax.c along an axis of C-contiguous arrays."""
    return _lines_plan(SOFTMAX_LINES, name, shape, axis, dtype, shape)


def classes_plan(
    name: str,
    shape: tuple[int, ...],
    axis: int,
    dtype: np.dtype[Any],
    divisor: float = 0.0,
    *,
    slopes: bool = False,
    each: bool = False,
) -> _engine.Plan:
    """Plan losses of right classes (src/algorithms/softmax.c), with a divisor their sum over that; or their gradient.

    The gradient has a factor, or one for `each` line.
    """
    lines = (1,) if divisor else shape[:axis] + shape[axis + 1 :] or (1,)
    flags = (TAKE_SLOPES if slopes else 0) | (EACH_FACTOR if each else 0)
    return _lines_plan(CLASSES_LOSS, name, shape, axis, dtype, shape if slopes else lines, flags, divisor)


def _lines_plan(
    op: int,
    name: str,
    shape: tuple[int, ...],
    axis: int,
    dtype: np.dtype[Any],
    result: tuple[int, ...],
    flags: int = 0,
    divisor: float = 0.0,
) -> _engine.Plan:
    outer, lines, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    return _engine.Plan(
        op,
        dtype_number(dtype),
        outer,
        1,
        lines,
        lines,
        [IDLE, IDLE, (inner, 1, 1, 1, 1, 0, 0)],
        ((0, 1), (0, 1), (1,), (0, 1)),
        name,
        current_isa(),
        32.0 * outer * lines * inner,
        flags,
        divisor,
        shape=result,
        inner=(1, 1, 0, 1),
    )


def optimize_plan(rule: str, size: int, dtype: np.dtype[Any]) -> _engine.Plan:
    """Plan an optimizer's step (src/updates.inc) on `size` parameters."""
    return _engine.Plan(
        OPTIMIZE,
        dtype_number(dtype),
        1,
        1,
        size,
        size,
        [IDLE] * 3,
        ((0, 1), (0, 1), (1,), (0, 1)),
        rule,
        current_isa(),
        float(size) * 16,
        inner=(size, size, 0, size),
    )


def local_plan(problem: LocalProblem, op: int, dtype: np.dtype[Any], algorithm: str = "") -> _engine.Plan:
    """Plan a local or tiled connection or a gradient of it; the weight has to lie without gaps.

    Unless an algorithm is named, several images go into the lanes of vectors where each output has its kernel: each
    weight is then met once by all.
    """
    conv, idle = problem.conv, 3 - len(problem.tile)
    images = conv.batch > 1 and op != LOCAL_WEIGHT_GRAD and problem.tile == tuple(a.out for a in conv.axes)
    spatial = tuple(range(2 + idle, 5))
    data = (*((0,) if conv.batched else ()), 1, *spatial)
    weight, terms = (0, 1), math.prod(conv.weight_shape[1:])
    axes: list[tuple[int, ...]] = [IDLE] * idle
    axes += [(a.size, a.out, a.kernel, a.stride, a.dilation, a.lo, a.hi) for a in conv.axes]
    slots, inner, shape = {
        LOCAL: ((data, weight, (1, *spatial), data), (0, terms, 0, 0), conv.output_shape),
        LOCAL_INPUT_GRAD: ((data, weight, (), data), (0, terms, 0, 0), conv.input_shape),
        LOCAL_WEIGHT_GRAD: ((data, data, (), weight), (0, 0, 0, terms), problem.weight_shape),
    }[op]
    return _engine.Plan(
        op,
        dtype_number(dtype),
        conv.batch,
        conv.groups,
        conv.in_channels,
        conv.out_channels,
        axes,
        slots,
        algorithm or ("images" if images else "local"),
        current_isa(),
        float(conv.macs),
        shape=shape,
        inner=inner,
        tile=(1,) * idle + problem.tile,
    )


def window_plan(
    problem: WindowProblem,
    op: int,
    dtype: np.dtype[Any],
    algorithm: str,
    *,
    flags: int = 0,
    divisor: float = 0.0,
    columns: bool = False,
) -> _engine.Plan:
    """Plan a pooling, its gradient, or unfold and fold (`columns`: their matrix is operand 3 or 0)."""
    axes, spatial = _spatial_slots(problem.axes)
    data: tuple[int, ...] = (*((0,) if problem.batched else ()), 1, *spatial)
    matrix = (*((0,) if problem.batched else ()), 1, 2)
    slots = (data, (), data, data)
    if columns:
        slots = (data, (), (), matrix) if op == UNFOLD else (matrix, (), (), data)
    cost = float(problem.batch * problem.channels)
    for a in problem.axes:
        cost *= max(a.out * min(a.kernel, a.size), a.size)
    return _engine.Plan(
        op,
        dtype_number(dtype),
        problem.batch,
        1,
        problem.channels,
        problem.channels,
        axes,
        slots,
        algorithm,
        current_isa(),
        cost,
        flags,
        divisor,
    )


def filter_plan(
    shape: tuple[int, ...],
    step: int,
    kernel: tuple[int, int],
    before: tuple[int, int],
    outside: int,
    dtype: np.dtype[Any],
    algorithm: str,
) -> _engine.Plan:
    """Plan a filter of (planes, H, W * step), `step` channels side by side, that reads `before` pixels up and left.

    `outside` is the number of the boundary mode in fastconv.h. "separable" takes kH + kW weights as one array.
    """
    planes, high, elements = shape
    sizes = (high, elements // step)
    axes: list[tuple[int, ...]] = [IDLE]
    axes += [(n, n, k, 1, 1, lo, k - 1 - lo) for n, k, lo in zip(sizes, kernel, before, strict=True)]
    slots = ((0, 3, 4), (4,) if algorithm == "separable" else (3, 4), (0,), (0, 3, 4))
    cost = float(planes) * high * elements * (sum(kernel) if algorithm == "separable" else math.prod(kernel))
    return _engine.Plan(
        FILTER, dtype_number(dtype), planes, 1, step, step, axes, slots, algorithm, current_isa(), cost, outside
    )
