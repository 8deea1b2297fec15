"""Labels told beside the text, against scikit-learn and counts by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from asr.evaluation.labels import score_labels, score_marks
from asr.fragment import Fragment
from asr.transcript import UNKNOWN, Transcript

KINDS = ("question", "statement", "implication")


def heard(scores: dict[str, float], answer: str) -> Transcript:
    return Transcript("x", "you like it", "en", None, 1.0, (), intonation=answer, intonation_scores=scores)


def corpus(count: int) -> tuple[list[Fragment], list[Transcript]]:
    random = np.random.default_rng(0)
    fragments, transcripts = [], []
    for number in range(count):
        label = KINDS[int(random.integers(3))]
        raw = random.random(3) + np.array([kind == label for kind in KINDS]) * 0.4
        scores = dict(zip(KINDS, (raw / raw.sum()).tolist(), strict=True))
        best = max(scores, key=lambda kind: scores[kind])
        fragments.append(
            Fragment(
                id=f"f{number}", audio="a.wav", text="x", language="en", intonation=label, speaker=f"s{number % 7}"
            )
        )
        transcripts.append(heard(scores, best if scores[best] > 0.45 else UNKNOWN))
    return fragments, transcripts


def test_all_figures_against_scikit_learn() -> None:
    fragments, transcripts = corpus(200)
    (told,) = score_labels(fragments, transcripts, resamples=50, seed=0)
    truth = [fragment.intonation for fragment in fragments]
    best = [max(item.intonation_scores, key=lambda kind: item.intonation_scores[kind]) for item in transcripts]
    asks = [label == "question" for label in truth]
    assert told.f1.value == pytest.approx(f1_score(truth, best, average="macro"))
    assert told.question_f1 is not None and told.question_auc is not None
    assert told.question_f1.value == pytest.approx(f1_score(asks, [label == "question" for label in best]))
    chances = [item.intonation_scores["question"] for item in transcripts]
    assert told.question_auc.value == pytest.approx(roc_auc_score(asks, chances))
    answered = [(a, t.intonation) for a, t in zip(truth, transcripts, strict=True) if t.intonation != UNKNOWN]
    assert told.answered == len(answered) / 200
    assert told.accuracy == pytest.approx(np.mean([a == b for a, b in answered]))
    assert sum(map(sum, told.confusion)) == 200
    assert sum(told.confusion[i][i] for i in range(3)) == sum(a == b for a, b in zip(truth, best, strict=True))
    for estimate in (told.f1, told.question_auc, told.question_f1):
        assert estimate.clusters == 7 and estimate.low is not None and estimate.low < estimate.value < estimate.high


def test_final_marks_against_scikit_learn() -> None:
    fragments, transcripts = corpus(200)
    random = np.random.default_rng(1)
    texts = [replace(item, text=f"you like it{random.choice(['?', '.', ''])}") for item in transcripts]
    found = score_marks(fragments, [None, *texts[1:]], resamples=50, seed=0)
    asks = np.array([fragment.intonation == "question" for fragment in fragments[1:]])
    marks = np.array([item.text.endswith("?") for item in texts[1:]])
    assert found is not None and found.fragments == 199
    assert found.f1.value == pytest.approx(f1_score(asks, marks))
    assert found.false.value == pytest.approx(1 - recall_score(~asks, ~marks))
    assert found.false.clusters == 7 and found.false.low is not None and found.false.low < found.false.value
    (told,) = score_labels(fragments, transcripts, resamples=10, seed=0)
    best = [max(item.intonation_scores, key=lambda kind: item.intonation_scores[kind]) for item in transcripts]
    wrong = [label == "question" for label, item in zip(best, fragments, strict=True) if item.intonation != "question"]
    assert told.question_false is not None and told.question_false.value == pytest.approx(np.mean(wrong))
    assert score_marks(fragments, [None] * 200, 10, 0) is None
    assert score_marks([item.replace(intonation="statement") for item in fragments], texts, 10, 0) is None


def test_ties_count_by_half() -> None:
    fragments, transcripts = corpus(60)
    even = [heard({"question": round(t.intonation_scores["question"], 1), "statement": 0.5}, "x") for t in transcripts]
    (told,) = score_labels(fragments, even, resamples=10, seed=0)
    asks = [fragment.intonation == "question" for fragment in fragments]
    expected = roc_auc_score(asks, [item.intonation_scores["question"] for item in even])
    assert told.question_auc is not None and told.question_auc.value == pytest.approx(expected)


def test_only_what_has_a_label_and_an_answer_counts() -> None:
    fragments, transcripts = corpus(4)
    fragments[0] = fragments[0].replace(intonation=None)
    (told,) = score_labels(fragments, [*transcripts[:2], None, transcripts[3]], resamples=10, seed=0)
    assert told.fragments == 2
    assert score_labels(fragments, [None] * 4, resamples=10, seed=0) == ()


def test_a_label_that_nobody_has_is_another() -> None:
    fragments = [Fragment(id="a", audio="a.wav", text="x", language="en", dialect="en-GB")]
    found = Transcript("a", "x", "en", UNKNOWN, 1.0, (), dialect_scores={"en-GB": 0.4, "en-IN": 0.6})
    (told,) = score_labels(fragments, [found], resamples=10, seed=0)
    assert told.confusion == ((0, 1),)
    assert (told.answered, told.accuracy, told.question_auc) == (0.0, None, None)
