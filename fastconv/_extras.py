"""Optional packages: imported where they are used, with an error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtraError", "require"]


class MissingExtraError(ImportError):
    """An optional package is not installed."""


def require(module: str, purpose: str, extra: str = "bench") -> Any:
    """Import an optional module.

    Parameters
    ----------
    module : str
        Its dotted name.
    purpose : str
        What needs it, in the plural: the first words of the error.
    extra : str, default "bench"
        The extra of this package that installs it.

    Returns
    -------
    module

    Raises
    ------
    MissingExtraError
        If it is not installed.

    Examples
    --------
    >>> require("math", "numbers").sqrt(4.0)
    2.0
    >>> require("no_such_module", "pictures", "train")
    Traceback (most recent call last):
    fastconv._extras.MissingExtraError: pictures need no_such_module: pip install "fastconv[train]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(f'{purpose} need {package}: pip install "fastconv[{extra}]"') from error
