"""What local and tiled connection share: from raw arguments to plans that run.

Tiled connection with kernels that are used often is one plan for all of them (``src/algorithms/local_tiles.c``). Where
that would leave lanes empty, its weight gradient is a strided convolution's for each kernel: output (i, j) of stride s
belongs to kernel (i mod t, j mod t), and the outputs of one kernel are those of a convolution of stride s*t, on views
of input and result. All else, local connection first, is a plan of its own (``src/algorithms/local.c``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from fastconv import _check, _lowering, plan
from fastconv._check import Array, Axis, ConvProblem, LocalProblem
from fastconv._costs import lanes_of
from fastconv._engine import Plan, Unsupported
from fastconv._ops import CONV, CONV_WEIGHT_GRAD, LOCAL, LOCAL_INPUT_GRAD, LOCAL_WEIGHT_GRAD
from fastconv._threads import current
from fastconv.functional._gradients import Three, cast

__all__ = ["backward", "forward"]

# Measured: uses of a kernel for which it is packed, unless all kernels have few elements.
_SHARED_USES = 12
_FEW_WEIGHTS = 1 << 20
_OFTEN_SUMMED = 256  # and uses for which sums of large kernels are worth their workspace
_APART_CYCLES = 40_000  # what another convolution costs beside its products
# Multiply-adds and outputs of one kernel (in an image) that are worth a convolution of their own.
_SHARED_MACS = 1 << 14
_SHARED_OUTPUTS = 16  # as for few places, where the weights are most of what is read
_MOST_PARTS = 256  # convolutions of a call

_APART = {LOCAL: CONV, LOCAL_WEIGHT_GRAD: CONV_WEIGHT_GRAD}  # what is computed with one kernel

Index = tuple[Any, ...]


class _Part(NamedTuple):
    """What one kernel is convolved with, as a plan or (None) nothing."""

    plan: Plan
    kernel: Index  # in the weight's first axes
    read: Index  # of the input, (..., one slice per spatial axis)
    written: Index  # of the result


class _Steps(NamedTuple):
    """What a call computes: one plan, or a convolution for each kernel; neither where there is nothing to compute."""

    problem: LocalProblem
    whole: Plan | None
    parts: tuple[_Part, ...]

    @property
    def plans(self) -> list[Plan]:
        """The plans that there are."""
        return [*([self.whole] if self.whole else []), *(part.plan for part in self.parts)]


class _Backward(NamedTuple):
    """What a backward call computes."""

    input: _Steps
    weight: _Steps

    @property
    def plans(self) -> list[Plan]:
        """The plans that there are."""
        return self.input.plans + self.weight.plans


# ---------------------------------------------------------------------------------------------------- kernels apart


def _piece(a: Axis, first: int, tile: int) -> tuple[Axis, slice, slice] | None:
    """Return the axis of every `tile`-th output from `first` on, what of the input it reads, and where the outputs are.

    None where no output reads the input.
    """
    out = (a.out - first - 1) // tile + 1
    stride = a.stride * tile if out > 1 else 1  # which may be of any size where there is no next output
    start = first * a.stride - a.lo
    stop = start + (out - 1) * stride + a.dilation * (a.kernel - 1) + 1
    read = slice(max(start, 0), min(stop, a.size))
    if read.start >= read.stop:
        return None
    axis = Axis(read.stop - read.start, out, a.kernel, stride, a.dilation, max(-start, 0), max(stop - a.size, 0))
    return axis, read, slice(first, None, tile)


def _pieces(problem: LocalProblem) -> Iterator[tuple[Index, list[tuple[Axis, slice, slice] | None]]]:
    """Yield each kernel that is used, with its pieces of the axes."""
    used = [range(min(tile, a.out)) for tile, a in zip(problem.tile, problem.conv.axes, strict=True)]
    for kernel in product(*used):
        axes = zip(problem.conv.axes, kernel, problem.tile, strict=True)
        yield kernel, [_piece(a, first, tile) for a, first, tile in axes]


def _parts(problem: LocalProblem, op: int, dtype: np.dtype[Any]) -> tuple[_Part, ...]:
    """Plan a convolution for each kernel; none where they would be too small, or one would read nothing."""
    conv, kernels = problem.conv, 1
    for tile in problem.tile:
        kernels *= tile
    each = math.prod(a.out for a in conv.axes) / kernels
    if kernels > _MOST_PARTS or conv.macs < _SHARED_MACS * kernels or each < _SHARED_OUTPUTS:
        return ()
    found = []
    for kernel, pieces in _pieces(problem):
        kept = [piece for piece in pieces if piece is not None]
        if len(kept) < len(pieces):
            return ()
        axes, read, written = zip(*kept, strict=True)
        part = ConvProblem(conv.batched, conv.batch, conv.groups, conv.in_channels, conv.out_channels, axes)
        found.append(_Part(_conv_plan(part, op, dtype), kernel, (..., *read), (..., *written)))
    return tuple(found)


def _conv_plan(problem: ConvProblem, op: int, dtype: np.dtype[Any]) -> Plan:
    """Plan one kernel's convolution as a plain sum, so that one tile gives the bits of "direct" on whole numbers."""
    weight = op == CONV_WEIGHT_GRAD
    name, _ = plan.choose_weight_grad(problem, dtype) if weight else plan.choose_conv(problem, op, dtype)
    try:
        return _lowering.conv_plan(problem, op, dtype, "direct" if name == "winograd" else name)
    except Unsupported:
        return _lowering.conv_plan(problem, op, dtype, "im2col")


# ---------------------------------------------------------------------------------------------------- calls


def _problem(op: str, n: int, x: Array, w: Array, options: tuple[Any, ...], tiled: bool) -> LocalProblem:
    batched, x_shape = _check.shape_of(op, "input", x, n)
    problem = _check.local_problem(op, n, x_shape, batched, w.shape, options, tiled=tiled)
    for size in (problem.conv.input_shape, problem.weight_shape, problem.conv.output_shape):
        _check.countable(op, size, w.dtype)
    return problem


def _steps(problem: LocalProblem, op: int, dtype: np.dtype[Any], tiled: bool) -> _Steps:
    """Plan a problem: all kernels at once, a convolution for each, or local connection."""
    if 0 in problem.conv.input_shape or 0 in problem.conv.output_shape:
        return _Steps(problem, None, ())
    single = op in _APART and max(problem.tile) == 1  # to the last bit what "direct" gives
    if tiled and not single and not (op == LOCAL_WEIGHT_GRAD and _better_apart(problem, dtype)):
        at_once = _at_once(problem, op, dtype)
        if at_once is not None:
            return _Steps(problem, at_once, ())
    parts = _parts(problem, _APART[op], dtype) if tiled and op in _APART else ()
    if parts:
        return _Steps(problem, None, parts)
    at_once = _at_once(problem, op, dtype) if tiled else None
    return _Steps(problem, at_once or _lowering.local_plan(problem, op, dtype), ())


def _better_apart(problem: LocalProblem, dtype: np.dtype[Any]) -> bool:
    """Whether a weight gradient of all kernels would compute too much for nothing, or sum up too much for few uses."""
    conv, kernels, lanes = problem.conv, math.prod(problem.tile), lanes_of(dtype)
    empty = -conv.out_channels % lanes / conv.out_channels  # for each product
    uses = conv.batch * math.prod(a.out for a in conv.axes) / kernels
    if empty > 1 and empty * conv.macs / lanes > _APART_CYCLES * kernels:
        return True
    return uses < _OFTEN_SUMMED and kernels * math.prod(conv.weight_shape) > _FEW_WEIGHTS


def _at_once(problem: LocalProblem, op: int, dtype: np.dtype[Any]) -> Plan | None:
    """Plan all kernels together, where each is used often enough to be packed."""
    conv, kernels = problem.conv, math.prod(problem.tile)
    uses = conv.batch * math.prod(a.out for a in conv.axes) / kernels
    often = uses >= _SHARED_USES or kernels * math.prod(conv.weight_shape) <= _FEW_WEIGHTS
    if uses <= conv.batch or not often:
        return None
    try:
        return _lowering.local_plan(problem, op, dtype, "tiles")
    except Unsupported:
        return None


def _dense(op: str, w: Array) -> Array:
    """Return the weight as it is read: without gaps."""
    try:
        return np.ascontiguousarray(w)
    except MemoryError:
        raise MemoryError(f"{op}: a copy of the weight of shape {w.shape} cannot be held in memory") from None


def _of_positions(problem: LocalProblem, kernels: Array) -> Array:
    """(O, *tile) -> (O, *outputs): what each output's kernel has."""
    for axis, (a, tile) in enumerate(zip(problem.conv.axes, problem.tile, strict=True), 1):
        kernels = kernels.take(np.arange(a.out) % tile, axis)
    return kernels


def _run(steps: _Steps, x: Array, w: Array, b: Array | None, result: Array) -> None:
    """Compute a forward problem."""
    if steps.whole is not None:
        steps.whole.run(x, w, b, result, current())
    for part in steps.parts:
        own = None if b is None else b[(slice(None), *part.kernel)]
        part.plan.run(x[part.read], w[part.kernel], own, result[part.written], current())


def forward(
    op: str, n: int, input: Any, weight: Any, bias: Any, options: tuple[Any, ...], out: Any, *, tiled: bool
) -> Array:
    known: _Steps | None = plan.recall(op, input, weight, bias, options)
    if known is not None and known.whole is not None and out is None:
        try:
            return known.whole.compute(input, weight, bias)
        except MemoryError:
            pass  # said below, with the operator's name
    kind, (x, w, b) = _check.data(op, input=input, weight=weight, bias=bias)

    def make() -> _Steps:
        problem = _problem(op, n, x, w, options, tiled)
        if b is not None and b.shape != problem.bias_shape:
            raise ValueError(
                f"{op}: bias must have shape {problem.bias_shape}, one per output channel and kernel, received shape "
                f"{b.shape}"
            )
        return _steps(problem, LOCAL, x.dtype, tiled)

    steps = plan.recipe_of(op, (x, w, b), options, make)
    shape = steps.problem.conv.output_shape
    straight = None if out is None else _check.output(op, out, shape, kind, (x, w, b))
    result = _check.result(op, shape, x.dtype) if straight is None else straight
    if steps.plans:
        x, w = _check.layout(x), _dense(op, w)
    elif result.size:  # nothing to sum (an input without elements, padded to some): only the bias
        result[...] = 0 if b is None else _of_positions(steps.problem, b)
    _run(steps, x, w, b, result)
    if out is not None:
        if straight is None:
            out[...] = result
        return out  # type: ignore[no-any-return]
    return result if result.dtype == kind else result.astype(kind)


def _grad_input(op: str, steps: _Steps, gy: Array, x: Array, w: Array) -> Array:
    result = _check.result(op, x.shape, gy.dtype, zero=steps.whole is None)
    if steps.whole is not None:
        steps.whole.run(gy, w, None, result, current())
    return result


def _grad_weight(op: str, steps: _Steps, gy: Array, x: Array, w: Array) -> Array:
    kernels_unused = not steps.plans or any(
        tile > a.out for a, tile in zip(steps.problem.conv.axes, steps.problem.tile, strict=True)
    )
    result = _check.result(op, w.shape, gy.dtype, zero=kernels_unused)
    if steps.whole is not None:
        steps.whole.run(x, gy, None, result, current())
    for part in steps.parts:
        part.plan.run(x[part.read], gy[part.written], None, result[part.kernel], current())
    return result


def _grad_bias(op: str, problem: LocalProblem, gy: Array) -> Array:
    """Sum over images, then over the outputs that share a kernel."""
    conv = problem.conv
    each = gy if not conv.batched else gy[0] if conv.batch == 1 else gy.sum(axis=0)
    if problem.tile == each.shape[1:]:
        return each.copy() if conv.batch == 1 else each
    for axis, tile in enumerate(problem.tile, 1):
        each = _folded(each, axis, tile)
    return each


def _folded(array: Array, axis: int, tile: int) -> Array:
    """Add up every `tile`-th element of an axis: first rows to rows, which goes at the speed of memory."""
    periods = array.shape[axis] // tile
    whole, rest = np.split(array, [periods * tile], axis)
    total: Array = whole.reshape(*array.shape[:axis], periods, tile, *array.shape[axis + 1 :]).sum(axis=axis)
    total[(*[slice(None)] * axis, slice(rest.shape[axis]))] += rest
    return total


def backward(
    op: str, n: int, grad_output: Any, input: Any, weight: Any, options: tuple[Any, ...], needs: Any, *, tiled: bool
) -> Three:
    kind, (gy, x, w) = _check.data(op, grad_output=grad_output, input=input, weight=weight)
    wanted = _check.needs(op, needs)

    def make() -> _Backward:
        problem = _problem(op, n, x, w, options, tiled)
        _check.grad(op, gy, problem.conv.output_shape)
        to_input, to_weight = (_steps(problem, to, gy.dtype, tiled) for to in (LOCAL_INPUT_GRAD, LOCAL_WEIGHT_GRAD))
        return _Backward(to_input, to_weight)

    found = plan.recipe_of(op, (gy, x, w), options, make)
    gy, x, w = _check.layout(gy), _check.layout(x), _dense(op, w)
    try:
        grads = (
            _grad_input(op, found.input, gy, x, w) if wanted[0] else None,
            _grad_weight(op, found.weight, gy, x, w) if wanted[1] else None,
            _grad_bias(op, found.weight.problem, gy) if wanted[2] else None,
        )
    except MemoryError:
        raise MemoryError(
            f"{op}: gradients of shapes {x.shape} and {w.shape} and dtype {gy.dtype}, with their workspace, cannot be "
            f"held in memory"
        ) from None
    return cast(grads, kind)
