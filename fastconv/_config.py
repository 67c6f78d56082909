"""Instruction set, precision, and the report of what this build does on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastconv import _engine
from fastconv._threads import thread_report
from fastconv._version import __version__

__all__ = [
    "ISAS",
    "current_isa",
    "current_precision",
    "get_precision",
    "isa_limit",
    "precision",
    "set_precision",
    "show_config",
]

#: Names of the instruction sets, weakest first, with (compiled into this build, supported by this machine).
ISAS: dict[str, tuple[bool, bool]] = _engine.isa_names()
_NAMES = list(ISAS)
_PRECISIONS = ("high", "highest")


def _select_isa() -> tuple[int, str]:
    usable = [i for i, (compiled, supported) in enumerate(ISAS.values()) if compiled and supported]
    cap = os.environ.get("FASTCONV_ISA", "").strip().lower()
    if not cap:
        return usable[-1], "the best that this machine supports"
    if cap not in ISAS:
        raise ValueError(f"FASTCONV_ISA must be one of {', '.join(_NAMES)}, received {cap!r}")
    return max(i for i in usable if i <= _NAMES.index(cap)), f"capped by FASTCONV_ISA={cap}"


_isa, _isa_reason = _select_isa()  # the environment is read once, at import
_engine.set_common(_engine.ISA, _isa)


def current_isa() -> int:
    """Index of the instruction set of a call made now."""
    return _engine.setting(_engine.ISA)


@contextmanager
def isa_limit(name: str) -> Iterator[None]:
    """Use the named instruction set for this thread's calls inside a ``with`` block; for tests and benchmarks."""
    if name not in ISAS or not all(ISAS[name]):
        raise ValueError(f"isa_limit: name must be a compiled and supported instruction set, received {name!r}")
    before = _engine.own_setting(_engine.ISA)
    _engine.set_own(_engine.ISA, _NAMES.index(name))
    try:
        yield
    finally:
        _engine.set_own(_engine.ISA, before)


def _checked_precision(value: object, op: str) -> str:
    if not isinstance(value, str) or value not in _PRECISIONS:
        raise ValueError(f"{op}: precision must be 'high' or 'highest', received {value!r}")
    return value


def current_precision() -> str:
    """Precision of a call made now."""
    return _PRECISIONS[_engine.setting(_engine.PRECISION)]


def set_precision(value: Literal["high", "highest"]) -> None:
    """Set how exact the algorithms are among which ``algorithm="auto"`` chooses.

    Parameters
    ----------
    value : {"high", "highest"}
        ``"highest"`` keeps to algorithms whose error is that of a plain sum of K terms,
        ``|y - exact| <= K * u * sum |x| |w|`` with u the unit round-off. ``"high"``, the default, also allows
        Winograd's F(4x4, 3x3) and F(2x2, 5x5) in float32, for kernels of 3x3 and 5x5 that move by 1, forward and both
        gradients: their largest error is below 3e-5 of the result's root mean square with weights of He's scale, normal
        data and up to 2,048 channels; with outliers that holds for the norms of error and result.

    Raises
    ------
    ValueError
        If `value` is neither.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.set_precision("highest")
    >>> fc.get_precision()
    'highest'
    >>> fc.set_precision("high")
    """
    checked = _checked_precision(value, "set_precision")
    _engine.set_common(_engine.PRECISION, _PRECISIONS.index(checked))


def get_precision() -> str:
    """Return the precision of a call made now, ``"high"`` or ``"highest"``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_precision()
    'high'
    """
    return current_precision()


@contextmanager
def precision(value: Literal["high", "highest"]) -> Iterator[None]:
    """Use a precision for the calls that this Python thread makes inside a ``with`` block.

    Parameters
    ----------
    value : {"high", "highest"}
        As for :func:`set_precision`.

    Raises
    ------
    ValueError
        If `value` is neither.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.precision("highest"):
    ...     fc.get_precision()
    'highest'
    """
    checked = _checked_precision(value, "precision")
    before = _engine.own_setting(_engine.PRECISION)
    _engine.set_own(_engine.PRECISION, _PRECISIONS.index(checked))
    try:
        yield
    finally:
        _engine.set_own(_engine.PRECISION, before)


def _openmp_runtime() -> list[str]:
    """Files of the OpenMP runtimes that this process has loaded (Linux; elsewhere nothing is known)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count(" ") and len(line.split(maxsplit=5)) == 6}
    return sorted(p for p in paths if Path(p).name.startswith(("libgomp", "libomp", "libiomp")))


def config() -> dict[str, Any]:
    """Return what :func:`show_config` prints, as a dictionary."""
    import platform  # not at import: it takes milliseconds

    threads, why = thread_report()
    build = _engine.build_info()
    return {
        "fastconv": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "compiler": build["compiler"],
        "flags": build["flags"].split("; "),
        "instruction sets": {
            "compiled": [n for n, (compiled, _) in ISAS.items() if compiled],
            "supported by this machine": [n for n, (_, supported) in ISAS.items() if supported],
            "selected": _NAMES[current_isa()],
            "why": _isa_reason,
        },
        "OpenMP": {"version": build["openmp"] or "none: built without OpenMP, serial", "runtime": _openmp_runtime()},
        "threads": {"number": threads, "why": why},
        "precision": current_precision(),
        "memory kept between calls, at most (bytes)": _engine.POOL_LIMIT,
    }


def show_config(mode: Literal["print", "dicts"] = "print") -> dict[str, Any] | None:
    """Report version, compiler and flags, instruction sets, OpenMP runtime, threads and why that many.

    Parameters
    ----------
    mode : {"print", "dicts"}
        Print the report, or return it as a dictionary.

    Returns
    -------
    dict or None
        The report with ``mode="dicts"``.

    Raises
    ------
    ValueError
        If `mode` is neither.

    Examples
    --------
    >>> import fastconv as fc
    >>> sorted(fc.show_config(mode="dicts")["threads"])
    ['number', 'why']
    """
    if mode not in ("print", "dicts"):
        raise ValueError(f"show_config: mode must be 'print' or 'dicts', received {mode!r}")
    report = config()
    if mode == "dicts":
        return report
    import json

    print(json.dumps(report, indent=2))
    return None
