"""The retention gate: among several models, the best for the worst dialect of those that forget nothing protected.

Protected are the groups that are named, and whatever was measured of long recordings, word times and silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr.errors import AsrError

# What is counted in an evaluation's abilities, as groups.
ABILITIES = "ability="

# A dialect with fewer reference words than this does not choose a model.
ENOUGH_WORDS = 100


@dataclass(frozen=True, slots=True)
class Count:
    """Word errors of a group.

    Attributes:
        errors: All of them.
        words: Reference words; of an ability what its share is of.
    """

    errors: int
    words: int

    @property
    def wer(self) -> float:
        """In percent."""
        return 100 * self.errors / self.words


@dataclass(frozen=True, slots=True)
class Harm:
    """A protected group that got worse than is allowed.

    Attributes:
        group: Such as ``dialect=en-US`` or ``ability=silence``.
        before: Its errors in the baseline.
        after: Its errors in the model.
    """

    group: str
    before: Count
    after: Count

    def __str__(self) -> str:
        change = f"{100 * (self.after.wer / self.before.wer - 1):+.1f} %" if self.before.errors else "from none"
        return f"{self.group} {self.before.wer:.2f} → {self.after.wer:.2f} % ({change})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of one model.

    Attributes:
        name: The model's.
        worst: The dialect that it hears worst.
        wer: That dialect's WER in percent.
        harmed: The protected groups that got worse than is allowed, the worst one first.
    """

    name: str
    worst: str
    wer: float
    harmed: tuple[Harm, ...]

    @property
    def passed(self) -> bool:
        """Whether no protected group was harmed."""
        return not self.harmed

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON; WERs in percent."""
        harmed = {harm.group: {"before": harm.before.wer, "after": harm.after.wer} for harm in self.harmed}
        return {"passed": self.passed, "worst": self.worst, "worst_wer": self.wer, "harmed": harmed}


def judge(
    name: str,
    after: Mapping[str, Count],
    before: Mapping[str, Count],
    protected: Sequence[str],
    limit: float = 2.0,
    learnt: Sequence[str] = (),
) -> Verdict:
    """Compare a model with its baseline.

    Beside the protected groups its abilities are asked for, where both were measured.

    Args:
        name: The model's.
        after: Its errors by group.
        before: The baseline's, on the same fragments.
        protected: Groups that must not get worse, such as ``dialect=en-US`` or ``test_set=standard``.
        limit: By how many percent of its error rate a protected group may get worse.
        learnt: Groups of which the worst one is told; by default the dialects, those that are protected left out.

    Raises:
        AsrError: A protected group was not measured, or on other fragments in the two.
    """
    harmed = []
    abilities = [group for group in before if group.startswith(ABILITIES) and group in after]
    for group in (*protected, *abilities):
        if group not in after or group not in before:
            raise AsrError(
                f"the protected group {group!r} was not measured in {name}; there are {', '.join(sorted(after))}"
            )
        one, two = before[group], after[group]
        if one.words != two.words and group not in abilities:
            raise AsrError(
                f"{group!r} has {two.words} words in {name} and {one.words} in its baseline; evaluate both on the same "
                "fragments"
            )
        if two.errors * one.words > one.errors * two.words * (1 + limit / 100):
            harmed.append(Harm(group, one, two))
    harmed.sort(key=lambda harm: harm.after.wer / max(100 / harm.before.words, harm.before.wer), reverse=True)
    worst = worst_group(
        after, learnt or [name for name in after if name.startswith("dialect=") and name not in protected]
    )
    return Verdict(name, worst, after[worst].wer, tuple(harmed))


def worst_group(counts: Mapping[str, Count], groups: Sequence[str]) -> str:
    """The one with the highest WER of those that have enough words, or of all where none has; ``overall`` of none."""
    known = [name for name in groups if name in counts]
    enough = [name for name in known if counts[name].words >= ENOUGH_WORDS] or known or ["overall"]
    return max(enough, key=lambda name: counts[name].wer)


def choose(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The model with the lowest WER of its worst dialect, of those that passed; None if none did."""
    return min((verdict for verdict in verdicts if verdict.passed), key=lambda verdict: verdict.wer, default=None)
