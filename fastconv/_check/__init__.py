"""Every validation and every error message of the functional storey, and all sizes in Python's exact integers.

The kernels below take a plan and trust it; so nothing reaches them that has not passed here. Messages say the operator,
the argument, the value received and the rule.

One kind of thing per file: _values (numbers, names, paddings), _arrays (data in and results out), _problems (the sizes
of convolutions and windows).
"""

from __future__ import annotations

from fastconv._check._arrays import *  # noqa: F403
from fastconv._check._problems import *  # noqa: F403
from fastconv._check._values import *  # noqa: F403
