"""All personal data in a text: our recognisers for what is spoken, Presidio for what is written and French names.

Presidio is given what it needs and no more: spaCy's French model for names; in English, for which spaCy publishes no
model on PyPI, a pipeline without one, so that English names are found by what announces them and by lists alone.
Nothing is fetched: Presidio's own check of e-mail domains would ask the network for a list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from asr.errors import MissingExtraError
from asr.privacy.names import TITLES
from asr.privacy.spans import LANGUAGES, MASK, Span, check_language, cut, resolve
from asr.privacy.spoken import spoken_spans
from asr.privacy.vocabulary import STOP_WORDS

_FRENCH_MODEL = "fr_core_news_md"
_TYPES = {
    "PERSON": "NAME",
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
}
# Where Presidio and a recogniser of ours see the same words, ours knows what was said before them.
_SCORE = 0.5
# Characters given to Presidio at once: its patterns take time with the square of a text. No fragment is as long.
_LONGEST = 4_000


def find_spans(text: str, language: str) -> tuple[Span, ...]:
    """Find personal data in a text.

    What an earlier masking has put in its place, such as ``[PHONE]``, is left alone.

    Args:
        text: What was said, with or without punctuation and capitals.
        language: ``fr`` or ``en``.

    Returns:
        Spans in order, without overlaps; none begins or ends with a blank.

    Raises:
        ConfigError: Nothing is found in that language.
        MissingExtraError: The extra ``privacy`` is not installed.
    """
    found = resolve((*spoken_spans(text, language), *presidio_spans(text, language)))
    return tuple(_around_masks(text, found))


def _around_masks(text: str, spans: tuple[Span, ...]) -> Iterator[Span]:
    """Yield what of the spans lies outside earlier masks."""
    masks = [match.span() for match in MASK.finditer(text)]
    ahead = 0
    for span in spans:
        start = span.start
        while ahead < len(masks) and masks[ahead][1] <= start:
            ahead += 1
        inside = ahead
        while start < span.end:
            first, last = masks[inside] if inside < len(masks) else (span.end, span.end)
            if words := cut(text[start : min(first, span.end)]):
                yield Span(start + words[0].start, start + words[-1].end, span.type, span.score)
            start, inside = max(last, start + 1), inside + 1


def presidio_spans(text: str, language: str) -> tuple[Span, ...]:
    """Find what Presidio knows, cleared of what its names are not: words without a capital, and greetings.

    Args:
        text: As in `find_spans`; longer texts are taken in parts.
        language: As in `find_spans`.

    Raises:
        ConfigError: Nothing is found in that language.
        MissingExtraError: The extra ``privacy`` is not installed.
    """
    check_language(language)
    if not text.strip():
        return ()
    found = []
    first = 0
    while first < len(text):
        # Parted between words; what lies across is missed.
        last = len(text) if len(text) - first <= _LONGEST else text.rfind(" ", first, first + _LONGEST) + 1
        last = last if last > first else first + _LONGEST
        part = text[first:last]
        for result in _analyzer().analyze(part, language, entities=list(_TYPES)):
            span = _trimmed(part, result.start, result.end, _TYPES[result.entity_type], language)
            if span is not None:
                found.append(Span(span.start + first, span.end + first, span.type, span.score))
        first = last
    return resolve(found)


def _trimmed(text: str, start: int, end: int, kind: str, language: str) -> Span | None:
    """Cut a span to its words; a name to those that can be of one."""
    words = cut(text[start:end])
    if kind == "NAME":
        while words and (not words[0].upper or words[0].key in STOP_WORDS[language] | TITLES[language]):
            del words[0]
        while words and (not words[-1].upper or words[-1].key in STOP_WORDS[language]):
            del words[-1]
    if not words:
        return None
    return Span(start + words[0].start, start + words[-1].end, kind, _SCORE)


@lru_cache(maxsize=1)
def _analyzer() -> Any:
    """Load Presidio and its models, once: seconds, and 200 MB."""
    # It logs which recognisers it has at every start.
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import (
            CreditCardRecognizer,
            EmailRecognizer,
            IbanRecognizer,
            PhoneRecognizer,
            SpacyRecognizer,
        )

        french = spacy.load(
            _FRENCH_MODEL, exclude=["tok2vec", "parser", "senter", "lemmatizer", "attribute_ruler", "morphologizer"]
        )
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            f"personal data is found with presidio-analyzer and spaCy's {_FRENCH_MODEL}, of which something is not "
            "installed: pip install 'dialect-asr[privacy]'"
        ) from error

    class WrittenEmail(EmailRecognizer):  # type: ignore[misc]
        """Without the check of the domain."""

        def validate_result(self, pattern_text: str) -> None:
            """Leave the pattern's own score."""

    engine = SpacyNlpEngine(
        ner_model_configuration=NerModelConfiguration(
            model_to_presidio_entity_mapping={"PER": "PERSON"}, labels_to_ignore=["LOC", "ORG", "MISC"]
        )
    )
    engine.nlp = {"fr": french, "en": spacy.blank("en")}
    registry = RecognizerRegistry(supported_languages=list(LANGUAGES))
    regions = {"fr": ("FR", "BE", "CH", "CA"), "en": ("GB", "US", "IE", "IN", "AU")}
    for language in LANGUAGES:
        registry.add_recognizer(WrittenEmail(supported_language=language))
        registry.add_recognizer(CreditCardRecognizer(supported_language=language))
        registry.add_recognizer(IbanRecognizer(supported_language=language))
        registry.add_recognizer(PhoneRecognizer(supported_language=language, supported_regions=regions[language]))
    registry.add_recognizer(SpacyRecognizer(supported_language="fr", supported_entities=["PERSON"]))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=list(LANGUAGES))
