"""Augmentation of a whole batch on its device, by torchaudio; the same for the same seed on the same kind of device.

Shapes: B batch, N samples, F mels, T mel frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torchaudio.functional
from pydantic import Field
from torch import Tensor

from asr.audio import SAMPLE_RATE
from asr.model.features import frame_mask


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """How far a batch is changed.

    Attributes:
        gain_db: Quietest and loudest change of level, in dB.
        noise: Share of fragments that get white noise.
        noise_snr_db: Lowest and highest signal-to-noise ratio, in dB.
        time_masks: Number of stretches of time that are blanked out.
        time_mask_share: Longest stretch, as a share of the fragment.
        frequency_masks: Number of bands that are blanked out.
        frequency_mask_mels: Widest band, in mel bins.
    """

    gain_db: tuple[float, float] = (-8.0, 4.0)
    noise: Annotated[float, Field(ge=0, le=1)] = 0.3
    noise_snr_db: tuple[float, float] = (8.0, 30.0)
    time_masks: Annotated[int, Field(ge=0)] = 2
    time_mask_share: Annotated[float, Field(ge=0, le=1)] = 0.06
    frequency_masks: Annotated[int, Field(ge=0)] = 2
    frequency_mask_mels: Annotated[int, Field(ge=0, le=80)] = 14


def change_speed(audio: Tensor, num_samples: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    """Play a batch faster or slower, pitch included.

    Args:
        audio: Float [B, N], zero after each fragment.
        num_samples: Long [B].
        speed: Above 1 is faster.

    Returns:
        Float [B, M], zero after each fragment, and long [B], each length divided by the speed and rounded up.
    """
    if speed == 1.0:
        return audio, num_samples
    # Autocast would resample in bf16, whose noise is 50 dB under the signal.
    with torch.autocast(audio.device.type, enabled=False):
        faster, lengths = torchaudio.functional.speed(audio.float(), SAMPLE_RATE, speed, num_samples)
    lengths = lengths.to(num_samples.dtype).clamp(max=faster.shape[1])
    return faster.masked_fill(~frame_mask(lengths, faster.shape[1]), 0.0), lengths


class Augment:
    """Applies `AugmentOptions`.

    Args:
        options: How far.
    """

    def __init__(self, options: AugmentOptions) -> None:
        self.options = options

    def waveform(self, audio: Tensor, num_samples: Tensor, seed: int) -> Tensor:
        """Change level and add noise, both per fragment.

        Args:
            audio: Float [B, N], zero after each fragment.
            num_samples: Long [B], samples that count, the margin included: noise goes on in it.
            seed: Of the choices.

        Returns:
            Float [B, N].
        """
        options, draw = self.options, _Draw(seed, audio.device)
        batch = audio.shape[0]
        audio = audio * 10 ** (draw.uniform(*options.gain_db, (batch, 1)) / 20)
        if options.noise:
            noise = draw.normal(audio.shape) * frame_mask(num_samples, audio.shape[1])
            chosen = draw.uniform(0, 1, (batch,)) < options.noise
            ratio = draw.uniform(*options.noise_snr_db, (batch,))
            noisy = torchaudio.functional.add_noise(audio, noise, ratio, num_samples)
            audio = torch.where(chosen[:, None], noisy, audio)
        return audio

    def spectrogram(self, mel: Tensor, num_frames: Tensor, seed: int) -> Tensor:
        """Blank out stretches of time and bands (SpecAugment, arXiv 1904.08779), inside each fragment only.

        Args:
            mel: Float [B, F, T].
            num_frames: Long [B], valid frames.
            seed: Of the choices.

        Returns:
            Float [B, F, T].
        """
        options, draw = self.options, _Draw(seed + 1, mel.device)
        batch, mels, length = mel.shape
        valid = frame_mask(num_frames, length)[:, None, :]
        # What a log-mel spectrogram has in silence: 8 decades under the fragment's peak, in Whisper's units of 4.
        floor = mel.masked_fill(~valid, -torch.inf).amax(dim=(1, 2), keepdim=True) - 2.0
        hidden = torch.zeros(batch, mels, length, dtype=torch.bool, device=mel.device)
        for _ in range(options.time_masks):
            width = draw.uniform(0, options.time_mask_share, (batch, 1)) * num_frames[:, None]
            hidden |= _stretch(width, num_frames[:, None], length, draw)[:, None, :]
        for _ in range(options.frequency_masks):
            width = draw.uniform(0, options.frequency_mask_mels, (batch, 1))
            hidden |= _stretch(width, torch.full_like(num_frames, mels)[:, None], mels, draw)[:, :, None]
        return torch.where(hidden & valid, floor, mel)


def _stretch(width: Tensor, total: Tensor, length: int, draw: _Draw) -> Tensor:
    """One stretch of ``width`` within ``total`` per fragment, bool [B, length]."""
    start = draw.uniform(0, 1, width.shape) * (total - width)
    places = torch.arange(length, device=width.device)[None, :]
    return (places >= start) & (places < start + width)


class _Draw:
    """Random numbers of a seed, on a device."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, low: float, high: float, shape: tuple[int, ...] | torch.Size) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, shape: tuple[int, ...] | torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)
