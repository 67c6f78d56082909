"""Cases and settings that take little time."""

from __future__ import annotations

from dataclasses import replace

from fastconv.bench import cases, compare, timing
from fastconv.bench.roofline import Machine

MACHINE = Machine("a machine", threads=1, peak=1e11, bandwidth=2e10)
FAST = compare.Settings(memory_budget=10_000_000, effort=timing.Effort(rounds=2, sample_seconds=0.0))
ROOMY = replace(FAST, memory_budget=40_000_000)
DIGIT = cases.Case(cases.LENET5[0], "digits", "LeNet-5")
PHOTO = cases.Case(cases.growing_layer(24, 24), "photograph", "growing image")
LARGE = cases.Case(cases.growing_layer(64, 64), "photograph", "growing image")
