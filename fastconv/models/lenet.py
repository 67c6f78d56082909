"""LeNet-5, the network that read handwritten digits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from fastconv import nn
from fastconv.nn.init import Generator, make_generator

__all__ = ["LeNet5"]


class LeNet5(nn.Sequential):
    """LeNet-5 for images of 32x32: three convolutions, two poolings, two fully connected layers.

    ========  =========================  ================  ==========
    layer     what                       output            parameters
    ========  =========================  ================  ==========
    C1        6 kernels of 5x5           6 x 28 x 28              156
    S2        2x2 pooling                6 x 14 x 14
    C3        16 kernels of 5x5          16 x 10 x 10           2,416
    S4        2x2 pooling                16 x 5 x 5
    C5        120 kernels of 5x5         120 x 1 x 1           48,120
    F6        fully connected            84                    10,164
    output    fully connected            num_classes              850
    ========  =========================  ================  ==========

    As networks are built today, C3 reads all six maps, pooling has no weights, and the output is the scores (logits)
    that `fastconv.nn.CrossEntropyLoss` takes.

    Shapes: input ``(N, in_channels, 32, 32)`` or ``(in_channels, 32, 32)``, output ``(N, num_classes)`` or
    ``(num_classes,)``.

    Parameters
    ----------
    num_classes : int, default 10
        The number of outputs.
    in_channels : int, default 1
        1 for gray images, 3 for colour.
    activation : callable, default fastconv.nn.ReLU
        Makes the layer that follows C1, C3, C5 and F6.
    pool : callable, default fastconv.nn.MaxPool2d
        Makes S2 and S4 from the window's size; `fastconv.nn.AvgPool2d` for the mean.
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

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

    Examples
    --------
    >>> net = LeNet5(generator=0)
    >>> net(np.zeros((2, 1, 32, 32), np.float32)).shape, sum(parameter.size for parameter in net.parameters())
    ((2, 10), 61706)
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        pool: Callable[[int], nn.Module] = nn.MaxPool2d,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        source = make_generator("LeNet5", generator)  # one for all layers: a seed given to each would start them alike
        features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, dtype=dtype, generator=source),
            activation(),
            pool(2),
            nn.Conv2d(6, 16, 5, dtype=dtype, generator=source),
            activation(),
            pool(2),
            nn.Conv2d(16, 120, 5, dtype=dtype, generator=source),
            activation(),
        )
        classifier = nn.Sequential(
            nn.Flatten(start_dim=-3),
            nn.Linear(120, 84, dtype=dtype, generator=source),
            activation(),
            nn.Linear(84, num_classes, dtype=dtype, generator=source),
        )
        super().__init__({"features": features, "classifier": classifier})
