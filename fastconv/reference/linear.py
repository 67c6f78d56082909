"""The fully connected layer's operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastconv.reference.arguments import Array, expect_shape, finish, floats


def _check(op: str, x: Array, w: Array) -> None:
    """Raise unless x (..., I) and w (O, I) fit."""
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(f"{op}: weight must have two axes, (out, in), none of them empty; its shape is {w.shape}")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"{op}: input's last axis must have weight.shape[1] = {w.shape[1]} elements: {x.shape}")


def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """Connect every input to every output: ``y[..., o] = sum over i of weight[o, i] * input[..., i] + bias[o]``.

    Parameters
    ----------
    input : array of shape (..., I)
    weight : array of shape (O, I)
    bias : array of shape (O,), optional

    Returns
    -------
    array of shape (..., O)

    Raises
    ------
    TypeError
        For dtypes other than float16, float32 and float64.
    ValueError
        For shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import linear
    >>> linear(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [0.0, 10.0]]), np.array([0.5, 0.0]))
    array([ 3.5, 20. ])
    """
    dtype, x, w, b = floats("linear", input=input, weight=weight, bias=bias)
    _check("linear", x, w)
    y = x @ w.T
    if b is not None:
        expect_shape("linear", "bias", b, w.shape[:1])
        y = y + b
    return finish(y, dtype)


def linear_backward(
    grad_output: ArrayLike, input: ArrayLike, weight: ArrayLike, *, needs: Sequence[bool] = (True, True, True)
) -> tuple[Array | None, Array | None, Array | None]:
    """Return linear's gradients by input, weight and bias: (..., I), (O, I) and (O,); None where not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.reference import linear_backward
    >>> linear_backward(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([[1.0, 1.0], [0.0, 10.0]]))
    (array([ 1., 21.]), array([[3., 4.],
           [6., 8.]]), array([1., 2.]))
    """
    op = "linear_backward"
    dtype, gy, x, w = floats(op, grad_output=grad_output, input=input, weight=weight)
    _check(op, x, w)
    expect_shape(op, "grad_output", gy, (*x.shape[:-1], w.shape[0]))
    rows = int(np.prod(x.shape[:-1]))
    gy_rows, x_rows = gy.reshape(rows, w.shape[0]), x.reshape(rows, w.shape[1])
    need_x, need_w, need_b = needs
    return (
        finish(gy @ w, dtype) if need_x else None,  # (..., O) @ (O, I)
        finish(gy_rows.T @ x_rows, dtype) if need_w else None,  # (O, rows) @ (rows, I)
        finish(gy_rows.sum(axis=0), dtype) if need_b else None,
    )
