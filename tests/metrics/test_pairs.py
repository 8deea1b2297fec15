"""Pairs of the same words, against scikit-learn within a sentence and against loops over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from asr.metrics.pairs import SameWords

# Sentence, voice, whether it asks, how probable that was.
Row = tuple[str, str, bool, float]


def same_words(rows: list[Row]) -> SameWords:
    sentences, voices, asks, chances = zip(*rows, strict=True)
    return SameWords(np.array(asks), np.array(chances), sentences, voices)


def by_loops(rows: list[Row], drawn: dict[str, int]) -> tuple[float, int]:
    """Right ones and pairs when every voice is there as often as it was drawn, each copy a voice of its own."""

    def one_voice(sentence: str) -> bool:
        return any(
            first[:2] == second[:2] and first[2] and not second[2]
            for first in rows
            for second in rows
            if first[0] == sentence
        )

    copies = [((row[1], copy), row) for row in rows for copy in range(drawn[row[1]])]
    right, pairs = 0.0, 0
    for voice, (sentence, _, asks, chance) in copies:
        for other_voice, (other_sentence, _, other_asks, other_chance) in copies:
            if sentence and sentence == other_sentence and asks and not other_asks:
                if one_voice(sentence) and voice != other_voice:
                    continue
                pairs += 1
                right += (chance > other_chance) + (chance == other_chance) / 2
    return right, pairs


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "you like it", "so"]),
        st.sampled_from("abcd"),
        st.booleans(),
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=16,
)


@given(ROWS, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_any_draw_is_what_loops_over_all_pairs_find(rows: list[Row], times: list[int]) -> None:
    drawn = dict(zip("abcd", times, strict=True))
    found = same_words(rows)
    assert found.count == by_loops(rows, dict.fromkeys("abcd", 1))[1]
    chosen = np.repeat(np.arange(len(rows)), [drawn[row[1]] for row in rows])
    right, pairs = by_loops(rows, drawn)
    assert found.accuracy(chosen) == (pytest.approx(right / pairs) if pairs else None)


def test_of_one_sentence_it_is_the_area_under_the_curve() -> None:
    random = np.random.default_rng(0)
    asks, chances = random.random(80) < 0.4, random.integers(0, 9, 80) / 8
    found = SameWords(asks, chances, ["so"] * 80, [str(number) for number in range(80)])
    assert found.accuracy(np.arange(80)) == pytest.approx(roc_auc_score(asks, chances))


def test_of_two_sentences_it_is_their_areas_by_their_pairs() -> None:
    """Where the words alone tell the question, the area over all is high, and that within the sentences is not."""
    random = np.random.default_rng(0)
    asks = np.arange(200) % 100 < np.where(np.arange(200) < 100, 80, 10)
    chances = random.random(200) + (np.arange(200) < 100)
    found = SameWords(asks, chances, ["do you"] * 100 + ["you do"] * 100, np.arange(200))
    areas = [roc_auc_score(asks[part], chances[part]) for part in (slice(100), slice(100, 200))]
    assert found.count == 80 * 20 + 10 * 90
    assert found.accuracy(np.arange(200)) == pytest.approx(np.average(areas, weights=[80 * 20, 10 * 90]))
    assert roc_auc_score(asks, chances) > 0.8 > 0.6 > found.accuracy(np.arange(200))


def test_a_voice_is_compared_with_itself_where_it_can_be() -> None:
    rows = [
        ("so", "high", True, 0.9),
        ("so", "high", False, 0.7),
        ("so", "low", True, 0.5),
        ("so", "low", False, 0.3),
        ("yes", "high", True, 0.8),
        ("yes", "low", False, 0.9),
    ]
    # Not the low voice's question against the high voice's statement; but of "yes" there is no other pair.
    assert same_words(rows).count == 3
    assert same_words(rows).accuracy(np.arange(6)) == pytest.approx(2 / 3)


def test_no_pair_no_figure() -> None:
    assert same_words([("so", "a", True, 0.9), ("yes", "a", False, 0.7)]).accuracy(np.arange(2)) is None
    assert same_words([("", "a", True, 0.9), ("", "a", False, 0.7)]).count == 0
