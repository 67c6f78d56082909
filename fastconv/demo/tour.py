"""The stops of the tour, in order: each gives a picture or a table, and the sentence that says what to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconv as fc
from fastconv import analysis, data, models, nn, optim, train
from fastconv.analysis import figures
from fastconv.demo.material import Material

__all__ = ["CHAPTERS", "Picture", "Stop", "Table"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """What a stop shows: one or many Axes of one figure, and what to see in it."""

    axes: Any
    sentence: str

    @property
    def figure(self) -> Any:
        """The figure that the Axes are in."""
        return np.ravel(self.axes)[0].figure


@dataclass(frozen=True)
class Table:
    """What a stop shows: rows of text below a header, and what to see in them."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    sentence: str


@dataclass(frozen=True)
class Stop:
    """A stop: its name (of the file, too), its title, and what makes the picture or table."""

    name: str
    title: str
    show: Callable[[Material], Picture | Table]


CHAPTERS: dict[str, list[Stop]] = {}


Show = Callable[[Material], Picture | Table]


def stop(chapter: str) -> Callable[[Show], Show]:
    """Add a function to the tour, at the end of a chapter; its docstring is the title."""

    def add(show: Show) -> Show:
        CHAPTERS.setdefault(chapter, []).append(Stop(show.__name__, (show.__doc__ or "").rstrip("."), show))
        return show

    return add


SAVES = "What convolution saves"
KEEPS = "What convolution and pooling keep"
BY_HAND = "Filters made by hand"
LEARNS = "Filters that are learned"
DEEP = "Deep networks"

# ---------------------------------------------------------------------------------------------------- what it saves


@stop(SAVES)
def connections(material: Material) -> Picture:
    """Four patterns of connection."""
    return Picture(
        figures.connection_matrices(),
        "Each row is an output, each column an input; white means no connection, and entries of one colour are one "
        "weight. From left to right fewer weights are free: all inputs, neighbours only, two kernels used in turn, one "
        "kernel for all positions. Back-propagation reads the same matrices by columns.",
    )


@stop(SAVES)
def weights_by_side(material: Material) -> Picture:
    """Weights against the size of the image."""
    return Picture(
        figures.parameters_by_side(),
        "Weights from a square image to a map of the same size. A full connection grows with the fourth power of the "
        "side and passes a million million at 1000 pixels; a convolution has 25 weights at every size.",
    )


@stop(SAVES)
def counted(material: Material) -> Table:
    """The same, counted."""
    full, share = analysis.fully_connected, analysis.neurons
    volume = analysis.convolution((3, 32, 32), 10, 5, padding=2, bias=True)
    c5, f6 = analysis.convolution((16, 5, 5), 120, 5, bias=True), full(120, 84, bias=True)
    three, one = (analysis.convolution((64, 9, 9), 64, side, padding="same").weights for side in (3, 7))
    rows = [
        ("3x3 image to 16 neurons, fully connected", full((3, 3), 16).weights),
        ("the same, groups of 4 neurons share weights", share(16, 9, shared_by=4).weights),
        ("the same, each neuron sees 2x2 pixels", share(16, 4, shared_by=4).weights),
        ("9 inputs through hidden layers of 90 and 50", full(9, 90).weights + full(90, 50).weights),
        ("32x32 image to 500 neurons", full((32, 32), 500).weights),
        ("100x100 image to a 100x100 map, fully connected", full((100, 100), (100, 100)).weights),
        ("the same, own 5x5 weights at each pixel", analysis.locally_connected((1, 100, 100), 1, 5, padding=2).weights),
        ("a million neurons with 100 weights each", share(10**6, 100).weights),
        ("the same, all sharing", share(10**6, 100, shared_by=10**6).weights),
        (f"ten 5x5 filters over a 32x32x3 volume to {_by(volume.output_shape)}, with biases", volume.parameters),
        ("LeNet-5's C5: 120 kernels of 5x5 over 16 maps, with biases", c5.parameters),
        ("LeNet-5's F6: 120 inputs to 84 neurons, with biases", f6.parameters),
        ("three 3x3 layers of 64 channels (see 7x7)", 3 * three),
        ("one 7x7 layer of 64 channels", one),
    ]
    return Table(
        ("layer", "weights"),
        [(name, f"{number:,}") for name, number in rows],
        "What each pattern must learn; fastconv.analysis counts them for any size.",
    )


@stop(SAVES)
def prior(material: Material) -> Picture:
    """An infinitely strong prior."""
    return Picture(
        figures.strong_prior(),
        "A convolution is a fully connected layer that is sure of two things: most weights are 0, and those along a "
        "diagonal are equal. Drop the gradients of the zeros, sum the others along the diagonals, and what is left is "
        "the convolution's own gradient, exactly.",
    )


@stop(SAVES)
def seen(material: Material) -> Picture:
    """What one output sees, and one input reaches."""
    return Picture(
        figures.seen_through_layers(),
        "Each unit reads three units of the layer below. Numbers at the left: one output at the top sees 7 inputs "
        "(blue) through three layers; at the right: one input reaches 7 outputs (orange). In two dimensions, three "
        "3x3 layers see as much as one 7x7, with 27 weights instead of 49 for each pair of channels.",
    )


@stop(SAVES)
def seen_by_vgg(material: Material) -> Picture:
    """What VGG-16 sees."""
    windows, labels = [], {}
    for pooling, convolutions in enumerate((2, 2, 3, 3, 3), 1):  # the stacks of configuration D
        windows += [analysis.Window((3, 3), padding=1)] * convolutions + [analysis.Window((2, 2), 2)]
        labels[str(len(windows) - 1)] = f"pooling {pooling}"
    return Picture(
        figures.seen_by_layers(material.photograph, windows, labels),
        "The pixels that one number sees behind each of VGG-16's poolings: stacks of 3x3 windows grow into a view of "
        "212 x 212 pixels.",
    )


@stop(SAVES)
def networks(material: Material) -> Picture:
    """Where networks keep their parameters."""
    makers: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
        "LeNet-5": (models.LeNet5, (1, 32, 32)),
        "classroom": (models.ClassroomNet, (1, 40, 40)),
        "AlexNet": (models.alexnet, (3, 224, 224)),
        "VGG-16": (models.vgg16, (3, 224, 224)),
        "ResNet-18": (models.resnet18, (3, 224, 224)),
        "ResNet-50": (models.resnet50, (3, 224, 224)),
    }
    lines = {}
    for name, (make, shape) in list(makers.items())[: 2 if material.quick else None]:
        found = fc.summary(make(generator=0), shape)
        dense = sum(row.parameters for row in found.rows if row.layer == "Linear")
        lines[name] = (found.parameters - dense, dense, float(found.multiply_adds))
    return Picture(
        figures.parameters_of_networks(lines),
        "AlexNet and VGG keep nine tenths of their parameters in fully connected layers, which do little of the work. "
        "ResNet ends in a mean over each map and needs hardly any.",
    )


# ---------------------------------------------------------------------------------------------------- what they keep


@stop(KEEPS)
def shifted(material: Material) -> Picture:
    """Shift the input, and the output shifts."""
    return Picture(
        figures.shifts(material.digit, (2, 4)),
        "A digit, and the same moved down and to the right. What convolution and pooling make of it moves along: "
        "shifted back, nothing is left over. A fully connected layer gives something else altogether.",
    )


@stop(KEEPS)
def kept(material: Material) -> Picture:
    """What is kept, and what is not."""
    return Picture(
        figures.kept_and_lost(material.gray[:426]),
        "Left: convolution keeps step with shifts, not with turns, scale or mirrors. Right: the larger the window of "
        "a pooling, the less a small shift changes its output.",
    )


@stop(KEEPS)
def pooled(material: Material) -> Picture:
    """Pooling by maximum and by mean."""
    return Picture(
        figures.pooling(),
        "Windows of 2x2 at a stride of 2 keep a quarter of the numbers and learn nothing. The maximum gives one weight "
        "of its window 1 and the others 0, the mean gives each 0.25.",
    )


@stop(KEEPS)
def any_size(material: Material) -> Table:
    """Any image size fits a classifier."""
    maps = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, generator=0), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(start_dim=-3), nn.Linear(12, 10, generator=0))
    rows = []
    for height, width in ((32, 32), (100, 150), (427, 640)):
        image = material.photograph[np.newaxis, :, :height, :width].astype(np.float32)
        inner = maps(image)
        rows.append(tuple(_by(array.shape[1:]) for array in (image, inner, head(inner))))
    return Table(
        ("image", 'behind twelve filters with "same" padding', "scores"),
        rows,
        "Global pooling takes the mean of each map, whatever its size, so that one network reads images of any size.",
    )


# ---------------------------------------------------------------------------------------------------- by hand


@stop(BY_HAND)
def filtered(material: Material) -> Picture:
    """A photograph through five filters."""
    return Picture(
        figures.filtered_photograph(material.detail),
        "Box and Gaussian smooth; the Laplacian keeps fine detail; (-1, 0, 1) answers to upright edges (orange: dark "
        "to the right, violet: bright to the right); the curve detector lights up where a line bends like its own.",
    )


@stop(BY_HAND)
def curve(material: Material) -> Picture:
    """A detector of one curve."""
    return Picture(
        figures.curve_detector(),
        "Products of image and filter, added up: 6600 where the image holds the filter's curve, 0 where it holds "
        "another one.",
    )


@stop(BY_HAND)
def template(material: Material) -> Picture:
    """A 3x3 template slides over an image."""
    return Picture(
        figures.template(material.detail),
        "The response is the number of marked pixels under the template's ones: 4 where all agree. Below: the same "
        "template, less its mean, over a photograph.",
    )


@stop(BY_HAND)
def one_dimension(material: Material) -> Picture:
    """Strides and padding in one dimension."""
    return Picture(
        figures.one_dimensional_example(),
        "Five numbers, a zero at either end, a filter of three: 5 outputs at stride 1, 3 at stride 2, as the formula "
        "(W - F + 2P) / S + 1 says.",
    )


@stop(BY_HAND)
def series(material: Material) -> Picture:
    """Convolution along time."""
    rng = np.random.default_rng(0)
    month = np.arange(240)
    signal = 20 + 0.05 * month + 6 * np.sin(month * 2 * np.pi / 60) + rng.normal(0, 1.5, month.size)
    return Picture(
        figures.series(signal, ("month (made-up series)", "value")),
        "The same operation in one dimension: one filter smooths a noisy series, another takes its slope.",
    )


@stop(BY_HAND)
def text(material: Material) -> Picture:
    """Convolution along text."""
    return Picture(
        figures.word_detector("a network learns what convolution keeps; convolution shares its weights", "convolution"),
        "Letters as channels, one for each of the alphabet: a filter made of a word counts how many letters agree, and "
        "peaks where the word stands.",
    )


# ---------------------------------------------------------------------------------------------------- learned


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
    chosen = [*range(3), *wrong[:2]]
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
    kinds = {"full batch: 1 step an epoch": None, "mini-batches of 32": 32, "stochastic: 1 image a step": 1}
    lines = {}
    for name, size in kinds.items():
        model = models.LeNet5(generator=0)
        batch = data.DataLoader(loader.inputs, loader.targets, size, shuffle=size is not None, generator=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1 if size is None else 0.05 if size > 1 else 0.005)
        history = train.fit(model, batch, epochs=material.epochs(6), optimizer=optimizer, progress=False)
        lines[name] = ([epoch.number for epoch in history], [epoch.loss for epoch in history])
    return Picture(
        figures.curves(lines, "epoch", "training loss", limits=(0, 2.5)),
        "Gradient descent on LeNet-5. In one epoch the full batch takes a single step, mini-batches take dozens, "
        "single images more than a thousand: progress comes with steps.",
    )


@stop(LEARNS)
def optimizers(material: Material) -> Picture:
    """Five rules of descent."""
    loader, _, _ = material.samples(32)
    rules: dict[str, Callable[[Any], optim.Optimizer]] = {
        "SGD": lambda parameters: optim.SGD(parameters, lr=0.02),
        "momentum": lambda parameters: optim.SGD(parameters, lr=0.02, momentum=0.9),
        "Adagrad": lambda parameters: optim.Adagrad(parameters, lr=0.01),
        "RMSprop": lambda parameters: optim.RMSprop(parameters, lr=0.001),
        "Adam": lambda parameters: optim.Adam(parameters, lr=0.001),
    }
    lines = {}
    for name, rule in rules.items():
        model = models.LeNet5(generator=0)
        batch = data.DataLoader(loader.inputs, loader.targets, 32, shuffle=True, generator=0)
        history = train.fit(model, batch, epochs=material.epochs(6), optimizer=rule(model.parameters()), progress=False)
        lines[name] = ([epoch.number for epoch in history], [epoch.loss for epoch in history])
    return Picture(
        figures.curves(lines, "epoch", "training loss", logarithmic=True),
        "LeNet-5 from the same weights, the same batches, five rules at usual learning rates: plain descent is the "
        "slowest.",
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
        "but 0 for all others, where a unit can die; leaky ReLU and maxout always pass something on.",
    )


@stop(DEEP)
def vanishing(material: Material) -> Picture:
    """Gradients that vanish, and that do not."""
    return Picture(
        figures.vanishing_gradients(),
        "The gradient on its way back through twenty layers, from right to left. Sigmoids shrink it to almost "
        "nothing, ReLUs keep its size, and shortcuts do too.",
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
        "The same layers, the same digits, with shortcuts and without: the plain stack learns far more slowly.",
    )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
