"""The filters of images in the sweep of bad input: a right call of each, and what can be wrong with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np
from calls import Call
from wrong import TOO_BIG, Opaque, Wrong, choice, no_floats, no_integers, per_axis, shapes, zeros

from fastconv import filters

HIGH, WIDE = 6, 5
OPTIONS = {"mode": "reflect", "cval": 0.0, "channel_axis": None}


@dataclass(frozen=True)
class Filter(Call):
    """A call of a function of `fastconv.filters`."""

    def __call__(self, **changes: Any) -> Any:
        return getattr(filters, self.name)(**{**self.arguments, **changes})


def all_filters() -> dict[str, Filter]:
    """A right call of each filter, on a gray image."""
    image = np.random.default_rng(0).standard_normal((HIGH, WIDE)).astype(np.float32)
    own: dict[str, dict[str, Any]] = {
        "box": {"size": 3},
        "gaussian": {"sigma": 1.0, "truncate": 4.0},
        "laplacian": {},
        "sobel": {"axis": 0},
        "correlate": {"weights": [[1, 2, 3]]},
        "convolve": {"weights": [[1, 2, 3]]},
    }
    assert set(own) == set(filters.__all__)
    return {name: Filter(name, 2, {"image": image, **more, **OPTIONS}) for name, more in own.items()}


FILTERS = all_filters()
COLOUR = zeros(HIGH, WIDE, 3)


def images() -> Iterator[Wrong]:
    """Images of no floats, of other axes than are said, and such as no memory holds."""
    yield from no_floats((HIGH, WIDE))
    yield from shapes([(), (3,), (2, 3, 4), (2, 2, 2, 2), (0,)], r"must have the axes \(H, W\)")
    for axis in (0, -1):
        others = {"channel_axis": axis}
        for shape in ((), (3,), (3, 4), (2, 2, 2, 2)):
            yield Wrong(zeros(*shape), ValueError, "must have three axes", str(shape), others=others)
        for wrong in no_floats((HIGH, WIDE, 3)):
            yield Wrong(wrong.value, wrong.error, wrong.rule, wrong.shown, others=others)
    for shape in ((2**30, 2**29), (2**59, 1), (1, 2**59)):
        yield Wrong(zeros(*shape), MemoryError, "cannot be held in memory", str(shape))
    yield Wrong(zeros(2**29, 2**29, 3), MemoryError, "cannot be held", "", others={"channel_axis": 2})


def constants() -> Iterator[Wrong]:
    """cval: a NaN and infinities are right."""
    for value in ("0", "", b"1", 1j, None, [1.0], (0,), True, np.True_, Opaque(), np.array([2.0])):
        yield Wrong(value, TypeError, "real number")
    for value in (1e39, -1e39, 10**400, -(10**400)):
        yield Wrong(value, ValueError, "in the range of float")


def channel_axes() -> Iterator[Wrong]:
    """channel_axis: no axis of the image, or of an image that has none to spare."""
    for wrong in no_integers(optional=True):
        yield Wrong(wrong.value, TypeError, "integer", others={"image": COLOUR})
    for value in (3, -4, 2**31, -(2**31), 2**61):
        yield Wrong(value, ValueError, "must be an axis of the image", others={"image": COLOUR})
    for value in TOO_BIG:
        yield Wrong(value, ValueError, r"below 2\*\*62", others={"image": COLOUR})
    for value in (0, 1, 2, -1):
        yield Wrong(value, ValueError, "must have three axes", f"channel_axis={value}")


def sizes() -> Iterator[Wrong]:
    """size of a box."""
    for wrong in per_axis(2, 1):
        if not isinstance(wrong.value, range | np.ndarray) and "spatial axis" not in wrong.rule:
            yield wrong
    for value in ((), [], (1,), (1, 2, 3), [3] * 4, np.ones(3, int)):
        shown = f"size={np.asarray(value).tolist()!r}" if isinstance(value, np.ndarray) else None
        yield Wrong(value, ValueError, "one number or two", shown)
    for value in (2**26, (3, 2**31), (2**61, 1)):
        yield Wrong(value, ValueError, "at most")


def deviations() -> Iterator[Wrong]:
    """sigma: a real number, or two."""
    for value in ("1", b"1", 1j, None, True, Opaque(), {1.0}, (1, None), (True, 1), ("1", 2), np.datetime64("2020")):
        yield Wrong(value, TypeError, "real number")
    for value in (-1, -1e-300, nan, inf, -inf, (1, -2), (nan, 1), (1, inf)):
        yield Wrong(value, ValueError, "non-negative and finite")
    yield Wrong(10**400, ValueError, "in the range of float64")
    for value in ((), [], (1.0,), (1, 2, 3)):
        yield Wrong(value, ValueError, "one number or two")
    for value in (1e9, 1e300, (1, 2**40)):
        yield Wrong(value, ValueError, "below 16777216 pixels")


def cuts() -> Iterator[Wrong]:
    """truncate."""
    for value in ("4", 1j, None, True, [4.0], (4,), Opaque()):
        yield Wrong(value, TypeError, "real number")
    for value in (-1, -1e-3, nan, inf, -inf, 1e9, 1e308):
        yield Wrong(value, ValueError, "non-negative")


def axes() -> Iterator[Wrong]:
    """axis of a slope."""
    yield from no_integers()
    for value in (2, -3, 2**31, -(2**61)):
        yield Wrong(value, ValueError, "must be an axis of the image without its channels")


def kernels() -> Iterator[Wrong]:
    """weights: any real numbers, but numbers, in two axes, and as many as memory holds."""
    for kind in ("?", "c8", "c16", "S3", "U3", "M8[s]", "m8[s]", "O", "V8", [("a", "f4"), ("b", "f4")]):
        array = np.zeros((3, 3), kind)
        yield Wrong(array, TypeError, "real numbers", f"dtype {array.dtype}")
    for value in (None, "text", b"text", {"a": 1}, Opaque(), [None], [["a"]]):
        yield Wrong(value, TypeError, "real numbers", "dtype")
    yield Wrong([[1.0], [1.0, 2.0]], TypeError, "cannot be read as an array", "inhomogeneous")
    yield from shapes([(), (3,), (0, 3), (3, 0), (0, 0), (1, 2, 3), (1, 1, 1, 1)], "must have the axes")
    for value in ([[1e39]], [[1e300, 1]], [[-1e39], [0]]):
        yield Wrong(value, ValueError, "in the range of float32", "")
    for shape in ((2**30, 2**29), (1, 2**59), (2**59, 1)):
        yield Wrong(zeros(*shape), MemoryError, "cannot be held in memory", str(shape))


KINDS: dict[str, Callable[[], Iterator[Wrong]]] = {
    "image": images,
    "size": sizes,
    "sigma": deviations,
    "truncate": cuts,
    "axis": axes,
    "weights": kernels,
    "mode": choice,
    "cval": constants,
    "channel_axis": channel_axes,
}


def wrong_calls() -> Iterator[tuple[Filter, str, Wrong]]:
    """All wrong arguments of all filters."""
    for call in FILTERS.values():
        for name in call.arguments:
            yield from ((call, name, wrong) for wrong in KINDS[name]())


def odd_calls(seed: int, count: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Right calls that lie at the limits: images without pixels, of one, of zeros for strides, kernels beyond them.

    None of them may crash, whatever it gives.
    """
    rng = np.random.default_rng(seed)
    sides, taps = (0, 1, 2, 3, 17, 64, 65, 700), (1, 2, 3, 4, 5, 8, 31, 127, 128, 129, 600, 1025, 3000)
    for _ in range(count):
        high, wide, k, m = (int(rng.choice(choices)) for choices in (sides, sides, taps, taps))
        k, m = (k, m) if high * wide * k * m < 1e8 else (min(k, 31), min(m, 3))
        channel = [None, 0, 1, 2][rng.integers(4)]
        shape = [high, wide]
        if channel is not None:
            shape.insert(channel, int(rng.choice((0, 1, 3, 4, 600))) if high * wide < 1e4 else 3)
        image = rng.standard_normal(shape).astype(rng.choice(["f2", "f4", "f8", ">f4"]))
        layout = rng.integers(4)
        if layout == 1:
            image = np.asfortranarray(image)
        elif layout == 2:
            image = image[::-1, ::-1]
        elif layout == 3:
            image = np.broadcast_to(image[:1], shape) if high else image
        if image.size and rng.integers(2):
            image = image.copy()
            image.flat[rng.integers(image.size)] = rng.choice([np.nan, np.inf, -np.inf])
        mode = str(rng.choice(["reflect", "constant", "nearest", "mirror", "wrap"]))
        options = {"mode": mode, "cval": rng.choice([0.0, 1.5, np.nan, np.inf]), "channel_axis": channel}
        weights = rng.standard_normal((k, m)) if rng.integers(2) else np.ones((k, m))
        name = str(rng.choice([*FILTERS]))
        own = {"box": {"size": (k, m)}, "gaussian": {"sigma": (k / 8, m / 8)}, "sobel": {"axis": int(rng.integers(2))}}
        more = own.get(name, {} if name == "laplacian" else {"weights": weights})
        call = Filter(name, 2, {"image": image, **more, **options})
        yield (
            f"{name} {image.dtype}{list(shape)} {layout} {k}x{m} {options}",
            call,
        )
