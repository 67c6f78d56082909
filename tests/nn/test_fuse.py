"""Activations inside the layer before them, and batch normalisation folded into the convolution before it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn


def untidy(norm: Any, seed: int) -> Any:
    """A normalisation that has seen data and learned something."""
    rng = np.random.default_rng(seed)
    norm.running_mean.data[...] = rng.normal(size=norm.num_features)
    norm.running_var.data[...] = rng.uniform(0.5, 2, norm.num_features)
    if norm.weight is not None:
        norm.weight.data[...] = rng.normal(size=norm.num_features)
        norm.bias.data[...] = rng.normal(size=norm.num_features)
    return norm


# ---------------------------------------------------------------------------------------------------- activations


LAYERS = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh()}


@pytest.mark.parametrize("activation", LAYERS)
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda **o: nn.Conv1d(4, 6, 3, generator=0, **o), (2, 4, 9)),
        (lambda **o: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", generator=0, **o), (2, 4, 9, 8)),
        (lambda **o: nn.Conv3d(2, 3, 2, generator=0, **o), (2, 5, 4, 3)),
        (lambda **o: nn.ConvTranspose1d(4, 6, 3, generator=0, **o), (2, 4, 9)),
        (lambda **o: nn.ConvTranspose2d(4, 3, 3, 2, output_padding=1, generator=0, **o), (2, 4, 5, 6)),
        (lambda **o: nn.ConvTranspose3d(2, 3, 2, generator=0, **o), (2, 5, 4, 3)),
        (lambda **o: nn.Linear(7, 5, generator=0, **o), (3, 7)),
    ],
)
def test_a_layer_with_an_activation(make: Any, shape: tuple[int, ...], activation: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype(np.float32)
    plain, ending = make(), make(activation=activation)
    composed = nn.Sequential(nn.Sequential(plain), LAYERS[activation])  # apart, so that a ReLU does not join
    want, back = composed.forward(x)
    assert (plain(x) < 0).any()
    got, got_back = ending.forward(x)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(ending(x), want)
    gy = rng.normal(size=want.shape).astype(np.float32)
    np.testing.assert_array_equal(got_back(gy), back(gy))
    np.testing.assert_array_equal(ending.weight.grad, plain.weight.grad)
    np.testing.assert_array_equal(ending.bias.grad, plain.bias.grad)
    assert f"activation={activation}" in repr(ending)
    other = make(activation=activation)
    other.load_state_dict(ending.state_dict())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(other))(x), want)
    ending.freeze()
    np.testing.assert_array_equal(ending(x), want)


@pytest.mark.parametrize("activation", LAYERS)
def test_gradients_through_an_activation(activation: str, check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 6, 5))
    options: dict[str, Any] = {"activation": activation, "dtype": "float64", "generator": 1}
    check_gradients(nn.Conv2d(3, 4, 3, padding=1, **options), x)
    check_gradients(nn.ConvTranspose2d(3, 2, 3, stride=2, **options), x)
    check_gradients(nn.Linear(5, 4, **options), x)


def test_an_unknown_activation_is_refused() -> None:
    for make in (lambda: nn.Conv2d(1, 1, 1, activation="gelu6"), lambda: nn.Linear(1, 1, activation=3)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="activation must be one of"):
            make()


def test_a_relu_in_a_row_is_computed_by_the_layer_before_it() -> None:
    calls = []

    class Watched(nn.Conv2d):
        def _answer(self, input: Any, activation: Any) -> Any:
            calls.append(activation)
            return super()._answer(input, activation)

    x = np.random.default_rng(2).normal(size=(2, 3, 6, 6)).astype(np.float32)
    conv = Watched(3, 4, 3, generator=3)
    net = nn.Sequential(conv, nn.Identity(), nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU())
    y = net(x)
    assert calls == ["relu"]
    np.testing.assert_array_equal(y, nn.MaxPool2d(2)(np.maximum(conv(x), 0)))


def test_a_row_gives_the_same_gradients_as_its_layers() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    layers = [nn.Conv2d(3, 4, 3, generator=5), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6, generator=6), nn.ReLU()]
    y, back = nn.Sequential(*layers).forward(x)
    gy = rng.normal(size=y.shape).astype(np.float32)
    gx = back(gy)
    found = [parameter.grad.copy() for layer in layers for parameter in layer.parameters()]
    value, ways = x, []
    for layer in layers:
        layer.zero_grad()
        value, way = layer.forward(value)
        ways.append(way)
    np.testing.assert_array_equal(y, value)
    grad = gy
    for way in reversed(ways):
        grad = way(grad)
    np.testing.assert_array_equal(gx, grad)
    for got, parameter in zip(found, [p for layer in layers for p in layer.parameters()], strict=True):
        np.testing.assert_array_equal(got, parameter.grad)


def test_a_subclass_that_computes_otherwise_keeps_its_say() -> None:
    class Negative(nn.Conv2d):
        def __call__(self, input: Any) -> Any:
            return -super().__call__(input)

    layer = Negative(1, 1, 1, bias=False)
    layer.weight.data[...] = 1
    one = np.ones((1, 1, 1), np.float32)
    assert nn.Sequential(layer, nn.ReLU())(one).item() == 0
    assert nn.Sequential(layer, nn.ReLU())(-one).item() == 1


# ---------------------------------------------------------------------------------------------------- batch norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [
        (nn.Conv1d, nn.BatchNorm1d, (2, 4, 9)),
        (nn.Conv2d, nn.BatchNorm2d, (2, 4, 9, 8)),
        (nn.Conv3d, nn.BatchNorm3d, (2, 4, 5, 4, 3)),
    ],
)
def test_folding_changes_nothing_but_the_rounding(conv: Any, norm: Any, shape: Any, bias: bool, affine: bool) -> None:
    x = np.random.default_rng(7).normal(size=shape)
    layer = conv(4, 6, 3, padding=1, groups=2, bias=bias, dtype=np.float64, generator=8)
    net = nn.Sequential(layer, untidy(norm(6, affine=affine, dtype=np.float64), 9), nn.ReLU()).eval()
    before = net.state_dict()
    fused = net.fuse()
    assert type(fused[1]) is nn.Identity
    np.testing.assert_allclose(fused(x), net(x), rtol=0, atol=1e-13)
    assert (net(x) == 0).any()
    for name, value in net.state_dict().items():  # the network itself stays as it was
        np.testing.assert_array_equal(value, before[name])
    assert not fused.training


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("make", "norm", "shape"),
    [
        (lambda **o: nn.Linear(4, 6, **o), nn.BatchNorm1d, (5, 4)),
        (lambda **o: nn.ConvTranspose1d(4, 6, 3, **o), nn.BatchNorm1d, (2, 4, 9)),
        (lambda **o: nn.ConvTranspose2d(4, 6, (3, 2), 2, 1, 1, groups=2, **o), nn.BatchNorm2d, (2, 4, 5, 6)),
        (lambda **o: nn.ConvTranspose3d(2, 6, 2, groups=2, dilation=2, **o), nn.BatchNorm3d, (2, 2, 3, 4, 3)),
    ],
    ids=["Linear", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"],
)
def test_folding_into_other_layers(make: Any, norm: Any, shape: Any, bias: bool, affine: bool) -> None:
    rng = np.random.default_rng(7)
    layer = make(bias=bias, dtype=np.float64, generator=8)
    net = nn.Sequential(layer, untidy(norm(6, affine=affine, dtype=np.float64), 9), nn.LeakyReLU()).eval()
    fused = net.fuse()
    assert [type(part) for part in fused] == [type(layer), nn.Identity, nn.LeakyReLU]
    x = rng.normal(size=shape)
    y, back = net.forward(x)
    got, got_back = fused.forward(x)
    np.testing.assert_allclose(got, y, rtol=0, atol=1e-13)
    np.testing.assert_allclose(fused(x), y, rtol=0, atol=1e-13)
    gy = rng.normal(size=y.shape)
    np.testing.assert_allclose(got_back(gy), back(gy), rtol=0, atol=1e-13)


def test_folding_is_exact_where_all_numbers_are_powers_of_two() -> None:
    for layer, shape in (
        (nn.Linear(4, 2, dtype=np.float64), (3, 4)),
        (nn.ConvTranspose2d(4, 2, 2, groups=2, dtype=np.float64), (3, 4, 5, 6)),
        (nn.Conv2d(4, 2, 2, groups=2, dtype=np.float64), (3, 4, 5, 6)),
    ):
        kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        norm = kind(2, eps=0.25, dtype=np.float64)
        rng = np.random.default_rng(1)
        for parameter in layer.parameters():
            parameter.data[...] = rng.integers(-3, 4, parameter.shape)
        norm.running_mean.data[...] = (1, -2)  # type: ignore[union-attr]
        norm.running_var.data[...] = (3.75, 0.0)  # type: ignore[union-attr]
        norm.weight.data[...] = (3, -1)  # type: ignore[union-attr]
        net = nn.Sequential(layer, norm).eval()
        x = rng.integers(-3, 4, shape).astype(float)
        np.testing.assert_array_equal(net.fuse()(x), net(x))
        assert len(np.unique(net(x))) > 4


def test_a_folded_linear_layer_takes_rows_alone() -> None:
    """Of three axes the second is the channels' for batch normalisation, and the last the outputs' for Linear."""
    net = nn.Sequential(nn.Linear(4, 3, generator=0), untidy(nn.BatchNorm1d(3), 1), nn.ReLU()).eval()
    fused = net.fuse()
    sequence = np.ones((2, 3, 4), np.float32)
    assert net(sequence).shape == (2, 3, 3)
    for call in (fused, fused.forward):
        with pytest.raises(ValueError, match=r"input must have the axes \(N, in_features\).*shape \(2, 3, 4\)"):
            call(sequence)
    assert nn.Linear(4, 3)(sequence).shape == (2, 3, 3)


def test_folding_through_a_network() -> None:
    rng = np.random.default_rng(10)
    body = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, bias=False, generator=0),
        untidy(nn.BatchNorm2d(4), 1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, bias=False, generator=2),
        untidy(nn.BatchNorm2d(4), 3),
    )
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1, generator=4),
        untidy(nn.BatchNorm2d(4), 5),
        nn.Residual(body, activation=nn.ReLU()),
        nn.ReLU(),
        untidy(nn.BatchNorm2d(4), 6),
    ).eval()
    fused = net.fuse()
    kinds = [type(part) for part in fused.modules()]
    assert kinds.count(nn.BatchNorm2d) == 1  # the one that follows no convolution
    x = rng.normal(size=(2, 3, 7, 7)).astype(np.float32)
    np.testing.assert_allclose(fused(x), net(x), rtol=0, atol=1e-4)
    assert np.abs(net(x)).max() > 1


def test_what_is_shared_is_left_alone() -> None:
    conv = nn.Conv2d(2, 2, 1, generator=0)
    twice = nn.Sequential(conv, untidy(nn.BatchNorm2d(2), 1), conv, untidy(nn.BatchNorm2d(2), 2)).eval()
    other = nn.Conv2d(2, 2, 1, generator=3)
    other.weight = conv.weight
    tied = nn.Sequential(conv, untidy(nn.BatchNorm2d(2), 4), other).eval()
    x = np.random.default_rng(5).normal(size=(1, 2, 3, 3)).astype(np.float32)
    for net in (twice, tied):
        fused = net.fuse()
        assert all(type(part) is not nn.Identity for part in fused)
        np.testing.assert_array_equal(fused(x), net(x))


def test_what_cannot_be_folded_stays() -> None:
    rows = [
        (nn.Conv2d(2, 2, 1, activation="relu"), nn.BatchNorm2d(2)),
        (nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
        (nn.ConvTranspose2d(2, 2, 1), nn.BatchNorm1d(2)),
        (nn.Linear(2, 2, activation="relu"), nn.BatchNorm1d(2)),
        (nn.Linear(2, 3), nn.BatchNorm1d(2)),
    ]
    for row in rows:
        assert [type(part) for part in nn.Sequential(*row).eval().fuse()] == [type(part) for part in row]


def test_folding_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="fuse: the module must be in eval mode"):
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).fuse()


def test_a_frozen_network_gives_a_fused_one_of_its_own() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3, generator=0), untidy(nn.BatchNorm2d(3), 1)).eval()
    x = np.random.default_rng(2).normal(size=(1, 2, 5, 5)).astype(np.float32)
    want = net(x)
    net.freeze()
    np.testing.assert_allclose(net.fuse().freeze()(x), want, rtol=0, atol=1e-5)
