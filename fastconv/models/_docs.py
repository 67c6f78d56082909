"""The docstrings of networks that differ from others of their family by numbers alone: one text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["documented"]

F = TypeVar("F", bound=Callable[..., object])

_TEXT = """

The names of parameters are torchvision's, so its published weights load by name (see `fastconv.load`)::

    net = fastconv.models.<function>()
    net.load_state_dict(fastconv.load("<function>.safetensors"))

Shapes: input ``(N, in_channels, H, W)`` or ``(in_channels, H, W)``, output ``(N, num_classes)`` or
``(num_classes,)``; H and W <sizes>.

Parameters
----------
num_classes : int, default 1000
    The number of outputs.
in_channels : int, default 3
    1 for gray images, 3 for colour.
**options
    <options>, by name, as `<family>` takes them.

Returns
-------
<family>
    With <parameters> parameters for the default arguments.

Raises
------
TypeError
    When a number is not an int, or the dtype not a float one.
ValueError
    When a number is out of its range.

References
----------
<paper>
"""


def documented(example: str = "", /, **words: str) -> Callable[[F], F]:
    """Complete a docstring of one line, with ``<family>`` and its like replaced, and an example if it is quick."""

    def set_doc(function: F) -> F:
        text = (function.__doc__ or "").rstrip() + _TEXT
        for name, value in {**words, "function": function.__name__}.items():
            text = text.replace(f"<{name}>", value)
        function.__doc__ = text + (f"\nExamples\n--------\n{example}" if example else "")
        return function

    return set_doc
