"""The course of the voice as a picture: pitch over time, the words under it, the emphasised ones marked.

Nothing in it tells the height of the voice, which helps to tell who is speaking: pitch is drawn in semitones around
its own median, and behind it lies a spectrogram so coarse that no harmonic can be counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
from librosa.display import specshow
from matplotlib.figure import Figure

from asr.audio import SAMPLE_RATE
from asr.errors import ConfigError
from asr.files import atomic_write
from asr.prosody import FRAME_RATE, Pitch, semitones
from asr.transcript import Word

FORMATS = ("png", "svg", "pdf")

# 5 ms hear a pulse of the voice, not its harmonics, and the mean over a frame of 20 ms hides the pulses.
_WINDOW = SAMPLE_RATE // 200
_HOP = SAMPLE_RATE // FRAME_RATE
_BANDS = 32
# Semitones that are always shown around the median, so that a level voice looks level.
_SPAN = 8.0
_INCHES_PER_SECOND, _MIN_INCHES, _HEIGHT = 1.6, 6.4, 3.6
_PITCH, _EMPHASIS = "white", "gold"


def pitch_picture(
    samples: npt.NDArray[np.float32], pitch: Pitch, words: Sequence[Word], emphasis: Collection[int], path: str | Path
) -> None:
    """Draw a fragment's pitch with its words.

    Args:
        samples: Float32 [N], mono at 16 kHz.
        pitch: Of the same samples.
        words: With their times from the start of the samples.
        emphasis: Indices of the emphasised words.
        path: The file to write; its suffix, one of FORMATS, says how.

    Raises:
        ConfigError: There is no such format.
    """
    kind = check_format(path)
    seconds = len(samples) / SAMPLE_RATE
    # A figure of its own, not pyplot's: no window, and no state that others share.
    figure = Figure(figsize=(max(_MIN_INCHES, _INCHES_PER_SECOND * seconds), _HEIGHT), layout="constrained")
    behind = figure.add_subplot()
    specshow(_spectrogram(samples), sr=SAMPLE_RATE, hop_length=_HOP, x_axis="time", cmap="magma", ax=behind)
    front = behind.twinx()
    tones = semitones(pitch)
    times = np.arange(len(tones)) / FRAME_RATE
    # Dots, because a line would not show a single voiced frame.
    front.plot(times, tones, ".", color=_PITCH, markersize=4)
    highest = max(_SPAN, float(np.nanmax(np.abs(tones), initial=0.0)) + 1)
    front.set(xlim=(0, seconds), ylim=(-highest, highest), ylabel="semitones around the median")
    front.yaxis.tick_left()
    front.yaxis.set_label_position("left")
    behind.set(xlabel="seconds", yticks=[])
    behind.tick_params(axis="x", pad=32)
    behind.set_xticks(np.arange(0, seconds, 0.5 if seconds < 5 else 1))
    for number, word in enumerate(words):
        marked = number in emphasis
        front.axvline(word.start, color=_PITCH, linewidth=0.5, alpha=0.6)
        if marked:
            front.axvspan(word.start, word.end, color=_EMPHASIS, alpha=0.3, linewidth=0)
        # By turns in two lines, so that short words have room.
        front.annotate(
            word.text,
            ((word.start + word.end) / 2, 0),
            (0, -12 - 12 * (number % 2)),
            xycoords=front.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold" if marked else "normal",
            parse_math=False,
        )
    with atomic_write(path, "wb") as handle:
        figure.savefig(handle, format=kind, dpi=150)


def check_format(path: str | Path) -> str:
    """Return the format that a picture's name says.

    Raises:
        ConfigError: It is none of FORMATS.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"a picture cannot be written as {Path(path).name!r}; end its name in .{', .'.join(FORMATS)}")
    return kind


def _spectrogram(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mel bands under the loudest, dB [bands, E]."""
    mel = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE, n_fft=512, win_length=_WINDOW, hop_length=_WINDOW, n_mels=_BANDS
    )
    frames = -(-len(samples) // _HOP)
    steps = _HOP // _WINDOW
    # As many steps as fill the frames: librosa makes one more, and the last frame may be cut short.
    mel = np.pad(mel, ((0, 0), (0, max(0, frames * steps - mel.shape[1]))))[:, : frames * steps]
    power = mel.reshape(len(mel), frames, steps).mean(axis=2)
    return np.asarray(librosa.power_to_db(power, ref=np.max), np.float32)
