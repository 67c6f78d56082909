"""Softmax and losses on the engine: every instruction set, sizes around vectors and tasks, extremes, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, THREADS

import fastconv as fc
from fastconv import functional as F
from fastconv import reference
from fastconv._config import isa_limit

SIZES = [(1,), (5,), (16,), (67,), (3, 33), (2**15 + 21,), (3, 2**15)]
DIFFERENCES: list[tuple[str, dict[str, Any]]] = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("huber_loss", {"delta": 2.0}),
    ("smooth_l1_loss", {"beta": 4.0}),
]
LINES = [
    ((5,), 0),
    ((3, 4), 1),
    ((7, 16), 1),
    ((3, 50), 1),
    ((2, 1000), -1),
    ((2, 5, 3), 1),
    ((2, 21, 40), 1),
    ((9, 6), 0),
]
LARGE = {np.float32: 1e-5, np.float64: 1e-13}


def whole(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-6, 7, shape).astype(dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize(("name", "options"), DIFFERENCES, ids=str)
def test_losses_of_whole_numbers_are_exact(
    name: str, options: dict[str, Any], shape: tuple[int, ...], dtype: Any, isa: str
) -> None:
    x, t, g = (whole(*shape, dtype=dtype, seed=seed) for seed in range(3))
    each = getattr(reference, name)(x, t, reduction="none", **options)
    with isa_limit(isa):
        np.testing.assert_array_equal(getattr(F, name)(x, t, reduction="none", **options), each, strict=True)
        total = getattr(F, name)(x, t, reduction="sum", **options)
        mean = getattr(F, name)(x, t, **options)
        slopes = getattr(F, f"{name}_backward")(g, x, t, reduction="none", **options)
        slope = getattr(F, f"{name}_backward")(4.0, x, t, reduction="sum", **options)
    assert total == dtype(each.astype(np.float64).sum())
    assert mean == dtype(each.astype(np.float64).sum() / x.size)
    back = getattr(reference, f"{name}_backward")
    np.testing.assert_array_equal(slopes, back(g, x, t, reduction="none", **options), strict=True)
    np.testing.assert_array_equal(slope, back(np.array(4, dtype), x, t, reduction="sum", **options), strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES[:6], ids=str)
def test_binary_cross_entropy(shape: tuple[int, ...], dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, t, g = (
        (8 * rng.standard_normal(shape)).astype(dtype),
        rng.random(shape).astype(dtype),
        whole(*shape, dtype=dtype),
    )
    name = "binary_cross_entropy_with_logits"
    close: Any = {"rtol": 16 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).eps}
    for options in ({}, {"pos_weight": np.array([3.0], dtype)}):
        with isa_limit(isa):
            each = getattr(F, name)(x, t, reduction="none", **options)
            slopes = getattr(F, f"{name}_backward")(g, x, t, reduction="none", **options)
            mean = getattr(F, name)(x, t, **options)
        np.testing.assert_allclose(each, getattr(reference, name)(x, t, reduction="none", **options), **close)
        np.testing.assert_allclose(mean, each.astype(np.float64).mean(), rtol=1e-6)
        want = getattr(reference, f"{name}_backward")(g, x, t, reduction="none", **options)
        np.testing.assert_allclose(slopes, want, rtol=close["rtol"], atol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "dim"), LINES, ids=str)
def test_softmax_and_its_logarithm(shape: tuple[int, ...], dim: int, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, g = ((5 * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    close: Any = {"rtol": 32 * np.finfo(dtype).eps, "atol": 32 * np.finfo(dtype).eps, "strict": True}
    for name in ("softmax", "log_softmax"):
        with isa_limit(isa):
            y = getattr(F, name)(x, dim)
            back = getattr(F, f"{name}_backward")(g, y, dim)
        np.testing.assert_allclose(y, getattr(reference, name)(x, dim), **close)
        want = getattr(reference, f"{name}_backward")(g, y, dim)
        np.testing.assert_allclose(back, want, rtol=close["rtol"], atol=close["atol"] * 200, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "dim"), [((4, 37), 1), ((37, 4), 0)], ids=str)
def test_what_is_not_finite_spoils_its_line_alone(shape: tuple[int, ...], dim: int, dtype: Any, isa: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 37)).astype(dtype)
    x[0, 3], x[1, 20], x[2, 36] = np.nan, np.inf, -np.inf
    x = x.reshape(shape) if dim else x.T
    with isa_limit(isa), np.errstate(all="raise"):
        for y in (F.softmax(x, dim), F.log_softmax(x, dim)):
            lines = y if dim else y.T
            assert np.isnan(lines[:2]).all()
            assert np.isfinite(lines[3]).all()
            assert np.isfinite(np.delete(lines[2], 36)).all()
            assert lines[2, 36] in (0, -np.inf)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape", [(4,), (6, 3), (5, 16), (9, 40), (2, 1000), (3, 5, 2), (2, 7, 5, 9)], ids=str)
def test_losses_of_classes(shape: tuple[int, ...], name: str, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    axis = min(1, len(shape) - 1)
    x = (4 * rng.standard_normal(shape)).astype(dtype)
    target = rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    g = rng.standard_normal(target.shape).astype(dtype)
    close: Any = {"rtol": 1e-5 if dtype is np.float32 else 1e-12, "atol": LARGE[dtype]}
    ours, back = getattr(F, name), getattr(F, f"{name}_backward")
    want, want_back = getattr(reference, name), getattr(reference, f"{name}_backward")
    with isa_limit(isa):
        for how in ("mean", "sum", "none"):
            first, again = ours(x, target, reduction=how), ours(x, target, reduction=how)
            np.testing.assert_array_equal(first, again, strict=True)
            np.testing.assert_allclose(first, want(x, target, reduction=how), **close)
            first, again = back(0.3, x, target, reduction=how), back(0.3, x, target, reduction=how)
            np.testing.assert_array_equal(first, again, strict=True)
            np.testing.assert_allclose(first, want_back(np.array(0.3, dtype), x, target, reduction=how), **close)
        each = back(g, x, target, reduction="none")
    np.testing.assert_allclose(each, want_back(g, x, target, reduction="none"), **close)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_targets_are_checked_in_every_call(name: str) -> None:
    """Also where a call is found again: wrong classes are refused, and those to be ignored are."""
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    ours, back = getattr(F, name), getattr(F, f"{name}_backward")
    right = np.array([0, 1, 2, 1])
    ours(x, right), back(1.0, x, right)
    for wrong in (-1, 3, 2**40, -(2**63)):
        bad = np.array([0, wrong, 2, 1])
        for call in (lambda: ours(x, bad), lambda: back(1.0, x, bad)):  # noqa: B023
            with pytest.raises(ValueError, match=f"{name}.*: target must hold classes from 0 to 2"):
                call()
    some = np.array([0, -100, 2, 1])
    kept = some >= 0
    assert ours(x, some) == pytest.approx(float(ours(x[kept], some[kept])), rel=1e-6)
    grad = back(1.0, x, some)
    np.testing.assert_allclose(grad[kept], back(1.0, x[kept], some[kept]), rtol=1e-6)
    assert not grad[1].any()
    for _ in range(2):  # a class that is ignored by its number
        assert ours(x, right, ignore_index=1) == pytest.approx(float(ours(x[::2], right[::2])), rel=1e-6)
        assert not back(1.0, x, right, ignore_index=1)[1].any()
    for other in (right.astype(">i8"), right.astype(np.int32), right.tolist(), np.repeat(right, 2)[::2]):
        assert ours(x, other) == ours(x, right)
        np.testing.assert_array_equal(back(1.0, x, other), back(1.0, x, right))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_what_overflows_does_so_quietly_in_every_call(reduction: str) -> None:
    """Also where a call is found again, and where gradients are multiplied by infinities or turned to float16."""
    scores, right = np.array([[3e38, -3e38], [3e38, -3e38]], np.float32), np.array([1, 1])
    half, other = np.full(5, 6e4, np.float16), np.full(5, -6e4, np.float16)
    logits, zeros = np.array([-1000.0, 1.0], np.float32), np.zeros(2, np.float32)
    for _ in range(2):
        with np.errstate(all="raise"):
            assert np.isinf(F.cross_entropy(scores, right, reduction=reduction)).all()
            assert np.isinf(F.mse_loss_backward(1e4, half, other, reduction="sum")).all()
            grad = F.binary_cross_entropy_with_logits_backward(zeros + np.inf, logits, zeros, reduction="none")
        assert np.isnan(grad[0])
        assert grad[1] == np.inf


def test_the_same_bits_at_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x, t = (rng.standard_normal((300, 1000)).astype(np.float32) for _ in range(2))
    target = rng.integers(0, 1000, 300)
    results = []
    for threads in THREADS:
        with fc.threads(threads):
            logs = F.log_softmax(x, 0)
            found = [
                F.mse_loss(x, t),
                F.huber_loss_backward(1.0, x, t),
                F.softmax(x),
                F.log_softmax_backward(t, logs, 0),
            ]
            results.append([*found, F.cross_entropy(x, target), F.cross_entropy_backward(1.0, x, target)])
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta", [0.6, 1.3, -0.4, 5.0, 1e-3, 40.0])
def test_powers_of_any_size(beta: float, dtype: Any, isa: str) -> None:
    """Local response norm of single channels: x * (x**2)**-beta; zeros, infinities and denormals go their own way."""
    kind = np.finfo(dtype)
    edge = 100 if dtype is np.float64 else 15
    x = 10 ** np.random.default_rng(0).uniform(-edge, edge, 500)
    x = np.concatenate([x, [0, np.inf, np.nan, 1]]).astype(dtype)
    with np.errstate(all="ignore"):
        power = (x * x).astype(np.longdouble) ** -np.longdouble(beta)
        want = x.astype(np.longdouble) * power
        normal = (power > kind.tiny) & (power < kind.max) & (abs(want) > kind.tiny) & (abs(want) < kind.max)
    with isa_limit(isa), np.errstate(all="raise"):
        y = F.local_response_norm(x[None, None], 1, alpha=1.0, beta=beta, k=0.0)[0, 0]
    error = abs(y[normal] / want[normal] - 1) / kind.eps
    assert error.max() < 8 + 4 * abs(beta)
    assert normal.sum() > 9
    assert np.isnan(y[502])
    assert y[503] == 1
