"""Labels fragments with what a model hears: targets for teaching a window, and for replay, without transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

from asr.errors import AsrError
from asr.fragment import Fragment
from asr.inference.transcriber import Transcriber
from asr.metrics import is_runaway
from asr.transcript import Transcript


@dataclass(slots=True)
class LabelCounts:
    """What became of the fragments.

    Attributes:
        labelled: Fragments that were given on.
        runaway: Left out, because the output is a loop that nobody should learn.
        failed: Left out, because the line is broken or the fragment could not be transcribed.
    """

    labelled: int = 0
    runaway: int = 0
    failed: int = 0


def label_fragments(
    transcriber: Transcriber,
    fragments: Iterable[Fragment | AsrError],
    counts: LabelCounts,
    failures: list[AsrError] | None = None,
) -> Iterator[Fragment]:
    """Yield fragments whose ``text`` is what the model hears; everything else stays.

    Args:
        transcriber: The model that is listened to; a padded base model for teaching the tight window.
        fragments: A stream; an error in it (a broken line) counts as failed.
        counts: Counted up.
        failures: Receives the error of every fragment that failed.
    """
    kept, heard = tee(fragments)
    for fragment, transcript in zip(kept, transcriber.transcribe_many(heard), strict=True):
        if isinstance(fragment, Fragment) and isinstance(transcript, Transcript):
            if is_runaway(transcript.text):
                counts.runaway += 1
            else:
                counts.labelled += 1
                # What depends on the words of the annotation goes with them.
                yield fragment.replace(text=transcript.text, text_standard=None, words=(), expressions=(), emphasis=())
        else:
            counts.failed += 1
            if failures is not None and isinstance(transcript, AsrError):
                failures.append(transcript)
