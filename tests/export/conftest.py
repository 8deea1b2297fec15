"""Tiny random models of every vocabulary, which say different things of different sounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from whisper.model import ModelDimensions, Whisper

from asr.fragment import Consent, Fragment
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper

Make = Callable[..., Checkpoint]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make() -> Make:
    """Makes a tight checkpoint with a head, every weight exact in half precision."""

    def build(
        n_vocab: int = 51865, n_mels: int = 80, width: int = 32, heads: int = 2, layers: int = 2, focus: float = 4
    ) -> Checkpoint:
        sizes = ModelDimensions(n_mels, 1500, width, heads, layers, n_vocab, 448, width, heads, layers)
        model = Whisper(sizes)
        generator = torch.Generator().manual_seed(n_vocab + width)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                noise = torch.randn(tensor.shape, generator=generator)
                centre = 1.0 if "ln" in name and name.endswith("weight") else 0.0
                scale = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.2
                tensor.copy_(centre + scale * noise)
            # What makes a decoder listen: merely random, it says one token over and over.
            decoder = model.decoder
            decoder.token_embedding.weight.div_(decoder.token_embedding.weight.norm(dim=1, keepdim=True))
            decoder.positional_embedding.mul_(10)
            decoder.ln.weight.copy_(torch.randn(width, generator=generator))
            decoder.ln.bias.zero_()
            for block in decoder.blocks:
                for attention in (block.attn, block.cross_attn):
                    attention.query.weight.mul_(focus)
                    attention.out.weight.mul_(focus)
            for tensor in model.state_dict().values():
                tensor.copy_(tensor.half())
        mask = torch.zeros(layers, heads, dtype=torch.bool)
        mask[1, 0] = mask[0, 1] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
        network = DialectWhisper(model.eval(), "tight", 0.25)
        network.set_heads({"dialect": HeadSpec(("fr-CA", "en-IN"), ("fr", "en"), temperature=1.5, heard=("fr",))})
        return Checkpoint(network.eval(), CheckpointInfo("tiny-random", tags=("fr-CA",), manifests={"train": "abc"}))

    return build


@pytest.fixture
def sounds(voice: Callable[..., npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    return [voice(seconds, number) for number, seconds in enumerate((0.4, 1.3, 2.7))]


@pytest.fixture
def fragments(sounds: list[npt.NDArray[np.float32]], tmp_path: Path, consent: Consent) -> list[Fragment]:
    found = []
    for number, samples in enumerate(sounds):
        soundfile.write(tmp_path / f"{number}.wav", samples, 16000)
        found.append(
            Fragment(
                id=f"f{number}", audio=str(tmp_path / f"{number}.wav"), text="red house", language="en", consent=consent
            )
        )
    return found
