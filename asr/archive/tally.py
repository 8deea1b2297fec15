"""What became of the items of a run: counted, and told in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from asr.errors import AsrError


def kind_of(error: AsrError) -> str:
    """Return the kind of a failure in one word: ``audio``, ``manifest`` …; ``other`` where the class says nothing."""
    name = type(error).__name__.removesuffix("Error").lower()
    return "other" if name == "asr" else name


@dataclass
class Tally:
    """Counts of one run.

    Attributes:
        transcribed: Items that were transcribed in this run.
        kept: Items whose transcript was there already.
        failures: How many items have no transcript, by kind, those of earlier runs included.
        audio_seconds: Seconds of audio that this run transcribed.
        fallbacks: How many of its windows were decoded again, by what was done.
        seconds: Seconds that it took, without loading the model.
    """

    transcribed: int = 0
    kept: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    audio_seconds: float = 0.0
    fallbacks: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Number of items without a transcript."""
        return self.failures.total()

    def heard(self, duration: float, fallbacks: Iterable[str]) -> None:
        """Count a transcript of ``duration`` seconds, and the windows of it that were decoded again."""
        self.transcribed += 1
        self.audio_seconds += duration
        self.fallbacks.update(fallbacks)

    def speed(self) -> str:
        """How much audio is heard in a second."""
        return f"{self.audio_seconds / self.seconds if self.seconds else 0:.1f} s of audio per second"

    def summary(self, kept: str) -> str:
        """One sentence; ``kept`` says what "already there" means."""
        there = f", {self.kept} {kept}" if self.kept else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failures.items()))
        speed = f" (real-time factor {self.seconds / self.audio_seconds:.3f})" if self.audio_seconds else ""
        steps = ", ".join(f"{name} {count}" for name, count in sorted(self.fallbacks.items()))
        again = f"; windows decoded again: {steps}" if steps else ""
        return (
            f"{self.transcribed} transcribed{there}, {self.failed} failed{f' ({kinds})' if kinds else ''}; "
            f"{self.audio_seconds / 3600:.2f} h of audio in {self.seconds:.1f} s{speed}{again}"
        )
