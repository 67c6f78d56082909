"""Networks that learn to read digits: how well, how fast beside PyTorch, and what depth does to them.

    python benchmarks/digits.py                      everything; about ten minutes on one core
    python benchmarks/digits.py --networks LeNet-5 --seeds 2 --no-depth

Every third of the 1,797 images is the test set, looked at once, after training; `--validation 200` takes so many of the
others aside and shows their accuracy instead, which is how the recipes were chosen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import analysis, data, models, nn, optim, train


@dataclass(frozen=True)
class Task:
    """A network, the size of its images, and how it is trained: Adam, its rate falling as a cosine in every step."""

    name: str
    make: Callable[..., nn.Module]
    side: int
    epochs: int
    learning_rate: float
    goal: float
    shift: int  # pixels by which images are moved at most
    batch: int = 32


TASKS = (
    Task("LeNet-5", models.LeNet5, side=32, epochs=20, learning_rate=2e-3, goal=0.985, shift=2),
    Task("classroom", models.ClassroomNet, side=40, epochs=12, learning_rate=2e-3, goal=0.985, shift=2),
    Task(
        "ResNet-8",
        lambda **options: models.small_resnet(8, in_channels=1, **options),
        side=16,
        epochs=16,
        learning_rate=3e-3,
        goal=0.99,
        shift=1,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What the trainings of one network gave, and what an epoch takes."""

    name: str
    parameters: int
    accuracies: tuple[float, ...]
    goal: float
    seconds: float  # of an epoch, best of all
    torch_seconds: float | None

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.accuracies)


def loaders(task: Task, seed: int, validation: int) -> tuple[data.DataLoader, tuple[Any, Any]]:
    """Give the loader of the training images, and the images to measure on."""
    images, labels = data.digits(task.side)
    part = data.split(len(labels), validation)
    moved = data.RandomShift(task.shift, fill=data.PAPER) if task.shift else None
    chosen = part.training
    loader = data.DataLoader(images[chosen], labels[chosen], task.batch, shuffle=True, augment=moved, generator=seed)
    held = part.validation if validation else part.test
    return loader, (images[held], labels[held])


def learn(task: Task, seed: int, validation: int) -> tuple[float, float]:
    """Train once; return the accuracy, and the seconds of the fastest epoch."""
    loader, held = loaders(task, seed, validation)
    model = task.make(generator=seed)
    history = fitted(task, model, loader)
    accuracy = train.evaluate(model, held).accuracy
    assert accuracy is not None
    return accuracy, min(epoch.seconds for epoch in history)


def fitted(task: Task, model: nn.Module, loader: data.DataLoader) -> train.History:
    """Train a model as the task says."""
    optimizer = optim.Adam(model.parameters(), lr=task.learning_rate)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=task.epochs * len(loader))
    return train.fit(
        model,
        loader,
        epochs=task.epochs,
        optimizer=optimizer,
        schedule=schedule,
        schedule_each="step",
        progress=sys.stderr.isatty(),
    )


def beside_torch(task: Task, rounds: int) -> tuple[float, float | None]:
    """Time an epoch here and in PyTorch, in turn: the same weights at first, batches, optimizer and loss."""
    loader, _ = loaders(task, 0, 0)
    model = task.make(generator=0).train()
    epochs = [_epoch_here(model, loader, task)]
    try:
        epochs.append(_epoch_in_torch(model, loader, task))
    except ModuleNotFoundError:
        print("PyTorch is not installed: no times beside it", file=sys.stderr)
    times = [[_seconds(epoch) for epoch in epochs] for _ in range(rounds)]
    best = [min(column) for column in zip(*times, strict=True)]
    return best[0], best[1] if len(best) > 1 else None


def _epoch_here(model: nn.Module, loader: data.DataLoader, task: Task) -> Callable[[], None]:
    optimizer, loss = optim.Adam(model.parameters(), lr=task.learning_rate), nn.CrossEntropyLoss()

    def epoch() -> None:
        for x, y in loader:
            optimizer.zero_grad()
            scores, backward = model.forward(x, needs_input_grad=False)
            backward(loss(scores, y)[1])
            optimizer.step()

    return epoch


def _epoch_in_torch(model: nn.Module, loader: data.DataLoader, task: Task) -> Callable[[], None]:
    import torch
    from torch_twins import twin

    torch.set_num_threads(fc.get_num_threads())
    theirs = twin(model)
    optimizer, loss = torch.optim.Adam(theirs.parameters(), lr=task.learning_rate), torch.nn.CrossEntropyLoss()

    def epoch() -> None:
        for x, y in loader:
            optimizer.zero_grad()
            loss(theirs(torch.from_numpy(x)), torch.from_numpy(y)).backward()
            optimizer.step()

    return epoch


def _seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------ depth


DEPTHS = (8, 20, 56)
DEPTH_EPOCHS = 5


@dataclass(frozen=True)
class Depth:
    """Losses on the training images and accuracies on the others, of a plain stack and its residual twin."""

    layers: int
    plain: tuple[float, float]
    residual: tuple[float, float]


def plain_beside_residual(layers: int, validation: int, epochs: int = DEPTH_EPOCHS) -> Depth:
    """Train the two twins alike."""
    found = []
    for residual in (False, True):

        def make(residual: bool = residual, **options: Any) -> nn.Module:
            return models.small_resnet(layers, in_channels=1, residual=residual, **options)

        task = Task("depth", make, side=16, epochs=epochs, learning_rate=3e-3, goal=0.0, shift=0)
        loader, held = loaders(task, 0, validation)
        model = make(generator=0)
        fitted(task, model, loader)
        accuracy = train.evaluate(model, held).accuracy
        assert accuracy is not None
        found.append((train.evaluate(model, (loader.inputs, loader.targets)).loss, accuracy))
    return Depth(layers, found[0], found[1])


def gradients_by_depth(layers: int = 12, width: int = 16) -> dict[str, list[float]]:
    """Give the root mean square of the gradient at the input of each convolution, first to last; 1 at the output."""
    images, _ = data.digits(16)
    found = {}
    for name, activation in (("sigmoid", nn.Sigmoid), ("ReLU", nn.ReLU)):
        generator = np.random.default_rng(0)
        row: list[nn.Module] = []
        for index in range(layers):
            convolution = nn.Conv2d(width if index else 1, width, 3, padding=1, generator=generator)
            row += [convolution, activation()]
            if name == "ReLU":
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=generator)
            else:
                nn.init.xavier_normal_(convolution.weight, generator=generator)
        grad = generator.standard_normal((64, width, 16, 16)).astype(np.float32)
        sizes = analysis.gradient_by_depth(nn.Sequential(*row), images[:64], grad)
        found[name] = [float(size) for size in sizes[::2]]
    return found


# ------------------------------------------------------------------------------------------------ report


def main() -> int:
    """Run what the command line asks for; return 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(task.name for task in TASKS), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each network, seeds 0, 1, ... (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="of both libraries (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs timed beside PyTorch (default: 3)")
    parser.add_argument("--validation", type=int, default=0, metavar="N", help="measure on N training images instead")
    parser.add_argument("--no-depth", action="store_true", help="leave out the plain and residual stacks")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    options = parser.parse_args()
    names = options.networks.split(",")
    known = {task.name: task for task in TASKS}
    if not set(names) <= set(known):
        parser.error(f"--networks must be of {', '.join(known)}, received {options.networks}")
    fc.set_num_threads(options.threads)
    outcomes = [measured(known[name], options) for name in names]
    print_outcomes(outcomes, options)
    results: dict[str, Any] = {"networks": [asdict(outcome) for outcome in outcomes]}
    if not options.no_depth:
        depths = [plain_beside_residual(layers, options.validation) for layers in DEPTHS]
        print_depths(depths)
        gradients = gradients_by_depth()
        print_gradients(gradients)
        results |= {"depths": [asdict(depth) for depth in depths], "gradients": gradients}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    missed = [outcome.name for outcome in outcomes if outcome.accuracy < outcome.goal]
    if missed:
        print(f"missed their goal: {', '.join(missed)}", file=sys.stderr)
    return bool(missed)


def measured(task: Task, options: argparse.Namespace) -> Outcome:
    seconds, torch_seconds = beside_torch(task, options.rounds)
    accuracies = []
    for seed in range(options.seeds):
        accuracy, fastest = learn(task, seed, options.validation)
        accuracies.append(accuracy)
        seconds = min(seconds, fastest) if torch_seconds is None else seconds
        print(f"{task.name}, seed {seed}: {100 * accuracy:.2f} %", file=sys.stderr, flush=True)
    parameters = sum(parameter.size for parameter in task.make(generator=0).parameters())
    return Outcome(task.name, parameters, tuple(accuracies), task.goal, seconds, torch_seconds)


def print_outcomes(outcomes: list[Outcome], options: argparse.Namespace) -> None:
    where = f"{options.validation} training images" if options.validation else "every third image"
    print(f"\nAccuracy on {where}, means of {options.seeds} seeds; an epoch with {options.threads} thread(s)\n")
    print(f"{'network':10}  {'parameters':>10}  {'accuracy':>8}  {'worst':>7}  {'goal':>6}  "
          f"{'epoch':>8}  {'PyTorch':>8}  {'ratio':>5}")  # fmt: skip
    for one in outcomes:
        theirs = (
            "" if one.torch_seconds is None else f"{one.torch_seconds:6.3f} s  {one.torch_seconds / one.seconds:5.2f}"
        )
        print(f"{one.name:10}  {one.parameters:10,}  {100 * one.accuracy:6.2f} %  {100 * min(one.accuracies):5.2f} %  "
              f"{100 * one.goal:4.1f} %  {one.seconds:6.3f} s  {theirs}")  # fmt: skip


def print_depths(depths: list[Depth]) -> None:
    print(f"\nA plain stack and its residual twin, {DEPTH_EPOCHS} epochs: training loss, accuracy on other images\n")
    print("layers   plain              residual")
    for depth in depths:
        cells = [f"{loss:.4f}  {100 * accuracy:6.2f} %" for loss, accuracy in (depth.plain, depth.residual)]
        print(f"{depth.layers:6}   {cells[0]}   {cells[1]}")


def print_gradients(gradients: dict[str, list[float]]) -> None:
    print(
        "\nGradients by depth: root mean square at the input of each of a row of convolutions, as a share of the last\n"
    )
    print("layer    " + "  ".join(f"{index:7}" for index in range(1, 1 + len(next(iter(gradients.values()))))))
    for name, sizes in gradients.items():
        print(f"{name:8} " + "  ".join(f"{size / sizes[-1]:7.1e}" for size in sizes))


if __name__ == "__main__":
    sys.exit(main())
