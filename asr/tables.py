"""Reading tables with a header line, every fault with its file and line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from asr.errors import ManifestError
from asr.lines import read_lines


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table; blank lines are passed over, cells are stripped.

    Args:
        path: A UTF-8 file.
        columns: What its first line must name, in this order.

    Yields:
        The 1-based line number, and the row's cells by their column.

    Raises:
        ManifestError: The file cannot be read, is not UTF-8, or a line is broken.
    """
    try:
        # Editors on Windows put a byte order mark in front.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ManifestError(f"the table cannot be read: {error.strerror or error}", path) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        raise ManifestError("the table is not UTF-8; save it as UTF-8", path, before + 1) from error
    if not lines or tuple(lines[0].split("\t")) != columns:
        raise ManifestError(f"the first line must name the columns {', '.join(columns)}", path, 1)
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) != len(columns):
                raise ManifestError(f"{len(cells)} columns where {len(columns)} are expected", path, number)
            yield number, dict(zip(columns, cells, strict=True))


def stream_table(
    path: Path, required: tuple[str, ...], kind: Literal["tsv", "csv"] = "tsv"
) -> Iterator[tuple[int, dict[str, str] | ManifestError]]:
    """Stream the rows of someone else's table, plain or gzipped; a broken row is a value.

    Args:
        path: A UTF-8 file. Its first line names the columns, in any order.
        required: Columns that must be there; others are kept.
        kind: ``tsv``: tabs, and quotes are letters like others. ``csv``: commas, and quotes as RFC 4180 has them, so
            that a row may have several lines.

    Yields:
        The 1-based number of the row's last line, with its cells by their column or the error that describes it.

    Raises:
        ManifestError: The file cannot be read, or its first line does not name the columns.
    """
    rows = _cells(path, kind)
    number, columns = next(rows, (1, None))
    if isinstance(columns, ManifestError):
        raise columns
    if columns is None:
        raise ManifestError("the table is empty; its first line must name the columns", path, 1)
    if missing := [name for name in required if name not in columns]:
        message = f"the first line must name the column {missing[0]!r}, it names {', '.join(columns)[:200]}"
        raise ManifestError(message, path, number)
    if len(set(columns)) < len(columns):
        raise ManifestError("the first line names a column twice; keep one of them", path, number)
    return _rows(rows, columns, path)


def _rows(
    rows: Iterator[tuple[int, list[str] | ManifestError]], columns: list[str], path: Path
) -> Iterator[tuple[int, dict[str, str] | ManifestError]]:
    for number, cells in rows:
        if isinstance(cells, ManifestError):
            yield number, cells
        elif len(cells) != len(columns):
            message = f"{len(cells)} columns where {len(columns)} are expected"
            yield number, ManifestError(message, path, number)
        else:
            yield number, dict(zip(columns, cells, strict=True))


def _cells(path: Path, kind: Literal["tsv", "csv"]) -> Iterator[tuple[int, list[str] | ManifestError]]:
    broken: list[ManifestError] = []
    place = 0

    def good() -> Iterator[str]:
        nonlocal place
        for number, line in read_lines(path, "table"):
            place = number
            if isinstance(line, ManifestError):
                broken.append(line)
            elif "\0" in line:  # some versions of the csv module stop for good at one
                broken.append(ManifestError("the row has a NUL byte; write the table again", path, number))
            else:
                yield line + "\n"

    reader = csv.reader(good(), strict=True) if kind == "csv" else (line[:-1].split("\t") for line in good())
    cells: list[str] | ManifestError | None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            cells = ManifestError(f"the row is no CSV: {error}", path, place)
        for fault in broken:
            yield fault.line or place, fault
        broken.clear()
        if cells is None:
            return
        yield place, cells
