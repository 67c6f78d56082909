"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.functional._fused import activation_backward, activation_name
from fastconv.nn._weighted import WeightedModule
from fastconv.nn.init import Generator
from fastconv.nn.module import Backward, other_dtype, other_than

__all__ = ["Linear"]


class Linear(WeightedModule):
    """Fully connected layer: every output reads every input, y = x W^T + b.

    Shapes: input ``(*, in_features)``, output ``(*, out_features)``, weight ``(out_features, in_features)``, bias
    ``(out_features,)``; ``*`` is any number of axes.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and outputs.
    bias : bool, default True
        Whether to add one.
    activation : {None, "relu", "leaky_relu", "sigmoid", "tanh"}, default None
        What the output passes through: the first two as it is stored, the others in place. The way back needs the
        output alone.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed. They are uniform in +-1/sqrt(in_features), as torch's.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is not positive.

    Examples
    --------
    >>> layer = Linear(32 * 32, 500, bias=False, generator=0)
    >>> layer.weight.size, layer(np.ones((2, 1024), np.float32)).shape
    (512000, (2, 500))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: str | None = None,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        self.in_features = check.integer("Linear", "in_features", in_features, 1)
        self.out_features = check.integer("Linear", "out_features", out_features, 1)
        self.activation = activation_name("Linear", activation)
        self._create((self.out_features, self.in_features), self.out_features, bias, dtype, generator)

    _rectifies = True
    #: Whether to take ``(N, in_features)`` alone: set where `fuse` folded the normalisation of such outputs in.
    of_rows = False

    def _answer(self, input: ArrayLike, activation: str | None) -> NDArray[Any]:
        self._check_axes(input)
        return F.linear(input, *self._arrays(), activation=activation)

    def _answer_and_way_back(
        self, input: ArrayLike, needs_input_grad: bool, activation: str | None
    ) -> tuple[NDArray[Any], Backward]:
        self._check_axes(input)
        weight, bias = self._arrays()
        needs = self._needs(needs_input_grad)
        output = F.linear(input, weight, bias, activation=activation)

        def backward(grad_output: ArrayLike) -> Any:
            grad_output = activation_backward(grad_output, output, activation)
            grad_input, grad_weight, grad_bias = F.linear_backward(grad_output, input, weight, needs=needs)
            self._add_grads(grad_weight, grad_bias)
            return grad_input

        return output, backward

    def _check_axes(self, input: ArrayLike) -> None:
        if self.of_rows and np.ndim(input) != 2:
            raise ValueError(
                "Linear: input must have the axes (N, in_features) where batch normalisation was folded in, "
                f"received input of shape {np.shape(input)}"
            )

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return ", ".join([shown, *other_than(activation=(self.activation, None)), *other_dtype(self.weight)])
