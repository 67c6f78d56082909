"""Why convolution: what it saves and what it keeps, as numbers.

::

    counting    weights and connections: fully connected, locally connected, tiled, convolution
    receptive   sides of outputs; what one output sees through a stack of layers
    matrix      the matrix of a layer, and which of its entries are one weight
    measures    equivariance, invariance, gradients by depth, dead units
    figures     pictures of all of these, with matplotlib

The numbers need NumPy alone. ``python -m fastconv demo DIR`` makes a page of the pictures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastconv.analysis.counting import (
    Connections,
    convolution,
    count,
    fully_connected,
    locally_connected,
    neurons,
    tiled,
)
from fastconv.analysis.matrix import SparseMatrix, Wiring, as_linear, as_matrix, jacobian, tied_gradient, wiring
from fastconv.analysis.measures import (
    dead_units,
    equivariance_error,
    gradient_by_depth,
    invariance_error,
    translate,
)
from fastconv.analysis.receptive import (
    ReceptiveField,
    Window,
    output_size,
    receptive_field,
    receptive_fields,
    same_padding,
    seen_inputs,
)

__all__ = [
    "Connections",
    "ReceptiveField",
    "SparseMatrix",
    "Window",
    "Wiring",
    "as_linear",
    "as_matrix",
    "convolution",
    "count",
    "dead_units",
    "equivariance_error",
    "fully_connected",
    "gradient_by_depth",
    "invariance_error",
    "jacobian",
    "locally_connected",
    "neurons",
    "output_size",
    "receptive_field",
    "receptive_fields",
    "same_padding",
    "seen_inputs",
    "tied_gradient",
    "tiled",
    "translate",
    "wiring",
]

if TYPE_CHECKING:
    from fastconv.analysis import figures as figures
else:

    def __getattr__(name: str) -> object:  # of those who count or measure, few draw
        if name != "figures":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module("fastconv.analysis.figures")
