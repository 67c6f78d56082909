"""Padding, resizing and reshaping as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import nn

MODES = {
    "Zero": "constant",
    "Constant": "constant",
    "Reflection": "reflect",
    "Replication": "replicate",
    "Circular": "circular",
}
PADS = {1: (1, 2), 2: (1, 2, 0, 1), 3: (1, 0, 2, 1, 0, 1)}


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", MODES)
def test_pads(kind: str, n: int, check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, *(3,) * n))
    extra = (0.5,) if kind == "Constant" else ()
    options: Any = {"mode": MODES[kind], "value": 0.5} if extra else {"mode": MODES[kind]}
    for padding in (1, PADS[n]):
        layer = getattr(nn, f"{kind}Pad{n}d")(padding, *extra)
        full = (1,) * 2 * n if padding == 1 else padding
        for input in (x, x[0]):
            np.testing.assert_array_equal(layer(input), F.pad(input, full, **options))
    if n < 3:
        check_gradients(layer, x)
    assert layer.padding == PADS[n]


def test_zero_pads_crop() -> None:
    assert nn.ZeroPad1d((-1, 2))(np.ones((1, 4))).tolist() == [[1, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.ZeroPad2d((1, 2)), ValueError, "ZeroPad2d: padding must be an int or 4 ints"),
        (
            lambda: nn.ReflectionPad1d(-1),
            ValueError,
            "ReflectionPad1d: padding must be non-negative, received padding=-1",
        ),
        (lambda: nn.CircularPad2d(1.0), TypeError, "CircularPad2d: padding must be made of integers"),
        (lambda: nn.ConstantPad3d(1, "x"), TypeError, "ConstantPad3d: value must be a real number"),
        (lambda: nn.ReplicationPad3d(1)(np.ones((3, 4))), ValueError, "ReplicationPad3d: input must have the axes"),
        (lambda: nn.ReflectionPad1d(3)(np.ones((1, 3))), ValueError, "pad: pad must be at most 2"),
        (
            lambda: nn.ZeroPad1d(1).forward(np.ones((1, 3)))[1](np.ones((1, 4))),
            ValueError,
            "ZeroPad1d: grad_output must",
        ),
        (lambda: nn.Upsample(), ValueError, "Upsample: either size or scale_factor must be given"),
        (lambda: nn.Upsample(2, 2), ValueError, "Upsample: either size or scale_factor must be given"),
        (lambda: nn.Upsample(scale_factor=1.5), TypeError, "Upsample: scale_factor must be made of integers"),
        (lambda: nn.Upsample(0), ValueError, "Upsample: size must be positive"),
        (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: mode must be one of 'nearest'"),
        (lambda: nn.Unflatten(1, (-1, -1)), ValueError, "Unflatten: unflattened_size may have one -1"),
        (lambda: nn.Unflatten(1, 3), TypeError, "Unflatten: unflattened_size must be a sequence"),  # type: ignore[arg-type]
        (
            lambda: nn.Unflatten(1, (2, 3))(np.ones((2, 5))),
            ValueError,
            "Unflatten: unflattened_size must have 5 elements",
        ),
        (
            lambda: nn.Unflatten(1, (0, -1))(np.ones((2, 5))),
            ValueError,
            "Unflatten: unflattened_size must have 5 elements",
        ),
        (lambda: nn.Unflatten(2, (1, 5))(np.ones((2, 5))), ValueError, "Unflatten: dim must be an axis"),
    ],
)
def test_refuse(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize("options", [{"scale_factor": 2}, {"scale_factor": (1, 3)}, {"size": [5, 2]}], ids=str)
def test_upsample(options: dict[str, Any], check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 2))
    np.testing.assert_array_equal(nn.Upsample(**options)(x), F.interpolate(x, **options))
    check_gradients(nn.Upsample(**options), x)


@pytest.mark.parametrize("size", [(2, 3), (3, -1), (6,), (-1, 1, 6)])
def test_unflatten(size: tuple[int, ...], check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 2))
    assert nn.Flatten(1, len(size))(nn.Unflatten(1, size)(x)).shape == x.shape
    check_gradients(nn.Unflatten(1, size), x)
    check_gradients(nn.Unflatten(-2, size), x)


LOSSES: list[tuple[Any, str, dict[str, Any]]] = [
    (nn.MSELoss(), "mse_loss", {}),
    (nn.L1Loss(reduction="sum"), "l1_loss", {"reduction": "sum"}),
    (nn.HuberLoss(delta=0.5), "huber_loss", {"delta": 0.5}),
    (nn.SmoothL1Loss(beta=0.5, reduction="none"), "smooth_l1_loss", {"beta": 0.5, "reduction": "none"}),
    (
        nn.BCEWithLogitsLoss(np.full(3, 2.0), pos_weight=[1.0, 2.0, 3.0]),
        "binary_cross_entropy_with_logits",
        {"weight": np.full(3, 2.0), "pos_weight": np.array([1.0, 2.0, 3.0])},
    ),
    (nn.CrossEntropyLoss(label_smoothing=0.1), "cross_entropy", {"label_smoothing": 0.1}),
]


@pytest.mark.parametrize(("loss", "name", "options"), LOSSES, ids=lambda v: str(v))
def test_losses_call_their_functions(loss: Any, name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((4, 3)), rng.random((4, 3))
    value, grad = loss(x, t)
    np.testing.assert_array_equal(value, getattr(F, name)(x, t, **options))
    np.testing.assert_array_equal(grad, getattr(F, f"{name}_backward")(1.0, x, t, **options))


def test_losses_of_classes() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    options: Any = {"weight": np.array([1.0, 2.0, 0.5]), "ignore_index": 1}
    value, grad = nn.NLLLoss(**options)(x, [0, 1, 2, 0])
    assert value == F.nll_loss(x, [0, 1, 2, 0], **options)
    assert grad.dtype == np.float32
    value, _ = nn.CrossEntropyLoss(**options)(x, [0, 1, 2, 0])
    assert value == F.cross_entropy(x, [0, 1, 2, 0], **options)
    assert repr(nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1)) == (
        "CrossEntropyLoss(ignore_index=1, label_smoothing=0.1)"
    )
    assert repr(nn.HuberLoss(delta=2.0)) == "HuberLoss(delta=2.0)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.MSELoss(reduction="max"), ValueError, "MSELoss: reduction must be one of"),
        (lambda: nn.HuberLoss(delta=0), ValueError, "HuberLoss: delta must be positive"),
        (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta must be non-negative"),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=2),
            ValueError,
            "CrossEntropyLoss: label_smoothing must be from 0",
        ),
        (lambda: nn.CrossEntropyLoss("mean"), TypeError, "CrossEntropyLoss: weight must be an array"),
        (lambda: nn.NLLLoss(ignore_index=1.0), TypeError, "NLLLoss: ignore_index must be made of integers"),  # type: ignore[arg-type]
        (lambda: nn.BCEWithLogitsLoss(pos_weight=np.ones(2, int)), TypeError, "BCEWithLogitsLoss: pos_weight must be"),
    ],
)
def test_losses_refuse(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()
