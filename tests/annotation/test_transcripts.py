"""Transcripts are found under the name that `asr transcribe` gives them, and come back as they were."""

from pathlib import Path

import pytest

from asr.annotation.transcripts import find_transcript
from asr.errors import ManifestError
from asr.fragment import Expression
from asr.transcript import Punctuation, Segment, Transcript, Word
from asr.writers import output_stem, write_transcript

WHOLE = Transcript(
    id="a/b",
    text="Ça fait septante ?",
    language="fr",
    dialect="fr-BE",
    duration=2.0,
    segments=(Segment(0.0, 2.0, "Ça fait septante ?", -0.25, 0.01, 1.0),),
    expressions=(Expression(text="septante", standard="soixante-dix", start_word=2),),
    dialect_scores={"fr-BE": 0.75, "fr-FR": 0.25},
    intonation="question",
    intonation_scores={"question": 0.9, "statement": 0.1},
    punctuation=Punctuation("?", 0.9, 0.8, 0.9),
    words=(Word("Ça", 0.0, 0.5, 0.9, None),),
    emphasis=(0,),
)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    stem = output_stem("a/b", tmp_path)
    assert stem is not None
    write_transcript(WHOLE, stem, ["json"])
    assert find_transcript("a/b", tmp_path) == WHOLE


@pytest.mark.parametrize("name", ["none", "../a", "..", "/", ""])
def test_where_there_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert find_transcript(name, tmp_path / "sub") is None


@pytest.mark.parametrize("text", ["", "[]", '{"id": "a"}', '{"text": "secret words"', '{"segments": 3}'])
def test_a_broken_one_is_named_without_what_was_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ManifestError, match=r"no transcript .*a\.json") as raised:
        find_transcript("a", tmp_path)
    assert "secret" not in str(raised.value)
