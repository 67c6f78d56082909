"""Dropout of elements and of whole channels, each beside its gradient."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check as check
from fastconv import _engine, _lowering, plan
from fastconv._check import Array
from fastconv._engine import Alike
from fastconv.functional._norm import compute

__all__ = ["dropout", "dropout2d", "dropout2d_backward", "dropout_backward"]

Generator: TypeAlias = "np.random.Generator | int | None"  # quoted: np.random is slow to import


def dropout(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, generator: Generator = None
) -> tuple[Array, Array]:
    """Set each element to 0 with probability `p`, and multiply the others by 1 / (1 - p).

    Parameters
    ----------
    input : array_like of any shape
        float16 (computed in float32), float32 or float64.
    p : float, default 0.5
        From 0 to 1.
    training : bool, default True
        With False the result is a copy of the input.
    generator : numpy.random.Generator, int or None
        Where the draws come from; a seed makes a new one, None takes a seed from the system.

    Returns
    -------
    output : ndarray of the same shape and dtype
        NaN and infinities that are dropped become NaN, as 0 times them is.
    mask : ndarray of bool, of the same shape
        Which elements were kept: what `dropout_backward` needs.

    Raises
    ------
    TypeError
        When the dtype is another one, or an option not of its type.
    ValueError
        When `p` is not from 0 to 1, or a seed is negative.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.

    Examples
    --------
    >>> y, mask = dropout(np.ones(6), p=0.25, generator=1)
    >>> np.array_equal(y, mask * (4 / 3))
    True
    """
    op = "dropout"
    known: _Recipe | None = plan.recall(op, input, None, None, (p, training))
    if known is not None:
        return known.drop(op, input, check.generator(op, generator))
    dtype, [x] = check.data(op, input=input)
    return _drop(op, x, dtype, x.shape, p, training, generator)


def dropout_backward(grad_output: ArrayLike, mask: ArrayLike, p: float = 0.5, training: bool = True) -> Array:
    """Return the gradient of `dropout`'s input: ``grad_output * mask / (1 - p)``.

    Parameters
    ----------
    grad_output : array_like of any shape
        Gradient of the output.
    mask : array_like of bool, of the same shape
        What `dropout` returned.
    p : float, default 0.5
        As given to `dropout`.
    training : bool, default True
        As given to `dropout`.

    Returns
    -------
    ndarray of the shape and dtype of `grad_output`

    Raises
    ------
    TypeError
        When `grad_output` is not float16, float32 or float64, `mask` not of bool, or an option not of its type.
    ValueError
        When the shapes differ, or `p` is not from 0 to 1.

    Examples
    --------
    >>> dropout_backward(np.array([3.0, 6.0]), np.array([True, False]), p=0.25)
    array([4., 0.])
    """
    op, options = "dropout_backward", (Alike(mask), p, training)
    known: _Recipe | None = plan.recall(op, grad_output, None, None, options)
    if known is not None:
        return known.scaled(op, grad_output, mask)
    dtype, [grad] = check.data(op, grad_output=grad_output)
    kept = _kept(op, mask, grad, grad.shape)
    return _scale(op, grad, kept, dtype, _probability(op, p), check.flag(op, "training", training), options)


def dropout2d(
    input: ArrayLike, p: float = 0.5, training: bool = True, *, generator: Generator = None
) -> tuple[Array, Array]:
    """Set each channel to 0 with probability `p`, and multiply the others by 1 / (1 - p).

    Axes: N batch, C channels, H height, W width.

    Parameters
    ----------
    input : array_like of shape (N, C, H, W) or (C, H, W)
        float16 (computed in float32), float32 or float64.
    p, training, generator
        As for `dropout`.

    Returns
    -------
    output : ndarray of the same shape and dtype
    mask : ndarray of bool, of shape (N, C, 1, 1) or (C, 1, 1)
        Which channels were kept: what `dropout2d_backward` needs.

    Raises
    ------
    TypeError
        When the dtype is another one, or an option not of its type.
    ValueError
        When the input has other axes, `p` is not from 0 to 1, or a seed is negative.

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> y, mask = dropout2d(np.ones((1, 8, 2, 2)), generator=3)
    >>> np.array_equal(y, mask * np.full((1, 8, 2, 2), 2.0))
    True
    """
    op = "dropout2d"
    known: _Recipe | None = plan.recall(op, input, None, None, (p, training))
    if known is not None:
        return known.drop(op, input, check.generator(op, generator))
    dtype, [x] = check.data(op, input=input)
    check.shape_of(op, "input", x, 2)
    return _drop(op, x, dtype, (*x.shape[:-2], 1, 1), p, training, generator)


def dropout2d_backward(grad_output: ArrayLike, mask: ArrayLike, p: float = 0.5, training: bool = True) -> Array:
    """Return the gradient of `dropout2d`'s input: ``grad_output * mask / (1 - p)``.

    Axes: N batch, C channels, H height, W width.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, H, W) or (C, H, W)
        Gradient of the output.
    mask : array_like of bool, of shape (N, C, 1, 1) or (C, 1, 1)
        What `dropout2d` returned.
    p : float, default 0.5
        As given to `dropout2d`.
    training : bool, default True
        As given to `dropout2d`.

    Returns
    -------
    ndarray of the shape and dtype of `grad_output`

    Raises
    ------
    TypeError
        When `grad_output` is not float16, float32 or float64, `mask` not of bool, or an option not of its type.
    ValueError
        When the shapes do not fit, or `p` is not from 0 to 1.

    Examples
    --------
    >>> dropout2d_backward(np.ones((2, 1, 2)), np.array([True, False]).reshape(2, 1, 1))
    array([[[2., 2.]],
    <BLANKLINE>
           [[0., 0.]]])
    """
    op, options = "dropout2d_backward", (Alike(mask), p, training)
    known: _Recipe | None = plan.recall(op, grad_output, None, None, options)
    if known is not None:
        return known.scaled(op, grad_output, mask)
    dtype, [grad] = check.data(op, grad_output=grad_output)
    check.shape_of(op, "grad_output", grad, 2)
    kept = _kept(op, mask, grad, (*grad.shape[:-2], 1, 1))
    return _scale(op, grad, kept, dtype, _probability(op, p), check.flag(op, "training", training), options)


# ---------------------------------------------------------------------------------------------------- what they share


class _Recipe(NamedTuple):
    """How an array is multiplied by 0 or 1 / (1 - p): element by element, or plane by plane."""

    plan: _engine.Plan
    mask: tuple[int, ...]  # its shape
    p: float
    factor: Array

    @staticmethod
    def of(x: Array, mask: tuple[int, ...], p: float) -> _Recipe:
        """Plan it, for arrays like x with a mask of this shape."""
        found = _lowering.elementwise_plan("kept", x.shape, x.dtype, plane=x.size // prod(mask))
        return _Recipe(found, mask, p, np.array([1 / (1 - p)]))

    def drop(self, op: str, x: Any, generator: np.random.Generator) -> tuple[Array, Array]:
        """Return the output and the mask."""
        mask = _draw(op, generator, self.p, self.mask)
        return compute(op, self.plan, x, mask, self.factor), mask

    def scaled(self, op: str, x: Any, mask: Any) -> Array:
        """Return x times the mask's factors."""
        return compute(op, self.plan, x, np.ascontiguousarray(mask), self.factor)


def _drop(
    op: str, x: Array, dtype: np.dtype[Any], shape: tuple[int, ...], p: Any, training: Any, generator: Generator
) -> tuple[Array, Array]:
    """Return the output, and the mask of `shape`."""
    probability, active = _probability(op, p), check.flag(op, "training", training)
    draws = check.generator(op, generator)
    if active:
        mask = _draw(op, draws, probability, shape)
    else:
        mask = check.result(op, shape, np.dtype(np.bool_))
        mask[...] = True
    return _scale(op, x, mask, dtype, probability, active, (p, training)), mask


def _draw(op: str, generator: np.random.Generator, p: float, shape: tuple[int, ...]) -> Array:
    """Return which elements are kept, by 32 random bits for each: twice as fast as random floats."""
    check.countable(op, shape, np.dtype(np.bool_))
    try:
        return _engine.draw(generator, shape, round(p * (1 << 32)))
    except MemoryError:
        raise MemoryError(f"{op}: a mask of shape {shape} cannot be held in memory") from None


def _scale(
    op: str, x: Array, mask: Array, dtype: np.dtype[Any], p: float, training: bool, options: tuple[Any, ...]
) -> Array:
    if training and 0 < p < 1 and x.size and x.ndim:

        def make() -> _Recipe:
            return _Recipe.of(x, mask.shape, p)

        found = plan.recipe_of(op, (x, None, None), options, make)
        return found.scaled(op, check.dense(op, "the input", x), mask).astype(dtype, copy=False)
    result = check.result(op, x.shape, x.dtype)
    with np.errstate(all="ignore"):  # 0 * inf is NaN, as it should be
        if not training or p == 0:
            result[...] = x
        elif p == 1:
            np.multiply(x, 0, out=result)
        else:
            np.multiply(x, mask * x.dtype.type(1 / (1 - p)), out=result)
    return result if result.dtype == dtype else result.astype(dtype)


def _kept(op: str, mask: ArrayLike, grad: Array, shape: tuple[int, ...]) -> Array:
    kept = np.asarray(mask)
    if kept.dtype != np.bool_:
        raise TypeError(f"{op}: mask must hold booleans, received mask of dtype {kept.dtype}")
    if kept.shape != shape:
        raise ValueError(
            f"{op}: mask must have the shape {shape} for grad_output of shape {grad.shape}, received shape {kept.shape}"
        )
    return kept


def _probability(op: str, p: Any) -> float:
    value = check.real(op, "p", p)
    if not 0 <= value <= 1:
        raise ValueError(f"{op}: p must be from 0 to 1, received p={p!r}")
    return value
