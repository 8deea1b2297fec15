"""From transcripts to intents: the event's own words and consent are what is understood."""

from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import pytest

from asr import Transcriber
from asr.errors import AsrError
from asr.fragment import Consent, Fragment
from asr.inference.decoding import DecodeOptions
from asr.inference.understanding import understand
from asr.intent.event import read_event
from asr.intent.model import IntentModel, reference_intent_model
from asr.intent.training import Example, IntentOptions, train_intent_model
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.network import DialectWhisper
from asr.transcript import Transcript, Word

TEXTS = {
    "weather": (
        "will it rain tomorrow?",
        "is it cold outside?",
        "how hot is it?",
        "do i need an umbrella?",
        "any snow?",
    ),
    "music": (
        "play some jazz.",
        "put on a song.",
        "i want to hear music.",
        "play the next track.",
        "start my playlist.",
    ),
}


@pytest.fixture(scope="module")
def intents() -> IntentModel:
    learnt = [Example(text, intent, "en") for intent, texts in TEXTS.items() for text in texts]
    return train_intent_model(learnt, IntentOptions(buckets=64))


def heard(text: str, **changes: object) -> Transcript:
    given = {"id": "f1", "text": text, "language": "en", "dialect": None, "duration": 1.0, "segments": ()}
    return Transcript(**(given | changes))  # type: ignore[arg-type]


def test_the_event_is_what_is_understood(intents: IntentModel) -> None:
    words = tuple(Word(word, 0.1 * at, 0.1 * at + 0.1, 0.9) for at, word in enumerate(["play", "some", "jazz"]))
    understood = understand(heard("play some jazz", words=words), intents)
    assert understood.intent == intents.predict("play some jazz", language="en")
    assert understood.intent.name == "music"
    plain = json.loads(json.dumps(understood.to_dict()))
    intent = plain.pop("intent")
    assert read_event(plain) == understood.event
    assert (intent["name"], intent["confidence"]) == ("music", understood.intent.confidence)


def test_the_standard_rendering_is_understood_where_there_is_one(intents: IntentModel) -> None:
    dialect = understand(heard("spiel mer a bissl jazz", text_standard="play some jazz"), intents)
    assert dialect.intent.scores == intents.predict("play some jazz", language="en").scores


def test_nothing_heard_is_out_of_scope(intents: IntentModel) -> None:
    assert understand(heard(""), intents).intent.reason == "no words"


def test_purposes_are_those_that_hold_today_and_of_the_fragment_itself(intents: IntentModel) -> None:
    given = Consent(id="form", purposes=("offer", "training"))
    fragment = Fragment(id="f1", audio="a.wav", text="", language="en", speaker="s1", consent=given)
    assert understand(heard("play"), intents, fragment).event.purposes == ("offer", "training")
    ended = given.model_copy(update={"expires": date.today() - timedelta(days=2)})
    assert understand(heard("play"), intents, fragment.replace(consent=ended)).event.purposes == ()
    assert understand(heard("play"), intents).event.purposes == ()
    with pytest.raises(AsrError, match="another fragment"):
        understand(heard("play"), intents, fragment.replace(id="f2"))


def test_a_transcriber_understands_what_it_transcribes(model: DialectWhisper, intents: IntentModel) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    checkpoint = Checkpoint(model, CheckpointInfo(base_model="tiny"))
    transcriber = Transcriber(checkpoint, options=DecodeOptions(max_tokens=8), speech=None)
    understood = transcriber.understand(samples, intents, language="en")
    assert understood.transcript == transcriber.transcribe(samples, language="en")
    assert understood.intent == intents.predict(understood.event)
    reference = transcriber.understand(samples, language="en").intent
    assert reference == reference_intent_model().predict(understood.event)


def test_personal_data_is_told_where_it_is_looked_for(intents: IntentModel) -> None:
    text = "my number is 514 555 0199"
    (found,) = understand(heard(text), intents).event.pii or ()
    assert "514" in text[found.start : found.end]
    assert understand(heard("play jazz"), intents).event.pii == ()
    assert understand(heard("toca jazz", language="es"), intents).event.pii is None
