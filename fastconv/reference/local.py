"""Local connection, which has a kernel for each output position, and tiled connection, which uses some in turn.

Tap by tap, as convolution, but a tap's weights are one array over all positions: an element-wise product, summed over
channels. Tiled connection is local connection whose kernels repeat; their gradients add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, Ints, Padding, batched, expect_shape, finish, floats, grad_of, integer
from fastconv.reference.sliding import Axes, Sliding, slide

Gradients = tuple[Array | None, Array | None, Array | None]
Options = tuple[Ints, Padding, Ints, int]  # stride, padding, dilation, groups


class _Local:
    """One call: its geometry, and which kernel each output has."""

    def __init__(self, op: str, n: int, x: Array, w: Array, options: Options, *, tiled: bool) -> None:
        stride, padding, dilation, groups = options
        self.groups, self.n = integer(op, "groups", groups, 1), n
        if w.ndim != 2 * n + 2 or 0 in w.shape:
            raise ValueError(f"{op}: weight must have {2 * n + 2} axes, none of them empty; its shape is {w.shape}")
        self.kernels, (outputs, inputs) = w.shape[:n], w.shape[n : n + 2]
        if outputs % self.groups or x.shape[1] != self.groups * inputs:
            raise ValueError(
                f"{op}: weight must have a multiple of groups as outputs and the input's channels by group as inputs, "
                f"received weight of shape {w.shape}, input of shape {x.shape}, groups={groups}"
            )
        self.window: Sliding = slide(op, x.shape[2:], w.shape[n + 2 :], stride, padding, dilation)
        if not tiled:
            expect_shape(op, "weight", w, self.window.out + w.shape[n:])
        self.bias_shape: Axes = (outputs, *self.kernels)

    def each(self, kernels: Array) -> Array:
        """(*kernels, ...) -> (*T, ...): what each output's kernel has."""
        for axis, (count, out) in enumerate(zip(self.kernels, self.window.out, strict=True)):
            kernels = kernels.take(np.arange(out) % count, axis)
        return kernels

    def add_up(self, each: Array) -> Array:
        """(*T, ...) -> (*kernels, ...): the sums over the outputs that share a kernel; the transpose of `each`."""
        sums = np.zeros(self.kernels + each.shape[self.n :], each.dtype)
        which = np.meshgrid(
            *(np.arange(out) % count for count, out in zip(self.kernels, self.window.out, strict=True)), indexing="ij"
        )
        np.add.at(sums, tuple(which), each)
        return sums

    def by_group(self, array: Array, axis: int) -> Array:
        """Split the channels on ``axis`` into (G, channels / G)."""
        each = array.shape[axis] // self.groups
        return array.reshape(*array.shape[:axis], self.groups, each, *array.shape[axis + 1 :])


def _forward(
    op: str, n: int, input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None, options: Options, *, tiled: bool
) -> Array:
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    x, single = batched(op, "input", x, n)
    call = _Local(op, n, x, w, options, tiled=tiled)
    out = call.window.out
    image, kernels = call.window.extend(call.by_group(x, 1)), call.by_group(call.each(w), n)
    y = np.zeros((len(x), call.groups, kernels.shape[n + 1], *out), x.dtype)
    for tap, read in call.window.taps():  # weights (*T, G, O, C), inputs (N, G, C, *T)
        y += np.einsum("...goc,ngc...->ngo...", kernels[tap], image[read])
    y = y.reshape(len(x), call.bias_shape[0], *out)
    if b is not None:
        expect_shape(op, "bias", b, call.bias_shape)
        y += np.moveaxis(call.each(np.moveaxis(b, 0, -1)), -1, 0)
    return finish(y, dtype, single)


def _backward(
    op: str,
    n: int,
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    options: Options,
    needs: Sequence[bool],
    *,
    tiled: bool,
) -> Gradients:
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    x, single = batched(op, "input", x, n)
    call = _Local(op, n, x, w, options, tiled=tiled)
    gy = grad_of(op, gy, (len(x), call.bias_shape[0], *call.window.out), single)
    y, kernels = call.by_group(gy, 1), call.by_group(call.each(w), n)
    image = call.window.extend(call.by_group(x, 1))
    to_image, to_kernels = np.zeros_like(call.window.extend(call.by_group(np.zeros_like(x), 1))), np.zeros_like(kernels)
    for tap, read in call.window.taps():
        to_image[read] += np.einsum("...goc,ngo...->ngc...", kernels[tap], y)
        to_kernels[tap] = np.einsum("ngo...,ngc...->...goc", y, image[read])
    per_output = np.moveaxis(gy.sum(axis=0), 0, -1)
    return (
        finish(to_image[call.window.interior].reshape(x.shape), dtype, single) if needs[0] else None,
        finish(call.add_up(to_kernels.reshape(call.window.out + w.shape[n:])), dtype) if needs[1] else None,
        finish(np.moveaxis(call.add_up(per_output), -1, 0), dtype) if needs[2] else None,
    )


def locally_connected1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Connect: ``y[o, t] = bias[o, t] + sum over c, k of weight[t, o, c, k] * input[c, t*stride + k*dilation - lo]``.

    Shapes: input (N, C, S) or (C, S), weight (T, O, C / groups, K), bias (O, T), result (N, O, T) or (O, T).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import locally_connected1d
    >>> locally_connected1d(np.array([[1.0, 2.0, 4.0]]), np.array([1.0, 10.0, 100.0, 1000.0]).reshape(2, 1, 1, 2))
    array([[  21., 4200.]])
    """
    options = (stride, padding, dilation, groups)
    return _forward("locally_connected1d", 1, input, weight, bias, options, tiled=False)


def locally_connected1d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """Return the gradients by input (N, C, S), weight (T, O, C / groups, K) and bias (O, T), None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import locally_connected1d_backward
    >>> x, w = np.array([[1.0, 2.0, 4.0]]), np.array([1.0, 10.0, 100.0, 1000.0]).reshape(2, 1, 1, 2)
    >>> gx, gw, gb = locally_connected1d_backward(np.array([[1.0, 2.0]]), x, w)
    >>> gx, gw.ravel(), gb
    (array([[1.0e+00, 2.1e+02, 2.0e+03]]), array([1., 2., 4., 8.]), array([[1., 2.]]))
    """
    options = (stride, padding, dilation, groups)
    return _backward("locally_connected1d_backward", 1, grad_output, input, weight, options, needs, tiled=False)


def locally_connected2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Connect locally over two axes; see `locally_connected1d`.

    Shapes: weight (T1, T2, O, C / groups, K1, K2), bias (O, T1, T2).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import locally_connected2d
    >>> locally_connected2d(np.array([[[1.0, 2.0]]]), np.array([10.0, 100.0]).reshape(1, 2, 1, 1, 1, 1))
    array([[[ 10., 200.]]])
    """
    options = (stride, padding, dilation, groups)
    return _forward("locally_connected2d", 2, input, weight, bias, options, tiled=False)


def locally_connected2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """Return the gradients by input, weight and bias, of their shapes, None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import locally_connected2d_backward
    >>> x, w = np.array([[[1.0, 2.0]]]), np.array([10.0, 100.0]).reshape(1, 2, 1, 1, 1, 1)
    >>> gx, gw, gb = locally_connected2d_backward(np.array([[[3.0, 4.0]]]), x, w)
    >>> gx, gw.ravel(), gb
    (array([[[ 30., 400.]]]), array([3., 8.]), array([[[3., 4.]]]))
    """
    options = (stride, padding, dilation, groups)
    return _backward("locally_connected2d_backward", 2, grad_output, input, weight, options, needs, tiled=False)


def tiled_conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolve with t1 x t2 kernels in turn: output (i, j) has kernel (i % t1, j % t2).

    Shapes: weight (t1, t2, O, C / groups, K1, K2), bias (O, t1, t2).

    References
    ----------
    Q. V. Le et al., Tiled convolutional neural networks, NIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import tiled_conv2d
    >>> tiled_conv2d(np.array([[[1.0, 2.0, 3.0]]]), np.array([10.0, 100.0]).reshape(1, 2, 1, 1, 1, 1))
    array([[[ 10., 200.,  30.]]])
    """
    return _forward("tiled_conv2d", 2, input, weight, bias, (stride, padding, dilation, groups), tiled=True)


def tiled_conv2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """Return the gradients by input, weight and bias, of their shapes, None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import tiled_conv2d_backward
    >>> x, w = np.array([[[1.0, 2.0, 3.0]]]), np.array([10.0, 100.0]).reshape(1, 2, 1, 1, 1, 1)
    >>> gx, gw, gb = tiled_conv2d_backward(np.ones((1, 1, 3)), x, w)
    >>> gx, gw.ravel(), gb
    (array([[[ 10., 100.,  10.]]]), array([4., 2.]), array([[[2., 1.]]]))
    """
    options = (stride, padding, dilation, groups)
    return _backward("tiled_conv2d_backward", 2, grad_output, input, weight, options, needs, tiled=True)
