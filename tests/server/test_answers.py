"""Every form against its outside truth: OpenAI's own types, a parser of subtitles."""

from __future__ import annotations

import json
from dataclasses import replace

import pysubs2
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose

from asr.server.answers import FORMATS, answer, event
from asr.transcript import Segment, Transcript, Word

SEGMENTS = (Segment(0.5, 2.25, "Bonjour là", -0.3, 0.01, 0.9), Segment(3.0, 4.0, "ça va ?", -0.4, 0.02, 0.8))
TRANSCRIPT = Transcript(
    "secret name.wav",
    "Bonjour là ça va ?",
    "fr",
    "fr-CA",
    4.5,
    SEGMENTS,
    dialect_scores={"fr-CA": 0.9, "fr-FR": 0.1},
    intonation="question",
    words=(Word("Bonjour", 0.5, 1.0, 0.75), Word("là", 1.0, 2.25, 0.5, 1.5)),
    emphasis=(1,),
)


def test_json_is_openai_s() -> None:
    body, kind = answer(TRANSCRIPT, "json", words=False, segments=True)
    read = Transcription.model_validate_json(body)
    assert (read.text, kind) == (TRANSCRIPT.text, "application/json")
    assert read.usage is not None and read.usage.type == "duration" and read.usage.seconds == 4.5


def test_verbose_json_is_openai_s_and_has_our_keys() -> None:
    body, _ = answer(TRANSCRIPT, "verbose_json", words=True, segments=True)
    read = TranscriptionVerbose.model_validate_json(body)
    assert (read.language, read.duration, read.text) == ("french", 4.5, TRANSCRIPT.text)
    assert [(one.start, one.end, one.text) for one in read.segments or ()] == [
        (one.start, one.end, one.text) for one in SEGMENTS
    ]
    assert [(one.word, one.start, one.end) for one in read.words or ()] == [("Bonjour", 0.5, 1.0), ("là", 1.0, 2.25)]
    ours = json.loads(body)
    assert ours["dialect"] == "fr-CA" and ours["dialect_confidence"] == 0.9 and ours["language_code"] == "fr"
    assert ours["intonation"] == "question" and ours["emphasis"] == [1]
    assert ours["words"][1]["probability"] == 0.5 and ours["words"][1]["prominence"] == 1.5
    assert "secret" not in body


def test_granularities_leave_out() -> None:
    body, _ = answer(TRANSCRIPT, "verbose_json", words=False, segments=False)
    assert not {"words", "segments"} & set(json.loads(body))


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_what_another_reads(form: str) -> None:
    body, kind = answer(TRANSCRIPT, form, words=False, segments=True)
    read = pysubs2.SSAFile.from_string(body, form)
    assert [(one.start, one.end, one.plaintext) for one in read] == [
        (500, 2250, "Bonjour là"),
        (3000, 4000, "ça va ?"),
    ]
    assert ("vtt" in kind) == (form == "vtt")


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_heard_has_every_form(form: str) -> None:
    body, _ = answer(replace(TRANSCRIPT, text="", segments=(), words=()), form, words=True, segments=True)
    assert "Bonjour" not in body


def test_an_event_is_one_event_whatever_was_said() -> None:
    lines = event({"type": "transcript.text.delta", "delta": "one\n\ndata: two\r"}).split("\n")
    assert lines[0] == "event: transcript.text.delta" and lines[2:] == ["", ""]
    assert json.loads(lines[1].removeprefix("data: "))["delta"] == "one\n\ndata: two\r"
