"""Pooling layers that take the p-norm of windows."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.functional.lp_pooling import norm_of
from fastconv.nn.module import Backward
from fastconv.nn.pooling import PoolNd, window

__all__ = ["LPPool1d", "LPPool2d", "LPPool3d"]


class _LPPoolNd(PoolNd):
    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        name = type(self).__name__
        self.norm_type = norm_of(name, norm_type)
        self.kernel_size, self.stride, _ = window(self, kernel_size, stride, 0)
        self.ceil_mode = check.flag(name, "ceil_mode", ceil_mode)

    def _options(self) -> tuple[Any, ...]:
        return self.norm_type, self.kernel_size, self.stride, self.ceil_mode

    def __call__(self, input: ArrayLike) -> Any:
        """Compute the output alone; nothing is kept."""
        return self._pool(input, *self._options())

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`."""
        options = self._options()
        return self(input), lambda grad_output: self._pool_backward(grad_output, input, *options)

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPoolNd):
    """The p-norm of windows over one axis; arguments, errors and output size are those of `LPPool2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, output ``(N, C, L_out)``.

    Examples
    --------
    >>> import numpy as np
    >>> LPPool1d(2, 2)(np.array([[3.0, 4.0, 0.0, 2.0]]))
    array([[5., 2.]])
    """

    _axes = 1
    _pool = staticmethod(F.lp_pool1d)
    _pool_backward = staticmethod(F.lp_pool1d_backward)


class LPPool2d(_LPPoolNd):
    """The p-norm of windows over images: the sum for p = 1, near the maximum for large p.

    N batch, C channels, H and W height and width.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, output ``(N, C, H_out, W_out)``, where along each axis::

        out = floor((in - kernel_size) / stride) + 1

    rounded up with `ceil_mode`. Powers keep signs: a negative sum, which an odd `norm_type` may give, becomes NaN.

    Parameters
    ----------
    norm_type : float
        p, more than 0.
    kernel_size : int or one int per axis
        The size of the window.
    stride : int or one int per axis, optional
        The step from window to window; by default the window's size.
    ceil_mode : bool, default False
        Whether a last window may reach over the end; its sum then stands for a whole window.

    Raises
    ------
    TypeError
        When an argument is not of its type.
    ValueError
        When `norm_type` is not positive and finite, or a size not positive.

    References
    ----------
    Sermanet, Chintala and LeCun, "Convolutional neural networks applied to house numbers digit classification", 2012.

    Examples
    --------
    >>> import numpy as np
    >>> y, backward = LPPool2d(2, 2).forward(np.array([[[3.0, 0.0], [0.0, 4.0]]]))
    >>> y, backward(np.ones((1, 1, 1)))
    (array([[[5.]]]), array([[[0.6, 0. ],
            [0. , 0.8]]]))
    """

    _axes = 2
    _pool = staticmethod(F.lp_pool2d)
    _pool_backward = staticmethod(F.lp_pool2d_backward)


class LPPool3d(_LPPoolNd):
    """The p-norm of windows over volumes; arguments, errors and output size are those of `LPPool2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, output ``(N, C, D_out, H_out, W_out)``.

    Examples
    --------
    >>> import numpy as np
    >>> LPPool3d(1, 2)(np.ones((1, 4, 4, 4)))[0, 0, 0]
    array([8., 8.])
    """

    _axes = 3
    _pool = staticmethod(F.lp_pool3d)
    _pool_backward = staticmethod(F.lp_pool3d_backward)
