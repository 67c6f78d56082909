"""The fully connected layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_gradients(bias: bool, batch: tuple[int, ...], check_gradients: Callable[..., None]) -> None:
    layer = nn.Linear(4, 3, bias, dtype=np.float64, generator=0)
    check_gradients(layer, np.random.default_rng(0).standard_normal((*batch, 4)))


def test_known_parameter_counts() -> None:
    assert nn.Linear(9, 16, bias=False).weight.size == 144
    assert nn.Linear(32 * 32, 500).weight.size == 512_000
    assert sum(parameter.size for parameter in nn.Linear(120, 84).parameters()) == 10_164


def test_skips_gradients_that_are_not_needed() -> None:
    layer = nn.Linear(4, 3)
    layer.bias.requires_grad = False
    y, backward = layer.forward(np.ones((2, 4), np.float32), needs_input_grad=False)
    assert backward(np.ones_like(y)) is None
    assert layer.bias.grad is None
    assert layer.weight.grad.tolist() == [[2] * 4] * 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features must be positive, received in_features=0"),
        ({"out_features": -1}, ValueError, "out_features must be positive, received out_features=-1"),
        ({"in_features": 2.0}, TypeError, "received in_features=2.0"),
        ({"in_features": True}, TypeError, "received in_features=True"),
        ({"out_features": (3,)}, TypeError, "received out_features=(3,)"),
        ({"dtype": int}, TypeError, "dtype"),
    ],
)
def test_refuses_arguments_when_made(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match="^Linear: .*" + re.escape(message)):
        nn.Linear(**({"in_features": 2, "out_features": 2} | arguments))
