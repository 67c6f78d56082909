"""Losses of right classes on the engine, by recipes that later calls find."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv import _engine, _lowering
from fastconv._check import Array
from fastconv._threads import current

__all__ = ["Entropies", "below_maximum", "readable"]

_INT64 = np.dtype(np.int64)
_SMALL = 3e38  # no overflow in float32


class Entropies(NamedTuple):
    """The losses of an input, each of a line of it along the classes, and their gradient."""

    plan: _engine.Plan
    shape: tuple[int, ...]
    kind: np.dtype[Any]
    lines: tuple[int, ...]  # the shape of the losses
    samples: int

    @staticmethod
    def of(name: str, x: Array, axis: int, each: bool = False) -> Entropies:
        """Plan it."""
        lines = x.shape[:axis] + x.shape[axis + 1 :]
        found = _lowering.softmax_plan(name, x.shape, axis, x.dtype, each=each)
        return Entropies(found, x.shape, x.dtype, lines, x.size // x.shape[axis])

    def take(self, x: Any, target: Array, factor: Array | None = None, grad: Array | None = None) -> Array | None:
        """Return the losses, flat, with their sum behind them; None where a target is no class. `grad` is written."""
        losses = np.empty(self.samples + 1)
        right = self.plan.run(x, target, factor, grad, current(), extra=losses)
        return losses if right else None

    def reduced(self, losses: Array, reduction: str) -> Any:
        """Return what `take` returned as the caller wants it."""
        if reduction != "none":
            value = losses.item(-1) / self.samples if reduction == "mean" else losses.item(-1)
            if abs(value) < _SMALL:
                return self.kind.type(value)
        with np.errstate(all="ignore"):  # a float32 may overflow
            if reduction == "none":
                return losses[:-1].reshape(self.lines).astype(self.kind)
            return self.kind.type(value)

    def gradient(self, x: Any, target: Array, share: float | Array) -> tuple[Array, Array] | None:
        """Return the losses as `take` does, and the gradient, if `share` is that of each loss."""
        result = _engine.empty(self.shape, self.kind)
        losses = self.take(x, target, np.array(share, np.float64).reshape(-1), result)
        return None if losses is None else (losses, result)

    def classes(self, x: Array, picks: Array, share: float | Array | None = None) -> tuple[Array, Any]:
        """Return losses and gradient for targets that are classes."""
        target = np.ascontiguousarray(picks)
        both = (self.take(x, target), None) if share is None else self.gradient(x, target, share)
        if both is None or both[0] is None:
            raise ValueError("cross_entropy: target changed during the call")
        return both[0], both[1]


def readable(target: Any) -> TypeGuard[Array]:
    """Whether the engine can read these classes."""
    return type(target) is np.ndarray and target.dtype is _INT64 and target.flags.c_contiguous and target.flags.aligned


def below_maximum(op: str, x: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return x minus its maximum along the axis, as a new array: exponentials of it cannot overflow."""
    below = check.result(op, x.shape, x.dtype)  # before a look at x, which may be a view beyond any memory
    np.subtract(x, x.max(axis=axis, keepdims=True, initial=-np.inf), out=below)
    return below
