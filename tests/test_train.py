"""Training: it learns, stops, saves, and goes on to the same bits."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, models, nn, optim, train
from fastconv._extras import MissingExtraError
from fastconv.train import Epoch, History
from fastconv.train import _checkpoint as checkpoint

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((40, 1, 8, 8)).astype(np.float32)
LABELS = (IMAGES.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
SAMPLES = (IMAGES, LABELS)


def small_model(seed: int = 0) -> nn.Sequential:
    """Everything that has a state: weights, running statistics, a generator of its own in two layers."""
    source = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, generator=source),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3, generator=source),
        nn.Flatten(),
        nn.Linear(4 * 36, 8, generator=source),
        nn.Dropout(0.2, generator=seed + 1),
        nn.Linear(8, 2, generator=source),
    )


def options(model: nn.Module, kind: str = "Adam", **more: Any) -> dict[str, Any]:
    optimizer: Any = (
        optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        if kind == "SGD"
        else optim.Adam(model.parameters(), lr=0.01)
    )
    schedule = optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    return {"optimizer": optimizer, "schedule": schedule, "validation": SAMPLES, "progress": False} | more


def loader(augment: Any = (), seed: int = 5, **more: Any) -> data.DataLoader:
    steps = [data.RandomFlip(), data.RandomShift(1), *augment]
    return data.DataLoader(*SAMPLES, 8, shuffle=True, augment=steps, generator=seed, **more)


def assert_same_run(model: nn.Module, history: History, other: nn.Module, other_history: History) -> None:
    """The same bits in weights, running statistics and figures; seconds may differ."""
    states = model.state_dict(), other.state_dict()
    assert list(states[0]) == list(states[1])
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name], err_msg=name)
    assert [replace(epoch, seconds=0) for epoch in history] == [replace(epoch, seconds=0) for epoch in other_history]


# -- learning --


def test_learns_and_is_ready_to_use() -> None:
    model = models.LeNet5(generator=0)
    images = np.repeat(np.repeat(IMAGES + LABELS[:, None, None, None], 4, axis=2), 4, axis=3)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    batches = data.DataLoader(images, LABELS, 8, shuffle=True, generator=0)
    history = train.fit(model, batches, epochs=12, optimizer=optimizer, progress=False)
    assert history[0].accuracy is not None
    assert history[0].accuracy < 0.8
    evaluation = train.evaluate(model, (images, LABELS))
    assert evaluation.accuracy == 1.0
    assert evaluation.loss < history[0].loss
    np.testing.assert_array_equal(evaluation.predictions, model(images).argmax(axis=1))
    assert not any(module.training for module in model.modules())


def test_seeds_give_the_same_run_at_any_thread_count() -> None:
    runs = []
    for threads in (1, 3):
        model = small_model()
        with fc.threads(threads):
            runs += [model, train.fit(model, loader(), epochs=2, **options(model))]
    assert_same_run(*runs)
    model = small_model()
    train.fit(model, loader(seed=6), epochs=2, **options(model))
    assert not np.array_equal(model[0].weight.data, runs[0][0].weight.data)


def test_steps_are_those_of_a_loop_by_hand() -> None:
    model, other = small_model(), small_model()
    history = train.fit(model, loader(), epochs=2, progress=False, optimizer=optim.SGD(model.parameters(), lr=0.1))
    optimizer, loss_fn, batches = optim.SGD(other.parameters(), lr=0.1), nn.CrossEntropyLoss(), loader()
    for epoch in range(2):
        losses = []
        for x, y in batches:
            optimizer.zero_grad()
            scores, backward = other.forward(x)
            loss, grad = loss_fn(scores, y)
            backward(grad)
            optimizer.step()
            losses.append(float(loss))
        assert history[epoch].loss == pytest.approx(np.mean(losses))
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(array, other.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_full_batch_and_stochastic_are_batch_sizes() -> None:
    for batch_size, steps in ((None, 1), (1, 40)):
        model, seen = small_model(), []
        loss_fn = nn.CrossEntropyLoss()

        def loss(scores: Any, targets: Any, seen: list[int] = seen, loss_fn: Any = loss_fn) -> Any:
            seen.append(len(targets))
            return loss_fn(scores, targets)

        train.fit(model, data.DataLoader(*SAMPLES, batch_size), epochs=1, loss=loss, progress=False)
        assert seen == [40 // steps] * steps


def test_regression_has_no_accuracy() -> None:
    def mean_square(output: Any, target: Any) -> Any:
        return np.mean((output - target) ** 2), 2 * (output - target) / output.size

    x = RNG.standard_normal((64, 3)).astype(np.float32)
    model = nn.Linear(3, 1, generator=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    target = x @ np.array([[1], [2], [3]], np.float32)
    history = train.fit(model, (x, target), epochs=20, loss=mean_square, optimizer=optimizer, progress=False)
    assert history[-1].accuracy is None
    np.testing.assert_allclose(model.weight.data, [[1, 2, 3]], atol=0.1)
    evaluation = train.evaluate(model, (x, target), mean_square)
    assert (evaluation.accuracy, evaluation.predictions) == (None, None)
    with pytest.raises(ValueError, match="targets that are classes"):
        _ = evaluation.confusion


def test_what_is_frozen_stays() -> None:
    model = small_model()
    head = optim.Adam(model[5:].parameters(), lr=0.01)
    model[:3].freeze()
    before = model.state_dict()
    train.fit(model, loader(), epochs=1, optimizer=head, progress=False)
    after = model.state_dict()
    assert [layer.frozen for layer in model] == [True] * 3 + [False] * 5
    for name, array in before.items():
        assert np.array_equal(array, after[name]) == name.startswith(("0.", "1.")), name


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    model = small_model()
    train.fit(model, loader(), epochs=1, folder=tmp_path, **options(model))
    kept = (tmp_path / "last.npz").read_bytes()
    model[0].weight.data[...] = np.nan
    with pytest.raises(FloatingPointError, match="epoch 1; a lower learning rate"):
        train.fit(model, loader(), epochs=1, folder=tmp_path, progress=False)
    assert (tmp_path / "last.npz").read_bytes() == kept


# -- resuming --


@pytest.mark.parametrize("kind", ["Adam", "SGD"])
@pytest.mark.parametrize("schedule_each", ["epoch", "step"])
def test_a_resumed_run_gives_the_same_bits(tmp_path: Path, kind: str, schedule_each: str) -> None:
    whole = small_model()
    expected = train.fit(whole, loader(), epochs=4, **options(whole, kind, schedule_each=schedule_each))
    for epochs, seed in ((1, 0), (3, 8), (4, 9)):  # other seeds: everything comes from the file
        model = small_model(seed)
        history = train.fit(
            model,
            loader(seed=5 + seed),
            epochs=epochs,
            folder=tmp_path,
            resume=True,
            **options(model, kind, schedule_each=schedule_each),
        )
        assert len(history) == epochs
    assert_same_run(model, history, whole, expected)
    assert not [path.name for path in tmp_path.iterdir() if path.name not in ("last.npz", "best.npz")]


class Press:
    """Press Ctrl-C when the n-th batch is made; `times` times."""

    def __init__(self, batch: int, times: int = 1) -> None:
        self.batch, self.times, self.calls = batch, times, 0

    def __call__(self, images: Any, _: np.random.Generator) -> Any:
        self.calls += 1
        if self.calls == self.batch:
            for _time in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return images


@pytest.mark.parametrize("batch", [1, 3, 5, 8])  # of 5 in an epoch: the first, one in the middle, the last, a later one
def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_bits(tmp_path: Path, batch: int) -> None:
    whole = small_model()
    expected = train.fit(whole, loader(), epochs=3, **options(whole))
    model = small_model()
    with pytest.raises(KeyboardInterrupt, match="samples; saved in") as caught:
        train.fit(model, loader([Press(batch)]), epochs=3, folder=tmp_path, **options(model))
    done, samples = divmod(batch, 5)
    assert f"after {done if samples else done - 1} epochs and {8 * samples if samples else 40}" in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model = small_model(3)
    history = train.fit(model, loader(seed=9), epochs=3, folder=tmp_path, resume=True, **options(model))
    assert_same_run(model, history, whole, expected)


def test_ctrl_c_during_validation(tmp_path: Path) -> None:
    whole = small_model()
    expected = train.fit(whole, loader(), epochs=2, **options(whole))
    model = small_model()
    held = data.DataLoader(*SAMPLES, 16, augment=Press(2))
    with pytest.raises(KeyboardInterrupt, match="after 0 epochs and 40 samples"):
        train.fit(model, loader(), epochs=2, folder=tmp_path, **options(model, validation=held))
    model = small_model(3)
    history = train.fit(model, loader(seed=9), epochs=2, folder=tmp_path, resume=True, **options(model))
    assert_same_run(model, history, whole, expected)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(KeyboardInterrupt) as caught:
        train.fit(model, loader([Press(7, times=2)]), epochs=3, folder=tmp_path, **options(model))
    assert not str(caught.value)
    history = train.fit(model, loader(), epochs=1, folder=tmp_path, resume=True, **options(model))
    assert len(history) == 1  # what the end of the first epoch wrote


def test_ctrl_c_without_a_folder_says_so() -> None:
    model = small_model()
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        train.fit(model, loader([Press(2)]), epochs=1, progress=False)
    assert not any(module.training for module in model.modules())


def test_other_handlers_and_threads_are_left_alone() -> None:
    seen: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        train.fit(small_model(), loader([Press(2)]), epochs=1, progress=False)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert seen == [signal.SIGINT]
    done: list[History] = []
    thread = threading.Thread(target=lambda: done.append(train.fit(small_model(), loader(), epochs=1, progress=False)))
    thread.start()
    thread.join()
    assert len(done) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "SGD"}, "the same optimizer, Adam, received SGD"),
        ({"batch_size": 10}, "the same batch_size, 8, received 10"),
        ({"samples": 39}, "the same number of samples, 40, received 39"),
        ({"schedule": None}, "the same schedule"),
        ({"model": True}, "names must agree"),
    ],
)
def test_a_run_resumes_with_the_same_parts_only(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    model = small_model()
    train.fit(model, loader(), epochs=1, folder=tmp_path, **options(model))
    model = small_model()
    if "model" in changed:
        model.append(nn.Linear(2, 2))
    given = options(model, changed.get("optimizer", "Adam"))
    if "schedule" in changed:
        given["schedule"] = None
    count = changed.get("samples", 40)
    other = data.DataLoader(IMAGES[:count], LABELS[:count], changed.get("batch_size", 8), shuffle=True)
    with pytest.raises(ValueError, match=message):
        train.fit(model, other, epochs=2, folder=tmp_path, resume=True, **given)


LOST: Any = object()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), []),
        (("part",), LOST),
        (("part", "samples"), LOST),
        (("part", "loss"), "low"),
        (("part", "trained"), True),  # though no sample was counted
        (("optimizer", 1, "state"), 2),
        (("optimizer", 1, "state", 0, "step"), -1),
        (("optimizer", 1, "param_groups", 0, "lr"), LOST),
        (("schedule",), {}),
        (("schedule", "last_epoch"), 1.5),
        (("data",), LOST),
        (("data", 2, "order"), LOST),
        (("data", 2, "position"), 10**6),
        (("generators", "3.generator"), LOST),
        (("generators", "3.generator", "state"), {}),
        (("generators", "3.generator", "has_uint32"), 10**30),
        (("model", "0.weight"), np.zeros(3, np.float32)),
        (("history", 0), {"number": 1}),
        (("history", 0, "loss"), None),
    ],
    ids=str,
)
def test_a_checkpoint_that_is_wrong_inside(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    model = small_model()
    train.fit(model, loader(), epochs=1, folder=tmp_path, **options(model))
    tree: dict[Any, Any] = {"all": checkpoint.read(tmp_path / "last.npz")}
    *parents, name = ("all", *place)
    inner: Any = tree
    for parent in parents:
        inner = inner[parent]
    if value is LOST:
        inner.pop(name)
    else:
        inner[name] = value
    checkpoint.write(tmp_path / "last.npz", tree["all"])
    with pytest.raises(ValueError, match=r"fit|Adam|StepLR|DataLoader|must have shape"):
        train.fit(model, loader(), epochs=2, folder=tmp_path, resume=True, **options(model))


def test_a_checkpoint_is_a_tree_of_plain_things(tmp_path: Path) -> None:
    tree = {"a": [1, 2.5, None, True, "text", (3, float("inf"))], 4: {"array": np.arange(3), "x": np.float64(0.1)}}
    checkpoint.write(tmp_path / "a.npz", tree)
    found = checkpoint.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(found[4].pop("array"), np.arange(3))
    del tree[4]["array"]  # type: ignore[attr-defined]
    assert found == tree
    with pytest.raises(TypeError, match="a checkpoint holds"):
        checkpoint.write(tmp_path / "a.npz", {"a": object()})
    fc.save(small_model(), tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.read(tmp_path / "weights.npz")
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "weights.npz"]


# -- the best epoch --


def scripted(monkeypatch: pytest.MonkeyPatch, figures: list[tuple[float, float]]) -> None:
    """Let validations give these (loss, accuracy), one after the other."""
    found = iter(figures)

    def measure(*_: Any) -> train.Evaluation:
        loss, accuracy = next(found)
        return train.Evaluation(loss, accuracy, None, LABELS, None)

    monkeypatch.setattr(sys.modules["fastconv.train._loop"], "measure", measure)


FIGURES = [(1.0, 0.5), (0.9, 0.8), (0.8, 0.8), (0.3, 0.7), (0.4, 0.7), (0.5, 0.7), (0.2, 0.9)]


@pytest.mark.parametrize(
    ("monitor", "patience", "epochs", "best"),
    [("accuracy", 2, 5, 3), ("accuracy", 3, 6, 3), ("accuracy", None, 7, 7), ("loss", 2, 6, 4), ("loss", 1, 5, 4)],
)
def test_early_stop_and_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, monitor: str, patience: int | None, epochs: int, best: int
) -> None:
    scripted(monkeypatch, FIGURES)
    model = small_model()
    history = train.fit(
        model, loader(), epochs=7, folder=tmp_path, monitor=monitor, patience=patience, **options(model)
    )
    assert (len(history), history.best.number) == (epochs, best)
    other = small_model()
    scripted(monkeypatch, FIGURES)
    train.fit(other, loader(), epochs=best, **options(other))
    for name, array in fc.load(tmp_path / "best.npz").items():
        np.testing.assert_array_equal(array, other.state_dict()[name])
    scripted(monkeypatch, [])
    again = train.fit(
        model, loader(), epochs=len(history) + (patience or 0), folder=tmp_path, resume=True, monitor=monitor,
        patience=patience, **options(model),
    )  # fmt: skip
    assert len(again) == epochs  # a run that was out of patience stays so


@pytest.mark.parametrize("resumed", [False, True])
def test_restore_best(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resumed: bool) -> None:
    scripted(monkeypatch, FIGURES)
    model = small_model()
    given = options(model, folder=tmp_path, restore_best=True)
    if resumed:
        train.fit(model, loader(), epochs=4, **(given | {"restore_best": False}))
        model = small_model(1)
        given = options(model, folder=tmp_path, restore_best=True, resume=True)
    history = train.fit(model, loader(), epochs=5, **given)
    assert history.best.number == 3
    for name, array in fc.load(tmp_path / "best.npz").items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


def test_without_validation_the_training_decides() -> None:
    epochs = [Epoch(n, loss, share, None, None, 0.1, 1.0) for n, loss, share in ((1, 2.0, 0.5), (2, 1.0, 0.5))]
    assert History(epochs).best.number == 2
    with pytest.raises(ValueError, match="before the first"):
        _ = History().best


# -- what a person sees --


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    train.fit(model, loader(), epochs=2, **options(model, progress=True))
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [line[:9] for line in lines] == ["epoch   1", "epoch   2"]
    assert "validation" in lines[0]
    assert lines[0].endswith("best")


@pytest.mark.parametrize("installed", [True, False])
def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    pytest.importorskip("tqdm")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    model = small_model()
    train.fit(model, loader(), epochs=1, **options(model, progress=True))
    assert ("epoch 1/1" in terminal.getvalue()) == installed
    assert "epoch   1  loss" in terminal.getvalue()


def test_learning_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = small_model()
    history = train.fit(model, loader(), epochs=3, curves=tmp_path / "curves.png", **options(model))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, accuracy = history.plot().axes
    lines = {line.get_label(): line.get_ydata() for line in loss.lines}
    np.testing.assert_allclose(lines["training"], [epoch.loss for epoch in history])
    np.testing.assert_allclose(lines["validation"], [epoch.validation_loss for epoch in history])
    assert [line.get_label() for line in accuracy.lines] == ["training", "validation", "best"]


def test_curves_of_losses_below_zero() -> None:
    """As those of likelihoods may be: a logarithm would not show them."""
    pytest.importorskip("matplotlib")
    for losses, scale in (((2.0, 0.5), "log"), ((2.0, 0.0), "linear"), ((2.0, -0.5), "linear")):
        history = train.History([train.Epoch(n, loss, None, 3.0, None, 0.1, 1.0) for n, loss in enumerate(losses, 1)])
        axes = history.plot().axes[0]
        assert axes.get_yscale() == scale
        low, high = axes.get_ylim()
        assert low < min(losses) < max(losses) < high


@pytest.mark.parametrize("name", ["curves.xyz", "elsewhere/curves.png"])
def test_curves_that_could_not_be_saved_are_refused_at_once(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    model = small_model()
    before = model[0].weight.data.copy()
    with pytest.raises(ValueError, match=r"fit: curves must be in a folder that exists and end in one of .*png"):
        train.fit(model, loader(), epochs=1, curves=tmp_path / name, **options(model))
    np.testing.assert_array_equal(model[0].weight.data, before)
    folder = tmp_path / "made" / "by fit"
    train.fit(model, loader(), epochs=1, folder=folder, curves=folder / "curves.png", **options(model))
    assert (folder / "curves.png").exists()


@pytest.mark.parametrize("given", ["folder", "curves"])
def test_folders_that_take_no_files_are_refused_at_once(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    model = small_model()
    before = model[0].weight.data.copy()
    with pytest.raises(PermissionError, match=f"fit: {given} must be where files may be written"):
        train.fit(model, SAMPLES, epochs=1, progress=False, **{given: tmp_path / "a.png"})  # type: ignore[arg-type]
    np.testing.assert_array_equal(model[0].weight.data, before)


def test_curves_without_matplotlib_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"fastconv\[train\]"):
        train.fit(small_model(), loader(), epochs=1, curves="curves.png")


# -- evaluation --


def test_evaluation_leaves_the_model_as_it_was() -> None:
    model = small_model()
    model[3].eval()
    before, modes = model.state_dict(), [module.training for module in model.modules()]
    first, second = (train.evaluate(model, data.DataLoader(*SAMPLES, size)) for size in (7, None))
    assert [module.training for module in model.modules()] == modes
    for name, array in before.items():
        np.testing.assert_array_equal(array, model.state_dict()[name])
    assert first.loss == pytest.approx(second.loss, rel=1e-5)
    assert first.accuracy == second.accuracy
    np.testing.assert_array_equal(first.targets, LABELS)


def test_evaluate_names_itself() -> None:
    with pytest.raises(TypeError, match=r"^evaluate: data must be"):
        train.evaluate(small_model(), IMAGES)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^evaluate: model must be of Module, received type"):
        train.evaluate(nn.Linear, SAMPLES)  # type: ignore[arg-type]


def test_confusion() -> None:
    model = nn.Linear(3, 3, bias=False)
    model.weight.data[...] = np.eye(3)
    x = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1]]  # the third class is never predicted, nor right
    found = train.evaluate(model, (x, [0, 1, 1, 1, 0]))
    np.testing.assert_array_equal(found.confusion, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert np.trace(found.confusion) / 5 == found.accuracy


def test_scores_that_are_no_numbers_are_wrong() -> None:
    """Not right by chance: the place of a NaN would be that of the first class."""
    found = train.evaluate(nn.Identity(), (np.array([[np.nan, 0.0], [1.0, 0.0]]), [0, 0]))
    assert found.accuracy == 0.5
    np.testing.assert_array_equal(found.predictions, [-1, 0])
    with pytest.raises(ValueError, match="input must hold classes from 0 to 1, received input with -1"):
        _ = found.confusion


@pytest.mark.parametrize("ignored", [-100, 2])
def test_what_the_loss_ignores_is_neither_right_nor_wrong(ignored: int) -> None:
    """Pixels without a class, for example."""
    scores = np.eye(3, dtype=np.float32)[[[0, 1], [1, 1]]].transpose(0, 2, 1)  # two samples of two positions
    targets = np.array([[0, ignored], [ignored, 0]])
    loss = nn.CrossEntropyLoss(ignore_index=ignored)
    found = train.evaluate(nn.Identity(), (scores, targets), loss)
    assert found.accuracy == 0.5
    np.testing.assert_array_equal(found.confusion, [[1, 1, 0], [0, 0, 0], [0, 0, 0]])
    model = nn.Conv1d(3, 3, 1, bias=False)
    model.weight.data[...] = np.eye(3)[:, :, None]
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    history = train.fit(model, (scores, targets), epochs=1, loss=loss, optimizer=optimizer, progress=False)
    assert history[0].accuracy == 0.5


def test_losses_that_are_no_single_number_are_refused() -> None:
    each = nn.CrossEntropyLoss(reduction="none")
    for loss in (each, lambda outputs, targets: 1.0):
        with pytest.raises(TypeError, match="fit: loss must return a number and the gradient of the outputs"):
            train.fit(small_model(), SAMPLES, epochs=1, loss=loss, progress=False)
        with pytest.raises(TypeError, match="evaluate: loss must return a number and the gradient of the outputs"):
            train.evaluate(small_model(), SAMPLES, loss)


# -- memory --


@pytest.mark.parametrize(
    ("make", "side", "optimizer"),
    [
        (models.LeNet5, 32, optim.SGD),
        (models.ClassroomNet, 40, optim.Adam),
        (lambda **options: models.small_resnet(14, in_channels=1, **options), 32, optim.Adam),
    ],
    ids=["LeNet5", "ClassroomNet", "small_resnet"],
)
def test_a_step_takes_what_is_stated_at_most(make: Any, side: int, optimizer: Any) -> None:
    model = make(generator=0)
    stated = train.step_memory(model, (1, side, side), 16, optimizer(model.parameters()))
    x, y = np.zeros((32, 1, side, side), np.float32), np.zeros(32, np.int64)
    stepping = optimizer(model.parameters(), lr=1e-3, **({"momentum": 0.9} if optimizer is optim.SGD else {}))
    batches = data.DataLoader(x, y, 16)
    train.fit(model, batches, epochs=1, optimizer=stepping, progress=False)  # plans and running means are made
    held = stated.parameters + stated.optimizer
    model.zero_grad()
    tracemalloc.start()
    train.fit(model, batches, epochs=1, optimizer=stepping, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= stated.total - held
    assert peak >= 0.25 * (stated.total - held)  # and the statement says something


def test_step_memory_refuses() -> None:
    with pytest.raises(TypeError, match="step_memory: optimizer must be of Optimizer, received str"):
        train.step_memory(small_model(), (1, 4, 4), 8, "adam")  # type: ignore[arg-type]


def test_memory_limit() -> None:
    with pytest.raises(MemoryError, match="a smaller batch_size than 8"):
        train.fit(small_model(), loader(), epochs=1, memory_limit=10_000)
    train.fit(small_model(), loader(), epochs=1, memory_limit=10_000_000, progress=False)


# -- refusals --

SCHEDULE = optim.lr_scheduler.StepLR(optim.SGD(nn.Linear(1, 1).parameters()), 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs must be non-negative"),
        ({"epochs": 1.5}, TypeError, "epochs"),
        ({"patience": 0}, ValueError, "patience must be positive"),
        ({"memory_limit": "1 GB"}, TypeError, "memory_limit must be made of integers"),
        ({"progress": "no"}, TypeError, "progress must be True or False"),
        ({"monitor": "luck"}, ValueError, "monitor must be one of"),
        ({"schedule_each": "day"}, ValueError, "schedule_each must be one of"),
        ({"resume": True}, ValueError, "needs the folder"),
        ({"data": IMAGES}, TypeError, "data must be a DataLoader"),
        ({"optimizer": optim.Adam}, TypeError, "optimizer must be of Optimizer"),
        ({"model": nn.Linear}, TypeError, "model must be of Module"),
        ({"schedule": 3}, TypeError, "schedule must be of LRScheduler"),
        ({"schedule": SCHEDULE}, ValueError, "the schedule must be that of the optimizer"),
        ({"validation": (IMAGES, LABELS[:3])}, ValueError, "equally many"),
        ({"optimizer": optim.SGD(nn.Linear(1, 1).parameters())}, ValueError, "must hold parameters of the model"),
        ({"loss": "cross entropy"}, TypeError, "loss must be callable"),
        ({"loss": nn.CrossEntropyLoss}, TypeError, "loss must be callable .*; write it with parentheses"),
        ({"folder": 3}, TypeError, "folder must be a path .* received folder=3"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train.fit(**({"model": small_model(), "data": SAMPLES, "epochs": 1, "progress": False} | arguments))
