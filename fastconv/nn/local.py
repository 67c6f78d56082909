"""Layers whose outputs do not all share one kernel: local connection, and tiled convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn._weighted import WeightedModule
from fastconv.nn.init import Generator, kaiming_uniform_, make_generator
from fastconv.nn.module import Backward, Parameter, other_dtype

__all__ = ["LocallyConnected1d", "LocallyConnected2d", "TiledConv2d"]


class _LocalNd(WeightedModule):
    """What these layers have in common; `_kernels` of them are used along each axis."""

    _axes: ClassVar[int]
    _operator: ClassVar[Callable[..., NDArray[Any]]]
    _operator_backward: ClassVar[Callable[..., tuple[Any, Any, Any]]]

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> None:
        name, n = type(self).__name__, self._axes
        self.in_channels = check.integer(name, "in_channels", in_channels, 1)
        self.out_channels = check.integer(name, "out_channels", out_channels, 1)
        self.kernel_size = check.per_axis(name, "kernel_size", kernel_size, n, 1)
        self.stride = check.per_axis(name, "stride", stride, n, 1)
        self.padding = check.padding_per_axis(name, padding, n)
        self.dilation = check.per_axis(name, "dilation", dilation, n, 1)
        self.groups = check.integer(name, "groups", groups, 1)
        for argument, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(
                    f"{name}: {argument} must be a multiple of groups, received {argument}={channels}, groups={groups}"
                )

    def _create_kernels(self, kernels: tuple[int, ...], bias: bool, dtype: DTypeLike, generator: Generator) -> None:
        """Make weight and bias; the first values of each kernel are those of a convolution's."""
        name, real = type(self).__name__, check.float_dtype(type(self).__name__, dtype)
        kernel = (self.in_channels // self.groups, *self.kernel_size)
        self.weight = Parameter(check.result(name, (*kernels, self.out_channels, *kernel), real))
        self.bias = None
        if check.flag(name, "bias", bias):
            self.bias = Parameter(check.result(name, (self.out_channels, *kernels), real))
        source = make_generator(name, generator)
        kaiming_uniform_(self.weight.data.reshape(-1, *kernel), a=math.sqrt(5.0), generator=source)  # a view
        if self.bias is not None:
            bound = 1.0 / math.sqrt(math.prod(kernel))
            self.bias.data[...] = source.uniform(-bound, bound, self.bias.shape)

    def _options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return self._operator(input, *self._arrays(), **self._options())

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        weight, bias = self._arrays()
        needs, options = self._needs(needs_input_grad), self._options()
        output = self._operator(input, weight, bias, **options)

        def backward(grad_output: ArrayLike) -> Any:
            grad_input, *grads = self._operator_backward(grad_output, input, weight, needs=needs, **options)
            self._add_grads(*grads)
            return grad_input

        return output, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = [f"{self.in_channels}, {self.out_channels}, {self._own_argument()}, kernel_size={self.kernel_size}"]
        shown.append(f"stride={self.stride}")
        if self.padding != (0,) * self._axes:
            shown.append(f"padding={self.padding}")
        if self.dilation != (1,) * self._axes:
            shown.append(f"dilation={self.dilation}")
        if self.groups != 1:
            shown.append(f"groups={self.groups}")
        if self.bias is None:
            shown.append("bias=False")
        return ", ".join(shown + other_dtype(self.weight))

    def _own_argument(self) -> str:
        raise NotImplementedError


class _LocallyConnectedNd(_LocalNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Any,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        self.input_size = check.per_axis(name, "input_size", input_size, self._axes, 1)
        self._set_up(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        weight = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        image = (1, self.in_channels, *self.input_size)
        options = (self.stride, self.padding, self.dilation, self.groups)
        sizes = check.conv_problem(name, self._axes, image, True, weight, *options)
        self._create_kernels(tuple(axis.out for axis in sizes.axes), bias, dtype, generator)

    def _own_argument(self) -> str:
        return f"input_size={self.input_size}"


class LocallyConnected1d(_LocallyConnectedNd):
    """Local connection over one axis; arguments, errors and output size are those of `LocallyConnected2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, output ``(N, O, L_out)``, weight ``(L_out, O, C / groups, kernel)``, bias
    ``(O, L_out)``.

    Examples
    --------
    >>> layer = LocallyConnected1d(2, 3, 8, 3)
    >>> layer.weight.shape, layer(np.ones((5, 2, 8), np.float32)).shape
    ((6, 3, 2, 3), (5, 3, 6))
    """

    _axes = 1
    _operator = staticmethod(F.locally_connected1d)
    _operator_backward = staticmethod(F.locally_connected1d_backward)


class LocallyConnected2d(_LocallyConnectedNd):
    """Local connection over images: each output position has a kernel of its own.

    N batch, C channels in, O channels out, H and W height and width.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, O, H_out, W_out)``, weight
    ``(H_out, W_out, O, C / groups, kernel_h, kernel_w)``, bias ``(O, H_out, W_out)``, where along each axis::

        out = floor((in + pad_lo + pad_hi - dilation * (kernel - 1) - 1) / stride) + 1

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    input_size : int or one int per axis
        H and W: the number of kernels follows from it.
    kernel_size : int or one int per axis
        The size of each kernel.
    stride : int or one int per axis, default 1
        The step from window to window.
    padding : int, one int per axis, (lo, hi) pairs, "valid" or "same", default 0
        Zeros at the borders.
    dilation : int or one int per axis, default 1
        The step from tap to tap inside a window.
    groups : int, default 1
        Channels in and out fall in so many groups, each output reading its own group only.
    bias : bool, default True
        Whether to add one number per output.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed. They are uniform in +-1/sqrt(C / groups * kernel_h * kernel_w).

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is out of its range, channels do not divide into the groups, or the kernel does not fit.

    References
    ----------
    LeCun, "Generalization and network design strategies", 1989.

    Examples
    --------
    >>> layer = LocallyConnected2d(3, 4, 8, 3, padding=1, generator=0)
    >>> layer
    LocallyConnected2d(3, 4, input_size=(8, 8), kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    >>> y, backward = layer.forward(np.ones((2, 3, 8, 8), np.float32))
    >>> y.shape, backward(np.ones_like(y)).shape, float(layer.bias.grad[0, 0, 0])
    ((2, 4, 8, 8), (2, 3, 8, 8), 2.0)
    """

    _axes = 2
    _operator = staticmethod(F.locally_connected2d)
    _operator_backward = staticmethod(F.locally_connected2d_backward)


class TiledConv2d(_LocalNd):
    """Tiled convolution: kernels used in turn along each axis, between `Conv2d` and `LocallyConnected2d`.

    Shapes are those of `Conv2d`, but for the weight ``(t_h, t_w, O, C / groups, kernel_h, kernel_w)`` and the bias
    ``(O, t_h, t_w)``.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or one int per axis
        The size of each kernel.
    tiles : int or one int per axis
        t_h and t_w: outputs so many rows or columns apart share their kernel.
    stride, padding, dilation, groups, bias, dtype, generator
        As for `LocallyConnected2d`.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is out of its range, or channels do not divide into the groups.

    References
    ----------
    Le, Ngiam, Chen, Chia, Koh and Ng, "Tiled convolutional neural networks", 2010.

    Examples
    --------
    >>> layer = TiledConv2d(3, 10, 5, 2, padding=2)
    >>> layer.weight.shape, layer(np.ones((1, 3, 32, 32), np.float32)).shape
    ((2, 2, 10, 3, 5, 5), (1, 10, 32, 32))
    """

    _axes = 2
    _operator = staticmethod(F.tiled_conv2d)
    _operator_backward = staticmethod(F.tiled_conv2d_backward)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        tiles: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        self.tiles = check.per_axis("TiledConv2d", "tiles", tiles, 2, 1)
        self._set_up(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self._create_kernels(self.tiles, bias, dtype, generator)

    def _own_argument(self) -> str:
        return f"tiles={self.tiles}"
