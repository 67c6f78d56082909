"""Convolution, forward and backward, on the layers and images of ``python -m fastconv bench``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.bench.cases import Case, all_cases, make_input, make_parameters
from fastconv.bench.check import check_conv_backward, check_conv_forward

CASES = pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.layer.name)


@CASES
def bench_conv2d(benchmark: Any, case: Case) -> None:
    """Time the forward call."""
    rng = np.random.default_rng(0)
    layer, x = case.layer, make_input(case, 1)
    weight, bias = make_parameters(layer, rng)
    check_conv_forward(layer, x, weight, bias, fc.conv2d(x, weight, bias, **layer.options), rng)
    benchmark.extra_info["multiply_adds"] = layer.work().multiply_adds
    benchmark(fc.conv2d, x, weight, bias, **layer.options)


@CASES
def bench_conv2d_backward(benchmark: Any, case: Case) -> None:
    """Time all three gradients."""
    rng = np.random.default_rng(0)
    layer, x = case.layer, make_input(case, 1)
    weight, _ = make_parameters(layer, rng)
    grad_output = rng.standard_normal(layer.output_shape(1), dtype=np.float32)
    gradients = fc.conv2d_backward(grad_output, x, weight, **layer.options)
    check_conv_backward(layer, grad_output, x, weight, gradients, rng)
    benchmark.extra_info["multiply_adds"] = layer.work().backward_multiply_adds
    benchmark(fc.conv2d_backward, grad_output, x, weight, **layer.options)
