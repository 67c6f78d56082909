"""The tour in a hurry: every stop gives its picture or table, and the page shows them all."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fastconv import analysis, models
from fastconv.__main__ import main
from fastconv.demo.page import Section, write
from fastconv.demo.tour import CHAPTERS, Picture

for package in ("matplotlib", "sklearn", "PIL"):
    pytest.importorskip(package)

STOPS = [stop for stops in CHAPTERS.values() for stop in stops]


class Page(HTMLParser):
    """What a page refers to, and whether its tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.names: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(found)
        if tag == "a":
            self.links.append(found["href"] or "")
        if found.get("id"):
            self.names.append(found["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_tour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder = tmp_path / "new" / "tour"
    assert main(["demo", str(folder), "--quick"]) == 0
    assert str(folder / "index.html") in capsys.readouterr().out
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?:|file:|src=\"/|@import", text)  # nothing from elsewhere: it works where it lies
    pictures = {path.name for path in folder.glob("*.png")}
    assert {str(image["src"]) for image in page.images} == pictures
    assert {link for link in page.links if not link.startswith("#")} == pictures
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.names)
    assert [name for name in page.names if name in {stop.name for stop in STOPS}] == [stop.name for stop in STOPS]
    assert len(pictures) >= 30
    for image in page.images:
        with Image.open(folder / str(image["src"])) as picture:
            assert picture.size == (int(image["width"] or 0), int(image["height"] or 0))
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
        assert image["alt"]
    for number in (
        "144",
        "36",
        "16",
        "5,310",
        "512,000",
        "100,000,000",
        "760",
        "48,120",
        "10,164",
        "69,632",
        "1,179,648",
    ):
        assert f"<td>{number}</td>" in text
    assert "<td>12x32x32</td><td>12x16x16</td>" in text  # "same" padding, and pooling that keeps the depth
    assert "75.00% fewer" in text
    assert "88.89% fewer" in text
    assert "in a hurry" in text


def test_the_windows_shown_as_vgg16_are_its_own() -> None:
    from fastconv.demo.material import Material
    from fastconv.demo.why import seen_by_vgg

    shown = seen_by_vgg(Material())
    assert isinstance(shown, Picture)
    layers = models.vgg16(num_classes=1).features
    pools = [field for name, field in analysis.receptive_fields(layers) if "MaxPool" in repr(layers[int(name)])]
    labels = [line.get_label().partition(": ")[2] for line in shown.axes.lines]
    assert labels == [f"{field.size[0]} x {field.size[1]}, step {field.stride[0]}" for field in pools]
    assert labels[-1] == "212 x 212, step 32"


def test_names_and_sentences() -> None:
    assert len({stop.name for stop in STOPS}) == len(STOPS)
    for stop in STOPS:
        assert stop.title[0].isupper()
        assert not stop.title.endswith(".")


def test_text_is_escaped() -> None:
    section = Section("A & B", "a", "<b>", "1 < 2", table=(("x & y",), [("<i>",)]))
    page = write([section], "by <me>")
    for text in ("A &amp; B", "&lt;b&gt;", "1 &lt; 2", "x &amp; y", "&lt;i&gt;", "by &lt;me&gt;"):
        assert text in page


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("fastconv._extras.importlib.import_module", missing)
    assert main(["demo", "unused"]) == 2
    assert 'need matplotlib: pip install "fastconv[demo]"' in capsys.readouterr().err


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(folder: Path, *, quick: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastconv.demo.command.write_tour", stopped)
    assert main(["demo", "unused"]) == 130
    assert capsys.readouterr().err == "fastconv: stopped\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["demo", str(file / "inside"), "--quick"]) == 2
    assert "fastconv demo: " in capsys.readouterr().err
