"""Transcripts as files: txt, srt, vtt and tsv as the ``whisper`` command lays them out, json as our own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from asr.errors import ConfigError
from asr.files import atomic_write
from asr.transcript import Transcript


def write_transcript(transcript: Transcript, stem: str | Path, formats: Iterable[str]) -> tuple[Path, ...]:
    """Write a transcript in several formats; each file appears whole or not at all.

    Args:
        transcript: What to write.
        stem: Path of the files without their extension: ``out/interview.part1`` gives
            ``out/interview.part1.srt``. Missing folders are created.
        formats: Any of FORMATS.

    Returns:
        The files written, in the order of ``formats``.

    Raises:
        ConfigError: A format is not known; nothing is written then.
    """
    wanted = tuple(dict.fromkeys(formats))
    check_formats(wanted)
    # Made before anything is written, so that a transcript lies there in all formats or in none.
    contents = [(Path(f"{stem}.{name}"), format_transcript(transcript, name)) for name in wanted]
    for path, content in contents:
        with atomic_write(path) as handle:
            handle.write(content)
    return tuple(path for path, _ in contents)


def format_transcript(transcript: Transcript, name: str) -> str:
    """Return a transcript in one format.

    Raises:
        ConfigError: The format is not known.
    """
    check_formats([name])
    return _FORMATS[name](transcript)


def output_stem(fragment: str, folder: str | Path) -> str | None:
    """Return the path, without an ending, of the files that belong to a fragment.

    Args:
        fragment: Its id, in which ``/`` makes folders.
        folder: Where they go.

    Returns:
        None for an id that names no file under the folder.
    """
    parts = [part for part in fragment.split("/") if part not in ("", ".")]
    # Not by pathlib, which would intern every part of every id.
    return None if not parts or ".." in parts else os.path.join(folder, *parts)  # noqa: PTH118


def check_formats(formats: Iterable[str]) -> None:
    """Refuse a format that is not one of FORMATS.

    Raises:
        ConfigError: It is not.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ConfigError(
            f"output format {unknown[0]!r} is not known; choose from {', '.join(FORMATS)}, separated by commas"
        )


def format_timestamp(seconds: float, *, hours: bool, decimal_marker: str) -> str:
    """Write seconds as ``[HH:]MM:SS.mmm``.

    Args:
        seconds: From the start of the recording, not negative.
        hours: Whether to write the hours even when they are zero.
        decimal_marker: Between seconds and milliseconds.
    """
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hour, minute = divmod(minutes, 60)
    second, millisecond = divmod(milliseconds, 1000)
    prefix = f"{hour:02d}:" if hours or hour else ""
    return f"{prefix}{minute:02d}:{second:02d}{decimal_marker}{millisecond:03d}"


def _txt(transcript: Transcript) -> str:
    return "".join(f"{_one_line(segment.text)}\n" for segment in transcript.segments)


def _srt(transcript: Transcript) -> str:
    cues = enumerate(_cues(transcript, hours=True, decimal_marker=","), start=1)
    return "".join(f"{number}\n{cue}\n" for number, cue in cues)


def _vtt(transcript: Transcript) -> str:
    return "WEBVTT\n\n" + "".join(f"{cue}\n" for cue in _cues(transcript, hours=False, decimal_marker="."))


def _cues(transcript: Transcript, *, hours: bool, decimal_marker: str) -> Iterable[str]:
    for segment in transcript.segments:
        start, end = (
            format_timestamp(time, hours=hours, decimal_marker=decimal_marker) for time in (segment.start, segment.end)
        )
        # An arrow in the text would start another cue.
        yield f"{start} --> {end}\n{re.sub('-{2,}>', '->', _one_line(segment.text))}\n"


def _tsv(transcript: Transcript) -> str:
    rows = (
        f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{_one_line(segment.text).replace(chr(9), ' ')}\n"
        for segment in transcript.segments
    )
    return "start\tend\ttext\n" + "".join(rows)


def _json(transcript: Transcript) -> str:
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2) + "\n"


def _one_line(text: str) -> str:
    """Join lines: an empty line would end a subtitle, any line break a row."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


_FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": _txt,
    "srt": _srt,
    "vtt": _vtt,
    "tsv": _tsv,
    "json": _json,
}
FORMATS = tuple(_FORMATS)
