"""Personal data out of the sound: the words' times, a little more on both sides, silenced or under a tone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.privacy.mask import word_places
from asr.privacy.spans import Span

MARGIN = 0.1
"""Seconds on both sides of a word, by which its times may be wrong."""

_TONE_HZ = 1000.0
_TONE_LEVEL = 0.1
# Long enough not to click.
_RAMP_SECONDS = 0.01

Interval = tuple[float, float]


def silences(fragment: Fragment, spans: Sequence[Span]) -> tuple[Interval, ...]:
    """Return when spans of a fragment's text are said, in seconds from the recording's start.

    Args:
        fragment: The fragment as it was before masking, with the times of its words.
        spans: What was found in its text.

    Returns:
        Start and end of each stretch, `MARGIN` included, in order and without overlaps.

    Raises:
        ManifestError: There is something to silence but no word has a time, or the words are not those of the text.
    """
    if not spans:
        return ()
    if not fragment.words:
        raise ManifestError(
            f"fragment {fragment.id!r} has personal data in its text but no times of its words, so its "
            "audio cannot be masked; add 'words' (asr transcribe --words finds when each word was said)"
        )
    places = word_places(fragment)
    heard = []
    for span in spans:
        words = [
            word
            for word, (first, last) in zip(fragment.words, places, strict=True)
            if first < span.end and last > span.start
        ]
        heard.append((min(word.start for word in words) - MARGIN, max(word.end for word in words) + MARGIN))
    merged: list[Interval] = []
    for start, end in sorted(heard):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((max(0.0, start), end))
    return tuple(merged)


def mask_samples(
    samples: NDArray[np.float32],
    sample_rate: int,
    stretches: Sequence[Interval],
    *,
    start: float = 0.0,
    beep: bool = False,
) -> NDArray[np.float32]:
    """Return samples with some stretches silenced; all others are the same, bit for bit.

    Args:
        samples: Mono, ``[n]``.
        sample_rate: In Hz.
        stretches: Start and end in seconds, as from `silences`; what lies outside the samples is passed over.
        start: Seconds at which the samples begin.
        beep: Whether a tone of 1 kHz stands there instead.
    """
    masked = samples.copy()
    for begin, end in stretches:
        first = max(0, math.floor((begin - start) * sample_rate))
        last = min(len(samples), math.ceil((end - start) * sample_rate))
        if first < last:
            masked[first:last] = _tone(last - first, sample_rate) if beep else 0.0
    return masked


def _tone(length: int, sample_rate: int) -> NDArray[np.float32]:
    """Return a tone that comes and goes without a click."""
    times = np.arange(length) / sample_rate
    edge = np.minimum(times, times[::-1]) / _RAMP_SECONDS
    envelope = 0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, 1.0))
    return np.asarray(_TONE_LEVEL * envelope * np.sin(2 * np.pi * _TONE_HZ * times), np.float32)
