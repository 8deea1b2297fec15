"""The utterance event: what one utterance says and how sure that is, in the form that a text intent layer takes.

An event is made of a transcript (`event_of`), travels as JSON (`UtteranceEvent.to_dict`, its schema by
``asr schema --event``) and is read back by `read_event`, whatever version wrote it. There is no audio in it, no path,
no pitch in hertz and no speaker; an id of ours that could tell one goes as a hash. What was said stays what was said:
``pii`` tells the receiver where personal data stands, and nothing is masked.
"""

from __future__ import annotations

import math
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr.errors import AsrError, ConfigError, MissingExtraError
from asr.fragment import Fragment
from asr.intent.bare import bare_text
from asr.privacy.consent import refusal
from asr.transcript import Transcript, Word

VERSION = 1

_LANGUAGE = "^[a-z]{2,3}$"
# Of the hashes that stand for conversations; drawn once, and never to change: what belongs together must stay so.
_CONVERSATIONS = uuid.UUID("5b9d6d0e-6c0b-4f0c-9b1e-0d0f3c6f4a77")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _clean(text: str) -> str:
    """One space for each control character, line separator or half of a surrogate pair: offsets stay true."""
    return "".join(" " if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


Said = Annotated[str, AfterValidator(_clean)]
Chance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """Frozen, and no key gets in that is not written down here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SaidWord(_Part):
    """A recognised word.

    Attributes:
        text: As it stands in the text it belongs to.
        start: Seconds from the start of the utterance's audio.
        end: Seconds from the start of the utterance's audio.
        confidence: Mean probability of its tokens; None where it was not measured.
        prominence: How far the voice lifts it above the others, relative; None where that cannot be told.
    """

    text: Said
    start: Annotated[Number, Field(ge=0)]
    end: Annotated[Number, Field(ge=0)]
    confidence: Chance | None = None
    prominence: Number | None = None


class Hypothesis(_Part):
    """One of several texts that were perhaps said.

    Attributes:
        text: As recognised.
        log_probability: Of the whole text, natural logarithm.
        words: Its words; empty where they were not asked for.
    """

    text: Said
    log_probability: Number
    words: tuple[SaidWord, ...] = ()


class SaidExpression(_Part):
    """A dialect word or phrase in the text.

    Attributes:
        text: As it was said.
        standard: Its equivalent in the standard language, when there is one.
        start_word: Index of its first word in ``text.split()``, from 0; None if not located.
    """

    text: Said
    standard: Said | None = None
    start_word: Index | None = None


class PersonalData(_Part):
    """Where personal data stands in ``text``.

    Attributes:
        start: Its first character, from 0.
        end: The character after its last.
        type: What it is, such as ``NAME`` or ``PHONE``.
    """

    start: Index
    end: Index
    type: str


class Quality(_Part):
    """How well the recogniser heard; of several segments each figure is the worst.

    Attributes:
        avg_logprob: Mean log-probability of the tokens, natural logarithm.
        no_speech_prob: Probability that nobody spoke.
        compression_ratio: Length over zipped length; above 2.4 the text is likely a loop.
    """

    avg_logprob: Number | None = None
    no_speech_prob: Chance | None = None
    compression_ratio: Number | None = None


class UtteranceEvent(_Part):
    """One utterance, for a text intent layer. What was not asked for, or cannot be told, is null or empty.

    Attributes:
        version: Of this form.
        id: Of this event, and the key by which a receiver knows that it has it already.
        conversation: What belongs to one conversation has one; null for an utterance on its own.
        time: When it was heard.
        text: What was heard, punctuation and dialect as they are; empty where nobody spoke.
        text_standard: The same in the standard language.
        text_bare: ``text`` in lower case without punctuation, for template matchers.
        language: Whisper's code.
        dialect: BCP 47 tag, or "unknown".
        dialect_confidence: Its probability as heard; where it is "unknown", that of the most probable one, or 0.
        words: In order of time.
        nbest: The most probable first.
        intonation: Sentence type heard in the voice, or "unknown".
        p_question: Probability of a question, by words and voice together where those were weighed, else by voice.
        emphasis: Indices of the words that stand out, in ``words``, from 0.
        expressions: Dialect words and phrases in ``text``.
        pii: Personal data in ``text``; null where nobody looked, empty where nothing was found.
        quality: Null where nothing was heard.
        purposes: What the speaker agreed to and had not taken back on the day of ``time``.
    """

    version: Literal[1] = 1
    id: Annotated[str, Field(min_length=1, max_length=200, pattern="^[!-~]+$")]
    conversation: Annotated[str, Field(min_length=1), AfterValidator(_clean)] | None = None
    time: AwareDatetime
    text: Said
    text_standard: Said | None = None
    text_bare: Said
    language: Annotated[str, Field(pattern=_LANGUAGE)] | None = None
    dialect: Said | None = None
    dialect_confidence: Chance | None = None
    words: tuple[SaidWord, ...] = ()
    nbest: tuple[Hypothesis, ...] = ()
    intonation: Said | None = None
    p_question: Chance | None = None
    emphasis: tuple[Index, ...] = ()
    expressions: tuple[SaidExpression, ...] = ()
    pii: tuple[PersonalData, ...] | None = None
    quality: Quality | None = None
    purposes: tuple[Said, ...] = ()

    @model_validator(mode="after")
    def _places_exist(self) -> UtteranceEvent:
        if any(index >= len(self.words) for index in self.emphasis):
            raise ValueError("emphasis names a word that is not there")
        if any(not span.start < span.end <= len(self.text) for span in self.pii or ()):
            raise ValueError("a span of personal data is empty or ends behind the text")
        return self

    @property
    def heard(self) -> bool:
        """Whether any word was said."""
        return bool(self.text_bare)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON; every key is there."""
        return self.model_dump(mode="json")


class Span(Protocol):
    """Personal data found in a text, as `asr.privacy.spans.Span` says it."""

    @property
    def start(self) -> int: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102


def event_of(
    transcript: Transcript,
    *,
    fragment: Fragment | None = None,
    nbest: Iterable[Hypothesis] | None = None,
    find_pii: Callable[[str, str], Iterable[Span]] | None = None,
    id: str | None = None,
    conversation: str | None = None,
    time: datetime | None = None,
) -> UtteranceEvent:
    """Make the event of a transcript.

    Args:
        transcript: What was recognised. Its id does not get in: it may be a file's name.
        fragment: What was transcribed: tells the consent, and the conversation, of which a hash gets in. The hash hides
            an id from who sees only the event; who has a list of ids can find it there.
        nbest: What was perhaps said, the likeliest first; by default the hypotheses of the transcript, if it is of one
            utterance.
        find_pii: Finds personal data in a text of a language; where it knows the language not (`ConfigError`), or is
            not installed (`MissingExtraError`), ``pii`` is null.
        id: The event's own; a random one by default. An id gets in as it is.
        conversation: Known to the receiver, in place of the fragment's; gets in as it is.
        time: When it was heard, with its zone; now by default.

    Raises:
        AsrError: The fragment is not the one that was transcribed, or a value cannot stand in an event.
    """
    if fragment is not None and transcript.id and transcript.id != fragment.id:
        raise AsrError("the transcript is of another fragment than the one given; its consent would be somebody else's")
    time = time or datetime.now(timezone.utc)
    language = transcript.language if re.fullmatch(_LANGUAGE, transcript.language) else None
    text = _clean(transcript.text)
    if conversation is None and fragment is not None and fragment.conversation is not None:
        conversation = str(uuid.uuid5(_CONVERSATIONS, fragment.conversation))
    fused = transcript.punctuation.p_question if transcript.punctuation else transcript.p_question
    return _validated(
        {
            "id": id or str(uuid.uuid4()),
            "conversation": conversation,
            "time": time,
            "text": text,
            "text_standard": transcript.text_standard,
            "text_bare": bare_text(text, language),
            "language": language,
            "dialect": transcript.dialect,
            "dialect_confidence": _chance(transcript.dialect_confidence),
            "words": tuple(_word(word) for word in transcript.words),
            "nbest": _hypotheses(transcript) if nbest is None else tuple(nbest),
            "intonation": transcript.intonation,
            "p_question": _chance(fused),
            "emphasis": transcript.emphasis,
            "expressions": tuple(
                {"text": one.text, "standard": one.standard, "start_word": one.start_word}
                for one in transcript.expressions
            ),
            "pii": _personal_data(text, language, find_pii),
            "quality": _quality(transcript),
            "purposes": _purposes(fragment, time),
        }
    )


def _hypotheses(transcript: Transcript) -> tuple[Hypothesis, ...]:
    if len(transcript.segments) != 1:
        return ()
    return tuple(
        Hypothesis(text=_clean(one.text), log_probability=one.log_probability)
        for one in transcript.segments[0].hypotheses
    )


# How an event of a version becomes one of the next: takes and returns the JSON object. Before the form changes, its
# version is raised, and what an event of the old one looked like is kept in the tests.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


BESIDE = frozenset({"intent", "needs"})
"""What `asr understand` writes beside an event, in the same object: no part of it."""


def read_event(data: Mapping[str, Any]) -> UtteranceEvent:
    """Make an event of its JSON object, of this version or an older one.

    Raises:
        AsrError: It is of a version that is not known here, or no event. The message has nothing of what was said.
    """
    found = data.get("version")
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= VERSION:
        raise AsrError(
            f"an utterance event of version {str(found)[:20]!r} cannot be read, this package knows 1 to {VERSION}; "
            "if it is newer, update the package"
        )
    upgraded = dict(data)
    for version in range(found, VERSION):
        upgraded = UPGRADES[version](upgraded) | {"version": version + 1}
    return _validated(upgraded)


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event."""
    schema = UtteranceEvent.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _validated(data: dict[str, Any]) -> UtteranceEvent:
    try:
        return UtteranceEvent.model_validate(data)
    except ValidationError as error:
        places = [
            (".".join(str(part) for part in item["loc"]) or "the whole", item["msg"].removeprefix("Value error, "))
            for item in error.errors(include_input=False)
        ]
        # A key that is not known may be anybody's word.
        known = [f"{place}: {message}" for place, message in places if "Extra" not in message]
        extra = ["there are keys that no event has"] if len(known) < len(places) else []
        raise AsrError(f"this cannot stand in an utterance event: {'; '.join([*known[:5], *extra])}") from None


def _chance(value: float | None) -> float | None:
    """A probability, which arithmetic may have left a hair outside its range; None for what is no number."""
    return None if value is None or math.isnan(value) else min(max(float(value), 0.0), 1.0)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _word(word: Word) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": word.start,
        "end": word.end,
        "confidence": _chance(word.probability),
        "prominence": None if word.prominence is None else _number(word.prominence),
    }


def _personal_data(
    text: str, language: str | None, find_pii: Callable[[str, str], Iterable[Span]] | None
) -> tuple[dict[str, Any], ...] | None:
    if find_pii is None or language is None:
        return None
    try:
        return tuple({"start": one.start, "end": one.end, "type": one.type} for one in find_pii(text, language))
    except (ConfigError, MissingExtraError):
        return None


def _quality(transcript: Transcript) -> dict[str, Any] | None:
    segments = transcript.segments
    if not segments:
        return None
    return {
        "avg_logprob": _number(min(one.avg_logprob for one in segments)),
        "no_speech_prob": _chance(max(one.no_speech_prob for one in segments)),
        "compression_ratio": _number(max(one.compression_ratio for one in segments)),
    }


def _purposes(fragment: Fragment | None, time: datetime) -> tuple[str, ...]:
    consent = None if fragment is None else fragment.consent
    purposes = () if consent is None else consent.purposes
    return tuple(one for one in dict.fromkeys(purposes) if refusal(consent, one, time.date()) is None)
