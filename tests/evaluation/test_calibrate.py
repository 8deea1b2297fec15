"""Calibration of a model's heads: the answers stay, their certainty is mended."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from whisper.model import Whisper

from asr.cli import app
from asr.errors import ConfigError
from asr.evaluation.calibrate import calibrate
from asr.fragment import read_manifest, write_manifest
from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper


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


def test_the_command(model: DialectWhisper, labelled: Path, tmp_path: Path) -> None:
    save_checkpoint(model, CheckpointInfo("tiny"), tmp_path / "a.pt")
    result = CliRunner().invoke(
        app, ["calibrate", str(tmp_path / "a.pt"), str(labelled), "--output", str(tmp_path / "b.pt")]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("intonation: 9 fragments, macro-F1 ")
    before, after = (load_checkpoint(tmp_path / name).model.head("intonation") for name in ("a.pt", "b.pt"))
    assert after.spec.temperature > before.spec.temperature == 1.0
    assert torch.equal(before.out.weight, after.out.weight)


def test_there_must_be_something_to_calibrate(model: DialectWhisper, tiny_whisper: Whisper, corpus: Path) -> None:
    with pytest.raises(ConfigError, match="'intonation' knows"):
        calibrate(model, [corpus], risk=0.1)
    with pytest.raises(ConfigError, match="no head to calibrate"):
        calibrate(DialectWhisper(tiny_whisper), [corpus], risk=0.1)
