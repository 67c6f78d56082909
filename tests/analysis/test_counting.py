"""Weights, connections and sizes: every figure of the field's teaching material, and the matrices as the judge."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from fastconv import analysis, models, nn
from fastconv.analysis import convolution, count, fully_connected, locally_connected, neurons, tiled


def saved(less: int, of: int) -> float:
    """Per cent, with two digits."""
    return round(100 * (1 - less / of), 2)


def test_neurons_in_groups_that_share_their_weights() -> None:
    alone = fully_connected((3, 3), 16)
    grouped, local = neurons(16, 9, shared_by=4), neurons(16, 2 * 2, shared_by=4)
    assert (alone.weights, grouped.weights, local.weights) == (144, 36, 16)
    assert (saved(grouped.weights, alone.weights), saved(local.weights, alone.weights)) == (75.0, 88.89)
    assert (alone.connections, grouped.connections, local.connections) == (144, 144, 64)
    assert neurons(10**6, 100, shared_by=10**6).weights == 100
    assert neurons(10**6, 100).weights == 10**8
    assert neurons(16, 9, shared_by=4, bias=True).parameters == 40


def test_fully_connected_layers() -> None:
    assert fully_connected(9, 90).weights == 810
    assert fully_connected(90, 50).weights == 4500
    assert fully_connected(9, 90).weights + fully_connected(90, 50).weights == 5310
    assert fully_connected((32, 32), 500).weights == 512_000
    assert fully_connected(120, 84, bias=True).parameters == 10_164
    w, h, x, y = 640, 427, 31, 17
    assert fully_connected((h, w), (y, x)).weights == w * h * x * y


@pytest.mark.parametrize(("side", "weights"), [(100, 10**8), (1000, 10**12), (10**9, 10**36)])
def test_a_full_connection_grows_with_the_fourth_power_of_the_side(side: int, weights: int) -> None:
    assert fully_connected((side, side), (side, side)).weights == weights


@pytest.mark.parametrize(("side", "field", "weights"), [(100, 5, 250_000), (100, 10, 10**6), (100, 3, 90_000)])
def test_local_and_shared_weights(side: int, field: int, weights: int) -> None:
    image = (1, side, side)
    assert locally_connected(image, 1, field, padding="same").weights == side * side * field * field == weights
    assert convolution(image, 1, field, padding="same").weights == field * field
    assert convolution(image, 1, field, padding="same", bias=True).parameters == field * field + 1
    assert convolution((1, 10**6, 10**6), 1, field, padding="same").weights == field * field  # whatever the size


def test_volumes() -> None:
    ten = convolution((3, 32, 32), 10, 5, stride=1, padding=2, bias=True)
    assert ten.output_shape == (10, 32, 32)
    assert ten.parameters == (5 * 5 * 3 + 1) * 10 == 760
    for kernel in (1, 3, 4, 5):
        assert convolution((3, 32, 32), 12, kernel, padding="same").output_shape == (12, 32, 32)
    stacked, single = convolution((64, 9, 9), 64, 3, padding=1), convolution((64, 9, 9), 64, 7, padding=3)
    assert 3 * stacked.weights == 27 * 64**2
    assert single.weights == 49 * 64**2


def test_lenet() -> None:
    net = models.LeNet5(generator=0)
    c5, f6 = net[0][6], net[1][1]  # type: ignore[index]
    assert count(c5, (16, 5, 5)).parameters == 120 * (5 * 5 * 16 + 1) == 48_120
    assert count(f6, (120,)).parameters == (120 + 1) * 84 == 10_164
    for layer, shape in ((c5, (16, 5, 5)), (f6, (120,))):
        assert count(layer, shape).parameters == sum(p.size for p in layer.parameters())


CASES: list[dict[str, Any]] = [
    {"input_shape": (2, 7, 9), "out_channels": 4, "kernel_size": 3},
    {"input_shape": (2, 7, 9), "out_channels": 4, "kernel_size": (2, 5), "stride": (2, 3), "padding": (1, 2)},
    {"input_shape": (4, 6, 5), "out_channels": 6, "kernel_size": 3, "padding": "same", "groups": 2, "stride": 2},
    {"input_shape": (1, 8, 8), "out_channels": 1, "kernel_size": 3, "padding": ((0, 4), (5, 1)), "dilation": (3, 2)},
    {"input_shape": (3, 11), "out_channels": 2, "kernel_size": 4, "stride": 5, "padding": 3},
    {"input_shape": (1, 4, 5, 6), "out_channels": 2, "kernel_size": 2, "stride": 2, "padding": 1},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case["input_shape"])))
def test_counts_equal_those_of_the_matrix(case: dict[str, Any]) -> None:
    n = len(case["input_shape"]) - 1
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1]
    options = {name: value for name, value in case.items() if name not in ("input_shape", "out_channels")}
    layer = kind(case["input_shape"][0], case["out_channels"], **options)
    wires = analysis.wiring(layer, case["input_shape"])
    counted = convolution(**case, bias=True)
    assert counted == count(layer, case["input_shape"])
    assert counted.connections == len(wires.row) == np.count_nonzero(wires.picture() >= 0)
    assert (counted.outputs, counted.inputs) == wires.shape
    assert counted.output_shape == layer(np.zeros(case["input_shape"], np.float32)).shape
    assert (counted.weights, counted.biases) == (layer.weight.size, case["out_channels"])
    local = locally_connected(**case)
    assert local.connections == counted.connections
    assert local.weights == counted.multiply_adds == local.multiply_adds
    positions = counted.output_shape[1:]
    assert tiled(**case, tile=1).weights == counted.weights
    assert tiled(**case, tile=positions).weights == tiled(**case, tile=99).weights == local.weights
    assert tiled(**case, tile=2).weights == counted.weights * prod(min(2, out) for out in positions)


def test_tiled_with_one_tile_is_convolution_and_with_all_is_local() -> None:
    """The pictures: which connections are one weight; and what is counted is what the layers hold."""
    shape = (2, 5, 6)
    conv, one = nn.Conv2d(2, 3, 3), nn.TiledConv2d(2, 3, 3, 1)
    local, every = nn.LocallyConnected2d(2, 3, (5, 6), 3), nn.TiledConv2d(2, 3, 3, (3, 4))
    for left, right in ((conv, one), (local, every)):
        np.testing.assert_array_equal(analysis.wiring(left, shape).picture(), analysis.wiring(right, shape).picture())
        assert count(left, shape) == count(right, shape)
    for layer in (local, every, nn.TiledConv2d(2, 3, 3, 2), nn.LocallyConnected2d(2, 4, (5, 6), 3, 2, 1, groups=2)):
        counted = count(layer, shape)
        assert (counted.weights, counted.biases) == (layer.weight.size, layer.bias.size)
        assert counted.connections == len(analysis.wiring(layer, shape).row)


def test_sharing_and_sparse_interaction() -> None:
    counted = convolution((1, 10, 10), 1, 3)
    assert (counted.sharing, counted.fan_in, counted.inputs) == (64.0, 9, 100)
    picture = analysis.wiring(nn.Conv2d(1, 1, 3), (1, 10, 10)).picture() >= 0
    assert set(picture.sum(axis=1)) == {9}  # each output reads a few inputs
    assert picture.sum(axis=0).max() == 9  # each input reaches a few outputs


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fully_connected(-1, 2), ValueError, "inputs must be non-negative, received inputs=-1"),
        (lambda: fully_connected(1.5, 2), TypeError, "inputs"),  # type: ignore[arg-type]
        (lambda: neurons(16, 9, shared_by=5), ValueError, "shared_by must divide number"),
        (lambda: neurons(0, 9), ValueError, "number must be positive"),
        (lambda: convolution((8, 8), 1, 9), ValueError, "convolution: the kernel must fit"),
        (lambda: convolution((3, 8, 8), 2, 3, groups=2), ValueError, "groups must divide"),
        (lambda: convolution((8,), 1, 1), ValueError, "input_shape must be"),
        (lambda: tiled((1, 8, 8), 1, 3, 0), ValueError, "tile must be positive"),
        (lambda: locally_connected((1, 8, 8), 0, 3), ValueError, "out_channels must be positive"),
        (lambda: count(nn.ReLU(), (3,)), TypeError, "count: layer must"),
        (
            lambda: count(nn.LocallyConnected2d(3, 4, 6, 3), (3, 7, 7)),
            ValueError,
            r"count: .* takes images of \(6, 6\)",
        ),
        (lambda: count(nn.Linear(3, 4), (4,)), ValueError, r"input_shape=\(4,\)"),
        (lambda: count(nn.Conv2d(3, 4, 1), ()), ValueError, r"takes 3 channels, received input_shape=\(\)"),
        (
            lambda: count(nn.Conv2d(3, 4, 1), (4, 2, 2)),
            ValueError,
            r"takes 3 channels, received input_shape=\(4, 2, 2\)",
        ),
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
