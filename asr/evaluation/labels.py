"""Scores what was told beside the text against what people labelled: pure, no model and no audio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.evaluation.report import LabelScores, MarkScores
from asr.fragment import Fragment
from asr.inference.punctuation import asks as ends_as_question
from asr.metrics import Estimate, macro_f1, statistic_estimate
from asr.metrics.calibration import calibration_error
from asr.metrics.labels import area_under_curve, f1_of
from asr.model.heads import HEAD_NAMES
from asr.transcript import UNKNOWN, Transcript

_QUESTION = "question"


@dataclass(frozen=True, slots=True)
class _Row:
    """One fragment: what it is, what was most probable, how probable, and what was answered."""

    label: str
    heard: str
    confidence: float
    answer: str | None
    p_question: float
    cluster: str


def score_labels(
    fragments: Iterable[Fragment], transcripts: Iterable[Transcript | None], resamples: int, seed: int
) -> tuple[LabelScores, ...]:
    """Score dialect, intonation and tune wherever a fragment has the label and its transcript the answer.

    Args:
        fragments: With the labels that people gave.
        transcripts: One per fragment, made without those labels; None where it failed.
        resamples: Draws behind each interval.
        seed: Of the draws.
    """
    rows: dict[str, list[_Row]] = {name: [] for name in HEAD_NAMES}
    for fragment, transcript in zip(fragments, transcripts, strict=True):
        for name in HEAD_NAMES:
            label = getattr(fragment, name)
            scores = {} if transcript is None else getattr(transcript, f"{name}_scores")
            if label is None or not scores:
                continue
            heard = max(scores, key=lambda each: scores[each])
            answer = getattr(transcript, name)
            rows[name].append(_Row(label, heard, scores[heard], answer, scores.get(_QUESTION, 0.0), _cluster(fragment)))
    return tuple(_scores(name, found, resamples, seed) for name, found in rows.items() if found)


def _scores(name: str, rows: Sequence[_Row], resamples: int, seed: int) -> LabelScores:
    truth, heard = np.array([row.label for row in rows]), np.array([row.heard for row in rows])
    labels = sorted(set(truth.tolist()))
    clusters = [row.cluster for row in rows]
    answered = [row for row in rows if row.answer not in (None, UNKNOWN)]

    def f1(chosen: npt.NDArray[np.intp]) -> float:
        return macro_f1(truth[chosen].tolist(), heard[chosen].tolist())

    question_auc = question_f1 = question_false = None
    if _QUESTION in labels and len(labels) > 1:
        asks, chances = truth == _QUESTION, np.array([row.p_question for row in rows])

        def auc(chosen: npt.NDArray[np.intp]) -> float | None:
            return area_under_curve(asks[chosen], chances[chosen])

        def asked_f1(chosen: npt.NDArray[np.intp]) -> float:
            return f1_of(asks[chosen], heard[chosen] == _QUESTION)

        question_auc = statistic_estimate(auc, clusters, resamples=resamples, seed=seed)
        question_f1 = statistic_estimate(asked_f1, clusters, resamples=resamples, seed=seed)
        question_false = _false_alarms(asks, heard == _QUESTION, clusters, resamples, seed)
    return LabelScores(
        name=name,
        fragments=len(rows),
        labels=tuple(labels),
        f1=statistic_estimate(f1, clusters, resamples=resamples, seed=seed),
        answered=len(answered) / len(rows),
        accuracy=sum(row.answer == row.label for row in answered) / len(answered) if answered else None,
        calibration_error=calibration_error(np.array([row.confidence for row in rows]), truth == heard),
        confusion=_confusion(labels, rows),
        question_auc=question_auc,
        question_f1=question_f1,
        question_false=question_false,
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

    return MarkScores(
        fragments=len(rows),
        f1=statistic_estimate(f1, clusters, resamples=resamples, seed=seed),
        false=_false_alarms(asks, marks, clusters, resamples, seed),
    )


def _false_alarms(
    asks: npt.NDArray[np.bool_], heard: npt.NDArray[np.bool_], clusters: Sequence[str], resamples: int, seed: int
) -> Estimate:
    """Share of what is no question that was taken for one."""

    def rate(chosen: npt.NDArray[np.intp]) -> float | None:
        others = chosen[~asks[chosen]]
        return float(heard[others].mean()) if len(others) else None

    return statistic_estimate(rate, clusters, resamples=resamples, seed=seed)


def _cluster(fragment: Fragment) -> str:
    return f"fragment {fragment.id}" if fragment.speaker is None else f"speaker {fragment.speaker}"


def _confusion(labels: Sequence[str], rows: Sequence[_Row]) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((len(labels), len(labels) + 1), dtype=int)
    for row in rows:
        column = labels.index(row.heard) if row.heard in labels else len(labels)
        counts[labels.index(row.label), column] += 1
    return tuple(tuple(line) for line in counts.tolist())
