"""The examples in the documents run: every docstring of the package, and the Python in README.md."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fastconv

README = Path(__file__).resolve().parents[1] / "README.md"
MODULES = ["fastconv", *(m.name for m in pkgutil.walk_packages(fastconv.__path__, "fastconv.") if "__main__" not in m.name)]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", fastconv.functional.__all__)
def test_every_operator_has_an_example_that_runs(name: str) -> None:
    function = getattr(fastconv, name)
    assert ">>> " in (inspect.getdoc(function) or ""), f"{name} has no Examples section"
    # Run here, too: doctest looks at the functions a module defines, not at those that a decorator gave their docstring.
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(function, name, module=False, globs={}):
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.skipif(not README.exists(), reason="README.md belongs to the source tree")
def test_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """Its Python, from top to bottom in one namespace; what it prints is shown below each block, and must be the same."""
    pytest.importorskip("sklearn")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    code = [(i, text) for i, (language, text) in enumerate(blocks) if language == "python"]
    assert code
    names: dict[str, object] = {}
    for i, text in code:
        exec(compile(text, f"{README.name}, block {i}", "exec"), names)
        printed = capsys.readouterr().out
        if i + 1 < len(blocks) and blocks[i + 1][0] == "text":
            assert printed.split() == blocks[i + 1][1].split()
