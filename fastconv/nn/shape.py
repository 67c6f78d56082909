"""Layers that change the shape alone, or repeat what they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn.module import Backward, Module

__all__ = ["Flatten", "Identity", "Unflatten", "Upsample"]


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


class Unflatten(Module):
    """Cut one axis into several: the way back from `Flatten`.

    Parameters
    ----------
    dim : int
        The axis.
    unflattened_size : sequence of ints
        What it becomes; one may be -1, which follows from the others.

    Raises
    ------
    TypeError
        When an argument is not made of integers.
    ValueError
        When there is no such axis, or its size is another one.

    Examples
    --------
    >>> Unflatten(1, (16, 5, 5))(np.zeros((8, 400))).shape
    (8, 16, 5, 5)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = check.integer("Unflatten", "dim", dim)
        self.unflattened_size = check.sizes("Unflatten", "unflattened_size", unflattened_size, minimum=-1)
        if self.unflattened_size.count(-1) > 1:
            raise ValueError(f"Unflatten: unflattened_size may have one -1, received {unflattened_size=!r}")

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Return `input` reshaped: a view of it where NumPy can make one."""
        array = np.asarray(input)
        axis = check.axis("Unflatten", self.dim, array)
        size, known = array.shape[axis], math.prod(item for item in self.unflattened_size if item != -1)
        wanted = tuple((size // known if known else 0) if item == -1 else item for item in self.unflattened_size)
        if math.prod(wanted) != size:
            raise ValueError(
                f"Unflatten: unflattened_size must have {size} elements in all, as axis {self.dim} of input has, "
                f"received unflattened_size={self.unflattened_size}"
            )
        return array.reshape(*array.shape[:axis], *wanted, *array.shape[axis + 1 :])

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        shape, output = np.shape(input), self(input)
        cut = output.shape

        def backward(grad_output: ArrayLike) -> NDArray[Any]:
            return check.grad("Unflatten", np.asarray(grad_output), cut).reshape(shape)

        return output, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Upsample(Module):
    """Resize the spatial axes of (N, C, *S) by repeating the nearest element.

    Parameters
    ----------
    size : int or sequence of ints, optional
        Of the output's spatial axes. Either this or `scale_factor` is given.
    scale_factor : int or sequence of ints, optional
        How often each element comes along each axis.
    mode : {"nearest"}
        How.

    Raises
    ------
    TypeError
        When sizes or factors are not integers.
    ValueError
        When both or none are given, one is not positive, or the mode is another one; in a call, when the input does not
        fit.

    Examples
    --------
    >>> Upsample(scale_factor=2)(np.zeros((8, 16, 5, 5))).shape
    (8, 16, 10, 10)
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: int | Sequence[int] | None = None,
        mode: str = "nearest",
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"Upsample: either size or scale_factor must be given, received {size=!r} and {scale_factor=!r}"
            )
        self.size, self.scale_factor = _numbers("size", size), _numbers("scale_factor", scale_factor)
        self.mode = check.choice("Upsample", "mode", mode, ("nearest",))

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return F.interpolate(input, self.size, self.scale_factor, self.mode)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        shape, options = np.shape(input), (self.size, self.scale_factor, self.mode)
        return self(input), lambda grad_output: F.interpolate_backward(grad_output, shape, *options)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        given = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"


def _numbers(name: str, value: Any) -> Any:
    """Return an int, a tuple of ints, or None."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return tuple(check.integer("Upsample", name, item, 1, whole=value) for item in value)
    return check.integer("Upsample", name, value, 1)
