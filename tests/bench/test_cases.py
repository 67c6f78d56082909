"""The main job's cases: sizes, work and weights by hand; the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import DIGIT, PHOTO

from fastconv import _extras as extras
from fastconv import data, reference
from fastconv.bench import cases, train
from fastconv.bench.layers import Conv, Dense, Pool


@pytest.mark.parametrize(
    ("layer", "parameters", "multiply_adds"),
    [
        (Conv("ten 5x5 filters on 32x32x3", c=3, h=32, w=32, k=10, kh=5, kw=5, ph=2, pw=2), 760, 10 * 1024 * 75),
        (cases.LENET5[0], 156, 6 * 28 * 28 * 25),
        (cases.LENET5[1], 2_416, 16 * 10 * 10 * 150),
        (cases.LENET5[2], 48_120, 48_000),
        (Dense(120, 84), 10_164, 10_080),
        (Conv("depthwise", c=32, h=112, w=112, k=32, kh=3, kw=3, ph=1, pw=1, groups=32), 320, 32 * 112 * 112 * 9),
        (cases.FIRST_LAYERS[0], 34_944, 105_415_200),
        (cases.FIRST_LAYERS[1], 1_792, 86_704_128),
        (cases.FIRST_LAYERS[2], 9_472, 118_013_952),
    ],
)
def test_counts_by_hand(layer: Conv | Dense, parameters: int, multiply_adds: int) -> None:
    assert layer.parameters == parameters
    assert layer.work().multiply_adds == multiply_adds
    assert layer.work(batch=3).multiply_adds == 3 * multiply_adds


def test_weights_of_the_textbook_examples() -> None:
    assert Dense(9, 16).weights == 144
    assert Dense(9, 90).weights + Dense(90, 50).weights == 5310
    assert Dense(32 * 32, 500).weights == 512_000
    same = Conv("same", c=3, h=32, w=32, k=12, kh=3, kw=3, ph=1, pw=1)
    assert same.output_shape(1) == (1, 12, 32, 32)
    three_small = 3 * Conv("3x3", c=64, h=9, w=9, k=64, kh=3, kw=3).weights
    assert (three_small, Conv("7x7", c=64, h=9, w=9, k=64, kh=7, kw=7).weights) == (27 * 64**2, 49 * 64**2)


def test_only_the_dense_layer_grows_with_the_image() -> None:
    layers = [cases.growing_layer(*size) for size in cases.GROWING_SIZES]
    assert {layer.parameters for layer in layers} == {8 * (3 * 9 + 1)}
    for (height, width), layer in zip(cases.GROWING_SIZES, layers, strict=True):
        assert layer.dense_of_same_sizes().weights == 24 * (height * width) ** 2


def test_bytes_by_hand() -> None:
    work = cases.LENET5[0].work(batch=2)
    image, filters, maps = 2 * 32 * 32, 6 * 25, 2 * 6 * 28 * 28
    assert work.forward_bytes == 4 * (image + filters + 6 + maps)
    assert work.backward_bytes == 4 * (maps + image + filters + image + filters + 6)


@pytest.mark.parametrize("layer", cases.POOLS, ids=lambda layer: layer.name)
def test_pool_shapes_agree_with_the_reference(layer: Pool) -> None:
    x = np.zeros((2, 1, layer.h, layer.w))
    if layer.kind == "global mean":
        y = reference.adaptive_avg_pool2d(x, 1)
    else:
        y = (reference.max_pool2d if layer.kind == "max" else reference.avg_pool2d)(x, **layer.options)
    assert (2, layer.c, *y.shape[2:]) == layer.output_shape(2)


@pytest.mark.parametrize("case", cases.all_cases(), ids=lambda case: case.layer.name)
def test_dense_layers_of_equal_size_and_work(case: cases.Case) -> None:
    layer = case.layer
    same = layer.dense_of_same_sizes()
    assert (same.inputs, same.outputs) == (np.prod(layer.input_shape(1)), np.prod(layer.output_shape(1)))
    equal = layer.dense_of_same_multiply_adds()
    assert equal.inputs == same.inputs
    assert abs(equal.work().multiply_adds - layer.work().multiply_adds) <= equal.inputs / 2


@pytest.mark.parametrize(("per_unit", "fixed"), [(1034, 0), (1035, 10), (7, 3), (1, 0)])
def test_hidden_size_is_the_nearest(per_unit: int, fixed: int) -> None:
    for target in (fixed + 1, 1000, 61_706, 416_520):
        found = train.hidden_size(target, per_unit, fixed)
        distance = {units: abs(units * per_unit + fixed - target) for units in range(max(1, found - 2), found + 3)}
        assert distance[found] == min(distance.values())


def test_networks_cost_the_same() -> None:
    lenet, equal_work, equal_size = train.networks()
    rng = np.random.default_rng(0)
    parameters = [sum(p.size for p in network.build(rng).parameters()) for network in (lenet, equal_work, equal_size)]
    assert (lenet.multiply_adds, parameters[0]) == (416_520, 61_706)
    assert equal_work.multiply_adds == 1034 * 403
    assert abs(equal_work.multiply_adds / lenet.multiply_adds - 1) < 0.001
    assert parameters[2] == 1035 * 60 + 10
    assert abs(parameters[2] / parameters[0] - 1) < 0.01


# -- real images --


def test_photographs_are_standardised_and_protected() -> None:
    photographs = cases.photographs()
    assert (photographs.shape, photographs.dtype) == ((2, 3, 427, 640), np.float32)
    np.testing.assert_allclose(photographs.mean(axis=(2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(photographs.std(axis=(2, 3)), 1, atol=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        photographs[0, 0, 0, 0] = 1


def test_windows_are_parts_of_the_photographs() -> None:
    photographs = cases.photographs()
    np.testing.assert_array_equal(cases.photograph_windows(2, 3, 427, 640), photographs)
    np.testing.assert_array_equal(cases.photograph_windows(1, 3, 27, 40)[0], photographs[0, :, 200:227, 300:340])
    gray = cases.photograph_windows(1, 1, 427, 640)[0, 0]
    np.testing.assert_allclose(gray, photographs[0].mean(axis=0), atol=1e-6)
    windows = cases.photograph_windows(1, 12, 14, 14)[0]
    assert len({window.tobytes() for window in windows}) == 12


def test_digits_are_enlarged_faithfully() -> None:
    images, labels = data.digits()
    assert (images.shape, images.dtype, labels.shape) == ((1797, 1, 32, 32), np.float32, (1797,))
    assert images.min() >= data.PAPER - 1e-6
    assert images.max() <= data.INK + 1e-6
    small = images.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))  # blurred, but the same digit
    original = np.asarray(extras.require("sklearn.datasets", "digits").load_digits().images).reshape(len(images), -1)
    alike = [np.corrcoef(one.ravel(), other)[0, 1] for one, other in zip(small[:50], original[:50], strict=True)]
    assert min(alike) > 0.9


def test_every_third_image_is_for_testing_only() -> None:
    _, labels = data.digits()
    training, _, test = data.split(len(labels))
    assert (len(training), len(test)) == (1198, 599)
    assert not set(training) & set(test)
    assert set(test) == set(range(0, 1797, 3))
    assert set(labels[test]) == set(range(10))


@pytest.mark.parametrize("case", [DIGIT, replace(DIGIT, layer=cases.LENET5[2]), PHOTO], ids=["C1", "C5", "photo"])
def test_inputs_have_the_layers_shape(case: cases.Case) -> None:
    x = cases.make_input(case, 3)
    assert (x.shape, x.dtype) == (case.layer.input_shape(3), np.float32)
    assert len({image.tobytes() for image in x}) == 3
    assert np.isfinite(x).all()
