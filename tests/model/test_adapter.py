"""The adapter file against what peft trained, its size and hash, and every way in which it can be wrong."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from whisper.model import ModelDimensions, Whisper

from asr.errors import CheckpointError
from asr.model.adapt import LoraOptions, adapt
from asr.model.adapter import Adapter, read_adapter, take_out, write_adapter
from asr.model.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.heads import HeadSpec
from asr.model.interpolate import interpolate
from asr.model.network import DialectWhisper
from asr.weights.state import weights_sha256

LORA = LoraOptions(rank=3, alpha=6.0)
CONFIG: dict[str, Any] = {"adapter": {"mode": "lora", "lora": {"rank": 3}}, "model": {"name": "runs/window/last.pt"}}
INFO = CheckpointInfo("tiny", dialects={"fr-CA": "fr"}, training_config=CONFIG, manifests={"train.jsonl": "ab" * 32})


@pytest.fixture
def base(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


def trained(base: Checkpoint, options: LoraOptions = LORA, seed: int = 0) -> DialectWhisper:
    """As after a training: adapters beside the weights, the second matrix no longer zero."""
    model = copy.deepcopy(base.model)
    torch.manual_seed(seed)
    adapt(model, "lora", options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.fixture
def model(base: Checkpoint) -> DialectWhisper:
    return trained(base)


@pytest.fixture
def adapted(model: DialectWhisper, tmp_path: Path) -> Checkpoint:
    """Saved as training saves it, merged and rounded, and read again."""
    save_checkpoint(model, INFO, tmp_path / "adapted.pt")
    return load_checkpoint(tmp_path / "adapted.pt")


@pytest.fixture
def path(base: Checkpoint, adapted: Checkpoint, tmp_path: Path) -> Path:
    write_adapter(take_out(base, adapted), adapted.model, tmp_path / "fr-CA.safetensors")
    return tmp_path / "fr-CA.safetensors"


def product(adapter: Adapter, name: str) -> torch.Tensor:
    update = adapter.updates[name]
    return (update.down.float() @ update.up.float()).T


def test_it_is_what_peft_learnt(base: Checkpoint, model: DialectWhisper, path: Path) -> None:
    adapter = read_adapter(path, base.model, weights_sha256(base.model.whisper))
    learnt = {
        name: module
        for name, module in model.whisper.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "base_layer")
    }
    assert set(adapter.updates) == set(learnt) and len(learnt) == 32
    for name, module in learnt.items():
        expected = 2.0 * module.lora_B["default"].weight @ module.lora_A["default"].weight
        # The checkpoint holds the sum in half precision.
        assert (product(adapter, name) - expected).norm() < 2**-10 * module.base_layer.weight.norm()
        assert expected.norm() > 0.05 * module.base_layer.weight.norm()
        assert adapter.updates[name].rank == 3
    assert adapter.changes_encoder
    assert adapter.info == replace(INFO, tail=model.tail, alignment_heads=adapter.info.alignment_heads)


def test_of_a_checkpoint_that_was_interpolated_since_it_is_the_share(
    base: Checkpoint, adapted: Checkpoint, tmp_path: Path
) -> None:
    half = interpolate(base, adapted, 0.5)
    save_checkpoint(half.model, half.info, tmp_path / "half.pt")
    whole, part = take_out(base, adapted), take_out(base, load_checkpoint(tmp_path / "half.pt"))
    weights = dict(base.model.whisper.named_parameters())
    for name in whole.updates:
        off = product(part, name) - 0.5 * product(whole, name)
        assert off.norm() < 2**-9 * weights[f"{name}.weight"].norm()


def test_of_a_training_of_the_decoder_alone_there_is_nothing_of_the_encoder(base: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(trained(base, replace(LORA, parts=("decoder",))), INFO, tmp_path / "decoder.pt")
    adapter = take_out(base, load_checkpoint(tmp_path / "decoder.pt"))
    assert not adapter.changes_encoder and len(adapter.updates) == 20


def rank_sum(model: nn.Module) -> int:
    return sum(m.in_features + m.out_features for m in model.modules() if isinstance(m, nn.Linear))


def test_one_for_whisper_base_is_smaller_than_15_mb(base: Checkpoint, path: Path) -> None:
    # Two bytes for each number of two matrices a layer; of the tiny model the file shows it.
    header = path.stat().st_size - 2 * LORA.rank * rank_sum(base.model)
    assert 0 < header < 10_000
    # Whatever the vocabulary: it is no linear layer.
    whisper = Whisper(ModelDimensions(80, 1500, 512, 8, 6, 1, 448, 512, 8, 6))
    size = 2 * LoraOptions().rank * rank_sum(whisper)
    assert size == 8_650_752
    assert size + 20 * header < 15e6


def test_the_hash_is_that_of_the_weights_whatever_holds_them(base: Checkpoint, tmp_path: Path) -> None:
    known = weights_sha256(base.model.whisper)
    with_heads = copy.deepcopy(base.model)
    with_heads.set_heads({"dialect": HeadSpec(("en-GB", "en-IN"))})
    save_checkpoint(with_heads, CheckpointInfo("another"), tmp_path / "heads.pt")
    assert weights_sha256(load_checkpoint(tmp_path / "heads.pt").model.whisper) == known
    assert weights_sha256(with_heads.half().whisper) == known
    with torch.no_grad():
        base.model.whisper.decoder.blocks[1].mlp[2].bias[3] += 0.01
    assert weights_sha256(base.model.whisper) != known


def test_where_it_came_from_is_found_as_bytes(path: Path) -> None:
    # By this an erasure finds what was trained on somebody's voice.
    assert b"ab" * 32 in path.read_bytes()


def refused(base: Checkpoint, path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_adapter(path, base.model, weights_sha256(base.model.whisper))
    return str(caught.value)


def test_another_base_is_refused(base: Checkpoint, path: Path) -> None:
    ours = weights_sha256(base.model.whisper)
    with torch.no_grad():
        base.model.whisper.encoder.conv1.bias[0] += 1
    said = refused(base, path)
    theirs = weights_sha256(base.model.whisper)
    assert said == (
        f"the adapter {path} belongs to another base: it was trained on last.pt, padded, whose weights have the "
        f"SHA-256 {ours[:12]}…, and those of this model, padded, have {theirs[:12]}…; load the checkpoint that its "
        "training started from"
    )


def test_another_window_is_refused(base: Checkpoint, path: Path) -> None:
    base.model.window = "tight"
    assert "this model, tight with 100 frames of silence behind, have" in refused(base, path)


def test_what_is_no_adapter_is_refused(base: Checkpoint, path: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    gone = tmp_path / "gone.safetensors"
    assert refused(base, gone) == f"there is no adapter {gone}; asr adapter takes one out of a checkpoint"
    assert refused(base, tiny_checkpoint).startswith(f"{tiny_checkpoint} is damaged or no adapter (")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    said = refused(base, tmp_path / "foreign.safetensors")
    assert said.endswith("foreign.safetensors is no adapter; asr adapter takes one out of a checkpoint")
    path.write_bytes(path.read_bytes()[:-100])
    assert "is damaged or no adapter" in refused(base, path)


@pytest.mark.parametrize("fault", ["number", "shape", "layer", "half", "all"])
def test_damaged_matrices_are_refused(base: Checkpoint, path: Path, fault: str) -> None:
    tensors, header = load_file(path), _header(path)
    first = next(name for name in tensors if name.endswith(".down"))
    if fault == "number":
        tensors[first][0, 0] = torch.nan
    elif fault == "shape":
        tensors[first] = tensors[first][1:].contiguous()
    elif fault == "layer":
        tensors["encoder.conv1.down"], tensors["encoder.conv1.up"] = torch.zeros(3, 1), torch.zeros(1, 3)
    elif fault == "half":
        del tensors[first.replace(".down", ".up")]
    else:
        tensors = {}
    save_file(tensors, path, header)
    assert refused(base, path) == (
        f"{path} is damaged: its matrices do not fit its base; take it out again with asr adapter"
    )


def test_a_newer_format_is_refused(base: Checkpoint, path: Path) -> None:
    header = _header(path)
    header["info"] = json.dumps(json.loads(header["info"]) | {"format_version": 99})
    save_file(load_file(path), path, header)
    assert "has checkpoint format 99" in refused(base, path)
    header["info"] = "{"
    save_file(load_file(path), path, header)
    assert "its header is" in refused(base, path)


def _header(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def cannot_take_out(base: Checkpoint, adapted: Checkpoint) -> str:
    with pytest.raises(CheckpointError) as caught:
        take_out(base, adapted)
    return str(caught.value)


FOREIGN = "the adapted model does not come of this base"


def test_what_did_not_come_of_the_base_is_refused(base: Checkpoint, adapted: Checkpoint, tmp_path: Path) -> None:
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.model.whisper.decoder.token_embedding.weight[7, 7] += 0.01
    assert cannot_take_out(other, adapted).startswith(FOREIGN)
    # A sibling: what differs has twice the rank.
    save_checkpoint(trained(base, seed=1), INFO, tmp_path / "sibling.pt")
    assert cannot_take_out(load_checkpoint(tmp_path / "sibling.pt"), adapted).startswith(FOREIGN)
    other.model.window = "tight"
    assert cannot_take_out(other, adapted).startswith(FOREIGN)
    small = Checkpoint(DialectWhisper(Whisper(replace(base.model.whisper.dims, n_text_layer=1))), base.info)
    assert cannot_take_out(small, adapted).startswith(FOREIGN)


def test_what_is_no_low_rank_training_is_refused(base: Checkpoint, adapted: Checkpoint) -> None:
    full = Checkpoint(adapted.model, CheckpointInfo("tiny", training_config={"adapter": {"mode": "full"}}))
    assert cannot_take_out(base, full) == (
        "the adapted model was trained with adapter=full, which changes more than an adapter holds; train it with "
        "adapter=lora"
    )
    assert "trained with no adapter," in cannot_take_out(base, Checkpoint(adapted.model, CheckpointInfo("tiny")))
    same = Checkpoint(base.model, INFO)
    assert cannot_take_out(base, same) == "there is no adapter to take out: the two models have the same weights"
