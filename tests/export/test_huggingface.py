"""Hugging Face folders, read by transformers and by us."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from asr.export.huggingface import write_huggingface
from asr.model.checkpoint import Checkpoint, load_checkpoint

Make = Callable[..., Checkpoint]


@pytest.mark.parametrize("n_vocab, n_mels, width, heads", [(51864, 80, 16, 2), (51865, 80, 48, 3), (51866, 128, 32, 4)])
def test_transformers_calculates_the_same(
    make: Make, tmp_path: Path, n_vocab: int, n_mels: int, width: int, heads: int
) -> None:
    model = make(n_vocab, n_mels, width, heads)
    write_huggingface(model, tmp_path)
    theirs, info = WhisperForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    mel, tokens = torch.randn(2, n_mels, 3000), torch.randint(n_vocab, (2, 7))
    with torch.inference_mode():
        expected = model.model.whisper(mel, tokens)
        found = theirs.eval()(input_features=mel, decoder_input_ids=tokens).logits
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-3)
    generation = theirs.generation_config
    assert generation.alignment_heads == [[0, 1], [1, 0]]
    assert generation.is_multilingual == (n_vocab > 51864)


def test_the_processor_makes_our_features_and_knows_the_prompt(make: Make, tmp_path: Path) -> None:
    checkpoint = make(51866, 128)
    write_huggingface(checkpoint, tmp_path)
    processor = WhisperProcessor.from_pretrained(tmp_path)
    samples = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    theirs = processor(samples, sampling_rate=16000, return_tensors="pt").input_features
    checkpoint.model.window = "padded"
    ours, _ = checkpoint.model.features(torch.from_numpy(samples)[None], torch.tensor([16000]))
    np.testing.assert_allclose(theirs.numpy(), ours.numpy(), atol=1e-4)
    prompt = processor.get_decoder_prompt_ids(language="fr", task="transcribe", no_timestamps=True)
    assert [number for _, number in prompt] == [50265, 50360, 50364]
    spoken = processor.tokenizer.decode([50258, 50265, 50360, 50365, 2425, 50465, 50257], decode_with_timestamps=True)
    assert spoken == "<|startoftranscript|><|fr|><|transcribe|><|0.00|> Hello<|2.00|><|endoftext|>"


def test_the_whole_checkpoint_comes_back(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    write_huggingface(checkpoint, tmp_path)
    read = load_checkpoint(tmp_path)
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(read.model.state_dict()[name], tensor), name
    assert (read.model.window, read.info.tags, read.info.base_model) == ("tight", ("fr-CA",), "tiny-random")
    assert read.model.whisper.alignment_heads.to_dense().nonzero().tolist() == [[0, 1], [1, 0]]
