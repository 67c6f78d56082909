"""Losses of numbers, element by element, each beside its gradient: squared, absolute, Huber's, binary cross entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv._check import Array
from fastconv.functional._losses import Form, difference, losses, slope, slopes
from fastconv.functional._reduction import checked, reduced

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
    return difference("mse_loss", input, target, reduction, (), lambda _: Form("mse"))


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
    return slope("mse_loss_backward", grad_output, input, target, reduction, (), lambda _: Form("mse_grad"))


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
    return difference("l1_loss", input, target, reduction, (), lambda _: Form("l1"))


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
    return slope("l1_loss_backward", grad_output, input, target, reduction, (), lambda _: Form("l1_grad"))


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
    op = "huber_loss"

    def form(_: Array) -> Form:
        return Form("huber", _positive(op, "delta", delta), 1.0)

    return difference(op, input, target, reduction, (delta,), form)


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

    def form(_: Array) -> Form:
        return Form("huber_grad", _positive(op, "delta", delta), 1.0)

    return slope(op, grad_output, input, target, reduction, (delta,), form)


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
    op = "smooth_l1_loss"

    def form(x: Array) -> Form:
        width = check.real(op, "beta", beta, 0)
        return Form("l1") if _vanishes(width, x) else Form("huber", width, 1 / width)

    return difference(op, input, target, reduction, (beta,), form)


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

    def form(x: Array) -> Form:
        width = check.real(op, "beta", beta, 0)
        return Form("l1_grad") if _vanishes(width, x) else Form("huber_grad", 1.0, 1 / width)

    return slope(op, grad_output, input, target, reduction, (beta,), form)


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
    if weight is None and pos_weight is None:
        return difference(op, input, target, reduction, (), lambda _: Form("bce"))
    dtype, (x, t) = check.data(op, input=input, target=target)
    checked(op, reduction)
    check.one_shape(op, x, t)
    factor, positive = _factor(op, "weight", weight, x), _factor(op, "pos_weight", pos_weight, x)
    with np.errstate(all="ignore"):
        each = losses(op, Form("bce"), x, t, positive)
        return reduced(each if factor is None else np.asarray(each * factor), reduction, dtype)


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
    form = Form("bce_grad", each=False)
    if weight is None and pos_weight is None:
        return slope(op, grad_output, input, target, reduction, (), lambda _: form)
    dtype, (grad, x, t) = check.data(op, grad_output=grad_output, input=input, target=target)
    checked(op, reduction)
    check.one_shape(op, x, t)
    factor, positive = _factor(op, "weight", weight, x), _factor(op, "pos_weight", pos_weight, x)
    with np.errstate(all="ignore"):
        each = slopes(op, form, grad, x, t, reduction, positive)
        return np.asarray(each if factor is None else each * factor, dtype)


# ---------------------------------------------------------------------------------------------------- options


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
        return np.broadcast_to(np.asarray(factor, x.dtype), x.shape)
    except ValueError:
        raise ValueError(
            f"{op}: {name} must have a shape that broadcasts to input's, {x.shape}, received shape {factor.shape}"
        ) from None
