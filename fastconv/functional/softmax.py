"""softmax and its logarithm, each beside its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check

__all__ = ["log_softmax", "log_softmax_backward", "softmax", "softmax_backward"]


def softmax(input: ArrayLike, dim: int = -1) -> NDArray[Any]:
    """Return exp(input) / sum(exp(input)) along one axis, computed so that it does not overflow.

    Parameters
    ----------
    input : array_like of one axis or more
        float16 (computed in float32), float32 or float64.
    dim : int, default -1
        The axis that sums to 1.

    Returns
    -------
    ndarray of the same shape and dtype
        A line with NaN or +inf in it becomes NaN.

    Raises
    ------
    TypeError
        When the dtype is another one, or `dim` not an integer.
    ValueError
        When `input` has no such axis.

    Examples
    --------
    >>> softmax(np.log([[1.0, 3.0], [1000.0, 1000.0]]))
    array([[0.25, 0.75],
           [0.5 , 0.5 ]])
    """
    dtype, [x] = check.data("softmax", input=input)
    axis = check.axis("softmax", dim, x)
    with np.errstate(all="ignore"):
        y, total = _exponentials("softmax", x, axis)
        y /= total
    return np.asarray(y, dtype)


def softmax_backward(grad_output: ArrayLike, output: ArrayLike, dim: int = -1) -> NDArray[Any]:
    """Return the gradient of `softmax`'s input: y * (g - sum(g * y)) along the axis.

    Parameters
    ----------
    grad_output : array_like
        Gradient g of the output.
    output : array_like of the same shape
        What `softmax` returned, y.
    dim : int, default -1
        As given to `softmax`.

    Returns
    -------
    ndarray of the same shape, of dtype ``np.result_type(grad_output, output)``

    Raises
    ------
    TypeError
        When a dtype is not float16, float32 or float64, or `dim` not an integer.
    ValueError
        When the shapes differ, or there is no such axis.

    Examples
    --------
    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    dtype, [grad, y] = check.data("softmax_backward", grad_output=grad_output, output=output)
    check.grad("softmax_backward", grad, y.shape)
    axis = check.axis("softmax_backward", dim, y)
    with np.errstate(all="ignore"):
        result = np.multiply(grad, y, order="C")
        np.subtract(grad, result.sum(axis=axis, keepdims=True), out=result)
        result *= y
    return np.asarray(result, dtype)


def log_softmax(input: ArrayLike, dim: int = -1) -> NDArray[Any]:
    """Return log(softmax(input)) along one axis, exact also where the softmax would round to 0.

    Parameters
    ----------
    input : array_like of one axis or more
        float16 (computed in float32), float32 or float64.
    dim : int, default -1
        The axis whose exponentials sum to 1.

    Returns
    -------
    ndarray of the same shape and dtype
        A line with NaN or +inf in it becomes NaN.

    Raises
    ------
    TypeError
        When the dtype is another one, or `dim` not an integer.
    ValueError
        When `input` has no such axis.

    Examples
    --------
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    dtype, [x] = check.data("log_softmax", input=input)
    axis = check.axis("log_softmax", dim, x)
    with np.errstate(all="ignore"):
        y = below_maximum("log_softmax", x, axis)
        y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return np.asarray(y, dtype)


def log_softmax_backward(grad_output: ArrayLike, output: ArrayLike, dim: int = -1) -> NDArray[Any]:
    """Return the gradient of `log_softmax`'s input: g - exp(y) * sum(g) along the axis.

    Parameters
    ----------
    grad_output : array_like
        Gradient g of the output.
    output : array_like of the same shape
        What `log_softmax` returned, y.
    dim : int, default -1
        As given to `log_softmax`.

    Returns
    -------
    ndarray of the same shape, of dtype ``np.result_type(grad_output, output)``

    Raises
    ------
    TypeError
        When a dtype is not float16, float32 or float64, or `dim` not an integer.
    ValueError
        When the shapes differ, or there is no such axis.

    Examples
    --------
    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    dtype, [grad, y] = check.data("log_softmax_backward", grad_output=grad_output, output=output)
    check.grad("log_softmax_backward", grad, y.shape)
    axis = check.axis("log_softmax_backward", dim, y)
    with np.errstate(all="ignore"):
        result = np.exp(y, order="C")
        result *= grad.sum(axis=axis, keepdims=True)
        np.subtract(grad, result, out=result)
    return np.asarray(result, dtype)


def below_maximum(op: str, x: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return x minus its maximum along the axis, as a new array: exponentials of it cannot overflow."""
    below = check.result(op, x.shape, x.dtype)  # before a look at x, which may be a view beyond any memory
    np.subtract(x, x.max(axis=axis, keepdims=True, initial=-np.inf), out=below)
    return below


def _exponentials(op: str, x: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return exp(x - max) along the axis, and its sum."""
    y = below_maximum(op, x, axis)
    np.exp(y, out=y)
    return y, y.sum(axis=axis, keepdims=True)
