"""LeNet-5: its published figures, its way back, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.models import LeNet5
from fastconv.optim import SGD


def test_published_parameter_counts() -> None:
    sizes = {name: parameter.size for name, parameter in LeNet5().named_parameters()}
    c1, c3, c5, f6, output = (
        sizes[f"{layer}.weight"] + sizes[f"{layer}.bias"]
        for layer in ("features.0", "features.3", "features.6", "classifier.1", "classifier.3")
    )
    assert (c1, c5, f6, output) == (156, 48_120, 10_164, 850)
    assert c3 == (5 * 5 * 6 + 1) * 16
    assert sum(sizes.values()) == 61_706


def test_sizes_along_the_way() -> None:
    x = np.zeros((1, 1, 32, 32), np.float32)
    shapes = []
    for layer in LeNet5()[0]:
        x = layer(x)
        shapes.append(x.shape[1:])
    assert shapes[::3] == [(6, 28, 28), (16, 10, 10), (120, 1, 1)]
    assert shapes[2::3] == [(6, 14, 14), (16, 5, 5)]


def test_one_sample_or_a_batch_or_none() -> None:
    net = LeNet5(7, in_channels=3, dtype=np.float64, generator=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32))
    assert net(x).shape == (2, 7)
    np.testing.assert_allclose(net(x[0]), net(x)[0], rtol=1e-10)
    assert net(x[:0]).shape == (0, 7)


def test_seeds() -> None:
    states = [LeNet5(generator=generator).state_dict() for generator in (0, np.random.default_rng(0), 1)]
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])
        assert not np.array_equal(array, states[2][name])


def test_choices() -> None:
    class Half(nn.Module):
        def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, Any]:
            return input / 2, lambda grad: grad / 2

    net = LeNet5(activation=Half, pool=nn.AvgPool2d)
    assert [type(layer) for layer in net[0]][1:3] == [Half, nn.AvgPool2d]
    assert net(np.zeros((1, 1, 32, 32), np.float32)).shape == (1, 10)


def test_way_back_by_differences_in_some_directions() -> None:
    net = LeNet5(dtype=np.float64, generator=3)
    generator = np.random.default_rng(4)
    x, target, loss_fn = generator.standard_normal((3, 1, 32, 32)), np.array([1, 5, 9]), nn.CrossEntropyLoss()
    y, backward = net.forward(x)
    grad_x = backward(loss_fn(y, target)[1])
    slopes = [(x, grad_x), *((parameter.data, parameter.grad) for parameter in net.parameters())]
    for array, grad in slopes:
        direction = generator.standard_normal(array.shape)
        kept, losses = array.copy(), []
        for step in (1e-6, -1e-6):
            array[...] = kept + step * direction
            losses.append(loss_fn(net(x), target)[0])
        array[...] = kept
        assert np.sum(grad * direction) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_learns_four_pictures_by_heart() -> None:
    x = np.random.default_rng(0).standard_normal((4, 1, 32, 32)).astype(np.float32)
    target = np.array([3, 1, 4, 1])
    net, loss_fn = LeNet5(generator=0), nn.CrossEntropyLoss()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        y, backward = net.forward(x, needs_input_grad=False)
        loss, grad = loss_fn(y, target)
        assert backward(grad) is None
        optimizer.step()
        losses.append(float(loss))
    assert losses[0] > 2
    assert losses[-1] < 0.05
    assert net(x).argmax(1).tolist() == target.tolist()
    np.testing.assert_allclose(net.freeze()(x), net.unfreeze()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"in_channels": -1}])
def test_refuses(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        LeNet5(**options)
