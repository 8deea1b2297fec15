"""What else a word may have been: against what can be counted by hand."""

from __future__ import annotations

import math

import pytest

from asr.inference.alternatives import with_alternatives
from asr.transcript import Alternative, Hypothesis, Word


def words(text: str) -> list[Word]:
    return [Word(one, float(place), place + 1.0, 0.5) for place, one in enumerate(text.split())]


def test_a_word_has_what_stands_in_its_place() -> None:
    heard = [
        Hypothesis("je vais à Metz", math.log(0.4)),
        Hypothesis("je vais à Metz demain", math.log(0.2)),
        Hypothesis("je vais aux messes", math.log(0.2)),
        Hypothesis("vais à messes", math.log(0.1)),
        Hypothesis("", math.log(0.1)),
    ]
    found = with_alternatives(words(heard[0].text), heard)
    assert [word.text for word in found] == ["je", "vais", "à", "Metz"]
    assert found[1].alternatives == ()
    assert found[0].alternatives == (Alternative("", pytest.approx(0.1)),)
    assert found[2].alternatives == (Alternative("aux", pytest.approx(0.2)),)
    assert found[3].alternatives == (Alternative("messes", pytest.approx(0.3)),)
    assert found[3].start == 3.0 and found[3].probability == 0.5


def test_without_hypotheses_or_spaces_words_stay_as_they_are() -> None:
    said = words("a b")
    assert with_alternatives(said, ()) == tuple(said)
    assert with_alternatives(said, [Hypothesis("a b", -1.0)]) == tuple(said)
    assert with_alternatives(said, [Hypothesis("ab", -1.0), Hypothesis("ac", -2.0)]) == tuple(said)
