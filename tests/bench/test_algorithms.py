"""The benchmark of the choice of algorithm."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

algorithms = pytest.importorskip("algorithms", reason="needs the source tree")

FAST = algorithms.Effort(rounds=1, sample_seconds=0.0)
LAYER = algorithms.Layer("a", 8, 8, (9, 9), (3, 3), (1, 1), (1, 1), (1, 1))


def choice(direction: str, auto: str, **seconds: float) -> Any:
    return algorithms.Choice("net", "layer", direction, auto, seconds)


def test_all_algorithms_in_all_directions() -> None:
    found = list(algorithms.choices("net", LAYER, algorithms.DIRECTIONS, 2, FAST, FAST))
    assert [c.direction for c in found] == list(algorithms.DIRECTIONS)
    assert set(found[0].seconds) == {"direct", "im2col", "col2im", "depthwise", "grouped", "winograd"}
    for c in found:
        assert {"direct", "im2col", c.auto} <= set(c.seconds)
        assert c.loss >= 1


def test_a_slow_choice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, algorithm: str = "auto") -> None:
            self.algorithm = algorithm

        def runs(self, *args: Any) -> str:
            if self.algorithm == "im2col":
                raise ValueError("does not take the other gradient")
            return "direct" if self.algorithm in ("auto", "col2im", "depthwise", "grouped") else self.algorithm

        def conv(self, *args: Any) -> Any:
            def call() -> None:
                if self.algorithm == "winograd":
                    raise ValueError("declined")
                time.sleep(0.01 if self.algorithm == "im2col" else 0.02)

            return call

    monkeypatch.setattr(algorithms, "FastConv", Fake)
    (found,) = algorithms.choices("net", LAYER, ["forward"], 1, FAST, FAST)
    assert found.auto == "direct"
    assert found.best == "im2col"
    assert set(found.seconds) == {"direct", "im2col"}
    assert 1.5 < found.loss < 2.5


def test_summary_by_hand() -> None:
    rows = [
        choice("forward", "direct", direct=2.0, im2col=1.0),
        choice("forward", "direct", direct=1.0, im2col=1.0),
        choice("weight gradient", "im2col", direct=1.0, im2col=1.04),
    ]
    forward, weight = algorithms.summary(rows)
    assert forward.startswith(
        "forward: loses more than 5 % on 1 of 2 rows; geometric mean of its time over the best 1.414"
    )
    assert forward.endswith("takes direct 2")
    assert "on 0 of 1 rows; geometric mean of its time over the best 1.040; takes im2col 1" in weight
    assert algorithms.line(rows[0]) == "net layer, forward: direct loses 100 %: im2col 1000.000 ms, direct 2000.000 ms"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = Path(algorithms.__file__).parent / "shapes" / "lenet5.csv"
    file = tmp_path / "choices.json"
    arguments = ["--shapes", str(shapes), "--rounds", "1", "--direction", "forward", "--all", "--json", str(file)]
    assert algorithms.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count("lenet5 c") == 3
    assert "of 3 rows" in out
    assert [row["layer"] for row in json.loads(file.read_text())] == ["c1", "c3", "c5"]
