"""What convolution and pooling keep, and how gradients shrink."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import whole

import fastconv as fc
from fastconv import nn, optim
from fastconv.analysis import (
    dead_units,
    equivariance_error,
    fully_connected,
    gradient_by_depth,
    invariance_error,
    output_size,
    translate,
)


def quarter_turn(image: Any) -> Any:
    return np.rot90(image, axes=(-2, -1))


def half_size(image: Any) -> Any:
    return fc.avg_pool2d(image, 2)


@pytest.fixture(scope="module")
def photo() -> Any:
    """Part of a photograph, in whole numbers."""
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL")
    return datasets.load_sample_image("china.jpg")[100:228, 200:328].transpose(2, 0, 1).astype(np.float64)


def test_numbers_of_numpy_are_numbers() -> None:
    x = np.random.default_rng(0).random((1, 6, 7))
    np.testing.assert_array_equal(translate(x, np.int64(2)), translate(x, 2))  # type: ignore[arg-type]
    assert equivariance_error(np.sin, x, np.int64(1), margin=np.int64(2)) == 0  # type: ignore[arg-type]
    assert output_size(np.int64(5), np.int64(3)) == 3
    assert fully_connected(np.int64(9), np.int64(16)).weights == 144  # type: ignore[arg-type]


def test_translate() -> None:
    image = np.arange(12).reshape(1, 3, 4)
    for down, right in ((0, 0), (1, 2), (-2, 1), (2, -3), (5, 0), (0, -9)):
        want = np.full_like(image, -1)
        for h in range(3):
            for w in range(4):
                if 0 <= h + down < 3 and 0 <= w + right < 4:
                    want[0, h + down, w + right] = image[0, h, w]
        np.testing.assert_array_equal(translate(image, (down, right), -1), want)


@pytest.mark.parametrize("shift", [(1, 0), (3, -2), (-5, 7)])
def test_convolution_is_equivariant_to_shifts(photo: Any, shift: tuple[int, int]) -> None:
    w = whole(np.random.default_rng(0), 4, 3, 5, 5, dtype=np.float64)
    assert equivariance_error(lambda x: fc.conv2d(x, w, padding=2), photo, shift, margin=9) == 0.0


def test_a_strided_convolution_is_equivariant_to_multiples_of_the_stride(photo: Any) -> None:
    w = whole(np.random.default_rng(0), 4, 3, 3, 3, dtype=np.float64)

    def strided(x: Any) -> Any:
        return fc.conv2d(x, w, stride=2, padding=1)

    assert equivariance_error(strided, photo, (4, -6), (2, -3), margin=5) == 0.0
    assert equivariance_error(strided, photo, (3, -6), (2, -3), margin=5) > 0.1
    assert equivariance_error(lambda x: fc.max_pool2d(x, 2), photo, (2, 4), (1, 2), margin=3) == 0.0


def test_convolution_is_not_equivariant_to_turns_and_scale(photo: Any) -> None:
    w = whole(np.random.default_rng(0), 4, 3, 3, 3, dtype=np.float64)

    def conv(x: Any) -> Any:
        return fc.conv2d(x, w, padding=1)

    assert equivariance_error(conv, photo, quarter_turn, margin=2) > 0.3
    assert equivariance_error(conv, photo, half_size, margin=2) > 0.3
    round_kernel = np.ones((1, 3, 3, 3))  # only a kernel that looks the same turned is
    assert equivariance_error(lambda x: fc.conv2d(x, round_kernel, padding=1), photo, quarter_turn, margin=2) == 0.0


def test_a_fully_connected_layer_is_not_equivariant(photo: Any) -> None:
    small = photo[:1, :16, :16] - photo[:1, :16, :16].mean()
    dense = nn.Linear(256, 256, dtype=np.float64, generator=0)
    assert equivariance_error(lambda x: dense(x.reshape(1, 256)).reshape(1, 16, 16), small, (0, 1), margin=2) > 0.5


def test_pooling_is_nearly_invariant_to_small_shifts(photo: Any) -> None:
    """Edges of a photograph: the larger the window, the less of a shift by one pixel comes through."""
    edges = np.abs(fc.conv2d(photo, np.array([[[[-1.0, 0, 1]]] * 3]).reshape(1, 3, 1, 3)))
    moved = invariance_error(lambda x: x, edges, 1)
    by_window = [invariance_error(nn.MaxPool2d(k, 1), edges, 1) for k in (2, 3, 5, 9)]
    assert moved > by_window[0] > by_window[1] > by_window[2] > by_window[3]
    assert by_window[-1] < moved / 4
    assert invariance_error(nn.AdaptiveMaxPool2d(1), edges[..., 4:-4], 1) < 0.01


def test_any_image_size_fits_a_classifier_behind_global_pooling() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    assert not any(True for _ in nn.AdaptiveAvgPool2d(1).parameters())
    for size in ((5, 5), (32, 32), (61, 97)):
        assert net(np.zeros((2, 3, *size), np.float32)).shape == (2, 10)


def test_gradients_by_depth() -> None:
    """A stack of doublings; the gradients that were there stay."""
    net = nn.Sequential(*(nn.Linear(3, 3, bias=False, dtype=np.float64) for _ in range(4)))
    for parameter in net.parameters():
        parameter.data[...] = 2 * np.eye(3)
    net[0].weight.grad = before = np.ones((3, 3))  # type: ignore[attr-defined]
    np.testing.assert_allclose(gradient_by_depth(net, np.ones((1, 3))), [16, 8, 4, 2, 1])
    np.testing.assert_allclose(gradient_by_depth(net, np.ones((1, 3)), np.full((1, 3), 10.0)), [160, 80, 40, 20, 10])
    assert net[0].weight.grad is before  # type: ignore[attr-defined]
    assert (before == 1).all()
    assert net[1].weight.grad is None  # type: ignore[attr-defined]


def test_gradients_stay_as_they_are_also_when_a_backward_pass_fails() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    for parameter in net.parameters():
        parameter.grad = np.full(parameter.shape, 7, np.float32)
    with pytest.raises(ValueError, match="grad_output"):
        gradient_by_depth(net, np.ones((1, 3), np.float32), np.ones((1, 4), np.float32))
    gradient_by_depth(net, np.ones((1, 3), np.float32))
    assert all((parameter.grad == 7).all() for parameter in net.parameters())


def test_dead_units() -> None:
    maps = np.full((2, 3, 4, 4), -1.0)
    maps[1, 1, 2, 3] = 5  # one position of one sample is enough
    assert dead_units(nn.ReLU(), maps).tolist() == [True, False, True]
    assert dead_units(nn.ReLU(), np.moveaxis(maps, 1, -1), -1).tolist() == [True, False, True]
    assert not dead_units(nn.LeakyReLU(), maps).any()
    assert not dead_units(nn.Sigmoid(), maps).any()
    assert dead_units(nn.ReLU(), maps[:0]).all()  # nothing that it could learn from


@pytest.mark.parametrize("optimizer", [lambda p: optim.SGD(p, 0.5, momentum=0.9), lambda p: optim.Adam(p, 0.1)])
def test_a_dead_relu_never_learns_again_and_a_leaky_one_does(optimizer: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 3)), rng.random((40, 1))
    for activation, dead in ((nn.ReLU(), True), (nn.LeakyReLU(0.1), False)):
        net = nn.Sequential(nn.Linear(3, 5, generator=1, dtype=np.float64), activation, nn.Linear(5, 1, generator=2))
        hidden: Any = net[0]
        hidden.bias.data[...] = -4  # the weights' sum is at most 3 / sqrt(3)
        before = hidden.weight.data.copy()
        steps = optimizer(net.parameters())
        assert dead_units(activation, hidden(x)).all() == dead
        for _ in range(20):
            guess, backward = net.forward(x)
            _, grad = nn.MSELoss()(guess, y)
            steps.zero_grad()
            backward(grad)
            steps.step()
        assert np.array_equal(hidden.weight.data, before) == dead
        assert dead_units(activation, hidden(x)).all() == dead


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d((5, 3)),
        nn.AdaptiveMaxPool2d(1),
    ],
    ids=repr,
)
def test_pooling_keeps_the_depth_and_has_no_parameters(pool: nn.Module) -> None:
    for depth in (1, 3, 20):
        x = whole(np.random.default_rng(depth), 2, depth, 8, 12)
        y = pool(x)
        assert y.shape[:2] == (2, depth)
        for channel in range(depth):  # each map by itself
            np.testing.assert_array_equal(pool(x[:, channel : channel + 1])[:, 0], y[:, channel])
    assert not list(pool.parameters())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: translate(np.ones(3), (1, 1)), ValueError, "shift must have"),
        (lambda: translate(np.ones(3), 1.5), TypeError, "shift must be"),  # type: ignore[arg-type]
        (lambda: equivariance_error(np.sin, np.zeros((4, 4)), 1), ValueError, "must not be all zero"),
        (lambda: equivariance_error(np.sin, np.ones((4, 4)), 1, margin=2), ValueError, "all zero or empty"),
        (lambda: equivariance_error(np.sin, np.ones((4, 5)), quarter_turn, 1), ValueError, "one shape"),
        (lambda: equivariance_error(np.sin, np.ones((4, 4)), 1, margin=-1), ValueError, "margin"),
        (lambda: invariance_error(np.sin, np.zeros(3), 1), ValueError, "invariance_error: the output"),
        (lambda: equivariance_error(np.sin, np.ones((4, 4)), 1, margin=(0, 0, 0)), ValueError, "margin must have one"),
        (lambda: invariance_error(np.sin, np.ones((4, 4)), lambda x: x[:, :1]), ValueError, "one shape"),
        (lambda: gradient_by_depth(nn.ReLU(), np.ones(3)), TypeError, "must be a Sequential"),  # type: ignore[arg-type]
        (lambda: dead_units(nn.ReLU(), np.ones(3)), ValueError, "dead_units: dim must be an axis"),
        (lambda: dead_units(nn.ReLU(), np.ones((2, 3)), 0.5), TypeError, "dead_units: dim"),  # type: ignore[arg-type]
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
