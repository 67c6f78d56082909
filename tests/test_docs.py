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
from fastconv import functional

README = Path(__file__).resolve().parents[1] / "README.md"
OPERATORS = [name for name, value in vars(functional).items() if inspect.isfunction(value) and name[0] != "_"]
MODULES = ["fastconv", *(m.name for m in pkgutil.walk_packages(fastconv.__path__, "fastconv."))]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_documented(name: str) -> None:
    """In numpydoc's sections; test_docstrings runs the example."""
    text = inspect.getdoc(getattr(fastconv, name)) or ""
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}\n" in text, f"{name} has no section {section}"
    assert ">>> " in text


@pytest.mark.skipif(not README.exists(), reason="README.md belongs to the source tree")
def test_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """Its Python, from top to bottom in one namespace."""
    pytest.importorskip("sklearn")
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, object] = {}
    for i, block in enumerate(blocks):
        exec(compile(block, f"{README.name}, block {i}", "exec"), names)
    assert "conv2d: " in capsys.readouterr().out  # what ran
