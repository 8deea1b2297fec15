"""What numbers and letters in a row are: a telephone, a card, an IBAN, a postcode, a person's number, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr.privacy.digits import Run, read_group, runs
from asr.privacy.letters import read_letter
from asr.privacy.spans import Span, Word, bag, over
from asr.privacy.vocabulary import STOP_WORDS

# How far before a number, in words, what it is may be said.
_REACH = 9

_PHONE = bag(
    """
téléphone tél portable mobile fixe gsm natel cell cellulaire numéro numero joindre joignez rappelez rappeler
rappelle appelez appeler appelle phone telephone number landline call ring bell reach cellphone text whatsapp
fax ligne
"""
)
_CARD = bag("carte card visa mastercard cb amex")
_CARD_END = (("finit", "par"), ("termine", "par"), ("terminant", "par"), ("ending", "in"), ("ends", "in"))
_SECRET = bag("cryptogramme cvv cvc pin")
_POSTCODE = bag("postal postcode zip cp")
_IBAN = bag("iban rib compte account")
_ID = bag(
    """
sécu sécurité insurance passeport passport nss permis licence license nino identité siret
"""
)
_SOCIAL = ("social", "security")

# What is counted, so that the number before it is nobody's.
_COUNTED = bag(
    """
euros euro francs franc dollars dollar pounds pound quid bucks piasses cents pence livres rupees personnes
people kilomètres kilomètre mètres mètre miles yards grammes grams kilos kilogrammes litres minutes minute
heures heure hours hour ans years jours days mois months semaines weeks degrés degrees pour percent pourcent
fois times habitants boîtes boxes pages points places enfants children millions milliards million billion
"""
)
_UK_POSTCODE = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?[0-9][A-Z]{2}")
_CA_POSTCODE = re.compile(r"[A-Z][0-9][A-Z][0-9][A-Z][0-9]")
_COUNTRIES = bag("FR BE CH LU DE GB IE ES IT NL PT MC AT MT DK SE NO FI PL")
_IBAN_START = re.compile(rf"(?:{'|'.join(sorted(_COUNTRIES))})[0-9]{{2}}")
# Groups of an IBAN that are written as one: "GB82", "WEST", "3M".
_MIXED = re.compile(r"(?=[a-z0-9]*[0-9])(?=[a-z0-9]*[a-z])[a-z0-9]{2,8}")


@dataclass(frozen=True, slots=True)
class _Code:
    """Letters and digits that follow one another."""

    text: str
    first: int
    last: int


def figures(words: Sequence[Word], language: str) -> list[Span]:
    """Find numbers that belong to a person."""
    found = [span for code in _codes(words, language) if (span := _code_span(words, code)) is not None]
    found += [span for run in runs(words, language) if (span := _run_span(words, run)) is not None]
    return found


def _before(words: Sequence[Word], place: int) -> list[str]:
    """Return the words before a place, the nearest last, as far as they can say what comes."""
    return [word.key for word in words[max(0, place - _REACH) : place]]


def _has(keys: Sequence[str], wanted: frozenset[str]) -> bool:
    return any(key in wanted for key in keys)


def _follows(keys: Sequence[str], phrases: Sequence[tuple[str, ...]]) -> bool:
    return any(tuple(keys[-len(phrase) :]) == phrase for phrase in phrases)


def _is_id(keys: Sequence[str]) -> bool:
    return _has(keys, _ID) or _SOCIAL in pairwise(keys)


def _run_span(words: Sequence[Word], run: Run) -> Span | None:
    """Say what a run of numbers is."""
    keys = _before(words, run.first)
    count, last = len(run.digits), run.last
    if last < len(words) and words[last].key in _COUNTED and not words[last].soft:
        return None
    first = run.first
    if first and words[first - 1].key in ("plus", "+"):
        first -= 1
    thousands = any(group.thousands and not words[group.first].digits for group in run.groups)
    if _has(keys, _CARD) and (_follows(keys, _CARD_END) or count >= 8):
        return over(words, run.first, last, "CARD", 0.9)
    if _has(keys, _SECRET) and 3 <= count <= 6:
        return over(words, run.first, last, "CARD", 0.7)
    if _is_id(keys) and count >= 6:
        return over(words, run.first, last, "ID", 0.9)
    if _has(keys[-5:], _POSTCODE) and 4 <= count <= 6:
        return over(words, run.first, last, "POSTCODE", 0.9)
    told = _has(keys, _PHONE)
    parts = len(run.groups)
    # No price and no year is as long: it is an account's number or a card's.
    if count >= 14 and parts >= 4 and not run.counting:
        return over(words, run.first, last, "IBAN" if _has(keys, _IBAN) else "CARD", 0.75)
    if thousands or (run.counting and not told):
        return None
    # Seven figures are a number in a town; ten or so are one anywhere.
    if count >= 8 and (parts >= 3 or told or run.digits.startswith("0")):
        return over(words, first, last, "PHONE", 0.85 if told else 0.8)
    if count >= 6 and told and parts >= 2 and not run.counting:
        return over(words, first, last, "PHONE", 0.7)
    return None


def _codes(words: Sequence[Word], language: str) -> Iterator[_Code]:
    """Yield every run of letters and numbers that holds both."""
    place = 0
    while place < len(words):
        text, ahead, pieces = "", place, 0
        while (piece := _piece(words, ahead, language, text)) is not None:
            if text and words[ahead].hard:
                break
            text, ahead, pieces = text + piece[0], piece[1], pieces + 1
        if pieces and any(map(str.isdigit, text)) and any(map(str.isalpha, text)):
            yield _Code(text.upper(), place, ahead)
        place = max(ahead, place + 1)


def _piece(words: Sequence[Word], place: int, language: str, before: str) -> tuple[str, int] | None:
    """Read a letter, a number, or a group of both, that may go on with what was read before."""
    if place >= len(words):
        return None
    word = words[place]
    if _MIXED.fullmatch(word.key):
        return word.key, place + 1
    if (group := read_group(words, place, language)) is not None:
        return group.digits, group.last
    if (letter := read_letter(words, place, language)) is not None and not letter[2]:
        return letter[1], letter[0]
    # "GB" and "WEST" are said as letters but written as words.
    if not before and word.key.upper() in _COUNTRIES and (word.upper or read_group(words, place + 1, language)):
        return word.key, place + 1
    if len(word.key) == 4 and word.key.isascii() and word.key.isalpha() and _IBAN_START.match(before[:4].upper()):
        return None if word.key in STOP_WORDS[language] else (word.key, place + 1)
    return None


def _code_span(words: Sequence[Word], code: _Code) -> Span | None:
    """Say what letters and numbers together are."""
    keys = _before(words, code.first)
    count = len(code.text)
    start = _IBAN_START.search(code.text)
    if count >= 10 and start is not None and start.start() <= 2 and (_has(keys, _IBAN) or count >= 14):
        return over(words, code.first, code.last, "IBAN", 0.95)
    if _is_id(keys) and count >= 6:
        return over(words, code.first, code.last, "ID", 0.9)
    told = _has(keys[-5:], _POSTCODE)
    if _UK_POSTCODE.fullmatch(code.text) or _CA_POSTCODE.fullmatch(code.text) or (told and 4 <= count <= 8):
        return over(words, code.first, code.last, "POSTCODE", 0.9)
    return None
