"""What the process around the library does: forks, signals, limits of memory, environment variables."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import _config

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")

# ----------------------------------------------------------------------------------------------------------------- fork

FORK = """
import json, multiprocessing, os, sys, threading, time, traceback
import numpy as np
sys.path.insert(0, {folder!r})
from calls import all_calls
import fastconv as fc

CALLS = all_calls({{1: (3001,), 2: (41, 37), 3: (9, 11, 13)}}, batch=2, channels=16, outputs=24)

def bits(result):
    return [np.asarray(a).tobytes() for a in (result if isinstance(result, tuple) else (result,)) if a is not None]

def all_bits():
    return {{name: bits(call()) for name, call in CALLS.items()}}

fc.set_num_threads(4)
WANT = all_bits()

def child(_=None):
    wrong = [name for name, found in all_bits().items() if found != WANT[name]]
    fc.set_num_threads(3)
    wrong += [name for name, found in all_bits().items() if found != WANT[name]]
    threads = fc.show_config(mode="dicts")["threads"]
    return wrong, threads["number"], fc.get_num_threads(), threads["why"]

def in_fork(work):
    "What work() gives in a child of os.fork, as JSON through a pipe."
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(text)
"""


@pytest.fixture
def run_forking(run_python: Any) -> Any:
    """Run code after the preparation above; gives what it printed as JSON, in a minute or never."""

    def run(code: str) -> Any:
        return json.loads(run_python(FORK.format(folder=os.path.dirname(__file__)) + code, timeout=60))

    return run


def assert_alone(found: list[Any]) -> None:
    wrong, number, threads, why = found
    assert wrong == []
    assert (number, threads) == (1, 1)
    assert "fork" in why


@needs_fork
def test_a_forked_child_computes_alone(run_forking: Any) -> None:
    assert_alone(run_forking("print(json.dumps(in_fork(child)))"))


@needs_fork
def test_multiprocessing_by_fork(run_forking: Any) -> None:
    code = """
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(child, range(4)).get(timeout=50)
assert all_bits() == WANT  # and the parent goes on with its threads
assert fc.get_num_threads() == 4
print(json.dumps(found))
"""
    for found in run_forking(code):
        assert_alone(found)


@needs_fork
def test_a_child_of_a_child(run_forking: Any) -> None:
    assert_alone(run_forking("print(json.dumps(in_fork(lambda: in_fork(child))))"))


@needs_fork
def test_fork_while_other_threads_compute(run_forking: Any) -> None:
    """The pool of memory, the locks and the threads of OpenMP are in any state then."""
    code = """
stop = False
rounds = [0, 0, 0]
x, w = np.ones((4, 64, 96, 96), np.float32), np.ones((64, 64, 3, 3), np.float32)

def work(i):
    while not stop:
        if i:
            list(map(lambda call: call(), CALLS.values()))
        else:
            fc.conv2d(x, w)
        rounds[i] += 1

workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
for worker in workers:
    worker.start()
found = []
for _ in range(6):
    time.sleep(0.03)
    found.append(in_fork(child))
stop = True
for worker in workers:
    worker.join()
assert all(rounds), rounds
assert all_bits() == WANT
print(json.dumps(found))
"""
    for found in run_forking(code):
        assert_alone(found)


@needs_fork
def test_layers_in_a_forked_child(run_forking: Any) -> None:
    """Parameter.grad is added to under a lock, which another thread may hold when the process forks."""
    code = """
from fastconv import nn
layer = nn.Conv2d(16, 24, 3, generator=0)
x = CALLS["conv2d"].arguments["input"]

def step():
    layer.zero_grad()
    y, backward = layer.forward(x)
    backward(np.ones_like(y))
    return bits(layer.weight.grad) + bits(layer.bias.grad)

want = step()
print(json.dumps(in_fork(lambda: step() == want)))
"""
    assert run_forking(code) is True


# -------------------------------------------------------------------------------------------------------------- signals

SIGNALS = """
import os, signal, threading, time
import numpy as np
import fastconv as fc

fc.set_precision("highest")  # sums of ones are exact then

def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

def one(*shape):
    "Takes no memory and no time to make."
    return np.broadcast_to(np.float32(1), shape)

LONG = {{
    "forward": lambda: fc.conv2d(one(1, 512, 256, 256), W, padding=1),
    "winograd": lambda: fc.conv2d(one(1, 512, 256, 256), W, padding=1, algorithm="winograd"),
    "im2col": lambda: fc.conv2d(one(1, 512, 256, 256), W, padding=1, algorithm="im2col"),
    "input gradient": lambda: fc.conv2d_backward(
        one(1, 512, 256, 256), one(1, 512, 256, 256), W, padding=1, needs=(True, False, False)),
    "weight gradient": lambda: fc.conv2d_backward(
        one(1, 512, 256, 256), one(1, 512, 256, 256), W, padding=1, needs=(False, True, False)),
    "large kernel": lambda: fc.conv2d(one(1, 1, 2048, 2048), one(16, 1, 1024, 1024)),
    "large kernel gradient": lambda: fc.conv2d_backward(
        one(1, 4, 1025, 1025), one(1, 1, 2048, 2048), one(4, 1, 1024, 1024), needs=(False, True, False)),
    "depthwise": lambda: fc.conv2d(one(1, 16, 1024, 1024), one(16, 1, 31, 31), padding=15, groups=16),
    "linear": lambda: fc.linear(one(2048, 16384), one(4096, 16384)),
    "linear, one row": lambda: fc.linear(one(1, 2**33), one(1, 2**33)),
    "max_pool2d": lambda: fc.max_pool2d(one(1, 16, 1024, 1024), 127, 1),
    "avg_pool2d": lambda: fc.avg_pool2d(one(1, 16, 1024, 1024), 127, 1),
    "global": lambda: fc.adaptive_avg_pool2d(one(1, 1, 2**16, 2**17), 1),
    "unfold": lambda: fc.unfold(one(1, 64, 512, 512), 7),
    "naive": lambda: fc.conv2d(one(1, 32, 256, 256), one(32, 32, 7, 7), algorithm="naive"),
}}
W = normal(512, 512, 3, 3)
SMALL = normal(1, 3, 9, 9), normal(4, 3, 3, 3)
RIGHT = fc.conv2d(*SMALL, algorithm="naive")

def assert_usable():
    for n in (1, 2, 4):
        with fc.threads(n):
            np.testing.assert_allclose(fc.conv2d(*SMALL), RIGHT, rtol=1e-4, atol=1e-4)
            x, w = one(1, 64, 80, 80), one(64, 64, 3, 3)
            assert (fc.conv2d(x, w) == 576).all()
call = LONG[{name!r}]
fc.set_num_threads({threads})
"""

CONTROL_C = """
sent = []

def press():
    time.sleep(0.4)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press).start()
try:
    while True:  # a fast machine may do it several times
        call()
except KeyboardInterrupt:
    took = time.perf_counter() - sent[0]
assert_usable()
print(took)
"""


@needs_posix
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "name",
    [
        "forward", "winograd", "im2col", "input gradient", "weight gradient", "large kernel",
        "large kernel gradient", "depthwise",
        "linear", "linear, one row", "max_pool2d", "avg_pool2d", "global", "unfold", "naive",
    ],
)  # fmt: skip
def test_control_c_is_answered(run_python: Any, name: str, threads: int) -> None:
    """Within 200 ms, says the contract; a machine that runs other things besides gets more time here."""
    code = SIGNALS.format(name=name, threads=threads) + CONTROL_C
    assert float(run_python(code, timeout=60, FASTCONV_ISA="baseline")) < 1.0


@needs_posix
@pytest.mark.parametrize("threads", [1, 3])
def test_a_signal_handler_may_call_the_library(run_python: Any, threads: int) -> None:
    code = """
calls = []

def handler(*_):
    calls.append(bool(np.allclose(fc.conv2d(*SMALL), RIGHT, rtol=1e-4, atol=1e-4)))
    x, w = one(1, 32, 60, 60), one(32, 32, 3, 3)
    calls.append(bool((fc.conv2d(x, w) == 288).all()))

x, w = normal(2, 128, 128, 128), normal(128, 128, 3, 3)
want = fc.conv2d(x, w)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.03)
for _ in range(200):
    got = fc.conv2d(x, w)
    assert np.array_equal(got, want)
    if len(calls) >= 8:
        break
signal.setitimer(signal.ITIMER_REAL, 0)
assert all(calls)
print(len(calls))
"""
    text = run_python(SIGNALS.format(name="forward", threads=threads) + code, FASTCONV_ISA="baseline")
    assert int(text) >= 8


@needs_posix
def test_an_exception_of_a_signal_handler_comes_through(run_python: Any) -> None:
    code = """
class Enough(Exception):
    pass

def handler(*_):
    raise Enough

signal.signal(signal.SIGALRM, handler)
for threads in (1, 2, 3):
    fc.set_num_threads(threads)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        while True:
            call()
    except Enough:
        assert_usable()
print("fine")
"""
    assert run_python(SIGNALS.format(name="forward", threads=2) + code, FASTCONV_ISA="baseline") == "fine\n"


@needs_posix
def test_control_c_while_another_thread_computes(run_python: Any) -> None:
    """The main thread is free: the call released the GIL."""
    code = """
worker = threading.Thread(target=call, daemon=True)
worker.start()
sent = []

def press():
    time.sleep(0.2)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press).start()
try:
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0], flush=True)
os._exit(0)
"""
    code = SIGNALS.format(name="forward", threads=2) + code
    assert float(run_python(code, timeout=60, FASTCONV_ISA="baseline")) < 1.0


# -------------------------------------------------------------------------------- memory and threads that cannot be had

LIMITS = """
import os, resource
import numpy as np
import fastconv as fc

fc.set_precision("highest")  # sums of ones are exact then

def limit(megabytes):
    "Let the process grow by so much and no more."
    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    most = now + int(megabytes * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))

def one(*shape):
    return np.broadcast_to(np.float32(1), shape)

def refused(call):
    try:
        call()
    except MemoryError as error:
        return str(error)
    raise AssertionError("this memory should not have been there")

def assert_usable():
    for n in (1, 2):
        with fc.threads(n):
            assert (fc.conv2d(one(1, 3, 20, 20), one(4, 3, 3, 3)) == 27).all()
            assert (fc.conv2d(one(1, 32, 40, 40), one(32, 32, 3, 3)) == 288).all()

assert_usable()  # makes the threads
"""
needs_limits = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS and /proc of Linux")


@needs_limits
@pytest.mark.parametrize(
    "call",
    [
        "fc.conv2d(one(8, 16, 1000, 1000), one(16, 16, 1, 1))",
        "fc.conv2d_backward(one(8, 16, 1000, 1000), one(8, 16, 1000, 1000), one(16, 16, 1, 1))",
        "fc.conv_transpose2d(one(1, 16, 1000, 1000), one(16, 16, 2, 2), stride=2)",
        "fc.max_pool2d(one(8, 16, 1000, 1000), 3, 1, 1)",
        "fc.max_pool2d(one(8, 16, 1000, 1000), 3, 1, 1, return_indices=True)",
        "fc.avg_pool2d(one(8, 16, 1000, 1000), 3, 1, 1)",
        "fc.avg_pool2d_backward(one(8, 16, 1000, 1000), (8, 16, 1000, 1000), 1)",
        "fc.adaptive_avg_pool2d(one(8, 16, 2, 2), 1000)",
        "fc.unfold(one(1, 16, 1000, 1000), 3)",
        "fc.fold(one(1, 16, 10**6), 4000, 1, 1, 0, 4)",
        "fc.pad(one(1, 1, 10, 10), (5000, 5000, 5000, 5000))",
        "fc.linear(one(20000, 10), one(20000, 10))",
        "fc.relu(one(128, 10**6))",
        "fc.softmax(one(128, 10**6))",
        "fc.functional.freeze_weight(one(4096, 4096, 3, 3))",
    ],
)
def test_a_result_that_cannot_be_had_is_a_memory_error(run_python: Any, call: str) -> None:
    run_python(LIMITS + f"limit(100)\nrefused(lambda: {call})\nassert_usable()\n")


@needs_limits
@pytest.mark.parametrize("isa", [name for name, state in _config.ISAS.items() if all(state)])
def test_a_workspace_that_cannot_be_had_is_a_memory_error(run_python: Any, isa: str) -> None:
    """The weights of this call take 38 MB when packed, its result 200 kB (others pack them piece by piece)."""
    code = """
fc.release_memory()
limit(12)
for threads in (1, 2):
    with fc.threads(threads):
        text = refused(lambda: fc.conv2d(one(1, 512, 5, 5), one(2048, 512, 3, 3), algorithm="im2col"))
        assert "workspace of" in text, text
        assert_usable()
limit(200)
y = fc.conv2d(one(1, 512, 5, 5), one(2048, 512, 3, 3), algorithm="im2col")
assert (y == 4608).all()
"""
    run_python(LIMITS + code, FASTCONV_ISA=isa)


@needs_limits
def test_kept_memory_is_given_up_for_a_workspace(run_python: Any) -> None:
    code = """
fc.release_memory()
fc.set_num_threads(1)
x, w = one(1, 512, 5, 5), one(2048, 512, 3, 3)
fc.conv2d(x, w)  # leaves about 38 MB in the pool
limit(12)
w = one(1024, 1300, 3, 3)  # wants about 48 MB
assert (fc.conv2d(one(1, 1300, 5, 5), w) == 11700).all()
"""
    run_python(LIMITS + code)


@needs_limits
def test_threads_that_cannot_be_made_are_done_without(run_python: Any) -> None:
    """A thread wants 8 MB for its stack; libgomp ends the process that has no room for it, if it is asked."""
    code = """
x, w = one(1, 64, 64, 64), one(64, 64, 3, 3)
fc.set_num_threads(1)
fc.conv2d(x, w)
limit(20)
fc.set_num_threads(16)
assert (fc.conv2d(x, w) == 576).all()
limit(1000)
assert (fc.conv2d(x, w) == 576).all()
print("fine")
"""
    assert run_python(LIMITS.replace("assert_usable()  # makes the threads", "") + code) == "fine\n"


@needs_limits
def test_threads_that_were_there_before_may_be_gone(run_python: Any) -> None:
    """libgomp ends the threads that a smaller team leaves over: that they could be made once proves nothing."""
    code = """
x, w = one(1, 64, 256, 256), one(64, 64, 3, 3)
for threads in (40, 2):
    fc.set_num_threads(threads)
    fc.conv2d(x, w)
limit(20)
fc.set_num_threads(40)
assert (fc.conv2d(x, w) == 576).all()
print("fine")
"""
    assert run_python(LIMITS.replace("assert_usable()  # makes the threads", "") + code) == "fine\n"


# ------------------------------------------------------------------------------------------- floating-point environment

MXCSR = """
import ctypes, mmap
import numpy as np

code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\\x0f\\xae\\x1f\\xc3")  # stmxcsr [rdi]; ret
store = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

def control():
    "Rounding, masks, flush to zero, denormals are zero; not the flags that every operation raises."
    value = ctypes.c_uint32()
    store(ctypes.addressof(value))
    return value.value & ~0x3F
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.uname().machine != "x86_64", reason="reads MXCSR")
@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_floating_point_environment_is_left_alone(run_python: Any, threads: str) -> None:
    code = """
before = control()
import sys
sys.path.insert(0, {folder!r})
import fastconv as fc
assert control() == before
from calls import all_calls
for name, call in all_calls({{1: (3001,), 2: (41, 37), 3: (9, 11, 13)}}, batch=2, channels=16, outputs=24).items():
    call()
    assert control() == before, name
assert before & 0x8040 == 0  # neither flush to zero nor denormals are zero
"""
    run_python(MXCSR + code.format(folder=os.path.dirname(__file__)), FASTCONV_NUM_THREADS=threads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("isa", [name for name, state in _config.ISAS.items() if all(state)])
def test_denormals_are_kept(dtype: Any, threads: int, isa: str) -> None:
    """Also on the threads of OpenMP, which have a floating-point environment of their own."""
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.full((1, 32, 64, 64), 3 * tiny, dtype)
    with _config.isa_limit(isa), fc.threads(threads):
        for algorithm in ("direct", "im2col"):
            assert (fc.conv2d(x, np.ones((16, 32, 1, 1), dtype), algorithm=algorithm) == 96 * tiny).all()
        assert (fc.conv2d(x, np.ones((32, 1, 3, 3), dtype), groups=32) == 27 * tiny).all()
        assert (fc.avg_pool2d(x, 2) == 3 * tiny).all()
        assert (fc.max_pool2d(-x, 2) == -3 * tiny).all()
        assert (fc.linear(x.reshape(32, -1), np.ones((7, 4096), dtype)) == 3 * 4096 * tiny).all()


# ------------------------------------------------------------------------------------------------ environment variables


@pytest.mark.parametrize("value", ["sse", "avx", "avx1024", "0", "baseline,avx2", "none"])
def test_an_unknown_instruction_set_is_an_error(run_python: Any, value: str) -> None:
    text = run_python("import fastconv", fails=True, FASTCONV_ISA=value)
    assert "ValueError: FASTCONV_ISA must be one of baseline, avx2, avx512" in text
    assert repr(value) in text


@pytest.mark.parametrize("value", ["baseline", "avx2", "avx512", " AVX2 ", "Baseline", ""])
def test_the_variable_caps_the_instruction_set(run_python: Any, value: str) -> None:
    code = """
    import fastconv as fc, numpy as np
    fc.conv2d(np.ones((1, 3, 9, 9)), np.ones((4, 3, 3, 3)))
    found = fc.show_config(mode="dicts")["instruction sets"]
    print(found["selected"], found["why"], sep="|")
    """
    selected, why = run_python(code, FASTCONV_ISA=value).strip().split("|")
    usable = [name for name, state in _config.ISAS.items() if all(state)]
    order = list(_config.ISAS)
    cap = value.strip().lower()
    if cap:
        assert selected == [name for name in usable if order.index(name) <= order.index(cap)][-1]
        assert f"FASTCONV_ISA={cap}" in why
    else:
        assert selected == usable[-1]


@pytest.mark.parametrize(
    ("supported", "cap", "selected"), [(1, "avx512", 0), (2, "avx512", 1), (2, "", 1), (3, "avx2", 1)]
)
def test_a_cap_above_the_machine_takes_what_there_is(
    monkeypatch: pytest.MonkeyPatch, supported: int, cap: str, selected: int
) -> None:
    sets = {name: (True, i < supported) for i, name in enumerate(("baseline", "avx2", "avx512"))}
    monkeypatch.setattr(_config, "ISAS", sets)
    monkeypatch.setattr(_config, "_NAMES", list(sets))
    monkeypatch.setenv("FASTCONV_ISA", cap)
    assert _config._select_isa()[0] == selected
