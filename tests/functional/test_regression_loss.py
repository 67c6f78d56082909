"""Losses of numbers: against the reference, gradients by differences, special values, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import LAYOUTS

from fastconv import functional as F
from fastconv import reference

BCE = "binary_cross_entropy_with_logits"
LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.3}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.3}),
    ("smooth_l1_loss", {"beta": 0.0}),
    (BCE, {}),
    (BCE, {"weight": np.array([[0.5], [2.0]]), "pos_weight": np.array([1.0, 3.0, 0.25])}),
]
each = pytest.mark.parametrize(("name", "options"), LOSSES, ids=str)


def data(shape: tuple[int, ...], dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape).astype(dtype), rng.random(shape).astype(dtype)


@each
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3), (4, 2, 3), (0, 2, 3), ()])
def test_agree_with_the_reference(
    name: str, options: dict[str, Any], shape: tuple[int, ...], dtype: Any, reduction: str
) -> None:
    if options.get("weight") is not None and not shape:
        options = {}
    x, t = data(shape, dtype)
    close: Any = {"rtol": 8 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).eps}
    loss = getattr(F, name)(x, t, reduction=reduction, **options)
    assert loss.dtype == dtype
    assert loss.shape == (shape if reduction == "none" else ())
    np.testing.assert_allclose(loss, getattr(reference, name)(x, t, reduction=reduction, **options), **close)
    grad_loss = np.full(loss.shape, 1.5, dtype)
    grad = getattr(F, f"{name}_backward")(grad_loss, x, t, reduction=reduction, **options)
    expected = getattr(reference, f"{name}_backward")(grad_loss, x, t, reduction=reduction, **options)
    assert grad.dtype == dtype
    assert grad.shape == shape
    np.testing.assert_allclose(grad, expected, **close)
    same = getattr(F, f"{name}_backward")(1.5, x, t, reduction=reduction, **options)
    np.testing.assert_array_equal(grad, same, strict=True)


@each
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradient_by_differences(name: str, options: dict[str, Any], reduction: str) -> None:
    x, t = data((2, 3))
    weights = np.random.default_rng(1).standard_normal(x.shape if reduction == "none" else ())
    grad = getattr(F, f"{name}_backward")(weights, x, t, reduction=reduction, **options)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        above, below = (getattr(F, name)(x + way * step, t, reduction=reduction, **options) for way in (1, -1))
        assert grad[place] == pytest.approx(np.sum(weights * (above - below)) / 2e-6, rel=1e-5, abs=1e-8)


@each
def test_any_layout(name: str, options: dict[str, Any]) -> None:
    x, t = data((4, 2, 3))
    loss = getattr(F, name)(x, t, reduction="none", **options)
    grad = getattr(F, f"{name}_backward")(1.0, x, t, **options)
    for layout in LAYOUTS.values():
        kept = layout(x)
        np.testing.assert_array_equal(getattr(F, name)(kept, layout(t), reduction="none", **options), loss)
        again = getattr(F, f"{name}_backward")(1.0, kept, layout(t), **options)
        np.testing.assert_array_equal(again, grad)
        assert again.flags.c_contiguous
        np.testing.assert_array_equal(kept, x)


@each
def test_extremes_warn_of_nothing(name: str, options: dict[str, Any]) -> None:
    x = np.array([[np.nan, 1e4, -1e4], [np.inf, 0.0, 3e38]], np.float32)
    with np.errstate(all="raise"):
        loss = getattr(F, name)(x, np.full_like(x, 0.5), reduction="none", **options)
        grad = getattr(F, f"{name}_backward")(1.0, x, np.full_like(x, 0.5), **options)
        assert np.isnan(getattr(F, name)(x[:0], x[:0]))
    assert np.isnan(loss[0, 0])
    assert np.isnan(grad[0, 0])
    assert np.isfinite(grad[:, 1:]).all()


def test_mean_squared_error_by_hand() -> None:
    x, t = np.array([1.0, 2.0, 4.0]), np.array([0.0, 2.0, 1.0])
    assert F.mse_loss(x, t) == (1 + 0 + 9) / 3
    np.testing.assert_array_equal(F.mse_loss_backward(1.0, x, t), 2 * (x - t) / 3)


def test_binary_cross_entropy_keeps_its_digits() -> None:
    x = np.array([-40.0, 40.0])
    np.testing.assert_allclose(
        F.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0]), reduction="none"), np.exp(-40)
    )
    assert F.binary_cross_entropy_with_logits(x, np.array([1.0, 0.0])) == 40


def test_a_vanishing_bend_is_none() -> None:
    x, t = np.array([0.0, 1.0, -2.0], np.float32), np.zeros(3, np.float32)
    with np.errstate(all="raise"):
        for beta in (0.0, 1e-320, 1e-40):
            np.testing.assert_array_equal(F.smooth_l1_loss(x, t, beta=beta, reduction="none"), [0, 1, 2])
            grad = F.smooth_l1_loss_backward(1.0, x, t, beta=beta, reduction="sum")
            np.testing.assert_array_equal(grad, [0, 1, -1])


def test_dtypes_promote() -> None:
    x = np.ones(2, np.float32)
    assert F.mse_loss(x, x.astype(np.float64)).dtype == np.float64
    assert F.mse_loss(x, [1.0, 2.0]).dtype == np.float32
    assert F.mse_loss_backward(1.0, x.astype(np.float16), x).dtype == np.float32


@each
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"target": np.ones((3, 2))}, ValueError, r"target must have the shape of input, \(2, 3\), received target of"),
        ({"target": np.ones((2, 3), int)}, TypeError, "target must be float16, float32 or float64"),
        ({"input": None}, TypeError, "input must be"),
        ({"reduction": "max"}, ValueError, "reduction must be one of 'mean', 'sum', 'none', received reduction='max'"),
    ],
)
def test_refuse(
    name: str, options: dict[str, Any], changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"input": np.ones((2, 3)), "target": np.ones((2, 3)), **options, **changes}
    with pytest.raises(error, match=f"^{name}: {message}"):
        getattr(F, name)(**given)
    with pytest.raises(error, match=f"^{name}_backward: {message}"):
        getattr(F, f"{name}_backward")(1.0, **given)
    with pytest.raises(ValueError, match=f"^{name}_backward: grad_output must have shape"):
        getattr(F, f"{name}_backward")(np.ones(3), np.ones((2, 3)), np.ones((2, 3)), **options)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("huber_loss", {"delta": 0}, ValueError, "delta must be positive, received delta=0"),
        ("huber_loss", {"delta": "1"}, TypeError, "delta must be a real number"),
        ("smooth_l1_loss", {"beta": -1.0}, ValueError, r"beta must be non-negative, received beta=-1\.0"),
        (BCE, {"weight": np.ones(2)}, ValueError, r"weight must have a shape that broadcasts to input's, \(2, 3\)"),
        (BCE, {"pos_weight": np.ones((2, 2, 3))}, ValueError, "pos_weight must have a shape that broadcasts"),
        (BCE, {"pos_weight": np.ones(3, int)}, TypeError, "pos_weight must be float16, float32 or float64"),
    ],
)
def test_refuse_options(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    x = np.ones((2, 3))
    with pytest.raises(error, match=f"^{name}: {message}"):
        getattr(F, name)(x, x, **options)
    with pytest.raises(error, match=f"^{name}_backward: {message}"):
        getattr(F, f"{name}_backward")(1.0, x, x, **options)
