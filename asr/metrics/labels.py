"""Scores of labels: dialects and tunes, which are never equally frequent.

The F1 are counted here, because an interval asks for them thousands of times. scikit-learn is loaded where it is used:
it takes a second, and few who import `asr.metrics` need it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Labels = Sequence[str] | Sequence[int] | npt.NDArray[np.int64]


def macro_f1(reference: Labels, heard: Labels) -> float:
    """Mean F1 over the labels that occur in the reference, 0 to 1: a rare dialect counts as much as a frequent one.

    Args:
        reference: What each fragment is.
        heard: What was heard in each.
    """
    names = np.concatenate([np.asarray(reference), np.asarray(heard)])
    labels, numbers = np.unique(names, return_inverse=True)
    true, found = np.split(numbers, 2)
    occurs, answered, right = (np.bincount(kind, minlength=len(labels)) for kind in (true, found, true[true == found]))
    scores = 2 * right / (occurs + answered)
    return float(scores[occurs > 0].mean())


def f1_of(reference: Flags, heard: Flags) -> float:
    """F1 of one label, 0 to 1; 0 where it neither occurs nor is heard.

    Args:
        reference: Which fragments have it.
        heard: In which it was heard.
    """
    either = int(reference.sum() + heard.sum())
    return float(2 * (reference & heard).sum() / either) if either else 0.0


def balanced_accuracy(reference: Flags, heard: Flags) -> float | None:
    """Mean of the shares that are right among those that have a label and among those that have not: 0.5 by guessing.

    Args:
        reference: Which fragments have it.
        heard: In which it was heard.

    Returns:
        0 to 1; None where all fragments have the label, or none.
    """
    if reference.all() or not reference.any():
        return None
    return float(heard[reference].mean() + (~heard[~reference]).mean()) / 2


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
