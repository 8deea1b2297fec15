"""Counts against a plain dynamic programme and by hand."""

from functools import lru_cache

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.metrics.wer import ErrorCounts, character_errors, nearest_errors, word_errors

SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=7).map(" ".join)


def edit_distance(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    @lru_cache(None)
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        same = left[i - 1] == right[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    return distance(len(left), len(right))


@settings(deadline=None)
@given(SENTENCES, SENTENCES)
def test_counts_are_a_shortest_edit(reference: str, hypothesis: str) -> None:
    for counts, left, right in (
        (word_errors(reference, hypothesis), reference.split(), hypothesis.split()),
        (character_errors(reference, hypothesis), list(reference), list(hypothesis)),
    ):
        assert counts.errors == edit_distance(tuple(left), tuple(right))
        assert counts.reference == len(left)
        assert counts.hits + counts.substitutions + counts.insertions == len(right)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("a b c", "a x c d", ErrorCounts(1, 0, 1, 2), ErrorCounts(2, 0, 1, 4)),
        ("a b", "", ErrorCounts(0, 2, 0, 0), ErrorCounts(0, 3, 0, 0)),
        ("", "a b", ErrorCounts(2, 0, 0, 0), ErrorCounts(3, 0, 0, 0)),
        ("", "", ErrorCounts(), ErrorCounts()),
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, words: ErrorCounts, characters: ErrorCounts) -> None:
    assert word_errors(reference, hypothesis) == words
    assert character_errors(reference, hypothesis) == characters


@settings(deadline=None)
@given(st.lists(st.tuples(SENTENCES.filter(bool), SENTENCES), min_size=1, max_size=5))
def test_the_sum_of_counts_gives_the_corpus_rate(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    total = sum((word_errors(*pair) for pair in pairs), ErrorCounts())
    assert total.rate == pytest.approx(jiwer.wer(references, hypotheses))
    total = sum((character_errors(*pair) for pair in pairs), ErrorCounts())
    assert total.rate == pytest.approx(jiwer.cer(references, hypotheses))


def test_no_reference_words_is_no_rate() -> None:
    assert word_errors("", "a b").rate is None
    assert word_errors("", "").rate is None
    silence_and_speech = word_errors("", "a") + word_errors("b c", "b c")
    assert silence_and_speech.rate == 0.5


def test_the_nearest_rendering_counts() -> None:
    words, characters = nearest_errors("il a nonante ans", ["il a quatre vingt dix ans", "il a nonante ans"])
    assert words == ErrorCounts(hits=4)
    assert characters == ErrorCounts(hits=16)
