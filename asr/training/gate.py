"""The retention gate inside a run: what is protected is heard before anything is learnt, and compared ever after.

It looks at fragments alone; long recordings, word times and silence are for `asr sweep` and `asr gate` afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asr.errors import AsrError, ConfigError
from asr.metrics.retention import Count, Verdict, judge
from asr.training.counts import groups


class Gate:
    """Compares word errors with those of the model that a run began with.

    Args:
        protect: Dialects that must not get worse, such as ``en-US``; of fragments without one, the language.
        limit: By how many percent of their error rate they may.
    """

    def __init__(self, protect: Sequence[str], limit: float) -> None:
        self.protect = tuple(protect)
        self.limit = limit
        self._before: dict[str, Count] = {}

    def state_dict(self) -> dict[str, tuple[int, int]]:
        """Return word errors and reference words of the model that the run began with, by dialect."""
        return {name: (count.errors, count.words) for name, count in self._before.items()}

    def load_state_dict(self, state_dict: Mapping[str, tuple[int, int]]) -> None:
        """Take them back.

        Raises:
            ConfigError: The run began without a gate.
        """
        self.begin(state_dict)

    def begin(self, errors: Mapping[str, Sequence[float]]) -> None:
        """Note what the model hears before anything is learnt.

        Args:
            errors: Word errors and reference words, by dialect.

        Raises:
            ConfigError: Nothing of a protected dialect was heard.
        """
        self._before = groups(errors)
        if missing := [name for name in self.protect if name not in self._before]:
            raise ConfigError(
                f"trainer.protect names {', '.join(map(repr, missing))}, of which data.dev had no words when the run "
                f"began; it had {', '.join(sorted(self._before)) or 'none at all'}"
            )

    def look(self, errors: Mapping[str, Sequence[float]]) -> Verdict:
        """Judge what the model hears by now.

        Args:
            errors: As of `begin`.

        Raises:
            AsrError: Of a protected dialect not the same was heard as in the beginning.
        """
        now = groups(errors)
        for name in self.protect:
            words, had = now[name].words if name in now else 0, self._before[name].words
            if words != had:
                raise AsrError(
                    f"data.dev has {words} words of {name!r} that can be heard, and had {had} when the run began: "
                    "recordings cannot be read any more, or consent to them has ended; begin another "
                    "run from this one's checkpoints/last.pt"
                )
        learnt = [name for name in now if name not in self.protect]
        overall = Count(sum(count.errors for count in now.values()), sum(count.words for count in now.values()))
        return judge("data.dev", {"overall": overall, **now}, self._before, self.protect, self.limit, learnt)
