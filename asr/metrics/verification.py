"""How well a voice is told again: the equal error rate of same-or-different decisions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]


class Trials:
    """Decisions whether two sides are one speaker, sorted once: their error is asked for under many weights.

    Args:
        same: Which trials are of one speaker, [N].
        scores: How alike the two sides are, [N].
    """

    def __init__(self, same: Flags, scores: Floats) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._same = np.asarray(same)[self._order]
        # The threshold can stand only where the score changes; after the last one it does.
        self._ends = np.flatnonzero(np.diff(np.asarray(scores, np.float64)[self._order], append=np.nan))

    def equal_error_rate(self, weights: Floats | None = None) -> float | None:
        """Return the error at the threshold where as many same pairs are missed as different ones are taken for same.

        Between two thresholds the rates are joined by a straight line (Fawcett 2006, Pattern Recognition Letters 27).

        Args:
            weights: How often each trial counts, [N]; once each when None.

        Returns:
            0 to 1, 0.5 by guessing; None where one of the two kinds is missing.
        """
        counts = np.ones(len(self._order)) if weights is None else np.asarray(weights, np.float64)[self._order]
        misses, rejected = (np.append(0.0, np.cumsum(counts * kind)[self._ends]) for kind in (self._same, ~self._same))
        if not misses[-1] or not rejected[-1]:
            return None
        missed, taken = misses / misses[-1], 1 - rejected / rejected[-1]
        # Misses rise with the threshold and false alarms fall: from -1 to 1, the difference passes 0 once.
        lead = missed - taken
        after = int(np.argmax(lead >= 0))
        before = after - 1
        share = -lead[before] / (lead[after] - lead[before])
        return float(missed[before] + share * (missed[after] - missed[before]))
