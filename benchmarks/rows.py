"""The layers that are compared: read from shapes/*.csv, with the arrays that they are run on."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.bench.cases import photograph_windows

Array = npt.NDArray[Any]
Sizes = tuple[int, ...]

# The lists of networks give every number of two axes its own column; our own lists write sizes as 8x28x28.
NETWORK_COLUMNS = {"layer", "c", "h", "w", "k", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw", "groups"}
OWN_COLUMNS = {"layer", "c", "size", "k", "kernel"}
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Layer:
    """A convolution of one to three axes, or a transposed one, without bias, for inputs of one size.

    Attributes
    ----------
    name : str
    c, k : int
        Channels in and out.
    size, kernel, stride, padding, dilation : tuple of int
        One number an axis; `size` is the input's.
    groups : int
    dtype : {"float32", "float64"}
    transposed : bool
    output_padding : tuple of int
        Of a transposed convolution.

    Examples
    --------
    >>> layer = Layer("enlarge", c=8, k=4, size=(7, 7), kernel=(2, 2), stride=(2, 2), padding=(0, 0),
    ...               dilation=(1, 1), transposed=True, output_padding=(0, 0))
    >>> layer.operator, layer.output_shape(1), layer.weight_shape
    ('conv_transpose2d', (1, 4, 14, 14), (8, 4, 2, 2))
    """

    name: str
    c: int
    k: int
    size: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int = 1
    dtype: str = "float32"
    transposed: bool = False
    output_padding: Sizes = ()

    @property
    def n(self) -> int:
        """Number of axes."""
        return len(self.size)

    @property
    def operator(self) -> str:
        """The name of the operator."""
        return f"conv{'_transpose' if self.transposed else ''}{self.n}d"

    @property
    def options(self) -> dict[str, Any]:
        """The options of the operator and of its backward."""
        options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        return options | ({"output_padding": self.output_padding} if self.transposed else {})

    @property
    def weight_shape(self) -> Sizes:
        """(K, C / groups, *kernel), transposed (C, K / groups, *kernel)."""
        if self.transposed:
            return self.c, self.k // self.groups, *self.kernel
        return self.k, self.c // self.groups, *self.kernel

    def input_shape(self, batch: int) -> Sizes:
        """(N, C, *size)."""
        return batch, self.c, *self.size

    def output_shape(self, batch: int) -> Sizes:
        """(N, K, *output size)."""
        axes = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        if self.transposed:
            sides = [(i - 1) * s - 2 * p + d * (k - 1) + 1 for i, k, s, p, d in axes]
            return batch, self.k, *(a + b for a, b in zip(sides, self.output_padding, strict=True))
        return batch, self.k, *((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in axes)

    def multiply_adds(self, batch: int) -> int:
        """Count those of any direction; taps that fall on padding are counted, as is usual."""
        windows = self.input_shape(batch) if self.transposed else self.output_shape(batch)
        return math.prod(windows) * math.prod(self.weight_shape[1:])

    def traffic(self, batch: int) -> int:
        """Count the bytes of any direction: two operands read once, one result written once."""
        shapes = (self.input_shape(batch), self.weight_shape, self.output_shape(batch))
        return np.dtype(self.dtype).itemsize * sum(math.prod(shape) for shape in shapes)

    def arrays(self, batch: int) -> tuple[Array, Array, Array]:
        """Make input (of photographs), He-initialised weight and a gradient of the output."""
        rng = np.random.default_rng(0)
        flat = (batch, self.c, math.prod(self.size[:-1]), self.size[-1])
        x = photograph_windows(*flat).reshape(self.input_shape(batch)).astype(self.dtype, copy=False)
        weight = rng.standard_normal(self.weight_shape, dtype=np.float32)
        weight *= np.float32(math.sqrt(2 / math.prod(self.weight_shape[1:])))
        grad_output = rng.standard_normal(self.output_shape(batch), dtype=np.float32)
        return x, weight.astype(self.dtype, copy=False), grad_output.astype(self.dtype, copy=False)


def read_layers(path: str | Path) -> list[Layer]:
    """Read layers from a CSV file of either form, see README.md.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    list of Layer
        In the file's order.

    Raises
    ------
    ValueError
        If a column is missing or unknown, or a value is none of its kind.
    """
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        header = set(rows.fieldnames or ())
        own = "size" in header
        missing = (OWN_COLUMNS if own else NETWORK_COLUMNS) - header
        optional = {"stride", "padding", "dilation", "groups", "dtype", "transposed", "output_padding"}
        unknown = header - (OWN_COLUMNS | optional if own else NETWORK_COLUMNS | {"count"})
        if missing or unknown:
            raise ValueError(f"read_layers: {path} lacks columns {sorted(missing)}, has unknown {sorted(unknown)}")
        try:
            return [_own_layer(row) if own else _network_layer(row) for row in rows]
        except ValueError as error:
            raise ValueError(f"read_layers: {path}, line {rows.line_num}: {error}") from None


def _network_layer(row: dict[str, str]) -> Layer:
    value = {name: int(row[name]) for name in NETWORK_COLUMNS - {"layer"}}
    pairs = {name: (value[f"{name[0]}h"], value[f"{name[0]}w"]) for name in ("kernel", "stride", "padding", "dilation")}
    return Layer(row["layer"], value["c"], value["k"], (value["h"], value["w"]), **pairs, groups=value["groups"])


def _own_layer(row: dict[str, str]) -> Layer:
    size = _sizes(row["size"])

    def each(name: str, default: str) -> Sizes:
        given = _sizes(row.get(name) or default)
        if len(given) not in (1, len(size)):
            raise ValueError(f"{name} must be one number or {len(size)}, received {row[name]}")
        return given * len(size) if len(given) == 1 else given

    dtype, transposed = row.get("dtype") or DTYPES[0], row.get("transposed") or "no"
    if dtype not in DTYPES or transposed not in ("yes", "no"):
        raise ValueError(f"dtype must be of {DTYPES} and transposed yes or no, received {dtype}, {transposed}")
    return Layer(
        row["layer"],
        int(row["c"]),
        int(row["k"]),
        size,
        each("kernel", ""),
        each("stride", "1"),
        each("padding", "0"),
        each("dilation", "1"),
        int(row.get("groups") or 1),
        dtype,
        transposed == "yes",
        each("output_padding", "0") if transposed == "yes" else (),
    )


def _sizes(text: str) -> Sizes:
    return tuple(int(side) for side in text.split("x"))
