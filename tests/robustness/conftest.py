"""What the robustness tests share: Python code that runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

_BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_OURS = ("FASTCONV_NUM_THREADS", "FASTCONV_ISA", "OMP_NUM_THREADS")

# What a shell starts in the background ignores Ctrl-C, and so do its children: the tests must not depend on that.
_HEAR_CONTROL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"

Run = Callable[..., str]


@pytest.fixture
def run_python() -> Run:
    """Return a function that runs code in a new interpreter and gives what it printed; it must end well, and in time.

    Keywords are environment variables; the library's own are not inherited.
    """

    def run(code: str, *, timeout: float = 120, fails: bool = False, **environment: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name not in _OURS}
        # -P: the package under test is the one that is installed, not the one in the current folder.
        command = [sys.executable, "-P", "-X", "faulthandler", "-c", _HEAR_CONTROL_C + textwrap.dedent(code)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**clean, **dict.fromkeys(_BLAS, "1"), **environment},
        )
        assert (done.returncode == 1) if fails else (done.returncode == 0), (done.returncode, done.stdout, done.stderr)
        return done.stderr if fails else done.stdout

    return run
