"""Losses: they give the loss and, at once, the gradient to go back with."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv import functional as F

__all__ = ["CrossEntropyLoss"]


class CrossEntropyLoss:
    """Cross entropy of softmax(scores) and the right classes.

    Where only the loss is wanted, ``fastconv.cross_entropy`` gives it without the gradient.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Mean or sum over all samples and positions. With "none", one loss for each; the gradient is that of their sum.

    Raises
    ------
    ValueError
        When the reduction is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> loss, grad = CrossEntropyLoss()(np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0])
    >>> round(float(loss), 4), grad
    (0.4904, array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]]))
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check.choice("CrossEntropyLoss", "reduction", reduction, ("mean", "sum", "none"))

    def __call__(self, input: ArrayLike, target: ArrayLike) -> tuple[Any, NDArray[Any]]:
        """Compute the loss and its gradient.

        Parameters
        ----------
        input : array_like of shape (N, C), (C,) or (N, C, *S)
            Scores (logits) of C classes for N samples, for each of the positions S.
        target : array_like of shape (N,), () or (N, *S)
            The right classes: integers from 0 to C - 1.

        Returns
        -------
        loss : scalar, or ndarray of target's shape
        grad_input : ndarray of input's shape
        """
        loss = F.cross_entropy(input, target, reduction=self.reduction)
        return loss, F.cross_entropy_backward(1.0, input, target, reduction=self.reduction)

    def __repr__(self) -> str:
        return "CrossEntropyLoss()" if self.reduction == "mean" else f"CrossEntropyLoss(reduction={self.reduction!r})"
