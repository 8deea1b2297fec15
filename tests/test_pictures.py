"""Pictures: files that are what their names say, and that do not tell the height of a voice."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import asr.pictures as module
from asr.errors import ConfigError
from asr.pictures import pitch_picture
from asr.prosody import Pitch, track
from asr.transcript import Word

RATE = 16000
WORDS = (Word("J'ai", 0.0, 0.3, 0.9), Word("$5^{", 0.3, 0.6, 0.9), Word("là", 0.6, 1.0, 0.9))


def voice(hz: float, seconds: float = 1.0) -> np.ndarray:
    """All harmonics up to 8 kHz, of the same power in all: the same timbre at any pitch."""
    times = np.arange(round(seconds * RATE)) / RATE
    orders = np.arange(1, int(RATE / 2 / hz))[:, None]
    waves = np.cos(2 * np.pi * hz * orders * times + orders**2).sum(axis=0)
    return np.asarray(0.1 * waves / np.sqrt(np.square(waves).mean()), np.float32)


def made(hz: float, frames: int = 50) -> Pitch:
    f0 = np.asarray(hz * 2 ** (np.sin(np.arange(frames) / 5) / 4), np.float32)
    return Pitch(f0, np.ones(frames, bool), np.ones_like(f0), np.full_like(f0, -20))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []

    def keep(*given: object, **named: object) -> Figure:
        figures.append(Figure(*given, **named))  # type: ignore[arg-type]
        return figures[-1]

    monkeypatch.setattr(module, "Figure", keep)
    return figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_png_with_every_word_in_its_place(tmp_path: Path, drawn: list[Figure]) -> None:
    path = tmp_path / "new" / "a.png"
    pitch_picture(voice(150), made(150), WORDS, {1}, path)
    with Image.open(path) as image:
        assert (image.format, len(set(image.convert("L").tobytes())) > 50) == ("PNG", True)
    (figure,) = drawn
    assert texts(figure) == [word.text for word in WORDS]
    front = figure.axes[1]
    assert [text.xy[0] for text in front.texts] == pytest.approx([0.15, 0.45, 0.8])
    assert [text.get_fontweight() for text in front.texts] == ["normal", "bold", "normal"]
    (span,) = front.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((0.3, 0.6))
    times, tones = front.lines[0].get_data()
    assert np.array_equal(times, np.arange(50) / 50)
    assert tones == pytest.approx(3 * np.sin(np.arange(50) / 5) - np.median(3 * np.sin(np.arange(50) / 5)), abs=1e-3)
    assert front.get_xlim() == (0, 1)


@pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_other_formats(tmp_path: Path, name: str, begins: bytes) -> None:
    pitch_picture(voice(150), made(150), WORDS, (), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_format_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'a\.gif'; end its name in \.png, \.svg, \.pdf"):
        pitch_picture(voice(150), made(150), WORDS, (), tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_in_hertz_and_the_height_of_the_voice_changes_nothing(tmp_path: Path, drawn: list[Figure]) -> None:
    for hz in (110, 220):
        pitch_picture(voice(150), made(hz), WORDS, {1}, tmp_path / f"{hz}.png")
    with Image.open(tmp_path / "110.png") as low, Image.open(tmp_path / "220.png") as high:
        difference = np.abs(np.asarray(low.convert("L"), int) - np.asarray(high.convert("L"), int))
    assert (difference > 64).mean() < 1e-3
    for axes in drawn[0].axes:
        labels = [axes.get_xlabel(), axes.get_ylabel(), *(label.get_text() for label in axes.get_yticklabels())]
        assert not re.search(r"Hz|hertz", " ".join(labels), re.IGNORECASE)
    assert len(drawn[0].axes[0].get_yticks()) == 0


@pytest.mark.parametrize("hz", [90, 120, 180, 240])
def test_no_harmonic_and_no_pulse_shows_behind(hz: float) -> None:
    shown = module._spectrogram(voice(hz, 2.0))[:, 5:-5]
    assert shown.shape == (module._BANDS, 90)
    # Over time, a steady voice is steady; over the bands, it is as smooth as the noise of the same spectrum.
    assert shown.std(axis=1).mean() < 1.5
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    flat = module._spectrogram(noise)[:, 5:-5].mean(axis=1)
    unlike = shown.mean(axis=1) - flat
    assert np.std(unlike) < 1.5


def test_silence_and_no_words(tmp_path: Path) -> None:
    samples = np.zeros(800, np.float32)
    pitch_picture(samples, track(samples), (), (), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    from matplotlib import pyplot

    pitch_picture(voice(150), made(150), WORDS, (), tmp_path / "a.png")
    assert pyplot.get_fignums() == []


def test_sound_stands_where_it_was(tmp_path: Path, drawn: list[Figure]) -> None:
    # Silence, and a voice in the last quarter.
    samples = np.concatenate([np.zeros(3 * RATE, np.float32), voice(150)])
    pitch_picture(samples, track(samples), (), (), tmp_path / "a.png")
    (mesh,) = drawn[0].axes[0].collections
    edges = mesh.get_coordinates()[0, :, 0]
    loudness = np.asarray(mesh.get_array()).mean(axis=0)
    assert [edges[0], edges[-1]] == pytest.approx([0, 4], abs=0.03)
    onset = edges[int(np.diff(loudness).argmax()) + 1]
    assert onset == pytest.approx(3, abs=0.05)
