"""Threads: the same bits at any number of them, many Python threads at once, and how many a call takes."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import Call, all_calls

import fastconv as fc
from fastconv import _threads, plan
from fastconv._config import ISAS, isa_limit

COUNTS = (1, 2, 3, 4, 7, 8)
LARGE = all_calls({1: (6007,), 2: (71, 61), 3: (13, 17, 19)}, batch=3, channels=20, outputs=36)
#: Those that run a plan; the others are NumPy, on the calling thread.
DRIVEN = ["linear", "linear_backward"] + [
    name for name, call in LARGE.items() if call.axes and not name.startswith("pad") and "max_unpool" not in name
]
ALGORITHMS = ("direct", "im2col", "col2im", "depthwise", "grouped", "naive")


def arrays(result: Any) -> list[np.ndarray]:
    """The arrays of a result."""
    return [np.asarray(a) for a in (result if isinstance(result, tuple) else (result,)) if a is not None]


def bits(result: Any) -> list[tuple[Any, ...]]:
    """A result's shapes, dtypes and bytes."""
    return [(a.shape, a.dtype, a.tobytes()) for a in arrays(result)]


# -------------------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("isa", [name for name, state in ISAS.items() if all(state)])
@pytest.mark.parametrize("name", LARGE)
def test_the_same_bits_at_any_number_of_threads(name: str, isa: str) -> None:
    plan.clear()
    with isa_limit(isa):
        with fc.threads(1):
            want = bits(LARGE[name]())
        for n in COUNTS[1:]:
            with fc.threads(n):
                assert bits(LARGE[name]()) == want, f"{n} threads"
    if name in DRIVEN:
        assert max(max(p.tasks) for p in plan.plans()) >= 2, "a problem with work for several threads was meant"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", [name for name in LARGE if name.startswith("conv")])
def test_the_same_bits_with_every_algorithm(name: str, algorithm: str) -> None:
    with fc.threads(1):
        want = bits(LARGE[name](algorithm=algorithm))
    for n in COUNTS[1:]:
        with fc.threads(n):
            assert bits(LARGE[name](algorithm=algorithm)) == want, f"{n} threads"


@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "size", "kernel", "options"),
    [
        (1, 700, 40, (15, 15), (3, 3), {"padding": 1}),  # a long sum
        (1, 3, 64, (128, 128), (7, 7), {"stride": 2, "padding": 3}),
        (1, 96, 96, (40, 40), (3, 3), {"padding": 1, "groups": 96}),
        (33, 24, 40, (7, 7), (1, 1), {}),
        (1, 2, 3, (150, 150), (33, 33), {}),
        (2, 40, 70, (50, 61), (3, 3), {"padding": 1}),
        (2, 40, 70, (50, 61), (3, 3), {"padding": ((0, 2), (1, 0)), "groups": 2}),
        (9, 33, 65, (14, 14), (3, 3), {"padding": 1}),
        (5, 300, 130, (6, 7), (6, 7), {}),  # a kernel over the whole input
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "winograd"])
def test_the_same_bits_of_other_shapes(
    batch: int,
    channels: int,
    outputs: int,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    options: dict[str, Any],
    algorithm: str,
) -> None:
    if algorithm == "winograd" and (kernel != (3, 3) or "stride" in options):
        pytest.skip("3x3 kernels at stride 1")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, channels, *size)).astype(np.float32)
    w = rng.standard_normal((outputs, channels // options.get("groups", 1), *kernel)).astype(np.float32)
    gy = rng.standard_normal(fc.conv2d(x, w, **options).shape).astype(np.float32)
    found = []
    for n in COUNTS:
        with fc.threads(n):
            y = fc.conv2d(x, w, **options, algorithm=algorithm)
            found.append(bits((y, *fc.conv2d_backward(gy, x, w, **options, algorithm=algorithm))))
    assert found == [found[0]] * len(COUNTS)


@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 5000, 700), (3, 4331, 36), (70, 900, 130), (2000, 30, 50), (64, 64, 9000)]
)
def test_the_same_bits_of_fully_connected_layers(m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(2)
    x, w, gy = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (n, k), (m, n)))
    found = []
    for count in COUNTS:
        with fc.threads(count):
            found.append(bits((fc.linear(x, w), *fc.linear_backward(gy, x, w))))
    assert found == [found[0]] * len(COUNTS)


# ------------------------------------------------------------------------------------------------------- Python threads


def test_many_python_threads_at_once() -> None:
    """Eight threads run all operators, each in its own order, on sizes of its own."""
    workers = 8
    tables: list[dict[str, Call]] = [
        all_calls({1: (301 + i,), 2: (20 + i, 19), 3: (5 + i % 3, 7, 8)}, batch=2, channels=8, outputs=12, seed=i)
        for i in range(workers)
    ]
    want = [{name: bits(call()) for name, call in table.items()} for table in tables]
    start = threading.Barrier(workers)

    def work(i: int) -> list[str]:
        wrong = []
        order = np.random.default_rng(i).permutation(list(tables[i]) * 2)
        start.wait()
        with fc.threads(1 + i % 3):
            for name in order:
                if bits(tables[i][name]()) != want[i][name]:
                    wrong.append(name)
        return wrong

    with ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(work, range(workers))) == [[]] * workers


def test_python_threads_share_frozen_weights_plans_and_pool() -> None:
    rng = np.random.default_rng(3)
    w = rng.standard_normal((24, 16, 3, 3)).astype(np.float32)
    frozen = fc.freeze_weight(w)
    inputs = [rng.standard_normal((1, 16, 12, 12 + i)).astype(np.float32) for i in range(96)]
    want = [bits(fc.conv2d(x, w, padding=1)) for x in inputs]  # more shapes than a frozen weight keeps packed
    plan.clear()

    def work(i: int) -> bool:
        order = np.random.default_rng(i).permutation(len(inputs))
        right = all(bits(fc.conv2d(inputs[k], frozen, padding=1)) == want[k] for k in order)
        fc.release_memory()
        return right

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


# ------------------------------------------------------------------------------------------------------------- how many

REPORT = """
import json, fastconv as fc
from fastconv._threads import thread_report
found = [thread_report()]
{}
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("environment", "number", "reason"),
    [
        ({"FASTCONV_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3, "FASTCONV_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5"}, 5, "OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5,2"}, 5, "OMP_NUM_THREADS"),
        ({"FASTCONV_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5, "OMP_NUM_THREADS"),
        ({"FASTCONV_NUM_THREADS": " 6 "}, 6, "FASTCONV_NUM_THREADS"),
    ],
    ids=str,
)
def test_the_environment_says_how_many(run_python: Any, environment: dict[str, str], number: int, reason: str) -> None:
    assert json.loads(run_python(REPORT.format(""), **environment)) == [[number, reason]]


@pytest.mark.parametrize("value", ["garbage", "-1", "0", "1e3", "99999999"])
def test_what_openmp_would_not_take_is_passed_over(run_python: Any, value: str) -> None:
    [[number, reason]] = json.loads(run_python(REPORT.format(""), OMP_NUM_THREADS=value))
    assert number >= 1
    assert "CPUs" in reason


@pytest.mark.parametrize("value", ["garbage", "0", "-1", "1.5", "99999999", "1e3", "True"])
def test_a_wrong_variable_of_ours_is_an_error(run_python: Any, value: str) -> None:
    text = run_python("import fastconv", fails=True, FASTCONV_NUM_THREADS=value)
    assert "ValueError: FASTCONV_NUM_THREADS must be an integer between 1 and" in text
    assert repr(value) in text


def test_context_over_setter_over_environment(run_python: Any) -> None:
    code = REPORT.format(
        """
fc.set_num_threads(4)
found.append(thread_report())
with fc.threads(2):
    found.append(thread_report())
    with fc.threads(5):
        found.append(thread_report())
    fc.set_num_threads(6)
    found.append(thread_report())
found.append(thread_report())
"""
    )
    found = json.loads(run_python(code, FASTCONV_NUM_THREADS="3", OMP_NUM_THREADS="7"))
    assert [n for n, _ in found] == [3, 4, 2, 5, 2, 6]
    assert [why for _, why in found[1:3]] == ["fastconv.set_num_threads()", "fastconv.threads()"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_the_affinity_mask_limits(run_python: Any) -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + REPORT.format("")
    [[number, reason]] = json.loads(run_python(code))
    assert number == 1
    assert "affinity" in reason


def test_the_context_is_one_threads_own_and_ends_with_an_error() -> None:
    seen = []
    before = fc.get_num_threads()

    def work() -> None:
        with fc.threads(7):
            seen.append(fc.get_num_threads())
            other = threading.Thread(target=lambda: seen.append(fc.get_num_threads()))
            other.start()
            other.join()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert seen == [7, before]
    assert fc.get_num_threads() == before


MOST = max(64, 4 * (os.cpu_count() or 1))


@pytest.mark.parametrize("value", [0, -1, -(2**63), MOST + 1, 2**31, 2**64, 10**30, np.int64(0)])
def test_numbers_out_of_range(value: Any) -> None:
    for name in ("set_num_threads", "threads"):
        with pytest.raises(ValueError, match=rf"{name}: .* between 1 and {MOST}, received {int(value)}"):
            _use(name, value)


@pytest.mark.parametrize("value", [None, True, np.True_, 1.0, np.float64(2), "2", b"2", 1j, [1], (1,), np.array([1])])
def test_numbers_that_are_none(value: Any) -> None:
    for name in ("set_num_threads", "threads"):
        with pytest.raises(TypeError, match=rf"{name}: the number of threads must be an integer"):
            _use(name, value)


def _use(name: str, value: Any) -> None:
    before = _threads._set
    try:
        if name == "threads":
            with fc.threads(value):
                pass
        else:
            fc.set_num_threads(value)
    finally:
        _threads._set = before


def test_the_largest_number_works() -> None:
    call = LARGE["conv2d"]
    with fc.threads(1):
        want = bits(call())
    with fc.threads(np.int64(MOST)):  # type: ignore[arg-type]
        assert fc.get_num_threads() == MOST
        assert bits(call()) == want


# --------------------------------------------------------------------------------------------------------------- quotas


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "membership", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", inf),
        ({"a/b/cpu.max": "300000 100000\n"}, "0::/a/b\n", 3.0),
        ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 2.0),
        ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "50000 100000\n"}, "0::/a/b\n", 0.5),
        ({"other/cpu.max": "100000 100000\n"}, "0::/a\n", inf),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu:/x\n", 2.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu:/x\n", inf),
        ({}, "0::/a\n", inf),
        ({}, None, inf),
        ({"cpu.max": ""}, "0::/\n", inf),
        ({"cpu.max": "what else\n"}, "0::/\n", inf),
        ({"cpu.max": "1 2 3\n"}, "no colons\n", inf),
        ({"cpu.max": "100000 0\n"}, "0::/\n", inf),
    ],
    ids=str,
)
def test_quota_of_a_container(tmp_path: Path, files: dict[str, str], membership: str | None, cpus: float) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        _write(root / name, text)
    if membership is not None:
        _write(tmp_path / "membership", membership)
    assert _threads._quota_cpus(root, tmp_path / "membership") == cpus


@pytest.mark.parametrize(("quota", "cpus"), [(0.5, 1), (1.0, 1), (1.5, 2), (inf, None)])
def test_a_quota_limits_the_default(monkeypatch: pytest.MonkeyPatch, quota: float, cpus: int | None) -> None:
    monkeypatch.setattr(_threads, "_quota_cpus", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    number, reason = _threads.available_cpus()
    assert number == (cpus or 16)
    assert ("quota" in reason) == (cpus is not None)


# -------------------------------------------------------------------------------------------------- no more than needed


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_import_and_tiny_calls_start_no_threads(run_python: Any) -> None:
    found = run_python(
        """
        import os
        import numpy as np
        count = lambda: len(os.listdir("/proc/self/task"))
        found = [count()]
        import fastconv as fc
        found.append(count())
        fc.set_num_threads(4)
        x, w = np.ones((2, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
        y = fc.conv2d(x, w)
        fc.conv2d_backward(y, x, w)
        fc.max_pool2d(x, 2)
        fc.avg_pool2d(x, 2)
        fc.linear(x.reshape(2, -1), np.ones((5, 192), np.float32))
        found.append(count())
        fc.conv2d(np.ones((1, 32, 64, 64), np.float32), np.ones((32, 32, 3, 3), np.float32))
        found.append(count())
        print(*found)
        """
    )
    before, imported, tiny, large = map(int, found.split())
    assert imported == before
    assert tiny == before
    if fc.show_config(mode="dicts")["OpenMP"]["version"].isdigit():  # type: ignore[index]
        assert large == before + 3


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at threads in /proc")
def test_threads_are_kept(run_python: Any) -> None:
    """libgomp ends the threads that a smaller team leaves over, and would make them again in the next stage or call."""
    found = run_python(
        """
        import os
        import numpy as np
        import fastconv as fc
        fc.set_num_threads(8)
        one = lambda *shape: np.ones(shape, np.float32)
        calls = [  # stages of few tasks and of many
            lambda: fc.conv2d(one(1, 64, 56, 56), one(64, 64, 3, 3), algorithm="direct"),
            lambda: fc.conv2d(one(1, 32, 20, 20), one(96, 32, 3, 3), algorithm="im2col"),
            lambda: fc.conv2d_backward(one(2, 32, 28, 28), one(2, 16, 28, 28), one(32, 16, 3, 3), padding=1),
            lambda: fc.linear(one(64, 1000), one(300, 1000)),
            lambda: fc.max_pool2d(one(1, 64, 112, 112), 3, 2),
        ]
        for call in calls:
            call()
        before = set(os.listdir("/proc/self/task"))
        for call in calls * 3:
            call()
        print(len(before), len(set(os.listdir("/proc/self/task")) - before))
        """
    )
    threads, made = map(int, found.split())
    if fc.show_config(mode="dicts")["OpenMP"]["version"].isdigit():  # type: ignore[index]
        assert threads == 8
    assert made == 0
