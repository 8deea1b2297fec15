"""Recordings in many formats, made of closed-form signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

Signal = npt.NDArray[np.float64]
Encode = Callable[..., Path]

# What PyAV encodes, because libsndfile cannot: ending -> codec.
_AV_CODECS = {"m4a": "aac", "mp4": "aac", "webm": "libopus", "mkv": "aac", "g722": "g722"}


def voice(rate: int, seconds: float, channels: int = 1) -> Signal:
    """Tones from 200 Hz to 3.1 kHz, each with its own slow swell, so that no two places sound alike: [n, channels]."""
    t = np.arange(round(rate * seconds)) / rate
    columns = []
    for channel in range(channels):
        tones = [
            np.sin(2 * np.pi * f * t + channel) * (1.2 + np.sin(2 * np.pi * (0.13 + 0.07 * i) * t + i))
            for i, f in enumerate((211.0, 523.5 + 10 * channel, 1187.0, 2311.0, 3103.0))
        ]
        columns.append(0.06 * np.sum(tones, axis=0))
    return np.stack(columns, axis=1)


def encode(path: Path, samples: Signal, rate: int, subtype: str | None = None, **options: object) -> Path:
    """Write samples [n, channels] in the format of the file's ending.

    Options: ``picture`` adds a video track of so many seconds; ``container`` goes to the container's writer.
    """
    ending = path.suffix[1:]
    if ending not in _AV_CODECS:
        kinds = {"opus": ("OGG", "OPUS"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}
        format_, default = kinds.get(ending, (None, None))
        soundfile.write(path, samples, rate, format=format_, subtype=subtype or default)
        return path
    with av.open(str(path), "w", options=options.get("container", {})) as container:
        stream = container.add_stream(_AV_CODECS[ending], rate=rate)
        stream.layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
        if seconds := options.get("picture"):
            _add_picture(container, int(str(seconds)))
        kind = "fltp" if _AV_CODECS[ending] == "aac" else "s16"
        for first in range(0, len(samples), rate):
            part = samples[first : first + rate]
            if kind == "fltp":
                plane = np.ascontiguousarray(part.T, dtype=np.float32)
            else:
                plane = np.round(part * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(plane, format=kind, layout=stream.layout.name)
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _add_picture(container: av.container.OutputContainer, seconds: int) -> None:
    codec = "libvpx" if "webm" in container.format.name else "mpeg4"
    stream = container.add_stream(codec, rate=5)
    stream.width = stream.height = 32
    stream.pix_fmt = "yuv420p"
    for _ in range(5 * seconds):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
    container.mux(stream.encode(None))


@pytest.fixture(name="voice", scope="session")
def _voice() -> Callable[..., Signal]:
    return voice


@pytest.fixture(name="encode", scope="session")
def _encode() -> Encode:
    return encode
