"""A tiny random model that says different things of different sounds, and sounds for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from whisper.model import Whisper

from asr.export.ctranslate2 import write_ctranslate2
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.heads import Fusion, HeadSpec
from asr.model.network import DialectWhisper


@pytest.fixture
def model(tiny_whisper: Whisper) -> DialectWhisper:
    """Padded. With weights that are merely random a decoder says one token over and over, whatever it hears."""
    generator = torch.Generator().manual_seed(1)
    decoder = tiny_whisper.decoder
    with torch.no_grad():
        decoder.token_embedding.weight.div_(decoder.token_embedding.weight.norm(dim=1, keepdim=True))
        decoder.positional_embedding.mul_(10)
        decoder.ln.weight.copy_(torch.randn(16, generator=generator))
        decoder.ln.bias.zero_()
        for block in decoder.blocks:
            for attention in (block.attn, block.cross_attn):
                attention.query.weight.mul_(4)
                attention.out.weight.mul_(4)
    return DialectWhisper(tiny_whisper)


@pytest.fixture
def checkpoint(model: DialectWhisper) -> Checkpoint:
    """Tight, with heads; its weights are exact in half precision."""
    torch.manual_seed(0)
    model.window, model.margin = "tight", 0.25
    fusion = Fusion(words=1.0, voice=1.0, bias=0.0, threshold=0.5)
    model.set_heads(
        {
            "dialect": HeadSpec(("fr-CA", "en-IN"), ("fr", "en")),
            "intonation": HeadSpec(("question", "statement"), fusion=fusion),
        }
    )
    with torch.no_grad():
        for tensor in model.whisper.state_dict().values():
            tensor.copy_(tensor.half())
    return Checkpoint(model.eval(), CheckpointInfo("tiny", dialects={"fr-CA": "fr"}, tags=("fr-CA",)))


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint as an export in float32, heard in float32 on every machine."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    (tmp_path / "ct2").mkdir()
    write_ctranslate2(checkpoint, tmp_path / "ct2", "float32")
    return tmp_path / "ct2"
