"""Hears the same fragments with a checkpoint and with what was made of it: an export that differs is worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from asr.audio import load_audio
from asr.errors import AsrError
from asr.export.runtimes import MAX_TOKENS, Hear
from asr.fragment import Fragment
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.metrics import ErrorCounts, nearest_errors, word_errors
from asr.model.checkpoint import Checkpoint
from asr.model.features import MAX_SAMPLES
from asr.model.network import DialectWhisper
from asr.text import get_normalizer


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a checkpoint and its export were heard.

    Attributes:
        runtime: What heard the export.
        fragments: How many were heard.
        ours: Word errors of this project's torch engine on the checkpoint.
        theirs: Word errors of the runtime on the export.
        between: The runtime's words against ours.
    """

    runtime: str
    fragments: int
    ours: ErrorCounts
    theirs: ErrorCounts
    between: ErrorCounts

    @property
    def difference(self) -> float:
        """The export's WER minus the checkpoint's, as a share."""
        words = self.ours.reference
        return (self.theirs.errors - self.ours.errors) / words

    def __str__(self) -> str:
        """A sentence with all of it."""
        return (
            f"WER {_percent(self.ours)} as a checkpoint, {_percent(self.theirs)} exported, heard by {self.runtime}: "
            f"{100 * self.difference:+.2f} points; {self.between.errors} words of {self.between.reference} are heard "
            f"otherwise ({self.fragments} fragments, {self.ours.reference} words)"
        )


def compare(
    checkpoint: Checkpoint,
    hear: Hear,
    fragments: Iterable[Fragment],
    *,
    runtime: str,
    own_window: bool = False,
    max_tokens: int = MAX_TOKENS,
    heard: Callable[[], object] = lambda: None,
) -> Comparison:
    """Transcribe fragments with the checkpoint and with the export, by the same search, and count both's errors.

    Foreign runtimes hear in a window of 30 s, whatever a checkpoint was trained for; so does the checkpoint then, and
    without what stands beside the text. The window is filled with silence before the runtime has it: faster-whisper by
    itself fills it with features that no silence has, and hears many words otherwise, of any export.

    Args:
        checkpoint: What was exported.
        hear: The runtime with the export.
        fragments: Of at most 30 s each.
        runtime: Its name.
        own_window: Whether it hears in the window that the checkpoint was trained for, as our own engine does.
        max_tokens: Most tokens of a fragment, as the runtime has it.
        heard: Called after every fragment.

    Raises:
        AsrError: A fragment cannot be heard, or they hold no words to compare.
    """
    if not own_window:
        checkpoint = Checkpoint(DialectWhisper(checkpoint.model.whisper, "padded"), checkpoint.info)
    transcriber = Transcriber(checkpoint, options=DecodeOptions(tag="never", max_tokens=max_tokens))
    count, ours, theirs, between = 0, ErrorCounts(), ErrorCounts(), ErrorCounts()
    for fragment in fragments:
        text = transcriber.transcribe(fragment).text
        samples = load_audio(fragment.audio, fragment.start, fragment.duration)
        silence = 0 if own_window else MAX_SAMPLES - len(samples)
        other = hear(np.pad(samples, (0, silence)), fragment.language)
        normalize = get_normalizer(fragment.language, fragment.dialect)
        expected = normalize(fragment.text)
        ours += nearest_errors(expected, normalize.renderings(text))[0]
        theirs += nearest_errors(expected, normalize.renderings(other))[0]
        between += word_errors(normalize(text), normalize(other))
        count += 1
        heard()
    if not ours.reference:
        raise AsrError(
            f"the check has no words to compare ({count} fragments); give it fragments with what is said in them"
        )
    return Comparison(runtime, count, ours, theirs, between)


def _percent(counts: ErrorCounts) -> str:
    return f"{100 * (counts.rate or 0.0):.2f} %"
