"""Winograd's F(4x4, 3x3) and F(2x2, 5x5): their error bound, their shapes, and when "auto" takes them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import USABLE_ISAS, WINOGRAD_BOUND, relative_error

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit


def problem(rng, n, groups, c, k, h, w, side=3):
    x = rng.standard_normal((n, groups * c, h, w))
    weight = rng.standard_normal((groups * k, c, side, side)) * np.sqrt(2 / (side * side * c))  # He's scale
    return x, weight, rng.standard_normal(groups * k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize(
    ("side", "n", "groups", "c", "k", "h", "w", "padding"),
    [
        (3, 1, 1, 1, 1, 3, 3, 0),
        (3, 1, 1, 3, 5, 4, 5, 1),
        (3, 2, 1, 17, 33, 13, 9, ((0, 2), (1, 0))),
        (3, 1, 2, 5, 16, 17, 31, 1),
        (3, 3, 1, 40, 70, 14, 14, 1),
        (3, 1, 1, 70, 64, 21, 67, "same"),
        (3, 1, 1, 2, 3, 130, 3, ((2, 2), (2, 2))),
        (5, 2, 1, 1, 2, 5, 6, 0),
        (5, 1, 1, 3, 5, 4, 5, 2),
        (5, 2, 1, 17, 33, 13, 9, ((0, 2), (3, 1))),
        (5, 1, 2, 5, 16, 17, 31, 2),
        (5, 3, 1, 140, 70, 7, 7, 2),
        (5, 1, 1, 70, 64, 21, 67, "same"),
        (5, 1, 1, 2, 3, 130, 3, ((4, 4), (4, 4))),
    ],
)
def test_forward_and_input_gradient_keep_the_bound(isa, dtype, side, n, groups, c, k, h, w, padding):
    rng = np.random.default_rng(0)
    x, weight, bias = problem(rng, n, groups, c, k, h, w, side)
    expected = reference.conv2d(x, weight, bias, padding=padding, groups=groups)
    gy = rng.standard_normal(expected.shape)
    gx = reference.conv2d_backward(gy, x, weight, padding=padding, groups=groups)[0]
    with isa_limit(isa):
        arrays = [a.astype(dtype) for a in (x, weight, bias)]
        y = fc.conv2d(*arrays, padding=padding, groups=groups, algorithm="winograd")
        found, gw, gb = fc.conv2d_backward(
            gy.astype(dtype), *arrays[:2], padding=padding, groups=groups, algorithm="winograd"
        )
    assert relative_error(y, expected) < WINOGRAD_BOUND[dtype]
    assert relative_error(found, gx) < WINOGRAD_BOUND[dtype]
    assert gw.shape == weight.shape
    assert gb.shape == bias.shape


@pytest.mark.parametrize("side", [3, 5])
def test_many_channels_keep_the_bound(side):
    rng = np.random.default_rng(1)
    x, weight, _ = problem(rng, 1, 1, 2048, 16, 12, 12, side)
    expected = reference.conv2d(x, weight, padding=side // 2)
    y = fc.conv2d(x.astype(np.float32), weight.astype(np.float32), padding=side // 2, algorithm="winograd")
    assert relative_error(y, expected) < WINOGRAD_BOUND[np.float32]


@pytest.mark.parametrize("side", [3, 5])
def test_an_outlier_keeps_the_normwise_bound(side):
    """An outlier's tile loses what its size costs in round-off; in the norm of the result the bound still holds."""
    rng = np.random.default_rng(2)
    x, weight, _ = problem(rng, 1, 1, 64, 64, 28, 28, side)
    x[0, 3, 11, 12] = 1e4
    expected = reference.conv2d(x, weight, padding=side // 2)
    y = fc.conv2d(x.astype(np.float32), weight.astype(np.float32), padding=side // 2, algorithm="winograd")
    assert np.linalg.norm(y - expected) < 3e-5 * np.linalg.norm(expected)
    assert np.abs(y - expected).max() < 3e-5 * np.abs(expected).max()


@pytest.mark.parametrize("threads", [2, 3, 4, 7, 8])
def test_same_bits_at_any_number_of_threads(threads):
    rng = np.random.default_rng(3)
    x, weight, bias = (a.astype(np.float32) for a in problem(rng, 2, 1, 48, 80, 40, 40))
    with fc.threads(1):
        one = fc.conv2d(x, weight, bias, padding=1, algorithm="winograd")
    with fc.threads(threads):
        many = fc.conv2d(x, weight, bias, padding=1, algorithm="winograd")
    np.testing.assert_array_equal(one, many)


def test_transposed_convolution_and_frozen_weights():
    rng = np.random.default_rng(4)
    x, weight = rng.standard_normal((2, 9, 11, 13)), rng.standard_normal((9, 20, 3, 3)) / 9
    expected = reference.conv_transpose2d(x, weight, padding=1)
    single = weight.astype(np.float32)
    y = fc.conv_transpose2d(x.astype(np.float32), single, padding=1, algorithm="winograd")
    assert relative_error(y, expected) < WINOGRAD_BOUND[np.float32]
    frozen = fc.freeze_weight(single)
    for _ in range(2):  # packs, then has packed
        again = fc.conv_transpose2d(x.astype(np.float32), frozen, padding=1, algorithm="winograd")
        np.testing.assert_array_equal(again, y)


def test_strided_inputs_and_nan():
    rng = np.random.default_rng(5)
    x, weight, _ = (a.astype(np.float32) for a in problem(rng, 1, 1, 4, 6, 20, 20))
    y = fc.conv2d(x, weight, padding=1, algorithm="winograd")
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(fc.conv2d(turned, weight, padding=1, algorithm="winograd"), y)
    flat = np.broadcast_to(np.float32(2), x.shape)
    expected = fc.conv2d(np.full_like(x, 2), weight, padding=1, algorithm="winograd")
    np.testing.assert_array_equal(fc.conv2d(flat, weight, padding=1, algorithm="winograd"), expected)
    x[0, 1, 7, 7] = np.nan
    assert np.isnan(fc.conv2d(x, weight, padding=1, algorithm="winograd")[0, :, 6:9, 6:9]).all()


@pytest.mark.parametrize(
    ("shape", "options"),
    [((4, 4, 5, 3), {}), ((4, 4, 7, 7), {}), ((4, 4, 3, 3), {"stride": 2}), ((4, 4, 3, 3), {"stride": (1, 2)})],
)
def test_what_it_cannot_do_is_refused(shape, options):
    with pytest.raises(ValueError, match=r"conv2d: .*winograd.* takes only 3x3 and 5x5 kernels with stride 1"):
        fc.conv2d(np.ones((1, 4, 12, 12)), np.ones(shape), algorithm="winograd", **options)


def chosen(*shapes, op="conv2d", dtype=np.float32, **options):
    return fc.explain(op, *(np.zeros(shape, dtype) for shape in shapes), **{"padding": 1, **options}).algorithm


def test_auto_takes_it_where_it_saves_and_the_precision_allows():
    large = (8, 64, 56, 56), (64, 64, 3, 3)
    with fc.precision("high"):
        assert chosen(*large) == "winograd"
        assert chosen(*large, op="conv_transpose2d") == "winograd"
        assert chosen(*large, dtype=np.float64) != "winograd"
        assert chosen(*large, stride=2) != "winograd"
        assert chosen(*large, dilation=2) == "winograd"
        assert chosen((2, 32, 8, 28, 28), (32, 32, 3, 3, 3), op="conv3d") == "winograd"
        assert chosen((1, 32, 14, 14), (128, 32, 5, 5), padding=2) == "winograd"
        assert chosen((2, 32, 8, 28, 28), (32, 32, 3, 3, 1), op="conv3d") != "winograd"
        assert chosen((1, 512, 7, 7), (512, 512, 3, 3)) != "winograd"  # four tiles would leave most lanes empty
        assert chosen((8, 64, 56, 56), (64, 1, 3, 3), groups=64) != "winograd"
    with fc.precision("highest"):
        assert chosen(*large) != "winograd"
        assert chosen(*large, algorithm="winograd") == "winograd"


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize("mode", ["forward", "input gradient"])
@pytest.mark.parametrize(
    ("n", "c", "k", "h", "w"),
    [
        (5, 129, 33, 7, 7),  # tiles of several images in a block, two runs of summed channels, three chunks
        (1, 256, 16, 3, 200),  # one row of tiles, cut into blocks
        (2, 3, 200, 49, 3),  # one column of tiles
        (1, 20, 40, 130, 130),  # blocks of several tile rows
        (3, 300, 300, 20, 20),  # weights first
    ],
)
def test_blocks_and_chunks(isa, mode, n, c, k, h, w):
    """Around the limits of blocks of tiles, chunks of result channels and runs of summed channels."""
    rng = np.random.default_rng(6)
    x, weight, bias = (a.astype(np.float32) for a in problem(rng, n, 1, c, k, h, w))
    gy = rng.standard_normal((n, k, h, w), dtype=np.float32)
    with isa_limit(isa):
        if mode == "forward":
            found = fc.conv2d(x, weight, bias, padding=1, algorithm="winograd")
            plain = fc.conv2d(*(a.astype(float) for a in (x, weight, bias)), padding=1, algorithm="direct")
            frozen = fc.conv2d(x, fc.freeze_weight(weight), bias, padding=1, algorithm="winograd")
            np.testing.assert_array_equal(frozen, found)
        else:
            options = {"padding": 1, "needs": (True, False, False)}
            found = fc.conv2d_backward(gy, x, weight, **options, algorithm="winograd")[0]
            plain = fc.conv2d_backward(*(a.astype(float) for a in (gy, x, weight)), **options, algorithm="direct")[0]
    assert relative_error(found, plain) < WINOGRAD_BOUND[np.float32]


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize(
    ("shape", "k", "kernel", "options"),
    [
        ((2, 5, 23, 30), 7, (3, 3), {"dilation": 2, "padding": 2}),
        ((1, 17, 19, 40), 33, (3, 3), {"dilation": (3, 5), "padding": ((4, 1), (0, 7))}),
        ((1, 4, 40, 30), 3, (3, 3), {"dilation": (19, 12), "padding": 1}),  # fewer results than sub-images
        ((2, 6, 7, 13, 18), 9, (3, 3, 3), {"padding": 1}),
        ((1, 50, 5, 9, 9), 20, (3, 3, 3), {"padding": ((2, 0), (1, 1), (0, 2)), "dilation": (2, 1, 2)}),
        ((2, 3, 9, 10, 11), 18, (2, 3, 3), {"groups": 1, "padding": (0, 1, 1)}),
        ((1, 8, 6, 12, 12), 16, (5, 3, 3), {"groups": 2, "padding": (4, 1, 1)}),
        ((2, 17, 19, 20), 33, (5, 5), {"dilation": (2, 3), "padding": ((4, 1), (0, 7))}),
        ((2, 6, 4, 9, 11), 9, (2, 5, 5), {"padding": (1, 2, 2)}),
    ],
)
def test_dilation_and_depth(isa, shape, k, kernel, options):
    """Sub-images of dilated kernels, and slices of kernels with three axes."""
    rng = np.random.default_rng(7)
    n = len(kernel)
    convolve, backward = getattr(fc, f"conv{n}d"), getattr(fc, f"conv{n}d_backward")
    groups = options.get("groups", 1)
    x = rng.standard_normal(shape).astype(np.float32)
    weight = rng.standard_normal((k, shape[1] // groups, *kernel)).astype(np.float32)
    bias = rng.standard_normal(k).astype(np.float32)
    wide = [a.astype(float) for a in (x, weight, bias)]
    expected = convolve(*wide, **options, algorithm="direct")
    gy = rng.standard_normal(expected.shape).astype(np.float32)
    needs = {"needs": (True, False, False)}
    gx = backward(gy.astype(float), *wide[:2], **options, **needs, algorithm="direct")[0]
    with isa_limit(isa):
        found = convolve(x, weight, bias, **options, algorithm="winograd")
        frozen = convolve(x, fc.freeze_weight(weight), bias, **options, algorithm="winograd")
        gradient = backward(gy, x, weight, **options, **needs, algorithm="winograd")[0]
    np.testing.assert_array_equal(frozen, found)
    assert relative_error(found, expected) < WINOGRAD_BOUND[np.float32]
    assert relative_error(gradient, gx) < WINOGRAD_BOUND[np.float32]


def test_a_stride_along_depth():
    rng = np.random.default_rng(8)
    x, weight = rng.standard_normal((1, 4, 9, 12, 12)), rng.standard_normal((5, 4, 3, 3, 3))
    options = {"stride": (2, 1, 1), "padding": 1}
    expected = fc.conv3d(x, weight, **options, algorithm="direct")
    found = fc.conv3d(x.astype(np.float32), weight.astype(np.float32), **options, algorithm="winograd")
    assert relative_error(found, expected) < WINOGRAD_BOUND[np.float32]
    with pytest.raises(ValueError, match="stride 1 along depth"):
        fc.conv3d_backward(expected, x, weight, **options, algorithm="winograd")
