"""Rasa's messages, by its own OpenAPI document and its own pattern of a message that is its result."""

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from asr.errors import ConfigError
from asr.intent.adapters.rasa import parse_request, tracker_message, webhook_message
from asr.intent.event import UtteranceEvent
from asr.intent.model import Intent

# From components.schemas of RasaHQ/rasa, docs/static/spec/rasa.yml; nothing further is allowed, so that a misspelt key
# is found.
INTENT = {
    "type": "object",
    "properties": {"confidence": {"type": "number"}, "name": {"type": "string"}},
    "required": ["confidence", "name"],
    "additionalProperties": False,
}
ENTITY = {
    "type": "object",
    "properties": {
        "start": {"type": "integer"},
        "end": {"type": "integer"},
        "value": {"type": "string"},
        "entity": {"type": "string"},
        "confidence": {"type": "number"},
    },
    "required": ["start", "end", "value", "entity"],
}
PARSE_RESULT = {
    "type": "object",
    "properties": {
        "entities": {"type": "array", "items": ENTITY},
        "intent": INTENT,
        "intent_ranking": {"type": "array", "items": INTENT},
        "text": {"type": "string"},
    },
    "required": ["text"],
    "additionalProperties": False,
}
MESSAGE = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "sender": {"enum": ["user"]}, "parse_data": PARSE_RESULT},
    "required": ["text", "sender"],
    "additionalProperties": False,
}
# The request body of /model/parse there.
PARSE_REQUEST = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "message_id": {"type": "string"}},
    "additionalProperties": False,
}
# What rasa/core/channels/rest.py reads of a request.
WEBHOOK = {
    "type": "object",
    "properties": {
        "sender": {"type": "string", "minLength": 1},
        "message": {"type": "string"},
        "input_channel": {"type": "string"},
        "metadata": {"type": "object"},
    },
    "required": ["sender", "message"],
    "additionalProperties": False,
}
# _regex_message_pattern of rasa/shared/core/training_data/story_reader/yaml_story_reader.py.
RESULT = re.compile(r"^/(?P<name>[^{@]+)(?P<confidence>@[0-9.]+)?(?P<entities>{.+})?(?P<rest>.*)")


def check(message: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(message, allow_nan=False)))


def test_a_question_to_its_nlu(said: UtteranceEvent) -> None:
    assert parse_request(said) == {"text": "C'est pas cher ?", "message_id": "e1"}
    check(parse_request(said), PARSE_REQUEST)


def test_a_message_brings_its_result(said: UtteranceEvent, intent: Intent) -> None:
    message = webhook_message(said, intent)
    check(message, WEBHOOK)
    check(message["metadata"]["parse_data"], PARSE_RESULT)
    found = RESULT.match(message["message"])
    assert found is not None and found["name"] == "ask_price" and found["rest"] == "" and found["entities"] is None
    assert float(found["confidence"][1:]) == 0.8125
    assert message["sender"] == "call-7" and message["metadata"]["utterance"]["dialect"] == "fr-CA"
    assert webhook_message(said)["message"] == said.text and "parse_data" not in webhook_message(said)["metadata"]
    # Written as a decimal, however small: the pattern knows no exponents.
    assert webhook_message(said, replace(intent, confidence=1e-7))["message"] == "/ask_price@0.000000"


def test_a_message_for_the_tracker_is_not_parsed_again(said: UtteranceEvent, intent: Intent) -> None:
    message = tracker_message(said, intent)
    check(message, MESSAGE)
    assert message["parse_data"]["intent_ranking"][1] == {"name": "travel", "confidence": 1e-7}


@pytest.mark.parametrize("name", ["a/b@c", "{x}", "", "/x", " x", "a\nb"])
def test_a_name_that_would_be_cut_is_refused(said: UtteranceEvent, intent: Intent, name: str) -> None:
    with pytest.raises(ConfigError, match="intent name"):
        webhook_message(said, replace(intent, name=name))


def test_awkward_utterances(awkward: UtteranceEvent, unsure: Intent) -> None:
    check(parse_request(awkward), PARSE_REQUEST)
    for message in (webhook_message(awkward), webhook_message(awkward, unsure)):
        check(message, WEBHOOK)
    check(tracker_message(awkward, unsure), MESSAGE)
    # Nobody commands the assistant by what is taken for a slash.
    for text in (parse_request(awkward)["text"], webhook_message(awkward)["message"]):
        assert RESULT.match(text.strip()) is None
