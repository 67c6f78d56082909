"""Activations, losses, optimizers and schedules beside torch's, values and gradients, step for step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import nn, optim

torch = pytest.importorskip("torch")
tF = torch.nn.functional

DTYPES = [np.float32, np.float64]
CLOSE: dict[Any, Any] = {
    np.float32: {"rtol": 1e-5, "atol": 1e-5},
    np.float64: {"rtol": 1e-10, "atol": 1e-12},
}


def draw(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return (2 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def assert_alike(
    ours: Callable[[np.ndarray], Any], back: Callable[..., Any], theirs: Callable[[Any], Any], x: np.ndarray
) -> None:
    """Compare values and input gradients; ``back(g, x, y)`` leads ours back."""
    close = CLOSE[x.dtype.type]
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    expected = theirs(tensor)
    y = ours(x)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, expected.detach().numpy(), **close)
    g = np.asarray(draw(*np.shape(y), dtype=x.dtype, seed=1))
    expected.backward(torch.from_numpy(g.copy()))
    np.testing.assert_allclose(back(g, x, y), tensor.grad.numpy(), **close)


ACTIVATIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("relu", {}, True),
    ("leaky_relu", {"negative_slope": 0.2}, False),
    ("elu", {"alpha": 0.7}, False),
    ("sigmoid", {}, True),
    ("tanh", {}, True),
    ("gelu", {}, False),
    ("gelu", {"approximate": "tanh"}, False),
    ("silu", {}, False),
    ("softplus", {"beta": 2.0, "threshold": 3.0}, False),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options", "from_output"), ACTIVATIONS, ids=str)
def test_activations(name: str, options: dict[str, Any], from_output: bool, dtype: Any) -> None:
    theirs = getattr(tF, name) if hasattr(tF, name) and name not in ("sigmoid", "tanh") else getattr(torch, name)
    assert_alike(
        lambda x: getattr(F, name)(x, **options),
        lambda g, x, y: getattr(F, f"{name}_backward")(g, y if from_output else x, **options),
        lambda x: theirs(x, **options),
        draw(4, 5, 33, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("slopes", [1, 5])
def test_prelu(slopes: int, dtype: Any) -> None:
    x, g, w = draw(4, 5, 7, dtype=dtype), draw(4, 5, 7, dtype=dtype, seed=1), draw(slopes, dtype=dtype, seed=2)
    tensor, weight = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w).requires_grad_()
    expected = tF.prelu(tensor, weight)
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(F.prelu(x, w), expected.detach().numpy(), **CLOSE[dtype])
    grad_x, grad_w = F.prelu_backward(g, x, w)
    np.testing.assert_allclose(grad_x, tensor.grad.numpy(), **CLOSE[dtype])
    np.testing.assert_allclose(grad_w, weight.grad.numpy(), rtol=2 * CLOSE[dtype]["rtol"], atol=CLOSE[dtype]["atol"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_maxout_is_the_maximum_of_an_axis(dtype: Any) -> None:
    size = 3
    assert_alike(
        lambda x: F.maxout(x, size)[0],
        lambda g, x, _: F.maxout_backward(g, F.maxout(x, size)[1], size),
        lambda x: x.reshape(2, 4, size, 5).max(2).values,
        draw(2, 12, 5, dtype=dtype),
    )


# ---------------------------------------------------------------------------------------------------- losses

WEIGHT = np.array([0.5, 2.0, 0.3, 1.5])
CLASS_OPTIONS: list[dict[str, Any]] = [
    {},
    {"weight": WEIGHT},
    {"ignore_index": 1},
    {"weight": WEIGHT, "ignore_index": 2},
]


def torch_options(options: dict[str, Any], dtype: Any) -> dict[str, Any]:
    return {
        key: torch.from_numpy(value.astype(dtype)) if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", CLASS_OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize(("name", "smoothing"), [("nll_loss", 0.0), ("cross_entropy", 0.0), ("cross_entropy", 0.2)])
@pytest.mark.parametrize("shape", [(6, 4), (4,), (3, 4, 2, 2)])
def test_losses_of_classes(
    shape: tuple[int, ...], name: str, smoothing: float, options: dict[str, Any], reduction: str, dtype: Any
) -> None:
    axis = min(1, len(shape) - 1)
    target = np.random.default_rng(0).integers(0, 4, shape[:axis] + shape[axis + 1 :])
    if shape == (4,):
        target = np.asarray(0)
    all_options = {**options, "reduction": reduction, **({"label_smoothing": smoothing} if smoothing else {})}
    assert_alike(
        lambda x: getattr(F, name)(x, target, **all_options),
        lambda g, x, _: getattr(F, f"{name}_backward")(g, x, target, **all_options),
        lambda x: getattr(tF, name)(x, torch.as_tensor(target), **torch_options(all_options, dtype)),
        draw(*shape, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options", [{}, {"weight": WEIGHT}, {"label_smoothing": 0.2}, {"weight": WEIGHT, "label_smoothing": 0.2}]
)
def test_cross_entropy_of_probabilities(options: dict[str, Any], reduction: str, dtype: Any) -> None:
    for shape in ((6, 4), (3, 4, 2), (4,)):
        target = np.random.default_rng(1).random(shape).astype(dtype)
        assert_alike(
            lambda x, t=target: F.cross_entropy(x, t, reduction=reduction, **options),
            lambda g, x, _, t=target: F.cross_entropy_backward(g, x, t, reduction=reduction, **options),
            lambda x, t=target: tF.cross_entropy(
                x, torch.from_numpy(t), reduction=reduction, **torch_options(options, dtype)
            ),
            draw(*shape, dtype=dtype),
        )


BCE = "binary_cross_entropy_with_logits"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("huber_loss", {"delta": 0.7}),
        ("smooth_l1_loss", {"beta": 0.7}),
        (BCE, {}),
        (BCE, {"weight": WEIGHT, "pos_weight": WEIGHT[::-1].copy()}),
    ],
    ids=str,
)
def test_losses_of_numbers(name: str, options: dict[str, Any], reduction: str, dtype: Any) -> None:
    target = np.random.default_rng(1).random((3, 5, 4)).astype(dtype)
    assert_alike(
        lambda x: getattr(F, name)(x, target, reduction=reduction, **options),
        lambda g, x, _: getattr(F, f"{name}_backward")(g, x, target, reduction=reduction, **options),
        lambda x: getattr(tF, name)(x, torch.from_numpy(target), reduction=reduction, **torch_options(options, dtype)),
        draw(3, 5, 4, dtype=dtype),
    )


# ---------------------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 3, 5), {"scale_factor": 3}),
        ((2, 3, 4, 5), {"scale_factor": (2, 3)}),
        ((2, 3, 4, 5), {"size": (7, 3)}),
        ((1, 2, 2, 3, 4), {"size": (4, 3, 9)}),
    ],
    ids=str,
)
def test_interpolate(shape: tuple[int, ...], options: dict[str, Any], dtype: Any) -> None:
    assert_alike(
        lambda x: F.interpolate(x, **options),
        lambda g, x, _: F.interpolate_backward(g, x.shape, **options),
        lambda x: tF.interpolate(x, **options),
        draw(*shape, dtype=dtype),
    )


# ---------------------------------------------------------------------------------------------------- optimizers

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.8, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "eps": 1e-2}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "alpha": 0.7}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "lr": 0.05}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.3, "amsgrad": True, "lr": 0.1}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_optimizers_step_for_step(name: str, options: dict[str, Any], dtype: Any) -> None:
    """Two groups, one parameter without gradient in some steps, the learning rate changed on the way."""
    start = [draw(*shape, dtype=dtype, seed=index) for index, shape in enumerate(((3, 40), (4,), (2, 3)))]
    ours = [nn.Parameter(array) for array in start]
    theirs = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in start]
    groups = [[{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.02}] for parameters in (ours, theirs)]
    optimizer, expected = getattr(optim, name)(groups[0], **options), getattr(torch.optim, name)(groups[1], **options)
    rng = np.random.default_rng(9)
    for step in range(20):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            grad = rng.standard_normal(a.shape).astype(dtype)
            missing = index == 2 and step % 3 == 0
            a.grad, b.grad = (None, None) if missing else (grad, torch.from_numpy(grad.copy()))
        if step == 10:
            optimizer.param_groups[0]["lr"] = expected.param_groups[0]["lr"] = 0.03
        optimizer.step()
        expected.step()
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.data, b.detach().numpy(), **CLOSE[dtype], err_msg=f"step {step}")
    found, state = optimizer.state_dict(), expected.state_dict()
    for number, saved in state["state"].items():
        for key, value in saved.items():
            if value is not None:
                np.testing.assert_allclose(found["state"][number][key], value.numpy(), **CLOSE[dtype], err_msg=key)


SCHEDULES: dict[str, Callable[[Any, Any], Any]] = {
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multi-step": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 11], 0.3),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 8, 0.01),
    "linear": lambda s, o: s.LinearLR(o, 0.25, 0.8, 6),
    "lambda": lambda s, o: s.LambdaLR(o, [lambda n: 0.95**n, lambda n: 1 / (n + 1)]),
    "warm-up, cosine, step": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 6), s.StepLR(o, 2)], [4, 11]
    ),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # torch's: of calling schedules before optimizers, and of step(epoch)
def test_schedules_step_for_step(make: Callable[[Any, Any], Any]) -> None:
    ours = [nn.Parameter(np.ones(1)) for _ in range(2)]
    theirs = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = optim.SGD([{"params": ours[0]}, {"params": ours[1], "lr": 0.5}], lr=0.2)
    expected = torch.optim.SGD([{"params": theirs[0]}, {"params": theirs[1], "lr": 0.5}], lr=0.2)
    schedule, wanted = make(optim.lr_scheduler, optimizer), make(torch.optim.lr_scheduler, expected)
    for step in range(20):
        found = [group["lr"] for group in optimizer.param_groups]
        right = [group["lr"] for group in expected.param_groups]
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-16, err_msg=f"step {step}")
        optimizer.step()
        expected.step()
        schedule.step()
        wanted.step()
