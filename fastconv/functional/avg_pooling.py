"""Mean pooling, sliding and adaptive, each beside its gradient."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastconv import _check, _ops
from fastconv._check import Array
from fastconv.functional._docs import documented
from fastconv.functional._pool import (
    Ints,
    OutputSize,
    Padding,
    Recipe,
    adaptive_problem,
    input_problem,
    prepare,
    recipe_for,
    run,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool1d_backward",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool3d_backward",
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
]

# ---------------------------------------------------------------------------------------------------- what they share


def _divisor(op: str, count_include_pad: Any, divisor_override: Any) -> tuple[int, float]:
    """Return the flags of a plan and its divisor."""
    flags = _ops.COUNT_INCLUDE_PAD if _check.flag(op, "count_include_pad", count_include_pad) else 0
    if divisor_override is None:
        return flags, 0.0
    divisor = _check.integer(op, "divisor_override", divisor_override)
    if divisor == 0:
        raise ValueError(f"{op}: divisor_override must not be zero, received {divisor_override=!r}")
    return flags, float(divisor)


def pool(
    op: str,
    n: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    divisor_override: Any,
) -> Array:
    dtype, (x,) = _check.data(op, input=input)

    def make() -> Recipe:
        batched, shape = _check.shape_of(op, "input", x, n)
        problem = _check.window_problem(op, n, shape, batched, kernel_size, stride, padding, 1, ceil_mode)
        return prepare(op, problem, _ops.AVG_POOL, x.dtype, *_divisor(op, count_include_pad, divisor_override))

    options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return run(op, recipe_for((op, x.shape, x.dtype.num), options, make), x, dtype)


def pool_backward(
    op: str,
    n: int,
    grad_output: Any,
    input_shape: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    divisor_override: Any,
) -> Array:
    dtype, (gy,) = _check.data(op, grad_output=grad_output)

    def make() -> Recipe:
        batched, shape = input_problem(op, n, gy, input_shape)
        problem = _check.window_problem(op, n, shape, batched, kernel_size, stride, padding, 1, ceil_mode)
        _check.grad(op, gy, problem.output_shape)
        return prepare(op, problem, _ops.AVG_POOL_GRAD, gy.dtype, *_divisor(op, count_include_pad, divisor_override))

    options = (input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return run(op, recipe_for((op, gy.shape, gy.dtype.num), options, make), gy, dtype)


def _adaptive(op: str, n: int, input: Any, output_size: Any) -> Array:
    dtype, (x,) = _check.data(op, input=input)

    def make() -> Recipe:
        batched, shape = _check.shape_of(op, "input", x, n)
        problem, flags = adaptive_problem(op, n, shape, batched, output_size)
        return prepare(op, problem, _ops.AVG_POOL, x.dtype, flags)

    return run(op, recipe_for((op, x.shape, x.dtype.num), (output_size,), make), x, dtype)


def _adaptive_backward(op: str, n: int, grad_output: Any, input_shape: Any) -> Array:
    dtype, (gy,) = _check.data(op, grad_output=grad_output)

    def make() -> Recipe:
        batched, shape = input_problem(op, n, gy, input_shape)
        problem, flags = adaptive_problem(op, n, shape, batched, gy.shape[-n:])
        return prepare(op, problem, _ops.AVG_POOL_GRAD, gy.dtype, flags)

    return run(op, recipe_for((op, gy.shape, gy.dtype.num), (input_shape,), make), gy, dtype)


# ---------------------------------------------------------------------------------------------------- avg_pool

_AVG_POOL = """Mean of windows that slide over <word>.

``y[n, c, o] = sum over t of x[n, c, o*stride + t - padding] / divisor``, with zeros outside the input.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
kernel_size : int or tuple of ints
    Size of a window, one for all axes or one for each.
stride : int or tuple of ints, optional
    Step from window to window; by default the window's size.
padding : int, tuple of ints or tuple of (lo, hi) pairs, default 0
    Zeros around the input. No window may lie wholly in them.
ceil_mode : bool, default False
    Whether a last window may reach over the end of the padded input; it must begin inside the input or the padding
    before it. What it has beyond the padding never counts.
count_include_pad : bool, default True
    Whether the divisor counts a window's elements in the padding too, or only those of the input.
divisor_override : int, optional
    A divisor for all windows instead.

Returns
-------
ndarray of shape (N, C, <out>) or (C, <out>)
    Each side is ``floor((size + lo + hi - kernel_size) / stride) + 1``, rounded up with `ceil_mode`. Of the input's
    dtype; float16 computes in float32.

Raises
------
ValueError
    If shapes or options do not fit; the message names the argument, the value and the rule.
TypeError
    If `input` is not float16, float32 or float64, or an option is not of its type.
MemoryError
    If the result cannot be had.

References
----------
.. [1] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
.. [2] torch.nn.functional.avg_pool<n>d, whose rules for divisors and ceil_mode these are.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> fc.avg_pool<n>d(x, 2).shape
(1, 3, <half>)
>>> bool((fc.avg_pool<n>d(x, 3, stride=2, padding=1, count_include_pad=False) == 1).all())
True
"""

_AVG_POOL_BACKWARD = """Gradient of :func:`avg_pool<n>d` with respect to its input.

Each element adds up the shares that it has in its windows.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, C, <out>) or (C, <out>)
    Gradient of a scalar with respect to the result.
input_shape : tuple of ints
    Shape of the input, (N, C, <axes>) or (C, <axes>).
kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    As for :func:`avg_pool<n>d`.

Returns
-------
ndarray of shape (N, C, <axes>) or (C, <axes>)
    Of the dtype of `grad_output`; float16 adds up in float32. The sums are made in one order, whatever the number of
    threads.

Raises
------
ValueError
    If shapes or options do not fit, or grad_output does not have the shape of the forward result, whose side is
    ``floor((size + lo + hi - kernel_size) / stride) + 1``, rounded up with `ceil_mode`.
TypeError
    If `grad_output` is not float16, float32 or float64, or an option is not of its type.
MemoryError
    If the result cannot be had.

References
----------
.. [1] torch.nn.functional.avg_pool<n>d, whose gradient this is.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> grad_output = np.ones((1, 3, <half>), np.float32)
>>> grad_input = fc.avg_pool<n>d_backward(grad_output, (1, 3, <shape>), 2)
>>> grad_input.shape, float(grad_input.sum()) == float(grad_output.sum())
((1, 3, <shape>), True)
"""


@documented(_AVG_POOL, 1)
def avg_pool1d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    return pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@documented(_AVG_POOL_BACKWARD, 1)
def avg_pool1d_backward(
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    return pool_backward(
        "avg_pool1d_backward",
        1,
        grad_output,
        input_shape,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


@documented(_AVG_POOL, 2)
def avg_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    return pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@documented(_AVG_POOL_BACKWARD, 2)
def avg_pool2d_backward(
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    return pool_backward(
        "avg_pool2d_backward",
        2,
        grad_output,
        input_shape,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


@documented(_AVG_POOL, 3)
def avg_pool3d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    return pool("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@documented(_AVG_POOL_BACKWARD, 3)
def avg_pool3d_backward(
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    return pool_backward(
        "avg_pool3d_backward",
        3,
        grad_output,
        input_shape,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


# ---------------------------------------------------------------------------------------------------- adaptive_avg_pool

_ADAPTIVE = """Mean of windows that share out <word>, to a wanted size.

Window `o` of an axis goes from ``floor(o * size / output_size)`` to ``ceil((o + 1) * size / output_size)``. An
`output_size` of 1 is global pooling.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
output_size : int, None, or tuple of these
    One for all axes or one for each; None keeps the input's size.

Returns
-------
ndarray of shape (N, C, *output_size) or (C, *output_size)
    Of the input's dtype; float16 computes in float32. Sums are made in chunks, so that the error of a large plane stays
    small.

Raises
------
ValueError
    If the input has no element along a spatial axis, or a size is not positive.
TypeError
    If `input` is not float16, float32 or float64, or a size is not an integer.
MemoryError
    If the result cannot be had.

References
----------
.. [1] M. Lin, Q. Chen, S. Yan, "Network In Network", ICLR 2014 (global mean pooling).
.. [2] torch.nn.functional.adaptive_avg_pool<n>d, whose windows these are.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> fc.adaptive_avg_pool<n>d(x, 4).shape
(1, 3, <half>)
>>> fc.adaptive_avg_pool<n>d(x, 1).ravel()
array([1., 1., 1.], dtype=float32)
"""

_ADAPTIVE_BACKWARD = """Gradient of :func:`adaptive_avg_pool<n>d` with respect to its input.

Each window shares its gradient out evenly.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, C, <out>) or (C, <out>)
    Gradient of a scalar with respect to the result, of size `output_size`.
input_shape : tuple of ints
    Shape of the input, (N, C, <axes>) or (C, <axes>).

Returns
-------
ndarray of shape (N, C, <axes>) or (C, <axes>)
    Of the dtype of `grad_output`; float16 adds up in float32. The sums are made in one order, whatever the number of
    threads.

Raises
------
ValueError
    If shapes do not fit.
TypeError
    If `grad_output` is not float16, float32 or float64.
MemoryError
    If the result cannot be had.

References
----------
.. [1] torch.nn.functional.adaptive_avg_pool<n>d, whose gradient this is.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> grad_output = np.ones((1, 3, <half>), np.float32)
>>> grad_input = fc.adaptive_avg_pool<n>d_backward(grad_output, (1, 3, <shape>))
>>> grad_input.shape, float(grad_input.sum()) == float(grad_output.sum())
((1, 3, <shape>), True)
"""


@documented(_ADAPTIVE, 1)
def adaptive_avg_pool1d(input: ArrayLike, output_size: OutputSize) -> Array:
    return _adaptive("adaptive_avg_pool1d", 1, input, output_size)


@documented(_ADAPTIVE_BACKWARD, 1)
def adaptive_avg_pool1d_backward(grad_output: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _adaptive_backward("adaptive_avg_pool1d_backward", 1, grad_output, input_shape)


@documented(_ADAPTIVE, 2)
def adaptive_avg_pool2d(input: ArrayLike, output_size: OutputSize) -> Array:
    return _adaptive("adaptive_avg_pool2d", 2, input, output_size)


@documented(_ADAPTIVE_BACKWARD, 2)
def adaptive_avg_pool2d_backward(grad_output: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _adaptive_backward("adaptive_avg_pool2d_backward", 2, grad_output, input_shape)


@documented(_ADAPTIVE, 3)
def adaptive_avg_pool3d(input: ArrayLike, output_size: OutputSize) -> Array:
    return _adaptive("adaptive_avg_pool3d", 3, input, output_size)


@documented(_ADAPTIVE_BACKWARD, 3)
def adaptive_avg_pool3d_backward(grad_output: ArrayLike, input_shape: tuple[int, ...]) -> Array:
    return _adaptive_backward("adaptive_avg_pool3d_backward", 3, grad_output, input_shape)
