"""Pooling, forward and backward, on windows of the photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import reference
from fastconv.bench.cases import POOLS, photograph_windows
from fastconv.bench.layers import Pool

LAYERS = pytest.mark.parametrize("layer", POOLS, ids=lambda layer: layer.name)


@LAYERS
def bench_pool(benchmark: Any, layer: Pool) -> None:
    """Time the forward call."""
    x = photograph_windows(*layer.input_shape(1))
    function, arguments = _forward(fc, layer, x)
    slow, _ = _forward(reference, layer, x)
    np.testing.assert_allclose(function(*arguments), slow(*arguments), rtol=1e-5, atol=1e-5)
    benchmark(function, *arguments)


@LAYERS
def bench_pool_backward(benchmark: Any, layer: Pool) -> None:
    """Time the input's gradient; for max pooling from the indices that the forward call found."""
    x = photograph_windows(*layer.input_shape(1))
    grad_output = np.random.default_rng(0).standard_normal(layer.output_shape(1), dtype=np.float32)
    function, arguments = _backward(fc, layer, x, grad_output)
    slow, slow_arguments = _backward(reference, layer, x, grad_output)
    np.testing.assert_allclose(function(*arguments), slow(*slow_arguments), rtol=1e-5, atol=1e-5)
    benchmark(function, *arguments)


def _forward(library: Any, layer: Pool, x: Any) -> tuple[Any, tuple[Any, ...]]:
    window = (layer.kernel, layer.stride, layer.padding)
    if layer.kind == "max":
        return library.max_pool2d, (x, *window)
    if layer.kind == "mean":
        return library.avg_pool2d, (x, *window)
    return library.adaptive_avg_pool2d, (x, 1)


def _backward(library: Any, layer: Pool, x: Any, grad_output: Any) -> tuple[Any, tuple[Any, ...]]:
    window = (layer.kernel, layer.stride, layer.padding)
    if layer.kind == "max":
        _, indices = library.max_pool2d(x, *window, return_indices=True)
        return library.max_pool2d_backward, (grad_output, indices, x.shape)
    if layer.kind == "mean":
        return library.avg_pool2d_backward, (grad_output, x.shape, *window)
    return library.adaptive_avg_pool2d_backward, (grad_output, x.shape)
