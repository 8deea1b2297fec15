"""What a recording holds when nobody speaks, made up: silence, and noise of many colours and levels."""

from __future__ import annotations

import numpy as np

from asr.audio import SAMPLE_RATE, Samples

# Share of it that is digital silence.
_QUIET = 0.25


def unspoken(seconds: float, made: np.random.Generator) -> Samples:
    """Nothing that anybody said: digital silence, or noise somewhere between white and brown, soft or loud.

    Args:
        seconds: How much of it.
        made: Draws it.

    Returns:
        Float [N] at 16 kHz.
    """
    length = max(1, round(seconds * SAMPLE_RATE))
    # An amplitude that falls with the frequency to this power: 0 is white noise, a half pink, 1 brown.
    slope, level, quiet = made.uniform(0, 1), made.uniform(-70, -20), made.uniform() < _QUIET
    if quiet:
        return np.zeros(length, np.float32)
    frequencies = np.fft.rfftfreq(length)
    # Nothing below 20 Hz, which nobody hears and which would take all the level.
    shape = np.where(frequencies * SAMPLE_RATE >= 20, np.maximum(frequencies, 1 / length) ** -slope, 0.0)
    noise = np.fft.irfft(np.fft.rfft(made.standard_normal(length)) * shape, length)
    power = np.sqrt(np.mean(noise**2))
    scaled: Samples = (noise * (10 ** (level / 20) / max(power, 1e-12))).astype(np.float32)
    return scaled
