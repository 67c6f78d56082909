"""The reference refuses nonsense: it may be terse, but it never returns garbage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastconv import reference

Array = NDArray[Any]

BAD: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
stride: Any
shape: Any


def refuse(name: str, *args: Any, **options: Any) -> None:
    BAD.append((name, args, options))


def zeros(*shape: int) -> Array:
    return np.zeros(shape)


X, W, Y = zeros(2, 4, 6), zeros(3, 4, 3), zeros(2, 3, 4)
for stride in (0, -1, (1, 1), (), []):
    refuse("conv1d", X, W, stride=stride)
    refuse("conv1d_backward", Y, X, W, stride=stride)
    refuse("conv_transpose1d", Y, W, stride=stride)
    refuse("max_pool1d", X, 2, stride=stride)
    refuse("avg_pool1d", X, 2, stride=stride)
    refuse("lp_pool1d", X, 2, 2, stride=stride)
    refuse("max_unpool1d", X, zeros(2, 4, 6).astype(int), 2, stride=stride)
    refuse("unfold", zeros(1, 4, 4), 2, stride=stride if stride != (1, 1) else (1, 1, 1))
for padding in (-1, (1, 1), ((1, -1),), ((1, 2, 3),), "full", "", ()):
    refuse("conv1d", X, W, padding=padding)
    refuse("conv_transpose1d", Y, W, padding=padding)
    refuse("max_pool1d", X, 2, padding=padding)
    refuse("avg_pool1d", X, 2, padding=padding)
for padding in ("same", "valid", 2, ((0, 2),), ((2, 0),)):  # of a pool: no names, no window in padding alone
    refuse("max_pool1d", X, 2, 1, padding=padding)
    refuse("avg_pool1d", X, 2, 1, padding=padding)
refuse("max_pool1d", zeros(1, 1), 2, padding=1, dilation=2)  # both taps miss the one pixel
for dilation in (0, -2, (1, 2), 3, 2**62):
    refuse("conv1d", X, W, dilation=dilation)
    refuse("max_pool1d", X, 3, dilation=dilation)
for groups in (0, -1, 2, 3, -(2**63)):
    refuse("conv1d", X, W, groups=groups)
    refuse("conv_transpose1d", Y, W, groups=groups if groups != 3 else 7)
refuse("conv1d", X, zeros(3, 2, 3), groups=2)  # 3 outputs in 2 groups
for x, w in (
    (zeros(6), W),
    (zeros(1, 2, 4, 6), W),
    (X, zeros(4, 3)),
    (X, zeros(3, 5, 3)),
    (X, zeros(0, 4, 3)),
    (X, zeros(3, 4, 0)),
    (zeros(2, 0, 6), zeros(3, 0, 3)),
    (X, zeros(3, 4, 7)),
    (zeros(2, 4, 0), W),
):
    refuse("conv1d", x, w)
    refuse("conv1d_backward", Y, x, w)
refuse("conv1d", X, W, zeros(4))
refuse("conv1d", X, W, zeros(3, 1))
refuse("conv_transpose1d", Y, W, zeros(3))
refuse("conv_transpose1d", X, W)
refuse("conv_transpose1d", zeros(2, 3, 0), W)
refuse("conv_transpose1d", Y, W, padding=3)
for extra in (1, -1, (0, 0)):
    refuse("conv_transpose1d", Y, W, output_padding=extra)
refuse("conv_transpose1d", Y, W, padding="same")
refuse("conv_transpose1d", Y, W, padding="valid")
for gy in (zeros(2, 3, 5), zeros(2, 2, 4), zeros(1, 3, 4), zeros(3, 4), zeros(0, 3, 4)):
    refuse("conv1d_backward", gy, X, W)
    refuse("conv_transpose1d_backward", gy, X, zeros(4, 3, 2), padding=3)
for kernel in (0, -1, 7, (2, 2), 2**62):
    refuse("max_pool1d", X, kernel)
    refuse("avg_pool1d", X, kernel)
    refuse("lp_pool1d", X, 2, kernel)
for shape in ((2, 0, 6), (2, 4, 0), (6,), (1, 1, 4, 6)):
    refuse("max_pool1d", zeros(*shape), 2)
    refuse("avg_pool1d", zeros(*shape), 2)
    refuse("adaptive_avg_pool1d", zeros(*shape), 2)
    refuse("adaptive_max_pool1d", zeros(*shape), 2)
for size in (0, -1, (2, 2), ()):
    refuse("adaptive_avg_pool1d", X, size)
    refuse("adaptive_max_pool1d", X, size)
refuse("avg_pool1d", X, 2, divisor_override=0)
for p in (0, -1, np.inf, np.nan):
    refuse("lp_pool1d", X, p, 2)
for place in (-1, 6, 2**40, -(2**63)):
    for name in ("max_pool1d_backward", "adaptive_max_pool1d_backward"):
        refuse(name, zeros(1, 1), np.array([[place]]), (1, 6))
    refuse("max_unpool1d", zeros(1, 3), np.array([[0, 1, place]]), 2)
    refuse("max_unpool1d_backward", zeros(1, 6), np.array([[0, 1, place]]))
refuse("max_pool1d_backward", zeros(1, 1), np.array([[2**64 - 1]], np.uint64), (1, 6))
for shape in ((2, 6), (1, 1, 6), (6,), (1, -6), ()):
    refuse("max_pool1d_backward", zeros(1, 3), np.array([[0, 1, 2]]), shape)
    refuse("avg_pool1d_backward", zeros(1, 3), shape, 2)
    refuse("adaptive_avg_pool1d_backward", zeros(1, 3), shape)
refuse("max_pool1d_backward", zeros(1, 3), np.array([[0, 1]]), (1, 6))
refuse("avg_pool1d_backward", zeros(1, 3), (1, 5), 2)
refuse("lp_pool1d_backward", zeros(1, 3), zeros(1, 5), 2, 2)
refuse("adaptive_avg_pool1d_backward", zeros(1, 3), (1, 0))
refuse("max_unpool1d", zeros(1, 3), np.array([[0, 1]]), 2)
refuse("max_unpool1d", zeros(1, 3), np.array([[0, 1, 2]]), 2, padding=3)
for wanted in ((4,), (8,), (6, 6), (1, 6)):
    refuse("max_unpool1d", zeros(1, 3), np.array([[0, 1, 2]]), 2, output_size=wanted)
refuse("unfold", zeros(1, 4, 4), 5)
refuse("unfold", zeros(4, 4), 2)
refuse("unfold_backward", zeros(4, 9), (1, 4, 5), 2)
refuse("unfold_backward", zeros(4, 9), (2, 4, 4), 2)
refuse("unfold_backward", zeros(3, 9), (1, 4, 4), 2)
refuse("fold", zeros(4, 8), 4, 2)
refuse("fold", zeros(5, 9), 4, 2)
refuse("fold", zeros(4, 9), (4, 4, 4), 2)
refuse("fold_backward", zeros(1, 4, 4), 0)
refuse("linear", zeros(2, 4), zeros(3, 5))
refuse("linear", zeros(2, 4), zeros(4))
refuse("linear", zeros(2, 4), zeros(3, 4), zeros(4))
refuse("linear", zeros(2, 0), zeros(3, 0))
refuse("linear_backward", zeros(2, 4), zeros(2, 4), zeros(3, 4))
refuse("relu_backward", zeros(2, 4), zeros(4, 2))
refuse("softmax_backward", zeros(2, 4), zeros(2, 1))
refuse("log_softmax_backward", zeros(2, 4), zeros(4))
refuse("pad_backward", zeros(3), (2, 2), "replicate")


@pytest.mark.parametrize(("name", "args", "options"), BAD)
def test_nonsense_is_refused(name: str, args: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        getattr(reference, name)(*args, **options)


@pytest.mark.parametrize("value", [1.0, True, "1", None, 1j, (1.0,), [True]])
@pytest.mark.parametrize("option", ["stride", "padding", "dilation", "groups"])
def test_options_that_are_no_integers_are_refused(option: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^conv1d: {option}"):
        reference.conv1d(X, W, **{option: value})


def test_indices_must_be_integers() -> None:
    for indices in (np.zeros((1, 3)), np.zeros((1, 3), bool)):
        with pytest.raises(TypeError, match="indices"):
            reference.max_pool1d_backward(zeros(1, 3), indices, (1, 6))
        with pytest.raises(TypeError, match="indices"):
            reference.max_unpool1d(zeros(1, 3), indices, 2)


def test_none_is_no_array_except_for_the_bias() -> None:
    for args in ((None, W), (X, None)):
        with pytest.raises(TypeError, match="conv1d: "):
            reference.conv1d(*args)
    with pytest.raises(TypeError, match="relu: input"):
        reference.relu(None)  # type: ignore[arg-type]
    assert reference.conv1d(X, W, None).shape == (2, 3, 4)
