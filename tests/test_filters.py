"""Filters of images: exactly the reference on whole numbers, within rounding of SciPy; every mode, kernel, layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, WIDTHS, Array, assert_same, whole

import fastconv as fc
from fastconv import _filter, filters
from fastconv._config import isa_limit
from fastconv.reference import filters as reference

MODES = tuple(_filter.MODES)
#: Kernels of one row or column, even, higher than a group of rows, wider than the image.
KERNELS = [(1, 1), (1, 2), (4, 1), (2, 3), (3, 3), (5, 4), (9, 7), (1, 40), (19, 2), (12, 35)]
SHAPES = [(1, 1), (3, 2), (2, 7), (9, 16), (13, 33), (70, 19)]


def _image(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Array:
    return whole(rng, *shape, dtype=dtype, most=9)


# ---------------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_correlation_is_the_reference(kernel: tuple[int, int], dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(sum(kernel))
    weights = whole(rng, *kernel, dtype=dtype)
    with isa_limit(isa), fc.precision("highest"):
        for i, shape in enumerate(SHAPES):
            x, mode = _image(rng, *shape, dtype=dtype), MODES[(i + sum(kernel)) % len(MODES)]
            assert_same(filters.correlate(x, weights, mode, 5), reference.correlate(x, weights, mode, 5), share=0.3)
            assert_same(filters.convolve(x, weights, mode, 5), reference.convolve(x, weights, mode, 5), share=0.3)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_separable_kernels_are_the_reference(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(5)
    with isa_limit(isa):
        for i, (width, (high, wide)) in enumerate(zip((*WIDTHS, 150), KERNELS * 2, strict=False)):
            x = _image(rng, 21 + i, width, dtype=dtype)
            column, row = whole(rng, high, dtype=dtype), whole(rng, wide, dtype=dtype)
            pic = _filter.picture("test", x, MODES[i % len(MODES)], 2, None)
            _filter.weigh(pic, (column, row), (high // 2, wide // 2))
            assert_same(pic.finish(), reference.correlate(x, np.outer(column, row), MODES[i % len(MODES)], 2))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
def test_sobel_and_laplacian_are_the_reference(mode: str, isa: str) -> None:
    rng = np.random.default_rng(6)
    with isa_limit(isa):
        for dtype in DTYPES:
            for shape, axis, cval in (((6, 33), -1, 0), ((5, 4), 0, 3), ((1, 9), 1, 3), ((40, 2), -2, 0)):
                x = _image(rng, *shape, dtype=dtype)
                assert_same(filters.sobel(x, axis, mode, cval), reference.sobel(x, axis, mode, cval), share=0)
                assert_same(filters.laplacian(x, mode, cval), reference.laplacian(x, mode, cval), share=0.1)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_channels_side_by_side(dtype: Any, isa: str) -> None:
    """A kernel's reach over neighbouring pixels is a large part of a block: what is noted of both edges must fit."""
    rng, half = np.random.default_rng(7), 2 if dtype == np.float64 else 1  # a panel's row has half the elements
    with isa_limit(isa), fc.threads(2):
        for channels, width in ((304, 9), (304, 2), (260, 13), (200, 27), (96, 14)):
            x, weights = _image(rng, 90, width, channels // half, dtype=dtype), whole(rng, 3, 2, dtype=dtype)
            for name in ("convolve", "correlate"):
                want = getattr(reference, name)(x, weights, "wrap", channel_axis=2)
                assert_same(getattr(filters, name)(x, weights, "wrap", channel_axis=2), want, share=0.3)


@pytest.mark.parametrize(("shape", "kernel"), [((150, 1300), (3, 5)), ((300, 9), (140, 3)), ((2, 1200), (2, 600))])
@pytest.mark.parametrize("channels", [1, 3])
def test_many_blocks(shape: tuple[int, int], kernel: tuple[int, int], channels: int) -> None:
    """Several blocks of results, parts of a kernel, in planes and in pixels; sums stay below 2**24."""
    rng = np.random.default_rng(7)
    x, weights = _image(rng, *shape, channels), whole(rng, *kernel)
    rows = slice(None, None, max(1, shape[0] // 20))
    padded = np.pad(x, [(kernel[0] // 2,) * 2, (kernel[1] // 2,) * 2, (0, 0)], "symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (0, 1))[: shape[0] : rows.step, : shape[1]]
    want = np.einsum("hwcij,ij->hwc", windows.astype(np.float64), weights, optimize=True).astype(np.float32)
    with fc.precision("highest"):
        for axis in (2, 0, 1):
            got = filters.correlate(np.moveaxis(x, 2, axis), weights, channel_axis=axis)
            np.testing.assert_array_equal(np.moveaxis(got, axis, 2)[rows], want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout: str, isa: str) -> None:
    rng = np.random.default_rng(8)
    weights = whole(rng, 3, 4)
    with isa_limit(isa):
        for shape, axis in (((11, 37), None), ((7, 18, 3), -1), ((3, 7, 18), 0), ((7, 3, 18), 1)):
            x = _image(rng, *shape)
            want = reference.correlate(x, weights, "mirror", channel_axis=axis)
            assert_same(filters.correlate(LAYOUTS[layout](x), weights, "mirror", channel_axis=axis), want)


def test_the_same_bits_at_any_number_of_threads() -> None:
    rng = np.random.default_rng(9)
    x, weights = rng.random((500, 400, 3), dtype=np.float32), rng.random((9, 13), dtype=np.float32)
    for name, argument in (("correlate", weights), ("gaussian", 3.0), ("box", 7)):
        results = []
        for threads in (1, 2, 5):
            with fc.threads(threads):
                results.append(getattr(filters, name)(x, argument, channel_axis=2).tobytes())
        assert len(set(results)) == 1, name


# ---------------------------------------------------------------------------------------------------- within rounding


def _error(found: Array, expected: Array, x: Array, weights: Array | float) -> float:
    """Largest error in units of max |image| * sum |weights|."""
    assert found.dtype == expected.dtype == x.dtype
    return float(np.abs(found - expected).max() / (np.abs(x).max() * np.abs(weights).sum()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3), (33, 70)])
def test_scipy(shape: tuple[int, int], dtype: Any, mode: str) -> None:
    """Kernels reach no multiple of twice the image beyond it: SciPy 1.17's `correlate` then reads before the image."""
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(10)
    x = rng.random(shape).astype(dtype)
    bound = 1e-6 if dtype == np.float32 else 1e-14
    for cval in (0.0, 0.7):
        options: dict[str, Any] = {"mode": mode, "cval": cval}
        for size in ((1, 1), (3, 3), (2, 4), (1, 6), (9, 11), (13, 15)):
            w = rng.random(size) - 0.3
            for weights in (w, np.outer(w[0], w[-1])):
                for name in ("correlate", "convolve"):
                    got = getattr(filters, name)(x, weights, **options)
                    assert _error(got, getattr(ndimage, name)(x, weights, **options), x, weights) < bound
            assert _error(filters.box(x, size, **options), ndimage.uniform_filter(x, size, **options), x, 1.0) < bound
        for sigma, cut in ((0.01, 4.0), (1, 4.0), ((2, 0), 4.0), ((0.7, 3), 2.5), (6, 3.0)):
            got = filters.gaussian(x, sigma, truncate=cut, **options)
            assert _error(got, ndimage.gaussian_filter(x, sigma, truncate=cut, **options), x, 1.0) < bound
        assert _error(filters.laplacian(x, **options), ndimage.laplace(x, **options), x, 8.0) < bound
        for axis in (0, 1, -1):
            assert _error(filters.sobel(x, axis, **options), ndimage.sobel(x, axis, **options), x, 8.0) < bound


def test_the_reference_agrees_on_means_and_bells() -> None:
    rng = np.random.default_rng(11)
    x = rng.random((19, 45, 3))
    for mode in MODES:
        for name, argument in (("box", (4, 7)), ("gaussian", (1.5, 0)), ("gaussian", 4)):
            got = getattr(filters, name)(x, argument, mode, 0.5, channel_axis=2)
            np.testing.assert_allclose(got, getattr(reference, name)(x, argument, mode, 0.5, channel_axis=2), 1e-13)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 255.0, -7.7e-5])
def test_flat_images_stay_flat(value: float) -> None:
    """Where every addition errs the same way: a mean over a thousand pixels is the pixel, to within 1e-6."""
    x = np.full((80, 90), value, np.float32)
    rng = np.random.default_rng(12)
    for weights in (np.full((31, 31), 1 / 961), rng.random((31, 31))):
        for precision in ("high", "highest"):
            with fc.precision(precision):
                got = filters.correlate(x, weights).astype(np.float64)
            expected = float(x[0, 0]) * weights.sum()
            assert np.abs(got - expected).max() < 1e-6 * abs(value) * weights.sum()


@pytest.mark.parametrize("size", [(700, 1), (1, 3000), (2000, 2000), (10**6, 1)])
def test_windows_of_thousands_of_pixels(size: tuple[int, int]) -> None:
    """Far larger than the image, of which they see the mean; sums of float32 alone would be off by up to 1e-3."""
    x = np.random.default_rng(13).random((8, 9), np.float32)
    deep = x.astype(np.float64)
    assert _error(filters.box(x, size), filters.box(deep, size).astype(np.float32), x, 1.0) < 1e-6
    if max(size) < 10**6:
        w = np.random.default_rng(14).random(size, np.float32)
        assert _error(filters.correlate(x, w), filters.correlate(deep, w).astype(np.float32), x, w) < 1e-6


def test_the_least_sigma() -> None:
    x = np.random.default_rng(15).random((5, 6))
    np.testing.assert_array_equal(filters.gaussian(x, 1e-300, truncate=1e301), x)


def test_kernels_come_apart_up_to_rounding() -> None:
    rng = np.random.default_rng(13)
    for dtype in DTYPES:
        column, row = rng.standard_normal(17), rng.standard_normal(6)
        product = np.outer(column, row).astype(dtype)
        found = _filter.apart(product)
        assert found is not None
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(np.outer(*found), product, rtol=0, atol=4 * eps * np.abs(product).max())
        other = product.copy()
        other[3, 4] += 100 * eps * np.abs(product).sum()
        assert _filter.apart(other) is None
    assert _filter.apart(np.zeros((3, 3))) is None
    assert _filter.apart(np.full((3, 3), np.nan)) is None


# ---------------------------------------------------------------------------------------------------- dtypes, edges


def test_half_precision_computes_in_single() -> None:
    x = np.random.default_rng(14).random((20, 30)).astype(np.float16)
    got = filters.gaussian(x, 2)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, filters.gaussian(x.astype(np.float32), 2).astype(np.float16))


def test_empty_images() -> None:
    for shape, axis in (((0, 5), None), ((5, 0), None), ((4, 5, 0), 2), ((0, 0, 3), -1)):
        x = np.zeros(shape, np.float32)
        for name, arguments in RIGHT.items():
            assert getattr(filters, name)(x, **arguments, channel_axis=axis).shape == shape


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("size", [(3, 3), (9, 9), (31, 31)])
def test_what_is_not_finite_stays_where_a_kernel_meets_it(odd: float, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(15)
    x = rng.random((160, 150), dtype=np.float32)
    weights = rng.random(size)
    clean = filters.correlate(x, weights)
    x[80, 70] = odd
    got = filters.correlate(x, weights)
    reach = [slice(at - n // 2, at + n // 2 + 1) for at, n in zip((80, 70), size, strict=True)]
    assert not np.isfinite(got[tuple(reach)]).any()
    got[tuple(reach)] = clean[tuple(reach)]
    np.testing.assert_allclose(got, clean, rtol=1e-5)


def test_whole_numbers_and_lists_are_weights() -> None:
    x = np.random.default_rng(16).random((5, 6))
    want = filters.correlate(x, np.array([[1.0, 2.0], [3.0, 5.0]]))
    for weights in ([[1, 2], [3, 5]], np.array([[1, 2], [3, 5]], np.uint8), np.array([[1, 2], [3, 5]], np.float16)):
        np.testing.assert_array_equal(filters.correlate(x, weights), want)


# ---------------------------------------------------------------------------------------------------- refusals

GRAY = np.zeros((4, 5), np.float32)
THIN = GRAY[None]
RIGHT: dict[str, dict[str, Any]] = {
    "laplacian": {},
    "sobel": {},
    "box": {"size": 3},
    "gaussian": {"sigma": 1},
    "correlate": {"weights": [[1]]},
    "convolve": {"weights": [[1]]},
}


def _ones(kinds: tuple[str, ...]) -> list[Array]:
    return [np.ones((2, 2), kind) for kind in kinds]


def _shaped(shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    return [np.ones(shape) for shape in shapes]


def _wrong(name: str, error: type[Exception], rule: str, argument: str, values: Any, image: Any = GRAY) -> list[Any]:
    return [(name, {"image": image, **RIGHT[name], argument: value}, error, rule) for value in values]


WRONG = [
    *_wrong("laplacian", TypeError, "image must be .*astype", "image", _ones(("i4", "u1", "?", "c8", "O"))),
    *_wrong("box", TypeError, "image must be", "image", ("text", None)),
    *_wrong("sobel", ValueError, r"image must have the axes \(H, W\)", "image", _shaped(((), (3,), (2, 3, 4)))),
    *_wrong("laplacian", ValueError, "mode must be one of", "mode", ("fast", "", None, 3, "symmetric", b"wrap")),
    *_wrong("laplacian", TypeError, "cval must be a real", "cval", ("0", 1j, None, [1.0], True)),
    *_wrong("laplacian", ValueError, "cval must be in the range", "cval", (1e39, 10**400)),
    *_wrong("laplacian", ValueError, "three axes where channel_axis", "channel_axis", (0, 1)),
    *_wrong("laplacian", ValueError, "channel_axis must be an axis", "channel_axis", (3, -4, 2**40), THIN),
    *_wrong("laplacian", TypeError, "channel_axis must be", "channel_axis", (1.0, "0", True), THIN),
    *_wrong("sobel", ValueError, "axis must be an axis", "axis", (2, -3, 2**40)),
    *_wrong("sobel", TypeError, "axis must be", "axis", (1.0, "0", True, None)),
    *_wrong("box", ValueError, "size must be", "size", (0, -1, (3, 0), (1, 2, 3), (), 2**40, 2**70)),
    *_wrong("box", TypeError, "size must be", "size", (1.5, "3", None, (3, 1.0), True)),
    *_wrong("gaussian", ValueError, "sigma", "sigma", (-1, np.nan, np.inf, (1, -2), (1, 2, 3), (), 1e9)),
    *_wrong("gaussian", TypeError, "sigma must be", "sigma", ("1", None, 1j, (1, None), True)),
    *_wrong("gaussian", ValueError, "truncate must be", "truncate", (-1, np.nan, np.inf, 1e9)),
    *_wrong("gaussian", TypeError, "truncate must be", "truncate", ("4", None)),
    *_wrong("correlate", ValueError, "weights must have", "weights", _shaped(((), (3,), (0, 3), (1, 2, 3)))),
    *_wrong("convolve", TypeError, "weights must be real", "weights", _ones(("?", "c8", "O"))),
    *_wrong("correlate", TypeError, "weights cannot be read", "weights", ([[1, 2], [3]],)),
    *_wrong("correlate", ValueError, "weights must be in the range", "weights", ([[1e300]],)),
]


@pytest.mark.parametrize(("name", "arguments", "error", "rule"), WRONG)
def test_refusals(name: str, arguments: dict[str, Any], error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=f"^{name}: .*{rule}"):
        getattr(filters, name)(**arguments)


def test_all_is_documented() -> None:
    for name in filters.__all__:
        text = getattr(filters, name).__doc__
        for section in ("Parameters", "Returns", "Raises", "Examples"):
            assert f"    {section}\n    {'-' * len(section)}\n" in text
        assert "%" not in text
