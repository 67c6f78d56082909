"""Networks beside small torch programs of the same structure: names, representations, outputs, gradients, training."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn

torch = pytest.importorskip("torch")
tnn = torch.nn

#: In float64, gradients of deep networks with batch normalisation: relative to the largest entry.
CLOSE = 1e-8


# -- the networks in torch --


def torch_alexnet(classes: int = 1000) -> Any:
    rows = [(64, 3, 11, 4, 2), "M", (192, 64, 5, 1, 2), "M", (384, 192, 3, 1, 1), (256, 384, 3, 1, 1)]
    features: list[Any] = []
    for row in [*rows, (256, 256, 3, 1, 1), "M"]:
        if row == "M":
            features.append(tnn.MaxPool2d(3, 2))
        else:
            outputs, inputs, kernel, stride, padding = row
            features += [tnn.Conv2d(inputs, outputs, kernel, stride, padding), tnn.ReLU()]
    sizes = [256 * 36, 4096, 4096, classes]
    linear = [tnn.Linear(a, b) for a, b in pairwise(sizes)]
    head = [tnn.Dropout(), linear[0], tnn.ReLU(), tnn.Dropout(), linear[1], tnn.ReLU(), linear[2]]
    return whole({"features": tnn.Sequential(*features), "avgpool": tnn.AdaptiveAvgPool2d((6, 6)),
                  "flatten": tnn.Flatten(-3), "classifier": tnn.Sequential(*head)})  # fmt: skip


def torch_vgg(depth: int, batch_norm: bool) -> Any:
    extra = {11: (0, 0, 1, 1, 1), 13: (1, 1, 1, 1, 1), 16: (1, 1, 2, 2, 2), 19: (1, 1, 3, 3, 3)}[depth]
    features: list[Any] = []
    channels = 3
    for stage, more in enumerate(extra):
        for _ in range(1 + more):
            width = min(64 << stage, 512)
            features += [tnn.Conv2d(channels, width, 3, padding=1), *[tnn.BatchNorm2d(width)] * batch_norm, tnn.ReLU()]
            channels = width
        features.append(tnn.MaxPool2d(2))
    head: list[Any] = []
    for inputs in (512 * 49, 4096):
        head += [tnn.Linear(inputs, 4096), tnn.ReLU(), tnn.Dropout()]
    return whole({"features": tnn.Sequential(*features), "avgpool": tnn.AdaptiveAvgPool2d((7, 7)),
                  "flatten": tnn.Flatten(-3), "classifier": tnn.Sequential(*head, tnn.Linear(4096, 1000))})  # fmt: skip


class TorchBlock(tnn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        outputs = width * 4 if bottleneck else width
        sizes = [inputs, *[width] * (len(kernels) - 1), outputs]
        self.names = []
        for i, kernel in enumerate(kernels, start=1):
            step = stride if i == len(kernels) - 1 else 1
            conv = tnn.Conv2d(sizes[i - 1], sizes[i], kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", tnn.BatchNorm2d(sizes[i]))
            if i == 1 and not bottleneck:
                self.relu = tnn.ReLU()
            self.names.append((f"conv{i}", f"bn{i}"))
        if bottleneck:
            self.relu = tnn.ReLU()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = tnn.Sequential(
                tnn.Conv2d(inputs, outputs, 1, stride, bias=False), tnn.BatchNorm2d(outputs)
            )

    def forward(self, x: Any) -> Any:
        y = x
        for i, (conv, norm) in enumerate(self.names):
            y = getattr(self, norm)(getattr(self, conv)(self.relu(y) if i else y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def torch_resnet(stages: tuple[int, ...], widths: tuple[int, ...], bottleneck: bool, classes: int) -> Any:
    named = {"conv1": tnn.Conv2d(3, widths[0], 7, 2, 3, bias=False), "bn1": tnn.BatchNorm2d(widths[0])}
    named |= {"relu": tnn.ReLU(), "maxpool": tnn.MaxPool2d(3, 2, 1)}
    inputs = widths[0]
    for number, (blocks, width) in enumerate(zip(stages, widths, strict=True), start=1):
        row = []
        for index in range(blocks):
            row.append(TorchBlock(inputs, width, 2 if number > 1 and index == 0 else 1, bottleneck))
            inputs = width * (4 if bottleneck else 1)
        named[f"layer{number}"] = tnn.Sequential(*row)
    named |= {"avgpool": tnn.AdaptiveAvgPool2d(1), "flatten": tnn.Flatten(-3), "fc": tnn.Linear(inputs, classes)}
    return whole(named)


def torch_classroom() -> Any:
    features: list[Any] = []
    for inputs, outputs, norm in ((1, 20, True), (20, 50, True), (50, 50, False)):
        features += [tnn.Conv2d(inputs, outputs, 5), tnn.ReLU(), tnn.MaxPool2d(2), *[tnn.BatchNorm2d(outputs)] * norm]
    head = tnn.Sequential(tnn.Flatten(-3), tnn.Linear(50, 10))
    return whole({"features": tnn.Sequential(*features), "classifier": head})


def whole(named: dict[str, Any]) -> Any:
    model = tnn.Sequential()
    for name, layer in named.items():
        model.add_module(name, layer)
    return model


STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def torch_twin(name: str) -> Any:
    """The network of that name, without memory for its weights."""
    with torch.device("meta"):
        if name == "alexnet":
            return torch_alexnet()
        if name.startswith("vgg"):
            return torch_vgg(int(name[3:5]), name.endswith("_bn"))
        depth = int(name[6:])
        return torch_resnet(STAGES[depth], (64, 128, 256, 512), depth >= 50, 1000)


# -- comparisons --


def near(got: Any, want: Any, what: str) -> None:
    want = want.detach().numpy()  # a bias before batch normalisation has gradients of rounding errors alone
    np.testing.assert_allclose(got, want, rtol=CLOSE, atol=CLOSE * max(abs(want).max(), 1e-3), err_msg=what)


def assert_same_way(ours: nn.Module, theirs: Any, x: np.ndarray) -> None:
    """Compare output, all gradients and what is left in the buffers, on one input."""
    ours.load_state_dict(theirs.state_dict())
    tensor = torch.from_numpy(x).requires_grad_()
    expected = theirs(tensor)
    output, backward = ours.forward(x)
    near(output, expected, "output")
    grad = np.random.default_rng(5).standard_normal(output.shape)
    expected.backward(torch.from_numpy(grad))
    near(backward(grad), tensor.grad, "input")
    grads = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        near(grads[name], parameter.grad, name)
    for name, array in ours.state_dict().items():
        near(array, theirs.state_dict()[name], name)


@pytest.mark.parametrize(
    "name", ["alexnet", *(f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")),
             *(f"resnet{depth}" for depth in STAGES)],
)  # fmt: skip
def test_names_shapes_and_layers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(nn.init, "_fill", lambda weight, *_: weight)
    ours, theirs = getattr(models, name)(), torch_twin(name)
    held = [*ours.named_parameters(), *ours.named_buffers()]
    expected = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    assert {key: one.data.shape for key, one in held} == expected
    blocks = {"BasicBlock": "TorchBlock", "Bottleneck": "TorchBlock", type(ours).__name__: "Sequential"}
    text = repr(ours)
    for own, other in blocks.items():
        text = text.replace(f"{own}(", f"{other}(")
    assert text == repr(theirs).replace(", inplace=False", "")


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_resnets(bottleneck: bool, training: bool) -> None:
    torch.manual_seed(0)
    block = models.Bottleneck if bottleneck else models.BasicBlock
    ours = models.ResNet(block, (1, 2, 1), 7, widths=(4, 8, 12), dtype=np.float64).train(training)
    theirs = torch_resnet((1, 2, 1), (4, 8, 12), bottleneck, 7).double().train(training)
    assert_same_way(ours, theirs, np.random.default_rng(0).standard_normal((3, 3, 40, 33)))


@pytest.mark.parametrize("name", ["vgg11_bn", "alexnet"])
def test_features_of_vgg_and_alexnet(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """All but the fully connected layers, which take gigabytes in float64."""
    monkeypatch.setattr(nn.init, "_fill", lambda weight, *_: weight)  # weights are torch's
    torch.manual_seed(0)
    theirs = torch_twin(name)[:3].to_empty(device="cpu").double()
    for layer in theirs.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64))
    assert_same_way(getattr(models, name)(dtype=np.float64)[:3], theirs, x)


def test_classroom_network_trains_step_by_step_as_torchs() -> None:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    ours, theirs = models.ClassroomNet(dtype=np.float64), torch_classroom().double()
    assert repr(models.ClassroomNet()).replace("ClassroomNet", "Sequential") == repr(theirs)
    assert_same_way(ours, theirs, generator.standard_normal((4, 1, 40, 40)))
    ours.load_state_dict(theirs.state_dict())
    optimizer = fc.optim.Adam(ours.parameters(), lr=1e-3)
    expected = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    x, y = generator.standard_normal((24, 1, 40, 40)), generator.integers(0, 10, 24)
    history = fc.train.fit(ours, fc.data.DataLoader(x, y, 8), epochs=2, optimizer=optimizer, progress=False)
    theirs.train()
    for epoch in range(2):
        losses = []
        for start in range(0, 24, 8):
            expected.zero_grad()
            loss = tnn.functional.cross_entropy(theirs(torch.from_numpy(x[start : start + 8])),
                                                torch.from_numpy(y[start : start + 8]))  # fmt: skip
            loss.backward()
            expected.step()
            losses.append(loss.item())
        assert history[epoch].loss == pytest.approx(np.mean(losses), rel=1e-9)


def test_torchs_own_files_load_by_name(tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch")
    theirs = torch_resnet((1, 1), (4, 8), False, 7)
    files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours = models.ResNet(models.BasicBlock, (1, 1), 7, widths=(4, 8))
    ours.load_state_dict(fc.load(tmp_path / "theirs.safetensors"))
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(ours.eval()(x), theirs.eval()(torch.from_numpy(x)).numpy(), rtol=1e-3, atol=1e-5)
    fc.save(ours, tmp_path / "ours.safetensors")
    theirs.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))
