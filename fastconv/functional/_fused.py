"""The activations that convolutions and fully connected layers can end with: their gradient needs the output alone.

So a layer keeps nothing besides its output. Kernels apply rectifiers as they store results; the other functions go over
the finished result in place, by the elementwise kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _check, _engine, _lowering
from fastconv._check import Array
from fastconv._threads import current
from fastconv.functional.activation import leaky_relu_backward, relu_backward, sigmoid_backward, tanh_backward

__all__ = ["ACTIVATIONS", "activated", "activation_backward", "activation_name", "last_step", "slope_of"]


class _Activation(NamedTuple):
    backward: Callable[[Any, Any], Array]  # (gradient of the output, output)
    slope: float | None  # of a rectifier: what multiplies results below 0


#: By the names of their functions in src/maps.inc. The signs of a leaky ReLU's output are those of its input.
ACTIVATIONS = {
    "relu": _Activation(relu_backward, 0.0),
    "leaky_relu": _Activation(leaky_relu_backward, 0.01),
    "sigmoid": _Activation(sigmoid_backward, None),
    "tanh": _Activation(tanh_backward, None),
}

_OPTIONS = np.array([0.01, 0, 0])  # of the functions: the slope of a leaky ReLU, which no other looks at


def activation_name(op: str, activation: Any) -> str | None:
    """Return the checked name of an activation, None for None."""
    if activation is None:
        return None
    remedy = "None is none, and others follow as operators or layers of their own"
    return _check.choice(op, "activation", activation, tuple(ACTIVATIONS), remedy)


def slope_of(activation: str | None) -> float | None:
    """Return what kernels multiply results below 0 by as they store them, None where they change nothing."""
    return None if activation is None else ACTIVATIONS[activation].slope


def last_step(
    activation: str | None, shape: tuple[int, ...], dtype: np.dtype[Any], stored: bool
) -> _engine.Plan | None:
    """Plan what is left to do to results of this shape. `stored`: kernels applied the slope."""
    if activation is None or 0 in shape or (stored and ACTIVATIONS[activation].slope is not None):
        return None
    return _lowering.elementwise_plan(activation, shape, dtype)


def activated(y: Array, step: _engine.Plan | None) -> Array:
    """Take a last step, in place, and return the result."""
    if step is not None:
        dense = np.ascontiguousarray(y)
        step.run(dense, None, _OPTIONS, dense, current())
        if not np.may_share_memory(dense, y):
            y[...] = dense
    return y


def activation_backward(grad_output: Any, output: Array, activation: str | None) -> Any:
    """Return the gradient before the activation that gave this output."""
    return grad_output if activation is None else ACTIVATIONS[activation].backward(grad_output, output)
