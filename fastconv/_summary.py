"""A network as a table: what each layer gives, holds, costs and sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv import nn

__all__ = ["Row", "Summary", "summary"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One layer of a network, in the order of the calls; one that is called twice comes twice.

    Attributes
    ----------
    name : str
        As in ``state_dict``: ``"features.0"``.
    layer : str
        Its class.
    output_shape : tuple of int
        Of one sample.
    parameters : int
        What it learns; 0 where an earlier row has counted the same.
    multiply_adds : int
        For one sample, of convolutions and fully connected layers; multiplications with padding count.
    receptive_field : tuple of int or None
        How far an output sees along each spatial axis of the network's input, padding included: the whole input behind
        a fully connected layer, the widest of the branches behind a sum. None where there is no such number, as behind
        layers that enlarge.
    """

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, ...] | None

    @property
    def outputs(self) -> int:
        """Elements of the output for one sample."""
        return math.prod(self.output_shape)


@dataclass(frozen=True)
class Summary:
    """What `summary` found; ``str()`` of it is a table.

    Attributes
    ----------
    model : str
        The model's class.
    input_shape : tuple of int
        Of one sample.
    rows : list of Row
        The layers.
    parameters : int
        All that the model learns, each once.
    """

    model: str
    input_shape: tuple[int, ...]
    rows: list[Row]
    parameters: int

    @property
    def multiply_adds(self) -> int:
        """For one sample through the whole model."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def inputs(self) -> int:
        """Elements of one input sample."""
        return math.prod(self.input_shape)

    def __str__(self) -> str:
        head = ("name", "layer", "output", "parameters", "multiply-adds", "sees")
        body = [
            (
                row.name,
                row.layer,
                _by(row.output_shape),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.multiply_adds:,}" if row.multiply_adds else "",
                "" if row.receptive_field is None else _by(row.receptive_field),
            )
            for row in self.rows
        ]
        foot = (self.model, "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", "")
        widths = [max(map(len, column)) for column in zip(head, *body, foot, strict=True)]
        lines = [
            "  ".join(text.rjust(width) if i in (3, 4) else text.ljust(width) for i, (text, width) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=True)) for row in (head, *body, foot))
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join(line.rstrip() for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]))


def summary(model: nn.Module, input_shape: Sequence[int]) -> Summary:
    """Tell what each layer of a network gives, holds, costs and sees.

    A sample of zeros goes through the network in evaluation mode; convolutions and fully connected layers pass on
    zeros of the right shape without computing, so that it takes milliseconds. The model is not touched.

    Parameters
    ----------
    model : Module
    input_shape : sequence of int
        ``(C, *spatial)`` or ``(features,)``: of one sample, without the batch axis.

    Returns
    -------
    Summary

    Raises
    ------
    TypeError
        When `model` is no Module.
    ValueError
        When the shape does not fit the model.

    Examples
    --------
    >>> from fastconv import models
    >>> print(summary(models.LeNet5(), (1, 32, 32)))
    name          layer      output    parameters  multiply-adds  sees
    -------------------------------------------------------------------
    features.0    Conv2d     6x28x28          156        117,600  5x5
    features.1    ReLU       6x28x28                              5x5
    features.2    MaxPool2d  6x14x14                              6x6
    features.3    Conv2d     16x10x10       2,416        240,000  14x14
    features.4    ReLU       16x10x10                             14x14
    features.5    MaxPool2d  16x5x5                               16x16
    features.6    Conv2d     120x1x1       48,120         48,000  32x32
    features.7    ReLU       120x1x1                              32x32
    classifier.0  Flatten    120                                  32x32
    classifier.1  Linear     84            10,164         10,080  32x32
    classifier.2  ReLU       84                                   32x32
    classifier.3  Linear     10               850            840  32x32
    -------------------------------------------------------------------
    LeNet5                                 61,706        416,520
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"summary: model must be a Module, received {type(model).__name__}")
    shape = check.sizes("summary", "input_shape", input_shape, minimum=1)
    parameters = list(model.parameters())
    dtype = parameters[0].dtype if parameters else np.dtype(np.float32)
    trace = _Trace(np.zeros((1, *shape), dtype))
    names = {id(module): name for name, module in model.named_modules()}
    with np.errstate(all="ignore"):
        _twin(model, names, trace, {})(trace.input)
    return Summary(type(model).__name__, shape, trace.rows, sum(parameter.size for parameter in parameters))


class _Trace:
    """What is noted on the way of a sample through a network."""

    def __init__(self, sample: Array) -> None:
        from fastconv.analysis import ReceptiveField  # here, because it takes milliseconds to import

        self.input = sample
        self.rows: list[Row] = []
        self._counted: set[int] = set()
        self._spatial = sample.shape[2:]
        self._widest: Any = ReceptiveField.of_input(len(self._spatial))
        # Fields by the address of an array, which is kept so that the address stays its own.
        self._fields: dict[int, tuple[Any, Array]] = {id(sample): (self._widest, sample)}

    def note(self, name: str, layer: nn.Module, input: Array, output: Array) -> None:
        """Add a row."""
        # What no layer made, the sum of two branches for one, has seen as much as the one that has seen most.
        inside = any(layer.named_children())
        field, _ = self._fields.get(id(output if inside else input), (self._widest, input))
        if not inside:
            field = self._through(layer, field, input)
        if field is None or self._widest is None or field.whole or sum(field.size) > sum(self._widest.size):
            self._widest = field
        self._fields[id(output)] = field, output
        own = [parameter for _, parameter in layer.named_parameters() if id(parameter) not in self._counted]
        self._counted |= {id(parameter) for parameter in own}
        sees = None if field is None or not self._spatial else self._spatial if field.whole else field.size
        self.rows.append(
            Row(
                name,
                type(layer).__name__,
                output.shape[1:],
                sum(parameter.size for parameter in own),
                _multiply_adds(layer, input, output),
                sees,
            )
        )

    def check_axes(self, name: str, layer: nn.Module, input: Array) -> None:
        """Refuse a sample that is given with a batch axis, or without that of channels."""
        axes = getattr(layer, "_axes", None) if hasattr(layer, "kernel_size") else None
        if axes is not None and input.ndim != axes + 2:
            letters = ("L", "H, W", "D, H, W")[axes - 1]
            raise ValueError(
                f"summary: input_shape must be that of one sample, without a batch axis, received input_shape="
                f"{self.input.shape[1:]}, of which {name or 'the model'}, a {type(layer).__name__}, gets "
                f"{input.shape[1:]} in place of (C, {letters})"
            )

    def _through(self, layer: nn.Module, field: Any, input: Array) -> Any:
        if field is None:
            return None
        try:
            return field.through(layer, input.shape[2:] if input.ndim == self.input.ndim else None)
        except TypeError:
            return None  # a layer that enlarges: outputs see unequal numbers of inputs


class _Traced(nn.Module):
    """Stands for a layer: notes what goes through it."""

    def __init__(self, layer: nn.Module, stand_in: nn.Module, name: str, trace: _Trace) -> None:
        # Not as attributes that hold modules: it counts as a layer of its own.
        self._held = (layer, stand_in, name, trace)

    def __call__(self, input: Any) -> Any:
        layer, stand_in, name, trace = self._held
        array = np.asarray(input)
        trace.check_axes(name, layer, array)
        output = _of_right_shape(layer, array)
        if output is None:
            output = stand_in(array)
        if isinstance(output, np.ndarray):
            trace.note(name, layer, array, output)
        return output

    def __repr__(self) -> str:
        return repr(self._held[0])

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, nn.Backward]:
        """Compute the output; there is no way back."""
        return self(input), _no_way_back


def _no_way_back(grad_output: Any) -> Any:
    raise RuntimeError("summary: networks are followed forward only")


def _twin(module: nn.Module, names: dict[int, str], trace: _Trace, made: dict[int, nn.Module]) -> nn.Module:
    """Copy the containers of a network; in the copy, every layer is traced. Parameters stay the same objects."""
    if id(module) in made:
        return made[id(module)]
    copy = object.__new__(type(module))
    children = {name: _twin(child, names, trace, made) for name, child in module.named_children()}
    vars(copy).update(vars(module), training=False, **children)
    held = any(True for _ in module._own_parameters())
    result = _Traced(module, copy, names[id(module)], trace) if held or not children else copy
    made[id(module)] = result
    return result


def _of_right_shape(layer: nn.Module, input: Array) -> Array | None:
    """Return zeros in the shape of the output, that take no memory; None for layers that are cheap to compute."""
    if isinstance(layer, nn.Linear):
        if input.shape[-1] != layer.in_features:
            return None  # the layer says what is wrong
        shape: tuple[int, ...] = (*input.shape[:-1], layer.out_features)
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.padding_mode == "zeros":
        n = input.ndim - 2
        if n != len(layer.kernel_size):
            return None
        options = (layer.stride, layer.padding, layer.dilation, layer.groups)
        shape = check.conv_problem(f"conv{n}d", n, input.shape, True, layer.weight.shape, *options).output_shape
    else:
        return None
    return np.broadcast_to(np.zeros((), input.dtype), shape)


def _multiply_adds(layer: nn.Module, input: Array, output: Array) -> int:
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, nn.Parameter):
        return 0
    if isinstance(layer, nn.Linear):
        return weight.size * math.prod(output.shape[1:-1])
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return weight.size * math.prod(input.shape[2:])
    if not hasattr(layer, "kernel_size"):
        return 0
    known: Any = layer  # a convolution, or one with kernels of their own at some or all positions
    taps: int = math.prod(known.kernel_size) * known.in_channels // known.groups
    return taps * math.prod(output.shape[1:])


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
