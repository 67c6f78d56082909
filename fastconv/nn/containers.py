"""Layers that hold layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, overload

from fastconv.nn.module import Backward, Module

__all__ = ["Sequential"]


class Sequential(Module):
    """Layers in a row: the output of each is the input of the next.

    Parameters
    ----------
    *layers : Module
        In order, named "0", "1", ... Or one dict of names to layers. A layer may stand in the row more than once:
        its weights are shared and its gradients add up.

    Raises
    ------
    TypeError
        When a layer is not a Module, or a name not a string.
    ValueError
        When a name is empty, has a dot in it, or is one of Module's own.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    >>> y, backward = net.forward(np.ones((8, 1, 6, 6), np.float32))
    >>> y.shape, backward(np.ones_like(y)).shape, net[0].weight.grad.shape
    ((8, 2), (8, 1, 6, 6), (4, 1, 3, 3))
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named: dict[Any, Any] = dict(layers[0])
        else:
            named = {str(index): layer for index, layer in enumerate(layers)}
        for name, layer in named.items():
            self._add(name, layer)

    def append(self, layer: Module) -> Sequential:
        """Add a layer at the end. Returns the container."""
        self._add(str(len(self)), layer)
        return self

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back through all layers.

        Where no gradient is wanted (``needs_input_grad=False``), the layers before the first one that learns are not
        entered on the way back, and that one skips the gradient of its input.
        """
        backwards: list[Backward] = []
        output = input
        for layer in self:
            if needs_input_grad or backwards or layer.learns():
                output, back = layer.forward(output, needs_input_grad=needs_input_grad or bool(backwards))
                backwards.append(back)
            else:
                output = layer(output)

        def backward(grad_output: Any) -> Any:
            grad = grad_output
            for back in reversed(backwards):
                grad = back(grad)
            return grad if needs_input_grad else None

        return output, backward

    def __call__(self, input: Any) -> Any:
        """Compute the output alone; nothing is kept."""
        for layer in self:
            input = layer(input)
        return input

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (layer for _, layer in self.named_children())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        named = list(self.named_children())
        if isinstance(index, slice):
            return Sequential(dict(named[index]))
        return named[index][1]

    def __setitem__(self, index: int, layer: Module) -> None:
        name = list(self.named_children())[index][0]
        if not isinstance(layer, Module):
            raise _not_a_layer(name, layer)
        setattr(self, name, layer)

    def _add(self, name: Any, layer: Any) -> None:
        if not isinstance(layer, Module):
            raise _not_a_layer(name, layer)
        if not isinstance(name, str):
            raise TypeError(f"Sequential: names of layers must be strings, received name={name!r}")
        if not name or "." in name or hasattr(self, name):
            raise ValueError(
                f"Sequential: names of layers must not be empty, have dots or be taken, received name={name!r}"
            )
        setattr(self, name, layer)


def _not_a_layer(name: object, layer: object) -> TypeError:
    hint = ", the class; write it with parentheses" if isinstance(layer, type) else ""
    return TypeError(f"Sequential: layers must be Modules, received layer {name!r}={layer!r}{hint}")
