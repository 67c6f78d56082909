"""Whether "auto" takes the fastest algorithm: all of them, timed on all layers in all directions.

Prints the rows where the algorithm that "auto" takes is more than 5 % slower than the best one, after measuring these
again, and how much time that costs over all rows. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from environment import restart_with
from libraries import DIRECTIONS, Call, FastConv
from peers import add_common_options, geometric_mean
from rows import Array, Layer, read_layers

from fastconv.bench.threads import limited_threads
from fastconv.bench.timing import Effort, Task, interleave
from fastconv.plan import ALGORITHMS

CANDIDATES = [algorithm for algorithm in ALGORITHMS if algorithm not in ("auto", "naive")]
LOSS = 1.05
HOPELESS = 2.5  # times the fastest first call: not timed any further


@dataclass(frozen=True)
class Choice:
    """A layer in one direction: what "auto" takes, and the seconds of every algorithm."""

    network: str
    layer: str
    direction: str
    auto: str
    seconds: dict[str, float]

    @property
    def best(self) -> str:
        """The fastest algorithm."""
        return min(self.seconds, key=lambda algorithm: self.seconds[algorithm])

    @property
    def loss(self) -> float:
        """The time of auto's algorithm over the best one's."""
        return self.seconds[self.auto] / self.seconds[self.best]


def choices(
    network: str, layer: Layer, directions: Sequence[str], batch: int, effort: Effort, confirm: Effort
) -> Iterator[Choice]:
    """Time all algorithms on a layer.

    Parameters
    ----------
    network : str
    layer : Layer
    directions : sequence of str
    batch : int
    effort, confirm : Effort
        To time with, and to time again with where "auto" seems to lose.

    Yields
    ------
    Choice
        For every direction.
    """
    x, weight, grad_output = layer.arrays(batch)
    for direction in directions:
        auto = FastConv().runs(layer, direction, x, weight)
        calls: dict[str, Call] = {auto: FastConv().conv(layer, direction, x, weight, grad_output)}
        for algorithm in CANDIDATES:
            library = FastConv(algorithm)
            call = library.conv(layer, direction, x, weight, grad_output)
            if algorithm != auto and _computes(library, layer, direction, x, weight, call):
                calls[algorithm] = call
        first = {algorithm: min(_seconds(call), _seconds(call)) for algorithm, call in calls.items()}
        fastest = min(first.values())
        close = [a for a in calls if a == auto or first[a] < HOPELESS * fastest]
        found = Choice(network, layer.name, direction, auto, {})
        for how in (effort, confirm):
            times = interleave([Task(algorithm, "fastconv", calls[algorithm]) for algorithm in close], how)
            best = {algorithm: timing.best for algorithm, timing in zip(close, times, strict=True)}
            seconds = {a: min(best.get(a, first[a]), found.seconds.get(a, first[a])) for a in calls}
            found = Choice(network, layer.name, direction, auto, seconds)
            if found.loss <= LOSS:
                break
        yield found


def _computes(library: FastConv, layer: Layer, direction: str, x: Array, weight: Array, call: Call) -> bool:
    """Whether the named algorithm takes this problem, and does not leave it to another."""
    try:
        call()
    except ValueError:
        return False
    try:
        return library.runs(layer, direction, x, weight) == library.algorithm
    except ValueError:  # it does not take the other gradient
        return True


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def summary(found: Sequence[Choice]) -> Iterator[str]:
    """Say how often and how much "auto" loses.

    Parameters
    ----------
    found : sequence of Choice

    Yields
    ------
    str
        A line for each direction.
    """
    for direction in DIRECTIONS:
        rows = [choice for choice in found if choice.direction == direction]
        if not rows:
            continue
        losing = [choice for choice in rows if choice.loss > LOSS]
        taken = ", ".join(f"{name} {count}" for name, count in Counter(choice.auto for choice in rows).most_common())
        yield (
            f"{direction}: loses more than {100 * LOSS - 100:.0f} % on {len(losing)} of {len(rows)} rows; geometric "
            f"mean of its time over the best {geometric_mean(choice.loss for choice in rows):.3f}; takes {taken}"
        )


def line(choice: Choice) -> str:
    """Put a row in words: the algorithms from fast to slow."""
    times = sorted(choice.seconds.items(), key=lambda item: item[1])
    text = ", ".join(f"{algorithm} {1e3 * seconds:.3f} ms" for algorithm, seconds in times)
    name = f"{choice.network} {choice.layer}, {choice.direction}"
    return f"{name}: {choice.auto} loses {100 * choice.loss - 100:.0f} %: {text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python benchmarks/algorithms.py", description=__doc__.partition("\n")[0])
    add_common_options(parser)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds; doubtful rows: 3 times as many")
    parser.add_argument("--all", action="store_true", help="print every row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times as JSON")
    options = parser.parse_args(arguments)
    restart_with(options.threads, options.isa)
    effort = Effort(rounds=options.rounds, sample_seconds=0.003, limit_seconds=0.5)
    confirm = Effort(rounds=3 * options.rounds, sample_seconds=0.005, limit_seconds=1.0)
    directions = DIRECTIONS if options.direction == "all" else (options.direction,)
    found: list[Choice] = []
    with limited_threads(options.threads):
        for path in options.shapes:
            for layer in read_layers(path):
                for choice in choices(path.stem, layer, directions, options.batch, effort, confirm):
                    found.append(choice)
                    if options.all or choice.loss > LOSS:
                        print(line(choice), flush=True)
    print("\n".join(summary(found)))
    if options.json:
        options.json.write_text(json.dumps([asdict(choice) for choice in found], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
