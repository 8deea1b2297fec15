"""From a transcript to what it asks for: the event that a text intent layer takes, and the intent model's answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from asr.fragment import Fragment
from asr.intent.event import UtteranceEvent, event_of
from asr.intent.model import Intent, IntentModel
from asr.privacy.spoken import spoken_spans
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


def understand_all(
    transcript: Transcript, intent_model: IntentModel, fragment: Fragment | None = None
) -> tuple[Understanding, ...]:
    """Tell what each utterance of a transcript asks for, in order.

    An event is one utterance: what is asked, and in which tone, is a sentence's and not an hour's. So a long recording
    has one for each of its segments, in one conversation.

    Args:
        transcript: Of a recording of any length.
        intent_model: See `understand`.
        fragment: See `understand`.

    Raises:
        AsrError: The fragment is another one.
    """
    utterances = transcript.utterances()
    conversation = None
    if len(utterances) > 1 and (fragment is None or fragment.conversation is None):
        conversation = str(uuid4())
    return tuple(understand(one, intent_model, fragment, conversation) for one in utterances)


def understand(
    transcript: Transcript,
    intent_model: IntentModel,
    fragment: Fragment | None = None,
    conversation: str | None = None,
) -> Understanding:
    """Tell what a transcript asks for.

    Args:
        transcript: What was heard; nothing heard is out of scope.
        intent_model: Tells the intent.
        fragment: What was transcribed: it has the consent.
        conversation: Of the event, in place of the fragment's.

    Raises:
        AsrError: The fragment is another one.
    """
    event = event_of(transcript, fragment=fragment, conversation=conversation, find_pii=spoken_spans)
    return Understanding(transcript, event, intent_model.predict(event))
