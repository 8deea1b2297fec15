"""Scores of labels, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from asr.metrics import macro_f1
from asr.metrics.labels import area_under_curve, f1_of


def test_macro_f1_counts_the_labels_that_occur() -> None:
    reference, heard = ["a", "a", "b", "c"], ["a", "b", "b", "d"]
    assert macro_f1(reference, heard) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_f1_and_area() -> None:
    random = np.random.default_rng(0)
    reference, scores = random.random(300) < 0.3, random.integers(0, 8, 300) / 8
    assert f1_of(reference, scores > 0.5) == pytest.approx(f1_score(reference, scores > 0.5))
    assert area_under_curve(reference, scores) == pytest.approx(roc_auc_score(reference, scores))


def test_where_they_are_not_defined() -> None:
    nobody = np.zeros(3, dtype=bool)
    assert f1_of(nobody, nobody) == 0.0
    assert area_under_curve(nobody, np.ones(3)) is None
    assert area_under_curve(~nobody, np.ones(3)) is None
