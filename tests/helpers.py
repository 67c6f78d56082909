"""What the tests of the operators share: instruction sets, whole numbers on which sums are exact, layouts, problems.

Whole numbers are small and never zero: sums of their products are exact in float32 and hardly ever zero, so results are
compared for equality, and one that is mostly zero is mistrusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fastconv._config import ISAS as _ISAS

Array = np.ndarray[Any, np.dtype[Any]]

#: Every instruction set, for ``parametrize``: those that this machine lacks are skipped visibly.
ISAS = [
    pytest.param(name, marks=pytest.mark.skipif(not all(state), reason=f"(compiled, supported) is {state}"))
    for name, state in _ISAS.items()
]
USABLE_ISAS = [name for name, state in _ISAS.items() if all(state)]
DTYPES = [np.float32, np.float64]
THREADS = (1, 2, 3, 4, 7, 8)
#: Around the lanes of every vector and the rows of every register tile.
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48)

# ---------------------------------------------------------------------------------------------------- data


def whole(rng: np.random.Generator, *shape: int, dtype: Any = np.float32, most: int = 3) -> Array:
    """Whole numbers from -most to most without 0."""
    values = rng.integers(1, most + 1, shape) * rng.choice([-1, 1], shape)
    return np.asarray(values, dtype)


def assert_same(got: Any, want: Array, *, share: float = 0.3) -> None:
    """Equal values, shape and dtype, in C order; at least a `share` of them not zero, or nothing would be proven.

    (0 does without that, for problems made at random: any single sum may be zero.)
    """
    assert type(got) is np.ndarray
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert got.flags.c_contiguous
    if want.size and share:
        assert np.count_nonzero(want) >= max(1, share * want.size), "mistrusted: the expected result is mostly zero"
    np.testing.assert_array_equal(got, want)


#: Of Winograd's largest error, in units of the result's root mean square.
WINOGRAD_BOUND = {np.float32: 3e-5, np.float64: 6e-14}


def relative_error(found: Any, expected: Array) -> float:
    """Return the largest error in units of the expected result's root mean square."""
    scale = np.sqrt((expected**2).mean())
    assert scale > 0.01
    return float(np.abs(found - expected).max() / scale)


def assert_error_of_a_plain_sum(got: Any, a: Array, b: Array) -> None:
    """|got - exact| <= K u sum|a||b| for a sum of K products; in fractions, so that only what is tested rounds."""
    products = [Fraction(p) * Fraction(q) for p, q in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)]
    exact, absolute = sum(products, Fraction(0)), sum(map(abs, products), Fraction(0))
    unit = Fraction(float(np.finfo(a.dtype).eps)) / 2
    assert exact != 0
    assert abs(Fraction(float(got)) - exact) <= len(products) * unit * absolute


def dot(a: Array, b: Array) -> int:
    """The inner product of whole numbers, in integers."""
    assert a.shape == b.shape
    total = np.sum(a.astype(np.int64) * b.astype(np.int64))
    return int(total)


# ---------------------------------------------------------------------------------------------------- layouts


def _unaligned(a: Array) -> Array:
    view = np.frombuffer(bytearray(a.nbytes + 1), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: Array) -> Array:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _inside(a: Array) -> Array:
    """In the middle of a larger array that is otherwise NaN: what is read beside it shows."""
    large = np.full([size + 3 for size in a.shape], np.nan, a.dtype)
    view = large[tuple(slice(1, 1 + size) for size in a.shape)]
    view[...] = a
    return view


def _stepped(a: Array) -> Array:
    """Every second element of the last axis, every third of the first, of an array that is otherwise NaN."""
    large = (
        np.full((3 * a.shape[0], *a.shape[1:-1], 2 * a.shape[-1]), np.nan, a.dtype) if a.ndim > 1 else np.repeat(a, 2)
    )
    view = large[::3, ..., ::2] if a.ndim > 1 else large[::2]
    view[...] = a
    return view


def _reversed(a: Array) -> Array:
    backwards = (slice(None, None, -1),) * a.ndim
    return a[backwards].copy()[backwards]


#: The same values, differently laid out in memory.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "plain": lambda a: a.copy(),
    "transposed": lambda a: a.T.copy().T,
    "reversed": _reversed,
    "stepped": _stepped,
    "inside": _inside,
    "read-only": _read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "unaligned": _unaligned,
}


def guarded(shape: tuple[int, ...], dtype: Any, margin: int = 64) -> tuple[Array, Callable[[], None]]:
    """An array in the middle of a block of canaries, C-contiguous, and a function that looks whether they live."""
    canary = np.array(-12345.625, dtype)
    size = int(np.prod(shape))
    block = np.full(size + 2 * margin, canary)

    def check() -> None:
        assert (block[:margin] == canary).all(), "written before the array"
        assert (block[margin + size :] == canary).all(), "written behind the array"

    return block[margin : margin + size].reshape(shape), check


# ---------------------------------------------------------------------------------------------------- convolutions


@dataclass(frozen=True)
class Conv:
    """A convolution's sizes, with data made for them; channels are those of one group."""

    batch: int
    c: int
    k: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def __str__(self) -> str:
        sides, taps = "x".join(map(str, self.size)), "x".join(map(str, self.kernel))
        text = f"n{self.batch}-{self.c}to{self.k}-{sides}-k{taps}"
        for letter, value, usual in (
            ("s", self.stride, 1),
            ("p", self.padding, 0),
            ("d", self.dilation, 1),
            ("g", self.groups, 1),
        ):
            if value != usual:
                text += f"-{letter}{value}".replace(" ", "")
        return text

    @property
    def n(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def options(self) -> dict[str, Any]:
        """The options of conv and its backward."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def _each(self, value: Any) -> tuple[Any, ...]:
        return value if isinstance(value, tuple) else (value,) * self.n

    @cached_property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """(lo, hi) of each axis, worked out here once more."""
        if self.padding == "valid":
            return ((0, 0),) * self.n
        if self.padding == "same":
            axes = zip(self.size, self.kernel, self._each(self.stride), self._each(self.dilation), strict=True)
            totals = [max(0, (-(-i // s) - 1) * s + d * (k - 1) + 1 - i) for i, k, s, d in axes]
            return tuple((t // 2, t - t // 2) for t in totals)
        return tuple(p if isinstance(p, tuple) else (p, p) for p in self._each(self.padding))

    @cached_property
    def out(self) -> tuple[int, ...]:
        """Sides of the result."""
        axes = zip(self.size, self.pads, self.kernel, self._each(self.stride), self._each(self.dilation), strict=True)
        return tuple((i + lo + hi - d * (k - 1) - 1) // s + 1 for i, (lo, hi), k, s, d in axes)

    @property
    def fits(self) -> bool:
        """Whether there is any output."""
        return all(side >= 1 for side in self.out)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return (self.batch, self.groups * self.c, *self.size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return (self.batch, self.groups * self.k, *self.out)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.groups * self.k, self.c, *self.kernel)

    @property
    def output_padding(self) -> tuple[int, ...]:
        """With it the transposed convolution of a result has the sides of the input."""
        axes = zip(
            self.size, self.out, self.pads, self.kernel, self._each(self.stride), self._each(self.dilation), strict=True
        )
        return tuple(i - ((o - 1) * s - lo - hi + d * (k - 1) + 1) for i, o, (lo, hi), k, s, d in axes)

    @cached_property
    def covered(self) -> tuple[float, float]:
        """The shares of the input's elements and of the kernel's taps that meet one another; others have gradient 0."""
        elements = taps = 1.0
        axes = zip(
            self.size, self.out, self.pads, self.kernel, self._each(self.stride), self._each(self.dilation), strict=True
        )
        for i, o, (lo, _), k, s, d in axes:
            read = np.arange(o)[:, None] * s + np.arange(k) * d - lo
            inside = (read >= 0) & (read < i)
            elements *= len(np.unique(read[inside])) / i
            taps *= inside.any(axis=0).sum() / k
        return elements, taps

    def data(self, dtype: Any, seed: int = 0) -> tuple[Array, Array, Array, Array]:
        """x, w, bias and a gradient of the result, of whole numbers."""
        rng = np.random.default_rng(seed)
        shapes = (self.x_shape, self.w_shape, (self.groups * self.k,), self.y_shape)
        x, w, b, gy = (whole(rng, *shape, dtype=dtype) for shape in shapes)
        return x, w, b, gy


#: Every class of shapes: channels and columns around the vector's width, strides, dilations, groups, 1 to 3 axes.
CONVS = [
    *[Conv(2, 3, w, (4, 6), (3, 3), padding=1) for w in WIDTHS],
    *[Conv(2, w, 5, (4, 6), (3, 3), padding=1) for w in WIDTHS],
    *[Conv(1, 2, 6, (3, w), (2, 3), padding=1) for w in WIDTHS],
    *[Conv(1, 3, 4, (w,), (2,), padding=((1, 0),)) for w in WIDTHS],
    # kernels: one tap, even, wide, high, as large as the input, larger than the unpadded input
    Conv(2, 19, 21, (5, 7), (1, 1)),
    Conv(1, 11, 3, (33, 40), (1, 1)),
    Conv(2, 7, 20, (6, 7), (1, 1)),
    Conv(1, 5, 18, (6, 6), (2, 2)),
    Conv(1, 4, 9, (3, 23), (1, 7), padding=(0, 3)),
    Conv(1, 4, 9, (23, 3), (7, 1), padding=(3, 0)),
    Conv(3, 6, 20, (5, 4), (5, 4)),
    Conv(2, 3, 5, (1, 1), (3, 3), padding=1),
    Conv(1, 2, 3, (2, 3), (5, 6), padding=(3, 4)),
    Conv(1, 1, 1, (13, 21), (11, 5)),
    Conv(1, 1, 17, (12, 12), (5, 5), padding=2),
    Conv(1, 3, 8, (30, 31), (7, 7), stride=2, padding=3),
    # padding: asymmetric, wider than the kernel, by name; with strides and even kernels
    Conv(2, 3, 7, (5, 8), (3, 2), padding=((0, 2), (3, 1))),
    Conv(1, 2, 16, (4, 5), (2, 2), padding=(3, 5)),
    Conv(1, 4, 17, (9, 10), (4, 2), padding="same"),
    Conv(1, 4, 17, (9, 10), (4, 3), stride=(2, 3), padding="same"),
    Conv(2, 3, 5, (11, 7), (2, 4), stride=3, padding="same", dilation=(1, 2)),
    Conv(1, 3, 5, (8, 8), (3, 3), padding="valid"),
    Conv(1, 3, 6, (10,), (4,), stride=3, padding="same"),
    # strides: other than the kernel's side, longer than the kernel (elements that nothing reads)
    Conv(2, 5, 9, (11, 12), (3, 3), stride=2, padding=1),
    Conv(1, 8, 33, (9, 14), (3, 3), stride=(1, 3), padding=(1, 0)),
    Conv(2, 4, 17, (12, 13), (2, 2), stride=2),
    Conv(2, 7, 18, (13, 11), (1, 1), stride=2),
    Conv(1, 3, 5, (17, 19), (2, 3), stride=(5, 4)),
    Conv(1, 3, 16, (20, 18), (1, 2), stride=(7, 3), padding=((2, 0), (1, 3))),
    Conv(1, 2, 3, (29,), (2,), stride=9, padding=((4, 2),)),
    # dilation, with strides that share a factor with it and that do not
    Conv(2, 3, 10, (9, 12), (3, 3), padding=2, dilation=2),
    Conv(1, 5, 17, (11, 13), (2, 3), padding=(1, 3), dilation=(4, 3)),
    Conv(1, 4, 6, (14, 15), (3, 2), stride=2, padding=2, dilation=(2, 3)),
    Conv(1, 4, 6, (14, 16), (2, 3), stride=(4, 6), padding=3, dilation=(6, 4)),
    Conv(1, 2, 5, (25,), (4,), stride=3, padding=((2, 5),), dilation=6),
    # groups of many and few channels; depthwise, with a multiplier, at every width
    Conv(2, 6, 10, (7, 9), (3, 3), padding=1, groups=3),
    Conv(1, 17, 5, (6, 6), (3, 3), stride=2, padding=1, groups=2),
    Conv(1, 2, 33, (5, 5), (2, 2), groups=4),
    *[Conv(2, 1, 1, (6, w), (3, 3), padding=1, groups=5) for w in WIDTHS],
    Conv(2, 1, 1, (9, 18), (3, 3), stride=2, padding=1, groups=19),
    Conv(1, 1, 1, (15, 15), (5, 4), stride=(3, 2), padding=((2, 1), (0, 3)), dilation=(1, 2), groups=6),
    Conv(1, 1, 3, (8, 11), (3, 3), padding=1, groups=7),
    Conv(2, 1, 2, (10, 9), (2, 2), stride=3, padding=1, groups=16),
    Conv(1, 4, 1, (7, 7), (3, 3), padding=2, dilation=2, groups=4),
    # groups in the lanes: their number around the vector's width, strips and boxes of several rows, strides with holes
    *[Conv(2, 1, 1, (7, 7), (5, 5), stride=2, padding=2, groups=w) for w in WIDTHS],
    *[Conv(1, 3, 4, (5, 6), (3, 3), padding=((2, 0), (0, 1)), groups=w) for w in WIDTHS[::3]],
    Conv(2, 2, 5, (31, 30), (3, 3), stride=(2, 1), padding=1, groups=18),
    Conv(1, 2, 1, (23, 45), (2, 1), stride=(3, 2), padding=((0, 1), (1, 0)), groups=17),
    Conv(1, 1, 2, (90, 3), (3, 3), padding=4, groups=33),
    Conv(1, 1, 1, (1, 1), (5, 5), padding=2, groups=20),
    # bands of rows: edges of every width on either side, kernels of 1 to 7 rows, stride 2, padding beyond the kernel
    *[Conv(2, 1, 1, (5, w), (3, 3), stride=2, padding=((0, 1), (2, 1)), groups=3) for w in WIDTHS],
    *[Conv(1, 1, 2, (9, w), (5, 5), padding=((2, 1), (3, 4)), groups=4) for w in WIDTHS[::2]],
    Conv(2, 1, 1, (1, 1), (3, 3), stride=2, padding=1, groups=3),
    Conv(1, 1, 1, (4, 19), (3, 3), padding=(5, 4), groups=3),
    Conv(2, 1, 1, (7, 40), (2, 5), stride=2, padding=(0, 3), groups=2),
    Conv(1, 1, 3, (21, 9), (4, 3), padding=(1, 2), dilation=(1, 2), groups=2),
    Conv(3, 1, 1, (6, 70), (1, 4), stride=(1, 2), padding="same", groups=2),
    Conv(1, 1, 3, (50,), (5,), stride=2, padding=((1, 4),), groups=5),
    *[Conv(1, 1, 1, (10, w), (7, 7), padding=((3, 2), (6, 3)), groups=3) for w in WIDTHS[::2]],
    Conv(2, 1, 1, (11, 35), (6, 3), padding=(7, 1), groups=2),
    Conv(1, 1, 2, (13, 38), (7, 6), stride=2, padding=3, groups=3),
    Conv(1, 1, 1, (15, 19), (13, 12), stride=2, padding=6, groups=2),
    # 1x1 with few channels on one side: dot products of planes
    *[Conv(2, c, 19, (9, 31), (1, 1)) for c in (1, 2, 3, 4)],
    *[Conv(3, 21, k, (8, 9), (1, 1)) for k in (1, 3)],
    Conv(1, 2, 9, (70,), (1,)),
    Conv(1, 9, 3, (4, 5, 7), (1, 1, 1)),
    # many images of small maps
    Conv(37, 9, 18, (7, 7), (3, 3), padding=1),
    Conv(41, 3, 33, (7, 7), (1, 1)),
    Conv(23, 1, 1, (7, 7), (3, 3), padding=1, groups=9),
    # one and three axes
    Conv(2, 5, 19, (40,), (5,), stride=2, padding=2),
    Conv(1, 16, 3, (33,), (3,), padding=((4, 0),), dilation=2),
    Conv(2, 1, 1, (37,), (4,), padding="same", groups=6),
    Conv(2, 3, 5, (4, 5, 6), (3, 2, 3), padding=1),
    Conv(1, 4, 17, (5, 7, 9), (2, 3, 3), stride=(2, 1, 2), padding=((1, 0), (0, 2), (1, 1))),
    Conv(1, 2, 6, (7, 6, 8), (2, 2, 2), padding="same", dilation=(3, 1, 2)),
    Conv(1, 3, 4, (6, 7, 9), (2, 1, 2), stride=(3, 2, 4), groups=2),
    Conv(2, 1, 1, (5, 6, 17), (3, 3, 3), padding=1, groups=3),
]

#: Enough work for several blocks, boxes, parts and threads.
LARGE_CONVS = [
    Conv(1, 20, 37, (90, 110), (3, 3), stride=2, padding=1),
    Conv(2, 5, 33, (70, 150), (5, 3), padding=(4, 1), dilation=(2, 1)),
    Conv(1, 150, 70, (19, 23), (3, 3), padding=1),
    Conv(1, 7, 17, (12, 20, 33), (3, 3, 3), padding=1),
    Conv(2, 3, 5, (70_001,), (7,), stride=3, padding="same"),
    Conv(1, 1, 1, (80, 121), (5, 5), stride=2, padding=2, groups=40),
    Conv(70, 16, 40, (7, 7), (3, 3), padding=1),
    Conv(1, 300, 130, (14, 14), (1, 1)),
    # small maps of many channels: read in place, panels shared by the tasks, over one box, two and more
    Conv(9, 150, 34, (9, 8), (2, 3)),
    Conv(12, 33, 40, (8, 8), (1, 1), stride=2),
    Conv(1, 530, 20, (14, 15), (3, 3), padding=1),
    Conv(5, 410, 35, (14, 14), (3, 3), stride=2, padding=1),
    # weight gradients read in place: runs over images, taps that meet padding alone, swapped operands, written at once
    Conv(3, 40, 50, (9, 11), (3, 3), padding=((13, 0), (1, 4)), dilation=(6, 2)),
    Conv(5, 33, 20, (3, 5, 6), (2, 3, 3), padding=1),
    Conv(2, 48, 70, (31, 23), (1, 1), stride=(3, 2)),
    Conv(3, 48, 37, (5, 5), (1, 1)),
    # weight gradients with input channels in the lanes: few output channels, strides, dilation, inputs without taps
    Conv(2, 40, 3, (23, 31), (3, 5), padding=(1, 2)),
    Conv(1, 33, 1, (40, 41), (5, 4), stride=(3, 2), padding=((4, 0), (1, 3)), dilation=(1, 2)),
    Conv(2, 35, 36, (12, 9), (1, 5), padding=(0, 2)),
    Conv(1, 17, 2, (5, 9, 8), (2, 3, 1), stride=(1, 2, 3), padding=1, groups=2),
    # taps in the padding: images side by side or one, shared panels, three axes, pixels that see nothing else
    Conv(9, 19, 37, (7, 7), (5, 5), padding=2),
    Conv(3, 530, 33, (8, 9), (3, 3), padding=3, dilation=3),
    Conv(1, 70, 33, (13, 7), (3, 3), padding=1),
    Conv(5, 18, 35, (6, 7), (3, 3), padding=12, dilation=5),
    Conv(8, 17, 34, (4, 6, 5), (3, 3, 3), padding=1),
    # input gradients by phases: many channels, few (at the limits), odd sizes, residues without a tap
    Conv(1, 70, 300, (13, 14), (3, 3), stride=2, padding=1),
    Conv(5, 40, 530, (9, 11), (1, 1), stride=2),
    *[Conv(2, few, 29, (41, 50), (7, 7), stride=(2, 4), padding=3) for few in (1, 3, 4, 5, 8, 9)],
    Conv(3, 3, 50, (45, 47), (3, 3), padding=1),
    Conv(2, 3, 40, (9, 14, 21), (3, 2, 5), stride=(2, 1, 3), padding=1),
    Conv(1, 2, 5, (100, 90), (3, 4), stride=(9, 8), padding=1),  # too many phases
    Conv(1, 3, 4, (80, 90), (40, 30), stride=2),  # too many taps
    Conv(2, 10, 7, (40, 52), (3, 3), padding=1, groups=18),
    Conv(3, 1, 2, (210, 333), (3, 3), padding=1, groups=2),
    Conv(2, 1, 1, (301, 200), (5, 4), stride=2, padding=(2, 1), groups=3),
]

# ---------------------------------------------------------------------------------------------------- strategies


@st.composite
def convs(draw: Callable[..., Any], axes: tuple[int, ...] = (1, 2, 3)) -> Conv:
    """Any convolution that fits, small enough for thousands of examples."""
    n = draw(st.sampled_from(axes))
    longest = {1: 70, 2: 20, 3: 8}[n]

    def per_axis(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.tuples(*[values] * n))

    kernel, dilation = per_axis(st.integers(1, 5 if n < 3 else 3)), per_axis(st.integers(1, 3))
    stride = per_axis(st.integers(1, 4))
    size = per_axis(st.integers(1, longest))
    pairs = st.tuples(st.integers(0, 4), st.integers(0, 4))
    padding = draw(st.one_of(st.just("same"), st.integers(0, 3), st.tuples(*[pairs] * n)))
    conv = Conv(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, 20)),
        size,
        kernel,
        stride,
        padding,
        dilation,
        draw(st.sampled_from([1, 1, 2, 3, 8])),
    )
    if not conv.fits:  # the smallest input that has an output
        pads = [(0, 0)] * n if padding == "same" else conv.pads
        needed = [d * (k - 1) + 1 - lo - hi for k, d, (lo, hi) in zip(kernel, dilation, pads, strict=True)]
        size = tuple(max(i, m) for i, m in zip(size, needed, strict=True))
        conv = Conv(conv.batch, conv.c, conv.k, size, kernel, stride, padding, dilation, conv.groups)
    return conv
