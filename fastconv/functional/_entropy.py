"""Losses of right classes on the engine, by recipes that later calls find."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv import _engine, _lowering
from fastconv._check import Array
from fastconv.functional._norm import compute

__all__ = ["Entropies", "below_maximum", "certain", "readable"]

_INT64 = np.dtype(np.int64).num


class Entropies(NamedTuple):
    """The losses of an input, each of a line of it along the classes: themselves, or reduced; or their gradient."""

    plan: _engine.Plan
    lines: tuple[int, ...] | None  # the shape of the losses; None where they are reduced
    samples: int

    @staticmethod
    def of(
        name: str, x: Array, axis: int, reduction: str = "none", *, slopes: bool = False, each: bool = False
    ) -> Entropies:
        """Plan it."""
        samples, lines = x.size // x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
        divisor = {"mean": samples, "sum": 1}.get(reduction, 0)
        found = _lowering.classes_plan(name, x.shape, axis, x.dtype, divisor, slopes=slopes, each=each)
        return Entropies(found, None if divisor else lines, samples)

    def value(self, op: str, x: Any, target: Array) -> Any:
        """Return the losses or what they are reduced to; None where a target is no class."""
        losses = compute(op, self.plan, x, target, None)
        return None if losses is None else self._given(losses)

    def gradient(self, op: str, x: Any, target: Array, share: float | Array, losses: Array | None = None) -> Any:
        """Return the gradient, `share` being that of each loss, and write `losses`; None where a target is no class."""
        return compute(op, self.plan, x, target, np.array(share, np.float64).reshape(-1), losses)

    def both(self, op: str, x: Any, target: Array, share: float) -> tuple[Any, Any]:
        """Return what `value` does, and the gradient."""
        losses = np.empty(self.lines or 1, x.dtype)
        slopes = self.gradient(op, x, target, share, losses)
        return None if slopes is None else self._given(losses), slopes

    def _given(self, losses: Array) -> Any:
        return losses[0] if self.lines is None else losses.reshape(self.lines)


def certain(op: str, value: Any) -> Any:
    """Return what is not None: the losses for targets that were all classes when they were looked at."""
    if value is None:
        raise ValueError(f"{op}: target changed during the call")
    return value


def readable(target: Any) -> TypeGuard[Array]:
    """Whether the engine can read these classes."""
    return _engine.dense(target, _INT64)


def below_maximum(op: str, x: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return x minus its maximum along the axis, as a new array: exponentials of it cannot overflow."""
    below = check.result(op, x.shape, x.dtype)  # before a look at x, which may be a view beyond any memory
    np.subtract(x, x.max(axis=axis, keepdims=True, initial=-np.inf), out=below)
    return below
