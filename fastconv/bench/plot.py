"""Log-log pictures of parameters, memory and time against the image's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastconv._extras import require
from fastconv.analysis.figures._style import BLUE, GREEN, ORANGE, PURPLE, RED
from fastconv.bench.compare import Line, Row

#: Of each kind of layer: colour, marker, and its size, the larger where another kind's curve lies on it.
LOOKS = ((BLUE, "o", 4), (RED, "s", 4), (ORANGE, "^", 9), (PURPLE, "D", 4), (GREEN, "v", 4))

PANELS: tuple[tuple[str, Callable[[Line], float]], ...] = (
    ("parameters", lambda line: line.work.parameters),
    ("memory of a forward call, bytes", lambda line: line.work.forward_bytes),
    ("time forward, seconds", lambda line: line.forward.seconds),
    ("time of all gradients, seconds", lambda line: line.backward.seconds),
)


def check_plotting() -> None:
    """Raise MissingExtraError unless pictures can be drawn; call it before hours of measuring."""
    require("matplotlib", "pictures")


def write_plot(path: str | Path, rows: Sequence[Row]) -> None:
    """Draw the rows with growing images into a file; measured parts solid, computed parts dashed.

    Parameters
    ----------
    path : str or Path
        Its ending chooses the format, as ``.png``.
    rows : sequence of Row
        Those whose case is in the part ``"growing image"`` are drawn.

    Raises
    ------
    fastconv._extras.MissingExtraError
        Without matplotlib.
    """
    figures = require("matplotlib.figure", "pictures")
    growing = [row for row in rows if row.case.part == "growing image"]
    figure = figures.Figure(figsize=(11, 8), layout="constrained")
    layer = growing[0].case.layer
    figure.suptitle(
        f"{layer.k} filters of {layer.kh}x{layer.kw} on a photograph, beside dense, local and tiled layers\n"
        "solid: measured; dashed: computed"
    )
    for axes, (title, value) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for number in range(len(LOOKS)):
            _draw(axes, growing, number, value)
        axes.set(title=title, xlabel="pixels of the image", xscale="log", yscale="log")
        axes.grid(True, which="major", alpha=0.3)
    figure.axes[0].legend()
    figure.savefig(path)


def _draw(axes: Any, rows: Sequence[Row], number: int, value: Callable[[Line], float]) -> None:
    """One kind of layer: a dashed curve through all points, a solid one over it where neighbours were measured."""
    colour, marker, size = LOOKS[number]
    lines = [row.lines[number] for row in rows]
    pixels = [row.case.layer.h * row.case.layer.w for row in rows]
    heights = [value(line) for line in lines]
    axes.plot(pixels, heights, color=colour, linestyle="--", linewidth=1)
    solid = [height if line.measured else float("nan") for height, line in zip(heights, lines, strict=True)]
    axes.plot(pixels, solid, color=colour, marker=marker, markersize=size, label=lines[0].kind)
