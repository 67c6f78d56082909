"""Activation functions of single elements, each beside its gradient.

All of them run on the engine (src/algorithms/elementwise.c), whose exp and erf are its own: a result is within a few
units in the last place, and neither overflows nor warns. An infinity gives its limit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv.functional._docs import elementwise
from fastconv.functional._map import gradient, unary

__all__ = [
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
]

# ---------------------------------------------------------------------------------------------------- rectifiers


@elementwise()
def relu(input: ArrayLike) -> NDArray[Any]:
    """Return max(input, 0), element by element.

    Parameters
    ----------
    <input>

    Returns
    -------
    <same>

    Raises
    ------
    <raises>

    References
    ----------
    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.

    Examples
    --------
    >>> relu(np.array([-1.5, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return unary("relu", input)


@elementwise()
def relu_backward(grad_output: ArrayLike, output: ArrayLike) -> NDArray[Any]:
    """Return the gradient of `relu`'s input: `grad_output` where the output is not 0, and 0 where it is.

    Parameters
    ----------
    <grad>
    output : array_like of the same shape
        What `relu` returned (its input does as well: the signs are looked at, no more).

    Returns
    -------
    ndarray of the same shape, of dtype ``np.result_type(grad_output, output)``
        A unit that is off passes nothing, not even an infinity; one that is NaN passes the gradient.

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> relu_backward(np.array([10.0, 20.0, 30.0]), relu(np.array([-1.5, 0.0, 2.0])))
    array([ 0.,  0., 30.])
    """
    return gradient("relu_backward", grad_output, output, of="output")


@elementwise(", or the slope not a number")
def leaky_relu(input: ArrayLike, negative_slope: float = 0.01) -> NDArray[Any]:
    """Return the input where it is positive, and `negative_slope` times it elsewhere.

    Parameters
    ----------
    <input>
    negative_slope : float, default 0.01
        What is left of negative elements.

    Returns
    -------
    <same>

    Raises
    ------
    <raises>
    ValueError
        When the slope is not finite.

    References
    ----------
    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.

    Examples
    --------
    >>> leaky_relu(np.array([-2.0, 0.0, 2.0]), 0.25)
    array([-0.5,  0. ,  2. ])
    """
    return unary("leaky_relu", input, _option("leaky_relu", "negative_slope", negative_slope))


@elementwise(", or the slope not a number", ", or the slope is not finite")
def leaky_relu_backward(grad_output: ArrayLike, input: ArrayLike, negative_slope: float = 0.01) -> NDArray[Any]:
    """Return the gradient of `leaky_relu`'s input: `grad_output`, times the slope where the input is not positive.

    Parameters
    ----------
    <grad>
    <saved input>
    negative_slope : float, default 0.01
        As given to `leaky_relu`.

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> leaky_relu_backward(np.ones(3), np.array([-2.0, 0.0, 2.0]), 0.25)
    array([0.25, 0.25, 1.  ])
    """
    op = "leaky_relu_backward"
    return gradient(op, grad_output, input, _option(op, "negative_slope", negative_slope))


@elementwise(", or `alpha` not a number")
def elu(input: ArrayLike, alpha: float = 1.0) -> NDArray[Any]:
    """Return the input where it is positive, and alpha * (exp(input) - 1) elsewhere.

    Parameters
    ----------
    <input>
    alpha : float, default 1
        How far negative elements reach: to ``-alpha``.

    Returns
    -------
    <same>

    Raises
    ------
    <raises>
    ValueError
        When `alpha` is not finite.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2016.

    Examples
    --------
    >>> elu(np.array([-1000.0, 0.0, 2.0]))
    array([-1.,  0.,  2.])
    """
    return unary("elu", input, _option("elu", "alpha", alpha))


@elementwise(", or `alpha` not a number", ", or `alpha` is not finite")
def elu_backward(grad_output: ArrayLike, input: ArrayLike, alpha: float = 1.0) -> NDArray[Any]:
    """Return the gradient of `elu`'s input: `grad_output`, times alpha * exp(input) where the input is not positive.

    Parameters
    ----------
    <grad>
    <saved input>
    alpha : float, default 1
        As given to `elu`.

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> elu_backward(np.ones(2), np.array([0.0, 2.0]), alpha=0.5)
    array([0.5, 1. ])
    """
    return gradient("elu_backward", grad_output, input, _option("elu_backward", "alpha", alpha))


# ---------------------------------------------------------------------------------------------------- s-shaped


@elementwise()
def sigmoid(input: ArrayLike) -> NDArray[Any]:
    """Return 1 / (1 + exp(-input)), element by element.

    Parameters
    ----------
    <input>

    Returns
    -------
    <same>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return unary("sigmoid", input)


@elementwise()
def sigmoid_backward(grad_output: ArrayLike, output: ArrayLike) -> NDArray[Any]:
    """Return the gradient of `sigmoid`'s input: ``grad_output * output * (1 - output)``, a quarter of it at most.

    Parameters
    ----------
    <grad>
    <saved output>

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> sigmoid_backward(np.ones(3), np.array([0.0, 0.5, 0.75]))
    array([0.    , 0.25  , 0.1875])
    """
    return gradient("sigmoid_backward", grad_output, output, of="output")


@elementwise()
def tanh(input: ArrayLike) -> NDArray[Any]:
    """Return the hyperbolic tangent, element by element.

    Parameters
    ----------
    <input>

    Returns
    -------
    <same>

    Raises
    ------
    <raises>

    Examples
    --------
    >>> tanh(np.array([-1000.0, 0.0, 1e-300]))
    array([-1.e+000,  0.e+000,  1.e-300])
    """
    return unary("tanh", input)


@elementwise()
def tanh_backward(grad_output: ArrayLike, output: ArrayLike) -> NDArray[Any]:
    """Return the gradient of `tanh`'s input: ``grad_output * (1 - output**2)``.

    Parameters
    ----------
    <grad>
    <saved output>

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> tanh_backward(np.ones(3), np.array([-1.0, 0.0, 0.5]))
    array([0.  , 1.  , 0.75])
    """
    return gradient("tanh_backward", grad_output, output, of="output")


# ---------------------------------------------------------------------------------------------------- smooth rectifiers


@elementwise()
def gelu(input: ArrayLike, approximate: str = "none") -> NDArray[Any]:
    """Return the input times the probability that a normal variable is below it.

    Minus infinity gives the limit, 0, where PyTorch gives NaN.

    Parameters
    ----------
    <input>
    approximate : {"none", "tanh"}
        The probability itself, (1 + erf(x / sqrt(2))) / 2, or near it (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3))) / 2.

    Returns
    -------
    <same>

    Raises
    ------
    <raises>
    ValueError
        When `approximate` is neither.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016.

    Examples
    --------
    >>> gelu(np.array([-1000.0, 0.0, 1.0])).round(4)
    array([0.    , 0.    , 0.8413])
    """
    return unary("gelu", input, name=_GELU[check.choice("gelu", "approximate", approximate, ("none", "tanh"))])


@elementwise(values=", or `approximate` is unknown")
def gelu_backward(grad_output: ArrayLike, input: ArrayLike, approximate: str = "none") -> NDArray[Any]:
    """Return the gradient of `gelu`'s input.

    Parameters
    ----------
    <grad>
    <saved input>
    approximate : {"none", "tanh"}
        As given to `gelu`.

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> gelu_backward(np.ones(3), np.array([-1000.0, 0.0, 1.0])).round(4)
    array([0.    , 0.5   , 1.0833])
    """
    op = "gelu_backward"
    form = _GELU[check.choice(op, "approximate", approximate, ("none", "tanh"))]
    return gradient(op, grad_output, input, name=f"{form}_grad")


@elementwise()
def silu(input: ArrayLike) -> NDArray[Any]:
    """Return input * sigmoid(input), element by element.

    Minus infinity gives the limit, -0, where PyTorch gives NaN.

    Parameters
    ----------
    <input>

    Returns
    -------
    <same>

    Raises
    ------
    <raises>

    References
    ----------
    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function approximation in reinforcement
    learning", 2018.

    Examples
    --------
    >>> silu(np.array([-1000.0, 0.0, 1.0])).round(4)
    array([-0.    ,  0.    ,  0.7311])
    """
    return unary("silu", input)


@elementwise()
def silu_backward(grad_output: ArrayLike, input: ArrayLike) -> NDArray[Any]:
    """Return the gradient of `silu`'s input: ``grad_output * s * (1 + input * (1 - s))`` with s = sigmoid(input).

    Parameters
    ----------
    <grad>
    <saved input>

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> silu_backward(np.ones(3), np.array([-1000.0, 0.0, 1.0])).round(4)
    array([0.    , 0.5   , 0.9277])
    """
    return gradient("silu_backward", grad_output, input)


@elementwise(", or an option not a number")
def softplus(input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> NDArray[Any]:
    """Return log(1 + exp(beta * input)) / beta, and the input itself where beta * input is above the threshold.

    Parameters
    ----------
    <input>
    beta : float, default 1
        How sharp the bend is; not 0.
    threshold : float, default 20
        Above it the two are as good as equal. Nothing overflows without it either.

    Returns
    -------
    <same>

    Raises
    ------
    <raises>
    ValueError
        When an option is not finite, or `beta` is 0.

    Examples
    --------
    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    return unary("softplus", input, _softplus("softplus", beta, threshold))


@elementwise(", or an option not a number", ", an option is not finite, or `beta` is 0")
def softplus_backward(
    grad_output: ArrayLike, input: ArrayLike, beta: float = 1.0, threshold: float = 20.0
) -> NDArray[Any]:
    """Return the gradient of `softplus`'s input: `grad_output` times sigmoid(beta * input), and 1 above the threshold.

    Parameters
    ----------
    <grad>
    <saved input>
    beta, threshold : float, default 1 and 20
        As given to `softplus`.

    Returns
    -------
    <promoted>

    Raises
    ------
    <raises shapes>

    Examples
    --------
    >>> softplus_backward(np.ones(3), np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    op = "softplus_backward"
    return gradient(op, grad_output, input, _softplus(op, beta, threshold))


# ---------------------------------------------------------------------------------------------------- options

_GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def _option(op: str, name: str, value: Any) -> NDArray[Any]:
    """Return a number as the engine takes it."""
    return _numbers(check.real(op, name, value))


@lru_cache(256)
def _numbers(*options: float) -> NDArray[Any]:
    return np.array([*options, 0.0, 0.0, 0.0][:3])


def _softplus(op: str, beta: Any, threshold: Any) -> NDArray[Any]:
    sharpness = check.real(op, "beta", beta)
    if sharpness == 0:
        raise ValueError(f"{op}: beta must not be 0, received beta={beta!r}")
    return _numbers(sharpness, check.real(op, "threshold", threshold), 1 / sharpness)
