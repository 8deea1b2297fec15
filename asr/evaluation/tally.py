"""Counts per fragment, kept small, and what they add up to per group."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.evaluation.report import GroupScore, SystemScore, Target, TargetScores, WorstFragment
from asr.fragment import Fragment
from asr.metrics import ErrorCounts, paired_change, rate_estimate

# Columns of one system: insertions, deletions, substitutions and hits in words, the same in characters, and
# whether the output ran away.
_WIDTH = 9

# R fragments (rows), S systems, 9 columns.
Ints = NDArray[np.int64]


@dataclass
class Tally:
    """Counts against one target, a row per fragment.

    Attributes:
        compared: Whether there is a baseline beside the system.
        ids: The fragments' ids.
        seconds: Their durations, NaN where not known.
    """

    compared: bool
    ids: list[str] = field(default_factory=list)
    seconds: array[float] = field(default_factory=lambda: array("d"))
    _counts: array[int] = field(default_factory=lambda: array("q"))
    _speakers: list[str | None] = field(default_factory=list)
    _clusters: list[str] = field(default_factory=list)
    _labels: dict[str, list[str | None]] = field(default_factory=dict)

    def add(
        self,
        fragment: Fragment,
        counts: list[tuple[ErrorCounts, ErrorCounts]],
        runaways: list[bool],
        labels: dict[str, str | None],
    ) -> None:
        """Add a fragment.

        Args:
            fragment: The fragment.
            counts: Word and character errors of each system.
            runaways: Whether the output of each system ran away.
            labels: The fragment's value in each dimension; the same dimensions for every fragment.
        """
        for pair, runaway in zip(counts, runaways, strict=True):
            for each in pair:
                self._counts.extend((each.insertions, each.deletions, each.substitutions, each.hits))
            self._counts.append(runaway)
        self.ids.append(fragment.id)
        self.seconds.append(float("nan") if fragment.duration is None else fragment.duration)
        self._speakers.append(fragment.speaker)
        # Ids are unique within a test set; a speaker's id means the same voice in all of them.
        alone = f"fragment {labels['test_set']} {fragment.id}"
        self._clusters.append(alone if fragment.speaker is None else f"speaker {fragment.speaker}")
        for dimension, value in labels.items():
            self._labels.setdefault(dimension, []).append(value)

    def scores(self, target: Target, worst: int, resamples: int, seed: int) -> TargetScores:
        """Add up overall and per group, with intervals.

        Args:
            target: What was counted against.
            worst: Length of the list of worst fragments.
            resamples: Draws behind each interval.
            seed: Of the draws.
        """
        table = np.array(self._counts, dtype=np.int64).reshape(len(self.ids), 1 + self.compared, _WIDTH)
        overall = self._group("overall", None, table, np.arange(len(self.ids)), resamples, seed)
        groups = tuple(
            self._group(dimension, value, table, rows, resamples, seed)
            for dimension, values in self._labels.items()
            for value, rows in _partition(dimension, values)
        )
        return TargetScores(target, overall, groups, self._worst(table, worst))

    def _group(
        self, dimension: str, value: str | None, table: Ints, rows: Ints, resamples: int, seed: int
    ) -> GroupScore:
        part = table[rows]
        clusters = [self._clusters[row] for row in rows]
        errors, words = part[:, :, 0:3].sum(axis=2), part[:, 0, 1:4].sum(axis=1)
        systems = [_system(counts, clusters, resamples, seed) for counts in np.moveaxis(part, 1, 0)]
        change = None
        if self.compared:
            change = paired_change(errors[:, 0], errors[:, 1], words, clusters, resamples=resamples, seed=seed)
        speakers = [self._speakers[row] for row in rows]
        return GroupScore(
            dimension=dimension,
            group=value,
            fragments=len(rows),
            speakers=len(set(speakers) - {None}),
            without_speaker=speakers.count(None),
            audio_seconds=float(np.nansum(np.array(self.seconds)[rows])),
            system=systems[0],
            baseline=systems[1] if self.compared else None,
            change=change,
        )

    def _worst(self, table: Ints, worst: int) -> tuple[WorstFragment, ...]:
        errors = table[:, :, 0:3].sum(axis=2)
        wrong = (row for row in range(len(self.ids)) if errors[row, 0])
        return tuple(
            WorstFragment(
                id=self.ids[row],
                test_set=self._labels["test_set"][row],
                errors=int(errors[row, 0]),
                words=int(table[row, 0, 1:4].sum()),
                baseline_errors=int(errors[row, 1]) if self.compared else None,
            )
            for row in sorted(wrong, key=lambda row: (-errors[row, 0], self.ids[row]))[:worst]
        )


def _system(counts: Ints, clusters: list[str], resamples: int, seed: int) -> SystemScore:
    """Add up one system's rows: [R, 9]."""
    words, characters = (ErrorCounts(*counts[:, part].sum(axis=0).tolist()) for part in (slice(0, 4), slice(4, 8)))
    wer, cer = (
        rate_estimate(
            counts[:, first : first + 3].sum(axis=1),
            counts[:, first + 1 : first + 4].sum(axis=1),
            clusters,
            resamples=resamples,
            seed=seed,
        )
        for first in (0, 4)
    )
    return SystemScore(words, characters, wer, cer, runaways=int(counts[:, 8].sum()))


def _partition(dimension: str, values: list[str | None]) -> Iterator[tuple[str | None, Ints]]:
    """Yield each value with its rows, None last; nothing where that would be the overall row again."""
    distinct = sorted(set(values), key=lambda value: (value is None, value or ""))
    if len(distinct) == 1 and (distinct[0] is None or dimension == "language"):
        return
    rows: dict[str | None, list[int]] = {value: [] for value in distinct}
    for row, value in enumerate(values):
        rows[value].append(row)
    for value in distinct:
        yield value, np.array(rows[value], dtype=np.int64)
