"""The activations that a convolution or a fully connected layer can end with, while its results lie in a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _check
from fastconv._check import Array

__all__ = ["SLOPES", "rectify", "slope_of"]

#: What results below 0 are multiplied by.
SLOPES = {"relu": 0.0, "leaky_relu": 0.01}


def slope_of(op: str, activation: Any) -> float | None:
    """Return the slope below 0 of the named activation, None for None."""
    return None if activation is None else SLOPES[_check.choice(op, "activation", activation, tuple(SLOPES))]


def rectify(y: Array, slope: float | None) -> Array:
    """Apply the activation in place, to a result that no plan computed."""
    if slope == 0:
        np.maximum(y, 0, out=y)
    elif slope is not None:
        np.multiply(y, slope, out=y, where=y < 0)
    return y
