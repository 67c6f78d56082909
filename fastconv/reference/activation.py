"""Activations: relu, softmax and its logarithm."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, expect_shape, finish, floats, integer


def relu(input: ArrayLike) -> Array:
    """Return ``max(input, 0)`` of each element; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import relu
    >>> relu(np.array([-1.0, 0.5, np.nan]))
    array([0. , 0.5, nan])
    """
    dtype, x = floats("relu", input=input)
    return finish(np.maximum(x, 0), dtype)


def relu_backward(grad_output: ArrayLike, output: ArrayLike) -> Array:
    """Return relu's gradient by its input: ``grad_output``, but 0 where the output is 0.

    Where the output is NaN the gradient passes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import relu_backward
    >>> relu_backward(np.array([3.0, 4.0]), np.array([0.0, 0.5]))
    array([0., 4.])
    """
    dtype, gy, y = floats("relu_backward", grad_output=grad_output, output=output)
    expect_shape("relu_backward", "grad_output", gy, y.shape)
    return finish(np.where(y <= 0, 0, gy), dtype)


def _axis(op: str, x: Array, dim: int) -> int:
    """Return ``dim`` as an axis of ``x``, counted from the front."""
    axis = integer(op, "dim", dim, -x.ndim)
    if axis >= x.ndim:
        raise ValueError(f"{op}: dim must be an axis of an array of shape {x.shape}, received dim={dim}")
    return axis % x.ndim


def log_softmax_along(x: Array, axis: int) -> Array:
    """Return ``x - log(sum(exp(x)))`` along an axis; the maximum is taken off first, so that exp cannot overflow."""
    with np.errstate(invalid="ignore", divide="ignore"):  # inf - inf is NaN, as it should be
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def softmax_along(x: Array, axis: int) -> Array:
    """Return ``exp(x) / sum(exp(x))`` along an axis, the maximum taken off first."""
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        return np.asarray(e / e.sum(axis=axis, keepdims=True))


def softmax(input: ArrayLike, dim: int = -1) -> Array:
    """Return ``exp(input) / sum(exp(input))`` along ``dim``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import softmax
    >>> softmax(np.log([1.0, 3.0]))
    array([0.25, 0.75])
    """
    dtype, x = floats("softmax", input=input)
    return finish(softmax_along(x, _axis("softmax", x, dim)), dtype)


def softmax_backward(grad_output: ArrayLike, output: ArrayLike, dim: int = -1) -> Array:
    """Return softmax's gradient by its input: ``y * (gy - sum(gy * y))`` for the output ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import softmax_backward
    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    op = "softmax_backward"
    dtype, gy, y = floats(op, grad_output=grad_output, output=output)
    expect_shape(op, "grad_output", gy, y.shape)
    return finish(y * (gy - (gy * y).sum(axis=_axis(op, y, dim), keepdims=True)), dtype)


def log_softmax(input: ArrayLike, dim: int = -1) -> Array:
    """Return ``input - log(sum(exp(input)))`` along ``dim``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import log_softmax
    >>> np.exp(log_softmax(np.log([1.0, 3.0])))
    array([0.25, 0.75])
    """
    dtype, x = floats("log_softmax", input=input)
    return finish(log_softmax_along(x, _axis("log_softmax", x, dim)), dtype)


def log_softmax_backward(grad_output: ArrayLike, output: ArrayLike, dim: int = -1) -> Array:
    """Return log_softmax's gradient by its input: ``gy - exp(y) * sum(gy)`` for the output ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import log_softmax_backward
    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    op = "log_softmax_backward"
    dtype, gy, y = floats(op, grad_output=grad_output, output=output)
    expect_shape(op, "grad_output", gy, y.shape)
    return finish(gy - np.exp(y) * gy.sum(axis=_axis(op, y, dim), keepdims=True), dtype)
