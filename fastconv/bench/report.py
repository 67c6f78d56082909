"""Results as text, as a table in a terminal, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import fastconv as fc
from fastconv.bench.compare import Line, Row, Settings, Speed
from fastconv.bench.layers import FLOAT32_BYTES
from fastconv.bench.roofline import Machine
from fastconv.bench.train import Outcome, Recipe

JSON_SCHEMA = 1


@dataclass(frozen=True)
class Table:
    """A title, column heads and rows of text; a row of one cell is a heading (in a terminal, up to its first comma)."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches: a terminal, outside continuous integration, that wants more than plain text.

    Parameters
    ----------
    stream : text stream

    Returns
    -------
    bool
        False when the stream is no terminal, CI or NO_COLOR is set, or TERM is "dumb".
    """
    plain = os.environ.get("CI") or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def print_table(table: Table, stream: TextIO) -> None:
    """Write a table: drawn by rich in a terminal, where rich is installed; otherwise plain, aligned text.

    Parameters
    ----------
    table : Table
    stream : text stream
    """
    if is_terminal(stream):
        try:
            _print_rich(table, stream)
            return
        except ModuleNotFoundError:
            pass  # rich is a convenience; the plain table says the same
    stream.write("\n".join(plain_lines(table)) + "\n")
    stream.flush()


def plain_lines(table: Table) -> Iterator[str]:
    """Lay a table out as aligned text, the first column to the left and the others to the right.

    Parameters
    ----------
    table : Table

    Yields
    ------
    str
        A line without its end.

    Examples
    --------
    >>> for line in plain_lines(Table("Costs", ("layer", "weights"), (("small", "4"), ("large", "144")))):
    ...     print(line)
    <BLANKLINE>
    Costs
    layer  weights
    -----  -------
    small        4
    large      144
    """
    full = [table.heads, *(row for row in table.rows if len(row) > 1)]
    widths = [max(len(row[column]) for row in full) for column in range(len(table.heads))]
    yield ""
    yield table.title
    for row in (table.heads, tuple("-" * width for width in widths), *table.rows):
        cells = [row[0] if len(row) == 1 else row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        yield "  ".join(cells).rstrip()


def header(machine: Machine, settings: Settings, quick: bool) -> str:
    """Describe machine and method.

    Parameters
    ----------
    machine : Machine
    settings : Settings
    quick : bool

    Returns
    -------
    str
    """
    kind = "quick run: fewer rounds, smaller memory budget, fewer seeds" if quick else "full run"
    paragraphs = (
        f"fastconv {fc.__version__}, NumPy {np.__version__}, float32; {kind}",
        f"machine: {machine.cpu}; {machine.threads} threads; measured: {machine.peak / 1e9:.1f} GFLOP/s of fused "
        f"multiply-adds, {machine.bandwidth / 1e9:.1f} GB/s copied (bytes read and written)",
        f"method: batch {settings.batch}. {settings.effort.describe()} Every result is checked against "
        "fastconv.reference before it is timed. Backward: the gradients of input, weight and bias.",
        "percentages: of the measured peak, and of the measured bandwidth when each array is moved once (what stays in "
        "the caches can pass 100). x conv: the forward time over the convolution's.",
        "fully connected (dense) and local layers are run where their weights fit "
        f"{settings.memory_budget / 1e6:.0f} MB (backward writes as much again); the others are marked computed: the "
        "least time that peak and bandwidth allow.",
    )
    return "\n".join(textwrap.fill(paragraph, 118, subsequent_indent="    ") for paragraph in paragraphs)


def layer_table(rows: Sequence[Row]) -> Table:
    """Tabulate convolutions beside layers that share fewer weights.

    Parameters
    ----------
    rows : sequence of Row

    Returns
    -------
    Table
    """
    per_pass = ("GFLOP/s", "% FMA", "% memory")
    heads = ("layer", "parameters", "mult-adds", "bytes", "forward", *per_pass, "backward", *per_pass, "x conv")
    lines: list[tuple[str, ...]] = []
    for row in rows:
        lines.append((_describe(row),))
        lines += (_line_cells(line, row.lines[0]) for line in row.lines)
    return Table("Convolution beside fully connected, local and tiled layers of the same input", heads, tuple(lines))


def matmul_table(rows: Sequence[Row]) -> Table:
    """Tabulate both ways to compute the fully connected layers that were run; the faster one counts above.

    Parameters
    ----------
    rows : sequence of Row

    Returns
    -------
    Table
    """
    heads = ("fully connected layer", "fastconv forward", "NumPy", "faster", "fastconv backward", "NumPy", "faster")
    cells = tuple(
        (f"{row.case.layer.name}, {line.kind}", *_both(line.forward), *_both(line.backward))
        for row in rows
        for line in row.lines
        if "NumPy" in line.forward.timings
    )
    return Table("Fully connected: fastconv.linear and NumPy's matmul, the faster counts", heads, cells)


def training_table(outcomes: Sequence[Outcome], seeds: Sequence[int], recipe: Recipe) -> Table:
    """Tabulate trained networks.

    Parameters
    ----------
    outcomes : sequence of Outcome
    seeds : sequence of int
    recipe : Recipe

    Returns
    -------
    Table
    """
    title = (
        f"Training on the 1,797 digits at 32x32 (every third image is the test set), mean of seeds "
        f"{', '.join(map(str, seeds))}:\n{recipe.epochs} epochs of mini-batches of {recipe.batch}, moved by up to "
        f"{recipe.shift} pixels; SGD with momentum {recipe.momentum}, learning rate from {recipe.learning_rate} to 0"
    )
    heads = ("network", "parameters", "mult-adds", "accuracy", "worst seed", "best seed", "seconds")
    cells = tuple(
        (
            outcome.name,
            f"{outcome.parameters:,}",
            f"{outcome.multiply_adds:,}",
            *(f"{100 * value:.2f} %" for value in (outcome.accuracy, min(outcome.accuracies), max(outcome.accuracies))),
            f"{outcome.mean_seconds:.2f}",
        )
        for outcome in outcomes
    )
    return Table(title, heads, cells)


def as_json(
    machine: Machine,
    settings: Settings,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    seeds: Sequence[int],
    recipe: Recipe,
    quick: bool,
) -> dict[str, Any]:
    """Gather everything that was measured; seconds, bytes and FLOP/s throughout.

    Returns
    -------
    dict
        With the keys schema, version, numpy, quick, machine, settings, method, layers and training.
    """
    return {
        "schema": JSON_SCHEMA,
        "version": fc.__version__,
        "numpy": np.__version__,
        "quick": quick,
        "machine": dataclasses.asdict(machine),
        "settings": dataclasses.asdict(settings),
        "method": settings.effort.describe(),
        "layers": [dataclasses.asdict(row) for row in rows],
        "training": {
            "seeds": list(seeds),
            "recipe": dataclasses.asdict(recipe),
            "networks": [dataclasses.asdict(outcome) | {"accuracy": outcome.accuracy} for outcome in outcomes],
        },
    }


def write_json(path: str | Path, results: dict[str, Any]) -> None:
    """Write results as JSON.

    Parameters
    ----------
    path : str or Path
    results : dict
    """
    Path(path).write_text(json.dumps(results, indent=1) + "\n")


def quantity(value: float) -> str:
    """Shorten a count with k, M, G, T.

    Examples
    --------
    >>> quantity(760), quantity(48_120), quantity(44_892_064_800), quantity(9_999.9)
    ('760', '48.1 k', '44.9 G', '10.0 k')
    """
    if value < 1000:
        return f"{value:.0f}"
    for unit in ("k", "M", "G"):
        value /= 1000
        if value < 999.5:
            return f"{_three_digits(value)} {unit}"
    return f"{_three_digits(value / 1000)} T"


def duration(seconds: float) -> str:
    """Write a time with a fitting unit.

    Examples
    --------
    >>> duration(3.21e-6), duration(0.0457), duration(75.0)
    ('3.21 us', '45.7 ms', '75.0 s')
    """
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{_three_digits(seconds)} s"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _describe(row: Row) -> str:
    layer = row.case.layer
    height, width = layer.output_size
    weights = layer.dense_of_same_sizes().weights * FLOAT32_BYTES
    return (
        f"{layer.name}: {layer.c}x{layer.h}x{layer.w} to {layer.k}x{height}x{width}, {row.case.source}, "
        f"{layer.kh}x{layer.kw} filters, stride {layer.sh}; dense weights of these sizes: {quantity(weights)}B"
    )


def _line_cells(line: Line, convolution: Line) -> tuple[str, ...]:
    work = line.work
    ratio = line.forward.seconds / convolution.forward.seconds
    return (
        f"  {line.kind}",
        quantity(work.parameters),
        quantity(work.multiply_adds),
        quantity(work.forward_bytes),
        *_speed_cells(line.forward),
        *_speed_cells(line.backward),
        "1" if line is convolution else _three_digits(ratio) if ratio < 999.5 else quantity(ratio),
    )


def _speed_cells(speed: Speed) -> tuple[str, ...]:
    if speed.gflops is None:
        return f"> {duration(speed.seconds)}", "computed", "", ""
    return (
        duration(speed.seconds),
        _three_digits(speed.gflops),
        f"{speed.percent_of_peak:.0f}",
        f"{speed.percent_of_bandwidth:.0f}",
    )


def _both(speed: Speed) -> Iterable[str]:
    fastconv, numpy = speed.timings["fastconv"].best, speed.timings["NumPy"].best
    return duration(fastconv), duration(numpy), f"{speed.library} {max(fastconv, numpy) / speed.seconds:.2f}x"


def _print_rich(table: Table, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    width = max(map(len, plain_lines(table))) + len(table.heads) + 4
    console = Console(file=stream)
    console = Console(file=stream, width=max(console.width, width))
    drawn = RichTable(title=f"\n{table.title}", title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for number, head in enumerate(table.heads):
        drawn.add_column(head, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        if len(row) == 1:
            drawn.add_section()
            drawn.add_row(f"[bold]{row[0].partition(',')[0]}[/bold]")
        else:
            drawn.add_row(*row)
    console.print(drawn)
