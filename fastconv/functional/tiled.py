"""Tiled convolution, beside its gradients: kernels used in turn, between convolution and local connection."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastconv._check import Array
from fastconv.functional._conv import Ints, Padding
from fastconv.functional._local import backward, forward

__all__ = ["tiled_conv2d", "tiled_conv2d_backward"]


def tiled_conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Tiled convolution: tH x tW kernels used in turn, so that outputs tH rows or tW columns apart share theirs.

    ``y[n, k, i, j] = bias[k, i % tH, j % tW] + sum over c, u, v of weight[i % tH, j % tW, k, c, u, v] *
    x[n, c, i*stride + u*dilation - padding, j*stride + v*dilation - padding]``, with `c` over the channels of k's group
    and zeros outside the input. One kernel makes it :func:`conv2d`, a kernel for each output
    :func:`locally_connected2d`.

    Axes: N batch, C input channels, K output channels, H, W spatial; tH x tW kernels.

    Parameters
    ----------
    input : array_like of shape (N, C, H, W) or (C, H, W)
        float16, float32 or float64; any strides, read-only or not. Never changed.
    weight : array_like of shape (tH, tW, K, C / groups, kH, kW)
        The kernels, each OIHW.
    bias : array_like of shape (K, tH, tW), optional
        One number for each output channel and kernel.
    stride, dilation : int or tuple of ints, default 1
        One for both axes, or one for each.
    padding : int, tuple of ints, tuple of (lo, hi) pairs, "valid" or "same", default 0
        Zeros around the input, in elements. ``"same"`` gives ``ceil(size / stride)`` outputs, the odd zero at the end.
    groups : int, default 1
        Input and output channels are cut into this many groups that do not see each other.
    out : ndarray, optional
        Where to write the result; of the result's shape and dtype.

    Returns
    -------
    ndarray of shape (N, K, Ho, Wo) or (K, Ho, Wo)
        Each side is ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``. float32 and float64 compute
        natively, mixed inputs promote as NumPy's, float16 computes in float32 and is returned as float16. The bits do
        not depend on the number of threads. Precision is that of a plain sum.

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
    .. [1] Q. V. Le, J. Ngiam, Z. Chen, D. Chia, P. W. Koh, A. Y. Ng, "Tiled convolutional neural networks", NIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, w = np.ones((1, 1, 4, 4)), np.arange(4.0).reshape(2, 2, 1, 1, 1, 1)
    >>> fc.tiled_conv2d(x, w)
    array([[[[0., 1., 0., 1.],
             [2., 3., 2., 3.],
             [0., 1., 0., 1.],
             [2., 3., 2., 3.]]]])
    """
    options = (stride, padding, dilation, groups)
    return forward("tiled_conv2d", 2, input, weight, bias, options, out, tiled=True)


def tiled_conv2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Any, Any, Any]:
    """Gradients of :func:`tiled_conv2d` with respect to input, weight and bias.

    Axes: N batch, C input channels, K output channels, H, W spatial; tH x tW kernels.

    Parameters
    ----------
    grad_output : array_like of shape (N, K, Ho, Wo) or (K, Ho, Wo)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (N, C, H, W) or (C, H, W)
        What the forward call was given.
    weight : array_like of shape (tH, tW, K, C / groups, kH, kW)
        What the forward call was given.
    stride, padding, dilation, groups
        As for :func:`tiled_conv2d`.
    needs : tuple of three bools, default (True, True, True)
        Which gradients to compute: of input, weight, bias.

    Returns
    -------
    tuple of (grad_input, grad_weight, grad_bias)
        ndarrays of the shapes of input and weight and of shape (K, tH, tW); None where not needed. Kernels that no
        output uses (more of them than outputs) have the gradient 0.

    Raises
    ------
    ValueError
        If shapes or options do not fit, or grad_output does not have the shape of the forward result, whose side is
        ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``.
    TypeError
        If an array is not float16, float32 or float64.
    MemoryError
        If result or workspace cannot be had.

    References
    ----------
    .. [1] Q. V. Le, J. Ngiam, Z. Chen, D. Chia, P. W. Koh, A. Y. Ng, "Tiled convolutional neural networks", NIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, w = np.ones((1, 1, 4, 4)), np.ones((2, 2, 1, 1, 1, 1))
    >>> gx, gw, gb = fc.tiled_conv2d_backward(np.ones((1, 1, 4, 4)), x, w)
    >>> gx.shape, gw.ravel(), gb.ravel()
    ((1, 1, 4, 4), array([4., 4., 4., 4.]), array([4., 4., 4., 4.]))
    """
    options = (stride, padding, dilation, groups)
    return backward("tiled_conv2d_backward", 2, grad_output, input, weight, options, needs, tiled=True)
