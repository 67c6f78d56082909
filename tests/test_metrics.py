"""Accuracy, top-k accuracy and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import metrics


def test_known_values() -> None:
    scores = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]])
    assert metrics.accuracy(scores, [1, 0, 2, 1]) == 0.75  # of equal scores the first counts
    assert metrics.top_k_accuracy(scores, [1, 0, 2, 1], k=1) == 0.75
    assert metrics.top_k_accuracy(scores, [2, 1, 0, 1], k=2) == 0.5
    assert metrics.top_k_accuracy(scores, [2, 1, 1, 2], k=3) == 1.0
    assert metrics.confusion_matrix(scores, [1, 1, 2, 1]).tolist() == [[0, 0, 0], [2, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("shape", [(50, 4), (3, 4, 5, 6)])
def test_agree_with_sorting(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, shape).astype(np.float32)  # with equal ones
    target = rng.integers(0, 4, shape[:1] + shape[2:])
    ranks = np.argsort(-scores, axis=1, kind="stable")
    for k in range(1, 6):
        right = (ranks[:, :k] == np.expand_dims(target, 1)).any(1).mean()
        assert metrics.top_k_accuracy(scores, target, k) == right
    assert metrics.accuracy(scores, target) == metrics.top_k_accuracy(scores, target, 1)
    table = metrics.confusion_matrix(scores, target)
    for i, j in np.ndindex(4, 4):
        assert table[i, j] == ((target == i) & (scores.argmax(1) == j)).sum()
    np.testing.assert_array_equal(metrics.confusion_matrix(scores.argmax(1), target, num_classes=4), table)
    assert np.trace(table) / table.sum() == metrics.accuracy(scores, target)


def test_nan_is_wrong_and_nothing_is_nan() -> None:
    scores = np.array([[np.nan, 1.0], [0.0, 1.0]])
    assert metrics.accuracy(scores, [0, 1]) == metrics.accuracy(scores, [1, 1]) == 0.5
    assert metrics.top_k_accuracy(scores, [0, 1], 2) == 0.5
    assert np.isnan(metrics.accuracy(np.zeros((0, 3)), []))
    assert np.isnan(metrics.top_k_accuracy(np.zeros((0, 3)), []))
    assert metrics.confusion_matrix([], [], num_classes=2).tolist() == [[0, 0], [0, 0]]


def test_classes_are_counted_where_they_are_not_told() -> None:
    assert metrics.confusion_matrix([0, 2], [1, 1]).shape == (3, 3)
    assert metrics.confusion_matrix([0, 2], [1, 1], 5).shape == (5, 5)


S = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy(S, [0]), ValueError, r"accuracy: target must have shape \(2,\)"),
        (lambda: metrics.accuracy(S, [0, 3]), ValueError, "accuracy: target must hold classes from 0 to 2, received"),
        (lambda: metrics.accuracy(S, [0.0, 1.0]), TypeError, "accuracy: target must hold integers"),
        (lambda: metrics.accuracy(S.astype(int), [0, 1]), TypeError, "accuracy: input must be float16"),
        (lambda: metrics.accuracy(S[0], [0]), ValueError, r"accuracy: input must have shape \(N, C\)"),
        (lambda: metrics.accuracy(S[:, :0], [0, 0]), ValueError, "accuracy: input must have shape .* with classes"),
        (lambda: metrics.top_k_accuracy(S, [0, 1], 0), ValueError, "top_k_accuracy: k must be positive"),
        (lambda: metrics.top_k_accuracy(S, [0, 1], 1.0), TypeError, "top_k_accuracy: k must be made of integers"),
        (lambda: metrics.confusion_matrix(S, [0, 1], 4), ValueError, "confusion_matrix: num_classes must be 3"),
        (lambda: metrics.confusion_matrix([0], [0, 1]), ValueError, "confusion_matrix: input must have the shape of"),
        (lambda: metrics.confusion_matrix([0, 5], [0, 1], 3), ValueError, "confusion_matrix: input must hold classes"),
        (lambda: metrics.confusion_matrix([0, -1], [0, 1]), ValueError, "confusion_matrix: input .*received .* -1"),
        (lambda: metrics.confusion_matrix(S + np.nan, [0, 1]), ValueError, "confusion_matrix: input must not hold NaN"),
        (
            lambda: metrics.confusion_matrix(np.array([2**64 - 1], np.uint64), [0]),
            (ValueError, MemoryError),
            "confusion_matrix: ",
        ),
        (lambda: metrics.confusion_matrix([2**40], [0]), MemoryError, "confusion_matrix: .*cannot be held"),
    ],
)
def test_refuse(call: Callable[[], Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()
