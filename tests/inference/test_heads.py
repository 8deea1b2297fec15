"""What heads say beside a transcript: given labels, certainty, silence, and the same alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from asr import Transcriber
from asr.inference.decoding import DecodeOptions
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper
from asr.transcript import UNKNOWN

Voice = Callable[..., npt.NDArray[np.float32]]
DIALECTS = HeadSpec(("en-GB", "en-IN", "fr-CA", "fr-FR"), languages=("en", "en", "fr", "fr"))


@pytest.fixture
def transcriber(model: DialectWhisper) -> Transcriber:
    model.set_heads({"dialect": DIALECTS, "intonation": HeadSpec(("question", "statement"), dialects=("fr-CA",))})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Transcriber(Checkpoint(model.eval(), CheckpointInfo("tiny")), options=DecodeOptions(max_tokens=4))


def demand(transcriber: Transcriber, name: str, threshold: float) -> None:
    head = transcriber.checkpoint.model.head(name)
    head.spec = replace(head.spec, threshold=threshold)


def test_every_probability_of_the_language_and_the_best_label(transcriber: Transcriber, voice: Voice) -> None:
    found = transcriber.transcribe(voice(1.0), language="fr")
    assert set(found.dialect_scores) == {"fr-CA", "fr-FR"}
    assert sum(found.dialect_scores.values()) == pytest.approx(1)
    assert found.dialect == max(found.dialect_scores, key=lambda tag: found.dialect_scores[tag])
    assert found.dialect_confidence == found.dialect_scores[found.dialect]
    assert found.intonation in ("question", "statement")
    assert (found.p_question > 0.5) is (found.intonation == "question")


def test_the_same_alone_and_in_a_batch(transcriber: Transcriber, voice: Voice) -> None:
    sounds = [voice(0.5), voice(2.0, 1), voice(1.2, 2)]
    together = list(transcriber.transcribe_many(sounds, language="fr"))
    for sound, heard in zip(sounds, together, strict=True):
        alone = transcriber.transcribe(sound, language="fr")
        assert alone.p_question == pytest.approx(heard.p_question, abs=1e-4)
        assert alone.dialect_scores == pytest.approx(heard.dialect_scores, abs=1e-4)


def test_a_dialect_that_is_given_stays_beside_what_was_heard(transcriber: Transcriber, voice: Voice) -> None:
    found = transcriber.transcribe(voice(1.0), dialect="fr-CH")
    assert found.dialect == "fr-CH"
    assert set(found.dialect_scores) == {"fr-CA", "fr-FR"}


def test_unknown_under_the_threshold_and_in_a_language_without_dialects(transcriber: Transcriber, voice: Voice) -> None:
    demand(transcriber, "dialect", 1.1)
    found = transcriber.transcribe(voice(1.0), language="fr")
    assert found.dialect == UNKNOWN and found.dialect_confidence == max(found.dialect_scores.values())
    demand(transcriber, "dialect", 0.0)
    other = transcriber.transcribe(voice(1.0), language="de")
    assert (other.dialect, other.dialect_confidence, other.dialect_scores) == (UNKNOWN, 0.0, {})


def test_the_tune_is_learnt_per_dialect(transcriber: Transcriber, voice: Voice) -> None:
    head = transcriber.checkpoint.model.head("intonation")
    with torch.no_grad():
        head.by_dialect.weight[1] = torch.tensor([50.0, -50.0])
    assert transcriber.transcribe(voice(1.0), dialect="fr-CA").p_question == pytest.approx(1)
    assert transcriber.transcribe(voice(1.0), dialect="fr-FR").p_question < 1


def test_where_nothing_is_said_nothing_is_told(
    transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch, voice: Voice
) -> None:
    import asr.inference.transcriber as module

    real = module.decode
    monkeypatch.setattr(module, "decode", lambda *given: [replace(result, text="") for result in real(*given)])
    found = transcriber.transcribe(voice(1.0), language="fr")
    assert (found.dialect, found.dialect_confidence, found.dialect_scores) == (UNKNOWN, 0.0, {})
    assert (found.intonation, found.p_question, found.punctuation) == (UNKNOWN, None, None)


def test_without_heads_nothing_is_told(model: DialectWhisper, voice: Voice) -> None:
    found = Transcriber(Checkpoint(model, CheckpointInfo("tiny")), options=DecodeOptions(max_tokens=4)).transcribe(
        voice(1.0)
    )
    assert (found.dialect, found.dialect_scores, found.dialect_confidence, found.intonation) == (None, {}, None, None)


def test_a_short_fragment_is_marked(transcriber: Transcriber, voice: Voice) -> None:
    assert transcriber.transcribe(voice(2.9)).to_dict()["short"] is True
    assert transcriber.transcribe(voice(3.1)).to_dict()["short"] is False
