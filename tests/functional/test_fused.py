"""Convolution and the fully connected layer with an activation: the bits of the activation of the plain result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import CONVS, DTYPES, ISAS, LARGE_CONVS, Array, Conv, whole

import fastconv as fc
from fastconv._config import isa_limit

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")
ALGORITHMS = ("direct", "im2col", "col2im", "depthwise", "grouped", "winograd", "auto", "naive")


def activated(y: Array, activation: str) -> Array:
    if activation in ("sigmoid", "tanh"):
        result: Array = getattr(fc, activation)(y)
        return result
    slope = np.array({"relu": 0.0, "leaky_relu": 0.01}[activation], y.dtype)
    return np.where(y < 0, slope * y, y)


def assert_fused(call: Any, *arrays: Array, **options: Any) -> None:
    plain = call(*arrays, **options)
    stored = options.get("algorithm", "auto") not in ("auto", "naive")  # what goes over results knows no algorithm
    if plain.size > 20:
        assert (plain < 0).any()
        assert (plain > 0).any()
    for activation in ACTIVATIONS[:2] if stored else ACTIVATIONS:
        np.testing.assert_array_equal(call(*arrays, **options, activation=activation), activated(plain, activation))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("conv", [*CONVS[::2], *LARGE_CONVS[::2]], ids=str)
def test_every_algorithm(conv: Conv, isa: str) -> None:
    call = getattr(fc, f"conv{conv.n}d")
    for dtype in DTYPES:
        x, w, b, _ = conv.data(dtype)
        for algorithm in ALGORITHMS:
            with isa_limit(isa):
                try:
                    call(x, w, b, **conv.options, algorithm=algorithm)
                except ValueError as error:
                    if "takes only" in str(error):  # the algorithm does not do this problem
                        continue
                    raise
                assert_fused(call, x, w, b, **conv.options, algorithm=algorithm)
                assert_fused(call, x[0], w, **conv.options, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_only_the_last_part_of_a_long_sum_is_rectified(algorithm: str) -> None:
    rng = np.random.default_rng(0)
    x, w = whole(rng, 1, 8, 50_002), whole(rng, 3, 8, 50_000)  # many pieces of a channel's taps
    assert_fused(fc.conv1d, x, w, algorithm=algorithm)
    x, w = whole(rng, 1, 4111, 3), whole(rng, 4099, 4111, 1)  # more weights than are packed at a time
    assert_fused(fc.conv1d, x, w, algorithm=algorithm)


def test_winograd_with_several_runs_of_summed_channels() -> None:
    rng = np.random.default_rng(1)
    for shape, channels in (((1, 300, 9, 10), 40), ((3, 300, 33, 30), 8)):  # inputs first, weights first
        x, w = rng.normal(size=shape), rng.normal(size=(channels, shape[1], 3, 3))
        assert_fused(fc.conv2d, x, w, padding=1, algorithm="winograd")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "shape", [(1, 7, 3), (1, 5000, 33), (2, 3000, 700), (3, 64, 1000), (40, 300, 50), (33, 129, 65), (9, 1, 1)], ids=str
)
def test_linear(shape: tuple[int, int, int], isa: str) -> None:
    rng, (rows, inputs, outputs) = np.random.default_rng(2), shape
    with isa_limit(isa):
        for dtype in DTYPES:
            x, w = whole(rng, rows, inputs, dtype=dtype), whole(rng, outputs, inputs, dtype=dtype)
            assert_fused(fc.linear, x, w, whole(rng, outputs, dtype=dtype))
            assert_fused(fc.conv2d, x[..., None, None], w[..., None, None], whole(rng, outputs, dtype=dtype))
            assert_fused(fc.linear, x, w.T.copy().T)


def test_nan_stays_and_infinities_are_cut() -> None:
    x = np.array([[[np.nan, -np.inf, np.inf, -2.0, 3.0]]], np.float32)
    w = np.ones((1, 1, 1), np.float32)
    for algorithm in ("direct", "im2col", "depthwise", "naive"):
        np.testing.assert_array_equal(
            fc.conv1d(x, w, algorithm=algorithm, activation="relu"), [[[np.nan, 0, np.inf, 0, 3]]]
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_transposed(n: int, isa: str) -> None:
    rng, call = np.random.default_rng(4), getattr(fc, f"conv_transpose{n}d")
    with isa_limit(isa):
        for dtype in DTYPES:
            x, w, b = (whole(rng, *shape, dtype=dtype) for shape in ((2, 6, *[5] * n), (6, 4, *[3] * n), (8,)))
            for algorithm in ("auto", "naive"):
                assert_fused(call, x, w, b, stride=2, output_padding=1, groups=2, algorithm=algorithm)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("call", [fc.conv2d, fc.conv_transpose2d])
def test_into_an_array_and_half_precision(call: Any, activation: str) -> None:
    rng = np.random.default_rng(3)
    x, w = whole(rng, 2, 5, 9, 9), whole(rng, 5, 5, 3, 3)
    want = activated(call(x, w), activation)
    for _ in range(2):  # the second call is recalled
        for out in (np.zeros((*want.shape[:-1], 2 * want.shape[-1]), np.float32)[..., ::2], np.zeros_like(want)):
            assert call(x, w, activation=activation, out=out) is out
            np.testing.assert_array_equal(out, want)
    half = call(x.astype(np.float16), w.astype(np.float16), activation=activation)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, want.astype(np.float16))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_into_an_array_and_any_bias_alone(activation: str) -> None:
    rng = np.random.default_rng(5)
    x, w, b = whole(rng, 6, 5), whole(rng, 3, 5), whole(rng, 3)
    want = activated(fc.linear(x, w, b), activation)
    out = np.zeros((6, 6), np.float32)[:, ::2]
    assert fc.linear(x, w, b, out=out, activation=activation) is out
    np.testing.assert_array_equal(out, want)
    padding = fc.conv1d(np.zeros((1, 2, 0)), np.ones((3, 2, 1)), b.astype(np.float64), padding=1, activation=activation)
    np.testing.assert_array_equal(padding[0, :, 0], activated(b.astype(np.float64), activation))


def test_the_bits_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(4, 16, 40, 41)), rng.normal(size=(32, 16, 3, 3))
    for activation in ACTIVATIONS:
        with fc.threads(1):
            want = fc.conv2d(x, w, activation=activation)
        with fc.threads(4):
            np.testing.assert_array_equal(fc.conv2d(x, w, activation=activation), want)


def test_an_empty_batch() -> None:
    for activation in ACTIVATIONS:
        assert fc.conv1d(np.zeros((0, 2, 4)), np.ones((3, 2, 1)), activation=activation).shape == (0, 3, 4)
        assert fc.linear(np.zeros((0, 2)), np.ones((3, 2)), activation=activation).shape == (0, 3)


@pytest.mark.parametrize("activation", ["selu", 1, True, ("relu",), b"relu"])
def test_an_unknown_activation_is_refused(activation: Any) -> None:
    one = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(ValueError, match="conv2d: activation must be one of 'relu', 'leaky_relu', 'sigmoid', 'tanh'"):
        fc.conv2d(one, one, activation=activation)
    with pytest.raises(ValueError, match=r"linear: activation .*; None is none, and others follow"):
        fc.linear(one[0, 0], one[0, 0], activation=activation)
