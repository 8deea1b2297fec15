"""What the recogniser heard: segments with times, and what a lexicon says of the text; never annotation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from asr.fragment import Expression

# What a head answers when no label is probable enough.
UNKNOWN = "unknown"
# Seconds under which a dialect cannot be told reliably.
SHORT = 3.0


@dataclass(frozen=True, slots=True)
class Punctuation:
    """The final mark of a text, and what each source would have had it be.

    Attributes:
        mark: "?" for a question, "." for anything else, whatever the mark in ``text``.
        p_question: Probability of a question by words and voice together.
        p_words: The decoder's, of "?" against ".".
        p_voice: The intonation head's.
    """

    mark: str
    p_question: float
    p_words: float
    p_voice: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One of the texts that a beam search held likely.

    Attributes:
        text: As it was written, stripped; without the voice's say in the final mark.
        log_probability: Of all its tokens, end token included (natural log).
    """

    text: str
    log_probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of recognised speech.

    Attributes:
        start: Seconds from the start of the recording or fragment.
        end: Seconds from the start of the recording or fragment.
        text: What was heard, stripped.
        avg_logprob: Mean log-probability of the tokens, end token included (natural log).
        no_speech_prob: Probability of "no speech" read at the start-of-transcript position, 0 to 1.
        compression_ratio: UTF-8 length over its zlib length; above 2.4 the text is likely a loop.
        text_standard: ``text`` with its expressions in the standard language; None without a lexicon that serves it.
        intonation: Sentence type heard in the voice, or "unknown"; None without a head.
        intonation_scores: Probability of every sentence type; empty without a head, and where it cannot tell.
        tune: Its melody, or "unknown"; None without a head.
        punctuation: Where the final mark comes from; None where the intonation head cannot tell, or was not calibrated.
        fallbacks: In which other ways it was decoded again, see `asr.inference.fallback`; the last one gave the text.
        hypotheses: The n best different texts, the first is this one's; none where they were not asked for.
    """

    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    text_standard: str | None = None
    intonation: str | None = None
    intonation_scores: dict[str, float] = field(default_factory=dict)
    tune: str | None = None
    punctuation: Punctuation | None = None
    fallbacks: tuple[str, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another word that stands in a hypothesis in a word's place.

    Attributes:
        text: The word; empty where a hypothesis has none.
        share: Of the probability of all hypotheses together, 0 to 1, how much has it.
    """

    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word with its time.

    Attributes:
        text: As it stands in the transcript's ``text.split()``, or some characters in a language without spaces.
        start: Seconds from the start of the recording or fragment.
        end: Seconds from the start of the recording or fragment.
        probability: How likely it is right, 0 to 1: the mean probability of its tokens, calibrated by the checkpoint if
            it was taught that (`asr calibrate`).
        prominence: How far the voice lifts it above the others, see `asr.prosody.prominence`; None where that cannot
            be told.
        alternatives: What hypotheses have in its place, the likeliest first; none without hypotheses.
    """

    text: str
    start: float
    end: float
    probability: float
    prominence: float | None = None
    alternatives: tuple[Alternative, ...] = ()

    def moved(self, seconds: float) -> Word:
        """Return a copy so much later."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything the recogniser says about one recording or fragment.

    Attributes:
        id: The fragment's id, or the file name of a recording; empty for samples that came without one.
        text: All segments' text, joined by spaces; with ``punctuation`` a final mark is the one that words and voice
            make.
        language: Whisper's language code.
        dialect: BCP 47 tag: the one that was given, or else what the dialect head heard, which may be "unknown"; None
            where nothing was given and there is no such head.
        duration: Seconds of the recording or fragment.
        segments: In order of time; none where nothing was heard. A recording has one for each of its windows.
        expressions: The dialect's expressions in ``text``; none without a lexicon that serves it.
        text_standard: ``text`` with its expressions in the standard language; None without such a lexicon.
        dialect_scores: Probability of every dialect of the language, as the head heard it; empty without a head, and
            where it cannot tell: no word was heard, too little voice, or a language that it has not learnt. Of
            several windows it is the mean, by their length.
        intonation: Sentence type heard in the voice, or "unknown"; None without a head. This, the tune and the
            punctuation are a sentence's: where there are several segments, they have them.
        intonation_scores: Probability of every sentence type; empty likewise.
        tune: Its melody, or "unknown"; None without a head.
        tune_scores: Probability of every tune; empty likewise.
        punctuation: Where the final mark comes from; None where the intonation head cannot tell, or was not calibrated.
        words: In order of time; none where they were not asked for, or nothing was heard.
        emphasis: Indices of the words that stand out, in ``words``, from 0.
        fallbacks: How many windows were decoded again, by what was tried, see `asr.inference.fallback`.
        adapters: How much of which dialect's adapter it was heard with, 0 to 1; none where the base alone heard it. Of
            several windows it is the mean, by their length.
    """

    id: str
    text: str
    language: str
    dialect: str | None
    duration: float
    segments: tuple[Segment, ...]
    expressions: tuple[Expression, ...] = ()
    text_standard: str | None = None
    dialect_scores: dict[str, float] = field(default_factory=dict)
    intonation: str | None = None
    intonation_scores: dict[str, float] = field(default_factory=dict)
    tune: str | None = None
    tune_scores: dict[str, float] = field(default_factory=dict)
    punctuation: Punctuation | None = None
    words: tuple[Word, ...] = ()
    emphasis: tuple[int, ...] = ()
    fallbacks: dict[str, int] = field(default_factory=dict)
    adapters: dict[str, float] = field(default_factory=dict)

    @property
    def short(self) -> bool:
        """Whether it lasts under 3 s, where dialects cannot be told reliably."""
        return self.duration < SHORT

    @property
    def dialect_confidence(self) -> float | None:
        """Probability of ``dialect`` by the head; None where it says nothing about that one.

        Where the dialect is "unknown", it is that of the most probable one, and 0 where none can be told.
        """
        if self.dialect == UNKNOWN:
            return max(self.dialect_scores.values(), default=0.0)
        return self.dialect_scores.get(self.dialect or "")

    @property
    def p_question(self) -> float | None:
        """Probability that the voice asks; None without a head that knows questions, or where it cannot tell."""
        return self.intonation_scores.get("question")

    def utterances(self) -> tuple[Transcript, ...]:
        """Return one transcript for each segment, with times from its start: what was said in one breath.

        A transcript of one segment or none is its own only utterance.
        """
        if len(self.segments) < 2:
            return (self,)
        found = []
        first_word = first_token = 0
        for segment in self.segments:
            # Words have the letters of their segment, also in a language without spaces.
            last_word, letters = first_word, len("".join(segment.text.split()))
            while letters > 0 and last_word < len(self.words):
                letters -= len("".join(self.words[last_word].text.split()))
                last_word += 1
            words, last_token = self.words[first_word:last_word], first_token + len(segment.text.split())
            found.append(
                replace(
                    self,
                    text=segment.text,
                    duration=segment.end - segment.start,
                    segments=(replace(segment, start=0.0, end=segment.end - segment.start),),
                    expressions=tuple(
                        one.model_copy(update={"start_word": one.start_word - first_token})
                        for one in self.expressions
                        if one.start_word is not None and first_token <= one.start_word < last_token
                    ),
                    text_standard=segment.text_standard,
                    intonation=segment.intonation,
                    intonation_scores=segment.intonation_scores,
                    tune=segment.tune,
                    punctuation=segment.punctuation,
                    words=tuple(word.moved(-segment.start) for word in words),
                    emphasis=tuple(index - first_word for index in self.emphasis if first_word <= index < last_word),
                    fallbacks={name: segment.fallbacks.count(name) for name in segment.fallbacks},
                )
            )
            first_word, first_token = last_word, last_token
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        return asdict(self) | {
            "dialect_confidence": self.dialect_confidence,
            "p_question": self.p_question,
            "short": self.short,
            "expressions": [expression.model_dump() for expression in self.expressions],
        }
