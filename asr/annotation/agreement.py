"""How well annotators agree, pair by pair: Krippendorff's alpha for labels, word error rate between transcripts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from asr.errors import MissingExtraError
from asr.fragment import Fragment
from asr.importers.entries import CHOSEN
from asr.metrics import ErrorCounts, nearest_errors
from asr.text import get_normalizer

# What has an alpha; the units of emphasis are words, of which each stands out or does not.
MEASURED = (*CHOSEN, "emphasis")


@dataclass(frozen=True, slots=True)
class LabelAgreement:
    """Agreement on one field.

    Attributes:
        field: Of the fragment.
        units: Fragments (for emphasis, words) that at least two have labelled. "Cannot tell" is no label.
        alpha: 1 for full agreement, 0 for chance; None where it is not defined, because there is one label or no unit.
    """

    field: str
    units: int
    alpha: float | None


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Agreement of two annotators.

    Attributes:
        first: Id.
        second: Id.
        fragments: That both have transcribed.
        errors: Words of the second against the first, normalised.
        labels: In the order of `MEASURED`.
    """

    first: str
    second: str
    fragments: int
    errors: ErrorCounts
    labels: tuple[LabelAgreement, ...]

    @property
    def wer(self) -> float | None:
        """Word errors over the mean number of words of the two, so that it does not matter who is the reference."""
        words = self.errors.reference + self.errors.hits + self.errors.insertions + self.errors.substitutions
        return 2 * self.errors.errors / words if words else None


def krippendorff_alpha(units: Mapping[tuple[str, ...], int]) -> float | None:
    """Return Krippendorff's alpha for nominal labels.

    Args:
        units: The labels that a unit was given, one per annotator and in any order, to the number of such units.

    Returns:
        None where it is not defined: fewer than two labels occur where annotators can be compared.

    Raises:
        MissingExtraError: krippendorff is not installed.
    """
    try:
        import krippendorff
    except ImportError as error:
        raise MissingExtraError(
            "to measure agreement, install the extra: pip install 'dialect-asr[annotate]'"
        ) from error
    paired = {labels: times for labels, times in units.items() if len(labels) > 1}
    names = sorted({label for labels in paired for label in labels})
    if len(names) < 2:
        return None
    counted = [[labels.count(name) for name in names] for labels in paired]
    rows = np.repeat(np.array(counted), list(paired.values()), axis=0)
    return float(krippendorff.alpha(value_counts=rows, level_of_measurement="nominal"))


class Agreement:
    """Tallies agreement over a stream of fragments that several have annotated."""

    def __init__(self) -> None:
        self._labels: defaultdict[tuple[Any, str], Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._errors: defaultdict[tuple[str, str], ErrorCounts] = defaultdict(ErrorCounts)
        self._fragments: Counter[tuple[str, str]] = Counter()
        self._pairs: set[tuple[str, str]] = set()

    def add(self, answers: Mapping[str, Fragment]) -> None:
        """Take in one fragment.

        Args:
            answers: Annotator to the fragment as they have it.
        """
        for pair in combinations(sorted(answers), 2):
            self._pairs.add(pair)
            self._add_labels(pair, [answers[name] for name in pair])
            first, second = (answers[name] for name in pair)
            if first.text.strip() and second.text.strip():
                normalise = get_normalizer(first.language)
                words, _ = nearest_errors(normalise(first.text), normalise.renderings(second.text))
                self._errors[pair] += words
                self._fragments[pair] += 1
        self._add_labels(None, list(answers.values()))

    def pairs(self) -> tuple[PairAgreement, ...]:
        """Return the agreement of every pair that has a fragment in common, in the order of their ids."""
        return tuple(
            PairAgreement(*pair, self._fragments[pair], self._errors[pair], self._measured(pair))
            for pair in sorted(self._pairs)
        )

    def overall(self) -> tuple[LabelAgreement, ...]:
        """Return the agreement of all annotators together."""
        return self._measured(None)

    def _add_labels(self, who: tuple[str, str] | None, fragments: Sequence[Fragment]) -> None:
        for name in CHOSEN:
            labels = sorted(label for fragment in fragments if (label := getattr(fragment, name)) is not None)
            if len(labels) > 1:
                self._labels[who, name][tuple(labels)] += 1
        # Words can be compared where they are as many.
        lengths = {len(fragment.text.split()) for fragment in fragments}
        if len(lengths) == 1 and len(fragments) > 1:
            for word in range(lengths.pop()):
                marks = tuple(sorted(str(word in fragment.emphasis) for fragment in fragments))
                self._labels[who, "emphasis"][marks] += 1

    def _measured(self, who: tuple[str, str] | None) -> tuple[LabelAgreement, ...]:
        found = ((name, self._labels.get((who, name), Counter())) for name in MEASURED)
        return tuple(LabelAgreement(name, units.total(), krippendorff_alpha(units)) for name, units in found)
