"""Hugging Face Whisper folders: ``config.json`` and safetensors, in one file or in shards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.errors import WeightsError
from asr.weights.state import Weights, dims_of

# Applied in this order to the name after ``model.``; the longer names come before those they contain.
_RENAMES = [
    (r"^(encoder|decoder)\.layers\.", r"\1.blocks."),
    (r"^(encoder|decoder)\.embed_positions\.weight$", r"\1.positional_embedding"),
    (r"^decoder\.embed_tokens\.", "decoder.token_embedding."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
]


def read_huggingface(folder: Path) -> Weights:
    """Read a Whisper model from a Hugging Face folder.

    Raises:
        WeightsError: If a file is missing or cut short, if it is another kind of model, or if its output layer is
            not its token embedding, which Whisper's own code cannot express.
    """
    config = _json(folder / "config.json")
    if config.get("model_type") != "whisper":
        raise WeightsError(f"{folder} is no Whisper model but a {config.get('model_type')!r} (config.json)")
    state = {}
    output: Tensor | None = None
    for name, tensor in _tensors(folder).items():
        if name == "proj_out.weight":
            output = tensor
            continue
        state[openai_name(name)] = tensor
    dims = dims_of(state, config.get("encoder_attention_heads", 0), config.get("decoder_attention_heads", 0), folder)
    if output is not None and not torch.equal(output, state["decoder.token_embedding.weight"]):
        raise WeightsError(f"{folder} has an output layer of its own; Whisper's is its token embedding")
    generation = folder / "generation_config.json"
    heads = _json(generation).get("alignment_heads") if generation.is_file() else None
    return Weights(dims, state, heads)


def openai_name(name: str) -> str:
    """Return what openai-whisper calls the tensor that Hugging Face calls ``name``."""
    name = name.removeprefix("model.")
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _tensors(folder: Path) -> dict[str, Tensor]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        files = [single]
    elif index.is_file():
        files = [folder / shard for shard in sorted(set(_json(index).get("weight_map", {}).values()))]
    else:
        raise WeightsError(
            f"{folder} has no model.safetensors and no model.safetensors.index.json; "
            "save the model again with save_pretrained"
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file} is no readable safetensors file (missing or cut short): {error}") from None
    return tensors


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is no readable JSON: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is no JSON object")
    return content
