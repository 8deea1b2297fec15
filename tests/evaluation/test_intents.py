"""What dialect costs of the understanding, against scikit-learn and counts by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, f1_score

from asr.errors import AsrError
from asr.evaluation import render, score
from asr.evaluation.intents import IntentScores, score_understanding
from asr.fragment import Fragment
from asr.intent.event import event_of
from asr.intent.features import bare
from asr.intent.model import IntentModel
from asr.intent.training import Example, IntentOptions, train_intent_model
from asr.transcript import Hypothesis, Segment, Transcript

TEXTS = {
    "weather": ("will it rain tomorrow?", "is it cold outside?", "how hot is it today?", "do i need an umbrella?"),
    "light": ("turn on the light.", "switch the lamp on.", "lights on please.", "turn the kitchen lamp on."),
    "music": ("play some jazz.", "put on a song by abba.", "i want to hear music.", "play the next track."),
    "none": ("who won the war?", "seven times nine.", "my cousin lives in rome.", "paint dries slowly."),
}


@pytest.fixture(scope="module")
def model() -> IntentModel:
    learnt = [Example(text, intent, "en") for intent, texts in TEXTS.items() for text in texts]
    return train_intent_model(learnt, IntentOptions(outside="none", buckets=64))


@pytest.fixture(scope="module")
def corpus() -> tuple[list[Fragment], list[Transcript | None]]:
    """Every text by six speakers of two dialects; in one of them a word in two is lost."""
    random = np.random.default_rng(0)
    fragments: list[Fragment] = []
    heard: list[Transcript | None] = []
    for speaker in range(6):
        dialect = "en-US" if speaker < 3 else "en-IN"
        for intent, texts in TEXTS.items():
            for number, text in enumerate(texts):
                id = f"{speaker}-{intent}-{number}"
                fragments.append(
                    Fragment(
                        id=id, audio="a.wav", text=text, language="en", dialect=dialect, speaker=f"s{speaker}",
                        custom={"intent": intent},
                    )
                )  # fmt: skip
                words = [word for word in text.split() if dialect == "en-US" or random.random() < 0.5]
                heard.append(Transcript(id, " ".join(words), "en", dialect, 1.0, ()))
    return fragments, heard


def scores(
    fragments: list[Fragment], heard: list[Transcript | None], model: IntentModel, standard: str | None = None
) -> IntentScores:
    return score_understanding(fragments, heard, model, system="mine", standard=standard, resamples=100, seed=0)


def named(texts: list[str], model: IntentModel) -> list[str]:
    return [one.name for one in model.predict_many(texts, language="en")]


def test_figures_against_scikit_learn(
    corpus: tuple[list[Fragment], list[Transcript | None]], model: IntentModel
) -> None:
    fragments, heard = corpus
    found = scores(fragments, heard, model)
    assert [one.reading for one in found.readings] == ["text", "heard"]
    assert (found.system, found.fragments, found.outside) == ("mine", 72, 24)
    inside = [row for row, one in enumerate(fragments) if one.custom["intent"] != "none"]
    truth = [str(one.custom["intent"]) for one in fragments]
    labels = ["weather", "light", "music"]
    accuracies = []
    texts = {"text": [one.text for one in fragments], "heard": [one.text for one in heard if one is not None]}
    for reading in found.readings:
        names = named(texts[reading.reading], model)
        expected, told = ([these[row] for row in inside] for these in (truth, names))
        accuracies.append(accuracy_score(expected, told))
        assert reading.accuracy.value == pytest.approx(accuracies[-1])
        assert reading.f1.value == pytest.approx(f1_score(expected, told, average="macro", labels=labels))
        refused = [name == "out_of_scope" for name, right in zip(names, truth, strict=True) if right == "none"]
        assert reading.outside.value == pytest.approx(np.mean(refused))
    assert found.readings[1].retention.value == pytest.approx(accuracies[1] / accuracies[0])
    assert found.readings[0].retention.value == 1.0
    for estimate in (found.readings[1].accuracy, found.readings[1].retention, found.readings[1].f1, found.keywords):
        assert estimate.clusters == 6 and estimate.low is not None and estimate.low < estimate.value < estimate.high


def test_the_gap_is_what_standard_speech_keeps_and_a_dialect_does_not(
    corpus: tuple[list[Fragment], list[Transcript | None]], model: IntentModel
) -> None:
    fragments, heard = corpus
    found = scores(fragments, heard, model, standard="en-US")
    indian, us = found.groups
    assert (indian.group, us.group, us.gap) == ("en-IN", "en-US", None)
    assert us.retention.value == 1.0
    assert indian.retention.value is not None and indian.retention.value < 0.95
    rows = [row for row, one in enumerate(fragments) if one.dialect == "en-IN" and one.custom["intent"] != "none"]
    right = [
        sum(name == fragments[row].custom["intent"] for name, row in zip(names, rows, strict=True))
        for names in (
            named([heard[row].text for row in rows], model),  # type: ignore[union-attr]
            named([fragments[row].text for row in rows], model),
        )
    ]
    assert indian.retention.value == pytest.approx(right[0] / right[1])
    assert indian.gap is not None and indian.gap.value == pytest.approx(1 - right[0] / right[1])
    assert indian.gap.low is not None and 0 < indian.gap.low < indian.gap.value < indian.gap.high
    # The standard may be a test set as well.
    sets = ["plain" if one.dialect == "en-US" else "accented" for one in fragments]
    same = score_understanding(
        fragments, heard, model, system="mine", test_sets=sets, standard="plain", resamples=100, seed=0
    )
    assert [one.group for one in same.groups] == ["en-IN", "en-US", "accented", "plain"]
    assert same.groups[2].gap == same.groups[0].gap == indian.gap
    with pytest.raises(AsrError, match="names neither"):
        scores(fragments, heard, model, standard="en-GB")


def test_keywords_are_those_of_texts_that_were_understood(
    corpus: tuple[list[Fragment], list[Transcript | None]], model: IntentModel
) -> None:
    fragments, heard = corpus
    kept = wanted = 0
    for fragment, transcript in zip(fragments, heard, strict=True):
        told = model.predict(fragment.text, language="en")
        if told.name == fragment.custom["intent"]:
            wanted += len(told.keywords)
            kept += sum(word in bare(transcript.text).split() for word in told.keywords)  # type: ignore[union-attr]
    assert scores(fragments, heard, model).keywords.value == pytest.approx(kept / wanted)


def test_readings_with_and_without_what_a_transcript_has_beside_the_text(model: IntentModel) -> None:
    fragment = Fragment(
        id="a", audio="a.wav", text="spiel jazz", text_standard="play some jazz.", language="en",
        custom={"intent": "music"},
    )  # fmt: skip
    transcript = Transcript("a", "spiel shazz", "en", None, 1.0, (), text_standard="play some jazz")
    voiced = replace(transcript, intonation="statement", intonation_scores={"statement": 0.9, "question": 0.1})
    found = scores([fragment], [voiced], model)
    names = ["text", "text_standard", "heard", "heard, no standard rendering", "heard, no voice"]
    assert [one.reading for one in found.readings] == names
    by_reading = {one.reading: one.accuracy.value for one in found.readings}
    assert by_reading["text_standard"] == by_reading["heard"] == by_reading["heard, no voice"] == 1.0
    alone = model.predict(event_of(replace(voiced, text_standard=None)))
    assert by_reading["heard, no standard rendering"] == float(alone.name == "music")


def test_the_other_texts_of_a_beam_search_are_weighed_against_the_best_alone(model: IntentModel) -> None:
    fragment = Fragment(id="a", audio="a.wav", text="play some jazz.", language="en", custom={"intent": "music"})
    # The best text leads astray; all the others agree.
    texts = (Hypothesis("what is the weather", -1.0), Hypothesis("play some jazz", -1.1), Hypothesis("play jazz", -1.1))
    segment = Segment(0.0, 1.0, texts[0].text, -0.5, 0.0, 1.0, hypotheses=texts)
    transcript = Transcript("a", texts[0].text, "en", None, 1.0, (segment,))
    by_reading = {one.reading: one.accuracy.value for one in scores([fragment], [transcript], model).readings}
    assert list(by_reading) == ["text", "heard", "heard, best text alone"]
    assert by_reading["heard, best text alone"] == float(model.predict("what is the weather").name == "music") == 0.0
    assert by_reading["heard"] == float(model.predict(event_of(transcript)).name == "music")


def test_only_what_has_an_intent_and_a_transcript_counts(
    corpus: tuple[list[Fragment], list[Transcript | None]], model: IntentModel
) -> None:
    fragments, heard = corpus
    some = [fragments[0].replace(custom={}), *fragments[1:4], fragments[12]]
    found = scores(some, [heard[0], None, heard[2], heard[3], heard[12]], model)
    assert (found.fragments, found.outside) == (2, 1)
    for useless in ([], [fragments[0].replace(custom={"intent": "unheard of"})]):
        with pytest.raises(AsrError, match="no fragment has an intent"):
            scores(useless, heard[: len(useless)], model)


def test_a_report_shows_and_writes_it(
    corpus: tuple[list[Fragment], list[Transcript | None]], model: IntentModel
) -> None:
    fragments, heard = corpus
    found = scores(fragments, heard, model, standard="en-US")
    report = replace(score(fragments, [one.text for one in heard if one], resamples=10), intents=(found,))
    plain = json.loads(json.dumps(report.to_dict()))["intents"][0]
    assert plain["readings"][1]["retention"]["value"] == found.readings[1].retention.value
    out = StringIO()
    render(report, Console(file=out, width=160))
    printed = out.getvalue()
    gap = found.groups[0].gap
    assert gap is not None and f"+{100 * (gap.value or 0):.2f} [" in printed
    assert "mine: intents of 72 fragments" in printed and "24 fragments are out of scope" in printed
