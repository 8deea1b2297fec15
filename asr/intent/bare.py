"""Text as a template matcher takes it: lower case, no punctuation, and what is part of a word or number left alone.

Matchers compare letters. A comma that a recogniser writes after the first word is enough for another match or none
(as it was in https://github.com/OHF-Voice/hassil/issues/143), and so is a hyphen that is taken out of
``rez-de-chaussée``. This is for other programs: `asr.text` says what counts as the same word when we compare, and
`asr.intent.features.bare` what our own model reads.
"""

from __future__ import annotations

import re
import unicodedata

from asr.text import APOSTROPHES, close_elisions

# What nobody said as a word: tags, and in brackets what a recogniser writes of other sounds.
_UNSAID = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)")
# Signs that are said aloud.
_SPOKEN = frozenset("%‰°€$£+&")
_INSIDE_NUMBERS = frozenset(".,:/")
_HYPHENS = str.maketrans(dict.fromkeys("‐‑", "-"))
# Between these no joiner is superfluous: it parts letters in Persian, and joins them in Indic scripts.
_JOINERS = frozenset("\u200c\u200d")
_TURKISH = str.maketrans({"I": "ı", "İ": "i"})
# The spaces that typographers write into a number and before a sign of it.
_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3}(?!\d))")
_ENGLISH_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGN_APART = re.compile(r"(?<=\d) +(?=[%‰°])")


def bare_text(text: str, language: str | None) -> str:
    """Return a text in lower case without punctuation, between single spaces; empty where no word was said.

    Apostrophes and hyphens inside words stay, and so do digits with their decimal mark, their sign and what is said of
    them (``%``, ``°``, ``€``). An elision is closed, ``l' entrée``. Left out are tags, remarks in brackets such as
    ``[Musique]``, and control characters.

    Args:
        text: As recognised.
        language: Whisper's code; None where it is not known.
    """
    # Soft hyphens, marks of direction: nothing stands there.
    text = "".join(char for char in text if char in _JOINERS or unicodedata.category(char) != "Cf")
    text = _THOUSANDS.sub("", text.translate(APOSTROPHES).translate(_HYPHENS))
    text = unicodedata.normalize("NFKC", _UNSAID.sub(" ", text))
    if language == "en":
        text = _ENGLISH_THOUSANDS.sub("", text)
    if language in ("tr", "az"):
        text = text.translate(_TURKISH)
    text = unicodedata.normalize("NFC", text.lower().replace("i̇", "i"))
    text = " ".join(_words(close_elisions(text, language or "")).split())
    return _SIGN_APART.sub("", text)


def _words(text: str) -> str:
    kept: list[str] = []
    before = " "
    for char, after in zip(text, text[1:] + " ", strict=False):
        kind = unicodedata.category(char)
        if kind[0] in "LN" or char in _SPOKEN:
            keep = True
        elif kind[0] == "M" or char in _JOINERS:
            keep = before.isalpha()
        elif char == "'":
            keep = before.isalnum() and after.isalnum()
        elif char == "-":
            keep = after.isalnum() and (before.isalnum() or (before == " " and after.isdecimal()))
        else:
            keep = char in _INSIDE_NUMBERS and before.isdecimal() and after.isdecimal()
        kept.append(char if keep else " ")
        # A mark stands for the letter that carries it.
        before = before if keep and (kind[0] == "M" or char in _JOINERS) else kept[-1]
    return "".join(kept)
