"""What the convolutions of any number of axes share: from raw arguments to a plan that runs, and frozen weights.

A call: the raw arguments are the key of a cached recipe (problem, plan); only a new key is checked and planned.
"""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, _lowering, _ops, plan
from fastconv._check import Array, ConvProblem
from fastconv._threads import current
from fastconv.functional._fused import activated, activation_name, last_step, slope_of
from fastconv.functional._gradients import Gradients, Three, cast, nothing

__all__ = ["FrozenWeight", "Ints", "Padding", "backward", "explain_conv", "forward", "freeze_weight"]

Padding = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]
Ints = int | tuple[int, ...]


def _renew_lock() -> None:
    global _packing
    _packing = threading.RLock()


_packing = threading.RLock()  # reentrant: a signal handler may compute, too
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class FrozenWeight:
    """A private, read-only copy of a weight, with its packed forms; convolution takes it in place of `weight`.

    Packing is work that every call repeats, because nothing about an array is cached implicitly (it may change). A
    frozen weight cannot, so each plan packs it once.
    """

    def __init__(self, weight: ArrayLike) -> None:
        self.dtype, (array,) = _check.data("freeze_weight", weight=weight)
        self.array: Array = np.array(array, order="C")
        self.array.flags.writeable = False
        self._packed: dict[_engine.Plan, _engine.Packed | None] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.array.shape

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_packed": {}}  # a copy packs for itself

    def packed(self, recipe: _engine.Plan, array: Array) -> _engine.Packed | None:
        """Return the weight as this plan packs it; one thread packs, others wait for it."""
        if array is not self.array:  # promoted to another dtype for this call
            return None
        found = self._packed.get(recipe, self)
        if found is self:
            with _packing:
                if len(self._packed) >= 64:  # inputs of many sizes: keep memory bounded
                    self._packed.clear()
                if recipe not in self._packed:
                    self._packed[recipe] = recipe.pack(array, current())
                found = self._packed[recipe]
        return found  # type: ignore[return-value]


def freeze_weight(weight: ArrayLike) -> FrozenWeight:
    """Copy a weight so that convolutions with it pack it only once.

    Parameters
    ----------
    weight : array_like
        As for the convolution, e.g. ``(O, I / groups, kH, kW)``.

    Returns
    -------
    FrozenWeight
        To be passed in place of `weight`. Later changes of the array do not show.

    Raises
    ------
    TypeError
        If `weight` is not float16, float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> w = fc.functional.freeze_weight(np.ones((1, 1, 2, 2), np.float32))
    >>> fc.conv2d(np.ones((1, 3, 3), np.float32), w)
    array([[[4., 4.],
            [4., 4.]]], dtype=float32)
    """
    return FrozenWeight(weight)


class _Recipe(NamedTuple):
    """What a forward call computes."""

    shape: tuple[int, ...]  # of the result
    plan: _engine.Plan | None  # None: the reference computes, or there is nothing to compute
    product: bool  # the plan is a matrix product, of operands without gaps
    last: _engine.Plan | None  # what follows, in place


def _bad_algorithm(op: str, algorithm: Any) -> None:
    _check.choice(op, "algorithm", algorithm, plan.ALGORITHMS)


def _problem(
    op: str, n: int, x: Array, w: Array, options: tuple[Any, ...], transposed: bool
) -> tuple[ConvProblem, tuple[int, ...]]:
    """Check shapes and options; returns the problem and the shape of the operator's result."""
    stride, padding, dilation, groups, algorithm, output_padding = options
    _bad_algorithm(op, algorithm)
    batched, x_shape = _check.shape_of(op, "input", x, n)
    if transposed:
        problem = _check.conv_transpose_problem(
            op, n, x_shape, batched, w.shape, stride, padding, output_padding, groups, dilation
        )
        return problem, problem.input_shape
    problem = _check.conv_problem(op, n, x_shape, batched, w.shape, stride, padding, dilation, groups)
    return problem, problem.output_shape


def _is_product(op: str, problem: ConvProblem, kind: int, algorithm: str) -> bool:
    """Whether to multiply matrices; a transposed convolution's bias is not one for each column."""
    return algorithm == "auto" and problem.whole and (kind != _ops.CONV_INPUT_GRAD or op.endswith("d_backward"))


def _plan(
    op: str, problem: ConvProblem, kind: int, dtype: np.dtype[Any], algorithm: str, slope: float | None = None
) -> tuple[_engine.Plan | None, str]:
    """Plan a problem whose arguments were checked, or return None; and the reason."""
    if algorithm == "naive":
        return None, "asked for by name"
    if 0 in problem.input_shape or 0 in problem.output_shape:
        return None, "nothing to compute"
    for size in (problem.input_shape, problem.weight_shape, problem.output_shape):
        _check.countable(op, size, dtype)
    if _is_product(op, problem, kind, algorithm):
        product = _lowering.whole_plan(problem, kind, dtype, slope)
        return product, "the kernel covers the whole input: one matrix product"
    reason, named = "asked for by name", algorithm != "auto"
    if algorithm == "col2im" and kind == _ops.CONV_WEIGHT_GRAD:  # it has none of its own
        algorithm = "direct"
    if algorithm == "auto":
        choose = plan.choose_weight_grad if kind == _ops.CONV_WEIGHT_GRAD else None
        algorithm, reason = choose(problem, dtype) if choose else plan.choose_conv(problem, kind, dtype)
    try:
        return _lowering.conv_plan(problem, kind, dtype, algorithm, slope), reason
    except _engine.Unsupported as error:
        if named:
            raise ValueError(f"{op}: {error}, received algorithm={algorithm!r}") from None
        return _lowering.conv_plan(problem, kind, dtype, "im2col", slope), f"{error}"


def _restore_half(kind: np.dtype[Any], dtype: np.dtype[Any], frozen: FrozenWeight | None) -> np.dtype[Any]:
    """Return float16 where the input is: a frozen float16 weight is held in float32."""
    return np.dtype(np.float16) if frozen and frozen.dtype == np.float16 and dtype == np.float16 else kind


def _finish(result: Array, kind: np.dtype[Any], out: Any) -> Array:
    if out is not None:
        if out is not result:
            out[...] = result
        return out  # type: ignore[no-any-return]
    return result if result.dtype == kind else result.astype(kind)


# ---------------------------------------------------------------------------------------------------- forward


def forward(
    op: str,
    n: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    algorithm: Any,
    out: Any,
    transposed: bool = False,
    output_padding: Any = 0,
    activation: Any = None,
) -> Array:
    weight, frozen = (weight.array, weight) if type(weight) is FrozenWeight else (weight, None)
    options = (stride, padding, dilation, groups, algorithm, output_padding)
    known: _Recipe | None = plan.recall(op, input, weight, bias, (*options, activation))
    if known is not None and known.plan is not None:
        try:
            packed = frozen.packed(known.plan, weight) if frozen else None
            if out is None:
                result = known.plan.compute(input, weight, bias, packed)
                return result if known.last is None else activated(result, known.last)
            if _check.output(op, out, known.shape, input.dtype, (input, weight, bias)) is not None:
                known.plan.run(input, weight, bias, out, current(), packed)
                return activated(out, known.last)
        except MemoryError:
            pass  # said below, with the operator's name
    kind, (x, w, b) = _check.data(op, input=input, weight=weight, bias=bias)
    if frozen:
        kind = _restore_half(kind, np.asarray(input).dtype, frozen)

    ending = activation_name(op, activation)

    def make() -> _Recipe:
        problem, shape = _problem(op, n, x, w, options, transposed)
        _check.bias_shape(op, b, shape[-1 - n])
        of = _ops.CONV_INPUT_GRAD if transposed else _ops.CONV
        slope = None if transposed else slope_of(ending)
        found, _ = _plan(op, problem, of, x.dtype, algorithm, slope)
        last = last_step(ending, shape, x.dtype, stored=found is not None and not transposed)
        return _Recipe(shape, found, _is_product(op, problem, of, algorithm), last)

    recipe = plan.recipe_of(op, (x, w, b), (*options, activation), make)
    straight = None if out is None else _check.output(op, out, recipe.shape, kind, (x, w, b))
    if algorithm == "naive":
        from fastconv import reference  # only where it is asked for

        naive = getattr(reference, op)
        extra = (output_padding, groups, dilation) if transposed else (dilation, groups)
        return _finish(activated(naive(x, w, b, stride, padding, *extra), recipe.last), kind, out)
    result = _check.result(op, recipe.shape, x.dtype) if straight is None else straight
    if recipe.plan is None:
        if result.size:  # nothing to sum (an input without elements, padded to some): only the bias
            result[...] = 0 if b is None else b.reshape(-1, *[1] * n)
    else:
        packed = frozen.packed(recipe.plan, w) if frozen else None
        if recipe.product:
            x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
        recipe.plan.run(_check.layout(x), w, b, result, current(), packed)
    return _finish(activated(result, recipe.last), kind, out)


# ---------------------------------------------------------------------------------------------------- backward


def backward(
    op: str,
    n: int,
    grad_output: Any,
    input: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    needs: Any,
    algorithm: Any,
    transposed: bool = False,
    output_padding: Any = 0,
) -> Three:
    weight, frozen = (weight.array, weight) if type(weight) is FrozenWeight else (weight, None)
    options = (stride, padding, dilation, groups, algorithm, output_padding)
    known: Gradients | None = plan.recall(op, grad_output, input, weight, (*options, needs))
    if known is not None:
        packed = frozen.packed(known.input, weight) if frozen and known.input else None
        return known.compute(op, grad_output, input, weight, packed)
    kind, (gy, x, w) = _check.data(op, grad_output=grad_output, input=input, weight=weight)
    if frozen:
        kind = _restore_half(kind, np.asarray(input).dtype, frozen)
    wanted = _check.needs(op, needs)

    def make() -> Gradients | None:
        problem, shape = _problem(op, n, x, w, options, transposed)
        _check.grad(op, gy, shape)
        kinds = (_ops.CONV if transposed else _ops.CONV_INPUT_GRAD, _ops.CONV_WEIGHT_GRAD)
        to_input, _ = _plan(op, problem, kinds[0], gy.dtype, algorithm)  # though it may not be wanted: it checks names
        if to_input is None:
            return None
        to_weight = _plan(op, problem, kinds[1], gy.dtype, algorithm)[0] if wanted[1] else None
        sums = _lowering.channel_sum_plan(shape, gy.ndim - n - 1, gy.dtype) if wanted[2] else None
        product = _is_product(op, problem, kinds[1], algorithm)
        order = (0, 1) if product != transposed else (1, 0)
        return Gradients(to_input if wanted[0] else None, to_weight, sums, order, product)

    found = plan.recipe_of(op, (gy, x, w), (*options, needs), make)
    if found is not None:
        packed = frozen.packed(found.input, w) if frozen and found.input else None
        grads = found.compute_any(op, gy, x, w, gy.ndim - n - 1, packed)
    elif algorithm == "naive":
        from fastconv import reference

        extra = {"output_padding": output_padding} if transposed else {}
        grads = getattr(reference, op)(
            gy, x, w, stride=stride, padding=padding, dilation=dilation, groups=groups, needs=needs, **extra
        )
    else:
        grads = nothing(op, gy, x, w, gy.ndim - n - 1, wanted)
    return cast(grads, kind)


# ---------------------------------------------------------------------------------------------------- explain


def explain_conv(name: str, *args: Any, **kwargs: Any) -> list[plan.Explanation]:
    """Explain what the named convolution, or its backward, would run for these arguments."""
    backward = name.endswith("_backward")
    forward_name = name.removesuffix("_backward")
    transposed = "transpose" in forward_name
    n = int(forward_name[-2])
    names = ["input", "weight", "bias", "stride", "padding"]
    names += ["output_padding", "groups", "dilation"] if transposed else ["dilation", "groups"]
    if backward:
        names = ["grad_output", "input", "weight"][-len(args) if 1 < len(args) < 3 else 0 :]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    weight = given.get("weight")
    _, (x, w) = _check.data(
        name, input=given.get("input"), weight=weight.array if type(weight) is FrozenWeight else weight
    )
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "algorithm": "auto", "output_padding": 0}
    options = tuple(given.get(option, default) for option, default in defaults.items())
    problem, _ = _problem(name, n, x, w, options, transposed)
    algorithm = options[4]
    forward, input_grad = (_ops.CONV_INPUT_GRAD, _ops.CONV) if transposed else (_ops.CONV, _ops.CONV_INPUT_GRAD)
    wanted = {name: forward}
    if backward:
        wanted = {f"{name} (input gradient)": input_grad, f"{name} (weight gradient)": _ops.CONV_WEIGHT_GRAD}
    found = []
    for label, kind in wanted.items():
        planned, reason = _plan(name, problem, kind, x.dtype, algorithm)
        if planned is None:
            found.append(plan.Explanation(label, "naive" if algorithm == "naive" else "none", reason))
        else:
            found.append(plan.Explanation.of(label, planned, reason))
    return found
