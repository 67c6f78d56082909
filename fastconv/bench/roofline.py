"""What this machine could do at best: its peak of fused multiply-adds and its memory bandwidth, both measured.

Data sheets state clocks that a shared machine does not hold; percentages of a measured peak are comparable between
machines and cannot flatter.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from fastconv import _engine
from fastconv._config import ISAS
from fastconv.bench.layers import Work


@dataclass(frozen=True)
class Machine:
    """A machine as measured with `threads` threads.

    Attributes
    ----------
    cpu : str
    threads : int
    peak : float
        Floating-point operations a second, in float32 unless another dtype was measured; a multiply-add counts as two.
    bandwidth : float
        Bytes read and written a second while copying.
    """

    cpu: str
    threads: int
    peak: float
    bandwidth: float

    def least_seconds(self, multiply_adds: int, traffic: int) -> float:
        """Time that this work takes at least: the slower of computing and of moving the bytes."""
        return max(2 * multiply_adds / self.peak, traffic / self.bandwidth)

    def least_forward(self, work: Work) -> float:
        """`least_seconds` of a forward call."""
        return self.least_seconds(work.multiply_adds, work.forward_bytes)

    def least_backward(self, work: Work) -> float:
        """`least_seconds` of the three gradients."""
        return self.least_seconds(work.backward_multiply_adds, work.backward_bytes)


def measure_machine(threads: int, seconds: float, dtype: str = "float32", isa: int | None = None) -> Machine:
    """Measure peak and bandwidth.

    Parameters
    ----------
    threads : int
    seconds : float
        Time spent on each of the two.
    dtype : {"float32", "float64"}
        What the peak is measured in.
    isa : int, optional
        Index of the instruction set; default: the best that is compiled and supported.

    Returns
    -------
    Machine
    """
    if isa is None:
        isa = max(index for index, (compiled, supported) in enumerate(ISAS.values()) if compiled and supported)
    return Machine(
        cpu=cpu_name(),
        threads=threads,
        peak=float(_engine.measure_peak(dtype, seconds, threads, isa)),
        bandwidth=float(_engine.measure_bandwidth(seconds, threads)),
    )


def cpu_name() -> str:
    """Name the processor, with the number of CPUs this process may use.

    Returns
    -------
    str
    """
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {count} CPUs"
