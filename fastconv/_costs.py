"""What an algorithm costs: estimates, in cycles of a product, by which `plan` chooses.

They count vectors of products, with the lanes that stay empty, and elements moved beside; the factors were measured.
They look at the shape, the dtype and the instruction set only: results do not change between machines.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastconv import _engine
from fastconv._check import Axis, ConvProblem
from fastconv._config import current_isa, current_precision
from fastconv._ops import CONV, CONV_INPUT_GRAD

__all__ = [
    "Sizes",
    "allows_winograd",
    "bands_cycles",
    "col2im_cycles",
    "depthwise_cycles",
    "direct_cycles",
    "fits_col2im",
    "fits_grouped",
    "fits_planes",
    "fits_winograd",
    "flat_cycles",
    "grouped_cycles",
    "im2col_cycles",
    "lanes_of",
    "short_of_rows",
    "sizes_of",
    "wgrad_direct_cycles",
    "wgrad_swapped_cycles",
    "wgrad_winograd_cycles",
    "winograd_cycles",
]

_VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
_FLAT_ROWS = {"baseline": 5, "avx2": 4, "avx512": 8}  # FC_TAPS_MAX in kernels/tile.h
_FLAT_TAPS = 1024  # FC_PHASES_TAPS in algorithms/conv_phases.c
_FLAT_PANEL = 32 << 10  # FC_DEPTHWISE_PANEL in algorithms/conv_depthwise.c, of float32
_GROUPED_PANEL = 256 << 10  # bytes: FC_GROUPED_PANEL in algorithms/grouped_common.h
_IN_PLACE = 1024  # FC_DIRECT_PLANE in algorithms/conv_direct.c, of float32
_MIX_ROWS = 3  # FC_MIX_ROWS in kernels/mix.h
_FEW_WEIGHTS = 256  # FC_IM2COL_FEW in algorithms/conv_im2col.c
_INSIDE_TERMS = 160  # FC_INSIDE_TERMS in algorithms/direct_inside.h
_ISA_NAMES = list(_engine.isa_names())


def _isa_bytes() -> int:
    return _VECTOR_BYTES[_ISA_NAMES[current_isa()]]


def lanes_of(dtype: np.dtype[Any]) -> int:
    return _isa_bytes() // dtype.itemsize


class Sizes(NamedTuple):
    """What the cost of a convolution or of a gradient depends on."""

    rows: int  # result channels of a group, in the vectors of "direct"
    reds: int  # summed channels of a group
    taps: int  # of the kernel
    pixels: int  # result pixels of an image
    row: int  # result pixels of a row
    images: int  # times groups
    batch: int
    reads: int  # elements of an image's summed channel
    writes: int  # and of a result channel
    reach: int  # elements that a row of the kernel covers beside the first
    forward: bool  # no input gradient
    linear: bool  # a 1x1 kernel that moves by 1, without padding
    dense: bool  # a result row reads consecutive inputs
    flat: bool  # an input gradient of few channels: "direct" has pixels in the lanes
    inside: float  # share of the products that "direct" does not leave out, since they read more than padding

    @property
    def planes(self) -> int:
        """Count the elements of a group's channels in an image, summed ones and results."""
        return self.reds * self.reads + self.rows * self.writes

    @property
    def macs(self) -> float:
        return float(self.rows) * self.reds * self.taps * self.pixels * self.images


def sizes_of(problem: ConvProblem, op: int) -> Sizes:
    forward = op != CONV_INPUT_GRAD
    rows, reds = problem.out_channels, problem.in_channels
    pixels, taps, inputs = 1, 1, 1
    for a in problem.axes:
        inputs *= a.size
        pixels *= a.out  # the input gradient's phases do as many multiply-adds as the forward pass
        taps *= a.kernel
    last = next((a for a in reversed(problem.axes) if not a.trivial), problem.axes[-1])
    linear = all(a.kernel == a.stride == 1 and a.lo == a.hi == 0 for a in problem.axes)
    row = pixels if linear else last.out
    dense = last.stride == 1 or not forward
    reads, writes = inputs, pixels
    if not forward:
        rows, reds, reads, writes = reds, rows, writes, reads
    reach = last.dilation * (last.kernel - 1)
    flat = not forward and problem.groups == 1 and rows <= _FLAT_ROWS[_ISA_NAMES[current_isa()]] and taps <= _FLAT_TAPS
    images = problem.batch * problem.groups
    inside = 1.0 if flat else _share_inside(problem, op, taps)
    kinds = forward, linear, dense, flat
    return Sizes(rows, reds, taps, pixels, row, images, problem.batch, reads, writes, reach, *kinds, inside)


def _share_inside(problem: ConvProblem, op: int, taps: int) -> float:
    """Count products that "direct" does not leave out: a tile has the taps that any of its pixels sees inside."""
    if taps > _INSIDE_TERMS or (op == CONV_INPUT_GRAD and any(a.stride > 1 for a in problem.axes)):
        return 1.0
    columns = max(1, 8 // problem.batch)  # of a tile; the same pixel of several images lies side by side
    share = math.prod(_inside(a, columns if a is problem.axes[-1] else 1) for a in problem.axes)
    return share if 0 < share < 0.95 else 1.0


def direct_cycles(s: Sizes, lanes: int) -> float:
    """Vectors of result channels, the last one partly empty; moving elements beside."""
    vectors = -(-s.rows // lanes) / s.rows
    weights, results = s.rows * s.reds * s.taps, s.rows * s.writes * s.images
    copies = s.pixels if s.taps == 1 and s.forward else (s.reads + s.pixels) / 2  # with a stride not all of them
    inputs = s.reds * copies * s.images
    if s.images > s.batch:  # groups are small, and what they move stays in the caches
        packing = (0.5 if s.forward else 1.0) * weights * s.images / s.batch
        return s.inside * s.macs * vectors + packing + 0.8 * inputs + 0.8 * results
    in_place = s.linear and s.reads <= _IN_PLACE and products_a_cycle() == 1  # narrow vectors wait for their scalars
    copied = 0.8 if in_place else 1.5
    return s.inside * s.macs * vectors + 16 / lanes * (1.8 * weights + copied * inputs + 1.15 * results)


class _Runs(NamedTuple):
    """Flat runs of a padded panel, rows with their gaps; with a stride of an input gradient for each phase."""

    length: int  # of one
    panel: int  # elements of a channel
    lines: int  # rows of it
    beside: int  # lines that a box of results reads beside its own, as many for each residue of a stride
    phases: int


def _runs(problem: ConvProblem, op: int) -> _Runs:
    length, gapped, lines, beside, phases, residues = 1, 1, 1, 0, 1, 1
    for a in reversed([a for a in problem.axes if not a.trivial]):
        high = a.out if op == CONV else -(-a.size // a.stride)
        reach = a.dilation * (a.kernel - 1) // a.stride
        length += (high - 1) * gapped
        if gapped > 1:
            lines, beside = lines * (high + reach), reach
        gapped *= high + reach
        residues *= min(a.stride, a.kernel) if op == CONV else 1
        phases *= 1 if op == CONV else min(a.kernel, a.stride // math.gcd(a.stride, a.dilation))
    return _Runs(length, gapped * residues, lines * residues, beside, phases)


def flat_cycles(problem: ConvProblem, s: Sizes, lanes: int) -> float:
    """The input gradient of few channels in "direct": flat runs, and taps that phases share."""
    runs = _runs(problem, CONV_INPUT_GRAD)
    room = max(1, _FLAT_ROWS[_ISA_NAMES[current_isa()]] // s.rows)  # phases that are computed together
    products, loads = float(s.rows), 1.0
    for a in reversed(problem.axes):
        phases = min(a.kernel, a.stride // math.gcd(a.stride, a.dilation))
        places = len({(tap * a.dilation - a.lo) // a.stride for tap in range(a.kernel)})
        shared = min(room, phases)
        loads *= places * -(-phases // shared) if shared > 1 else a.kernel
        products *= places * phases if shared > 1 else a.kernel
        room //= shared
    vectors = -(-runs.length // lanes) * s.reds * s.images
    moved = s.reds * (0.15 * runs.panel + 14 * runs.lines) + s.rows * s.writes * (1.5 + 7 / problem.axes[-1].size)
    weights = 2.3 * s.rows * s.reds * s.taps
    return vectors * (0.7 * products + 1.7 * loads) + products_a_cycle() * (moved * s.images + weights) + 16000


def im2col_cycles(s: Sizes, lanes: int) -> float:
    """Vectors of pixels, the last one of an image partly empty; patches copied for every tap, in segments of a row."""
    vectors = -(-s.pixels // lanes) / s.pixels
    weights, results = s.rows * s.reds * s.taps, s.rows * s.writes * s.images
    if s.linear and s.images == s.batch and (s.rows <= _MIX_ROWS or s.rows * s.reds <= _FEW_WEIGHTS):
        moved = 3.1 * weights + 0.35 * s.reads * s.reds * s.images + 0.4 * results + 2000 * s.images
        return 0.97 * s.macs * vectors + 16 / lanes * moved
    patch = (0.35 if s.dense else 0.58) + 14 / min(3 * lanes, s.row)
    if s.linear and s.rows <= 4 * _FLAT_ROWS[_ISA_NAMES[current_isa()]]:
        patch = 0.0  # read where they lie
    scattered = 0.9 if s.writes == s.pixels else 2.5  # phases
    moved = 3.1 * weights + patch * s.reds * s.taps * s.pixels * s.images + scattered * results
    moved += 2000 * s.images  # blocks of few pixels begin and end
    return 0.97 * s.macs * vectors + 16 / lanes * moved


def fits_col2im(s: Sizes) -> bool:
    """Whether result channels are few, so that each tap of them is a row of products."""
    return s.rows <= 16 and s.taps <= 1024


def col2im_cycles(problem: ConvProblem, op: int, s: Sizes, lanes: int) -> float:
    """Vectors of pixels that are read, by all taps, none of them padding; each product is added to a result."""
    forward, sums, row, wide, lines, phases = op == CONV, s.rows * s.taps, 1.0, 1, 1.0, 1
    for a in (a for a in problem.axes if not a.trivial):  # pixels of a forward pass fall into phases
        lines *= row
        row, wide = (a.size / a.stride, a.out) if forward else (a.out, a.size)
        phases *= min(a.stride, a.kernel) if forward else 1
    tiles = max(phases, sums / _FLAT_ROWS[_ISA_NAMES[current_isa()]])
    chunks = -(-s.reds // 128)
    adds = (14 * math.ceil(row / lanes) + 7) * lines * chunks * sums
    moved = (0.5 if phases == 1 else 0.8) * s.reds * s.reads + (0.8 + 85 / wide) * s.rows * s.writes
    products = (1.05 * sums + 1.3 * tiles) * s.reds * row * lines / lanes
    return s.images * (products + products_a_cycle() * (adds + moved)) + 1.8 * s.reds * sums * problem.groups + 5000


def depthwise_cycles(problem: ConvProblem, op: int, s: Sizes, lanes: int) -> float:
    """Vectors of pixels: bands of rows where they fit, else flat runs with the gaps between padded rows."""
    bands = bands_cycles(problem, op, s, lanes)
    if bands:
        return bands
    if problem.groups == 1 and s.reds > 1:
        return _few_cycles(problem, op, s, lanes)
    gaps = (s.row + s.reach) / s.row
    overlap = min(1.0, min(s.rows, 8) * 3 / 8)  # few result channels leave few sums to overlap
    lines = (s.reds + s.rows) * s.pixels / s.row
    copies = 2.0 * s.rows * s.reds * s.taps + (0.5 * s.planes + 300 + 12 * lines) * s.images
    return 0.85 * s.macs * gaps / lanes / overlap + copies * products_a_cycle()


def _few_cycles(problem: ConvProblem, op: int, s: Sizes, lanes: int) -> float:
    """Flat runs of one group; where panels of all channels do not fit, boxes of rows overlap."""
    runs = _runs(problem, op)
    tiles = -(-s.rows // _FLAT_ROWS[_ISA_NAMES[current_isa()]])
    vectors = -(-runs.length // lanes) * s.reds * s.taps * s.images
    wide = runs.panel / runs.lines * (problem.axes[0].stride if op == CONV else 1)
    room = _FLAT_PANEL / s.reds / wide - runs.beside  # lines of results in a box
    if room < 1 and runs.lines > 1:
        return math.inf
    halo = 1.0 if s.reds * runs.panel <= _FLAT_PANEL else 1 + runs.beside / room
    moved = s.reds * runs.phases * (0.36 * runs.panel + 10 * runs.lines) * halo
    moved += s.rows * runs.phases * (0.4 * runs.length + 12 * runs.lines) + 750 * runs.phases
    moved = moved * s.images + 2.9 * s.rows * s.reds * s.taps
    return vectors * (0.84 * s.rows + 1.33 * tiles) + products_a_cycle() * moved + 4200


def allows_winograd(dtype: np.dtype[Any]) -> bool:
    """Whether "auto" may take an algorithm with Winograd's error: in float32, where the precision allows it."""
    return dtype == np.float32 and current_precision() == "high"


def fits_winograd(problem: ConvProblem, op: int) -> bool:
    """Whether the last two axes have a kernel of 3x3 or 5x5 that moves by 1; a depth is summed as channels are."""
    kept = [a for a in problem.axes if not a.trivial]
    return (
        len(kept) in (2, 3)
        and all(a.kernel == kept[-1].kernel and a.stride == 1 for a in kept[-2:])
        and kept[-1].kernel in (3, 5)
        and (op != CONV_INPUT_GRAD or kept[0].stride == 1)
    )


def winograd_cycles(problem: ConvProblem, s: Sizes, op: int, lanes: int) -> float:
    """Products of 36 frequencies, vectors of tiles, the last one partly empty; the transforms."""
    *depth, tall, wide = (a for a in problem.axes if not a.trivial)
    outs = [a.out if op == CONV else a.size for a in (*depth, tall, wide)]
    sparse = wide.dilation > 1  # pixels of a sub-image lie apart: gathered and scattered one by one
    frames = problem.batch * math.prod(outs[:-2]) * min(tall.dilation, outs[-2]) * min(wide.dilation, outs[-1])
    out = 7 - wide.kernel  # results of a tile
    tile_rows = frames * -(-outs[-2] // (out * tall.dilation))
    row = -(-outs[-1] // (out * wide.dilation))
    vectors = -(-tile_rows * row // lanes)
    reds = s.reds * math.prod(a.kernel for a in depth)
    products = 36 * max(s.rows, 6) * (reds + 6) * vectors + 5000  # a tile's sums are short, a group's blocks small
    if vectors == 1 and lanes < 16:
        products *= 2  # four rows of one vector: too few sums to overlap
    weights = (600 if wide.kernel == 5 else 250) / lanes * s.rows * reds
    inputs = reds * tile_rows * (250 * products_a_cycle() * -(-row // lanes) + 50 * sparse * row)
    results = s.rows * (-(-reds // 128) * (200 * vectors + 60 * tile_rows) + 20 * sparse * tile_rows * row)
    return problem.groups * (products + weights + inputs + results) + 0.3 * (s.rows + s.reds) * s.pixels * s.images


def bands_cycles(problem: ConvProblem, op: int, s: Sizes, lanes: int) -> float:
    """The same for bands of rows, 0 where they do not fit; the last vector of a row is loaded and stored in part."""
    axes = [a for a in problem.axes if not a.trivial]
    if _isa_bytes() < 32:  # no masked loads
        return 0.0
    if s.reds > 1 or not 1 <= len(axes) <= 2 or any(a.dilation > 1 or a.stride > 2 for a in axes):
        return 0.0
    if len(axes) == 2 and (axes[0].kernel > (7 if _isa_bytes() == 64 else 5) or axes[0].stride != axes[1].stride):
        return 0.0
    step = axes[-1].stride
    forward = op != CONV_INPUT_GRAD
    if not forward and any(a.kernel < a.stride for a in axes):
        return 0.0
    high, wide = (math.prod(a.out if forward else a.size for a in part) for part in (axes[:-1], axes[-1:]))
    taps = s.taps if forward else s.taps / step ** len(axes)
    if high < 4:  # rows one by one: a sum waits for its last product
        taps *= 3 * products_a_cycle()
    each = (2.3 if step == 2 and forward else 1.0) * ((8 if products_a_cycle() == 1 else 13) + taps)
    return (high * -(-wide // lanes) * each + 60 * products_a_cycle()) * s.rows * s.images


def grouped_cycles(problem: ConvProblem, s: Sizes, lanes: int) -> float:
    """Vectors of groups, the last ones partly empty; every vector of inputs and results is transposed."""
    filled = -(-s.images // s.batch // lanes) * s.batch
    return (1.4 * s.macs / s.images + 7 * (s.planes + (_halo(problem, s) - 1) * s.reds * s.reads)) * filled


def _halo(problem: ConvProblem, s: Sizes) -> float:
    """How often "grouped" turns an input: boxes whose panels fit overlap by what the kernel reaches beside them."""
    if len(problem.axes) == 1:
        return 1.0
    tall, wide = problem.axes[-2:]
    room = _GROUPED_PANEL / _isa_bytes() / s.reds
    beside = tall.dilation * (tall.kernel - 1)
    rows = room / (wide.size + wide.lo + wide.hi) - beside
    if rows >= 1:
        return 1 + beside / rows if rows < tall.out else 1.0
    columns = max(1.0, room / (beside + 1) - s.reach)
    return (1 + beside) * (1 + s.reach / columns)


def products_a_cycle() -> int:
    """Of vectors of 64 bytes one, of narrower ones two: beside these, all else takes twice as long."""
    return 1 if _isa_bytes() == 64 else 2


def short_of_rows(s: Sizes, lanes: int) -> float:
    """How much longer groups of few result channels take in "direct", which loads a scalar for one or two products."""
    if s.rows <= lanes:
        return 1.2 if products_a_cycle() == 1 else 2.2
    return 1.0 if s.rows > 4 * lanes else 1.2 if products_a_cycle() == 1 else 1.4


def fits_grouped(problem: ConvProblem, s: Sizes) -> bool:
    return problem.groups > 1 and max(s.rows, s.reds) <= 64 and s.taps <= 4096


def fits_planes(problem: ConvProblem, s: Sizes, lanes: int) -> bool:
    """Whether "direct" takes a weight gradient as dot products of whole planes (weight_grad_dots.c)."""
    few, many = sorted((s.rows, s.reds))
    return s.linear and problem.groups == 1 and few <= 4 and many >= 8 and s.pixels >= 4 * lanes


def _inside(a: Axis, columns: int = 1) -> float:
    """The share of an axis' pairs of result and tap that read no padding, for any of `columns` results in a row."""
    pairs = 0
    for tap in range(a.kernel):
        offset = tap * a.dilation - a.lo
        first = max(0, -(offset // a.stride))
        results = min(a.out, (a.size - 1 - offset) // a.stride + 1) - first
        pairs += min(a.out, results + columns - 1) if results > 0 else 0
    return pairs / (a.kernel * a.out)


def wgrad_direct_cycles(problem: ConvProblem, s: Sizes, lanes: int) -> float:
    """Vectors of output channels, the last one partly empty; partial sums turned to the gradient.

    Inputs of many channels are read where they lie, tap by tap, without padding.
    """
    inside = math.prod(_inside(a) for a in problem.axes) if s.reds >= 32 and s.taps <= 128 else 1.0
    plain = 1.15 * inside * s.macs / s.rows * -(-s.rows // lanes) + 1.0 * s.rows * s.reds * s.taps
    return min(plain, wgrad_swapped_cycles(problem, s, lanes))


def wgrad_swapped_cycles(problem: ConvProblem, s: Sizes, lanes: int) -> float:
    """The same with input channels in the lanes: every input is turned, and meets those taps that its place allows."""
    inputs = float(s.images * math.prod(a.size for a in problem.axes))
    pairs = inputs * s.taps / math.prod(min(a.stride, a.kernel) for a in problem.axes)
    turn = (0.6 if problem.axes[-1].stride == 1 else 1.5) * products_a_cycle()
    products = max(1.15, short_of_rows(s._replace(rows=s.reds), lanes)) * pairs * -(-s.reds // lanes) * s.rows
    return products + turn * inputs * s.reds + 1.0 * s.rows * s.reds * s.taps * problem.groups


def wgrad_winograd_cycles(problem: ConvProblem, s: Sizes, lanes: int) -> float:
    """Products of 36 frequencies, vectors of input channels; the transforms of tiles, turned row by row, and of sums.

    Fewer lanes also mean fewer registers: what is done once for each sum costs twice as many products.
    """
    per_sum = 1 if lanes > 8 else 2
    *depth, tall, wide = (a for a in problem.axes if not a.trivial)
    out = 7 - wide.kernel  # results of a tile; of six rows of inputs those are turned that the tile above had not
    frames = problem.batch * min(tall.dilation, tall.out) * min(wide.dilation, wide.out)
    tile_rows = frames * math.prod(a.out * _inside(a) for a in depth) * -(-tall.out // (out * tall.dilation))
    row = -(-wide.out // (out * wide.dilation))
    wide_in, high_in = out * row + wide.kernel - 1, out + 2
    inputs, outputs = -(-s.reds // lanes), -(-s.rows // lanes)
    products = 36 * s.rows * inputs * (tile_rows * row + 4 * per_sum)
    if wide.dilation > 1:  # pixels of a sub-image lie apart, and are turned one by one
        turns = 1.2 * lanes * tile_rows * (high_in * inputs * wide_in + out * outputs * out * row)
    else:
        turns = 100 * tile_rows * (high_in * inputs * -(-wide_in // lanes) + out * outputs * -(-out * row // lanes))
    tiles = tile_rows * row * (250 * inputs + (200 if out == 4 else 130) * outputs)
    moved = 36.0 * (s.rows + s.reds) * tile_rows * row  # transformed tiles, to the third-level cache and back
    each = products + turns + tiles + moved + (250.0 if out == 4 else 600.0) * per_sum * s.rows * inputs + 10_000
    if wide.dilation > 1:  # small sub-images make many tiles, whose transforms come from far away
        each *= 1.3
    return problem.groups * math.prod(a.kernel for a in depth) * each
