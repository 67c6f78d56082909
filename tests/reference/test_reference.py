"""What holds for every operator of the reference: names, arguments, dtypes, layouts."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastconv import reference

Array = NDArray[Any]

CONV = "stride=1, padding=0, dilation=1, groups=1"
UP = "stride=1, padding=0, output_padding=0, groups=1, dilation=1"
AVG = "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None"
PATCH = "kernel_size, dilation=1, padding=0, stride=1"
RUNNING = "running_mean=None, running_var=None"
RESPONSE = "size, alpha=0.0001, beta=0.75, k=1.0, *, channel_axis=1"
CLASSES = "ignore_index=-100, reduction='mean'"
NEEDS = "needs=(True, True, True)"
SIGNATURES = {
    "conv{n}d": f"input, weight, bias=None, {CONV}",
    "conv{n}d_backward": f"grad_output, input, weight, *, {CONV}, {NEEDS}",
    "conv_transpose{n}d": f"input, weight, bias=None, {UP}",
    "conv_transpose{n}d_backward": f"grad_output, input, weight, *, {UP}, {NEEDS}",
    "max_pool{n}d": "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False",
    "max_pool{n}d_backward": "grad_output, indices, input_shape",
    "avg_pool{n}d": f"input, {AVG}",
    "avg_pool{n}d_backward": f"grad_output, input_shape, {AVG}",
    "adaptive_avg_pool{n}d": "input, output_size",
    "adaptive_avg_pool{n}d_backward": "grad_output, input_shape",
    "adaptive_max_pool{n}d": "input, output_size, return_indices=False",
    "adaptive_max_pool{n}d_backward": "grad_output, indices, input_shape",
    "max_unpool{n}d": "input, indices, kernel_size, stride=None, padding=0, output_size=None",
    "max_unpool{n}d_backward": "grad_output, indices",
    "lp_pool{n}d": "input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "lp_pool{n}d_backward": "grad_output, input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "unfold": f"input, {PATCH}",
    "unfold_backward": f"grad_output, input_shape, {PATCH}",
    "fold": f"input, output_size, {PATCH}",
    "fold_backward": f"grad_output, {PATCH}",
    "pad": "input, pad, mode='constant', value=None",
    "pad_backward": "grad_output, pad, mode='constant'",
    "interpolate": "input, size=None, scale_factor=None, mode='nearest'",
    "interpolate_backward": "grad_output, input_shape, size=None, scale_factor=None, mode='nearest'",
    "linear": "input, weight, bias=None",
    "locally_connected1d": f"input, weight, bias=None, {CONV}",
    "locally_connected1d_backward": f"grad_output, input, weight, *, {CONV}, {NEEDS}",
    "locally_connected2d": f"input, weight, bias=None, {CONV}",
    "locally_connected2d_backward": f"grad_output, input, weight, *, {CONV}, {NEEDS}",
    "tiled_conv2d": f"input, weight, bias=None, {CONV}",
    "tiled_conv2d_backward": f"grad_output, input, weight, *, {CONV}, {NEEDS}",
    "linear_backward": f"grad_output, input, weight, *, {NEEDS}",
    "dropout": "input, p=0.5, training=True, *, generator=None",
    "dropout_backward": "grad_output, mask, p=0.5, training=True",
    "dropout2d": "input, p=0.5, training=True, *, generator=None",
    "dropout2d_backward": "grad_output, mask, p=0.5, training=True",
    "elu": "input, alpha=1.0",
    "elu_backward": "grad_output, input, alpha=1.0",
    "gelu": "input, approximate='none'",
    "gelu_backward": "grad_output, input, approximate='none'",
    "leaky_relu": "input, negative_slope=0.01",
    "leaky_relu_backward": "grad_output, input, negative_slope=0.01",
    "maxout": "input, pool_size, dim=1",
    "maxout_backward": "grad_output, choice, pool_size, dim=1",
    "prelu": "input, weight",
    "prelu_backward": "grad_output, input, weight",
    "sigmoid": "input",
    "sigmoid_backward": "grad_output, output",
    "silu": "input",
    "silu_backward": "grad_output, input",
    "softplus": "input, beta=1.0, threshold=20.0",
    "softplus_backward": "grad_output, input, beta=1.0, threshold=20.0",
    "tanh": "input",
    "tanh_backward": "grad_output, output",
    "relu": "input",
    "relu_backward": "grad_output, output",
    "softmax": "input, dim=-1",
    "softmax_backward": "grad_output, output, dim=-1",
    "log_softmax": "input, dim=-1",
    "log_softmax_backward": "grad_output, output, dim=-1",
    "batch_norm": f"input, {RUNNING}, weight=None, bias=None, training=False, *, eps=1e-05, channel_axis=1",
    "batch_norm_backward": "grad_output, input, mean, var, weight=None, training=False, *, eps=1e-05, channel_axis=1, "
    + NEEDS,
    "instance_norm": f"input, {RUNNING}, weight=None, bias=None, use_input_stats=True, *, eps=1e-05, channel_axis=1",
    "instance_norm_backward": f"grad_output, input, {RUNNING}, weight=None, use_input_stats=True, *, eps=1e-05, "
    f"channel_axis=1, {NEEDS}",
    "layer_norm": "input, normalized_shape, weight=None, bias=None, eps=1e-05",
    "layer_norm_backward": f"grad_output, input, normalized_shape, weight=None, eps=1e-05, *, {NEEDS}",
    "group_norm": "input, num_groups, weight=None, bias=None, eps=1e-05, *, channel_axis=1",
    "group_norm_backward": "grad_output, input, num_groups, weight=None, eps=1e-05, *, channel_axis=1, " + NEEDS,
    "local_response_norm": f"input, {RESPONSE}",
    "local_response_norm_backward": f"grad_output, input, {RESPONSE}",
    "cross_entropy": f"input, target, weight=None, *, {CLASSES}, label_smoothing=0.0",
    "cross_entropy_backward": f"grad_output, input, target, weight=None, *, {CLASSES}, label_smoothing=0.0",
    "nll_loss": f"input, target, weight=None, *, {CLASSES}",
    "nll_loss_backward": f"grad_output, input, target, weight=None, *, {CLASSES}",
    "mse_loss": "input, target, *, reduction='mean'",
    "mse_loss_backward": "grad_output, input, target, *, reduction='mean'",
    "l1_loss": "input, target, *, reduction='mean'",
    "l1_loss_backward": "grad_output, input, target, *, reduction='mean'",
    "huber_loss": "input, target, *, reduction='mean', delta=1.0",
    "huber_loss_backward": "grad_output, input, target, *, reduction='mean', delta=1.0",
    "smooth_l1_loss": "input, target, *, reduction='mean', beta=1.0",
    "smooth_l1_loss_backward": "grad_output, input, target, *, reduction='mean', beta=1.0",
    "binary_cross_entropy_with_logits": "input, target, weight=None, *, reduction='mean', pos_weight=None",
    "binary_cross_entropy_with_logits_backward": (
        "grad_output, input, target, weight=None, *, reduction='mean', pos_weight=None"
    ),
}


def x_of(n: int) -> Array:
    return np.random.default_rng(n).integers(-4, 5, (2, 4, *(6,) * n)).astype(float)


def calls(n: int) -> dict[str, Callable[..., Any]]:
    """Return, for n axes, one call of every operator as a function of its floating-point arrays."""

    def f(name: str) -> Any:
        return getattr(reference, name.format(n=n))

    indices = f("max_pool{n}d")(x_of(n), 2, return_indices=True)[1]
    adaptive = f("adaptive_max_pool{n}d")(x_of(n), 3, return_indices=True)[1]
    shape = x_of(n).shape
    return {
        "conv": lambda x: f("conv{n}d")(x, x[:2, :2, *[slice(3)] * n], x[0, :2, *[0] * n], groups=2, padding=1),
        "conv_backward": lambda x: f("conv{n}d_backward")(x, x, x[:, :, *[slice(3)] * n][[0, 1, 0, 1]], padding=1),
        "conv_transpose": lambda x: f("conv_transpose{n}d")(x, x.swapaxes(0, 1), x[0, :2, *[0] * n], stride=2),
        "conv_transpose_backward": lambda x: f("conv_transpose{n}d_backward")(
            x, x, x[:, :, *[slice(3)] * n][[0, 1, 0, 1]], padding=1
        ),
        "max_pool": lambda x: f("max_pool{n}d")(x, 3, 2, 1, return_indices=True),
        "max_pool_backward": lambda x: f("max_pool{n}d_backward")(x[..., *[slice(3)] * n], indices, shape),
        "avg_pool": lambda x: f("avg_pool{n}d")(x, 2, 1, 1),
        "avg_pool_backward": lambda x: f("avg_pool{n}d_backward")(x[..., *[slice(3)] * n], shape, 2),
        "adaptive_avg_pool": lambda x: f("adaptive_avg_pool{n}d")(x, 4),
        "adaptive_avg_pool_backward": lambda x: f("adaptive_avg_pool{n}d_backward")(x[..., *[slice(3)] * n], shape),
        "adaptive_max_pool": lambda x: f("adaptive_max_pool{n}d")(x, 4, return_indices=True),
        "adaptive_max_pool_backward": lambda x: f("adaptive_max_pool{n}d_backward")(
            x[..., *[slice(3)] * n], adaptive, shape
        ),
        "max_unpool": lambda x: f("max_unpool{n}d")(x[..., *[slice(3)] * n], indices, 2),
        "max_unpool_backward": lambda x: f("max_unpool{n}d_backward")(x, indices),
        "lp_pool": lambda x: f("lp_pool{n}d")(x, 2, 2),
        "lp_pool_backward": lambda x: f("lp_pool{n}d_backward")(x[..., *[slice(3)] * n], x, 2, 2),
        "unfold": lambda x: reference.unfold(x.reshape(2, 4, 6, -1), (2, 1)),
        "unfold_backward": lambda x: reference.unfold_backward(x.reshape(2, 4, -1)[..., :6], (2, 1, 3, 4), 2),
        "fold": lambda x: reference.fold(x.reshape(2, 4, -1)[..., :6], (3, 4), 2),
        "fold_backward": lambda x: reference.fold_backward(x.reshape(2, 4, 6, -1), (2, 1)),
        "pad": lambda x: reference.pad(x, (1, 2), "reflect"),
        "pad_backward": lambda x: reference.pad_backward(x, (1, 2), "replicate"),
        "interpolate": lambda x: reference.interpolate(x, size=7),
        "interpolate_backward": lambda x: reference.interpolate_backward(x, (2, 4, *(4,) * n), size=6),
        "locally_connected1d": lambda x: reference.locally_connected1d(
            x.reshape(2, 4, -1)[..., :6], np.ones((5, 3, 4, 2), x.dtype)
        ),
        "locally_connected1d_backward": lambda x: reference.locally_connected1d_backward(
            x.reshape(2, 4, -1)[..., :6], x.reshape(2, 4, -1)[..., :6], np.ones((6, 4, 4, 1), x.dtype)
        ),
        "locally_connected2d": lambda x: reference.locally_connected2d(
            x.reshape(2, 4, 6, -1), np.ones((5, x.size // 48, 3, 4, 2, 1), x.dtype)
        ),
        "locally_connected2d_backward": lambda x: reference.locally_connected2d_backward(
            x.reshape(2, 4, 6, -1), x.reshape(2, 4, 6, -1), np.ones((6, x.size // 48, 4, 4, 1, 1), x.dtype)
        ),
        "tiled_conv2d": lambda x: reference.tiled_conv2d(
            x.reshape(2, 4, 6, -1), x.reshape(-1)[:48].reshape(2, 1, 3, 4, 2, 1), x.reshape(-1)[:6].reshape(3, 2, 1)
        ),
        "tiled_conv2d_backward": lambda x: reference.tiled_conv2d_backward(
            x.reshape(2, 4, 6, -1), x.reshape(2, 4, 6, -1), x.reshape(-1)[:32].reshape(1, 2, 4, 4, 1, 1)
        ),
        "linear": lambda x: reference.linear(x, x.reshape(-1, 6), x.reshape(-1)[: x.size // 6]),
        "linear_backward": lambda x: reference.linear_backward(x, x, x.reshape(-1, 6)[:6]),
        "dropout": lambda x: reference.dropout(x, generator=0),
        "dropout_backward": lambda x: reference.dropout_backward(x, np.ones(x.shape, bool)),
        "dropout2d": lambda x: reference.dropout2d(x, generator=0),
        "dropout2d_backward": lambda x: reference.dropout2d_backward(x, np.ones((2, 4, *(1,) * n), bool)),
        "elu": reference.elu,
        "elu_backward": lambda x: reference.elu_backward(x, x[::-1]),
        "gelu": reference.gelu,
        "gelu_backward": lambda x: reference.gelu_backward(x, x[::-1]),
        "leaky_relu": reference.leaky_relu,
        "leaky_relu_backward": lambda x: reference.leaky_relu_backward(x, x[::-1]),
        "sigmoid": reference.sigmoid,
        "sigmoid_backward": lambda x: reference.sigmoid_backward(x, x[::-1]),
        "silu": reference.silu,
        "silu_backward": lambda x: reference.silu_backward(x, x[::-1]),
        "softplus": reference.softplus,
        "softplus_backward": lambda x: reference.softplus_backward(x, x[::-1]),
        "tanh": reference.tanh,
        "tanh_backward": lambda x: reference.tanh_backward(x, x[::-1]),
        "maxout": lambda x: reference.maxout(x, 2),
        "maxout_backward": lambda x: reference.maxout_backward(x, np.ones(x.shape, int), 3),
        "prelu": lambda x: reference.prelu(x, x[0, :, *[0] * n]),
        "prelu_backward": lambda x: reference.prelu_backward(x, x[::-1], x[0, :, *[0] * n]),
        "relu": reference.relu,
        "relu_backward": lambda x: reference.relu_backward(x, x[::-1]),
        "softmax": lambda x: reference.softmax(x, 1),
        "softmax_backward": lambda x: reference.softmax_backward(x, x[::-1], 1),
        "log_softmax": reference.log_softmax,
        "log_softmax_backward": lambda x: reference.log_softmax_backward(x, x[::-1]),
        "batch_norm": lambda x: reference.batch_norm(x, weight=x[0, :, *[0] * n], training=True)[0],
        "batch_norm_backward": lambda x: reference.batch_norm_backward(
            x, x[::-1], x[0, :, *[0] * n], np.ones(4), x[0, :, *[0] * n], True
        ),
        "instance_norm": lambda x: reference.instance_norm(x, weight=x[0, :, *[0] * n])[0],
        "instance_norm_backward": lambda x: reference.instance_norm_backward(x, x[::-1], weight=x[0, :, *[0] * n]),
        "layer_norm": lambda x: reference.layer_norm(x, 6, x.reshape(-1)[:6]),
        "layer_norm_backward": lambda x: reference.layer_norm_backward(x, x[::-1], 6, x.reshape(-1)[:6]),
        "group_norm": lambda x: reference.group_norm(x, 2, x[0, :, *[0] * n]),
        "group_norm_backward": lambda x: reference.group_norm_backward(x, x[::-1], 2, x[0, :, *[0] * n]),
        "local_response_norm": lambda x: reference.local_response_norm(x, 3, 0.1),
        "local_response_norm_backward": lambda x: reference.local_response_norm_backward(x, x[::-1], 3, 0.1),
        "nll_loss": lambda x: reference.nll_loss(x, np.zeros((2, *(6,) * n), int)),
        "nll_loss_backward": lambda x: reference.nll_loss_backward(x[0, 0, *[0] * n], x, np.ones((2, *(6,) * n), int)),
        "mse_loss": lambda x: reference.mse_loss(x, x[::-1]),
        "mse_loss_backward": lambda x: reference.mse_loss_backward(1, x, x[::-1]),
        "l1_loss": lambda x: reference.l1_loss(x, x[::-1]),
        "l1_loss_backward": lambda x: reference.l1_loss_backward(1, x, x[::-1]),
        "huber_loss": lambda x: reference.huber_loss(x, x[::-1]),
        "huber_loss_backward": lambda x: reference.huber_loss_backward(1, x, x[::-1]),
        "smooth_l1_loss": lambda x: reference.smooth_l1_loss(x, x[::-1]),
        "smooth_l1_loss_backward": lambda x: reference.smooth_l1_loss_backward(1, x, x[::-1]),
        "binary_cross_entropy_with_logits": lambda x: reference.binary_cross_entropy_with_logits(x, x[::-1]),
        "binary_cross_entropy_with_logits_backward": lambda x: f("binary_cross_entropy_with_logits_backward")(1, x, x),
        "cross_entropy": lambda x: reference.cross_entropy(x, np.zeros((2, *(6,) * n), int)),
        "cross_entropy_backward": lambda x: reference.cross_entropy_backward(1, x, np.ones((2, *(6,) * n), int)),
    }


EVERY = [(name, n) for n in (1, 2, 3) for name in calls(n)]


def arrays(result: Any) -> list[Array]:
    return list(result) if isinstance(result, tuple) else [result]


def test_every_operator_is_there_with_its_documented_arguments() -> None:
    expected = {name.format(n=n): text for name, text in SIGNATURES.items() for n in (1, 2, 3)}
    assert set(reference.__all__) == set(expected)
    assert {name.removesuffix("_backward") for name in expected} == {n for n in expected if not n.endswith("_backward")}
    for name, text in expected.items():
        function = getattr(reference, name)
        signature = inspect.signature(function)
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        assert str(inspect.Signature(plain)) == f"({text})", name
        assert function.__name__ == name
        assert function.__doc__
        assert ">>>" in function.__doc__


def test_calls_cover_every_operator() -> None:
    assert {name.replace("{n}d", "") for name in SIGNATURES} == set(calls(2))


def modules() -> list[Any]:
    names = [m.name for m in pkgutil.iter_modules(reference.__path__)]
    return [importlib.import_module(f"fastconv.reference.{name}") for name in names]


def test_imports_nothing_but_numpy_and_the_standard_library() -> None:
    """An oracle that shares code with what it judges shares its mistakes."""
    for module in modules():
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                root = name.split(".")[0]
                assert root == "numpy" or root in sys.stdlib_module_names or name.startswith("fastconv.reference.")


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.__name__)
def test_examples_of_the_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("name", "n"), EVERY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_result_has_the_dtype_of_the_data(name: str, n: int, dtype: Any) -> None:
    call, x = calls(n)[name], x_of(n)
    for got, expected in zip(arrays(call(x.astype(dtype))), arrays(call(x)), strict=True):
        assert isinstance(got, np.ndarray)
        assert got.dtype == (dtype if expected.dtype.kind == "f" else expected.dtype)
        assert got.flags.c_contiguous
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(got, expected, rtol=64 * eps, atol=64 * eps)


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_layout_does_not_matter_and_inputs_stay(name: str, n: int) -> None:
    call, x = calls(n)[name], x_of(n)
    expected = arrays(call(x))
    kept = x.copy()
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(x.shape)
    frozen = x.copy()
    frozen.flags.writeable = False
    for same in (x[::-1].copy()[::-1], x.copy("F"), x.astype(">f8"), frozen, unaligned, np.repeat(x, 2, 0)[::2]):
        for got, want in zip(arrays(call(same)), expected, strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.dtype.isnative
            assert not np.may_share_memory(got, same)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(("name", "n"), EVERY)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.complex64, np.longdouble, object, "U1"])
def test_other_dtypes_are_refused(name: str, n: int, dtype: Any) -> None:
    if np.dtype(dtype) == np.float64:
        pytest.skip("longdouble is float64 here")
    with pytest.raises(TypeError, match="float32"):
        calls(n)[name](x_of(n).astype(dtype))


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_nan_goes_through_without_a_warning(name: str, n: int) -> None:
    x = np.full(x_of(n).shape, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = arrays(calls(n)[name](x))
    for y in result:
        if y.dtype.kind == "f" and y.size:
            assert np.isnan(y).any()


def test_dtypes_mix_as_in_numpy_and_lists_follow() -> None:
    single, double = np.ones((1, 4), np.float32), np.ones((1, 1, 2))
    assert reference.conv1d(single, double).dtype == np.float64
    assert reference.conv1d(single, [[[1.0, 2.0]]]).dtype == np.float32
    assert reference.conv1d(single, [[[1, 2]]], [0.5]).dtype == np.float32
    assert reference.conv1d(single.astype(np.float16), double.astype(np.float32)).dtype == np.float32
    assert reference.relu([-1.0, 2.0]).dtype == np.float64
    assert reference.cross_entropy_backward(1.0, single, [2]).dtype == np.float32


def test_float16_is_added_up_in_float32() -> None:
    x = np.full((1, 4096), 1, np.float16)
    w = np.full((1, 1, 4096), 1, np.float16)
    assert reference.conv1d(x, w) == 4096  # in float16 the sum would stay at 2048
    assert reference.avg_pool1d(x, 4096) == 1


def test_a_view_beyond_32_bits_is_indexed_right() -> None:
    row = np.arange(50_000, dtype=np.float32)
    x = np.broadcast_to(row, (1, 50_000, 50_000))  # 2.5e9 elements in 200 kB
    w = np.ones((1, 1, 2, 2), np.float32)
    expected = np.broadcast_to(4 * row[:-1:10_000] + 2, (1, 5, 5))
    np.testing.assert_array_equal(reference.conv2d(x, w, stride=10_000), expected)
    y, index = reference.max_pool2d(x, 2, 10_000, return_indices=True)
    np.testing.assert_array_equal(y[0, -1], row[1::10_000])
    np.testing.assert_array_equal(index[0, -1], 40_000 * 50_000 + np.arange(5) * 10_000 + 1)
