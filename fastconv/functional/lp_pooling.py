"""Power-mean (Lp) pooling beside its gradient, composed of NumPy's powers and the sums of mean pooling."""

from __future__ import annotations

from math import isfinite, prod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check
from fastconv._check import Array, WindowProblem
from fastconv.functional._docs import documented
from fastconv.functional._pool import Ints
from fastconv.functional.avg_pooling import pool as mean
from fastconv.functional.avg_pooling import pool_backward as mean_backward

__all__ = [
    "lp_pool1d",
    "lp_pool1d_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "lp_pool3d",
    "lp_pool3d_backward",
]

# ---------------------------------------------------------------------------------------------------- what they share


def norm_of(op: str, norm_type: Any) -> float:
    """Return the checked power."""
    if isinstance(norm_type, bool | np.bool_) or not isinstance(norm_type, Real):
        raise TypeError(f"{op}: norm_type must be a real number, received {norm_type=!r}")
    p = float(norm_type)
    if not (isfinite(p) and p > 0):
        raise ValueError(f"{op}: norm_type must be positive and finite, received {norm_type=!r}")
    return p


def _powers(x: Array, p: float) -> Array:
    """x**p; a broadcast view stays one."""
    once = tuple(slice(0, 1) if step == 0 else slice(None) for step in x.strides)
    return np.broadcast_to(x[once] ** p, x.shape)


def _weights(problem: WindowProblem, dtype: np.dtype[Any]) -> Array:
    """What makes a window's sum that of a whole window: 1, or more where ceil_mode lets it reach beyond the input."""
    counts: Any = np.int64(1)
    for a in problem.axes:
        counts = np.multiply.outer(counts, np.minimum(a.kernel, a.size - np.arange(a.out, dtype=np.int64) * a.stride))
    return np.asarray(prod(a.kernel for a in problem.axes) / counts.astype(dtype))


def _sums(
    op: str, n: int, x: Array, p: float, kernel_size: Any, stride: Any, ceil_mode: Any
) -> tuple[Array, Array, tuple[int, ...]]:
    """Return the windows' sums of powers, each times its weight, the weights, and the shape of the result."""
    batched, shape = _check.shape_of(op, "input", x, n)
    problem = _check.window_problem(op, n, shape, batched, kernel_size, stride, 0, 1, ceil_mode)
    weights = _weights(problem, x.dtype)
    sums = mean(op, n, _powers(x, p), kernel_size, stride, 0, ceil_mode, True, 1)
    return (sums * weights if (weights != 1).any() else sums), weights, problem.output_shape


def _pool(op: str, n: int, input: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any) -> Array:
    dtype, (x,) = _check.data(op, input=input)
    p = norm_of(op, norm_type)
    with np.errstate(all="ignore"):  # a negative number to a fractional power is NaN
        sums, _, _ = _sums(op, n, x, p, kernel_size, stride, ceil_mode)
        return np.asarray(sums ** (1 / p), dtype)


def _backward(
    op: str, n: int, grad_output: Any, input: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any
) -> Array:
    dtype, (gy, x) = _check.data(op, grad_output=grad_output, input=input)
    p = norm_of(op, norm_type)
    with np.errstate(all="ignore"):
        sums, weights, shape = _sums(op, n, x, p, kernel_size, stride, ceil_mode)
        _check.grad(op, gy, shape)
        slope = np.where(sums == 0, 0, sums ** (1 / p - 1)) * weights
        spread = mean_backward(op, n, gy * slope, x.shape, kernel_size, stride, 0, ceil_mode, True, 1)
        return np.asarray(_powers(x, p - 1) * spread, dtype)


# ---------------------------------------------------------------------------------------------------- lp_pool

_LP_POOL = """p-norm of windows that slide over <word>.

``y[n, c, o] = (sum over t of x[n, c, o*stride + t] ** p) ** (1 / p)``. Powers keep signs: a negative sum, which an odd
`p` may give, has no root and becomes NaN (but not for p = 1).

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
norm_type : float
    p > 0: 1 gives sums, 2 the Euclidean norm.
kernel_size : int or tuple of ints
    Size of a window, one for all axes or one for each.
stride : int or tuple of ints, optional
    Step from window to window; by default the window's size.
ceil_mode : bool, default False
    Whether a last window may reach over the end of the input. Its sum then stands for a whole window: it is multiplied
    by the window's size and divided by the number of its elements.

Returns
-------
ndarray of shape (N, C, <out>) or (C, <out>)
    Each side is ``floor((size - kernel_size) / stride) + 1``, rounded up with `ceil_mode`. Of the dtype of `input`;
    float16 computes in float32.

Raises
------
ValueError
    If shapes or options do not fit, or `norm_type` is not positive and finite.
TypeError
    If `input` is not float16, float32 or float64, or an option is not of its type.
MemoryError
    If the result, or the input's powers, cannot be had.

References
----------
.. [1] P. Sermanet, S. Chintala, Y. LeCun, "Convolutional Neural Networks Applied to House Numbers Digit
   Classification", ICPR 2012.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> y = fc.lp_pool<n>d(x, 2, 2)
>>> y.shape, bool(np.allclose(y, 2 ** (<n> / 2)))
((1, 3, <half>), True)
"""

_LP_POOL_BACKWARD = """Gradient of :func:`lp_pool<n>d` with respect to its input.

``gx[i] = x[i]**(p - 1) * sum over o of grad_output[o] * y[o]**(1 - p)`` for the windows `o` that read element `i`. A
window whose sum is zero passes no gradient.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, C, <out>) or (C, <out>)
    Gradient of a scalar with respect to the result, whose side is ``floor((size - kernel_size) / stride) + 1``, rounded
    up with `ceil_mode`.
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    What the forward call was given.
norm_type, kernel_size, stride, ceil_mode
    As for :func:`lp_pool<n>d`.

Returns
-------
ndarray of shape (N, C, <axes>) or (C, <axes>)
    The sums are made in one order, whatever the number of threads.

Raises
------
ValueError
    If shapes or options do not fit, or `norm_type` is not positive and finite.
TypeError
    If an array is not float16, float32 or float64, or an option is not of its type.
MemoryError
    If the result, or the input's powers, cannot be had.

References
----------
.. [1] torch.nn.functional.lp_pool<n>d, whose gradient this is.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> grad_input = fc.lp_pool<n>d_backward(np.ones((1, 3, <half>), np.float32), x, 1, 2)
>>> bool((grad_input == 1).all())
True
"""


@documented(_LP_POOL, 1)
def lp_pool1d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    return _pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


@documented(_LP_POOL_BACKWARD, 1)
def lp_pool1d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    return _backward("lp_pool1d_backward", 1, grad_output, input, norm_type, kernel_size, stride, ceil_mode)


@documented(_LP_POOL, 2)
def lp_pool2d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    return _pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


@documented(_LP_POOL_BACKWARD, 2)
def lp_pool2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    return _backward("lp_pool2d_backward", 2, grad_output, input, norm_type, kernel_size, stride, ceil_mode)


@documented(_LP_POOL, 3)
def lp_pool3d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    return _pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


@documented(_LP_POOL_BACKWARD, 3)
def lp_pool3d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Array:
    return _backward("lp_pool3d_backward", 3, grad_output, input, norm_type, kernel_size, stride, ceil_mode)
