"""How something was said: pitch, loudness and timing of a fragment, at the encoder's 50 frames a second.

The pitch in Hz (`Pitch.f0`) helps to tell who is speaking. It is there to be worked with inside the process; what may
be written down or sent on is a `Prosody`, in which every figure is relative. F0 comes from swift-f0, whose small
network is part of its wheel.

Shapes: N samples at 16 kHz, E frames of 20 ms, as many as the encoder has. Frame e is centred on the time ``e / 50``
seconds, like the encoder's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asr.audio import SAMPLE_RATE
from asr.errors import AudioError
from asr.transcript import Word

if TYPE_CHECKING:
    from swift_f0 import SwiftF0

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

FRAME_RATE = 50
# Places of a contour.
CONTOUR = 20
_HOP = SAMPLE_RATE // FRAME_RATE

# Seconds of swift-f0's frames.
_FRAME = 0.016
# swift-f0's own threshold, for which its confidence is calibrated.
_VOICED = 0.5
# Hz between which a speaking voice lies, creak and the excited child included. swift-f0 could go up to 2 kHz.
_F0_MIN, _F0_MAX = 50.0, 600.0
# A recording that peaks below this (about 5 bits of 16) is silence: the loudest thing in it is noise.
_SILENCE_PEAK = 1e-3
# dB; no frame is quieter. 16 bits reach down to -98.
_ENERGY_FLOOR = -100.0
# Frames of voice (0.2 s, a syllable) that pitch movements are read from; fewer say nothing.
_MIN_VOICED = 10
# The share of the voiced frames that counts as the end, for a mean and for a slope, which needs more of them.
_END, _END_OF_SLOPE = 0.15, 0.3
# Seconds of voice under which nothing is told, and the stretches in which they are looked for.
_ENOUGH_VOICE, _STRETCH = 0.2, 2.0
# Semitones that a voice's pitch moves within 16 ms, and the share of its frames in which it does. Of chords and tunes
# of steady tones it does in at most 16 % of the frames, of people's short sentences in 64 % or more.
_MOVES, _MOVING = 0.05, 0.5
# De Jong & Wempe 2009: dB under the loudest at which silence begins, seconds that make a pause, dB between syllables.
_SILENCE_DROP, _MIN_PAUSE, _MIN_DIP = 25.0, 0.3, 2.0
# Seconds by which words are heard later than their times say: attention runs ahead of the voice, and a peak of pitch
# comes late in its word. From 0.08 to 0.12 told emphasis best of 0 to 0.16 (scripts/benchmark_emphasis.py).
_LAG = 0.1
# Letters that a word's duration is worth beside its own: a short word lasts longer than its letters say.
_EXTRA_LETTERS = 2
# Mean standard score from which on a word stands out: three of four that are marked are then those that people heard as
# prominent, and a second word is hardly ever marked (scripts/benchmark_emphasis.py).
_EMPHASIS = 0.6

WORD_CUES = ("pitch", "energy", "duration")


@dataclass(frozen=True, slots=True, eq=False)
class Pitch:
    """The course of pitch and loudness of one fragment; for use inside the process, never for a record.

    ``f0`` identifies people. So this class has no ``to_dict``, and shows no Hz where it is printed; do not pass it to
    `dataclasses.asdict`, a log or a cache on disk. `prosody_of` makes what may leave.

    Attributes:
        f0: Hz, float32 [E], NaN where unvoiced.
        voiced: Bool [E].
        confidence: That the frame is voiced, float32 [E], 0 to 1.
        energy: dB, float32 [E], of the 40 ms around the frame's centre; 0 is a constant at full scale.
    """

    f0: Floats = field(repr=False)
    voiced: Flags
    confidence: Floats
    energy: Floats


@dataclass(frozen=True, slots=True)
class Prosody:
    """What the voice did, in figures that stand in no relation to its absolute pitch or loudness.

    The end is the last 15 % of the voiced frames, where not said otherwise. What cannot be told, because there is less
    than 0.2 s of voice or only one syllable, is None.

    Attributes:
        voiced_share: Voiced share of the frames from the first to the last that are not silent, 0 to 1.
        pitch_level: Median pitch over the speaker's reference, semitones.
        final_rise: Mean pitch of the end minus that of the rest, semitones.
        slope: Of the line through all voiced frames, semitones per second.
        final_slope: Of the line through the last 30 % of the voiced frames, semitones per second.
        pitch_range: From the 5th to the 95th percentile of pitch, semitones.
        final_energy: Mean energy of the end minus that of the rest of the voiced frames, dB.
        final_lengthening: Duration of the last syllable over the median one of the others.
        pauses: Silences of 0.3 s or more between the first and the last sound.
        pause_seconds: Their duration in total.
        speaking_rate: Syllable nuclei per second from the first to the last sound, pauses included.
    """

    voiced_share: float = 0.0
    pitch_level: float | None = None
    final_rise: float | None = None
    slope: float | None = None
    final_slope: float | None = None
    pitch_range: float | None = None
    final_energy: float | None = None
    final_lengthening: float | None = None
    pauses: int = 0
    pause_seconds: float = 0.0
    speaking_rate: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON; no Hz among them."""
        return asdict(self)


FEATURE_NAMES = tuple(item.name for item in fields(Prosody))
# What a feature is where it could not be measured: the value of a voice that does nothing at its end.
_NEUTRAL = {"final_lengthening": 1.0}


def track(samples: npt.NDArray[np.generic], threads: int = 1) -> Pitch:
    """Measure pitch, voicing and energy.

    swift-f0 hears every recording at full scale, because it takes quiet voices for none: of the same sentences it finds
    58 % of the frames voiced where they peak at full scale, 47 % at -30 dB and 13 % at -50 dB.

    Args:
        samples: Float32 [N], mono at 16 kHz.
        threads: That swift-f0's network may use. It is small, and more of them help little.

    Returns:
        E = ceil(N / 320) frames.

    Raises:
        AudioError: The samples are no float32 [N], none at all, or some are NaN or infinite.
    """
    _check(samples)
    # A constant offset is no sound, but would count as energy.
    centred = samples - samples.mean(dtype=np.float64)
    energy = _energy(centred)
    count = len(energy)
    heard = _at_full_scale(centred)
    if heard is None:
        unheard = np.zeros(count, np.float32)
        return Pitch(np.full_like(unheard, np.nan), np.zeros(count, np.bool_), unheard, energy)
    f0, confidence = pitch_at(heard, np.arange(count) / FRAME_RATE, threads)
    return Pitch(f0.astype(np.float32), ~np.isnan(f0), confidence.astype(np.float32), energy)


def pitch_at(
    samples: npt.NDArray[np.floating[Any]], times: npt.NDArray[np.floating[Any]], threads: int = 1
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Measure pitch at some times, by swift-f0.

    Args:
        samples: Float32 [N], mono at 16 kHz, peaking near full scale.
        times: Seconds, [T].
        threads: See `track`.

    Returns:
        Hz, NaN where unvoiced, and swift-f0's confidence from 0 to 1, each [T].
    """
    found = _detector(threads).detect(samples, SAMPLE_RATE, _F0_MIN, _F0_MAX)
    # Its 62.5 frames a second start at 0. Between two voiced ones pitch is interpolated on a log scale; beside an
    # unvoiced one, whose pitch means nothing, it is that of the voiced one.
    weights = (found.confidence >= _VOICED).astype(np.float64)
    octaves = np.interp(times, found.timestamps, weights * np.log2(found.pitch_hz))
    share = np.interp(times, found.timestamps, weights)
    f0 = np.exp2(np.divide(octaves, share, out=np.full(len(times), np.nan), where=share >= 0.5))
    return f0, np.interp(times, found.timestamps, found.confidence)


def final_contour(samples: npt.NDArray[np.generic]) -> Floats:
    """The course of pitch towards the end, which tells a question from a statement; NaN of too little voice (0.2 s).

    Voice is what has a pitch that is never still; what keeps it is an instrument. It looks from the end backwards, in
    stretches of 2 s, and no further than until there is enough: of most speech, only the last one is listened to.

    Args:
        samples: Float32 [N], mono at 16 kHz.

    Returns:
        Semitones relative to the median of what was listened to, float32 [CONTOUR], at places evenly spaced from its
        first to its last voiced frame: whether it was said high or low, fast or slowly, is not in it.

    Raises:
        AudioError: See `track`.
    """
    _check(samples)
    heard = _at_full_scale(samples - samples.mean(dtype=np.float64))
    if heard is None:
        return np.full(CONTOUR, np.nan, np.float32)
    stretch = round(_STRETCH * SAMPLE_RATE)
    octaves, voiced = np.empty(0), np.empty(0, np.bool_)
    pitched, moving = 0, 0
    for end in range(len(heard), 0, -stretch):
        found = _detector(1).detect(heard[max(0, end - stretch) : end], SAMPLE_RATE, _F0_MIN, _F0_MAX)
        pitch, sure = np.log2(found.pitch_hz), found.confidence >= _VOICED
        moves = 12 * np.abs(np.diff(pitch)) >= _MOVES
        pitched += int(np.count_nonzero(sure[1:] & sure[:-1]))
        moving += int(np.count_nonzero(sure[1:] & sure[:-1] & moves))
        octaves, voiced = np.concatenate([pitch, octaves]), np.concatenate([sure, voiced])
        if moving * _FRAME >= _ENOUGH_VOICE and moving >= _MOVING * pitched:
            places = np.flatnonzero(voiced)
            tones = 12 * (octaves[places] - np.median(octaves[places]))
            return np.interp(np.linspace(places[0], places[-1], CONTOUR), places, tones).astype(np.float32)
    return np.full(CONTOUR, np.nan, np.float32)


def speaker_reference(tracks: Iterable[Pitch]) -> float | None:
    """The median F0 over all voiced frames of a speaker's fragments, in Hz; None where nothing is voiced.

    It identifies the speaker like `Pitch.f0`, and stays in the process like it.
    """
    voiced = [pitch.f0[pitch.voiced] for pitch in tracks]
    return float(np.median(np.concatenate(voiced))) if any(map(len, voiced)) else None


def semitones(pitch: Pitch, reference_hz: float | None = None) -> Floats:
    """The pitch relative to the speaker's.

    Args:
        pitch: Of one fragment.
        reference_hz: The speaker's, see `speaker_reference`; None takes the fragment's own median.

    Returns:
        Float32 [E], 0 at the reference, NaN where unvoiced.

    Raises:
        ValueError: The reference is no frequency above 0.
    """
    reference = speaker_reference([pitch]) if reference_hz is None else reference_hz
    if reference is None:
        return np.full_like(pitch.f0, np.nan)
    if not 0 < reference < np.inf:
        raise ValueError(f"the speaker's reference must be above 0 Hz, got {reference}")
    return np.asarray(12 * np.log2(pitch.f0 / np.float32(reference)))


def prosody_of(pitch: Pitch, reference_hz: float | None = None) -> Prosody:
    """Describe what the voice did.

    Syllables and pauses are found as by de Jong & Wempe (2009, Behavior Research Methods 41, 385-390): nuclei are
    voiced peaks of energy, at most 25 dB under the loudest and 2 dB above the dips around them; what is quieter than
    that for 0.3 s is a pause. The loudest is the 99th percentile, so that a click does not count. Loud background
    noise hides pauses.

    Args:
        pitch: Of one fragment.
        reference_hz: The speaker's, see `speaker_reference`; None takes the fragment's own median, so that
            ``pitch_level`` is 0.

    Raises:
        ValueError: The reference is no frequency above 0.
    """
    energy = pitch.energy
    silence = max(float(np.percentile(energy, 99)) - _SILENCE_DROP, _ENERGY_FLOOR)
    sounds = np.flatnonzero(energy > silence)
    if not len(sounds):
        return Prosody()
    first, after = int(sounds[0]), int(sounds[-1]) + 1
    seconds = (after - first) / FRAME_RATE
    silences = np.diff(sounds) - 1
    pauses = silences[silences >= _MIN_PAUSE * FRAME_RATE]
    nuclei = _nuclei(pitch, silence)
    timing = Prosody(
        voiced_share=float(pitch.voiced[first:after].mean()),
        final_lengthening=_final_lengthening(energy, nuclei, first, after),
        pauses=len(pauses),
        pause_seconds=float(pauses.sum() / FRAME_RATE),
        speaking_rate=len(nuclei) / seconds,
    )
    times = np.flatnonzero(pitch.voiced) / FRAME_RATE
    if len(times) < _MIN_VOICED:
        return timing
    tones = semitones(pitch, reference_hz)[pitch.voiced].astype(np.float64)
    low, middle, high = np.percentile(tones, (5, 50, 95))
    end = _end(len(tones), _END_OF_SLOPE)
    return replace(
        timing,
        pitch_level=float(middle),
        pitch_range=float(high - low),
        final_rise=_final_step(tones),
        slope=_slope(times, tones),
        final_slope=_slope(times[end:], tones[end:]),
        final_energy=_final_step(energy[pitch.voiced].astype(np.float64)),
    )


def features(prosody: Prosody) -> Floats:
    """The figures as a vector for a classifier, float32 [len(FEATURE_NAMES)], all finite.

    What is None becomes the value of a voice that does nothing.
    """
    values = ((name, getattr(prosody, name)) for name in FEATURE_NAMES)
    return np.array([_NEUTRAL.get(name, 0.0) if value is None else value for name, value in values], np.float32)


def word_cues(pitch: Pitch, words: Sequence[Word]) -> Floats | None:
    """What may lift a word above the others of its fragment, each as a standard score over them.

    Only sound counts, so that a pause lengthens no word.

    Args:
        pitch: Of the fragment.
        words: Its W words, with their times from its start.

    Returns:
        Float32 [W, len(WORD_CUES)]: the highest pitch over the fragment's declination line (semitones), the mean energy
        (dB), and the duration over that expected by the number of letters (log). None where nothing can be compared:
        fewer than two words, or less than 0.2 s of voice.
    """
    voiced = np.flatnonzero(pitch.voiced)
    if len(words) < 2 or len(voiced) < _MIN_VOICED:
        return None
    silence = float(np.percentile(pitch.energy, 99)) - _SILENCE_DROP
    tones = semitones(pitch).astype(np.float64)
    tones -= np.polyval(np.polyfit(voiced, tones[voiced], 1), np.arange(len(tones)))
    # What comes before the second word belongs to the first, and what comes after the last one to that.
    begins = (round((word.start + _LAG) * FRAME_RATE) for word in words[1:])
    table = np.empty((len(words), len(WORD_CUES)))
    for row, word, (begin, end) in zip(table, words, pairwise([0, *begins, len(tones)]), strict=True):
        energy = pitch.energy[begin:end]
        sound = energy[energy > silence]
        letters = sum(map(str.isalpha, word.text)) + _EXTRA_LETTERS
        height = np.fmax.reduce(tones[begin:end], initial=-np.inf)
        row[:] = height, sound.mean() if len(sound) else silence, np.log(max(len(sound), 1) / letters)
    # A word without voice is as low as the lowest.
    table[np.isinf(table[:, 0]), 0] = table[np.isfinite(table[:, 0]), 0].min()
    spread = table.std(axis=0)
    # Where rounding is all that differs, nothing does.
    scores = (table - table.mean(axis=0)) / np.where(spread > 1e-6, spread, np.inf)
    return np.asarray(scores, np.float32)


def prominence(pitch: Pitch, words: Sequence[Word]) -> list[float] | None:
    """How far the voice lifts each word above the others of its fragment: the mean of its `word_cues`.

    The composite of Suni, Šimko, Aalto & Vainio (2017, Computer Speech & Language 45, 123-136), over words instead of
    frames and without wavelets.

    Returns:
        A score per word, 0 on average; None where nothing can be compared.
    """
    cues = word_cues(pitch, words)
    return None if cues is None else [float(score) for score in cues.mean(axis=1)]


def emphasised(words: Sequence[Word]) -> tuple[int, ...]:
    """The indices of the words that stand out by their prominence."""
    return tuple(
        index for index, word in enumerate(words) if word.prominence is not None and word.prominence >= _EMPHASIS
    )


@cache
def _detector(threads: int) -> SwiftF0:
    from swift_f0 import SwiftF0  # here, because onnxruntime takes a second to load

    # Threads that wait by spinning would take the CPU from others.
    return SwiftF0(threads, spin=False)


def _check(samples: npt.NDArray[np.generic]) -> None:
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioError(
            f"samples must be a 1-D float32 array at 16 kHz, found {samples.dtype} of shape {samples.shape}; average "
            "its channels, scale and convert it first"
        )
    if not len(samples):
        raise AudioError("the array of samples is empty; there is no voice to measure")
    finite = np.isfinite(samples)
    if not finite.all():
        raise AudioError(
            f"the array of samples holds NaN or an infinite value at {int(finite.argmin()) / SAMPLE_RATE:.3f} s; "
            "repair or leave it out"
        )


def _at_full_scale(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """The samples with a peak of 1; None where all is silence."""
    peak = np.abs(centred).max()
    return None if peak < _SILENCE_PEAK else centred / peak


def _energy(samples: npt.NDArray[np.float64]) -> Floats:
    """Mean square of the hop before and the hop after each frame's centre, dB [E]; silence lies around the samples."""
    count = -(-len(samples) // _HOP)
    hops = np.pad(samples, (_HOP, count * _HOP - len(samples))).reshape(count + 1, _HOP)
    power = np.square(hops).mean(axis=1)
    mean = (power[:-1] + power[1:]) / 2
    return np.asarray(10 * np.log10(np.maximum(mean, 10 ** (_ENERGY_FLOOR / 10))), np.float32)


def _nuclei(pitch: Pitch, silence: float) -> npt.NDArray[np.intp]:
    """The frames of the syllables' nuclei, given the dB under which all is silence."""
    from scipy.signal import find_peaks  # half a second of imports, which is paid by who asks for it

    # Silence around the fragment, so that a peak at its edge is one.
    padded = np.pad(pitch.energy, 1, constant_values=_ENERGY_FLOOR)
    peaks = find_peaks(padded, height=silence, prominence=_MIN_DIP)[0] - 1
    return np.asarray(peaks[pitch.voiced[peaks]])


def _final_lengthening(energy: Floats, nuclei: npt.NDArray[np.intp], first: int, after: int) -> float | None:
    """Duration of the last syllable over the median one of the others; syllables meet at the dip between nuclei."""
    if len(nuclei) < 2:
        return None
    dips = [left + int(energy[left:right].argmin()) for left, right in pairwise(nuclei)]
    durations = np.diff([first, *dips, after])
    return float(durations[-1] / np.median(durations[:-1]))


def _end(count: int, share: float) -> int:
    """Where the last ``share`` of ``count`` frames begins."""
    return count - max(1, round(share * count))


def _final_step(values: npt.NDArray[np.float64]) -> float:
    """Mean of the end minus mean of the rest."""
    end = _end(len(values), _END)
    return float(values[end:].mean() - values[:end].mean())


def _slope(times: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    """Of the least-squares line, per second."""
    return float(np.polyfit(times - times.mean(), values, 1)[0])
