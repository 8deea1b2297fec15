"""Wit's message, by its documented shape."""

import json
from typing import Any

import jsonschema
import pytest

from asr.intent.adapters.wit import message
from asr.intent.event import UtteranceEvent
from asr.intent.model import Intent

CONFIDENCE = {"type": "number", "minimum": 0, "maximum": 1}
TRAIT = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "value": {"type": "string"}, "confidence": CONFIDENCE},
    "required": ["id", "value", "confidence"],
    "additionalProperties": False,
}
# https://wit.ai/docs/http/20200513 (GET /message, POST /speech); docs.rs/wit_ai_rs for speech and its tokens, whose
# times are whole milliseconds (u64).
SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "intents": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "name": {"type": "string"}, "confidence": CONFIDENCE},
                "required": ["id", "name", "confidence"],
                "additionalProperties": False,
            },
        },
        "entities": {"type": "object"},
        "traits": {"type": "object", "additionalProperties": {"type": "array", "items": TRAIT, "minItems": 1}},
        "is_final": {"type": "boolean"},
        "speech": {
            "type": "object",
            "properties": {
                "confidence": CONFIDENCE,
                "tokens": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "token": {"type": "string"},
                            "start": {"type": "integer", "minimum": 0},
                            "end": {"type": "integer", "minimum": 0},
                            "confidence": CONFIDENCE,
                        },
                        "required": ["token", "start", "end", "confidence"],
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["confidence", "tokens"],
            "additionalProperties": False,
        },
    },
    "required": ["text", "intents", "entities", "traits"],
    "additionalProperties": False,
}


def check(told: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(told, allow_nan=False)))


def test_a_whole_message(said: UtteranceEvent, intent: Intent) -> None:
    told = message(said, intent)
    check(told)
    assert told["intents"][0] == {"id": "ask_price", "name": "ask_price", "confidence": 0.8125}
    assert told["traits"]["dialect"] == [{"id": "fr-CA", "value": "fr-CA", "confidence": 0.75}]
    assert told["traits"]["intonation"] == [{"id": "question", "value": "question", "confidence": 0.875}]
    assert told["speech"]["tokens"][2] == {"token": "cher", "start": 500, "end": 911, "confidence": 1.0}
    assert told["speech"]["confidence"] == 0.75


def test_a_statement_is_as_sure_as_it_is_no_question(said: UtteranceEvent) -> None:
    stated = said.model_copy(update={"intonation": "statement"})
    assert message(stated)["traits"]["intonation"][0]["confidence"] == 0.125


def test_a_dialect_that_was_given_is_certain(said: UtteranceEvent) -> None:
    assert message(said.model_copy(update={"dialect_confidence": None}))["traits"]["dialect"][0]["confidence"] == 1.0


def test_out_of_scope_is_no_intent(said: UtteranceEvent, unsure: Intent) -> None:
    assert message(said, unsure)["intents"] == message(said)["intents"] == []


def test_awkward_utterances(awkward: UtteranceEvent, intent: Intent, request: pytest.FixtureRequest) -> None:
    told = message(awkward, intent if awkward.heard else None)
    check(told)
    case = request.node.callspec.params["awkward"]
    if case == "unknown":
        assert [told["traits"][name][0]["confidence"] for name in ("dialect", "intonation")] == [0.0, 0.0]
    if case in ("bare", "empty"):
        assert "speech" not in told
    if case == "bare":
        assert told["traits"] == {}
