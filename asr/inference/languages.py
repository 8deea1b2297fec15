"""The language of a recording that nobody told: that of most of its beginning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from asr.audio import SAMPLE_RATE
from asr.errors import AsrError
from asr.inference.clips import Clip, End

# Seconds of encoder window in which the language of a recording is looked for, where they are there.
_DETECTED_SECONDS = 30


def in_one_language(
    parts: Iterable[tuple[int, Clip | End | AsrError]],
    window_samples: Callable[[Clip], int],
    detect: Callable[[list[Clip]], Sequence[str]],
) -> Iterator[tuple[int, Clip | End | AsrError]]:
    """Give all windows of a recording one language; a single window may wait until it is heard.

    Args:
        parts: Of the items, each with its item's number.
        window_samples: Samples that the encoder sees for a clip.
        detect: Tells the language of each of some clips.
    """
    held: list[Clip] = []
    language: str | None = None
    for number, part in parts:
        if isinstance(part, Clip) and not part.whole and part.language is None:
            if language is None and sum(map(window_samples, held)) >= _DETECTED_SECONDS * SAMPLE_RATE:
                language = _most_spoken(held, detect(held))
                yield from ((number, replace(clip, language=language)) for clip in held)
                held = []
            if language is None:
                held.append(part)
            else:
                yield number, replace(part, language=language)
            continue
        if held:
            found = _most_spoken(held, detect(held)) if len(held) > 1 else None
            yield from ((number, replace(clip, language=found)) for clip in held)
            held = []
        language = None
        yield number, part


def _most_spoken(clips: Sequence[Clip], languages: Sequence[str]) -> str:
    """The language of most of the seconds."""
    seconds: Counter[str] = Counter()
    for clip, language in zip(clips, languages, strict=True):
        seconds[language] += len(clip.samples)
    return max(seconds, key=lambda language: seconds[language])
