"""Pooling against scalar loops, exact on whole numbers; adjoints and numeric gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastconv import reference

Array = NDArray[Any]
Whole = Callable[..., Array]

# size, kernel, stride, lo, hi, dilation (mean pools take none), ceil_mode, padding as it is passed
CASES: list[tuple[Any, ...]] = [
    ((6,), (2,), None, (0,), (0,), (1,), False, 0),
    ((7,), (2,), None, (0,), (0,), (1,), True, 0),
    ((7,), (3,), (2,), (1,), (1,), (1,), True, 1),
    ((8,), (3,), (4,), (0,), (2,), (1,), True, ((0, 2),)),
    ((5,), (3,), (3,), (2,), (0,), (1,), True, ((2, 0),)),
    ((3,), (3,), (2,), (0,), (0,), (1,), True, 0),
    ((9,), (3,), (2,), (2,), (2,), (2,), False, 2),
    ((10,), (2,), (3,), (0,), (0,), (3,), True, 0),
    ((4, 6), (2, 3), None, (0, 0), (0, 0), (1, 1), False, 0),
    ((5, 5), (3, 2), (2, 1), (1, 1), (1, 1), (1, 1), False, (1, 1)),
    ((5, 6), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), True, 1),
    ((5, 6), (2, 3), (2, 2), (0, 1), (1, 2), (1, 1), True, ((0, 1), (1, 2))),
    ((7, 6), (3, 2), (1, 2), (1, 0), (1, 0), (2, 3), True, (1, 0)),
    ((3, 4, 3), (2, 2, 2), (1, 2, 1), (1, 0, 1), (1, 0, 1), (1, 1, 1), False, (1, 0, 1)),
    ((4, 3, 5), (2, 3, 2), (2, 2, 2), (0, 1, 0), (0, 1, 0), (1, 1, 2), True, (0, 1, 0)),
]
IDS = [f"{len(c[0])}d-{c[0]}-k{c[1]}-s{c[2]}-p{c[7]}-d{c[5]}-{'ceil' if c[6] else 'floor'}" for c in CASES]


def starts(size: int, reach: int, stride: int, lo: int, hi: int, ceil_mode: bool) -> list[int]:
    """Place windows one by one from the left; in ceil_mode one more for what is left over, if it starts in reach."""
    places, start = [], -lo
    while start + reach <= size + hi:
        places.append(start)
        start += stride
    left_over = start + reach - stride < size + hi
    if ceil_mode and left_over and start < size:
        places.append(start)
    return places


def windows(case: tuple[Any, ...], dilated: bool) -> Any:
    """Yield (place of the window in the result, list of the places it reads, padding included)."""
    size, kernel, stride, lo, hi, dilation, ceil_mode, _ = case
    dilation = dilation if dilated else (1,) * len(size)
    stride = kernel if stride is None else stride
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    firsts = [starts(*axis, ceil_mode) for axis in zip(size, reach, stride, lo, hi, strict=True)]
    for t in product(*(range(len(f)) for f in firsts)):
        taps = product(*map(range, kernel))
        yield t, [tuple(f[i] + k * d for f, i, k, d in zip(firsts, t, tap, dilation, strict=True)) for tap in taps]


def within(place: tuple[int, ...], low: Any, high: Any) -> bool:
    return all(a <= p < b for p, a, b in zip(place, low, high, strict=True))


def function(name: str, n: int) -> Any:
    return getattr(reference, name.replace("_nd", f"{n}d"))


def max_by_loops(x: Array, case: tuple[Any, ...]) -> tuple[Array, Array]:
    found = list(windows(case, dilated=True))
    out = tuple(np.max([t for t, _ in found], axis=0) + 1)
    y, index = np.zeros((*x.shape[:2], *out)), np.zeros((*x.shape[:2], *out), int)
    for lead in product(*map(range, x.shape[:2])):
        for t, places in found:
            inside = [p for p in places if within(p, (0,) * len(p), case[0])]
            values = [float(x[lead + p]) for p in inside]
            nans = [i for i, v in enumerate(values) if v != v]
            chosen = nans[-1] if nans else values.index(max(values))
            y[lead + t], index[lead + t] = values[chosen], np.ravel_multi_index(inside[chosen], case[0])
    return y, index


@pytest.mark.parametrize("special", ["whole", "nan", "-inf", "ties"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_max_pool_equals_scalar_loops(case: tuple[Any, ...], special: str, whole: Whole) -> None:
    size, kernel, stride, _, _, dilation, ceil_mode, padding = case
    x = whole(2, 3, *size)
    if special == "nan":
        x[x > 3] = np.nan
        x[0, 0] = np.nan
    elif special == "-inf":
        x[0] = -np.inf
        x[1][x[1] < 5] = -np.inf
    elif special == "ties":
        x = np.sign(x)
    y, index = max_by_loops(x, case)
    forward, backward = function("max_pool_nd", len(size)), function("max_pool_nd_backward", len(size))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    got, got_index = forward(x, kernel, **options, return_indices=True)
    np.testing.assert_array_equal(got, y)
    np.testing.assert_array_equal(got_index, index)
    assert got_index.dtype == np.int64
    np.testing.assert_array_equal(forward(x, kernel, **options), y)
    alone, alone_index = forward(x[1], kernel, **options, return_indices=True)
    np.testing.assert_array_equal(alone, y[1])
    np.testing.assert_array_equal(alone_index, index[1])

    gy = whole(*y.shape)
    gx = np.zeros((*x.shape[:2], prod(size)))
    for place in np.ndindex(*y.shape):
        gx[(*place[:2], index[place])] += gy[place]
    np.testing.assert_array_equal(backward(gy, index, x.shape), gx.reshape(x.shape))
    np.testing.assert_array_equal(backward(gy[0], index[0], x.shape[1:]), gx.reshape(x.shape)[0])


@pytest.mark.parametrize("override", [None, 3, -2])
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_avg_pool_equals_scalar_loops(case: tuple[Any, ...], include: bool, override: int | None, whole: Whole) -> None:
    size, kernel, stride, lo, hi, _, ceil_mode, padding = case
    n = len(size)
    found = list(windows(case, dilated=False))
    out = tuple(np.max([t for t, _ in found], axis=0) + 1)
    x, gy = whole(2, 3, *size), 5040 * whole(2, 3, *out)
    y, gx = np.zeros(gy.shape), np.zeros(x.shape)
    for lead in product(range(2), range(3)):
        for t, places in found:
            inside = [p for p in places if within(p, (0,) * n, size)]
            padded = [p for p in places if within(p, [-v for v in lo], [s + v for s, v in zip(size, hi, strict=True)])]
            divisor = override if override is not None else len(padded) if include else len(inside)
            y[lead + t] = sum(float(x[lead + p]) for p in inside) / divisor
            for p in inside:
                gx[lead + p] += gy[lead + t] / divisor
    forward, backward = function("avg_pool_nd", n), function("avg_pool_nd_backward", n)
    options = {
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": include,
        "divisor_override": override,
    }
    np.testing.assert_array_equal(forward(x, kernel, **options), y)
    np.testing.assert_array_equal(forward(x[1], kernel, **options), y[1])
    np.testing.assert_array_equal(backward(gy, x.shape, kernel, **options), gx)
    np.testing.assert_array_equal(backward(gy[1], x.shape[1:], kernel, **options), gx[1])


ADAPTIVE = [
    ((5,), (2,)),
    ((5,), (5,)),
    ((3,), (7,)),
    ((6,), (1,)),
    ((4, 7), (3, 2)),
    ((5, 2), (1, 4)),
    ((3, 5, 4), (2, 3, 4)),
]


@pytest.mark.parametrize(("size", "out"), ADAPTIVE)
def test_adaptive_pools_equal_scalar_loops(size: Any, out: Any, whole: Whole) -> None:
    n = len(size)
    x, gy = whole(2, 3, *size), 5040 * whole(2, 3, *out)
    mean, most, index, g_mean = np.zeros(gy.shape), np.zeros(gy.shape), np.zeros(gy.shape, int), np.zeros(x.shape)
    for lead in product(range(2), range(3)):
        for t in product(*map(range, out)):
            # output t sees every input of which some part lies between t/T and (t+1)/T of the axis
            places = [
                p
                for p in product(*map(range, size))
                if all((i + 1) * o > u * s and i * o < (u + 1) * s for i, o, u, s in zip(p, out, t, size, strict=True))
            ]
            values = [float(x[lead + p]) for p in places]
            mean[lead + t] = sum(values) / len(values)
            most[lead + t] = max(values)
            index[lead + t] = np.ravel_multi_index(places[values.index(max(values))], size)
            for p in places:
                g_mean[lead + p] += gy[lead + t] / len(values)
    np.testing.assert_array_equal(function("adaptive_avg_pool_nd", n)(x, out), mean)
    np.testing.assert_array_equal(function("adaptive_avg_pool_nd", n)(x[0], out), mean[0])
    np.testing.assert_array_equal(function("adaptive_avg_pool_nd_backward", n)(gy, x.shape), g_mean)
    np.testing.assert_array_equal(function("adaptive_avg_pool_nd_backward", n)(gy[0], x.shape[1:]), g_mean[0])

    y, got_index = function("adaptive_max_pool_nd", n)(x, out, return_indices=True)
    np.testing.assert_array_equal(y, most)
    np.testing.assert_array_equal(got_index, index)
    np.testing.assert_array_equal(function("adaptive_max_pool_nd", n)(x[1], out), most[1])
    gx = function("adaptive_max_pool_nd_backward", n)(gy, index, x.shape)
    assert np.sum(gx * x) == np.sum(gy * most)
    np.testing.assert_array_equal(gx.reshape(2, 3, -1).sum(-1), gy.reshape(2, 3, -1).sum(-1))


def test_adaptive_size_none_keeps_an_axis_and_one_is_global(whole: Whole) -> None:
    x = whole(2, 3, 4, 5)
    np.testing.assert_array_equal(reference.adaptive_avg_pool2d(x, (None, None)), x)
    assert reference.adaptive_avg_pool2d(x, (None, 1)).shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(reference.adaptive_avg_pool2d(x, 1)[..., 0, 0], x.sum(axis=(2, 3)) / 20)
    np.testing.assert_array_equal(reference.adaptive_max_pool2d(x, 1), x.max(axis=(2, 3), keepdims=True))


def test_adaptive_max_pool_takes_the_last_nan_and_the_first_of_equals() -> None:
    x = np.array([[[np.nan, 1.0, np.nan, 2.0], [3.0, 3.0, -np.inf, -np.inf]]])
    y, index = reference.adaptive_max_pool1d(x, 2, return_indices=True)
    np.testing.assert_array_equal(y, [[[np.nan, np.nan], [3, -np.inf]]])
    np.testing.assert_array_equal(index, [[[0, 2], [0, 2]]])
    _, index = reference.adaptive_max_pool1d(x, 1, return_indices=True)
    np.testing.assert_array_equal(index, [[[2], [0]]])


@pytest.mark.parametrize(
    ("n", "size", "kernel", "stride", "padding", "wanted"),
    [
        (1, (6,), 2, None, 0, None),
        (1, (7,), 2, None, 0, (7,)),
        (1, (7,), 3, 2, 1, (7,)),
        (2, (5, 6), 2, 2, 0, (5, 6)),
        (2, (6, 5), (3, 2), (3, 2), 0, (2, 3, 6, 5)),
        (2, (4, 6), 2, None, ((0, 0), (1, 1)), (4, 6)),
        (3, (4, 2, 4), 2, 2, 0, None),
    ],
)
def test_unpooling_restores_the_maxima(
    n: int, size: Any, kernel: Any, stride: Any, padding: Any, wanted: Any, whole: Whole
) -> None:
    x = whole(2, 3, *size) + 20
    y, index = function("max_pool_nd", n)(x, kernel, stride, padding, return_indices=True)
    restored = function("max_unpool_nd", n)(y, index, kernel, stride, padding, wanted)
    expected = np.zeros((6, prod(size)))
    for plane, row in enumerate(index.reshape(6, -1)):
        expected[plane, row] = x.reshape(6, -1)[plane, row]
    np.testing.assert_array_equal(restored, expected.reshape(x.shape))
    alone = function("max_unpool_nd", n)(y[0], index[0], kernel, stride, padding, wanted[-n:] if wanted else None)
    np.testing.assert_array_equal(alone, restored[0])

    gy = whole(*x.shape)
    gx = function("max_unpool_nd_backward", n)(gy, index)
    assert gx.shape == y.shape
    for place in np.ndindex(*y.shape):
        assert gx[place] == gy.reshape(2, 3, -1)[(*place[:2], index[place])]
    if len(np.unique(index[0, 0])) == index[0, 0].size:
        assert np.sum(restored[0, 0] * gy[0, 0]) == np.sum(y[0, 0] * gx[0, 0])


def test_unpooling_keeps_the_last_of_several_values() -> None:
    y = reference.max_unpool1d(np.array([[5.0, 6.0]]), np.array([[1, 1]]), 2)
    np.testing.assert_array_equal(y, [[0, 6, 0, 0]])


@pytest.mark.parametrize("p", [1, 2, 3, 2.5, 0.5])
@pytest.mark.parametrize("case", [c for c in CASES if c[7] == 0 and set(c[5]) == {1}])
def test_lp_pool_equals_scalar_loops(
    case: tuple[Any, ...], p: float, whole: Whole, numeric_gradient: Callable[..., Array]
) -> None:
    size, kernel, stride, _, _, _, ceil_mode, _ = case
    n = len(size)
    x = np.abs(whole(1, 2, *size)) + 1
    found = list(windows(case, dilated=False))
    out = tuple(np.max([t for t, _ in found], axis=0) + 1)
    y = np.zeros((1, 2, *out))
    for c in range(2):
        for t, places in found:
            powers = [float(x[(0, c, *q)]) ** p for q in places if within(q, (0,) * n, size)]
            y[(0, c, *t)] = (sum(powers) / len(powers) * prod(kernel)) ** (1 / p)
    forward, backward = function("lp_pool_nd", n), function("lp_pool_nd_backward", n)
    np.testing.assert_allclose(forward(x, p, kernel, stride, ceil_mode), y, rtol=1e-13)
    np.testing.assert_allclose(forward(x[0], p, kernel, stride, ceil_mode), y[0], rtol=1e-13)
    gy = whole(*y.shape)
    gx = backward(gy, x, p, kernel, stride, ceil_mode)
    numeric = numeric_gradient(lambda v: forward(v, p, kernel, stride, ceil_mode), x, gy)
    np.testing.assert_allclose(gx, numeric, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(backward(gy[0], x[0], p, kernel, stride, ceil_mode), gx[0])


def test_lp_pool_of_signs_and_zeros() -> None:
    x = np.array([[-3.0, 4.0, 0.0, 0.0, -1.0, -2.0]])
    np.testing.assert_array_equal(reference.lp_pool1d(x, 2, 2), [[5, 0, np.sqrt(5)]])
    np.testing.assert_array_equal(reference.lp_pool1d(x, 1, 2), [[1, 0, -3]])
    cubes = reference.lp_pool1d(x, 3, 2)
    np.testing.assert_allclose(cubes, [[37 ** (1 / 3), 0, np.nan]])
    gx = reference.lp_pool1d_backward(np.ones((1, 3)), x, 2, 2)
    np.testing.assert_allclose(gx, [[-0.6, 0.8, 0, 0, -1 / np.sqrt(5), -2 / np.sqrt(5)]])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_pool_gradient_is_the_slope(n: int, numeric_gradient: Callable[..., Array]) -> None:
    size = (1, 2, *(4,) * n)
    x = np.random.default_rng(n).permutation(prod(size)).reshape(size).astype(float)  # no two are equal
    for name, args in (("max_pool_nd", (3, 1, 1)), ("adaptive_max_pool_nd", (3,))):
        forward = function(name, n)
        y, index = forward(x, *args, return_indices=True)
        gy = np.arange(1.0, y.size + 1).reshape(y.shape)
        gx = function(f"{name}_backward", n)(gy, index, x.shape)
        numeric = numeric_gradient(lambda v, f=forward, a=args: f(v, *a), x, gy)
        np.testing.assert_allclose(gx, numeric, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation", "floor", "ceil"),
    [
        (7, 2, 2, 0, 1, 3, 4),
        (6, 2, 2, 0, 1, 3, 3),
        (5, 3, 2, 1, 1, 3, 3),
        (6, 3, 2, 1, 1, 3, 4),
        (2, 3, 2, 0, 1, None, None),  # larger than the image: not in ceil_mode either
        (2, 3, 2, 1, 1, 1, 2),
        (1, 3, 2, 0, 1, None, None),
        (1, 3, 1, 0, 1, None, None),
        (3, 2, 3, 1, 1, 2, 2),
        (4, 2, 3, 1, 1, 2, 2),  # the third window would start in the padding behind
        (9, 3, 2, 1, 2, 4, 4),
    ],
)
def test_output_sizes(size: int, kernel: int, stride: int, padding: int, dilation: int, floor: Any, ceil: Any) -> None:
    x = np.zeros((1, size))
    for ceil_mode, expected in ((False, floor), (True, ceil)):
        if expected is None:
            with pytest.raises(ValueError, match="window"):
                reference.max_pool1d(x, kernel, stride, padding, dilation, ceil_mode)
        else:
            y = reference.max_pool1d(x, kernel, stride, padding, dilation, ceil_mode)
            assert np.shape(y) == (1, expected)


def test_textbook_pooling(whole: Whole) -> None:
    """2x2 with stride 2 keeps a quarter of each map and the depth; its weights are 0.25 each, or 1 and 0."""
    x = whole(3, 8, 8)
    assert np.shape(reference.max_pool2d(x, 2)) == (3, 4, 4)  # of 8 x 8
    one = np.ones((1, 1, 1))
    np.testing.assert_array_equal(reference.avg_pool2d_backward(one, (1, 2, 2), 2), np.full((1, 2, 2), 0.25))
    _, index = reference.max_pool2d(np.array([[[1.0, 9.0], [3.0, 4.0]]]), 2, return_indices=True)
    np.testing.assert_array_equal(reference.max_pool2d_backward(one, index, (1, 2, 2)), [[[0, 1], [0, 0]]])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_empty_batch(n: int) -> None:
    x = np.zeros((0, 3, *(4,) * n))
    y, index = function("max_pool_nd", n)(x, 2, return_indices=True)
    assert y.shape == index.shape == (0, 3, *(2,) * n)
    assert function("max_pool_nd_backward", n)(y, index, x.shape).shape == x.shape
    assert function("max_unpool_nd", n)(y, index, 2).shape == x.shape
    assert function("max_unpool_nd_backward", n)(x, index).shape == y.shape
    assert function("avg_pool_nd", n)(x, 2).shape == y.shape
    assert function("avg_pool_nd_backward", n)(y, x.shape, 2).shape == x.shape
    assert function("lp_pool_nd", n)(x, 2, 2).shape == y.shape
    assert function("lp_pool_nd_backward", n)(y, x, 2, 2).shape == x.shape
    assert function("adaptive_avg_pool_nd", n)(x, 2).shape == y.shape
    assert function("adaptive_avg_pool_nd_backward", n)(y, x.shape).shape == x.shape
    y, index = function("adaptive_max_pool_nd", n)(x, 2, return_indices=True)
    assert y.shape == index.shape == (0, 3, *(2,) * n)
    assert function("adaptive_max_pool_nd_backward", n)(y, index, x.shape).shape == x.shape
