"""Convolution layers: gradients, padding modes, shapes, freezing, and arguments that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import nn

SPATIAL = {1: (7,), 2: (6, 7), 3: (4, 5, 4)}
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSES = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"stride": 2, "padding": 1},
    {"padding": "same", "dilation": 2},
    {"padding": "same", "stride": 2},
    {"padding": "valid", "groups": 2},
]


def sample(n: int, batch: tuple[int, ...] = (2,)) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((*batch, 4, *SPATIAL[n]))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients(n: int, options: dict[str, Any], check_gradients: Callable[..., None]) -> None:
    layer = CONVS[n](4, 2, 2, dtype=np.float64, generator=n, **options)
    check_gradients(layer, sample(n, (1,)))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, (2, 1), ((0, 2), (1, 0)), "same", "valid"], ids=str)
def test_gradients_with_padding_modes(mode: str, padding: Any, check_gradients: Callable[..., None]) -> None:
    layer = nn.Conv2d(4, 2, 3, 2, padding, padding_mode=mode, dtype=np.float64, generator=0)
    check_gradients(layer, sample(2))


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "output_padding": 1, "padding": 1}, {"groups": 2, "bias": False}, {"dilation": 2}],
    ids=str,
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_transposes(n: int, options: dict[str, Any], check_gradients: Callable[..., None]) -> None:
    layer = TRANSPOSES[n](4, 2, 2, dtype=np.float64, generator=n, **options)
    check_gradients(layer, sample(n, (1,))[..., :3])


@pytest.mark.parametrize("layers", [CONVS, TRANSPOSES], ids=["conv", "transpose"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_sample_and_empty_batch(n: int, layers: dict[int, Any]) -> None:
    layer = layers[n](4, 2, 3, dtype=np.float64, generator=0)
    batch = sample(n)
    np.testing.assert_allclose(layer(batch[0]), layer(batch)[0], rtol=1e-12)
    y, backward = layer.forward(batch[:0])
    assert y.shape[:2] == (0, 2)
    assert backward(y).shape == batch[:0].shape
    assert all(not parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.parametrize("padding", [0, 2, (1, 2), ((1, 0), (2, 1)), "same", "valid"], ids=str)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_modes_pad_as_numpy_does(mode: str, padding: Any, stride: int) -> None:
    layer = nn.Conv2d(4, 2, 4, stride, padding, 1, padding_mode=mode, dtype=np.float64, generator=0)
    x = sample(2)
    if padding == "same":
        totals = [max(0, (-(-size // stride) - 1) * stride + 4 - size) for size in x.shape[2:]]
        pairs = [(total // 2, total - total // 2) for total in totals]
    elif padding == "valid":
        pairs = [(0, 0), (0, 0)]
    elif isinstance(padding, int):
        pairs = [(padding, padding)] * 2
    else:
        pairs = [pad if isinstance(pad, tuple) else (pad, pad) for pad in padding]
    numpy_mode: Any = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(mode, mode)
    padded = np.pad(x, [(0, 0), (0, 0), *pairs], mode=numpy_mode)
    expected = F.conv2d(padded, layer.weight.data, layer.bias.data, stride)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12, atol=1e-14)


def test_known_parameter_counts() -> None:
    def count(layer: nn.Module) -> int:
        return sum(parameter.size for parameter in layer.parameters())

    assert count(nn.Conv2d(3, 10, 5, padding=2)) == 760  # (5 * 5 * 3 + 1) * 10
    assert count(nn.Conv2d(16, 120, 5)) == 48_120
    assert count(nn.Conv2d(8, 16, 3, groups=4, bias=False)) == 16 * 2 * 9
    assert nn.ConvTranspose2d(8, 6, 3, groups=2).weight.shape == (8, 3, 3, 3)


def test_size_arithmetic_in_one_dimension() -> None:
    signal = np.array([[0, 1, 2, 4, 8]], np.float32)
    layer = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    layer.load_state_dict({"weight": np.array([[[1.0, 0.0, -1.0]]])})
    assert layer(signal).tolist() == [[-1, -2, -3, -6, 4]]
    layer = nn.Conv1d(1, 1, 3, stride=2, padding=1, bias=False)
    layer.load_state_dict({"weight": np.array([[[1.0, 0.0, -1.0]]])})
    assert layer(signal).tolist() == [[-1, -3, 4]]


@pytest.mark.parametrize("needs_input_grad", [False, True])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_skips_gradients_that_are_not_needed(needs_input_grad: bool, mode: str) -> None:
    layer = nn.Conv2d(4, 2, 3, padding=1, padding_mode=mode, dtype=np.float64)
    layer.weight.requires_grad = False
    y, backward = layer.forward(sample(2), needs_input_grad=needs_input_grad)
    grad_input = backward(np.ones_like(y))
    assert (grad_input is not None) is needs_input_grad
    assert layer.weight.grad is None
    assert layer.bias.grad.tolist() == [84, 84]


@pytest.mark.parametrize("made", [nn.Conv2d, nn.ConvTranspose2d])
def test_freezing_packs_the_weight(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[np.ndarray] = []
    original = F.freeze_weight
    monkeypatch.setattr(F, "freeze_weight", lambda weight: packed.append(weight) or original(weight))
    layer = made(4, 2, 3)
    layer(sample(2))
    assert not packed
    layer.freeze()
    assert packed[0] is layer.weight.data
    layer(sample(2))
    assert len(packed) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("made", [nn.Conv2d, nn.ConvTranspose2d])
def test_frozen_layers_give_the_same_bits(made: Any, dtype: type) -> None:
    layer, x = made(4, 6, 3, 2, 1, groups=2, dtype=dtype, generator=0), sample(2).astype(dtype)
    y, backward = layer.forward(x)
    grad = backward(np.ones_like(y))
    frozen_y, frozen_backward = layer.freeze().forward(x)
    for _ in range(2):  # packs, then takes what is packed
        np.testing.assert_array_equal(layer(x), y, strict=True)
        np.testing.assert_array_equal(frozen_y, y, strict=True)
        np.testing.assert_array_equal(frozen_backward(np.ones_like(y)), grad, strict=True)


def test_algorithm_is_passed_on() -> None:
    x = sample(2).astype(np.float32)
    layer = nn.Conv2d(4, 2, 3, generator=0)
    direct = nn.Conv2d(4, 2, 3, algorithm="direct", generator=0)
    np.testing.assert_array_equal(direct(x), F.conv2d(x, layer.weight.data, layer.bias.data, algorithm="direct"))
    with pytest.raises(ValueError, match="algorithm"):
        nn.Conv2d(4, 2, 3, algorithm="guess")(x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes(dtype: type) -> None:
    layer = nn.Conv2d(4, 2, 3, dtype=dtype, generator=0)
    y, backward = layer.forward(sample(2).astype(dtype))
    assert y.dtype == dtype
    assert backward(np.ones_like(y)).dtype == dtype
    assert {parameter.grad.dtype for parameter in layer.parameters()} == {np.dtype(dtype)}


def test_gradients_take_the_dtype_of_their_parameters() -> None:
    layer = nn.Conv2d(4, 2, 3)
    y, backward = layer.forward(sample(2))
    assert y.dtype == np.float64
    backward(np.ones_like(y))
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == np.float32


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"in_channels": 0}, ValueError, "in_channels must be positive, received in_channels=0"),
    ({"in_channels": -4}, ValueError, "in_channels must be positive, received in_channels=-4"),
    ({"in_channels": 4.0}, TypeError, "received in_channels=4.0"),
    ({"out_channels": 0}, ValueError, "out_channels must be positive, received out_channels=0"),
    ({"out_channels": "2"}, TypeError, "received out_channels='2'"),
    ({"out_channels": None}, TypeError, "received out_channels=None"),
    ({"kernel_size": 0}, ValueError, "received kernel_size=0"),
    ({"kernel_size": (3, -1)}, ValueError, "received kernel_size=(3, -1)"),
    ({"kernel_size": (3,)}, ValueError, "received kernel_size=(3,)"),
    ({"kernel_size": (3, 3, 3)}, ValueError, "received kernel_size=(3, 3, 3)"),
    ({"kernel_size": 2.5}, TypeError, "received kernel_size=2.5"),
    ({"kernel_size": []}, ValueError, "received kernel_size=[]"),
    ({"stride": 0}, ValueError, "received stride=0"),
    ({"stride": (0, 1)}, ValueError, "received stride=(0, 1)"),
    ({"stride": (1, -2)}, ValueError, "received stride=(1, -2)"),
    ({"stride": None}, TypeError, "received stride=None"),
    ({"stride": True}, TypeError, "received stride=True"),
    ({"dilation": 0}, ValueError, "received dilation=0"),
    ({"dilation": (1, 1, 1)}, ValueError, "received dilation=(1, 1, 1)"),
    ({"padding": -1}, ValueError, "received padding=-1"),
    ({"padding": (1, 2, 3)}, ValueError, "received padding=(1, 2, 3)"),
    ({"padding": ((1, 2), (3, -4))}, ValueError, "-4"),
    ({"padding": "full"}, ValueError, "received padding='full'"),
    ({"padding": 0.5}, TypeError, "received padding=0.5"),
    ({"groups": 0}, ValueError, "received groups=0"),
    ({"groups": -(2**63)}, ValueError, "received groups=-9223372036854775808"),
    ({"groups": 3}, ValueError, "in_channels"),
    ({"groups": 4}, ValueError, "out_channels"),
    ({"dtype": np.int32}, TypeError, "dtype"),
    ({"dtype": "text"}, TypeError, "dtype"),
    ({"dtype": None}, TypeError, "dtype"),
    ({"generator": "seed"}, TypeError, "received generator='seed'"),
    ({"generator": -1}, ValueError, "received generator=-1"),
]
BAD_CONV = [
    ({"padding_mode": "mirror"}, ValueError, "received padding_mode='mirror'"),
    ({"padding_mode": None}, ValueError, "received padding_mode=None"),
]
BAD_TRANSPOSE = [
    ({"padding_mode": "reflect"}, ValueError, "received padding_mode='reflect'"),
    ({"output_padding": -1}, ValueError, "received output_padding=-1"),
    ({"output_padding": 1}, ValueError, "output_padding must be smaller than stride or dilation, received"),
    ({"output_padding": (1, 2), "stride": 2}, ValueError, "received output_padding=(1, 2), stride=2, dilation=1"),
]


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "message"),
    [(nn.Conv2d, *case) for case in BAD + BAD_CONV] + [(nn.ConvTranspose2d, *case) for case in BAD + BAD_TRANSPOSE],
    ids=str,
)
def test_refuses_arguments_when_made(
    layer: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    usual = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
    with pytest.raises(error, match=re.escape(message)) as caught:
        layer(**(usual | arguments))
    assert str(caught.value).startswith(f"{layer.__name__}: ")


def test_numpy_integers_are_integers() -> None:
    layer = nn.Conv2d(np.int64(4), np.int32(2), np.array([3, 3]), stride=np.uint8(2), groups=np.int64(2))
    assert repr(layer) == "Conv2d(4, 2, kernel_size=(3, 3), stride=(2, 2), groups=2)"
