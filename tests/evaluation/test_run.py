"""Whole evaluations: with a system whose answers are known, and with the tiny model."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from asr import Transcriber, read_manifest
from asr.audio import load_audio
from asr.errors import AsrError, AudioError, ManifestError
from asr.evaluation import evaluate
from asr.fragment import Consent, Fragment, write_manifest
from asr.inference.decoding import DecodeOptions
from asr.inference.speech import SpeechOptions
from asr.intent.training import Example, IntentOptions, train_intent_model
from asr.model.heads import HeadSpec
from asr.transcript import Transcript


class Answers:
    """A system that says the same of a fragment every time, and fails where it has no answer."""

    heads: Mapping[str, HeadSpec] = {}
    options = DecodeOptions()

    def __init__(self, **texts: str) -> None:
        self.texts = texts

    def transcribe_many(self, fragments: Iterable[Fragment]) -> Iterator[Transcript | AsrError]:
        for item in fragments:
            if item.id in self.texts:
                yield Transcript(item.id, self.texts[item.id], item.language, item.dialect, 2.0, ())
            else:
                yield AudioError(f"{item.audio} is gone")


@pytest.fixture
def manifest(tmp_path: Path, consent: Consent) -> Path:
    rows = [
        {"id": "a", "text": "un deux trois", "dialect": "fr-BE", "duration": 1.5},
        {"id": "b", "text": "quatre cinq", "dialect": "fr-CA"},
        {"id": "c", "text": "six", "dialect": "fr-CA"},
    ]
    path = tmp_path / "m.jsonl"
    same = {"language": "fr", "consent": consent.model_dump(mode="json")}
    lines = [json.dumps({"audio": f"{row['id']}.wav"} | same | row) for row in rows]
    path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n", "utf-8")
    return path


def test_figures_failures_and_what_is_left_out(manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = Answers(a="un deux trois", b="quatre six")
    with caplog.at_level(logging.WARNING):
        report = evaluate(system, {"one": manifest}, system_name="mine", resamples=20)  # type: ignore[arg-type]
    assert (report.system, report.baseline) == ("mine", None)
    assert (report.fragments, report.failed, report.without_duration) == (2, 1, 0)
    words = report.targets[0].overall.system.words
    assert (words.errors, words.reference) == (1, 5)
    # One from the manifest, one that the system has heard.
    assert report.targets[0].overall.audio_seconds == pytest.approx(3.5)
    assert report.speed is not None
    assert report.speed.decode_seconds >= 0
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("left out: not JSON")
    assert caplog.messages[0].endswith("m.jsonl:2)")
    assert caplog.messages[1] == "mine: fragment 'c' failed; run `asr validate` on its manifest"


def test_two_systems_on_the_same_fragments(manifest: Path) -> None:
    system, baseline = Answers(a="un deux", b="quatre cinq"), Answers(a="un", c="six")
    report = evaluate(
        system,
        {"one": manifest},
        baseline,
        baseline_name="older",
        resamples=20,  # type: ignore[arg-type]
    )
    assert (report.fragments, report.failed, report.baseline) == (1, 2, "older")
    overall = report.targets[0].overall
    assert overall.baseline is not None
    assert (overall.system.words.errors, overall.baseline.words.errors) == (1, 2)
    assert report.baseline_speed is not None


def test_sets_are_named_when_there_are_several(manifest: Path, tmp_path: Path) -> None:
    system = Answers(a="un deux trois", b="quatre cinq", c="sept")
    one = evaluate(system, {"one": manifest}, resamples=20)  # type: ignore[arg-type]
    assert not [row for row in one.targets[0].groups if row.dimension == "test_set"]
    two = evaluate(system, {"one": manifest, "two": manifest}, resamples=20)  # type: ignore[arg-type]
    rows = {row.group: row.fragments for row in two.targets[0].groups if row.dimension == "test_set"}
    assert rows == {"one": 3, "two": 3}


def test_nothing_to_evaluate_on(tmp_path: Path) -> None:
    with pytest.raises(AsrError, match=r"name a manifest, such as \+test\.dialect=dev\.jsonl"):
        evaluate(Answers(), {})  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match="no such manifest"):
        evaluate(Answers(), {"one": tmp_path / "gone.jsonl"})  # type: ignore[arg-type]
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(AsrError, match="there is no fragment to score"):
        evaluate(Answers(), {"one": tmp_path / "empty.jsonl"})  # type: ignore[arg-type]


def test_with_a_model(tiny_checkpoint: Path, dev: Path) -> None:
    # A random model finds no end.
    system = Transcriber(tiny_checkpoint, device="cpu", options=DecodeOptions(max_tokens=6))
    report = evaluate(system, {"dev": dev}, resamples=20)
    said = {item.id: system.transcribe(item).text for item in read_manifest(dev)}
    expected = evaluate(Answers(**said), {"dev": dev}, resamples=20)  # type: ignore[arg-type]
    assert report.targets == expected.targets
    assert report.targets[0].overall.system.words.reference == 6


def test_fragments_heard_as_recordings(tiny_checkpoint: Path, dev: Path) -> None:
    system = Transcriber(tiny_checkpoint, device="cpu", options=DecodeOptions(max_tokens=6))
    said = {
        item.id: system.transcribe(
            load_audio(item.audio, item.start, item.duration), language=item.language, dialect=item.dialect
        ).text
        for item in read_manifest(dev)
    }
    assert said != {item.id: system.transcribe(item).text for item in read_manifest(dev)}
    report = evaluate(system, {"dev": dev}, system, resamples=20, as_recordings=True)
    expected = evaluate(Answers(**said), {"dev": dev}, Answers(**said), resamples=20)  # type: ignore[arg-type]
    assert report.targets == expected.targets and report.as_recordings
    assert system.speech == SpeechOptions()


def test_a_dialect_head_is_asked_and_not_told(manifest: Path) -> None:
    class Hears(Answers):
        heads: Mapping[str, HeadSpec] = {"dialect": HeadSpec(("fr-BE", "fr-CA"), ("fr", "fr"), temperature=0.5)}

        def transcribe_many(self, fragments: Iterable[Fragment]) -> Iterator[Transcript | AsrError]:
            for item in fragments:
                assert item.dialect is None
                scores = {"fr-BE": 0.2, "fr-CA": 0.8}
                yield Transcript(item.id, "x", "fr", "fr-CA", 2.0, (), dialect_scores=scores)

    report = evaluate(Hears(), {"one": manifest}, resamples=20)  # type: ignore[arg-type]
    (told,) = report.labels
    assert (told.name, told.fragments, told.labels) == ("dialect", 3, ("fr-BE", "fr-CA"))
    assert told.confusion == ((0, 1, 0), (0, 2, 0))
    # Of 0.8 against 0.2 the temperature of a half made twice as much of the difference: they were 2 to 1.
    assert told.reliability.error.value == pytest.approx(0.8 - 2 / 3)
    assert told.reliability_before is not None
    assert told.reliability_before.error.value == pytest.approx(0.0)
    # So is that of a baseline.
    evaluate(Answers(a="x"), {"one": manifest}, Hears(), resamples=20)  # type: ignore[arg-type]
    # The words are still scored as the dialect that people labelled.
    assert {group.group for group in report.targets[0].groups if group.dimension == "dialect"} == {"fr-BE", "fr-CA"}
    assert report.to_dict()["labels"][0]["confusion"] == [[0, 1, 0], [0, 2, 0]]


def test_a_dialect_that_was_given_is_no_answer(manifest: Path) -> None:
    class Given(Answers):
        heads: Mapping[str, HeadSpec] = {"dialect": HeadSpec(("fr-BE", "fr-CA"), ("fr", "fr"))}
        options = DecodeOptions(tag="given")

        def transcribe_many(self, fragments: Iterable[Fragment]) -> Iterator[Transcript | AsrError]:
            for item in fragments:
                assert item.dialect is not None
                yield Transcript(item.id, "x", "fr", item.dialect, 2.0, (), dialect_scores={"fr-BE": 0.2, "fr-CA": 0.8})

    assert evaluate(Given(), {"one": manifest}, resamples=20).labels == ()  # type: ignore[arg-type]


def test_what_both_systems_leave_of_the_understanding(tmp_path: Path, consent: Consent) -> None:
    texts = {"music": ("play jazz", "a song", "sing"), "light": ("lamp on", "light please", "make it bright")}
    model = train_intent_model(
        [Example(text, intent, "en") for intent, several in texts.items() for text in several],
        IntentOptions(buckets=64),
    )
    rows = [
        Fragment(
            id=f"{intent}{number}", audio="a.wav", text=text, language="en", consent=consent, custom={"intent": intent}
        )
        for intent, several in texts.items()
        for number, text in enumerate(several)
    ]
    write_manifest(rows, tmp_path / "m.jsonl")
    exact = Answers(**{row.id: row.text for row in rows})
    report = evaluate(
        exact,  # type: ignore[arg-type]
        {"one": tmp_path / "m.jsonl"},
        Answers(**dict.fromkeys(exact.texts, "sing a song")),  # type: ignore[arg-type]
        system_name="mine",
        resamples=20,
        intent_model=model,
    )
    mine, base = report.intents
    assert (mine.system, base.system) == ("mine", "base")
    assert mine.readings[1].retention.value == 1.0
    assert base.readings[1].accuracy.value == 0.5
    assert evaluate(exact, {"one": tmp_path / "m.jsonl"}, resamples=20).intents == ()  # type: ignore[arg-type]
