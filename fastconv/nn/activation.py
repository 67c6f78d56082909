"""Activation layers, on arrays of any shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn.module import Backward, Module, Parameter, other_dtype, other_than

__all__ = [
    "ELU",
    "GELU",
    "LeakyReLU",
    "LogSoftmax",
    "Maxout",
    "PReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class _Activation(Module):
    """A function of `fastconv.functional`; what `_options` returns goes to it and to its backward."""

    _function = ""
    _keeps_output = False  # for the way back; else the input

    def _options(self) -> tuple[Any, ...]:
        return ()

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        output: NDArray[Any] = getattr(F, self._function)(input, *self._options())
        return output

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        output = self(input)
        saved, options, back = output if self._keeps_output else input, self._options(), f"{self._function}_backward"
        return output, lambda grad_output: getattr(F, back)(grad_output, saved, *options)


class ReLU(_Activation):
    """Rectified linear unit, max(x, 0).

    Keeps its output for the way back, so that the input may go.

    Parameters
    ----------
    inplace : bool, default False
        Taken for the sake of code written for torch; inputs are never changed.

    Raises
    ------
    TypeError
        When `inplace` is not True or False.

    Examples
    --------
    >>> y, backward = ReLU().forward(np.array([-1.0, 2.0]))
    >>> y, backward(np.array([10.0, 20.0]))
    (array([0., 2.]), array([ 0., 20.]))
    """

    _function = "relu"
    _keeps_output = True

    def __init__(self, inplace: bool = False) -> None:
        check.flag("ReLU", "inplace", inplace)


class LeakyReLU(_Activation):
    """x where it is positive, `negative_slope` times x elsewhere.

    Parameters
    ----------
    negative_slope : float, default 0.01
        What is left of negative elements.
    inplace : bool, default False
        Taken for the sake of code written for torch; inputs are never changed.

    Raises
    ------
    TypeError, ValueError
        When the slope is no number, or not finite.

    Examples
    --------
    >>> LeakyReLU(0.25)(np.array([-2.0, 2.0]))
    array([-0.5,  2. ])
    """

    _function = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = check.real("LeakyReLU", "negative_slope", negative_slope)
        check.flag("LeakyReLU", "inplace", inplace)

    def _options(self) -> tuple[Any, ...]:
        return (self.negative_slope,)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"negative_slope={self.negative_slope}"


class ELU(_Activation):
    """x where it is positive, alpha * (exp(x) - 1) elsewhere.

    Parameters
    ----------
    alpha : float, default 1
        How far negative elements reach: to ``-alpha``.
    inplace : bool, default False
        Taken for the sake of code written for torch; inputs are never changed.

    Raises
    ------
    TypeError, ValueError
        When `alpha` is no number, or not finite.

    Examples
    --------
    >>> ELU()(np.array([-1000.0, 2.0]))
    array([-1.,  2.])
    """

    _function = "elu"

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = check.real("ELU", "alpha", alpha)
        check.flag("ELU", "inplace", inplace)

    def _options(self) -> tuple[Any, ...]:
        return (self.alpha,)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"alpha={self.alpha}"


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)). Its derivative is a quarter at most, so that gradients vanish with depth.

    Examples
    --------
    >>> y, backward = Sigmoid().forward(np.array([0.0]))
    >>> y, backward(np.ones(1))
    (array([0.5]), array([0.25]))
    """

    _function = "sigmoid"
    _keeps_output = True


class Tanh(_Activation):
    """The hyperbolic tangent.

    Examples
    --------
    >>> Tanh()(np.array([-1000.0, 0.0]))
    array([-1.,  0.])
    """

    _function = "tanh"
    _keeps_output = True


class GELU(_Activation):
    """x times the probability that a normal variable is below it.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        The probability itself, by the error function, or a tanh near it.

    Raises
    ------
    ValueError
        When `approximate` is neither.

    Examples
    --------
    >>> GELU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """

    _function = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check.choice("GELU", "approximate", approximate, ("none", "tanh"))

    def _options(self) -> tuple[Any, ...]:
        return (self.approximate,)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"approximate={self.approximate!r}"


class SiLU(_Activation):
    """x * sigmoid(x).

    Parameters
    ----------
    inplace : bool, default False
        Taken for the sake of code written for torch; inputs are never changed.

    Raises
    ------
    TypeError
        When `inplace` is not True or False.

    Examples
    --------
    >>> SiLU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7311])
    """

    _function = "silu"

    def __init__(self, inplace: bool = False) -> None:
        check.flag("SiLU", "inplace", inplace)


class Softplus(_Activation):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x is above the threshold.

    Parameters
    ----------
    beta : float, default 1
        How sharp the bend is; not 0.
    threshold : float, default 20
        Above it the two are as good as equal.

    Raises
    ------
    TypeError, ValueError
        When an option is no number or not finite, or `beta` is 0.

    Examples
    --------
    >>> Softplus()(np.array([0.0, 1000.0])).round(4)
    array([6.931e-01, 1.000e+03])
    """

    _function = "softplus"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = check.real("Softplus", "beta", beta), check.real("Softplus", "threshold", threshold)
        if self.beta == 0:
            raise ValueError(f"Softplus: beta must not be 0, received beta={beta!r}")

    def _options(self) -> tuple[Any, ...]:
        return self.beta, self.threshold

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along an axis.

    Parameters
    ----------
    dim : int, default -1
        The axis that sums to 1.

    Raises
    ------
    TypeError
        When `dim` is not an integer.
    ValueError
        In a call, when there is no such axis.

    Examples
    --------
    >>> Softmax()(np.log([[1.0, 3.0]]))
    array([[0.25, 0.75]])
    """

    _function = "softmax"
    _keeps_output = True

    def __init__(self, dim: int = -1) -> None:
        self.dim = check.integer(type(self).__name__, "dim", dim)

    def _options(self) -> tuple[Any, ...]:
        return (self.dim,)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of softmax, exact also where softmax would round to 0.

    Parameters
    ----------
    dim : int, default -1
        The axis whose exponentials sum to 1.

    Raises
    ------
    TypeError
        When `dim` is not an integer.
    ValueError
        In a call, when there is no such axis.

    Examples
    --------
    >>> LogSoftmax()(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """

    _function = "log_softmax"


class Maxout(Module):
    """The maximum of each group of `pool_size` neighbouring channels.

    Axes: N batch, C channels, S further axes.

    Parameters
    ----------
    pool_size : int
        How many channels are in a group: (N, C, *S) becomes (N, C / pool_size, *S).
    dim : int, default 1
        The axis of the channels; -3 is that of images with batch and without.

    Raises
    ------
    TypeError
        When an argument is not an integer.
    ValueError
        When `pool_size` is not positive; in a call, when it does not divide the channels.

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", 2013.

    Examples
    --------
    >>> Maxout(2)(np.array([[1.0, 5.0, 7.0, 3.0]]))
    array([[5., 7.]])
    """

    def __init__(self, pool_size: int, dim: int = 1) -> None:
        self.pool_size = check.integer("Maxout", "pool_size", pool_size, 1)
        self.dim = check.integer("Maxout", "dim", dim)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return F.maxout(input, self.pool_size, self.dim)[0]

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        output, choice = F.maxout(input, self.pool_size, self.dim)
        size, dim = self.pool_size, self.dim
        return output, lambda grad_output: F.maxout_backward(grad_output, choice, size, dim)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return ", ".join([f"pool_size={self.pool_size}", *other_than(dim=(self.dim, 1))])


class PReLU(Module):
    """x where it is positive, a learned slope times x elsewhere.

    Parameters
    ----------
    num_parameters : int, default 1
        1 for one slope, or the number of channels for one each.
    init : float, default 0.25
        The first slope.
    dtype : dtype, default float32
        Of the slopes.

    Attributes
    ----------
    weight : Parameter of shape (num_parameters,)

    Raises
    ------
    TypeError
        When an argument is not of its type.
    ValueError
        When `num_parameters` is not positive or `init` not finite; in a call, when the channels do not fit.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.

    Examples
    --------
    >>> layer = PReLU(dtype=np.float64)
    >>> y, backward = layer.forward(np.array([-2.0, 2.0]))
    >>> y, backward(np.ones(2)), layer.weight.grad
    (array([-0.5,  2. ]), array([0.25, 1.  ]), array([-2.]))
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = np.float32) -> None:
        self.num_parameters = check.integer("PReLU", "num_parameters", num_parameters, 1)
        first = check.result("PReLU", (self.num_parameters,), check.float_dtype("PReLU", dtype))
        first[...] = check.real("PReLU", "init", init)
        self.weight = Parameter(first)

    _copy: NDArray[Any] | None = None  # of the slopes, while frozen

    def _slopes(self) -> NDArray[Any]:
        copy = self._copy  # read once: another thread may unfreeze
        return self.weight.data if copy is None else copy

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return F.prelu(input, self._slopes())

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        weight, slopes = self.weight, self._slopes()

        def backward(grad_output: ArrayLike) -> NDArray[Any]:
            grad_input, grad_weight = F.prelu_backward(grad_output, input, slopes)
            if weight.requires_grad and not self.frozen:
                weight.add_grad(grad_weight)
            return grad_input

        return F.prelu(input, slopes), backward

    def _freeze(self) -> None:
        self._copy = self.weight.data.copy()

    def _unfreeze(self) -> None:
        self._copy = None

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return ", ".join([f"num_parameters={self.num_parameters}", *other_dtype(self.weight)])
