"""The command ``python -m fastconv bench``: what runs in which order, and what it prints."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import fastconv as fc
from fastconv._extras import MissingExtraError, require
from fastconv.bench import plot, report
from fastconv.bench.cases import all_cases, photographs
from fastconv.bench.check import WrongResultError
from fastconv.bench.compare import Row, Settings, compare_case
from fastconv.bench.roofline import Machine, measure_machine
from fastconv.bench.threads import limited_threads
from fastconv.bench.timing import Effort
from fastconv.bench.train import Outcome, Recipe, networks, train_network
from fastconv.data import digits

REQUIRED_ACCURACY = 0.98
SEEDS = 5
QUICK_SEEDS = 1
QUICK_BUDGET = 64_000_000
PAUSE_SECONDS = 0.03


class Progress(Protocol):
    """What the steps of a run report to: a progress bar, or nothing."""

    def set_description_str(self, description: str) -> None:
        """Say what is being done."""

    def update(self, steps: int) -> None:
        """Go on by that many steps."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("--quick", action="store_true", help="under 30 seconds: fewer rounds, less memory, one seed")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write all results as JSON")
    parser.add_argument(
        "--plot", type=_picture, metavar="FILE.png", help="draw parameters, memory and time against image size"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="threads (default: as fastconv chooses)")
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="images a call (default: 1)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="first of the seeds (default: 0)")
    parser.add_argument(
        "--memory",
        type=_positive,
        metavar="MB",
        help=f"fully connected layers whose weights take more are computed, not run "
        f"(default: {Settings.memory_budget // 10**6}; quick: {QUICK_BUDGET // 10**6})",
    )


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Parameters
    ----------
    options : argparse.Namespace
        As :func:`add_arguments` declares them.

    Returns
    -------
    int
        The exit code: 0; 1 where a result is wrong or LeNet-5 misses its accuracy; 2 where a package is missing or a
        file cannot be written.
    """
    try:
        if options.plot:
            plot.check_plotting()
        photographs(), digits()
        return _run(options)
    except (MissingExtraError, OSError) as error:
        print(f"fastconv bench: {error}", file=sys.stderr)
        return 2
    except WrongResultError as error:
        print(f"fastconv bench: WRONG RESULT, nothing more is timed: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    threads = options.threads or fc.get_num_threads()
    settings = make_settings(options, threads)
    seeds = tuple(range(options.seed, options.seed + (QUICK_SEEDS if options.quick else SEEDS)))
    recipe = Recipe()
    with limited_threads(threads):
        machine = measure_machine(threads, seconds=0.5)
        print(report.header(machine, settings, options.quick), flush=True)
        rows = _measure(settings, machine)
        report.print_table(report.layer_table(rows), sys.stdout)
        report.print_table(report.matmul_table(rows), sys.stdout)
        outcomes = _train(recipe, seeds)
        report.print_table(report.training_table(outcomes, seeds, recipe), sys.stdout)
    if options.json:
        report.write_json(
            options.json, report.as_json(machine, settings, rows, outcomes, seeds, recipe, quick=options.quick)
        )
    if options.plot:
        plot.write_plot(options.plot, rows)
    print(f"\nThe whole run took {time.perf_counter() - start:.0f} seconds.")
    reached = outcomes[0].accuracy
    if reached <= REQUIRED_ACCURACY:
        print(f"fastconv bench: LeNet-5 must pass {REQUIRED_ACCURACY:.0%}, it read {reached:.2%}", file=sys.stderr)
        return 1
    return 0


def make_settings(options: argparse.Namespace, threads: int) -> Settings:
    """Turn options into settings.

    Parameters
    ----------
    options : argparse.Namespace
    threads : int
        With more than one, there is a pause between libraries.

    Returns
    -------
    Settings
    """
    pause = PAUSE_SECONDS if threads > 1 else 0.0
    if options.quick:
        effort = Effort(rounds=5, sample_seconds=0.002, limit_seconds=0.6, pause=pause)
    else:
        effort = Effort(pause=pause)
    budget = options.memory * 10**6 if options.memory else QUICK_BUDGET if options.quick else Settings.memory_budget
    return Settings(batch=options.batch, seed=options.seed, memory_budget=budget, effort=effort)


def _measure(settings: Settings, machine: Machine) -> list[Row]:
    cases = all_cases()
    rows = []
    with _progress(len(cases)) as progress:
        for case in cases:
            progress.set_description_str(case.layer.name)
            rows.append(compare_case(case, settings, machine))
            progress.update(1)
    return rows


def _train(recipe: Recipe, seeds: Sequence[int]) -> list[Outcome]:
    compared = networks()
    outcomes = []
    with _progress(len(compared) * len(seeds)) as progress:
        for network in compared:
            progress.set_description_str(f"training {network.name}")
            outcomes.append(train_network(network, recipe, tuple(seeds), lambda: progress.update(1)))
    return outcomes


class _Silent:
    def set_description_str(self, description: str) -> None:
        pass

    def update(self, steps: int) -> None:
        pass


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """Show a bar on stderr while a person watches and tqdm is installed."""
    if report.is_terminal(sys.stderr):
        try:
            tqdm = require("tqdm", "progress bars").tqdm
        except MissingExtraError:
            pass  # a bar is a convenience
        else:
            with tqdm(total=total, file=sys.stderr, leave=False) as bar:
                yield bar
            return
    yield _Silent()


def _file(text: str) -> str:
    if not Path(text).absolute().parent.is_dir():  # said now, not after minutes of measuring
        raise argparse.ArgumentTypeError(f"must lie in a folder that exists, received {text}")
    return text


def _picture(text: str) -> str:
    if Path(text).suffix not in (".png", ".pdf", ".svg"):
        raise argparse.ArgumentTypeError(f"must end in .png, .pdf or .svg, received {text}")
    return _file(text)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, received {text}") from None


def _positive(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, received {text}")
    return value


def _seed(text: str) -> int:
    value = _whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, received {text}")
    return value
