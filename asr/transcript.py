"""What the recogniser heard: segments with times, and what a lexicon says of the text; never annotation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from asr.fragment import Expression


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of recognised speech.

    Attributes:
        start: Seconds from the start of the recording or fragment.
        end: Seconds from the start of the recording or fragment.
        text: What was heard, stripped.
        avg_logprob: Mean log-probability of the tokens, end token included (natural log).
        no_speech_prob: Probability of "no speech" read at the start-of-transcript position, 0 to 1.
        compression_ratio: UTF-8 length over its zlib length; above 2.4 the text is likely a loop.
    """

    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything the recogniser says about one recording or fragment.

    Attributes:
        id: The fragment's id, or the file name of a recording; empty for samples that came without one.
        text: All segments' text, joined.
        language: Whisper's language code.
        dialect: BCP 47 tag where one is known, else None.
        duration: Seconds of audio heard.
        segments: In order of time; none where nothing was heard.
        expressions: The dialect's expressions in ``text``; none without a lexicon that serves it.
        text_standard: ``text`` with its expressions in the standard language; None without such a lexicon.
    """

    id: str
    text: str
    language: str
    dialect: str | None
    duration: float
    segments: tuple[Segment, ...]
    expressions: tuple[Expression, ...] = ()
    text_standard: str | None = None

    def with_dialect(self, dialect: str | None) -> Transcript:
        """Return a copy that carries ``dialect``."""
        return replace(self, dialect=dialect)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        return asdict(self) | {"expressions": [expression.model_dump() for expression in self.expressions]}
