"""The windows of one recording as one transcript: texts joined, times from the recording's start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from asr.transcript import UNKNOWN, Transcript


def stitched(
    id: str,
    duration: float,
    parts: Sequence[tuple[float, Transcript]],
    *,
    language: str,
    dialect: str | None,
    threshold: float | None,
) -> Transcript:
    """Make one transcript of those of a recording's windows.

    Segments and words keep what was told of them. Of one dialect in a recording every window is a witness: their scores
    are averaged by length, and the most probable dialect is told if it reaches the head's threshold.

    Args:
        id: Of the recording.
        duration: Of the recording, seconds.
        parts: The start of each window, in seconds from the recording's, and its transcript; in order of time.
        language: Of the recording: of all windows.
        dialect: As it was given.
        threshold: Of the dialect head; None without one.
    """
    fallbacks: Counter[str] = Counter()
    for _, part in parts:
        fallbacks.update(part.fallbacks)
    scores = _mean_scores([part for _, part in parts if part.dialect_scores])
    heard = None
    if threshold is not None:
        likeliest = max(scores, key=lambda label: scores[label], default=UNKNOWN)
        heard = likeliest if scores.get(likeliest, 0.0) >= threshold else UNKNOWN
    texts = [part.text for _, part in parts if part.segments]
    whole = Transcript(
        id=id,
        text=" ".join(texts),
        language=language,
        dialect=dialect or heard,
        duration=duration,
        segments=tuple(
            replace(segment, start=start + segment.start, end=min(start + segment.end, duration))
            for start, part in parts
            for segment in part.segments
        ),
        dialect_scores=scores,
        words=tuple(word.moved(start) for start, part in parts for word in part.words),
        fallbacks=dict(fallbacks),
    )
    if len(parts) == 1:
        # What is told of a sentence is told of the whole.
        ((_, part),) = parts
        return replace(
            whole,
            expressions=part.expressions,
            text_standard=part.text_standard,
            intonation=part.intonation,
            intonation_scores=part.intonation_scores,
            tune=part.tune,
            tune_scores=part.tune_scores,
            punctuation=part.punctuation,
            emphasis=part.emphasis,
        )
    expressions, emphasis, standard = [], [], []
    tokens = words = 0
    for _, part in parts:
        expressions += [
            one if one.start_word is None else one.model_copy(update={"start_word": one.start_word + tokens})
            for one in part.expressions
        ]
        emphasis += [index + words for index in part.emphasis]
        if part.text_standard:
            standard.append(part.text_standard)
        tokens, words = tokens + len(part.text.split()), words + len(part.words)
    # A lexicon serves all windows or none.
    served = any(part.text_standard is not None for _, part in parts)
    return replace(
        whole,
        expressions=tuple(expressions),
        text_standard=" ".join(standard) if served else None,
        emphasis=tuple(emphasis),
    )


def _mean_scores(parts: Sequence[Transcript]) -> dict[str, float]:
    """The dialects' scores, averaged by the length of what each was heard in."""
    total = sum(part.duration for part in parts)
    labels = dict.fromkeys(label for part in parts for label in part.dialect_scores)
    return {
        label: sum(part.duration * part.dialect_scores.get(label, 0.0) for part in parts) / total for label in labels
    }
