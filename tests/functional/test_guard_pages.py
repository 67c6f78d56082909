"""No operator reads or writes outside its arrays: each lies against a page that may not be touched.

An offence ends the process, so a process of its own runs the cases (this file, as a script).
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from helpers import CONVS, DTYPES, ISAS, USABLE_ISAS, Array, Conv, assert_same

import fastconv as fc
from fastconv import _lowering, reference
from fastconv._config import isa_limit

PAGE = mmap.PAGESIZE
PROT_NONE = 0
EDGES = ("start", "end")


def against_a_forbidden_page(a: Array, edge: str) -> Array:
    """A copy between two pages without any rights, against the first or the last of its own memory."""
    pages = -(-a.nbytes // PAGE)
    block = mmap.mmap(-1, (pages + 2) * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    for page in (0, pages + 1):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page * PAGE), PAGE, PROT_NONE) == 0
    offset = PAGE if edge == "start" else (pages + 1) * PAGE - a.nbytes
    view = np.frombuffer(block, a.dtype, a.size, offset).reshape(a.shape)
    view[...] = a
    return view


def run_conv(conv: Conv, dtype: Any, edge: str) -> None:
    forward, backward = getattr(fc, f"conv{conv.n}d"), getattr(fc, f"conv{conv.n}d_backward")
    plain = conv.data(dtype)
    wanted = getattr(reference, f"conv{conv.n}d")(*plain[:3], **conv.options)
    x, w, b, gy = (against_a_forbidden_page(a, edge) for a in plain)
    for algorithm in ("direct", "im2col", "col2im", "depthwise", "grouped"):
        out = against_a_forbidden_page(np.zeros_like(wanted), edge)
        forward(x, w, b, **conv.options, algorithm=algorithm, out=out)
        assert_same(out, wanted)
        backward(gy, x, w, **conv.options, algorithm=algorithm)
    transposed = getattr(fc, f"conv_transpose{conv.n}d")
    back = against_a_forbidden_page(np.zeros_like(x), edge)
    options = {**conv.options, "padding": conv.pads, "output_padding": conv.output_padding}
    assert_same(transposed(gy, w, **options, out=back), backward(gy, x, w, **conv.options)[0], share=0)


def run_unshared(conv: Conv, dtype: Any, edge: str) -> None:
    """Tiled and local connection, each way of computing it."""
    rng = np.random.default_rng(0)
    plain = conv.data(dtype)
    x, gy = (against_a_forbidden_page(a, edge) for a in (plain[0], plain[3]))
    for tile in ((2, 2), (3, 4), conv.out):
        w = against_a_forbidden_page(rng.standard_normal((*tile, *conv.w_shape)).astype(dtype), edge)
        b = against_a_forbidden_page(rng.standard_normal((conv.y_shape[1], *tile)).astype(dtype), edge)
        out = against_a_forbidden_page(np.zeros_like(gy), edge)
        fc.tiled_conv2d(x, w, b, **conv.options, out=out)
        fc.tiled_conv2d_backward(gy, x, w, **conv.options)


def run_others(dtype: Any, edge: str) -> None:
    rng = np.random.default_rng(0)

    def place(*shape: int) -> Array:
        return against_a_forbidden_page(rng.standard_normal(shape).astype(dtype), edge)

    for width in (1, 3, 7, 8, 9, 16, 17, 33):
        out = place(5, width)
        fc.linear(place(5, 11), place(width, 11), place(width), out=out)
        fc.linear(place(5, width), place(7, width))
        fc.linear_backward(place(5, width), place(5, 11), place(width, 11))
        for rows in (1, 2, 3):  # few rows read the matrix in place
            fc.linear(place(rows, 11), place(width, 11))
            fc.linear_backward(place(rows, 70), place(rows, width), place(70, width))
        fc.conv2d_backward(place(2, 5, 1, width), place(2, 1, 1, width), place(5, 1, 1, 1))
        for stride in (1, 2, 3):
            image = place(2, 3, 5, width + 1)
            columns = fc.unfold(image, 2, stride=stride)
            fc.fold(place(*columns.shape), image.shape[2:], 2, stride=stride)
            fc.max_pool2d(image, 2, stride=stride)
            fc.avg_pool2d(image, 2, stride=stride, padding=1)
        for x, g in ((place(3, 5, width), place(3, 5, width)), (place(9, width), place(9, width))):
            _, mean, var = fc.batch_norm(x, training=True)
            fc.batch_norm(x, mean, var)
            fc.batch_norm_backward(g, x, mean, var, training=True)
            fc.batch_norm_backward(g, x, mean, var)
            fc.group_norm_backward(g, x, 1)
            fc.group_norm(x, 1)
            fc.layer_norm(x, x.shape[1:])
            fc.layer_norm_backward(g, x, x.shape[1:])
            fc.local_response_norm(x, 3)
            fc.local_response_norm_backward(g, x, 3)


def run_elementwise(dtype: Any, edge: str) -> None:
    rng = np.random.default_rng(0)

    def place(*shape: int) -> Array:
        return against_a_forbidden_page(rng.standard_normal(shape).astype(dtype), edge)

    for width in (1, 3, 7, 8, 9, 16, 17, 33):
        for forward, backward in (("gelu", "gelu_backward"), ("relu", "relu_backward")):
            getattr(fc, forward)(place(width))
            getattr(fc, backward)(place(width), place(width))
        fc.prelu_backward(place(2, 3, width), place(2, 3, width), place(3))
        result = place(2, 3, width)
        by_channel = _lowering.elementwise_plan("prelu", result.shape, np.dtype(dtype), 3)
        by_channel.run(place(6, width), None, place(3), result, 1)
        columns = _lowering.elementwise_plan("prelu_grad", (7, width), np.dtype(dtype), width)
        columns.run(place(7, width), place(7, width), place(width), place(7, width), 1)
        numbers = against_a_forbidden_page(np.full(8, 0.5), edge)
        for rule, rows in (("sgd", 0), ("sgd_momentum", 1), ("adam", 2), ("adam_amsgrad", 3)):
            state = place(rows, width) if rows else None
            _lowering.optimize_plan(rule, width, np.dtype(dtype)).run(place(width), state, numbers, place(width), 1)


def main(isa: str) -> None:
    with isa_limit(isa):
        for dtype in DTYPES:
            for edge in EDGES:
                for conv in CONVS[::2]:
                    run_conv(conv, dtype, edge)
                    if conv.n == 2:
                        run_unshared(conv, dtype, edge)
                run_others(dtype, edge)
                run_elementwise(dtype, edge)


def end_of_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "faulthandler", __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="takes mprotect from Linux's C library")
@pytest.mark.parametrize("isa", ISAS)
def test_nothing_outside_the_arrays_is_touched(isa: str) -> None:
    done = end_of_script(isa)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="takes mprotect from Linux's C library")
@pytest.mark.parametrize("edge", EDGES)
def test_the_forbidden_pages_are_forbidden(edge: str) -> None:
    """The test above proves something only if a touch ends the process."""
    done = end_of_script("touch", edge)
    assert done.returncode < 0
    assert "Segmentation fault" in done.stderr


def touch(edge: str) -> None:
    a = against_a_forbidden_page(np.ones(5), edge)
    beside = a.ctypes.data - 1 if edge == "start" else a.ctypes.data + a.nbytes
    ctypes.string_at(beside, 1)


if __name__ == "__main__":
    if sys.argv[1] == "touch":
        touch(sys.argv[2])
    else:
        assert sys.argv[1] in USABLE_ISAS
        main(sys.argv[1])
