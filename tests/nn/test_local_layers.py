"""Layers of local and tiled connection: parameters, calls, gradients, state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

LAYERS = [
    (
        nn.LocallyConnected1d(4, 6, 9, 3, stride=2, padding=1, groups=2, generator=0),
        fc.locally_connected1d,
        fc.locally_connected1d_backward,
        {"weight": (5, 6, 2, 3), "bias": (6, 5)},
        (4, 9),
    ),
    (
        nn.LocallyConnected2d(4, 6, (5, 7), (3, 2), padding=((1, 0), (0, 1)), generator=0),
        fc.locally_connected2d,
        fc.locally_connected2d_backward,
        {"weight": (4, 7, 6, 4, 3, 2), "bias": (6, 4, 7)},
        (4, 5, 7),
    ),
    (
        nn.TiledConv2d(4, 6, 3, (2, 3), stride=(1, 2), padding="same", dilation=2, groups=2, generator=0),
        fc.tiled_conv2d,
        fc.tiled_conv2d_backward,
        {"weight": (2, 3, 6, 2, 3, 3), "bias": (6, 2, 3)},
        (4, 8, 9),
    ),
]
IDS = [type(layer).__name__ for layer, *_ in LAYERS]


@pytest.mark.parametrize(("layer", "operator", "backward_operator", "shapes", "image"), LAYERS, ids=IDS)
def test_a_layer_is_its_operator(
    layer: Any, operator: Any, backward_operator: Any, shapes: dict[str, Any], image: Any
) -> None:
    assert {name: value.shape for name, value in layer.state_dict().items()} == shapes
    options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
    x = np.random.default_rng(1).standard_normal((3, *image), np.float32)
    weight, bias = layer.weight.data, layer.bias.data
    want = operator(x, weight, bias, **options)
    y, backward = layer.forward(x)
    for got in (layer(x), y):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(layer(x[0]), operator(x[0], weight, bias, **options))
    gx, gw, gb = backward_operator(y, x, weight, **options)
    np.testing.assert_array_equal(backward(y), gx)
    np.testing.assert_array_equal(layer.weight.grad, gw)
    np.testing.assert_array_equal(layer.bias.grad, gb)
    backward(y)
    np.testing.assert_array_equal(layer.weight.grad, gw + gw)
    layer.zero_grad()
    _, backward = layer.forward(x, needs_input_grad=False)
    assert backward(y) is None
    layer.zero_grad()


@pytest.mark.parametrize("layer", [row[0] for row in LAYERS], ids=IDS)
def test_first_weights_are_a_convolutions(layer: Any) -> None:
    bound = 1 / np.sqrt(layer.in_channels // layer.groups * np.prod(layer.kernel_size))
    for parameter in (layer.weight, layer.bias):
        largest = abs(parameter.data).max()
        assert 0.8 * bound < largest <= bound
    kernels = layer.weight.data.reshape(-1, layer.out_channels * np.prod(layer.weight.shape[-2:]))
    assert len(np.unique(kernels, axis=0)) == len(kernels), "each kernel has first weights of its own"


@pytest.mark.parametrize("layer", [row[0] for row in LAYERS], ids=IDS)
def test_state_freezing_and_dtype(layer: Any) -> None:
    x = np.random.default_rng(1).standard_normal(({1: (4, 9), 2: (4, 5, 7)}[layer._axes]), np.float32)
    want = layer(x)
    state = {name: value.copy() for name, value in layer.state_dict().items()}
    frozen = layer.freeze()
    layer.weight.data[...] = 0
    np.testing.assert_array_equal(frozen(x), want)  # a private copy
    layer.unfreeze()
    assert not np.array_equal(layer(x), want)
    layer.load_state_dict(state)
    np.testing.assert_array_equal(layer(x), want)


def test_without_bias_and_in_float64() -> None:
    layer = nn.LocallyConnected2d(2, 3, 4, 3, bias=False, dtype=np.float64)
    assert layer.bias is None
    assert [*layer.state_dict()] == ["weight"]
    assert layer(np.ones((2, 4, 4))).dtype == np.float64
    assert repr(layer) == (
        "LocallyConnected2d(2, 3, input_size=(4, 4), kernel_size=(3, 3), stride=(1, 1), bias=False, dtype=float64)"
    )
    tiled = nn.TiledConv2d(4, 2, 3, 2, padding=1, dilation=2, groups=2)
    assert repr(tiled) == (
        "TiledConv2d(4, 2, tiles=(2, 2), kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(2, 2), groups=2)"
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.LocallyConnected2d(2, 3, 2, 3), "must fit the padded input"),
        (lambda: nn.LocallyConnected2d(2, 3, (2, 3, 4), 3), "input_size"),
        (lambda: nn.LocallyConnected2d(2, 3, 0, 3), "input_size must be positive"),
        (lambda: nn.LocallyConnected1d(3, 4, 9, 3, groups=2), "in_channels must be a multiple of groups"),
        (lambda: nn.TiledConv2d(2, 3, 3, 0), "tiles must be positive"),
        (lambda: nn.TiledConv2d(2, 3, 3, (1, 2, 3)), "tiles"),
    ],
)
def test_wrong_arguments(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a kernel for each"):
        nn.LocallyConnected2d(2, 3, 5, 3)(np.ones((2, 6, 5), np.float32))


def test_a_layer_learns() -> None:
    """Plain descent on a target that only unshared weights can reach."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((8, 1, 4, 4)), rng.standard_normal((1, 1, 4, 4))
    target = x * target  # every position has a factor of its own
    layer = nn.LocallyConnected2d(1, 1, 4, 1, dtype=np.float64, generator=0)
    for _ in range(200):
        y, backward = layer.forward(x)
        layer.zero_grad()
        backward((y - target) / 8)
        for parameter in (layer.weight, layer.bias):
            parameter.data -= 0.5 * parameter.grad
    assert abs(layer(x) - target).max() < 1e-3
