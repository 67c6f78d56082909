"""The right calls of operators and layers which the sweep of bad input makes wrong."""

from __future__ import annotations

from calls import all_calls, all_layers

SPATIAL = {1: (7,), 2: (6, 5), 3: (4, 5, 4)}
CALLS = all_calls(SPATIAL, batch=2, channels=4, outputs=6)
LAYERS = all_layers(SPATIAL, batch=2, channels=4, outputs=6)

HUGE = 2**57  # elements of this number can be had nowhere: 2**59 bytes are more than an address space


def result_shape(operator: str) -> tuple[int, ...]:
    """The shape of an operator's result: that of the gradient which its backward takes."""
    return tuple(CALLS[f"{operator}_backward"].arguments["grad_output"].shape)
