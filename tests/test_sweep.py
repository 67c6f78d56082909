"""The random sweep (``python tests/sweep.py``): a small part of it, and that it finds what is wrong."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import sweep

import fastconv as fc


def test_a_part_of_the_sweep() -> None:
    taken: Counter[str] = Counter()
    for number in range(60):
        problem = sweep.draw(7, number)
        assert list(sweep.failures(problem, taken)) == [], sweep.command(problem)
    assert {"direct", "im2col", "depthwise", "winograd", "sum", "pooling"} <= set(taken)


def test_what_is_drawn_reaches_the_limits() -> None:
    drawn = [sweep.draw(0, number) for number in range(2400)]
    assert drawn[16:18] == [sweep.draw(0, 16), sweep.draw(0, 17)]
    pools = [p for p in drawn if isinstance(p, sweep.Pooling)]
    assert {p.name for p in pools} >= {f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg") for n in (1, 2, 3)}
    problems = [p for p in drawn if isinstance(p, sweep.Problem)]
    assert len(problems) == 2000
    for what, values in {
        "axes": {p.conv.n for p in problems} - {1, 2, 3},
        "channels in": {0, *sweep.CHANNELS} - {0, *(p.conv.c for p in problems)},
        "channels out": {x + by for x in sweep.CHANNELS[1:] for by in (-1, 0, 1)} - {p.conv.k for p in problems},
        "pixels": set(sweep.PIXELS) - {math.prod(p.conv.out) for p in problems},
    }.items():
        assert values == set(), what
    for limit in sweep.DEPTHS:  # blocks end there: sums just short of it and just above
        depths = [p.conv.c * math.prod(p.conv.kernel) for p in problems]
        assert any(0.85 * limit <= depth < limit for depth in depths)
        assert any(limit < depth <= 1.15 * limit for depth in depths)
    assert {p.transposed for p in problems} == {p.bias for p in problems} == {True, False}
    assert any(lo != hi for p in problems for lo, hi in p.conv.pads)
    assert all(p.conv.fits for p in problems)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_backward"])
def test_one_wrong_value_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(fc, name)

    def wrong(*args: Any, **options: Any) -> Any:
        result = right(*args, **options)
        first = result[0] if isinstance(result, tuple) else result
        first.reshape(-1)[-1] += 1
        return result

    problem = sweep.Problem(sweep.Conv(1, 2, 3, (5, 6), (3, 3)))
    assert list(sweep.failures(problem)) == []
    monkeypatch.setattr(fc, name, wrong)
    found = list(sweep.failures(problem))
    assert any("auto" in text and "1 of" in text for text in found)
    assert any("winograd (winograd)" in text for text in found)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "max_pool2d_backward", "avg_pool2d_backward"])
def test_one_wrong_value_of_pooling_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(fc, name)

    def wrong(*args: Any, **options: Any) -> Any:
        result = right(*args, **options)
        first = result[0] if isinstance(result, tuple) else result
        first.reshape(-1)[-1] += np.float32(1e-5)
        return result

    problem = sweep.Pooling(name[:3], (1, 2, 9, 8), (3, 2, 1), {})
    assert list(sweep.failures(problem)) == []
    monkeypatch.setattr(fc, name, wrong)
    assert any("1 of" in text for text in sweep.failures(problem))


def test_an_operator_that_declines_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def declines(*args: Any, **options: Any) -> Any:
        raise ValueError("conv1d: direct takes only what it likes")

    monkeypatch.setattr(fc, "conv1d", declines)
    found = list(sweep.failures(sweep.Problem(sweep.Conv(1, 2, 3, (9,), (3,)))))
    assert {text.partition(",")[0] for text in found} == {"auto", "direct", "im2col"}


def test_differences() -> None:
    want = np.array([3.0, -4.0, 0.0])
    got = want.astype(np.float32)
    assert sweep.difference(got, want, "float32", "direct", 1) == ""
    assert "shape" in sweep.difference(got[:2], want, "float32", "direct", 1)
    assert "float32" in sweep.difference(got, want, "float64", "direct", 1)
    near = got + np.float32(1e-5)
    assert "3 of 3" in sweep.difference(near, want, "float32", "direct", 1)
    assert sweep.difference(near, want, "float32", "winograd", 1) == ""
    assert "1 of 3" in sweep.difference(np.where(want > 0, np.nan, got).astype("f"), want, "float32", "winograd", 1)


@pytest.mark.parametrize("number", [4, 5])
def test_the_printed_command_repeats_the_problem(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    problem = sweep.draw(3, number)
    code = re.fullmatch(r'PYTHONPATH=tests python -c "(.*)"', sweep.command(problem))
    assert code
    exec(code[1], {})
    assert capsys.readouterr().out == f"{problem}\n"


def test_the_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--problems", "5", "--jobs", "2", "--first", "3"]) == 0
    assert re.search(r"^5 problems on .* 0 failures$", capsys.readouterr().out, re.MULTILINE)


def test_a_crash_is_reported_and_the_rest_still_runs(capsys: pytest.CaptureFixture[str]) -> None:
    worker = """
import os, sys
for number in range(*map(int, sys.argv[2:])):
    print("at", number, flush=True)
    if number == 4:
        os._exit(11)
print("taken 9 direct")
"""
    watch = sweep.Watch(seed=1)
    watch.follow([sys.executable, "-c", worker], range(0, 10, 2))
    assert watch.done == 5
    assert watch.taken == {"direct": 9}
    assert len(watch.failed) == 1
    out = capsys.readouterr().out
    assert out.startswith("problem 4: the process ended with 11")
    assert sweep.command(sweep.draw(1, 4)) in out
