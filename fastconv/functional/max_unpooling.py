"""Max unpooling, the partial inverse of max pooling, beside its gradient."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _ops
from fastconv._check import Array
from fastconv.functional._docs import documented
from fastconv.functional._pool import (
    Ints,
    Padding,
    Recipe,
    places,
    recipe_for,
    refuse,
    run_scatter,
    same_shape,
    scatter_recipe,
)

__all__ = [
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
]

# ---------------------------------------------------------------------------------------------------- what they share


def _unpooled_size(
    op: str, n: int, size: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[int, ...]:
    """Return the size that was pooled: the usual one, or one less than a stride away from it."""
    kernel = _check.per_axis(op, "kernel_size", kernel_size, n, 1)
    strides = kernel if stride is None else _check.per_axis(op, "stride", stride, n, 1)
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding must be ints or (lo, hi) pairs, received {padding=!r}")
    pads = _check.padding_pairs(op, padding, size, kernel, strides, (1,) * n)
    usual = tuple((t - 1) * s - lo - hi + k for t, s, (lo, hi), k in zip(size, strides, pads, kernel, strict=True))
    chosen = usual
    if output_size is not None:
        chosen = _check.sizes(op, "output_size", output_size)
        chosen = chosen[2:] if len(chosen) == n + 2 else chosen
        if len(chosen) != n or any(abs(c - u) >= s for c, u, s in zip(chosen, usual, strides, strict=True)):
            raise ValueError(
                f"{op}: output_size must have {n} entries, each less than a stride from {usual}, "
                f"received {output_size=!r}"
            )
    if min(chosen) < 1:
        raise ValueError(
            f"{op}: the result must not be empty: (size - 1) * stride - lo - hi + kernel_size is {usual}, "
            f"received {padding=!r} and {output_size=!r}"
        )
    return chosen


def _unpool(
    op: str, n: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Array:
    dtype, (x,) = _check.data(op, input=input)
    at = places(op, indices)
    same_shape(op, at, "input", x)

    def make() -> Recipe:
        batched, shape = _check.shape_of(op, "input", x, n)
        if 0 in shape[1:]:
            raise ValueError(f"{op}: input may be empty along its batch axis only, received input of shape {x.shape}")
        out = _unpooled_size(op, n, shape[2:], kernel_size, stride, padding, output_size)
        return scatter_recipe(op, batched, shape[:2], shape[2:], out, _ops.MAX_UNPOOL, x.dtype)

    recipe = recipe_for((op, x.shape, x.dtype.num), (kernel_size, stride, padding, output_size), make)
    return run_scatter(op, n, recipe, x, at, dtype)


def _unpool_backward(op: str, n: int, grad_output: Any, indices: Any) -> Array:
    dtype, (gy,) = _check.data(op, grad_output=grad_output)
    at = places(op, indices)
    _check.shape_of(op, "grad_output", gy, n)
    if at.ndim != gy.ndim or at.shape[:-n] != gy.shape[:-n]:
        raise ValueError(
            f"{op}: indices must have the batch and channels of grad_output, whose shape is {gy.shape}, "
            f"received indices of shape {at.shape}"
        )
    result = _check.result(op, at.shape, dtype)  # before a look at indices, which may be a view beyond any memory
    if at.size == 0:
        return result
    size = gy.shape[-n:]
    if at.min() < 0 or at.max() >= prod(size):
        refuse(op, at, size)
    leading = np.ix_(*map(np.arange, gy.shape[:-n]), *[np.zeros(1, np.int64)] * n)[:-n]
    result[...] = gy[(*leading, *np.unravel_index(at, size))]
    return result


# ---------------------------------------------------------------------------------------------------- max_unpool

_UNPOOL = """Put maxima back where they came from, among zeros: a partial inverse of :func:`max_pool<n>d`.

``y[n, c, indices[n, c, i]] = x[n, c, i]``; of several values for one place the last stays.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
input : array_like of shape (N, C, <axes>) or (C, <axes>)
    float16, float32 or float64; any strides, read-only or not. Never changed.
indices : array_like of integers of the same shape
    Flat indices in the result's plane of <out>, as max pooling returns them.
kernel_size, stride, padding
    As max pooling took them.
output_size : tuple of ints, optional
    Sizes of <out>, alone or after N and C, where several pool to the input's: less than a stride from the usual ones.

Returns
-------
ndarray of shape (N, C, <out>) or (C, <out>)
    Each side is ``(size - 1) * stride - lo - hi + kernel_size``, or as `output_size` says. Of the input's dtype.

Raises
------
ValueError
    If shapes or options do not fit, or an index does not lie in the result's plane.
TypeError
    If `input` is not float16, float32 or float64, `indices` does not hold integers, or an option is not of its type.
MemoryError
    If the result cannot be had.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 ("unpooling").

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> y, indices = fc.max_pool<n>d(x, 2, return_indices=True)
>>> fc.max_unpool<n>d(y, indices, 2).shape
(1, 3, <shape>)
"""

_UNPOOL_BACKWARD = """Gradient of :func:`max_unpool<n>d` with respect to its input.

``gx[n, c, i] = grad_output[n, c, indices[n, c, i]]``.

Axes: N batch, C channels, <axes> spatial.

Parameters
----------
grad_output : array_like of shape (N, C, <out>) or (C, <out>)
    Gradient of a scalar with respect to the result.
indices : array_like of integers of shape (N, C, <axes>) or (C, <axes>)
    As the forward call took them.

Returns
-------
ndarray of shape (N, C, <axes>) or (C, <axes>)
    The shape of `indices`.

Raises
------
ValueError
    If shapes do not fit, or an index does not lie in the plane of <out>.
TypeError
    If `grad_output` is not float16, float32 or float64, or `indices` does not hold integers.
MemoryError
    If the result cannot be had.

References
----------
.. [1] torch.nn.functional.max_unpool<n>d, whose gradient this is.

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> x = np.ones((1, 3, <shape>), np.float32)
>>> y, indices = fc.max_pool<n>d(x, 2, return_indices=True)
>>> fc.max_unpool<n>d_backward(x, indices).shape == y.shape
True
"""


@documented(_UNPOOL, 1)
def max_unpool1d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


@documented(_UNPOOL_BACKWARD, 1)
def max_unpool1d_backward(grad_output: ArrayLike, indices: ArrayLike) -> Array:
    return _unpool_backward("max_unpool1d_backward", 1, grad_output, indices)


@documented(_UNPOOL, 2)
def max_unpool2d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


@documented(_UNPOOL_BACKWARD, 2)
def max_unpool2d_backward(grad_output: ArrayLike, indices: ArrayLike) -> Array:
    return _unpool_backward("max_unpool2d_backward", 2, grad_output, indices)


@documented(_UNPOOL, 3)
def max_unpool3d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    output_size: tuple[int, ...] | None = None,
) -> Array:
    return _unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


@documented(_UNPOOL_BACKWARD, 3)
def max_unpool3d_backward(grad_output: ArrayLike, indices: ArrayLike) -> Array:
    return _unpool_backward("max_unpool3d_backward", 3, grad_output, indices)
