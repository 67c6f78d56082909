"""Activations of single elements, and softmax with its logarithm."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, expect_shape, finish, floats, integer, integers


def relu(input: ArrayLike) -> Array:
    """Return ``max(input, 0)`` of each element; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import relu
    >>> relu(np.array([-1.0, 0.5, np.nan]))
    array([0. , 0.5, nan])
    """
    dtype, x = floats("relu", input=input)
    return finish(np.maximum(x, 0), dtype)


def relu_backward(grad_output: ArrayLike, output: ArrayLike) -> Array:
    """Return relu's gradient by its input: ``grad_output``, but 0 where the output is 0.

    Where the output is NaN the gradient passes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import relu_backward
    >>> relu_backward(np.array([3.0, 4.0]), np.array([0.0, 0.5]))
    array([0., 4.])
    """
    dtype, gy, y = floats("relu_backward", grad_output=grad_output, output=output)
    expect_shape("relu_backward", "grad_output", gy, y.shape)
    return finish(np.where(y <= 0, 0, gy), dtype)


def leaky_relu(input: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Return ``input`` where it is positive, ``negative_slope * input`` elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import leaky_relu
    >>> leaky_relu(np.array([-2.0, 2.0]), 0.25)
    array([-0.5,  2. ])
    """
    dtype, x = floats("leaky_relu", input=input)
    return finish(np.where(x > 0, x, negative_slope * x), dtype)


def leaky_relu_backward(grad_output: ArrayLike, input: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Return leaky_relu's gradient by its input: ``grad_output``, times the slope where the input is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import leaky_relu_backward
    >>> leaky_relu_backward(np.ones(2), np.array([-2.0, 2.0]), 0.25)
    array([0.25, 1.  ])
    """
    op = "leaky_relu_backward"
    dtype, gy, x = floats(op, grad_output=grad_output, input=input)
    expect_shape(op, "grad_output", gy, x.shape)
    return finish(np.where(x > 0, gy, negative_slope * gy), dtype)


def _slopes(op: str, x: Array, w: Array) -> Array:
    """Return a slope for each channel, the second axis, to be broadcast."""
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.shape not in ((1,), (channels,)):
        raise ValueError(f"{op}: weight must have shape (1,) or ({channels},), its shape is {w.shape}")
    return np.broadcast_to(w, channels).reshape(-1, *(1,) * max(x.ndim - 2, 0))


def prelu(input: ArrayLike, weight: ArrayLike) -> Array:
    """Return ``input`` where it is positive, ``weight * input`` elsewhere; one weight or one for each channel (axis 1).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import prelu
    >>> prelu(np.array([[-2.0, -2.0]]), np.array([0.25, 0.5]))
    array([[-0.5, -1. ]])
    """
    dtype, x, w = floats("prelu", input=input, weight=weight)
    return finish(np.where(x > 0, x, _slopes("prelu", x, w) * x), dtype)


def prelu_backward(grad_output: ArrayLike, input: ArrayLike, weight: ArrayLike) -> tuple[Array, Array]:
    """Return prelu's gradients by its input and by its weight.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import prelu_backward
    >>> prelu_backward(np.ones(2), np.array([-2.0, 2.0]), np.array([0.25]))
    (array([0.25, 1.  ]), array([-2.]))
    """
    op = "prelu_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    expect_shape(op, "grad_output", gy, x.shape)
    gx = np.where(x > 0, gy, _slopes(op, x, w) * gy)
    terms = np.where(x > 0, 0, gy * x)
    if w.size == 1:
        gw = terms.sum().reshape(1)
    else:
        gw = np.array([terms[:, c].sum() for c in range(x.shape[1])], terms.dtype)
    return finish(gx, dtype), finish(gw, dtype)


def elu(input: ArrayLike, alpha: float = 1.0) -> Array:
    """Return ``input`` where it is positive, ``alpha * (exp(input) - 1)`` elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import elu
    >>> elu(np.array([-1000.0, 2.0]))
    array([-1.,  2.])
    """
    dtype, x = floats("elu", input=input)
    return finish(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), dtype)


def elu_backward(grad_output: ArrayLike, input: ArrayLike, alpha: float = 1.0) -> Array:
    """Return elu's gradient by its input: ``grad_output``, times ``alpha * exp(input)`` where it is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import elu_backward
    >>> elu_backward(np.ones(2), np.array([0.0, 2.0]), 0.5)
    array([0.5, 1. ])
    """
    dtype, gy, x = floats("elu_backward", grad_output=grad_output, input=input)
    expect_shape("elu_backward", "grad_output", gy, x.shape)
    return finish(np.where(x > 0, gy, gy * alpha * np.exp(np.minimum(x, 0))), dtype)


def _sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, by exponentials that cannot overflow."""
    e = np.exp(-abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def sigmoid(input: ArrayLike) -> Array:
    """Return ``1 / (1 + exp(-input))``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import sigmoid
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    dtype, x = floats("sigmoid", input=input)
    return finish(_sigmoid(x), dtype)


def sigmoid_backward(grad_output: ArrayLike, output: ArrayLike) -> Array:
    """Return sigmoid's gradient by its input: ``grad_output * y * (1 - y)`` for the output ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import sigmoid_backward
    >>> sigmoid_backward(np.ones(1), np.array([0.5]))
    array([0.25])
    """
    dtype, gy, y = floats("sigmoid_backward", grad_output=grad_output, output=output)
    expect_shape("sigmoid_backward", "grad_output", gy, y.shape)
    return finish(gy * ((1 - y) * y), dtype)


def tanh(input: ArrayLike) -> Array:
    """Return the hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import tanh
    >>> tanh(np.array([-1000.0, 0.0]))
    array([-1.,  0.])
    """
    dtype, x = floats("tanh", input=input)
    return finish(np.tanh(x), dtype)


def tanh_backward(grad_output: ArrayLike, output: ArrayLike) -> Array:
    """Return tanh's gradient by its input: ``grad_output * (1 - y**2)`` for the output ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import tanh_backward
    >>> tanh_backward(np.ones(1), np.array([0.5]))
    array([0.75])
    """
    dtype, gy, y = floats("tanh_backward", grad_output=grad_output, output=output)
    expect_shape("tanh_backward", "grad_output", gy, y.shape)
    return finish(gy * (1 - y * y), dtype)


def _normal(x: Array) -> Array:
    """Return the probability that a normal variable is below x, by the standard library's erfc, one by one."""
    values = [0.5 * math.erfc(-float(value) / math.sqrt(2)) for value in x.ravel()]
    return np.array(values, x.dtype).reshape(x.shape)


def _near_normal(x: Array) -> tuple[Array, Array]:
    """Return gelu's approximation of that probability by tanh, and its derivative."""
    near = np.clip(x, -100, 100)  # where it is 0 or 1 long since
    share = _sigmoid(2 * math.sqrt(2 / math.pi) * (near + 0.044715 * near**3))
    other = _sigmoid(-2 * math.sqrt(2 / math.pi) * (near + 0.044715 * near**3))
    return share, share * other * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near**2)


def gelu(input: ArrayLike, approximate: str = "none") -> Array:
    """Return ``input`` times the probability that a normal variable is below it; "tanh" takes something near that.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import gelu
    >>> gelu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """
    dtype, x = floats("gelu", input=input)
    _check_form("gelu", approximate)
    share = _normal(x) if approximate == "none" else _near_normal(x)[0]
    return finish(np.maximum(x, -100) * share, dtype)  # not -inf * 0


def gelu_backward(grad_output: ArrayLike, input: ArrayLike, approximate: str = "none") -> Array:
    """Return gelu's gradient by its input: ``grad_output * (P(x) + x * P'(x))``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import gelu_backward
    >>> gelu_backward(np.ones(2), np.array([0.0, 1.0])).round(4)
    array([0.5   , 1.0833])
    """
    dtype, gy, x = floats("gelu_backward", grad_output=grad_output, input=input)
    expect_shape("gelu_backward", "grad_output", gy, x.shape)
    _check_form("gelu_backward", approximate)
    near = np.clip(x, -100, 100)
    if approximate == "none":
        share, slope = _normal(x), np.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    else:
        share, slope = _near_normal(x)
    return finish(gy * (share + near * slope), dtype)


def _check_form(op: str, approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"{op}: approximate must be 'none' or 'tanh', received approximate={approximate!r}")


def silu(input: ArrayLike) -> Array:
    """Return ``input * sigmoid(input)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import silu
    >>> silu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7311])
    """
    dtype, x = floats("silu", input=input)
    return finish(np.maximum(x, -1e4) * _sigmoid(x), dtype)  # not -inf * 0


def silu_backward(grad_output: ArrayLike, input: ArrayLike) -> Array:
    """Return silu's gradient by its input: ``grad_output * s * (1 + x * (1 - s))`` with ``s = sigmoid(x)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import silu_backward
    >>> silu_backward(np.ones(1), np.array([0.0]))
    array([0.5])
    """
    dtype, gy, x = floats("silu_backward", grad_output=grad_output, input=input)
    expect_shape("silu_backward", "grad_output", gy, x.shape)
    return finish(gy * _sigmoid(x) * (1 + np.clip(x, -1e4, 1e4) * _sigmoid(-x)), dtype)


def softplus(input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Return ``log(1 + exp(beta * input)) / beta``; the input itself where ``beta * input`` is above the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import softplus
    >>> softplus(np.array([0.0, 1000.0])).round(4)
    array([6.931e-01, 1.000e+03])
    """
    dtype, x = floats("softplus", input=input)
    v = beta * x
    return finish(np.where(v > threshold, x, (np.maximum(v, 0) + np.log1p(np.exp(-abs(v)))) / beta), dtype)


def softplus_backward(grad_output: ArrayLike, input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Return softplus's gradient by its input: ``grad_output * sigmoid(beta * input)``; times 1 above the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import softplus_backward
    >>> softplus_backward(np.ones(2), np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    dtype, gy, x = floats("softplus_backward", grad_output=grad_output, input=input)
    expect_shape("softplus_backward", "grad_output", gy, x.shape)
    return finish(np.where(beta * x > threshold, gy, gy * _sigmoid(beta * x)), dtype)


def maxout(input: ArrayLike, pool_size: int, dim: int = 1) -> tuple[Array, Array]:
    """Return the maxima of groups of ``pool_size`` neighbours along ``dim``, and the number of each in its group.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import maxout
    >>> maxout(np.array([[1.0, 5.0, 7.0, 3.0]]), 2)
    (array([[5., 7.]]), array([[1, 0]]))
    """
    dtype, x = floats("maxout", input=input)
    axis = _axis("maxout", x, dim)
    if x.shape[axis] == 0 or x.shape[axis] % pool_size:
        raise ValueError(f"maxout: pool_size must divide {x.shape[axis]} channels, received pool_size={pool_size}")
    groups = np.split(x, x.shape[axis] // pool_size, axis)
    choice = np.concatenate([group.argmax(axis, keepdims=True) for group in groups], axis)
    maxima = np.concatenate([group.max(axis, keepdims=True) for group in groups], axis)
    return finish(maxima, dtype), np.ascontiguousarray(choice, np.int64)


def maxout_backward(grad_output: ArrayLike, choice: ArrayLike, pool_size: int, dim: int = 1) -> Array:
    """Return maxout's gradient by its input: ``grad_output`` where a channel was chosen, 0 elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import maxout_backward
    >>> maxout_backward(np.array([[10.0, 20.0]]), np.array([[1, 0]]), 2)
    array([[ 0., 10., 20.,  0.]])
    """
    dtype, gy = floats("maxout_backward", grad_output=grad_output)
    axis, chosen = _axis("maxout_backward", gy, dim), integers("maxout_backward", "choice", choice)
    expect_shape("maxout_backward", "choice", chosen, gy.shape)
    gx = np.zeros((*gy.shape[:axis], gy.shape[axis] * pool_size, *gy.shape[axis + 1 :]), gy.dtype)
    for place in np.ndindex(*gy.shape):
        channel = place[axis] * pool_size + chosen[place]
        gx[(*place[:axis], channel, *place[axis + 1 :])] = gy[place]
    return finish(gx, dtype)


def _axis(op: str, x: Array, dim: int) -> int:
    """Return ``dim`` as an axis of ``x``, counted from the front."""
    axis = integer(op, "dim", dim, -x.ndim)
    if axis >= x.ndim:
        raise ValueError(f"{op}: dim must be an axis of an array of shape {x.shape}, received dim={dim}")
    return axis % x.ndim


def log_softmax_along(x: Array, axis: int) -> Array:
    """Return ``x - log(sum(exp(x)))`` along an axis; the maximum is taken off first, so that exp cannot overflow."""
    with np.errstate(invalid="ignore", divide="ignore"):  # inf - inf is NaN, as it should be
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def softmax_along(x: Array, axis: int) -> Array:
    """Return ``exp(x) / sum(exp(x))`` along an axis, the maximum taken off first."""
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        return np.asarray(e / e.sum(axis=axis, keepdims=True))


def softmax(input: ArrayLike, dim: int = -1) -> Array:
    """Return ``exp(input) / sum(exp(input))`` along ``dim``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import softmax
    >>> softmax(np.log([1.0, 3.0]))
    array([0.25, 0.75])
    """
    dtype, x = floats("softmax", input=input)
    return finish(softmax_along(x, _axis("softmax", x, dim)), dtype)


def softmax_backward(grad_output: ArrayLike, output: ArrayLike, dim: int = -1) -> Array:
    """Return softmax's gradient by its input: ``y * (gy - sum(gy * y))`` for the output ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import softmax_backward
    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    op = "softmax_backward"
    dtype, gy, y = floats(op, grad_output=grad_output, output=output)
    expect_shape(op, "grad_output", gy, y.shape)
    return finish(y * (gy - (gy * y).sum(axis=_axis(op, y, dim), keepdims=True)), dtype)


def log_softmax(input: ArrayLike, dim: int = -1) -> Array:
    """Return ``input - log(sum(exp(input)))`` along ``dim``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import log_softmax
    >>> np.exp(log_softmax(np.log([1.0, 3.0])))
    array([0.25, 0.75])
    """
    dtype, x = floats("log_softmax", input=input)
    return finish(log_softmax_along(x, _axis("log_softmax", x, dim)), dtype)


def log_softmax_backward(grad_output: ArrayLike, output: ArrayLike, dim: int = -1) -> Array:
    """Return log_softmax's gradient by its input: ``gy - exp(y) * sum(gy)`` for the output ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import log_softmax_backward
    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    op = "log_softmax_backward"
    dtype, gy, y = floats(op, grad_output=grad_output, output=output)
    expect_shape(op, "grad_output", gy, y.shape)
    return finish(gy - np.exp(y) * gy.sum(axis=_axis(op, y, dim), keepdims=True), dtype)
