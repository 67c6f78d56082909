"""Padding in four modes beside its gradient. Only copies: NumPy does them at the speed of memory."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check
from fastconv._check import Array

__all__ = ["pad", "pad_backward"]

_MODES = ("constant", "reflect", "replicate", "circular")
_LOWEST = 1 - 2**62  # an int that no axis can be cropped by: only to have a bound
_Pairs = list[tuple[int, int]]


def _pairs(op: str, ndim: int, pad: Any, mode: str) -> _Pairs:
    """Return (lo, hi) of every axis, first axis first, from the flat order that begins with the last axis."""
    flat = _check.sizes(op, "pad", pad, minimum=_LOWEST)
    if len(flat) % 2 or len(flat) > 2 * ndim:
        raise ValueError(
            f"{op}: pad must hold lo and hi of the last axis, then of the one before, and so on, "
            f"received {pad=!r} for an array with {ndim} axes"
        )
    count = len(flat) // 2
    if mode != "constant" and not (2 <= ndim <= 5 and count <= 3 and count < ndim):
        raise ValueError(
            f"{op}: mode {mode!r} pads the last one to three axes of two to five, the first of which is not padded, "
            f"received {pad=!r} for {ndim} axes"
        )
    given = list(zip(flat[::2], flat[1::2], strict=True))
    return [(0, 0)] * (ndim - count) + given[::-1]


def _limits(op: str, shape: Sequence[int], pairs: _Pairs, mode: str, pad: Any) -> None:
    """Raise where an axis of the unpadded array cannot give what the mode copies from it."""
    for axis, (size, (lo, hi)) in enumerate(zip(shape, pairs, strict=True)):
        if mode == "constant":
            if size + lo + hi < 0 or -min(lo, 0) > size or -min(hi, 0) > size:
                raise ValueError(f"{op}: pad must not crop more than axis {axis} has, {size}, received {pad=!r}")
            continue
        if min(lo, hi) < 0:
            raise ValueError(f"{op}: pad must be non-negative in mode {mode!r}, received {pad=!r}")
        most = {"reflect": size - 1, "circular": size, "replicate": None if size else 0}[mode]
        if most is not None and max(lo, hi) > max(most, 0):
            raise ValueError(
                f"{op}: pad must be at most {max(most, 0)} in mode {mode!r} where axis {axis} has {size} elements, "
                f"received {pad=!r}"
            )


def _constant(op: str, x: Array, pairs: _Pairs, value: float) -> Array:
    """Surround with `value`; a negative pad crops."""
    result = _check.result(op, tuple(size + lo + hi for size, (lo, hi) in zip(x.shape, pairs, strict=True)), x.dtype)
    result[...] = value
    source = tuple(slice(max(0, -lo), size - max(0, -hi)) for size, (lo, hi) in zip(x.shape, pairs, strict=True))
    target = tuple(slice(max(0, lo), size - max(0, hi)) for size, (lo, hi) in zip(result.shape, pairs, strict=True))
    result[target] = x[source]
    return result


def _copies(mode: str, size: int, lo: int, hi: int) -> list[tuple[slice, slice]]:
    """Return what a mode copies along an axis of the padded array: slices (to, from); from may be a single place."""
    end = lo + size  # the axis itself lies in [lo, end)
    if mode == "circular":
        before, behind = slice(end - lo, end), slice(lo, lo + hi)
    elif mode == "replicate":
        before, behind = slice(lo, lo + 1), slice(end - 1, end)
    else:
        before = slice(2 * lo, lo, -1)
        stop = end - 2 - hi
        behind = slice(end - 2, stop if stop >= 0 else None, -1)
    return [pair for pair, amount in (((slice(0, lo), before), lo), ((slice(end, end + hi), behind), hi)) if amount]


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def _value(op: str, value: Any, mode: str, dtype: np.dtype[Any]) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{op}: value must be a real number, received {value=!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond any float
        raise ValueError(f"{op}: value must be in the range of {dtype}, received {value=!r}") from None
    if mode != "constant" and number != 0:
        raise ValueError(f"{op}: value goes with mode 'constant' only, received {value=!r} and {mode=!r}")
    if isfinite(number) and abs(number) > float(np.finfo(dtype).max):
        raise ValueError(f"{op}: value must be in the range of {dtype}, received {value=!r}")
    return number


def pad(input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Array:
    """Pad the last axes of an array.

    Axes: S any axis; for the modes other than constant N batch, C channels, then one to three spatial axes.

    Parameters
    ----------
    input : array_like of shape (..., S)
        float16, float32 or float64; any strides, read-only or not. Never changed.
    pad : sequence of ints
        lo and hi of the last axis, then of the axis before it, and so on.
    mode : {"constant", "reflect", "replicate", "circular"}, default "constant"
        What stands around ``[a b c d]`` with pads of 2: a value, ``0 0 [a b c d] 0 0``; its mirror image without the
        border, ``c b [a b c d] c b`` (pads below S); its border, ``a a [a b c d] d d``; its other end,
        ``c d [a b c d] a b`` (pads up to S). Only "constant" takes negative pads, which crop, and pads any axes; the
        others pad the last one to three axes of an array of two to five.
    value : float, optional
        For "constant"; 0 by default.

    Returns
    -------
    ndarray of shape (..., lo + S + hi)
        A new array of the input's dtype, also float16.

    Raises
    ------
    ValueError
        If the mode is none of these, if mode or shape cannot give these pads, or `value` does not fit dtype or mode.
    TypeError
        If `input` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] torch.nn.functional.pad, https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pad.html (order).

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 2.0, 3.0]])
    >>> fc.pad(x, (1, 2))
    array([[0., 1., 2., 3., 0., 0.]])
    >>> fc.pad(x, (2, 1), mode="reflect")
    array([[3., 2., 1., 2., 3., 2.]])
    >>> fc.pad(x, (2, 1), mode="replicate")
    array([[1., 1., 1., 2., 3., 3.]])
    >>> fc.pad(x, (2, 1), mode="circular")
    array([[2., 3., 1., 2., 3., 1.]])
    """
    op = "pad"
    dtype, (x,) = _check.data(op, input=input)
    if x.dtype != dtype:  # float16 was made float32 to compute with; copies need no arithmetic
        x = np.asarray(input, dtype)
    _check.choice(op, "mode", mode, _MODES)
    pairs = _pairs(op, x.ndim, pad, mode)
    _limits(op, x.shape, pairs, mode, pad)
    number = _value(op, value, mode, dtype)
    if mode == "constant":
        return _constant(op, x, pairs, number)
    result = _check.result(op, tuple(size + lo + hi for size, (lo, hi) in zip(x.shape, pairs, strict=True)), dtype)
    result[tuple(slice(lo, lo + size) for size, (lo, _) in zip(x.shape, pairs, strict=True))] = x
    for axis, (size, (lo, hi)) in enumerate(zip(x.shape, pairs, strict=True)):
        for to, source in _copies(mode, size, lo, hi):
            result[_along(axis, to)] = result[_along(axis, source)]
    return result


def pad_backward(grad_output: ArrayLike, pad: Sequence[int], mode: str = "constant") -> Array:
    """Gradient of :func:`pad` with respect to its input: every element adds up what its copies received.

    Axes: S any axis; for the modes other than constant N batch, C channels, then one to three spatial axes.

    Parameters
    ----------
    grad_output : array_like of shape (..., lo + S + hi)
        Gradient of a scalar with respect to the padded array.
    pad, mode
        As for :func:`pad`.

    Returns
    -------
    ndarray of shape (..., S)
        float16 adds up in float32. What was cropped gets zeros.

    Raises
    ------
    ValueError
        If the mode is none of these, or no array padded so has the shape of `grad_output`.
    TypeError
        If `grad_output` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] torch.nn.functional.pad, https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pad.html (order).

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.pad_backward(np.array([[1.0, 10.0, 100.0, 1000.0]]), (1, 0), mode="reflect")
    array([[  10.,  101., 1000.]])
    """
    op = "pad_backward"
    dtype, (gy,) = _check.data(op, grad_output=grad_output)
    _check.choice(op, "mode", mode, _MODES)
    pairs = _pairs(op, gy.ndim, pad, mode)
    shape = tuple(size - lo - hi for size, (lo, hi) in zip(gy.shape, pairs, strict=True))
    if min(shape, default=0) < 0:
        raise ValueError(
            f"{op}: grad_output must be at least as large as its padding, received shape {gy.shape} and {pad=!r}"
        )
    _limits(op, shape, pairs, mode, pad)
    if mode == "constant":
        return _constant(op, gy, [(-lo, -hi) for lo, hi in pairs], 0.0).astype(dtype, copy=False)
    total = gy.copy()
    for axis, (size, (lo, hi)) in enumerate(zip(shape, pairs, strict=True)):
        for to, source in _copies(mode, size, lo, hi):
            received = total[_along(axis, to)]
            total[_along(axis, source)] += received.sum(axis, keepdims=True) if mode == "replicate" else received
    inner = total[tuple(slice(lo, lo + size) for size, (lo, _) in zip(shape, pairs, strict=True))]
    return np.array(inner, dtype, order="C")
