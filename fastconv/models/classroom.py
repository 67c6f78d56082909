"""The network with which courses introduce convolution on handwritten digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from fastconv import nn
from fastconv.nn.init import Generator, make_generator

__all__ = ["ClassroomNet"]


class ClassroomNet(nn.Sequential):
    """Three convolutions with pooling, batch normalisation between them, one fully connected layer; for 40x40.

    ========  =========================================================  ============  ==========
    layer     what                                                       output        parameters
    ========  =========================================================  ============  ==========
    conv 1    20 kernels of 5x5, ReLU, 2x2 pooling, batch normalisation  20 x 18 x 18         560
    conv 2    50 kernels of 5x5, ReLU, 2x2 pooling, batch normalisation  50 x 7 x 7        25,150
    conv 3    50 kernels of 5x5, ReLU, 2x2 pooling                       50 x 1 x 1        62,550
    output    fully connected                                            num_classes          510
    ========  =========================================================  ============  ==========

    Nothing is padded, so images need 36 to 43 pixels a side. The output is the scores (logits) that
    `fastconv.nn.CrossEntropyLoss` takes, which holds the softmax.

    Shapes: input ``(N, in_channels, 40, 40)`` or ``(in_channels, 40, 40)``, output ``(N, num_classes)`` or
    ``(num_classes,)``.

    Parameters
    ----------
    num_classes : int, default 10
        The number of outputs.
    in_channels : int, default 1
        1 for gray images, 3 for colour.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is not positive.

    Examples
    --------
    >>> net = ClassroomNet(generator=0)
    >>> net(np.zeros((2, 1, 40, 40), np.float32)).shape, sum(parameter.size for parameter in net.parameters())
    ((2, 10), 88770)
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        source = make_generator("ClassroomNet", generator)
        features = nn.Sequential(
            nn.Conv2d(in_channels, 20, 5, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(20, dtype=dtype),
            nn.Conv2d(20, 50, 5, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(50, dtype=dtype),
            nn.Conv2d(50, 50, 5, dtype=dtype, generator=source),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        classifier = nn.Sequential(nn.Flatten(start_dim=-3), nn.Linear(50, num_classes, dtype=dtype, generator=source))
        super().__init__({"features": features, "classifier": classifier})
