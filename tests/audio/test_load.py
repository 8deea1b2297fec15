"""The loader against other decoders, another resampler, and closed forms; spans against the whole."""

from __future__ import annotations

import resource
import tracemalloc
from math import gcd
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.audio import SAMPLE_RATE, AudioInfo, load_audio, probe, stream_audio
from asr.audio.load import _unpadded
from asr.errors import AudioError

# Seconds at both ends that golden comparisons leave out: resamplers differ in what they take to lie beyond the edge.
EDGE = 0.05


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """An independent resampler: a polyphase filter, much longer than scipy's own choice."""
    divisor = gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // divisor, rate // divisor
    longest = max(up, down)
    taps = scipy.signal.firwin(2 * 64 * longest + 1, 0.97 / longest, window=("kaiser", 10.0))
    return np.asarray(scipy.signal.resample_poly(samples, up, down, window=taps))


def inner(samples: np.ndarray) -> np.ndarray:
    edge = round(EDGE * SAMPLE_RATE)
    return samples[edge:-edge]


def wav_samples(path: Path) -> tuple[int, np.ndarray]:
    """An independent wav decoder; full scale is 1."""
    rate, data = scipy.io.wavfile.read(path)
    if data.dtype == np.uint8:
        data = (data.astype(np.float64) - 128) / 128
    elif data.dtype.kind == "i":
        data = data / (1.0 + np.iinfo(data.dtype).max)
    return rate, np.asarray(data, np.float64)


@pytest.mark.filterwarnings("ignore:Chunk .non-data. not understood")
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_wav_is_what_scipy_decodes_and_resamples(
    rate: int, subtype: str, tmp_path: Path, voice: Any, encode: Any
) -> None:
    path = encode(tmp_path / "a.wav", voice(rate, 1.5, channels=2), rate, subtype)
    decoded_rate, decoded = wav_samples(path)
    assert decoded_rate == rate
    expected = resampled(decoded.mean(axis=1), rate)
    loaded = load_audio(path)
    assert loaded.dtype == np.float32 and loaded.ndim == 1
    assert abs(len(loaded) - 1.5 * SAMPLE_RATE) <= 1
    # Two good filters differ only between their pass bands; 8-bit noise lies there too.
    np.testing.assert_allclose(inner(loaded), inner(expected), atol=2e-3 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("ending", ["flac", "mp3", "ogg", "opus"])
def test_libsndfile_formats_are_what_pyav_decodes(ending: str, tmp_path: Path, voice: Any, encode: Any) -> None:
    rate = 48000 if ending == "opus" else 44100
    path = encode(tmp_path / f"a.{ending}", voice(rate, 2.0, channels=2), rate)
    converter = av.AudioResampler(format="fltp")
    with av.open(str(path)) as container:
        parts = [part.to_ndarray() for frame in container.decode(audio=0) for part in converter.resample(frame)]
    expected = resampled(np.concatenate(parts, axis=1).mean(axis=0), rate)
    loaded = load_audio(path)
    assert abs(len(loaded) - len(expected)) <= 1
    length = min(len(loaded), len(expected))
    np.testing.assert_allclose(inner(loaded[:length]), inner(expected[:length]), atol=1e-4)


def test_ogg_vorbis_is_what_libsndfile_decodes(tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / "a.ogg", voice(16000, 2.0), 16000)
    np.testing.assert_allclose(load_audio(path), soundfile.read(path, dtype="float32")[0], atol=1e-6)


@pytest.mark.parametrize("ending", ["m4a", "mp4", "webm", "mkv", "mp3", "ogg", "opus", "g722"])
def test_lossy_formats_keep_the_signal_and_its_time(ending: str, tmp_path: Path, voice: Any, encode: Any) -> None:
    rate = {"g722": 16000, "webm": 48000, "opus": 48000}.get(ending, 44100)
    path = encode(tmp_path / f"a.{ending}", voice(rate, 3.0), rate)
    truth = voice(SAMPLE_RATE, 3.0)[:, 0]
    loaded = load_audio(path)
    assert len(loaded) / SAMPLE_RATE == pytest.approx(3.0, abs=0.05)
    # Matroska without an edit list keeps the encoder's 23 ms of priming, and raw G.722 its filter delay.
    shifts = range(-40, 420) if ending in {"mkv", "g722"} else range(-1, 2)
    middle = slice(SAMPLE_RATE // 2, 5 * SAMPLE_RATE // 2)
    errors = [
        np.sqrt(np.mean((loaded[middle.start + s : middle.stop + s] - truth[middle]) ** 2)) / truth[middle].std()
        for s in shifts
    ]
    # Under -20 dB; the tones are dense for 32 to 128 kbit/s.
    assert min(errors) < 0.1


def test_a_sine_comes_out_as_its_closed_form(tmp_path: Path, encode: Any) -> None:
    t = np.arange(44100 * 2) / 44100
    path = encode(tmp_path / "sine.flac", 0.5 * np.sin(2 * np.pi * 1000 * t)[:, None], 44100, "PCM_24")
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE * 2) / SAMPLE_RATE)
    np.testing.assert_allclose(inner(load_audio(path)), inner(expected), atol=1e-5)


def test_what_16_khz_cannot_hold_does_not_fold_back(tmp_path: Path, encode: Any) -> None:
    t = np.arange(48000) / 48000
    path = encode(tmp_path / "high.wav", 0.5 * np.sin(2 * np.pi * 11000 * t)[:, None], 48000, "FLOAT")
    assert np.abs(inner(load_audio(path))).max() < 1e-4


def test_eight_channels_are_averaged(tmp_path: Path, encode: Any) -> None:
    channels = np.random.default_rng(0).uniform(-0.9, 0.9, (16000, 8))
    path = encode(tmp_path / "array.wav", channels, 16000, "FLOAT")
    np.testing.assert_allclose(load_audio(path), channels.mean(axis=1), atol=1e-6)
    assert probe(path) == AudioInfo(1.0, 16000, 8)


def test_the_sound_of_a_video_ends_with_its_sound(tmp_path: Path, voice: Any, encode: Any) -> None:
    for ending, rate in (("mp4", 44100), ("webm", 48000)):
        path = encode(tmp_path / f"film.{ending}", voice(rate, 2.0), rate, picture=4)
        assert probe(path).duration == pytest.approx(2.0, abs=0.05)
        assert len(load_audio(path)) / SAMPLE_RATE == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    "name, options",
    [("live.webm", {"live": "1"}), ("parts.mp4", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"})],
)
def test_a_stream_without_a_duration_or_an_index(
    name: str, options: dict[str, str], tmp_path: Path, voice: Any, encode: Any
) -> None:
    path = encode(tmp_path / name, voice(48000, 6.0), 48000, container=options)
    assert probe(path).duration == pytest.approx(6.0, abs=0.05)
    whole, span = load_audio(path), load_audio(path, 4.0, 1.0)
    errors = [np.abs(whole[64000 + s : 80000 + s] - span).max() for s in range(-16, 17)]
    assert min(errors) < 0.02


# Odd rates have the coarsest common grid with 16 kHz: one second.
SPAN_FILES = {
    "16k.wav": 16000,
    "8k.wav": 8000,
    "odd.wav": 22051,
    "96k.wav": 96000,
    "44k1.flac": 44100,
    "a.mp3": 44100,
    "a.ogg": 44100,
    "a.opus": 48000,
    "a.g722": 16000,
    "a.m4a": 44100,
    "a.webm": 48000,
}
EXACT = sorted(SPAN_FILES.keys() - {"a.m4a", "a.webm"})


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, voice: Any, encode: Any) -> dict[str, tuple[Path, np.ndarray]]:
    """Eight seconds in several formats and rates, and the whole of each as the loader gives it."""
    folder = tmp_path_factory.mktemp("spans")
    paths = {name: encode(folder / name, voice(rate, 8.0), rate) for name, rate in SPAN_FILES.items()}
    return {name: (path, load_audio(path)) for name, path in paths.items()}


@settings(max_examples=80, deadline=None)
@given(name=st.sampled_from(EXACT), start=st.floats(0, 7.5), duration=st.floats(0.01, 8))
def test_a_span_is_a_slice_of_the_whole(
    name: str, start: float, duration: float, recordings: dict[str, tuple[Path, np.ndarray]]
) -> None:
    path, whole = recordings[name]
    duration = min(duration, 8 - start)
    span = load_audio(path, start, duration)
    first = round(start * SAMPLE_RATE)
    expected = whole[first : first + round(duration * SAMPLE_RATE)]
    assert abs(len(span) - round(duration * SAMPLE_RATE)) <= 1
    assert abs(len(span) - len(expected)) <= 1
    length = min(len(span), len(expected))
    np.testing.assert_allclose(span[:length], expected[:length], atol=1e-6)


@pytest.mark.parametrize("name, millisecond", [("a.m4a", 0), ("a.webm", 1)])
@pytest.mark.parametrize("start", [0.3, 1.2345, 4.0, 6.789])
def test_a_span_of_a_container_is_a_slice_within_its_tolerance(
    name: str, millisecond: int, start: float, recordings: dict[str, tuple[Path, np.ndarray]]
) -> None:
    path, whole = recordings[name]
    span = load_audio(path, start, 1.0)
    first = round(start * SAMPLE_RATE)
    shifts = range(-16 * millisecond, 16 * millisecond + 1)
    errors = [np.abs(whole[first + s : first + s + len(span)] - span).max() for s in shifts]
    assert min(errors) < 0.02


def test_a_span_up_to_the_end(recordings: dict[str, tuple[Path, np.ndarray]]) -> None:
    path, whole = recordings["44k1.flac"]
    np.testing.assert_allclose(load_audio(path, 6.0), whole[6 * SAMPLE_RATE :], atol=1e-6)
    # Rounded annotations may reach a little past the end; there is nothing there, so the span is shorter.
    assert len(load_audio(path, 6.0, 2.05)) == 2 * SAMPLE_RATE


def test_ten_hours_are_probed_and_cut_without_reading_them(tmp_path: Path) -> None:
    frames, rate = 36000 * 44100, 44100
    path = tmp_path / "long.wav"
    header = b"RIFF" + (frames * 2 + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"\1\0\1\0" + rate.to_bytes(4, "little") + (rate * 2).to_bytes(4, "little") + b"\2\0\x10\0"
    header += b"data" + (frames * 2).to_bytes(4, "little")
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate) * 16384
    with path.open("wb") as file:  # sparse: only the header and one second take room
        file.write(header)
        file.seek(44 + 30000 * rate * 2)
        file.write(tone.astype("<i2").tobytes())
        file.truncate(44 + frames * 2)
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert probe(path) == AudioInfo(36000.0, rate, 1)
    span = load_audio(path, 30000.0, 1.0)
    after = resource.getrusage(resource.RUSAGE_SELF)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    np.testing.assert_allclose(inner(span), inner(expected), atol=1e-3)
    assert after.ru_utime - before.ru_utime < 1.0
    assert after.ru_maxrss - before.ru_maxrss < 64 * 1024  # KiB; the file is 3 GB


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(SPAN_FILES)),
    start=st.floats(0, 7.5),
    duration=st.none() | st.floats(0.01, 8),
    block=st.floats(0.01, 9),
)
def test_blocks_are_the_span(
    name: str, start: float, duration: float | None, block: float, recordings: dict[str, tuple[Path, np.ndarray]]
) -> None:
    path, _ = recordings[name]
    duration = None if duration is None else min(duration, 8 - start)
    blocks = list(stream_audio(path, start, duration, block))
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(path, start, duration))
    assert {len(one) for one in blocks[:-1]} <= {max(1, round(block * SAMPLE_RATE))}
    assert 0 < len(blocks[-1]) <= max(1, round(block * SAMPLE_RATE))


@settings(deadline=None)
@given(
    pieces=st.lists(st.integers(0, 3000), max_size=8).map(lambda sizes: [np.full(n, n, np.float32) for n in sizes]),
    total=st.integers(0, 9000),
)
def test_only_padding_is_left_out(pieces: list[np.ndarray], total: int) -> None:
    whole = np.concatenate([np.zeros(0, np.float32), *pieces])
    # A tenth of a second after the end is padding; more is sound that the header does not know of.
    expected = whole[:total] if len(whole) - total <= 1600 else whole
    found = np.concatenate([np.zeros(0, np.float32), *_unpadded(pieces, total)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_a_recording_that_ends_too_early_fails_after_what_is_there(
    ending: str, tmp_path: Path, voice: Any, encode: Any
) -> None:
    path = encode(tmp_path / f"a.{ending}", voice(16000, 8.0), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="cut short") as at_once:
        load_audio(path)
    blocks = stream_audio(path, block_seconds=0.5)
    with pytest.raises(AudioError) as in_blocks:
        for block in blocks:
            assert len(block) == 8000
    assert str(in_blocks.value) == str(at_once.value)


def test_ten_hours_are_streamed_in_the_memory_of_a_minute(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        path = tmp_path / f"{seconds}.wav"
        header = b"RIFF" + (seconds * 8000 + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        header += b"\1\0\1\0" + (8000).to_bytes(4, "little") * 2 + b"\1\0\x08\0"
        header += b"data" + (seconds * 8000).to_bytes(4, "little")
        with path.open("wb") as file:  # sparse
            file.write(header)
            file.truncate(44 + seconds * 8000)
        tracemalloc.start()
        total = sum(len(block) for block in stream_audio(path))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == seconds * SAMPLE_RATE
        return most

    assert peak(36000) < 1.1 * peak(60)


@pytest.mark.parametrize("ending", ["wav", "flac", "opus", "ogg", "mp3", "m4a", "webm"])
def test_a_file_s_content_is_what_the_file_is(ending: str, tmp_path: Path, voice: Any, encode: Any) -> None:
    path = encode(tmp_path / f"a.{ending}", voice(48000, 2.0, channels=2), 48000)
    content = path.read_bytes()
    assert probe(content) == probe(path)
    np.testing.assert_array_equal(load_audio(content), load_audio(path))
    np.testing.assert_array_equal(load_audio(content, 0.7, 0.9), load_audio(path, 0.7, 0.9))
