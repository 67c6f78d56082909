"""Convolution and its gradients: every algorithm, instruction set and dtype equals the reference on whole numbers."""

from __future__ import annotations

import itertools
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
    WIDTHS,
    Array,
    Conv,
    assert_error_of_a_plain_sum,
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
    return getattr(module, f"conv{conv.n}d"), getattr(module, f"conv{conv.n}d_backward")


def takes(algorithm: str, conv: Conv) -> bool:
    """Two algorithms say that they take groups of at most 64 channels and kernels of at most 4096 taps."""
    return algorithm not in ("depthwise", "grouped") or (max(conv.c, conv.k) <= 64 and np.prod(conv.kernel) <= 4096)


@lru_cache(maxsize=400)
def expected(conv: Conv, dtype: Any) -> tuple[Array, ...]:
    """Data, then the reference's result and gradients."""
    x, w, b, gy = conv.data(dtype)
    forward, backward = operators(conv, reference)
    return x, w, b, gy, forward(x, w, b, **conv.options), *backward(gy, x, w, **conv.options)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("conv", [*CONVS, *LARGE_CONVS], ids=str)
def test_equals_the_reference(conv: Conv, isa: str) -> None:
    forward, backward = operators(conv)
    for dtype in DTYPES:
        x, w, b, gy, y, gx, gw, gb = expected(conv, dtype)
        assert y.shape == conv.y_shape
        for algorithm in ALGORITHMS:
            if not takes(algorithm, conv):
                continue
            with isa_limit(isa):
                got = forward(x, w, b, **conv.options, algorithm=algorithm)
                gradients = backward(gy, x, w, **conv.options, algorithm=algorithm)
            assert_same(got, y)
            assert_same(gradients[0], gx, share=0.3 * conv.covered[0])
            assert_same(gradients[1], gw, share=0.3 * conv.covered[1])
            assert_same(gradients[2], gb)


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
@pytest.mark.parametrize("conv", CONVS[::5], ids=str)
def test_without_bias_one_sample_and_by_parts(conv: Conv, algorithm: str) -> None:
    x, w, _, gy, _, gx, gw, gb = expected(conv, np.float64)
    forward, backward = operators(conv)
    options = {**conv.options, "algorithm": algorithm}
    plain = operators(conv, reference)[0](x, w, None, **conv.options)
    assert_same(forward(x, w, **options), plain)
    assert_same(forward(x[0], w, None, **options), plain[0])
    assert_same(backward(gy[0], x[0], w, **options)[0], gx[0], share=0.3 * conv.covered[0])
    alone = operators(conv, reference)[1](gy[:1], x[:1], w, **conv.options)
    assert_same(backward(gy[0], x[0], w, **options)[1], alone[1], share=0.3 * conv.covered[1])
    for needs in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        found = backward(gy, x, w, **options, needs=needs)
        shares = (*conv.covered, 1.0)
        for got, want, share, needed in zip(found, (gx, gw, gb), shares, needs, strict=True):
            if needed:
                assert_same(got, want, share=0.3 * share)
            else:
                assert got is None


# ---------------------------------------------------------------------------------------------------- large sums


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_sums_too_long_for_a_task_go_on_in_later_stages(algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(1)
    length = 1_700_003
    x, w = whole(rng, 1, length, 1), whole(rng, 1, length, 1)
    gy = whole(rng, 1, length, 1)
    with isa_limit(isa):
        y = fc.conv1d(x, w, np.array([5], np.float32), algorithm=algorithm)
        gx = fc.conv1d_backward(gy, x[:, :1], w.transpose(1, 0, 2), algorithm=algorithm)[0]
        gw = fc.conv1d_backward(y, x, w, algorithm=algorithm)[1]
    assert y.item() == dot(x, w) + 5
    assert gx.item() == dot(gy, w)
    assert_same(gw, x * y)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_kernels_of_many_taps(algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(2)
    taps = 100_003
    x, w = whole(rng, 1, 8, taps + 1), whole(rng, 3, 8, taps)
    gy = whole(rng, 1, 3, 2)
    with isa_limit(isa):
        y = fc.conv1d(x, w, algorithm=algorithm)
        gw = fc.conv1d_backward(gy, x, w, needs=(False, True, False), algorithm=algorithm)[1]
    windows = np.stack([x[0, :, :-1], x[0, :, 1:]], axis=-1).astype(np.float64)
    assert_same(y, np.einsum("kct,ctj->kj", w, windows)[None].astype(np.float32))
    assert_same(gw, np.einsum("kj,ctj->kct", gy[0], windows).astype(np.float32))


@pytest.mark.parametrize("isa", ISAS)
def test_an_infinity_reaches_the_taps_that_meet_it_alone(isa: str) -> None:
    rng = np.random.default_rng(4)
    x, w, gy = whole(rng, 2, 40, 17, 18), whole(rng, 2, 40, 3, 3), whole(rng, 2, 2, 8, 8)
    for at, taps in (((0, 5, 0, 0), [0]), ((1, 7, 16, 4), [6, 8]), ((1, 9, 3, 17), [])):
        x[at] = np.inf
        with isa_limit(isa):
            gw = fc.conv2d_backward(np.abs(gy) + 1, x, w, stride=2, algorithm="direct")[1].reshape(2, 40, 9)
        assert np.isinf(gw[:, at[1], taps]).all()
        x[at] = 0
        clean = reference.conv2d_backward(np.abs(gy) + 1, x, w, stride=2)[1].reshape(2, 40, 9)
        gw[:, at[1], taps] = clean[:, at[1], taps]
        assert_same(gw, clean)


@pytest.mark.parametrize("isa", ISAS)
def test_an_infinity_stays_in_its_channel(isa: str) -> None:
    """Kernels of one tap, whose tile would be written in place: more input channels than a tile has, few outputs."""
    rng = np.random.default_rng(5)
    x, w, gy = whole(rng, 1, 512, 5, 6), whole(rng, 2, 512, 1, 1), np.ones((1, 2, 5, 6), np.float32)
    clean = reference.conv2d_backward(gy, x, w)[1]
    x[0, 300, 2, 2] = np.inf
    with isa_limit(isa):
        gw = fc.conv2d_backward(gy, x, w, algorithm="direct")[1]
    assert np.isinf(gw[:, 300]).all()
    gw[:, 300] = clean[:, 300]
    assert_same(gw, clean)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_weights_beyond_what_is_packed_at_a_time(algorithm: str) -> None:
    rng = np.random.default_rng(3)
    k, c = 4099, 4111  # 67 MB
    x, w = whole(rng, 1, c, 3), whole(rng, 1, c, dtype=np.float32) * whole(rng, k, 1)
    y = fc.conv1d(x, w[..., None], algorithm=algorithm)
    assert_same(y, (w.astype(np.float64) @ x[0])[None].astype(np.float32))
    gx = fc.conv1d_backward(np.sign(y), x, w[..., None], needs=(True, False, False), algorithm=algorithm)[0]
    assert_same(gx, (w.T.astype(np.float64) @ np.sign(y[0]))[None].astype(np.float32))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ["depthwise", "grouped"])
def test_depthwise_of_large_planes(algorithm: str, isa: str) -> None:
    conv = Conv(1, 1, 1, (700, 1301), (5, 5), stride=1, padding=2, groups=2)
    x, w, b, gy, y, gx, gw, _ = expected(conv, np.float32)
    with isa_limit(isa):
        assert_same(fc.conv2d(x, w, b, **conv.options, algorithm=algorithm), y)
        gradients = fc.conv2d_backward(gy, x, w, **conv.options, algorithm=algorithm)
    assert_same(gradients[0], gx)
    assert_same(gradients[1], gw)


@pytest.mark.parametrize("isa", ISAS)
def test_weight_gradients_of_large_planes_and_few_channels(isa: str) -> None:
    """Dot products of planes in several stages, also where pixels lie apart and lines have gaps."""
    rng = np.random.default_rng(6)
    x, gy = whole(rng, 1, 8, 1030, 1024), whole(rng, 1, 4, 1030, 1024)
    gw = np.einsum("nkhw,nchw->kc", gy.astype(np.float64), x)[..., None, None].astype(np.float32)
    w = np.ones((4, 8, 1, 1), np.float32)
    turned = np.ascontiguousarray(x.swapaxes(2, 3)).swapaxes(2, 3)
    with isa_limit(isa):
        for given in (x, turned):
            assert_same(fc.conv2d_backward(gy, given, w, needs=(False, True, False), algorithm="direct")[1], gw)
        gaps = fc.conv2d_backward(gy[..., :900], x[..., :900], w, needs=(False, True, False))[1]
    assert_same(gaps, np.einsum("nkhw,nchw->kc", gy[..., :900], x[..., :900])[..., None, None].astype(np.float32))


# ---------------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("conv", [*CONVS[::3], *LARGE_CONVS], ids=str)
def test_gradients_are_the_adjoint_maps(conv: Conv) -> None:
    x, w, _, gy = conv.data(np.float64, seed=4)
    forward, backward = operators(conv)
    y = forward(x, w, **conv.options)
    gx, gw, gb = backward(gy, x, w, **conv.options)
    product = dot(y, gy)
    assert product != 0
    assert dot(x, gx) == product
    assert dot(w, gw) == product
    assert [int(v) for v in gb] == gy.sum(axis=(0, *range(2, gy.ndim))).astype(int).tolist()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_shifted_input_gives_a_shifted_result(algorithm: str) -> None:
    rng = np.random.default_rng(5)
    x, w = whole(rng, 1, 3, 12, 40), whole(rng, 6, 3, 3, 3)
    y = fc.conv2d(x, w, algorithm=algorithm)
    assert_same(fc.conv2d(x[:, :, 2:, 5:], w, algorithm=algorithm), y[:, :, 2:, 5:].copy())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_is_that_of_a_plain_sum(dtype: Any, algorithm: str, isa: str) -> None:
    """|y - exact| <= K u sum|x||w|, for a sample of the elements of result and gradients, in exact fractions."""
    rng = np.random.default_rng(6)
    x, w = rng.standard_normal((2, 30, 12, 13)).astype(dtype), rng.standard_normal((20, 30, 3, 3)).astype(dtype)
    x[:, ::7] *= 100  # outliers
    gy = rng.standard_normal((2, 20, 12, 13)).astype(dtype)
    with isa_limit(isa):
        y = fc.conv2d(x, w, padding=1, algorithm=algorithm)
        gx, gw, _ = fc.conv2d_backward(gy, x, w, padding=1, algorithm=algorithm)
    x_columns, gy_columns = reference.unfold(x, 3, padding=1), reference.unfold(gy, 3, padding=1)
    flipped = np.flip(w, (2, 3)).transpose(1, 0, 2, 3)
    samples = []
    for _ in range(12):
        n, k, c, pixel, tap = (rng.integers(most) for most in (2, 20, 30, 12 * 13, 9))
        samples += [
            (y[n, k].ravel()[pixel], w[k], x_columns[n, :, pixel]),
            (gx[n, c].ravel()[pixel], flipped[c], gy_columns[n, :, pixel]),
            (gw[k, c].ravel()[tap], gy[:, k], x_columns[:, 9 * c + tap]),
        ]
    for got, a, b in samples:
        assert_error_of_a_plain_sum(got, a, b)


# ---------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_at_any_number_of_threads(dtype: Any, algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(7)
    for conv in (
        Conv(2, 19, 37, (25, 26), (3, 3), padding=1),
        Conv(1, 24, 40, (33, 35), (3, 2), stride=2, padding=1),
        Conv(3, 1, 1, (40, 50), (3, 3), padding=1, groups=12),
        Conv(1, 4, 3, (4001,), (5,), padding=2, groups=2),
    ):
        x, w, b, gy = (rng.standard_normal(a.shape).astype(dtype) for a in conv.data(dtype))
        forward, backward = operators(conv)
        found = set()
        for threads in THREADS:
            with isa_limit(isa), fc.threads(threads):
                y = forward(x, w, b, **conv.options, algorithm=algorithm)
                gradients = backward(gy, x, w, **conv.options, algorithm=algorithm)
            found.add(b"".join(a.tobytes() for a in (y, *gradients)))
        assert np.abs(y).min() > 0
        assert len(found) == 1


# ---------------------------------------------------------------------------------------------------- out=


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_outside_the_result_is_written(dtype: Any, algorithm: str, isa: str) -> None:
    for conv in [*CONVS[1:60:4], *CONVS[60:]]:
        x, w, b, _, y, *_ = expected(conv, dtype)
        forward = operators(conv)[0]
        out, check = guarded(y.shape, dtype)
        with isa_limit(isa):
            got = forward(x, w, b, **conv.options, algorithm=algorithm, out=out)
        check()
        assert got is out
        assert_same(got, y)


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_out_may_have_any_layout_and_overlap_the_input(algorithm: str) -> None:
    conv = Conv(2, 5, 5, (6, 9), (3, 3), padding=1)
    x, w, b, _, y, *_ = expected(conv, np.float32)
    options = {**conv.options, "algorithm": algorithm}
    for name in ("plain", "transposed", "reversed", "stepped", "inside", "byte-swapped", "unaligned"):
        out = LAYOUTS[name](np.zeros_like(y))
        assert fc.conv2d(x, w, b, **options, out=out) is out
        np.testing.assert_array_equal(out, y)
    base = np.concatenate([x.ravel(), np.zeros(50, np.float32)])
    for shift in (0, 1, 50):
        block = base.copy()
        out = block[shift : shift + y.size].reshape(y.shape)
        fc.conv2d(block[: x.size].reshape(x.shape), w, b, **options, out=out)
        np.testing.assert_array_equal(out, y)
    own = x.copy()
    assert fc.conv2d(own, w, b, **options, out=own) is own
    assert_same(own, y)
    half = np.empty(y.shape, np.float16)
    fc.conv2d(x.astype(np.float16), w.astype(np.float16), b.astype(np.float16), **options, out=half)
    assert_same(half, y.astype(np.float16))


def test_out_is_checked() -> None:
    x, w = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    frozen = np.zeros((1, 3, 3, 3), np.float32)
    frozen.flags.writeable = False
    for out, error, words in (
        (np.zeros((1, 3, 3, 4), np.float32), ValueError, r"out must have the shape .*\(1, 3, 3, 3\).*\(1, 3, 3, 4\)"),
        (np.zeros((1, 3, 3, 3)), TypeError, "out must have the dtype .*float32.*float64"),
        ([[0.0]], TypeError, "out must be a NumPy array, received list"),
        (frozen, ValueError, "out must be writeable"),
    ):
        with pytest.raises(error, match="^conv2d: " + words):
            fc.conv2d(x, w, out=out)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- frozen weights


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_frozen_weight_gives_the_same(algorithm: str, isa: str) -> None:
    for conv in [*CONVS[::7], *LARGE_CONVS[8::2]]:
        if not takes(algorithm, conv):
            continue
        x, w, b, gy, y, gx, gw, _ = expected(conv, np.float32)
        forward, backward = operators(conv)
        given_weight = w.copy()
        frozen = fc.freeze_weight(given_weight)
        given_weight[...] = 0
        with isa_limit(isa):
            for _ in range(2):
                assert_same(forward(x, frozen, b, **conv.options, algorithm=algorithm), y)
                gradients = backward(gy, x, frozen, **conv.options, algorithm=algorithm)
                assert_same(gradients[0], gx, share=0.3 * conv.covered[0])
                assert_same(gradients[1], gw, share=0.3 * conv.covered[1])


# ---------------------------------------------------------------------------------------------------- any problem


@settings(max_examples=500)
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
    plain = conv.data(dtype, seed)
    x, w, b, gy = (LAYOUTS[name](a) for name, a in zip(layouts, plain, strict=True))
    before = [a.tobytes() for a in (x, w, b, gy)]
    forward, backward = operators(conv)
    with isa_limit(isa), fc.threads(threads):
        y = forward(x, w, b, **conv.options, algorithm=algorithm)
        gradients = backward(gy, x, w, **conv.options, algorithm=algorithm)
    assert [a.tobytes() for a in (x, w, b, gy)] == before, "an input was changed"
    naive, naive_backward = operators(conv, reference)
    assert_same(y, naive(*plain[:3], **conv.options), share=0)
    for got, want in zip(gradients, naive_backward(plain[3], *plain[:2], **conv.options), strict=True):
        assert_same(got, want, share=0)
    assert dot(forward(x, w, **conv.options, algorithm=algorithm), plain[3]) == dot(plain[0], gradients[0])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kernel", [k for k in itertools.product((1, 2, 3), repeat=3) if max(k) > 1], ids=str)
def test_kernels_whose_taps_see_the_padding_on_some_axes_only(kernel: tuple[int, ...], isa: str) -> None:
    """Small maps of any shape: what is left of a kernel inside is a box, and any axis of it may be cut or 1 wide."""
    for size in itertools.product((1, 2, 4), repeat=3):
        conv = Conv(2, 3, 4, size, kernel, padding="same")
        x, w, _, gy = conv.data(np.float32)
        with isa_limit(isa):
            y = fc.conv3d(x, w, padding="same", algorithm="direct")
            gx, _, _ = fc.conv3d_backward(gy, x, w, padding="same", algorithm="direct")
        assert_same(y, reference.conv3d(x, w, padding="same"), share=0)
        assert dot(y, gy) == dot(x, gx)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixels", WIDTHS)
def test_bias_gradients_of_planes_of_every_width(pixels: int, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(pixels)
    for images, channels in ((1, 1), (3, 2), (600, 5), (2, 70)):
        gy = whole(rng, images, channels, pixels, dtype=dtype)
        x, w = np.ones((images, 1, pixels), dtype), np.ones((channels, 1, 1), dtype)
        with isa_limit(isa):
            gb = fc.conv1d_backward(gy, x, w, needs=(False, False, True))[2]
        assert_same(gb, gy.sum((0, 2)), share=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("images", [1, 3, 20])
def test_kernels_that_cover_the_whole_input(images: int, dtype: Any, isa: str) -> None:
    """They are matrix products, also of operands with gaps between their elements."""
    rng = np.random.default_rng(images)
    options: dict[str, Any] = {"stride": (2, 1)}
    x, w, b = (
        whole(rng, images, 7, 3, 5, dtype=dtype),
        whole(rng, 37, 7, 3, 5, dtype=dtype),
        whole(rng, 37, dtype=dtype),
    )
    gy = whole(rng, images, 37, 1, 1, dtype=dtype)
    want = reference.conv2d(x, w, b, **options), *reference.conv2d_backward(gy, x, w, **options)
    for layout in LAYOUTS.values():
        with isa_limit(isa):
            found = (
                fc.conv2d(layout(x), layout(w), b, **options),
                *fc.conv2d_backward(layout(gy), x, layout(w), **options),
            )
            back = fc.conv_transpose2d_backward(layout(x), gy, layout(w))
        for got, expected_one in zip(found, want, strict=True):
            assert_same(got, expected_one)
        for got, expected_one in zip(back, reference.conv_transpose2d_backward(x, gy, w), strict=True):
            assert_same(got, expected_one)
