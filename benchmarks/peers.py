"""Time fastconv beside PyTorch, ONNX Runtime and OpenVINO on the layers of well-known networks.

All libraries run in this process, in turn, on the same arrays with the same number of threads; what they compute is
compared before it is timed. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from libraries import DIRECTIONS, PEERS, Call, FastConv, Library, load_peers

import fastconv as fc
from fastconv.bench.cases import POOLS, make_parameters, photograph_windows, read_shapes
from fastconv.bench.check import WrongResultError, check_same
from fastconv.bench.extras import MissingExtraError
from fastconv.bench.layers import Conv, Pool
from fastconv.bench.roofline import Machine, measure_machine
from fastconv.bench.threads import limited_threads
from fastconv.bench.timing import Effort, Task, Timing, interleave

SHAPES = sorted(Path(__file__).with_name("shapes").glob("*.csv"))
PAUSE_SECONDS = 0.05

# Idle threads of one library would spin and slow the next one; these are read when an OpenMP runtime starts.
PASSIVE = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}

# Largest difference, as a multiple of the root mean square, that float32 sums in another order may show. The weight
# gradient sums over all pixels and images: torch's own is off by up to 1e-4.
AGREEMENT = {"forward": 1e-4, "input gradient": 1e-4, "weight gradient": 1e-3}


@dataclass(frozen=True)
class Result:
    """A row: the layer, the work that percentages relate to, and every library's time."""

    network: str
    layer: str
    direction: str
    unit: str
    work: float
    percent: float
    timings: dict[str, Timing]

    @property
    def rate(self) -> float:
        """Fastconv's rate in `unit`."""
        return self.work / self.timings["fastconv"].best / 1e9

    def ratio(self, peer: str) -> float:
        """How many times as fast as the peer fastconv is."""
        return self.timings[peer].best / self.timings["fastconv"].best

    @property
    def peers(self) -> list[str]:
        """The other libraries that were timed."""
        return [name for name in self.timings if name != "fastconv"]

    @property
    def against_best(self) -> float:
        """The ratio to the fastest peer."""
        return min(self.ratio(peer) for peer in self.peers)


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
    if options.threads > 1 and any(name not in os.environ for name in PASSIVE):
        os.environ.update({name: os.environ.get(name, value) for name, value in PASSIVE.items()})
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
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
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every library (default: 1)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images a call (default: 1)")
    parser.add_argument("--shapes", nargs="+", type=Path, default=SHAPES, metavar="FILE", help="CSV files of layers")
    parser.add_argument("--no-pooling", action="store_true", help="leave the pooling rows out")
    parser.add_argument("--direction", choices=("all", *DIRECTIONS), default="all")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times as JSON")
    parser.add_argument(
        "--peers",
        default=",".join(PEERS),
        type=_peer_names,
        metavar="LIST",
        help=f"of {','.join(PEERS)} (default: all)",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    effort = Effort(
        rounds=options.rounds,
        sample_seconds=0.01,
        limit_seconds=math.inf,
        pause=PAUSE_SECONDS if options.threads > 1 else 0.0,
    )
    libraries = [FastConv(), *load_peers(options.peers, options.threads)]
    directions = DIRECTIONS if options.direction == "all" else (options.direction,)
    results: list[Result] = []
    with limited_threads(options.threads):
        machine = measure_machine(options.threads, seconds=0.5)
        print(_header(machine, options, effort))
        for path in options.shapes:
            print(f"\n{path.stem}\n{_heads(options.peers)}")
            for layer in read_shapes(path):
                for result in conv_results(path.stem, layer, directions, libraries, machine, options.batch, effort):
                    results.append(result)
                    print(_row(result, options.peers), flush=True)
        if not options.no_pooling:
            print(f"\npooling\n{_heads(options.peers)}")
            for pool in POOLS:
                for result in pool_results(pool, directions, libraries, machine, options.batch, effort):
                    results.append(result)
                    print(_row(result, options.peers), flush=True)
    print("\n".join(summary(results)))
    if options.json:
        record = {"version": fc.__version__, "threads": options.threads, "batch": options.batch}
        record |= {"machine": dataclasses.asdict(machine), "method": effort.describe()}
        record |= {"rows": [dataclasses.asdict(result) for result in results]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def conv_results(
    network: str,
    layer: Conv,
    directions: Iterable[str],
    libraries: Sequence[Library],
    machine: Machine,
    batch: int,
    effort: Effort,
) -> Iterable[Result]:
    """Compare and time one convolution layer.

    Yields
    ------
    Result
        For every direction; percentages are of the machine's peak of multiply-adds.

    Raises
    ------
    WrongResultError
        If two libraries' results differ.
    """
    rng = np.random.default_rng(0)
    x = photograph_windows(*layer.input_shape(batch))
    weight, _ = make_parameters(layer, rng)
    grad_output = rng.standard_normal(layer.output_shape(batch), dtype=np.float32)
    flops = 2.0 * layer.work(batch).multiply_adds
    for direction in directions:
        calls = {library.name: library.conv(layer, direction, x, weight, grad_output) for library in libraries}
        timings = compare_and_time(f"{network} {layer.name}", direction, calls, effort)
        percent = 100 * flops / timings["fastconv"].best / machine.peak
        yield Result(network, layer.name, direction, "GFLOP/s", flops, percent, timings)


def pool_results(
    layer: Pool, directions: Iterable[str], libraries: Sequence[Library], machine: Machine, batch: int, effort: Effort
) -> Iterable[Result]:
    """Compare and time one pooling layer.

    Yields
    ------
    Result
        For forward and the input's gradient; percentages are of the machine's bandwidth.

    Raises
    ------
    WrongResultError
        If two libraries' results differ.
    """
    x = photograph_windows(*layer.input_shape(batch))
    grad_output = np.random.default_rng(0).standard_normal(layer.output_shape(batch), dtype=np.float32)
    traffic = float(layer.traffic(batch))
    for direction in directions:
        calls = {library.name: library.pool(layer, direction, x, grad_output) for library in libraries}
        if calls["fastconv"] is None:
            continue
        timings = compare_and_time(layer.name, direction, calls, effort)
        percent = 100 * traffic / timings["fastconv"].best / machine.bandwidth
        yield Result("pooling", layer.name, direction, "GB/s", traffic, percent, timings)


def compare_and_time(name: str, direction: str, calls: dict[str, Call | None], effort: Effort) -> dict[str, Timing]:
    """Compare every library's result with fastconv's, then time them in turn.

    Parameters
    ----------
    name, direction : str
        What is computed.
    calls : dict of str to callable or None
        By library; None where it has no such operator.
    effort : Effort

    Returns
    -------
    dict of str to Timing

    Raises
    ------
    WrongResultError
        If a result differs.
    """
    present = {library: call for library, call in calls.items() if call is not None}
    ours = present["fastconv"]()
    for library, call in present.items():
        check_same(f"{name}, {direction}: fastconv and {library}", ours, call(), AGREEMENT[direction])
    tasks = [Task(f"{name} {direction}", library, call) for library, call in present.items()]
    return dict(zip(present, interleave(tasks, effort), strict=True))


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
                yield _summary_line("best peer", [(row.against_best, row) for row in rows])


def _summary_line(peer: str, ratios: Sequence[tuple[float, Result]]) -> str:
    mean = math.exp(sum(math.log(ratio) for ratio, _ in ratios) / len(ratios))
    worst, row = min(ratios, key=lambda pair: pair[0])
    return f"  {peer:<10} {mean:6.2f}   worst {worst:.2f} at {row.network} {row.layer}"


def _header(machine: Machine, options: argparse.Namespace, effort: Effort) -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in ("fastconv", *options.peers))
    paragraphs = (
        versions,
        f"{machine.cpu}; {options.threads} threads, batch {options.batch}, float32; measured "
        f"{machine.peak / 1e9:.1f} GFLOP/s of fused multiply-adds, {machine.bandwidth / 1e9:.1f} GB/s copied",
        effort.describe(),
        "ratio: the peer's time over fastconv's; above 1 fastconv is faster. %: of the measured peak, for pooling of "
        "the measured bandwidth. ONNX models hold the weights and may pack them beforehand; fastconv and torch get "
        "them in every call.",
    )
    return "\n".join(textwrap.fill(paragraph, 118, subsequent_indent="    ") for paragraph in paragraphs)


def _version(name: str) -> str:
    if name == "fastconv":
        return fc.__version__
    return str(sys.modules["onnxruntime" if name == "ort" else name].__version__)


def _heads(peers: Sequence[str]) -> str:
    others = "".join(f"{peer + ' ms':>12} {'ratio':>6}" for peer in peers)
    return f"{'layer':<28} {'direction':<15} {'fastconv ms':>11} {'rate':>7}         {'%':>4}{others} {'best':>6}"


def _row(result: Result, peers: Sequence[str]) -> str:
    others = "".join(
        f"{1e3 * result.timings[peer].best:12.3f} {result.ratio(peer):6.2f}" if peer in result.timings else " " * 19
        for peer in peers
    )
    ours = f"{1e3 * result.timings['fastconv'].best:11.3f} {result.rate:7.1f} {result.unit:<7} {result.percent:4.0f}"
    best = f"{result.against_best:6.2f}" if result.peers else ""
    return f"{result.layer:<28} {result.direction:<15} {ours}{others} {best}"


def _peer_names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {','.join(PEERS)}, received {text}")
    return names


if __name__ == "__main__":
    sys.exit(main())
