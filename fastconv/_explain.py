"""What a call would run, and why."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from fastconv.functional import _conv, conv

__all__ = ["explain"]


def explain(operator: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Tell which algorithm a call would run, and why, without running it.

    Parameters
    ----------
    operator : str or callable
        A convolution, transposed convolution, or the backward of one: ``"conv2d"`` or ``fc.conv2d``.
    *args, **kwargs
        The arguments of the call. A backward takes the same as its operator's call, or ``grad_output`` before them.

    Returns
    -------
    Explanation or list of Explanation
        ``str()`` of one gives algorithm, reason, instruction set, tasks and memory; a backward gives a list of two,
        for the input's and the weight's gradient.

    Raises
    ------
    ValueError
        If the operator has no choice of algorithms, or the arguments do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, w = np.zeros((1, 64, 56, 56), np.float32), np.zeros((64, 64, 3, 3), np.float32)
    >>> fc.explain("conv2d", x, w, padding=1).algorithm
    'winograd'
    """
    name = operator if isinstance(operator, str) else getattr(operator, "__name__", "")
    bare = name.removesuffix("_backward")
    if bare not in {f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)}:
        raise ValueError(f"explain: operator must be a convolution or its backward, received operator={operator!r}")
    signature(getattr(conv, name)).bind_partial(*args, **kwargs)  # a TypeError for arguments that do not exist
    found = _conv.explain_conv(name, *args, **kwargs)
    return found[0] if len(found) == 1 else found
