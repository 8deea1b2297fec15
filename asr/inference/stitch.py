"""What was heard as transcripts: each clip's, and those of a recording's windows joined, with its own times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from asr.audio import SAMPLE_RATE
from asr.errors import AsrError
from asr.expressions import Lexicon
from asr.inference.clips import Clip, End
from asr.inference.engine import Decoded
from asr.inference.heads import Answer
from asr.inference.punctuation import punctuated
from asr.model.heads import HEAD_NAMES, HeadName
from asr.prosody import emphasised
from asr.transcript import UNKNOWN, Punctuation, Segment, Transcript, Word


@dataclass(slots=True)
class _Item:
    """What is known of one item: its clips that were heard, how many are still to be, and its end if it was read."""

    heard: list[tuple[Clip, Transcript]] = field(default_factory=list)
    waiting: int = 0
    end: End | AsrError | None = None


class Assembly:
    """Puts the clips of many items, heard in any order, together to one result for each item.

    Args:
        threshold: Of the dialect head; None without one.
    """

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._items: dict[int, _Item] = {}

    def expect(self, clip: Clip) -> None:
        """Note a clip that is going to be heard."""
        self._items.setdefault(clip.number, _Item()).waiting += 1

    def end(self, number: int, end: End | AsrError) -> Iterator[tuple[int, Transcript | AsrError]]:
        """Note that an item has no further clips, and yield its number and result if all are heard.

        Args:
            number: Of the item.
            end: Its end, or why it ended too early: an error is the whole item's.
        """
        self._items.setdefault(number, _Item()).end = end
        yield from self._finished(number)

    def add(self, heard: Iterable[tuple[Clip, Transcript]]) -> Iterator[tuple[int, Transcript | AsrError]]:
        """Take clips that were heard, and yield the numbers and results of the items that they complete."""
        for clip, transcript in heard:
            item = self._items[clip.number]
            item.waiting -= 1
            # Of the samples nothing is needed any more.
            item.heard.append((replace(clip, samples=clip.samples[:0].copy()), transcript))
            yield from self._finished(clip.number)

    def _finished(self, number: int) -> Iterator[tuple[int, Transcript | AsrError]]:
        item = self._items[number]
        if item.end is None or item.waiting:
            return
        del self._items[number]
        if isinstance(item.end, AsrError):
            yield number, item.end
        elif item.heard and item.heard[0][0].whole:
            yield number, item.heard[0][1]
        else:
            parts = sorted(((clip.start, transcript) for clip, transcript in item.heard), key=lambda part: part[0])
            yield number, stitched(item.end, parts, self._threshold)


def clip_transcript(
    clip: Clip,
    result: Decoded,
    steps: tuple[str, ...],
    told: dict[HeadName, Answer],
    punctuation: Punctuation | None,
    words: tuple[Word, ...],
    adapters: dict[str, float],
    lexicon: Lexicon | None,
) -> Transcript:
    """What was heard of one clip, as a transcript.

    Args:
        clip: That was heard.
        result: Its text.
        steps: The ways in which it was decoded again.
        told: What each head says.
        punctuation: The final mark, where the voice has a say in it.
        words: With their times, where they are wanted.
        adapters: How much of which was taken.
        lexicon: That serves the clip, if one does.
    """
    duration = len(clip.samples) / SAMPLE_RATE
    text = result.text
    if punctuation is not None:
        question = punctuation.mark == "?"
        text = punctuated(text, result.language, question)
        if words:
            last = replace(words[-1], text=punctuated(words[-1].text, result.language, question))
            words = (*words[:-1], last)
    standard = None if lexicon is None else lexicon.standardise(text)
    dialect, intonation, tune = (told.get(name) for name in HEAD_NAMES)
    segment = Segment(
        start=0.0,
        end=duration,
        text=text,
        avg_logprob=result.avg_logprob,
        no_speech_prob=result.no_speech_prob,
        compression_ratio=result.compression_ratio,
        text_standard=standard,
        intonation=None if intonation is None else intonation.label,
        intonation_scores={} if intonation is None else intonation.scores,
        tune=None if tune is None else tune.label,
        punctuation=punctuation,
        fallbacks=steps,
        hypotheses=result.hypotheses,
    )
    return Transcript(
        id=clip.id,
        text=text,
        language=result.language,
        dialect=clip.dialect or (None if dialect is None else dialect.label),
        duration=duration,
        segments=(segment,) if text else (),
        expressions=() if lexicon is None else lexicon.find(text),
        text_standard=standard,
        dialect_scores={} if dialect is None else dialect.scores,
        intonation=None if intonation is None else intonation.label,
        intonation_scores={} if intonation is None else intonation.scores,
        tune=None if tune is None else tune.label,
        tune_scores={} if tune is None else tune.scores,
        punctuation=punctuation,
        words=words,
        emphasis=emphasised(words),
        fallbacks=dict.fromkeys(steps, 1),
        adapters=adapters,
    )


def stitched(end: End, parts: Sequence[tuple[float, Transcript]], threshold: float | None) -> Transcript:
    """Make one transcript of those of a recording's windows.

    Segments and words keep what was told of them. Of one dialect in a recording every window is a witness: their scores
    are averaged by length, and the most probable dialect is told if it reaches the head's threshold.

    Args:
        end: What is known of the recording. Where nobody speaks, its language is the given one, or empty.
        parts: The start of each window, in seconds from the recording's, and its transcript; in order of time.
        threshold: Of the dialect head; None without one.
    """
    fallbacks: Counter[str] = Counter()
    for _, part in parts:
        fallbacks.update(part.fallbacks)
    scores = _means([(part.duration, part.dialect_scores) for _, part in parts if part.dialect_scores])
    heard = None
    if threshold is not None:
        likeliest = max(scores, key=lambda label: scores[label], default=UNKNOWN)
        heard = likeliest if scores.get(likeliest, 0.0) >= threshold else UNKNOWN
    texts = [part.text for _, part in parts if part.segments]
    ends = [*(start for start, _ in parts[1:]), end.duration]
    whole = Transcript(
        id=end.id,
        text=" ".join(texts),
        language=parts[0][1].language if parts else end.language or "",
        dialect=end.dialect or heard,
        duration=end.duration,
        segments=tuple(
            # What is rounded must not reach into the next window.
            replace(segment, start=start + segment.start, end=min(start + segment.end, following))
            for (start, part), following in zip(parts, ends, strict=False)
            for segment in part.segments
        ),
        dialect_scores=scores,
        words=tuple(word.moved(start) for start, part in parts for word in part.words),
        fallbacks=dict(fallbacks),
        adapters=_means([(part.duration, part.adapters) for _, part in parts]),
    )
    if len(parts) == 1:
        # What is told of a sentence is told of the whole.
        ((_, part),) = parts
        return replace(
            whole,
            expressions=part.expressions,
            text_standard=part.text_standard,
            intonation=part.intonation,
            intonation_scores=part.intonation_scores,
            tune=part.tune,
            tune_scores=part.tune_scores,
            punctuation=part.punctuation,
            emphasis=part.emphasis,
        )
    expressions, emphasis, standard = [], [], []
    tokens = words = 0
    for _, part in parts:
        expressions += [
            one if one.start_word is None else one.model_copy(update={"start_word": one.start_word + tokens})
            for one in part.expressions
        ]
        emphasis += [index + words for index in part.emphasis]
        if part.text_standard:
            standard.append(part.text_standard)
        tokens, words = tokens + len(part.text.split()), words + len(part.words)
    # A lexicon serves all windows or none.
    served = any(part.text_standard is not None for _, part in parts)
    return replace(
        whole,
        expressions=tuple(expressions),
        text_standard=" ".join(standard) if served else None,
        emphasis=tuple(emphasis),
    )


def _means(parts: Sequence[tuple[float, dict[str, float]]]) -> dict[str, float]:
    """Figures by name, averaged by the length of what each was heard in."""
    total = sum(duration for duration, _ in parts)
    names = dict.fromkeys(name for _, figures in parts for name in figures)
    return {name: sum(duration * figures.get(name, 0.0) for duration, figures in parts) / total for name in names}
