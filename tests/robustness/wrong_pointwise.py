"""What only operators without windows can get wrong: padding, linear, activations, losses, normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from calls import Call
from right import HUGE
from wrong import BIG, Opaque, Wrong, no_integers, other_shapes, per_axis, shapes, zeros
from wrong_windows import outputs


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
        yield from outputs(call)
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
        axes = np.ndim(next(call.arguments[name] for name in ("input", "output", "choice") if name in call.arguments))
        for value in (axes, -axes - 1, 2**31, -(2**61), 2**62, -(10**30)):
            yield "dim", Wrong(value, ValueError, "axis|" + BIG)
        if "input" in call.arguments:  # which must not be looked through before room is made
            yield "input", Wrong(zeros(2, 2**40), MemoryError, "cannot be held in memory", "")
    if "pool_size" in call.arguments and "input" in call.arguments:
        for value in (3, 5, 2**31, 2**61):
            yield "pool_size", Wrong(value, ValueError, "must divide")
    if "choice" in call.arguments:
        right = call.arguments["choice"].shape
        for place in (-1, 2, 2**31, 2**63 - 1, -(2**63)):
            yield "choice", Wrong(np.full(right, place), ValueError, "0 to 1|below", str(place))
        for kind in ("f4", "?", "c8", "O", "U3"):
            yield "choice", Wrong(np.zeros(right, kind), TypeError, "integers", str(np.dtype(kind)))
        for shape in ((), right[1:], (*right, 1), (0, *right[1:])):
            yield "choice", Wrong(np.zeros(shape, int), ValueError, rule, str(shape), "choice|grad_output")
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


def dropping(call: Call) -> Iterator[tuple[str, Wrong]]:
    """Dropout of elements and of channels: probabilities, masks, seeds."""
    for value in (-0.1, 1.1, 2, -1):
        yield "p", Wrong(value, ValueError, "from 0 to 1")
    if "generator" in call.arguments:
        yield "generator", Wrong(-1, ValueError, "non-negative")
        for seed in (1.5, "seed", True, np.random):
            yield "generator", Wrong(seed, TypeError, "seed")
        return
    right = call.arguments["mask"].shape
    for kind in ("f4", "i8", "u1", "c8", "O", "U3"):
        yield "mask", Wrong(np.zeros(right, kind), TypeError, "booleans", str(np.dtype(kind)))
    for shape in ((), right[1:], (*right, 1), (0, *right[1:]), (right[0], right[1] + 1, *right[2:])):
        yield "mask", Wrong(np.zeros(shape, bool), ValueError, "must have the shape", str(shape))


def resizing(call: Call) -> Iterator[tuple[str, Wrong]]:
    """interpolate and its gradient: either sizes or factors."""
    for wrong in per_axis(call.axes, 1, optional=True):
        yield "size", replace(wrong, others={"scale_factor": None})
    for name, value, other in (("size", 4, 2), ("scale_factor", None, None)):
        others = {"scale_factor": other} if name == "size" else {}
        yield name, Wrong(value, ValueError, "either size or scale_factor", others=others)
    if "input" in call.arguments:
        x = call.arguments["input"].shape
        empty = zeros(*x[:-1], 0)
        others = {"size": 4, "scale_factor": None}
        yield "input", Wrong(empty, ValueError, "elements to take", str(empty.shape), others=others)
        for name in ("size", "scale_factor"):
            others = {"size": None, "scale_factor": None, name: 2**31}
            yield "input", Wrong(zeros(*x), MemoryError, "cannot be (had|held)", "", others=others)


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
