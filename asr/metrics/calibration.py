"""Probabilities that can be believed: how far they are off, the temperature that mends them, the threshold to trust.

Shapes: N fragments, C labels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

# Temperatures that are tried, as natural logarithms: from 0.05 to 20.
_COLDEST, _HOTTEST = -3.0, 3.0


def calibration_error(confidence: Floats, correct: Flags, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): mean gap between confidence and accuracy.

    Args:
        confidence: Probability of what was answered, [N].
        correct: Whether that was right, [N].
        bins: Of equal width, in which both are averaged.

    Returns:
        0 to 1; weighted by the fragments in each bin.
    """
    if not len(confidence):
        raise ValueError("there is no fragment to calibrate on")
    place = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=np.asarray(correct, float) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def fit_temperature(scores: Floats, targets: npt.NDArray[np.integer]) -> float:
    """The temperature under which the right labels are most probable (Guo et al. 2017).

    Args:
        scores: [N, C], before the softmax.
        targets: The right label's number, [N].
    """
    scores = np.asarray(scores, np.float64)
    right = scores[np.arange(len(targets)), targets]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float(np.mean(logsumexp(scores / temperature, axis=1) - right / temperature))

    return float(np.exp(minimize_scalar(loss, bounds=(_COLDEST, _HOTTEST), method="bounded").x))


def threshold_at_risk(confidence: Floats, correct: Flags, risk: float) -> float:
    """The lowest confidence from which on at most a share ``risk`` of the answers is wrong; 1 if there is none.

    Args:
        confidence: Of each answer, [N].
        correct: Whether it was right, [N].
        risk: From 0 to 1.
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    sorted_confidence = np.asarray(confidence)[order]
    wrong = np.cumsum(~np.asarray(correct)[order])
    answered = np.arange(1, len(order) + 1)
    # A threshold lets in all that are equally confident.
    last = np.append(sorted_confidence[1:] < sorted_confidence[:-1], True)
    good = np.flatnonzero(last & (wrong <= risk * answered))
    return float(sorted_confidence[good[-1]]) if len(good) else 1.0


def coverage_at_risk(confidence: Floats, correct: Flags, risk: float) -> float:
    """The largest share of fragments that can be answered with at most a share ``risk`` of the answers wrong."""
    threshold = threshold_at_risk(confidence, correct, risk)
    answered = np.asarray(confidence) >= threshold
    return float(answered.mean()) if (~np.asarray(correct)[answered]).sum() <= risk * answered.sum() else 0.0
