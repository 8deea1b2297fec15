"""Intervals against exhaustive enumeration and closed forms."""

from itertools import product

import numpy as np
import pytest

from asr.metrics import bootstrap
from asr.metrics.bootstrap import (
    Estimate,
    gap_estimate,
    paired_change,
    rate_estimate,
    rate_estimates,
    statistic_estimate,
)

ERRORS = [3, 1, 0, 7, 2, 4, 4]
BASE = [5, 1, 2, 9, 2, 3, 8]
WORDS = [10, 8, 12, 11, 9, 10, 4]
SPEAKERS = ["a", "a", "b", "c", "c", "d", "e"]


def every_resample(*columns: list[int]) -> np.ndarray:
    """All 5**5 draws of five speakers, each column summed: [columns, draws]."""
    names = sorted(set(SPEAKERS))
    sums = [
        [sum(x for x, s in zip(column, SPEAKERS, strict=True) if s == name) for name in names] for column in columns
    ]
    draws = product(range(len(names)), repeat=len(names))
    return np.array([[sum(row[i] for i in draw) for row in sums] for draw in draws]).T


def assert_is_95_percent_of(estimate: Estimate, exact: np.ndarray) -> None:
    assert estimate.low is not None and estimate.high is not None
    assert np.quantile(exact, 0.02) <= estimate.low <= np.quantile(exact, 0.03)
    assert np.quantile(exact, 0.97) <= estimate.high <= np.quantile(exact, 0.98)


def test_a_rate_against_every_possible_resample() -> None:
    estimate = rate_estimate(ERRORS, WORDS, SPEAKERS, resamples=20_000)
    assert estimate.value == sum(ERRORS) / sum(WORDS)
    assert estimate.clusters == 5
    errors, words = every_resample(ERRORS, WORDS)
    assert_is_95_percent_of(estimate, errors / words)


def test_several_rates_are_each_their_own() -> None:
    both = rate_estimates([ERRORS, BASE], [WORDS, [1] * 7], SPEAKERS, resamples=50, seed=2)
    assert both == (
        rate_estimate(ERRORS, WORDS, SPEAKERS, resamples=50, seed=2),
        rate_estimate(BASE, [1] * 7, SPEAKERS, resamples=50, seed=2),
    )


def test_a_statistic_has_the_interval_of_a_rate() -> None:
    errors, words = np.array(ERRORS), np.array(WORDS)
    estimate = statistic_estimate(lambda rows: errors[rows].sum() / words[rows].sum(), SPEAKERS, resamples=500, seed=3)
    assert estimate == rate_estimate(ERRORS, WORDS, SPEAKERS, resamples=500, seed=3)
    assert statistic_estimate(lambda rows: None, SPEAKERS, resamples=50).value is None
    assert statistic_estimate(lambda rows: 1.0, ["a", "a"], resamples=50) == Estimate(1.0, None, None, 1)


def test_a_gap_that_is_not_there_is_within_its_interval() -> None:
    # Coins that are thrown ten times by each of thirty people: the mean distance of a half is noise alone.
    random = np.random.default_rng(1)
    people = np.repeat(np.arange(30), 10)

    def gap(coins: np.ndarray, rows: np.ndarray) -> float:
        return float(np.mean([abs(coins[column, rows].mean() - 0.5) for column in range(5)]))

    held, plain = 0, 0
    for _ in range(40):
        coins = random.integers(0, 2, (5, 300))
        found = gap_estimate(lambda rows, coins=coins: gap(coins, rows), people, resamples=200)
        draws = statistic_estimate(lambda rows, coins=coins: gap(coins, rows), people, resamples=200)
        assert found.value == draws.value and found.low is not None and found.high is not None
        assert 0 <= found.low <= found.high
        held += found.low == 0
        plain += draws.low == 0
    assert held >= 34 and plain == 0
    assert gap_estimate(lambda rows: None, people, resamples=50).value is None
    assert gap_estimate(lambda rows: 0.1, ["a"], resamples=50) == Estimate(0.1, None, None, 1)


def test_a_paired_change_against_every_possible_resample() -> None:
    change = paired_change(ERRORS, BASE, WORDS, SPEAKERS, resamples=20_000)
    assert change.absolute.value == pytest.approx((sum(ERRORS) - sum(BASE)) / sum(WORDS))
    assert change.relative.value == pytest.approx(sum(ERRORS) / sum(BASE) - 1)
    errors, base, words = every_resample(ERRORS, BASE, WORDS)
    assert_is_95_percent_of(change.absolute, (errors - base) / words)
    assert_is_95_percent_of(change.relative, errors / base - 1)


def test_many_equal_speakers_give_the_normal_interval() -> None:
    errors = np.random.default_rng(1).poisson(3, 500)
    estimate = rate_estimate(errors, np.full(500, 10), np.arange(500), resamples=10_000)
    standard_error = errors.std() / 10 / np.sqrt(500)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * standard_error, rel=0.05)


def test_speakers_are_drawn_not_fragments() -> None:
    """Two voices, a hundred fragments each: the interval must span both voices."""
    errors, words = [1] * 100 + [9] * 100, [10] * 200
    by_speaker = rate_estimate(errors, words, ["a"] * 100 + ["b"] * 100)
    assert (by_speaker.low, by_speaker.high) == (0.1, 0.9)
    by_fragment = rate_estimate(errors, words, [str(i) for i in range(200)])
    assert by_fragment.high - by_fragment.low < 0.2


def test_a_constant_gain_has_no_spread() -> None:
    """Paired: however bad a speaker is for both systems, the difference is the same."""
    change = paired_change([2, 12, 5], [4, 14, 7], [20, 20, 20], ["a", "b", "c"])
    assert change.absolute.value == pytest.approx(-0.1)
    assert change.absolute.low == pytest.approx(-0.1)
    assert change.absolute.high == pytest.approx(-0.1)
    assert change.absolute.excludes_zero


def test_one_voice_has_no_interval() -> None:
    assert rate_estimate([1, 2], [10, 10], ["a", "a"]) == Estimate(0.15, None, None, 1)
    assert not rate_estimate([1, 2], [10, 10], ["a", "a"]).excludes_zero


def test_nothing_to_divide_by_is_no_figure() -> None:
    assert rate_estimate([2, 1], [0, 0], ["a", "b"]) == Estimate(None, None, None, 2)
    assert rate_estimate([], [], []) == Estimate(None, None, None, 0)
    change = paired_change([1, 0], [0, 0], [5, 5], ["a", "b"])
    assert change.absolute.value == 0.1
    assert change.relative == Estimate(None, None, None, 2)


def test_an_interval_needs_a_denominator_in_nearly_every_draw() -> None:
    """Base errs for one speaker of two: a quarter of the draws have no relative change."""
    change = paired_change([1, 1], [2, 0], [5, 5], ["a", "b"])
    assert change.relative == Estimate(0.0, None, None, 2)
    assert change.absolute.low is not None


def test_same_seed_same_interval_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    first = rate_estimate(ERRORS, WORDS, SPEAKERS, seed=3)
    assert rate_estimate(ERRORS[::-1], WORDS[::-1], SPEAKERS[::-1], seed=3) == first
    assert rate_estimate(ERRORS, WORDS, SPEAKERS, seed=4) != first
    monkeypatch.setattr(bootstrap, "_CHUNK", 7)
    assert rate_estimate(ERRORS, WORDS, SPEAKERS, seed=3) == first
