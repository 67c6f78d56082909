"""What a model gets right: measured in evaluation mode, after each epoch or by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import nn
from fastconv.data import DataLoader
from fastconv.metrics import best_classes, confusion_matrix

__all__ = ["Evaluation", "Loss", "Samples", "evaluate"]

Array: TypeAlias = NDArray[Any]
Samples: TypeAlias = DataLoader | tuple[ArrayLike, ArrayLike]
#: Takes outputs and targets; returns the loss and the gradient of the outputs.
Loss: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]


class Evaluation(NamedTuple):
    """How well a model does on some data: mean loss, share of right classes, and each prediction.

    Where targets are no classes, `accuracy`, `predictions` and `classes`, their number, are None. A prediction from
    scores with NaN among them is -1, and wrong. Targets of the number that the loss ignores count nowhere.
    """

    loss: float
    accuracy: float | None
    predictions: Array | None
    targets: Array
    classes: int | None
    ignored: int | None = None

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often each class (row) was taken for each (column), see `fastconv.metrics.confusion_matrix`.

        Raises
        ------
        ValueError
            When targets are no classes, or scores were NaN.
        """
        if self.predictions is None:
            raise ValueError("Evaluation: confusion needs targets that are classes, received others")
        counted = self.targets != self.ignored
        return confusion_matrix(self.predictions[counted], self.targets[counted], self.classes)

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}" + ("" if self.accuracy is None else f", accuracy {100 * self.accuracy:.2f} %")


def evaluate(model: nn.Module, data: Samples, loss: Loss | None = None) -> Evaluation:
    """Measure a model, in evaluation mode; afterwards it is as before.

    Parameters
    ----------
    model : Module
    data : DataLoader, or (inputs, targets)
        A pair, arrays of shapes (N, ...) each, is taken in batches of 32.
    loss : callable, optional
        ``loss(outputs, targets)`` gives the mean loss and its gradient; ``nn.CrossEntropyLoss()`` by default.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError
        When `data` is neither, or does not fit the model or the loss.

    Examples
    --------
    >>> model = nn.Linear(2, 2, bias=False)
    >>> model.weight.data[...] = np.eye(2)
    >>> evaluation = evaluate(model, ([[2.0, 0.0], [0.0, 3.0], [0.5, 1.0]], [0, 1, 0]))
    >>> round(evaluation.accuracy, 3), evaluation.predictions
    (0.667, array([0, 1, 1]))
    >>> evaluation.confusion
    array([[1, 1],
           [0, 1]])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"evaluate: model must be of Module, received {type(model).__name__}")
    loader = loader_of(data, shuffle=False, op="evaluate")
    return measure(model, loader, checked_loss("evaluate", loss), lambda: None)


def measure(model: nn.Module, data: DataLoader, loss: Loss, tick: Callable[[], None]) -> Evaluation:
    """Measure; `tick` is called after each batch."""
    total, samples, classes = 0.0, 0, None
    predictions: list[Array | None] = []
    right: list[Array] = []
    with _evaluating(model):
        for inputs, targets in data:
            outputs = model(inputs)
            total += loss_of("evaluate", loss, outputs, targets)[0] * len(inputs)
            samples += len(inputs)
            predictions.append(predicted_by(outputs, targets))
            right.append(targets)
            classes = np.shape(outputs)[1] if predictions[-1] is not None else None
            tick()
    found = [one for one in predictions if one is not None]
    expected = np.concatenate(right)
    if len(found) < len(predictions):
        return Evaluation(total / samples, None, None, expected, None)
    predicted, ignored = np.concatenate(found), ignored_by(loss)
    hits = (predicted == expected)[expected != ignored]
    accuracy = float(hits.mean()) if hits.size else math.nan
    return Evaluation(total / samples, accuracy, predicted, expected, classes, ignored)


def predicted_by(outputs: Any, targets: Array) -> Array | None:
    """Return the classes of the highest scores, -1 where one is NaN, or None where targets are no class numbers."""
    scores = np.asarray(outputs)
    if targets.dtype.kind not in "iu" or scores.ndim != targets.ndim + 1:
        return None
    return best_classes(scores)


# -- what training does alike --


def loader_of(data: Samples, *, shuffle: bool, op: str = "fit") -> DataLoader:
    """Return what goes through the samples in batches."""
    if isinstance(data, DataLoader):
        return data
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"{op}: data must be a DataLoader or a pair (inputs, targets), received {type(data).__name__}")
    return DataLoader(*data, shuffle=shuffle)


def checked_loss(op: str, loss: Loss | None) -> Loss:
    """Return the loss to use."""
    if loss is not None and (not callable(loss) or isinstance(loss, type)):
        hint = "; write it with parentheses" if isinstance(loss, type) else ""
        raise TypeError(f"{op}: loss must be callable with outputs and targets, received loss={loss!r}{hint}")
    return nn.CrossEntropyLoss() if loss is None else loss


def loss_of(op: str, loss: Loss, outputs: Any, targets: Array) -> tuple[float, Any]:
    """Return the loss as a number, and its gradient."""
    found = loss(outputs, targets)
    if not isinstance(found, tuple | list) or len(found) != 2 or np.ndim(found[0]) != 0:
        raise TypeError(f"{op}: loss must return a number and the gradient of the outputs, received {found!r:.200}")
    return float(found[0]), found[1]


def ignored_by(loss: Loss) -> int | None:
    """Return the class number of targets that count nothing to a loss."""
    found = getattr(loss, "ignore_index", None)
    return found if isinstance(found, int) else None


def set_mode(model: nn.Module, *, training: bool) -> None:
    """Switch the mode but, other than ``train()``, leave frozen layers frozen, and as they are in evaluation."""
    for module in model.modules():
        module.training = training and not module.frozen


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    set_mode(model, training=False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
