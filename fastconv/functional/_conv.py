"""What the convolutions of any number of axes share: from raw arguments to a plan that runs, and frozen weights.

A call: the raw arguments are the key of a cached recipe (problem, plan); only a new key is checked and planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check, _engine, plan, reference
from fastconv._check import Array, ConvProblem
from fastconv._threads import current

__all__ = ["FrozenWeight", "Ints", "Padding", "backward", "explain_conv", "forward", "freeze_weight"]

Padding = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]
Ints = int | tuple[int, ...]


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
        """Return the weight as this plan packs it."""
        if array is not self.array:  # promoted to another dtype for this call
            return None
        if recipe not in self._packed:
            if len(self._packed) >= 64:  # inputs of many sizes: keep memory bounded
                self._packed.clear()
            self._packed[recipe] = recipe.pack(array, current())
        return self._packed[recipe]


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


@dataclass(frozen=True)
class _Recipe:
    problem: ConvProblem
    shape: tuple[int, ...]  # of the result
    plan: _engine.Plan | None  # None: the reference computes, or there is nothing to compute
    reason: str
    product: bool = False  # the plan is a matrix product of gradient and weight, as matrices


def _bad_algorithm(op: str, algorithm: Any) -> None:
    _check.choice(op, "algorithm", algorithm, plan.ALGORITHMS)


def _make(
    op: str, problem: ConvProblem, kind: int, dtype: np.dtype[Any], algorithm: str, shape: tuple[int, ...]
) -> _Recipe:
    if algorithm == "naive":
        return _Recipe(problem, shape, None, "asked for by name")
    if 0 in problem.input_shape or 0 in problem.output_shape:
        return _Recipe(problem, shape, None, "nothing to compute")
    for size in (problem.input_shape, problem.weight_shape, problem.output_shape):
        _check.countable(op, size, dtype)
    reason, named = "asked for by name", algorithm != "auto"
    if algorithm == "auto" and kind == plan.CONV_INPUT_GRAD and op.endswith("d_backward") and problem.whole:
        columns = math.prod(problem.weight_shape[1:])  # padded, its gradient would mostly multiply zeros
        product = plan.matmul_plan(problem.batch, columns, problem.out_channels, dtype)
        return _Recipe(problem, shape, product, "the kernel covers the whole input: one matrix product", True)
    if algorithm == "auto" or (algorithm == "winograd" and kind == plan.CONV_WEIGHT_GRAD):
        choose = plan.choose_weight_grad if kind == plan.CONV_WEIGHT_GRAD else None
        algorithm, reason = choose(problem, dtype) if choose else plan.choose_conv(problem, kind, dtype)
    try:
        return _Recipe(problem, shape, plan.conv_plan(problem, kind, dtype, algorithm), reason)
    except _engine.Unsupported as error:
        if named:
            raise ValueError(f"{op}: {error}, received algorithm={algorithm!r}") from None
        return _Recipe(problem, shape, plan.conv_plan(problem, kind, dtype, "im2col"), f"{error}")


def _recipe(key: tuple[Any, ...], options: tuple[Any, ...], make: Callable[[], _Recipe]) -> _Recipe:
    if plan.exact(*options):
        full: Hashable = (key, plan.typed(*options))
        return plan.cached(full, make)
    return make()


def _weight_of(op: str, weight: Any) -> tuple[Any, FrozenWeight | None]:
    return (weight.array, weight) if type(weight) is FrozenWeight else (weight, None)


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
) -> Array:
    weight, frozen = _weight_of(op, weight)
    kind, (x, w, b) = _check.data(op, input=input, weight=weight, bias=bias)
    if frozen:
        kind = _restore_half(kind, np.asarray(input).dtype, frozen)

    def make() -> _Recipe:
        _bad_algorithm(op, algorithm)
        batched, x_shape = _check.shape_of(op, "input", x, n)
        if transposed:
            problem = _check.conv_transpose_problem(
                op, n, x_shape, batched, w.shape, stride, padding, output_padding, groups, dilation
            )
            return _make(op, problem, plan.CONV_INPUT_GRAD, x.dtype, algorithm, problem.input_shape)
        problem = _check.conv_problem(op, n, x_shape, batched, w.shape, stride, padding, dilation, groups)
        return _make(op, problem, plan.CONV, x.dtype, algorithm, problem.output_shape)

    recipe = _recipe(
        (op, x.shape, w.shape, x.dtype.num), (stride, padding, dilation, groups, algorithm, output_padding), make
    )
    channels = recipe.shape[-1 - n]
    if b is not None:
        _check.bias_shape(op, b, channels)
    straight = None if out is None else _check.output(op, out, recipe.shape, kind, (x, w, b))
    if algorithm == "naive":
        naive = getattr(reference, op)
        extra = (output_padding, groups, dilation) if transposed else (dilation, groups)
        return _finish(naive(x, w, b, stride, padding, *extra), kind, out)
    result = _check.result(op, recipe.shape, x.dtype) if straight is None else straight
    if recipe.plan is None:
        if result.size:  # nothing to sum (an input without elements, padded to some): only the bias
            result[...] = 0 if b is None else b.reshape(-1, *[1] * n)
    else:
        packed = frozen.packed(recipe.plan, w) if frozen else None
        recipe.plan.run(_check.layout(x), w, b, result, current(), packed)
    return _finish(result, kind, out)


# ---------------------------------------------------------------------------------------------------- backward


def _bias_grad(gy: Array, n: int) -> Array:
    """Sum over images and pixels: each plane first, which NumPy adds pairwise; repeated axes are multiplied."""
    channel = gy.ndim - n - 1
    repeats = [axis != channel and gy.strides[axis] == 0 and gy.shape[axis] > 1 for axis in range(gy.ndim)]
    times = math.prod(size for size, repeated in zip(gy.shape, repeats, strict=True) if repeated)
    gy = gy[tuple(slice(0, 1) if repeated else slice(None) for repeated in repeats)]
    planes = gy.reshape(*gy.shape[: channel + 1], math.prod(gy.shape[channel + 1 :])).sum(axis=-1)
    total: Array = planes.sum(axis=0) if planes.ndim == 2 else planes
    return total * gy.dtype.type(times) if times > 1 else total


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
) -> tuple[Array | None, Array | None, Array | None]:
    weight, frozen = _weight_of(op, weight)
    kind, (gy, x, w) = _check.data(op, grad_output=grad_output, input=input, weight=weight)
    if frozen:
        kind = _restore_half(kind, np.asarray(input).dtype, frozen)
    need_x, need_w, need_b = _check.needs(op, needs)
    options = (stride, padding, dilation, groups, algorithm, output_padding)

    def make(of: int) -> _Recipe:
        _bad_algorithm(op, algorithm)
        batched, x_shape = _check.shape_of(op, "input", x, n)
        if transposed:
            problem = _check.conv_transpose_problem(
                op, n, x_shape, batched, w.shape, stride, padding, output_padding, groups, dilation
            )
            _check.grad(op, gy, problem.input_shape)
        else:
            problem = _check.conv_problem(op, n, x_shape, batched, w.shape, stride, padding, dilation, groups)
            _check.grad(op, gy, problem.output_shape)
        return _make(op, problem, of, gy.dtype, algorithm, x.shape if of != plan.CONV_WEIGHT_GRAD else w.shape)

    def recipe(of: int) -> _Recipe:
        return _recipe((op, of, gy.shape, x.shape, w.shape, x.dtype.num), options, lambda: make(of))

    to_input = plan.CONV if transposed else plan.CONV_INPUT_GRAD
    first = recipe(to_input)  # checks everything, also where nothing but the bias gradient is asked for
    gx: Array | None = None
    gw: Array | None = None
    gb: Array | None = None
    if algorithm == "naive":
        naive = getattr(reference, op)
        extra = {"output_padding": output_padding} if transposed else {}
        found = naive(gy, x, w, stride=stride, padding=padding, dilation=dilation, groups=groups, needs=needs, **extra)
        gx, gw, gb = found
    else:
        gy = _check.layout(gy)
        if need_x:
            gx = _check.result(op, x.shape, gy.dtype, zero=first.plan is None)
            if first.plan is not None and first.product:
                rows = first.problem.batch
                first.plan.run(gy.reshape(rows, -1), w.reshape(len(w), -1), None, gx.reshape(rows, -1), current())
            elif first.plan is not None:
                first.plan.run(gy, w, None, gx, current(), frozen.packed(first.plan, w) if frozen else None)
        if need_w:
            second = recipe(plan.CONV_WEIGHT_GRAD)
            gw = _check.result(op, w.shape, gy.dtype, zero=second.plan is None)
            if second.plan is not None:
                x = _check.layout(x)
                pair = (gy, x) if transposed else (x, gy)  # the roles of input and result are exchanged
                second.plan.run(*pair, None, gw, current())
        if need_b:
            gb = _bias_grad(gy, n)
    gx, gw, gb = (g if g is None or g.dtype == kind else g.astype(kind) for g in (gx, gw, gb))
    return gx, gw, gb


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
    weight, _ = _weight_of(name, given.get("weight"))
    _, (x, w) = _check.data(name, input=given.get("input"), weight=weight)
    batched, x_shape = _check.shape_of(name, "input", x, n)
    stride, padding, dilation, groups = (
        given.get(k, d) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
    )
    algorithm = given.get("algorithm", "auto")
    _bad_algorithm(name, algorithm)
    if transposed:
        problem = _check.conv_transpose_problem(
            name, n, x_shape, batched, w.shape, stride, padding, given.get("output_padding", 0), groups, dilation
        )
    else:
        problem = _check.conv_problem(name, n, x_shape, batched, w.shape, stride, padding, dilation, groups)
    forward, input_grad = (plan.CONV_INPUT_GRAD, plan.CONV) if transposed else (plan.CONV, plan.CONV_INPUT_GRAD)
    wanted = {name: forward}
    if backward:
        wanted = {f"{name} (input gradient)": input_grad, f"{name} (weight gradient)": plan.CONV_WEIGHT_GRAD}
    found = []
    for label, kind in wanted.items():
        recipe = _make(name, problem, kind, x.dtype, algorithm, ())
        if recipe.plan is None:
            found.append(plan.Explanation(label, "naive" if algorithm == "naive" else "none", recipe.reason))
        else:
            found.append(plan.Explanation.of(label, recipe.plan, recipe.reason))
    return found
