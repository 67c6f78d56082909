"""Normalisation across neighbouring channels, beside its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, _ops, plan
from fastconv._check import Array
from fastconv.functional._norm import Sets, compute, planned, prepared

__all__ = ["local_response_norm", "local_response_norm_backward"]


def local_response_norm(
    input: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, channel_axis: int = 1
) -> Array:
    """Divide each value by a power of the squares around it in neighbouring channels.

    ``y[c] = x[c] / (k + alpha / size * sum of x[i]**2 for c - size//2 <= i <= c + (size-1)//2)**beta``, with zeros for
    channels that are not there.

    Axes: N batch, C channels, and any others.

    Parameters
    ----------
    input : array_like of shape (N, C, ...)
        float16, float32 or float64, with two axes or more.
    size : int
        Number of neighbouring channels, that of the value itself included.
    alpha, beta, k : float
        By default 1e-4, 0.75 and 1. (AlexNet's are 1e-4, 0.75 and 2, with a size of 5 and the sum not divided by it:
        alpha is 5e-4 here.)
    channel_axis : int, default 1
        The axis of channels: -3 takes images with or without a batch axis.

    Returns
    -------
    ndarray of the shape of `input`
        float16 computes in float32 and is returned as float16. The bits do not depend on the number of threads.

    Raises
    ------
    ValueError
        If the shapes do not fit, or an option is not finite.
    TypeError
        If `input` is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
       NIPS 2012, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.local_response_norm(np.array([[[1.0], [2.0], [4.0]]]), 2, alpha=2.0, beta=1.0, k=0.0).ravel()
    array([1. , 0.4, 0.2])
    """
    op, options = "local_response_norm", (size, alpha, beta, k, channel_axis)
    known: _Response | None = plan.recall(op, input, None, None, options)
    if known is not None:
        return compute(op, known.plan, input, None, known.numbers)  # type: ignore[arg-type]
    kind, (x,) = _check.data(op, input=input)
    planes = _check.planes(op, x, channel_axis)
    checked = _options(op, size, alpha, beta, k)
    if x.size == 0:
        return _check.result(op, x.shape, kind)
    found, (x, _, _) = prepared(op, options, lambda: _Response.of(False, x, planes, *checked), x, None, None)
    return compute(op, found.plan, x, None, found.numbers).astype(kind, copy=False)


def local_response_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    channel_axis: int = 1,
) -> Array:
    """Gradient of :func:`local_response_norm` with respect to its input.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, ...)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (N, C, ...)
        What the forward call was given; the powers are computed again.
    size, alpha, beta, k, channel_axis
        As for :func:`local_response_norm`.

    Returns
    -------
    ndarray of the shape of `input`

    Raises
    ------
    ValueError
        If the shapes do not fit, or an option is not finite.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[[1.0], [2.0]]])
    >>> fc.local_response_norm_backward(np.ones((1, 2, 1)), x, 1, alpha=1.0, beta=1.0).ravel()  # of x / (1 + x**2)
    array([ 0.  , -0.12])
    """
    op, options = "local_response_norm_backward", (size, alpha, beta, k, channel_axis)
    known: _Response | None = plan.recall(op, grad_output, input, None, options)
    if known is not None:
        return compute(op, known.plan, grad_output, input, known.numbers)  # type: ignore[arg-type]
    kind, (gy, x) = _check.data(op, grad_output=grad_output, input=input)
    planes = _check.planes(op, x, channel_axis)
    _check.grad(op, gy, x.shape)
    checked = _options(op, size, alpha, beta, k)
    if x.size == 0:
        return _check.result(op, x.shape, kind)
    found, (gy, x, _) = prepared(op, options, lambda: _Response.of(True, x, planes, *checked), gy, x, None)
    return compute(op, found.plan, gy, x, found.numbers).astype(kind, copy=False)


class _Response(NamedTuple):
    """A plan, and the options as it takes them."""

    plan: _engine.Plan
    numbers: Array

    @staticmethod
    def of(
        back: bool, x: Array, planes: tuple[int, int, int], size: int, alpha: float, beta: float, k: float
    ) -> _Response:
        batch, channels, pixels = planes
        around = min(size // 2, channels), min((size - 1) // 2, channels)
        code = _ops.RESPONSE_NORM_GRAD if back else _ops.RESPONSE_NORM
        found = planned(code, "response", x, Sets(batch, 1, channels, channels, pixels), padding=around)
        return _Response(found, np.array([alpha / size, beta, k]))


def _options(op: str, size: Any, alpha: Any, beta: Any, k: Any) -> tuple[int, float, float, float]:
    return (
        _check.integer(op, "size", size, 1),
        _check.real(op, "alpha", alpha),
        _check.real(op, "beta", beta),
        _check.real(op, "k", k),
    )
