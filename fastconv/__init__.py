"""Fast convolution and pooling for NumPy arrays, forward and backward, on the CPU.

A call goes straight down three storeys and comes straight back; no storey imports the one above it::

    fastconv.nn.Conv2d            holds parameters, calls the functional operator
      fastconv.conv2d             decide (Python): a cached recipe for these shapes and options, or
        _check.conv_problem         every validation and size
        plan.conv_plan              the algorithm, its blocks
          _engine.Plan.run        drive (Cython): stages of tasks over OpenMP threads, memory, signals
            src/algorithms/*.c    compute (C): one task at a time, per dtype and instruction set

`reference` is the slow, obvious NumPy version of every operator, against which everything is checked.
"""

from fastconv import functional, reference
from fastconv._config import get_precision, precision, set_precision, show_config
from fastconv._engine import release_memory
from fastconv._explain import explain
from fastconv._threads import get_num_threads, set_num_threads, threads
from fastconv._version import __version__
from fastconv.functional import *  # noqa: F403

__all__ = [
    "__version__", "explain", "functional", "get_num_threads", "get_precision", "precision",
    "reference", "release_memory", "set_num_threads", "set_precision", "show_config", "threads", *functional.__all__,
]
