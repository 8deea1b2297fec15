"""Exports lhotse cuts: a cut with one supervision per fragment, in lhotse's documented layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from asr.audio import END_TOLERANCE, AudioInfo, probe
from asr.errors import ManifestError
from asr.files import atomic_write, packer
from asr.fragment import Fragment

_DIGITS = 9
# What a supervision has a place for; everything else goes into its custom.
_WORD = {"text", "start", "duration", "score"}
_OWN = ("id", "audio", "text", "language", "speaker", "gender", "start", "duration", "words")


@dataclass(frozen=True, slots=True)
class CutsExportOptions:
    """Options of `export_cuts`: there are none."""


@contextmanager
def export_cuts(output: Path, options: CutsExportOptions) -> Iterator[Callable[[Fragment], None]]:
    """Write cuts; every recording is opened, because lhotse wants to know its length and rate.

    Args:
        output: The file to write (``.jsonl``, ``.jsonl.gz``).
        options: None are needed.

    Yields:
        A function that takes a fragment. It raises AudioError for one whose recording cannot be read, and ManifestError
        for one that ends after it.
    """
    # Fragments of one recording mostly follow each other.
    look = lru_cache(1024)(probe)
    with atomic_write(output, "wb") as raw, packer(output, raw) as handle:

        def write(fragment: Fragment) -> None:
            handle.write(_line(fragment, look))

        yield write


def _line(fragment: Fragment, look: Callable[[str], AudioInfo]) -> bytes:
    info = look(fragment.audio)
    length = round(info.duration - fragment.start, _DIGITS) if fragment.duration is None else fragment.duration
    if length <= 0 or fragment.start + length > info.duration + END_TOLERANCE:
        raise ManifestError("the fragment ends after its recording")
    data = fragment.to_dict()
    own = {name: data.pop(name) for name in _OWN if name in data}
    words = own.get("words", [])
    if any(word.keys() - _WORD for word in words):
        data["words"] = words
    supervision: dict[str, Any] = {
        "id": fragment.id,
        "recording_id": fragment.id,
        "start": 0.0,
        "duration": length,
        "channel": 0,
        **{name: own[name] for name in ("text", "language", "speaker", "gender") if name in own},
        **({"custom": data} if data else {}),
        **({"alignment": {"word": [_aligned(word) for word in words]}} if words else {}),
    }
    cut = {
        "id": fragment.id,
        "start": fragment.start,
        "duration": length,
        "channel": 0,
        "supervisions": [supervision],
        "recording": {
            "id": fragment.id,
            "sources": [{"type": "file", "channels": [*range(info.channels)], "source": fragment.audio}],
            "sampling_rate": info.sample_rate,
            "num_samples": round(info.duration * info.sample_rate),
            "duration": info.duration,
            "channel_ids": [*range(info.channels)],
        },
        "type": "MonoCut",
    }
    try:
        # ASCII: half of a surrogate pair is legal in JSON only as an escape.
        return (json.dumps(cut, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise ManifestError(f"a custom value cannot stand in JSON: {error}") from error


def _aligned(word: dict[str, Any]) -> list[Any]:
    # Times count from the recording's start, in lhotse as here.
    return [word["text"], word["start"], word["duration"], word.get("score")]
