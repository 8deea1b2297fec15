"""Scores of labels: dialects and tunes, which are never equally frequent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]


def macro_f1(reference: Sequence[object], heard: Sequence[object]) -> float:
    """Mean F1 over the labels that occur in the reference, 0 to 1: a rare dialect counts as much as a frequent one.

    Args:
        reference: What each fragment is.
        heard: What was heard in each.
    """
    from sklearn.metrics import f1_score  # here, because it takes a second to load, and few need it

    labels = sorted(set(reference), key=str)
    return float(f1_score(list(reference), list(heard), labels=labels, average="macro", zero_division=0.0))


def f1_of(reference: Flags, heard: Flags) -> float:
    """F1 of one label, 0 to 1; 0 where it neither occurs nor is heard.

    Args:
        reference: Which fragments have it.
        heard: In which it was heard.
    """
    either = int(reference.sum() + heard.sum())
    return 2 * int((reference & heard).sum()) / either if either else 0.0


def area_under_curve(reference: Flags, scores: npt.NDArray[np.floating]) -> float | None:
    """Area under the ROC curve: how often a fragment that has the label scores above one that has not, ties by half.

    Args:
        reference: Which fragments have it.
        scores: How probable it was in each.

    Returns:
        0 to 1; None where all fragments have the label, or none.
    """
    positive = int(reference.sum())
    negative = len(reference) - positive
    if not positive or not negative:
        return None
    # Mann-Whitney's U, from mean ranks.
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[reference].sum() - positive * (positive + 1) / 2) / (positive * negative))
