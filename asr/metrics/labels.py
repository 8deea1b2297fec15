"""Scores of labels: dialects and tunes, which are never equally frequent.

scikit-learn is loaded where it is used: it takes a second, and few who import `asr.metrics` need it.
"""

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
    from sklearn.metrics import f1_score

    labels = sorted(set(reference), key=str)
    return float(f1_score(list(reference), list(heard), labels=labels, average="macro", zero_division=0.0))


def f1_of(reference: Flags, heard: Flags) -> float:
    """F1 of one label, 0 to 1; 0 where it neither occurs nor is heard.

    Args:
        reference: Which fragments have it.
        heard: In which it was heard.
    """
    from sklearn.metrics import f1_score

    return float(f1_score(reference, heard, zero_division=0.0))


def area_under_curve(reference: Flags, scores: npt.NDArray[np.floating]) -> float | None:
    """Area under the ROC curve: how often a fragment that has the label scores above one that has not, ties by half.

    Args:
        reference: Which fragments have it.
        scores: How probable it was in each.

    Returns:
        0 to 1; None where all fragments have the label, or none.
    """
    from sklearn.metrics import roc_auc_score

    return None if reference.all() or not reference.any() else float(roc_auc_score(reference, scores))
