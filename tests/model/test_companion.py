"""The file beside an exported model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from whisper.model import Whisper

from asr.errors import CheckpointError
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.companion import COMPANION, read_companion, write_companion
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper

MEL, FRAMES = torch.randn(2, 80, 100, generator=torch.Generator().manual_seed(1)), torch.tensor([100, 60])


@pytest.fixture
def checkpoint(tiny_whisper: Whisper) -> Checkpoint:
    model = DialectWhisper(tiny_whisper, "tight", 0.25)
    spec = HeadSpec(("fr-CA", "en-IN"), ("fr", "en"), temperature=1.5, threshold=0.4, heard=("fr",), contour=32)
    model.set_heads({"dialect": spec})
    return Checkpoint(model.eval(), CheckpointInfo("tiny", dialects={"fr-CA": "fr"}, tags=("fr-CA",)))


@torch.inference_mode()
def heard(checkpoint: Checkpoint) -> list[torch.Tensor]:
    encoded = checkpoint.model.encode(MEL.clone().masked_fill(torch.arange(100) >= FRAMES[:, None, None], 0), FRAMES)
    head = checkpoint.model.head("dialect")
    scores = head(encoded.normal, encoded.num_frames, ["fr", "en"], [None, None], torch.zeros(2, 32))
    return [encoded.states, scores]


def test_encoder_heads_and_info_come_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_companion(checkpoint, tmp_path / COMPANION, encoder=True)
    read = read_companion(tmp_path / COMPANION)
    # The tiny model's weights are exact in half precision.
    torch.testing.assert_close(heard(read), heard(checkpoint), rtol=0, atol=0)
    assert (read.info.tags, read.info.window, read.info.margin) == (("fr-CA",), "tight", 0.25)
    assert read.info.heads["dialect"] == checkpoint.model.head("dialect").spec
    assert read.model.whisper.dims == checkpoint.model.whisper.dims
    assert sum(weight.numel() for weight in read.model.whisper.decoder.parameters()) < 10_000


def test_heads_are_put_on_a_model_that_is_there(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_companion(checkpoint, tmp_path / COMPANION, encoder=False)
    read = read_companion(tmp_path / COMPANION, checkpoint.model.whisper)
    torch.testing.assert_close(heard(read), heard(checkpoint), rtol=0, atol=0)
    assert (tmp_path / COMPANION).stat().st_size < 40_000


def test_what_is_no_companion_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / COMPANION
    with pytest.raises(CheckpointError, match=r"cannot be read .*export the checkpoint again"):
        read_companion(path)
    write_companion(checkpoint, path, encoder=False)
    with pytest.raises(CheckpointError, match="is damaged or does not belong"):
        read_companion(path)  # there is no encoder in it
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_companion(path, checkpoint.model.whisper)
