"""What follows from counts: means over what was counted, and the worst dialect that has enough words."""

from __future__ import annotations

import pytest
from sklearn.metrics import f1_score

from asr.fragment import Fragment
from asr.training.counts import Counts, figures, total


def test_the_worst_dialect_is_one_with_enough_words() -> None:
    errors = {"fr-CA": [30.0, 100.0], "fr-BE": [40.0, 200.0], "fr-CH": [99.0, 99.0], "fr": [4.0, 0.0]}
    assert figures(Counts([3.0, 2.0], errors)) == {
        "dev/loss": 1.5,
        "dev/wer": pytest.approx(100 * 173 / 399),
        "dev/wer_worst": 30.0,
        "dev/wer/fr-BE": 20.0,
        "dev/wer/fr-CA": 30.0,
        "dev/wer/fr-CH": 100.0,  # and of "fr" nothing was said
    }


def test_nothing_counted_gives_no_figure() -> None:
    assert figures(Counts()) == {}


def test_heads_are_scored_over_all_processes() -> None:
    heard = [(0, 0), (1, 0), (1, 1), (2, 1), (0, 2)]
    parts = [
        Counts(heads_loss=[4.0, 2.0], heard={"dialect": heard[:2]}, unreadable=1),
        Counts(),
        Counts(heads_loss=[2.0, 6.0], heard={"dialect": heard[2:]}, unreadable=2),
    ]
    expected = f1_score([said for _, said in heard], [one for one, _ in heard], average="macro")
    assert figures(total(parts)) == {
        "dev/unreadable": 3.0,
        "dev/heads_loss": 0.75,
        "dev/f1/dialect": pytest.approx(100 * expected),
    }


def test_words_count_for_the_dialect_or_else_the_language() -> None:
    counts = Counts()
    fragment = Fragment(id="a", audio="a.wav", text="Un deux, trois!", language="fr", dialect="fr-BE")
    counts.count_words(fragment, "un deux six")
    counts.count_words(fragment.replace(dialect=None), "un deux trois")
    counts.count_words(fragment, "un deux trois")
    assert counts.errors == {"fr-BE": [1.0, 6.0], "fr": [0.0, 3.0]}
    assert counts.gathered(1) == [counts]
