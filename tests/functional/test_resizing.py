"""interpolate: against the reference, the adjoint identity, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import ISAS, LAYOUTS, assert_same, dot, whole

from fastconv import functional as F
from fastconv import reference
from fastconv._config import isa_limit

CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 5), {"scale_factor": 3}),
    ((2, 3, 5), {"size": 7}),
    ((2, 3, 4, 5), {"scale_factor": 2}),
    ((2, 3, 4, 5), {"scale_factor": (3, 1)}),
    ((2, 3, 4, 5), {"size": (4, 10)}),
    ((2, 3, 4, 5), {"size": (3, 13)}),
    ((1, 2, 9, 8), {"size": 5}),
    ((1, 2, 3, 17), {"scale_factor": (4, 5)}),
    ((2, 1, 2, 3, 4), {"scale_factor": 2}),
    ((2, 1, 2, 3, 4), {"size": (3, 3, 7)}),
    ((1, 1, 1, 1), {"size": (6, 4)}),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("shape", "options"), CASES, ids=str)
def test_agrees_with_the_reference(shape: tuple[int, ...], options: dict[str, Any], dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    x = whole(rng, *shape, dtype=dtype)
    with isa_limit(isa):
        y = F.interpolate(x, **options)
        assert_same(y, reference.interpolate(x, **options))
        g = whole(rng, *y.shape, dtype=dtype)
        back = F.interpolate_backward(g, shape, **options)
    assert_same(back, reference.interpolate_backward(g, shape, **options))
    assert dot(y, g) == dot(x, back)


def test_any_layout_and_special_values() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    x[0, 0, 0] = [np.nan, np.inf, -np.inf, 0, 1e300]
    for options in ({"scale_factor": 2}, {"size": (5, 7)}):
        expected = reference.interpolate(x, **options)
        for layout in LAYOUTS.values():
            y = F.interpolate(layout(x), **options)
            np.testing.assert_array_equal(y, expected, strict=True)
            assert y.flags.c_contiguous


def test_empty_batches() -> None:
    assert F.interpolate(np.zeros((0, 3, 4, 4)), scale_factor=2).shape == (0, 3, 8, 8)
    assert F.interpolate_backward(np.zeros((0, 3, 8, 8)), (0, 3, 4, 4), scale_factor=2).shape == (0, 3, 4, 4)


X = np.ones((1, 2, 4, 4))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({}, ValueError, "either size or scale_factor must be given, received size=None and scale_factor=None"),
        ({"size": 3, "scale_factor": 2}, ValueError, "either size or scale_factor must be given"),
        ({"scale_factor": 0}, ValueError, "scale_factor must be positive, received scale_factor=0"),
        ({"scale_factor": 1.5}, TypeError, "scale_factor must be made of integers"),
        ({"scale_factor": (1, 2, 3)}, ValueError, "scale_factor must be an int or 2 ints"),
        ({"size": (0, 3)}, ValueError, "size must be positive"),
        ({"size": (2**40, 2**40)}, MemoryError, "cannot be held in memory"),
        ({"scale_factor": 2**40}, MemoryError, "cannot be held in memory"),
        ({"size": 3, "mode": "bilinear"}, ValueError, "mode must be one of 'nearest', received mode='bilinear'"),
        ({"size": 3, "input": np.ones((2, 4))}, ValueError, r"input must have the axes \(N, C, \*S\)"),
        ({"size": 3, "input": np.ones((1, 2, 0, 4))}, ValueError, "input must have elements to take"),
        ({"size": 3, "input": X.astype(int)}, TypeError, "input must be float16"),
    ],
)
def test_refuses(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^interpolate: .*{message}"):
        F.interpolate(**{"input": X, **changes})


@pytest.mark.parametrize(
    ("grad", "shape", "error", "message"),
    [
        (np.ones((1, 2, 8, 7)), (1, 2, 4, 4), ValueError, "grad_output must have the shape of the forward result"),
        (X, (1, 2, 4), ValueError, "grad_output must have the shape"),
        (X, 3, TypeError, "input_shape must be a sequence"),
        (X, (1, 2), ValueError, r"input_shape must have the axes \(N, C, \*S\)"),
        (X, (1, 2, -2, 2), ValueError, "input_shape must be non-negative"),
    ],
)
def test_backward_refuses(grad: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^interpolate_backward: {message}"):
        F.interpolate_backward(grad, shape, scale_factor=2)
