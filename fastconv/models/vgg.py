"""VGG: deep stacks of 3x3 convolutions."""

from __future__ import annotations

from functools import partial
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike

from fastconv import nn
from fastconv.models._docs import documented
from fastconv.nn.init import LATER, Generator, make_generator, normal_
from fastconv.nn.init import kaiming_normal_ as he_normal_

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

#: Convolutions of 64, 128, 256, 512 and 512 channels before each of the five poolings, by the number of layers.
STACKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Sequential):
    """VGG for images of 224x224 (32x32 at least): stacks of 3x3 convolutions, each followed by 2x2 pooling.

    ======  ============  ===========  ===============
    layers  convolutions  parameters   with batch norm
    ======  ============  ===========  ===============
    11      8             132,863,336      132,868,840
    13      10            133,047,848      133,053,736
    16      13            138,357,544      138,365,992
    19      16            143,667,240      143,678,248
    ======  ============  ===========  ===============

    Two 3x3 convolutions see what one of 5x5 sees, three what one of 7x7 sees, with fewer weights. The names of
    parameters are torchvision's, so its published weights load by name (see `fastconv.load`).

    Shapes: input ``(N, in_channels, H, W)`` or ``(in_channels, H, W)``, output ``(N, num_classes)`` or
    ``(num_classes,)``.

    Parameters
    ----------
    depth : {11, 13, 16, 19}
        Layers with weights: the convolutions and three fully connected ones.
    num_classes : int, default 1000
        The number of outputs.
    in_channels : int, default 3
        1 for gray images, 3 for colour.
    batch_norm : bool, default False
        Whether batch normalisation follows each convolution.
    dropout : float, default 0.5
        The probability that a unit of the hidden fully connected layers is left out, in training.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights and of dropout, or its seed. Convolutions are normal with He's deviation for
        the gradients, fully connected layers with 0.01, biases 0.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is out of its range, or there is no VGG of that depth.

    References
    ----------
    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.

    Examples
    --------
    >>> net = VGG(11, num_classes=10, in_channels=1, batch_norm=True, generator=0).eval()
    >>> net(np.zeros((1, 1, 32, 32), np.float32)).shape
    (1, 10)
    """

    features: nn.Sequential
    avgpool: nn.Module
    classifier: nn.Sequential

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        if depth not in STACKS:
            raise ValueError(f"VGG: depth must be one of 11, 13, 16, 19, received depth={depth!r}")
        source = make_generator("VGG", generator)
        features: list[nn.Module] = []
        channels = in_channels
        for width, count in zip(WIDTHS, STACKS[depth], strict=True):
            for _ in range(count):
                features.append(nn.Conv2d(channels, width, 3, padding=1, dtype=dtype, generator=LATER))
                if batch_norm:
                    features.append(nn.BatchNorm2d(width, dtype=dtype))
                features.append(nn.ReLU())
                channels = width
            features.append(nn.MaxPool2d(2))
        classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.Dropout(dropout, generator=source),
            nn.Linear(4096, 4096, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.Dropout(dropout, generator=source),
            nn.Linear(4096, num_classes, dtype=dtype, generator=LATER),
        )
        super().__init__(
            {
                "features": nn.Sequential(*features),
                "avgpool": nn.AdaptiveAvgPool2d((7, 7)),
                "flatten": nn.Flatten(start_dim=-3),
                "classifier": classifier,
            }
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                he_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=source)
            elif isinstance(layer, nn.Linear):
                normal_(layer.weight, 0.0, 0.01, generator=source)
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                layer.bias.data[...] = 0


class Options(TypedDict, total=False):
    """What is given to `VGG` by name."""

    dropout: float
    dtype: DTypeLike
    generator: Generator


_documented = partial(
    documented,
    family="VGG",
    sizes="are 32 or more, 224 as published",
    options="dropout, dtype and generator",
    paper='Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.',
)


@_documented(parameters="132,863,336")
def vgg11(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-11 (configuration A)."""
    return VGG(11, num_classes, in_channels, **options)


@_documented(parameters="132,868,840")
def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-11 (configuration A) with batch normalisation."""
    return VGG(11, num_classes, in_channels, batch_norm=True, **options)


@_documented(parameters="133,047,848")
def vgg13(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-13 (configuration B)."""
    return VGG(13, num_classes, in_channels, **options)


@_documented(parameters="133,053,736")
def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-13 (configuration B) with batch normalisation."""
    return VGG(13, num_classes, in_channels, batch_norm=True, **options)


@_documented(parameters="138,357,544")
def vgg16(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-16 (configuration D)."""
    return VGG(16, num_classes, in_channels, **options)


@_documented(parameters="138,365,992")
def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-16 (configuration D) with batch normalisation."""
    return VGG(16, num_classes, in_channels, batch_norm=True, **options)


@_documented(parameters="143,667,240")
def vgg19(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-19 (configuration E)."""
    return VGG(19, num_classes, in_channels, **options)


@_documented(parameters="143,678,248")
def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> VGG:
    """Make a VGG-19 (configuration E) with batch normalisation."""
    return VGG(19, num_classes, in_channels, batch_norm=True, **options)
