"""Winograd's weight gradients, F(3x3, 4x4) and F(5x5, 2x2): their error bound, their shapes, when "auto" takes them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import USABLE_ISAS, WINOGRAD_BOUND, relative_error

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit


def problem(rng, n, groups, c, k, h, w, padding=1, side=3):
    """Input, weight, gradient of the output, and the exact gradient of the weight."""
    x = rng.standard_normal((n, groups * c, h, w))
    weight = rng.standard_normal((groups * k, c, side, side)) * np.sqrt(2 / (side**2 * c))  # He's scale
    gy = rng.standard_normal(reference.conv2d(x, weight, padding=padding, groups=groups).shape)
    return x, weight, gy, exact(gy, x, weight, padding=padding, groups=groups)


def exact(gy, x, weight, **options):
    return reference.conv2d_backward(gy, x, weight, **options, needs=(False, True, False))[1]


def gradient(gy, x, weight, algorithm="winograd", **options):
    return fc.conv2d_backward(gy, x, weight, **options, needs=(False, True, False), algorithm=algorithm)[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize(
    ("n", "groups", "c", "k", "h", "w", "padding"),
    [
        (1, 1, 1, 1, 3, 3, 0),
        (1, 1, 3, 5, 4, 5, 1),
        (2, 1, 17, 33, 13, 9, ((0, 2), (1, 0))),
        (1, 2, 5, 16, 17, 31, 1),
        (3, 1, 40, 70, 14, 14, 1),
        (1, 1, 70, 64, 21, 67, "same"),
        (1, 1, 2, 3, 130, 3, ((2, 2), (2, 2))),
        (1, 1, 3, 2, 3, 530, ((5, 0), (0, 7))),  # rows of tiles in several segments
        (2, 3, 33, 75, 9, 20, 1),
        (3, 1, 130, 370, 8, 8, 1),  # tiles of the gradient enough for all threads: no sums in the workspace
        (2, 1, 20, 24, 160, 61, 1),  # several chunks of tiles
    ],
)
def test_weight_gradient_keeps_the_bound(isa, dtype, n, groups, c, k, h, w, padding):
    keeps_the_bound(isa, dtype, padding, groups, *problem(np.random.default_rng(0), n, groups, c, k, h, w, padding))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize(
    ("n", "groups", "c", "k", "h", "w", "padding"),
    [
        (1, 1, 1, 2, 5, 6, 0),
        (1, 1, 3, 5, 4, 5, 2),
        (2, 1, 17, 33, 13, 9, ((0, 2), (3, 1))),
        (3, 2, 40, 35, 14, 14, 2),
        (1, 1, 3, 2, 5, 280, ((5, 0), (0, 7))),
        (3, 1, 130, 370, 7, 7, 2),
        (2, 1, 20, 24, 110, 31, 2),
    ],
)
def test_kernels_of_5x5_keep_the_bound(isa, dtype, n, groups, c, k, h, w, padding):
    keeps_the_bound(isa, dtype, padding, groups, *problem(np.random.default_rng(0), n, groups, c, k, h, w, padding, 5))


def keeps_the_bound(isa, dtype, padding, groups, x, weight, gy, expected):
    with isa_limit(isa):
        x, weight, gy = (a.astype(dtype) for a in (x, weight, gy))
        assert relative_error(gradient(gy, x, weight, padding=padding, groups=groups), expected) < WINOGRAD_BOUND[dtype]


def test_the_cases_above_reach_every_way():
    def stages(*shape):
        x, weight, _, _ = problem(np.random.default_rng(0), *shape)
        explained = fc.explain("conv2d_backward", x.astype("f"), weight.astype("f"), padding=1, algorithm="winograd")
        return len(explained[1].tasks)

    assert stages(3, 1, 130, 370, 8, 8) == 2  # transform, multiply
    assert stages(3, 1, 40, 70, 14, 14) == 3  # and finish
    assert stages(2, 1, 20, 24, 160, 61) > 3


def test_sums_that_exceed_the_workspace():
    """1,200 x 1,200 channels have 200 MB of sums in progress: rows of tiles of the gradient are taken in turn."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((1, 1200, 88, 88), np.float32)
    gy = np.zeros((1, 1200, 88, 88), np.float32)
    channels = rng.permutation(1200)[:40]
    gy[:, channels] = rng.standard_normal((1, 40, 88, 88), np.float32)
    weight = np.zeros((1200, 1200, 3, 3), np.float32)
    explained = fc.explain("conv2d_backward", x, weight, padding=1, algorithm="winograd")[1]
    assert explained.workspace_bytes < 160 << 20
    found = gradient(gy, x, weight, padding=1)
    expected = gradient(gy[:, channels].astype("d"), x.astype("d"), weight[channels].astype("d"), "direct", padding=1)
    assert relative_error(found[channels], expected) < WINOGRAD_BOUND[np.float32]
    assert np.count_nonzero(np.delete(found, channels, axis=0)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize(
    ("shape", "k", "kernel", "options"),
    [
        ((2, 5, 23, 30), 7, (3, 3), {"dilation": 2, "padding": 2}),
        ((1, 17, 19, 40), 33, (3, 3), {"dilation": (3, 5), "padding": ((4, 1), (0, 7))}),
        ((1, 4, 40, 30), 3, (3, 3), {"dilation": (19, 12), "padding": 1}),  # fewer results than sub-images
        ((2, 6, 7, 13, 18), 9, (3, 3, 3), {"padding": 1}),
        ((2, 40, 5, 9, 9), 70, (3, 3, 3), {"padding": ((2, 0), (1, 1), (0, 2)), "dilation": (2, 1, 2)}),
        ((1, 8, 2, 12, 12), 16, (5, 3, 3), {"groups": 2, "padding": (4, 1, 1)}),  # some meet padding
        ((1, 3, 1, 12, 12), 5, (3, 3, 3), {"padding": ((0, 2), (1, 1), (1, 1))}),  # two taps in padding
        ((2, 17, 19, 20), 33, (5, 5), {"dilation": (2, 3), "padding": ((4, 1), (0, 7))}),
        ((2, 6, 4, 9, 11), 9, (2, 5, 5), {"padding": (1, 2, 2)}),
    ],
)
def test_dilation_and_depth(isa, dtype, shape, k, kernel, options):
    """Sub-images of dilated kernels, and slices of kernels with three axes."""
    rng = np.random.default_rng(7)
    n, groups = len(kernel), options.get("groups", 1)
    backward = {"needs": (False, True, False), **options}
    x, weight = rng.standard_normal(shape), rng.standard_normal((k, shape[1] // groups, *kernel))
    gy = rng.standard_normal(getattr(fc, f"conv{n}d")(x, weight, **options, algorithm="direct").shape)
    expected = getattr(reference, f"conv{n}d_backward")(gy, x, weight, **backward)[1]
    with isa_limit(isa):
        arrays = [a.astype(dtype) for a in (gy, x, weight)]
        found = getattr(fc, f"conv{n}d_backward")(*arrays, **backward, algorithm="winograd")[1]
    assert relative_error(found, expected) < WINOGRAD_BOUND[dtype]


def test_a_stride_along_depth():
    rng = np.random.default_rng(8)
    x, weight = rng.standard_normal((2, 32, 7, 28, 28)), rng.standard_normal((48, 32, 3, 3, 3))
    gy, options = rng.standard_normal((2, 48, 4, 28, 28)), {"padding": 1, "stride": (2, 1, 1)}
    needs = {"needs": (False, True, False)}
    expected = fc.conv3d_backward(gy, x, weight, **options, **needs, algorithm="direct")[1]
    gy, x, weight = (a.astype(np.float32) for a in (gy, x, weight))
    with fc.precision("high"):
        assert fc.explain("conv3d_backward", x, weight, **options)[1].algorithm == "winograd"
        found = fc.conv3d_backward(gy, x, weight, **options, **needs)[1]
    assert relative_error(found, expected) < WINOGRAD_BOUND[np.float32]


def test_long_sums_keep_the_bound():
    x, weight, gy, expected = problem(np.random.default_rng(1), 4, 1, 4, 5, 250, 250)
    found = gradient(gy.astype("f"), x.astype("f"), weight.astype("f"), padding=1)
    assert relative_error(found, expected) < WINOGRAD_BOUND[np.float32]


def test_outliers_keep_the_normwise_bound():
    rng = np.random.default_rng(2)
    x, weight, gy, _ = problem(rng, 2, 1, 32, 48, 28, 28)
    x[0, 3, 11, 12], gy[1, 5, 20, 3] = 1e4, -1e4
    expected = exact(gy, x, weight, padding=1)
    found = gradient(gy.astype("f"), x.astype("f"), weight.astype("f"), padding=1)
    assert np.linalg.norm(found - expected) < 3e-5 * np.linalg.norm(expected)
    assert np.abs(found - expected).max() < 3e-5 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(2, 1, 48, 80, 40, 40), (3, 1, 130, 370, 8, 8), (1, 3, 20, 40, 15, 15)])
@pytest.mark.parametrize("threads", [2, 3, 4, 7, 8])
def test_same_bits_at_any_number_of_threads(threads, shape):
    x, weight, gy, _ = (a.astype(np.float32) for a in problem(np.random.default_rng(3), *shape))
    with fc.threads(1):
        one = gradient(gy, x, weight, padding=1, groups=shape[1])
    with fc.threads(threads):
        np.testing.assert_array_equal(gradient(gy, x, weight, padding=1, groups=shape[1]), one)


def test_transposed_convolution():
    rng = np.random.default_rng(4)
    x, weight = rng.standard_normal((2, 9, 11, 13)), rng.standard_normal((9, 20, 3, 3))
    gy = rng.standard_normal((2, 20, 11, 13))
    expected = reference.conv_transpose2d_backward(gy, x, weight, padding=1)[1]
    gy, x, weight = (a.astype(np.float32) for a in (gy, x, weight))
    found = fc.conv_transpose2d_backward(gy, x, weight, padding=1, algorithm="winograd")[1]
    assert relative_error(found, expected) < WINOGRAD_BOUND[np.float32]


def test_strided_inputs_and_nan():
    x, weight, gy, _ = (a.astype(np.float32) for a in problem(np.random.default_rng(5), 2, 1, 4, 6, 20, 20))
    expected = gradient(gy, x, weight, padding=1)

    def turned(a):
        return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    np.testing.assert_array_equal(gradient(turned(gy), turned(x), weight, padding=1), expected)
    flat = np.broadcast_to(np.float32(2), x.shape)
    np.testing.assert_array_equal(
        gradient(gy, flat, weight, padding=1), gradient(gy, np.full_like(x, 2), weight, padding=1)
    )
    x[0, 1, 7, 7] = np.nan
    assert np.isnan(gradient(gy, x, weight, padding=1)[:, 1]).all()


@pytest.mark.parametrize(
    ("shape", "options"),
    [((4, 4, 5, 3), {}), ((4, 4, 7, 7), {}), ((4, 4, 3, 3), {"stride": 2}), ((4, 4, 3, 3), {"stride": (1, 2)})],
)
def test_what_it_cannot_do_is_refused(shape, options):
    x, weight = np.ones((1, 4, 12, 12)), np.ones(shape)
    gy = np.ones_like(fc.conv2d(x, weight, **options))
    with pytest.raises(ValueError, match=r"conv2d_backward: .*winograd.* takes only 3x3 and 5x5 kernels with stride 1"):
        gradient(gy, x, weight, **options)


def test_auto_takes_it_where_it_saves_and_precision_allows():
    def choice(n, c, k, size, dtype=np.float32, dilation=1, side=3):
        x, weight = np.zeros((n, c, size, size), dtype), np.zeros((k, c, side, side), dtype)
        options = {"padding": side // 2 * dilation, "dilation": dilation}
        return fc.explain("conv2d_backward", x, weight, **options)[1].algorithm

    with fc.precision("high"):
        assert choice(8, 64, 64, 56) == choice(1, 256, 256, 14) == choice(8, 512, 512, 7) == "winograd"
        assert choice(8, 64, 64, 56, np.float64) != "winograd"
        assert choice(8, 3, 64, 56) != "winograd"
        assert choice(1, 256, 256, 28, dilation=2) == choice(8, 48, 128, 27, side=5) == "winograd"
        assert choice(1, 256, 256, 28, dilation=12) != "winograd"  # sub-images of 2 or 3 pixels
        assert choice(1, 512, 512, 3) != "winograd"
    assert choice(8, 64, 64, 56) != "winograd"  # at "highest", as conftest.py sets it
