"""The fully connected operator and its gradients, exact on whole numbers, at every width of vectors and tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import (
    DTYPES,
    ISAS,
    LAYOUTS,
    THREADS,
    USABLE_ISAS,
    WIDTHS,
    Array,
    assert_error_of_a_plain_sum,
    assert_same,
    dot,
    guarded,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import reference
from fastconv._config import isa_limit


def data(rows: int, inputs: int, outputs: int, dtype: Any = np.float32, seed: int = 0) -> tuple[Array, ...]:
    """x, w, bias, and a gradient of the result."""
    rng = np.random.default_rng(seed)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    return tuple(whole(rng, *shape, dtype=dtype) for shape in shapes)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [*WIDTHS, 14, 64, 257])
def test_equals_the_reference(width: int, dtype: Any, isa: str) -> None:
    for rows, inputs, outputs in ((width, 11, 21), (5, width, 19), (6, 13, width), (width, width, width)):
        x, w, b, gy = data(rows, inputs, outputs, dtype)
        with isa_limit(isa):
            assert_same(fc.linear(x, w, b), reference.linear(x, w, b))
            assert_same(fc.linear(x, w), reference.linear(x, w))
            gradients = fc.linear_backward(gy, x, w)
        for got, want in zip(gradients, reference.linear_backward(gy, x, w), strict=True):
            assert_same(got, want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(64, 140_003, 5), (300, 500, 400), (1, 100_000, 3), (2000, 3, 2), (3, 2, 3000)]
)
def test_sums_of_many_slices_and_many_blocks(rows: int, inputs: int, outputs: int, isa: str) -> None:
    x, w, b, gy = data(rows, inputs, outputs)
    wide = [a.astype(np.float64) for a in (x, w, b, gy)]  # NumPy's product in float64 is exact
    with isa_limit(isa):
        assert_same(fc.linear(x, w, b), (wide[0] @ wide[1].T + wide[2]).astype(np.float32))
        gx, gw, gb = fc.linear_backward(gy, x, w)
    assert_same(gx, (wide[3] @ wide[1]).astype(np.float32))
    assert_same(gw, (wide[3].T @ wide[0]).astype(np.float32))
    assert_same(gb, wide[3].sum(0).astype(np.float32))


def test_leading_axes() -> None:
    x, w, b, gy = data(24, 7, 5)
    y, (gx, gw, gb) = fc.linear(x, w, b), fc.linear_backward(gy, x, w)
    for lead in ((24,), (2, 12), (2, 3, 4), (1, 24, 1)):
        assert_same(fc.linear(x.reshape(*lead, 7), w, b), y.reshape(*lead, 5))
        found = fc.linear_backward(gy.reshape(*lead, 5), x.reshape(*lead, 7), w)
        for got, want in zip(found, (gx.reshape(*lead, 7), gw, gb), strict=True):
            assert_same(got, want)
    assert_same(fc.linear(x[0], w, b), y[0])
    for got, want in zip(fc.linear_backward(gy[0], x[0], w), reference.linear_backward(gy[0], x[0], w), strict=True):
        assert_same(got, want)
    for needs in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        for got, want, needed in zip(fc.linear_backward(gy, x, w, needs=needs), (gx, gw, gb), needs, strict=True):
            if needed:
                assert_same(got, want)
            else:
                assert got is None


def test_an_empty_batch_gives_empty_results_and_zero_gradients() -> None:
    w, b = np.ones((5, 7), np.float32), np.ones(5, np.float32)
    for lead in ((0,), (3, 0), (0, 2)):
        x, gy = np.empty((*lead, 7), np.float32), np.empty((*lead, 5), np.float32)
        assert fc.linear(x, w, b).shape == (*lead, 5)
        gx, gw, gb = fc.linear_backward(gy, x, w)
        assert gx.shape == x.shape
        np.testing.assert_array_equal(gw, np.zeros_like(w))
        np.testing.assert_array_equal(gb, np.zeros_like(b))


@pytest.mark.parametrize("shape", [(33, 29, 40), (300, 500, 400)])
def test_gradients_are_the_adjoint_maps(shape: tuple[int, int, int]) -> None:
    x, w, _, gy = data(*shape, np.float64)
    y, (gx, gw, _) = fc.linear(x, w), fc.linear_backward(gy, x, w)
    assert dot(y, gy) == dot(x, gx) == dot(w, gw) != 0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_at_any_number_of_threads(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(7)
    for rows, inputs, outputs in ((130, 300, 200), (3, 4000, 100), (1, 700, 999)):
        x, w, b, gy = (rng.standard_normal(a.shape).astype(dtype) for a in data(rows, inputs, outputs))
        found = set()
        for threads in THREADS:
            with isa_limit(isa), fc.threads(threads):
                arrays = (fc.linear(x, w, b), *fc.linear_backward(gy, x, w))
            found.add(b"".join(a.tobytes() for a in arrays))
        assert np.abs(arrays[0]).min() > 0
        assert len(found) == 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_is_that_of_a_plain_sum(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((9, 700)).astype(dtype), rng.standard_normal((35, 700)).astype(dtype)
    with isa_limit(isa):
        y = fc.linear(x, w)
        gx, gw, _ = fc.linear_backward(y, x, w)
    for i, j, k in zip(rng.integers(9, size=12), rng.integers(35, size=12), rng.integers(700, size=12), strict=True):
        assert_error_of_a_plain_sum(y[i, j], x[i], w[j])
        assert_error_of_a_plain_sum(gx[i, k], y[i], w[:, k])
        assert_error_of_a_plain_sum(gw[j, k], y[:, j], x[:, k])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_out(dtype: Any, isa: str) -> None:
    for width in WIDTHS:
        x, w, b, _ = data(7, 9, width, dtype)
        wanted = reference.linear(x, w, b)
        out, check = guarded(wanted.shape, dtype)
        with isa_limit(isa):
            assert fc.linear(x, w, b, out=out) is out
            check()
            assert_same(out, wanted)
            for name in ("transposed", "reversed", "stepped", "inside", "byte-swapped", "unaligned"):
                laid = LAYOUTS[name](np.zeros_like(wanted))
                assert fc.linear(x, w, b, out=laid) is laid
                np.testing.assert_array_equal(laid, wanted)
    x, w, b, _ = data(8, 8, 8, dtype)
    wanted = reference.linear(x, w, b)
    assert_same(fc.linear(x.copy(), w, b, out=w.copy()), wanted)
    own = x.copy()
    assert_same(fc.linear(own, w, b, out=own), wanted)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, w: fc.linear(x, w[:, :3]), ValueError, r"linear: input must have 3 features .*\(4, 7\)"),
        (lambda x, w: fc.linear(x, w[0]), ValueError, r"linear: weight must .*\(7,\)"),
        (lambda x, w: fc.linear(x, w[None]), ValueError, r"linear: weight must .*\(1, 5, 7\)"),
        (lambda x, w: fc.linear(np.float32(1), w), ValueError, "linear: input must have 7 features"),
        (
            lambda x, w: fc.linear(x, w, np.ones(4, np.float32)),
            ValueError,
            r"linear: bias must have shape \(5,\).*\(4,\)",
        ),
        (lambda x, w: fc.linear(x, w, np.ones((5, 1), np.float32)), ValueError, "linear: bias must have shape"),
        (lambda x, w: fc.linear(x, None), TypeError, "linear: weight must be an array"),
        (lambda x, w: fc.linear("x", w), TypeError, "linear: input must be an array"),
        (lambda x, w: fc.linear(x, w, out=np.ones((4, 4), np.float32)), ValueError, "linear: out must have the shape"),
        (lambda x, w: fc.linear(x, w, out=np.ones((4, 5))), TypeError, "linear: out must have the dtype"),
        (
            lambda x, w: fc.linear_backward(x, x, w),
            ValueError,
            r"linear_backward: grad_output must .*\(4, 5\).*\(4, 7\)",
        ),
        (lambda x, w: fc.linear_backward(x[:3, :5], x, w), ValueError, "linear_backward: grad_output must have"),
        (
            lambda x, w: fc.linear_backward(x[:, :5], x, w, needs=True),
            ValueError,
            "linear_backward: needs must be three",
        ),
        (
            lambda x, w: fc.linear_backward(x[:, :5], x, w, needs=(1, 0, 1)),
            TypeError,
            "linear_backward: needs must be True",
        ),
    ],
)
def test_bad_input_is_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match="^" + words):
        call(np.ones((4, 7), np.float32), np.ones((5, 7), np.float32))


@settings(max_examples=300)
@given(
    st.tuples(*[st.integers(1, 70)] * 3),
    st.sampled_from(USABLE_ISAS),
    st.sampled_from(DTYPES),
    st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 4),
    st.integers(0, 2**31),
    st.sampled_from(THREADS),
)
def test_any_problem_in_any_layout(
    shape: tuple[int, int, int], isa: str, dtype: Any, layouts: tuple[str, ...], seed: int, threads: int
) -> None:
    plain = data(*shape, dtype, seed)
    x, w, b, gy = (LAYOUTS[name](a) for name, a in zip(layouts, plain, strict=True))
    with isa_limit(isa), fc.threads(threads):
        y, gradients = fc.linear(x, w, b), fc.linear_backward(gy, x, w)
    assert_same(y, reference.linear(*plain[:3]), share=0)
    for got, want in zip(gradients, reference.linear_backward(plain[3], *plain[:2]), strict=True):
        assert_same(got, want, share=0)
    assert dot(fc.linear(x, w), plain[3]) == dot(plain[0], gradients[0]) == dot(plain[1], gradients[1])


@pytest.mark.parametrize("isa", ISAS)
def test_bias_gradients_of_many_terms(isa: str) -> None:
    """Sums that go on in a second stage: along the rows of a matrix, and along a plane."""
    rng = np.random.default_rng(3)
    gy = whole(rng, 600_011, 33)
    x, w = np.ones((len(gy), 1), np.float32), np.ones((33, 1), np.float32)
    plane = gy.reshape(1, 3, -1)
    with isa_limit(isa):
        rows = fc.linear_backward(gy, x, w, needs=(False, False, True))[2]
        planes = fc.conv1d_backward(plane, plane[:, :1], w[:3, :, None], needs=(False, False, True))[2]
    assert_same(rows, gy.sum(0, dtype=np.float64).astype(np.float32))
    assert_same(planes, plane.sum((0, 2), dtype=np.float64).astype(np.float32))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [*WIDTHS, 700, 4097])
def test_few_rows_by_parts_of_the_sum(outputs: int, dtype: Any, isa: str) -> None:
    """The input gradient of one to four rows, in one part and in several, along all remainders of columns."""
    for rows, inputs in ((1, 1), (1, 77), (2, 133), (3, 1000), (4, 64), (1, 1024)):
        _, w, _, gy = data(rows, inputs, outputs, dtype)
        want = (gy.astype(np.float64) @ w.astype(np.float64)).astype(dtype)
        for weight in (w, np.asfortranarray(w)):
            with isa_limit(isa):
                assert_same(fc.linear_backward(gy, np.ones((rows, inputs), dtype), weight)[0], want, share=0)
