"""A fragment's labels as the entries of Label Studio's controls, and back.

A control is named after the fragment's field, and an entry is a line that was written or a choice that was made:
``emphasis`` has a word each, ``expressions`` one each with its standard rendering (``septante = soixante-dix``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from asr.fragment import Expression, Fragment

# Fields that an annotator answers, in the order in which they are asked.
ANSWERED = ("text", "dialect", "intonation", "tune", "emphasis", "expressions")
CHOSEN = ("dialect", "intonation", "tune")
# A choice in each list, and the control that has one for each field that is written.
CANNOT_TELL = "cannot tell"
CANNOT_TELL_CONTROL = "cannot_tell"

# A word, and which of its occurrences is meant where there are several.
_OCCURRENCE = re.compile(r"(\S+?)\s*\((\d+)\)")


def entries_of(fragment: Fragment) -> dict[str, tuple[str, ...]]:
    """Return the entries that say what a fragment says; fields that say nothing have none."""
    words = fragment.text.split()
    untold = _untold(fragment)
    found = {
        "text": (fragment.text,) if fragment.text else (),
        "emphasis": tuple(_word_entry(words, index) for index in fragment.emphasis if index < len(words)),
        "expressions": tuple(
            item.text if item.standard is None else f"{item.text} = {item.standard}" for item in fragment.expressions
        ),
        CANNOT_TELL_CONTROL: tuple(name for name in untold if name not in CHOSEN),
    }
    for name in CHOSEN:
        value = CANNOT_TELL if name in untold else getattr(fragment, name)
        found[name] = () if value is None else (value,)
    return {name: entries for name, entries in found.items() if entries}


def answered(base: Fragment, entries: Mapping[str, Sequence[str]]) -> Fragment:
    """Return a fragment with an annotator's answers in the place of its own labels.

    An answer that is what the fragment says already changes nothing. Another text takes the times of words and the
    standard rendering with it, which belong to the old one. "Cannot tell" leaves a field empty and is noted in
    ``custom["cannot_tell"]``; a word that is not in the text, and a choice of several, in ``custom["unmapped"]``.

    Args:
        base: The fragment as it was.
        entries: By field; a field without entries was not answered, and is empty.

    Raises:
        ManifestError: An answer cannot stand in a fragment.
    """
    before, told = entries_of(base), _untold(base)
    given = {name: tuple(entries.get(name, ())) for name in ANSWERED}
    marked = entries.get(CANNOT_TELL_CONTROL, ())
    untold = [name for name in ANSWERED if name in marked or given[name] == (CANNOT_TELL,)]
    new = {name for name in ANSWERED if given[name] != before.get(name, ()) or (name in untold) != (name in told)}
    if not new:
        return base
    changes: dict[str, Any] = {}
    unmapped: dict[str, JsonValue] = dict(old) if isinstance(old := base.custom.get("unmapped"), dict) else {}
    if "text" in new:
        # What is said of words is looked for in the new ones.
        new |= {"emphasis", "expressions"}
        changes = {"text": "" if "text" in untold else "\n".join(given["text"]), "text_standard": None, "words": ()}
    words = changes.get("text", base.text).split()
    for name in new - {"text"}:
        kept = () if name in untold else given[name]
        if name == "emphasis":
            changes[name], lost = _emphasis(words, kept)
        elif name == "expressions":
            changes[name], lost = _expressions(words, kept)
        else:
            changes[name], lost = (kept[0], []) if len(kept) == 1 else (None, list(kept))
        unmapped.pop(name, None)
        unmapped |= {name: [*lost]} if lost else {}
    custom: dict[str, Any] = {
        key: value for key, value in base.custom.items() if key not in ("cannot_tell", "unmapped")
    }
    custom |= {key: value for key, value in (("cannot_tell", untold), ("unmapped", unmapped)) if value}
    return base.replace(**changes, custom=custom)


def _untold(fragment: Fragment) -> list[str]:
    """Return the fields of which an annotator has said "cannot tell"."""
    noted = fragment.custom.get("cannot_tell")
    return [name for name in ANSWERED if name in noted] if isinstance(noted, list) else []


def _word_entry(words: Sequence[str], index: int) -> str:
    word = words[index]
    # Counted as they will be looked for.
    same = [place for place, other in enumerate(words) if other == word]
    return word if len(same) == 1 else f"{word} ({same.index(index) + 1})"


def _emphasis(words: Sequence[str], entries: Sequence[str]) -> tuple[tuple[int, ...], list[str]]:
    """Return the indices of the words that entries mean, and the entries that mean none."""
    found: list[int] = []
    lost = []
    for entry in entries:
        place = None
        # A word may be written like that itself.
        if entry not in words and (numbered := _OCCURRENCE.fullmatch(entry.strip())):
            place = _find(words, [numbered[1]], int(numbered[2]))
        if place is None:
            place = _find(words, [entry], 1)
        if place is None:
            lost.append(entry)
        elif place not in found:
            found.append(place)
    return tuple(found), lost


def _expressions(words: Sequence[str], entries: Sequence[str]) -> tuple[tuple[Expression, ...], list[str]]:
    """Return the expressions that entries name, located where they stand, and the entries that name none."""
    found = []
    lost = []
    for entry in entries:
        text, _, standard = (part.strip() for part in entry.partition("="))
        if text:
            found.append(Expression(text=text, standard=standard or None, start_word=_find(words, text.split(), 1)))
        else:
            lost.append(entry)
    return tuple(found), lost


def _find(words: Sequence[str], wanted: Sequence[str], occurrence: int) -> int | None:
    """Return where some words stand the n-th time: as they are written, or else but for case and punctuation."""
    for spelt in (str, _bare):
        sought = [spelt(word) for word in wanted]
        places = [
            place
            for place in range(len(words) - len(sought) + 1)
            if all(spelt(word) == other for word, other in zip(words[place:], sought, strict=False))
        ]
        if len(places) >= occurrence > 0 and any(sought):
            return places[occurrence - 1]
    return None


def _bare(word: str) -> str:
    kept = (char for char in unicodedata.normalize("NFKC", word).casefold() if unicodedata.category(char)[0] in "LMN")
    return "".join(kept)
