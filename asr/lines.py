"""Reading text files, plain or gzipped, as a stream of lines in which a broken line is a value and not the end."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from asr.errors import ManifestError

# One line of annotated speech is a few kilobytes; a "line" beyond this is another kind of file, and reading
# on would fill the memory.
MAX_LINE_BYTES = 16 * 2**20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(path: str | Path, what: str = "file") -> Iterator[tuple[int, str | ManifestError]]:
    """Stream the lines of a UTF-8 file; gzip is told by the content, not by the name.

    Blank lines are passed over, ends of lines are cut off. A gzip stream that is cut short gives an error for its last
    line and ends.

    Args:
        path: The file.
        what: What it is called in messages.

    Yields:
        The 1-based line number, with the line or the error that describes it (place included).

    Raises:
        ManifestError: The file is missing, a folder, or cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        raise ManifestError(f"a {what} is a file, this is a folder; name the file in it", file)
    if not file.exists():
        raise ManifestError(f"there is no such {what}; check the path", file)
    return _lines(file, what)


def _lines(path: Path, what: str) -> Iterator[tuple[int, str | ManifestError]]:
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            handle: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            number = 0
            while True:
                number += 1
                try:
                    line = _next_line(handle)
                except (EOFError, gzip.BadGzipFile, zlib.error):
                    message = f"the gzip stream is cut short or damaged here; fetch or write the {what} again"
                    yield number, ManifestError(message, path, number)
                    return
                if not line:
                    return
                if number == 1:  # editors on Windows put the mark in front of the first line
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line.strip():
                    yield number, _text(line, path, number, what)
    except OSError as error:
        raise ManifestError(f"the {what} cannot be read: {error.strerror or error}", path) from error


def _next_line(handle: BinaryIO) -> bytes:
    """Return the next line, or the first bytes of one that is too long, whose rest is passed over."""
    line = rest = handle.readline(MAX_LINE_BYTES + 1)
    while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
        rest = handle.readline(MAX_LINE_BYTES + 1)
    return line


def _text(line: bytes, path: Path, number: int, what: str) -> str | ManifestError:
    if len(line) > MAX_LINE_BYTES:
        message = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB; this is no {what}"
        return ManifestError(message, path, number)
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} of the line is not UTF-8; save the {what} as UTF-8"
        return ManifestError(message, path, number)
