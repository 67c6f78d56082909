"""Tiled convolution between convolution and local connection: exact on whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import DTYPES, ISAS, LAYOUTS, THREADS, Array, Conv, assert_same, convs, dot, whole
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import plan, reference
from fastconv._config import isa_limit
from fastconv.functional import _local

# Uses from which kernels are packed, and multiply-adds from which each has a convolution.
WAYS = {"all kernels at once": (0, 2**62), "a convolution for each": (2**62, 0), "local": (2**62, 2**62)}


def choose(way: str) -> tuple[int, int, int, int]:
    """Ask for one of the ways to compute; return what was asked for before."""
    before = _local._SHARED_USES, _local._FEW_WEIGHTS, _local._SHARED_MACS, _local._SHARED_OUTPUTS
    _local._SHARED_USES, _local._SHARED_MACS = WAYS[way]
    _local._FEW_WEIGHTS = _local._SHARED_OUTPUTS = 0
    plan.clear()
    return before


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Compute small problems in one of the ways."""
    before = choose(request.param)
    yield request.param
    _local._SHARED_USES, _local._FEW_WEIGHTS, _local._SHARED_MACS, _local._SHARED_OUTPUTS = before
    plan.clear()


def data(
    conv: Conv, tile: tuple[int, int], dtype: Any = np.float32, seed: int = 0
) -> tuple[Array, Array, Array, Array]:
    """x, kernels, their biases, and a gradient of the result, of whole numbers."""
    rng = np.random.default_rng(seed)
    shapes = (conv.x_shape, tile + conv.w_shape, (conv.y_shape[1], *tile), conv.y_shape)
    x, w, b, gy = (whole(rng, *shape, dtype=dtype) for shape in shapes)
    return x, w, b, gy


def compute(conv: Conv, x: Array, w: Array, b: Array, gy: Array, of: Any = fc) -> tuple[Any, ...]:
    """The result and all gradients."""
    return of.tiled_conv2d(x, w, b, **conv.options), *of.tiled_conv2d_backward(gy, x, w, **conv.options)


CASES = [
    (Conv(2, 3, 5, (7, 9), (3, 3), padding=1), (2, 2)),
    (Conv(1, 16, 33, (8, 9), (3, 3), padding=1), (3, 2)),
    (Conv(2, 5, 18, (9, 12), (3, 2), stride=(2, 1), padding="same", dilation=(1, 2)), (2, 3)),
    (Conv(1, 4, 6, (11, 10), (2, 3), stride=3, padding=((0, 2), (3, 1)), groups=2), (2, 2)),
    (Conv(3, 1, 1, (9, 20), (3, 3), padding=1, groups=17), (1, 2)),
    (Conv(1, 2, 3, (5, 6), (5, 6), padding=2), (4, 1)),
    (Conv(1, 8, 8, (6, 6), (1, 1)), (5, 4)),
    (Conv(1, 2, 3, (4, 4), (3, 3), padding=4), (2, 5)),  # windows in the padding alone
    (Conv(1, 2, 3, (4, 4), (3, 3)), (3, 7)),  # more kernels than outputs
    (Conv(2, 1, 1, (26, 25), (2, 2), padding=((3, 2), (2, 1)), groups=4), (2, 2)),  # "depthwise", to every other column
    (Conv(2, 1, 1, (9, 8), (1, 2), stride=(1, 2), padding=((2, 0), (0, 3)), dilation=(2, 3), groups=2), (1, 1)),
    (Conv(2, 2, 4, (11, 13), (4, 3), stride=(3, 2), padding=((0, 4), (5, 1)), dilation=(2, 3)), (2, 3)),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("conv", "tile"), CASES, ids=str)
def test_equals_the_reference(conv: Conv, tile: tuple[int, int], dtype: Any, isa: str, way: str) -> None:
    operands = data(conv, tile, dtype)
    with isa_limit(isa):
        got = compute(conv, *operands)
    for a, b in zip(got, compute(conv, *operands, of=reference), strict=True):
        assert_same(a, b, share=0.15)


def test_all_ways_are_taken(way: str) -> None:
    conv, tile = CASES[0]
    compute(conv, *data(conv, tile))
    taken = {found.algorithm for found in plan.plans()}
    assert ("tiles" in taken) == (way == "all kernels at once")
    assert (taken <= {"tiles", "local"}) == (way != "a convolution for each")


def test_kernels_that_are_used_often_are_packed() -> None:
    x = np.ones((1, 32, 32, 32), np.float32)
    for tile, algorithm in ((2, "tiles"), (16, "local")):
        plan.clear()
        fc.tiled_conv2d(x, np.ones((tile, tile, 32, 32, 3, 3), np.float32), padding=1)
        assert [found.algorithm for found in plan.plans()] == [algorithm]


@settings(max_examples=90)
@given(convs(axes=(2,)), st.tuples(st.integers(1, 4), st.integers(1, 4)), st.sampled_from(list(WAYS)))
def test_any_problem_equals_the_reference(conv: Conv, tile: tuple[int, int], way: str) -> None:
    before = choose(way)
    try:
        operands = data(conv, tile)
        for a, b in zip(compute(conv, *operands), compute(conv, *operands, of=reference), strict=True):
            assert_same(a, b, share=0)
    finally:
        _local._SHARED_USES, _local._FEW_WEIGHTS, _local._SHARED_MACS, _local._SHARED_OUTPUTS = before
        plan.clear()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conv", [case for case, _ in CASES[:6]], ids=str)
def test_one_kernel_is_a_convolution_and_one_each_is_local(conv: Conv, dtype: Any, way: str) -> None:
    x, w, b, gy = data(conv, (1, 1), dtype)
    y, gx, gw, gb = compute(conv, x, w, b, gy)
    assert_same(y, fc.conv2d(x, w[0, 0], b[:, 0, 0], **conv.options, algorithm="direct"))
    want = fc.conv2d_backward(gy, x, w[0, 0], **conv.options, algorithm="direct")
    for a, c in zip((gx, gw[0, 0], gb[:, 0, 0]), want, strict=True):
        np.testing.assert_array_equal(a, c)
    height, width = conv.out
    x, w, b, gy = data(conv, (height, width), dtype)
    local = fc.locally_connected2d(x, w, b, **conv.options), *fc.locally_connected2d_backward(gy, x, w, **conv.options)
    for a, c in zip(compute(conv, x, w, b, gy), local, strict=True):
        np.testing.assert_array_equal(a, c)


def test_one_large_kernel_is_a_convolution_to_the_last_bit() -> None:
    """Also in the default precision, in which "auto" convolution would take Winograd's algorithm."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 32, 28, 28), np.float32), rng.standard_normal((1, 1, 32, 32, 3, 3), np.float32)
    with fc.precision("high"):
        y = fc.tiled_conv2d(x, w, padding=1)
    assert y.tobytes() == fc.conv2d(x, w[0, 0], padding=1, algorithm="direct").tobytes()


@pytest.mark.parametrize(("conv", "tile"), CASES, ids=str)
def test_gradients_are_adjoint(conv: Conv, tile: tuple[int, int], way: str) -> None:
    x, w, b, gy = data(conv, tile, np.float64)
    y, gx, gw, gb = compute(conv, x, w, np.zeros_like(b), gy)
    assert dot(y, gy) == dot(x, gx) == dot(w, gw)
    with_bias = fc.tiled_conv2d(x, w, b, **conv.options)
    assert dot(with_bias - y, gy) == dot(b, gb)


@pytest.mark.parametrize("threads", THREADS)
def test_any_number_of_threads_gives_the_same_bits(threads: int, way: str) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (
        rng.standard_normal((3, 16, 19, 20)),
        rng.standard_normal((3, 2, 16, 16, 3, 3)),
        rng.standard_normal((16, 3, 2)),
    )
    conv = Conv(3, 16, 16, (19, 20), (3, 3), padding=1)
    gy = rng.standard_normal(conv.y_shape)
    with fc.threads(1):
        one = compute(conv, x, w, b, gy)
    with fc.threads(threads):
        many = compute(conv, x, w, b, gy)
    for a, c in zip(one, many, strict=True):
        assert a.tobytes() == c.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout: str, way: str) -> None:
    conv, tile = CASES[2]
    operands = data(conv, tile)
    for a, b in zip(compute(conv, *map(LAYOUTS[layout], operands)), compute(conv, *operands), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_sample_half_precision_out_and_needs(way: str) -> None:
    conv, tile = CASES[0]
    x, w, b, gy = data(conv, tile)
    y, *grads = compute(conv, x, w, b, gy)
    assert_same(fc.tiled_conv2d(x[1], w, b, **conv.options), y[1])
    one = fc.tiled_conv2d_backward(gy[1], x[1], w, **conv.options)
    assert_same(one[0], grads[0][1])
    half = [a.astype(np.float16) for a in (x, w, b)]
    assert_same(fc.tiled_conv2d(*half, **conv.options), y.astype(np.float16))
    out = np.full_like(y, np.nan)
    assert fc.tiled_conv2d(x, w, b, **conv.options, out=out) is out
    assert_same(out, y)
    assert_same(fc.tiled_conv2d_backward(gy, x, w, **conv.options, needs=(False, True, False))[1], grads[1])
    empty = fc.tiled_conv2d(x[:0], w, b, **conv.options)
    assert empty.shape == (0, *y.shape[1:])
    gx, gw, gb = fc.tiled_conv2d_backward(gy[:0], x[:0], w, **conv.options)
    assert gx.shape == (0, *x.shape[1:])
    assert not gw.any()
    assert not gb.any()
    assert gb.shape == b.shape
