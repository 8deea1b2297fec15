"""Loading a recording or a span of it: seek, average, resample on the grid of the whole, cut."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from asr.audio.sources import END_TOLERANCE, AudioInfo, Samples, cut_short, falls_short, open_source
from asr.errors import AudioError

SAMPLE_RATE = 16000
# Seconds read before a span for the resampler, whose filter reaches 12 ms far at 8 kHz.
_CONTEXT = 0.25


def probe(path: str | Path) -> AudioInfo:
    """Read a recording's duration, rate and channels without decoding it.

    Raises:
        AudioError: If it is missing, empty, cut short, or no audio.
    """
    with open_source(Path(path)) as source:
        return source.info


def load_audio(path: str | Path, start: float = 0.0, duration: float | None = None) -> Samples:
    """Load a recording, or a span of it, as mono float32 at `SAMPLE_RATE`.

    Args:
        path: The recording; for a video its audio track.
        start: Seconds from the recording's start.
        duration: Seconds; None means up to the end. A span may reach `END_TOLERANCE` past the end, and is shorter then.

    Returns:
        Samples ``[round(duration * SAMPLE_RATE)]``, nominally in -1 to 1.

    Raises:
        AudioError: If the recording is missing, empty, no audio or cut short, if it holds NaN or infinite samples, or
            if the span lies outside it.
    """
    path = Path(path)
    with open_source(path) as source:
        end = _span_end(path, source.info, start, duration)
        rate = source.info.sample_rate
        # Start on a frame that falls on a sample of the result, so that both have one grid.
        grid = rate // math.gcd(rate, SAMPLE_RATE)
        first = max(0, int((start - _CONTEXT) * rate)) // grid * grid
        offset = first * SAMPLE_RATE // rate
        begin = round(start * SAMPLE_RATE) - offset
        stop = None if duration is None else begin + round(duration * SAMPLE_RATE)
        # A growing bytearray, and not a list of blocks: ten hours are 2.3 GB, which need not be there twice.
        buffer = bytearray()
        for block in _resampled(_finite(source.blocks(first), path, first, rate), rate):
            buffer += block.tobytes()
            if stop is not None and len(buffer) >= 4 * stop:
                break
        decoded = (len(buffer) // 4 + offset) / SAMPLE_RATE
        if falls_short(decoded, end):
            raise cut_short(path, source.info.duration, decoded, source.fault)
    # Some decoders give what an encoder padded; the header knows better where the recording ends.
    total = round(source.info.duration * SAMPLE_RATE) - offset
    padded = len(buffer) // 4 - total
    if 0 < padded <= END_TOLERANCE * SAMPLE_RATE:
        stop = total if stop is None else min(stop, total)
    samples = np.frombuffer(buffer, dtype=np.float32)[begin:stop]
    if not len(samples):
        raise AudioError(f"{path} gives no samples for the span asked for (start {start} s, duration {duration} s)")
    return samples


def _span_end(path: Path, info: AudioInfo, start: float, duration: float | None) -> float:
    """Check a span against the recording; return where it ends, in seconds."""
    end = info.duration if duration is None else start + duration
    if not (start >= 0 and math.isfinite(end) and (duration is None or duration > 0)):
        raise AudioError(
            f"a span of {path} must start at 0 s or later and last more than 0 s; "
            f"start {start} s and duration {duration} s were asked for"
        )
    if start >= info.duration or end > info.duration + END_TOLERANCE:
        raise AudioError(
            f"{path} lasts {info.duration:.3f} s, but a span from {start:.3f} to {end:.3f} s was asked for"
        )
    return min(end, info.duration)


def _resampled(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Bring blocks of one stream to `SAMPLE_RATE`."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _finite(blocks: Iterator[Samples], path: Path, first: int, rate: int) -> Iterator[Samples]:
    """Pass blocks on; refuse NaN and infinite samples, which would spread over the whole result."""
    position = first
    for block in blocks:
        finite = np.isfinite(block)
        if not finite.all():
            seconds = (position + int(finite.argmin())) / rate
            raise AudioError(
                f"{path} holds a NaN or infinite sample at {seconds:.3f} s; repair or leave out the recording"
            )
        position += len(block)
        yield block
