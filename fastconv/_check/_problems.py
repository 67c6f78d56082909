"""The sizes of convolutions, local connections and windows, checked and worked out."""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple

from fastconv._check._arrays import Array
from fastconv._check._values import LARGEST, flag, integer, padding_pairs, per_axis

__all__ = [
    "Axis",
    "ConvProblem",
    "LocalProblem",
    "WindowProblem",
    "bias_shape",
    "conv_problem",
    "conv_transpose_problem",
    "local_problem",
    "window_problem",
]

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
    if max(padded, reach) >= LARGEST:
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
