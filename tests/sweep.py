"""Random problems against the reference in float64: ``python tests/sweep.py`` (up to 15 minutes on two cores).

Every convolution runs through every algorithm that takes it, on every instruction set, forward and for all gradients;
one problem in six is a pooling (`sweep_pooling.py`). Numbers are small and whole, so results must be equal; where
Winograd computes, they must keep its bound. Sizes are drawn around what the kernels cut problems into: vectors,
register tiles, blocks of channels, pixels and summed terms.

A problem follows from the seed and its number alone. A failure is printed with a command that repeats it; so is a
crash, since the problems run in processes of their own.
"""

from __future__ import annotations

import argparse
import faulthandler
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from helpers import LAYOUTS, USABLE_ISAS, Array, Conv, guarded, whole
from sweep_pooling import Pooling, draw_pooling, pooling_failures

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit

ALGORITHMS = ("auto", "direct", "im2col", "col2im", "depthwise", "grouped", "winograd")
TAKE_ALL = ("auto", "direct", "im2col")  # the others may decline
WINOGRAD_BOUND = {"float32": 3e-5, "float64": 6e-14}  # as tests/functional/test_winograd.py has it

# What blocks, tiles and vectors are multiples of, or end at; the problems lie at and beside these.
CHANNELS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160)
PIXELS = (1, 4, 9, 14, 16, 28, 48, 64, 96, 144, 256, 512)
MANY_PIXELS = (1024, 4096, 8192)  # of Winograd, whose order of work changes there, with few channels on one side
DEPTHS = (9, 32, 64, 144, 256, 512)
KERNELS = {1: (1, 2, 3, 4, 5, 7, 9, 16, 31), 2: (1, 2, 3, 4, 5, 7, 11), 3: (1, 2, 3, 4)}
MOST_MULTIPLY_ADDS = 50_000_000
MOST_ELEMENTS = 1_500_000
SECONDS = 120  # after which a problem counts as hanging


@dataclass(frozen=True)
class Problem:
    """A convolution, or the transposed one of the same sizes, and how it is called."""

    conv: Conv
    dtype: str = "float32"
    transposed: bool = False
    bias: bool = True
    layout: str = "plain"
    threads: int = 1
    seed: int = 0


# ---------------------------------------------------------------------------------------------------- drawing


def draw(seed: int, number: int) -> Problem | Pooling:
    """Draw problem `number` of a seed."""
    rng = np.random.default_rng([seed, number])
    if number % 6 == 5:
        return draw_pooling(rng, number)
    while True:
        conv = _conv(rng)
        macs = conv.batch * conv.groups * conv.c * conv.k * math.prod(conv.kernel) * math.prod(conv.out)
        largest = max(math.prod(shape) for shape in (conv.x_shape, conv.w_shape, conv.y_shape))
        if macs <= MOST_MULTIPLY_ADDS and largest <= MOST_ELEMENTS:
            break
    return Problem(
        conv,
        dtype=str(rng.choice(["float32", "float32", "float64"])),
        transposed=bool(rng.random() < 0.25),
        bias=bool(rng.random() < 0.7),
        layout=str(rng.choice(["plain"] * 6 + list(LAYOUTS))),
        threads=int(rng.choice([1, 1, 1, 2, 3])),
        seed=number,
    )


def _conv(rng: np.random.Generator) -> Conv:
    winograd = rng.random() < 0.2
    n = 2 if winograd else int(rng.choice([1, 2, 2, 2, 3]))
    kernel = (int(rng.choice([3, 3, 5])),) * n if winograd else _kernel(rng, n)
    stride, dilation = ((1,) * n if winograd else _steps(rng, n, most) for most in (4, 3))
    groups, c, k = _channels(rng, math.prod(kernel))
    out = _split(rng, _near(rng, PIXELS), n)
    if winograd and rng.random() < 0.3:
        out = _split(rng, _near(rng, MANY_PIXELS), n)
        groups, c, k = 1, _near(rng, (64, 128, 160)), int(rng.integers(1, 7))
        c, k = (c, k) if rng.random() < 0.7 else (k, c)
    size, padding = [], []
    for t, taps, s, d in zip(out, kernel, stride, dilation, strict=True):
        reach = d * (taps - 1) + 1
        # Mostly less than the kernel reaches, sometimes more; 0 and s - 1 elements that no window reads.
        lo, hi = (int(rng.integers(0, reach + (2 if rng.random() < 0.1 else 0))) for _ in range(2))
        needed = (t - 1) * s + reach + int(rng.integers(s))
        padding.append((lo, hi) if rng.random() < 0.7 and needed > lo + hi else (0, 0))
        size.append(needed - sum(padding[-1]))
    batch = int(rng.choice([1, 1, 2, 3, 5, 9]))
    return Conv(batch, c, k, tuple(size), kernel, stride, tuple(padding), dilation, groups)


def _kernel(rng: np.random.Generator, n: int) -> tuple[int, ...]:
    if rng.random() < 0.6:
        return (int(rng.choice(KERNELS[n])),) * n
    return tuple(int(taps) for taps in rng.choice(KERNELS[n], n))


def _steps(rng: np.random.Generator, n: int, most: int) -> tuple[int, ...]:
    """Strides or dilations: mostly 1."""
    if rng.random() < 0.55:
        return (1,) * n
    return tuple(int(step) for step in rng.integers(1, most + 1, n))


def _channels(rng: np.random.Generator, taps: int) -> tuple[int, int, int]:
    """Groups, and the channels of one in and out."""
    kind = rng.random()
    if kind < 0.15:  # depthwise, with up to 3 results a channel
        return _near(rng, CHANNELS), 1, int(rng.choice([1, 1, 1, 2, 3]))
    if kind < 0.35:  # few channels a group
        return int(rng.integers(2, 9)), *(int(size) for size in rng.choice([1, 2, 3, 4, 5, 8, 12, 16, 17, 32], 2))
    c, k = _near(rng, CHANNELS), _near(rng, CHANNELS)
    if kind < 0.65:  # as many summed terms as a block has, forward or for the input's gradient
        many = max(1, _near(rng, DEPTHS) // taps + int(rng.integers(2)))
        c, k = (many, k) if rng.random() < 0.6 else (c, many)
    return 1, c, k


def _near(rng: np.random.Generator, sizes: Sequence[int]) -> int:
    size = int(rng.choice(sizes))
    return max(1, size + int(rng.choice([-1, 0, 0, 1]))) if rng.random() < 0.8 else int(rng.integers(1, size + 1))


def _split(rng: np.random.Generator, pixels: int, n: int) -> tuple[int, ...]:
    """Sides with about so many pixels, the last one mostly the longest."""
    sides: list[int] = []
    for axes in range(n, 1, -1):
        side = max(1, round(pixels ** (1 / axes) * rng.uniform(0.3, 1.3)))
        sides.append(side)
        pixels = max(1, pixels // side)
    return (*sides, pixels)


# ---------------------------------------------------------------------------------------------------- comparing


@dataclass(frozen=True)
class _Case:
    """A problem's arrays and what the reference makes of them."""

    problem: Problem
    name: str
    options: dict[str, Any]
    x: Array
    w: Array
    b: Array | None
    gy: Array
    want: tuple[Array, ...]  # the result and the gradients of input, weight and bias
    terms: tuple[int, ...]  # products summed into an element of each


def _prepare(problem: Problem) -> _Case:
    conv, rng = problem.conv, np.random.default_rng(problem.seed)
    name = f"conv{'_transpose' if problem.transposed else ''}{conv.n}d"
    options = dict(conv.options)
    shapes = [conv.x_shape, conv.y_shape]
    bias_size, forward_terms, backward_terms = conv.groups * conv.k, conv.c, conv.k
    if problem.transposed:
        options["output_padding"] = conv.output_padding
        shapes.reverse()
        bias_size, forward_terms, backward_terms = conv.groups * conv.c, conv.k, conv.c
    x, gy = (whole(rng, *shape, dtype=np.float64) for shape in shapes)
    w, b = whole(rng, *conv.w_shape, dtype=np.float64), whole(rng, bias_size, dtype=np.float64)
    bias = b if problem.bias else None
    y = getattr(reference, name)(x, w, bias, **options)
    gradients = getattr(reference, f"{name}_backward")(gy, x, w, **options)
    taps, pixels = math.prod(conv.kernel), conv.batch * math.prod(conv.out)
    place = LAYOUTS[problem.layout]
    x, w, gy = (place(array.astype(problem.dtype)) for array in (x, w, gy))
    b = None if bias is None else bias.astype(problem.dtype)
    terms = (forward_terms * taps, backward_terms * taps, pixels, pixels)
    return _Case(problem, name, options, x, w, b, gy, (y, *gradients), terms)


def failures(problem: Problem | Pooling, taken: Counter[str] | None = None) -> Iterator[str]:
    """Compute a problem in every way.

    Parameters
    ----------
    problem : Problem or Pooling
    taken : Counter, optional
        Counts, by algorithm, the results that it computed.

    Yields
    ------
    str
        What is wrong.
    """
    taken = Counter() if taken is None else taken
    if isinstance(problem, Pooling):
        taken["pooling"] += 2 * len(USABLE_ISAS)
        yield from pooling_failures(problem)
        return
    case = _prepare(problem)
    for isa in USABLE_ISAS:
        for algorithm in ALGORITHMS:
            with isa_limit(isa), fc.threads(problem.threads):
                try:
                    found = _compute(case, algorithm)
                    ran = _algorithms(case, algorithm)
                except ValueError as error:
                    if algorithm in TAKE_ALL or "takes only" not in str(error):
                        yield f"{algorithm}, {isa}: {error}"
                    continue
                if algorithm == "auto":
                    yield from (f"auto, {isa}: {text}" for text in _in_other_ways(case, ran, found))
            for what, got, want, by, terms in zip(
                ("result", "input gradient", "weight gradient", "bias gradient"),
                found,
                case.want,
                ran,
                case.terms,
                strict=True,
            ):
                taken[by] += 1
                wrong = difference(got, want, problem.dtype, by, terms)
                if wrong:
                    yield f"{algorithm} ({by}), {isa}, {what}: {wrong}"


def difference(got: Array, want: Array, dtype: str, by: str, terms: int) -> str:
    """Say how a result differs from the reference's by more than its algorithm may, or nothing."""
    if got.shape != want.shape or got.dtype != dtype:
        return f"{got.dtype} of shape {got.shape}, expected {want.shape}"
    error = np.abs(got.astype(np.float64) - want)
    allowed = 0.0
    if by == "winograd":
        # The bound relates to the result's root mean square; few results may happen to be small, so that their
        # expected size counts as well: that of a sum of so many products of numbers from -3 to 3.
        allowed = WINOGRAD_BOUND[dtype] * max(float(np.sqrt(np.mean(want**2))), math.sqrt(terms) * 14 / 3)
    wrong = ~(error <= allowed)
    if not wrong.any():
        return ""
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} values differ, by up to {error.max():.3g}, allowed {allowed:.3g}; "
        f"the first at {first}: {got[first]!s}, expected {want[first]!s}"
    )


def _compute(case: _Case, algorithm: str) -> tuple[Array, ...]:
    forward, backward = getattr(fc, case.name), getattr(fc, f"{case.name}_backward")
    out, intact = guarded(case.want[0].shape, case.problem.dtype)
    y = forward(case.x, case.w, case.b, **case.options, algorithm=algorithm, out=out)
    intact()
    return (y, *backward(case.gy, case.x, case.w, **case.options, algorithm=algorithm))


def _algorithms(case: _Case, algorithm: str) -> tuple[str, ...]:
    """Which algorithms compute the result and the gradients of input, weight and bias."""
    forward, backward = (
        fc.explain(case.name + part, case.x, case.w, **case.options, algorithm=algorithm) for part in ("", "_backward")
    )
    return (forward.algorithm, *(gradient.algorithm for gradient in backward), "sum")


def _in_other_ways(case: _Case, ran: tuple[str, ...], found: tuple[Array, ...]) -> Iterator[str]:
    """Call what must give the same bits: frozen weights, one thread; and what must be exact: the highest precision."""
    forward, backward = getattr(fc, case.name), getattr(fc, f"{case.name}_backward")
    frozen = fc.freeze_weight(case.w)
    if not np.array_equal(forward(case.x, frozen, case.b, **case.options), found[0]):
        yield "result: other bits with a frozen weight"
    if not np.array_equal(backward(case.gy, case.x, frozen, **case.options)[0], found[1]):
        yield "input gradient: other bits with a frozen weight"
    if case.problem.threads > 1:
        with fc.threads(1):
            for got, same in zip(_compute(case, "auto"), found, strict=True):
                if not np.array_equal(got, same):
                    yield f"other bits on one thread than on {case.problem.threads}"
    if "winograd" in ran:
        with fc.precision("highest"):
            for got, want in zip(_compute(case, "auto"), case.want, strict=True):
                if not np.array_equal(got, want):
                    yield "not exact with the highest precision"


def report(problem: Problem | Pooling) -> None:
    """Print what is wrong with a problem: what the printed commands call."""
    print(problem, *failures(problem), sep="\n")


def command(problem: Problem | Pooling) -> str:
    """Return the command that repeats a problem."""
    return f'PYTHONPATH=tests python -c "from sweep import *; report({problem})"'


# ---------------------------------------------------------------------------------------------------- running


def work(seed: int, numbers: range) -> None:
    """Go through problems; tell on stdout which one is next, what failed and, at the end, what was computed."""
    taken: Counter[str] = Counter()
    for number in numbers:
        print("at", number, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        problem = draw(seed, number)
        try:
            wrong = list(failures(problem, taken))
        except Exception as error:  # an operator may raise anything; the next problems still count
            wrong = [f"{type(error).__name__}: {error}"]
        for text in wrong:
            print("failed", number, text.replace("\n", " "), flush=True)
    faulthandler.cancel_dump_traceback_later()
    for algorithm, count in taken.items():
        print("taken", count, algorithm, flush=True)


class Watch:
    """What the working processes tell."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.lock = threading.Lock()
        self.done = 0
        self.failed: list[str] = []
        self.taken: Counter[str] = Counter()

    def follow(self, start: Sequence[str], numbers: range) -> None:
        """Run a worker through its problems, again behind one that ends it."""
        while numbers:
            at = numbers.start - numbers.step
            ranged = [f"{self.seed}", f"{numbers.start}", f"{numbers.stop}", f"{numbers.step}"]
            with subprocess.Popen([*start, *ranged], stdout=subprocess.PIPE, text=True) as worker:
                assert worker.stdout is not None
                for line in worker.stdout:
                    word, value, *rest = line.rstrip("\n").split(" ", 2)
                    with self.lock:
                        if word == "at":
                            at, self.done = int(value), self.done + 1
                        elif word == "failed":
                            self._fail(int(value), rest[0])
                        else:
                            self.taken[rest[0]] += int(value)
            if worker.returncode == 0:
                return
            with self.lock:
                self._fail(at, f"the process ended with {worker.returncode}: a crash, or over {SECONDS} seconds")
            numbers = range(at + numbers.step, numbers.stop, numbers.step)

    def _fail(self, number: int, text: str) -> None:
        self.failed.append(text)
        print(f"problem {number}: {text}\n    {command(draw(self.seed, number))}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python tests/sweep.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", type=int, default=10_000, metavar="N", help="how many (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all problems (default: 0)")
    parser.add_argument("--first", type=int, default=0, metavar="I", help="number of the first problem (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="processes (default: CPUs)")
    parser.add_argument("--worker", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(options.worker[0], range(*options.worker[1:]))
        return 0
    start, watch = time.monotonic(), Watch(options.seed)
    last = options.first + options.problems
    followers = [
        threading.Thread(
            target=watch.follow,
            args=([sys.executable, __file__, "--worker"], range(options.first + job, last, options.jobs)),
            daemon=True,
        )
        for job in range(options.jobs)
    ]
    for follower in followers:
        follower.start()
    shown = 0
    while any(follower.is_alive() for follower in followers):
        time.sleep(0.2)
        if watch.done - shown >= max(500, options.problems // 20):
            shown = watch.done
            print(f"{shown} problems, {time.monotonic() - start:.0f} s", flush=True)
    results = ", ".join(f"{algorithm} {count}" for algorithm, count in watch.taken.most_common())
    print(
        f"{watch.done} problems on {', '.join(USABLE_ISAS)} in {time.monotonic() - start:.0f} s: "
        f"{len(watch.failed)} failures\nresults compared, by what computed them: {results}"
    )
    return int(bool(watch.failed) or watch.done < options.problems)


if __name__ == "__main__":
    sys.exit(main())
