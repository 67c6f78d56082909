"""Losses: they give the loss and, at once, the gradient to go back with."""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401 (the examples use it)
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import functional as F
from fastconv.functional.loss import cross_entropy_and_gradient

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]


class _Loss:
    """A loss of `fastconv.functional`, with the options in `_options`; where only the loss is wanted, call that."""

    _function = ""

    def __init__(self, reduction: str) -> None:
        self.reduction = check.choice(type(self).__name__, "reduction", reduction, ("mean", "sum", "none"))

    def _options(self) -> dict[str, Any]:
        return {"reduction": self.reduction}

    def __call__(self, input: ArrayLike, target: ArrayLike) -> tuple[Any, NDArray[Any]]:
        """Compute the loss and its gradient.

        Parameters
        ----------
        input, target : array_like
            As the function of `fastconv` takes them.

        Returns
        -------
        loss : scalar, or ndarray with ``reduction="none"``
        grad_input : ndarray of input's shape
            With "none", the gradient of the losses' sum.
        """
        options = self._options()
        loss = getattr(F, self._function)(input, target, **options)
        return loss, getattr(F, f"{self._function}_backward")(1.0, input, target, **options)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._shown().items())
        return f"{type(self).__name__}({shown})"

    def _shown(self) -> dict[str, Any]:
        return {} if self.reduction == "mean" else {"reduction": self.reduction}


class _ClassLoss(_Loss):
    def __init__(self, weight: ArrayLike | None, ignore_index: int, reduction: str) -> None:
        name = type(self).__name__
        super().__init__(reduction)
        self.weight = None if weight is None else check.data(name, weight=weight)[1][0].copy()
        self.ignore_index = check.integer(name, "ignore_index", ignore_index)

    def _options(self) -> dict[str, Any]:
        return {"weight": self.weight, "ignore_index": self.ignore_index, **super()._options()}

    def _shown(self) -> dict[str, Any]:
        shown = {} if self.ignore_index == -100 else {"ignore_index": self.ignore_index}
        return {**shown, **super()._shown()}


class CrossEntropyLoss(_ClassLoss):
    """Cross entropy of softmax(scores) and the right classes, or their probabilities.

    Where only the loss is wanted, ``fastconv.cross_entropy`` gives it without the gradient.

    Parameters
    ----------
    weight : array_like of shape (C,), optional
        How much each class counts.
    ignore_index : int, default -100
        Targets of this number count nothing.
    reduction : {"mean", "sum", "none"}
        Mean or sum over all samples and positions. With "none", one loss for each; the gradient is that of their sum.
    label_smoothing : float, default 0
        From 0 to 1: how much of the probability goes to all classes alike.

    Raises
    ------
    TypeError
        When an argument is not of its type.
    ValueError
        When the reduction is unknown, or smoothing not from 0 to 1.

    Examples
    --------
    >>> loss, grad = CrossEntropyLoss()(np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0])
    >>> round(float(loss), 4), grad
    (0.4904, array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]]))
    """

    _function = "cross_entropy"

    def __init__(
        self,
        weight: ArrayLike | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = check.real("CrossEntropyLoss", "label_smoothing", label_smoothing)
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing must be from 0 to 1, received label_smoothing={label_smoothing!r}"
            )

    def __call__(self, input: ArrayLike, target: ArrayLike) -> tuple[Any, NDArray[Any]]:
        """Compute the loss and its gradient.

        Parameters
        ----------
        input : array_like of shape (N, C), (C,) or (N, C, *S)
            Scores (logits) of C classes for N samples, for each of the positions S.
        target : array_like of shape (N,), () or (N, *S), or of input's shape
            The right classes, integers from 0 to C - 1, or the probabilities of all.

        Returns
        -------
        loss : scalar, or ndarray of shape (N, *S)
        grad_input : ndarray of input's shape
        """
        return cross_entropy_and_gradient(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )

    def _shown(self) -> dict[str, Any]:
        shown = {"label_smoothing": self.label_smoothing} if self.label_smoothing else {}
        return {**super()._shown(), **shown}


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of the right classes; the input holds logarithms of probabilities.

    Parameters
    ----------
    weight : array_like of shape (C,), optional
        How much each class counts.
    ignore_index : int, default -100
        Targets of this number count nothing.
    reduction : {"mean", "sum", "none"}
        Mean or sum over all samples and positions, or one loss for each.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type, or the reduction is unknown.

    Examples
    --------
    >>> NLLLoss()(np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0])[1]
    array([[ 0. , -0.5],
           [-0.5,  0. ]])
    """

    _function = "nll_loss"

    def __init__(self, weight: ArrayLike | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)


class MSELoss(_Loss):
    """The squared error.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or one loss for each.

    Raises
    ------
    ValueError
        When the reduction is unknown.

    Examples
    --------
    >>> loss, grad = MSELoss()(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    >>> float(loss), grad
    (4.5, array([ 0., -3.]))
    """

    _function = "mse_loss"

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)


class L1Loss(MSELoss):
    """The absolute error.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or one loss for each.

    Raises
    ------
    ValueError
        When the reduction is unknown.

    Examples
    --------
    >>> loss, grad = L1Loss()(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
    >>> float(loss), grad
    (1.5, array([ 0. , -0.5]))
    """

    _function = "l1_loss"


class HuberLoss(_Loss):
    """Huber's loss: a parabola for errors up to `delta`, a line of slope `delta` beyond.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or one loss for each.
    delta : float, default 1
        Where the parabola becomes a line; positive.

    Raises
    ------
    TypeError, ValueError
        When `delta` is not a positive number, or the reduction is unknown.

    Examples
    --------
    >>> loss, grad = HuberLoss(reduction="sum")(np.array([1.0, 2.0]), np.array([1.5, 5.0]))
    >>> float(loss), grad
    (2.625, array([-0.5, -1. ]))
    """

    _function = "huber_loss"

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = check.real("HuberLoss", "delta", delta)
        if self.delta <= 0:
            raise ValueError(f"HuberLoss: delta must be positive, received delta={delta!r}")

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "delta": self.delta}

    def _shown(self) -> dict[str, Any]:
        return {**super()._shown(), **({} if self.delta == 1 else {"delta": self.delta})}


class SmoothL1Loss(_Loss):
    """The absolute error with a rounded bottom: a parabola for errors up to `beta`, a line of slope 1 beyond.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or one loss for each.
    beta : float, default 1
        Where the parabola becomes a line; with 0 it is `L1Loss`.

    Raises
    ------
    TypeError, ValueError
        When `beta` is not a number of at least 0, or the reduction is unknown.

    Examples
    --------
    >>> loss, grad = SmoothL1Loss(reduction="sum", beta=2.0)(np.array([1.0, 2.0]), np.array([1.5, 5.0]))
    >>> float(loss), grad
    (2.0625, array([-0.25, -1.  ]))
    """

    _function = "smooth_l1_loss"

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = check.real("SmoothL1Loss", "beta", beta, 0)

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "beta": self.beta}

    def _shown(self) -> dict[str, Any]:
        return {**super()._shown(), **({} if self.beta == 1 else {"beta": self.beta})}


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of sigmoid(scores) and probabilities.

    Parameters
    ----------
    weight : array_like, optional
        A factor of each loss; its shape broadcasts to input's.
    reduction : {"mean", "sum", "none"}
        Mean or sum over all elements, or one loss for each.
    pos_weight : array_like, optional
        A factor of the positive part; its shape broadcasts to input's.

    Raises
    ------
    TypeError, ValueError
        When an argument is not of its type, or the reduction is unknown.

    Examples
    --------
    >>> loss, grad = BCEWithLogitsLoss(reduction="sum")(np.array([0.0, 1000.0]), np.array([1.0, 1.0]))
    >>> round(float(loss), 4), grad
    (0.6931, array([-0.5,  0. ]))
    """

    _function = "binary_cross_entropy_with_logits"

    def __init__(
        self, weight: ArrayLike | None = None, *, reduction: str = "mean", pos_weight: ArrayLike | None = None
    ) -> None:
        super().__init__(reduction)
        name = type(self).__name__
        self.weight = None if weight is None else check.data(name, weight=weight)[1][0].copy()
        self.pos_weight = None if pos_weight is None else check.data(name, pos_weight=pos_weight)[1][0].copy()

    def _options(self) -> dict[str, Any]:
        return {"weight": self.weight, **super()._options(), "pos_weight": self.pos_weight}
