"""What a layer shows of itself: every argument that is not its default."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from fastconv import nn

#: First values, and what changes nothing.
UNSEEN = {"generator", "init", "inplace", "args", "kwargs", "self"}
WINDOW: dict[str, Any] = {"kernel_size": 3, "stride": 4, "padding": 1}
WEIGHTS: dict[str, Any] = {**WINDOW, "in_channels": 4, "out_channels": 6, "dilation": 2, "groups": 2, "bias": False}
#: Arguments by the name of the layer, without its number of axes; none is the default.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "AdaptiveAvgPool": {"output_size": 3},
    "AdaptiveMaxPool": {"output_size": 3, "return_indices": True},
    "AvgPool": {**WINDOW, "ceil_mode": True, "count_include_pad": False, "divisor_override": 5},
    "BatchNorm": {"num_features": 3, "eps": 0.5, "momentum": None, "bias": False, "dtype": "float64"},
    "CircularPad": {"padding": 2},
    "Concat": {"layers": nn.ReLU(), "dim": 0},
    "ConstantPad": {"padding": 2, "value": 0.5},
    "Conv": {**WEIGHTS, "padding_mode": "reflect", "activation": "relu", "algorithm": "direct", "dtype": "float64"},
    "ConvTranspose": {
        **{**WEIGHTS, "output_padding": 1, "activation": "tanh"},
        **{"algorithm": "direct", "dtype": "float16"},
    },
    "Dropout": {"p": 0.25},
    "ELU": {"alpha": 0.25},
    "Flatten": {"start_dim": 0, "end_dim": 2},
    "GELU": {"approximate": "tanh"},
    "GroupNorm": {
        **{"num_groups": 2, "num_channels": 4, "eps": 0.5, "bias": False},
        **{"channel_axis": -3, "dtype": "float64"},
    },
    "InstanceNorm": {"num_features": 3, "eps": 0.5, "momentum": 0.25, "affine": True, "dtype": "float64"},
    "LPPool": {"norm_type": 3.0, "kernel_size": 3, "stride": 4, "ceil_mode": True},
    "LayerNorm": {"normalized_shape": 3, "eps": 0.5, "bias": False, "dtype": "float64"},
    "LeakyReLU": {"negative_slope": 0.25},
    "Linear": {"in_features": 3, "out_features": 2, "bias": False, "activation": "leaky_relu", "dtype": "float64"},
    "LocalResponseNorm": {"size": 3, "alpha": 0.5, "beta": 0.25, "k": 2.0, "channel_axis": -3},
    "LocallyConnected": {**WEIGHTS, "input_size": 9, "dtype": "float64"},
    "MaxPool": {**WINDOW, "dilation": 2, "return_indices": True, "ceil_mode": True},
    "Maxout": {"pool_size": 2, "dim": 0},
    "PReLU": {"num_parameters": 3, "dtype": "float64"},
    "Parallel": {"layers": nn.ReLU()},
    "ReflectionPad": {"padding": 2},
    "ReplicationPad": {"padding": 2},
    "Residual": {"body": nn.ReLU(), "shortcut": nn.Tanh(), "activation": nn.SiLU()},
    "Sequential": {"layers": nn.ReLU()},
    "Softmax": {"dim": 0},
    "LogSoftmax": {"dim": 0},
    "Softplus": {"beta": 2.0, "threshold": 3.0},
    "TiledConv": {**WEIGHTS, "tiles": 2, "dtype": "float64"},
    "Unflatten": {"dim": 1, "unflattened_size": (2, 2)},
    "Upsample": {"scale_factor": 2},
    "ZeroPad": {"padding": 2},
}
#: What cannot differ together with the others.
ELSEWHERE = {
    "BatchNorm": {"affine": False, "track_running_stats": False},
    "GroupNorm": {"affine": False},
    "InstanceNorm": {"track_running_stats": True, "bias": False},
    "LayerNorm": {"elementwise_affine": False},
    "Upsample": {"size": 3},
}
#: Names of one value only.
FIXED = {("Upsample", "mode"), *((f"ConvTranspose{n}d", "padding_mode") for n in (1, 2, 3))}
LAYERS = {name: kind for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}


def table(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a layer, and those for another one of its kind."""
    for key in (name, name[:-2] if name[-1] == "d" else name):
        if key in ARGUMENTS:
            return ARGUMENTS[key], ELSEWHERE.get(key, {})
    return {}, {}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_shows_what_it_was_made_with(name: str) -> None:
    kind = LAYERS[name]
    arguments, others = table(name)
    signature = inspect.signature(kind).parameters
    known = {*arguments, *others} | UNSEEN | {argument for layer, argument in FIXED if layer == name}
    assert set(signature) <= known, "a new argument belongs into the table"
    spread = [p for p in arguments if signature[p].kind is inspect.Parameter.VAR_POSITIONAL]
    layer = kind(*(arguments[p] for p in spread), **{k: v for k, v in arguments.items() if k not in spread})
    shown = repr(layer)
    for argument, value in arguments.items():
        assert_shown(shown, argument, value, signature[argument])
    if others:
        rest = {k: v for k, v in arguments.items() if signature[k].default is inspect.Parameter.empty}
        shown = repr(kind(**rest, **others))
        for argument, value in others.items():
            assert_shown(shown, argument, value, signature[argument])


def assert_shown(shown: str, argument: str, value: Any, parameter: inspect.Parameter) -> None:
    if isinstance(value, nn.Module):
        assert repr(value) in shown
    elif parameter.default is inspect.Parameter.empty and f"{argument}=" not in shown:
        assert str(value) in shown.split(")")[0]
    else:
        assert any(f"{argument}={text}" in shown for text in texts(value)), (argument, shown)


def texts(value: Any) -> list[str]:
    """The ways to write a value: one number may stand for all axes, or all sides."""
    return [str(value), repr(value), *(str((value,) * n) for n in (1, 2, 3, 4, 6))]


def test_a_layer_of_float32_does_not_say_so() -> None:
    layers = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.GroupNorm(1, 1), nn.Linear(1, 1)
    assert "dtype" not in repr(nn.Sequential(*layers))
    assert repr(nn.PReLU()) == "PReLU(num_parameters=1)"


def test_a_container_shows_its_own_arguments_before_its_layers() -> None:
    assert repr(nn.Concat(nn.ReLU(), nn.Tanh(), dim=-3)) == "Concat(dim=-3\n  (0): ReLU()\n  (1): Tanh()\n)"
    assert repr(nn.Concat(nn.ReLU())) == "Concat(\n  (0): ReLU()\n)"
    assert np.array_equal(nn.Concat(nn.ReLU(), nn.ReLU(), dim=0)(np.ones(2)), np.ones(4))
