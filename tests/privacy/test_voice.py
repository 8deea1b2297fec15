"""What every change of voice keeps, whatever it is given; the keys; the place where a model is plugged in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import AudioError, ConfigError
from asr.privacy.voice import METHODS, VoiceKey, change_voice, find_method, voice_key

Samples = npt.NDArray[np.float32]
KEY = voice_key(bytes(32), "f1")
RANDOM = np.random.default_rng(0)
ODD = {
    "silence": np.zeros(16000, np.float32),
    "noise": (0.1 * RANDOM.standard_normal(16000)).astype(np.float32),
    "a click": np.eye(1, 8000, 4000, dtype=np.float32)[0],
    "an offset": np.full(8000, 0.3, np.float32),
    "one sample": np.full(1, 0.5, np.float32),
    "0.05 s": (0.1 * np.sin(np.arange(800) / 10)).astype(np.float32),
    "nearly nothing": np.full(3000, 1e-42, np.float32) * np.sign(np.sin(np.arange(3000) / 10)).astype(np.float32),
}


def level(samples: Samples) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()))


@pytest.mark.parametrize("name", ODD)
def test_odd_sounds_keep_length_and_level(name: str) -> None:
    changed = change_voice(ODD[name], KEY)
    assert changed.dtype == np.float32
    assert changed.shape == ODD[name].shape
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() <= 1
    # As loud as before, unless full scale is in the way.
    alike = level(changed) == pytest.approx(level(ODD[name]), rel=1e-3, abs=1e-44)
    assert alike or (np.abs(changed).max() > 0.999 and level(changed) < level(ODD[name]))


@pytest.mark.parametrize("gain", [1.0, 1e-4])
def test_a_voice_is_changed_and_keeps_its_level(voice: Callable[..., Samples], gain: float) -> None:
    before = voice(1.0) * np.float32(gain)
    after = change_voice(before, KEY)
    assert level(after) == pytest.approx(level(before), rel=1e-4)
    assert abs(np.corrcoef(before, after)[0, 1]) < 0.5


def test_what_would_be_louder_than_full_scale_is_made_quieter_instead(voice: Callable[..., Samples]) -> None:
    before = np.sign(voice(0.5))
    after = change_voice(before, KEY)
    assert np.abs(after).max() == pytest.approx(1, abs=1e-6)
    assert level(after) < level(before)


def test_a_copy_can_be_made_again_but_not_without_the_key(voice: Callable[..., Samples]) -> None:
    before = voice(0.5)
    assert np.array_equal(change_voice(before, KEY), change_voice(before, voice_key(bytes(32), "f1")))
    for other in (voice_key(bytes(32), "f2"), voice_key(b"1" * 32, "f1")):
        assert not np.allclose(change_voice(before, KEY), change_voice(before, other), atol=0.01)


def test_a_key_shows_nothing() -> None:
    assert repr(KEY) == "VoiceKey()"


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros((2, 800), np.float32),
        np.zeros(800),
        np.array([0.0, np.nan], np.float32),
        np.array([0.0, np.inf], np.float32),
    ],
)
def test_what_is_no_recording_is_refused(samples: npt.NDArray[np.generic]) -> None:
    with pytest.raises(AudioError):
        change_voice(samples, KEY)  # type: ignore[arg-type]


def test_a_model_is_plugged_in_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(samples: Samples, key: VoiceKey) -> Samples:
        return samples[::-1] * np.float32(key.random().uniform(0.1, 10))

    monkeypatch.setitem(METHODS, "backwards", backwards)
    samples = np.linspace(-0.5, 0.2, 100, dtype=np.float32)
    # Its gain is evened out.
    assert change_voice(samples, KEY, find_method("backwards")) == pytest.approx(samples[::-1], abs=1e-6)
    with pytest.raises(ConfigError, match="'forwards'; there are backwards, world"):
        find_method("forwards")


@given(st.sampled_from([lambda samples: samples[1:], lambda samples: samples * np.nan, lambda samples: samples[None]]))
def test_a_method_that_breaks_its_promise_is_told(method: Callable[[Samples], Samples]) -> None:
    with pytest.raises(AudioError, match="must keep the length and be finite"):
        change_voice(np.ones(10, np.float32), KEY, lambda samples, key: method(samples))
