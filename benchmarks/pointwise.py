"""Normalisations, activations, dropout and losses beside PyTorch: functional calls on the same arrays, one thread each.

    python benchmarks/pointwise.py [--isa avx2] [words that a row's name must have one of]

A row gives both times in microseconds, the least of many rounds in turn, and PyTorch's over fastconv's: above 1,
fastconv is faster. Backward calls are PyTorch's own kernels where it has one with that name, else
`torch.autograd.grad`. Results are compared before they are timed. At the end stand the mean and the rows below 1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from math import gcd
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from environment import ISAS, restart_with

import fastconv as fc

Row = tuple[str, Callable[[], Any], Callable[[], Any]]

ALL = [True] * 3
RANDOM = ("dropout ", "dropout2d ")  # not comparable, unlike their gradients
IMAGES = (
    (8, 64, 112, 112),
    (8, 256, 28, 28),
    (8, 512, 7, 7),
    (2, 64, 14, 14),
    (32, 6, 28, 28),
    (32, 16, 10, 10),
    (2, 16, 8, 8),
)
FEATURES = ((1568, 768), (512, 768), (512, 128), (32, 1024), (8, 84))
CLASSES = ((256, 1000), (64, 10), (8, 21, 56, 56))

aten = torch.ops.aten
rng = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    """Normal numbers in memory that begins at a cache line, as the results of both libraries do."""
    return torch.from_numpy(rng.standard_normal(shape, np.float32)).clone().numpy()


def gradient(function: Callable[..., Any], *arrays: torch.Tensor) -> Callable[[Any], Any]:
    """The way back through a function of tensors."""
    with torch.enable_grad():
        inputs = [array.detach().requires_grad_() for array in arrays]  # no copies: both read the same memory
        output = function(*inputs)
    return lambda grad: torch.autograd.grad(output, inputs, grad, retain_graph=True)


def norms(shape: tuple[int, ...]) -> Iterator[Row]:
    """Batch, group, instance and layer norm, forward and backward."""
    x, g, c = draw(*shape), draw(*shape), shape[1]
    w, b, mean, var = draw(c), draw(c), draw(c), abs(draw(c))
    tx, tg, tw, tb, tm, tv = map(torch.from_numpy, (x, g, w, b, mean.copy(), var.copy()))
    n, pixels, groups = len(x), x[0, 0].size, gcd(32, c)
    for training in (True, False):
        mode = "training" if training else "evaluation"
        _, used, spread = fc.batch_norm(x, mean, var, w, b, training)
        _, saved, inverse = torch.native_batch_norm(tx, tw, tb, tm, tv, training, 0.0, 1e-5)
        yield (
            f"batch norm {mode}",
            lambda t=training: fc.batch_norm(x, mean, var, w, b, t)[0],
            lambda t=training: F.batch_norm(tx, tm, tv, tw, tb, t, 0.0),
        )
        native = (tw, tm, tv, saved, inverse, training, 1e-5, ALL)
        yield (
            f"batch norm {mode} backward",
            lambda t=training, u=used, s=spread: fc.batch_norm_backward(g, x, u, s, w, t),
            lambda rest=native: aten.native_batch_norm_backward(tg, tx, *rest),
        )
    yield "group norm", lambda: fc.group_norm(x, groups, w, b), lambda: F.group_norm(tx, groups, tw, tb)
    _, m, r = torch.native_group_norm(tx, tw, tb, n, c, pixels, groups, 1e-5)
    yield (
        "group norm backward",
        lambda: fc.group_norm_backward(g, x, groups, w),
        lambda: aten.native_group_norm_backward(tg, tx, m, r, tw, n, c, pixels, groups, ALL),
    )
    if pixels > 1:
        yield (
            "instance norm",
            lambda: fc.instance_norm(x, weight=w, bias=b)[0],
            lambda: F.instance_norm(tx, None, None, tw, tb),
        )
        back = gradient(lambda *t: F.instance_norm(t[0], None, None, *t[1:]), tx, tw, tb)
        yield "instance norm backward", lambda: fc.instance_norm_backward(g, x, weight=w), lambda: back(tg)
    last = draw(*shape[1:])
    tl = torch.from_numpy(last)
    yield "layer norm", lambda: fc.layer_norm(x, shape[1:], last, last), lambda: F.layer_norm(tx, shape[1:], tl, tl)
    _, lm, lr = torch.native_layer_norm(tx, shape[1:], tl, tl, 1e-5)
    yield (
        "layer norm backward",
        lambda: fc.layer_norm_backward(g, x, shape[1:], last),
        lambda: aten.native_layer_norm_backward(tg, tx, shape[1:], lm, lr, tl, tl, ALL),
    )


def responses(shape: tuple[int, ...]) -> Iterator[Row]:
    """Local response norm, AlexNet's and another power."""
    x, g = draw(*shape), draw(*shape)
    tx, tg = torch.from_numpy(x), torch.from_numpy(g)
    for beta in (0.75, 0.6):
        options = (5, 5e-4, beta, 2.0)
        yield (
            f"response norm {beta}",
            lambda o=options: fc.local_response_norm(x, *o),
            lambda o=options: F.local_response_norm(tx, *o),
        )
        back = gradient(lambda t, o=options: F.local_response_norm(t, *o), tx)
        yield (
            f"response norm {beta} backward",
            lambda o=options: fc.local_response_norm_backward(g, x, *o),
            lambda b=back: b(tg)[0],
        )


def activations(shape: tuple[int, ...]) -> Iterator[Row]:
    """Activations and dropout."""
    x, g = draw(*shape), draw(*shape)
    tx, tg = torch.from_numpy(x), torch.from_numpy(g)
    slopes, generator = np.full(shape[1], 0.25, np.float32), np.random.default_rng(0)
    y, s, t = fc.relu(x), fc.sigmoid(x), fc.tanh(x)
    ty, ts, tt = map(torch.from_numpy, (y, s, t))
    yield "relu", lambda: fc.relu(x), lambda: F.relu(tx)
    yield "relu backward", lambda: fc.relu_backward(g, y), lambda: aten.threshold_backward(tg, ty, 0)
    yield "leaky relu", lambda: fc.leaky_relu(x), lambda: F.leaky_relu(tx)
    yield (
        "leaky relu backward",
        lambda: fc.leaky_relu_backward(g, x),
        lambda: aten.leaky_relu_backward(tg, tx, 0.01, False),
    )
    ta = torch.from_numpy(slopes)
    slope = gradient(F.prelu, tx, ta)
    yield "prelu", lambda: fc.prelu(x, slopes), lambda: F.prelu(tx, ta)
    yield "prelu backward", lambda: fc.prelu_backward(g, x, slopes), lambda: slope(tg)
    yield "elu", lambda: fc.elu(x), lambda: F.elu(tx)
    yield "elu backward", lambda: fc.elu_backward(g, x), lambda: aten.elu_backward(tg, 1.0, 1.0, 1.0, False, tx)
    yield "sigmoid", lambda: fc.sigmoid(x), lambda: torch.sigmoid(tx)
    yield "sigmoid backward", lambda: fc.sigmoid_backward(g, s), lambda: aten.sigmoid_backward(tg, ts)
    yield "tanh", lambda: fc.tanh(x), lambda: torch.tanh(tx)
    yield "tanh backward", lambda: fc.tanh_backward(g, t), lambda: aten.tanh_backward(tg, tt)
    for form in ("none", "tanh"):
        yield f"gelu {form}", lambda f=form: fc.gelu(x, f), lambda f=form: F.gelu(tx, approximate=f)
        yield (
            f"gelu {form} backward",
            lambda f=form: fc.gelu_backward(g, x, f),
            lambda f=form: aten.gelu_backward(tg, tx, approximate=f),
        )
    yield "silu", lambda: fc.silu(x), lambda: F.silu(tx)
    yield "silu backward", lambda: fc.silu_backward(g, x), lambda: aten.silu_backward(tg, tx)
    yield "softplus", lambda: fc.softplus(x), lambda: F.softplus(tx)
    yield "softplus backward", lambda: fc.softplus_backward(g, x), lambda: aten.softplus_backward(tg, tx, 1, 20)
    mask = fc.dropout(x, generator=generator)[1]
    tm = torch.from_numpy(mask)
    yield "dropout", lambda: fc.dropout(x, generator=generator), lambda: F.dropout(tx)
    yield "dropout backward", lambda: fc.dropout_backward(g, mask), lambda: aten.native_dropout_backward(tg, tm, 2.0)
    if len(shape) == 4:
        planes = fc.dropout2d(x, generator=generator)[1]
        kept = torch.from_numpy(planes * np.float32(2))
        yield "dropout2d", lambda: fc.dropout2d(x, generator=generator), lambda: F.dropout2d(tx)
        yield "dropout2d backward", lambda: fc.dropout2d_backward(g, planes), lambda: tg * kept


def differences(shape: tuple[int, ...]) -> Iterator[Row]:
    """Losses of numbers."""
    x, t, g = draw(*shape), rng.random(shape, np.float32), draw(*shape)
    tx, tt, tg = map(torch.from_numpy, (x, t, g))
    for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"):
        ours, back, theirs = getattr(fc, name), getattr(fc, f"{name}_backward"), getattr(F, name)
        for how in ("mean", "none"):
            grads = (1.0, torch.tensor(1.0)) if how == "mean" else (g, tg)
            yield (
                f"{name} {how}",
                lambda f=ours, h=how: f(x, t, reduction=h),
                lambda f=theirs, h=how: f(tx, tt, reduction=h),
            )
            way = gradient(lambda a, f=theirs, h=how: f(a, tt, reduction=h), tx)
            yield (
                f"{name} {how} backward",
                lambda f=back, h=how, gs=grads: f(gs[0], x, t, reduction=h),
                lambda w=way, gs=grads: w(gs[1])[0],
            )


def classes(shape: tuple[int, ...]) -> Iterator[Row]:
    """Softmax and the losses of classes."""
    x, g, t = draw(*shape), draw(*shape), rng.integers(0, shape[1], shape[:1] + shape[2:])
    y, logs = fc.softmax(x, 1), fc.log_softmax(x, 1)
    tx, tg, tt, ty, tl = map(torch.from_numpy, (x, g, t, y, logs))
    one = torch.tensor(1.0)
    yield "softmax", lambda: fc.softmax(x, 1), lambda: F.softmax(tx, 1)
    yield (
        "softmax backward",
        lambda: fc.softmax_backward(g, y, 1),
        lambda: aten._softmax_backward_data(tg, ty, 1, torch.float32),
    )
    yield "log softmax", lambda: fc.log_softmax(x, 1), lambda: F.log_softmax(tx, 1)
    yield (
        "log softmax backward",
        lambda: fc.log_softmax_backward(g, logs, 1),
        lambda: aten._log_softmax_backward_data(tg, tl, 1, torch.float32),
    )
    yield "cross entropy", lambda: fc.cross_entropy(x, t), lambda: F.cross_entropy(tx, tt)
    way = gradient(lambda a: F.cross_entropy(a, tt), tx)
    yield "cross entropy backward", lambda: fc.cross_entropy_backward(1.0, x, t), lambda: way(one)[0]
    yield "nll", lambda: fc.nll_loss(logs, t), lambda: F.nll_loss(tl, tt)
    back = gradient(lambda a: F.nll_loss(a, tt), tl)
    yield "nll backward", lambda: fc.nll_loss_backward(1.0, logs, t), lambda: back(one)[0]


def seconds(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> float:
    """Check results, time both in turn, print the row and return the ratio."""
    results = ours(), theirs()
    pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True)
    for a, b in () if name.startswith(RANDOM) and "backward" not in name else pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(1.0, float(abs(np.asarray(b)).max())), err_msg=name)
    once = max(1e-7, seconds(theirs, 1))
    calls = max(1, min(200, int(3e-4 / once)))
    rounds = int(max(7, min(60, 0.12 / (once * calls))))
    times = [(seconds(ours, calls), seconds(theirs, calls)) for _ in range(rounds)]
    best = [1e6 * min(t[i] for t in times) for i in range(2)]
    print(
        f"{name:58s} fastconv {best[0]:9.1f} us   PyTorch {best[1]:9.1f}   ratio {best[1] / best[0]:5.2f}", flush=True
    )
    return best[1] / best[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="rows whose name has one of them (default: all)")
    parser.add_argument("--isa", choices=ISAS, help="cap both libraries at an instruction set (default: none)")
    options = parser.parse_args()
    restart_with(1, options.isa)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    some = (*IMAGES[:2], *IMAGES[3:6], FEATURES[-1])
    groups = [(norms, IMAGES + FEATURES), (responses, ((8, 96, 55, 55),)), (activations, some)]
    groups += [(differences, some), (classes, CLASSES)]
    ratios: dict[str, float] = {}
    with fc.threads(1):
        for make, shapes in groups:
            for shape in shapes:
                size = "x".join(map(str, shape))
                for row, ours, theirs in make(shape):
                    name = f"{row} {size}"
                    if not options.words or any(word in name for word in options.words):
                        ratios[name] = compare(name, ours, theirs)
    below = sorted((ratio, name) for name, ratio in ratios.items() if ratio < 1)
    mean = np.exp(np.mean(np.log(list(ratios.values()))))
    print(f"{len(ratios)} rows, geometric mean {mean:.2f}, {len(below)} below 1:")
    for ratio, name in below:
        print(f"    {ratio:.2f} {name}")


if __name__ == "__main__":
    main()
