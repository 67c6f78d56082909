"""ResNet: blocks that add what they compute to what they were given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike

from fastconv import _check as check
from fastconv import nn
from fastconv.models._docs import documented
from fastconv.nn.init import LATER, Generator, make_generator
from fastconv.nn.init import kaiming_normal_ as he_normal_

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "small_resnet",
]


class _Block(nn.Module):
    """relu(F(x) + x): what the two kinds of blocks have in common. Where shapes differ, `downsample` mends x.

    Layers are attributes with torchvision's names; the way through them is laid anew in each call, so that a layer may
    be replaced (by one with batch normalisation folded in, for example).
    """

    expansion: ClassVar[int]
    relu: nn.Module
    downsample: nn.Module | None
    residual: bool

    def _body(self) -> tuple[nn.Module, ...]:
        """Return the layers of F."""
        raise NotImplementedError

    def _rows(self) -> list[tuple[nn.Module, ...]]:
        return [self._body()]  # for `fuse`, which looks for normalisation behind convolution

    def _shortcut(self, in_channels: int, channels: int, stride: int, residual: bool, dtype: DTypeLike) -> None:
        self.residual = residual
        self.downsample = None
        if residual and (stride != 1 or in_channels != channels):
            self.downsample = nn.Sequential(
                _conv(in_channels, channels, 1, stride, dtype), nn.BatchNorm2d(channels, dtype=dtype)
            )

    def _way(self) -> nn.Module:
        body = nn.Sequential(*self._body())
        return nn.Residual(body, self.downsample, self.relu) if self.residual else body.append(self.relu)

    def forward(self, input: Any, *, needs_input_grad: bool = True) -> tuple[Any, nn.Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        return self._way().forward(input, needs_input_grad=needs_input_grad)

    def __call__(self, input: Any) -> Any:
        """Compute the output alone; nothing is kept."""
        return self._way()(input)


class BasicBlock(_Block):
    """Two 3x3 convolutions and a shortcut around them: relu(F(x) + x).

    Shapes: input ``(N, in_channels, H, W)``, output ``(N, channels, H / stride, W / stride)``.

    Parameters
    ----------
    in_channels, channels : int
        Channels in and out.
    stride : int, default 1
        Of the first convolution.
    residual : bool, default True
        False leaves out the shortcut: the plain twin, relu(F(x)).
    dtype : dtype, default float32
        Of the parameters.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed: normal with He's deviation for the gradients.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is not positive.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    Examples
    --------
    Where F is 0, the block is the identity (on what is not negative):

    >>> block = BasicBlock(8, 8)
    >>> block.bn2.weight.data[...] = 0
    >>> x = np.random.default_rng(0).random((2, 8, 5, 5), np.float32)
    >>> np.array_equal(block(x), x)
    True
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        residual: bool = True,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        self.conv1 = _conv(in_channels, channels, 3, stride, dtype)
        self.bn1 = nn.BatchNorm2d(channels, dtype=dtype)
        self.relu = nn.ReLU()
        self.conv2 = _conv(channels, channels, 3, 1, dtype)
        self.bn2 = nn.BatchNorm2d(channels, dtype=dtype)
        self._shortcut(in_channels, channels, stride, residual, dtype)
        _initialise(self, generator)

    def _body(self) -> tuple[nn.Module, ...]:
        return self.conv1, self.bn1, self.relu, self.conv2, self.bn2


class Bottleneck(_Block):
    """A 1x1 convolution to fewer channels, a 3x3 one on them, a 1x1 one to four times as many, and a shortcut.

    The stride is that of the 3x3 convolution, as torchvision has it ("ResNet 1.5").

    Shapes: input ``(N, in_channels, H, W)``, output ``(N, 4 * channels, H / stride, W / stride)``.
    Parameters, errors and source are those of `BasicBlock`; `channels` are those of the 3x3 convolution.

    Examples
    --------
    >>> Bottleneck(64, 16, stride=2)(np.zeros((64, 8, 8), np.float32)).shape
    (64, 4, 4)
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        residual: bool = True,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        self.conv1 = _conv(in_channels, channels, 1, 1, dtype)
        self.bn1 = nn.BatchNorm2d(channels, dtype=dtype)
        self.conv2 = _conv(channels, channels, 3, stride, dtype)
        self.bn2 = nn.BatchNorm2d(channels, dtype=dtype)
        self.conv3 = _conv(channels, 4 * channels, 1, 1, dtype)
        self.bn3 = nn.BatchNorm2d(4 * channels, dtype=dtype)
        self.relu = nn.ReLU()
        self._shortcut(in_channels, 4 * channels, stride, residual, dtype)
        _initialise(self, generator)

    def _body(self) -> tuple[nn.Module, ...]:
        return self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu, self.conv3, self.bn3


Block: TypeAlias = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Sequential):
    """A residual network: a first convolution, stages of blocks, the mean of each map, one fully connected layer.

    ==========  ==========  =============  ===========
    network     block       layers         parameters
    ==========  ==========  =============  ===========
    resnet18    BasicBlock  (2, 2, 2, 2)    11,689,512
    resnet34    BasicBlock  (3, 4, 6, 3)    21,797,672
    resnet50    Bottleneck  (3, 4, 6, 3)    25,557,032
    resnet101   Bottleneck  (3, 4, 23, 3)   44,549,160
    resnet152   Bottleneck  (3, 8, 36, 3)   60,192,808
    ==========  ==========  =============  ===========

    The names of parameters are torchvision's, so its published weights load by name (see `fastconv.load`).

    Shapes: input ``(N, in_channels, H, W)`` or one sample, of any size, output ``(N, num_classes)`` or
    ``(num_classes,)``.

    Parameters
    ----------
    block : BasicBlock or Bottleneck, the class
        What the stages are made of.
    layers : sequence of int
        Blocks of each stage. From the second on, the first block halves height and width.
    num_classes : int, default 1000
        The number of outputs.
    in_channels : int, default 3
        1 for gray images, 3 for colour.
    widths : sequence of int, default 64, 128, 256, 512
        Channels of each stage.
    small_images : bool, default False
        Begin with 3x3 at stride 1 instead of 7x7 and pooling at stride 2 each: for images of 32 pixels and about.
    residual : bool, default True
        False leaves out the shortcuts: the plain twin, whose training degrades with depth.
    zero_init_residual : bool, default False
        Begin with every block as the identity: the last normalisation of each has weight 0.
    dtype : dtype, default float32
        Of the parameters: float16, float32 or float64.
    generator : numpy.random.Generator or int, optional
        The source of the first weights, or its seed. Convolutions are normal with He's deviation for the gradients.

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When a number is not positive, or `layers` and `widths` are not equally many.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> net = ResNet(BasicBlock, (1, 1), num_classes=10, widths=(8, 16), small_images=True, generator=0)
    >>> net(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """

    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    avgpool: nn.Module
    fc: nn.Linear

    def __init__(
        self,
        block: Block,
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        small_images: bool = False,
        residual: bool = True,
        zero_init_residual: bool = False,
        dtype: DTypeLike = np.float32,
        generator: Generator = None,
    ) -> None:
        counts = check.sizes("ResNet", "layers", layers, minimum=1)
        channels = check.sizes("ResNet", "widths", widths, minimum=1)
        if len(counts) != len(channels) or not counts:
            raise ValueError(f"ResNet: layers and widths must be equally many, received {layers=}, {widths=}")
        source = make_generator("ResNet", generator)
        last = channels[0]
        first = _conv(in_channels, last, 3 if small_images else 7, 1 if small_images else 2, dtype)
        named: dict[str, nn.Module] = {"conv1": first, "bn1": nn.BatchNorm2d(last, dtype=dtype), "relu": nn.ReLU()}
        if not small_images:
            named["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, (count, width) in enumerate(zip(counts, channels, strict=True), start=1):
            blocks = []
            for index in range(count):
                stride = 2 if index == 0 and stage > 1 else 1
                blocks.append(block(last, width, stride, residual=residual, dtype=dtype, generator=LATER))
                last = width * block.expansion
            named[f"layer{stage}"] = nn.Sequential(*blocks)
        named |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(start_dim=-3)}
        super().__init__(named | {"fc": nn.Linear(last, num_classes, dtype=dtype, generator=source)})
        _initialise(self, source)
        for module in self.modules() if zero_init_residual else ():
            if isinstance(module, BasicBlock | Bottleneck):
                last_norm = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                assert last_norm.weight is not None
                last_norm.weight.data[...] = 0


def _conv(in_channels: int, channels: int, kernel: int, stride: int, dtype: DTypeLike) -> nn.Conv2d:
    """Make a convolution without bias (batch normalisation follows) that keeps the size but for its stride."""
    return nn.Conv2d(
        in_channels, channels, kernel, stride, padding=kernel // 2, bias=False, dtype=dtype, generator=LATER
    )


def _initialise(module: nn.Module, generator: Generator) -> None:
    if generator is LATER:
        return
    source = make_generator(type(module).__name__, generator)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            he_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=source)


class Options(TypedDict, total=False):
    """What is given to `ResNet` by name."""

    residual: bool
    zero_init_residual: bool
    dtype: DTypeLike
    generator: Generator


_documented = partial(
    documented,
    family="ResNet",
    sizes="are any, 224 as published",
    options="residual, zero_init_residual, dtype and generator",
    paper='He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.',
)
_EXAMPLE = """>>> net = resnet18(num_classes=10, in_channels=1, generator=0).eval()
>>> net(np.zeros((2, 1, 32, 32), np.float32)).shape
(2, 10)
"""


@_documented(_EXAMPLE, parameters="11,689,512")
def resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> ResNet:
    """Make a ResNet of 18 layers, 8 blocks of two 3x3 convolutions."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels, **options)


@_documented(parameters="21,797,672")
def resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> ResNet:
    """Make a ResNet of 34 layers, 16 blocks of two 3x3 convolutions."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels, **options)


@_documented(parameters="25,557,032")
def resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> ResNet:
    """Make a ResNet of 50 layers, 16 bottlenecks of 1x1, 3x3 and 1x1 convolutions."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels, **options)


@_documented(parameters="44,549,160")
def resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> ResNet:
    """Make a ResNet of 101 layers, 33 bottlenecks of 1x1, 3x3 and 1x1 convolutions."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, in_channels, **options)


@_documented(parameters="60,192,808")
def resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Unpack[Options]) -> ResNet:
    """Make a ResNet of 152 layers, 50 bottlenecks of 1x1, 3x3 and 1x1 convolutions."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, in_channels, **options)


def small_resnet(depth: int = 20, num_classes: int = 10, in_channels: int = 3, **options: Unpack[Options]) -> ResNet:
    """Make a ResNet for images of 32x32: three stages of 16, 32 and 64 channels, depth = 6 * blocks + 2 layers.

    Shapes: input ``(N, in_channels, H, W)`` or one sample, of any size, output ``(N, num_classes)`` or
    ``(num_classes,)``.

    Parameters
    ----------
    depth : int, default 20
        8, 14, 20, 32, 44, 56, ...: two layers more than a multiple of 6.
    num_classes : int, default 10
        The number of outputs.
    in_channels : int, default 3
        1 for gray images, 3 for colour.
    **options
        residual, zero_init_residual, dtype and generator, by name, as `ResNet` takes them.

    Returns
    -------
    ResNet

    Raises
    ------
    TypeError
        When a number is not an int, or the dtype not a float one.
    ValueError
        When there is none of that depth.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, section 4.2.

    Examples
    --------
    >>> small_resnet(8, in_channels=1)(np.zeros((4, 1, 32, 32), np.float32)).shape
    (4, 10)
    """
    blocks, rest = divmod(check.integer("small_resnet", "depth", depth, 8) - 2, 6)
    if rest:
        raise ValueError(f"small_resnet: depth must be 2 more than a multiple of 6, received depth={depth}")
    return ResNet(
        BasicBlock, (blocks,) * 3, num_classes, in_channels, widths=(16, 32, 64), small_images=True, **options
    )
