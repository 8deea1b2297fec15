"""Labels told beside the text, against scikit-learn and counts by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

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
    hears = [label == "question" for label in best]
    assert told.question is not None
    assert told.question.f1.value == pytest.approx(f1_score(asks, hears))
    assert told.question.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(asks, hears))
    chances = [item.intonation_scores["question"] for item in transcripts]
    assert told.question.auc.value == pytest.approx(roc_auc_score(asks, chances))
    answered = [(a, t.intonation) for a, t in zip(truth, transcripts, strict=True) if t.intonation != UNKNOWN]
    assert told.answered.value == len(answered) / 200
    assert told.accuracy.value == pytest.approx(np.mean([a == b for a, b in answered]))
    assert np.array_equal(np.array(told.confusion)[:, :3], confusion_matrix(truth, best, labels=told.labels))
    asked = told.question
    figures = (told.f1, told.answered, told.accuracy, told.risk.area, told.risk.covered, told.risk.points[-1].risk)
    for estimate in (*figures, asked.f1, asked.balanced_accuracy, asked.auc, asked.same_words):
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
    assert told.question is not None and told.question.false.value == pytest.approx(np.mean(wrong))
    assert score_marks(fragments, [None] * 200, 10, 0) is None
    assert score_marks([item.replace(intonation="statement") for item in fragments], texts, 10, 0) is None


def test_ties_count_by_half() -> None:
    fragments, transcripts = corpus(60)
    even = [heard({"question": round(t.intonation_scores["question"], 1), "statement": 0.5}, "x") for t in transcripts]
    (told,) = score_labels(fragments, even, resamples=10, seed=0)
    asks = [fragment.intonation == "question" for fragment in fragments]
    expected = roc_auc_score(asks, [item.intonation_scores["question"] for item in even])
    assert told.question is not None and told.question.auc.value == pytest.approx(expected)


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
    assert (told.answered.value, told.accuracy.value, told.question) == (0.0, None, None)


def test_reliability_is_what_scikit_learn_draws() -> None:
    fragments, transcripts = corpus(200)
    (told,) = score_labels(fragments, transcripts, resamples=10, seed=0)
    confidence = [max(item.intonation_scores.values()) for item in transcripts]
    correct = [
        item.intonation_scores[fragment.intonation] == max(item.intonation_scores.values())
        for fragment, item in zip(fragments, transcripts, strict=True)
    ]
    right, mean = calibration_curve(correct, confidence, n_bins=10)
    full = [each for each in told.reliability.bins if each.fragments]
    assert len(told.reliability.bins) == 10 and len(full) < 10
    assert [each.right.value for each in full] == pytest.approx(right.tolist())
    assert [each.confidence for each in full] == pytest.approx(mean.tolist())
    gaps = sum(each.fragments * abs(each.right.value - each.confidence) for each in full)
    assert told.reliability.error.value == pytest.approx(gaps / 200)
    assert {each.confidence for each in told.reliability.bins if not each.fragments} == {None}
    assert told.reliability_before is None


def test_reliability_before_is_that_of_the_scores_without_their_temperature() -> None:
    """As scipy's softmax gives them, of labels that need not be the same in every fragment."""
    random = np.random.default_rng(1)
    names = [("fr-BE", "fr-CA", "fr-CH"), ("en-GB", "en-IN")]
    hot, cold, fragments = [], [], []
    for number in range(40):
        labels = names[number % 2]
        scores = random.normal(size=len(labels)) * 4
        language = labels[0][:2]
        fragments.append(
            Fragment(id=f"{number}", audio="a.wav", text="x", language=language, dialect=str(random.choice(labels)))
        )
        for temperature, rows in ((2.5, hot), (1.0, cold)):
            chances = dict(zip(labels, softmax(scores / temperature).tolist(), strict=True))
            rows.append(Transcript("x", "x", language, None, 1.0, (), dialect_scores=chances))
    (told,) = score_labels(fragments, hot, resamples=10, seed=0, temperatures={"dialect": 2.5})
    (raw,) = score_labels(fragments, cold, resamples=10, seed=0)
    assert told.reliability_before is not None
    assert told.reliability_before.error.value == pytest.approx(raw.reliability.error.value)
    assert told.reliability_before.error.value != pytest.approx(told.reliability.error.value)
    counts = [each.fragments for each in raw.reliability.bins]
    assert [each.fragments for each in told.reliability_before.bins] == counts


def test_the_curve_of_risk_ends_at_the_error_of_all() -> None:
    fragments, transcripts = corpus(200)
    (told,) = score_labels(fragments, transcripts, resamples=10, seed=0)
    points = told.risk.points
    assert [point.coverage for point in points] == pytest.approx(np.arange(0.1, 1.01, 0.1).tolist())
    right = sum(told.confusion[i][i] for i in range(3)) / 200
    assert points[-1].risk.value == pytest.approx(1 - right)
    assert points[0].risk.value < points[-1].risk.value
    confidence = np.array([max(item.intonation_scores.values()) for item in transcripts])
    assert (confidence >= points[4].threshold).mean() == points[4].coverage


def test_every_dialect_has_its_recall() -> None:
    random = np.random.default_rng(2)
    tags = ("fr-BE", "fr-CA", "fr-CH")
    truth = [tags[int(random.integers(3))] for _ in range(60)]
    heard = [label if random.random() < 0.6 else tags[int(random.integers(3))] for label in truth]
    fragments = [
        Fragment(id=f"{number}", audio="a.wav", text="x", language="fr", dialect=label, speaker=f"{number % 12}")
        for number, label in enumerate(truth)
    ]
    transcripts = [Transcript("x", "x", "fr", label, 1.0, (), dialect_scores={label: 0.9}) for label in heard]
    (told,) = score_labels(fragments, transcripts, resamples=50, seed=0)
    expected = recall_score(truth, heard, labels=tags, average=None)
    assert [row.dialect for row in told.dialects] == list(tags)
    assert [row.right.value for row in told.dialects] == pytest.approx(expected.tolist())
    assert all(row.right.low < row.right.value < row.right.high and row.question is None for row in told.dialects)


def test_questions_per_dialect_are_those_of_its_fragments_alone() -> None:
    fragments, transcripts = corpus(200)
    fragments = [
        item.replace(dialect=("en-GB", "en-IN", None)[number % 3], text=f"Well, {'you' if number % 2 else 'we'}?")
        for number, item in enumerate(fragments)
    ]
    (told,) = score_labels(fragments, transcripts, resamples=20, seed=0)
    assert [row.dialect for row in told.dialects] == ["en-GB", "en-IN"]
    for number, row in enumerate(told.dialects):
        (alone,) = score_labels(fragments[number::3], transcripts[number::3], resamples=20, seed=0)
        assert (row.fragments, row.question) == (alone.fragments, alone.question)
        assert row.question is not None and row.question.pairs > 0


def test_the_same_words_are_those_that_count_as_the_same() -> None:
    def said(text: str, label: str, chance: float, language: str = "de") -> tuple[Fragment, Transcript]:
        fragment = Fragment(id="x", audio="a.wav", text=text, language=language, intonation=label, speaker="s")
        return fragment, heard({"question": chance, "statement": 1 - chance}, label)

    rows = [
        said("Du kommst?", "question", 0.6),
        said("du kommst.", "statement", 0.5),
        said("Du kommst!", "statement", 0.7),
        said("du gehst.", "statement", 0.1),
        said("du kommst.", "statement", 0.1, language="nl"),
        said("", "statement", 0.1),
        said("[lacht]", "question", 0.9),
    ]
    (told,) = score_labels(*zip(*rows, strict=True), resamples=10, seed=0)
    assert told.question is not None
    assert (told.question.pairs, told.question.same_words.value) == (2, 0.5)
