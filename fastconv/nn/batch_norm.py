"""Layers that normalise channel by channel and may track statistics: by batch, and by instance."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.nn._affine import Affine, Arrays
from fastconv.nn.module import Backward, Buffer, changing, other_dtype

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class _Channelwise(Affine):
    """What batch and instance normalisation share: features, and statistics that may be tracked."""

    _axes: ClassVar[int]
    _operator: ClassVar[str]
    _counts: ClassVar[bool]  # whether num_batches_tracked counts
    _function: ClassVar[Callable[..., Any]]
    _way_back: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        dtype: DTypeLike,
    ) -> None:
        name = type(self).__name__
        self.num_features = check.integer(name, "num_features", num_features, 1)
        self.affine = check.flag(name, "affine", affine)
        self._create((self.num_features,), eps, affine, bias, dtype)
        self.momentum = None if momentum is None else check.real(name, "momentum", momentum)
        self.track_running_stats = check.flag(name, "track_running_stats", track_running_stats)
        real = check.float_dtype(name, dtype)
        tracked = self.track_running_stats
        self.running_mean = Buffer(np.zeros(self.num_features, real)) if tracked else None
        self.running_var = Buffer(np.ones(self.num_features, real)) if tracked else None
        self.num_batches_tracked = Buffer(np.int64(0), optional=True) if tracked else None

    def _held(self) -> Arrays:
        held = (self.running_mean, self.running_var, self.weight, self.bias)
        return tuple(None if one is None else one.data for one in held)

    def _own_statistics(self) -> bool:
        """Whether the input's own statistics are used: in training, and where none are tracked."""
        return self.running_mean is None or (self.training and not self.frozen)

    def _channel_axis(self, input: ArrayLike) -> int:
        """Check the input's axes and return that of the channels."""
        op, axes = self._operator, self._axes
        floats = type(input) is np.ndarray and input.dtype.kind == "f"  # the usual case: the operator checks the rest
        x = np.asarray(input) if floats else check.data(op, input=input)[1][0]
        letters = ("L", "H, W", "D, H, W")[axes - 1]
        if x.ndim not in self._ranks():
            listed = " or ".join(f"({lead}{letters})" for lead in ("N, C, ", "C, ")[: len(self._ranks())])
            listed = "(N, C) or (N, C, L)" if 2 in self._ranks() and axes == 1 and op == "batch_norm" else listed
            raise ValueError(f"{op}: input must have the axes {listed}, received input of shape {x.shape}")
        axis = 1 if axes == 1 and op == "batch_norm" else -axes - 1
        if x.shape[axis] != self.num_features:
            raise ValueError(
                f"{op}: input must have num_features={self.num_features} channels, received input of shape {x.shape}"
            )
        return axis

    def _ranks(self) -> tuple[int, int]:
        """Return the numbers of axes that an input may have: one sample, or a batch."""
        return self._axes + 1, self._axes + 2

    def _track(self, mean: NDArray[Any], var: NDArray[Any], values: int) -> None:
        """Move the running statistics towards those of a batch, whose variances are of so many values each."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        if mean.ndim > 1:  # of each sample
            mean, var = mean.mean(axis=0), var.mean(axis=0)
        unbiased = var * (values / (values - 1))
        with changing():
            tracked = self.num_batches_tracked.data
            if self.momentum is None and int(tracked) < 0:
                raise ValueError(
                    f"{type(self).__name__}: num_batches_tracked must be non-negative where momentum is None, "
                    f"received num_batches_tracked={tracked}"
                )
            tracked += self._counts
            share = 1 / float(tracked) if self.momentum is None else self.momentum
            for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                running.data[...] = share * new + (1 - share) * running.data

    def _values(self, shape: tuple[int, ...], axis: int) -> int:
        """Return how many values each variance is of."""
        raise NotImplementedError

    def _normalise(self, input: ArrayLike) -> tuple[Any, Any, Any, int, bool]:
        """Return output, mean, variance, the axis of channels, and whether the statistics are the input's own."""
        axis, own = self._channel_axis(input), self._own_statistics()
        arrays = self._arrays()
        output, mean, var = self._function(input, *arrays, own, eps=self.eps, channel_axis=axis)
        if own and not self.frozen and self.training and output.size:
            self._track(mean, var, self._values(output.shape, axis))
        return output, mean, var, axis, own

    def __call__(self, input: ArrayLike) -> NDArray[Any]:
        """Compute the output alone; in training the running statistics move."""
        output: NDArray[Any] = self._normalise(input)[0]
        return output

    def forward(self, input: ArrayLike, *, needs_input_grad: bool = True) -> tuple[NDArray[Any], Backward]:
        """Compute the output and the way back, see `Module.forward`; in training the running statistics move."""
        weight, needs = self._arrays()[2], self._needs(needs_input_grad)
        output, mean, var, axis, own = self._normalise(input)
        statistics = (mean, var) if self._operator == "batch_norm" or not own else (None, None)

        def backward(grad_output: ArrayLike) -> Any:
            options = {"eps": self.eps, "channel_axis": axis, "needs": needs}
            return self._lead_back(self._way_back(grad_output, input, *statistics, weight, own, **options))

        return output, backward

    def extra_repr(self) -> str:
        """Arguments to show in the representation."""
        shown = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        shown += f", bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        return ", ".join([shown, *other_dtype(self.weight or self.running_mean)])


class _BatchNorm(_Channelwise):
    _operator = "batch_norm"
    _counts = True
    _function = staticmethod(F.batch_norm)
    _way_back = staticmethod(F.batch_norm_backward)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def _values(self, shape: tuple[int, ...], axis: int) -> int:
        return prod(shape) // shape[axis]


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features, or of sequences; arguments, errors and behaviour are those of `BatchNorm2d`.

    Shapes: input and output ``(N, C)`` or ``(N, C, L)``. Two axes are a batch, as torch's, never one sample.

    Examples
    --------
    >>> BatchNorm1d(2, eps=0.0)(np.array([[3.0, 0.0], [5.0, 4.0]], np.float32))
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    _axes = 1

    def _ranks(self) -> tuple[int, int]:
        return 2, 3


class BatchNorm2d(_BatchNorm):
    """Batch normalisation: each channel of a batch of images gets mean 0 and variance 1, then a factor and a summand.

    In training, mean and variance are those of the batch, and the running statistics move towards them. In evaluation
    (``eval()``) and while frozen, the running ones are used, so that an image's result does not depend on others.

    Shapes: input and output ``(N, C, H, W)`` or ``(C, H, W)``, weight, bias and running statistics ``(C,)``.

    Parameters
    ----------
    num_features : int
        Number of channels, C.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.
    momentum : float or None, default 0.1
        How far the running statistics move towards a batch's: ``running = (1 - momentum) * running + momentum * new``,
        where the new variance is the unbiased one. None: the mean of all batches so far.
    affine : bool, default True
        Whether there is a weight, at first 1, and a bias, at first 0.
    track_running_stats : bool, default True
        Whether there are running statistics; otherwise a batch's own are used in evaluation too.
    bias : bool, default True
        False leaves out the bias.
    dtype : dtype, default float32
        Of parameters and running statistics: float16, float32 or float64.

    Attributes
    ----------
    running_mean, running_var, num_batches_tracked : Buffer or None
        Saved in the ``state_dict`` under torch's names, and not learned.

    Raises
    ------
    ValueError
        When a number does not fit, or a channel of a training batch has one value only.
    TypeError
        When an argument is not of its type.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", ICML 2015.

    Examples
    --------
    >>> layer = BatchNorm2d(3)
    >>> x = np.random.default_rng(0).normal(5, 2, (4, 3, 8, 8)).astype(np.float32)
    >>> y = layer(x)
    >>> abs(y.mean(axis=(0, 2, 3))).max() < 1e-6, layer.running_mean.data.round(1)
    (np.True_, array([0.5, 0.5, 0.5], dtype=float32))
    >>> list(layer.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    _axes = 2


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes; arguments, errors and behaviour are those of `BatchNorm2d`.

    Shapes: input and output ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    Examples
    --------
    >>> BatchNorm3d(2).eval()(np.ones((1, 2, 4, 4, 4), np.float32)).shape
    (1, 2, 4, 4, 4)
    """

    _axes = 3


class _InstanceNorm(_Channelwise):
    _operator = "instance_norm"
    _counts = False  # as torch's
    _function = staticmethod(F.instance_norm)
    _way_back = staticmethod(F.instance_norm_backward)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        momentum = check.real(type(self).__name__, "momentum", momentum)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def _values(self, shape: tuple[int, ...], axis: int) -> int:
        return prod(shape[axis % len(shape) + 1 :])


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of sequences; arguments, errors and behaviour are those of `InstanceNorm2d`.

    Shapes: input and output ``(N, C, L)`` or ``(C, L)``.

    Examples
    --------
    >>> InstanceNorm1d(1, eps=0.0)(np.array([[3.0, 5.0]]))
    array([[-1.,  1.]])
    """

    _axes = 1


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation: each channel of each image gets mean 0 and variance 1, then a factor and a summand.

    Shapes: input and output ``(N, C, H, W)`` or ``(C, H, W)``, weight, bias and running statistics ``(C,)``.

    Parameters
    ----------
    num_features : int
        Number of channels, C.
    eps : float, default 1e-5
        Added to the variance, so that nothing is divided by zero.
    momentum : float, default 0.1
        As for `BatchNorm2d`; a batch's statistics are the means of its images'.
    affine : bool, default False
        Whether there is a weight, at first 1, and a bias, at first 0.
    track_running_stats : bool, default False
        Whether there are running statistics, which are then used in evaluation. (Batches are not counted, as in torch.)
    bias : bool, default True
        False leaves out the bias.
    dtype : dtype, default float32
        Of parameters and running statistics: float16, float32 or float64.

    Raises
    ------
    ValueError
        When a number does not fit, or an image has one pixel only.
    TypeError
        When an argument is not of its type.

    References
    ----------
    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization", 2016.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(5, 2, (2, 3, 8, 8)).astype(np.float32)
    >>> abs(InstanceNorm2d(3)(x).mean(axis=(2, 3))).max() < 1e-6
    np.True_
    """

    _axes = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes; arguments, errors and behaviour are those of `InstanceNorm2d`.

    Shapes: input and output ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    Examples
    --------
    >>> InstanceNorm3d(2, affine=True)(np.zeros((2, 4, 4, 4), np.float32)).shape
    (2, 4, 4, 4)
    """

    _axes = 3
