"""The fully connected layer beside its gradients: matrix products on the packed kernels of the convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from fastconv import _check, _engine, _lowering, plan
from fastconv._check import Array
from fastconv._threads import current
from fastconv.functional._fused import activated, activation_name, last_step, slope_of
from fastconv.functional._gradients import Gradients, cast, nothing

__all__ = ["linear", "linear_backward"]


class _Recipe(NamedTuple):
    """What a forward call computes."""

    plan: _engine.Plan
    last: _engine.Plan | None  # what follows, in place


def _rows(op: str, name: str, array: Array, features: int) -> Array:
    if array.ndim == 0 or array.shape[-1] != features:
        raise ValueError(
            f"{op}: {name} must have {features} features along its last axis, received {name} of shape {array.shape}"
        )
    rows = 1
    for size in array.shape[:-1]:
        rows *= size
    return array.reshape(rows, features)


def _weight(op: str, weight: Array) -> None:
    if weight.ndim != 2:
        raise ValueError(f"{op}: weight must have the axes (O, I), received weight of shape {weight.shape}")
    if 0 in weight.shape:
        raise ValueError(f"{op}: weight must not be empty, received weight of shape {weight.shape}")


def linear(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    """Apply a fully connected layer, ``y = x @ weight.T + bias``.

    Axes: I input features, O output features; any number of leading axes.

    Parameters
    ----------
    input : array_like of shape (..., I)
        float16, float32 or float64.
    weight : array_like of shape (O, I)
        One row for each output.
    bias : array_like of shape (O,), optional
        Added to each output.
    out : ndarray, optional
        Where to write the result; of the result's shape and dtype.
    activation : {None, "relu", "leaky_relu", "sigmoid", "tanh"}, default None
        What the result passes through: ``max(y, 0)`` or, where y < 0, ``0.01 y`` as it is stored, or one of the other
        functions in place afterwards. Its gradient follows from the result.

    Returns
    -------
    ndarray of shape (..., O)
        float16 computes in float32 and is returned as float16. The bits do not depend on the number of threads.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not float16, float32 or float64.
    MemoryError
        If result or workspace cannot be had.

    References
    ----------
    .. [1] K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([0.5, 0.0]))
    array([[11.5,  2. ]])
    """
    known: _Recipe | None = plan.recall("linear", input, weight, bias, (activation,))
    if known is not None and out is None:
        try:
            result = known.plan.compute(input, weight, bias)
            return result if known.last is None else activated(result, known.last)
        except MemoryError:
            pass  # said below, with the operator's name
    kind, (x, w, b) = _check.data("linear", input=input, weight=weight, bias=bias)
    ending = activation_name("linear", activation)
    _weight("linear", w)
    rows = _rows("linear", "input", x, w.shape[1])
    _check.bias_shape("linear", b, w.shape[0])
    shape = (*x.shape[:-1], w.shape[0])
    straight = None if out is None else _check.output("linear", out, shape, kind, (x, w, b))
    result = _check.result("linear", shape, x.dtype) if straight is None else straight
    if result.size:

        def make() -> _Recipe:
            slope, (o, i) = slope_of(ending), w.shape
            found = _lowering.matmul_plan(len(rows), o, i, x.dtype, shape, turn_b=True, slope=slope)
            return _Recipe(found, last_step(ending, shape, x.dtype, stored=True))

        found = plan.recipe_of("linear", (x, w, b), (activation,), make)
        found.plan.run(rows, w, b, result, current())
        activated(result, found.last)
    if out is not None:
        if straight is None:
            out[...] = result
        return out
    return result if result.dtype == kind else result.astype(kind)


def linear_backward(
    grad_output: ArrayLike, input: ArrayLike, weight: ArrayLike, *, needs: tuple[bool, bool, bool] = (True, True, True)
) -> tuple[Any, Any, Any]:
    """Gradients of :func:`linear` with respect to input, weight and bias.

    Axes: I input features, O output features; any number of leading axes.

    Parameters
    ----------
    grad_output : array_like of shape (..., O)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (..., I)
        What the forward call was given.
    weight : array_like of shape (O, I)
        What the forward call was given.
    needs : tuple of three bools, default (True, True, True)
        Which gradients to compute: of input, weight, bias.

    Returns
    -------
    tuple of (grad_input, grad_weight, grad_bias)
        ndarrays of the shapes of input and weight and of shape (O,); None where not needed.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not float16, float32 or float64.
    MemoryError
        If result or workspace cannot be had.

    References
    ----------
    .. [1] K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    >>> gx, gw, gb = fc.linear_backward(np.array([[2.0]]), x, w)
    >>> gx, gw, gb
    (array([[6., 8.]]), array([[2., 4.]]), array([2.]))
    """
    op = "linear_backward"
    known: Gradients | None = plan.recall(op, grad_output, input, weight, (needs,))
    if known is not None:
        return known.compute(op, grad_output, input, weight)
    kind, (gy, x, w) = _check.data(op, grad_output=grad_output, input=input, weight=weight)
    wanted = _check.needs(op, needs)
    _weight(op, w)
    rows = _rows(op, "input", x, w.shape[1])
    _check.grad(op, gy, (*x.shape[:-1], w.shape[0]))
    if rows.size == 0:
        return cast(nothing(op, gy, x, w, gy.ndim - 1, wanted), kind)

    def make() -> Gradients:
        (m, n), k, dtype = (len(rows), w.shape[0]), w.shape[1], gy.dtype
        return Gradients(
            _lowering.matmul_plan(m, k, n, dtype, x.shape) if wanted[0] else None,
            _lowering.matmul_plan(n, k, m, dtype, w.shape, turn_a=True) if wanted[1] else None,
            _lowering.channel_sum_plan(gy.shape, gy.ndim - 1, dtype) if wanted[2] else None,
            order=(0, 1),
            product=True,
        )

    found = plan.recipe_of(op, (gy, x, w), (needs,), make)
    return cast(found.compute_any(op, gy, x, w, gy.ndim - 1), kind)
