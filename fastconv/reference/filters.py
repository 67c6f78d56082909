"""Filters of images: every pixel that a kernel reaches beyond the border is a copy of one inside, or a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, finish, floats, is_number

__all__ = ["MODES", "box", "convolve", "correlate", "gaussian", "laplacian", "sobel"]

MODES = ("reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror", "grid-wrap", "wrap")


def _extended(x: Array, kernel: tuple[int, int], before: tuple[int, int], mode: str, cval: float) -> Array:
    """(H, W) -> (H + kH - 1, W + kW - 1): the image with what a kernel meets outside, `before` pixels up and left.

    An image is unrolled into tiles that repeat for ever: itself, itself and its mirror image, or the same without the
    borders that stand twice.
    """
    if mode in ("constant", "grid-constant"):
        pairs = [(lo, k - 1 - lo) for k, lo in zip(kernel, before, strict=True)]
        return np.pad(x, pairs, constant_values=cval)
    places = []
    for size, k, lo in zip(x.shape, kernel, before, strict=True):
        place = np.arange(-lo, size + k - 1 - lo)
        forward, back = list(range(size)), list(range(size))[::-1]
        tile = {
            "reflect": forward + back,
            "grid-mirror": forward + back,
            "mirror": forward + back[1:-1],
            "nearest": forward,
            "wrap": forward,
            "grid-wrap": forward,
        }[mode]
        places.append(place.clip(0, size - 1) if mode == "nearest" else np.array(tile)[place % len(tile)])
    return np.asarray(x[np.ix_(*places)])


def _weigh(x: Array, weights: Array, before: tuple[int, int], mode: str, cval: float) -> Array:
    """Add up the extended image, shifted, times each weight."""
    padded = _extended(x, weights.shape, before, mode, cval)
    y = np.zeros_like(x)
    for (i, j), weight in np.ndenumerate(weights):
        y += weight * padded[i : i + x.shape[0], j : j + x.shape[1]]
    return y


def _each_channel(image: ArrayLike, channel_axis: int | None, steps: list[tuple[Array, tuple[int, int]]], mode: str,
                  cval: float) -> Array:  # fmt: skip
    """Apply one kernel after the other to every channel."""
    dtype, x = floats("filters", image=image)
    if mode not in MODES:
        raise ValueError(f"filters: mode must be one of {MODES}, received {mode=!r}")
    planes = np.moveaxis(x[None] if channel_axis is None else x, 0 if channel_axis is None else channel_axis, 0)
    if planes.ndim != 3:
        raise ValueError(f"filters: image must be (H, W), or (H, W, C) with channel_axis, received shape {x.shape}")
    results = []
    for plane in planes:
        for weights, before in steps:
            plane = _weigh(plane, weights.astype(x.dtype), before, mode, cval) if plane.size else plane
        results.append(plane)
    stacked = np.array(results, x.dtype).reshape(planes.shape)
    return finish(np.moveaxis(stacked, 0, channel_axis) if channel_axis is not None else stacked[0], dtype)


def _centre(weights: Array) -> tuple[Array, tuple[int, int]]:
    return weights, (weights.shape[0] // 2, weights.shape[1] // 2)


def _pair(value: Any) -> tuple[float, float]:
    return (value, value) if is_number(value) else (value[0], value[1])


def correlate(
    image: ArrayLike, weights: ArrayLike, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None
) -> Array:
    """Weight an image around each pixel: ``y[h, w] = sum of weights[i, j] * x[h + i - kH // 2, w + j - kW // 2]``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import filters
    >>> filters.correlate(np.array([[0.0, 1.0, 0.0, 0.0]]), [[1, 2, 3]])
    array([[3., 2., 1., 0.]])
    """
    return _each_channel(image, channel_axis, [_centre(np.asarray(weights))], mode, cval)


def convolve(
    image: ArrayLike, weights: ArrayLike, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None
) -> Array:
    """The same with ``h - i + kH // 2`` and ``w - j + kW // 2``: the turned kernel, its centre turned with it."""
    turned = np.asarray(weights)[::-1, ::-1]
    before = (turned.shape[0] - 1 - turned.shape[0] // 2, turned.shape[1] - 1 - turned.shape[1] // 2)
    return _each_channel(image, channel_axis, [(turned, before)], mode, cval)


def box(
    image: ArrayLike, size: int | tuple[int, int], mode: str = "reflect", cval: float = 0.0, *,
    channel_axis: int | None = None,
) -> Array:  # fmt: skip
    """Mean of a window."""
    high, wide = (int(n) for n in _pair(size))
    return _each_channel(image, channel_axis, [_centre(np.full((high, wide), 1 / (high * wide)))], mode, cval)


def gaussian(
    image: ArrayLike, sigma: float | tuple[float, float], mode: str = "reflect", cval: float = 0.0,
    truncate: float = 4.0, *, channel_axis: int | None = None,
) -> Array:  # fmt: skip
    """Weights ``exp(-d**2 / (2 * sigma**2))`` up to ``floor(truncate * sigma + 0.5)`` pixels away, with the sum 1."""
    bells = []
    for s in _pair(sigma):
        distance = np.arange(-int(truncate * s + 0.5), int(truncate * s + 0.5) + 1)
        bell = np.exp(-0.5 * (distance / (s or 1)) ** 2)
        bells.append(bell / bell.sum())
    return _each_channel(image, channel_axis, [_centre(bells[0][:, None]), _centre(bells[1][None])], mode, cval)


def laplacian(image: ArrayLike, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None) -> Array:
    """Sum of the second differences along both axes."""
    return _each_channel(image, channel_axis, [_centre(np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]))], mode, cval)


def sobel(
    image: ArrayLike, axis: int = -1, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None
) -> Array:
    """Difference of the neighbours along an axis, then ``(1, 2, 1)`` across it, each pass extending what it gets."""
    slope, smooth = np.array([[-1, 0, 1]]), np.array([[1, 2, 1]])
    steps = [slope.T, smooth] if axis % 2 == 0 else [slope, smooth.T]
    return _each_channel(image, channel_axis, [_centre(step) for step in steps], mode, cval)
