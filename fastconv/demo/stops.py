"""What a stop of the tour is, and the list that stops put themselves on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.demo.material import Material

__all__ = ["BY_HAND", "CHAPTERS", "DEEP", "KEEPS", "LEARNS", "SAVES", "Picture", "Stop", "Table", "by", "stop"]


@dataclass(frozen=True)
class Picture:
    """What a stop shows: one or many Axes of one figure, and what to see in it."""

    axes: Any
    sentence: str

    @property
    def figure(self) -> Any:
        """The figure that the Axes are in."""
        return np.ravel(self.axes)[0].figure


@dataclass(frozen=True)
class Table:
    """What a stop shows: rows of text below a header, and what to see in them."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    sentence: str


@dataclass(frozen=True)
class Stop:
    """A stop: its name (of the file, too), its title, and what makes the picture or table."""

    name: str
    title: str
    show: Callable[[Material], Picture | Table]


SAVES = "What convolution saves"
KEEPS = "What convolution and pooling keep"
BY_HAND = "Filters made by hand"
LEARNS = "Filters that are learned"
DEEP = "Deep networks"

CHAPTERS: dict[str, list[Stop]] = {chapter: [] for chapter in (SAVES, KEEPS, BY_HAND, LEARNS, DEEP)}

Show = Callable[[Material], Picture | Table]


def stop(chapter: str) -> Callable[[Show], Show]:
    """Add a function to the tour, at the end of a chapter; its docstring is the title."""

    def add(show: Show) -> Show:
        CHAPTERS[chapter].append(Stop(show.__name__, (show.__doc__ or "").rstrip("."), show))
        return show

    return add


def by(shape: tuple[int, ...]) -> str:
    """Write (3, 32, 32) as 3x32x32."""
    return "x".join(map(str, shape))
