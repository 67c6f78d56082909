"""Backward passes whose weights' gradients nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastconv import nn

__all__ = ["gradients_kept"]


@contextmanager
def gradients_kept(layer: nn.Module) -> Iterator[None]:
    """Leave the parameters' gradients as they are, whatever backward passes add meanwhile, also where one fails."""
    saved = [(parameter, parameter.grad) for parameter in layer.parameters()]
    layer.zero_grad()
    try:
        yield
    finally:
        for parameter, grad in saved:
            parameter.grad = grad
