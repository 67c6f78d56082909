"""cross_entropy: against the reference, differences, special values, bad input."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import reference

SHAPES = [(5, 4), (4,), (1, 1), (3, 4, 2), (2, 3, 4, 5), (2, 3, 2, 2, 2)]


def problem(shape: tuple[int, ...], dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    axis = min(1, len(shape) - 1)
    target = generator.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    return (3 * generator.standard_normal(shape)).astype(dtype), target


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (0, 4), (2, 4, 0)])
def test_agrees_with_the_reference(shape: tuple[int, ...], dtype: Any, reduction: str) -> None:
    x, target = problem(shape, dtype)
    tolerance: Any = {"rtol": 20 * np.finfo(dtype).eps, "atol": 10 * np.finfo(dtype).eps}
    loss = F.cross_entropy(x, target, reduction=reduction)
    assert loss.dtype == dtype
    assert loss.shape == (target.shape if reduction == "none" else ())
    np.testing.assert_allclose(loss, reference.cross_entropy(x, target, reduction=reduction), **tolerance)
    grad_loss = np.full(loss.shape, 1.5, dtype)
    grad = F.cross_entropy_backward(grad_loss, x, target, reduction=reduction)
    assert grad.dtype == dtype
    assert grad.shape == shape
    expected = reference.cross_entropy_backward(grad_loss, x, target, reduction=reduction)
    np.testing.assert_allclose(grad, expected, **tolerance)
    np.testing.assert_array_equal(grad, F.cross_entropy_backward(1.5, x, target, reduction=reduction), strict=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_by_differences(shape: tuple[int, ...], reduction: str) -> None:
    x, target = problem(shape)
    weights = np.random.default_rng(1).standard_normal(target.shape if reduction == "none" else ())
    grad = F.cross_entropy_backward(weights, x, target, reduction=reduction)
    for position in np.ndindex(shape):
        step = np.zeros(shape)
        step[position] = 1e-6
        above, below = (F.cross_entropy(x + way * step, target, reduction=reduction) for way in (1, -1))
        assert grad[position] == pytest.approx(np.sum(weights * (above - below)) / 2e-6, rel=1e-5, abs=1e-8)


def test_known_values() -> None:
    assert F.cross_entropy(np.zeros((3, 10)), [0, 5, 9]) == pytest.approx(np.log(10))
    assert F.cross_entropy(np.array([0.0, 1000.0]), 0) == 1000
    assert F.cross_entropy(np.array([0.0, 1000.0]), 1) == 0
    grad = F.cross_entropy_backward(1.0, np.zeros((2, 2)), [0, 1])
    assert grad.tolist() == [[-0.25, 0.25], [0.25, -0.25]]


def test_empty_batch_and_special_values_warn_of_nothing() -> None:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        empty = np.zeros((0, 3), np.float32)
        assert np.isnan(F.cross_entropy(empty, []))
        assert F.cross_entropy(empty, [], reduction="sum") == 0
        assert F.cross_entropy_backward(1.0, empty, []).shape == (0, 3)
        assert np.isnan(F.cross_entropy(np.array([[np.nan, 0.0]]), [1]))
        assert np.isnan(F.cross_entropy(np.array([[np.inf, 0.0]]), [1]))
        assert F.cross_entropy(np.array([[-np.inf, 0.0]]), [0]) == np.inf
        assert F.cross_entropy(np.array([[-np.inf, 0.0]]), [1]) == 0
        losses = F.cross_entropy(np.array([[np.nan, 0.0], [0.0, 0.0]]), [0, 0], reduction="none")
        assert np.isnan(losses).tolist() == [True, False]


def test_weights_may_add_up_to_less_than_zero() -> None:
    x, target = problem((4, 3))
    weight = np.array([-1.0, 0.5, -2.0])
    for name in ("cross_entropy", "nll_loss"):
        loss, want = (getattr(module, name)(x, target, weight) for module in (F, reference))
        assert loss == pytest.approx(float(want), rel=1e-14)
        backward = f"{name}_backward"
        grad, want = (getattr(module, backward)(np.float64(1), x, target, weight) for module in (F, reference))
        assert np.abs(grad).max() > 0
        np.testing.assert_allclose(grad, want, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i4", np.uint64])
def test_targets_of_any_integer_dtype(dtype: Any) -> None:
    x, target = problem((2, 3, 4, 5))
    for scores in (x, np.asfortranarray(x), x.astype(">f8")):
        loss = F.cross_entropy(scores, target.astype(dtype))
        assert loss == pytest.approx(float(F.cross_entropy(x, target)), rel=1e-14)
        grad = F.cross_entropy_backward(1.0, scores, target.astype(dtype))
        assert grad.flags.c_contiguous
        np.testing.assert_allclose(grad, F.cross_entropy_backward(1.0, x, target), rtol=1e-14)


BAD: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (np.zeros((2, 3)), [0, 3], {}, ValueError, "target must hold classes from 0 to 2, received target with 3"),
    (np.zeros((2, 3)), [0, -1], {}, ValueError, "target must hold classes from 0 to 2, received target with -1"),
    (np.zeros((2, 3)), [0, -(2**63)], {}, ValueError, "received target with -9223372036854775808"),
    (
        np.zeros((2, 3)),
        np.array([0, 2**64 - 1], np.uint64),
        {},
        ValueError,
        "received target with 18446744073709551615",
    ),
    (np.zeros((2, 3)), [0, 2**32], {}, ValueError, "received target with 4294967296"),
    (
        np.zeros((2, 3)),
        [0.0, 1.0],
        {},
        TypeError,
        "target must hold integers (class numbers), received target of dtype",
    ),
    (np.zeros((2, 3)), [True, False], {}, TypeError, "received target of dtype bool"),
    (np.zeros((0, 3)), np.zeros(0), {}, TypeError, "received target of dtype float64"),
    (np.zeros((2, 3)), [None, 1], {}, TypeError, "received target of dtype object"),
    (np.zeros((2, 3)), [0], {}, ValueError, "target must have shape (2,) for input of shape (2, 3), received"),
    (np.zeros((2, 3)), 0, {}, ValueError, "received target of shape ()"),
    (np.zeros((2, 3)), [[0, 1]], {}, ValueError, "received target of shape (1, 2)"),
    (np.zeros((2, 3, 4)), [0, 1], {}, ValueError, "target must have shape (2, 4)"),
    (np.zeros((2, 0)), [0, 0], {}, ValueError, "input must have a class at least, received input of shape (2, 0)"),
    (np.zeros(()), 0, {}, ValueError, "received input of shape ()"),
    (np.zeros((2, 3), int), [0, 1], {}, TypeError, "input must be float16, float32 or float64"),
    (None, [0, 1], {}, TypeError, "input must be"),
    (np.zeros((2, 3)), [0, 1], {"reduction": "average"}, ValueError, "received reduction='average'"),
    (np.zeros((2, 3)), [0, 1], {"reduction": None}, ValueError, "received reduction=None"),
]


@pytest.mark.parametrize(("input", "target", "options", "error", "message"), BAD, ids=str)
def test_refuses(input: Any, target: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match="^cross_entropy: .*" + re.escape(message)):
        F.cross_entropy(input, target, **options)
    with pytest.raises(error, match="^cross_entropy_backward: .*" + re.escape(message)):
        F.cross_entropy_backward(1.0, input, target, **options)


@pytest.mark.parametrize(
    ("grad_output", "reduction", "error"),
    [
        (np.ones(2), "mean", ValueError),
        (np.ones((1,)), "sum", ValueError),
        (np.ones(3), "none", ValueError),
        (np.ones((2, 1)), "none", ValueError),
        (np.ones((), int), "mean", TypeError),
        (None, "mean", TypeError),
    ],
)
def test_refuses_gradients(grad_output: Any, reduction: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^cross_entropy_backward: grad_output must"):
        F.cross_entropy_backward(grad_output, np.zeros((2, 3)), [0, 1], reduction=reduction)


# ---------------------------------------------------------------------------------------------------- what counts

WEIGHTS = np.array([0.5, 2.0, 0.0, 1.5, 1.0])
OPTIONS: list[dict[str, Any]] = [
    {"weight": WEIGHTS},
    {"ignore_index": 1},
    {"label_smoothing": 0.1},
    {"weight": WEIGHTS, "ignore_index": 1},
    {"weight": WEIGHTS, "ignore_index": 1, "label_smoothing": 0.2},
    {"label_smoothing": 1.0},
]


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_options_agree_with_the_reference(name: str, options: dict[str, Any], reduction: str, dtype: Any) -> None:
    if name == "nll_loss" and "label_smoothing" in options:
        options = {key: value for key, value in options.items() if key != "label_smoothing"}
    tolerance: Any = {"rtol": 20 * np.finfo(dtype).eps, "atol": 10 * np.finfo(dtype).eps}
    for shape in ((7, 5), (5,), (3, 5, 2, 2)):
        x, target = problem(shape, dtype)
        loss = getattr(F, name)(x, target, reduction=reduction, **options)
        assert loss.dtype == dtype
        expected = getattr(reference, name)(x, target, reduction=reduction, **options)
        np.testing.assert_allclose(loss, expected, **tolerance)
        grad = getattr(F, f"{name}_backward")(1.5, x, target, reduction=reduction, **options)
        expected = getattr(reference, f"{name}_backward")(1.5, x, target, reduction=reduction, **options)
        np.testing.assert_allclose(grad, expected, **tolerance)
        assert grad.flags.c_contiguous


@pytest.mark.parametrize("options", [{}, {"weight": WEIGHTS}, {"weight": WEIGHTS, "label_smoothing": 0.3}], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_probabilities(options: dict[str, Any], reduction: str) -> None:
    rng = np.random.default_rng(0)
    for shape in ((4, 5), (5,), (2, 5, 3)):
        x, q = rng.standard_normal(shape), rng.random(shape)
        loss = F.cross_entropy(x, q, reduction=reduction, **options)
        np.testing.assert_allclose(loss, reference.cross_entropy(x, q, reduction=reduction, **options), rtol=1e-12)
        grad = F.cross_entropy_backward(1.0, x, q, reduction=reduction, **options)
        expected = reference.cross_entropy_backward(1.0, x, q, reduction=reduction, **options)
        np.testing.assert_allclose(grad, expected, rtol=1e-11, atol=1e-14)


def test_probabilities_of_one_class_are_that_class() -> None:
    x, target = problem((6, 5))
    onehot = np.eye(5)[target]
    assert F.cross_entropy(x, onehot) == pytest.approx(float(F.cross_entropy(x, target)), rel=1e-13)
    assert F.cross_entropy(x, onehot, label_smoothing=0.1) == pytest.approx(
        float(F.cross_entropy(x, target, label_smoothing=0.1)), rel=1e-13
    )


@pytest.mark.parametrize("options", [*OPTIONS, {"probabilities": True}], ids=lambda o: "-".join(o))
def test_gradients_with_options_by_differences(options: dict[str, Any]) -> None:
    x, target = problem((4, 5))
    options = dict(options)
    if options.pop("probabilities", False):
        target = np.random.default_rng(3).random((4, 5))
    grad = F.cross_entropy_backward(1.0, x, target, **options)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        slope = (F.cross_entropy(x + step, target, **options) - F.cross_entropy(x - step, target, **options)) / 2e-6
        assert grad[place] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_nll_of_log_softmax_is_cross_entropy() -> None:
    x, target = problem((4, 5, 2))
    logs = F.log_softmax(x, 1)
    assert F.nll_loss(logs, target) == pytest.approx(float(F.cross_entropy(x, target)), rel=1e-13)
    back = F.log_softmax_backward(F.nll_loss_backward(1.0, logs, target), logs, 1)
    np.testing.assert_allclose(back, F.cross_entropy_backward(1.0, x, target), rtol=1e-12, atol=1e-15)


def test_where_nothing_counts() -> None:
    x = np.array([[np.nan, 1.0], [2.0, np.inf]])
    with np.errstate(all="raise"):
        for name in ("cross_entropy", "nll_loss"):
            assert np.isnan(getattr(F, name)(x, [-100, -100]))
            assert getattr(F, name)(x, [-100, -100], reduction="sum") == 0
            assert not getattr(F, f"{name}_backward")(1.0, x, [-100, -100]).any()
        one = F.cross_entropy(np.array([[np.nan, 1.0], [0.0, 0.0]]), [-100, 1])
    assert one == pytest.approx(np.log(2))
    unsigned = F.cross_entropy(np.zeros((2, 3)), np.array([255, 1], np.uint8), ignore_index=255)
    assert unsigned == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight": np.ones(2)}, ValueError, r"weight must have shape \(3,\), one per class, received shape \(2,\)"),
        ({"weight": np.ones(3, int)}, TypeError, "weight must be float16, float32 or float64"),
        ({"ignore_index": 1.0}, TypeError, "ignore_index must be made of integers"),
        ({"label_smoothing": 1.5}, ValueError, r"label_smoothing must be from 0 to 1, received label_smoothing=1\.5"),
        ({"label_smoothing": "x"}, TypeError, "label_smoothing must be a real number"),
    ],
)
def test_refuses_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^cross_entropy: {message}"):
        F.cross_entropy(np.zeros((2, 3)), [0, 1], **options)
    if "label_smoothing" not in options:
        with pytest.raises(error, match=f"^nll_loss_backward: {message}"):
            F.nll_loss_backward(1.0, np.zeros((2, 3)), [0, 1], **options)


def test_nll_loss_takes_no_probabilities() -> None:
    with pytest.raises(ValueError, match=r"nll_loss: target must have shape \(2,\)"):
        F.nll_loss(np.zeros((2, 3)), np.zeros((2, 3)))
