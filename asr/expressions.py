"""Lexicons: the words and phrases of a dialect, found in text and rendered in the standard language.

A word ends at anything that is no letter or digit, so an apostrophe and a hyphen end one too: ``aubette`` is found in
``l'aubette``, ``bairn`` in ``bairn's``, and ``septante-deux`` is found however it is written. Words are compared as
`asr.text.fold` spells them. Where expressions overlap, the leftmost is found, and of those the longest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from asr.corpus.dialects import goes_with, tag_fault
from asr.errors import ManifestError
from asr.fragment import Expression
from asr.tables import read_table
from asr.text import APOSTROPHES, fold

# Natural-log bonus per token of an expression, where nobody chooses: none, until recordings of people show that what it
# finds outweighs what it makes up (scripts/benchmark_expressions.py).
BIAS = 0.0

_COLUMNS = ("expression", "standard", "ambiguous", "meaning")
# What may stand between two words of one expression.
_JOINTS = frozenset(" \t\n\u00a0\u202f-\u2010\u2011'")
_OPENING = " \t\n\u00a0\u202f\"'«“‘([¿¡-–—"
_SENTENCE_ENDS = ".!?…"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a lexicon.

    Attributes:
        expression: As it is written in a transcript, lower case unless it always has a capital.
        standard: What it can be replaced by, so that a standard sentence stays one; None if nothing can.
        meaning: For people, in the language of the lexicon.
        ambiguous: It is also said in the standard language, where it means something else.
    """

    expression: str
    standard: str | None
    meaning: str
    ambiguous: bool = False


class _Word(NamedTuple):
    """A word's place in a text, and how it is compared."""

    start: int
    end: int
    key: str


class _Match(NamedTuple):
    """An entry's place in a text: characters ``start`` to ``end``."""

    entry: Entry
    start: int
    end: int


class _Node:
    """A node of the word trie: what may follow, and the entry that ends here."""

    __slots__ = ("entry", "following")

    def __init__(self) -> None:
        self.following: dict[str, _Node] = {}
        self.entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The expressions of a dialect.

    Attributes:
        dialect: BCP 47 tag.
        entries: No two of the same words.
    """

    dialect: str
    entries: tuple[Entry, ...]
    _root: _Node = field(init=False, repr=False, compare=False, default_factory=_Node)

    def __post_init__(self) -> None:
        for entry in self.entries:
            node = self._root
            for word in _words(entry.expression, self.language):
                node = node.following.setdefault(word.key, _Node())
            node.entry = entry

    @property
    def language(self) -> str:
        """The tag's first subtag, such as ``fr``."""
        return self.dialect.split("-")[0].lower()

    @property
    def leads(self) -> tuple[str, ...]:
        """What a recogniser is led to: the expressions that are not ambiguous."""
        return tuple(entry.expression for entry in self.entries if not entry.ambiguous)

    def serves(self, language: str, dialect: str | None) -> bool:
        """Whether the lexicon says anything of speech in a language and, where it is known, a dialect.

        A dialect is served when it is the lexicon's own, a part of it, or wider: ``fr-CA`` serves ``fr-CA-x-gaspesie``
        and ``fr``, but not ``fr-BE``.

        Args:
            language: Whisper's code.
            dialect: BCP 47 tag, or None.
        """
        theirs, ours = (dialect or "").lower().split("-"), self.dialect.lower().split("-")
        same = dialect is None or all(one == other for one, other in zip(theirs, ours, strict=False))
        return same and goes_with(self.dialect, language)

    def find(self, text: str) -> tuple[Expression, ...]:
        """Return the expressions in a text, in its order, as they are said there."""
        starts = [at for at, char in enumerate(text) if not char.isspace() and (at == 0 or text[at - 1].isspace())]
        found = []
        index = -1
        for entry, start, end in self._matches(text):
            while index + 1 < len(starts) and starts[index + 1] <= start:
                index += 1
            found.append(Expression(text=text[start:end], standard=entry.standard, start_word=index))
        return tuple(found)

    def standardise(self, text: str) -> str:
        """Return the text with every expression replaced that has a standard form and is not ambiguous.

        Everything else stays: punctuation, spaces, and the capital of what began with one.
        """
        parts = []
        after = 0
        for entry, start, end in self._matches(text):
            if entry.standard is not None and not entry.ambiguous:
                parts += [text[after:start], _capital(entry.standard, entry.expression, text, start)]
                after = end
        return "".join(parts) + text[after:]

    def _matches(self, text: str) -> Iterator[_Match]:
        """Yield the longest entry at the leftmost place, over and over; linear in the text."""
        words = _words(text, self.language)
        at = 0
        while at < len(words):
            node, found, beyond = self._root, None, at + 1
            for place in range(at, len(words)):
                joined = place == at or _JOINTS.issuperset(
                    text[words[place - 1].end : words[place].start].translate(APOSTROPHES)
                )
                following = node.following.get(words[place].key) if joined else None
                if following is None:
                    break
                node = following
                if node.entry is not None:
                    found, beyond = _Match(node.entry, words[at].start, words[place].end), place + 1
            if found is not None:
                yield found
            at = beyond


def read_lexicon(path: str | Path) -> Lexicon:
    """Read a lexicon: a tab-separated file with a header line, named by its dialect's tag, such as ``fr-CA.tsv``.

    Raises:
        ManifestError: Its name is no tag, it cannot be read, or a line is broken, which is named.
    """
    file = Path(path)
    if fault := tag_fault(file.stem):
        raise ManifestError(f"a lexicon is named by its dialect, such as fr-CA.tsv, but {file.stem!r}: {fault}", file)
    language = file.stem.split("-")[0].lower()
    entries: dict[tuple[str, ...], Entry] = {}
    for line, row in read_table(file, _COLUMNS):
        key = tuple(word.key for word in _words(row["expression"], language))
        if not key or not row["meaning"]:
            raise ManifestError("an entry needs an expression and its meaning", file, line)
        if row["ambiguous"] not in ("", "yes"):
            raise ManifestError(f"ambiguous is 'yes' or nothing, found {row['ambiguous']!r}", file, line)
        if key in entries:
            raise ManifestError(f"expression {row['expression']!r} is given twice; keep one", file, line)
        entries[key] = Entry(row["expression"], row["standard"] or None, row["meaning"], row["ambiguous"] == "yes")
    if not entries:
        raise ManifestError("the lexicon has no entry", file)
    return Lexicon(file.stem, tuple(entries.values()))


def _words(text: str, language: str) -> list[_Word]:
    words = []
    shown = text.translate(APOSTROPHES)  # one for one, so places stay
    for inside, places in groupby(range(len(shown)), key=lambda place: _is_inside(shown[place])):
        if inside:
            first, *rest = places
            end = (rest or [first])[-1] + 1
            words.append(_Word(first, end, fold(shown[first:end], language)))
    return [word for word in words if word.key]


def _is_inside(char: str) -> bool:
    """Whether a character is of a word: a letter, a digit, a mark on one, or one that nobody sees."""
    category = unicodedata.category(char)
    return category[0] in "LNM" or category == "Cf"


def _capital(standard: str, expression: str, text: str, start: int) -> str:
    """Give the standard form a capital where the expression has one that is the sentence's and not its own."""
    before = text[:start].rstrip(_OPENING)
    begins_sentence = not before or before[-1] in _SENTENCE_ENDS
    if text[start].isupper() and (begins_sentence or not expression[0].isupper()):
        return standard[0].upper() + standard[1:]
    return standard
