"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn._weighted import WeightedModule
from fastconv.nn.init import Generator
from fastconv.nn.module import Backward

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
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        self.in_features = check.integer("Linear", "in_features", in_features, 1)
        self.out_features = check.integer("Linear", "out_features", out_features, 1)
        self._create((self.out_features, self.in_features), self.out_features, bias, dtype, generator)

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return F.linear(input, *self._arrays())

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        weight, bias = self._arrays()
        needs = self._needs(needs_input_grad)
        output = F.linear(input, weight, bias)

        def backward(grad_output: ArrayLike) -> Any:
            grad_input, grad_weight, grad_bias = F.linear_backward(grad_output, input, weight, needs=needs)
            self._add_grads(grad_weight, grad_bias)
            return grad_input

        return output, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
