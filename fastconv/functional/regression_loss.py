"""Losses of numbers, element by element, each beside its gradient: squared, absolute, Huber's, binary cross entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv._check import Array
from fastconv.functional._map import evaluate
from fastconv.functional._reduction import checked, reduced, scale

__all__ = [
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "huber_loss",
    "huber_loss_backward",
    "l1_loss",
    "l1_loss_backward",
    "mse_loss",
    "mse_loss_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
]

F = TypeVar("F", bound=Callable[..., object])

_COMMON = {
    "<arrays>": """input : array_like of any shape
        What the network says. float16 (computed in float32), float32 or float64.
    target : array_like of the same shape
        What it should say, of the same dtypes.""",
    "<given>": """grad_output : array_like of shape (), or of input's with ``reduction="none"``
        Gradient of the loss, 1 where it is the last step; with "none", one number counts for all.
    input : array_like of any shape
        As given to `<forward>`.
    target : array_like of the same shape
        As given to `<forward>`.""",
    "<reduction>": """reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or one value for each.""",
    "<given reduction>": """reduction : {"mean", "sum", "none"}
        As given to `<forward>`.""",
    "<loss>": """scalar, or ndarray of input's shape
        Of dtype ``np.result_type(input, target)``. The mean of nothing is NaN.""",
    "<grad>": "ndarray of input's shape, of dtype ``np.result_type(grad_output, input, target)``",
    "<raises>": """TypeError
        When a dtype is not float16, float32 or float64, or an option not of its type.
    ValueError
        When the shapes differ, the reduction is unknown, or an option is out of its range.""",
}


def _documented(function: F) -> F:
    text = function.__doc__ or ""
    for name, words in _COMMON.items():
        text = text.replace(f"    {name}\n", f"    {words}\n")
    function.__doc__ = text.replace("<forward>", getattr(function, "__name__", "").removesuffix("_backward"))
    return function


# ---------------------------------------------------------------------------------------------------- distances


@_documented
def mse_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Any:
    """Return the squared error, (input - target)**2.

    Parameters
    ----------
    <arrays>
    <reduction>

    Returns
    -------
    <loss>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> mse_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    np.float64(4.5)
    """
    dtype, _, difference = _difference("mse_loss", reduction, input, target)
    with np.errstate(all="ignore"):
        return reduced(np.square(difference, out=difference), reduction, dtype)


@_documented
def mse_loss_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> NDArray[Any]:
    """Return the gradient of `mse_loss`'s input: 2 * (input - target) * grad_output.

    Parameters
    ----------
    <given>
    <given reduction>

    Returns
    -------
    <grad>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> mse_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    array([ 0., -3.])
    """
    op = "mse_loss_backward"
    dtype, grad, slope = _difference(op, reduction, input, target, grad_output)
    return _back(op, grad, slope, reduction, dtype, 2)


@_documented
def l1_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Any:
    """Return the absolute error, |input - target|.

    Parameters
    ----------
    <arrays>
    <reduction>

    Returns
    -------
    <loss>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> l1_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    np.float64(1.5)
    """
    dtype, _, difference = _difference("l1_loss", reduction, input, target)
    return reduced(np.abs(difference, out=difference), reduction, dtype)


@_documented
def l1_loss_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> NDArray[Any]:
    """Return the gradient of `l1_loss`'s input: sign(input - target) * grad_output, and 0 where they agree.

    Parameters
    ----------
    <given>
    <given reduction>

    Returns
    -------
    <grad>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> l1_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    array([ 0. , -0.5])
    """
    op = "l1_loss_backward"
    dtype, grad, slope = _difference(op, reduction, input, target, grad_output)
    with np.errstate(all="ignore"):
        np.sign(slope, out=slope)
    return _back(op, grad, slope, reduction, dtype)


@_documented
def huber_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", delta: float = 1.0) -> Any:
    """Return Huber's loss: d**2 / 2 for errors d up to delta, and delta * (|d| - delta / 2) beyond.

    Parameters
    ----------
    <arrays>
    <reduction>
    delta : float, default 1
        Where the parabola becomes a line; positive.

    Returns
    -------
    <loss>

    Raises
    ------
    <raises>

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
    >>> huber_loss(np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="none")
    array([0.125, 2.5  ])
    """
    width = _positive("huber_loss", "delta", delta)
    dtype, _, difference = _difference("huber_loss", reduction, input, target)
    return reduced(_bent(difference, width), reduction, dtype)


@_documented
def huber_loss_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", delta: float = 1.0
) -> NDArray[Any]:
    """Return the gradient of `huber_loss`'s input: the error, at most delta, times grad_output.

    Parameters
    ----------
    <given>
    <given reduction>
    delta : float, default 1
        As given to `huber_loss`.

    Returns
    -------
    <grad>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> huber_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="sum")
    array([-0.5, -1. ])
    """
    op = "huber_loss_backward"
    width = _positive(op, "delta", delta)
    dtype, grad, slope = _difference(op, reduction, input, target, grad_output)
    return _back(op, grad, np.clip(slope, -width, width, out=slope), reduction, dtype)


@_documented
def smooth_l1_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", beta: float = 1.0) -> Any:
    """Return the absolute error, rounded at its bottom: d**2 / (2 * beta) up to d = beta, |d| - beta / 2 above.

    Parameters
    ----------
    <arrays>
    <reduction>
    beta : float, default 1
        Where the parabola becomes a line; with 0 it is `l1_loss`.

    Returns
    -------
    <loss>

    Raises
    ------
    <raises>

    References
    ----------
    Girshick, "Fast R-CNN", 2015.

    Examples
    --------
    >>> smooth_l1_loss(np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="none", beta=2.0)
    array([0.0625, 2.    ])
    """
    width = check.real("smooth_l1_loss", "beta", beta, 0)
    dtype, _, difference = _difference("smooth_l1_loss", reduction, input, target)
    if _vanishes(width, difference):
        return reduced(np.abs(difference), reduction, dtype)
    return reduced(_bent(difference, width) * difference.dtype.type(1 / width), reduction, dtype)


@_documented
def smooth_l1_loss_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", beta: float = 1.0
) -> NDArray[Any]:
    """Return the gradient of `smooth_l1_loss`'s input: the error by beta, at most 1, times grad_output.

    Parameters
    ----------
    <given>
    <given reduction>
    beta : float, default 1
        As given to `smooth_l1_loss`.

    Returns
    -------
    <grad>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> smooth_l1_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="sum", beta=2.0)
    array([-0.25, -1.  ])
    """
    op = "smooth_l1_loss_backward"
    width = check.real(op, "beta", beta, 0)
    dtype, grad, slope = _difference(op, reduction, input, target, grad_output)
    with np.errstate(all="ignore"):
        sharp = _vanishes(width, slope)
        slope = np.sign(slope, out=slope) if sharp else np.clip(slope / width, -1, 1, out=slope)
    return _back(op, grad, slope, reduction, dtype)


# ---------------------------------------------------------------------------------------------------- yes or no


@_documented
def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Any:
    """Return the cross entropy of sigmoid(input) and probabilities: -(w * t * log(s) + (1 - t) * log(1 - s)).

    Computed from the scores, so that it neither overflows nor loses digits where s rounds to 0 or 1.

    Parameters
    ----------
    <arrays>
    weight : array_like, optional
        A factor of each loss; its shape broadcasts to input's.
    <reduction>
    pos_weight : array_like, optional
        w, a factor of the positive part; its shape broadcasts to input's.

    Returns
    -------
    <loss>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 0.0]), reduction="none").round(4)
    array([6.931e-01, 1.000e+03])
    """
    op = "binary_cross_entropy_with_logits"
    dtype, (x, t) = check.data(op, input=input, target=target)
    checked(op, reduction)
    _one_shape(op, x, t)
    factor, positive = _factor(op, "weight", weight, x), _factor(op, "pos_weight", pos_weight, x)
    with np.errstate(all="ignore"):
        # -log(s) = log(1 + exp(-|x|)) + max(-x, 0), and -log(1 - s) with max(x, 0): all of one sign, nothing cancels.
        bend = evaluate(op, "softplus", x.dtype, -np.abs(x), None, np.array([1.0, 0.0, 1.0]))
        losses = t * (bend + np.maximum(-x, 0))
        if positive is not None:
            losses = positive * losses
        losses = np.asarray(losses + (1 - t) * (bend + np.maximum(x, 0)), order="C")
        if factor is not None:
            losses *= factor
        return reduced(losses, reduction, dtype)


@_documented
def binary_cross_entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> NDArray[Any]:
    """Return the gradient of `binary_cross_entropy_with_logits`'s input: (s - t) * grad_output, where w is 1.

    Parameters
    ----------
    <given>
    weight, pos_weight : array_like, optional
        As given to `binary_cross_entropy_with_logits`.
    <given reduction>

    Returns
    -------
    <grad>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> binary_cross_entropy_with_logits_backward(1.0, np.array([0.0, 1000.0]), np.array([1.0, 0.0]), reduction="sum")
    array([-0.5,  1. ])
    """
    op = "binary_cross_entropy_with_logits_backward"
    dtype, (grad, x, t) = check.data(op, grad_output=grad_output, input=input, target=target)
    checked(op, reduction)
    _one_shape(op, x, t)
    factor, positive = _factor(op, "weight", weight, x), _factor(op, "pos_weight", pos_weight, x)
    with np.errstate(all="ignore"):
        slope = t * evaluate(op, "sigmoid", x.dtype, np.negative(x))
        if positive is not None:
            slope = positive * slope
        slope = np.subtract((1 - t) * evaluate(op, "sigmoid", x.dtype, x), slope, order="C")
        if factor is not None:
            slope *= factor
    return _back(op, grad, slope, reduction, dtype)


# ---------------------------------------------------------------------------------------------------- what they share


def _difference(
    op: str, reduction: Any, input: Any, target: Any, grad_output: Any = 1.0
) -> tuple[np.dtype[Any], Array, Array]:
    """Return the dtype of the result, the gradient of the loss, and input - target as a new array, all checked."""
    dtype, (grad, x, t) = check.data(op, grad_output=grad_output, input=input, target=target)
    checked(op, reduction)
    _one_shape(op, x, t)
    with np.errstate(all="ignore"):
        return dtype, grad, np.asarray(np.subtract(x, t, order="C"))


def _one_shape(op: str, x: Array, t: Array) -> None:
    if t.shape != x.shape:
        raise ValueError(f"{op}: target must have the shape of input, {x.shape}, received target of shape {t.shape}")


def _back(op: str, grad: Array, slope: Array, reduction: str, dtype: np.dtype[Any], factor: int = 1) -> NDArray[Any]:
    """Return slopes times the gradient of their reduction; `slope` is ours to change."""
    multiplier = scale(op, grad, slope.shape, reduction, slope.size)
    with np.errstate(all="ignore"):
        return np.asarray(np.multiply(slope, factor * multiplier, out=slope if slope.ndim else None), dtype)


def _bent(difference: Array, width: float) -> Array:
    """Return d**2 / 2 for |d| up to width, width * (|d| - width / 2) above; changes its argument. NaN stays."""
    size = np.abs(difference, out=difference if difference.ndim else None)
    inner = np.minimum(size, width)
    with np.errstate(all="ignore"):
        return np.asarray((size - 0.5 * inner) * inner)


def _vanishes(width: float, array: Array) -> bool:
    """Whether a width is 0, or so small that nothing can be divided by it."""
    return width * float(np.finfo(array.dtype).max) < 1


def _positive(op: str, name: str, value: Any) -> float:
    number = check.real(op, name, value)
    if number <= 0:
        raise ValueError(f"{op}: {name} must be positive, received {name}={value!r}")
    return number


def _factor(op: str, name: str, value: Any, x: Array) -> Array | None:
    if value is None:
        return None
    _, (factor,) = check.data(op, **{name: value})
    try:
        np.broadcast_to(factor, x.shape)
    except ValueError:
        raise ValueError(
            f"{op}: {name} must have a shape that broadcasts to input's, {x.shape}, received shape {factor.shape}"
        ) from None
    return np.asarray(factor, x.dtype)
