"""Rasa: a question to its NLU, and messages that bring the answer of ours with them.

Sources: the OpenAPI document of the server, https://github.com/RasaHQ/rasa/blob/main/docs/static/spec/rasa.yml
(``/model/parse``, ``Message``, ``ParseResult``), and the code where the documents say nothing: the REST channel takes
``sender``, ``message``, ``input_channel`` and ``metadata`` and no parse result
(https://github.com/RasaHQ/rasa/blob/main/rasa/core/channels/rest.py); but a message ``/intent@confidence`` is not
given to the NLU, it is its own result (``YAMLStoryReader._regex_message_pattern`` in
https://github.com/RasaHQ/rasa/blob/main/rasa/shared/core/training_data/story_reader/yaml_story_reader.py). What was
said goes beside it as metadata, which the tracker keeps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from asr.errors import ConfigError
from asr.intent.event import UtteranceEvent

if TYPE_CHECKING:
    from asr.intent.model import Intent

_COMMAND = "/"


def parse_request(event: UtteranceEvent) -> dict[str, Any]:
    """Return the body of ``POST /model/parse``; an utterance without a word has an empty text and gets no intent."""
    return {"text": _plain(event.text), "message_id": event.id}


def parse_result(event: UtteranceEvent, intent: Intent) -> dict[str, Any]:
    """Return what Rasa's own NLU would have answered, a ``ParseResult``."""
    return {
        "text": _plain(event.text),
        "intent": {"name": intent.name, "confidence": intent.confidence},
        "intent_ranking": [{"name": name, "confidence": confidence} for name, confidence in intent.scores],
        "entities": [],
    }


def tracker_message(event: UtteranceEvent, intent: Intent) -> dict[str, Any]:
    """Return the body of ``POST /conversations/{id}/messages``: a message that is not given to the NLU again."""
    return {"text": _plain(event.text), "sender": "user", "parse_data": parse_result(event, intent)}


def webhook_message(event: UtteranceEvent, intent: Intent | None = None) -> dict[str, Any]:
    """Return the body of ``POST /webhooks/rest/webhook``.

    Args:
        event: The utterance; its conversation is the sender, or it is one of its own.
        intent: What it asks for; without it Rasa's NLU finds out.

    Raises:
        ConfigError: The intent's name cannot stand in such a message.
    """
    metadata: dict[str, Any] = {"utterance": event.to_dict()}
    message = _plain(event.text)
    if intent is not None:
        if not re.fullmatch(r"[^\s{@/][^{@\n]*", intent.name) or intent.name != intent.name.strip():
            raise ConfigError(f"Rasa takes no intent name with '/', '@' or '{{' in it, as in {intent.name[:60]!r}")
        message = f"{_COMMAND}{intent.name}@{intent.confidence:.6f}"
        metadata["parse_data"] = parse_result(event, intent)
    return {"sender": event.conversation or event.id, "message": message, "metadata": metadata}


def _plain(text: str) -> str:
    """A text that Rasa does not take for a command: what is said cannot start with a slash."""
    return text.strip().lstrip(_COMMAND + " ")
