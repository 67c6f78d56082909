"""The sweep of bad input: for every argument of every operator and layer, the ways in which it can be wrong.

A kind of argument is wrong in the same ways wherever it stands, so these are written once for each kind (wrong.py);
what only one family of operators can get wrong stands in wrong_windows.py, wrong_pointwise.py and filter_calls.py.
Each case says which exception is due, and what the message must hold: the argument's name, the value received, the
rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from calls import Call, Layer
from filter_calls import wrong_calls
from right import CALLS, LAYERS, result_shape
from wrong import (
    Wrong,
    choice,
    divisors,
    flag,
    needs,
    no_floats,
    no_integers,
    number,
    other_shapes,
    padding,
    per_axis,
    powers,
    reals,
    shapes,
    wrong_rank,
    zeros,
)
from wrong_pointwise import dense, dropping, norms, paddings_of_arrays, pointwise, resizing
from wrong_windows import (
    GRADIENT,
    convolution,
    folding,
    gradients,
    indices,
    input_shapes,
    kernels_apart,
    unpooling,
    windows,
)


@dataclass(frozen=True)
class Case:
    """A wrong call; `prefix` is how its message begins."""

    call: Call | Layer
    name: str
    wrong: Wrong
    prefix: str
    step: str = "call"  # of a layer: "make", "call", "forward" or "backward"

    def __str__(self) -> str:
        value = self.wrong.value
        text = f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
        extra = "" if self.step == "call" else f"-{self.step}"
        return f"{self.call.name}{extra}-{self.name}={text.encode('ascii', 'replace').decode()[:40]}"

    def run(self) -> Any:
        """Make the wrong call."""
        changes = {self.name: self.wrong.value, **self.wrong.others}
        if isinstance(self.call, Call):
            return self.call(**changes)
        if self.step == "make":
            return self.call(**changes)
        layer = self.call(**self.wrong.others)
        if self.step == "call":
            return layer(self.wrong.value)
        if self.step == "forward":
            return layer.forward(self.wrong.value)
        _, backward = layer.forward(self.call.input)
        return backward(self.wrong.value)


# ------------------------------------------------------------------------------------------------------------ the table


def kind_of(call: Call | Layer, name: str) -> Iterator[Wrong]:
    """The ways in which an argument of this name is wrong by its kind alone."""
    n = call.axes
    pool = "pool" in call.name.lower()
    if name in ("stride", "kernel_size", "dilation", "input_size", "tiles"):
        return per_axis(n, 1, optional=name == "stride" and pool)
    if name == "output_size" and "adaptive" in call.name.lower():
        return (
            w
            for w in per_axis(n, 1, optional=True)
            if not (isinstance(w.value, tuple) and None in w.value) and not isinstance(w.value, np.ndarray | range)
        )
    if name == "output_size" and call.name == "fold":
        return per_axis(n, 1)
    if name == "output_padding":
        return per_axis(n, 0)
    if name == "padding":
        return padding(
            n,
            names=(any(word in call.name for word in ("onv", "ocal", "fold")) and "ranspose" not in call.name),
        )
    if name in ("in_channels", "out_channels", "in_features", "out_features", "groups"):
        return number(1)
    if name == "scale_factor":
        return per_axis(n, 1, optional=True)
    if name == "size" and "scale_factor" in call.arguments:
        return iter(())  # see `resizing`
    if name == "p":
        return reals()
    if name in ("ceil_mode", "return_indices", "count_include_pad") or (name == "bias" and isinstance(call, Layer)):
        return flag()
    if name in ("algorithm", "mode", "reduction", "padding_mode", "approximate"):
        return choice()
    if name in ("negative_slope", "alpha", "beta", "threshold", "delta", "label_smoothing"):
        return reals()
    if name == "pool_size":
        return number(1)
    if name == "ignore_index":
        return no_integers()
    if name == "target" and "ignore_index" not in call.arguments:
        return no_floats(np.shape(call.arguments[name]))
    if name in ("weight", "pos_weight") and "target" in call.arguments:
        return no_floats(np.shape(call.arguments[name]), optional=True)
    if name == "norm_type":
        return powers()
    if name in ("eps", "k", "momentum"):
        return reals(0 if name == "eps" else None, optional=name == "momentum" and "Batch" in call.name)
    if name in ("num_groups", "num_channels", "num_features", "size"):
        return number(1)
    if name in ("training", "use_input_stats", "affine", "track_running_stats", "elementwise_affine"):
        return flag()
    if name.startswith("running_") or name in ("mean", "var"):
        return no_floats(np.shape(call.arguments[name]), optional=name.startswith("running_"))
    if name == "divisor_override":
        return divisors()
    if name in ("input", "weight", "bias", "grad_output", "output"):
        optional = name == "bias" or (name == "weight" and "_norm" in call.name)
        return no_floats(np.shape(call.arguments[name]), optional=optional)
    return iter(())


def of_operator(call: Call) -> Iterator[tuple[str, Wrong]]:
    """All wrong arguments of an operator."""
    names = [*call.arguments]
    if call.name.startswith("conv"):
        names.append("algorithm")
    for name in names:
        yield from ((name, wrong) for wrong in kind_of(call, name))
    backward = call.name.endswith("_backward")
    if call.axes and call.name not in ("pad", "pad_backward", "fold"):
        name = "input" if "input" in call.arguments else "grad_output"
        if not (backward and name == "grad_output"):
            yield from ((name, wrong) for wrong in wrong_rank(call.axes, unpool="unpool" in call.name))
    if (
        backward
        and call.name not in ("pad_backward", "fold_backward", "cross_entropy_backward", "nll_loss_backward")
        and "unpool" not in call.name
    ):
        yield from (("grad_output", wrong) for wrong in gradients(call))
    if "input_shape" in call.arguments:
        yield from (("input_shape", wrong) for wrong in input_shapes(call))
    if "indices" in call.arguments:
        yield from (("indices", wrong) for wrong in indices(call))
    if "_norm" in call.name:
        yield from norms(call)
    norm = "_norm" in call.name and "response" not in call.name
    if backward and (norm or any(word in call.name for word in ("conv", "linear", "locally"))):
        yield from (("needs", wrong) for wrong in needs())
    if call.name.startswith("conv"):
        yield from convolution(call)
    if call.name.startswith(("locally", "tiled")):
        yield from kernels_apart(call)
    if "kernel_size" in call.arguments and "unpool" not in call.name and call.name not in ("fold", "unfold_backward"):
        yield from windows(call)
    if "fold" in call.name:
        yield from folding(call)
    if call.name.startswith("max_unpool") and not backward:
        yield from unpooling(call)
    if call.name.startswith("pad"):
        yield from paddings_of_arrays(call)
    if call.name.startswith("linear"):
        yield from dense(call)
    if call.name.startswith("interpolate"):
        yield from resizing(call)
    if call.name.startswith("dropout"):
        yield from dropping(call)
    if not call.axes and not call.name.startswith("linear"):
        yield from pointwise(call)


def of_layer(layer: Layer) -> Iterator[Case]:
    """All wrong uses of a layer: made, called, and led back."""
    for name in layer.arguments:
        for wrong in kind_of(layer, name) if name != "algorithm" else ():  # which the operator knows, at the first call
            shown = "received output_size=" if name == "output_size" else wrong.shown  # a tuple may show as a list
            yield Case(layer, name, replace(wrong, shown=shown), layer.name, "make")
    if "groups" in layer.arguments:
        for groups in (3, 4, 2**31, 2**61):
            yield Case(layer, "groups", Wrong(groups, ValueError, "multiple of groups"), layer.name, "make")
        for value in ("fast", None, 3) if "algorithm" in layer.arguments else ():
            wrong = Wrong(layer.input, ValueError, "one of", f"algorithm={value!r}", others={"algorithm": value})
            yield Case(layer, "algorithm", wrong, layer.operator, "call")
    if "generator" in layer.arguments:
        for dtype in ("i4", "c8", "O", "f16", "no such", 3, None, "U3"):
            wrong = Wrong(dtype, TypeError, "float16, float32 or float64")
            yield Case(layer, "dtype", wrong, layer.name, "make")
        for seed, error in ((-1, ValueError), (1.5, TypeError), ("seed", TypeError), (True, TypeError)):
            yield Case(layer, "generator", Wrong(seed, error, "seed|non-negative|integers"), layer.name, "make")
        name = "out_features" if layer.name == "Linear" else "out_channels"
        yield Case(layer, name, Wrong(2**58, MemoryError, "memory|cannot be (had|held)", ""), layer.name, "make")
    for step in ("call", "forward"):
        for wrong in chain(no_floats(layer.input.shape), wrong_rank(layer.axes) if layer.axes else ()):
            yield Case(layer, "input", wrong, layer.operator, step)
    if layer.axes:
        empty = (layer.input.shape[0], 0, *layer.input.shape[2:])
        yield Case(layer, "input", Wrong(zeros(*empty), ValueError, "channel|may be empty along", ""), layer.operator)
    right = result_shape(layer.operator)
    others = [shape for shape in other_shapes(right) if "Adaptive" not in layer.name or 2**31 not in shape]
    for wrong in chain(no_floats(right), shapes(others, GRADIENT)):
        yield Case(layer, "grad_output", wrong, f"{layer.operator}_backward", "backward")


def operator_cases() -> Iterator[Case]:
    """The sweep over the operators."""
    for call in CALLS.values():
        yield from (Case(call, name, wrong, call.name) for name, wrong in of_operator(call))


def filter_cases() -> Iterator[Case]:
    """The sweep over the filters of images."""
    for call, name, wrong in wrong_calls():
        yield Case(call, name, wrong, call.name)


def layer_cases() -> Iterator[Case]:
    """The sweep over the layers."""
    for layer in LAYERS.values():
        yield from of_layer(layer)


def by_argument(cases: Iterator[Case]) -> dict[str, list[Case]]:
    """The cases, under the name of their operator or layer and of the argument that is wrong."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        step = "" if case.step == "call" else f"-{case.step}"
        groups.setdefault(f"{case.call.name}{step}-{case.name}", []).append(case)
    return groups
