"""What a convolution costs and saves against layers that share no weights, or fewer.

For each case the convolution is set beside two fully connected layers on the same image: the one with the same input
and output sizes, and the one with the same number of multiply-adds; and beside those that look at the same windows with
kernels of their own at each position (local connection), or with some in turn (tiled). Each result is checked first,
then all of them are timed in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

import fastconv as fc
from fastconv.bench import check
from fastconv.bench import unshared as kernels
from fastconv.bench.cases import Case, Float32Array, make_input, make_parameters
from fastconv.bench.layers import FLOAT32_BYTES, Conv, Dense, Unshared, Work
from fastconv.bench.roofline import Machine
from fastconv.bench.timing import Effort, Task, Timing, interleave

CONVOLUTION = "convolution"
SAME_SIZES = "dense, same sizes"
SAME_MULTIPLY_ADDS = "dense, same multiply-adds"
LOCAL = "local"
TILED = "tiled 2x2"
TILES = (2, 2)

# Two libraries add in another order: their float32 results differ by about 1e-6 of the root mean square.
AGREEMENT = 1e-3

Gradients = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Settings:
    """What to run: images a call N, seed of weights, bytes that a fully connected layer's weights may take, effort."""

    batch: int = 1
    seed: int = 0
    memory_budget: int = 512_000_000
    effort: Effort = field(default_factory=Effort)


@dataclass(frozen=True)
class Speed:
    """One direction of one layer: the fastest library's time, and every library's.

    Attributes
    ----------
    seconds, median : float
        Best and median time of one call of the fastest library. A computed line has the least time that this machine
        could take, and no `timings`.
    library : str
        The fastest library, or ``"computed"``.
    gflops, percent_of_peak, percent_of_bandwidth : float or None
        From `seconds`; None if computed.
    timings : dict of str to Timing
        By library.
    """

    seconds: float
    median: float
    library: str
    gflops: float | None
    percent_of_peak: float | None
    percent_of_bandwidth: float | None
    timings: dict[str, Timing]


@dataclass(frozen=True)
class Line:
    """A layer of one kind: what it costs on paper, and how fast it is."""

    kind: str
    measured: bool
    inputs: int
    outputs: int
    work: Work
    forward: Speed
    backward: Speed


@dataclass(frozen=True)
class Row:
    """A case and its lines: the convolution, the two fully connected layers, local connection, tiled convolution."""

    case: Case
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Candidate:
    """A layer of one kind and the calls that compute it; no calls if it is only computed."""

    kind: str
    inputs: int
    outputs: int
    work: Work
    forward: tuple[Task, ...] = ()
    backward: tuple[Task, ...] = ()


def compare_case(case: Case, settings: Settings, machine: Machine) -> Row:
    """Check and time one case.

    Parameters
    ----------
    case : Case
    settings : Settings
    machine : Machine
        As measured with the threads that are in use now.

    Returns
    -------
    Row

    Raises
    ------
    fastconv.bench.check.WrongResultError
        If a result is outside the tolerance around the reference; nothing is timed then.
    """
    rng = np.random.default_rng(settings.seed)
    x = make_input(case, settings.batch)
    layer = case.layer
    candidates = (
        convolution(layer, x, rng),
        dense(f"{layer.name}: {SAME_SIZES}", SAME_SIZES, layer.dense_of_same_sizes(), x, settings, rng),
        dense(
            f"{layer.name}: {SAME_MULTIPLY_ADDS}",
            SAME_MULTIPLY_ADDS,
            layer.dense_of_same_multiply_adds(),
            x,
            settings,
            rng,
        ),
        unshared(LOCAL, Unshared.local(layer), x, settings, rng),
        unshared(TILED, Unshared(layer, TILES), x, settings, rng),
    )
    # Sorted by library, so that a round changes it once.
    tasks = sorted((t for c in candidates for t in (*c.forward, *c.backward)), key=lambda task: task.library)
    timings = dict(zip(tasks, interleave(tasks, settings.effort), strict=True))
    return Row(case, tuple(_line(candidate, timings, machine) for candidate in candidates))


def convolution(layer: Conv, x: Float32Array, rng: np.random.Generator) -> _Candidate:
    """Check a convolution, forward and backward, and give its calls.

    Parameters
    ----------
    layer : Conv
    x : ndarray of shape (N, C, H, W)
    rng : numpy.random.Generator
        Draws the parameters and the output's gradient.

    Raises
    ------
    fastconv.bench.check.WrongResultError
    """
    weight, bias = make_parameters(layer, rng)
    grad_output = rng.standard_normal(layer.output_shape(len(x)), dtype=np.float32)

    def forward() -> npt.NDArray[np.floating]:
        return fc.conv2d(x, weight, bias, **layer.options)

    def backward() -> Gradients:
        return fc.conv2d_backward(grad_output, x, weight, **layer.options)

    check.check_conv_forward(layer, x, weight, bias, forward(), rng)
    check.check_conv_backward(layer, grad_output, x, weight, backward(), rng)
    return _Candidate(
        CONVOLUTION,
        x[0].size,
        grad_output[0].size,
        layer.work(len(x)),
        (Task(f"{layer.name} forward", "fastconv", forward),),
        (Task(f"{layer.name} backward", "fastconv", backward),),
    )


def dense(
    name: str, kind: str, layer: Dense, image: Float32Array, settings: Settings, rng: np.random.Generator
) -> _Candidate:
    """Check a fully connected layer with fastconv and with NumPy and give their calls, if its weights fit the budget.

    Parameters
    ----------
    name, kind : str
    layer : Dense
    image : ndarray of shape (N, C, H, W)
        Flattened to (N, I).
    settings : Settings
    rng : numpy.random.Generator
        Draws the parameters and the output's gradient.

    Raises
    ------
    fastconv.bench.check.WrongResultError
    """
    x = image.reshape(len(image), -1)
    work = layer.work(len(x))
    if layer.weights * FLOAT32_BYTES > settings.memory_budget:
        return _Candidate(kind, layer.inputs, layer.outputs, work)
    weight = rng.random((layer.outputs, layer.inputs), dtype=np.float32)
    weight -= np.float32(0.5)
    weight *= np.float32((24.0 / layer.inputs) ** 0.5)  # He's variance, uniform: quicker to draw than normal
    bias = rng.standard_normal(layer.outputs, dtype=np.float32) / np.float32(10)
    grad_output = rng.standard_normal((len(x), layer.outputs), dtype=np.float32)

    calls: dict[str, tuple[Callable[[], npt.NDArray[np.floating]], Callable[[], Gradients]]] = {
        "fastconv": (
            lambda: fc.linear(x, weight, bias),
            lambda: fc.linear_backward(grad_output, x, weight),
        ),
        "NumPy": (
            lambda: x @ weight.T + bias,
            lambda: (grad_output @ weight, grad_output.T @ x, grad_output.sum(axis=0)),
        ),
    }
    for library, (forward, backward) in calls.items():
        check.check_dense_forward(f"{name} ({library})", x, weight, bias, forward())
        check.check_dense_backward(f"{name} ({library})", grad_output, x, weight, backward())
    # The reference saw a sample of these large layers; the rest must at least agree.
    (forward, backward), (other_forward, other_backward) = calls.values()
    check.check_same(f"{name}: output, fastconv and NumPy", forward(), other_forward(), AGREEMENT)
    for what, one, other in zip(("input", "weight", "bias"), backward(), other_backward(), strict=True):
        check.check_same(f"{name}: gradient of {what}, fastconv and NumPy", one, other, AGREEMENT)
    return _Candidate(
        kind,
        layer.inputs,
        layer.outputs,
        work,
        tuple(Task(f"{name} forward", library, forward) for library, (forward, _) in calls.items()),
        tuple(Task(f"{name} backward", library, backward) for library, (_, backward) in calls.items()),
    )


def unshared(kind: str, layer: Unshared, x: Float32Array, settings: Settings, rng: np.random.Generator) -> _Candidate:
    """Check a layer of several kernels, forward and backward, and give its calls, if its weights fit the budget.

    Parameters
    ----------
    kind : str
    layer : Unshared
    x : ndarray of shape (N, C, H, W)
    settings : Settings
    rng : numpy.random.Generator
        Draws the parameters, the output's gradient and the samples to check.

    Raises
    ------
    fastconv.bench.check.WrongResultError
    """
    inputs, outputs, work = x[0].size, prod(layer.conv.output_shape(1)), layer.work(len(x))
    if layer.weights * FLOAT32_BYTES > settings.memory_budget:
        return _Candidate(kind, inputs, outputs, work)
    operands = kernels.draw_operands(layer, len(x), rng)
    kernels.check_unshared(layer, x, operands, rng)
    weight, bias, grad_output = operands
    return _Candidate(
        kind,
        inputs,
        outputs,
        work,
        (Task(f"{layer.name} forward", "fastconv", lambda: kernels.forward(layer, x, weight, bias)),),
        (Task(f"{layer.name} backward", "fastconv", lambda: kernels.backward(layer, grad_output, x, weight)),),
    )


def _line(candidate: _Candidate, timings: dict[Task, Timing], machine: Machine) -> Line:
    work = candidate.work
    if candidate.forward:
        forward = _measured(candidate.forward, timings, work.multiply_adds, work.forward_bytes, machine)
        backward = _measured(candidate.backward, timings, work.backward_multiply_adds, work.backward_bytes, machine)
    else:
        forward, backward = _computed(machine.least_forward(work)), _computed(machine.least_backward(work))
    return Line(candidate.kind, bool(candidate.forward), candidate.inputs, candidate.outputs, work, forward, backward)


def _measured(
    tasks: tuple[Task, ...], timings: dict[Task, Timing], multiply_adds: int, traffic: int, machine: Machine
) -> Speed:
    fastest = min(tasks, key=lambda task: timings[task].best)
    seconds = timings[fastest].best
    return Speed(
        seconds=seconds,
        median=timings[fastest].median,
        library=fastest.library,
        gflops=2e-9 * multiply_adds / seconds,
        percent_of_peak=200 * multiply_adds / seconds / machine.peak,
        percent_of_bandwidth=100 * traffic / seconds / machine.bandwidth,
        timings={task.library: timings[task] for task in tasks},
    )


def _computed(seconds: float) -> Speed:
    return Speed(seconds, seconds, "computed", None, None, None, {})
