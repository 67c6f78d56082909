"""Sides of outputs and receptive fields: the textbook's figures, and experiments with NaN as the judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn
from fastconv.analysis import (
    ReceptiveField,
    Window,
    output_size,
    receptive_field,
    receptive_fields,
    same_padding,
    seen_inputs,
)


def test_the_one_dimensional_example() -> None:
    signal, difference = np.array([[0.0, 1.0, 3.0, 2.0, 7.0]]), np.array([[[1.0, 0.0, -1.0]]])
    for stride, want in ((1, [-1.0, -3.0, -1.0, -4.0, 2.0]), (2, [-1.0, -1.0, 2.0])):
        assert output_size(5, 3, stride, 1) == len(want) == {1: 5, 2: 3}[stride]
        np.testing.assert_array_equal(fc.conv1d(signal, difference, stride=stride, padding=1), [want])


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 11])
def test_same_padding_keeps_the_side(kernel: int) -> None:
    assert same_padding(kernel) == (kernel - 1) // 2
    assert output_size(32, kernel, 1, same_padding(kernel)) == 32 == output_size(32, kernel, 1, "same")
    assert output_size((32, 9), kernel, 1, same_padding(kernel, 2), dilation=2) == (32, 9)


def test_sizes_equal_those_of_the_operators() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        size, kernel, stride, padding, dilation = (
            int(rng.integers(*range_)) for range_ in ((9, 30), (1, 5), (1, 4), (0, 3), (1, 3))
        )
        want = fc.conv1d(np.zeros((1, size)), np.zeros((1, 1, kernel)), None, stride, padding, dilation).shape[-1]
        assert output_size(size, kernel, stride, padding, dilation) == want
        assert output_size(size, kernel, stride, padding) == (size - kernel + 2 * padding) // stride + 1


def test_stacks_of_three_by_three() -> None:
    assert [receptive_field([Window(3)] * depth).size for depth in (1, 2, 3, 5)] == [(3,), (5,), (7,), (11,)]
    layers = [nn.Conv2d(1, 1, 3, padding=1) for _ in range(5)]
    assert [field.size[0] for _, field in receptive_fields(layers)] == [3, 5, 7, 9, 11]
    assert receptive_field(layers[:2]).size == receptive_field([nn.Conv2d(1, 1, 5)]).size == (5, 5)


STACKS: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
    "3x3": ([nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3)], (1, 12, 13)),
    "strides": ([nn.Conv2d(2, 2, (3, 4), (2, 3), (1, 2)), nn.MaxPool2d(2), nn.Conv2d(2, 1, 2)], (2, 30, 41)),
    "dilation": ([nn.Conv2d(1, 1, 3, dilation=(2, 3)), nn.AvgPool2d(3, 1, 1), nn.Conv2d(1, 1, 2)], (1, 20, 20)),
    "asymmetric": ([nn.Conv2d(1, 1, 4, padding=((2, 0), (0, 3))), nn.Conv2d(1, 1, 2, stride=2)], (1, 14, 14)),
    "same": ([nn.Conv2d(1, 1, 4, padding="same"), nn.Conv2d(1, 1, 3, 2, "same"), nn.Conv2d(1, 1, 3)], (1, 17, 18)),
    "axis": ([nn.Conv1d(1, 1, 5, 2, 2), nn.MaxPool1d(2), nn.Conv1d(1, 1, 3)], (1, 40)),
    "volume": ([nn.Conv3d(1, 1, (1, 2, 3)), nn.MaxPool3d(2)], (1, 6, 7, 8)),
    "adaptive": ([nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(4), nn.Conv2d(1, 1, 2)], (1, 18, 18)),
    "global": ([nn.Conv2d(1, 1, 3), nn.AdaptiveMaxPool2d(1)], (1, 9, 8)),
}


@pytest.mark.parametrize("name", STACKS)
def test_arithmetic_equals_the_experiment(name: str) -> None:
    layers, shape = STACKS[name]
    net = nn.Sequential(*layers)
    sides = net(np.zeros((1, *shape), np.float32)).shape[2:]
    field = receptive_field(net, shape)
    for position in {(0,) * len(sides), tuple(side // 2 for side in sides), tuple(side - 1 for side in sides)}:
        assert field.span(position, shape[1:]) == seen_inputs(net, shape, position)


@pytest.mark.parametrize(("side", "out"), [(10, 4), (10, 12), (6, 7), (23, 9), (9, 23)])
def test_adaptive_windows_that_differ_lie_in_the_box(side: int, out: int) -> None:
    """Sides that do not divide: no output sees beyond its span."""
    pool, widest = nn.AdaptiveAvgPool1d(out), -(-side // out) + 1
    field = receptive_field(pool, (1, side))
    assert field.size[0] <= widest + abs(side - out * field.stride[0])
    for o in range(out):
        (low, high), (first, end) = field.span((o,), (side,))[0], seen_inputs(pool, (1, side), (o,))[0]
        assert low <= first < end <= high


def test_lenet_sees_the_whole_digit() -> None:
    net = models.LeNet5(generator=0)
    fields = dict(receptive_fields(net, (1, 32, 32)))
    sizes = [fields[f"features.{i}"].size for i in (0, 2, 3, 5, 6)]
    assert sizes == [(5, 5), (6, 6), (14, 14), (16, 16), (32, 32)]
    assert fields["classifier.3"].whole
    assert fields["classifier.3"].size == (32, 32)
    assert seen_inputs(net, (1, 32, 32), ()) == ((0, 32), (0, 32))


def test_networks_with_branches() -> None:
    """Residual blocks, inception modules, a strided shortcut; the training mode and the statistics stay."""
    conv, bent = nn.Conv2d, nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))
    net = nn.Sequential(
        conv(1, 2, 3, 2, 1),
        nn.Residual(bent, activation=nn.ReLU()),
        nn.Residual(conv(2, 4, 3, 2, 1), conv(2, 4, 1, 2)),
        nn.Concat(conv(4, 1, 1), nn.Sequential(conv(4, 1, 1), conv(1, 1, 5, padding=2)), nn.MaxPool2d(3, 1, 1)),
    )
    named = receptive_fields(net)
    assert [name for name, _ in named][:4] == ["0", "1.body.0", "1.body.1", "1.body.2"]
    assert dict(named)["1.activation"].size == (11, 11)
    assert receptive_fields(net, (1, 40, 41)) == named
    assert net.training
    for position in ((0, 0), (4, 5)):
        field = receptive_field(net[:3]).union(receptive_field([*net[:3], conv(4, 1, 5, padding=2)]))
        assert field.span(position, (40, 41)) == seen_inputs(net, (1, 40, 41), position)


@pytest.mark.parametrize(
    ("name", "shape", "last"),
    [("LeNet5", (1, 32, 32), 32), ("ClassroomNet", (1, 40, 40), 36), ("small_resnet", (3, 32, 32), 25)],
)
def test_networks_see_as_much_as_their_summary_says(name: str, shape: tuple[int, ...], last: int) -> None:
    net = getattr(models, name)(*((8,) if name == "small_resnet" else ()), generator=0)
    rows = {row.name: row for row in fc.summary(net, shape).rows if row.layer == "Conv2d"}
    fields = dict(receptive_fields(net, shape))
    assert {name: row.receptive_field for name, row in rows.items()} == {name: fields[name].size for name in rows}
    assert max(field.size[0] for field in fields.values() if not field.whole) == last


def test_branches() -> None:
    field = ReceptiveField.of_input(2)
    straight, bent = field, field.through(nn.Conv2d(1, 1, 3, padding=1)).through(nn.Conv2d(1, 1, 3, padding=1))
    assert straight.union(bent) == bent
    left = field.through(nn.Conv2d(1, 1, (1, 3), padding=((0, 0), (2, 0))))
    right = field.through(nn.Conv2d(1, 1, (1, 3), padding=((0, 0), (0, 2))))
    assert left.union(right) == ReceptiveField((1, 5), (1, 1), (0, -2))
    assert field.union(field.through(nn.Linear(3, 3))).whole


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: output_size(5, 7), ValueError, "output_size: the kernel must fit"),
        (lambda: output_size(5, 3, stride=0), ValueError, "stride must be positive"),
        (lambda: same_padding(4), ValueError, "kernel_size=4"),
        (lambda: receptive_field([]), ValueError, "must not be empty"),
        (lambda: receptive_field([3]), TypeError, "must be a Module or a Window"),  # type: ignore[list-item]
        (lambda: receptive_field(3), TypeError, "layers must be a Module or a sequence, received layers=3"),  # type: ignore[arg-type]
        (lambda: receptive_field([nn.ConvTranspose2d(1, 1, 3)]), TypeError, "received ConvTranspose2d"),
        (lambda: receptive_field([nn.Conv2d(1, 1, 3, 2, "same")]), ValueError, "needs spatial"),
        (lambda: receptive_field([nn.AdaptiveAvgPool2d(2)]), ValueError, "needs spatial"),
        (lambda: seen_inputs(nn.ReLU(), (1, 3, 3), (3, 0)), ValueError, r"position must lie in \(3, 3\)"),
        (lambda: seen_inputs(lambda x: np.zeros((1, 1, 2)), (1, 3), (0,)), ValueError, "sees no input"),
        (lambda: _short().span((1, 2)), ValueError, r"span: position must have 1 entries, received position=\(1, 2\)"),
        (lambda: _short().span((1,), (2, 3)), ValueError, "span: spatial must have 1 entries"),
        (lambda: _short().span((1.5,)), TypeError, "position must be made of integers"),  # type: ignore[arg-type]
        (lambda: _short().union(_short().through(Window(1, 2))), ValueError, "same stride"),
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def _short() -> ReceptiveField:
    return ReceptiveField.of_input(1)
