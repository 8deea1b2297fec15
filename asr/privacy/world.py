"""Another voice by analysis and resynthesis: pitch and formants moved, the average timbre replaced; the tune stays.

WORLD (Morise et al. 2016, IEICE Trans. E99-D 7) takes a voice apart into pitch, spectral envelope and aperiodicity, and
puts them together again. In between, per fragment:

- the median pitch becomes one that is drawn, the same for all speakers on average; in semitones, the contour is kept
- the frequency axis of the envelope is warped, as a longer or shorter vocal tract would
- the average envelope becomes that of speech in general (Byrne et al. 1994, JASA 96 4), a little bent by chance: it is
  what a speaker's throat and microphone have in common in all fragments

Who knows the method knows what it cannot reach: how the sounds move, the rhythm, the accent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from asr.audio import SAMPLE_RATE
from asr.errors import MissingExtraError
from asr.prosody import pitch_at

Floats = NDArray[np.float64]

# Hz between which the new median pitch is drawn, evenly in semitones: where men's and women's voices meet.
_MEDIAN_MIN, _MEDIAN_MAX = 120.0, 200.0
# Frames of 5 ms that a median pitch is taken from; a voice of less keeps its pitch.
_MIN_VOICED = 10
# Most that the frequency axis is stretched or pressed, as a logarithm: 25 %.
_WARP = 0.22
# Where the warped axis begins to bend back, so that its end stays the end (share of the axis).
_KNEE = 0.8
# How far the average envelope is moved at one place at most, as a logarithm of power: 26 dB.
_MAX_STEP = 6.0
# The standard deviation of the bends, as a logarithm of power (4.3 dB), and the number of places where they are drawn.
_BEND, _BENDS = 1.0, 7
# Power under the loudest frame's (35 dB) at which a frame no longer counts to the average.
_QUIET = 10**-3.5
# Envelope bins (16 Hz each) over which the average is smoothed: less would follow single harmonics.
_SMOOTHING = 12
_TINY = 1e-16
# Samples and milliseconds from one frame to the next.
_HOP = 80
_PERIOD = 1000.0 * _HOP / SAMPLE_RATE
# Seconds of a piece, which bounds the memory, and of its end, in which the quietest place is looked for to cut at.
_PIECE, _CUT = 30.0, 5.0
# Samples under which WORLD's analysis has no frame to work with; they are padded up to it.
_SHORTEST = 2048

# Long-term average spectrum of speech, dB in third octaves: Byrne et al. 1994, table II, males and females combined.
_THIRD_OCTAVES = 1000.0 * 2.0 ** (np.arange(-12, 10) / 3)
# fmt: off
_AVERAGE_SPEECH = np.array([
    38.6, 43.5, 54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7, 53.0, 52.0, 48.7, 48.1, 46.8, 45.6,
    44.5, 44.3, 43.7,
])
# fmt: on


def change_by_world(samples: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Change a voice; what is drawn stays the same all through the samples.

    Args:
        samples: Mono at 16 kHz, [n], peaking near 1.
        random: What is drawn from: the median pitch, the warp, the bends.

    Returns:
        [n], at another level.

    Raises:
        MissingExtraError: pyworld is not installed.
    """
    try:
        import pyworld
    except ImportError as error:
        raise MissingExtraError(
            "changing a voice needs pyworld; install it: pip install dialect-asr[privacy]"
        ) from error

    heard = np.pad(samples.astype(np.float64), (0, max(0, _SHORTEST - len(samples))))
    f0 = _pitch(heard)
    voiced = f0[f0 > 0]
    median = _MEDIAN_MIN * (_MEDIAN_MAX / _MEDIAN_MIN) ** random.random()
    ratio = median / float(np.median(voiced)) if len(voiced) >= _MIN_VOICED else 1.0
    alpha = float(np.exp(random.uniform(-_WARP, _WARP)))
    bends = random.normal(0.0, _BEND, _BENDS)
    changed = np.empty_like(heard)
    for begin, end in _pieces(heard):
        piece, pitch = heard[begin:end], f0[begin // _HOP : end // _HOP + 1]
        times = np.arange(len(pitch)) * (_HOP / SAMPLE_RATE)
        envelope = pyworld.cheaptrick(piece, pitch, times, SAMPLE_RATE)
        aperiodicity = pyworld.d4c(piece, pitch, times, SAMPLE_RATE)
        envelope = _at_average(_warped(np.log(np.maximum(envelope, _TINY)), alpha), bends)
        changed[begin:end] = pyworld.synthesize(
            pitch * ratio, np.exp(envelope), _warped(aperiodicity, alpha), SAMPLE_RATE, _PERIOD
        )[: end - begin]
    return changed[: len(samples)].astype(np.float32)


def _pitch(samples: Floats) -> Floats:
    """Hz at WORLD's frames, 0 where unvoiced; by swift-f0, since WORLD's own trackers lose the tune of noisy clips."""
    f0, _ = pitch_at(samples.astype(np.float32), np.arange(len(samples) // _HOP + 1) * (_HOP / SAMPLE_RATE))
    return np.nan_to_num(f0)


def _pieces(samples: Floats) -> Iterator[tuple[int, int]]:
    """Yield where pieces of about 30 s begin and end, on WORLD's frames, cut where it is quietest."""
    begin, length, search = 0, round(_PIECE * SAMPLE_RATE), round(_CUT * SAMPLE_RATE)
    while len(samples) - begin > length + search:
        candidates = samples[begin + length : begin + length + search].reshape(-1, 4 * _HOP)
        quietest = int(np.square(candidates).sum(axis=1).argmin())
        end = begin + length + (4 * quietest + 2) * _HOP
        yield begin, end
        begin = end
    yield begin, len(samples)


def _warped(table: Floats, alpha: float) -> Floats:
    """Stretch the frequency axis by ``alpha`` up to the knee, and fit the rest in; [frames, bins] to the same."""
    bins = table.shape[1]
    axis = np.linspace(0.0, 1.0, bins)
    knee = _KNEE * min(1.0, alpha)
    places = np.interp(axis, [0.0, knee, 1.0], [0.0, knee / alpha, 1.0]) * (bins - 1)
    below = np.minimum(places.astype(np.intp), bins - 2)
    share = places - below
    return np.ascontiguousarray(table[:, below] * (1 - share) + table[:, below + 1] * share)


def _at_average(envelope: Floats, bends: Floats) -> Floats:
    """Give frames the average of speech in general, bent a little, instead of their own; log power, [frames, bins]."""
    bins = envelope.shape[1]
    power = np.exp(envelope)
    frames = power.sum(axis=1)
    own = np.log(power[frames >= _QUIET * frames.max()].mean(axis=0))
    window = np.hanning(2 * _SMOOTHING + 1)
    own = np.convolve(np.pad(own, _SMOOTHING, mode="edge"), window / window.sum(), mode="valid")
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, bins)
    # A third of an octave is wider the higher it lies; WORLD's bins are not.
    density = _AVERAGE_SPEECH * np.log(10) / 10 - np.log(_THIRD_OCTAVES)
    wanted = np.interp(np.log(np.maximum(frequencies, _THIRD_OCTAVES[0])), np.log(_THIRD_OCTAVES), density)
    step = wanted - own
    bend = np.interp(np.linspace(0.0, 1.0, bins), np.linspace(0.0, 1.0, len(bends)), bends)
    # Where a recording has nothing (a telephone's upper half, say), only noise would be lifted without a limit.
    return np.asarray(envelope + np.clip(step - step.mean(), -_MAX_STEP, _MAX_STEP) + bend)
