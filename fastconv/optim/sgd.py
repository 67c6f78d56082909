"""Stochastic gradient descent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.nn.module import Parameter
from fastconv.optim.optimizer import Array, Optimizer, Params, compute_dtype, flag, in_blocks, number

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
                options[name] = flag("SGD", name, value)
            else:
                options[name] = number("SGD", name, value, -math.inf if name == "dampening" else 0.0)
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov needs momentum above 0 and dampening of 0, received "
                f"nesterov=True, momentum={options['momentum']}, dampening={options['dampening']}"
            )
        return options

    def _update(
        self, parameter: Parameter, grad: Array, group: dict[str, Any], state: dict[str, Any], scratch: dict[Any, Array]
    ) -> None:
        # float(): a NumPy float64 (of a schedule, say) would carry float32 arrays to float64.
        lr, momentum, decay = float(group["lr"]), float(group["momentum"]), float(group["weight_decay"])
        kept, nesterov = 1.0 - float(group["dampening"]), group["nesterov"]
        dtype = compute_dtype(parameter)
        first = momentum != 0 and "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = np.empty(parameter.shape, dtype)

        def update(work: Array, p: Array, g: Array, *running: Array) -> None:
            if decay:
                np.multiply(p, decay, out=work)
                work += g
                g = work
            if momentum:
                (b,) = running
                if first:
                    b[...] = g
                else:
                    b *= momentum
                    if kept == 1:
                        b += g
                    else:
                        b += kept * g
                if nesterov:
                    np.add(g, momentum * b, out=work)
                    g = work
                else:
                    g = b
            np.multiply(g, lr, out=work)
            np.subtract(p, work, out=p, casting="same_kind")

        arrays = (parameter.data, grad, state["momentum_buffer"]) if momentum else (parameter.data, grad)
        in_blocks(scratch, 1, arrays, update, dtype)
