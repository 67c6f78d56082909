"""Stops of the tour that need no learning: what convolution saves, what it keeps, filters made by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastconv as fc
from fastconv import analysis, models, nn
from fastconv.analysis import figures
from fastconv.demo.material import Material, vowels
from fastconv.demo.stops import BY_HAND, KEEPS, SAVES, Picture, Table, by, stop

# ---------------------------------------------------------------------------------------------------- what it saves


@stop(SAVES)
def connections(material: Material) -> Picture:
    """Four patterns of connection."""
    return Picture(
        figures.connection_matrices(),
        "Each row is an output, each column an input; white means no connection, and entries of one colour are one "
        "weight. From left to right fewer weights are free: all inputs, neighbours only, two kernels used in turn, one "
        "kernel for all positions.",
    )


@stop(SAVES)
def gradients(material: Material) -> Picture:
    """The same four, on the way back."""
    return Picture(
        figures.connection_gradients(),
        "Above: the matrices turned over; a row shows which outputs send their gradients to an input, through which "
        "weights. Middle: gradient of an output times input (violet above 0, orange below), wherever there is a "
        "connection. Below: the gradient of each weight is the sum of these products over all entries that share it.",
    )


@stop(SAVES)
def weights_by_side(material: Material) -> Picture:
    """Weights against the size of the image."""
    return Picture(
        figures.parameters_by_side(),
        "Weights from a square image to a map of the same size. A full connection grows with the fourth power of the "
        "side and reaches a million million at 1000 pixels; a convolution has 25 weights at every size.",
    )


@stop(SAVES)
def counted(material: Material) -> Table:
    """The same, counted."""
    full, share = analysis.fully_connected, analysis.neurons
    volume = analysis.convolution((3, 32, 32), 10, 5, padding=2, bias=True)
    c5, f6 = analysis.convolution((16, 5, 5), 120, 5, bias=True), full(120, 84, bias=True)
    twelve = analysis.convolution((3, 32, 32), 12, 3, padding="same", bias=True)
    image, wide = (1, 100, 100), (100, 100)
    alone, grouped, near = full((3, 3), 16), share(16, 9, shared_by=4), share(16, 4, shared_by=4)
    fewer = [f"{1 - less.weights / alone.weights:.2%} fewer" for less in (grouped, near)]
    three, one = (analysis.convolution((64, 9, 9), 64, side, padding="same").weights for side in (3, 7))
    rows = [
        ("3x3 image to 16 neurons, fully connected", alone.weights),
        (f"the same, groups of 4 neurons share weights: {fewer[0]}", grouped.weights),
        (f"the same, each neuron sees 2x2 pixels: {fewer[1]}", near.weights),
        ("9 inputs through hidden layers of 90 and 50", full(9, 90).weights + full(90, 50).weights),
        ("32x32 image to 500 neurons", full((32, 32), 500).weights),
        ("100x100 image to a 100x100 map, fully connected", full(wide, wide).weights),
        ("the same, own 5x5 weights at each pixel", analysis.locally_connected(image, 1, 5, padding=2).weights),
        ("the same, one 5x5 kernel and its bias", analysis.convolution(image, 1, 5, padding=2, bias=True).parameters),
        ("a million neurons with 100 weights each", share(10**6, 100).weights),
        ("the same, all sharing", share(10**6, 100, shared_by=10**6).weights),
        (f"ten 5x5 filters over a 32x32x3 volume to {by(volume.output_shape)}, with biases", volume.parameters),
        (f'twelve 3x3 filters, "same" padding, to {by(twelve.output_shape)}, with biases', twelve.parameters),
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
    conv = nn.Conv2d(3, 4, 3, padding=1, dtype=np.float64, generator=0)
    image = material.photograph[:, 100:110, 200:212]
    dense = analysis.as_linear(conv, image.shape)(image.ravel())
    off = float(np.abs(dense - conv(image).ravel()).max())
    return Picture(
        figures.strong_prior(),
        "A convolution is a fully connected layer that is sure of two things: most weights are 0, and those along a "
        f"diagonal are equal. Both give the same (on a piece of photograph, to within {off:.0e}). Drop the gradients "
        "of the zeros, sum the others along the diagonals: what is left is the convolution's own gradient, exactly.",
    )


@stop(SAVES)
def seen(material: Material) -> Picture:
    """What one output sees, and one input reaches."""
    return Picture(
        figures.seen_through_layers(),
        "Each unit reads three units of the layer below. At the left: one output sees 11 inputs (blue) through five "
        "layers; at the right: one input reaches 11 outputs (orange). In two dimensions, three 3x3 layers see as much "
        "as one 7x7, with 27 weights instead of 49 for each pair of channels.",
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
        "AlexNet, 2012": (models.AlexNet2012, (3, 227, 227)),
        "VGG-16": (models.vgg16, (3, 224, 224)),
        "VGG-19": (models.vgg19, (3, 224, 224)),
        "ResNet-18": (models.resnet18, (3, 224, 224)),
        "ResNet-34": (models.resnet34, (3, 224, 224)),
        "ResNet-50": (models.resnet50, (3, 224, 224)),
        "ResNet-101": (models.resnet101, (3, 224, 224)),
        "ResNet-152": (models.resnet152, (3, 224, 224)),
    }
    lines = {}
    for name, (make, shape) in list(makers.items())[: 2 if material.quick else None]:
        found = fc.summary(make(generator=0), shape)
        dense = sum(row.parameters for row in found.rows if row.layer == "Linear")
        lines[name] = (found.parameters - dense, dense, float(found.multiply_adds))
    shares = {name.partition(",")[0]: dense / (inner + dense) for name, (inner, dense, _) in lines.items()}
    most = sorted(shares, key=lambda name: -shares[name])
    return Picture(
        figures.parameters_of_networks(lines),
        "Fully connected layers hold "
        + ", ".join(f"{shares[name]:.0%} of {name}'s" for name in most[:3])
        + " parameters, and do little of the work"
        + "".join(f"; of the others' {shares[name]:.0%} at most" for name in most[3:4])
        + ". ResNets end in a mean over each map.",
    )


@stop(SAVES)
def blocks(material: Material) -> Table:
    """Two residual blocks."""
    made: dict[str, nn.Module] = {
        "basic": models.BasicBlock(256, 256, generator=0),
        "bottleneck": models.Bottleneck(256, 64, generator=0),
    }
    rows: list[tuple[str, ...]] = []
    for name, block in made.items():
        kernels = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        layers = ", ".join(
            f"{layer.kernel_size[0]}x{layer.kernel_size[1]} to {layer.out_channels}" for layer in kernels
        )
        work = fc.summary(block, (256, 14, 14)).multiply_adds
        rows.append((name, layers, f"{sum(layer.weight.size for layer in kernels):,}", f"{work:,}"))
    return Table(
        ("block", "convolutions", "weights", "multiply-adds, 14x14"),
        rows,
        "Both take 256 maps of 14x14 and give as many, plus their input. ResNet-18 and 34 are made of basic blocks; "
        "ResNet-50, 101 and 152 of bottlenecks, which go to fewer channels for the 3x3 convolution and back.",
    )


# ---------------------------------------------------------------------------------------------------- what they keep


@stop(KEEPS)
def shifted(material: Material) -> Picture:
    """Shift the input, and the output shifts."""
    return Picture(
        figures.shifts(material.digit, (2, 4)),
        "A digit, and the same moved by 2 pixels down and 4 to the right. What convolution makes of it moves along, "
        "and what pooling does, half as far at a stride of 2: shifted back, nothing is left over. A fully connected "
        "layer gives something else altogether.",
    )


@stop(KEEPS)
def kept(material: Material) -> Picture:
    """What is kept, and what is not."""
    return Picture(
        figures.kept_and_lost(material.gray[:426]),
        "Left: a filter f before or after a change T of the image: convolution keeps step with shifts, not with "
        "turns, scale or mirrors. Right: the larger a pooling's window, the less a small shift changes its output.",
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
        rows.append(tuple(by(array.shape[1:]) for array in (image, inner, fc.max_pool2d(inner, 2), head(inner))))
    return Table(
        ("image", '12 filters, "same" padding', "2x2 max pooling", "global mean, 10 scores"),
        rows,
        "There are as many maps as filters, and pooling keeps them. Global pooling takes the mean of each map, "
        "whatever its size, so that one network reads images of any size.",
    )


# ---------------------------------------------------------------------------------------------------- by hand


@stop(BY_HAND)
def filtered(material: Material) -> Picture:
    """A photograph through five filters."""
    return Picture(
        figures.filtered_photograph(material.detail),
        "Box and Gaussian smooth; the Laplacian keeps fine detail; (-1, 0, 1) answers to upright edges (orange: dark "
        "to the right, violet: bright to the right); the curve detector lights up most where bright pixels lie along a "
        "line that bends like its own.",
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
        "The response is the number of ones under the template's own: 4 where all of them meet. Below: the same "
        "template, less its mean, over a photograph: violet where the image is like it, orange where the opposite.",
    )


@stop(BY_HAND)
def one_dimension(material: Material) -> Picture:
    """Strides and padding in one dimension."""
    return Picture(
        figures.one_dimensional_example(),
        "Five numbers, a zero at either end, a filter of three: 5 outputs at stride 1, 3 at stride 2, as the formula "
        "(W - F + 2P) / S + 1 says. At stride 1, padding of (F - 1) / 2 keeps the size.",
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
def spoken(material: Material) -> Picture:
    """Convolution along a sound."""
    signal, rate, highest, names = vowels()
    return Picture(
        figures.sound(signal, rate, highest, names),
        "Three vowels made from a formula, with a falling voice. Short waves as filters, two to a pitch, show what the "
        "ear hears: thin lines fall with the voice, and the two bright bands that tell the vowels apart stay.",
    )


@stop(BY_HAND)
def text(material: Material) -> Picture:
    """Convolution along text."""
    return Picture(
        figures.word_detector("a network learns what convolution keeps; convolution shares its weights", "convolution"),
        "Letters as channels, one for each of the alphabet: a filter made of a word counts how many letters agree, and "
        "peaks where the word stands.",
    )
