"""Turns rows of someone else's table into fragments: names and values are translated, and nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, JsonValue

from asr.corpus.dialects import implied_language, tag_fault
from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.places import AudioFolder

# 'end' is no field of a fragment; a corpus that gives it gets its duration from it.
FIELDS = tuple(name for name in Fragment.model_fields if name != "custom")
OURS = (*FIELDS, "end")
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


def check_fields(names: Iterable[str], accepted: Sequence[str] = FIELDS) -> None:
    """Refuse names that options give to fields of a fragment.

    Raises:
        ConfigError: One is not accepted.
    """
    for name in names:
        if name not in accepted:
            raise ConfigError(f"{name!r} is no field of a fragment; accepted are {', '.join(accepted)}")


def _bare_name(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


Source = Annotated[FieldSource, BeforeValidator(_bare_name)]
"""A field's source as options take it: its name alone will do."""

Reader = Callable[[str, Mapping[str, Any]], tuple[str | None, JsonValue]]
"""Translates a value of theirs, given its row: returns ours, and what it could not translate (None for nothing)."""


@dataclass(frozen=True, slots=True)
class RowOptions:
    """Options of importers of rows.

    Attributes:
        fields: Our field (or ``end``) to theirs, beside those that the format names. Fields of the same name that are
            not listed are taken as they are; an id is made from the audio file's name unless one is given.
        constants: Our fields whose value is the same for the whole corpus, such as the licence.
        audio_root: Folder of the recordings, from which their paths count; None for the folder of the rows.
    """

    fields: Mapping[str, Source] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    audio_root: str | None = None

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: A name is no field of a fragment, or stands in both tables.
        """
        check_fields((*self.fields, *self.constants), OURS)
        if both := self.fields.keys() & self.constants.keys():
            raise ConfigError(f"{min(both)!r} stands in 'fields' and in 'constants'; keep one of them")

    def folder(self, rows: Path, within: Path | None = None) -> AudioFolder:
        """Return the folder of the recordings.

        Args:
            rows: The file in which the rows stand.
            within: What relative paths may not leave, where that is more than that file's folder.
        """
        return AudioFolder(self.audio_root) if self.audio_root else AudioFolder(rows.parent, within)


def translate_rows(
    path: Path,
    rows: Iterable[tuple[int, Mapping[str, Any] | ManifestError]],
    options: RowOptions,
    folder: AudioFolder,
    named: Mapping[str, str] = MappingProxyType({}),
    readers: Mapping[str, Reader] = MappingProxyType({}),
) -> Iterator[Fragment | ManifestError]:
    """Make a fragment of each row; every key of theirs survives in ``custom``.

    Args:
        path: The file in which they stand.
        rows: Line numbers with rows, or with what is wrong with them.
        options: What the user says of the rows.
        folder: In which the recordings lie.
        named: Our field to the one that the format has for it; the options may name another.
        readers: Our field to how its value is translated, unless the options have a table for it.

    Yields:
        One fragment per row, or the error of a row that is broken or lacks what a fragment needs.

    Raises:
        ConfigError: The options name a field that no row has.
    """
    sources = {name: FieldSource(named.get(name, name)) for name in OURS if name not in options.constants}
    sources |= options.fields
    missing = {source.field for source in options.fields.values()}
    seen: set[str] = set()
    for number, row in rows:
        if isinstance(row, ManifestError):
            yield row
            continue
        missing -= row.keys()
        seen |= row.keys()
        try:
            yield _fragment(row, sources, options.constants, folder, readers)
        except ManifestError as error:
            yield ManifestError(str(error), path, number)
    if missing and seen:
        raise ConfigError(
            f"the option 'fields' takes a value from {min(missing)!r}, which no line of {path} has; "
            f"its fields are {', '.join(sorted(seen))}"
        )


def read_language(tag: str, row: Mapping[str, Any]) -> tuple[str | None, JsonValue]:
    """Translate a language tag such as ``fr-FR`` into Whisper's code: a `Reader`."""
    if tag_fault(tag) is not None:
        return None, tag
    return implied_language(tag) or tag.split("-")[0].lower(), None


def translate(value: object, table: Mapping[str, str | None]) -> tuple[str | None, bool]:
    """Return our value by the table of a `FieldSource`, and whether the table knew theirs."""
    if value is None or value == "":
        return None, True
    written = str(value)
    if written in table:
        return table[written], True
    prefixes = [key for key in table if key.endswith("*") and written.startswith(key[:-1])]
    return (table[max(prefixes, key=len)], True) if prefixes else (None, False)


def _fragment(
    row: Mapping[str, Any],
    sources: Mapping[str, FieldSource],
    constants: Mapping[str, Any],
    folder: AudioFolder,
    readers: Mapping[str, Reader],
) -> Fragment:
    data: dict[str, Any] = dict(constants)
    unmapped: dict[str, JsonValue] = {}
    # Theirs under one of our names, but not what we mean by it.
    taken = {source.field for source in sources.values()}
    originals = {key: row[key] for key in row.keys() - taken if key in (*OURS, "custom")}
    # Theirs, or ours from an earlier import.
    originals |= {key: row[key] for key in _KEPT if key in row.keys() - taken and not isinstance(row[key], dict)}
    for name, source in sources.items():
        if source.field not in row:
            continue
        value = row[source.field]
        if source.map is None and name not in readers:
            data[name] = _plain(name, value)
            continue
        data[name], lost = _translate(value, row, source.map, readers.get(name))
        if lost is not None:
            unmapped[name] = lost
        if value not in (data[name], lost):
            originals[source.field] = value
    if data.get("duration") is not None and "end" in data:
        originals[sources["end"].field] = data.pop("end")
    custom = {key: row[key] for key in row if key not in taken and key not in originals}
    custom |= {key: custom.get(key, {}) | kept for key, kept in zip(_KEPT, (originals, unmapped), strict=True) if kept}

    _duration_from_end(data)
    if isinstance(audio := data.get("audio"), str) and audio:
        data.setdefault("id", _id(audio, data.get("start")))
        data["audio"] = folder.place(audio)
    return Fragment.from_dict(data | {"custom": custom})


def _translate(
    value: Any, row: Mapping[str, Any], table: Mapping[str, str | None] | None, reader: Reader | None
) -> tuple[str | None, JsonValue]:
    """Return our value, and what of theirs could not be translated."""
    if value is None or value == "":
        return None, None
    if table is None:
        return reader(value, row) if reader is not None and isinstance(value, str) else (None, value)
    ours, known = translate(value, table)
    return ours, None if known else value


def _plain(name: str, value: object) -> object:
    """Accept seconds that were written as text, and numbers as labels."""
    if name in _SECONDS and isinstance(value, str | int | float) and not isinstance(value, bool):
        return None if isinstance(value, str) and not value.strip() else _seconds(name, value)
    if name not in (*_SECONDS, *_STRUCTURED) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _seconds(name: str, value: str | float) -> float:
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ManifestError(f"field {name!r} must be a number of seconds, found {str(value)[:40]!r}")
    return seconds


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
