"""Convolution and transposed convolution against scalar loops, exact on whole numbers, and as adjoint maps."""

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

# n, size, kernel, (C/G, O/G, G), lo, hi, options as they are passed
CASES: list[tuple[int, Any, Any, Any, Any, Any, dict[str, Any]]] = [
    (1, (5,), (3,), (1, 1, 1), (0,), (0,), {}),
    (1, (5,), (3,), (2, 3, 1), (1,), (1,), {"padding": 1}),
    (1, (6,), (2,), (2, 3, 1), (1,), (2,), {"padding": ((1, 2),), "stride": 2}),
    (1, (9,), (3,), (1, 2, 3), (2,), (2,), {"padding": (2,), "stride": 3, "dilation": 2, "groups": 3}),
    (1, (4,), (1,), (3, 2, 1), (0,), (0,), {"stride": 5, "padding": "valid"}),
    (1, (7,), (4,), (2, 1, 1), (1,), (2,), {"padding": "same"}),
    (1, (7,), (4,), (1, 1, 2), (1,), (2,), {"padding": "same", "stride": 3, "groups": 2}),
    (1, (6,), (1,), (1, 2, 1), (0,), (0,), {"padding": "same", "stride": 4}),
    (2, (4, 5), (3, 2), (2, 3, 1), (0, 0), (0, 0), {}),
    (2, (4, 5), (3, 3), (2, 3, 1), (1, 1), (1, 1), {"padding": 1}),
    (2, (5, 4), (3, 2), (2, 1, 2), (2, 1), (2, 1), {"padding": (2, 1), "stride": (2, 1), "groups": 2}),
    (2, (5, 6), (2, 3), (1, 1, 4), (0, 3), (2, 1), {"padding": ((0, 2), (3, 1)), "groups": 4, "dilation": (3, 1)}),
    (2, (5, 6), (2, 3), (2, 2, 1), (0, 2), (1, 2), {"padding": "same", "dilation": (1, 2)}),
    (2, (5, 6), (4, 3), (1, 2, 1), (1, 0), (2, 0), {"padding": "same", "stride": (2, 3)}),
    (2, (1, 1), (3, 3), (2, 2, 1), (4, 1), (4, 1), {"padding": (4, 1), "stride": 2}),
    (3, (3, 4, 2), (2, 2, 2), (1, 2, 1), (0, 0, 0), (0, 0, 0), {}),
    (
        3,
        (3, 3, 4),
        (2, 1, 3),
        (1, 2, 2),
        (1, 0, 2),
        (1, 0, 2),
        {"padding": (1, 0, 2), "stride": (1, 2, 2), "groups": 2},
    ),
    (3, (3, 2, 3), (2, 2, 2), (2, 1, 1), (0, 0, 1), (1, 1, 1), {"padding": "same", "dilation": (1, 1, 2)}),
]


def on_axes(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


def windows(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """Count the windows one by one."""
    count = 0
    while count * stride + dilation * (kernel - 1) < size + padding:
        count += 1
    return count


def terms(x_shape: Any, w_shape: Any, out: Any, lo: Any, stride: Any, dilation: Any, groups: int) -> Any:
    """Yield (place in y, place in x, place in w) of every product that a convolution adds up."""
    n = len(out)
    outputs, inputs = w_shape[0] // groups, w_shape[1]
    for batch, o, c in product(range(x_shape[0]), range(w_shape[0]), range(inputs)):
        for t in product(*map(range, out)):
            for k in product(*map(range, w_shape[2:])):
                place = tuple(t[a] * stride[a] + k[a] * dilation[a] - lo[a] for a in range(n))
                if all(0 <= p < s for p, s in zip(place, x_shape[2:], strict=True)):
                    yield (batch, o, *t), (batch, o // outputs * inputs + c, *place), (o, c, *k)


def problem(case: Any, whole: Whole) -> tuple[Any, ...]:
    n, size, kernel, (c, o, g), lo, hi, options = case
    stride, dilation = on_axes(options.get("stride", 1), n), on_axes(options.get("dilation", 1), n)
    out = tuple(windows(size[a], kernel[a], stride[a], dilation[a], lo[a] + hi[a]) for a in range(n))
    x, w, b = whole(2, c * g, *size), whole(o * g, c, *kernel), whole(o * g)
    return x, w, b, whole(2, o * g, *out), list(terms(x.shape, w.shape, out, lo, stride, dilation, g))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}d-{c[1]}-{c[2]}-{c[6]}")
def test_convolution_equals_scalar_loops(case: Any, whole: Whole) -> None:
    n, options = case[0], case[6]
    x, w, b, gy, products = problem(case, whole)
    y, gx, gw = np.zeros_like(gy), np.zeros_like(x), np.zeros_like(w)
    for at_y, at_x, at_w in products:
        y[at_y] += x[at_x] * w[at_w]
        gx[at_x] += gy[at_y] * w[at_w]
        gw[at_w] += gy[at_y] * x[at_x]
    y += b.reshape(1, -1, *(1,) * n)
    gb = [sum(gy[:, o].ravel().tolist()) for o in range(gy.shape[1])]

    forward, backward = getattr(reference, f"conv{n}d"), getattr(reference, f"conv{n}d_backward")
    np.testing.assert_array_equal(forward(x, w, b, **options), y)
    for got, expected in zip(backward(gy, x, w, **options), (gx, gw, gb), strict=True):
        np.testing.assert_array_equal(got, expected)

    np.testing.assert_array_equal(forward(x[1], w, b, **options), y[1])
    alone = backward(gy[1], x[1], w, **options)
    np.testing.assert_array_equal(alone[0], gx[1])
    np.testing.assert_array_equal(alone[1], backward(gy[1:], x[1:], w, **options)[1])


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}d-{c[1]}-{c[2]}-{c[6]}")
def test_convolution_is_bilinear_with_exact_adjoints(case: Any, whole: Whole) -> None:
    n, options = case[0], case[6]
    x, w, b, gy, _ = problem(case, whole)
    forward, backward = getattr(reference, f"conv{n}d"), getattr(reference, f"conv{n}d_backward")
    gx, gw, gb = backward(gy, x, w, **options)
    without_bias = np.sum(forward(x, w, **options) * gy)
    assert without_bias == np.sum(gx * x) == np.sum(gw * w)
    assert np.sum(forward(x, w, b, **options) * gy) - without_bias == np.sum(gb * b)
    assert without_bias != 0


TRANSPOSED: list[tuple[int, Any, Any, Any, Any, Any, Any, dict[str, Any]]] = [
    (1, (4,), (3,), (1, 1, 1), (0,), (0,), (0,), {}),
    (1, (4,), (3,), (2, 3, 1), (1,), (1,), (1,), {"padding": 1, "stride": 2, "output_padding": 1}),
    (1, (3,), (2,), (2, 1, 2), (0,), (1,), (2,), {"padding": ((0, 1),), "stride": 3, "output_padding": 2, "groups": 2}),
    (1, (3,), (2,), (1, 2, 1), (0,), (0,), (1,), {"dilation": 3, "output_padding": (1,)}),
    (1, (4,), (5,), (1, 2, 1), (1,), (2,), (0,), {"padding": ((1, 2),), "stride": 2}),
    (1, (4,), (1,), (1, 2, 1), (0,), (0,), (2,), {"padding": (0,), "stride": 3, "output_padding": 2}),
    (2, (3, 2), (2, 3), (2, 3, 1), (0, 0), (0, 0), (0, 0), {"stride": (1, 2)}),
    (
        2,
        (3, 4),
        (3, 3),
        (2, 2, 2),
        (1, 2),
        (1, 2),
        (1, 0),
        {"padding": (1, 2), "stride": 2, "output_padding": (1, 0), "groups": 2},
    ),
    (
        2,
        (2, 3),
        (3, 2),
        (1, 3, 2),
        (2, 0),
        (1, 1),
        (0, 1),
        {"padding": ((2, 1), (0, 1)), "dilation": (1, 3), "output_padding": (0, 1), "groups": 2},
    ),
    (2, (2, 3), (3, 4), (2, 1, 1), (0, 1), (1, 2), (0, 0), {"padding": ((0, 1), (1, 2)), "stride": (2, 1)}),
    (
        3,
        (2, 2, 3),
        (2, 1, 3),
        (1, 2, 2),
        (0, 0, 1),
        (0, 0, 1),
        (0, 1, 0),
        {"padding": (0, 0, 1), "stride": (1, 2, 1), "output_padding": (0, 1, 0), "groups": 2},
    ),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=lambda c: f"{c[0]}d-{c[1]}-{c[2]}-{c[7]}")
def test_transposed_convolution_equals_scalar_loops(case: Any, whole: Whole) -> None:
    n, size, kernel, (c, o, g), lo, hi, extra, options = case
    stride, dilation = on_axes(options.get("stride", 1), n), on_axes(options.get("dilation", 1), n)
    out = tuple(
        (size[a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 + extra[a] - lo[a] - hi[a] for a in range(n)
    )
    x, w, b, gy = whole(2, c * g, *size), whole(c * g, o, *kernel), whole(o * g), whole(2, o * g, *out)
    y, gx, gw = np.zeros_like(gy), np.zeros_like(x), np.zeros_like(w)
    # The convolution that it transposes reads the result and writes the input; its weight is the same array.
    for at_x, at_y, at_w in terms(gy.shape, w.shape, size, lo, stride, dilation, g):
        y[at_y] += x[at_x] * w[at_w]
        gx[at_x] += gy[at_y] * w[at_w]
        gw[at_w] += gy[at_y] * x[at_x]
    y += b.reshape(1, -1, *(1,) * n)

    forward, backward = getattr(reference, f"conv_transpose{n}d"), getattr(reference, f"conv_transpose{n}d_backward")
    np.testing.assert_array_equal(forward(x, w, b, **options), y)
    np.testing.assert_array_equal(forward(x[0], w, b, **options), y[0])
    for got, expected in zip(backward(gy, x, w, **options), (gx, gw, gy.sum(axis=(0, *range(2, n + 2)))), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(backward(gy[0], x[0], w, **options)[0], gx[0])
    assert np.sum(y * gy) - np.sum(b.reshape(1, -1, *(1,) * n) * gy) == np.sum(gx * x) == np.sum(gw * w)


def test_transposed_convolution_scatters_every_input_once() -> None:
    x, w = np.array([[[2.0, 3.0]]]), np.array([[[1.0, 10.0, 100.0]]])
    y = reference.conv_transpose1d(x, w, stride=2)
    np.testing.assert_array_equal(y, [[[2, 20, 203, 30, 300]]])
    np.testing.assert_array_equal(reference.conv_transpose1d(x, w, stride=2, padding=1), [[[20, 203, 30]]])
    longer = reference.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1)
    np.testing.assert_array_equal(longer, [[[20, 203, 30, 300]]])


@pytest.mark.parametrize(("stride", "expected"), [(1, [-2, -3, -5, -7, 7]), (2, [-2, -5, 7])])
def test_textbook_example_in_one_dimension(stride: int, expected: list[float]) -> None:
    """W = 5, P = 1, F = 3 and the filter (1, 0, -1) give 5 outputs at stride 1 and 3 at stride 2."""
    y = reference.conv1d(
        np.array([[1.0, 2.0, 4.0, 7.0, 11.0]]), np.array([[[1.0, 0.0, -1.0]]]), padding=1, stride=stride
    )
    np.testing.assert_array_equal(y, [expected])


def test_textbook_sizes() -> None:
    """Ten 5x5 filters with padding 2 keep 32x32 (760 parameters); the side is (W - F + 2P) / S + 1."""
    x, w, b = np.zeros((3, 32, 32), np.float32), np.zeros((10, 3, 5, 5), np.float32), np.zeros(10, np.float32)
    assert reference.conv2d(x, w, b, padding=2).shape == (10, 32, 32)
    assert w.size + b.size == 760
    for side, field, step, edge in product((7, 12), (1, 3, 5), (1, 2, 3), (0, 1, 2)):
        y = reference.conv2d(np.zeros((1, side, side)), np.zeros((1, 1, field, field)), stride=step, padding=edge)
        assert y.shape == (1,) + 2 * ((side - field + 2 * edge) // step + 1,)
    for side, field, step in product((1, 6, 7), (1, 2, 3, 4), (1, 2, 3)):
        y = reference.conv1d(np.zeros((1, side)), np.zeros((1, 1, field)), stride=step, padding="same")
        assert y.shape == (1, -(-side // step))


def test_two_stacked_3x3_see_what_one_5x5_sees(whole: Whole) -> None:
    x, v, w = whole(1, 1, 9, 9), whole(1, 1, 3, 3), whole(1, 1, 3, 3)
    combined = reference.conv_transpose2d(v, w)
    stacked = reference.conv2d(reference.conv2d(x, v), w)
    np.testing.assert_array_equal(stacked, reference.conv2d(x, combined))
    assert combined.shape == (1, 1, 5, 5)


def test_shift_of_the_input_shifts_the_output(whole: Whole) -> None:
    x, w = whole(1, 2, 8, 8), whole(3, 2, 3, 3)
    shifted = reference.conv2d(np.roll(x, (1, 2), axis=(2, 3)), w)
    np.testing.assert_array_equal(shifted[:, :, 1:, 2:], reference.conv2d(x, w)[:, :, :-1, :-2])


@pytest.mark.parametrize("needs", list(product((False, True), repeat=3)))
def test_gradients_that_are_not_needed_are_none(needs: tuple[bool, bool, bool], whole: Whole) -> None:
    x, w = whole(2, 2, 5), whole(2, 2, 3)
    for backward, gy in (
        (reference.conv1d_backward, whole(2, 2, 3)),
        (reference.conv_transpose1d_backward, whole(2, 2, 7)),
    ):
        every = backward(gy, x, w)
        for some, full, needed in zip(backward(gy, x, w, needs=needs), every, needs, strict=True):
            assert (some is not None) == needed
            if needed:
                np.testing.assert_array_equal(some, full)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_empty_batch_and_empty_image(n: int, whole: Whole) -> None:
    conv, conv_backward = getattr(reference, f"conv{n}d"), getattr(reference, f"conv{n}d_backward")
    up, up_backward = getattr(reference, f"conv_transpose{n}d"), getattr(reference, f"conv_transpose{n}d_backward")
    x, w, b = np.zeros((0, 2, *(4,) * n)), whole(3, 2, *(3,) * n), whole(3)
    y = conv(x, w, b)
    assert y.shape == (0, 3, *(2,) * n)
    gx, gw, gb = conv_backward(y, x, w)
    assert (gx.shape, gw.shape) == (x.shape, w.shape)
    assert not np.concatenate([gw.ravel(), gb]).any()
    v = whole(2, 3, *(3,) * n)
    z = up(x, v, b)
    assert z.shape == (0, 3, *(6,) * n)
    gx, gv, gb = up_backward(z, x, v)
    assert (gx.shape, gv.shape) == (x.shape, v.shape)
    assert not np.concatenate([gv.ravel(), gb]).any()
    # An image without pixels but with padding gives the bias.
    empty = np.zeros((1, 2, 0, *(4,) * (n - 1)))
    y = conv(empty, w, b, padding=2)
    np.testing.assert_array_equal(y, np.broadcast_to(b.reshape(-1, *(1,) * n), y.shape))
    assert y.shape[2] == 2
