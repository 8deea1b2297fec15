"""From a transcript to what it asks for: the event that a text intent layer takes, and the intent model's answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from asr.fragment import Fragment
from asr.intent.event import UtteranceEvent, event_of
from asr.intent.model import Intent, IntentModel
from asr.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Understanding:
    """One utterance, heard and understood.

    Attributes:
        transcript: What was heard.
        event: The same as it is handed on: without ids of ours, and with the purposes that its speaker agreed to.
        intent: What it asks for.
    """

    transcript: Transcript
    event: UtteranceEvent
    intent: Intent

    def to_dict(self) -> dict[str, Any]:
        """Return the event's plain types, and the intent beside them, ready for JSON; the transcript stays here."""
        return self.event.to_dict() | {"intent": asdict(self.intent)}


def understand(transcript: Transcript, intent_model: IntentModel, fragment: Fragment | None = None) -> Understanding:
    """Tell what a transcript asks for.

    Args:
        transcript: What was heard; nothing heard is out of scope.
        intent_model: Tells the intent.
        fragment: What was transcribed: it has the consent.

    Raises:
        AsrError: The fragment is another one.
    """
    event = event_of(transcript, fragment=fragment)
    return Understanding(transcript, event, intent_model.predict(event))
