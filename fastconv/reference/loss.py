"""The classification loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.activation import log_softmax_along, softmax_along
from fastconv.reference.arguments import Array, finish, floats, integers

REDUCTIONS = ("mean", "sum", "none")


def _check(op: str, x: Array, target: ArrayLike, reduction: str) -> tuple[int, Array]:
    """Return the class axis of x (N, C, *S) or (C,), and the targets (N, 1, *S) or (1,) with that axis kept."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction must be one of {REDUCTIONS}, received reduction={reduction!r}")
    axis = min(1, x.ndim - 1)
    if x.ndim == 0 or x.shape[axis] == 0:
        raise ValueError(f"{op}: input must have shape (N, C, ...) or (C,) with classes; its shape is {x.shape}")
    classes = integers(op, "target", target)
    if classes.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        raise ValueError(f"{op}: target must have input's shape {x.shape} without the class axis: {classes.shape}")
    if classes.size and not 0 <= classes.min() <= classes.max() < x.shape[axis]:
        raise ValueError(
            f"{op}: target must hold classes from 0 to {x.shape[axis] - 1}; it holds {classes.min()} to {classes.max()}"
        )
    return axis, np.expand_dims(classes, axis)


def cross_entropy(input: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Return ``-log(softmax(input)[target])``: how little probability the scores give to the true classes.

    Parameters
    ----------
    input : array of shape (N, C, *S), (N, C) or (C,)
        Scores of C classes, any real numbers.
    target : integers of shape (N, *S), (N,) or ()
        The true classes, 0 to C - 1.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    array of shape () or, with "none", of the target's shape
        The mean over no sample is NaN.

    Raises
    ------
    TypeError
        For input other than float16, float32 and float64, and targets that are not integers.
    ValueError
        For shapes that do not fit, targets outside the classes, unknown reductions.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import cross_entropy
    >>> cross_entropy(np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0]), reduction="none").round(4)
    array([0.2877, 0.6931])
    """
    dtype, x = floats("cross_entropy", input=input)
    axis, classes = _check("cross_entropy", x, target, reduction)
    losses = -np.take_along_axis(log_softmax_along(x, axis), classes, axis).squeeze(axis)
    if reduction == "none":
        return finish(losses, dtype)
    total = np.asarray(losses.sum())
    if reduction == "sum":
        return finish(total, dtype)
    return finish(np.asarray(total / losses.size if losses.size else np.nan), dtype)


def cross_entropy_backward(
    grad_output: ArrayLike, input: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> Array:
    """Return cross_entropy's gradient by its input: ``softmax(input) - onehot(target)``, times ``grad_output``.

    ``grad_output`` is broadcast to the loss's shape; "mean" divides by the number of targets.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import cross_entropy_backward
    >>> cross_entropy_backward(1.0, np.log([[1.0, 3.0]]), np.array([1]))
    array([[ 0.25, -0.25]])
    """
    op = "cross_entropy_backward"
    dtype, gy, x = floats(op, grad_output=grad_output, input=input)
    axis, classes = _check(op, x, target, reduction)
    loss_shape = classes.squeeze(axis).shape if reduction == "none" else ()
    try:
        gy = np.broadcast_to(gy, loss_shape)
    except ValueError:
        raise ValueError(
            f"{op}: grad_output must broadcast to the loss's shape {loss_shape}, received {gy.shape}"
        ) from None
    gx = softmax_along(x, axis)
    onehot = np.zeros_like(x)
    np.put_along_axis(onehot, classes, 1, axis)
    scale = gy if reduction != "mean" else gy / max(classes.size, 1)
    return finish((gx - onehot) * (np.expand_dims(scale, axis) if scale.ndim else scale), dtype)
