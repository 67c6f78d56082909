"""Time fastconv.filters beside SciPy and OpenCV: a photograph of 427x640, and one of 4000x6000 made of it.

Each row is checked against SciPy, in float64, before it is timed. The libraries take turns in this process, the minimum
over the rounds counts, and every call makes its result anew. `rank 1` kernels are a column times a row, which fastconv
and OpenCV's filter2D are both given as a whole. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import filters
from fastconv._extras import require
from fastconv.bench.cases import photographs

Array = Any
SIZES = (3, 5, 7, 9, 11, 15, 21, 31)
TOLERANCE = 1e-6  # of max |image| * sum |weights|
KINDS = ("any", "gaussian", "box", "laplacian", "sobel")  # the last two are 3x3
LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
SLOPE = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


def images(side: str, colour: bool) -> dict[str, Array]:
    """Return the photographs, float32 in 0 to 1, by name."""
    channels = photographs()[0]
    small = np.ascontiguousarray(channels.transpose(1, 2, 0) if colour else channels.mean(axis=0), np.float32)
    small -= small.min()
    small /= small.max()
    large = np.tile(small, (10, 10, 1) if colour else (10, 10))[:4000, :6000].copy()
    found = {"427x640": small, "4000x6000": large}
    return {name: image for name, image in found.items() if side in ("both", name)}


def kernels(size: int) -> dict[str, tuple[Array, float | None]]:
    """Return kernels of one size: any, and a Gaussian with its sigma; a mean is the last."""
    rng = np.random.default_rng(size)
    sigma = size // 2 / 4
    bell = np.exp(-0.5 * (np.arange(-(size // 2), size // 2 + 1) / sigma) ** 2)
    bell /= bell.sum()
    return {
        "any": (rng.random((size, size), dtype=np.float32), None),
        "gaussian": (np.outer(bell, bell).astype(np.float32), sigma),
        "box": (np.full((size, size), 1 / size**2, np.float32), None),
        "laplacian": (LAPLACE, None),
        "sobel": (SLOPE, None),
    }


def calls(image: Array, kind: str, size: int, cv2: Any, ndimage: Any) -> dict[str, Callable[[], Array]]:
    """Return each library's way to filter the image."""
    weights, sigma = kernels(size)[kind]
    border, axis = cv2.BORDER_REFLECT, 2 if image.ndim == 3 else None
    flat = (1,) if axis else ()  # SciPy's kernels have as many axes as the image
    found: dict[str, Callable[[], Array]] = {
        "filter2D": lambda: cv2.filter2D(image, -1, weights, borderType=border),
    }
    if kind == "any":
        found["fastconv"] = lambda: filters.correlate(image, weights, channel_axis=axis)
        found["scipy"] = lambda: ndimage.correlate(image, weights.reshape(size, size, *flat))
    elif kind == "gaussian":
        found["fastconv"] = lambda: filters.gaussian(image, sigma, channel_axis=axis)
        found["scipy"] = lambda: ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim])
        found["opencv"] = lambda: cv2.GaussianBlur(image, (size, size), sigma, borderType=border)
    elif kind == "box":
        found["fastconv"] = lambda: filters.box(image, size, channel_axis=axis)
        found["scipy"] = lambda: ndimage.uniform_filter(image, (size, size, *flat))
        found["opencv"] = lambda: cv2.blur(image, (size, size), borderType=border)
    elif kind == "laplacian":
        found["fastconv"] = lambda: filters.laplacian(image, channel_axis=axis)
        found["scipy"] = lambda: (
            ndimage.correlate(image, LAPLACE.reshape(3, 3, *flat)) if axis else ndimage.laplace(image)
        )
        found["opencv"] = lambda: cv2.Laplacian(image, -1, ksize=1, borderType=border)
    else:
        found["fastconv"] = lambda: filters.sobel(image, channel_axis=axis)
        found["scipy"] = lambda: ndimage.sobel(image, axis=1)
        found["opencv"] = lambda: cv2.Sobel(image, -1, 1, 0, borderType=border)
    if kind in ("gaussian", "box"):
        found["correlate"] = lambda: filters.correlate(image, weights, channel_axis=axis)
    return found


def check(image: Array, kind: str, size: int, ndimage: Any) -> None:
    """Raise unless fastconv's results are SciPy's, on a part of the image."""
    part = np.ascontiguousarray(image[:300, :400])
    axis = 2 if image.ndim == 3 else None
    weights, sigma = kernels(size)[kind]
    taps = weights.astype(np.float64).reshape(*weights.shape, *((1,) if axis else ()))
    exact = ndimage.correlate(part.astype(np.float64), taps)
    found = [filters.correlate(part, weights, channel_axis=axis)]
    found += [filters.gaussian(part, sigma, channel_axis=axis)] if sigma is not None else []
    found += [filters.box(part, size, channel_axis=axis)] if kind == "box" else []
    found += [filters.laplacian(part, channel_axis=axis)] if kind == "laplacian" else []
    found += [filters.sobel(part, channel_axis=axis)] if kind == "sobel" else []
    bound = TOLERANCE * np.abs(part).max() * np.abs(weights).sum()
    for result in found:
        error = np.abs(result - exact).max()
        if not error <= bound:
            raise SystemExit(f"{kind} {size}x{size}: off by {error:.2g}, more than {bound:.2g}")


def race(found: dict[str, Callable[[], Array]], seconds: float) -> dict[str, float]:
    """Return the least milliseconds of each call; what takes long (SciPy) runs twice at least."""
    best = dict.fromkeys(found, np.inf)
    spent = dict.fromkeys(found, 0.0)
    rounds = 0
    while rounds < 2 or min(spent.values()) < seconds:
        for name, call in found.items():
            if rounds >= 2 and spent[name] > 3 * seconds:
                continue
            start = time.perf_counter()
            result = call()
            took = time.perf_counter() - start
            del result
            best[name], spent[name] = min(best[name], took), spent[name] + took
        rounds += 1
    return {name: 1e3 * took for name, took in best.items()}


def row(image: Array, kind: str, size: int, threads: int, seconds: float, peers: tuple[Any, Any]) -> dict[str, Any]:
    """Check and time one kernel on one image."""
    cv2, ndimage = peers
    check(image, kind, size, ndimage)
    cv2.setNumThreads(threads)
    found = calls(image, kind, size, cv2, ndimage)
    if threads > 1 or (image.size * size**2 > 1e9 and kind == "any"):
        del found["scipy"]  # it has one thread, and would take minutes
    with fc.threads(threads):
        times = race(found, seconds)
    return {"image": "x".join(map(str, image.shape)), "kernel": kind, "size": size, "threads": threads, "ms": times}


def line(found: dict[str, Any]) -> str:
    """Return a row of the table: milliseconds, and ratios of the others' time to fastconv's."""
    times = found["ms"]
    ours = times["fastconv"]
    columns = [f"{found['image']:>11} {found['kernel']:>9} {found['size']:>3} {found['threads']:>2} {ours:9.3f}"]
    for name in ("filter2D", "opencv", "scipy"):
        columns.append(f"{times[name]:10.2f} {times[name] / ours:7.2f}" if name in times else " " * 18)
    columns.append(f"{times['correlate']:9.3f}" if "correlate" in times else "")
    return " ".join(columns).rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", choices=["427x640", "4000x6000", "both"], default="both")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="sides of the kernels, odd, from 3")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kernels", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--colour", action="store_true", help="three channels, side by side in a pixel")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each call in a row")
    parser.add_argument("--json", type=Path, help="write all times to this file")
    chosen = parser.parse_args(arguments)
    peers = require("cv2", "comparisons"), require("scipy.ndimage", "comparisons")
    print(f"{'image':>11} {'kernel':>9} {'k':>3} {'t':>2} {'fastconv':>9} {'filter2D':>10} {'ratio':>7} "
          f"{'own':>10} {'ratio':>7} {'SciPy':>10} {'ratio':>7} {'correlate':>9}")  # fmt: skip
    rows = []
    for image in images(chosen.image, chosen.colour).values():
        for threads in chosen.threads:
            for kind in chosen.kernels:
                for size in chosen.sizes if kind not in ("laplacian", "sobel") else (3,):
                    rows.append(row(image, kind, size, threads, chosen.seconds, peers))
                    print(line(rows[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
