"""What importing fastconv costs over importing NumPy: ``python benchmarks/import_time.py [ROUNDS]``.

The contract allows 30 ms and no new threads. Each round starts an interpreter that imports NumPy, then fastconv, and
measures the second: the processor's time, which counts, and the clock's, which other programs lengthen. The first
rounds, in which files come from the disk, are left out. The modules that take longest follow.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

LIMIT = 30.0  # milliseconds
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
CODE = """
import os, time
import numpy
count = lambda: len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
threads = count()
start, busy = time.perf_counter(), time.process_time()
import fastconv
print(time.process_time() - busy, time.perf_counter() - start, count() - threads)
"""


def measure(rounds: int) -> tuple[list[float], list[float], int]:
    """Milliseconds of the processor and of the clock of every round, and the largest number of new threads."""
    busy, clock, threads = [], [], 0
    for i in range(rounds + 2):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=ENVIRONMENT)
        *times, started = done.stdout.split()
        if i >= 2:
            busy.append(1e3 * float(times[0]))
            clock.append(1e3 * float(times[1]))
        threads = max(threads, int(started))
    return busy, clock, threads


def slowest(count: int = 8) -> list[tuple[float, str]]:
    """Milliseconds that modules take for themselves, of those that NumPy alone does not import."""
    known = _self_times("import numpy")
    found = _self_times("import numpy, fastconv")
    return sorted(((took, name) for name, took in found.items() if name not in known), reverse=True)[:count]


def _self_times(code: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    times = {}
    for line in done.stderr.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            times[name.strip()] = int(own) / 1e3
    return times


def main() -> int:
    """Print the figures; 1 if the median is over the limit or threads were started."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    busy, clock, threads = measure(rounds)
    median = statistics.median(busy)
    print(
        f"import fastconv after NumPy, median of {rounds} rounds: {median:.1f} ms of the processor (limit {LIMIT:g} ms)"
    )
    print(f"by the clock: median {statistics.median(clock):.1f} ms, best {min(clock):.1f} ms")
    print(f"threads started: {threads}")
    for took, name in slowest():
        print(f"{took:8.2f} ms  {name}")
    return int(median > LIMIT or threads > 0)


if __name__ == "__main__":
    raise SystemExit(main())
