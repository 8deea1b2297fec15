"""The transcriber as the server asks it: several recordings with one wish."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from copy import copy
from dataclasses import replace

from asr.audio import SAMPLE_RATE
from asr.errors import AsrError
from asr.inference.clips import End
from asr.inference.stitch import stitched
from asr.inference.transcriber import Transcriber
from asr.inference.windows import WindowOptions
from asr.server.queue import Samples, Wish
from asr.transcript import Transcript

_PADDED = 30.0


class Hearing:
    """Hears with one model, whatever the wish.

    Args:
        transcriber: The model, and how it searches where a wish says nothing.
    """

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    def __call__(self, several: Sequence[Samples], wish: Wish) -> Generator[Transcript | AsrError, None, None]:
        """Hear several recordings, samples [N] each; results come in their order.

        Raises:
            ConfigError: The language or the dialect is not known, or they do not go together.
        """
        # The weights are the same.
        transcriber = copy(self._transcriber)
        transcriber.options = replace(transcriber.options, prompt=wish.prompt or transcriber.options.prompt)
        transcriber.words = transcriber.words or wish.words
        if wish.cut:
            transcriber.speech = None
        return transcriber.transcribe_many(several, language=wish.language, dialect=wish.dialect)

    @property
    def windows(self) -> WindowOptions:
        """How a recording is cut for the model."""
        return self._transcriber.window_options

    def joined(self, wish: Wish, duration: float, parts: Sequence[tuple[float, Transcript]]) -> Transcript:
        """One transcript of a recording's parts, each with its start.

        Args:
            wish: How they were heard.
            duration: Of the recording, seconds.
            parts: In order of time.
        """
        dialect = self._transcriber.heads.get("dialect")
        end = End("", duration, wish.language, wish.dialect)
        return stitched(end, parts, None if dialect is None else dialect.threshold)

    def check(self, wish: Wish) -> None:
        """Say now what is wrong with a wish.

        Raises:
            ConfigError: The language or the dialect is not known, or they do not go together.
        """
        self((), wish).close()

    def window(self, samples: int) -> float:
        """Seconds of encoder window that so many samples take."""
        info = self._transcriber.checkpoint.info
        return _PADDED if info.window == "padded" else samples / SAMPLE_RATE + info.margin
