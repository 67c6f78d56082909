"""Which algorithm for which problem (by the estimates in `_costs`), and the bounded cache of plans.

One readable function per operator chooses; it looks at the shape, the dtype and the instruction set only, so that
results do not change between machines of one instruction set. `_lowering` then tells the driver; everything else about
a plan (blocks, stages, tasks) is the C algorithm's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastconv import _engine
from fastconv._check import Array, ConvProblem
from fastconv._config import current_isa, current_precision
from fastconv._costs import (
    Sizes,
    allows_winograd,
    bands_cycles,
    col2im_cycles,
    depthwise_cycles,
    direct_cycles,
    fits_col2im,
    fits_grouped,
    fits_planes,
    fits_winograd,
    flat_cycles,
    grouped_cycles,
    im2col_cycles,
    lanes_of,
    products_a_cycle,
    short_of_rows,
    sizes_of,
    wgrad_direct_cycles,
    wgrad_swapped_cycles,
    wgrad_winograd_cycles,
    winograd_cycles,
)
from fastconv._ops import CONV, CONV_INPUT_GRAD, CONV_WEIGHT_GRAD

__all__ = [
    "ALGORITHMS",
    "Explanation",
    "cached",
    "choose_conv",
    "choose_weight_grad",
    "clear",
    "exact",
    "plans",
    "recall",
    "recipe_of",
]

#: Names that ``algorithm=`` takes; "naive" is the reference in NumPy.
ALGORITHMS = ("auto", "direct", "im2col", "col2im", "depthwise", "grouped", "winograd", "naive")

# ---------------------------------------------------------------------------------------------------- the cache

_CACHE_LIMIT = 1024
_recipes = _engine.Recipes(_CACHE_LIMIT)
_cache = _recipes.found
T = TypeVar("T")

#: ``recall(op, a, b, c, options)``: the recipe of an earlier call like this one, or None; see `recipe_of`.
recall = _recipes.recall


def recipe_of(op: str, operands: tuple[Array | None, ...], options: tuple[Any, ...], make: Callable[[], T]) -> T:
    """Return what `make` gives, or what it gave for operands of these shapes and this dtype and these options before.

    `make` has to check everything that the key holds: a later call like this one finds the recipe by `recall`.
    """
    a, b, c = operands
    key = _recipes.key(op, a, b, c, options)
    found: T | None = None if key is None else _cache.get(key)
    if found is None:
        found = make()
        if key is not None and found is not None:
            _recipes.keep(key, found)
    return found


def exact(*values: Any) -> bool:
    """Whether raw arguments may be a cache key: 1, 1.0 and True are equal and hash alike, so only exact types may."""
    for v in values:
        kind = type(v)
        if kind is tuple:
            if not exact(*v):
                return False
        elif kind is not int and kind is not str and kind is not bool and v is not None:
            return False
    return True


def typed(*values: Any) -> tuple[Any, ...]:
    """Return a cache key of exact values in which False is not 0 and True is not 1."""
    return tuple(typed(*v) if type(v) is tuple else (v,) if type(v) is bool else v for v in values)


def cached(key: Hashable, make: Callable[[], T]) -> T:
    """Return the value stored under `key`, made if there is none; instruction set and precision join the key."""
    full = (key, current_isa(), current_precision())
    found = _cache.get(full)
    if found is None:
        found = make()
        _recipes.keep(full, found)
    result: T = found
    return result


def plans() -> list[_engine.Plan]:
    """Return the plans that the cache holds: a recipe is one, or has one (or none), or several."""
    held = [getattr(recipe, "plans", [getattr(recipe, "plan", recipe)]) for recipe in _cache.values()]
    return [found for several in held for found in several if found is not None]


def clear() -> None:
    """Forget all plans."""
    _cache.clear()


# ---------------------------------------------------------------------------------------------------- choice


def choose_conv(problem: ConvProblem, op: int, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Algorithm and reason for a forward pass (op CONV) or an input gradient."""
    lanes, s = lanes_of(dtype), sizes_of(problem, op)
    direct = flat_cycles(problem, s, lanes) if s.flat else direct_cycles(s, lanes)
    costs = {"direct": direct, "im2col": im2col_cycles(s, lanes)}
    if op == CONV_INPUT_GRAD:  # of an unpadded convolution: im2col multiplies all the zeros around
        costs["im2col"] *= max(1.0, s.writes / s.pixels / math.prod(a.stride for a in problem.axes))
    if problem.groups > 1:
        costs["direct"] = short_of_rows(s, lanes) * costs["direct"] + 1500.0 * s.images
    strided = op == CONV_INPUT_GRAD and any(a.stride > 1 for a in problem.axes)
    few = s.flat or (problem.groups > 1 and min(s.rows, s.reds) < 8)
    if allows_winograd(dtype) and fits_winograd(problem, op) and not few:
        costs["winograd"] = winograd_cycles(problem, s, op, lanes)
    if fits_col2im(s):
        costs["col2im"] = col2im_cycles(problem, op, s, lanes)
    if s.reds <= 64 and s.taps <= 4096:
        costs["depthwise"] = depthwise_cycles(problem, op, s, lanes) * _depthwise_risk(problem, s)
    if fits_grouped(problem, s):
        costs["grouped"] = grouped_cycles(problem, s, lanes)
    if strided and problem.groups > 1:  # their phases are short, and those of all but "direct" fill panels of their own
        slow = {"direct": 1.3, "im2col": 1.3, "depthwise": 1.8 if s.reds > 1 else 1.0}
        costs |= {name: factor * costs[name] for name, factor in slow.items() if name in costs}
    costs = {name: cost for name, cost in costs.items() if cost < math.inf}
    best = min(costs, key=lambda name: costs[name])
    why = {
        "direct": f"{s.rows} result channels fill vectors of {lanes}, no patches to pack",
        "im2col": f"patches cost little beside {s.rows} result channels, pixels fill vectors of {lanes}",
        "col2im": f"all {s.taps} taps of {s.rows} result channels for each pixel that is read, no padding multiplied",
        "depthwise": f"only {s.reds} summed channels a group: pixels in vectors of {lanes}, no patches to pack",
        "winograd": f"36 products for a tile of results instead of 144 (3x3) or 100 (5x5), tiles in vectors of {lanes}",
        "grouped": f"{problem.groups} groups of few channels fill vectors of {lanes}: no lane is lost to short rows",
    }
    return best, f"{why[best]} (estimated cycles: {', '.join(f'{k} {v:.2g}' for k, v in costs.items())})"


def _depthwise_risk(problem: ConvProblem, s: Sizes) -> float:
    """What "depthwise" must save before it is taken for several channels: its estimates scatter."""
    if s.reds == 1 or (problem.groups == 1 and s.rows <= 16):
        return 1.0
    if s.reds <= 4:
        return 1.1
    return 1.25 if s.rows > 8 else 1.15


def choose_weight_grad(problem: ConvProblem, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Algorithm and reason for a weight gradient."""
    lanes, s = lanes_of(dtype), sizes_of(problem, CONV_WEIGHT_GRAD)
    if fits_planes(problem, s, lanes):
        return "direct", f"1x1 with {min(s.rows, s.reds)} channels on one side: dot products of planes where they lie"
    few = s.reds <= 64 and s.rows < 2 * lanes if problem.groups > 1 else s.reds == 1 and s.rows <= lanes // 2
    few = few or (problem.groups == s.taps == 1 and s.reds <= 8 and s.rows <= 64)  # 1x1: dot products of planes
    if few and s.taps <= 4096:
        sums = 15.0 * s.rows * s.reds * s.taps  # across lanes
        bands = bands_cycles(problem, CONV_WEIGHT_GRAD, s, lanes)
        loads = {1: 2.0, 2: 1.5, 3: 1.3}.get(s.rows, 1.15)  # result channels share what is loaded
        copied = 0.5 if problem.axes[-1].stride == 1 else 1.0 * products_a_cycle()  # split by residues
        flat = loads * s.macs * (s.row + s.reach) / s.row / lanes + (copied * s.planes + sums) * s.images
        plain = short_of_rows(s, lanes) * s.macs / s.rows * -(-s.rows // lanes) + 0.5 * s.planes * s.images
        plain += 1.0 * s.rows * s.reds * s.taps * problem.groups  # sums turned to the gradient
        costs = {
            "direct": min(plain, wgrad_swapped_cycles(problem, s, lanes)),
            "depthwise": bands + sums * problem.groups if bands else flat,
        }
        if fits_grouped(problem, s):
            costs["grouped"] = grouped_cycles(problem, s, lanes)
        best = min(costs, key=lambda name: costs[name])
        why = {
            "direct": f"groups of {s.rows} output channels fill vectors of {lanes} well enough",
            "depthwise": f"few groups of few channels leave vectors of {lanes} to pixels: dot products along rows",
            "grouped": f"{problem.groups} groups fill vectors of {lanes}: nothing is summed across lanes",
        }
        return best, f"{why[best]} (estimated cycles: {', '.join(f'{k} {v:.2g}' for k, v in costs.items())})"
    if allows_winograd(dtype) and fits_winograd(problem, CONV):
        plain, winograd = wgrad_direct_cycles(problem, s, lanes), wgrad_winograd_cycles(problem, s, lanes)
        estimate = f"(estimated cycles: direct {plain:.2g}, winograd {winograd:.2g})"
        if winograd < plain:
            return "winograd", f"36 products for all taps over a tile instead of 144 (3x3) or 100 (5x5) {estimate}"
        return "direct", f"transforms would cost more than Winograd's products save {estimate}"
    return "direct", "output or input channels in the lanes, whichever fill them better; the other operand broadcast"


# ---------------------------------------------------------------------------------------------------- explanation


class Explanation(NamedTuple):
    """What a call would run, and why; ``str()`` gives it as a sentence a line."""

    operator: str
    algorithm: str
    reason: str
    isa: str = ""
    tasks: tuple[int, ...] = ()
    workspace_bytes: int = 0
    scratch_bytes: int = 0

    def __str__(self) -> str:
        lines = [f"{self.operator}: {self.algorithm}", f"  because {self.reason}"]
        if self.isa:
            lines += [
                f"  instruction set {self.isa}; tasks of its stages: {', '.join(map(str, self.tasks))}",
                f"  workspace {self.workspace_bytes} bytes, and {self.scratch_bytes} bytes for each thread",
            ]
        return "\n".join(lines)

    @staticmethod
    def of(operator: str, plan: _engine.Plan, reason: str) -> Explanation:
        """Explain a plan."""
        return Explanation(
            operator, plan.algorithm, reason, plan.isa, plan.tasks, plan.workspace_bytes, plan.scratch_bytes
        )
