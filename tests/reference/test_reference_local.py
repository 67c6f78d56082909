"""unfold, fold and pad against scalar loops and, on whole numbers, as exact adjoints."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastconv import reference

Array = NDArray[Any]
Whole = Callable[..., Array]

# size, kernel, dilation, padding, stride, (lo, hi) of the padding, windows
PATCHES: list[tuple[Any, ...]] = [
    ((4, 5), (2, 3), 1, 0, 1, ((0, 0), (0, 0)), (3, 3)),
    ((4, 5), 2, 1, 1, 2, ((1, 1), (1, 1)), (3, 3)),
    ((5, 4), (3, 1), (2, 1), (2, 0), (1, 3), ((2, 2), (0, 0)), (5, 2)),
    ((3, 3), 2, (1, 2), ((0, 1), (2, 0)), 1, ((0, 1), (2, 0)), (3, 3)),
    ((5, 4), (2, 3), 1, "same", (2, 1), ((0, 1), (1, 1)), (3, 4)),
    ((2, 6), (2, 2), (1, 3), "valid", 2, ((0, 0), (0, 0)), (1, 2)),
]


def both(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


@pytest.mark.parametrize(("size", "kernel", "dilation", "padding", "stride", "pads", "out"), PATCHES)
def test_unfold_and_fold_equal_scalar_loops(
    size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any, pads: Any, out: Any, whole: Whole
) -> None:
    (kh, kw), (dh, dw), (sh, sw) = both(kernel), both(dilation), both(stride)
    x, g = whole(2, 3, *size), whole(2, 3 * kh * kw, out[0] * out[1])
    columns, image = np.zeros(g.shape), np.zeros(x.shape)
    for n, c, i, j, u, v in product(*map(range, (2, 3, kh, kw, *out))):
        row, column = (c * kh + i) * kw + j, u * out[1] + v
        h, w = u * sh + i * dh - pads[0][0], v * sw + j * dw - pads[1][0]
        if 0 <= h < size[0] and 0 <= w < size[1]:
            columns[n, row, column] = x[n, c, h, w]
            image[n, c, h, w] += g[n, row, column]
    options = (kernel, dilation, padding, stride)
    np.testing.assert_array_equal(reference.unfold(x, *options), columns)
    np.testing.assert_array_equal(reference.unfold(x[1], *options), columns[1])
    np.testing.assert_array_equal(reference.fold(g, size, *options), image)
    np.testing.assert_array_equal(reference.fold(g[1], size, *options), image[1])
    np.testing.assert_array_equal(reference.unfold_backward(g, x.shape, *options), image)
    np.testing.assert_array_equal(reference.unfold_backward(g[0], x.shape[1:], *options), image[0])
    np.testing.assert_array_equal(reference.fold_backward(x, *options), columns)
    np.testing.assert_array_equal(reference.fold_backward(x[0], *options), columns[0])
    assert np.sum(columns * g) == np.sum(x * image) != 0


def test_convolution_is_a_product_with_unfolded_patches(whole: Whole) -> None:
    x, w = whole(2, 3, 6, 5), whole(4, 3, 3, 2)
    columns = reference.unfold(x, (3, 2), padding=1, stride=2)
    y = reference.conv2d(x, w, padding=1, stride=2)
    np.testing.assert_array_equal((w.reshape(4, 18) @ columns).reshape(y.shape), y)


def test_fold_of_unfold_counts_the_windows_over_each_pixel() -> None:
    ones = np.ones((1, 1, 3, 4))
    counts = reference.fold(reference.unfold(ones, 2), (3, 4), 2)
    np.testing.assert_array_equal(counts, [[[[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]]]])


def test_unfold_of_an_empty_batch() -> None:
    x = np.zeros((0, 2, 4, 4), np.float32)
    columns = reference.unfold(x, 3)
    assert columns.shape == (0, 18, 4)
    assert reference.fold(columns, 4, 3).shape == x.shape
    assert reference.unfold_backward(columns, x.shape, 3).shape == x.shape
    assert reference.fold_backward(x, 3).shape == columns.shape


def place_in(mode: str, i: int, size: int) -> int | None:
    """Walk from the border step by step to the element that mode puts at place i, None for the constant."""
    if 0 <= i < size:
        return i
    if mode == "constant":
        return None
    if mode == "replicate":
        return 0 if i < 0 else size - 1
    if mode == "circular":
        return place_in(mode, i + size if i < 0 else i - size, size)
    return place_in(mode, -i if i < 0 else 2 * (size - 1) - i, size)


PADS: list[tuple[Any, Any, Any]] = [
    ((4,), (1, 2), ("constant", "reflect", "replicate", "circular")),
    ((4,), (3, 3), ("constant", "reflect", "replicate", "circular")),
    ((4,), (4, 4), ("constant", "replicate", "circular")),
    ((4,), (9, 0), ("constant", "replicate")),
    ((4,), (), ("constant", "reflect", "replicate", "circular")),
    ((4,), (-1, 2), ("constant",)),
    ((4,), (-2, -2), ("constant",)),
    ((4,), (-5, 3), ("constant",)),
    ((1,), (0, 0), ("constant", "reflect", "replicate", "circular")),
    ((1,), (1, 1), ("constant", "replicate", "circular")),
    ((2, 3), (1, 2, 0, 1), ("constant", "reflect", "replicate", "circular")),
    ((2, 3), (0, 2), ("constant", "reflect", "replicate", "circular")),
    ((2, 4), (-1, 2, 1, -1), ("constant",)),
    ((2, 3, 4), (3, 1, 2, 0, 1, 1), ("constant", "reflect", "replicate", "circular")),
    ((2, 3, 4, 2), (1, 1, 2, 0), ("constant", "reflect", "replicate", "circular")),
    ((0, 3), (1, 1), ("constant", "reflect", "replicate", "circular")),
]


@pytest.mark.parametrize(("size", "pads", "mode"), [(size, pads, mode) for size, pads, modes in PADS for mode in modes])
def test_pad_equals_scalar_loops(size: Any, pads: Any, mode: str, whole: Whole) -> None:
    x = whole(*size)
    full = [(0, 0)] * (len(size) - len(pads) // 2) + [(pads[i], pads[i + 1]) for i in range(len(pads) - 2, -1, -2)]
    out = tuple(lo + s + hi for s, (lo, hi) in zip(size, full, strict=True))
    y, gy, gx = np.full(out, 7.0 if mode == "constant" else np.nan), whole(*out), np.zeros(size)
    for t in np.ndindex(*out):
        source = tuple(place_in(mode, i - lo, s) for i, (lo, _), s in zip(t, full, size, strict=True))
        if None not in source:
            y[t] = x[source]
            gx[source] += gy[t]
    np.testing.assert_array_equal(reference.pad(x, pads, mode, 7.0 if mode == "constant" else None), y)
    np.testing.assert_array_equal(reference.pad_backward(gy, pads, mode), gx)
    assert np.sum(reference.pad(x, pads, mode) * gy) == np.sum(x * gx)


@pytest.mark.parametrize(
    ("size", "pads", "mode"),
    [
        ((4,), (4, 0), "reflect"),
        ((4,), (0, 5), "circular"),
        ((4,), (-1, 0), "reflect"),
        ((4,), (-1, 0), "replicate"),
        ((4,), (0, -1), "circular"),
        ((4,), (-3, -2), "constant"),
        ((4,), (1,), "constant"),
        ((4,), (1, 1, 1, 1), "constant"),
        ((4,), (1, 1), "mirror"),
        ((0,), (1, 0), "replicate"),
        ((0,), (1, 0), "circular"),
        ((0,), (1, 0), "reflect"),
        ((4,), 1, "constant"),
    ],
)
def test_pad_refuses_what_it_cannot_give(size: Any, pads: Any, mode: str) -> None:
    with pytest.raises(ValueError, match="pad"):
        reference.pad(np.zeros(size), pads, mode)


def test_pad_value_belongs_to_the_constant_mode() -> None:
    with pytest.raises(ValueError, match="value"):
        reference.pad(np.zeros(4), (1, 1), "reflect", 2.0)
    np.testing.assert_array_equal(reference.pad(np.zeros(1), (1, 0), value=-np.inf), [-np.inf, 0])


def test_padding_first_equals_convolving_with_padding(whole: Whole) -> None:
    x, w = whole(2, 3, 5, 6), whole(2, 3, 3, 3)
    padded = reference.pad(x, (2, 1, 0, 3))
    np.testing.assert_array_equal(reference.conv2d(padded, w), reference.conv2d(x, w, padding=((0, 3), (2, 1))))
