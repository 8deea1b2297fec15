"""Which weights of a model learn: all, a part, or low-rank adapters beside frozen ones."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard

from torch import nn

from asr.errors import ConfigError
from asr.model.network import DialectWhisper

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

AdaptMode = Literal["full", "upper", "frozen_encoder", "decoder_only", "lora", "heads_only"]
Part = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """Size of the low-rank adapters.

    Attributes:
        rank: Rank of each update.
        alpha: The update is scaled by ``alpha / rank``.
        dropout: Dropout on the adapter's input, 0 to 1.
        targets: Names of the linear layers that get an adapter.
        parts: Where these layers lie. Of an adapter for the decoder alone a base model hears as before.
    """

    rank: int = 32
    alpha: float = 64.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ("query", "key", "value", "out", "mlp.0", "mlp.2")
    parts: tuple[Part, ...] = ("encoder", "decoder")


def adapt(model: DialectWhisper, mode: AdaptMode, lora: LoraOptions | None = None, encoder_blocks: int = 3) -> None:
    """Set which weights learn, in place; adapters that are already there are merged first.

    Args:
        model: The model to train.
        mode: ``full``; ``decoder_only`` (the decoder's blocks learn, the token embedding, which is also the output
            layer, stays); ``upper`` (the same, and the uppermost blocks of the encoder); ``frozen_encoder`` (the
            decoder and the output embedding learn); ``lora``; ``heads_only`` (all of Whisper stays). The model's heads
            learn in every mode.
        lora: Adapter sizes for ``mode="lora"``.
        encoder_blocks: How many blocks of the encoder learn in ``mode="upper"``.

    Raises:
        ConfigError: If the adapters' targets name no linear layer of the model, or the encoder has fewer blocks.
    """
    merge_adapters(model)
    model.whisper.requires_grad_(mode == "full")
    if mode == "frozen_encoder":
        model.whisper.decoder.requires_grad_(True)
    elif mode in ("upper", "decoder_only"):
        model.whisper.decoder.blocks.requires_grad_(True)
        model.whisper.decoder.ln.requires_grad_(True)
        if mode == "upper":
            blocks = model.whisper.encoder.blocks
            if not 1 <= encoder_blocks <= len(blocks):
                raise ConfigError(
                    f"adapter.encoder_blocks is {encoder_blocks}, and the model's encoder has {len(blocks)} blocks; "
                    f"take 1 to {len(blocks)}"
                )
            blocks[-encoder_blocks:].requires_grad_(True)
            model.whisper.encoder.ln_post.requires_grad_(True)
    elif mode == "lora":
        options = lora or LoraOptions()
        layers = _layers(model, options)
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=options.rank,
            lora_alpha=options.alpha,
            lora_dropout=options.dropout,
            target_modules=layers,
        )
        inject_adapter_in_model(config, model.whisper)


def has_adapters(model: DialectWhisper) -> bool:
    """Whether low-rank adapters stand beside the weights."""
    return any(map(_is_adapted, model.whisper.modules()))


def _is_adapted(layer: nn.Module) -> TypeGuard[LoraLayer]:
    # Where nobody has imported peft there is no adapter, and importing it takes as long as all else here.
    peft = sys.modules.get("peft.tuners.lora")
    return peft is not None and isinstance(layer, peft.LoraLayer)


def merge_adapters(model: DialectWhisper) -> None:
    """Add low-rank updates into the weights and take the adapters out, in place; no-op without adapters.

    The weights that had adapters stay frozen until `adapt` says otherwise.
    """
    for parent in list(model.whisper.modules()):
        for name, child in list(parent.named_children()):
            if _is_adapted(child):
                child.merge()
                setattr(parent, name, child.get_base_layer())
    # peft's own mark of a model with adapters: left behind, it would warn of a second set when the next one comes.
    if hasattr(model.whisper, "peft_config"):
        del model.whisper.peft_config


def _layers(model: DialectWhisper, options: LoraOptions) -> list[str]:
    """The names of the linear layers that get an adapter."""
    if not options.parts:
        raise ConfigError("adapter.lora.parts is empty; use encoder, decoder or both")
    linear = [
        name
        for name, module in model.whisper.named_modules()
        if isinstance(module, nn.Linear) and name.partition(".")[0] in options.parts
    ]
    found = {target: [name for name in linear if f".{name}".endswith(f".{target}")] for target in options.targets}
    unknown = [target for target, names in found.items() if not names]
    if unknown or not found:
        raise ConfigError(
            f"adapter.lora.targets is [{', '.join(options.targets)}], of which the model has no linear layer "
            f"[{', '.join(unknown)}] in its {' and '.join(options.parts)}; use query, key, value, out, mlp.0, mlp.2 or "
            f"longer endings of a layer's name, such as {linear[-1]}"
        )
    return sorted({name for names in found.values() for name in names})


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that learn, in a stable order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
