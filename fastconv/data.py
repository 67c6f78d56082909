"""Images to learn from: one loader for every size of batch, augmentation, and the handwritten digits.

Full batch, stochastic and mini-batch gradient descent differ in one number of the loader::

    DataLoader(images, labels, batch_size=None)               all images in every step
    DataLoader(images, labels, batch_size=1, shuffle=True)    one image a step
    DataLoader(images, labels, batch_size=32, shuffle=True)   the usual way
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv._extras import require
from fastconv.nn.init import Generator, make_generator

__all__ = [
    "INK",
    "PAPER",
    "Augment",
    "DataLoader",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "Split",
    "digits",
    "resize",
    "split",
]

Array: TypeAlias = NDArray[Any]

#: Takes a batch ``(N, C, H, W)`` and a source of chance; returns a batch, and never changes the one it was given.
Augment: TypeAlias = Callable[[Array, np.random.Generator], Array]

# Pixel values of LeCun et al. for digits: they bring the mean near 0 and the variance near 1.
PAPER = -0.1
INK = 1.175


# ------------------------------------------------------------------------------------------------ loader


class DataLoader:
    """Inputs and targets in batches, once through all of them in each iteration.

    Parameters
    ----------
    inputs : array_like of shape (N, ...)
        Such as images ``(N, C, H, W)``. Kept, not copied.
    targets : array_like of shape (N, ...)
        Such as class numbers ``(N,)``.
    batch_size : int or None, default 32
        Samples in a batch; None for all. The last batch may have fewer.
    shuffle : bool, default False
        Whether every iteration has an order of its own.
    drop_last : bool, default False
        Whether to leave out a last batch that is not full.
    augment : callable or sequence of callables, optional
        Each gets the batch of inputs and the generator and returns another batch: `RandomFlip`, `RandomShift`,
        `RandomCrop`, or any function.
    generator : numpy.random.Generator or int, optional
        The source of orders and augmentation, or its seed.

    Raises
    ------
    TypeError
        When an argument has the wrong type.
    ValueError
        When `inputs` and `targets` have no or different lengths, the batch size is not positive, or `drop_last` would
        leave nothing.

    Examples
    --------
    >>> loader = DataLoader(np.arange(5.0), np.arange(5), batch_size=2, shuffle=True, generator=0)
    >>> len(loader), [targets.tolist() for _, targets in loader]
    (3, [[2, 4], [3, 0], [1]])
    """

    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        batch_size: int | None = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        *,
        augment: Augment | Sequence[Augment] | None = None,
        generator: Generator = None,
    ) -> None:
        self.inputs, self.targets = _samples("inputs", inputs), _samples("targets", targets)
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                f"DataLoader: inputs and targets must be equally many, received inputs of shape {self.inputs.shape} "
                f"and targets of shape {self.targets.shape}"
            )
        size = len(self.inputs) if batch_size is None else batch_size
        self.batch_size = check.integer("DataLoader", "batch_size", size, 1)
        self.shuffle = check.flag("DataLoader", "shuffle", shuffle)
        self.drop_last = check.flag("DataLoader", "drop_last", drop_last)
        if len(self) == 0:
            raise ValueError(
                f"DataLoader: drop_last leaves no batch of {len(self.inputs)} samples, received batch_size={batch_size}"
            )
        self.augment = _steps(augment)
        self.generator = make_generator("DataLoader", generator)
        self._order: NDArray[np.intp] | None = None  # of the iteration under way
        self._position = 0  # batches that it has given
        self._continue = False  # whether the next iteration goes on with that order: after load_state_dict

    def __len__(self) -> int:
        """Number of batches in an iteration."""
        full, rest = divmod(len(self.inputs), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        if not self._continue or self._order is None:
            count = len(self.inputs)
            self._order = self.generator.permutation(count) if self.shuffle else np.arange(count)
            self._position = 0
        self._continue = False
        return self._batches(self._order, self._position)

    def _batches(self, order: NDArray[np.intp], first: int) -> Iterator[tuple[Array, Array]]:
        """Yield batches from the one of number `first`. Several iterations may be under way; the last one is noted."""
        for position in range(first, len(self)):
            chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
            inputs = self.inputs[chosen]
            for change in self.augment:
                inputs = change(inputs, self.generator)
            self._order, self._position = order, position + 1
            yield inputs, self.targets[chosen]
        self._order, self._position = None, 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands: its generator, and the order and place of an iteration under way.

        After ``load_state_dict`` of it, the next iteration goes on with the batch that would have come next.
        """
        order = None if self._order is None else self._order.copy()
        return {"generator": self.generator.bit_generator.state, "order": order, "position": self._position}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to where ``state_dict()`` was taken.

        Raises
        ------
        ValueError
            When the state belongs to a loader of another length or another kind of generator, or is none.
        """
        missing = [name for name in ("generator", "order", "position") if name not in state_dict]
        if missing:
            raise ValueError(f"DataLoader: the state must have {missing[0]!r}, received {sorted(state_dict)}")
        order, count = state_dict["order"], len(self.inputs)
        if order is not None:
            order = np.asarray(order)
            if order.dtype.kind not in "iu" or order.ndim != 1 or not np.array_equal(np.sort(order), np.arange(count)):
                raise ValueError(
                    f"DataLoader: the state must be that of a loader of {count} samples, "
                    f"received an order of shape {order.shape} and dtype {order.dtype}"
                )
        position = check.integer("DataLoader", "position", state_dict["position"], 0)
        if position > len(self):
            raise ValueError(f"DataLoader: position must be at most {len(self)} batches, received {position=}")
        check.generator_state("DataLoader", self.generator, state_dict["generator"])
        self._order, self._position, self._continue = order, position, order is not None

    def __repr__(self) -> str:
        return (
            f"DataLoader({len(self.inputs)} samples, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last}, augment={list(self.augment)})"
        )


def _samples(name: str, value: ArrayLike) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal lengths, say
        raise TypeError(f"DataLoader: {name} cannot be read as an array: {error}") from None
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"DataLoader: {name} must hold samples, received {name} of shape {array.shape}")
    return array


def _steps(augment: Augment | Sequence[Augment] | None) -> tuple[Augment, ...]:
    steps = () if augment is None else tuple(augment) if isinstance(augment, Sequence) else (augment,)
    for step in steps:
        if not callable(step):
            raise TypeError(f"DataLoader: augment must be callable, or a sequence of callables, received {step!r}")
    return steps


# ------------------------------------------------------------------------------------------------ augmentation


class RandomCrop:
    """Cut a window out of each image, at a place of its own.

    Parameters
    ----------
    size : int or (height, width)
        The window.
    padding : int or (vertical, horizontal), default 0
        Pixels to add on each side beforehand.
    fill : float, default 0
        What they are.

    Raises
    ------
    ValueError
        When a size is not positive or a padding negative; when called, where the window does not fit.

    Examples
    --------
    >>> image = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> RandomCrop(2)(image, np.random.default_rng(0))[0, 0]
    array([[ 9., 10.],
           [13., 14.]])
    """

    def __init__(self, size: Any, padding: Any = 0, fill: float = 0.0) -> None:
        self.size = check.per_axis("RandomCrop", "size", size, 2, 1)
        self.padding = check.per_axis("RandomCrop", "padding", padding, 2, 0)
        self.fill = check.real(type(self).__name__, "fill", fill)

    def __call__(self, images: Array, generator: np.random.Generator) -> Array:
        """Return images ``(N, C, *size)`` of those of shape ``(N, C, H, W)``."""
        (height, width), (rows, columns) = self.size, self.padding
        return _windows("RandomCrop", images, height, width, rows, columns, self.fill, generator)

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, padding={self.padding}, fill={self.fill})"


class RandomShift:
    """Move each image by a number of pixels of its own, up or down and left or right.

    Parameters
    ----------
    pixels : int or (vertical, horizontal)
        The most; every number from -pixels to pixels is equally likely.
    fill : float, default 0
        What comes in at the border.

    Raises
    ------
    ValueError
        When a number is negative.

    Examples
    --------
    >>> RandomShift((0, 1), fill=9)(np.arange(6.0).reshape(2, 1, 1, 3), np.random.default_rng(0))[:, 0, 0]
    array([[1., 2., 9.],
           [3., 4., 5.]])
    """

    def __init__(self, pixels: Any, fill: float = 0.0) -> None:
        self.pixels = check.per_axis("RandomShift", "pixels", pixels, 2, 0)
        self.fill = check.real(type(self).__name__, "fill", fill)

    def __call__(self, images: Array, generator: np.random.Generator) -> Array:
        """Return images of the same shape ``(N, C, H, W)``."""
        (height, width), (rows, columns) = _batch("RandomShift", images).shape[-2:], self.pixels
        return _windows("RandomShift", images, height, width, rows, columns, self.fill, generator)

    def __repr__(self) -> str:
        return f"RandomShift({self.pixels}, fill={self.fill})"


class RandomFlip:
    """Mirror some of the images.

    Parameters
    ----------
    p : float, default 0.5
        The probability for each.
    axis : int, default -1
        -1 exchanges left and right, -2 top and bottom.

    Raises
    ------
    ValueError
        When the probability is not between 0 and 1, or the axis none of the two.

    Examples
    --------
    >>> RandomFlip(p=1.0)(np.arange(3.0).reshape(1, 1, 1, 3), np.random.default_rng(0))
    array([[[[2., 1., 0.]]]])
    """

    def __init__(self, p: float = 0.5, axis: int = -1) -> None:
        if check.real("RandomFlip", "p", p, 0) > 1:
            raise ValueError(f"RandomFlip: p must be between 0 and 1, received p={p!r}")
        if axis not in (-1, -2):
            raise ValueError(f"RandomFlip: axis must be -1 (left and right) or -2 (top and bottom), received {axis=}")
        self.p, self.axis = float(p), axis

    def __call__(self, images: Array, generator: np.random.Generator) -> Array:
        """Return images of the same shape ``(N, C, H, W)``."""
        result = _batch("RandomFlip", images).copy()
        chosen = check.generator("RandomFlip", generator).random(len(result)) < self.p
        result[chosen] = np.flip(result[chosen], self.axis)
        return result

    def __repr__(self) -> str:
        return f"RandomFlip(p={self.p}, axis={self.axis})"


def _batch(op: str, images: Array) -> Array:
    array = np.asarray(images)
    if array.ndim != 4:
        raise ValueError(f"{op}: images must have the axes (N, C, H, W), received shape {array.shape}")
    return array


def _windows(
    op: str, images: Array, height: int, width: int, rows: int, columns: int, fill: float, rng: np.random.Generator
) -> Array:
    """Add rows and columns on all sides, then cut a window out of each image at a place of its own."""
    padded = images = _batch(op, images)
    if rows or columns:
        widths = ((0, 0), (0, 0), (rows, rows), (columns, columns))
        padded = np.pad(images, widths, constant_values=fill)
    free = padded.shape[2] - height, padded.shape[3] - width
    if min(free) < 0:
        raise ValueError(
            f"{op}: the window must fit the padded image, received size={(height, width)} for {padded.shape[2:]}"
        )
    rng = check.generator(op, rng)
    top, left = (rng.integers(0, most + 1, len(images)) for most in free)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return np.ascontiguousarray(windows[np.arange(len(images)), :, top, left])


# ------------------------------------------------------------------------------------------------ digits


def digits(size: int = 32) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load scikit-learn's handwritten digits, bilinearly enlarged from 8x8.

    Paper is `PAPER` and full ink `INK`.

    Parameters
    ----------
    size : int, default 32
        Side of the images: 32 for LeNet-5, 40 for the classroom network.

    Returns
    -------
    images : ndarray of shape (1797, 1, size, size), float32, read-only
    labels : ndarray of shape (1797,), int64, read-only

    Raises
    ------
    MissingExtraError
        When scikit-learn is not installed.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998, section II.B.
    """
    return _digits(check.integer("digits", "size", size, 1))


@cache
def _digits(side: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bunch = require("sklearn.datasets", "handwritten digits", "train").load_digits()
    ink = resize(bunch.images / 16.0, side, side)
    images = np.ascontiguousarray(PAPER + (INK - PAPER) * ink[:, np.newaxis], dtype=np.float32)
    labels = bunch.target.astype(np.int64)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


class Split(NamedTuple):
    """Indices of the samples for training, for choosing between models, and for the one test at the end."""

    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]


def split(count: int, validation: int = 0, *, generator: Generator = 0) -> Split:
    """Take every third sample for testing, and some of the others for validation.

    Parameters
    ----------
    count : int
        Number of samples.
    validation : int, default 0
        How many of those that are not for testing.
    generator : numpy.random.Generator or int, default 0
        Chooses them.

    Returns
    -------
    Split
        Indices in ascending order.

    Raises
    ------
    ValueError
        When there are not so many.

    Examples
    --------
    >>> split(7, validation=1)
    Split(training=array([1, 2, 5]), validation=array([4]), test=array([0, 3, 6]))
    """
    index = np.arange(check.integer("split", "count", count, 1))
    rest = index[index % 3 != 0]
    wanted = check.integer("split", "validation", validation, 0)
    if wanted > len(rest):
        raise ValueError(f"split: validation must be at most {len(rest)} of {count} samples, received {validation=}")
    held = np.zeros(len(rest), np.bool_)
    held[make_generator("split", generator).permutation(len(rest))[:wanted]] = True
    return Split(rest[~held], rest[held], index[::3])


def resize(images: ArrayLike, height: int, width: int) -> NDArray[Any]:
    """Resize images bilinearly; pixel centres are aligned and the rim is repeated.

    Parameters
    ----------
    images : array_like of shape (..., H, W)
        float16, float32 or float64.
    height, width : int
        The new size.

    Returns
    -------
    ndarray of shape (..., height, width)
        Of the dtype of `images`.

    Raises
    ------
    TypeError
        When `images` is not of such a dtype, or a size no integer.
    ValueError
        When there are no two axes or nothing along one of them, or a size is not positive.

    Examples
    --------
    >>> resize(np.array([[[0.0, 1.0]]]), 1, 4)
    array([[[0.  , 0.25, 0.75, 1.  ]]])
    """
    dtype, (given,) = check.data("resize", images=images)
    if given.ndim < 2 or 0 in given.shape[-2:]:
        raise ValueError(f"resize: images must have the axes (..., H, W), received images of shape {given.shape}")
    rows = _bilinear_matrix(given.shape[-2], check.integer("resize", "height", height, 1))
    columns = _bilinear_matrix(given.shape[-1], check.integer("resize", "width", width, 1))
    return np.asarray(rows @ given @ columns.T, dtype)


def _bilinear_matrix(size: int, new_size: int) -> NDArray[np.float64]:
    """Build the (new_size, size) matrix that interpolates linearly between the centres of `size` cells."""
    place = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(place[:, np.newaxis] - np.arange(size))))
