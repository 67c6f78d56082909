"""The main job's figures, checks and reports."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import _extras as extras
from fastconv import data, reference
from fastconv.__main__ import main
from fastconv.bench import cases, command, compare, report, timing, train
from fastconv.bench.check import WINOGRAD_ERROR, WrongResultError, check_same, error_bound
from fastconv.bench.layers import Conv, Dense, Pool
from fastconv.bench.roofline import Machine
from fastconv.train import evaluate

MACHINE = Machine("a machine", threads=1, peak=1e11, bandwidth=2e10)
FAST = compare.Settings(memory_budget=10_000_000, effort=timing.Effort(rounds=2, sample_seconds=0.0))
ROOMY = replace(FAST, memory_budget=40_000_000)
DIGIT = cases.Case(cases.LENET5[0], "digits", "LeNet-5")
PHOTO = cases.Case(cases.growing_layer(24, 24), "photograph", "growing image")
LARGE = cases.Case(cases.growing_layer(64, 64), "photograph", "growing image")


# -- figures that can be worked out by hand --


@pytest.mark.parametrize(
    ("layer", "parameters", "multiply_adds"),
    [
        (Conv("ten 5x5 filters on 32x32x3", c=3, h=32, w=32, k=10, kh=5, kw=5, ph=2, pw=2), 760, 10 * 1024 * 75),
        (cases.LENET5[0], 156, 6 * 28 * 28 * 25),
        (cases.LENET5[1], 2_416, 16 * 10 * 10 * 150),
        (cases.LENET5[2], 48_120, 48_000),
        (Dense(120, 84), 10_164, 10_080),
        (Conv("depthwise", c=32, h=112, w=112, k=32, kh=3, kw=3, ph=1, pw=1, groups=32), 320, 32 * 112 * 112 * 9),
        (cases.FIRST_LAYERS[0], 34_944, 105_415_200),
        (cases.FIRST_LAYERS[1], 1_792, 86_704_128),
        (cases.FIRST_LAYERS[2], 9_472, 118_013_952),
    ],
)
def test_counts_by_hand(layer: Conv | Dense, parameters: int, multiply_adds: int) -> None:
    assert layer.parameters == parameters
    assert layer.work().multiply_adds == multiply_adds
    assert layer.work(batch=3).multiply_adds == 3 * multiply_adds


def test_weights_of_the_textbook_examples() -> None:
    assert Dense(9, 16).weights == 144
    assert Dense(9, 90).weights + Dense(90, 50).weights == 5310
    assert Dense(32 * 32, 500).weights == 512_000
    same = Conv("same", c=3, h=32, w=32, k=12, kh=3, kw=3, ph=1, pw=1)
    assert same.output_shape(1) == (1, 12, 32, 32)
    three_small = 3 * Conv("3x3", c=64, h=9, w=9, k=64, kh=3, kw=3).weights
    assert (three_small, Conv("7x7", c=64, h=9, w=9, k=64, kh=7, kw=7).weights) == (27 * 64**2, 49 * 64**2)


def test_only_the_dense_layer_grows_with_the_image() -> None:
    layers = [cases.growing_layer(*size) for size in cases.GROWING_SIZES]
    assert {layer.parameters for layer in layers} == {8 * (3 * 9 + 1)}
    for (height, width), layer in zip(cases.GROWING_SIZES, layers, strict=True):
        assert layer.dense_of_same_sizes().weights == 24 * (height * width) ** 2


def test_bytes_by_hand() -> None:
    work = cases.LENET5[0].work(batch=2)
    image, filters, maps = 2 * 32 * 32, 6 * 25, 2 * 6 * 28 * 28
    assert work.forward_bytes == 4 * (image + filters + 6 + maps)
    assert work.backward_bytes == 4 * (maps + image + filters + image + filters + 6)


@pytest.mark.parametrize("layer", cases.POOLS, ids=lambda layer: layer.name)
def test_pool_shapes_agree_with_the_reference(layer: Pool) -> None:
    x = np.zeros((2, 1, layer.h, layer.w))
    if layer.kind == "global mean":
        y = reference.adaptive_avg_pool2d(x, 1)
    else:
        y = (reference.max_pool2d if layer.kind == "max" else reference.avg_pool2d)(x, **layer.options)
    assert (2, layer.c, *y.shape[2:]) == layer.output_shape(2)


@pytest.mark.parametrize("case", cases.all_cases(), ids=lambda case: case.layer.name)
def test_dense_layers_of_equal_size_and_work(case: cases.Case) -> None:
    layer = case.layer
    same = layer.dense_of_same_sizes()
    assert (same.inputs, same.outputs) == (np.prod(layer.input_shape(1)), np.prod(layer.output_shape(1)))
    equal = layer.dense_of_same_multiply_adds()
    assert equal.inputs == same.inputs
    assert abs(equal.work().multiply_adds - layer.work().multiply_adds) <= equal.inputs / 2


@pytest.mark.parametrize(("per_unit", "fixed"), [(1034, 0), (1035, 10), (7, 3), (1, 0)])
def test_hidden_size_is_the_nearest(per_unit: int, fixed: int) -> None:
    for target in (fixed + 1, 1000, 61_706, 416_520):
        found = train.hidden_size(target, per_unit, fixed)
        distance = {units: abs(units * per_unit + fixed - target) for units in range(max(1, found - 2), found + 3)}
        assert distance[found] == min(distance.values())


def test_networks_cost_the_same() -> None:
    lenet, equal_work, equal_size = train.networks()
    rng = np.random.default_rng(0)
    parameters = [sum(p.size for p in network.build(rng).parameters()) for network in (lenet, equal_work, equal_size)]
    assert (lenet.multiply_adds, parameters[0]) == (416_520, 61_706)
    assert equal_work.multiply_adds == 1034 * 403
    assert abs(equal_work.multiply_adds / lenet.multiply_adds - 1) < 0.001
    assert parameters[2] == 1035 * 60 + 10
    assert abs(parameters[2] / parameters[0] - 1) < 0.01


# -- real images --


def test_photographs_are_standardised_and_protected() -> None:
    photographs = cases.photographs()
    assert (photographs.shape, photographs.dtype) == ((2, 3, 427, 640), np.float32)
    np.testing.assert_allclose(photographs.mean(axis=(2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(photographs.std(axis=(2, 3)), 1, atol=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        photographs[0, 0, 0, 0] = 1


def test_windows_are_parts_of_the_photographs() -> None:
    photographs = cases.photographs()
    np.testing.assert_array_equal(cases.photograph_windows(2, 3, 427, 640), photographs)
    np.testing.assert_array_equal(cases.photograph_windows(1, 3, 27, 40)[0], photographs[0, :, 200:227, 300:340])
    gray = cases.photograph_windows(1, 1, 427, 640)[0, 0]
    np.testing.assert_allclose(gray, photographs[0].mean(axis=0), atol=1e-6)
    windows = cases.photograph_windows(1, 12, 14, 14)[0]
    assert len({window.tobytes() for window in windows}) == 12


def test_digits_are_enlarged_faithfully() -> None:
    images, labels = data.digits()
    assert (images.shape, images.dtype, labels.shape) == ((1797, 1, 32, 32), np.float32, (1797,))
    assert images.min() >= data.PAPER - 1e-6
    assert images.max() <= data.INK + 1e-6
    small = images.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))  # blurred, but the same digit
    original = np.asarray(extras.require("sklearn.datasets", "digits").load_digits().images).reshape(len(images), -1)
    alike = [np.corrcoef(one.ravel(), other)[0, 1] for one, other in zip(small[:50], original[:50], strict=True)]
    assert min(alike) > 0.9


def test_every_third_image_is_for_testing_only() -> None:
    _, labels = data.digits()
    training, _, test = data.split(len(labels))
    assert (len(training), len(test)) == (1198, 599)
    assert not set(training) & set(test)
    assert set(test) == set(range(0, 1797, 3))
    assert set(labels[test]) == set(range(10))


@pytest.mark.parametrize("case", [DIGIT, replace(DIGIT, layer=cases.LENET5[2]), PHOTO], ids=["C1", "C5", "photo"])
def test_inputs_have_the_layers_shape(case: cases.Case) -> None:
    x = cases.make_input(case, 3)
    assert (x.shape, x.dtype) == (case.layer.input_shape(3), np.float32)
    assert len({image.tobytes() for image in x}) == 3
    assert np.isfinite(x).all()


# -- the check before the clock --

GROUPED = Conv("grouped", c=6, h=11, w=9, k=8, kh=3, kw=2, sh=2, sw=1, ph=1, pw=2, dh=2, dw=1, groups=2)
Spoil = Callable[[Any], Any]


def convolve(layer: Conv) -> None:
    compare.convolution(layer, cases.photograph_windows(*layer.input_shape(2)), np.random.default_rng(1))


@pytest.mark.parametrize("layer", [GROUPED, cases.LENET5[1], PHOTO.layer], ids=lambda layer: layer.name)
def test_right_kernels_pass(layer: Conv) -> None:
    convolve(layer)


def one_value(y: Any) -> Any:
    y[-1, -1, -1, -1] += 1e-2 * np.abs(y).max()
    return y


def one_row(y: Any) -> Any:
    y[:, :, -1] = y[:, :, -2].copy()
    return y


def swapped_channels(y: Any) -> Any:
    y[:, [0, 1]] = y[:, [1, 0]]
    return y


def not_a_number(y: Any) -> Any:
    y[0, 0, 0, 0] = np.nan
    return y


def zeros(y: Any) -> Any:
    return np.zeros_like(y)


def too_small(y: Any) -> Any:
    return y[..., :-1]


def one_percent_off(y: Any) -> Any:
    return y * np.float32(1 + 1e-2)


SPOILS = pytest.mark.parametrize(
    "spoil", [one_value, one_row, swapped_channels, not_a_number, zeros, too_small, one_percent_off]
)


@SPOILS
@pytest.mark.parametrize("layer", [GROUPED, PHOTO.layer], ids=lambda layer: layer.name)
def test_a_wrong_forward_kernel_is_found(monkeypatch: pytest.MonkeyPatch, spoil: Spoil, layer: Conv) -> None:
    right = fc.conv2d
    monkeypatch.setattr(fc, "conv2d", lambda *args, **options: spoil(right(*args, **options)))
    with pytest.raises(WrongResultError, match="output"):
        convolve(layer)


@SPOILS
@pytest.mark.parametrize("which", [0, 1], ids=["input", "weight"])
@pytest.mark.parametrize("layer", [GROUPED, PHOTO.layer], ids=lambda layer: layer.name)
def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch, spoil: Spoil, which: int, layer: Conv) -> None:
    right = fc.conv2d_backward

    def wrong(*args: Any, **options: Any) -> Any:
        gradients = list(right(*args, **options))
        gradients[which] = spoil(gradients[which])
        return tuple(gradients)

    monkeypatch.setattr(fc, "conv2d_backward", wrong)
    with pytest.raises(WrongResultError, match=f"gradient of {('input', 'weight')[which]}"):
        convolve(layer)


def with_winograd(monkeypatch: pytest.MonkeyPatch, *, told: bool) -> None:
    """Let convolutions use Winograd; `told`: and fc.explain say so."""
    for name in ("conv2d", "conv2d_backward", *(["explain"] if told else [])):
        monkeypatch.setattr(fc, name, partial(getattr(fc, name), algorithm="winograd"))


def convolve_half_an_image() -> None:
    """Beside the edge Winograd's tiles leave rounding errors where every product is zero."""
    layer = Conv("3x3 of 16 channels", c=16, h=30, w=30, k=20, kh=3, kw=3, ph=1, pw=1)
    x = cases.photograph_windows(*layer.input_shape(2))
    x[..., 14:] = 0
    compare.convolution(layer, x, np.random.default_rng(1))


def test_winograd_is_held_to_its_own_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with_winograd(monkeypatch, told=True)
    convolve_half_an_image()
    right = fc.conv2d

    def wrong(*args: Any, **options: Any) -> Any:
        y = right(*args, **options)
        y[-1] += 3 * WINOGRAD_ERROR * np.sqrt(np.mean(y**2))
        return y

    monkeypatch.setattr(fc, "conv2d", wrong)
    with pytest.raises(WrongResultError, match="output"):
        convolve_half_an_image()


def test_others_are_not_held_to_winograds_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with fc.precision("highest"):
        convolve_half_an_image()
        with_winograd(monkeypatch, told=False)
        with pytest.raises(WrongResultError, match="output"):
            convolve_half_an_image()


def test_a_wrong_bias_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fc.conv2d_backward

    def wrong(*args: Any, **options: Any) -> Any:
        grad_x, grad_weight, grad_bias = right(*args, **options)
        return grad_x, grad_weight, np.roll(grad_bias, 1)

    monkeypatch.setattr(fc, "conv2d_backward", wrong)
    with pytest.raises(WrongResultError, match="gradient of bias"):
        convolve(GROUPED)


def test_a_wrong_fully_connected_layer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right, right_backward = fc.linear, fc.linear_backward
    monkeypatch.setattr(fc, "linear", lambda x, w, b: right(x, w, np.zeros_like(b)))
    with pytest.raises(WrongResultError, match="same sizes"):
        compare.compare_case(DIGIT, ROOMY, MACHINE)
    monkeypatch.setattr(fc, "linear", right)
    for which in range(3):

        def wrong(*args: Any, spoiled: int = which) -> Any:
            gradients = list(right_backward(*args))
            gradients[spoiled] = np.roll(gradients[spoiled], 1, axis=-1)
            return tuple(gradients)

        monkeypatch.setattr(fc, "linear_backward", wrong)
        with pytest.raises(WrongResultError, match=f"gradient of {('input', 'weight', 'bias')[which]}"):
            compare.compare_case(PHOTO, ROOMY, MACHINE)


def test_elements_outside_the_sample_are_compared_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fc.linear

    def wrong(*args: Any) -> Any:
        y = right(*args)
        y[:, 1] += 1.0  # of 4,704 outputs, the sample of the reference holds 64
        return y

    monkeypatch.setattr(fc, "linear", wrong)
    with pytest.raises(WrongResultError, match="fastconv and NumPy"):
        compare.compare_case(DIGIT, ROOMY, MACHINE)


def test_check_same_refuses_nan_and_other_shapes() -> None:
    ones = np.ones((3, 4), np.float32)
    check_same("ones", ones, ones, 0.0)
    with pytest.raises(WrongResultError, match="shapes"):
        check_same("ones", ones, ones.T, 1.0)
    with pytest.raises(WrongResultError, match="differs by nan"):
        check_same("ones", ones * np.float32(np.nan), ones, 1.0)


def test_error_bound_never_exceeds_that_of_a_plain_sum() -> None:
    terms = np.arange(1, 10_000)
    bounds = np.array([error_bound(int(k)) for k in terms])
    assert (bounds <= terms * 2.0**-24).all()
    assert (np.diff(bounds) > 0).all()


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
    monkeypatch.setattr(fc, "conv2d", lambda *args, **options: one_row(right(*args, **options)))
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


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--batch", "-1"], ["--seed", "-1"], ["--memory", "x"]])
def test_bad_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2


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
