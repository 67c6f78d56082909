"""First values of weights: Xavier's and He's distributions, with torch's names.

Every function fills a parameter (or array) in place and returns it. `generator` is a ``numpy.random.Generator``, a
seed for a new one, or None for a seed from the system. The draws are made in float64, so one seed gives a float32 and
a float64 layer the same weights up to rounding. Weights of more than 2**20 numbers are drawn in parts by several
threads, each part by a generator of its own that `generator` seeds: the same numbers at any number of threads.

The bounds come from `fan_in` and `fan_out`, the numbers of inputs that an output reads and of outputs that an input
reaches: for a weight of shape ``(out, in / groups, *kernel)`` they are ``in / groups * prod(kernel)`` and
``out * prod(kernel)``.

References
----------
Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010 (Xavier).
He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015 (Kaiming).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv._threads import get_num_threads
from fastconv.nn.module import Parameter

__all__ = ["calculate_gain", "kaiming_normal_", "kaiming_uniform_", "normal_", "xavier_normal_", "xavier_uniform_"]

Generator: TypeAlias = "np.random.Generator | int | None"  # quoted: np.random is slow to import

_Weight = TypeVar("_Weight", Parameter, NDArray[Any])

#: As a layer's `generator`: leave its parameters as memory is, for a network that fills them all by rules of its own.
LATER: Any = object()

# Numbers that one generator draws: larger weights are drawn in parts, by several threads.
_PART = 1 << 20
# Numbers drawn at a time: what a part takes in float64 is never held, and stays in a cache.
_BLOCK = 1 << 15

#: Fills a float64 array with draws of a generator.
_Draw: TypeAlias = "Callable[[np.random.Generator, NDArray[np.float64]], None]"


make_generator = check.generator


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights grow to keep the variance after a nonlinearity.

    Parameters
    ----------
    nonlinearity : {"linear", "conv1d", "conv2d", "conv3d", "sigmoid", "tanh", "relu", "leaky_relu"}
        What follows the layer.
    param : float, optional
        The negative slope of "leaky_relu", 0.01 where not given.

    Raises
    ------
    ValueError
        When the name is none of these.

    Examples
    --------
    >>> calculate_gain("relu") == math.sqrt(2)
    True
    """
    if nonlinearity in ("linear", "conv1d", "conv2d", "conv3d", "sigmoid"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope**2))
    raise ValueError(
        "calculate_gain: nonlinearity must be one of linear, conv1d, conv2d, conv3d, sigmoid, tanh, relu, leaky_relu, "
        f"received nonlinearity={nonlinearity!r}"
    )


def kaiming_uniform_(
    weight: _Weight,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator = None,
) -> _Weight:
    """Fill with He's uniform distribution, U(-b, b) with b = gain * sqrt(3 / fan).

    Parameters
    ----------
    weight : Parameter or ndarray of shape (out, in / groups, *kernel)
        Filled in place.
    a : float, default 0
        The negative slope of "leaky_relu".
    mode : {"fan_in", "fan_out"}
        Keep the variance of the outputs, or that of the gradients.
    nonlinearity : str, default "leaky_relu"
        See `calculate_gain`.
    generator : numpy.random.Generator or int, optional
        The source, or its seed.

    Raises
    ------
    ValueError
        When `weight` has fewer than two axes, or a name is unknown.

    Examples
    --------
    >>> weight = kaiming_uniform_(np.empty((16, 6, 5, 5)), nonlinearity="relu", generator=0)
    >>> bool(abs(weight).max() <= math.sqrt(6 / 150))
    True
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", weight, a, mode, nonlinearity)
    return _fill(weight, make_generator("kaiming_uniform_", generator), _uniform(bound))


def kaiming_normal_(
    weight: _Weight,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator = None,
) -> _Weight:
    """Fill with He's normal distribution, of mean 0 and standard deviation gain / sqrt(fan).

    Parameters and errors are those of `kaiming_uniform_`.

    Examples
    --------
    >>> weight = kaiming_normal_(np.empty((300, 200)), nonlinearity="relu", generator=0)
    >>> bool(abs(weight.std() - math.sqrt(2 / 200)) < 1e-3)
    True
    """
    std = _kaiming_std("kaiming_normal_", weight, a, mode, nonlinearity)
    return normal_(weight, 0.0, std, generator=make_generator("kaiming_normal_", generator))


def xavier_uniform_(weight: _Weight, gain: float = 1.0, *, generator: Generator = None) -> _Weight:
    """Fill with Xavier's uniform distribution, U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    weight : Parameter or ndarray of shape (out, in / groups, *kernel)
        Filled in place.
    gain : float, default 1
        See `calculate_gain`.
    generator : numpy.random.Generator or int, optional
        The source, or its seed.

    Raises
    ------
    ValueError
        When `weight` has fewer than two axes.

    Examples
    --------
    >>> weight = xavier_uniform_(np.empty((30, 20)), generator=0)
    >>> bool(abs(weight).max() <= math.sqrt(6 / 50))
    True
    """
    bound = gain * math.sqrt(6.0 / max(1, sum(fans("xavier_uniform_", weight))))
    return _fill(weight, make_generator("xavier_uniform_", generator), _uniform(bound))


def xavier_normal_(weight: _Weight, gain: float = 1.0, *, generator: Generator = None) -> _Weight:
    """Fill with Xavier's normal distribution, of mean 0 and standard deviation gain * sqrt(2 / (fan_in + fan_out)).

    Parameters and errors are those of `xavier_uniform_`.

    Examples
    --------
    >>> weight = xavier_normal_(np.empty((300, 200)), generator=0)
    >>> bool(abs(weight.std() - math.sqrt(2 / 500)) < 1e-3)
    True
    """
    std = gain * math.sqrt(2.0 / max(1, sum(fans("xavier_normal_", weight))))
    return normal_(weight, 0.0, std, generator=make_generator("xavier_normal_", generator))


def normal_(weight: _Weight, mean: float = 0.0, std: float = 1.0, *, generator: Generator = None) -> _Weight:
    """Fill with a normal distribution.

    Parameters
    ----------
    weight : Parameter or ndarray of any shape
        Filled in place.
    mean, std : float, default 0 and 1
        Its mean and standard deviation.
    generator : numpy.random.Generator or int, optional
        The source, or its seed.

    Examples
    --------
    >>> bool(abs(normal_(np.empty(40_000), std=0.01, generator=0).std() - 0.01) < 1e-4)
    True
    """

    def draw(source: np.random.Generator, out: NDArray[np.float64]) -> None:
        source.standard_normal(out=out)
        out *= std
        out += mean

    return _fill(weight, make_generator("normal_", generator), draw)


def fans(op: str, weight: Parameter | NDArray[Any]) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight of shape (out, in / groups, *kernel).

    Raises
    ------
    ValueError
        When `weight` has fewer than two axes.

    Examples
    --------
    >>> fans("init", np.empty((16, 6, 5, 5)))
    (150, 400)
    """
    if len(weight.shape) < 2:
        raise ValueError(
            f"{op}: weight must have two axes or more, (out, in / groups, *kernel), "
            f"received weight of shape {weight.shape}"
        )
    outputs, inputs, *kernel = weight.shape
    return inputs * math.prod(kernel), outputs * math.prod(kernel)


def default_init_(layer: str, weight: Parameter, bias: Parameter | None, generator: Generator) -> None:
    """Fill a layer's parameters as torch does by default: all from U(-b, b) with b = 1 / sqrt(fan_in).

    For the weight this is ``kaiming_uniform_(a=sqrt(5))``.
    """
    if generator is LATER:
        return
    source = make_generator(layer, generator)
    kaiming_uniform_(weight, a=math.sqrt(5.0), generator=source)
    if bias is not None:
        bound = 1.0 / math.sqrt(max(1, fans(layer, weight)[0]))
        _fill(bias, source, _uniform(bound))


def _kaiming_std(op: str, weight: Parameter | NDArray[Any], a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{op}: mode must be 'fan_in' or 'fan_out', received mode={mode!r}")
    fan = fans(op, weight)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))


def _uniform(bound: float) -> _Draw:
    def draw(source: np.random.Generator, out: NDArray[np.float64]) -> None:
        source.random(out=out)
        out *= 2 * bound
        out -= bound

    return draw


def _fill(weight: _Weight, source: np.random.Generator, draw: _Draw) -> _Weight:
    """Fill with what `draw` gives, part by part; the parts depend on the size alone, never on the threads."""
    array = weight.data if isinstance(weight, Parameter) else weight
    flat = array.reshape(-1) if array.flags.c_contiguous else np.empty(array.size, array.dtype)
    if flat.size <= _PART:
        _fill_part(flat, source, draw)
    else:
        _fill_parts(flat, source, draw)
    if not array.flags.c_contiguous:
        array[...] = flat.reshape(array.shape)
    return weight


def _fill_parts(flat: NDArray[Any], source: np.random.Generator, draw: _Draw) -> None:
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and only large weights need it

    parts = [flat[start : start + _PART] for start in range(0, flat.size, _PART)]
    # Seeds are drawn, not spawned: spawning would not move `source` on, and not every generator can.
    seeds = source.integers(0, 2**64, (len(parts), 2), np.uint64, endpoint=False)
    with ThreadPoolExecutor(min(get_num_threads(), len(parts))) as pool:
        for _ in pool.map(lambda part, seed: _fill_part(part, np.random.default_rng(seed), draw), parts, seeds):
            pass  # an exception of a part comes out here


def _fill_part(flat: NDArray[Any], source: np.random.Generator, draw: _Draw) -> None:
    buffer = np.empty(min(_BLOCK, flat.size))
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        draw(source, buffer[: block.size])
        block[...] = buffer[: block.size]
