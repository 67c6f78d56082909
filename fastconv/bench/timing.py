"""How long a call takes: interleaved rounds, so that what is compared is measured under the same conditions.

A machine's clock, its caches and its other users change from second to second. Measured one after the other, the
second candidate may meet a different machine; measured in turn, round after round, all of them meet the same one.
The minimum over the rounds is the time that nothing disturbed, the median is what a user will see.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

LEAST_ROUNDS = 3

METHOD = (
    "Interleaved rounds in one process: each times every candidate of a case once, in turn, the next round in reverse; "
    "a sample repeats the call for about {sample:.0f} ms; the minimum over {least} to {rounds} rounds counts."
)


@dataclass(frozen=True)
class Task:
    """A call to be timed; `library` names whose threads it wakes."""

    name: str
    library: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the best and the median of the rounds; a round repeated the call `repeats` times."""

    best: float
    median: float
    rounds: int
    repeats: int


@dataclass(frozen=True)
class Effort:
    """How much time to spend: rounds, the length of one sample, and a limit after which LEAST_ROUNDS are enough.

    Whenever the library changes, there is a pause until no thread of this process runs, `pause` seconds at most: with
    several threads, the idle ones of the library before spin for a while and would slow the next.
    """

    rounds: int = 9
    sample_seconds: float = 0.005
    limit_seconds: float = 6.0
    pause: float = 0.0

    def describe(self) -> str:
        """Put the method in words, for the header of a report."""
        pause = (
            f" Between libraries, pauses until threads rest, {1000 * self.pause:.0f} ms at most." if self.pause else ""
        )
        return (
            METHOD.format(sample=1000 * self.sample_seconds, least=min(LEAST_ROUNDS, self.rounds), rounds=self.rounds)
            + pause
        )


def interleave(tasks: Sequence[Task], effort: Effort) -> list[Timing]:
    """Time all tasks in turn.

    Parameters
    ----------
    tasks : sequence of Task
    effort : Effort

    Returns
    -------
    list of Timing
        In the order of `tasks`.

    Examples
    --------
    >>> tasks = [Task("short", "python", lambda: sum(range(10))), Task("long", "python", lambda: sum(range(10_000)))]
    >>> short, long = interleave(tasks, Effort(rounds=3, sample_seconds=0.001))
    >>> short.best < long.best
    True
    """
    start = time.perf_counter()
    samples: list[list[float]] = [[] for _ in tasks]
    with _no_garbage_collection():
        repeats = [_repeats(task, effort.sample_seconds) for task in tasks]
        library = tasks[-1].library if tasks else ""
        for done in range(effort.rounds):
            if done >= LEAST_ROUNDS and time.perf_counter() - start > effort.limit_seconds:
                break
            order = range(len(tasks)) if done % 2 == 0 else reversed(range(len(tasks)))
            for i in order:
                if tasks[i].library != library:
                    _rest(effort.pause)
                    library = tasks[i].library
                samples[i].append(_seconds(tasks[i].call, repeats[i]))
    return [
        Timing(min(taken), statistics.median(taken), len(taken), count)
        for taken, count in zip(samples, repeats, strict=True)
    ]


def _repeats(task: Task, sample_seconds: float) -> int:
    once = _seconds(task.call, 1)
    if once < max(0.01, 10 * sample_seconds):  # else what only the first call does is small beside it
        once = _seconds(task.call, 1)
    return max(1, round(sample_seconds / max(once, 1e-7)))


def _rest(limit: float) -> None:
    """Sleep until the process's threads take less than a tenth of the time, or `limit` is over."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        start, busy = time.perf_counter(), time.process_time()
        time.sleep(min(limit, 0.002))
        if time.process_time() - busy < 0.1 * (time.perf_counter() - start):
            return


def _seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
