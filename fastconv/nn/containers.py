"""Layers that hold layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

import numpy as np

from fastconv import _check as check
from fastconv import functional as F
from fastconv.functional._map import total
from fastconv.nn._weighted import WeightedModule
from fastconv.nn.activation import ReLU
from fastconv.nn.module import Backward, Module, both, other_than
from fastconv.nn.shape import Identity

__all__ = ["Concat", "Parallel", "Residual", "Sequential"]


class _Layers(Module):
    """Layers under names, in order, as a list of them."""

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named: dict[Any, Any] = dict(layers[0])
        else:
            named = {str(index): layer for index, layer in enumerate(layers)}
        for name, layer in named.items():
            self._add(name, layer)

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (layer for _, layer in self.named_children())

    def __setitem__(self, index: int, layer: Module) -> None:
        name = list(self.named_children())[index][0]
        setattr(self, name, _layer(self, name, layer))

    def _add(self, name: Any, layer: Any) -> None:
        owner = type(self).__name__
        _layer(self, name, layer)
        if not isinstance(name, str):
            raise TypeError(f"{owner}: names of layers must be strings, received name={name!r}")
        if not name or "." in name or hasattr(self, name):
            raise ValueError(
                f"{owner}: names of layers must not be empty, have dots or be taken, received name={name!r}"
            )
        setattr(self, name, layer)


class Sequential(_Layers):
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
        for layer, activation in _steps(self):
            try:
                if needs_input_grad or backwards or layer.learns():
                    needs = needs_input_grad or bool(backwards)
                    if activation is None:
                        output, back = both(layer, layer.forward(output, needs_input_grad=needs))
                    else:
                        output, back = layer._answer_and_way_back(output, needs, activation)
                    backwards.append(back)
                else:
                    output = layer(output) if activation is None else layer._answer(output, activation)
            except (TypeError, ValueError) as error:
                self._tell_where(error, layer)
                raise

        def backward(grad_output: Any) -> Any:
            grad = grad_output
            for back in reversed(backwards):
                grad = back(grad)
            return grad if needs_input_grad else None

        return output, backward

    def __call__(self, input: Any) -> Any:
        """Compute the output alone; nothing is kept."""
        for layer, activation in _steps(self):
            try:
                input = layer(input) if activation is None else layer._answer(input, activation)
            except (TypeError, ValueError) as error:
                self._tell_where(error, layer)
                raise
        return input

    def _tell_where(self, error: Exception, layer: Module) -> None:
        """Add a note to an error, which is shown below it: in which layer it was."""
        name = next(name for name, child in self.named_children() if child is layer)
        shown = repr(layer).partition("\n")[0].removesuffix("(")
        error.add_note(f"in layer {name!r} of {type(self).__name__}: {shown}")

    def _rows(self) -> list[tuple[Module, ...]]:
        return [tuple(self)]

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        named = list(self.named_children())
        if isinstance(index, slice):
            return Sequential(dict(named[index]))
        return named[index][1]


def _steps(layers: Iterable[Module]) -> list[tuple[Any, str | None]]:
    """Return layers in a row; a ReLU joins the convolution or fully connected layer before it, which computes it."""
    steps: list[tuple[Any, str | None]] = []
    for layer in layers:
        if type(layer) is Identity:
            continue
        before = steps[-1][0] if steps and type(layer) is ReLU and steps[-1][1] is None else None
        if isinstance(before, WeightedModule) and before._rectifies and before.activation is None:
            steps[-1] = (before, "relu")
        else:
            steps.append((layer, None))
    return steps


class Parallel(_Layers):
    """Layers side by side: all read the same input, and their outputs, of one shape, are added up.

    Parameters
    ----------
    *layers : Module
        The branches, named "0", "1", ... Or one dict of names to layers. Gradients of a layer that stands there twice
        add up.

    Raises
    ------
    TypeError
        When a layer is not a Module, or a name not a string.
    ValueError
        When there is no layer, when a name is empty, has a dot in it, or is one of Module's own; in a call, when the
        outputs do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> net = nn.Parallel(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1))
    >>> net(np.ones((2, 3, 5, 5), np.float32)).shape
    (2, 8, 5, 5)
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        super().__init__(*layers)
        if not len(self):
            raise ValueError(f"{type(self).__name__}: layers must hold a layer at least, received none")

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back through all layers, see `Module.forward`."""
        ways = [_forward(layer, input, needs_input_grad) for layer in self]
        outputs = [output for output, _ in ways]
        joined = self._join(outputs)
        shapes = [np.shape(output) for output in outputs]
        joined_shape = joined.shape

        def backward(grad_output: Any) -> Any:
            grad = check.grad(type(self).__name__, np.asarray(grad_output), joined_shape)
            parts = self._split(grad, shapes)
            grads = [back(part) for (_, back), part in zip(ways, parts, strict=True) if back is not None]
            return _total(grads) if needs_input_grad else None

        return joined, backward

    def __call__(self, input: Any) -> Any:
        """Compute the output alone; nothing is kept."""
        return self._join([layer(input) for layer in self])

    def _join(self, outputs: list[Any]) -> Any:
        shapes = [np.shape(output) for output in outputs]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"{type(self).__name__}: outputs of the layers must have one shape, received {shapes}")
        return _total(outputs)

    def _split(self, grad: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
        return [grad] * len(shapes)


class Concat(Parallel):
    """Layers side by side: all read the same input, and their outputs are joined along an axis, that of the channels.

    Parameters
    ----------
    *layers : Module
        The branches, named "0", "1", ... Or one dict of names to layers.
    dim : int, default 1
        The axis; 1 is the channels of a batch ``(N, C, *S)``. A negative one counts from the end: -3 is the channels of
        images with batch and without.

    Raises
    ------
    TypeError
        When a layer is not a Module, a name not a string, or `dim` not an integer.
    ValueError
        When there is no layer, when a name is empty, has a dot in it, or is one of Module's own; in a call, when the
        outputs do not fit together.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", 2015 (inception modules).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> net = nn.Concat(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 4, 1))
    >>> net(np.ones((2, 3, 5, 5), np.float32)).shape
    (2, 12, 5, 5)
    """

    def __init__(self, *layers: Module | Mapping[str, Module], dim: int = 1) -> None:
        self.dim = check.integer("Concat", "dim", dim)
        super().__init__(*layers)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return ", ".join(other_than(dim=(self.dim, 1)))

    def _join(self, outputs: list[Any]) -> Any:
        shapes = [np.shape(output) for output in outputs]
        axes = len(shapes[0])
        if not -axes <= self.dim < axes:
            raise ValueError(f"Concat: dim must be an axis of the outputs, received dim={self.dim} for {shapes}")
        axis = self.dim % axes
        if any((*shape[:axis], *shape[axis + 1 :]) != (*shapes[0][:axis], *shapes[0][axis + 1 :]) for shape in shapes):
            raise ValueError(f"Concat: outputs of the layers must agree but for axis {axis}, received shapes {shapes}")
        return np.concatenate(outputs, axis)

    def _split(self, grad: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
        ends = np.cumsum([shape[self.dim] for shape in shapes])
        return np.split(grad, ends[:-1], self.dim)


class Residual(Module):
    """What a layer adds to its input: ``y = activation(body(x) + shortcut(x))``.

    Parameters
    ----------
    body : Module
        F, the layers that are gone around.
    shortcut : Module, optional
        The way around, where shapes differ: a 1x1 convolution, say. The input itself by default.
    activation : Module, optional
        What follows the sum.

    Raises
    ------
    TypeError
        When one of these is not a Module; in a call, when dtypes are none to compute with.
    ValueError
        In a call, when the two shapes differ.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    >>> block = nn.Residual(body, activation=nn.ReLU())
    >>> block(np.ones((2, 8, 5, 5), np.float32)).shape
    (2, 8, 5, 5)

    With weights of zero it is the identity:

    >>> for parameter in body.parameters():
    ...     parameter.data[...] = 0
    >>> x = np.random.default_rng(0).random((2, 8, 5, 5))
    >>> np.array_equal(block(x), x)
    True
    """

    def __init__(self, body: Module, shortcut: Module | None = None, activation: Module | None = None) -> None:
        self.body = _layer(self, "body", body)
        if shortcut is not None:
            self.shortcut = _layer(self, "shortcut", shortcut)
        if activation is not None:
            self.activation = _layer(self, "activation", activation)

    def _parts(self) -> tuple[Module, Module | None, Module | None]:
        held = vars(self)
        return self.body, held.get("shortcut"), held.get("activation")

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        body, shortcut, activation = self._parts()
        output, body_back = _forward(body, input, needs_input_grad)
        around, around_back = (
            (np.asarray(input), None) if shortcut is None else _forward(shortcut, input, needs_input_grad)
        )
        shape, activation_back = np.shape(output), None
        if type(activation) is ReLU:
            result = self._sum(output, around, rectify=True)
            activation_back = lambda grad_output: F.relu_backward(grad_output, result)  # noqa: E731
        else:
            result = self._sum(output, around)
            if activation is not None:
                result, activation_back = activation.forward(result)

        def backward(grad_output: Any) -> Any:
            grad = grad_output if activation_back is None else activation_back(grad_output)
            grad = check.grad("Residual", np.asarray(grad), shape)
            of_body = None if body_back is None else body_back(grad)
            of_around = grad if around_back is None else around_back(grad)
            return total("Residual", of_body, of_around) if needs_input_grad else None

        return result, backward

    def __call__(self, input: Any) -> Any:
        """Compute the output alone; nothing is kept."""
        body, shortcut, activation = self._parts()
        around, rectify = np.asarray(input) if shortcut is None else shortcut(input), type(activation) is ReLU
        output = self._sum(body(input), around, rectify)
        return output if activation is None or rectify else activation(output)

    @staticmethod
    def _sum(output: Any, around: Any, rectify: bool = False) -> Any:
        if np.shape(output) != np.shape(around):
            raise ValueError(
                f"Residual: body and shortcut must give one shape, received {np.shape(output)} and {np.shape(around)}"
            )
        return total("Residual", output, around, rectify=rectify)


def _forward(layer: Module, input: Any, needs_input_grad: bool) -> tuple[Any, Backward | None]:
    """Return a branch's output and its way back, or None where nothing on it wants a gradient."""
    if needs_input_grad or layer.learns():
        return both(layer, layer.forward(input, needs_input_grad=needs_input_grad))
    return layer(input), None


def _total(arrays: list[Any]) -> Any:
    """Return the sum as a new array: what branches return may be the caller's own."""
    found = np.array(arrays[0]) if len(arrays) == 1 else arrays[0]
    for array in arrays[1:]:
        found = total("Parallel", found, array)
    return found


def _layer(owner: Module, name: object, layer: Any) -> Module:
    if isinstance(layer, Module):
        return layer
    hint = ", the class; write it with parentheses" if isinstance(layer, type) else ""
    hint = f"; write {type(owner).__name__}(*layers)" if isinstance(layer, list | tuple) else hint
    raise TypeError(f"{type(owner).__name__}: layers must be Modules, received layer {name!r}={layer!r}{hint}")
