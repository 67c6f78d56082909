"""The activations that a convolution or a fully connected layer can end with, while its results lie in a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _check
from fastconv._check import Array
from fastconv.functional.activation import leaky_relu_backward, relu_backward

__all__ = ["SLOPES", "rectify", "rectify_backward", "rectifying", "slope_of"]

#: What results below 0 are multiplied by.
SLOPES = {"relu": 0.0, "leaky_relu": 0.01}


def slope_of(op: str, activation: Any) -> float | None:
    """Return the slope below 0 of the named activation, None for None."""
    if activation is None:
        return None
    remedy = "None is none, and others follow as operators or layers of their own"
    return SLOPES[_check.choice(op, "activation", activation, tuple(SLOPES), remedy)]


def rectifying(op: str, activation: Any) -> str | None:
    """Return the checked name of an activation."""
    slope_of(op, activation)
    return None if activation is None else str(activation)


def rectify_backward(grad_output: Any, output: Array, activation: str | None) -> Any:
    """Return the gradient before the activation, which left its mark on the signs of the output."""
    if activation is None:
        return grad_output
    if activation == "relu":
        return relu_backward(grad_output, output)
    return leaky_relu_backward(grad_output, output, SLOPES[activation])  # whose signs are those of its input


def rectify(y: Array, slope: float | None) -> Array:
    """Apply the activation in place, to a result that no plan computed."""
    if slope == 0:
        np.maximum(y, 0, out=y)
    elif slope is not None:
        np.multiply(y, slope, out=y, where=y < 0)
    return y
