"""What importing fastconv costs and brings along, and what the compiled module shows to the outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv import _engine

IMPORT_SECONDS = 0.030  # over NumPy's own
IMPORT_SHARE = 0.4  # of NumPy's own: what counts on a machine so slow or busy that NumPy takes 75 ms or more

COST = """
import time
start = time.process_time()
import numpy
middle = time.process_time()
import fastconv
print(middle - start, time.process_time() - middle)
"""
BROUGHT = """
import sys
import numpy
before = set(sys.modules)
import fastconv
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - set(sys.stdlib_module_names) - {"fastconv", "numpy", "cython_runtime"}))
"""
THREADS = """
import os
import numpy
before = len(os.listdir("/proc/self/task"))
import fastconv
print(len(os.listdir("/proc/self/task")) - before)
"""


def run_python(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=kept | environment, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_cheap(tmp_path: Path) -> None:
    """In CPU time, the best of some; the first import, which compiles the Python files, does not count."""
    runs = [run_python(COST, PYTHONPYCACHEPREFIX=str(tmp_path), OPENBLAS_NUM_THREADS="1").split() for _ in range(8)]
    assert any(float(ours) <= max(IMPORT_SECONDS, IMPORT_SHARE * float(numpys)) for numpys, ours in runs[1:]), runs


def test_import_needs_numpy_alone() -> None:
    brought = run_python(BROUGHT).split()
    assert [name for name in brought if not name.startswith("_cython_")] == []


def test_what_is_imported_later_is_found_by_its_name() -> None:
    names = "analysis.figures.shifts", "data.digits", "filters.box", "models.LeNet5", "train.fit", "load", "summary"
    for name in (*names, "reference.conv2d", "save"):
        assert run_python(f"import fastconv as fc; print(fc.{name}.__name__)") == name.rpartition(".")[2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_import_starts_no_threads() -> None:
    assert run_python(THREADS) == "0"


@pytest.mark.skipif(shutil.which("nm") is None or not sys.platform.startswith("linux"), reason="needs nm")
def test_the_module_exports_its_init_function_alone() -> None:
    """Kernels of other names would meet those of other libraries in the same process."""
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", _engine.__file__], capture_output=True, text=True, timeout=60, check=True
    )
    assert [line.split()[-1] for line in listing.stdout.splitlines()] == ["PyInit__engine"]
