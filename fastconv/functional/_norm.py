"""What the normalisations share: their kernels, which read arrays without gaps, as addresses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv import _check, _engine, _ops, plan
from fastconv._check import Array
from fastconv._config import current_isa
from fastconv._threads import current
from fastconv.functional._gradients import Three

__all__ = ["Sets", "by_row", "by_row_backward", "by_set", "by_set_backward", "planned", "run"]

_IDLE = (1, 1, 1, 1, 1, 0, 0)
_FLAT: Any = ((0, 1),) * 4


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
    op: int,
    dtype: np.dtype[Any],
    name: str,
    s: Sets,
    flags: int = 0,
    eps: float = 0.0,
    padding: tuple[int, int] = (0, 0),
) -> _engine.Plan:
    """Plan a normalisation, see src/algorithms/norm*.c."""

    def make() -> _engine.Plan:
        axes: list[tuple[int, ...]] = [_IDLE, _IDLE, (s.pixels, s.pixels, 1, 1, 1, *padding)]
        kind, cost = 0 if dtype == np.float32 else 1, 4.0 * s.batch * s.sets * s.slices * s.pixels
        counts = (s.batch, s.sets, s.slices, s.period)
        return _engine.Plan(
            op, kind, *counts, axes, _FLAT, name, current_isa(), cost, flags=flags, divisor=eps, inner=(1, 1, 1, 1)
        )

    return plan.cached(("norm", op, dtype.num, s, flags, eps, padding), make)


def run(op: str, found: _engine.Plan, a: Array, b: Array | None, c: Array | None, d: Array | None) -> None:
    """Run a plan on its four operands."""
    try:
        found.run(a, b, c, d, current())
    except MemoryError:
        raise MemoryError(f"{op}: the workspace of {found.workspace_bytes} bytes cannot be had") from None


def by_set(
    op: str, x: Array, s: Sets, statistics: tuple[Array, Array] | None, weight: Any, bias: Any, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise by the given statistics, or the input's own; return the result and the statistics."""
    y = _check.result(op, x.shape, x.dtype)
    numbers = np.empty(2 * (s.sets + s.period))
    mean, var = numbers[: s.sets], numbers[s.sets : 2 * s.sets]
    if statistics is not None:
        mean[:], var[:] = statistics
    elif x.size == 0:
        mean[:] = var[:] = np.nan
    numbers[2 * s.sets : 2 * s.sets + s.period] = 1 if weight is None else weight
    numbers[2 * s.sets + s.period :] = 0 if bias is None else bias
    if x.size:
        flags = _ops.OWN_STATISTICS | _ops.TAKE_MOMENTS if statistics is None else 0
        found = planned(_ops.NORM, x.dtype, "norm", s, flags, eps)
        run(op, found, _check.dense(op, "input", x), None, numbers, y)
    return y, mean.copy(), var.copy()


def by_set_backward(
    op: str, gy: Array, x: Array, s: Sets, statistics: tuple[Array, Array] | None, own: bool, weight: Any, eps: float,
    needs: tuple[bool, bool, bool],
) -> Three:  # fmt: skip
    """Return the gradients; without `statistics` the input's are taken again. `own`: they depend on the input."""
    gx = _check.result(op, x.shape, x.dtype) if needs[0] else None
    slices = s.sets * s.slices
    numbers = np.zeros(2 * s.sets + s.period + 2 * slices)
    if statistics is not None:
        numbers[: s.sets], numbers[s.sets : 2 * s.sets] = statistics
    numbers[2 * s.sets : 2 * s.sets + s.period] = 1 if weight is None else weight
    sums = needs[1] or needs[2] or (own and needs[0])
    if x.size and any(needs):
        flags = (_ops.OWN_STATISTICS if own else 0) | (_ops.TAKE_SUMS if sums else 0)
        flags |= _ops.TAKE_MOMENTS if statistics is None else 0
        found = planned(_ops.NORM_GRAD, x.dtype, "norm", s, flags, eps)
        run(op, found, _check.dense(op, "grad_output", gy), _check.dense(op, "input", x), numbers, gx)
    gb, gw = numbers[2 * s.sets + s.period :].reshape(2, -1, s.period).sum(axis=1).astype(x.dtype)
    return gx, gw if needs[1] else None, gb if needs[2] else None


def by_row(op: str, x: Array, s: Sets, weight: Any, bias: Any, eps: float) -> Array:
    """Normalise rows of `pixels` features, whose weights begin again after `sets` rows."""
    y = _check.result(op, x.shape, x.dtype)
    table = np.empty((2, s.sets * s.pixels), x.dtype)
    table[0] = 1 if weight is None else weight.ravel()
    table[1] = 0 if bias is None else bias.ravel()
    if x.size:
        run(op, planned(_ops.ROW_NORM, x.dtype, "rows", s, 0, eps), _check.dense(op, "input", x), table, None, y)
    return y


def by_row_backward(
    op: str, gy: Array, x: Array, s: Sets, weight: Any, eps: float, needs: tuple[bool, bool, bool]
) -> Three:
    """Return the gradients, those of weights and biases for each feature."""
    gx = _check.result(op, x.shape, x.dtype) if needs[0] else None
    table = np.empty((3, s.sets * s.pixels), x.dtype)
    table[0] = 1 if weight is None else weight.ravel()
    if not x.size:
        table[1:] = 0
    elif any(needs):
        flags = _ops.TAKE_SUMS if needs[1] or needs[2] else 0
        found = planned(_ops.ROW_NORM_GRAD, x.dtype, "rows", s, flags, eps)
        run(op, found, _check.dense(op, "grad_output", gy), _check.dense(op, "input", x), table, gx)
    return gx, table[1] if needs[1] else None, table[2] if needs[2] else None
