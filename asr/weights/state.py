"""Weights in openai-whisper's own names, and the model made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from whisper.model import ModelDimensions, Whisper

from asr.errors import WeightsError


@dataclass(frozen=True)
class Weights:
    """The weights of a Whisper model.

    Attributes:
        dims: Sizes of the model.
        state: openai-whisper's state dict, in any float type.
        alignment_heads: (layer, head) pairs of the decoder whose attention follows time, or None when unknown.
        own: The entry that this project adds to its checkpoints, unchecked; None in files of others.
        heads: The weights of this project's heads, by the head's name, unchecked.
    """

    dims: ModelDimensions
    state: Mapping[str, Tensor]
    alignment_heads: Sequence[Sequence[int]] | None = None
    own: object = None
    heads: object = None


def dims_of(state: Mapping[str, Tensor], audio_heads: int, text_heads: int, source: object) -> ModelDimensions:
    """Derive a model's sizes from its tensors; only the numbers of heads cannot be seen in them.

    Args:
        state: Tensors under openai-whisper's names.
        audio_heads: Attention heads of the encoder.
        text_heads: Attention heads of the decoder.
        source: Where the weights come from, for messages.

    Raises:
        WeightsError: If the tensors are not those of a Whisper model.
    """
    try:
        audio_ctx, audio_state = state["encoder.positional_embedding"].shape
        text_ctx, text_state = state["decoder.positional_embedding"].shape
        return ModelDimensions(
            n_mels=state["encoder.conv1.weight"].shape[1],
            n_audio_ctx=audio_ctx,
            n_audio_state=audio_state,
            n_audio_head=audio_heads,
            n_audio_layer=_layers(state, "encoder"),
            n_vocab=state["decoder.token_embedding.weight"].shape[0],
            n_text_ctx=text_ctx,
            n_text_state=text_state,
            n_text_head=text_heads,
            n_text_layer=_layers(state, "decoder"),
        )
    except KeyError as error:
        raise WeightsError(f"{source} is no Whisper model: it has no tensor {error}") from None
    except (ValueError, IndexError, TypeError, AttributeError):
        raise WeightsError(f"{source} is no Whisper model: its tensors have other shapes") from None


# What torch's layers begin with, whole and in its parts.
_FILLS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, Tensor.uniform_, Tensor.normal_)


class _Unfilled(TorchFunctionMode):
    """Gives new weights no random values, in this thread: they are loaded next, and half of the time would go there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def build_model(weights: Weights, source: object) -> Whisper:
    """Make a float32 model of weights.

    Args:
        weights: The weights; half precision widens to float32 exactly.
        source: Where they come from, for messages.

    Raises:
        WeightsError: If tensors are missing, unknown or of another shape than the model's sizes ask for.
    """
    heads = weights.dims.n_audio_head, weights.dims.n_text_head
    seen = dims_of(weights.state, *heads, source)
    if seen != weights.dims:
        stated, found = asdict(weights.dims), asdict(seen)
        wrong = ", ".join(f"{key} {stated[key]} but {found[key]}" for key in stated if stated[key] != found[key])
        raise WeightsError(f"{source} contradicts itself: it states sizes that its tensors do not have ({wrong})")
    for width, count in zip((seen.n_audio_state, seen.n_text_state), heads, strict=True):
        if count < 1 or width % count:
            raise WeightsError(f"{source} contradicts itself: width {width} cannot be split into {count} heads")
    with _Unfilled():
        model = Whisper(weights.dims)
    try:
        model.load_state_dict(dict(weights.state))
    except RuntimeError as error:
        raise WeightsError(f"{source} is no complete Whisper model: {_one_line(error)}") from None
    if weights.alignment_heads is not None:
        _set_alignment_heads(model, weights.alignment_heads, source)
    return model


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of a model's weights, names and shapes, in half precision: the same for every file that holds them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().data)
    return digest.hexdigest()


def _layers(state: Mapping[str, Tensor], side: str) -> int:
    return len({name.split(".")[2] for name in state if name.startswith(f"{side}.blocks.")})


def _set_alignment_heads(model: Whisper, pairs: Sequence[Sequence[int]], source: object) -> None:
    mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    try:
        for layer, head in pairs:
            if min(layer, head) < 0:
                raise IndexError
            mask[layer, head] = True
    except (IndexError, TypeError, ValueError):
        raise WeightsError(
            f"{source} names alignment heads {pairs} that its decoder of {mask.shape[0]} layers with {mask.shape[1]} "
            "heads does not have"
        ) from None
    model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)


def _one_line(error: Exception) -> str:
    """torch lists every tensor, a line each; the first few tell enough."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."
