"""Where somebody speaks: silero-vad's probability of every 32 ms, and the stretches of speech in them.

The network comes with the package ``silero-vad`` and runs in onnxruntime, on one thread; its state goes from block to
block, so that a stream gives the same probabilities however it is cut. `SpeechDetector` hears a stream live;
`asr.inference.windows` cuts recordings with it.

Shapes: N samples, T frames of 32 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from asr.audio import SAMPLE_RATE, Samples
from asr.errors import ConfigError, WeightsError

# Samples that one probability is of.
FRAME = 512
_FRAMES_PER_SECOND = SAMPLE_RATE / FRAME
# Samples before them that the network sees too.
_CONTEXT = 64
# The network for any number of frames at once, in the wheel.
_NETWORK = "data/silero_vad_16k_sequence.onnx"
# Frames given to it at once: a quarter of a minute.
_MOST_FRAMES = 512


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What counts as speech; all but the probabilities in seconds.

    Attributes:
        onset: Probability from which on somebody speaks.
        offset: Probability under which nobody does any more.
        min_speech: What is shorter is no speech.
        min_silence: A pause that is shorter is part of the speech.
        padding: What is taken for speech before its beginning and after its end: soft sounds.
        fragments: Whether speech is looked for in fragments too, as if they were recordings.

    Raises:
        ConfigError: The offset is above the onset, one of them is no probability, a length is negative, or the padding
            is longer than the silence that it lies in.
    """

    onset: float = 0.5
    offset: float = 0.35
    min_speech: float = 0.1
    min_silence: float = 0.25
    padding: float = 0.2
    fragments: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.offset <= self.onset < 1:
            raise ConfigError(
                f"speech needs 0 < offset <= onset < 1, found offset {self.offset} and onset {self.onset}"
            )
        for name in ("min_speech", "min_silence", "padding"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be a number of seconds, 0 or more, found {value}")
        if self.padding > self.min_silence:
            raise ConfigError(
                f"padding must be at most min_silence, in which it lies; found {self.padding} and {self.min_silence}"
            )


@dataclass(frozen=True, slots=True)
class Edge:
    """Where speech begins or ends.

    Attributes:
        kind: Which of the two.
        time: Seconds from the start of the stream, padding included.
    """

    kind: Literal["begin", "end"]
    time: float


class SpeechProbabilities:
    """The probability of speech in every frame of a stream, as it comes."""

    def __init__(self) -> None:
        self._network = _network()
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        # What the next frame begins with: its context, and the samples that make no frame yet.
        self._rest = np.zeros(_CONTEXT, np.float32)

    def hear(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Take samples [N] of any number, and return the probabilities [T] of the frames that they complete."""
        found = [np.zeros(0, np.float32)]
        # As many as make the most frames at once: a long block is not copied as a whole.
        size = _MOST_FRAMES * FRAME
        for first in range(0, len(samples), size):
            self._rest = np.concatenate((self._rest, samples[first : first + size]))
            count = (len(self._rest) - _CONTEXT) // FRAME
            if count:
                frames = np.lib.stride_tricks.sliding_window_view(self._rest, _CONTEXT + FRAME)[::FRAME][:count]
                found.append(self._ask(frames))
                self._rest = self._rest[count * FRAME :]
        return np.concatenate(found)

    def finish(self) -> npt.NDArray[np.float32]:
        """Return the probability of the last frame, filled up with silence; none [0] if the frames came out even."""
        missing = (_CONTEXT - len(self._rest)) % FRAME
        return self.hear(np.zeros(missing, np.float32))

    def _ask(self, frames: Samples) -> npt.NDArray[np.float32]:
        given = {"input": np.ascontiguousarray(frames), "h": self._hidden, "c": self._cell}
        found, self._hidden, self._cell = self._network.run(["speech_probs", "hn", "cn"], given)
        return np.asarray(found, np.float32)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where speech begins or ends, on the frames and without padding.

    Attributes:
        begins: Or else it ends.
        frame: The first with speech, or the first without.
    """

    begins: bool
    frame: int


class Stretches:
    """Tells the probabilities of a stream into stretches of speech, whatever the number that comes at once.

    Args:
        options: What counts as speech.

    Attributes:
        frame: How many frames have been told.
        begin: First frame of the speech that goes on, or that may turn out to be speech; None where nobody speaks.
        end: The frame after the last one of that speech, as far as is known.
    """

    def __init__(self, options: SpeechOptions) -> None:
        self.options = options
        self._min_speech = max(1, round(options.min_speech * _FRAMES_PER_SECOND))
        self._min_silence = max(1, round(options.min_silence * _FRAMES_PER_SECOND))
        self.frame = 0
        self.begin: int | None = None
        self.end = 0
        self._told = False

    def step(self, probability: float) -> Turn | None:
        """Take one more frame; return what it decides, which is always about an earlier frame."""
        frame = self.frame
        self.frame += 1
        if self.begin is None:
            if probability >= self.options.onset:
                self.begin, self.end, self._told = frame, frame + 1, False
            else:
                return None
        # Between the thresholds it goes on, if it did; once interrupted, it takes the onset to go on.
        elif probability >= (self.options.offset if self.end == frame else self.options.onset):
            self.end = frame + 1
        if not self._told and self.end - self.begin >= self._min_speech:
            self._told = True
            return Turn(True, self.begin)
        return self.finish() if self.frame - self.end >= self._min_silence else None

    def finish(self) -> Turn | None:
        """End what goes on, as at the end of the stream."""
        turn = Turn(False, self.end) if self.begin is not None and self._told else None
        self.begin = None
        return turn


class SpeechDetector:
    """Tells when somebody begins and ends to speak in a live stream.

    A beginning is told ``min_speech`` after it, an end ``min_silence`` after it; with the padding taken off and added,
    no two stretches overlap.

    Args:
        options: What counts as speech.

    Attributes:
        speaking: Whether a beginning was told and its end not yet.
    """

    def __init__(self, options: SpeechOptions | None = None) -> None:
        self._probabilities = SpeechProbabilities()
        self._stretches = Stretches(options or SpeechOptions())
        self._padding = self._stretches.options.padding
        self._ended = 0.0
        self._length = 0
        self.speaking = False

    def hear(self, samples: Samples) -> list[Edge]:
        """Take the samples [N] that come next, float32 at 16 kHz, and return what they decide."""
        self._length += len(samples)
        turns = [self._stretches.step(float(chance)) for chance in self._probabilities.hear(samples)]
        return [self._edge(turn) for turn in turns if turn is not None]

    def finish(self) -> list[Edge]:
        """End the stream, and return what that decides."""
        turns = [self._stretches.step(float(chance)) for chance in self._probabilities.finish()]
        turns.append(self._stretches.finish())
        return [self._edge(turn) for turn in turns if turn is not None]

    def _edge(self, turn: Turn) -> Edge:
        time = turn.frame * FRAME / SAMPLE_RATE
        self.speaking = turn.begins
        if turn.begins:
            return Edge("begin", max(self._ended, time - self._padding))
        self._ended = min(time + self._padding, self._length / SAMPLE_RATE)
        return Edge("end", self._ended)


@cache
def _network() -> Any:
    """The network, loaded once; one session serves all threads.

    Raises:
        WeightsError: The package that brings it is not there.
    """
    # Not imported: the package would import torch.
    package = find_spec("silero_vad")
    path = None if package is None or package.origin is None else Path(package.origin).parent / _NETWORK
    if path is None or not path.is_file():
        raise WeightsError("speech detection needs the package silero-vad, version 6.2.2 or newer; install it with pip")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
