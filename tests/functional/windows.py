"""The windows that the tests of pooling share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from helpers import WIDTHS, Array, whole
from hypothesis import assume
from hypothesis import strategies as st

from fastconv import reference


@dataclass(frozen=True)
class Window:
    """A window over an input."""

    shape: tuple[int, ...]
    kernel: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False
    n: int = field(default=0, compare=False)  # spatial axes; 0: all but batch and channels

    def __str__(self) -> str:
        text = f"{'x'.join(map(str, self.shape))}-k{self.kernel}-s{self.stride}-p{self.padding}-d{self.dilation}"
        return text.replace(" ", "") + ("-ceil" if self.ceil_mode else "")

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return self.n or len(self.shape) - 2

    @property
    def options(self) -> dict[str, Any]:
        """What max pooling takes beside input and kernel."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "ceil_mode": self.ceil_mode}

    @property
    def mean(self) -> dict[str, Any]:
        """What mean pooling takes."""
        return {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil_mode}

    def input(self, dtype: Any, most: int = 9) -> Array:
        """Whole numbers: few enough for many ties, so that the first maximum must be found."""
        return whole(np.random.default_rng(0), *self.shape, dtype=dtype, most=most)

    def grad(self, dtype: Any, seed: int = 1) -> Array:
        """Whole numbers of the result's shape."""
        shape = function(reference, "max_pool", self)(np.zeros(self.shape), self.kernel, **self.options).shape
        return whole(np.random.default_rng(seed), *shape, dtype=dtype)


def function(module: Any, name: str, window: Window | int, backward: bool = False) -> Any:
    """The operator for as many axes as the window has."""
    n = window if isinstance(window, int) else window.axes
    return getattr(module, f"{name}{n}d{'_backward' if backward else ''}")


#: No dilation, so that means take them too.
SLIDING = [
    *[Window((2, 3, 5, w), 3, 1, 1) for w in WIDTHS],
    *[Window((1, 2, 7, 2 * w + 1), 3, 2, 1) for w in WIDTHS],
    *[Window((1, 2, 6, 2 * w), 2) for w in WIDTHS],
    *[Window((1, 3, w), 2, 1, 1) for w in WIDTHS],
    # columns dealt in pairs of vectors, with padding of either kind; picked with larger strides
    *[Window((1, 2, 5, 2 * w + 2), 3, 2, ((1, 0), (2, 2))) for w in WIDTHS[::2]],
    *[Window((1, 2, 7, 3 * w), 3, 3, (0, 1)) for w in WIDTHS[::2]],
    *[Window((1, 2, 7, 4 * w + 1), (4, 5), 4, (1, 2)) for w in WIDTHS[1::2]],
    Window((2, 3, 8, 9), 1),
    Window((2, 3, 8, 9), 1, 3),
    Window((2, 2, 11, 13), (2, 5), (3, 1)),
    Window((2, 2, 11, 13), (5, 2), (2, 4), (2, 1)),
    Window((1, 2, 12, 17), 4, 3, ((3, 0), (1, 2))),
    Window((1, 2, 10, 14), (3, 4), 2, ((0, 2), (3, 1))),
    Window((2, 2, 7, 8), 2, 2, 0, ceil_mode=True),
    Window((1, 2, 8, 10), 3, 3, 1, ceil_mode=True),
    Window((1, 1, 9, 9), (4, 5), (3, 4), ((2, 1), (0, 3)), ceil_mode=True),
    Window((3, 2, 1, 1), 3, 1, 1),
    Window((2, 2, 9, 1), (3, 1), (2, 1), (1, 0)),
    Window((2, 2, 1, 40), (1, 3), (1, 2), (0, 1)),
    # one result; windows of many taps; windows far apart
    Window((5, 4, 7, 7), 7),
    Window((2, 3, 6, 9), (6, 9)),
    Window((2, 3, 6, 9), (8, 12), 1, ((1, 1), (3, 0))),
    Window((2, 2, 20, 23), 9, 1, 4),
    Window((1, 2, 30, 41), (11, 8), (4, 3), (5, 4)),
    Window((1, 1, 31, 60), 2, (13, 17)),
    Window((1, 1, 40, 50), 30, 1, 3),
    Window((1, 1, 50, 90), (40, 25), (9, 40)),
    Window((1, 2, 400), 130, 1, 7),
    # whole planes, fewer and more than a vector has lanes, in one sum and in several
    *[Window((2, c, 3, 5), (3, 5)) for c in (1, 7, 16, 17)],
    *[Window((1, 3, 64, w), (64, w)) for w in (15, 16, 17, 63, 64, 65)],
    # the limits of picking, of rows, and of columns under a line
    *[Window((1, 1, 2, 100), (1, k), (1, 3)) for k in (32, 33)],
    *[Window((1, 1, 1030, 2), (k, 1), 1) for k in (1024, 1025)],
    Window((1, 2, 5_000), 3, 2, 1),
    Window((1, 1, 2, 7_000), (2, 5), (1, 3), (0, 2)),
    Window((1, 1, 4_100, 3), (1, 2), 1, (0, 1)),
    # one and three axes, one sample
    Window((2, 3, 50), 4, 3, ((2, 1),)),
    Window((2, 2, 5, 6, 7), 2),
    Window((1, 2, 5, 6, 9), 3, 1, 1),
    Window((1, 2, 6, 7, 18), (3, 2, 3), (2, 3, 2), (1, 0, 1), ceil_mode=True),
    Window((1, 1, 9, 8, 10), (5, 4, 3), (1, 2, 1), ((2, 1), (0, 3), (1, 1))),
    Window((1, 1, 4, 5, 6), (4, 5, 6)),
    Window((3, 7, 8), 3, 2, 1, n=2),
    # several tasks: many planes; boxes of rows and of parts of rows; slices
    Window((70, 3, 7, 7), 3, 1, 1),
    Window((1, 2, 300, 190), 3, 2, 1),
    Window((1, 1, 3, 40_000), (3, 5), (1, 2), (1, 2)),
    Window((1, 1, 120_001), 3, 2),
    Window((1, 1, 30, 60, 50), 3, 1, 1),
]

DILATED = [
    Window((2, 2, 9, 12), 3, 1, 2, 2),
    Window((1, 2, 11, 13), (2, 3), (1, 2), (1, 2), (4, 3)),
    Window((1, 3, 14, 15), (3, 2), 2, 1, (2, 3), ceil_mode=True),
    Window((1, 2, 34, 5), 2, (10, 1), 1, (1, 2)),
    Window((1, 2, 20, 40), (1, 5), 1, 0, (1, 9)),
    Window((1, 1, 25), 4, 3, ((2, 2),), 6),
    Window((1, 2, 7, 6, 8), 2, 1, 0, (3, 1, 2)),
    Window((1, 1, 120, 130), (6, 7), 1, 0, (22, 18)),
    Window((1, 1, 30_000), 2, 1, 0, 20_000),
    *[Window((1, 1, 9_000), 2, 1, 0, d) for d in (8_191, 8_192)],
]

#: For arrays of any layout, and for threads: by outputs and by inputs in the lanes, and whole planes.
LAID_OUT = [Window((3, 4, 9, 11), 3, 2, 1), Window((3, 4, 6, 7), (6, 7)), Window((2, 3, 80, 90), 70, 5)]
PARALLEL = [Window((1, 2, 300, 190), 3, 2, 1), Window((2, 5, 90, 100), 75, 1), Window((3, 4, 50, 60), (50, 60))]

#: Sizes of the input and of the result.
ADAPTIVE = [
    *[((2, 2, 5, w), (2, max(1, w // 2))) for w in WIDTHS],
    *[((1, 2, 4, w), (3, w)) for w in WIDTHS[:6]],
    ((5, 4, 7, 7), 1),
    ((2, 3, 14, 14), 7),
    ((2, 3, 13, 13), 6),
    ((2, 2, 7, 9), None),
    ((2, 2, 7, 9), (None, 4)),
    ((2, 2, 7, 9), (1, None)),
    ((2, 2, 3, 4), (7, 5)),
    ((1, 2, 1, 1), (3, 2)),
    ((1, 1, 200, 301), (3, 7)),
    ((3, 2, 41), (4,)),
    ((3, 2, 41), (1,)),
    ((1, 2, 20_000), (3,)),
    ((1, 2, 5, 181), (2, 6)),
    ((1, 2, 5, 190), (2, 6)),
    ((1, 3, 14, 15), (5, 6)),
    ((1, 2, 5_000), (4_999,)),
    ((2, 2, 5, 6, 7), (2, 3, 4)),
    ((2, 2, 5, 4, 2), (6, 3, 1)),
    ((2, 2, 6, 4, 8), (3, 1, 1)),
    ((1, 2, 4, 6, 5), (1, 1, 1)),
    ((1, 2, 4, 6, 5), (2, 1, 1)),
    ((9, 5, 6), 4),
]


def adaptive_axes(case: Any) -> int:
    """Number of spatial axes of such a case; the last one has no batch axis."""
    return len(case[0]) - (1 if case is ADAPTIVE[-1] else 2)


def adaptive_id(case: Any) -> str:
    """A name for parametrize."""
    return f"{'x'.join(map(str, case[0]))}-to-{case[1]}".replace(" ", "")


@st.composite
def windows(draw: Any, dilated: bool = True) -> Window:
    """Any window that a pooling accepts."""
    n = draw(st.integers(1, 3))
    longest = {1: 90, 2: 24, 3: 9}[n]

    def per_axis(values: Any) -> Any:
        return draw(st.tuples(*[values] * n))

    size = per_axis(st.integers(1, longest))
    kernel = per_axis(st.integers(1, {1: 40, 2: 12, 3: 5}[n]))
    padding = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    window = Window(
        (draw(st.integers(1, 3)), draw(st.integers(1, 4)), *size),
        kernel,
        draw(st.one_of(st.none(), st.just((1,) * n), st.tuples(*[st.integers(1, 9)] * n))),
        draw(st.sampled_from([0, padding])),
        draw(st.one_of(st.just(1), st.tuples(*[st.integers(1, 3)] * n))) if dilated else 1,
        draw(st.booleans()),
    )
    try:
        window.grad(np.float64)
    except ValueError:  # it does not fit, or lies in padding: what the reference refuses, others refuse
        assume(False)
    return window
