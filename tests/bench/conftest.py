"""Puts the modules of benchmarks/ on the path; in a folder without them, their tests are skipped."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
