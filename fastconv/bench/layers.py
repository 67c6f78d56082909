"""What a layer costs on paper: parameters, multiply-adds and bytes of convolution, fully connected layer, pooling.

No clock runs here. The figures follow from the sizes alone, in Python's unbounded integers, so that a fully
connected layer that no machine could hold is still counted exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypedDict

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Work:
    """What one call of a layer does, whatever the machine.

    Attributes
    ----------
    parameters : int
        Weights and biases.
    multiply_adds : int
        Multiply-adds of the forward call; taps that fall on padding are counted, as is usual.
    forward_bytes : int
        Compulsory traffic in float32: input and parameters read once, output written once.
    backward_bytes : int
        The same for all three gradients: the output's gradient, the input and the weight are read, the gradients of
        input, weight and bias are written.
    """

    parameters: int
    multiply_adds: int
    forward_bytes: int
    backward_bytes: int

    @property
    def backward_multiply_adds(self) -> int:
        """Multiply-adds of the gradients of input and weight: as many as forward, for each."""
        return 2 * self.multiply_adds


class ConvOptions(TypedDict):
    """The options that say where a convolution's windows lie."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class PoolOptions(TypedDict):
    """The options that say where a pooling's windows lie."""

    kernel_size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Conv:
    """A two-dimensional convolution layer with a bias, for images of one size.

    Attributes
    ----------
    name : str
    c, h, w : int
        Input channels C, input height H and width W.
    k, kh, kw : int
        Filters K, their height and width.
    sh, sw, ph, pw, dh, dw : int
        Stride, padding and dilation, vertical and horizontal.
    groups : int
    count : int
        How often the network has this layer.

    Examples
    --------
    Ten 5x5 filters over a 32x32x3 volume, padding 2:

    >>> layer = Conv("volume", c=3, h=32, w=32, k=10, kh=5, kw=5, ph=2, pw=2)
    >>> layer.parameters, layer.output_shape(1)
    (760, (1, 10, 32, 32))
    """

    name: str
    c: int
    h: int
    w: int
    k: int
    kh: int
    kw: int
    sh: int = 1
    sw: int = 1
    ph: int = 0
    pw: int = 0
    dh: int = 1
    dw: int = 1
    groups: int = 1
    count: int = 1

    @property
    def options(self) -> ConvOptions:
        """The keyword arguments of ``conv2d`` and ``conv2d_backward``."""
        return ConvOptions(
            stride=(self.sh, self.sw), padding=(self.ph, self.pw), dilation=(self.dh, self.dw), groups=self.groups
        )

    @property
    def output_size(self) -> tuple[int, int]:
        """Output height and width: floor((in + 2*pad - dilation*(kernel - 1) - 1) / stride) + 1."""
        rows = (self.h + 2 * self.ph - self.dh * (self.kh - 1) - 1) // self.sh + 1
        columns = (self.w + 2 * self.pw - self.dw * (self.kw - 1) - 1) // self.sw + 1
        return rows, columns

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(K, C / groups, kernel height, kernel width)."""
        return self.k, self.c // self.groups, self.kh, self.kw

    def input_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return batch, self.c, self.h, self.w

    def output_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(N, K, output height, output width)."""
        return batch, self.k, *self.output_size

    @property
    def weights(self) -> int:
        """Parameters without the biases."""
        return self.k * self.taps

    @property
    def taps(self) -> int:
        """Products summed into one output: (C / groups) * kernel height * kernel width."""
        return self.c // self.groups * self.kh * self.kw

    @property
    def parameters(self) -> int:
        """Weights and one bias a filter; independent of the image's size."""
        return self.weights + self.k

    def work(self, batch: int = 1) -> Work:
        """Count one call on `batch` images."""
        inputs = batch * self.c * self.h * self.w
        outputs = batch * self.k * self.output_size[0] * self.output_size[1]
        return _work(self.weights, self.k, outputs * self.taps, inputs, outputs)

    def dense_of_same_sizes(self) -> Dense:
        """Give the fully connected layer that reads and writes as many numbers as this layer does.

        Examples
        --------
        >>> Conv("3x3 image to 4x4 map", c=1, h=3, w=3, k=1, kh=2, kw=2, ph=1, pw=1).dense_of_same_sizes().weights
        144
        """
        return Dense(self.c * self.h * self.w, self.k * self.output_size[0] * self.output_size[1])

    def dense_of_same_multiply_adds(self) -> Dense:
        """Give the fully connected layer on this layer's input whose multiply-adds come nearest (at least one output).

        Examples
        --------
        >>> Conv("LeNet-5 C1", c=1, h=32, w=32, k=6, kh=5, kw=5).dense_of_same_multiply_adds()
        Dense(inputs=1024, outputs=115)
        """
        inputs = self.c * self.h * self.w
        return Dense(inputs, max(1, (self.work().multiply_adds + inputs // 2) // inputs))


@dataclass(frozen=True)
class Unshared:
    """A convolution's layer with several kernels: one for each output position, or some that are used in turn.

    Attributes
    ----------
    conv : Conv
        Sizes and windows.
    tiles : (int, int)
        Kernels along each axis.

    Examples
    --------
    >>> layer = Conv("LeNet-5 C1", c=1, h=32, w=32, k=6, kh=5, kw=5)
    >>> Unshared.local(layer).parameters, Unshared(layer, (2, 2)).parameters, layer.parameters
    (122304, 624, 156)
    """

    conv: Conv
    tiles: tuple[int, int]

    @classmethod
    def local(cls, conv: Conv) -> Unshared:
        """Give the layer with a kernel for each output position."""
        return cls(conv, conv.output_size)

    @property
    def is_local(self) -> bool:
        """Whether no two positions share a kernel."""
        return self.tiles == self.conv.output_size

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.conv.name}: {'local' if self.is_local else f'{self.tiles[0]}x{self.tiles[1]} tiled'}"

    @property
    def weights(self) -> int:
        """Parameters without the biases."""
        return prod(self.tiles) * self.conv.weights

    @property
    def parameters(self) -> int:
        """Weights, and one bias a filter and kernel."""
        return prod(self.tiles) * self.conv.parameters

    def work(self, batch: int = 1) -> Work:
        """Count one call on `batch` images."""
        inputs, outputs = prod(self.conv.input_shape(batch)), prod(self.conv.output_shape(batch))
        biases = prod(self.tiles) * self.conv.k
        return _work(self.weights, biases, outputs * self.conv.taps, inputs, outputs)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer with a bias: `inputs` numbers to `outputs` numbers.

    Examples
    --------
    LeNet-5's F6:

    >>> Dense(120, 84).parameters
    10164
    """

    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """Parameters without the biases."""
        return self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        """Weights and one bias an output."""
        return self.weights + self.outputs

    def work(self, batch: int = 1) -> Work:
        """Count one call on `batch` images."""
        return _work(self.weights, self.outputs, batch * self.weights, batch * self.inputs, batch * self.outputs)


@dataclass(frozen=True)
class Pool:
    """A two-dimensional pooling layer for images of one size; square windows.

    Attributes
    ----------
    name : str
    kind : {"max", "mean", "global mean"}
    c, h, w : int
        Channels C, height H and width W.
    kernel, stride, padding : int
        Not used by global pooling.

    Examples
    --------
    >>> Pool("ResNet-50 pool1", "max", c=64, h=112, w=112, kernel=3, stride=2, padding=1).output_shape(1)
    (1, 64, 56, 56)
    """

    name: str
    kind: str
    c: int
    h: int
    w: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0

    @property
    def options(self) -> PoolOptions:
        """The keyword arguments of ``max_pool2d`` and ``avg_pool2d``."""
        return PoolOptions(kernel_size=self.kernel, stride=self.stride, padding=self.padding)

    def input_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return batch, self.c, self.h, self.w

    def output_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(N, C, output height, output width): floor((in + 2*padding - kernel) / stride) + 1, or 1 if global."""
        if self.kind == "global mean":
            return batch, self.c, 1, 1
        height, width = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in (self.h, self.w))
        return batch, self.c, height, width

    def traffic(self, batch: int) -> int:
        """Bytes of input and output, each moved once."""
        return FLOAT32_BYTES * (prod(self.input_shape(batch)) + prod(self.output_shape(batch)))


def _work(weights: int, biases: int, multiply_adds: int, inputs: int, outputs: int) -> Work:
    return Work(
        parameters=weights + biases,
        multiply_adds=multiply_adds,
        forward_bytes=FLOAT32_BYTES * (inputs + weights + biases + outputs),
        backward_bytes=FLOAT32_BYTES * (outputs + 2 * inputs + 2 * weights + biases),
    )
