"""How right a classifier is: accuracy, top-k accuracy, the confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check

__all__ = ["accuracy", "confusion_matrix", "top_k_accuracy"]


def accuracy(input: ArrayLike, target: ArrayLike) -> float:
    """Return the share of samples whose highest score is that of the right class.

    Axes: N samples, C classes, S positions.

    Parameters
    ----------
    input : array_like of shape (N, C) or (N, C, *S)
        Scores or probabilities. Of equal ones the first class counts; a sample with a NaN is wrong.
    target : array_like of shape (N,) or (N, *S)
        The right classes: integers.

    Returns
    -------
    float
        From 0 to 1; NaN of nothing.

    Raises
    ------
    TypeError
        When `input` is not float16, float32 or float64, or `target` does not hold integers.
    ValueError
        When the shapes do not fit or a class is not in 0..C-1.

    Examples
    --------
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), [1, 0, 0])
    0.6666666666666666
    """
    scores, labels = _samples("accuracy", input, target)
    right = best_classes(scores) == labels
    return float(right.mean()) if right.size else float("nan")


def top_k_accuracy(input: ArrayLike, target: ArrayLike, k: int = 5) -> float:
    """Return the share of samples for which fewer than `k` classes score higher than the right one.

    Axes: N samples, C classes, S positions.

    Parameters
    ----------
    input : array_like of shape (N, C) or (N, C, *S)
        Scores or probabilities. Of equal ones earlier classes come first, so that ``k=1`` is `accuracy`; a sample with
        a NaN is wrong.
    target : array_like of shape (N,) or (N, *S)
        The right classes: integers.
    k : int, default 5
        How many guesses a sample has.

    Returns
    -------
    float
        From 0 to 1; NaN of nothing.

    Raises
    ------
    TypeError
        When `input` is not float16, float32 or float64, or `target` or `k` are not integers.
    ValueError
        When the shapes do not fit, a class is not in 0..C-1, or `k` is not positive.

    Examples
    --------
    >>> top_k_accuracy(np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]]), [2, 1], k=2)
    0.5
    """
    op = "top_k_accuracy"
    count = check.integer(op, "k", k, 1)
    scores, labels = _samples(op, input, target)
    if not labels.size:
        return float("nan")
    own = np.take_along_axis(scores, labels[:, None], 1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    with np.errstate(invalid="ignore"):
        ahead = ((scores > own) | ((scores == own) & earlier)).sum(1)
    return float(((ahead < count) & ~np.isnan(scores).any(1)).mean())


def confusion_matrix(input: ArrayLike, target: ArrayLike, num_classes: int | None = None) -> NDArray[np.int64]:
    """Count how often each class is taken for each other one.

    Axes: N samples, C classes, S positions.

    Parameters
    ----------
    input : array_like of shape (N, C) or (N, C, *S), or of target's shape
        Scores, of which the highest counts; or predicted classes as integers.
    target : array_like of shape (N,) or (N, *S)
        The right classes: integers.
    num_classes : int, optional
        C; needed where predicted classes are given and the highest class may not be among them.

    Returns
    -------
    ndarray of int64, of shape (C, C)
        Element [i, j] counts the samples of class i that were taken for class j: those on the diagonal are right.

    Raises
    ------
    TypeError
        When `input` is neither floating nor integers, `target` does not hold integers, or `num_classes` is none.
    ValueError
        When the shapes do not fit or a class is out of range; scores with NaN among them.

    Examples
    --------
    >>> confusion_matrix([1, 0, 1, 2], [1, 0, 0, 2])
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    op = "confusion_matrix"
    given = np.asarray(input)
    if given.size == 0 and not hasattr(input, "dtype"):
        given = given.astype(np.int64)  # NumPy makes floats of an empty list
    if given.dtype.kind in "iu":
        classes = None if num_classes is None else check.integer(op, "num_classes", num_classes, 1)
        labels = _integers(op, "target", target)
        if given.shape != labels.shape:
            raise ValueError(
                f"{op}: input must have the shape of target, {labels.shape}, where it holds classes, "
                f"received shape {given.shape}"
            )
        if classes is None:
            classes = 1 + int(max(given.max(initial=0), labels.max(initial=0)))
        for name, array in (("input", given), ("target", labels)):
            _in_range(op, name, array, classes)
        predicted, labels = given.ravel().astype(np.int64), labels.ravel()
    else:
        scores, labels = _samples(op, input, target)
        classes = scores.shape[1]
        if num_classes is not None and check.integer(op, "num_classes", num_classes, 1) != classes:
            raise ValueError(f"{op}: num_classes must be {classes}, as input has, received num_classes={num_classes}")
        predicted = best_classes(scores)
        if (predicted < 0).any():
            raise ValueError(f"{op}: input must not hold NaN, received {int((predicted < 0).sum())} samples with some")
    check.countable(op, (classes, classes), np.dtype(np.int64))
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64, copy=False)


def best_classes(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class with the highest score, and -1 where one is NaN."""
    return np.where(np.isnan(scores).any(1), -1, scores.argmax(1))


def _samples(op: str, input: ArrayLike, target: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return scores (samples, C) and targets (samples,), positions counting as samples."""
    _, (scores,) = check.data(op, input=input)
    if scores.ndim < 2 or scores.shape[1] == 0:
        raise ValueError(f"{op}: input must have shape (N, C) or (N, C, *S) with classes, received {scores.shape}")
    labels = _integers(op, "target", target)
    expected = (scores.shape[0], *scores.shape[2:])
    if labels.shape != expected:
        raise ValueError(
            f"{op}: target must have shape {expected} for input of shape {scores.shape}, received {labels.shape}"
        )
    _in_range(op, "target", labels, scores.shape[1])
    return np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1]), labels.ravel()


def _integers(op: str, name: str, value: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(value)
    if array.size == 0 and not hasattr(value, "dtype"):
        array = array.astype(np.int64)  # NumPy makes floats of an empty list
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must hold integers (class numbers), received {name} of dtype {array.dtype}")
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError(f"{op}: {name} must hold classes, received {name} with {array.max()}")
    return array.astype(np.int64, copy=False)


def _in_range(op: str, name: str, array: NDArray[Any], classes: int) -> None:
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high >= classes:
        raise ValueError(
            f"{op}: {name} must hold classes from 0 to {classes - 1}, received {name} with {low if low < 0 else high}"
        )
