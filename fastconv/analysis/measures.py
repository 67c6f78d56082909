"""What convolution and pooling keep: equivariance, invariance; gradients that reach the first layer, dead units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import nn
from fastconv.analysis._gradients import gradients_kept

__all__ = ["dead_units", "equivariance_error", "gradient_by_depth", "invariance_error", "translate"]

Array = NDArray[Any]


def translate(image: ArrayLike, shift: int | Sequence[int], fill: float = 0.0) -> Array:
    """Shift an image along its last axes; what comes in is `fill`.

    Parameters
    ----------
    image : array_like of shape (*, *spatial)
    shift : int or sequence of int
        Elements along the last axes, down and to the right; an int moves along the last axis alone.
    fill : float, default 0
        The value of what comes in.

    Returns
    -------
    ndarray of the same shape and dtype

    Raises
    ------
    TypeError, ValueError
        When `shift` is made of something else, or longer than the image has axes.

    Examples
    --------
    >>> translate([[1, 2, 3], [4, 5, 6]], (1, -1))
    array([[0, 0, 0],
           [2, 3, 0]])
    """
    array = np.asarray(image)
    steps = check.sizes(
        "translate", "shift", [shift] if isinstance(shift, int | np.integer) else shift, minimum=-(2**62)
    )
    if len(steps) > array.ndim:
        raise ValueError(f"translate: shift must have one entry per axis at most, received shift={shift!r}")
    result = np.full_like(array, fill)
    sides = array.shape[array.ndim - len(steps) :]
    pairs = [(max(-side, min(side, step)), side) for step, side in zip(steps, sides, strict=True)]
    to: tuple[Any, ...] = (..., *(slice(max(0, by), side + min(0, by)) for by, side in pairs))
    of: tuple[Any, ...] = (..., *(slice(max(0, -by), side - max(0, by)) for by, side in pairs))
    result[to] = array[of]
    return result


def equivariance_error(
    operator: Callable[[Any], Any],
    image: ArrayLike,
    transform: Callable[[Array], Array] | int | Sequence[int],
    output_transform: Callable[[Array], Array] | int | Sequence[int] | None = None,
    *,
    margin: int | Sequence[int] = (),
) -> float:
    """Measure how far f(T(x)) is from T(f(x)): 0 where transforming the input transforms the output alike.

    Parameters
    ----------
    operator : callable
        f: a layer, a network or a function of arrays.
    image : array_like
        x, as `operator` takes it, with the spatial axes last.
    transform : callable, int or sequence of int
        T: a function of arrays such as ``lambda x: np.rot90(x, axes=(-2, -1))``, or a shift as `translate` takes it.
    output_transform : callable, int or sequence of int, optional
        What to do with the output where that is not T: with a stride of 2, an input's shift by 2 is an output's by 1.
    margin : int or sequence of int, default ()
        Rim of the output that is left out along its last axes (an int: along the last two), since near borders padding
        and what came in show.

    Returns
    -------
    float
        The root mean square of the difference, divided by that of T(f(x)).

    Raises
    ------
    TypeError, ValueError
        When a shift or the margin is bad, the outputs' shapes differ, or the output is zero inside the margin.

    Examples
    --------
    >>> conv = nn.Conv2d(1, 4, 3, padding=1, generator=0)
    >>> x = np.random.default_rng(0).random((1, 20, 20), np.float32)
    >>> round(equivariance_error(conv, x, (2, 3), margin=4), 6)
    0.0
    >>> equivariance_error(conv, x, lambda image: np.rot90(image, axes=(-2, -1)), margin=4) > 0.1
    True
    """
    op = "equivariance_error"
    array = np.asarray(image)
    inner = _as_transform(transform)
    rim = check.sizes(op, "margin", [margin] * 2 if isinstance(margin, int | np.integer) else margin)
    outer = inner if output_transform is None else _as_transform(output_transform)
    got, want = np.asarray(operator(inner(array))), np.asarray(outer(np.asarray(operator(array))))
    _same_shape(op, got, want)
    if len(rim) > want.ndim:
        raise ValueError(f"{op}: margin must have one entry per axis of the output at most, received {margin=}")
    sides = want.shape[want.ndim - len(rim) :]
    cut: tuple[Any, ...] = (..., *(slice(by, max(by, side - by)) for by, side in zip(rim, sides, strict=True)))
    return _relative(op, got[cut], want[cut])


def invariance_error(
    operator: Callable[[Any], Any],
    image: ArrayLike,
    transform: Callable[[Array], Array] | int | Sequence[int],
) -> float:
    """Measure how far f(T(x)) is from f(x): 0 where transforming the input leaves the output as it was.

    Parameters
    ----------
    operator, image, transform
        As `equivariance_error` takes them.

    Returns
    -------
    float
        The root mean square of the difference, divided by that of f(x).

    Raises
    ------
    TypeError, ValueError
        As `equivariance_error`.

    Examples
    --------
    A shift by one pixel changes an edge image much, its local maxima less, its mean over all not at all:

    >>> x = np.zeros((1, 12, 12))
    >>> x[0, 3:9, 4] = 1
    >>> [round(invariance_error(f, x, 1), 2) for f in (lambda x: x, nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(1))]
    [1.41, 0.82, 0.0]
    """
    op, array = "invariance_error", np.asarray(image)
    got, want = np.asarray(operator(_as_transform(transform)(array))), np.asarray(operator(array))
    _same_shape(op, got, want)
    return _relative(op, got, want)


def gradient_by_depth(layers: nn.Sequential, input: ArrayLike, grad_output: ArrayLike | None = None) -> Array:
    """Measure the gradient in front of each layer of a stack.

    Parameters
    ----------
    layers : Sequential
        The stack; its parameters' gradients are left as they were.
    input : array_like
        As the first layer takes it.
    grad_output : array_like, optional
        The gradient of the output; ones where not given.

    Returns
    -------
    ndarray of shape (layers + 1,), float64
        Root mean squares: of the gradient of the input of each layer, then of `grad_output`.

    Raises
    ------
    TypeError
        When `layers` is no Sequential.

    Examples
    --------
    Two layers that halve gradients:

    >>> class Half(nn.Module):
    ...     def forward(self, input, *, needs_input_grad=True):
    ...         return input, lambda grad: grad / 2
    >>> gradient_by_depth(nn.Sequential(Half(), Half()), np.ones(3))
    array([0.25, 0.5 , 1.  ])
    """
    if not isinstance(layers, nn.Sequential):
        raise TypeError(f"gradient_by_depth: layers must be a Sequential, received layers={layers!r}")
    backwards, value = [], input
    for layer in layers:
        value, backward = layer.forward(value)
        backwards.append(backward)
    grad: Any = np.ones_like(np.asarray(value)) if grad_output is None else grad_output
    sizes = [_rms(np.asarray(grad))]
    with gradients_kept(layers):
        for backward in reversed(backwards):
            grad = backward(grad)
            sizes.append(_rms(np.asarray(grad)))
    return np.array(sizes[::-1])


def dead_units(activation: nn.Module, input: ArrayLike, dim: int = 1) -> NDArray[np.bool_]:
    """Tell which units pass no gradient on for any of some inputs: they cannot learn from them, and stay as they are.

    Parameters
    ----------
    activation : Module
        Such as ``nn.ReLU()``.
    input : array_like of shape (N, units) or (N, units, *spatial)
        What goes into it, of all samples.
    dim : int, default 1
        The axis of the units.

    Returns
    -------
    ndarray of bool, (units,)
        True where the activation's derivative is 0 for every sample and position.

    Raises
    ------
    TypeError, ValueError
        When `dim` is not an axis of the input.

    Examples
    --------
    A ReLU whose sums are never positive is dead; a leaky one cannot be:

    >>> sums = [[-1.0, 2.0, 0.0], [-3.0, -1.0, -2.0]]
    >>> dead_units(nn.ReLU(), sums), dead_units(nn.LeakyReLU(), sums)
    (array([ True, False,  True]), array([False, False, False]))
    """
    array = np.asarray(input)
    axis = check.axis("dead_units", dim, array)
    output, backward = activation.forward(array)
    slopes = np.asarray(backward(np.ones_like(output)))
    return np.asarray((slopes == 0).all(axis=tuple(other for other in range(array.ndim) if other != axis)))


def _as_transform(transform: Any) -> Callable[[Array], Array]:
    return transform if callable(transform) else lambda array: translate(array, transform)


def _same_shape(op: str, got: Array, want: Array) -> None:
    if got.shape != want.shape:
        raise ValueError(f"{op}: outputs must have one shape, received transforms that give {got.shape}, {want.shape}")


def _rms(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def _relative(op: str, got: Array, want: Array) -> float:
    size = _rms(want) if want.size else 0.0
    if size == 0:
        raise ValueError(f"{op}: the output must not be all zero or empty, received one of shape {want.shape}")
    return _rms(np.subtract(got, want, dtype=np.float64)) / size
