"""Amazon Lex V2: the event that a bot hands to a Lambda function, with the n-best transcriptions.

Source: https://docs.aws.amazon.com/lexv2/latest/dg/lambda-input-format.html. So a function written for a Lex bot takes
our utterances as they come. Dialect, intonation and what else Lex has no field for are request attributes, which are
strings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr.intent.event import UtteranceEvent

if TYPE_CHECKING:
    from asr.intent.model import Intent

# The intent that every Lex bot has for what is none of the others.
FALLBACK = "FallbackIntent"


@dataclass(frozen=True, slots=True)
class Bot:
    """The bot in whose name the function is called.

    Attributes:
        id: As Lex has it, like all the others.
        name: Of the bot.
        locale_id: Such as ``fr_FR`` or ``fr_CA``.
        version: Of the bot.
        alias_id: Of the alias.
        alias_name: Of the alias.
    """

    id: str
    name: str
    locale_id: str
    version: str = "DRAFT"
    alias_id: str = "TSTALIASID"
    alias_name: str = "TestBotAlias"


def transcriptions(event: UtteranceEvent, intent: Intent | None = None) -> list[dict[str, Any]]:
    """Return what was perhaps said, the most probable first; nothing where nobody spoke.

    A confidence is the share of a hypothesis in the probability of all that are told. Of one alone, it is the mean
    probability of its tokens; 0 where that was not measured.

    Args:
        event: The utterance.
        intent: What the first of them asks for.
    """
    if event.nbest:
        best = max(one.log_probability for one in event.nbest)
        weights = [math.exp(one.log_probability - best) for one in event.nbest]
        pairs = [(one.text, weight / sum(weights)) for one, weight in zip(event.nbest, weights, strict=True)]
    elif event.heard:
        mean = None if event.quality is None else event.quality.avg_logprob
        pairs = [(event.text, 0.0 if mean is None else min(math.exp(mean), 1.0))]
    else:
        pairs = []
    return [
        {
            "transcription": text,
            "transcriptionConfidence": confidence,
            "resolvedContext": {"intent": _name(intent) if place == 0 else FALLBACK},
            "resolvedSlots": {},
        }
        for place, (text, confidence) in enumerate(pairs)
    ]


def lambda_event(event: UtteranceEvent, bot: Bot, intent: Intent | None = None) -> dict[str, Any]:
    """Return the event that a Lambda function of a bot takes.

    Args:
        event: The utterance; its conversation is the session, or it is one of its own.
        bot: Which bot hands it over.
        intent: What it asks for; without one, or out of scope, it is `FALLBACK`.
    """
    scores = intent.scores if intent is not None and intent.in_scope else ((FALLBACK, None),)
    resolved = {"name": _name(intent), "slots": {}, "state": "ReadyForFulfillment", "confirmationState": "None"}
    attributes = {
        "dialect": event.dialect,
        "dialectConfidence": event.dialect_confidence,
        "intonation": event.intonation,
        "questionProbability": event.p_question,
        "textStandard": event.text_standard,
    }
    return {
        "messageVersion": "1.0",
        "invocationSource": "FulfillmentCodeHook",
        "inputMode": "Speech",
        "responseContentType": "text/plain; charset=utf-8",
        "sessionId": event.conversation or event.id,
        "inputTranscript": event.text,
        "bot": {
            "id": bot.id,
            "name": bot.name,
            "localeId": bot.locale_id,
            "version": bot.version,
            "aliasId": bot.alias_id,
            "aliasName": bot.alias_name,
        },
        "interpretations": [
            {
                "interpretationSource": "Lex",
                "intent": resolved | {"name": name},
                **({} if confidence is None else {"nluConfidence": confidence}),
            }
            for name, confidence in scores
        ],
        "requestAttributes": {key: str(value) for key, value in attributes.items() if value is not None},
        "sessionState": {"intent": resolved, "sessionAttributes": {}, "originatingRequestId": event.id},
        "transcriptions": transcriptions(event, intent),
    }


def _name(intent: Intent | None) -> str:
    return intent.name if intent is not None and intent.in_scope else FALLBACK
