"""What is said letter by letter, and e-mail addresses: "double u", "M comme Marie", "arobase … point fr"."""

from __future__ import annotations

from collections.abc import Sequence

from asr.privacy.digits import REPEATS, read_group
from asr.privacy.spans import Span, Word, bag, over
from asr.privacy.vocabulary import STOP_WORDS, TOP_LEVEL_DOMAINS

_LIKE = {"fr": (("comme",),), "en": (("for",), ("as", "in"), ("like",), ("as",))}
_NAMED_LETTERS = {"zed": "z", "zee": "z", "aitch": "h", "haitch": "h", "ygrec": "y"}
_TWICE = {"fr": ("deux",), "en": ("two",)}
_ACCENTS = frozenset({"aigu", "grave", "circonflexe", "tréma", "cédille"})
_JOINTS = frozenset({"tiret", "apostrophe", "hyphen", "dash", "espace", "space", "accent"})
# Said letter by letter by everyone, and nobody's name.
_ABBREVIATIONS = bag(
    """
sncf ratp tgv rer edf cgt bbc nhs usa uk cnn cd dvd adn pdf onu ue eu rtl tva vpn itv bbq abc rsa caf rtt vtt
ctv fbi cia usb sms gps diy ceo ngo ong pme hlm kgb
"""
)

_AT = {"fr": frozenset({"arobase", "arrobase", "arobas", "at", "@"}), "en": frozenset({"at", "@", "arobase"})}
_DOT = frozenset({"point", "dot"})
_JOINERS = frozenset({"point", "dot", "tiret", "dash", "hyphen", "underscore", "_", "bas", "plus", "+"})
# A domain's name, such as "la poste", and the words before the at that nothing joins.
_DOMAIN_WORDS = 4
_DOMAIN_LONGEST = 16
_LOCAL_WORDS = 2
_LOCAL_LONGEST = 24


def spelled(words: Sequence[Word], language: str) -> list[Span]:
    """Find what is spelled: at least three letters, or two of which one is explained ("M comme Marie")."""
    found = []
    place = 0
    while place < len(words):
        last, letters, parts, explained = place, "", 0, False
        while (read := read_letter(words, last, language)) is not None:
            after, letter, told = read
            if parts and words[last].hard:
                break
            letters, parts, explained, last = letters + letter, parts + 1, explained or told, after
            if last < len(words) and words[last].key in _JOINTS and read_letter(words, last + 1, language):
                last += 1
        # "I, E" is little; so are the three letters of "à ABC", which everybody says one by one.
        if (parts > 2 or (explained and parts > 1)) and letters not in _ABBREVIATIONS:
            found.append(over(words, place, last, "SPELLED", 0.8))
        place = max(last, place + 1)
    return found


def read_letter(words: Sequence[Word], place: int, language: str) -> tuple[int, str, bool] | None:
    """Read one letter that is said by its name.

    Returns:
        The word after it, the letter or letters, and whether a word explains it; None where no letter is said.
    """
    if place >= len(words):
        return None
    key, last = words[place].key, place + 1
    following = words[last].key if last < len(words) and not words[last].soft else ""
    if key in ("double", "doublé") and following in ("u", "v", "vé"):
        letter, last = "w", place + 2
    elif (key in REPEATS or key in _TWICE[language]) and len(following) == 1 and following.isalpha():
        letter, last = following * REPEATS.get(key, 2), place + 2
    elif key == "i" and following == "grec":
        letter, last = "y", place + 2
    elif key in _NAMED_LETTERS:
        letter = _NAMED_LETTERS[key]
    # The l of "l'heure" is no letter that is named, and neither is the s of "it's".
    elif words[place].letter and "'" not in words[place].gap and not (last < len(words) and words[last].gap == "'"):
        letter = key
    else:
        return None
    last = _past_accent(words, last)
    for like in _LIKE[language]:
        if tuple(word.key for word in words[last : last + len(like)]) == like:
            end = last + len(like)
            # "as in" before a sentence's end explains nothing.
            if end < len(words) and not any(word.hard for word in words[last : end + 1]):
                return end + 1, letter, True
    return last, letter, False


def _past_accent(words: Sequence[Word], place: int) -> int:
    if place + 1 < len(words) and words[place].key == "accent" and words[place + 1].key in _ACCENTS:
        return place + 2
    return place + 1 if place < len(words) and words[place].key in _ACCENTS else place


def emails(words: Sequence[Word], language: str) -> list[Span]:
    """Find e-mail addresses that are read out."""
    found = []
    for place, word in enumerate(words):
        commercial = word.key == "commercial" and place > 0 and words[place - 1].key == "a"
        if not commercial and word.key not in _AT[language]:
            continue
        last = _domain_end(words, place + 1, language)
        if last is None:
            # "at" alone is a word like others; "arobase" is said in an address only.
            if word.key == "at" or place + 1 >= len(words) or words[place + 1].hard:
                continue
            last = place + 2
        end = place - 1 if commercial else place
        first = _local_start(words, end, language)
        if first < end:
            found.append(over(words, first, last, "EMAIL", 0.95))
    return found


def _domain_end(words: Sequence[Word], place: int, language: str) -> int | None:
    """Return the word after a domain that begins at a word; None where there is none."""
    dotted, ahead = False, place
    since = 0
    last = None
    while ahead < min(len(words), place + _DOMAIN_LONGEST) and not words[ahead].hard:
        tight = words[ahead].gap == "." and ahead > place
        if tight or words[ahead].key in _DOT:
            dotted = True
            since = 0
            if not tight:
                ahead += 1
            if ahead < len(words) and words[ahead].key in TOP_LEVEL_DOMAINS:
                last = ahead + 1
        elif (dotted and last == ahead) or since >= _DOMAIN_WORDS:
            break
        since += 1
        ahead += 1
    return last


def _local_start(words: Sequence[Word], end: int, language: str) -> int:
    """Return the first word of what stands before the at."""
    first, loose = end, 0
    while first > 0 and end - first < _LOCAL_LONGEST:
        word, after = words[first - 1], words[first] if first < end else None
        joined = after is not None and after.key in _JOINERS
        one_of_many = word.letter or word.key in REPEATS or read_group(words, first - 1, language) is not None
        if after is not None and (after.hard or (after.soft and not (one_of_many or after.letter))):
            break
        if "'" in word.gap or (after is not None and after.gap == "'") or (first == end and words[end].gap == "'"):
            break
        if word.key in _JOINERS:
            if first == end:
                break
        elif not joined and ((word.key in STOP_WORDS[language] and not word.letter) or word.key == "à"):
            break
        elif not joined and not one_of_many:
            loose += 1
            if loose > _LOCAL_WORDS:
                break
        first -= 1
    while first < end and words[first].key in _JOINERS:
        first += 1
    return first
