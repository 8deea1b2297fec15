"""Scores what was told beside the text against what people labelled: pure, no model and no audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.evaluation.report import (
    DialectScores,
    LabelScores,
    MarkScores,
    QuestionScores,
    Reliability,
    ReliabilityBin,
    RiskCoverage,
    RiskPoint,
)
from asr.fragment import Fragment
from asr.inference.punctuation import asks as ends_as_question
from asr.metrics import Estimate, gap_estimate, macro_f1, rate_estimates, statistic_estimate
from asr.metrics.calibration import (
    BINS,
    area_under_risk,
    calibration_error,
    confidence_bins,
    coverage_at_risk,
    thresholds_at_coverages,
    without_temperature,
)
from asr.metrics.labels import area_under_curve, balanced_accuracy, f1_of
from asr.metrics.pairs import SameWords
from asr.model.heads import HEAD_NAMES, HeadName
from asr.text import get_normalizer
from asr.transcript import UNKNOWN, Transcript

_QUESTION = "question"
# The share of wrong answers that coverage is reported at, and the points of the curve.
_RISK, _POINTS = 0.05, 10

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.str_]
Clusters = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Row:
    """One fragment: what it is, how probable every label was, what was answered, who spoke."""

    fragment: Fragment
    label: str
    scores: Mapping[str, float]
    answer: str | None
    cluster: str


def score_labels(
    fragments: Iterable[Fragment],
    transcripts: Iterable[Transcript | None],
    resamples: int,
    seed: int,
    temperatures: Mapping[HeadName, float] | None = None,
) -> tuple[LabelScores, ...]:
    """Score dialect, intonation and tune wherever a fragment has the label and its transcript the answer.

    Args:
        fragments: With the labels that people gave.
        transcripts: One per fragment, made without those labels; None where it failed.
        resamples: Draws behind each interval.
        seed: Of the draws.
        temperatures: Of the heads that answered. The probabilities of a transcript are those after it; what they were
            before is told beside them.
    """
    rows: dict[HeadName, list[_Row]] = {name: [] for name in HEAD_NAMES}
    for fragment, transcript in zip(fragments, transcripts, strict=True):
        for name in HEAD_NAMES:
            label = getattr(fragment, name)
            scores = {} if transcript is None else getattr(transcript, f"{name}_scores")
            if label is None or not scores:
                continue
            rows[name].append(_Row(fragment, label, scores, getattr(transcript, name), _cluster(fragment)))
    known = temperatures or {}
    return tuple(
        _scores(name, found, known.get(name, 1.0), {"resamples": resamples, "seed": seed})
        for name, found in rows.items()
        if found
    )


def score_marks(
    fragments: Iterable[Fragment], transcripts: Iterable[Transcript | None], resamples: int, seed: int
) -> MarkScores | None:
    """Score the final marks of texts wherever a fragment's intonation is labelled; heads are not needed.

    Args:
        fragments: With the labels that people gave.
        transcripts: One per fragment; None where it failed.
        resamples: Draws behind each interval.
        seed: Of the draws.

    Returns:
        None where no fragment is a question, or all are.
    """
    rows = [
        (fragment.intonation == _QUESTION, ends_as_question(transcript.text, transcript.language), _cluster(fragment))
        for fragment, transcript in zip(fragments, transcripts, strict=True)
        if fragment.intonation is not None and transcript is not None
    ]
    asks, marks = (np.array([row[column] for row in rows], bool) for column in (0, 1))
    if asks.all() or not asks.any():
        return None
    clusters = [row[2] for row in rows]

    def f1(chosen: npt.NDArray[np.intp]) -> float:
        return f1_of(asks[chosen], marks[chosen])

    (false,) = rate_estimates([marks & ~asks], [~asks], clusters, resamples=resamples, seed=seed)
    return MarkScores(len(rows), statistic_estimate(f1, clusters, resamples=resamples, seed=seed), false)


def _cluster(fragment: Fragment) -> str:
    # Ids are unique within a test set only.
    alone = f"fragment {fragment.audio} {fragment.id}"
    return alone if fragment.speaker is None else f"speaker {fragment.speaker}"


def _scores(name: str, rows: Sequence[_Row], temperature: float, draws: dict[str, int]) -> LabelScores:
    columns = list(dict.fromkeys(label for row in rows for label in row.scores))
    chances = np.array([[row.scores.get(label, 0.0) for label in columns] for row in rows])
    truth, heard = np.array([row.label for row in rows]), np.array(columns)[chances.argmax(axis=1)]
    labels = sorted(set(truth.tolist()))
    confidence, correct = chances.max(axis=1), truth == heard
    clusters = np.unique([row.cluster for row in rows], return_inverse=True)[1]
    answered = np.array([row.answer not in (None, UNKNOWN) for row in rows])
    right = np.array([row.answer == row.label for row in rows])
    share, accuracy = rate_estimates(
        [answered, answered & right], [np.ones_like(answered), answered], clusters, **draws
    )

    # Numbers for names, which are many times slower to compare.
    true, found = np.split(np.unique(np.concatenate([truth, heard]), return_inverse=True)[1], 2)

    def f1(chosen: npt.NDArray[np.intp]) -> float:
        return macro_f1(true[chosen], found[chosen])

    before = None
    if temperature != 1.0:
        colder = without_temperature(chances, temperature).max(axis=1)
        before = _reliability(colder, correct, clusters, draws)
    sentences = np.array([_sentence(row.fragment) for row in rows] if _QUESTION in labels else [""] * len(rows))
    asked = chances[:, columns.index(_QUESTION)] if _QUESTION in columns else np.zeros(len(rows))

    def question(chosen: npt.NDArray[np.intp]) -> QuestionScores | None:
        asks, hears = truth[chosen] == _QUESTION, heard[chosen] == _QUESTION
        return _question(sentences[chosen], asks, hears, asked[chosen], clusters[chosen], draws)

    dialects = []
    of_dialect = np.array([row.fragment.dialect or "" for row in rows])
    for dialect in sorted({*of_dialect.tolist()} - {""}):
        chosen = np.flatnonzero(of_dialect == dialect)
        (recall,) = rate_estimates([correct[chosen]], [np.ones_like(chosen)], clusters[chosen], **draws)
        dialects.append(DialectScores(dialect, len(chosen), recall, question(chosen)))
    return LabelScores(
        name=name,
        fragments=len(rows),
        labels=tuple(labels),
        f1=statistic_estimate(f1, clusters, **draws),
        answered=share,
        accuracy=accuracy,
        reliability=_reliability(confidence, correct, clusters, draws),
        reliability_before=before,
        risk=_risk(confidence, correct, clusters, draws),
        confusion=_confusion(labels, truth, heard),
        question=question(np.arange(len(rows))),
        dialects=tuple(dialects),
    )


def _question(
    sentences: Texts, asks: Flags, hears: Flags, chances: Floats, clusters: Clusters, draws: dict[str, int]
) -> QuestionScores | None:
    if asks.all() or not asks.any():
        return None
    pairs = SameWords(asks, chances, sentences, clusters)
    (false,) = rate_estimates([hears & ~asks], [~asks], clusters, **draws)

    def estimate(statistic: Callable[[npt.NDArray[np.intp]], float | None]) -> Estimate:
        return statistic_estimate(statistic, clusters, **draws)

    return QuestionScores(
        f1=estimate(lambda chosen: f1_of(asks[chosen], hears[chosen])),
        balanced_accuracy=estimate(lambda chosen: balanced_accuracy(asks[chosen], hears[chosen])),
        auc=estimate(lambda chosen: area_under_curve(asks[chosen], chances[chosen])),
        false=false,
        same_words=estimate(pairs.accuracy),
        pairs=pairs.count,
    )


def _sentence(fragment: Fragment) -> str:
    """The fragment's language and its words, as they are compared for the WER; empty without a word."""
    words = get_normalizer(fragment.language, fragment.dialect)(fragment.text)
    return f"{fragment.language} {words}" if words else ""


def _reliability(confidence: Floats, correct: Flags, clusters: Clusters, draws: dict[str, int]) -> Reliability:
    inside = confidence_bins(confidence) == np.arange(BINS)[:, None]
    counts, sums = inside.sum(axis=1).tolist(), (inside @ confidence).tolist()
    rates = rate_estimates(inside & correct, inside, clusters, **draws)
    return Reliability(
        gap_estimate(lambda chosen: calibration_error(confidence[chosen], correct[chosen]), clusters, **draws),
        tuple(
            ReliabilityBin(count, total / count if count else None, right)
            for count, total, right in zip(counts, sums, rates, strict=True)
        ),
    )


def _risk(confidence: Floats, correct: Flags, clusters: Clusters, draws: dict[str, int]) -> RiskCoverage:
    thresholds = thresholds_at_coverages(confidence, _POINTS)
    answered = confidence >= thresholds[:, None]
    risks = rate_estimates(answered & ~correct, answered, clusters, **draws)
    return RiskCoverage(
        area=statistic_estimate(lambda chosen: area_under_risk(confidence[chosen], correct[chosen]), clusters, **draws),
        covered=statistic_estimate(
            lambda chosen: coverage_at_risk(confidence[chosen], correct[chosen], _RISK), clusters, **draws
        ),
        points=tuple(map(RiskPoint, thresholds.tolist(), answered.mean(axis=1).tolist(), risks)),
    )


def _confusion(labels: Sequence[str], truth: Texts, heard: Texts) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((len(labels), len(labels) + 1), dtype=int)
    columns = np.where(np.isin(heard, labels), np.searchsorted(labels, heard), len(labels))
    np.add.at(counts, (np.searchsorted(labels, truth), columns), 1)
    return tuple(tuple(line) for line in counts.tolist())
