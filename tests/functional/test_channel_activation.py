"""prelu and maxout: against the reference, gradients, special values, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import ISAS, LAYOUTS

from fastconv import functional as F
from fastconv import reference
from fastconv._config import isa_limit

DTYPES = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "slopes"), [((2, 3, 4, 5), 3), ((2, 3), 3), ((2, 3, 4), 1), ((5,), 1), ((0, 3, 2), 3)]
)
def test_prelu_agrees_with_the_reference(shape: tuple[int, ...], slopes: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, g, w = (rng.integers(-4, 5, s).astype(dtype) for s in (shape, shape, slopes))
    np.testing.assert_array_equal(F.prelu(x, w), reference.prelu(x, w), strict=True)
    found, expected = F.prelu_backward(g, x, w), reference.prelu_backward(g, x, w)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)
    for layout in LAYOUTS.values():
        if x.size:
            np.testing.assert_array_equal(F.prelu(layout(x), w), reference.prelu(x, w))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(3, 5, 1), (2, 33, 17), (2, 7, 70, 160), (4, 19), (2000, 19), (2, 3, *(1,) * 8, 5)])
def test_every_channel_has_its_slope(shape: tuple[int, ...], isa: str) -> None:
    """Planes shorter than a vector, longer than a task, and of odd sizes."""
    rng = np.random.default_rng(0)
    x, g = rng.integers(-4, 5, (2, *shape)).astype(np.float32)
    w = rng.integers(-3, 4, shape[1]).astype(np.float32)
    with isa_limit(isa):
        y, grads = F.prelu(x, w), F.prelu_backward(g, x, w)
    np.testing.assert_array_equal(y, reference.prelu(x, w), strict=True)
    for ours, theirs in zip(grads, reference.prelu_backward(g, x, w), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


def test_prelu_gradients_by_differences() -> None:
    rng = np.random.default_rng(0)
    x, g, w = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4)), rng.standard_normal(3)
    grad_x, grad_w = F.prelu_backward(g, x, w)
    for array, grad in ((x, grad_x), (w, grad_w)):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + 1e-6
            above = np.sum(g * F.prelu(x, w))
            array[place] = kept - 1e-6
            below = np.sum(g * F.prelu(x, w))
            array[place] = kept
            assert grad[place] == pytest.approx((above - below) / 2e-6, rel=1e-6, abs=1e-8)


def test_prelu_keeps_nan_and_does_not_warn() -> None:
    with np.errstate(all="raise"):
        y = F.prelu(np.array([np.nan, np.inf, -np.inf]), np.array([0.0]))
        F.prelu_backward(np.ones(2), np.array([np.inf, -np.inf]), np.array([0.0]))
    np.testing.assert_array_equal(y, [np.nan, np.inf, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "size", "dim"), [((2, 6, 4), 3, 1), ((6, 4), 2, 0), ((2, 6), 6, -1), ((2, 4, 3, 3), 1, -3)]
)
def test_maxout_agrees_with_the_reference(shape: tuple[int, ...], size: int, dim: int, dtype: Any) -> None:
    x = np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)  # with equal ones
    y, choice = F.maxout(x, size, dim)
    expected, expected_choice = reference.maxout(x, size, dim)
    np.testing.assert_array_equal(y, expected, strict=True)
    np.testing.assert_array_equal(choice, expected_choice, strict=True)
    grad = np.arange(1, y.size + 1).reshape(y.shape).astype(dtype)
    back = F.maxout_backward(grad, choice, size, dim)
    np.testing.assert_array_equal(back, reference.maxout_backward(grad, choice, size, dim), strict=True)
    assert back.shape == shape
    for layout in LAYOUTS.values():
        np.testing.assert_array_equal(F.maxout(layout(x), size, dim)[0], expected)


def test_maxout_of_special_values() -> None:
    x = np.array([[1.0, np.nan, np.nan, -np.inf, -np.inf, -np.inf, 2.0, 2.0, 1.0]])
    y, choice = F.maxout(x, 3)
    np.testing.assert_array_equal(y, [[np.nan, -np.inf, 2.0]])
    np.testing.assert_array_equal(choice, [[1, 0, 0]])
    assert F.maxout(np.zeros((0, 4)), 2)[0].shape == (0, 2)


BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("prelu", {"weight": np.ones(2)}, ValueError, r"weight must have shape \(1,\) or \(4,\).*received shape \(2,\)"),
    ("prelu", {"weight": np.ones((4, 1))}, ValueError, r"received shape \(4, 1\)"),
    ("prelu", {"weight": np.ones(4, int)}, TypeError, "weight must be float16, float32 or float64"),
    ("maxout", {"pool_size": 3}, ValueError, "pool_size must divide the 4 channels of axis 1, received pool_size=3"),
    ("maxout", {"pool_size": 0}, ValueError, "pool_size must be positive, received pool_size=0"),
    ("maxout", {"pool_size": 2.0}, TypeError, "pool_size must be made of integers"),
    ("maxout", {"dim": 3}, ValueError, "dim must be an axis of the array, received dim=3"),
    ("maxout", {"input": np.zeros((2, 0, 3))}, ValueError, "pool_size must divide the 0 channels"),
    ("maxout", {"input": np.zeros((2, 4), int)}, TypeError, "input must be float16, float32 or float64"),
]


@pytest.mark.parametrize(("name", "changes", "error", "message"), BAD, ids=str)
def test_refuses(name: str, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    right = {"weight": np.ones(4)} if name == "prelu" else {"pool_size": 2}
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        getattr(F, name)(**{"input": np.ones((2, 4, 3)), **right, **changes})


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        (np.full((2, 2), 2), ValueError, "choice must be from 0 to 1, received 2"),
        (np.full((2, 2), -1), ValueError, "received -1"),
        (np.zeros((2, 2)), TypeError, "choice must hold integers, received choice of dtype float64"),
        (np.zeros((2, 3), int), ValueError, "grad_output must have the shape"),
        (np.broadcast_to(0, (2, 2**40)), MemoryError, "cannot be held in memory"),
    ],
)
def test_refuses_choices(choice: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^maxout_backward: .*{message}"):
        F.maxout_backward(np.broadcast_to(1.0, choice.shape) if choice.size > 9 else np.ones((2, 2)), choice, 2)
