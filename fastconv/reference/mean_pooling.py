"""Mean pooling, sliding and adaptive, and power-mean (Lp) pooling, with their gradients."""

from __future__ import annotations

from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import (
    Array,
    Ints,
    Padding,
    batched,
    finish,
    floats,
    for_each_rank,
    grad_of,
    integer,
    shape_of_input,
)
from fastconv.reference.sliding import Sliding, adaptive_size, adaptive_windows, slide_inside


def _window_sums(x: Array, window: Sliding) -> Array:
    """(N, C, *S) -> (N, C, *T): y[t] = sum over k of x[t * stride + k - lo]."""
    extended = window.extend(x)
    y = np.zeros((*x.shape[:2], *window.out), x.dtype)
    for _, read in window.taps():
        y += extended[read]
    return y


def _spread_sums(gy: Array, window: Sliding) -> Array:
    """(N, C, *T) -> (N, C, *S): x[t * stride + k - lo] += gy[t], the adjoint of ``_window_sums``."""
    extended = window.extend(np.zeros((*gy.shape[:2], *window.size), gy.dtype))
    for _, read in window.taps():
        extended[read] += gy
    return extended[window.interior]


def _divisor(window: Sliding, count_include_pad: bool, divisor_override: int | None, dtype: Any) -> Array:
    """(*T): what each window's sum is divided by.

    A window counts its elements in the image, with ``count_include_pad`` also those in padding, but never those that
    ``ceil_mode`` lets it have beyond the padding.
    """
    if divisor_override is not None:
        return np.full(window.out, divisor_override, dtype)
    counts = np.ones(window.out, np.int64)
    for axis, (size, lo, hi) in enumerate(zip(window.size, window.lo, window.hi, strict=True)):
        first, behind = (-lo, size + hi) if count_include_pad else (0, size)
        reads = window.reads(axis)
        count = ((reads >= first) & (reads < behind)).sum(axis=1)  # (T,)
        counts *= count.reshape(-1, *(1,) * (len(window.out) - 1 - axis))
    return counts.astype(dtype)


def _check_divisor(op: str, divisor_override: int | None) -> int | None:
    if divisor_override is None:
        return None
    divisor = integer(op, "divisor_override", divisor_override, -(2**62))
    if divisor == 0:
        raise ValueError(f"{op}: divisor_override must not be 0")
    return divisor


def _avg_pool_nd(
    n: int,
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Take the mean under every window: ``y[t] = sum over k of input[t * stride + k - lo] / divisor[t]``.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    kernel_size, stride : int or one int per spatial axis
        stride None is the kernel's size.
    padding : int, one int or (lo, hi) pair per spatial axis
        Zeros. No window may lie in padding alone.
    ceil_mode : bool
        Round the output size up; then the last window may reach beyond the padding, but not start there.
    count_include_pad : bool
        Divide by the number of elements in image and padding, or in the image alone.
    divisor_override : int, optional
        Divide by this instead.

    Returns
    -------
    array of shape (N, C, *T) or (C, *T)
        ``T = floor((S + lo + hi - K) / stride) + 1``

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, windows without input, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import avg_pool1d
    >>> x = np.array([[2.0, 4.0, 6.0]])
    >>> avg_pool1d(x, 2, padding=1)
    array([[1., 5.]])
    >>> avg_pool1d(x, 2, padding=1, count_include_pad=False)
    array([[2., 5.]])
    """
    op = f"avg_pool{n}d"
    dtype, x = floats(op, input=input)
    x, single = batched(op, "input", x, n)
    window = slide_inside(op, x.shape[2:], kernel_size, stride, padding, ceil_mode=ceil_mode)
    divisor = _divisor(window, count_include_pad, _check_divisor(op, divisor_override), x.dtype)
    return finish(_window_sums(x, window) / divisor, dtype, single)


def _avg_pool_nd_backward(
    n: int,
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Return mean pooling's gradient by its input: every element adds up ``grad_output / divisor`` of its windows.

    ``grad_output`` has the forward result's shape, ``input_shape`` is (N, C, *S) or (C, *S), the rest is the forward's.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import avg_pool1d_backward
    >>> avg_pool1d_backward(np.array([[2.0, 20.0]]), (1, 3), 2, stride=1)
    array([[ 1., 11., 10.]])
    """
    op = f"avg_pool{n}d_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    gy, single = batched(op, "grad_output", gy, n)
    shape = shape_of_input(op, input_shape, gy[0] if single else gy, n)
    window = slide_inside(op, shape[-n:], kernel_size, stride, padding, ceil_mode=ceil_mode)
    gy = grad_of(op, gy, (*gy.shape[:2], *window.out), single=False)
    divisor = _divisor(window, count_include_pad, _check_divisor(op, divisor_override), gy.dtype)
    return finish(_spread_sums(gy / divisor, window), dtype, single)


def _adaptive_avg_pool_nd(n: int, input: ArrayLike, output_size: Any) -> Array:
    """Take the mean under T windows that share the image: ``y[t] = mean(input[floor(t S / T) : ceil((t + 1) S / T)])``.

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    output_size : int or one int per spatial axis
        T; None keeps an axis's size. 1 is global pooling.

    Returns
    -------
    array of shape (N, C, *T) or (C, *T)

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, empty images, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import adaptive_avg_pool1d
    >>> adaptive_avg_pool1d(np.array([[1.0, 3.0, 5.0]]), 2)
    array([[2., 4.]])
    """
    op = f"adaptive_avg_pool{n}d"
    dtype, x = floats(op, input=input)
    x, single = batched(op, "input", x, n)
    size = adaptive_size(op, x.shape[2:], output_size)
    y = np.zeros((*x.shape[:2], *size), x.dtype)
    for t, read in adaptive_windows(op, x.shape[2:], size):
        part = x[read]
        y[t] = part.sum(axis=tuple(range(2, x.ndim))) / prod(part.shape[2:])
    return finish(y, dtype, single)


def _adaptive_avg_pool_nd_backward(n: int, grad_output: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    """Return adaptive mean pooling's gradient by its input: each window shares its gradient out evenly.

    ``grad_output`` is (N, C, *T) or (C, *T), ``input_shape`` (N, C, *S) or (C, *S).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import adaptive_avg_pool1d_backward
    >>> adaptive_avg_pool1d_backward(np.array([[2.0, 20.0]]), (1, 3))
    array([[ 1., 11., 10.]])
    """
    op = f"adaptive_avg_pool{n}d_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    batched(op, "grad_output", gy, n)
    gx = np.zeros(shape_of_input(op, input_shape, gy, n), gy.dtype)
    for t, read in adaptive_windows(op, gx.shape[-n:], gy.shape[-n:]):
        part = gx[read]
        part += (gy[t] / prod(part.shape[-n:])).reshape(*gy.shape[:-n], *(1,) * n)
    return finish(gx, dtype)


def _check_norm(op: str, norm_type: float) -> float:
    """Return the power p, which must be a positive number."""
    p = float(norm_type)
    if not (isfinite(p) and p > 0):
        raise ValueError(f"{op}: norm_type must be a positive finite number, received norm_type={norm_type!r}")
    return p


def _power_sums(x: Array, p: float, window: Sliding) -> tuple[Array, Array]:
    """(N, C, *S) -> (N, C, *T), (*T): the windows' sums of x**p, each times its weight, and the weights.

    The weight is 1, but at the edge that ``ceil_mode`` adds a window's sum stands for a whole window: K / elements.
    """
    weight = prod(window.kernel) / _divisor(window, True, None, x.dtype)
    with np.errstate(invalid="ignore"):  # a negative number to a fractional power is NaN
        return _window_sums(x**p, window) * weight, weight


def _lp_pool_nd(
    n: int,
    input: ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Take the p-norm under every window: ``y[t] = (sum over k of input[t * stride + k] ** p) ** (1 / p)``.

    Powers keep signs: for an odd p a negative sum gives NaN, as a fractional power of it does (but not for p = 1).

    Parameters
    ----------
    input : array of shape (N, C, *S) or (C, *S)
    norm_type : float
        p > 0; 1 gives sums, 2 the Euclidean norm.
    kernel_size, stride : int or one int per spatial axis
        stride None is the kernel's size.
    ceil_mode : bool
        Round the output size up; a window that reaches beyond the image scales its sum by K / (its elements).

    Returns
    -------
    array of shape (N, C, *T) or (C, *T)
        ``T = floor((S - K) / stride) + 1``

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit, values out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import lp_pool1d
    >>> lp_pool1d(np.array([[3.0, 4.0, 6.0, 8.0]]), 2, 2)
    array([[ 5., 10.]])
    """
    op = f"lp_pool{n}d"
    dtype, x = floats(op, input=input)
    x, single = batched(op, "input", x, n)
    p = _check_norm(op, norm_type)
    window = slide_inside(op, x.shape[2:], kernel_size, stride, ceil_mode=ceil_mode)
    sums, _ = _power_sums(x, p, window)
    with np.errstate(invalid="ignore"):
        return finish(sums ** (1 / p), dtype, single)


def _lp_pool_nd_backward(
    n: int,
    grad_output: ArrayLike,
    input: ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Return p-norm pooling's gradient by its input.

    ``gx[i] = x[i]**(p - 1) * sum of gy[t] * s[t]**(1/p - 1) * weight[t]`` over the windows t that read i, where s[t] is
    the window's weighted sum of powers. A window whose sum is 0 passes no gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import lp_pool1d_backward
    >>> lp_pool1d_backward(np.array([[1.0]]), np.array([[3.0, 4.0]]), 2, 2)
    array([[0.6, 0.8]])
    """
    op = f"lp_pool{n}d_backward"
    dtype, gy, x = floats(op, grad_output=grad_output, input=input)
    x, single = batched(op, "input", x, n)
    p = _check_norm(op, norm_type)
    window = slide_inside(op, x.shape[2:], kernel_size, stride, ceil_mode=ceil_mode)
    gy = grad_of(op, gy, (*x.shape[:2], *window.out), single)
    sums, weight = _power_sums(x, p, window)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(sums == 0, 0, sums ** (1 / p - 1)) * weight
        return finish(x ** (p - 1) * _spread_sums(gy * slope, window), dtype, single)


avg_pool1d, avg_pool2d, avg_pool3d = for_each_rank(_avg_pool_nd)
avg_pool1d_backward, avg_pool2d_backward, avg_pool3d_backward = for_each_rank(_avg_pool_nd_backward)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = for_each_rank(_adaptive_avg_pool_nd)
adaptive_avg_pool1d_backward, adaptive_avg_pool2d_backward, adaptive_avg_pool3d_backward = for_each_rank(
    _adaptive_avg_pool_nd_backward
)
lp_pool1d, lp_pool2d, lp_pool3d = for_each_rank(_lp_pool_nd)
lp_pool1d_backward, lp_pool2d_backward, lp_pool3d_backward = for_each_rank(_lp_pool_nd_backward)
