"""The layers between convolution and fully connected: local connection and tiled convolution, and their check.

They are too large for the reference, which is slow: some outputs, one kernel's gradient and some inputs' gradients are
computed again from the formula, in float64, and have to agree within the bound of a float32 sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastconv as fc
from fastconv.bench.cases import Float32Array
from fastconv.bench.check import WrongResultError, compare, error_bound
from fastconv.bench.layers import Unshared

__all__ = ["Operands", "backward", "check_unshared", "draw_operands", "forward"]

SAMPLES = 8

Operands = tuple[Float32Array, Float32Array, Float32Array]  # weight, bias, gradient of the output


def draw_operands(layer: Unshared, batch: int, rng: np.random.Generator) -> Operands:
    """Draw He-initialised kernels, small biases and a gradient.

    Parameters
    ----------
    layer : Unshared
    batch : int
        Images N.
    rng : numpy.random.Generator

    Returns
    -------
    weight : ndarray of shape (t_h, t_w, K, C / groups, kernel height, kernel width), float32
    bias : ndarray of shape (K, t_h, t_w), float32
    grad_output : ndarray of shape (N, K, output height, output width), float32
    """
    conv = layer.conv
    weight = rng.random((*layer.tiles, *conv.weight_shape), dtype=np.float32)
    weight -= np.float32(0.5)
    weight *= np.float32((24.0 / conv.taps) ** 0.5)  # uniform: quicker to draw than normal
    bias = rng.standard_normal((conv.k, *layer.tiles), dtype=np.float32) / np.float32(10)
    return weight, bias, rng.standard_normal(conv.output_shape(batch), dtype=np.float32)


def forward(layer: Unshared, x: Any, weight: Any, bias: Any) -> Any:
    """Compute the layer."""
    function = fc.locally_connected2d if layer.is_local else fc.tiled_conv2d
    return function(x, weight, bias, **layer.conv.options)


def backward(
    layer: Unshared, grad_output: Any, x: Any, weight: Any, needs: tuple[bool, bool, bool] = (True, True, True)
) -> tuple[Any, Any, Any]:
    """Compute its gradients of input, weight and bias."""
    function = fc.locally_connected2d_backward if layer.is_local else fc.tiled_conv2d_backward
    return function(grad_output, x, weight, **layer.conv.options, needs=needs)


def check_unshared(layer: Unshared, x: Float32Array, operands: Operands, rng: np.random.Generator) -> None:
    """Compute once, forward and backward, and check samples of the results.

    Parameters
    ----------
    layer : Unshared
        Without groups.
    x : ndarray of shape (N, C, H, W)
    operands : Operands
    rng : numpy.random.Generator
        Draws the samples.

    Raises
    ------
    fastconv.bench.check.WrongResultError
    """
    weight, bias, grad_output = operands
    y = forward(layer, x, weight, bias)
    gradients = backward(layer, grad_output, x, weight)
    if y.shape != layer.conv.output_shape(len(x)):
        raise WrongResultError(f"{layer.name}: output has shape {y.shape}")
    sample = _Sample(layer, x, operands)
    rows, columns = layer.conv.output_size
    for i, j in zip(rng.integers(rows, size=SAMPLES), rng.integers(columns, size=SAMPLES), strict=True):
        sample.check(f"output at {i}, {j}", y[:, :, i, j], sample.output(i, j), layer.conv.taps + 1)
    for i, j in zip(rng.integers(layer.conv.h, size=SAMPLES), rng.integers(layer.conv.w, size=SAMPLES), strict=True):
        terms = layer.conv.k * layer.conv.kh * layer.conv.kw
        sample.check(f"input's gradient at {i}, {j}", gradients[0][:, :, i, j], sample.grad_input(i, j), terms)
    a, b = (int(rng.integers(tiles)) for tiles in layer.tiles)
    uses = len(x) * -(-rows // layer.tiles[0]) * -(-columns // layer.tiles[1])
    for what, got, want in (
        ("weight", gradients[1][a, b], sample.grad_weight(a, b)),
        ("bias", gradients[2][:, a, b], sample.grad_bias(a, b)),
    ):
        sample.check(f"{what}'s gradient of kernel {a}, {b}", got, want, uses)


class _Sample:
    """The operands; each method gives a result in float64, and the sum of absolute products."""

    def __init__(self, layer: Unshared, x: Float32Array, operands: Operands) -> None:
        conv = self.conv = layer.conv
        self.layer, (self.weight, self.bias, self.grad_output) = layer, operands
        self.x = np.pad(x, ((0, 0), (0, 0), (conv.ph, conv.ph), (conv.pw, conv.pw)))

    def check(self, what: str, got: Any, both: tuple[Any, Any], terms: int) -> None:
        want, size = both
        compare(f"{self.layer.name}: {what}", np.asarray(got), want, error_bound(terms) * size)

    def _patch(self, i: int | slice, j: int | slice) -> Any:
        """Give what outputs read: (N, C, kh, kw) or (N, C, rows, columns, kh, kw)."""
        conv = self.conv
        reach = conv.dh * (conv.kh - 1) + 1, conv.dw * (conv.kw - 1) + 1
        windows = np.lib.stride_tricks.sliding_window_view(self.x, reach, (2, 3))
        return windows[:, :, :: conv.sh, :: conv.sw, :: conv.dh, :: conv.dw][:, :, i, j]

    def output(self, i: int, j: int) -> tuple[Any, Any]:
        a, b = i % self.layer.tiles[0], j % self.layer.tiles[1]
        want, size = _product("ncuv,kcuv->nk", self._patch(i, j), self.weight[a, b])
        return want + self.bias[:, a, b], size + abs(self.bias[:, a, b])

    def grad_weight(self, a: int, b: int) -> tuple[Any, Any]:
        rows, columns = (slice(first, None, step) for first, step in zip((a, b), self.layer.tiles, strict=True))
        patches = self._patch(slice(0, self.grad_output.shape[2]), slice(0, self.grad_output.shape[3]))
        return _product("nkij,ncijuv->kcuv", self.grad_output[:, :, rows, columns], patches[:, :, rows, columns])

    def grad_bias(self, a: int, b: int) -> tuple[Any, Any]:
        part = self.grad_output[:, :, a :: self.layer.tiles[0], b :: self.layer.tiles[1]].astype(np.float64)
        return part.sum(axis=(0, 2, 3)), abs(part).sum(axis=(0, 2, 3))

    def grad_input(self, i: int, j: int) -> tuple[Any, Any]:
        conv, (rows, columns) = self.conv, self.conv.output_size
        total: Any = np.zeros((2, len(self.x), conv.c))
        for u, v in np.ndindex(conv.kh, conv.kw):
            p, down = divmod(i + conv.ph - u * conv.dh, conv.sh)
            q, along = divmod(j + conv.pw - v * conv.dw, conv.sw)
            if down == along == 0 and 0 <= p < rows and 0 <= q < columns:
                kernel = self.weight[p % self.layer.tiles[0], q % self.layer.tiles[1], :, :, u, v]
                total += _product("nk,kc->nc", self.grad_output[:, :, p, q], kernel)
        return total[0], total[1]


def _product(subscripts: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Multiply in float64; also the sum of absolute products."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.einsum(subscripts, a, b, optimize=True), np.einsum(subscripts, abs(a), abs(b), optimize=True)
