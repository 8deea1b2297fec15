"""Takes a speaker out of annotation with times: subtitles, Praat's TextGrid, ELAN's eaf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from asr.errors import ManifestError
from asr.privacy.facts import open_bytes
from asr.privacy.traces import Names, Span, overlaps

CUES = (".srt", ".vtt")
# Annotation of a day of speech is smaller by far.
_MAX_BYTES = 64 * 2**20

_TIME = re.compile(r"(?:(\d+):)?(\d+):(\d+)[.,](\d+)\s*-->\s*(?:(\d+):)?(\d+):(\d+)[.,](\d+)")
_LABEL = re.compile(
    r"(?P<head>(?:xmin|number|time)\s*=\s*(?P<start>[\d.]+)\s+(?:xmax\s*=\s*(?P<end>[\d.]+)\s+)?(?:text|mark)\s*=\s*)"
    r'"(?P<text>(?:[^"]|"")*)"'
)


@dataclass(slots=True)
class Counts:
    """What became of the records of a file: kept as they are, kept in part, or gone."""

    kept: int = 0
    changed: int = 0
    gone: int = 0

    @property
    def touched(self) -> bool:
        """Whether the file is another one now."""
        return bool(self.changed or self.gone)

    @property
    def empty(self) -> bool:
        """Whether nothing of it is left."""
        return self.gone > 0 and not self.kept and not self.changed


def strip_cues(path: Path, spans: tuple[Span, ...], names: Names, counts: Counts) -> Iterator[bytes]:
    """Yield a subtitle file without the cues that overlap with some spans, or name the speaker."""
    text = _read(path)
    for block in re.split(r"(?<=\n)\s*\n", text.replace("\r\n", "\n")):
        found = _TIME.search(block)
        if names.mentions(block) or (found and overlaps(*_cue_span(found), spans)):
            counts.gone += 1
        elif block.strip():
            counts.kept += found is not None
            yield f"{block.rstrip()}\n\n".encode("utf-8", "surrogateescape")


def _cue_span(found: re.Match[str]) -> Span:
    numbers = [int(part or 0) for part in found.groups()]
    return _seconds(numbers[:4]), _seconds(numbers[4:])


def _seconds(parts: list[int]) -> float:
    hours, minutes, seconds, milliseconds = parts
    return 3600 * hours + 60 * minutes + seconds + milliseconds / 1000


def strip_textgrid(path: Path, spans: tuple[Span, ...], names: Names, counts: Counts) -> Iterator[bytes]:
    """Yield a TextGrid in which labels that overlap with some spans, or name the speaker, are empty.

    Raises:
        ManifestError: It is written in Praat's short or binary form.
    """
    with open_bytes(path) as handle:
        utf16 = handle.read(2) in (b"\xff\xfe", b"\xfe\xff")
    text = _read(path)
    if "xmin" not in text:
        raise ManifestError("only TextGrids in Praat's long text form can be taken apart; save it as text", path)

    def emptied(found: re.Match[str]) -> str:
        start = float(found["start"])
        end = start if found["end"] is None else float(found["end"])
        if not found["text"].strip():
            return found[0]
        inside = any(since <= start <= (until or start) for since, until in spans)
        if names.mentions(found["text"]) or overlaps(start, end, spans) or (end == start and inside):
            counts.gone += 1
            return f'{found["head"]}""'
        counts.kept += 1
        return found[0]

    stripped = _LABEL.sub(emptied, text)
    # A tier may bear the speaker's name.
    stripped, renamed = re.subn(
        r'(?<=name = )"(?:[^"]|"")*"', lambda found: '"erased"' if names.mentions(found[0]) else found[0], stripped
    )
    counts.changed += stripped != text and not counts.gone and bool(renamed)
    yield stripped.encode("utf-16") if utf16 else stripped.encode("utf-8", "surrogateescape")


def strip_eaf(path: Path, spans: tuple[Span, ...], names: Names, counts: Counts) -> Iterator[bytes]:
    """Yield an ELAN file without the tiers of the speaker, and with annotations that overlap with some spans empty.

    Raises:
        ManifestError: It is no XML, or declares entities.
    """
    text = _read(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ManifestError("an ELAN file declares no entities; this one does and is not read", path)
    try:
        root = ElementTree.fromstring(text.encode("utf-8", "replace"))
    except ElementTree.ParseError as error:
        raise ManifestError(f"the ELAN file is damaged: {error}", path) from None
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "0")) / 1000 for slot in root.iter("TIME_SLOT")}
    emptied: set[str | None] = set()
    for tier in root.findall("TIER"):
        theirs = any(names.mentions(value) or value in names.exact for value in tier.attrib.values())
        for annotation in tier.iter():
            if annotation.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                continue
            value = annotation.find("ANNOTATION_VALUE")
            start, end = (times.get(annotation.get(f"TIME_SLOT_REF{number}"), 0.0) for number in (1, 2))
            inside = annotation.get("ANNOTATION_REF") in emptied or overlaps(start, end, spans)
            if theirs or inside or (value is not None and names.mentions(value.text or "")):
                emptied.add(annotation.get("ANNOTATION_ID"))
                counts.gone += value is not None and bool(value.text)
                if value is not None:
                    value.text = ""
            else:
                counts.kept += 1
        if theirs:
            # Other tiers may hang on this one, so it stays, empty and without a name.
            before = tier.get("TIER_ID")
            for other in root.findall("TIER"):
                for key in ("TIER_ID", "PARENT_REF"):
                    if other.get(key) == before:
                        other.set(key, "erased")
            for key in ("PARTICIPANT", "ANNOTATOR"):
                tier.attrib.pop(key, None)
            counts.changed += 1
    for element in root.iter():
        for key, given in list(element.attrib.items()):
            if names.mentions(given):
                del element.attrib[key]
                counts.changed += 1
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "utf-8") + b"\n"


def _read(path: Path) -> str:
    with open_bytes(path) as handle:
        data = handle.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ManifestError(f"the file is larger than {_MAX_BYTES // 2**20} MiB; no annotation is", path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "surrogateescape")
