"""The losses: of classification, and of numbers element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.activation import log_softmax_along, softmax_along
from fastconv.reference.arguments import Array, finish, floats, integers

REDUCTIONS = ("mean", "sum", "none")


# ---------------------------------------------------------------------------------------------------- what they share


def _reduced(losses: Array, reduction: str, dtype: Any, divisor: Any = None) -> Array:
    """Return the losses, their sum, or it by `divisor` (their number); the mean of nothing is NaN."""
    if reduction == "none":
        return finish(losses, dtype)
    total = np.asarray(np.ascontiguousarray(losses).sum())
    if reduction == "sum":
        return finish(total, dtype)
    count = losses.size if divisor is None else divisor
    return finish(np.asarray(total / count if count else np.nan), dtype)


def _each(op: str, gy: Array, shape: tuple[int, ...], reduction: str, divisor: Any) -> Array:
    """Return the gradient of every single loss; where nothing counts, 0."""
    _check_reduction(op, reduction)
    try:
        gy = np.broadcast_to(gy, shape if reduction == "none" else ())
    except ValueError:
        raise ValueError(f"{op}: grad_output must broadcast to the loss's shape, received {gy.shape}") from None
    if reduction == "mean":
        gy = gy / divisor if divisor else np.zeros_like(gy)
    return np.broadcast_to(gy, shape)


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction must be one of {REDUCTIONS}, received reduction={reduction!r}")


# ---------------------------------------------------------------------------------------------------- classification


def _shares(
    op: str, x: Array, target: ArrayLike, weight: Any, ignore_index: int, smoothing: float, classes_only: bool
) -> tuple[int, Array, Any]:
    """Return the axis of the classes, how much of each class is asked for, and what a mean divides by."""
    axis = min(1, x.ndim - 1)
    if x.ndim == 0 or x.shape[axis] == 0:
        raise ValueError(f"{op}: input must have shape (N, C, ...) or (C,) with classes; its shape is {x.shape}")
    count = x.shape[axis]
    w = np.ones(count, x.dtype) if weight is None else np.asarray(weight, x.dtype)
    if w.shape != (count,):
        raise ValueError(f"{op}: weight must have shape ({count},), its shape is {w.shape}")
    w = w.reshape(-1, *(1,) * (x.ndim - axis - 1))
    given = np.asarray(target)
    if given.dtype.kind == "f" and given.shape == x.shape and not classes_only:
        return axis, (given.astype(x.dtype) * (1 - smoothing) + smoothing / count) * w, x.size // count
    classes = integers(op, "target", target)
    if classes.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        raise ValueError(f"{op}: target must have input's shape {x.shape} without the class axis: {classes.shape}")
    counts = classes != ignore_index
    if not ((classes[counts] >= 0) & (classes[counts] < count)).all():
        raise ValueError(f"{op}: target must hold classes from 0 to {count - 1}")
    onehot = np.zeros_like(x)
    for place in np.argwhere(counts):
        onehot[(*place[:axis], classes[tuple(place)], *place[axis:])] = 1
    mask = np.expand_dims(counts, axis)
    shares = (onehot * (1 - smoothing) + smoothing / count) * w * mask
    return axis, shares, (onehot * w).sum()


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Return ``-sum(q * log_softmax(input))``: how little probability the scores give to the true classes.

    Parameters
    ----------
    input : array of shape (N, C, *S), (N, C) or (C,)
        Scores of C classes, any real numbers.
    target : integers of shape (N, *S), (N,) or (), or floating numbers of input's shape
        The true classes, 0 to C - 1, or the probabilities q of all.
    weight : array of shape (C,), optional
        Multiplies q.
    ignore_index : int
        Targets that count nothing.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
        s, of ``(1 - s) * q + s / C``.

    Returns
    -------
    array of shape () or, with "none", of shape (N, *S)
        The mean over no sample is NaN.

    Raises
    ------
    TypeError
        For input other than float16, float32 and float64, and targets that are neither.
    ValueError
        For shapes that do not fit, targets outside the classes, unknown reductions.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import cross_entropy
    >>> cross_entropy(np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0]), reduction="none").round(4)
    array([0.2877, 0.6931])
    """
    op = "cross_entropy"
    dtype, x = floats(op, input=input)
    _check_reduction(op, reduction)
    axis, q, divisor = _shares(op, x, target, weight, ignore_index, label_smoothing, classes_only=False)
    with np.errstate(invalid="ignore"):
        losses = -np.where(q == 0, 0, log_softmax_along(x, axis) * q).sum(axis)
    return _reduced(losses + _nan_where_picked(x, q, axis), reduction, dtype, divisor)


def _nan_where_picked(x: Array, q: Array, axis: int) -> Array:
    """Return NaN where a line that counts has a NaN or +inf, whose log-softmax is NaN throughout; else 0."""
    bad = (np.isnan(x) | (x == np.inf)).any(axis) & (q != 0).any(axis)
    return np.where(bad, np.nan, 0).astype(x.dtype)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Return cross_entropy's gradient by its input: ``softmax(input) * sum(q) - q``, times ``grad_output``.

    ``grad_output`` is broadcast to the loss's shape; "mean" divides by what counts.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import cross_entropy_backward
    >>> cross_entropy_backward(1.0, np.log([[1.0, 3.0]]), np.array([1]))
    array([[ 0.25, -0.25]])
    """
    op = "cross_entropy_backward"
    dtype, gy, x = floats(op, grad_output=grad_output, input=input)
    axis, q, divisor = _shares(op, x, target, weight, ignore_index, label_smoothing, classes_only=False)
    each = np.expand_dims(_each(op, gy, x.shape[:axis] + x.shape[axis + 1 :], reduction, divisor), axis)
    total = q.sum(axis, keepdims=True)
    return finish(np.where(total == 0, 0, (softmax_along(x, axis) * total - q) * each), dtype)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """Return ``-input[target]``: the negative of the true classes' logarithms.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import nll_loss
    >>> nll_loss(np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([0, 1]), reduction="none")
    array([1., 4.])
    """
    dtype, x = floats("nll_loss", input=input)
    _check_reduction("nll_loss", reduction)
    axis, q, divisor = _shares("nll_loss", x, target, weight, ignore_index, 0.0, classes_only=True)
    return _reduced(-np.where(q == 0, 0, x * q).sum(axis), reduction, dtype, divisor)


def nll_loss_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """Return nll_loss's gradient by its input: ``-grad_output`` at the true classes, 0 elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import nll_loss_backward
    >>> nll_loss_backward(1.0, np.array([[-1.0, -2.0]]), np.array([0]))
    array([[-1.,  0.]])
    """
    op = "nll_loss_backward"
    dtype, gy, x = floats(op, grad_output=grad_output, input=input)
    axis, q, divisor = _shares(op, x, target, weight, ignore_index, 0.0, classes_only=True)
    each = _each(op, gy, x.shape[:axis] + x.shape[axis + 1 :], reduction, divisor)
    return finish(np.where(q == 0, 0, -q * np.expand_dims(each, axis)), dtype)


# ---------------------------------------------------------------------------------------------------- numbers


def _pair(op: str, x: Array, t: Array) -> Array:
    if x.shape != t.shape:
        raise ValueError(f"{op}: target must have input's shape {x.shape}, received {t.shape}")
    with np.errstate(invalid="ignore"):
        return np.asarray(x - t)


def _loss(op: str, input: ArrayLike, target: ArrayLike, reduction: str, f: Any) -> Array:
    dtype, x, t = floats(op, input=input, target=target)
    _check_reduction(op, reduction)
    return _reduced(np.asarray(f(_pair(op, x, t))), reduction, dtype)


def _slope(op: str, grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str, f: Any) -> Array:
    dtype, gy, x, t = floats(op, grad_output=grad_output, input=input, target=target)
    return finish(np.asarray(f(_pair(op, x, t)) * _each(op, gy, x.shape, reduction, x.size)), dtype)


def mse_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Return ``(input - target) ** 2``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import mse_loss
    >>> mse_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0]), reduction="none")
    array([0., 9.])
    """
    return _loss("mse_loss", input, target, reduction, lambda d: d * d)


def mse_loss_backward(grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Return mse_loss's gradient by its input, ``2 * (input - target) * grad_output``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import mse_loss_backward
    >>> mse_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    array([ 0., -3.])
    """
    return _slope("mse_loss_backward", grad_output, input, target, reduction, lambda d: 2 * d)


def l1_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Return ``|input - target|``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import l1_loss
    >>> l1_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0]), reduction="none")
    array([0., 3.])
    """
    return _loss("l1_loss", input, target, reduction, np.abs)


def l1_loss_backward(grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Return l1_loss's gradient by its input, ``sign(input - target) * grad_output``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import l1_loss_backward
    >>> l1_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    array([ 0. , -0.5])
    """
    return _slope("l1_loss_backward", grad_output, input, target, reduction, np.sign)


def huber_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", delta: float = 1.0) -> Array:
    """Return ``d**2 / 2`` for errors up to ``delta``, ``delta * (|d| - delta / 2)`` beyond.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import huber_loss
    >>> huber_loss(np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="none")
    array([0.125, 2.5  ])
    """
    return _loss(
        "huber_loss", input, target, reduction,
        lambda d: np.where(abs(d) < delta, d * d / 2, delta * (abs(d) - delta / 2)),
    )  # fmt: skip


def huber_loss_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", delta: float = 1.0
) -> Array:
    """Return huber_loss's gradient by its input, the error between ``-delta`` and ``delta``, times ``grad_output``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import huber_loss_backward
    >>> huber_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="sum")
    array([-0.5, -1. ])
    """
    return _slope("huber_loss_backward", grad_output, input, target, reduction, lambda d: np.clip(d, -delta, delta))


def smooth_l1_loss(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """Return ``d**2 / (2 * beta)`` for errors up to ``beta``, ``|d| - beta / 2`` beyond.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import smooth_l1_loss
    >>> smooth_l1_loss(np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="none", beta=2.0)
    array([0.0625, 2.    ])
    """
    return _loss(
        "smooth_l1_loss", input, target, reduction,
        lambda d: np.where(abs(d) < beta, d * d / (2 * beta or 1), abs(d) - beta / 2),
    )  # fmt: skip


def smooth_l1_loss_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", beta: float = 1.0
) -> Array:
    """Return smooth_l1_loss's gradient by its input, the error by ``beta`` between -1 and 1, times ``grad_output``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import smooth_l1_loss_backward
    >>> smooth_l1_loss_backward(1.0, np.array([1.0, 2.0]), np.array([1.5, 5.0]), reduction="sum", beta=2.0)
    array([-0.25, -1.  ])
    """
    return _slope(
        "smooth_l1_loss_backward", grad_output, input, target, reduction,
        lambda d: np.clip(d / beta, -1, 1) if beta else np.sign(d),
    )  # fmt: skip


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Array:
    """Return ``-weight * (pos_weight * t * log(s) + (1 - t) * log(1 - s))`` with ``s = sigmoid(input)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import binary_cross_entropy_with_logits
    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 0.0]), reduction="sum").round(4)
    np.float64(1000.6931)
    """
    op = "binary_cross_entropy_with_logits"
    dtype, x, t = floats(op, input=input, target=target)
    _check_reduction(op, reduction)
    _pair(op, x, t)
    w, p = (np.ones((), x.dtype) if v is None else np.asarray(v, x.dtype) for v in (weight, pos_weight))
    log_s, log_other = (np.minimum(v, 0) - np.log1p(np.exp(-abs(v))) for v in (x, -x))
    return _reduced(np.asarray(-w * (p * t * log_s + (1 - t) * log_other)), reduction, dtype)


def binary_cross_entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Array:
    """Return its gradient by its input, ``weight * ((1 - t) * s - pos_weight * t * (1 - s)) * grad_output``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import binary_cross_entropy_with_logits_backward
    >>> binary_cross_entropy_with_logits_backward(1.0, np.array([0.0]), np.array([1.0]))
    array([-0.5])
    """
    op = "binary_cross_entropy_with_logits_backward"
    dtype, gy, x, t = floats(op, grad_output=grad_output, input=input, target=target)
    _pair(op, x, t)
    w, p = (np.ones((), x.dtype) if v is None else np.asarray(v, x.dtype) for v in (weight, pos_weight))
    e = np.exp(-abs(x))
    s, other = np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e)
    slope = w * ((1 - t) * s - p * t * other)
    return finish(np.asarray(slope * _each(op, gy, x.shape, reduction, x.size)), dtype)
