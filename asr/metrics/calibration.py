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


BINS = 10


def confidence_bins(confidence: Floats, bins: int = BINS) -> npt.NDArray[np.intp]:
    """The number of the bin that each confidence falls into, [N]; all are of equal width, the last one holds 1 as well.

    Args:
        confidence: From 0 to 1, [N].
        bins: How many there are.
    """
    numbers: npt.NDArray[np.intp] = np.minimum((np.asarray(confidence) * bins).astype(np.intp), bins - 1)
    return numbers


def calibration_error(confidence: Floats, correct: Flags, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): mean gap between confidence and accuracy.

    Args:
        confidence: Probability of what was answered, [N].
        correct: Whether that was right, [N].
        bins: In which both are averaged; see `confidence_bins`.

    Returns:
        0 to 1; weighted by the fragments in each bin.
    """
    if not len(confidence):
        raise ValueError("there is no fragment to calibrate on")
    gaps = np.bincount(
        confidence_bins(confidence, bins), weights=np.asarray(correct, float) - confidence, minlength=bins
    )
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


def without_temperature(chances: Floats, temperature: float) -> Floats:
    """The probabilities [N, C] that a softmax with this temperature would have given without it.

    A probability is exp(score / temperature) over a sum, so its power of the temperature, over the sum of these powers,
    is exp(score) over its own sum. A label that has no probability gets none.

    Args:
        chances: With the temperature, [N, C].
        temperature: As it was fitted.
    """
    # Relative to the most probable label, so that no power of all of them vanishes.
    powers = (chances / chances.max(axis=1, keepdims=True)) ** temperature
    powered: Floats = powers / powers.sum(axis=1, keepdims=True)
    return powered


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


def thresholds_at_coverages(confidence: Floats, steps: int) -> Floats:
    """The thresholds from which on a share of 1/steps, 2/steps … of the fragments is answered, falling, each once.

    Where several are equally confident, more of them are answered than the share asks for.

    Args:
        confidence: Of each answer, [N].
        steps: How many shares there are; the last one is all.
    """
    falling = np.sort(np.asarray(confidence))[::-1]
    # In whole numbers: 0.7 * 10 is more than 7.
    last = (len(falling) * np.arange(1, steps + 1) + steps - 1) // steps - 1
    return np.unique(falling[last])[::-1]


def area_under_risk(confidence: Floats, correct: Flags) -> float:
    """Area under the risk-coverage curve (AURC; Geifman et al. 2019, arXiv 1805.08206), 0 to 1, lower is better.

    The mean over k = 1 … N of the share of wrong answers among the k most confident ones. Answers that are equally
    confident come in no order, so each of them counts as wrong by the share that is wrong among them: the mean over all
    their orders.

    Args:
        confidence: Of each answer, [N].
        correct: Whether it was right, [N].
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    falling, wrong = np.asarray(confidence)[order], ~np.asarray(correct)[order]
    tie = np.cumsum(np.append(False, falling[1:] < falling[:-1]))
    share = np.bincount(tie, weights=wrong) / np.bincount(tie)
    return float(np.mean(np.cumsum(share[tie]) / np.arange(1, len(order) + 1)))
