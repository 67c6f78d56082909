"""unfold (im2col) and fold (col2im): the patches under a sliding 2-D window as columns, and back."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import (
    Array,
    Ints,
    Padding,
    batched,
    finish,
    floats,
    per_axis,
)
from fastconv.reference.sliding import Sliding, slide


def _gather(image: Array, window: Sliding) -> Array:
    """(N, C, H, W) -> (N, C * K, T): columns[c, k, t] = image[c, t * stride + k * dilation - lo]."""
    n, c = image.shape[:2]
    extended = window.extend(image)
    taps = prod(window.kernel)
    columns = np.zeros((n, c, taps, window.length), image.dtype)
    for k, (_, read) in enumerate(window.taps()):
        columns[:, :, k] = extended[read].reshape(n, c, window.length)
    return columns.reshape(n, c * taps, window.length)


def _scatter(columns: Array, window: Sliding) -> Array:
    """(N, C * K, T) -> (N, C, H, W): image[c, t * stride + k * dilation - lo] += columns[c, k, t]."""
    n = columns.shape[0]
    taps = prod(window.kernel)
    c = columns.shape[1] // taps
    split = columns.reshape(n, c, taps, *window.out)
    extended = window.extend(np.zeros((n, c, *window.size), columns.dtype))
    for k, (_, read) in enumerate(window.taps()):
        extended[read] += split[:, :, k]
    return extended[window.interior]


def _check_columns(op: str, name: str, columns: Array, window: Sliding) -> None:
    """Raise unless columns (N, C * K, T) have whole patches and one column for every window."""
    patch = prod(window.kernel)
    if columns.shape[1] % patch or columns.shape[2] != window.length:
        raise ValueError(
            f"{op}: {name} must have shape (N, C * {patch}, {window.length}) for {window.out} windows of "
            f"{window.kernel}, received shape {columns.shape}"
        )


def unfold(input: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1) -> Array:
    """Lay out the patch under every window as a column: ``y[(c, k), t] = input[c, t * stride + k * dilation - lo]``.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
    kernel_size, dilation, stride : int or two ints
    padding : int, two ints, two (lo, hi) pairs, "valid" or "same"

    Returns
    -------
    array of shape (N, C * KH * KW, TH * TW) or (C * KH * KW, TH * TW)
        Channels, then taps, then windows in row-major order; sizes as of a convolution.

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, a window that does not fit into the padded input, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import unfold
    >>> unfold(np.arange(6.0).reshape(1, 2, 3), kernel_size=2)
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    """
    dtype, x = floats("unfold", input=input)
    x, single = batched("unfold", "input", x, 2)
    window = slide("unfold", x.shape[2:], kernel_size, stride, padding, dilation)
    return finish(_gather(x, window), dtype, single)


def unfold_backward(
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
) -> Array:
    """Return unfold's gradient by its input: every pixel adds up what its copies received, which is fold.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import unfold_backward
    >>> unfold_backward(np.ones((4, 2)), (1, 2, 3), kernel_size=2)
    array([[[1., 2., 1.],
            [1., 2., 1.]]])
    """
    op = "unfold_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    gy, single = batched(op, "grad_output", gy, 1)
    lead, spatial = tuple(input_shape)[:-2], tuple(input_shape)[-2:]
    window = slide(op, per_axis(op, "input_shape", spatial, 2, 0), kernel_size, stride, padding, dilation)
    _check_columns(op, "grad_output", gy, window)
    gx = _scatter(gy, window)
    if lead != gx.shape[int(single) : 2]:
        raise ValueError(f"{op}: input_shape must fit grad_output: {gx.shape[int(single) :]}, received {input_shape}")
    return finish(gx, dtype, single)


def fold(
    input: ArrayLike,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
) -> Array:
    """Add columns up into an image, each where unfold would read it.

    ``y[c, t * stride + k * dilation - lo] += input[(c, k), t]`` for all k and t.

    Parameters
    ----------
    input : array of shape (N, C * KH * KW, TH * TW) or (C * KH * KW, TH * TW)
    output_size : int or two ints
        H and W; an unfold of an image of this size must have TH * TW windows.
    kernel_size, dilation, stride : int or two ints
    padding : int, two ints, two (lo, hi) pairs, "valid" or "same"

    Returns
    -------
    array of shape (N, C, H, W) or (C, H, W)

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, a window that does not fit into the padded image, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import fold
    >>> fold(np.ones((4, 2)), output_size=(2, 3), kernel_size=2)
    array([[[1., 2., 1.],
            [1., 2., 1.]]])
    """
    dtype, columns = floats("fold", input=input)
    columns, single = batched("fold", "input", columns, 1)
    size = per_axis("fold", "output_size", output_size, 2, 1)
    window = slide("fold", size, kernel_size, stride, padding, dilation)
    _check_columns("fold", "input", columns, window)
    return finish(_scatter(columns, window), dtype, single)


def fold_backward(
    grad_output: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1
) -> Array:
    """Return fold's gradient by its columns, which is unfold of ``grad_output`` (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import fold_backward
    >>> fold_backward(np.arange(6.0).reshape(1, 2, 3), kernel_size=(2, 3)).T
    array([[0., 1., 2., 3., 4., 5.]])
    """
    op = "fold_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    gy, single = batched(op, "grad_output", gy, 2)
    return finish(_gather(gy, slide(op, gy.shape[2:], kernel_size, stride, padding, dilation)), dtype, single)
