"""The same network in PyTorch: layer by layer, with the same weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn as tnn

from fastconv import models, nn


def twin(model: nn.Module) -> tnn.Module:
    """Build PyTorch's twin of a network of `fastconv.models`, with copies of its weights, in its mode.

    Parameters
    ----------
    model : nn.Module
        Of float32 weights.

    Returns
    -------
    torch.nn.Module
        Names of parameters are the same.
    """
    theirs = _converted(model)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in model.state_dict().items()})
    return theirs.train(model.training)


class _Block(tnn.Module):
    """relu(F(x) + x), or relu(F(x)) in a plain stack."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, _converted(child))
        names = {id(child): name for name, child in block.named_children()}
        self.body = [names[id(layer)] for layer in block._body()]
        self.residual = block.residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for name in self.body:
            y = getattr(self, name)(y)
        if self.residual:
            y = y + (self.downsample(x) if hasattr(self, "downsample") else x)
        return self.relu(y)


def _converted(layer: Any) -> tnn.Module:
    kind = type(layer).__name__
    if isinstance(layer, nn.Sequential):
        children = tnn.Sequential()
        for name, child in layer.named_children():
            children.add_module(name, _converted(child))
        return children
    if isinstance(layer, models.BasicBlock | models.Bottleneck):
        return _Block(layer)
    if kind == "Conv2d":
        sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        return tnn.Conv2d(*sizes, layer.dilation, layer.groups, bias=layer.bias is not None)
    if kind == "Linear":
        return tnn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    if kind == "BatchNorm2d":
        return tnn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    if kind == "MaxPool2d":
        return tnn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
    if kind == "AdaptiveAvgPool2d":
        return tnn.AdaptiveAvgPool2d(layer.output_size)
    if kind == "Flatten":
        return tnn.Flatten(layer.start_dim, layer.end_dim)
    if kind == "ReLU":
        return tnn.ReLU()
    raise TypeError(f"twin: layer must be one of those that the networks for digits have, received {layer!r}")
