"""Personal data as it is spoken: our own recognisers, together; they need no model."""

from __future__ import annotations

from asr.privacy.figures import figures
from asr.privacy.letters import emails, spelled
from asr.privacy.names import names
from asr.privacy.places import births, streets
from asr.privacy.spans import Span, check_language, cut, resolve


def spoken_spans(text: str, language: str) -> tuple[Span, ...]:
    """Find what our own recognisers know, in time that grows with the length of the text.

    Args:
        text: What was said, with or without punctuation and capitals.
        language: ``fr`` or ``en``.

    Raises:
        ConfigError: Nothing is found in that language.
        MissingExtraError: The extra ``privacy`` is not installed.
    """
    check_language(language)
    words = cut(text)
    letters = spelled(words, language)
    found = [*letters, *figures(words, language), *emails(words, language)]
    found += [*streets(words, language), *births(words, language), *names(words, language, letters)]
    return resolve(found)
