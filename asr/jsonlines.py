"""Reading JSON Lines, plain or gzipped, as a stream in which a broken line is a value and not the end."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from asr.errors import ManifestError

# One line of annotated speech is a few kilobytes; a "line" beyond this is another kind of file, and reading
# on would fill the memory.
MAX_LINE_BYTES = 16 * 2**20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any] | ManifestError]]:
    """Stream the objects of a JSON Lines file; gzip is told by the content, not by the name.

    Blank lines are passed over. A gzip stream that is cut short gives an error for its last line and ends.

    Args:
        path: The file.

    Yields:
        The 1-based line number, with the line's object or the error that describes it (place included).

    Raises:
        ManifestError: The file is missing, a folder, or cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        raise ManifestError("a manifest is a file, this is a folder; name the .jsonl file in it", file)
    if not file.exists():
        raise ManifestError("there is no such manifest; check the path", file)
    return _objects(file)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | ManifestError]]:
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
                    message = "the gzip stream is cut short or damaged here; fetch or write the manifest again"
                    yield number, ManifestError(message, path, number)
                    return
                if not line:
                    return
                if number == 1:  # editors on Windows put the mark in front of the first line
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line.strip():
                    yield number, _parse(line, path, number)
    except OSError as error:
        raise ManifestError(f"the manifest cannot be read: {error.strerror or error}", path) from error


def _next_line(handle: BinaryIO) -> bytes:
    """Return the next line, or the first bytes of one that is too long, whose rest is passed over."""
    line = rest = handle.readline(MAX_LINE_BYTES + 1)
    while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
        rest = handle.readline(MAX_LINE_BYTES + 1)
    return line


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any] | ManifestError:
    if len(line) > MAX_LINE_BYTES:
        message = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB; this is no manifest"
        return ManifestError(message, path, number)
    try:
        data = _DECODER.decode(line.decode().rstrip())
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} of the line is not UTF-8; save the manifest as UTF-8"
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} at column {error.colno}; write one object per line"
    except RecursionError:
        message = "the line is nested too deeply to be a fragment"
    except ValueError as error:
        message = f"not usable JSON: {error}"
    else:
        if isinstance(data, dict):
            return data
        message = f"a line must be an object {{...}}, found {type(data).__name__}; write one object per line"
    return ManifestError(message, path, number)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value; leave the key out instead")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object; keep one of them")
    return data


# One for all lines: json.loads with options makes a decoder per call, slow and only freed by the cycle collector.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
