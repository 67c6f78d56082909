"""Max pooling, sliding and adaptive, each beside its gradient."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, _lowering, _ops
from fastconv._check import Array
from fastconv.functional._docs import documented
from fastconv.functional._pool import (
    Ints,
    OutputSize,
    Padding,
    Recipe,
    adaptive_problem,
    input_problem,
    places,
    prepare,
    recipe_for,
    run,
    run_scatter,
    same_shape,
    scatter_recipe,
)

__all__ = [
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_backward",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
]

# ---------------------------------------------------------------------------------------------------- what they share


def _with_indices(op: str, recipe: Recipe, x: Array, dtype: np.dtype[Any], return_indices: Any) -> Any:
    if not _check.flag(op, "return_indices", return_indices):
        return run(op, recipe, x, dtype)
    indices = _check.result(op, recipe.shape, np.dtype(np.int64))
    return run(op, recipe, x, dtype, indices), indices


def _pool(
    op: str,
    n: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    return_indices: Any,
) -> Any:
    dtype, (x,) = _check.data(op, input=input)

    def make() -> Recipe:
        batched, shape = _check.shape_of(op, "input", x, n)
        problem = _check.window_problem(op, n, shape, batched, kernel_size, stride, padding, dilation, ceil_mode)
        return prepare(op, problem, _ops.MAX_POOL, x.dtype)

    recipe = recipe_for((op, x.shape, x.dtype.num), (kernel_size, stride, padding, dilation, ceil_mode), make)
    return _with_indices(op, recipe, x, dtype, return_indices)


def _adaptive(op: str, n: int, input: Any, output_size: Any, return_indices: Any) -> Any:
    dtype, (x,) = _check.data(op, input=input)

    def make() -> Recipe:
        batched, shape = _check.shape_of(op, "input", x, n)
        problem, flags = adaptive_problem(op, n, shape, batched, output_size)
        return prepare(op, problem, _ops.MAX_POOL, x.dtype, flags)

    recipe = recipe_for((op, x.shape, x.dtype.num), (output_size,), make)
    return _with_indices(op, recipe, x, dtype, return_indices)


def _by_offsets(
    op: str, n: int, kind: int, batched: bool, shape: tuple[int, ...], dtype: np.dtype[Any], options: tuple[Any, ...]
) -> Recipe | Literal[False]:
    """Return the recipe of maxima, or of their gradient, that keeps in a byte which tap of its window a maximum was."""

    def make() -> Recipe | Literal[False]:
        problem = _check.window_problem(op, n, shape, batched, *options)
        if prod(a.kernel for a in problem.axes) > 256:
            return False
        size = problem.output_shape if kind == _ops.MAX_POOL else problem.input_shape
        _check.result(op, size, dtype)
        how = "taps" if kind == _ops.MAX_POOL else "scatter"
        try:
            made = _lowering.window_plan(problem, kind, dtype, how, flags=_ops.OFFSETS) if problem.batch else None
        except _engine.Unsupported:  # windows too large, or too far apart
            return False
        return Recipe(size, made)

    return recipe_for((op, "offsets", kind, batched, shape, dtype.num), options, make)


def with_way_back(n: int, input: Any, *options: Any) -> tuple[Array, Callable[[ArrayLike], Array]]:
    """Return the maxima, and the function from their gradient to the input's; `options` are those of a window.

    Between the two, where windows allow it, a maximum's place is kept in a byte: an eighth of an index.
    """
    op = f"max_pool{n}d"
    op_back = f"{op}_backward"
    dtype, (x,) = _check.data(op, input=input)
    batched, full = _check.shape_of(op, "input", x, n)
    recipe = _by_offsets(op, n, _ops.MAX_POOL, batched, full, x.dtype, options)
    if not recipe:
        kernel_size, stride, padding, dilation, ceil_mode = options
        y, indices = _pool(op, n, x, kernel_size, stride, padding, dilation, ceil_mode, True)
        shape = x.shape
        return y.astype(dtype, copy=False), lambda grad_output: _backward(op_back, n, grad_output, indices, shape)
    taken = _check.result(op, recipe.shape, np.dtype(np.uint8))
    y = run(op, recipe, x, dtype, taken)

    def backward(grad_output: ArrayLike) -> Array:
        kind, (gy,) = _check.data(op_back, grad_output=grad_output)
        _check.grad(op_back, gy, taken.shape)
        back = _by_offsets(op, n, _ops.MAX_POOL_GRAD, batched, full, gy.dtype, options)
        assert back  # what is kept in bytes can be scattered
        return run(op_back, back, gy, kind, taken)

    return y, backward


def _backward(op: str, n: int, grad_output: Any, indices: Any, input_shape: Any) -> Array:
    dtype, (gy,) = _check.data(op, grad_output=grad_output)
    at = places(op, indices)
    same_shape(op, at, "grad_output", gy)

    def make() -> Recipe:
        batched, shape = input_problem(op, n, gy, input_shape)
        return scatter_recipe(op, batched, shape[:2], shape[2:], gy.shape[-n:], _ops.MAX_POOL_GRAD, gy.dtype)

    recipe = recipe_for((op, gy.shape, gy.dtype.num), (input_shape,), make)
    return run_scatter(op, n, recipe, gy, at, dtype)


# ---------------------------------------------------------------------------------------------------- max_pool

_MAX_POOL = """Maximum of windows that slide over <word>.

``y[n, c, o] = max over t of x[n, c, o*stride + t*dilation - padding]``. NaN counts as greater than everything.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
kernel_size : int or tuple of ints
    Size of a window, one for all axes or one for each.
stride : int or tuple of ints, optional
    Step from window to window; by default the window's size.
padding : int, tuple of ints or tuple of (lo, hi) pairs, default 0
    Around the input; it never wins. No window may lie wholly in it.
dilation : int or tuple of ints, default 1
    Step from element to element inside a window.
ceil_mode : bool, default False
    Whether a last window may reach over the end of the padded input; it must begin inside the input or the padding
    before it.
return_indices : bool, default False
    Whether to return where the maxima are, too.

Returns
-------
ndarray of shape (N, C, <out>) or (C, <out>)
    Each side is ``floor((size + lo + hi - dilation * (kernel_size - 1) - 1) / stride) + 1``, rounded up with
    `ceil_mode`. Of the input's dtype.
indices : ndarray of int64 of the same shape
    Only with `return_indices`: flat index in the plane of <axes>, of the first maximum, or of the last NaN.

Raises
------
ValueError
    If shapes or options do not fit; the message names the argument, the value and the rule.
TypeError
    If `input` is not float16, float32 or float64, or an option is not of its type.
MemoryError
    If the result cannot be had.

References
----------
.. [1] J. J. Weng, N. Ahuja, T. S. Huang, "Cresceptron: a self-organizing neural network which grows adaptively", 1992.
.. [2] torch.nn.functional.max_pool<n>d, whose rules for indices, NaN and ceil_mode these are.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> fc.max_pool<n>d(x, 2).shape
(1, 3, <half>)
>>> y, indices = fc.max_pool<n>d(x, 3, stride=2, padding=1, return_indices=True)
>>> int(indices.ravel()[1])
1
"""

_MAX_POOL_BACKWARD = """Gradient of :func:`max_pool<n>d` with respect to its input.

Each maximum gets what the windows received in which it was found.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, C, <out>) or (C, <out>)
    Gradient of a scalar with respect to the result.
indices : array_like of integers of the same shape
    As the forward call returned them.
input_shape : tuple of ints
    Shape of the input, (N, C, <axes>) or (C, <axes>).

Returns
-------
ndarray of shape (N, C, <axes>) or (C, <axes>)
    float16 adds up in float32. The sums are made in one order, whatever the number of threads.

Raises
------
ValueError
    If shapes do not fit, or an index does not lie in the plane of <axes>.
TypeError
    If `grad_output` is not float16, float32 or float64, or `indices` does not hold integers.
MemoryError
    If the result cannot be had.

References
----------
.. [1] torch.nn.functional.max_pool<n>d, whose gradient this is.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> y, indices = fc.max_pool<n>d(x, 2, return_indices=True)
>>> grad_input = fc.max_pool<n>d_backward(y, indices, x.shape)
>>> grad_input.shape == x.shape, float(grad_input.sum()) == float(y.sum())
(True, True)
"""


@documented(_MAX_POOL, 1)
def max_pool1d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    return _pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@documented(_MAX_POOL_BACKWARD, 1)
def max_pool1d_backward(grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _backward("max_pool1d_backward", 1, grad_output, indices, input_shape)


@documented(_MAX_POOL, 2)
def max_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    return _pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@documented(_MAX_POOL_BACKWARD, 2)
def max_pool2d_backward(grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _backward("max_pool2d_backward", 2, grad_output, indices, input_shape)


@documented(_MAX_POOL, 3)
def max_pool3d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    return _pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@documented(_MAX_POOL_BACKWARD, 3)
def max_pool3d_backward(grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _backward("max_pool3d_backward", 3, grad_output, indices, input_shape)


# ---------------------------------------------------------------------------------------------------- adaptive_max_pool

_ADAPTIVE = """Maximum of windows that share out <word>, to a wanted size.

Window `o` of an axis goes from ``floor(o * size / output_size)`` to ``ceil((o + 1) * size / output_size)``. NaN counts
as greater than everything. An `output_size` of 1 is global pooling.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
output_size : int, None, or tuple of these
    One for all axes or one for each; None keeps the input's size.
return_indices : bool, default False
    Whether to return where the maxima are, too.

Returns
-------
ndarray of shape (N, C, *output_size) or (C, *output_size)
    Of the input's dtype.
indices : ndarray of int64 of the same shape
    Only with `return_indices`: flat index in the plane of <axes>, of the first maximum, or of the last NaN.

Raises
------
ValueError
    If the input has no element along a spatial axis, or a size is not positive.
TypeError
    If `input` is not float16, float32 or float64, or an option is not of its type.
MemoryError
    If the result cannot be had.

References
----------
.. [1] torch.nn.functional.adaptive_max_pool<n>d, whose windows these are.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> fc.adaptive_max_pool<n>d(x, 4).shape
(1, 3, <half>)
>>> fc.adaptive_max_pool<n>d(x, None).shape == x.shape
True
"""

_ADAPTIVE_BACKWARD = """Gradient of :func:`adaptive_max_pool<n>d` with respect to its input.

Each maximum gets what the windows received in which it was found.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, C, <out>) or (C, <out>)
    Gradient of a scalar with respect to the result, of size `output_size`.
indices : array_like of integers of the same shape
    As the forward call returned them.
input_shape : tuple of ints
    Shape of the input, (N, C, <axes>) or (C, <axes>).

Returns
-------
ndarray of shape (N, C, <axes>) or (C, <axes>)
    float16 adds up in float32. The sums are made in one order, whatever the number of threads.

Raises
------
ValueError
    If shapes do not fit, or an index does not lie in the plane of <axes>.
TypeError
    If `grad_output` is not float16, float32 or float64, or `indices` does not hold integers.
MemoryError
    If the result cannot be had.

References
----------
.. [1] torch.nn.functional.adaptive_max_pool<n>d, whose gradient this is.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> y, indices = fc.adaptive_max_pool<n>d(x, 3, return_indices=True)
>>> grad_input = fc.adaptive_max_pool<n>d_backward(y, indices, x.shape)
>>> grad_input.shape == x.shape, float(grad_input.sum()) == float(y.sum())
(True, True)
"""


@documented(_ADAPTIVE, 1)
def adaptive_max_pool1d(input: ArrayLike, output_size: OutputSize, return_indices: bool = False) -> Any:
    return _adaptive("adaptive_max_pool1d", 1, input, output_size, return_indices)


@documented(_ADAPTIVE_BACKWARD, 1)
def adaptive_max_pool1d_backward(grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _backward("adaptive_max_pool1d_backward", 1, grad_output, indices, input_shape)


@documented(_ADAPTIVE, 2)
def adaptive_max_pool2d(input: ArrayLike, output_size: OutputSize, return_indices: bool = False) -> Any:
    return _adaptive("adaptive_max_pool2d", 2, input, output_size, return_indices)


@documented(_ADAPTIVE_BACKWARD, 2)
def adaptive_max_pool2d_backward(grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _backward("adaptive_max_pool2d_backward", 2, grad_output, indices, input_shape)


@documented(_ADAPTIVE, 3)
def adaptive_max_pool3d(input: ArrayLike, output_size: OutputSize, return_indices: bool = False) -> Any:
    return _adaptive("adaptive_max_pool3d", 3, input, output_size, return_indices)


@documented(_ADAPTIVE_BACKWARD, 3)
def adaptive_max_pool3d_backward(grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _backward("adaptive_max_pool3d_backward", 3, grad_output, indices, input_shape)
