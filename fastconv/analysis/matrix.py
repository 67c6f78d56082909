"""The matrix of a layer, and which of its entries are one and the same weight.

A fully connected layer can do whatever a convolution does, with the convolution's matrix as its weight: most entries
zero, the others repeating a few numbers. Convolution is that layer with an infinitely strong prior: these entries stay
zero, those stay equal. `Wiring` says which, and the rest of this file follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import nn
from fastconv._extras import MissingExtraError, require
from fastconv.analysis._gradients import gradients_kept
from fastconv.analysis.counting import fixed_size

__all__ = ["SparseMatrix", "Wiring", "as_linear", "as_matrix", "jacobian", "tied_gradient", "wiring"]

Array = NDArray[Any]
Indices = NDArray[np.int64]

#: Matrices with more elements come out sparse unless asked otherwise: 128 MB in float64.
DENSE_LIMIT = 2**24


class SparseMatrix(NamedTuple):
    """A matrix in compressed rows, where SciPy is not installed; its names are those of ``scipy.sparse.csr_array``.

    Row r has ``data[indptr[r]:indptr[r + 1]]`` in the columns ``indices[indptr[r]:indptr[r + 1]]``.

    Examples
    --------
    >>> SparseMatrix(np.array([5.0, 7.0]), np.array([1, 0]), np.array([0, 1, 2]), (2, 3)).toarray()
    array([[0., 5., 0.],
           [7., 0., 0.]])
    """

    data: Array
    indices: Indices
    indptr: Indices
    shape: tuple[int, int]

    def toarray(self) -> Array:
        """Return it as an ndarray."""
        dense = np.zeros(self.shape, self.data.dtype)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        dense[rows, self.indices] = self.data
        return dense


@dataclass(frozen=True)
class Wiring:
    """Which output reads which input through which weight: connection i is ``(row[i], column[i], weight[i])``.

    Attributes
    ----------
    row, column, weight : ndarray of int64, all of one length
        Flat positions in one sample of the output, in one of the input, and in the layer's weight. Rows ascend.
    input_shape, output_shape, weight_shape : tuple of int

    Examples
    --------
    >>> wires = wiring(nn.Conv1d(1, 1, 2), (1, 3))
    >>> wires.matrix([[[5, 7]]])
    array([[5, 7, 0],
           [0, 5, 7]])
    """

    row: Indices
    column: Indices
    weight: Indices
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix: outputs and inputs."""
        return prod(self.output_shape), prod(self.input_shape)

    def matrix(self, weight: ArrayLike) -> Array:
        """Write each weight at all its places; the other entries are zero."""
        values = self._values(weight)
        dense = check.result("Wiring", self.shape, values.dtype, zero=True)
        dense[self.row, self.column] = values
        return dense

    def sparse(self, weight: ArrayLike) -> Any:
        """Give the same as a ``scipy.sparse.csr_array``, or as a `SparseMatrix` where SciPy is not installed."""
        return _sparse(self._values(weight), self.row, self.column, self.shape)

    def tie(self, gradient: ArrayLike) -> Array:
        """Take a gradient of the matrix to one of the weight: entries of a weight are summed, the others dropped.

        Parameters
        ----------
        gradient : array_like of shape (outputs, inputs)

        Returns
        -------
        ndarray of shape weight_shape
        """
        array = np.asarray(gradient)
        if array.shape != self.shape:
            raise ValueError(f"Wiring: gradient must have shape {self.shape}, received shape {array.shape}")
        total = np.bincount(self.weight, array[self.row, self.column], prod(self.weight_shape))
        return np.asarray(total.reshape(self.weight_shape), array.dtype)

    def picture(self) -> Array:
        """Give the matrix of the weights' numbers, -1 where there is no connection: equal numbers are one weight."""
        dense = np.full(self.shape, -1, np.int64)
        dense[self.row, self.column] = self.weight
        return dense

    def _values(self, weight: ArrayLike) -> Array:
        array = np.asarray(weight)
        if array.shape != self.weight_shape:
            raise ValueError(f"Wiring: weight must have shape {self.weight_shape}, received shape {array.shape}")
        return np.asarray(array.reshape(-1)[self.weight])


def wiring(layer: nn.Module, input_shape: Sequence[int]) -> Wiring:
    """Tell which output reads which input through which weight.

    Parameters
    ----------
    layer : Linear, Conv1d to 3d, LocallyConnected1d, LocallyConnected2d or TiledConv2d
        Padded with zeros.
    input_shape : sequence of int
        ``(C, *spatial)`` of one sample, or ``(in_features,)``.

    Returns
    -------
    Wiring

    Raises
    ------
    TypeError
        For any other layer.
    ValueError
        When the shape does not fit the layer, or the layer pads with something other than zeros.

    Examples
    --------
    A kernel of three weights over a row of four:

    >>> wiring(nn.Conv1d(1, 1, 3, padding=1), (1, 4)).picture()
    array([[ 1,  2, -1, -1],
           [ 0,  1,  2, -1],
           [-1,  0,  1,  2],
           [-1, -1,  0,  1]])
    """
    shape = check.sizes("wiring", "input_shape", input_shape, minimum=1)
    if isinstance(layer, nn.Linear):
        return _linear_wiring(layer, shape)
    if type(layer).__name__ not in _KERNELS:
        raise TypeError(f"wiring: layer must have weights and windows, or be Linear, received layer={layer!r}")
    known: Any = layer
    if getattr(known, "padding_mode", "zeros") != "zeros":
        raise ValueError(f"wiring: layer must pad with zeros, received padding_mode={known.padding_mode!r}")
    n = len(shape) - 1
    kernel_shape = (known.out_channels, known.in_channels // known.groups, *known.kernel_size)
    fixed_size("wiring", known, shape[1:])
    problem = check.conv_problem(
        "wiring", n, (1, *shape), False, kernel_shape, known.stride, known.padding, known.dilation, known.groups
    )
    return _windows_wiring(problem, *_KERNELS[type(layer).__name__](known, problem))


def as_matrix(layer: Any, input_shape: Sequence[int], *, sparse: bool | None = None) -> Any:
    """Give the matrix of a layer or operator that is linear in its input, for one sample.

    ``as_matrix(f, shape) @ x.ravel()`` is ``f(x).ravel()``, less what f gives for zeros (its bias).

    Parameters
    ----------
    layer : Module or callable
        A layer with weights and windows, Linear and mean pooling are read off their numbers. Any other layer, a
        network, or a function such as ``lambda x: fc.conv2d(x, weight)`` is asked for all unit inputs, in batches.
    input_shape : sequence of int
        ``(C, *spatial)`` of one sample, or ``(in_features,)``.
    sparse : bool, optional
        Whether to give a ``scipy.sparse.csr_array`` (a `SparseMatrix` where SciPy is not installed); where not given,
        for matrices of more than 2**24 elements.

    Returns
    -------
    ndarray of shape (outputs, inputs), or a sparse matrix

    Raises
    ------
    TypeError
        When `layer` cannot be called.
    ValueError
        When `layer` is not linear (plus a constant), or the shape does not fit.
    MemoryError
        When a dense matrix cannot be held.

    Examples
    --------
    >>> layer = nn.Conv1d(1, 1, 2, stride=2, bias=False)
    >>> layer.weight.data[...] = [[[1, -1]]]
    >>> as_matrix(layer, (1, 4))
    array([[ 1., -1.,  0.,  0.],
           [ 0.,  0.,  1., -1.]], dtype=float32)
    >>> as_matrix(nn.AvgPool2d(2), (1, 2, 4))
    array([[0.25, 0.25, 0.  , 0.  , 0.25, 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.25, 0.25, 0.  , 0.  , 0.25, 0.25]])
    """
    shape = check.sizes("as_matrix", "input_shape", input_shape, minimum=1)
    if sparse is not None:
        sparse = check.flag("as_matrix", "sparse", sparse)
    if isinstance(layer, nn.Linear) or (
        type(layer).__name__ in _KERNELS and getattr(layer, "padding_mode", "zeros") == "zeros"
    ):
        return _chosen(wiring(layer, shape), layer.weight.data, sparse)
    if isinstance(layer, nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
        return _mean_pooling(layer, shape, sparse)
    if not callable(layer):
        raise TypeError(f"as_matrix: layer must be a Module or a function, received layer={layer!r}")
    return _probed(layer, shape, sparse)


def as_linear(layer: nn.Module, input_shape: Sequence[int]) -> nn.Linear:
    """Build the fully connected layer that does what `layer` does: the convolution's matrix is its weight.

    Parameters
    ----------
    layer : Module
        As `wiring` takes it.
    input_shape : sequence of int
        ``(C, *spatial)`` of one sample.

    Returns
    -------
    Linear
        From ``C * prod(spatial)`` features to as many as the layer has outputs.

    Raises
    ------
    TypeError, ValueError
        As `wiring`.
    MemoryError
        When its weight cannot be held.

    Examples
    --------
    >>> conv = nn.Conv2d(3, 4, 3, padding=1, generator=0)
    >>> x = np.ones((1, 3, 5, 6), np.float32)
    >>> dense = as_linear(conv, (3, 5, 6))
    >>> np.allclose(dense(x.reshape(1, -1)), conv(x).reshape(1, -1), atol=1e-6), dense.weight.shape
    (True, (120, 90))
    """
    wires = wiring(layer, input_shape)
    known: Any = layer
    dense = nn.Linear(wires.shape[1], wires.shape[0], known.bias is not None, dtype=known.weight.dtype, generator=0)
    dense.weight.data[...] = wires.matrix(known.weight.data)
    if known.bias is not None and dense.bias is not None:
        bias = known.bias.data  # (O,), (O, *tile) where kernels are used in turn, or (O, *spatial)
        bias = bias.reshape(*bias.shape, *(1,) * (len(wires.output_shape) - bias.ndim))
        for axis in range(1, bias.ndim):
            bias = bias.take(np.arange(wires.output_shape[axis]) % bias.shape[axis], axis)
        dense.bias.data[...] = bias.reshape(-1)
    return dense


def tied_gradient(layer: nn.Module, input_shape: Sequence[int], gradient: ArrayLike) -> Array:
    """Take the weight gradient of `as_linear`'s layer to that of `layer`: the chain rule through the prior.

    Parameters
    ----------
    layer, input_shape
        As `as_linear` takes them.
    gradient : array_like of shape (outputs, inputs)
        Of the fully connected layer's weight.

    Returns
    -------
    ndarray of the shape of the layer's weight

    Raises
    ------
    TypeError, ValueError
        As `wiring`, and when `gradient` has another shape.

    Examples
    --------
    >>> tied_gradient(nn.Conv1d(1, 1, 3), (1, 4), [[1, 2, 3, 99], [99, 10, 20, 30]])
    array([[[11, 22, 33]]])
    """
    return wiring(layer, input_shape).tie(gradient)


def jacobian(layer: nn.Module, input: ArrayLike) -> Array:
    """Give the derivatives of all outputs by all inputs, at one sample.

    Parameters
    ----------
    layer : Module
        Any layer or network that treats the samples of a batch apart (batch norm: in evaluation).
    input : array_like of shape (C, *spatial)
        One sample.

    Returns
    -------
    ndarray of shape (outputs, inputs)

    Raises
    ------
    TypeError, ValueError
        As the layer, where the input does not fit it.

    Examples
    --------
    Of a window's four weights maximum pooling sets one to 1 and the rest to 0, mean pooling all to 0.25:

    >>> jacobian(nn.MaxPool2d(2), [[[1.0, 4.0], [3.0, 2.0]]]), jacobian(nn.AvgPool2d(2), [[[1.0, 4.0], [3.0, 2.0]]])
    (array([[0., 1., 0., 0.]]), array([[0.25, 0.25, 0.25, 0.25]]))
    """
    sample = np.asarray(input)
    outputs = np.asarray(layer(sample[np.newaxis])).size
    output, backward = layer.forward(np.repeat(sample[np.newaxis], outputs, axis=0))
    with gradients_kept(layer):
        result = backward(np.eye(outputs, dtype=output.dtype).reshape(output.shape))
    return np.asarray(result).reshape(outputs, sample.size)


# ---------------------------------------------------------------------------------------------------- wiring


def _linear_wiring(layer: nn.Linear, shape: tuple[int, ...]) -> Wiring:
    if shape != (layer.in_features,):
        raise ValueError(f"wiring: {layer!r} takes ({layer.in_features},), received input_shape={shape!r}")
    row, column = np.divmod(np.arange(layer.out_features * layer.in_features), layer.in_features)
    return Wiring(row, column, np.arange(row.size), shape, (layer.out_features,), layer.weight.shape)


def _windows_wiring(problem: check.ConvProblem, weights: Indices, weight_shape: tuple[int, ...]) -> Wiring:
    """Wire windows; `weights` has the places in the weight, by (channel out, position, channel in of a group, tap)."""
    wires = prod(problem.output_shape) * prod(problem.weight_shape[1:])
    check.result("wiring", (4, wires), np.dtype(np.int64))  # is there room? else a MemoryError that says so
    place, inside = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    for axis in problem.axes:  # one more each time: (positions, taps) become (positions * out, taps * kernel)
        read = np.arange(axis.out)[:, None] * axis.stride + np.arange(axis.kernel) * axis.dilation - axis.lo
        shape = (len(place) * axis.out, place.shape[1] * axis.kernel)
        place = (place[:, None, :, None] * axis.size + read[:, None, :]).reshape(shape)
        inside = (inside[:, None, :, None] & ((read >= 0) & (read < axis.size))[:, None, :]).reshape(shape)
    positions, taps = place.shape
    channels, size = problem.groups * problem.out_channels, prod(axis.size for axis in problem.axes)
    first = np.arange(channels) // problem.out_channels * problem.in_channels  # of the channels in of its group
    source = first[:, None] + np.arange(problem.in_channels)
    full = (channels, positions, problem.in_channels, taps)
    row = np.broadcast_to(np.arange(channels * positions).reshape(channels, positions, 1, 1), full)
    column = source[:, None, :, None] * size + place[:, None, :]
    kept = np.broadcast_to(inside[:, None, :], full)
    weight = np.broadcast_to(weights, full)
    return Wiring(row[kept], column[kept], weight[kept], problem.input_shape, problem.output_shape, weight_shape)


def _mean_pooling(layer: Any, shape: tuple[int, ...], sparse: bool | None) -> Any:
    """Wire windows of mean pooling channel by channel, each connection with a weight of its own: its window's mean."""
    answers = np.asarray(layer(np.ones((1, *shape)))).reshape(-1)  # also checks the shape
    n = len(shape) - 1
    options = (layer.kernel_size, layer.stride, layer.padding, 1, layer.ceil_mode)
    windows = check.window_problem("as_matrix", n, (1, *shape), False, *options)
    problem = check.ConvProblem(False, 1, shape[0], 1, 1, windows.axes)
    row_of = np.arange(answers.size).reshape(shape[0], -1, 1, 1)
    wires = _windows_wiring(problem, row_of, answers.shape)
    return _chosen(wires, answers / np.bincount(wires.row, minlength=answers.size), sparse)


def _chosen(wires: Wiring, weight: Array, sparse: bool | None) -> Any:
    large = prod(wires.shape) > DENSE_LIMIT if sparse is None else sparse
    return wires.sparse(weight) if large else wires.matrix(weight)


def _shared(layer: Any, problem: check.ConvProblem) -> tuple[Indices, tuple[int, ...]]:
    """One kernel for all positions."""
    shape = problem.weight_shape
    return np.arange(prod(shape)).reshape(shape[0], 1, shape[1], -1), shape


def _in_turn(layer: Any, problem: check.ConvProblem) -> tuple[Indices, tuple[int, ...]]:
    """As many kernels as the first axes of the weight say, used in turn: one for each position in local connection."""
    n, shape = len(problem.axes), layer.weight.shape
    outs = problem.output_shape[-n:]
    turns = [place % tile for place, tile in zip(np.indices(outs).reshape(n, -1), shape[:n], strict=True)]
    kernels = np.arange(prod(shape)).reshape(prod(shape[:n]), *shape[n : n + 2], -1)
    return kernels[np.ravel_multi_index(turns, shape[:n])].swapaxes(0, 1), shape


_KERNELS: dict[str, Callable[[Any, check.ConvProblem], tuple[Indices, tuple[int, ...]]]] = {
    "Conv1d": _shared,
    "Conv2d": _shared,
    "Conv3d": _shared,
    "LocallyConnected1d": _in_turn,
    "LocallyConnected2d": _in_turn,
    "TiledConv2d": _in_turn,
}


# ---------------------------------------------------------------------------------------------------- probing


def _probed(function: Callable[[Any], Any], shape: tuple[int, ...], sparse: bool | None) -> Any:
    """Ask a function for every unit input."""
    dtype = _dtype_of(function)
    zero = np.asarray(function(np.zeros((1, *shape), dtype)))
    inputs, outputs = prod(shape), zero.size
    large = inputs * outputs > DENSE_LIMIT if sparse is None else sparse
    dense = None if large else check.result("as_matrix", (outputs, inputs), zero.dtype)
    rows, columns, values = [], [], []
    for start, block in _unit_inputs(shape, dtype, max(1, DENSE_LIMIT // 4 // max(inputs, outputs, 1))):
        answers = (np.asarray(function(block)) - zero).reshape(len(block), outputs)
        if dense is not None:
            dense[:, start : start + len(block)] = answers.T
            continue
        column, row = np.nonzero(answers)
        rows.append(row)
        columns.append(column + start)
        values.append(answers[column, row])
    if dense is not None:
        matrix: Any = dense
    else:
        row, column, value = (np.concatenate(parts) for parts in (rows, columns, values))
        order = np.lexsort((column, row))
        matrix = _sparse(value[order], row[order], column[order], (outputs, inputs))
    _check_linear(function, shape, zero, matrix)
    return matrix


def _dtype_of(function: Any) -> np.dtype[Any]:
    """float64, unless the layer has parameters of another dtype."""
    parameters = list(function.parameters()) if isinstance(function, nn.Module) else []
    return parameters[0].dtype if parameters else np.dtype(np.float64)


def _unit_inputs(shape: tuple[int, ...], dtype: np.dtype[Any], most: int) -> Iterator[tuple[int, Array]]:
    size = prod(shape)
    for start in range(0, size, most):
        number = min(most, size - start)
        block = np.zeros((number, size), dtype)
        block[np.arange(number), np.arange(start, start + number)] = 1
        yield start, block.reshape(number, *shape)


def _check_linear(function: Callable[[Any], Any], shape: tuple[int, ...], zero: Array, matrix: Any) -> None:
    """Raise unless the matrix predicts the answer to a random input."""
    x = np.random.default_rng(0).standard_normal((1, *shape)).astype(zero.dtype)
    dense = matrix.toarray() if isinstance(matrix, SparseMatrix) else matrix
    want = np.asarray(function(x)).reshape(-1) - zero.reshape(-1)
    scale = abs(dense) @ np.abs(x.reshape(-1)) + np.abs(zero.reshape(-1))
    if np.any(np.abs(dense @ x.reshape(-1) - want) > 1e-2 * np.sqrt(np.finfo(zero.dtype).eps) * (scale + scale.max())):
        raise ValueError(f"as_matrix: layer must be linear in its input, received layer={function!r}")


def _sparse(values: Array, row: Indices, column: Indices, shape: tuple[int, int]) -> Any:
    """Compress rows; `row` ascends."""
    starts = np.searchsorted(row, np.arange(shape[0] + 1))
    try:
        csr_array = require("scipy.sparse", "sparse matrices").csr_array
    except MissingExtraError:
        return SparseMatrix(values, column, starts, shape)
    return csr_array((values, column, starts), shape=shape)
