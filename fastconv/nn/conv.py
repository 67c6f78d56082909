"""Convolution layers and their transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.functional._fused import activation_backward, activation_name
from fastconv.nn._weighted import WeightedModule
from fastconv.nn.init import Generator
from fastconv.nn.module import Backward, other_dtype

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvNd(WeightedModule):
    """What convolutions over one, two and three axes have in common."""

    _axes: ClassVar[int]
    _conv: ClassVar[Callable[..., NDArray[Any]]]
    _conv_backward: ClassVar[Callable[..., tuple[Any, Any, Any]]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
        algorithm: str = "auto",
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
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
        modes = ("zeros", "reflect", "replicate", "circular")
        self.padding_mode = check.choice(name, "padding_mode", padding_mode, modes)
        self.activation = activation_name(name, activation)
        self.algorithm = algorithm
        self._create(self._weight_shape(), self.out_channels, bias, dtype, generator)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _frozen_weight(self) -> Any:
        return F.freeze_weight(self.weight.data)

    def _answer(self, input: ArrayLike, activation: str | None) -> NDArray[Any]:
        padded, _, options = self._prepare(input)
        if activation is not None:
            options["activation"] = activation
        return self._conv(padded, *self._arrays(), **options)

    def _answer_and_way_back(
        self, input: ArrayLike, needs_input_grad: bool, activation: str | None
    ) -> tuple[NDArray[Any], Backward]:
        weight, bias = self._arrays()
        needs = self._needs(needs_input_grad)
        padded, pads, options = self._prepare(input)
        mode = self.padding_mode
        ends = {} if activation is None else {"activation": activation}
        output = self._conv(padded, weight, bias, **options, **ends)

        def backward(grad_output: ArrayLike) -> Any:
            grad_output = activation_backward(grad_output, output, activation)
            grad_padded, *grads = self._conv_backward(grad_output, padded, weight, needs=needs, **options)
            self._add_grads(*grads)
            if grad_padded is None or pads is None:
                return grad_padded
            return F.pad_backward(grad_padded, pads, mode=mode)

        return output, backward

    def _prepare(self, input: ArrayLike) -> tuple[Any, list[int] | None, dict[str, Any]]:
        """Return the input (padded, where not by zeros), the amounts if so, and the operator's options."""
        options = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "algorithm": self.algorithm,
        }
        if self.padding_mode == "zeros":
            return input, None, options
        array = np.asarray(input)
        name, n = type(self).__name__, self._axes
        check.shape_of(name, "input", array, n)
        pairs = check.padding_pairs(name, self.padding, array.shape[-n:], self.kernel_size, self.stride, self.dilation)
        pads = [amount for pair in reversed(pairs) for amount in pair]  # F.pad begins with the last axis
        return F.pad(array, pads, mode=self.padding_mode), pads, options | {"padding": 0}

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        ones = (1,) * self._axes
        shown = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * self._axes:
            shown.append(f"padding={self.padding}")
        if self.dilation != ones:
            shown.append(f"dilation={self.dilation}")
        shown += self._extra_arguments()
        if self.groups != 1:
            shown.append(f"groups={self.groups}")
        if self.bias is None:
            shown.append("bias=False")
        if self.padding_mode != "zeros":
            shown.append(f"padding_mode={self.padding_mode}")
        if self.activation is not None:
            shown.append(f"activation={self.activation}")
        if self.algorithm != "auto":
            shown.append(f"algorithm={self.algorithm}")
        return ", ".join(shown + other_dtype(self.weight))

    def _extra_arguments(self) -> list[str]:
        return []


class Conv1d(_ConvNd):
    """Convolution over one axis, such as the time of a signal.

    Arguments, errors and output size are those of `Conv2d`, with one axis.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, output ``(N, O, L_out)``, weight ``(O, C / groups, kernel)``, bias
    ``(O,)``.

    Examples
    --------
    >>> layer = Conv1d(1, 1, 3, padding=1, bias=False)
    >>> layer.weight.data[...] = [[[1, 0, -1]]]
    >>> layer(np.array([[0, 1, 3, 2, 0]], np.float32)), Conv1d(1, 1, 3, 2, 1)(np.ones((1, 5), np.float32)).shape
    (array([[-1., -3., -1.,  3.,  2.]], dtype=float32), (1, 3))
    """

    _axes = 1
    _rectifies = True
    _conv = staticmethod(F.conv1d)
    _conv_backward = staticmethod(F.conv1d_backward)


class Conv2d(_ConvNd):
    """Convolution over images (cross-correlation: the kernel is not flipped).

    N batch, C channels in, O channels out, H and W height and width.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, O, H_out, W_out)``, weight
    ``(O, C / groups, kernel_h, kernel_w)``, bias ``(O,)``, where along each axis::

        out = floor((in + pad_lo + pad_hi - dilation * (kernel - 1) - 1) / stride) + 1

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or one int per axis
        The size of the kernel.
    stride : int or one int per axis, default 1
        The step from window to window.
    padding : int, one int per axis, (lo, hi) pairs, "valid" or "same", default 0
        What to add at the borders. "same" gives ceil(in / stride) outputs, also with strides and even kernels (an odd
        amount puts the extra one at the end).
    dilation : int or one int per axis, default 1
        The step from tap to tap inside a window.
    groups : int, default 1
        Channels in and out fall in so many groups, each output reading its own group only.
    bias : bool, default True
        Whether to add one number per channel out.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What to pad with.
    activation : {None, "relu", "leaky_relu", "sigmoid", "tanh"}, default None
        What the output passes through: the first two as it is stored, the others in place. The way back needs the
        output alone. (A `ReLU` that follows in a `Sequential` is computed so by itself.)
    algorithm : str, default "auto"
        As `fastconv.conv2d` takes it.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed. They are uniform in +-1/sqrt(C / groups * kernel_h * kernel_w),
        as torch's.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is out of its range, channels do not divide into the groups, or a name is unknown.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

    Examples
    --------
    >>> layer = Conv2d(3, 10, 5, padding=2, generator=0)
    >>> layer
    Conv2d(3, 10, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    >>> y, backward = layer.forward(np.ones((1, 3, 32, 32), np.float32))
    >>> y.shape, backward(np.ones_like(y)).shape, float(layer.bias.grad[0])
    ((1, 10, 32, 32), (1, 3, 32, 32), 1024.0)
    """

    _axes = 2
    _rectifies = True
    _conv = staticmethod(F.conv2d)
    _conv_backward = staticmethod(F.conv2d_backward)


class Conv3d(_ConvNd):
    """Convolution over volumes or video.

    Arguments, errors and output size are those of `Conv2d`, with three axes.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, output ``(N, O, D_out, H_out, W_out)``, weight
    ``(O, C / groups, kernel_d, kernel_h, kernel_w)``, bias ``(O,)``.

    Examples
    --------
    >>> Conv3d(1, 2, 3, stride=(1, 2, 2))(np.ones((1, 4, 9, 9), np.float32)).shape
    (2, 2, 4, 4)
    """

    _axes = 3
    _rectifies = True
    _conv = staticmethod(F.conv3d)
    _conv_backward = staticmethod(F.conv3d_backward)


class _ConvTransposeNd(_ConvNd):
    """What transposed convolutions over one, two and three axes have in common."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
        algorithm: str = "auto",
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        check.choice(name, "padding_mode", padding_mode, ("zeros",))
        if isinstance(padding, str):
            raise ValueError(f"{name}: padding must be ints or (lo, hi) pairs, received padding={padding!r}")
        self.output_padding = check.per_axis(name, "output_padding", output_padding, self._axes, 0)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            activation=activation,
            algorithm=algorithm,
            dtype=dtype,
            generator=generator,
        )
        for extra, step, tap in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(step, tap):
                raise ValueError(
                    f"{name}: output_padding must be smaller than stride or dilation, received "
                    f"output_padding={output_padding!r}, stride={stride!r}, dilation={dilation!r}"
                )

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def _prepare(self, input: ArrayLike) -> tuple[Any, list[int] | None, dict[str, Any]]:
        padded, pads, options = super()._prepare(input)
        return padded, pads, options | {"output_padding": self.output_padding}

    def _extra_arguments(self) -> list[str]:
        return [f"output_padding={self.output_padding}"] if any(self.output_padding) else []


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution over one axis; arguments, errors and output size are those of `ConvTranspose2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, output ``(N, O, L_out)``, weight ``(C, O / groups, kernel)``.

    Examples
    --------
    >>> ConvTranspose1d(4, 2, 4, stride=2, padding=1)(np.ones((1, 4, 8), np.float32)).shape
    (1, 2, 16)
    """

    _axes = 1
    _rectifies = True
    _conv = staticmethod(F.conv_transpose1d)
    _conv_backward = staticmethod(F.conv_transpose1d_backward)


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution over images: what leads gradients back through a `Conv2d`, as a layer that enlarges.

    N batch, C channels in, O channels out, H and W height and width.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, O, H_out, W_out)``, weight
    ``(C, O / groups, kernel_h, kernel_w)``, bias ``(O,)``, where along each axis::

        out = (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or one int per axis
        The size of the kernel.
    stride : int or one int per axis, default 1
        The step from window to window in the output.
    padding : int or one int per axis, default 0
        What the output lacks at each border.
    output_padding : int or one int per axis, default 0
        What the output has more at the end: of the sizes that a strided convolution takes to one, which is meant.
    groups : int, default 1
        Channels in and out fall in so many groups.
    bias : bool, default True
        Whether to add one number per channel out.
    dilation : int or one int per axis, default 1
        The step from tap to tap inside a window.
    padding_mode : {"zeros"}
        The only mode, as in torch.
    activation : {None, "relu", "leaky_relu", "sigmoid", "tanh"}, default None
        What the output passes through, in place.
    algorithm : str, default "auto"
        As `fastconv.conv_transpose2d` takes it.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed. They are uniform in +-1/sqrt(O / groups * kernel_h * kernel_w),
        as torch's.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is out of its range, channels do not divide into the groups, or `output_padding` is neither
        below the stride nor below the dilation.

    References
    ----------
    Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional networks", 2010.

    Examples
    --------
    >>> ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1)(np.ones((1, 16, 7, 7), np.float32)).shape
    (1, 8, 14, 14)
    """

    _axes = 2
    _rectifies = True
    _conv = staticmethod(F.conv_transpose2d)
    _conv_backward = staticmethod(F.conv_transpose2d_backward)


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution over volumes; arguments, errors and output size are those of `ConvTranspose2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, output ``(N, O, D_out, H_out, W_out)``, weight
    ``(C, O / groups, kernel_d, kernel_h, kernel_w)``.

    Examples
    --------
    >>> ConvTranspose3d(4, 2, 2, stride=2)(np.ones((1, 4, 2, 3, 4), np.float32)).shape
    (1, 2, 4, 6, 8)
    """

    _axes = 3
    _rectifies = True
    _conv = staticmethod(F.conv_transpose3d)
    _conv_backward = staticmethod(F.conv_transpose3d_backward)
