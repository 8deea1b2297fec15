"""Probabilities of words: which were said, by hand; what they are worth, found again where it is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logit
from typer.testing import CliRunner

import asr.evaluation.words as module
from asr.cli import app
from asr.evaluation.words import calibrate_words, words_that_were_said
from asr.fragment import Consent, Fragment, write_manifest
from asr.model.checkpoint import load_checkpoint
from asr.model.info import WordConfidence
from asr.transcript import Segment, Transcript, Word

SAID = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]


def told(text: str, chances: list[float] | None = None) -> Transcript:
    parts = text.split()
    words = [
        Word(part, place, place + 1.0, chance)
        for place, (part, chance) in enumerate(zip(parts, chances or [0.5] * len(parts), strict=True))
    ]
    segment = Segment(0.0, 1.0, text, -0.1, 0.0, 1.0)
    return Transcript("", text, "en", None, 1.0, (segment,), words=tuple(words))


def fragment(text: str, number: int = 0) -> Fragment:
    consent = Consent(id="made-up", purposes=("training",))
    return Fragment(id=str(number), audio="/a.wav", text=text, language="en", speaker=f"s{number % 7}", consent=consent)


@pytest.mark.parametrize(
    ("heard", "said", "expected"),
    [
        ("The red house.", "the red house", [True, True, True]),
        ("The red mouse , was big", "the red house is big", [True, True, False, False, True]),
        ("It is red", "red", [False, False, True]),
        ("red", "", [False]),
        ("", "red", []),
    ],
)
def test_a_word_is_right_if_it_was_said(heard: str, said: str, expected: list[bool]) -> None:
    found = list(words_that_were_said(told(heard), fragment(said)))
    assert [right for _, right in found] == expected
    assert all(chance == 0.5 for chance, _ in found)


def system(worth: WordConfidence) -> SimpleNamespace:
    """Says eight words of each fragment; a word of probability p is right in `worth` of p."""
    random = np.random.default_rng(0)

    def transcribe_many(fragments: Iterator[Fragment]) -> Iterator[Transcript]:
        for _ in fragments:
            chances = expit(random.normal(1.0, 2.0, len(SAID)))
            words = [
                word if random.random() < worth.of(float(chance)) else "wrong"
                for word, chance in zip(SAID, chances, strict=True)
            ]
            yield told(" ".join(words), chances.tolist())

    return SimpleNamespace(transcribe_many=transcribe_many)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "dev.jsonl"
    write_manifest([fragment(" ".join(SAID), number) for number in range(600)], path)
    return path


def test_what_probabilities_are_worth_is_found_again(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worth = WordConfidence(0.5, -0.7)
    monkeypatch.setattr(module, "_uncalibrated", lambda _: system(worth))
    found = calibrate_words(SimpleNamespace(), [manifest])  # type: ignore[arg-type]
    assert found is not None and found.words == 4800
    assert (found.confidence.slope, found.confidence.intercept) == pytest.approx((0.5, -0.7), abs=0.1)
    assert found.error < 0.03 < 0.1 < found.error_before


@pytest.mark.parametrize("worth", [WordConfidence(-0.5, 0.0), WordConfidence(1.0, 40.0)])
def test_where_nothing_can_be_learnt_nothing_is(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, worth: WordConfidence
) -> None:
    monkeypatch.setattr(module, "_uncalibrated", lambda _: system(worth))
    assert calibrate_words(SimpleNamespace(), [manifest]) is None  # type: ignore[arg-type]


def test_the_chance_is_platts() -> None:
    assert WordConfidence(1.0, 0.0).of(0.3) == pytest.approx(0.3)
    assert WordConfidence(0.5, 0.2).of(0.8) == pytest.approx(expit(0.5 * logit(0.8) + 0.2))
    assert 0 < WordConfidence(2.0, 0.0).of(0.0) < WordConfidence(2.0, 0.0).of(1.0) < 1


def test_a_checkpoint_without_heads_learns_it_too(
    tiny_checkpoint: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_uncalibrated", lambda _: system(WordConfidence(0.5, -0.7)))
    given = ["calibrate", str(tiny_checkpoint), str(manifest), "--output", str(tmp_path / "b.pt")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("words: 4800, ") and "calibration error" in result.stdout
    kept = load_checkpoint(tmp_path / "b.pt").info.words
    assert kept is not None and kept.slope == pytest.approx(0.5, abs=0.1)
    monkeypatch.setattr(module, "_uncalibrated", lambda _: system(WordConfidence(1.0, 40.0)))
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 1 and "nothing to calibrate" in " ".join(result.output.replace("│", " ").split())
