from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from asr.audio import load_audio, probe
from asr.errors import AudioError
from asr.privacy.mute import mute


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write with the library that knows the ending."""
    containers = {".m4a": ("aac", "mp4"), ".g722": ("g722", "g722"), ".webm": ("libopus", "webm")}
    if path.suffix not in containers:
        kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
        soundfile.write(path, samples, rate, **kind)
        return
    codec, container = containers[path.suffix]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=48000 if path.suffix == ".webm" else rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "mp3", "ogg", "opus", "m4a", "g722", "webm"])
def test_only_the_stretch_is_silent_in_every_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    write(path, (0.3 * np.sin(2 * np.pi * 220 * np.arange(48000) / 16000)).astype(np.float32), 16000)
    before, info = load_audio(path), probe(path)
    mute(path, [(1.0, 2.0), (2.5, None)])
    after = load_audio(path)
    assert abs(len(after) - len(before)) <= 1024
    rate = 48000 if ending == "opus" else info.sample_rate
    assert (probe(path).sample_rate, probe(path).channels) == (rate, info.channels)

    def level(samples: np.ndarray, start: float, end: float) -> float:
        return float(np.sqrt(np.mean(samples[int(16000 * start) : int(16000 * end)] ** 2)))

    for start, end in ((0.1, 0.95), (2.05, 2.45)):
        assert level(after, start, end) == pytest.approx(level(before, start, end), rel=0.02)
    for start, end in ((1.03, 1.97), (2.53, 2.9)):
        assert level(after, start, end) < 1e-3


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW"])
def test_lossless_sound_stays_as_it_is_to_the_bit(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.9, 0.9, (150_000, 2)), 44100, subtype=subtype)
    before, _ = soundfile.read(path, dtype="float64")
    mute(path, [(0.1, 0.2), (1.7, 1.8)])
    after, rate = soundfile.read(path, dtype="float64")
    expected = before.copy()
    for start, end in ((0.1, 0.2), (1.7, 1.8)):
        expected[int(start * rate) : int(np.ceil(end * rate))] = 0
    assert (after == expected).all()
    assert soundfile.info(path).subtype == subtype


def test_doing_it_twice_changes_nothing_more_and_tags_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        file.artist = "Anna Example"
        file.write(np.full(16000, 0.25))
    path.chmod(0o640)
    assert b"Anna" in path.read_bytes()
    mute(path, [(0.0, 0.5)])
    once = path.read_bytes()
    assert b"Anna" not in once
    mute(path, [(0.0, 0.5)])
    assert path.read_bytes() == once
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_again_stays(tmp_path: Path) -> None:
    for name, content in (("a.wav", b"no sound"), ("b.wma", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(AudioError):
            mute(path, [(0.0, 1.0)])
        assert path.read_bytes() == content
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as out:
        picture = out.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound = out.add_stream("aac", rate=16000, layout="mono")
        out.mux(picture.encode(av.VideoFrame(32, 32, "yuv420p")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        out.mux(picture.encode(None))
    before = film.read_bytes()
    with pytest.raises(AudioError, match="picture"):
        mute(film, [(0.0, 0.5)])
    assert film.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wma", "film.mp4"]
