"""Fragments with what a model hears in place of their transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from asr import Transcriber, read_manifest
from asr.errors import AsrError, AudioError, ManifestError
from asr.fragment import Expression, Fragment, WordTime
from asr.inference.decoding import DecodeOptions
from asr.inference.label import LabelCounts, label_fragments
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.network import DialectWhisper
from asr.transcript import Transcript


class Answers:
    """A transcriber whose answers are known, and which reads ahead as the real one does."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def transcribe_many(self, items: Iterable[Fragment | AsrError]) -> Iterator[Transcript | AsrError]:
        for item in list(items):
            if isinstance(item, AsrError):
                yield item
            elif item.id in self.answers:
                yield Transcript(item.id, self.answers[item.id], item.language, item.dialect, 1.0, ())
            else:
                yield AudioError(f"{item.id} cannot be read")


def fragment(name: str) -> Fragment:
    return Fragment(
        id=name,
        audio=f"{name}.wav",
        text="ce qui a été annoté",
        language="fr",
        start=1.0,
        duration=2.0,
        dialect="fr-CA",
        text_standard="la même chose",
        speaker="s1",
        intonation="question",
        tune="rise",
        emphasis=(1,),
        words=(WordTime(text="ce", start=1.0, duration=0.2),),
        expressions=(Expression(text="ce qui"),),
        split="train",
        custom={"mic": "phone"},
    )


def test_the_text_is_what_is_heard_and_the_rest_stays() -> None:
    counts = LabelCounts()
    labelled = list(label_fragments(Answers({"a": "on y va"}), [fragment("a")], counts))  # type: ignore[arg-type]
    # What annotates the words goes with them.
    assert labelled == [
        fragment("a").replace(text="on y va", text_standard=None, words=(), expressions=(), emphasis=())
    ]
    assert (labelled[0].tune, labelled[0].custom, labelled[0].split) == ("rise", {"mic": "phone"}, "train")
    assert counts == LabelCounts(labelled=1)


def test_loops_failures_and_broken_lines_are_left_out_and_counted() -> None:
    broken = ManifestError("broken", "m.jsonl", 2)
    items = [fragment("a"), broken, fragment("loop"), fragment("gone"), fragment("silent")]
    counts, failures = LabelCounts(), list[AsrError]()
    answers = Answers({"a": "oui", "loop": "encore " * 40, "silent": ""})
    labelled = list(label_fragments(answers, iter(items), counts, failures))  # type: ignore[arg-type]
    assert [(item.id, item.text) for item in labelled] == [("a", "oui"), ("silent", "")]
    assert counts == LabelCounts(labelled=2, runaway=1, failed=2)
    assert failures[0] is broken
    assert str(failures[1]) == "gone cannot be read"
    again = LabelCounts()
    list(label_fragments(answers, iter(items), again))  # type: ignore[arg-type]
    assert again == counts


@pytest.mark.parametrize("batch_seconds", [30.0, 90.0])
def test_with_a_model(model: DialectWhisper, corpus: Path, batch_seconds: float) -> None:
    fragments = list(read_manifest(corpus))[::3]
    checkpoint = Checkpoint(model, CheckpointInfo("tiny"))
    options = DecodeOptions(max_tokens=6)
    transcriber = Transcriber(checkpoint, device="cpu", batch_seconds=batch_seconds, options=options)
    said = [transcriber.transcribe(item).text for item in fragments]
    assert len(set(said)) > 1
    counts = LabelCounts()
    assert [item.text for item in label_fragments(transcriber, iter(fragments), counts)] == said
    assert counts == LabelCounts(labelled=4)
