"""Time fastconv beside PyTorch, ONNX Runtime and OpenVINO on the layers of well-known networks, and others.

All libraries run in this process, in turn, on the same arrays with the same number of threads; what they compute is
compared before it is timed. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import math
import platform
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from environment import ISAS, UNCAPPED, restart_with
from libraries import DIRECTIONS, OURS, PEERS, Call, FastConv, Frozen, Library, load_peers
from memory import extra_memory
from rows import Layer, read_layers

import fastconv as fc
from fastconv._config import current_isa
from fastconv._extras import MissingExtraError
from fastconv.bench.cases import POOLS, photograph_windows
from fastconv.bench.check import WrongResultError, check_same
from fastconv.bench.layers import Pool
from fastconv.bench.roofline import Machine, measure_machine
from fastconv.bench.threads import limited_threads
from fastconv.bench.timing import Effort, Task, Timing, interleave

SHAPES = sorted(Path(__file__).with_name("shapes").glob("*.csv"))
PAUSE_SECONDS = 0.1  # at most: ONNX Runtime's threads spin that long
LIMIT_SECONDS = 0.25  # of a row, after which three rounds are enough

# Largest difference, as a multiple of the root mean square, that float32 sums in another order may show; float64's is
# smaller as its unit is. The weight gradient sums over all pixels and images: torch's own is off by up to 1e-4.
AGREEMENT = {"forward": 1e-4, "input gradient": 1e-4, "weight gradient": 1e-3}
REMEMBERED = ("fastconv", "torch")  # whose memory is measured: the others' pools cannot be emptied


@dataclass(frozen=True)
class Result:
    """A row: the layer, what limits it, and every library's time.

    Attributes
    ----------
    network, name, direction : str
    shape : dict
        The layer's sizes, as `Layer` or `Pool` has them.
    algorithm : str
        Which fastconv ran.
    unit : str
        "GFLOP/s", or "GB/s" for pooling.
    work : float
        Floating-point operations, or bytes for pooling.
    limit : float
        The least seconds: the slower of computing at the machine's peak and of moving the bytes.
    bound : str
        Which of the two that is, "FMA" or "memory".
    timings : dict of str to Timing
        By library; "frozen" is fastconv's frozen layer.
    memory : dict of str to int
        Bytes beside operands and result, by library.
    """

    network: str
    name: str
    direction: str
    shape: dict[str, Any]
    algorithm: str
    unit: str
    work: float
    limit: float
    bound: str
    timings: dict[str, Timing]
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Fastconv's time."""
        return self.timings["fastconv"].best

    @property
    def rate(self) -> float:
        """Fastconv's rate in `unit`."""
        return self.work / self.seconds / 1e9

    @property
    def percent(self) -> float:
        """The share of the limit that fastconv reaches."""
        return 100 * self.limit / self.seconds

    @property
    def weights(self) -> float | None:
        """Where Winograd ran forward, the seconds that its transform of the weights adds: a frozen layer has it."""
        if self.algorithm != "winograd" or "frozen" not in self.timings:
            return None
        return max(0.0, self.seconds - self.timings["frozen"].best)

    def ratio(self, peer: str, ours: str = "fastconv") -> float:
        """How many times as fast as the peer fastconv is."""
        return self.timings[peer].best / self.timings[ours].best

    @property
    def peers(self) -> list[str]:
        """The other libraries that were timed."""
        return [name for name in self.timings if name not in OURS]

    @property
    def best_peer(self) -> str:
        """The fastest of them."""
        return min(self.peers, key=lambda peer: self.timings[peer].best)


class Limits:
    """What the machine could do at best with these threads and this instruction set, for each dtype."""

    def __init__(self, threads: int, seconds: float = 0.5) -> None:
        self.isa = list(fc._config.ISAS)[current_isa()]
        self.machines: dict[str, Machine] = {
            dtype: measure_machine(threads, seconds, dtype, current_isa()) for dtype in ("float32", "float64")
        }

    def of(self, multiply_adds: int, traffic: int, dtype: str) -> tuple[float, str]:
        """Return the least seconds, and which limit that is."""
        machine = self.machines[dtype]
        computing = machine.least_seconds(multiply_adds, 0)
        moving = machine.least_seconds(0, traffic)
        return max(computing, moving), "FMA" if computing >= moving else "memory"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the process's own.

    Returns
    -------
    int
        The exit code: 0; 1 where results differ; 2 where a package is missing.
    """
    options = _parser().parse_args(arguments)
    restart_with(options.threads, options.isa)
    try:
        return _run(options)
    except MissingExtraError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    except WrongResultError as error:
        print(f"peers: DIFFERENT RESULTS, nothing more is timed: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/peers.py", description=__doc__.partition("\n")[0])
    add_common_options(parser)
    parser.add_argument("--no-pooling", action="store_true", help="leave the pooling rows out")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument(
        "--peers",
        default=",".join(PEERS),
        type=_peer_names,
        metavar="LIST",
        help=f"of {','.join(PEERS)} (default: all)",
    )
    return parser


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Declare what to measure.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every library (default: 1)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images a call (default: 1)")
    parser.add_argument("--isa", choices=ISAS, help="cap all libraries at an instruction set (default: none)")
    parser.add_argument("--shapes", nargs="+", type=Path, default=SHAPES, metavar="FILE", help="CSV files of layers")
    parser.add_argument("--direction", choices=("all", *DIRECTIONS), default="all")


def _run(options: argparse.Namespace) -> int:
    effort = Effort(
        rounds=options.rounds,
        sample_seconds=0.005,
        limit_seconds=LIMIT_SECONDS,
        pause=PAUSE_SECONDS if options.threads > 1 else 0.0,
    )
    left_out = [peer for peer in options.peers if peer in UNCAPPED.get(options.isa, ())]
    peers = [peer for peer in options.peers if peer not in left_out]
    libraries = [FastConv(), Frozen(), *load_peers(peers, options.threads)]
    directions = DIRECTIONS if options.direction == "all" else (options.direction,)
    results: list[Result] = []
    gc.freeze()  # what the libraries have made: each row collects garbage before it is timed

    def show(found: Iterable[Result]) -> None:
        for result in found:
            results.append(result)
            print(_row(result, peers), flush=True)

    with limited_threads(options.threads):
        limits = Limits(options.threads)
        print(_header(limits, options, effort, peers, left_out))
        for path in options.shapes:
            print(f"\n{path.stem}\n{_heads(peers)}")
            for layer in read_layers(path):
                show(conv_results(path.stem, layer, directions, libraries, limits, options.batch, effort))
        if not options.no_pooling:
            print(f"\npooling\n{_heads(peers)}")
            for pool in POOLS:
                show(pool_results(pool, directions, libraries, limits, options.batch, effort))
    print("\n".join(summary(results)))
    if options.json:
        record = {"versions": _versions(peers), "isa": limits.isa, "threads": options.threads, "batch": options.batch}
        record |= {"machine": {dtype: dataclasses.asdict(machine) for dtype, machine in limits.machines.items()}}
        record |= {"method": effort.describe(), "command": "python " + " ".join(sys.orig_argv[1:])}
        record |= {"rows": [dataclasses.asdict(result) for result in results]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def conv_results(
    network: str,
    layer: Layer,
    directions: Iterable[str],
    libraries: Sequence[Library],
    limits: Limits,
    batch: int,
    effort: Effort,
) -> Iterable[Result]:
    """Compare and time one convolution layer.

    Yields
    ------
    Result
        For every direction.

    Raises
    ------
    WrongResultError
        If two libraries' results differ.
    """
    x, weight, grad_output = layer.arrays(batch)
    multiply_adds = layer.multiply_adds(batch)
    limit, bound = limits.of(multiply_adds, layer.traffic(batch), layer.dtype)
    for direction in directions:
        calls = {library.name: library.conv(layer, direction, x, weight, grad_output) for library in libraries}
        algorithm = FastConv().runs(layer, direction, x, weight)
        tolerance = AGREEMENT[direction] * float(np.finfo(layer.dtype).eps / np.finfo("float32").eps)
        timings, memory = compare_and_time(f"{network} {layer.name}, {direction}", calls, tolerance, effort)
        yield Result(
            network,
            layer.name,
            direction,
            dataclasses.asdict(layer),
            algorithm,
            "GFLOP/s",
            2.0 * multiply_adds,
            limit,
            bound,
            timings,
            memory,
        )


def pool_results(
    layer: Pool, directions: Iterable[str], libraries: Sequence[Library], limits: Limits, batch: int, effort: Effort
) -> Iterable[Result]:
    """Compare and time one pooling layer.

    Yields
    ------
    Result
        For forward and the input's gradient.

    Raises
    ------
    WrongResultError
        If two libraries' results differ.
    """
    x = photograph_windows(*layer.input_shape(batch))
    grad_output = np.random.default_rng(0).standard_normal(layer.output_shape(batch), dtype=np.float32)
    traffic = layer.traffic(batch)
    limit, bound = limits.of(0, traffic, "float32")
    for direction in directions:
        calls = {library.name: library.pool(layer, direction, x, grad_output) for library in libraries}
        if calls["fastconv"] is None:
            continue
        tolerance = AGREEMENT[direction]
        timings, memory = compare_and_time(f"{layer.name}, {direction}", calls, tolerance, effort)
        shape = dataclasses.asdict(layer)
        yield Result("pooling", layer.name, direction, shape, "", "GB/s", float(traffic), limit, bound, timings, memory)


def compare_and_time(
    name: str, calls: dict[str, Call | None], tolerance: float, effort: Effort
) -> tuple[dict[str, Timing], dict[str, int]]:
    """Compare every library's result with fastconv's, measure the memory of some, then time them in turn.

    Parameters
    ----------
    name : str
        What is computed.
    calls : dict of str to callable or None
        By library; None where it has no such operator.
    tolerance : float
        Allowed difference, as a multiple of the root mean square.
    effort : Effort

    Returns
    -------
    timings : dict of str to Timing
    memory : dict of str to int

    Raises
    ------
    WrongResultError
        If a result differs.
    """
    present = {library: call for library, call in calls.items() if call is not None}
    ours = present["fastconv"]()
    for library, call in present.items():
        if library != "fastconv":
            check_same(f"{name}: fastconv and {library}", ours, np.asarray(call()), tolerance)
    del ours
    memory = {library: extra_memory(present[library]) for library in REMEMBERED if library in present}
    # Fastconv's own first, so that a round changes the library as rarely as possible; ONNX Runtime, whose threads spin
    # longest, last: the next round begins there.
    names = sorted(present, key=lambda library: (library not in OURS, library == "ort"))
    tasks = [Task(name, "fastconv" if library in OURS else library, present[library]) for library in names]
    by_name = dict(zip(names, interleave(tasks, effort), strict=True))
    return by_name, {library: size for library, size in memory.items() if size is not None}


def summary(results: Sequence[Result]) -> Iterable[str]:
    """Geometric means and worst rows, a direction and unit at a time.

    Parameters
    ----------
    results : sequence of Result

    Yields
    ------
    str
        A line.
    """
    yield "\nHow many times as fast as its peer fastconv is (geometric mean over rows; worst row)"
    for unit, what in (("GFLOP/s", "convolution"), ("GB/s", "pooling")):
        for direction in DIRECTIONS:
            rows = [row for row in results if row.direction == direction and row.unit == unit and row.peers]
            if not rows:
                continue
            yield f"{what}, {direction}, {len(rows)} rows"
            for peer in dict.fromkeys(peer for row in rows for peer in row.peers):
                yield _summary_line(peer, [(row.ratio(peer), row) for row in rows if peer in row.timings])
            if len({peer for row in rows for peer in row.peers}) > 1:
                yield _summary_line("best peer", [(row.ratio(row.best_peer), row) for row in rows])
                frozen = [(row.ratio(row.best_peer, "frozen"), row) for row in rows if "frozen" in row.timings]
                if frozen:
                    yield _summary_line("best peer, weights frozen", frozen)


def geometric_mean(values: Iterable[float]) -> float:
    """Return exp of the mean logarithm of some numbers."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def _summary_line(peer: str, ratios: Sequence[tuple[float, Result]]) -> str:
    mean = geometric_mean(ratio for ratio, _ in ratios)
    worst, row = min(ratios, key=lambda pair: pair[0])
    return f"  {peer:<25} {mean:6.2f}   worst {worst:.2f} at {row.network} {row.name}"


def _header(
    limits: Limits, options: argparse.Namespace, effort: Effort, peers: Sequence[str], left_out: Sequence[str]
) -> str:
    single, double = limits.machines["float32"], limits.machines["float64"]
    paragraphs = [
        ", ".join(f"{name} {version}" for name, version in _versions(peers).items()),
        f"{single.cpu}; {limits.isa}, {options.threads} threads, batch {options.batch}; measured "
        f"{single.peak / 1e9:.1f} GFLOP/s of fused multiply-adds in float32, {double.peak / 1e9:.1f} in float64, "
        f"{single.bandwidth / 1e9:.1f} GB/s copied",
        effort.describe(),
        "ratio: the peer's time over fastconv's; above 1 fastconv is faster; best: to the fastest peer. %: of the "
        "limit that binds, F: the measured peak, M: the measured bandwidth, that operands and result pass once. "
        "frozen: a frozen layer, whose weights are packed; w: what Winograd's transform of the weights takes, the "
        "difference of the two. ONNX models hold the weights and may pack them beforehand; fastconv and torch get them "
        "in every call. MB: memory of a call beside operands and result, fastconv's and torch's.",
    ]
    if left_out:
        paragraphs.append(f"left out, since they cannot be capped at {options.isa}: {', '.join(left_out)}")
    return "\n".join(textwrap.fill(paragraph, 118, subsequent_indent="    ") for paragraph in paragraphs)


def _versions(peers: Sequence[str]) -> dict[str, str]:
    modules = {peer: sys.modules["onnxruntime" if peer == "ort" else peer] for peer in peers}
    versions = {"fastconv": fc.__version__} | {peer: str(module.__version__) for peer, module in modules.items()}
    return versions | {"NumPy": np.__version__, "Python": platform.python_version()}


def _heads(peers: Sequence[str]) -> str:
    others = "".join(f"{peer + ' ms':>12} {'ratio':>6}" for peer in peers)
    ours = f"{'ms':>9} {'rate':>7}         {'%':>5}   {'frozen':>8} {'w':>7}"
    return f"{'layer':<24} {'direction':<15} {'algorithm':<9} {ours}{others} {'best':>6} {'MB':>13}"


def _row(result: Result, peers: Sequence[str]) -> str:
    others = "".join(
        f"{1e3 * result.timings[peer].best:12.3f} {result.ratio(peer):6.2f}" if peer in result.timings else " " * 19
        for peer in peers
    )
    frozen, weights = result.timings.get("frozen"), result.weights
    ours = f"{1e3 * result.seconds:9.3f} {result.rate:7.1f} {result.unit:<7}"
    ours += f" {result.percent:5.0f} {result.bound[0].upper()}"
    ours += f" {1e3 * frozen.best:8.3f}" if frozen else " " * 9
    ours += " " * 8 if weights is None else f" {1e3 * weights:7.3f}"
    best = f"{result.ratio(result.best_peer):6.2f}" if result.peers else " " * 6
    memory = " ".join(f"{result.memory[name] / 1e6:6.1f}" for name in REMEMBERED if name in result.memory)
    return f"{result.name:<24} {result.direction:<15} {result.algorithm:<9} {ours}{others} {best} {memory:>13}"


def _peer_names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {','.join(PEERS)}, received {text}")
    return names


if __name__ == "__main__":
    sys.exit(main())
