"""Which algorithm for which problem (by the estimates in `_costs`), and the bounded cache of plans.

One readable function per operator chooses; it looks at the shape, the dtype and the instruction set only, so that
results do not change between machines of one instruction set. Everything else about a plan (blocks, stages, tasks) is
the C algorithm's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastconv import _engine
from fastconv._check import Array, Axis, ConvProblem, LocalProblem, WindowProblem
from fastconv._config import current_isa, current_precision
from fastconv._costs import (
    Sizes,
    allows_winograd,
    bands_cycles,
    col2im_cycles,
    depthwise_cycles,
    direct_cycles,
    fits_col2im,
    fits_grouped,
    fits_planes,
    fits_winograd,
    flat_cycles,
    grouped_cycles,
    im2col_cycles,
    lanes_of,
    products_a_cycle,
    short_of_rows,
    sizes_of,
    wgrad_direct_cycles,
    wgrad_swapped_cycles,
    wgrad_winograd_cycles,
    winograd_cycles,
)
from fastconv._ops import (
    CHANNEL_SUM,
    CLASSES_LOSS,
    CONV,
    CONV_INPUT_GRAD,
    CONV_WEIGHT_GRAD,
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
    TURNED,
    UNFOLD,
)

__all__ = [
    "ALGORITHMS",
    "Explanation",
    "cached",
    "channel_sum_plan",
    "choose_conv",
    "choose_weight_grad",
    "clear",
    "conv_plan",
    "elementwise_plan",
    "exact",
    "filter_plan",
    "local_plan",
    "loss_plan",
    "matmul_plan",
    "optimize_plan",
    "plans",
    "recall",
    "recipe_of",
    "softmax_plan",
    "whole_plan",
    "window_plan",
]

#: Names that ``algorithm=`` takes; "naive" is the reference in NumPy.
ALGORITHMS = ("auto", "direct", "im2col", "col2im", "depthwise", "grouped", "winograd", "naive")

# ---------------------------------------------------------------------------------------------------- the cache

_CACHE_LIMIT = 1024
_recipes = _engine.Recipes(_CACHE_LIMIT)
_cache = _recipes.found
T = TypeVar("T")

#: ``recall(op, a, b, c, options)``: the recipe of an earlier call like this one, or None; see `recipe_of`.
recall = _recipes.recall


def recipe_of(op: str, operands: tuple[Array | None, ...], options: tuple[Any, ...], make: Callable[[], T]) -> T:
    """Return what `make` gives, or what it gave for operands of these shapes and this dtype and these options before.

    `make` has to check everything that the key holds: a later call like this one finds the recipe by `recall`.
    """
    a, b, c = operands
    key = _recipes.key(op, a, b, c, options)
    found: T | None = None if key is None else _cache.get(key)
    if found is None:
        found = make()
        if key is not None and found is not None:
            _recipes.keep(key, found)
    return found


def exact(*values: Any) -> bool:
    """Whether raw arguments may be a cache key: 1, 1.0 and True are equal and hash alike, so only exact types may."""
    for v in values:
        kind = type(v)
        if kind is tuple:
            if not exact(*v):
                return False
        elif kind is not int and kind is not str and kind is not bool and v is not None:
            return False
    return True


def typed(*values: Any) -> tuple[Any, ...]:
    """Return a cache key of exact values in which False is not 0 and True is not 1."""
    return tuple(typed(*v) if type(v) is tuple else (v,) if type(v) is bool else v for v in values)


def cached(key: Hashable, make: Callable[[], T]) -> T:
    """Return the value stored under `key`, made if there is none; instruction set and precision join the key."""
    full = (key, current_isa(), current_precision())
    found = _cache.get(full)
    if found is None:
        found = make()
        _recipes.keep(full, found)
    result: T = found
    return result


def plans() -> list[_engine.Plan]:
    """Return the plans that the cache holds: a recipe is one, or has one (or none), or several."""
    held = [getattr(recipe, "plans", [getattr(recipe, "plan", recipe)]) for recipe in _cache.values()]
    return [found for several in held for found in several if found is not None]


def clear() -> None:
    """Forget all plans."""
    _cache.clear()


# ---------------------------------------------------------------------------------------------------- choice


def choose_conv(problem: ConvProblem, op: int, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Algorithm and reason for a forward pass (op CONV) or an input gradient."""
    lanes, s = lanes_of(dtype), sizes_of(problem, op)
    direct = flat_cycles(problem, s, lanes) if s.flat else direct_cycles(s, lanes)
    costs = {"direct": direct, "im2col": im2col_cycles(s, lanes)}
    if op == CONV_INPUT_GRAD:  # of an unpadded convolution: im2col multiplies all the zeros around
        costs["im2col"] *= max(1.0, s.writes / s.pixels / math.prod(a.stride for a in problem.axes))
    if problem.groups > 1:
        costs["direct"] = short_of_rows(s, lanes) * costs["direct"] + 1500.0 * s.images
    strided = op == CONV_INPUT_GRAD and any(a.stride > 1 for a in problem.axes)
    few = s.flat or (problem.groups > 1 and min(s.rows, s.reds) < 8)
    if allows_winograd(dtype) and fits_winograd(problem, op) and not few:
        costs["winograd"] = winograd_cycles(problem, s, op, lanes)
    if fits_col2im(s):
        costs["col2im"] = col2im_cycles(problem, op, s, lanes)
    if s.reds <= 64 and s.taps <= 4096:
        costs["depthwise"] = depthwise_cycles(problem, op, s, lanes) * _depthwise_risk(problem, s)
    if fits_grouped(problem, s):
        costs["grouped"] = grouped_cycles(problem, s, lanes)
    if strided and problem.groups > 1:  # their phases are short, and those of all but "direct" fill panels of their own
        slow = {"direct": 1.3, "im2col": 1.3, "depthwise": 1.8 if s.reds > 1 else 1.0}
        costs |= {name: factor * costs[name] for name, factor in slow.items() if name in costs}
    costs = {name: cost for name, cost in costs.items() if cost < math.inf}
    best = min(costs, key=lambda name: costs[name])
    why = {
        "direct": f"{s.rows} result channels fill vectors of {lanes}, no patches to pack",
        "im2col": f"patches cost little beside {s.rows} result channels, pixels fill vectors of {lanes}",
        "col2im": f"all {s.taps} taps of {s.rows} result channels for each pixel that is read, no padding multiplied",
        "depthwise": f"only {s.reds} summed channels a group: pixels in vectors of {lanes}, no patches to pack",
        "winograd": f"36 products for a tile of results instead of 144 (3x3) or 100 (5x5), tiles in vectors of {lanes}",
        "grouped": f"{problem.groups} groups of few channels fill vectors of {lanes}: no lane is lost to short rows",
    }
    return best, f"{why[best]} (estimated cycles: {', '.join(f'{k} {v:.2g}' for k, v in costs.items())})"


def _depthwise_risk(problem: ConvProblem, s: Sizes) -> float:
    """What "depthwise" must save before it is taken for several channels: its estimates scatter."""
    if s.reds == 1 or (problem.groups == 1 and s.rows <= 16):
        return 1.0
    if s.reds <= 4:
        return 1.1
    return 1.25 if s.rows > 8 else 1.15


def choose_weight_grad(problem: ConvProblem, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Algorithm and reason for a weight gradient."""
    lanes, s = lanes_of(dtype), sizes_of(problem, CONV_WEIGHT_GRAD)
    if fits_planes(problem, s, lanes):
        return "direct", f"1x1 with {min(s.rows, s.reds)} channels on one side: dot products of planes where they lie"
    few = s.reds <= 64 and s.rows < 2 * lanes if problem.groups > 1 else s.reds == 1 and s.rows <= lanes // 2
    few = few or (problem.groups == s.taps == 1 and s.reds <= 8 and s.rows <= 64)  # 1x1: dot products of planes
    if few and s.taps <= 4096:
        sums = 15.0 * s.rows * s.reds * s.taps  # across lanes
        bands = bands_cycles(problem, CONV_WEIGHT_GRAD, s, lanes)
        loads = {1: 2.0, 2: 1.5, 3: 1.3}.get(s.rows, 1.15)  # result channels share what is loaded
        copied = 0.5 if problem.axes[-1].stride == 1 else 1.0 * products_a_cycle()  # split by residues
        flat = loads * s.macs * (s.row + s.reach) / s.row / lanes + (copied * s.planes + sums) * s.images
        plain = short_of_rows(s, lanes) * s.macs / s.rows * -(-s.rows // lanes) + 0.5 * s.planes * s.images
        plain += 1.0 * s.rows * s.reds * s.taps * problem.groups  # sums turned to the gradient
        costs = {
            "direct": min(plain, wgrad_swapped_cycles(problem, s, lanes)),
            "depthwise": bands + sums * problem.groups if bands else flat,
        }
        if fits_grouped(problem, s):
            costs["grouped"] = grouped_cycles(problem, s, lanes)
        best = min(costs, key=lambda name: costs[name])
        why = {
            "direct": f"groups of {s.rows} output channels fill vectors of {lanes} well enough",
            "depthwise": f"few groups of few channels leave vectors of {lanes} to pixels: dot products along rows",
            "grouped": f"{problem.groups} groups fill vectors of {lanes}: nothing is summed across lanes",
        }
        return best, f"{why[best]} (estimated cycles: {', '.join(f'{k} {v:.2g}' for k, v in costs.items())})"
    if allows_winograd(dtype) and fits_winograd(problem, CONV):
        plain, winograd = wgrad_direct_cycles(problem, s, lanes), wgrad_winograd_cycles(problem, s, lanes)
        estimate = f"(estimated cycles: direct {plain:.2g}, winograd {winograd:.2g})"
        if winograd < plain:
            return "winograd", f"36 products for all taps over a tile instead of 144 (3x3) or 100 (5x5) {estimate}"
        return "direct", f"transforms would cost more than Winograd's products save {estimate}"
    return "direct", "output or input channels in the lanes, whichever fill them better; the other operand broadcast"


# ---------------------------------------------------------------------------------------------------- plans

_IDLE = (1, 1, 1, 1, 1, 0, 0)


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
    full: list[tuple[int, ...]] = [_IDLE] * (3 - len(kept))
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
        0 if dtype == np.float32 else 1,
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
        0 if dtype == np.float32 else 1,
        m,
        1,
        k,
        n,
        [_IDLE] * 3,
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
    axes: list[tuple[int, ...]] = [_IDLE, _IDLE, (pixels, pixels, 1, 1, 1, 0, 0)]
    return _engine.Plan(
        CHANNEL_SUM,
        0 if dtype == np.float32 else 1,
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
    "product",
    "add",
    "add_relu",
    "prelu_terms",
    "prelu",
    "prelu_grad",
    "channel_multiply",
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
    axes: list[tuple[int, ...]] = [_IDLE, (channels, 1, 1, 1, 1, 0, 0), (plane, 1, 1, 1, 1, 0, 0)]
    return _engine.Plan(
        ELEMENTWISE,
        0 if dtype == np.float32 else 1,
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
        0 if dtype == np.float32 else 1,
        1,
        1,
        size,
        size,
        [_IDLE] * 3,
        ((0, 1), (0, 1), (1,), (0, 1)),
        name,
        current_isa(),
        float(size) * (32 if name.startswith("bce") else 8),
        divisor=float(divisor),
        shape=(1,) if divisor else shape,
        inner=(size, size, 0, 1 if divisor else size),
    )


def softmax_plan(
    name: str, shape: tuple[int, ...], axis: int, dtype: np.dtype[Any], *, each: bool = False
) -> _engine.Plan:
    """Plan a function of src/algorithms/softmax.c along an axis of C-contiguous arrays.

    The gradient of a loss has a factor, or one for `each` line.
    """
    outer, lines, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    return _engine.Plan(
        CLASSES_LOSS if name in ("cross_entropy", "nll") else SOFTMAX_LINES,
        0 if dtype == np.float32 else 1,
        outer,
        1,
        lines,
        lines,
        [_IDLE, _IDLE, (inner, 1, 1, 1, 1, 0, 0)],
        ((0, 1), (0, 1), (1,), (0, 1)),
        name,
        current_isa(),
        32.0 * outer * lines * inner,
        divisor=float(each),
        shape=shape,
        inner=(1, 1, 0, 1),
    )


def optimize_plan(rule: str, size: int, dtype: np.dtype[Any]) -> _engine.Plan:
    """Plan an optimizer's step (src/updates.inc) on `size` parameters."""
    return _engine.Plan(
        OPTIMIZE,
        0 if dtype == np.float32 else 1,
        1,
        1,
        size,
        size,
        [_IDLE] * 3,
        ((0, 1), (0, 1), (1,), (0, 1)),
        rule,
        current_isa(),
        float(size) * 16,
        inner=(size, size, 0, size),
    )


def local_plan(problem: LocalProblem, op: int, dtype: np.dtype[Any]) -> _engine.Plan:
    """Plan a local or tiled connection or a gradient of it; the weight has to lie without gaps.

    Several images go into the lanes of vectors where each output has its kernel: each weight is then met once by all.
    """
    conv, idle = problem.conv, 3 - len(problem.tile)
    images = conv.batch > 1 and op != LOCAL_WEIGHT_GRAD and problem.tile == tuple(a.out for a in conv.axes)
    spatial = tuple(range(2 + idle, 5))
    data = (*((0,) if conv.batched else ()), 1, *spatial)
    weight, terms = (0, 1), math.prod(conv.weight_shape[1:])
    axes: list[tuple[int, ...]] = [_IDLE] * idle
    axes += [(a.size, a.out, a.kernel, a.stride, a.dilation, a.lo, a.hi) for a in conv.axes]
    slots, inner, shape = {
        LOCAL: ((data, weight, (1, *spatial), data), (0, terms, 0, 0), conv.output_shape),
        LOCAL_INPUT_GRAD: ((data, weight, (), data), (0, terms, 0, 0), conv.input_shape),
        LOCAL_WEIGHT_GRAD: ((data, data, (), weight), (0, 0, 0, terms), problem.weight_shape),
    }[op]
    return _engine.Plan(
        op,
        0 if dtype == np.float32 else 1,
        conv.batch,
        conv.groups,
        conv.in_channels,
        conv.out_channels,
        axes,
        slots,
        "images" if images else "local",
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
        0 if dtype == np.float32 else 1,
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
    axes: list[tuple[int, ...]] = [_IDLE]
    axes += [(n, n, k, 1, 1, lo, k - 1 - lo) for n, k, lo in zip(sizes, kernel, before, strict=True)]
    slots = ((0, 3, 4), (4,) if algorithm == "separable" else (3, 4), (0,), (0, 3, 4))
    cost = float(planes) * high * elements * (sum(kernel) if algorithm == "separable" else math.prod(kernel))
    kind = 0 if dtype == np.float32 else 1
    return _engine.Plan(FILTER, kind, planes, 1, step, step, axes, slots, algorithm, current_isa(), cost, outside)


# ---------------------------------------------------------------------------------------------------- explanation


class Explanation(NamedTuple):
    """What a call would run, and why; ``str()`` gives it as a sentence a line."""

    operator: str
    algorithm: str
    reason: str
    isa: str = ""
    tasks: tuple[int, ...] = ()
    workspace_bytes: int = 0
    scratch_bytes: int = 0

    def __str__(self) -> str:
        lines = [f"{self.operator}: {self.algorithm}", f"  because {self.reason}"]
        if self.isa:
            lines += [
                f"  instruction set {self.isa}; tasks of its stages: {', '.join(map(str, self.tasks))}",
                f"  workspace {self.workspace_bytes} bytes, and {self.scratch_bytes} bytes for each thread",
            ]
        return "\n".join(lines)

    @staticmethod
    def of(operator: str, plan: _engine.Plan, reason: str) -> Explanation:
        """Explain a plan."""
        return Explanation(
            operator, plan.algorithm, reason, plan.isa, plan.tasks, plan.workspace_bytes, plan.scratch_bytes
        )
