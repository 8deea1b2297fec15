"""Imports lhotse cuts (``cuts.jsonl``, ``cuts.jsonl.gz``): a fragment per supervision.

The documented layout is read, not lhotse itself, which would load torch:
https://lhotse.readthedocs.io/en/latest/cuts.html. Keys of a supervision's ``custom`` that are fields of ours become
these, the others stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions, translate_rows
from asr.jsonlines import read_objects

_SAME = ("id", "language", "speaker", "gender")
# Of a supervision; what else it has goes to custom.
_READ = {*_SAME, "recording_id", "start", "duration", "channel", "text", "custom", "alignment"}
_WORDS = "word"
# lhotse keeps times to a nanosecond at the most, and the sum of two decimal fractions is not a short one.
_DIGITS = 9


def import_cuts(path: Path, options: RowOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of cuts.

    Args:
        path: JSON Lines, plain or gzipped.
        options: What holds for the whole corpus: the language where supervisions have none.

    Yields:
        One fragment per supervision, or the error of a cut that cannot be used: one that is mixed or padded, whose
        recording is no file, or that has no supervision.

    Raises:
        ManifestError: The file cannot be read.
    """
    yield from translate_rows(path, _supervisions(path), options, options.folder(path))


def _supervisions(path: Path) -> Iterator[tuple[int, dict[str, Any] | ManifestError]]:
    for number, cut in read_objects(path):
        if isinstance(cut, ManifestError):
            yield number, cut
            continue
        try:
            rows = _rows(cut)
        except ManifestError as error:
            yield number, ManifestError(str(error), path, number)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
        ):  # a layout that is not the documented one
            yield number, ManifestError("the line is no cut as lhotse writes them", path, number)
        else:
            yield from ((number, row) for row in rows)


def _rows(cut: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the supervisions of a cut as rows of our fields.

    Raises:
        ManifestError: The cut is of a kind that cannot be a fragment.
    """
    if cut.get("type", "MonoCut") != "MonoCut":
        raise ManifestError(
            "the cut is no MonoCut; mixed, padded and several-channel cuts are no stretch of a recording"
        )
    audio = _source(cut["recording"])
    if not cut.get("supervisions"):
        raise ManifestError("the cut has no supervision, so nothing is known of what is said")
    rows = []
    for supervision in cut["supervisions"]:
        row = {key: value for key, value in supervision.items() if key not in _READ}
        row |= dict(supervision.get("custom") or {})
        row |= {name: supervision[name] for name in _SAME if name in supervision}
        row |= {"audio": audio, "text": supervision.get("text") or ""}
        row["start"] = round(float(cut["start"]) + float(supervision["start"]), _DIGITS)
        row["duration"] = float(supervision["duration"])
        alignment = dict(supervision.get("alignment") or {})
        if (words := alignment.pop(_WORDS, None)) and "words" not in row:
            row["words"] = [_word(item) for item in words]
        if alignment:
            row["alignment"] = alignment
        if channel := supervision.get("channel"):
            row["channel"] = channel
        rows.append(row)
    return rows


def _source(recording: dict[str, Any]) -> str:
    sources = recording["sources"]
    if len(sources) != 1 or sources[0]["type"] != "file":
        raise ManifestError(
            "the cut's recording is not one file; commands are never run and addresses never fetched, so write the "
            "recordings to files first"
        )
    if recording.get("transforms"):
        raise ManifestError("the cut's recording is changed when it is read (its transforms); write it to a file first")
    return str(sources[0]["source"])


def _word(item: Any) -> dict[str, Any]:
    # Its times count from the recording's start, unlike those of the supervision: lhotse's trim_to_alignments.
    symbol, start, duration, *rest = item.values() if isinstance(item, dict) else item
    word = {"text": symbol, "start": float(start), "duration": float(duration)}
    return word | ({"score": rest[0]} if rest and rest[0] is not None else {})
