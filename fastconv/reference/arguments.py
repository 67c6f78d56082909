"""Reading arguments: dtypes, one value per spatial axis, the forms of padding, the batch axis."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Ints = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]

P = ParamSpec("P")
R = TypeVar("R")


def for_each_rank(
    function: Callable[Concatenate[int, P], R],
) -> tuple[Callable[P, R], Callable[P, R], Callable[P, R]]:
    """Return the 1-D, 2-D and 3-D public functions of ``_name_nd(n, ...)``, where ``n`` counts the spatial axes.

    ``_max_pool_nd_backward`` gives ``max_pool1d_backward``, ``max_pool2d_backward`` and ``max_pool3d_backward``.
    """
    generic = inspect.signature(function)
    signature = generic.replace(parameters=list(generic.parameters.values())[1:])

    def at_rank(n: int) -> Callable[P, R]:
        def public(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(n, *args, **kwargs)

        public.__name__ = public.__qualname__ = function.__name__.removeprefix("_").replace("_nd", f"{n}d")
        public.__module__, public.__doc__ = function.__module__, function.__doc__
        public.__annotations__ = {k: v for k, v in function.__annotations__.items() if k != "n"}
        public.__signature__ = signature  # type: ignore[attr-defined]
        return public

    return at_rank(1), at_rank(2), at_rank(3)


def floats(op: str, **data: ArrayLike | None) -> tuple[Any, ...]:
    """Return the result's dtype, then each argument as an array of the dtype to compute in (no bias stays None).

    The result has ``np.result_type`` of the arrays; lists and Python numbers follow them. float16 computes in float32.
    """
    dtypes = {}
    for name, value in data.items():
        if value is None and name == "bias":
            continue
        dtype = np.asarray(value).dtype
        typed = hasattr(value, "dtype") or hasattr(value, "__array__")
        if dtype.kind in ("f" if typed else "fiu") and dtype.itemsize <= 8:
            if typed:
                dtypes[name] = dtype
        else:
            raise TypeError(f"{op}: {name} must hold float16, float32 or float64, received {name}.dtype={dtype}")
    result = np.result_type(*dtypes.values()) if dtypes else np.dtype(np.float64)
    compute = np.dtype(np.float32) if result == np.float16 else result
    arrays = (None if value is None else np.asarray(value).astype(compute, copy=False) for value in data.values())
    return (result, *arrays)


def integers(op: str, name: str, value: ArrayLike) -> Array:
    """Return an array of int64: indices or class numbers. The values are checked by whoever knows their range."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must hold integers, received {name}.dtype={array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{op}: {name} holds {array.max()}, which no index can be")
    return array.astype(np.int64, copy=False)


def integer(op: str, name: str, value: Any, minimum: int) -> int:
    """Return one Python int of at least ``minimum``; booleans and floats are mistakes, not integers."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be integers, received {name}={value!r}") from None
    if number < minimum:
        raise ValueError(f"{op}: {name} must be at least {minimum}, received {name}={value!r}")
    return number


def is_number(value: Any) -> bool:
    """Tell a single value, to be used on every axis, from a sequence of values."""
    return not isinstance(value, Iterable) or (isinstance(value, np.ndarray) and value.ndim == 0)


def per_axis(op: str, name: str, value: Any, n: int, minimum: int) -> tuple[int, ...]:
    """Return one int per spatial axis from an int or a sequence of ``n`` ints."""
    values = (value,) * n if is_number(value) else tuple(value)
    if len(values) != n:
        raise ValueError(f"{op}: {name} must be an int or {n} ints, received {name}={value!r}")
    return tuple(integer(op, name, v, minimum) for v in values)


def padding_per_axis(op: str, padding: Any, n: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (lo, hi), one int per axis each, from an int, one int per axis or one (lo, hi) pair per axis."""
    values = (padding,) * n if is_number(padding) else tuple(padding)
    if len(values) != n:
        raise ValueError(f"{op}: padding must be an int, {n} ints or {n} (lo, hi) pairs, received padding={padding!r}")
    pairs = [per_axis(op, "padding", value, 2, minimum=0) for value in values]
    return tuple(lo for lo, _ in pairs), tuple(hi for _, hi in pairs)


def batched(op: str, name: str, array: Array, n: int) -> tuple[Array, bool]:
    """Return (N, C, *S) from (N, C, *S) or (C, *S), and whether the batch axis was added."""
    if array.ndim not in (n + 1, n + 2):
        raise ValueError(f"{op}: {name} must have {n + 2} axes, or {n + 1} for one sample; its shape is {array.shape}")
    single = array.ndim == n + 1
    if array.shape[-n - 1] == 0:
        raise ValueError(f"{op}: {name} must have at least one channel; its shape is {array.shape}")
    return (array[None] if single else array), single


def finish(array: Array, dtype: Any, single: bool = False) -> Array:
    """Return a result as promised: C-contiguous, of the result's dtype, without the batch axis that was added."""
    return np.asarray(array[0] if single else array, dtype=dtype, order="C")


def expect_shape(op: str, name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raise unless the array has exactly this shape."""
    if array.shape != shape:
        raise ValueError(f"{op}: {name} must have shape {shape}, received shape {array.shape}")


def grad_of(op: str, grad: Array, shape: tuple[int, ...], single: bool) -> Array:
    """Return the gradient of a result of ``shape`` (N, ...), which the caller holds without N for a single sample."""
    expect_shape(op, "grad_output", grad, shape[int(single) :])
    return grad.reshape(shape)


def shape_of_input(op: str, input_shape: Any, grad: Array, n: int) -> tuple[int, ...]:
    """Return ``input_shape`` as ints that fit a gradient of the output: the same axes, batch and channels."""
    shape = tuple(integer(op, "input_shape", size, 0) for size in input_shape)
    if len(shape) != grad.ndim or shape[:-n] != grad.shape[:-n]:
        raise ValueError(f"{op}: input_shape={shape} must differ from grad_output's {grad.shape} in spatial sizes only")
    return shape
