"""Resynthesis against another tracker's pitch, and against the spectrum that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import pyworld

from asr.audio import SAMPLE_RATE
from asr.privacy.world import _pieces, _warped, change_by_world
from asr.prosody import semitones, track

Samples = npt.NDArray[np.float32]


@pytest.mark.parametrize("number", range(3))
def test_the_tune_stays_and_its_level_is_the_drawn_one(voice: Callable[..., Samples], number: int) -> None:
    before = voice(2.0, number)
    after = change_by_world(before, np.random.default_rng(number))
    first, second = track(before), track(after)
    both = first.voiced & second.voiced
    assert both.mean() > 0.8
    assert np.corrcoef(semitones(first)[both], semitones(second)[both])[0, 1] > 0.98
    # No narrower and no wider either.
    slope = np.polyfit(semitones(first)[both], semitones(second)[both], 1)[0]
    assert slope == pytest.approx(1, abs=0.05)
    drawn = 120 * (200 / 120) ** np.random.default_rng(number).random()
    assert np.median(second.f0[second.voiced]) == pytest.approx(drawn, rel=0.02)


def test_another_tracker_finds_the_same_tune(voice: Callable[..., Samples]) -> None:
    before = voice(2.0, 1)
    after = change_by_world(before, np.random.default_rng(1))
    first, second = (pyworld.harvest(sound.astype(np.float64), SAMPLE_RATE)[0] for sound in (before, after))
    both = (first > 0) & (second > 0)
    assert both.mean() > 0.8
    assert np.corrcoef(np.log(first[both]), np.log(second[both]))[0, 1] > 0.98


def test_what_is_between_the_harmonics_moves_with_the_warp() -> None:
    axis = np.arange(513.0)
    peak = np.exp(-(((axis - 100) / 5) ** 2))[None]
    for alpha in (0.8, 1.0, 1.25):
        warped = _warped(peak, alpha)
        assert warped.argmax() == round(100 * alpha)
        ends = _warped(axis[None], alpha)[0]
        assert (ends[0], ends[-1]) == (0, 512)
        assert (np.diff(ends) > 0).all()


def test_two_speakers_get_one_average_timbre() -> None:
    """Noises that were coloured in opposite ways are as good as alike afterwards, if the same is drawn for both."""
    noise = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE)
    dark = np.convolve(noise, [1, 0.9])[: len(noise)]
    bright = np.convolve(noise, [1, -0.9])[: len(noise)]
    tilts = []
    for colour in (dark, bright):
        heard = (colour / np.abs(colour).max()).astype(np.float32)
        for sound in (heard, change_by_world(heard, np.random.default_rng(1))):
            power = np.abs(np.fft.rfft(sound)) ** 2
            third = len(power) // 3
            tilts.append(10 * np.log10(power[third : 2 * third].mean() / power[2 * third :].mean()))
    before, after = abs(tilts[0] - tilts[2]), abs(tilts[1] - tilts[3])
    assert before > 10
    assert after < 2


def test_long_recordings_are_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    samples = np.ones(100 * SAMPLE_RATE + 33)
    for second in (33.0, 66.5):
        samples[round(second * SAMPLE_RATE) : round((second + 0.1) * SAMPLE_RATE)] = 0
    pieces = list(_pieces(samples))
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(samples)
    assert all(first[1] == second[0] and first[1] % 80 == 0 for first, second in pairwise(pieces))
    assert [samples[end - 1] for _, end in pieces[:2]] == [0, 0]
    assert all(20 <= (end - begin) / SAMPLE_RATE <= 35 + 1e-3 for begin, end in pieces)
