"""Hugging Face folders, written by transformers and compared with its own outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from asr.errors import WeightsError
from asr.weights import load_base_model


def random_model(vocab_size: int = 300, n_mels: int = 80) -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=n_mels,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        decoder_layers=3,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=50,
        max_target_positions=24,
        init_std=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():  # biases and norms start as zeros and ones, which would hide a mix-up
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("shard", ["5GB", "50KB"])
@pytest.mark.parametrize("vocab_size, n_mels", [(300, 80), (51864, 80), (51865, 80), (51866, 128)])
def test_logits_are_those_of_transformers(shard: str, vocab_size: int, n_mels: int, tmp_path: Path) -> None:
    theirs = random_model(vocab_size, n_mels)
    theirs.generation_config.alignment_heads = [[0, 1], [2, 0]]
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "50KB")
    model = load_base_model(tmp_path)
    assert (model.dims.n_vocab, model.dims.n_mels, model.dims.n_text_head) == (vocab_size, n_mels, 2)
    assert model.alignment_heads.indices().T.tolist() == [[0, 1], [2, 0]]
    mel = torch.randn(2, n_mels, 100)
    tokens = torch.randint(vocab_size, (2, 7))
    with torch.no_grad():
        expected = theirs(input_features=mel, decoder_input_ids=tokens).logits
        np.testing.assert_allclose(model(mel, tokens).numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_widens_without_loss(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = random_model().to(dtype)
    theirs.save_pretrained(tmp_path)
    model = load_base_model(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    expected = theirs.state_dict()["model.decoder.layers.1.encoder_attn.q_proj.weight"].float()
    assert torch.equal(model.decoder.blocks[1].cross_attn.query.weight, expected)


def test_another_kind_of_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="is no Whisper model but a 'bert'"):
        load_base_model(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        load_base_model(tmp_path)


@pytest.mark.parametrize("shard", ["5GB", "50KB"])
def test_cut_short(shard: str, tmp_path: Path) -> None:
    random_model().save_pretrained(tmp_path, max_shard_size=shard)
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"{last.name} is no readable safetensors file"):
        load_base_model(tmp_path)
    last.unlink()
    with pytest.raises(WeightsError, match=r"no readable safetensors file|has no model\.safetensors"):
        load_base_model(tmp_path)


def test_other_sizes_in_the_config(tmp_path: Path) -> None:
    random_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_attention_heads": 5}))
    with pytest.raises(WeightsError, match="width 32 cannot be split into 5 heads"):
        load_base_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is no readable JSON"):
        load_base_model(tmp_path)


def test_an_output_layer_of_its_own(tmp_path: Path) -> None:
    model = random_model()
    model.config.tie_word_embeddings = False
    model.proj_out.weight = torch.nn.Parameter(torch.randn_like(model.proj_out.weight))
    model.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="output layer of its own"):
        load_base_model(tmp_path)
