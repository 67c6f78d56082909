"""The test before the clock: every result that is timed is compared with :mod:`fastconv.reference` first.

The reference is slow and obvious, so a whole layer of 64 filters would take it minutes. Convolution is linear in its
filters: a combination of the output channels is the convolution with the same combination of the filters, which the
reference computes as one channel. Two combinations are checked, in float64: one with random coefficients, which reaches
every output, and one channel alone, where nothing can cancel. The gradients are treated alike.

Tolerance: a float32 sum of K products is off by at most K*u*sum|x||w| (u = 2^-24), and by about sqrt(K)*u*sum|x||w|
when the rounding errors are independent. min(K, 4*sqrt(K))*u*sum|x||w| is allowed, where the reference computes the
sum from the absolute values. Where Winograd computed, whose rounding errors follow a whole tile's size and not an
element's, its documented bound holds instead: 3e-5 of the result's root mean square.

References
----------
Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv as fc
from fastconv import reference
from fastconv.bench.layers import Conv

Array = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]

UNIT_ROUNDOFF = 2.0**-24
SAMPLE_PRODUCTS = 2_000_000
WINOGRAD_ERROR = 3e-5  # for data without outliers, as images and their features are


class WrongResultError(Exception):
    """A timed operator's result lies outside the tolerance around the reference."""


def error_bound(terms: int) -> float:
    """Bound the error of a float32 sum, as a multiple of the sum of absolute products.

    Parameters
    ----------
    terms : int
        How many products are summed.

    Returns
    -------
    float

    Examples
    --------
    >>> error_bound(9) == 9 * 2.0**-24
    True
    >>> error_bound(10_000) == 400 * 2.0**-24
    True
    """
    return min(float(terms), 4.0 * math.sqrt(terms)) * UNIT_ROUNDOFF


def compare(what: str, got: Array, want: Float64Array, bound: Float64Array) -> None:
    """Raise unless |got - want| <= bound everywhere.

    Parameters
    ----------
    what : str
        Names the result in the error.
    got, want, bound : ndarray
        The result, the truth and the allowed error, of one shape.

    Raises
    ------
    WrongResultError
        With the worst element, if any is outside (or NaN).
    """
    if got.shape != want.shape:
        raise WrongResultError(f"{what}: shape {got.shape}, the reference has {want.shape}")
    error = np.abs(got.astype(np.float64) - want)
    # The smallest normal number excuses results that underflow.
    allowed = bound + float(np.finfo(np.float32).tiny)
    inside = error <= allowed
    if not inside.all():
        badness = np.where(np.isfinite(error), error / allowed, np.inf)
        worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(badness)), error.shape))
        raise WrongResultError(
            f"{what}: {int((~inside).sum())} of {error.size} values are wrong; the worst is at {worst}: "
            f"got {got[worst]!s}, the reference has {want[worst]!s}, allowed error {allowed[worst]:.3g}"
        )


def check_conv_forward(layer: Conv, x: Array, weight: Array, bias: Array, y: Array, rng: np.random.Generator) -> None:
    """Check the output of a convolution against the reference.

    Parameters
    ----------
    layer : Conv
    x : ndarray of shape (N, C, H, W)
    weight : ndarray of shape (K, C / groups, kernel height, kernel width)
    bias : ndarray of shape (K,)
    y : ndarray of shape (N, K, output height, output width)
        The result to check.
    rng : numpy.random.Generator
        Draws the combinations.

    Raises
    ------
    WrongResultError
    """
    if y.shape != layer.output_shape(len(x)):
        raise WrongResultError(f"{layer.name}: output has shape {y.shape}, expected {layer.output_shape(len(x))}")
    winograd = fc.explain("conv2d", x, weight, bias, **layer.options).algorithm == "winograd"
    x = x.astype(np.float64)
    bound = error_bound(layer.taps + 1)
    for part, mix in _combinations(layer.k // layer.groups, rng):
        want, size = (
            reference.conv2d(data, _mix_filters(filters, by, layer), _mix_bias(shifts, by, layer), **layer.options)
            for data, filters, shifts, by in (
                (x, weight, bias, mix),
                (np.abs(x), np.abs(weight), np.abs(bias), np.abs(mix)),
            )
        )
        allowed = _allowed(want, bound * size, winograd)
        compare(f"{layer.name}: output, {part}", _mix_channels(y, mix, layer.groups), want, allowed)


def check_conv_backward(
    layer: Conv,
    grad_output: Array,
    x: Array,
    weight: Array,
    gradients: tuple[Array, Array, Array],
    rng: np.random.Generator,
) -> None:
    """Check the three gradients of a convolution against the reference.

    Parameters
    ----------
    layer : Conv
    grad_output : ndarray of shape (N, K, output height, output width)
    x : ndarray of shape (N, C, H, W)
    weight : ndarray of shape (K, C / groups, kernel height, kernel width)
    gradients : tuple of ndarray
        The results to check: of the input, the weight and the bias.
    rng : numpy.random.Generator
        Draws the combinations.

    Raises
    ------
    WrongResultError
    """
    grad_x, grad_weight, grad_bias = gradients
    for what, got, like in (
        ("input", grad_x, x),
        ("weight", grad_weight, weight),
        ("bias", grad_bias, weight[:, 0, 0, 0]),
    ):
        if got.shape != like.shape:
            raise WrongResultError(f"{layer.name}: gradient of {what} has shape {got.shape}, expected {like.shape}")
    of_input, of_weight = (
        gradient.algorithm == "winograd" for gradient in fc.explain("conv2d_backward", x, weight, **layer.options)
    )
    _check_grad_input(layer, grad_output, weight, grad_x, rng, of_input)
    _check_grad_parameters(layer, grad_output, x, grad_weight, grad_bias, rng, of_weight)


def check_dense_forward(name: str, x: Array, weight: Array, bias: Array, y: Array) -> None:
    """Check some outputs of a fully connected layer against the reference.

    Parameters
    ----------
    name : str
    x : ndarray of shape (N, I)
    weight : ndarray of shape (O, I)
    bias : ndarray of shape (O,)
    y : ndarray of shape (N, O)
        The result to check: some outputs, evenly spread, within a fixed number of products.

    Raises
    ------
    WrongResultError
    """
    if y.shape != (len(x), len(weight)):
        raise WrongResultError(f"{name}: output has shape {y.shape}, expected {(len(x), len(weight))}")
    rows = _sample(len(weight), cost=x.size)
    x, weight, bias = (array.astype(np.float64) for array in (x, weight[rows], bias[rows]))
    want = reference.linear(x, weight, bias)
    size = reference.linear(np.abs(x), np.abs(weight), np.abs(bias))
    compare(f"{name}: output", y[:, rows], want, error_bound(x.shape[1] + 1) * size)


def check_dense_backward(
    name: str, grad_output: Array, x: Array, weight: Array, gradients: tuple[Array, Array, Array]
) -> None:
    """Check some of the three gradients of a fully connected layer against the reference.

    Parameters
    ----------
    name : str
    grad_output : ndarray of shape (N, O)
    x : ndarray of shape (N, I)
    weight : ndarray of shape (O, I)
    gradients : tuple of ndarray
        The results to check: of the input, the weight and the bias.

    Raises
    ------
    WrongResultError
    """
    grad_x, grad_weight, grad_bias = gradients
    for what, got, shape in (
        ("input", grad_x, x.shape),
        ("weight", grad_weight, weight.shape),
        ("bias", grad_bias, weight.shape[:1]),
    ):
        if got.shape != shape:
            raise WrongResultError(f"{name}: gradient of {what} has shape {got.shape}, expected {shape}")
    batch, (outputs, inputs) = len(x), weight.shape
    grad64, x64 = grad_output.astype(np.float64), x.astype(np.float64)

    columns = _sample(inputs, cost=grad_output.size)
    part = weight[:, columns].astype(np.float64)
    want, size = (
        _present(reference.linear_backward(grad, x64[:, columns], w, needs=(True, False, False))[0])
        for grad, w in ((grad64, part), (np.abs(grad64), np.abs(part)))
    )
    compare(f"{name}: gradient of input", grad_x[:, columns], want, error_bound(outputs) * size)

    rows = _sample(outputs, cost=x.size)
    part = weight[rows].astype(np.float64)
    (want, want_bias), (size, size_bias) = (
        map(_present, reference.linear_backward(grad, data, part, needs=(False, True, True))[1:])
        for grad, data in ((grad64[:, rows], x64), (np.abs(grad64[:, rows]), np.abs(x64)))
    )
    compare(f"{name}: gradient of weight", grad_weight[rows], want, error_bound(batch) * size)
    compare(f"{name}: gradient of bias", grad_bias[rows], want_bias, error_bound(batch) * size_bias)


def check_same(what: str, one: Array, other: Array, tolerance: float) -> None:
    """Raise unless two float32 results agree, so that elements outside the reference's sample are looked at too.

    Parameters
    ----------
    what : str
    one, other : ndarray
        Two libraries' results, of one shape.
    tolerance : float
        Allowed difference, as a multiple of the root mean square of `other`.

    Raises
    ------
    WrongResultError
    """
    if one.shape != other.shape:
        raise WrongResultError(f"{what}: shapes {one.shape} and {other.shape} differ")
    one, other = one.reshape(-1), other.reshape(-1)
    size = float(np.linalg.norm(other)) / max(1, other.size) ** 0.5
    for start in range(0, one.size, SAMPLE_PRODUCTS):
        block = slice(start, start + SAMPLE_PRODUCTS)
        difference = float(np.abs(one[block] - other[block]).max())
        if not difference <= tolerance * size:
            raise WrongResultError(f"{what}: differs by {difference:.3g}, allowed {tolerance * size:.3g}")


def _allowed(want: Float64Array, bound: Float64Array, winograd: bool) -> Float64Array:
    """Return the error that each element may have: the bound of its sum, or Winograd's."""
    if not winograd:
        return bound
    return np.maximum(bound, WINOGRAD_ERROR * float(np.sqrt(np.mean(want**2))))


def _check_grad_input(
    layer: Conv, grad_output: Array, weight: Array, grad_x: Array, rng: np.random.Generator, winograd: bool
) -> None:
    grad_output = grad_output.astype(np.float64)
    bound = error_bound(layer.k // layer.groups * layer.kh * layer.kw)
    like = np.zeros((len(grad_x), layer.groups, layer.h, layer.w))
    needs = (True, False, False)
    for part, mix in _combinations(layer.c // layer.groups, rng):
        want, size = (
            _present(
                reference.conv2d_backward(
                    grad, like, (w * by[:, np.newaxis, np.newaxis]).sum(1, keepdims=True), needs=needs, **layer.options
                )[0]
            )
            for grad, w, by in (
                (grad_output, weight.astype(np.float64), mix),
                (np.abs(grad_output), np.abs(weight.astype(np.float64)), np.abs(mix)),
            )
        )
        allowed = _allowed(want, bound * size, winograd)
        compare(f"{layer.name}: gradient of input, {part}", _mix_channels(grad_x, mix, layer.groups), want, allowed)


def _check_grad_parameters(
    layer: Conv,
    grad_output: Array,
    x: Array,
    grad_weight: Array,
    grad_bias: Array,
    rng: np.random.Generator,
    winograd: bool,
) -> None:
    x = x.astype(np.float64)
    bound = error_bound(grad_output.size // layer.k)
    like = np.zeros((layer.groups, *layer.weight_shape[1:]))
    needs = (False, True, True)
    for part, mix in _combinations(layer.k // layer.groups, rng):
        (want, want_bias), (size, size_bias) = (
            map(
                _present,
                reference.conv2d_backward(
                    _mix_channels(grad, by, layer.groups), data, like, needs=needs, **layer.options
                )[1:],
            )
            for grad, data, by in ((grad_output, x, mix), (np.abs(grad_output), np.abs(x), np.abs(mix)))
        )
        got, got_bias = _mix_filters(grad_weight, mix, layer), _mix_bias(grad_bias, mix, layer)
        compare(f"{layer.name}: gradient of weight, {part}", got, want, _allowed(want, bound * size, winograd))
        compare(f"{layer.name}: gradient of bias, {part}", got_bias, want_bias, bound * size_bias)


def _combinations(channels: int, rng: np.random.Generator) -> Iterator[tuple[str, Float64Array]]:
    """Coefficients of the channels of each group: all of them, none alike so that swapped channels show; one alone."""
    yield "all channels combined", rng.uniform(0.5, 1.0, channels) * rng.choice((-1.0, 1.0), channels)
    alone = np.zeros(channels)
    alone[rng.integers(channels)] = 1.0
    yield f"channel {int(np.argmax(alone))} of each group", alone


def _mix_channels(maps: Array, mix: Float64Array, groups: int) -> Float64Array:
    """(N, groups * channels, H, W) to (N, groups, H, W)."""
    n, _, h, w = maps.shape
    # One channel at a time keeps the float64 copies small.
    grouped = maps.reshape(n, groups, len(mix), h, w)
    result = np.zeros((n, groups, h, w))
    for channel, factor in enumerate(mix):
        if factor:
            result += factor * grouped[:, :, channel].astype(np.float64)
    return result


def _mix_filters(weight: Array, mix: Float64Array, layer: Conv) -> Float64Array:
    """(K, C / groups, kh, kw) to (groups, C / groups, kh, kw)."""
    grouped = weight.astype(np.float64).reshape(layer.groups, len(mix), *layer.weight_shape[1:])
    return np.asarray(np.einsum("gkcij,k->gcij", grouped, mix))


def _mix_bias(bias: Array, mix: Float64Array, layer: Conv) -> Float64Array:
    """(K,) to (groups,)."""
    return np.asarray(bias.astype(np.float64).reshape(layer.groups, len(mix)) @ mix)


def _present(gradient: npt.NDArray[Any] | None) -> Float64Array:
    """Tell the type checker that a gradient that was asked for is there."""
    assert gradient is not None
    return gradient


def _sample(size: int, cost: int) -> npt.NDArray[np.intp]:
    """Up to 64 indices, evenly spread from the first to the last, whose products stay under SAMPLE_PRODUCTS."""
    count = min(size, 64, max(2, SAMPLE_PRODUCTS // max(1, cost)))
    return np.unique(np.linspace(0, size - 1, count).astype(np.intp))
