"""A checkpoint as a CTranslate2 folder, which faster-whisper and this project's own engine load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from whisper.model import MultiHeadAttention, ResidualAttentionBlock

from asr.export.targets import Quantization
from asr.export.vocabulary import missing, vocabulary_of, write_preprocessor, write_tokenizer
from asr.model.checkpoint import Checkpoint
from asr.model.companion import COMPANION, write_companion


@torch.inference_mode()
def write_ctranslate2(checkpoint: Checkpoint, folder: Path, quantization: Quantization) -> None:
    """Fill a folder: the model, its vocabulary, how it hears, and beside it what CTranslate2 does not know.

    Args:
        checkpoint: What is exported.
        folder: An empty folder.
        quantization: How the weights are stored. ``int8`` keeps in half precision what is no integer where the
            hardware computes in it.

    Raises:
        CheckpointError: Its vocabulary is not Whisper's.
        MissingExtraError: A package of the extra ``export`` is missing.
    """
    try:
        from ctranslate2.specs import WhisperSpec
    except ImportError as error:
        raise missing("ctranslate2", "export to it") from error
    model = checkpoint.model.whisper
    dims, vocabulary = model.dims, vocabulary_of(model)
    spec = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    for own, theirs in ((model.encoder.conv1, spec.encoder.conv1), (model.encoder.conv2, spec.encoder.conv2)):
        _linear(theirs, own)
    for side, own, norm in (
        (spec.encoder, model.encoder, model.encoder.ln_post),
        (spec.decoder, model.decoder, model.decoder.ln),
    ):
        side.position_encodings.encodings = _plain(own.positional_embedding)
        _norm(side.layer_norm, norm)
        for layer, block in zip(side.layer, own.blocks, strict=True):
            _block(layer, block)
    embedding = _plain(model.decoder.token_embedding.weight)
    spec.decoder.embeddings.weight = embedding
    spec.decoder.projection.weight = embedding
    spec.register_vocabulary(vocabulary.strings)
    spec.config.suppress_ids = list(vocabulary.suppressed)
    spec.config.suppress_ids_begin = list(vocabulary.suppressed_first)
    spec.config.lang_ids = list(vocabulary.languages.values())
    spec.config.alignment_heads = model.alignment_heads.to_dense().nonzero().tolist()
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    write_tokenizer(vocabulary, folder)
    write_preprocessor(model, folder)
    write_companion(checkpoint, folder / COMPANION, encoder=True)


def _block(layer: Any, block: ResidualAttentionBlock) -> None:
    _norm(layer.self_attention.layer_norm, block.attn_ln)
    query, key, value, out = _projections(block.attn)
    _stacked(layer.self_attention.linear[0], query, key, value)
    _linear(layer.self_attention.linear[1], out)
    if block.cross_attn is not None:
        _norm(layer.attention.layer_norm, block.cross_attn_ln)
        query, key, value, out = _projections(block.cross_attn)
        _linear(layer.attention.linear[0], query)
        _stacked(layer.attention.linear[1], key, value)
        _linear(layer.attention.linear[2], out)
    _norm(layer.ffn.layer_norm, block.mlp_ln)
    _linear(layer.ffn.linear_0, block.mlp[0])
    _linear(layer.ffn.linear_1, block.mlp[2])


def _projections(attention: MultiHeadAttention) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
    return attention.query, attention.key, attention.value, attention.out


def _stacked(layer: Any, *projections: nn.Linear) -> None:
    layer.weight = torch.cat([_plain(one.weight) for one in projections])
    # The key has no bias in Whisper.
    layer.bias = torch.cat(
        [torch.zeros(len(one.weight)) if one.bias is None else _plain(one.bias) for one in projections]
    )


def _linear(layer: Any, own: nn.Linear | nn.Conv1d) -> None:
    layer.weight, layer.bias = _plain(own.weight), _plain(own.bias)


def _norm(layer: Any, own: nn.LayerNorm) -> None:
    layer.gamma, layer.beta = _plain(own.weight), _plain(own.bias)


def _plain(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    # A copy: CTranslate2 quantises in place.
    return tensor.detach().to("cpu", torch.float32, copy=True)
