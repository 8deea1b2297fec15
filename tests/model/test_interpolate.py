"""Weights between two models, against the sum written out."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import whisper
from whisper.model import Whisper

from asr.errors import CheckpointError
from asr.model.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.interpolate import interpolate
from asr.model.network import DialectWhisper


@pytest.fixture
def base(tiny_whisper: Whisper) -> Checkpoint:
    model = DialectWhisper(copy.deepcopy(tiny_whisper), "tight", 0.25)
    return Checkpoint(model, CheckpointInfo("tiny", window="tight", dialects={"en-GB": "en"}))


@pytest.fixture
def adapted(tiny_whisper: Whisper) -> Checkpoint:
    model = DialectWhisper(copy.deepcopy(tiny_whisper), "tight", 0.75)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    info = CheckpointInfo(
        "tiny",
        window="tight",
        dialects={"fr-CA": "fr"},
        tags=("fr-CA",),
        training_config={"seed": 1},
        metrics={"dev/wer": 12.0},
    )
    return Checkpoint(model, info)


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in checkpoint.model.whisper.state_dict().items()}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_every_weight_lies_between(base: Checkpoint, adapted: Checkpoint, share: float) -> None:
    start, end = weights(base), weights(adapted)
    mixed = weights(interpolate(base, adapted, share))
    assert mixed.keys() == end.keys()
    for name, weight in mixed.items():
        expected = (1 - share) * start[name].double() + share * end[name].double()
        torch.testing.assert_close(weight.double(), expected, atol=1e-6, rtol=1e-6)
        if share in (0.0, 1.0):
            assert torch.equal(weight, (start, end)[int(share)][name])
    # Neither of the two has changed.
    assert all(torch.equal(weight, start[name]) for name, weight in weights(base).items())
    assert all(torch.equal(weight, end[name]) for name, weight in weights(adapted).items())


def test_it_is_described_as_the_adapted_model(base: Checkpoint, adapted: Checkpoint) -> None:
    mixed = interpolate(base, adapted, 0.5)
    # Its figures were measured on other weights.
    expected = replace(adapted.info, metrics={}, training_config={"seed": 1, "interpolation_share": 0.5})
    assert mixed.info == expected
    assert (mixed.model.window, mixed.model.margin) == ("tight", 0.75)
    assert adapted.info.metrics == {"dev/wer": 12.0}


def test_it_can_be_saved_and_loaded_by_stock_whisper(base: Checkpoint, adapted: Checkpoint, tmp_path: Path) -> None:
    mixed = interpolate(base, adapted, 0.5)
    save_checkpoint(mixed.model, mixed.info, tmp_path / "mixed.pt")
    stock = whisper.load_model(str(tmp_path / "mixed.pt"), device="cpu").state_dict()
    for name, weight in weights(load_checkpoint(tmp_path / "mixed.pt")).items():
        torch.testing.assert_close(weight, stock[name])
        torch.testing.assert_close(weight, weights(mixed)[name], atol=2e-3, rtol=1e-3)


def test_what_cannot_be_mixed(base: Checkpoint, adapted: Checkpoint, tiny_whisper: Whisper) -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(CheckpointError, match=r"share of the adapted model must be between 0 and 1, found"):
            interpolate(base, adapted, share)
    padded = Checkpoint(DialectWhisper(copy.deepcopy(tiny_whisper)), base.info)
    with pytest.raises(
        CheckpointError,
        match=r"the base runs padded and the adapted model tight with 100 .*; interpolate with",
    ):
        interpolate(padded, adapted, 0.5)
    other = Whisper(replace(tiny_whisper.dims, n_text_layer=1))
    with pytest.raises(CheckpointError, match="are of different model sizes"):
        interpolate(Checkpoint(DialectWhisper(other, "tight"), base.info), adapted, 0.5)
