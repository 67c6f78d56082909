"""Layers that drop elements or channels at random while they train."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn.init import Generator
from fastconv.nn.module import Backward, Module

__all__ = ["Dropout", "Dropout2d"]


class _Dropout(Module):
    _operator = "dropout"
    generator: np.random.Generator

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator = None) -> None:
        name = type(self).__name__
        check.flag(name, "inplace", inplace)
        self.p = check.real(name, "p", p)
        if not 0 <= self.p <= 1:
            raise ValueError(f"{name}: p must be from 0 to 1, received p={p!r}")
        self.generator = check.generator(name, generator)

    def __call__(self, input: ArrayLike) -> Any:
        """Compute the output alone; in eval mode it is the input itself."""
        if not self.training:
            return input
        return getattr(F, self._operator)(input, self.p, generator=self.generator)[0]

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[Any, Backward]:
        """Compute the output and the way back, see `Module.forward`; in eval mode both hand on what they are given."""
        if not self.training:
            return input, lambda grad_output: grad_output
        output, mask = getattr(F, self._operator)(input, self.p, generator=self.generator)
        way_back, p = getattr(F, f"{self._operator}_backward"), self.p
        return output, lambda grad_output: way_back(grad_output, mask, p)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return f"p={self.p}"


class Dropout(_Dropout):
    """While training, set each element to 0 with probability `p`, and multiply the others by 1 / (1 - p).

    Parameters
    ----------
    p : float, default 0.5
        From 0 to 1.
    inplace : bool, default False
        Taken for the sake of code written for torch; inputs are never changed.
    generator : numpy.random.Generator, int or None
        Where the draws come from: a generator (of one's own, or one that layers share), a seed for a new one, or None
        for a seed from the system. The layer keeps it as `generator`; whoever resumes a run restores
        ``generator.bit_generator.state``.

    Raises
    ------
    TypeError
        When an argument is not of its type.
    ValueError
        When `p` is not from 0 to 1, or a seed is negative.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.

    Examples
    --------
    >>> layer = Dropout(0.5, generator=0)
    >>> np.unique(layer(np.ones(100)))
    array([0., 2.])
    >>> layer.eval()(np.ones(3))
    array([1., 1., 1.])
    """


class Dropout2d(_Dropout):
    """While training, set each channel to 0 with probability `p`, and multiply the others by 1 / (1 - p).

    Parameters
    ----------
    p : float, default 0.5
        From 0 to 1.
    inplace : bool, default False
        Taken for the sake of code written for torch; inputs are never changed.
    generator : numpy.random.Generator, int or None
        As for :class:`Dropout`.

    Raises
    ------
    TypeError
        When an argument is not of its type.
    ValueError
        When `p` is not from 0 to 1, or a seed is negative.

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> layer = Dropout2d(0.5, generator=0)
    >>> layer(np.ones((4, 32, 7, 7))).shape
    (4, 32, 7, 7)
    """

    _operator = "dropout2d"
