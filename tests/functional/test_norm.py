"""Normalisation: against the reference, exactly where possible; accuracy far from zero; special values; threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, THREADS, WIDTHS, Array

import fastconv as fc
from fastconv import plan, reference
from fastconv._config import isa_limit
from fastconv.functional._norm import RowNorm, RowNormGrad, Sets

#: Planes and columns, with pixels and channels around the lanes of every vector; parts are of 2**20 terms.
SHAPES = [
    *((3, 5, width) for width in WIDTHS),
    *((7, width) for width in WIDTHS),
    *((6, width, 3) for width in (1, 5, 11, 21, 43)),
    (300, 9, 2), (2, 3, 70, 70), (1, 2, 5000), (130, 3, 7), (2, 4, 2, 3, 4), (300, 70), (9, 150), (3, 70, 20),
    (1, 40, 300),
]  # fmt: skip
LARGE = [(1, 2, 1_100_000), (5, 1, 300_007), (140_001, 9)]


def draw(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(1, 3, shape).astype(dtype)


def close(got: Any, want: Any, dtype: Any, terms: int = 1) -> None:
    """Within some units of rounding of the largest value, or, for weights' gradients, of the terms that they sum."""
    pairs = list(zip(got, want, strict=True)) if isinstance(got, tuple) else [(got, want)]
    for a, b in pairs:
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert a.flags.c_contiguous
        scale = 10 * max(1.0, float(np.abs(b).max(initial=0))) if a.shape == pairs[0][0].shape else 4.0 * max(10, terms)
        np.testing.assert_allclose(a, b, rtol=0, atol=4 * np.finfo(dtype).eps * scale)


def batch(library: Any, x: Array, g: Array, **options: Any) -> tuple[Any, ...]:
    """All that batch_norm gives in training, and backwards; then by these statistics, and backwards."""
    c = x.shape[1]
    w, b = draw(c, dtype=x.dtype, seed=1), draw(c, dtype=x.dtype, seed=2)
    y, mean, var = library.batch_norm(x, weight=w, bias=b, training=True, **options)
    found = [y, *library.batch_norm_backward(g, x, mean, var, w, True, **options)]
    fixed = library.batch_norm(x, mean, var, w, b, **options)[0]
    return (*found, fixed, *library.batch_norm_backward(g, x, mean, var, w, **options), mean, var)


# ------------------------------------------------------------------------------------------------------- the reference


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_agrees_with_the_reference(shape: tuple[int, ...], dtype: Any, isa: str) -> None:
    x, g = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=3)
    with isa_limit(isa):
        got = batch(fc, x, g, eps=1e-3)
    close(got[:-2], batch(reference, x, g, eps=1e-3)[:-2], dtype, x.size // shape[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_sums_of_many_parts(shape: tuple[int, ...], dtype: Any, isa: str) -> None:
    x, g = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=3)
    plan.clear()
    with isa_limit(isa):
        got = batch(fc, x, g)
        stages = 3 if len(shape) == 2 else 2
        assert max(len(p.tasks) for p in plan.plans()) == stages, "moments or sums, factors of columns, and the result"
    close(got[:-2], batch(reference, x, g)[:-2], dtype, x.size // shape[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((3, 6, 5, 4), 2), ((3, 6, 5, 4), 6), ((2, 6, 2), 3), ((4, 12), 4), ((2, 8, 33), 1), ((1, 4, 600, 500), 1),
        ((2, 4, 31), 2), ((2, 4, 16), 2), ((2, 4, 15), 2),
    ],
)  # fmt: skip
def test_group_norm_agrees_with_the_reference(shape: tuple[int, ...], groups: int, dtype: Any, isa: str) -> None:
    x, g = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=3)
    w, b = draw(shape[1], dtype=dtype, seed=1), draw(shape[1], dtype=dtype, seed=2)
    with isa_limit(isa):
        y, back = fc.group_norm(x, groups, w, b, 0.1), fc.group_norm_backward(g, x, groups, w, 0.1)
        plain = fc.group_norm(x, groups, eps=0.1)
    close(y, reference.group_norm(x, groups, w, b, 0.1), dtype)
    close(plain, reference.group_norm(x, groups, eps=0.1), dtype)
    close(back, reference.group_norm_backward(g, x, groups, w, 0.1), dtype, x.size // shape[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 16), (2, 1, 33), (2, 3, 2, 3, 4), (1, 1, 1100, 1000)], ids=str)
def test_instance_norm_agrees_with_the_reference(shape: tuple[int, ...], dtype: Any, isa: str) -> None:
    x, g = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=3)
    w, b = draw(shape[1], dtype=dtype, seed=1), draw(shape[1], dtype=dtype, seed=2)
    running = draw(shape[1], seed=4), abs(draw(shape[1], seed=5))
    with isa_limit(isa):
        y, mean, var = fc.instance_norm(x, weight=w, bias=b)
        back = fc.instance_norm_backward(g, x, weight=w)
        fixed = fc.instance_norm(x, *running, w, b, False)
        fixed_back = fc.instance_norm_backward(g, x, *running, w, False)
    close(y, reference.instance_norm(x, weight=w, bias=b)[0], dtype)
    for got, want in zip((mean, var), reference.instance_norm(x)[1:], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == np.float32 else 1e-12, strict=True)
    close(back, reference.instance_norm_backward(g, x, weight=w), dtype, x.size // shape[1])
    close(fixed[0], reference.instance_norm(x, *running, w, b, False)[0], dtype)
    close(fixed_back, reference.instance_norm_backward(g, x, *running, w, False), dtype, x.size // shape[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "last"),
    [
        *(((5, width), 1) for width in WIDTHS[1:]), ((3, 4, 5), 2), ((2, 3, 4), 3), ((2, 70_001), 1), ((300, 6), 1),
        ((131, 1040), 1), ((7,), 1),
    ],
)  # fmt: skip
def test_layer_norm_agrees_with_the_reference(shape: tuple[int, ...], last: int, dtype: Any, isa: str) -> None:
    x, g, inner = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=3), shape[-last:]
    w, b = draw(*inner, dtype=dtype, seed=1), draw(*inner, dtype=dtype, seed=2)
    with isa_limit(isa):
        y, back = fc.layer_norm(x, inner, w, b, 0.1), fc.layer_norm_backward(g, x, inner, w, 0.1)
        plain = fc.layer_norm_backward(g, x, inner, eps=0.1)
    close(y, reference.layer_norm(x, inner, w, b, 0.1), dtype)
    close(back, reference.layer_norm_backward(g, x, inner, w, 0.1), dtype, x.size)
    close(plain, reference.layer_norm_backward(g, x, inner, eps=0.1), dtype, x.size)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta", [0.25, 0.5, 0.75, 1.0, 0.6, 2.0, 0.0, -1.0])
@pytest.mark.parametrize(
    ("shape", "size"), [((2, 7, 5, 5), 5), ((2, 7, 33), 4), ((1, 300, 17), 3), ((3, 4, 1), 9), ((2, 3, 300), 1)]
)
def test_local_response_norm_agrees_with_the_reference(
    shape: tuple[int, ...], size: int, beta: float, dtype: Any, isa: str
) -> None:
    x, g = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=3)
    options = (size, 0.3, beta, 1.5)
    with isa_limit(isa):
        y, back = fc.local_response_norm(x, *options), fc.local_response_norm_backward(g, x, *options)
    close(y, reference.local_response_norm(x, *options), dtype)
    close(back, reference.local_response_norm_backward(g, x, *options), dtype)


# ------------------------------------------------------------------------------------------------------- whole numbers


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(4, 5, 64), (64, 21), (32, 3, 4), (2, 3, 32, 128), (128, 2, 3, 8), (1, 1, 2**21)], ids=str
)
def test_equals_the_reference_to_the_last_bit(shape: tuple[int, ...], dtype: Any, isa: str) -> None:
    """Half of each channel lies 1 above its mean and half 1 below: xhat is 1 or -1, and nothing rounds."""
    rng, c = np.random.default_rng(0), shape[1]
    terms = np.prod(shape) // c
    signs = rng.permuted(np.tile(np.repeat([-1, 1], 32), (c * terms // 64, 1)), axis=1).reshape(c, terms)
    middle = rng.integers(-9, 10, c)
    x, xhat = (
        np.moveaxis(a.reshape(c, shape[0], *shape[2:]), 0, 1).astype(dtype) for a in (signs + middle[:, None], signs)
    )
    g = rng.integers(-4, 5, shape).astype(dtype) if terms & (terms - 1) == 0 else xhat  # means of it have to be exact
    w, b = rng.integers(1, 4, c).astype(dtype), rng.integers(-5, 6, c).astype(dtype)
    with isa_limit(isa):
        y, mean, var = fc.batch_norm(x, weight=w, bias=b, training=True, eps=0.0)
        back = fc.batch_norm_backward(g, x, mean, var, w, True, eps=0.0)
        fixed = fc.batch_norm_backward(g, x, mean, var, w, eps=0.0)
    np.testing.assert_array_equal(mean, middle)
    np.testing.assert_array_equal(var, np.ones(c))
    np.testing.assert_array_equal(y, reference.batch_norm(x, weight=w, bias=b, training=True, eps=0.0)[0], strict=True)
    for own, got in ((True, back), (False, fixed)):
        want = reference.batch_norm_backward(g, x, mean, var, w, own, eps=0.0)
        for a, r in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, r, strict=True)
    rest = (0, *range(2, x.ndim))
    np.testing.assert_array_equal(fixed[0], g * np.expand_dims(w, rest))
    np.testing.assert_array_equal(back[2], g.astype(np.int64).sum(axis=rest))
    np.testing.assert_array_equal(back[1], (g * xhat).astype(np.int64).sum(axis=rest))
    assert np.count_nonzero(back[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_sets_equal_the_reference_to_the_last_bit(dtype: Any, isa: str) -> None:
    """More sets than a task takes, as above: whole numbers, whose means are whole and whose deviations are 1."""
    rng = np.random.default_rng(0)
    signs = rng.permuted(np.tile(np.repeat([-1, 1], 32), (300, 1)), axis=1)
    x = (signs + rng.integers(-9, 10, (300, 1))).astype(dtype).reshape(2, 150, 64)
    g = rng.integers(-4, 5, x.shape).astype(dtype)
    w, b = rng.integers(1, 4, 150).astype(dtype), rng.integers(-5, 6, 150).astype(dtype)
    wide = x.reshape(2, 600, 16), g.reshape(2, 600, 16), w.repeat(4), b.repeat(4)
    last = rng.integers(1, 4, 64).astype(dtype)
    with isa_limit(isa):
        found = [
            *fc.instance_norm(x, weight=w, bias=b, eps=0.0), *fc.instance_norm_backward(g, x, weight=w, eps=0.0),
            fc.group_norm(wide[0], 150, *wide[2:], 0.0), *fc.group_norm_backward(*wide[1::-1], 150, wide[2], 0.0),
            fc.layer_norm(x, 64, last, last, 0.0), *fc.layer_norm_backward(g, x, 64, last, 0.0),
        ]  # fmt: skip
    expected = [
        *reference.instance_norm(x, weight=w, bias=b, eps=0.0),
        *reference.instance_norm_backward(g, x, weight=w, eps=0.0),
        reference.group_norm(wide[0], 150, *wide[2:], 0.0),
        *reference.group_norm_backward(*wide[1::-1], 150, wide[2], 0.0),
        reference.layer_norm(x, 64, last, last, 0.0), *reference.layer_norm_backward(g, x, 64, last, 0.0),
    ]  # fmt: skip
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [1e4, np.inf, np.nan])
@pytest.mark.parametrize("way", ["sets", "rows", "columns"])
def test_a_set_that_is_read_again_leaves_its_neighbours_alone(way: str, bad: float, isa: str) -> None:
    """Where the guess, of the first elements, misses the mean by some deviations, or there is none."""
    x, g = draw(150, 700, dtype=np.float32), draw(150, 700, dtype=np.float32, seed=1)
    changed = x.copy()
    changed[103, : 4 if way == "columns" else 64] = bad

    def gradient(library: Any, x: Array) -> Array:
        if way == "columns":
            _, mean, var = library.batch_norm(x.T.copy(), training=True)
            return np.asarray(library.batch_norm_backward(g.T.copy(), x.T.copy(), mean, var, training=True)[0].T)
        if way == "rows":
            return np.asarray(library.layer_norm_backward(g, x, 700)[0])
        return np.asarray(library.instance_norm_backward(g[None], x[None])[0][0])

    with isa_limit(isa), np.errstate(all="raise"):
        found, clean = gradient(fc, changed), gradient(fc, x)
    others = np.arange(150) != 103
    np.testing.assert_array_equal(found[others], clean[others])
    if np.isfinite(bad):
        want = gradient(reference, changed)[103]
        np.testing.assert_allclose(found[103], want, rtol=0, atol=1e-5 * abs(want).max())
    else:
        assert np.isnan(found[103]).all()


# ------------------------------------------------------------------------------------------------------------ accuracy


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(8, 3, 40, 40), (3000, 3), (900, 3, 3)], ids=str)
@pytest.mark.parametrize("offset", [1e4, -3e5])
def test_far_from_zero(offset: float, shape: tuple[int, ...], isa: str) -> None:
    """float32 at 1e4 +- 1 has steps of 1e-3: the mean must be better than that, and the variance keep its digits."""
    x = (offset + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    g = draw(*shape, dtype=np.float32, seed=1)
    with isa_limit(isa):
        y, mean, var = fc.batch_norm(x, training=True)
        back = fc.batch_norm_backward(g, x, mean, var, training=True)
        row = fc.layer_norm(x, x.shape[1:]), fc.layer_norm_backward(g, x, x.shape[1:])
    want, want_mean, want_var = reference.batch_norm(x, training=True)
    np.testing.assert_allclose(mean, want_mean, rtol=1e-9)
    np.testing.assert_allclose(var, want_var, rtol=2e-5)
    np.testing.assert_allclose(y, want, rtol=0, atol=2e-5)
    close(back, reference.batch_norm_backward(g, x, want_mean, want_var, training=True), np.float32, 4 * x.size)
    np.testing.assert_allclose(row[0], reference.layer_norm(x, x.shape[1:]), rtol=0, atol=1e-4)
    assert abs(row[0].astype(float).reshape(len(x), -1).mean(axis=1)).max() < 1e-6
    for got, right in zip(row[1], reference.layer_norm_backward(g, x, x.shape[1:]), strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-4 * max(1, abs(right).max()))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(2, 2, 600), (600, 2)], ids=str)
def test_an_outlier_first_and_sums_that_overflow(shape: tuple[int, ...], isa: str) -> None:
    x = draw(*shape, dtype=np.float32)
    x[0, 0, ...] = 1e6 * np.sign(x[0, 0, ...])
    huge = np.where(x > 1, np.float32(3e38), np.float32(-2e38))
    with isa_limit(isa):
        for data in (x, huge):
            _, mean, var = fc.batch_norm(data, training=True)
            _, want_mean, want_var = reference.batch_norm(data, training=True)
            np.testing.assert_allclose(mean, want_mean, rtol=1e-6, atol=1e-6 * np.sqrt(want_var).min())
            np.testing.assert_allclose(var, want_var, rtol=2e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(2, 3, 40), (40, 3)], ids=str)
def test_nan_and_infinity_spread_over_their_channel_alone(shape: tuple[int, ...], bad: float, isa: str) -> None:
    x, g = draw(*shape, dtype=np.float32), draw(*shape, dtype=np.float32, seed=1)
    clean = fc.batch_norm(x, training=True)[0]
    x[-1, 1, ...] = bad
    with isa_limit(isa), np.errstate(all="raise"):
        y, mean, var = fc.batch_norm(x, training=True)
        gx, gw, gb = fc.batch_norm_backward(g, x, mean, var, training=True)
        rows = fc.group_norm(x, 3) if x.ndim > 2 else fc.layer_norm(x, 3)
        response = fc.local_response_norm(x, 1)
    for a in (y, gx):
        assert np.isnan(a[:, 1]).all()
        assert np.isfinite(a[:, ::2]).all()
    assert np.isnan(gw[1])
    assert np.isfinite(gw[::2]).all()
    assert np.isfinite(gb).all()
    assert np.isnan(rows[-1, 1]).all()
    assert np.isfinite(rows[:-1]).all()
    assert np.isnan(response[-1, 1]).all()  # of an infinity too: inf / inf, as torch
    assert np.isfinite(response[:-1]).all()
    if np.isinf(bad):
        assert mean[1] == bad
    np.testing.assert_allclose(y[:, ::2], clean[:, ::2], atol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (3, 2, 1600), (300, 3)], ids=str)
def test_the_mean_of_a_channel_with_an_infinity_is_infinite(shape: tuple[int, ...], isa: str) -> None:
    """Wherever it stands: in the first image, whose moments the others' are merged into, too."""
    for place in (0, shape[0] // 2, shape[0] - 1):
        x = draw(*shape, dtype=np.float32)
        x[place, 0] = np.inf
        x[place, 1] = -np.inf
        with isa_limit(isa):
            mean = fc.batch_norm(x, training=True)[1]
            assert list(mean[:2]) == [np.inf, -np.inf]
            x[0, 0], x[-1, 0] = np.inf, -np.inf
            assert np.isnan(fc.batch_norm(x, training=True)[1][0])


@pytest.mark.parametrize("isa", ISAS)
def test_bits_do_not_depend_on_where_a_large_result_lies(isa: str) -> None:
    """Stored past the caches, vectors begin where the result's address is a multiple of theirs."""
    x, g = draw(5, 900_000, dtype=np.float32), draw(5, 900_000, dtype=np.float32, seed=1)
    w, b = draw(900_000, dtype=np.float32, seed=2), draw(900_000, dtype=np.float32, seed=3)
    sets = Sets(5, 1, 1, 1, 900_000)
    with isa_limit(isa):
        forward = RowNorm.of(x, sets, 1e-5).plan
        backward = RowNormGrad.of(x, sets, (900_000,), 1e-5, (True, False, False)).plan
        for found, operands in (
            (forward, (x, w, b)),
            (forward, (x, w, None)),
            (backward, (g, x, w)),
            (backward, (g, x, None)),
        ):
            seen = set()
            for offset in (0, 1, 6):
                y = np.empty(x.size + 8, np.float32)[offset : x.size + offset].reshape(x.shape)
                found.run(*operands, y, 2)
                seen.add(y.tobytes())
            assert len(seen) == 1


@pytest.mark.parametrize("isa", ISAS)
def test_bits_do_not_depend_on_where_rows_lie_that_are_summed(isa: str) -> None:
    """Such rows go past the caches where all of them begin at a multiple of a vector's bytes."""
    x, g, w = (draw(*shape, dtype=np.float32, seed=k) for k, shape in enumerate([(1400, 1024), (1400, 1024), (1024,)]))
    room = np.empty(x.size + 17, np.float32)
    aligned = -room.ctypes.data // 4 % 16
    with isa_limit(isa):
        found = RowNormGrad.of(x, Sets(1400, 1, 1, 1, 1024), (1024,), 1e-5, (True, True, True)).plan
        for weight in (w, None):
            seen = set()
            for offset in (aligned, aligned + 1):
                y, sums = room[offset : x.size + offset].reshape(x.shape), np.empty((2, 1024), np.float32)
                found.run(g, x, weight, y, 2, extra=sums)
                seen.add(y.tobytes() + sums.tobytes())
            assert len(seen) == 1


def test_which_gradients_are_asked_for_warns_of_nothing() -> None:
    """Sums that no one asked for are not made: their room is as memory was."""
    x = draw(6, 4, 2, 2, dtype=np.float32)
    full = fc.group_norm_backward(x, x, 2)
    for needs in [(True, False, False), (False, False, True), (False, False, False)]:
        for _ in range(3):
            junk = [np.full((2, 4, 4), np.nan, np.float32) for _ in range(8)]  # what memory holds that is given back
            del junk
            with np.errstate(all="raise"):
                found = fc.group_norm_backward(x, x, 2, needs=needs)
            for a, b, need in zip(found, full, needs, strict=True):
                assert (a is None) if not need else np.array_equal(a, b)


# ----------------------------------------------------------------------------------------------------------- gradients

CASES: dict[str, tuple[Any, Any, tuple[int, ...], tuple[int, ...] | None]] = {
    "batch": (
        lambda x, w, b: fc.batch_norm(x, weight=w, bias=b, training=True)[0],
        lambda g, x, w: fc.batch_norm_backward(g, x, *fc.batch_norm(x, training=True)[1:], w, True),
        (3, 4, 5), (4,),
    ),
    "batch, columns": (
        lambda x, w, b: fc.batch_norm(x, weight=w, bias=b, training=True)[0],
        lambda g, x, w: fc.batch_norm_backward(g, x, *fc.batch_norm(x, training=True)[1:], w, True),
        (6, 5), (5,),
    ),
    "instance": (
        lambda x, w, b: fc.instance_norm(x, weight=w, bias=b)[0],
        lambda g, x, w: fc.instance_norm_backward(g, x, weight=w), (2, 3, 20), (3,),
    ),
    "group": (
        lambda x, w, b: fc.group_norm(x, 2, w, b), lambda g, x, w: fc.group_norm_backward(g, x, 2, w), (2, 4, 17), (4,),
    ),
    "group, rows": (
        lambda x, w, b: fc.group_norm(x, 2, w, b), lambda g, x, w: fc.group_norm_backward(g, x, 2, w), (3, 4, 3), (4,),
    ),
    "layer": (
        lambda x, w, b: fc.layer_norm(x, (3, 4), w, b), lambda g, x, w: fc.layer_norm_backward(g, x, (3, 4), w),
        (4, 3, 4), (3, 4),
    ),
    "response": (
        lambda x, w, b: fc.local_response_norm(x, 3, 0.5),
        lambda g, x, w: fc.local_response_norm_backward(g, x, 3, 0.5), (2, 5, 4), None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients_by_differences(name: str) -> None:
    forward, backward, shape, inner = CASES[name]
    x, g = draw(*shape), draw(*shape, seed=1)
    w, b = (draw(*inner, seed=2), draw(*inner, seed=3)) if inner else (None, None)
    found = backward(g, x, w)
    for a, grad in zip((x, w, b), found if isinstance(found, tuple) else (found,), strict=False):
        for place in np.ndindex(a.shape):
            kept, step = a[place], 1e-5
            a[place] = kept + step
            above = (g * forward(x, w, b)).sum()
            a[place] = kept - step
            slope = (above - (g * forward(x, w, b)).sum()) / (2 * step)
            a[place] = kept
            assert grad[place] == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_only_what_is_needed() -> None:
    x, g, w = draw(3, 4, 20), draw(3, 4, 20, seed=1), draw(4, seed=2)
    _, mean, var = fc.batch_norm(x, training=True)
    calls: list[Any] = [
        *(lambda n, own=own: fc.batch_norm_backward(g, x, mean, var, w, own, needs=n) for own in (True, False)),
        lambda n: fc.group_norm_backward(g, x, 2, w, needs=n),
        lambda n: fc.instance_norm_backward(g, x, weight=w, needs=n),
        lambda n: fc.layer_norm_backward(g, x, 20, needs=n),
    ]
    for call in calls:
        every = call((True, True, True))
        for needs in np.ndindex(2, 2, 2):
            wanted = tuple(map(bool, needs))
            for got, want, need in zip(call(wanted), every, wanted, strict=True):
                if need:
                    np.testing.assert_array_equal(got, want, strict=True)
                else:
                    assert got is None


# -------------------------------------------------------------------------------------- threads, layouts, dtypes, empty


def every(x: Array, g: Array) -> list[Array]:
    """All operators on (N, C, L)."""
    w, b = draw(x.shape[1], dtype=x.dtype, seed=1), draw(x.shape[1], dtype=x.dtype, seed=2)
    last = draw(x.shape[2], dtype=x.dtype, seed=5)
    _, mean, var = fc.batch_norm(x, training=True)
    found = [
        fc.batch_norm(x, weight=w, bias=b, training=True), fc.batch_norm(x, mean, var, w, b),
        fc.batch_norm_backward(g, x, mean, var, w, True), fc.batch_norm_backward(g, x, mean, var, w),
        fc.group_norm(x, 2, w, b), fc.group_norm_backward(g, x, 2, w), fc.instance_norm(x, weight=w, bias=b),
        fc.instance_norm_backward(g, x, weight=w), fc.layer_norm(x, x.shape[2], last, last),
        fc.layer_norm_backward(g, x, x.shape[2], last), fc.local_response_norm(x, 3, 0.5),
        fc.local_response_norm_backward(g, x, 3, 0.5),
    ]  # fmt: skip
    return [a for one in found for a in (one if isinstance(one, tuple) else (one,))]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("shape", "counts"), [((40, 6, 700), THREADS), ((1, 2, 1_050_003), (1, 3)), ((2000, 40, 3), THREADS)], ids=str
)
def test_the_same_bits_at_any_number_of_threads(shape: tuple[int, ...], counts: tuple[int, ...], isa: str) -> None:
    x, g = draw(*shape, dtype=np.float32), draw(*shape, dtype=np.float32, seed=1)
    found = set()
    plan.clear()
    for threads in counts:
        with isa_limit(isa), fc.threads(threads):
            found.add(b"".join(a.tobytes() for a in every(x, g)))
    assert len(found) == 1
    assert all(max(p.tasks) > 1 for p in plan.plans())


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_layouts(layout: str) -> None:
    x, g = draw(4, 6, 9, dtype=np.float32), draw(4, 6, 9, dtype=np.float32, seed=1)
    kept = x.copy()
    laid = LAYOUTS[layout](x), LAYOUTS[layout](g)
    for got, want in zip(every(*laid), every(x, g), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)
        assert got.flags.c_contiguous
        assert not any(np.may_share_memory(got, a) for a in laid)
    np.testing.assert_array_equal(laid[0], kept)


def test_channel_axis() -> None:
    x, g = draw(2, 3, 6, 5), draw(2, 3, 6, 5, seed=1)
    rest = {"channel_axis": -3}
    assert np.array_equal(fc.batch_norm(x[0], training=True, **rest)[0], fc.batch_norm(x[:1], training=True)[0][0])
    np.testing.assert_array_equal(fc.group_norm(x[0], 3, **rest), fc.group_norm(x[:1], 3)[0])
    np.testing.assert_array_equal(fc.instance_norm(x[0], **rest)[0], fc.instance_norm(x[:1])[0][0])
    np.testing.assert_array_equal(fc.local_response_norm(x[0], 3, **rest), fc.local_response_norm(x[:1], 3)[0])
    np.testing.assert_array_equal(fc.local_response_norm(x, 3, **rest), fc.local_response_norm(x, 3))
    back = fc.local_response_norm_backward(g[0], x[0], 3, **rest)
    np.testing.assert_array_equal(back, fc.local_response_norm_backward(g[:1], x[:1], 3)[0])
    swapped = fc.batch_norm(np.moveaxis(x, 1, -1), training=True, channel_axis=-1)[0]
    np.testing.assert_allclose(np.moveaxis(swapped, -1, 1), fc.batch_norm(x, training=True)[0], atol=1e-12)


def test_dtypes() -> None:
    half = draw(4, 6, 9).astype(np.float16)
    for got, want in zip(every(half, half), every(half.astype(np.float32), half.astype(np.float32)), strict=True):
        if got.dtype == np.float16:
            assert np.isfinite(got).all()
            np.testing.assert_allclose(got, want, rtol=2e-2, atol=2e-2)
    single = draw(4, 6, dtype=np.float32)
    y, mean, var = fc.batch_norm(single, np.zeros(6), np.ones(6))
    assert (y.dtype, mean.dtype, var.dtype) == (np.float32, np.float64, np.float64)
    assert fc.batch_norm(single, training=True, weight=np.ones(6))[0].dtype == np.float64
    assert fc.batch_norm_backward(single, single, mean, var)[0].dtype == np.float32
    assert fc.layer_norm([[1.0, 2.0]], 2).dtype == np.float64


@pytest.mark.parametrize("shape", [(0, 6, 9), (3, 6, 0), (0, 6)])
def test_empty(shape: tuple[int, ...]) -> None:
    x = np.empty(shape, np.float32)
    y, mean, var = fc.batch_norm(x, training=True)
    assert y.shape == shape
    assert np.isnan(mean).all()
    for grads in (
        fc.batch_norm_backward(x, x, mean, var, training=True), fc.group_norm_backward(x, x, 3),
        fc.instance_norm_backward(x, x),
    ):  # fmt: skip
        assert grads[0].shape == shape
        assert grads[1].tolist() == grads[2].tolist() == [0] * 6
    assert fc.group_norm(x, 2).shape == fc.local_response_norm(x, 3).shape == shape
    assert fc.local_response_norm_backward(x, x, 3).shape == shape
    if shape[0] == 0:
        assert fc.layer_norm(x, shape[1:]).shape == shape
        assert not any(g.any() for g in fc.layer_norm_backward(x, x, shape[1:])[1:])


def test_inputs_stay() -> None:
    arrays = [draw(4, 6, 9), draw(6, seed=1), abs(draw(6, seed=2)), draw(6, seed=3), draw(6, seed=4)]
    for a in arrays:
        a.flags.writeable = False
    kept = [a.copy() for a in arrays]
    fc.batch_norm(*arrays)
    fc.batch_norm(*arrays, True)
    fc.instance_norm(*arrays, False)
    for a, b in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(a, b)
