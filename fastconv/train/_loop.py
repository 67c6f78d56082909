"""The loop: batches, epochs, validation, checkpoints."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv import nn, optim
from fastconv._extras import require
from fastconv._files import load, save
from fastconv.data import DataLoader
from fastconv.nn.module import both
from fastconv.train import _checkpoint as checkpoint
from fastconv.train._evaluation import (
    Loss,
    Samples,
    checked_loss,
    ignored_by,
    loader_of,
    loss_of,
    measure,
    predicted_by,
    set_mode,
)
from fastconv.train._history import Epoch, History
from fastconv.train._interrupt import Interrupt
from fastconv.train._memory import step_memory
from fastconv.train._progress import Progress

__all__ = ["fit"]

Array: TypeAlias = NDArray[Any]

LAST, BEST = "last.npz", "best.npz"


def fit(
    model: nn.Module,
    data: Samples,
    *,
    epochs: int,
    optimizer: optim.Optimizer | None = None,
    loss: Loss | None = None,
    validation: Samples | None = None,
    schedule: optim.lr_scheduler.LRScheduler | None = None,
    schedule_each: str = "epoch",
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    monitor: str = "accuracy",
    patience: int | None = None,
    restore_best: bool = False,
    curves: str | os.PathLike[str] | None = None,
    memory_limit: int | None = None,
    progress: bool = True,
) -> History:
    """Train a model in place.

    Each step takes a batch through the model, the loss and back, and lets the optimizer step. `step_memory` tells how
    much memory that takes at most. Layers that are frozen stay as they are.

    The first Ctrl-C waits for the step under way, writes the checkpoint and raises KeyboardInterrupt; a second one
    raises at once. Run the same program with ``resume=True`` to go on: weights, optimizer, schedule, order of samples,
    augmentation and dropout continue as if nothing had happened, to the last bit.

    Parameters
    ----------
    model : Module
        Left in evaluation mode, ready to use.
    data : DataLoader, or (inputs, targets)
        A pair becomes a loader of shuffled batches of 32.
    epochs : int
        How often to go through the data, those of a resumed run included.
    optimizer : Optimizer, optional
        By default ``optim.Adam(model.parameters())``.
    loss : callable, optional
        ``loss(outputs, targets)`` gives the mean loss and the gradient of the outputs; ``nn.CrossEntropyLoss()`` by
        default.
    validation : DataLoader, or (inputs, targets), optional
        What to measure after each epoch.
    schedule : LRScheduler, optional
        Changes the learning rate.
    schedule_each : {"epoch", "step"}
        How often it steps.
    folder : path, optional
        Where to write ``last.npz`` (all that resuming needs) and ``best.npz`` (weights, for `fastconv.load`), after
        each epoch and on Ctrl-C. Files appear whole or not at all. Earlier ones are replaced.
    resume : bool, default False
        Go on from ``last.npz``, if it is there.
    monitor : {"accuracy", "loss"}
        What makes an epoch the best: of the validation where there is one, else of the training.
    patience : int, optional
        Stop when so many epochs in a row brought nothing better.
    restore_best : bool, default False
        Leave the model with the weights of the best epoch instead of the last.
    curves : path, optional
        Where to save the learning curves as a picture (needs the extra "train").
    memory_limit : int, optional
        Bytes that `step_memory` may reach.
    progress : bool, default True
        Show a bar (with tqdm, on a terminal) and a line for each epoch, on stderr.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        When an argument does not fit, or a checkpoint is not of this model, optimizer and data.
    MemoryError
        When a step may take more than `memory_limit`.
    FloatingPointError
        When the loss is no longer finite; checkpoints stay those of the epoch before.
    KeyboardInterrupt
        After Ctrl-C; checkpoints are written.
    PermissionError
        When the folder, or that of the curves, does not take files.
    MissingExtraError
        When `curves` is given and matplotlib is not installed.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> x = generator.standard_normal((64, 2)).astype(np.float32)
    >>> model = nn.Sequential(nn.Linear(2, 8, generator=0), nn.ReLU(), nn.Linear(8, 2, generator=1))
    >>> optimizer = optim.Adam(model.parameters(), lr=0.05)
    >>> history = fit(model, (x, (x[:, 0] > x[:, 1]).astype(int)), epochs=20, optimizer=optimizer, progress=False)
    >>> len(history), history[-1].loss < history[0].loss
    (20, True)
    """
    given = (("model", model, nn.Module), ("optimizer", optimizer, optim.Optimizer))
    for name, value, kind in (*given, ("schedule", schedule, optim.lr_scheduler.LRScheduler)):
        if not isinstance(value, kind) and (value is not None or name == "model"):
            raise TypeError(f"fit: {name} must be of {kind.__name__}, received {type(value).__name__}")
    if optimizer is not None and not {id(one) for one in optimizer.params} & {id(one) for one in model.parameters()}:
        raise ValueError("fit: the optimizer must hold parameters of the model, received one of others")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError(f"fit: the schedule must be that of the optimizer, received one of {schedule.optimizer!r}")
    check.integer("fit", "epochs", epochs, 0)
    check.choice("fit", "schedule_each", schedule_each, ("epoch", "step"))
    check.choice("fit", "monitor", monitor, ("accuracy", "loss"))
    for name, limit in (("patience", patience), ("memory_limit", memory_limit)):
        if limit is not None:
            check.integer("fit", name, limit, 1)
    for name, switch in (("resume", resume), ("restore_best", restore_best), ("progress", progress)):
        check.flag("fit", name, switch)
    if resume and folder is None:
        raise ValueError("fit: resume=True needs the folder to go on from, received folder=None")
    picture = None if curves is None else check.path("fit", "curves", curves)
    if picture is not None:
        require("matplotlib", "learning curves", "train")
    run = _Run(
        model,
        loader_of(data, shuffle=True),
        None if validation is None else loader_of(validation, shuffle=False),
        optim.Adam(model.parameters()) if optimizer is None else optimizer,
        checked_loss("fit", loss),
        schedule,
        schedule_each == "step",
        None if folder is None else check.path("fit", "folder", folder),
        restore_best,
        Progress(progress, epochs),
        History(monitor=monitor),
    )
    if memory_limit is not None:
        needed = step_memory(model, run.data.inputs.shape[1:], run.data.batch_size, run.optimizer).total
        if needed > memory_limit:
            raise MemoryError(
                f"fit: a step takes up to {needed:,} bytes, received memory_limit={memory_limit:,}; "
                f"a smaller batch_size than {run.data.batch_size} takes less"
            )
    if run.folder is not None:
        run.folder.mkdir(parents=True, exist_ok=True)
        _check_writable("folder", run.folder)
    if picture is not None:
        _check_picture(picture)  # which may be in that folder
    if run.folder is not None and resume and (run.folder / LAST).exists():
        run.restore(run.folder / LAST)
    try:
        with Interrupt() as run.interrupt:
            while len(run.history) < epochs and not run.out_of_patience(patience):
                run.epoch()
    finally:
        run.progress.close()
        set_mode(model, training=False)
        if picture is not None and len(run.history):
            run.history.plot(picture)
    run.take_best()
    return run.history


@dataclass
class _Part:
    """What an epoch under way has brought so far."""

    loss: float = 0.0  # summed over samples
    correct: int | None = 0
    answers: int = 0  # as many as targets that the loss counts
    samples: int = 0
    seconds: float = 0.0
    trained: bool = False  # whether all its steps are done, and only validation is not


@dataclass
class _Run:
    """A training: all that its parts share. `state` and `restore` are the whole of it."""

    model: nn.Module
    data: DataLoader
    validation: DataLoader | None
    optimizer: optim.Optimizer
    loss: Loss
    schedule: optim.lr_scheduler.LRScheduler | None
    schedule_steps: bool
    folder: Path | None
    keep_best: bool
    progress: Progress
    history: History
    interrupt: Interrupt = field(default_factory=Interrupt)
    part: _Part = field(default_factory=_Part)
    best: dict[str, Array] | None = None

    def epoch(self) -> None:
        """Train and validate once, and write the checkpoints."""
        if not self.part.trained:
            self._train()
        part, validated = self.part, None
        if self.validation is not None:
            validated = measure(self.model, self.validation, self.loss, self._stop_if_wanted)
        epoch = Epoch(
            len(self.history) + 1,
            part.loss / part.samples,
            None if part.correct is None else part.correct / part.answers if part.answers else math.nan,
            None if validated is None else validated.loss,
            None if validated is None else validated.accuracy,
            float(self.optimizer.param_groups[0]["lr"]),
            part.seconds,
        )
        self.history.epochs.append(epoch)
        if self.schedule is not None and not self.schedule_steps:
            self.schedule.step()
        self.part = _Part()
        best = self.history.best is epoch
        if best and self.keep_best:
            self.best = self.model.state_dict()
        self._write(best=best)
        self.progress.end(epoch, best=best)
        self._stop_if_wanted()

    def _train(self) -> None:
        set_mode(self.model, training=True)
        self.progress.begin(len(self.history) + 1, len(self.data), self.part.samples // self.data.batch_size)
        start = time.perf_counter() - self.part.seconds
        for inputs, targets in self.data:
            self._step(inputs, targets)
            self.part.seconds = time.perf_counter() - start
            self._stop_if_wanted()
        self.part.trained = True

    def _step(self, inputs: Array, targets: Array) -> None:
        self.optimizer.zero_grad()
        outputs, backward = both(self.model, self.model.forward(inputs, needs_input_grad=False))
        value, grad = loss_of("fit", self.loss, outputs, targets)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"fit: the loss must stay finite, received {value} in epoch {len(self.history) + 1}; "
                "a lower learning rate may help"
            )
        backward(grad)
        self.optimizer.step()
        if self.schedule is not None and self.schedule_steps:
            self.schedule.step()
        part, predicted = self.part, predicted_by(outputs, targets)
        part.loss += value * len(inputs)
        part.samples += len(inputs)
        if predicted is None or part.correct is None:
            part.correct = None
        else:
            counted = targets != ignored_by(self.loss)
            part.correct += int(np.count_nonzero((predicted == targets) & counted))
            part.answers += int(np.count_nonzero(counted))
        self.progress.step(value)

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether the last epochs brought nothing better."""
        return bool(patience and len(self.history) and len(self.history) - self.history.best.number >= patience)

    def take_best(self) -> None:
        """Give the model its best weights, where that was asked for."""
        if self.keep_best and self.best is not None:
            _load(self.model, self.best)

    # -- checkpoints --

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on."""
        return {
            "model": self.model.state_dict(),
            "generators": checkpoint.generators(self.model),
            "optimizer": [type(self.optimizer).__name__, self.optimizer.state_dict()],
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "data": [len(self.data.inputs), self.data.batch_size, self.data.state_dict()],
            "history": self.history.rows(),
            "part": asdict(self.part),
        }

    def restore(self, path: Path) -> None:
        """Go back to where the checkpoint was written."""
        try:
            self._restore(checkpoint.read(path))
        except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"fit: {str(path)!r} is no checkpoint of this training: {error!r}") from error
        self.progress.say(f"resumed after {len(self.history)} epochs and {self.part.samples} samples")

    def _restore(self, state: dict[str, Any]) -> None:
        kind, optimizer = state["optimizer"]
        samples, batch_size, data = state["data"]
        for name, saved, own in (
            ("optimizer", kind, type(self.optimizer).__name__),
            ("number of samples", samples, len(self.data.inputs)),
            ("batch_size", batch_size, self.data.batch_size),
            ("schedule", state["schedule"] is not None, self.schedule is not None),
        ):
            if saved != own:
                raise ValueError(f"fit: a resumed run must have the same {name}, {saved}, received {own}")
        self.part = checkpoint.record(_Part, state["part"])
        self.history.epochs = [checkpoint.record(Epoch, row) for row in state["history"]]
        begun = self.part.trained or data["position"] > 0
        if begun != (self.part.samples > 0):
            raise ValueError(f"fit: a checkpoint must have counted what it learned, received {self.part}")
        _load(self.model, state["model"])
        checkpoint.restore_generators(self.model, state["generators"])
        self.optimizer.load_state_dict(optimizer)
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.data.load_state_dict(data)
        if self.keep_best and self.folder is not None and len(self.history):
            self.best = load(self.folder / BEST)

    def _write(self, *, best: bool) -> None:
        if self.folder is not None:
            if best:  # before the other: a run that ends here repeats the epoch, and finds it the best again
                save(self.model, self.folder / BEST)
            checkpoint.write(self.folder / LAST, self.state())

    def _stop_if_wanted(self) -> None:
        if self.interrupt.wanted:
            self._stop()

    def _stop(self) -> NoReturn:
        self.progress.close()
        self._write(best=False)
        where = "nothing was saved, for fit had no folder" if self.folder is None else f"saved in {self.folder / LAST}"
        raise KeyboardInterrupt(
            f"training stopped after {len(self.history)} epochs and {self.part.samples} samples; {where}"
        )


def _check_writable(name: str, folder: Path) -> None:
    """Refuse, before the training and not behind its first epoch, a folder that takes no files."""
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"fit: {name} must be where files may be written, received {str(folder)!r}")


def _check_picture(path: Path) -> None:
    """Refuse, before the training and not behind it, a picture that could not be saved."""
    figure = require("matplotlib.figure", "learning curves", "train").Figure()
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known or not path.parent.is_dir():
        raise ValueError(
            f"fit: curves must be in a folder that exists and end in one of {', '.join(sorted(known))}, "
            f"received curves={str(path)!r}"
        )
    _check_writable("curves", path.parent)


def _load(model: nn.Module, state: dict[str, Array]) -> None:
    """Load weights; what was frozen is so again."""
    frozen = [module for module in model.modules() if module.frozen]
    model.load_state_dict(state)
    for module in frozen:
        module.freeze()
