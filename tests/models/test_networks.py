"""The networks: names, shapes and counts, sizes along the way, first weights, what they refuse."""

from __future__ import annotations

import math
import sys
from typing import Any, get_type_hints

import numpy as np
import pytest
from networks import BILLIONS, PARAMETERS, STAGES, build, expected_shapes

import fastconv as fc
from fastconv import models, nn

TORCHVISION = [name for name in PARAMETERS if name != "AlexNet2012"]


def test_all_networks_are_listed() -> None:
    assert set(PARAMETERS) <= set(models.__all__)


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_shapes_and_counts_are_torchvisions(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, expected = build(monkeypatch, name), expected_shapes(name)
    held = [*model.named_parameters(), *model.named_buffers()]
    assert {key: one.data.shape for key, one in held} == expected
    learned = [key for key in expected if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert [key for key, _ in model.named_parameters()] == learned
    table = fc.summary(model, (3, 224, 224))
    assert table.parameters == PARAMETERS[name] == sum(row.parameters for row in table.rows)
    assert sum(math.prod(expected[key]) for key in learned) == PARAMETERS[name]
    assert table.rows[-1].output_shape == (1000,)
    if name in BILLIONS:
        assert round(table.multiply_adds / 1e9, 2) == BILLIONS[name]


def test_state_dicts_have_torchvisions_order(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = list(build(monkeypatch, "resnet18").state_dict())
    assert keys == list(expected_shapes("resnet18"))
    assert len(keys) == 122
    assert keys[:7] == ["conv1.weight", *(f"bn1.{key}" for key in (
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked")), "layer1.0.conv1.weight"]  # fmt: skip
    assert len(expected_shapes("resnet50")) == 320


@pytest.mark.parametrize(
    ("name", "options", "sample"),
    [
        ("alexnet", {}, (1, 64, 64)),
        ("AlexNet2012", {}, (1, 227, 227)),
        ("vgg11_bn", {}, (1, 32, 32)),
        ("resnet18", {}, (1, 33, 40)),
        ("resnet50", {}, (1, 32, 32)),
        ("small_resnet", {"depth": 8}, (1, 32, 32)),
        ("ClassroomNet", {}, (1, 40, 40)),
        ("LeNet5", {}, (1, 32, 32)),
    ],
)
def test_classes_channels_and_batches(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], sample: tuple[int, ...]
) -> None:
    if math.prod(sample) > 10_000 or name.startswith(("alex", "vgg", "resnet")):
        options = options | {"generator": 0}
        monkeypatch.setattr(nn.init, "_fill", zeros)  # their shapes matter here, and random numbers take seconds
    model = getattr(models, name)(num_classes=7, in_channels=1, **options).eval()
    x = np.random.default_rng(0).standard_normal((2, *sample)).astype(np.float32)
    y = model(x)
    assert y.shape == (2, 7)
    assert y.dtype == np.float32
    np.testing.assert_allclose(model(x[0]), y[0], rtol=1e-3, atol=1e-4)
    assert model(x[:0]).shape == (0, 7)


def zeros(weight: Any, *_: Any) -> Any:
    (weight.data if isinstance(weight, nn.Parameter) else weight)[...] = 0
    return weight


def test_alexnet_of_2012(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the table in its docstring, and the article's 60 million parameters and sizes."""
    table = fc.summary(build(monkeypatch, "AlexNet2012"), (3, 227, 227))
    assert table.parameters == PARAMETERS["AlexNet2012"]
    learned = [row.parameters for row in table.rows if row.parameters]
    assert learned == [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000]
    shapes = [row.output_shape for row in table.rows if row.layer in ("Conv2d", "MaxPool2d")]
    assert shapes == [(96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13),
                      (256, 13, 13), (256, 6, 6)]  # fmt: skip


def test_alexnet_of_2012_begins_as_the_article_says(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = record_draws(monkeypatch)
    model = models.AlexNet2012(num_classes=10, generator=0)
    assert drawn == [(0.0, 0.01)] * 8
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [float(layer.bias.data.mean()) for layer in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    norm = next(layer for layer in model.modules() if isinstance(layer, nn.LocalResponseNorm))
    x = np.random.default_rng(1).random((1, 96, 2, 2))
    sums = np.array([(x[:, max(0, i - 2) : i + 3] ** 2).sum(axis=1) for i in range(96)]).swapaxes(0, 1)
    np.testing.assert_allclose(norm(x), x / (2 + 1e-4 * sums) ** 0.75, rtol=1e-6)


def record_draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Note means and deviations of what is drawn, and draw nothing: millions of random numbers take seconds."""
    drawn: list[tuple[float, float]] = []

    def normal(weight: Any, mean: float = 0.0, std: float = 1.0, **_: Any) -> Any:
        drawn.append((mean, std))
        return weight

    for module in ("nn.init", "models.vgg", "models.alexnet"):
        monkeypatch.setattr(sys.modules[f"fastconv.{module}"], "normal_", normal)  # a function hides the module
    return drawn


def test_classroom_network() -> None:
    table = fc.summary(models.ClassroomNet(), (1, 40, 40))
    assert [row.parameters for row in table.rows if row.parameters] == [520, 40, 25_050, 100, 62_550, 510]
    assert table.parameters == 88_770
    shapes = [row.output_shape for row in table.rows if row.layer == "MaxPool2d"]
    assert shapes == [(20, 18, 18), (50, 7, 7), (50, 1, 1)]
    for side in (35, 44):
        with pytest.raises(ValueError, match="received"):
            models.ClassroomNet()(np.zeros((1, 1, side, side), np.float32))


@pytest.mark.parametrize("name", ["LeNet5", "ClassroomNet", "AlexNet2012", "alexnet", "vgg11_bn", "resnet18"])
def test_type_checkers_know_the_layers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Those that a user reaches for: ``net.fc.in_features``."""
    model = build(monkeypatch, name)
    declared = {key: kind for key, kind in get_type_hints(type(model)).items() if isinstance(kind, type)}
    children = dict(model.named_children())
    unnamed = {"flatten", "maxpool"}  # torch computes the first in between, small images do without the second
    assert set(children) - set(declared) <= unnamed
    assert all(isinstance(child, declared[key]) for key, child in children.items() if key not in unnamed)


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_small_resnets(depth: int) -> None:
    model = models.small_resnet(depth, generator=0)
    body = [layer for name, layer in model.named_modules() if "downsample" not in name]
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in body) == depth
    plain = models.small_resnet(depth, residual=False, generator=0)
    assert not any("downsample" in name for name, _ in plain.named_modules())


def test_a_bottleneck_does_a_basic_blocks_work_with_few_weights() -> None:
    """256 channels in and out: 2 * 9 * 256**2 weights against 256 * 64 + 9 * 64**2 + 64 * 256."""
    found = []
    for block in (models.BasicBlock(256, 256, generator=0), models.Bottleneck(256, 64, generator=0)):
        kernels = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        found.append([(layer.kernel_size[0], layer.in_channels, layer.out_channels) for layer in kernels])
        work = fc.summary(block, (256, 14, 14)).multiply_adds
        found.append([sum(layer.weight.size for layer in kernels), work // 14**2])
    assert found == [
        [(3, 256, 256), (3, 256, 256)],
        [1_179_648, 1_179_648],
        [(1, 256, 64), (3, 64, 64), (1, 64, 256)],
        [69_632, 69_632],
    ]


def test_plain_twin_computes_without_the_sum() -> None:
    twins = [models.BasicBlock(4, 4, residual=residual, generator=0).eval() for residual in (True, False)]
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
    before_relu = nn.Sequential(*twins[1]._body())(x)
    np.testing.assert_allclose(twins[1](x), np.maximum(before_relu, 0))
    np.testing.assert_allclose(twins[0](x), np.maximum(before_relu + x, 0), atol=1e-6)


def test_zero_init_makes_every_block_the_identity() -> None:
    model = models.ResNet(models.Bottleneck, (3,), 10, widths=(4,), zero_init_residual=True, generator=0)
    x = np.random.default_rng(0).random((2, 16, 5, 5)).astype(np.float32)
    for block in list(model.layer1)[1:]:
        np.testing.assert_array_equal(block(x), x)


@pytest.mark.parametrize("block", [models.BasicBlock, models.Bottleneck])
def test_fusing_takes_all_batch_normalisation_away(block: Any) -> None:
    model = models.ResNet(block, (1, 2), 5, widths=(4, 8), generator=0, dtype=np.float64).eval()
    generator = np.random.default_rng(1)
    for name, buffer in model.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.data[...] = generator.uniform(0.5, 1.5, buffer.data.shape)
    x = generator.standard_normal((2, 3, 32, 32))
    fused = model.fuse()
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-10, atol=1e-12)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())


# -- first weights --


@pytest.mark.parametrize("make", [models.small_resnet, models.ClassroomNet], ids=["small_resnet", "ClassroomNet"])
def test_seeds(make: Any) -> None:
    states = [make(generator=generator).state_dict() for generator in (0, np.random.default_rng(0), 1)]
    differ = 0
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])
        differ += not np.array_equal(array, states[2][name])
    assert differ >= 4
    double = make(generator=0, dtype=np.float64).state_dict()
    for name, array in states[0].items():
        np.testing.assert_array_equal(double[name].astype(array.dtype), array)


def test_resnets_first_weights_follow_torchvisions_rules() -> None:
    model = models.resnet18(num_classes=10, generator=0)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            assert layer.weight.data.std() == pytest.approx(math.sqrt(2 / fan_out), rel=0.03), name
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight is not None
            assert (layer.weight.data == 1).all()
    fc_layer: Any = model.fc
    assert abs(fc_layer.weight.data).max() == pytest.approx(1 / math.sqrt(512), rel=0.01)


def test_vggs_first_weights_follow_torchvisions_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = record_draws(monkeypatch)
    model = models.VGG(11, in_channels=1)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    expected = [math.sqrt(2 / (9 * layer.out_channels)) for layer in convolutions]
    assert [mean for mean, _ in drawn] == [0] * 11
    np.testing.assert_allclose([std for _, std in drawn], [*expected, 0.01, 0.01, 0.01])
    assert all((parameter.data == 0).all() for name, parameter in model.named_parameters() if name.endswith("bias"))


# -- refusals --


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.VGG(12), "depth must be one of 11, 13, 16, 19"),
        (lambda: models.small_resnet(10), "2 more than a multiple of 6"),
        (lambda: models.small_resnet(2), "depth must be at least 8"),
        (lambda: models.ResNet(models.BasicBlock, (1, 2)), "equally many"),
        (lambda: models.ResNet(models.BasicBlock, (0,), widths=(4,)), "layers must be positive"),
        (lambda: models.resnet18(num_classes=0), "must be positive"),
        (lambda: models.ClassroomNet(in_channels=0), "must be positive"),
        (lambda: models.alexnet(dropout=1.5), "received"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_depths_are_what_their_names_say() -> None:
    for name, stages in STAGES.items():
        per_block = 3 if int(name.removeprefix("resnet")) >= 50 else 2
        assert f"resnet{per_block * sum(stages) + 2}" == name
