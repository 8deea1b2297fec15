"""Scores of labels, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from asr.metrics import macro_f1
from asr.metrics.labels import area_under_curve, balanced_accuracy, f1_of


def test_macro_f1_counts_the_labels_that_occur() -> None:
    reference, heard = ["a", "a", "b", "c"], ["a", "b", "b", "d"]
    assert macro_f1(reference, heard) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=30))
def test_macro_f1_is_that_of_scikit_learn(rows: list[tuple[str, str]]) -> None:
    reference, heard = map(list, zip(*rows, strict=True))
    expected = f1_score(reference, heard, labels=sorted(set(reference)), average="macro", zero_division=0.0)
    assert macro_f1(reference, heard) == pytest.approx(expected)
    assert macro_f1([ord(each) for each in reference], [ord(each) for each in heard]) == pytest.approx(expected)


def test_f1_balanced_accuracy_and_area() -> None:
    random = np.random.default_rng(0)
    reference, scores = random.random(300) < 0.3, random.integers(0, 8, 300) / 8
    assert f1_of(reference, scores > 0.5) == pytest.approx(f1_score(reference, scores > 0.5))
    assert balanced_accuracy(reference, scores > 0.5) == pytest.approx(balanced_accuracy_score(reference, scores > 0.5))
    assert area_under_curve(reference, scores) == pytest.approx(roc_auc_score(reference, scores))


def test_where_they_are_not_defined() -> None:
    nobody = np.zeros(3, dtype=bool)
    assert f1_of(nobody, nobody) == 0.0
    assert balanced_accuracy(nobody, nobody) is None
    assert balanced_accuracy(~nobody, nobody) is None
    assert area_under_curve(nobody, np.ones(3)) is None
    assert area_under_curve(~nobody, np.ones(3)) is None
