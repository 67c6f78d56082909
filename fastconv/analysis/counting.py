"""What a pattern of connections costs on paper: weights, biases, connections.

Nothing is allocated: sizes are Python's unbounded integers, so a fully connected layer that no machine could hold is
counted exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastconv import _check as check
from fastconv import nn
from fastconv._check import Axis

__all__ = ["Connections", "convolution", "count", "fully_connected", "locally_connected", "neurons", "tiled"]


@dataclass(frozen=True)
class Connections:
    """What one layer has for one sample.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        ``(C, *spatial)``, or whatever was given.
    fan_in : int
        Inputs that one output reads, away from the borders.
    connections : int
        Pairs of an output and an input that it reads; taps on padding are none.
    weights, biases : int
        Different numbers to learn: connections that share a weight count once.

    Examples
    --------
    >>> nine = convolution((1, 5, 5), 1, 3)
    >>> nine.inputs, nine.outputs, nine.connections, nine.weights, nine.sharing
    (25, 9, 81, 9, 9.0)
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    fan_in: int
    connections: int
    weights: int
    biases: int

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return prod(self.input_shape)

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return prod(self.output_shape)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def multiply_adds(self) -> int:
        """Products that are added up for one sample, taps on padding included, as is usual."""
        return self.outputs * self.fan_in

    @property
    def sharing(self) -> float:
        """Connections a weight, in the mean: 1 where nothing is shared."""
        return self.connections / self.weights if self.weights else 1.0


def fully_connected(inputs: int | Sequence[int], outputs: int | Sequence[int], *, bias: bool = False) -> Connections:
    """Count a fully connected layer: every output reads every input.

    Parameters
    ----------
    inputs, outputs : int or sequence of int
        Numbers of inputs and outputs, or shapes.
    bias : bool, default False
        Whether each output has a bias.

    Returns
    -------
    Connections

    Raises
    ------
    TypeError, ValueError
        When a size is no integer, or negative.

    Examples
    --------
    A 3x3 image to 16 neurons; 9 inputs through hidden layers of 90 and 50; a 32x32 image to 500 neurons:

    >>> fully_connected((3, 3), 16).weights
    144
    >>> fully_connected(9, 90).weights + fully_connected(90, 50).weights
    5310
    >>> fully_connected((32, 32), 500).weights
    512000
    """
    op = "fully_connected"
    shape, out_shape = _shape(op, "inputs", inputs), _shape(op, "outputs", outputs)
    weights = prod(shape) * prod(out_shape)
    biases = prod(out_shape) if check.flag(op, "bias", bias) else 0
    return Connections(shape, out_shape, prod(shape), weights, weights, biases)


def neurons(number: int, fan_in: int, *, shared_by: int = 1, bias: bool = False) -> Connections:
    """Count neurons in groups that share their weights, wherever their inputs are.

    Parameters
    ----------
    number : int
        Neurons.
    fan_in : int
        Inputs, thus weights, of each.
    shared_by : int, default 1
        Neurons of a group, all with the same weights; it divides `number`.
    bias : bool, default False
        Whether each group has a bias.

    Returns
    -------
    Connections

    Raises
    ------
    TypeError, ValueError
        When a number is no positive integer, or neurons do not divide into groups.

    Examples
    --------
    16 neurons with 9 inputs in groups of 4; the same seeing only 2x2 neighbours; a million that share 100 weights:

    >>> neurons(16, 9, shared_by=4).weights, neurons(16, 2 * 2, shared_by=4).weights
    (36, 16)
    >>> neurons(10**6, 100).weights, neurons(10**6, 100, shared_by=10**6).weights
    (100000000, 100)
    """
    op = "neurons"
    number = check.integer(op, "number", number, 1)
    fan_in = check.integer(op, "fan_in", fan_in, 1)
    groups, rest = divmod(number, check.integer(op, "shared_by", shared_by, 1))
    if rest:
        raise ValueError(f"{op}: shared_by must divide number, received number={number}, shared_by={shared_by}")
    biases = groups if check.flag(op, "bias", bias) else 0
    return Connections((fan_in,), (number,), fan_in, number * fan_in, groups * fan_in, biases)


def convolution(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    bias: bool = False,
) -> Connections:
    """Count a convolution: one kernel for each map, at every position.

    Parameters
    ----------
    input_shape : sequence of int
        ``(C, *spatial)`` of one sample, with one to three spatial axes.
    out_channels : int
        Maps out.
    kernel_size, stride, padding, dilation, groups
        As `fastconv.conv2d` takes them.
    bias : bool, default False
        Whether each map has a bias.

    Returns
    -------
    Connections

    Raises
    ------
    TypeError, ValueError
        When sizes do not fit, as `fastconv.conv2d`.

    Examples
    --------
    Ten 5x5 filters over a 32x32x3 volume, padding 2; LeNet-5's C5:

    >>> count = convolution((3, 32, 32), 10, 5, padding=2, bias=True)
    >>> count.output_shape, count.parameters
    ((10, 32, 32), 760)
    >>> convolution((16, 5, 5), 120, 5, bias=True).parameters
    48120
    """
    op = "convolution"
    problem = _problem(op, input_shape, out_channels, kernel_size, stride, padding, dilation, groups)
    return _windowed(op, problem, kernels=1, bias=bias)


def locally_connected(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    bias: bool = False,
) -> Connections:
    """Count local connection: the windows of a convolution, but a kernel (and a bias) of its own at each position.

    Parameters, errors and result are those of `convolution`.

    Examples
    --------
    A 100x100 image with 5x5 windows; shared, it would be 25:

    >>> locally_connected((1, 100, 100), 1, 5, padding="same").weights
    250000
    """
    op = "locally_connected"
    problem = _problem(op, input_shape, out_channels, kernel_size, stride, padding, dilation, groups)
    positions = prod(axis.out for axis in problem.axes)
    return _windowed(op, problem, kernels=positions, bias=bias)


def tiled(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: Any,
    tile: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    bias: bool = False,
) -> Connections:
    """Count tiled convolution: `tile` kernels are used in turn along each axis, so positions `tile` apart share.

    Parameters, errors and result are those of `convolution`; each kernel has a bias for each map. ``tile=1`` is
    convolution, a tile as large as the output is local connection.

    Parameters
    ----------
    tile : int or one int per axis
        Kernels along each axis; those beyond the output's side are never used, and not counted.

    References
    ----------
    Le, Ngiam, Chen, Chia, Koh and Ng, "Tiled convolutional neural networks", 2010.

    Examples
    --------
    >>> [tiled((1, 32, 32), 1, 5, tile).weights for tile in (1, 2, 28)], locally_connected((1, 32, 32), 1, 5).weights
    ([25, 100, 19600], 19600)
    """
    op = "tiled"
    problem = _problem(op, input_shape, out_channels, kernel_size, stride, padding, dilation, groups)
    tiles = check.per_axis(op, "tile", tile, len(problem.axes), 1)
    kernels = prod(min(axis.out, t) for axis, t in zip(problem.axes, tiles, strict=True))
    return _windowed(op, problem, kernels=kernels, bias=bias)


def count(layer: nn.Module, input_shape: Sequence[int]) -> Connections:
    """Count a layer of `fastconv.nn`.

    Parameters
    ----------
    layer : Linear, Conv1d to 3d, LocallyConnected1d, LocallyConnected2d or TiledConv2d
    input_shape : sequence of int
        ``(C, *spatial)`` of one sample, or ``(in_features,)``.

    Returns
    -------
    Connections

    Raises
    ------
    TypeError
        For any other layer.
    ValueError
        When the shape does not fit the layer.

    Examples
    --------
    >>> count(nn.Linear(120, 84), (120,)).parameters
    10164
    """
    bias = getattr(layer, "bias", None) is not None
    if isinstance(layer, nn.Linear):
        shape = check.sizes("count", "input_shape", input_shape, 1)
        if shape != (layer.in_features,):
            raise ValueError(f"count: {layer!r} takes ({layer.in_features},), received input_shape={input_shape!r}")
        return fully_connected(shape, (layer.out_features,), bias=bias)
    pattern = _PATTERNS.get(type(layer).__name__)
    if pattern is None:
        raise TypeError(f"count: layer must have weights and windows, or be Linear, received layer={layer!r}")
    known: Any = layer
    if (known.in_channels,) != check.sizes("count", "input_shape", input_shape)[:1]:
        raise ValueError(f"count: {layer!r} takes {known.in_channels} channels, received input_shape={input_shape!r}")
    fixed_size("count", known, input_shape[1:])
    more = {"tile": known.weight.shape[: len(known.kernel_size)]} if pattern is tiled else {}
    options = {name: getattr(known, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups")}
    return pattern(input_shape, known.out_channels, **more, **options, bias=bias)


_PATTERNS: dict[str, Callable[..., Connections]] = {
    "Conv1d": convolution,
    "Conv2d": convolution,
    "Conv3d": convolution,
    "LocallyConnected1d": locally_connected,
    "LocallyConnected2d": locally_connected,
    "TiledConv2d": tiled,
}


def fixed_size(op: str, layer: Any, spatial: Sequence[int]) -> None:
    """Raise where a layer with a kernel for each position is asked about an image of another size."""
    sides = getattr(layer, "input_size", None)
    if sides is not None and sides != tuple(spatial):
        raise ValueError(f"{op}: {layer!r} takes images of {sides}, received spatial sides {tuple(spatial)}")


def _shape(op: str, name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(value, int | np.integer):
        return (check.integer(op, name, value, 0),)
    return check.sizes(op, name, value)


def _problem(
    op: str,
    input_shape: Any,
    out_channels: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> check.ConvProblem:
    shape = check.sizes(op, "input_shape", input_shape)
    n = len(shape) - 1
    if n not in (1, 2, 3):
        raise ValueError(f"{op}: input_shape must be (C, *spatial), received input_shape={input_shape!r}")
    g = check.integer(op, "groups", groups, 1)
    if shape[0] % g:
        raise ValueError(f"{op}: groups must divide the channels of input_shape={input_shape!r}, received groups={g}")
    kernel = check.per_axis(op, "kernel_size", kernel_size, n, 1)
    weight = (check.integer(op, "out_channels", out_channels, 1), shape[0] // g, *kernel)
    return check.conv_problem(op, n, (1, *shape), False, weight, stride, padding, dilation, g)


def _windowed(op: str, problem: check.ConvProblem, *, kernels: int, bias: bool) -> Connections:
    channels = problem.groups * problem.out_channels
    fan_in = problem.in_channels * prod(axis.kernel for axis in problem.axes)
    return Connections(
        problem.input_shape,
        problem.output_shape,
        fan_in,
        connections=channels * problem.in_channels * prod(map(_taps_inside, problem.axes)),
        weights=kernels * channels * fan_in,
        biases=kernels * channels if check.flag(op, "bias", bias) else 0,
    )


def _taps_inside(axis: Axis) -> int:
    """Count the pairs of a window and one of its taps that lies on the input and not on padding."""
    total = 0
    for k in range(axis.kernel):
        place = k * axis.dilation - axis.lo  # of this tap in window 0; window o has it at place + o * stride
        first = max(0, -(place // axis.stride))
        last = min(axis.out - 1, (axis.size - 1 - place) // axis.stride)
        total += max(0, last - first + 1)
    return total
