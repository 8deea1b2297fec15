"""Counts a corpus: hours, fragments and speakers per dialect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from asr.audio import probe
from asr.errors import AudioError
from asr.fragment import Fragment


@dataclass(frozen=True, slots=True)
class DialectStats:
    """The counts of one dialect, or of a whole corpus.

    Attributes:
        dialect: BCP 47 tag; None where fragments have none, and for the whole corpus.
        language: Whisper's code; None for the whole corpus.
        fragments: Number of fragments.
        hours: Hours of audio, of the fragments whose duration is known.
        speakers: Number of different speakers named.
        without_speaker: Fragments that name no speaker.
        without_duration: Fragments whose duration is neither given nor to be had from the recording.
    """

    dialect: str | None
    language: str | None
    fragments: int
    hours: float
    speakers: int
    without_speaker: int
    without_duration: int


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """The counts of a corpus.

    Attributes:
        total: Of everything; a speaker with two dialects counts once here.
        dialects: By language and dialect.
    """

    total: DialectStats
    dialects: tuple[DialectStats, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        return asdict(self)


def corpus_stats(fragments: Iterable[Fragment]) -> CorpusStats:
    """Count fragments as they stream by; a recording is opened only where a fragment has no duration."""
    total = _Count()
    dialects: dict[tuple[str, str], _Count] = defaultdict(_Count)
    for fragment in fragments:
        seconds = _seconds(fragment)
        for count in (total, dialects[fragment.language, fragment.dialect or ""]):
            count.add(fragment, seconds)
    rows = tuple(dialects[key].freeze(key[1] or None, key[0]) for key in sorted(dialects))
    return CorpusStats(total.freeze(None, None), rows)


def _seconds(fragment: Fragment) -> float | None:
    if fragment.duration is not None:
        return fragment.duration
    try:
        return max(0.0, probe(fragment.audio).duration - fragment.start)
    except AudioError:
        return None


@dataclass
class _Count:
    fragments: int = 0
    seconds: float = 0.0
    without_speaker: int = 0
    without_duration: int = 0
    speakers: set[str] = field(default_factory=set)

    def add(self, fragment: Fragment, seconds: float | None) -> None:
        self.fragments += 1
        self.seconds += seconds or 0.0
        self.without_duration += seconds is None
        self.without_speaker += fragment.speaker is None
        if fragment.speaker is not None:
            self.speakers.add(fragment.speaker)

    def freeze(self, dialect: str | None, language: str | None) -> DialectStats:
        return DialectStats(
            dialect,
            language,
            self.fragments,
            self.seconds / 3600,
            len(self.speakers),
            self.without_speaker,
            self.without_duration,
        )
