"""Fragments of every kind, and the way out of a manifest and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from asr.exporters import EXPORTERS
from asr.exporters.convert import convert_manifest
from asr.fragment import Fragment, write_manifest
from asr.importers import IMPORTERS, Row
from asr.importers.intake import read_source

# Seconds, of every recording made here.
LENGTH = 2.0
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
token = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
label = st.none() | token
json_value = st.none() | st.booleans() | st.integers(-9, 9) | text | st.lists(text, max_size=2)
milliseconds = st.integers(0, 900).map(lambda number: number / 1000)


@st.composite
def fragments(draw: st.DrawFn, id_: str) -> Fragment:
    """Draw a fragment with any of its fields; its gender is its speaker's."""
    start = draw(milliseconds)
    speaker = draw(label)
    return Fragment(
        id=id_,
        audio="a.wav",
        text=draw(text),
        language=draw(st.sampled_from(["fr", "en", "de"])),
        start=start,
        duration=draw(st.none() | st.integers(100, 1000).map(lambda number: number / 1000)),
        dialect=draw(st.sampled_from([None, "fr-CA", "en-GB-x-cumbria"])),
        text_standard=draw(label),
        speaker=speaker,
        gender=None if speaker is None else ("male", "female", "other")[len(speaker) % 3],
        age_band=draw(st.sampled_from([None, "20-29", "90-99"])),
        intonation=draw(label),
        tune=draw(label),
        emphasis=tuple(draw(st.lists(st.integers(0, 3), max_size=2))),
        words=tuple(
            {"text": word, "start": start + 0.001 * number, "duration": 0.05}
            for number, word in enumerate(draw(st.lists(token, max_size=3)))
        ),
        expressions=tuple({"text": word, "standard": "x"} for word in draw(st.lists(token, max_size=1))),
        conversation=draw(label),
        corpus=draw(label),
        split=draw(label),
        consent=draw(st.none() | st.just({"id": "c", "purposes": ("training",), "granted": "2024-01-31"})),
        licence=draw(label),
        annotator=draw(label),
        custom=draw(st.dictionaries(token.map(lambda key: f"x{key}"), json_value, max_size=2)),
    )


_CORPORA = st.lists(token, unique=True, min_size=1, max_size=4).flatmap(
    lambda ids: st.tuples(*(fragments(id_) for id_ in sorted(ids)))
)


@pytest.fixture(scope="session")
def corpora() -> st.SearchStrategy[tuple[Fragment, ...]]:
    """Draws up to four fragments, sorted by their ids."""
    return _CORPORA


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, np.zeros(round(8000 * LENGTH), np.float32), 8000)
    return path


@pytest.fixture(scope="session")
def trip(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Row]]:
    """Write fragments as a manifest, convert it, import what came of it."""

    def go(name: str, given: tuple[Fragment, ...], suffix: str = "") -> list[Row]:
        folder = tmp_path_factory.mktemp("trip")
        write_manifest((item.replace(audio=str(recording)) for item in given), folder / "m.jsonl")
        output = folder / f"out{suffix}"
        report = convert_manifest(folder / "m.jsonl", output, name, EXPORTERS[name].options())
        assert report.fragments + report.faults.count == len(given)
        options = IMPORTERS[name].options
        wide = {} if name == "common_voice" else {"audio_root": str(recording.parent)}
        return list(read_source(name, options(**wide), output))

    return go
