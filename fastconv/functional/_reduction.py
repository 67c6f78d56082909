"""What losses share: reductions and their gradients' scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _check as check
from fastconv._check import Array

__all__ = ["REDUCTIONS", "checked", "reduced", "scale"]

REDUCTIONS = ("mean", "sum", "none")


def reduced(losses: Array, reduction: str, dtype: np.dtype[Any], divisor: Any = None) -> Any:
    """Return the mean or sum of losses, or themselves; a mean divides by `divisor`, by default their number."""
    with np.errstate(all="ignore"):  # the mean of nothing is NaN
        if reduction == "none":
            return np.asarray(losses, dtype)
        total = losses.sum()
        if reduction == "mean":
            total = total / (np.asarray(losses.size, losses.dtype) if divisor is None else divisor)
        return dtype.type(total)


def scale(op: str, grad: Array, shape: tuple[int, ...], reduction: str, divisor: Any) -> Array:
    """Return what multiplies the gradients of single losses, which have `shape`: a number, or one for each."""
    expected = shape if reduction == "none" else ()
    if grad.shape not in (expected, ()):
        raise ValueError(
            f"{op}: grad_output must have shape {expected} for reduction={reduction!r}, or be one number, "
            f"received grad_output of shape {grad.shape}"
        )
    if reduction != "mean":
        return grad
    return np.asarray(grad / divisor if divisor != 0 else np.zeros_like(grad))


def checked(op: str, reduction: Any) -> str:
    """Return the name of a reduction."""
    return check.choice(op, "reduction", reduction, REDUCTIONS)
