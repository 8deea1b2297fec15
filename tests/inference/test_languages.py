"""One language for a recording: properties of any stream, and the cases by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import AsrError, AudioError
from asr.inference.clips import Clip, End
from asr.inference.languages import in_one_language

RATE = 16000


def clip(number: int, start: int, seconds: int, language: str | None = None, whole: bool = False) -> Clip:
    return Clip(number, "", np.zeros(seconds * RATE, np.float32), language, None, float(start), whole=whole)


def told(parts: Sequence[tuple[int, Clip | End | AsrError]], spoken: Sequence[str] = ()) -> list[str | None]:
    """The language of each clip, where a clip is spoken in the language that stands at its start."""

    def detect(clips: list[Clip]) -> list[str]:
        return [spoken[int(one.start)] for one in clips]

    found = list(in_one_language(parts, lambda one: len(one.samples), detect))
    assert [number for number, _ in found] == [number for number, _ in parts]
    for (_, before), (_, after) in zip(parts, found, strict=True):
        assert after is before or (isinstance(after, Clip) and isinstance(before, Clip) and after.start == before.start)
    return [part.language for _, part in found if isinstance(part, Clip)]


def test_the_language_of_most_of_the_beginning() -> None:
    end = (0, End("", 0.0, None, None))
    three = [(0, clip(0, 0, 4)), (0, clip(0, 1, 5)), (0, clip(0, 2, 3))]
    assert told([*three, end], ["fr", "en", "fr"]) == ["fr"] * 3
    # After thirty seconds nothing is asked any more.
    long = [(0, clip(0, start, 16)) for start in range(4)]
    assert told([*long, end], ["en", "en"]) == ["en"] * 4
    assert told([(0, clip(0, 0, 40)), (0, clip(0, 1, 40)), end], ["fr"]) == ["fr"] * 2
    # A single window is asked when it is heard; what is given stays.
    assert told([(0, clip(0, 0, 9)), end]) == [None]
    assert told([(0, clip(0, 0, 9, "de")), (0, clip(0, 1, 9, "de")), end]) == ["de"] * 2
    assert told([(0, clip(0, 0, 9, whole=True)), (1, clip(1, 0, 9, whole=True))]) == [None] * 2


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(1, 20), st.sampled_from(["en", "fr"])), max_size=6), st.booleans()),
        max_size=5,
    )
)
def test_recordings_do_not_mix(items: list[tuple[list[tuple[int, str]], bool]]) -> None:
    parts: list[tuple[int, Clip | End | AsrError]] = []
    spoken: list[str] = []
    for number, (clips, broken) in enumerate(items):
        for seconds, language in clips:
            parts.append((number, clip(number, len(spoken), seconds)))
            spoken.append(language)
        parts.append((number, AudioError("it is cut off") if broken else End("", 0.0, None, None)))
    languages = iter(told(parts, spoken))
    languages_spoken = iter(spoken)
    for clips, _ in items:
        found = {next(languages) for _ in clips}
        here = {next(languages_spoken) for _ in clips}
        assert found == {None} if len(clips) == 1 and clips[0][0] < 30 else len(found) == min(1, len(clips))
        assert found <= here | {None} and (len(clips) < 2 or found <= here)
