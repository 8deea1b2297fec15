"""Imports a NeMo manifest: JSON Lines with ``audio_filepath``, ``offset``, ``duration``, ``text`` and ``lang``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions, read_language, translate_rows
from asr.jsonlines import read_objects

# https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
_NAMED = {"audio": "audio_filepath", "start": "offset", "language": "lang"}


def import_nemo(manifest: Path, options: RowOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of a NeMo manifest, plain or gzipped; keys without a field of ours go to ``custom``.

    Args:
        manifest: The file.
        options: Further names, and what holds for the whole corpus: the language where rows have no ``lang``.

    Yields:
        One fragment per line, or the error of a line that cannot be used.

    Raises:
        ManifestError: The manifest cannot be read.
        ConfigError: The options name a field that no line has.
    """
    readers = {"language": read_language}
    yield from translate_rows(manifest, read_objects(manifest), options, options.folder(manifest), _NAMED, readers)
