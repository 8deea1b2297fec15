"""Normalisers: reference and hypothesis pass through the same one before they are compared.

English uses openai-whisper's own, so that English figures compare with everybody's (its faults too: it leaves a
word ``.`` of a final ``...``). It is wrong for other
languages, and Whisper's basic one cuts ``l'homme`` in two and vowel signs off Indic words; so every other
language has rules of ours:

- Letters, accents and vowel signs stay: NFKC, case folded (``ß`` is ``ss``, as the Swiss write it; ``İ`` is
  ``i``), invisible characters dropped. French ``œ`` and ``æ`` are ``oe`` and ``ae``: a habit of keyboards.
- An apostrophe inside a word, however it is typed, is part of it: ``l'homme``, ``aujourd'hui`` and ``geht's`` are
  one word each; a space after an elision is closed. At a word's edge it is a quotation mark and goes.
- A hyphen or dash is a space: ``quatre-vingt-dix`` and ``quatre vingt dix`` are the same three words, ``est-ce`` two.
- Other punctuation and symbols go, and so do annotations in brackets, ``[rires]``, as Whisper's normalisers do.
- No word is changed into another: ``septante``, ``p'tit`` and ``euh`` survive.
- Digits become words (asr.text.numbers); French, German and Portuguese have several readings.
- Languages written without spaces are cut into letters, vowel signs kept with theirs: WER is then CER.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version

from asr.text.numbers import Numerals, read_long_numbers, read_plain_numbers, readings

# Change it when a result can change: scores of two versions do not compare.
_VERSION = 1

# What is typed for an apostrophe, one character for one.
APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛ʼʻʹˈ′‵`´＇", "'"))
_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+\)")
# Written without spaces between words.
UNSEGMENTED = frozenset({"zh", "yue", "ja", "th", "lo", "my"})


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Turns text into what is compared: words between single spaces.

    Attributes:
        name: Goes into every result; changes when a result can change.
    """

    name: str
    _readings: tuple[Callable[[str], str], ...] = field(repr=False)

    def __call__(self, text: str) -> str:
        """Return the normalised text; empty when nothing of it is a word."""
        return self._readings[0](text)

    def renderings(self, text: str) -> tuple[str, ...]:
        """Return every reading of the text's digits, the dialect's own first, without repetitions.

        A recogniser that writes ``90`` has not said which word it heard, so a scorer compares the reference
        with each of them and keeps the nearest.
        """
        several = any(map(str.isnumeric, text))
        return tuple(dict.fromkeys(read(text) for read in (self._readings if several else self._readings[:1])))


@lru_cache
def get_normalizer(language: str, dialect: str | None = None) -> Normalizer:
    """Return the normaliser of a language; every language has one, and it never raises.

    Normalise raw text once: Whisper's English one is not idempotent (the others are).

    Args:
        language: Whisper's code. ``en`` imports openai-whisper and, through it, torch.
        dialect: BCP 47 tag; its region decides how digits are read first (``fr-BE``: 90 is ``nonante``).
    """
    if language == "en":
        return _english()
    rules = _RULES.get(language, _PLAIN)
    numerals = readings(language, _region(dialect))
    name = rules.name if language not in UNSEGMENTED else "letters"
    clean = partial(_normalize, rules=rules, letters=language in UNSEGMENTED)
    return Normalizer(
        f"{name}-{_VERSION}",
        tuple(partial(clean, numerals=each) for each in numerals) or (partial(clean, numerals=None),),
    )


def fold(text: str, language: str) -> str:
    """Return text in the letters by which a language's words are compared, punctuation and all.

    Args:
        text: Any text.
        language: Whisper's code; English, whose normaliser is another, folds by the common rules.
    """
    return _fold(text, _RULES.get(language, _PLAIN).letters)


def close_elisions(text: str, language: str) -> str:
    """Return text in which an elided word stands at the next one: ``l' homme`` becomes ``l'homme``.

    Args:
        text: In lower case, with typewriter apostrophes.
        language: Whisper's code; other than French and Italian text stays as it is.
    """
    return _close_elisions(text, _RULES.get(language, _PLAIN))


def _close_elisions(text: str, rules: _Rules) -> str:
    return re.sub(rf"(?<!\w)({rules.elisions})'\s+(?=\w)", r"\1'", text) if rules.elisions else text


def _english() -> Normalizer:
    from whisper.normalizers import EnglishTextNormalizer  # torch comes with it

    whisper = EnglishTextNormalizer()
    # Whisper's own takes only the typewriter apostrophe as one; "don’t" must not become "don t".
    return Normalizer(
        f"whisper-english-{version('openai-whisper')}+apostrophes",
        (lambda text: whisper(text.translate(APOSTROPHES)).strip(),),
    )


def _region(dialect: str | None) -> str | None:
    public = (dialect or "").split("-x-")[0].split("-")[1:]
    return next((part.upper() for part in public if len(part) == 2 and part.isalpha()), None)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a language adds to the common rules.

    Attributes:
        name: Of the normaliser, without its version.
        letters: Single letters that are written in two ways.
        symbols: Words for symbols; a symbol that belongs to a number stands after it.
        elisions: Words that lose their last letter before an apostrophe.
        words: Spellings that are the same word.
    """

    name: str
    letters: dict[int, str] = field(default_factory=dict)
    symbols: tuple[tuple[str, str], ...] = ()
    elisions: str = ""
    words: tuple[tuple[str, str], ...] = ()


def _units(
    percent: str, dollars: str, pounds: str, conjunction: str, euros: str = "euros"
) -> tuple[tuple[str, str], ...]:
    after_number = {"%": percent, "€": euros, r"\$": dollars, "£": pounds}
    return (
        *((rf"(?<=[0-9])\s?{symbol}", f" {word} ") for symbol, word in after_number.items()),
        ("&", f" {conjunction} "),
    )


# "14h30", "3 h"; a letter survives where a symbol does not, so the digits must be a word: "a0 h" stays.
_HOURS = (r"(?<!\w)([0-9]+)\s?h(?=\s?[0-9]{2}(?!\w)|(?!\w))", r"\1 heures ")
_TURKISH = {ord("I"): "ı", ord("İ"): "i"}

_PLAIN = _Rules("plain")
_RULES = {
    "fr": _Rules(
        "french",
        letters={ord("œ"): "oe", ord("æ"): "ae"},
        symbols=(_HOURS, *_units("pour cent", "dollars", "livres", "et")),
        elisions="l|d|j|m|t|s|c|n|qu|jusqu|lorsqu|puisqu|quoiqu|presqu|quelqu|aujourd",
    ),
    "es": _Rules("spanish", symbols=_units("por ciento", "dólares", "libras", "y")),
    "de": _Rules("german", symbols=_units("prozent", "dollar", "pfund", "und", "euro")),
    "it": _Rules(
        "italian",
        symbols=_units("per cento", "dollari", "sterline", "e", "euro"),
        elisions="l|d|c|m|t|s|v|un|dell|all|nell|sull|dall|quell|quest|sant|bell|anch|com|dov|cos",
    ),
    "pt": _Rules("portuguese", symbols=_units("por cento", "dólares", "libras", "e")),
    "nl": _Rules(
        "dutch", symbols=_units("procent", "dollar", "pond", "en", "euro"), words=((r"(?<!\w)[eé][eé]n(?!\w)", "een"),)
    ),
    "tr": _Rules("turkish", letters=_TURKISH),
    "az": _Rules("azerbaijani", letters=_TURKISH),
}


def _normalize(text: str, rules: _Rules, numerals: Numerals | None, letters: bool) -> str:
    text = _BRACKETS.sub(" ", _fold(text, rules.letters))
    for pattern, word in rules.symbols:
        text = re.sub(pattern, word, text)
    if numerals is not None:
        text = read_long_numbers(text, numerals)
    text = _words_only(_close_elisions(text, rules))
    if numerals is not None:
        text = read_plain_numbers(text, numerals)
    for pattern, word in rules.words:
        text = re.sub(pattern, word, text)
    if letters:
        cut = (char if unicodedata.category(char)[0] == "M" else f" {char}" for char in text)
        text = "".join(cut).replace("'", " ")
    return " ".join(unicodedata.normalize("NFC", text).split())


def _fold(text: str, letters: dict[int, str]) -> str:
    # Apostrophes before NFKC, which makes a space and a mark of the accent that some type instead of one.
    text = "".join(char for char in text.translate(APOSTROPHES) if unicodedata.category(char) != "Cf")
    text = unicodedata.normalize("NFKC", text).translate(letters).casefold().translate(letters)
    # Folding İ leaves a dot above the i; folding ŉ and others brings apostrophes and decomposed letters back.
    return unicodedata.normalize("NFKC", text.replace("i̇", "i")).translate(APOSTROPHES)


def _words_only(text: str) -> str:
    """Keep letters, digits, marks on letters, and apostrophes inside words; all else becomes a space."""
    kept: list[str] = []
    before = " "
    for char, after in zip(text, text[1:] + " ", strict=False):
        kind = unicodedata.category(char)[0]
        inside = char == "'" and before.isalnum() and after.isalnum()
        keep = kind in "LN" or inside or (kind == "M" and before.isalpha())
        kept.append(char if keep else " ")
        # A mark stands for the letter that carries it.
        before = before if keep and kind == "M" else kept[-1]
    return "".join(kept)
