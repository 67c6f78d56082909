"""relu, softmax, log_softmax: against the reference, special values, arrays of every kind, bad input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import reference

INF, NAN = np.inf, np.nan
DTYPES = [np.float16, np.float32, np.float64]


def draw(shape: tuple[int, ...], dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 3, 4, 5), (0, 3), (3, 0)])
def test_agree_with_the_reference(shape: tuple[int, ...], dtype: Any) -> None:
    x, g = draw(shape, dtype), draw(shape, dtype, 1)
    tolerance: Any = {"rtol": 8 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    y = F.relu(x)
    np.testing.assert_array_equal(y, reference.relu(x), strict=bool(shape))
    np.testing.assert_array_equal(F.relu_backward(g, y), reference.relu_backward(g, y), strict=True)
    for dim in range(-len(shape), len(shape)):
        for name in ("softmax", "log_softmax"):
            y = getattr(F, name)(x, dim)
            assert y.dtype == dtype
            np.testing.assert_allclose(y, getattr(reference, name)(x, dim), **tolerance)
            grad = getattr(F, name + "_backward")(g, y, dim)
            assert grad.dtype == dtype
            np.testing.assert_allclose(grad, getattr(reference, name + "_backward")(g, y, dim), **tolerance)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gradients_by_differences(name: str, dim: int) -> None:
    x, weights = draw((2, 3, 4)), draw((2, 3, 4), seed=1)
    forward = getattr(F, name)
    grad = getattr(F, name + "_backward")(weights, forward(x, dim), dim)
    for position in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[position] = 1e-6
        slope = np.sum(weights * (forward(x + step, dim) - forward(x - step, dim))) / 2e-6
        assert grad[position] == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_of_special_values(dtype: Any) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([NAN, INF, -INF, 0.0, -0.0, tiny, -tiny, 2.0], dtype)
    y = F.relu(x)
    np.testing.assert_array_equal(y, np.array([NAN, INF, 0, 0, 0, tiny, 0, 2], dtype), strict=True)
    for gradient in (1.0, -3.0, INF, NAN):
        grad = np.full(x.shape, gradient, dtype)
        back = F.relu_backward(grad, y)
        np.testing.assert_array_equal(back, np.where([1, 1, 0, 0, 0, 1, 0, 1], grad, 0), strict=True)


def test_softmax_of_special_values() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert F.softmax(np.array([1e300, 1e300])).tolist() == [0.5, 0.5]
        assert F.softmax(np.array([-INF, 0.0])).tolist() == [0, 1]
        assert F.log_softmax(np.array([-INF, 0.0])).tolist() == [-INF, 0]
        assert F.log_softmax(np.array([0.0, -1e4], np.float32)).tolist() == [0, -1e4]
        for bad in ([NAN, 0.0], [INF, 0.0], [-INF, -INF]):
            assert np.isnan(F.softmax(np.array(bad))).all()
            assert np.isnan(F.log_softmax(np.array(bad))).all()
        clean = F.softmax(np.array([[NAN, 0.0], [0.0, 0.0]]))
        assert clean[1].tolist() == [0.5, 0.5]


def test_the_callers_error_state_plays_no_part() -> None:
    with np.errstate(all="raise"):
        assert F.softmax(np.array([0.0, -1e4], np.float32)).tolist() == [1, 0]
        assert F.log_softmax(np.array([INF, 0.0])).size == 2
        assert F.softmax_backward(np.array([1e-300, 1]), np.array([1e-300, 1.0])).size == 2


@pytest.mark.parametrize("name", ["relu", "softmax", "log_softmax"])
def test_arrays_of_every_kind(name: str) -> None:
    forward, backward = getattr(F, name), getattr(F, name + "_backward")
    base = draw((4, 6))
    base.setflags(write=False)
    unaligned = np.frombuffer(b"x" + base.tobytes(), np.uint8)[1:].view(np.float64).reshape(4, 6)
    assert not unaligned.flags.aligned
    expected = forward(base.copy())
    expected_grad = backward(base, expected)
    for x in (base, np.asfortranarray(base), base[::-1, ::-1].copy()[::-1, ::-1], base.astype(">f8"), unaligned):
        y = forward(x)
        np.testing.assert_array_equal(y, expected, strict=True)
        assert y.flags.c_contiguous
        assert y.dtype.isnative
        grad = backward(x, y)
        np.testing.assert_array_equal(grad, expected_grad, strict=True)
        assert grad.flags.c_contiguous
    assert np.array_equal(forward(np.broadcast_to(np.float32(2), (3, 4))), forward(np.full((3, 4), 2, np.float32)))
    assert forward([[1.0, -2.0]]).dtype == np.float64
    assert not np.shares_memory(forward(base), base)


@pytest.mark.parametrize("name", ["relu", "softmax", "log_softmax"])
def test_dtypes_promote_as_numpys(name: str) -> None:
    backward = getattr(F, name + "_backward")
    y = np.array([0.25, 0.75], np.float32)
    assert backward(y.astype(np.float64), y).dtype == np.float64
    assert backward(y.astype(np.float16), y).dtype == np.float32
    assert backward([1.0, 2.0], y).dtype == np.float32


@pytest.mark.parametrize("name", ["relu", "softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, complex, np.longdouble, object, "U3", "M8[s]"])
def test_refuses_dtypes(name: str, dtype: Any) -> None:
    bad, good = np.zeros(3, dtype), np.zeros(3)
    for call in (
        lambda: getattr(F, name)(bad),
        lambda: getattr(F, name + "_backward")(bad, good),
        lambda: getattr(F, name + "_backward")(good, bad),
    ):
        with pytest.raises(TypeError, match=f"^{name}.*(input|grad_output|output) must be float16, float32 or float64"):
            call()


@pytest.mark.parametrize("name", ["relu", "softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 1), (), (0,)])
def test_refuses_gradients_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{name}_backward: grad_output must have the shape"):
        getattr(F, name + "_backward")(np.ones(shape), np.ones((2, 3)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("dim", "error"),
    [(2, ValueError), (-3, ValueError), (2**63, ValueError), (1.0, TypeError), (None, TypeError), (True, TypeError)],
)
def test_refuses_axes(name: str, dim: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{name}: dim .*received dim="):
        getattr(F, name)(np.ones((2, 3)), dim)
    with pytest.raises(error, match=f"{name}_backward: dim .*received dim="):
        getattr(F, name + "_backward")(np.ones((2, 3)), np.ones((2, 3)), dim)


def test_softmax_needs_an_axis() -> None:
    with pytest.raises(ValueError, match=r"softmax: dim must be an axis of the array, received dim=-1 for shape \(\)"):
        F.softmax(np.float64(1))
