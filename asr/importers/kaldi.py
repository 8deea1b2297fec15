"""Imports a Kaldi data folder: ``wav.scp``, ``text``, and beside them ``segments``, ``utt2spk``, ``spk2gender`` …

Kaldi's files are sorted alike (``LC_ALL=C sort``), so they are read side by side: memory grows with the recordings and
the speakers where ``segments`` and ``spk2gender`` refer to them, not with the utterances. A file that is not sorted is
refused, as Kaldi itself does. See https://kaldi-asr.org/doc/data_prep.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions, translate_rows
from asr.lines import read_lines

# Files of an utterance each that say nothing about it.
_NO_LABELS = ("utt2spk", "utt2num_frames")
# Kaldi's name of a file to what we call its value; others keep their own, such as utt2dialect.
_NAMES = {"dur": "duration", "lang": "language"}
_GENDERS = {"m": "male", "f": "female"}
_BLANKS = re.compile("[ \t]+")
_ARCHIVE = re.compile(r"\.ark(\.gz)?:\d+$")

_Line = tuple[int, str, str]


def import_kaldi(folder: Path, options: RowOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of a Kaldi data folder, in the order of their ids.

    A file ``utt2NAME`` gives the field of that name, or a custom key. A speaker that is the utterance itself is none,
    and an end of -1 is the recording's, as Kaldi has it.

    Args:
        folder: With ``wav.scp`` and ``text``.
        options: What holds for the whole corpus: the language, where there is no ``utt2lang``; and the folder from
            which the paths in ``wav.scp`` count, where it is another.

    Yields:
        One fragment per utterance, or the error of a line that cannot be used. Commands in ``wav.scp`` are never run.

    Raises:
        ConfigError: ``wav.scp`` or ``text`` is missing.
        ManifestError: A file cannot be read, or is not sorted.
    """
    for name in ("wav.scp", "text"):
        if not (folder / name).is_file():
            raise ConfigError(f"there is no {name} in {folder}; a Kaldi data folder has wav.scp and text")
    path = folder / "text"
    yield from translate_rows(path, _utterances(folder), options, options.folder(path))


def _utterances(folder: Path) -> Iterator[tuple[int, dict[str, Any] | ManifestError]]:
    """Yield the utterances of ``text`` with what the other files say of them, and every fault on the way."""
    faults: list[ManifestError] = []
    segments = _Side(folder / "segments", faults) if (folder / "segments").is_file() else None
    genders = _whole(folder / "spk2gender", faults) if (folder / "spk2gender").is_file() else {}
    recordings = _whole(folder / "wav.scp", faults) if segments else _Side(folder / "wav.scp", faults)
    speakers = _Side(folder / "utt2spk", faults) if (folder / "utt2spk").is_file() else None
    labels = {
        path.name[len("utt2") :]: _Side(path, faults)
        for path in sorted(folder.glob("utt2*"))
        if path.name not in _NO_LABELS and path.is_file()
    }
    for number, key, text in _lines(folder / "text", faults):
        row: dict[str, Any] = {"id": key, "text": text}
        row |= {_NAMES.get(name, name): value for name, side in labels.items() if (value := side.get(key)) is not None}
        if speakers is not None and (speaker := speakers.get(key)) is not None and speaker != key:
            row["speaker"] = speaker
            if (gender := genders.get(speaker)) is not None:
                row.setdefault("gender", _GENDERS.get(gender, gender))
        try:
            row["audio"] = _recording(key, row, segments, recordings)
        except ManifestError as error:
            faults.append(ManifestError(str(error), folder / "text", number))
        else:
            yield number, row
        while faults:
            yield number, faults.pop(0)
    for side in (segments, recordings):
        if isinstance(side, _Side):
            side.finish()
    while faults:
        yield 0, faults.pop(0)


def _recording(key: str, row: dict[str, Any], segments: _Side | None, recordings: _Side | dict[str, str]) -> str:
    """Return the path of an utterance's recording, and put its times into the row.

    Raises:
        ManifestError: There is none, or a command instead.
    """
    recording = key
    if segments is not None:
        stretch = segments.get(key)
        if stretch is None:
            raise ManifestError("the utterance has no line in segments")
        parts = _BLANKS.split(stretch)
        if len(parts) != 3:
            raise ManifestError("its line in segments must be: utterance, recording, start, end")
        recording, row["start"], end = parts
        # Kaldi's extract-segments: -1 is the end of the recording.
        if end not in ("-1", "-1.0"):
            row["end"] = end
            row.pop("duration", None)
    audio = recordings.get(recording)
    if not audio:
        raise ManifestError("the utterance's recording has no line in wav.scp")
    if audio.endswith("|"):
        raise ManifestError(
            "its recording in wav.scp is a command, and commands are never run; write the recordings to files first "
            "(wav-copy) and name these"
        )
    if _ARCHIVE.search(audio):
        raise ManifestError("its recording in wav.scp is a part of an archive; write it to a file first (wav-copy)")
    return audio


class _Side:
    """A sorted file that is read beside the others: asked for keys in rising order, it never goes back."""

    def __init__(self, path: Path, faults: list[ManifestError]) -> None:
        self._path = path
        self._faults = faults
        self._lines = _lines(path, faults)
        self._next: _Line | None = next(self._lines, None)

    def get(self, key: str) -> str | None:
        """Return the value of a key; lines before it that nobody asked for are faults."""
        while self._next is not None and self._next[1] < key:
            self._orphan()
        if self._next is None or self._next[1] != key:
            return None
        value = self._next[2]
        self._next = next(self._lines, None)
        return value

    def finish(self) -> None:
        """Read the lines that are left."""
        while self._next is not None:
            self._orphan()

    def _orphan(self) -> None:
        if self._next is not None:
            message = f"the line of {self._path.name} belongs to no utterance of text"
            self._faults.append(ManifestError(message, self._path, self._next[0]))
            self._next = next(self._lines, None)


def _whole(path: Path, faults: list[ManifestError]) -> dict[str, str]:
    return {key: value for _, key, value in _lines(path, faults)}


def _lines(path: Path, faults: list[ManifestError]) -> Iterator[_Line]:
    """Yield number, key and value of each line.

    Raises:
        ManifestError: The keys do not rise.
    """
    before = ""
    for number, line in read_lines(path):
        if isinstance(line, ManifestError):
            faults.append(line)
            continue
        # Blanks and tabs alone part them, as in Kaldi; other spaces are letters.
        key, *rest = _BLANKS.split(line.strip(" \t"), maxsplit=1)
        if key == before:
            faults.append(ManifestError("the line's id stands twice; keep one of them", path, number))
            continue
        # Python compares by code points, which is the order of UTF-8's bytes and so of LC_ALL=C.
        if key < before:
            raise ManifestError(f"{path.name} is not sorted here; sort all files by LC_ALL=C sort", path, number)
        before = key
        yield number, key, rest[0] if rest else ""
