"""Uncertainty against closed forms and scipy's entropy."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from asr.annotation.uncertainty import uncertainty
from asr.transcript import UNKNOWN, Segment, Transcript


def heard(*logprobs: float, **more: object) -> Transcript:
    segments = tuple(Segment(float(n), n + 1.0, "oui", logprob, 0.0, 1.0) for n, logprob in enumerate(logprobs))
    given = {"id": "a", "text": "oui", "language": "fr", "dialect": None, "duration": 1.0, "segments": segments}
    return Transcript(**given | more)  # type: ignore[arg-type]


def test_words() -> None:
    assert uncertainty(heard(math.log(0.8))).words == pytest.approx(0.2)
    # The geometric mean of 0.9 and 0.4, both a second long.
    assert uncertainty(heard(math.log(0.9), math.log(0.4))).words == pytest.approx(1 - math.sqrt(0.36))
    assert uncertainty(heard(0.0)).words == 0


@pytest.mark.parametrize("text", ["", "  ", "la la la la " * 40])
def test_nothing_and_a_loop_are_as_unsure_as_can_be(text: str) -> None:
    assert uncertainty(heard(math.log(0.99), text=text)).words == 1
    assert uncertainty(heard()).words == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=6))
def test_labels_are_the_entropy_relative_to_guessing(weights: list[float]) -> None:
    chances = {f"d{n}": weight / sum(weights) for n, weight in enumerate(weights)}
    found = uncertainty(heard(0.0, dialect="d0", dialect_scores=chances)).dialect
    assert found == pytest.approx(entropy(list(chances.values())) / math.log(len(chances)))


def test_heads_that_are_not_there_do_not_count() -> None:
    alone = uncertainty(heard(math.log(0.5), dialect="fr-BE"))
    assert (alone.dialect, alone.intonation, alone.mean) == (None, None, 0.5)
    scores = {"question": 0.5, "statement": 0.5}
    both = uncertainty(
        heard(math.log(0.5), dialect=UNKNOWN, intonation="question", intonation_scores=scores, tune=UNKNOWN)
    )
    assert (both.dialect, both.intonation) == (1, pytest.approx(1))
    assert both.mean == pytest.approx(2.5 / 3)
    sure = uncertainty(heard(0.0, tune="rise", tune_scores={"rise": 1.0, "fall": 0.0}, dialect_scores={"fr-BE": 1.0}))
    assert (sure.intonation, sure.dialect) == (0, 0)
