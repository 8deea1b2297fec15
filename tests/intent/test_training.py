"""Training on a made-up set: what is learnt, what is held out, the threshold by trying all, and what is refused."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from asr.errors import ConfigError, ManifestError
from asr.intent.features import asks, bare, ngrams, question_feature
from asr.intent.model import OUT_OF_SCOPE, IntentModel, Reading
from asr.intent.noise import learn_confusions
from asr.intent.training import (
    FOLDS,
    Example,
    IntentOptions,
    deal,
    read_examples,
    scope_threshold,
    score_intents,
    train_intent_model,
)
from asr.intent.vectors import sentence_vectors


def test_what_was_learnt_is_known_and_what_is_like_it(tiny: IntentModel, made_up: list[Example]) -> None:
    told = tiny.predict_many([one.text for one in made_up])
    assert [intent.scores[0][0] for intent, one in zip(told, made_up, strict=True) if one.intent != "nothing"] == [
        one.intent for one in made_up if one.intent != "nothing"
    ]
    for text, intent in (
        ("is there going to be rain", "weather"),
        ("please switch on the lamp", "light_on"),
        ("play a song", "music"),
    ):
        assert tiny.predict(text).scores[0][0] == intent
    # French was never seen.
    assert tiny.predict("est-ce qu'il va pleuvoir demain", language="fr").scores[0][0] == "weather"
    assert tiny.predict("allume la lampe", language="fr").scores[0][0] == "light_on"


def features(examples: list[Example], options: IntentOptions) -> np.ndarray:
    texts = [bare(one.text) for one in examples]
    question = question_feature([asks(one.text) for one in examples])
    words = ngrams(texts, options.buckets).toarray() * options.ngrams
    return np.column_stack([sentence_vectors()(texts), question, words])


@pytest.mark.parametrize("intents", [("weather", "light_on", "music"), ("weather", "music")])
def test_probabilities_are_those_of_scikit_learn_with_a_temperature(
    made_up: list[Example], intents: tuple[str, ...]
) -> None:
    options = IntentOptions(buckets=32)
    known = [one for one in made_up if one.intent in intents]
    model = train_intent_model(known, options)
    fitted = LogisticRegression(C=options.inverse_penalty, max_iter=1000)
    fitted.fit(features(known, options), [one.intent for one in known])
    asked = [Example("is it warm?", "", "en"), Example("play jazz on the lamp", "", "en")]
    scores = fitted.decision_function(features(asked, options))
    if scores.ndim == 1:
        scores = np.column_stack([-scores / 2, scores / 2])
    read = [Reading(bare(one.text), asks(one.text), True, 1.0) for one in asked]
    np.testing.assert_allclose(
        model.probabilities(read), softmax(scores / model.full.temperature, axis=1), rtol=0.02, atol=0.002
    )


def test_the_same_examples_give_the_same_model(tiny: IntentModel, made_up: list[Example]) -> None:
    options = IntentOptions(**tiny.training["options"])
    again = train_intent_model(made_up, options)
    np.testing.assert_array_equal(again.full.buckets, tiny.full.buckets)
    assert (again.full.temperature, again.full.threshold) == (tiny.full.temperature, tiny.full.threshold)


def test_a_question_is_told_from_a_statement_in_the_same_words() -> None:
    words = ("the door is open", "the lamp is on", "the window is closed", "it is warm in here", "the garage is locked")
    known = [
        Example(text + mark, intent, "en") for text in words for mark, intent in (("?", "ask"), (".", "tell"))
    ]  # fmt: skip
    model = train_intent_model(known, IntentOptions(buckets=0, inverse_penalty=100))
    assert model.predict("the cellar is locked?").scores[0][0] == "ask"
    assert model.predict("the cellar is locked.").scores[0][0] == "tell"
    # Where nobody can tell, neither is likelier.
    assert model.predict("the cellar is locked").confidence == pytest.approx(0.5, abs=0.1)


def test_noise_is_learnt_from_and_an_example_counts_as_much_as_before(made_up: list[Example]) -> None:
    options = IntentOptions(buckets=64)
    clean = train_intent_model(made_up, options)
    noisy = train_intent_model(made_up, options, confusions=learn_confusions([("lamp", "zeppelin")] * 5))
    assert noisy.training["noise"] and not clean.training["noise"]
    row = noisy.labels.index("light_on")

    def score(model: IntentModel) -> float:
        regression = replace(model.full, temperature=1.0)
        return float(regression.scores(sentence_vectors()(["zeppelin on"]), ["zeppelin on"], [None])[0, row])

    assert score(noisy) > score(clean) + 0.2
    # A recogniser that makes no errors gives copies of what is there: the same regression.
    faultless = learn_confusions([("a b c", "a b c")])
    twice = train_intent_model(made_up, options, confusions=faultless)
    np.testing.assert_allclose(twice.full.bias, clean.full.bias, atol=0.02)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.integers(0, 2)), min_size=1, max_size=60),
    st.integers(0, 3),
)
def test_a_text_is_in_one_fold_and_a_label_in_all(pairs: list[tuple[str, int]], seed: int) -> None:
    texts, targets = [text for text, _ in pairs], np.array([target for _, target in pairs])
    folds = deal(texts, targets, seed)
    assert len(folds) == len(texts)
    for text in set(texts):
        assert len({fold for fold, other in zip(folds, texts, strict=True) if other == text}) == 1
    # Texts of one label only, each once: as even as can be.
    single = deal(sorted(set(texts)), np.zeros(len(set(texts)), int), seed)
    counts = np.bincount(single, minlength=FOLDS)
    assert counts.max() - counts.min() <= 1


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 2)), max_size=30),
    st.sampled_from([0, 0.1, 0.5]),
)
def test_the_threshold_by_trying_all(rows: list[tuple[int, int, int]], lost: float) -> None:
    # The third label is outside, so its chance is zero.
    chances = np.array([[first / 20, second / 20, 0] for first, second, _ in rows]).reshape(-1, 3)
    targets = np.array([target for *_, target in rows], int)
    confidence = chances.max(axis=1, initial=0)
    right = (chances.argmax(axis=1) == targets) & (confidence > 0)

    def keeps(threshold: float) -> bool:
        return bool((right & (confidence < threshold)).sum() <= lost * right.sum())

    best = max((threshold for threshold in confidence[right] if keeps(threshold)), default=0.0)
    assert scope_threshold(chances, targets, lost) == best


def test_development_examples_choose_and_labels_that_were_not_learnt_are_left_out(made_up: list[Example]) -> None:
    dev = [Example("is it raining?", "weather", "en"), Example("lamp on.", "light_on", "en")]
    model = train_intent_model(made_up, IntentOptions(buckets=0), [*dev, Example("x", "unheard of", "en")])
    assert model.training["calibrated_on"] == "2 development examples"
    assert model.full is model.vectors_alone


def test_one_example_of_each_leaves_nothing_to_hold_out() -> None:
    model = train_intent_model([Example("yes", "agree", "en"), Example("no", "refuse", "en")], IntentOptions())
    assert (model.full.temperature, model.full.threshold) == (1.0, 0.0)
    assert model.predict("yes").name == "agree"


def test_scores(tiny: IntentModel, made_up: list[Example]) -> None:
    inside = [one for one in made_up if one.intent != "nothing"]
    scores = score_intents(tiny, made_up)
    told = tiny.predict_many([one.text for one in inside], language="en")
    assert scores["examples"] == len(made_up)
    assert scores["accuracy"] == np.mean([one.intent == intent.name for one, intent in zip(inside, told, strict=True)])
    assert 0 <= scores["out_of_scope_recall"] <= 1
    assert score_intents(tiny, inside)["out_of_scope_recall"] is None
    assert score_intents(tiny, [one for one in made_up if one.intent == "nothing"])["accuracy"] is None


def test_lines_that_cannot_be_used_are_reported_with_their_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "train.jsonl"
    good = {"text": " Secret words ", "intent": "a", "language": "en", "speaker": "kept out"}
    bad = [{"text": "x"}, {**good, "text": "?!"}, {**good, "intent": ""}, {**good, "intent": OUT_OF_SCOPE}]
    path.write_text("\n".join([*map(json.dumps, (good, *bad)), "{"]), "utf-8")
    with caplog.at_level(logging.WARNING):
        assert read_examples(path) == [Example("Secret words", "a", "en")]
    messages = [record.getMessage() for record in caplog.records]
    assert [message.rpartition(":")[2] for message in messages] == ["2)", "3)", "4)", "5)", "6)"]
    assert "Secret" not in caplog.text
    path.write_text("{\n", "utf-8")
    with pytest.raises(ManifestError, match=r"there is no usable example, 1 broken ones; a line needs 'text'"):
        read_examples(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("buckets", -1), ("buckets", 2**21), ("ngrams", 0.0), ("inverse_penalty", 0.0), ("lost", 1.0), ("copies", 0)],
)
def test_options_that_cannot_work(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' must be"):
        IntentOptions(**{key: value})


def test_too_few_intents(made_up: list[Example]) -> None:
    with pytest.raises(ConfigError, match="examples of two intents or more, found none"):
        train_intent_model([], IntentOptions())
    with pytest.raises(ConfigError, match="examples of two intents or more, found nothing, weather"):
        some = [one for one in made_up if one.intent in ("nothing", "weather")]
        train_intent_model(some, IntentOptions(outside="nothing"))
    with pytest.raises(ConfigError, match="no example is labelled 'oos', which 'outside' names"):
        train_intent_model(made_up, IntentOptions(outside="oos"))
