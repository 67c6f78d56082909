"""Normalisation, forward and backward, on layers of ResNet-50 and AlexNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import reference

SHAPES = pytest.mark.parametrize("shape", [(8, 64, 112, 112), (8, 256, 28, 28)], ids=lambda s: "x".join(map(str, s)))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@SHAPES
def bench_batch_norm(benchmark: Any, shape: tuple[int, ...], training: bool) -> None:
    """Time the forward call."""
    x, _, weight, bias = _arrays(shape, shape[1])
    options = (bias, abs(weight), weight, bias, training)
    _check(lambda *a: fc.batch_norm(*a)[0], lambda *a: reference.batch_norm(*a)[0], x, *options)
    benchmark(fc.batch_norm, x, *options)


@SHAPES
def bench_batch_norm_backward(benchmark: Any, shape: tuple[int, ...]) -> None:
    """Time all three gradients, in training."""
    x, grad_output, weight, _ = _arrays(shape, shape[1])
    _, mean, var = fc.batch_norm(x, training=True)
    _check(fc.batch_norm_backward, reference.batch_norm_backward, grad_output, x, mean, var, weight, True)
    benchmark(fc.batch_norm_backward, grad_output, x, mean, var, weight, True)


@pytest.mark.parametrize("groups", [1, 32])
@SHAPES
def bench_group_norm(benchmark: Any, shape: tuple[int, ...], groups: int) -> None:
    """Time the forward call."""
    x, _, weight, bias = _arrays(shape, shape[1])
    _check(fc.group_norm, reference.group_norm, x, groups, weight, bias)
    benchmark(fc.group_norm, x, groups, weight, bias)


@SHAPES
def bench_group_norm_backward(benchmark: Any, shape: tuple[int, ...]) -> None:
    """Time all three gradients."""
    x, grad_output, weight, _ = _arrays(shape, shape[1])
    _check(fc.group_norm_backward, reference.group_norm_backward, grad_output, x, 32, weight)
    benchmark(fc.group_norm_backward, grad_output, x, 32, weight)


@SHAPES
def bench_instance_norm(benchmark: Any, shape: tuple[int, ...]) -> None:
    """Time the forward call."""
    x = _arrays(shape, shape[1])[0]
    _check(lambda a: fc.instance_norm(a)[0], lambda a: reference.instance_norm(a)[0], x)
    benchmark(fc.instance_norm, x)


def bench_layer_norm(benchmark: Any) -> None:
    """Time the forward call on the tokens of a transformer."""
    x, _, weight, bias = _arrays((8, 196, 768), 768)
    _check(fc.layer_norm, reference.layer_norm, x, 768, weight, bias)
    benchmark(fc.layer_norm, x, 768, weight, bias)


def bench_layer_norm_backward(benchmark: Any) -> None:
    """Time all three gradients."""
    x, grad_output, weight, _ = _arrays((8, 196, 768), 768)
    _check(fc.layer_norm_backward, reference.layer_norm_backward, grad_output, x, 768, weight)
    benchmark(fc.layer_norm_backward, grad_output, x, 768, weight)


@pytest.mark.parametrize("beta", [0.75, 0.6])
def bench_local_response_norm(benchmark: Any, beta: float) -> None:
    """Time the forward call after AlexNet's first layer."""
    x = _arrays((8, 96, 55, 55), 1)[0]
    _check(fc.local_response_norm, reference.local_response_norm, x, 5, 5e-4, beta, 2.0)
    benchmark(fc.local_response_norm, x, 5, 5e-4, beta, 2.0)


def bench_local_response_norm_backward(benchmark: Any) -> None:
    """Time the gradient."""
    x, grad_output, _, _ = _arrays((8, 96, 55, 55), 1)
    _check(fc.local_response_norm_backward, reference.local_response_norm_backward, grad_output, x, 5, 5e-4, 0.75, 2.0)
    benchmark(fc.local_response_norm_backward, grad_output, x, 5, 5e-4, 0.75, 2.0)


def _arrays(shape: tuple[int, ...], weights: int) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    x, grad_output, weight, bias = (rng.standard_normal(s, dtype=np.float32) for s in (shape, shape, weights, weights))
    return x, grad_output, weight, bias


def _check(function: Any, slow: Any, *arguments: Any) -> None:
    """Compare with the reference, sums relative to their largest."""
    results = function(*arguments), slow(*arguments)
    got, wanted = (result if isinstance(result, tuple) else (result,) for result in results)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, float(abs(b).max())))
