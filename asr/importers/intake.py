"""Runs an importer into a manifest: good rows are written, broken ones are counted and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import ConfigError, Faults, ManifestError
from asr.fragment import Fragment, write_manifest
from asr.importers import IMPORTERS, Row


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote, and what it could not use.

    Attributes:
        fragments: Number written.
        faults: Rows left out.
        unmapped: (Our field, their value) to the number of fragments in which it could not be translated.
    """

    fragments: int
    faults: Faults = field(default_factory=Faults)
    unmapped: Counter[tuple[str, str]] = field(default_factory=Counter)


def read_source(importer: str, options: Any, source: str | Path) -> Iterator[Row]:
    """Start an importer on its source.

    Args:
        importer: Registered name.
        options: Instance of that importer's options.
        source: The file or folder in which the corpus lies, or the folder in which it is made.

    Raises:
        ConfigError: The source is missing, or a file where a folder is wanted, or the other way round.
        AsrError: What the importer raises for a corpus that it cannot read at all.
    """
    kind, place = IMPORTERS[importer], Path(source)
    if kind.source == "made" and not place.exists():
        place.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        raise ConfigError(f"there is no {place}; name the {kind.wanted} to import")
    if kind.source != "any" and place.is_dir() != (kind.source != "file"):
        found = "a folder" if place.is_dir() else "a file"
        raise ConfigError(f"the importer {importer!r} reads a {kind.wanted}, and {place} is {found}")
    return kind.run(place, options)


def import_manifest(rows: Iterable[Row], output: str | Path) -> ImportReport:
    """Write the fragments of a stream to a manifest; broken rows are left out.

    Args:
        rows: Of an importer.
        output: The manifest; where nothing can be imported, an older one stays as it was.

    Raises:
        ManifestError: There was not one good row.
    """
    faults, unmapped = Faults(), Counter[tuple[str, str]]()
    count = write_manifest(_good(rows, faults, unmapped), output)
    return ImportReport(count, faults, unmapped)


def _good(rows: Iterable[Row], faults: Faults, unmapped: Counter[tuple[str, str]]) -> Iterator[Fragment]:
    any_good = False
    for row in rows:
        if isinstance(row, ManifestError):
            faults.add(row)
            continue
        any_good = True
        if isinstance(theirs := row.custom.get("unmapped"), dict):
            unmapped.update((name, part) for name, value in theirs.items() for part in _parts(value))
        yield row
    if not any_good and faults.count:
        raise ManifestError(f"none of the {faults.count} rows can be imported; the first: {faults.first[0]}")
    if not any_good:
        raise ManifestError("the source gave no fragments; check it, and the format or recipe")


def _parts(value: object) -> Iterable[str]:
    """A value that could not be translated is counted whole, of a list each part."""
    return map(str, value) if isinstance(value, list) else (str(value),)
