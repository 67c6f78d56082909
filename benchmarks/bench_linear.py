"""The fully connected layers that stand beside the convolutions: fastconv.linear and NumPy's matmul."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.bench.cases import LENET5, growing_layer
from fastconv.bench.check import check_dense_backward, check_dense_forward
from fastconv.bench.layers import Dense

LAYERS = [*(layer.dense_of_same_sizes() for layer in LENET5), growing_layer(24, 24).dense_of_same_sizes()]
DENSE = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.inputs}-{layer.outputs}")
BATCH = pytest.mark.parametrize("batch", [1, 32])


def numpy_linear(x: Any, weight: Any, bias: Any) -> Any:
    """Multiply as NumPy users do."""
    return x @ weight.T + bias


def numpy_linear_backward(grad_output: Any, x: Any, weight: Any) -> Any:
    """Compute the gradients of input, weight and bias as NumPy users do."""
    return grad_output @ weight, grad_output.T @ x, grad_output.sum(axis=0)


@pytest.mark.parametrize("linear", [fc.linear, numpy_linear], ids=["fastconv", "NumPy"])
@BATCH
@DENSE
def bench_linear(benchmark: Any, layer: Dense, batch: int, linear: Any) -> None:
    """Time the forward call."""
    x, weight, bias, _ = _arrays(layer, batch)
    check_dense_forward("linear", x, weight, bias, linear(x, weight, bias))
    benchmark(linear, x, weight, bias)


@pytest.mark.parametrize("backward", [fc.linear_backward, numpy_linear_backward], ids=["fastconv", "NumPy"])
@BATCH
@DENSE
def bench_linear_backward(benchmark: Any, layer: Dense, batch: int, backward: Any) -> None:
    """Time all three gradients."""
    x, weight, _, grad_output = _arrays(layer, batch)
    check_dense_backward("linear", grad_output, x, weight, backward(grad_output, x, weight))
    benchmark(backward, grad_output, x, weight)


def _arrays(layer: Dense, batch: int) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    shapes = ((batch, layer.inputs), (layer.outputs, layer.inputs), (layer.outputs,), (batch, layer.outputs))
    x, weight, bias, grad_output = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, weight, bias, grad_output
