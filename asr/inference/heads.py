"""What the heads of a model say of a batch: a label each, with an honest probability, or "unknown"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from asr.model.features import count_states
from asr.model.heads import HeadName
from asr.model.network import DialectWhisper, Encoded
from asr.transcript import UNKNOWN


@dataclass(frozen=True, slots=True)
class Answer:
    """One head's answer on one fragment.

    Attributes:
        label: The most probable label, or "unknown" where that is under the head's threshold.
        scores: The probability of every label that is possible; empty where nothing can be told.
    """

    label: str
    scores: dict[str, float]


# Of a clip in which nothing is said, or in a language that the head has never heard.
NOTHING = Answer(UNKNOWN, {})


def answers(
    model: DialectWhisper,
    name: HeadName,
    encoded: Encoded,
    num_samples: Tensor,
    languages: Sequence[str],
    dialects: Sequence[str | None],
    contours: Tensor,
) -> list[Answer]:
    """Ask one head of the model.

    Args:
        model: That made ``encoded``.
        name: Of the head.
        encoded: The encoder's output, batch of B.
        num_samples: Long [B], each fragment's own length, without any margin.
        languages: Of each fragment.
        dialects: Of each fragment, where known.
        contours: Float [B, P], of `asr.prosody.final_contour`; NaN of too little voice, of which nothing is told.
    """
    head = model.head(name)
    chances = head.probabilities(head(encoded.normal, count_states(num_samples), languages, dialects, contours))
    found = []
    voiced = (~contours.isnan().any(-1)).tolist()
    for language, voice, row in zip(languages, voiced, chances.tolist(), strict=True):
        # A head answers anything, noise too.
        if not voice or (head.spec.heard and language not in head.spec.heard):
            found.append(NOTHING)
            continue
        scores = {label: chance for label, chance in zip(head.spec.labels, row, strict=True) if chance > 0}
        label = max(scores, key=lambda label: scores[label], default=UNKNOWN)
        sure = scores.get(label, 0.0) >= head.spec.threshold
        found.append(Answer(label if sure else UNKNOWN, scores))
    return found
