"""The comparison with other libraries runs and compares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

peers = pytest.importorskip("peers", reason="needs the source tree")
memory = pytest.importorskip("memory")

BENCHMARKS = Path(peers.__file__).parent
LENET = str(BENCHMARKS / "shapes" / "lenet5.csv")


def run(*arguments: str, script: str = "peers.py") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def own_list(folder: Path) -> str:
    path = folder / "own.csv"
    path.write_text(
        "layer,c,size,k,kernel,padding,groups,dtype,transposed\n"
        "line,4,50,6,3,1,2,,\n"
        "volume,2,5x6x7,3,3,1,1,float64,\n"
        "up,6,4x5,4,2,0,2,,yes\n"
        "3x3,40,16x16,40,3,1,1,,\n"
    )
    return str(path)


def test_all_directions_beside_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "peers.json"
    done = run("--shapes", LENET, own_list(tmp_path), "--peers", "torch", "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    convolutions = [row for row in results["rows"] if row["unit"] == "GFLOP/s"]
    assert {row["direction"] for row in convolutions} == {"forward", "input gradient", "weight gradient"}
    assert len(convolutions) == 3 * 7
    assert {row["direction"] for row in results["rows"] if row["unit"] == "GB/s"} == {"forward", "input gradient"}
    for row in results["rows"]:
        frozen = {"frozen"} if row["unit"] == "GFLOP/s" and row["direction"] == "forward" else set()
        assert set(row["timings"]) == {"fastconv", "torch"} | frozen
        assert row["bound"] in ("FMA", "memory")
        assert row["limit"] > 0
        if sys.platform == "linux":
            assert all(row["memory"][name] >= 0 for name in ("fastconv", "torch"))
    assert "convolution, weight gradient, 7 rows" in done.stdout
    assert set(results["machine"]) == {"float32", "float64"}


@pytest.mark.parametrize("peer", ["ort", "openvino"])
def test_forward_beside_onnx_peers(peer: str, tmp_path: Path) -> None:
    pytest.importorskip({"ort": "onnxruntime", "openvino": "openvino"}[peer])
    pytest.importorskip("onnx")
    arguments = ("--peers", peer, "--rounds", "1", "--direction", "forward", "--no-pooling")
    done = run("--shapes", LENET, own_list(tmp_path), *arguments)
    assert done.returncode == 0, done.stderr
    assert "convolution, forward, 6 rows" in done.stdout  # of 7: float64 is beyond it


def test_a_capped_instruction_set(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    arguments = ("--peers", "ort", "--rounds", "1", "--direction", "forward", "--no-pooling", "--json", str(file))
    done = run("--shapes", LENET, "--isa", "avx2", *arguments)
    assert done.returncode == 0, done.stderr
    assert "left out, since they cannot be capped at avx2: ort" in done.stdout.replace("\n    ", " ")
    assert json.loads(file.read_text())["isa"] in ("avx2", "baseline")


def test_unknown_peers_are_refused() -> None:
    done = run("--peers", "torch,nobody")
    assert done.returncode == 2
    assert "must be of torch,ort,openvino, received torch,nobody" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_memory_beside_the_result_is_measured() -> None:
    def with_ten_megabytes_aside() -> np.ndarray:
        aside = np.ones(10_000_000, np.uint8)
        return np.full(20_000_000, aside[0])

    found = memory.extra_memory(with_ten_megabytes_aside)
    if found is None:
        pytest.skip("this system does not tell the peak")
    assert 9e6 < found < 13e6  # huge pages of 2 MB round it up
    assert memory.extra_memory(lambda: np.ones(20_000_000, np.uint8)) < 3e6


def test_the_limit_that_binds() -> None:
    limits = peers.Limits(1, seconds=0.02)
    seconds, bound = limits.of(10**12, 1, "float32")
    assert bound == "FMA"
    assert seconds == pytest.approx(2e12 / limits.machines["float32"].peak)
    assert limits.of(1, 10**12, "float64")[1] == "memory"
    assert limits.machines["float64"].peak < 0.75 * limits.machines["float32"].peak


def row(direction: str, **seconds: float) -> object:
    timings = {name: peers.Timing(value, value, 1, 1) for name, value in seconds.items()}
    return peers.Result("net", f"{direction}{len(seconds)}", direction, {}, "", "GFLOP/s", 1e9, 0.5, "FMA", timings)


def test_summary_by_hand() -> None:
    results = [
        row("forward", fastconv=1.0, frozen=0.5, torch=2.0, ort=1.0),
        row("forward", fastconv=1.0, torch=8.0),
        row("weight gradient", fastconv=1.0, torch=0.5),
    ]
    assert results[0].percent == 50
    lines = [" ".join(line.split()) for line in peers.summary(results)]
    assert "torch 4.00 worst 2.00 at net forward4" in lines
    assert "best peer 2.83 worst 1.00 at net forward4" in lines
    assert "best peer, weights frozen 2.00 worst 2.00 at net forward4" in lines
    assert "torch 0.50 worst 0.50 at net weight gradient2" in lines
