"""Windows as columns (im2col) and columns added up into an image (col2im): each is the other's gradient."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, _lowering, _ops, plan
from fastconv._check import Array, WindowProblem
from fastconv._threads import current

__all__ = ["fold", "fold_backward", "unfold", "unfold_backward"]

Ints = int | tuple[int, int]
Padding = int | str | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


class _Recipe(NamedTuple):
    shape: tuple[int, ...]  # of the result
    plan: _engine.Plan | None  # None: the batch is empty


def _problem(
    op: str, image: tuple[int, ...], batched: bool, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> WindowProblem:
    """Check a window over an image (N, C, H, W)."""
    strides = _check.per_axis(op, "stride", stride, 2, 1)
    if isinstance(padding, str):
        kernel = _check.per_axis(op, "kernel_size", kernel_size, 2, 1)
        dilations = _check.per_axis(op, "dilation", dilation, 2, 1)
        padding = _check.padding_pairs(op, padding, image[2:], kernel, strides, dilations)
    return _check.window_problem(op, 2, image, batched, kernel_size, stride, padding, dilation, pooling=False)


def _columns_shape(problem: WindowProblem) -> tuple[int, ...]:
    rows, length = problem.channels * prod(a.kernel for a in problem.axes), prod(a.out for a in problem.axes)
    return (*([problem.batch] if problem.batched else []), rows, length)


def _recipe(op: str, problem: WindowProblem, kind: int, dtype: np.dtype[Any]) -> _Recipe:
    shape = _columns_shape(problem) if kind == _ops.UNFOLD else problem.input_shape
    _check.result(op, shape, dtype)  # sizes that no memory holds are refused before a plan computes with them
    name = "unfold" if kind == _ops.UNFOLD else "fold"
    return _Recipe(shape, _lowering.window_plan(problem, kind, dtype, name, columns=True) if problem.batch else None)


def _run(op: str, source: Array, dtype: np.dtype[Any], options: tuple[Any, ...], make: Callable[[], _Recipe]) -> Array:
    """Run the plan that `make` gives, or the one it gave for these options and this shape before."""
    if plan.exact(*options):
        recipe = plan.cached((op, source.shape, source.dtype.num, plan.typed(*options)), make)
    else:
        recipe = make()
    result = _check.result(op, recipe.shape, source.dtype)
    if recipe.plan is not None:
        recipe.plan.run(_check.layout(source), None, None, result, current())
    return result if result.dtype == dtype else result.astype(dtype)


def _gather(op: str, name: str, image: ArrayLike, *options: Any) -> Array:
    """(N, C, H, W) -> (N, C * taps, L)."""
    dtype, (x,) = _check.data(op, **{name: image})

    def make() -> _Recipe:
        batched, shape = _check.shape_of(op, name, x, 2)
        if 0 in shape[1:]:
            raise ValueError(f"{op}: {name} may be empty along its batch axis only, received {name} of shape {x.shape}")
        return _recipe(op, _problem(op, shape, batched, *options), _ops.UNFOLD, x.dtype)

    return _run(op, x, dtype, options, make)


# ---------------------------------------------------------------------------------------------------- unfold


def unfold(input: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1) -> Array:
    """Lay the patch under every position of a sliding window out as a column (im2col).

    ``y[n, (c, i, j), t] = x[n, c, th*stride + i*dilation - padding, tw*stride + j*dilation - padding]`` with zeros
    outside the input, for the windows ``t = (th, tw)`` in row-major order. A convolution is then a matrix product.

    Axes: N batch, C channels, H, W spatial, kH, kW taps of the window, L windows.

    Parameters
    ----------
    input : array_like of shape (N, C, H, W) or (C, H, W)
        float16, float32 or float64; any strides, read-only or not. Never changed.
    kernel_size : int or tuple of two ints
        kH and kW.
    dilation, stride : int or tuple of two ints, default 1
        Steps between the taps of a window, and between windows.
    padding : int, tuple of ints, tuple of (lo, hi) pairs, "valid" or "same", default 0
        Zeros around the input, as for :func:`conv2d`.

    Returns
    -------
    ndarray of shape (N, C * kH * kW, L) or (C * kH * kW, L)
        L is the product over both axes of ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``.

    Raises
    ------
    ValueError
        If shapes or options do not fit, or the window is larger than the padded input.
    TypeError
        If `input` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result, kH * kW times as large as the input, cannot be had.

    References
    ----------
    .. [1] K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
       2006.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.unfold(np.arange(6.0).reshape(1, 2, 3), 2)
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])

    Convolution as a matrix product:

    >>> x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    >>> y = w.reshape(4, -1) @ fc.unfold(x, 3, padding=1)
    >>> np.array_equal(y.reshape(1, 4, 8, 8), fc.conv2d(x, w, padding=1))
    True
    """
    return _gather("unfold", "input", input, kernel_size, dilation, padding, stride)


def unfold_backward(
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
) -> Array:
    """Gradient of :func:`unfold` with respect to its input: every element adds up what its copies received.

    Axes: N batch, C channels, H, W spatial, kH, kW taps of the window, L windows.

    Parameters
    ----------
    grad_output : array_like of shape (N, C * kH * kW, L) or (C * kH * kW, L)
        Gradient of a scalar with respect to the result, whose L is the product over both axes of
        ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``.
    input_shape : tuple of ints
        Shape of the input, (N, C, H, W) or (C, H, W).
    kernel_size, dilation, padding, stride
        As for :func:`unfold`.

    Returns
    -------
    ndarray of shape (N, C, H, W) or (C, H, W)
        The sums are made in one order, whatever the number of threads.

    Raises
    ------
    ValueError
        If shapes or options do not fit.
    TypeError
        If `grad_output` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
       2006.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.unfold_backward(np.ones((4, 2)), (1, 2, 3), 2)
    array([[[1., 2., 1.],
            [1., 2., 1.]]])
    """
    op = "unfold_backward"
    dtype, (gy,) = _check.data(op, grad_output=grad_output)

    def make() -> _Recipe:
        shape = _check.sizes(op, "input_shape", input_shape)
        if len(shape) not in (3, 4) or 0 in shape[-3:]:
            raise ValueError(
                f"{op}: input_shape must be (N, C, H, W) or (C, H, W) and positive but for N, received {input_shape=!r}"
            )
        full = shape if len(shape) == 4 else (1, *shape)
        problem = _problem(op, full, len(shape) == 4, kernel_size, dilation, padding, stride)
        _check.grad(op, gy, _columns_shape(problem))
        return _recipe(op, problem, _ops.FOLD, gy.dtype)

    return _run(op, gy, dtype, (input_shape, kernel_size, dilation, padding, stride), make)


# ---------------------------------------------------------------------------------------------------- fold


def fold(
    input: ArrayLike, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1
) -> Array:
    """Add columns up into an image, each element where :func:`unfold` would read it (col2im).

    ``y[n, c, th*stride + i*dilation - padding, tw*stride + j*dilation - padding] += x[n, (c, i, j), t]`` for all taps
    (i, j) and windows ``t = (th, tw)``; what falls into the padding is dropped.

    Axes: N batch, C channels, H, W spatial, kH, kW taps of the window, L windows.

    Parameters
    ----------
    input : array_like of shape (N, C * kH * kW, L) or (C * kH * kW, L)
        float16, float32 or float64; any strides, read-only or not. Never changed.
    output_size : int or tuple of two ints
        H and W. An unfold of an image of this size must have L windows: the product over both axes of
        ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``.
    kernel_size : int or tuple of two ints
        kH and kW.
    dilation, stride : int or tuple of two ints, default 1
        Steps between the taps of a window, and between windows.
    padding : int, tuple of ints, tuple of (lo, hi) pairs, "valid" or "same", default 0
        Around the image, as for :func:`conv2d`.

    Returns
    -------
    ndarray of shape (N, C, H, W) or (C, H, W)
        float16 adds up in float32. The sums are made in one order, whatever the number of threads.

    Raises
    ------
    ValueError
        If shapes or options do not fit.
    TypeError
        If `input` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
       2006.

    Examples
    --------
    How many windows of 2 x 2 cover each element:

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.fold(fc.unfold(np.ones((1, 3, 4)), 2), (3, 4), 2)
    array([[[1., 2., 2., 1.],
            [2., 4., 4., 2.],
            [1., 2., 2., 1.]]])
    """
    op = "fold"
    dtype, (columns,) = _check.data(op, input=input)

    def make() -> _Recipe:
        if columns.ndim not in (2, 3):
            raise ValueError(
                f"{op}: input must have the axes (N, C * kH * kW, L) or (C * kH * kW, L), "
                f"received input of shape {columns.shape}"
            )
        taps = prod(_check.per_axis(op, "kernel_size", kernel_size, 2, 1))
        channels, rest = divmod(columns.shape[-2], taps)
        if rest or not channels:
            raise ValueError(
                f"{op}: input must have a multiple of kH * kW = {taps} rows, received input of shape {columns.shape} "
                f"and {kernel_size=!r}"
            )
        size = _check.per_axis(op, "output_size", output_size, 2, 1)
        batched = columns.ndim == 3
        image = (columns.shape[0] if batched else 1, channels, *size)
        problem = _problem(op, image, batched, kernel_size, dilation, padding, stride)
        if columns.shape != _columns_shape(problem):
            out = tuple(a.out for a in problem.axes)
            raise ValueError(
                f"{op}: input must have {prod(out)} columns for {out[0]} x {out[1]} windows, received input of shape "
                f"{columns.shape} and {output_size=!r}"
            )
        return _recipe(op, problem, _ops.FOLD, columns.dtype)

    return _run(op, columns, dtype, (output_size, kernel_size, dilation, padding, stride), make)


def fold_backward(
    grad_output: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1
) -> Array:
    """Gradient of :func:`fold` with respect to its columns, which is :func:`unfold` of `grad_output`.

    Axes: N batch, C channels, H, W spatial, kH, kW taps of the window, L windows.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, H, W) or (C, H, W)
        Gradient of a scalar with respect to the image.
    kernel_size, dilation, padding, stride
        As for :func:`fold`.

    Returns
    -------
    ndarray of shape (N, C * kH * kW, L) or (C * kH * kW, L)
        L is the product over both axes of ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``.

    Raises
    ------
    ValueError
        If shapes or options do not fit, or the window is larger than the padded image.
    TypeError
        If `grad_output` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
       2006.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.fold_backward(np.arange(6.0).reshape(1, 2, 3), (2, 3)).T
    array([[0., 1., 2., 3., 4., 5.]])
    """
    return _gather("fold_backward", "grad_output", grad_output, kernel_size, dilation, padding, stride)
