"""Every validation and every error message of the functional storey, and all sizes in Python's exact integers.

The kernels below take a plan and trust it; so nothing reaches them that has not passed here. Messages say the operator,
the argument, the value received and the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, inf, isfinite, prod
from numbers import Real
from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "Array",
    "Axis",
    "ConvProblem",
    "LocalProblem",
    "WindowProblem",
    "axis",
    "bias_shape",
    "choice",
    "conv_problem",
    "conv_transpose_problem",
    "countable",
    "data",
    "dense",
    "flag",
    "float_dtype",
    "generator",
    "generator_state",
    "grad",
    "integer",
    "layout",
    "local_problem",
    "needs",
    "normalized",
    "output",
    "padding_pairs",
    "padding_per_axis",
    "per_axis",
    "per_channel",
    "planes",
    "real",
    "result",
    "shape_of",
    "sizes",
    "statistics",
    "window_problem",
]

Array = NDArray[Any]
_LARGEST = 2**62  # of any size in bytes or elements: products of two stay far from the limits of what C computes with

# ---------------------------------------------------------------------------------------------------- integers


def integer(op: str, name: str, value: Any, minimum: int | None = None, *, whole: Any = None) -> int:
    """Return `value` as an int of at least `minimum`; `whole` is the argument that it is part of."""
    received = value if whole is None else whole
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: {name} must be made of integers, received {name}={received!r}")
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be made of integers, received {name}={received!r}") from None
    if minimum is not None and number < minimum:
        rule = {0: "non-negative", 1: "positive"}.get(minimum, f"at least {minimum}")
        raise ValueError(f"{op}: {name} must be {rule}, received {name}={received!r}")
    if abs(number) >= _LARGEST:
        raise ValueError(f"{op}: {name} must be below 2**62, received {name}={received!r}")
    return number


def _is_sequence(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def per_axis(op: str, name: str, value: Any, n: int, minimum: int | None = None) -> tuple[int, ...]:
    """Return one int per axis, from an int or a sequence of `n` ints."""
    if not _is_sequence(value):
        return (integer(op, name, value, minimum),) * n
    if len(value) != n:
        raise ValueError(f"{op}: {name} must be an int or {n} ints, one per spatial axis, received {name}={value!r}")
    return tuple(integer(op, name, item, minimum, whole=value) for item in value)


def sizes(op: str, name: str, value: Any, n: int | None = None, minimum: int = 0) -> tuple[int, ...]:
    """Return a shape: a sequence of ints, `n` of them if given."""
    if not _is_sequence(value):
        raise TypeError(f"{op}: {name} must be a sequence of integers, received {name}={value!r}")
    if n is not None and len(value) != n:
        raise ValueError(f"{op}: {name} must have {n} entries, received {name}={value!r}")
    return tuple(integer(op, name, item, minimum, whole=value) for item in value)


def flag(op: str, name: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: {name} must be True or False, received {name}={value!r}")
    return bool(value)


def real(op: str, name: str, value: Any, minimum: float | None = None) -> float:
    """Return a finite real number, of at least `minimum`, as a float."""
    if type(value) is float and minimum is None and isfinite(value):
        return value  # the usual case, ten times faster
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{op}: {name} must be a real number, received {name}={value!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond any float
        number = inf
    if not isfinite(number):
        raise ValueError(f"{op}: {name} must be finite, received {name}={value!r}")
    if minimum is not None and number < minimum:
        rule = "non-negative" if minimum == 0 else f"at least {minimum}"
        raise ValueError(f"{op}: {name} must be {rule}, received {name}={value!r}")
    return number


def generator(op: str, value: Any) -> np.random.Generator:
    """Return a random generator as it is, one made from a seed, or for None one with a seed from the system."""
    if isinstance(value, np.random.Generator) or value is None:
        return np.random.default_rng(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"{op}: generator must be a numpy.random.Generator, an int seed or None, received generator={value!r}"
        )
    return np.random.default_rng(integer(op, "generator", value, 0))


_BUFFERED = {"pos": 624, "buffer_pos": 4}  # numbers that MT19937 and Philox hold ready: how far their places may go


def generator_state(op: str, generator: np.random.Generator, state: Any) -> None:
    """Set the state of a random generator, which may come from a file: NumPy does not check places in its buffers."""
    try:
        for name, value in {**state, **state["state"]}.items():
            if name in _BUFFERED and not 0 <= value <= _BUFFERED[name]:
                raise ValueError(f"{name} must be from 0 to {_BUFFERED[name]}")
        generator.bit_generator.state = state
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        kind = type(generator.bit_generator).__name__
        raise ValueError(f"{op}: a generator's state must be that of a {kind}, received {state}: {error}") from None


def needs(op: str, value: Any) -> tuple[bool, bool, bool]:
    """Return which of the gradients of input, weight and bias are wanted."""
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise ValueError(f"{op}: needs must be three booleans (input, weight, bias), received needs={value!r}")
    a, b, c = (flag(op, "needs", item) for item in value)
    return a, b, c


def choice(op: str, name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return one of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(repr(item) for item in allowed)
        raise ValueError(f"{op}: {name} must be one of {listed}, received {name}={value!r}")
    return value


def padding_per_axis(op: str, value: Any, n: int) -> Any:
    """Return "same", "valid", one int per axis, or one (lo, hi) pair per axis: what a layer keeps."""
    if isinstance(value, str):
        return choice(op, "padding", value, ("same", "valid"))
    if _is_sequence(value) and any(_is_sequence(item) for item in value):
        if len(value) != n:
            raise ValueError(f"{op}: padding must have {n} (lo, hi) pairs, received padding={value!r}")
        pairs = []
        for item in value:
            if not _is_sequence(item) or len(item) != 2:
                raise ValueError(f"{op}: padding must be made of (lo, hi) pairs, received padding={value!r}")
            pairs.append(tuple(integer(op, "padding", i, 0, whole=value) for i in item))
        return tuple(pairs)
    return per_axis(op, "padding", value, n, 0)


def padding_pairs(
    op: str, value: Any, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return (lo, hi) for each axis; ``"same"`` is SAME_UPPER: ceil(size / stride) outputs, the extra at the end."""
    checked = padding_per_axis(op, value, len(size))
    if checked == "valid":
        return ((0, 0),) * len(size)
    if checked == "same":
        totals = [
            max(0, (-(-w // s) - 1) * s + d * (k - 1) + 1 - w)
            for w, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple(item if isinstance(item, tuple) else (item, item) for item in checked)


# ---------------------------------------------------------------------------------------------------- arrays

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
    except (ValueError, TypeError) as error:
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
        a if a is None or (a.dtype == compute and a.flags.aligned) else np.require(a, compute, ["A"]) for a in arrays
    ]


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
    if not _is_sequence(value):
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
    if elements * dtype.itemsize * 64 >= _LARGEST:
        raise MemoryError(f"{op}: an array of shape {shape} and dtype {dtype} cannot be held in memory")


def result(op: str, shape: tuple[int, ...], dtype: np.dtype[Any], *, zero: bool = False) -> Array:
    """Return a new array for results; MemoryError where it cannot be had."""
    elements = 1
    for size in shape:
        elements *= size
    if elements * dtype.itemsize < _LARGEST:
        try:
            return np.zeros(shape, dtype) if zero else np.empty(shape, dtype)
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


# ---------------------------------------------------------------------------------------------------- convolution


class Axis(NamedTuple):
    """One spatial axis of a forward problem, as the kernels take it."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    lo: int
    hi: int

    @property
    def trivial(self) -> bool:
        """Whether the axis changes nothing."""
        return self.size == self.out == self.kernel == 1 and self.lo == self.hi == 0


class ConvProblem(NamedTuple):
    """A convolution's sizes. A transposed convolution is described by the convolution whose input gradient it is."""

    batched: bool
    batch: int
    groups: int
    in_channels: int  # of a group
    out_channels: int  # of a group
    axes: tuple[Axis, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the convolution's input."""
        return self._shape(self.in_channels, [a.size for a in self.axes])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the convolution's result."""
        return self._shape(self.out_channels, [a.out for a in self.axes])

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight, OIHW."""
        return (self.groups * self.out_channels, self.in_channels, *[a.kernel for a in self.axes])

    @property
    def whole(self) -> bool:
        """Whether the kernel covers the whole input: a fully connected layer."""
        return self.groups == 1 and all(a.kernel == a.size and a.lo == a.hi == 0 and a.dilation == 1 for a in self.axes)

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass."""
        total = self.batch * self.groups * self.in_channels * self.out_channels
        for a in self.axes:
            total *= a.out * a.kernel
        return total

    def _shape(self, channels: int, spatial: list[int]) -> tuple[int, ...]:
        return (*([self.batch] if self.batched else []), self.groups * channels, *spatial)


def _weight(op: str, shape: tuple[int, ...], n: int, axes: str) -> None:
    if len(shape) != n + 2:
        letters = ("kL", "kH, kW", "kD, kH, kW")[n - 1]
        raise ValueError(f"{op}: weight must have the axes ({axes}, {letters}), received weight of shape {shape}")
    if 0 in shape:
        raise ValueError(f"{op}: weight must not be empty, received weight of shape {shape}")


def bias_shape(op: str, bias: Array | None, channels: int) -> None:
    """Check that bias has one entry per output channel."""
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f"{op}: bias must have shape ({channels},), one per output channel, received shape {bias.shape}"
        )


def conv_problem(
    op: str,
    n: int,
    x_shape: tuple[int, ...],
    batched: bool,
    w_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> ConvProblem:
    """Check a convolution's shapes and options. `x_shape` has its batch axis."""
    _weight(op, w_shape, n, "O, I / groups")
    strides = per_axis(op, "stride", stride, n, 1)
    dilations = per_axis(op, "dilation", dilation, n, 1)
    g = integer(op, "groups", groups, 1)
    kernel, spatial = w_shape[2:], x_shape[2:]
    pads = padding_pairs(op, padding, spatial, kernel, strides, dilations)
    if x_shape[1] == 0:
        raise ValueError(f"{op}: input must have at least one channel, received input of shape {x_shape}")
    if w_shape[0] % g:
        raise ValueError(
            f"{op}: the {w_shape[0]} output channels of weight must be divisible by groups, received groups={g}"
        )
    if w_shape[1] * g != x_shape[1]:
        raise ValueError(
            f"{op}: weight of shape {w_shape} with groups={g} takes input of {w_shape[1] * g} channels, "
            f"received input with {x_shape[1]} channels"
        )
    axes = []
    for size, k, s, d, (lo, hi) in zip(spatial, kernel, strides, dilations, pads, strict=True):
        reach = d * (k - 1) + 1
        if reach > size + lo + hi:
            raise ValueError(
                f"{op}: the kernel must fit the padded input: dilation * (kernel - 1) + 1 = {reach} but the "
                f"padded input has {size} + {lo} + {hi} elements "
                f"(received weight of shape {w_shape}, padding={padding!r}, dilation={dilation!r})"
            )
        _reach_is_sane(op, size + lo + hi, reach, padding, dilation)
        axes.append(Axis(size, (size + lo + hi - reach) // s + 1, k, s, d, lo, hi))
    return ConvProblem(batched, x_shape[0], g, w_shape[1], w_shape[0] // g, tuple(axes))


def _reach_is_sane(op: str, padded: int, reach: int, padding: Any, dilation: Any) -> None:
    if max(padded, reach) >= _LARGEST:
        raise ValueError(
            f"{op}: the padded input and the window must be smaller than 2**62 along each axis, "
            f"received padding={padding!r}, dilation={dilation!r}"
        )


def conv_transpose_problem(
    op: str,
    n: int,
    x_shape: tuple[int, ...],
    batched: bool,
    w_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> ConvProblem:
    """Check a transposed convolution; returns the convolution whose input gradient it is (IOHW weight is its OIHW)."""
    _weight(op, w_shape, n, "I, O / groups")
    strides = per_axis(op, "stride", stride, n, 1)
    dilations = per_axis(op, "dilation", dilation, n, 1)
    extra = per_axis(op, "output_padding", output_padding, n, 0)
    g = integer(op, "groups", groups, 1)
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding must be ints or (lo, hi) pairs, received padding={padding!r}")
    pads = padding_pairs(op, padding, x_shape[2:], w_shape[2:], strides, dilations)
    if x_shape[1] != w_shape[0] or w_shape[0] % g:
        raise ValueError(
            f"{op}: weight of shape {w_shape} with groups={g} takes input of {w_shape[0]} channels, divisible by "
            f"groups, "
            f"received input with {x_shape[1]} channels"
        )
    axes = []
    for size, k, s, d, (lo, hi), more in zip(x_shape[2:], w_shape[2:], strides, dilations, pads, extra, strict=True):
        if more >= max(s, d):
            raise ValueError(
                f"{op}: output_padding must be smaller than stride or dilation, "
                f"received output_padding={output_padding!r}"
            )
        if size == 0:
            raise ValueError(f"{op}: input must not be empty along a spatial axis, received input of shape {x_shape}")
        result_size = (size - 1) * s - lo - hi + d * (k - 1) + more + 1
        if result_size < 1:
            raise ValueError(
                f"{op}: the result would be empty, received padding={padding!r}: it must leave at least one element"
            )
        _reach_is_sane(op, result_size + lo + hi, d * (k - 1) + 1, padding, dilation)
        axes.append(Axis(result_size, size, k, s, d, lo, hi))
    return ConvProblem(batched, x_shape[0], g, w_shape[1], w_shape[0] // g, tuple(axes))


# ---------------------------------------------------------------------------------------------------- local connection


class LocalProblem(NamedTuple):
    """A convolution whose outputs do not all share one kernel."""

    conv: ConvProblem
    tile: tuple[int, ...]  # kernels that outputs use in turn along each axis: as many as outputs where none share

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight: OIHW for each kernel."""
        return self.tile + self.conv.weight_shape

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias: one entry per output channel and kernel."""
        return (self.conv.groups * self.conv.out_channels, *self.tile)


def local_problem(
    op: str,
    n: int,
    x_shape: tuple[int, ...],
    batched: bool,
    w_shape: tuple[int, ...],
    options: tuple[Any, ...],
    *,
    tiled: bool,
) -> LocalProblem:
    """Check shapes and options (stride, padding, dilation, groups) of a local or, with `tiled`, a tiled connection."""
    if len(w_shape) != 2 * n + 2:
        each = ("tL", "tH, tW")[n - 1] if tiled else ("Lo", "Ho, Wo")[n - 1]
        letters = ("kL", "kH, kW")[n - 1]
        raise ValueError(
            f"{op}: weight must have the axes ({each}, O, I / groups, {letters}), received weight of shape {w_shape}"
        )
    if 0 in w_shape:
        raise ValueError(f"{op}: weight must not be empty, received weight of shape {w_shape}")
    conv = conv_problem(op, n, x_shape, batched, w_shape[n:], *options)
    out = tuple(a.out for a in conv.axes)
    if not tiled and w_shape[:n] != out:
        raise ValueError(
            f"{op}: weight must begin with the shape {out} of the outputs, a kernel for each, received weight of shape "
            f"{w_shape}"
        )
    return LocalProblem(conv, w_shape[:n])


# ---------------------------------------------------------------------------------------------------- windows


class WindowProblem(NamedTuple):
    """Sizes of a pooling or unfolding: a window over every channel."""

    batched: bool
    batch: int
    channels: int
    axes: tuple[Axis, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return self._shape([a.size for a in self.axes])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return self._shape([a.out for a in self.axes])

    def _shape(self, spatial: list[int]) -> tuple[int, ...]:
        return (*([self.batch] if self.batched else []), self.channels, *spatial)


def window_problem(
    op: str,
    n: int,
    x_shape: tuple[int, ...],
    batched: bool,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    *,
    pooling: bool = True,
) -> WindowProblem:
    """Check a window's shapes and options; `x_shape` has its batch axis.

    Output side: floor((size + lo + hi - dilation*(kernel-1) - 1 [+ stride - 1 with ceil_mode]) / stride) + 1, less one
    where the last window would start beyond input and left padding. With `pooling` no window may lie wholly in padding.
    """
    kernel = per_axis(op, "kernel_size", kernel_size, n, 1)
    strides = kernel if stride is None else per_axis(op, "stride", stride, n, 1)
    dilations = per_axis(op, "dilation", dilation, n, 1)
    ceil = flag(op, "ceil_mode", ceil_mode)
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding must be ints or (lo, hi) pairs, received padding={padding!r}")
    pads = padding_pairs(op, padding, x_shape[2:], kernel, strides, dilations)
    if x_shape[1] == 0:
        raise ValueError(f"{op}: input must have at least one channel, received input of shape {x_shape}")
    axes = []
    for size, k, s, d, (lo, hi) in zip(x_shape[2:], kernel, strides, dilations, pads, strict=True):
        reach = d * (k - 1) + 1
        if size == 0:
            raise ValueError(f"{op}: input must not be empty along a spatial axis, received input of shape {x_shape}")
        if reach > size + lo + hi:
            raise ValueError(
                f"{op}: the window must fit the padded input: dilation * (kernel_size - 1) + 1 = {reach} but the "
                f"padded input has {size} + {lo} + {hi} elements, "
                f"received kernel_size={kernel_size!r}, dilation={dilation!r}"
            )
        _reach_is_sane(op, size + lo + hi, reach, padding, dilation)
        out = (size + lo + hi - reach + (s - 1 if ceil else 0)) // s + 1
        if ceil and (out - 1) * s >= size + lo:
            out -= 1
        if pooling:
            _no_window_in_padding(op, size, out, k, s, d, lo, padding)
        axes.append(Axis(size, out, k, s, d, lo, hi))
    return WindowProblem(batched, x_shape[0], x_shape[1], tuple(axes))


def _no_window_in_padding(op: str, size: int, out: int, k: int, s: int, d: int, lo: int, padding: Any) -> None:
    """Raise where some window has no tap inside the input.

    The first and the last window are the worst, unless taps are further apart than the input is wide: then a window may
    step over it, and starts are tried until their residues modulo the dilation repeat.
    """

    def inside(start: int) -> bool:
        first = -(start // d) if start < 0 else 0  # the first tap at or after 0
        return first < k and start + first * d < size

    tried = min(out, d // gcd(s, d), 1 << 20) if d > size else 1
    for o in (*range(tried), out - 1):
        if not inside(o * s - lo):
            raise ValueError(
                f"{op}: no window may lie wholly in padding, received padding={padding!r}: window {o} with its {k} "
                f"taps starts at {o * s - lo} of an input of {size}"
            )
