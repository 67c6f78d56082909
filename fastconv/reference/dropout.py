"""Dropout of elements and of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, finish, floats


def _mask(op: str, shape: tuple[int, ...], p: float, training: bool, generator: Any) -> Array:
    """Return which places are kept: those whose 32 random bits are at least p * 2**32."""
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: p must be a number from 0 to 1, received p={p!r}")
    draws = np.random.default_rng(generator).integers(0, 2**32, shape, np.uint32) if training else np.ones(shape)
    return np.asarray(draws >= round(p * 2**32)) if training else np.ones(shape, bool)


def _scaled(x: Array, mask: Array, p: float, training: bool) -> Array:
    """Return ``x * mask / (1 - p)``."""
    with np.errstate(invalid="ignore"):  # 0 * inf is NaN, as it should be
        return x * mask * (1 / (1 - p) if training and p < 1 else 1)


def dropout(input: ArrayLike, p: float = 0.5, training: bool = True, *, generator: Any = None) -> tuple[Array, Array]:
    """Return ``input`` with each element set to 0 with probability p, the others times 1 / (1 - p); and the mask.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import dropout
    >>> y, mask = dropout(np.ones(8), generator=0)
    >>> np.array_equal(y, 2.0 * mask)
    True
    """
    dtype, x = floats("dropout", input=input)
    mask = _mask("dropout", x.shape, p, training, generator)
    return finish(_scaled(x, mask, p, training), dtype), mask


def dropout_backward(grad_output: ArrayLike, mask: ArrayLike, p: float = 0.5, training: bool = True) -> Array:
    """Return dropout's gradient by its input: ``grad_output * mask / (1 - p)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import dropout_backward
    >>> dropout_backward(np.array([3.0, 6.0]), np.array([True, False]))
    array([6., 0.])
    """
    dtype, gy = floats("dropout_backward", grad_output=grad_output)
    return finish(_scaled(gy, np.asarray(mask), p, training), dtype)


def dropout2d(input: ArrayLike, p: float = 0.5, training: bool = True, *, generator: Any = None) -> tuple[Array, Array]:
    """Return ``input`` (N, C, H, W) or (C, H, W) with whole channels dropped, and the mask (N, C, 1, 1) or (C, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import dropout2d
    >>> y, mask = dropout2d(np.ones((8, 2, 2)), generator=0)
    >>> np.array_equal(y, mask * np.full((8, 2, 2), 2.0))
    True
    """
    dtype, x = floats("dropout2d", input=input)
    mask = _mask("dropout2d", (*x.shape[:-2], 1, 1), p, training, generator)
    return finish(_scaled(x, mask, p, training), dtype), mask


def dropout2d_backward(grad_output: ArrayLike, mask: ArrayLike, p: float = 0.5, training: bool = True) -> Array:
    """Return dropout2d's gradient by its input: ``grad_output * mask / (1 - p)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import dropout2d_backward
    >>> dropout2d_backward(np.ones((2, 1, 1)), np.array([True, False]).reshape(2, 1, 1)).ravel()
    array([2., 0.])
    """
    dtype, gy = floats("dropout2d_backward", grad_output=grad_output)
    return finish(_scaled(gy, np.asarray(mask), p, training), dtype)
