"""Losses of classification, each beside its gradient: cross entropy and negative log-likelihood."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import plan
from fastconv._check import Array
from fastconv._engine import Alike
from fastconv.functional._entropy import Entropies, below_maximum, certain, readable
from fastconv.functional._reduction import checked, reduced, scale
from fastconv.functional.softmax import softmax

__all__ = ["cross_entropy", "cross_entropy_backward", "nll_loss", "nll_loss_backward"]


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Return the cross entropy of softmax(input) and the target: -sum(q * log_softmax(input)) over the classes.

    q is 1 at the right class and 0 elsewhere, or the probabilities that the target gives; smoothing takes it to
    ``(1 - label_smoothing) * q + label_smoothing / C``. With weights each class counts ``weight`` times.

    Axes: N samples, C classes, S positions.

    Parameters
    ----------
    input : array_like of shape (N, C), (C,) or (N, C, *S)
        Scores (logits). float16 (computed in float32), float32 or float64.
    target : array_like of shape (N,), () or (N, *S), or of input's shape
        The right classes, integers from 0 to C - 1; or floating probabilities of all classes.
    weight : array_like of shape (C,), optional
        How much each class counts. Of any floating dtype; it does not change that of the result.
    ignore_index : int, default -100
        Targets of this number count nothing. (Not for probabilities.)
    reduction : {"mean", "sum", "none"}
        Mean or sum over all samples and positions, or one value for each. The mean for classes divides by the sum of
        the weights of the targets that count; for probabilities by the number of samples and positions.
    label_smoothing : float, default 0
        From 0 to 1.

    Returns
    -------
    scalar, or ndarray of shape (N, *S)
        Of the dtype of `input`. The mean over an empty batch is NaN, as the mean of nothing.

    Raises
    ------
    TypeError
        When the dtype is another one, or `target` holds neither integers nor probabilities of input's shape.
    ValueError
        When the shapes do not fit, a class is not in 0..C-1, the reduction is unknown, or smoothing not from 0 to 1.

    References
    ----------
    Szegedy et al., "Rethinking the inception architecture for computer vision", 2016 (label smoothing).

    Examples
    --------
    >>> scores = np.log([[0.25, 0.75], [0.5, 0.5]])
    >>> [round(float(loss), 4) for loss in cross_entropy(scores, [1, 0], reduction="none")]
    [0.2877, 0.6931]
    >>> round(float(cross_entropy(scores, [1, 0])), 4)
    0.4904
    >>> round(float(cross_entropy(scores, [1, -100])), 4)
    0.2877
    """
    op, options = "cross_entropy", (Alike(target, weight), ignore_index, reduction, label_smoothing)
    known: Entropies | None = plan.recall(op, input, None, None, options)
    if known is not None and readable(target):
        value = known.value(op, input, target)
        if value is not None:
            return value
    dtype, (x,) = check.data(op, input=input)
    goal = _goal(op, x, target, weight, ignore_index, label_smoothing, probabilities=True)
    checked(op, reduction)
    with np.errstate(all="ignore"):
        if goal.plain and x.size:
            found = _plain(op, x, goal, options, reduction)
            losses = certain(op, found.value(op, check.dense(op, "input", x), np.ascontiguousarray(goal.picks)))
            return _counted(losses, goal, reduction, dtype)
        below = below_maximum(op, x, goal.axis)
        sums = np.exp(below).sum(axis=goal.axis, keepdims=True)
        return reduced(_cross_entropies(below, sums, goal), reduction, dtype, goal.divisor)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> NDArray[Any]:
    """Return the gradient of `cross_entropy`'s input: (softmax(input) * sum(q) - q) * grad_output.

    Parameters
    ----------
    grad_output : array_like of shape (), or of the losses' with ``reduction="none"``
        Gradient of the loss, 1 where it is the last step; with "none", one number counts for all.
    input : array_like of shape (N, C), (C,) or (N, C, *S)
        As given to `cross_entropy`.
    target : array_like of shape (N,), () or (N, *S), or of input's shape
        As given to `cross_entropy`.
    weight : array_like of shape (C,), optional
        As given to `cross_entropy`.
    ignore_index, reduction, label_smoothing
        As given to `cross_entropy`.

    Returns
    -------
    ndarray of input's shape, of dtype ``np.result_type(grad_output, input)``
        A Python number as `grad_output` leaves it that of `input`. Where no target counts, zeros.

    Raises
    ------
    TypeError
        As `cross_entropy`.
    ValueError
        As `cross_entropy`, or when `grad_output` has another shape.

    Examples
    --------
    >>> cross_entropy_backward(1.0, np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0])
    array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]])
    """
    op, options = "cross_entropy_backward", (Alike(target, weight), ignore_index, reduction, label_smoothing)
    known = _recalled(op, grad_output, input, target, reduction, options)
    if known is not None:
        return known
    dtype, (grad, x) = check.data(op, grad_output=grad_output, input=input)
    goal = _goal(op, x, target, weight, ignore_index, label_smoothing, probabilities=True)
    checked(op, reduction)
    factor = scale(op, grad, goal.loss_shape(x), reduction, goal.divisor)
    with np.errstate(all="ignore"):
        if goal.plain and x.size:
            return np.asarray(_plain_gradient(op, grad_output, grad, x, goal, reduction, options), dtype)
        return np.asarray(_slopes(softmax(x, goal.axis), goal, factor), dtype)


def cross_entropy_and_gradient(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None, ignore_index: int, reduction: str, smoothing: float
) -> tuple[Any, NDArray[Any]]:
    """Return what `cross_entropy` and, for a gradient of 1, `cross_entropy_backward` return, with one exponential."""
    op, options = "cross_entropy", (Alike(target, weight), ignore_index, reduction, smoothing, "both")
    known: Entropies | None = plan.recall(op, input, None, None, options)
    if known is not None and readable(target):
        both = known.both(op, input, target, 1 / known.samples if reduction == "mean" else 1.0)
        if both[1] is not None:
            return both
    dtype, (x,) = check.data(op, input=input)
    goal = _goal(op, x, target, weight, ignore_index, smoothing, probabilities=True)
    checked(op, reduction)
    factor = scale(op, np.ones((), x.dtype), goal.loss_shape(x), reduction, goal.divisor)
    with np.errstate(all="ignore"):
        if goal.plain and x.size:
            found = _plain(op, x, goal, options, reduction, slopes=True)
            dense, picks = check.dense(op, "input", x), np.ascontiguousarray(goal.picks)
            losses, slopes = found.both(op, dense, picks, _share(1.0, goal, reduction))
            slopes = _ignoring(certain(op, slopes), goal)
            return _counted(losses, goal, reduction, dtype), np.asarray(slopes, dtype)
        below = below_maximum(op, x, goal.axis)
        sums = np.exp(below).sum(axis=goal.axis, keepdims=True)
        loss = reduced(_cross_entropies(below, sums, goal), reduction, dtype, goal.divisor)
        return loss, np.asarray(_slopes(softmax(x, goal.axis), goal, factor), dtype)


def _cross_entropies(below: Array, sums: Array, goal: _Goal) -> Array:
    """Return the losses of scores below their maximum, whose exponentials add up to `sums`; changes `below`."""
    logs = np.log(sums)
    if goal.plain:
        return goal.counting(logs.squeeze(goal.axis) - below.reshape(-1)[goal.places(below.shape)])
    below -= logs
    return goal.counting(-(below * goal.shares(below)).sum(axis=goal.axis))


def _plain(
    op: str,
    x: Array,
    goal: _Goal,
    options: tuple[Any, ...],
    reduction: str = "none",
    *,
    slopes: bool = False,
    each: bool = False,
) -> Entropies:
    """Return the recipe of an input with right classes that count alike.

    A later call finds it by `options` alone, unless the number of a class is ignored. Where some are, their losses have
    to be left out of the sum.
    """
    if goal.ignored is not None:
        reduction = "none"
    alike = goal.ignored is None and not each and not 0 <= goal.ignore < x.shape[goal.axis]
    key = options if alike else (*options, reduction, each)

    def make() -> Entropies:
        return Entropies.of(_form(op), x, goal.axis, reduction, slopes=slopes, each=each)

    return plan.recipe_of(op, (x, None, None), key, make)


def _recalled(
    op: str, grad_output: Any, input: Any, target: Any, reduction: str, options: tuple[Any, ...]
) -> Array | None:
    """Return the gradient of a call that looks like an earlier one, if all targets are classes."""
    if type(grad_output) is not float or not readable(target):
        return None
    known: Entropies | None = plan.recall(op, input, None, None, options)
    if known is None:
        return None
    share = grad_output / known.samples if reduction == "mean" else grad_output
    slopes: Array | None = known.gradient(op, input, target, share)
    return slopes


def _plain_gradient(
    op: str, grad_output: Any, grad: Array, x: Array, goal: _Goal, reduction: str, options: tuple[Any, ...]
) -> Array:
    dense, picks = check.dense(op, "input", x), np.ascontiguousarray(goal.picks)
    share: float | Array = grad
    if not grad.ndim:  # the bits are those of a call that is recalled
        share = _share(grad_output if type(grad_output) is float else float(grad), goal, reduction)
    found = _plain(op, x, goal, options, slopes=True, each=grad.ndim > 0)
    return _ignoring(certain(op, found.gradient(op, dense, picks, share)), goal)


def _form(op: str) -> str:
    return "nll" if op.startswith("nll") else "cross_entropy"


def _counted(losses: Any, goal: _Goal, reduction: str, dtype: np.dtype[Any]) -> Any:
    if goal.ignored is None:
        return np.asarray(losses, dtype) if reduction == "none" else dtype.type(losses)
    return reduced(goal.counting(losses), reduction, dtype, goal.divisor)


def _share(grad: float, goal: _Goal, reduction: str) -> float:
    """Return what multiplies the gradients of single losses."""
    return grad if reduction != "mean" else grad / goal.divisor if goal.divisor != 0 else 0.0


def _ignoring(slopes: Array, goal: _Goal) -> Array:
    """Set gradients to 0 where the target is ignored, in place."""
    if goal.ignored is not None:
        np.copyto(slopes, 0, where=np.expand_dims(goal.ignored, goal.axis))
    return slopes


def _slopes(result: Array, goal: _Goal, factor: Array) -> Array:
    """Turn softmax(input) into the gradient, in place."""
    if goal.plain:
        result.reshape(-1)[goal.places(result.shape)] -= 1
    else:
        shares = goal.shares(result)
        result *= shares.sum(axis=goal.axis, keepdims=True)
        result -= shares
    result *= np.expand_dims(factor, goal.axis) if factor.ndim else factor
    return _ignoring(result, goal)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Return the negative log-likelihood of the right classes: -input[target]. After `log_softmax` it is cross entropy.

    Axes: N samples, C classes, S positions.

    Parameters
    ----------
    input : array_like of shape (N, C), (C,) or (N, C, *S)
        Logarithms of probabilities. float16 (computed in float32), float32 or float64.
    target : array_like of shape (N,), () or (N, *S)
        The right classes: integers from 0 to C - 1.
    weight : array_like of shape (C,), optional
        How much each class counts.
    ignore_index : int, default -100
        Targets of this number count nothing.
    reduction : {"mean", "sum", "none"}
        As for `cross_entropy`.

    Returns
    -------
    scalar, or ndarray of target's shape
        Of the dtype of `input`.

    Raises
    ------
    TypeError
        When the dtype is another one, or `target` does not hold integers.
    ValueError
        When the shapes do not fit, a class is not in 0..C-1, or the reduction is unknown.

    Examples
    --------
    >>> nll_loss(np.array([[-1.0, -2.0], [-3.0, -4.0]]), [0, 1])
    np.float64(2.5)
    """
    op, options = "nll_loss", (Alike(target, weight), ignore_index, reduction)
    known: Entropies | None = plan.recall(op, input, None, None, options)
    if known is not None and readable(target):
        value = known.value(op, input, target)
        if value is not None:
            return value
    dtype, (x,) = check.data(op, input=input)
    goal = _goal(op, x, target, weight, ignore_index, 0.0, probabilities=False)
    checked(op, reduction)
    with np.errstate(all="ignore"):
        if goal.plain and x.size:
            found = _plain(op, x, goal, options, reduction)
            losses = certain(op, found.value(op, check.dense(op, "input", x), np.ascontiguousarray(goal.picks)))
            return _counted(losses, goal, reduction, dtype)
        losses = np.negative(np.asarray(x, order="C").reshape(-1)[goal.places(x.shape)])
        if goal.weight is not None:
            losses *= goal.weight[goal.picks]
        return reduced(goal.counting(losses), reduction, dtype, goal.divisor)


def nll_loss_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> NDArray[Any]:
    """Return the gradient of `nll_loss`'s input: -grad_output at the right classes, and 0 elsewhere.

    Parameters
    ----------
    grad_output : array_like of shape (), or of target's with ``reduction="none"``
        Gradient of the loss; with "none", one number counts for all.
    input : array_like of shape (N, C), (C,) or (N, C, *S)
        As given to `nll_loss`; its shape counts and its dtype.
    target : array_like of shape (N,), () or (N, *S)
        As given to `nll_loss`.
    weight : array_like of shape (C,), optional
        As given to `nll_loss`.
    ignore_index, reduction
        As given to `nll_loss`.

    Returns
    -------
    ndarray of input's shape, of dtype ``np.result_type(grad_output, input)``

    Raises
    ------
    TypeError
        As `nll_loss`.
    ValueError
        As `nll_loss`, or when `grad_output` has another shape.

    Examples
    --------
    >>> nll_loss_backward(1.0, np.array([[-1.0, -2.0], [-3.0, -4.0]]), [0, 1])
    array([[-0.5,  0. ],
           [ 0. , -0.5]])
    """
    op, options = "nll_loss_backward", (Alike(target, weight), ignore_index, reduction)
    known = _recalled(op, grad_output, input, target, reduction, options)
    if known is not None:
        return known
    dtype, (grad, x) = check.data(op, grad_output=grad_output, input=input)
    goal = _goal(op, x, target, weight, ignore_index, 0.0, probabilities=False)
    checked(op, reduction)
    factor = scale(op, grad, goal.loss_shape(x), reduction, goal.divisor)
    if goal.plain and x.size:
        return np.asarray(_plain_gradient(op, grad_output, grad, x, goal, reduction, options), dtype)
    result = check.result(op, x.shape, grad.dtype, zero=True)
    with np.errstate(all="ignore"):
        each = np.broadcast_to(-factor, goal.loss_shape(x))
        if goal.weight is not None:
            each = each * goal.weight[goal.picks]
        result.reshape(-1)[goal.places(x.shape)] = goal.counting(each)
    return np.asarray(result, dtype)


# ---------------------------------------------------------------------------------------------------- targets


class _Goal(NamedTuple):
    """Checked targets and how they count."""

    axis: int  # of the classes
    picks: Any  # right classes as int64, 0 where ignored; None for probabilities
    ignored: Array | None  # where targets are ignored; None: nowhere
    probabilities: Array | None
    weight: Array | None
    smoothing: float
    divisor: Any  # of a mean
    ignore: int = -1  # the number that is ignored

    @property
    def plain(self) -> bool:
        """Whether q is 1 at one class and 0 elsewhere."""
        return self.picks is not None and self.weight is None and self.smoothing == 0

    def places(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return where, in a flat array of scores of this shape, the right classes stand."""
        before, after = prod(shape[: self.axis]), prod(shape[self.axis + 1 :])
        places = self.picks.reshape(before, after) * after
        places += np.arange(before)[:, None] * (shape[self.axis] * after)
        places += np.arange(after)
        return np.asarray(places.reshape(self.picks.shape))

    def shares(self, x: Array) -> Array:
        """Return q times the weights, in the shape of the input."""
        classes = x.shape[self.axis]
        if self.probabilities is not None:
            q = self.probabilities * (1 - self.smoothing) + self.smoothing / classes
        else:
            q = np.full(x.shape, self.smoothing / classes, x.dtype)
            q.reshape(-1)[self.places(x.shape)] = 1 - self.smoothing + self.smoothing / classes
        if self.weight is not None:
            q *= self.weight.reshape(-1, *(1,) * (x.ndim - self.axis - 1))
        return np.asarray(q)

    def counting(self, losses: Array) -> Array:
        """Return losses, 0 where ignored."""
        return losses if self.ignored is None else np.where(self.ignored, 0, losses)

    def loss_shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of the losses of input x."""
        return x.shape[: self.axis] + x.shape[self.axis + 1 :]


def _goal(
    op: str, x: Array, target: ArrayLike, weight: Any, ignore_index: Any, label_smoothing: Any, *, probabilities: bool
) -> _Goal:
    if x.ndim == 0:
        raise ValueError(f"{op}: input must have shape (N, C), (C,) or (N, C, *S), received input of shape ()")
    axis = min(1, x.ndim - 1)
    classes = x.shape[axis]
    if classes == 0:
        raise ValueError(f"{op}: input must have a class at least, received input of shape {x.shape}")
    weights = _class_weights(op, weight, classes, x.dtype)
    ignore = check.integer(op, "ignore_index", ignore_index)
    smoothing = check.real(op, "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{op}: label_smoothing must be from 0 to 1, received label_smoothing={label_smoothing!r}")
    labels = np.asarray(target)
    if probabilities and labels.dtype.kind == "f" and labels.dtype.itemsize <= 8 and labels.shape == x.shape:
        return _Goal(axis, None, None, labels.astype(x.dtype), weights, smoothing, max(x.size // classes, 0))
    kept, picks = _right_classes(op, x, axis, target, labels, ignore)
    ignored = None if kept is None else ~kept
    if weights is None:
        divisor: Any = picks.size if kept is None else int(np.count_nonzero(kept))
    else:
        counted = weights[picks] if ignored is None else np.where(ignored, 0, weights[picks])
        divisor = counted.sum()
    return _Goal(axis, picks, ignored, None, weights, smoothing, divisor, ignore)


def _right_classes(
    op: str, x: Array, axis: int, target: Any, labels: Array, ignore: int
) -> tuple[Array | None, NDArray[np.int64]]:
    """Return where targets count (None: everywhere), and the targets, 0 elsewhere."""
    expected, classes = x.shape[:axis] + x.shape[axis + 1 :], x.shape[axis]
    if labels.shape != expected:
        raise ValueError(
            f"{op}: target must have shape {expected} for input of shape {x.shape}, "
            f"received target of shape {labels.shape}"
        )
    if labels.size == 0 and not hasattr(target, "dtype"):
        labels = labels.astype(np.int64)  # NumPy makes floats of an empty list
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: target must hold integers (class numbers), received target of dtype {labels.dtype}")
    kept = np.asarray(labels != ignore)
    counting = labels[kept]
    low, high = counting.min(initial=0), counting.max(initial=0)
    if low < 0 or high >= classes:
        raise ValueError(
            f"{op}: target must hold classes from 0 to {classes - 1}, received target with {low if low < 0 else high}"
        )
    picks = labels.astype(np.int64, copy=False)
    if kept.all():
        return None, picks
    return kept, np.where(kept, picks, 0)


def _class_weights(op: str, weight: Any, classes: int, dtype: np.dtype[Any]) -> Array | None:
    if weight is None:
        return None
    _, (weights,) = check.data(op, weight=weight)
    if weights.shape != (classes,):
        raise ValueError(f"{op}: weight must have shape ({classes},), one per class, received shape {weights.shape}")
    return np.asarray(weights, dtype)
