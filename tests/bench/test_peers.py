"""The comparison with other libraries runs and compares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="needs the source tree")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "peers.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def test_all_directions_beside_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "peers.json"
    shapes = str(BENCHMARKS / "shapes" / "lenet5.csv")
    done = run("--shapes", shapes, "--peers", "torch", "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    convolutions = [row for row in results["rows"] if row["unit"] == "GFLOP/s"]
    assert {row["direction"] for row in convolutions} == {"forward", "input gradient", "weight gradient"}
    assert len(convolutions) == 3 * 3
    assert {row["direction"] for row in results["rows"] if row["unit"] == "GB/s"} == {"forward", "input gradient"}
    for row in results["rows"]:
        assert set(row["timings"]) == {"fastconv", "torch"}
    assert "convolution, weight gradient, 3 rows" in done.stdout


@pytest.mark.parametrize("peer", ["ort", "openvino"])
def test_forward_beside_onnx_peers(peer: str) -> None:
    pytest.importorskip({"ort": "onnxruntime", "openvino": "openvino"}[peer])
    pytest.importorskip("onnx")
    shapes = str(BENCHMARKS / "shapes" / "lenet5.csv")
    done = run("--shapes", shapes, "--peers", peer, "--rounds", "1", "--direction", "forward", "--no-pooling")
    assert done.returncode == 0, done.stderr
    assert "convolution, forward, 3 rows" in done.stdout


def test_unknown_peers_are_refused() -> None:
    done = run("--peers", "torch,nobody")
    assert done.returncode == 2
    assert "must be of torch,ort,openvino, received torch,nobody" in done.stderr
