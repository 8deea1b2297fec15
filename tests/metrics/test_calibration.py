"""Calibration: against closed forms, loops and what scikit-learn finds."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from asr.metrics.calibration import (
    area_under_risk,
    calibration_error,
    coverage_at_risk,
    fit_temperature,
    threshold_at_risk,
    thresholds_at_coverages,
    without_temperature,
)


def test_the_error_of_one_bin_is_its_gap() -> None:
    confidence = np.array([0.91, 0.93, 0.95, 0.97])
    assert calibration_error(confidence, np.array([True, True, True, False])) == pytest.approx(0.94 - 0.75)


def test_full_confidence_has_a_bin() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_error_is_that_of_a_loop_over_bins(rows: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for number in range(10):
        inside = [row for row in rows if min(int(row[0] * 10), 9) == number]
        if inside:
            expected += abs(sum(correct - confidence for confidence, correct in inside)) / len(rows)
    confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
    assert calibration_error(confidence, correct) == pytest.approx(expected)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(true: float) -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(20_000, 4)) * 3
    chances = softmax(scores / true, axis=1).cumsum(axis=1)
    targets = np.minimum((random.random((len(scores), 1)) > chances).sum(axis=1), 3)
    assert fit_temperature(scores, targets) == pytest.approx(true, rel=0.05)


def test_an_impossible_label_does_not_count() -> None:
    scores = np.array([[1.0, 0.0, -1e4]] * 3 + [[0.0, 1.0, -1e4]])
    assert np.isfinite(fit_temperature(scores, np.array([0, 0, 1, 1])))


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=30))
def test_the_threshold_is_what_trying_all_gives(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
    found = []
    for threshold in sorted(set(confidence)):
        answered = confidence >= threshold
        if (~correct[answered]).mean() <= 0.25:
            found.append((threshold, answered.mean()))
    assert threshold_at_risk(confidence, correct, 0.25) == (found[0][0] if found else 1.0)
    assert coverage_at_risk(confidence, correct, 0.25) == (found[0][1] if found else 0.0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_without_its_temperature_a_softmax_is_as_it_was(temperature: float) -> None:
    scores = np.random.default_rng(0).normal(size=(50, 4)) * 5
    scores[::2, 3] = -np.inf  # a label that is not possible
    chances = without_temperature(softmax(scores / temperature, axis=1), temperature)
    assert chances == pytest.approx(softmax(scores, axis=1))


def test_powers_that_would_vanish() -> None:
    chances = np.full((1, 1000), 1e-3)
    assert without_temperature(chances, 200.0) == pytest.approx(chances)


def test_the_area_under_the_risk_of_a_perfect_order() -> None:
    """One of four is wrong: at the end it is a share of a quarter, at the start of one, a half, a third, a quarter."""
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    assert area_under_risk(confidence, np.array([True, True, True, False])) == pytest.approx(1 / 16)
    assert area_under_risk(confidence, np.array([False, True, True, True])) == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    )
    assert area_under_risk(np.ones(4), np.array([False, True, True, True])) == pytest.approx(1 / 4)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_the_area_under_the_risk_is_the_mean_over_all_orders(rows: list[tuple[float, bool]]) -> None:
    areas = []
    for order in permutations(rows):
        if all(first[0] >= second[0] for first, second in pairwise(order)):
            wrong = [not correct for _, correct in order]
            areas.append(np.mean([sum(wrong[:count]) / count for count in range(1, len(wrong) + 1)]))
    confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
    assert area_under_risk(confidence, correct) == pytest.approx(np.mean(areas))


@given(st.lists(st.integers(0, 20).map(lambda number: number / 20), min_size=1, max_size=40), st.integers(1, 12))
def test_thresholds_answer_the_share_that_is_asked_for(confidence: list[float], steps: int) -> None:
    expected = []
    for step in range(1, steps + 1):
        enough = [
            each for each in confidence if sum(other >= each for other in confidence) * steps >= step * len(confidence)
        ]
        expected.append(max(enough))
    assert thresholds_at_coverages(np.array(confidence), steps).tolist() == sorted(set(expected), reverse=True)
