"""The retention gate inside a run: what is protected is heard before anything is learnt, and compared ever after.

It looks at fragments alone; long recordings, word times and silence are for `asr sweep` and `asr gate` afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from asr.errors import AsrError, ConfigError
from asr.metrics.retention import Count, Verdict, judge

log = logging.getLogger(__name__)

_DIALECT = "dialect="


class Gate:
    """Compares word errors with those of the model that a run began with.

    Args:
        protect: Dialects that must not get worse, such as ``en-US``; of fragments without one, the language.
        limit: By how many percent of their error rate they may.

    Attributes:
        before: Word errors and reference words of the model that the run began with, by dialect; empty where nothing
            was heard yet.
    """

    def __init__(self, protect: Sequence[str], limit: float) -> None:
        self.protect = tuple(protect)
        self.limit = limit
        self.before: dict[str, tuple[int, int]] = {}

    def begin(self, errors: Mapping[str, Sequence[float]]) -> None:
        """Note what the model hears before anything is learnt.

        Raises:
            ConfigError: Nothing of a protected dialect was heard.
        """
        self.before = {name: (int(wrong), int(words)) for name, (wrong, words) in errors.items() if words}
        if missing := [name for name in self.protect if name not in self.before]:
            raise ConfigError(
                f"trainer.protect names {', '.join(map(repr, missing))}, of which data.dev has no words; it has "
                f"{', '.join(sorted(self.before)) or 'none at all'}"
            )

    def look(self, errors: Mapping[str, Sequence[float]]) -> Verdict:
        """Judge what the model hears by now.

        Raises:
            AsrError: The development fragments are not those of the beginning.
        """
        now = {name: (int(wrong), int(words)) for name, (wrong, words) in errors.items() if words}
        if not self.before:
            raise AsrError("this run was begun without trainer.protect; start a new one")
        after, before = _groups(now), _groups(self.before)
        return judge("data.dev", after, before, [_DIALECT + name for name in self.protect], self.limit)


def _groups(errors: Mapping[str, tuple[int, int]]) -> dict[str, Count]:
    groups = {_DIALECT + name: Count(*counts) for name, counts in errors.items()}
    wrong, words = (sum(column) for column in zip(*errors.values(), strict=True))
    return groups | {"overall": Count(wrong, words)}
