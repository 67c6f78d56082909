"""SGD: its update rules by hand, and arguments that cannot be. Torch compares in oracles/."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.optim import SGD


def steps(gradients: list[float], **options: Any) -> list[float]:
    """Return the values of a parameter that starts at 1, after each gradient."""
    parameter = nn.Parameter(np.ones(1))
    optimizer = SGD([parameter], **options)
    values = []
    for gradient in gradients:
        optimizer.zero_grad()
        parameter.add_grad(np.array([gradient]))
        optimizer.step()
        values.append(float(parameter.data[0]))
    return values


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lr": 0.5}, [0.5, -0.5]),
        ({"lr": 0.5, "weight_decay": 0.5}, [0.25, -0.8125]),
        ({"lr": 0.5, "momentum": 0.5}, [0.5, -0.75]),
        ({"lr": 0.5, "momentum": 0.5, "dampening": 0.5}, [0.5, -0.25]),
        ({"lr": 0.5, "momentum": 0.5, "nesterov": True}, [0.25, -1.375]),
    ],
    ids=str,
)
def test_two_steps_by_hand(options: dict[str, Any], expected: list[float]) -> None:
    assert steps([1.0, 2.0], **options) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_changes_in_place_and_keeps_dtype(dtype: type) -> None:
    parameter = nn.Parameter(np.ones(3, dtype))
    array = parameter.data
    optimizer = SGD([parameter], lr=np.float64(0.5), momentum=0.9, weight_decay=0.1, nesterov=True)
    for _ in range(3):
        parameter.grad = np.ones(3, dtype)
        optimizer.lr = np.float64(0.25)
        optimizer.step()
    assert parameter.data is array
    assert array.dtype == dtype
    assert np.all(array < 1)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}])
def test_leaves_gradients_as_they_are(options: dict[str, Any]) -> None:
    parameter = nn.Parameter(np.ones(3))
    optimizer = SGD([parameter], **options)
    for _ in range(3):
        parameter.grad = np.full(3, 2.0)
        optimizer.step()
        assert parameter.grad.tolist() == [2, 2, 2]


def test_passes_over_parameters_without_gradient() -> None:
    parameters = [nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))]
    optimizer = SGD(parameters, lr=0.5, momentum=0.9, weight_decay=0.5)
    parameters[1].add_grad(np.ones(1))
    optimizer.step()
    assert parameters[0].data.tolist() == [1]
    assert parameters[1].data.tolist() == [0.25]


def test_a_shared_parameter_steps_once() -> None:
    parameter = nn.Parameter(np.ones(1))
    optimizer = SGD([parameter, parameter], lr=0.5)
    parameter.add_grad(np.ones(1))
    optimizer.step()
    assert parameter.data.tolist() == [0.5]


def test_zero_grad() -> None:
    layer = nn.Linear(2, 2)
    optimizer = SGD(layer.parameters())
    y, backward = layer.forward(np.ones((1, 2), np.float32))
    backward(y)
    optimizer.zero_grad()
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_finds_the_least_squares() -> None:
    generator = np.random.default_rng(0)
    x, wanted = generator.standard_normal((50, 3)), np.array([[1.0, -2.0, 3.0]])
    layer = nn.Linear(3, 1, dtype=np.float64, generator=1)
    optimizer = SGD(layer.parameters(), lr=0.1, momentum=0.9)
    for _ in range(500):
        optimizer.zero_grad()
        y, backward = layer.forward(x, needs_input_grad=False)
        backward((y - (x @ wanted.T + 0.5)) / len(x))
        optimizer.step()
    np.testing.assert_allclose(layer.weight.data, wanted, atol=1e-6)
    np.testing.assert_allclose(layer.bias.data, [0.5], atol=1e-6)


ONE = nn.Parameter(np.ones(1))


@pytest.mark.parametrize(
    ("params", "options", "error", "message"),
    [
        ([], {}, ValueError, "params must hold a Parameter at least"),
        ([np.ones(1)], {}, TypeError, "params must hold Parameters, received one of type ndarray"),
        ([("weight", ONE)], {}, TypeError, "received one of type tuple"),
        (nn.ReLU(), {}, TypeError, "params must be an iterable of Parameters.*received params=ReLU"),
        ([ONE], {"lr": -1}, ValueError, "lr must be finite and at least 0, received lr=-1"),
        ([ONE], {"lr": math.nan}, ValueError, "received lr=nan"),
        ([ONE], {"lr": math.inf}, ValueError, "received lr=inf"),
        ([ONE], {"lr": "fast"}, TypeError, "lr must be a number, received lr='fast'"),
        ([ONE], {"lr": None}, TypeError, "received lr=None"),
        ([ONE], {"momentum": -0.1}, ValueError, "received momentum=-0.1"),
        ([ONE], {"momentum": True}, TypeError, "received momentum=True"),
        ([ONE], {"weight_decay": -1e-4}, ValueError, "received weight_decay=-0.0001"),
        ([ONE], {"dampening": math.nan}, ValueError, "received dampening=nan"),
        ([ONE], {"nesterov": True}, ValueError, "nesterov needs momentum above 0"),
        ([ONE], {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "and dampening of 0"),
    ],
)
def test_refuses(params: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^SGD: .*{message}"):
        SGD(params, **options)


def test_representation() -> None:
    assert repr(SGD([ONE], 0.1)) == "SGD(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)"
