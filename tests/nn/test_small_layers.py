"""ReLU, Flatten and CrossEntropyLoss as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import nn


def test_relu_gradients(check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    check_gradients(nn.ReLU(), np.where(abs(x) < 0.1, 0.5, x))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 60)),
        ({"start_dim": 0}, (120,)),
        ({"start_dim": 2}, (2, 3, 20)),
        ({"start_dim": -3}, (2, 60)),
        ({"start_dim": 0, "end_dim": 1}, (6, 4, 5)),
        ({"start_dim": 1, "end_dim": 1}, (2, 3, 4, 5)),
    ],
)
def test_flatten(options: dict[str, int], shape: tuple[int, ...], check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert nn.Flatten(**options)(x).shape == shape
    check_gradients(nn.Flatten(**options), x)


def test_flatten_of_an_empty_batch() -> None:
    y, backward = nn.Flatten().forward(np.empty((0, 3, 4)))
    assert y.shape == (0, 12)
    assert backward(y).shape == (0, 3, 4)


@pytest.mark.parametrize(
    "options", [{"start_dim": 2}, {"start_dim": -3}, {"start_dim": 1, "end_dim": 0}, {"end_dim": 2}]
)
def test_flatten_refuses_axes_that_are_not_there(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"Flatten: .*must be axes of input, in this order.*input.shape=\(2, 3\)"):
        nn.Flatten(**options)(np.ones((2, 3)))


def test_flatten_refuses_others() -> None:
    with pytest.raises(TypeError, match=r"Flatten: .*integers, received start_dim=1.0"):
        nn.Flatten(1.0)  # type: ignore[arg-type]
    _, backward = nn.Flatten().forward(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"Flatten: grad_output must have the shape .*\(2, 12\), received"):
        backward(np.ones((2, 3, 4)))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 4), (4,), (3, 4, 2, 2)])
def test_loss_and_its_gradient(reduction: str, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    scores = generator.standard_normal(shape)
    axis = min(1, len(shape) - 1)
    target = generator.integers(0, 4, shape[:axis] + shape[axis + 1 :])
    loss, grad = nn.CrossEntropyLoss(reduction=reduction)(scores, target)
    np.testing.assert_array_equal(loss, F.cross_entropy(scores, target, reduction=reduction))
    for position in np.ndindex(shape):
        step = np.zeros(shape)
        step[position] = 1e-6
        above, below = (F.cross_entropy(scores + way * step, target, reduction=reduction) for way in (1, -1))
        assert abs(np.sum(above - below) / 2e-6 - grad[position]) < 1e-8


def test_loss_of_float32_scores_is_float32() -> None:
    loss, grad = nn.CrossEntropyLoss()(np.zeros((3, 10), np.float32), [1, 2, 3])
    assert loss.dtype == grad.dtype == np.float32
    assert abs(loss - np.log(10)) < 1e-6


@pytest.mark.parametrize("reduction", ["average", None, "", 1])
def test_loss_refuses_reductions(reduction: Any) -> None:
    with pytest.raises(ValueError, match="CrossEntropyLoss: reduction must be one of"):
        nn.CrossEntropyLoss(reduction=reduction)


@pytest.mark.parametrize(("name", "shape"), [("Dropout", (3, 4, 5)), ("Dropout2d", (2, 8, 3, 3))])
def test_dropout(name: str, shape: tuple[int, ...]) -> None:
    layer = getattr(nn, name)(0.5, generator=0)
    x = np.random.default_rng(0).standard_normal(shape)
    y, backward = layer.forward(x)
    kept = y != 0
    np.testing.assert_array_equal(y, np.where(kept, 2 * x, 0))
    np.testing.assert_array_equal(backward(x), y)
    assert not np.array_equal(layer(x), y)
    np.testing.assert_array_equal(getattr(nn, name)(0.5, generator=0)(x), y)
    state = layer.generator.bit_generator.state
    again = layer(x)
    layer.generator.bit_generator.state = state
    np.testing.assert_array_equal(layer(x), again)
    layer.eval()
    y, backward = layer.forward(x)
    assert y is x
    assert layer(x) is x
    assert backward(y) is y
    assert repr(layer) == f"{name}(p=0.5)"


def test_inplace_is_taken_and_inputs_stay() -> None:
    """As code that was written for torch has it."""
    layers = nn.ReLU(True), nn.LeakyReLU(0.1, True), nn.ELU(1.0, True), nn.SiLU(inplace=True), nn.Dropout(0.5, True)
    x = np.linspace(-1, 1, 9)
    for layer in (*layers, nn.Dropout2d(0.5, True)):
        before = x.copy()
        layer(x.reshape(1, 9, 1, 1))
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("p", [-0.1, 1.1, None, "x", True])
def test_dropout_refuses(p: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="Dropout: p must be"):
        nn.Dropout(p)


def test_identity() -> None:
    x = np.ones(3)
    y, backward = nn.Identity(54, unused=0.1).forward(x)
    assert y is x
    assert backward(y) is y


@pytest.mark.parametrize(
    "layer",
    [
        nn.LeakyReLU(0.2),
        nn.ELU(0.7),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(),
        nn.Softplus(2.0, 3.0),
        nn.Softmax(),
        nn.LogSoftmax(1),
        nn.Maxout(3),
        nn.PReLU(dtype=np.float64),
        nn.PReLU(3, 0.1, dtype=np.float64),
    ],
    ids=str,
)
def test_activation_gradients(layer: nn.Module, check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    check_gradients(layer, np.where(abs(x) < 0.1, 0.5, x))


def test_a_frozen_prelu_learns_nothing() -> None:
    layer = nn.PReLU().freeze()
    _, backward = layer.forward(np.ones((2, 3), np.float32))
    assert backward(np.ones((2, 3), np.float32)).tolist() == [[1] * 3] * 2
    assert layer.weight.grad is None
    assert not layer.learns()
    layer.weight.data[...] = 5
    assert layer(np.full(1, -1.0, np.float32)) == -0.25
    assert layer.unfreeze()(np.full(1, -1.0, np.float32)) == -5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.LeakyReLU("x"), TypeError, "LeakyReLU: negative_slope must be a real number"),  # type: ignore[arg-type]
        (lambda: nn.ReLU(1), TypeError, "ReLU: inplace must be True or False"),  # type: ignore[arg-type]
        (lambda: nn.ELU(np.nan), ValueError, "ELU: alpha must be finite"),
        (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be one of"),
        (lambda: nn.Softplus(0), ValueError, "Softplus: beta must not be 0"),
        (lambda: nn.Softmax(1.5), TypeError, "Softmax: dim must be made of integers"),  # type: ignore[arg-type]
        (lambda: nn.LogSoftmax(None), TypeError, "LogSoftmax: dim must be made of integers"),  # type: ignore[arg-type]
        (lambda: nn.Maxout(0), ValueError, "Maxout: pool_size must be positive"),
        (lambda: nn.PReLU(0), ValueError, "PReLU: num_parameters must be positive"),
        (lambda: nn.PReLU(1, "x"), TypeError, "PReLU: init must be a real number"),  # type: ignore[arg-type]
        (lambda: nn.PReLU(dtype=np.int32), TypeError, "PReLU: dtype must be float16, float32 or float64"),
    ],
)
def test_activations_refuse(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()
