"""Layers: they hold parameters and call `fastconv.functional`, nothing else.

Class names, constructor arguments and the keys of ``state_dict`` are torch's, so that weights saved from a torch model
load by name. Calling differs, for nothing is recorded behind the scenes::

    y = layer(x)                            # the answer; nothing is kept
    y, backward = layer.forward(x)          # the answer, and the way back
    loss, grad = nn.CrossEntropyLoss()(y, target)
    grad_x = backward(grad)                 # adds to parameter.grad on the way; then optimizer.step()

Two switches fix weights. ``parameter.requires_grad = False`` leaves one parameter out of the backward pass;
``layer.freeze()`` leaves out all of a layer's, and lets it compute with private copies that are packed once.

One family per file: module (Parameter and Module), containers, conv, pooling, norm, linear, activation, dropout, shape,
loss; init has the distributions of first weights.
"""

from __future__ import annotations

from fastconv.nn import init
from fastconv.nn.activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastconv.nn.containers import Concat, Parallel, Residual, Sequential
from fastconv.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fastconv.nn.dropout import Dropout, Dropout2d
from fastconv.nn.linear import Linear
from fastconv.nn.loss import CrossEntropyLoss
from fastconv.nn.module import Backward, Buffer, IncompatibleKeys, Module, Parameter
from fastconv.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LocalResponseNorm,
)
from fastconv.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from fastconv.nn.shape import Flatten, Identity

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Backward",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Buffer",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GroupNorm",
    "Identity",
    "IncompatibleKeys",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Maxout",
    "Module",
    "PReLU",
    "Parallel",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "init",
]
