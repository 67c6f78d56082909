"""First values of weights: bounds, moments, seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn import init

SHAPE = (200, 30, 3, 3)  # fan_in 270, fan_out 1800


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda w, g: init.kaiming_uniform_(w, generator=g), math.sqrt(2 / 270)),
        (lambda w, g: init.kaiming_uniform_(w, math.sqrt(5), generator=g), math.sqrt(1 / 3 / 270)),
        (lambda w, g: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu", generator=g), math.sqrt(2 / 1800)),
        (lambda w, g: init.kaiming_normal_(w, nonlinearity="relu", generator=g), math.sqrt(2 / 270)),
        (lambda w, g: init.kaiming_normal_(w, nonlinearity="linear", generator=g), math.sqrt(1 / 270)),
        (lambda w, g: init.kaiming_normal_(w, 0.2, mode="fan_out", generator=g), math.sqrt(2 / 1.04 / 1800)),
        (lambda w, g: init.xavier_uniform_(w, generator=g), math.sqrt(2 / 2070)),
        (lambda w, g: init.xavier_uniform_(w, 5 / 3, generator=g), 5 / 3 * math.sqrt(2 / 2070)),
        (lambda w, g: init.xavier_normal_(w, generator=g), math.sqrt(2 / 2070)),
    ],
)
def test_moments(fill: Any, std: float, request: pytest.FixtureRequest) -> None:
    weight = np.empty(SHAPE)
    assert fill(weight, 1) is weight
    # 54,000 draws: the mean strays by std / 232, the deviation by a third of a percent.
    assert abs(weight.mean()) < 4 * std / math.sqrt(weight.size)
    assert abs(weight.std() / std - 1) < 0.015
    bound = std * math.sqrt(3)
    uniform = abs(weight).max() <= bound
    assert uniform == ("uniform" in fill.__code__.co_names[1])
    if uniform:
        assert abs(weight).max() > 0.999 * bound


@pytest.mark.parametrize(
    "fill", [init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_]
)
def test_seeds(fill: Any) -> None:
    first = fill(np.empty((5, 4, 3)), generator=3)
    np.testing.assert_array_equal(fill(np.empty((5, 4, 3)), generator=3), first)
    np.testing.assert_array_equal(fill(np.empty((5, 4, 3)), generator=np.random.default_rng(3)), first)
    assert not np.array_equal(fill(np.empty((5, 4, 3)), generator=4), first)
    assert not np.array_equal(fill(np.empty((5, 4, 3))), fill(np.empty((5, 4, 3))))
    parameter = nn.Parameter(np.empty((5, 4, 3), np.float32))
    assert fill(parameter, generator=3) is parameter
    np.testing.assert_array_equal(parameter.data, first.astype(np.float32))


def test_a_generator_goes_on() -> None:
    generator = np.random.default_rng(0)
    assert not np.array_equal(
        init.xavier_normal_(np.empty((3, 3)), generator=generator),
        init.xavier_normal_(np.empty((3, 3)), generator=generator),
    )


@pytest.mark.parametrize("fill", [init.normal_, init.kaiming_uniform_])
def test_large_weights_are_the_same_at_any_number_of_threads(fill: Any) -> None:
    """Weights of more than 2**20 numbers come in parts, each from a generator that the given one seeds."""
    shape, part = (3, 700_000), 1 << 20
    found = []
    for threads in (1, 2, 3):
        with fc.threads(threads):
            generator = np.random.default_rng(3)
            found.append(fill(np.empty(shape, np.float32), generator=generator))
            assert generator.random() != np.random.default_rng(3).random()  # it went on
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    flat = found[0].ravel()
    assert not np.isin(flat[:1000], flat[part : part + 1000]).any()
    double = fill(np.empty(shape[::-1]).T, generator=3)  # an array of other strides, of another precision
    if fill is init.normal_:
        np.testing.assert_array_equal(double.astype(np.float32), found[0])
    assert abs(found[0].mean() / found[0].std()) < 4 / math.sqrt(flat.size)
    edges = [flat[start : start + part].std() for start in range(0, flat.size, part)]
    np.testing.assert_allclose(edges, found[0].std(), rtol=0.01)


def test_small_weights_are_the_generators_own_numbers() -> None:
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(
        init.normal_(np.empty((500, 99)), 1.5, 0.3, generator=3), rng.normal(1.5, 0.3, (500, 99))
    )
    bound = math.sqrt(3) * (init.calculate_gain("relu") / math.sqrt(99))
    uniform = init.kaiming_uniform_(np.empty((500, 99)), nonlinearity="relu", generator=3)
    np.testing.assert_array_equal(uniform, np.random.default_rng(3).uniform(-bound, bound, (500, 99)))


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda dtype: nn.Conv2d(6, 16, 5, dtype=dtype, generator=5), 150),
        (lambda dtype: nn.Conv2d(6, 16, 5, groups=2, dtype=dtype, generator=5), 75),
        (lambda dtype: nn.Conv1d(64, 32, 3, dtype=dtype, generator=5), 192),
        (lambda dtype: nn.ConvTranspose2d(6, 16, 5, dtype=dtype, generator=5), 400),  # torch reads IOHW as OIHW here
        (lambda dtype: nn.Linear(400, 120, dtype=dtype, generator=5), 400),
    ],
)
def test_layers_start_as_torchs(layer: Any, fan_in: int) -> None:
    made = layer(np.float64)
    bound = 1 / math.sqrt(fan_in)
    for parameter in made.parameters():
        assert abs(parameter.data).max() <= bound
        assert len(np.unique(parameter.data)) == parameter.size
    assert abs(made.weight.data).max() > 0.99 * bound
    assert abs(made.weight.data.std() * math.sqrt(3) / bound - 1) < 0.05
    for name, array in layer(np.float32).state_dict().items():
        np.testing.assert_array_equal(array, made.state_dict()[name].astype(np.float32))


def test_gains() -> None:
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == init.calculate_gain("conv2d") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / 1.0001)
    assert init.calculate_gain("leaky_relu", 1) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.kaiming_uniform_(np.empty(3)), ValueError, r"two axes or more.*received weight of shape \(3,\)"),
        (lambda: init.xavier_normal_(np.empty(())), ValueError, "two axes or more"),
        (lambda: init.kaiming_normal_(np.empty((3, 3)), mode="fan"), ValueError, "received mode='fan'"),
        (lambda: init.kaiming_normal_(np.empty((3, 3)), nonlinearity="x"), ValueError, "received nonlinearity='x'"),
        (lambda: init.xavier_normal_(np.empty((3, 3)), generator=1.5), TypeError, "received generator=1.5"),
        (lambda: init.xavier_normal_(np.empty((3, 3)), generator=-2), ValueError, "received generator=-2"),
    ],
)
def test_refuses(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
