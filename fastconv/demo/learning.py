"""Stops of the tour where networks learn, and what keeps deep ones from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import data, models, nn, optim, train
from fastconv.analysis import figures
from fastconv.demo.material import Material
from fastconv.demo.stops import DEEP, LEARNS, Picture, stop

# ---------------------------------------------------------------------------------------------------- learned


@stop(LEARNS)
def descent(material: Material) -> Picture:
    """A filter found by gradient descent."""
    return Picture(
        figures.descent(),
        "A signal went through the filter (1, 0, -1). Three random weights find it again: each step moves them against "
        "the gradient of the mean squared error (full batch).",
    )


@stop(LEARNS)
def losses(material: Material) -> Picture:
    """Two losses, and what they send back."""
    return Picture(
        figures.losses(),
        "Two classes behind a softmax. Cross-entropy sends back a gradient of nearly -1 for an answer that is surely "
        "wrong; the mean squared error sends almost none, so that such mistakes are slow to mend.",
    )


@stop(LEARNS)
def training(material: Material) -> Picture:
    """Training as feedback."""
    history = material.classroom.history
    epochs = [epoch.number for epoch in history]
    return Picture(
        figures.curves(
            {
                "training": (epochs, [epoch.loss for epoch in history]),
                "validation": (epochs, np.array([epoch.validation_loss for epoch in history], float)),
            },
            "epoch",
            "loss (cross-entropy)",
            logarithmic=True,
        ),
        f"Loss, back-propagation, update, again: the classroom network learns digits of 40x40 in {len(epochs)} epochs "
        f"and reads {material.classroom.evaluation.accuracy:.1%} of the test digits.",
    )


@stop(LEARNS)
def learned_filters(material: Material) -> Picture:
    """First-layer filters before and after."""
    trained = material.classroom
    name = next(iter(trained.first_weights))
    return Picture(
        figures.first_filters(trained.first_weights[name], trained.model.state_dict()[name]),
        "Ten 5x5 filters of the first layer. They begin at random; what training adds (the last row, in stronger "
        "colours) is smooth: strokes and edges in several directions.",
    )


@stop(LEARNS)
def maps(material: Material) -> Picture:
    """Feature maps of a digit."""
    trained = material.classroom
    image = trained.test_images[int(np.flatnonzero(trained.evaluation.targets == 3)[0])]
    found: dict[str, Any] = {}
    value: Any = image[np.newaxis]
    for layer in trained.model.features[:7]:  # type: ignore[attr-defined]
        value = layer(value)
        number = 1 + (len(found) // 2)
        if isinstance(layer, nn.ReLU):
            found[f"conv {number}"] = value[0]
        elif isinstance(layer, nn.MaxPool2d):
            found[f"pool {number}"] = value[0]
    return Picture(
        figures.feature_maps(image[0], found),
        "The six strongest maps of each layer for one digit: the first still look like it, the later ones say in few "
        "pixels where a feature is.",
    )


@stop(LEARNS)
def answers(material: Material) -> Picture:
    """What the network answers."""
    trained = material.classroom
    evaluation = trained.evaluation
    wrong = np.flatnonzero(evaluation.predictions != evaluation.targets)
    right = np.flatnonzero(evaluation.predictions == evaluation.targets)
    chosen = [*right[:3], *wrong[:2]]
    scores = trained.model(trained.test_images[chosen])
    return Picture(
        figures.predictions(
            trained.test_images[chosen][:, 0], fc.softmax(scores), [int(evaluation.targets[i]) for i in chosen]
        ),
        "Softmax turns scores into probabilities. Blue is the true digit; red, where there is one, what was read "
        "instead.",
    )


@stop(LEARNS)
def mistakes(material: Material) -> Picture:
    """Which digits are mistaken for which."""
    return Picture(
        figures.confusion(material.classroom.evaluation.confusion),
        "Rows are true digits, columns what was read: off the diagonal are the mistakes.",
    )


@stop(LEARNS)
def augmentation(material: Material) -> Picture:
    """One digit, many examples."""
    rng = np.random.default_rng(0)
    image = np.repeat(material.digit[np.newaxis, np.newaxis].astype(np.float32), 5, axis=0)
    kinds: dict[str, data.Augment] = {
        "shift": data.RandomShift(5),
        "crop": data.RandomCrop(24),
        "flip": data.RandomFlip(),
    }
    return Picture(
        figures.augmented(material.digit, {name: kind(image, rng)[:, 0] for name, kind in kinds.items()}),
        "Shifts, crops and flips make new examples of old ones. Flips suit photographs; a mirrored 2 is no 2.",
    )


@stop(LEARNS)
def batches(material: Material) -> Picture:
    """Full batch, mini-batch, stochastic."""
    loader, _, _ = material.samples(32)
    kinds: dict[str, tuple[int | None, float]] = {
        "full batch: 1 step an epoch": (None, 0.1),
        "mini-batches of 32": (32, 0.05),
        "stochastic: 1 image a step": (1, 0.005),
    }
    lines = {}
    for name, (size, rate) in kinds.items():
        model = models.LeNet5(generator=0)
        batch = data.DataLoader(loader.inputs, loader.targets, size, shuffle=size is not None, generator=0)
        optimizer = optim.SGD(model.parameters(), lr=rate)
        history = train.fit(model, batch, epochs=material.epochs(6), optimizer=optimizer, progress=False)
        lines[name] = ([epoch.number for epoch in history], [epoch.loss for epoch in history])
    count = len(loader.inputs)
    return Picture(
        figures.curves(lines, "epoch", "training loss", limits=(0, 2.5)),
        f"Gradient descent on LeNet-5. In one epoch of {count} images the full batch takes a single step, mini-batches "
        f"take {-(-count // 32)}, single images {count}: progress comes with steps. (Learning rates, in that order: "
        + ", ".join(f"{rate:g}" for _, rate in kinds.values())
        + ".)",
    )


@stop(LEARNS)
def optimizers(material: Material) -> Picture:
    """Five rules of descent."""
    loader, _, _ = material.samples(32)
    rules: dict[str, Callable[[Any], optim.Optimizer]] = {
        "SGD, 0.02": lambda parameters: optim.SGD(parameters, lr=0.02),
        "momentum, 0.02": lambda parameters: optim.SGD(parameters, lr=0.02, momentum=0.9),
        "Adagrad, 0.01": lambda parameters: optim.Adagrad(parameters, lr=0.01),
        "RMSprop, 0.001": lambda parameters: optim.RMSprop(parameters, lr=0.001),
        "Adam, 0.001": lambda parameters: optim.Adam(parameters, lr=0.001),
    }
    lines = {}
    for name, rule in rules.items():
        model = models.LeNet5(generator=0)
        batch = data.DataLoader(loader.inputs, loader.targets, 32, shuffle=True, generator=0)
        history = train.fit(model, batch, epochs=material.epochs(6), optimizer=rule(model.parameters()), progress=False)
        lines[name] = ([epoch.number for epoch in history], [epoch.loss for epoch in history])
    best, *_, worst = (name.partition(",")[0] for name in sorted(lines, key=lambda name: lines[name][1][-1]))
    return Picture(
        figures.curves(lines, "epoch", "training loss", logarithmic=True),
        "LeNet-5 from the same weights, the same batches; five rules and their learning rates. "
        f"Least loss in the end: {best}; most: {worst}.",
    )


@stop(LEARNS)
def regularised(material: Material) -> Picture:
    """Normalisation and dropout."""
    trained = material.classroom
    return Picture(
        figures.regularised_maps(trained.model.features[0](trained.test_images[:64])),  # type: ignore[attr-defined]
        "Three maps of one digit, and the values of 64 digits. Batch normalisation brings each map to mean 0 and "
        "variance 1, local response normalisation damps a value whose neighbouring maps are strong, dropout sets half "
        "of the values to 0 and doubles the others.",
    )


# ---------------------------------------------------------------------------------------------------- deep


@stop(DEEP)
def activations(material: Material) -> Picture:
    """Activations and their derivatives."""
    return Picture(
        figures.activations(),
        "The sigmoid's derivative is at most 0.25 and vanishes at both sides; ReLU's is 1 for every positive input, "
        "but 0 for all others, where a unit can die; a leaky ReLU always passes something on, and so does maxout "
        "where no line is flat.",
    )


@stop(DEEP)
def dying(material: Material) -> Picture:
    """Units that die."""
    loader, _, _ = material.samples(16)
    axes = figures.dying_units(loader.inputs, loader.targets)
    rates, dead = axes[0].lines[0].get_data()
    return Picture(
        axes,
        "A layer of 64 units that reads digits. A ReLU that gives 0 for every image passes no gradient on, and never "
        f"wakes: at a learning rate of {rates[-1]:g}, {dead[-1]:.0f} % of them are dead. Right: the biases start so "
        "low that no sum is positive. ReLUs stay dead; leaky ones come back.",
    )


@stop(DEEP)
def vanishing(material: Material) -> Picture:
    """Gradients that vanish, and that do not."""
    axes = figures.vanishing_gradients()
    left = {line.get_label(): line.get_ydata()[0] / line.get_ydata()[-1] for line in axes.lines}
    return Picture(
        axes,
        "The gradient on its way back through twenty layers, from right to left. Of its size, sigmoids leave "
        f"{left['sigmoid']:.0e}, ReLUs {left['ReLU']:.1f} and ReLUs with shortcuts {left['ReLU, residual']:.1f}.",
    )


@stop(DEEP)
def identity(material: Material) -> Picture:
    """A residual block begins as the identity."""
    return Picture(
        figures.residual_identity(material.detail),
        "With all weights 0, a plain block gives nothing; a residual block, F(x) + x, gives its input unchanged, so "
        "that depth does no harm.",
    )


@stop(DEEP)
def plain_and_residual(material: Material) -> Picture:
    """A deep stack, and its residual twin."""
    loader, _, _ = material.samples(16)
    blocks = 1 if material.quick else 5
    lines = {}
    for name, residual in (("plain", False), ("residual", True)):
        model = models.ResNet(
            models.BasicBlock,
            (blocks,) * 3,
            10,
            1,
            widths=(8, 16, 32),
            small_images=True,
            residual=residual,
            generator=0,
        )
        batch = data.DataLoader(loader.inputs, loader.targets, 32, shuffle=True, generator=0)
        optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        history = train.fit(model, batch, epochs=material.epochs(5), optimizer=optimizer, progress=False)
        lines[f"{name}, {6 * blocks + 2} layers"] = (
            [epoch.number for epoch in history],
            [epoch.loss for epoch in history],
        )
    return Picture(
        figures.curves(lines, "epoch", "training loss", logarithmic=True),
        "The same layers, the same digits, with shortcuts and without: the training loss ends at "
        + " and at ".join(f"{loss[-1]:.2f} ({name})" for name, (_, loss) in lines.items())
        + ".",
    )
