"""How all pictures look: sizes, colours that colour-blind readers tell apart, and a few shapes drawn often."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv._extras import require

__all__ = [
    *("BLUE", "COLOURS", "GRAY", "GREEN", "ORANGE", "PURPLE", "RED", "SKY"),
    *("drawn", "ink", "numbers", "panels", "show", "taken", "write_values"),
]

Array = NDArray[Any]
P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito, "Color universal design", 2008.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#777777",
)
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY)

_INK = {ORANGE: "#946200", GREEN: "#007a59", RED: "#b84f00", PURPLE: "#a34e7c", SKY: "#1a77ae"}

_STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": None,
    "figure.facecolor": "white",
    "lines.linewidth": 2,
}


def drawn(function: Callable[P, R]) -> Callable[P, R]:
    """Draw with this module's style, whatever the user's settings, and leave those as they are."""

    @wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        matplotlib = require("matplotlib", "pictures", "plot")
        style = _STYLE | {"axes.prop_cycle": require("cycler", "pictures", "plot").cycler(color=COLOURS)}
        with matplotlib.rc_context(style):
            return function(*args, **kwargs)

    return styled


def taken(op: str, name: str, value: Any, *shapes: str, dtype: DTypeLike | None = None) -> Array:
    """Return an array of real numbers, not empty, with the axes of one of some shapes such as "(H, W)".

    Raises
    ------
    TypeError
        When it does not hold real numbers.
    ValueError
        When it has other axes, or no elements.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of unequal lengths
        raise TypeError(f"{op}: {name} cannot be read as an array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{op}: {name} must hold real numbers, received {name} of dtype {array.dtype}")
    if array.ndim not in [len(re.findall(r"\w+", shape)) for shape in shapes] or array.size == 0:
        listed = " or ".join(shapes)
        raise ValueError(f"{op}: {name} must have the axes {listed}, none empty, received shape {array.shape}")
    return array if dtype is None else array.astype(dtype)


def panels(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """Make a figure of that size in inches and return its Axes, an array (rows, columns) of them if there are more."""
    figure = require("matplotlib.figure", "pictures", "plot").Figure(figsize=(width, height), layout="constrained")
    return figure.subplots(rows, columns, **options)


def show(
    axes: Any, image: Array, title: str = "", cmap: str = "gray", *, around_zero: bool = False, **options: Any
) -> Any:
    """Draw an image (H, W) or (3, H, W) without ticks; `around_zero` puts the middle of the colours at 0."""
    if around_zero:
        largest = float(np.abs(image).max()) or 1.0
        options = {"vmin": -largest, "vmax": largest} | options
    drawn_image = axes.imshow(image.transpose(1, 2, 0) if image.ndim == 3 else image, cmap=cmap, **options)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    return drawn_image


def ink(colour: str) -> str:
    """Return a colour for text: darker than a line's where letters of that colour would be faint on white."""
    return _INK.get(colour, colour)


def write_values(axes: Any, values: Array, largest: float, size: float = 11) -> None:
    """Write numbers onto an image, but for NaN; white where the colours, which end at `largest`, are dark."""
    for (h, w), value in np.ndenumerate(values):
        if value == value:
            colour = "white" if abs(value) > 0.6 * largest else "black"
            axes.text(w, h, f"{value:g}", ha="center", va="center", fontsize=size, color=colour)


def numbers(axes: Any, values: Array, title: str = "", *, marked: Array | None = None, size: float = 11) -> None:
    """Draw a small matrix as a grid of its numbers; cells in `marked` are tinted."""
    height, width = values.shape
    tint = np.zeros((height, width)) if marked is None else np.asarray(marked, float)
    axes.imshow(tint, cmap="Blues", vmin=0, vmax=3)
    for (h, w), value in np.ndenumerate(values):
        axes.text(w, h, f"{value:g}", ha="center", va="center", fontsize=size, color="black" if value else "#999999")
    axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#bbbbbb", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
