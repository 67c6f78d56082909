"""Layers that pad: zeros, a constant, a mirror image, the border, or the other end."""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401 (the examples use it)
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn.module import Backward, Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """Padding of the last `_axes` axes of a batch or of one sample."""

    _axes = 0
    _mode = "constant"
    padding: tuple[int, ...]
    value: float = 0.0

    def __init__(self, padding: Any) -> None:
        name, count = type(self).__name__, 2 * self._axes
        least = None if self._mode == "constant" else 0  # a negative pad crops
        several = isinstance(padding, tuple | list)
        if several and len(padding) != count:
            raise ValueError(
                f"{name}: padding must be an int or {count} ints, the last axis first, received {padding=!r}"
            )
        items = padding if several else (padding,) * count
        self.padding = tuple(check.integer(name, "padding", item, least, whole=padding) for item in items)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        name = type(self).__name__
        _, (x,) = check.data(name, input=input)
        check.shape_of(name, "input", x, self._axes)
        return F.pad(input, self.padding, self._mode, self.value if self._mode == "constant" else None)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        output = self(input)
        shape, padding, mode, name = output.shape, self.padding, self._mode, type(self).__name__

        def backward(grad_output: ArrayLike) -> NDArray[Any]:
            _, (grad,) = check.data(name, grad_output=grad_output)
            check.grad(name, grad, shape)
            return F.pad_backward(grad_output, padding, mode)

        return output, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = check.real(type(self).__name__, "value", value)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"padding={self.padding}, value={self.value}"


class ZeroPad1d(_Pad):
    """Pad one spatial axis, L, with zeros.

    Parameters
    ----------
    padding : int, or 2 ints
        For all sides alike, or lo and hi of L. A negative one crops.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, L) or (C, L).

    Examples
    --------
    >>> ZeroPad1d(1)(np.zeros((1, 1, 4))).shape
    (1, 1, 6)
    """

    _axes = 1


class ZeroPad2d(_Pad):
    """Pad two spatial axes, H and W, with zeros.

    Parameters
    ----------
    padding : int, or 4 ints
        For all sides alike, or lo and hi of W, then of H. A negative one crops.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, H, W) or (C, H, W).

    Examples
    --------
    >>> ZeroPad2d(1)(np.zeros((1, 1, 4, 4))).shape
    (1, 1, 6, 6)
    """

    _axes = 2


class ZeroPad3d(_Pad):
    """Pad three spatial axes, D, H and W, with zeros.

    Parameters
    ----------
    padding : int, or 6 ints
        For all sides alike, or lo and hi of W, then of H, then of D. A negative one crops.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, D, H, W) or (C, D, H, W).

    Examples
    --------
    >>> ZeroPad3d(1)(np.zeros((1, 1, 4, 4, 4))).shape
    (1, 1, 6, 6, 6)
    """

    _axes = 3


class ConstantPad1d(_ConstantPad):
    """Pad one spatial axis, L, with a value.

    Parameters
    ----------
    padding : int, or 2 ints
        For all sides alike, or lo and hi of L. A negative one crops.
    value : float
        What stands around.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, L) or (C, L).

    Examples
    --------
    >>> ConstantPad1d(1, 0.5)(np.zeros((1, 1, 4))).shape
    (1, 1, 6)
    """

    _axes = 1


class ConstantPad2d(_ConstantPad):
    """Pad two spatial axes, H and W, with a value.

    Parameters
    ----------
    padding : int, or 4 ints
        For all sides alike, or lo and hi of W, then of H. A negative one crops.
    value : float
        What stands around.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, H, W) or (C, H, W).

    Examples
    --------
    >>> ConstantPad2d(1, 0.5)(np.zeros((1, 1, 4, 4))).shape
    (1, 1, 6, 6)
    """

    _axes = 2


class ConstantPad3d(_ConstantPad):
    """Pad three spatial axes, D, H and W, with a value.

    Parameters
    ----------
    padding : int, or 6 ints
        For all sides alike, or lo and hi of W, then of H, then of D. A negative one crops.
    value : float
        What stands around.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, D, H, W) or (C, D, H, W).

    Examples
    --------
    >>> ConstantPad3d(1, 0.5)(np.zeros((1, 1, 4, 4, 4))).shape
    (1, 1, 6, 6, 6)
    """

    _axes = 3


class ReflectionPad1d(_Pad):
    """Pad one spatial axis, L, with the mirror image, without the border: ``c b [a b c d] c b``.

    Parameters
    ----------
    padding : int, or 2 ints
        For all sides alike, or lo and hi of L. Each is less than its axis.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, L) or (C, L).

    Examples
    --------
    >>> ReflectionPad1d(1)(np.zeros((1, 1, 4))).shape
    (1, 1, 6)
    """

    _axes = 1
    _mode = "reflect"


class ReflectionPad2d(_Pad):
    """Pad two spatial axes, H and W, with the mirror image, without the border: ``c b [a b c d] c b``.

    Parameters
    ----------
    padding : int, or 4 ints
        For all sides alike, or lo and hi of W, then of H. Each is less than its axis.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, H, W) or (C, H, W).

    Examples
    --------
    >>> ReflectionPad2d(1)(np.zeros((1, 1, 4, 4))).shape
    (1, 1, 6, 6)
    """

    _axes = 2
    _mode = "reflect"


class ReflectionPad3d(_Pad):
    """Pad three spatial axes, D, H and W, with the mirror image, without the border: ``c b [a b c d] c b``.

    Parameters
    ----------
    padding : int, or 6 ints
        For all sides alike, or lo and hi of W, then of H, then of D. Each is less than its axis.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, D, H, W) or (C, D, H, W).

    Examples
    --------
    >>> ReflectionPad3d(1)(np.zeros((1, 1, 4, 4, 4))).shape
    (1, 1, 6, 6, 6)
    """

    _axes = 3
    _mode = "reflect"


class ReplicationPad1d(_Pad):
    """Pad one spatial axis, L, with the border: ``a a [a b c d] d d``.

    Parameters
    ----------
    padding : int, or 2 ints
        For all sides alike, or lo and hi of L.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, L) or (C, L).

    Examples
    --------
    >>> ReplicationPad1d(1)(np.zeros((1, 1, 4))).shape
    (1, 1, 6)
    """

    _axes = 1
    _mode = "replicate"


class ReplicationPad2d(_Pad):
    """Pad two spatial axes, H and W, with the border: ``a a [a b c d] d d``.

    Parameters
    ----------
    padding : int, or 4 ints
        For all sides alike, or lo and hi of W, then of H.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, H, W) or (C, H, W).

    Examples
    --------
    >>> ReplicationPad2d(1)(np.zeros((1, 1, 4, 4))).shape
    (1, 1, 6, 6)
    """

    _axes = 2
    _mode = "replicate"


class ReplicationPad3d(_Pad):
    """Pad three spatial axes, D, H and W, with the border: ``a a [a b c d] d d``.

    Parameters
    ----------
    padding : int, or 6 ints
        For all sides alike, or lo and hi of W, then of H, then of D.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, D, H, W) or (C, D, H, W).

    Examples
    --------
    >>> ReplicationPad3d(1)(np.zeros((1, 1, 4, 4, 4))).shape
    (1, 1, 6, 6, 6)
    """

    _axes = 3
    _mode = "replicate"


class CircularPad1d(_Pad):
    """Pad one spatial axis, L, with the other end: ``c d [a b c d] a b``.

    Parameters
    ----------
    padding : int, or 2 ints
        For all sides alike, or lo and hi of L. Each is at most its axis.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, L) or (C, L).

    Examples
    --------
    >>> CircularPad1d(1)(np.zeros((1, 1, 4))).shape
    (1, 1, 6)
    """

    _axes = 1
    _mode = "circular"


class CircularPad2d(_Pad):
    """Pad two spatial axes, H and W, with the other end: ``c d [a b c d] a b``.

    Parameters
    ----------
    padding : int, or 4 ints
        For all sides alike, or lo and hi of W, then of H. Each is at most its axis.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, H, W) or (C, H, W).

    Examples
    --------
    >>> CircularPad2d(1)(np.zeros((1, 1, 4, 4))).shape
    (1, 1, 6, 6)
    """

    _axes = 2
    _mode = "circular"


class CircularPad3d(_Pad):
    """Pad three spatial axes, D, H and W, with the other end: ``c d [a b c d] a b``.

    Parameters
    ----------
    padding : int, or 6 ints
        For all sides alike, or lo and hi of W, then of H, then of D. Each is at most its axis.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type or number; in a call, when the input is too small or not of the axes
        (N, C, D, H, W) or (C, D, H, W).

    Examples
    --------
    >>> CircularPad3d(1)(np.zeros((1, 1, 4, 4, 4))).shape
    (1, 1, 6, 6, 6)
    """

    _axes = 3
    _mode = "circular"
