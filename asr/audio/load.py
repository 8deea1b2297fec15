"""Loading a recording or a span, at once or block by block: seek, average, resample on the grid of the whole, cut."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from asr.audio.packed import read_packed
from asr.audio.sources import END_TOLERANCE, AudioInfo, Samples, Source, cut_short, falls_short, name_of, open_source
from asr.errors import AudioError

SAMPLE_RATE = 16000
# Seconds of a block, where nobody chooses.
BLOCK_SECONDS = 10.0
# Seconds read before a span for the resampler, whose filter reaches 12 ms far at 8 kHz.
_CONTEXT = 0.25


def probe(recording: str | Path | bytes) -> AudioInfo:
    """Read a recording's duration, rate and channels without decoding it.

    Args:
        recording: A file, or a file's content.

    Raises:
        AudioError: If it is missing, empty, cut short, or no audio.
    """
    with open_source(_place(recording)) as source:
        return source.info


def load_audio(recording: str | Path | bytes, start: float = 0.0, duration: float | None = None) -> Samples:
    """Load a recording, or a span of it, as mono float32 at `SAMPLE_RATE`.

    Args:
        recording: A file, a file's content, or the address of a recording in an archive (`asr.audio.packed`); of a
            video its audio track.
        start: Seconds from the recording's start.
        duration: Seconds; None means up to the end. A span may reach `END_TOLERANCE` past the end, and is shorter then.

    Returns:
        Samples ``[round(duration * SAMPLE_RATE)]``, nominally in -1 to 1.

    Raises:
        AudioError: If the recording is missing, empty, no audio or cut short, if it holds NaN or infinite samples, or
            if the span lies outside it.
    """
    # A growing bytearray, and not a list of blocks: ten hours are 2.3 GB, which need not be there twice.
    buffer = bytearray()
    for block in stream_audio(recording, start, duration):
        buffer += block.tobytes()
    return np.frombuffer(buffer, dtype=np.float32)


def stream_audio(
    recording: str | Path | bytes,
    start: float = 0.0,
    duration: float | None = None,
    block_seconds: float = BLOCK_SECONDS,
) -> Generator[Samples, None, None]:
    """Yield what `load_audio` returns, block by block: whatever the length, it takes the memory of a few blocks.

    Args:
        recording: See `load_audio`.
        start: See `load_audio`.
        duration: See `load_audio`.
        block_seconds: Length of every block but the last, which may be shorter.

    Raises:
        AudioError: As of `load_audio`, while iterating: that a recording is cut short may show at its end only.
    """
    recording = _place(recording)
    name = name_of(recording)
    found = False
    with open_source(recording) as source:
        for block in _even(_span(name, source, start, duration), max(1, round(block_seconds * SAMPLE_RATE))):
            found = True
            yield block
    if not found:
        raise AudioError(f"{name} gives no samples for the span asked for (start {start} s, duration {duration} s)")


def _place(recording: str | Path | bytes) -> Path | bytes:
    if isinstance(recording, bytes):
        return recording
    packed = read_packed(str(recording))
    return Path(recording) if packed is None else packed


def _span(name: str, source: Source, start: float, duration: float | None) -> Iterator[Samples]:
    """Yield the samples of a span, in pieces of any length."""
    end = _span_end(name, source.info, start, duration)
    rate = source.info.sample_rate
    # Start on a frame that falls on a sample of the result, so that both have one grid.
    grid = rate // math.gcd(rate, SAMPLE_RATE)
    first = max(0, int((start - _CONTEXT) * rate)) // grid * grid
    offset = first * SAMPLE_RATE // rate
    begin = round(start * SAMPLE_RATE) - offset
    stop = None if duration is None else begin + round(duration * SAMPLE_RATE)
    pieces = _resampled(_finite(source.blocks(first), name, first, rate), rate)
    position = 0
    for piece in _unpadded(pieces, round(source.info.duration * SAMPLE_RATE) - offset):
        yield piece[max(0, begin - position) : None if stop is None else max(0, stop - position)]
        position += len(piece)
        if stop is not None and position >= stop:
            break
    decoded = (position + offset) / SAMPLE_RATE
    if falls_short(decoded, end):
        raise cut_short(name, source.info.duration, decoded, source.fault)


def _unpadded(pieces: Iterable[Samples], total: int) -> Iterator[Samples]:
    """Leave out what follows sample ``total``, where the header has the end, if it is as little as encoders pad."""
    position = 0
    beyond: list[Samples] = []
    for piece in pieces:
        room = max(0, total - position)
        position += len(piece)
        yield piece[:room]
        if room < len(piece):
            beyond.append(piece[room:])
        if position > total + END_TOLERANCE * SAMPLE_RATE:
            yield from beyond
            beyond.clear()


def _even(pieces: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Join and cut pieces to blocks of one size; only the last may be shorter, and none is empty."""
    block, filled = np.empty(size, np.float32), 0
    for piece in pieces:
        while len(piece):
            taken = piece[: size - filled]
            block[filled : filled + len(taken)] = taken
            filled += len(taken)
            piece = piece[len(taken) :]
            if filled == size:
                yield block
                block, filled = np.empty(size, np.float32), 0
    if filled:
        yield block[:filled]


def _span_end(name: str, info: AudioInfo, start: float, duration: float | None) -> float:
    """Check a span against the recording; return where it ends, in seconds."""
    end = info.duration if duration is None else start + duration
    if not (start >= 0 and math.isfinite(end) and (duration is None or duration > 0)):
        raise AudioError(
            f"a span of {name} must start at 0 s or later and last more than 0 s; "
            f"start {start} s and duration {duration} s were asked for"
        )
    if start >= info.duration or end > info.duration + END_TOLERANCE:
        raise AudioError(
            f"{name} lasts {info.duration:.3f} s, but a span from {start:.3f} to {end:.3f} s was asked for"
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


def _finite(blocks: Iterator[Samples], name: str, first: int, rate: int) -> Iterator[Samples]:
    """Pass blocks on; refuse NaN and infinite samples, which would spread over the whole result."""
    position = first
    for block in blocks:
        finite = np.isfinite(block)
        if not finite.all():
            seconds = (position + int(finite.argmin())) / rate
            raise AudioError(
                f"{name} holds a NaN or infinite sample at {seconds:.3f} s; repair or leave out the recording"
            )
        position += len(block)
        yield block
