"""Reading tab-separated tables with a header line, every fault with its file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.errors import ManifestError


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
