"""The cases that every benchmark shares: layers of well-known networks, and real images to run them on.

The images come with scikit-learn: two photographs of 427x640 pixels and 1,797 handwritten digits. Layers deeper
than the first get feature maps: for LeNet-5 those of its own earlier layers, elsewhere windows of the photographs,
one place a channel, so that what is multiplied is image content and not white noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from fastconv._extras import require
from fastconv.bench.layers import Conv, Pool
from fastconv.data import digits

Float32Array = npt.NDArray[np.float32]

LENET5 = (
    Conv("LeNet-5 C1", c=1, h=32, w=32, k=6, kh=5, kw=5),
    Conv("LeNet-5 C3", c=6, h=14, w=14, k=16, kh=5, kw=5),
    Conv("LeNet-5 C5", c=16, h=5, w=5, k=120, kh=5, kw=5),
)

FIRST_LAYERS = (
    Conv("AlexNet conv1", c=3, h=227, w=227, k=96, kh=11, kw=11, sh=4, sw=4),
    Conv("VGG-16 conv1_1", c=3, h=224, w=224, k=64, kh=3, kw=3, ph=1, pw=1),
    Conv("ResNet-50 conv1", c=3, h=224, w=224, k=64, kh=7, kw=7, sh=2, sw=2, ph=3, pw=3),
)

POOLS = (
    Pool("max 2x2/2 LeNet-5", "max", c=6, h=28, w=28, kernel=2, stride=2),
    Pool("max 2x2/2 VGG-16 pool1", "max", c=64, h=224, w=224, kernel=2, stride=2),
    Pool("max 3x3/2 AlexNet pool1", "max", c=96, h=55, w=55, kernel=3, stride=2),
    Pool("max 3x3/2 ResNet-50 pool1", "max", c=64, h=112, w=112, kernel=3, stride=2, padding=1),
    Pool("mean 2x2/2 56x56", "mean", c=128, h=56, w=56, kernel=2, stride=2),
    Pool("mean 3x3/2 112x112", "mean", c=64, h=112, w=112, kernel=3, stride=2, padding=1),
    Pool("mean 3x3/1 35x35", "mean", c=192, h=35, w=35, kernel=3, stride=1, padding=1),
    Pool("global mean 56x56", "global mean", c=256, h=56, w=56),
    Pool("global mean ResNet-50", "global mean", c=2048, h=7, w=7),
)

GROWING_SIZES = ((8, 8), (16, 16), (24, 24), (32, 32), (40, 40), (64, 64), (128, 128), (256, 256), (427, 640))


@dataclass(frozen=True)
class Case:
    """A layer, where its input comes from (``"digits"`` or ``"photograph"``) and the part of the table it is in."""

    layer: Conv
    source: str
    part: str


def growing_layer(height: int, width: int) -> Conv:
    """Give eight 3x3 filters over a colour image of that size: 224 parameters at every size."""
    return Conv(f"3x3 on {height}x{width}", c=3, h=height, w=width, k=8, kh=3, kw=3, ph=1, pw=1)


def all_cases() -> list[Case]:
    """List the rows of ``python -m fastconv bench``."""
    return [
        *(Case(layer, "digits", "LeNet-5") for layer in LENET5),
        *(Case(layer, "photograph", "first layers") for layer in FIRST_LAYERS),
        *(Case(growing_layer(*size), "photograph", "growing image") for size in GROWING_SIZES),
    ]


@cache
def photographs() -> Float32Array:
    """Load scikit-learn's photographs, each channel with mean 0 and variance 1.

    Returns
    -------
    ndarray of shape (2, 3, 427, 640), float32, read-only
    """
    datasets = require("sklearn.datasets", "real photographs and digits")
    images = np.stack(datasets.load_sample_images().images).astype(np.float64).transpose(0, 3, 1, 2)
    images -= images.mean(axis=(2, 3), keepdims=True)
    images /= images.std(axis=(2, 3), keepdims=True)
    return _frozen(images)


def make_input(case: Case, batch: int) -> Float32Array:
    """Make the real input of a case.

    Parameters
    ----------
    case : Case
    batch : int
        Images N.

    Returns
    -------
    ndarray of shape (N, C, H, W), float32
    """
    if case.source == "digits":
        return _lenet_maps(LENET5.index(case.layer), batch)
    return photograph_windows(*case.layer.input_shape(batch))


def photograph_windows(n: int, c: int, h: int, w: int) -> Float32Array:
    """Cut an input of any shape out of the photographs.

    One or three channels are the photographs' middle, gray or in colour. Further channels are windows at other
    places of them; what lies outside wraps around.

    Parameters
    ----------
    n, c, h, w : int
        Images, channels, height and width.

    Returns
    -------
    ndarray of shape (n, c, h, w), float32
    """
    photos = photographs()
    planes = photos.mean(axis=1, keepdims=True) if c == 1 else photos
    count, channels, height, width = planes.shape
    result = np.empty((n, c, h, w), np.float32)
    for image in range(n):
        for channel in range(c):
            # Primes as steps, so that the windows of different channels and images do not repeat early.
            shift = image // count * 31 + channel // channels * 17
            rows = np.arange(h) + (height - h) // 2 + shift
            columns = np.arange(w) + (width - w) // 2 + shift
            plane = planes[image % count, channel % channels]
            result[image, channel] = plane.take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
    return result


def make_parameters(layer: Conv, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """Draw He-initialised weights and small biases.

    Parameters
    ----------
    layer : Conv
    rng : numpy.random.Generator

    Returns
    -------
    weight : ndarray of shape (K, C / groups, kernel height, kernel width), float32
    bias : ndarray of shape (K,), float32
    """
    weight = rng.standard_normal(layer.weight_shape, dtype=np.float32)
    weight *= np.float32(np.sqrt(2.0 / layer.taps))
    return weight, rng.standard_normal(layer.k, dtype=np.float32) / np.float32(10)


def _lenet_maps(depth: int, batch: int) -> Float32Array:
    """Feature maps in front of LeNet-5's convolution number `depth`, for the first digits and fixed random weights."""
    from fastconv import reference

    rng = np.random.default_rng(5)
    images = digits()[0]
    maps: npt.NDArray[np.floating] = images[np.arange(batch) % len(images)]
    for layer in LENET5[:depth]:
        maps = np.maximum(reference.conv2d(maps, *make_parameters(layer, rng)), 0)
        n, c, h, w = maps.shape
        maps = maps.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))  # pooling follows the first two
    return np.ascontiguousarray(maps, dtype=np.float32)


def _frozen(array: npt.NDArray[np.float64]) -> Float32Array:
    result = np.ascontiguousarray(array, dtype=np.float32)
    result.flags.writeable = False
    return result
