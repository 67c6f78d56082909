"""Nearest-neighbour resizing, beside its gradient.

Whole factors run on the engine: spreading an element over a block is the gradient of mean pooling (without its
division), and adding a block up is mean pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check as check
from fastconv._check import Array
from fastconv.functional import avg_pooling as pooling

__all__ = ["interpolate", "interpolate_backward"]

_POOLS = (pooling.avg_pool1d, pooling.avg_pool2d, pooling.avg_pool3d)
_SPREADS = (pooling.avg_pool1d_backward, pooling.avg_pool2d_backward, pooling.avg_pool3d_backward)


def interpolate(
    input: ArrayLike,
    size: int | Sequence[int] | None = None,
    scale_factor: int | Sequence[int] | None = None,
    mode: str = "nearest",
) -> Array:
    """Resize the spatial axes: output position o takes the input at floor(o * S / T).

    Axes: N batch, C channels, S one to three spatial axes of the input, T those of the output.

    Parameters
    ----------
    input : array_like of shape (N, C, *S)
        float16, float32 or float64.
    size : int or sequence of ints, optional
        T, for all axes or for each. Either this or `scale_factor` is given.
    scale_factor : int or sequence of ints, optional
        T / S, whole numbers.
    mode : {"nearest"}
        How.

    Returns
    -------
    ndarray of shape (N, C, *T), of input's dtype

    Raises
    ------
    TypeError
        When the dtype is another one, or sizes or factors are not integers.
    ValueError
        When the input has other axes or none to take from, both or none of `size` and `scale_factor` are given, or one
        is not positive.
    MemoryError
        When the result cannot be had.

    References
    ----------
    .. [1] torch.nn.functional.interpolate, https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html

    Examples
    --------
    >>> interpolate(np.array([[[1.0, 2.0]]]), scale_factor=3)
    array([[[1., 1., 1., 2., 2., 2.]]])
    >>> interpolate(np.array([[[1.0, 2.0, 3.0]]]), size=5)
    array([[[1., 1., 2., 2., 3.]]])
    """
    op = "interpolate"
    dtype, (x,) = check.data(op, input=input)
    factors, sizes = _sizes(op, "input", x.shape, size, scale_factor, mode)
    shape = (*x.shape[:2], *sizes)
    if 0 in shape or x.size == 0:
        return check.result(op, shape, dtype)
    check.countable(op, shape, x.dtype)
    if factors is not None:
        spread: Array = _SPREADS[x.ndim - 3](x, shape, factors, divisor_override=1)
        return spread.astype(dtype, copy=False)
    for axis, (here, there) in enumerate(zip(x.shape[2:], sizes, strict=True), 2):
        x = np.take(x, np.arange(there) * here // there, axis)
    return np.array(x, dtype, order="C")


def interpolate_backward(
    grad_output: ArrayLike,
    input_shape: Sequence[int],
    size: int | Sequence[int] | None = None,
    scale_factor: int | Sequence[int] | None = None,
    mode: str = "nearest",
) -> Array:
    """Return the gradient of `interpolate`'s input: every element adds up what its copies received.

    Axes: N batch, C channels, S one to three spatial axes of the input, T those of the output.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, *T)
        Gradient of the output. float16 adds up in float32.
    input_shape : sequence of ints
        (N, C, *S).
    size, scale_factor, mode
        As given to `interpolate`.

    Returns
    -------
    ndarray of shape (N, C, *S), of the dtype of `grad_output`

    Raises
    ------
    TypeError
        When the dtype is not float16, float32 or float64, or sizes or factors are not integers.
    ValueError
        When the shapes do not fit, or the options are wrong.

    Examples
    --------
    >>> interpolate_backward(np.array([[[1.0, 10.0, 100.0, 1000.0]]]), (1, 1, 2), scale_factor=2)
    array([[[  11., 1100.]]])
    """
    op = "interpolate_backward"
    dtype, (grad,) = check.data(op, grad_output=grad_output)
    given = check.sizes(op, "input_shape", input_shape)
    factors, sizes = _sizes(op, "input_shape", given, size, scale_factor, mode)
    check.grad(op, grad, (*given[:2], *sizes))
    if grad.size == 0:
        return check.result(op, given, dtype, zero=True)
    if factors is not None:
        total: Array = _POOLS[grad.ndim - 3](grad, factors, divisor_override=1)
        return total.astype(dtype, copy=False)
    for axis, (here, there) in enumerate(zip(given[2:], sizes, strict=True), 2):
        sources, starts = np.unique(np.arange(there) * here // there, return_index=True)
        summed = check.result(op, (*grad.shape[:axis], here, *grad.shape[axis + 1 :]), grad.dtype, zero=True)
        summed[(slice(None),) * axis + (sources,)] = np.add.reduceat(grad, starts, axis)
        grad = summed
    return np.array(grad, dtype, order="C")


def _sizes(
    op: str, name: str, shape: tuple[int, ...], size: Any, scale_factor: Any, mode: Any
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Return the whole factors (None where they are not whole) and the sizes of the output."""
    check.choice(op, "mode", mode, ("nearest",))
    n = len(shape) - 2
    if not 1 <= n <= 3:
        raise ValueError(f"{op}: {name} must have the axes (N, C, *S) with one to three of S, received shape {shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{op}: either size or scale_factor must be given, received {size=!r} and {scale_factor=!r}")
    here = shape[2:]
    if scale_factor is not None:
        factors = check.per_axis(op, "scale_factor", scale_factor, n, 1)
        return factors, tuple(s * factor for s, factor in zip(here, factors, strict=True))
    there = check.per_axis(op, "size", size, n, 1)
    if 0 in here:
        raise ValueError(f"{op}: {name} must have elements to take along each spatial axis, received shape {shape}")
    whole = all(t % s == 0 for s, t in zip(here, there, strict=True))
    return tuple(t // s for s, t in zip(here, there, strict=True)) if whole else None, there
