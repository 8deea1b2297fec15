"""Recordings of any length as windows that a model hears at once: cut where nobody speaks, and never twice heard.

Stretches of speech are joined to windows, and speech that goes on for longer than a window is cut at its longest
silence. What is held in memory is a window and what may come into it, whatever the length of the recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr.audio import SAMPLE_RATE, Samples
from asr.errors import ConfigError
from asr.inference.speech import FRAME, SpeechOptions, SpeechProbabilities, Stretches

# By which the probability is averaged to find a silence in speech: a longer one has a lower mean, in its middle.
_SMOOTHING = np.bartlett(11)[1:-1] / np.bartlett(11).sum()


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How speech becomes windows.

    Attributes:
        longest: Most seconds of a window.
        pause: Stretches of speech are joined over pauses of at most so many seconds.

    Raises:
        ConfigError: A window is not from 2 to 30 s, or the pause is negative.
    """

    longest: float
    pause: float

    def __post_init__(self) -> None:
        if not 2 <= self.longest <= 30:
            raise ConfigError(f"a window's longest must be from 2 to 30 s, found {self.longest}")
        if not self.pause >= 0:
            raise ConfigError(f"the pause that is joined over must be 0 s or more, found {self.pause}")


# What a padded model hears costs 30 s, whatever it is, so as much as possible is put into them.
PADDED = WindowOptions(longest=30.0, pause=float("inf"))
# A tight one that was taught single fragments stops after one: it is given what is said in one breath.
BREATHS = WindowOptions(longest=15.0, pause=0.5)
# One that was taught joined fragments hears a sentence better beside the others.
JOINED = WindowOptions(longest=30.0, pause=3.0)


def options_for(kind: Literal["padded", "tight"], joined: bool) -> WindowOptions:
    """How recordings are cut for a model that hears in such a window, and was taught joined fragments or was not."""
    if kind == "padded":
        return PADDED
    return JOINED if joined else BREATHS


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a recording.

    Attributes:
        start: Seconds from the recording's start.
        samples: Float32 [N].
    """

    start: float
    samples: Samples


def windows(blocks: Iterable[Samples], options: WindowOptions, speech: SpeechOptions) -> Iterator[Window]:
    """Cut a recording into windows in which somebody speaks; they do not overlap, and come in order.

    Args:
        blocks: The recording, in blocks of any length.
        options: How long windows are.
        speech: What counts as speech.
    """
    probabilities = SpeechProbabilities()
    cutter = Cutter(options, speech)
    held, offset = np.zeros(0, np.float32), 0

    def window(begin: int, end: int) -> Window:
        # A copy, which does not keep the rest in memory.
        samples = held[begin * FRAME - offset : end * FRAME - offset].copy()
        return Window(begin * FRAME / SAMPLE_RATE, samples)

    for block in blocks:
        held = np.concatenate((held, block))
        for chance in probabilities.hear(block):
            for span in cutter.step(float(chance)):
                yield window(*span)
        needless = cutter.needed * FRAME - offset
        held, offset = held[needless:], offset + needless
    for chance in probabilities.finish():
        for span in cutter.step(float(chance)):
            yield window(*span)
    for span in cutter.finish():
        yield window(*span)


class Cutter:
    """Plans windows by the probability of speech in each frame; what it says does not depend on what comes later.

    All places are frames. A window is a pair: its first frame, and the one after its last.

    Args:
        options: How long windows are.
        speech: What counts as speech.
    """

    def __init__(self, options: WindowOptions, speech: SpeechOptions) -> None:
        second = SAMPLE_RATE / FRAME
        self._stretches = Stretches(speech)
        self._padding = round(speech.padding * second)
        self._longest = int(options.longest * second)
        self._pause = options.pause * second
        # Begin of the speech that goes on; what is joined so far and ended; end of the last window.
        self._begin: int | None = None
        self._joined: tuple[int, int] | None = None
        self._done = 0
        # Of the frames from `_first` on.
        self._chances: deque[float] = deque()
        self._first = 0

    @property
    def needed(self) -> int:
        """The first frame that a window to come may begin with."""
        begin = self._joined[0] if self._joined else self._begin
        if begin is None:
            begin = self._stretches.frame if self._stretches.begin is None else self._stretches.begin
        return max(self._done, begin - self._padding)

    def step(self, chance: float) -> Iterator[tuple[int, int]]:
        """Take the probability of one more frame, and yield the windows that it decides: to be iterated to the end."""
        self._chances.append(chance)
        turn = self._stretches.step(chance)
        if turn is not None and turn.begins:
            self._begin = turn.frame
        # With room for the padding at both ends.
        room = self._longest - 2 * self._padding
        while self._begin is not None and self._stretches.end - self._begin > room:
            yield from self._flush()
            cut = self._quietest(self._begin + room // 2, self._begin + room)
            yield self._window(self._begin, cut, 0)
            self._begin = cut
        if turn is not None and not turn.begins:
            yield from self._end(turn.frame)
        following = self._stretches.frame if self._stretches.begin is None else self._stretches.begin
        if self._joined and not self._fits(following, following):
            yield from self._flush()
        while self._first < self.needed:
            self._chances.popleft()
            self._first += 1

    def finish(self) -> Iterator[tuple[int, int]]:
        """Yield what is left at the end of the recording."""
        turn = self._stretches.finish()
        if turn is not None:
            yield from self._end(turn.frame)
        yield from self._flush()

    def _end(self, end: int) -> Iterator[tuple[int, int]]:
        """Join the speech that ends to what was there before, or begin anew with it."""
        assert self._begin is not None, "what ends has begun"
        if self._joined and self._fits(self._begin, end):
            self._joined = (self._joined[0], end)
        else:
            yield from self._flush()
            self._joined = (self._begin, end)
        self._begin = None

    def _fits(self, begin: int, end: int) -> bool:
        """Whether a stretch can be joined to what is there."""
        assert self._joined is not None
        room = self._longest - 2 * self._padding
        return begin - self._joined[1] <= self._pause and end - self._joined[0] <= room

    def _flush(self) -> Iterator[tuple[int, int]]:
        if self._joined:
            begin, end = self._joined
            self._joined = None
            yield self._window(begin, end, self._padding)

    def _window(self, begin: int, end: int, padding: int) -> tuple[int, int]:
        """Add the padding before, and so much after, where it is not yet in another window."""
        begin = max(self._done, begin - self._padding)
        # What follows may have begun within the padding.
        self._done = min(end + padding, self._stretches.frame)
        return begin, self._done

    def _quietest(self, low: int, high: int) -> int:
        """The middle of the longest silence between two frames."""
        chances = [self._chances[frame - self._first] for frame in range(low, high)]
        means = np.convolve(chances, _SMOOTHING, "valid")
        # The last of equals: fewer cuts.
        return high - len(_SMOOTHING) // 2 - 1 - int(means[::-1].argmin())
