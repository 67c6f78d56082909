"""Transposed convolution and its gradients: each is one of convolution's three maps, exact on whole numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from helpers import (
    CONVS,
    DTYPES,
    ISAS,
    LARGE_CONVS,
    LAYOUTS,
    THREADS,
    USABLE_ISAS,
    Array,
    Conv,
    assert_same,
    convs,
    dot,
    guarded,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit

ALGORITHMS = ("direct", "im2col", "col2im", "depthwise", "grouped")
EVERY_ALGORITHM = (*ALGORITHMS, "auto", "naive")


def operators(conv: Conv, module: Any = fc) -> tuple[Any, Any]:
    return getattr(module, f"conv_transpose{conv.n}d"), getattr(module, f"conv_transpose{conv.n}d_backward")


def options_of(conv: Conv) -> dict[str, Any]:
    """The transposed convolution that leads from this convolution's result back to its input's shape."""
    return {**conv.options, "padding": conv.pads, "output_padding": conv.output_padding}


def data_of(conv: Conv, dtype: Any, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Input, weight, bias and a gradient of the result: the roles of x and y are exchanged."""
    gy, w, _, x = conv.data(dtype, seed)
    return x, w, whole(np.random.default_rng(seed), conv.groups * conv.c, dtype=dtype), gy


def takes(algorithm: str, conv: Conv) -> bool:
    return algorithm not in ("depthwise", "grouped") or max(conv.c, conv.k) <= 64


@lru_cache(maxsize=400)
def expected(conv: Conv, dtype: Any) -> tuple[Array, ...]:
    x, w, b, gy = data_of(conv, dtype)
    forward, backward = operators(conv, reference)
    return x, w, b, gy, forward(x, w, b, **options_of(conv)), *backward(gy, x, w, **options_of(conv))


@lru_cache(maxsize=400)
def shares(conv: Conv) -> tuple[float, float, float]:
    """The least shares of the gradients that are not 0, as are elements whose every tap falls into the padding."""
    ones = {"x": np.ones(conv.y_shape), "w": np.ones(conv.w_shape), "gy": np.ones(conv.x_shape)}
    gx, gw, _ = operators(conv, reference)[1](ones["gy"], ones["x"], ones["w"], **options_of(conv))
    return 0.3 * float((gx != 0).mean()), 0.3 * float((gw != 0).mean()), 0.3


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("conv", [*CONVS, *LARGE_CONVS], ids=str)
def test_equals_the_reference(conv: Conv, isa: str) -> None:
    forward, backward = operators(conv)
    for dtype in DTYPES:
        x, w, b, gy, y, *wanted = expected(conv, dtype)
        assert y.shape == conv.x_shape
        for algorithm in ALGORITHMS:
            if not takes(algorithm, conv):
                continue
            with isa_limit(isa):
                got = forward(x, w, b, **options_of(conv), algorithm=algorithm)
                gradients = backward(gy, x, w, **options_of(conv), algorithm=algorithm)
            assert_same(got, y)  # what no tap reaches is the bias, never zero here
            for found, want, share in zip(gradients, wanted, shares(conv), strict=True):
                assert_same(found, want, share=share)


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
@pytest.mark.parametrize("conv", CONVS[::5], ids=str)
def test_without_bias_one_sample_and_by_parts(conv: Conv, algorithm: str) -> None:
    x, w, _, gy, _, *wanted = expected(conv, np.float64)
    forward, backward = operators(conv)
    options = {**options_of(conv), "algorithm": algorithm}
    plain = operators(conv, reference)[0](x, w, None, **options_of(conv))
    share = 0.3 * conv.covered[0]
    assert_same(forward(x, w, **options), plain, share=share)
    assert_same(forward(x[0], w, None, **options), plain[0], share=share)
    assert_same(backward(gy[0], x[0], w, **options)[0], wanted[0][0], share=shares(conv)[0])
    for needs in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        found = backward(gy, x, w, **options, needs=needs)
        for got, want, least, needed in zip(found, wanted, shares(conv), needs, strict=True):
            if needed:
                assert_same(got, want, share=least)
            else:
                assert got is None


@pytest.mark.parametrize("conv", [*CONVS[::3], *LARGE_CONVS], ids=str)
def test_is_the_adjoint_of_convolution(conv: Conv) -> None:
    x, w, _, gy = data_of(conv, np.float64, seed=4)
    forward, backward = operators(conv)
    y = forward(x, w, **options_of(conv))
    gx, gw, gb = backward(gy, x, w, **options_of(conv))
    product = dot(y, gy)
    assert product != 0
    assert dot(x, gx) == product
    assert dot(w, gw) == product
    assert dot(x, getattr(fc, f"conv{conv.n}d")(gy, w, **conv.options)) == product
    assert_same(y, getattr(fc, f"conv{conv.n}d_backward")(x, gy, w, **conv.options)[0], share=0.3 * conv.covered[0])
    assert [int(v) for v in gb] == gy.sum(axis=(0, *range(2, gy.ndim))).astype(int).tolist()


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_elements_that_no_tap_reaches_are_the_bias(algorithm: str) -> None:
    x, w = np.ones((2, 3, 4), np.float32), np.ones((3, 17, 2), np.float32)
    b = whole(np.random.default_rng(0), 17)
    y = fc.conv_transpose1d(x, w, b, stride=5, output_padding=3, algorithm=algorithm)
    assert y.shape == (2, 17, 20)
    reached = np.arange(20) % 5 < 2
    assert_same(y, np.broadcast_to(b[:, None] + 3 * reached, y.shape).astype(np.float32))
    bare = fc.conv_transpose1d(x, w, stride=5, output_padding=3, algorithm=algorithm)
    np.testing.assert_array_equal(bare, np.broadcast_to(3 * reached, y.shape))
    assert not np.signbit(bare).any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinity_reaches_the_results_that_meet_it_alone(dtype: Any, algorithm: str, isa: str) -> None:
    """Also where vectors hold two phases of the stride, which have not all taps in common."""
    for conv in (
        Conv(2, 3, 40, (9, 11), (3, 3), stride=2),
        Conv(2, 1, 5, (14,), (7,), stride=4, padding=2),
        Conv(2, 1, 5, (6, 9, 9), (2, 3, 3), stride=(1, 2, 2), padding=1),
    ):
        x, w, b, _ = data_of(conv, dtype)
        forward, options = operators(conv)[0], {**options_of(conv), "algorithm": algorithm}
        naive = operators(conv, reference)[0]
        met = naive(np.eye(1, x.size, x.size // 2).reshape(x.shape), np.ones_like(w), None, **options_of(conv)) > 0
        x.flat[x.size // 2] = 0
        clean = naive(x, w, b, **options_of(conv))
        x.flat[x.size // 2] = np.inf
        with isa_limit(isa):
            y = forward(x, np.abs(w) + 1, b, **options)
            same = forward(x, w, b, **options)
        assert np.isinf(y[met]).all()
        assert_same(same[~met], clean[~met])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_at_any_number_of_threads(dtype: Any, algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(7)
    for conv in (
        Conv(2, 37, 19, (25, 26), (3, 3), padding=1),
        Conv(1, 40, 24, (33, 35), (3, 2), stride=2, padding=1),
        Conv(3, 1, 1, (40, 50), (3, 3), stride=4, padding=1, groups=12),
    ):
        x, w, b, gy = (rng.standard_normal(a.shape).astype(dtype) for a in data_of(conv, dtype))
        forward, backward = operators(conv)
        found = set()
        for threads in THREADS:
            with isa_limit(isa), fc.threads(threads):
                y = forward(x, w, b, **options_of(conv), algorithm=algorithm)
                gradients = backward(gy, x, w, **options_of(conv), algorithm=algorithm)
            found.add(b"".join(a.tobytes() for a in (y, *gradients)))
        assert np.abs(y).min() > 0
        assert len(found) == 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_outside_the_result_is_written(dtype: Any, algorithm: str, isa: str) -> None:
    for conv in [*CONVS[1:60:4], *CONVS[60:]]:
        x, w, b, _, y, *_ = expected(conv, dtype)
        out, check = guarded(y.shape, dtype)
        with isa_limit(isa):
            got = operators(conv)[0](x, w, b, **options_of(conv), algorithm=algorithm, out=out)
        check()
        assert got is out
        assert_same(got, y)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_frozen_weight_gives_the_same(algorithm: str, isa: str) -> None:
    for conv in CONVS[::7]:
        x, w, b, gy, y, *wanted = expected(conv, np.float32)
        frozen = fc.freeze_weight(w)
        forward, backward = operators(conv)
        with isa_limit(isa):
            assert_same(forward(x, frozen, b, **options_of(conv), algorithm=algorithm), y)
            gradients = backward(gy, x, frozen, **options_of(conv), algorithm=algorithm)
        for found, want, share in zip(gradients, wanted, shares(conv), strict=True):
            assert_same(found, want, share=share)


@settings(max_examples=300)
@given(
    convs(),
    st.sampled_from(USABLE_ISAS),
    st.sampled_from(EVERY_ALGORITHM),
    st.sampled_from(DTYPES),
    st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 4),
    st.integers(0, 2**31),
    st.sampled_from(THREADS),
)
def test_any_problem_in_any_layout(
    conv: Conv, isa: str, algorithm: str, dtype: Any, layouts: tuple[str, ...], seed: int, threads: int
) -> None:
    plain = data_of(conv, dtype, seed)
    x, w, b, gy = (LAYOUTS[name](a) for name, a in zip(layouts, plain, strict=True))
    before = [a.tobytes() for a in (x, w, b, gy)]
    forward, backward = operators(conv)
    options = {**options_of(conv), "algorithm": algorithm}
    with isa_limit(isa), fc.threads(threads):
        y = forward(x, w, b, **options)
        gradients = backward(gy, x, w, **options)
    assert [a.tobytes() for a in (x, w, b, gy)] == before, "an input was changed"
    naive, naive_backward = operators(conv, reference)
    assert_same(y, naive(*plain[:3], **options_of(conv)), share=0)
    for got, want in zip(gradients, naive_backward(plain[3], *plain[:2], **options_of(conv)), strict=True):
        assert_same(got, want, share=0)
