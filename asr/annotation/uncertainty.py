"""How unsure the recogniser is of a fragment: of the words, of the dialect, of the intonation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from asr.transcript import UNKNOWN, Transcript


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """0 where the recogniser is sure, 1 where it knows nothing.

    Attributes:
        words: 1 minus the geometric mean of the tokens' probabilities; 1 where nothing was heard, or a loop.
        dialect: Entropy of the dialects' probabilities over that of guessing (Shannon 1948; as "entropy sampling" in
            Settles 2009, section 3.1); 1 for "unknown", None without a dialect head.
        intonation: The mean of that of the sentence types and of the tunes, of those that there are heads for.
    """

    words: float
    dialect: float | None
    intonation: float | None

    @property
    def mean(self) -> float:
        """The mean of what is known."""
        parts = [part for part in (self.words, self.dialect, self.intonation) if part is not None]
        return sum(parts) / len(parts)


def uncertainty(transcript: Transcript) -> Uncertainty:
    """Return how unsure a recogniser is of what it has heard."""
    voice = [
        part
        for part in (
            _labels(transcript.intonation, transcript.intonation_scores),
            _labels(transcript.tune, transcript.tune_scores),
        )
        if part is not None
    ]
    return Uncertainty(
        words=_words(transcript),
        dialect=_labels(transcript.dialect, transcript.dialect_scores),
        intonation=sum(voice) / len(voice) if voice else None,
    )


def _words(transcript: Transcript) -> float:
    from asr.metrics import is_runaway  # which loads much that `asr --help` does not need

    if not transcript.text.strip() or is_runaway(transcript.text):
        return 1.0
    # Segments by their length: the transcript does not say how many tokens each has.
    weights = [max(segment.end - segment.start, 0.0) for segment in transcript.segments]
    if not sum(weights):
        return 1.0
    logprobs = [segment.avg_logprob for segment in transcript.segments]
    mean = sum(weight * logprob for weight, logprob in zip(weights, logprobs, strict=True)) / sum(weights)
    return 1.0 - math.exp(min(mean, 0.0))


def _labels(label: str | None, scores: Mapping[str, float]) -> float | None:
    """Return the entropy of probabilities, relative to that of guessing; None where no head was asked."""
    if not scores:
        return 1.0 if label == UNKNOWN else None
    chances = [chance for chance in scores.values() if chance > 0]
    if len(scores) == 1 or not chances:
        return 0.0
    entropy = -sum(chance * math.log(chance) for chance in chances) / math.log(len(scores))
    return min(max(entropy, 0.0), 1.0)
