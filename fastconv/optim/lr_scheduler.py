"""Learning-rate schedules, with torch's names, arguments and values.

A schedule sets the learning rates of an optimizer's groups as a function of the number of its steps. It is called once
an epoch (or once a batch), after the optimizer's own steps::

    optimizer = optim.SGD(net.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for _ in range(epochs):
        ...                                       # optimizer.step() for every batch
        schedule.step()

Each rate follows from the group's first one and the number of steps alone, so that nothing accumulates.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastconv import _check as check
from fastconv.optim.optimizer import Optimizer, number

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """The base of all schedules. A new one writes `_rate`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups' learning rates are set: at once, and in every step.

    Attributes
    ----------
    last_epoch : int
        The number of steps so far.
    base_lrs : list of floats
        The groups' learning rates before the first schedule was made for them.

    Raises
    ------
    TypeError
        When `optimizer` is none, or an option is not of its type.
    ValueError
        When an option is out of its range.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: optimizer must be an Optimizer, received optimizer={type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        # Kept in the groups, since of several schedules in turn only the first sees the rates as they were given.
        self.base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.last_epoch = 0
        self._apply()

    def _rate(self, base: float, epoch: int, group: int) -> float:
        """Return the learning rate after `epoch` steps of a group whose first one was `base`."""
        raise NotImplementedError(f"{type(self).__name__} must define _rate")

    def _rates(self) -> list[float]:
        try:
            rates = [self._rate(base, self.last_epoch, index) for index, base in enumerate(self.base_lrs)]
        except OverflowError:
            raise ValueError(
                f"{type(self).__name__}: learning rates must stay finite, received last_epoch={self.last_epoch}"
            ) from None
        return [number(type(self).__name__, "the learning rate", rate) for rate in rates]

    def _apply(self) -> None:
        groups = len(self.optimizer.param_groups)
        if groups != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: groups of parameters must be there before the schedule is made, "
                f"received an optimizer of {groups} groups, which had {len(self.base_lrs)}"
            )
        for group, rate in zip(self.optimizer.param_groups, self._rates(), strict=True):
            group["lr"] = rate

    def step(self) -> None:
        """Count a step and set the learning rates."""
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Return the learning rates that the schedule set last, one for each group."""
        return self._rates()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(last_epoch={self.last_epoch}, lr={self.get_last_lr()})"

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: numbers in a dict."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what ``state_dict()`` gave, and set the learning rates.

        Raises
        ------
        TypeError
            When `state_dict` is not such a dict.
        ValueError
            When the number of groups differs.
        """
        name = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"last_epoch", "base_lrs"} <= set(state_dict):
            raise TypeError(
                f"{name}: state_dict must be a dict with 'last_epoch' and 'base_lrs', received {state_dict!r}"
            )
        given = state_dict["base_lrs"]
        if not isinstance(given, list | tuple):
            raise TypeError(f"{name}: base_lrs must be a list of numbers, received base_lrs={given!r}")
        bases = [number(name, "base_lrs", base) for base in given]
        if len(bases) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{name}: base_lrs must have {len(self.optimizer.param_groups)} entries, one per group, "
                f"received {bases}"
            )
        self.last_epoch = check.integer(name, "last_epoch", state_dict["last_epoch"], 0)
        self.base_lrs = bases
        for group, base in zip(self.optimizer.param_groups, bases, strict=True):
            group["initial_lr"] = base
        self._apply()


class StepLR(LRScheduler):
    """Multiply the learning rate by `gamma` every `step_size` steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float, default 0.1

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [8.0, 8.0, 4.0, 4.0, 2.0]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = check.integer("StepLR", "step_size", step_size, 1)
        self.gamma = number("StepLR", "gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply the learning rate by `gamma` when the number of steps reaches each of `milestones`.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
    gamma : float, default 0.1

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> schedule = MultiStepLR(optimizer, [1, 4], gamma=0.5)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [8.0, 4.0, 4.0, 4.0, 2.0]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(check.sizes("MultiStepLR", "milestones", milestones))
        self.gamma = number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(LRScheduler):
    """Multiply the learning rate by `gamma` in every step.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> schedule = ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> optimizer.lr
    4.0
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, base: float, epoch: int, group: int) -> float:
        return base * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """Lead the learning rate down to `eta_min` in `T_max` steps, along half a wave of the cosine (and up again behind).

    ``lr = eta_min + (base - eta_min) * (1 + cos(pi * steps / T_max)) / 2``.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
    eta_min : float, default 0

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=4)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(round(optimizer.lr, 2))
    ...     schedule.step()
    >>> rates
    [8.0, 6.83, 4.0, 1.17, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = check.integer("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer)

    def _rate(self, base: float, epoch: int, group: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class LinearLR(LRScheduler):
    """Lead a factor of the learning rate in a straight line from `start_factor` to `end_factor`: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float, default 1/3
        In (0, 1].
    end_factor : float, default 1
        From 0 to 1.
    total_iters : int, default 5
        The number of steps to the end, behind which the factor stays.

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> schedule = LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [2.0, 4.0, 6.0, 8.0, 8.0]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        for name, factor in (("start_factor", start_factor), ("end_factor", end_factor)):
            if not 0 <= number("LinearLR", name, factor) <= 1 or (name == "start_factor" and factor == 0):
                raise ValueError(
                    f"LinearLR: start_factor must be in (0, 1] and end_factor in [0, 1], received {name}={factor}"
                )
        self.start_factor, self.end_factor = float(start_factor), float(end_factor)
        self.total_iters = check.integer("LinearLR", "total_iters", total_iters, 1)
        super().__init__(optimizer)

    def _rate(self, base: float, epoch: int, group: int) -> float:
        share = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class LambdaLR(LRScheduler):
    """Multiply the first learning rate by a function of the number of steps.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable, or sequence of callables
        ``factor = lr_lambda(steps)``; one for all groups, or one for each. ``state_dict`` does not hold them.

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    Examples
    --------
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> schedule = LambdaLR(optimizer, lambda steps: 1 / (1 + steps))
    >>> schedule.step()
    >>> optimizer.lr
    4.0
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        given: list[Any] = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda]
        if not all(callable(function) for function in given):
            raise TypeError(f"LambdaLR: lr_lambda must be a function or a list of them, received {lr_lambda=!r}")
        groups = len(optimizer.param_groups) if isinstance(optimizer, Optimizer) else 1
        if isinstance(lr_lambda, list | tuple) and len(given) != groups:
            raise ValueError(
                f"LambdaLR: lr_lambda must have a function for each of {groups} groups, received {len(given)}"
            )
        self.lr_lambdas: list[Callable[[int], float]] = given * groups if len(given) == 1 else given
        super().__init__(optimizer)

    def _rate(self, base: float, epoch: int, group: int) -> float:
        return base * self.lr_lambdas[group](epoch)


class SequentialLR(LRScheduler):
    """Schedules in turn: each takes over, from its own beginning, when the number of steps reaches the next milestone.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of LRScheduler
        Of this optimizer.
    milestones : sequence of int
        One less than there are schedules, rising.

    Raises
    ------
    TypeError, ValueError
        As for `LRScheduler`.

    Examples
    --------
    A warm-up, then a cosine:

    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=8.0)
    >>> warm_up, cosine = LinearLR(optimizer, 0.25, total_iters=3), CosineAnnealingLR(optimizer, T_max=4)
    >>> schedule = SequentialLR(optimizer, [warm_up, cosine], [3])
    >>> rates = []
    >>> for _ in range(6):
    ...     rates.append(round(optimizer.lr, 2))
    ...     schedule.step()
    >>> rates
    [2.0, 4.0, 6.0, 8.0, 6.83, 4.0]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        given = list(schedulers) if isinstance(schedulers, Sequence) else [schedulers]
        for schedule in given:
            if not isinstance(schedule, LRScheduler) or schedule.optimizer is not optimizer:
                raise TypeError(
                    f"SequentialLR: schedulers must be schedules of this optimizer, received {type(schedule).__name__}"
                )
        self.milestones = check.sizes("SequentialLR", "milestones", milestones, minimum=1)
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False))
        if not given or len(self.milestones) != len(given) - 1 or not rising:
            raise ValueError(
                f"SequentialLR: milestones must rise and be one less than the {len(given)} schedulers, "
                f"received {milestones=!r}"
            )
        self.schedulers = given
        super().__init__(optimizer)

    def _apply(self) -> None:
        turn = bisect_right(self.milestones, self.last_epoch)
        begun = self.milestones[turn - 1] if turn else 0
        self.schedulers[turn].last_epoch = self.last_epoch - begun
        super()._apply()

    def _rate(self, base: float, epoch: int, group: int) -> float:
        turn = bisect_right(self.milestones, epoch)
        begun = self.milestones[turn - 1] if turn else 0
        return self.schedulers[turn]._rate(base, epoch - begun, group)
