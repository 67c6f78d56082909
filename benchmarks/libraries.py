"""One adapter a library: each prepares a layer so that calling it again costs only the computation.

An adapter's methods return a call without arguments, or None for what the library does not have. The call returns what
the library computes, a NumPy array or what becomes one without a copy, so that the results can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt
from rows import Layer

import fastconv as fc
from fastconv._extras import MissingExtraError
from fastconv.bench.layers import Pool

Array = npt.NDArray[Any]
Call = Callable[[], Any]

DIRECTIONS = ("forward", "input gradient", "weight gradient")


class Library(Protocol):
    """A library that takes part."""

    name: str

    def conv(self, layer: Layer, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a pooling layer."""


class FastConv:
    """The plain functional calls; weights are packed in every call."""

    name = "fastconv"

    def __init__(self, algorithm: str = "auto") -> None:
        self.algorithm = algorithm

    def conv(self, layer: Layer, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        options = {**layer.options, "algorithm": self.algorithm}
        if direction == "forward":
            convolve = getattr(fc, layer.operator)
            return lambda: convolve(x, weight, **options)
        differentiate = getattr(fc, f"{layer.operator}_backward")
        which = DIRECTIONS.index(direction) - 1
        needs = (which == 0, which == 1, False)
        return lambda: differentiate(grad_output, x, weight, **options, needs=needs)[which]

    def runs(self, layer: Layer, direction: str, x: Array, weight: Array) -> str:
        """Name the algorithm that computes a direction."""
        options = {**layer.options, "algorithm": self.algorithm}
        if direction == "forward":
            return str(fc.explain(layer.operator, x, weight, **options).algorithm)
        gradients = fc.explain(f"{layer.operator}_backward", x, weight, **options)
        return str(gradients[DIRECTIONS.index(direction) - 1].algorithm)

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a pooling layer."""
        if direction == "weight gradient":
            return None
        forward = direction == "forward"
        if layer.kind == "max":
            if forward:
                return lambda: fc.max_pool2d(x, **layer.options)
            _, indices = fc.max_pool2d(x, **layer.options, return_indices=True)
            return lambda: fc.max_pool2d_backward(grad_output, indices, x.shape)
        if layer.kind == "mean":
            if forward:
                return lambda: fc.avg_pool2d(x, **layer.options)
            return lambda: fc.avg_pool2d_backward(grad_output, x.shape, **layer.options)
        if forward:
            return lambda: fc.adaptive_avg_pool2d(x, 1)
        return lambda: fc.adaptive_avg_pool2d_backward(grad_output, x.shape)


class Frozen:
    """Fastconv's frozen layers, which have packed their weights: forward only."""

    name = "frozen"

    def conv(self, layer: Layer, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        if direction != "forward":
            return None
        kind = getattr(fc.nn, f"Conv{'Transpose' if layer.transposed else ''}{layer.n}d")
        module = kind(layer.c, layer.k, layer.kernel, **layer.options, bias=False, dtype=layer.dtype)
        module.weight.data[...] = weight
        module.freeze()
        return lambda: module(x)

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Pooling has no weights."""
        return None


class Torch:
    """PyTorch, NCHW, which chooses the algorithm itself; its gradients are asked for one at a time."""

    name = "torch"

    def __init__(self, threads: int) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def conv(self, layer: Layer, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        data, filters, grad = self._tensors(x, weight, grad_output)
        stride, padding, dilation = list(layer.stride), list(layer.padding), list(layer.dilation)
        extra = list(layer.output_padding) or [0] * layer.n
        if direction == "forward":
            convolve = getattr(self.torch.nn.functional, layer.operator)
            if layer.transposed:
                return lambda: convolve(data, filters, None, stride, padding, extra, layer.groups, dilation)
            return lambda: convolve(data, filters, None, stride, padding, dilation, layer.groups)
        which = DIRECTIONS.index(direction) - 1
        mask = [which == 0, which == 1, False]
        differentiate = self.torch.ops.aten.convolution_backward
        geometry = (None, stride, padding, dilation, layer.transposed, extra, layer.groups, mask)
        return lambda: differentiate(grad, data, filters, *geometry)[which]

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a pooling layer."""
        if direction == "weight gradient":
            return None
        image, grad = self._tensors(x, grad_output)
        functional, aten = self.torch.nn.functional, self.torch.ops.aten
        window = [layer.kernel] * 2, [layer.stride] * 2, [layer.padding] * 2
        forward = direction == "forward"
        if layer.kind == "max":
            if forward:
                return lambda: functional.max_pool2d(image, *window)
            _, indices = functional.max_pool2d(image, *window, return_indices=True)
            return lambda: aten.max_pool2d_with_indices_backward(grad, image, *window, [1, 1], False, indices)
        if layer.kind == "mean":
            if forward:
                return lambda: functional.avg_pool2d(image, *window)
            return lambda: aten.avg_pool2d_backward(grad, image, *window, False, True, None)
        if forward:
            return lambda: functional.adaptive_avg_pool2d(image, 1)
        return lambda: aten._adaptive_avg_pool2d_backward(grad, image)

    def _tensors(self, *arrays: Array) -> list[Any]:
        return [self.torch.from_numpy(array) for array in arrays]


class OnnxRuntime:
    """ONNX Runtime: forward in float32 only; the weights are constants of the model, which it may pack beforehand."""

    name = "ort"

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self.onnx, self.runtime = onnx, onnxruntime
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1

    def conv(self, layer: Layer, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        if direction != "forward" or layer.dtype != "float32":
            return None
        model = conv_model(self.onnx, layer, len(x), weight)
        session = self.runtime.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": x})[0]

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Pooling is compared with torch alone."""
        return None


class OpenVino:
    """OpenVINO: forward in float32 only, tuned for latency; the weights are constants of the model."""

    name = "openvino"

    def __init__(self, threads: int) -> None:
        import onnx
        import openvino

        self.onnx, self.core = onnx, openvino.Core()
        self.config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "f32",
            # Pinning would bind the process's main thread, which the other libraries compute on, too.
            "ENABLE_CPU_PINNING": "NO",
        }

    def conv(self, layer: Layer, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        if direction != "forward" or layer.dtype != "float32":
            return None
        model = self.core.read_model(conv_model(self.onnx, layer, len(x), weight))
        request = self.core.compile_model(model, "CPU", self.config).create_infer_request()
        return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Pooling is compared with torch alone."""
        return None


PEERS: dict[str, type[Torch] | type[OnnxRuntime] | type[OpenVino]] = {
    peer.name: peer for peer in (Torch, OnnxRuntime, OpenVino)
}
OURS = (FastConv.name, Frozen.name)


def load_peers(names: list[str], threads: int) -> list[Library]:
    """Import the chosen peers and set their threads.

    Parameters
    ----------
    names : list of str
        Keys of PEERS.
    threads : int

    Returns
    -------
    list of Library

    Raises
    ------
    MissingExtraError
        If one is not installed.
    """
    try:
        return [PEERS[name](threads) for name in names]
    except ModuleNotFoundError as error:
        raise MissingExtraError(f'peers need {error.name}: pip install "fastconv[peers]"') from error


def conv_model(onnx: Any, layer: Layer, batch: int, weight: Array) -> bytes:
    """Make an ONNX model of one convolution.

    Parameters
    ----------
    onnx : module
    layer : Layer
    batch : int
    weight : ndarray of shape (K, C / groups, *kernel), transposed (C, K / groups, *kernel)

    Returns
    -------
    bytes
    """
    helper = onnx.helper
    extra = {"output_padding": layer.output_padding} if layer.transposed else {}
    node = helper.make_node(
        "ConvTranspose" if layer.transposed else "Conv",
        ["x", "weight"],
        ["y"],
        strides=layer.stride,
        pads=layer.padding * 2,
        dilations=layer.dilation,
        group=layer.groups,
        **extra,
    )
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(sizes))
        for name, sizes in (("x", layer.input_shape(batch)), ("y", layer.output_shape(batch)))
    )
    graph = helper.make_graph([node], "conv", [x], [y], [onnx.numpy_helper.from_array(weight, "weight")])
    # Written for an older version of the format, which every runtime of the last years reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
