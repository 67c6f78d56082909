"""One HTML page of all stops, with nothing to load but the pictures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

__all__ = ["Section", "write"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #ffffff; --soft: #5b6475; --line: #d9dee7; --card: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #14171d; --soft: #a4adbd; --line: #323947; --card: #1c212a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.45rem; margin: 3.5rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.15rem; margin: 2.5rem 0 .4rem; }
p { margin: .4rem 0 .8rem; }
nav ul { padding-left: 1.2rem; } nav li { margin: .3rem 0; }
a { color: inherit; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
img { display: block; width: 100%; height: auto; background: #fff; border-radius: .4rem; }
@media (max-width: 40rem) { .picture { margin: 0 -1rem; } img { border-radius: 0; } }
table { border-collapse: collapse; width: 100%; background: var(--card); border-radius: .4rem; }
th, td { padding: .45rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td + td { font-variant-numeric: tabular-nums; text-align: right; } th + th { text-align: right; }
"""


@dataclass(frozen=True)
class Section:
    """A stop on the page: a picture (a file beside the page, with its size in pixels) or a table."""

    chapter: str
    name: str
    title: str
    sentence: str
    picture: tuple[str, int, int] | None = None
    table: tuple[tuple[str, ...], list[tuple[str, ...]]] | None = None


def write(sections: list[Section], closing: str) -> str:
    """Lay out the page.

    Parameters
    ----------
    sections : list of Section
        In order; neighbours of one chapter stand under one heading.
    closing : str
        The last line.

    Returns
    -------
    str
        HTML, to be saved as UTF-8.

    Examples
    --------
    >>> page = write([Section("First", "one", "A < B", "See.", picture=("one.png", 720, 400))], "Made by hand.")
    >>> '<img src="one.png" width="720" height="400" alt="A &lt; B"' in page, '<h2 id="first">' in page
    (True, True)
    """
    chapters = list(dict.fromkeys(section.chapter for section in sections))
    contents = "\n".join(f'<li><a href="#{_anchor(chapter)}">{escape(chapter)}</a></li>' for chapter in chapters)
    body = []
    for chapter in chapters:
        body.append(f'<h2 id="{_anchor(chapter)}">{escape(chapter)}</h2>')
        body += [_section(section) for section in sections if section.chapter == chapter]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Why convolution</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Why convolution</h1>\n"
        "<p>What a convolution saves, what it keeps, and how networks of convolutions learn: every figure was "
        "computed by fastconv a moment ago, many from a real photograph and handwritten digits. "
        "A click on a picture shows it alone, larger.</p>\n"
        f"<nav><ul>\n{contents}\n</ul></nav>\n"
        + "\n".join(body)
        + f'\n<h2>About</h2>\n<p class="soft">{escape(closing)}</p>\n'
        "</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [
        f'<section id="{escape(section.name)}">\n<h3>{escape(section.title)}</h3>',
        f"<p>{escape(section.sentence)}</p>",
    ]
    if section.picture is not None:
        file, width, height = section.picture
        image = (
            f'<img src="{escape(file)}" width="{width}" height="{height}" alt="{escape(section.title)}" loading="lazy">'
        )
        parts.append(f'<div class="picture"><a href="{escape(file)}">{image}</a></div>')
    if section.table is not None:
        header, rows = section.table
        parts.append('<div class="scroll"><table>' + _row("th", header))
        parts += [_row("td", row) for row in rows]
        parts.append("</table></div>")
    return "\n".join([*parts, "</section>"])


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _anchor(chapter: str) -> str:
    return chapter.lower().replace(" ", "-")
