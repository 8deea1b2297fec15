"""Calibration of a model's heads: the answers stay, their certainty is mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import expit
from sklearn.metrics import f1_score
from typer.testing import CliRunner
from whisper.model import Whisper

import asr.evaluation.calibrate as module
from asr import Transcriber
from asr.cli import app
from asr.errors import ConfigError
from asr.evaluation.calibrate import calibrate, learn_fusion
from asr.fragment import Consent, Fragment, read_manifest, write_manifest
from asr.inference.decoding import DecodeOptions
from asr.inference.punctuation import asks
from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.heads import HeadSpec
from asr.model.interpolate import interpolate
from asr.model.network import DialectWhisper
from asr.privacy.record import open_record
from asr.sums import sha256_of
from asr.transcript import Transcript


@pytest.fixture
def model(tiny_whisper: Whisper) -> DialectWhisper:
    """With a head that is far too sure of whatever it says."""
    model = DialectWhisper(tiny_whisper, "tight")
    model.set_heads({"intonation": HeadSpec(("question", "statement"))})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture
def labelled(corpus: Path) -> Path:
    kinds = ("question", "statement", "statement", None)
    write_manifest(
        [item.replace(intonation=kinds[number % 4]) for number, item in enumerate(read_manifest(corpus))],
        corpus.with_name("labelled.jsonl"),
    )
    return corpus.with_name("labelled.jsonl")


def test_the_answers_stay_and_the_certainty_is_mended(model: DialectWhisper, labelled: Path) -> None:
    (found,) = calibrate(model, [labelled], risk=0.5)
    assert (found.name, found.fragments) == ("intonation", 9)
    assert found.temperature > 2, "some answers are wrong, and all were certain"
    spec = model.head("intonation").spec
    assert (spec.temperature, spec.threshold) == (found.temperature, found.threshold)
    (again,) = calibrate(model, [labelled], risk=0.5)
    assert again == found, "what was there before does not count"


def test_what_has_no_consent_to_training_is_not_listened_to(model: DialectWhisper, labelled: Path) -> None:
    fragments = list(read_manifest(labelled))
    (whole,) = calibrate(model, [labelled], risk=0.5)
    only = fragments[0].consent.model_copy(update={"purposes": ("evaluation",)})  # type: ignore[union-attr]
    write_manifest([fragments[0].replace(consent=only), *fragments[1:]], labelled)
    (less,) = calibrate(model, [labelled], risk=0.5)
    (unasked,) = calibrate(model, [labelled], risk=0.5, consent=None)
    assert (less.fragments, unasked.fragments) == (whole.fragments - 1, whole.fragments)


def test_the_command(model: DialectWhisper, labelled: Path, tmp_path: Path) -> None:
    save_checkpoint(model, CheckpointInfo("tiny", tags=("fr-CA",)), tmp_path / "a.pt")
    result = CliRunner().invoke(
        app, ["calibrate", str(tmp_path / "a.pt"), str(labelled), "--output", str(tmp_path / "b.pt")]
    )
    assert result.exit_code == 0, result.output
    begun, ended = open_record().entries()
    assert (begun.action, begun.details["command"], begun.manifests[0].name) == ("train", "calibrate", "labelled.jsonl")
    assert ended.details["checkpoints"] == {"b.pt": sha256_of(tmp_path / "b.pt")}
    assert result.stdout.startswith("intonation: 9 fragments, macro-F1 ")
    before, after = (load_checkpoint(tmp_path / name).model.head("intonation") for name in ("a.pt", "b.pt"))
    assert after.spec.temperature > before.spec.temperature == 1.0
    assert torch.equal(before.out.weight, after.out.weight)
    assert load_checkpoint(tmp_path / "b.pt").info.tags == ("fr-CA",)


def asked_and_not(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Who asks, the decoder's log-odds, the voice's probability, and the decoder's marks: each source knows a part."""
    random = np.random.default_rng(0)
    asked = random.random(count) < 0.4
    words = random.normal(np.where(asked, 1.0, -1.0), 2.0)
    voice = expit(random.normal(np.where(asked, 1.5, -1.5), 1.5))
    return asked, words, voice, words > 0


def test_both_sources_tell_more_than_either_without_more_false_marks() -> None:
    asked, words, voice, own = asked_and_not(2000)
    voices = [f"v{number % 10}" for number in range(2000)]
    fusion = learn_fusion(words.tolist(), voice.tolist(), asked, own, voices)
    fused = np.array([fusion.p_question(*pair) for pair in zip(words, voice, strict=True)])
    # Two normal sources of known means and spreads have these weights: twice the mean over the variance.
    assert fusion.words == pytest.approx(2 * 1.0 / 2.0**2, abs=0.07)
    assert fusion.voice == pytest.approx(2 * 1.5 / 1.5**2, abs=0.15)
    assert fusion.bias == pytest.approx(np.log(0.4 / 0.6), abs=0.15)
    marks = fused >= fusion.threshold
    assert f1_score(asked, marks) > max(f1_score(asked, own), f1_score(asked, voice > 0.5)) + 0.02

    def allowed(others: np.ndarray) -> bool:
        more = []
        for name in sorted(set(voices)):
            his = ~asked & (np.array(voices) == name)
            more.append(others[his].mean() - own[his].mean())
        return bool(np.mean(more) + np.std(more, ddof=1) / 10**0.5 <= 0.01)

    assert allowed(marks)
    # Whatever other threshold is allowed is no better.
    others = [fused >= edge for edge in fused if allowed(fused >= edge)]
    assert f1_score(asked, marks) == pytest.approx(max(f1_score(asked, other) for other in others), abs=2e-3)


def test_where_voices_differ_the_marks_keep_their_distance() -> None:
    asked, words, voice, own = asked_and_not(2000)
    alike = [f"v{number % 10}" for number in range(2000)]
    # The same fragments, but every voice stays on its own side: some sound as if they asked, some never do.
    apart = [f"v{int(10 * share)}" for share in voice]

    def false(voices: list[str]) -> float:
        fusion = learn_fusion(words.tolist(), voice.tolist(), asked, own, voices)
        fused = np.array([fusion.p_question(*pair) for pair in zip(words, voice, strict=True)])
        return float((fused >= fusion.threshold)[~asked].mean())

    assert false(apart) < false(alike)


def test_a_model_that_writes_no_mark_puts_hardly_one_that_is_false() -> None:
    asked, _, voice, _ = asked_and_not(400)
    never = np.zeros(400, bool)
    fusion = learn_fusion([-8.0] * 400, voice.tolist(), asked, never, ["v"] * 400)
    marks = np.array([fusion.p_question(-8.0, chance) >= fusion.threshold for chance in voice])
    assert marks[asked].any() and marks[~asked].mean() <= 0.01


@pytest.fixture
def spoken(tmp_path: Path, voice: Callable[..., np.ndarray], consent: Consent) -> Path:
    """Enough questions and statements to learn a fusion from."""
    fragments = []
    for number in range(44):
        soundfile.write(tmp_path / f"{number}.wav", voice(0.5, number), 16000)
        kind = "question" if number % 2 else "statement"
        fragments.append(
            Fragment(
                id=f"{number}",
                audio=f"{tmp_path}/{number}.wav",
                text="x",
                language="en",
                intonation=kind,
                consent=consent,
            )
        )
    write_manifest(fragments, tmp_path / "spoken.jsonl")
    return tmp_path / "spoken.jsonl"


def test_the_fusion_is_learnt_kept_and_told(
    model: DialectWhisper, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model finds no end; the limit is asked for, with the longest fragment's seconds.
    asked_for: list[float] = []
    monkeypatch.setattr(module, "sayable_tokens", lambda _, seconds, language: asked_for.append(seconds) or 6)
    save_checkpoint(model, CheckpointInfo("tiny"), tmp_path / "a.pt")
    paths = [str(tmp_path / "a.pt"), str(spoken), "--output", str(tmp_path / "b.pt")]
    result = CliRunner().invoke(app, ["calibrate", *paths])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("question marks by ")]
    assert [line.split(" on ")[0] for line in lines] == [
        f"question marks by {source}" for source in ("words", "voice", "words and voice")
    ]
    assert asked_for and all(0 < seconds < 5 for seconds in asked_for)
    loaded = load_checkpoint(tmp_path / "b.pt")
    fusion = loaded.model.head("intonation").spec.fusion
    assert fusion is not None and 0 < fusion.threshold <= 1
    assert interpolate(loaded, loaded, 0.5).model.head("intonation").spec.fusion == fusion
    # The transcriber puts the very marks that were counted.
    heard = list(Transcriber(loaded, options=DecodeOptions(max_tokens=6)).transcribe_many(read_manifest(spoken)))
    asked = np.array([item.intonation == "question" for item in read_manifest(spoken)])
    marks = np.array([isinstance(item, Transcript) and asks(item.text, "en") for item in heard])
    assert (
        f"F1 {f1_score(asked, marks, zero_division=0.0):.3f}, false ones on {100 * marks[~asked].mean():.1f} %"
        in lines[2]
    )


def test_too_few_questions_teach_no_fusion(model: DialectWhisper, labelled: Path) -> None:
    (found,) = calibrate(model, [labelled], risk=0.5)
    assert found.marks is None and model.head("intonation").spec.fusion is None


def test_there_must_be_something_to_calibrate(model: DialectWhisper, tiny_whisper: Whisper, corpus: Path) -> None:
    with pytest.raises(ConfigError, match="'intonation' knows"):
        calibrate(model, [corpus], risk=0.1)
    with pytest.raises(ConfigError, match="no head to calibrate"):
        calibrate(DialectWhisper(tiny_whisper), [corpus], risk=0.1)
