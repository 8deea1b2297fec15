"""Errors as a recogniser makes them, learnt from what it heard, to train an intent model for transcripts as they are.

What is learnt: for each word, what was heard in its place, itself and nothing included; and what was heard where
nothing was said. A word that was heard too rarely is mistaken as often as all words together, for what was heard
wrongly elsewhere.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer

from asr.errors import ManifestError
from asr.intent.features import bare
from asr.jsonlines import read_objects

# Times that a word was said before its own errors are believed.
OFTEN = 3
# Pairs that are aligned at once.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was heard in some place, and how many times; an empty text where nothing was."""

    heard: tuple[str, ...]
    counts: tuple[int, ...]

    def draw(self, source: random.Random) -> str:
        """Draw one by its frequency."""
        return source.choices(self.heard, self.counts)[0]


@dataclass(frozen=True, slots=True)
class Confusions:
    """The errors of a recogniser.

    Attributes:
        words: For each word that was said often enough.
        errors: What was heard in place of any word that was not heard rightly.
        error_rate: Share of the words that were not heard rightly.
        insertions: What was heard where nothing was said.
        insertion_rate: Insertions per word.
    """

    words: dict[str, Outcomes]
    errors: Outcomes
    error_rate: float
    insertions: Outcomes
    insertion_rate: float

    def corrupt(self, text: str, source: random.Random) -> str:
        """Return a text as it might be heard; it may come back as it was, or empty.

        Args:
            text: As `asr.intent.features.bare` gives it.
            source: Of the draws.
        """
        heard = []
        for word in text.split():
            if source.random() < self.insertion_rate:
                heard.append(self.insertions.draw(source))
            if word in self.words:
                heard.append(self.words[word].draw(source))
            else:
                heard.append(self.errors.draw(source) if source.random() < self.error_rate else word)
        return " ".join(word for word in heard if word)


def learn_confusions(pairs: Iterable[tuple[str, str]]) -> Confusions:
    """Learn what a recogniser mistakes for what, by the alignments of least edit distance.

    Args:
        pairs: What was said and what was heard.

    Raises:
        ManifestError: Nothing was said in them.
    """
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    insertions: Counter[str] = Counter()
    batch: list[tuple[str, str]] = []
    for said, heard in pairs:
        batch.append((bare(said), bare(heard)))
        if len(batch) == _BATCH:
            _count(batch, outcomes, insertions)
            batch = []
    _count(batch, outcomes, insertions)
    said_words = sum(counts.total() for counts in outcomes.values())
    if not said_words:
        raise ManifestError("there is no pair of what was said and what was heard to learn errors from")
    errors: Counter[str] = Counter()
    for word, counts in outcomes.items():
        errors += Counter({heard: count for heard, count in counts.items() if heard != word})
    return Confusions(
        words={word: _outcomes(counts) for word, counts in outcomes.items() if counts.total() >= OFTEN},
        errors=_outcomes(errors),
        error_rate=errors.total() / said_words,
        insertions=_outcomes(insertions),
        insertion_rate=insertions.total() / said_words,
    )


def _count(
    batch: Sequence[tuple[str, str]], outcomes: defaultdict[str, Counter[str]], insertions: Counter[str]
) -> None:
    usable = [pair for pair in batch if pair[0]]
    if not usable:
        return
    aligned = jiwer.process_words([said for said, _ in usable], [heard for _, heard in usable])
    for said, heard, chunks in zip(aligned.references, aligned.hypotheses, aligned.alignments, strict=True):
        for chunk in chunks:
            ours = said[chunk.ref_start_idx : chunk.ref_end_idx]
            theirs = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "insert":
                insertions.update(theirs)
            for at, word in enumerate(ours):
                outcomes[word][theirs[at] if at < len(theirs) else ""] += 1


def _outcomes(counts: Counter[str]) -> Outcomes:
    # In the order of the words, so that the same pairs give the same draws in whatever order they come.
    heard = tuple(sorted(counts))
    return Outcomes(heard, tuple(counts[word] for word in heard))


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Read what was said and what was heard: JSON Lines with the keys ``text`` and ``heard``.

    Raises:
        ManifestError: The file cannot be read, or a line lacks one of them.
    """
    pairs = []
    for number, row in read_objects(path):
        if isinstance(row, ManifestError):
            raise row
        said, heard = row.get("text"), row.get("heard")
        if not isinstance(said, str) or not isinstance(heard, str):
            raise ManifestError("a pair needs 'text', what was said, and 'heard', both as text", path, number)
        pairs.append((said, heard))
    return pairs
