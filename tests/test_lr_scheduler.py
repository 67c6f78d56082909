"""Learning-rate schedules: values, resuming, arguments that cannot be. Torch compares in oracles/."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.optim import SGD, Optimizer
from fastconv.optim import lr_scheduler as lr


def optimizer_of(*rates: float) -> SGD:
    return SGD([{"params": [nn.Parameter(np.ones(1))], "lr": rate} for rate in rates])


def rates(optimizer: Optimizer, schedule: lr.LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.lr)
        assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        schedule.step()
    return found


def warm_up_then_steps(optimizer: Optimizer) -> lr.LRScheduler:
    return lr.SequentialLR(optimizer, [lr.LinearLR(optimizer, 0.5, total_iters=2), lr.StepLR(optimizer, 2, 0.5)], [2])


SCHEDULES: dict[str, tuple[Callable[[Optimizer], lr.LRScheduler], list[float]]] = {
    "step": (lambda o: lr.StepLR(o, 2, 0.5), [1, 1, 0.5, 0.5, 0.25, 0.25]),
    "multi-step": (lambda o: lr.MultiStepLR(o, [3, 1, 3], 0.5), [1, 0.5, 0.5, 0.125, 0.125, 0.125]),
    "exponential": (lambda o: lr.ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
    "cosine": (lambda o: lr.CosineAnnealingLR(o, 4, 0.0), [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0, 0.5 - 0.5**1.5]),
    "linear": (lambda o: lr.LinearLR(o, 0.5, 1.0, 2), [0.5, 0.75, 1, 1, 1, 1]),
    "lambda": (lambda o: lr.LambdaLR(o, lambda n: 1 / (n + 1)), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6]),
    "sequence": (warm_up_then_steps, [0.5, 0.75, 1, 1, 0.5, 0.5]),
}
each = pytest.mark.parametrize(("make", "factors"), SCHEDULES.values(), ids=SCHEDULES)


@each
def test_values_for_every_group(make: Callable[[Optimizer], lr.LRScheduler], factors: list[float]) -> None:
    optimizer = optimizer_of(2.0, 8.0)
    schedule = make(optimizer)
    for factor in factors:
        found = [group["lr"] for group in optimizer.param_groups]
        np.testing.assert_allclose(found, [2 * factor, 8 * factor], atol=1e-15)
        schedule.step()


@each
def test_a_resumed_schedule_goes_on(make: Callable[[Optimizer], lr.LRScheduler], factors: list[float]) -> None:
    first = optimizer_of(2.0)
    schedule = make(first)
    rates(first, schedule, 3)
    second = optimizer_of(7.0)
    other = make(second)
    other.load_state_dict(schedule.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.lr == first.lr
    assert (
        rates(second, other, 3) == rates(first, schedule, 3) == pytest.approx([2 * f for f in factors[3:]], abs=1e-15)
    )


def test_the_rate_given_first_is_the_base_of_all() -> None:
    optimizer = optimizer_of(8.0)
    lr.LinearLR(optimizer, 0.25)
    assert optimizer.lr == 2
    assert lr.ExponentialLR(optimizer, 0.5).base_lrs == [8]


def test_a_function_for_each_group() -> None:
    optimizer = optimizer_of(1.0, 1.0)
    lr.LambdaLR(optimizer, [lambda _: 2.0, lambda _: 3.0]).step()
    assert [group["lr"] for group in optimizer.param_groups] == [2, 3]


ONE = optimizer_of(1.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lr.StepLR(None, 2), TypeError, "StepLR: optimizer must be an Optimizer, received optimizer=NoneType"),  # type: ignore[arg-type]
        (lambda: lr.StepLR(ONE, 0), ValueError, "StepLR: step_size must be positive, received step_size=0"),
        (lambda: lr.StepLR(ONE, 1.0), TypeError, "StepLR: step_size must be made of integers"),  # type: ignore[arg-type]
        (lambda: lr.StepLR(ONE, 2, -1), ValueError, "StepLR: gamma must be finite and at least 0, received gamma=-1"),
        (lambda: lr.MultiStepLR(ONE, [-1]), ValueError, "MultiStepLR: milestones must be non-negative"),
        (lambda: lr.MultiStepLR(ONE, 3), TypeError, "MultiStepLR: milestones must be a sequence"),  # type: ignore[arg-type]
        (
            lambda: lr.ExponentialLR(ONE, 10.0).load_state_dict({"last_epoch": 400, "base_lrs": [1.0]}),
            ValueError,
            "ExponentialLR: learning rates must stay finite, received last_epoch=400",
        ),
        (lambda: lr.ExponentialLR(ONE, math.nan), ValueError, "ExponentialLR: gamma must be finite"),
        (
            lambda: lr.CosineAnnealingLR(ONE, 0),
            ValueError,
            "CosineAnnealingLR: T_max must be positive, received T_max=0",
        ),
        (lambda: lr.CosineAnnealingLR(ONE, 5, "0"), TypeError, "CosineAnnealingLR: eta_min must be a number"),  # type: ignore[arg-type]
        (
            lambda: lr.LinearLR(ONE, 0),
            ValueError,
            r"LinearLR: start_factor must be in \(0, 1\].*received start_factor=0",
        ),
        (lambda: lr.LinearLR(ONE, 0.5, 1.5), ValueError, "LinearLR: .*received end_factor=1.5"),
        (lambda: lr.LinearLR(ONE, total_iters=0), ValueError, "LinearLR: total_iters must be positive"),
        (lambda: lr.LambdaLR(ONE, 3), TypeError, "LambdaLR: lr_lambda must be a function"),  # type: ignore[arg-type]
        (lambda: lr.LambdaLR(ONE, [abs, abs]), ValueError, "LambdaLR: .*a function for each of 1 groups, received 2"),
        (lambda: lr.SequentialLR(ONE, [], []), ValueError, "SequentialLR: milestones must rise and be one less"),
        (
            lambda: lr.SequentialLR(ONE, [lr.StepLR(ONE, 1)] * 3, [4, 4]),
            ValueError,
            r"SequentialLR: .*received milestones=\[4, 4\]",
        ),
        (
            lambda: lr.SequentialLR(ONE, [lr.StepLR(optimizer_of(1.0), 1)], []),
            TypeError,
            "SequentialLR: schedulers must be schedules of this optimizer",
        ),
        (lambda: lr.StepLR(ONE, 1).load_state_dict({}), TypeError, "StepLR.load_state_dict: state_dict must be a dict"),
        (
            lambda: lr.StepLR(ONE, 1).load_state_dict({"last_epoch": 1, "base_lrs": []}),
            ValueError,
            "StepLR.load_state_dict: base_lrs must have 1 entries",
        ),
        (
            lambda: lr.StepLR(ONE, 1).load_state_dict({"last_epoch": 1, "base_lrs": 0.1}),
            TypeError,
            "StepLR.load_state_dict: base_lrs must be a list of numbers, received base_lrs=0.1",
        ),
        (
            lambda: lr.LambdaLR(optimizer_of(1.0), lambda steps: math.nan),
            ValueError,
            "LambdaLR: the learning rate must be finite and at least 0",
        ),
    ],
)
def test_refuses(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_a_schedule_shows_where_it_is() -> None:
    schedule = lr.StepLR(SGD([nn.Parameter(np.ones(1))], lr=0.5), 1, 0.5)
    schedule.step()
    assert repr(schedule) == "StepLR(last_epoch=1, lr=[0.25])"


def test_groups_come_before_the_schedule() -> None:
    optimizer = SGD([nn.Parameter(np.ones(1))], lr=0.5)
    schedule = lr.StepLR(optimizer, 1)
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))]})
    with pytest.raises(ValueError, match="StepLR: groups of parameters must be there before the schedule is made"):
        schedule.step()
