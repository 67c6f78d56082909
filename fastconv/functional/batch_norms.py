"""Normalisation of whole channels, over a batch or sample by sample, beside the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, plan
from fastconv._check import Array
from fastconv._engine import Alike
from fastconv.functional._gradients import Three, cast
from fastconv.functional._norm import SetNorm, SetNormGrad, Sets, empty_gradients, prepared

__all__ = ["batch_norm", "batch_norm_backward", "instance_norm", "instance_norm_backward"]


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
    """Normalise each channel over a batch, ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    In training, mean and variance are those of the channel in this batch, otherwise the running ones. The function
    changes nothing: it returns the statistics that it used, and a layer updates its running ones with them. That is
    why torch's argument `momentum` is missing, and `eps`, which stands behind it there, is given by keyword.

    Axes: N batch, C channels, and any others.

    Parameters
    ----------
    input : array_like of shape (N, C, ...)
        float16, float32 or float64, with two axes or more.
    running_mean, running_var : array_like of shape (C,), optional
        The statistics to use outside training, where they must be given. They play no part in the result's dtype.
    weight, bias : array_like of shape (C,), optional
        Factor and summand of each channel; by default 1 and 0.
    training : bool, default False
        Whether to use the batch's own statistics.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.
    channel_axis : int, default 1
        The axis of channels: -3 takes images with or without a batch axis.

    Returns
    -------
    output : ndarray of the shape of `input`
        float16 computes in float32 and is returned as float16. The bits do not depend on the number of threads.
    mean, var : ndarray of shape (C,)
        The statistics used, always in float64 (float32 cannot hold the mean of data that lie far from zero beside their
        spread as exactly as it holds the data); the variance is the biased one, divided by the number of values.

    Raises
    ------
    ValueError
        If the shapes do not fit; in training, if a channel has one value only; otherwise, without running statistics.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
       Shift", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[3.0, 1.0], [5.0, 1.0]])
    >>> fc.batch_norm(x, training=True, eps=0.25, bias=np.array([0.0, 7.0]))
    (array([[-0.89442719,  7.        ],
           [ 0.89442719,  7.        ]]), array([4., 1.]), array([1., 0.]))
    >>> fc.batch_norm(x, np.array([4.0, 0.0]), np.array([1.0, 0.25]), eps=0.0)[0]
    array([[-1.,  2.],
           [ 1.,  2.]])
    """
    op, options = "batch_norm", (Alike(running_mean, running_var), training, eps, channel_axis)
    known: SetNorm | None = plan.recall(op, input, weight, bias, options)
    if known is not None:
        return known.forward(op, input, weight, bias, running_mean, running_var)  # type: ignore[arg-type]
    kind, (x, w, b) = _check.data(op, ("weight", "bias"), input=input, weight=weight, bias=bias)
    batch, channels, pixels = _check.planes(op, x, channel_axis)
    _check.per_channel(op, (channels,), weight=w, bias=b)
    running = {"running_mean": running_mean, "running_var": running_var}
    training = _check.flag(op, "training", training)
    added = _check.real(op, "eps", eps, 0)
    mean, var = _check.statistics(op, (channels,), optional=training, **running)
    if training and batch * pixels == 1:
        raise ValueError(
            f"{op}: training needs more than one value in each channel, received input of shape {x.shape}; "
            f"use the running statistics (training=False, or the layer's eval())"
        )
    if x.size == 0:
        return _of_nothing(op, x, (channels,), None if training else (mean, var), kind)

    def make() -> SetNorm:
        return SetNorm.of(x, Sets(batch, channels, 1, channels, pixels), (channels,), training, added)

    found, (x, w, b) = prepared(op, options, make, x, w, b)
    y, mean, var = found.forward(op, x, w, b, mean, var)
    return y.astype(kind, copy=False), mean, var


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
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Three:
    """Gradients of :func:`batch_norm` with respect to input, weight and bias.

    In training the statistics depend on the input, and the gradient of the input takes that into account.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, ...)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (N, C, ...)
        What the forward call was given.
    mean, var : array_like of shape (C,)
        The statistics that the forward call returned. They play no part in the dtype of the gradients.
    weight : array_like of shape (C,), optional
        What the forward call was given.
    training, eps, channel_axis
        As for :func:`batch_norm`.
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

    References
    ----------
    .. [1] S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[3.0], [5.0], [4.0]])
    >>> y, mean, var = fc.batch_norm(x, training=True)
    >>> gx, gw, gb = fc.batch_norm_backward(np.array([[1.0], [0.0], [0.0]]), x, mean, var, training=True)
    >>> gx.round(3).ravel(), gw.round(3), gb  # whatever shifts or stretches the batch has no effect
    (array([ 0.204,  0.204, -0.408]), array([-1.225]), array([1.]))
    """
    op, options = "batch_norm_backward", (Alike(mean, var), training, eps, channel_axis, needs)
    known: SetNormGrad | None = plan.recall(op, grad_output, input, weight, options)
    if known is not None:
        return known.backward(op, grad_output, input, weight, mean, var)  # type: ignore[arg-type]
    kind, (gy, x, w) = _check.data(op, ("weight",), grad_output=grad_output, input=input, weight=weight)
    wanted = _check.needs(op, needs)
    batch, channels, pixels = _check.planes(op, x, channel_axis)
    _check.grad(op, gy, x.shape)
    _check.per_channel(op, (channels,), weight=w)
    training = _check.flag(op, "training", training)
    added = _check.real(op, "eps", eps, 0)
    m, v = _check.statistics(op, (channels,), mean=mean, var=var)
    if x.size == 0:
        return empty_gradients(op, x, (channels,), wanted, kind)

    def make() -> SetNormGrad:
        return SetNormGrad.of(x, Sets(batch, channels, 1, channels, pixels), True, training, added, wanted)

    found, (gy, x, w) = prepared(op, options, make, gy, x, w)
    return cast(found.backward(op, gy, x, w, m, v), kind)


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
    """Normalise each channel of each sample by itself, ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Without `use_input_stats` it is :func:`batch_norm` by the running statistics. As there, nothing is changed, the
    statistics are returned, torch's `momentum` is missing and `eps` is given by keyword.

    Axes: N batch, C channels, and at least one other.

    Parameters
    ----------
    input : array_like of shape (N, C, ...)
        float16, float32 or float64, with an axis or more behind the channels.
    running_mean, running_var : array_like of shape (C,), optional
        The statistics to use without `use_input_stats`. They play no part in the result's dtype.
    weight, bias : array_like of shape (C,), optional
        Factor and summand of each channel; by default 1 and 0.
    use_input_stats : bool, default True
        Whether mean and variance are those of the input.
    eps : float, default 1e-5
        Added to the variance.
    channel_axis : int, default 1
        The axis of channels: -3 takes images with or without a batch axis.

    Returns
    -------
    output : ndarray of the shape of `input`
        float16 computes in float32 and is returned as float16. The bits do not depend on the number of threads.
    mean, var : ndarray of shape (N, C)
        The statistics used, in float64; the variance is divided by the number of values. Axes before the channels are
        counted as one. Running statistics are returned as they are, of shape (C,).

    Raises
    ------
    ValueError
        If the shapes do not fit, or a plane has one value only.
    TypeError
        If an array is not float16, float32 or float64, or an option is not of its type.
    MemoryError
        If the result cannot be had.

    References
    ----------
    .. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization",
       2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.instance_norm(np.array([[[3.0, 5.0], [0.0, 4.0]]]), eps=0.0)
    (array([[[-1.,  1.],
            [-1.,  1.]]]), array([[4., 2.]]), array([[1., 4.]]))
    """
    op, options = "instance_norm", (Alike(running_mean, running_var), use_input_stats, eps, channel_axis)
    known: SetNorm | None = plan.recall(op, input, weight, bias, options)
    if known is not None:
        return known.forward(op, input, weight, bias, running_mean, running_var)  # type: ignore[arg-type]
    kind, (x, w, b) = _check.data(op, ("weight", "bias"), input=input, weight=weight, bias=bias)
    batch, channels, pixels = _check.planes(op, x, channel_axis)
    _check.per_channel(op, (channels,), weight=w, bias=b)
    own = _check.flag(op, "use_input_stats", use_input_stats)
    added = _check.real(op, "eps", eps, 0)
    running = {"running_mean": running_mean, "running_var": running_var}
    mean, var = _check.statistics(op, (channels,), optional=own, **running)
    if own and pixels == 1:
        raise ValueError(f"{op}: a channel of a sample needs more than one value, received input of shape {x.shape}")
    shape = (batch, channels) if own else (channels,)
    if x.size == 0:
        return _of_nothing(op, x, shape, None if own else (mean, var), kind)

    def make() -> SetNorm:
        return SetNorm.of(x, _instances(batch, channels, pixels, own), shape, own, added)

    found, (x, w, b) = prepared(op, options, make, x, w, b)
    y, mean, var = found.forward(op, x, w, b, mean, var)
    return y.astype(kind, copy=False), mean, var


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
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Three:
    """Gradients of :func:`instance_norm` with respect to input, weight and bias.

    The input's statistics are taken again, since that costs less than to read them together with the input.

    Parameters
    ----------
    grad_output : array_like of shape (N, C, ...)
        Gradient of a scalar with respect to the result.
    input : array_like of shape (N, C, ...)
        What the forward call was given.
    running_mean, running_var, weight, use_input_stats, eps, channel_axis
        As for :func:`instance_norm`.
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
    >>> g, x = np.array([[[1.0, 2.0]]]), np.array([[[3.0, 5.0]]])
    >>> fc.instance_norm_backward(g, x, eps=0.0)  # two values become -1 and 1, whatever they are
    (array([[[0., 0.]]]), array([1.]), array([3.]))
    """
    op, given = "instance_norm_backward", Alike(running_mean, running_var)
    options = (given, use_input_stats, eps, channel_axis, needs)
    known: SetNormGrad | None = plan.recall(op, grad_output, input, weight, options)
    if known is not None:
        return known.backward(op, grad_output, input, weight, running_mean, running_var)  # type: ignore[arg-type]
    kind, (gy, x, w) = _check.data(op, ("weight",), grad_output=grad_output, input=input, weight=weight)
    wanted = _check.needs(op, needs)
    batch, channels, pixels = _check.planes(op, x, channel_axis)
    _check.grad(op, gy, x.shape)
    _check.per_channel(op, (channels,), weight=w)
    own = _check.flag(op, "use_input_stats", use_input_stats)
    added = _check.real(op, "eps", eps, 0)
    running = {"running_mean": running_mean, "running_var": running_var}
    mean, var = _check.statistics(op, (channels,), optional=own, **running)
    if x.size == 0:
        return empty_gradients(op, x, (channels,), wanted, kind)

    def make() -> SetNormGrad:
        return SetNormGrad.of(x, _instances(batch, channels, pixels, own), not own, own, added, wanted)

    found, (gy, x, w) = prepared(op, options, make, gy, x, w)
    return cast(found.backward(op, gy, x, w, mean, var), kind)


def _instances(batch: int, channels: int, pixels: int, own: bool) -> Sets:
    """Return the sets of instance norm: by statistics of their own, or by those of the channels."""
    return Sets(1, batch * channels, 1, channels, pixels) if own else Sets(batch, channels, 1, channels, pixels)


def _of_nothing(
    op: str, x: Array, shape: tuple[int, ...], given: tuple[Array, Array] | None, kind: Any
) -> tuple[Array, Array, Array]:
    """Return what an input without elements gives: its own statistics are those of nothing."""
    mean, var = (np.full(shape, np.nan), np.full(shape, np.nan)) if given is None else (a.copy() for a in given)
    return _check.result(op, x.shape, kind), mean, var
