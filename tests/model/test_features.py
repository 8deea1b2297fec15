"""Features of a batch, against openai-whisper's own and against each fragment alone."""

from __future__ import annotations

import pytest
import torch
import whisper
from torch import Tensor

from asr.model.features import MAX_SAMPLES, count_frames, frame_mask, log_mel


def noise(*seconds: float) -> tuple[Tensor, Tensor]:
    """Fragments of rising loudness in one batch, zero after each one's end."""
    num_samples = torch.tensor([round(16000 * value) for value in seconds])
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(len(seconds), int(num_samples.max()), generator=generator)
    audio *= 0.001 * 1000.0 ** torch.arange(len(seconds))[:, None]
    return audio.masked_fill(~frame_mask(num_samples, audio.shape[1]), 0.0), num_samples


@pytest.mark.parametrize("n_mels", [80, 128])
def test_a_clip_that_ends_in_silence_has_whispers_features(n_mels: int) -> None:
    audio, num_samples = noise(1.7)
    expected = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio[0]), n_mels)
    features, frames = log_mel(audio, torch.full_like(num_samples, MAX_SAMPLES), n_mels)
    assert features.shape == (1, n_mels, 3000) and frames.tolist() == [3000]
    torch.testing.assert_close(features[0], expected, rtol=0, atol=1e-5)


def test_a_tight_window_has_whispers_features_of_the_same_silence() -> None:
    audio, num_samples = noise(0.83)
    margin = 1600
    features, frames = log_mel(audio, num_samples + margin, 80)
    expected = whisper.log_mel_spectrogram(audio[0], padding=margin + 1600)
    assert frames.tolist() == [93]
    torch.testing.assert_close(features[0], expected[:, :93], rtol=0, atol=1e-5)


def test_neighbours_in_a_batch_change_nothing() -> None:
    # The last is 120 dB louder than the first: a floor 80 dB under the loudest of the batch would swallow it.
    audio, num_samples = noise(0.5, 2.0, 1.301)
    batch, frames = log_mel(audio, num_samples, 80)
    assert frames.tolist() == [50, 200, 131] and batch.shape == (3, 80, 200)
    for row in range(3):
        count = int(num_samples[row])
        alone, _ = log_mel(audio[row : row + 1, :count], num_samples[row : row + 1], 80)
        torch.testing.assert_close(batch[row : row + 1, :, : alone.shape[2]], alone, rtol=0, atol=1e-5)
        assert not batch[row, :, alone.shape[2] :].any()


def test_the_floor_is_that_of_the_fragments_own_frames() -> None:
    # A click at the very end is loudest in the frame that follows the last one, which a batch computes for a neighbour.
    audio, num_samples = torch.zeros(2, 16000), torch.tensor([8000, 16000])
    audio[0, 7999] = 1.0
    batch, _ = log_mel(audio, num_samples, 80)
    alone, _ = log_mel(audio[:1, :8000], num_samples[:1], 80)
    torch.testing.assert_close(batch[:1, :, :50], alone, rtol=0, atol=1e-5)


def test_sound_after_a_fragments_end_is_not_heard() -> None:
    audio, num_samples = noise(0.5, 2.0)
    expected, _ = log_mel(audio, num_samples, 80)
    audio[0, num_samples[0] :] = 1.0
    features, _ = log_mel(audio, num_samples, 80)
    assert torch.equal(features, expected)


def test_features_are_float32_under_autocast() -> None:
    audio, num_samples = noise(0.5)
    expected, _ = log_mel(audio, num_samples, 80)
    with torch.autocast("cpu", torch.bfloat16):
        features, _ = log_mel(audio, num_samples, 80)
    assert features.dtype == torch.float32 and torch.equal(features, expected)


def test_a_started_frame_counts() -> None:
    assert count_frames(torch.tensor([1, 160, 161, MAX_SAMPLES])).tolist() == [1, 1, 2, 3000]


def test_the_mask_is_true_within_a_fragment() -> None:
    assert frame_mask(torch.tensor([0, 2]), 3).tolist() == [[False, False, False], [True, True, False]]
