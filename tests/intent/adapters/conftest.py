"""Utterances and intents that every adapter is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr.intent.event import Hypothesis, UtteranceEvent, event_of
from asr.intent.model import Intent
from asr.transcript import Segment, Transcript, Word

SAID = Transcript(
    id="a",
    text="C'est pas cher ?",
    language="fr",
    dialect="fr-CA",
    duration=2.0,
    segments=(Segment(0.0, 2.0, "C'est pas cher ?", -0.5, 0.01, 0.9),),
    dialect_scores={"fr-CA": 0.75, "fr-FR": 0.25},
    intonation="question",
    intonation_scores={"question": 0.875, "statement": 0.125},
    words=(Word("C'est", 0.0, 0.3, 0.5), Word("pas", 0.3, 0.5, 0.75), Word("cher", 0.5004, 0.9114, 1.0)),
)
AWKWARD = {
    "bare": replace(SAID, dialect=None, dialect_scores={}, intonation=None, intonation_scores={}, words=()),
    "unknown": replace(SAID, language="xx", dialect="unknown", dialect_scores={}, intonation="unknown"),
    "empty": replace(SAID, text="", segments=(), words=()),
    "music": replace(SAID, text="[Musique] ♪", words=()),
    "markup": replace(SAID, text='/restart{"a": 1} <script>alert(1)</script> & {name}\x00\x1b\n"'),
    "long": replace(SAID, text="je veux partir en mai " * 2000),
}


@pytest.fixture
def said() -> UtteranceEvent:
    hypotheses = [
        Hypothesis(text="C'est pas cher ?", log_probability=-1.0),
        Hypothesis(text="Ces pas chers ?", log_probability=-1.0 - 1.0986122886681098),
    ]
    return event_of(SAID, nbest=hypotheses, conversation="call-7", id="e1")


@pytest.fixture(params=AWKWARD)
def awkward(request: pytest.FixtureRequest) -> UtteranceEvent:
    return event_of(AWKWARD[request.param])


@pytest.fixture
def intent() -> Intent:
    return Intent("ask_price", 0.8125, (("ask_price", 0.8125), ("travel", 0.0000001)), True)


@pytest.fixture
def unsure() -> Intent:
    return Intent("out_of_scope", 0.25, (("ask_price", 0.25),), False, reason="unsure")
