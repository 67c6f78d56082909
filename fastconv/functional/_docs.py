"""Docstrings of operators that exist for one, two and three spatial axes: one text, three sets of letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

_LETTERS = {
    1: {
        "n": "1",
        "axes": "L",
        "out": "Lo",
        "k": "kL",
        "word": "one spatial axis, L",
        "shape": "8",
        "kshape": "3",
        "oshape": "6",
        "half": "4",
    },
    2: {
        "n": "2",
        "axes": "H, W",
        "out": "Ho, Wo",
        "k": "kH, kW",
        "word": "two spatial axes, H and W",
        "shape": "8, 8",
        "kshape": "3, 3",
        "oshape": "6, 6",
        "half": "4, 4",
    },
    3: {
        "n": "3",
        "axes": "D, H, W",
        "out": "Do, Ho, Wo",
        "k": "kD, kH, kW",
        "word": "three spatial axes, D, H and W",
        "shape": "8, 8, 8",
        "kshape": "3, 3, 3",
        "oshape": "6, 6, 6",
        "half": "4, 4, 4",
    },
}


def documented(text: str, n: int) -> Callable[[F], F]:
    """Give a function the docstring `text`, with ``<axes>`` and its like replaced for `n` spatial axes."""
    for name, letters in _LETTERS[n].items():
        text = text.replace(f"<{name}>", letters)

    def set_doc(function: F) -> F:
        function.__doc__ = text
        return function

    return set_doc
