"""What every operator promises of its arrays: dtypes, layouts, inputs that stay as they are, values that survive."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, Array, Conv, assert_same, whole

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit

ALGORITHMS = ("direct", "im2col", "col2im", "depthwise", "grouped")
CONV = Conv(2, 3, 10, (7, 12), (3, 2), stride=(2, 1), padding=((1, 2), (0, 1)), groups=2)
GROUPS = {"groups": 2}


def gradient(shape: tuple[int, ...], like: Array) -> Array:
    """Small whole numbers that depend on the shape only."""
    return whole(np.random.default_rng(9), *shape, dtype=like.dtype, most=2)


#: One call of every operator of this part, on two arrays: x (2, 6, 7, 12) and w (20, 3, 3, 2).
CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "conv2d": lambda f, x, w: f.conv2d(x, w, **CONV.options),
    "conv2d_backward": lambda f, x, w: f.conv2d_backward(gradient((2, 20, 5, 11), x), x, w, **GROUPS),
    "conv1d": lambda f, x, w: f.conv1d(x[:, :, 0], w[:, :, 0], **GROUPS),
    "conv3d": lambda f, x, w: f.conv3d(x[:, :, None], w[:, :, None], **GROUPS, stride=2),
    "conv_transpose2d": lambda f, x, w: f.conv_transpose2d(x, w[:6], stride=2, padding=1),
    "conv_transpose2d_backward": lambda f, x, w: f.conv_transpose2d_backward(gradient((2, 3, 9, 13), x), x, w[:6]),
    "linear": lambda f, x, w: f.linear(x[..., :2], w[0, 0]),
    "linear_backward": lambda f, x, w: f.linear_backward(x[..., :3], x[..., :2], w[0, 0]),
    "unfold": lambda f, x, w: f.unfold(x, (3, 2), padding=1, stride=2),
    "unfold_backward": lambda f, x, w: f.unfold_backward(x[:, :, 0], (2, 1, 5, 5), (3, 2)),
    "fold": lambda f, x, w: f.fold(x[:, :, 0], (5, 5), (3, 2)),
    "fold_backward": lambda f, x, w: f.fold_backward(x, 3),
    "pad": lambda f, x, w: f.pad(x, (2, 1, 0, 3), mode="reflect"),
    "pad_backward": lambda f, x, w: f.pad_backward(x, (2, 1), mode="circular"),
}


def data(dtype: Any) -> tuple[Array, Array]:
    return CONV.data(dtype)[:2]


def results(found: Any) -> tuple[Array, ...]:
    return found if isinstance(found, tuple) else (found,)


def assert_all_same(found: Any, wanted: Any, dtype: Any = None) -> None:
    for got, want in zip(results(found), results(wanted), strict=True):
        assert_same(got, want if dtype is None else want.astype(dtype))


# ---------------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_of_the_input_is_that_of_the_result(call: str, dtype: Any) -> None:
    x, w = data(dtype)
    wanted = CALLS[call](reference, x.astype(np.float64), w.astype(np.float64))
    assert max(np.abs(a).max() for a in results(wanted)) < 2048, "not exact in float16"
    assert_all_same(CALLS[call](fc, x, w), wanted, dtype)


@pytest.mark.parametrize("call", [name for name in CALLS if "fold" not in name and "pad" not in name])
@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [
        (np.float32, np.float64, np.float64),
        (np.float64, np.float32, np.float64),
        (np.float16, np.float32, np.float32),
        (np.float64, np.float16, np.float64),
    ],
)
def test_mixed_dtypes_promote_as_numpy_does(call: str, first: Any, second: Any, dtype: Any) -> None:
    x, w = data(np.float64)
    wanted = CALLS[call](reference, x, w)
    assert_all_same(CALLS[call](fc, x.astype(first), w.astype(second)), wanted, dtype)


def test_lists_take_the_dtype_of_the_arrays() -> None:
    x, w = data(np.float32)
    wanted = fc.conv2d(x, w, **CONV.options)
    assert_same(fc.conv2d(x, w.tolist(), **CONV.options), wanted)
    assert_same(fc.conv2d(x, w.astype(int).tolist(), np.zeros(20).tolist(), **CONV.options), wanted)
    assert_same(fc.conv2d(x.tolist(), w.tolist(), **CONV.options), wanted.astype(np.float64))
    assert_same(fc.conv2d(x.astype(np.float16), w.tolist(), **CONV.options), wanted.astype(np.float16))


def test_anything_that_numpy_reads_is_an_array() -> None:
    x, w = data(np.float32)
    wanted = fc.conv2d(x, w, **CONV.options)

    class Wrapped:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return x if dtype is None else x.astype(dtype)

    class Sub(np.ndarray[Any, Any]):
        pass

    assert_same(fc.conv2d(Wrapped(), w, **CONV.options), wanted)
    assert_same(fc.conv2d(x.view(Sub), memoryview(w), **CONV.options), wanted)


def test_float16_is_summed_in_float32() -> None:
    x, w = np.full((1, 1, 1, 4096), 1, np.float16), np.full((1, 1, 1, 4096), 1, np.float16)
    w[..., 0] = 0.5
    assert fc.conv2d(x, w).item() == np.float16(4095.5)
    assert fc.linear(x.reshape(1, -1), w.reshape(1, -1)).item() == np.float16(4095.5)
    columns = np.full((1, 3000, 1), 1, np.float16)
    assert fc.fold(columns, (1, 3000), (1, 3000)).sum(dtype=np.float64) == 3000
    ones = np.full((1, 1, 4000), 1, np.float16)
    assert fc.pad_backward(ones, (3999, 0), mode="replicate").item() == 4000


@pytest.mark.parametrize(
    "dtype", [np.int32, np.uint8, np.bool_, np.complex64, np.complex128, np.longdouble, object, "U3", "datetime64[s]"]
)
@pytest.mark.parametrize("call", CALLS)
def test_other_dtypes_are_refused(call: str, dtype: Any) -> None:
    x, w = data(np.float32)
    bad = np.ones(x.shape, np.int64).astype(dtype)
    with pytest.raises(TypeError, match=r"^\w+: (input|grad_output) must be float16, float32 or float64.*astype"):
        CALLS[call](fc, bad, w)


# ---------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_change_nothing_and_are_not_changed(call: str, dtype: Any, isa: str) -> None:
    x, w = data(dtype)
    wanted = CALLS[call](reference, x, w)
    for name, lay in LAYOUTS.items():
        for a, b in ((lay(x), w), (x, lay(w)), (lay(x), lay(w))):
            before = a.tobytes(), b.tobytes()
            with isa_limit(isa):
                found = CALLS[call](fc, a, b)
            assert_all_same(found, wanted)
            assert (a.tobytes(), b.tobytes()) == before, f"{name}: an input was changed"
            assert not any(np.may_share_memory(r, s) for r in results(found) for s in (a, b))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (0, 1, 2, 3)], ids=str)
def test_zero_strides(axes: tuple[int, ...], algorithm: str) -> None:
    x, w, b, gy = CONV.data(np.float32)

    def same_along(a: Array) -> tuple[Array, Array]:
        view = np.broadcast_to(a[tuple(slice(0, 1) if i in axes else slice(None) for i in range(4))], a.shape)
        assert all(view.strides[i] == 0 for i in axes)
        return view, view.copy()

    (x0, x1), (w0, w1), (g0, g1) = map(same_along, (x, w, gy))
    b0 = np.broadcast_to(b[:1], b.shape)
    options = {**CONV.options, "algorithm": algorithm}
    assert_same(fc.conv2d(x0, w0, b0, **options), reference.conv2d(x1, w1, b0.copy(), **CONV.options))
    wanted = reference.conv2d_backward(g1, x1, w1, **CONV.options)
    for got, want in zip(fc.conv2d_backward(g0, x0, w0, **options), wanted, strict=True):
        assert_same(got, want)
    assert_same(fc.unfold(x0, 3, padding=1), reference.unfold(x1, 3, padding=1))
    assert_same(fc.fold(x0[:, :, 0], (5, 5), (3, 2)), reference.fold(x1[:, :, 0], (5, 5), (3, 2)))


SIDE = 50_000


@pytest.mark.skipif(sys.maxsize < 2**32, reason="needs 64-bit addresses")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto"])
def test_views_of_more_than_two_to_the_31_elements(algorithm: str, isa: str) -> None:
    one = np.broadcast_to(np.float32(1), (1, 1, SIDE, SIDE))
    # A view whose element (h, w) is line[h + w]: as large, and it shows where each window was read.
    line = whole(np.random.default_rng(0), 2 * SIDE, most=9)
    slanted = np.lib.stride_tricks.as_strided(line, (1, 1, SIDE, SIDE), (0, 0, 4, 4), writeable=False)
    assert one.size == slanted.size > 2**31
    w = whole(np.random.default_rng(1), 2, 1, 3, 3)
    corner = np.arange(0, SIDE - 2, 1000)
    starts = corner[:, None] + corner
    with isa_limit(isa):
        flat = fc.conv2d(one, w, stride=1000, algorithm=algorithm)
        assert_same(flat, np.broadcast_to(w.sum((2, 3))[None, :, :1, None], (1, 2, 50, 50)).copy())
        y = fc.conv2d(slanted, w, stride=1000, algorithm=algorithm)
        wanted = sum(w[:, 0, i, j][:, None, None] * line[starts + i + j] for i in range(3) for j in range(3))
        assert_same(y, wanted[None])
        gw = fc.conv2d_backward(y, slanted, w, stride=1000, needs=(False, True, False), algorithm=algorithm)[1]
    taps = [[(y[0] * line[starts + i + j]).sum((1, 2)) for j in range(3)] for i in range(3)]
    assert_same(gw, np.array(taps, np.float32).transpose(2, 0, 1)[:, None])


@pytest.mark.skipif(sys.maxsize < 2**32, reason="needs 64-bit addresses")
def test_windows_over_more_than_two_to_the_31_elements() -> None:
    one = np.broadcast_to(np.float32(1), (1, 1, SIDE, SIDE))
    line = whole(np.random.default_rng(0), 2 * SIDE, most=9)
    slanted = np.lib.stride_tricks.as_strided(line, (1, 1, SIDE, SIDE), (0, 0, 4, 4), writeable=False)
    corner = np.arange(0, SIDE - 2, 1000)
    starts = (corner[:, None] + corner).ravel()
    windows = np.stack([line[starts + i + j] for i in range(3) for j in range(3)])
    assert_same(fc.unfold(slanted, 3, stride=1000), windows[None])
    side = (50, 50)
    assert_same(fc.max_pool2d(one, 3, stride=1000), np.ones((1, 1, *side), np.float32))
    assert_same(fc.max_pool2d(slanted, 3, stride=1000), windows.max(0).reshape(1, 1, *side))
    mean = fc.avg_pool2d(slanted, 3, stride=1000, divisor_override=1)
    assert_same(mean, windows.sum(0).reshape(1, 1, *side))
    found, indices = fc.max_pool2d(slanted, 3, stride=1000, return_indices=True)
    assert indices.max() > 2**31
    row, column = np.divmod(indices, SIDE)
    np.testing.assert_array_equal(line[row + column], found)


# ---------------------------------------------------------------------------------------------------- special values


def spoiled(a: Array, value: float) -> list[Array]:
    """Copies with the first, the last, or a middle element replaced."""
    copies = []
    for place in (0, a.size // 2, a.size - 1):
        copy = a.copy()
        copy.ravel()[place] = value
        copies.append(copy)
    return copies


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_propagate(dtype: Any, algorithm: str, value: float) -> None:
    for conv in (
        Conv(2, 3, 6, (9, 11), (3, 3), padding=1),
        Conv(1, 3, 20, (9, 12), (3, 2), stride=2),
        Conv(2, 1, 1, (9, 11), (3, 3), padding=1, groups=3),
        Conv(1, 2, 3, (9, 40), (2, 3), dilation=2, groups=2),
    ):
        x, w, b, gy = conv.data(dtype)
        options = {**conv.options, "algorithm": algorithm}
        for bad_x, bad_w in [*((bad, w) for bad in spoiled(x, value)), *((x, bad) for bad in spoiled(w, value))]:
            wanted = reference.conv2d(bad_x, bad_w, b, **conv.options)
            assert_partly_finite(wanted)
            got = fc.conv2d(bad_x, bad_w, b, **options)
            if bad_w is not w:  # a tap in the padding may add 0, whatever its weight is
                touched = reference.conv2d(np.ones_like(x), 1.0 - np.isfinite(bad_w), **conv.options) > 0
                without = reference.conv2d(x, np.where(np.isfinite(bad_w), w, 0), b, **conv.options)
                wanted = np.where(touched | ~np.isfinite(got), wanted, without.astype(dtype))
            np.testing.assert_array_equal(got, wanted)
            found = fc.conv2d_backward(gy, bad_x, bad_w, **options)
            wanted_grads = reference.conv2d_backward(gy, bad_x, bad_w, **conv.options)
            hidden_nowhere(found, wanted_grads)
            np.testing.assert_array_equal(found[1], wanted_grads[1])
            np.testing.assert_array_equal(found[2], wanted_grads[2])
        for bad in spoiled(gy, value):
            gx, gw, gb = fc.conv2d_backward(bad, x, w, **options)
            wanted_x, wanted_w, wanted_b = reference.conv2d_backward(bad, x, w, **conv.options)
            assert_partly_finite(wanted_x)
            np.testing.assert_array_equal(gx, wanted_x)
            np.testing.assert_array_equal(gb, wanted_b)
            np.testing.assert_array_equal(gw, wanted_w)


def assert_partly_finite(a: Array) -> None:
    assert 0 < np.isfinite(a).sum() < a.size


def hidden_nowhere(found: tuple[Array, ...], wanted: tuple[Array, ...]) -> None:
    """Not finite wherever the reference is not. (Zero times infinity in a padded sum may spoil more.)"""
    assert any(not np.isfinite(want).all() for want in wanted)
    for got, want in zip(found, wanted, strict=True):
        assert not np.isfinite(got[~np.isfinite(want)]).any()
        clean = np.isfinite(got)
        np.testing.assert_array_equal(got[clean], want[clean])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_move_with_their_element(value: float) -> None:
    x = np.arange(1, 41, dtype=np.float32).reshape(1, 2, 4, 5)
    x[0, 1, 2, 3] = value
    for call in (
        lambda f: f.unfold(x, 2),
        lambda f: f.fold(x.reshape(1, 8, 5), (2, 6), 2),
        lambda f: f.pad(x, (2, 1), mode="circular"),
        lambda f: f.pad_backward(x, (1, 1), mode="replicate"),
    ):
        wanted = call(reference)
        assert_partly_finite(wanted)
        np.testing.assert_array_equal(call(fc), wanted)
    weight = whole(np.random.default_rng(0), 3, 5)
    wanted = reference.linear(x, weight)
    assert_partly_finite(wanted)
    np.testing.assert_array_equal(fc.linear(x, weight), wanted)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("call", [name for name in CALLS if "backward" not in name])
@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_are_kept(call: str, dtype: Any, isa: str) -> None:
    x, w = data(dtype)
    smallest = np.finfo(dtype).smallest_subnormal
    wanted = CALLS[call](reference, x, w) * smallest
    assert np.abs(wanted).max() < np.finfo(dtype).tiny
    with isa_limit(isa), fc.threads(4):
        assert_same(CALLS[call](fc, x * smallest, w), wanted)


def environment() -> tuple[int, ...]:
    """Rounding and masks of the x87 and SSE units, without the flags of what happened."""
    buffer = (ctypes.c_uint16 * 16)()
    assert ctypes.CDLL(None).fegetenv(ctypes.byref(buffer)) == 0
    return buffer[0], buffer[14] & ~0x3F


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="knows the layout of fenv_t on Linux, x86-64 only"
)
def test_the_floating_point_environment_is_untouched() -> None:
    before = environment()
    assert before[1] & 0x8040 == 0, "denormals were flushed before the test"
    for call in CALLS.values():
        call(fc, *data(np.float32))
        assert environment() == before
