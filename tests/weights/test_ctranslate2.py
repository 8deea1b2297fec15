"""CTranslate2 folders, written by CTranslate2's own converter."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters.transformers import WhisperLoader
from transformers import WhisperConfig, WhisperForConditionalGeneration

from asr.errors import WeightsError
from asr.weights import load_base_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model", "float32")


def write(folder: Path, quantization: str, n_mels: int = 80) -> Path:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=51865,
        num_mel_bins=n_mels,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        decoder_layers=3,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=50,
        max_target_positions=24,
        init_std=0.1,
    )
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # the decoder keeps biases of zeros: equal tensors, of which the file stores one
        for parameter in model.model.encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    spec = WhisperLoader().get_model_spec(model)
    spec.register_vocabulary([f"<|{index}|>" for index in range(config.vocab_size)])
    spec.config.alignment_heads = [[1, 2], [2, 0]]
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    return folder


@pytest.mark.parametrize("quantization", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("n_mels", [80, 128])
def test_encoder_output_is_ctranslate2s(quantization: str, n_mels: int, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", quantization, n_mels)
    model = load_base_model(folder)
    assert (model.dims.n_mels, model.dims.n_audio_head, model.dims.n_text_layer) == (n_mels, 4, 3)
    assert model.alignment_heads.indices().T.tolist() == [[1, 2], [2, 0]]
    mel = np.random.default_rng(0).standard_normal((1, n_mels, 100)).astype(np.float32)
    theirs = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    expected = np.array(theirs.encode(ctranslate2.StorageView.from_array(mel)))
    with torch.no_grad():
        np.testing.assert_allclose(model.encoder(torch.from_numpy(mel)).numpy(), expected, atol=1e-4)


def test_integers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.bin is quantised to integers; convert it again with float16"):
        load_base_model(write(tmp_path / "model", "int8"))


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.5, 0.99])
def test_cut_short(share: float, folder: Path) -> None:
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"cut short or no CTranslate2 model|no readable CTranslate2 model"):
        load_base_model(folder)


def test_another_kind_of_model(folder: Path) -> None:
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(content.replace(b"WhisperSpec", b"TranslaSpec", 1))
    with pytest.raises(WeightsError, match="is no Whisper model but a 'TranslaSpec'"):
        load_base_model(folder)


def test_another_format(folder: Path) -> None:
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(struct.pack("<I", 99) + content[4:])
    with pytest.raises(WeightsError, match="of format 99"):
        load_base_model(folder)


def test_alignment_heads_that_are_not_there(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "alignment_heads": [[3, 0]]}))
    with pytest.raises(WeightsError, match=r"alignment heads \[\[3, 0\]\] that its decoder of 3 layers with 4 heads"):
        load_base_model(folder)
