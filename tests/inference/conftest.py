"""A tiny random model that says different things of different sounds, and sounds for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch
from whisper.model import Whisper

from asr.model.network import DialectWhisper


@pytest.fixture
def model(tiny_whisper: Whisper) -> DialectWhisper:
    """Padded. With weights that are merely random a decoder says one token over and over, whatever it hears."""
    generator = torch.Generator().manual_seed(1)
    decoder = tiny_whisper.decoder
    with torch.no_grad():
        decoder.token_embedding.weight.div_(decoder.token_embedding.weight.norm(dim=1, keepdim=True))
        decoder.positional_embedding.mul_(10)
        decoder.ln.weight.copy_(torch.randn(16, generator=generator))
        decoder.ln.bias.zero_()
        for block in decoder.blocks:
            for attention in (block.attn, block.cross_attn):
                attention.query.weight.mul_(4)
                attention.out.weight.mul_(4)
    return DialectWhisper(tiny_whisper)


# Three formants in hertz of a, i, u, e, o: what makes buzzing a vowel.
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


def speak(seconds: float, number: int = 0) -> npt.NDArray[np.float32]:
    """Syllables that silero-vad takes for speech: pulses through formants that move, and hiss between them."""
    random = np.random.default_rng(number)
    times = np.arange(round(16000 * seconds)) / 16000
    pitch = 120 * 2 ** (0.25 * np.sin(2 * np.pi * 0.7 * times))
    pulses = np.diff(np.floor(np.cumsum(pitch) / 16000), prepend=0)
    source = scipy.signal.lfilter([1], [1, -0.97], pulses)
    states = [np.zeros(2)] * 3
    sound = np.zeros(len(times))
    for first in range(0, len(times), 500):
        syllable, part = divmod(first / 4000, 1)
        before, after = (np.array(_VOWELS[(int(syllable + step) * 7 + number) % 5]) for step in (0, 1))
        moved = np.clip((part - 0.6) / 0.3, 0, 1)
        piece = source[first : first + 500]
        for place, (formant, width) in enumerate(zip(before + moved * (after - before), (60, 90, 150), strict=True)):
            radius, angle = np.exp(-np.pi * width / 16000), 2 * np.pi * formant / 16000
            poles = [1, -2 * radius * np.cos(angle), radius**2]
            piece, states[place] = scipy.signal.lfilter([sum(poles)], poles, piece, zi=states[place])
        sound[first : first + 500] = piece
    loud = np.abs(np.sin(4 * np.pi * times))
    hiss = 0.01 * np.diff(random.standard_normal(len(times) + 1)) * (loud < 0.2)
    sound *= np.clip(2 * loud, 0.05, 1) * 0.2 / max(np.abs(sound).max(), 1e-9)
    return (sound + hiss + 0.001 * random.standard_normal(len(times))).astype(np.float32)


@pytest.fixture(name="speak", scope="session")
def _speak() -> Callable[..., npt.NDArray[np.float32]]:
    return speak
