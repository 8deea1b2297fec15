"""A checkpoint as a Hugging Face folder: `WhisperForConditionalGeneration` and `WhisperProcessor` load it offline."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from whisper.audio import CHUNK_LENGTH
from whisper.model import Whisper

from asr.export.vocabulary import Vocabulary, vocabulary_of, write_json, write_preprocessor, write_tokenizer
from asr.model.checkpoint import Checkpoint
from asr.model.companion import COMPANION, write_companion

# Applied in this order to openai-whisper's names; the longer ones come before those they contain.
_RENAMES = [
    (r"^(encoder|decoder)\.blocks\.", r"\1.layers."),
    (r"^(encoder|decoder)\.positional_embedding$", r"\1.embed_positions.weight"),
    (r"^decoder\.token_embedding\.", "decoder.embed_tokens."),
    (r"^encoder\.ln_post\.", "encoder.layer_norm."),
    (r"^decoder\.ln\.", "decoder.layer_norm."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.attn\.", ".self_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.out\.", ".out_proj."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
]


def write_huggingface(checkpoint: Checkpoint, folder: Path) -> None:
    """Fill a folder: weights in float32, which runs everywhere without being asked for, and all that goes with them.

    Args:
        checkpoint: What is exported.
        folder: An empty folder.

    Raises:
        CheckpointError: Its vocabulary is not Whisper's.
        MissingExtraError: A package of the extra ``export`` is missing.
    """
    model = checkpoint.model.whisper
    vocabulary = vocabulary_of(model)
    write_tokenizer(vocabulary, folder)
    write_json(_tokenizer_config(vocabulary), folder / "tokenizer_config.json")
    write_preprocessor(model, folder)
    write_json(_config(model, vocabulary), folder / "config.json")
    write_json(_generation(model, vocabulary), folder / "generation_config.json")
    tensors = {
        f"model.{_renamed(name)}": tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    # safetensors makes its file private; it follows the user's umask like the others.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
    write_companion(checkpoint, folder / COMPANION, encoder=False)


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _ids(vocabulary: Vocabulary) -> dict[str, object]:
    """The token ids that both configurations state."""
    end = vocabulary.tokenizer.eot
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": vocabulary.tokenizer.sot,
    }


def _config(model: Whisper, vocabulary: Vocabulary) -> dict[str, object]:
    dims = model.dims
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float32",
        "activation_function": "gelu",
        "d_model": dims.n_audio_state,
        "encoder_layers": dims.n_audio_layer,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_layers": dims.n_text_layer,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "num_mel_bins": dims.n_mels,
        "vocab_size": dims.n_vocab,
        "is_encoder_decoder": True,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        **_ids(vocabulary),
    }


def _generation(model: Whisper, vocabulary: Vocabulary) -> dict[str, object]:
    tokenizer = vocabulary.tokenizer
    config: dict[str, object] = {
        **_ids(vocabulary),
        "alignment_heads": model.alignment_heads.to_dense().nonzero().tolist(),
        "begin_suppress_tokens": list(vocabulary.suppressed_first),
        "suppress_tokens": list(vocabulary.suppressed),
        "is_multilingual": model.is_multilingual,
        "max_initial_timestamp_index": model.dims.n_audio_ctx // CHUNK_LENGTH,  # one second
        "max_length": model.dims.n_text_ctx,
        "no_timestamps_token_id": tokenizer.no_timestamps,
        "prev_sot_token_id": tokenizer.sot_prev,
        "return_timestamps": False,
    }
    if model.is_multilingual:
        config["lang_to_id"] = {f"<|{code}|>": number for code, number in vocabulary.languages.items()}
        config["task_to_id"] = {"transcribe": tokenizer.transcribe, "translate": tokenizer.translate}
    return config


def _tokenizer_config(vocabulary: Vocabulary) -> dict[str, object]:
    end = "<|endoftext|>"
    times = vocabulary.specials["<|notimestamps|>"]
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "add_prefix_space": False,
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "additional_special_tokens": [name for name, number in vocabulary.specials.items() if number <= times],
    }
