"""A tiny random model that says different things of different sounds, and sounds for it."""

from __future__ import annotations

import pytest
import torch
from whisper.model import Whisper

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
