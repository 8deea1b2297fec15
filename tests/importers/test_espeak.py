"""The real espeak-ng library: reproducible whatever came before, and sounding like speech."""

import random
import sys

import librosa
import numpy as np
import pytest

from asr.errors import ConfigError, MissingExtraError
from asr.importers.espeak import ESPEAK_SAMPLE_RATE, phonemes, speak, variants, version

pytest.importorskip("espeakng_loader")


def test_same_request_gives_same_bytes_in_any_order():
    requests = [
        (text, f"{language}+{variant}")
        for language in ("fr-be", "en-gb-scotland")
        for variant in ("f1", "m3", "grandma", "klatt3", "Reed", "david")
        for text in ("Deux cafés.", "One more time?")
    ]
    first = {request: speak(*request).tobytes() for request in requests}
    shuffled = random.Random(1).sample(requests, len(requests))
    assert {request: speak(*request).tobytes() for request in shuffled} == first
    assert len(set(first.values())) == len(requests)


@pytest.mark.parametrize(
    "voice",
    ["fr", "fr-be", "fr-ch", "en", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us", "en-029"],
)
def test_sounds_like_speech(voice):
    samples = speak("Paris, London, Roma, Berlin.", voice).astype(np.float64) / 32768
    seconds = len(samples) / ESPEAK_SAMPLE_RATE
    assert 1.0 < seconds < 5.0
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.3
    assert np.abs(samples).max() < 1.0
    # Voiced speech has most of its energy below 4 kHz, noise would not.
    power = np.abs(np.fft.rfft(samples)) ** 2
    low = power[: int(len(power) * 4000 / (ESPEAK_SAMPLE_RATE / 2))]
    assert low.sum() > 0.8 * power.sum()


def test_rate_shortens_and_pitch_raises():
    text = "The bus to the station leaves every ten minutes."
    assert len(speak(text, "en", rate=120)) > 1.3 * len(speak(text, "en", rate=200))
    low, high = (
        np.median(librosa.yin(speak(text, "en", pitch=pitch) / 32768, fmin=50, fmax=400, sr=ESPEAK_SAMPLE_RATE))
        for pitch in (20, 80)
    )
    assert high > 1.2 * low


def test_a_question_has_another_melody_than_the_same_words_as_a_statement():
    said, asked = (speak(f"You found your keys{mark}", "en") for mark in ".?")
    assert said.tobytes() != asked.tobytes()


def test_a_word_as_its_phonemes_sounds_as_it_does_in_letters():
    assert phonemes("lundi", "fr") == "lW~d'i"
    written = speak("Il part lundi ?", "fr+m3")
    assert np.array_equal(speak("Il part [[lW~d'i]] ?", "fr+m3"), written)
    assert not np.array_equal(speak("Il part [[lE~d'i]] ?", "fr+m3"), written)


def test_unknown_voices_and_values_are_refused():
    with pytest.raises(ConfigError, match="no voice 'zz-nowhere'"):
        speak("Hello.", "zz-nowhere")
    with pytest.raises(ConfigError, match="no voice variant 'nobody'"):
        speak("Hello.", "en+nobody")
    with pytest.raises(ConfigError, match="found rate 20"):
        speak("Hello.", "en", rate=20)
    with pytest.raises(ConfigError, match="NUL"):
        speak("a\0b", "en")
    with pytest.raises(ConfigError, match="no voice 'zz-nowhere'"):
        phonemes("hello", "zz-nowhere")


def test_version_and_variants():
    assert version()[0].isdigit()
    assert {"f1", "m3", "klatt3"} <= variants()


def test_missing_loader_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtraError, match=r"pip install dialect-asr\[demo\]"):
        speak("Hello.", "en")
