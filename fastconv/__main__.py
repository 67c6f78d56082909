"""``python -m fastconv``: information and the benchmark, from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fastconv as fc
from fastconv.bench import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the process's own.

    Returns
    -------
    int
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m fastconv", description="Convolution and pooling for NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"fastconv {fc.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="version, compiler, instruction sets and threads, and why")
    bench = commands.add_parser("bench", help="convolution against fully connected layers, on real images")
    command.add_arguments(bench)
    options = parser.parse_args(arguments)
    if options.command == "info":
        fc.show_config()
        return 0
    return command.run(options)


if __name__ == "__main__":
    sys.exit(main())
