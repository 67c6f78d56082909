"""What a training step holds in memory, at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastconv import _check as check
from fastconv import nn, optim
from fastconv._summary import summary

__all__ = ["StepMemory", "step_memory"]


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step holds at most, by what they are for.

    Attributes
    ----------
    parameters : int
        The weights and buffers.
    gradients : int
        As much as the weights that learn, and the largest of them once more: a second gradient before it is added.
    optimizer : int
        Its running means.
    activations : int
        What the way back needs: the batch, twice the outputs of all layers (once as such, once for what layers note
        beside them: masks, places of maxima, sums of branches).
    working : int
        Four times the largest output: gradients of a layer's output and input, and what is computed with them.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        """The sum. The kernels' workspace, bounded by itself (`src/README.md`), comes on top."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.working

    def __str__(self) -> str:
        parts = ("parameters", "gradients", "optimizer", "activations", "working")
        listed = ", ".join(f"{name} {getattr(self, name) / 1e6:.1f}" for name in parts)
        return f"at most {self.total / 1e6:.1f} MB: {listed}"


#: Arrays of a parameter's size that an optimizer keeps.
_KEPT = {"SGD": 1, "Adagrad": 1, "RMSprop": 3, "Adam": 3, "AdamW": 3}


def step_memory(
    model: nn.Module, input_shape: Sequence[int], batch_size: int, optimizer: optim.Optimizer | None = None
) -> StepMemory:
    """State the memory that one training step of `fastconv.train.fit` takes at most.

    It is bounded because every step ends with what it began with: the way back and all that it holds is dropped, and
    gradients are forgotten before the next.

    Parameters
    ----------
    model : Module
    input_shape : sequence of int
        Of one sample, such as (1, 32, 32).
    batch_size : int
        Samples in a batch.
    optimizer : Optimizer, optional
        Adam by default, which keeps the most.

    Returns
    -------
    StepMemory

    Raises
    ------
    TypeError, ValueError
        When the shape does not fit the model, or the batch size is not a positive integer.

    Examples
    --------
    >>> from fastconv import models
    >>> print(step_memory(models.LeNet5(), (1, 32, 32), batch_size=32))
    at most 7.7 MB: parameters 0.2, gradients 0.4, optimizer 0.7, activations 3.9, working 2.4
    """
    count = check.integer("step_memory", "batch_size", batch_size, 1)
    if optimizer is not None and not isinstance(optimizer, optim.Optimizer):
        raise TypeError(f"step_memory: optimizer must be of Optimizer, received {type(optimizer).__name__}")
    table = summary(model, input_shape)
    held = [one.data for one in model.parameters()] + [one.data for _, one in model.named_buffers()]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    item = max([parameter.data.itemsize for parameter in model.parameters()], default=4)
    learned = sum(parameter.data.nbytes for parameter in parameters)
    largest = max([parameter.data.nbytes for parameter in parameters], default=0)
    outputs = [row.outputs * item * count for row in table.rows]
    batch = table.inputs * item * count
    return StepMemory(
        parameters=sum(array.nbytes for array in held),
        gradients=learned + largest,
        optimizer=learned * _KEPT.get(type(optimizer).__name__, 3),
        activations=batch + 2 * sum(outputs),
        working=4 * max([batch, *outputs]),
    )
