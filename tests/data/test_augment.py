"""Augmentation against closed forms: levels in dB, ratios measured back, masks counted, a sine's new pitch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from asr.data.augment import Augment, AugmentOptions, change_speed

STILL = {"gain_db": (0.0, 0.0), "noise": 0.0, "time_masks": 0, "frequency_masks": 0}


def augment(**options: object) -> Augment:
    return Augment(AugmentOptions(**STILL | options))  # type: ignore[arg-type]


def sines(*lengths: int, frequency: float = 440.0) -> tuple[Tensor, Tensor]:
    audio = torch.zeros(len(lengths), max(lengths))
    for row, length in zip(audio, lengths, strict=True):
        row[:length] = 0.1 * torch.sin(2 * math.pi * frequency * torch.arange(length) / 16000)
    return audio, torch.tensor(lengths)


def test_the_same_seed_gives_the_same_whatever_was_drawn_before() -> None:
    audio, lengths = sines(1600, 800)
    mel, frames = torch.rand(2, 80, 30), torch.tensor([30, 20])
    everything = Augment(AugmentOptions(noise=1.0, time_mask_share=0.5))
    torch.manual_seed(1)
    first = everything.waveform(audio, lengths, 7), everything.spectrogram(mel, frames, 7)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = everything.waveform(audio, lengths, 7), everything.spectrogram(mel, frames, 7)
    other = everything.waveform(audio, lengths, 8), everything.spectrogram(mel, frames, 8)
    for one, same, different in zip(first, again, other, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)
    torch.manual_seed(1)
    everything.waveform(audio, lengths, 7)
    assert torch.equal(torch.get_rng_state(), state)  # nor does it draw from what others draw from


def test_every_seed_of_a_stream_is_accepted() -> None:
    audio, lengths = sines(160)
    for seed in (0, 2**63 - 1):
        augment(noise=1.0, time_masks=1).waveform(audio, lengths, seed)
        augment(noise=1.0, time_masks=1).spectrogram(torch.rand(1, 80, 5), torch.tensor([5]), seed)


def test_the_input_stays_as_it_is() -> None:
    audio, lengths = sines(1600)
    mel = torch.rand(1, 80, 10)
    before = audio.clone(), mel.clone()
    everything = Augment(AugmentOptions(noise=1.0, time_mask_share=1.0))
    everything.waveform(audio, lengths, 0)
    everything.spectrogram(mel, torch.tensor([10]), 0)
    assert torch.equal(audio, before[0])
    assert torch.equal(mel, before[1])


def test_gain_in_db() -> None:
    audio, lengths = sines(*[1600] * 50)
    for gain, factor in ((-20.0, 0.1), (6.0, 10**0.3), (0.0, 1.0)):
        torch.testing.assert_close(augment(gain_db=(gain, gain)).waveform(audio, lengths, 0), factor * audio)
    changed = augment(gain_db=(-8.0, 4.0)).waveform(audio, lengths, 0)
    gains = 20 * (changed.norm(dim=1) / audio.norm(dim=1)).log10()
    assert -8 <= gains.min() < -6
    assert 2 < gains.max() <= 4
    # One factor per fragment.
    torch.testing.assert_close(changed, audio * 10 ** (gains[:, None] / 20))


def test_the_noise_has_the_drawn_ratio_to_the_fragment() -> None:
    audio, lengths = sines(*[8000] * 60, 4000)
    fixed = augment(noise=1.0, noise_snr_db=(10.0, 10.0)).waveform(audio, lengths, 0) - audio
    ratios = 20 * (audio.norm(dim=1) / fixed.norm(dim=1)).log10()
    torch.testing.assert_close(ratios, torch.full_like(ratios, 10.0), atol=1e-3, rtol=0)
    assert not fixed[-1, 4000:].any()  # none behind the window, which the encoder does not see
    drawn = augment(noise=1.0, noise_snr_db=(8.0, 30.0)).waveform(audio, lengths, 0) - audio
    ratios = 20 * (audio.norm(dim=1) / drawn.norm(dim=1)).log10()
    assert 8 <= ratios.min() < 12
    assert 26 < ratios.max() <= 30
    # White: as much below 4 kHz as above, and no two fragments hear the same.
    spectrum = torch.fft.rfft(fixed[0]).abs().square()
    assert spectrum[:2000].sum() / spectrum.sum() == pytest.approx(0.5, abs=0.05)
    similarity = torch.corrcoef(fixed[:60]) - torch.eye(60)
    assert similarity.abs().max() < 0.1


def test_noise_goes_on_in_the_margin_and_comes_to_a_share() -> None:
    audio, lengths = sines(*[1600] * 400)
    audio = torch.nn.functional.pad(audio, (0, 800))
    noise = augment(noise=0.3).waveform(audio, lengths + 800, 0) - audio
    noisy = noise.any(dim=1)
    assert 80 < noisy.sum() < 160
    assert (noise[noisy, 1600:].square().mean(dim=1) > 0).all()


def test_silence_stays_silence() -> None:
    audio, lengths = sines(1600, 1600)
    audio[0] = 0
    changed = augment(noise=1.0, gain_db=(-8.0, 4.0)).waveform(audio, lengths, 0)
    assert not changed[0].any()
    assert changed.isfinite().all()
    assert not torch.equal(changed[1], audio[1])


def runs(row: Tensor) -> list[int]:
    """Lengths of the stretches of True in a bool vector."""
    edges = torch.diff(torch.nn.functional.pad(row.int(), (1, 1)))
    return ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()


def test_time_masks() -> None:
    frames = torch.tensor([100] * 200 + [40])
    mel = torch.rand(201, 80, 120)
    changed = augment(time_masks=1, time_mask_share=0.06).spectrogram(mel, frames, 0)
    hidden = (changed != mel).all(dim=1)
    # Whole frames or nothing.
    assert torch.equal(hidden, (changed != mel).any(dim=1))
    widths = [sum(runs(row)) for row in hidden]
    assert all(len(runs(row)) <= 1 for row in hidden)
    assert max(widths[:200]) == 6
    assert sum(widths[:200]) / 200 == pytest.approx(3.0, abs=0.5)
    assert widths[200] <= 3
    assert not hidden[:200, 100:].any()
    assert not hidden[200, 40:].any()
    starts = hidden[:200].int().argmax(dim=1)
    assert starts.max() > 80
    twice = augment(time_masks=2, time_mask_share=0.06).spectrogram(mel, frames, 0)
    assert max(int((row != other).all(dim=0).sum()) for row, other in zip(twice, mel, strict=True)) > 6


def test_frequency_masks() -> None:
    frames = torch.tensor([50] * 200)
    mel = torch.rand(200, 80, 60)
    changed = augment(frequency_masks=1, frequency_mask_mels=14).spectrogram(mel, frames, 0)
    hidden = (changed != mel)[:, :, :50].all(dim=2)
    assert torch.equal(hidden, (changed != mel).any(dim=2))
    widths = [sum(runs(row)) for row in hidden]
    assert all(len(runs(row)) <= 1 for row in hidden)
    assert 12 <= max(widths) <= 14
    assert sum(widths) / 200 == pytest.approx(7.0, abs=1.0)
    assert torch.equal(changed[:, :, 50:], mel[:, :, 50:])


def test_what_is_masked_is_what_silence_looks_like_whatever_stands_beside_it() -> None:
    # A quiet fragment, all of whose values are below the zeros that pad it.
    mel = torch.rand(2, 80, 30) - 2.0
    mel[0, :, 10:] = 0.0
    frames = torch.tensor([10, 30])
    options = {"frequency_masks": 1, "frequency_mask_mels": 80}
    changed = augment(**options).spectrogram(mel, frames, 3)
    for row, length in ((0, 10), (1, 30)):
        masked = changed[row, :, :length][changed[row, :, :length] != mel[row, :, :length]]
        assert len(masked)
        torch.testing.assert_close(masked, (mel[row, :, :length].max() - 2.0).expand(len(masked)))


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_pitch_and_length(speed: float) -> None:
    audio, lengths = sines(16000, 8000, 12345)
    changed, shorter = change_speed(audio, lengths, speed)
    assert shorter.tolist() == [math.ceil(length / speed - 1e-6) for length in lengths.tolist()]
    assert changed.shape == (3, max(shorter.tolist()))
    for row, length in enumerate(shorter.tolist()):
        assert not changed[row, length:].any()
        heard = changed[row, 200 : length - 200]
        expected = 0.1 * torch.sin(2 * math.pi * 440 * speed * torch.arange(length) / 16000)[200 : length - 200]
        torch.testing.assert_close(heard, expected, atol=2e-3, rtol=0)
    peak = torch.fft.rfft(changed[0] * torch.hann_window(changed.shape[1])).abs().argmax()
    assert int(peak) * 16000 / changed.shape[1] == pytest.approx(440 * speed, abs=1.5)


def test_speed_one_is_no_change() -> None:
    audio, lengths = sines(1600)
    changed, same = change_speed(audio, lengths, 1.0)
    assert changed is audio
    assert same is lengths


def test_speed_is_exact_under_autocast() -> None:
    audio, lengths = sines(4000)
    with torch.autocast("cpu", torch.bfloat16):
        changed, _ = change_speed(audio, lengths, 1.1)
    assert torch.equal(changed, change_speed(audio, lengths, 1.1)[0])
