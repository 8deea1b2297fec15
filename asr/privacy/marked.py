"""Sentences in which personal data is marked, and how well a finder of spans does on them.

A sentence is written with its marks, ``Je m'appelle [NAME Marie Dupont].``, and may have slots, ``[PHONE {phone}]``,
that are filled from a table by a seed. A token is a word of ``str.split``, and belongs to a span that covers a letter
or digit of it.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import ManifestError
from asr.privacy.spans import TYPES, Span
from asr.tables import read_table

_MARK = re.compile(r"\[([A-Z_]+) ([^\[\]]+)\]")
_SLOT = re.compile(r"\{([a-z]+)\}")
# What a recogniser may leave out: all but letters and digits, and the marks inside a word.
_UNSAID = re.compile(r"[^\w\s'’@+-]|(?<!\w)-|-(?!\w)")

Finder = Callable[[str, str], Sequence[Span]]


@dataclass(frozen=True, slots=True)
class Marked:
    """A sentence and the personal data in it.

    Attributes:
        text: The sentence without its marks.
        language: Of its dialect.
        dialect: BCP 47 tag.
        spans: What should be found.
        template: Line of the table that it comes from; sentences of one template are no independent evidence.
    """

    text: str
    language: str
    dialect: str
    spans: tuple[Span, ...]
    template: int

    def bare(self) -> Marked:
        """Return the sentence as a recogniser without capitals and punctuation would write it."""
        parts, spans, end, length = [], [], 0, 0
        for span in (*self.spans, Span(len(self.text), len(self.text), "", 1.0)):
            for start, stop, kind in ((end, span.start, ""), (span.start, span.end, span.type)):
                words = " ".join(_UNSAID.sub(" ", self.text[start:stop]).casefold().split())
                if words:
                    glue = " " if length and not (start and self.text[start - 1] in "'’") else ""
                    parts.append(glue + words)
                    if kind:
                        spans.append(Span(length + len(glue), length + len(parts[-1]), kind, 1.0))
                    length += len(parts[-1])
            end = span.end
        return Marked("".join(parts), self.language, self.dialect, tuple(spans), self.template)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a finder did to one sentence, in tokens.

    Attributes:
        template: As in `Marked`.
        language: As in `Marked`.
        wanted: Tokens of personal data, by type.
        hit: How many of them were found, as whatever type.
        spans: Spans of personal data, by type.
        whole: How many of them were found in all of their tokens.
        other: Tokens that are no personal data.
        masked: How many of those were found to be.
    """

    template: int
    language: str
    wanted: dict[str, int]
    hit: dict[str, int]
    spans: dict[str, int]
    whole: dict[str, int]
    other: int
    masked: int


def parse(written: str) -> tuple[str, tuple[Span, ...]]:
    """Read a sentence with its marks.

    Raises:
        ManifestError: A mark is of no known type, or a bracket is left open.
    """
    text, spans, end = "", [], 0
    for match in _MARK.finditer(written):
        if match[1] not in TYPES:
            raise ManifestError(f"a mark of the type {match[1]!r}; accepted are {', '.join(TYPES)}")
        text += written[end : match.start()]
        spans.append(Span(len(text), len(text) + len(match[2]), match[1], 1.0))
        text += match[2]
        end = match.end()
    text += written[end:]
    if "[" in text or "]" in text or "{" in text:
        raise ManifestError("a bracket that is no mark; write marks as [TYPE words] and slots as {name}")
    return text, tuple(spans)


def read_marked(sentences: Path, fillers: Path, seed: int = 0, times: int = 2) -> Iterator[Marked]:
    """Read a table of marked sentences, those with slots several times, filled by a seed.

    Args:
        sentences: A table with the columns ``dialect`` and ``sentence``.
        fillers: A table with the columns ``language``, ``slot`` and ``value``.
        seed: Another seed fills in otherwise.
        times: How often a sentence with slots is used.

    Raises:
        ManifestError: A table or a line of one is broken.
    """
    values = defaultdict(list)
    for _, row in read_table(fillers, ("language", "slot", "value")):
        values[row["language"], row["slot"]].append(row["value"])
    chance = random.Random(seed)
    for number, row in read_table(sentences, ("dialect", "sentence")):
        language = row["dialect"].split("-")[0]

        def value(slot: re.Match[str], of: str = language) -> str:
            return chance.choice(values[of, slot[1]])

        for _ in range(times if _SLOT.search(row["sentence"]) else 1):
            try:
                filled = _SLOT.sub(value, row["sentence"])
                text, spans = parse(filled)
            except IndexError:
                raise ManifestError("a slot has no values in the table of fillers", sentences, number) from None
            except ManifestError as error:
                raise ManifestError(str(error), sentences, number) from None
            yield Marked(text, language, row["dialect"], spans, number)


def tally(sentence: Marked, found: Sequence[Span]) -> Tally:
    """Count what was found and what was masked without need."""
    wanted, hit, spans, whole = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    tokens = [(match.start(), match.end()) for match in re.finditer(r"\S+", sentence.text)]
    gold = [_covering(sentence, place, sentence.spans) for place in tokens]
    covered = [_covering(sentence, place, found) is not None for place in tokens]
    for span in sentence.spans:
        own = [told for told, owner in zip(covered, gold, strict=True) if owner == span]
        wanted[span.type] += len(own)
        hit[span.type] += sum(own)
        spans[span.type] += 1
        whole[span.type] += all(own)
    free = [told for told, owner in zip(covered, gold, strict=True) if owner is None]
    return Tally(
        sentence.template, sentence.language, dict(wanted), dict(hit), dict(spans), dict(whole), len(free), sum(free)
    )


def _covering(sentence: Marked, token: tuple[int, int], spans: Sequence[Span]) -> Span | None:
    """Return the span that covers a letter or digit of a token."""
    for span in spans:
        shared = sentence.text[max(token[0], span.start) : min(token[1], span.end)]
        if any(map(str.isalnum, shared)):
            return span
    return None
