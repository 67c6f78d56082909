"""Max pooling, sliding and adaptive, its gradients through the indices, and its partial inverse.

An index is the place of a window's maximum in the input plane, flat in row-major order: the first maximum, or the last
NaN where there are NaNs. Where all values are -inf it is the window's first element.
"""

from __future__ import annotations

from math import prod
from typing import Any

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
    integers,
    padding_per_axis,
    per_axis,
    shape_of_input,
)
from fastconv.reference.sliding import Axes, adaptive_size, adaptive_windows, slide_inside


def _better(value: Array, best: Array, index: Array) -> Array:
    """Tell where ``value`` takes over as the maximum so far: it is the first seen, greater, or NaN."""
    return (index < 0) | (value > best) | np.isnan(value)


def _max_pool_nd(
    n: int,
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Take the maximum under every window: ``y[t] = max over k of input[t * stride + k * dilation - lo]``.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    kernel_size, stride, dilation : int or one int per spatial axis
        stride None is the kernel's size.
    padding : int, one int or (lo, hi) pair per spatial axis
        Counts as -inf. No window may lie in padding alone.
    ceil_mode : bool
        Round the output size up; then the last window may reach beyond the padding, but not start there.
    return_indices : bool
        Return the indices too.

    Returns
    -------
    array of shape (N, C, *T) or (C, *T), and int64 indices of the same shape if asked for
        ``T = floor((S + lo + hi - dilation * (K - 1) - 1) / stride) + 1``

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, windows without input, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import max_pool1d
    >>> max_pool1d(np.array([[1.0, 3.0, 3.0, 2.0, 5.0]]), 2, ceil_mode=True, return_indices=True)
    (array([[3., 3., 5.]]), array([[1, 2, 4]]))
    """
    op = f"max_pool{n}d"
    dtype, x = floats(op, input=input)
    x, single = batched(op, "input", x, n)
    window = slide_inside(op, x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    extended = window.extend(x, -np.inf)
    reads = [window.reads(axis) for axis in range(n)]  # (T, K) of each axis
    best = np.full((*x.shape[:2], *window.out), -np.inf, x.dtype)
    index = np.full(best.shape, -1, np.int64)
    for k, read in window.taps():
        places = np.ix_(*(axis[:, tap] for axis, tap in zip(reads, k[1:], strict=True)))
        inside = np.ones(window.out, bool)
        flat = np.zeros(window.out, np.int64)
        for place, size in zip(places, window.size, strict=True):
            inside &= (place >= 0) & (place < size)
            flat = flat * size + place
        value = extended[read]
        take = inside & _better(value, best, index)
        best = np.where(take, value, best)
        index = np.where(take, flat, index)
    values = finish(best, dtype, single)
    return (values, finish(index, np.int64, single)) if return_indices else values


def _adaptive_max_pool_nd(
    n: int, input: ArrayLike, output_size: Any, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """Take the maximum under T windows that share the image: ``y[t] = max(input[floor(t S / T) : ceil((t+1) S / T)])``.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    output_size : int or one int per spatial axis
        T; None keeps an axis's size.
    return_indices : bool
        Return the indices too.

    Returns
    -------
    array of shape (N, C, *T) or (C, *T), and int64 indices of the same shape if asked for

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, empty images, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import adaptive_max_pool1d
    >>> adaptive_max_pool1d(np.array([[1.0, 3.0, 9.0, 2.0, 5.0]]), 2)
    array([[9., 9.]])
    """
    op = f"adaptive_max_pool{n}d"
    dtype, x = floats(op, input=input)
    x, single = batched(op, "input", x, n)
    size = adaptive_size(op, x.shape[2:], output_size)
    places = np.arange(prod(x.shape[2:]), dtype=np.int64).reshape(x.shape[2:])
    best = np.zeros((*x.shape[:2], *size), x.dtype)
    index = np.zeros(best.shape, np.int64)
    for t, read in adaptive_windows(op, x.shape[2:], size):
        flat = places[read].ravel()
        value = x[read].reshape(*x.shape[:2], flat.size)
        nan = np.isnan(value)
        last_nan = value.shape[-1] - 1 - nan[..., ::-1].argmax(axis=-1)
        chosen = np.where(nan.any(axis=-1), last_nan, value.argmax(axis=-1))
        best[t] = np.take_along_axis(value, chosen[..., None], -1)[..., 0]
        index[t] = flat[chosen]
    values = finish(best, dtype, single)
    return (values, finish(index, np.int64, single)) if return_indices else values


def _check_indices(op: str, indices: Array, size: Axes) -> None:
    """Raise unless every index lies in the plane."""
    plane = prod(size)
    if indices.size and not 0 <= indices.min() <= indices.max() < plane:
        raise ValueError(
            f"{op}: indices must lie in the plane {size}, 0 to {plane - 1}; they are {indices.min()} to {indices.max()}"
        )


def _scatter(op: str, n: int, grad_output: ArrayLike, indices: ArrayLike, input_shape: Any) -> Array:
    """(N, C, *T), (N, C, *T) -> (N, C, *S): gx[indices[t]] += gy[t] in every plane."""
    dtype, gy = floats(op, grad_output=grad_output)
    places = integers(op, "indices", indices)
    expect_shape(op, "indices", places, gy.shape)
    batched(op, "grad_output", gy, n)
    shape = shape_of_input(op, input_shape, gy, n)
    _check_indices(op, places, shape[-n:])
    planes = prod(shape[:-n])
    gx = np.zeros((planes, prod(shape[-n:])), gy.dtype)
    windows = prod(gy.shape[-n:])
    np.add.at(gx, (np.arange(planes)[:, None], places.reshape(planes, windows)), gy.reshape(planes, windows))
    return finish(gx.reshape(shape), dtype)


def _max_pool_nd_backward(n: int, grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    """Return max pooling's gradient by its input: every maximum receives the gradients of the windows it won.

    ``grad_output`` and ``indices`` have the forward result's shape, ``input_shape`` is (N, C, *S) or (C, *S).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import max_pool1d_backward
    >>> max_pool1d_backward(np.array([[1.0, 10.0, 100.0]]), np.array([[1, 1, 4]]), (1, 5))
    array([[  0.,  11.,   0.,   0., 100.]])
    """
    return _scatter(f"max_pool{n}d_backward", n, grad_output, indices, input_shape)


def _adaptive_max_pool_nd_backward(
    n: int, grad_output: ArrayLike, indices: ArrayLike, input_shape: tuple[int, ...]
) -> Array:
    """Return adaptive max pooling's gradient by its input, as ``max_pool*_backward`` does.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import adaptive_max_pool1d_backward
    >>> adaptive_max_pool1d_backward(np.array([[1.0, 10.0]]), np.array([[2, 2]]), (1, 5))
    array([[ 0.,  0., 11.,  0.,  0.]])
    """
    return _scatter(f"adaptive_max_pool{n}d_backward", n, grad_output, indices, input_shape)


def _unpooled_size(op: str, n: int, size: Axes, kernel_size: Ints, stride: Any, padding: Padding, wanted: Any) -> Axes:
    """Return the size that was pooled: ``(T - 1) * stride - lo - hi + K``, or one wanted, less than a stride away."""
    kernel = per_axis(op, "kernel_size", kernel_size, n, 1)
    steps = kernel if stride is None else per_axis(op, "stride", stride, n, 1)
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding of a pool must be given in numbers, received padding={padding!r}")
    lo, hi = padding_per_axis(op, padding, n)
    axes = zip(size, steps, lo, hi, kernel, strict=True)
    usual = tuple((t - 1) * s - a - b + k for t, s, a, b, k in axes)
    chosen = usual
    if wanted is not None:
        chosen = per_axis(op, "output_size", tuple(wanted)[-n:] if len(wanted) == n + 2 else wanted, n, 0)
        if any(abs(c - u) >= s for c, u, s in zip(chosen, usual, steps, strict=True)):
            raise ValueError(f"{op}: output_size must be less than a stride from {usual}, received {wanted}")
    if min(chosen) < 1:
        raise ValueError(f"{op}: the output must not be empty; for input {size} its size would be {chosen}")
    return chosen


def _max_unpool_nd(
    n: int,
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: Any = None,
) -> Array:
    """Put maxima back where they came from, among zeros: ``y[indices[s]] = input[s]``; of several the last stays.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    indices : integers of input's shape
        Places in the result's plane, flat, as max pooling returns them.
    kernel_size, stride, padding
        As max pooling took them.
    output_size : ints, optional
        *T, alone or as the whole shape, where several sizes pool to S; less than a stride from the usual size.

    Returns
    -------
    array of shape (N, C, *T) or (C, *T)
        ``T = (S - 1) * stride - lo - hi + K``

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64, and indices that are not integers.
    ValueError
        For shapes that do not fit, indices outside the plane, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import max_unpool1d
    >>> max_unpool1d(np.array([[3.0, 5.0]]), np.array([[1, 2]]), 2)
    array([[0., 3., 5., 0.]])
    """
    op = f"max_unpool{n}d"
    dtype, x = floats(op, input=input)
    places = integers(op, "indices", indices)
    expect_shape(op, "indices", places, x.shape)
    batched(op, "input", x, n)
    size = _unpooled_size(op, n, x.shape[-n:], kernel_size, stride, padding, output_size)
    _check_indices(op, places, size)
    planes, windows = prod(x.shape[:-n]), prod(x.shape[-n:])
    y = np.zeros((planes, prod(size)), x.dtype)
    y[np.arange(planes)[:, None], places.reshape(planes, windows)] = x.reshape(planes, windows)
    return finish(y.reshape(*x.shape[:-n], *size), dtype)


def _max_unpool_nd_backward(n: int, grad_output: ArrayLike, indices: ArrayLike) -> Array:
    """Return max unpooling's gradient by its input, of the indices' shape: ``gx[s] = grad_output[indices[s]]``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import max_unpool1d_backward
    >>> max_unpool1d_backward(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[1, 2]]))
    array([[2., 3.]])
    """
    op = f"max_unpool{n}d_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    places = integers(op, "indices", indices)
    batched(op, "grad_output", gy, n)
    shape_of_input(op, places.shape, gy, n)
    _check_indices(op, places, gy.shape[-n:])
    planes = prod(gy.shape[:-n])
    rows = gy.reshape(planes, prod(gy.shape[-n:]))
    gx = np.take_along_axis(rows, places.reshape(planes, prod(places.shape[-n:])), axis=1)
    return finish(gx.reshape(places.shape), dtype)


max_pool1d, max_pool2d, max_pool3d = for_each_rank(_max_pool_nd)
max_pool1d_backward, max_pool2d_backward, max_pool3d_backward = for_each_rank(_max_pool_nd_backward)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = for_each_rank(_adaptive_max_pool_nd)
adaptive_max_pool1d_backward, adaptive_max_pool2d_backward, adaptive_max_pool3d_backward = for_each_rank(
    _adaptive_max_pool_nd_backward
)
max_unpool1d, max_unpool2d, max_unpool3d = for_each_rank(_max_unpool_nd)
max_unpool1d_backward, max_unpool2d_backward, max_unpool3d_backward = for_each_rank(_max_unpool_nd_backward)
