"""What the layers that normalise share: a factor and a summand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv import _check as check
from fastconv.nn.module import Module, Parameter

__all__ = ["Affine", "Arrays"]

Arrays = tuple[NDArray[Any] | None, ...]


class Affine(Module):
    """A layer that scales and shifts what it has normalised, with private copies of its arrays while it is frozen."""

    eps: float
    weight: Parameter | None
    bias: Parameter | None
    _copies: Arrays | None = None

    def _create(self, shape: tuple[int, ...], eps: Any, affine: Any, bias: Any, dtype: DTypeLike) -> None:
        name = type(self).__name__
        real = check.float_dtype(name, dtype)
        self.eps = check.real(name, "eps", eps, 0)
        learned, shifted = check.flag(name, self._switch, affine), check.flag(name, "bias", bias)
        zeros = check.result(name, shape, real, zero=True)
        self.weight = Parameter(np.ones_like(zeros)) if learned else None
        self.bias = Parameter(zeros) if learned and shifted else None

    _switch: ClassVar[str] = "affine"  # the argument that asks for a weight

    def _held(self) -> Arrays:
        """Return the arrays to compute with."""
        return tuple(None if held is None else held.data for held in (self.weight, self.bias))

    def _arrays(self) -> Arrays:
        copies = self._copies  # read once: another thread may unfreeze
        return self._held() if copies is None else copies

    def _needs(self, needs_input_grad: bool) -> tuple[bool, bool, bool]:
        """Return which gradients a backward pass computes: of the input, the weight and the bias."""
        learns = [held is not None and held.requires_grad and not self.frozen for held in (self.weight, self.bias)]
        return needs_input_grad, learns[0], learns[1]

    def _lead_back(self, gradients: Any) -> Any:
        """Add the parameters' gradients and return the input's."""
        for held, grad in zip((self.weight, self.bias), gradients[1:], strict=True):
            if held is not None and grad is not None:
                held.add_grad(grad)
        return gradients[0]

    def _freeze(self) -> None:
        self._copies = tuple(None if held is None else held.copy() for held in self._held())

    def _unfreeze(self) -> None:
        self._copies = None
