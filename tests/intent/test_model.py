"""The model: pooling against a loop, the file against damage, and a clear outcome for whatever is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from asr.errors import CheckpointError
from asr.intent.model import (
    OUT_OF_SCOPE,
    REFERENCE,
    IntentModel,
    Reading,
    load_intent_model,
    readings,
    reference_intent_model,
)
from asr.intent.training import read_examples

TRAVEL = Path(__file__).parents[2] / "datasets" / "intents" / "travel.fr.jsonl"


@dataclass(frozen=True)
class Word:
    text: str
    confidence: float | None = None


@dataclass(frozen=True)
class Hypothesis:
    text: str
    log_probability: float


@dataclass(frozen=True)
class Utterance:
    text: str
    words: tuple[Word, ...] = ()
    nbest: tuple[Hypothesis, ...] = ()
    text_standard: str | None = None
    language: str | None = "en"
    p_question: float | None = None


HYPOTHESES = ("play some jazz", "pray some jazz", "will it rain", "turn on the light", "")


@settings(max_examples=30, deadline=None)
@given(nbest=st.lists(st.tuples(st.sampled_from(HYPOTHESES), st.floats(-30, 0)), min_size=1, max_size=4))
def test_pooling_is_a_weighted_sum(nbest: list[tuple[str, float]], tiny: IntentModel) -> None:
    said = Utterance(nbest[0][0], nbest=tuple(Hypothesis(*one) for one in nbest))
    usable = [(text, np.exp(odds)) for text, odds in nbest if text]
    found = tiny.predict(said, keywords=0)
    if not usable:
        assert found.reason == "no words"
        return
    total = np.zeros(len(tiny.labels))
    for text, chance in usable:
        alone = tiny.probabilities([Reading(text, None, True, 1.0)])[0]
        total += chance / sum(chance for _, chance in usable) * alone
    best = dict(zip(tiny.labels, total, strict=True))
    del best["nothing"]
    assert found.confidence == pytest.approx(max(best.values()), rel=1e-4)
    assert dict(found.scores) == pytest.approx(best, rel=1e-4)
    assert found.in_scope == (found.confidence >= tiny.full.threshold)


def test_without_odds_a_hypothesis_counts_like_the_others() -> None:
    said = Utterance("a", nbest=(Hypothesis("a", float("nan")), Hypothesis("b", 0.0), Hypothesis("c", -np.inf)))
    assert {one.text: one.weight for one in readings(said, None, ("en",))} == pytest.approx(
        {"a": 0.5, "b": 0.5, "c": 0}
    )


def test_unsure_words_count_half() -> None:
    words = (Word("play", 0.9), Word("the", 0.2), Word("jazz", None))
    said = Utterance("Play the jazz.", words)
    assert {one.text: one.weight for one in readings(said, None, ("en",))} == {"play the jazz": 0.5, "play jazz": 0.5}
    # The same words with another mark are the same hypothesis; others have no confidences.
    said = Utterance("Play the jazz?", words, (Hypothesis("Play the jazz.", 0.0), Hypothesis("Play the chess.", 0.0)))
    assert {one.text: one.weight for one in readings(said, None, ("en",))} == {
        "play the jazz": 0.25, "play jazz": 0.25, "play the chess": 0.5
    }  # fmt: skip
    for confidence in (0.1, 0.9):  # all unsure, none unsure: nothing to leave out
        said = Utterance("Play the jazz.", tuple(Word(word.text, confidence) for word in words))
        assert [(one.text, one.weight) for one in readings(said, None, ("en",))] == [("play the jazz", 1)]


def test_the_standard_rendering_is_read() -> None:
    said = Utterance("Il drache.", text_standard="Il pleut.", language="fr")
    (read,) = readings(said, None, ("en",))
    assert (read.text, read.known) == ("il pleut", False)
    (read,) = readings(Utterance("Il drache.", text_standard="Il pleut.", language="en"), None, ("en",))
    assert read.known


@pytest.mark.parametrize(
    ("text", "p_question", "asked"), [("a?", None, 1.0), ("a.", None, 0.0), ("a", None, None), ("a?", 0.2, 0.2)]
)
def test_the_voice_says_whether_it_asks_before_the_mark_does(
    text: str, p_question: float | None, asked: float | None
) -> None:
    assert readings(Utterance(text, p_question=p_question), None, ("en",))[0].p_question == asked


def test_a_text_and_an_event_of_it_are_the_same(tiny: IntentModel) -> None:
    assert tiny.predict(Utterance("play a song")) == tiny.predict("play a song", language="en")
    many = tiny.predict_many(["play a song", "", "will it rain"])
    assert [one.name for one in many] == [tiny.predict(text).name for text in ("play a song", "", "will it rain")]
    assert tiny.predict_many([]) == []


def test_keywords_are_the_words_that_led_to_it(tiny: IntentModel) -> None:
    model = replace(tiny, full=replace(tiny.full, threshold=0.0))
    text = "so um i want you to play jazz now"
    found = model.predict(text, keywords=2)
    assert found.name == "music"
    assert 0 < len(found.keywords) <= 2
    assert {"jazz", "play"} & set(found.keywords)
    assert model.predict("jazz").keywords == ("jazz",)
    assert model.predict("play jazz", keywords=0).keywords == ()
    # Without its first keyword the odds fall by more than without any other word.
    words = text.split()
    row = model.labels.index("music")
    left = {
        word: model.probabilities([Reading(" ".join(other for other in words if other != word), None, True, 1)])[0, row]
        for word in words
    }
    assert min(left, key=lambda word: left[word]) == found.keywords[0]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "no words"),
        (" ?!… ", "no words"),
        ("\x00\x07\x1b", "no words"),
        ("<b></b>", "no words"),
        (Utterance("play some jazz", language="sw"), "language"),
        (Utterance("", nbest=(Hypothesis("", 0.0),)), "no words"),
    ],
)
def test_what_cannot_be_understood_is_out_of_scope_for_a_reason(tiny: IntentModel, said: Any, reason: str) -> None:
    found = tiny.predict(said)
    assert (found.name, found.in_scope, found.confidence, found.scores, found.reason) == (
        OUT_OF_SCOPE, False, 0.0, (), reason
    )  # fmt: skip


def test_what_is_unsure_is_out_of_scope_and_what_it_might_be_is_told(tiny: IntentModel) -> None:
    strict = replace(tiny, full=replace(tiny.full, threshold=1.0))
    found = strict.predict("play some jazz")
    assert (found.name, found.in_scope, found.reason, found.keywords) == (OUT_OF_SCOPE, False, "unsure", ())
    assert found.scores[0] == ("music", found.confidence)
    # What is none of the intents is never told as one.
    assert "nothing" not in dict(found.scores)


@pytest.mark.parametrize(
    "text", ["play some jazz " * 3334, "play\x00 some\x07 jazz", "<speak>play <b>some</b> jazz</speak>"]
)
def test_long_and_dirty_texts_are_read(tiny: IntentModel, text: str) -> None:
    found = tiny.predict(text)
    assert found.scores[0][0] == "music"
    assert len(found.scores) == 3


def test_a_model_comes_back_as_it_was(tiny: IntentModel, tmp_path: Path) -> None:
    path = tmp_path / "models" / "intent.safetensors"
    tiny.save(path)
    loaded = load_intent_model(path)
    texts = ["play some jazz", "is it cold?", "allume la lampe"]
    assert loaded.predict_many(texts, keywords=3) == tiny.predict_many(texts, keywords=3)
    assert loaded.predict_many(texts, language="fr") == tiny.predict_many(texts, language="fr")
    assert (loaded.labels, loaded.outside, loaded.languages) == (tiny.labels, tiny.outside, tiny.languages)
    assert loaded.training == json.loads(json.dumps(tiny.training))
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    with safe_open(path, "numpy") as opened:
        header = json.loads(opened.metadata()["intent_model"])
    arrays = load_file(path)
    change(header, arrays)
    save_file(arrays, path, {"intent_model": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, _: header.update(version=2), "is an intent model of version 2, this package reads 1"),
        (lambda header, _: header.update(encoder="other"), "has learnt from other sentence vectors than use-multi"),
        (lambda header, _: header.pop("labels"), "is a damaged intent model"),
        (lambda header, _: header["labels"].pop(), "is a damaged intent model"),
        (lambda header, _: header.update(labels=["weather"] * 4), "is a damaged intent model"),
        (lambda header, _: header.update(outside="elsewhere"), "is a damaged intent model"),
        (lambda header, _: header["full"].update(temperature=0), "is a damaged intent model"),
        (lambda header, _: header["full"].update(threshold=2), "is a damaged intent model"),
        (lambda header, _: header.update(full=None), "is a damaged intent model"),
        (lambda _, arrays: arrays.pop("full.bias"), "is a damaged intent model"),
        (lambda _, arrays: arrays["full.bias"].fill(np.nan), "is a damaged intent model"),
        (lambda _, arrays: arrays.update({"full.weights": arrays["full.weights"][:, 1:]}), "is a damaged intent model"),
        (lambda _, arrays: arrays.update({"full.buckets": np.zeros(3)}), "is a damaged intent model"),
    ],
)
def test_a_file_that_is_not_right_is_refused(
    tiny: IntentModel, tmp_path: Path, change: Callable[[Any, Any], Any], message: str
) -> None:
    path = tmp_path / "intent.safetensors"
    tiny.save(path)
    rewritten(path, change)
    with pytest.raises(CheckpointError, match=f"{path} {message}"):
        load_intent_model(path)


def test_a_damaged_or_foreign_file_is_refused(tiny: IntentModel, tmp_path: Path) -> None:
    path = tmp_path / "intent.safetensors"
    tiny.save(path)
    whole = path.read_bytes()
    for damage in (b"", b"\x80\x04K\x01.", whole[:4], whole[:200], whole[:-1], b"\xff" * 8 + whole, whole[8:]):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match="is no intent model, or a damaged one"):
            load_intent_model(path)
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="is no intent model, or a damaged one"):
        load_intent_model(path)
    for missing in (tmp_path / "gone", tmp_path):
        with pytest.raises(CheckpointError, match=r"there is no intent model .*; scripts/train_intent\.py makes one"):
            load_intent_model(missing)


def test_the_model_that_comes_along_understands_what_it_never_read() -> None:
    model = reference_intent_model()
    assert model is reference_intent_model() and model.languages == ("en",)
    french = read_examples(TRAVEL)
    told = model.predict_many([one.text for one in french], language="fr")
    assert sum(a.scores[0][0] == e.intent for a, e in zip(told, french, strict=True)) >= 0.9 * len(french)
    for text in ("", "the paint on my cousin's house dries slowly", "\x00 <b></b> ..."):
        assert model.predict(text, language="en").name == OUT_OF_SCOPE
    assert model.predict("please play some jazz", language="en").name == "play_music"


def test_the_model_that_comes_along_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_intent_model(REFERENCE).labels == reference_intent_model().labels
    with pytest.raises(CheckpointError, match="'clinc150' is the one that comes"):
        load_intent_model("clinc")
