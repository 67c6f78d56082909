"""Pooling layers: gradients, what they keep, and arguments that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import nn

SPATIAL = {1: (7,), 2: (6, 7), 3: (4, 5, 4)}
MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
LP = {1: nn.LPPool1d, 2: nn.LPPool2d, 3: nn.LPPool3d}
ADAPTIVE_MAX = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}
ADAPTIVE_AVG = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def distinct(n: int) -> np.ndarray:
    """Return an array without equal elements: a maximum must not change hands within a difference's step."""
    shape = (2, 2, *SPATIAL[n])
    return np.random.default_rng(n).permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 1, "padding": 1}, {"dilation": 2, "stride": 1}, {"ceil_mode": True}],
    ids=str,
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_maximum(n: int, options: dict[str, Any], check_gradients: Callable[..., None]) -> None:
    check_gradients(MAX[n](2, **options), distinct(n))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 1, "padding": 1},
        {"stride": 1, "padding": 1, "count_include_pad": False},
        {"ceil_mode": True},
        {"divisor_override": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_mean(n: int, options: dict[str, Any], check_gradients: Callable[..., None]) -> None:
    check_gradients(AVG[n](2, **options), distinct(n))


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"ceil_mode": True}], ids=str)
@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_norms(n: int, p: float, options: dict[str, Any], check_gradients: Callable[..., None]) -> None:
    check_gradients(LP[n](p, 2, **options), distinct(n) + 1.5)  # positive: a norm has an edge at 0


@pytest.mark.parametrize("layers", [ADAPTIVE_AVG, ADAPTIVE_MAX], ids=["mean", "maximum"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_adaptive_pools(
    n: int, size: int, layers: dict[int, Any], check_gradients: Callable[..., None]
) -> None:
    check_gradients(layers[n](size), distinct(n))


def test_output_size_of_none_keeps_the_inputs() -> None:
    x = distinct(2)
    assert nn.AdaptiveAvgPool2d((None, 2))(x).shape == (2, 2, 6, 2)
    assert nn.AdaptiveMaxPool2d((2, None))(x).shape == (2, 2, 2, 7)
    np.testing.assert_array_equal(nn.AdaptiveMaxPool2d(None)(x), x)


def test_plane_is_quartered_and_depth_kept() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert nn.MaxPool2d(2)(x).tolist() == [[[[5, 7], [13, 15]]]]
    assert nn.AvgPool2d(2)(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


def test_calling_does_not_ask_for_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def spy(*args: Any, return_indices: bool = False, **options: Any) -> Any:
        asked.append(return_indices)
        return F.max_pool2d(*args, return_indices=return_indices, **options)

    monkeypatch.setattr(nn.MaxPool2d, "_pool", staticmethod(spy))
    layer = nn.MaxPool2d(2)
    layer(distinct(2))
    assert asked == [False]
    layer.forward(distinct(2))
    assert asked == [False]
    nn.MaxPool2d(2, return_indices=True).forward(distinct(2))
    assert asked == [False, True]


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2, return_indices=True), nn.AdaptiveMaxPool2d(2, True)], ids=str)
def test_indices_as_output(layer: Any) -> None:
    x = distinct(2)
    y, indices = layer(x)
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 2, -1), indices.reshape(2, 2, -1), 2), y.reshape(2, 2, -1)
    )
    (y2, indices2), backward = layer.forward(x)
    np.testing.assert_array_equal(y2, y)
    np.testing.assert_array_equal(indices2, indices)
    assert backward(np.ones_like(y)).sum() == y.size


def test_the_way_back_keeps_no_input() -> None:
    """The closures hold shapes and indices: the input may go."""
    import weakref

    for layer in (nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2)):
        x = distinct(2)
        gone = weakref.ref(x)
        y, backward = layer.forward(x)
        del x
        assert gone() is None, layer
        assert backward(np.ones_like(y)).shape == (2, 2, 6, 7)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"kernel_size": 0}, ValueError, "received kernel_size=0"),
    ({"kernel_size": (2, 0)}, ValueError, "received kernel_size=(2, 0)"),
    ({"kernel_size": (2, 2, 2)}, ValueError, "received kernel_size=(2, 2, 2)"),
    ({"kernel_size": None}, TypeError, "received kernel_size=None"),
    ({"kernel_size": 1.5}, TypeError, "received kernel_size=1.5"),
    ({"stride": 0}, ValueError, "received stride=0"),
    ({"stride": (1, -1)}, ValueError, "received stride=(1, -1)"),
    ({"stride": []}, ValueError, "received stride=[]"),
    ({"padding": -1}, ValueError, "received padding=-1"),
    ({"padding": "same"}, ValueError, "received padding='same'"),
    ({"padding": (1, 2, 3)}, ValueError, "received padding=(1, 2, 3)"),
]
BAD_MAX = [
    ({"dilation": 0}, ValueError, "received dilation=0"),
    ({"dilation": "2"}, (TypeError, ValueError), "received dilation='2'"),
]
BAD_AVG = [
    ({"divisor_override": 0}, ValueError, "received divisor_override=0"),
    ({"divisor_override": 0.5}, TypeError, "received divisor_override=0.5"),
]


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "message"),
    [(nn.MaxPool2d, *case) for case in BAD + BAD_MAX] + [(nn.AvgPool2d, *case) for case in BAD + BAD_AVG],
    ids=str,
)
def test_refuses_arguments_when_made(layer: Any, arguments: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        layer(**({"kernel_size": 2} | arguments))
    assert str(caught.value).startswith(f"{layer.__name__}: ")


@pytest.mark.parametrize("layer", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), ((1, -1), ValueError), ((1,), ValueError), (2.0, TypeError), ("2", TypeError)]
)
def test_refuses_output_sizes_when_made(layer: Any, size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{layer.__name__}: output_size .*received output_size="):
        layer(size)
