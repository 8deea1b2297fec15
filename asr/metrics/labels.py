"""Scores of labels: dialects and tunes, which are never equally frequent."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.metrics import f1_score


def macro_f1(reference: Sequence[object], heard: Sequence[object]) -> float:
    """Mean F1 over the labels that occur in the reference, 0 to 1: a rare dialect counts as much as a frequent one.

    Args:
        reference: What each fragment is.
        heard: What was heard in each.
    """
    labels = sorted(set(reference), key=str)
    return float(f1_score(list(reference), list(heard), labels=labels, average="macro", zero_division=0.0))
