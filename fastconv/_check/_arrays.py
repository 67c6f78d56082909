"""Checks of arrays: dtypes and shapes of data, room for results."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv import _engine
from fastconv._check._values import LARGEST, integer, is_sequence, sizes

__all__ = [
    "Array",
    "axis",
    "countable",
    "data",
    "dense",
    "float_dtype",
    "grad",
    "layout",
    "normalized",
    "one_shape",
    "output",
    "per_channel",
    "planes",
    "result",
    "shape_of",
    "statistics",
]

Array = NDArray[Any]

_COMPUTE: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}


def float_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Return a dtype that the library computes with: float16, float32 or float64."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if dtype is None or found.newbyteorder("=") not in _COMPUTE:
        raise TypeError(f"{op}: dtype must be float16, float32 or float64, received dtype={dtype!r}")
    return found.newbyteorder("=")


def _as_array(op: str, name: str, value: Any) -> tuple[Array, bool]:
    """Return `value` as an array, and whether it had a dtype of its own (a list has not)."""
    if type(value) is np.ndarray:
        return value, True
    if value is None or isinstance(value, str | bytes):
        raise TypeError(f"{op}: {name} must be an array of float16, float32 or float64, received {name}={value!r}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unequal lengths; tensors that want gradients
        raise TypeError(f"{op}: {name} cannot be read as an array: {error}") from None
    return array, hasattr(value, "dtype") or hasattr(value, "__array__")


def data(op: str, optional: Sequence[str] = ("bias",), /, **operands: Any) -> tuple[np.dtype[Any], list[Any]]:
    """Return the result's dtype and each operand in the dtype to compute in, native and aligned.

    Operands named in `optional` may be None and stay it. float16 computes in float32. Operands without a dtype of their
    own (lists, numbers) take that of the arrays.
    """
    arrays: list[Array | None] = []
    own: list[np.dtype[Any]] = []
    for name, value in operands.items():
        if value is None and name in optional:
            arrays.append(None)
            continue
        array, typed = _as_array(op, name, value)
        dtype = array.dtype
        if dtype.kind not in ("f" if typed else "fiu") or dtype.itemsize > 8:
            raise TypeError(
                f"{op}: {name} must be float16, float32 or float64, received {name} of dtype {dtype}; "
                f"convert it, e.g. {name}.astype(np.float32)"
            )
        if typed:
            own.append(dtype)
        arrays.append(array)
    # NumPy's promotion; with operands of one dtype, the usual case, there is nothing to promote.
    kind = own[0] if len(set(own)) == 1 else np.result_type(*own) if own else np.dtype(np.float64)
    kind = kind.newbyteorder("=") if not kind.isnative else kind
    compute = _COMPUTE[kind]
    return kind, [
        a if a is None or (a.dtype == compute and a.flags.aligned) else _converted(a, compute) for a in arrays
    ]


def _converted(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return the aligned array in a dtype. Numbers of lists may overflow: quietly, as kernels compute."""
    with np.errstate(over="ignore"):
        return np.require(array, dtype, ["A"])


def layout(array: Array) -> Array:
    """Return an array that the kernels read quickly: consecutive along its last axis.

    The kernels honour any strides, so this trades a copy for speed; not for broadcast views: their copy may be huge.
    """
    if array.ndim == 0 or array.shape[-1] <= 1 or array.strides[-1] == array.itemsize or 0 in array.strides:
        return array
    return np.ascontiguousarray(array)


def dense(op: str, name: str, array: Array) -> Array:
    """Return the array without gaps, in C order, for kernels that take no strides."""
    if array.flags.c_contiguous:
        return array
    try:
        return np.ascontiguousarray(array)
    except MemoryError:
        raise MemoryError(f"{op}: a copy of {name}, of shape {array.shape}, cannot be held in memory") from None


def planes(op: str, array: Array, channel_axis: Any) -> tuple[int, int, int]:
    """Return (N, C, P) for an input: the elements before the axis of channels, along it and behind it."""
    axis = integer(op, "channel_axis", channel_axis)
    if array.ndim < 2 or not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"{op}: input must have two axes or more, channel_axis={channel_axis} among them, "
            f"received input of shape {array.shape}"
        )
    axis %= array.ndim
    countable(op, array.shape, array.dtype)
    if array.shape[axis] == 0:
        raise ValueError(f"{op}: input must have at least one channel, received input of shape {array.shape}")
    return prod(array.shape[:axis]), array.shape[axis], prod(array.shape[axis + 1 :])


def normalized(op: str, value: Any) -> tuple[int, ...]:
    """Return the shape of the axes that are normalised together, of which there is one at least."""
    if not is_sequence(value):
        return (integer(op, "normalized_shape", value, 1),)
    shape = sizes(op, "normalized_shape", value, minimum=1)
    if not shape:
        raise ValueError(f"{op}: normalized_shape must have one axis or more, received normalized_shape={value!r}")
    return shape


def per_channel(op: str, shape: tuple[int, ...], **arrays: Array | None) -> None:
    """Check that weights and the like have one entry for each channel (or feature)."""
    for name, array in arrays.items():
        if array is not None and array.shape != shape:
            raise ValueError(
                f"{op}: {name} must have shape {shape}, one entry for each that is scaled, received shape {array.shape}"
            )


def statistics(op: str, shape: tuple[int, ...], *, optional: bool = False, **arrays: Any) -> list[Any]:
    """Return means and variances in float64, which play no part in the dtype of the result."""
    found = [data(op, tuple(arrays) if optional else (), **{name: value})[1][0] for name, value in arrays.items()]
    per_channel(op, shape, **dict(zip(arrays, found, strict=True)))
    return [None if array is None else np.asarray(array, np.float64) for array in found]


def shape_of(op: str, name: str, array: Array, n: int) -> tuple[bool, tuple[int, ...]]:
    """Return (batched, the shape with a batch axis) of an input with `n` spatial axes."""
    if array.ndim == n + 2:
        return True, array.shape
    if array.ndim == n + 1:
        return False, (1, *array.shape)
    letters = ("L", "H, W", "D, H, W")[n - 1]
    raise ValueError(
        f"{op}: {name} must have the axes (N, C, {letters}) or (C, {letters}), received {name} of shape {array.shape}"
    )


def grad(op: str, array: Array, shape: tuple[int, ...], name: str = "grad_output") -> Array:
    """Return a gradient after checking that it has the shape of the forward result."""
    if array.shape != shape:
        raise ValueError(
            f"{op}: {name} must have the shape of the forward result {shape}, received shape {array.shape}"
        )
    return array


def one_shape(op: str, x: Array, t: Array) -> None:
    """Check that a target has the shape of the input."""
    if t.shape != x.shape:
        raise ValueError(f"{op}: target must have the shape of input, {x.shape}, received target of shape {t.shape}")


def axis(op: str, dim: Any, array: Array) -> int:
    """Return the number, from the front, of an axis of `array`."""
    number = integer(op, "dim", dim)
    if not -array.ndim <= number < array.ndim:
        raise ValueError(f"{op}: dim must be an axis of the array, received dim={dim} for shape {array.shape}")
    return number % array.ndim


def countable(op: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise MemoryError for an array so large that products of sizes would leave 64 bits."""
    elements = 1
    for size in shape:
        elements *= size
    if elements * dtype.itemsize * 64 >= LARGEST:
        raise MemoryError(f"{op}: an array of shape {shape} and dtype {dtype} cannot be held in memory")


def result(op: str, shape: tuple[int, ...], dtype: np.dtype[Any], *, zero: bool = False) -> Array:
    """Return a new array for results; MemoryError where it cannot be had."""
    elements = 1
    for size in shape:
        elements *= size
    if elements * dtype.itemsize < LARGEST:
        try:
            return np.zeros(shape, dtype) if zero else _engine.empty(shape, dtype)
        except MemoryError:
            pass  # said below, with the operator's name
    raise MemoryError(f"{op}: a result of shape {shape} and dtype {dtype} cannot be held in memory")


def output(
    op: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Array | None]
) -> Array | None:
    """Check ``out=``; return it if the kernels may write straight into it, else None (compute aside, then copy)."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{op}: out must be a NumPy array, received {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{op}: out must have the shape of the result {shape}, received shape {out.shape}")
    if out.dtype != dtype and out.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{op}: out must have the dtype of the result, {dtype}, received {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out must be writeable, received a read-only array")
    straight = (
        type(out) is np.ndarray
        and out.dtype.isnative
        and out.flags.c_contiguous
        and out.flags.aligned
        and dtype.char in "fd"
        and not any(a is not None and np.may_share_memory(out, a) for a in inputs)
    )
    return out if straight else None
