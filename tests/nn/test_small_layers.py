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
    loss, grad = nn.CrossEntropyLoss(reduction)(scores, target)
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
        nn.CrossEntropyLoss(reduction)


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


@pytest.mark.parametrize("p", [-0.1, 1.1, None, "x", True])
def test_dropout_refuses(p: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="Dropout: p must be"):
        nn.Dropout(p)


def test_identity() -> None:
    x = np.ones(3)
    y, backward = nn.Identity(54, unused=0.1).forward(x)
    assert y is x
    assert backward(y) is y
