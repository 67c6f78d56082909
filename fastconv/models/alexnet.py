"""AlexNet, the network that made deep learning: as it was in 2012, and as torchvision has it."""

from __future__ import annotations

from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike

from fastconv import nn
from fastconv.models._docs import documented
from fastconv.nn.init import LATER, Generator, make_generator, normal_

__all__ = ["AlexNet", "AlexNet2012", "alexnet"]


class AlexNet(nn.Sequential):
    """AlexNet for images of 224x224 (63x63 at least), as torchvision has it: one group, no normalisation.

    The names of parameters are torchvision's, so its published weights load by name (see `fastconv.load`). It has
    61,100,840 parameters with 1000 classes.

    Shapes: input ``(N, in_channels, H, W)`` or ``(in_channels, H, W)``, output ``(N, num_classes)`` or
    ``(num_classes,)``.

    Parameters
    ----------
    num_classes : int, default 1000
        The number of outputs.
    in_channels : int, default 3
        1 for gray images, 3 for colour.
    dropout : float, default 0.5
        The probability that a unit before the first two fully connected layers is left out, in training.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights and of dropout, or its seed.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is out of its range.

    References
    ----------
    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.

    Examples
    --------
    >>> net = AlexNet(num_classes=10, generator=0).eval()
    >>> net(np.zeros((1, 3, 224, 224), np.float32)).shape
    (1, 10)
    """

    features: nn.Sequential
    avgpool: nn.Module
    classifier: nn.Sequential

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        dropout: float = 0.5,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        source = make_generator("AlexNet", generator)
        features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        classifier = nn.Sequential(
            nn.Dropout(dropout, generator=source),
            nn.Linear(256 * 6 * 6, 4096, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.Dropout(dropout, generator=source),
            nn.Linear(4096, 4096, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.Linear(4096, num_classes, dtype=dtype, generator=source),
        )
        super().__init__(
            {
                "features": features,
                "avgpool": nn.AdaptiveAvgPool2d((6, 6)),
                "flatten": nn.Flatten(start_dim=-3),
                "classifier": classifier,
            }
        )


class AlexNet2012(nn.Sequential):
    """AlexNet for images of 227x227 as it won in 2012: two groups, local response normalisation.

    ========  ===========================================================  ================  ==========
    layer     what                                                         output            parameters
    ========  ===========================================================  ================  ==========
    conv1     96 kernels of 11x11, stride 4; normalisation; 3x3/2 pooling  96 x 27 x 27          34,944
    conv2     256 of 5x5 in two groups; normalisation; 3x3/2 pooling       256 x 13 x 13        307,456
    conv3     384 of 3x3                                                   384 x 13 x 13        885,120
    conv4     384 of 3x3 in two groups                                     384 x 13 x 13        663,936
    conv5     256 of 3x3 in two groups; 3x3/2 pooling                      256 x 6 x 6          442,624
    fc6       fully connected, dropout                                     4096              37,752,832
    fc7       fully connected, dropout                                     4096              16,781,312
    fc8       fully connected                                              num_classes        4,097,000
    ========  ===========================================================  ================  ==========

    The groups were two graphics cards. The article names images of 224x224; with its strides and without padding
    they have 227. First weights are the article's: normal with deviation 0.01, biases 1 in the second, fourth and
    fifth convolution and the hidden fully connected layers, 0 elsewhere.

    Shapes: input ``(N, in_channels, 227, 227)`` or one sample, output ``(N, num_classes)`` or ``(num_classes,)``.
    Parameters and errors are those of `AlexNet`.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012.

    Examples
    --------
    >>> net = AlexNet2012(generator=0).eval()
    >>> net(np.zeros((3, 227, 227), np.float32)).shape, sum(parameter.size for parameter in net.parameters())
    ((1000,), 60965224)
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        dropout: float = 0.5,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        source = make_generator("AlexNet2012", generator)

        def norm() -> nn.Module:  # the article's alpha of 1e-4 is for the sum over 5 channels, torch's for their mean
            return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

        features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, stride=4, dtype=dtype, generator=LATER),
            nn.ReLU(),
            norm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2, dtype=dtype, generator=LATER),
            nn.ReLU(),
            norm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(256, 384, 3, padding=1, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        classifier = nn.Sequential(
            nn.Flatten(start_dim=-3),
            nn.Linear(256 * 6 * 6, 4096, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.Dropout(dropout, generator=source),
            nn.Linear(4096, 4096, dtype=dtype, generator=LATER),
            nn.ReLU(),
            nn.Dropout(dropout, generator=source),
            nn.Linear(4096, num_classes, dtype=dtype, generator=LATER),
        )
        super().__init__({"features": features, "classifier": classifier})
        learned = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        for layer, bias in zip(learned, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
            normal_(layer.weight, 0.0, 0.01, generator=source)
            assert layer.bias is not None
            layer.bias.data[...] = bias


class Options(TypedDict, total=False):
    """What is given to `AlexNet` by name."""

    dropout: float
    dtype: DTypeLike
    generator: Generator


@documented(
    family="AlexNet",
    sizes="are 63 or more, 224 as published",
    options="dropout, dtype and generator",
    parameters="61,100,840",
    paper='Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.',
)
def alexnet(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> AlexNet:
    """Make an `AlexNet`, under the name that torchvision gives it."""
    return AlexNet(num_classes, in_channels, **options)
