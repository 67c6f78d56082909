"""How elementwise operators are computed: functions of one or two arrays, by name, on the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _check, _engine, _lowering, plan
from fastconv._check import Array
from fastconv._threads import current

__all__ = ["evaluate", "gradient", "total", "unary"]


def unary(op: str, input: Any, options: Array | None = None, *, name: str = "") -> Array:
    """Return a function of `input`: that of the operator's name, if no other is given."""
    name = name or op
    known: _engine.Plan | None = plan.recall(op, input, None, None, (name,))
    if known is not None:
        try:
            return known.compute(input, None, options)
        except MemoryError:
            pass  # said below, with the operator's name
    dtype, (x,) = _check.data(op, input=input)
    return evaluate(op, name, dtype, x, None, options)


def gradient(
    op: str, grad_output: Any, saved: Any, options: Array | None = None, *, of: str = "input", name: str = ""
) -> Array:
    """Return the input's gradient from that of the output and what was saved: the forward call's ``of``."""
    name = name or op.replace("_backward", "_grad")
    known: _engine.Plan | None = plan.recall(op, grad_output, saved, None, (name,))
    if known is not None:
        try:
            return known.compute(grad_output, saved, options)
        except MemoryError:
            pass  # said below, with the operator's name
    dtype, (grad, kept) = _check.data(op, grad_output=grad_output, **{of: saved})
    _check.grad(op, grad, kept.shape)
    return evaluate(op, name, dtype, grad, kept, options)


def total(op: str, first: Any, second: Any, *, rectify: bool = False) -> Array:
    """Return the sum of two arrays of one shape, or max(sum, 0): one pass over memory instead of two."""
    name = "add_relu" if rectify else "add"
    known: _engine.Plan | None = plan.recall(op, first, second, None, (name,))
    if known is not None:
        try:
            return known.compute(first, second, None)
        except MemoryError:
            pass  # said below, with the operator's name
    dtype, (a, b) = _check.data(op, first=first, second=second)
    return evaluate(op, name, dtype, a, b)


def evaluate(
    op: str,
    name: str,
    dtype: np.dtype[Any],
    a: Array,
    b: Array | None = None,
    options: Array | None = None,
    weight: Array | None = None,
) -> Array:
    """Return the function `name` of checked arrays of one shape, in `dtype`.

    `options` are three float64; `weight` is an option for each channel, the second axis, or for all.
    """
    result = _check.result(op, a.shape, a.dtype)
    if result.size:
        a, b, to = np.asarray(a, order="C"), None if b is None else np.asarray(b, order="C"), result
        if a.ndim == 0:  # the engine's limit
            a, b, to = a.reshape(1), None if b is None else b.reshape(1), result.reshape(1)
        weight = None if weight is None else np.asarray(weight, a.dtype, order="C")
        shape, real, channels = a.shape, a.dtype, 1 if weight is None else weight.size

        def make() -> _engine.Plan:
            return _lowering.elementwise_plan(name, shape, real, channels)

        found = plan.recipe_of(op, (a, b, weight), (name,), make)
        found.run(a, b, options if weight is None else weight, to, current())
    return result if result.dtype == dtype else result.astype(dtype)
