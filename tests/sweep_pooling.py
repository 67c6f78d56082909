"""Random pooling for the sweep: maxima with their places, and means, sliding and adaptive, with gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from helpers import LAYOUTS, USABLE_ISAS, Array, whole

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit

KINDS = ("max", "max", "avg", "avg", "adaptive_max", "adaptive_avg")
SIDES = (1, 2, 3, 4, 7, 8, 9, 14, 15, 16, 17, 28, 31, 32, 33, 56, 63, 64, 65, 112, 130)
CHANNELS = (1, 2, 3, 5, 8, 16, 17, 40)
MOST_ELEMENTS = 60_000
UNITS = 16  # of the round-off of a mean's terms; a window's sum is exact


@dataclass(frozen=True)
class Pooling:
    """A pooling operator, its input's shape and its arguments, and how it is called."""

    kind: str
    shape: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    dtype: str = "float32"
    layout: str = "plain"
    threads: int = 1
    seed: int = 0

    @property
    def name(self) -> str:
        """The operator's name."""
        return f"{self.kind}_pool{len(self.shape) - 2}d"


def draw_pooling(rng: np.random.Generator, seed: int) -> Pooling:
    """Draw a pooling that the reference takes."""
    while True:
        n, kind = int(rng.choice([1, 2, 2, 2, 3])), str(rng.choice(KINDS))
        shape = (int(rng.integers(1, 5)), int(rng.choice(CHANNELS)), *(int(side) for side in rng.choice(SIDES, n)))
        if math.prod(shape) > MOST_ELEMENTS:
            continue
        arguments, options = _sliding(rng, n, kind)
        if kind.startswith("adaptive"):
            arguments, options = (tuple(int(rng.integers(1, min(side, 20) + 3)) for side in shape[2:]),), {}
        problem = Pooling(
            kind,
            shape,
            arguments,
            options,
            dtype=str(rng.choice(["float32", "float32", "float64"])),
            layout=str(rng.choice(["plain"] * 6 + list(LAYOUTS))),
            threads=int(rng.choice([1, 1, 1, 2, 3])),
            seed=seed,
        )
        try:
            getattr(reference, problem.name)(np.zeros((1, 1, *shape[2:])), *arguments, **options)
        except ValueError:
            continue  # a window without input
        return problem


def _sliding(rng: np.random.Generator, n: int, kind: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Kernel, stride and padding; and the options."""
    alike = rng.random() < 0.6
    kernel, stride = (tuple(int(v) for v in rng.integers(1, most, n)) for most in (6, 5))
    if alike:
        kernel, stride = kernel[:1] * n, stride[:1] * n
    padding = tuple(int(rng.integers(0, side // 2 + 1)) for side in kernel)
    options: dict[str, Any] = {"ceil_mode": bool(rng.random() < 0.3)}
    if kind == "max":
        options["dilation"] = int(rng.choice([1, 1, 1, 2, 3]))
    else:
        options["count_include_pad"] = bool(rng.random() < 0.5)
        options["divisor_override"] = None if rng.random() < 0.8 else int(rng.integers(1, 9))
    return (kernel, stride, padding), options


def pooling_failures(problem: Pooling) -> Iterator[str]:
    """Compute a pooling on every instruction set, forward and back.

    Parameters
    ----------
    problem : Pooling

    Yields
    ------
    str
        What is wrong.
    """
    rng = np.random.default_rng(problem.seed)
    x = whole(rng, *problem.shape, dtype=np.float64)
    maxima = "max" in problem.kind
    y, places = _forward(reference, problem, x) if maxima else (_forward(reference, problem, x), None)
    gy = whole(rng, *y.shape, dtype=np.float64)
    gx = _backward(reference, problem, gy, places)
    # Whole numbers' maxima, and sums of their gradients, are exact; a mean is divided.
    unit = 0.0 if maxima else UNITS * float(np.finfo(problem.dtype).eps)
    size = y if maxima else _forward(reference, problem, np.abs(x))
    grad_size = gx if maxima else _backward(reference, problem, np.abs(gy), None)
    place = LAYOUTS[problem.layout]
    x, gy = place(x.astype(problem.dtype)), place(gy.astype(problem.dtype))
    for isa in USABLE_ISAS:
        with isa_limit(isa), fc.threads(problem.threads):
            found = _forward(fc, problem, x)
            got, at = found if maxima else (found, None)
            grad = _backward(fc, problem, gy, places)
            plain = _forward(fc, problem, x, indices=False)
        for what, one, want, allowed in (
            ("result", got, y, unit * size),
            ("result without places", plain, y, unit * size),
            ("gradient", grad, gx, unit * grad_size),
            *([("places", at, places, 0.0 * size)] if maxima else []),
        ):
            if one.shape != want.shape or one.dtype != (want.dtype if what == "places" else problem.dtype):
                yield f"{isa}, {what}: {one.dtype} of shape {one.shape}, expected {want.shape}"
                continue
            wrong = ~(np.abs(one.astype(np.float64) - want) <= np.abs(allowed))
            if wrong.any():
                first = tuple(int(i) for i in np.argwhere(wrong)[0])
                values = f"{one[first]!s}, expected {want[first]!s}"
                yield f"{isa}, {what}: {int(wrong.sum())} of {wrong.size} values differ; the first at {first}: {values}"


def _forward(library: Any, problem: Pooling, x: Array, indices: bool = True) -> Any:
    more = {"return_indices": True} if indices and "max" in problem.kind else {}
    return getattr(library, problem.name)(x, *problem.arguments, **problem.options, **more)


def _backward(library: Any, problem: Pooling, gy: Array, places: Array | None) -> Array:
    back = getattr(library, f"{problem.name}_backward")
    if places is not None:
        return np.asarray(back(gy, places, problem.shape))
    if problem.kind == "adaptive_avg":
        return np.asarray(back(gy, problem.shape))
    return np.asarray(back(gy, problem.shape, *problem.arguments, **problem.options))
