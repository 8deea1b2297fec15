"""Log-mel features of a batch of fragments, each one independent of its neighbours in the batch.

Shapes: B batch, N samples, F mels, T mel frames (100 a second).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from whisper.audio import CHUNK_LENGTH, HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_filters

MAX_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE


def count_frames(num_samples: Tensor) -> Tensor:
    """Number of mel frames that ``num_samples`` samples make (the last one may be partly silence)."""
    return torch.div(num_samples + HOP_LENGTH - 1, HOP_LENGTH, rounding_mode="floor")


def count_states(num_samples: Tensor) -> Tensor:
    """Number of encoder frames (50 a second) that ``num_samples`` samples make."""
    return torch.div(count_frames(num_samples) + 1, 2, rounding_mode="floor")


def frame_mask(num_frames: Tensor, length: int) -> Tensor:
    """Mask of the valid frames, bool [B, ``length``], True where a frame belongs to the fragment."""
    return torch.arange(length, device=num_frames.device)[None, :] < num_frames[:, None]


def log_mel(audio: Tensor, num_samples: Tensor, n_mels: int) -> tuple[Tensor, Tensor]:
    """Whisper's log-mel spectrogram for fragments of different lengths.

    Equal to ``whisper.log_mel_spectrogram`` for one clip that ends in silence; unlike it, the floor (8 decades
    under the loudest frame) is taken per fragment, and every fragment is followed by silence, so that the result
    does not depend on what else is in the batch.

    Args:
        audio: Float [B, N], mono at 16 kHz, zero after each fragment's end.
        num_samples: Long [B], samples that count, the window's margin of silence included.
        n_mels: 80 or 128, as the model's ``dims.n_mels``.

    Returns:
        Features, float32 [B, F, T], zero after each fragment's end, and the number of valid frames, long [B].
    """
    num_frames = count_frames(num_samples)
    length = int(num_frames.max())
    # Autocast would round the power spectrum to bf16; Whisper was trained on float32 features.
    with torch.autocast(audio.device.type, enabled=False):
        audio = audio.float()
        audio = functional.pad(audio, (0, length * HOP_LENGTH + N_FFT - audio.shape[1]))
        audio = audio.masked_fill(~frame_mask(num_samples, audio.shape[1]), 0.0)
        window = torch.hann_window(N_FFT, device=audio.device)
        stft = torch.stft(audio, N_FFT, HOP_LENGTH, window=window, return_complex=True)
        power = stft[..., :length].abs().square()
        mel = mel_filters(str(audio.device), n_mels) @ power
        log_spec = mel.clamp(min=1e-10).log10()
        valid = frame_mask(num_frames, length)[:, None, :]
        peak = log_spec.masked_fill(~valid, -torch.inf).amax(dim=(1, 2), keepdim=True)
        log_spec = (torch.maximum(log_spec, peak - 8.0) + 4.0) / 4.0
        return log_spec.masked_fill(~valid, 0.0), num_frames
