"""Normalising layers: running statistics, modes, what is saved, gradients."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("BatchNorm1d", (3,), {}, (4, 3)),
    ("BatchNorm1d", (3,), {"bias": False}, (2, 3, 5)),
    ("BatchNorm2d", (3,), {"affine": False}, (2, 3, 4, 5)),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, (3, 4, 5)),
    ("BatchNorm3d", (2,), {"momentum": None}, (2, 2, 2, 3, 2)),
    ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    ("InstanceNorm2d", (3,), {"affine": True}, (3, 4, 5)),
    ("InstanceNorm3d", (2,), {"affine": True, "track_running_stats": True}, (2, 2, 2, 3, 2)),
    ("LayerNorm", ((4, 5),), {}, (2, 4, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (2, 4, 5)),
    ("GroupNorm", (2, 4), {}, (2, 4, 5)),
    ("GroupNorm", (2, 4), {"channel_axis": -3, "bias": False}, (4, 3, 2)),
]


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 3, shape)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=str)
def test_gradients(
    name: str, args: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...], mode: str,
    check_gradients: Callable[..., None],
) -> None:  # fmt: skip
    layer = getattr(nn, name)(*args, **options, dtype=np.float64)
    for i, parameter in enumerate(layer.parameters()):
        parameter.data[...] = data(*parameter.shape, seed=i)
    layer(data(*shape, seed=7))
    check_gradients(getattr(layer, mode)(), data(*shape, seed=9))  # of another seed than what it is led back with


def test_response_gradients(check_gradients: Callable[..., None]) -> None:
    check_gradients(nn.LocalResponseNorm(3, alpha=0.5), data(2, 5, 4))
    check_gradients(nn.LocalResponseNorm(3, 0.5, 0.6, 2.0, channel_axis=-3), data(5, 4, 2))


def test_running_statistics_move_in_training_alone() -> None:
    layer, x = nn.BatchNorm2d(3), data(4, 3, 5, 6).astype(np.float32)
    for step in range(1, 4):
        layer(x)
        assert layer.num_batches_tracked.data == step
        kept = 0.9**step
        np.testing.assert_allclose(layer.running_mean.data, (1 - kept) * x.mean((0, 2, 3)), rtol=1e-4)
        unbiased = x.var((0, 2, 3), ddof=1)
        np.testing.assert_allclose(layer.running_var.data, kept + (1 - kept) * unbiased, rtol=1e-4)
    before = layer.state_dict()
    layer.eval()
    y, backward = layer.forward(x)
    backward(y)
    layer.train().freeze()
    np.testing.assert_array_equal(layer(x), y, err_msg="a frozen layer uses the running statistics")
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    layer.train()(x)
    assert layer.num_batches_tracked.data == 4


def test_a_count_below_zero_gives_no_mean_of_batches() -> None:
    """As a damaged state may have it: -1 and this batch would be the mean of none."""
    layer, counting = nn.BatchNorm1d(2, momentum=None), nn.BatchNorm1d(2)
    for each in (layer, counting):
        each.load_state_dict(each.state_dict() | {"num_batches_tracked": np.int64(-1)})
    before = layer.state_dict()
    with pytest.raises(ValueError, match=r"BatchNorm1d: num_batches_tracked must be non-negative .*tracked=-1"):
        layer(data(6, 2))
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    counting(data(6, 2))
    assert counting.num_batches_tracked.data == 0, "with a momentum the count is only kept"


def test_without_momentum_it_is_the_mean_of_all_batches() -> None:
    layer = nn.BatchNorm1d(2, momentum=None, dtype=np.float64)
    batches = [data(6, 2, seed=i) for i in range(4)]
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean.data, np.mean([x.mean(0) for x in batches], axis=0))
    np.testing.assert_allclose(layer.running_var.data, np.mean([x.var(0, ddof=1) for x in batches], axis=0))


def test_one_image_is_a_batch_of_one() -> None:
    x = data(3, 5, 6)
    for name in ("BatchNorm2d", "InstanceNorm2d"):
        layer, other = getattr(nn, name)(3, affine=True), getattr(nn, name)(3, affine=True)
        np.testing.assert_array_equal(layer(x), other(x[None])[0])
        for a, b in zip(layer.state_dict().values(), other.state_dict().values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_empty_batch_leaves_the_running_statistics() -> None:
    layer = nn.BatchNorm2d(3)
    y, backward = layer.forward(np.empty((0, 3, 4, 4), np.float32))
    assert y.shape == backward(y).shape == (0, 3, 4, 4)
    assert layer.num_batches_tracked.data == 0
    assert layer.running_mean.data.tolist() == [0, 0, 0]


def test_state_has_torchs_keys_and_goes_round() -> None:
    net = nn.Sequential({"conv1": nn.Conv2d(1, 3, 3, bias=False), "bn1": nn.BatchNorm2d(3)})
    keys = ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"]
    assert list(net.state_dict()) == keys
    assert [name for name, _ in net.named_parameters()] == keys[:3]
    assert [name for name, _ in net.named_buffers()] == keys[3:]
    x = data(2, 1, 6, 6).astype(np.float32)
    net(x)
    state = net.state_dict()
    assert state["bn1.num_batches_tracked"].dtype == np.int64
    other = nn.Sequential({"conv1": nn.Conv2d(1, 3, 3, bias=False), "bn1": nn.BatchNorm2d(3)})
    other.load_state_dict(state)
    np.testing.assert_array_equal(net.eval()(x), other.eval()(x))
    assert other.bn1.num_batches_tracked.data == 1
    del state["bn1.num_batches_tracked"]  # as in states that old versions of torch saved
    assert other.load_state_dict(state) == ([], [])
    del state["bn1.running_var"]
    with pytest.raises(ValueError, match=re.escape("without ['bn1.running_var']")):
        other.load_state_dict(state)


def test_a_wrong_state_is_refused() -> None:
    layer = nn.BatchNorm2d(3)
    for name, value, error in (
        ("num_batches_tracked", np.float32(1), TypeError), ("num_batches_tracked", np.zeros(1, int), ValueError),
        ("running_mean", np.zeros(2), ValueError), ("running_var", np.ones(3, int), TypeError),
    ):  # fmt: skip
        with pytest.raises(error, match=f"load_state_dict: '{name}' must"):
            layer.load_state_dict({**layer.state_dict(), name: value})
    with pytest.raises(TypeError, match="running_mean is a Buffer and stays one, received running_mean=ndarray"):
        layer.running_mean = np.zeros(3)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Buffer: data must be"):
        nn.Buffer(["a"])


def test_batches_from_many_threads_all_count() -> None:
    layer, start = nn.BatchNorm1d(4, momentum=None), threading.Barrier(8)
    x = data(16, 4).astype(np.float32)

    def work() -> None:
        start.wait()
        for _ in range(20):
            layer(x)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert layer.num_batches_tracked.data == 160
    np.testing.assert_allclose(layer.running_mean.data, x.mean(0), rtol=1e-4)


def test_frozen_weights_get_no_gradient() -> None:
    layer = nn.BatchNorm2d(3).eval().freeze()
    y, backward = layer.forward(data(2, 3, 4, 4))
    layer.weight.data[...] = 5
    np.testing.assert_array_equal(layer(data(2, 3, 4, 4)), y)
    assert backward(y) is not None
    assert layer.weight.grad is None
    layer.unfreeze().weight.requires_grad = False
    _, backward = layer.forward(data(2, 3, 4, 4), needs_input_grad=False)
    assert backward(y) is None
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be positive"),
        (lambda: nn.BatchNorm2d(2.0), TypeError, "BatchNorm2d: num_features must be made of integers"),
        (lambda: nn.BatchNorm2d(2, eps=-1.0), ValueError, "BatchNorm2d: eps must be non-negative, received eps=-1.0"),
        (lambda: nn.BatchNorm2d(2, eps=None), TypeError, "BatchNorm2d: eps must be a real number"),
        (lambda: nn.BatchNorm2d(2, momentum="0.1"), TypeError, "BatchNorm2d: momentum must be a real number"),
        (lambda: nn.InstanceNorm2d(2, momentum=None), TypeError, "InstanceNorm2d: momentum must be a real number"),
        (lambda: nn.BatchNorm2d(2, affine=1), TypeError, "BatchNorm2d: affine must be True or False"),
        (lambda: nn.BatchNorm2d(2, track_running_stats=None), TypeError, "BatchNorm2d: track_running_stats must be"),
        (lambda: nn.BatchNorm2d(2, dtype=int), TypeError, "BatchNorm2d: dtype must be float16, float32 or float64"),
        (lambda: nn.BatchNorm2d(2**58), MemoryError, "BatchNorm2d: .* cannot be held in memory"),
        (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: num_channels must be a multiple of num_groups"),
        (lambda: nn.GroupNorm(0, 4), ValueError, "GroupNorm: num_groups must be positive"),
        (lambda: nn.LayerNorm(()), ValueError, "LayerNorm: normalized_shape must have one axis or more"),
        (lambda: nn.LayerNorm((3, 0)), ValueError, "LayerNorm: normalized_shape must be positive"),
        (lambda: nn.LayerNorm(3, elementwise_affine=0), TypeError, "LayerNorm: elementwise_affine must be"),
        (lambda: nn.LocalResponseNorm(0), ValueError, "LocalResponseNorm: size must be positive"),
        (lambda: nn.LocalResponseNorm(3, alpha=np.nan), ValueError, "LocalResponseNorm: alpha must be finite"),
    ],
)
def test_refuses_arguments(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.BatchNorm1d(3), (3,), r"batch_norm: input must have the axes \(N, C\) or \(N, C, L\), .*\(3,\)"),
        (nn.BatchNorm1d(3), (2, 3, 4, 5), r"batch_norm: input must have the axes"),
        (nn.BatchNorm2d(3), (2, 3), r"batch_norm: input must have the axes \(N, C, H, W\) or \(C, H, W\)"),
        (nn.BatchNorm3d(3), (3, 4, 5), r"batch_norm: input must have the axes \(N, C, D, H, W\) or \(C, D, H, W\)"),
        (nn.BatchNorm2d(3), (2, 4, 5, 5), r"batch_norm: input must have num_features=3 channels"),
        (nn.BatchNorm2d(3), (1, 3, 1, 1), r"batch_norm: training needs more than one value in each channel"),
        (nn.InstanceNorm1d(3), (3,), r"instance_norm: input must have the axes \(N, C, L\) or \(C, L\)"),
        (nn.InstanceNorm2d(3), (2, 3, 1, 1), r"instance_norm: a channel of a sample needs more than one value"),
        (nn.LayerNorm(3), (3, 2), r"layer_norm: input must end with the axes normalized_shape"),
        (nn.GroupNorm(2, 4), (2, 6, 3), r"group_norm: weight must have shape \(6,\)"),
    ],
)
def test_refuses_inputs(layer: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer(np.ones(shape, np.float32))
    with pytest.raises(TypeError, match="input must be float16, float32 or float64"):
        layer(np.ones(shape, int))
