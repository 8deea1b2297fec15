"""Imports a JSON Lines manifest whose fields have other names and other values than ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.jsonlines import read_objects

# 'end' is no field of a fragment; a corpus that gives it gets its duration from it.
_OURS = (*(name for name in Fragment.model_fields if name != "custom"), "end")
_SECONDS = ("start", "duration", "end")
_STRUCTURED = ("emphasis", "words", "expressions", "consent")
# Where what a value was before its translation, and what could not be translated, are kept in `custom`.
_KEPT = ("source_values", "unmapped")


@dataclass(frozen=True, slots=True)
class FieldSource:
    """Where one of our fields comes from.

    Attributes:
        field: Name of their field.
        map: Table from their value to ours; None takes values as they are. A key that ends in ``*`` stands
            for every value that begins so; the longest match counts. The value ``null`` means "not known".
            Numbers are looked up as they are written. What the table does not have is reported as unmapped.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    field: str
    map: Mapping[str, str | None] | None = None


def _bare_name(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class JsonlOptions:
    """Options of `import_jsonl`.

    Attributes:
        manifest: The file, relative to the corpus root; audio paths in it are relative to its folder.
        fields: Our field (or ``end``) to theirs. Fields of the same name that are not listed are taken as
            they are; an id is made from the audio file's name unless one is given.
        constants: Our fields whose value is the same for the whole corpus, such as the licence.
    """

    manifest: str = "manifest.jsonl"
    fields: Mapping[str, Annotated[FieldSource, BeforeValidator(_bare_name)]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: A name is no field of a fragment, or stands in both tables.
        """
        for name in (*self.fields, *self.constants):
            if name not in _OURS:
                raise ConfigError(f"{name!r} is no field of a fragment; accepted are {', '.join(_OURS)}")
        if both := self.fields.keys() & self.constants.keys():
            raise ConfigError(f"{min(both)!r} stands in 'fields' and in 'constants'; keep one of them")


def import_jsonl(root: Path, options: JsonlOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of a foreign manifest; every key of theirs survives in ``custom``.

    Args:
        root: Folder of the corpus.
        options: Names and tables.

    Yields:
        One fragment per line, or the error of a line that is broken or lacks what a fragment needs.

    Raises:
        ManifestError: There is no such manifest, or it cannot be read.
        ConfigError: The recipe names a field that no line has.
    """
    manifest = root / options.manifest
    folder = manifest.absolute().parent
    same = {name: FieldSource(name) for name in _OURS if name not in options.constants}
    sources = same | dict(options.fields)
    missing = {source.field for source in options.fields.values()}
    seen: set[str] = set()
    for number, row in read_objects(manifest):
        if isinstance(row, ManifestError):
            yield row
            continue
        missing -= row.keys()
        seen |= row.keys()
        try:
            yield _fragment(row, sources, options.constants, folder)
        except ManifestError as error:
            yield ManifestError(str(error), manifest, number)
    if missing and seen:
        raise ConfigError(
            f"the recipe takes a value from {min(missing)!r}, which no line of {manifest} has; "
            f"its fields are {', '.join(sorted(seen))}"
        )


def _fragment(
    row: dict[str, Any], sources: Mapping[str, FieldSource], constants: Mapping[str, Any], folder: Path
) -> Fragment:
    data: dict[str, Any] = dict(constants)
    unmapped: dict[str, Any] = {}
    # Theirs under one of our names, but not what we mean by it.
    taken = {source.field for source in sources.values()}
    originals = {key: row[key] for key in row.keys() - taken if key in (*_OURS, "custom", *_KEPT)}
    for name, source in sources.items():
        if source.field not in row:
            continue
        value = row[source.field]
        data[name], known = _translate(value, source.map) if source.map is not None else (_plain(name, value), True)
        if not known:
            unmapped[name] = value
        elif source.map is not None and value != data[name]:
            originals[source.field] = value
    if data.get("duration") is not None and "end" in data:
        originals[sources["end"].field] = data.pop("end")
    custom = {key: row[key] for key in row if key not in taken and key not in originals}
    custom |= {key: kept for key, kept in zip(_KEPT, (originals, unmapped), strict=True) if kept}

    _duration_from_end(data)
    if isinstance(audio := data.get("audio"), str) and audio:
        data.setdefault("id", _id(audio, data.get("start")))
        data["audio"] = str(folder / audio)
    return Fragment.from_dict(data | {"custom": custom})


def _translate(value: object, table: Mapping[str, str | None]) -> tuple[str | None, bool]:
    """Return our value, and whether the table knew theirs."""
    if value is None or value == "":
        return None, True
    written = str(value)
    if written in table:
        return table[written], True
    prefixes = [key for key in table if key.endswith("*") and written.startswith(key[:-1])]
    return (table[max(prefixes, key=len)], True) if prefixes else (None, False)


def _plain(name: str, value: object) -> object:
    """Accept seconds that were written as text, and numbers as labels."""
    if name in _SECONDS and isinstance(value, str):
        try:
            return float(value) if value.strip() else None
        except ValueError:
            raise ManifestError(f"field {name!r} must be a number of seconds, found {value[:40]!r}") from None
    if name not in (*_SECONDS, *_STRUCTURED) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _duration_from_end(data: dict[str, Any]) -> None:
    end, start = data.pop("end", None), data.get("start") or 0.0
    if end is None:
        return
    if not isinstance(end, int | float) or not isinstance(start, int | float):
        raise ManifestError(f"'start' and 'end' must be numbers of seconds, found {start!r:.40} and {end!r:.40}")
    if end <= start:
        raise ManifestError(f"the fragment ends at {end} s, not after its start at {start} s")
    # Rounded to a nanosecond: the difference of two decimal fractions is not a short one.
    data["duration"] = round(end - start, 9)


def _id(audio: str, start: object) -> str:
    """Make an id from the file's name; with a start, because other fragments may share the file."""
    stem = PurePosixPath(audio.replace("\\", "/")).stem
    return stem if not isinstance(start, int | float) else f"{stem}-{round(start * 1000):08d}"
