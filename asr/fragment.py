"""The fragment: an annotated stretch of a recording, and the manifest that holds one per line.

A manifest is JSON Lines (``.jsonl``, or the same gzipped): one object per line, read as a stream. Keys that
are no field of ours are kept in ``Fragment.custom`` and written back beside the others, so nothing is lost.

An optional field that is absent, ``null`` or an empty string means the same: not known. Such fields are not
written. An unknown key with the value ``null`` is someone else's information and stays as it is.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from asr.addresses import is_stored
from asr.errors import ManifestError
from asr.files import atomic_write, packer
from asr.jsonlines import read_objects

log = logging.getLogger(__name__)

# Control characters and line separators would break logs, file names and line-based tools downstream. The
# characters stand here themselves, not as escapes, because JSON Schema and pydantic write those differently.
_PRINTABLE = "^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _iso_date(value: object) -> object:
    # pydantic would read a bare number (20240131) as seconds since 1970.
    if value is None or isinstance(value, str | date):
        return value
    raise ValueError("a date is written YYYY-MM-DD")


Label = Annotated[str | None, BeforeValidator(_none_if_blank)]
Day = Annotated[date | None, BeforeValidator(_iso_date)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Index = Annotated[int, Field(strict=True, ge=0)]


def _null_as(default: Any, accepted: Any) -> BeforeValidator:
    """Read null like an absent field, and say so in the JSON Schema."""
    return BeforeValidator(lambda value: default if value is None else value, json_schema_input_type=accepted | None)


class _Part(BaseModel):
    """Base of a fragment's parts: frozen, and keys it does not know survive a round trip."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _end_is_derived(cls, data: object) -> object:
        return _refuse_end(data)


def _refuse_end(data: object) -> object:
    if isinstance(data, dict) and "end" in data:
        raise ValueError("'end' is derived and never stored; give 'duration' (end - start) instead")
    return data


# What this package asks consent for; a manifest may name others.
Purpose = Literal["training", "annotation", "evaluation", "offer"]


class Consent(_Part):
    """What the speaker agreed to.

    Attributes:
        id: Identifies the consent record, never the person.
        purposes: What the recording may be used for, such as ``training`` or ``evaluation``.
        granted: First day of validity.
        expires: Last day of validity; None means no end was set.
        withdrawn: Day of withdrawal; None means it stands.
    """

    id: str = Field(pattern=_PRINTABLE)
    purposes: tuple[str, ...] = ()
    granted: Day = None
    expires: Day = None
    withdrawn: Day = None


class WordTime(_Part):
    """One annotated word with its time.

    Attributes:
        text: The word as it stands in the fragment's ``text``.
        start: Seconds from the start of the recording, like the fragment's own ``start``.
        duration: Seconds.
    """

    text: str = Field(min_length=1)
    start: Seconds
    duration: Length

    @property
    def end(self) -> float:
        """Seconds from the start of the recording."""
        return self.start + self.duration


class Expression(_Part):
    """A dialect word or phrase in the fragment's ``text``.

    Attributes:
        text: The expression as it was said.
        standard: Its equivalent in the standard language, when there is one.
        start_word: Index of its first word in the fragment's ``text.split()``, from 0; None if not located.
    """

    text: str = Field(min_length=1)
    standard: Label = None
    start_word: Index | None = None

    @property
    def end_word(self) -> int | None:
        """Index after its last word, or None when not located."""
        return None if self.start_word is None else self.start_word + len(self.text.split())


class Fragment(BaseModel):
    """An annotated stretch of a recording: the unit of training and of evaluation. Times are in seconds.

    Attributes:
        id: Unique within a manifest; no control characters.
        audio: Path of the recording. Relative to the manifest in the file, directly openable in memory.
        text: What was said, verbatim, in the dialect's own spelling. Empty for a fragment of silence.
        language: Whisper's language code, such as ``fr``.
        start: Seconds from the start of the recording.
        duration: Seconds; None means to the end of the recording.
        dialect: BCP 47 tag, such as ``fr-CA`` or ``en-GB-x-cumbria``. Only ``asr validate`` checks it: one
            wrong tag should not stop a stream.
        text_standard: The standard-language rendering: another target than ``text``, never mixed with it.
        speaker: Pseudonymous id, never a name.
        gender: As the corpus gives it.
        age_band: Such as ``20-29``; never a date of birth.
        intonation: Sentence type heard in the voice, such as ``statement`` or ``question``.
        tune: Its melody: ``rise``, ``fall``, ``fall-rise``, ``level`` …
        emphasis: Indices of the stressed words in ``text.split()``, from 0.
        words: Words with their times.
        expressions: Dialect words and phrases.
        conversation: Id of the conversation that the fragment belongs to.
        corpus: Id of the corpus that it comes from, such as a recipe's name.
        split: ``train``, ``dev``, ``test`` …
        consent: What the speaker agreed to.
        licence: Licence of the recording, best as an SPDX id.
        annotator: Pseudonymous id of who wrote the annotation.
        custom: Everything else that the manifest says about it, by key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=_PRINTABLE)
    audio: str = Field(pattern="^[^\u0000]+$")
    text: str
    language: str = Field(pattern="^[a-z]{2,3}$")
    start: Annotated[Seconds, _null_as(0.0, Seconds)] = 0.0
    duration: Length | None = None
    dialect: Label = None
    text_standard: Label = None
    speaker: Label = None
    gender: Label = None
    age_band: Label = None
    intonation: Label = None
    tune: Label = None
    emphasis: Annotated[tuple[Index, ...], _null_as((), tuple[Index, ...])] = ()
    words: Annotated[tuple[WordTime, ...], _null_as((), tuple[WordTime, ...])] = ()
    expressions: Annotated[tuple[Expression, ...], _null_as((), tuple[Expression, ...])] = ()
    conversation: Label = None
    corpus: Label = None
    split: Label = None
    consent: Consent | None = None
    licence: Label = None
    annotator: Label = None
    custom: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _end_is_derived(cls, data: object) -> object:
        return _refuse_end(data)

    @field_validator("custom")
    @classmethod
    def _no_field_hides_in_custom(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        # It is written flat, beside the fields: such a key would overwrite one.
        if taken := sorted(value.keys() & (cls.model_fields.keys() | {"end"})):
            raise ValueError(f"{', '.join(map(repr, taken))} cannot be a custom key: the name is a fragment's own")
        return value

    @property
    def end(self) -> float | None:
        """Seconds from the start of the recording, or None when the duration is not known."""
        return None if self.duration is None else self.start + self.duration

    def replace(self, **changes: Any) -> Fragment:
        """Return a validated copy with some fields changed.

        Raises:
            ManifestError: A new value cannot stand in a fragment.
        """
        return _validated({name: getattr(self, name) for name in type(self).model_fields} | changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the fragment's JSON object: the fields that are set and, beside them, the custom keys."""
        data = self.model_dump(mode="json", exclude_defaults=True, exclude={"custom"})
        return data | self.custom

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Fragment:
        """Make a fragment from its JSON object; keys that are no field go to ``custom``.

        Raises:
            ManifestError: A required field is missing or a value has the wrong type or range.
        """
        known = {key: value for key, value in data.items() if key in cls.model_fields and key != "custom"}
        # 'end' is passed on, so that its own message is raised.
        known |= {"end": data["end"]} if "end" in data else {}
        unknown = {key: value for key, value in data.items() if key not in known and key != "custom"}
        nested = {} if data.get("custom") is None else data["custom"]
        if not isinstance(nested, dict):
            raise ManifestError(f"field 'custom' must be an object, found {type(nested).__name__}")
        if twice := sorted(nested.keys() & unknown.keys()):
            raise ManifestError(f"key {twice[0]!r} stands both in 'custom' and beside it; keep one of them")
        return _validated(known | {"custom": nested | unknown})


def fragment_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one manifest line."""
    schema = Fragment.model_json_schema()
    # A line may carry any further key; only the derived end is refused.
    schema["additionalProperties"] = True
    schema["not"] = {"required": ["end"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_manifest(
    path: str | Path,
    on_error: Literal["raise", "skip"] = "raise",
    errors: list[ManifestError] | None = None,
) -> Iterator[Fragment]:
    """Stream the fragments of a manifest, plain or gzipped (told by its content, not by its name).

    Blank lines are passed over. A relative ``audio`` is resolved against the manifest's folder.

    Args:
        path: The manifest.
        on_error: What a broken line does: ``"raise"`` stops, ``"skip"`` goes on with the next one. A gzip
            stream that is cut short ends the reading either way.
        errors: With ``"skip"``, receives one error per broken line; without it their number is logged.

    Yields:
        One fragment per line, in order.

    Raises:
        ManifestError: The manifest is no readable file, or (with ``"raise"``) a line is broken.
    """
    found = [] if errors is None else errors
    before = len(found)
    for _, fragment in read_numbered(path):
        if isinstance(fragment, Fragment):
            yield fragment
        elif on_error == "raise":
            raise fragment
        else:
            found.append(fragment)
    if errors is None and len(found) > before:
        log.warning("%d broken lines of %s were skipped", len(found) - before, Path(path).name)


def read_numbered(path: str | Path) -> Iterator[tuple[int, Fragment | ManifestError]]:
    """Stream a manifest with its line numbers, for tools that report on every line.

    Yields:
        The 1-based line number, with the line's fragment or the error that describes it.

    Raises:
        ManifestError: The manifest is missing, a folder, or cannot be read.
    """
    manifest = Path(path)
    folder = manifest.absolute().parent
    for number, data in read_objects(manifest):
        if isinstance(data, ManifestError):
            yield number, data
            continue
        if isinstance(audio := data.get("audio"), str) and audio and not is_stored(audio):
            # pathlib would intern every part of every path.
            data["audio"] = os.path.join(folder, audio)  # noqa: PTH118
        try:
            fragment = Fragment.from_dict(data)
        except ManifestError as error:
            yield number, ManifestError(str(error), manifest, number)
        else:
            yield number, fragment


def write_manifest(fragments: Iterable[Fragment], path: str | Path) -> int:
    """Write a manifest, gzipped when its name ends in ``.gz``; a failure leaves an older file as it was.

    Audio paths under the manifest's folder are written relative to it, others as absolute paths.

    Args:
        fragments: Any iterable; it is streamed, and may read from the very manifest that is written.
        path: The manifest to write; missing folders are created.

    Returns:
        The number of fragments written.

    Raises:
        ManifestError: A fragment's custom value cannot be written as JSON.
    """
    target = Path(path)
    folder = target.absolute().parent
    count = 0
    with atomic_write(target, "wb") as handle, packer(target, handle) as out:
        for fragment in fragments:
            out.write(_line(fragment, folder))
            count += 1
    return count


def _line(fragment: Fragment, folder: Path) -> bytes:
    data = fragment.to_dict() | {"audio": _relative(fragment.audio, folder)}
    try:
        return (json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, legal in JSON only as an escape
        return (json.dumps(data) + "\n").encode()
    except ValueError as error:
        raise ManifestError(f"fragment {fragment.id!r} has a custom value that JSON cannot hold: {error}") from error


def _relative(audio: str, folder: Path) -> str:
    # As pathlib would have it below, at a tenth of the time.
    if is_stored(audio):
        return audio
    prefix = os.path.join(folder, "")  # noqa: PTH118
    if audio.startswith(prefix) and os.path.normpath(audio) == audio:
        return audio[len(prefix) :]
    path = Path(audio).absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _validated(data: dict[str, Any]) -> Fragment:
    try:
        return Fragment.model_validate(data)
    except ValidationError as error:
        raise ManifestError("; ".join(_sentence(item) for item in error.errors())) from None


# Fields whose wrong value may be repeated in a message; the others can hold what a person said or is called.
_SHOWN = {"id", "language", "start", "duration", "emphasis"}


def _sentence(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if not where:
        return str(message)
    if item["type"] == "missing":
        return f"field {where!r} is missing; every fragment needs it"
    if item["type"] == "string_pattern_mismatch":
        message = (
            "must be a Whisper language code such as 'fr' or 'en'"
            if where == "language"
            else "must not be empty or hold control characters"
        )
    value = item["input"]
    shown = repr(value)[:40] if item["loc"][0] in _SHOWN else type(value).__name__
    return f"field {where!r}: {message[0].lower() + message[1:]}, found {shown}"
