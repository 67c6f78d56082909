"""All runs of peers.py that RESULTS.md tells of, and the document: ``python benchmarks/results.py``.

AVX-512 and AVX2, 1 and 8 images a call, 1 and 2 threads. The document is made of the runs' JSON files; what stands
between its two marks is written by hand and stays when it is made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from classes import CLASSES, MET, Target, shape_of, target_of
from environment import ISAS
from libraries import DIRECTIONS
from peers import SHAPES, Result, geometric_mean
from rows import Layer

from fastconv._config import ISAS as AVAILABLE
from fastconv.bench.timing import Timing

HERE = Path(__file__).parent
DOCUMENT = HERE / "RESULTS.md"
FOLDER = HERE.parent / "build" / "results"
BEGIN, END = "<!-- by hand: begin -->", "<!-- by hand: end -->"
OVERALL = {"forward": 1.7, "input gradient": 2.0, "weight gradient": 1.8}
LARGE = 0.2e9  # operations of a call from which two threads should count
TWO_THREADS = 1.85
Key = tuple[str, int, int]  # instruction set, images, threads
Rated = tuple[float, Result]


@dataclass(frozen=True)
class Run:
    """One run of peers.py."""

    key: Key
    record: dict[str, Any]
    rows: list[Result]

    @property
    def name(self) -> str:
        """For the heads of tables."""
        isa, batch, threads = self.key
        return f"{isa}, {_count(batch, 'image')}, {_count(threads, 'thread')}"

    @property
    def short(self) -> str:
        """For their columns."""
        isa, batch, threads = self.key
        return f"{isa} b{batch} t{threads}"

    def target(self, row: Result) -> Target:
        """Find what a row should reach."""
        return target_of(shape_of(row.shape), self.key[1])


# ---------------------------------------------------------------------------------------------------- running


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and write the document; 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/results.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--only-write", action="store_true", help="make the document of the runs that are there")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the JSON files lie (default: build/results)")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="the document (default: benchmarks/RESULTS.md)")
    parser.add_argument("--isa", nargs="+", choices=ISAS, default=["avx512", "avx2"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--shapes", nargs="+", type=Path, default=SHAPES, metavar="FILE", help="CSV files of layers")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (default: 7)")
    options = parser.parse_args(arguments)
    if not options.only_write:
        usable = [isa for isa in options.isa if all(AVAILABLE.get(isa, (False,)))]
        keys = [(isa, batch, threads) for isa, batch, threads in product(usable, options.batch, options.threads)]
        if not all([_run(key, options) for key in keys]):
            return 1
    write(options.folder, options.output)
    return 0


def _run(key: Key, options: argparse.Namespace) -> bool:
    isa, batch, threads = key
    stem = f"{isa}-batch{batch}-threads{threads}"
    options.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, os.path.relpath(HERE / "peers.py"), "--isa", isa, "--batch", str(batch)]
    command += ["--threads", str(threads), "--rounds", str(options.rounds)]
    if options.shapes != SHAPES:
        command += ["--shapes", *map(str, options.shapes)]
    command += ["--json", os.path.relpath(options.folder / f"{stem}.json")]
    start = time.monotonic()
    with open(options.folder / f"{stem}.txt", "w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    print(f"{stem}: {time.monotonic() - start:.0f} s", flush=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0


def read_run(path: Path) -> Run:
    """Read a JSON file that peers.py wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Run
    """
    record = json.loads(path.read_text())
    rows = []
    for row in record["rows"]:
        row["timings"] = {name: Timing(**timing) for name, timing in row["timings"].items()}
        rows.append(Result(**row))
    return Run((record["isa"], record["batch"], record["threads"]), record, rows)


def write(folder: Path, output: Path) -> None:
    """Make the document of all runs in a folder.

    Parameters
    ----------
    folder, output : Path

    Raises
    ------
    ValueError
        If there is no run.
    """
    runs = sorted((read_run(path) for path in folder.glob("*.json")), key=lambda run: (-len(run.key[0]), run.key))
    if not runs:
        raise ValueError(f"results: {folder} has no JSON files")
    by_hand = f"{BEGIN}\n{END}"
    if output.exists():
        _, _, rest = output.read_text().partition(BEGIN)
        kept, mark, _ = rest.partition(END)
        by_hand = f"{BEGIN}{kept}{END}" if mark else by_hand
    output.write_text("\n".join(document(runs, by_hand)) + "\n")


# ---------------------------------------------------------------------------------------------------- the document


def document(runs: Sequence[Run], by_hand: str) -> Iterator[str]:
    """Put the runs together.

    Parameters
    ----------
    runs : sequence of Run
    by_hand : str
        What to keep, with its marks.

    Yields
    ------
    str
        A line.
    """
    yield "# Results\n"
    yield from _setting(runs)
    yield "\n## Over all convolutions\n"
    yield (
        "How many times as fast as PyTorch, and as the fastest of all peers, fastconv is: geometric mean, and the "
        "worst row. ONNX Runtime and OpenVINO have packed their weights beforehand, as a frozen layer has, and take "
        "part forward; ONNX Runtime cannot be capped at AVX2. Targets: "
        + ", ".join(f"{direction} {target}" for direction, target in OVERALL.items())
        + f"; no row below {MET}.\n"
    )
    yield from _overall_table(runs)
    yield "\n## By class\n"
    yield (
        "Ratio to PyTorch: geometric mean (worst row), and how many rows meet their target within 5 %. Classes and "
        "targets follow from the shapes (`classes.py`).\n"
    )
    for direction in (*DIRECTIONS, "frozen"):
        yield f"\n### {_title(direction)}\n"
        yield from _class_table(runs, direction)
    yield "\n### Depthwise convolutions beside a copy\n"
    yield "Percentage of the bandwidth of a copy, forward, 3x3 and 5x5: median (least), and how many reach 50 %.\n"
    yield from _copy_table(runs)
    yield "\n## Two threads over one\n"
    yield f"Convolutions of at least {LARGE / 1e9:g} GFLOP a call; the aim is {TWO_THREADS}.\n"
    yield from _threads_table(runs)
    yield "\n## Memory\n"
    yield "What a call takes beside operands and result, in MB: sum over all rows, and the largest.\n"
    yield from _memory_table(runs)
    yield "\n## What misses its target\n"
    yield by_hand
    yield from _misses(runs)
    yield "\n## All rows\n"
    yield (
        "Each direction: algorithm, fastconv's milliseconds, the percentage of the limit that binds (F: peak of "
        "multiply-adds, M: bandwidth of memory), ratio to PyTorch / to the fastest peer; forward also the frozen "
        "layer's ratio to both and, where Winograd ran, the milliseconds that its transform of the weights takes; then "
        "MB beside operands and result, fastconv / PyTorch, the most of the directions. Algorithms: d direct, i "
        "im2col, w Winograd, p depthwise, m matrix product."
    )
    for run in runs:
        yield f"\n### {run.name}\n"
        yield from _full_table(run)


def _setting(runs: Sequence[Run]) -> Iterator[str]:
    first = runs[0].record
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    yield f"{first['machine']['float32']['cpu']}. {versions}. Made by `python benchmarks/results.py`, which ran:\n"
    yield from table(
        ["command", "GFLOP/s float32", "float64", "GB/s"],
        [
            [
                f"`{run.record['command']}`",
                *(f"{run.record['machine'][dtype]['peak'] / 1e9:.0f}" for dtype in ("float32", "float64")),
                f"{run.record['machine']['float32']['bandwidth'] / 1e9:.1f}",
            ]
            for run in runs
        ],
    )
    yield (
        "\nThe last columns are the peak of fused multiply-adds and the bandwidth of copying, as measured in that run. "
        f"{first['method']} Every result was compared with PyTorch's before it was timed. `README.md` tells how the "
        "comparison is made fair."
    )


def _overall_table(runs: Sequence[Run]) -> Iterator[str]:
    lines = []
    for run, direction in product(runs, DIRECTIONS):
        rows = [row for row in _rows(run, direction) if row.network != "pooling" and "torch" in row.timings]
        if not rows:
            continue
        torch = [(row.ratio("torch"), row) for row in rows]
        best = [(row.ratio(row.best_peer), row) for row in rows]
        mean = geometric_mean(ratio for ratio, _ in torch)
        low = sum(ratio < MET for ratio, _ in torch)
        lines.append(
            [
                run.short,
                direction,
                f"{mean:.2f}{'' if mean >= OVERALL[direction] else ' (missed)'}",
                _worst(torch),
                f"{low} of {len(rows)}",
                f"{geometric_mean(ratio for ratio, _ in best):.2f}",
                _worst(best),
            ]
        )
    yield from table(["run", "direction", "PyTorch", "worst", f"below {MET}", "best peer", "worst"], lines)


def _class_table(runs: Sequence[Run], direction: str) -> Iterator[str]:
    lines = []
    for name in CLASSES:
        cells, targets = [], set()
        for run in runs:
            rated = []
            met = 0
            for row in _rows(run, direction):
                target = run.target(row)
                wanted = target.of(direction)
                if target.name != name or wanted is None:
                    continue
                ratio = _ratio(row, direction)
                rated.append(ratio)
                met += ratio >= MET * wanted
                targets.add(wanted)
            cells.append(f"{geometric_mean(rated):.2f} ({min(rated):.2f}) {met}/{len(rated)}" if rated else "")
        if targets:
            lines.append([name, " or ".join(f"{target:g}" for target in sorted(targets)), *cells])
    yield from table(["class", "target", *(run.short for run in runs)], lines)


def _copy_table(runs: Sequence[Run]) -> Iterator[str]:
    cells = []
    for run in runs:
        shares = [
            row.percent
            for row in _rows(run, "forward")
            if run.target(row).name == "depthwise" and max(row.shape["kernel"]) <= 5 and row.bound == "memory"
        ]
        enough = sum(share >= 50 for share in shares)
        cells.append(f"{median(shares):.0f} ({min(shares):.0f}) {enough}/{len(shares)}" if shares else "")
    yield from table([run.short for run in runs], [cells])


def _threads_table(runs: Sequence[Run]) -> Iterator[str]:
    by_key = {run.key: run for run in runs}
    lines, slow = [], []
    for run in runs:
        isa, batch, threads = run.key
        single = by_key.get((isa, batch, 1))
        if threads != 2 or single is None:
            continue
        one = {(row.network, row.name, row.direction): row.seconds for row in single.rows}
        for direction in DIRECTIONS:
            gains = [
                (one[row.network, row.name, row.direction] / row.seconds, row)
                for row in _rows(run, direction)
                if row.network != "pooling" and row.work >= LARGE and (row.network, row.name, row.direction) in one
            ]
            if not gains:
                continue
            enough = sum(gain >= TWO_THREADS for gain, _ in gains)
            mean = geometric_mean(gain for gain, _ in gains)
            lines.append([f"{isa} b{batch}", direction, f"{mean:.2f}", _worst(gains), f"{enough} of {len(gains)}"])
            below = [f"{row.network} {row.name} {gain:.2f}" for gain, row in gains if gain < TWO_THREADS]
            if below:
                slow.append(f"- {isa} b{batch}, {direction}: {', '.join(below)}")
    yield from table(["run", "direction", "geometric mean", "worst", "reach it"], lines)
    if slow:
        yield "\nBelow it:\n"
        yield from slow


def _memory_table(runs: Sequence[Run]) -> Iterator[str]:
    lines = []
    for run in runs:
        rows = [row for row in run.rows if {"fastconv", "torch"} <= set(row.memory)]
        if not rows:
            continue
        cells = []
        for library in ("fastconv", "torch"):
            most = max(rows, key=lambda row: row.memory[library])
            total = sum(row.memory[library] for row in rows) / 1e6
            cells += [f"{total:.0f}", f"{most.memory[library] / 1e6:.1f} at {_label(most)}"]
        more = sum(row.memory["fastconv"] > row.memory["torch"] + 1e6 for row in rows)
        lines.append([run.short, *cells, f"{more} of {len(rows)}"])
    heads = ["run", "fastconv", "largest", "PyTorch", "largest", "rows where fastconv takes over 1 MB more"]
    yield from table(heads, lines)


def _misses(runs: Sequence[Run]) -> Iterator[str]:
    """Every row below its target, with what it reaches and how near its limit that is, class by class."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for run, direction in product(runs, (*DIRECTIONS, "frozen")):
        for row in _rows(run, direction):
            target = run.target(row)
            wanted = target.of(direction)
            if wanted is None or _ratio(row, direction) >= MET * wanted:
                continue
            seconds = row.timings["frozen" if direction == "frozen" else "fastconv"].best
            share = f"{100 * row.limit / seconds:.0f} % {row.bound[0].upper()}"
            text = f"{run.short} {_ratio(row, direction):.2f} of {wanted:g} ({share})"
            found.setdefault((target.name, direction), {}).setdefault(f"{row.network} {row.name}", []).append(text)
    if not found:
        yield "\nNothing."
        return
    yield (
        "\nThe ratio to PyTorch, its target, and the percentage of the limit that binds (F: the peak of multiply-adds, "
        "M: the bandwidth of memory) that fastconv reaches."
    )
    for name, direction in product(CLASSES, (*DIRECTIONS, "frozen")):
        rows = found.get((name, direction))
        if rows:
            yield f"\n{name[0].upper()}{name[1:]}, {_title(direction).lower()}:\n"
            yield from (f"- {row}: {'; '.join(texts)}" for row, texts in rows.items())


def _full_table(run: Run) -> Iterator[str]:
    layers: dict[tuple[str, str], dict[str, Result]] = {}
    for row in run.rows:
        layers.setdefault((row.network, row.name), {})[row.direction] = row
    lines = []
    for (network, name), rows in layers.items():
        forward = rows.get("forward")
        size = _size(shape_of(next(iter(rows.values())).shape))
        cells = [f"{network} {name}", size, *(_cell(rows.get(direction)) for direction in DIRECTIONS)]
        frozen = weights = ""
        if forward and "frozen" in forward.timings and forward.peers:
            frozen = (
                f"{forward.ratio(forward.peers[0], 'frozen'):.2f} / {forward.ratio(forward.best_peer, 'frozen'):.2f}"
            )
        if forward and forward.weights is not None:
            weights = f"{1e3 * forward.weights:.3f}"
        both = [row.memory for row in rows.values() if {"fastconv", "torch"} <= set(row.memory)]
        memory = (
            " / ".join(f"{max(sizes[n] for sizes in both) / 1e6:.1f}" for n in ("fastconv", "torch")) if both else ""
        )
        lines.append([*cells[:3], frozen, weights, *cells[3:], memory])
    heads = ["layer", "sizes", "forward", "frozen", "weights ms", "input gradient", "weight gradient", "MB"]
    yield from table(heads, lines)


def _cell(row: Result | None) -> str:
    if row is None:
        return ""
    letter = {"depthwise": "p"}.get(row.algorithm, row.algorithm[:1])
    ratios = f", {row.ratio(row.peers[0]):.2f}" if row.peers else ""
    if len(row.peers) > 1:
        ratios += f" / {row.ratio(row.best_peer):.2f}"
    return f"{letter} {1e3 * row.seconds:.3f}, {row.percent:.0f} {row.bound[0].upper()}{ratios}".strip()


def _size(shape: Any) -> str:
    if not isinstance(shape, Layer):
        return f"{shape.c}, {shape.h}x{shape.w}"
    text = f"{shape.c} to {shape.k}, {_sides(shape.size)}, {_sides(shape.kernel)}"
    for letter, values, usual in (("s", shape.stride, 1), ("d", shape.dilation, 1)):
        if set(values) != {usual}:
            text += f" {letter}{_sides(values) if len(set(values)) > 1 else values[0]}"
    return text + (f" g{shape.groups}" if shape.groups > 1 else "")


def _sides(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lay out a table in Markdown.

    Parameters
    ----------
    heads : sequence of str
    lines : iterable of sequences of str

    Yields
    ------
    str
        A line.
    """
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _rows(run: Run, direction: str) -> list[Result]:
    """List the rows of a direction; of "frozen" those forward that have a frozen layer."""
    if direction == "frozen":
        return [row for row in run.rows if {"frozen", "torch"} <= set(row.timings)]
    return [row for row in run.rows if row.direction == direction and "torch" in row.timings]


def _ratio(row: Result, direction: str) -> float:
    return row.ratio("torch", "frozen" if direction == "frozen" else "fastconv")


def _worst(rated: Sequence[Rated]) -> str:
    ratio, row = min(rated, key=lambda pair: pair[0])
    return f"{ratio:.2f} at {row.network} {row.name}"


def _label(row: Result) -> str:
    return f"{row.network} {row.name}, {row.direction}"


def _title(direction: str) -> str:
    return "Forward, frozen layer" if direction == "frozen" else direction.capitalize()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
