"""The check before the clock: right kernels pass, and whatever is wrong in a kernel is found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from small import DIGIT, MACHINE, PHOTO, ROOMY

import fastconv as fc
from fastconv.bench import cases, compare
from fastconv.bench.check import WINOGRAD_ERROR, WrongResultError, check_same, error_bound
from fastconv.bench.layers import Conv

GROUPED = Conv("grouped", c=6, h=11, w=9, k=8, kh=3, kw=2, sh=2, sw=1, ph=1, pw=2, dh=2, dw=1, groups=2)
Spoil = Callable[[Any], Any]


def convolve(layer: Conv) -> None:
    compare.convolution(layer, cases.photograph_windows(*layer.input_shape(2)), np.random.default_rng(1))


@pytest.mark.parametrize("layer", [GROUPED, cases.LENET5[1], PHOTO.layer], ids=lambda layer: layer.name)
def test_right_kernels_pass(layer: Conv) -> None:
    """A check that refused everything would pass all the tests below, but not this one."""
    convolve(layer)  # raises WrongResultError where a result is outside its tolerance


def one_value(y: Any) -> Any:
    y[-1, -1, -1, -1] += 1e-2 * np.abs(y).max()
    return y


def one_row(y: Any) -> Any:
    y[:, :, -1] = y[:, :, -2].copy()
    return y


def swapped_channels(y: Any) -> Any:
    y[:, [0, 1]] = y[:, [1, 0]]
    return y


def not_a_number(y: Any) -> Any:
    y[0, 0, 0, 0] = np.nan
    return y


def zeros(y: Any) -> Any:
    return np.zeros_like(y)


def too_small(y: Any) -> Any:
    return y[..., :-1]


def one_percent_off(y: Any) -> Any:
    return y * np.float32(1 + 1e-2)


SPOILS = pytest.mark.parametrize(
    "spoil", [one_value, one_row, swapped_channels, not_a_number, zeros, too_small, one_percent_off]
)


@SPOILS
@pytest.mark.parametrize("layer", [GROUPED, PHOTO.layer], ids=lambda layer: layer.name)
def test_a_wrong_forward_kernel_is_found(monkeypatch: pytest.MonkeyPatch, spoil: Spoil, layer: Conv) -> None:
    right = fc.conv2d
    monkeypatch.setattr(fc, "conv2d", lambda *args, **options: spoil(right(*args, **options)))
    with pytest.raises(WrongResultError, match="output"):
        convolve(layer)


@SPOILS
@pytest.mark.parametrize("which", [0, 1], ids=["input", "weight"])
@pytest.mark.parametrize("layer", [GROUPED, PHOTO.layer], ids=lambda layer: layer.name)
def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch, spoil: Spoil, which: int, layer: Conv) -> None:
    right = fc.conv2d_backward

    def wrong(*args: Any, **options: Any) -> Any:
        gradients = list(right(*args, **options))
        gradients[which] = spoil(gradients[which])
        return tuple(gradients)

    monkeypatch.setattr(fc, "conv2d_backward", wrong)
    with pytest.raises(WrongResultError, match=f"gradient of {('input', 'weight')[which]}"):
        convolve(layer)


def with_winograd(monkeypatch: pytest.MonkeyPatch, *, told: bool) -> None:
    """Let convolutions use Winograd; `told`: and fc.explain say so."""
    for name in ("conv2d", "conv2d_backward", *(["explain"] if told else [])):
        monkeypatch.setattr(fc, name, partial(getattr(fc, name), algorithm="winograd"))


def convolve_half_an_image() -> None:
    """Beside the edge Winograd's tiles leave rounding errors where every product is zero."""
    layer = Conv("3x3 of 16 channels", c=16, h=30, w=30, k=20, kh=3, kw=3, ph=1, pw=1)
    x = cases.photograph_windows(*layer.input_shape(2))
    x[..., 14:] = 0
    compare.convolution(layer, x, np.random.default_rng(1))


def test_winograd_is_held_to_its_own_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with_winograd(monkeypatch, told=True)
    convolve_half_an_image()
    right = fc.conv2d

    def wrong(*args: Any, **options: Any) -> Any:
        y = right(*args, **options)
        y[-1] += 3 * WINOGRAD_ERROR * np.sqrt(np.mean(y**2))
        return y

    monkeypatch.setattr(fc, "conv2d", wrong)
    with pytest.raises(WrongResultError, match="output"):
        convolve_half_an_image()


def test_others_are_not_held_to_winograds_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with fc.precision("highest"):
        convolve_half_an_image()
        with_winograd(monkeypatch, told=False)
        with pytest.raises(WrongResultError, match="output"):
            convolve_half_an_image()


def test_a_wrong_bias_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fc.conv2d_backward

    def wrong(*args: Any, **options: Any) -> Any:
        grad_x, grad_weight, grad_bias = right(*args, **options)
        return grad_x, grad_weight, np.roll(grad_bias, 1)

    monkeypatch.setattr(fc, "conv2d_backward", wrong)
    with pytest.raises(WrongResultError, match="gradient of bias"):
        convolve(GROUPED)


def test_a_wrong_fully_connected_layer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right, right_backward = fc.linear, fc.linear_backward
    monkeypatch.setattr(fc, "linear", lambda x, w, b: right(x, w, np.zeros_like(b)))
    with pytest.raises(WrongResultError, match="same sizes"):
        compare.compare_case(DIGIT, ROOMY, MACHINE)
    monkeypatch.setattr(fc, "linear", right)
    for which in range(3):

        def wrong(*args: Any, spoiled: int = which) -> Any:
            gradients = list(right_backward(*args))
            gradients[spoiled] = np.roll(gradients[spoiled], 1, axis=-1)
            return tuple(gradients)

        monkeypatch.setattr(fc, "linear_backward", wrong)
        with pytest.raises(WrongResultError, match=f"gradient of {('input', 'weight', 'bias')[which]}"):
            compare.compare_case(PHOTO, ROOMY, MACHINE)


def test_elements_outside_the_sample_are_compared_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fc.linear

    def wrong(*args: Any) -> Any:
        y = right(*args)
        y[:, 1] += 1.0  # of 4,704 outputs, the sample of the reference holds 64
        return y

    monkeypatch.setattr(fc, "linear", wrong)
    with pytest.raises(WrongResultError, match="fastconv and NumPy"):
        compare.compare_case(DIGIT, ROOMY, MACHINE)


def test_check_same_refuses_nan_and_other_shapes() -> None:
    ones = np.ones((3, 4), np.float32)
    check_same("ones", ones, ones, 0.0)
    with pytest.raises(WrongResultError, match="shapes"):
        check_same("ones", ones, ones.T, 1.0)
    with pytest.raises(WrongResultError, match="differs by nan"):
        check_same("ones", ones * np.float32(np.nan), ones, 1.0)


def test_error_bound_never_exceeds_that_of_a_plain_sum() -> None:
    terms = np.arange(1, 10_000)
    bounds = np.array([error_bound(int(k)) for k in terms])
    assert (bounds <= terms * 2.0**-24).all()
    assert (np.diff(bounds) > 0).all()
