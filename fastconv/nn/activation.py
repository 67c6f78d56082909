"""Activation layers."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastconv import functional as F
from fastconv.nn.module import Backward, Module

__all__ = ["ReLU"]


class ReLU(Module):
    """Rectified linear unit, max(x, 0), on arrays of any shape.

    Keeps its output for the way back, so that the input may go.

    Examples
    --------
    >>> import numpy as np
    >>> y, backward = ReLU().forward(np.array([-1.0, 2.0]))
    >>> y, backward(np.array([10.0, 20.0]))
    (array([0., 2.]), array([ 0., 20.]))
    """

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return F.relu(input)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        output = F.relu(input)
        return output, lambda grad_output: F.relu_backward(grad_output, output)
