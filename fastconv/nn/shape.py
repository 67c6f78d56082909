"""Layers that change the shape alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv.nn.module import Backward, Module

__all__ = ["Flatten", "Identity"]


class Flatten(Module):
    """Join neighbouring axes into one, by default all but the first.

    Parameters
    ----------
    start_dim, end_dim : int, default 1 and -1
        The first and the last axis to join; negative ones count from the end. ``Flatten(start_dim=-3)`` takes a batch
        ``(N, C, H, W)`` to ``(N, C*H*W)`` and one sample ``(C, H, W)`` to ``(C*H*W,)``.

    Raises
    ------
    TypeError
        When an axis is not an integer.
    ValueError
        When the input does not have these axes, or the first comes after the last.

    Examples
    --------
    >>> Flatten()(np.zeros((8, 16, 5, 5))).shape
    (8, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = check.integer("Flatten", "start_dim", start_dim)
        self.end_dim = check.integer("Flatten", "end_dim", end_dim)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Return `input` reshaped: a view of it where NumPy can make one."""
        array = np.asarray(input)
        start, end = (axis + array.ndim if axis < 0 else axis for axis in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < array.ndim:
            raise ValueError(
                f"Flatten: start_dim and end_dim must be axes of input, in this order, received "
                f"start_dim={self.start_dim}, end_dim={self.end_dim} for input.shape={array.shape}"
            )
        shape = array.shape
        # math.prod, not -1: the size of an empty batch's rows cannot be inferred.
        return array.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        shape = np.shape(input)
        output = self(input)
        flat = output.shape

        def backward(grad_output: ArrayLike) -> NDArray[Any]:
            return check.grad("Flatten", np.asarray(grad_output), flat).reshape(shape)

        return output, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Hand the input on: a place holder. Arguments are taken and left aside, as in torch.

    Examples
    --------
    >>> x = np.ones(3)
    >>> Identity()(x) is x
    True
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        """Return `input` itself."""
        return input

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Return `input` itself and the way back, see `Module.forward`."""
        return input, lambda grad_output: grad_output
