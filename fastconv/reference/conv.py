"""Convolution and transposed convolution in one to three dimensions, with their gradients.

Convolution here is cross-correlation, as in the field: the kernel is not flipped. One bilinear form

    sum over n, g, o, c, t, k of   y[n, g, o, t] * kernel[g, o, c, k] * image[n, g, c, t * stride + k * dilation - lo]

holds everything: fix two of its three arrays, and what multiplies the third is one of the functions ``_correlate``
(y), ``_spread`` (image) and ``_kernel_gradient`` (kernel). The transposed convolution is the convolution's ``_spread``:
its weight's first axis, its own channels in, is the ``o`` of the convolution that it transposes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import (
    Array,
    Ints,
    Padding,
    batched,
    expect_shape,
    finish,
    floats,
    for_each_rank,
    grad_of,
    integer,
    padding_per_axis,
    per_axis,
)
from fastconv.reference.sliding import Sliding, slide

Gradients = tuple[Array | None, Array | None, Array | None]


def _correlate(image: Array, kernel: Array, window: Sliding) -> Array:
    """(N, G, C, *S), (G, O, C, *K) -> (N, G, O, *T): the form's factor of ``y``.

    y[o, t] = sum over c, k of kernel[o, c, k] * image[c, t * stride + k * dilation - lo]
    """
    n, g, c = image.shape[:3]
    o = kernel.shape[1]
    extended = window.extend(image)
    y = np.zeros((n, g, o, window.length), image.dtype)
    for k, read in window.taps():
        y += kernel[k] @ extended[read].reshape(n, g, c, window.length)  # (G, O, C) @ (N, G, C, T)
    return y.reshape(n, g, o, *window.out)


def _spread(y: Array, kernel: Array, window: Sliding) -> Array:
    """(N, G, O, *T), (G, O, C, *K) -> (N, G, C, *S): the form's factor of ``image``.

    image[c, t * stride + k * dilation - lo] += sum over o of kernel[o, c, k] * y[o, t], for all t, k
    """
    n, g, o = y.shape[:3]
    c = kernel.shape[2]
    extended = window.extend(np.zeros((n, g, c, *window.size), y.dtype))
    flat = y.reshape(n, g, o, window.length)
    for k, read in window.taps():
        transposed = kernel[k].swapaxes(-1, -2)  # (G, C, O)
        extended[read] += (transposed @ flat).reshape(n, g, c, *window.out)
    return extended[window.interior]


def _kernel_gradient(y: Array, image: Array, window: Sliding) -> Array:
    """(N, G, O, *T), (N, G, C, *S) -> (G, O, C, *K): the form's factor of ``kernel``.

    kernel[o, c, k] = sum over n, t of y[o, t] * image[c, t * stride + k * dilation - lo]
    """
    n, g, o = y.shape[:3]
    c = image.shape[2]
    extended = window.extend(image)
    flat = y.reshape(n, g, o, window.length)
    kernel = np.zeros((g, o, c, *window.kernel), y.dtype)
    for k, read in window.taps():
        patch = extended[read].reshape(n, g, c, window.length)
        kernel[k] = (flat @ patch.swapaxes(-1, -2)).sum(axis=0)  # (N, G, O, T) @ (N, G, T, C), over N
    return kernel


def _split(array: Array, groups: int, axis: int) -> Array:
    """Split the channels on ``axis`` into (G, channels / G)."""
    channels = array.shape[axis]
    return array.reshape(*array.shape[:axis], groups, channels // groups, *array.shape[axis + 1 :])


def _merge(array: Array, axis: int) -> Array:
    """Undo ``_split``: (..., G, C/G, ...) -> (..., C, ...)."""
    groups, channels = array.shape[axis : axis + 2]
    return array.reshape(*array.shape[:axis], groups * channels, *array.shape[axis + 2 :])


def _channel_sum(y: Array) -> Array:
    """(N, O, *T) -> (O,): the bias's gradient."""
    return np.asarray(y.sum(axis=(0, *range(2, y.ndim))))


def _check_weight(op: str, n: int, weight: Array, groups: int) -> int:
    """Return ``groups`` as an int that divides the weight's first axis, of a weight without empty axes."""
    groups = integer(op, "groups", groups, 1)
    if weight.ndim != n + 2 or 0 in weight.shape:
        raise ValueError(f"{op}: weight must have {n + 2} axes, none of them empty; its shape is {weight.shape}")
    if weight.shape[0] % groups:
        raise ValueError(f"{op}: weight.shape[0] must be a multiple of groups, {weight.shape}, groups={groups}")
    return groups


def _conv_problem(
    op: str, x: Array, w: Array, stride: Ints, padding: Padding, dilation: Ints, groups: int
) -> tuple[int, Sliding]:
    """Return groups and window of a convolution of x (N, C, *S) with w (O, C/G, *K)."""
    groups = _check_weight(op, x.ndim - 2, w, groups)
    if x.shape[1] != groups * w.shape[1]:
        raise ValueError(
            f"{op}: input must have groups * weight.shape[1] = {groups} * {w.shape[1]} channels, received {x.shape[1]}"
        )
    return groups, slide(op, x.shape[2:], w.shape[2:], stride, padding, dilation)


def _conv_nd(
    n: int,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolve: ``y[o, t] = bias[o] + sum over c, k of weight[o, c, k] * input[c, t * stride + k * dilation - lo]``.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    weight : array of shape (O, C / groups, *K)
    bias : array of shape (O,), optional
    stride, dilation : int or one int per spatial axis
    padding : int, one int or (lo, hi) pair per spatial axis, "valid" or "same"
        "same" gives ``ceil(S / stride)`` outputs, the odd element of padding behind.
    groups : int
        Output channel ``o`` sees only the input channels of its group, ``o // (O / groups)``.

    Returns
    -------
    array of shape (N, O, *T) or (O, *T)
        ``T = floor((S + lo + hi - dilation * (K - 1) - 1) / stride) + 1``

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, a window that does not fit into the padded input, values out of range.

    References
    ----------
    V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import conv1d
    >>> x = np.array([[1.0, 2.0, 4.0, 7.0, 11.0]])
    >>> conv1d(x, np.array([[[1.0, 0.0, -1.0]]]), padding=1)
    array([[-2., -3., -5., -7.,  7.]])
    >>> conv1d(x, np.array([[[1.0, 0.0, -1.0]]]), padding=1, stride=2)
    array([[-2., -5.,  7.]])
    """
    op = f"conv{n}d"
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    x, single = batched(op, "input", x, n)
    groups, window = _conv_problem(op, x, w, stride, padding, dilation, groups)
    y = _merge(_correlate(_split(x, groups, 1), _split(w, groups, 0), window), 1)
    return finish(_add_bias(op, y, b), dtype, single)


def _add_bias(op: str, y: Array, bias: Array | None) -> Array:
    """(N, O, *T), (O,) -> (N, O, *T)."""
    if bias is None:
        return y
    expect_shape(op, "bias", bias, y.shape[1:2])
    return y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def _conv_nd_backward(
    n: int,
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
    """Return a convolution's gradients by input, weight and bias: (N, C, *S), (O, C / groups, *K) and (O,).

    ``grad_output`` has the shape of the forward result, the other arguments are the forward's. What ``needs`` leaves
    out is None.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import conv1d_backward
    >>> x, w = np.array([[1.0, 2.0, 4.0, 7.0]]), np.array([[[1.0, 0.0, -1.0]]])
    >>> conv1d_backward(np.array([[1.0, 10.0]]), x, w)
    (array([[  1.,  10.,  -1., -10.]]), array([[[21., 42., 74.]]]), array([11.]))
    """
    op = f"conv{n}d_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    x, single = batched(op, "input", x, n)
    groups, window = _conv_problem(op, x, w, stride, padding, dilation, groups)
    gy = grad_of(op, gy, (x.shape[0], w.shape[0], *window.out), single)
    need_x, need_w, need_b = needs
    y, image, kernel = _split(gy, groups, 1), _split(x, groups, 1), _split(w, groups, 0)
    return (
        finish(_merge(_spread(y, kernel, window), 1), dtype, single) if need_x else None,
        finish(_merge(_kernel_gradient(y, image, window), 0), dtype) if need_w else None,
        finish(_channel_sum(gy), dtype) if need_b else None,
    )


def _transpose_problem(
    op: str, x: Array, w: Array, stride: Ints, padding: Padding, output_padding: Ints, groups: int, dilation: Ints
) -> tuple[int, Sliding]:
    """Return groups and window of the convolution that x (N, C, *S) with w (C, O/G, *K) transposes.

    Its windows are the elements of ``x``, its image is the result.
    """
    n = x.ndim - 2
    groups = _check_weight(op, n, w, groups)
    if x.shape[1] != w.shape[0] or 0 in x.shape[2:]:
        raise ValueError(f"{op}: input must have {w.shape[0]} channels and no empty axis; its shape is {x.shape}")
    out, kernel = x.shape[2:], w.shape[2:]
    steps = per_axis(op, "stride", stride, n, 1)
    gaps = per_axis(op, "dilation", dilation, n, 1)
    extra = per_axis(op, "output_padding", output_padding, n, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, steps, gaps, strict=True)):
        raise ValueError(f"{op}: output_padding must be less than stride or dilation, received {output_padding!r}")

    if isinstance(padding, str):
        raise ValueError(f"{op}: padding must be given in numbers, received padding={padding!r}")
    lo, hi = padding_per_axis(op, padding, n)
    axes = zip(out, steps, gaps, kernel, extra, lo, hi, strict=True)
    size = tuple((t - 1) * s + d * (k - 1) + 1 + e - a - b for t, s, d, k, e, a, b in axes)
    if min(size) < 1:
        raise ValueError(f"{op}: padding must leave an output, received padding={padding!r} for input {out}")
    return groups, Sliding(size, kernel, steps, gaps, lo, hi, out)


def _conv_transpose_nd(
    n: int,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Array:
    """Transpose a convolution: ``y[o, s * stride + k * dilation - lo] += weight[c, o, k] * input[c, s]``, plus bias.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    weight : array of shape (C, O / groups, *K)
    bias : array of shape (O,), optional
    stride, dilation, groups
        As of the convolution that is transposed.
    padding : int, one int or (lo, hi) pair per spatial axis
        What is cut off the result.
    output_padding : int or one int per spatial axis
        Lengthens the result behind; less than stride or dilation.

    Returns
    -------
    array of shape (N, O, *T) or (O, *T)
        ``T = (S - 1) * stride + dilation * (K - 1) + 1 + output_padding - lo - hi``

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, an empty result, values out of range.

    References
    ----------
    V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import conv_transpose1d
    >>> conv_transpose1d(np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0, 100.0]]]), stride=2)
    array([[  1.,  10., 102.,  20., 200.]])
    """
    op = f"conv_transpose{n}d"
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    x, single = batched(op, "input", x, n)
    groups, window = _transpose_problem(op, x, w, stride, padding, output_padding, groups, dilation)
    y = _merge(_spread(_split(x, groups, 1), _split(w, groups, 0), window), 1)
    return finish(_add_bias(op, y, b), dtype, single)


def _conv_transpose_nd_backward(
    n: int,
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """Return a transposed convolution's gradients by input, weight and bias: (N, C, *S), (C, O / groups, *K), (O,).

    ``grad_output`` has the shape of the forward result, the other arguments are the forward's. What ``needs`` leaves
    out is None.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import conv_transpose1d_backward
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0]]])
    >>> conv_transpose1d_backward(np.array([[1.0, 1.0, 3.0, 0.0]]), x, w, stride=2)
    (array([[11.,  3.]]), array([[[7., 1.]]]), array([5.]))
    """
    op = f"conv_transpose{n}d_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    x, single = batched(op, "input", x, n)
    groups, window = _transpose_problem(op, x, w, stride, padding, output_padding, groups, dilation)
    gy = grad_of(op, gy, (x.shape[0], groups * w.shape[1], *window.size), single)
    need_x, need_w, need_b = needs
    y, image, kernel = _split(x, groups, 1), _split(gy, groups, 1), _split(w, groups, 0)
    return (
        finish(_merge(_correlate(image, kernel, window), 1), dtype, single) if need_x else None,
        finish(_merge(_kernel_gradient(y, image, window), 0), dtype) if need_w else None,
        finish(_channel_sum(gy), dtype) if need_b else None,
    )


conv1d, conv2d, conv3d = for_each_rank(_conv_nd)
conv1d_backward, conv2d_backward, conv3d_backward = for_each_rank(_conv_nd_backward)
conv_transpose1d, conv_transpose2d, conv_transpose3d = for_each_rank(_conv_transpose_nd)
conv_transpose1d_backward, conv_transpose2d_backward, conv_transpose3d_backward = for_each_rank(
    _conv_transpose_nd_backward
)
