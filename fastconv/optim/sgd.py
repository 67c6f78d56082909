"""Stochastic gradient descent."""

from __future__ import annotations

import math
from typing import Any

from fastconv import _check as check
from fastconv.optim.optimizer import Optimizer, Params, State, number

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, weight decay and Nesterov's step, by torch's rules.

    Each step takes the gradient g of a parameter p::

        g = g + weight_decay * p
        b = g                                 in the first step with momentum,
        b = momentum * b + (1 - dampening) * g    in the later ones
        g = g + momentum * b if nesterov else b
        p = p - lr * g

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
        Such as ``net.parameters()``. Those without a gradient are passed over. Dicts are groups with options of their
        own: ``[{"params": first}, {"params": second, "lr": 0.01}]``.
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
    >>> from fastconv.nn import Parameter
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
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    def _check(self, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if name == "nesterov":
                options[name] = check.flag("SGD", name, value)
            else:
                options[name] = number("SGD", name, value, -math.inf if name == "dampening" else 0.0)
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov needs momentum above 0 and dampening of 0, received "
                f"nesterov=True, momentum={options['momentum']}, dampening={options['dampening']}"
            )
        return options

    def _rule(self, group: dict[str, Any], state: State) -> tuple[str, dict[str, float], list[float]]:
        numbers = [group["lr"], group["weight_decay"]]
        if group["momentum"] == 0:
            return "sgd", {}, numbers
        first = "momentum_buffer" not in state.names
        numbers += [group["momentum"], 1 - group["dampening"], group["nesterov"], first]
        return "sgd_momentum", {"momentum_buffer": 0.0}, numbers
