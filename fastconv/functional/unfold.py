"""Windows as columns (im2col) and columns added up into an image (col2im): each is the other's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, plan
from fastconv._check import Array, WindowProblem
from fastconv._threads import current

__all__ = ["fold", "fold_backward", "unfold", "unfold_backward"]

Ints = int | tuple[int, int]
Padding = int | str | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class _Recipe:
    image: tuple[int, ...]
    columns: tuple[int, ...]
    unfold: _engine.Plan | None  # None: the batch is empty
    fold: _engine.Plan | None


def _recipe(
    op: str, shape: tuple[int, ...], dtype: np.dtype[Any], kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> _Recipe:
    """The plans of both directions for an image of `shape`, (N, C, H, W) or (C, H, W)."""

    def make() -> _Recipe:
        batched, full = _check.shape_of(op, "input", np.broadcast_to(np.float32(0), shape), 2)
        kernel = _check.per_axis(op, "kernel_size", kernel_size, 2, 1)
        strides, dilations = _check.per_axis(op, "stride", stride, 2, 1), _check.per_axis(op, "dilation", dilation, 2, 1)
        pads = _check.padding_pairs(op, padding, full[2:], kernel, strides, dilations)
        problem = _check.window_problem(op, 2, full, batched, kernel, strides, pads, dilations, pooling=False)
        return _planned(op, problem, dtype)

    options = (kernel_size, dilation, padding, stride)
    if plan.exact(*options):
        return plan.cached((op, shape, dtype.num, plan.typed(*options)), make)
    return make()
