"""Imports a folder of Mozilla Common Voice: a table of clips whose accents are free text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import JsonValue

from asr.corpus.dialects import tag_fault
from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import FieldSource, Reader, RowOptions, read_language, translate_rows
from asr.importers.places import AudioFolder
from asr.tables import read_table, stream_table

# https://github.com/common-voice/cv-dataset#fields; the bands as its website asks for them.
AGE_BANDS: Mapping[str, str] = MappingProxyType(
    {
        "teens": "10-19",
        "twenties": "20-29",
        "thirties": "30-39",
        "forties": "40-49",
        "fourties": "40-49",  # the spelling of the releases
        "fifties": "50-59",
        "sixties": "60-69",
        "seventies": "70-79",
        "eighties": "80-89",
        "nineties": "90-99",
    }
)
_GENDERS: Mapping[str, str | None] = {
    "male": "male",
    "female": "female",
    "male_masculine": "male",
    "female_feminine": "female",
    **{name: name for name in ("other", "intersex", "transgender", "non-binary")},
    "do_not_wish_to_say": None,
}
_AGES = FieldSource("age", AGE_BANDS)
_NAMED = {"audio": "path", "text": "sentence", "speaker": "client_id", "language": "locale", "dialect": "accents"}
# The accents that Common Voice offers (its website's lists, and the codes of releases up to 6.1) and some that people
# often write themselves.
_ACCENTS = Path(__file__).with_name("accents.tsv")
_COUNTS = ("up_votes", "down_votes")
_SIDES = ("train", "dev", "test")
# Between accents, not between the countries that one lists in brackets.
_BETWEEN = re.compile(r"\s*[|,](?![^()]*\))\s*")


@dataclass(frozen=True, slots=True)
class CommonVoiceOptions(RowOptions):
    """Options of `import_common_voice`: those of all rows, and two more.

    Attributes:
        table: The table in the folder, such as ``validated.tsv`` or ``train.tsv``, which makes the split.
        accents: A table of your own, with the columns language, accent and dialect, which goes before ours
            (``asr/importers/accents.tsv``).
    """

    table: str = "validated.tsv"
    accents: str | None = None


def import_common_voice(folder: Path, options: CommonVoiceOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of one language of a release.

    The dialect comes from ``variant``, else from ``accents``, of which several may be given: it is that of the ones
    that are known, if they agree or one is narrower than the others. What is not known is reported.

    Args:
        folder: Of the language; it holds the tables and ``clips``.
        options: Which table, further names and tables.

    Yields:
        One fragment per clip, or the error of a row that cannot be used.

    Raises:
        ManifestError: A table cannot be read.
        ConfigError: The options name a field that no row has.
    """
    path = folder / options.table
    table = _read_accents(None if options.accents is None else Path(options.accents))
    told = replace(options, fields={"age_band": _AGES, "gender": FieldSource("gender", _GENDERS), **options.fields})
    if path.stem in _SIDES and "split" not in {*options.constants, *options.fields}:
        told = replace(told, constants={**options.constants, "split": path.stem})
    clips = AudioFolder(options.audio_root) if options.audio_root else AudioFolder(folder / "clips", folder)
    rows = ((number, _plain(row)) for number, row in stream_table(path, ("path", "sentence")))
    readers: dict[str, Reader] = {
        "language": read_language,
        "dialect": lambda value, row: _dialect(value, str(row.get("variant", "")), str(row.get("locale", "")), table),
    }
    yield from translate_rows(path, rows, told, clips, _NAMED, readers)


def _plain(row: dict[str, str] | ManifestError) -> dict[str, Any] | ManifestError:
    """Leave out empty cells, count votes in numbers, and find what is said of the dialect in one column."""
    if isinstance(row, ManifestError):
        return row
    plain: dict[str, Any] = {name: cell for name, cell in row.items() if cell or name == "sentence"}
    for name in _COUNTS:
        if row.get(name, "").isdecimal():
            plain[name] = int(row[name])
    if "accent" in plain:  # as releases up to 6.1 call it
        plain.setdefault("accents", plain.pop("accent"))
    if "accents" not in plain and "variant" in plain:
        plain["accents"] = plain.pop("variant")
    # Every row has them, so that it is no fault where a table knows none.
    return {"age": None, "gender": None, **plain}


def _dialect(
    accents: str, variant: str, locale: str, table: Mapping[tuple[str, str], str | None]
) -> tuple[str | None, JsonValue]:
    """Return the dialect that accents and variant mean together, and those that mean none."""
    language = locale.split("-")[0].lower()
    tags: list[str] = []
    lost: list[JsonValue] = []
    for part in _split(accents, language, table) + ([variant] if variant else []):
        key = (language, _key(part))
        if key in table:
            tags += filter(None, [table[key]])
        elif "-" in part and tag_fault(part) is None and part.split("-")[0].lower() == language:
            tags.append(part)
        else:
            lost.append(part)
    narrowest = max(tags, key=len, default=None)
    if not all(narrowest == tag or str(narrowest).startswith(f"{tag}-") for tag in tags):
        return None, accents
    return narrowest, accents if lost == [accents] else lost or None


def _split(accents: str, language: str, table: Mapping[tuple[str, str], str | None]) -> list[str]:
    """Split accents at bars and commas, but for the commas of names that are known."""
    parts = [part for part in _BETWEEN.split(accents.strip()) if part]
    found = []
    while parts:
        length = next(
            (n for n in range(len(parts), 1, -1) if (language, _key(", ".join(parts[:n]))) in table),
            1,
        )
        found.append(", ".join(parts[:length]))
        del parts[:length]
    return found


def _read_accents(own: Path | None) -> dict[tuple[str, str], str | None]:
    """Read what accents are called in a language and which dialect they are; ``-`` says that they are none.

    Raises:
        ManifestError: A table cannot be read, or names a dialect that is none.
    """
    table: dict[tuple[str, str], str | None] = {}
    for path in (_ACCENTS, own):
        if path is not None:
            for line, row in read_table(path, ("language", "accent", "dialect")):
                tag = None if row["dialect"] == "-" else row["dialect"]
                if tag is not None and (fault := tag_fault(tag)):
                    raise ManifestError(f"the dialect {tag[:40]!r} is no BCP 47 tag: {fault}", path, line)
                table[row["language"], _key(row["accent"])] = tag
    return table


def _key(accent: str) -> str:
    return " ".join(accent.replace("’", "'").casefold().split())
