"""Padding in four modes, each a map from places in the result to places in the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, finish, floats, integer, is_number

MODES = ("constant", "reflect", "replicate", "circular")


def _pairs(op: str, ndim: int, pad: Sequence[int]) -> list[tuple[int, int]]:
    """Return (lo, hi) of every axis, first axis first, from torch's flat order, last axis first."""
    if is_number(pad) or len(pad) % 2 or len(pad) > 2 * ndim:
        raise ValueError(f"{op}: pad must be lo, hi of the last axis, lo, hi of the one before, ..., received {pad!r}")
    flat = [integer(op, "pad", p, -(2**62)) for p in pad]
    given = list(zip(flat[::2], flat[1::2], strict=True))[::-1]
    return [(0, 0)] * (ndim - len(given)) + given


def _sources(op: str, size: int, lo: int, hi: int, mode: str) -> Array:
    """(lo + S + hi,) int64: the place along an axis of S elements that each place of the padded axis copies."""
    most = {"reflect": size - 1, "replicate": lo + hi if size else 0, "circular": size}[mode]
    if min(lo, hi) < 0 or max(lo, hi) > max(most, 0):
        raise ValueError(f"{op}: mode='{mode}' takes pads of 0 to {max(most, 0)} on an axis of {size}: {(lo, hi)}")
    place = np.arange(-lo, size + hi, dtype=np.int64)
    if mode == "replicate":
        return place.clip(0, size - 1) if size else place
    if mode == "circular":
        return place % size if size else place
    from_end = np.abs((size - 1) - np.abs(place))  # reflect: each border is a mirror and is not repeated
    return np.asarray((size - 1) - from_end)


def _constant(op: str, x: Array, pairs: list[tuple[int, int]], value: float) -> Array:
    """Surround with ``value``; a negative pad crops."""
    shape = tuple(lo + size + hi for size, (lo, hi) in zip(x.shape, pairs, strict=True))
    if min(shape, default=0) < 0:
        raise ValueError(f"{op}: pad must not crop more than there is, received {pairs} for shape {x.shape}")
    y = np.full(shape, value, x.dtype)
    kept = [(max(0, -lo), size - max(0, -hi), max(0, lo)) for size, (lo, hi) in zip(x.shape, pairs, strict=True)]
    source = tuple(slice(start, stop) for start, stop, _ in kept)
    target = tuple(slice(to, to + stop - start) for start, stop, to in kept)
    if all(stop > start for start, stop, _ in kept):
        y[target] = x[source]
    return y


def pad(input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Array:
    """Pad the last axes of an array.

    Parameters
    ----------
    input : array of any shape (..., S)
    pad : sequence of ints
        lo and hi of the last axis, then of the axis before it, and so on.
    mode : {"constant", "reflect", "replicate", "circular"}
        What stands outside ``[a b c d]``: a value ``0 0 [a b c d] 0 0``; the mirror image without the border
        ``c b [a b c d] c b`` (pads below S); the border ``a a [a b c d] d d``; the other end ``c d [a b c d] a b``
        (pads up to S). Only "constant" takes negative pads, which crop.
    value : float, optional
        For "constant"; 0 if None.

    Returns
    -------
    array of shape (..., lo + S + hi)

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For pads that the mode or the shape cannot give, and unknown modes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import pad
    >>> pad(np.array([1.0, 2.0, 3.0]), (1, 2))
    array([0., 1., 2., 3., 0., 0.])
    >>> pad(np.array([1.0, 2.0, 3.0]), (1, 2), mode="reflect")
    array([2., 1., 2., 3., 2., 1.])
    >>> pad(np.array([1.0, 2.0, 3.0]), (1, 2), mode="circular")
    array([3., 1., 2., 3., 1., 2.])
    """
    dtype, x = floats("pad", input=input)
    pairs = _pairs("pad", x.ndim, pad)
    _check_mode("pad", mode)
    if mode == "constant":
        return finish(_constant("pad", x, pairs, 0.0 if value is None else value), dtype)
    if value:
        raise ValueError(f"pad: value belongs to mode='constant', received mode={mode!r}, value={value!r}")
    sources = [_sources("pad", size, lo, hi, mode) for size, (lo, hi) in zip(x.shape, pairs, strict=True)]
    return finish(x[np.ix_(*sources)], dtype)


def pad_backward(grad_output: ArrayLike, pad: Sequence[int], mode: str = "constant") -> Array:
    """Return pad's gradient by its input: each element adds up what its copies received.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import pad_backward
    >>> pad_backward(np.array([1.0, 10.0, 100.0, 1000.0]), (1, 0), mode="reflect")
    array([  10.,  101., 1000.])
    """
    op = "pad_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    pairs = _pairs(op, gy.ndim, pad)
    _check_mode(op, mode)
    if mode == "constant":  # what was added is cut off, what was cut off gets zeros
        return finish(_constant(op, gy, [(-lo, -hi) for lo, hi in pairs], 0.0), dtype)
    shape = tuple(size - lo - hi for size, (lo, hi) in zip(gy.shape, pairs, strict=True))
    if min(shape, default=0) < 0:
        raise ValueError(f"{op}: grad_output of shape {gy.shape} is smaller than its padding {pairs}")
    sources = [_sources(op, size, lo, hi, mode) for size, (lo, hi) in zip(shape, pairs, strict=True)]
    gx = np.zeros(shape, gy.dtype)
    np.add.at(gx, np.ix_(*sources), gy)
    return finish(gx, dtype)


def _check_mode(op: str, mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"{op}: mode must be one of {MODES}, received mode={mode!r}")
