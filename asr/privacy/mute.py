"""Mutes stretches of a recording in its own format; everything beside the sound (tags, chunks) is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import av
import numpy as np
import numpy.typing as npt
import soundfile

from asr.errors import AudioError
from asr.files import atomic_write
from asr.privacy.traces import Span

# libsndfile reads these inexactly in blocks (see `asr.audio.sources`), and does not say at which rate to write them.
_LOSSY: Final = ("MPEG", "VORBIS", "OPUS")
# What PyAV writes, by the file's ending: the container, and the encoders of the codecs that may lie in it.
_CONTAINERS: Final = {
    ".mp3": "mp3", ".ogg": "ogg", ".oga": "ogg", ".opus": "ogg", ".m4a": "mp4", ".mp4": "mp4", ".webm": "webm",
    ".mka": "matroska", ".mkv": "matroska", ".aac": "adts", ".g722": "g722", ".caf": "caf", ".mov": "mov",
}  # fmt: skip
_ENCODERS: Final = {
    "opus": "libopus", "libopus": "libopus", "aac": "aac", "g722": "g722", "flac": "flac", "alac": "alac",
    "pcm_s16le": "pcm_s16le",
}  # fmt: skip
# What libsndfile writes better than PyAV, which has no encoder for the one, and is quieter with the other.
_BY_SNDFILE: Final = {
    "vorbis": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "mp3float": ("MP3", "MPEG_LAYER_III"),
}
_BLOCK = 1 << 16


def mute(path: Path, spans: Iterable[Span]) -> None:
    """Write a recording anew with some stretches silent; its length, rate and channels stay (Opus is always of 48 kHz).

    Lossless formats keep every other sample as it is, the lossy ones are decoded and encoded again.

    Args:
        path: The recording.
        spans: Start and end in seconds; an end of None means to the end of the recording.

    Raises:
        AudioError: It cannot be read, or not be written in its format; it is as it was.
        OSError: The disk is full.
    """
    wanted = tuple(spans)
    with path.open("rb") as handle:
        try:
            with soundfile.SoundFile(handle) as source:
                exact = not source.subtype.startswith(_LOSSY)
        except soundfile.LibsndfileError:
            exact = False
    mode = path.stat().st_mode & 0o777
    if exact:
        with atomic_write(path, "wb") as out:
            _mute_exactly(path, wanted, out)
    else:
        with atomic_write(path, "wb") as out:
            _mute_coded(path, wanted, out)
    path.chmod(mode)


def _mute_samples(samples: npt.NDArray[Any], first: int, rate: int, spans: Iterable[Span]) -> None:
    """Set samples ``[time, channels]`` that lie in a span to zero; the first of them is number ``first``."""
    for start, end in spans:
        begin = max(0, int(start * rate) - first)
        stop = len(samples) if end is None else max(0, int(np.ceil(end * rate)) - first)
        samples[begin:stop] = 0


def _mute_exactly(path: Path, spans: tuple[Span, ...], out: IO[Any]) -> None:
    with path.open("rb") as handle, soundfile.SoundFile(handle) as source:
        # Whole numbers hold PCM of any width exactly, doubles any float.
        kind = "float64" if source.subtype in ("FLOAT", "DOUBLE") else "int32"
        with soundfile.SoundFile(
            out, "w", source.samplerate, source.channels, source.subtype, source.endian, source.format
        ) as target:
            first = 0
            try:
                while len(block := source.read(_BLOCK, dtype=kind, always_2d=True)):
                    _mute_samples(block, first, source.samplerate, spans)
                    target.write(block)
                    first += len(block)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"{path} cannot be muted: {error}; repair it, or remove it by hand") from None


def _mute_coded(path: Path, spans: tuple[Span, ...], out: IO[Any]) -> None:
    ending = path.suffix.lower()
    try:
        with av.open(f"file:{path}", format="g722" if ending == ".g722" else None) as source:
            stream = source.streams.best("audio")
            codec = "" if stream is None else stream.codec_context.codec.name
            if ending not in _CONTAINERS or codec not in {*_ENCODERS, *_BY_SNDFILE}:
                raise AudioError(f"{path} cannot be written in its format; convert it to FLAC, or silence it by hand")
            if len(source.streams) > 1:
                raise AudioError(f"{path} holds more than one track, a picture perhaps; silence it by hand")
            if codec in _BY_SNDFILE:
                _write_by_sndfile(source, stream, spans, out, *_BY_SNDFILE[codec])
            else:
                _write_coded(source, stream, spans, out, _CONTAINERS[ending], _ENCODERS[codec])
    except (av.FFmpegError, soundfile.LibsndfileError, ValueError) as error:
        raise AudioError(f"{path} cannot be muted: {error}; silence it by hand") from None


def _muted(source: Any, stream: Any, spans: tuple[Span, ...]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Decode a track; yield the number of the first sample, and samples ``[channels, time]``, some of them silent."""
    rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout.name
    planar = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    first = 0
    for frame in source.decode(stream):
        for part in planar.resample(frame):
            samples = np.ascontiguousarray(part.to_ndarray())
            _mute_samples(samples.T, first, rate, spans)
            yield first, samples
            first += samples.shape[1]


def _write_by_sndfile(
    source: Any, stream: Any, spans: tuple[Span, ...], out: IO[Any], container: str, subtype: str
) -> None:
    context = stream.codec_context
    with soundfile.SoundFile(out, "w", context.sample_rate, context.channels, subtype, format=container) as target:
        for _, samples in _muted(source, stream, spans):
            target.write(samples.T)


def _write_coded(source: Any, stream: Any, spans: tuple[Span, ...], out: IO[Any], container: str, encoder: str) -> None:
    rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout.name
    with av.open(out, "w", format=container) as target:
        written = target.add_stream(encoder, rate=rate, layout=layout)
        if stream.codec_context.bit_rate:
            written.bit_rate = stream.codec_context.bit_rate
        for first, samples in _muted(source, stream, spans):
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, first
            target.mux(written.encode(frame))
        target.mux(written.encode(None))
