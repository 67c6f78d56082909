"""linear, activations and the classification loss against scalar arithmetic and numeric gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import exp, log
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastconv import reference

Array = NDArray[Any]
Whole = Callable[..., Array]
Numeric = Callable[..., Array]


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,), (2, 0, 3)])
def test_linear_equals_scalar_loops(lead: tuple[int, ...], whole: Whole) -> None:
    x, w, b, gy = whole(*lead, 5), whole(3, 5), whole(3), whole(*lead, 3)
    y, gx, gw, gb = np.zeros(gy.shape), np.zeros(x.shape), np.zeros(w.shape), np.zeros(3)
    for place in product(*map(range, lead)):
        for o in range(3):
            y[(*place, o)] = b[o] + sum(float(w[o, i] * x[(*place, i)]) for i in range(5))
            gb[o] += gy[(*place, o)]
            for i in range(5):
                gx[(*place, i)] += gy[(*place, o)] * w[o, i]
                gw[o, i] += gy[(*place, o)] * x[(*place, i)]
    np.testing.assert_array_equal(reference.linear(x, w, b), y)
    np.testing.assert_array_equal(reference.linear(x, w), y - b)
    for got, expected in zip(reference.linear_backward(gy, x, w), (gx, gw, gb), strict=True):
        np.testing.assert_array_equal(got, expected)
    for needs in product((False, True), repeat=3):
        some = reference.linear_backward(gy, x, w, needs=needs)
        assert tuple(g is not None for g in some) == needs


def test_textbook_weights_of_a_fully_connected_layer() -> None:
    """A 3x3 image to 16 neurons takes 144 weights; a 1x1 image's convolution is the same map."""
    x, w = np.arange(9.0), np.arange(144.0).reshape(16, 9)
    y = reference.linear(x, w)
    assert (y.shape, w.size) == ((16,), 144)
    np.testing.assert_array_equal(reference.conv2d(x.reshape(9, 1, 1), w.reshape(16, 9, 1, 1)).ravel(), y)
    np.testing.assert_array_equal(reference.conv2d(x.reshape(1, 3, 3), w.reshape(16, 1, 3, 3)).ravel(), y)


def test_relu_and_its_gradient() -> None:
    x = np.array([-2.0, -0.0, 0.0, 3.0, np.inf, -np.inf, np.nan])
    y = reference.relu(x)
    np.testing.assert_array_equal(y, [0, 0, 0, 3, np.inf, 0, np.nan])
    np.testing.assert_array_equal(reference.relu_backward(np.arange(1.0, 8.0), y), [0, 0, 0, 4, 5, 0, 7])
    assert reference.relu(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "dim"), [((5,), -1), ((3, 4), 0), ((3, 4), 1), ((2, 3, 4), -2), ((0, 3), 1), ((2, 0), 1)]
)
def test_softmax_equals_scalar_arithmetic(shape: Any, dim: int, whole: Whole, numeric_gradient: Numeric) -> None:
    x, gy = whole(*shape) / 3, whole(*shape)
    y, z = reference.softmax(x, dim), reference.log_softmax(x, dim)
    rows = np.moveaxis(x, dim, -1)
    for place in np.ndindex(*rows.shape):
        total = sum(exp(v) for v in rows[place[:-1]])
        assert np.moveaxis(y, dim, -1)[place] == pytest.approx(exp(rows[place]) / total, rel=1e-13)
        assert np.moveaxis(z, dim, -1)[place] == pytest.approx(rows[place] - log(total), rel=1e-12, abs=1e-13)
    assert y.shape == z.shape == x.shape
    for forward, backward, output in (
        (reference.softmax, reference.softmax_backward, y),
        (reference.log_softmax, reference.log_softmax_backward, z),
    ):
        gx = backward(gy, output, dim)
        np.testing.assert_allclose(gx, numeric_gradient(lambda v, f=forward: f(v, dim), x, gy), rtol=1e-6, atol=1e-7)


def test_softmax_of_large_scores_neither_overflows_nor_vanishes() -> None:
    x = np.array([[1000.0, 1000.0, -np.inf], [-2000.0, -2000.0, -1e308]])
    np.testing.assert_array_equal(reference.softmax(x), [[0.5, 0.5, 0], [0.5, 0.5, 0]])
    np.testing.assert_allclose(reference.log_softmax(x), [[-log(2), -log(2), -np.inf], [-log(2), -log(2), -1e308]])
    loss = reference.cross_entropy(x, np.array([0, 2]), reduction="none")
    np.testing.assert_allclose(loss, [log(2), 1e308])


def test_softmax_of_nan_and_infinities_is_nan() -> None:
    x = np.array([[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
    for f in (reference.softmax, reference.log_softmax):
        assert np.isnan(f(x)[0]).all()
        assert np.isnan(f(x)[1, 0])
        assert np.isnan(f(x)[2]).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 5, 3), (2, 4, 2, 3)])
def test_cross_entropy_equals_scalar_arithmetic(
    shape: tuple[int, ...], reduction: str, whole: Whole, numeric_gradient: Numeric
) -> None:
    x = whole(*shape) / 2
    axis = min(1, len(shape) - 1)
    rest = shape[:axis] + shape[axis + 1 :]
    target = np.random.default_rng(0).integers(0, shape[axis], rest)
    losses = np.zeros(rest)
    for place in np.ndindex(*rest):
        scores = np.moveaxis(x, axis, -1)[place]
        losses[place] = log(sum(exp(v) for v in scores)) - scores[target[place]]
    expected = losses if reduction == "none" else losses.sum() / (losses.size if reduction == "mean" else 1)
    loss = reference.cross_entropy(x, target, reduction=reduction)
    assert np.shape(loss) == np.shape(expected)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)

    gy = whole(*rest) if reduction == "none" else np.float64(3)
    gx = reference.cross_entropy_backward(gy, x, target, reduction=reduction)
    numeric = numeric_gradient(lambda v: reference.cross_entropy(v, target, reduction=reduction), x, np.asarray(gy))
    np.testing.assert_allclose(gx, numeric, rtol=1e-6, atol=1e-7)
    ones = reference.cross_entropy_backward(1, x, target, reduction=reduction)
    np.testing.assert_array_equal(
        ones, reference.cross_entropy_backward(np.ones(np.shape(loss)), x, target, reduction=reduction)
    )


def test_cross_entropy_of_no_samples() -> None:
    x, target = np.zeros((0, 3)), np.zeros(0, int)
    assert reference.cross_entropy(x, target, reduction="none").shape == (0,)
    assert reference.cross_entropy(x, target, reduction="sum") == 0
    assert np.isnan(reference.cross_entropy(x, target))
    for reduction in ("mean", "sum"):
        assert reference.cross_entropy_backward(1.0, x, target, reduction=reduction).shape == (0, 3)


@pytest.mark.parametrize("target", [[0, 3], [-1, 0], [0, -99], [2**62, 0]])
def test_targets_outside_the_classes_are_refused(target: list[int]) -> None:
    with pytest.raises(ValueError, match="target"):
        reference.cross_entropy(np.zeros((2, 3)), target)
    with pytest.raises(ValueError, match="target"):
        reference.cross_entropy_backward(1.0, np.zeros((2, 3)), target)


def test_loss_arguments_are_checked() -> None:
    x, target = np.zeros((2, 3)), np.array([0, 1])
    with pytest.raises(ValueError, match="reduction"):
        reference.cross_entropy(x, target, reduction="average")
    with pytest.raises(ValueError, match="target"):
        reference.cross_entropy(x, np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="input"):
        reference.cross_entropy(np.zeros((2, 0)), target)
    with pytest.raises(ValueError, match="grad_output"):
        reference.cross_entropy_backward(np.ones(2), x, target)
    with pytest.raises(ValueError, match="grad_output"):
        reference.cross_entropy_backward(np.ones(3), x, target, reduction="none")
    with pytest.raises(TypeError, match="target"):
        reference.cross_entropy(x, np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match="target"):
        reference.cross_entropy(x, np.array([False, True]))
    for f in (reference.softmax, reference.log_softmax):
        for dim in (2, -3):
            with pytest.raises(ValueError, match="dim"):
                f(x, dim)
