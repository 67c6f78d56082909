"""What the filters of images share: their checks, how a kernel comes apart, and which algorithm weights an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fastconv import _check, _engine, _lowering, plan
from fastconv._check import Array
from fastconv._config import current_precision
from fastconv._threads import current

__all__ = ["MODES", "Picture", "apart", "axes_of", "coefficients", "constant", "number", "picture", "weigh"]

#: SciPy's names of the boundary modes, and the numbers of what they mean in fastconv.h.
MODES = {
    "reflect": 0,
    "grid-mirror": 0,
    "constant": 4,
    "grid-constant": 4,
    "nearest": 2,
    "mirror": 1,
    "grid-wrap": 3,
    "wrap": 3,
}
_LEAST_SEPARABLE = 25  # taps; below, two passes take longer than the whole kernel at once
_LONGEST = 512  # taps along an axis that float32 may sum up: of 1000 its error passes 1e-6
_LARGE = 2**23  # elements: stored past the caches, but not by two passes, which then lose with 25 taps as well


class Picture(NamedTuple):
    """An image, its result, and both as planes (N, H, W * step) for the kernels."""

    dtype: np.dtype[Any]  # of the result as the caller gets it
    result: Array
    source: Array
    target: Array
    step: int  # channels side by side
    outside: int
    cval: Array

    def finish(self) -> Array:
        """Return the result in the caller's dtype."""
        return self.result if self.result.dtype == self.dtype else self.result.astype(self.dtype)


# ---------------------------------------------------------------------------------------------------- checks


def number(op: str, name: str, value: Any, *, whole: Any = None) -> float:
    """Return a real number as a float."""
    received = value if whole is None else whole
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{op}: {name} must be a real number, received {name}={received!r}")
    try:
        return float(value)
    except OverflowError:  # an int beyond any float
        raise ValueError(f"{op}: {name} must be in the range of float64, received {name}={received!r}") from None


def constant(op: str, cval: Any, dtype: np.dtype[Any]) -> Array:
    """Return what stands outside in mode "constant", as an array of one element."""
    value = number(op, "cval", cval)
    if isfinite(value) and abs(value) > float(np.finfo(dtype).max):
        raise ValueError(f"{op}: cval must be in the range of {dtype}, received {cval=!r}")
    return np.array([value], dtype)


def _views(array: Array, axis: int | None) -> Array:
    """Return an image as planes: (1, H, W), (1, H, W * C) where the channels of a pixel lie together, or (C, H, W)."""
    if axis is None:
        return array[None]
    if axis == 2:
        return array.reshape(1, array.shape[0], -1)
    return np.moveaxis(array, axis, 0)


def picture(op: str, image: Any, mode: Any, cval: Any, channel_axis: Any) -> Picture:
    """Check the arguments that all filters have, and make room for the result."""
    dtype, (x,) = _check.data(op, image=image)
    outside = MODES[_check.choice(op, "mode", mode, tuple(MODES))]
    value = constant(op, cval, dtype).astype(x.dtype)
    axis = None if channel_axis is None else _check.integer(op, "channel_axis", channel_axis)
    if axis is None and x.ndim != 2:
        raise ValueError(
            f"{op}: image must have the axes (H, W), or three of which channel_axis= names that of the channels, "
            f"received image of shape {x.shape}"
        )
    if axis is not None:
        if x.ndim != 3:
            raise ValueError(
                f"{op}: image must have three axes where {channel_axis=} is one of them, "
                f"received image of shape {x.shape}"
            )
        if not -3 <= axis < 3:
            raise ValueError(f"{op}: channel_axis must be an axis of the image, -3 to 2, received {channel_axis=!r}")
        axis %= 3
    _check.countable(op, x.shape, x.dtype)
    result = _check.result(op, x.shape, x.dtype)
    step = x.shape[2] if axis == 2 else 1
    source, target = (_views(array, axis) for array in (_check.layout(x), result)) if x.size else (x, result)
    return Picture(dtype, result, source, target, step, outside, value)


def axes_of(op: str, name: str, value: Any, check: Callable[..., Any]) -> tuple[Any, Any]:
    """Return a value for H and one for W, from one or two; `check(op, name, item, whole=value)` looks at each."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    items = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(items) != 2:
        raise ValueError(f"{op}: {name} must be one number or two, for H and W, received {name}={value!r}")
    down, along = (check(op, name, item, whole=value) for item in items)
    return down, along


def coefficients(op: str, weights: Any, dtype: np.dtype[Any]) -> Array:
    """Return a kernel (kH, kW) in the dtype to compute in; whole numbers are as good as others."""
    try:
        given = np.asarray(weights)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{op}: weights cannot be read as an array: {error}") from None
    if given.dtype.kind not in "fiu" or given.dtype.itemsize > 8:
        raise TypeError(f"{op}: weights must be real numbers, received weights of dtype {given.dtype}")
    if given.ndim != 2 or given.size == 0:
        raise ValueError(
            f"{op}: weights must have the axes (kH, kW), none of them empty, received weights of shape {given.shape}"
        )
    try:
        with np.errstate(over="ignore"):
            found = np.ascontiguousarray(given, dtype)
    except MemoryError:
        raise MemoryError(f"{op}: a copy of weights of shape {given.shape} cannot be held in memory") from None
    if np.isinf(found).any() and not np.isinf(given).any():
        raise ValueError(f"{op}: weights must be in the range of {dtype}")
    return found


# ---------------------------------------------------------------------------------------------------- kernels


def apart(weights: Array) -> tuple[Array, Array] | None:
    """Return the column and the row whose product a kernel is, up to the rounding of its entries; None if it is none.

    The product through the largest entry is improved by one step of least squares, after which it is as near as the
    first singular vectors, for a fraction of their time. It stands for the kernel if sum |weights - product| is at most
    eps * sum |weights|: then all that changes is within eps * max |image| * sum |weights|, which the entries' own
    rounding may change, too. (In float64, where the product itself is rounded as the entries are, 4 eps.)
    """
    w = weights.astype(np.float64)
    total = np.abs(w).sum()
    if not 0 < total < np.inf:
        return None
    down, along = divmod(int(np.abs(w).argmax()), w.shape[1])
    column = w[:, along] / w[down, along]
    row = w.T @ column / (column @ column)
    column = w @ row / (row @ row)
    allowed = np.finfo(weights.dtype).eps * (1 if weights.dtype == np.float32 else 4)
    if not np.abs(w - np.outer(column, row)).sum() <= allowed * total:
        return None
    return column.astype(weights.dtype), row.astype(weights.dtype)


# ---------------------------------------------------------------------------------------------------- computing


def _pass(
    pic: Picture, source: Array, weights: Array, kernel: tuple[int, int], before: tuple[int, int], how: str
) -> None:
    """Weight `source` into the picture's result by the named algorithm."""
    shape, dtype, outside = pic.target.shape, pic.target.dtype, pic.outside
    key = ("filter", shape, pic.step, kernel, before, outside, dtype.char, how)
    recipe = plan.cached(key, lambda: _lowering.filter_plan(shape, pic.step, kernel, before, outside, dtype, how))
    recipe.run(source, weights, pic.cval, pic.target, current())


def _fourier_cycles(high: int, kernel: tuple[int, int]) -> float:
    """Products for a column of an image by transforms of the best length, as filter_fourier.c counts them."""
    lengths = [n for n in (64, 128, 256) if n > kernel[0]]
    return min(-(-high // (2 * (n - kernel[0] + 1))) * n * (4 * kernel[1] + (24 if n == 64 else 32)) for n in lengths)


def _how(pic: Picture, kernel: tuple[int, int]) -> str:
    """Return the algorithm for a kernel that does not come apart.

    Fourier transforms round like Winograd's: their error is one of the largest pixel, not of those that are added. So
    they are for float32 under the precision "high", and where they save much.
    """
    if pic.target.dtype != np.float32 or current_precision() != "high":
        return "direct"
    if kernel[0] > 128 or (kernel[1] - 1) * pic.step > 512:
        return "direct"
    high = pic.target.shape[1]
    return "fourier" if 2 * _fourier_cycles(high, kernel) < high * math.prod(kernel) else "direct"


def _is_small(pic: Picture, taps: int) -> bool:
    """Return whether a kernel of so many taps is faster as a whole."""
    return taps < _LEAST_SEPARABLE + (math.prod(pic.target.shape[1:]) >= _LARGE)


def _separable(pic: Picture, column: Array, row: Array, before: tuple[int, int]) -> None:
    weights = np.concatenate([column, row])
    try:
        _pass(pic, pic.source, weights, (column.size, row.size), before, "separable")
    except _engine.Unsupported:  # reaches too far for one pass: first down, then along
        _pass(pic, pic.source, column[:, None], (column.size, 1), (before[0], 0), "direct")
        beyond = pic._replace(cval=pic.cval * column.sum())
        _pass(beyond, pic.target.copy(), row[None], (1, row.size), (0, before[1]), "direct")


def _weigh_in_float64(pic: Picture, weights: Array | tuple[Array, Array], before: tuple[int, int]) -> None:
    finer = pic._replace(
        source=pic.source.astype(np.float64), target=np.empty(pic.target.shape), cval=pic.cval.astype(np.float64)
    )
    if isinstance(weights, np.ndarray):
        weigh(finer, weights.astype(np.float64), before)
    else:
        weigh(finer, (weights[0].astype(np.float64), weights[1].astype(np.float64)), before)
    with np.errstate(over="ignore"):
        pic.target[...] = finer.target


def weigh(pic: Picture, weights: Array | tuple[Array, Array], before: tuple[int, int]) -> None:
    """Write the image weighted by a kernel, or by a column and a row, into the picture's result."""
    if not pic.source.size:
        return
    longest = max(weights.shape) if isinstance(weights, np.ndarray) else max(weights[0].size, weights[1].size)
    if pic.target.dtype == np.float32 and longest > _LONGEST:
        _weigh_in_float64(pic, weights, before)
        return
    if isinstance(weights, np.ndarray):
        high, wide = weights.shape
        factors = apart(weights) if min(high, wide) > 1 and not _is_small(pic, high * wide) else None
        if factors is None:
            _pass(pic, pic.source, weights, (high, wide), before, _how(pic, (high, wide)))
            return
        weights = factors
    column, row = weights
    if min(column.size, row.size) == 1 or _is_small(pic, column.size * row.size):
        _pass(pic, pic.source, np.outer(column, row), (column.size, row.size), before, "direct")
    else:
        _separable(pic, column, row, before)
