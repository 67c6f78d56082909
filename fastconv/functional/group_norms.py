"""Normalisation of a sample by its own mean and variance: of the last axes, or of groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from numpy.typing import ArrayLike

from fastconv import _check, plan
from fastconv._check import Array
from fastconv.functional._gradients import Three, cast
from fastconv.functional._norm import RowNorm, RowNormGrad, SetNorm, SetNormGrad, Sets, empty_gradients, prepared

__all__ = ["group_norm", "group_norm_backward", "layer_norm", "layer_norm_backward"]

_FEW = 16  # pixels: with fewer than fill vectors, weights are spread over them, and groups are rows


def layer_norm(
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Array:
    """Normalise the last axes together, ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Mean and (biased) variance are those of all values that differ in the last axes only.

    Parameters
    ----------
    input : array_like of shape (..., *normalized_shape)
        float16, float32 or float64.
    normalized_shape : int or tuple of ints
        The shape of the last axes.
    weight, bias : array_like of shape normalized_shape, optional
        Factor and summand of each value; by default 1 and 0.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.

    Returns
    -------
    ndarray of the shape of `input`
        float16 computes in float32 and is returned as float16. The bits do not depend on the number of threads.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layer_norm(np.array([[3.0, 5.0], [0.0, 4.0]]), 2, np.array([1.0, 10.0]), eps=0.0)
    array([[-1., 10.],
           [-1., 10.]])
    """
    op, options = "layer_norm", (normalized_shape, eps)
    known: RowNorm | None = plan.recall(op, input, weight, bias, options)
    if known is not None:
        return known.output(op, input, weight, bias)  # type: ignore[arg-type]
    kind, (x, w, b) = _check.data(op, ("weight", "bias"), input=input, weight=weight, bias=bias)
    shape = _last_axes(op, x, normalized_shape)
    _check.per_channel(op, shape, weight=w, bias=b)
    added = _check.real(op, "eps", eps, 0)
    if x.size == 0:
        return _check.result(op, x.shape, kind)
    found, (x, w, b) = prepared(op, options, lambda: RowNorm.of(x, _rows(x, shape), added), x, w, b)
    return found.output(op, x, w, b).astype(kind, copy=False)


def layer_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Three:
    """Gradients of :func:`layer_norm` with respect to input, weight and bias.

    Parameters
    ----------
    grad_output : array_like of shape (..., *normalized_shape)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (..., *normalized_shape)
        What the forward call was given; its statistics are taken again.
    normalized_shape, weight, eps
        As for :func:`layer_norm`.
    needs : tuple of three bools, default (True, True, True)
        Which gradients to compute: of input, weight, bias.

    Returns
    -------
    tuple of (grad_input, grad_weight, grad_bias)
        ndarrays of the shape of `input` and of shape `normalized_shape` twice; None where not needed.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layer_norm_backward(np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), 2, eps=0.0)
    (array([[0., 0.]]), array([-1.,  2.]), array([1., 2.]))
    """
    op, options = "layer_norm_backward", (normalized_shape, eps, needs)
    known: RowNormGrad | None = plan.recall(op, grad_output, input, weight, options)
    if known is not None:
        return known.backward(op, grad_output, input, weight)  # type: ignore[arg-type]
    kind, (gy, x, w) = _check.data(op, ("weight",), grad_output=grad_output, input=input, weight=weight)
    wanted = _check.needs(op, needs)
    shape = _last_axes(op, x, normalized_shape)
    _check.grad(op, gy, x.shape)
    _check.per_channel(op, shape, weight=w)
    added = _check.real(op, "eps", eps, 0)
    if x.size == 0:
        return empty_gradients(op, x, shape, wanted, kind)

    def make() -> RowNormGrad:
        return RowNormGrad.of(x, _rows(x, shape), shape, added, wanted)

    found, (gy, x, w) = prepared(op, options, make, gy, x, w)
    return cast(found.backward(op, gy, x, w), kind)


def _rows(x: Array, shape: tuple[int, ...]) -> Sets:
    features = prod(shape)
    return Sets(x.size // features, 1, 1, 1, features)


def _last_axes(op: str, x: Array, normalized_shape: Any) -> tuple[int, ...]:
    shape = _check.normalized(op, normalized_shape)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{op}: input must end with the axes normalized_shape={normalized_shape!r}, "
            f"received input of shape {x.shape}"
        )
    return shape


def group_norm(
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
) -> Array:
    """Normalise groups of channels of each sample, ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Mean and (biased) variance are those of a sample's values in a group of neighbouring channels.

    Axes: N batch, C channels, and any others.

    Parameters
    ----------
    input : array_like of shape (N, C, ...)
        float16, float32 or float64, with two axes or more.
    num_groups : int
        Number of groups; C must be a multiple of it.
    weight, bias : array_like of shape (C,), optional
        Factor and summand of each channel; by default 1 and 0.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.
    channel_axis : int, default 1
        The axis of channels: -3 takes images with or without a batch axis.

    Returns
    -------
    ndarray of the shape of `input`
        float16 computes in float32 and is returned as float16. The bits do not depend on the number of threads.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] Y. Wu, K. He, "Group Normalization", ECCV 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.group_norm(np.array([[3.0, 5.0, 0.0, 4.0]]), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    op, options = "group_norm", (num_groups, eps, channel_axis)
    known: RowNorm | SetNorm | None = plan.recall(op, input, weight, bias, options)
    if known is not None:
        return known.output(op, input, weight, bias)  # type: ignore[arg-type]
    kind, (x, w, b) = _check.data(op, ("weight", "bias"), input=input, weight=weight, bias=bias)
    batch, channels, pixels = _check.planes(op, x, channel_axis)
    groups = _groups(op, channels, num_groups)
    _check.per_channel(op, (channels,), weight=w, bias=b)
    added = _check.real(op, "eps", eps, 0)
    if x.size == 0:
        return _check.result(op, x.shape, kind)

    def make() -> RowNorm | SetNorm:
        each = channels // groups
        if pixels < _FEW:
            return RowNorm.of(x, Sets(batch, groups, 1, 1, each * pixels), added, pixels)
        return SetNorm.of(x, Sets(1, batch * groups, each, channels, pixels), (batch, groups), True, added)

    found, (x, w, b) = prepared(op, options, make, x, w, b)
    return found.output(op, x, w, b).astype(kind, copy=False)


def group_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Three:
    """Gradients of :func:`group_norm` with respect to input, weight and bias.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, ...)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (N, C, ...)
        What the forward call was given; its statistics are taken again.
    num_groups, weight, eps, channel_axis
        As for :func:`group_norm`.
    needs : tuple of three bools, default (True, True, True)
        Which gradients to compute: of input, weight, bias.

    Returns
    -------
    tuple of (grad_input, grad_weight, grad_bias)
        ndarrays of the shape of `input` and of shape (C,) twice; None where not needed.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.group_norm_backward(np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), 1, eps=0.0)
    (array([[0., 0.]]), array([-1.,  2.]), array([1., 2.]))
    """
    op, options = "group_norm_backward", (num_groups, eps, channel_axis, needs)
    known: RowNormGrad | SetNormGrad | None = plan.recall(op, grad_output, input, weight, options)
    if known is not None:
        return known.backward(op, grad_output, input, weight)  # type: ignore[arg-type]
    kind, (gy, x, w) = _check.data(op, ("weight",), grad_output=grad_output, input=input, weight=weight)
    wanted = _check.needs(op, needs)
    batch, channels, pixels = _check.planes(op, x, channel_axis)
    groups = _groups(op, channels, num_groups)
    _check.grad(op, gy, x.shape)
    _check.per_channel(op, (channels,), weight=w)
    added = _check.real(op, "eps", eps, 0)
    if x.size == 0:
        return empty_gradients(op, x, (channels,), wanted, kind)

    def make() -> RowNormGrad | SetNormGrad:
        each = channels // groups
        if pixels < _FEW:
            sets = Sets(batch, groups, 1, 1, each * pixels)
            return RowNormGrad.of(x, sets, (channels,), added, wanted, pixels)
        return SetNormGrad.of(x, Sets(1, batch * groups, each, channels, pixels), False, True, added, wanted)

    found, (gy, x, w) = prepared(op, options, make, gy, x, w)
    return cast(found.backward(op, gy, x, w), kind)


def _groups(op: str, channels: int, num_groups: Any) -> int:
    groups = _check.integer(op, "num_groups", num_groups, 1)
    if channels % groups:
        raise ValueError(
            f"{op}: the {channels} channels of input must be divisible by num_groups, received {num_groups=}"
        )
    return groups
