"""Prosody against closed forms of made-up voices, and against librosa; what leaves must not tell the pitch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.model import Whisper

import asr.prosody as module
from asr.errors import AudioError
from asr.model.network import DialectWhisper
from asr.prosody import (
    CONTOUR,
    FEATURE_NAMES,
    WORD_CUES,
    Pitch,
    Prosody,
    emphasised,
    features,
    final_contour,
    prominence,
    prosody_of,
    semitones,
    speaker_reference,
    track,
    word_cues,
)
from asr.transcript import Word

RATE = 16000
MARGIN = np.zeros(RATE // 5, np.float32)


def voice(f0: np.ndarray, loudness: np.ndarray | float = 1.0) -> np.ndarray:
    """Harmonics up to 4 kHz, falling by 6 dB per octave, of a pitch given in Hz for every sample."""
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    orders = np.arange(1, 41)[:, None]
    waves = np.where(orders * f0 < 4000, np.sin(orders * phase) / orders, 0.0).sum(axis=0)
    return np.asarray(0.2 * loudness * waves, np.float32)


def level(hz: float, seconds: float) -> np.ndarray:
    return np.full(round(seconds * RATE), hz)


def glide(start: float, end: float, seconds: float) -> np.ndarray:
    """In Hz, even in semitones."""
    return np.geomspace(start, end, round(seconds * RATE))


def syllables(*seconds: float, hz: float = 150.0) -> np.ndarray:
    """One swell of the voice for each duration."""
    swells = [np.sin(np.pi * np.arange(count) / count) ** 2 for count in (round(RATE * length) for length in seconds)]
    return np.concatenate([MARGIN, voice(level(hz, sum(seconds)), np.concatenate(swells)), MARGIN])


def heard(f0: np.ndarray) -> Pitch:
    return track(np.concatenate([MARGIN, voice(f0), MARGIN]))


def made(tones: np.ndarray, energy: float = -20.0) -> Pitch:
    """A track of known pitch, in semitones over 150 Hz."""
    f0 = np.asarray(150 * 2 ** (np.asarray(tones) / 12), np.float32)
    return Pitch(f0, np.ones(len(f0), bool), np.ones_like(f0), np.full_like(f0, energy))


# --- frames


@pytest.mark.parametrize("count", [1, 255, 319, 320, 321, 1600, 4000, 16001])
def test_it_has_the_encoders_frames(count: int, tiny_whisper: Whisper) -> None:
    samples = voice(level(150, 2.0))[:count]
    model = DialectWhisper(tiny_whisper, "tight")
    encoded = model.encode(*model.features(torch.from_numpy(samples)[None], torch.tensor([count])))
    pitch = track(samples)
    frames = {len(pitch.f0), len(pitch.voiced), len(pitch.confidence), len(pitch.energy)}
    assert frames == {int(encoded.num_frames[0])}
    assert pitch.f0.dtype == pitch.confidence.dtype == pitch.energy.dtype == np.float32
    assert np.array_equal(np.isnan(pitch.f0), ~pitch.voiced)


def test_frames_lie_at_the_encoders_times() -> None:
    # Up and down an octave in a second: a shift of half a frame makes 0.2 semitones between the two ways.
    rise = glide(120, 240, 1.0)
    pitch = heard(np.concatenate([rise, rise[::-1]]))
    tones = semitones(pitch, 120.0)
    times = np.arange(len(tones)) / 50 - 0.2
    inner = [(times > start) & (times < start + 0.8) for start in (0.1, 1.1)]
    errors = [tones[inside] - np.minimum(12 * times[inside], 24 - 12 * times[inside]) for inside in inner]
    assert abs(errors[0].mean() - errors[1].mean()) < 0.1
    assert max(np.abs(error).max() for error in errors) < 0.5


def test_energy_is_librosas_rms() -> None:
    samples = syllables(0.2, 0.3, 0.25)
    rms = librosa.feature.rms(y=samples, frame_length=640, hop_length=320, center=True, pad_mode="constant")[0]
    expected = np.maximum(20 * np.log10(np.maximum(rms, 1e-9)), -100)
    np.testing.assert_allclose(track(samples).energy, expected[: -(-len(samples) // 320)], atol=0.01)


def test_pitch_and_voicing_are_librosas() -> None:
    times = np.arange(2 * RATE) / RATE
    f0 = 170 * 2 ** (np.sin(2 * np.pi * 1.3 * times) / 3)
    noise = 0.002 * np.random.default_rng(0).standard_normal(len(f0) + 2 * len(MARGIN)).astype(np.float32)
    samples = np.concatenate([MARGIN, voice(f0), MARGIN]) + noise
    pitch = track(samples)
    # Its defaults suit music: the frames are too long for speech, and the voicing threshold is too high.
    expected, voiced, _ = librosa.pyin(samples, fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=320)
    voiced = voiced[: len(pitch.voiced)]
    assert (pitch.voiced == voiced).mean() > 0.95
    both = pitch.voiced & voiced
    cents = 1200 * np.log2(pitch.f0[both] / expected[: len(pitch.f0)][both])
    assert np.median(np.abs(cents)) < 20 and np.percentile(np.abs(cents), 95) < 60


def test_threads_and_repetition_change_nothing() -> None:
    samples = voice(glide(100, 200, 0.5))
    first, again, threaded = track(samples), track(samples), track(samples, threads=2)
    assert np.array_equal(first.f0, again.f0, equal_nan=True)
    np.testing.assert_allclose(first.f0, threaded.f0, rtol=1e-4)


# --- closed forms


@pytest.mark.parametrize("sign", [1, -1])
def test_a_glide_of_an_octave_has_12_semitones(sign: int) -> None:
    pitch = heard(glide(100, 200, 1.0)[::sign])
    tones = semitones(pitch)[pitch.voiced]
    assert len(tones) == pytest.approx(50, abs=3)
    assert tones[-1] - tones[0] == pytest.approx(sign * 12, abs=0.7)
    prosody = prosody_of(pitch)
    assert prosody.slope == pytest.approx(sign * 12, abs=0.3)
    assert prosody.final_slope == pytest.approx(sign * 12, abs=1.0)
    # The last 15 % and the rest of a straight line are centred half its length apart.
    assert prosody.final_rise == pytest.approx(sign * 6, abs=0.3)
    assert prosody.pitch_range == pytest.approx(0.9 * 12, abs=0.5)


@pytest.mark.parametrize("hz", [80, 150, 400])
def test_a_level_voice_does_nothing(hz: float) -> None:
    prosody = prosody_of(heard(level(hz, 1.0)))
    movements = (prosody.slope, prosody.final_rise, prosody.pitch_range, prosody.pitch_level)
    assert movements == pytest.approx((0, 0, 0, 0), abs=0.3)
    assert prosody.voiced_share == pytest.approx(1, abs=0.06)
    assert (prosody.pauses, prosody.pause_seconds) == (0, 0.0)


def test_the_end_may_go_another_way_than_the_whole() -> None:
    # A fall of 7 semitones and a rise of 7: fall-rise.
    tones = np.concatenate([np.linspace(7, 0, 70), np.linspace(0, 7, 30)])
    prosody = prosody_of(made(tones))
    assert prosody.slope is not None and prosody.slope < -1
    assert prosody.final_slope == pytest.approx(7 / (29 / 50))
    assert prosody.final_rise == pytest.approx(tones[85:].mean() - tones[:85].mean(), abs=1e-5)
    assert prosody.pitch_range == pytest.approx(np.percentile(tones, 95) - np.percentile(tones, 5), abs=1e-5)


def test_the_level_is_relative_to_the_speaker() -> None:
    low, high = made(np.zeros(30)), made(np.full(90, 12.0))
    assert speaker_reference([low, high]) == pytest.approx(300)
    assert prosody_of(low, 300).pitch_level == pytest.approx(-12, abs=1e-5)
    assert prosody_of(low).pitch_level == pytest.approx(0, abs=1e-5)
    others = [replace(prosody_of(low, hz), pitch_level=0.0) for hz in (300, None)]
    np.testing.assert_allclose(features(others[0]), features(others[1]), atol=1e-5)
    assert speaker_reference([]) is speaker_reference([track(MARGIN)]) is None


def test_without_voice_there_are_no_semitones() -> None:
    assert np.isnan(semitones(track(MARGIN))).all()


@pytest.mark.parametrize("reference", [0.0, -100.0, np.nan, np.inf])
def test_a_reference_is_a_frequency(reference: float) -> None:
    with pytest.raises(ValueError, match="above 0 Hz"):
        prosody_of(made(np.zeros(20)), reference)


def test_the_end_may_be_softer() -> None:
    pitch = made(np.zeros(100))
    energy = np.where(np.arange(100) < 85, -20, -26).astype(np.float32)
    assert prosody_of(replace(pitch, energy=energy)).final_energy == pytest.approx(-6)


@pytest.mark.parametrize(("silence", "pauses"), [(0.1, 0), (0.6, 1), (1.0, 1)])
def test_a_silence_is_a_pause_when_it_is_long(silence: float, pauses: int) -> None:
    tone = voice(level(150, 0.6))
    samples = [MARGIN, tone, np.zeros(round(silence * RATE), np.float32), tone, MARGIN]
    prosody = prosody_of(track(np.concatenate(samples)))
    assert prosody.pauses == pauses
    # The frames at both ends of it hold sound too.
    assert prosody.pause_seconds == pytest.approx(pauses * silence, abs=0.06)


@pytest.mark.parametrize("count", range(1, 8))
def test_swells_are_syllables(count: int) -> None:
    prosody = prosody_of(track(syllables(*[0.2] * count)))
    # The faint ends of the first and last swell, under -25 dB, are silence.
    assert prosody.speaking_rate == pytest.approx(count / (0.2 * count), rel=0.35 / count)


def test_unvoiced_swells_are_none() -> None:
    samples = syllables(0.2, 0.2, 0.2)
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    envelope = np.abs(librosa.util.normalize(librosa.feature.rms(y=samples, hop_length=1)[0]))[: len(samples)]
    assert prosody_of(track(0.1 * noise * envelope)).speaking_rate == 0


@pytest.mark.parametrize(("last", "ratio"), [(0.2, 1.0), (0.4, 2.0), (0.1, 0.5)])
def test_a_long_last_syllable_is_lengthened(last: float, ratio: float) -> None:
    prosody = prosody_of(track(syllables(0.2, 0.2, 0.2, 0.2, last)))
    assert prosody.final_lengthening == pytest.approx(ratio, abs=0.25)


# --- what must make no difference


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-12, 12), min_size=1, max_size=80),
    st.floats(-24, 24),
    st.floats(-30, 10),
)
def test_another_pitch_or_loudness_makes_no_difference(tones: list[float], shift: float, gain: float) -> None:
    pitch = made(np.array(tones))
    expected = features(prosody_of(pitch))
    moved = replace(pitch, f0=pitch.f0 * np.float32(2 ** (shift / 12)), energy=pitch.energy + np.float32(gain))
    np.testing.assert_allclose(features(prosody_of(moved)), expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.floats(-40, 20))
def test_another_gain_of_the_recording_makes_no_difference(decibels: float) -> None:
    samples = np.concatenate([MARGIN, voice(glide(180, 120, 0.6)), MARGIN])
    expected = features(prosody_of(track(samples)))
    louder = samples * np.float32(10 ** (decibels / 20))
    np.testing.assert_allclose(features(prosody_of(track(louder))), expected, rtol=0.01, atol=0.01)


def test_a_constant_offset_makes_no_difference() -> None:
    samples = syllables(0.2, 0.2, 0.3)
    expected = features(prosody_of(track(samples)))
    np.testing.assert_allclose(features(prosody_of(track(samples + np.float32(0.1)))), expected, rtol=0.01, atol=0.01)


def test_an_octave_makes_no_difference_to_what_is_written() -> None:
    # Whoever reads the record cannot tell the two speakers' pitch.
    one, other = (prosody_of(heard(glide(hz, 1.5 * hz, 0.8))).to_dict() for hz in (110, 220))
    assert one == pytest.approx(other, abs=0.3)
    assert not any("hz" in name or "f0" in name for name in one)


def test_a_track_that_is_printed_shows_no_pitch() -> None:
    assert "f0" not in repr(made(np.zeros(20)))
    assert not hasattr(Pitch, "to_dict")


# --- edges

NOISE = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
SOUNDS = {
    "silence": np.zeros(RATE, np.float32),
    "one sample": np.ones(1, np.float32),
    "constant": np.full(RATE, 0.5, np.float32),
    "noise": 0.1 * NOISE,
    "faint noise": 1e-4 * NOISE,
    "0.1 s of voice": voice(level(150, 0.1)),
    "0.1 s of noise": 0.1 * NOISE[:1600],
    "clipped": np.clip(20 * voice(glide(100, 200, 1.0)), -1, 1),
    "click": np.eye(1, RATE, RATE // 2, np.float32)[0],
    "beyond full scale": 1e30 * voice(level(150, 0.5)),
    "denormal": np.full(RATE, 1e-40, np.float32),
}


def has_contour(samples: np.ndarray) -> bool:
    """Whether there is voice enough for a contour, which is whole or not there at all."""
    contour = final_contour(samples)
    assert contour.shape == (CONTOUR,) and contour.dtype == np.float32
    assert np.isnan(contour).all() or np.isfinite(contour).all()
    return bool(np.isfinite(contour).all())


def wavering(seconds: float) -> np.ndarray:
    """A voice as people have one: its pitch is never still."""
    return voice(150 + 30 * np.sin(np.arange(round(RATE * seconds)) / RATE * 15))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SOUNDS)
def test_every_sound_has_finite_features(name: str) -> None:
    pitch = track(SOUNDS[name])
    prosody = prosody_of(pitch)
    vector = features(prosody)
    assert vector.shape == (len(FEATURE_NAMES),) and vector.dtype == np.float32
    assert np.isfinite(vector).all() and np.isfinite(pitch.energy).all()
    assert set(json.loads(json.dumps(prosody.to_dict(), allow_nan=False))) == set(FEATURE_NAMES)
    if name in ("silence", "constant", "noise", "faint noise", "0.1 s of noise", "click", "denormal"):
        assert not pitch.voiced.any()
    if name == "clipped":
        assert prosody.slope == pytest.approx(12, abs=0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", sorted(SOUNDS.keys() - {"clipped"}))
def test_what_is_no_voice_is_not_enough(name: str) -> None:
    # "beyond full scale" holds one pitch, as no voice does.
    assert not has_contour(SOUNDS[name])


def plucked(*chord: float) -> np.ndarray:
    times = np.arange(RATE // 2) / RATE
    return np.asarray(sum(np.sin(2 * np.pi * hz * times) for hz in chord) * np.exp(-4 * times), np.float32)


@pytest.mark.parametrize(
    "notes", [[(261.6, 329.6, 392.0)], [(220.0, 330.0)], [(261.6,), (293.7,), (329.6,), (349.2,), (392.0,)]]
)
def test_an_instrument_is_no_voice(notes: list[tuple[float, ...]]) -> None:
    music = np.tile(np.concatenate([plucked(*chord) for chord in notes]), 6)
    assert track(music).voiced.mean() > 0.5 and not has_contour(music)


@pytest.mark.parametrize(("seconds", "enough"), [(0.1, False), (0.2, False), (0.4, True), (3.0, True)])
def test_a_syllable_is_enough_and_a_bit_of_one_is_not(seconds: float, enough: bool) -> None:
    assert has_contour(wavering(seconds)) is enough
    around = np.concatenate([MARGIN, wavering(seconds), np.zeros(9 * RATE, np.float32)])
    assert has_contour(around) is enough, "it looks back to where it was said"
    assert has_contour(around * np.float32(0.02)) is enough


def gliding(first: float, last: float, seconds: float = 1.2) -> np.ndarray:
    return voice(np.geomspace(first, last, round(RATE * seconds)))


def test_a_contour_is_the_course_of_pitch_in_semitones() -> None:
    # An octave up, evenly: its middle is the median.
    expected = np.linspace(-6, 6, CONTOUR)
    rising = np.concatenate([MARGIN, gliding(110, 220), MARGIN])
    assert final_contour(rising) == pytest.approx(expected, abs=0.6)
    falling = np.concatenate([MARGIN, gliding(220, 110), MARGIN])
    assert final_contour(falling) == pytest.approx(-expected, abs=0.6)


def test_a_contour_knows_neither_height_nor_tempo_nor_loudness() -> None:
    low, high = final_contour(gliding(90, 130)), final_contour(gliding(180, 260))
    slow, soft = final_contour(gliding(90, 130, 1.8)), final_contour(gliding(90, 130) * np.float32(0.05))
    for other in (high, slow, soft):
        assert other == pytest.approx(low, abs=0.5)


def test_no_more_is_listened_to_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    real = module._detector(1).detect
    monkeypatch.setattr(
        module._detector(1), "detect", lambda samples, *rest: heard.append(len(samples)) or real(samples, *rest)
    )
    assert has_contour(wavering(20.0))
    assert heard == [2 * RATE]


def test_nothing_said_is_nothing_done() -> None:
    assert prosody_of(track(SOUNDS["silence"])) == Prosody()
    assert dict(zip(FEATURE_NAMES, features(Prosody()), strict=True)) == {
        name: float(name == "final_lengthening") for name in FEATURE_NAMES
    }


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(100), "float64 of shape"),
        (np.zeros((2, 100), np.float32), r"shape \(2, 100\)"),
        (np.zeros(100, np.int16), "int16"),
        (np.zeros(0, np.float32), "empty"),
        (np.where(np.arange(RATE) == 8000, np.float32(np.nan), np.float32(0)), "0.500 s"),
        (np.full(100, np.inf, np.float32), "0.000 s"),
    ],
)
def test_what_is_no_sound_is_refused(samples: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        track(samples)


def test_importing_it_loads_no_network() -> None:
    code = "import sys, asr.prosody; sys.exit(bool({'torch', 'onnxruntime', 'swift_f0'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- emphasis

# Five words of the same four letters, of 0.4 s each; the voice is heard 0.1 s after their times.
FIVE = [
    Word(text, 0.4 * place, 0.4 * (place + 1), 0.9)
    for place, text in enumerate(("deux", "cinq", "sept", "huit", "neuf"))
]


def frames_of(place: int) -> slice:
    return slice(20 * place + 5 * (place > 0), 20 * place + 25)


def changed(pitch: Pitch, place: int, tones: float = 0.0, energy: float = 0.0) -> Pitch:
    f0, loud = pitch.f0.copy(), pitch.energy.copy()
    f0[frames_of(place)] *= 2 ** (tones / 12)
    loud[frames_of(place)] += energy
    return replace(pitch, f0=f0, energy=loud)


def marked(pitch: Pitch, words: list[Word]) -> tuple[int, ...]:
    scores = prominence(pitch, words)
    assert scores is not None
    return emphasised([replace(word, prominence=score) for word, score in zip(words, scores, strict=True)])


@pytest.mark.parametrize("place", range(5))
def test_one_word_louder_has_the_closed_forms_score(place: int) -> None:
    # One of n that differs, by whatever it is: its standard score is sqrt(n - 1), the others' -1 / sqrt(n - 1).
    cues = word_cues(changed(made(np.zeros(100)), place, energy=6), FIVE)
    assert cues is not None and cues.shape == (5, len(WORD_CUES))
    expected = np.full(5, -0.5)
    expected[place] = 2.0
    assert cues[:, 1] == pytest.approx(expected, abs=1e-4)
    assert cues[:, 0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("slope", [-0.05, 0.0, 0.05])
def test_a_raised_word_stands_out_on_any_declination(place: int, slope: float) -> None:
    pitch = changed(made(slope * np.arange(100)), place, tones=5, energy=3)
    scores = prominence(pitch, FIVE)
    assert scores is not None
    assert np.argmax(scores) == place
    assert marked(pitch, FIVE) == (place,)
    assert sum(scores) == pytest.approx(0, abs=1e-5)


def test_a_long_word_is_one_that_is_longer_than_its_letters() -> None:
    even = made(np.zeros(100))
    bounds = [0.0, 0.3, 0.6, 1.2, 1.6, 2.0]
    words = [Word("mots", start, end, 0.9) for start, end in pairwise(bounds)]
    cues = word_cues(even, words)
    assert cues is not None and cues[:, 2].argmax() == 2
    # 4 and 10 letters and the two that a word is worth: half the letters, half the time.
    words = [Word("mots", 0, 0.5, 1), Word("mots", 0.5, 1, 1), Word("dictionary", 1, 2, 1)]
    cues = word_cues(made(np.zeros(100)), [replace(word, start=word.start - 0.1 * bool(word.start)) for word in words])
    assert cues is not None
    assert np.ptp(cues[:, 2]) == pytest.approx(0, abs=1e-5)


def test_silence_lengthens_no_word() -> None:
    pitch = made(np.zeros(100))
    pitch.energy[frames_of(2).start + 5 : frames_of(2).stop] = -90
    cues = word_cues(pitch, FIVE)
    assert cues is not None and cues[:, 2].argmin() == 2


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(-30, 10), shift=st.floats(-10, 10), seed=st.integers(0, 99))
def test_neither_loudness_nor_the_height_of_the_voice_matters(gain: float, shift: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    pitch = made(random.normal(0, 3, 100))
    pitch.energy[:] = random.normal(-30, 5, 100)
    moved = replace(pitch, f0=pitch.f0 * np.float32(2 ** (shift / 12)), energy=pitch.energy + np.float32(gain))
    assert prominence(moved, FIVE) == pytest.approx(prominence(pitch, FIVE), abs=1e-3)


def test_where_nothing_differs_nothing_stands_out() -> None:
    # The last word's time is longer by what nobody else's could be.
    cues = word_cues(made(np.zeros(100)), FIVE)
    assert cues is not None
    assert np.all(cues[:, :2] == 0)


def test_a_word_without_voice_is_as_low_as_the_lowest() -> None:
    pitch = changed(made(np.zeros(100)), 3, tones=4)
    pitch.f0[frames_of(1)], pitch.voiced[frames_of(1)] = np.nan, False
    cues = word_cues(pitch, FIVE)
    assert cues is not None and np.isfinite(cues).all()
    assert cues[1, 0] == cues[:, 0].min()


def test_it_abstains() -> None:
    pitch = made(np.zeros(100))
    assert prominence(pitch, FIVE[:1]) is None
    assert prominence(pitch, []) is None
    unvoiced = replace(pitch, f0=np.full_like(pitch.f0, np.nan), voiced=np.zeros(100, bool))
    assert prominence(unvoiced, FIVE) is None
    assert emphasised(FIVE) == ()


def test_times_beyond_the_fragment_are_no_fault() -> None:
    scores = prominence(made(np.zeros(15)), FIVE)
    assert scores is not None and np.isfinite(scores).all()


def test_a_loud_high_long_word_of_a_real_voice_is_found() -> None:
    # Four syllables of voice, the third one higher, louder and longer.
    parts = [
        voice(level(140, 0.25), 0.3),
        voice(level(138, 0.25), 0.3),
        voice(level(190, 0.4)),
        voice(level(130, 0.25), 0.3),
    ]
    bounds = np.cumsum([0.1, 0.25, 0.25, 0.4, 0.25]) - 0.1
    words = [Word("mot", start, end, 1.0) for start, end in pairwise(bounds)]
    samples = np.concatenate([np.zeros(RATE // 10, np.float32), *parts, np.zeros(RATE // 10, np.float32)])
    assert marked(track(samples), words) == (2,)
