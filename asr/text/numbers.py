"""Digits read out as words, in the numerals of the dialect.

Whisper writes ``90`` where a verbatim transcript says ``nonante`` or ``quatre-vingt-dix``. Words are never
collapsed into digits here (that would make the two dialect words equal); digits are spelt out instead, and a
language with several ways to read them has several readings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from num2words import num2words

_GROUPED = r"[1-9][0-9]{0,2}(?P<gap>[ .,'])[0-9]{3}(?:(?P=gap)[0-9]{3})*"
# A number with thousands grouped, with decimals, or both; plain digits are left to the second pass.
_LONG = re.compile(
    rf"(?<!\w)(?<![0-9][ .,'])(?:(?P<grouped>{_GROUPED})(?:[.,](?P<part>[0-9]+))?"
    r"|(?P<whole>[0-9]+)[.,](?P<decimals>[0-9]+))(?!\w|[ .,'][0-9])"
)
_PLAIN = re.compile(r"(?<!\w)[0-9]+(?!\w)")
_ORDINAL_FR = re.compile(r"(?<!\w)([0-9]{1,4})(er|re|ère|ere|e|ème|eme)(?!\w)")
# Longer runs of digits are telephone and account numbers, which nobody reads as one number.
_LONGEST = 15


@dataclass(frozen=True, slots=True)
class Numerals:
    """One way to read numbers aloud.

    Attributes:
        cardinal: Number to words: lower case, no hyphens.
        point: The word between whole and decimals, such as ``virgule``.
        ordinals: Whether French ordinals (``1er``, ``2e``) are read too, in the standard numerals.
    """

    cardinal: Callable[[int], str]
    point: str
    ordinals: bool = False


def read_long_numbers(text: str, numerals: Numerals) -> str:
    """Spell out numbers that hold punctuation (``10 000``, ``3,5``) and, in French, ordinals.

    A separator before exactly three digits groups thousands, whatever it is; any other comma or point starts
    decimals. To be called before punctuation is removed.
    """
    if numerals.ordinals:
        text = _ORDINAL_FR.sub(lambda match: f" {_french_ordinal(int(match[1]), match[2])} ", text)

    def read(match: re.Match[str]) -> str:
        whole = re.sub("[^0-9]", "", match["grouped"] or match["whole"])
        words = _read_digits(whole, numerals)
        decimals = match["part"] or match["decimals"]
        return f" {words} {numerals.point} {_read_digits(decimals, numerals)} " if decimals else f" {words} "

    return _LONG.sub(read, text)


def read_plain_numbers(text: str, numerals: Numerals) -> str:
    """Spell out every word that is digits only; digits glued to letters (``mp3``) stay."""
    return _PLAIN.sub(lambda match: _read_digits(match[0], numerals), text)


def _read_digits(digits: str, numerals: Numerals) -> str:
    if (digits.startswith("0") and len(digits) > 1) or len(digits) > _LONGEST:
        zeros = len(digits) - len(digits.lstrip("0"))
        rest = digits[zeros:]
        # 06 is read "zero six", 0125 "zero one hundred twenty-five"; too long a number digit by digit.
        tail = [rest] if 0 < len(rest) <= _LONGEST else list(rest)
        return " ".join(numerals.cardinal(int(part)) for part in ["0"] * zeros + tail)
    return numerals.cardinal(int(digits))


def _words(number: int, lang: str) -> str:
    # Some locales write commas and hyphens inside a number, Dutch writes één where texts have een.
    return re.sub("[-, ]+", " ", num2words(number, lang=lang)).replace("éé", "ee").casefold()


def _german_hundreds(number: int) -> str:
    """1984 as neunzehnhundertvierundachtzig, the way years are read."""
    if 1100 <= number < 2000:
        return str(num2words(number, lang="de", to="year"))
    return _words(number, "de")


# The tens in which French dialects differ. Belgian numerals are those of Congo, Rwanda and Burundi too, and of
# Geneva, Neuchâtel and Jura, which do not say huitante.
_BELGIAN = ((70, "septante"), (90, "nonante"))
_SWISS = ((70, "septante"), (80, "huitante"), (90, "nonante"))


@lru_cache
def _regional_words(tens: tuple[tuple[int, str], ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    words = {}
    for base, name in tens:
        for unit in range(10):
            rest = "" if unit == 0 else " et un" if unit == 1 else f" {_words(unit, 'fr')}"
            words[_words(base + unit, "fr")] = name + rest
        if base == 80:
            words["quatre vingt"] = name  # as in "quatre-vingt mille"
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b"), words


def _french(number: int, tens: tuple[tuple[int, str], ...]) -> str:
    pattern, words = _regional_words(tens)
    standard = _words(number, "fr")
    # An "old" word such as "soixante dix" occurs in a standard French number only as that number.
    return pattern.sub(lambda match: words[match[0]], standard) if tens else standard


def _french_ordinal(number: int, ending: str) -> str:
    if number == 1:
        return "premier" if ending == "er" else "première"
    # num2words writes "quatre-vingtsième".
    return str(num2words(number, lang="fr", to="ordinal")).replace("vingtsi", "vingti").replace("-", " ")


_FRENCH = {
    "FR": Numerals(partial(_french, tens=()), "virgule", ordinals=True),
    "BE": Numerals(partial(_french, tens=_BELGIAN), "virgule", ordinals=True),
    "CH": Numerals(partial(_french, tens=_SWISS), "virgule", ordinals=True),
}
_PORTUGUESE = {
    "PT": Numerals(partial(_words, lang="pt"), "vírgula"),
    "BR": Numerals(partial(_words, lang="pt_BR"), "vírgula"),
}
_READINGS: dict[str, dict[str, Numerals]] = {
    "fr": _FRENCH,
    "es": {"ES": Numerals(partial(_words, lang="es"), "coma")},
    "de": {
        "DE": Numerals(partial(_words, lang="de"), "komma"),
        "years": Numerals(_german_hundreds, "komma"),
    },
    "it": {"IT": Numerals(partial(_words, lang="it"), "virgola")},
    "pt": _PORTUGUESE,
    "nl": {"NL": Numerals(partial(_words, lang="nl"), "komma")},
}
_SAME_NUMERALS = {"CD": "BE", "RW": "BE", "BI": "BE"}


def readings(language: str, region: str | None = None) -> tuple[Numerals, ...]:
    """Return all ways to read numbers in a language, the region's own first; empty if none is known.

    Args:
        language: Whisper's code.
        region: Two-letter region of the dialect, such as ``BE``.
    """
    known = _READINGS.get(language, {})
    first = _SAME_NUMERALS.get(region or "", region)
    return tuple(known[name] for name in sorted(known, key=lambda name: name != first))
