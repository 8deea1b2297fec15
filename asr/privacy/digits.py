"""Numbers as they are spoken: "zéro six, soixante-dix-sept" or "oh seven double four" as digits, with their words.

Only what can be read as one number after another is a run; what a run means is decided where its context is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr.privacy.spans import Word

_UNITS = {
    "fr": {
        **dict.fromkeys(("zéro", "zero"), 0), "un": 1, "une": 1, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5,
        "six": 6, "sept": 7, "huit": 8, "neuf": 9,
    },
    "en": {
        **dict.fromkeys(("zero", "oh", "o", "nought", "naught"), 0), **dict.fromkeys(("one", "wan", "yin"), 1),
        **dict.fromkeys(("two", "twa"), 2), "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
        "nine": 9,
    },
}  # fmt: skip
_TEENS = {
    "fr": {"dix": 10, "onze": 11, "douze": 12, "treize": 13, "quatorze": 14, "quinze": 15, "seize": 16},
    "en": {
        "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
        "seventeen": 17, "eighteen": 18, "nineteen": 19,
    },
}  # fmt: skip
_TENS = {
    "fr": {
        "vingt": 20, "trente": 30, "quarante": 40, "cinquante": 50, "soixante": 60, "septante": 70, "huitante": 80,
        "octante": 80, "nonante": 90,
    },
    "en": {
        "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
        "ninety": 90,
    },
}  # fmt: skip
_HUNDRED = {"fr": frozenset({"cent", "cents"}), "en": frozenset({"hundred", "hunner"})}
_THOUSAND = {"fr": frozenset({"mille", "mil"}), "en": frozenset({"thousand"})}
_AND = {"fr": "et", "en": "and"}
REPEATS = {"double": 2, "triple": 3, "treble": 3}
# Said while one looks for the next figure.
_FILLERS = frozenset({"euh", "heu", "puis", "ensuite", "alors", "uh", "um", "erm", "then"})


@dataclass(frozen=True, slots=True)
class Group:
    """One number of a run, such as "soixante-dix-sept".

    Attributes:
        digits: As it would be dialled.
        first: Its first word.
        last: The word after its last.
        thousands: Whether "mille" or "thousand" was said, or it is one long figure in digits.
    """

    digits: str
    first: int
    last: int
    thousands: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Numbers that follow one another.

    Attributes:
        groups: At least one.
    """

    groups: tuple[Group, ...]

    @property
    def first(self) -> int:
        """Its first word."""
        return self.groups[0].first

    @property
    def last(self) -> int:
        """The word after its last."""
        return self.groups[-1].last

    @property
    def digits(self) -> str:
        """All digits."""
        return "".join(group.digits for group in self.groups)

    @property
    def counting(self) -> bool:
        """Whether it counts up, "seize, dix-sept, dix-huit", as nobody's number does."""
        values = [int(group.digits) for group in self.groups]
        return len(values) > 2 and all(after - before == 1 for before, after in pairwise(values))


def runs(words: Sequence[Word], language: str) -> list[Run]:
    """Return every run of numbers in a text."""
    found: list[Run] = []
    place = 0
    while place < len(words):
        groups: list[Group] = []
        ahead = place
        while (group := read_group(words, ahead, language)) is not None:
            if groups and words[group.first].hard:
                break
            groups.append(group)
            ahead = group.last
            if ahead + 1 < len(words) and words[ahead].key in _FILLERS:
                ahead += 1
        if groups:
            found.append(Run(tuple(groups)))
            place = groups[-1].last
        else:
            place += 1
    return found


def read_group(words: Sequence[Word], place: int, language: str) -> Group | None:
    """Read one number that begins at a word; None where none does."""
    if place >= len(words):
        return None
    word = words[place]
    if word.digits:
        return Group(word.key, place, place + 1, thousands=len(word.key) > 5)
    if times := REPEATS.get(word.key):
        figure = _figure(words, place + 1, language)
        return None if figure is None else Group(str(figure) * times, place, place + 2)
    if _figure(words, place, language) == 0:
        return Group("0", place, place + 1)
    value, last = _below_thousand(words, place, language)
    if value is None and word.key not in _THOUSAND[language]:
        return None
    # A pause before "mille" itself, with which a number may begin, parts nothing.
    if last < len(words) and words[last].key in _THOUSAND[language] and not (words[last].soft and last > place):
        rest, end = _below_thousand(words, _after_and(words, last + 1, language), language)
        if rest is None or words[last + 1].soft:
            rest, end = 0, last + 1
        return Group(str((1 if value is None else value) * 1000 + rest), place, end, thousands=True)
    return Group(str(value), place, last)


def _figure(words: Sequence[Word], place: int, language: str) -> int | None:
    """Read a single figure."""
    if place >= len(words):
        return None
    key = words[place].key
    return int(key) if len(key) == 1 and key.isdecimal() else _UNITS[language].get(key)


def _after_and(words: Sequence[Word], place: int, language: str) -> int:
    return place + 1 if place < len(words) and words[place].key == _AND[language] else place


def _below_thousand(words: Sequence[Word], place: int, language: str) -> tuple[int | None, int]:
    """Read a number under a thousand; return it and the word after it."""
    if place < len(words) and words[place].key in _HUNDRED[language] and language == "fr":
        value, last = 1, place
    else:
        value_or_none, last = _below_hundred(words, place, language)
        if value_or_none is None:
            return None, place
        value = value_or_none
    hundred = last < len(words) and words[last].key in _HUNDRED[language] and not (words[last].soft and last > place)
    if not hundred or value == 0:
        return value, last
    rest_place = _after_and(words, last + 1, language)
    rest, end = _below_hundred(words, rest_place, language)
    # "nine hundred, four one six": what follows a pause is another number, and so is a zero.
    if not rest or words[last + 1].soft:
        return value * 100, last + 1
    return value * 100 + rest, end


def _below_hundred(words: Sequence[Word], place: int, language: str) -> tuple[int | None, int]:
    """Read a number under a hundred; return it and the word after it."""
    if place >= len(words):
        return None, place
    key = words[place].key
    units, teens, tens = _UNITS[language], _TEENS[language], _TENS[language]

    def near(at: int) -> str:
        return words[at].key if at < len(words) and not words[at].soft else ""

    if language == "fr" and key == "quatre" and near(place + 1) in ("vingt", "vingts"):
        base, at = 80, place + 2
    elif key in tens:
        base, at = tens[key], place + 1
    elif key in teens:
        if language == "fr" and key == "dix" and near(place + 1) in ("sept", "huit", "neuf"):
            return 10 + units[near(place + 1)], place + 2
        return teens[key], place + 1
    elif key in units:
        return units[key], place + 1
    else:
        return None, place
    if language == "fr" and near(at) == "et" and near(at + 1) in ("un", "une", "onze"):
        at += 1
    if language == "fr" and base in (60, 80) and near(at) in teens:
        rest, last = _below_hundred(words, at, language)
        return base + (rest or 0), last
    if unit := units.get(near(at), 0):
        return base + unit, at + 1
    return base, at
