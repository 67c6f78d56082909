"""Activation functions, each beside its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check

__all__ = ["log_softmax", "log_softmax_backward", "relu", "relu_backward", "softmax", "softmax_backward"]


def relu(input: ArrayLike) -> NDArray[Any]:
    """Return max(input, 0), element by element.

    Parameters
    ----------
    input : array_like of any shape
        float16, float32 or float64.

    Returns
    -------
    ndarray of the same shape and dtype
        NaN stays NaN.

    Raises
    ------
    TypeError
        When the dtype is another one.

    References
    ----------
    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.

    Examples
    --------
    >>> relu(np.array([-1.5, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    dtype, [x] = check.data("relu", input=input)
    result = np.maximum(x, 0, out=check.result("relu", x.shape, x.dtype))
    return np.asarray(result, dtype)


def relu_backward(grad_output: ArrayLike, output: ArrayLike) -> NDArray[Any]:
    """Return the gradient of `relu`'s input: `grad_output` where the output is not 0, and 0 where it is.

    Parameters
    ----------
    grad_output : array_like of any shape
        Gradient of the output.
    output : array_like of the same shape
        What `relu` returned (its input does as well: the signs are looked at, no more).

    Returns
    -------
    ndarray of the same shape, of dtype ``np.result_type(grad_output, output)``
        A unit that is off passes nothing, not even an infinity; one that is NaN passes the gradient.

    Raises
    ------
    TypeError
        When a dtype is not float16, float32 or float64.
    ValueError
        When the shapes differ.

    Examples
    --------
    >>> relu_backward(np.array([10.0, 20.0, 30.0]), relu(np.array([-1.5, 0.0, 2.0])))
    array([ 0.,  0., 30.])
    """
    dtype, [grad, y] = check.data("relu_backward", grad_output=grad_output, output=output)
    check.grad("relu_backward", grad, y.shape)
    on = np.less_equal(y, 0, out=check.result("relu_backward", y.shape, np.dtype(np.bool_)))
    np.logical_not(on, out=on)
    result = check.result("relu_backward", y.shape, grad.dtype)
    # A bit pattern times 0 or 1 selects without a branch, ten times faster than np.where, and where a product of floats
    # would make NaN of 0 * inf.
    bits = np.dtype(f"i{grad.itemsize}")
    np.multiply(grad.view(bits), on, out=result.view(bits))
    return np.asarray(result, dtype)


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
    axis = _axis("softmax", dim, x)
    with np.errstate(all="ignore"):
        y, total = _exponentials(x, axis)
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
    axis = _axis("softmax_backward", dim, y)
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
    axis = _axis("log_softmax", dim, x)
    with np.errstate(all="ignore"):
        y = below_maximum(x, axis)
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
    axis = _axis("log_softmax_backward", dim, y)
    with np.errstate(all="ignore"):
        result = np.exp(y, order="C")
        result *= grad.sum(axis=axis, keepdims=True)
        np.subtract(grad, result, out=result)
    return np.asarray(result, dtype)


def below_maximum(x: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return x minus its maximum along the axis, as a new array: exponentials of it cannot overflow."""
    below: NDArray[Any] = np.subtract(x, x.max(axis=axis, keepdims=True, initial=-np.inf), order="C")
    return below


def _exponentials(x: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return exp(x - max) along the axis, and its sum."""
    y = below_maximum(x, axis)
    np.exp(y, out=y)
    return y, y.sum(axis=axis, keepdims=True)


def _axis(op: str, dim: int, x: NDArray[Any]) -> int:
    axis = check.integer(op, "dim", dim)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{op}: dim must be an axis of the array, received dim={dim} for shape {x.shape}")
    return axis
