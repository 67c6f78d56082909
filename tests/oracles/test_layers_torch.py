"""Layers, loss, optimizer and LeNet-5 beside torch's: the same names, numbers and representations."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.models import LeNet5
from fastconv.nn import init
from fastconv.optim import SGD

torch = pytest.importorskip("torch")
tnn = torch.nn

CLOSE: Any = {"rtol": 1e-10, "atol": 1e-12}

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3), {"padding": 2, "padding_mode": "circular"}, (2, 4, 9)),
    ("Conv2d", (4, 6, 3), {}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 3), {}, (4, 7, 8)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 3), {"groups": 2, "bias": False}, (2, 4, 7, 8)),
    ("Conv2d", (4, 8, 3), {"groups": 4, "padding": "valid"}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 4), {"padding": "same"}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 4), {"padding": "same", "padding_mode": "reflect"}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (2, 1), "padding_mode": "reflect"}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (2, 1), "padding_mode": "replicate", "stride": 2}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (2, 1), "padding_mode": "circular"}, (4, 7, 8)),
    ("Conv3d", (2, 4, (1, 3, 2)), {"padding": (0, 1, 1), "groups": 2}, (2, 2, 4, 5, 6)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1}, (2, 4, 5)),
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 5, 6)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)}, (2, 4, 5, 6)),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"groups": 2, "bias": False, "dilation": 2}, (4, 5, 6)),
    ("ConvTranspose3d", (2, 4, 2), {"stride": 2}, (1, 2, 2, 3, 4)),
    ("MaxPool1d", (3,), {"stride": 2}, (2, 3, 9)),
    ("MaxPool2d", (2,), {}, (2, 3, 7, 8)),
    ("MaxPool2d", ((3, 2), 2, 1), {"ceil_mode": True}, (2, 3, 7, 8)),
    ("MaxPool2d", (2, 1, 0, 2), {}, (3, 7, 8)),
    ("MaxPool3d", ((1, 2, 2),), {}, (2, 3, 4, 5, 6)),
    ("AvgPool2d", (2,), {}, (2, 3, 7, 8)),
    ("AvgPool2d", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}, (2, 3, 7, 8)),
    ("AvgPool2d", ((2, 3),), {"divisor_override": 5}, (3, 7, 8)),
    ("AvgPool3d", (2,), {"stride": 1, "padding": 1}, (2, 3, 4, 5, 6)),
    ("AdaptiveAvgPool1d", (4,), {}, (2, 3, 9)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 7, 8)),
    ("AdaptiveAvgPool2d", (1,), {}, (3, 7, 8)),
    ("AdaptiveAvgPool3d", (2,), {}, (2, 3, 4, 5, 6)),
    ("AdaptiveMaxPool1d", (4,), {}, (2, 3, 9)),
    ("AdaptiveMaxPool2d", ((3, 2),), {}, (2, 3, 7, 8)),
    ("AdaptiveMaxPool3d", ((2, None, 1),), {}, (2, 3, 4, 5, 6)),
    ("Linear", (5, 7), {}, (2, 5)),
    ("Linear", (5, 7), {"bias": False}, (2, 3, 5)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Flatten", (0, 1), {}, (2, 3, 4)),
    ("ReLU", (), {}, (2, 3, 4)),
    ("LeakyReLU", (0.2,), {}, (2, 3, 4)),
    ("ELU", (0.7,), {}, (2, 3, 4)),
    ("Sigmoid", (), {}, (2, 3, 4)),
    ("Tanh", (), {}, (2, 3, 4)),
    ("GELU", (), {}, (2, 3, 4)),
    ("GELU", ("tanh",), {}, (2, 3, 4)),
    ("SiLU", (), {}, (2, 3, 4)),
    ("Softplus", (2.0, 3.0), {}, (2, 3, 4)),
    ("Softmax", (1,), {}, (2, 3, 4)),
    ("LogSoftmax", (-1,), {}, (2, 3, 4)),
    ("PReLU", (), {}, (2, 3, 4)),
    ("PReLU", (3, 0.1), {}, (2, 3, 4)),
    ("ZeroPad1d", (2,), {}, (2, 3, 4)),
    ("ZeroPad2d", ((1, 2, 0, 1),), {}, (2, 3, 4, 5)),
    ("ConstantPad2d", ((1, 2, 0, 1), 3.5), {}, (3, 4, 5)),
    ("ConstantPad3d", (1, -0.5), {}, (2, 3, 4, 5, 2)),
    ("ReflectionPad1d", ((3, 1),), {}, (2, 3, 4)),
    ("ReflectionPad2d", (2,), {}, (3, 4, 5)),
    ("ReflectionPad3d", (1,), {}, (2, 1, 4, 5, 3)),
    ("ReplicationPad2d", ((1, 2, 3, 4),), {}, (2, 3, 4, 5)),
    ("ReplicationPad3d", (1,), {}, (2, 1, 4, 5, 3)),
    ("CircularPad1d", ((4, 1),), {}, (2, 3, 4)),
    ("CircularPad2d", ((1, 2, 3, 4),), {}, (2, 3, 4, 5)),
    ("Unflatten", (1, (2, 3)), {}, (2, 6, 4)),
    ("Identity", (), {}, (2, 3, 4)),
]
TRAINED = ("Conv", "Linear", "PReLU")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def torch_states(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def assert_same_way(ours: nn.Module, theirs: Any, x: np.ndarray) -> None:
    """Compare output and all gradients on one input."""
    tensor = torch.from_numpy(x).requires_grad_()
    expected = theirs(tensor)
    output, backward = ours.forward(x)
    np.testing.assert_allclose(output, expected.detach().numpy(), **CLOSE)
    grad_output = np.random.default_rng(5).standard_normal(output.shape)
    expected.backward(torch.from_numpy(grad_output))
    np.testing.assert_allclose(backward(grad_output), tensor.grad.numpy(), **CLOSE)
    grads = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert list(grads) == [name for name, _ in theirs.named_parameters()]
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(grads[name], parameter.grad.numpy(), **CLOSE, err_msg=name)


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=str)
def test_layers(name: str, args: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...]) -> None:
    trained = name.startswith(TRAINED)
    ours = getattr(nn, name)(*args, **options, **({"dtype": np.float64} if trained else {}))
    theirs = getattr(tnn, name)(*args, **options, **({"dtype": torch.float64} if trained else {}))
    assert repr(ours).startswith(repr(theirs).removesuffix(")")), "then come those that torch does not show"
    ours.load_state_dict(theirs.state_dict())
    assert_same_way(ours, theirs, np.random.default_rng(0).standard_normal(shape))


def test_indices_of_pools() -> None:
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 7, 8)).astype(np.float64)  # with equal maxima
    for name, args in (("MaxPool2d", (3, 2, 1)), ("AdaptiveMaxPool2d", (3,))):
        y, indices = getattr(nn, name)(*args, return_indices=True)(x)
        expected_y, expected_indices = getattr(tnn, name)(*args, return_indices=True)(torch.from_numpy(x))
        np.testing.assert_array_equal(y, expected_y.numpy())
        np.testing.assert_array_equal(indices, expected_indices.numpy(), strict=True)


@pytest.mark.parametrize(
    ("name", "args"), [("Conv2d", (6, 16, 5)), ("ConvTranspose2d", (6, 16, 5)), ("Linear", (400, 120))]
)
def test_first_weights_have_torchs_bounds(name: str, args: tuple[int, ...]) -> None:
    ours, theirs = getattr(nn, name)(*args, generator=0), getattr(tnn, name)(*args)
    for (key, parameter), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        theirs_bound = float(expected.detach().abs().max())
        assert abs(float(abs(parameter.data).max()) / theirs_bound - 1) < (0.01 if key == "weight" else 0.5)


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"])
def test_distributions_have_torchs_spread(name: str) -> None:
    shape = (300, 40, 3, 3)
    ours, theirs = getattr(init, name)(np.empty(shape), generator=0), getattr(tnn.init, name)(torch.empty(shape))
    assert abs(ours.std() / float(theirs.std()) - 1) < 0.01


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu"])
def test_gains(nonlinearity: str) -> None:
    assert init.calculate_gain(nonlinearity) == tnn.init.calculate_gain(nonlinearity)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 4), (4,), (2, 4, 3, 2)])
def test_cross_entropy(shape: tuple[int, ...], reduction: str) -> None:
    generator = np.random.default_rng(0)
    scores = 5 * generator.standard_normal(shape)
    axis = min(1, len(shape) - 1)
    target = generator.integers(0, 4, shape[:axis] + shape[axis + 1 :])
    tensor = torch.from_numpy(scores).requires_grad_()
    expected = tnn.CrossEntropyLoss(reduction=reduction)(tensor, torch.as_tensor(target))
    expected.sum().backward()
    loss, grad = nn.CrossEntropyLoss(reduction=reduction)(scores, target)
    np.testing.assert_allclose(loss, expected.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(grad, tensor.grad.numpy(), **CLOSE)


def torch_lenet() -> Any:
    features = tnn.Sequential(
        tnn.Conv2d(1, 6, 5),
        tnn.ReLU(),
        tnn.MaxPool2d(2),
        tnn.Conv2d(6, 16, 5),
        tnn.ReLU(),
        tnn.MaxPool2d(2),
        tnn.Conv2d(16, 120, 5),
        tnn.ReLU(),
    )
    classifier = tnn.Sequential(tnn.Flatten(start_dim=-3), tnn.Linear(120, 84), tnn.ReLU(), tnn.Linear(84, 10))
    return tnn.Sequential(OrderedDict(features=features, classifier=classifier)).double()


def test_lenet_has_torchs_names_and_numbers() -> None:
    ours, theirs = LeNet5(dtype=np.float64), torch_lenet()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(LeNet5()) == repr(theirs).replace("Sequential", "LeNet5", 1)
    ours.load_state_dict(torch_states(theirs))
    assert_same_way(ours, theirs, np.random.default_rng(0).standard_normal((3, 1, 32, 32)))
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})


def test_lenet_trains_step_by_step_as_torchs() -> None:
    generator = np.random.default_rng(0)
    ours, theirs = LeNet5(dtype=np.float64), torch_lenet()
    ours.load_state_dict(torch_states(theirs))
    options: Any = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}
    optimizer, expected = SGD(ours.parameters(), **options), torch.optim.SGD(theirs.parameters(), **options)
    for _ in range(5):
        x, target = generator.standard_normal((4, 1, 32, 32)), generator.integers(0, 10, 4)
        optimizer.zero_grad()
        y, backward = ours.forward(x, needs_input_grad=False)
        loss, grad = nn.CrossEntropyLoss()(y, target)
        backward(grad)
        optimizer.step()
        expected.zero_grad()
        expected_loss = tnn.CrossEntropyLoss()(theirs(torch.from_numpy(x)), torch.from_numpy(target))
        expected_loss.backward()
        expected.step()
        assert float(loss) == pytest.approx(expected_loss.item(), rel=1e-9)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], tensor.numpy(), rtol=1e-7, atol=1e-10, err_msg=name)
