"""Fixtures of the layers' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn


def _differences(value: Callable[[], float], array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the derivative of `value()` by each element of `array`, by central differences."""
    slopes = np.empty_like(array)
    for position in np.ndindex(array.shape):
        kept = array[position]
        array[position] = kept + step
        above = value()
        array[position] = kept - step
        below = value()
        array[position] = kept
        slopes[position] = (above - below) / (2 * step)
    return slopes


@pytest.fixture
def check_gradients() -> Callable[..., None]:
    """Compare a float64 layer's way back with differences: by its input, and by each of its parameters."""

    def check(layer: nn.Module, input: np.ndarray, seed: int = 0) -> None:
        output, backward = layer.forward(input)
        np.testing.assert_array_equal(output, layer(input), err_msg="forward and call differ")
        weights = np.random.default_rng(seed).standard_normal(output.shape)
        layer.zero_grad()
        grad_input = backward(weights)

        def value() -> float:
            return float(np.sum(weights * layer(input)))

        close: Any = {"rtol": 1e-6, "atol": 1e-8}
        np.testing.assert_allclose(grad_input, _differences(value, input), **close, err_msg="input")
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.dtype == parameter.dtype == np.float64
            np.testing.assert_allclose(parameter.grad, _differences(value, parameter.data), **close, err_msg=name)

    return check
