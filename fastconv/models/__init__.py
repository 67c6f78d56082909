"""Networks that the field knows by name, built from `fastconv.nn`.

All are made as ``fastconv.models.NAME(num_classes=..., in_channels=..., generator=seed)``. Those that torchvision has
keep its names of parameters, so that its published weights load (see `fastconv.load`).
"""

from __future__ import annotations

from fastconv.models.alexnet import AlexNet, AlexNet2012, alexnet
from fastconv.models.classroom import ClassroomNet
from fastconv.models.lenet import LeNet5
from fastconv.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    small_resnet,
)
from fastconv.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "VGG",
    "AlexNet",
    "AlexNet2012",
    "BasicBlock",
    "Bottleneck",
    "ClassroomNet",
    "LeNet5",
    "ResNet",
    "alexnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "small_resnet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
