"""The sweep of bad input: for every argument of every operator and layer, the ways in which it can be wrong.

A kind of argument is wrong in the same ways wherever it stands, so these are written once for each kind (wrong.py);
what only one family of operators can get wrong is listed here under its name. Each case says which exception is due,
and what the message must hold: the argument's name, the value received, the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import nan
from typing import Any

import numpy as np
from calls import Call, Layer, all_calls, all_layers
from filter_calls import wrong_calls
from wrong import (
    BIG,
    Opaque,
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

SPATIAL = {1: (7,), 2: (6, 5), 3: (4, 5, 4)}
CALLS = all_calls(SPATIAL, batch=2, channels=4, outputs=6)
LAYERS = all_layers(SPATIAL, batch=2, channels=4, outputs=6)

HUGE = 2**57  # elements of this number can be had nowhere: 2**59 bytes are more than an address space


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


# ------------------------------------------------------------------------------------------------------------- families


def result_shape(operator: str) -> tuple[int, ...]:
    """The shape of an operator's result: that of the gradient which its backward takes."""
    return tuple(CALLS[f"{operator}_backward"].arguments["grad_output"].shape)


GRADIENT = r"must have (the )?(shape|axes|batch and channels)|columns|rows|only the batch may be empty"


def gradients(call: Call) -> Iterator[Wrong]:
    """Gradients of another shape than the forward result's."""
    right = np.shape(call.arguments["grad_output"])
    others = [shape for shape in other_shapes(right) if shape or "target" not in call.arguments]  # one number for all
    for wrong in shapes(others, GRADIENT):
        if "adaptive_avg" not in call.name or not _another_size(np.shape(wrong.value), right, call.axes):
            yield wrong


def _another_size(shape: tuple[int, ...], right: tuple[int, ...], axes: int) -> bool:
    """Whether a shape differs in spatial sizes only, which some operators take as they come."""
    return len(shape) == len(right) and shape[:-axes] == right[:-axes] and 0 not in shape


def input_shapes(call: Call) -> Iterator[Wrong]:
    """Declared shapes of an input that do not agree with the gradient, or are no shape."""
    right = call.arguments["input_shape"]
    rule = "shape|axes|entries|sequence|fit|positive|non-negative|channel|empty|input_shape must"
    for shape in other_shapes(right):
        if not _another_size(shape, right, call.axes):  # it may be right too (it is tried with windows, below)
            yield Wrong(shape, ValueError, rule, "", "input_shape|grad_output")
    for i in range(len(right)):
        for size in (-1, -(2**63), 2**62, 2**63, 10**30):
            yield Wrong((*right[:i], size, *right[i + 1 :]), ValueError, "non-negative|positive|" + BIG)
        for size in (1.0, True, "1", None):
            yield Wrong((*right[:i], size, *right[i + 1 :]), TypeError, "integer")
    for value in (None, 3, "abcd", 2.5, Opaque()):
        yield Wrong(value, TypeError, "sequence")
    if "kernel_size" in call.arguments:
        for extra in (2, 50, 2**31, 2**61 - 1):
            shape = (*right[:-1], right[-1] + extra)
            yield Wrong(shape, ValueError, "shape|columns|rows|fit", "", "input_shape|grad_output")


def indices(call: Call) -> Iterator[Wrong]:
    """Places outside the plane, of other shapes, of no integers."""
    right = call.arguments["indices"]
    plane = int(np.prod(_plane(call)))
    rule = r"\b0 to \d+|non-negative|range|lie in|plane|between|below"
    for place in (-1, -2, plane, plane + 1, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63)):
        for at in ((0,) * right.ndim, tuple(size - 1 for size in right.shape)):
            bad = right.copy()
            bad[at] = place
            yield Wrong(bad, ValueError, rule, str(place))
    yield Wrong(np.full(right.shape, 2**64 - 1, np.uint64), ValueError, rule, "")
    yield Wrong(
        np.full(right.shape, 127, np.int8) if plane <= 127 else np.full(right.shape, -1, np.int8), ValueError, rule, ""
    )
    yield Wrong(np.full(right.shape, plane, np.int32), ValueError, rule, str(plane))
    for kind in ("f2", "f4", "f8", "?", "c8", "O", "U3", "S3", "M8[s]", "m8[s]", "V8"):
        bad = np.zeros(right.shape, kind)
        yield Wrong(bad, TypeError, "integer", str(bad.dtype))
    yield Wrong(np.full(right.shape, nan), TypeError, "integer", "float64")
    yield Wrong(None, TypeError, "integer", "")
    yield Wrong([[0], [0, 1]], TypeError, "integer|array", "")
    if call.name.startswith("max_unpool") and call.name.endswith("_backward"):  # which takes more than the input had
        endless = np.broadcast_to(np.int64(0), (*right.shape[:-1], 2**40))
        yield Wrong(endless, MemoryError, "cannot be held in memory", str(endless.shape))
    for shape in other_shapes(right.shape):
        free = call.name.startswith("max_unpool") and call.name.endswith("_backward")
        if max(shape, default=0) < 2**31 and not (
            (free and _another_size(shape, right.shape, call.axes)) or (free and 0 in shape[-call.axes :])
        ):
            yield Wrong(np.zeros(shape, np.int64), ValueError, "shape|axes|fit|differ|batch and channels", str(shape))


def _plane(call: Call) -> tuple[int, ...]:
    """The plane that a call's indices point into."""
    if "input_shape" in call.arguments:
        return tuple(call.arguments["input_shape"][-call.axes :])
    if "grad_output" in call.arguments:
        return tuple(call.arguments["grad_output"].shape[-call.axes :])
    return tuple(2 * size for size in call.arguments["input"].shape[-call.axes :])  # max_unpool, a window of 2


def convolution(call: Call) -> Iterator[tuple[str, Wrong]]:
    """What is wrong with weights, channels, groups and results of convolutions."""
    n, transposed = call.axes, "transpose" in call.name
    x, w = call.arguments["input"].shape, call.arguments["weight"].shape
    fits = "divisible by groups|takes input of"
    for groups in (3, 4, 5, 7, 2**31, 2**61):
        shown = f"groups={groups}"
        if groups != 4 or not transposed:
            yield "groups", Wrong(groups, ValueError, fits, shown)
    empty = [(*w[:i], 0, *w[i + 1 :]) for i in range(len(w))]
    yield from (("weight", wrong) for wrong in shapes(empty, "must not be empty"))
    ranks = [(4,) * rank for rank in (0, 1, 2, 3, 4, 5, 6) if rank != n + 2]
    yield from (("weight", wrong) for wrong in shapes(ranks, "must have the axes"))
    for channels in (1, 3, 5, 2**31):
        shape = (channels, *w[1:]) if transposed else (w[0], channels, *w[2:])
        yield "weight", Wrong(zeros(*shape), ValueError, fits, str(shape))
    for channels in (0, 1, 3, 5, 2**31):
        shape = (x[0], channels, *x[2:])
        yield "input", Wrong(zeros(*shape), ValueError, f"{fits}|at least one channel", f"{channels}")
    if "bias" in call.arguments:
        for shape in ((), (5,), (7,), (0,), (1,), (6, 1), (1, 6), (2**31,)):
            yield "bias", Wrong(zeros(*shape), ValueError, "one per output channel", str(shape))
        yield from _outputs(call)
        yield from _absurd(call)
    if transposed:
        yield "output_padding", Wrong(2, ValueError, "smaller than stride or dilation")
        yield "output_padding", Wrong(2**61, ValueError, "smaller than stride or dilation")
        for value in (50, 2**31, 2**60):
            yield "padding", Wrong(value, ValueError, "at least one element|empty")
        yield "input", Wrong(zeros(*x[:-1], 0), ValueError, "empty", str((*x[:-1], 0)))
    else:
        for value in (9, 2**31, 2**61):
            yield "dilation", Wrong(value, ValueError, "must fit the padded input|2\\*\\*", f"dilation={value}")
        yield "weight", Wrong(zeros(*w[:-1], 30), ValueError, "must fit the padded input", str((*w[:-1], 30)))
        yield "weight", Wrong(zeros(*w[:-1], 2**40), ValueError, "must fit the padded input", str((*w[:-1], 2**40)))
        yield "input", Wrong(zeros(*x[:-1], 0), ValueError, "must fit the padded input", "0 + 1 + 1")
    if not call.name.endswith("_backward"):
        wide = {"input": zeros(1, 65, *x[2:]), "groups": 1, "bias": None}
        weight = zeros(65, 65, *w[2:])
        yield "algorithm", Wrong("depthwise", ValueError, "takes only|at most", others={**wide, "weight": weight})


def kernels_apart(call: Call) -> Iterator[tuple[str, Wrong]]:
    """What is wrong with weights, biases and channels where outputs have kernels of their own."""
    n = call.axes
    x, w = call.arguments["input"].shape, call.arguments["weight"].shape
    for groups in (3, 4, 5, 7, 2**31, 2**61):
        yield "groups", Wrong(groups, ValueError, "divisible by groups|takes input of", f"groups={groups}")
    empty = [(*w[:i], 0, *w[i + 1 :]) for i in range(len(w))]
    yield from (("weight", wrong) for wrong in shapes(empty, "must not be empty"))
    ranks = [(4,) * rank for rank in range(8) if rank != 2 * n + 2]
    yield from (("weight", wrong) for wrong in shapes(ranks, "must have the axes"))
    for channels in (1, 3, 5, 2**31):
        shape = (*w[: n + 1], channels, *w[n + 2 :])
        yield "weight", Wrong(zeros(*shape), ValueError, "takes input of", str(shape[n:]))
        yield "input", Wrong(zeros(x[0], channels, *x[2:]), ValueError, "takes input of", f"{channels}")
    yield "input", Wrong(zeros(x[0], 0, *x[2:]), ValueError, "at least one channel", "0")
    if call.name.startswith("locally"):
        for count in (1, w[0] + 1, 2**31):
            shape = (count, *w[1:])
            yield "weight", Wrong(zeros(*shape), ValueError, "a kernel for each", str(shape))
    else:
        for count in (2**40, 2**48):
            shape = (count, *w[1:])
            changes = {"bias": None} if "bias" in call.arguments else {}
            yield "weight", Wrong(zeros(*shape), MemoryError, "cannot be held in memory", str(count), others=changes)
    if "bias" in call.arguments:
        right = call.arguments["bias"].shape
        for shape in ((), right[:1], (*right, 1), (right[0] + 1, *right[1:]), (*right[:-1], 7), (0, *right[1:])):
            yield "bias", Wrong(zeros(*shape), ValueError, "one per output channel and kernel", str(shape))
        yield from _outputs(call)
    for value in (9, 2**31, 2**61):
        yield "dilation", Wrong(value, ValueError, "must fit the padded input|2\\*\\*", f"dilation={value}")
    yield "weight", Wrong(zeros(*w[:-1], 2**40), ValueError, "must fit the padded input", "")
    yield "input", Wrong(zeros(*x[:-1], 0), ValueError, "must fit the padded input", "0 + 1 + 1")


def _outputs(call: Call) -> Iterator[tuple[str, Wrong]]:
    """Wrong ``out=``."""
    right = result_shape(call.name)
    for shape in other_shapes(right):
        if max(shape, default=0) < 2**31:
            yield "out", Wrong(np.zeros(shape, np.float32), ValueError, "shape of the result", str(shape))
    for kind in ("f2", "f8", "i4", "c8", "O"):
        out = np.zeros(right, kind)
        yield "out", Wrong(out, TypeError, "dtype of the result", str(out.dtype))
    read_only = np.zeros(right, np.float32)
    read_only.flags.writeable = False
    yield "out", Wrong(read_only, ValueError, "writeable", "read-only")
    yield "out", Wrong(zeros(*right), ValueError, "writeable", "read-only")
    for value in ([], (1, 2), 3, "out", Opaque(), read_only.tolist()):
        yield "out", Wrong(value, TypeError, "NumPy array", type(value).__name__)


def _absurd(call: Call) -> Iterator[tuple[str, Wrong]]:
    """Results that no memory holds."""
    rule = "memory|cannot be (had|held)"
    name, options = (
        ("stride", (2**40, 2**57, 2**58)) if "transpose" in call.name else ("padding", (2**57, 2**58, 2**60))
    )
    for value in options:
        if value >= HUGE or call.axes > 1:
            yield name, Wrong(value, MemoryError, rule, "")
    batch = zeros(HUGE // 16, 4, *(1,) * call.axes)
    one = {"weight": zeros(*call.arguments["weight"].shape[:2], *(1,) * call.axes), "padding": 0, "stride": 1}
    if "transpose" in call.name:
        one["output_padding"] = 0
    yield "input", Wrong(batch, MemoryError, rule, "", others=one)


def windows(call: Call) -> Iterator[tuple[str, Wrong]]:
    """What is wrong with windows that slide over an input."""
    n = call.axes
    fit = r"must fit the padded input|shape of the forward result|must have"
    for value in (40, 2**31, 2**61):
        yield "kernel_size", Wrong(value, ValueError, fit, str(value))
        yield "kernel_size", Wrong((3,) * (n - 1) + (value,), ValueError, fit, "")
    if "dilation" in call.arguments:
        for value in (9, 2**31, 2**61):
            yield "dilation", Wrong(value, ValueError, fit, "")
    if "input" in call.arguments:
        shape = call.arguments["input"].shape
        yield from (("input", wrong) for wrong in shapes([(shape[0], 0, *shape[2:])], "at least one channel|empty"))
        for i in range(2, n + 2):
            yield from (("input", wrong) for wrong in shapes([(*shape[:i], 0, *shape[i + 1 :])], "empty"))
    if "padding" in call.arguments and "pool" in call.name:
        for value in (3, 4, 2**31, 2**57, 2**61, ((3, 0),) * n, ((0, 5),) * n):
            if call.name.endswith("_backward") and value == ((0, 5),) * n:
                continue  # the result would have another size too
            yield (
                "padding",
                Wrong(
                    value,
                    ValueError,
                    r"wholly in padding|shape of the forward result|below 2\*\*62|smaller than 2\*\*62",
                    "",
                ),
            )


def folding(call: Call) -> Iterator[tuple[str, Wrong]]:
    """unfold, fold and their gradients."""
    rule = "columns|rows|shape|fit|axes"
    if call.name == "unfold":
        for value in (2**57, 2**58, 2**60):
            yield "padding", Wrong(value, MemoryError, "memory|cannot be (had|held)", "")
    if call.name == "fold":
        x = call.arguments["input"].shape
        for shape in (*other_shapes(x)[4:], (2, 3, 4, 5), (3, 4)):
            if shape != x[1:]:
                yield "input", Wrong(zeros(*shape), ValueError, f"{rule}|at least one channel|empty", str(shape))
        for size in ((6, 7), (12, 5), (2**31, 2**31), (2**61, 1)):
            yield "output_size", Wrong(size, ValueError, f"{rule}|2\\*\\*", "")


def unpooling(call: Call) -> Iterator[tuple[str, Wrong]]:
    """max_unpool's wanted size and padding."""
    n = call.axes
    usual = tuple(2 * size for size in call.arguments["input"].shape[2:])
    less = "less than|less than a stride|between|near|at most|differ|must be"
    for shift in (2, -2, 100, 2**31, 2**60):
        size = (*usual[:-1], usual[-1] + shift)
        yield "output_size", Wrong(size, ValueError, less)
    yield "output_size", Wrong((*usual, 1), ValueError, "ints|entries|must")
    yield "output_size", Wrong((), ValueError, "ints|entries|must")
    yield "output_size", Wrong((*usual[1:], 0), ValueError, less + "|positive|empty")
    yield "output_size", Wrong((-1,) * n, ValueError, "positive|non-negative")
    for value in (1.0, "x", (1.0,) * n, (True,) * n, (None,) * n):
        yield "output_size", Wrong(value, TypeError, "integer|sequence")
    for value in (9, 20, 2**31, 2**61):
        yield "padding", Wrong(value, ValueError, "empty|at least|kernel|leave|padding must")


def paddings_of_arrays(call: Call) -> Iterator[tuple[str, Wrong]]:
    """The operator pad."""
    rule = "lo and hi|last axis"
    forward = call.name == "pad"
    for value in ((1,), (1, 2, 3), (1,) * 10, 1, None, "12", {1, 2}):
        yield "pad", Wrong(value, (ValueError, TypeError), rule + "|integers|sequence")  # type: ignore[arg-type]
    for value in ((1.0, 1), (True, 1), ("1", "1"), (None, 1), (1, [1])):
        yield "pad", Wrong(value, TypeError, "integer")
    for value in ((2**62, 0), (0, -(2**63)), (10**30, 0)):
        yield "pad", Wrong(value, ValueError, BIG + "|crop|non-negative|at least")
    for mode, most in (("reflect", 4), ("circular", 5)):
        for value in ((most + 1, 0), (0, most + 1), (2**31, 0), (2**61, 0)) if forward else ():
            yield "pad", Wrong(value, ValueError, rf"at most {most}", others={"mode": mode})
    for mode in ("reflect", "replicate", "circular"):
        yield "pad", Wrong((-1, 1), ValueError, "non-negative", others={"mode": mode})
        shape = (4, 0) if forward else (4, 2)
        name = "input" if forward else "grad_output"
        yield "pad", Wrong((1, 1), ValueError, "pad", "", others={"mode": mode, name: zeros(2, *shape)})
        yield "pad", Wrong((0, 0, 0, 0, 0, 0, 1, 1), ValueError, "axes", "pad=", others={"mode": mode})
    for value in ((-3, -3), (0, -6), (-(2**61), 0)) if forward else ((50, 50), (0, 2**61)):
        rules = "crop" if forward else "at least as large"
        yield "pad", Wrong(value, ValueError, rules, others={"mode": "constant"})
    if forward:
        for mode in ("constant", "replicate"):
            for value in ((2**57, 0), (2**60, 2**60)):
                yield "pad", Wrong(value, MemoryError, "memory|cannot be (had|held)", "", others={"mode": mode})
        for value in (1.0, -3):
            yield "value", Wrong(value, ValueError, "constant")
        for value in ("0", [1.0], 1j, True, Opaque(), np.ones(2)):
            yield "value", Wrong(value, TypeError, "number", others={"mode": "constant"})
    else:
        smallest = zeros(2, 4, 1, 2)
        yield "grad_output", Wrong(smallest, ValueError, "at least as large", str(smallest.shape))


def dense(call: Call) -> Iterator[tuple[str, Wrong]]:
    """linear and its gradient."""
    x, w = call.arguments["input"].shape, call.arguments["weight"].shape
    for shape in ((), (0,), (x[0], x[1] + 1), (x[0], 0), (x[0], 2**31)):
        yield "input", Wrong(zeros(*shape), ValueError, "features", str(shape))
    for shape in ((), (x[1],), (1, *w), (*w, 1)):
        yield "weight", Wrong(zeros(*shape), ValueError, "must have the axes", str(shape))
    if "bias" in call.arguments:
        for shape in ((), (1,), (w[0] + 1,), (0,), (w[0], 1)):
            yield "bias", Wrong(zeros(*shape), ValueError, "one per output", str(shape))
        yield from _outputs(call)
        yield "input", Wrong(zeros(HUGE, 1), MemoryError, "memory|cannot", "", others={"weight": zeros(6, 1)})


def pointwise(call: Call) -> Iterator[tuple[str, Wrong]]:
    """Activations, softmax and the losses."""
    rule = "shape"
    for name, other in (("grad_output", "output"), ("output", "grad_output")):
        if {name, other} <= call.arguments.keys():
            for shape in other_shapes(call.arguments[name].shape):
                yield "grad_output", Wrong(
                    zeros(*shape) if name == "grad_output" else call.arguments["grad_output"], ValueError, rule,
                    str(shape), others={} if name == "grad_output" else {"output": zeros(*shape)},
                )  # fmt: skip
    if "dim" in call.arguments:
        yield from (("dim", wrong) for wrong in no_integers())
        axes = np.ndim(call.arguments.get("input", call.arguments.get("output")))
        for value in (axes, -axes - 1, 2**31, -(2**61), 2**62, -(10**30)):
            yield "dim", Wrong(value, ValueError, "axis|" + BIG)
    if "pool_size" in call.arguments:
        for value in (3, 5, 2**31, 2**61):
            yield "pool_size", Wrong(value, ValueError, "must divide")
    if call.name.startswith("prelu"):
        yield from (("weight", wrong) for wrong in shapes([(), (3,), (5,), (0,), (4, 1), (2**31,)], "must have shape"))
    if "beta" in call.arguments and call.name.startswith("softplus"):
        yield "beta", Wrong(0, ValueError, "must not be 0")
    if "delta" in call.arguments:
        for value in (0, -1, -0.5):
            yield "delta", Wrong(value, ValueError, "positive")
    for name in ("weight", "pos_weight"):
        if name in call.arguments and "target" in call.arguments:
            classes = call.arguments["input"].shape[1]
            bad = [(classes + 1,), (classes - 1,), (0,), (2**31,), (1, 1, classes)]
            yield from ((name, wrong) for wrong in shapes(bad, "must have (a )?shape"))
    if "label_smoothing" in call.arguments:
        for value in (-0.1, 1.1, 2):
            yield "label_smoothing", Wrong(value, ValueError, "from 0 to 1")
    if "target" in call.arguments and "ignore_index" not in call.arguments:
        right = call.arguments["target"].shape
        yield from (("target", wrong) for wrong in shapes(other_shapes(right), "must have the shape of input"))
    elif "target" in call.arguments:
        classes = call.arguments["input"].shape[1]
        for place in (-1, classes, 2**31, 2**63 - 1, -(2**63)):
            yield "target", Wrong(np.array([0, place]), ValueError, "classes from 0", str(place))
        yield "target", Wrong(np.array([0, 2**64 - 1], np.uint64), ValueError, "classes from 0", "")
        for kind in ("f4", "?", "c8", "O", "U3", "M8[s]"):
            yield "target", Wrong(np.zeros(2, kind), TypeError, "integers", str(np.dtype(kind)))
        for shape in ((), (1,), (3,), (2, 1), (0,)):
            yield "target", Wrong(np.zeros(shape, int), ValueError, rule, str(shape))
        yield from (("input", wrong) for wrong in shapes([(), (2, 0)], "shape|class"))


def norms(call: Call) -> Iterator[tuple[str, Wrong]]:
    """Normalisation: shapes, the axis of channels, groups, single values."""
    x = call.arguments["input"].shape
    forward = not call.name.endswith("_backward")
    right = call.arguments.get("normalized_shape", (x[1],))
    for name in ("weight", "bias", "running_mean", "running_var", "mean", "var"):
        for shape in other_shapes(right) if name in call.arguments else ():
            yield name, Wrong(zeros(*shape), ValueError, "one entry for each that is scaled", str(shape))
    if "normalized_shape" in call.arguments:
        yield from (("normalized_shape", wrong) for wrong in (*no_integers(), *shape_values()))
        for value in ((x[-1] + 1,), x[-1] + 1, x[2:][::-1], (2, *x), 2**61):
            yield "normalized_shape", Wrong(value, ValueError, "end with the axes")
        return
    for shape in ((), (4,)):
        wrong = Wrong(zeros(*shape), ValueError, "two axes or more", str(shape))
        yield ("input", wrong if forward else replace(wrong, others={"grad_output": zeros(*shape)}))
    empty = (x[0], 0, *x[2:])
    yield "input", Wrong(zeros(*empty), ValueError, "at least one channel", str(empty))
    yield from (("channel_axis", wrong) for wrong in no_integers())
    for value in (4, -5, 2**31, -(2**61)):
        yield "channel_axis", Wrong(value, ValueError, "two axes or more")
    for value in (2**62, -(10**30)):
        yield "channel_axis", Wrong(value, ValueError, BIG)
    if "num_groups" in call.arguments:
        for value in (3, 5, 2**31, 2**61):
            yield "num_groups", Wrong(value, ValueError, "divisible by num_groups")
    if call.name in ("batch_norm", "instance_norm"):
        name = "training" if call.name == "batch_norm" else "use_input_stats"
        one = (1, x[1], 1)
        wrong = Wrong(zeros(*one), ValueError, "more than one value", str(one), others={name: True})
        yield "input", wrong
        for missing in ("running_mean", "running_var"):
            yield missing, Wrong(None, TypeError, "must be an array", others={name: False})
    if forward:
        huge = (HUGE // 4, x[1], 2)
        yield "input", Wrong(zeros(*huge), MemoryError, "cannot be held in memory", "")


def shape_values() -> Iterator[Wrong]:
    """What a shape may not be, besides no integers."""
    for value in (0, -1, (0,), (5, -1), np.int64(-3)):
        yield Wrong(value, ValueError, "positive")
    yield Wrong((), ValueError, "one axis or more")
    for value in (2**62, (10**30,)):
        yield Wrong(value, ValueError, BIG)


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
