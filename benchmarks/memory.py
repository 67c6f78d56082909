"""How much memory a call takes beside its operands and its result."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_memory(call: Callable[[], Any]) -> int | None:
    """Measure how far the process's resident memory rises during a call, less the result that it returns.

    Beforehand all that libraries and the C library keep for later calls is given back, so that nothing is used unseen;
    the call should have run before, so that what it makes once (code, threads) does not count. The system counts pages
    and in portions: differences below some 100 KB mean nothing.

    Parameters
    ----------
    call : callable

    Returns
    -------
    int or None
        Bytes; None where the system does not tell (it is Linux that does).
    """
    try:
        fc.release_memory()
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")  # the peak becomes the present
        before = _kilobytes("VmRSS")
        result = call()
        peak = _kilobytes("VmHWM")
    except (OSError, AttributeError):
        return None
    return max(0, 1024 * (peak - before) - np.asarray(result).nbytes)


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} has no {name}")
