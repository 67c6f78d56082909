"""Layers that normalise: by layer, by group, and across neighbouring channels; `batch_norm` holds those by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn._affine import Affine
from fastconv.nn.batch_norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from fastconv.nn.module import Backward, Module, other_dtype, other_than

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
]

# ---------------------------------------------------------------------------------------------------- by sample


class LayerNorm(Affine):
    """Layer normalisation: the last axes of each sample together get mean 0 and variance 1, then weight and bias.

    Shapes: input and output ``(*, *normalized_shape)``, weight and bias ``normalized_shape``.

    Parameters
    ----------
    normalized_shape : int or tuple of ints
        The shape of the last axes.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.
    elementwise_affine : bool, default True
        Whether there is a weight, at first 1, and a bias, at first 0.
    bias : bool, default True
        False leaves out the bias.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.

    Raises
    ------
    ValueError
        When a number does not fit.
    TypeError
        When an argument is not of its type.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016.

    Examples
    --------
    >>> LayerNorm(2, eps=0.0)(np.array([[3.0, 5.0], [0.0, 4.0]], np.float32))
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    _switch = "elementwise_affine"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.normalized_shape = check.normalized("LayerNorm", normalized_shape)
        self.elementwise_affine = check.flag("LayerNorm", "elementwise_affine", elementwise_affine)
        self._create(self.normalized_shape, eps, elementwise_affine, bias, dtype)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        weight, bias = self._arrays()
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        (weight, bias), needs = self._arrays(), self._needs(needs_input_grad)

        def backward(grad_output: ArrayLike) -> Any:
            gradients = F.layer_norm_backward(grad_output, input, self.normalized_shape, weight, self.eps, needs=needs)
            return self._lead_back(gradients)

        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps), backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        return ", ".join([shown, f"bias={self.bias is not None}", *other_dtype(self.weight)])


class GroupNorm(Affine):
    """Group normalisation: groups of channels of each sample get mean 0 and variance 1, each channel weight and bias.

    Shapes: input and output ``(N, C, *)``, weight and bias ``(C,)``.

    Parameters
    ----------
    num_groups, num_channels : int
        Numbers of groups and of channels, C, which is a multiple of it.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.
    affine : bool, default True
        Whether there is a weight, at first 1, and a bias, at first 0.
    bias : bool, default True
        False leaves out the bias.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    channel_axis : int, default 1
        The axis of channels: -3 takes images with or without a batch axis.

    Raises
    ------
    ValueError
        When a number does not fit.
    TypeError
        When an argument is not of its type.

    References
    ----------
    Y. Wu, K. He, "Group Normalization", ECCV 2018.

    Examples
    --------
    >>> GroupNorm(2, 4)(np.ones((2, 4, 8, 8), np.float32)).shape
    (2, 4, 8, 8)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        channel_axis: int = 1,
    ) -> None:
        self.num_groups = check.integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = check.integer("GroupNorm", "num_channels", num_channels, 1)
        self.channel_axis = check.integer("GroupNorm", "channel_axis", channel_axis)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"GroupNorm: num_channels must be a multiple of num_groups, received {num_channels=}, {num_groups=}"
            )
        self.affine = check.flag("GroupNorm", "affine", affine)
        self._create((self.num_channels,), eps, affine, bias, dtype)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        weight, bias = self._arrays()
        return F.group_norm(input, self.num_groups, weight, bias, self.eps, channel_axis=self.channel_axis)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        (weight, bias), needs, axis = self._arrays(), self._needs(needs_input_grad), self.channel_axis

        def backward(grad_output: ArrayLike) -> Any:
            gradients = F.group_norm_backward(
                grad_output, input, self.num_groups, weight, self.eps, channel_axis=axis, needs=needs
            )
            return self._lead_back(gradients)

        return F.group_norm(input, self.num_groups, weight, bias, self.eps, channel_axis=axis), backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = [f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"]
        shown += [f"bias={self.bias is not None}", *other_than(channel_axis=(self.channel_axis, 1))]
        return ", ".join(shown + other_dtype(self.weight))


# ---------------------------------------------------------------------------------------------------- across channels


class LocalResponseNorm(Module):
    """Local response normalisation: divides each value by a power of the squares around it in neighbouring channels.

    ``y[c] = x[c] / (k + alpha / size * sum of x[i]**2 for c - size//2 <= i <= c + (size-1)//2)**beta``

    Shapes: input and output ``(N, C, *)``.

    Parameters
    ----------
    size : int
        Number of neighbouring channels.
    alpha, beta, k : float
        By default 1e-4, 0.75 and 1.
    channel_axis : int, default 1
        The axis of channels: -3 takes images with or without a batch axis.

    Raises
    ------
    ValueError
        When a number does not fit.
    TypeError
        When an argument is not of its type.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS
    2012, section 3.3.

    Examples
    --------
    >>> LocalResponseNorm(1, alpha=1.0, beta=1.0)(np.array([[[2.0]]]))
    array([[[0.4]]])
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, channel_axis: int = 1
    ) -> None:
        name = "LocalResponseNorm"
        self.size = check.integer(name, "size", size, 1)
        self.alpha, self.beta = check.real(name, "alpha", alpha), check.real(name, "beta", beta)
        self.k, self.channel_axis = check.real(name, "k", k), check.integer(name, "channel_axis", channel_axis)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k, channel_axis=self.channel_axis)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""

        def backward(grad_output: ArrayLike) -> NDArray[Any]:
            return F.local_response_norm_backward(
                grad_output, input, self.size, self.alpha, self.beta, self.k, channel_axis=self.channel_axis
            )

        return self(input), backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
        return ", ".join([shown, *other_than(channel_axis=(self.channel_axis, 1))])
