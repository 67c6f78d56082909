"""A window that slides over an image: every size, and the slice of the image that each of its taps reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastconv.reference.arguments import Array, integer, is_number, padding_per_axis, per_axis

Axes = tuple[int, ...]
Index = tuple[Any, ...]  # (..., one int or slice per spatial axis)


@dataclass(frozen=True)
class Sliding:
    """The geometry of a sliding window, one int per spatial axis in each field.

    The window at output ``t`` reads, with its tap ``k``, the input at ``t * stride + k * dilation - lo``.
    """

    size: Axes  # *S, the image
    kernel: Axes  # *K
    stride: Axes
    dilation: Axes
    lo: Axes  # padding in front
    hi: Axes  # padding behind
    out: Axes  # *T, the number of windows

    @property
    def length(self) -> int:
        """The number of windows over all axes."""
        return prod(self.out)

    @property
    def interior(self) -> Index:
        """Where the image lies in the extended image."""
        return (..., *(slice(lo, lo + size) for lo, size in zip(self.lo, self.size, strict=True)))

    def extend(self, image: Array, value: float = 0.0) -> Array:
        """(..., *S) -> (..., *E): the image with ``value`` all around, as far as padding or a window reaches."""
        last = [(t - 1) * s + d * (k - 1) + 1 for t, s, d, k in self._axes()]
        padded = [lo + size + hi for lo, size, hi in zip(self.lo, self.size, self.hi, strict=True)]
        extent = tuple(max(ends) for ends in zip(last, padded, strict=True))
        if extent == self.size:
            return image
        extended = np.full(image.shape[: -len(extent)] + extent, value, image.dtype)
        extended[self.interior] = image
        return extended

    def taps(self) -> Iterator[tuple[Index, Index]]:
        """Yield, tap by tap in row-major order, its index in (..., *K) and what it reads, one element per window.

        The second indexes the extended image (..., *E) and gives (..., *T).
        """
        for tap in np.ndindex(*self.kernel):
            axes = zip(tap, self._axes(), strict=True)
            yield (..., *tap), (..., *(slice(k * d, k * d + (t - 1) * s + 1, s) for k, (t, s, d, _) in axes))

    def reads(self, axis: int) -> Array:
        """(T, K) int64: the input coordinate along one axis of every window and tap; outside [0, S) is padding."""
        windows = np.arange(self.out[axis], dtype=np.int64) * self.stride[axis]
        taps = np.arange(self.kernel[axis], dtype=np.int64) * self.dilation[axis]
        return windows[:, None] + taps - self.lo[axis]

    def _axes(self) -> list[Axes]:
        return list(zip(self.out, self.stride, self.dilation, self.kernel, strict=True))


def lo_hi(op: str, padding: Any, size: Axes, kernel: Axes, stride: Axes, dilation: Axes) -> tuple[Axes, Axes]:
    """Return the padding (lo, hi) per axis; "same" gives ``ceil(S / stride)`` windows, the odd element behind."""
    if not isinstance(padding, str):
        return padding_per_axis(op, padding, len(size))
    if padding == "valid":
        return (0,) * len(size), (0,) * len(size)
    if padding != "same":
        raise ValueError(f"{op}: padding by name must be 'valid' or 'same', received padding={padding!r}")
    axes = zip(size, kernel, stride, dilation, strict=True)
    total = [max(0, (-(-i // s) - 1) * s + d * (k - 1) + 1 - i) for i, k, s, d in axes]
    return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)


def output_size(size: int, reach: int, stride: int, lo: int, hi: int, ceil_mode: bool) -> int:
    """Return the number of windows: ``floor((S + lo + hi - reach) / stride) + 1``.

    With ``ceil_mode`` the division rounds up, but no window may start behind the image and its padding in front.
    """
    out = (size + lo + hi - reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + lo:
        out -= 1
    return out


def slide(
    op: str, size: Axes, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Sliding:
    """Read the arguments of a window over an image of ``size`` and compute its geometry."""
    n = len(size)
    kernel = per_axis(op, "kernel_size", kernel, n, minimum=1)
    stride = per_axis(op, "stride", stride, n, minimum=1)
    dilation = per_axis(op, "dilation", dilation, n, minimum=1)
    lo, hi = lo_hi(op, padding, size, kernel, stride, dilation)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    axes = list(zip(size, reach, stride, lo, hi, strict=True))
    out = tuple(output_size(*axis, ceil_mode) for axis in axes)
    if min(out) < 1 or any(r > i + a + b for i, r, _, a, b in axes):
        raise ValueError(
            f"{op}: the window must fit into the padded input; it spans {reach}, input {size}, padding {lo} and {hi}"
        )
    return Sliding(size, kernel, stride, dilation, lo, hi, out)


def slide_inside(
    op: str, size: Axes, kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Sliding:
    """Like ``slide``, for pooling: stride None means the kernel's size, and every window must meet the image."""
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding of a pool must be given in numbers, received padding={padding!r}")
    window = slide(op, size, kernel, kernel if stride is None else stride, padding, dilation, ceil_mode)
    for axis, extent in enumerate(size):
        reads = window.reads(axis)
        if not ((reads >= 0) & (reads < extent)).any(axis=1).all():
            raise ValueError(f"{op}: padding must leave no window without input, received {padding=!r} around {size}")
    return window


def adaptive_windows(op: str, size: Axes, output_size: Axes) -> Iterator[tuple[Index, Index]]:
    """Yield an index of (..., *T), output by output, and of what it reads in (..., *S).

    That is from ``floor(t S / T)`` to ``ceil((t + 1) S / T)`` on every axis.
    """
    if 0 in size:
        raise ValueError(f"{op}: every window must meet the image, whose spatial shape is {size}")
    axes = list(zip(size, output_size, strict=True))
    for output in np.ndindex(*output_size):
        reads = (slice(t * s // o, -(-(t + 1) * s // o)) for t, (s, o) in zip(output, axes, strict=True))
        yield (..., *output), (..., *reads)


def adaptive_size(op: str, size: Axes, output_size: Any) -> Axes:
    """Return the output size per axis from an int or one int per axis, where None keeps the image's size."""
    values = (output_size,) * len(size) if is_number(output_size) else tuple(output_size)
    if len(values) != len(size):
        raise ValueError(f"{op}: output_size must be an int or {len(size)} ints, received {output_size!r}")
    return tuple(s if v is None else integer(op, "output_size", v, 1) for s, v in zip(size, values, strict=True))
