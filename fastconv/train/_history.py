"""What the epochs of a training gave, and its picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fastconv._extras import require

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch. Accuracies are shares of 1, None where targets are no classes; validation may be None.

    `loss` and `accuracy` are means over the epoch's batches as they were learned, before each step, with dropout and
    augmentation; `seconds` are those of its steps, without validation.
    """

    number: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float

    def __str__(self) -> str:
        text = f"epoch {self.number:3}  loss {self.loss:.4f}{_percent(self.accuracy)}"
        if self.validation_loss is not None:
            text += f"  validation {self.validation_loss:.4f}{_percent(self.validation_accuracy)}"
        return f"{text}  {self.seconds:.1f} s"


class History:
    """The epochs of a training, first to last.

    Attributes
    ----------
    epochs : list of Epoch
    monitor : {"accuracy", "loss"}
        By what `best` chooses.

    Examples
    --------
    >>> epochs = [Epoch(n, loss, None, None, None, 0.1, 1.0) for n, loss in ((1, 2.0), (2, 0.5), (3, 0.7))]
    >>> history = History(epochs)
    >>> history
    History(3 epochs; best: epoch   2  loss 0.5000  1.0 s)
    >>> len(history), history.best.number
    (3, 2)
    """

    def __init__(self, epochs: Iterable[Epoch] = (), monitor: str = "accuracy") -> None:
        self.epochs = list(epochs)
        self.monitor = monitor

    @property
    def best(self) -> Epoch:
        """The epoch of the highest accuracy (of the lowest loss among equals, or where there is none), the first such.

        Of the validation where there was one, else of the training.

        Raises
        ------
        ValueError
            When there is no epoch yet.
        """
        if not self.epochs:
            raise ValueError("History: there is no best epoch before the first, received an empty history")
        return min(self.epochs, key=self._order)

    def _order(self, epoch: Epoch) -> tuple[float, float]:
        validated = epoch.validation_loss is not None
        loss = epoch.validation_loss if epoch.validation_loss is not None else epoch.loss
        accuracy = epoch.validation_accuracy if validated else epoch.accuracy
        return (loss, 0.0) if self.monitor == "loss" or accuracy is None else (-accuracy, loss)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw loss and accuracy by epoch.

        Parameters
        ----------
        path : path, optional
            Where to save the picture; its ending names the format, such as ``.png``.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            When matplotlib is not installed.
        """
        figures = require("matplotlib.figure", "learning curves", "train")  # no pyplot: it would keep the figure
        ticker = require("matplotlib.ticker", "learning curves", "train")
        drawn = ["loss"] + ["accuracy"] * any(epoch.accuracy is not None for epoch in self.epochs)
        figure = figures.Figure(figsize=(4.8 * len(drawn), 3.6), layout="constrained")
        numbers = [epoch.number for epoch in self.epochs]
        for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
            positive = name == "loss"
            for label, key in (("training", name), ("validation", f"validation_{name}")):
                values = [getattr(epoch, key) for epoch in self.epochs]
                positive &= all(value is None or value > 0 for value in values)
                if any(value is not None for value in values):
                    axes.plot(numbers, values, label=label, marker="." if len(values) < 30 else None)
            axes.set(xlabel="epoch", title=name, yscale="log" if positive else "linear")
            if self.epochs:
                axes.axvline(self.best.number, color="0.8", zorder=0, label="best")
                axes.legend()
            axes.xaxis.get_major_locator().set_params(integer=True)
            if positive:
                axes.yaxis.set_minor_locator(ticker.LogLocator(subs=(2.0, 5.0)))
            for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                formatted("{x:g}" if name == "loss" else "{x:.0%}")
            axes.grid(alpha=0.3)
        if path is not None:
            figure.savefig(path)
        return figure

    def rows(self) -> list[dict[str, Any]]:
        """Return the epochs as dicts, for a table or a file."""
        return [asdict(epoch) for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self.epochs[index]

    def __repr__(self) -> str:
        return f"History({len(self)} epochs{f'; best: {self.best}' if self.epochs else ''})"

    def __str__(self) -> str:
        return "\n".join(str(epoch) for epoch in self.epochs)


def _percent(share: float | None) -> str:
    return "" if share is None else f"  accuracy {100 * share:6.2f} %"
