"""What is no recording, or only a part of one, ends in a sentence that says what, where and what to do."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.audio import SAMPLE_RATE, load_audio, probe
from asr.errors import AudioError


@pytest.fixture
def second(tmp_path: Path, voice: Any, encode: Any) -> Path:
    path: Path = encode(tmp_path / "second.wav", voice(16000, 1.0), 16000)
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav cannot be read: No such file"):
        probe(tmp_path / "none.wav")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be read: Is a directory"):
        load_audio(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match=r"empty\.wav is empty \(0 bytes\)"):
        load_audio(tmp_path / "empty.wav")


def test_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "zero.wav"
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(AudioError, match="holds no sound"):
        load_audio(path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("notes.wav", b"these are my notes\n" * 100),
        ("noise.mp3", np.random.default_rng(0).bytes(20000)),
        ("zeros.flac", bytes(20000)),
        ("short.ogg", b"OggS"),
        ("riff.wav", b"RIFF\x04\0\0\0WAVE"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
    ],
)
def test_not_audio(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=f"{name} (is no audio that|has no audio track)"):
        load_audio(tmp_path / name)


@pytest.mark.parametrize("ending", ["flac", "mp3", "m4a", "webm", "ogg"])
def test_content_decides_not_the_ending(ending: str, tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / f"a.{ending}", voice(48000, 1.0), 48000)
    expected = load_audio(path)
    for wrong in ("wav", "raw", "txt", "mp3"):
        np.testing.assert_array_equal(load_audio(shutil.copy(path, tmp_path / f"wrong.{wrong}")), expected)


@pytest.mark.parametrize("name", ["a:b.m4a", "http:__x.m4a", "dé ß%20.m4a", "a:b.wav"])
def test_names_with_colons_and_other_letters(name: str, tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / f"plain.{name[-3:]}", voice(16000, 1.0), 16000)
    np.testing.assert_array_equal(
        load_audio(shutil.move(path, tmp_path / name)).shape, load_audio(tmp_path / name).shape
    )


@pytest.mark.parametrize(
    "ending, promised, options",
    [("wav", "8.00", {}), ("flac", "8.00", {}), ("mp3", r"8\.\d+", {}), ("m4a", "8.00", {"movflags": "faststart"})],
)
def test_truncated(
    ending: str, promised: str, options: dict[str, str], tmp_path: Path, voice: Any, encode: Any
) -> None:
    path = encode(tmp_path / f"a.{ending}", voice(44100, 8.0), 44100, container=options)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(AudioError, match=rf"promises {promised} s, but only [34]\.\d+ s can be decoded") as caught:
        load_audio(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", ["flac", "m4a"])
def test_truncated_after_the_span_is_no_harm(ending: str, tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / f"a.{ending}", voice(44100, 8.0), 44100, container={"movflags": "faststart"})
    whole = load_audio(path)
    os.truncate(path, path.stat().st_size // 2)
    np.testing.assert_allclose(load_audio(path, 1.0, 1.0), whole[SAMPLE_RATE : 2 * SAMPLE_RATE], atol=0.02)
    with pytest.raises(AudioError, match="cut short"):
        load_audio(path, 6.0, 1.0)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF - 36])
def test_a_wav_from_a_pipe_is_not_truncated(size: int, second: Path) -> None:
    content = bytearray(second.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    second.write_bytes(content)
    assert len(load_audio(second)) == SAMPLE_RATE


def test_an_mp3_that_does_not_state_its_length(tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / "a.mp3", voice(44100, 8.0), 44100)
    content = path.read_bytes()
    # The first frame describes the others (bit rates vary); without it, the length would be a guess from the first.
    second_frame = content.index(content[:2], content.index(b"LAME") + 32)
    path.write_bytes(content[second_frame:])
    assert probe(path).duration == pytest.approx(8.0, abs=0.05)
    whole = load_audio(path)
    np.testing.assert_allclose(load_audio(path, 5.0, 1.0), whole[5 * SAMPLE_RATE : 6 * SAMPLE_RATE], atol=1e-6)


def test_a_flac_from_a_pipe_has_no_length_in_its_header(tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / "a.flac", voice(44100, 3.0), 44100)
    expected = load_audio(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO hold the number of samples; 0 is "unknown"
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert probe(path).duration == pytest.approx(3.0)
    np.testing.assert_allclose(load_audio(path), expected, atol=1e-6)
    np.testing.assert_allclose(load_audio(path, 1.5, 0.5), expected[24000:32000], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_samples_are_located(value: float, tmp_path: Path) -> None:
    samples = np.zeros((8 * 16000, 2), np.float32)
    samples[6 * 16000 + 4000, 1] = value
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav holds a NaN or infinite sample at 6\.250 s"):
        load_audio(tmp_path / "nan.wav")
    with pytest.raises(AudioError, match=r"at 6\.250 s"):
        load_audio(tmp_path / "nan.wav", 6.0, 1.0)
    assert not load_audio(tmp_path / "nan.wav", 1.0, 2.0).any()


@pytest.mark.parametrize("start, duration", [(0.5, 0.7), (1.0, None), (3.0, 0.5), (0.0, 1.2)])
def test_span_outside(start: float, duration: float | None, second: Path) -> None:
    with pytest.raises(AudioError, match=r"second\.wav lasts 1\.000 s, but a span from"):
        load_audio(second, start, duration)


@pytest.mark.parametrize(
    "start, duration", [(-0.1, 0.5), (0.0, 0.0), (0.0, -1.0), (float("nan"), 0.5), (0.0, float("inf"))]
)
def test_impossible_span(start: float, duration: float, second: Path) -> None:
    with pytest.raises(AudioError, match="must start at 0 s or later and last more than 0 s"):
        load_audio(second, start, duration)


def test_a_span_shorter_than_a_sample(second: Path) -> None:
    with pytest.raises(AudioError, match="gives no samples"):
        load_audio(second, 0.5, 1e-5)


def test_silence_is_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    assert not load_audio(tmp_path / "silence.wav").any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the recording is empty \(0 bytes\)"),
        (b"these are my notes\n" * 100, "the recording is no audio that"),
        (np.random.default_rng(0).bytes(20000), "the recording (is no audio that|has no audio track)"),
    ],
)
def test_content_that_is_not_audio(content: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        load_audio(content)


def test_content_that_is_cut_short(second: Path) -> None:
    with pytest.raises(AudioError, match=r"the recording is cut short .* promises 1.00 s, but only 0.50 s"):
        load_audio(second.read_bytes()[:16044])


def test_content_opens_no_other_file(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of files poses as a recording; of a list that lies on this disk PyAV reads what it names."""
    monkeypatch.chdir(second.parent)
    playlist = b"ffconcat version 1.0\nfile second.wav\n"
    second.with_name("list.wav").write_bytes(playlist)
    assert len(load_audio(second.with_name("list.wav"))) == SAMPLE_RATE
    with pytest.raises(AudioError, match="the recording is no audio that"):
        load_audio(playlist)
