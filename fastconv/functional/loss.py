"""Loss functions, each beside its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv.functional.softmax import below_maximum, softmax

__all__ = ["cross_entropy", "cross_entropy_backward"]

_REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Any:
    """Return the cross entropy of softmax(input) and the right classes: -log_softmax(input)[target].

    Parameters
    ----------
    input : array_like of shape (N, C), (C,) or (N, C, *S)
        Scores (logits) of C classes for N samples, for each of the positions S. float16 (computed in float32),
        float32 or float64.
    target : array_like of shape (N,), () or (N, *S)
        The right classes: integers from 0 to C - 1.
    reduction : {"mean", "sum", "none"}
        Mean or sum over all samples and positions, or one value for each.

    Returns
    -------
    scalar, or ndarray of target's shape
        Of the dtype of `input`. The mean over an empty batch is NaN, as the mean of nothing.

    Raises
    ------
    TypeError
        When the dtype is another one, or `target` does not hold integers.
    ValueError
        When the shapes do not fit, a class is not in 0..C-1, or the reduction is unknown.

    Examples
    --------
    >>> scores = np.log([[0.25, 0.75], [0.5, 0.5]])
    >>> [round(float(loss), 4) for loss in cross_entropy(scores, [1, 0], reduction="none")]
    [0.2877, 0.6931]
    >>> round(float(cross_entropy(scores, [1, 0])), 4)
    0.4904
    """
    dtype, [x] = check.data("cross_entropy", input=input)
    axis, picks = _right_classes("cross_entropy", x, target)
    check.choice("cross_entropy", "reduction", reduction, _REDUCTIONS)
    with np.errstate(all="ignore"):
        y = below_maximum(x, axis)
        losses = -np.take_along_axis(y, picks, axis)
        np.exp(y, out=y)
        losses += np.log(y.sum(axis=axis, keepdims=True))
        if reduction == "none":
            return np.asarray(losses.squeeze(axis), dtype)
        total = losses.sum()
        return dtype.type(total / losses.size if reduction == "mean" else total)


def cross_entropy_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> NDArray[Any]:
    """Return the gradient of `cross_entropy`'s input: (softmax(input) - onehot(target)) * grad_output.

    With the mean, it is divided by the number of samples and positions.

    Parameters
    ----------
    grad_output : array_like of shape (), or of target's with ``reduction="none"``
        Gradient of the loss, 1 where it is the last step; with "none", one number counts for all.
    input : array_like of shape (N, C), (C,) or (N, C, *S)
        As given to `cross_entropy`.
    target : array_like of shape (N,), () or (N, *S)
        As given to `cross_entropy`.
    reduction : {"mean", "sum", "none"}
        As given to `cross_entropy`.

    Returns
    -------
    ndarray of input's shape, of dtype ``np.result_type(grad_output, input)``
        A Python number as `grad_output` leaves it that of `input`.

    Raises
    ------
    TypeError
        When a dtype is not float16, float32 or float64, or `target` does not hold integers.
    ValueError
        When the shapes do not fit, a class is not in 0..C-1, or the reduction is unknown.

    Examples
    --------
    >>> cross_entropy_backward(1.0, np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0])
    array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]])
    """
    op = "cross_entropy_backward"
    dtype, [grad, x] = check.data(op, grad_output=grad_output, input=input)
    axis, picks = _right_classes(op, x, target)
    check.choice(op, "reduction", reduction, _REDUCTIONS)
    expected = picks.squeeze(axis).shape if reduction == "none" else ()
    if grad.shape not in (expected, ()):
        raise ValueError(
            f"{op}: grad_output must have shape {expected} for reduction={reduction!r}, or be one number, "
            f"received grad_output of shape {grad.shape}"
        )
    with np.errstate(all="ignore"):
        result = softmax(x, axis)
        np.put_along_axis(result, picks, np.take_along_axis(result, picks, axis) - 1, axis)
        scale = grad / max(1, picks.size) if reduction == "mean" else grad
        result *= np.expand_dims(scale, axis) if scale.ndim else scale
    return np.asarray(result, dtype)


def _right_classes(op: str, x: NDArray[Any], target: ArrayLike) -> tuple[int, NDArray[np.int64]]:
    """Return the axis of the classes, and the targets with that axis put in, checked."""
    if x.ndim == 0:
        raise ValueError(f"{op}: input must have shape (N, C), (C,) or (N, C, *S), received input of shape ()")
    axis = min(1, x.ndim - 1)
    classes = x.shape[axis]
    if classes == 0:
        raise ValueError(f"{op}: input must have a class at least, received input of shape {x.shape}")
    labels = np.asarray(target)
    expected = x.shape[:axis] + x.shape[axis + 1 :]
    if labels.shape != expected:
        raise ValueError(
            f"{op}: target must have shape {expected} for input of shape {x.shape}, "
            f"received target of shape {labels.shape}"
        )
    if labels.size == 0 and not hasattr(target, "dtype"):
        labels = labels.astype(np.int64)  # NumPy makes floats of an empty list
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: target must hold integers (class numbers), received target of dtype {labels.dtype}")
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < 0 or high >= classes:
        raise ValueError(
            f"{op}: target must hold classes from 0 to {classes - 1}, received target with {low if low < 0 else high}"
        )
    return axis, np.expand_dims(labels.astype(np.int64, copy=False), axis)
