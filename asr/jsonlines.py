"""Reading JSON Lines, plain or gzipped, as a stream in which a broken line is a value and not the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.errors import ManifestError
from asr.lines import read_lines


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any] | ManifestError]]:
    """Stream the objects of a JSON Lines file, plain or gzipped; blank lines are passed over.

    Args:
        path: The file.

    Yields:
        The 1-based line number, with the line's object or the error that describes it (place included).

    Raises:
        ManifestError: The file is missing, a folder, or cannot be read.
    """
    file = Path(path)
    lines = read_lines(file, "manifest")
    return ((number, _parse(line, file, number) if isinstance(line, str) else line) for number, line in lines)


def read_sound_objects(path: str | Path) -> Iterator[dict[str, Any]]:
    """Stream the objects of a JSON Lines file in which nothing may be broken.

    Raises:
        ManifestError: The file cannot be read, or a line is no object; its place is named.
    """
    for _, data in read_objects(path):
        if isinstance(data, ManifestError):
            raise data
        yield data


def _parse(line: str, path: Path, number: int) -> dict[str, Any] | ManifestError:
    try:
        data = _DECODER.decode(line)
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
