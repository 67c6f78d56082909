"""How losses of single elements are computed: in one pass on the engine, by recipes that later calls find again."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

import numpy as np

from fastconv import _check, _engine, _lowering, plan
from fastconv._check import Array
from fastconv.functional._norm import compute
from fastconv.functional._reduction import checked, scale

__all__ = ["Form", "difference", "losses", "slope", "slopes"]


class Form(NamedTuple):
    """A function of src/losses.inc and its options: where a parabola ends (or the largest slope), and a factor."""

    name: str
    width: float = 0.0
    factor: float = 0.0
    each: bool = True  # whether its third operand is the gradient of each loss


class _Recipe(NamedTuple):
    plan: _engine.Plan
    numbers: Array  # width, factor, multiplier of gradients, third operand where that is a number
    reduction: str
    divisor: int
    each: bool  # a gradient for each loss, as the third operand

    @staticmethod
    def of(x: Array, form: Form, reduction: str, each: bool = False) -> _Recipe:
        total = reduction != "none" and not form.name.endswith("_grad")
        divisor = x.size if reduction == "mean" else 1
        found = _lowering.loss_plan(form.name, x.shape, x.dtype, divisor if total else 0)
        return _Recipe(found, np.array([form.width, form.factor, 1.0, 1.0]), reduction, divisor, each)

    def value(self, op: str, x: Array, t: Array, third: Array | None = None) -> Any:
        losses = compute(op, self.plan, x, t, self.numbers, third)
        return losses if self.reduction == "none" else losses[0]

    def gradient(self, op: str, x: Array, t: Array, grad: Any, third: Array | None = None) -> Array:
        if self.each:
            return compute(op, self.plan, x, t, self.numbers, grad)
        if type(grad) is not float and grad.ndim:
            result = compute(op, self.plan, x, t, self.numbers, third)
            with np.errstate(all="ignore"):  # 0 * inf is NaN, as it should be
                result *= grad
            return result
        numbers = self.numbers.copy()
        numbers[2] = grad / self.divisor
        return compute(op, self.plan, x, t, numbers, third)


def difference(
    op: str,
    input: Any,
    target: Any,
    reduction: str,
    options: tuple[Any, ...],
    form_of: Callable[[Array], Form],
) -> Any:
    """Return a loss of two arrays, reduced; `form_of` checks the options, for arrays like its argument."""
    key = (reduction, *options)
    known: _Recipe | None = plan.recall(op, input, target, None, key)
    if known is not None:
        return known.value(op, input, target)
    dtype, (x, t) = _check.data(op, input=input, target=target)
    checked(op, reduction)
    _check.one_shape(op, x, t)
    form = form_of(x)
    with np.errstate(all="ignore"):  # where float16 overflows
        if reduction == "none":
            return losses(op, form, x, t, key=key).astype(dtype, copy=False)
        if x.size == 0:
            return dtype.type(nan if reduction == "mean" else 0)
        x, t = _lines(op, x), _lines(op, t)
        found = plan.recipe_of(op, (x, t, None), key, lambda: _Recipe.of(x, form, reduction))
        return dtype.type(found.value(op, x, t))


def losses(
    op: str, form: Form, x: Array, t: Array, third: Array | None = None, key: tuple[Any, ...] | None = None
) -> Array:
    """Return the losses of all elements of checked arrays of one shape."""
    if x.size == 0:
        return _check.result(op, x.shape, x.dtype)
    a, b, c = _lines(op, x), _lines(op, t), None if third is None else _lines(op, third)
    found = plan.recipe_of(op, (a, b, None), ("losses",) if key is None else key, lambda: _Recipe.of(a, form, "none"))
    result: Array = found.value(op, a, b, c)
    return result.reshape(x.shape)


def slope(
    op: str,
    grad_output: Any,
    input: Any,
    target: Any,
    reduction: str,
    options: tuple[Any, ...],
    form_of: Callable[[Array], Form],
) -> Array:
    """Return the gradient of a loss's input, from that of the loss."""
    number = type(grad_output) is float
    key = (reduction, number, *options)
    known: _Recipe | None = plan.recall(op, input, target, None if number else grad_output, key)
    if known is not None:
        return known.gradient(op, input, target, grad_output)
    dtype, (grad, x, t) = _check.data(op, grad_output=grad_output, input=input, target=target)
    checked(op, reduction)
    _check.one_shape(op, x, t)
    form = form_of(x)
    result = slopes(op, form, grad_output if number else grad, x, t, reduction, None, key)
    with np.errstate(all="ignore"):  # where float16 overflows
        return result.astype(dtype, copy=False)


def slopes(
    op: str,
    form: Form,
    grad: Array | float,
    x: Array,
    t: Array,
    reduction: str,
    third: Array | None = None,
    key: tuple[Any, ...] | None = None,
) -> Array:
    """Return the gradient for checked arrays."""
    given = None if isinstance(grad, float) else grad
    if given is not None:
        scale(op, given, x.shape, reduction, x.size)  # checks the shape
    if x.size == 0:
        return _check.result(op, x.shape, x.dtype)
    each = given is not None and given.ndim > 0 and form.each
    a, b, c = _lines(op, x), _lines(op, t), None if third is None else _lines(op, third)
    if given is not None and given.ndim:
        given = _check.dense(op, "grad_output", given)

    def make() -> _Recipe:
        return _Recipe.of(a, form, reduction, each)

    found = plan.recipe_of(op, (a, b, given), ("slopes", reduction) if key is None else key, make)
    return found.gradient(op, a, b, grad if given is None else given, c).reshape(x.shape)


def _lines(op: str, array: Array) -> Array:
    """Return an array without gaps, of an axis at least."""
    return _check.dense(op, "an argument", array if array.ndim else array.reshape(1))
