"""Pictures of images: filtered by hand, pooled, shifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastconv as fc
from fastconv import _check as check
from fastconv import nn
from fastconv.analysis.figures._style import BLUE, GRAY, GREEN, ORANGE, RED, drawn, ink, numbers, panels, show, taken
from fastconv.analysis.matrix import jacobian
from fastconv.analysis.measures import equivariance_error, invariance_error, translate

__all__ = [
    "CURVE",
    "CURVE_ABSENT",
    "CURVE_PRESENT",
    "TEMPLATE",
    "curve_detector",
    "filtered_photograph",
    "kept_and_lost",
    "pooling",
    "shifts",
    "template",
]

Array = NDArray[Any]

#: The curve detector, and a piece of image with that curve and one without, of Deshpande, "A beginner's guide to
#: understanding convolutional neural networks", 2016.
CURVE: Array = np.array(
    [
        [0, 0, 0, 0, 0, 30, 0],
        [0, 0, 0, 0, 30, 0, 0],
        [0, 0, 0, 30, 0, 0, 0],
        [0, 0, 0, 30, 0, 0, 0],
        [0, 0, 0, 30, 0, 0, 0],
        [0, 0, 0, 30, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    np.float64,
)
CURVE_PRESENT: Array = np.array(
    [
        [0, 0, 0, 0, 0, 0, 30],
        [0, 0, 0, 0, 50, 50, 50],
        [0, 0, 0, 20, 50, 0, 0],
        [0, 0, 0, 50, 50, 0, 0],
        [0, 0, 0, 50, 50, 0, 0],
        [0, 0, 0, 50, 50, 0, 0],
        [0, 0, 0, 50, 50, 0, 0],
    ],
    np.float64,
)
CURVE_ABSENT: Array = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 40, 0, 0, 0, 0, 0],
        [40, 0, 40, 0, 0, 0, 0],
        [40, 20, 0, 0, 0, 0, 0],
        [0, 50, 0, 0, 0, 0, 0],
        [0, 0, 50, 0, 0, 0, 0],
        [25, 25, 0, 50, 0, 0, 0],
    ],
    np.float64,
)
#: The 3x3 template that courses slide over a gray image.
TEMPLATE: Array = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]], np.float64)


@drawn
def filtered_photograph(image: ArrayLike) -> Any:
    """Draw a gray photograph beside what box, Gaussian, Laplacian, edge filter and curve detector make of it.

    Parameters
    ----------
    image : array_like of shape (H, W), from 0 to 1

    Returns
    -------
    ndarray of Axes, (6,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the image does not hold real numbers, or has other axes.

    Examples
    --------
    >>> [panel.get_title() for panel in filtered_photograph(np.eye(64))[:2]]
    ['gray photograph', 'box 9 x 9: smooth']
    """
    from fastconv import filters

    photo = taken("filtered_photograph", "image", image, "(H, W)", dtype=np.float64)
    curve = CURVE - CURVE.mean()  # a flat piece of image gives 0
    edges = filters.correlate(photo, np.array([[-1.0, 0.0, 1.0]]))
    axes = panels(7.2, 7.4, 3, 2).ravel()
    show(axes[0], photo, "gray photograph", vmin=0, vmax=1)
    show(axes[1], filters.box(photo, 9), "box 9 x 9: smooth", vmin=0, vmax=1)
    show(axes[2], filters.gaussian(photo, 3.0), "Gaussian, sigma 3: smoother", vmin=0, vmax=1)
    show(axes[3], _soft(filters.laplacian(photo)), "Laplacian: fine detail", "PuOr", around_zero=True)
    show(axes[4], _soft(edges), "(-1, 0, 1): upright edges", "PuOr", around_zero=True)
    response = np.maximum(filters.correlate(photo, curve), 0)
    show(axes[5], response, "curve detector, ReLU", "magma", vmax=float(np.quantile(response, 0.999)))
    return axes


def _soft(image: Array) -> Array:
    """Cut off the strongest hundredth, so that the rest shows."""
    limit = float(np.quantile(np.abs(image), 0.99))
    return np.clip(image, -limit, limit)


@drawn
def curve_detector() -> Any:
    """Draw the textbook's curve detector on a piece of image with its curve, and on one without.

    Returns
    -------
    ndarray of Axes, (2, 3)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> axes = curve_detector()
    >>> axes[0, 2].get_title(), axes[1, 2].get_title()
    ('adds up to 6600', 'adds up to 0')
    """
    axes = panels(7.2, 5.2, 2, 3)
    for row, (patch, text) in enumerate(
        ((CURVE_PRESENT, "the curve is there"), (CURVE_ABSENT, "the curve is not there"))
    ):
        response = float(fc.conv2d(patch[np.newaxis], CURVE[np.newaxis, np.newaxis]).item())
        numbers(axes[row, 0], patch, f"image: {text}", marked=patch > 0)
        numbers(axes[row, 1], CURVE, "times the filter", marked=CURVE > 0)
        products = patch * CURVE
        numbers(axes[row, 2], products, f"adds up to {response:g}", marked=products > 0, size=9)
    return axes


@drawn
def template(image: ArrayLike) -> Any:
    """Draw the 3x3 template sliding over a gray image: in numbers on a small one, and on a photograph.

    Parameters
    ----------
    image : array_like of shape (H, W), from 0 to 1

    Returns
    -------
    ndarray of Axes, (5,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the image does not hold real numbers, or has other axes.

    Examples
    --------
    >>> template(np.eye(64))[2].get_title()
    'response: at most 4'
    """
    from fastconv import filters

    photo = taken("template", "image", image, "(H, W)", dtype=np.float64)
    small = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0]], np.float64)
    figure = panels(7.2, 5.6).figure
    figure.clear()
    grid = figure.add_gridspec(2, 6, height_ratios=(1, 1.1))
    axes = np.array(
        [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
        + [figure.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(2)]
    )
    response = fc.conv2d(small[np.newaxis], TEMPLATE[np.newaxis, np.newaxis])[0]
    window = np.zeros_like(small)
    window[:3, :3] = 1
    numbers(axes[0], small, "image, first window marked", marked=window, size=13)
    numbers(axes[1], TEMPLATE, "template", size=13)
    numbers(axes[2], response, f"response: at most {TEMPLATE.sum():g}", marked=response == TEMPLATE.sum(), size=13)
    show(axes[3], photo, "gray photograph", vmin=0, vmax=1)
    centred = TEMPLATE - TEMPLATE.mean()
    found = filters.correlate(photo, centred)
    show(axes[4], _soft(found), "template less its mean", "PuOr", around_zero=True)
    return axes


@drawn
def pooling() -> Any:
    """Draw 2x2 pooling of sixteen numbers, by maximum and by mean, and the weights that each gives to one window.

    Returns
    -------
    ndarray of Axes, (2, 3)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> pooling()[1, 1].get_title()
    'mean: weights'
    """
    image = np.array([[1, 3, 2, 0], [5, 4, 1, 1], [0, 2, 9, 6], [2, 0, 7, 8]], np.float64)[np.newaxis]
    axes = panels(7.2, 4.8, 2, 3)
    first = np.zeros((4, 4))
    first[:2, :2] = 1
    for row, (name, layer) in enumerate((("maximum", nn.MaxPool2d(2)), ("mean", nn.AvgPool2d(2)))):
        weights = jacobian(layer, image)[0].reshape(4, 4)[:2, :2]
        numbers(axes[row, 0], image[0], "image: a window", marked=first, size=13)
        numbers(axes[row, 1], weights, f"{name}: weights", marked=weights > 0, size=13)
        numbers(axes[row, 2], layer(image)[0], "a quarter is kept", marked=np.array([[1, 0], [0, 0]]), size=13)
    return axes


@drawn
def shifts(image: ArrayLike, shift: tuple[int, int] = (2, 4), seed: int = 0) -> Any:
    """Draw what a shift of the input does to the outputs of convolution, pooling and a fully connected layer.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Small, such as a digit; sides are even.
    shift : (int, int)
        Down and right, even numbers.
    seed : int
        Of the fully connected layer's weights.

    Returns
    -------
    ndarray of Axes, (4, 3)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the image does not hold real numbers or has other axes, is of one value throughout, or `shift` is not two
        even ints below half of its sides.

    Examples
    --------
    >>> axes = shifts(np.random.default_rng(0).random((16, 16)))
    >>> [row[2].get_xlabel() for row in axes][:3]
    ['off by 0 %', 'off by 0 %', 'off by 0 %']
    """
    x = taken("shifts", "image", image, "(H, W)", dtype=np.float64)[np.newaxis]
    down, right = shift = check.per_axis("shifts", "shift", shift, 2)  # type: ignore[assignment]
    if down % 2 or right % 2 or any(2 * abs(s) + 2 >= side for s, side in zip((down, right), x.shape[1:], strict=True)):
        raise ValueError(f"shifts: shift must be two even ints below half of the sides, received {shift=}")
    if x.min() == x.max():
        raise ValueError(f"shifts: image must not be of one value, received {x.min():g} throughout")
    moved = translate(x, shift, float(x.min()))
    dense = nn.Linear(x.size, x.size, dtype=np.float64, generator=seed)
    edge = np.array([[[[-1.0, 0.0, 1.0]] * 3]]).reshape(1, 1, 3, 3)
    rows: list[tuple[str, Callable[[Array], Array], tuple[int, int]]] = [
        ("input", lambda v: v, shift),
        ("convolution", lambda v: fc.conv2d(v, edge, padding=1), shift),
        ("max pooling 2x2", lambda v: fc.max_pool2d(v, 2), (shift[0] // 2, shift[1] // 2)),
        ("fully connected", lambda v: dense(v.reshape(1, -1)).reshape(x.shape), shift),
    ]
    axes = panels(7.2, 8.6, 4, 3)
    for row, (name, operator, back) in zip(axes, rows, strict=True):
        plain, shifted = operator(x)[0], operator(moved)[0]
        returned = translate(shifted, (-back[0], -back[1]))
        inside = np.zeros(plain.shape, bool)
        rim = [abs(b) + 1 for b in back]
        inside[rim[0] : -rim[0], rim[1] : -rim[1]] = True
        difference = np.where(inside, returned - plain, 0)
        largest = float(np.abs(plain).max())
        error = float(np.sqrt(np.mean(difference[inside] ** 2)) / np.sqrt(np.mean(plain[inside] ** 2)))
        show(row[0], plain, "", "PuOr", vmin=-largest, vmax=largest)
        show(row[1], shifted, "", "PuOr", vmin=-largest, vmax=largest)
        show(row[2], difference, "", "PuOr", vmin=-largest, vmax=largest)
        row[2].set_xlabel(f"off by {100 * error:.0f} %", color=GREEN if error < 1e-6 else RED)
        row[0].set_ylabel(name)
    for panel, title in zip(
        axes[0], ("of the digit", f"of it shifted by {shift}", "shifted back: difference"), strict=True
    ):
        panel.set_title(title)
    return axes


@drawn
def kept_and_lost(image: ArrayLike) -> Any:
    """Draw measures on a photograph: equivariance of convolution to shift, turn and scale; invariance of pooling.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Sides are even.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the image does not hold real numbers, or its sides are odd or below 48.

    Examples
    --------
    >>> axes = kept_and_lost(np.random.default_rng(0).random((64, 64)))
    >>> [text.get_text() for text in axes[0].texts][:1]
    ['0 %']
    """
    x = taken("kept_and_lost", "image", image, "(H, W)", dtype=np.float64)[np.newaxis]
    if any(side % 2 or side < 48 for side in x.shape[1:]):
        raise ValueError(f"kept_and_lost: image must have even sides of 48 or more, received shape {x.shape[1:]}")
    edge = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[np.newaxis, np.newaxis]

    def conv(v: Array) -> Array:
        return fc.conv2d(v, edge, padding=1)

    transforms: dict[str, Any] = {
        "shift by (3, 5)": (3, 5),
        "turn by 90°": lambda v: np.rot90(v, axes=(-2, -1)),
        "half the size": lambda v: fc.avg_pool2d(v, 2),
        "mirror": lambda v: v[..., ::-1],
    }
    axes = panels(7.2, 3.8, 1, 2)
    errors = [100 * equivariance_error(conv, x, transform, margin=8) for transform in transforms.values()]
    bars = axes[0].barh(list(transforms), errors, color=[GREEN if error < 1e-6 else RED for error in errors])
    axes[0].bar_label(bars, [f"{error:.0f} %" for error in errors], padding=3)
    axes[0].set(title="3x3 edge filter: how far\nf(T(x)) is from T(f(x))", xlim=(0, max(errors) * 1.25), xticks=[])
    axes[0].invert_yaxis()
    edges, rim = np.abs(conv(x)), 12
    steps = list(range(rim))
    lines: dict[str, tuple[nn.Module, str, str]] = {
        "no pooling": (nn.Identity(), GRAY, "x"),
        "max 3x3": (nn.MaxPool2d(3, 1), ORANGE, "o"),
        "max 9x9": (nn.MaxPool2d(9, 1), BLUE, "s"),
        "mean 9x9": (nn.AvgPool2d(9, 1), GREEN, "^"),
        "global max": (nn.AdaptiveMaxPool2d(1), RED, "D"),
    }
    for name, (layer, colour, marker) in lines.items():

        def inner(v: Array, layer: nn.Module = layer) -> Array:
            return np.asarray(layer(v[..., rim:-rim, rim:-rim]))  # the same view of a larger photograph

        changes = [100 * invariance_error(inner, edges, step) for step in steps]
        axes[1].plot(steps, changes, color=colour, marker=marker, markersize=4)
        axes[1].text(steps[-1] + 0.4, changes[-1], name, color=ink(colour), va="center", fontsize=10)
    axes[1].set(title="shift of the input: change\nof the pooled edges, %", xlabel="shift, pixels", xlim=(0, 17.5))
    axes[1].set_xticks([0, 5, 10])
    return axes
