"""Mean and power-mean pooling, sliding and adaptive: values and gradients, the same as the reference's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import lcm
from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, THREADS, USABLE_ISAS, Array, assert_same, dot, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import ADAPTIVE, LAID_OUT, PARALLEL, SLIDING, Window, adaptive_axes, adaptive_id, function, windows

import fastconv as fc
from fastconv import _lowering, plan, reference
from fastconv._config import isa_limit
from fastconv.functional import _pool

SMALL = [w for w in SLIDING if np.prod(w.shape) < 10_000]
DIVISORS: list[dict[str, Any]] = [{}, {"count_include_pad": False}, {"divisor_override": -3}]


@pytest.fixture
def only_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the algorithm for any windows do what sliding windows have a faster one for."""

    def choose(problem: Any, op: int, dtype: Any, flags: int, divisor: float) -> Any:
        return _lowering.window_plan(problem, op, dtype, "windows", flags=flags, divisor=divisor)

    monkeypatch.setattr(_pool, "_choose", choose)
    plan.clear()
    yield
    plan.clear()


@lru_cache(maxsize=400)
def expected(window: Window, dtype: Any, divisor: int) -> tuple[Array, Array]:
    """Input and means: sums of whole numbers are exact, each is divided once."""
    x = window.input(dtype)
    return x, function(reference, "avg_pool", window)(x, window.kernel, **window.mean, **DIVISORS[divisor])


@lru_cache(maxsize=400)
def expected_grad(window: Window, dtype: Any, divisor: int) -> tuple[Array, Array]:
    """Multiples of all divisors, so that the shares are whole; and the gradient of the input."""
    ones = np.ones(window.shape)
    pool = function(reference, "avg_pool", window)
    if "divisor_override" in DIVISORS[divisor]:
        multiple = DIVISORS[divisor]["divisor_override"]
    else:
        sums = pool(ones, window.kernel, **window.mean, divisor_override=1)
        counts = sums / pool(ones, window.kernel, **window.mean, **DIVISORS[divisor])
        multiple = lcm(*map(int, np.unique(np.rint(counts))))
    if multiple > 10_000:  # then the shares of two windows only
        dtype = np.float64
    gy = window.grad(dtype) * dtype(multiple)
    back = function(reference, "avg_pool", window, True)
    return gy, back(gy, window.shape, window.kernel, **window.mean, **DIVISORS[divisor])


def assert_means(window: Window, dtype: Any, divisor: int) -> None:
    x, y = expected(window, dtype, divisor)
    assert_same(function(fc, "avg_pool", window)(x, window.kernel, **window.mean, **DIVISORS[divisor]), y, share=0)


def assert_mean_grads(window: Window, dtype: Any, divisor: int) -> None:
    gy, gx = expected_grad(window, dtype, divisor)
    back = function(fc, "avg_pool", window, True)
    assert_same(back(gy, window.shape, window.kernel, **window.mean, **DIVISORS[divisor]), gx, share=0)


# ---------------------------------------------------------------------------------------------------- avg_pool


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SLIDING, ids=str)
def test_means_are_the_references(window: Window, isa: str) -> None:
    for dtype, divisor in product(DTYPES, range(len(DIVISORS))):
        with isa_limit(isa):
            assert_means(window, dtype, divisor)
            assert_mean_grads(window, dtype, divisor)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SMALL[::2], ids=str)
def test_the_algorithm_for_any_windows(window: Window, isa: str, only_windows: None) -> None:
    for dtype, divisor in product(DTYPES, range(len(DIVISORS))):
        with isa_limit(isa):
            assert_means(window, dtype, divisor)
            assert_mean_grads(window, dtype, divisor)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SMALL[::3], ids=str)
def test_sums_and_their_gradient_are_adjoint(window: Window, isa: str) -> None:
    x, gy = window.input(np.float32), window.grad(np.float32)
    with isa_limit(isa):
        y = function(fc, "avg_pool", window)(x, window.kernel, **window.mean, divisor_override=1)
        gx = function(fc, "avg_pool", window, True)(gy, x.shape, window.kernel, **window.mean, divisor_override=1)
    assert dot(y, gy) == dot(x, gx)


@pytest.mark.parametrize("isa", ISAS)
def test_nan_and_infinity_stay_in_their_windows(isa: str) -> None:
    x = whole(np.random.default_rng(0), 1, 2, 12, 20)
    for value in (np.nan, np.inf, -np.inf):
        for place in ((0, 0, 0, 0), (0, 1, 5, 13), (0, 0, 11, 19)):
            marked = x.copy()
            marked[place] = value
            for kernel, options in (((3, 3), {"stride": 2, "padding": 1}), ((12, 20), {}), ((9, 9), {"stride": 1})):
                with isa_limit(isa):
                    got = fc.avg_pool2d(marked, kernel, **options)
                np.testing.assert_array_equal(got, reference.avg_pool2d(marked, kernel, **options))


@settings(max_examples=150, deadline=None)
@given(
    window=windows(dilated=False),
    dtype=st.sampled_from([np.float16, *DTYPES]),
    isa=st.sampled_from(USABLE_ISAS),
    divisor=st.integers(0, 2),
)
def test_any_window(window: Window, dtype: Any, isa: str, divisor: int) -> None:
    with isa_limit(isa):
        assert_means(window, dtype, divisor)
        gy = window.grad(np.float64)
        options = {**window.mean, **DIVISORS[divisor]}
        got = function(fc, "avg_pool", window, True)(gy, window.shape, window.kernel, **options)
    want = function(reference, "avg_pool", window, True)(gy, window.shape, window.kernel, **options)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------------------- adaptive_avg_pool


@lru_cache(maxsize=200)
def expected_adaptive(case: Any, dtype: Any) -> tuple[Array, ...]:
    """Input and means; gradients that are multiples of all windows' sizes, and what the input gets of them."""
    shape, size = case
    n = adaptive_axes(case)
    x = whole(np.random.default_rng(0), *shape, dtype=dtype, most=9)
    y = function(reference, "adaptive_avg_pool", n)(x, size)
    multiple = 1
    for side, out in zip(shape[-n:], y.shape[-n:], strict=True):
        multiple *= lcm(*{-(-(o + 1) * side // out) - o * side // out for o in range(out)})
    gy = whole(np.random.default_rng(1), *y.shape, dtype=dtype) * multiple
    return x, y, gy, function(reference, "adaptive_avg_pool", n, True)(gy, shape)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", ADAPTIVE, ids=adaptive_id)
def test_adaptive_means_are_the_references(case: Any, isa: str) -> None:
    for dtype in DTYPES:
        x, y, gy, gx = expected_adaptive(case, dtype)
        with isa_limit(isa):
            assert_same(function(fc, "adaptive_avg_pool", adaptive_axes(case))(x, case[1]), y, share=0.1)
            got = function(fc, "adaptive_avg_pool", adaptive_axes(case), True)(gy, x.shape)
        if np.abs(gy).max() < 2**18 or dtype == np.float64:  # sums are exact
            assert_same(got, gx, share=0.1)
        else:
            np.testing.assert_allclose(got, gx, rtol=1e-5)


def test_the_error_of_a_large_plane_stays_small() -> None:
    x = np.random.default_rng(0).random((1, 2, 1500, 2001), np.float32)
    exact = x.mean(axis=(2, 3), dtype=np.float64)
    for isa in USABLE_ISAS:
        with isa_limit(isa):
            for laid in (x, x[:, :, ::-1]):
                got = fc.adaptive_avg_pool2d(laid, 1)[:, :, 0, 0]
                np.testing.assert_allclose(got, exact, rtol=1e-6)
    tall = np.random.default_rng(0).random((1, 1, 1_000_000, 3), np.float32)
    exact = tall.mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(fc.avg_pool2d(tall, (1_000_000, 1)).ravel(), exact, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("window", LAID_OUT, ids=str)
def test_any_layout(window: Window, layout: str, isa: str) -> None:
    x, y = expected(window, np.float32, 0)
    gy, gx = expected_grad(window, np.float32, 0)
    lay = LAYOUTS[layout]
    with isa_limit(isa):
        laid = lay(x)
        assert_same(fc.avg_pool2d(laid, window.kernel, **window.mean), y)
        np.testing.assert_array_equal(laid, x)
        assert_same(fc.avg_pool2d_backward(lay(gy), x.shape, window.kernel, **window.mean), gx, share=0.2)
        assert_same(fc.adaptive_avg_pool2d(laid, (2, 3)), reference.adaptive_avg_pool2d(x, (2, 3)))
        few = 60 * whole(np.random.default_rng(0), 3, 4, 2, 3)
        got = fc.adaptive_avg_pool2d_backward(lay(few), (3, 4, 5, 7))
        np.testing.assert_allclose(got, reference.adaptive_avg_pool2d_backward(few, (3, 4, 5, 7)), rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (2, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("kernel", [3, (9, 10), 7])
def test_broadcast_views(kernel: Any, axes: tuple[int, ...], isa: str) -> None:
    shape = (2, 3, 9, 10)
    few = whole(np.random.default_rng(0), *[1 if i in axes else s for i, s in enumerate(shape)], most=9)
    x = np.broadcast_to(few, shape)
    with isa_limit(isa):
        got = fc.avg_pool2d(x, kernel, 1)
        assert_same(got, reference.avg_pool2d(np.ascontiguousarray(x), kernel, 1), share=0.1)
        gy = np.broadcast_to(np.float32(630), got.shape)
        want = reference.avg_pool2d_backward(np.ascontiguousarray(gy), shape, kernel, 1)
        np.testing.assert_allclose(fc.avg_pool2d_backward(gy, shape, kernel, 1), want, rtol=1e-6)
        want = reference.lp_pool2d(np.ascontiguousarray(x), 1, kernel, 1)
        assert_same(fc.lp_pool2d(x, 1, kernel, 1), want, share=0.1)


def test_views_of_more_elements_than_int32_counts() -> None:
    x = np.broadcast_to(np.float32(3), (1, 1, 50_000, 50_000))
    np.testing.assert_array_equal(fc.avg_pool2d(x, 10_000), np.full((1, 1, 5, 5), 3, np.float32))
    sparse = fc.avg_pool2d(x, 2, (30_000, 25_000))
    np.testing.assert_array_equal(sparse, np.full((1, 1, 2, 2), 3, np.float32))
    np.testing.assert_array_equal(fc.lp_pool2d(x, 1, 2, (30_000, 25_000)), 4 * sparse)
    long = np.broadcast_to(np.float32(3), (1, 1, 2**31 + 7))
    np.testing.assert_allclose(fc.adaptive_avg_pool1d(long, 2), 3, rtol=1e-6)


def test_a_gradient_of_several_parts() -> None:
    gy = np.broadcast_to(np.float32(2), (1, 1, 2**23 + 2))  # adaptive windows of one element: all of them add up
    assert fc.adaptive_avg_pool1d_backward(gy, (1, 1, 2)).tolist() == [[[2**23 + 2] * 2]]


@pytest.mark.parametrize("isa", ISAS)
def test_large_windows_that_overlap(isa: str) -> None:
    """Rows are shared out between tasks, which add up parts of several windows each."""
    x = whole(np.random.default_rng(0), 1, 1, 2600, 2700, most=2)
    with isa_limit(isa):
        sums = fc.avg_pool2d(x, 2200, (100, 250), divisor_override=1)
    for i, j in np.ndindex(5, 3):
        assert sums[0, 0, i, j] == x[0, 0, 100 * i : 100 * i + 2200, 250 * j : 250 * j + 2200].sum(dtype=np.float64)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", PARALLEL, ids=str)
def test_the_same_bits_at_any_number_of_threads(window: Window, isa: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(window.shape).astype(np.float32)
    large = rng.standard_normal((1, 1, 3000, 3500)).astype(np.float32)
    with isa_limit(isa):
        found = []
        for n in THREADS:
            with fc.threads(n):
                y = fc.avg_pool2d(x, window.kernel, **window.mean)
                gx = fc.avg_pool2d_backward(y, x.shape, window.kernel, **window.mean)
                few = fc.adaptive_avg_pool2d(x, 7)
                results = (y, gx, few, fc.adaptive_avg_pool2d_backward(few, x.shape), fc.adaptive_avg_pool2d(large, 1))
                found.append(tuple(a.tobytes() for a in results))
        assert len(set(found)) == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_nothing_in_nothing_out(n: int) -> None:
    x = np.zeros((0, 3, *[4] * n), np.float32)
    y = function(fc, "avg_pool", n)(x, 2)
    assert y.shape == (0, 3, *[2] * n)
    assert function(fc, "avg_pool", n, True)(y, x.shape, 2).shape == x.shape
    assert function(fc, "adaptive_avg_pool", n)(x, 3).shape == (0, 3, *[3] * n)
    assert function(fc, "adaptive_avg_pool", n, True)(y, x.shape).shape == x.shape
    assert function(fc, "lp_pool", n)(x, 2, 2).shape == y.shape
    assert function(fc, "lp_pool", n, True)(y, x, 2, 2).shape == x.shape


def test_options_that_cannot_be() -> None:
    x = np.ones((1, 2, 6, 7), np.float32)
    y = fc.avg_pool2d(x, 2)
    for options, kind, rule in (
        ({"divisor_override": 0}, ValueError, "divisor_override must not be zero"),
        ({"divisor_override": 2.0}, TypeError, "divisor_override must be made of integers"),
        ({"count_include_pad": 1}, TypeError, "count_include_pad must be True or False"),
        ({"padding": 2}, ValueError, "no window may lie wholly in padding"),
    ):
        with pytest.raises(kind, match=f"avg_pool2d: {rule}"):
            fc.avg_pool2d(x, 2, **options)
        with pytest.raises(kind, match="avg_pool2d_backward: "):
            fc.avg_pool2d_backward(y, x.shape, 2, **options)
    with pytest.raises(ValueError, match="avg_pool2d_backward: grad_output must have the shape of the forward result"):
        fc.avg_pool2d_backward(x, x.shape, 2)
    for shape in ((1, 2, 6), (1, 3, 6, 7), (2, 6, 7), (1, 2, 0, 7)):
        with pytest.raises(ValueError, match="input_shape"):
            fc.avg_pool2d_backward(y, shape, 2)
        with pytest.raises(ValueError, match="input_shape"):
            fc.adaptive_avg_pool2d_backward(y, shape)


# ---------------------------------------------------------------------------------------------------- lp_pool


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float16, *DTYPES])
@pytest.mark.parametrize("norm", [1, 2, 3, 0.5, 2.5])
def test_power_means_are_the_references(norm: float, dtype: Any, isa: str) -> None:
    """The powers are NumPy's in both, so whole powers give the same bits."""
    for window in [w for w in SMALL if w.padding == 0]:
        x = window.input(dtype, most=4)
        x = np.abs(x) if norm != int(norm) else x
        eps = float(np.finfo(dtype).eps)
        options = {"stride": window.stride, "ceil_mode": window.ceil_mode}
        with isa_limit(isa):
            got = function(fc, "lp_pool", window)(x, norm, window.kernel, **options)
        with np.errstate(over="ignore"):
            want = function(reference, "lp_pool", window)(x, norm, window.kernel, **options)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=0 if norm == int(norm) else 200 * eps)
        gy = window.grad(dtype)
        with isa_limit(isa):
            gx = function(fc, "lp_pool", window, True)(gy, x, norm, window.kernel, **options)
        with np.errstate(over="ignore"):
            want = function(reference, "lp_pool", window, True)(gy, x, norm, window.kernel, **options)
        # Terms of the size of the largest may cancel: what is left has their round-off.
        np.testing.assert_allclose(gx, want, rtol=1e3 * eps, atol=10 * eps * np.nanmax(np.abs(want), initial=10))


@pytest.mark.parametrize("norm", [1, 1.5, 2, 4])
def test_the_gradient_of_power_means_by_differences(norm: float) -> None:
    rng = np.random.default_rng(0)
    x, options = 0.5 + rng.random((2, 2, 5, 6)), {"kernel_size": (2, 3), "stride": (2, 2), "ceil_mode": True}
    gy = rng.standard_normal(fc.lp_pool2d(x, norm, **options).shape)
    gx = fc.lp_pool2d_backward(gy, x, norm, **options)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        slope = np.sum(gy * (fc.lp_pool2d(x + step, norm, **options) - fc.lp_pool2d(x - step, norm, **options))) / 2e-6
        assert gx[place] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_norms_that_cannot_be() -> None:
    x = np.ones((1, 2, 6), np.float32)
    for norm in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="lp_pool1d: norm_type must be positive and finite"):
            fc.lp_pool1d(x, norm, 2)
    for norm in ("2", None, True, 1j):
        with pytest.raises(TypeError, match="lp_pool1d_backward: norm_type must be a real number"):
            fc.lp_pool1d_backward(x[..., :3], x, norm, 2)
    with pytest.raises(ValueError, match="lp_pool1d_backward: grad_output must have the shape"):
        fc.lp_pool1d_backward(x, x, 2, 2)
