"""Calls with sizes near the limits of 64 bits, for a process of its own: ``python extremes.py FAMILY [SEED [COUNT]]``.

They are not all wrong: a stride of 2**61 has a right answer. What is asked is that each gives an answer or one of three
exceptions. The name of a call is printed before it is made, so that a crash tells what crashed.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import bad_calls
import filter_calls
import numpy as np
from right import CALLS
from wrong import zeros

import fastconv as fc

ALGORITHMS = ("auto", "direct", "im2col", "col2im", "depthwise", "grouped", "winograd")
SIZES = (0, 1, 2, 3, 5, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**61, 2**62 - 1)


def ones(*shape: int) -> Any:
    """An array of ones that takes no memory, however large."""
    return np.broadcast_to(np.float32(1), shape)


def named() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Calls in which a product of sizes wraps around to a small number."""
    wide = {"padding": ((2**32 - 1, 0),) * 2, "dilation": 2**32 - 1}
    for outputs in (1, 3, 16):
        w = ones(outputs, 1, 2, 2)
        x, gy = ones(1, 1, 1, 1), ones(1, outputs, 1, 1)
        for algorithm in ALGORITHMS:
            options = {**wide, "algorithm": algorithm}
            yield f"reach of 2**64, {outputs} {algorithm}", lambda w=w, o=options, x=x: fc.conv2d(x, w, **o)
            yield (
                f"its backward, {outputs} {algorithm}",
                lambda w=w, o=options, x=x, g=gy: fc.conv2d_backward(g, x, w, **o),
            )
            options = {"padding": "same", "dilation": 2**32 - 1, "algorithm": algorithm}
            yield f"same, {outputs} {algorithm}", lambda w=w, o=options: fc.conv2d(ones(1, 1, 4, 4), w, **o)
            options = {"padding": ((2**31 - 1, 2**31),) * 2, "algorithm": algorithm}
            yield f"result of 2**64, {outputs} {algorithm}", lambda w=w, o=options, x=x: fc.conv2d(x, w, **o)
            options = {"padding": ((0, 0), (1, 2**61)), "stride": (1, 2**61), "algorithm": algorithm}
            w8, x8 = ones(outputs, 1, 8, 2), ones(1, 1, 8, 1)
            yield f"stride of 2**61, {outputs} {algorithm}", lambda w=w8, o=options, x=x8: fc.conv2d(x, w, **o)
            options = {**wide, "algorithm": algorithm}
            wt, xt = ones(outputs, outputs, 2, 2), ones(1, outputs, 1, 1)
            yield f"transposed, {outputs} {algorithm}", lambda w=wt, o=options, x=xt: fc.conv_transpose2d(x, w, **o)
            yield (
                f"its backward, {outputs} {algorithm}",
                lambda w=wt, o=options, x=xt: fc.conv_transpose2d_backward(x, x, w, **o),
            )
            options = {"stride": 2, "padding": 1, "algorithm": algorithm}
            w1, x1, g1 = ones(outputs, 3, 1, 1), ones(1, 3, 1, 1), ones(1, outputs, 2, 2)
            yield (  # ordinary sizes, but no output reads the input
                f"unread input, {outputs} {algorithm}",
                lambda w=w1, o=options, x=x1, g=g1: fc.conv2d_backward(g, x, w, **o),
            )
            big = ones(1, 1, 2**30, 2**30)
            yield f"kernel of 2**60, {algorithm}", lambda a=algorithm, x=big: fc.conv2d(x, x, algorithm=a)
            yield (
                f"2**40 groups, {algorithm}",
                lambda a=algorithm: fc.conv1d(ones(1, 2**40, 1), ones(2**40, 1, 1), groups=2**40, algorithm=a),
            )
            yield (
                f"cube of 2**40, {algorithm}",
                lambda a=algorithm: fc.conv3d(
                    ones(1, 1, 1, 1, 1), ones(1, 1, 2, 2, 2), padding=((2**40, 0),) * 3, dilation=2**40, algorithm=a
                ),
            )
    for size in (2**31, 2**40, 2**61 - 1):
        yield f"1 of {size}", lambda s=size: fc.conv1d(ones(1, 1, s), ones(1, 1, 1), stride=s)
        yield f"max of {size}", lambda s=size: fc.max_pool1d(ones(1, 1, s), 1, s)
        yield f"unfold of {size}", lambda s=size: fc.unfold(ones(1, 1, 1, s), 1, stride=s)
    for name in ("max_pool2d", "avg_pool2d"):
        for reach in (2**31, 2**32 - 1, 2**61):
            pool = getattr(fc, name)
            options = {"kernel_size": 2, "stride": reach, "padding": 1}
            yield f"{name} {reach}", lambda p=pool, o=options: p(ones(1, 1, 3, 3), **o)
    for reach in (2**31, 2**32 - 1, 2**61):
        yield (
            f"window of {reach}",
            lambda r=reach: fc.max_pool2d(ones(1, 1, 1, r + 1), (1, 2), stride=r, dilation=(1, r)),
        )
        yield f"pooled to {reach}", lambda r=reach: fc.adaptive_avg_pool2d(ones(1, 1, 2, 2), r)
        yield f"folded to {reach}", lambda r=reach: fc.fold(ones(1, 4, 1), (r + 1, r + 1), 2, dilation=r)


def random(seed: int, count: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Calls of convolutions, pools and windows with options drawn from the sizes above."""
    rng = np.random.default_rng(seed)
    options = ("stride", "padding", "dilation", "kernel_size", "output_padding", "output_size", "groups")
    names = [name for name, call in CALLS.items() if set(options) & call.arguments.keys()]

    def some(n: int) -> Any:
        value = tuple(SIZES[i] for i in rng.choice(len(SIZES), n, p=_LIKELY))
        return value[0] if rng.integers(2) else value

    for _ in range(count):
        name = str(rng.choice(names))
        call = CALLS[name]
        changes: dict[str, Any] = {}
        for option in options:
            if option in call.arguments and rng.integers(2):
                changes[option] = SIZES[rng.choice(len(SIZES), p=_LIKELY)] if option == "groups" else some(call.axes)
        if "padding" in changes and rng.integers(2):
            changes["padding"] = tuple(
                (SIZES[rng.integers(len(SIZES))], SIZES[rng.integers(4)]) for _ in range(call.axes)
            )
        if "conv" in name:
            changes["algorithm"] = str(rng.choice(ALGORITHMS))
        if "input" in call.arguments and "weight" in call.arguments and rng.integers(3) == 0:
            changes["input"] = zeros(*call.arguments["input"].shape[:-1], 2**40)
        if "conv" in name and not name.endswith("_backward"):
            changes["bias"] = None
        if "grad_output" in call.arguments and "conv" in name:  # one that fits, where the forward pass can be planned
            changes = _fitting(name, changes)
        shown = {k: v if not isinstance(v, np.ndarray) else v.shape for k, v in changes.items()}
        yield f"{name} {shown}", lambda c=call, changes=changes: c(**changes)


_LIKELY = np.array([1] + [8] * 4 + [2] * 10, float)
_LIKELY /= _LIKELY.sum()


def _fitting(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes, with a gradient of the shape that the forward pass would have."""
    arguments = {**CALLS[name].arguments, **changes}
    pairs = arguments["padding"] if isinstance(arguments["padding"], tuple) else (arguments["padding"],) * 3
    pads = [p if isinstance(p, tuple) else (p, p) for p in pairs]
    x, w = arguments["input"].shape, arguments["weight"].shape

    def axis(option: str, i: int) -> int:
        value = arguments.get(option, 0)
        return int(value[i] if isinstance(value, tuple) else value)

    sides = []
    for i in range(len(x) - 2):
        s, d, (lo, hi) = axis("stride", i), axis("dilation", i), pads[i]
        if "transpose" in name:
            sides.append((x[2 + i] - 1) * s - lo - hi + d * (w[2 + i] - 1) + axis("output_padding", i) + 1)
        else:
            sides.append((x[2 + i] + lo + hi - d * (w[2 + i] - 1) - 1) // max(s, 1) + 1)
    channels = w[1] * arguments["groups"] if "transpose" in name else w[0]
    try:
        return {**changes, "grad_output": zeros(x[0], channels, *sides)}
    except (ValueError, OverflowError):
        return changes


def sweep() -> Iterator[tuple[str, Callable[[], Any]]]:
    """All of the sweep of bad input."""
    for case in (*bad_calls.operator_cases(), *bad_calls.layer_cases(), *bad_calls.filter_cases()):
        yield str(case), case.run


class TooLong(Exception):
    """A call that has an answer, but not soon."""


def main(family: str, seed: int = 0, count: int = 400) -> None:
    """Make the calls of a family."""
    calls = {
        "named": named,
        "sweep": sweep,
        "random": lambda: random(seed, count),
        "filters": lambda: filter_calls.odd_calls(seed, count),
    }[family]()

    def stop(*_: object) -> None:
        raise TooLong

    def answered(call: Callable[[], Any]) -> bool:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            call()
            return True
        except (ValueError, TypeError, MemoryError):
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    signal.signal(signal.SIGALRM, stop)
    made = answers = 0
    for name, call in calls:
        print(name, flush=True)
        with suppress(TooLong):  # which may also come while the clock is being stopped
            answers += answered(call)
        made += 1
    print(f"made {made} calls, {answers} have an answer")


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    main(sys.argv[1], *map(int, sys.argv[2:]))
