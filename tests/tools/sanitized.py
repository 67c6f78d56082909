"""Run tests under the address and undefined-behaviour sanitizers: ``python tests/tools/sanitized.py [ARGUMENTS]``.

Copies the tree into a temporary folder (or the one named by ``--folder``, to be used again), builds it there with GCC's
sanitizers, and runs pytest on the copy, by default on the tests that reach all kernels. In the copy no workspace is
kept between calls, so that each block has just the size that its plan asked for and a byte beyond it is seen. Takes
some minutes::

    python tests/tools/sanitized.py tests/functional -x -q -k "conv and not threads"

The first finding ends the run with a report. Tests that measure or limit memory, or fork, do not fit in here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("setup.py", "pyproject.toml", "README.md", "src", "fastconv", "tests")
TESTS = ("tests/functional", "tests/nn", "tests/test_filters.py", "tests/test_optim.py")
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"


def build(folder: Path) -> None:
    """Copy the tree and build it with the sanitizers."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy(source, target)
    # At -O3 the sanitizers' checks of unrolled kernels take GCC half an hour.
    _replace(folder / "setup.py", '"-O3"', '"-O1"')
    _replace(folder / "src/memory.pxi", "POOL_LIMIT = 256 << 20", "POOL_LIMIT = 0")
    environment = {**os.environ, "CC": f"gcc {FLAGS}", "CFLAGS": "-g1"}
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, env=environment, check=True
    )


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if old not in text:
        raise SystemExit(f"{path.name} has changed: {old!r} is not there")
    path.write_text(text.replace(old, new))


def run(folder: Path, arguments: list[str]) -> int:
    """Run pytest on the copy; its exit code."""
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # the interpreter itself never frees all
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that small blocks are watched, too
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:faulthandler", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def main() -> int:
    """Build, and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to build; a temporary folder if not given")
    parser.add_argument("--no-build", action="store_true", help="use the build that is in the folder")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if not options.no_build:
            build(folder)
        return run(folder, arguments or [*TESTS, "-x", "-q", "-m", "not slow"])


if __name__ == "__main__":
    raise SystemExit(main())
