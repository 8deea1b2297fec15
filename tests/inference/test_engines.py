"""Which engine runs what, on which device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asr.errors import CheckpointError, ConfigError
from asr.inference.engines import open_engine
from asr.inference.engines.ctranslate2 import CTranslate2Engine
from asr.inference.engines.pytorch import TorchEngine
from asr.model.checkpoint import Checkpoint, save_checkpoint


def test_an_export_is_run_by_its_engine_and_all_else_by_torch(
    checkpoint: Checkpoint, folder: Path, tmp_path: Path
) -> None:
    save_checkpoint(checkpoint.model, checkpoint.info, tmp_path / "x.pt")
    assert isinstance(open_engine(checkpoint), TorchEngine)
    assert isinstance(open_engine(tmp_path / "x.pt", device="cpu"), TorchEngine)
    assert isinstance(open_engine(str(folder)), CTranslate2Engine)
    assert isinstance(open_engine(folder, "ctranslate2", "cpu"), CTranslate2Engine)
    # Its weights are there too, as they were exported.
    opened = open_engine(folder, "torch")
    assert isinstance(opened, TorchEngine) and opened.info.tags == ("fr-CA",)


def test_threads_are_chosen_or_given(checkpoint: Checkpoint, folder: Path) -> None:
    chosen = open_engine(folder)
    assert chosen.replicas >= 1 and chosen.threads == 1
    given = open_engine(folder, replicas=3, threads=2)
    assert (given.replicas, given.threads) == (3, 2)
    assert open_engine(checkpoint).threads == torch.get_num_threads()
    assert open_engine(checkpoint, threads=1).threads == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"engine": "onnx"}, "there is no engine 'onnx'; choose auto, torch, ctranslate2"),
        ({"engine": "ctranslate2"}, r"runs what was exported for it, and .* was not; make it: asr export"),
        ({"replicas": 0}, "replicas must be 1 or more, found 0"),
        ({"threads": -1}, "threads must be 1 or more, found -1"),
        ({"replicas": 2}, "torch works on one batch at a time, not on 2"),
        ({"device": "tpu9"}, "device 'tpu9' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
    ],
)
def test_what_cannot_be(checkpoint: Checkpoint, given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        open_engine(checkpoint, **given)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="nowhere"):
        open_engine("nowhere.pt")
