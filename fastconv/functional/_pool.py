"""What the poolings of any number of axes share: windows as a problem, the choice of an algorithm, a plan that runs.

A call: the raw arguments are the key of a cached recipe (sizes, plan); only a new key is checked and planned.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, _lowering, _ops, plan
from fastconv._check import Array, Axis, WindowProblem
from fastconv._threads import current

__all__ = [
    "Ints",
    "OutputSize",
    "Padding",
    "Recipe",
    "adaptive_problem",
    "input_problem",
    "places",
    "prepare",
    "recipe_for",
    "refuse",
    "run",
    "run_scatter",
    "same_shape",
    "scatter_recipe",
]

Ints = int | tuple[int, ...]
Padding = int | tuple[int, ...] | tuple[tuple[int, int], ...]
T = TypeVar("T")
OutputSize = int | None | tuple[int | None, ...]


class Recipe(NamedTuple):
    """How a call is computed."""

    shape: tuple[int, ...]  # of the result
    plan: _engine.Plan | None  # None: there is nothing to compute


# ---------------------------------------------------------------------------------------------------- problems


def adaptive_problem(
    op: str, n: int, shape: tuple[int, ...], batched: bool, output_size: Any
) -> tuple[WindowProblem, int]:
    """Check the windows of an adaptive pooling; returns them and the flag that their plan needs.

    Sizes that divide the input's give sliding windows, which have a faster algorithm.
    """
    size = shape[2:]
    if shape[1] == 0 or 0 in size:
        raise ValueError(
            f"{op}: input may be empty along its batch axis only, received input of shape {shape[1 - batched :]}"
        )
    several = isinstance(output_size, tuple | list) or (isinstance(output_size, np.ndarray) and output_size.ndim > 0)
    given = tuple(output_size) if several else (output_size,) * n
    if len(given) != n:
        raise ValueError(
            f"{op}: output_size must be an int or {n} ints, one per spatial axis, received {output_size=!r}"
        )
    wanted = [
        s if value is None else _check.integer(op, "output_size", value, 1, whole=output_size)
        for s, value in zip(size, given, strict=True)
    ]
    even = all(s % out == 0 for s, out in zip(size, wanted, strict=True))
    axes = []
    for s, out in zip(size, wanted, strict=True):
        kernel = s // out if even else -(-s // out)
        axes.append(Axis(s, out, kernel, kernel, 1, 0, 0))
    return WindowProblem(batched, shape[0], shape[1], tuple(axes)), 0 if even else _ops.ADAPTIVE


def input_problem(op: str, n: int, grad: Array, input_shape: Any) -> tuple[bool, tuple[int, ...]]:
    """Return (batched, the shape with a batch axis) of the input whose gradient is wanted."""
    batched, grad_shape = _check.shape_of(op, "grad_output", grad, n)
    shape = _check.sizes(op, "input_shape", input_shape)
    if len(shape) != grad.ndim or shape[:-n] != grad.shape[:-n]:
        raise ValueError(
            f"{op}: input_shape must have the batch and channels of grad_output, whose shape is {grad.shape}, "
            f"received {input_shape=!r}"
        )
    full = shape if batched else (1, *shape)
    if 0 in full[1:] or 0 in grad_shape[1:]:
        raise ValueError(
            f"{op}: only the batch may be empty, received {input_shape=!r} and grad_output of shape {grad.shape}"
        )
    return batched, full


# ---------------------------------------------------------------------------------------------------- plans


def _choose(problem: WindowProblem, op: int, dtype: np.dtype[Any], flags: int, divisor: float) -> _engine.Plan:
    """Plan a pooling: outputs in the lanes where windows are small and close together, inputs elsewhere."""
    if any(a.out > 1 for a in problem.axes):
        with suppress(_engine.Unsupported):  # windows too large, or too far apart
            return _lowering.window_plan(problem, op, dtype, "taps", flags=flags, divisor=divisor)
    return _lowering.window_plan(problem, op, dtype, "windows", flags=flags, divisor=divisor)


def prepare(
    op: str, problem: WindowProblem, kind: int, dtype: np.dtype[Any], flags: int = 0, divisor: float = 0.0
) -> Recipe:
    """Return the recipe of a pooling with windows or of a mean's gradient."""
    shape = problem.input_shape if kind == _ops.AVG_POOL_GRAD else problem.output_shape
    _check.result(op, shape, dtype)  # sizes that no memory holds are refused before a plan computes with them
    return Recipe(shape, _choose(problem, kind, dtype, flags, divisor) if problem.batch else None)


def recipe_for(key: tuple[Any, ...], options: tuple[Any, ...], make: Callable[[], T]) -> T:
    """Return the recipe that `make` gives, or the one it gave for this key and these options before."""
    if plan.exact(*options):
        return plan.cached((key, plan.typed(*options)), make)
    return make()


def run(op: str, recipe: Recipe, source: Array, dtype: np.dtype[Any], indices: Array | None = None) -> Array:
    """Compute a recipe's result from its only operand; `indices` is filled beside it."""
    result = _check.result(op, recipe.shape, source.dtype)
    if recipe.plan is not None:
        recipe.plan.run(_check.layout(source), None, indices, result, current())
    return result if result.dtype == dtype else result.astype(dtype)


# ---------------------------------------------------------------------------------------------------- scattering


def places(op: str, indices: ArrayLike) -> Array:
    """Return indices as an array of a native, aligned integer type. Their values are checked where they are used."""
    try:
        array = np.asarray(indices)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{op}: indices cannot be read as an array of integers: {error}") from None
    if array.dtype == np.int64 and array.flags.aligned:
        return array
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: indices must hold integers, received indices of dtype {array.dtype}")
    return np.require(array, array.dtype.newbyteorder("="), "A")


def same_shape(op: str, indices: Array, name: str, values: Array) -> None:
    """Check that each value has an index."""
    if indices.shape != values.shape:
        raise ValueError(f"{op}: indices must have the shape of {name}, {values.shape}, received shape {indices.shape}")


def scatter_recipe(
    op: str,
    batched: bool,
    planes: tuple[int, ...],
    size: tuple[int, ...],
    out: tuple[int, ...],
    kind: int,
    dtype: np.dtype[Any],
) -> Recipe:
    """Return the recipe of putting values at places: `size` and `out` are the forward operator's spatial sizes."""
    axes = tuple(Axis(s, o, 1, 1, 1, 0, 0) for s, o in zip(size, out, strict=True))
    batch, channels = planes
    problem = WindowProblem(batched, batch, channels, axes)
    shape = problem.output_shape if kind == _ops.MAX_UNPOOL else problem.input_shape
    _check.result(op, shape, dtype)
    return Recipe(shape, _lowering.window_plan(problem, kind, dtype, "scatter") if problem.batch else None)


def run_scatter(op: str, n: int, recipe: Recipe, values: Array, indices: Array, dtype: np.dtype[Any]) -> Array:
    """Compute a recipe's result from values and their places."""
    result = _check.result(op, recipe.shape, values.dtype)
    # Numbers above int64's turn negative, and so stay outside of every plane.
    wide = indices if indices.dtype == np.int64 else indices.astype(np.int64)
    if recipe.plan is not None and not recipe.plan.run(values, None, wide, result, current()):
        refuse(op, indices, recipe.shape[-n:])
    return result if result.dtype == dtype else result.astype(dtype)


def refuse(op: str, indices: Array, size: tuple[int, ...]) -> None:
    """Raise, naming the first index that lies outside of a plane of this size."""
    plane = prod(size)
    first = np.unravel_index(int(np.argmax((indices < 0) | (indices >= plane))), indices.shape)
    raise ValueError(
        f"{op}: indices must lie in the plane {size}, from 0 to {plane - 1}, received {indices[first]} "
        f"at {tuple(map(int, first))}"
    )
