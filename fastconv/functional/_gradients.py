"""The gradients of a product of input and weight: what convolutions and the fully connected layer return backwards."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastconv import _check
from fastconv._check import Array
from fastconv._engine import Packed, Plan

__all__ = ["Gradients", "Three", "cast", "nothing"]

Three = tuple[Any, Any, Any]


class Gradients(NamedTuple):
    """The plans of the gradients that a call asks for, None for the others."""

    input: Plan | None
    weight: Plan | None
    bias: Plan | None
    order: tuple[int, int]  # of gradient (0) and input (1) in the weight's plan
    product: bool  # the plans are matrix products, of operands without gaps

    @property
    def plans(self) -> list[Plan]:
        """The plans that there are."""
        return [p for p in (self.input, self.weight, self.bias) if p is not None]

    def compute(self, op: str, gy: Any, x: Any, w: Any, packed: Packed | None = None) -> Three:
        """Compute the gradients for arrays that the plans were made for."""
        gx = gw = gb = None
        try:
            if self.input is not None:
                gx = self.input.compute(gy, w, None, packed)
            if self.weight is not None:
                first, second = self.order
                gw = self.weight.compute(x if first else gy, x if second else gy, None)
            if self.bias is not None:
                gb = self.bias.compute(gy, None, None)
        except MemoryError:
            raise MemoryError(
                f"{op}: gradients of shapes {x.shape} and {w.shape} and dtype {gy.dtype}, with their workspace, "
                f"cannot be held in memory"
            ) from None
        return gx, gw, gb

    def compute_any(self, op: str, gy: Array, x: Array, w: Array, channel: int, packed: Packed | None = None) -> Three:
        """Compute the gradients for arrays of any layout; `channel` is that axis of `gy`."""
        if self.bias is not None and any(repeats(gy)):
            gx, gw, _ = self._replace(bias=None).compute_any(op, gy, x, w, channel, packed)
            return gx, gw, bias_of_view(gy, channel)
        if self.product:
            x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
        if self.product or self.bias is not None:
            gy = np.ascontiguousarray(gy)
        return self.compute(op, _check.layout(gy), _check.layout(x), w, packed)


def nothing(op: str, gy: Array, x: Array, w: Array, channel: int, wanted: tuple[bool, bool, bool]) -> Three:
    """Return the gradients where input or result has no elements: zeros, and what the bias still gets from padding."""
    return (
        _check.result(op, x.shape, gy.dtype, zero=True) if wanted[0] else None,
        _check.result(op, w.shape, gy.dtype, zero=True) if wanted[1] else None,
        bias_of_view(gy, channel) if wanted[2] else None,
    )


def cast(grads: Three, kind: np.dtype[Any]) -> Three:
    """Return the gradients in the dtype of the call."""
    gx, gw, gb = (g if g is None or g.dtype == kind else g.astype(kind) for g in grads)
    return gx, gw, gb


def repeats(array: Array) -> list[bool]:
    """Whether each axis only repeats its first element: a broadcast view."""
    return [stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True)]


def bias_of_view(gy: Array, channel: int) -> Array:
    """Sum a broadcast view over all axes but `channel`: repeated ones, which may be huge, are multiplied."""
    repeated = [again and axis != channel for axis, again in enumerate(repeats(gy))]
    times = math.prod(size for size, again in zip(gy.shape, repeated, strict=True) if again)
    once = gy[tuple(slice(0, 1) if again else slice(None) for again in repeated)]
    total: Array = once.sum(axis=tuple(axis for axis in range(gy.ndim) if axis != channel))
    return np.asarray(total * gy.dtype.type(times))
