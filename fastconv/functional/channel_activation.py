"""Activation functions that know channels: prelu with its learned slopes, and maxout; each beside its gradient."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check as check
from fastconv import _engine, plan
from fastconv._check import Array
from fastconv.functional._map import evaluate
from fastconv.functional._norm import compute

__all__ = ["maxout", "maxout_backward", "prelu", "prelu_backward"]

_KEY = ("prelu",)


def prelu(input: ArrayLike, weight: ArrayLike) -> Array:
    """Return the input where it is positive, and a learned slope times it elsewhere.

    Axes: N batch, C channels, S further axes. The channels are the second axis, if there are two or more.

    Parameters
    ----------
    input : array_like of shape (N, C, *S), (N, C) or (N,)
        float16 (computed in float32), float32 or float64.
    weight : array_like of shape (1,) or (C,)
        The slope, for all channels or for each.

    Returns
    -------
    ndarray of input's shape, of dtype ``np.result_type(input, weight)``
        NaN stays NaN.

    Raises
    ------
    TypeError
        When a dtype is not float16, float32 or float64.
    ValueError
        When the weight does not fit the channels.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.

    Examples
    --------
    >>> prelu(np.array([[-2.0, -2.0], [1.0, 2.0]]), np.array([0.25, 0.5]))
    array([[-0.5, -1. ],
           [ 1. ,  2. ]])
    """
    op = "prelu"
    known: _engine.Plan | None = plan.recall(op, input, None, weight, _KEY)
    if known is not None:
        return compute(op, known, input, None, weight)  # type: ignore[arg-type]
    dtype, (x, w) = check.data(op, input=input, weight=weight)
    return evaluate(op, "prelu", dtype, x, weight=_slopes(op, x, w))


def prelu_backward(grad_output: ArrayLike, input: ArrayLike, weight: ArrayLike) -> tuple[Array, Array]:
    """Return the gradients of `prelu`'s input and weight.

    Axes: N batch, C channels, S further axes.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, *S), (N, C) or (N,)
        Gradient of the output.
    input : array_like of the same shape
        As given to `prelu`.
    weight : array_like of shape (1,) or (C,)
        As given to `prelu`.

    Returns
    -------
    grad_input : ndarray of input's shape
        `grad_output`, times the slope where the input is not positive.
    grad_weight : ndarray of weight's shape
        The sum of ``grad_output * input`` over all elements of the slope that are not positive.

    Raises
    ------
    TypeError
        When a dtype is not float16, float32 or float64.
    ValueError
        When the shapes do not fit.

    Examples
    --------
    >>> prelu_backward(np.ones((2, 2)), np.array([[-2.0, -4.0], [1.0, 2.0]]), np.array([0.25]))
    (array([[0.25, 0.25],
           [1.  , 1.  ]]), array([-6.]))
    """
    op = "prelu_backward"
    dtype, (grad, x, w) = check.data(op, grad_output=grad_output, input=input, weight=weight)
    check.grad(op, grad, x.shape)
    grad_input = evaluate(op, "prelu_grad", dtype, grad, x, weight=_slopes(op, x, w))
    terms = evaluate(op, "prelu_terms", x.dtype, grad, x)
    with np.errstate(all="ignore"):
        planes = (1, 1, terms.size) if w.size == 1 else (len(terms), w.size, prod(terms.shape[2:]))
        each = terms.reshape(planes)
        grad_weight = each.sum(axis=2).sum(axis=0)
    return grad_input, grad_weight.astype(dtype, copy=False)


def _slopes(op: str, x: Array, w: Array) -> Array:
    """Return the slopes, checked: one, or one for each channel."""
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.ndim != 1 or w.size not in (1, channels):
        raise ValueError(
            f"{op}: weight must have shape (1,) or ({channels},) for input of shape {x.shape}, received shape {w.shape}"
        )
    return w


def maxout(input: ArrayLike, pool_size: int, dim: int = 1) -> tuple[Array, Array]:
    """Return the maximum of each group of `pool_size` neighbouring channels, and which of them it was.

    Axes: N batch, C channels, S further axes.

    Parameters
    ----------
    input : array_like of shape (N, C, *S)
        float16, float32 or float64.
    pool_size : int
        How many channels are in a group; it divides C.
    dim : int, default 1
        The axis of the channels; -3 is that of images with batch and without.

    Returns
    -------
    output : ndarray of shape (N, C / pool_size, *S), of input's dtype
        NaN propagates.
    choice : ndarray of int64, of the same shape
        The number in its group of each maximum: the first one, or the first NaN. What `maxout_backward` needs.

    Raises
    ------
    TypeError
        When the dtype is another one, or an option not an integer.
    ValueError
        When there is no such axis, or it cannot be cut into groups.

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", 2013.

    Examples
    --------
    >>> y, choice = maxout(np.array([[1.0, 5.0, 7.0, 3.0]]), pool_size=2)
    >>> y, choice
    (array([[5., 7.]]), array([[1, 0]]))
    """
    op = "maxout"
    dtype, (x,) = check.data(op, input=input)
    size, axis = check.integer(op, "pool_size", pool_size, 1), check.axis(op, dim, x)
    channels = x.shape[axis]
    if channels % size or channels == 0:
        raise ValueError(
            f"{op}: pool_size must divide the {channels} channels of axis {axis}, received pool_size={pool_size}"
        )
    parts = x.reshape(*x.shape[:axis], channels // size, size, *x.shape[axis + 1 :])
    index: list[Any] = [slice(None)] * parts.ndim
    index[axis + 1] = 0
    first = parts[tuple(index)]
    best = check.result(op, first.shape, x.dtype)
    best[...] = first
    choice = check.result(op, best.shape, np.dtype(np.int64), zero=True)
    for number in range(1, size):
        index[axis + 1] = number
        part = parts[tuple(index)]
        with np.errstate(invalid="ignore"):
            better = (part > best) | ((part != part) & (best == best))
        np.copyto(best, part, where=better)
        np.copyto(choice, number, where=better)
    return best.astype(dtype, copy=False), choice


def maxout_backward(grad_output: ArrayLike, choice: ArrayLike, pool_size: int, dim: int = 1) -> Array:
    """Return the gradient of `maxout`'s input: `grad_output` where a channel was chosen, and 0 elsewhere.

    Axes: N batch, C channels, S further axes.

    Parameters
    ----------
    grad_output : array_like of shape (N, C / pool_size, *S)
        Gradient of the output.
    choice : array_like of integers, of the same shape
        What `maxout` returned.
    pool_size : int
        As given to `maxout`.
    dim : int, default 1
        As given to `maxout`.

    Returns
    -------
    ndarray of shape (N, C, *S), of the dtype of `grad_output`

    Raises
    ------
    TypeError
        When `grad_output` is not float16, float32 or float64, or something else not made of integers.
    ValueError
        When the shapes differ, there is no such axis, or a choice is not from 0 to pool_size - 1.

    Examples
    --------
    >>> maxout_backward(np.array([[10.0, 20.0]]), np.array([[1, 0]]), pool_size=2)
    array([[ 0., 10., 20.,  0.]])
    """
    op = "maxout_backward"
    dtype, (grad,) = check.data(op, grad_output=grad_output)
    size, axis = check.integer(op, "pool_size", pool_size, 1), check.axis(op, dim, grad)
    chosen = np.asarray(choice)
    if chosen.dtype.kind not in "iu":
        raise TypeError(f"{op}: choice must hold integers, received choice of dtype {chosen.dtype}")
    check.grad(op, grad, chosen.shape)
    shape = (*grad.shape[: axis + 1], size, *grad.shape[axis + 1 :])
    check.countable(op, shape, dtype)
    result = check.result(op, shape, grad.dtype)  # before a look at choice, which may be a view beyond any memory
    low, high = chosen.min(initial=0), chosen.max(initial=0)
    if low < 0 or high >= size:
        raise ValueError(f"{op}: choice must be from 0 to {size - 1}, received {low if low < 0 else high}")
    for number in range(size):
        index = (slice(None),) * (axis + 1) + (number,)
        result[index] = np.where(chosen == number, grad, 0)
    whole = result.reshape(*grad.shape[:axis], prod(shape[axis : axis + 2]), *grad.shape[axis + 1 :])
    return whole.astype(dtype, copy=False)
