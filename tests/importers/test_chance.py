"""Seeded choices: pinned values, even spread, independence."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.importers.chance import check_shares, fraction, split_of


def test_values_do_not_change_between_versions():
    # Pinned: a changed hash would move fragments of existing corpora from one side to the other.
    assert fraction(0, "a") == pytest.approx(0.3715001, abs=1e-6)
    assert [split_of(f"sentence {n}", 0, 0.1, 0.3) for n in range(8)] == [
        "train",
        "test",
        "test",
        "test",
        "test",
        "train",
        "train",
        "train",
    ]


@given(st.integers(), st.lists(st.text()))
def test_fraction_is_in_range_and_repeatable(seed, key):
    assert 0 <= fraction(seed, *key) < 1
    assert fraction(seed, *key) == fraction(seed, *key)


def test_parts_of_a_key_do_not_run_together():
    assert fraction(0, "a", "b") != fraction(0, "ab")


def test_shares_come_out_as_asked():
    counts = Counter(split_of(str(n), 3, 0.1, 0.3) for n in range(20000))
    # Three standard deviations of a binomial count are about 200 here.
    assert counts["dev"] == pytest.approx(2000, abs=200)
    assert counts["test"] == pytest.approx(6000, abs=200)


def test_enlarging_the_test_side_moves_only_what_it_gains():
    before, after = ([split_of(str(n), 0, 0, test) for n in range(500)] for test in (0.2, 0.4))
    assert all(new == "test" for old, new in zip(before, after, strict=True) if old == "test")


@pytest.mark.parametrize(("dev", "test"), [(-0.1, 0.5), (0.5, 0.5), (0.1, 1.0)])
def test_impossible_shares_are_refused(dev, test):
    with pytest.raises(ConfigError, match="below 1"):
        check_shares(dev, test)
