"""Pictures of connections: who reads whom, through which weight, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check as check
from fastconv import nn
from fastconv.analysis.counting import convolution, fully_connected, locally_connected, tiled
from fastconv.analysis.figures._style import (
    BLUE,
    COLOURS,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    drawn,
    ink,
    numbers,
    panels,
    show,
    taken,
    write_values,
)
from fastconv.analysis.matrix import Wiring, as_linear, as_matrix, tied_gradient, wiring
from fastconv.analysis.receptive import output_size, receptive_fields

__all__ = [
    "connection_gradients",
    "connection_matrices",
    "one_dimensional_example",
    "parameters_by_side",
    "seen_by_layers",
    "seen_through_layers",
    "strong_prior",
]


@drawn
def connection_matrices(row: int = 12, image: int = 6, kernel: int = 3, tile: int = 2) -> Any:
    """Draw the matrices of the four patterns; entries of one colour are one weight, white ones no connection.

    Parameters
    ----------
    row, image : int
        Sides of the inputs: a row of pixels, and a square image.
    kernel, tile : int
        Sides of the windows, and of the tiles of kernels used in turn.

    Returns
    -------
    ndarray of Axes, (2, 4)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When a number is not a positive int, or the windows do not fit.

    Examples
    --------
    >>> [panel.get_title().splitlines()[1] for panel in connection_matrices()[0]]
    ['120 weights', '30 weights', '6 weights', '3 weights']
    """
    row, image, kernel, tile = _positive("connection_matrices", row=row, image=image, kernel=kernel, tile=tile)
    axes = panels(7.2, 4.6, 2, 4)
    for line, (height, width, window) in enumerate(((1, row, (1, kernel)), (image, image, (kernel, kernel)))):
        shape, tiles = (1, height, width), (1 if height == 1 else tile, tile)
        outputs = prod(output_size((height, width), window))
        for panel, (name, (layer, input_shape)) in zip(
            axes[line], _patterns(shape, window, tiles).items(), strict=True
        ):
            wires = wiring(layer, input_shape)
            different = np.unique(wires.weight).size
            _show_weights(panel, wires, f"{name}\n{different} weights")
            panel.set_xlabel(f"{wires.shape[1]} inputs")
        axes[line, 0].set_ylabel(
            f"{outputs} outputs of a\n" + ("row of pixels" if height == 1 else f"{image}x{image} image")
        )
    return axes


@drawn
def connection_gradients(row: int = 12, kernel: int = 3, tile: int = 2, seed: int = 1) -> Any:
    """Draw the way back through the four patterns: to the inputs, and to the weights.

    Parameters
    ----------
    row, kernel, tile : int
        As `connection_matrices` takes them.
    seed : int
        Of the inputs and of the outputs' gradients, whole numbers other than 0.

    Returns
    -------
    ndarray of Axes, (3, 4)
        The transposed matrices; the products of outputs' gradients and inputs, where there is a connection; these
        summed over the entries that share a weight, which is the gradient of the weights.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When a number is not a positive int, or the windows do not fit.

    Examples
    --------
    >>> [panel.get_title() for panel in connection_gradients(row=9)[2]]
    ['63 sums of 1', '21 sums of 1', '6 sums of 3', '3 sums of 7']
    """
    row, kernel, tile = _positive("connection_gradients", row=row, kernel=kernel, tile=tile)
    shape, window = (1, 1, row), (1, kernel)
    rng = np.random.default_rng(seed)
    x, g = (rng.choice([-3.0, -2, -1, 1, 2, 3], side) for side in (row, prod(output_size(shape[1:], window))))
    axes = panels(7.2, 6.6, 3, 4, height_ratios=(1.15, 1, 0.9))
    for column, (name, (layer, input_shape)) in zip(axes.T, _patterns(shape, window, (1, tile)).items(), strict=True):
        wires = wiring(layer, input_shape)
        _show_weights(column[0], wires, name, transposed=True)
        column[0].set_xlabel(f"from {g.size} outputs")
        products = np.where(wires.picture() >= 0, np.outer(g, x), np.nan)
        show(column[1], products, "", "PuOr", around_zero=True, aspect="auto", vmin=-9, vmax=9)
        column[1].set_xlabel(f"{x.size} inputs")
        gradient = wires.tie(np.nan_to_num(products))
        grid = gradient.reshape(-1, row if isinstance(layer, nn.Linear) else kernel)
        shared = len(wires.row) // gradient.size
        show(
            column[2], grid, f"{gradient.size} sums of {shared}", "PuOr", aspect="auto",
            vmin=-np.abs(grid).max(), vmax=np.abs(grid).max(),
        )  # fmt: skip
        if grid.size <= 2 * kernel:
            write_values(column[2], grid, np.abs(grid).max())
    for panel, text in zip(
        axes[:, 0],
        (f"gradients to {row} inputs", f"{g.size} outputs: products", "gradients of\nthe weights"),
        strict=True,
    ):
        panel.set_ylabel(text)
    return axes


def _positive(op: str, **numbers: Any) -> list[int]:
    return [check.integer(op, name, value, 1) for name, value in numbers.items()]


def _patterns(
    shape: tuple[int, int, int], window: tuple[int, int], tile: tuple[int, int]
) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Make a layer of each pattern, from one map to one map, and say what input it takes."""
    sides = shape[1:]
    inputs, outputs = prod(sides), prod(output_size(sides, window))
    return {
        "fully connected": (nn.Linear(inputs, outputs, bias=False, dtype=np.float64, generator=0), (inputs,)),
        "locally connected": (nn.LocallyConnected2d(1, 1, sides, window, bias=False, dtype=np.float64), shape),
        f"tiled, {max(tile)} in turn": (nn.TiledConv2d(1, 1, window, tile, bias=False, dtype=np.float64), shape),
        "convolution": (nn.Conv2d(1, 1, window, bias=False, dtype=np.float64), shape),
    }


def _show_weights(panel: Any, wires: Wiring, title: str, *, transposed: bool = False) -> None:
    """Draw the matrix with a colour for each weight, white where there is no connection."""
    picture = wires.picture()
    shade = np.arange(wires.weight.max() + 1)
    if len(shade) > 9:  # neighbours that differ shall look different
        np.random.default_rng(0).shuffle(shade)
    shaded = np.where(picture >= 0, shade[picture], np.nan)
    show(panel, shaded.T if transposed else shaded, title, "viridis", aspect="auto", interpolation="nearest")


@drawn
def parameters_by_side(sides: Sequence[int] = (10, 18, 32, 56, 100, 178, 316, 562, 1000), field: int = 5) -> Any:
    """Draw weights against the side of a square image, for a map of the same size and windows of one size.

    Parameters
    ----------
    sides : sequence of int
    field : int
        Side F of the windows.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When there is no side, or a number is not a positive int.

    Examples
    --------
    >>> [int(line.get_ydata()[-1]) for line in parameters_by_side((10, 100)).lines]
    [100000000, 250000, 100, 25]
    """
    sides = check.sizes("parameters_by_side", "sides", sides, minimum=1)
    if not sides:
        raise ValueError(f"parameters_by_side: sides must hold one at least, received {sides=}")
    axes = panels(7.2, 4.6)
    image = [(1, side, side) for side in sides]
    full = [fully_connected(shape, shape).weights for shape in image]
    lines = {
        "fully connected, W²H²": (full, BLUE, "o"),
        f"locally connected, WH·{field}²": (
            [locally_connected(shape, 1, field, padding="same").weights for shape in image],
            ORANGE,
            "s",
        ),
        f"tiled 2x2, 4·{field}²": ([tiled(shape, 1, field, 2, padding="same").weights for shape in image], GREEN, "^"),
        f"convolution, {field}²": ([convolution(shape, 1, field, padding="same").weights for shape in image], RED, "D"),
    }
    for name, (weights, colour, marker) in lines.items():
        axes.plot(sides, weights, color=colour, marker=marker, markersize=5, label=name)
        axes.annotate(
            _count(weights[-1]),
            (sides[-1], weights[-1]),
            (8, -4),
            textcoords="offset points",
            color=ink(colour),
            annotation_clip=False,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="side of the image, pixels",
        ylabel="weights",
        xlim=(min(sides) / 1.1, max(sides) * 1.9),
    )
    axes.grid(which="major", alpha=0.3)
    axes.legend(loc="upper left")
    return axes


@drawn
def one_dimensional_example(
    signal: ArrayLike = (0, 1, 3, 2, 7), weight: ArrayLike = (1, 0, -1), padding: int = 1
) -> Any:
    """Draw a filter sliding over a few numbers with zeros at both ends, with strides of 1 and of 2.

    Parameters
    ----------
    signal : array_like of shape (W,)
    weight : array_like of shape (F,)
    padding : int

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the arrays do not hold real numbers or have other axes, `padding` is negative, or the filter does not fit.

    Examples
    --------
    >>> [panel.get_title('left') for panel in one_dimensional_example()]
    ['stride 1: (5 - 3 + 2·1) / 1 + 1 = 5 outputs', 'stride 2: (5 - 3 + 2·1) / 2 + 1 = 3 outputs']
    """
    import fastconv as fc

    op = "one_dimensional_example"
    x, w = taken(op, "signal", signal, "(W,)", dtype=np.float64), taken(op, "weight", weight, "(F,)", dtype=np.float64)
    padding = check.integer(op, "padding", padding, 0)
    padded = np.pad(x, padding)
    axes = panels(7.2, 4.4, 2)
    for panel, stride in zip(axes, (1, 2), strict=True):
        y = fc.conv1d(x[np.newaxis], w[np.newaxis, np.newaxis], stride=stride, padding=padding)[0]
        for i, value in enumerate(padded):
            inside = padding <= i < padding + len(x)
            _cell(panel, i, 0, value, BLUE if inside else GRAY, dashed=not inside)
        for o, value in enumerate(y):
            centre = o * stride + (len(w) - 1) / 2
            _cell(panel, centre, 1.6, value, RED)
            for k, factor in enumerate(w):
                if factor:
                    panel.plot(
                        [o * stride + k, centre], [0.36, 1.24], color=ORANGE if factor > 0 else GRAY, linewidth=1.4,
                        linestyle="-" if factor > 0 else "--",
                    )  # fmt: skip
        size = output_size(len(x), len(w), stride, padding)
        panel.set_title(
            f"stride {stride}: ({len(x)} - {len(w)} + 2·{padding}) / {stride} + 1 = {size} outputs", loc="left"
        )
        panel.set(xlim=(-0.6, len(padded) + 1.1), ylim=(2.1, -0.5), aspect="equal")
        panel.axis("off")
        panel.text(len(padded) - 0.3, 0, "input, padded", va="center")
        panel.text(len(padded) - 0.3, 1.6, "output", va="center")
    written = ", ".join(f"{factor:g}" for factor in w)
    axes[0].text(
        len(padded) - 0.3, 0.8, f"filter ({written}):\nsolid > 0, dashed < 0", va="center", fontsize=10
    )  # fmt: skip
    return axes


@drawn
def seen_through_layers(depth: int = 5, kernel: int = 3) -> Any:
    """Draw units of a stack of layers as dots, with all that one output sees, and all that one input reaches.

    Parameters
    ----------
    depth, kernel : int
        Layers, and the odd side of their windows.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When `depth` is not a positive int, or `kernel` not an odd one.

    Examples
    --------
    >>> [text.get_text() for text in seen_through_layers(depth=3).texts][:7:2]
    ['7', '5', '3', '1']
    """
    op = "seen_through_layers"
    depth, kernel = check.integer(op, "depth", depth, 1), check.integer(op, "kernel", kernel, 1)
    if kernel % 2 == 0:
        raise ValueError(f"{op}: kernel must be odd, received {kernel=}")
    axes = panels(7.2, 1.2 + 0.7 * depth)
    half = kernel // 2
    left = half * depth  # whose widest part lies beside that of `right`, with a unit between them
    right, width = 3 * left + 2, 4 * left + 3
    for level in range(depth + 1):
        for unit in range(width):
            sees = abs(unit - left) <= half * (depth - level)
            reached = abs(unit - right) <= half * level
            colour = BLUE if sees else ORANGE if reached else "#cccccc"
            axes.plot(unit, level, "o", markersize=11, color=colour, markeredgecolor="white")
            for k in range(-half, half + 1):
                if level < depth and 0 <= unit + k < width:
                    up_sees = abs(unit + k - left) <= half * (depth - level - 1)
                    up_reached = abs(unit + k - right) <= half * (level + 1)
                    line = BLUE if sees and up_sees else ORANGE if reached and up_reached and not sees else "#e4e4e4"
                    axes.plot([unit, unit + k], [level, level + 1], color=line, linewidth=1.2, zorder=0)
        size = 1 + 2 * half * (depth - level)
        axes.text(-0.8, level, f"{size}", ha="right", va="center", color=BLUE)
        axes.text(width - 0.2, level, f"{1 + 2 * half * level}", ha="left", va="center", color=ink(ORANGE))
    axes.text(-0.8, depth + 0.5, "seen", ha="right", color=BLUE)
    axes.text(width - 0.2, depth + 0.5, "reached", ha="left", color=ink(ORANGE))
    for level in range(depth + 1):
        axes.text(-3.2, level, "input" if level == 0 else f"layer {level}", ha="right", va="center")
    axes.set(xlim=(-6, width + 3), ylim=(-0.4, depth + 0.9))
    axes.axis("off")
    return axes


@drawn
def seen_by_layers(image: ArrayLike, layers: Any, labels: Mapping[str, str] | None = None) -> Any:
    """Draw on an image what the output in the middle sees, behind each of some layers.

    Parameters
    ----------
    image : array_like of shape (3, H, W) or (H, W), from 0 to 1
    layers : Module, or sequence of Modules and Windows
        As `fastconv.analysis.receptive_fields` takes it.
    labels : mapping of str to str, optional
        Which layers to draw, by their names, and what to call them; all where not given.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the image does not hold real numbers or has other axes, a layer has no receptive field, or there is none
        to draw.

    Examples
    --------
    >>> axes = seen_by_layers(np.eye(32), nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2)))
    >>> [line.get_label() for line in axes.lines]
    ['0: 5 x 5, step 1', '1: 6 x 6, step 2']
    """
    picture = taken("seen_by_layers", "image", image, "(3, H, W)", "(H, W)")
    spatial = picture.shape[-2:]
    fields = [(name, field) for name, field in receptive_fields(layers) if not field.whole]
    if labels is not None:
        fields = [(labels[name], field) for name, field in fields if name in labels]
    if not fields or len(fields[0][1].size) != 2:
        raise ValueError(
            "seen_by_layers: layers must have windows of two sides, such as Conv2d and Window((3, 3)), and labels name "
            f"one at least, received {layers=}, {labels=}"
        )
    axes = panels(7.2, 7.2 * spatial[0] / spatial[1])
    show(axes, picture)
    for number, (name, field) in enumerate(fields):
        places = [max(0, round((side / 2 - start - size / 2) / step)) for side, start, size, step in
                  zip(spatial, field.start, field.size, field.stride, strict=True)]  # fmt: skip
        (top, bottom), (left, right) = field.span(places, spatial)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            np.array([left, right, right, left, left]) - 0.5,
            np.array([top, top, bottom, bottom, top]) - 0.5,
            color=colour,
            linewidth=2.5,
            label=f"{name}: {field.size[0]} x {field.size[1]}, step {field.stride[0]}",
        )
    legend = axes.legend(loc="upper left", title="layer: pixels seen, step", frameon=True, framealpha=0.9)
    legend.get_title().set_fontsize(10)
    return axes


@drawn
def strong_prior(width: int = 8, seed: int = 3) -> Any:
    """Draw a convolution as a fully connected layer: its matrix, that layer's weight gradient, and what is left of it.

    Parameters
    ----------
    width, seed : int
        Pixels in a row, and the seed of weights and data, which are whole numbers.

    Returns
    -------
    ndarray of Axes, (4,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When `width` is no int of 3 or more.

    Examples
    --------
    >>> [panel.get_title() for panel in strong_prior()][3]
    '4. along each diagonal: summed'
    """
    width = check.integer("strong_prior", "width", width, 3)
    rng = np.random.default_rng(seed)
    conv = nn.Conv1d(1, 1, 3, bias=False, dtype=np.float64)
    conv.weight.data[...] = (2, -1, 3)
    shape = (1, width)
    x, g = (rng.choice([-3.0, -2, -1, 1, 2, 3], (1, 1, side)) for side in (width, width - 2))
    dense = as_linear(conv, shape)
    dense.forward(x[0])[1](g[0])
    conv.forward(x)[1](g)
    gradient = np.asarray(dense.weight.grad)
    matrix = as_matrix(conv, shape)
    kept = np.where(matrix != 0, gradient, np.nan)
    tied = tied_gradient(conv, shape, gradient).ravel()
    axes = panels(7.2, 5.6, 2, 2).ravel()
    largest = float(np.abs(gradient).max())
    for panel, values, limit, title in (
        (axes[0], np.where(matrix != 0, matrix, np.nan), 4.0, "1. a convolution as a dense weight"),
        (axes[1], gradient, largest, "2. the dense weight's gradient"),
        (axes[2], kept, largest, "3. where the weight is 0: dropped"),
    ):
        show(panel, values, title, "PuOr", vmin=-limit, vmax=limit)
        write_values(panel, values, limit, 8)
    both = np.stack([tied, np.asarray(conv.weight.grad).ravel()])
    numbers(axes[3], both, "4. along each diagonal: summed", size=13)
    axes[3].set_yticks([0, 1], ["summed", "conv1d's own"])
    return axes


def _count(number: int) -> str:
    """Write a number as 25, or as a power of ten."""
    if number < 10_000:
        return str(number)
    power = len(str(number)) - 1
    factor = f"{number / 10**power:.2g}"
    return f"$10^{{{power}}}$" if factor == "1" else f"${factor}\\cdot 10^{{{power}}}$"


def _cell(axes: Any, x: float, y: float, value: float, colour: str, *, dashed: bool = False) -> None:
    axes.plot(
        x + np.array([-0.4, 0.4, 0.4, -0.4, -0.4]), y + np.array([-0.36, -0.36, 0.36, 0.36, -0.36]),
        color=colour, linestyle=":" if dashed else "-",
    )  # fmt: skip
    axes.text(x, y, f"{value:g}", ha="center", va="center", fontsize=12, color=colour)
