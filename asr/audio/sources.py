"""Open recordings: libsndfile where it is exact, PyAV for the rest; both give mono blocks from any frame on."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
import numpy.typing as npt
import soundfile

from asr.errors import AudioError

Samples = npt.NDArray[np.float32]

# What is taken for audio in a folder; a file that is named itself may end as it likes.
# fmt: off
AUDIO_ENDINGS = frozenset({
    ".aac", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".g722", ".m4a", ".mka", ".mkv", ".mov", ".mp3", ".mp4",
    ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma",
})
# fmt: on
# How far, in seconds, a span may reach past the end: annotations are rounded, and encoders pad.
END_TOLERANCE = 0.1
# A recording may fall this share short of what its header promises; more means that it was cut short.
_SHORTFALL = 0.01
# Seconds decoded before the wanted frame, for a lossy decoder to settle.
_PREROLL = 0.5
# Formats without a header, which only the file's ending can tell.
_RAW_FORMATS = {".g722": "g722"}
# libsndfile 1.2 reads these in one go only: each further read seeks, and that breaks an mp3 for up to 40 ms, loses the
# place in Vorbis by up to a millisecond; and it mistakes the length of an mp3 that does not state it.
_INEXACT = ("MPEG", "VORBIS")
# libsndfile's way to say that it does not know the length.
_UNKNOWN_FRAMES = 1 << 62
# What a playlist that poses as a recording may open: nothing, where its bytes came from anybody.
_NO_PROTOCOL = {"protocol_whitelist": "none"}


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a recording's header says.

    Attributes:
        duration: Seconds.
        sample_rate: Samples per second in the file.
        channels: Channels in the file.
    """

    duration: float
    sample_rate: int
    channels: int


def falls_short(decoded: float, promised: float) -> bool:
    """Whether so much less was decoded than promised (both in seconds) that something is missing."""
    return decoded < promised - max(END_TOLERANCE, _SHORTFALL * promised)


def cut_short(name: str, promised: float, decoded: float, fault: str = "") -> AudioError:
    """The error that names both durations, in seconds, and the decoder's reason if there is one."""
    reason = f" ({fault})" if fault else ""
    return AudioError(
        f"{name} is cut short or damaged: its header promises {promised:.2f} s, but only {decoded:.2f} s can be "
        f"decoded{reason}; copy or export it again"
    )


class Source(Protocol):
    """An open recording; ``fault`` is why decoding stopped before the end, or empty."""

    info: AudioInfo
    fault: str

    def blocks(self, first: int) -> Iterator[Samples]:
        """Yield mono samples at the file's own rate from frame ``first`` on."""
        ...


def name_of(recording: Path | bytes) -> str:
    """What messages call a recording."""
    return "the recording" if isinstance(recording, bytes) else str(recording)


@contextmanager
def open_source(recording: Path | bytes) -> Iterator[Source]:
    """Open a recording, a file or a file's content, with the library that reads it."""
    name = name_of(recording)
    with ExitStack() as stack:
        handle: BinaryIO
        try:
            # Unbuffered, because libsndfile goes on where this handle stands. It gets no name: it would believe it.
            handle = BytesIO(recording) if isinstance(recording, bytes) else recording.open("rb", buffering=0)
        except OSError as error:
            raise AudioError(f"{name} cannot be read: {error.strerror}") from None
        stack.enter_context(handle)
        if (len(recording) if isinstance(recording, bytes) else recording.stat().st_size) == 0:
            raise AudioError(f"{name} is empty (0 bytes)")
        _check_wav(handle, name)
        try:
            opened = handle if isinstance(recording, bytes) else handle.fileno()
            file = stack.enter_context(soundfile.SoundFile(opened, closefd=False))
        except soundfile.LibsndfileError:
            file = None
        if file is None or file.subtype.startswith(_INEXACT) or file.frames >= _UNKNOWN_FRAMES:
            yield _open_av(recording)
        elif file.frames == 0:
            raise AudioError(f"{name} holds no sound: 0 samples")
        else:
            yield SoundFileSource(file)


def _check_wav(handle: BinaryIO, name: str) -> None:
    """Refuse a wav whose data ends before its header says so (libsndfile takes it as it is), and rewind."""
    size = handle.seek(0, 2)
    handle.seek(0)
    riff = handle.read(12)
    bytes_per_second = 0
    while riff[:4] == b"RIFF" and riff[8:] == b"WAVE" and len(chunk := handle.read(8)) == 8:
        kind, length = struct.unpack("<4sI", chunk)
        body = handle.tell()
        if kind == b"fmt ":
            bytes_per_second = int.from_bytes(handle.read(12)[8:], "little")
        elif kind == b"data":
            # A recorder that writes to a pipe leaves the greatest 31 or 32 bit number for "until the end".
            streamed = length & 0x7FFFFFFF >= 0x7FFFF000
            if not streamed and bytes_per_second:
                promised, present = length / bytes_per_second, (size - body) / bytes_per_second
                if falls_short(present, promised):
                    raise cut_short(name, promised, present)
            break
        handle.seek(body + length + length % 2)
    handle.seek(0)


class SoundFileSource:
    """A recording that libsndfile reads."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.fault = ""
        self.info = AudioInfo(file.frames / file.samplerate, file.samplerate, file.channels)

    def blocks(self, first: int) -> Iterator[Samples]:
        """Yield mono samples from frame ``first`` on, a second at a time."""
        try:
            self.file.seek(min(first, self.file.frames))
            while len(block := self.file.read(self.info.sample_rate, dtype="float32", always_2d=True)):
                yield block.mean(axis=1, dtype=np.float32)
        except soundfile.LibsndfileError as error:
            # What was read before counts; the caller sees by the length whether that is enough.
            self.fault = str(error)


def _open_av(recording: Path | bytes) -> AvSource:
    try:
        return AvSource(recording)
    except (av.FFmpegError, ValueError) as error:
        raise AudioError(
            f"{name_of(recording)} is no audio that libsndfile or PyAV can read: {_reason(error)}"
        ) from None


class AvSource:
    """The best audio track of a file that PyAV reads; time starts at its first sample."""

    def __init__(self, recording: Path | bytes) -> None:
        self.recording = recording
        self.name = name_of(recording)
        self.fault = ""
        with self._track() as (container, stream):
            frame = next(container.decode(stream), None)
            if frame is None:
                raise AudioError(f"{self.name} holds no sound: its audio track has 0 samples")
            self.origin = _time(frame)
        with self._track() as (container, stream):
            duration = self._duration(container, stream)
        self.info = AudioInfo(duration, frame.sample_rate, frame.layout.nb_channels)

    @contextmanager
    def _track(self) -> Iterator[tuple[Any, Any]]:
        if isinstance(self.recording, bytes):
            opened = av.open(BytesIO(self.recording), options=_NO_PROTOCOL)
        else:
            # The protocol is named, so that neither a name with a colon nor a playlist in disguise reaches the network.
            opened = av.open(f"file:{self.recording}", format=_RAW_FORMATS.get(self.recording.suffix.lower()))
        with opened as container:
            stream = container.streams.best("audio")
            if stream is None:
                raise AudioError(f"{self.name} has no audio track")
            yield container, stream

    def _duration(self, container: Any, stream: Any) -> float:
        """Seconds as the header has them; where it has none, the packets are counted, not decoded."""
        # Without a header the length would be a guess from the bit rate; such a stream has no start, and an mp3 whose
        # first frame does not describe it starts at 0.
        described = stream.start_time if container.format.name == "mp3" else stream.start_time is not None
        if described:
            # Matroska (webm too) has one length for all tracks, and the picture may outlast the sound; most writers
            # tag each track with its own.
            matroska = "matroska" in container.format.name
            if matroska and "DURATION" in stream.metadata:
                hours, minutes, seconds = stream.metadata["DURATION"].split(":")
                return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            if stream.duration and not matroska:
                return float(stream.duration * stream.time_base)
            if container.duration and len(container.streams) == 1:
                return float(container.duration / av.time_base)
        ends = [_end(packet) for packet in container.demux(stream) if packet.pts is not None]
        return max(ends, default=0.0) - (self.origin or 0.0)

    def blocks(self, first: int) -> Iterator[Samples]:
        """Yield mono samples from frame ``first`` on, as the decoder gives them."""
        target = first / self.info.sample_rate - _PREROLL
        try:
            if target > 0 and self.origin is not None:
                with self._track() as (container, stream):
                    frames, position = self._sought(container, stream, target + self.origin)
                    if position is not None and position <= first:
                        yield from _mono(frames, first - position)
                        return
            with self._track() as (container, stream):
                yield from _mono(container.decode(stream), first)
        except (av.FFmpegError, ValueError) as error:
            # As in SoundFileSource, the length tells whether enough was read. A change of format is a ValueError.
            self.fault = _reason(error)

    def _sought(self, container: Any, stream: Any, time: float) -> tuple[Iterator[Any], int | None]:
        """Decode from just before ``time``; return the frames and the position of their first sample, if known."""
        try:
            container.seek(int(time / stream.time_base), stream=stream)
            frames = container.decode(stream)
            frame = next(frames)
        except (av.FFmpegError, StopIteration):
            return iter(()), None
        seconds = _time(frame)
        if seconds is None or self.origin is None:
            return iter(()), None
        return chain([frame], frames), round((seconds - self.origin) * self.info.sample_rate)


def _mono(frames: Iterable[Any], skip: int) -> Iterator[Samples]:
    """Average the channels of frames, leaving out the first ``skip`` samples."""
    converter = av.AudioResampler(format="fltp")
    for frame in frames:
        for part in converter.resample(frame):
            samples = part.to_ndarray()[:, skip:]
            skip = max(0, skip - part.samples)
            if samples.shape[1]:
                yield samples.mean(axis=0, dtype=np.float32)


def _time(frame: Any) -> float | None:
    return None if frame.pts is None else float(frame.pts * frame.time_base)


def _end(packet: Any) -> float:
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
