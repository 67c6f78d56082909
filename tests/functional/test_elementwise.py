"""Activations of single elements: accuracy on every instruction set, extremes, layouts, bad input, the same bits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import ISAS, LAYOUTS, THREADS, guarded

import fastconv as fc
from fastconv import _lowering, reference
from fastconv import functional as F
from fastconv._config import isa_limit
from fastconv.functional._map import evaluate

INF, NAN = np.inf, np.nan
DTYPES = [np.float16, np.float32, np.float64]

#: Name, options, whether the way back starts from the output.
FUNCTIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("relu", {}, True),
    ("leaky_relu", {}, False),
    ("leaky_relu", {"negative_slope": -0.5}, False),
    ("elu", {"alpha": 0.7}, False),
    ("sigmoid", {}, True),
    ("tanh", {}, True),
    ("gelu", {}, False),
    ("gelu", {"approximate": "tanh"}, False),
    ("silu", {}, False),
    ("softplus", {}, False),
    ("softplus", {"beta": -2.5, "threshold": 3.0}, False),
]
each = pytest.mark.parametrize(("name", "options", "from_output"), FUNCTIONS, ids=lambda v: str(v))
NAMES = list(dict.fromkeys(name for name, _, _ in FUNCTIONS))


def samples(dtype: Any) -> np.ndarray:
    """Numbers of every size that the dtype has, of both signs, and infinities."""
    rng = np.random.default_rng(0)
    least = np.log10(float(np.finfo(dtype).smallest_subnormal))
    parts = [
        rng.uniform(-20, 20, 3000),
        rng.uniform(-800, 800, 1500),
        10 ** rng.uniform(least, 0, 1000) * rng.choice([-1, 1], 1000),
        [
            0.0,
            -0.0,
            INF,
            -INF,
            88.8,
            -88.8,
            709.9,
            -709.9,
            -745.0,
            float(np.finfo(dtype).max),
            float(np.finfo(dtype).min),
        ],
    ]
    return np.concatenate(parts).astype(dtype)


def units(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The errors, in units in the last place of the exact values (of the smallest normal number, below it)."""
    kind = np.finfo(got.dtype)
    size = np.maximum(abs(exact), float(kind.tiny))
    one = np.ldexp(float(kind.eps), np.frexp(np.where(np.isfinite(size), size, 1))[1] - 1)
    with np.errstate(invalid="ignore"):
        return np.where(got == exact, 0, abs(got.astype(exact.dtype) - exact) / one)


@each
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 3, 4, 5), (0, 3), (3, 0), (1,) * 12])
def test_agree_with_the_reference(
    name: str, options: dict[str, Any], from_output: bool, shape: tuple[int, ...], dtype: Any
) -> None:
    rng = np.random.default_rng(0)
    x, g = (3 * rng.standard_normal((2, *shape))).astype(dtype)
    close: Any = {"rtol": 8 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps, "strict": True}
    y = getattr(F, name)(x, **options)
    np.testing.assert_allclose(y, getattr(reference, name)(x, **options), **close)
    saved = y if from_output else x
    grad = getattr(F, name + "_backward")(g, saved, **options)
    np.testing.assert_allclose(grad, getattr(reference, name + "_backward")(g, saved, **options), **close)


def wide(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function in float64 of float32 numbers: its error does not count."""
    return lambda x: function(x.astype(np.float64))


BOUNDS = {"sigmoid": 4, "tanh": 4, "elu": 2, "softplus": 4}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", BOUNDS)
def test_float32_is_exact_to_a_few_units(name: str, isa: str) -> None:
    """Beside float64: the whole range, denormal results among them."""
    x = samples(np.float32)
    with isa_limit(isa):
        y = getattr(F, name)(x)
    exact = getattr(reference, name)(x.astype(np.float64))
    assert units(y, exact).max() < BOUNDS[name]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_is_exact_to_a_few_units(dtype: Any, isa: str) -> None:
    """Beside the standard library's erfc; in the far tail, where results vanish, the error grows with x**2."""
    x = samples(dtype)
    x = x[np.isfinite(x)]
    with isa_limit(isa):
        y, slope = F.gelu(x), F.gelu_backward(np.ones_like(x), x)
    share = np.array([0.5 * math.erfc(-float(value) / math.sqrt(2)) for value in x])
    exact = np.where(share == 0, 0, x.astype(np.float64) * share)
    scale = np.maximum(1, np.clip(x, -100, 0).astype(np.float64) ** 2)
    assert (units(y, exact) / scale).max() < 6
    bell = np.exp(-(np.clip(x, -100, 100).astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)
    assert abs(slope - (share + np.clip(x, -100, 100) * bell)).max() < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", BOUNDS)
def test_float64_is_exact_to_a_few_units(name: str, isa: str) -> None:
    """Beside NumPy's functions, which are within a unit themselves."""
    x = samples(np.float64)
    with isa_limit(isa):
        y = getattr(F, name)(x)
    assert units(y, getattr(reference, name)(x)).max() < BOUNDS[name] + 2


@each
def test_gradients_by_differences(name: str, options: dict[str, Any], from_output: bool) -> None:
    x = np.random.default_rng(0).uniform(-4, 4, 300)
    if name in ("relu", "leaky_relu", "elu", "softplus"):  # not at the bends
        x = x[(abs(x) > 1e-3) & (abs(options.get("beta", 1) * x - options.get("threshold", 20)) > 1e-3)]
    forward = getattr(F, name)
    step = 1e-6
    slopes = (forward(x + step, **options) - forward(x - step, **options)) / (2 * step)
    saved = forward(x, **options) if from_output else x
    weights = np.linspace(-2, 2, x.size)
    np.testing.assert_allclose(
        getattr(F, name + "_backward")(weights, saved, **options), weights * slopes, rtol=1e-6, atol=1e-8
    )


@each
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes(name: str, options: dict[str, Any], from_output: bool, dtype: Any, isa: str) -> None:
    """NaN stays, infinities give the limit, and nothing warns; slopes there are finite."""
    if options.get("beta", 1) < 0:
        pytest.skip("the mirror image")
    x = np.array([NAN, INF, -INF, np.finfo(dtype).max, np.finfo(dtype).min, -1000, 1000], dtype)
    with isa_limit(isa), np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        y = getattr(F, name)(x, **options)
        grad = getattr(F, name + "_backward")(np.ones_like(x), y if from_output else x, **options)
    assert np.isnan(y[0])
    if name != "relu":
        slope = options.get("negative_slope", 0.01) if name == "leaky_relu" else 0
        assert np.isnan(grad[0]) or name == "leaky_relu"
        np.testing.assert_array_equal(grad[2], dtype(slope))
    limits = {"sigmoid": (1, 0), "tanh": (1, -1), "elu": (INF, -options.get("alpha", 1))}
    if name == "leaky_relu":
        limits[name] = (INF, -INF * options.get("negative_slope", 0.01))
    np.testing.assert_array_equal(y[1:3], np.array(limits.get(name, (INF, 0)), dtype))
    assert np.isfinite(grad[1:]).all()


def test_slopes_of_a_sigmoid_are_a_quarter_at_most() -> None:
    """So gradients vanish with depth, where those of relu stay."""
    x = np.linspace(-8, 8, 1601)
    y = F.sigmoid(x)
    slopes = F.sigmoid_backward(np.ones_like(x), y)
    np.testing.assert_allclose(slopes, y * (1 - y), rtol=1e-15)
    assert slopes.max() == slopes[800] == 0.25
    deep = np.ones(1)
    for _ in range(10):
        deep = F.sigmoid_backward(deep, np.array([0.5]))
    assert deep == 0.25**10
    assert F.relu_backward(np.ones(1), np.ones(1)) == 1


@each
def test_arrays_of_every_layout(name: str, options: dict[str, Any], from_output: bool) -> None:
    forward, backward = getattr(F, name), getattr(F, name + "_backward")
    x, g = np.random.default_rng(0).standard_normal((2, 5, 7, 9)).astype(np.float32)
    expected = forward(x, **options)
    expected_grad = backward(g, expected if from_output else x, **options)
    for layout in LAYOUTS.values():
        kept = layout(x)
        y = forward(kept, **options)
        np.testing.assert_array_equal(y, expected, strict=True)
        assert y.flags.c_contiguous
        grad = backward(layout(g), layout(expected) if from_output else layout(x), **options)
        np.testing.assert_array_equal(grad, expected_grad, strict=True)
        np.testing.assert_array_equal(kept, x)
        assert not np.shares_memory(y, kept)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["relu", "gelu", "softplus"])
def test_the_same_bits_at_any_number_of_threads_and_any_place(name: str, isa: str) -> None:
    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    with isa_limit(isa):
        results = []
        for count in THREADS:
            with fc.threads(count):
                results.append(getattr(F, name)(x))
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])
        np.testing.assert_array_equal(getattr(F, name)(x[5:43]), results[0][5:43])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_writes_no_more_than_its_result(dtype: Any, isa: str) -> None:
    with isa_limit(isa):
        for size in (1, 3, 4, 7, 8, 15, 16, 17, 33, 32768, 32769):
            result, alive = guarded((size,), dtype)
            x = np.full(size, -1.0, dtype)
            _lowering.elementwise_plan("relu", (size,), np.dtype(dtype)).run(x, None, None, result, 1)
            alive()
            assert not result.any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sums(dtype: Any, isa: str) -> None:
    """What residual blocks use."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-5, 6, (2, 4, 33)).astype(np.float32 if dtype == np.float16 else dtype)
    with isa_limit(isa):
        np.testing.assert_array_equal(evaluate("t", "add", np.dtype(dtype), a, b), (a + b).astype(dtype), strict=True)
        rectified = evaluate("t", "add_relu", np.dtype(dtype), a, b)
    np.testing.assert_array_equal(rectified, np.maximum(a + b, 0).astype(dtype), strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_promote_as_numpys(name: str) -> None:
    backward = getattr(F, name + "_backward")
    y = np.array([0.25, 0.75], np.float32)
    assert backward(y.astype(np.float64), y).dtype == np.float64
    assert backward(y.astype(np.float16), y).dtype == np.float32
    assert backward([1.0, 2.0], y).dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.int32, bool, complex, np.longdouble, object, "U3"])
def test_refuses_dtypes(name: str, dtype: Any) -> None:
    bad, good = np.zeros(3, dtype), np.zeros(3)
    for call in (
        lambda: getattr(F, name)(bad),
        lambda: getattr(F, name + "_backward")(bad, good),
        lambda: getattr(F, name + "_backward")(good, bad),
    ):
        with pytest.raises(TypeError, match=f"^{name}.*(input|grad_output|output) must be float16, float32 or float64"):
            call()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 1), (), (0,)])
def test_refuses_gradients_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{name}_backward: grad_output must have the shape"):
        getattr(F, name + "_backward")(np.ones(shape), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "leaky_relu",
            {"negative_slope": NAN},
            ValueError,
            "negative_slope must be finite, received negative_slope=nan",
        ),
        ("leaky_relu", {"negative_slope": "1"}, TypeError, "negative_slope must be a real number"),
        ("elu", {"alpha": True}, TypeError, "alpha must be a real number, received alpha=True"),
        ("elu", {"alpha": 10**400}, ValueError, "alpha must be finite"),
        ("gelu", {"approximate": "erf"}, ValueError, "approximate must be one of 'none', 'tanh', received"),
        ("gelu", {"approximate": None}, ValueError, "approximate must be one of"),
        ("softplus", {"beta": 0}, ValueError, "beta must not be 0, received beta=0"),
        ("softplus", {"threshold": INF}, ValueError, "threshold must be finite, received threshold=inf"),
        ("softplus", {"beta": [1.0]}, TypeError, "beta must be a real number"),
    ],
)
def test_refuses_options(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{name}: {message}"):
        getattr(F, name)(np.ones(2), **options)
    with pytest.raises(error, match=f"^{name}_backward: {message}"):
        getattr(F, name + "_backward")(np.ones(2), np.ones(2), **options)
