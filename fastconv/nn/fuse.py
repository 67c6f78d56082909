"""Folding batch normalisation into the layer before it."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from fastconv.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fastconv.nn.linear import Linear
from fastconv.nn.module import Module, Parameter
from fastconv.nn.shape import Identity

__all__ = ["fused"]

#: Which normalisation may follow which layer.
_FOLLOWS: dict[type[Module], type[Module]] = {
    Conv1d: BatchNorm1d,
    Conv2d: BatchNorm2d,
    Conv3d: BatchNorm3d,
    ConvTranspose1d: BatchNorm1d,
    ConvTranspose2d: BatchNorm2d,
    ConvTranspose3d: BatchNorm3d,
    Linear: BatchNorm1d,
}
_TRANSPOSED = (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)

AnyModule = TypeVar("AnyModule", bound=Module)


def fused(module: AnyModule) -> AnyModule:
    """Return a copy of `module` without its batch normalisations; see `Module.fuse`."""
    if any(part.training for part in module.modules()):
        raise ValueError("fuse: the module must be in eval mode, received one in training; call eval() first")
    copy = deepcopy(module).unfreeze()
    places = Counter(id(part) for _, part in copy._walk(""))
    owners = Counter(id(value) for part in copy.modules() for _, value in part._own_parameters())
    gone: dict[int, Module] = {}
    for row in [row for part in copy.modules() for row in part._rows()]:
        for layer, norm in pairwise(row):
            alone = places[id(layer)] == places[id(norm)] == 1 and all(
                owners[id(value)] == 1 for _, value in layer._own_parameters()
            )
            if alone and _fits(layer, norm):
                _fold(layer, norm)
                gone[id(norm)] = Identity().eval()
    for part in list(copy.modules()):
        for name, child in list(part.named_children()):
            if id(child) in gone:
                setattr(part, name, gone[id(child)])
    return copy


def _fits(layer: Module, norm: Module) -> bool:
    if type(layer) not in _FOLLOWS or type(norm) is not _FOLLOWS[type(layer)]:
        return False
    outputs = layer.out_features if isinstance(layer, Linear) else layer.out_channels  # type: ignore[attr-defined]
    return layer.activation is None and norm.running_mean is not None and norm.num_features == outputs  # type: ignore[attr-defined]


def _fold(layer: Any, norm: Any) -> None:
    """Scale and shift the outputs of `layer` as `norm` would."""
    mean, var = norm.running_mean.data.astype(np.float64), norm.running_var.data.astype(np.float64)
    scale = (1.0 if norm.weight is None else norm.weight.data) / np.sqrt(var + norm.eps)
    shift = (0.0 if norm.bias is None else norm.bias.data) - mean * scale
    weight, dtype = layer.weight.data, layer.weight.dtype
    bias = 0.0 if layer.bias is None else layer.bias.data
    layer.bias = Parameter((bias * scale + shift).astype(dtype))
    if isinstance(layer, _TRANSPOSED):  # (in, out / groups, *kernel): the groups are parts of the first axis
        parts = weight.reshape(layer.groups, -1, *weight.shape[1:])
        parts[...] = parts * scale.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
    else:
        weight[...] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if isinstance(layer, Linear):
        layer.of_rows = True  # of three axes, the normalisation's channels would have been the second
