"""Optimizers: they change parameters by their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.nn.module import Parameter

__all__ = ["SGD"]


class SGD:
    """Stochastic gradient descent, with momentum, weight decay and Nesterov's step, by torch's rules.

    Each step takes the gradient g of a parameter p::

        g = g + weight_decay * p
        b = g                                 in the first step with momentum,
        b = momentum * b + (1 - dampening) * g    in the later ones
        g = g + momentum * b if nesterov else b
        p = p - lr * g

    Parameters
    ----------
    params : iterable of Parameter
        Such as ``net.parameters()``. Those without a gradient are passed over.
    lr : float, default 1e-3
        The learning rate. It may be changed between steps: ``optimizer.lr = 0.01``.
    momentum : float, default 0
        How much of the running step is kept.
    dampening : float, default 0
        How much of the gradient is held back from the running step.
    weight_decay : float, default 0
        The L2 penalty.
    nesterov : bool, default False
        Look ahead along the running step. Needs momentum, and no dampening.

    Raises
    ------
    TypeError
        When `params` holds something else than parameters, or a number is not one.
    ValueError
        When there are no parameters, a number is negative or not finite, or `nesterov` does not fit.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> weight = Parameter([1.0])
    >>> optimizer = SGD([weight], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     weight.add_grad(2 * weight.data)     # of weight ** 2
    ...     optimizer.step()
    >>> weight.data
    array([0.46])
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        self.params = _parameters(params)
        self.lr = _number("lr", lr, minimum=0.0)
        self.momentum = _number("momentum", momentum, minimum=0.0)
        self.dampening = _number("dampening", dampening, minimum=-math.inf)
        self.weight_decay = _number("weight_decay", weight_decay, minimum=0.0)
        self.nesterov = bool(nesterov)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "SGD: nesterov needs momentum above 0 and dampening of 0, received "
                f"nesterov=True, momentum={momentum}, dampening={dampening}"
            )
        self._running: list[NDArray[Any] | None] = [None] * len(self.params)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters (sets them to None)."""
        for parameter in self.params:
            parameter.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        # float(): a NumPy float64 (of a schedule, say) would carry float32 arrays to float64.
        lr, momentum, decay = float(self.lr), float(self.momentum), float(self.weight_decay)
        for position, parameter in enumerate(self.params):
            if parameter.grad is None:
                continue
            step = parameter.grad
            if decay:
                step = step + decay * parameter.data
            if momentum:
                running = self._running[position]
                if running is None:
                    running = self._running[position] = step.copy()
                else:
                    running *= momentum
                    running += (1.0 - float(self.dampening)) * step
                step = step + momentum * running if self.nesterov else running
            parameter.data -= lr * step

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr}, momentum={self.momentum}, dampening={self.dampening}, "
            f"weight_decay={self.weight_decay}, nesterov={self.nesterov})"
        )


def _parameters(params: Iterable[Parameter]) -> list[Parameter]:
    if not isinstance(params, Iterable):
        raise TypeError(
            f"SGD: params must be an iterable of Parameters such as net.parameters(), "
            f"received params={type(params).__name__}"
        )
    unique: dict[int, Parameter] = {}  # a shared parameter must not step twice
    for parameter in params:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"SGD: params must hold Parameters, received one of type {type(parameter).__name__}; "
                f"use net.parameters()"
            )
        unique[id(parameter)] = parameter
    if not unique:
        raise ValueError("SGD: params must hold a Parameter at least, received an empty params")
    return list(unique.values())


def _number(name: str, value: float, minimum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"SGD: {name} must be a number, received {name}={value!r}")
    if not math.isfinite(value) or value < minimum:
        raise ValueError(f"SGD: {name} must be finite and at least {minimum:g}, received {name}={value}")
    return float(value)
