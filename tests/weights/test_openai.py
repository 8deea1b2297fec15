"""openai's ``.pt`` files and this project's checkpoints, good and bad."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import whisper
from whisper.model import Whisper

from asr.errors import WeightsError
from asr.weights import load_base_model


def test_the_same_model_as_stock_whisper_loads(tiny: Whisper, tiny_file: Path) -> None:
    model, stock = load_base_model(tiny_file), whisper.load_model(str(tiny_file), device="cpu")
    assert model.dims == stock.dims == tiny.dims
    for name, tensor in stock.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert torch.equal(model.alignment_heads.to_dense(), stock.alignment_heads.to_dense())
    assert not model.training


def test_a_checkpoint_of_this_project_keeps_its_alignment_heads(tiny: Whisper, tiny_file: Path) -> None:
    content = torch.load(tiny_file, weights_only=True)
    torch.save({**content, "dialect_asr": {"alignment_heads": [[0, 3], [1, 1]]}}, tiny_file)
    assert load_base_model(str(tiny_file)).alignment_heads.indices().T.tolist() == [[0, 3], [1, 1]]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_short(share: float, tiny_file: Path) -> None:
    os.truncate(tiny_file, int(tiny_file.stat().st_size * share))
    with pytest.raises(WeightsError, match=r"tiny-random\.pt is no readable weights file \(cut short"):
        load_base_model(tiny_file)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["EVIL_FOLDER"],)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL_FOLDER", str(tmp_path / "ran"))
    torch.save({"dims": _Evil(), "model_state_dict": {}}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"evil\.pt is no readable weights file"):
        load_base_model(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("my notes\n" * 50)
    with pytest.raises(WeightsError, match="no readable weights file"):
        load_base_model(tmp_path / "notes.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="entries 'dims' and 'model_state_dict'"):
        load_base_model(tmp_path / "other.pt")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dims": {"n_mels": 80}}, "entry 'dims' has other sizes"),
        ({"dims": [1, 2]}, "entry 'dims' has other sizes"),
        ({"model_state_dict": {}}, "it has no tensor 'encoder.positional_embedding'"),
        ({"model_state_dict": [1]}, "its tensors have other shapes"),
    ],
)
def test_entries_that_make_no_model(change: dict[str, Any], message: str, tiny_file: Path) -> None:
    torch.save({**torch.load(tiny_file, weights_only=True), **change}, tiny_file)
    with pytest.raises(WeightsError, match=message):
        load_base_model(tiny_file)
