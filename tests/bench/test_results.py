"""The classes of layers with their targets, and the document made of the runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

results = pytest.importorskip("results", reason="needs the source tree")
classes = pytest.importorskip("classes")
rows = pytest.importorskip("rows")

from fastconv.bench.layers import Pool  # noqa: E402 (behind the skips)


def layer(c: int, k: int, side: int, kernel: int, stride: int = 1, dilation: int = 1, **options: Any) -> Any:
    padding = dilation * (kernel - 1) // 2
    pairs = ((value, value) for value in (side, kernel, stride, padding, dilation))
    return rows.Layer("layer", c, k, *pairs, **options)


@pytest.mark.parametrize(
    ("shape", "batch", "name", "targets"),
    [
        (layer(64, 64, 56, 3), 1, "3x3 stride 1, large maps or batch 8", (2.5, 2.2, 2.5, None)),
        (layer(512, 512, 14, 3), 8, "3x3 stride 1, large maps or batch 8", (2.5, 2.2, 2.5, None)),
        (layer(256, 384, 13, 3), 8, "3x3 stride 1, large maps or batch 8", (2.5, 2.2, 2.5, None)),
        (layer(128, 64, 28, 3), 1, "3x3 stride 1, large maps or batch 8", (2.5, 2.2, 2.5, None)),
        (layer(128, 64, 27, 3), 1, "3x3 stride 1, 14 px, batch 1", (1.4, 1.4, 2.3, 2.5)),
        (layer(384, 384, 14, 3, groups=2), 1, "3x3 stride 1, 14 px, batch 1", (1.4, 1.4, 2.3, 2.5)),
        (layer(512, 512, 7, 3), 1, "3x3 stride 1, 7 px", (1.1, 1.1, 1.6, None)),
        (layer(512, 512, 7, 3), 8, "3x3 stride 1, 7 px", (2, 1.8, 2.5, None)),
        (layer(63, 64, 56, 3), 1, classes.CLASSES[4], (1.0, 1.0, 1.05, None)),
        (layer(64, 513, 56, 3), 1, classes.CLASSES[4], (1.0, 1.0, 1.05, None)),
        (layer(128, 128, 56, 3, stride=2), 8, classes.CLASSES[4], (1.0, 1.4, 1.05, None)),
        (layer(256, 256, 28, 3, dilation=2), 1, classes.CLASSES[4], (1.0, 1.0, 1.05, None)),
        (layer(12, 256, 28, 5), 1, classes.CLASSES[4], (1.0, 3, 1.05, None)),
        (layer(64, 256, 56, 1), 1, "1x1", (1.0, 1.0, 1.05, None)),
        (layer(256, 512, 56, 1, stride=2), 1, "1x1", (1.0, 1.4, 1.05, None)),
        (layer(3, 64, 224, 3), 1, "first layers", (1.4, 3, 1.1, None)),
        (layer(3, 64, 224, 7, stride=2), 1, "first layers", (1.0, 3, 1.1, None)),
        (layer(128, 128, 7, 5, groups=128), 1, "depthwise", (2.5, 3, 2, None)),
        (layer(128, 128, 28, 3, groups=32), 1, "grouped, 4 to 32 channels", (1.1, 1.3, 4, None)),
        (layer(128, 128, 28, 3, groups=4), 1, "grouped, 4 to 32 channels", (1.1, 1.3, 1.2, None)),
        (layer(6, 16, 14, 5), 8, "tiny", (5, 3, 3, None)),
        (layer(64, 64, 56, 3, dtype="float64"), 1, classes.CLASSES[9], (1.5, 1.5, 1.3, None)),
        (layer(64, 64, 56, 3, transposed=True), 1, classes.CLASSES[9], (1.5, 1.5, 1.3, None)),
        (rows.Layer("line", 64, 64, (99,), (3,), (1,), (0,), (1,)), 1, classes.CLASSES[9], (1.5, 1.5, 1.3, None)),
        (Pool("pool", "max", 64, 56, 56, 2, 2), 1, "max pooling", (15, 1.2, None, None)),
        (Pool("pool", "global mean", 2048, 7, 7), 1, "mean pooling", (10, 8, None, None)),
        (Pool("pool", "max", 6, 28, 28, 2, 2), 1, "tiny", (5, 3, None, None)),
    ],
)
def test_classes_and_targets(shape: Any, batch: int, name: str, targets: tuple[float | None, ...]) -> None:
    target = classes.target_of(shape, batch)
    assert target.name == name in classes.CLASSES
    assert tuple(target.of(of) for of in ("forward", "input gradient", "weight gradient", "frozen")) == targets


def test_layers_come_back_from_json() -> None:
    for shape in (layer(8, 4, 9, 3, groups=2), Pool("pool", "max", 6, 28, 28, 2, 2)):
        assert classes.shape_of(json.loads(json.dumps(asdict(shape)))) == shape


def record(threads: int, isa: str, *found: tuple[Any, str, dict[str, float]]) -> dict[str, Any]:
    machine = {"cpu": "a machine", "threads": threads, "peak": 1e11, "bandwidth": 1e10}
    made = []
    for shape, direction, seconds in found:
        pool = isinstance(shape, Pool)
        timings = {name: results.Timing(value, value, 3, 1) for name, value in seconds.items()}
        kind = ("pooling", "GB/s", "memory") if pool else ("net", "GFLOP/s", "FMA")
        row = results.Result(
            kind[0], shape.name, direction, asdict(shape), "winograd", kind[1], 1e9, 0.25, kind[2], timings,
            {"fastconv": 1_000_000, "torch": 9_000_000},
        )  # fmt: skip
        made.append(asdict(row))
    return {
        "versions": {"fastconv": "1", "torch": "2"},
        "isa": isa,
        "threads": threads,
        "batch": 1,
        "machine": {"float32": machine, "float64": machine},
        "method": "By the clock.",
        "command": f"python peers.py --threads {threads}",
        "rows": made,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    large, pool = layer(64, 64, 56, 3), Pool("pool", "max", 64, 56, 56, 2, 2)
    forward = {"fastconv": 1.0, "frozen": 0.5, "torch": 2.0, "ort": 1.5}
    rest = (
        (large, "weight gradient", {"fastconv": 1.0, "torch": 4.0}),
        (pool, "forward", {"fastconv": 1.0, "torch": 20.0}),
    )
    runs = {
        "one": record(1, "avx512", (large, "forward", forward), *rest),
        "two": record(2, "avx512", (large, "forward", {**forward, "fastconv": 0.8}), *rest),
        "third": record(1, "avx2", (large, "forward", {"fastconv": 0.7, "torch": 2.1}), *rest),
    }
    for name, run in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    return tmp_path


def test_the_document_by_hand(folder: Path) -> None:
    output = folder / "RESULTS.md"
    results.write(folder, output)
    lines = output.read_text().splitlines()
    for line in (
        "a machine. fastconv 1, torch 2. Made by `python benchmarks/results.py`, which ran:",
        "| `python peers.py --threads 2` | 100 | 100 | 10.0 |",
        "| avx512 b1 t1 | forward | 2.00 | 2.00 at net layer | 0 of 1 | 1.50 | 1.50 at net layer |",
        "| avx2 b1 t1 | weight gradient | 4.00 | 4.00 at net layer | 0 of 1 | 4.00 | 4.00 at net layer |",
        "| class | target | avx512 b1 t1 | avx512 b1 t2 | avx2 b1 t1 |",
        "| 3x3 stride 1, large maps or batch 8 | 2.5 | 2.00 (2.00) 0/1 | 2.50 (2.50) 1/1 | 3.00 (3.00) 1/1 |",
        "| max pooling | 15 | 20.00 (20.00) 1/1 | 20.00 (20.00) 1/1 | 20.00 (20.00) 1/1 |",
        "| avx512 b1 | forward | 1.25 | 1.25 at net layer | 0 of 1 |",
        "- avx512 b1, forward: net layer 1.25",
        "| avx512 b1 t1 | 3 | 1.0 at net layer, forward | 27 | 9.0 at net layer, forward | 0 of 3 |",
        "- net layer: avx512 b1 t1 2.00 of 2.5 (25 % F)",
        "| net layer | 64 to 64, 56x56, 3x3 | w 1000.000, 25 F, 2.00 / 1.50 | 4.00 / 3.00 | 500.000 |  "
        "| w 1000.000, 25 F, 4.00 | 1.0 / 9.0 |",
    ):
        assert line in lines
    assert len([line for line in lines if line.startswith("- net layer")]) == 1
    assert not any("(missed)" in line for line in lines)


def test_what_is_written_by_hand_stays(folder: Path) -> None:
    output = folder / "RESULTS.md"
    results.write(folder, output)
    made = output.read_text()
    output.write_text(made.replace(results.BEGIN, f"{results.BEGIN}\nIt is the cache."))
    assert results.main(["--only-write", "--folder", str(folder), "--output", str(output)]) == 0
    again = output.read_text()
    assert again.count("It is the cache.") == 1
    assert again.replace("\nIt is the cache.", "") == made


def test_no_runs_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no JSON files"):
        results.write(tmp_path, tmp_path / "RESULTS.md")


def test_a_run_and_its_document(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    shapes = str(Path(results.__file__).parent / "shapes" / "lenet5.csv")
    output = tmp_path / "RESULTS.md"
    arguments = ["--shapes", shapes, "--isa", "avx2", "--batch", "1", "--threads", "2", "--rounds", "1"]
    if not all(results.AVAILABLE["avx2"]):
        pytest.skip("this machine has no AVX2")
    assert results.main([*arguments, "--folder", str(tmp_path / "runs"), "--output", str(output)]) == 0
    text = output.read_text()
    assert "### avx2, 1 image, 2 threads" in text
    assert "| lenet5 c3 | 6 to 16, 14x14, 5x5 |" in text
