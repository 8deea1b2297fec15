"""Where a person lives and when they were born: "douze rue des Lilas", "née le trois juin", "12 Rose Lane"."""

from __future__ import annotations

from collections.abc import Sequence

from asr.privacy.digits import Run, read_group, runs
from asr.privacy.spans import Span, Word, bag, over
from asr.privacy.vocabulary import MONTHS, STOP_WORDS, STREETS

_LIVES = {
    "fr": bag(
        """
habite habites habitons habitez habitent habitais vis vit adresse domicile domicilié loge reste
"""
    ),
    "en": bag("live lives living bide bides address stay stays reside resides"),
}
_LIVES_REACH = 3
_PARTICLES = frozenset({"de", "des", "du", "d", "la", "le", "les", "l", "saint", "sainte", "st", "ste", "aux", "au"})
_AFTER_NUMBER = frozenset({"bis", "ter", "quater", "b", "a"})
# "une place de cinéma", "un cours de dessin": counted, not numbered.
_COUNTABLE = frozenset({"place", "cours", "côte", "route", "chemin", "passage", "villa", "résidence", "rue", "avenue"})
_ONE = frozenset({"un", "une"})
# "a two way street": the words of a kind of street, not of its name.
_NO_NAMES = bag(
    """
way lane mile minute hour long main busy quiet single dead little old new big close other
"""
)
_NAME_LONGEST = 4
_BORN = {
    "fr": frozenset({"né", "née", "nés", "nées", "naissance", "anniversaire"}),
    "en": frozenset({"born", "birth", "birthday", "dob"}),
}
_BORN_REACH = 6
_DATE_WORDS = {"fr": frozenset({"de", "du", "le", "l", "an", "en"}), "en": frozenset({"the", "of", "and", "in", "on"})}
_ORDINALS = {
    "fr": frozenset({"premier", "1er"}),
    "en": bag(
        """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth 1st 2nd 3rd
"""
    )
    | {f"{number}{ending}" for number in range(1, 32) for ending in ("st", "nd", "rd", "th")},
}
# How many words after a street a postcode may begin, and how many it may have.
_POSTCODE_REACH, _POSTCODE_LONGEST = 2, 8


def streets(words: Sequence[Word], language: str) -> list[Span]:
    """Find streets with a number, and those without one of which is said that somebody lives there."""
    numbers = {run.last: run for run in runs(words, language)}
    cased = any(word.upper for word in words[1:])
    found = []
    for place, word in enumerate(words):
        if word.key not in STREETS[language]:
            continue
        read = _french_street if language == "fr" else _english_street
        if (street := read(words, place, numbers, cased)) is not None:
            first, last = street
            found.append(over(words, first, last, "STREET", 0.9))
            found += _postcode_after(words, last, language)
    return found


def _lives(words: Sequence[Word], place: int, language: str) -> bool:
    return any(word.key in _LIVES[language] for word in words[max(0, place - _LIVES_REACH) : place])


def _french_street(words: Sequence[Word], place: int, numbers: dict[int, Run], cased: bool) -> tuple[int, int] | None:
    before = place
    if before and words[before - 1].key in _AFTER_NUMBER and not words[before].hard:
        before -= 1
    number = numbers.get(before) or numbers.get(place)
    if number is not None and words[number.last].hard:
        number = None
    # Of "zéro six, douze, rue …" only the last number is the house's, unless all of it is one.
    first = place if number is None else _house(words, number)
    if number is not None and words[first].key in _ONE and words[place].key in _COUNTABLE:
        number, first = None, place
    if number is None and not _lives(words, place, "fr"):
        return None
    last = _french_name_end(words, place + 1, cased)
    if last == place + 1:
        return None
    if number is None and last < len(words) and not words[last].soft:
        # "chemin des Vignes huit": the number comes last in Switzerland.
        group = read_group(words, last, "fr")
        last = last if group is None else group.last
    return first, last


def _house(words: Sequence[Word], number: Run) -> int:
    groups = number.groups
    first = groups[-1].first
    for group, after in zip(reversed(groups[:-1]), reversed(groups[1:]), strict=True):
        if words[after.first].soft:
            break
        first = group.first
    return first


def _french_name_end(words: Sequence[Word], place: int, cased: bool) -> int:
    """Return the word after a street's name that begins at a word."""
    last, named = place, 0
    while last < len(words) and named < _NAME_LONGEST and not words[last].soft:
        word = words[last]
        if word.key in _PARTICLES and (last + 1 < len(words) and not words[last + 1].soft):
            # "rue de la gare et" goes on, "rue Hugo de l'autre côté" does not.
            ahead = last + 1
            while ahead < len(words) and words[ahead].key in _PARTICLES:
                ahead += 1
            if named and not (ahead < len(words) and words[ahead].upper):
                break
            last = ahead
            if last >= len(words):
                break
            word = words[last]
        # "rue du onze novembre 1918" is a name with its numbers; after others, a number is something else.
        if named and words[last - 1].key not in MONTHS["fr"] and read_group(words, last, "fr") is not None:
            break
        if (
            word.key.startswith("[")
            or word.key in STOP_WORDS["fr"]
            or (named and cased and not (word.upper or word.digits or word.key in MONTHS["fr"]))
        ):
            break
        named += 1
        last += 1
    return last if named else place


def _english_street(words: Sequence[Word], place: int, numbers: dict[int, Run], cased: bool) -> tuple[int, int] | None:
    if cased and not words[place].upper:
        return None
    first = place
    while place - first < _NAME_LONGEST - 1 and first > 0 and not words[first].soft:
        word = words[first - 1]
        if first in numbers or word.key in STOP_WORDS["en"] or word.key in _NO_NAMES:
            # The s of "Queen's Road" is part of a name.
            if not (word.key == "s" and word.gap == "'"):
                break
        elif word.key.startswith("[") or (cased and not word.upper):
            break
        first -= 1
    if first == place:
        return None
    last = place + 1
    number = numbers.get(first)
    if number is not None and not words[first].hard:
        if number.groups[-1].thousands and not words[number.groups[-1].first].digits:
            return None
        return _flat(words, _house(words, number)), last
    return (first, last) if _lives(words, first, "en") else None


def _flat(words: Sequence[Word], first: int) -> int:
    """Return the first word of "flat three, twenty two …" before a house's number."""
    for back in range(first - 1, max(-1, first - 4), -1):
        if words[back].key in ("flat", "apartment", "apt", "unit"):
            return back
    return first


def _postcode_after(words: Sequence[Word], last: int, language: str) -> list[Span]:
    """Find the postcode that follows a street, which is a plain number in most countries."""
    near = words[last : last + _POSTCODE_REACH + _POSTCODE_LONGEST]
    for run in runs(near, language):
        if run.first <= _POSTCODE_REACH and 4 <= len(run.digits) <= 5:
            return [over(near, run.first, run.last, "POSTCODE", 0.8)]
    return []


def births(words: Sequence[Word], language: str) -> list[Span]:
    """Find dates of birth: a date near a word that speaks of birth."""
    found = []
    for place, word in enumerate(words):
        if word.key not in _BORN[language]:
            continue
        for first in range(place + 1, min(len(words), place + 1 + _BORN_REACH)):
            if (last := _date_end(words, first, language)) is not None:
                found.append(over(words, first, last, "BIRTH_DATE", 0.9))
                break
    return found


def _date_end(words: Sequence[Word], first: int, language: str) -> int | None:
    """Return the word after a date that begins at a word; None where none does."""
    last, ahead, month, digits, parts = first, first, False, "", 0
    if words[first].key == "the":
        ahead += 1
    while ahead < len(words) and not (ahead > first and words[ahead].hard):
        key = words[ahead].key
        if key in MONTHS[language] and not (month and key == "may"):
            month, ahead = True, ahead + 1
        elif key in _ORDINALS[language]:
            digits, parts, ahead = digits + "1", parts + 1, ahead + 1
        elif (group := read_group(words, ahead, language)) is not None:
            digits, parts, ahead = digits + group.digits, parts + 1, group.last
        elif ahead > first and key in _DATE_WORDS[language]:
            ahead += 1
            continue
        else:
            break
        last = ahead
    # A day and its month, a year in four figures, or all in figures; "the" begins an English date.
    if (month and parts) or len(digits) in (4, 6, 8):
        return last
    return None
