"""A page of headings, paragraphs and tables, as Markdown and as HTML; every word that is put on it is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from string import Template


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        columns: Headings of the columns.
        rows: One cell per column; the first one is the row's heading.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        paragraphs: Before the table.
        table: None where there is none; one without rows is left out.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its heading.
        introduction: Paragraphs under it.
        sections: In order.
    """

    title: str
    introduction: tuple[str, ...]
    sections: tuple[Section, ...] = field(default=())


def to_markdown(page: Page) -> str:
    """Return a page as Markdown with tables, as GitHub reads it."""
    blocks = [f"# {_marked(page.title)}", *map(_marked, page.introduction)]
    for section in page.sections:
        blocks += [f"## {_marked(section.title)}", *map(_marked, section.paragraphs)]
        if section.table is not None and section.table.rows:
            lines = [_row(section.table.columns), "|" + "---|" * len(section.table.columns)]
            blocks += [_marked(section.table.caption) + ":", "\n".join((*lines, *map(_row, section.table.rows)))]
    return "\n\n".join(blocks) + "\n"


def to_html(page: Page) -> str:
    """Return a page as HTML that needs nothing from anywhere: no script, no font, no picture."""
    names = [f"part-{number}" for number, _ in enumerate(page.sections, start=1)]
    contents = "\n".join(
        f'<li><a href="#{name}">{escape(section.title)}</a></li>'
        for name, section in zip(names, page.sections, strict=True)
    )
    return _PAGE.substitute(
        title=escape(page.title),
        introduction=_paragraphs(page.introduction),
        contents=contents,
        sections="\n".join(_section(name, each) for name, each in zip(names, page.sections, strict=True)),
    )


def _marked(text: str) -> str:
    """Escape what Markdown would read as a mark, a tag or a link, and keep to one line."""
    line = " ".join(text.split())
    escaped = re.sub(r"([\\`*_\[\]<>|&~#])", r"\\\1", line)
    # A bare address would become a link; a number or dash at the beginning, a list.
    escaped = re.sub(r"(?i)\b(https?|www)([:.])", r"\1\\\2", escaped)
    return re.sub(r"^(\d+)([.)])(?=\s|$)|^([-+=])", lambda found: f"{found[1] or ''}\\{found[2] or found[3]}", escaped)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_marked, cells)) + " |"


def _paragraphs(texts: Iterable[str]) -> str:
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def _section(name: str, section: Section) -> str:
    table = "" if section.table is None or not section.table.rows else _table(section.table)
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(section.title)}</h2>\n' + "\n".join(
        part for part in (_paragraphs(section.paragraphs), table, "</section>") if part
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = (
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in table.rows
    )
    caption = escape(table.caption)
    # A wide table scrolls by itself, and can be reached with the keyboard for that.
    return (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0">\n<table>\n<caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>\n</div>"
    )


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1d2430; --soft: #4a5464; --paper: #ffffff; --line: #c9d0da; --tint: #f1f4f8;
  --link: #0b4f9e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #b4bdca; --paper: #14181f; --line: #3b4452; --tint: #1e242e; --link: #8ec1ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
header p { color: var(--soft); }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
nav ol { columns: 2 20rem; padding-left: 1.5rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .65rem; border-bottom: 1px solid var(--line);
  overflow-wrap: break-word; min-width: 8.5rem; }
tr > :first-child { min-width: 11rem; }
thead th { background: var(--tint); border-bottom: 2px solid var(--line); }
tbody th { font-weight: 600; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2 { break-after: avoid; }
  .wide { overflow: visible; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
}
</style>
</head>
<body>
<header>
<h1>$title</h1>
$introduction
</header>
<nav aria-label="Contents">
<ol>
$contents
</ol>
</nav>
<main>
$sections
</main>
</body>
</html>
""")
