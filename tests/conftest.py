"""A tiny random Whisper with the real tokenizer's vocabulary, and its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from whisper.model import ModelDimensions, Whisper

from asr.model.checkpoint import CheckpointInfo, save_checkpoint
from asr.model.network import DialectWhisper


@pytest.fixture
def tiny_whisper() -> Whisper:
    """Multilingual, two layers of width 16; every weight random, positions included, and exact in half precision."""
    dims = ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=16,
        n_audio_head=2,
        n_audio_layer=2,
        n_vocab=51865,
        n_text_ctx=448,
        n_text_state=16,
        n_text_head=2,
        n_text_layer=2,
    )
    model = Whisper(dims)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            # Outputs stay near 1 and feel every weight: norms around 1, matrices scaled by what they sum over.
            centre = 1.0 if "ln" in name and name.endswith("weight") else 0.0
            scale = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.2
            tensor.copy_((centre + scale * noise).half())
    return model.eval()


@pytest.fixture
def tiny_checkpoint(tiny_whisper: Whisper, tmp_path: Path) -> Path:
    """A checkpoint of the tiny Whisper, saved as training saves it; it runs padded."""
    path = tmp_path / "tiny.pt"
    save_checkpoint(DialectWhisper(tiny_whisper), CheckpointInfo(base_model="tiny-random"), path)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
