"""Pictures that show why: each function draws one and returns its Axes; none shows or saves it.

They need matplotlib (``pip install "fastconv[plot]"``), which is imported when one is drawn::

    from fastconv.analysis import figures

    axes = figures.parameters_by_side()
    axes.figure.savefig("parameters.png", dpi=150)

A picture of several panels returns an array of Axes; ``axes.flat[0].figure`` is their figure.
"""

from __future__ import annotations

from fastconv.analysis.figures.images import *  # noqa: F403
from fastconv.analysis.figures.learning import *  # noqa: F403
from fastconv.analysis.figures.networks import *  # noqa: F403
from fastconv.analysis.figures.patterns import *  # noqa: F403
from fastconv.analysis.figures.sequences import *  # noqa: F403
