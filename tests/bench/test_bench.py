"""The main job's clock, rows, reports and command."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from small import DIGIT, FAST, LARGE, MACHINE, PHOTO

import fastconv as fc
from fastconv import data
from fastconv.__main__ import main
from fastconv.bench import cases, command, compare, report, timing, train
from fastconv.train import evaluate

# -- the clock --


def test_rounds_are_interleaved_and_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    pauses: list[float] = []
    monkeypatch.setattr(timing, "_rest", pauses.append)
    tasks = [
        timing.Task(name, library, lambda name=name: calls.append(name))  # type: ignore[misc]
        for name, library in (("a", "one"), ("b", "one"), ("c", "two"))
    ]
    timings = timing.interleave(tasks, timing.Effort(rounds=4, sample_seconds=0.0, pause=0.5))
    warm_up = len(tasks) * 2
    assert calls[warm_up:] == [*"abc", *"cba", *"abc", *"cba"]
    assert pauses == [0.5] * 5
    assert all(t.rounds == 4 and t.repeats == 1 and 0 <= t.best <= t.median for t in timings)


def test_a_pause_ends_when_threads_rest() -> None:
    ended, start = threading.Event(), time.perf_counter()

    def spin() -> None:
        while not ended.is_set():
            pass

    threading.Thread(target=spin).start()
    timing._rest(0.1)
    ended.set()
    assert time.perf_counter() - start >= 0.1
    start = time.perf_counter()
    timing._rest(60.0)
    assert time.perf_counter() - start < 30


def test_a_time_limit_leaves_three_rounds() -> None:
    (taken,) = timing.interleave([timing.Task("a", "one", lambda: None)], timing.Effort(rounds=9, limit_seconds=0.0))
    assert taken.rounds == timing.LEAST_ROUNDS
    assert taken.repeats > 1


# -- a row and its reports --


@pytest.fixture(scope="module")
def rows() -> list[compare.Row]:
    return [compare.compare_case(case, FAST, MACHINE) for case in (DIGIT, LARGE)]


OUTCOME = train.Outcome("LeNet-5", 61_706, 416_520, (0.98, 1.0), (1.5, 2.5))


def test_a_row_holds_what_was_measured(rows: list[compare.Row]) -> None:
    for row in rows:
        convolution, _, same_work, local, tiled = row.lines
        assert [line.kind for line in row.lines] == [
            compare.CONVOLUTION,
            compare.SAME_SIZES,
            compare.SAME_MULTIPLY_ADDS,
            compare.LOCAL,
            compare.TILED,
        ]
        assert set(convolution.forward.timings) == {"fastconv"}
        assert {line.outputs for line in (local, tiled)} == {convolution.outputs}
        assert tiled.work.parameters == 4 * convolution.work.parameters
        for line in (convolution, same_work, tiled):
            assert line.measured
            for speed, work in ((line.forward, 1), (line.backward, 2)):
                flops = 2 * work * line.work.multiply_adds
                assert speed.seconds == min(timing.best for timing in speed.timings.values())
                assert speed.gflops == pytest.approx(flops / speed.seconds / 1e9)
                assert speed.percent_of_peak == pytest.approx(100 * flops / speed.seconds / MACHINE.peak)
        traffic = convolution.work.forward_bytes
        percent = 100 * traffic / convolution.forward.seconds / MACHINE.bandwidth
        assert convolution.forward.percent_of_bandwidth == pytest.approx(percent)
        assert set(same_work.forward.timings) == {"fastconv", "NumPy"}


def test_dense_layers_over_the_budget_are_computed_and_marked(rows: list[compare.Row]) -> None:
    small, large = (row.lines[1] for row in rows)
    assert small.work.parameters == 1024 * 4704 + 4704
    assert not small.measured, "19 MB do not fit 10 MB"
    assert large.forward.seconds == pytest.approx(large.work.forward_bytes / MACHINE.bandwidth)
    assert large.forward.timings == {}
    assert large.forward.gflops is None
    text = "\n".join(report.plain_lines(report.layer_table(rows)))
    assert len(re.findall(r"> \S+ \S+ +computed", text)) == 4


def as_text(rows: list[compare.Row], stream: io.StringIO) -> str:
    stream.write(report.header(MACHINE, FAST, quick=True))
    report.print_table(report.layer_table(rows), stream)
    report.print_table(report.matmul_table(rows), stream)
    report.print_table(report.training_table([OUTCOME], [0, 1], train.Recipe()), stream)
    return stream.getvalue()


def test_plain_output_is_plain(rows: list[compare.Row]) -> None:
    text = as_text(rows, io.StringIO())
    assert text.isascii()
    assert text.isprintable() or set(text) - {c for c in text if c.isprintable()} == {"\n"}
    for expected in ("LeNet-5 C1", "dense, same sizes", "% FMA", "NumPy", "99.00 %", "batch 1", "seeds 0, 1"):
        assert expected in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_same_figures_drawn(rows: list[compare.Row], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = as_text(rows, Terminal())
    assert "\x1b[" in text
    assert "61,706" in text


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_ci_and_no_color_get_plain_text(
    rows: list[compare.Row], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert "\x1b" not in as_text(rows, Terminal())


def test_json_holds_everything(rows: list[compare.Row], tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    results = report.as_json(MACHINE, FAST, rows, [OUTCOME], [0, 1], train.Recipe(), quick=True)
    report.write_json(file, results)
    read = json.loads(file.read_text())
    assert set(read) == {
        *("schema", "version", "numpy", "quick", "machine", "settings", "method", "layers", "training"),
    }
    assert read["schema"] == report.JSON_SCHEMA
    assert read["machine"]["peak"] == 1e11
    assert len(read["layers"]) == 2
    for row in read["layers"]:
        assert set(row) == {"case", "lines"}
        assert row["case"]["layer"]["kh"] in (3, 5)
        for line in row["lines"]:
            assert set(line) == {"kind", "measured", "inputs", "outputs", "work", "forward", "backward"}
            assert set(line["work"]) == {"parameters", "multiply_adds", "forward_bytes", "backward_bytes"}
            for direction in ("forward", "backward"):
                assert line[direction]["seconds"] > 0
                assert (line[direction]["gflops"] is None) == (not line["measured"])
    (network,) = read["training"]["networks"]
    assert network["accuracy"] == pytest.approx(0.99)
    assert read["training"]["seeds"] == [0, 1]


def test_plot_is_written(rows: list[compare.Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from fastconv.bench.plot import write_plot

    file = tmp_path / "picture.png"
    write_plot(file, rows)
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("seconds", [1e-9, 9.994e-6, 9.996e-6, 0.9996e-3, 0.5, 0.9996, 1.0, 3600.0])
def test_durations_keep_three_digits(seconds: float) -> None:
    number, unit = report.duration(seconds).split()
    assert float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit] == pytest.approx(seconds, rel=5e-3, abs=5e-9)


# -- training --


def test_training_learns_and_repeats() -> None:
    images, labels = data.digits()
    training, _, test = data.split(len(labels))
    recipe = train.Recipe(epochs=2)
    network = train.networks()[0]
    weights = []
    for _ in range(2):
        rng = np.random.default_rng(3)
        model = network.build(rng)
        before = evaluate(model, (images[test], labels[test])).accuracy
        train.fit(model, images[training], labels[training], recipe, rng)
        weights.append(model.state_dict())
    assert before < 0.4
    assert evaluate(model, (images[test], labels[test])).accuracy > 0.7
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])


def test_lenet_passes_98_percent() -> None:
    ticks: list[None] = []
    with fc.threads(1):  # the same bits as at any number, without waiting for a busy core
        outcome = train.train_network(train.networks()[0], train.Recipe(), tuple(range(5)), lambda: ticks.append(None))
    assert len(ticks) == len(outcome.accuracies) == len(outcome.seconds) == 5
    assert outcome.parameters == 61_706
    assert outcome.accuracy > command.REQUIRED_ACCURACY


# -- the command --


@pytest.fixture
def small_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "all_cases", lambda: [DIGIT, PHOTO])
    monkeypatch.setattr(command, "Recipe", lambda: train.Recipe(epochs=1))
    monkeypatch.setattr(command, "REQUIRED_ACCURACY", 0.1)


@pytest.mark.usefixtures("small_run")
def test_the_command_prints_tables_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    assert main(["bench", "--quick", "--threads", "1", "--batch", "2", "--seed", "7", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    assert "\r" not in out
    assert err == ""
    for expected in (
        "quick run",
        "1 threads",
        "batch 2",
        "3x3 on 24x24",
        "dense 1024-60-10, equal parameters",
        "seeds 7",
    ):
        assert expected in out
    results = json.loads(file.read_text())
    assert results["machine"]["threads"] == 1
    assert results["machine"]["peak"] > 1e8
    assert results["training"]["seeds"] == [7]


@pytest.mark.usefixtures("small_run")
def test_a_wrong_kernel_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = fc.conv2d
    monkeypatch.setattr(fc, "conv2d", lambda *args, **options: -right(*args, **options))
    assert main(["bench", "--quick", "--threads", "1"]) == 1
    out, err = capsys.readouterr()
    assert "WRONG RESULT" in err
    assert "LeNet-5 C1" in err
    assert "GFLOP/s  % FMA" not in out, "a table was printed"


@pytest.mark.usefixtures("small_run")
def test_too_little_accuracy_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "REQUIRED_ACCURACY", 1.0)
    assert main(["bench", "--quick", "--threads", "1"]) == 1
    assert "LeNet-5 must pass 100%" in capsys.readouterr().err


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "--plot", "picture.png"]) == 2
    assert 'pip install "fastconv[bench]"' in capsys.readouterr().err
    cases.photographs.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["bench"]) == 2
    assert "sklearn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threads", "0"],
        ["--batch", "-1"],
        ["--seed", "-1"],
        ["--memory", "x"],
        ["--json", "no/such/folder/a.json"],
        ["--plot", "no/such/folder/a.png"],
        ["--plot", "a.docx"],
    ],
)
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {arguments[0]}: must " in said
    assert said.endswith(f"received {arguments[1]}\n")


def test_importing_the_command_needs_numpy_alone() -> None:
    program = (
        "import sys\n"
        "for name in ('sklearn', 'matplotlib', 'rich', 'tqdm', 'threadpoolctl', 'scipy', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "import fastconv.__main__\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_info_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert fc.__version__ in capsys.readouterr().out
