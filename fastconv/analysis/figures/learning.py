"""Pictures of learning itself: losses and their gradients, a filter found by descent, units that die."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastconv as fc
from fastconv import _check as check
from fastconv import nn, optim
from fastconv.analysis.figures._style import BLUE, GREEN, ORANGE, RED, drawn, ink, panels, taken
from fastconv.analysis.measures import dead_units

__all__ = ["descent", "dying_units", "losses"]

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
