"""A tiny random Whisper, and its file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from whisper.model import ModelDimensions, Whisper

TINY = ModelDimensions(
    n_mels=80,
    n_audio_ctx=50,
    n_audio_state=32,
    n_audio_head=4,
    n_audio_layer=2,
    n_vocab=300,
    n_text_ctx=24,
    n_text_state=32,
    n_text_head=4,
    n_text_layer=3,
)


@pytest.fixture
def tiny() -> Whisper:
    """All weights random, positions included, in values that half precision holds exactly."""
    torch.manual_seed(0)
    model = Whisper(TINY)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_((0.1 * torch.randn_like(tensor)).half())
    return model.eval()


@pytest.fixture
def tiny_file(tiny: Whisper, tmp_path: Path) -> Path:
    """As openai writes it: half precision."""
    path = tmp_path / "tiny-random.pt"
    state = {name: tensor.half() for name, tensor in tiny.state_dict().items()}
    torch.save({"dims": asdict(tiny.dims), "model_state_dict": state}, path)
    return path
