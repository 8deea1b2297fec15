"""CTranslate2 folders, read by CTranslate2 and by us."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch

from asr.errors import WeightsError
from asr.export.ctranslate2 import write_ctranslate2
from asr.export.targets import Quantization
from asr.model.checkpoint import Checkpoint, load_checkpoint
from asr.model.companion import COMPANION, read_companion

Make = Callable[..., Checkpoint]

MEL = np.random.default_rng(0).standard_normal((1, 128, 3000)).astype(np.float32)


@pytest.mark.parametrize("n_vocab, n_mels, width, heads", [(51864, 80, 16, 2), (51865, 80, 48, 3), (51866, 128, 32, 4)])
@pytest.mark.parametrize("quantization", ["int8", "int8_float32", "float16", "float32"])
def test_ctranslate2_hears_the_same(
    make: Make, tmp_path: Path, quantization: Quantization, n_vocab: int, n_mels: int, width: int, heads: int
) -> None:
    checkpoint = make(n_vocab, n_mels, width, heads)
    before = copy.deepcopy(checkpoint.model.whisper.state_dict())
    write_ctranslate2(checkpoint, tmp_path, quantization)
    theirs = ctranslate2.models.Whisper(str(tmp_path), intra_threads=1)
    assert (theirs.is_multilingual, theirs.n_mels) == (n_vocab > 51864, n_mels)
    mel = MEL[:, :n_mels]
    heard = np.array(theirs.encode(ctranslate2.StorageView.from_array(mel)))
    with torch.inference_mode():
        expected = checkpoint.model.whisper.encoder(torch.from_numpy(mel)).numpy()
    off = np.linalg.norm(heard - expected) / np.linalg.norm(expected)
    assert off < (0.1 if quantization.startswith("int8") else 2e-3 if quantization == "float16" else 1e-4)
    # Its quantisation works in place.
    after = checkpoint.model.whisper.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("quantization", ["float16", "float32"])
def test_the_whole_checkpoint_comes_back(make: Make, tmp_path: Path, quantization: Quantization) -> None:
    checkpoint = make()
    write_ctranslate2(checkpoint, tmp_path, quantization)
    read = load_checkpoint(tmp_path)
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(read.model.state_dict()[name], tensor), name
    assert (read.model.window, read.model.margin, read.info.tags) == ("tight", 0.25, ("fr-CA",))
    assert read.model.head("dialect").spec == checkpoint.model.head("dialect").spec
    assert read.model.whisper.alignment_heads.to_dense().nonzero().tolist() == [[0, 1], [1, 0]]


def test_integers_give_back_encoder_and_heads(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    write_ctranslate2(checkpoint, tmp_path, "int8")
    with pytest.raises(WeightsError, match="quantised to integers"):
        load_checkpoint(tmp_path)
    read = read_companion(tmp_path / COMPANION)
    for name, tensor in checkpoint.model.whisper.encoder.state_dict().items():
        assert torch.equal(read.model.whisper.encoder.state_dict()[name], tensor)


def test_languages_are_named_in_the_folder(make: Make, tmp_path: Path) -> None:
    write_ctranslate2(make(51866, 128), tmp_path, "int8")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["lang_ids"] == list(range(50259, 50359))
    assert config["alignment_heads"] == [[0, 1], [1, 0]]
    assert len(json.loads((tmp_path / "vocabulary.json").read_text())) == 51866
