"""What layers with a weight and a bias have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv.nn.init import Generator, default_init_
from fastconv.nn.module import Backward, Module, Parameter

__all__ = ["WeightedModule"]


class WeightedModule(Module):
    """A layer with a `weight` and perhaps a `bias`, and private copies of them while it is frozen."""

    weight: Parameter
    bias: Parameter | None
    activation: str | None
    _rectifies: ClassVar[bool] = False  # whether `_answer` and `_answer_and_way_back` say all that calls do
    _copies: tuple[Any, NDArray[Any] | None] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls) or "__call__" in vars(cls):
            cls._rectifies = False  # a subclass that calls differently

    def _answer(self, input: Any, activation: str | None) -> NDArray[Any]:
        """Return the output that passed through `activation`."""
        raise NotImplementedError

    def _answer_and_way_back(self, input: Any, needs_input_grad: bool, activation: str | None) -> tuple[Any, Backward]:
        """Return the same and the way back."""
        raise NotImplementedError

    def __call__(self, input: Any) -> NDArray[Any]:
        """Compute the output alone; nothing is kept."""
        return self._answer(input, self.activation)

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        return self._answer_and_way_back(input, needs_input_grad, self.activation)

    def _create(
        self, weight_shape: tuple[int, ...], outputs: int, bias: bool, dtype: DTypeLike, generator: Generator
    ) -> None:
        """Make weight and bias and give them their first values."""
        name = type(self).__name__
        real = check.float_dtype(name, dtype)
        self.weight = Parameter.holding(check.result(name, weight_shape, real))
        self.bias = Parameter(check.result(name, (outputs,), real)) if check.flag(name, "bias", bias) else None
        default_init_(name, self.weight, self.bias, generator)

    def _arrays(self) -> tuple[Any, NDArray[Any] | None]:
        """Return what to compute with: weight and bias, or the frozen copies."""
        copies = self._copies  # read once: another thread may unfreeze
        if copies is not None:
            return copies
        return self.weight.data, None if self.bias is None else self.bias.data

    def _needs(self, needs_input_grad: bool) -> tuple[bool, bool, bool]:
        """Return which gradients a backward pass computes: of the input, the weight and the bias."""
        return (
            needs_input_grad,
            self.weight.requires_grad and not self.frozen,
            self.bias is not None and self.bias.requires_grad and not self.frozen,
        )

    def _add_grads(self, grad_weight: NDArray[Any] | None, grad_bias: NDArray[Any] | None) -> None:
        if grad_weight is not None:
            self.weight.add_grad(grad_weight)
        if grad_bias is not None and self.bias is not None:
            self.bias.add_grad(grad_bias)

    def _freeze(self) -> None:
        self._copies = (self._frozen_weight(), None if self.bias is None else self.bias.data.copy())

    def _frozen_weight(self) -> Any:
        return self.weight.data.copy()

    def _unfreeze(self) -> None:
        self._copies = None
