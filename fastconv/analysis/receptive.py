"""Sizes: of outputs, and of the part of the input that one output sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _check as check
from fastconv import nn

__all__ = [
    "ReceptiveField",
    "Window",
    "output_size",
    "receptive_field",
    "receptive_fields",
    "same_padding",
    "seen_inputs",
]


def output_size(size: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """Compute the side of a convolution's or pooling's output.

    Along each axis, for input side W, kernel F, padding P at both ends and stride S::

        out = (W - F + 2P) / S + 1, rounded down

    Parameters
    ----------
    size : int or sequence of int
        Side of the input, of one axis or of each.
    kernel_size, stride, padding, dilation
        As `fastconv.conv2d` takes them.

    Returns
    -------
    int or tuple of int
        As `size` was given.

    Raises
    ------
    TypeError, ValueError
        When a number is no integer or out of its range, or the kernel does not fit.

    Examples
    --------
    >>> output_size(5, 3, stride=1, padding=1), output_size(5, 3, stride=2, padding=1)
    (5, 3)
    >>> output_size((427, 640), 7, stride=2, padding=3)
    (214, 320)
    """
    op = "output_size"
    sides = check.sizes(op, "size", [size] if isinstance(size, int | np.integer) else size, minimum=1)
    kernel = check.per_axis(op, "kernel_size", kernel_size, len(sides), 1)
    shapes = (1, 1, *sides), (1, 1, *kernel)
    problem = check.conv_problem(op, len(sides), shapes[0], True, shapes[1], stride, padding, dilation, 1)
    out = tuple(axis.out for axis in problem.axes)
    return out[0] if isinstance(size, int | np.integer) else out


def same_padding(kernel_size: int, dilation: int = 1) -> int:
    """Compute the padding at both ends that keeps the side at stride 1: P = (F - 1) / 2 for an odd kernel F.

    Parameters
    ----------
    kernel_size, dilation : int

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        When a number is no positive integer; when both ends cannot have the same (``padding="same"`` then puts the
        extra one at the end).

    Examples
    --------
    >>> [same_padding(size) for size in (1, 3, 5, 11)]
    [0, 1, 2, 5]
    """
    op = "same_padding"
    size = check.integer(op, "kernel_size", kernel_size, 1)
    total = (size - 1) * check.integer(op, "dilation", dilation, 1)
    if total % 2:
        raise ValueError(
            f"{op}: dilation * (kernel_size - 1) must be even, received kernel_size={kernel_size}, dilation={dilation}"
        )
    return total // 2


@dataclass(frozen=True)
class Window:
    """A layer that slides a window: all that matters for what its outputs see. Ints, or one int per axis.

    Examples
    --------
    >>> [receptive_field([Window(3)] * depth).size for depth in (1, 2, 3, 5)]
    [(3,), (5,), (7,), (11,)]
    """

    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1


@dataclass(frozen=True)
class ReceptiveField:
    """The box of inputs that one output of a stack of layers sees.

    Output o (0, 1, ...) along an axis sees the inputs from ``start + o * stride`` to ``start + o * stride + size - 1``;
    those outside the input are padding, of whatever kind. Behind an adaptive pooling whose windows differ, as they do
    where sides do not divide, the box is one that holds each output's own.

    Attributes
    ----------
    size : tuple of int
        Its sides.
    stride : tuple of int
        The step in the input from one output to the next.
    start : tuple of int
        The first input that output 0 sees, negative in the padding.
    whole : bool
        Whether each output sees the whole input, as behind a fully connected layer: the other numbers are then those of
        the layer before it, unless the input's sides are known.

    Examples
    --------
    >>> field = ReceptiveField(size=(3,), stride=(2,), start=(-1,))
    >>> field.span((0,)), field.span((4,))
    (((-1, 2),), ((7, 10),))
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]
    whole: bool = False

    @staticmethod
    def of_input(axes: int) -> ReceptiveField:
        """Give the field of the input itself: each element sees itself."""
        return ReceptiveField((1,) * axes, (1,) * axes, (0,) * axes)

    def through(self, layer: nn.Module | Window, spatial: Sequence[int] | None = None) -> ReceptiveField:
        """Give the field behind one more layer.

        Parameters
        ----------
        layer : Module or Window
            A layer of `fastconv.nn`. What has no window (activations, normalisation, dropout) changes nothing: what
            normalisation and softmax divide by counts as a constant.
        spatial : sequence of int, optional
            The sides of that layer's input; ``padding="same"`` with a stride and adaptive pooling need them.

        Returns
        -------
        ReceptiveField

        Raises
        ------
        ValueError
            When `spatial` is needed.
        TypeError
            For a layer that enlarges, a container (ask `receptive_field`), or what is neither layer nor Window.

        Examples
        --------
        >>> field = ReceptiveField.of_input(2)
        >>> field.through(nn.Conv2d(3, 64, 7, stride=2, padding=3)).through(nn.MaxPool2d(3, stride=2, padding=1))
        ReceptiveField(size=(11, 11), stride=(4, 4), start=(-5, -5), whole=False)
        """
        kind = type(layer).__name__
        if not isinstance(layer, nn.Module | Window):
            raise TypeError(f"ReceptiveField: layer must be a Module or a Window, received layer={layer!r}")
        if isinstance(layer, nn.Linear) or self.whole:
            return ReceptiveField(self.size, self.stride, self.start, whole=True)
        if kind.startswith(("ConvTranspose", "Upsample")) or (
            isinstance(layer, nn.Module) and any(layer.named_children())
        ):
            raise TypeError(
                f"ReceptiveField: layer must slide a window or keep each element's place, received {layer!r}"
            )
        n = len(self.size)
        if kind.startswith("Adaptive"):
            return self._through_adaptive(layer, spatial)
        if "Pad" in kind:
            return self._with((1,) * n, (1,) * n, (1,) * n, _pad_lows(layer, n))
        if not hasattr(layer, "kernel_size"):
            return self
        kernel, dilation = (_per_axis(layer, name, n) for name in ("kernel_size", "dilation"))
        stride = kernel if getattr(layer, "stride", 1) is None else _per_axis(layer, "stride", n)
        return self._with(kernel, stride, dilation, _lows(layer, n, kernel, stride, dilation, spatial))

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """Give the field of a sum of two branches, as in a residual block.

        Raises
        ------
        ValueError
            When the branches have different strides: their outputs do not lie side by side.
        """
        if self.whole or other.whole:
            return ReceptiveField(self.size, self.stride, self.start, whole=True)
        if self.stride != other.stride:
            raise ValueError(
                f"ReceptiveField: branches must have the same stride, received {self.stride}, {other.stride}"
            )
        start = tuple(map(min, self.start, other.start))
        ends = [max(a + i, b + j) for a, i, b, j in zip(self.start, self.size, other.start, other.size, strict=True)]
        return ReceptiveField(tuple(e - s for e, s in zip(ends, start, strict=True)), self.stride, start)

    def span(self, position: Sequence[int], spatial: Sequence[int] | None = None) -> tuple[tuple[int, int], ...]:
        """Give the first input, and the one behind the last, that the output at `position` sees along each axis.

        With the sides of the network's input in `spatial`, padding is cut off.

        Raises
        ------
        TypeError, ValueError
            When `position` or `spatial` has not one number for each axis.

        Examples
        --------
        >>> receptive_field([Window(3, padding=1)] * 2).span((0,)), receptive_field([Window(3, 2, 1)]).span((4,), (9,))
        (((-2, 3),), ((7, 9),))
        """
        n = len(self.size)
        if spatial is not None:
            spatial = check.sizes("span", "spatial", spatial, n, 1)
            if self.whole:
                return tuple((0, side) for side in spatial)
        position = check.sizes("span", "position", position, n)
        first = [s + o * step for s, o, step in zip(self.start, position, self.stride, strict=True)]
        spans = tuple((a, a + size) for a, size in zip(first, self.size, strict=True))
        if spatial is None:
            return spans
        return tuple((max(0, a), min(side, b)) for (a, b), side in zip(spans, spatial, strict=True))

    def _with(self, kernel: Any, stride: Any, dilation: Any, lows: Any) -> ReceptiveField:
        axes = list(zip(self.size, self.stride, self.start, kernel, stride, dilation, lows, strict=True))
        return ReceptiveField(
            tuple(size + (k - 1) * d * step for size, step, _, k, _, d, _ in axes),
            tuple(step * s for _, step, _, _, s, _, _ in axes),
            tuple(start - low * step for _, step, start, _, _, _, low in axes),
        )

    def _through_adaptive(self, layer: Any, spatial: Sequence[int] | None) -> ReceptiveField:
        """Windows of an adaptive pooling: regular where sides divide, else a box that holds each of them."""
        n = len(self.size)
        wanted = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * n
        if all(size == 1 for size in wanted):  # global: each output sees all
            return ReceptiveField(self.size, self.stride, self.start, whole=True)
        if spatial is None:
            raise ValueError(f"ReceptiveField: {layer!r} needs spatial, the sides of its input, received spatial=None")
        kernel, stride, low = [], [], []
        for side, size in zip(spatial, wanted, strict=True):
            out = side if size is None else size
            step = max(1, round(side / out))
            first = min(i * side // out - i * step for i in range(out))
            kernel.append(max(-(-(i + 1) * side // out) - i * step for i in range(out)) - first)
            stride.append(step)
            low.append(-first)
        return self._with(kernel, stride, (1,) * n, low)


def receptive_fields(
    layers: nn.Module | Iterable[nn.Module | Window], input_shape: Sequence[int] | None = None
) -> list[tuple[str, ReceptiveField]]:
    """Give what one output sees behind each layer of a stack.

    Parameters
    ----------
    layers : Module, or sequence of Modules and Windows
        Layers in a row, a container of `fastconv.nn` (also with branches, of which the union counts), or a network of
        `fastconv.models`. Of any other model ask `seen_inputs`.
    input_shape : sequence of int, optional
        ``(C, *spatial)`` of one sample. With it, layers that need their input's sides are allowed, and fully connected
        layers see the whole input.

    Returns
    -------
    list of (str, ReceptiveField)
        Dotted names (numbers in a sequence), and the field behind each layer.

    Raises
    ------
    TypeError, ValueError
        When a layer is not known, or needs `input_shape`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5))
    >>> for name, field in receptive_fields(net):
    ...     print(name, field.size, field.stride)
    0 (5, 5) (1, 1)
    1 (5, 5) (1, 1)
    2 (6, 6) (2, 2)
    3 (14, 14) (2, 2)
    """
    if not isinstance(layers, nn.Module | Iterable):
        raise TypeError(f"receptive_fields: layers must be a Module or a sequence, received layers={layers!r}")
    parts = [layers] if isinstance(layers, nn.Module) else list(layers)
    walk = _Walk(parts)
    if input_shape is None:
        walk.along(parts, ReceptiveField.of_input(_axes(parts)), None)
        return walk.fields
    shape = check.sizes("receptive_fields", "input_shape", input_shape, minimum=1)
    modes = [(module, module.training) for module in walk.modules]
    for module, _ in modes:  # batch normalisation must neither take part nor learn from what follows
        module.training = False
    try:
        walk.along(parts, ReceptiveField.of_input(len(shape) - 1), np.zeros((1, *shape), np.float32))
    finally:
        for module, mode in modes:
            module.training = mode
    everything = ReceptiveField(shape[1:], (1,) * (len(shape) - 1), (0,) * (len(shape) - 1), whole=True)
    return [(name, everything if field.whole else field) for name, field in walk.fields]


def receptive_field(
    layers: nn.Module | Iterable[nn.Module | Window], input_shape: Sequence[int] | None = None
) -> ReceptiveField:
    """Give what one output sees behind the last layer; arguments and errors are those of `receptive_fields`.

    Examples
    --------
    Three 3x3 layers see as much as one 7x7:

    >>> receptive_field([nn.Conv2d(1, 1, 3)] * 3).size, receptive_field([nn.Conv2d(1, 1, 7)]).size
    ((7, 7), (7, 7))
    """
    fields = receptive_fields(layers, input_shape)
    if not fields:
        raise ValueError(f"receptive_field: layers must not be empty, received layers={layers!r}")
    return fields[-1][1]


def seen_inputs(
    model: Callable[[Any], Any], input_shape: Sequence[int], position: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Find by experiment what an output sees, in any network.

    NaN goes through every layer, whatever the weights. Rows (then columns) of the input are made NaN from the top, and
    from the bottom, until the output becomes NaN; by halving, which takes a few dozen runs.

    Parameters
    ----------
    model : callable
        A network in evaluation mode, or any operator that takes ``(1, C, *spatial)`` and keeps two axes before its
        spatial ones, if it has those.
    input_shape : sequence of int
        ``(C, *spatial)`` of one sample.
    position : sequence of int
        Of the output, along its spatial axes; ``()`` where it has none.

    Returns
    -------
    tuple of (int, int)
        Along each axis of the input, the first element seen and the one behind the last.

    Raises
    ------
    ValueError
        When the output depends on no input, or `position` is not in it.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, stride=2, padding=1))
    >>> seen_inputs(net, (1, 12, 12), (2, 0)), receptive_field(net).span((2, 0), (12, 12))
    (((2, 7), (0, 3)), ((2, 7), (0, 3)))
    """
    from fastconv import _config

    shape = check.sizes("seen_inputs", "input_shape", input_shape, minimum=1)

    def sees(axis: int, start: int, stop: int) -> bool:
        sample = np.zeros((1, *shape), np.float32)
        np.moveaxis(sample, 2 + axis, 0)[start:stop] = np.nan
        with _config.precision("highest"), np.errstate(invalid="ignore"):  # Winograd may spread NaN over a whole tile
            output = np.asarray(model(sample))
        place = check.sizes("seen_inputs", "position", position)
        if len(place) != output.ndim - 2 or any(o >= side for o, side in zip(place, output.shape[2:], strict=True)):
            raise ValueError(f"seen_inputs: position must lie in {output.shape[2:]}, received position={position!r}")
        return bool(np.isnan(np.moveaxis(output[0], 0, -1)[place]).any())

    spans = []
    for axis, side in enumerate(shape[1:]):
        if not sees(axis, 0, side):
            raise ValueError(f"seen_inputs: the output sees no input at all, received position={position!r}")
        low, high = 0, side - 1  # of the least i such that rows 0 to i are seen
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if sees(axis, 0, middle + 1) else (middle + 1, high)
        first = low
        low, high = first, side - 1  # of the largest i such that rows i to the end are seen
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if sees(axis, middle, side) else (low, middle - 1)
        spans.append((first, low + 1))
    return tuple(spans)


class _Walk:
    """One way through a network, layer by layer, which notes the field behind each."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.fields: list[tuple[str, ReceptiveField]] = []
        prefixes = [""] if len(parts) == 1 else [str(i) for i in range(len(parts))]
        self._names = {id(part): name for name, part in zip(prefixes, parts, strict=True)}
        self.modules = []
        for name, part in zip(prefixes, parts, strict=True):
            if isinstance(part, nn.Module):
                self._names |= {id(module): path for path, module in part.named_modules(name)}
                self.modules += list(part.modules())

    def along(self, parts: Iterable[Any], field: ReceptiveField, sample: Any) -> tuple[ReceptiveField, Any]:
        """Return the field behind parts in a row, and their output for a sample (where there is one)."""
        for part in parts:
            field, sample = self._through(part, field, sample)
        return field, sample

    def _through(self, part: Any, field: ReceptiveField, sample: Any) -> tuple[ReceptiveField, Any]:
        part = part._way() if hasattr(part, "_way") else part  # networks of fastconv.models are laid out in each call
        if isinstance(part, nn.Sequential):
            return self.along(part, field, sample)
        if isinstance(part, nn.Residual | nn.Parallel):
            return self._branches(part, field, sample)
        sides = None if sample is None or sample.ndim != len(field.size) + 2 else sample.shape[2:]
        field = field.through(part, sides)
        self.fields.append((self._names.get(id(part), ""), field))
        return field, None if sample is None else _run(part, sample)

    def _branches(self, part: Any, field: ReceptiveField, sample: Any) -> tuple[ReceptiveField, Any]:
        children = dict(part.named_children())
        activation = children.pop("activation", None) if isinstance(part, nn.Residual) else None
        behind = [self._through(child, field, sample)[0] for child in children.values()]
        if isinstance(part, nn.Residual) and "shortcut" not in children:
            behind.append(field)
        joined = behind[0]
        for other in behind[1:]:
            joined = joined.union(other)
        output = None if sample is None else part(sample)
        return joined if activation is None else self._through(activation, joined, output)[0], output


def _axes(parts: Iterable[Any]) -> int:
    """How many spatial axes the first layer that tells has."""
    for part in parts:
        for layer in part.modules() if isinstance(part, nn.Module) else [part]:
            if isinstance(layer, Window):
                values = (layer.kernel_size, layer.stride, layer.dilation)
                return max(len(value) if isinstance(value, tuple) else 1 for value in values)
            name = type(layer).__name__.removesuffix("d")
            if name[-1:] in ("1", "2", "3"):
                return int(name[-1])
    return 2


def _pad_lows(layer: Any, n: int) -> list[int]:
    """What a padding layer adds before the first element of each axis: its numbers begin with the last axis."""
    amounts = layer.padding if isinstance(layer.padding, tuple | list) else (layer.padding,) * (2 * n)
    return [amounts[2 * i] for i in reversed(range(n))]


def _per_axis(layer: Any, name: str, n: int) -> tuple[int, ...]:
    return check.per_axis("ReceptiveField", name, getattr(layer, name, 1), n, 1)


def _lows(layer: Any, n: int, kernel: Any, stride: Any, dilation: Any, spatial: Any) -> list[int]:
    """Padding before the first element of each axis."""
    padding = getattr(layer, "padding", 0)
    if padding == "same" and spatial is None:
        if any(s > 1 for s in stride):
            raise ValueError(f'ReceptiveField: padding="same" with a stride needs spatial, received layer={layer!r}')
        spatial = (max(kernel),) * n  # at stride 1 the amount is the same for every side
    sides = (1,) * n if spatial is None else spatial
    return [low for low, _ in check.padding_pairs("ReceptiveField", padding, sides, kernel, stride, dilation)]


def _run(layer: Any, sample: Any) -> Any:
    """Give a layer's output for a sample; a Window keeps the channels."""
    if not isinstance(layer, Window):
        return layer(sample)
    sides = output_size(sample.shape[2:], layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return np.zeros((*sample.shape[:2], *sides), np.float32)
