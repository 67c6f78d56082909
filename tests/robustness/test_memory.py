"""Memory: no call takes more than its operands, its plan's workspace and its threads' scratch; nothing leaks."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import _engine
from fastconv._config import ISAS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and resets a peak there")

USABLE = [name for name, state in ISAS.items() if all(state)]
PATCHES = (
    64 * 9 * 512 * 512 * 4
)  # bytes of the whole im2col matrix of a 3x3 convolution of 64 channels at 512x512: 604 MB

TOOLS = """
import gc, os
import numpy as np
import fastconv as fc
from fastconv import plan

def status(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    raise LookupError(name)

def peak(call):
    "Bytes that the process grew by at most, during a call; freed memory that malloc kept would hide some."
    gc.collect()
    fc.release_memory()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts from here
    before = status("VmRSS")
    result = call()
    return status("VmHWM") - before, result

def measure(call):
    "Bytes of the results, of workspace and scratch of the plans that the call made, and that the process grew by."
    plan.clear()
    grown, result = peak(call)
    held = sum(a.nbytes for a in (result if isinstance(result, tuple) else (result,)) if a is not None)
    plans = plan.plans()
    used = [p.workspace_bytes + fc.get_num_threads() * p.scratch_bytes for p in plans]
    return held, max(used, default=0), grown
"""

CONVOLUTION = (
    TOOLS
    + """
x, w = np.ones((1, 64, 512, 512), np.float32), np.ones((64, 64, 3, 3), np.float32)
needs = {{"gx": (True, False, False), "gw": (False, True, False)}}

def call():
    if {what!r} == "y":
        return fc.conv2d(x, w, padding=1, algorithm={algorithm!r})
    return fc.conv2d_backward(x, x, w, padding=1, needs=needs[{what!r}], algorithm={algorithm!r})

fc.set_num_threads({threads})
print(*measure(call))
"""
)


@pytest.mark.parametrize(
    ("algorithm", "threads"),
    [("auto", 1), ("auto", 4), ("direct", 2), ("im2col", 2), ("depthwise", 2), ("winograd", 2)],
)
@pytest.mark.parametrize("what", ["y", "gx", "gw"])
def test_no_patch_matrix(run_python: Any, algorithm: str, what: str, threads: int) -> None:
    """A 3x3 convolution of 64 channels at 512x512, its input and its weight gradient."""
    text = run_python(CONVOLUTION.format(algorithm=algorithm, what=what, threads=threads))
    held, used, grown = map(int, text.split())
    slack = 8 << 20  # Python, malloc, stacks, whole huge pages
    assert grown <= held + used + slack, f"results {held}, workspace and scratch {used}, grown by {grown}"
    assert used < PATCHES / 20, "workspace and scratch are of the order of a patch matrix"


@pytest.mark.parametrize("isa", USABLE)
def test_no_patch_matrix_in_float64(run_python: Any, isa: str) -> None:
    code = CONVOLUTION.format(algorithm="auto", what="gw", threads=4).replace("np.float32", "np.float64")
    held, used, grown = map(int, run_python(code, FASTCONV_ISA=isa).split())
    assert grown <= held + used + (8 << 20)
    assert used < 2 * PATCHES / 20


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "col2im", "depthwise", "grouped"])
def test_far_apart_taps_take_no_large_panel(run_python: Any, algorithm: str) -> None:
    """A dilated kernel reaches over a large area, of which it reads little."""
    code = (
        TOOLS
        + f"""
x, w = np.ones((1, 16, 1, 1), np.float32), np.ones((16, 16, 2, 2), np.float32)
try:
    grown, y = peak(lambda: fc.conv2d(x, w, padding=((20000, 0),) * 2, dilation=20000, algorithm={algorithm!r}))
    assert (y == 16).all()
    print(grown)
except ValueError as error:  # an algorithm asked for by name may decline
    assert {algorithm!r} != "auto" and "algorithm" in str(error)
    print(0)
"""
    )
    assert int(run_python(code)) < 64 << 20


@pytest.mark.parametrize(
    ("call", "limit"),
    [
        ("fc.max_pool2d(x, 3, 2, 1)", 16),
        ("fc.max_pool2d(x, 3, 2, 1, return_indices=True)", 16),
        ("fc.avg_pool2d(x, 3, 2, 1)", 16),
        ("fc.adaptive_avg_pool2d(x, 7)", 16),
        ("fc.adaptive_max_pool2d(x, 7)", 16),
        ("fc.avg_pool2d_backward(x[:, :, ::2, ::2], x.shape, 3, 2, 1)", 32),
        ("fc.conv_transpose2d(x[:, :, ::4, ::4], w, stride=4)", 40),
        ("fc.linear(x.reshape(64, -1), v)", 16),
        ("fc.unfold(x[:, :8], 3, padding=1)", 16),
        ("fc.fold(x.reshape(1, 64, -1)[:, :, :255 * 255], (256, 256), 2)", 40),
        ("fc.pad(x, (1, 1, 1, 1))", 16),
        ("fc.pad(x, (1, 1, 1, 1), mode='reflect')", 16),
        ("fc.relu(x)", 16),
    ],
)
def test_other_operators_take_little_beside_their_result(run_python: Any, call: str, limit: int) -> None:
    code = (
        TOOLS
        + f"""
x = np.ones((1, 64, 512, 512), np.float32)
w, v = np.ones((64, 8, 5, 5), np.float32), np.ones((10, 512 * 512), np.float32)
call = lambda: {call}
held, _, grown = measure(call)
print(grown - held)
"""
    )
    assert int(run_python(code, FASTCONV_NUM_THREADS="2")) < limit << 20


def test_repeated_calls_leak_nothing(run_python: Any) -> None:
    """Varied calls, good and bad, with plans that come and go: when they are made again they need no more memory."""
    code = (
        TOOLS
        + """
import random
rng = random.Random(0)

def one(*shape):
    return np.ones(shape, np.float32)

def varied():
    n, c, k = rng.randint(1, 3), rng.randint(1, 20), rng.randint(1, 20)
    h, w, r = rng.randint(7, 60), rng.randint(7, 60), rng.choice([1, 2, 3, 5])
    x, weight = one(n, c, h, w), one(k, c, r, r)
    options = {"padding": rng.randint(0, 2), "stride": rng.randint(1, 3)}
    options["algorithm"] = rng.choice(["auto", "direct", "im2col"])
    frozen = fc.functional.freeze_weight(weight)
    for given in (weight, frozen):
        y = fc.conv2d(x, given, **options)
        fc.conv2d_backward(y, x, given, **options)
    fc.conv2d(x[0], weight, out=np.empty_like(y[0]), **options)
    y, at = fc.max_pool2d(x, r, return_indices=True)
    fc.max_pool2d_backward(y, at, x.shape)
    fc.avg_pool2d_backward(fc.avg_pool2d(x, r), x.shape, r)
    for wrong in ({"stride": 0}, {"padding": -1}, {"groups": 7}, {"algorithm": "fast"}):
        try:
            fc.conv2d(x, weight, **wrong)
        except ValueError:
            pass
    at[...] = 10**9
    try:
        fc.max_pool2d_backward(y, at, x.shape)
    except ValueError:
        pass

sizes = []
for again in range(4):
    rng.seed(0)
    for round in range(100):
        varied()
        if round % 50 == 49:
            gc.collect()
            fc.release_memory()
            plan.clear()
            sizes.append(status("RssAnon"))
print(max(sizes[4:]) - max(sizes[:4]))
"""
    )
    assert int(run_python(code, FASTCONV_NUM_THREADS="2")) < 2 << 20


def test_release_memory_empties_the_pool(run_python: Any) -> None:
    code = (
        TOOLS
        + """
assert fc.release_memory() == 0
x, w = np.ones((1, 512, 48, 40), np.float32), np.ones((1024, 512, 3, 3), np.float32)
fc.conv2d(x, w, algorithm="direct")  # with boxes enough that packed weights are kept for all
kept = status("VmRSS")
freed = fc.release_memory()
assert fc.release_memory() == 0
print(freed, kept - status("VmRSS"))
"""
    )
    freed, shrunk = map(int, run_python(code, FASTCONV_NUM_THREADS="1").split())
    assert freed > 18 << 20, "the packed weights alone are 18 MB"
    assert shrunk > 0.9 * freed, "the memory did not go back to the system"


def test_a_call_that_fails_or_is_interrupted_gives_its_memory_back(run_python: Any) -> None:
    code = (
        TOOLS
        + """
import signal

class Enough(Exception):
    pass

def stop(*_):
    raise Enough

signal.signal(signal.SIGALRM, stop)
one = np.broadcast_to(np.float32(1), (1, 256, 256, 256))
w = np.ones((512, 256, 3, 3), np.float32)
freed = []
for _ in range(5):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        while True:
            fc.conv2d(one, w)
    except Enough:
        freed.append(fc.release_memory())
print(min(freed))
"""
    )
    assert int(run_python(code, FASTCONV_ISA="baseline")) > 4 << 20


def test_the_pool_has_a_cap(run_python: Any) -> None:
    """Many Python threads at once check out many blocks; what comes back is kept only up to the cap."""
    code = (
        TOOLS
        + """
import threading
x, w = np.ones((1, 512, 5, 5), np.float32), np.broadcast_to(np.float32(1), (3000, 512, 3, 3))  # 55 MB when packed
start = threading.Barrier(8)

def work():
    start.wait()
    with fc.threads(1):
        fc.conv2d(x, w, algorithm="im2col")  # packs all weights beforehand

workers = [threading.Thread(target=work) for _ in range(8)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(fc.release_memory())
"""
    )
    kept = int(run_python(code))
    assert 100 << 20 < kept <= _engine.POOL_LIMIT


def test_blocks_are_used_again(run_python: Any) -> None:
    code = (
        TOOLS
        + """
x, w = np.ones((1, 64, 64, 64), np.float32), np.ones((64, 64, 3, 3), np.float32)
y = fc.conv2d(x, w)
kept = fc.release_memory()
for _ in range(20):
    fc.conv2d(x, w, out=y)
print(kept, fc.release_memory())
"""
    )
    once, often = map(int, run_python(code).split())
    assert 0 < often == once


# ---------------------------------------------------------------------------------------------------- results


def test_a_large_result_owns_its_memory_and_gives_it_back(run_python: Any) -> None:
    """Results lie in blocks of the pool: no two live ones in the same, and those of freed ones serve the next calls."""
    code = (
        TOOLS
        + """
x = np.arange(9 << 20, dtype=np.float32).reshape(1, 9, 1024, 1024)
first, second = fc.pad(x, (0, 0, 0, 0)), fc.relu(x)
for y in (first, second):
    assert y.flags.owndata and y.base is None and y.ctypes.data % 64 == 0
assert not np.shares_memory(first, second)
fc.release_memory()
at = second.ctypes.data
second[...] = -1
assert np.array_equal(first, x), "what is alive is no pool's"
del second, y
again = fc.relu(x)
assert again.ctypes.data == at and np.array_equal(again, x)
assert fc.release_memory() < x.nbytes
del again
assert fc.release_memory() >= x.nbytes
"""
    )
    run_python(code, FASTCONV_NUM_THREADS="1")


@pytest.mark.parametrize("elements", [1 << 15, 5 << 20, 9 << 20])
def test_a_large_result_behaves_as_any_array(elements: int) -> None:
    """Of the C library's memory, moved to a block when it grows, or in a block from the start."""
    x = np.arange(elements, dtype=np.float32).reshape(1, -1, 32, 32)
    y = fc.relu(x)
    assert y.flags.owndata
    assert y.base is None
    assert y.ctypes.data % 64 == 0, "begins at a cache line"
    y.resize((2, *x.shape[1:]), refcheck=False)
    assert y.ctypes.data % 64 == 0
    assert np.array_equal(y.ravel()[: x.size], x.ravel())
    assert not y.ravel()[x.size :].any(), "resizing adds zeros"
    y.resize((1, 1, 3, 5), refcheck=False)
    assert np.array_equal(y.ravel(), np.arange(15))
    copies = pickle.loads(pickle.dumps(fc.relu(x))), copy.deepcopy(fc.relu(x)), fc.relu(x).copy()
    assert all(np.array_equal(c, x) for c in copies)


def test_only_results_lie_in_the_pool(run_python: Any) -> None:
    """NumPy's own allocator is set again after each call, also one without memory for its result."""
    code = (
        TOOLS
        + """
from numpy._core.multiarray import get_handler_name
usual = get_handler_name(np.empty(1 << 20))
x = np.ones((1, 9, 1024, 1024), np.float32)
assert get_handler_name(fc.relu(x)) == "fastconv"
try:
    fc.conv2d(np.broadcast_to(np.float32(1), (1, 1, 1 << 20, 1 << 20)), np.ones((1 << 10, 1, 1, 1), np.float32))
except MemoryError:
    print("refused")
assert get_handler_name(np.empty(1 << 20)) == get_handler_name() == usual
"""
    )
    assert run_python(code) == "refused\n"


def test_the_pool_keeps_what_was_used_last(run_python: Any) -> None:
    code = (
        TOOLS
        + """
sizes = [(40 + 10 * i) << 20 for i in range(5)]  # 300 MB in all
for size in sizes:
    fc.relu(np.ones(size // 4, np.float32))
print(fc.release_memory() >> 20)
"""
    )
    assert int(run_python(code, FASTCONV_NUM_THREADS="1")) in range(200, 257)
