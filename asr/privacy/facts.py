"""Reads who speaks where from a record of any list that a corpus has: manifest, table, task list, Kaldi folder."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from asr.errors import ManifestError
from asr.lines import MAX_LINE_BYTES

# How the lists of this field name things; ours first.
SPEAKER_KEYS = ("speaker", "speaker_id", "spk", "spk_id", "client_id", "participant")
ID_KEYS = ("id", "fragment", "fragment_id", "utt", "utt_id", "utterance_id", "segment_id")
_AUDIO_KEYS = ("audio", "audio_filepath", "file_name", "path", "wav", "audio_path", "source")
_START_KEYS = ("start", "offset")
TEXT_KEYS = ("text", "sentence", "transcript", "transcription", "text_standard")

LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
JSON = (".json", ".json.gz")
TABLES = {".tsv": "\t", ".csv": ","}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Fact:
    """That somebody speaks in a recording.

    Attributes:
        speaker: Who, if the record says it.
        id: Of the fragment.
        audio: The recording as the record writes it.
        start: Seconds from the recording's start.
        end: Seconds; None means to the recording's end.
        texts: What was said.
    """

    speaker: str | None
    id: str | None
    audio: str | None
    start: float = 0.0
    end: float | None = None
    texts: tuple[str, ...] = ()


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file; gzip is told by its content and unpacked on the way."""
    with path.open("rb") as raw:
        if raw.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield raw


def lines_of(path: Path) -> Iterator[bytes]:
    """Stream the lines of a file, plain or gzipped, ends included.

    Raises:
        ManifestError: A line is longer than any list has; reading it would fill the memory.
    """
    with open_bytes(path) as handle:
        number = 0
        while line := handle.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ManifestError(f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB", path, number)
            yield line


def rows_of(
    path: Path, wanted: Callable[[bytes], bool] | None = None
) -> Iterator[tuple[bytes, dict[str, Any] | list[str] | None]]:
    """Stream JSON Lines or a table, each row as its bytes and what they mean.

    Args:
        path: The list.
        wanted: Tells by the bytes of a line of JSON whether it is worth reading; another one gives None.

    Yields:
        The bytes, with an object; a list of cells in a table whose header names no speaker and no recording; None
        for what is no record: a header, a blank or broken line.
    """
    delimiter = TABLES.get(path.suffix)
    if delimiter is None:
        for line in lines_of(path):
            yield line, _object(line) if wanted is None or wanted(line) else None
        return
    taken: list[bytes] = []

    def decoded() -> Iterator[str]:
        for line in lines_of(path):
            taken.append(line)
            yield line.decode("utf-8", "surrogateescape")

    # Tabs need no quotes, and what people said may hold one.
    reader = (
        csv.reader(decoded(), delimiter="\t", quoting=csv.QUOTE_NONE) if delimiter == "\t" else csv.reader(decoded())
    )
    header: list[str] | None = None
    for number, cells in enumerate(reader):
        raw = b"".join(taken)
        taken.clear()
        if number == 0:
            named = [cell.removeprefix("\ufeff").strip() for cell in cells]
            header = named if {*SPEAKER_KEYS, *_AUDIO_KEYS, *ID_KEYS} & set(named) else None
            if header is not None:
                yield raw, None
                continue
        if not cells:
            yield raw, None
        else:
            yield raw, cells if header is None else dict(zip(header, cells, strict=False))


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line.removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_json(path: Path) -> Any:
    """Read a JSON file, plain or gzipped; None where it is none."""
    with open_bytes(path) as handle:
        try:
            return json.loads(handle.read().removeprefix(_BYTE_ORDER_MARK))
        except (ValueError, RecursionError):
            return None


def is_list(path: Path) -> bool:
    """Whether a file is of a kind that tells who speaks where."""
    return path.name.endswith((*LINES, *JSON)) or path.suffix in TABLES or path.name == "utt2spk"


def facts_in(path: Path, wanted: Callable[[bytes], bool] | None = None) -> Iterator[Fact]:
    """Stream what a list says; for a Kaldi folder its ``utt2spk`` stands for all its files.

    Args:
        path: The list.
        wanted: Tells by the bytes of a line of JSON whether it is worth reading.

    Raises:
        ManifestError: A line is too long for a list.
        OSError: The file cannot be read, or its gzip stream is damaged.
    """
    if path.name == "utt2spk":
        yield from _kaldi(path.parent)
    elif path.name.endswith(JSON):
        data = read_json(path)
        for record in data if isinstance(data, list) else [data]:
            if isinstance(record, dict):
                yield from facts_of(record)
    else:
        for _, row in rows_of(path, wanted):
            if isinstance(row, dict):
                yield from facts_of(row)


def facts_of(record: Mapping[str, Any]) -> Iterator[Fact]:
    """Tell what one record says: a fragment, a row, a Label Studio task, a lhotse cut with its supervisions."""
    supervisions = record.get("supervisions")
    if isinstance(supervisions, list):
        audio = next(iter(_sources(record.get("recording"))), None)
        offset = _number(record, ("start",)) or 0.0
        for each in supervisions:
            if isinstance(each, dict):
                fact = _flat(each)
                end = None if fact.end is None else offset + fact.end
                yield Fact(fact.speaker, fact.id, audio, offset + fact.start, end, fact.texts)
        return
    data = record.get("data")
    yield _flat(data if isinstance(data, dict) else record)


def speakers_of(record: Mapping[str, Any]) -> set[str]:
    """Return the speakers that an object names itself, not in its parts."""
    return {str(value) for key in SPEAKER_KEYS if isinstance(value := record.get(key), str | int) and value != ""}


def span_of(record: Mapping[str, Any]) -> tuple[float, float | None]:
    """Return start and end in seconds; an end of None means to the end of the recording."""
    start = _number(record, _START_KEYS) or 0.0
    duration = _number(record, ("duration",))
    end = _number(record, ("end",))
    return start, end if end is not None else None if duration is None else start + duration


def _flat(record: Mapping[str, Any]) -> Fact:
    speaker = next(iter(speakers_of(record)), None)
    texts = tuple(value for key in TEXT_KEYS if isinstance(value := record.get(key), str) and value)
    start, end = span_of(record)
    return Fact(speaker, _string(record, ID_KEYS), _string(record, _AUDIO_KEYS), start, end, texts)


def _string(record: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((value for key in keys if isinstance(value := record.get(key), str) and value), None)


def _number(record: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = record.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):  # a table's
            try:
                return float(value)
            except ValueError:
                continue
    return None


def _sources(recording: Any) -> Iterator[str]:
    sources = recording.get("sources") if isinstance(recording, dict) else None
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("source"), str):
            yield source["source"]


def _kaldi(folder: Path) -> Iterator[Fact]:
    """Join the files of a Kaldi folder."""
    recordings = dict(_pairs(folder / "wav.scp"))
    segments = {utterance: rest.split() for utterance, rest in _pairs(folder / "segments")}
    texts = dict(_pairs(folder / "text"))
    for utterance, speaker in _pairs(folder / "utt2spk"):
        recording, start, end, *_ = [*segments.get(utterance, (utterance, "0", "-1")), "", "", ""][:3]
        span = {"start": start} if end.startswith("-") else {"start": start, "end": end}
        audio = recordings.get(recording)
        # A command that ends in a bar makes the sound; what it reads is named in it.
        audio = None if audio is None or audio.endswith("|") else audio
        text = texts.get(utterance)
        yield Fact(speaker, utterance, audio, *span_of(span), () if text is None else (text,))


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        return
    for line in lines_of(path):
        cells = line.decode("utf-8", "surrogateescape").strip().split(maxsplit=1)
        if len(cells) == 2:
            yield cells[0], cells[1]
