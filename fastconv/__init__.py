"""Fast convolution and pooling for NumPy arrays, forward and backward, on the CPU.

A call goes straight down three storeys and comes straight back; no storey imports the one above it::

    fastconv.nn.Conv2d            holds parameters, calls the functional operator
      fastconv.conv2d             decide (Python): a cached recipe for these shapes and options, or
        _check.conv_problem         every validation and size
        plan.choose_conv            the algorithm, which `_lowering` describes the problem to
          _engine.Plan.run        drive (Cython): stages of tasks over OpenMP threads, memory, signals
            src/algorithms/*.c    compute (C): one task at a time, per dtype and instruction set

`reference` is the slow, obvious NumPy version of every operator, against which everything is checked.
`analysis` counts, measures and draws what convolution saves and keeps, `filters` are those of images.
"""

from typing import TYPE_CHECKING

# `name as name` makes a name public to type checkers; the modules with a star list theirs.
from fastconv import functional as functional
from fastconv import metrics as metrics
from fastconv import nn as nn
from fastconv import optim as optim
from fastconv._config import get_precision as get_precision
from fastconv._config import precision as precision
from fastconv._config import set_precision as set_precision
from fastconv._config import show_config as show_config
from fastconv._engine import release_memory as release_memory
from fastconv._explain import explain as explain
from fastconv._threads import get_num_threads as get_num_threads
from fastconv._threads import set_num_threads as set_num_threads
from fastconv._threads import threads as threads
from fastconv._version import __version__ as __version__
from fastconv.functional.activation import *  # noqa: F403
from fastconv.functional.avg_pooling import *  # noqa: F403
from fastconv.functional.batch_norms import *  # noqa: F403
from fastconv.functional.channel_activation import *  # noqa: F403
from fastconv.functional.conv import *  # noqa: F403
from fastconv.functional.dropout import *  # noqa: F403
from fastconv.functional.group_norms import *  # noqa: F403
from fastconv.functional.linear import *  # noqa: F403
from fastconv.functional.local import *  # noqa: F403
from fastconv.functional.local_response import *  # noqa: F403
from fastconv.functional.loss import *  # noqa: F403
from fastconv.functional.lp_pooling import *  # noqa: F403
from fastconv.functional.max_pooling import *  # noqa: F403
from fastconv.functional.max_unpooling import *  # noqa: F403
from fastconv.functional.padding import *  # noqa: F403
from fastconv.functional.regression_loss import *  # noqa: F403
from fastconv.functional.resizing import *  # noqa: F403
from fastconv.functional.softmax import *  # noqa: F403
from fastconv.functional.tiled import *  # noqa: F403
from fastconv.functional.unfold import *  # noqa: F403

if TYPE_CHECKING:
    from fastconv import analysis as analysis
    from fastconv import data as data
    from fastconv import filters as filters
    from fastconv import models as models
    from fastconv import reference as reference
    from fastconv import train as train
    from fastconv._files import load as load
    from fastconv._files import save as save
    from fastconv._summary import summary as summary
else:
    # Imported when they are asked for: many programs need none of them, and they take milliseconds.
    _LATER = {
        "analysis": "fastconv.analysis",
        "data": "fastconv.data",
        "filters": "fastconv.filters",
        "load": "fastconv._files",
        "models": "fastconv.models",
        "reference": "fastconv.reference",
        "save": "fastconv._files",
        "summary": "fastconv._summary",
        "train": "fastconv.train",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module = import_module(_LATER[name])
        return module if module.__name__ == f"fastconv.{name}" else getattr(module, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER})
