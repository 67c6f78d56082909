"""The ways in which an argument can be wrong, by its kind: a size, padding, a flag, data, ..."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, nan
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Wrong:
    """A wrong value of one argument: the exception due, how the message shows what was received, and its rule."""

    value: Any
    error: type[Exception]
    rule: str  # a regular expression
    shown: str | None = None  # a part of the message; None: "name=value"
    named: str | None = None  # a regular expression for the argument's name; None: its name
    others: dict[str, Any] = field(default_factory=dict)  # further arguments that differ from the right call


TOO_BIG = (2**62, 2**63, 2**64 - 1, 10**30)


BIG = r"below 2\*\*62"


class Opaque:
    """Nothing that an argument could be."""

    def __repr__(self) -> str:
        return "Opaque()"


def no_integers(optional: bool = False) -> Iterator[Wrong]:
    """Values that are no integer; None among them unless the argument may be None."""
    values = [
        1.0, 1.5, nan, inf, True, False, np.True_, "1", "", b"1", 1j, Opaque(), {1: 1}, {1}, np.float32(2),
        np.float64(1.0), np.array(2.0), np.array(True), np.datetime64("2020-01-01"), Fraction(2), range, slice(2),
    ]  # fmt: skip
    for value in values if optional else [*values, None]:
        yield Wrong(value, TypeError, "integer")


def number(minimum: int, optional: bool = False) -> Iterator[Wrong]:
    """One integer."""
    yield from no_integers(optional)
    for value in ((1,), [2], (), np.array([1, 2])):
        yield Wrong(value, TypeError, "integer")
    rule = "positive" if minimum == 1 else "non-negative"
    for value in (0, -1, -(2**31), -(2**63), -(10**30), np.int64(-1), np.int8(-128)):
        if value < minimum:
            yield Wrong(value, ValueError, rule)
    for value in TOO_BIG:
        yield Wrong(value, ValueError, BIG)


def per_axis(n: int, minimum: int, optional: bool = False) -> Iterator[Wrong]:
    """An integer, or one for each of n axes."""
    yield from no_integers(optional)
    rule = "positive" if minimum == 1 else "non-negative"
    for value in (0, -1, -(2**31), -(2**63), -(10**30), np.int64(-1)):
        if value < minimum:
            yield Wrong(value, ValueError, rule)
            yield Wrong((1,) * (n - 1) + (value,), ValueError, rule)
    for value in TOO_BIG:
        yield Wrong(value, ValueError, BIG)
        yield Wrong((value,) + (1,) * (n - 1), ValueError, BIG)
    for value in (1.0, True, "1", None, (1, 1), [1], np.float64(1)):
        yield Wrong((1,) * (n - 1) + (value,), TypeError, "integer")
    yield Wrong(np.full(n, 1.5), TypeError, "integer")
    yield Wrong(np.full(n, True), TypeError, "integer")
    for value in ((), [], (1,) * (n + 1), [1] * (n + 2), np.ones(n + 1, int), range(1, n + 2), np.ones(0, int)):
        yield Wrong(value, ValueError, rf"\b{n} (ints|entries|integers)|one per spatial axis")


def padding(n: int, names: bool) -> Iterator[Wrong]:
    """Zeros around the input: ints or pairs, and for some operators "valid" and "same"."""
    for wrong in per_axis(n, 0):
        pairs = isinstance(wrong.value, tuple) and any(isinstance(item, tuple | list) for item in wrong.value)
        if not pairs and not isinstance(wrong.value, str):
            yield wrong
    for pair in ((0, -1), (-1, 0), (-(2**62), 0)):
        yield Wrong(((0, 0),) * (n - 1) + (pair,), ValueError, "non-negative")
    yield Wrong(((0, 2**62),) * n, ValueError, BIG)
    for pair in ((1.0, 1), (1, True), ("1", "1"), (None, 0)):
        yield Wrong((pair,) * n, TypeError, "integer")
    for value in (((1, 1),) * (n + 1), ((1,),) * n, ((1, 1, 1),) * n, ((),) * n):
        yield Wrong(value, ValueError, "pairs")
    if n > 1:
        for value in (((1, 2), (1,)) + ((1, 1),) * (n - 2), (1,) * (n - 1) + ((1, 1),), ((1, 1),) * (n - 1) + (1,)):
            yield Wrong(value, ValueError, "pairs")
    bad_names = ("SAME", "full", "", "same ", "0") if names else ("same", "valid", "SAME", "0")
    for name in bad_names:
        yield Wrong(name, ValueError, "one of" if names else r"\(lo, hi\) pairs|ints")


def flag() -> Iterator[Wrong]:
    """True or False."""
    for value in (0, 1, None, "True", "", 1.0, [True], np.array([True]), np.int64(1)):
        yield Wrong(value, TypeError, "True or False")


def choice() -> Iterator[Wrong]:
    """One of some strings."""
    for value in ("fast", "", "AUTO", "mean ", None, 3, True, b"auto", ("auto",), ["auto"], Opaque()):
        yield Wrong(value, ValueError, "one of")


def needs() -> Iterator[Wrong]:
    """Which gradients are wanted."""
    for value in (None, True, 3, "yes", (), (True,), (True, True), (True,) * 4, {True}):
        yield Wrong(value, ValueError, "three booleans")
    for value in ((1, 0, 1), (True, True, None), ("a", "b", "c"), [1.0, True, True]):
        yield Wrong(value, TypeError, "True or False", "received needs=")


def no_floats(shape: tuple[int, ...], optional: bool = False) -> Iterator[Wrong]:
    """Arrays that do not hold float16, float32 or float64."""
    rule = "float16, float32 or float64"
    kinds = [
        "i1",
        "i2",
        "i4",
        "i8",
        "u1",
        "u8",
        "?",
        "c8",
        "c16",
        "S3",
        "U3",
        "M8[s]",
        "m8[s]",
        "O",
        "V8",
        [("a", "f4"), ("b", "f4")],
    ]
    if np.dtype(np.longdouble).itemsize > 8:
        kinds += [np.longdouble, np.clongdouble]
    for kind in kinds:
        array = np.zeros(shape, kind)
        yield Wrong(array, TypeError, rule, f"dtype {array.dtype}")
    yield Wrong(np.zeros(shape, bool).tolist(), TypeError, rule, "dtype bool")
    yield Wrong(np.zeros(shape, complex).tolist(), TypeError, rule, "dtype complex128")
    yield Wrong("text", TypeError, rule)
    yield Wrong(b"text", TypeError, rule)
    yield Wrong([[1.0], [1.0, 2.0]], TypeError, "array", "inhomogeneous")
    yield Wrong([None], TypeError, rule, "dtype object")
    yield Wrong(["a"], TypeError, rule, "dtype <U1")
    yield Wrong(Opaque(), TypeError, rule, "dtype object")
    yield Wrong({"a": 1}, TypeError, rule, "dtype object")
    if not optional:
        yield Wrong(None, TypeError, rule)


def zeros(*shape: int) -> Any:
    """An array of zeros that takes no memory, however large."""
    return np.broadcast_to(np.float32(0), shape)


def shapes(bad: list[tuple[int, ...]], rule: str) -> Iterator[Wrong]:
    """Arrays of wrong shapes."""
    for shape in bad:
        yield Wrong(zeros(*shape), ValueError, rule, str(shape))


def wrong_rank(n: int, unpool: bool = False) -> Iterator[Wrong]:
    """Inputs that are neither (N, C, *S) nor (C, *S); unpooling compares them with its indices first."""
    for rank in (0, 1, 2, 3, 6, 7):
        if rank not in (n + 1, n + 2):
            shape = (2,) * rank
            rule = "must have the (axes|shape of input)" if unpool else "must have the axes"
            yield Wrong(zeros(*shape), ValueError, rule, str(shape), "input|indices" if unpool else None)


def other_shapes(right: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes unlike the right one: each axis longer, shorter and empty, an axis more and fewer, none."""
    found = [
        (*right[:i], size, *right[i + 1 :])
        for i in range(len(right))
        for size in (right[i] + 1, right[i] - 1, 0, 2**31)
    ]
    return [shape for shape in (*found, (*right, 1), (1, *right), right[1:], ()) if shape != right]


def reals(minimum: float | None = None, optional: bool = False) -> Iterator[Wrong]:
    """A finite real number, not negative where `minimum` is given; None among the wrong ones unless it may be None."""
    if not optional:
        yield Wrong(None, TypeError, "real number")
    for value in ("2", "", b"1", 1j, True, np.True_, [2.0], (2,), Opaque(), np.array([2.0])):
        yield Wrong(value, TypeError, "real number")
    for value in (nan, inf, -inf, np.float64("nan"), np.float32("inf"), 10**400):
        yield Wrong(value, ValueError, "finite")
    for value in (-1, -1e-300, Fraction(-1, 3), np.float64(-2)) if minimum is not None else ():
        yield Wrong(value, ValueError, "non-negative")


def powers() -> Iterator[Wrong]:
    """norm_type."""
    for value in (0, -1, 0.0, -2.5, nan, inf, -inf, np.float64("nan")):
        yield Wrong(value, ValueError, "positive|finite")
    for value in (None, "2", "", 1j, True, [2.0], (2,), Opaque(), np.array([2.0])):
        yield Wrong(value, TypeError, "number")


def divisors() -> Iterator[Wrong]:
    """divisor_override."""
    yield from no_integers(optional=True)
    yield Wrong(0, ValueError, "positive|must not be 0|not be zero")
    for value in TOO_BIG:
        yield Wrong(value, ValueError, BIG)
    yield Wrong((2,), TypeError, "integer")
