"""Max pooling, sliding and adaptive, and unpooling: values, indices and gradients, the same as the reference's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, THREADS, USABLE_ISAS, Array, assert_same, dot, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import (
    ADAPTIVE,
    DILATED,
    LAID_OUT,
    PARALLEL,
    SLIDING,
    Window,
    adaptive_axes,
    adaptive_id,
    function,
    windows,
)

import fastconv as fc
from fastconv import _lowering, plan, reference
from fastconv._config import isa_limit
from fastconv.functional import _pool, max_pooling

SMALL = [w for w in SLIDING + DILATED if np.prod(w.shape) < 10_000]
SPECIAL = ("nan", "-inf", "inf", "all -inf", "all nan", "zeros")


def special(x: Array, kind: str) -> Array:
    """The input with values that are not like others in some places."""
    rng = np.random.default_rng(5)
    x = x.copy()
    if kind.startswith("all"):
        x[...] = float(kind[4:])
    elif kind == "zeros":
        x[...] = np.where(rng.random(x.shape) < 0.5, 0.0, -0.0)
    else:
        x[rng.random(x.shape) < (0.7 if kind == "-inf" else 0.2)] = float(kind)
    return x


@pytest.fixture
def only_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the algorithm for any windows do what sliding windows have a faster one for."""

    def choose(problem: Any, op: int, dtype: Any, flags: int, divisor: float) -> Any:
        return _lowering.window_plan(problem, op, dtype, "windows", flags=flags, divisor=divisor)

    monkeypatch.setattr(_pool, "_choose", choose)
    plan.clear()
    yield
    plan.clear()


@lru_cache(maxsize=200)
def expected(window: Window, dtype: Any, kind: str = "") -> tuple[Array, Array, Array]:
    """Input, maxima and indices."""
    x = window.input(dtype)
    x = special(x, kind) if kind else x
    y, at = function(reference, "max_pool", window)(x, window.kernel, **window.options, return_indices=True)
    return x, y, at


def assert_maxima(window: Window, dtype: Any, kind: str = "") -> None:
    x, y, at = expected(window, dtype, kind)
    pool = function(fc, "max_pool", window)
    got, got_at = pool(x, window.kernel, **window.options, return_indices=True)
    assert_same(got, y, share=0)
    assert_same(got_at, at, share=0)
    assert_same(pool(x, window.kernel, **window.options), y, share=0)


# ---------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SLIDING + DILATED, ids=str)
def test_maxima_are_the_references(window: Window, isa: str) -> None:
    for dtype in DTYPES:
        with isa_limit(isa):
            assert_maxima(window, dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SMALL[::2], ids=str)
def test_nan_and_infinity(window: Window, isa: str) -> None:
    """Of NaNs the last, of equal values the first, and never an index in the padding."""
    for kind in SPECIAL:
        with isa_limit(isa):
            assert_maxima(window, np.float32, kind)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [w for w in SMALL if np.prod(w.kernel) < 15 and np.max(w.stride or 1) < 5], ids=str)
def test_a_zero_keeps_its_sign(window: Window, isa: str) -> None:
    """Of equal zeros the first is taken, bit by bit, whether or not its index is asked for."""
    for dtype in DTYPES:
        x, y, at = expected(window, dtype, "zeros")
        if y[0, 0].size == 1:  # whole planes
            continue
        spatial = (*x.shape[: -window.axes], -1)
        want = np.signbit(np.take_along_axis(x.reshape(spatial), at.reshape(spatial), -1)).reshape(y.shape)
        with isa_limit(isa):
            pool = function(fc, "max_pool", window)
            np.testing.assert_array_equal(np.signbit(pool(x, window.kernel, **window.options)), want)
            got, _ = pool(x, window.kernel, **window.options, return_indices=True)
        np.testing.assert_array_equal(np.signbit(got), want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SMALL[1::2], ids=str)
def test_the_algorithm_for_any_windows(window: Window, isa: str, only_windows: None) -> None:
    for dtype, kind in product(DTYPES, ("", "nan", "-inf")):
        with isa_limit(isa):
            assert_maxima(window, dtype, kind)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", ADAPTIVE, ids=adaptive_id)
def test_adaptive_maxima_are_the_references(case: Any, isa: str) -> None:
    size, n = case[1], adaptive_axes(case)
    for dtype, kind in product(DTYPES, ("", "nan", "all -inf")):
        x, y, at = expected_adaptive(case, dtype, kind)
        with isa_limit(isa):
            pool = function(fc, "adaptive_max_pool", n)
            got, got_at = pool(x, size, return_indices=True)
            assert_same(got, y, share=0)
            assert_same(got_at, at, share=0)
            assert_same(pool(x, size), y, share=0)


@lru_cache(maxsize=300)
def expected_adaptive(case: Any, dtype: Any, kind: str) -> tuple[Array, Array, Array]:
    x = whole(np.random.default_rng(0), *case[0], dtype=dtype, most=9)
    x = special(x, kind) if kind else x
    return x, *function(reference, "adaptive_max_pool", adaptive_axes(case))(x, case[1], return_indices=True)


@settings(max_examples=150, deadline=None)
@given(
    window=windows(),
    dtype=st.sampled_from([np.float16, *DTYPES]),
    isa=st.sampled_from(USABLE_ISAS),
    kind=st.sampled_from(["", *SPECIAL]),
)
def test_any_window(window: Window, dtype: Any, isa: str, kind: str) -> None:
    with isa_limit(isa):
        assert_maxima(window, dtype, kind)


# ---------------------------------------------------------------------------------------------------- backward


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", (SLIDING + DILATED)[::2], ids=str)
def test_gradients_go_to_the_maxima(window: Window, isa: str) -> None:
    for dtype in DTYPES:
        x, y, at = expected(window, dtype)
        gy = window.grad(dtype)
        with isa_limit(isa):
            gx = function(fc, "max_pool", window, True)(gy, at, x.shape)
        assert_same(gx, function(reference, "max_pool", window, True)(gy, at, x.shape), share=0)
        assert dot(gy, y) == dot(gx, x)  # adjoint to the selection of the maxima, to the last bit


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", SLIDING + DILATED, ids=str)
def test_what_a_layer_keeps_says_as_much_as_indices(window: Window, isa: str) -> None:
    """Bytes where windows have at most 256 taps: the same gradient, bit by bit."""
    for dtype, kind in product(DTYPES, ("", "nan", "all -inf") if window in SMALL else ("",)):
        x, y, at = expected(window, dtype, kind)
        gy = np.random.default_rng(4).standard_normal(y.shape).astype(dtype)
        with isa_limit(isa):
            got, backward = max_pooling.with_way_back(window.axes, x, window.kernel, *window.options.values())
            gx = backward(gy)
            want = function(fc, "max_pool", window, True)(gy, at, x.shape)
        assert_same(got, y, share=0)
        assert gx.tobytes() == want.tobytes()
        with pytest.raises(ValueError, match="grad_output"):
            backward(gy[..., :-1])


@pytest.mark.parametrize("taps", [256, 257])
def test_a_byte_counts_256_taps(taps: int) -> None:
    x = np.zeros((1, 1, 258), np.float32)
    x[0, 0, [255, 256]] = 1, 2
    y, backward = max_pooling.with_way_back(1, x, taps, 1, 0, 1, False)
    kept = [c.cell_contents for c in backward.__closure__ or () if isinstance(c.cell_contents, np.ndarray)]
    assert [a.dtype for a in kept] == [np.uint8 if taps == 256 else np.int64]
    gx = backward(np.array([[[3.0, 4, 5]]], np.float32)[..., : y.size])
    assert gx[0, 0, 254:].tolist() == ([0, 3, 9, 0] if taps == 256 else [0, 0, 7, 0])


@pytest.mark.parametrize("isa", ISAS)
def test_adaptive_gradients_go_to_the_maxima(isa: str) -> None:
    x = whole(np.random.default_rng(0), 2, 3, 13, 9, most=9)
    _, at = reference.adaptive_max_pool2d(x, (5, 4), return_indices=True)
    gy = whole(np.random.default_rng(1), *at.shape)
    with isa_limit(isa):
        got = fc.adaptive_max_pool2d_backward(gy, at, x.shape)
    assert_same(got, reference.adaptive_max_pool2d_backward(gy, at, x.shape), share=0.1)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [w for w in SLIDING if w.padding == 0][::2], ids=str)
def test_unpooling(window: Window, isa: str) -> None:
    """Of several values for one place the last stays; the gradient reads the places."""
    x, maxima, at = expected(window, np.float32)
    for dtype in (np.float16, *DTYPES):
        y = maxima.astype(dtype)
        arguments = (at, window.kernel, window.stride, 0, x.shape[-window.axes :])
        want = function(reference, "max_unpool", window)(y, *arguments)
        gy = whole(np.random.default_rng(2), *want.shape, dtype=dtype)
        with isa_limit(isa):
            assert_same(function(fc, "max_unpool", window)(y, *arguments), want, share=0)
            back = function(fc, "max_unpool", window, True)(gy, at)
        assert_same(back, function(reference, "max_unpool", window, True)(gy, at))


def test_unpooling_to_a_wanted_size() -> None:
    x = np.arange(30.0).reshape(1, 5, 6)
    y, at = fc.max_pool2d(x, 2, return_indices=True)
    usual = fc.max_unpool2d(y, np.zeros_like(at), 2)
    assert usual.shape == (1, 4, 6)
    assert usual[0, 0, 0] == y[0, -1, -1]
    assert np.count_nonzero(usual) == 1
    for wanted in ((5, 7), (3, 5), (1, 1, 5, 7)):
        assert fc.max_unpool2d(y[None], at[None] * 0, 2, output_size=wanted).shape[2:] == wanted[-2:]
    for wanted in ((6, 6), (4, 4), (4,), (1, 4, 6)):
        with pytest.raises(ValueError, match="max_unpool2d: output_size must have 2 entries, each less than a stride"):
            fc.max_unpool2d(y, at * 0, 2, output_size=wanted)
    with pytest.raises(ValueError, match="max_unpool2d: the result must not be empty"):
        fc.max_unpool2d(y, at * 0, 1, 1, padding=1)


# ---------------------------------------------------------------------------------------------------- indices

_GOOD = np.zeros((1, 2, 2, 3), np.int64)


def _with(value: Any, dtype: Any = np.int64) -> Array:
    indices = _GOOD.astype(dtype)
    indices[0, 1, 1, 2] = value
    return indices


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "indices",
    [
        *map(_with, (-1, 24, 2**32, 2**63 - 1, -(2**63))),
        _with(-5, np.int8),
        _with(24, np.uint16),
        _with(2**63 + 7, np.uint64),
    ],
    ids=lambda a: f"{a[0, 1, 1, 2]}-{a.dtype}",
)
@pytest.mark.parametrize(
    "name", ["max_pool2d_backward", "adaptive_max_pool2d_backward", "max_unpool2d", "max_unpool2d_backward"]
)
def test_indices_outside_the_plane_are_refused(name: str, indices: Array, isa: str) -> None:
    values = np.ones((1, 2, 2, 3), np.float32)
    call = {
        "max_pool2d_backward": lambda: fc.max_pool2d_backward(values, indices, (1, 2, 4, 6)),
        "adaptive_max_pool2d_backward": lambda: fc.adaptive_max_pool2d_backward(values, indices, (1, 2, 4, 6)),
        "max_unpool2d": lambda: fc.max_unpool2d(values, indices, 2),
        "max_unpool2d_backward": lambda: fc.max_unpool2d_backward(np.ones((1, 2, 4, 6), np.float32), indices),
    }[name]
    value = indices[0, 1, 1, 2]
    message = rf"{name}: indices must lie in the plane \(4, 6\), from 0 to 23, received {value} at \(0, 1, 1, 2\)"
    with isa_limit(isa), pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, ">i8"])
def test_indices_of_any_integer_type(dtype: Any) -> None:
    x = whole(np.random.default_rng(0), 2, 3, 8, 9)
    y, at = fc.max_pool2d(x, 3, 2, return_indices=True)
    plain = fc.max_pool2d_backward(y, at, x.shape)
    assert_same(fc.max_pool2d_backward(y, at.astype(dtype), x.shape), plain, share=0.1)
    assert_same(fc.max_pool2d_backward(y.tolist(), at.tolist(), list(x.shape)), plain.astype(np.float64), share=0.1)


def test_indices_that_are_no_indices() -> None:
    y = np.ones((1, 1, 2, 2), np.float32)
    for wrong in (y, y.astype(bool), [[[["0"] * 2] * 2]], y.astype(complex)):
        with pytest.raises(TypeError, match="max_pool2d_backward: indices must hold integers"):
            fc.max_pool2d_backward(y, wrong, (1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"indices must have the shape of grad_output, \(1, 1, 2, 2\)"):
        fc.max_pool2d_backward(y, np.zeros((1, 1, 2, 3), int), (1, 1, 4, 4))
    at = np.zeros(y.shape, int)
    for shape in ((1, 1, 4), (1, 2, 4, 4), (2, 1, 4, 4), (1, 4, 4), (1, 1, 0, 4)):
        with pytest.raises(ValueError, match="input_shape"):
            fc.max_pool2d_backward(y, at, shape)


# ---------------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("window", LAID_OUT, ids=str)
def test_any_layout(window: Window, layout: str, isa: str) -> None:
    x, y, at = expected(window, np.float32)
    gy = window.grad(np.float32)
    lay = LAYOUTS[layout]
    with isa_limit(isa):
        laid = lay(x)
        got, got_at = fc.max_pool2d(laid, window.kernel, **window.options, return_indices=True)
        assert_same(got, y)
        assert_same(got_at, at, share=0)
        np.testing.assert_array_equal(laid, x)
        assert_same(fc.adaptive_max_pool2d(lay(x), (2, 3)), reference.adaptive_max_pool2d(x, (2, 3)))
        indices = at.T.copy().T if layout in ("inside", "stepped") else lay(at)  # which surround them with NaN
        want = reference.max_pool2d_backward(gy, at, x.shape)
        assert_same(fc.max_pool2d_backward(lay(gy), indices, x.shape), want, share=0)
        back = whole(np.random.default_rng(3), *x.shape)
        assert_same(fc.max_unpool2d_backward(lay(back), indices), reference.max_unpool2d_backward(back, at))
        places = indices % y[0, 0].size
        want = reference.max_unpool2d(y, places, 1)
        assert_same(fc.max_unpool2d(lay(y), places, 1), want, share=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (2, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("kernel", [3, (9, 10), 7])
def test_broadcast_views(kernel: Any, axes: tuple[int, ...], isa: str) -> None:
    shape = (2, 3, 9, 10)
    few = whole(np.random.default_rng(0), *[1 if i in axes else s for i, s in enumerate(shape)], most=9)
    x = np.broadcast_to(few, shape)
    with isa_limit(isa):
        got, at = fc.max_pool2d(x, kernel, 1, return_indices=True)
        want, want_at = reference.max_pool2d(np.ascontiguousarray(x), kernel, 1, return_indices=True)
        assert_same(got, want)
        assert_same(at, want_at, share=0)
        gy = np.broadcast_to(np.float32(2), got.shape)
        want = reference.max_pool2d_backward(np.ascontiguousarray(gy), at, shape)
        assert_same(fc.max_pool2d_backward(gy, at, shape), want, share=0)


def test_views_of_more_elements_than_int32_counts() -> None:
    x = np.broadcast_to(np.float32(3), (1, 1, 50_000, 50_000))
    y, at = fc.max_pool2d(x, 1000, 1000, return_indices=True)
    assert (y == 3).all()
    rows = np.arange(0, 50_000, 1000)
    np.testing.assert_array_equal(at[0, 0], rows[:, None] * 50_000 + rows)
    x = np.broadcast_to(np.array([1.0, 2, 5], np.float32)[:, None], (1, 1, 3, 2**30))
    y, at = fc.max_pool2d(x, (3, 1), (1, 2**29), return_indices=True)
    assert y.ravel().tolist() == [5, 5]
    assert at.ravel().tolist() == [2**31, 2**31 + 2**29]
    y, at = fc.max_pool2d(x[:, :, :, : 2**20], 1, 2**18, return_indices=True)
    assert y.shape == (1, 1, 1, 4)
    x = np.broadcast_to(np.float32(7), (1, 1, 2**32 + 5))
    y, at = fc.max_pool1d(x, 2, 2**30, dilation=2**31, return_indices=True)
    assert at.ravel().tolist() == [0, 2**30, 2**31]
    y, at = fc.adaptive_max_pool1d(np.broadcast_to(np.float32(7), (1, 1, 2**24 + 5)), 3, return_indices=True)
    assert at.ravel().tolist() == [0, (2**24 + 5) // 3, 2 * (2**24 + 5) // 3]


def test_a_window_of_several_parts() -> None:
    """Longer than a task may take: found in parts, of rows and of columns, which are put together."""
    for shape in ((1, 1, 3000, 2500), (1, 1, 2, 5_000_000)):
        x = np.zeros(shape, np.float32)
        places = [(x.size * k) // 7 + k for k in range(1, 7)]
        x.ravel()[places] = 4
        for transform in (lambda a: a, lambda a: a[:, :, ::-1][:, :, ::-1]):
            y, at = fc.adaptive_max_pool2d(transform(x), 1, return_indices=True)
            assert (y.item(), at.item()) == (4, places[0])
        x.ravel()[[places[1], places[4]]] = np.nan
        y, at = fc.adaptive_max_pool2d(x, 1, return_indices=True)
        assert np.isnan(y.item())
        assert at.item() == places[4]
        wide = np.concatenate([x, x * 0 - 1], axis=-1)[..., : x.shape[-1]]  # the same elements, rows farther apart
        y, at = fc.adaptive_max_pool2d(wide, 1, return_indices=True)
        assert at.item() == places[4]


@pytest.mark.parametrize("isa", ISAS)
def test_large_windows_that_overlap(isa: str) -> None:
    """Rows are shared out between tasks, which find parts of several windows each."""
    x = whole(np.random.default_rng(0), 1, 1, 2600, 2700, most=99)
    x[0, 0, ::7, ::11] = 99
    x[0, 0, 2300, 1234] = np.nan
    with isa_limit(isa):
        y, at = fc.max_pool2d(x, 2200, (100, 250), return_indices=True)
        assert_same(fc.max_pool2d(x, 2200, (100, 250)), y)
    plane = np.arange(2600 * 2700).reshape(2600, 2700)
    for i, j in np.ndindex(5, 3):
        part = np.s_[100 * i : 100 * i + 2200, 250 * j : 250 * j + 2200]
        first = int(x[0, 0][part].argmax())  # or the only NaN
        np.testing.assert_array_equal(y[0, 0, i, j], x[0, 0][part].flat[first])
        assert at[0, 0, i, j] == plane[part].flat[first]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", PARALLEL, ids=str)
def test_the_same_bits_at_any_number_of_threads(window: Window, isa: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(window.shape).astype(np.float32)
    with isa_limit(isa):
        found = []
        for n in THREADS:
            with fc.threads(n):
                y, at = fc.max_pool2d(x, window.kernel, **window.options, return_indices=True)
                gx = fc.max_pool2d_backward(y, at, x.shape)
                found.append((y.tobytes(), at.tobytes(), gx.tobytes(), fc.adaptive_max_pool2d(x, 7).tobytes()))
        assert len(set(found)) == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_nothing_in_nothing_out(n: int) -> None:
    x = np.zeros((0, 3, *[4] * n), np.float32)
    y, at = function(fc, "max_pool", n)(x, 2, return_indices=True)
    assert y.shape == at.shape == (0, 3, *[2] * n)
    assert at.dtype == np.int64
    assert function(fc, "max_pool", n, True)(y, at, x.shape).shape == x.shape
    assert function(fc, "adaptive_max_pool", n)(x, 3).shape == (0, 3, *[3] * n)
    assert function(fc, "max_unpool", n)(y, at, 2).shape == x.shape
    assert function(fc, "max_unpool", n, True)(x, at).shape == y.shape


def test_windows_and_sizes_that_cannot_be() -> None:
    x = np.ones((1, 2, 6, 7), np.float32)
    for options, rule in (
        ({"kernel_size": 2, "padding": 2}, "no window may lie wholly in padding"),
        ({"kernel_size": 9}, "the window must fit"),
        ({"kernel_size": 2, "padding": "same"}, "padding must be ints or"),
        ({"kernel_size": 2, "stride": 0}, "stride must be positive"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size must be an int or 2 ints"),
    ):
        with pytest.raises(ValueError, match=f"max_pool2d: .*{rule}"):
            fc.max_pool2d(x, **options)
    for size in (0, (2, 0), (2, 3, 4), (-1, 2)):
        with pytest.raises(ValueError, match="adaptive_max_pool2d: output_size"):
            fc.adaptive_max_pool2d(x, size)
    for size in (2.0, "2", (2, True)):
        with pytest.raises(TypeError, match="adaptive_max_pool2d: output_size"):
            fc.adaptive_max_pool2d(x, size)
    with pytest.raises(ValueError, match="adaptive_max_pool2d: input may be empty along its batch axis only"):
        fc.adaptive_max_pool2d(x[:, :, :0], 2)
    with pytest.raises(TypeError, match="max_pool2d: return_indices must be True or False"):
        fc.max_pool2d(x, 2, return_indices=1)
