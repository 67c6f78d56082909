"""Whether sharing weights pays: LeNet-5 learns to read digits beside fully connected networks of equal cost.

One fully connected network has as many multiply-adds as LeNet-5, the other as many parameters. All three are trained
alike: same images, same recipe, same seeds. Every third image is the test set; it is looked at once, after training.
The recipe was chosen by cross-validation on the other two thirds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastconv import models, nn, optim, train
from fastconv.bench.cases import LENET5, Float32Array
from fastconv.bench.layers import Dense
from fastconv.data import PAPER, DataLoader, RandomShift, digits, split

CLASSES = 10
PIXELS = 32 * 32


@dataclass(frozen=True)
class Recipe:
    """How the networks are trained: stochastic gradient descent with momentum on shuffled mini-batches.

    The learning rate falls linearly from `learning_rate` to zero over all steps. Each image is moved by up to
    `shift` pixels in both directions, drawn anew: the classes do not depend on the place.
    """

    epochs: int = 20
    batch: int = 16
    learning_rate: float = 0.02
    momentum: float = 0.9
    shift: int = 2


@dataclass(frozen=True)
class Network:
    """A network to train: how to build it from a seed, and what one image costs in multiply-adds."""

    name: str
    build: Callable[[np.random.Generator], nn.Module]
    multiply_adds: int


@dataclass(frozen=True)
class Outcome:
    """Result of a network over all seeds; accuracies and seconds are in the order of the seeds."""

    name: str
    parameters: int
    multiply_adds: int
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean share of test images that were read correctly."""
        return statistics.fmean(self.accuracies)

    @property
    def mean_seconds(self) -> float:
        """Mean time of one training."""
        return statistics.fmean(self.seconds)


def hidden_size(target: int, per_unit: int, fixed: int = 0) -> int:
    """Find how many hidden units bring a network's cost nearest to a target.

    Parameters
    ----------
    target : int
        Cost to meet: multiply-adds or parameters.
    per_unit : int
        Cost of one hidden unit.
    fixed : int
        Cost that does not depend on the hidden units.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    LeNet-5 has 416,520 multiply-adds and 61,706 parameters; a unit between 1,024 pixels and 10 classes costs 1,034
    multiply-adds, and one bias more in parameters:

    >>> hidden_size(416_520, per_unit=1034), hidden_size(61_706, per_unit=1035, fixed=10)
    (403, 60)
    """
    return max(1, (2 * (target - fixed) + per_unit) // (2 * per_unit))


def networks() -> list[Network]:
    """List LeNet-5 and the fully connected networks of equal multiply-adds and of equal parameters."""
    heads = (Dense(120, 84), Dense(84, CLASSES))
    layers = (*LENET5, *heads)
    multiply_adds = sum(layer.work().multiply_adds for layer in layers)
    parameters = sum(layer.parameters for layer in layers)
    per_unit = PIXELS + CLASSES
    return [
        Network("LeNet-5", lambda rng: models.LeNet5(generator=rng), multiply_adds),
        _dense_network("equal multiply-adds", hidden_size(multiply_adds, per_unit)),
        _dense_network("equal parameters", hidden_size(parameters, per_unit + 1, fixed=CLASSES)),
    ]


def train_network(network: Network, recipe: Recipe, seeds: tuple[int, ...], tick: Callable[[], None]) -> Outcome:
    """Train a network once for every seed and test it.

    Parameters
    ----------
    network : Network
    recipe : Recipe
    seeds : tuple of int
        Each seeds the initial weights and the order of the images.
    tick : callable
        Called after each training.

    Returns
    -------
    Outcome
    """
    images, labels = digits()
    training, _, test = split(len(labels))
    accuracies, seconds = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        model = network.build(rng)
        start = time.perf_counter()
        fit(model, images[training], labels[training], recipe, rng)
        seconds.append(time.perf_counter() - start)
        accuracies.append(train.evaluate(model, (images[test], labels[test])).accuracy or 0.0)
        tick()
    parameters = sum(parameter.size for parameter in model.parameters())
    return Outcome(network.name, parameters, network.multiply_adds, tuple(accuracies), tuple(seconds))


def fit(
    model: nn.Module,
    images: Float32Array,
    labels: npt.NDArray[np.int64],
    recipe: Recipe,
    rng: np.random.Generator,
) -> None:
    """Train a model in place.

    Parameters
    ----------
    model : nn.Module
        Maps (N, 1, 32, 32) to (N, 10).
    images : ndarray of shape (M, 1, 32, 32)
    labels : ndarray of shape (M,)
    recipe : Recipe
    rng : numpy.random.Generator
        Shuffles the images before each epoch and draws the shifts.
    """
    optimizer = optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    moved = RandomShift(recipe.shift, fill=PAPER)
    loader = DataLoader(images, labels, recipe.batch, shuffle=True, augment=moved, generator=rng)
    steps = recipe.epochs * len(loader)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    train.fit(
        model,
        loader,
        epochs=recipe.epochs,
        optimizer=optimizer,
        schedule=schedule,
        schedule_each="step",
        progress=False,
    )


def _dense_network(equality: str, hidden: int) -> Network:
    def build(rng: np.random.Generator) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, hidden, generator=rng), nn.ReLU(), nn.Linear(hidden, CLASSES, generator=rng)
        )

    layers = (Dense(PIXELS, hidden), Dense(hidden, CLASSES))
    multiply_adds = sum(layer.work().multiply_adds for layer in layers)
    return Network(f"dense {PIXELS}-{hidden}-{CLASSES}, {equality}", build, multiply_adds)
