"""Padding and its gradient: the same as the reference to the last bit, adjoint, and within torch's limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import LAYOUTS, Array, assert_same, dot, whole
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import reference

MODES = ("constant", "reflect", "replicate", "circular")
FLOATS = [np.float16, np.float32, np.float64]

# shape and pads, within the limits of every mode
CASES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((3, 7), (2, 3)),
    ((2, 3, 7), (6, 6)),
    ((2, 3, 7), (0, 0)),
    ((2, 3, 7), ()),
    ((2, 3, 7), (0, 5)),
    ((2, 3, 7), (4, 0)),
    ((3, 5, 7), (1, 2, 3, 4)),
    ((2, 3, 5, 7), (6, 0, 0, 4)),
    ((2, 3, 5, 7), (1, 2)),
    ((2, 3, 5, 17), (16, 15, 2, 1)),
    ((3, 4, 5, 6), (1, 2, 3, 4, 2, 1)),
    ((2, 3, 4, 5, 6), (5, 1, 0, 4, 3, 2)),
    ((2, 3, 4, 1), (0, 0, 2, 3)),
    ((0, 3, 4, 5), (1, 2, 3, 1)),
    ((2, 0, 4, 5), (1, 2)),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("shape", "pads"), CASES)
def test_equals_the_reference(shape: tuple[int, ...], pads: tuple[int, ...], dtype: Any, mode: str) -> None:
    x = whole(np.random.default_rng(0), *shape, dtype=dtype, most=9)
    y = reference.pad(x, pads, mode)
    got = fc.pad(x, pads, mode)
    assert_same(got, y, share=0.05)
    assert not np.may_share_memory(got, x)
    gy = whole(np.random.default_rng(1), *y.shape, dtype=dtype, most=9)
    kept = gy.copy()
    assert_same(fc.pad_backward(gy, pads, mode), reference.pad_backward(gy, pads, mode), share=0.5)
    np.testing.assert_array_equal(gy, kept, "the gradient was changed")
    if x.size:
        assert dot(y, gy) == dot(x, fc.pad_backward(gy, pads, mode).astype(np.float64)) != 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "pads",
    [(-1, 0), (0, -6), (-2, 3), (3, -2), (-3, -4), (-7, 2), (-1, 2, 3, -2), (1, 1, -5, 0), (-1, -1, -1, -1, 4, -1)],
)
def test_negative_pads_crop(pads: tuple[int, ...], dtype: Any) -> None:
    x = whole(np.random.default_rng(2), 3, 4, 5, 7, dtype=dtype)
    y = fc.pad(x, pads, value=5)
    assert_same(y, reference.pad(x, pads, value=5))
    gy = whole(np.random.default_rng(3), *y.shape, dtype=dtype)
    gx = fc.pad_backward(gy, pads)
    assert_same(gx, reference.pad_backward(gy, pads), share=0)
    assert dot(fc.pad(x, pads), gy) == dot(x, gx)


def test_the_modes_in_one_line_each() -> None:
    x = np.array([[1, 2, 3, 4]], np.float64)
    for mode, before, behind in (
        ("constant", [0, 0, 0], [0, 0]),
        ("reflect", [4, 3, 2], [3, 2]),
        ("replicate", [1, 1, 1], [4, 4]),
        ("circular", [2, 3, 4], [1, 2]),
    ):
        assert fc.pad(x, (3, 2), mode).tolist() == [[*before, 1, 2, 3, 4, *behind]]
    assert fc.pad(x, (1, 0, 0, 1), value=-1).tolist() == [[-1, 1, 2, 3, 4], [-1] * 5]
    assert fc.pad(x[0], [2, 1]).tolist() == [0, 0, 1, 2, 3, 4, 0]
    assert fc.pad(np.float32(3), ()).item() == 3


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "value", [0, 2, 1.5, -0.25, np.float32(3), np.float16(3), np.int8(-4), np.nan, np.inf, -np.inf]
)
def test_value(value: Any, dtype: Any) -> None:
    y = fc.pad(np.ones((2, 3), dtype), (1, 2, 0, 1), value=value)
    assert y.dtype == dtype
    wanted = np.full((3, 6), value, dtype)
    wanted[:2, 1:4] = 1
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_layouts(layout: str, dtype: Any, mode: str) -> None:
    x = whole(np.random.default_rng(4), 2, 3, 5, 6, dtype=dtype)
    laid = LAYOUTS[layout](x)
    assert_same(fc.pad(laid, (3, 2, 1, 4), mode), reference.pad(x, (3, 2, 1, 4), mode), share=0.2)
    assert_same(fc.pad_backward(laid, (1, 2, 1, 0), mode), reference.pad_backward(x, (1, 2, 1, 0), mode), share=0.2)
    same = np.broadcast_to(x[:1, :, :1], x.shape)
    assert_same(fc.pad(same, (3, 2, 1, 4), mode), reference.pad(same.copy(), (3, 2, 1, 4), mode), share=0.2)
    np.testing.assert_array_equal(laid, x)


@pytest.mark.parametrize("mode", MODES)
def test_numeric_gradient(mode: str) -> None:
    rng = np.random.default_rng(5)
    x, pads = rng.standard_normal((2, 3, 4)), (2, 3, 1, 2)
    gy = rng.standard_normal(fc.pad(x, pads, mode).shape)
    slopes = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-3
        slopes[place] = np.sum(gy * (fc.pad(x + step, pads, mode) - fc.pad(x - step, pads, mode))) / 2e-3
    np.testing.assert_allclose(fc.pad_backward(gy, pads, mode), slopes, rtol=1e-9)


X = np.ones((2, 3, 4, 5), np.float32)
BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: fc.pad(X, (1,)), ValueError, r"pad: pad must hold lo and hi .* received pad=\(1,\)"),
    (lambda: fc.pad(X, (1, 2, 3)), ValueError, "pad: pad must hold lo and hi"),
    (lambda: fc.pad(X, (1,) * 10), ValueError, "pad: pad must hold lo and hi .* 4 axes"),
    (lambda: fc.pad(X, 1), TypeError, "pad: pad must be a sequence of integers, received pad=1"),
    (lambda: fc.pad(X, "11"), TypeError, "pad: pad must be a sequence of integers, received pad='11'"),
    (lambda: fc.pad(X, None), TypeError, "pad: pad must be a sequence of integers"),
    (lambda: fc.pad(X, (1.0, 2)), TypeError, r"pad: pad must be made of integers, received pad=\(1.0, 2\)"),
    (lambda: fc.pad(X, (True, 2)), TypeError, "pad: pad must be made of integers"),
    (lambda: fc.pad(X, (2**62, 0)), ValueError, r"pad: pad must be below 2\*\*62"),
    (lambda: fc.pad(X, (-(2**63), 0)), ValueError, "pad: pad must be at least"),
    (lambda: fc.pad(X, (2**61, 0)), MemoryError, r"pad: a result of shape \(2, 3, 4, \d+\)"),
    (lambda: fc.pad(X, (2**45, 0)), MemoryError, ""),
    (lambda: fc.pad(X, (-6, 0)), ValueError, r"pad: pad must not crop more than axis 3 has, 5, received pad=\(-6, 0\)"),
    (lambda: fc.pad(X, (-3, -3)), ValueError, "pad: pad must not crop more than axis 3 has, 5"),
    (lambda: fc.pad(X, (-6, 8)), ValueError, "pad: pad must not crop more"),
    (lambda: fc.pad(X, (1, 1), "mirror"), ValueError, "pad: mode must be one of .* received mode='mirror'"),
    (lambda: fc.pad(X, (1, 1), None), ValueError, "pad: mode must be one of .* received mode=None"),
    (lambda: fc.pad(X, (5, 0), "reflect"), ValueError, r"pad: pad must be at most 4 in mode 'reflect' .* pad=\(5, 0\)"),
    (
        lambda: fc.pad(X, (0, 0, 0, 4), "reflect"),
        ValueError,
        "pad: pad must be at most 3 in mode 'reflect' where axis 2",
    ),
    (lambda: fc.pad(X, (6, 0), "circular"), ValueError, "pad: pad must be at most 5 in mode 'circular'"),
    (lambda: fc.pad(X[..., :0], (1, 0), "replicate"), ValueError, "pad: pad must be at most 0 in mode 'replicate'"),
    (lambda: fc.pad(X[..., :1], (1, 0), "reflect"), ValueError, "pad: pad must be at most 0 in mode 'reflect'"),
    (
        lambda: fc.pad(X, (-1, 0), "replicate"),
        ValueError,
        r"pad: pad must be non-negative in mode 'replicate'.*\(-1, 0\)",
    ),
    (lambda: fc.pad(X, (1,) * 8, "reflect"), ValueError, "pad: mode 'reflect' pads the last one to three axes"),
    (lambda: fc.pad(X[0, 0], (1,) * 4, "circular"), ValueError, "pad: mode 'circular' pads the last one to three axes"),
    (lambda: fc.pad(X[0, 0, 0], (1, 1), "reflect"), ValueError, "pad: mode 'reflect' pads .* received .* 1 axes"),
    (lambda: fc.pad(X[None, None], (1, 1), "reflect"), ValueError, "pad: mode 'reflect' pads .* 6 axes"),
    (
        lambda: fc.pad(X, (1, 1), "reflect", 1.0),
        ValueError,
        "pad: value goes with mode 'constant' only, received value=1.0",
    ),
    (lambda: fc.pad(X, (1, 1), value="0"), TypeError, "pad: value must be a real number, received value='0'"),
    (lambda: fc.pad(X, (1, 1), value=True), TypeError, "pad: value must be a real number"),
    (lambda: fc.pad(X, (1, 1), value=1j), TypeError, "pad: value must be a real number"),
    (lambda: fc.pad(X, (1, 1), value=[1.0]), TypeError, "pad: value must be a real number"),
    (
        lambda: fc.pad(X, (1, 1), value=1e39),
        ValueError,
        r"pad: value must be in the range of float32, received value=1e\+39",
    ),
    (
        lambda: fc.pad(X.astype(np.float16), (1, 1), value=70000),
        ValueError,
        "pad: value must be in the range of float16",
    ),
    (lambda: fc.pad(X, (1, 1), value=10**400), ValueError, "pad: value must be in the range of float32"),
    (lambda: fc.pad(X.astype(int), (1, 1)), TypeError, "pad: input must be float16, float32 or float64"),
    (lambda: fc.pad(None, (1, 1)), TypeError, "pad: input must be an array"),
    (
        lambda: fc.pad_backward(X, (3, 3)),
        ValueError,
        r"pad_backward: grad_output must be at least .*\(2, 3, 4, 5\).*\(3, 3\)",
    ),
    (
        lambda: fc.pad_backward(X, (2, 1), "reflect"),
        ValueError,
        "pad_backward: pad must be at most 1 in mode 'reflect'",
    ),
    (
        lambda: fc.pad_backward(X, (3, 0), "circular"),
        ValueError,
        "pad_backward: pad must be at most 2 in mode 'circular'",
    ),
    (
        lambda: fc.pad_backward(X, (3, 2), "replicate"),
        ValueError,
        "pad_backward: pad must be at most 0 in mode 'replicate'",
    ),
    (lambda: fc.pad_backward(X, (1,)), ValueError, "pad_backward: pad must hold lo and hi"),
    (lambda: fc.pad_backward(X, (1, 1), "wrap"), ValueError, "pad_backward: mode must be one of"),
    (lambda: fc.pad_backward(X.astype(bool), (1, 1)), TypeError, "pad_backward: grad_output must be float16"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match="^" + words):
        call()


@st.composite
def padded(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """A shape, pads that the mode allows, and the mode."""
    mode = draw(st.sampled_from(MODES))
    shape = draw(st.lists(st.integers(1, 7), min_size=2, max_size=5).map(tuple))
    count = draw(st.integers(0, min(3, len(shape) - 1) if mode != "constant" else len(shape)))
    pads: list[int] = []
    for size in shape[::-1][:count]:
        most = {"constant": 5, "reflect": size - 1, "replicate": 9, "circular": size}[mode]
        lo = draw(st.integers(-size if mode == "constant" else 0, most))
        hi = draw(st.integers(-size - min(lo, 0) if mode == "constant" else 0, most))
        pads += [lo, hi]
    return shape, tuple(pads), mode


@settings(max_examples=500)
@given(padded(), st.sampled_from(FLOATS), st.sampled_from(sorted(LAYOUTS)), st.integers(0, 2**31))
def test_any_padding(case: tuple[tuple[int, ...], tuple[int, ...], str], dtype: Any, layout: str, seed: int) -> None:
    shape, pads, mode = case
    rng = np.random.default_rng(seed)
    x = whole(rng, *shape, dtype=dtype)
    y = fc.pad(LAYOUTS[layout](x), pads, mode)
    assert_same(y, reference.pad(x, pads, mode), share=0)
    gy: Array = whole(rng, *y.shape, dtype=dtype)
    gx = fc.pad_backward(gy, pads, mode)
    assert_same(gx, reference.pad_backward(gy, pads, mode), share=0)
    assert dot(y, gy) == dot(x, gx)
