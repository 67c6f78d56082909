"""The command ``python -m fastconv demo``: runs the tour, writes pictures and the page."""

from __future__ import annotations

import argparse
import struct
import sys
import time
from pathlib import Path

import fastconv as fc
from fastconv._extras import MissingExtraError, require

__all__ = ["add_arguments", "run"]

_DPI = 150


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("folder", metavar="DIR", help="where to write index.html and its pictures")
    parser.add_argument("--quick", action="store_true", help="train for a moment only: to try the command out")


def run(options: argparse.Namespace) -> int:
    """Run the tour.

    Parameters
    ----------
    options : argparse.Namespace
        As :func:`add_arguments` declares them.

    Returns
    -------
    int
        The exit code: 0; 2 where a package is missing or the folder cannot be written.
    """
    try:
        for package in ("matplotlib", "sklearn.datasets", "PIL"):
            require(package, "the pictures of the tour", "demo")
        print(f"The page: {write_tour(Path(options.folder), quick=options.quick)}")
    except (MissingExtraError, OSError) as error:
        print(f"fastconv demo: {error}", file=sys.stderr)
        return 2
    return 0


def write_tour(folder: Path, *, quick: bool = False) -> Path:
    """Write all pictures and the page into a folder, which is made if need be.

    Parameters
    ----------
    folder : Path
    quick : bool
        Train for a moment only.

    Returns
    -------
    Path
        Of the page.
    """
    from fastconv.demo.material import Material
    from fastconv.demo.page import Section, write
    from fastconv.demo.tour import CHAPTERS, Picture

    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    material, sections = Material(quick=quick), []
    stops = [(chapter, stop) for chapter, stops in CHAPTERS.items() for stop in stops]
    for number, (chapter, stop) in enumerate(stops, 1):
        print(f"{number:3}/{len(stops)}  {stop.title}", flush=True)
        shown = stop.show(material)
        if isinstance(shown, Picture):
            file = folder / f"{stop.name}.png"
            shown.figure.savefig(file, dpi=_DPI)
            size = struct.unpack(">II", file.read_bytes()[16:24])  # as a PNG's header has it: width, height
            sections.append(Section(chapter, stop.name, stop.title, shown.sentence, picture=(file.name, *size)))
        else:
            sections.append(Section(chapter, stop.name, stop.title, shown.sentence, table=(shown.header, shown.rows)))
    seconds = time.perf_counter() - start
    threads = fc.get_num_threads()
    closing = (
        f"fastconv {fc.__version__}, {threads} thread{'s' * (threads > 1)}, {seconds:.0f} seconds for all of it"
        + (", in a hurry (--quick): the networks hardly learned." if quick else ".")
    )
    page = folder / "index.html"
    page.write_text(write(sections, closing), encoding="utf-8")
    return page
