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


# ---------------------------------------------------------------------------------------------------- side by side


def conv(inputs: int, outputs: int, side: int, seed: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding="same", dtype=np.float64, generator=seed)


def test_parallel_adds_and_concat_joins() -> None:
    first, second = conv(2, 3, 3, 0), conv(2, 3, 1, 1)
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 5))
    np.testing.assert_array_equal(nn.Parallel(first, second)(x), first(x) + second(x))
    np.testing.assert_array_equal(nn.Concat(first, second)(x), np.concatenate([first(x), second(x)], 1))
    one = nn.Concat(first, second, dim=-3)(x[0])
    np.testing.assert_array_equal(one, np.concatenate([first(x[0]), second(x[0])], 0))
    assert list(nn.Concat({"wide": first, "narrow": second}).state_dict()) == [
        "wide.weight", "wide.bias", "narrow.weight", "narrow.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [nn.Parallel, nn.Concat])
def test_gradients_of_branches(kind: type[nn.Module], check_gradients: Callable[..., None]) -> None:
    shared = conv(2, 3, 3, 0)
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 4))
    check_gradients(kind(shared, nn.Sequential(conv(2, 3, 1, 1), nn.ReLU()), shared), x)
    check_gradients(kind(shared), x)
    check_gradients(kind(nn.Identity(), nn.Identity()), x)


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_gradients_of_residual(shortcut: bool, activation: bool, check_gradients: Callable[..., None]) -> None:
    body = nn.Sequential(conv(2, 3 if shortcut else 2, 3, 0), nn.ReLU())
    block = nn.Residual(body, conv(2, 3, 1, 1) if shortcut else None, nn.ReLU() if activation else None)
    x = np.random.default_rng(1).standard_normal((2, 2, 3, 4))
    check_gradients(block, x)
    around = block.shortcut(x) if shortcut else x
    np.testing.assert_array_equal(block(x), np.maximum(body(x) + around, 0) if activation else body(x) + around)
    names = ["body.0.weight", "body.0.bias"] + ["shortcut.weight", "shortcut.bias"] * shortcut
    assert list(block.state_dict()) == names


def test_residual_without_weights_is_the_identity() -> None:
    body = nn.Sequential(conv(2, 2, 3, 0), nn.ReLU(), conv(2, 2, 3, 1))
    for parameter in body.parameters():
        parameter.data[...] = 0
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 4))
    y, backward = nn.Residual(body).forward(x)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(y, x)
    grad = np.ones_like(x)
    np.testing.assert_array_equal(backward(grad), grad)
    np.testing.assert_array_equal(grad, 1)


@pytest.mark.parametrize("make", [nn.Parallel, nn.Concat, nn.Residual])
def test_branches_skip_what_nobody_wants(make: Callable[..., nn.Module]) -> None:
    before, learner = Recorder(), linear(0)
    net = make(nn.Sequential(before, learner), Recorder())
    y, backward = net.forward(np.ones((2, 3)), needs_input_grad=False)
    assert backward(np.ones_like(y)) is None
    assert before.calls == ["call"]
    assert learner.weight.grad is not None
    other = next(iter(list(net.named_children())[1:]))[1]
    assert isinstance(other, Recorder)
    assert other.calls == ["call"]


def test_branches_refuse() -> None:
    x = np.ones((2, 2, 4, 4))
    with pytest.raises(ValueError, match="Concat: layers must hold a layer at least, received none"):
        nn.Concat()
    with pytest.raises(TypeError, match="Parallel: layers must be Modules, received layer '0'=3"):
        nn.Parallel(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Residual: layers must be Modules, received layer 'body'=None"):
        nn.Residual(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Residual: layers must be Modules, received layer 'activation'=.*the class"):
        nn.Residual(nn.ReLU(), activation=nn.ReLU)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"Parallel: outputs .* must have one shape, received \[\(2, 3, 4, 4\), \(2, 2"
    ):
        nn.Parallel(conv(2, 3, 1, 0), nn.Identity())(x)
    with pytest.raises(ValueError, match=r"Residual: body and shortcut must give one shape, received \(2, 3, 4, 4\)"):
        nn.Residual(conv(2, 3, 1, 0)).forward(x)
    with pytest.raises(ValueError, match="Concat: outputs of the layers must agree but for axis 1"):
        nn.Concat(nn.MaxPool2d(2), nn.Identity())(x)
    with pytest.raises(ValueError, match="Concat: dim must be an axis of the outputs, received dim=4"):
        nn.Concat(nn.Identity(), dim=4)(x)
    with pytest.raises(TypeError, match=r"Concat: dim must be made of integers, received dim=1\.0"):
        nn.Concat(nn.Identity(), dim=1.0)  # type: ignore[arg-type]
    _, backward = nn.Concat(nn.Identity(), nn.Identity()).forward(x)
    with pytest.raises(ValueError, match="Concat: grad_output must have the shape"):
        backward(x)


def test_an_error_tells_in_which_layer_it_was() -> None:
    inner = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 3, 3))
    net = nn.Sequential({"stem": nn.Identity(), "body": inner})
    x = np.ones((1, 4, 5, 5))
    for call in (lambda: net(x), lambda: net.forward(x), lambda: net.forward(x, needs_input_grad=False)):
        with pytest.raises(ValueError, match="takes input of 2 channels") as caught:
            call()
        assert caught.value.__notes__ == [
            "in layer '1' of Sequential: Conv2d(2, 3, kernel_size=(3, 3), stride=(1, 1))",
            "in layer 'body' of Sequential: Sequential",
        ]


def test_a_list_of_layers_is_refused_with_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"write Sequential\(\*layers\)"):
        nn.Sequential([nn.ReLU()])  # type: ignore[arg-type]
