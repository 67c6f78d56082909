"""Local connection and tiled convolution beside NumPy's einsum over sliding windows: 3x3, 32 channels of 56x56."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from fastconv.bench.layers import Conv, Unshared
from fastconv.bench.unshared import backward, check_unshared, draw_operands, forward

LAYER = Conv("32 channels, 56x56", c=32, h=56, w=56, k=32, kh=3, kw=3, ph=1, pw=1)
LAYERS = pytest.mark.parametrize("layer", [Unshared.local(LAYER), Unshared(LAYER, (2, 2))], ids=["local", "tiled"])
BATCH = pytest.mark.parametrize("batch", [1, 8])
LIBRARY = pytest.mark.parametrize("library", ["fastconv", "NumPy"])


def windows(x: Any) -> Any:
    """(N, C, H, W) -> (N, C, Ho, Wo, kH, kW), a view of the padded input."""
    return sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))


def numpy_forward(layer: Unshared, x: Any, weight: Any, bias: Any) -> Any:
    """The fastest of the ways that were tried: rows of terms for local, a matrix product for each tiled kernel."""
    y = np.empty(layer.conv.output_shape(len(x)), x.dtype)
    if layer.is_local:
        height, width = layer.tiles
        patches = np.ascontiguousarray(windows(x).transpose(2, 3, 0, 1, 4, 5)).reshape(height, width, len(x), -1)
        y[...] = np.einsum("ijnt,ijkt->nkij", patches, weight.reshape(height, width, layer.conv.k, -1))
        return y + bias
    for a, b in np.ndindex(*layer.tiles):
        part = windows(x)[:, :, a :: layer.tiles[0], b :: layer.tiles[1]]
        y[:, :, a :: layer.tiles[0], b :: layer.tiles[1]] = np.einsum(
            "ncijuv,kcuv->nkij", part, weight[a, b], optimize=True
        )
        y[:, :, a :: layer.tiles[0], b :: layer.tiles[1]] += bias[:, a, b, None, None]
    return y


def numpy_grad_weight(layer: Unshared, grad_output: Any, x: Any) -> Any:
    """The weight's gradient."""
    gw = np.empty((*layer.tiles, *layer.conv.weight_shape), x.dtype)
    if layer.is_local:
        return np.einsum("nkij,ncijuv->ijkcuv", grad_output, windows(x), optimize=True)
    for a, b in np.ndindex(*layer.tiles):
        rows, columns = slice(a, None, layer.tiles[0]), slice(b, None, layer.tiles[1])
        gw[a, b] = np.einsum(
            "nkij,ncijuv->kcuv", grad_output[:, :, rows, columns], windows(x)[:, :, rows, columns], optimize=True
        )
    return gw


@LIBRARY
@BATCH
@LAYERS
def bench_forward(benchmark: Any, layer: Unshared, batch: int, library: str) -> None:
    """Time the forward call."""
    x, operands = _arrays(layer, batch)
    weight, bias, _ = operands
    if library == "fastconv":
        benchmark(forward, layer, x, weight, bias)
    else:
        assert np.allclose(numpy_forward(layer, x, weight, bias), forward(layer, x, weight, bias), atol=1e-3)
        benchmark(numpy_forward, layer, x, weight, bias)


@LIBRARY
@BATCH
@LAYERS
def bench_grad_weight(benchmark: Any, layer: Unshared, batch: int, library: str) -> None:
    """Time the weight's gradient."""
    x, (weight, _, grad_output) = _arrays(layer, batch)
    ours = backward, layer, grad_output, x, weight, (False, True, False)
    if library == "fastconv":
        benchmark(*ours)
    else:
        assert np.allclose(numpy_grad_weight(layer, grad_output, x), backward(*ours[1:])[1], atol=1e-3)
        benchmark(numpy_grad_weight, layer, grad_output, x)


@BATCH
@LAYERS
def bench_grad_input(benchmark: Any, layer: Unshared, batch: int) -> None:
    """Time the input's gradient; einsum has no windows to add to."""
    x, (weight, _, grad_output) = _arrays(layer, batch)
    benchmark(backward, layer, grad_output, x, weight, (True, False, False))


def _arrays(layer: Unshared, batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(layer.conv.input_shape(batch), dtype=np.float32)
    operands = draw_operands(layer, batch, rng)
    check_unshared(layer, x, operands, rng)
    return x, operands
