"""Filters for images, gray or colour: box, Gaussian, Laplacian, Sobel, and any kernel as correlation or convolution.

Each gives what its counterpart in ``scipy.ndimage`` gives for float32 and float64, with SciPy's names for what stands
outside the image, which other packages call differently. Of an image ``a b c d``:

=================================  ===========================  ================  ================  =============
`mode` here and in SciPy           stands for                   `fastconv.pad`    `numpy.pad`       PyTorch
=================================  ===========================  ================  ================  =============
``"reflect"``, ``"grid-mirror"``   ``d c b a|a b c d|d c b a``  none              ``"symmetric"``   none
``"mirror"``                       ``d c b|a b c d|c b a``      ``"reflect"``     ``"reflect"``     ``"reflect"``
``"nearest"``                      ``a a a|a b c d|d d d``      ``"replicate"``   ``"edge"``        ``"replicate"``
``"wrap"``, ``"grid-wrap"``        ``b c d|a b c d|a b c``      ``"circular"``    ``"wrap"``        ``"circular"``
``"constant"``, ``"grid-constant"``  ``k k k|a b c d|k k k``    ``"constant"``    ``"constant"``    ``"constant"``
=================================  ===========================  ================  ================  =============

with ``k`` the argument `cval`. Images smaller than the kernel are continued as often as it takes. To go on from the
filters to layers: correlation is what `fastconv.conv2d` computes with its weight, and convolution turns the kernel.

================  ==============================  ==========================
function          counterpart in `scipy.ndimage`  its kernel
================  ==============================  ==========================
`box`             ``uniform_filter``              a mean
`gaussian`        ``gaussian_filter``             a bell of width `sigma`
`laplacian`       ``laplace``                     the sum of second differences
`sobel`           ``sobel``                       a slope, smoothed across
`correlate`       ``correlate``                   as given
`convolve`        ``convolve``                    as given, turned by half a turn
================  ==============================  ==========================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import _check
from fastconv._check import Array
from fastconv._filter import axes_of, coefficients, number, picture, weigh

__all__ = ["box", "convolve", "correlate", "gaussian", "laplacian", "sobel"]

_WIDEST = 2**24  # of a Gaussian, in pixels

_PARAMETERS = """image : array_like of shape (H, W), or with channels (H, W, C), (C, H, W), (H, C, W)
        float16, float32 or float64; any strides, read-only or not. Never changed."""
_OPTIONS = """mode : str, default "reflect"
        What stands outside the image: one of SciPy's names, see the table of `fastconv.filters`.
    cval : float, default 0.0
        What stands there in the modes "constant" and "grid-constant".
    channel_axis : int, optional
        Which axis of a colour image holds its channels, each of which is filtered by itself; None for a gray image.

    Returns
    -------
    ndarray of the shape and dtype of `image`
        float16 is computed in float32.

    Raises
    ------
    ValueError
        If the image has not the axes that `channel_axis` tells, the mode is none of these, or a value does not fit.
    TypeError
        If `image` is not float16, float32 or float64, or an argument is not of its type.
    MemoryError
        If the result cannot be had."""


def _documented(function: Any) -> Any:
    """Fill in the parameters that all filters have."""
    text = function.__doc__ or ""  # python -OO leaves none
    function.__doc__ = text.replace("%image%", _PARAMETERS).replace("%options%", _OPTIONS)
    return function


@_documented
def box(
    image: ArrayLike,
    size: int | tuple[int, int],
    mode: str = "reflect",
    cval: float = 0.0,
    *,
    channel_axis: int | None = None,
) -> Array:
    """Mean of a window around each pixel, as ``scipy.ndimage.uniform_filter``.

    Axes: H height, W width, C channels.

    Parameters
    ----------
    %image%
    size : int or two ints
        Pixels of the window along H and W. The window of an even size reaches one pixel further up and left.
    %options%

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> filters.box(np.array([[0.0, 0.0, 9.0, 0.0]]), (1, 3))
    array([[0., 3., 3., 3.]])
    """
    op = "box"
    pic = picture(op, image, mode, cval, channel_axis)
    high, wide = axes_of(op, "size", size, _at_least_one)
    dtype = pic.source.dtype
    weigh(pic, (np.full(high, 1 / high, dtype), np.full(wide, 1 / wide, dtype)), (high // 2, wide // 2))
    return pic.finish()


def _at_least_one(op: str, name: str, value: Any, *, whole: Any) -> int:
    size = _check.integer(op, name, value, 1, whole=whole)
    if size > 2 * _WIDEST:
        raise ValueError(f"{op}: {name} must be at most {2 * _WIDEST}, received {name}={whole!r}")
    return size


def _bell(sigma: float, truncate: float, dtype: np.dtype[Any]) -> Array:
    """Return the weights of a Gaussian, cut off at `truncate` standard deviations, with the sum 1."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.ones(1, dtype)
    with np.errstate(over="ignore"):  # the square, of the least sigmas: such weights are 0
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    bell: Array = (weights / weights.sum()).astype(dtype)
    return bell


@_documented
def gaussian(
    image: ArrayLike,
    sigma: float | tuple[float, float],
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    channel_axis: int | None = None,
) -> Array:
    """Gaussian blur, as ``scipy.ndimage.gaussian_filter``.

    The weight of a pixel at a distance d is ``exp(-d**2 / (2 * sigma**2))``, divided by the sum of all weights.
    Axes: H height, W width, C channels.

    Parameters
    ----------
    %image%
    sigma : float or two floats
        Standard deviation along H and W, in pixels; 0 leaves an axis as it is.
    truncate : float, default 4.0
        How many standard deviations the kernel reaches: ``floor(truncate * sigma + 0.5)`` pixels to each side.
    %options%

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> filters.gaussian(np.array([[0.0, 0.0, 1.0, 0.0, 0.0]]), (0, 0.5)).round(3)
    array([[0.   , 0.106, 0.787, 0.106, 0.   ]])
    """
    op = "gaussian"
    pic = picture(op, image, mode, cval, channel_axis)
    cut = number(op, "truncate", truncate)

    def deviation(op: str, name: str, value: Any, *, whole: Any) -> float:
        found = number(op, name, value, whole=whole)
        if not 0 <= found < np.inf:
            raise ValueError(f"{op}: {name} must be non-negative and finite, received {name}={whole!r}")
        if not 0 <= cut * found < _WIDEST:
            raise ValueError(
                f"{op}: truncate must be non-negative, and truncate * sigma below {_WIDEST} pixels, "
                f"received {truncate=!r}, {name}={whole!r}"
            )
        return found

    column, row = (_bell(s, cut, pic.source.dtype) for s in axes_of(op, "sigma", sigma, deviation))
    weigh(pic, (column, row), (column.size // 2, row.size // 2))
    return pic.finish()


@_documented
def laplacian(image: ArrayLike, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None) -> Array:
    """Sum of the second differences down and along, as ``scipy.ndimage.laplace``: bright on dark points.

    Axes: H height, W width, C channels.

    Parameters
    ----------
    %image%
    %options%

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> filters.laplacian(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    array([[ 0.,  1.,  0.],
           [ 1., -4.,  1.],
           [ 0.,  1.,  0.]])
    """
    pic = picture("laplacian", image, mode, cval, channel_axis)
    weigh(pic, np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], pic.source.dtype), (1, 1))
    return pic.finish()


@_documented
def sobel(
    image: ArrayLike, axis: int = -1, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None
) -> Array:
    """Slope along an axis, smoothed across it, as ``scipy.ndimage.sobel``: edges.

    The kernel is ``(-1, 0, 1)`` along `axis` times ``(1, 2, 1)`` along the other.
    Axes: H height, W width, C channels.

    Parameters
    ----------
    %image%
    axis : int, default -1
        0 or -2 for the slope down H, 1 or -1 for that along W; the channels do not count, wherever they are.
    %options%

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> filters.sobel(np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]))
    array([[0., 4., 4., 0.],
           [0., 4., 4., 0.]])
    """
    op = "sobel"
    pic = picture(op, image, mode, cval, channel_axis)
    along = _check.integer(op, "axis", axis)
    if not -2 <= along < 2:
        raise ValueError(f"{op}: axis must be an axis of the image without its channels, -2 to 1, received {axis=!r}")
    slope, smooth = np.array([-1, 0, 1], pic.source.dtype), np.array([1, 2, 1], pic.source.dtype)
    if pic.cval[0] == 0:
        weigh(pic, (slope, smooth) if along % 2 == 0 else (smooth, slope), (1, 1))
        return pic.finish()
    # A constant but 0: as in SciPy it also stands outside the slopes, when they are smoothed.
    first, second = (slope[:, None], smooth[None]) if along % 2 == 0 else (slope[None], smooth[:, None])
    weigh(pic, first, _centre(first))
    weigh(pic._replace(source=pic.target.copy()), second, _centre(second))
    return pic.finish()


def _centre(weights: Array) -> tuple[int, int]:
    return weights.shape[0] // 2, weights.shape[1] // 2


@_documented
def correlate(
    image: ArrayLike, weights: ArrayLike, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None
) -> Array:
    """Image weighted by a kernel around each pixel, as ``scipy.ndimage.correlate``.

    ``result[h, w] = sum over i, j of weights[i, j] * image[h + i - kH // 2, w + j - kW // 2]``.
    Axes: H height, W width, C channels, kH, kW height and width of the kernel.

    Parameters
    ----------
    %image%
    weights : array_like of shape (kH, kW)
        The kernel, of any real numbers; they take the dtype that the image is computed in.
    %options%

    Notes
    -----
    The result is within ``1e-6 * max |image| * sum |weights|`` of SciPy's in float32, flat images included: long sums
    are cut, and those of more than 512 taps along an axis taken in float64. (In mode "reflect" SciPy 1.17's own
    ``correlate`` reads beside the image where a kernel is many times as large; this one does not.) A kernel that is a
    column times a row, up to rounding, is applied as these two. In float32 larger ones, from about 9x9, go by Fourier
    transforms, whose error is one of the brightest pixels around, also where it is dark;
    ``fastconv.set_precision("highest")`` keeps to plain sums. What is not finite shows where a weight meets it, also a
    weight of 0 (which SciPy leaves out), and nowhere else.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> filters.correlate(np.array([[0.0, 1.0, 0.0, 0.0]]), [[1, 2, 3]])
    array([[3., 2., 1., 0.]])
    """
    op = "correlate"
    pic = picture(op, image, mode, cval, channel_axis)
    kernel = coefficients(op, weights, pic.source.dtype)
    weigh(pic, kernel, _centre(kernel))
    return pic.finish()


@_documented
def convolve(
    image: ArrayLike, weights: ArrayLike, mode: str = "reflect", cval: float = 0.0, *, channel_axis: int | None = None
) -> Array:
    """Convolution of an image with a kernel, as ``scipy.ndimage.convolve``.

    ``result[h, w] = sum over i, j of weights[i, j] * image[h - i + kH // 2, w - j + kW // 2]``: a pixel spreads as the
    kernel looks. Axes: H height, W width, C channels, kH, kW height and width of the kernel.

    Parameters
    ----------
    %image%
    weights : array_like of shape (kH, kW)
        The kernel, of any real numbers; they take the dtype that the image is computed in.
    %options%

    Notes
    -----
    See `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> filters.convolve(np.array([[0.0, 1.0, 0.0, 0.0]]), [[1, 2, 3]])
    array([[1., 2., 3., 0.]])
    """
    op = "convolve"
    pic = picture(op, image, mode, cval, channel_axis)
    kernel = coefficients(op, weights, pic.source.dtype)[::-1, ::-1].copy()
    weigh(pic, kernel, ((kernel.shape[0] - 1) // 2, (kernel.shape[1] - 1) // 2))
    return pic.finish()
