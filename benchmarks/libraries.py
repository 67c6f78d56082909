"""One adapter a library: each prepares a layer so that calling it again costs only the computation.

An adapter's methods return a call without arguments, or None for what the library does not have. The call returns a
NumPy array, so that the results can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import fastconv as fc
from fastconv.bench.extras import MissingExtraError
from fastconv.bench.layers import Conv, Pool

Array = npt.NDArray[np.float32]
Call = Callable[[], npt.NDArray[Any]]

DIRECTIONS = ("forward", "input gradient", "weight gradient")


class Library(Protocol):
    """A library that takes part."""

    name: str

    def conv(self, layer: Conv, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a pooling layer."""


class FastConv:
    """The plain functional calls; weights are packed in every call."""

    name = "fastconv"

    def conv(self, layer: Conv, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        if direction == "forward":
            return lambda: fc.conv2d(x, weight, **layer.options)
        which = DIRECTIONS.index(direction) - 1
        needs = (which == 0, which == 1, False)
        return lambda: fc.conv2d_backward(grad_output, x, weight, **layer.options, needs=needs)[which]

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


class Torch:
    """PyTorch, NCHW, which chooses the algorithm itself; its gradients are asked for one at a time."""

    name = "torch"

    def __init__(self, threads: int) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(threads)

    def conv(self, layer: Conv, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        image, filters, grad = self._tensors(x, weight, grad_output)
        geometry = [layer.sh, layer.sw], [layer.ph, layer.pw], [layer.dh, layer.dw]
        if direction == "forward":
            convolve = self.torch.nn.functional.conv2d
            return self._without_grad(lambda: convolve(image, filters, None, *geometry, layer.groups))
        which = DIRECTIONS.index(direction) - 1
        mask = [which == 0, which == 1, False]
        differentiate = self.torch.ops.aten.convolution_backward
        return self._without_grad(
            lambda: differentiate(grad, image, filters, None, *geometry, False, [0, 0], layer.groups, mask)[which]
        )

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
                return self._without_grad(lambda: functional.max_pool2d(image, *window))
            _, indices = functional.max_pool2d(image, *window, return_indices=True)
            backward = aten.max_pool2d_with_indices_backward
            return self._without_grad(lambda: backward(grad, image, *window, [1, 1], False, indices))
        if layer.kind == "mean":
            if forward:
                return self._without_grad(lambda: functional.avg_pool2d(image, *window))
            return self._without_grad(lambda: aten.avg_pool2d_backward(grad, image, *window, False, True, None))
        if forward:
            return self._without_grad(lambda: functional.adaptive_avg_pool2d(image, 1))
        return self._without_grad(lambda: aten._adaptive_avg_pool2d_backward(grad, image))

    def _tensors(self, *arrays: Array) -> list[Any]:
        return [self.torch.from_numpy(array) for array in arrays]

    def _without_grad(self, compute: Callable[[], Any]) -> Call:
        def call() -> npt.NDArray[Any]:
            with self.torch.inference_mode():
                result: npt.NDArray[Any] = compute().numpy()
            return result

        return call


class OnnxRuntime:
    """ONNX Runtime: forward only; the weights are constants of the model, which it may pack beforehand."""

    name = "ort"

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self.onnx, self.runtime = onnx, onnxruntime
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1

    def conv(self, layer: Conv, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        if direction != "forward":
            return None
        model = conv_model(self.onnx, layer, x.shape, weight)
        session = self.runtime.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": x})[0]

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Pooling is compared with torch alone."""
        return None


class OpenVino:
    """OpenVINO: forward only, tuned for latency, float32; the weights are constants of the model."""

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

    def conv(self, layer: Conv, direction: str, x: Array, weight: Array, grad_output: Array) -> Call | None:
        """Prepare one direction of a convolution without bias."""
        if direction != "forward":
            return None
        model = self.core.read_model(conv_model(self.onnx, layer, x.shape, weight))
        request = self.core.compile_model(model, "CPU", self.config).create_infer_request()
        return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]

    def pool(self, layer: Pool, direction: str, x: Array, grad_output: Array) -> Call | None:
        """Pooling is compared with torch alone."""
        return None


PEERS: dict[str, type[Torch] | type[OnnxRuntime] | type[OpenVino]] = {
    peer.name: peer for peer in (Torch, OnnxRuntime, OpenVino)
}


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


def conv_model(onnx: Any, layer: Conv, shape: tuple[int, ...], weight: Array) -> bytes:
    """Make an ONNX model of one convolution.

    Parameters
    ----------
    onnx : module
    layer : Conv
    shape : tuple of int
        The input's, (N, C, H, W).
    weight : ndarray of shape (K, C / groups, kernel height, kernel width)

    Returns
    -------
    bytes
    """
    helper = onnx.helper
    node = helper.make_node(
        "Conv",
        ["x", "weight"],
        ["y"],
        strides=[layer.sh, layer.sw],
        pads=[layer.ph, layer.pw, layer.ph, layer.pw],
        dilations=[layer.dh, layer.dw],
        group=layer.groups,
    )
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(sizes))
        for name, sizes in (("x", shape), ("y", layer.output_shape(shape[0])))
    )
    graph = helper.make_graph([node], "conv", [x], [y], [onnx.numpy_helper.from_array(weight, "weight")])
    # Written for an older version of the format, which every runtime of the last years reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
