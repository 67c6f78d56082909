"""Matrices of layers: they do what the layers do, and convolution is a fully connected layer with tied entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import whole

import fastconv as fc
from fastconv import nn
from fastconv.analysis import SparseMatrix, as_linear, as_matrix, jacobian, tied_gradient, wiring

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(7, 5, dtype=np.float64), (7,)),
    "plain": (nn.Conv2d(2, 3, 3, dtype=np.float64), (2, 5, 6)),
    "strides": (nn.Conv2d(2, 3, (2, 3), (2, 1), ((1, 0), (2, 1)), (1, 2), dtype=np.float64), (2, 5, 6)),
    "groups": (nn.Conv2d(4, 6, 3, padding="same", groups=2, dtype=np.float64), (4, 4, 5)),
    "axis": (nn.Conv1d(2, 3, 3, stride=2, padding=1, bias=False, dtype=np.float64), (2, 9)),
    "local": (nn.LocallyConnected2d(2, 3, (5, 6), 3, padding=(0, 1), dtype=np.float64), (2, 5, 6)),
    "local axis": (nn.LocallyConnected1d(4, 2, 9, 3, stride=2, groups=2, dtype=np.float64), (4, 9)),
    "tiled": (nn.TiledConv2d(2, 3, 2, (2, 3), padding=1, dtype=np.float64), (2, 4, 6)),
    "tiled, strides": (nn.TiledConv2d(4, 2, 3, 2, stride=(1, 2), groups=2, dtype=np.float64), (4, 6, 7)),
    "volume": (nn.Conv3d(1, 2, 2, padding=1, dtype=np.float64), (1, 3, 2, 4)),
}


def numbered(name: str) -> tuple[Any, tuple[int, ...], np.random.Generator]:
    """A layer with whole numbers as weights, so that sums are exact."""
    layer, shape = LAYERS[name]
    rng = np.random.default_rng(len(name))
    for parameter in layer.parameters():
        parameter.data[...] = whole(rng, *parameter.shape, dtype=np.float64)
    layer.zero_grad()
    return layer, shape, rng


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_does_what_the_layer_does(name: str) -> None:
    layer, shape, rng = numbered(name)
    x = whole(rng, *shape, dtype=np.float64)
    matrix = as_matrix(layer, shape)
    constant = layer(np.zeros((1, *shape)))[0]
    np.testing.assert_array_equal(matrix @ x.ravel() + constant.ravel(), layer(x[np.newaxis])[0].ravel())
    np.testing.assert_array_equal(as_matrix(lambda batch: layer(batch), shape), matrix)  # asked for unit inputs
    for sparse in (as_matrix(layer, shape, sparse=True), as_matrix(lambda batch: layer(batch), shape, sparse=True)):
        np.testing.assert_array_equal(sparse.toarray(), matrix)
        assert sparse.data.size == np.count_nonzero(matrix)
    g = whole(rng, *constant.shape, dtype=np.float64)
    np.testing.assert_array_equal(matrix.T @ g.ravel(), layer.forward(x[np.newaxis])[1](g[np.newaxis]).ravel())


@pytest.mark.parametrize("name", LAYERS)
def test_convolution_is_an_infinitely_strong_prior(name: str) -> None:
    """Same output; and the dense weight gradient, tied, is the layer's: to the last bit in whole numbers."""
    layer, shape, rng = numbered(name)
    x = whole(rng, 3, *shape, dtype=np.float64)
    dense = as_linear(layer, shape)
    y, backward = layer.forward(x)
    y_dense, backward_dense = dense.forward(x.reshape(3, -1))
    np.testing.assert_array_equal(y_dense, y.reshape(3, -1))
    g = whole(rng, *y.shape, dtype=np.float64)
    np.testing.assert_array_equal(backward_dense(g.reshape(3, -1)), backward(g).reshape(3, -1))
    gradient = dense.weight.grad
    assert gradient is not None
    np.testing.assert_array_equal(tied_gradient(layer, shape, gradient), layer.weight.grad)
    if name != "linear":  # most of what the dense layer would learn is dropped
        assert np.count_nonzero(gradient) > np.count_nonzero(as_matrix(layer, shape))


@pytest.mark.parametrize("name", LAYERS)
def test_equal_numbers_in_the_picture_are_one_weight(name: str) -> None:
    layer, shape, _ = numbered(name)
    wires = wiring(layer, shape)
    picture = wires.picture()
    layer.weight.data[...] = np.arange(layer.weight.size).reshape(layer.weight.shape) + 1
    np.testing.assert_array_equal(picture + 1, as_matrix(layer, shape))
    assert (np.diff(wires.row) >= 0).all()


def test_shared_weights_lie_on_diagonals() -> None:
    layer = nn.Conv1d(1, 1, 3, padding=1)
    picture = wiring(layer, (1, 7)).picture()
    for offset, weight in ((-1, 0), (0, 1), (1, 2)):
        assert set(np.diagonal(picture, offset)) == {weight}
    assert np.count_nonzero(picture >= 0) == 7 + 6 + 6


def test_pooling_as_a_matrix() -> None:
    mean = as_matrix(nn.AvgPool2d(2), (1, 4, 6))
    assert mean.shape == (6, 24)  # stride 2: a quarter
    assert {tuple(sorted(row[row != 0])) for row in mean} == {(0.25,) * 4}
    image = np.random.default_rng(0).permutation(24).astype(float).reshape(1, 4, 6)
    largest = jacobian(nn.MaxPool2d(2), image)
    assert {tuple(row[row != 0]) for row in largest} == {(1.0,)}  # one weight is 1, the rest 0
    np.testing.assert_array_equal((largest @ image.ravel()), nn.MaxPool2d(2)(image).ravel())
    np.testing.assert_array_equal(jacobian(nn.AvgPool2d(2), image), mean)
    assert as_matrix(nn.AdaptiveAvgPool2d(1), (2, 3, 4)).tolist() == [
        [1 / 12] * 12 + [0] * 12,
        [0] * 12 + [1 / 12] * 12,
    ]
    with pytest.raises(ValueError, match="must be linear"):
        as_matrix(nn.MaxPool2d(2), (1, 4, 4))
    with pytest.raises(ValueError, match="must be linear"):
        as_matrix(lambda x: x * np.abs(x), (1, 4))


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AvgPool1d(3, 2, 1), (2, 9)),
        (nn.AvgPool2d(3, 2, 1), (2, 6, 7)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (1, 6, 7)),
        (nn.AvgPool2d((2, 3), 2, ceil_mode=True), (2, 5, 6)),
        (nn.AvgPool2d(2, divisor_override=3), (1, 4, 4)),
        (nn.AvgPool3d(2), (1, 2, 4, 4)),
    ],
    ids=repr,
)
def test_mean_pooling_is_what_it_answers_to_unit_inputs(pool: nn.Module, shape: tuple[int, ...]) -> None:
    want = as_matrix(lambda x: pool(x), shape)
    np.testing.assert_allclose(as_matrix(pool, shape), want, rtol=1e-15)
    np.testing.assert_allclose(as_matrix(pool, shape, sparse=True).toarray(), want, rtol=1e-15)


def test_matrices_of_whole_stacks_are_products() -> None:
    a, b = (
        nn.Conv2d(1, 2, 3, dtype=np.float64, generator=0),
        nn.Conv2d(2, 1, 2, stride=2, dtype=np.float64, generator=1),
    )
    product = as_matrix(b, (2, 5, 4)) @ as_matrix(a, (1, 7, 6))
    np.testing.assert_allclose(as_matrix(nn.Sequential(a, b), (1, 7, 6)), product, atol=1e-12)


def test_transposed_convolution_is_the_transposed_matrix() -> None:
    w = whole(np.random.default_rng(0), 3, 2, 3, 3, dtype=np.float64)
    forward = as_matrix(lambda x: fc.conv2d(x, w, stride=2, padding=1), (2, 5, 7))
    back = as_matrix(lambda y: fc.conv_transpose2d(y, w, stride=2, padding=1), (3, 3, 4))
    np.testing.assert_array_equal(back, forward.T)


def test_large_matrices_come_out_sparse() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False, generator=0)
    matrix = as_matrix(layer, (1, 100, 120))
    assert matrix.shape == (12_000, 12_000)
    assert matrix.data.size == (3 * 100 - 2) * (3 * 120 - 2)
    assert not isinstance(matrix, np.ndarray)
    pooled = as_matrix(nn.AvgPool2d(4), (1, 256, 288))
    assert pooled.data.size == 256 * 288
    assert set(pooled.data) == {1 / 16}


def test_without_scipy_there_are_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, shape, _ = numbered("strides")
    dense = as_matrix(layer, shape)
    monkeypatch.setattr("fastconv._extras.importlib.import_module", _without_scipy)
    sparse = as_matrix(layer, shape, sparse=True)
    assert isinstance(sparse, SparseMatrix)
    np.testing.assert_array_equal(sparse.toarray(), dense)
    np.testing.assert_array_equal(as_matrix(lambda x: layer(x), shape, sparse=True).toarray(), dense)


def _without_scipy(name: str) -> Any:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])


def test_jacobian_of_a_network() -> None:
    """Against differences; gradients that were there stay."""
    net = nn.Sequential(nn.Conv2d(1, 2, 2, dtype=np.float64, generator=0), nn.ReLU(), nn.Flatten())
    x = np.random.default_rng(0).standard_normal((1, 3, 4))
    net[0].weight.grad = before = np.ones((2, 1, 2, 2))  # type: ignore[attr-defined]
    matrix = jacobian(net, x)
    assert net[0].weight.grad is before  # type: ignore[attr-defined]
    assert (before == 1).all()
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = 1e-6
        ends = [net((x + sign * step.reshape(x.shape))[np.newaxis])[0] for sign in (1, -1)]
        np.testing.assert_allclose(matrix[:, i], (ends[0] - ends[1]) / 2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: wiring(nn.ReLU(), (3,)), TypeError, "wiring: layer must"),
        (lambda: wiring(nn.Linear(3, 2), (4,)), ValueError, "takes"),
        (lambda: wiring(nn.Conv2d(1, 1, 3, padding_mode="circular"), (1, 5, 5)), ValueError, "padding_mode='circular'"),
        (lambda: wiring(nn.Conv2d(2, 1, 3), (1, 5, 5)), ValueError, "channels"),
        (lambda: as_matrix(nn.LocallyConnected1d(1, 1, 6, 3), (1, 9)), ValueError, r"takes images of \(6,\), received"),
        (lambda: as_matrix(3, (1, 2)), TypeError, "layer must be a Module or a function, received layer=3"),
        (lambda: as_matrix(nn.Linear(3, 2), (3,), sparse=1), TypeError, "sparse must be True or False"),  # type: ignore[arg-type]
        (lambda: as_matrix(nn.Conv2d(1, 1, 3), (1, 10**6, 10**6), sparse=False), MemoryError, "cannot be held"),
        (lambda: wiring(nn.Conv1d(1, 1, 2), (1, 3)).matrix(np.ones(2)), ValueError, "weight must have shape"),
        (lambda: tied_gradient(nn.Conv1d(1, 1, 2), (1, 3), np.ones((3, 3))), ValueError, "gradient must have shape"),
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_circular_padding_is_a_circulant_matrix() -> None:
    layer = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    layer.weight.data[...] = [[[1, 2, 3]]]
    np.testing.assert_array_equal(as_matrix(layer, (1, 4)), [[2, 3, 0, 1], [1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2]])
