"""What the `Transcriber` takes, loaded: fragments whole, recordings in windows, as clips of at most 30 s.

A fragment was cut by a person and is heard as it is. In a recording, an array of samples, or a fragment that is longer
than a model hears at once, speech is looked for first.

Shapes: N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asr.audio import BLOCK_SECONDS, SAMPLE_RATE, Samples, load_audio, probe, stream_audio
from asr.errors import AsrError, AudioError, ManifestError
from asr.fragment import Fragment
from asr.inference.speech import SpeechOptions
from asr.inference.windows import WindowOptions, windows
from asr.model.features import MAX_SAMPLES
from asr.prosody import CONTOUR

# What can be transcribed: a recording's path, a fragment, or mono samples at 16 kHz.
Audio = str | Path | Fragment | Samples

_MAX_SECONDS = MAX_SAMPLES // SAMPLE_RATE
# The contour of a clip that no head hears.
_UNHEARD = np.full(CONTOUR, np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class Clip:
    """An item, or a window of it, loaded.

    Attributes:
        number: The item's place in the stream, from 0.
        id: The fragment's id, or the file name of a recording; empty for samples.
        samples: Float32 [N], mono at 16 kHz.
        language: Whisper's code; None is to be detected.
        dialect: BCP 47 tag, where given.
        start: Seconds from the item's start.
        whole: Whether it is all of the item, in which no speech was looked for.
        contour: Of `asr.prosody.final_contour`, where heads ask for it.
    """

    number: int
    id: str
    samples: Samples
    language: str | None
    dialect: str | None
    start: float = 0.0
    whole: bool = True
    contour: Samples = field(default_factory=lambda: _UNHEARD)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class End:
    """Follows the last clip of an item.

    Attributes:
        id: As the clips have it.
        duration: Of the item, seconds.
        language: As it was given.
        dialect: As it was given.
    """

    id: str
    duration: float
    language: str | None
    dialect: str | None


def read_clips(
    number: int,
    item: Audio | AsrError,
    language: str | None,
    dialect: str | None,
    known: Callable[[str], bool],
    options: WindowOptions,
    speech: SpeechOptions | None,
) -> Iterator[Clip | End]:
    """Load one item: yield a clip for each of its windows, or one of it all, and then its end.

    Args:
        number: Its place in the stream.
        item: What is to be heard, or the error that is in its place, which is raised.
        language: Of all items; by default the fragment's own.
        dialect: Of all items; by default the fragment's own.
        known: Whether the model knows a language.
        options: How long windows are.
        speech: What counts as speech; None looks for none, and refuses what is longer than a model hears at once.

    Raises:
        AsrError: It cannot be read, or is no speech that the model can hear; also after some clips.
    """
    if isinstance(item, AsrError):
        raise item
    name = ""
    if isinstance(item, Fragment):
        name, dialect, language = item.id, dialect or item.dialect, language or item.language
        if not known(language):
            raise ManifestError(
                f"fragment {item.id!r} is in {language!r}, which the model does not know; give the language it is "
                "to be heard as, or take a model that knows it"
            )
    elif not isinstance(item, np.ndarray):
        # A file's name may be bytes that are no UTF-8; a transcript must be writable.
        name = Path(item).name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    total = 0

    def counted(blocks: Iterable[Samples]) -> Iterator[Samples]:
        nonlocal total
        for block in blocks:
            total += len(block)
            yield block

    cut = isinstance(item, Fragment) and not (speech and speech.fragments)
    if speech is None or (cut and _seconds(item) * SAMPLE_RATE < MAX_SAMPLES + 0.5):
        samples = _whole(item)
        total = len(samples)
        yield Clip(number, name, samples, language, dialect)
    else:
        for window in windows(counted(_blocks(item)), options, speech):
            yield Clip(number, name, window.samples, language, dialect, window.start, whole=False)
    yield End(name, total / SAMPLE_RATE, language, dialect)


def _seconds(item: Audio) -> float:
    """The length of an item, as its header or its manifest has it."""
    if isinstance(item, np.ndarray):
        return len(item) / SAMPLE_RATE
    if not isinstance(item, Fragment):
        return probe(item).duration
    return probe(item.audio).duration - item.start if item.duration is None else item.duration


def _whole(item: Audio) -> Samples:
    """Load an item at once, unless it is too long, which its header tells."""
    if isinstance(item, np.ndarray):
        samples, what = _checked(item), "the array of samples"
    else:
        path, start, duration = (
            (item.audio, item.start, item.duration) if isinstance(item, Fragment) else (item, 0.0, None)
        )
        what = str(path)
        if round((seconds := _seconds(item)) * SAMPLE_RATE) > MAX_SAMPLES:
            raise _too_long(what, seconds)
        try:
            samples = load_audio(path, start, duration)
        except OSError as error:  # while it is being read: a share that went away, say
            raise AudioError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(samples) > MAX_SAMPLES:
        raise _too_long(what, len(samples) / SAMPLE_RATE)
    return samples


def _blocks(item: Audio) -> Iterator[Samples]:
    """Load an item of any length, block by block."""
    if isinstance(item, np.ndarray):
        samples, size = _checked(item), round(BLOCK_SECONDS * SAMPLE_RATE)
        yield from (samples[first : first + size] for first in range(0, len(samples), size))
        return
    path, start, duration = (item.audio, item.start, item.duration) if isinstance(item, Fragment) else (item, 0.0, None)
    try:
        yield from stream_audio(path, start, duration)
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror or error}") from error


def _checked(samples: npt.NDArray[np.generic]) -> Samples:
    """Refuse samples that are no finite float32 [N]."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioError(
            f"samples must be a 1-D float32 array in -1 to 1 at 16 kHz, found {samples.dtype} of shape "
            f"{samples.shape}; average its channels, scale and convert it first"
        )
    if not len(samples):
        raise AudioError("the array of samples is empty; there is nothing to hear")
    finite = np.isfinite(samples)
    if not finite.all():
        raise AudioError(
            f"the array of samples holds NaN or an infinite value at {int(finite.argmin()) / SAMPLE_RATE:.3f} s; "
            "repair or leave it out"
        )
    return samples.astype(np.float32, copy=False)


def _too_long(what: str, seconds: float) -> AudioError:
    return AudioError(
        f"{what} lasts {seconds:.2f} s, and Whisper hears {_MAX_SECONDS} s at once; cut it into fragments of at most "
        f"{_MAX_SECONDS} s, or let speech be looked for"
    )
