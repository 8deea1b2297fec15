"""The equal error rate against scikit-learn's ROC curve, a closed form, and itself with trials written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_curve

from asr.metrics.verification import Trials

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40).filter(
    lambda rows: {same for same, _, weight in rows if weight} == {True, False}
)


@given(PAIRS)
def test_it_is_where_scikit_learns_roc_curve_meets_the_diagonal(rows: list[tuple[bool, int, int]]) -> None:
    same, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    taken, found, _ = roc_curve(same, scores, sample_weight=weights, drop_intermediate=False)
    expected = brentq(lambda rate: 1 - rate - np.interp(rate, taken, found), 0, 1)
    # On a vertical step of the curve np.interp gives one of its ends, and brentq still closes in on the step.
    ours = Trials(same, scores.astype(float)).equal_error_rate(weights.astype(float))
    assert ours == pytest.approx(expected, abs=1e-6)


@given(PAIRS)
def test_a_weight_is_a_repetition(rows: list[tuple[bool, int, int]]) -> None:
    same, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    written_out = Trials(np.repeat(same, weights), np.repeat(scores, weights).astype(float)).equal_error_rate()
    weighted = Trials(same, scores.astype(float)).equal_error_rate(weights.astype(float))
    assert weighted == pytest.approx(written_out, abs=1e-12)


@pytest.mark.parametrize("distance", [0.5, 2.0, 3.0])
def test_two_normal_distributions_have_a_closed_form(distance: float) -> None:
    quantiles = norm.ppf((np.arange(20000) + 0.5) / 20000)
    scores = np.concatenate([quantiles + distance, quantiles])
    same = np.arange(40000) < 20000
    assert Trials(same, scores).equal_error_rate() == pytest.approx(norm.cdf(-distance / 2), abs=1e-4)


@pytest.mark.parametrize(
    ("same", "scores", "expected"),
    [
        ([True, False], [1.0, 0.0], 0.0),
        ([True, False], [0.0, 1.0], 1.0),
        ([True, False], [0.0, 0.0], 0.5),
        ([True, True], [0.0, 1.0], None),
        ([], [], None),
    ],
)
def test_edges(same: list[bool], scores: list[float], expected: float | None) -> None:
    assert Trials(np.array(same, bool), np.array(scores)).equal_error_rate() == expected
