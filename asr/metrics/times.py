"""How well words are told when they were said.

A word counts as found when the same word is told with a start and an end that are both near enough, as in Zusag et al.,
CrisperWhisper, Interspeech 2024, who allow 0.2 s; each counts for one.
"""

from __future__ import annotations

from collections.abc import Sequence

# A word, the second in which it begins, and the one in which it ends.
TimedWord = tuple[str, float, float]

COLLAR = 0.2


def timed_matches(said: Sequence[TimedWord], told: Sequence[TimedWord], collar: float = COLLAR) -> int:
    """The most words that can be found, in order; F1 is twice that over the words of both.

    Args:
        said: The words with their true times, by rising start.
        told: Those that were told.
        collar: Seconds by which start and end may be wrong.
    """
    # The longest common subsequence, row by row; only what is near in time can match.
    best = [0] * (len(told) + 1)
    for word, start, end in said:
        before = best
        best = [0]
        for column, (other, other_start, other_end) in enumerate(told):
            near = abs(start - other_start) <= collar and abs(end - other_end) <= collar
            matched = before[column] + 1 if near and word == other else 0
            best.append(max(matched, before[column + 1], best[column]))
    return best[-1]
