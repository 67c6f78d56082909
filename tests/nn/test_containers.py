"""Sequential: order, names, shared layers, and what it leaves out of the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn


class Recorder(nn.Module):
    """Passes arrays on, and notes what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, input: Any) -> Any:
        self.calls.append("call")
        return input

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, nn.Backward]:
        self.calls.append(f"forward {needs_input_grad}")

        def backward(grad_output: Any) -> Any:
            self.calls.append("backward")
            return grad_output

        return input, backward


def linear(seed: int, bias: bool = True) -> nn.Linear:
    return nn.Linear(3, 3, bias, dtype=np.float64, generator=seed)


def test_answers_as_its_layers_in_turn() -> None:
    first, second = linear(0), linear(1)
    x = np.random.default_rng(0).standard_normal((2, 3))
    net = nn.Sequential(first, nn.ReLU(), second)
    np.testing.assert_array_equal(net(x), second(np.maximum(first(x), 0)))


def test_gradients_of_a_small_network(check_gradients: Callable[..., None]) -> None:
    generator = np.random.default_rng(7)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding="same", dtype=np.float64, generator=generator),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(3, 4, 2, dtype=np.float64, generator=generator), nn.AvgPool2d(2)),
        nn.Flatten(),
        nn.Linear(4, 3, dtype=np.float64, generator=generator),
    )
    check_gradients(net, generator.standard_normal((2, 2, 6, 6)))


def test_a_layer_used_twice_shares_weights_and_adds_gradients(check_gradients: Callable[..., None]) -> None:
    layer = nn.Conv1d(2, 2, 3, padding=1, dtype=np.float64, generator=0)
    check_gradients(nn.Sequential(layer, nn.ReLU(), layer), np.random.default_rng(1).standard_normal((2, 2, 5)))


def test_empty_passes_everything_on() -> None:
    x = np.ones(2)
    y, backward = nn.Sequential().forward(x)
    assert y is x
    assert backward(x) is x
    assert nn.Sequential()(x) is x


def test_first_layer_skips_the_gradient_of_its_input() -> None:
    net = nn.Sequential(linear(0), linear(1))
    y, backward = net.forward(np.ones((2, 3)), needs_input_grad=False)
    assert backward(np.ones_like(y)) is None
    with_skip = [parameter.grad for parameter in net.parameters()]
    net.zero_grad()
    y, backward = net.forward(np.ones((2, 3)))
    assert backward(np.ones_like(y)).shape == (2, 3)
    for parameter, grad in zip(net.parameters(), with_skip, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_layers_before_the_first_that_learns_are_not_entered_on_the_way_back() -> None:
    before, after = Recorder(), Recorder()
    frozen = linear(0).freeze()
    net = nn.Sequential(before, frozen, nn.Sequential(before, linear(1)), after)
    y, backward = net.forward(np.ones((2, 3)), needs_input_grad=False)
    assert backward(np.ones_like(y)) is None
    assert before.calls == ["call", "call"]
    assert after.calls == ["forward True", "backward"]
    assert frozen.weight.grad is None
    assert net[2][1].weight.grad is not None


def test_all_layers_are_entered_when_the_input_wants_its_gradient() -> None:
    before = Recorder()
    net = nn.Sequential(before, linear(0).freeze())
    y, backward = net.forward(np.ones((2, 3)))
    assert backward(np.ones_like(y)).shape == (2, 3)
    assert before.calls == ["forward True", "backward"]


def test_nothing_to_learn_and_no_input_gradient() -> None:
    net = nn.Sequential(linear(0), nn.ReLU()).freeze()
    y, backward = net.forward(np.ones((2, 3)), needs_input_grad=False)
    assert backward(np.ones_like(y)) is None


def test_works_as_a_list() -> None:
    first, second, third = linear(0), nn.ReLU(), linear(1)
    net = nn.Sequential(first, second)
    assert net.append(third) is net
    assert len(net) == 3
    assert list(net) == [first, second, third]
    assert net[0] is first
    assert net[-1] is third
    assert list(net[1:]) == [second, third]
    assert list(net[1:].state_dict()) == ["2.weight", "2.bias"]
    net[1] = fourth = nn.Flatten()
    assert list(net) == [first, fourth, third]
    with pytest.raises(IndexError):
        net[3]


def test_names() -> None:
    net = nn.Sequential({"in": linear(0), "out": linear(1, bias=False)})
    assert list(net.state_dict()) == ["in.weight", "in.bias", "out.weight"]
    assert net[1] is vars(net)["out"]


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training", "parameters"])
def test_refuses_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="names of layers must not be empty, have dots or be taken, received name="):
        nn.Sequential({name: nn.ReLU()})


def test_refuses_a_name_that_is_no_string() -> None:
    with pytest.raises(TypeError, match="names of layers must be strings, received name=1"):
        nn.Sequential({1: nn.ReLU()})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (None, "received layer '1'=None"),
        (np.tanh, "received layer '1'=<ufunc 'tanh'>"),
        (nn.ReLU, "the class; write it with parentheses"),
    ],
)
def test_refuses_what_is_no_layer(layer: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"layers must be Modules.*{message}"):
        nn.Sequential(nn.ReLU(), layer)
    with pytest.raises(TypeError, match=f"layers must be Modules.*{message}"):
        nn.Sequential(nn.ReLU(), nn.ReLU())[1] = layer


def test_representation_is_a_tree() -> None:
    net = nn.Sequential({"features": nn.Sequential(nn.ReLU()), "flatten": nn.Flatten()})
    assert repr(net) == (
        "Sequential(\n  (features): Sequential(\n    (0): ReLU()\n  )\n  (flatten): Flatten(start_dim=1, end_dim=-1)\n)"
    )
