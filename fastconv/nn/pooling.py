"""Pooling layers: maximum, mean, and both to a wanted output size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.functional.max_pooling import with_way_back
from fastconv.nn.module import Backward, Module, other_than

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class PoolNd(Module):
    """What all pooling layers have in common: the functions that they call."""

    _axes: ClassVar[int]
    _pool: ClassVar[Callable[..., Any]]
    _pool_backward: ClassVar[Callable[..., NDArray[Any]]]


class _ByMaximum(PoolNd):
    """A layer that takes maxima: the way back needs where they were."""

    return_indices: bool

    def _options(self) -> dict[str, Any]:
        raise NotImplementedError

    def __call__(self, input: ArrayLike) -> Any:
        """Compute the output alone; nothing is kept."""
        return self._pool(input, **self._options(), return_indices=self.return_indices)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        output, indices = self._pool(input, **self._options(), return_indices=True)
        shape = np.shape(input)

        def backward(grad_output: ArrayLike) -> NDArray[Any]:
            return self._pool_backward(grad_output, indices, shape)

        return ((output, indices) if self.return_indices else output), backward


class _MaxPoolNd(_ByMaximum):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = window(self, kernel_size, stride, padding)
        self.dilation = _one_or_all(self, "dilation", dilation, 1)
        self.return_indices = check.flag(type(self).__name__, "return_indices", return_indices)
        self.ceil_mode = check.flag(type(self).__name__, "ceil_mode", ceil_mode)

    def _options(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        if self.return_indices:
            return super().forward(input, needs_input_grad=needs_input_grad)
        return with_way_back(self._axes, input, *self._options().values())

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = [f"{name}={value}" for name, value in self._options().items()]
        return ", ".join(shown + other_than(return_indices=(self.return_indices, False)))


class MaxPool1d(_MaxPoolNd):
    """Maximum of windows over one axis; arguments, errors and output size are those of `MaxPool2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, output ``(N, C, L_out)``.

    Examples
    --------
    >>> MaxPool1d(2)(np.array([[1.0, 3.0, 2.0, 0.0]]))
    array([[3., 2.]])
    """

    _axes = 1
    _pool = staticmethod(F.max_pool1d)
    _pool_backward = staticmethod(F.max_pool1d_backward)


class MaxPool2d(_MaxPoolNd):
    """Maximum of windows over images.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, C, H_out, W_out)``, where along each axis, with
    floor or (``ceil_mode``) ceil::

        out = floor((in + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1

    Parameters
    ----------
    kernel_size : int or one int per axis
        The size of a window.
    stride : int or one int per axis, optional
        The step from window to window, the window's size where not given.
    padding : int, one int per axis or (lo, hi) pairs, default 0
        What to add at the borders; it never wins.
    dilation : int or one int per axis, default 1
        The step from element to element inside a window.
    return_indices : bool, default False
        Whether the output is a tuple: the maxima, and where they were in the input's plane, as `max_unpool2d` takes.
    ceil_mode : bool, default False
        Whether a last window may reach over the end (it must begin inside).

    Raises
    ------
    TypeError
        When a number is not an int.
    ValueError
        When a number is out of its range, or there are too many or too few.

    Examples
    --------
    >>> y, backward = MaxPool2d(2).forward(np.array([[[1.0, 4.0], [3.0, 2.0]]]))
    >>> y, backward(np.array([[[10.0]]]))
    (array([[[4.]]]), array([[[ 0., 10.],
            [ 0.,  0.]]]))
    """

    _axes = 2
    _pool = staticmethod(F.max_pool2d)
    _pool_backward = staticmethod(F.max_pool2d_backward)


class MaxPool3d(_MaxPoolNd):
    """Maximum of windows over volumes; arguments, errors and output size are those of `MaxPool2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, output ``(N, C, D_out, H_out, W_out)``.

    Examples
    --------
    >>> MaxPool3d((1, 2, 2))(np.ones((1, 3, 4, 6))).shape
    (1, 3, 2, 3)
    """

    _axes = 3
    _pool = staticmethod(F.max_pool3d)
    _pool_backward = staticmethod(F.max_pool3d_backward)


class _AvgPoolNd(PoolNd):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = window(self, kernel_size, stride, padding)
        self.ceil_mode = check.flag(type(self).__name__, "ceil_mode", ceil_mode)
        self.count_include_pad = check.flag(type(self).__name__, "count_include_pad", count_include_pad)
        if divisor_override is not None:
            divisor_override = check.integer(type(self).__name__, "divisor_override", divisor_override, 1)
        self.divisor_override = divisor_override

    def _options(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
        }

    def __call__(self, input: ArrayLike) -> Any:
        """Compute the output alone; nothing is kept."""
        return self._pool(input, **self._options())

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`. Keeps nothing of the input but its shape."""
        output = self(input)
        shape = np.shape(input)
        return output, lambda grad_output: self._pool_backward(grad_output, shape, **self._options())

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        others = other_than(
            ceil_mode=(self.ceil_mode, False),
            count_include_pad=(self.count_include_pad, True),
            divisor_override=(self.divisor_override, None),
        )
        return ", ".join([shown, *others])


class AvgPool1d(_AvgPoolNd):
    """Mean of windows over one axis; arguments, errors and output size are those of `AvgPool2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, output ``(N, C, L_out)``.

    Examples
    --------
    >>> AvgPool1d(2)(np.array([[1.0, 3.0, 2.0, 0.0]]))
    array([[2., 1.]])
    """

    _axes = 1
    _pool = staticmethod(F.avg_pool1d)
    _pool_backward = staticmethod(F.avg_pool1d_backward)


class AvgPool2d(_AvgPoolNd):
    """Mean of windows over images.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, C, H_out, W_out)``, where along each axis, with
    floor or (``ceil_mode``) ceil::

        out = floor((in + 2 * padding - kernel) / stride) + 1

    Parameters
    ----------
    kernel_size : int or one int per axis
        The size of a window.
    stride : int or one int per axis, optional
        The step from window to window, the window's size where not given.
    padding : int, one int per axis or (lo, hi) pairs, default 0
        What to add at the borders, as zeros.
    ceil_mode : bool, default False
        Whether a last window may reach over the end (it must begin inside).
    count_include_pad : bool, default True
        Whether padding counts in the number that the sum is divided by.
    divisor_override : int, optional
        This number instead.

    Raises
    ------
    TypeError
        When a number is not an int.
    ValueError
        When a number is out of its range, or there are too many or too few.

    Examples
    --------
    >>> y, backward = AvgPool2d(2).forward(np.array([[[1.0, 4.0], [3.0, 2.0]]]))
    >>> y, backward(np.array([[[1.0]]]))
    (array([[[2.5]]]), array([[[0.25, 0.25],
            [0.25, 0.25]]]))
    """

    _axes = 2
    _pool = staticmethod(F.avg_pool2d)
    _pool_backward = staticmethod(F.avg_pool2d_backward)


class AvgPool3d(_AvgPoolNd):
    """Mean of windows over volumes; arguments, errors and output size are those of `AvgPool2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, output ``(N, C, D_out, H_out, W_out)``.

    Examples
    --------
    >>> AvgPool3d((1, 2, 2))(np.ones((1, 3, 4, 6))).shape
    (1, 3, 2, 3)
    """

    _axes = 3
    _pool = staticmethod(F.avg_pool3d)
    _pool_backward = staticmethod(F.avg_pool3d_backward)


class _AdaptiveAvgPoolNd(PoolNd):
    def __init__(self, output_size: Any) -> None:
        self.output_size = _wanted(self, output_size)

    def __call__(self, input: ArrayLike) -> Any:
        """Compute the output alone; nothing is kept."""
        return self._pool(input, self.output_size)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`. Keeps nothing of the input but its shape."""
        y = self(input)
        shape, op = np.shape(input), self._pool_backward.__name__

        def backward(grad_output: ArrayLike) -> Any:
            _, (grad,) = check.data(op, grad_output=grad_output)
            check.grad(op, grad, y.shape)  # the operator itself takes any shape, for its output size
            return self._pool_backward(grad_output, shape)

        return y, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Mean pooling over one axis to a wanted size; the argument is that of `AdaptiveAvgPool2d`, for one axis.

    Examples
    --------
    >>> AdaptiveAvgPool1d(2)(np.array([[1.0, 3.0, 2.0, 0.0]]))
    array([[2., 1.]])
    """

    _axes = 1
    _pool = staticmethod(F.adaptive_avg_pool1d)
    _pool_backward = staticmethod(F.adaptive_avg_pool1d_backward)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Mean pooling over images to a wanted size, whatever the input's; ``AdaptiveAvgPool2d(1)`` is global pooling.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, C, *output_size)``. The window of output i along an
    axis goes from ``floor(i * in / out)`` to ``ceil((i + 1) * in / out)``.

    Parameters
    ----------
    output_size : int, or one int or None per axis
        The wanted size; None keeps that of the input.

    Raises
    ------
    TypeError
        When a size is neither an int nor None.
    ValueError
        When a size is not positive, or there are too many or too few.

    Examples
    --------
    >>> AdaptiveAvgPool2d((1, None))(np.ones((2, 3, 5, 7))).shape
    (2, 3, 1, 7)
    """

    _axes = 2
    _pool = staticmethod(F.adaptive_avg_pool2d)
    _pool_backward = staticmethod(F.adaptive_avg_pool2d_backward)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Mean pooling over volumes to a wanted size; the argument is that of `AdaptiveAvgPool2d`, for three axes.

    Examples
    --------
    >>> AdaptiveAvgPool3d(1)(np.ones((2, 3, 4, 5, 7))).shape
    (2, 3, 1, 1, 1)
    """

    _axes = 3
    _pool = staticmethod(F.adaptive_avg_pool3d)
    _pool_backward = staticmethod(F.adaptive_avg_pool3d_backward)


class _AdaptiveMaxPoolNd(_ByMaximum):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.output_size = _wanted(self, output_size)
        self.return_indices = check.flag(type(self).__name__, "return_indices", return_indices)

    def _options(self) -> dict[str, Any]:
        return {"output_size": self.output_size}

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = other_than(return_indices=(self.return_indices, False))
        return ", ".join([f"output_size={self.output_size}", *shown])


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Maximum pooling over one axis to a wanted size; arguments are those of `AdaptiveMaxPool2d`, for one axis.

    Examples
    --------
    >>> AdaptiveMaxPool1d(2)(np.array([[1.0, 3.0, 2.0, 0.0]]))
    array([[3., 2.]])
    """

    _axes = 1
    _pool = staticmethod(F.adaptive_max_pool1d)
    _pool_backward = staticmethod(F.adaptive_max_pool1d_backward)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Maximum pooling over images to a wanted size, whatever the input's.

    Windows and shapes are those of `AdaptiveAvgPool2d`.

    Parameters
    ----------
    output_size : int, or one int or None per axis
        The wanted size; None keeps that of the input.
    return_indices : bool, default False
        Whether the output is a tuple: the maxima, and where they were in the input's plane.

    Raises
    ------
    TypeError
        When a size is neither an int nor None.
    ValueError
        When a size is not positive, or there are too many or too few.

    Examples
    --------
    >>> AdaptiveMaxPool2d(1)(np.arange(12.0).reshape(1, 3, 4))
    array([[[11.]]])
    """

    _axes = 2
    _pool = staticmethod(F.adaptive_max_pool2d)
    _pool_backward = staticmethod(F.adaptive_max_pool2d_backward)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Maximum pooling over volumes to a wanted size; arguments are those of `AdaptiveMaxPool2d`, for three axes.

    Examples
    --------
    >>> AdaptiveMaxPool3d((None, 1, 1))(np.ones((2, 3, 4, 5, 7))).shape
    (2, 3, 4, 1, 1)
    """

    _axes = 3
    _pool = staticmethod(F.adaptive_max_pool3d)
    _pool_backward = staticmethod(F.adaptive_max_pool3d_backward)


def window(layer: PoolNd, kernel_size: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any]:
    """Return a window's size, step and padding, checked."""
    return (
        _one_or_all(layer, "kernel_size", kernel_size, 1),
        _one_or_all(layer, "stride", kernel_size if stride is None else stride, 1),
        _padding(layer, padding),
    )


def _padding(layer: PoolNd, padding: Any) -> Any:
    name = type(layer).__name__
    if isinstance(padding, str):
        raise ValueError(
            f"{name}: padding must be an int, one int per axis or (lo, hi) pairs, received padding={padding!r}"
        )
    paddings = check.padding_per_axis(name, padding, layer._axes)
    return paddings if np.ndim(padding) else paddings[0]


def _one_or_all(layer: PoolNd, name: str, value: Any, minimum: int) -> Any:
    """Return an int where one was given for all axes, and a tuple where one was given for each."""
    values = check.per_axis(type(layer).__name__, name, value, layer._axes, minimum)
    return values if np.ndim(value) else values[0]


def _wanted(layer: PoolNd, output_size: Any) -> Any:
    """Return a wanted output size, checked; None means the input's."""
    if not isinstance(output_size, tuple | list):
        return None if output_size is None else _one_or_all(layer, "output_size", output_size, 1)
    known = [1 if size is None else size for size in output_size]
    sizes = check.per_axis(type(layer).__name__, "output_size", known, layer._axes, 1)
    return tuple(None if given is None else size for given, size in zip(output_size, sizes, strict=True))
