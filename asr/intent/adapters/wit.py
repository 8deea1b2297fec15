"""Wit.ai: the message that its ``POST /speech`` answers with, dialect and intonation as traits.

Source: https://wit.ai/docs/http/20200513 (``GET /message``, ``POST /speech``); for the tokens of ``speech``, which that
page leaves out, https://docs.rs/wit_ai_rs (``speech.rs``, ``dictation.rs``). Wit numbers its intents and traits; here
the name is the id.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from asr.intent.event import UtteranceEvent
from asr.transcript import UNKNOWN

if TYPE_CHECKING:
    from asr.intent.model import Intent


def message(event: UtteranceEvent, intent: Intent | None = None) -> dict[str, Any]:
    """Return the message.

    An utterance without a word has an empty text and no intent, as Wit answers to silence. ``speech`` is there where
    words have a confidence.

    Args:
        event: The utterance.
        intent: What it asks for; out of scope it is none, as in Wit.
    """
    told: dict[str, Any] = {
        "text": event.text,
        "intents": [],
        "entities": {},
        "traits": {},
        "is_final": True,
    }
    if intent is not None and intent.in_scope:
        told["intents"] = [{"id": name, "name": name, "confidence": chance} for name, chance in intent.scores]
    if event.dialect is not None:
        # One that was given, and not heard, is certain.
        confidence = 1.0 if event.dialect_confidence is None else event.dialect_confidence
        told["traits"]["dialect"] = _trait(event.dialect, confidence)
    if event.intonation is not None:
        told["traits"]["intonation"] = _trait(event.intonation, _sureness(event.intonation, event.p_question))
    sure = [(word, word.confidence) for word in event.words if word.confidence is not None]
    if sure:
        told["speech"] = {
            "confidence": fmean(confidence for _, confidence in sure),
            "tokens": [
                {
                    "token": word.text,
                    "start": round(word.start * 1000),
                    "end": round(word.end * 1000),
                    "confidence": confidence,
                }
                for word, confidence in sure
            ],
        }
    return told


def _trait(value: str, confidence: float) -> list[dict[str, Any]]:
    return [{"id": value, "value": value, "confidence": confidence}]


def _sureness(intonation: str, p_question: float | None) -> float:
    """How sure it is that the utterance asks, or that it does not: more is not known of the other sentence types."""
    if p_question is None or intonation == UNKNOWN:
        return 0.0
    return p_question if intonation == "question" else 1.0 - p_question
