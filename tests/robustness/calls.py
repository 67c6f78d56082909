"""One right call of every operator, and one right use of every layer: what the tests of this folder vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import fastconv as fc
from fastconv import nn

Array = NDArray[Any]
DIMS = (1, 2, 3)


@dataclass(frozen=True)
class Call:
    """A call by keywords of the operator `name`, which has `axes` spatial axes (0: none that options speak of)."""

    name: str
    axes: int
    arguments: dict[str, Any] = field(repr=False)

    def __call__(self, **changes: Any) -> Any:
        return getattr(fc, self.name)(**{**self.arguments, **changes})


def halved(sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes of the result of a window of 3 at stride 2 with padding 1."""
    return tuple((size - 1) // 2 + 1 for size in sizes)


def all_calls(
    spatial: dict[int, tuple[int, ...]],
    batch: int,
    channels: int,
    outputs: int,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> dict[str, Call]:
    """A call of every operator on normal data; `spatial` gives sizes for 1, 2 and 3 axes, at least 4 each."""
    rng = np.random.default_rng(seed)
    found: dict[str, Call] = {}

    def data(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    def add(name: str, axes: int, /, **arguments: Any) -> None:
        found[name] = Call(name, axes, arguments)

    for n in DIMS:
        x = data(batch, channels, *spatial[n])
        convolutions(add, data, x, outputs)
        pools(add, data, x, rng)

    size = spatial[2]
    x, columns = data(batch, channels, *size), data(batch, channels * 9, prod(halved(size)))
    options = {"kernel_size": 3, "dilation": 1, "padding": 1, "stride": 2}
    add("unfold", 2, input=x, **options)
    add("unfold_backward", 2, grad_output=columns, input_shape=x.shape, **options)
    add("fold", 2, input=columns, output_size=size, **options)
    add("fold_backward", 2, grad_output=x, **options)
    add("pad", 2, input=x, pad=(1, 2, 0, 1), mode="reflect", value=None)
    padded = data(batch, channels, size[0] + 1, size[1] + 3)
    add("pad_backward", 2, grad_output=padded, pad=(1, 2, 0, 1), mode="reflect")
    resized: dict[str, Any] = {"size": None, "scale_factor": 2, "mode": "nearest"}
    add("interpolate", 2, input=x, **resized)
    larger = data(batch, channels, *(2 * s for s in size))
    add("interpolate_backward", 2, grad_output=larger, input_shape=x.shape, **resized)

    features = prod(size)
    rows, w = data(batch, features), data(outputs, features)
    add("linear", 0, input=rows, weight=w, bias=data(outputs), activation="sigmoid")
    add("linear_backward", 0, grad_output=data(batch, outputs), input=rows, weight=w)
    elementwise(add, data, x)
    for name in ("softmax", "log_softmax"):
        add(name, 0, input=rows, dim=-1)
        add(f"{name}_backward", 0, grad_output=data(*rows.shape), output=rows, dim=-1)
    target = rng.integers(0, features, batch)
    for name in ("cross_entropy", "nll_loss"):
        options = {"target": target, "weight": data(features), "ignore_index": -100, "reduction": "mean"}
        options |= {"label_smoothing": 0.1} if name == "cross_entropy" else {}
        add(f"{name}", 0, input=rows, **options)
        add(f"{name}_backward", 0, grad_output=np.dtype(dtype).type(1), input=rows, **options)
    for name, option in (
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("huber_loss", {"delta": 1.0}),
        ("smooth_l1_loss", {"beta": 1.0}),
        ("binary_cross_entropy_with_logits", {"weight": data(features), "pos_weight": data(features)}),
    ):
        pair = {"input": rows, "target": data(*rows.shape), "reduction": "none", **option}
        add(name, 0, **pair)
        add(f"{name}_backward", 0, grad_output=data(*rows.shape), **pair)
    norms(add, data, x)
    return found


def convolutions(add: Any, data: Any, x: Array, outputs: int) -> None:
    """Add calls of the convolutions of an input, and of connections with kernels apart."""
    (batch, channels, *size), n = x.shape, x.ndim - 2
    half, full, taps = halved(size), tuple(2 * s for s in size), (3,) * n
    options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    w = data(outputs, channels // 2, *taps)
    gy = data(batch, outputs, *half)
    add(f"conv{n}d", n, input=x, weight=w, bias=data(outputs), **options, activation="relu")
    add(f"conv{n}d_backward", n, grad_output=gy, input=x, weight=w, **options)
    if n < 3:
        w, name = data(*half, outputs, channels // 2, *taps), f"locally_connected{n}d"
        add(name, n, input=x, weight=w, bias=data(outputs, *half), **options)
        add(f"{name}_backward", n, grad_output=gy, input=x, weight=w, **options)
    if n == 2:
        w = data(3, 2, outputs, channels // 2, *taps)
        add("tiled_conv2d", n, input=x, weight=w, bias=data(outputs, 3, 2), **options)
        add("tiled_conv2d_backward", n, grad_output=gy, input=x, weight=w, **options)
    w = data(channels, outputs // 2, *taps)
    options = {**options, "output_padding": 1}
    add(f"conv_transpose{n}d", n, input=x, weight=w, bias=data(outputs), **options, activation="tanh")
    add(f"conv_transpose{n}d_backward", n, grad_output=data(batch, outputs, *full), input=x, weight=w, **options)


def pools(add: Any, data: Any, x: Array, rng: np.random.Generator) -> None:
    """Add calls of pooling and unpooling of an input."""
    (batch, channels, *size), n = x.shape, x.ndim - 2
    half, full, taps = halved(size), tuple(2 * s for s in size), (3,) * n
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    places = rng.integers(0, prod(size), (batch, channels, *half))
    gy = data(batch, channels, *half)
    add(f"max_pool{n}d", n, input=x, **window, dilation=1, ceil_mode=False, return_indices=True)
    add(f"max_pool{n}d_backward", n, grad_output=gy, indices=places, input_shape=x.shape)
    mean = {**window, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    add(f"avg_pool{n}d", n, input=x, **mean)
    add(f"avg_pool{n}d_backward", n, grad_output=gy, input_shape=x.shape, **mean)
    add(f"adaptive_avg_pool{n}d", n, input=x, output_size=3)
    add(f"adaptive_avg_pool{n}d_backward", n, grad_output=data(batch, channels, *taps), input_shape=x.shape)
    add(f"adaptive_max_pool{n}d", n, input=x, output_size=3, return_indices=True)
    at = rng.integers(0, prod(size), (batch, channels, *taps))
    add(f"adaptive_max_pool{n}d_backward", n, grad_output=data(*at.shape), indices=at, input_shape=x.shape)
    at = rng.integers(0, prod(full), x.shape)
    add(f"max_unpool{n}d", n, input=x, indices=at, kernel_size=2, stride=2, padding=0, output_size=None)
    add(f"max_unpool{n}d_backward", n, grad_output=data(batch, channels, *full), indices=at)
    power = {"norm_type": 2.0, "kernel_size": 2, "stride": 2, "ceil_mode": False}
    add(f"lp_pool{n}d", n, input=x, **power)
    lp = data(batch, channels, *(s // 2 for s in size))
    add(f"lp_pool{n}d_backward", n, grad_output=lp, input=x, **power)


def elementwise(add: Any, data: Any, x: Array) -> None:
    """Add a call of every activation of single elements, and of those that look at channels."""
    for name, saved, options in (
        ("relu", "output", {}),
        ("sigmoid", "output", {}),
        ("tanh", "output", {}),
        ("leaky_relu", "input", {"negative_slope": 0.1}),
        ("elu", "input", {"alpha": 0.5}),
        ("gelu", "input", {"approximate": "none"}),
        ("silu", "input", {}),
        ("softplus", "input", {"beta": 2.0, "threshold": 3.0}),
        ("prelu", "input", {"weight": data(x.shape[1])}),
    ):
        add(name, 0, input=x, **options)
        add(f"{name}_backward", 0, grad_output=data(*x.shape), **{saved: x}, **options)
    add("maxout", 0, input=x, pool_size=2, dim=1)
    grad = data(x.shape[0], x.shape[1] // 2, *x.shape[2:])
    choice = (grad > 0).astype(np.int64)
    add("maxout_backward", 0, grad_output=grad, choice=choice, pool_size=2, dim=1)
    for name, axes, shape in (("dropout", 0, x.shape), ("dropout2d", 2, (*x.shape[:2], 1, 1))):
        dropped = {"p": 0.5, "training": True}
        add(name, axes, input=x, **dropped, generator=0)
        add(f"{name}_backward", axes, grad_output=data(*x.shape), mask=data(*shape) > 0, **dropped)


def norms(add: Any, data: Any, x: Array) -> None:
    """Add calls of the normalisations."""
    c = x.shape[1]
    gy, w, b, mean, var = data(*x.shape), data(c), data(c), data(c), abs(data(c))
    common = {"eps": 1e-5, "channel_axis": 1}
    running = {"running_mean": mean, "running_var": var}
    add("batch_norm", 0, input=x, **running, weight=w, bias=b, training=False, **common)
    back = {"grad_output": gy, "input": x, "mean": mean, "var": var, "weight": w}
    add("batch_norm_backward", 0, **back, training=True, **common)
    add("instance_norm", 0, input=x, **running, weight=w, bias=b, use_input_stats=True, **common)
    add("instance_norm_backward", 0, grad_output=gy, input=x, **running, weight=w, use_input_stats=True, **common)
    add("group_norm", 0, input=x, num_groups=2, weight=w, bias=b, **common)
    add("group_norm_backward", 0, grad_output=gy, input=x, num_groups=2, weight=w, **common)
    last = x.shape[2:]
    add("layer_norm", 0, input=x, normalized_shape=last, weight=data(*last), bias=data(*last), eps=1e-5)
    add("layer_norm_backward", 0, grad_output=gy, input=x, normalized_shape=last, weight=data(*last), eps=1e-5)
    response = {"size": 3, "alpha": 0.1, "beta": 0.75, "k": 1.0, "channel_axis": 1}
    add("local_response_norm", 0, input=x, **response)
    add("local_response_norm_backward", 0, grad_output=gy, input=x, **response)


@dataclass(frozen=True)
class Layer:
    """A layer that is made from `arguments` by keywords and takes `input`; `operator` is what it calls."""

    name: str
    axes: int
    operator: str
    arguments: dict[str, Any] = field(repr=False)
    input: Array = field(repr=False)

    def __call__(self, **changes: Any) -> Any:
        return getattr(nn, self.name)(**{**self.arguments, **changes})


def all_layers(
    spatial: dict[int, tuple[int, ...]], batch: int, channels: int, outputs: int, seed: int = 0
) -> dict[str, Layer]:
    """A use of every layer on normal float32 data."""
    rng = np.random.default_rng(seed)
    found: dict[str, Layer] = {}
    for n in DIMS:
        x = rng.standard_normal((batch, channels, *spatial[n])).astype(np.float32)
        window = {"kernel_size": 3, "stride": 2, "padding": 1}
        weighted = {
            "in_channels": channels,
            "out_channels": outputs,
            **window,
            "dilation": 1,
            "groups": 2,
            "bias": True,
        }
        for name, operator, arguments in (
            (f"Conv{n}d", f"conv{n}d", {**weighted, "padding_mode": "zeros", "algorithm": "auto", "generator": 0}),
            (
                f"ConvTranspose{n}d",
                f"conv_transpose{n}d",
                {**weighted, "output_padding": 1, "algorithm": "auto", "generator": 0},
            ),
            (f"MaxPool{n}d", f"max_pool{n}d", {**window, "dilation": 1, "return_indices": False, "ceil_mode": False}),
            (
                f"AvgPool{n}d",
                f"avg_pool{n}d",
                {**window, "ceil_mode": False, "count_include_pad": True, "divisor_override": None},
            ),
            (f"LPPool{n}d", f"lp_pool{n}d", {"norm_type": 2.0, "kernel_size": 2, "stride": 2, "ceil_mode": False}),
            (f"AdaptiveAvgPool{n}d", f"adaptive_avg_pool{n}d", {"output_size": 3}),
            (f"AdaptiveMaxPool{n}d", f"adaptive_max_pool{n}d", {"output_size": 3, "return_indices": False}),
        ):
            found[name] = Layer(name, n, operator, arguments, x)
        tracked = {"num_features": channels, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
        for kind, operator in (("BatchNorm", "batch_norm"), ("InstanceNorm", "instance_norm")):
            found[f"{kind}{n}d"] = Layer(f"{kind}{n}d", n, operator, {**tracked, "bias": True}, x)
        if n < 3:
            name, arguments = f"LocallyConnected{n}d", {**weighted, "input_size": spatial[n], "generator": 0}
            found[name] = Layer(name, n, f"locally_connected{n}d", arguments, x)
        if n == 2:
            found["TiledConv2d"] = Layer(
                "TiledConv2d", n, "tiled_conv2d", {**weighted, "tiles": (3, 2), "generator": 0}, x
            )
    x = rng.standard_normal((batch, channels, *spatial[2])).astype(np.float32)
    features = {"in_features": prod(spatial[2]), "out_features": outputs}
    rows = rng.standard_normal((batch, prod(spatial[2]))).astype(np.float32)
    found["Linear"] = Layer("Linear", 0, "linear", {**features, "bias": True, "generator": 0}, rows)
    for name, operator, arguments in (
        ("ReLU", "relu", {}),
        ("Sigmoid", "sigmoid", {}),
        ("Tanh", "tanh", {}),
        ("LeakyReLU", "leaky_relu", {"negative_slope": 0.1}),
        ("ELU", "elu", {"alpha": 0.5}),
        ("GELU", "gelu", {"approximate": "none"}),
        ("SiLU", "silu", {}),
        ("Softplus", "softplus", {"beta": 2.0, "threshold": 3.0}),
    ):
        found[name] = Layer(name, 0, operator, arguments, x)
    affine = {"eps": 1e-5, "bias": True}
    last = {"normalized_shape": x.shape[2:], "elementwise_affine": True}
    found["LayerNorm"] = Layer("LayerNorm", 0, "layer_norm", {**last, **affine}, x)
    groups = {"num_groups": 2, "num_channels": channels, "affine": True, "channel_axis": 1}
    found["GroupNorm"] = Layer("GroupNorm", 0, "group_norm", {**groups, **affine}, x)
    response = {"size": 3, "alpha": 0.1, "beta": 0.75, "k": 1.0, "channel_axis": 1}
    found["LocalResponseNorm"] = Layer("LocalResponseNorm", 0, "local_response_norm", response, x)
    return found
