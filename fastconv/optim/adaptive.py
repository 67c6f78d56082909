"""Optimizers whose step adapts to each element: Adagrad, RMSprop, Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any

from fastconv import _check as check
from fastconv.optim.optimizer import Optimizer, Params, State, number

__all__ = ["Adagrad", "Adam", "AdamW", "RMSprop"]


class Adagrad(Optimizer):
    """Steps that shrink with the sum of an element's squared gradients, by torch's rules.

    Each step t = 1, 2, ... takes the gradient g of a parameter p::

        g = g + weight_decay * p
        s = s + g * g
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
        Such as ``net.parameters()``. Those without a gradient are passed over. Dicts are groups with their own
        options.
    lr : float, default 1e-2
        The learning rate.
    lr_decay : float, default 0
        How fast the learning rate falls with the number of steps.
    weight_decay : float, default 0
        The L2 penalty.
    initial_accumulator_value : float, default 0
        The first value of the sum s.
    eps : float, default 1e-10
        Keeps the divisor from 0.

    Raises
    ------
    TypeError
        When `params` holds something else than parameters, or a number is not one.
    ValueError
        When there are no parameters, or a number is negative or not finite.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.

    Examples
    --------
    >>> from fastconv.nn import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = Adagrad([weight], lr=0.5)
    >>> weight.add_grad([3.0])
    >>> optimizer.step()
    >>> weight.data
    array([0.5])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
            },
        )

    def _check(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: number("Adagrad", name, value) for name, value in options.items()}

    def _rule(self, group: dict[str, Any], state: State) -> tuple[str, dict[str, float], list[float]]:
        rate = group["lr"] / (1 + state.step * group["lr_decay"])
        first = {"sum": group["initial_accumulator_value"]}
        return "adagrad", first, [rate, group["weight_decay"], group["eps"]]


class RMSprop(Optimizer):
    """Steps divided by the running root mean square of an element's gradients, by torch's rules.

    Each step takes the gradient g of a parameter p::

        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g * g
        a = alpha * a + (1 - alpha) * g           if centered, else a = 0
        g = g / (sqrt(v - a * a) + eps)
        b = momentum * b + g                      if there is momentum, else b = g
        p = p - lr * b

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
        Such as ``net.parameters()``. Those without a gradient are passed over. Dicts are groups with their own
        options.
    lr : float, default 1e-2
        The learning rate.
    alpha : float, default 0.99
        How much of the running mean of squares is kept.
    eps : float, default 1e-8
        Keeps the divisor from 0.
    weight_decay : float, default 0
        The L2 penalty.
    momentum : float, default 0
        How much of the running step is kept.
    centered : bool, default False
        Divide by the root of the running variance instead.

    Raises
    ------
    TypeError
        When `params` holds something else than parameters, or a number is not one.
    ValueError
        When there are no parameters, or a number is negative or not finite.

    References
    ----------
    Hinton, "Neural networks for machine learning", lecture 6e, 2012; centered: Graves, "Generating sequences with
    recurrent neural networks", 2013.

    Examples
    --------
    >>> from fastconv.nn import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = RMSprop([weight], lr=0.5, alpha=0.75)
    >>> weight.add_grad([3.0])
    >>> optimizer.step()
    >>> weight.data.round(6)
    array([0.])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
            },
        )

    def _check(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            name: check.flag("RMSprop", name, value) if name == "centered" else number("RMSprop", name, value)
            for name, value in options.items()
        }

    def _rule(self, group: dict[str, Any], state: State) -> tuple[str, dict[str, float], list[float]]:
        numbers = [
            group["lr"],
            group["weight_decay"],
            group["eps"],
            group["alpha"],
            1 - group["alpha"],
            group["momentum"],
        ]
        rule, names = "rmsprop", {"square_avg": 0.0}
        if group["centered"]:
            rule, names = f"{rule}_centered", {**names, "grad_avg": 0.0}
        if group["momentum"] > 0:
            rule, names = f"{rule}_momentum", {**names, "momentum_buffer": 0.0}
        return rule, names, numbers


class Adam(Optimizer):
    """Steps from running means of the gradient and of its square, by torch's rules.

    Each step t = 1, 2, ... takes the gradient g of a parameter p::

        g = g + weight_decay * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        w = max(w, v)                             with amsgrad, else w = v
        p = p - lr * (m / (1 - b1 ** t)) / (sqrt(w / (1 - b2 ** t)) + eps)

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
        Such as ``net.parameters()``. Those without a gradient are passed over. Dicts are groups with their own
        options.
    lr : float, default 1e-3
        The learning rate.
    betas : tuple of two floats, default (0.9, 0.999)
        b1 and b2: how much of the running means is kept.
    eps : float, default 1e-8
        Keeps the divisor from 0.
    weight_decay : float, default 0
        The L2 penalty.
    amsgrad : bool, default False
        Divide by the largest running mean of squares so far.

    Raises
    ------
    TypeError
        When `params` holds something else than parameters, or a number is not one.
    ValueError
        When there are no parameters, a number is negative or not finite, or one of `betas` not below 1.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015; amsgrad: Reddi, Kale and Kumar, "On the
    convergence of Adam and beyond", 2018.

    Examples
    --------
    >>> from fastconv.nn import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = Adam([weight], lr=0.125)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     weight.add_grad(2 * weight.data)     # of weight ** 2
    ...     optimizer.step()
    >>> weight.data.round(2)
    array([0.75])
    """

    _decoupled = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        )

    def _check(self, options: dict[str, Any]) -> dict[str, Any]:
        name = type(self).__name__
        betas = options["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"{name}: betas must be two numbers, received betas={betas!r}")
        checked: dict[str, Any] = {
            option: number(name, option, value)
            for option, value in options.items()
            if option not in ("betas", "amsgrad")
        }
        checked["betas"] = tuple(number(name, "betas", value, below=1.0, shown=betas) for value in betas)
        checked["amsgrad"] = check.flag(name, "amsgrad", options["amsgrad"])
        return {option: checked[option] for option in options}

    def _rule(self, group: dict[str, Any], state: State) -> tuple[str, dict[str, float], list[float]]:
        lr, decay, t = group["lr"], group["weight_decay"], state.step + 1
        b1, b2 = group["betas"]
        shrink, decay = (1 - lr * decay, 0.0) if self._decoupled else (1.0, decay)
        numbers = [lr / (1 - b1**t), decay, group["eps"], 1 - b1, b2, 1 - b2, 1 / math.sqrt(1 - b2**t), shrink]
        names = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        if group["amsgrad"]:
            return "adam_amsgrad", {**names, "max_exp_avg_sq": 0.0}, numbers
        return "adam", names, numbers


class AdamW(Adam):
    """Adam whose weight decay acts on the parameters alone, by torch's rules.

    p = p * (1 - lr * weight_decay), then the step of :class:`Adam` without weight decay.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad
        As for :class:`Adam`.
    weight_decay : float, default 1e-2
        How fast parameters shrink, in units of the learning rate.

    Raises
    ------
    TypeError, ValueError
        As for :class:`Adam`.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    Examples
    --------
    >>> from fastconv.nn import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = AdamW([weight], lr=0.125, weight_decay=2)
    >>> weight.add_grad([5.0])
    >>> optimizer.step()
    >>> weight.data.round(6)
    array([0.625])
    """

    _decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
