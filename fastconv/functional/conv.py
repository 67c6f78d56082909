"""Convolution and transposed convolution, each beside its gradients."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastconv._check import Array
from fastconv.functional._conv import FrozenWeight, Ints, Padding, backward, forward, freeze_weight
from fastconv.functional._docs import documented

__all__ = [
    "FrozenWeight",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv3d",
    "conv3d_backward",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "conv_transpose3d",
    "conv_transpose3d_backward",
    "freeze_weight",
]

_FORWARD = """Convolution (cross-correlation: the kernel is not flipped) over <word>.

``y[n, k, j] = bias[k] + sum over c, t of weight[k, c, t] * x[n, c, j*stride + t*dilation - padding]``, with `c` over
the channels of k's group and zeros outside the input.

Axes: N batch, C input channels, K output channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
weight : array_like of shape (K, C / groups, <k>) or FrozenWeight
    The kernels, OIHW.
bias : array_like of shape (K,), optional
    Added to each output channel.
stride, dilation : int or tuple of ints, default 1
    One for all axes, or one for each.
padding : int, tuple of ints, tuple of (lo, hi) pairs, "valid" or "same", default 0
    Zeros around the input, in elements. ``"same"`` gives ``ceil(size / stride)`` outputs, the odd zero at the end (the
    SAME_UPPER rule).
groups : int, default 1
    Input and output channels are cut into this many groups that do not see each other; C gives depthwise convolution.
algorithm : {"auto", "direct", "im2col", "col2im", "depthwise", "grouped", "winograd", "naive"}, default "auto"
    ``"direct"`` makes no patches, ``"im2col"`` multiplies with patches packed panel by panel, ``"col2im"`` adds the
    products of pixels and taps to a few result channels (weight gradient: as "direct"), ``"depthwise"`` is for
    few input channels a group, ``"grouped"`` for many groups of few channels, ``"winograd"`` does kernels
    of 3x3 and 5x5 along the last two axes, with stride 1 there, in a quarter (5x5: 36 of 100) of the multiplications
    (its largest error is about 1e-5 of the result's root mean square in float32, so that `fastconv.set_precision` can
    keep "auto" from taking it), ``"naive"`` is the NumPy reference.
    :func:`fastconv.explain` tells what ``"auto"`` takes.
out : ndarray, optional
    Where to write the result; of the result's shape and dtype.
activation : {None, "relu", "leaky_relu", "sigmoid", "tanh"}, default None
    What the result passes through: ``max(y, 0)`` or, where y < 0, ``0.01 y`` as it is stored, or one of the other
    functions in place afterwards. Its gradient follows from the result, e.g. by :func:`relu_backward` of it, so that
    nothing else is kept.

Returns
-------
ndarray of shape (N, K, <out>) or (K, <out>)
    Each side is ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``. float32 and float64 compute
    natively, mixed inputs promote as NumPy's, float16 computes in float32 and is returned as float16. The bits do not
    depend on the number of threads. NaN and infinities propagate; whether a weight that is not finite does so where it
    meets only the padding depends on the algorithm.

Raises
------
ValueError
    If shapes or options do not fit; the message names the argument, the value and the rule.
TypeError
    If an array is not of a floating dtype above, or an option is not of its type.
MemoryError
    If result or workspace cannot be had.

References
----------
.. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, 2016.
.. [2] J. Zhang, F. Franchetti, T. M. Low, "High Performance Zero-Memory Overhead Direct Convolutions", ICML 2018
   ("direct").
.. [3] K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
   2006 ("im2col").
.. [4] A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 ("winograd").

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> w = np.ones((4, 3, <kshape>), np.float32)
>>> fc.conv<n>d(x, w).shape
(1, 4, <oshape>)
>>> fc.conv<n>d(x, w, stride=2, padding="same").shape
(1, 4, <half>)
"""

_BACKWARD = """Gradients of :func:`conv<n>d` with respect to input, weight and bias.

Axes: N batch, C input channels, K output channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, K, <out>) or (K, <out>)
    Gradient of a scalar with respect to the convolution's result.
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    What the convolution was given.
weight : array_like of shape (K, C / groups, <k>) or FrozenWeight
    What the convolution was given.
stride, padding, dilation, groups, algorithm
    As for :func:`conv<n>d`.
needs : tuple of three bools, default (True, True, True)
    Which gradients to compute: of input, weight, bias.

Returns
-------
tuple of (grad_input, grad_weight, grad_bias)
    ndarrays of the shapes of input and weight and of shape (K,); None where not needed.

Raises
------
ValueError
    If shapes or options do not fit, or grad_output does not have the shape of the forward result, whose side is
    ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``.
TypeError
    If an array is not float16, float32 or float64.
MemoryError
    If result or workspace cannot be had.

Notes
-----
The input gradient with stride s is computed as a stride-1 convolution for each residue modulo s (sub-pixel convolution
[1]_), so no zeros are inserted. The weight gradient is summed in parts whose number depends on the shape only.

References
----------
.. [1] W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
   Neural Network", CVPR 2016.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> w = np.ones((4, 3, <kshape>), np.float32)
>>> gx, gw, gb = fc.conv<n>d_backward(np.ones_like(fc.conv<n>d(x, w)), x, w, needs=(True, True, False))
>>> gx.shape == x.shape, gw.shape == w.shape, gb is None
(True, True, True)
"""

_TRANSPOSE = """Transposed convolution over <word>: the input gradient of :func:`conv<n>d` as an operator.

Axes: N batch, C input channels, K output channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64.
weight : array_like of shape (C, K / groups, <k>) or FrozenWeight
    The kernels, IOHW.
bias : array_like of shape (K,), optional
    Added to each output channel.
stride, dilation : int or tuple of ints, default 1
    Of the convolution that is transposed.
padding : int, tuple of ints or tuple of (lo, hi) pairs, default 0
    Of the convolution that is transposed: takes elements away from the result.
output_padding : int or tuple of ints, default 0
    Makes the result longer at its end; smaller than stride or dilation.
groups : int, default 1
    As for :func:`conv<n>d`.
algorithm, out, activation
    As for :func:`conv<n>d`; every activation goes over the result in place.

Returns
-------
ndarray of shape (N, K, <out>) or (K, <out>)
    Each side is ``(size - 1) * stride - lo - hi + dilation * (kernel - 1) + output_padding + 1``.

Raises
------
ValueError
    If shapes or options do not fit.
TypeError
    If an array is not float16, float32 or float64.
MemoryError
    If result or workspace cannot be had.

References
----------
.. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, 2016.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <half>), np.float32)
>>> fc.conv_transpose<n>d(x, np.ones((3, 2, <kshape>), np.float32), stride=2, padding=1, output_padding=1).shape
(1, 2, <shape>)
"""

_TRANSPOSE_BACKWARD = """Gradients of :func:`conv_transpose<n>d` with respect to input, weight and bias.

Axes: N batch, C input channels, K output channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, K, <out>) or (K, <out>)
    Gradient of a scalar with respect to the result, whose side is
    ``(size - 1) * stride - lo - hi + dilation * (kernel - 1) + output_padding + 1``.
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    What the forward call was given.
weight : array_like of shape (C, K / groups, <k>) or FrozenWeight
    What the forward call was given.
stride, padding, output_padding, groups, dilation, algorithm
    As for :func:`conv_transpose<n>d`.
needs : tuple of three bools, default (True, True, True)
    Which gradients to compute: of input, weight, bias.

Returns
-------
tuple of (grad_input, grad_weight, grad_bias)
    ndarrays of the shapes of input and weight and of shape (K,); None where not needed.

Raises
------
ValueError
    If shapes or options do not fit, or grad_output does not have the shape of the forward result.
TypeError
    If an array is not float16, float32 or float64.
MemoryError
    If result or workspace cannot be had.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x, w = np.ones((1, 3, <half>), np.float32), np.ones((3, 2, <kshape>), np.float32)
>>> y = fc.conv_transpose<n>d(x, w, stride=2)
>>> [g.shape for g in fc.conv_transpose<n>d_backward(y, x, w, stride=2)] == [x.shape, w.shape, (2,)]
True
"""


@documented(_FORWARD, 1)
def conv1d(
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    options = (stride, padding, dilation, groups, algorithm, out)
    return forward("conv1d", 1, input, weight, bias, *options, activation=activation)


@documented(_BACKWARD, 1)
def conv1d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
    algorithm: str = "auto",
) -> tuple[Any, Any, Any]:
    return backward(
        "conv1d_backward", 1, grad_output, input, weight, stride, padding, dilation, groups, needs, algorithm
    )


@documented(_FORWARD, 2)
def conv2d(
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    options = (stride, padding, dilation, groups, algorithm, out)
    return forward("conv2d", 2, input, weight, bias, *options, activation=activation)


@documented(_BACKWARD, 2)
def conv2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
    algorithm: str = "auto",
) -> tuple[Any, Any, Any]:
    return backward(
        "conv2d_backward", 2, grad_output, input, weight, stride, padding, dilation, groups, needs, algorithm
    )


@documented(_FORWARD, 3)
def conv3d(
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    options = (stride, padding, dilation, groups, algorithm, out)
    return forward("conv3d", 3, input, weight, bias, *options, activation=activation)


@documented(_BACKWARD, 3)
def conv3d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
    algorithm: str = "auto",
) -> tuple[Any, Any, Any]:
    return backward(
        "conv3d_backward", 3, grad_output, input, weight, stride, padding, dilation, groups, needs, algorithm
    )


@documented(_TRANSPOSE, 1)
def conv_transpose1d(
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    return forward(
        "conv_transpose1d",
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        algorithm,
        out,
        True,
        output_padding,
        activation,
    )


@documented(_TRANSPOSE_BACKWARD, 1)
def conv_transpose1d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
    algorithm: str = "auto",
) -> tuple[Any, Any, Any]:
    return backward(
        "conv_transpose1d_backward",
        1,
        grad_output,
        input,
        weight,
        stride,
        padding,
        dilation,
        groups,
        needs,
        algorithm,
        True,
        output_padding,
    )


@documented(_TRANSPOSE, 2)
def conv_transpose2d(
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    return forward(
        "conv_transpose2d",
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        algorithm,
        out,
        True,
        output_padding,
        activation,
    )


@documented(_TRANSPOSE_BACKWARD, 2)
def conv_transpose2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
    algorithm: str = "auto",
) -> tuple[Any, Any, Any]:
    return backward(
        "conv_transpose2d_backward",
        2,
        grad_output,
        input,
        weight,
        stride,
        padding,
        dilation,
        groups,
        needs,
        algorithm,
        True,
        output_padding,
    )


@documented(_TRANSPOSE, 3)
def conv_transpose3d(
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str = "auto",
    out: Array | None = None,
    activation: str | None = None,
) -> Array:
    return forward(
        "conv_transpose3d",
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        algorithm,
        out,
        True,
        output_padding,
        activation,
    )


@documented(_TRANSPOSE_BACKWARD, 3)
def conv_transpose3d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike | FrozenWeight,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
    algorithm: str = "auto",
) -> tuple[Any, Any, Any]:
    return backward(
        "conv_transpose3d_backward",
        3,
        grad_output,
        input,
        weight,
        stride,
        padding,
        dilation,
        groups,
        needs,
        algorithm,
        True,
        output_padding,
    )
