"""The table of a network: shapes, parameters, multiply-adds, receptive fields."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn


def test_lenet() -> None:
    table = fc.summary(models.LeNet5(), (1, 32, 32))
    by_name = {row.name: row for row in table.rows}
    assert [row.parameters for row in table.rows if row.parameters] == [156, 2416, 48_120, 10_164, 850]
    assert (table.parameters, table.multiply_adds) == (61_706, 416_520)
    assert [by_name[f"features.{i}"].receptive_field for i in (0, 2, 3, 5, 6)] == [
        (5, 5), (6, 6), (14, 14), (16, 16), (32, 32),
    ]  # fmt: skip
    assert str(table).splitlines()[2].split() == ["features.0", "Conv2d", "6x28x28", "156", "117,600", "5x5"]
    assert str(table).splitlines()[-1].split() == ["LeNet5", "61,706", "416,520"]


def test_receptive_fields_of_stacks_of_3x3() -> None:
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)))
    sees = [row.receptive_field for row in fc.summary(net, (4, 16, 16)).rows]
    assert sees == [(3, 3), (5, 5), (7, 7), (9, 9), (11, 11)]


def test_the_widest_branch_counts() -> None:
    branches = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(4, 4, 3, padding=1))
    net = nn.Sequential(nn.Residual(branches, nn.Conv2d(4, 4, 1)), nn.Conv2d(4, 4, 3))
    sees = {row.name: row.receptive_field for row in fc.summary(net, (4, 16, 16)).rows}
    assert sees == {"0.body.0": (5, 5), "0.body.1": (7, 7), "0.shortcut": (1, 1), "1": (9, 9)}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_see_what_is_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019: 435 and 427 or 483.

    Their ResNet-50 strides in the first 1x1 convolution and has 483; torchvision's strides in the 3x3 and has 427.
    """
    monkeypatch.setattr(nn.init, "_fill", lambda weight, *_: weight)
    rows = {row.name: row for row in fc.summary(getattr(models, name)(), (3, 224, 224)).rows}
    last = "layer4.1.conv2" if name == "resnet18" else "layer4.2.conv3"
    assert rows[last].receptive_field == ((435, 435) if name == "resnet18" else (427, 427))


def test_shapes_are_those_of_a_real_run() -> None:
    net = models.small_resnet(8, in_channels=1, generator=0).eval()
    rows = {row.name: row for row in fc.summary(net, (1, 30, 26)).rows}
    x: Any = np.zeros((1, 1, 30, 26), np.float32)
    for name, layer in net.named_children():
        x = layer(x)
        if name in rows:
            assert rows[name].output_shape == x.shape[1:]


@pytest.mark.parametrize(
    ("layer", "shape", "output", "multiply_adds"),
    [
        (nn.Conv1d(2, 3, 5, stride=2), (2, 21), (3, 9), 3 * 9 * 10),
        (nn.Conv2d(4, 6, 3, groups=2, padding="same"), (4, 7, 9), (6, 7, 9), 6 * 63 * 18),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 7, 9), (6, 7, 9), 6 * 63 * 36),
        (nn.Conv3d(1, 2, 2), (1, 4, 5, 6), (2, 3, 4, 5), 2 * 60 * 8),
        (nn.ConvTranspose2d(4, 2, 2, stride=2), (4, 5, 5), (2, 10, 10), 25 * 4 * 2 * 4),
        (nn.Linear(8, 3), (8,), (3,), 24),
        (nn.Linear(8, 3), (5, 8), (5, 3), 120),
        (nn.MaxPool2d(2), (3, 8, 8), (3, 4, 4), 0),
    ],
    ids=str,
)
def test_layers(layer: nn.Module, shape: tuple[int, ...], output: tuple[int, ...], multiply_adds: int) -> None:
    [row] = fc.summary(layer, shape).rows
    assert (row.name, row.output_shape, row.multiply_adds) == ("", output, multiply_adds)
    assert row.parameters == sum(parameter.size for parameter in layer.parameters())
    assert layer(np.zeros((1, *shape), np.float32)).shape[1:] == output


def test_layers_that_enlarge_have_no_field() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 1, 2, stride=2), nn.ReLU())
    assert [row.receptive_field for row in fc.summary(net, (1, 9, 9)).rows] == [(3, 3), None, None]


def test_shared_layers_count_once() -> None:
    shared = nn.Conv2d(2, 2, 3, padding=1)
    table = fc.summary(nn.Sequential(shared, nn.ReLU(), shared), (2, 6, 6))
    assert [row.parameters for row in table.rows] == [38, 0, 0]
    assert [row.multiply_adds for row in table.rows] == [36 * 36, 0, 36 * 36]
    assert table.parameters == 38


def test_networks_of_ones_own() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            self.scale = nn.Parameter(np.ones(1, np.float32))
            self.first = nn.Conv2d(1, 2, 3)
            self.second = nn.Conv2d(2, 2, 3)

        def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Any]:
            y, first = self.first.forward(input * self.scale.data)
            z, second = self.second.forward(np.maximum(y, 0))
            return z, lambda grad: first(second(grad))

    table = fc.summary(nn.Sequential(Own(), nn.Flatten()), (1, 9, 9))
    assert [(row.name, row.parameters, row.receptive_field) for row in table.rows] == [
        ("0.first", 20, (3, 3)),
        ("0.second", 38, (5, 5)),
        ("0", 1, (5, 5)),
        ("1", 0, (5, 5)),
    ]


def test_the_model_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, generator=0), nn.BatchNorm2d(4), nn.Dropout(0.5, generator=0))
    before, source = net.state_dict(), net[2].generator.bit_generator.state
    layers = list(net)
    fc.summary(net, (1, 8, 8))
    assert all(module.training for module in net.modules())
    assert list(net) == layers
    assert net[2].generator.bit_generator.state == source
    for name, array in before.items():
        np.testing.assert_array_equal(array, net.state_dict()[name])


def test_large_layers_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 1000, 3))  # maps of 16 GB
    net(np.zeros((1, 1, 9, 9), np.float32))
    tracemalloc.start()
    try:
        table = fc.summary(net, (1, 2_000, 2_000))
        assert tracemalloc.get_traced_memory()[1] < 50e6  # the sample itself has 16 MB
    finally:
        tracemalloc.stop()
    assert table.rows[1].output_shape == (1000, 1996, 1996)


@pytest.mark.parametrize(
    ("model", "shape", "error", "message"),
    [
        (nn.Conv2d(3, 4, 3), (1, 8, 8), ValueError, "channels"),
        (nn.Conv2d(3, 4, 3), (3, 2, 2), ValueError, "must fit"),
        (nn.Conv2d(1, 4, 3), (8, 8), ValueError, r"one sample, .*=\(8, 8\), .*in place of \(C, H, W\)"),
        (nn.Sequential(nn.MaxPool1d(2)), (8, 1, 8), ValueError, r"input_shape=\(8, 1, 8\), of which 0, a MaxPool1d"),
        (nn.Linear(3, 4), (5,), ValueError, "received"),
        (nn.Linear(3, 4), (0,), ValueError, "input_shape must be positive"),
        (nn.Linear, (3,), TypeError, "must be a Module"),
        (nn.Linear(3, 4), 3, TypeError, "input_shape must be a sequence"),
    ],
)
def test_refusals(model: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fc.summary(model, shape)
