"""Whether a dialect's tag is one, and whether it goes with a Whisper language."""

from __future__ import annotations

from functools import lru_cache

import langcodes

# Whisper's language codes (large-v3 and its descendants; 'yue' is missing before). A test compares them with
# whisper.tokenizer, which cannot be imported without torch.
_CODES = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id
    is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd
    si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""
WHISPER_LANGUAGES = frozenset(_CODES.split())

# Whisper's own spelling, or the wider language that it means.
_SAME = {"jv": "jw", "fil": "tl", "nb": "no", "cmn": "zh"}
# Varieties that Whisper knows poorly under their own code, and that are often written in a wider language.
_ALSO = {"yue": {"zh"}, "nn": {"no"}, "lb": {"de"}, "ht": {"fr"}, "oc": {"fr"}}


@lru_cache(maxsize=4096)
def tag_fault(tag: str) -> str | None:
    """Say what is wrong with a dialect tag.

    Private subtags (``en-GB-x-cumbria``) and tags in any case are accepted; a tag that is private altogether
    (``x-cumbria``) is not, because nothing says which language it is.

    Returns:
        None for a valid BCP 47 tag, else the fault as part of a sentence.
    """
    if "_" in tag:
        return "subtags are joined by '-', not '_'"
    if tag.lower().startswith(("x-", "und")):
        return "it names no language"
    try:
        language = langcodes.Language.get(tag, normalize=False)
    except langcodes.LanguageTagError as error:
        return str(error).rstrip(".")
    return None if language.is_valid() else "one of its subtags is not registered"


@lru_cache(maxsize=4096)
def goes_with(tag: str, language: str) -> bool:
    """Whether fragments of a dialect can be given to Whisper as ``language``.

    ``fr-CA`` goes with ``fr`` alone. A dialect that has a language code of its own which Whisper does not know
    (``gsw-CH``, ``sco``, ``pcd``, ``gcf``) goes with whatever language its speakers' transcripts are written in.

    Args:
        tag: A valid BCP 47 tag.
        language: Whisper's code.
    """
    own = _whisper_code(tag)
    return language in {own} | _ALSO.get(own, set()) or own not in WHISPER_LANGUAGES


def implied_language(tag: str) -> str | None:
    """Whisper's code for the language that a dialect is of: ``fr`` for ``fr-CA``; None for ``gsw-CH`` and the like.

    Args:
        tag: A valid BCP 47 tag.
    """
    own = _whisper_code(tag)
    return own if own in WHISPER_LANGUAGES else None


def wider_tag(tag: str) -> str | None:
    """Return the tag of the next wider variety: ``en-GB-x-cumbria``, ``en-GB``, ``en``, and then None.

    It is the truncation of RFC 4647, section 3.4: the last subtag goes, and with it a single letter that would end the
    tag.

    Args:
        tag: A valid BCP 47 tag.
    """
    subtags = tag.split("-")[:-1]
    while subtags and len(subtags[-1]) == 1:
        subtags.pop()
    return "-".join(subtags) or None


def _whisper_code(tag: str) -> str:
    own = langcodes.Language.get(tag).language or ""
    return _SAME.get(own, own)
