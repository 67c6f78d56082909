"""``python -m fastconv``: information, the benchmark and the tour, from the command line."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

import fastconv as fc
from fastconv.bench import command as bench_command
from fastconv.demo import command as demo_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the process's own.

    Returns
    -------
    int
        The exit code; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m fastconv", description="Convolution and pooling for NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"fastconv {fc.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="version, compiler, instruction sets and threads, and why")
    bench = commands.add_parser("bench", help="convolution against fully connected layers, on real images")
    bench_command.add_arguments(bench)
    demo = commands.add_parser("demo", help="why convolution: a page of pictures, in under two minutes")
    demo_command.add_arguments(demo)
    options = parser.parse_args(arguments)
    if options.command == "info":
        fc.show_config()
        return 0
    try:
        return bench_command.run(options) if options.command == "bench" else demo_command.run(options)
    except KeyboardInterrupt:
        print("fastconv: stopped", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
