"""Nearest-neighbour resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, expect_shape, finish, floats, per_axis


def _sources(op: str, shape: tuple[int, ...], size: Any, scale_factor: Any, mode: str) -> list[Array]:
    """Return, for each spatial axis, which input every output takes: ``floor(o * S / T)``."""
    n = len(shape) - 2
    if mode != "nearest" or not 1 <= n <= 3 or (size is None) == (scale_factor is None):
        raise ValueError(f"{op}: needs mode 'nearest', (N, C, *S), either size or scale_factor; got {shape}, {mode}")
    if size is None:
        factors = per_axis(op, "scale_factor", scale_factor, n, 1)
        size = tuple(s * factor for s, factor in zip(shape[2:], factors, strict=True))
    return [np.arange(t) * s // t for s, t in zip(shape[2:], per_axis(op, "size", size, n, 1), strict=True)]


def interpolate(input: ArrayLike, size: Any = None, scale_factor: Any = None, mode: str = "nearest") -> Array:
    """Return ``input`` (N, C, *S) with spatial axes of ``size``, or ``scale_factor`` times as long.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import interpolate
    >>> interpolate(np.array([[[1.0, 2.0, 3.0]]]), size=5)
    array([[[1., 1., 2., 2., 3.]]])
    """
    dtype, x = floats("interpolate", input=input)
    for axis, source in enumerate(_sources("interpolate", x.shape, size, scale_factor, mode), 2):
        x = np.take(x, source, axis)
    return finish(np.array(x), dtype)


def interpolate_backward(
    grad_output: ArrayLike,
    input_shape: tuple[int, ...],
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
) -> Array:
    """Return interpolate's gradient by its input: the sum of what the copies of each element received.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import interpolate_backward
    >>> interpolate_backward(np.array([[[1.0, 10.0, 100.0]]]), (1, 1, 2), size=3)
    array([[[ 11., 100.]]])
    """
    op = "interpolate_backward"
    dtype, gy = floats(op, grad_output=grad_output)
    sources = _sources(op, tuple(input_shape), size, scale_factor, mode)
    expect_shape(op, "grad_output", gy, (*input_shape[:2], *(len(source) for source in sources)))
    gx = np.zeros(input_shape, gy.dtype)
    for place in np.ndindex(*gy.shape[2:]):
        target = tuple(source[o] for source, o in zip(sources, place, strict=True))
        gx[(slice(None), slice(None), *target)] += gy[(slice(None), slice(None), *place)]
    return finish(gx, dtype)
