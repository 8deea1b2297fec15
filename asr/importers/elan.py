"""Imports ELAN annotation files (``.eaf``), each beside its recording.

A file is XML from anybody: defusedxml reads it, which refuses entities and document types before they are expanded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError

from asr.errors import ManifestError, MissingExtraError
from asr.fragment import Fragment
from asr.importers.beside import find_files, find_recording, read_bytes
from asr.importers.tiers import Stretch, Tier, TierOptions, tier_fragments


@dataclass(slots=True)
class _Annotation:
    """An annotation before its times are known: those of slots, or of another annotation."""

    text: str
    slots: tuple[str, str] | None = None
    parent: str | None = None


@dataclass(slots=True)
class _File:
    """What an ``.eaf`` holds; times in seconds."""

    media: list[str] = field(default_factory=list)
    slots: dict[str, float] = field(default_factory=dict)
    annotations: dict[str, _Annotation] = field(default_factory=dict)
    tiers: list[tuple[dict[str, str], list[str]]] = field(default_factory=list)


def import_elan(root: Path, options: TierOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of all ``.eaf`` files in a folder: one per annotation that has a text.

    A tier that hangs on another (a translation, a gloss) is not a speaker's unless the options say so.

    Args:
        root: Folder of the corpus.
        options: Speakers and labels of tiers.

    Yields:
        Fragments file by file; an error for an annotation, or a whole file, that cannot be used.

    Raises:
        MissingExtraError: defusedxml is not installed.
    """
    for path in find_files(root, ".eaf"):
        try:
            file = _read(path)
            audio = find_recording(path, root, *file.media)
        except ManifestError as error:
            yield error
            continue
        tiers = []
        for number, (attributes, names) in enumerate(file.tiers, 1):
            stretches = []
            for place, name in enumerate(names, 1):
                annotation = file.annotations[name]
                where = f"annotation {place} of tier {number}"
                times = _times(file, annotation)
                if times is None:
                    yield ManifestError(f"{where} has no time; align it in ELAN, or delete it", path)
                elif annotation.text:
                    stretches.append(Stretch(*times, annotation.text, where))
            tiers.append(
                Tier(
                    attributes.get("TIER_ID", ""),
                    sorted(stretches, key=lambda stretch: stretch.start),
                    attributes.get("PARTICIPANT", "").strip() or None,
                    speaks="PARENT_REF" not in attributes,
                )
            )
        yield from tier_fragments(tiers, path, root, audio, options)


def _read(path: Path) -> _File:
    """Read a file without trusting it.

    Raises:
        ManifestError: It is no ``.eaf``, or is made to do harm.
        MissingExtraError: defusedxml is not installed.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import iterparse
    except ImportError as error:
        raise MissingExtraError("to read ELAN files, install the extra: pip install 'dialect-asr[annotate]'") from error
    file = _File()
    root: Element | None = None
    try:
        for event, element in iterparse(io.BytesIO(read_bytes(path)), ("start", "end"), forbid_dtd=True):
            if root is None:
                root = element
                if root.tag != "ANNOTATION_DOCUMENT":
                    raise ManifestError("the file is XML, but no ELAN annotation document", path)
            if event == "start" and element.tag == "TIER":
                file.tiers.append((dict(element.attrib), []))
            elif event == "end":
                _take(element, file)
                if element.tag in ("TIER", "TIME_ORDER"):
                    root.clear()  # a long file must not stand in memory twice
    except DefusedXmlException as error:
        raise ManifestError(
            "the file declares entities or a document type, which ELAN never does and which can fill the memory or "
            "read other files; it was not opened further",
            path,
        ) from error
    except ParseError as error:
        raise ManifestError("the file is no whole XML; save it again from ELAN", path, error.position[0]) from error
    except (LookupError, ValueError, RecursionError) as error:  # an encoding or a time that nobody knows
        raise ManifestError("the file cannot be read as ELAN writes it; save it again from ELAN", path) from error
    return file


def _take(element: Element, file: _File) -> None:
    """Note what an element says that has just ended."""
    get = element.get
    if element.tag == "MEDIA_DESCRIPTOR":
        names = (get("RELATIVE_MEDIA_URL", ""), urlsplit(get("MEDIA_URL", "")).path)
        file.media += [unquote(name) for name in names if name]
    elif element.tag == "TIME_SLOT" and "TIME_VALUE" in element.attrib:
        file.slots[get("TIME_SLOT_ID", "")] = int(get("TIME_VALUE", "")) / 1000
    elif element.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
        slots = (get("TIME_SLOT_REF1", ""), get("TIME_SLOT_REF2", "")) if "TIME_SLOT_REF1" in element.attrib else None
        text = (element.findtext("ANNOTATION_VALUE") or "").strip()
        # Ids are unique in a sound file; in another one nothing gets lost.
        name = get("ANNOTATION_ID", "")
        while name in file.annotations:
            name += "'"
        file.annotations[name] = _Annotation(text, slots, get("ANNOTATION_REF"))
        if file.tiers:
            file.tiers[-1][1].append(name)
        element.clear()


def _times(file: _File, annotation: _Annotation) -> tuple[float, float] | None:
    """Return start and end, of the annotation that it hangs on if it has none of its own."""
    for _ in range(len(file.annotations)):  # hanging in a ring ends too
        if annotation.slots is not None:
            first, last = (file.slots.get(slot) for slot in annotation.slots)
            return None if first is None or last is None else (first, last)
        if annotation.parent is None or annotation.parent not in file.annotations:
            return None
        annotation = file.annotations[annotation.parent]
    return None
