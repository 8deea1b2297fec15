"""A transcript is a plain, frozen value."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from asr.fragment import Expression
from asr.transcript import Segment, Transcript, Word

SEGMENT = Segment(0.5, 1.25, "septante", -0.2, 0.01, 1.1)
TRANSCRIPT = Transcript("a", "septante", "fr", None, 2.0, (SEGMENT,))


def test_it_becomes_plain_json() -> None:
    data = json.loads(json.dumps(TRANSCRIPT.to_dict()))
    assert data["segments"] == [
        {
            "start": 0.5,
            "end": 1.25,
            "text": "septante",
            "avg_logprob": -0.2,
            "no_speech_prob": 0.01,
            "compression_ratio": 1.1,
            "text_standard": None,
            "intonation": None,
            "intonation_scores": {},
            "tune": None,
            "punctuation": None,
            "fallbacks": [],
            "hypotheses": [],
        }
    ]
    assert (data["id"], data["dialect"], data["duration"]) == ("a", None, 2.0)


def test_expressions_become_plain_json_too() -> None:
    assert (TRANSCRIPT.to_dict()["expressions"], TRANSCRIPT.to_dict()["text_standard"]) == ([], None)
    expression = Expression(text="septante", standard="soixante-dix", start_word=0)
    annotated = replace(TRANSCRIPT, expressions=(expression,), text_standard="soixante-dix")
    data = json.loads(json.dumps(annotated.to_dict()))
    assert data["expressions"] == [{"text": "septante", "standard": "soixante-dix", "start_word": 0}]
    assert data["text_standard"] == "soixante-dix"


def test_a_transcript_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TRANSCRIPT.dialect = "fr-BE"  # type: ignore[misc]


def test_words_become_plain_json_too() -> None:
    assert (TRANSCRIPT.to_dict()["words"], TRANSCRIPT.to_dict()["emphasis"]) == ((), ())
    worded = replace(TRANSCRIPT, words=(Word("septante", 0.5, 1.25, 0.8, 1.5),), emphasis=(0,))
    data = json.loads(json.dumps(worded.to_dict()))
    (word,) = data["words"]
    assert word == {
        "text": "septante",
        "start": 0.5,
        "end": 1.25,
        "probability": 0.8,
        "prominence": 1.5,
        "alternatives": [],
    }
    assert data["emphasis"] == [0]
