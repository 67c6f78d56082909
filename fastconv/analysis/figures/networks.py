"""Pictures of networks: their parameters, filters and maps, and what keeps deep ones from learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import nn
from fastconv.analysis.figures._style import BLUE, GRAY, GREEN, ORANGE, RED, drawn, ink, panels, show, taken
from fastconv.analysis.measures import gradient_by_depth

__all__ = [
    "activations",
    "feature_maps",
    "first_filters",
    "parameters_of_networks",
    "regularised_maps",
    "residual_identity",
    "vanishing_gradients",
]

Array = NDArray[Any]


@drawn
def first_filters(before: ArrayLike, after: ArrayLike, most: int = 10) -> Any:
    """Draw the filters of a first layer before and after training, and what training added.

    Parameters
    ----------
    before, after : array_like of shape (O, C, kh, kw)
        The first channel is drawn.
    most : int
        Filters drawn.

    Returns
    -------
    ndarray of Axes, (3, filters)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the weights do not hold real numbers, have other axes or differ in shape, or `most` is not a positive int.

    Examples
    --------
    >>> before = nn.Conv2d(1, 6, 5, generator=0).weight.data
    >>> first_filters(before, before * 1.5).shape
    (3, 6)
    """
    op, axes4 = "first_filters", "(O, C, kh, kw)"
    most = check.integer(op, "most", most, 1)
    start, end = (taken(op, n, v, axes4)[:most, 0] for n, v in (("before", before), ("after", after)))
    if start.shape != end.shape:
        raise ValueError(f"{op}: before and after must have one shape, received {np.shape(before)}, {np.shape(after)}")
    axes = panels(7.2, 2.9, 3, len(start), squeeze=False)
    for row, (name, stack) in zip(axes, {"before": start, "after": end, "added": end - start}.items(), strict=True):
        largest = float(np.abs(stack).max()) or 1.0
        for panel, one in zip(row, stack, strict=True):
            show(panel, one, "", "PuOr", vmin=-largest, vmax=largest)
        row[0].set_ylabel(name)
    return axes


@drawn
def feature_maps(image: ArrayLike, layers: Mapping[str, ArrayLike], most: int = 6) -> Any:
    """Draw an image and the strongest maps that layers make of it.

    Parameters
    ----------
    image : array_like of shape (H, W)
    layers : mapping of str to array_like of shape (C, H, W)
        What each layer gave, by name.
    most : int
        Maps drawn of each.

    Returns
    -------
    ndarray of Axes, (layers + 1, maps + 1)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When an array does not hold real numbers or has other axes, there is none, or `most` is not a positive int.

    Examples
    --------
    >>> feature_maps(np.eye(8), {"C1": np.ones((6, 4, 4))}, most=3).shape
    (2, 4)
    """
    op = "feature_maps"
    picture = taken(op, "image", image, "(H, W)")
    stacks = {name: taken(op, f"layers[{name!r}]", maps, "(C, H, W)") for name, maps in layers.items()}
    if not stacks:
        raise ValueError(f"{op}: layers must hold one at least, received {layers=}")
    most = check.integer(op, "most", most, 1)
    axes = panels(7.2, 1.2 * (len(layers) + 1), len(layers) + 1, most + 1)
    for panel in axes.flat:
        panel.axis("off")
    for row, (name, stack) in zip(axes, {"image": picture[np.newaxis], **stacks}.items(), strict=True):
        strongest = np.argsort(-stack.max(axis=(1, 2)), kind="stable")[:most]
        text = f"{name}\n{' x '.join(map(str, stack.shape))}"
        row[0].text(1.0, 0.5, text, ha="right", va="center", fontsize=10, transform=row[0].transAxes)
        for panel, number in zip(row[1:], strongest, strict=False):
            panel.axis("on")
            show(panel, stack[number], "", "gray_r" if name == "image" else "magma")
    return axes


@drawn
def activations() -> Any:
    """Draw activations beside their derivatives; the sigmoid's is at most 0.25.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> activations()[1].texts[0].get_text()
    's(1 - s) ≤ 0.25'
    """
    lines = nn.Linear(1, 3, dtype=np.float64)
    lines.load_state_dict({"weight": [[-0.5], [0.2], [1.0]], "bias": [-1.0, 0.0, -1.5]})
    functions: dict[str, tuple[nn.Module, str, str]] = {
        "sigmoid s": (nn.Sigmoid(), BLUE, "-"),
        "tanh": (nn.Tanh(), GREEN, "--"),
        "ReLU": (nn.ReLU(), RED, "-"),
        "leaky ReLU 0.1": (nn.LeakyReLU(0.1), ORANGE, "--"),
        "maxout of 3 lines": (nn.Sequential(lines, nn.Maxout(3)), GRAY, ":"),
    }
    x = np.linspace(-5, 5, 401)[:, np.newaxis]
    axes = panels(7.2, 3.8, 1, 2)
    for name, (layer, colour, line) in functions.items():
        value, backward = layer.forward(x)
        axes[0].plot(x, value, color=colour, linestyle=line, label=name)
        axes[1].plot(x, backward(np.ones_like(value)), color=colour, linestyle=line)
    axes[0].set(title="activation", ylim=(-1.4, 3.2), xlabel="input")
    axes[1].set(title="its derivative", ylim=(-0.6, 1.3), xlabel="input")
    axes[1].axhline(0.25, color=BLUE, linewidth=0.8)
    axes[1].text(-4.9, 0.28, "s(1 - s) ≤ 0.25", color=BLUE, fontsize=10)
    axes[0].legend(loc="upper left", fontsize=9)
    return axes


@drawn
def vanishing_gradients(depth: int = 20, width: int = 64, seed: int = 0) -> Any:
    """Draw the gradient in front of each layer of a deep stack, with sigmoids, with ReLUs, and with shortcuts.

    Parameters
    ----------
    depth, width, seed : int
        Fully connected layers, their units, and the seed of weights (He's) and input.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When `depth` or `width` is not a positive int.

    Examples
    --------
    >>> axes = vanishing_gradients(depth=6, width=8)
    >>> [line.get_label() for line in axes.lines]
    ['ReLU, residual', 'ReLU', 'sigmoid', '0.25 a layer']
    """
    depth, width = (check.integer("vanishing_gradients", n, v, 1) for n, v in (("depth", depth), ("width", width)))
    axes = panels(7.2, 4.2)
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal((2, 32, width))
    kinds: dict[str, tuple[type[nn.Module], bool, str, str]] = {
        "ReLU, residual": (nn.ReLU, True, GREEN, "^"),
        "ReLU": (nn.ReLU, False, RED, "o"),
        "sigmoid": (nn.Sigmoid, False, BLUE, "s"),
    }
    for name, (activation, residual, colour, marker) in kinds.items():
        blocks: list[nn.Module] = []
        for _ in range(depth):
            linear = nn.Linear(width, width, dtype=np.float64)
            nn.init.kaiming_normal_(linear.weight, generator=rng)
            linear.bias.data[...] = 0  # type: ignore[union-attr]
            if residual:
                linear.weight.data /= np.sqrt(depth)  # so that the sum of all blocks stays as large as the input
            body = nn.Sequential(linear, activation())
            blocks.append(nn.Residual(body) if residual else body)
        sizes = gradient_by_depth(nn.Sequential(*blocks), x, g)
        axes.plot(np.arange(depth + 1), sizes, color=colour, marker=marker, markersize=4, label=name)
    axes.plot([0, depth], [0.25**depth, 1], color=GRAY, linewidth=1, linestyle=":", label="0.25 a layer")
    axes.set(yscale="log", xlabel="layer (0: the input; at the right: the output)", ylabel="size of the gradient, rms")
    axes.set_xticks(np.arange(0, depth + 1, max(1, depth // 4)))
    axes.grid(which="major", alpha=0.3)
    axes.figure.legend(loc="outside upper left", ncols=4)
    return axes


@drawn
def residual_identity(image: ArrayLike) -> Any:
    """Draw what a block makes of an image while its weights are zero: nothing if plain, the image if residual.

    Parameters
    ----------
    image : array_like of shape (H, W), not negative

    Returns
    -------
    ndarray of Axes, (3,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the image does not hold real numbers, has other axes, or is negative somewhere.

    Examples
    --------
    >>> residual_identity(np.eye(8))[2].get_title()
    'residual: F(x) + x, off by 0'
    """
    x = taken("residual_identity", "image", image, "(H, W)", dtype=np.float64)[np.newaxis, np.newaxis]
    if x.min() < 0:
        raise ValueError(f"residual_identity: image must not be negative, received pixels of {x.min():g}")
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, dtype=np.float64), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1, dtype=np.float64)
    )
    for parameter in body.parameters():
        parameter.data[...] = 0
    block = nn.Residual(body, activation=nn.ReLU())
    axes = panels(7.2, 0.4 + 2.3 * x.shape[2] / x.shape[3], 1, 3)
    show(axes[0], x[0, 0], "x", vmin=0, vmax=x.max())
    show(axes[1], body(x)[0, 0], "plain: F(x) = 0", vmin=0, vmax=x.max())
    difference = float(np.abs(block(x) - x).max())
    show(axes[2], block(x)[0, 0], f"residual: F(x) + x, off by {difference:g}", vmin=0, vmax=x.max())
    return axes


@drawn
def regularised_maps(maps: ArrayLike, seed: int = 0) -> Any:
    """Draw three feature maps as they are, after batch normalisation, local response normalisation and dropout.

    Parameters
    ----------
    maps : array_like of shape (N, C, H, W)
        Of at least three channels; the first sample is drawn.
    seed : int
        Of dropout.

    Returns
    -------
    ndarray of Axes, (4, 4)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the maps do not hold real numbers, have other axes, or are of less than three channels.

    Examples
    --------
    >>> regularised_maps(np.random.default_rng(0).random((2, 3, 8, 8)))[1, 0].get_ylabel()
    'batch norm'
    """
    x = taken("regularised_maps", "maps", maps, "(N, C, H, W)", dtype=np.float32)
    if x.shape[1] < 3:
        raise ValueError(f"regularised_maps: maps must have three channels or more, received shape {x.shape}")
    operators: dict[str, nn.Module] = {
        "as they are": nn.Identity(),
        "batch norm": nn.BatchNorm2d(x.shape[1]),
        "local response\nnorm": nn.LocalResponseNorm(5, alpha=1.0, k=1.0),
        "dropout 0.5": nn.Dropout(0.5, generator=seed),
    }
    axes = panels(7.2, 6.0, 4, 4, width_ratios=(1, 1, 1, 1.5))
    for row, (name, operator) in zip(axes, operators.items(), strict=True):
        y = np.asarray(operator(x))
        low, high = np.quantile(y, (0.002, 0.998))
        for channel in range(3):
            show(row[channel], y[0, channel], "", "magma", vmin=low, vmax=high)
        row[0].set_ylabel(name)
        for channel, colour in enumerate((BLUE, ORANGE, GREEN)):
            row[3].hist(y[:, channel].ravel(), bins=40, range=(low, high), histtype="step", color=colour, linewidth=1.5)
        row[3].set(yticks=[])
    axes[0, 3].set_title("values of the three")
    for channel, colour in enumerate((BLUE, ORANGE, GREEN)):
        axes[0, channel].set_title(f"map {channel + 1}", color=ink(colour))
    return axes


@drawn
def parameters_of_networks(networks: Mapping[str, tuple[int, int, float]]) -> Any:
    """Draw parameters of networks, in convolutions and in fully connected layers, and their multiply-adds.

    Parameters
    ----------
    networks : mapping of str to (int, int, float)
        Parameters of convolutions (with normalisation), parameters of fully connected layers, multiply-adds.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    ValueError
        When there is no network.

    Examples
    --------
    >>> axes = parameters_of_networks({"LeNet-5": (50_692, 11_014, 416_520)})
    >>> axes[0].texts[0].get_text()
    ' 61.7 k'
    """
    if not networks:
        raise ValueError(f"parameters_of_networks: networks must hold one at least, received {networks=}")
    names = list(networks)
    inner, dense, work = (np.array(column, float) for column in zip(*networks.values(), strict=True))
    axes = panels(7.2, 1.4 + 0.38 * len(names), 1, 2, sharey=True)
    axes[0].barh(names, inner, color=BLUE, label="in convolutions")
    axes[0].barh(names, dense, left=inner, color=ORANGE, label="fully connected")
    axes[0].set(title="parameters", xlim=(0, float((inner + dense).max()) * 1.25), xticks=[])
    axes[0].invert_yaxis()
    axes[0].figure.legend(loc="outside upper left", ncols=2)
    axes[1].barh(names, work, color=GRAY)
    axes[1].set(title="multiply-adds for one image", xlim=(0, float(work.max()) * 1.25), xticks=[])
    for panel, values in ((axes[0], inner + dense), (axes[1], work)):
        panel.spines["bottom"].set_visible(False)
        for i, value in enumerate(values):
            panel.text(value, i, f" {_short(value)}", va="center", fontsize=10)
    return axes


def _short(number: float) -> str:
    """Write 25557032 as 25.6 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"
