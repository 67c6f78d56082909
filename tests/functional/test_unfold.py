"""unfold and fold, the same as the reference to the last bit, and adjoint to one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, THREADS, USABLE_ISAS, WIDTHS, Array, assert_same, dot, whole
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit


@dataclass(frozen=True)
class Window:
    shape: tuple[int, ...]
    kernel: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1

    @property
    def options(self) -> dict[str, Any]:
        return {"dilation": self.dilation, "padding": self.padding, "stride": self.stride}

    def data(self, dtype: Any, seed: int = 0) -> tuple[Array, Array, Array]:
        """The image, its columns by the reference, and other columns of that shape."""
        rng = np.random.default_rng(seed)
        x = whole(rng, *self.shape, dtype=dtype, most=99)
        columns = reference.unfold(x, self.kernel, **self.options)
        return x, columns, whole(rng, *columns.shape, dtype=dtype, most=99)


WINDOWS = [
    *[Window((2, 3, 5, w), 3, padding=1) for w in WIDTHS],
    *[Window((2, 2, 4, w + 1), 2, stride=(1, 2)) for w in WIDTHS],
    Window((2, 3, 6, 7), 1),
    Window((2, 3, 6, 7), 1, stride=(2, 3)),
    Window((3, 2, 5, 6), (5, 6)),
    Window((3, 2, 5, 6), (5, 1)),
    Window((1, 2, 1, 30), (1, 4), stride=3),
    Window((1, 2, 30, 1), (4, 1), padding=((2, 1), (0, 0))),
    Window((2, 3, 1, 1), 3, padding=2, stride=2),
    Window((1, 2, 9, 8), (2, 3), dilation=(3, 2), padding=((1, 4), (0, 3))),
    Window((2, 2, 13, 12), (3, 2), dilation=(2, 4), padding=3, stride=(4, 6)),
    Window((2, 2, 17, 15), (2, 3), stride=(5, 4)),
    Window((1, 1, 4, 5), (2, 2), padding=(3, 5)),
    Window((2, 3, 9, 10), (4, 3), padding="same", stride=(2, 3)),
    Window((2, 3, 9, 10), (4, 2), padding="same", dilation=2),
    Window((2, 3, 9, 10), 3, padding="valid"),
    Window((40, 5, 7, 7), 3, padding=1),
    Window((3, 7, 8), 3, padding=1),
    # several tasks: parts of rows, rows, slices, planes, many channels
    Window((1, 2, 3, 40_000), (3, 5), padding=2),
    Window((1, 1, 700, 300), (2, 3), stride=(2, 1)),
    Window((2, 300, 14, 15), 3, padding=1, stride=2),
    Window((1, 1, 300, 301), (150, 2), stride=7, dilation=2),
]


def ids(window: Window) -> str:
    return f"{'x'.join(map(str, window.shape))}-k{window.kernel}-{window.options}".replace(" ", "")


@lru_cache(maxsize=100)
def expected(window: Window, dtype: Any) -> tuple[Any, ...]:
    """Image, its columns, other columns, what these fold to; and the least shares of both results that are not zero."""
    x, columns, gy = window.data(dtype)
    folded, ones = (reference.fold(a, x.shape[-2:], window.kernel, **window.options) for a in (gy, np.ones_like(gy)))
    inside, read = float((columns != 0).mean()), float((ones != 0).mean())  # the rest is padding, or read by no window
    assert inside > 0
    return x, columns, gy, folded, inside, 0.5 * read


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", WINDOWS, ids=ids)
def test_equals_the_reference(window: Window, isa: str) -> None:
    for dtype in DTYPES:
        x, columns, gy, folded, inside, read = expected(window, dtype)
        with isa_limit(isa):
            assert_same(fc.unfold(x, window.kernel, **window.options), columns, share=inside)
            assert_same(fc.fold_backward(x, window.kernel, **window.options), columns, share=inside)
            assert_same(fc.fold(gy, x.shape[-2:], window.kernel, **window.options), folded, share=read)
            assert_same(fc.unfold_backward(gy, x.shape, window.kernel, **window.options), folded, share=read)


@pytest.mark.parametrize("window", WINDOWS[::2], ids=ids)
def test_fold_is_the_adjoint_of_unfold(window: Window) -> None:
    x, columns, gy, *_ = expected(window, np.float64)
    assert dot(fc.unfold(x, window.kernel, **window.options), gy) == dot(
        x, fc.fold(gy, x.shape[-2:], window.kernel, **window.options)
    )
    assert dot(columns, gy) != 0


@pytest.mark.parametrize("window", [w for w in WINDOWS if len(w.shape) == 4], ids=ids)
def test_convolution_is_the_weight_matrix_times_the_columns(window: Window) -> None:
    x, columns, *_ = expected(window, np.float64)
    kernel = window.kernel if isinstance(window.kernel, tuple) else (window.kernel,) * 2
    w = whole(np.random.default_rng(1), 5, x.shape[1], *kernel, dtype=np.float64)
    y = fc.conv2d(x, w, **window.options)
    product = w.reshape(5, -1) @ fc.unfold(x, window.kernel, **window.options)
    assert_same(y, product.reshape(y.shape), share=0.5 * float(columns.any(axis=1).mean()))


def test_folding_what_was_unfolded_counts_the_windows() -> None:
    ones = np.ones((2, 3, 6, 8), np.float32)
    counts = fc.fold(fc.unfold(ones, (3, 2), stride=(2, 1)), (6, 8), (3, 2), stride=(2, 1))
    rows, columns = np.array([1, 1, 2, 1, 1, 0]), np.array([1, 2, 2, 2, 2, 2, 2, 1])
    assert_same(counts, np.broadcast_to(np.outer(rows, columns), ones.shape).astype(np.float32))
    # windows side by side: every element once, so fold undoes unfold
    x = whole(np.random.default_rng(2), 2, 3, 6, 8)
    assert_same(fc.fold(fc.unfold(x, (3, 2), stride=(3, 2)), (6, 8), (3, 2), stride=(3, 2)), x)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_columns_of_zero_stride(axes: tuple[int, ...]) -> None:
    columns = whole(np.random.default_rng(3), 2, 12, 35, most=99)
    same = np.broadcast_to(columns[tuple(slice(0, 1) if i in axes else slice(None) for i in range(3))], columns.shape)
    assert any(stride == 0 for stride in same.strides)
    assert_same(fc.fold(same, (6, 8), 2), reference.fold(same.copy(), (6, 8), 2))


def test_taps_as_far_apart_as_integers_reach() -> None:
    """Two windows by two taps on each axis, of which only those at index 0 lie inside."""
    x = whole(np.random.default_rng(6), 1, 1, 5, 6)
    far = {"dilation": 2**60, "padding": 2**60, "stride": 2**60}
    columns = fc.unfold(x, 2, **far)
    assert_same(columns, x[0, 0, 0, 0] * np.eye(4, dtype=np.float32)[None, ::-1].copy(), share=0.25)
    folded = np.zeros_like(x)
    folded[0, 0, 0, 0] = x[0, 0, 0, 0] * 4
    assert_same(fc.fold(columns, (5, 6), 2, **far), folded, share=1 / 30)


@pytest.mark.parametrize("isa", ISAS)
def test_one_element_may_meet_more_taps_than_a_stage_takes(isa: str) -> None:
    """1.2 million taps, each of which meets the only column: fold has several stages, and every one must add."""
    taps = 1_200_001
    columns = whole(np.random.default_rng(4), 1, taps, 1)
    with isa_limit(isa):
        assert_same(fc.fold(columns, (1, taps), (1, taps)), columns.reshape(1, 1, 1, taps))
        # pads of taps - 1: the single element is what window t reads with its tap taps - 1 - t
        every = fc.fold(
            np.broadcast_to(columns, (1, taps, taps)), (1, 1), (1, taps), padding=((0, 0), (taps - 1, taps - 1))
        )
    assert every.item() == columns.sum(dtype=np.float64) != 0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_at_any_number_of_threads(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(5)
    for shape, kernel, stride in (((3, 20, 30, 31), 3, 1), ((1, 1, 200, 3000), (2, 5), 3), ((90, 30, 7, 7), 3, 1)):
        x = rng.standard_normal(shape).astype(dtype)
        found = set()
        for threads in THREADS:
            with isa_limit(isa), fc.threads(threads):
                columns = fc.unfold(x, kernel, stride=stride)
                found.add(columns.tobytes() + fc.fold(columns, shape[2:], kernel, stride=stride).tobytes())
        assert np.abs(columns).max() > 0
        assert len(found) == 1


def test_an_empty_batch() -> None:
    for dtype in (np.float16, np.float32):
        empty = np.empty((0, 3, 5, 6), dtype)
        columns = fc.unfold(empty, 2)
        assert columns.shape == (0, 12, 20)
        assert columns.dtype == dtype
        assert fc.fold_backward(empty, 2).shape == (0, 12, 20)
        assert fc.fold(columns, (5, 6), 2).shape == (0, 3, 5, 6)
        assert fc.unfold_backward(columns, (0, 3, 5, 6), 2).shape == (0, 3, 5, 6)


X = np.ones((2, 3, 5, 6), np.float32)
C = np.ones((2, 12, 20), np.float32)
BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: fc.unfold(X, 0), ValueError, "unfold: kernel_size must be positive, received kernel_size=0"),
    (
        lambda: fc.unfold(X, (2, -1)),
        ValueError,
        r"unfold: kernel_size must be positive, received kernel_size=\(2, -1\)",
    ),
    (lambda: fc.unfold(X, (2, 2, 2)), ValueError, "unfold: kernel_size must be an int or 2 ints"),
    (lambda: fc.unfold(X, 2.0), TypeError, "unfold: kernel_size must be made of integers, received kernel_size=2.0"),
    (lambda: fc.unfold(X, True), TypeError, "unfold: kernel_size must be made of integers"),
    (lambda: fc.unfold(X, None), TypeError, "unfold: kernel_size must be made of integers"),
    (lambda: fc.unfold(X, 2, stride=0), ValueError, "unfold: stride must be positive, received stride=0"),
    (lambda: fc.unfold(X, 2, stride=None), TypeError, "unfold: stride must be made of integers, received stride=None"),
    (lambda: fc.unfold(X, 2, stride=(1, 0)), ValueError, r"unfold: stride must be positive, received stride=\(1, 0\)"),
    (lambda: fc.unfold(X, 2, dilation=-1), ValueError, "unfold: dilation must be positive"),
    (lambda: fc.unfold(X, 2, dilation=2**62), ValueError, r"unfold: dilation must be below 2\*\*62"),
    (lambda: fc.unfold(X, 2, dilation=2**61), ValueError, "unfold: the window must fit"),
    (lambda: fc.unfold(X, 2, padding=-1), ValueError, "unfold: padding must be non-negative, received padding=-1"),
    (lambda: fc.unfold(X, 2, padding="full"), ValueError, "unfold: padding must be one of 'same', 'valid'"),
    (lambda: fc.unfold(X, 2, padding=((1, 1),)), ValueError, r"unfold: padding must have 2 \(lo, hi\) pairs"),
    (lambda: fc.unfold(X, 2, padding=1.5), TypeError, "unfold: padding must be made of integers"),
    (lambda: fc.unfold(X, 2**40, padding=2**41), MemoryError, "unfold: "),
    (
        lambda: fc.unfold(X, 2, 2**60, 2**61, 2**60),
        ValueError,
        "unfold: the padded input and the window must be smaller",
    ),
    (lambda: fc.unfold(X, (6, 2)), ValueError, "unfold: the window must fit the padded input"),
    (
        lambda: fc.unfold(X[0, 0], 2),
        ValueError,
        r"unfold: input must have the axes .* received input of shape \(5, 6\)",
    ),
    (lambda: fc.unfold(X[None], 2), ValueError, "unfold: input must have the axes"),
    (
        lambda: fc.unfold(X[:, :0], 2),
        ValueError,
        r"unfold: input may be empty along its batch axis only.*\(2, 0, 5, 6\)",
    ),
    (lambda: fc.unfold(X[:, :, :0], 2, padding=3), ValueError, "unfold: input may be empty along its batch axis only"),
    (lambda: fc.unfold(X.astype(int), 2), TypeError, "unfold: input must be float16, float32 or float64"),
    (lambda: fc.unfold(None, 2), TypeError, "unfold: input must be an array"),
    (lambda: fc.fold_backward(X[:, :0], 2), ValueError, "fold_backward: grad_output may be empty along its batch axis"),
    (lambda: fc.fold_backward(X[0, 0], 2), ValueError, "fold_backward: grad_output must have the axes"),
    (lambda: fc.fold_backward(X, (6, 2)), ValueError, "fold_backward: the window must fit"),
    (lambda: fc.fold(C, (5, 6), 0), ValueError, "fold: kernel_size must be positive"),
    (
        lambda: fc.fold(C, (5, 6), 5),
        ValueError,
        r"fold: input must have a multiple of kH \* kW = 25 rows.*\(2, 12, 20\)",
    ),
    (lambda: fc.fold(C[:, :0], (5, 6), 2), ValueError, "fold: input must have a multiple"),
    (lambda: fc.fold(C, (5, 7), 2), ValueError, "fold: input must have 24 columns for 4 x 6 windows.*output_size"),
    (lambda: fc.fold(C, (5, 6), 2, stride=2), ValueError, "fold: input must have 6 columns for 2 x 3 windows"),
    (lambda: fc.fold(C, (0, 6), 2), ValueError, "fold: output_size must be positive"),
    (lambda: fc.fold(C, (5, 6, 7), 2), ValueError, "fold: output_size must be an int or 2 ints"),
    (lambda: fc.fold(C, None, 2), TypeError, "fold: output_size must be made of integers"),
    (lambda: fc.fold(C, (1, 6), 2), ValueError, "fold: the window must fit"),
    (lambda: fc.fold(C[0, 0], (5, 6), 2), ValueError, "fold: input must have the axes"),
    (lambda: fc.fold(C[None], (5, 6), 2), ValueError, "fold: input must have the axes"),
    (lambda: fc.fold(C[:, :, :1], 2**45, 1, stride=2**45), MemoryError, "fold: "),
    (lambda: fc.fold(C[:, :, :1], 2**61, 1, stride=2**61), MemoryError, "fold: "),
    (
        lambda: fc.unfold_backward(C, (2, 3, 5, 7), 2),
        ValueError,
        r"unfold_backward: grad_output must .*\(2, 12, 24\).*20\)",
    ),
    (lambda: fc.unfold_backward(C, (3, 3, 5, 6), 2), ValueError, "unfold_backward: grad_output must have the shape"),
    (lambda: fc.unfold_backward(C, (3, 5, 6), 2), ValueError, "unfold_backward: grad_output must have the shape"),
    (
        lambda: fc.unfold_backward(C, (5, 6), 2),
        ValueError,
        r"unfold_backward: input_shape must be .*input_shape=\(5, 6\)",
    ),
    (lambda: fc.unfold_backward(C, (2, 3, 0, 6), 2), ValueError, "unfold_backward: input_shape must be"),
    (lambda: fc.unfold_backward(C, (2, -3, 5, 6), 2), ValueError, "unfold_backward: input_shape must be non-negative"),
    (lambda: fc.unfold_backward(C, 5, 2), TypeError, "unfold_backward: input_shape must be a sequence"),
    (
        lambda: fc.unfold_backward(C, (2, 3, 5, 6.0), 2),
        TypeError,
        "unfold_backward: input_shape must be made of integers",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_refused(call: Any, error: type[Exception], words: str) -> None:
    for _ in range(2):  # a refusal must not be cached as a plan
        with pytest.raises(error, match="^" + words):
            call()


@st.composite
def windows(draw: Any) -> Window:
    kernel, dilation, stride = (draw(st.tuples(*[st.integers(1, most)] * 2)) for most in (6, 3, 5))
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.tuples(*[st.integers(0, 4)] * 2)] * 2)))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    shape = tuple(max(draw(st.integers(1, 40)), r) for r in reach)
    return Window((draw(st.integers(1, 3)), draw(st.integers(1, 4)), *shape), kernel, dilation, padding, stride)


@settings(max_examples=300)
@given(
    windows(),
    st.sampled_from(USABLE_ISAS),
    st.sampled_from(DTYPES),
    st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 2),
    st.integers(0, 2**31),
    st.sampled_from(THREADS),
)
def test_any_window_in_any_layout(
    window: Window, isa: str, dtype: Any, layouts: tuple[str, str], seed: int, threads: int
) -> None:
    x, columns, gy = window.data(dtype, seed)
    laid_x, laid_gy = LAYOUTS[layouts[0]](x), LAYOUTS[layouts[1]](gy)
    before = laid_x.tobytes(), laid_gy.tobytes()
    with isa_limit(isa), fc.threads(threads):
        unfolded = fc.unfold(laid_x, window.kernel, **window.options)
        folded = fc.fold(laid_gy, x.shape[2:], window.kernel, **window.options)
    assert (laid_x.tobytes(), laid_gy.tobytes()) == before
    assert_same(unfolded, columns, share=0)
    assert_same(folded, reference.fold(gy, x.shape[2:], window.kernel, **window.options), share=0)
    assert dot(unfolded, gy) == dot(x, folded)
