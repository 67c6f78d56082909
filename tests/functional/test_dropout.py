"""dropout and dropout2d: against the reference, statistics, special values, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import reference

SHAPES = {
    "dropout": [(), (7,), (2, 3, 4, 5), (0, 3)],
    "dropout2d": [(2, 3, 4, 5), (3, 4, 5), (0, 3, 2, 2), (2, 3, 0, 4)],
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


def back(name: str) -> Any:
    return getattr(F, f"{name}_backward"), getattr(reference, f"{name}_backward")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_agrees_with_the_reference(name: str, shape: tuple[int, ...], p: float, training: bool, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    y, mask = getattr(F, name)(x, p, training, generator=3)
    expected, expected_mask = getattr(reference, name)(x, p, training, generator=3)
    np.testing.assert_array_equal(mask, expected_mask, strict=True)
    np.testing.assert_allclose(y, expected, rtol=2 * np.finfo(dtype).eps, strict=True)
    ours, theirs = back(name)
    grad = ours(g, mask, p, training)
    np.testing.assert_allclose(grad, theirs(g, mask, p, training), rtol=2 * np.finfo(dtype).eps, strict=True)
    if not training:
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(y, x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_its_share_and_keeps_the_mean(p: float) -> None:
    y, mask = F.dropout(np.ones((200, 500)), p, generator=0)
    assert abs(mask.mean() - (1 - p)) < 4 * np.sqrt(p * (1 - p) / mask.size)
    np.testing.assert_allclose(y[mask], 1 / (1 - p))
    assert not y[~mask].any()
    assert abs(y.mean() - 1) < 0.02


def test_channels_fall_as_a_whole() -> None:
    y, mask = F.dropout2d(np.ones((40, 50, 3, 2)), 0.25, generator=0)
    assert mask.shape == (40, 50, 1, 1)
    assert abs(mask.mean() - 0.75) < 0.04
    assert np.array_equal(y.min((2, 3)), y.max((2, 3)))


def test_a_generator_goes_on_where_a_seed_starts_anew() -> None:
    x, generator = np.ones(64), np.random.default_rng(5)
    first, second = F.dropout(x, generator=generator)[1], F.dropout(x, generator=generator)[1]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(F.dropout(x, generator=5)[1], first)
    assert not np.array_equal(F.dropout(x)[1], F.dropout(x)[1])


def test_what_is_no_number_stays_none() -> None:
    with np.errstate(all="raise"):
        y, _ = F.dropout(np.array([np.nan, np.inf, 1.0]), p=1.0)
    assert np.isnan(y).tolist() == [True, True, False]


def test_inputs_of_any_layout() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    expected = F.dropout(x, generator=1)[0]
    for other in (np.asfortranarray(x), x.astype(">f8"), x[::-1].copy()[::-1]):
        y = F.dropout(other, generator=1)[0]
        np.testing.assert_array_equal(y, expected)
        assert y.flags.c_contiguous


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"p": -0.1}, ValueError, "p must be from 0 to 1, received p=-0.1"),
        ({"p": 1.5}, ValueError, "received p=1.5"),
        ({"p": np.nan}, ValueError, "p must be finite, received p=nan"),
        ({"p": "half"}, TypeError, "p must be a real number, received p='half'"),
        ({"p": True}, TypeError, "received p=True"),
        ({"training": 1}, TypeError, "training must be True or False, received training=1"),
        ({"generator": -1}, ValueError, "generator must be non-negative, received generator=-1"),
        ({"generator": 1.0}, TypeError, "generator must be a numpy.random.Generator, an int seed or None, received"),
    ],
)
def test_refuses(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    x = np.ones((2, 3, 4, 5))
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        getattr(F, name)(x, **options)
    if "generator" not in options:
        mask = np.ones(x.shape if name == "dropout" else (2, 3, 1, 1), bool)
        with pytest.raises(error, match=f"^{name}_backward: .*{message}"):
            getattr(F, f"{name}_backward")(x, mask, **options)


def test_refuses_masks_and_axes() -> None:
    with pytest.raises(TypeError, match="dropout_backward: mask must hold booleans, received mask of dtype float64"):
        F.dropout_backward(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"dropout_backward: mask must have the shape \(3,\).*received shape \(2,\)"):
        F.dropout_backward(np.ones(3), np.ones(2, bool))
    with pytest.raises(ValueError, match=r"dropout2d_backward: mask must have the shape \(2, 3, 1, 1\)"):
        F.dropout2d_backward(np.ones((2, 3, 4, 4)), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"dropout2d: input must have the axes \(N, C, H, W\) or \(C, H, W\)"):
        F.dropout2d(np.ones((3, 4)))
