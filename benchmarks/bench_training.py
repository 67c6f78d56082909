"""What a training step does besides convolving: activations, the loss, dropout, an optimizer's step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim, reference

SHAPES = pytest.mark.parametrize("shape", [(8, 64, 56, 56), (64, 84)], ids=str)
#: Name, and whether its way back starts from the output.
ACTIVATIONS = pytest.mark.parametrize(
    ("name", "from_output"),
    [("relu", True), ("sigmoid", True), ("tanh", True), ("elu", False), ("gelu", False), ("silu", False)],
)


def data(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@SHAPES
@ACTIVATIONS
def bench_activation(benchmark: Any, name: str, from_output: bool, shape: tuple[int, ...]) -> None:
    """Time the forward call."""
    x = data(shape)
    few = x.ravel()[:1000]
    expected = getattr(reference, name)(few)
    np.testing.assert_allclose(getattr(fc, name)(few), expected, rtol=1e-5, atol=1e-6)
    benchmark(getattr(fc, name), x)


@SHAPES
@ACTIVATIONS
def bench_activation_backward(benchmark: Any, name: str, from_output: bool, shape: tuple[int, ...]) -> None:
    """Time the input's gradient."""
    x, grad = data(shape), data(shape, 1)
    benchmark(getattr(fc, f"{name}_backward"), grad, getattr(fc, name)(x) if from_output else x)


@pytest.mark.parametrize("shape", [(64, 10), (128, 1000)], ids=str)
def bench_cross_entropy(benchmark: Any, shape: tuple[int, ...]) -> None:
    """Time the loss with its gradient."""
    target = np.random.default_rng(0).integers(0, shape[1], shape[0])
    benchmark(nn.CrossEntropyLoss(), data(shape), target)


@SHAPES
def bench_dropout(benchmark: Any, shape: tuple[int, ...]) -> None:
    """Time the draw and the product."""
    benchmark(nn.Dropout(0.5, generator=0), data(shape))


@pytest.mark.parametrize("size", [60_000, 10_000_000])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW])
def bench_optimizer(benchmark: Any, kind: type[optim.Optimizer], size: int) -> None:
    """Time one step; SGD with momentum."""
    parameter = nn.Parameter(data((size,)))
    parameter.grad = data((size,), 1)
    optimizer = kind([parameter], **({"momentum": 0.9} if kind is optim.SGD else {}))
    benchmark(optimizer.step)
