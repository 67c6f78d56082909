"""What the tests of the reference share: integer data and numeric gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


@pytest.fixture
def whole() -> Callable[..., Array]:
    """Return a function that fills a shape with small random whole numbers, on which sums are exact."""
    rng = np.random.default_rng(2)

    def fill(*shape: int) -> Array:
        return rng.integers(-9, 10, shape).astype(np.float64)

    return fill


@pytest.fixture
def numeric_gradient() -> Callable[[Callable[[Array], Any], Array, Array], Array]:
    """Return a function that gives the gradient of ``sum(gy * f(x))`` by central differences."""

    def gradient(f: Callable[[Array], Any], x: Array, gy: Array, step: float = 1e-6) -> Array:
        gx = np.zeros_like(x)
        for place in np.ndindex(*x.shape):
            delta = np.zeros_like(x)
            delta[place] = step
            gx[place] = np.sum(gy * (f(x + delta) - f(x - delta))) / (2 * step)
        return gx

    return gradient
