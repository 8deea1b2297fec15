"""Imports a JSON Lines manifest whose fields have other names and other values than ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions, translate_rows
from asr.jsonlines import read_objects


@dataclass(frozen=True, slots=True)
class JsonlOptions(RowOptions):
    """Options of `import_jsonl`: those of all rows, and one more.

    Attributes:
        manifest: The file, relative to the corpus root; audio paths in it count from its folder.
    """

    manifest: str = "manifest.jsonl"


def import_jsonl(root: Path, options: JsonlOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of a foreign manifest; every key of theirs survives in ``custom``.

    Args:
        root: Folder of the corpus.
        options: Names and tables.

    Yields:
        One fragment per line, or the error of a line that is broken or lacks what a fragment needs.

    Raises:
        ManifestError: There is no such manifest, or it cannot be read.
        ConfigError: The options name a field that no line has.
    """
    manifest = root / options.manifest
    yield from translate_rows(manifest, read_objects(manifest), options, options.folder(manifest, root))
