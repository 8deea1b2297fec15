"""The attack on made-up embeddings, whose errors have a closed form or are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from asr.privacy.attack import Whitening, attack, embed

RANDOM = np.random.default_rng(0)
SPEAKERS = np.repeat([f"s{number:02d}" for number in range(40)], 8)


def voices(spread: float, dimensions: int = 16) -> np.ndarray:
    """Each speaker somewhere, the fragments around."""
    centres = np.repeat(RANDOM.standard_normal((40, dimensions)), 8, axis=0)
    return centres + spread * RANDOM.standard_normal(centres.shape)


def test_who_is_always_alike_is_always_told_and_who_never_is_is_guessed() -> None:
    alike = voices(0.0)
    assert attack(alike, alike, SPEAKERS, resamples=20).error.value == 0
    noise = RANDOM.standard_normal((320, 16))
    assert attack(noise, noise, SPEAKERS, resamples=20).error.value == pytest.approx(0.5, abs=0.08)


def test_trials_are_counted_and_have_an_interval_over_speakers() -> None:
    found = voices(1.0)
    result = attack(found, found, SPEAKERS, resamples=200)
    # Four fragments of each are told, each against the twenty of its half.
    assert (result.same, result.different) == (160, 160 * 19)
    assert result.error.clusters == 40
    assert result.error.low < result.error.value < result.error.high


def test_the_error_is_that_of_a_brute_force_twin() -> None:
    enrolled, tested = voices(1.0), voices(1.0)
    same, scores = [], []
    names = sorted(set(SPEAKERS))
    for half in (names[0::2], names[1::2]):
        for row in range(1, 320, 2):
            if SPEAKERS[row] in half:
                for name in half:
                    mine = [
                        enrolled[at] / np.linalg.norm(enrolled[at]) for at in range(0, 320, 2) if SPEAKERS[at] == name
                    ]
                    model = np.mean(mine, axis=0)
                    cosine = tested[row] @ model / np.linalg.norm(tested[row]) / np.linalg.norm(model)
                    same.append(name == SPEAKERS[row])
                    scores.append(cosine)
    taken, found, _ = roc_curve(same, scores)
    nearest = np.argmin(np.abs(1 - found - taken))
    expected = (1 - found[nearest] + taken[nearest]) / 2
    assert attack(enrolled, tested, SPEAKERS, resamples=2).error.value == pytest.approx(expected, abs=0.005)


def test_who_has_learnt_sees_past_what_the_change_adds() -> None:
    """A change that adds chance in a few directions fools a cosine, not one who has seen it done to others."""
    plain = voices(0.2)
    directions = RANDOM.standard_normal((3, 16))

    def changed() -> np.ndarray:
        return plain + 5 * RANDOM.standard_normal((320, 3)) @ directions

    copy, own = changed(), changed()
    informed = attack(own, copy, SPEAKERS, resamples=2).error.value
    trained = attack(own, copy, SPEAKERS, [own, changed()], resamples=2).error.value
    assert informed > 0.2
    assert trained < 0.02


def test_whitened_voices_of_one_speaker_differ_alike_in_all_directions() -> None:
    found = voices(1.0, 4) * [1, 2, 4, 8]
    white = Whitening(found, SPEAKERS)(found)
    means = np.repeat(white.reshape(40, 8, 4).mean(axis=1), 8, axis=0)
    assert np.cov((white - means).T, bias=True) == pytest.approx(np.eye(4), abs=0.35)


def test_resemblyzer_tells_two_made_up_voices_apart() -> None:
    pytest.importorskip("resemblyzer", reason="installed by hand, see scripts/benchmark_voice.py")
    times = np.arange(32000) / 16000

    def buzz(f0: float, formant: float) -> np.ndarray:
        tones = np.arange(1, int(7000 / f0))
        strengths = np.exp(-(((tones * f0 - formant) / 500) ** 2)) + 0.1
        wave = sum(
            strength * np.sin(2 * np.pi * f0 * tone * times) for tone, strength in zip(tones, strengths, strict=True)
        )
        return (0.1 * wave * (1 + np.sin(20 * times))).astype(np.float32)

    low, also_low, high = embed([buzz(100, 600), buzz(105, 620), buzz(240, 1500)])
    assert np.linalg.norm([low, also_low, high], axis=1) == pytest.approx([1, 1, 1])
    assert low @ also_low > low @ high
