"""Normalising layers beside torch's: outputs, gradients and running statistics over several steps, names and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

torch = pytest.importorskip("torch")
tnn = torch.nn
F = torch.nn.functional

BATCH = [
    {}, {"momentum": None}, {"momentum": 0.3, "eps": 1e-3}, {"affine": False}, {"bias": False},
    {"track_running_stats": False}, {"affine": False, "track_running_stats": False},
]  # fmt: skip
INSTANCE = [{}, {"affine": True}, {"affine": True, "track_running_stats": True, "momentum": 0.3}]
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    *(
        (name, (5,), options, shape)
        for options in BATCH
        for name, shape in (
            ("BatchNorm1d", (7, 5)), ("BatchNorm1d", (4, 5, 6)), ("BatchNorm2d", (4, 5, 6, 7)),
            ("BatchNorm3d", (2, 5, 3, 4, 5)),
        )
    ),
    *(
        (name, (5,), options, shape)
        for options in INSTANCE
        for name, shape in (
            ("InstanceNorm1d", (4, 5, 6)), ("InstanceNorm2d", (4, 5, 6, 7)), ("InstanceNorm3d", (2, 5, 3, 4, 5)),
        )
    ),
    ("InstanceNorm2d", (5,), {"affine": True}, (5, 6, 7)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4, 5)),
    ("GroupNorm", (3, 9), {"affine": False}, (4, 9)),
    ("GroupNorm", (1, 6), {"bias": False}, (3, 6, 7)),
    ("GroupNorm", (6, 6, 0.01), {}, (3, 6, 17)),
    ("LayerNorm", (7,), {}, (3, 6, 7)),
    ("LayerNorm", ((6, 7),), {"bias": False}, (3, 6, 7)),
    ("LayerNorm", ((3, 6, 7), 0.01), {"elementwise_affine": False}, (3, 6, 7)),
    ("LocalResponseNorm", (5,), {"alpha": 0.3}, (3, 7, 4, 5)),
    ("LocalResponseNorm", (4, 0.5, 0.6, 2.0), {}, (3, 7, 5)),
    ("LocalResponseNorm", (15, 0.5, 0.5), {}, (3, 7, 2, 2, 3)),
]  # fmt: skip


def assert_close(ours: Any, theirs: Any, what: str) -> None:
    """Compare to 1e-5 or 1e-10 of the largest value, or of 1."""
    want = theirs.detach().numpy()
    assert ours.dtype == want.dtype, what
    tolerance = 1e-5 if ours.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(ours, want, rtol=0, atol=tolerance * max(1, abs(want).max()), err_msg=what)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=str)
def test_layers_over_several_steps(
    name: str, args: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...], dtype: Any
) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    typed = name != "LocalResponseNorm"
    ours = getattr(nn, name)(*args, **options, **({"dtype": dtype} if typed else {}))
    of_torch = torch.float32 if dtype == np.float32 else torch.float64
    theirs = getattr(tnn, name)(*args, **options, **({"dtype": of_torch} if typed else {}))
    assert repr(ours).startswith(repr(theirs).removesuffix(")")), "then come those that torch does not show"
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter))
    ours.load_state_dict({key: tensor.numpy() for key, tensor in theirs.state_dict().items()})
    for step in range(4):
        if step == 3:
            ours.eval()
            theirs.eval()
        x, grad = (rng.normal(2, 3, shape).astype(dtype) for _ in range(2))
        tensor = torch.from_numpy(x).requires_grad_()
        theirs.zero_grad()
        ours.zero_grad()
        want = theirs(tensor)
        want.backward(torch.from_numpy(grad))
        output, backward = ours.forward(x)
        assert_close(output, want, "output")
        assert_close(backward(grad), tensor.grad, "gradient of the input")
        for (key, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_close(parameter.grad, other.grad, key)
        for key, tensor in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], tensor, key)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, (w, b, mean, var) = rng.normal(2, 3, (4, 6, 5, 7)).astype(dtype), rng.normal(1, 0.2, (4, 6)).astype(dtype)
    tx, tw, tb, tm, tv = map(torch.from_numpy, (x, w, b, mean, var))
    assert_close(fc.batch_norm(x, mean, var, w, b, eps=0.1)[0], F.batch_norm(tx, tm, tv, tw, tb, eps=0.1), "batch")
    assert_close(fc.batch_norm(x, training=True, bias=b)[0], F.batch_norm(tx, None, None, None, tb, True), "own")
    assert_close(fc.instance_norm(x, mean, var, w, b, False)[0], F.instance_norm(tx, tm, tv, tw, tb, False), "instance")
    assert_close(fc.layer_norm(x, (5, 7), eps=0.1), F.layer_norm(tx, (5, 7), eps=0.1), "layer")
    assert_close(fc.group_norm(x, 3, w, b), F.group_norm(tx, 3, tw, tb), "group")
    assert_close(fc.local_response_norm(x, 3, 0.2, 0.9, 2.0), F.local_response_norm(tx, 3, 0.2, 0.9, 2.0), "response")


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_a_channel_of_one_value_is_refused_as_by_torch(shape: tuple[int, ...]) -> None:
    x = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(torch.from_numpy(x), None, None, training=True)
    with pytest.raises(ValueError, match="more than one value in each channel"):
        fc.batch_norm(x, training=True)
    with pytest.raises(ValueError, match=r"more than 1 spatial element|at least 3D"):
        F.instance_norm(torch.from_numpy(x))
    with pytest.raises(ValueError, match="more than one value"):
        fc.instance_norm(x)
