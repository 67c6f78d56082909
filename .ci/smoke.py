"""Checks an installed fastconv, from outside its source tree: the module, the bits, the process around it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import fastconv as fc

parser = argparse.ArgumentParser()
parser.add_argument("--openmp", choices=("yes", "no"), required=True, help="whether the build must have OpenMP")
openmp = parser.parse_args().openmp == "yes"

place = Path(fc.__file__).resolve()
assert Path(sys.prefix).resolve() in place.parents, f"{place} is not the installed package"

report = fc.show_config(mode="dicts")
assert report is not None
assert report["OpenMP"]["version"].isdigit() == openmp, report["OpenMP"]
if not openmp:
    assert report["threads"] == {"number": 1, "why": "built without OpenMP"}, report["threads"]

rng = np.random.default_rng(0)
x = rng.integers(-4, 5, (2, 16, 40, 50)).astype(np.float32)  # integers: every order of the sum gives the same bits
w = rng.integers(-4, 5, (24, 16, 3, 3)).astype(np.float32)
expected = fc.reference.conv2d(x, w, padding=1)
for n in (1, 2, 3, 8):
    with fc.threads(n), fc.precision("highest"):  # whole numbers add up exactly
        np.testing.assert_array_equal(fc.conv2d(x, w, padding=1), expected)
        gx, gw, gb = fc.conv2d_backward(expected, x, w, padding=1)
assert (gx.shape, gw.shape, gb.shape) == (x.shape, w.shape, (24,))

denormal = np.full(1, 1e-40, np.float32)
assert (denormal * np.float32(1))[0] != 0, "denormals were turned off"

print(f"fastconv {fc.__version__} in {place.parent}")
print(f"{report['compiler']}, {report['instruction sets']['selected']}, OpenMP {report['OpenMP']['version']}")
