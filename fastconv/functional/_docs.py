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


_ELEMENTWISE = {
    "<input>": """input : array_like of any shape
        float16 (computed in float32), float32 or float64.""",
    "<grad>": """grad_output : array_like of any shape
        Gradient of the output.""",
    "<saved output>": """output : array_like of the same shape
        What `<forward>` returned.""",
    "<saved input>": """input : array_like of the same shape
        As given to `<forward>`.""",
    "<same>": """ndarray of the same shape and dtype
        NaN stays NaN.""",
    "<promoted>": "ndarray of the same shape, of dtype ``np.result_type(grad_output, <saved>)``",
    "<raises>": """TypeError
        When a dtype is another one<options>.""",
    "<raises shapes>": """TypeError
        When a dtype is not float16, float32 or float64<options>.
    ValueError
        When the shapes differ<values>.""",
}


def elementwise(options: str = "", values: str = "") -> Callable[[F], F]:
    """Fill in what the docstrings of elementwise functions share: ``<input>``, ``<grad>``, ``<raises>`` and so on.

    `options` and `values` are further reasons of a TypeError and of a ValueError.
    """

    def set_doc(function: F) -> F:
        text = function.__doc__ or ""
        saved = "output" if "<saved output>" in text else "input"
        for name, words in _ELEMENTWISE.items():
            text = text.replace(f"    {name}\n", f"    {words}\n")
        forward = function.__name__.removesuffix("_backward")
        for name, words in (("forward", forward), ("saved", saved), ("options", options), ("values", values)):
            text = text.replace(f"<{name}>", words)
        function.__doc__ = text
        return function

    return set_doc
