"""What to annotate next: what the recogniser is unsure of, in dialects that are rare, not all of one speaker."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from asr.annotation.uncertainty import uncertainty
from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.transcript import Transcript

COUNT = 200
PER_SPEAKER = 20
RARITY = 0.5


@dataclass(frozen=True, slots=True)
class RankOptions:
    """How many, and what counts.

    Attributes:
        count: Most fragments chosen.
        per_speaker: Most fragments of one speaker; those that name none count as one.
        rarity: How much a rare dialect counts, 0 to 1: with 0 not at all, with 1 a dialect that is half as frequent
            counts twice as much. Conneau and Lample (2019) smooth the sampling of languages so, with 0.5.
    """

    count: int = COUNT
    per_speaker: int = PER_SPEAKER
    rarity: float = RARITY

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A number cannot work.
        """
        if self.count < 1 or self.per_speaker < 1:
            raise ConfigError(f"'count' and 'per_speaker' must be 1 or more, found {self.count} and {self.per_speaker}")
        if not 0 <= self.rarity <= 1:
            raise ConfigError(f"'rarity' must lie between 0 and 1, found {self.rarity:g}")


@dataclass(slots=True)
class RankCounts:
    """What became of the fragments.

    Attributes:
        dialects: Fragments of each dialect, annotated ones included; the empty name is for those that tell none.
        annotated: Passed over, because somebody has annotated them.
        untranscribed: Passed over, because there is no transcript of them.
        ranked: All others.
    """

    dialects: Counter[str] = field(default_factory=Counter)
    annotated: int = 0
    untranscribed: int = 0
    ranked: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A fragment that was chosen.

    Attributes:
        fragment: It.
        score: How much it is worth, from 0.
    """

    fragment: Fragment
    score: float


def rank(
    read: Callable[[], Iterable[Fragment]],
    heard: Callable[[Fragment], Transcript | None],
    options: RankOptions,
    counts: RankCounts | None = None,
) -> Iterator[Ranked]:
    """Choose what to annotate next, the most worth first.

    A fragment is worth the recogniser's uncertainty times ``(mean number of fragments of a dialect / number of its
    own) ** rarity``. Its dialect is the manifest's, or else what was heard. Equal ones go by id, so that the
    same input gives the same list. The corpus is read twice, once to count its dialects; what is held is at most
    ``per_speaker`` fragments of each speaker.

    Args:
        read: Opens the corpus; called twice.
        heard: Gives the transcript of a fragment, if there is one.
        options: How many, and what counts.
        counts: Counted up.

    Yields:
        At most ``options.count`` fragments.
    """
    counts = RankCounts() if counts is None else counts
    for fragment in read():
        counts.dialects[fragment.dialect or ""] += 1
    mean = sum(counts.dialects.values()) / max(len(counts.dialects), 1)
    best: dict[str, list[_Candidate]] = {}
    for fragment in read():
        if fragment.annotator is not None:
            counts.annotated += 1
            continue
        transcript = heard(fragment)
        if transcript is None:
            counts.untranscribed += 1
            continue
        counts.ranked += 1
        number = counts.dialects[_dialect(fragment, transcript, counts.dialects)]
        candidate = _Candidate(uncertainty(transcript).mean * (mean / number) ** options.rarity, fragment)
        own = best.setdefault(fragment.speaker or "", [])
        if len(own) < options.per_speaker:
            heapq.heappush(own, candidate)
        else:
            heapq.heappushpop(own, candidate)
    chosen = heapq.nlargest(options.count, (candidate for own in best.values() for candidate in own))
    yield from (Ranked(candidate.fragment, candidate.score) for candidate in chosen)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Ordered by worth, and then so that of two ids the one that comes first in the alphabet is the greater."""

    score: float
    fragment: Fragment

    def __lt__(self, other: _Candidate) -> bool:
        return (self.score, other.fragment.id) < (other.score, self.fragment.id)


def _dialect(fragment: Fragment, transcript: Transcript, known: Counter[str]) -> str:
    """Return the dialect that a fragment counts for: its own, or what was heard if the corpus has that."""
    heard = transcript.dialect if transcript.dialect in known else None
    return fragment.dialect or heard or ""
