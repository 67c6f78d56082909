"""Parameter and Module: what every layer is made of.

A layer never remembers a call. ``y = layer(x)`` gives the answer alone; ``y, backward = layer.forward(x)`` gives the
answer and a function that leads back::

    y, backward = layer.forward(x)          # x and whatever else the way back needs live in the closure `backward`
    grad_x = backward(grad_y)               # adds to parameter.grad of every parameter on the way, returns grad_x

So a layer may be used twice in one network (its gradients add up), and by many threads at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check

__all__ = ["Backward", "Buffer", "IncompatibleKeys", "Module", "Parameter"]

#: Takes the gradient of the output; returns the gradient of the input, or None where it was not asked for.
Backward: TypeAlias = Callable[[ArrayLike], Any]

_Self = TypeVar("_Self", bound="Module")


class Parameter:
    """An array that a network learns, and its gradient.

    Parameters
    ----------
    data : array_like
        The first value, copied. float16, float32 or float64.
    requires_grad : bool, default True
        Whether backward passes add to `grad`.

    Attributes
    ----------
    data : ndarray
        The value. Optimizers change it in place, so call ``backward`` before ``optimizer.step()``.
    grad : ndarray or None
        The sum of the gradients since the last ``zero_grad``, with the shape and dtype of `data`.

    Examples
    --------
    >>> weight = Parameter(np.ones((2, 3), np.float32))
    >>> weight.add_grad(np.full((2, 3), 0.5))
    >>> weight.add_grad(np.full((2, 3), 0.25))
    >>> weight.grad
    array([[0.75, 0.75, 0.75],
           [0.75, 0.75, 0.75]], dtype=float32)
    """

    __slots__ = ("data", "grad", "requires_grad")

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        array = np.array(data, order="C")
        if array.dtype.newbyteorder("=") not in _FLOATS:
            raise TypeError(
                f"Parameter: data must be float16, float32 or float64, received data.dtype={array.dtype}; "
                f"convert it with .astype(np.float32)"
            )
        self.data: NDArray[Any] = array.astype(array.dtype.newbyteorder("="), copy=False)
        self.grad: NDArray[Any] | None = None
        self.requires_grad = requires_grad

    @classmethod
    def holding(cls, data: NDArray[Any]) -> Parameter:
        """Make a parameter of a new floating array in C order, without a copy: large weights are not filled twice."""
        parameter = cls.__new__(cls)
        parameter.data, parameter.grad, parameter.requires_grad = data, None, True
        return parameter

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `data`."""
        return self.data.dtype

    @property
    def size(self) -> int:
        """The number of elements of `data`."""
        return self.data.size

    def add_grad(self, grad: ArrayLike) -> None:
        """Add `grad` to the gradient; safe from many threads. The first one is kept, where it can be, without a copy.

        Raises
        ------
        ValueError
            When `grad` has another shape than `data`.
        """
        addend = np.asarray(grad, self.data.dtype)
        if addend.shape != self.data.shape:
            raise ValueError(
                f"Parameter: grad must have the shape of data, {self.data.shape}, received grad.shape={addend.shape}"
            )
        with _adding:
            if self.grad is None:
                self.grad = np.require(addend, requirements="W")
            else:
                self.grad += addend

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return _as_numpy(self.data, dtype, copy)

    def __repr__(self) -> str:
        frozen = "" if self.requires_grad else ", requires_grad=False"
        return f"Parameter(shape={self.shape}, dtype={self.dtype}{frozen})"


class Buffer:
    """An array that a layer keeps and saves, but does not learn: running statistics, a count.

    Parameters
    ----------
    data : array_like
        The first value, copied. float16, float32, float64 or int64.
    optional : bool, default False
        Whether a ``state_dict`` without it may be loaded; it then stays as it is.

    Attributes
    ----------
    data : ndarray
        The value, changed in place by its layer in training.

    Examples
    --------
    >>> Buffer(np.zeros(3, np.float32))
    Buffer(shape=(3,), dtype=float32)
    """

    __slots__ = ("data", "optional")

    def __init__(self, data: ArrayLike, optional: bool = False) -> None:
        array = np.array(data, order="C")
        if array.dtype not in (*_FLOATS, _COUNT):
            raise TypeError(
                f"Buffer: data must be float16, float32, float64 or int64, received data.dtype={array.dtype}"
            )
        self.data: NDArray[Any] = array
        self.optional = optional

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `data`."""
        return self.data.dtype

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return _as_numpy(self.data, dtype, copy)

    def __repr__(self) -> str:
        return f"Buffer(shape={self.shape}, dtype={self.dtype})"


def _as_numpy(data: NDArray[Any], dtype: DTypeLike | None, copy: bool | None) -> NDArray[Any]:
    """Return what ``np.asarray`` of a parameter or buffer gives: `data` itself, where no copy is needed."""
    if copy is False and dtype is not None and data.dtype != dtype:
        raise ValueError(f"asarray: {np.dtype(dtype)} needs a copy of data of {data.dtype}, received copy=False")
    return np.array(data, dtype) if copy else np.asarray(data, dtype)


_FLOATS = tuple(np.dtype(name) for name in ("float16", "float32", "float64"))
_COUNT = np.dtype(np.int64)

# One lock for all parameters and buffers: it is held for a few additions only, and keeps Parameter copyable.
_adding = threading.Lock()


def _renew_lock() -> None:
    global _adding
    _adding = threading.Lock()


if hasattr(os, "register_at_fork"):  # a thread of the parent may hold the lock at the moment of the fork
    os.register_at_fork(after_in_child=_renew_lock)


def changing() -> threading.Lock:
    """Return the lock to hold while arrays of a module change in a forward or backward pass."""
    return _adding


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of all layers and networks.

    Parameters and layers are found among a module's attributes, in the order in which they were set; nothing needs to
    be registered, and a `Sequential` may serve as a list of layers. A new layer derives from Module and writes
    `forward`; it overrides `__call__` where the answer alone comes cheaper.

    Attributes
    ----------
    training : bool
        What ``train()`` and ``eval()`` switch: the behaviour of layers such as dropout.
    frozen : bool
        Whether ``freeze()`` holds: backward passes lead through, but add no gradients to this module's parameters.

    Examples
    --------
    >>> class Scale(Module):
    ...     def __init__(self, factor):
    ...         self.factor = Parameter(factor)
    ...
    ...     def forward(self, input, *, needs_input_grad=True):
    ...         def backward(grad_output):
    ...             self.factor.add_grad(np.sum(grad_output * input))
    ...             return grad_output * self.factor.data
    ...         return input * self.factor.data, backward
    >>> layer = Scale(3.0)
    >>> y, backward = layer.forward(np.array([1.0, 2.0]))
    >>> y, backward(np.array([1.0, 10.0])), layer.factor.grad
    (array([3., 6.]), array([ 3., 30.]), array(21.))
    """

    training: bool = True
    frozen: bool = False

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back.

        Parameters
        ----------
        input : array_like
            Kept, not copied, until the returned function is dropped: do not write into it before.
        needs_input_grad : bool, default True
            False lets ``backward`` skip the gradient of the input and return None: right for the first layer of a
            network, whose input is data.

        Returns
        -------
        output : ndarray
        backward : callable
            ``backward(grad_output)`` adds the gradients of the parameters to their ``grad`` and returns grad_input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, input, *, needs_input_grad=True)")

    def __call__(self, input: Any) -> Any:
        """Compute the output alone; nothing is kept."""
        try:
            result: Any = self.forward(input, needs_input_grad=False)
        except TypeError as error:
            if "'needs_input_grad'" in str(error):
                error.add_note(f"write {type(self).__name__}.forward(self, input, *, needs_input_grad=True)")
            raise
        return both(self, result)[0]

    # -- what the module holds --

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Layers directly in this module, with their names; one that is held twice comes twice."""
        return ((name, value) for name, value in list(vars(self).items()) if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside it, with dotted names, parents first; each once."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield all parameters with dotted names such as ``"features.0.weight"``; a shared one once."""
        seen: set[int] = set()
        for name, parameter in self._walk_parameters(prefix):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Yield all parameters, each once.

        Examples
        --------
        >>> from fastconv import nn
        >>> sum(parameter.size for parameter in nn.Conv2d(3, 10, 5, padding=2).parameters())
        760
        """
        return (parameter for _, parameter in self.named_parameters())

    def learns(self) -> bool:
        """Whether a backward pass adds a gradient to any parameter in this module."""
        return any(
            parameter.requires_grad
            for module in self.modules()
            if not module.frozen
            for _, parameter in module._own_parameters()
        )

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters (sets them to None)."""
        for parameter in self.parameters():
            parameter.grad = None

    # -- modes --

    def train(self: _Self, mode: bool = True) -> _Self:
        """Switch to training behaviour, and undo ``freeze()``; ``train(False)`` is ``eval()``. Returns the module."""
        training = check.flag("train", "mode", mode)
        for module in self.modules():
            module.training = training
        return self.unfreeze() if training else self

    def eval(self: _Self) -> _Self:
        """Switch to inference behaviour. Returns the module."""
        return self.train(False)

    def freeze(self: _Self) -> _Self:
        """Fix the weights: layers compute with private copies, packed once, and backward passes add no gradients.

        Changes of ``parameter.data`` show only after ``unfreeze()``, ``train()`` or ``load_state_dict()``, which drop
        the copies. Gradients held so far are forgotten. Returns the module.
        """
        for module in self.modules():
            module._freeze()
            module.frozen = True
            for _, parameter in module._own_parameters():
                parameter.grad = None
        return self

    def unfreeze(self: _Self) -> _Self:
        """Undo ``freeze()``. Returns the module."""
        for module in self.modules():
            module.frozen = False
            module._unfreeze()
        return self

    def _freeze(self) -> None:
        """Make the private copies of a layer that has some."""

    def _unfreeze(self) -> None:
        """Drop them."""

    def fuse(self: _Self) -> _Self:
        """Return a copy for inference, in which each batch normalisation is part of the layer before it.

        A convolution, transposed or not, or a fully connected layer, and the batch normalisation that follows it
        directly are one affine map:
        ``weight * scale`` and ``(bias - mean) * scale + shift`` with ``scale = gamma / sqrt(var + eps)`` for each
        output channel, computed in float64. What was folded is replaced by `Identity`. Weights that several places of
        the network share are left alone. A fully connected layer that took up a normalisation takes inputs of two axes
        only: of three, the channels to normalise would be the second axis, not its outputs.

        Returns
        -------
        Module
            With the same answers but for rounding; another ``state_dict``.

        Raises
        ------
        ValueError
            In training, where normalisation depends on the batch: call ``eval()`` first.

        References
        ----------
        Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        2018 (section 3.2).

        Examples
        --------
        >>> from fastconv import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False, generator=0), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> x = np.ones((1, 3, 5, 5), np.float32)
        >>> fused = net.fuse()
        >>> fused[1], np.allclose(fused(x), net(x), atol=1e-6)
        (Identity(), True)
        """
        from fastconv.nn.fuse import fused  # which knows layers, as this file does not

        return fused(self)

    def _rows(self) -> list[tuple[Module, ...]]:
        """Return layers that are run one directly after the other, in rows."""
        return []

    # -- saving and loading --

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters and buffers, under torch's names.

        Examples
        --------
        >>> from fastconv import nn
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 1, 3, bias=False))
        >>> {name: array.shape for name, array in net.state_dict().items()}
        {'0.weight': (2, 1, 3), '0.bias': (2,), '2.weight': (1, 2, 3)}
        """
        return {name: held.data.copy() for name, held in self._walk_state("")}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike], strict: bool = True) -> IncompatibleKeys:
        """Copy arrays into the parameters and buffers of the same names; undoes ``freeze()``.

        All is checked before anything is copied, so an error leaves the module as it was.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Such as ``state_dict()`` gives, or a torch model's (CPU tensors). Floating arrays of the parameters'
            shapes; another floating dtype is converted to the parameter's. Counts of batches may be missing.
        strict : bool, default True
            Whether the names must agree exactly. With False, the others are passed over and returned.

        Raises
        ------
        ValueError
            When names are missing or unexpected (`strict`), or a shape differs.
        TypeError
            When `state_dict` is not a mapping or an array is not floating.

        Examples
        --------
        >>> from fastconv import nn
        >>> nn.Linear(2, 1).load_state_dict({"weight": np.ones((1, 3)), "bias": np.zeros(1)})
        Traceback (most recent call last):
            ...
        ValueError: load_state_dict: 'weight' must have shape (1, 2), received shape (1, 3)
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict: state_dict must map names to arrays, received {type(state_dict).__name__}"
            )
        targets = dict(self._walk_state(""))
        found = IncompatibleKeys(
            missing_keys=[name for name, held in targets.items() if name not in state_dict and not _optional(held)],
            unexpected_keys=[name for name in state_dict if name not in targets],
        )
        if check.flag("load_state_dict", "strict", strict) and any(found):
            raise ValueError(
                f"load_state_dict: names must agree, received state_dict without {found.missing_keys} "
                f"and with unexpected {found.unexpected_keys}; strict=False passes over them"
            )
        arrays = {name: _loadable(name, state_dict[name], targets[name]) for name in targets if name in state_dict}
        for name, array in arrays.items():
            targets[name].data[...] = array
        self.unfreeze()
        return found

    # -- plumbing --

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _own_parameters(self) -> Iterable[tuple[str, Parameter]]:
        return [(name, value) for name, value in list(vars(self).items()) if isinstance(value, Parameter)]

    def _walk_parameters(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for path, module in self._walk(prefix):
            for name, parameter in module._own_parameters():
                yield (f"{path}.{name}" if path else name), parameter

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """Yield all buffers with dotted names such as ``"bn1.running_mean"``; a shared one once."""
        seen: set[int] = set()
        for name, held in self._walk_state(prefix):
            if isinstance(held, Buffer) and id(held) not in seen:
                seen.add(id(held))
                yield name, held

    def _walk_state(self, prefix: str) -> Iterator[tuple[str, Parameter | Buffer]]:
        """Yield what is saved: of each module its parameters, then its buffers."""
        for path, module in self._walk(prefix):
            held = [
                (name, value) for name, value in list(vars(module).items()) if isinstance(value, Parameter | Buffer)
            ]
            for name, value in sorted(held, key=lambda item: isinstance(item[1], Buffer)):
                yield (f"{path}.{name}" if path else name), value

    def __setattr__(self, name: str, value: Any) -> None:
        kept = vars(self).get(name)
        if isinstance(kept, Parameter | Buffer) and not isinstance(value, type(kept) | None):
            raise TypeError(
                f"{type(self).__name__}: {name} is a {type(kept).__name__} and stays one, "
                f"received {name}={type(value).__name__}; assign to {name}.data, or use load_state_dict"
            )
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if any(isinstance(one, Module | Parameter) for one in held):
            raise TypeError(
                f"{type(self).__name__}: layers and parameters in a list or dict are not found, "
                f"received {name}={type(value).__name__}; hold layers in a Sequential, parameters as attributes"
            )
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        arguments = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({arguments})"
        return "\n  ".join([f"{type(self).__name__}({arguments}", *children]) + "\n)"


def both(module: Module, result: Any) -> tuple[Any, Backward]:
    """Return what `forward` of a module returned, if it is the output and the way back: two samples are not."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{type(module).__name__}: forward must return the output and the way back, "
            f"received {type(result).__name__}; layers in a row make a Sequential, which does that by itself"
        )
    return result


def other_than(**given: tuple[Any, Any]) -> list[str]:
    """Return "name=value" for each name=(value, default) that differs from its default: for `extra_repr`."""
    return [f"{name}={value}" for name, (value, default) in given.items() if value != default]


def other_dtype(held: Parameter | Buffer | None) -> list[str]:
    """Return "dtype=..." where a layer's arrays are not float32: for `extra_repr`."""
    return [] if held is None else other_than(dtype=(held.dtype.name, "float32"))


def _optional(held: Parameter | Buffer) -> bool:
    return isinstance(held, Buffer) and held.optional


def _loadable(name: str, value: ArrayLike, parameter: Parameter | Buffer) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a torch tensor of bfloat16, or of another device
        raise TypeError(f"load_state_dict: {name!r} cannot be read as an array: {error}") from error
    if parameter.dtype == _COUNT:
        if array.dtype.kind not in "iu":
            raise TypeError(f"load_state_dict: {name!r} must hold integers, received dtype {array.dtype}")
    elif array.dtype.newbyteorder("=") not in _FLOATS:
        raise TypeError(
            f"load_state_dict: {name!r} must be float16, float32 or float64 to go into {parameter.dtype}, "
            f"received dtype {array.dtype}"
        )
    if array.shape != parameter.shape:
        raise ValueError(f"load_state_dict: {name!r} must have shape {parameter.shape}, received shape {array.shape}")
    return array
