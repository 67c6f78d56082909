"""Checks of single values: integers and reals, one or one for each axis; names; generators; paddings."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "choice",
    "flag",
    "generator",
    "generator_state",
    "integer",
    "needs",
    "padding_pairs",
    "padding_per_axis",
    "path",
    "per_axis",
    "real",
    "sizes",
]

LARGEST = 2**62  # of any size in bytes or elements: products of two stay far from the limits of what C computes with


def integer(op: str, name: str, value: Any, minimum: int | None = None, *, whole: Any = None) -> int:
    """Return `value` as an int of at least `minimum`; `whole` is the argument that it is part of."""
    received = value if whole is None else whole
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: {name} must be made of integers, received {name}={received!r}")
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be made of integers, received {name}={received!r}") from None
    if minimum is not None and number < minimum:
        rule = {0: "non-negative", 1: "positive"}.get(minimum, f"at least {minimum}")
        raise ValueError(f"{op}: {name} must be {rule}, received {name}={received!r}")
    if abs(number) >= LARGEST:
        raise ValueError(f"{op}: {name} must be below 2**62, received {name}={received!r}")
    return number


def is_sequence(value: Any) -> bool:
    """Whether a value has items: a sequence but text, or an array with axes."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def per_axis(op: str, name: str, value: Any, n: int, minimum: int | None = None) -> tuple[int, ...]:
    """Return one int per axis, from an int or a sequence of `n` ints."""
    if not is_sequence(value):
        return (integer(op, name, value, minimum),) * n
    if len(value) != n:
        raise ValueError(f"{op}: {name} must be an int or {n} ints, one per spatial axis, received {name}={value!r}")
    return tuple(integer(op, name, item, minimum, whole=value) for item in value)


def sizes(op: str, name: str, value: Any, n: int | None = None, minimum: int = 0) -> tuple[int, ...]:
    """Return a shape: a sequence of ints, `n` of them if given."""
    if not is_sequence(value):
        raise TypeError(f"{op}: {name} must be a sequence of integers, received {name}={value!r}")
    if n is not None and len(value) != n:
        raise ValueError(f"{op}: {name} must have {n} entries, received {name}={value!r}")
    return tuple(integer(op, name, item, minimum, whole=value) for item in value)


def flag(op: str, name: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: {name} must be True or False, received {name}={value!r}")
    return bool(value)


def real(op: str, name: str, value: Any, minimum: float | None = None) -> float:
    """Return a finite real number, of at least `minimum`, as a float."""
    if type(value) is float and minimum is None and isfinite(value):
        return value  # the usual case, ten times faster
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{op}: {name} must be a real number, received {name}={value!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond any float
        number = inf
    if not isfinite(number):
        raise ValueError(f"{op}: {name} must be finite, received {name}={value!r}")
    if minimum is not None and number < minimum:
        rule = "non-negative" if minimum == 0 else f"at least {minimum}"
        raise ValueError(f"{op}: {name} must be {rule}, received {name}={value!r}")
    return number


def generator(op: str, value: Any) -> np.random.Generator:
    """Return a random generator as it is, one made from a seed, or for None one with a seed from the system."""
    if isinstance(value, np.random.Generator):
        return value
    if value is None:
        return np.random.default_rng()
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"{op}: generator must be a numpy.random.Generator, an int seed or None, received generator={value!r}"
        )
    return np.random.default_rng(integer(op, "generator", value, 0))


_BUFFERED = {"pos": 624, "buffer_pos": 4}  # numbers that MT19937 and Philox hold ready: how far their places may go


def generator_state(op: str, generator: np.random.Generator, state: Any) -> None:
    """Set the state of a random generator, which may come from a file: NumPy does not check places in its buffers."""
    try:
        for name, value in {**state, **state["state"]}.items():
            if name in _BUFFERED and not 0 <= value <= _BUFFERED[name]:
                raise ValueError(f"{name} must be from 0 to {_BUFFERED[name]}")
        generator.bit_generator.state = state
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        kind = type(generator.bit_generator).__name__
        raise ValueError(f"{op}: a generator's state must be that of a {kind}, received {state}: {error}") from None


def needs(op: str, value: Any) -> tuple[bool, bool, bool]:
    """Return which of the gradients of input, weight and bias are wanted."""
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise ValueError(f"{op}: needs must be three booleans (input, weight, bias), received needs={value!r}")
    a, b, c = (flag(op, "needs", item) for item in value)
    return a, b, c


def path(op: str, name: str, value: Any) -> Path:
    """Return a path."""
    try:
        return Path(value)
    except TypeError:  # other types, and paths of bytes
        raise TypeError(f"{op}: {name} must be a path (str or os.PathLike), received {name}={value!r}") from None


def choice(op: str, name: str, value: Any, allowed: Sequence[str], remedy: str = "") -> str:
    """Return one of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(repr(item) for item in allowed)
        raise ValueError(f"{op}: {name} must be one of {listed}, received {name}={value!r}{remedy and '; '}{remedy}")
    return value


def padding_per_axis(op: str, value: Any, n: int) -> Any:
    """Return "same", "valid", one int per axis, or one (lo, hi) pair per axis: what a layer keeps."""
    if isinstance(value, str):
        return choice(op, "padding", value, ("same", "valid"))
    if is_sequence(value) and any(is_sequence(item) for item in value):
        if len(value) != n:
            raise ValueError(f"{op}: padding must have {n} (lo, hi) pairs, received padding={value!r}")
        pairs = []
        for item in value:
            if not is_sequence(item) or len(item) != 2:
                raise ValueError(f"{op}: padding must be made of (lo, hi) pairs, received padding={value!r}")
            pairs.append(tuple(integer(op, "padding", i, 0, whole=value) for i in item))
        return tuple(pairs)
    return per_axis(op, "padding", value, n, 0)


def padding_pairs(
    op: str, value: Any, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return (lo, hi) for each axis; ``"same"`` is SAME_UPPER: ceil(size / stride) outputs, the extra at the end."""
    checked = padding_per_axis(op, value, len(size))
    if checked == "valid":
        return ((0, 0),) * len(size)
    if checked == "same":
        totals = [
            max(0, (-(-w // s) - 1) * s + d * (k - 1) + 1 - w)
            for w, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple(item if isinstance(item, tuple) else (item, item) for item in checked)
