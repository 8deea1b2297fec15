"""Personal data out of a fragment: each span is replaced by its type, and what counts or quotes its words goes along.

A span becomes one word, ``[PHONE]``; what is glued to it stays glued (``d'[NAME],``). So `Fragment.words` that a span
touches are merged into one with the time of all, `emphasis` and the expressions' `start_word` count the new words, and
an expression of which a word is gone goes too. `text_standard` is masked by its own spans; so are texts in `custom`,
which are told from codes by their blanks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from asr.errors import ManifestError
from asr.fragment import Expression, Fragment, WordTime
from asr.privacy.find import find_spans
from asr.privacy.spans import Span

_TOKEN = re.compile(r"\S+")
# Nested deeper, a custom value is no annotation.
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Masked:
    """A fragment without its personal data.

    Attributes:
        fragment: The fragment, masked; its audio is not.
        spans: What was found in the text as it was before.
    """

    fragment: Fragment
    spans: tuple[Span, ...]


def mask_text(text: str, spans: Sequence[Span]) -> str:
    """Replace spans, in order and without overlaps, by their types in brackets."""
    parts, end = [], 0
    for span in spans:
        parts += [text[end : span.start], f"[{span.type}]"]
        end = span.end
    return "".join((*parts, text[end:]))


def mask_fragment(fragment: Fragment) -> Masked:
    """Find and mask the personal data in a fragment's words; its ids and its audio stay as they are.

    Raises:
        ConfigError: Nothing is found in the fragment's language.
        MissingExtraError: The extra ``privacy`` is not installed.
        ManifestError: The words with times are not those of the text, so that nobody knows which to mask.
    """
    language, text = fragment.language, fragment.text
    spans = find_spans(text, language)
    places = word_places(fragment)
    masked = mask_text(text, spans)
    index = _Index(text, spans)
    expressions = (_expression(one, index, masked, language) for one in fragment.expressions)
    changed = fragment.replace(
        text=masked,
        text_standard=None if fragment.text_standard is None else _own_spans(fragment.text_standard, language),
        words=_masked_words(fragment, places, spans),
        emphasis=tuple(dict.fromkeys(index.moved(place) for place in fragment.emphasis)),
        expressions=tuple(one for one in expressions if one is not None),
        custom={key: _mask_value(value, language) for key, value in fragment.custom.items()},
    )
    return Masked(changed, spans)


def word_places(fragment: Fragment) -> tuple[tuple[int, int], ...]:
    """Return the first character, and that after the last, of every word with a time.

    Raises:
        ManifestError: The words are not those of the text, in its order and to its end.
    """
    places, end = [], 0
    text = _even(fragment.text)
    for word in fragment.words:
        said = _even(word.text.strip())
        first = text.find(said, end)
        if first < 0:
            # Punctuation that only one of the two has.
            said = said.strip("".join({letter for letter in said if not letter.isalnum()}))
            first = text.find(said, end)
        if first < 0 or _has_letters(text[end:first]):
            raise _other_words(fragment)
        places.append((first, first + len(said)))
        end = first + len(said)
    if fragment.words and _has_letters(text[end:]):
        raise _other_words(fragment)
    return tuple(places)


def _even(text: str) -> str:
    """Return lower case in as many characters."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text


def _has_letters(text: str) -> bool:
    return any(map(str.isalnum, text))


def _other_words(fragment: Fragment) -> ManifestError:
    return ManifestError(
        f"the words with times of fragment {fragment.id!r} are not those of its text; "
        "write 'words' again, or leave it out"
    )


def _masked_words(fragment: Fragment, places: Sequence[tuple[int, int]], spans: Sequence[Span]) -> tuple[WordTime, ...]:
    """Merge the words that a span touches, and the words that two spans share with them."""
    words: list[WordTime] = []
    number = ahead = 0
    while number < len(places):
        while ahead < len(spans) and spans[ahead].end <= places[number][0]:
            ahead += 1
        last, covering = number + 1, ahead
        if ahead < len(spans) and spans[ahead].start < places[number][1]:
            while last < len(places) or covering < len(spans):
                if covering < len(spans) and spans[covering].start < places[last - 1][1]:
                    covering += 1
                elif last < len(places) and places[last][0] < spans[covering - 1].end:
                    last += 1
                else:
                    break
            words.append(_merged(fragment, places[number:last], fragment.words[number:last], spans[ahead:covering]))
            # A span that reaches beyond the words it touches has no other.
            ahead = covering
        else:
            words.append(fragment.words[number])
        number = last
    return tuple(words)


def _merged(
    fragment: Fragment, places: Sequence[tuple[int, int]], words: Sequence[WordTime], spans: Sequence[Span]
) -> WordTime:
    """Return one word for several; what is glued to the spans stays."""
    first, last = min(places[0][0], spans[0].start), max(places[-1][1], spans[-1].end)
    inside = [Span(span.start - first, span.end - first, span.type, span.score) for span in spans]
    text = "".join(mask_text(fragment.text[first:last], inside).split())
    start = min(word.start for word in words)
    end = max(word.end for word in words)
    return words[0].model_copy(update={"text": text, "start": start, "duration": end - start})


class _Index:
    """Where the words of ``text.split()`` are after masking.

    Args:
        text: The text before.
        spans: What is masked in it.
    """

    def __init__(self, text: str, spans: Sequence[Span]) -> None:
        self.tokens = [match.span() for match in _TOKEN.finditer(text)]
        self.touched: list[bool] = []
        self.new: list[int] = []
        ahead, end = 0, 0
        for start, stop in self.tokens:
            while ahead < len(spans) and spans[ahead].end <= start:
                ahead += 1
            touched = ahead < len(spans) and spans[ahead].start < stop
            # A span from before the word takes it into the word before.
            joined = bool(self.new) and touched and spans[ahead].start < end
            self.new.append((self.new[-1] if self.new else -1) + (not joined))
            self.touched.append(touched)
            end = stop

    def moved(self, place: int) -> int:
        """Return the new index of a word; one that never was stays one that is not."""
        if place < len(self.new):
            return self.new[place]
        return place - len(self.new) + (self.new[-1] + 1 if self.new else 0)

    def lost(self, first: int, last: int) -> bool:
        """Whether a span touches one of some words."""
        return any(self.touched[first:last])


def _expression(one: Expression, index: _Index, masked: str, language: str) -> Expression | None:
    """Return an expression in the masked text, or None when it is not there any more."""
    standard = None if one.standard is None else _own_spans(one.standard, language)
    if one.start_word is None or one.end_word is None:
        return one.model_copy(update={"standard": standard}) if _even(one.text) in _even(masked) else None
    if index.lost(one.start_word, one.end_word):
        return None
    return one.model_copy(update={"standard": standard, "start_word": index.moved(one.start_word)})


def _own_spans(text: str, language: str) -> str:
    return mask_text(text, find_spans(text, language))


def _mask_value(value: JsonValue, language: str, depth: int = 0) -> JsonValue:
    """Mask the texts in a custom value."""
    if depth > _DEEPEST:
        raise ManifestError(f"a custom value is nested more than {_DEEPEST} deep; its texts cannot be masked")
    if isinstance(value, str):
        return _own_spans(value, language) if len(value.split()) > 1 else value
    if isinstance(value, list):
        return [_mask_value(item, language, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: _mask_value(item, language, depth + 1) for key, item in value.items()}
    return value
