"""softmax and its logarithm, each beside its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401 (the examples use it)
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import _engine, _lowering, plan
from fastconv.functional._norm import compute

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
    return _along("softmax", input, dim)


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
    return _back("softmax", grad_output, output, dim)


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
    return _along("log_softmax", input, dim)


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
    return _back("log_softmax", grad_output, output, dim)


def _along(op: str, input: ArrayLike, dim: Any) -> NDArray[Any]:
    known: _engine.Plan | None = plan.recall(op, input, None, None, (dim,))
    if known is not None:
        return compute(op, known, input, None, None)  # type: ignore[arg-type]
    dtype, [x] = check.data(op, input=input)
    axis = check.axis(op, dim, x)
    if x.size == 0:
        return check.result(op, x.shape, dtype)
    x = check.dense(op, "input", x)
    found = plan.recipe_of(op, (x, None, None), (dim,), lambda: _lowering.softmax_plan(op, x.shape, axis, x.dtype))
    return compute(op, found, x, None, None).astype(dtype, copy=False)


def _back(forward: str, grad_output: ArrayLike, output: ArrayLike, dim: Any) -> NDArray[Any]:
    op = f"{forward}_backward"
    known: _engine.Plan | None = plan.recall(op, grad_output, output, None, (dim,))
    if known is not None:
        return compute(op, known, grad_output, output, None)  # type: ignore[arg-type]
    dtype, [grad, y] = check.data(op, grad_output=grad_output, output=output)
    check.grad(op, grad, y.shape)
    axis = check.axis(op, dim, y)
    if y.size == 0:
        return check.result(op, y.shape, dtype)
    grad, y = check.dense(op, "grad_output", grad), check.dense(op, "output", y)

    def make() -> _engine.Plan:
        return _lowering.softmax_plan(f"{forward}_grad", y.shape, axis, y.dtype)

    found = plan.recipe_of(op, (grad, y, None), (dim,), make)
    return compute(op, found, grad, y, None).astype(dtype, copy=False)
