"""Variables that libraries read once, when they start: set by starting the program again with them."""

from __future__ import annotations

import os
import sys

# Idle threads of one library would spin and slow the next one; these are read when an OpenMP runtime starts.
PASSIVE = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}

# Every library capped at one instruction set, as if the machine had no more. OpenVINO computes with oneDNN, too; ONNX
# Runtime has no such switch.
ISAS = {
    "avx2": {
        "FASTCONV_ISA": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "avx512": {"FASTCONV_ISA": "avx512"},
}
UNCAPPED = {"avx2": ("ort",)}


def restart_with(threads: int, isa: str | None) -> None:
    """Start the program again unless its environment is what this many threads and this instruction set need.

    Parameters
    ----------
    threads : int
    isa : str or None
        A key of ISAS.
    """
    wanted = dict(ISAS[isa]) if isa else {}
    if threads > 1:
        wanted |= {name: os.environ.get(name, value) for name, value in PASSIVE.items()}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
