"""Networks that the field knows by name, built from `fastconv.nn`."""

from __future__ import annotations

from fastconv.models.lenet import LeNet5

__all__ = ["LeNet5"]
