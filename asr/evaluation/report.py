"""What an evaluation found: counts, rates with intervals and names, no text of anybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from asr.evaluation.intents import IntentScores
from asr.files import atomic_write
from asr.metrics import Change, ErrorCounts, Estimate

Target = Literal["text", "text_standard"]

# Of the JSON file; changes when a reader of the old one would misread the new one.
FORMAT_VERSION = 3


@dataclass(frozen=True, slots=True)
class SystemScore:
    """One system on one group of fragments.

    Attributes:
        words: Corpus word errors.
        characters: Corpus character errors, spaces included.
        wer: Word error rate, 0.1 for 10 %, with its interval over speakers.
        cer: Character error rate.
        runaways: Outputs that compress like a loop.
    """

    words: ErrorCounts
    characters: ErrorCounts
    wer: Estimate
    cer: Estimate
    runaways: int


@dataclass(frozen=True, slots=True)
class GroupScore:
    """Both systems on one group of fragments.

    Attributes:
        dimension: ``overall``, ``test_set``, ``language``, ``dialect``, ``gender``, ``age_band`` …
        group: Value of the dimension; None for the fragments that carry none.
        fragments: Fragments scored.
        speakers: Different speakers among them.
        without_speaker: Fragments whose speaker is not known; each is resampled on its own.
        audio_seconds: Of the fragments whose duration is known.
        system: The system's score.
        baseline: The baseline's score on the same fragments, if there is one.
        change: Of the WER, paired.
    """

    dimension: str
    group: str | None
    fragments: int
    speakers: int
    without_speaker: int
    audio_seconds: float
    system: SystemScore
    baseline: SystemScore | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class DialectGap:
    """The dialects heard worst and best.

    Attributes:
        worst: Dialect with the highest WER.
        worst_wer: Its WER.
        best: Dialect with the lowest WER.
        best_wer: Its WER.
    """

    worst: str
    worst_wer: float
    best: str
    best_wer: float

    @property
    def gap(self) -> float:
        """Worst minus best WER."""
        return self.worst_wer - self.best_wer


@dataclass(frozen=True, slots=True)
class WorstFragment:
    """A fragment to listen to.

    Attributes:
        id: The fragment's id.
        test_set: Its test set, if sets are named.
        errors: The system's word errors.
        words: Reference words.
        baseline_errors: The baseline's word errors, if there is one.
    """

    id: str
    test_set: str | None
    errors: int
    words: int
    baseline_errors: int | None


@dataclass(frozen=True, slots=True)
class TargetScores:
    """All figures against one target; the two targets are never mixed.

    Attributes:
        target: ``text`` is the verbatim transcript, ``text_standard`` its standard-language rendering.
        overall: All fragments that have the target: all their words count alike, whatever the language.
        groups: One per value of each dimension.
        worst_fragments: Those with most word errors first.
    """

    target: Target
    overall: GroupScore
    groups: tuple[GroupScore, ...]
    worst_fragments: tuple[WorstFragment, ...]

    def gap(self) -> DialectGap | None:
        """Return the system's gap between known dialects, or None when fewer than two have a WER."""
        return self._gap(lambda group: group.system)

    def baseline_gap(self) -> DialectGap | None:
        """Return the baseline's gap, likewise."""
        return self._gap(lambda group: group.baseline)

    def _gap(self, system: Callable[[GroupScore], SystemScore | None]) -> DialectGap | None:
        rates = [
            (found.wer.value, group.group)
            for group in self.groups
            if group.dimension == "dialect" and group.group and (found := system(group)) is not None
            if found.wer.value is not None
        ]
        if len(rates) < 2:
            return None
        (worst_wer, worst), (best_wer, best) = max(rates), min(rates)
        return DialectGap(worst, worst_wer, best, best_wer)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The fragments that the system was about as sure of.

    Attributes:
        fragments: How many fell into the bin.
        confidence: Mean probability of the most probable label; None where there is no fragment.
        right: Share of them in which that label is the right one.
    """

    fragments: int
    confidence: float | None
    right: Estimate


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far the probabilities of the most probable labels can be believed.

    Attributes:
        error: Expected calibration error, by `gap_estimate`.
        bins: All bins of equal width from 0 to 1, in order.
    """

    error: Estimate
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What is wrong when only the more confident answers are given.

    Attributes:
        threshold: Probability from which on the most probable label is answered.
        coverage: Share of the fragments that are then answered.
        risk: Share of wrong ones among them; its interval is at this threshold.
    """

    threshold: float
    coverage: float
    risk: Estimate


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Risk against coverage, whatever the head's own threshold.

    Attributes:
        area: Under the curve, over all coverages.
        covered: The largest coverage with at most 5 % wrong. Like ``area`` it is of the best threshold in hindsight.
        points: The curve, at about a tenth, two tenths … of the fragments; fewer where many are equally confident.
    """

    area: Estimate
    covered: Estimate
    points: tuple[RiskPoint, ...]


@dataclass(frozen=True, slots=True)
class QuestionScores:
    """How well questions were told from all else.

    Attributes:
        f1: Of the label "question" alone, where it was most probable.
        balanced_accuracy: Mean of the shares that are right among questions and among the others.
        auc: Area under the ROC curve of the probability of a question.
        false: Share of the other fragments in which a question is most probable.
        same_words: Share of pairs of the same words, asked and said otherwise, in which the question is the more
            probable one; see `asr.metrics.pairs.SameWords`. No value where there are no pairs.
        pairs: How many there are.
    """

    f1: Estimate
    balanced_accuracy: Estimate
    auc: Estimate
    false: Estimate
    same_words: Estimate
    pairs: int


@dataclass(frozen=True, slots=True)
class DialectScores:
    """How well a label was told in the fragments of one dialect.

    Attributes:
        dialect: As people labelled it.
        fragments: How many there are.
        right: Share in which the most probable label is the right one; where the label is the dialect, its recall.
        question: Of these fragments; None as in `LabelScores`.
    """

    dialect: str
    fragments: int
    right: Estimate
    question: QuestionScores | None


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How well the system told a label beside the text: dialect, intonation or tune.

    Attributes:
        name: Of the head, which is that of the fragment's field.
        fragments: Those that have a label, and an answer in their language.
        labels: Of these fragments, in order.
        f1: Macro-F1 of the most probable labels; one under the head's threshold counts as well.
        answered: Share of the fragments that were not "unknown".
        accuracy: Share of right ones among those answered; no value when none is.
        reliability: Of the most probable labels.
        reliability_before: Without the head's temperature; None where it has none.
        risk: Against coverage, likewise.
        confusion: Fragments by what they are (rows, as ``labels``) and what was most probable (columns, as ``labels``;
            the last one holds all other labels).
        question: Whether questions were told; None where the labels hold none, or nothing else.
        dialects: The same per dialect, of the fragments that have one, in order.
    """

    name: str
    fragments: int
    labels: tuple[str, ...]
    f1: Estimate
    answered: Estimate
    accuracy: Estimate
    reliability: Reliability
    reliability_before: Reliability | None
    risk: RiskCoverage
    confusion: tuple[tuple[int, ...], ...]
    question: QuestionScores | None
    dialects: tuple[DialectScores, ...]


@dataclass(frozen=True, slots=True)
class MarkScores:
    """How well the final marks of a system's texts tell questions from what is none, by the fragments' intonation.

    Attributes:
        fragments: Those with such a label and a text.
        f1: F1 of the question marks.
        false: Share of what is no question whose text ends in one.
    """

    fragments: int
    f1: Estimate
    false: Estimate


@dataclass(frozen=True, slots=True)
class Share:
    """A count among others.

    Attributes:
        part: Of these.
        whole: So many.
    """

    part: int
    whole: int


@dataclass(frozen=True, slots=True)
class Abilities:
    """What fragments one by one do not show of a system; less is better. None is what could not be measured.

    Attributes:
        long_recordings: Word errors in recordings of minutes that are joined from the fragments, of reference words.
        word_times: Words whose times are wrong, of those said and those told: what is missing to an F1 of 1. Only of
            fragments whose ``words`` are known.
        silence: Words that are written where nobody speaks, and speech is not looked for first; of seconds.
    """

    long_recordings: Share | None
    word_times: Share | None
    silence: Share | None


@dataclass(frozen=True, slots=True)
class Speed:
    """How long decoding took.

    Attributes:
        decode_seconds: Wall-clock seconds.
        real_time_factor: Decoding seconds per second of audio; None when the duration of a fragment is not known.
    """

    decode_seconds: float
    real_time_factor: float | None


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Everything one evaluation found.

    Attributes:
        system: Name of the system.
        baseline: Name of what it is compared with, if anything.
        normalizers: Language and the name of its normaliser, in order of language.
        fragments: Fragments scored.
        failed: Fragments that a system could not decode; they are in no figure of either.
        without_duration: Scored fragments whose duration is not known.
        targets: ``text`` and, where a fragment has one, ``text_standard``.
        labels: How well the system told dialect, intonation and tune: those that it has a head for and fragments have.
        marks: The system's final marks; None where no fragment is known as a question, or none as something else.
        baseline_marks: The baseline's, likewise.
        speed: The system's.
        baseline_speed: The baseline's.
        resamples: Draws behind each interval.
        seed: Of the draws.
        refused: Reason and number of the fragments that were not heard for want of consent.
        abilities: The system's; None where they were not asked for.
        baseline_abilities: The baseline's.
        intents: What the system, and then the baseline, leave of the understanding; none without an intent model.
        as_recordings: Whether fragments were heard as `asr transcribe` hears recordings, or once, as they were cut.
    """

    system: str
    baseline: str | None
    normalizers: tuple[tuple[str, str], ...]
    fragments: int
    failed: int
    without_duration: int
    targets: tuple[TargetScores, ...]
    labels: tuple[LabelScores, ...]
    marks: MarkScores | None
    baseline_marks: MarkScores | None
    speed: Speed | None
    baseline_speed: Speed | None
    resamples: int
    seed: int
    refused: tuple[tuple[str, int], ...] = ()
    intents: tuple[IntentScores, ...] = ()
    as_recordings: bool = False
    abilities: Abilities | None = None
    baseline_abilities: Abilities | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        data: dict[str, Any] = {"format_version": FORMAT_VERSION} | _plain(self)
        return data | {"normalizers": dict(self.normalizers), "refused": dict(self.refused)}

    def write(self, path: str | Path) -> None:
        """Write the report as JSON; a failure leaves an older file as it was."""
        with atomic_write(path) as handle:
            json.dump(self.to_dict(), handle, ensure_ascii=False, indent=2, allow_nan=False)
            handle.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not is_dataclass(value):
        return value
    data = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, ErrorCounts):
        data |= {"errors": value.errors, "reference": value.reference}
    if isinstance(value, DialectGap):
        data |= {"gap": value.gap}
    if isinstance(value, TargetScores):
        data |= {"dialect_gap": _plain(value.gap()), "baseline_dialect_gap": _plain(value.baseline_gap())}
    return data
