"""How many times as fast as PyTorch a layer should be: that of its class, which a rule finds from its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rows import Layer

from fastconv.bench.layers import Pool

MET = 0.95  # a row meets its target within 5 %
TINY = 500_000  # multiply-adds an image; of pooling, an element counts as ten


@dataclass(frozen=True)
class Target:
    """A class of layers and the ratios to PyTorch that a layer should reach; None where none is set."""

    name: str
    forward: float
    input_gradient: float
    weight_gradient: float | None = None
    frozen: float | None = None

    def of(self, direction: str) -> float | None:
        """Return the target of a direction, or of ``"frozen"``."""
        found: float | None = getattr(self, direction.replace(" ", "_"))
        return found


#: Names in the order of the tables.
CLASSES = (
    "3x3 stride 1, large maps or batch 8",
    "3x3 stride 1, 14 px, batch 1",
    "3x3 stride 1, 7 px",
    "1x1",
    "3x3 strided or dilated, 5x5 to 11x11, other channels",
    "first layers",
    "depthwise",
    "grouped, 4 to 32 channels",
    "tiny",
    "float64, conv1d, conv3d, transposed",
    "max pooling",
    "mean pooling",
)


def target_of(shape: Layer | Pool, batch: int) -> Target:
    """Find a layer's class and targets.

    Parameters
    ----------
    shape : Layer or Pool
    batch : int
        Images a call: from 8 on as 8, else as 1.

    Returns
    -------
    Target
    """
    if isinstance(shape, Pool):
        if 10 * shape.c * shape.h * shape.w < TINY:
            return Target("tiny", 5, 3)
        if shape.kind == "max":
            return Target("max pooling", 15, 1.2)
        return Target("mean pooling", 10, 8)
    few, many = sorted((shape.c // shape.groups, shape.k // shape.groups))
    if shape.dtype == "float64" or shape.n != 2 or shape.transposed:
        return Target("float64, conv1d, conv3d, transposed", 1.5, 1.5, 1.3)
    if shape.groups == shape.c > 1:
        return Target("depthwise", 2.5, 3, 2)
    if shape.groups > 1 and few >= 4 and many <= 32:
        return Target("grouped, 4 to 32 channels", 1.1, 1.3, 4 if few <= 4 else 1.2)
    if shape.multiply_adds(1) < TINY:
        return Target("tiny", 5, 3, 3)
    usual = set(shape.stride) == set(shape.dilation) == {1} and shape.kernel == (3, 3)
    if shape.c // shape.groups <= 4:
        return Target("first layers", 1.4 if usual else 1.0, 3, 1.1)
    if usual and few >= 64 and many <= 512:
        return _usual_target(min(shape.output_shape(1)[2:]), batch)
    name = CLASSES[3] if shape.kernel == (1, 1) else CLASSES[4]
    strided = max(shape.stride) > 1
    return Target(name, 1.0, 3 if shape.c // shape.groups < 16 else 1.4 if strided else 1.0, 1.05)


def _usual_target(side: int, batch: int) -> Target:
    """3x3 stride 1 with 64 to 512 channels; 12 and 13 px count as 14, whose tiles they fill."""
    if side >= 28 or (side >= 12 and batch >= 8):
        return Target(CLASSES[0], 2.5, 2.2, 2.5)
    if side >= 12:
        return Target(CLASSES[1], 1.4, 1.4, 2.3, frozen=2.5)
    return Target(CLASSES[2], 2, 1.8, 2.5) if batch >= 8 else Target(CLASSES[2], 1.1, 1.1, 1.6)


def shape_of(record: dict[str, Any]) -> Layer | Pool:
    """Make a layer again of what JSON holds of it."""
    if "kind" in record:
        return Pool(**record)
    return Layer(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})
