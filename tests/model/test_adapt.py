"""Which weights learn, and that merging adapters changes nothing that is heard."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor
from whisper.model import Whisper

from asr.errors import ConfigError
from asr.model.adapt import AdaptMode, LoraOptions, Part, adapt, has_adapters, merge_adapters, trainable_parameters
from asr.model.network import DialectWhisper

LORA = LoraOptions(rank=4, alpha=8.0, dropout=0.0)
ATTENTION = ("query", "key", "value", "out")


@pytest.fixture
def model(tiny_whisper: Whisper) -> DialectWhisper:
    torch.manual_seed(0)  # the first matrix of an adapter starts at random
    return DialectWhisper(tiny_whisper)


def hear(model: DialectWhisper) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    mel = torch.randn(2, 80, 60, generator=generator)
    tokens = torch.randint(51865, (2, 5), generator=generator)
    return model.logits(model.decode(tokens, model.encode(mel, torch.tensor([60, 41]))))


def train_adapters(model: DialectWhisper) -> None:
    """Stand in for training: the second matrix of every adapter starts at zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def learning(model: DialectWhisper) -> set[str]:
    """Names of the parameters that get a gradient from a step; every one that may learn must."""
    hear(model).square().mean().backward()
    names = {name for name, parameter in model.whisper.named_parameters() if parameter.grad is not None}
    assert names == {name for name, parameter in model.whisper.named_parameters() if parameter.requires_grad}
    assert all(parameter.grad.any() for parameter in trainable_parameters(model) if parameter.grad is not None)
    return names


def test_full(model: DialectWhisper) -> None:
    everything = {name for name, _ in model.whisper.named_parameters()}
    adapt(model, "full")
    assert learning(model) == everything


def test_frozen_encoder(model: DialectWhisper) -> None:
    everything = {name for name, _ in model.whisper.named_parameters()}
    adapt(model, "frozen_encoder")
    assert learning(model) == {name for name in everything if name.startswith("decoder.")}


def test_decoder_only(model: DialectWhisper) -> None:
    everything = {name for name, _ in model.whisper.named_parameters()}
    adapt(model, "decoder_only")
    names = learning(model)
    assert names == {name for name in everything if name.startswith(("decoder.blocks.", "decoder.ln."))}
    assert "decoder.token_embedding.weight" not in names


def test_upper(model: DialectWhisper) -> None:
    everything = {name for name, _ in model.whisper.named_parameters()}
    adapt(model, "upper", encoder_blocks=1)
    learns = ("encoder.blocks.1.", "encoder.ln_post.", "decoder.blocks.", "decoder.ln.")
    assert learning(model) == {name for name in everything if name.startswith(learns)}
    adapt(model, "upper", encoder_blocks=2)
    assert learning(model) == {name for name in everything if name.startswith((*learns, "encoder.blocks.0."))}
    for blocks in (0, 3):
        with pytest.raises(ConfigError, match=f"encoder_blocks is {blocks}, and the model's encoder has 2 blocks"):
            adapt(model, "upper", encoder_blocks=blocks)


def test_lora(model: DialectWhisper) -> None:
    adapt(model, "lora", LORA)
    train_adapters(model)
    blocks = [f"encoder.blocks.{index}" for index in range(2)] + [f"decoder.blocks.{index}" for index in range(2)]
    layers = [f"{block}.attn.{layer}" for block in blocks for layer in ATTENTION]
    layers += [f"{block}.cross_attn.{layer}" for block in blocks[2:] for layer in ATTENTION]
    layers += [f"{block}.mlp.{index}" for block in blocks for index in (0, 2)]
    expected = {f"{layer}.lora_{matrix}.default.weight" for layer in layers for matrix in "AB"}
    assert learning(model) == expected


def test_lora_of_some_layers(model: DialectWhisper) -> None:
    adapt(model, "lora", LoraOptions(rank=2, targets=("query", "decoder.blocks.1.mlp.2")))
    places = {
        name.split(".lora_")[0] for name, parameter in model.whisper.named_parameters() if parameter.requires_grad
    }
    assert {place.rpartition(".")[2] for place in places} == {"query", "2"}
    assert [place for place in places if "mlp" in place] == ["decoder.blocks.1.mlp.2"]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_lora_of_one_part(part: Part, model: DialectWhisper) -> None:
    adapt(model, "lora", LoraOptions(rank=2, parts=(part,)))
    train_adapters(model)
    names = learning(model)
    assert {name.partition(".")[0] for name in names} == {part}
    assert len(names) == 2 * {"encoder": 12, "decoder": 20}[part]


def test_lora_of_no_part(model: DialectWhisper) -> None:
    with pytest.raises(ConfigError, match=r"adapter\.lora\.parts is empty; use encoder, decoder or both"):
        adapt(model, "lora", LoraOptions(parts=()))
    with pytest.raises(ConfigError, match=r"no linear layer \[cross_attn\.key\] in its encoder; .* encoder\.blocks\.1"):
        adapt(model, "lora", LoraOptions(targets=("cross_attn.key", "out"), parts=("encoder",)))


@pytest.mark.parametrize("targets", [("query", "keys"), ("keys",), ()])
def test_targets_that_the_model_does_not_have(targets: tuple[str, ...], model: DialectWhisper) -> None:
    with pytest.raises(ConfigError, match=r"adapter\.lora\.targets is .* use query, key, value, out, mlp\.0, mlp\.2"):
        adapt(model, "lora", LoraOptions(targets=targets))


def test_fresh_adapters_change_nothing(model: DialectWhisper) -> None:
    before = hear(model)
    adapt(model, "lora", LORA)
    torch.testing.assert_close(hear(model), before, rtol=0, atol=1e-6)


def test_merged_adapters_give_the_same_outputs(model: DialectWhisper) -> None:
    names = list(model.whisper.state_dict())
    plain = hear(model)
    adapt(model, "lora", LORA)
    train_adapters(model)
    assert has_adapters(model)
    adapted = hear(model)
    assert (adapted - plain).abs().max() > 0.1
    merge_adapters(model)
    assert not has_adapters(model) and list(model.whisper.state_dict()) == names
    torch.testing.assert_close(hear(model), adapted, rtol=0, atol=2e-5)


def test_merging_is_the_sum_that_lora_defines(model: DialectWhisper) -> None:
    adapt(model, "lora", LORA)
    train_adapters(model)
    layer = model.whisper.decoder.blocks[1].cross_attn.value
    update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = layer.base_layer.weight + LORA.alpha / LORA.rank * update
    merge_adapters(model)
    torch.testing.assert_close(model.whisper.decoder.blocks[1].cross_attn.value.weight, expected, rtol=0, atol=1e-6)


def test_merging_a_copy_leaves_the_model_in_training(model: DialectWhisper) -> None:
    adapt(model, "lora", LORA)
    train_adapters(model)
    before = hear(model)
    merge_adapters(copy.deepcopy(model))
    assert torch.equal(hear(model), before) and has_adapters(model)


@pytest.mark.parametrize("mode", ["full", "upper", "frozen_encoder", "decoder_only", "lora"])
def test_a_second_adaptation_starts_from_the_merged_first(mode: AdaptMode, model: DialectWhisper) -> None:
    adapt(model, "lora", LORA)
    train_adapters(model)
    adapted = hear(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapt(model, mode, LORA, encoder_blocks=1)
    torch.testing.assert_close(hear(model), adapted, rtol=0, atol=2e-5)
    names = {name for name, parameter in model.whisper.named_parameters() if parameter.requires_grad}
    fresh = DialectWhisper(Whisper(model.whisper.dims))
    adapt(fresh, mode, LORA, encoder_blocks=1)
    assert names == {name for name, parameter in fresh.whisper.named_parameters() if parameter.requires_grad}


def test_merging_without_adapters_does_nothing(model: DialectWhisper) -> None:
    before = copy.deepcopy(model.whisper.state_dict())
    merge_adapters(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.whisper.state_dict().items())
