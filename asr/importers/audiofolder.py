"""Imports a Hugging Face audiofolder: recordings with a ``metadata.csv`` or ``metadata.jsonl`` beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions, read_language, translate_rows
from asr.jsonlines import read_objects
from asr.tables import stream_table

# What people call the text, best first; https://huggingface.co/docs/datasets/audio_dataset says "transcription".
_TEXTS = ("transcription", "text", "sentence", "transcript")
# Folders that make a split, with our names for them.
_SPLITS = {"train": "train", "validation": "dev", "valid": "dev", "val": "dev", "dev": "dev", "test": "test"}


def import_audiofolder(folder: Path, options: RowOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of an audiofolder, split by split; columns without a field of ours go to ``custom``.

    Args:
        folder: It holds the metadata, or a folder for each split that holds its own.
        options: Further names, and what holds for the whole corpus.

    Yields:
        One fragment per row, or the error of a row that cannot be used.

    Raises:
        ConfigError: There is no metadata, or the options name a field that no row has.
        ManifestError: A table cannot be read.
    """
    found = sorted(path for name in ("metadata.csv", "metadata.jsonl") for path in folder.rglob(name))
    if not found:
        raise ConfigError(f"there is no metadata.csv or metadata.jsonl in {folder} or below; name the audiofolder")
    for path in found:
        rows: Iterator[tuple[int, dict[str, Any] | ManifestError]]
        if path.suffix == ".csv":
            rows = ((number, _filled(row)) for number, row in stream_table(path, ("file_name",), "csv"))
        else:
            rows = read_objects(path)
        first, rows = _peek(rows)
        named = {"audio": "file_name", "text": next((name for name in _TEXTS if name in first), _TEXTS[0])}
        split = None if path.parent == folder else _SPLITS.get(path.parent.name.lower())
        told = options
        if split is not None and "split" not in {*options.constants, *options.fields}:
            told = replace(options, constants={**options.constants, "split": split})
        yield from translate_rows(path, rows, told, options.folder(path, folder), named, {"language": read_language})


def _filled(row: dict[str, str] | ManifestError) -> dict[str, str] | ManifestError:
    """Leave out empty cells, which is how a table says that nothing is known; an empty text is one."""
    if isinstance(row, ManifestError):
        return row
    return {name: cell for name, cell in row.items() if cell or name in _TEXTS}


def _peek(
    rows: Iterator[tuple[int, dict[str, Any] | ManifestError]],
) -> tuple[dict[str, Any], Iterator[tuple[int, dict[str, Any] | ManifestError]]]:
    """Return the first row that can be read, and the rows as they were."""
    before = []
    for number, row in rows:
        before.append((number, row))
        if isinstance(row, dict):
            return row, chain(before, rows)
    return {}, iter(before)
