"""Home Assistant: what it would do at an utterance, by its own sentences (`home-assistant-intents`) and matcher.

The sentences are templates of the standard language, and a template matches or it does not. So an utterance is tried
as it was heard, then in the standard language, then as what else it perhaps was: the first that matches counts.
`hassil` needs to know the home: in ``turn on {name}`` stands what a device is called, and whether it can be turned on
goes by its domain (https://developers.home-assistant.io/docs/voice/intent-recognition/template-sentence-syntax).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from asr.errors import MissingExtraError
from asr.intent.bare import bare_text
from asr.intent.event import UtteranceEvent

# Home Assistant's names of languages where they are not Whisper's.
_LANGUAGES = {"no": "nb", "zh": "zh-CN", "yue": "zh-HK"}
# Characters of an utterance that are tried; the longest of a thousand commands has a tenth of it.
LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Device:
    """What can be named in a command.

    Attributes:
        name: As people call it.
        domain: What it is to Home Assistant: ``light``, ``cover``, ``lock``, ``media_player``, ``todo`` …
    """

    name: str
    domain: str


@dataclass(frozen=True, slots=True)
class Home:
    """What there is in a home. One thing may be there under several names, one name for several things.

    Attributes:
        devices: With their names.
        areas: Names of rooms.
        floors: Names of floors.
    """

    devices: tuple[Device, ...] = ()
    areas: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeIntent:
    """What Home Assistant would do.

    Attributes:
        name: Such as ``HassTurnOn``; None where it would do nothing.
        slots: Such as ``name`` and ``brightness``, with their values.
        text: The reading of the utterance that matched.
        reason: Why nothing matched: "no words", "language" (there are no sentences for it), "too long" or "no match".
    """

    name: str | None
    slots: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    reason: str | None = None


class HomeAssistant:
    """Recognises commands to one home.

    Args:
        home: The home.

    Raises:
        MissingExtraError: The extra ``intent`` is not installed.
    """

    def __init__(self, home: Home) -> None:
        hassil = _hassil()
        names = ((device.name, device.name, {"domain": device.domain}) for device in home.devices)
        self._lists = {
            "name": hassil.TextSlotList.from_tuples(names, name="name"),
            "area": hassil.TextSlotList.from_strings(home.areas, name="area"),
            "floor": hassil.TextSlotList.from_strings(home.floors, name="floor"),
        }

    def recognise(self, event: UtteranceEvent, *, area: str | None = None) -> HomeIntent:
        """Tell what an utterance asks of the home.

        Args:
            event: The utterance.
            area: The room where it was heard; means it in "turn on the light".
        """
        texts = readings(event)
        if not texts:
            return HomeIntent(None, reason="no words")
        language = _sentences_of(event)
        if language is None:
            return HomeIntent(None, reason="language")
        tried = [text for text in texts if len(text) <= LONGEST]
        for text in tried:
            found = _hassil().recognize_best(
                text,
                _intents(language),
                slot_lists=self._lists,
                intent_context=None if area is None else {"area": area},
                best_slot_name="name",
            )
            if found is not None:
                slots = {name: entity.value for name, entity in found.entities.items()}
                return HomeIntent(found.intent.name, slots, text)
        return HomeIntent(None, reason="no match" if tried else "too long")


def readings(event: UtteranceEvent) -> list[str]:
    """Return the bare texts that an utterance may be, in the order in which they are tried, none twice."""
    others = [event.text_standard or "", *(one.text for one in event.nbest)]
    texts = [event.text_bare, *(bare_text(text, event.language) for text in others)]
    return [text for text in dict.fromkeys(texts) if text]


def _sentences_of(event: UtteranceEvent) -> str | None:
    """The dialect's own sentences where there are some (``de-CH``), or the language's."""
    from home_assistant_intents import get_languages

    language = _LANGUAGES.get(event.language or "", event.language)
    return next((one for one in (event.dialect, language) if one in get_languages()), None)


@lru_cache(maxsize=4)
def _intents(language: str) -> Any:
    from home_assistant_intents import get_intents

    return _hassil().Intents.from_dict(get_intents(language))


def _hassil() -> Any:
    try:
        import hassil
        import home_assistant_intents  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "to recognise commands to a home, install the extra: pip install 'dialect-asr[intent]'"
        ) from error
    return hassil
