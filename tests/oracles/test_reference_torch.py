"""The reference against torch.nn.functional in float64: every operator and every gradient, over many options."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastconv import reference

torch = pytest.importorskip("torch")
F = torch.nn.functional

Array = NDArray[Any]


@pytest.fixture(autouse=True)
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def close(got: Any, expected: Any) -> None:
    expected = expected.detach().numpy()
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


def tensors(*arrays: Array) -> list[Any]:
    return [torch.tensor(a, requires_grad=a.dtype == np.float64) for a in arrays]


def gradients(y: Any, gy: Array, *inputs: Any) -> Any:
    return torch.autograd.grad(y, inputs, torch.tensor(gy))


def by_rank(name: str, n: int) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return torch's function, the reference's and its backward."""
    name = name.format(n=n)
    return getattr(F, name), getattr(reference, name), getattr(reference, f"{name}_backward")


SIZES = {1: (11,), 2: (9, 8), 3: (5, 6, 5)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}
BATCHES = [(2,), ()]
CONV_OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"padding": 2},
    {"dilation": 2},
    {"groups": 2},
    {"groups": 4},
    {"padding": "valid"},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"stride": 3, "padding": 1, "dilation": 2, "groups": 2},
    {"stride": 4, "padding": 3},
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("options", CONV_OPTIONS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_conv(n: int, options: dict[str, Any], batch: Any, rng: np.random.Generator) -> None:
    theirs, forward, backward = by_rank("conv{n}d", n)
    x = rng.standard_normal((*batch, 4, *SIZES[n]))
    w = rng.standard_normal((8, 4 // options.get("groups", 1), *KERNELS[n]))
    b = rng.standard_normal(8)
    tx, tw, tb = tensors(x, w, b)
    ty = theirs(tx, tw, tb, **options)
    close(forward(x, w, b, **options), ty)
    gy = rng.standard_normal(ty.shape)
    for got, expected in zip(backward(gy, x, w, **options), gradients(ty, gy, tx, tw, tb), strict=True):
        close(got, expected)


UP_OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": 3, "output_padding": 2},
    {"padding": 1},
    {"dilation": 3, "output_padding": 2},
    {"groups": 2, "stride": 2, "padding": 1, "output_padding": 1},
    {"groups": 4, "dilation": 2},
    {"stride": 3, "dilation": 2, "padding": 2, "groups": 2},
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("options", UP_OPTIONS, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_conv_transpose(n: int, options: dict[str, Any], batch: Any, rng: np.random.Generator) -> None:
    theirs, forward, backward = by_rank("conv_transpose{n}d", n)
    groups = options.get("groups", 1)
    x = rng.standard_normal((*batch, 4, *SIZES[n]))
    w = rng.standard_normal((4, 2, *KERNELS[n]))
    b = rng.standard_normal(2 * groups)
    tx, tw, tb = tensors(x, w, b)
    ty = theirs(tx, tw, tb, **options)
    close(forward(x, w, b, **options), ty)
    gy = rng.standard_normal(ty.shape)
    for got, expected in zip(backward(gy, x, w, **options), gradients(ty, gy, tx, tw, tb), strict=True):
        close(got, expected)


POOL_OPTIONS: list[dict[str, Any]] = [
    {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": c}
    for k, s, p, c in product((2, 3), (None, 1, 2, 3), (0, 1), (False, True))
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_pool(n: int, batch: Any, rng: np.random.Generator) -> None:
    theirs, forward, backward = by_rank("max_pool{n}d", n)
    for options, dilation in product(POOL_OPTIONS, (1, 2)):
        x = rng.integers(-3, 4, (*batch, 3, *SIZES[n])).astype(float)  # with ties
        x[rng.random(x.shape) < 0.02] = np.nan
        (tx,) = tensors(x)
        ty, tindex = theirs(tx, **options, dilation=dilation, return_indices=True)
        y, index = forward(x, **options, dilation=dilation, return_indices=True)
        close(y, ty)
        close(index, tindex)
        gy = rng.standard_normal(y.shape)
        close(backward(gy, index, x.shape), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_unpool(n: int, batch: Any, rng: np.random.Generator) -> None:
    theirs, forward, backward = by_rank("max_unpool{n}d", n)
    for kernel, stride, padding in [(2, None, 0), (2, 2, 0), (2, 3, 0), (3, 3, 0), (3, 3, 1), (1, 2, 0)]:
        x = rng.standard_normal((*batch, 3, *SIZES[n]))
        options = (kernel, stride, padding)
        _, index = by_rank("max_pool{n}d", n)[1](x, *options, return_indices=True)
        v = rng.standard_normal(index.shape)
        tv, tindex = tensors(v, index)
        ty = theirs(tv, tindex, *options, output_size=x.shape[-n:])
        close(forward(v, index, *options, output_size=x.shape[-n:]), ty)
        gy = rng.standard_normal(ty.shape)
        close(backward(gy, index), gradients(ty, gy, tv)[0])
        if index.max() < np.prod(theirs(tv, 0 * tindex, *options).shape[-n:]):
            close(forward(v, index, *options), theirs(tv, tindex, *options))


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_avg_pool(n: int, batch: Any, include: bool, rng: np.random.Generator) -> None:
    theirs, forward, backward = by_rank("avg_pool{n}d", n)
    for options, divisor in product(POOL_OPTIONS, (None, 5, -3)):
        extra: dict[str, Any] = {**options, "count_include_pad": include}
        if n > 1:
            extra["divisor_override"] = divisor
        elif divisor:
            continue  # torch has it for two and three axes only
        x = rng.standard_normal((*batch, 3, *SIZES[n]))
        (tx,) = tensors(x)
        ty = theirs(tx, **extra)
        close(forward(x, **extra), ty)
        gy = rng.standard_normal(ty.shape)
        close(backward(gy, x.shape, **extra), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_adaptive_pools(n: int, batch: Any, rng: np.random.Generator) -> None:
    their_mean, mean, mean_backward = by_rank("adaptive_avg_pool{n}d", n)
    their_max, most, most_backward = by_rank("adaptive_max_pool{n}d", n)
    for size in [1, 2, 3, 4, 7, 13, tuple(range(2, 2 + n)), tuple(range(8, 8 - n, -1))]:
        x = rng.standard_normal((*batch, 3, *SIZES[n]))
        (tx,) = tensors(x)
        ty = their_mean(tx, size)
        gy = rng.standard_normal(ty.shape)
        close(mean(x, size), ty)
        close(mean_backward(gy, x.shape), gradients(ty, gy, tx)[0])

        x = rng.integers(-3, 4, x.shape).astype(float)
        x[rng.random(x.shape) < 0.02] = np.nan
        (tx,) = tensors(x)
        ty, tindex = their_max(tx, size, return_indices=True)
        y, index = most(x, size, return_indices=True)
        close(y, ty)
        close(index, tindex)
        close(most_backward(gy, index, x.shape), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_lp_pool(n: int, batch: Any, rng: np.random.Generator) -> None:
    theirs, forward, backward = by_rank("lp_pool{n}d", n)
    for p, kernel, stride, ceil_mode in product((1, 2, 3, 4, 1.5, 0.5), (2, 3), (None, 1, 2), (False, True)):
        x = rng.standard_normal((*batch, 3, *SIZES[n]))
        if p in (1.5, 0.5):
            x = np.abs(x)
        x[..., :3] = 0  # windows of zeros
        (tx,) = tensors(x)
        ty = theirs(tx, p, kernel, stride, ceil_mode)
        close(forward(x, p, kernel, stride, ceil_mode), ty)
        gy = rng.standard_normal(ty.shape)
        close(backward(gy, x, p, kernel, stride, ceil_mode), gradients(ty, gy, tx)[0])


def test_max_pool_of_infinities_and_nan() -> None:
    x = np.full((1, 2, 5, 6), -np.inf)
    x[0, 1, ::2, ::3] = np.nan
    x[0, 1, 1::2, 1::3] = np.inf
    for options in POOL_OPTIONS:
        ty, tindex = F.max_pool2d(torch.tensor(x), **options, return_indices=True)
        y, index = reference.max_pool2d(x, **options, return_indices=True)
        close(y, ty)
        close(index, tindex)
    for size in (1, 2, 3, 7):
        ty, tindex = F.adaptive_max_pool2d(torch.tensor(x), size, return_indices=True)
        y, index = reference.adaptive_max_pool2d(x, size, return_indices=True)
        close(y, ty)
        close(index, tindex)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kernel", [1, 2, (3, 2)])
def test_unfold_and_fold(kernel: Any, batch: Any, rng: np.random.Generator) -> None:
    for dilation, padding, stride in product((1, (2, 1)), (0, (1, 2)), (1, 2, (3, 1))):
        options: Any = (kernel, dilation, padding, stride)
        x = rng.standard_normal((*batch, 3, 7, 6))
        (tx,) = tensors(x)
        tcolumns = F.unfold(tx, *options)
        close(reference.unfold(x, *options), tcolumns)
        g = rng.standard_normal(tcolumns.shape)
        close(reference.unfold_backward(g, x.shape, *options), gradients(tcolumns, g, tx)[0])
        (tg,) = tensors(g)
        timage = F.fold(tg, (7, 6), *options)
        close(reference.fold(g, (7, 6), *options), timage)
        close(reference.fold_backward(x, *options), gradients(timage, x, tg)[0])


@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        ((2, 3, 5), (1, 2)),
        ((3, 5), (4, 0)),
        ((2, 3, 4, 5), (1, 2, 3, 0)),
        ((3, 4, 5), (0, 4, 2, 3)),
        ((2, 3, 4, 3, 5), (1, 2, 2, 0, 3, 1)),
        ((3, 4, 3, 5), (1, 2, 2, 0, 3, 1)),
    ],
)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(shape: Any, pads: Any, mode: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape)
    (tx,) = tensors(x)
    ty = F.pad(tx, pads, mode)
    close(reference.pad(x, pads, mode), ty)
    gy = rng.standard_normal(ty.shape)
    close(reference.pad_backward(gy, pads, mode), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("pads", [(-1, 2), (-2, -1, 1, -1), (0, 0, 0, 0, 1, 1, -1, 2)])
def test_pad_by_a_constant_crops(pads: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 5))
    (tx,) = tensors(x)
    ty = F.pad(tx, pads, value=2.5)
    close(reference.pad(x, pads, value=2.5), ty)
    gy = rng.standard_normal(ty.shape)
    close(reference.pad_backward(gy, pads), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_linear(lead: tuple[int, ...], rng: np.random.Generator) -> None:
    x, w, b, gy = (rng.standard_normal(s) for s in ((*lead, 5), (3, 5), (3,), (*lead, 3)))
    tx, tw, tb = tensors(x, w, b)
    ty = F.linear(tx, tw, tb)
    close(reference.linear(x, w, b), ty)
    for got, expected in zip(reference.linear_backward(gy, x, w), gradients(ty, gy, tx, tw, tb), strict=True):
        close(got, expected)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_activations(dim: int, rng: np.random.Generator) -> None:
    x, gy = 20 * rng.standard_normal((4, 5, 6)), rng.standard_normal((4, 5, 6))
    x[0, 0, 0] = 0
    (tx,) = tensors(x)
    y = reference.relu(x)
    close(y, F.relu(tx))
    close(reference.relu_backward(gy, y), gradients(F.relu(tx), gy, tx)[0])
    for name in ("softmax", "log_softmax"):
        ty = getattr(F, name)(tx, dim)
        y = getattr(reference, name)(x, dim)
        close(y, ty)
        close(getattr(reference, f"{name}_backward")(gy, y, dim), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 5, 3), (2, 4, 2, 3), (0, 4)])
def test_cross_entropy(shape: tuple[int, ...], reduction: str, rng: np.random.Generator) -> None:
    x = 10 * rng.standard_normal(shape)
    axis = min(1, len(shape) - 1)
    target = rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    tx, ttarget = tensors(x, np.asarray(target))
    ty = F.cross_entropy(tx, ttarget, reduction=reduction)
    close(reference.cross_entropy(x, target, reduction=reduction), ty)
    gy = np.asarray(rng.standard_normal(ty.shape))
    close(reference.cross_entropy_backward(gy, x, target, reduction=reduction), gradients(ty, gy, tx)[0])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_empty_batch(n: int) -> None:
    x, w = np.zeros((0, 4, *SIZES[n])), np.ones((2, 4, *KERNELS[n]))
    tx, tw = tensors(x, w)
    close(by_rank("conv{n}d", n)[1](x, w), by_rank("conv{n}d", n)[0](tx, tw))
    close(by_rank("avg_pool{n}d", n)[1](x, 2), by_rank("avg_pool{n}d", n)[0](tx, 2))
    close(by_rank("max_pool{n}d", n)[1](x, 2), by_rank("max_pool{n}d", n)[0](tx, 2))


@pytest.mark.parametrize("seed", range(10))
def test_max_pool_over_random_arguments(seed: int) -> None:
    """The reference refuses windows beyond the padded input or in padding alone; torch not always."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        size, kernel, stride, dilation = (int(rng.integers(1, top)) for top in (9, 5, 5, 4))
        padding = int(rng.integers(0, kernel // 2 + 1))
        options = (kernel, stride, padding, dilation, bool(rng.integers(2)))
        x = rng.standard_normal((1, 2, size, size))
        if dilation * (kernel - 1) + 1 > size + 2 * padding:
            with pytest.raises(ValueError, match="fit"):
                reference.max_pool2d(x, *options)
            continue
        ty = F.max_pool2d(torch.tensor(x), *options)
        if np.isneginf(ty.numpy()).any():
            with pytest.raises(ValueError, match="padding"):
                reference.max_pool2d(x, *options)
        else:
            close(reference.max_pool2d(x, *options), ty)
