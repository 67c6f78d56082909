"""What is known of the networks from their articles and from torchvision's documents: names, shapes and counts.

Written as rules, independently of how `fastconv.models` builds them.
"""

from __future__ import annotations

from typing import Any

import pytest

from fastconv import models, nn

Shapes = dict[str, tuple[int, ...]]

#: Parameters with 1000 classes; those that torchvision has: as its documents state ("num_params").
PARAMETERS = {
    "alexnet": 61_100_840,
    "AlexNet2012": 60_965_224,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}

#: Multiply-adds for one image of 224x224, in units of 10**9: as torchvision's documents state ("GFLOPS").
BILLIONS = {
    "alexnet": 0.71,
    "vgg11": 7.61,
    "vgg13": 11.31,
    "vgg16": 15.47,
    "vgg19": 19.63,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
}

STAGES = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}

#: Configurations A, B, D and E of the article: channels of each convolution, "M" for pooling.
VGG = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def build(monkeypatch: pytest.MonkeyPatch, name: str, **options: Any) -> nn.Module:
    """Make a network without filling its weights: names and shapes need no random numbers, and these take seconds."""
    monkeypatch.setattr(nn.init, "_fill", lambda weight, *_: weight)
    return getattr(models, name)(**options)


def weighted(name: str, *shape: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def normalised(name: str, channels: int) -> Shapes:
    each = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))
    return {f"{name}.{key}": shape for key, shape in each.items()} | {f"{name}.num_batches_tracked": ()}


def alexnet_shapes() -> Shapes:
    shapes: Shapes = {}
    for index, *shape in ((0, 64, 3, 11, 11), (3, 192, 64, 5, 5), (6, 384, 192, 3, 3), (8, 256, 384, 3, 3)):
        shapes |= weighted(f"features.{index}", *shape)
    shapes |= weighted("features.10", 256, 256, 3, 3)
    for index, *shape in ((1, 4096, 9216), (4, 4096, 4096), (6, 1000, 4096)):
        shapes |= weighted(f"classifier.{index}", *shape)
    return shapes


def vgg_shapes(name: str) -> Shapes:
    plain, batch_norm = name.removesuffix("_bn"), name.endswith("_bn")
    shapes: Shapes = {}
    index, channels = 0, 3
    for entry in VGG[plain].split():
        if entry == "M":
            index += 1
            continue
        shapes |= weighted(f"features.{index}", int(entry), channels, 3, 3)
        channels = int(entry)
        if batch_norm:
            shapes |= normalised(f"features.{index + 1}", channels)
        index += 3 if batch_norm else 2
    for index, *shape in ((0, 4096, 25088), (3, 4096, 4096), (6, 1000, 4096)):
        shapes |= weighted(f"classifier.{index}", *shape)
    return shapes


def resnet_shapes(name: str) -> Shapes:
    bottleneck = int(name.removeprefix("resnet")) >= 50
    shapes = weighted("conv1", 64, 3, 7, 7, bias=False) | normalised("bn1", 64)
    before = 64
    for stage, blocks in enumerate(STAGES[name], start=1):
        width = 64 * 2 ** (stage - 1)
        after = 4 * width if bottleneck else width
        for block in range(blocks):
            convs = [(width, 1), (width, 3), (after, 1)] if bottleneck else [(width, 3), (width, 3)]
            channels = before
            for number, (outputs, kernel) in enumerate(convs, start=1):
                prefix = f"layer{stage}.{block}"
                shapes |= weighted(f"{prefix}.conv{number}", outputs, channels, kernel, kernel, bias=False)
                shapes |= normalised(f"{prefix}.bn{number}", outputs)
                channels = outputs
            if block == 0 and (stage > 1 or before != after):
                shapes |= weighted(f"layer{stage}.0.downsample.0", after, before, 1, 1, bias=False)
                shapes |= normalised(f"layer{stage}.0.downsample.1", after)
            before = after
    return shapes | weighted("fc", 1000, before)


def expected_shapes(name: str) -> Shapes:
    """Names and shapes in a ``state_dict`` of torchvision's network of that name, in its order."""
    if name == "alexnet":
        return alexnet_shapes()
    return vgg_shapes(name) if name.startswith("vgg") else resnet_shapes(name)
