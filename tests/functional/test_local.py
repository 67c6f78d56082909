"""Local connection: exact on whole numbers, at every width of vectors and tiles, per instruction set and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import (
    CONVS,
    DTYPES,
    ISAS,
    LAYOUTS,
    THREADS,
    WIDTHS,
    Array,
    Conv,
    assert_error_of_a_plain_sum,
    assert_same,
    convs,
    dot,
    guarded,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit


def operator(conv: Conv, backward: bool = False, of: Any = fc) -> Any:
    """The operator for a problem's axes, or its gradients."""
    return getattr(of, f"locally_connected{conv.n}d{'_backward' if backward else ''}")


def data(conv: Conv, dtype: Any = np.float32, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """x, a weight and a bias for each output position, and a gradient of the result, of whole numbers."""
    rng = np.random.default_rng(seed)
    shapes = (conv.x_shape, conv.out + conv.w_shape, conv.y_shape[1:], conv.y_shape)
    x, w, b, gy = (whole(rng, *shape, dtype=dtype) for shape in shapes)
    return x, w, b, gy


def gradients(conv: Conv, gy: Array, x: Array, w: Array, of: Any = fc, **options: Any) -> Any:
    """All gradients of a problem."""
    return operator(conv, backward=True, of=of)(gy, x, w, **conv.options, **options)


def share(conv: Conv) -> float:
    """A share of non-zero elements that any gradient has: most weights of a small image may lie over padding."""
    small = any(2 * max(pads) >= size for pads, size in zip(conv.pads, conv.size, strict=True))
    return 0.0 if small or min(conv.covered) < 1 else 0.2


#: Convolutions of one and two axes that are small enough to have a kernel at each position.
LOCALS = [
    conv
    for conv in CONVS
    if conv.n < 3 and conv.groups * conv.c * conv.k * np.prod(conv.kernel) * np.prod(conv.out) < 400_000
]
CASES = [
    *LOCALS[::2],
    *[Conv(batch, 5, 7, (4, 11), (3, 3), padding=1) for batch in WIDTHS],  # uses, in fours and around them
    *[Conv(3, w, 4, (3, 5), (1, 1)) for w in WIDTHS],  # terms
    *[Conv(2, 2, w, (3, 4), (2, 2)) for w in WIDTHS],  # outputs
    Conv(1, 300, 3, (3, 4), (3, 3)),  # terms of several partial sums, few positions: tasks along outputs and channels
    Conv(2, 40, 50, (3, 3), (3, 3)),
    Conv(3, 1, 1, (2, 2), (2, 2), groups=64),
    Conv(90, 20, 3, (4, 9), (3, 3), padding=1),  # patches in several blocks, images in several passes
    Conv(9, 300, 3, (3, 4), (3, 3)),  # images in lanes: terms of several partial sums
    Conv(2, 3, 150, (3, 19), (1, 2), padding=(0, 1)),  # more outputs, and a longer line, than are held at a time
    Conv(3, 12, 130, (3, 4), (3, 3), stride=2, dilation=2, padding=3, groups=2),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conv", CASES, ids=str)
def test_equals_the_reference(conv: Conv, dtype: Any, isa: str) -> None:
    x, w, b, gy = data(conv, dtype)
    with isa_limit(isa):
        got = operator(conv)(x, w, b, **conv.options)
        plain = operator(conv)(x, w, **conv.options)
        grads = gradients(conv, gy, x, w)
    want = operator(conv, of=reference)(x, w, b, **conv.options)
    each = np.broadcast_to(b, got.shape)
    assert_same(got, want)
    assert_same(plain, want - each, share=0)
    for a, c in zip(grads, gradients(conv, gy, x, w, of=reference), strict=True):
        assert_same(a, c, share=share(conv))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("batch", "c", "groups"), [(1, 16, 2), (2, 16, 1), (3, 16, 1), (2, 17, 1), (9, 5, 3), (20, 13, 1)]
)
def test_a_large_weight_gradient_goes_past_the_caches(batch: int, c: int, groups: int, isa: str) -> None:
    """From 16 MB on: rows of whole vectors or not, images that are a power of two or not, or go in several passes."""
    k = -(-2_200_000 // (30 * 31 * c * 9 * groups))
    conv = Conv(batch, c, k, (30, 31), (3, 3), padding=1, groups=groups)
    rng = np.random.default_rng(0)
    x, gy = whole(rng, *conv.x_shape, dtype=np.float64), whole(rng, *conv.y_shape, dtype=np.float64)
    w = np.empty((30, 31, *conv.w_shape))
    assert w.nbytes >= 16 << 20
    with isa_limit(isa):
        got = fc.locally_connected2d_backward(gy, x, w, **conv.options, needs=(False, True, False))[1]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).reshape(batch, groups, c, 32, 33)
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (3, 4))
    for group in range(groups):
        rows = slice(group * k, (group + 1) * k)
        want = np.einsum("nkij,ncijuv->ijkcuv", gy[:, rows], patches[:, group], optimize=True)
        np.testing.assert_array_equal(got[:, :, rows], want)


@settings(max_examples=60)
@given(convs(axes=(1, 2)), st.sampled_from(DTYPES), st.integers(0, 10))
def test_any_problem_equals_the_reference(conv: Conv, dtype: Any, seed: int) -> None:
    if np.prod(conv.out) * np.prod(conv.w_shape) > 300_000:
        conv = Conv(conv.batch, 1, 2, conv.size, conv.kernel, conv.stride, conv.padding, conv.dilation)
    x, w, b, gy = data(conv, dtype, seed)
    assert_same(operator(conv)(x, w, b, **conv.options), operator(conv, of=reference)(x, w, b, **conv.options), share=0)
    for a, c in zip(gradients(conv, gy, x, w), gradients(conv, gy, x, w, of=reference), strict=True):
        assert_same(a, c, share=0)


ONE = Conv(2, 4, 6, (7, 10), (3, 3), padding=1, groups=2)


def test_one_kernel_at_all_positions_is_a_convolution() -> None:
    x, _, b, gy = data(ONE)
    rng = np.random.default_rng(1)
    kernel, channel_bias = whole(rng, *ONE.w_shape), whole(rng, ONE.y_shape[1])
    w = np.broadcast_to(kernel, ONE.out + ONE.w_shape)
    b = np.broadcast_to(channel_bias[:, None, None], ONE.y_shape[1:])
    want = fc.conv2d(x, kernel, channel_bias, **ONE.options, algorithm="direct")
    assert_same(fc.locally_connected2d(x, w, b, **ONE.options), want)
    gx, gw, gb = gradients(ONE, gy, x, w)
    cx, cw, cb = fc.conv2d_backward(gy, x, kernel, **ONE.options, algorithm="direct")
    assert_same(gx, cx)
    assert_same(gw.sum(axis=(0, 1)), cw)  # tied weights add up
    assert_same(gb.sum(axis=(1, 2)), cb)


def test_the_dense_layer_of_its_matrix_gives_the_same() -> None:
    """A fully connected layer whose weight holds the kernels, and zeros where an output does not look."""
    conv = Conv(3, 2, 3, (4, 5), (3, 2), stride=(1, 2), padding=1)
    x, w, b, gy = data(conv)
    size, outputs = int(np.prod(conv.x_shape[1:])), int(np.prod(conv.y_shape[1:]))
    unit = np.eye(size, dtype=np.float32).reshape(size, *conv.x_shape[1:])
    matrix = fc.locally_connected2d(unit, w, **conv.options).reshape(size, outputs).T.copy()
    y = fc.linear(x.reshape(3, size), matrix, b.ravel())
    assert_same(fc.locally_connected2d(x, w, b, **conv.options), y.reshape(conv.y_shape))
    gx, gm, gb = fc.linear_backward(gy.reshape(3, outputs), x.reshape(3, size), matrix)
    got = gradients(conv, gy, x, w)
    assert_same(got[0], gx.reshape(x.shape))
    assert_same(got[2], gb.reshape(b.shape))
    # Each weight is one entry of the matrix: found by marking it.
    marks = np.arange(1.0, w.size + 1).reshape(w.shape)
    places = fc.locally_connected2d(unit.astype(np.float64), marks, **conv.options).reshape(size, outputs).T.astype(int)
    want = np.zeros(w.size + 1, np.float32)
    want[places.ravel()] = gm.ravel()
    want[0] = 0
    assert_same(got[1].ravel(), want[1:])


@pytest.mark.parametrize("conv", CASES[::5], ids=str)
def test_gradients_are_adjoint(conv: Conv) -> None:
    x, w, b, gy = data(conv, np.float64)
    y = operator(conv)(x, w, **conv.options)
    gx, gw, gb = gradients(conv, gy, x, w)
    assert dot(y, gy) == dot(x, gx) == dot(w, gw)
    assert dot(np.broadcast_to(b, gy.shape), gy) == dot(b, gb)


@pytest.mark.parametrize("threads", THREADS)
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 12, 14, 15)), rng.standard_normal((14, 15, 17, 12, 3, 3))
    gy = rng.standard_normal((5, 17, 14, 15))
    with fc.threads(1):
        one = (fc.locally_connected2d(x, w, padding=1), *fc.locally_connected2d_backward(gy, x, w, padding=1))
    with fc.threads(threads):
        many = (fc.locally_connected2d(x, w, padding=1), *fc.locally_connected2d_backward(gy, x, w, padding=1))
    for a, b in zip(one, many, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout: str) -> None:
    x, w, b, gy = data(ONE)
    want = (fc.locally_connected2d(x, w, b, **ONE.options), *gradients(ONE, gy, x, w))
    x, w, b, gy = (LAYOUTS[layout](a) for a in (x, w, b, gy))
    got = (fc.locally_connected2d(x, w, b, **ONE.options), *gradients(ONE, gy, x, w))
    for a, c in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, c)


def test_one_sample_half_precision_and_out() -> None:
    x, w, b, gy = data(ONE)
    y = fc.locally_connected2d(x, w, b, **ONE.options)
    assert_same(fc.locally_connected2d(x[1], w, b, **ONE.options), y[1])
    one = gradients(ONE, gy[1], x[1], w)
    for a, c in zip(one, gradients(ONE, gy[1:], x[1:], w), strict=True):
        assert_same(a, c.reshape(a.shape))
    half = [a.astype(np.float16) for a in (x, w, b)]
    assert_same(fc.locally_connected2d(*half, **ONE.options), y.astype(np.float16))
    out, check = guarded(y.shape, np.float32)
    assert fc.locally_connected2d(x, w, b, **ONE.options, out=out) is out
    check()
    assert_same(out, y)
    strided = np.zeros((*y.shape[:-1], 2 * y.shape[-1]), np.float32)[..., ::2]
    fc.locally_connected2d(x, w, b, **ONE.options, out=strided)
    np.testing.assert_array_equal(strided, y)


def test_needs_and_nothing() -> None:
    x, w, b, gy = data(ONE)
    want = gradients(ONE, gy, x, w)
    for wanted in np.ndindex(2, 2, 2):
        needs = tuple(map(bool, wanted))
        for a, c, need in zip(gradients(ONE, gy, x, w, needs=needs), want, needs, strict=True):
            assert (a is not None) == need
            if need:
                assert_same(a, c)
    empty = fc.locally_connected2d(x[:0], w, b, **ONE.options)
    assert empty.shape == (0, *ONE.y_shape[1:])
    assert_same(reference.locally_connected2d(x[:0], w, b, **ONE.options), empty)
    gx, gw, gb = gradients(ONE, gy[:0], x[:0], w)
    assert gx.shape == (0, *x.shape[1:])
    assert not gw.any()
    assert not gb.any()
    bare = fc.locally_connected2d(x[:, :, :0], w[:2], b[:, :2], **{**ONE.options, "padding": ((2, 2), (1, 1))})
    assert_same(bare, np.broadcast_to(b[:, :2], (2, *b[:, :2].shape)).copy())  # windows in the padding alone


def test_error_of_a_plain_sum() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 500, 3, 3), np.float32), rng.standard_normal((1, 1, 1, 500, 3, 3), np.float32)
    assert_error_of_a_plain_sum(fc.locally_connected2d(x, w)[0, 0, 0, 0], x[0], w[0, 0, 0])
