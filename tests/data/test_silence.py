"""What nobody said against the spectrum and the level that it is made with."""

from __future__ import annotations

import numpy as np

from asr.data.silence import unspoken


def test_what_nobody_said_is_of_many_colours() -> None:
    slopes = []
    quiet = 0
    for seed in range(200):
        noise = unspoken(2.0, np.random.default_rng(seed))
        assert noise.shape == (32000,) and noise.dtype == np.float32 and np.isfinite(noise).all()
        if not noise.any():
            quiet += 1
            continue
        level = 10 * np.log10(np.mean(noise.astype(float) ** 2))
        assert -70.1 <= level <= -19.9
        # Its power over frequency, on logarithmic axes, falls by a straight line: by 0 of white noise, 2 of brown.
        power = np.abs(np.fft.rfft(noise.astype(float))) ** 2
        at = np.arange(len(power))
        bands = [(at >= low) & (at < 2 * low) for low in (100, 200, 400, 800, 1600, 3200, 6400)]
        slopes.append(np.polyfit([np.log(at[b].mean()) for b in bands], [np.log(power[b].mean()) for b in bands], 1)[0])
    assert 30 < quiet < 70
    assert -2.1 < min(slopes) < -1.7 and -0.3 < max(slopes) < 0.1
