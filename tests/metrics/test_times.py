"""Matches of words in time against every way to match them."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from asr.metrics.times import TimedWord, timed_matches

WORDS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.integers(1, 4)), max_size=5).map(
    lambda rows: [(word, start / 10, (start + length) / 10) for word, start, length in sorted(rows, key=lambda r: r[1])]
)


def by_force(said: list[TimedWord], told: list[TimedWord], collar: float) -> int:
    """Try every choice of as many words on either side."""
    for size in range(min(len(said), len(told)), 0, -1):
        for ours in combinations(said, size):
            for theirs in combinations(told, size):
                if all(
                    one[0] == other[0] and abs(one[1] - other[1]) <= collar and abs(one[2] - other[2]) <= collar
                    for one, other in zip(ours, theirs, strict=True)
                ):
                    return size
    return 0


@settings(deadline=None)
@given(WORDS, WORDS, st.sampled_from([0.0, 0.15, 0.35]))
def test_no_choice_matches_more(said: list[TimedWord], told: list[TimedWord], collar: float) -> None:
    assert timed_matches(said, told, collar) == by_force(said, told, collar)
    assert timed_matches(said, said, collar) == len(said)


def test_both_ends_count() -> None:
    assert timed_matches([("one", 1.0, 1.5)], [("one", 1.15, 1.65)]) == 1
    assert timed_matches([("one", 1.0, 1.5)], [("one", 1.25, 1.5)]) == 0
    assert timed_matches([("one", 1.0, 1.5)], [("one", 1.0, 1.75)]) == 0
    assert timed_matches([("one", 1.0, 1.5)], [("two", 1.0, 1.5)]) == 0
