"""What was found: a span of personal data, and how a text is cut into words to find it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr.errors import ConfigError
from asr.text import APOSTROPHES

LANGUAGES = ("fr", "en")
"""Languages in which personal data is looked for."""

TYPES = ("NAME", "PHONE", "EMAIL", "STREET", "POSTCODE", "BIRTH_DATE", "IBAN", "CARD", "ID", "SPELLED")
"""What is looked for; ID is a person's number, such as of social security, SPELLED a word said letter by letter."""

MASK = re.compile(r"\[[A-Z_]{2,}\]")
"""What an earlier masking has left."""

# Letters and digits in one word; the signs that an e-mail address is read from; an earlier mask, which must not be
# looked into again.
_WORD = re.compile(rf"{MASK.pattern}|[^\W_]+|[@_+]")
_HARD = re.compile(r"[.!?…][\s\"'»”)]|\n\s*\n")
_SOFT = re.compile(r"[,;:()\[\]{}\"«»“”]|\s[-–—]\s")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Personal data in a text.

    Attributes:
        start: Its first character.
        end: The character after its last.
        type: One of `TYPES`.
        score: How sure the finder is, 0 to 1; says which of two types an overlap gets.
    """

    start: int
    end: int
    type: str
    score: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, as the recognisers see it.

    Attributes:
        key: Lower case, one kind of apostrophe.
        start: Its first character.
        end: The character after its last.
        upper: Whether it begins with a capital.
        gap: What stands between the word before and this one.
        hard: Whether a sentence ends in that gap.
        soft: Whether any pause is written there.
    """

    key: str
    start: int
    end: int
    upper: bool
    gap: str
    hard: bool
    soft: bool

    @property
    def letter(self) -> bool:
        """Whether it is a single letter."""
        return len(self.key) == 1 and self.key.isalpha()

    @property
    def digits(self) -> bool:
        """Whether it is written in digits."""
        return self.key.isdecimal()


def check_language(language: str) -> None:
    """Refuse a language in which nothing would be found.

    Raises:
        ConfigError: It is not one of `LANGUAGES`.
    """
    if language not in LANGUAGES:
        raise ConfigError(
            f"personal data in words is found in French (fr) and English (en), not in {language[:40]!r}; "
            "mask such fragments by hand"
        )


def cut(text: str) -> list[Word]:
    """Return the words of a text with their places; hyphens and apostrophes part words."""
    words = []
    end = 0
    for match in _WORD.finditer(text):
        gap = text[end : match.start()].translate(APOSTROPHES)
        # The mark needs its blank to end a sentence: a point in "06.44.12" does not.
        hard = bool(gap) and _HARD.search(gap) is not None
        soft = hard or (bool(gap) and _SOFT.search(gap) is not None)
        word = match.group()
        words.append(Word(word.casefold(), match.start(), match.end(), word[0].isupper(), gap, hard, soft))
        end = match.end()
    return words


def bag(text: str) -> frozenset[str]:
    """Return the words of a list that is written as a text."""
    return frozenset(text.split())


def resolve(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Merge spans that overlap; the surest type wins, and the longer of two that are as sure."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            winner = max(last, span, key=lambda one: (one.score, one.end - one.start))
            merged[-1] = Span(last.start, max(last.end, span.end), winner.type, winner.score)
        else:
            merged.append(span)
    return tuple(merged)


def over(words: Sequence[Word], first: int, last: int, kind: str, score: float) -> Span:
    """Return the span from one word up to, not including, another."""
    return Span(words[first].start, words[last - 1].end, kind, score)
