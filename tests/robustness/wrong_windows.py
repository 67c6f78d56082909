"""What only operators with windows can get wrong: convolution, pooling, unfolding; and what their gradients can."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan

import numpy as np
from calls import Call
from right import HUGE, result_shape
from wrong import BIG, Opaque, Wrong, other_shapes, shapes, zeros

GRADIENT = r"must have (the )?(shape|axes|batch and channels)|columns|rows|only the batch may be empty"


def gradients(call: Call) -> Iterator[Wrong]:
    """Gradients of another shape than the forward result's."""
    right = np.shape(call.arguments["grad_output"])
    # One number is a loss's gradient, and has no axis `dim`.
    others = [shape for shape in other_shapes(right) if shape or not {"target", "choice"} & call.arguments.keys()]
    if call.name.startswith("dropout2d"):  # whose mask tells batch and channels only
        others = [shape for shape in others if len(shape) != len(right) or shape[:2] != right[:2]]
    for wrong in shapes(others, GRADIENT):
        if "adaptive_avg" not in call.name or not another_size(np.shape(wrong.value), right, call.axes):
            yield wrong


def another_size(shape: tuple[int, ...], right: tuple[int, ...], axes: int) -> bool:
    """Whether a shape differs in spatial sizes only, which some operators take as they come."""
    return len(shape) == len(right) and shape[:-axes] == right[:-axes] and 0 not in shape


def input_shapes(call: Call) -> Iterator[Wrong]:
    """Declared shapes of an input that do not agree with the gradient, or are no shape."""
    right = call.arguments["input_shape"]
    rule = "shape|axes|entries|sequence|fit|positive|non-negative|channel|empty|input_shape must"
    for shape in other_shapes(right):
        if not another_size(shape, right, call.axes):  # it may be right too (it is tried with windows, below)
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
            (free and another_size(shape, right.shape, call.axes)) or (free and 0 in shape[-call.axes :])
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
        yield from outputs(call)
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
        yield from outputs(call)
    for value in (9, 2**31, 2**61):
        yield "dilation", Wrong(value, ValueError, "must fit the padded input|2\\*\\*", f"dilation={value}")
    yield "weight", Wrong(zeros(*w[:-1], 2**40), ValueError, "must fit the padded input", "")
    yield "input", Wrong(zeros(*x[:-1], 0), ValueError, "must fit the padded input", "0 + 1 + 1")


def outputs(call: Call) -> Iterator[tuple[str, Wrong]]:
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
