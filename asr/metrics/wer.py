"""Word and character errors as counts, which add up over a corpus; a mean of rates would not be WER.

The counts come from jiwer. All text must be normalised already (asr.text).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jiwer


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Errors of one fragment or, added up, of a corpus, in words or in characters.

    Words against an empty reference are insertions: they count as errors, and add no reference words.

    Attributes:
        insertions: In the hypothesis only.
        deletions: In the reference only.
        substitutions: Replaced by another.
        hits: The same in both.
    """

    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0
    hits: int = 0

    @property
    def reference(self) -> int:
        """Words or characters of the reference."""
        return self.hits + self.deletions + self.substitutions

    @property
    def errors(self) -> int:
        """All errors."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float | None:
        """Errors per reference word or character; None when there is no reference to divide by."""
        return self.errors / self.reference if self.reference else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        """Add two sets of counts."""
        return ErrorCounts(
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
            self.hits + other.hits,
        )


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Count the word errors of one fragment; words stand between spaces."""
    return _counts(jiwer.process_words(reference, hypothesis))


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Count the character errors of one fragment; a space is a character, so that joined words cost one."""
    return _counts(jiwer.process_characters(reference, hypothesis))


def nearest_errors(reference: str, hypotheses: Iterable[str]) -> tuple[ErrorCounts, ErrorCounts]:
    """Count the errors of the rendering that is nearest to the reference.

    Args:
        reference: Normalised text.
        hypotheses: At least one rendering of the same output (``Normalizer.renderings``).

    Returns:
        Word and character errors of the rendering with the fewest word errors, then character errors.
    """
    counted = ((word_errors(reference, text), character_errors(reference, text)) for text in hypotheses)
    return min(counted, key=lambda pair: (pair[0].errors, pair[1].errors))


def _counts(output: jiwer.WordOutput | jiwer.CharacterOutput) -> ErrorCounts:
    return ErrorCounts(output.insertions, output.deletions, output.substitutions, output.hits)
