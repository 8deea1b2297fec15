"""Imports subtitles (SRT, WebVTT), each file beside its recording: a fragment per cue."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import ManifestError, MissingExtraError
from asr.fragment import Fragment
from asr.importers.beside import BesideOptions, Ids, find_files, find_recording, read_text

# <v Speaker> or <v.loud Speaker>: who says what follows, in WebVTT.
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>\n]+)>")


@dataclass(frozen=True, slots=True)
class SubtitleOptions(BesideOptions):
    """Options of `import_subtitles`: the constants, of which the language is needed."""


@dataclass(frozen=True, slots=True)
class _Cue:
    """A block with an arrow, and where it stands."""

    line: int
    times: str
    text: list[str]


def import_subtitles(root: Path, options: SubtitleOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of all ``.srt`` and ``.vtt`` files in a folder: one per cue that has a text.

    A cue's speaker is WebVTT's voice (``<v s01>``), where one stands in it.

    Args:
        root: Folder of the corpus.
        options: What is the same for all.

    Yields:
        Fragments file by file; an error for a cue, or a whole file, that cannot be used.

    Raises:
        MissingExtraError: pysubs2 is not installed.
    """
    for path in find_files(root, ".srt", ".vtt"):
        try:
            audio = find_recording(path, root)
            text = read_text(path)
        except ManifestError as error:
            yield error
            continue
        ids = Ids(path, root)
        kind = path.suffix.lower().removeprefix(".")
        for cue in _cues(text, kind):
            try:
                if fragment := _fragment(cue, kind, dict(options.constants) | {"audio": str(audio)}, ids):
                    yield fragment
            except ManifestError as error:
                yield ManifestError(str(error), path, cue.line)


def _cues(text: str, kind: str) -> Iterator[_Cue]:
    """Cut a file at its arrows; what stands right before one (a number, a name) is no text."""
    cue: _Cue | None = None
    aside = False
    lines = re.split(r"\r\n|\r|\n", text)
    for number, line in enumerate(lines, 1):
        begins = number == 1 or not lines[number - 2].strip()
        leads = number < len(lines) and "-->" in lines[number]
        if "-->" in line:
            if cue is not None:
                yield cue
            cue, aside = _Cue(number, line, []), False
        elif leads and (begins or line.strip().isdecimal()):
            continue
        elif line.strip():
            if begins:
                # In SRT a blank line may stand within a cue; in WebVTT it ends one.
                aside = kind == "vtt"
            if cue is not None and not aside:
                cue.text.append(line)
    if cue is not None:
        yield cue


def _fragment(cue: _Cue, kind: str, data: dict[str, Any], ids: Ids) -> Fragment | None:
    """Make the fragment of a cue; None for one without text.

    Raises:
        ManifestError: Its times cannot be read, or it is no fragment.
    """
    try:
        from pysubs2 import SSAFile
    except ImportError as error:
        raise MissingExtraError("to read subtitles, install the extra: pip install 'dialect-asr[annotate]'") from error
    # On one line: pysubs2 would take a last line that is a number for that of the next cue.
    block = f"{cue.times}\n{' '.join(cue.text)}"
    events = SSAFile.from_string(block, format_=kind, keep_unknown_html_tags=False).events
    if not events:
        form = "00:00:01,000 --> 00:00:02,500" if kind == "srt" else "00:00:01.000 --> 00:00:02.500"
        raise ManifestError(f"the times of this cue cannot be read; write them like {form}")
    start, end = events[0].start / 1000, events[0].end / 1000
    if end <= start:
        raise ManifestError(f"the cue ends at {end:g} s, not after its start at {start:g} s")
    text = events[0].plaintext
    text = " ".join((html.unescape(text) if kind == "vtt" else text).split())
    if not text:
        return None
    voices = set(_VOICE.findall(block)) if kind == "vtt" else set()
    if len(voices) == 1:
        data.setdefault("speaker", html.unescape(voices.pop()).strip())
    return Fragment.from_dict(
        data | {"id": ids.make(start), "text": text, "start": start, "duration": round(end - start, 9)}
    )
