"""Which algorithm for which problem, and the bounded cache of plans.

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
from fastconv._check import Array, Axis, ConvProblem, WindowProblem
from fastconv._config import current_isa, current_precision

__all__ = [
    "ALGORITHMS",
    "Explanation",
    "cached",
    "channel_sum_plan",
    "choose_conv",
    "choose_weight_grad",
    "clear",
    "conv_plan",
    "exact",
    "matmul_plan",
    "plans",
    "recall",
    "recipe_of",
    "whole_plan",
    "window_plan",
]

#: Names that ``algorithm=`` takes; "naive" is the reference in NumPy.
ALGORITHMS = ("auto", "direct", "im2col", "depthwise", "grouped", "winograd", "naive")

# The operators, in the order of fc_op in fastconv.h.
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
) = range(12)
ADAPTIVE, COUNT_INCLUDE_PAD, TURNED, OFFSETS = 1, 2, 4, 8

_VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
_FLAT_ROWS = {"baseline": 5, "avx2": 4, "avx512": 8}  # FC_TAPS_MAX in kernels/tile.h
_ISA_NAMES = list(_engine.isa_names())

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


def _isa_bytes() -> int:
    return _VECTOR_BYTES[_ISA_NAMES[current_isa()]]


def _lanes(dtype: np.dtype[Any]) -> int:
    return _isa_bytes() // dtype.itemsize


class _Sizes(NamedTuple):
    """What the cost of a convolution or of a gradient depends on."""

    rows: int  # result channels of a group, in the vectors of "direct"
    reds: int  # summed channels of a group
    taps: int  # of the kernel
    pixels: int  # result pixels of an image
    row: int  # result pixels of a row
    images: int  # times groups
    batch: int
    planes: int  # elements of a group's input and output channels
    reach: int  # elements that a row of the kernel covers beside the first
    dense: bool  # a result row reads consecutive inputs
    flat: bool  # an input gradient of few channels: "direct" has pixels in the lanes

    @property
    def macs(self) -> float:
        return float(self.rows) * self.reds * self.taps * self.pixels * self.images


def _sizes_of(problem: ConvProblem, op: int) -> _Sizes:
    forward = op != CONV_INPUT_GRAD
    rows, reds = problem.out_channels, problem.in_channels
    pixels, taps, inputs = 1, 1, 1
    for a in problem.axes:
        inputs *= a.size
        pixels *= a.out  # the input gradient's phases do as many multiply-adds as the forward pass
        taps *= a.kernel
    last = next((a for a in reversed(problem.axes) if not a.trivial), problem.axes[-1])
    linear = all(a.kernel == a.stride == 1 and a.lo == a.hi == 0 for a in problem.axes)
    row = pixels if linear else last.out
    dense = last.stride == 1 or not forward
    planes = reds * inputs + rows * pixels
    if not forward:
        rows, reds = reds, rows
    reach = last.dilation * (last.kernel - 1)
    flat = not forward and problem.groups == 1 and rows <= _FLAT_ROWS[_ISA_NAMES[current_isa()]]
    images = problem.batch * problem.groups
    return _Sizes(rows, reds, taps, pixels, row, images, problem.batch, planes, reach, dense, flat)


def _direct_cycles(s: _Sizes, lanes: int) -> float:
    """Vectors of result channels, the last one partly empty (or of pixels, with gaps); moving elements beside."""
    vectors = (s.row + s.reach) / s.row / lanes if s.flat else -(-s.rows // lanes) / s.rows
    weights, inputs, results = s.rows * s.reds * s.taps, s.reds * s.pixels * s.images, s.rows * s.pixels * s.images
    if s.images > s.batch:  # groups are small, and what they move stays in the caches
        return s.macs * vectors + 0.5 * weights + 0.4 * inputs + 0.5 * results
    return s.macs * vectors + 16 / lanes * (1.8 * weights + 1.5 * inputs + 1.15 * results)


def _im2col_cycles(s: _Sizes, lanes: int) -> float:
    """Vectors of pixels, the last one of an image partly empty; patches copied for every tap, in segments of a row."""
    vectors = -(-s.pixels // lanes) / s.pixels
    weights, results = s.rows * s.reds * s.taps, s.rows * s.pixels * s.images
    patch = (0.35 if s.dense else 0.58) + 14 / min(3 * lanes, s.row)
    moved = 3.1 * weights + patch * s.reds * s.taps * s.pixels * s.images + 0.9 * results
    return 0.97 * s.macs * vectors + 16 / lanes * moved


def _depthwise_cycles(problem: ConvProblem, op: int, s: _Sizes, lanes: int) -> float:
    """Vectors of pixels: bands of rows where they fit, else flat runs with the gaps between padded rows."""
    bands = _bands_cycles(problem, op, s, lanes)
    if bands:
        return bands
    gaps = (s.row + s.reach) / s.row
    overlap = min(1.0, min(s.rows, 8) * 3 / 8)  # few result channels leave few sums to overlap
    lines = (s.reds + s.rows) * s.pixels / s.row
    copies = 2.0 * s.rows * s.reds * s.taps + (0.5 * s.planes + 300 + 12 * lines) * s.images
    return s.macs * gaps / lanes / overlap + copies * _products_a_cycle()


def _allows_winograd(dtype: np.dtype[Any]) -> bool:
    """Whether "auto" may take an algorithm with Winograd's error: in float32, where the precision allows it."""
    return dtype == np.float32 and current_precision() == "high"


def _fits_winograd(problem: ConvProblem, op: int) -> bool:
    """Whether the last two axes have a kernel of 3x3 that moves by 1; a depth before them is summed as channels are."""
    kept = [a for a in problem.axes if not a.trivial]
    return (
        len(kept) in (2, 3)
        and all(a.kernel == 3 and a.stride == 1 for a in kept[-2:])
        and (op == CONV or kept[0].stride == 1)
    )


def _winograd_cycles(problem: ConvProblem, s: _Sizes, op: int, lanes: int) -> float:
    """Products of 36 frequencies, vectors of tiles, the last one partly empty; the transforms."""
    *depth, tall, wide = (a for a in problem.axes if not a.trivial)
    outs = [a.out if op == CONV else a.size for a in (*depth, tall, wide)]
    sparse = wide.dilation > 1  # pixels of a sub-image lie apart: gathered and scattered one by one
    frames = problem.batch * math.prod(outs[:-2]) * min(tall.dilation, outs[-2]) * min(wide.dilation, outs[-1])
    tile_rows = frames * -(-outs[-2] // (4 * tall.dilation))
    row = -(-outs[-1] // (4 * wide.dilation))
    vectors = -(-tile_rows * row // lanes)
    reds = s.reds * math.prod(a.kernel for a in depth)
    products = 36 * s.rows * (reds + 6) * vectors + 5000  # a tile's sums are short, a group's blocks small
    if vectors == 1 and lanes < 16:
        products *= 2  # four rows of one vector: too few sums to overlap
    weights = 250 / lanes * s.rows * reds
    inputs = reds * tile_rows * (250 * -(-row // lanes) + 50 * sparse * row)
    results = s.rows * (-(-reds // 128) * (200 * vectors + 60 * tile_rows) + 20 * sparse * tile_rows * row)
    return problem.groups * (products + weights + inputs + results) + 0.3 * (s.rows + s.reds) * s.pixels * s.images


def _bands_cycles(problem: ConvProblem, op: int, s: _Sizes, lanes: int) -> float:
    """The same for bands of rows, 0 where they do not fit; the last vector of a row is loaded and stored in part."""
    axes = [a for a in problem.axes if not a.trivial]
    if _isa_bytes() < 32:  # no masked loads
        return 0.0
    if s.reds > 1 or not 1 <= len(axes) <= 2 or any(a.dilation > 1 or a.stride > 2 for a in axes):
        return 0.0
    if len(axes) == 2 and (axes[0].kernel > 5 or axes[0].stride != axes[1].stride):
        return 0.0
    step = axes[-1].stride
    forward = op != CONV_INPUT_GRAD
    if not forward and any(a.kernel < a.stride for a in axes):
        return 0.0
    high, wide = (math.prod(a.out if forward else a.size for a in part) for part in (axes[:-1], axes[-1:]))
    taps = s.taps if forward else s.taps / step ** len(axes)
    each = (2.3 if step == 2 and forward else 1.0) * ((8 if _products_a_cycle() == 1 else 13) + taps)
    return (high * -(-wide // lanes) * each + 60 * _products_a_cycle()) * s.rows * s.images


def _grouped_cycles(s: _Sizes, lanes: int) -> float:
    """Vectors of groups, the last ones partly empty; every vector of inputs and results is transposed."""
    filled = -(-s.images // s.batch // lanes) * s.batch
    return (1.4 * s.macs / s.images + 7 * s.planes) * filled


def _products_a_cycle() -> int:
    """Of vectors of 64 bytes one, of narrower ones two: beside these, all else takes twice as long."""
    return 1 if _isa_bytes() == 64 else 2


def _short_of_rows(s: _Sizes, lanes: int) -> float:
    """How much longer groups of few result channels take in "direct", which loads a scalar for one or two products."""
    if s.rows <= lanes:
        return 1.2 if _products_a_cycle() == 1 else 2.2
    return 1.0 if _products_a_cycle() == 1 or s.rows > 4 * lanes else 1.4


def _fits_grouped(problem: ConvProblem, s: _Sizes) -> bool:
    return problem.groups > 1 and max(s.rows, s.reds) <= 64 and s.taps <= 4096


def choose_conv(problem: ConvProblem, op: int, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Algorithm and reason for a forward pass (op CONV) or an input gradient."""
    lanes, s = _lanes(dtype), _sizes_of(problem, op)
    costs = {"direct": _direct_cycles(s, lanes), "im2col": _im2col_cycles(s, lanes)}
    if problem.groups > 1:
        costs["direct"] = _short_of_rows(s, lanes) * costs["direct"] + 1500.0 * s.images
    strided = op == CONV_INPUT_GRAD and any(a.stride > 1 for a in problem.axes)
    few = s.flat or (problem.groups > 1 and min(s.rows, s.reds) <= 16)
    if _allows_winograd(dtype) and _fits_winograd(problem, op) and not few:
        costs["winograd"] = _winograd_cycles(problem, s, op, lanes)
    if s.reds <= 64 and s.taps <= 4096:
        costs["depthwise"] = _depthwise_cycles(problem, op, s, lanes) * (1.25 if problem.groups == 1 else 1)
    if _fits_grouped(problem, s):
        costs["grouped"] = _grouped_cycles(s, lanes)
    if strided and problem.groups > 1:  # their phases are short, and each fills panels of its own
        slow = ("direct", "im2col", "depthwise") if s.reds > 1 else ("direct", "im2col")
        costs |= {name: 1.8 * costs[name] for name in slow if name in costs}
    best = min(costs, key=lambda name: costs[name])
    why = {
        "direct": f"{s.rows} result channels fill vectors of {lanes}, no patches to pack",
        "im2col": f"patches cost little beside {s.rows} result channels, pixels fill vectors of {lanes}",
        "depthwise": f"only {s.reds} summed channels a group: pixels in vectors of {lanes}, no patches to pack",
        "winograd": f"36 products for 16 results of a 3x3 kernel instead of 144, tiles in vectors of {lanes}",
        "grouped": f"{problem.groups} groups of few channels fill vectors of {lanes}: no lane is lost to short rows",
    }
    return best, f"{why[best]} (estimated cycles: {', '.join(f'{k} {v:.2g}' for k, v in costs.items())})"


def _wgrad_direct_cycles(s: _Sizes, lanes: int) -> float:
    """Vectors of output channels, the last one partly empty; partial sums turned to the gradient."""
    return 1.15 * s.macs / s.rows * -(-s.rows // lanes) + 1.0 * s.rows * s.reds * s.taps


def _wgrad_winograd_cycles(problem: ConvProblem, s: _Sizes, lanes: int) -> float:
    """Products of 36 frequencies, vectors of input channels; the transforms of tiles, turned row by row, and of sums.

    Fewer lanes also mean fewer registers: what is done once for each sum costs twice as many products.
    """
    per_sum = 1 if lanes > 8 else 2
    tall, wide = (-(-a.out // 4) for a in problem.axes if not a.trivial)
    tile_rows = problem.batch * tall
    inputs, outputs = -(-s.reds // lanes), -(-s.rows // lanes)
    products = 36 * s.rows * inputs * (tile_rows * wide + 4 * per_sum)
    turns = 100 * tile_rows * (6 * inputs * -(-(4 * wide + 2) // lanes) + 4 * outputs * -(-4 * wide // lanes))
    tiles = tile_rows * wide * (250 * inputs + 200 * outputs)
    return problem.groups * (products + turns + tiles + 250.0 * per_sum * s.rows * inputs + 10_000)


def choose_weight_grad(problem: ConvProblem, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Algorithm and reason for a weight gradient."""
    lanes, s = _lanes(dtype), _sizes_of(problem, CONV_WEIGHT_GRAD)
    few = s.reds <= 64 and s.rows < 2 * lanes if problem.groups > 1 else s.reds == 1 and s.rows <= lanes // 2
    if few and s.taps <= 4096:
        sums = 15.0 * s.rows * s.reds * s.taps  # across lanes
        bands = _bands_cycles(problem, CONV_WEIGHT_GRAD, s, lanes)
        flat = 2 * s.macs / lanes + (0.5 * s.planes + sums) * s.images
        costs = {
            "direct": _short_of_rows(s, lanes) * s.macs / s.rows * -(-s.rows // lanes) + 0.5 * s.planes * s.images,
            "depthwise": bands + sums * problem.groups if bands else flat,
        }
        if _fits_grouped(problem, s):
            costs["grouped"] = _grouped_cycles(s, lanes)
        best = min(costs, key=lambda name: costs[name])
        why = {
            "direct": f"groups of {s.rows} output channels fill vectors of {lanes} well enough",
            "depthwise": f"few groups of few channels leave vectors of {lanes} to pixels: dot products along rows",
            "grouped": f"{problem.groups} groups fill vectors of {lanes}: nothing is summed across lanes",
        }
        return best, f"{why[best]} (estimated cycles: {', '.join(f'{k} {v:.2g}' for k, v in costs.items())})"
    kept = [a for a in problem.axes if not a.trivial]
    fits = _fits_winograd(problem, CONV) and len(kept) == 2 and all(a.dilation == 1 for a in kept)
    if _allows_winograd(dtype) and fits:
        plain, winograd = _wgrad_direct_cycles(s, lanes), _wgrad_winograd_cycles(problem, s, lanes)
        estimate = f"(estimated cycles: direct {plain:.2g}, winograd {winograd:.2g})"
        if winograd < plain:
            return "winograd", f"36 products for 9 taps over a 4x4 tile instead of 144 {estimate}"
        return "direct", f"transforms would cost more than Winograd's products save {estimate}"
    if s.taps == 1 and s.dense:
        return "im2col", "one tap: patches are the input itself, in longer runs than a panel's"
    return "direct", "output channels in the lanes, inputs broadcast from a padded panel"


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


def conv_plan(problem: ConvProblem, op: int, dtype: np.dtype[Any], algorithm: str) -> _engine.Plan:
    """Plan a convolution's forward pass, input gradient or weight gradient; `algorithm` is not "auto"."""
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
        shape=shape,
    )


def matmul_plan(
    m: int, n: int, k: int, dtype: np.dtype[Any], shape: tuple[int, ...], *, turn_a: bool = False, turn_b: bool = False
) -> _engine.Plan:
    """Plan the product of an (m, k) and a (k, n) matrix, one of which may be given turned, with a result of `shape`.

    Operands without gaps may have any shape: their elements are read as rows of the matrix.
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
        TURNED if turn_b else 0,
        shape=shape,
        inner=(inner_a, inner_b, 0, n),
    )


def whole_plan(problem: ConvProblem, op: int, dtype: np.dtype[Any]) -> _engine.Plan:
    """Plan a convolution whose kernel covers the whole input, or a gradient of it: a matrix product."""
    rows, outputs, inputs = problem.batch, problem.out_channels, math.prod(problem.weight_shape[1:])
    if op == CONV:
        return matmul_plan(rows, outputs, inputs, dtype, problem.output_shape, turn_b=True)
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
