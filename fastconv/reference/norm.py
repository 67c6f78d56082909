"""Normalisation by batch, layer, group, instance and across neighbouring channels, each beside its gradient.

Statistics are taken in float64 in every case: what a norm divides by is a sum of squared differences, and the oracle
has to be closer to the truth than what it judges.

Axes: N batch, C channels, P everything behind the channels; ``(N, C, P)`` is what any input is seen as.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, expect_shape, finish, integer
from fastconv.reference.arguments import floats as _floats

Three = tuple[Array | None, Array | None, Array | None]
ALL = (True, True, True)


def floats(op: str, **data: ArrayLike | None) -> tuple[Any, ...]:
    """Return the result's dtype and the arrays to compute with; weights and running statistics may be None."""
    needed = ("input", "grad_output", "mean", "var")
    given = {name: value for name, value in data.items() if value is not None or name in needed}
    dtype, *arrays = _floats(op, **given)
    found = dict(zip(given, arrays, strict=True))
    return (dtype, *(found.get(name) for name in data))


def _planes(op: str, x: Array, channel_axis: int, least: int = 2) -> tuple[int, int, int]:
    """Return (N, C, P) of an array."""
    axis = integer(op, "channel_axis", channel_axis, -x.ndim)
    if axis >= x.ndim or x.ndim < least:
        raise ValueError(f"{op}: channel_axis={channel_axis} is no axis of an array of shape {x.shape}")
    axis %= x.ndim
    return math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])


def _columns(op: str, shape: tuple[int, ...], **arrays: Array | None) -> list[Any]:
    """Return the values of each channel, in float64, or None."""
    for name, array in arrays.items():
        if array is not None:
            expect_shape(op, name, array, shape)
    return [None if array is None else array.astype(np.float64, order="C") for array in arrays.values()]


def _by_sample(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """Normalise each row of x (R, C, P) by itself; weight and bias are (R, C, 1). Also return the statistics (R,)."""
    with np.errstate(all="ignore"):
        mean = x.mean(axis=(1, 2), keepdims=True)
        var = ((x - mean) ** 2).mean(axis=(1, 2), keepdims=True)
        y = (x - mean) / np.sqrt(var + eps)
        y = y if weight is None else y * weight
        return (y if bias is None else y + bias), mean[:, 0, 0], var[:, 0, 0]


def _by_sample_backward(gy: Array, x: Array, weight: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """Return the gradient of `_by_sample`'s x, and those of weight and bias for each row and channel (R, C)."""
    xhat, _, var = _by_sample(x, None, None, eps)
    with np.errstate(all="ignore"):
        g = gy if weight is None else gy * weight
        along = g.mean(axis=(1, 2), keepdims=True) + xhat * (g * xhat).mean(axis=(1, 2), keepdims=True)
        gx = (g - along) / np.sqrt(var + eps)[:, None, None]
        return gx, (gy * xhat).sum(axis=2), gy.sum(axis=2)


def _three(needs: Sequence[bool], grads: tuple[Array, Array, Array], shapes: Any, dtype: Any) -> Three:
    """Return those gradients that are needed, in their shapes and dtype."""
    a, b, c = (
        finish(g.reshape(shape), dtype) if need else None for need, g, shape in zip(needs, grads, shapes, strict=True)
    )
    return a, b, c


# ---------------------------------------------------------------------------------------------------- batch


def batch_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
) -> tuple[Array, Array, Array]:
    """Return ``(input - mean) / sqrt(var + eps) * weight + bias`` by channels, and mean and var, (C,) in float64.

    With ``training`` these are the channel's own mean and (biased) variance, otherwise the running ones.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import batch_norm
    >>> batch_norm(np.array([[3.0], [5.0]]), training=True, eps=0.0)
    (array([[-1.],
           [ 1.]]), array([4.]), array([1.]))
    """
    op = "batch_norm"
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    batch, channels, pixels = _planes(op, x, channel_axis)
    _, m, v = floats(op, running_mean=running_mean, running_var=running_var)
    w, b, mean, var = _columns(op, (channels,), weight=w, bias=b, running_mean=m, running_var=v)
    rows = x.reshape(batch, channels, pixels).swapaxes(0, 1).astype(np.float64, order="C")  # (C, N, P)
    if training:
        if batch * pixels == 1:
            raise ValueError(f"{op}: training needs more than one value in a channel, received shape {x.shape}")
        with np.errstate(all="ignore"):
            mean = rows.sum(axis=(1, 2)) / np.float64(batch * pixels)
            var = ((rows - mean[:, None, None]) ** 2).sum(axis=(1, 2)) / np.float64(batch * pixels)
    elif mean is None or var is None:
        raise ValueError(f"{op}: without training, running_mean and running_var must be given")
    with np.errstate(all="ignore"):
        y = (rows - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None]
        y = y if w is None else y * w[:, None, None]
        y = y if b is None else y + b[:, None, None]
    return finish(y.swapaxes(0, 1).reshape(x.shape), dtype), mean, var


def batch_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    weight: ArrayLike | None = None,
    training: bool = False,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    needs: Sequence[bool] = ALL,
) -> Three:
    """Return batch_norm's gradients by input, weight and bias; None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import batch_norm_backward
    >>> x, g = np.array([[3.0], [5.0]]), np.array([[1.0], [2.0]])
    >>> batch_norm_backward(g, x, np.array([4.0]), np.array([1.0]), training=True, eps=0.0)
    (array([[0.],
           [0.]]), array([1.]), array([3.]))
    """
    op = "batch_norm_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    expect_shape(op, "grad_output", gy, x.shape)
    batch, channels, pixels = _planes(op, x, channel_axis)
    _, m, v = floats(op, mean=mean, var=var)
    w, m, v = _columns(op, (channels,), weight=w, mean=m, var=v)
    rows, g = (a.reshape(batch, channels, pixels).swapaxes(0, 1).astype(np.float64, order="C") for a in (x, gy))
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(v + eps)
        xhat = (rows - m[:, None, None]) * scale[:, None, None]
        gw, gb = (g * xhat).sum(axis=(1, 2)), g.sum(axis=(1, 2))
        if training:
            n = max(1, batch * pixels)
            g = g - gb[:, None, None] / n - xhat * gw[:, None, None] / n
        gx = g * (scale if w is None else scale * w)[:, None, None]
    return _three(needs, (gx.swapaxes(0, 1), gw, gb), (x.shape, (channels,), (channels,)), dtype)


# ---------------------------------------------------------------------------------------------------- layer


def _features(op: str, x: Array, normalized_shape: Any) -> tuple[tuple[int, ...], int]:
    """Return the last axes' shape, which are normalised together, and the number of rows before them."""
    single = not isinstance(normalized_shape, Sequence)
    shape = tuple(integer(op, "normalized_shape", s, 1) for s in ([normalized_shape] if single else normalized_shape))
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"{op}: normalized_shape={shape} must be the last axes of input, whose shape is {x.shape}")
    return shape, math.prod(x.shape[: x.ndim - len(shape)])


def layer_norm(
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Array:
    """Return ``(x - mean) / sqrt(var + eps) * weight + bias``, mean and variance of the last axes together.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import layer_norm
    >>> layer_norm(np.array([[3.0, 5.0], [0.0, 4.0]]), 2, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    op = "layer_norm"
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    shape, rows = _features(op, x, normalized_shape)
    w, b = (a if a is None else a.reshape(1, -1, 1) for a in _columns(op, shape, weight=w, bias=b))
    y = _by_sample(x.reshape(rows, math.prod(shape), 1).astype(np.float64, order="C"), w, b, eps)[0]
    return finish(y.reshape(x.shape), dtype)


def layer_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    needs: Sequence[bool] = ALL,
) -> Three:
    """Return layer_norm's gradients by input, weight and bias; None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import layer_norm_backward
    >>> layer_norm_backward(np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), 2, eps=0.0)
    (array([[0., 0.]]), array([-1.,  2.]), array([1., 2.]))
    """
    op = "layer_norm_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    expect_shape(op, "grad_output", gy, x.shape)
    shape, rows = _features(op, x, normalized_shape)
    (w,) = (a if a is None else a.reshape(1, -1, 1) for a in _columns(op, shape, weight=w))
    g, flat = (a.reshape(rows, math.prod(shape), 1).astype(np.float64, order="C") for a in (gy, x))
    gx, gw, gb = _by_sample_backward(g, flat, w, eps)
    return _three(needs, (gx, gw.sum(axis=0), gb.sum(axis=0)), (x.shape, shape, shape), dtype)


# ---------------------------------------------------------------------------------------------------- group


def _groups(op: str, channels: int, num_groups: int) -> int:
    groups = integer(op, "num_groups", num_groups, 1)
    if channels % groups or not channels:
        raise ValueError(f"{op}: {channels} channels must be divisible by groups, received num_groups={num_groups}")
    return groups


def group_norm(
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
) -> Array:
    """Return ``(x - mean) / sqrt(var + eps) * weight + bias``, mean and variance of a sample's channels in groups.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import group_norm
    >>> group_norm(np.array([[3.0, 5.0, 0.0, 4.0]]), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    op = "group_norm"
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    batch, channels, pixels = _planes(op, x, channel_axis)
    groups = _groups(op, channels, num_groups)
    w, b = (_each_row(a, batch, groups) for a in _columns(op, (channels,), weight=w, bias=b))
    rows = x.reshape(batch * groups, channels // groups, pixels).astype(np.float64, order="C")
    return finish(_by_sample(rows, w, b, eps)[0].reshape(x.shape), dtype)


def _each_row(values: Array | None, batch: int, groups: int) -> Array | None:
    """Spread values of channels (C,) over the rows of a batch: (N * G, C / G, 1)."""
    return None if values is None else np.tile(values.reshape(groups, -1, 1), (batch, 1, 1))


def group_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    needs: Sequence[bool] = ALL,
) -> Three:
    """Return group_norm's gradients by input, weight and bias; None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import group_norm_backward
    >>> group_norm_backward(np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), 1, eps=0.0)
    (array([[0., 0.]]), array([-1.,  2.]), array([1., 2.]))
    """
    op = "group_norm_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    expect_shape(op, "grad_output", gy, x.shape)
    batch, channels, pixels = _planes(op, x, channel_axis)
    groups = _groups(op, channels, num_groups)
    (w,) = (_each_row(a, batch, groups) for a in _columns(op, (channels,), weight=w))
    g, rows = (a.reshape(batch * groups, channels // groups, pixels).astype(np.float64, order="C") for a in (gy, x))
    gx, gw, gb = _by_sample_backward(g, rows, w, eps)
    summed = (gx, gw.reshape(batch, channels).sum(axis=0), gb.reshape(batch, channels).sum(axis=0))
    return _three(needs, summed, (x.shape, (channels,), (channels,)), dtype)


# ---------------------------------------------------------------------------------------------------- instance


def instance_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
) -> tuple[Array, Array, Array]:
    """Normalise each channel of each sample by itself; also return mean and (biased) variance, (N, C) in float64.

    Without ``use_input_stats`` it is `batch_norm` by the running statistics, which are then returned.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import instance_norm
    >>> instance_norm(np.array([[[3.0, 5.0]]]), eps=0.0)
    (array([[[-1.,  1.]]]), array([[4.]]), array([[1.]]))
    """
    op = "instance_norm"
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps, channel_axis=channel_axis)
    dtype, x, w, b = floats(op, input=input, weight=weight, bias=bias)
    batch, channels, pixels = _planes(op, x, channel_axis, 3 if channel_axis == 1 else 2)
    if pixels == 1:
        raise ValueError(f"{op}: a plane needs more than one value, received shape {x.shape}")
    _, m, v = floats(op, running_mean=running_mean, running_var=running_var)
    columns = _columns(op, (channels,), weight=w, bias=b, running_mean=m, running_var=v)
    w, b = (_each_row(a, batch, channels) for a in columns[:2])
    rows = x.reshape(batch * channels, 1, pixels).astype(np.float64, order="C")
    y, mean, var = _by_sample(rows, w, b, eps)
    return finish(y.reshape(x.shape), dtype), mean.reshape(batch, channels), var.reshape(batch, channels)


def instance_norm_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    use_input_stats: bool = True,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    needs: Sequence[bool] = ALL,
) -> Three:
    """Return instance_norm's gradients by input, weight and bias; None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import instance_norm_backward
    >>> instance_norm_backward(np.array([[[1.0, 2.0]]]), np.array([[[3.0, 5.0]]]), eps=0.0)
    (array([[[0., 0.]]]), array([1.]), array([3.]))
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm_backward: without use_input_stats, running_mean and running_var are needed")
        return batch_norm_backward(
            grad_output, input, running_mean, running_var, weight, eps=eps, channel_axis=channel_axis, needs=needs
        )
    channels = np.asarray(input).shape[channel_axis]
    return group_norm_backward(grad_output, input, channels, weight, eps, channel_axis=channel_axis, needs=needs)


# ---------------------------------------------------------------------------------------------------- across channels


def _neighbours(a: Array, before: int, after: int) -> Array:
    """Sum a (N, C, P) over windows of channels, ``before`` the one in question to ``after`` it."""
    channels = a.shape[1]
    total = np.zeros_like(a)
    for shift in range(-before, after + 1):  # the channel that each one adds
        lo, hi = max(0, -shift), min(channels, channels - shift)
        if lo < hi:
            total[:, lo:hi] += a[:, lo + shift : hi + shift]
    return total


def local_response_norm(
    input: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, channel_axis: int = 1
) -> Array:
    """Return ``x / (k + alpha / size * sum of x**2 over size neighbouring channels)**beta``.

    A channel's window begins ``size // 2`` channels before it; channels that are not there count as zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import local_response_norm
    >>> local_response_norm(np.array([[[1.0], [2.0], [3.0]]]), 3, alpha=3.0, beta=1.0).ravel()
    array([0.16666667, 0.13333333, 0.21428571])
    """
    op = "local_response_norm"
    dtype, x = floats(op, input=input)
    planes = _planes(op, x, channel_axis)
    size = integer(op, "size", size, 1)
    wide = x.reshape(planes).astype(np.float64, order="C")
    with np.errstate(all="ignore"):
        y = wide * (k + alpha / size * _neighbours(wide**2, size // 2, (size - 1) // 2)) ** -beta
    return finish(y.reshape(x.shape), dtype)


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
    """Return local_response_norm's gradient by its input.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import local_response_norm_backward
    >>> x, g = np.array([[[1.0], [2.0]]]), np.array([[[1.0], [1.0]]])
    >>> local_response_norm_backward(g, x, 1, alpha=1.0, beta=1.0).ravel()  # of x / (1 + x**2)
    array([ 0.  , -0.12])
    """
    op = "local_response_norm_backward"
    dtype, gy, x = floats(op, grad_output=grad_output, input=input)
    expect_shape(op, "grad_output", gy, x.shape)
    planes = _planes(op, x, channel_axis)
    size = integer(op, "size", size, 1)
    g, wide = (a.reshape(planes).astype(np.float64, order="C") for a in (gy, x))
    before, after = size // 2, (size - 1) // 2
    with np.errstate(all="ignore"):
        s = k + alpha / size * _neighbours(wide**2, before, after)
        through = _neighbours(g * wide * s ** (-beta - 1), after, before)  # the windows that a channel is in
        gx = g * s**-beta - 2 * alpha * beta / size * wide * through
    return finish(gx.reshape(x.shape), dtype)
