"""The event of a Lex bot, by its documented shape."""

import json
from typing import Any

import jsonschema
import pytest

from asr.intent.adapters.lex import FALLBACK, Bot, lambda_event, transcriptions
from asr.intent.event import UtteranceEvent
from asr.intent.model import Intent

BOT = Bot("ABCDEFGHIJ", "Shop", "fr_CA")
STRING, NUMBER = {"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1}
STRINGS = {"type": "object", "additionalProperties": STRING}


def closed(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = sorted(properties.keys() - set(optional))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# https://docs.aws.amazon.com/lexv2/latest/dg/lambda-input-format.html; what may be left out there and is not ours to
# tell (proposedNextState, invocationLabel, sentimentResponse) is left out here.
INTENT = closed(
    {
        "name": STRING,
        "slots": {"type": "object"},
        "state": {
            "enum": ["Failed", "Fulfilled", "FulfillmentInProgress", "InProgress", "ReadyForFulfillment", "Waiting"]
        },
        "confirmationState": {"enum": ["Confirmed", "Denied", "None"]},
    }
)
SCHEMA = closed(
    {
        "messageVersion": {"const": "1.0"},
        "invocationSource": {"enum": ["DialogCodeHook", "FulfillmentCodeHook"]},
        "inputMode": {"enum": ["DTMF", "Speech", "Text"]},
        "responseContentType": {"enum": ["audio/mpeg", "audio/ogg", "audio/pcm", "text/plain; charset=utf-8"]},
        "sessionId": STRING,
        "inputTranscript": STRING,
        "bot": closed(dict.fromkeys(("id", "name", "localeId", "version", "aliasId", "aliasName"), STRING)),
        "interpretations": {
            "type": "array",
            "minItems": 1,
            "items": closed(
                {"interpretationSource": {"enum": ["Bedrock", "Lex"]}, "intent": INTENT, "nluConfidence": NUMBER},
                "nluConfidence",
            ),
        },
        "requestAttributes": STRINGS,
        "sessionState": closed({"intent": INTENT, "sessionAttributes": STRINGS, "originatingRequestId": STRING}),
        "transcriptions": {
            "type": "array",
            "items": closed(
                {
                    "transcription": STRING,
                    "transcriptionConfidence": NUMBER,
                    "resolvedContext": closed({"intent": STRING}),
                    "resolvedSlots": {"type": "object"},
                }
            ),
        },
    }
)


def check(told: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(told, allow_nan=False)))


def test_hypotheses_share_the_probability(said: UtteranceEvent, intent: Intent) -> None:
    best, other = transcriptions(said, intent)
    assert best["transcription"] == "C'est pas cher ?" and best["resolvedContext"] == {"intent": "ask_price"}
    # Log-probabilities apart by ln 3.
    assert best["transcriptionConfidence"] == pytest.approx(0.75)
    assert other["transcriptionConfidence"] == pytest.approx(0.25)
    assert other["resolvedContext"] == {"intent": FALLBACK}


def test_a_hypothesis_alone_has_the_mean_probability_of_its_tokens(said: UtteranceEvent) -> None:
    alone = said.model_copy(update={"nbest": ()})
    assert transcriptions(alone)[0]["transcriptionConfidence"] == pytest.approx(0.6065, abs=1e-4)
    assert transcriptions(alone.model_copy(update={"quality": None}))[0]["transcriptionConfidence"] == 0.0


def test_hypotheses_that_are_hardly_possible_still_sum_to_one(said: UtteranceEvent) -> None:
    far = [one.model_copy(update={"log_probability": one.log_probability - 5000}) for one in said.nbest]
    assert sum(one["transcriptionConfidence"] for one in transcriptions(said.model_copy(update={"nbest": far}))) == 1.0


def test_a_whole_event(said: UtteranceEvent, intent: Intent) -> None:
    told = lambda_event(said, BOT, intent)
    check(told)
    assert told["sessionState"]["intent"]["name"] == "ask_price" == told["interpretations"][0]["intent"]["name"]
    assert told["interpretations"][1]["intent"]["name"] == "travel"
    assert told["requestAttributes"]["dialect"] == "fr-CA" and told["sessionId"] == "call-7"
    assert told["requestAttributes"]["questionProbability"] == "0.875"


def test_awkward_utterances(awkward: UtteranceEvent, unsure: Intent) -> None:
    for told in (lambda_event(awkward, BOT), lambda_event(awkward, BOT, unsure)):
        check(told)
        assert told["sessionState"]["intent"]["name"] == FALLBACK
        assert len(told["transcriptions"]) == awkward.heard
