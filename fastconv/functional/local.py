"""Local connection, beside its gradients: like a convolution, with a kernel of its own at each output position."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastconv._check import Array
from fastconv.functional._conv import Ints, Padding
from fastconv.functional._docs import documented
from fastconv.functional._local import backward, forward

__all__ = [
    "locally_connected1d",
    "locally_connected1d_backward",
    "locally_connected2d",
    "locally_connected2d_backward",
]

_FORWARD = """Local connection over <word>: a convolution that shares no weights between positions.

``y[n, k, j] = bias[k, j] + sum over c, t of weight[j, k, c, t] * x[n, c, j*stride + t*dilation - padding]``, with `c`
over the channels of k's group and zeros outside the input.

Axes: N batch, C input channels, K output channels, <axes> spatial, <out> output positions.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
weight : array_like of shape (<out>, K, C / groups, <k>)
    A kernel OIHW for each output position. The layout is that in which a position is worked off, so that the weights,
    which outweigh all else, are read once and in order; other strides are copied to it first.
bias : array_like of shape (K, <out>), optional
    One number for each output, as in Keras [2]_.
stride, dilation : int or tuple of ints, default 1
    One for all axes, or one for each.
padding : int, tuple of ints, tuple of (lo, hi) pairs, "valid" or "same", default 0
    Zeros around the input, in elements. ``"same"`` gives ``ceil(size / stride)`` outputs, the odd zero at the end.
groups : int, default 1
    Input and output channels are cut into this many groups that do not see each other.
out : ndarray, optional
    Where to write the result; of the result's shape and dtype.

Returns
-------
ndarray of shape (N, K, <out>) or (K, <out>)
    Each side is ``floor((size + lo + hi - dilation * (kernel - 1) - 1) / stride) + 1``. float32 and float64 compute
    natively, mixed inputs promote as NumPy's, float16 computes in float32 and is returned as float16. The bits do not
    depend on the number of threads.

Raises
------
ValueError
    If shapes or options do not fit; the message names the argument, the value and the rule.
TypeError
    If an array is not of a floating dtype above, or an option is not of its type.
MemoryError
    If result or workspace cannot be had.

See Also
--------
tiled_conv2d : kernels used in turn, between this and :func:`conv2d`.

References
----------
.. [1] Y. LeCun, "Generalization and Network Design Strategies", University of Toronto, 1989.
.. [2] F. Chollet and others, Keras, ``LocallyConnected2D``.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> fc.locally_connected<n>d(x, np.ones((<oshape>, 4, 3, <kshape>), np.float32)).shape
(1, 4, <oshape>)
"""

_BACKWARD = """Gradients of :func:`locally_connected<n>d` with respect to input, weight and bias.

Axes: N batch, C input channels, K output channels, <axes> spatial, <out> output positions.

Parameters
----------
grad_output : array_like of shape (N, K, <out>) or (K, <out>)
    Gradient of a scalar with respect to the result.
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    What the forward call was given.
weight : array_like of shape (<out>, K, C / groups, <k>)
    What the forward call was given.
stride, padding, dilation, groups
    As for :func:`locally_connected<n>d`.
needs : tuple of three bools, default (True, True, True)
    Which gradients to compute: of input, weight, bias.

Returns
-------
tuple of (grad_input, grad_weight, grad_bias)
    ndarrays of the shapes of input and weight and of shape (K, <out>); None where not needed.

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
.. [1] Y. LeCun, "Generalization and Network Design Strategies", University of Toronto, 1989.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x, w = np.ones((1, 3, <shape>), np.float32), np.ones((<oshape>, 4, 3, <kshape>), np.float32)
>>> gy = np.ones_like(fc.locally_connected<n>d(x, w))
>>> gx, gw, gb = fc.locally_connected<n>d_backward(gy, x, w)
>>> gx.shape == x.shape, gw.shape == w.shape, gb.shape == gy.shape[1:]
(True, True, True)
"""


@documented(_FORWARD, 1)
def locally_connected1d(
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
    options = (stride, padding, dilation, groups)
    return forward("locally_connected1d", 1, input, weight, bias, options, out, tiled=False)


@documented(_BACKWARD, 1)
def locally_connected1d_backward(
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
    options = (stride, padding, dilation, groups)
    return backward("locally_connected1d_backward", 1, grad_output, input, weight, options, needs, tiled=False)


@documented(_FORWARD, 2)
def locally_connected2d(
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
    options = (stride, padding, dilation, groups)
    return forward("locally_connected2d", 2, input, weight, bias, options, out, tiled=False)


@documented(_BACKWARD, 2)
def locally_connected2d_backward(
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
    options = (stride, padding, dilation, groups)
    return backward("locally_connected2d_backward", 2, grad_output, input, weight, options, needs, tiled=False)
