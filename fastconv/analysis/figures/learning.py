"""Pictures of learning: losses, a filter found by descent, units that die, curves, answers and mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastconv as fc
from fastconv import _check as check
from fastconv import nn, optim
from fastconv._extras import require
from fastconv.analysis.figures._style import BLUE, COLOURS, GREEN, ORANGE, RED, drawn, ink, panels, show, taken
from fastconv.analysis.measures import dead_units

__all__ = ["augmented", "confusion", "curves", "descent", "dying_units", "losses", "predictions"]

Array = NDArray[Any]


@drawn
def losses() -> Any:
    """Draw cross-entropy and mean squared error of softmax for two classes, and their gradients by the right score.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> [panel.get_title() for panel in losses()]
    ['loss', 'its gradient by the right score']
    """
    ahead = np.linspace(-8, 8, 321)
    scores = np.stack([ahead, np.zeros_like(ahead)], axis=1)
    shares = fc.softmax(scores, 1)
    entropy, entropy_grad = nn.CrossEntropyLoss(reduction="none")(scores, np.zeros(len(ahead), int))
    squared, squared_grad = nn.MSELoss(reduction="none")(shares, np.broadcast_to([1.0, 0.0], shares.shape))
    axes = panels(7.2, 3.8, 1, 2)
    for name, loss, grad, colour, line in (
        ("cross-entropy", entropy, entropy_grad, BLUE, "-"),
        ("mean squared error", squared.mean(axis=1), fc.softmax_backward(squared_grad, shares, 1) / 2, RED, "--"),
    ):
        axes[0].plot(ahead, loss, color=colour, linestyle=line, label=name)
        axes[1].plot(ahead, grad[:, 0], color=colour, linestyle=line)
    axes[0].set(title="loss", ylim=(0, 4), xlabel="right score less the wrong one")
    axes[1].set(title="its gradient by the right score", ylim=(-1.1, 0.1), xlabel="right score less the wrong one")
    for panel, height in zip(axes, (0.5, -1.06), strict=True):
        panel.axvline(0, color="#bbbbbb", linewidth=1, zorder=0)
        panel.text(-7.9, height, "wrong", fontsize=10)
        panel.text(7.9, height, "right", fontsize=10, ha="right")
    axes[0].legend(loc="upper right")
    return axes


@drawn
def descent(steps: int = 40, seed: int = 0) -> Any:
    """Draw how gradient descent on the mean squared error finds the filter that made one signal of another.

    Parameters
    ----------
    steps : int
        Of descent, each with the whole signal: full batch.
    seed : int
        Of the signal, which is noise, and of the first weights.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When `steps` is not a positive int.

    Examples
    --------
    >>> error = descent(steps=40)[0].lines[0].get_ydata()
    >>> bool(error[-1] < 1e-5 * error[0])
    True
    """
    steps = check.integer("descent", "steps", steps, 1)
    wanted = np.array([[[1.0, 0.0, -1.0]]])
    x = np.random.default_rng(seed).standard_normal((1, 1, 200))
    y = fc.conv1d(x, wanted)
    model = nn.Conv1d(1, 1, 3, bias=False, dtype=np.float64, generator=seed)
    loss_of, optimizer = nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)
    weights, errors = [], []
    for _ in range(steps + 1):
        weights.append(model.weight.data.ravel().copy())
        guess, backward = model.forward(x)
        loss, grad = loss_of(guess, y)
        errors.append(loss)
        optimizer.zero_grad()
        backward(grad)
        optimizer.step()
    axes = panels(7.2, 3.6, 1, 2)
    axes[0].plot(errors, color=BLUE)
    axes[0].set(title="mean squared error", yscale="log", xlabel="step")
    axes[0].grid(which="major", alpha=0.3)
    for line, goal, colour in zip(np.transpose(weights), wanted.ravel(), (BLUE, GREEN, ORANGE), strict=True):
        axes[1].plot([0, steps], [goal, goal], color=colour, linewidth=1, linestyle=":")
        axes[1].plot(line, color=colour)
        axes[1].text(steps + 1, line[-1], f"{goal:g}", color=ink(colour), va="center")
    axes[1].set(title="the three weights", xlabel="step", ylim=(-1.25, 1.25))
    return axes


@drawn
def dying_units(
    images: ArrayLike, labels: ArrayLike, rates: tuple[float, ...] = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0), epochs: int = 3
) -> Any:
    """Draw the share of hidden units that die by learning rate, and what becomes of units that are dead from the start.

    Parameters
    ----------
    images : array_like of shape (N, C, H, W)
    labels : array_like of int, (N,)
    rates : tuple of float
        Learning rates.
    epochs : int
        Of training at each.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When images or labels do not hold real numbers or have other axes, or `epochs` is not a positive int.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> images, labels = rng.random((32, 1, 4, 4)), rng.integers(0, 10, 32)
    >>> dying_units(images, labels, rates=(0.1,), epochs=1)[0].get_xlabel()
    'learning rate'
    """
    op = "dying_units"
    x, y = taken(op, "images", images, "(N, C, H, W)", dtype=np.float32), taken(op, "labels", labels, "(N,)")
    epochs = check.integer(op, "epochs", epochs, 1)
    axes = panels(7.2, 3.8, 1, 2)
    for name, activation, colour, marker in (
        ("ReLU", nn.ReLU(), RED, "o"),
        ("leaky ReLU", nn.LeakyReLU(0.1), GREEN, "^"),
    ):
        dead = []
        for rate in rates:
            model = _perceptron(x, activation)
            _train(model, x, y, rate, epochs)
            dead.append(100 * dead_units(activation, model[:2](x)).mean())
        axes[0].plot(rates, dead, color=colour, marker=marker, markersize=5, label=name)
        model = _perceptron(x, activation)
        model[1].bias.data -= model[:2](x).max(axis=0) + 0.5  # type: ignore[attr-defined]  # so that no sum is above 0
        axes[1].plot(_train(model, x, y, 0.3, 2 * epochs), color=colour, marker=marker, markersize=5)
    axes[0].set(title="dead units after training, %", xscale="log", xlabel="learning rate", ylim=(-4, 104))
    axes[0].set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes[0].minorticks_off()
    axes[0].legend(loc="upper left")
    axes[1].set(title="training loss: all sums start below 0", xlabel="epoch", ylim=(0, 2.6))
    return axes


@drawn
def curves(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]],
    xlabel: str,
    ylabel: str,
    *,
    logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
) -> Any:
    """Draw curves, such as the loss of several trainings.

    Parameters
    ----------
    lines : mapping of str to (x, y)
    xlabel, ylabel : str
    logarithmic : bool
        Whether the y axis is.
    limits : (float, float), optional
        Of the y axis.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When a line does not hold real numbers, its x and y are not equally many, or there is no line.

    Examples
    --------
    >>> curves({"training": ([1, 2, 3], [0.9, 0.4, 0.2])}, "epoch", "loss", logarithmic=True).get_yscale()
    'log'
    """
    if not lines:
        raise ValueError(f"curves: lines must hold one at least, received {lines=}")
    axes = panels(7.2, 4.0)
    styles = ("-", "--", "-.", ":", "-", "--", "-.")
    for number, (name, pair) in enumerate(lines.items()):
        x, y = (taken("curves", f"lines[{name!r}]", one, "(points,)") for one in pair)
        if x.shape != y.shape:
            raise ValueError(f"curves: x and y of {name!r} must be equally many, received {x.shape} and {y.shape}")
        marker = "o" if np.size(x) == 1 else None  # a single point has no line
        axes.plot(
            np.asarray(x),
            np.asarray(y),
            color=COLOURS[number % 7],
            linestyle=styles[number % 7],
            marker=marker,
            label=name,
        )
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if logarithmic else "linear")
    ticker = require("matplotlib.ticker", "pictures", "plot")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if logarithmic:
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    if limits is not None:
        axes.set_ylim(*limits)
    axes.grid(which="major", alpha=0.3)
    axes.figure.legend(loc="outside upper left", ncols=3)
    return axes


@drawn
def predictions(images: ArrayLike, probabilities: ArrayLike, targets: Sequence[int]) -> Any:
    """Draw images with the probability (softmax) of each class; the right one in blue, a wrong winner in red.

    Parameters
    ----------
    images : array_like of shape (N, H, W)
    probabilities : array_like of shape (N, classes)
    targets : sequence of int

    Returns
    -------
    ndarray of Axes, (N, 2)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When an array does not hold real numbers or has other axes, or they are not equally many.

    Examples
    --------
    >>> predictions(np.ones((2, 8, 8)), [[0.9, 0.1], [0.3, 0.7]], targets=[0, 0]).shape
    (2, 2)
    """
    op = "predictions"
    pictures = taken(op, "images", images, "(N, H, W)")
    shares = taken(op, "probabilities", probabilities, "(N, classes)")
    if not len(pictures) == len(shares) == len(targets):
        lengths = len(pictures), len(shares), len(targets)
        raise ValueError(f"{op}: images, probabilities and targets must be equally many, received {lengths}")
    axes = panels(7.2, 0.5 + 1.1 * len(pictures), len(pictures), 2, width_ratios=(1, 5), squeeze=False)
    for row, picture, share, target in zip(axes, pictures, shares, targets, strict=True):
        show(row[0], picture, "", "gray_r")
        won = int(np.argmax(share))
        colours = [BLUE if i == target else RED if i == won else "#bbbbbb" for i in range(len(share))]
        bars = row[1].bar(np.arange(len(share)), share, color=colours)
        row[1].bar_label(bars, [f"{p:.0%}" if p > 0.005 else "" for p in share], fontsize=9)
        row[1].set(ylim=(0, 1.25), yticks=[], xticks=range(len(share)))
        row[1].spines["left"].set_visible(False)
    axes[-1, 1].set_xlabel("class; softmax of the scores")
    return axes


@drawn
def confusion(matrix: ArrayLike) -> Any:
    """Draw a confusion matrix: how often each class was read as each.

    Parameters
    ----------
    matrix : array_like of shape (classes, classes)
        Rows are true classes, columns what was read.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the matrix is not square, or does not hold counts that are not all 0.

    Examples
    --------
    >>> confusion([[9, 1], [0, 10]]).get_title()
    'accuracy 95.00% of 20 images'
    """
    counts = taken("confusion", "matrix", matrix, "(classes, classes)")
    if counts.shape[0] != counts.shape[1] or counts.min() < 0 or counts.sum() == 0:
        raise ValueError(f"confusion: matrix must be square, of counts that are not all 0, received {matrix=}")
    axes = panels(7.2, 5.0)
    axes.imshow(np.log1p(counts), cmap="Blues")
    for (h, w), count in np.ndenumerate(counts):
        if count:
            dark = np.log1p(count) > 0.6 * np.log1p(counts.max())
            axes.text(w, h, str(count), ha="center", va="center", fontsize=10, color="white" if dark else "black")
    right = np.trace(counts) / counts.sum()
    axes.set(
        title=f"accuracy {right:.2%} of {counts.sum()} images", xlabel="read as", ylabel="true class",
        xticks=range(len(counts)), yticks=range(len(counts)),
    )  # fmt: skip
    return axes


@drawn
def augmented(image: ArrayLike, variants: Mapping[str, ArrayLike]) -> Any:
    """Draw an image and what augmentation makes of it.

    Parameters
    ----------
    image : array_like of shape (H, W)
    variants : mapping of str to array_like of shape (N, H, W)
        By the kind of augmentation.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When an array does not hold real numbers or has other axes, or there are no variants.

    Examples
    --------
    >>> augmented(np.eye(8), {"flips": [np.eye(8), np.eye(8)[::-1]]}).shape
    (1, 3)
    """
    op = "augmented"
    original = taken(op, "image", image, "(H, W)")
    stacks = {name: taken(op, f"variants[{name!r}]", stack, "(N, H, W)") for name, stack in variants.items()}
    if not stacks:
        raise ValueError(f"{op}: variants must hold a stack of images at least, received {variants=}")
    columns = max(map(len, stacks.values())) + 1
    axes = panels(7.2, 0.3 + 1.25 * len(stacks), len(stacks), columns, squeeze=False)
    for row, (name, stack) in zip(axes, stacks.items(), strict=True):
        show(row[0], original, "", "gray_r")
        row[0].set_ylabel(name)
        for panel, one in zip(row[1:], stack, strict=False):
            show(panel, one, "", "gray_r")
    axes[0, 0].set_title("as it is", fontsize=10)
    return axes


def _perceptron(x: Array, activation: nn.Module) -> nn.Sequential:
    inputs = x[0].size
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64, generator=0), activation, nn.Linear(64, 10, generator=1))


def _train(model: nn.Module, x: Array, y: Array, rate: float, epochs: int) -> list[float]:
    """Descend in mini-batches of 32; return the loss of all images before each epoch and behind the last."""
    rng, loss_of, optimizer = np.random.default_rng(0), nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=rate)
    found = [float(fc.cross_entropy(model(x), y))]
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), max(1, len(x) // 32)):
            scores, backward = model.forward(x[batch], needs_input_grad=False)
            _, grad = loss_of(scores, y[batch])
            optimizer.zero_grad()
            backward(grad)
            optimizer.step()
        found.append(float(fc.cross_entropy(model(x), y)))
    return found
