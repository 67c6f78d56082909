"""What the normalisations share: recipes, found again by how a call looks, for arrays without gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastconv import _check, _engine, _ops, plan
from fastconv._check import Array
from fastconv._config import current_isa
from fastconv._lowering import IDLE, dtype_number
from fastconv._threads import current
from fastconv.functional._gradients import Three

__all__ = [
    "RowNorm",
    "RowNormGrad",
    "SetNorm",
    "SetNormGrad",
    "Sets",
    "compute",
    "empty_gradients",
    "planned",
    "prepared",
]

_FLAT: Any = ((0, 1),) * 4

Needs = tuple[bool, bool, bool]
T = TypeVar("T")


class Sets(NamedTuple):
    """How an array is normalised: (batch, sets, slices, pixels), where a set shares a mean and a slice a weight.

    Weights begin again after `period` slices. Either `batch` or `slices` is 1.
    """

    batch: int
    sets: int
    slices: int
    period: int
    pixels: int


def planned(
    op: int, name: str, x: Array, s: Sets, flags: int = 0, eps: float = 0.0, padding: tuple[int, int] = (0, 0)
) -> _engine.Plan:
    """Plan a normalisation of x, see src/algorithms/norm*.c."""
    axes: list[tuple[int, ...]] = [IDLE, IDLE, (s.pixels, s.pixels, 1, 1, 1, *padding)]
    kind, cost = dtype_number(x.dtype), 4.0 * s.batch * s.sets * s.slices * s.pixels
    counts, inner = (s.batch, s.sets, s.slices, s.period), (1, 1, 1, 1)
    return _engine.Plan(
        op, kind, *counts, axes, _FLAT, name, current_isa(), cost, flags, divisor=eps, shape=x.shape, inner=inner
    )


def prepared(op: str, options: tuple[Any, ...], make: Callable[[], T], *arrays: Any) -> tuple[T, list[Any]]:
    """Return the recipe of a call on three checked arrays, and these without gaps, as it takes them."""
    dense = [None if array is None else _check.dense(op, "an argument", array) for array in arrays]
    a, b, c = dense
    return plan.recipe_of(op, (a, b, c), options, make), dense


def compute(op: str, found: _engine.Plan, a: Array, b: Any, c: Any, extra: Array | None = None) -> Array:
    """Return what a plan makes of its operands."""
    try:
        return found.compute(a, b, c, extra=extra)
    except MemoryError:
        raise MemoryError(
            f"{op}: a result of shape {a.shape} and dtype {a.dtype}, with {found.workspace_bytes} bytes of workspace, "
            f"cannot be held in memory"
        ) from None


def empty_gradients(op: str, x: Array, shape: tuple[int, ...], needs: Needs, kind: np.dtype[Any]) -> Three:
    """Return the gradients of an input without elements, with weights of this shape: zeros."""
    wanted = zip((x.shape, shape, shape), needs, strict=True)
    gx, gw, gb = (_check.result(op, size, kind, zero=True) if needed else None for size, needed in wanted)
    return gx, gw, gb


def _led_back(op: str, found: _engine.Plan, wanted: bool, operands: tuple[Array, Array, Any], extra: Array) -> Any:
    """Return the gradient of the input, where that is wanted; those of weights and biases are in `extra` then."""
    if wanted:
        return compute(op, found, *operands, extra)
    try:
        found.run(*operands, None, current(), extra=extra)
    except MemoryError:
        raise MemoryError(f"{op}: the workspace of {found.workspace_bytes} bytes cannot be had") from None
    return None


# ------------------------------------------------------------------------------------- sets of neighbouring elements


class SetNorm(NamedTuple):
    """Normalises sets by statistics of some shape: the input's own, or given ones."""

    plan: _engine.Plan
    shape: tuple[int, ...]
    own: bool

    @staticmethod
    def of(x: Array, s: Sets, shape: tuple[int, ...], own: bool, eps: float) -> SetNorm:
        """Plan it."""
        flags = _ops.OWN_STATISTICS | _ops.TAKE_MOMENTS if own else 0
        return SetNorm(planned(_ops.NORM, "norm", x, s, flags, eps), shape, own)

    def forward(
        self, op: str, x: Array, weight: Any, bias: Any, mean: Any = None, var: Any = None
    ) -> tuple[Array, Array, Array]:
        """Return the result and the statistics that were used."""
        numbers = np.empty((2, *self.shape))
        used_mean, used_var = numbers
        if not self.own:
            used_mean[...] = mean
            used_var[...] = var
        return compute(op, self.plan, x, weight, bias, numbers), used_mean, used_var

    def output(self, op: str, x: Array, weight: Any, bias: Any) -> Array:
        """Return the result alone."""
        return self.forward(op, x, weight, bias)[0]


class SetNormGrad(NamedTuple):
    """The gradients of `SetNorm`; statistics that are not given are taken again."""

    plan: _engine.Plan
    sets: int
    period: int
    given: bool
    size: int  # of the last operand, in doubles: given statistics, then gradients of biases and weights
    needs: Needs

    @staticmethod
    def of(x: Array, s: Sets, given: bool, own: bool, eps: float, needs: Needs) -> SetNormGrad:
        """Plan it. `own`: the statistics depend on the input."""
        sums = needs[1] or needs[2] or (own and needs[0])
        flags = (_ops.OWN_STATISTICS if own else 0) | (_ops.TAKE_SUMS if sums else 0)
        flags |= 0 if given else _ops.TAKE_MOMENTS
        found = planned(_ops.NORM_GRAD, "norm", x, s, flags, eps)
        size = 2 * s.sets * given + 2 * s.period * x.itemsize // 8
        return SetNormGrad(found, s.sets, s.period, given, size, needs)

    def backward(self, op: str, gy: Array, x: Array, weight: Any, mean: Any = None, var: Any = None) -> Three:
        """Return the gradients."""
        sets, period, needs = self.sets, self.period, self.needs
        numbers = np.empty(self.size)
        if self.given:
            numbers[:sets] = mean
            numbers[sets : 2 * sets] = var
        gx = _led_back(op, self.plan, needs[0], (gy, x, weight), numbers)
        if not (needs[1] or needs[2]):
            return gx, None, None
        sums = numbers.view(x.dtype)
        return gx, sums[-period:] if needs[1] else None, sums[-2 * period : -period] if needs[2] else None


# ------------------------------------------------------------------------------------- rows with weights along them


class RowNorm(NamedTuple):
    """Normalises rows; `spread` neighbours in a row share a weight."""

    plan: _engine.Plan
    spread: int

    @staticmethod
    def of(x: Array, s: Sets, eps: float, spread: int = 1) -> RowNorm:
        """Plan it for rows of `pixels` elements, whose weights begin again after `sets` rows."""
        return RowNorm(planned(_ops.ROW_NORM, "rows", x, s, 0, eps), spread)

    def output(self, op: str, x: Array, weight: Any, bias: Any) -> Array:
        """Return the result."""
        return compute(op, self.plan, x, self.each(weight), self.each(bias))

    def each(self, weight: Any) -> Any:
        """Return the weights of all elements."""
        return weight if weight is None or self.spread == 1 else weight.repeat(self.spread)


class RowNormGrad(NamedTuple):
    """The gradients of `RowNorm`."""

    norm: RowNorm
    shape: tuple[int, ...]
    needs: Needs

    @property
    def plan(self) -> _engine.Plan:
        """The plan."""
        return self.norm.plan

    @staticmethod
    def of(x: Array, s: Sets, shape: tuple[int, ...], eps: float, needs: Needs, spread: int = 1) -> RowNormGrad:
        """Plan it for weights of this shape."""
        flags = _ops.TAKE_SUMS if needs[1] or needs[2] else 0
        return RowNormGrad(RowNorm(planned(_ops.ROW_NORM_GRAD, "rows", x, s, flags, eps), spread), shape, needs)

    def backward(self, op: str, gy: Array, x: Array, weight: Any) -> Three:
        """Return the gradients."""
        needs, spread = self.needs, self.norm.spread
        sums = np.empty((2, *self.shape) if spread == 1 else (2, *self.shape, spread), x.dtype)
        gx = _led_back(op, self.plan, needs[0], (gy, x, self.norm.each(weight)), sums)
        if not (needs[1] or needs[2]):
            return gx, None, None
        with np.errstate(all="ignore"):
            gw, gb = sums if spread == 1 else sums.sum(axis=-1)
        return gx, gw if needs[1] else None, gb if needs[2] else None
