"""How many threads a call uses, and why that many."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from pathlib import Path

import numpy as np

from fastconv import _engine

__all__ = ["available_cpus", "current", "get_num_threads", "set_num_threads", "thread_report", "threads"]

_set: int | None = None  # by set_num_threads


def _quota_cpus(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float:
    """CPUs that a container's quota allows (cgroup v2, then v1); infinity where there is none."""
    groups = [root]
    try:
        for line in membership.read_text().splitlines():
            if line.startswith("0::/"):
                path = root / line[4:]
                groups += [path, *[p for p in path.parents if root in p.parents]]
    except OSError:
        pass  # not Linux, or /proc is hidden: then only the root group can say anything
    best = math.inf
    for group in groups:
        try:
            quota, period = (group / "cpu.max").read_text().split()
        except (OSError, ValueError):
            try:
                quota = (group / "cpu/cpu.cfs_quota_us").read_text()
                period = (group / "cpu/cpu.cfs_period_us").read_text()
            except OSError:
                continue
        try:
            if float(quota) > 0 and float(period) > 0:
                best = min(best, float(quota) / float(period))
        except ValueError:  # "max": no quota
            continue
    return best


def available_cpus() -> tuple[int, str]:
    """CPUs that this process may use, and what limits them."""
    try:
        cpus, reason = len(os.sched_getaffinity(0)), "CPUs in this process's affinity mask"
    except AttributeError:
        cpus, reason = os.cpu_count() or 1, "CPUs of this machine"
    quota = _quota_cpus()
    if quota < cpus:
        return max(1, math.ceil(quota)), "CPUs of the container's quota"
    return cpus, reason


def _limit() -> int:
    return max(64, 4 * (os.cpu_count() or 1))


def _checked(n: object, name: str) -> int:
    try:
        if isinstance(n, bool | np.bool_):
            raise TypeError
        value = index(n)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: the number of threads must be an integer, received {n!r}") from None
    if not 1 <= value <= _limit():
        raise ValueError(f"{name}: the number of threads must be between 1 and {_limit()}, received {value}")
    return value


def _from_environment() -> tuple[int, str]:
    for name in ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()  # OMP_NUM_THREADS may list nesting levels
        if text:
            try:
                return _checked(int(text), name), name
            except ValueError:
                if name == "FASTCONV_NUM_THREADS":
                    raise ValueError(f"{name} must be an integer between 1 and {_limit()}, received {text!r}") from None
    cpus, reason = available_cpus()
    return min(cpus, _limit()), reason


_default, _reason = _from_environment()  # read once, at import
_engine.set_common(_engine.THREADS, _default)


def current() -> int:
    """Threads of a call made now, from this Python thread."""
    return _engine.setting(_engine.THREADS)


def thread_report() -> tuple[int, str]:
    """Return the number of threads of a call made now, and why that many."""
    if _engine.is_forked():
        return 1, "this process was forked: OpenMP's threads stayed in its parent"
    if not _engine.build_info()["openmp"]:
        return 1, "built without OpenMP"
    if _engine.own_setting(_engine.THREADS) > 0:
        return current(), "fastconv.threads()"
    if _set:
        return _set, "fastconv.set_num_threads()"
    return _default, _reason


def set_num_threads(n: int) -> None:
    """Set the number of threads of every call in this process, except inside :func:`threads`.

    Parameters
    ----------
    n : int
        At least 1, at most ``max(64, 4 * CPUs)``. Results have the same bits at any number.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> import fastconv as fc
    >>> before = fc.get_num_threads()
    >>> fc.set_num_threads(1)
    >>> fc.get_num_threads()
    1
    >>> fc.set_num_threads(before)
    """
    global _set
    _set = _checked(n, "set_num_threads")
    _engine.set_common(_engine.THREADS, _set)


def get_num_threads() -> int:
    """Return the number of threads that a call made now may use.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_num_threads() >= 1
    True
    """
    return thread_report()[0]


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use `n` threads for the calls that this Python thread makes inside a ``with`` block.

    Parameters
    ----------
    n : int
        At least 1, at most ``max(64, 4 * CPUs)``.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.threads(2):
    ...     fc.get_num_threads() <= 2
    True
    """
    value = _checked(n, "threads")
    before = _engine.own_setting(_engine.THREADS)
    _engine.set_own(_engine.THREADS, value)
    try:
        yield
    finally:
        _engine.set_own(_engine.THREADS, before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_engine.after_fork_in_child)
